//! What observation does not reach: limits of memory, reads that come late, restarts, and inputs
//! that a well-behaved client does not send.

use super::*;
use crate::jetstream::config::Retention;

/// A stage with so many messages, and a consumer.
fn stage_of(messages: u64, config: ConsumerConfig) -> Stage {
    let mut stage = Stage::new();
    for n in 1..=messages {
        stage.put_before("a", &format!("{n}"));
    }
    stage.create(config);
    stage
}

fn restart(stage: &mut Stage) {
    let consumer = stage.consumer.take().unwrap();
    let (whole, config) = (consumer.snapshot(), consumer.config().clone());
    let mut around = Around {
        now: stage.now,
        home: &stage.home,
        messages: &mut stage.messages,
        outlet: &mut stage.outlet,
        desk: &mut stage.desk,
    };
    let facts = [whole.as_slice()];
    let created = consumer.created();
    let again = Consumer::recover("C", config, created, facts, &mut around);
    stage.consumer = Some(again.unwrap());
    stage.settle();
}

fn seqs(sent: &[String]) -> Vec<u64> {
    sent.iter()
        .filter_map(|line| line.split(' ').nth(1)?.parse().ok())
        .collect()
}

#[test]
fn one_that_nobody_acknowledges_does_not_take_more_and_more_room() {
    let mut stage = stage_of(0, pull_config());
    let mut most = 0;
    for n in 1..=20_000 {
        stage.put_before("a", "x");
        stage.pull("P", "1");
        if n > 1 {
            stage.answer(n, "");
        }
        stage.outlet.sent.clear();
        stage.outlet.durable.clear();
        most = most.max(stage.consumer.as_ref().unwrap().pending.room());
        stage.now.mono_ms += 1;
    }
    assert_eq!(stage.info().num_ack_pending, 1);
    assert!(most < 1500, "{most}");
}

#[test]
fn saying_the_same_again_and_again_takes_no_room() {
    for (what, most) in [
        ("-NAK 10s", 1200),
        ("-NAK {\"delay\":5000000000}", 1200),
        ("+WPI", 1200),
        ("-NAK", 200),
    ] {
        let mut stage = stage_of(2, pull_config());
        stage.pull("P", "2");
        for n in 0..5000u64 {
            let subject = format!("$JS.ACK.S.C.1.{}.1.0.0", 1 + n % 2);
            stage.answer_to(&subject, what);
            stage.now.mono_ms += 1;
            stage.outlet.durable.clear();
        }
        let room = stage.consumer.as_ref().unwrap().pending.room();
        assert!(room <= most, "{what}: {room}");
    }
}

#[test]
fn a_late_read_is_waited_for_and_nothing_is_lost() {
    let mut stage = Stage::new();
    for _ in 0..5 {
        stage.put_before("a", "x");
    }
    stage.messages.later.insert(3);
    stage.messages.damaged.insert(4);
    stage.create(pull_config());
    stage.with(|consumer, around| {
        consumer.handle_next(b"P", b"", b"10", around);
        assert_eq!(consumer.deliver(&mut 100, around), Progress::WaitingForRead);
        assert_eq!(consumer.deliver(&mut 100, around), Progress::WaitingForRead);
    });
    assert_eq!(seqs(&stage.take()), [1, 2]);
    stage.messages.later.clear();
    stage.settle();
    assert_eq!(stage.take(), ["P: 3", "P: 5"]);
    assert_eq!(stage.desk.damaged, 1);
    let info = stage.info();
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 4));
}

#[test]
fn a_late_read_of_a_redelivery_keeps_its_turn() {
    let mut stage = stage_of(2, pull_config());
    stage.pull("P", "2");
    stage.answer(1, "-NAK");
    stage.answer(2, "-NAK");
    stage.take();
    stage.messages.later.insert(1);
    stage.pull("P", "2");
    assert_eq!(stage.take(), Vec::<String>::new());
    stage.messages.later.clear();
    stage.settle();
    assert_eq!(stage.take(), ["P: 1 x2", "P: 2 x2"]);
}

#[test]
fn only_what_is_durable_leaves() {
    let mut stage = stage_of(0, push_config());
    stage.messages.durable = Some(0);
    stage.put("a", "1");
    stage.put("a", "2");
    assert_eq!(stage.take(), Vec::<String>::new());
    stage.messages.durable = Some(1);
    stage.settle();
    assert_eq!(stage.take(), ["D: 1"]);
    stage.messages.durable = Some(2);
    stage.settle();
    assert_eq!(stage.take(), ["D: 2"]);
}

#[test]
fn whoever_has_too_much_unsent_is_given_a_moment() {
    let mut stage = stage_of(3, push_config());
    stage.take();
    stage.outlet.full = true;
    for seq in 4..7 {
        stage.put_before("a", "x");
        let progress = stage.with(|consumer, around| consumer.deliver(&mut 9, around));
        assert_eq!(progress, Progress::WaitingForOutlet);
        assert_eq!(seqs(&stage.take()), [seq]);
    }
}

#[test]
fn acknowledgements_are_answered_when_they_are_durable() {
    for (mem_storage, is_durable) in [(false, true), (true, false)] {
        let mut stage = stage_of(
            1,
            ConsumerConfig {
                mem_storage,
                ..pull_config()
            },
        );
        stage.pull("P", "1");
        stage.outlet.sent.retain(|sent| sent.to != "R");
        stage.answer(1, "");
        let now: Vec<_> = stage.outlet.sent.iter().filter(|s| s.to == "R").collect();
        assert_eq!(stage.outlet.durable.len(), usize::from(is_durable));
        assert_eq!(now.len(), usize::from(!is_durable));
        // A second time nothing changes, but the first may not be on disk yet: there is a flush.
        stage.consumer.as_mut().unwrap().take_delta();
        stage.answer(1, "");
        assert_eq!(stage.outlet.durable.len(), 2 * usize::from(is_durable));
        assert!(stage.consumer.as_ref().unwrap().is_dirty() || !is_durable);
        // What is not kept is answered at once.
        stage.outlet.sent.retain(|sent| sent.to != "R");
        for what in ["-NAK", "+WPI", "what"] {
            stage.answer(1, what);
        }
        let now = stage.outlet.sent.iter().filter(|s| s.to == "R").count();
        assert_eq!(now, 3);
    }
}

#[test]
fn what_was_never_delivered_cannot_be_acknowledged() {
    let mut stage = stage_of(3, pull_config());
    stage.pull("P", "1");
    for seq in [0, 2, 3, 4, u64::MAX >> 1] {
        for payload in ["", "+TERM", "-NAK", "+WPI"] {
            stage.answer_to(&format!("$JS.ACK.S.C.1.{seq}.1.0.0"), payload);
        }
    }
    assert_eq!(stage.info().num_ack_pending, 1);
    assert_eq!(stage.info().ack_floor, Position::default());
    let mut stage = stage_of(
        3,
        ConsumerConfig {
            ack_policy: AckPolicy::All,
            ..pull_config()
        },
    );
    stage.pull("P", "1");
    stage.answer_to("$JS.ACK.S.C.1.3.3.0.0", "");
    assert_eq!(stage.info().ack_floor, Position::default());
    // A client may say any sequence of its own.
    stage.answer_to("$JS.ACK.S.C.1.1.999.0.0", "");
    assert_eq!(stage.info().ack_floor, stage.info().delivered);
}

#[test]
fn a_list_of_last_messages_goes_on_after_a_restart() {
    let mut stage = Stage::new();
    for subject in ["a", "b", "a", "c", "b", "d"] {
        stage.put_before(subject, "x");
    }
    stage.create(ConsumerConfig {
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..pull_config()
    });
    stage.pull("P", "2");
    assert_eq!(seqs(&stage.take()), [3, 4]);
    restart(&mut stage);
    stage.put("a", "new");
    assert_eq!(stage.info().num_pending, 3);
    stage.pull("P", "2");
    assert_eq!(seqs(&stage.take()), [5, 6]);
    restart(&mut stage);
    stage.pull("P", "9");
    assert_eq!(seqs(&stage.take()), [7]);
    let info = stage.info();
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 5));
}

#[test]
fn a_start_that_is_still_to_come_is_kept_over_a_restart() {
    let mut stage = stage_of(
        1,
        ConsumerConfig {
            deliver_policy: DeliverPolicy::ByStartSequence,
            opt_start_seq: 4,
            ..push_config()
        },
    );
    restart(&mut stage);
    for _ in 0..5 {
        stage.put("a", "x");
    }
    assert_eq!(seqs(&stage.take()), [4, 5, 6]);
}

#[test]
fn a_consumer_of_a_stream_that_lost_messages_goes_on_with_new_ones() {
    let mut stage = stage_of(9, pull_config());
    stage.pull("P", "9");
    stage.take();
    let mut lost = Naive::new(true);
    for _ in 0..4 {
        lost.put("a", b"x", START);
    }
    stage.messages = lost;
    restart(&mut stage);
    assert_eq!(stage.info().num_ack_pending, 4);
    stage.put("a", "new");
    stage.pull("P", "9");
    assert_eq!(seqs(&stage.take()), [5]);
}

#[test]
fn facts_that_are_none_are_refused() {
    let mut stage = stage_of(1, pull_config());
    let config = pull_config();
    let mut around = Around {
        now: stage.now,
        home: &stage.home,
        messages: &mut stage.messages,
        outlet: &mut stage.outlet,
        desk: &mut stage.desk,
    };
    let facts = [&b"\x09what"[..]];
    assert!(Consumer::recover("C", config, 0, facts, &mut around).is_err());
}

#[test]
fn the_window_of_flow_control_grows() {
    const BYTES: usize = 100 * 1024;
    let mut stage = stage_of(
        0,
        ConsumerConfig {
            ack_policy: AckPolicy::None,
            flow_control: true,
            idle_heartbeat: 1_000_000_000,
            ..push_config()
        },
    );
    let payload = "x".repeat(BYTES);
    for _ in 0..500 {
        stage.put_before("a", &payload);
    }
    stage.settle();
    let mut windows = Vec::new();
    for _ in 0..7 {
        let sent = std::mem::take(&mut stage.outlet.sent);
        let asked: Vec<usize> = (0..sent.len())
            .filter(|&at| sent[at].reply.starts_with("$JS.FC.S.C."))
            .collect();
        assert!(asked.len() <= 1, "one request at a time");
        windows.push(sent.len() - asked.len());
        let Some(&asked) = asked.first() else {
            break;
        };
        assert_eq!(
            sent[asked].headers,
            "NATS/1.0 100 FlowControl Request\r\n\r\n"
        );
        let subject = sent[asked].reply.clone();
        // A heartbeat says what it waits for; another answer is none.
        stage.pass(1100);
        let beat = stage.outlet.sent.last().unwrap().headers.clone();
        assert!(beat.contains(&format!("Nats-Consumer-Stalled: {subject}")));
        stage.outlet.sent.clear();
        stage.with(|consumer, around| {
            consumer.handle_flow_control(b"$JS.FC.S.C.none", b"", around);
            assert!(!consumer.is_ready());
            consumer.handle_flow_control(subject.as_bytes(), b"", around);
        });
        stage.settle();
    }
    // First 2 MiB; then what was asked about (half of the window) comes back, and it has doubled.
    assert_eq!(windows[0], 21);
    assert!(windows[1] > 21 && windows[2] > windows[1], "{windows:?}");
}

#[test]
fn answers_to_flow_control_acknowledge() {
    let mut stage = stage_of(
        3,
        ConsumerConfig {
            ack_policy: AckPolicy::FlowControl,
            ack_wait: 0,
            flow_control: true,
            max_ack_pending: 3,
            idle_heartbeat: 1_000_000_000,
            ..push_config()
        },
    );
    stage.put("a", "stalled");
    let sent = std::mem::take(&mut stage.outlet.sent);
    assert_eq!(sent.len(), 4, "three, and a request because it is stalled");
    let subject = sent[3].reply.clone();
    let block = b"NATS/1.0\r\nNats-Last-Consumer: 2\r\nNats-Last-Stream: 2\r\n\r\n";
    stage.with(|consumer, around| {
        consumer.handle_flow_control(subject.as_bytes(), block, around);
    });
    stage.settle();
    assert_eq!(
        stage.info().ack_floor,
        Position {
            consumer: 2,
            stream: 2
        }
    );
    assert_eq!(stage.take()[0], "D: 4");
    assert_eq!(stage.info().num_ack_pending, 2);
}

#[test]
fn a_rate_is_kept() {
    let mut stage = stage_of(
        200,
        ConsumerConfig {
            // A thousand bytes in a second, and a thousand at once.
            rate_limit_bps: 8000,
            ..push_config()
        },
    );
    let bytes_of = |sent: &[Sent]| -> usize {
        let sizes = sent.iter().map(|sent| {
            sent.subject.len() + sent.reply.len() + sent.headers.len() + sent.payload.len()
        });
        sizes.sum()
    };
    let at_once = bytes_of(&stage.outlet.sent);
    assert!((900..=1000).contains(&at_once), "{at_once}");
    stage.outlet.sent.clear();
    stage.pass(5000);
    let then = bytes_of(&stage.outlet.sent);
    assert!((4900..=5100).contains(&then), "{then}");
}

#[test]
fn settled_messages_are_told_where_they_are_kept_for_consumers() {
    let mut stage = Stage::new();
    stage.home.retention = Retention::WorkQueue;
    for _ in 0..5 {
        stage.put_before("a", "x");
    }
    stage.create(ConsumerConfig {
        max_deliver: 1,
        ack_wait: 1_000_000_000,
        ..pull_config()
    });
    stage.pull("P", "4");
    stage.answer(2, "");
    stage.answer(1, "+TERM");
    assert_eq!(stage.desk.settled, [(2, 2), (1, 1)]);
    stage.desk.settled.clear();
    stage.pass(1100);
    // What is given up stays, and may be acknowledged late.
    assert!(stage.desk.settled.is_empty());
    let needs = |stage: &mut Stage, seq| stage.with(|consumer, _| consumer.needs(seq, b"a"));
    assert_eq!(
        (1..=5)
            .map(|seq| needs(&mut stage, seq))
            .collect::<Vec<_>>(),
        [false, false, true, true, true]
    );
    restart(&mut stage);
    assert!(needs(&mut stage, 3));
    stage.answer(3, "");
    assert_eq!(stage.desk.settled, [(3, 3)]);
    assert!(!needs(&mut stage, 3));
    assert!(needs(&mut stage, 4));
}

#[test]
fn somebody_at_work_keeps_a_consumer() {
    let mut stage = stage_of(
        1,
        ConsumerConfig {
            durable_name: String::new(),
            name: "C".to_owned(),
            inactive_threshold: 100_000_000,
            ack_wait: 10_000_000_000,
            ..pull_config()
        },
    );
    stage.pull("P", "1");
    assert_eq!(stage.pass(9_900), Fate::Lives);
    stage.answer(1, "");
    assert_eq!(stage.pass(90), Fate::Lives);
    assert_eq!(stage.pass(1200), Fate::Inactive);
}

#[test]
fn a_deadline_is_told_once_and_again_when_it_is_earlier() {
    let mut stage = stage_of(1, pull_config());
    let now = stage.now;
    let take = |stage: &mut Stage| stage.with(|consumer, _| consumer.take_deadline(now));
    assert_eq!(take(&mut stage), None);
    stage.pull("P", r#"{"batch":5,"expires":60000000000}"#);
    let ack = take(&mut stage).unwrap() - now.mono_ms;
    assert!((30_000..30_060).contains(&ack), "the ack wait comes first");
    assert_eq!(take(&mut stage), None);
    stage.pull("P", r#"{"batch":5,"expires":1000000000}"#);
    assert_eq!(take(&mut stage), Some(now.mono_ms + 1000));
    assert_eq!(take(&mut stage), None);
}

#[test]
fn a_changed_ack_wait_counts_from_the_delivery() {
    let mut stage = stage_of(1, pull_config());
    stage.pull("P", "2");
    stage.take();
    stage.pass(5000);
    let config = ConsumerConfig {
        ack_wait: 6_000_000_000,
        ..pull_config()
    };
    stage.with(|consumer, around| consumer.update(config, around));
    stage.pass(900);
    assert_eq!(stage.take(), Vec::<String>::new());
    stage.pass(200);
    assert_eq!(stage.take(), ["P: 1 x2"]);
}

#[test]
fn the_long_form_of_subjects() {
    let mut stage = Stage::new();
    stage.home.long_subjects = Some("hash".to_owned());
    stage.put_before("a", "x");
    stage.create(pull_config());
    stage.pull("P", "1");
    let reply = stage.outlet.sent[0].reply.clone();
    assert_eq!(reply, format!("$JS.ACK._.hash.S.C.1.1.1.{START}.0"));
    stage.answer_to(&reply, "");
    assert_eq!(stage.info().num_ack_pending, 0);
    stage.outlet.sent.clear();
    stage.home.domain = "hub".to_owned();
    stage.put("a", "x");
    stage.create(pull_config());
    stage.pull("P", "1");
    let reply = &stage.outlet.sent[0].reply;
    assert!(reply.starts_with("$JS.ACK.hub.hash.S.C.1.1.1."));
}

#[test]
fn a_subscriber_that_may_not_hear_is_tried_again() {
    let mut stage = stage_of(0, push_config());
    stage.messages.put("a", b"x", START);
    stage.outlet.refuses = true;
    let progress = stage.with(|consumer, around| consumer.deliver(&mut 9, around));
    assert_eq!(progress, Progress::WaitingForOutlet);
    stage.outlet.refuses = false;
    stage.settle();
    assert_eq!(stage.take(), ["D: 1"]);
}

#[test]
fn no_input_breaks_it() {
    let numbers = [
        0,
        1,
        2,
        9,
        1 << 40,
        u64::MAX >> 1,
        9_999_999_999_999_999_999,
    ];
    for policy in [AckPolicy::None, AckPolicy::All, AckPolicy::Explicit] {
        let mut prng = Prng::new(3);
        let mut stage = stage_of(
            9,
            ConsumerConfig {
                ack_policy: policy,
                ..pull_config()
            },
        );
        for _ in 0..3000 {
            let mut pick = || numbers[prng.below(numbers.len() as u32) as usize];
            let subject = format!("$JS.ACK.S.C.{}.{}.{}.0.0", pick(), pick(), pick());
            let number = pick() as i64;
            let request = format!(
                r#"{{"batch":{number},"expires":{},"max_bytes":{},"idle_heartbeat":{}}}"#,
                pick() as i64,
                -(pick() as i64).saturating_abs(),
                pick() as i64
            );
            match prng.below(6) {
                0 => stage.pull("P", &request),
                1 => stage.pull("P", &format!("{number}")),
                2 => stage.answer_to(&subject, ""),
                3 => stage.answer_to(&subject, &format!("-NAK {{\"delay\":{number}}}")),
                4 => stage.answer_to(&subject, "+TERM"),
                _ => stage.answer_to(&subject, "+WPI"),
            }
            if prng.one_in(50) {
                let seq = numbers[prng.below(numbers.len() as u32) as usize];
                let _ = stage.with(|consumer, around| consumer.reset(seq, around));
                stage.settle();
                restart(&mut stage);
            }
            stage.outlet.sent.clear();
            stage.outlet.durable.clear();
            stage.outlet.events.clear();
            stage.now.mono_ms += 100;
        }
    }
}
