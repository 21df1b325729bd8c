//! A stream with consumers: who is woken, what stays, what everybody knows of what has left.

use crate::base::prng::Prng;
use crate::jetstream::api::requests::{MsgDeleteRequest, PurgeRequest};
use crate::jetstream::config::{
    AckPolicy, ConsumerConfig, DeliverPolicy, Retention, Storage, StreamConfig, StreamSource,
};
use crate::jetstream::consumer::{AckSubject, Desk, Info};
use crate::jetstream::sourcing::Feeder;
use crate::jetstream::stream::{Arrival, Origin, Outcome, Room, Settings};
use crate::jetstream::{Now, Outgoing, Outlet, Reached};
use crate::store::naive::Naive;
use crate::store::{Fetched, Messages, Selection, Seq};

use super::{Asset, Surroundings};

/// A message that left.
#[derive(Clone, Debug)]
struct Left {
    to: String,
    subject: String,
    reply: Vec<u8>,
}

/// An outlet that remembers deliveries.
#[derive(Debug, Default)]
struct Recorder {
    left: Vec<Left>,
    random: u64,
    is_full: bool,
    /// What feeds have asked: reply subject, headers, body.
    asked: Vec<(Vec<u8>, String, String)>,
}

impl Outlet for Recorder {
    fn publish(&mut self, message: &Outgoing<'_>) -> Reached {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.left.push(Left {
            to: text(message.to),
            subject: text(message.subject),
            reply: message.reply.to_vec(),
        });
        match self.is_full {
            true => Reached::Full,
            false => Reached::Somebody,
        }
    }

    fn publish_durable(&mut self, _: &Outgoing<'_>) {}

    fn publish_anew(&mut self, _: &[u8], _: &[u8], _: &[u8], _: &[u8]) {}

    fn has_interest(&mut self, _: &[u8]) -> bool {
        false
    }

    fn is_subscribed(&mut self, _: &[u8], _: &[u8]) -> bool {
        true
    }

    fn watch_interest(&mut self, _: &[u8]) -> bool {
        true
    }

    fn unwatch_interest(&mut self, _: &[u8]) {}

    fn random(&mut self) -> u64 {
        self.random += 1;
        self.random
    }
}

impl Feeder for Recorder {
    fn publish(&mut self, message: &Outgoing<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (headers, body) = (text(message.headers), text(message.payload));
        self.asked.push((message.reply.to_vec(), headers, body));
    }

    fn listen(&mut self, _: &[u8]) -> u32 {
        0
    }

    fn unlisten(&mut self, _: u32) {}

    fn random(&mut self) -> u64 {
        0
    }
}

struct Scene {
    asset: Asset,
    messages: Naive,
    outlet: Recorder,
    desk: Desk,
    now_ms: u64,
}

const BEGIN: i64 = 1_795_255_200_000_000_000;

impl Scene {
    fn new(change: impl FnOnce(&mut StreamConfig)) -> Self {
        let mut config = StreamConfig {
            name: "S".into(),
            subjects: vec![">".into()],
            allow_rollup_hdrs: true,
            ..StreamConfig::default()
        };
        change(&mut config);
        let mut messages = Naive::new(config.storage == Storage::File);
        let now = Now {
            mono_ms: 0,
            unix: BEGIN,
        };
        Self {
            asset: Asset::create(config, Settings::default(), "A", &mut messages, now).unwrap(),
            messages,
            outlet: Recorder::default(),
            desk: Desk::default(),
            now_ms: 0,
        }
    }

    fn with<R>(
        &mut self,
        work: impl FnOnce(&mut Asset, &mut Surroundings<'_, Naive, Recorder>) -> R,
    ) -> R {
        let mut around = Surroundings {
            now: Now {
                mono_ms: self.now_ms,
                unix: BEGIN + self.now_ms as i64 * 1_000_000,
            },
            messages: &mut self.messages,
            outlet: &mut self.outlet,
            room: Room::UNLIMITED,
            desk: &mut self.desk,
        };
        work(&mut self.asset, &mut around)
    }

    fn publish(&mut self, subject: &str) -> Outcome {
        self.publish_with(subject, "")
    }

    fn publish_with(&mut self, subject: &str, headers: &str) -> Outcome {
        let arrival = Arrival {
            subject: subject.as_bytes(),
            reply: b"",
            headers: headers.as_bytes(),
            payload: b"",
            origin: Origin::Client,
        };
        self.with(|asset, around| asset.arrived(&arrival, around))
    }

    fn consumer(&mut self, name: &str, filter: &str) {
        self.consumer_with(name, filter, |_| {});
    }

    fn consumer_with(
        &mut self,
        name: &str,
        filter: &str,
        change: impl FnOnce(&mut ConsumerConfig),
    ) {
        let mut config = ConsumerConfig {
            durable_name: name.into(),
            name: name.into(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: 30_000_000_000,
            max_deliver: -1,
            max_ack_pending: 1000,
            max_waiting: 512,
            filter_subject: filter.into(),
            ..ConsumerConfig::default()
        };
        change(&mut config);
        self.with(|asset, around| asset.create_consumer(name, config, around))
            .unwrap();
    }

    /// Fetches up to so many; subjects to acknowledge them with.
    fn fetch(&mut self, name: &str, count: usize) -> Vec<Vec<u8>> {
        let request = format!("{{\"batch\":{count},\"no_wait\":true}}");
        self.outlet.left.clear();
        self.with(|asset, around| asset.next(name, b"inbox", b"", request.as_bytes(), around));
        self.pump();
        let left = self.outlet.left.drain(..);
        left.map(|left| left.reply)
            .filter(|reply| !reply.is_empty())
            .collect()
    }

    fn pump(&mut self) {
        while self.with(|asset, around| asset.pump(&mut 64, around)) {}
    }

    fn answer(&mut self, message: &[u8], answer: &str) {
        let subject = AckSubject::parse(message).expect("it is to be acknowledged");
        self.with(|asset, around| {
            if let Some(place) = asset.consumer_place(subject.consumer) {
                asset.acknowledge(place, &subject, b"", answer.as_bytes(), around);
            }
        });
    }

    fn info(&mut self, name: &str) -> Info {
        self.with(|asset, around| {
            asset
                .with_consumer(name, around, |consumer, around| consumer.info(around))
                .unwrap()
        })
    }

    fn sequences(&self) -> Vec<Seq> {
        self.messages.messages.keys().copied().collect()
    }

    /// The same stream after a restart.
    fn restart(&mut self) {
        let (asset, messages) = (&mut self.asset, &mut self.messages);
        asset.before_flush(messages);
        self.crash();
    }

    /// As it is after a crash, with what has been written.
    fn crash(&mut self) {
        let Self {
            asset, messages, ..
        } = self;
        let config = asset.config().clone();
        let now = Now {
            mono_ms: self.now_ms,
            unix: BEGIN + self.now_ms as i64 * 1_000_000,
        };
        let facts = messages.facts(0).to_vec();
        let facts = facts.iter().map(Vec::as_slice);
        let settings = Settings::default();
        let created = asset.created();
        *asset = Asset::recover(config, settings, "A", created, facts, messages, now).unwrap();
        let notes: Vec<_> = messages.notes.clone().into_iter().collect();
        for (note, facts) in notes
            .into_iter()
            .filter(|(note, facts)| *note > 0 && !facts.is_empty())
        {
            let recovered = self.with(|asset, around| match asset.recover_feeds(note, &facts) {
                true => Ok(()),
                false => asset.recover_consumer(note, &facts, around),
            });
            recovered.unwrap();
        }
        self.with(|asset, around| asset.begin(around));
    }
}

#[test]
fn interest() {
    let mut scene = Scene::new(|c| c.retention = Retention::Interest);
    assert_eq!(scene.publish("a.1"), Outcome::Unwanted(1));
    scene.consumer("all", "");
    scene.consumer("a", "a.>");
    for subject in ["a.1", "b.1", "a.2"] {
        scene.publish(subject);
    }
    let of_a = scene.fetch("a", 10);
    let of_all = scene.fetch("all", 10);
    assert_eq!((of_a.len(), of_all.len()), (2, 3));
    scene.answer(&of_a[0], "+ACK");
    assert_eq!(scene.sequences(), [2, 3, 4]);
    scene.answer(&of_all[0], "+ACK");
    assert_eq!(scene.sequences(), [3, 4]);
    // Nobody else wants it.
    scene.answer(&of_all[1], "+TERM");
    assert_eq!(scene.sequences(), [4]);
    scene.answer(&of_all[2], "+ACK");
    scene.answer(&of_a[1], "-NAK");
    assert_eq!(scene.sequences(), [4]);
    // Who does not want it any more does not keep it.
    scene.with(|asset, around| asset.delete_consumer("a", around));
    scene.pump();
    assert_eq!(scene.sequences(), Vec::<Seq>::new());
    assert_eq!(scene.publish("a.1"), Outcome::Stored(5));
    scene.with(|asset, around| asset.delete_consumer("all", around));
    scene.pump();
    assert_eq!(scene.sequences(), Vec::<Seq>::new());
    assert_eq!(scene.publish("a.1"), Outcome::Unwanted(6));
}

#[test]
fn a_filter_that_changes() {
    let mut scene = Scene::new(|c| c.retention = Retention::Interest);
    scene.consumer("c", "a");
    scene.consumer("d", "b");
    scene.publish("a");
    scene.publish("b");
    let mut config = scene.asset.consumer("c").unwrap().config().clone();
    config.filter_subject = "c".into();
    scene
        .with(|asset, around| asset.update_consumer("c", config, around))
        .unwrap();
    scene.pump();
    assert_eq!(scene.sequences(), [2]);
    assert_eq!(scene.publish("a"), Outcome::Unwanted(3));
    assert_eq!(scene.publish("c"), Outcome::Stored(4));
    assert_eq!(scene.fetch("c", 5).len(), 1);
}

#[test]
fn work_queue() {
    let mut scene = Scene::new(|c| c.retention = Retention::WorkQueue);
    scene.publish("a");
    scene.publish("b");
    scene.publish("a");
    scene.consumer("a", "a");
    let taken = scene.fetch("a", 10);
    scene.answer(&taken[1], "+ACK");
    assert_eq!(scene.sequences(), [1, 2]);
    scene.answer(&taken[0], "+TERM");
    assert_eq!(scene.sequences(), [2]);
    // Deleting a consumer leaves what was not done to the next one.
    scene.publish("a");
    assert_eq!(scene.fetch("a", 10).len(), 1);
    scene.with(|asset, around| asset.delete_consumer("a", around));
    scene.pump();
    assert_eq!(scene.sequences(), [2, 4]);
    scene.consumer("all", "");
    assert_eq!(scene.fetch("all", 10).len(), 2);
}

#[test]
fn acknowledging_all() {
    let mut scene = Scene::new(|c| c.retention = Retention::Interest);
    scene.consumer_with("all", "", |c| c.ack_policy = AckPolicy::All);
    scene.consumer_with("late", "", |c| c.deliver_policy = DeliverPolicy::New);
    for _ in 0..5 {
        scene.publish("a");
    }
    let of_all = scene.fetch("all", 5);
    let of_late = scene.fetch("late", 5);
    scene.answer(&of_all[3], "+ACK");
    assert_eq!(scene.sequences().len(), 5);
    for message in &of_late[1..3] {
        scene.answer(message, "+ACK");
    }
    assert_eq!(scene.sequences(), [1, 4, 5]);
}

#[test]
fn what_leaves_is_known_to_consumers() {
    let mut scene = Scene::new(|c| c.max_msgs = 6);
    for subject in ["a", "b", "a", "b", "a", "b"] {
        scene.publish(subject);
    }
    scene.consumer("a", "a");
    assert_eq!(scene.info("a").num_pending, 3);
    let taken = scene.fetch("a", 1);
    assert_eq!(scene.info("a").num_ack_pending, 1);
    // The first goes by a limit.
    scene.publish("a");
    let info = scene.info("a");
    assert_eq!((info.num_ack_pending, info.num_pending), (0, 3));
    scene.answer(&taken[0], "+ACK");
    let delete = MsgDeleteRequest {
        seq: 3,
        no_erase: false,
    };
    scene
        .with(|asset, around| asset.delete_message(&delete, around))
        .unwrap();
    assert_eq!(scene.info("a").num_pending, 2);
    let purge = PurgeRequest {
        filter: "a".into(),
        keep: 1,
        seq: 0,
    };
    scene
        .with(|asset, around| asset.purge(&purge, around))
        .unwrap();
    assert_eq!(scene.info("a").num_pending, 1);
    scene.publish_with("a", "NATS/1.0\r\nNats-Rollup: all\r\n\r\n");
    assert_eq!(scene.info("a").num_pending, 1);
    assert_eq!(scene.fetch("a", 5).len(), 1);
}

#[test]
fn a_message_wakes_those_who_want_it() {
    let mut scene = Scene::new(|_| {});
    for number in 0..10_000 {
        let name = format!("c{number}");
        scene.consumer(&name, &format!("s.{number}.>"));
        let request = br#"{"batch":2,"expires":60000000000}"#;
        scene.with(|asset, around| asset.next(&name, name.as_bytes(), b"", request, around));
    }
    scene.pump();
    scene.outlet.left.clear();
    assert!(!scene.asset.is_ready());
    scene.publish("s.77.x");
    assert_eq!(scene.asset.ready, [77]);
    scene.pump();
    let left: Vec<_> = scene.outlet.left.iter().map(|left| &*left.to).collect();
    assert_eq!(left, ["c77"]);
    // With nobody who waits, nobody is woken.
    scene.publish("s.77.y");
    scene.pump();
    scene.publish("s.77.z");
    assert!(!scene.asset.is_ready());
}

#[test]
fn all_get_their_turn() {
    let mut scene = Scene::new(|_| {});
    for _ in 0..1000 {
        scene.publish("a");
    }
    for name in ["p", "q"] {
        scene.consumer_with(name, "", |c| {
            c.deliver_subject = format!("to.{name}");
            c.ack_policy = AckPolicy::None;
        });
    }
    // One uses up what there is for a turn; the other comes first in the next.
    for _ in 0..2 {
        assert!(scene.with(|asset, around| asset.pump(&mut 257, around)));
    }
    let of = |scene: &Scene, to: &str| scene.outlet.left.iter().filter(|l| l.to == to).count();
    assert_eq!((of(&scene, "to.p"), of(&scene, "to.q")), (256, 256));
    // A receiver that is full is left alone for a moment.
    scene.outlet.is_full = true;
    assert!(!scene.with(|asset, around| asset.pump(&mut 64, around)));
    let due = scene.asset.next_deadline().unwrap();
    scene.outlet.is_full = false;
    scene.now_ms = due;
    scene.with(|asset, around| asset.tick(around));
    scene.pump();
    assert_eq!((of(&scene, "to.p"), of(&scene, "to.q")), (1000, 1000));
    assert!(scene.outlet.left.iter().all(|left| left.subject == "a"));
}

#[test]
fn consumers_come_back() {
    let mut scene = Scene::new(|c| c.retention = Retention::Interest);
    scene.consumer("a", "a");
    scene.consumer("b", "");
    scene.consumer_with("m", "", |c| c.mem_storage = true);
    scene.with(|asset, around| asset.delete_consumer("m", around));
    for subject in ["a", "b", "a", "a"] {
        scene.publish(subject);
    }
    let taken = scene.fetch("a", 2);
    scene.answer(&taken[1], "+ACK");
    let of_b = scene.fetch("b", 3);
    scene.answer(&of_b[2], "+ACK");
    assert_eq!(scene.sequences(), [1, 2, 4]);
    let before = [scene.info("a"), scene.info("b")];
    scene.restart();
    for (name, before) in ["a", "b"].iter().zip(before) {
        let after = scene.info(name);
        assert_eq!(after.delivered, before.delivered, "{name}");
        assert_eq!(after.ack_floor, before.ack_floor, "{name}");
        assert_eq!(after.num_ack_pending, before.num_ack_pending, "{name}");
        assert_eq!(after.num_pending, before.num_pending, "{name}");
    }
    // One that is deleted does not.
    scene.with(|asset, around| asset.delete_consumer("a", around));
    scene.restart();
    assert!(scene.asset.consumer("a").is_none());
    scene.consumer("c", "");
    assert_eq!(scene.publish("a"), Outcome::Stored(5));
}

#[test]
fn a_stream_that_comes_back_ages() {
    let mut scene = Scene::new(|c| c.max_age = 5_000_000_000);
    scene.publish("a");
    scene.now_ms = 1000;
    scene.restart();
    while let Some(due) = scene.asset.next_deadline().filter(|&due| due < 6000) {
        scene.now_ms = due.max(scene.now_ms);
        scene.with(|asset, around| asset.tick(around));
    }
    assert_eq!(scene.sequences(), Vec::<Seq>::new());
}

/// Random publishes, deliveries, answers, removals, new and deleted consumers, restarts.
#[test]
fn what_is_needed_stays_and_nothing_else() {
    const SUBJECTS: &[&str] = &["a", "b.x", "b.y"];
    const FILTERS: &[&str] = &["", "a", "b.>", "b.x"];
    for seed in 0..40 {
        let mut prng = Prng::new(seed);
        let retention = match seed % 3 {
            0 => Retention::Limits,
            _ => Retention::Interest,
        };
        let mut scene = Scene::new(|c| {
            c.retention = retention;
            c.max_msgs = if seed % 2 == 0 { 20 } else { -1 };
            c.max_msgs_per_subject = if seed % 5 == 0 { 5 } else { -1 };
        });
        let mut names: Vec<String> = Vec::new();
        let mut open: Vec<Vec<u8>> = Vec::new();
        for step in 0..300 {
            let before = scene.messages.messages.clone();
            let operation = prng.below(24);
            match operation {
                0 if names.len() < 6 => {
                    let name = format!("c{step}");
                    let filter = FILTERS[prng.below(4) as usize];
                    let is_new = prng.one_in(3);
                    scene.consumer_with(&name, filter, |c| {
                        if is_new {
                            c.deliver_policy = DeliverPolicy::New;
                        }
                    });
                    names.push(name);
                }
                1 if names.len() > 3 => {
                    let name = names.swap_remove(prng.below(names.len() as u32) as usize);
                    scene.with(|asset, around| asset.delete_consumer(&name, around));
                }
                2 => {
                    let seq = u64::from(prng.below(scene.messages.state().last_seq as u32 + 1));
                    let delete = MsgDeleteRequest {
                        seq,
                        no_erase: true,
                    };
                    let _ = scene.with(|asset, around| asset.delete_message(&delete, around));
                }
                3 => {
                    let filter = FILTERS[prng.below(4) as usize].into();
                    let purge = PurgeRequest {
                        filter,
                        keep: u64::from(prng.below(4)),
                        seq: 0,
                    };
                    scene
                        .with(|asset, around| asset.purge(&purge, around))
                        .unwrap();
                }
                4 => scene.restart(),
                5 => {
                    scene.now_ms += 10_000;
                    scene.with(|asset, around| asset.tick(around));
                }
                6..=12 => {
                    scene.publish(SUBJECTS[prng.below(3) as usize]);
                }
                13..=17 if !names.is_empty() => {
                    let name = names[prng.below(names.len() as u32) as usize].clone();
                    open.extend(scene.fetch(&name, 1 + prng.below(4) as usize));
                }
                _ if !open.is_empty() => {
                    let message = open.swap_remove(prng.below(open.len() as u32) as usize);
                    let answer = ["+ACK", "+ACK", "+ACK", "-NAK", "+TERM", "+WPI"];
                    scene.answer(&message, answer[prng.below(6) as usize]);
                }
                _ => {}
            }
            scene.pump();
            let at = format!("seed {seed} step {step}");
            let messages = &scene.messages.messages;
            for (seq, message) in messages {
                let mut all = scene.asset.consumers();
                let needed = all.any(|consumer| consumer.needs(*seq, &message.subject));
                let stays = needed || retention == Retention::Limits;
                assert!(stays, "{at}: {seq} is not needed");
            }
            // Neither requests to remove messages nor limits were at work.
            if !matches!(operation, 2 | 3 | 6..=12) {
                for (seq, message) in before.iter().filter(|(seq, _)| !messages.contains_key(seq)) {
                    let mut all = scene.asset.consumers();
                    let needed = all.any(|consumer| consumer.needs(*seq, &message.subject));
                    assert!(!needed, "{at}: {seq} was needed");
                }
            }
            for name in &names {
                let info = scene.info(name);
                let consumer = scene.asset.consumer(name).unwrap();
                let mut selection: Selection = consumer.selection().clone();
                let from = info.delivered.stream + 1;
                let ahead = scene.messages.pending(&mut selection, from);
                assert_eq!(info.num_pending, ahead, "{at}: {name}");
            }
        }
    }
}

#[test]
fn a_source_that_was_made_anew_is_followed_from_its_beginning() {
    let mut scene = Scene::new(|config| {
        let name = "O".to_owned();
        config.subjects.clear();
        config.sources.push(StreamSource {
            name,
            ..StreamSource::default()
        });
    });
    let fed = |scene: &mut Scene, to: &[u8], reply: &str, headers: &str, payload: &str| {
        let message = Outgoing {
            to,
            subject: b"o",
            reply: reply.as_bytes(),
            headers: headers.as_bytes(),
            payload: payload.as_bytes(),
        };
        scene.with(|asset, around| asset.fed(&message, around));
    };
    scene.with(|asset, around| asset.tick_feeds(around));
    let (reply, headers, body) = scene.outlet.asked.pop().expect("it asks");
    assert_eq!(headers, "NATS/1.0\r\nNats-Stream-Identity: \r\n\r\n");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let deliver = body["config"]["deliver_subject"].as_str().unwrap();
    let one = "NATS/1.0\r\nNats-Stream-Identity: one\r\n\r\n";
    fed(&mut scene, &reply, "", one, r#"{"name":"C"}"#);
    let ack = "$JS.ACK.O.C.1.5.1.0.0";
    fed(&mut scene, deliver.as_bytes(), ack, "", "x");
    let Fetched::Here(stored) = scene.messages.get(1) else {
        panic!("it is stored");
    };
    let stored = String::from_utf8_lossy(stored.headers);
    assert!(
        stored.contains("Nats-Stream-Source: O 5 > > o one"),
        "{stored}"
    );
    // Nothing more is heard.
    for ms in [20_000, 40_000] {
        scene.now_ms = ms;
        scene.with(|asset, around| asset.tick_feeds(around));
    }
    let (reply, headers, body) = scene.outlet.asked.pop().expect("it asks again");
    assert!(
        headers == one && body.contains("\"opt_start_seq\":6"),
        "{body}"
    );
    let mismatch = r#"{"error":{"code":400,"err_code":10225,"description":"two"}}"#;
    fed(&mut scene, &reply, "", "", mismatch);
    let (_, headers, body) = scene.outlet.asked.pop().expect("it begins anew");
    assert_eq!(headers, "NATS/1.0\r\nNats-Stream-Identity: \r\n\r\n");
    assert!(!body.contains("opt_start_seq"), "{body}");
}

/// Something comes to a stream with sources.
fn fed(scene: &mut Scene, to: &[u8], reply: &str, headers: &str, payload: &str) {
    let message = Outgoing {
        to,
        subject: b"o",
        reply: reply.as_bytes(),
        headers: headers.as_bytes(),
        payload: payload.as_bytes(),
    };
    scene.with(|asset, around| asset.fed(&message, around));
}

/// A stream that sources O, as it was made.
fn sourcing() -> Scene {
    Scene::new(|config| {
        config.subjects = vec!["s".into()];
        config.sources.push(StreamSource {
            name: "O".to_owned(),
            ..StreamSource::default()
        });
    })
}

/// Answers what it has asked for; the subject that it listens to, and from where on it wants messages.
fn answer_source(scene: &mut Scene) -> (Vec<u8>, Option<u64>) {
    let (reply, _, body) = scene.outlet.asked.pop().expect("it asks");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let deliver = body["config"]["deliver_subject"].as_str().unwrap();
    let one = "NATS/1.0\r\nNats-Stream-Identity: one\r\n\r\n";
    fed(scene, &reply, "", one, r#"{"name":"C"}"#);
    let from = body["config"]["opt_start_seq"].as_u64();
    (deliver.as_bytes().to_vec(), from)
}

fn noted(scene: &mut Scene) -> String {
    scene.with(|asset, around| asset.before_flush(around.messages));
    let facts = scene.messages.facts(u32::MAX).concat();
    String::from_utf8_lossy(&facts).into_owned()
}

#[test]
fn what_waits_of_a_source_is_not_noted() {
    let mut scene = sourcing();
    scene.publish_with("s", "NATS/1.0\r\nNats-Msg-Id: a\r\n\r\n");
    scene.messages.later.insert(1);
    scene.restart();
    let (deliver, _) = answer_source(&mut scene);
    for seq in [5, 6] {
        let ack = format!("$JS.ACK.O.C.1.{seq}.{}.0.0", seq - 4);
        fed(&mut scene, &deliver, &ack, "", "x");
    }
    assert_eq!(scene.messages.state().last_seq, 1, "the ids come first");
    assert_eq!(noted(&mut scene), "1 .\n");
    assert!(scene.with(|asset, _| asset.waits_for_read()));
    scene.messages.later.clear();
    scene.with(|asset, around| asset.resume(around));
    assert_eq!(scene.messages.state().last_seq, 3);
    assert_eq!(noted(&mut scene), "3 .\n6 O > > one\n");
    assert!(!scene.with(|asset, _| asset.waits_for_read()));
}

/// A message may be on the disk and the note of it not.
#[test]
fn what_was_stored_of_a_source_is_not_taken_twice() {
    for is_cold in [false, true] {
        let mut scene = sourcing();
        assert_eq!(noted(&mut scene), "0 .\n");
        scene.with(|asset, around| asset.tick_feeds(around));
        let (deliver, from) = answer_source(&mut scene);
        assert_eq!(from, None);
        fed(&mut scene, &deliver, "$JS.ACK.O.C.1.5.1.0.0", "", "x");
        assert_eq!(noted(&mut scene), "1 .\n5 O > > one\n");
        fed(&mut scene, &deliver, "$JS.ACK.O.C.1.6.2.0.0", "", "x");
        scene.publish("s");
        if is_cold {
            scene.messages.later.insert(2);
        }
        scene.crash();
        if is_cold {
            assert!(scene.outlet.asked.is_empty(), "it looks first");
            scene.messages.later.clear();
            scene.with(|asset, around| asset.resume(around));
        }
        let (_, from) = answer_source(&mut scene);
        assert_eq!(from, Some(7));
        assert_eq!(noted(&mut scene), "3 .\n6 O > > one\n");
    }
}
