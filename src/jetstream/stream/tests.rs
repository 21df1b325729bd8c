//! What streams answer, compared with what nats-server 2.15.1 was seen to answer.

use crate::jetstream::config::{
    Discard, Republish, Retention, Storage, StreamConfig, SubjectTransform,
};
use crate::jetstream::{Now, Outgoing, Outlet, Reached};
use crate::store::naive::Naive;
use crate::store::{Messages, Refused, Seq};

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
        Reached::Somebody
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
        Self {
            messages: Naive::new(config.storage == Storage::File),
            stream: Stream::new(config, Settings::default()).unwrap(),
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

    pub fn arrive(&mut self, arrival: &Arrival<'_>) -> Outcome {
        self.with(|stream, world| stream.publish(world, arrival))
    }

    /// Publishes with headers as `Key: value` lines, and gives the answer.
    pub fn ask(&mut self, subject: &str, lines: &[&str], payload: &str) -> String {
        self.ask_with_reply(subject, "r", lines, payload)
    }

    pub fn ask_with_reply(
        &mut self,
        subject: &str,
        reply: &str,
        lines: &[&str],
        payload: &str,
    ) -> String {
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
        let answers = self.outlet.left[before..].iter();
        let answers: Vec<_> = answers.filter(|left| left.subject == reply).collect();
        assert!(answers.len() <= 1, "{answers:?}");
        answers
            .first()
            .map_or("-".into(), |left| left.payload.clone())
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

/// What is published (subject, headers, payload) one after the other, and what is answered.
type Step = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

fn check(name: &str, change: Change, steps: &[Step]) {
    let mut scene = Scene::new(change);
    for (number, (subject, lines, payload, expected)) in steps.iter().enumerate() {
        let answer = short(&scene.ask(subject, lines, payload));
        assert_eq!(answer, *expected, "{name}, step {number}");
        scene.now += SECOND / 1000;
    }
}

#[test]
fn answers() {
    check(
        "plain",
        |_| {},
        &[("a", &[], "x", "seq 1"), ("b", &[], "", "seq 2")],
    );
    check("no ack", |c| c.no_ack = true, &[("a", &[], "x", "-")]);
    check(
        "sealed",
        |c| c.sealed = true,
        &[("a", &[], "x", "10109 invalid operation on sealed stream")],
    );
    check(
        "size",
        |c| c.max_msg_size = 20,
        &[
            ("a", &[], "01234567890123456789", "seq 1"),
            (
                "a",
                &[],
                "012345678901234567890",
                "10054 message size exceeds maximum allowed",
            ),
            (
                "a",
                &["A: b"],
                "0123",
                "10054 message size exceeds maximum allowed",
            ),
            ("a", &["A: b"], "01", "seq 2"),
        ],
    );
    check(
        "expectations",
        |_| {},
        &[
            (
                "a",
                &["Nats-Expected-Stream: T"],
                "",
                "10060 expected stream does not match",
            ),
            ("a", &["Nats-Expected-Stream: S"], "", "seq 1"),
            (
                "a",
                &["Nats-Expected-Last-Sequence: 0"],
                "",
                "10071 wrong last sequence: 1",
            ),
            ("a", &["Nats-Expected-Last-Sequence: 1"], "", "seq 2"),
            (
                "b",
                &["Nats-Expected-Last-Subject-Sequence: 0"],
                "",
                "seq 3",
            ),
            (
                "a",
                &["Nats-Expected-Last-Subject-Sequence: 3"],
                "",
                "10071 wrong last sequence: 2",
            ),
            (
                "a",
                &["Nats-Expected-Last-Subject-Sequence: 2"],
                "",
                "seq 4",
            ),
            (
                "a.x",
                &[
                    "Nats-Expected-Last-Subject-Sequence: 3",
                    "Nats-Expected-Last-Subject-Sequence-Subject: b",
                ],
                "",
                "seq 5",
            ),
            (
                "a.y",
                &[
                    "Nats-Expected-Last-Subject-Sequence: 5",
                    "Nats-Expected-Last-Subject-Sequence-Subject: a.*",
                ],
                "",
                "seq 6",
            ),
            (
                "a.y",
                &["Nats-Expected-Last-Subject-Sequence-Subject: a.*"],
                "",
                "10193 missing sequence for expected last sequence per subject",
            ),
            (
                "a",
                &["Nats-Expected-Last-Msg-Id: i"],
                "",
                "10070 wrong last msg ID: ",
            ),
            ("a", &["Nats-Msg-Id: i"], "", "seq 7"),
            ("a", &["Nats-Expected-Last-Msg-Id: i"], "", "seq 8"),
            (
                "a",
                &["Nats-Expected-Last-Msg-Id: i"],
                "",
                "10070 wrong last msg ID: ",
            ),
        ],
    );
    check(
        "trust",
        |_| {},
        &[(
            "a",
            &["Nats-Stream-Source: x"],
            "",
            "10227 message stream source header is not allowed",
        )],
    );
    check(
        "rollups that are not allowed",
        |_| {},
        &[("a", &["Nats-Rollup: sub"], "", "10111 rollup not permitted")],
    );
    check(
        "rollups that are",
        |c| c.allow_rollup_hdrs = true,
        &[
            (
                "a",
                &["Nats-Rollup: x"],
                "",
                "10111 rollup value invalid: \"x\"",
            ),
            ("a", &["Nats-Rollup: SUB"], "", "seq 1"),
        ],
    );
    check(
        "times to live that are not allowed",
        |_| {},
        &[
            (
                "a",
                &["Nats-TTL: 5"],
                "",
                "10166 per-message TTL is disabled",
            ),
            ("a", &["Nats-TTL: x"], "", "10165 invalid per-message TTL"),
        ],
    );
    check(
        "times to live that are",
        |c| c.allow_msg_ttl = true,
        &[
            ("a", &["Nats-TTL: 5"], "", "seq 1"),
            (
                "a",
                &["Nats-TTL: 10ms"],
                "",
                "10165 invalid per-message TTL",
            ),
            ("a", &["Nats-TTL: never"], "", "seq 2"),
        ],
    );
}

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
fn limits() {
    let run = |change: Change, subjects: &[&'static str]| {
        let mut scene = Scene::new(change);
        let answers: Vec<_> = subjects
            .iter()
            .map(|subject| short(&scene.ask(subject, &[], "123456789")))
            .collect();
        (scene.sequences(), answers.last().cloned().unwrap())
    };
    let cases: &[(Change, &[&'static str], &[Seq], &str)] = &[
        (|c| c.max_msgs = 2, &["a"; 5], &[4, 5], "seq 5"),
        (|c| c.max_bytes = 80, &["a"; 5], &[4, 5], "seq 5"),
        (
            |c| c.max_msgs_per_subject = 1,
            &["a", "b", "a", "b"],
            &[3, 4],
            "seq 4",
        ),
        (
            |c| (c.max_msgs, c.discard) = (2, Discard::New),
            &["a"; 3],
            &[1, 2],
            "10077 maximum messages exceeded",
        ),
        (
            |c| (c.max_bytes, c.discard) = (80, Discard::New),
            &["a"; 3],
            &[1, 2],
            "10077 maximum bytes exceeded",
        ),
        // At the limit of its subject a message takes another's place.
        (
            |c| (c.max_msgs, c.max_msgs_per_subject, c.discard) = (2, 1, Discard::New),
            &["a", "b", "a"],
            &[2, 3],
            "seq 3",
        ),
        (
            |c| (c.max_bytes, c.max_msgs_per_subject, c.discard) = (80, 1, Discard::New),
            &["a", "b", "a"],
            &[2, 3],
            "seq 3",
        ),
        (
            |c| {
                (c.max_msgs_per_subject, c.discard) = (1, Discard::New);
                c.discard_new_per_subject = true;
            },
            &["a", "b", "a"],
            &[1, 2],
            "10077 maximum messages per subject exceeded",
        ),
    ];
    for (number, (change, subjects, sequences, last)) in cases.iter().enumerate() {
        let (there, answer) = run(*change, subjects);
        assert_eq!(there, *sequences, "case {number}");
        assert_eq!(answer, *last, "case {number}");
    }
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
    assert_eq!((removed.single, removed.many), (vec![1, 2], false));
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
    scene.room.server_bytes = 30;
    assert_eq!(
        short(&scene.ask("a", &[], "")),
        "10023 insufficient resources"
    );
    scene.room.server_bytes = 31;
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
