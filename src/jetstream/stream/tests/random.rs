//! Random publishes, removals and time against a model that is obviously right.

use crate::base::prng::Prng;
use crate::jetstream::api::requests::{MsgDeleteRequest, PurgeRequest};
use crate::jetstream::config::{Discard, StreamConfig};
use crate::store::{Seq, counted_bytes};

use super::*;

const SUBJECTS: &[&str] = &["a", "b", "c.d", "c.e"];

#[derive(Clone, Debug)]
struct Kept {
    seq: Seq,
    subject: &'static str,
    bytes: u64,
    time: i64,
    ends: Option<i64>,
}

#[derive(Debug)]
struct Model {
    config: StreamConfig,
    kept: Vec<Kept>,
    ids: Vec<(String, Seq, i64)>,
    last: Seq,
}

impl Model {
    fn expire(&mut self, now: i64) {
        let max_age = self.config.max_age;
        self.kept.retain(|kept| {
            let is_old = max_age > 0 && now - kept.time >= max_age;
            !is_old && kept.ends.is_none_or(|ends| now < ends)
        });
    }

    fn publish(
        &mut self,
        subject: &'static str,
        id: &str,
        size: usize,
        ttl: u64,
        rollup: bool,
        now: i64,
    ) -> String {
        let window = self.config.duplicate_window;
        self.ids.retain(|(_, _, time)| now - time < window);
        if let Some((_, seq, _)) = self
            .ids
            .iter()
            .find(|(known, _, _)| known == id && !id.is_empty())
        {
            return format!("seq {seq} duplicate true");
        }
        let mut headers = String::new();
        let mut add = |line: String| headers += &format!("{line}\r\n");
        if !id.is_empty() {
            add(format!("Nats-Msg-Id: {id}"));
        }
        if ttl > 0 {
            add(format!("Nats-TTL: {ttl}"));
        }
        if rollup {
            add("Nats-Rollup: sub".into());
        }
        let header_bytes = if headers.is_empty() {
            0
        } else {
            headers.len() + 12
        };
        let bytes = counted_bytes(subject.len(), header_bytes, size, true);
        let of_subject = |kept: &&Kept| kept.subject == subject;
        let count = self.kept.iter().filter(of_subject).count() as i64;
        let first = self
            .kept
            .iter()
            .find(of_subject)
            .map_or(0, |kept| kept.bytes);
        let total: u64 = self.kept.iter().map(|kept| kept.bytes).sum();
        let config = &self.config;
        let at_subject = config.max_msgs_per_subject > 0 && count >= config.max_msgs_per_subject;
        if config.discard == Discard::New {
            if at_subject && config.discard_new_per_subject && !rollup {
                return "10077 maximum messages per subject exceeded".into();
            }
            if config.max_msgs > 0 && self.kept.len() as i64 >= config.max_msgs && !at_subject {
                return "10077 maximum messages exceeded".into();
            }
            let is_over = config.max_bytes > 0 && total + bytes > config.max_bytes as u64;
            if is_over && (!at_subject || first < bytes) {
                return "10077 maximum bytes exceeded".into();
            }
        }
        self.last += 1;
        self.kept.push(Kept {
            seq: self.last,
            subject,
            bytes,
            time: now,
            ends: (ttl > 0).then(|| now + ttl as i64 * SECOND),
        });
        self.enforce();
        if !id.is_empty() {
            self.ids.push((id.into(), self.last, now));
        }
        if rollup {
            let last = self.last;
            self.kept
                .retain(|kept| kept.subject != subject || kept.seq == last);
        }
        format!("seq {}", self.last)
    }

    fn enforce(&mut self) {
        let config = &self.config;
        for subject in SUBJECTS {
            while config.max_msgs_per_subject > 0
                && self
                    .kept
                    .iter()
                    .filter(|kept| kept.subject == *subject)
                    .count() as i64
                    > config.max_msgs_per_subject
            {
                let first = self.kept.iter().position(|kept| kept.subject == *subject);
                self.kept.remove(first.unwrap());
            }
        }
        while config.max_msgs > 0 && self.kept.len() as i64 > config.max_msgs
            || config.max_bytes > 0
                && self.kept.iter().map(|kept| kept.bytes).sum::<u64>() > config.max_bytes as u64
        {
            self.kept.remove(0);
        }
    }
}

fn random_config(prng: &mut Prng) -> StreamConfig {
    let mut config = StreamConfig {
        name: "S".into(),
        subjects: vec![">".into()],
        allow_rollup_hdrs: true,
        allow_msg_ttl: true,
        duplicate_window: 3 * SECOND,
        ..StreamConfig::default()
    };
    limits(prng, &mut config);
    config
}

fn limits(prng: &mut Prng, config: &mut StreamConfig) {
    let mut or_none = |limit: i64| if prng.one_in(2) { limit } else { -1 };
    config.max_msgs = or_none(10);
    config.max_bytes = or_none(600);
    config.max_msgs_per_subject = or_none(4);
    config.max_age = or_none(5 * SECOND).max(0);
    config.discard = if prng.one_in(2) {
        Discard::New
    } else {
        Discard::Old
    };
    config.discard_new_per_subject =
        config.discard == Discard::New && config.max_msgs_per_subject > 0 && prng.one_in(2);
}

#[test]
fn agrees_with_the_model() {
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let config = random_config(&mut prng);
        let mut scene = Scene::of(config.clone());
        let mut model = Model {
            config,
            kept: Vec::new(),
            ids: Vec::new(),
            last: 0,
        };
        for step in 0..300 {
            let at = format!("seed {seed} step {step} {:?}", model.config);
            match prng.below(30) {
                0 => {
                    let seq = u64::from(prng.below(model.last as u32 + 2));
                    let request = MsgDeleteRequest {
                        seq,
                        no_erase: prng.one_in(2),
                    };
                    let deleted = scene.with(|s, w| s.delete(w, &request)).is_ok();
                    let position = model.kept.iter().position(|kept| kept.seq == seq);
                    assert_eq!(deleted, position.is_some(), "{at}");
                    position.map(|at| model.kept.remove(at));
                }
                1 => {
                    let subject = SUBJECTS[prng.below(4) as usize];
                    let keep = u64::from(prng.below(3));
                    let request = PurgeRequest {
                        filter: subject.into(),
                        keep,
                        seq: 0,
                    };
                    let purged = scene.with(|s, w| s.purge(w, &request)).unwrap();
                    let all = model
                        .kept
                        .iter()
                        .filter(|kept| kept.subject == subject)
                        .count();
                    let mut gone = all.saturating_sub(keep as usize);
                    assert_eq!(purged, gone as u64, "{at}");
                    model.kept.retain(|kept| {
                        let goes = kept.subject == subject && gone > 0;
                        gone -= usize::from(goes);
                        !goes
                    });
                }
                2 => {
                    limits(&mut prng, &mut model.config);
                    let config = model.config.clone();
                    scene.with(|s, w| s.update(config, w.messages)).unwrap();
                    model.enforce();
                }
                3 | 4 => scene.now += i64::from(prng.below(4)) * SECOND / 2,
                5 => {
                    // A restart: ids of what is gone are forgotten.
                    let kept = &model.kept;
                    model
                        .ids
                        .retain(|(_, seq, _)| kept.iter().any(|kept| kept.seq == *seq));
                    let config = model.config.clone();
                    let now = Now {
                        mono_ms: 0,
                        unix: scene.now,
                    };
                    let settings = Settings::default();
                    let facts = scene.messages.facts(0).to_vec();
                    let facts = facts.iter().map(Vec::as_slice);
                    scene.stream =
                        Stream::recover(config, settings, facts, &mut scene.messages, now).unwrap();
                }
                _ => {
                    let subject = SUBJECTS[prng.below(4) as usize];
                    let id = ["", "", "i", "j", "k"][prng.below(5) as usize];
                    let ttl = [0, 0, 0, 2, 4][prng.below(5) as usize];
                    let rollup = prng.one_in(20);
                    let payload = "x".repeat(prng.below(60) as usize);
                    let mut lines = Vec::new();
                    let ttl_line = format!("Nats-TTL: {ttl}");
                    let id_line = format!("Nats-Msg-Id: {id}");
                    if !id.is_empty() {
                        lines.push(id_line.as_str());
                    }
                    if ttl > 0 {
                        lines.push(&ttl_line);
                    }
                    if rollup {
                        lines.push("Nats-Rollup: sub");
                    }
                    let expected =
                        model.publish(subject, id, payload.len(), ttl, rollup, scene.now);
                    let answer = short(&scene.ask(subject, &lines, &payload));
                    assert_eq!(answer, expected, "{at}");
                }
            }
            // Turns for what ends lie apart a little: all that is due has ended then.
            let due = scene.now;
            scene.run_until(due + 100_000_000);
            model.expire(due);
            scene.now = due;
            assert_eq!(scene.messages.state().last_seq, model.last, "{at}");
            assert_eq!(
                scene.sequences(),
                model.kept.iter().map(|kept| kept.seq).collect::<Vec<_>>(),
                "{at}"
            );
        }
    }
}
