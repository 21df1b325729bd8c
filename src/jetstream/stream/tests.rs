//! What streams answer, compared with what nats-server 2.15.1 was seen to answer.

use crate::jetstream::config::{
    Discard, Republish, Retention, Storage, StreamConfig, SubjectTransform,
};
use crate::jetstream::{Now, Outgoing, Outlet, Reached};
use crate::store::naive::Naive;
use crate::store::{Messages, Refused, Seq};

mod observed;
mod random;
mod time;

use super::publish::{Arrival, Origin, Outcome};
use super::{Removed, Room, Settings, Stream, World};

/// Nanoseconds of a second.
pub(super) const SECOND: i64 = 1_000_000_000;
/// When tests begin: 2026-11-21 10:00:00.
pub(super) const BEGIN: i64 = 1_795_255_200 * SECOND;

/// A message that left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub subject: String,
    pub headers: String,
    pub payload: String,
    /// How: `now`, `durable`, or `anew`.
    pub how: &'static str,
}

/// An outlet that remembers.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub left: Vec<Left>,
    pub is_full: bool,
    random: u64,
}

impl Recorder {
    fn record(&mut self, subject: &[u8], headers: &[u8], payload: &[u8], how: &'static str) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.left.push(Left {
            subject: text(subject),
            headers: text(headers),
            payload: text(payload),
            how,
        });
    }
}

impl Outlet for Recorder {
    fn publish(&mut self, message: &Outgoing<'_>) -> Reached {
        self.record(message.to, message.headers, message.payload, "now");
        match self.is_full {
            true => Reached::Full,
            false => Reached::Somebody,
        }
    }

    fn publish_durable(&mut self, message: &Outgoing<'_>) {
        self.record(message.to, message.headers, message.payload, "durable");
    }

    fn publish_anew(&mut self, subject: &[u8], _: &[u8], headers: &[u8], payload: &[u8]) {
        self.record(subject, headers, payload, "anew");
    }

    fn has_interest(&mut self, _: &[u8]) -> bool {
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

/// A stream with naive messages.
pub(super) struct Scene {
    pub stream: Stream,
    pub messages: Naive,
    pub outlet: Recorder,
    pub room: Room,
    pub now: i64,
    /// Subjects of this prefix are wanted.
    pub wanted: &'static str,
}

impl Scene {
    pub fn new(change: impl FnOnce(&mut StreamConfig)) -> Self {
        let mut config = StreamConfig {
            name: "S".into(),
            subjects: vec![">".into()],
            duplicate_window: 120 * SECOND,
            ..StreamConfig::default()
        };
        change(&mut config);
        Self::of(config)
    }

    pub fn of(config: StreamConfig) -> Self {
        let mut messages = Naive::new(config.storage == Storage::File);
        Self {
            stream: Stream::create(config, Settings::default(), &mut messages).unwrap(),
            messages,
            outlet: Recorder::default(),
            room: Room::UNLIMITED,
            now: BEGIN,
            wanted: "",
        }
    }

    /// Calls the stream with its world.
    pub fn with<T>(
        &mut self,
        call: impl FnOnce(&mut Stream, &mut World<'_, Naive, Recorder>) -> T,
    ) -> T {
        let wanted = self.wanted;
        let is_wanted = |subject: &[u8]| subject.starts_with(wanted.as_bytes());
        let mut world = World {
            messages: &mut self.messages,
            outlet: &mut self.outlet,
            wanted: &is_wanted,
            room: self.room,
            now: Now {
                mono_ms: ((self.now - BEGIN) / 1_000_000) as u64,
                unix: self.now,
            },
        };
        call(&mut self.stream, &mut world)
    }

    /// Has the clock go on, with turns when the stream asks for them.
    pub fn run_until(&mut self, end: i64) {
        loop {
            let begin = self.now;
            let next = self.with(|stream, world| stream.next_deadline(world.messages, world.now));
            let next = next.map(|at| BEGIN + at as i64 * 1_000_000);
            match next.filter(|&at| at <= end) {
                Some(at) => self.now = at.max(begin),
                None => break,
            }
            self.with(|stream, world| stream.tick(world));
        }
        self.now = end;
    }

    pub fn arrive(&mut self, arrival: &Arrival<'_>) -> Outcome {
        self.with(|stream, world| stream.publish(world, arrival))
    }

    /// Publishes with headers as `Key: value` lines, and gives the answer.
    pub fn ask(&mut self, subject: &str, lines: &[&str], payload: &str) -> String {
        let answers = self.answers(subject, "r", lines, payload);
        assert!(answers.len() <= 1, "{answers:?}");
        answers.into_iter().next().unwrap_or_else(|| "-".into())
    }

    /// Publishes, and gives all that is answered.
    pub fn answers(
        &mut self,
        subject: &str,
        reply: &str,
        lines: &[&str],
        payload: &str,
    ) -> Vec<String> {
        let mut headers = String::new();
        if !lines.is_empty() {
            headers = format!("NATS/1.0\r\n{}\r\n\r\n", lines.join("\r\n"));
        }
        let before = self.outlet.left.len();
        self.arrive(&Arrival {
            subject: subject.as_bytes(),
            reply: reply.as_bytes(),
            headers: headers.as_bytes(),
            payload: payload.as_bytes(),
            origin: Origin::Client,
        });
        let left = self.outlet.left[before..].iter();
        left.filter(|left| left.subject == reply)
            .map(|left| left.payload.clone())
            .collect()
    }

    /// Sequences that are there.
    pub fn sequences(&self) -> Vec<Seq> {
        self.messages.messages.keys().copied().collect()
    }

    pub fn headers_of(&self, seq: Seq) -> String {
        String::from_utf8(self.messages.messages[&seq].headers.clone()).unwrap()
    }

    pub fn payload_of(&self, seq: Seq) -> String {
        String::from_utf8(self.messages.messages[&seq].payload.clone()).unwrap()
    }
}

/// `seq 5`, or `10071 wrong last sequence: 5`.
pub(super) fn short(answer: &str) -> String {
    if !answer.starts_with('{') {
        return answer.into();
    }
    let json: serde_json::Value = serde_json::from_str(answer).unwrap();
    if let Some(error) = json.get("error") {
        return format!(
            "{} {}",
            error["err_code"],
            error["description"].as_str().unwrap()
        );
    }
    let mut text = format!("seq {}", json["seq"]);
    for key in ["duplicate", "val", "batch", "count"] {
        if let Some(value) = json.get(key) {
            text += &format!(" {key} {}", value.to_string().trim_matches('"'));
        }
    }
    text
}

type Change = fn(&mut StreamConfig);

#[test]
fn duplicates() {
    let mut scene = Scene::new(|_| {});
    assert_eq!(
        scene.ask("a", &["Nats-Msg-Id: i"], "1"),
        r#"{"stream":"S","seq":1}"#
    );
    assert_eq!(
        scene.ask("b", &["Nats-Msg-Id: i"], "2"),
        r#"{"stream":"S","seq":1,"duplicate": true}"#
    );
    scene.now += 120 * SECOND - 1;
    assert_eq!(
        short(&scene.ask("b", &["Nats-Msg-Id: i"], "2")),
        "seq 1 duplicate true"
    );
    scene.now += 1;
    assert_eq!(short(&scene.ask("b", &["Nats-Msg-Id: i"], "2")), "seq 2");
}

#[test]
fn what_leaves_is_told() {
    let mut scene = Scene::new(|c| {
        c.max_msgs = 2;
        c.allow_rollup_hdrs = true;
    });
    for _ in 0..4 {
        scene.ask("a", &[], "");
    }
    let removed = scene.stream.take_removed();
    let single: Vec<_> = removed.single().collect();
    assert_eq!(
        (single, removed.many),
        (vec![(1, &b"a"[..]), (2, b"a")], false)
    );
    scene.ask("a", &["Nats-Rollup: all"], "");
    assert!(scene.stream.take_removed().many);
    assert_eq!(scene.sequences(), [5]);
    assert_eq!(scene.stream.take_removed(), Removed::default());
}

#[test]
fn when_acknowledgements_leave() {
    let how = |change: Change| {
        let mut scene = Scene::new(change);
        scene.ask("a", &[], "");
        scene.outlet.left[0].how
    };
    assert_eq!(how(|_| {}), "durable");
    assert_eq!(how(|c| c.storage = Storage::Memory), "now");
    assert_eq!(
        how(|c| c.persist_mode = crate::jetstream::config::PersistMode::Async),
        "now"
    );
}

#[test]
fn storage_that_refuses() {
    let mut scene = Scene::new(|_| {});
    for (refused, expected) in [
        (
            Refused::Full,
            "10047 insufficient storage resources available",
        ),
        (Refused::Poisoned, "10023 insufficient resources"),
        (Refused::TooLarge, "10077 message too large"),
    ] {
        scene.messages.refuses = Some(refused);
        assert_eq!(short(&scene.ask("a", &["Nats-Msg-Id: i"], "")), expected);
    }
    scene.messages.refuses = None;
    assert_eq!(short(&scene.ask("a", &["Nats-Msg-Id: i"], "")), "seq 1");
    scene.room.account_bytes = 30;
    assert_eq!(
        short(&scene.ask("a", &[], "")),
        "10002 resource limits exceeded for account"
    );
    scene.room.server_bytes = -1;
    assert_eq!(
        short(&scene.ask("a", &[], "")),
        "10023 insufficient resources"
    );
    // The one that goes beyond the limit is the last.
    scene.room.server_bytes = 0;
    scene.room.account_bytes = 31;
    assert_eq!(short(&scene.ask("a", &[], "")), "seq 2");
}

#[test]
fn interest() {
    let mut scene = Scene::new(|c| {
        c.retention = Retention::Interest;
        c.allow_rollup_hdrs = true;
    });
    scene.wanted = "w";
    assert_eq!(short(&scene.ask("w", &[], "")), "seq 1");
    assert_eq!(short(&scene.ask("a", &["Nats-Msg-Id: i"], "")), "seq 2");
    assert_eq!(
        short(&scene.ask("a", &["Nats-Msg-Id: i"], "")),
        "seq 2 duplicate true"
    );
    assert_eq!(
        short(&scene.ask("w", &["Nats-Expected-Last-Sequence: 2"], "")),
        "seq 3"
    );
    assert_eq!(scene.sequences(), [1, 3]);
    assert_eq!(short(&scene.ask("a", &["Nats-Rollup: all"], "")), "seq 4");
    assert_eq!(scene.sequences(), Vec::<Seq>::new());
}

#[test]
fn transforms_and_republishing() {
    let mut scene = Scene::new(|c| {
        c.subject_transform = Some(SubjectTransform {
            source: "in.*".into(),
            destination: "out.{{wildcard(1)}}".into(),
        });
        c.republish = Some(Republish {
            source: "out.>".into(),
            destination: "again.>".into(),
            headers_only: false,
        });
    });
    scene.ask("in.a", &[], "1");
    scene.ask("in.a", &["A: b"], "2");
    scene.ask("other", &[], "3");
    let subjects: Vec<_> = scene
        .messages
        .messages
        .values()
        .map(|m| &m.subject)
        .collect();
    assert_eq!(subjects, [b"out.a", b"out.a", b"other"]);
    let again: Vec<_> = scene
        .outlet
        .left
        .iter()
        .filter(|left| left.how == "anew")
        .collect();
    assert_eq!(again.len(), 2);
    assert_eq!(again[1].subject, "again.a");
    assert_eq!(again[1].payload, "2");
    assert_eq!(
        again[1].headers,
        "NATS/1.0\r\nA: b\r\nNats-Stream: S\r\nNats-Subject: out.a\r\nNats-Sequence: 2\r\n\
         Nats-Time-Stamp: 2026-11-21T10:00:00Z\r\nNats-Last-Sequence: 1\r\n\r\n"
    );
}

#[test]
fn what_must_be_read_makes_everybody_wait() {
    let mut scene = Scene::new(|c| {
        (c.max_bytes, c.max_msgs_per_subject, c.discard) = (80, 1, Discard::New);
    });
    scene.ask("a", &[], "123456789");
    scene.ask("b", &[], "123456789");
    scene.messages.later.insert(1);
    assert_eq!(scene.ask("a", &[], "123456789"), "-");
    assert_eq!(scene.ask("b", &[], "123456789"), "-");
    scene.with(|stream, world| stream.resume(world));
    assert_eq!(scene.outlet.left.len(), 2);
    scene.messages.later.clear();
    scene.with(|stream, world| stream.resume(world));
    let answers: Vec<_> = scene.outlet.left[2..]
        .iter()
        .map(|l| short(&l.payload))
        .collect();
    assert_eq!(answers, ["seq 3", "seq 4"]);
    assert_eq!(scene.messages.state().messages, 2);
}
