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

/// Pieces of which headers and reply subjects are made that mean something, or nearly so.
const PIECES: &[&str] = &[
    "Nats-Msg-Id",
    "Nats-Rollup",
    "Nats-TTL",
    "Nats-Incr",
    "Nats-Batch-Id",
    "Nats-Batch-Sequence",
    "Nats-Batch-Commit",
    "Nats-Schedule",
    "Nats-Schedule-Target",
    "Nats-Schedule-TTL",
    "Nats-Schedule-Source",
    "Nats-Schedule-Time-Zone",
    "Nats-Schedule-Next",
    "Nats-Scheduler",
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Subject-Sequence",
    "Nats-Expected-Last-Subject-Sequence-Subject",
    "Nats-Expected-Last-Msg-Id",
    "Nats-Counter-Sources",
    "Nats-Stream-Source",
    "Nats-Required-Api-Level",
    "Nats-Request-Info",
    ": ",
    ":",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r",
    "\n",
    " ",
    "sub",
    "all",
    "a",
    "b",
    "c.d",
    "*",
    ">",
    "1",
    "2",
    "3",
    "0",
    "-1",
    "18446744073709551615",
    "99999999999999999999999",
    "never",
    "5s",
    "1h",
    "@every 1s",
    "@every 999999h",
    "@at 2026-11-21T10:00:01Z",
    "@at 9999-12-31T23:59:59Z",
    "* * * * * *",
    "0 0 0 1 1 *",
    "@yearly",
    "Europe/Berlin",
    "purge",
    "eob",
    "{}",
    "{\"val\":\"5\"}",
    "i",
    ".",
    "NATS/1.0",
    "\0",
    "\u{e9}",
];

#[test]
fn no_input_panics() {
    for seed in 0..30 {
        let mut prng = Prng::new(seed);
        let mut config = random_config(&mut prng);
        config.allow_atomic = true;
        config.allow_batched = true;
        config.allow_msg_schedules = prng.one_in(2);
        config.allow_msg_counter = prng.one_in(4);
        config.subject_delete_marker_ttl = i64::from(prng.below(2)) * SECOND;
        config.first_seq = if prng.one_in(4) { u64::MAX - 20 } else { 0 };
        let mut scene = Scene::of(config);
        for _ in 0..400 {
            let mut text = |pieces: u32| -> String {
                let count = prng.below(pieces);
                let pieces = PIECES.len() as u32;
                (0..count)
                    .map(|_| PIECES[prng.below(pieces) as usize])
                    .collect()
            };
            let headers = format!("NATS/1.0\r\n{}\r\n\r\n", text(14));
            let payload = text(3);
            let request = text(8);
            let origin = [Origin::Client, Origin::Client, Origin::Source][prng.below(3) as usize];
            let operation = prng.below(5);
            let sequence = prng.below(4);
            let reply = match prng.below(3) {
                0 => format!(
                    "p.i.2.{}.{sequence}.{operation}.$FI",
                    ["ok", "fail"][(seed % 2) as usize]
                ),
                _ => "r".to_owned(),
            };
            let subject = SUBJECTS[prng.below(4) as usize];
            scene.arrive(&Arrival {
                subject: subject.as_bytes(),
                reply: reply.as_bytes(),
                headers: headers.as_bytes(),
                payload: payload.as_bytes(),
                origin,
            });
            if prng.one_in(8) {
                let seqs = scene.messages.messages.keys().copied();
                scene.messages.later = seqs.filter(|_| prng.one_in(3)).collect();
                scene.with(|s, w| s.resume(w));
            }
            if prng.one_in(8) {
                let payload = format!("{{\"seq\":{},\"batch\":{}}}", prng.below(9), prng.below(9));
                let asked = if prng.one_in(2) {
                    request.as_bytes()
                } else {
                    payload.as_bytes()
                };
                scene.with(|s, w| s.direct_get(w, b"", b"r", headers.as_bytes(), asked));
                let request = PurgeRequest {
                    seq: [0, 3, u64::MAX - 15][prng.below(3) as usize],
                    ..PurgeRequest::default()
                };
                let _ = scene.with(|s, w| s.purge(w, &request));
            }
            if prng.one_in(8) {
                scene.run_until(scene.now + SECOND);
            }
        }
    }
}
