//! What takes time: reads that come later, ends, schedules, batches, restarts.

use crate::jetstream::api::requests::MsgGetRequest;
use crate::store::flags;

use super::*;

impl Scene {
    fn restart(&mut self) {
        let config = self.stream.config().clone();
        let now = Now {
            mono_ms: ((self.now - BEGIN) / 1_000_000) as u64,
            unix: self.now,
        };
        let facts = self.messages.facts(0).to_vec();
        let facts = facts.iter().map(Vec::as_slice);
        let settings = Settings::default();
        self.stream = Stream::recover(config, settings, facts, &mut self.messages, now).unwrap();
    }

    fn resume(&mut self) {
        self.with(|stream, world| stream.resume(world));
    }

    fn last_answer(&self) -> String {
        short(&self.outlet.left.last().unwrap().payload)
    }
}

#[test]
fn ids_are_known_after_a_restart() {
    let mut scene = Scene::new(|_| {});
    scene.ask("a", &["Nats-Msg-Id: old"], "");
    scene.now += 121 * SECOND;
    scene.ask("a", &["Nats-Msg-Id: i"], "");
    scene.ask("a", &[], "");
    scene.ask("a", &["Nats-Msg-Id: j"], "");
    scene.restart();
    // The read takes a while; nothing gets past it.
    scene.messages.later.insert(2);
    assert_eq!(scene.ask("b", &["Nats-Msg-Id: i"], ""), "-");
    assert_eq!(scene.ask("b", &[], ""), "-");
    assert!(scene.stream.waits());
    scene.messages.later.clear();
    scene.outlet.left.clear();
    scene.resume();
    let answers: Vec<_> = scene
        .outlet
        .left
        .iter()
        .map(|left| short(&left.payload))
        .collect();
    assert_eq!(answers, ["seq 2 duplicate true", "seq 5"]);
    assert_eq!(short(&scene.ask("b", &["Nats-Msg-Id: old"], "")), "seq 6");
    scene.restart();
    assert_eq!(
        short(&scene.ask("b", &["Nats-Expected-Last-Msg-Id: old"], "")),
        "seq 7"
    );
    scene.restart();
    assert_eq!(
        short(&scene.ask("b", &["Nats-Expected-Last-Msg-Id: old"], "")),
        "10070 wrong last msg ID: "
    );
}

#[test]
fn ends_and_schedules_are_known_after_a_restart() {
    let mut scene = Scene::new(|c| {
        c.allow_msg_ttl = true;
        c.allow_msg_schedules = true;
        c.allow_rollup_hdrs = true;
    });
    scene.ask("a", &["Nats-TTL: 5"], "");
    scene.ask(
        "s",
        &[
            "Nats-Schedule: @at 2026-11-21T10:00:07Z",
            "Nats-Schedule-Target: t",
        ],
        "p",
    );
    scene.ask(
        "e",
        &["Nats-Schedule: @every 3s", "Nats-Schedule-Target: u"],
        "q",
    );
    scene.restart();
    scene.messages.later.extend([1, 2, 3]);
    scene.run_until(BEGIN + 2 * SECOND);
    scene.messages.later.clear();
    scene.resume();
    scene.run_until(BEGIN + 8 * SECOND);
    let there: Vec<_> = scene
        .messages
        .messages
        .values()
        .map(|m| {
            (
                String::from_utf8_lossy(&m.subject).into_owned(),
                (m.time - BEGIN) / SECOND,
            )
        })
        .collect();
    let there: Vec<_> = there
        .iter()
        .map(|(subject, at)| (subject.as_str(), *at))
        .collect();
    assert_eq!(there, [("e", 0), ("u", 3), ("u", 6), ("t", 7)]);
}

#[test]
fn many_ends_are_done_in_turns() {
    let mut scene = Scene::new(|c| c.max_age = SECOND);
    for _ in 0..3000 {
        scene.ask("a", &[], "");
    }
    scene.stream.take_removed();
    scene.now += SECOND;
    scene.with(|stream, world| stream.tick(world));
    assert_eq!(scene.messages.state().messages, 3000 - 1024);
    assert!(!scene.stream.take_removed().is_empty());
    scene.run_until(scene.now);
    assert_eq!(scene.messages.state().messages, 0);
    let next = scene.with(|stream, world| stream.next_deadline(world.messages, world.now));
    assert_eq!(next, None);
}

#[test]
fn times_to_live_of_what_is_gone_take_no_room() {
    let mut scene = Scene::new(|c| {
        c.allow_msg_ttl = true;
        c.max_msgs_per_subject = 1;
    });
    for _ in 0..10_000 {
        scene.ask("a", &["Nats-TTL: 1h"], "");
        scene.outlet.left.clear();
    }
    assert!(scene.stream.expiry.len() < 3000);
}

#[test]
fn a_marker_needs_a_read() {
    let mut scene = Scene::new(|c| {
        c.max_age = SECOND;
        c.allow_msg_ttl = true;
        c.allow_rollup_hdrs = true;
        c.subject_delete_marker_ttl = 3700 * SECOND;
    });
    scene.ask("a", &[], "");
    scene.messages.later.insert(1);
    scene.run_until(BEGIN + 2 * SECOND);
    assert_eq!(scene.sequences(), [1]);
    scene.messages.later.clear();
    scene.resume();
    assert_eq!(scene.sequences(), [2]);
    assert_eq!(
        scene.headers_of(2),
        "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 1h1m40s\r\nNats-Rollup: sub\r\n\r\n"
    );
    assert_eq!(scene.messages.messages[&2].flags, flags::TTL);
    // While there is no room for it, the message stays.
    scene.ask("b", &[], "");
    scene.room.account_bytes = 10;
    scene.run_until(scene.now + 2 * SECOND);
    assert_eq!(scene.messages.subject(b"b").unwrap().last, 3);
    scene.room = Room::UNLIMITED;
    scene.run_until(scene.now + SECOND + SECOND / 10);
    assert_eq!(scene.messages.subject(b"b").unwrap().last, 4);
}

#[test]
fn counters_wait_for_their_total() {
    let mut scene = Scene::new(|c| c.allow_msg_counter = true);
    scene.ask("a", &["Nats-Incr: 5"], "");
    scene.messages.later.insert(1);
    assert_eq!(scene.ask("a", &["Nats-Incr: 1"], ""), "-");
    assert_eq!(scene.ask("b", &["Nats-Incr: 1"], ""), "-");
    scene.messages.later.clear();
    scene.resume();
    assert_eq!(scene.payload_of(2), r#"{"val":"6"}"#);
    assert_eq!(scene.last_answer(), "seq 3 val 1");
    scene.messages.damaged.insert(2);
    assert_eq!(
        short(&scene.ask("a", &["Nats-Incr: 1"], "")),
        "10172 message counter is broken"
    );
}

#[test]
fn counters_of_sources() {
    let mut scene = Scene::new(|c| c.allow_msg_counter = true);
    scene.ask("a", &["Nats-Incr: 5"], "");
    for (source, total) in [("east", 7), ("west", 1), ("east", 10)] {
        let headers =
            format!("NATS/1.0\r\nNats-Incr: 99\r\nNats-Stream-Source: {source} 1 > > x\r\n\r\n");
        let payload = format!(r#"{{"val":"{total}"}}"#);
        scene.arrive(&Arrival {
            subject: b"a",
            headers: headers.as_bytes(),
            payload: payload.as_bytes(),
            origin: Origin::Source,
            ..Arrival::default()
        });
    }
    assert_eq!(scene.payload_of(4), r#"{"val":"16"}"#);
    assert_eq!(
        scene.headers_of(4),
        "NATS/1.0\r\nNats-Incr: 3\r\nNats-Stream-Source: east 1 > > x\r\n\
         Nats-Counter-Sources: {\"east\":{\"x\":\"10\"},\"west\":{\"x\":\"1\"}}\r\n\r\n"
    );
}

#[test]
fn batches_end_when_nothing_comes() {
    let mut scene = Scene::new(|c| {
        c.allow_atomic = true;
        c.allow_batched = true;
    });
    scene.ask("a", &["Nats-Batch-Id: i", "Nats-Batch-Sequence: 1"], "");
    scene.answers("a", "p.f.10.ok.1.0.$FI", &[], "");
    assert_eq!(scene.stream.batches(), (1, 1));
    scene.run_until(BEGIN + 9 * SECOND);
    scene.ask("a", &["Nats-Batch-Id: i", "Nats-Batch-Sequence: 2"], "");
    scene.run_until(BEGIN + 11 * SECOND);
    assert_eq!(scene.stream.batches(), (1, 0));
    scene.outlet.left.clear();
    scene.run_until(BEGIN + 21 * SECOND);
    assert_eq!(scene.stream.batches(), (0, 0));
    let told = &scene.outlet.left[0];
    assert_eq!(told.subject, "$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.S");
    let json: serde_json::Value = serde_json::from_str(&told.payload).unwrap();
    assert_eq!(json["batch"], "i");
    assert_eq!(json["reason"], "timeout");
}

#[test]
fn limits_of_batches() {
    let mut scene = Scene::new(|c| c.allow_atomic = true);
    let begin = |scene: &mut Scene, id: usize, payload: &str| {
        let id = format!("Nats-Batch-Id: {id}");
        short(&scene.ask("a", &[&id, "Nats-Batch-Sequence: 1"], payload))
    };
    for id in 0..50 {
        assert_eq!(begin(&mut scene, id, ""), "");
    }
    assert_eq!(
        begin(&mut scene, 50, ""),
        "10210 atomic publish too many inflight"
    );
    scene.stream.settings.batch_bytes_max = 100_000;
    let large = "x".repeat(100_000);
    let lines = ["Nats-Batch-Id: 1", "Nats-Batch-Sequence: 2"];
    assert_eq!(
        short(&scene.ask("a", &lines, &large)),
        "10023 insufficient resources"
    );
    assert_eq!(scene.stream.batches(), (49, 0));
    scene.room.atomic_batches = 0;
    assert_eq!(
        begin(&mut scene, 50, ""),
        "10210 atomic publish too many inflight"
    );
}

#[test]
fn a_batch_is_stored_whole_or_not() {
    let commit = |scene: &mut Scene| {
        for (number, subject) in ["a", "b", "c"].iter().enumerate() {
            let sequence = format!("Nats-Batch-Sequence: {}", number + 1);
            let mut lines = vec!["Nats-Batch-Id: i", &sequence];
            if number == 2 {
                lines.push("Nats-Batch-Commit: 1");
            }
            scene.ask(subject, &lines, "");
        }
    };
    // Refused at the second message.
    let mut scene = Scene::new(|c| c.allow_atomic = true);
    scene.messages.refuse_after = Some(1);
    commit(&mut scene);
    assert_eq!(
        scene.last_answer(),
        "10047 insufficient storage resources available"
    );
    assert_eq!(scene.sequences(), Vec::<Seq>::new());
    scene.messages.refuse_after = None;
    commit(&mut scene);
    assert_eq!(scene.last_answer(), "seq 4 batch i count 3");
    assert_eq!(scene.sequences(), [2, 3, 4]);
    assert!(scene.messages.facts(0).is_empty());
    // Ended by a crash behind the second.
    let mut scene = Scene::new(|c| c.allow_atomic = true);
    scene.ask("z", &[], "");
    scene.messages.note(0, &1u64.to_le_bytes()).unwrap();
    scene.ask("a", &["Nats-Msg-Id: i"], "");
    scene.ask("b", &[], "");
    scene.restart();
    assert_eq!(scene.sequences(), [1]);
    assert!(scene.messages.facts(0).is_empty());
    assert_eq!(short(&scene.ask("a", &["Nats-Msg-Id: i"], "")), "seq 4");
}

#[test]
fn a_batch_waits_for_a_read() {
    let mut scene = Scene::new(|c| {
        c.allow_atomic = true;
        c.allow_msg_counter = true;
        c.allow_batched = true;
    });
    scene.ask("a", &["Nats-Incr: 5"], "");
    scene.messages.later.insert(1);
    let lines = [
        "Nats-Incr: 1",
        "Nats-Batch-Id: i",
        "Nats-Batch-Sequence: 1",
        "Nats-Batch-Commit: 1",
    ];
    assert_eq!(scene.ask("a", &lines, ""), "-");
    scene.answers("a", "p.f.10.ok.1.0.$FI", &["Nats-Incr: 1"], "");
    scene.run_until(BEGIN + 20 * SECOND);
    scene.messages.later.clear();
    scene.resume();
    let answers: Vec<_> = scene.outlet.left[1..]
        .iter()
        .map(|left| short(&left.payload))
        .collect();
    assert_eq!(answers[0], "seq 2 batch i count 1");
    assert_eq!(scene.payload_of(3), r#"{"val":"7"}"#);
}

#[test]
fn reads_wait_too() {
    let mut scene = Scene::new(|_| {});
    for payload in ["1", "2", "3"] {
        scene.ask("a", &[], payload);
    }
    scene.outlet.left.clear();
    scene.messages.later.insert(2);
    let batch = br#"{"seq":1,"batch":10}"#;
    scene.with(|stream, world| stream.direct_get(world, b"", b"x", b"", batch));
    scene.with(|stream, world| stream.direct_get(world, b"", b"y", b"", br#"{"seq":2}"#));
    let request = MsgGetRequest {
        seq: 2,
        ..MsgGetRequest::default()
    };
    scene
        .with(|stream, world| stream.message_get(world, &request, b"z"))
        .unwrap();
    assert_eq!(scene.outlet.left.len(), 1);
    scene.messages.later.clear();
    // It goes meanwhile.
    scene.messages.remove(2, false);
    scene.resume();
    let of = |to: &str| -> Vec<String> {
        let left = scene.outlet.left.iter().filter(|left| left.subject == to);
        left.map(|left| left.headers.lines().next().unwrap_or_default().to_owned() + &left.payload)
            .collect()
    };
    assert_eq!(of("x"), ["NATS/1.01", "NATS/1.03", "NATS/1.0 204 EOB"]);
    assert_eq!(of("y"), ["NATS/1.0 404 Message Not Found"]);
    assert!(of("z")[0].contains("10037"));
    assert!(!scene.stream.waits());
}

#[test]
fn a_slow_reader_is_not_forgotten() {
    let mut scene = Scene::new(|_| {});
    for payload in ["1", "2", "3"] {
        scene.ask("a", &[], payload);
    }
    scene.outlet.left.clear();
    scene.outlet.is_full = true;
    let batch = br#"{"seq":1,"batch":10}"#;
    scene.with(|stream, world| stream.direct_get(world, b"", b"x", b"", batch));
    assert_eq!(scene.outlet.left.len(), 1);
    scene.run_until(scene.now + SECOND / 250);
    assert_eq!(scene.outlet.left.len(), 3);
    scene.outlet.is_full = false;
    scene.run_until(scene.now + SECOND);
    assert_eq!(scene.outlet.left.len(), 4);
}

#[test]
fn what_is_read_is_on_the_disk_before() {
    let mut scene = Scene::new(|_| {});
    scene.ask("a", &[], "1");
    scene.ask("a", &[], "2");
    scene.messages.durable = Some(1);
    scene.outlet.left.clear();
    let batch = br#"{"seq":1,"batch":10}"#;
    scene.with(|stream, world| stream.direct_get(world, b"", b"x", b"", batch));
    let how: Vec<_> = scene.outlet.left.iter().map(|left| left.how).collect();
    assert_eq!(how, ["now", "durable", "durable"]);
}

#[test]
fn what_waits_is_limited() {
    for (bytes, messages) in [(1000, usize::MAX), (usize::MAX, 3)] {
        let mut scene = Scene::new(|c| c.allow_msg_counter = true);
        scene.stream.settings.waiting_bytes_max = bytes;
        scene.stream.settings.waiting_messages_max = messages;
        scene.ask("a", &["Nats-Incr: 5"], "");
        scene.messages.later.insert(1);
        let answers: Vec<_> = (0..20)
            .map(|_| short(&scene.ask("a", &["Nats-Incr: 1"], "")))
            .collect();
        assert_eq!(answers[0], "-");
        assert_eq!(answers[19], "10167 too many requests");
        let waiting = answers.iter().filter(|answer| *answer == "-").count();
        assert!(waiting <= messages);
    }
}

#[test]
fn a_schedule_that_cannot_produce() {
    let mut scene = Scene::new(|c| {
        c.allow_msg_schedules = true;
        c.allow_rollup_hdrs = true;
    });
    scene.ask(
        "o",
        &[
            "Nats-Schedule: @at 2026-11-21T10:00:01Z",
            "Nats-Schedule-Target: t",
        ],
        "",
    );
    scene.ask(
        "e",
        &["Nats-Schedule: @every 1s", "Nats-Schedule-Target: t"],
        "",
    );
    scene.messages.refuses = Some(Refused::Full);
    scene.run_until(BEGIN + 10 * SECOND);
    assert_eq!(scene.sequences(), [1, 2]);
    scene.messages.refuses = None;
    scene.run_until(BEGIN + 12 * SECOND + SECOND / 2);
    // The one for once comes late, the other one goes on.
    let of_t = scene.messages.subject(b"t").unwrap();
    assert_eq!(of_t.messages, 3);
    assert_eq!(scene.messages.subject(b"o"), None);
    // A message of its subject that is no schedule ends it.
    scene.ask("e", &[], "");
    scene.run_until(BEGIN + 20 * SECOND);
    assert_eq!(scene.messages.subject(b"t").unwrap().messages, 3);
}
