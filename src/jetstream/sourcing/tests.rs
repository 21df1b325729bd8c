//! A feed's conversation, seen from the other stream.

use super::*;
use crate::jetstream::config::{External, SubjectTransform};

#[derive(Default)]
struct World {
    sent: Vec<(String, String, String)>,
    heads: Vec<String>,
    listens: Vec<String>,
    ended: Vec<u32>,
    random: u64,
}

impl Feeder for World {
    fn publish(&mut self, message: &Outgoing<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.sent
            .push((text(message.to), text(message.reply), text(message.payload)));
        self.heads.push(text(message.headers));
    }

    fn listen(&mut self, subject: &[u8]) -> u32 {
        self.listens
            .push(String::from_utf8_lossy(subject).into_owned());
        self.listens.len() as u32 - 1
    }

    fn unlisten(&mut self, listen: u32) {
        self.ended.push(listen);
    }

    fn random(&mut self) -> u64 {
        self.random += 1;
        self.random
    }
}

fn now(ms: u64) -> Now {
    Now {
        mono_ms: ms,
        unix: ms as i64 * 1_000_000,
    }
}

fn source(name: &str) -> StreamSource {
    StreamSource {
        name: name.to_owned(),
        ..StreamSource::default()
    }
}

/// Feeds up to the moment when the consumer is there.
fn fed(source: StreamSource, is_mirror: bool, world: &mut World) -> Feed {
    let mut feed = Feed::new(source, is_mirror, "OWN");
    feed.tick(now(1), Start::default(), world);
    let reply = feed.reply.clone();
    let answer = format!(
        "{{\"type\":\"x\",\"name\":\"{}\",\"num_pending\":7}}",
        feed.consumer
    );
    let message = Outgoing {
        to: &reply,
        subject: &reply,
        payload: answer.as_bytes(),
        ..Outgoing::default()
    };
    assert!(feed.arrived(now(2), &message, world).is_none());
    assert_eq!(feed.phase, Phase::Fed);
    feed
}

fn deliver(feed: &mut Feed, at: u64, seqs: (u64, u64), world: &mut World) -> Option<(u64, String)> {
    let (stream_seq, consumer_seq) = seqs;
    let consumer = feed.consumer.clone();
    let reply = format!("$JS.ACK.S.{consumer}.1.{stream_seq}.{consumer_seq}.1700.5");
    let to = feed.deliver.clone();
    let message = Outgoing {
        to: &to,
        subject: b"orders.new",
        reply: reply.as_bytes(),
        headers: b"",
        payload: b"hello",
    };
    let fed = feed.arrived(now(at), &message, world)?;
    assert_eq!((fed.time, fed.payload), (1700, &b"hello"[..]));
    let subject = String::from_utf8(fed.subject).expect("it was text");
    Some((fed.seq, subject))
}

#[test]
fn asks_where_the_other_stream_is() {
    let external = External {
        api: "JS.other.API".to_owned(),
        deliver: "sync.".to_owned(),
    };
    let transform = |source: &str, destination: &str| SubjectTransform {
        source: source.to_owned(),
        destination: destination.to_owned(),
    };
    let cases = [
        (
            source("A"),
            0,
            "$JS.API.CONSUMER.CREATE.A.",
            "$JS.M.",
            "\"deliver_policy\":\"all\"",
        ),
        (
            source("A"),
            9,
            "$JS.API.CONSUMER.CREATE.A.",
            "$JS.M.",
            "\"opt_start_seq\":10",
        ),
        (
            StreamSource {
                external: Some(external),
                ..source("A")
            },
            0,
            "JS.other.API.CONSUMER.CREATE.A.",
            "sync.M.",
            "\"flow_control\":true",
        ),
        (
            StreamSource {
                opt_start_seq: 5,
                ..source("A")
            },
            0,
            "$JS.API.CONSUMER.CREATE.A.",
            "$JS.M.",
            "\"opt_start_seq\":5",
        ),
        (
            StreamSource {
                filter_subject: "a.*".to_owned(),
                ..source("A")
            },
            0,
            "$JS.API.CONSUMER.CREATE.A.",
            "$JS.M.",
            "\"filter_subject\":\"a.*\"",
        ),
        (
            StreamSource {
                subject_transforms: vec![transform("a", "b"), transform("c", "d")],
                ..source("A")
            },
            0,
            "$JS.API.CONSUMER.CREATE.A.",
            "$JS.M.",
            "\"filter_subjects\":[\"a\",\"c\"]",
        ),
    ];
    for (source, after, subject, deliver, part) in cases {
        let mut world = World::default();
        let mut feed = Feed::new(source, true, "OWN");
        let start = Start {
            after,
            ..Start::default()
        };
        feed.tick(now(1), start, &mut world);
        let (to, reply, body) = &world.sent[0];
        assert!(to.starts_with(subject), "{to}");
        assert!(feed.deliver.starts_with(deliver.as_bytes()));
        assert_eq!(world.listens, [reply.as_str()]);
        assert!(body.contains(part), "{body}");
    }
}

#[test]
fn a_gap_is_asked_for_again() {
    let mut world = World::default();
    let mut feed = fed(source("A"), true, &mut world);
    assert_eq!(
        deliver(&mut feed, 3, (4, 1), &mut world),
        Some((4, "orders.new".into()))
    );
    assert_eq!(
        deliver(&mut feed, 3, (9, 2), &mut world),
        Some((9, "orders.new".into()))
    );
    // The third is missing.
    assert_eq!(deliver(&mut feed, 3, (11, 4), &mut world), None);
    let start = Start {
        after: 9,
        ..Start::default()
    };
    feed.tick(now(3), start, &mut world);
    let (_, _, body) = world.sent.last().expect("it has asked again");
    assert!(body.contains("\"opt_start_seq\":10"), "{body}");
}

#[test]
fn a_heartbeat_shows_a_gap_and_silence_ends_it() {
    let mut world = World::default();
    let mut feed = fed(source("A"), true, &mut world);
    deliver(&mut feed, 3, (4, 1), &mut world);
    let to = feed.deliver.clone();
    let heartbeat = |feed: &mut Feed, last: u64, world: &mut World| {
        let block = format!("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {last}\r\n\r\n");
        let message = Outgoing {
            to: &to,
            subject: &to,
            headers: block.as_bytes(),
            ..Outgoing::default()
        };
        feed.arrived(now(50), &message, world);
    };
    heartbeat(&mut feed, 1, &mut world);
    assert_eq!(feed.phase, Phase::Fed);
    assert_eq!(feed.next_deadline(), 50 + QUIET_MS);
    heartbeat(&mut feed, 2, &mut world);
    assert_eq!(feed.phase, Phase::Waiting { at: 50 });
    assert_eq!(world.ended, [0, 1]);
}

#[test]
fn flow_control_is_answered() {
    let mut world = World::default();
    let mut feed = fed(source("A"), false, &mut world);
    let to = feed.deliver.clone();
    let message = Outgoing {
        to: &to,
        subject: &to,
        reply: b"$JS.FC.A.x.1",
        headers: b"NATS/1.0 100 FlowControl Request\r\n\r\n",
        payload: b"",
    };
    assert!(feed.arrived(now(5), &message, &mut world).is_none());
    assert_eq!(
        world.sent.last().map(|s| s.0.as_str()),
        Some("$JS.FC.A.x.1")
    );
}

#[test]
fn errors_are_shown_and_tried_again_later() {
    let mut world = World::default();
    let mut feed = Feed::new(source("A"), true, "OWN");
    feed.tick(now(1), Start::default(), &mut world);
    let reply = feed.reply.clone();
    let message = Outgoing {
        to: &reply,
        subject: &reply,
        payload: br#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#,
        ..Outgoing::default()
    };
    feed.arrived(now(2), &message, &mut world);
    let error = feed.info(now(2), 0).error.expect("one is shown");
    assert!(error.description.contains("stream not found"), "{error:?}");
    assert_eq!(feed.next_deadline(), 2 + RETRY_MS);
}

#[test]
fn a_stream_that_was_made_anew_is_followed_from_its_beginning() {
    let mut world = World::default();
    let mut feed = Feed::new(source("A"), false, "OWN");
    let start = Start {
        after: 9,
        identity: "old",
        ..Start::default()
    };
    feed.tick(now(1), start, &mut world);
    let answer = |feed: &mut Feed, headers: &[u8], payload: &[u8], world: &mut World| {
        let reply = feed.reply.clone();
        let message = Outgoing {
            to: &reply,
            subject: &reply,
            headers,
            payload,
            ..Outgoing::default()
        };
        feed.arrived(now(2), &message, world);
    };
    let mismatch = br#"{"error":{"code":400,"err_code":10225,"description":"new"}}"#;
    answer(&mut feed, b"", mismatch, &mut world);
    assert!(feed.take_recreated() && !feed.take_recreated());
    assert_eq!(feed.next_deadline(), 2);
    feed.tick(now(2), Start::default(), &mut world);
    let head = b"NATS/1.0\r\nNats-Stream-Identity: new\r\n\r\n";
    answer(&mut feed, head, br#"{"name":"C"}"#, &mut world);
    assert_eq!(feed.identity(), "new");
    let heads: Vec<&str> = world.heads.iter().map(String::as_str).collect();
    assert_eq!(
        heads,
        [
            "NATS/1.0\r\nNats-Stream-Identity: old\r\n\r\n",
            "NATS/1.0\r\nNats-Stream-Identity: \r\n\r\n"
        ]
    );
}

#[test]
fn headers_say_where_a_message_comes_from() {
    let block = b"NATS/1.0\r\nA: 1\r\nNats-Expected-Last-Sequence: 4\r\nNats-Stream-Source: B 1 > > x\r\n\r\n";
    let block = sourced_headers(block, "S > >", 12, b"orders.new", "Xy8");
    let text = String::from_utf8_lossy(&block);
    assert_eq!(
        text,
        "NATS/1.0\r\nA: 1\r\nNats-Stream-Source: S 12 > > orders.new Xy8\r\n\r\n"
    );
    let from = SourcedFrom::read(&block).expect("it was written");
    assert_eq!((from.index_name.as_str(), from.seq), ("S > >", 12));
    assert_eq!(from.identity, "Xy8");
    // One of an older server.
    let block = b"NATS/1.0\r\nNats-Stream-Source: S 12 > > x\r\n\r\n";
    let from = SourcedFrom::read(block).expect("it is one");
    assert_eq!((from.seq, from.identity.as_str()), (12, ""));
}
