//! The store on a simulated disk.

#[path = "../simulated/disk.rs"]
mod disk;
mod full;
mod lies;
mod oracle;
mod random;
mod report;
mod shell;

use std::panic::{AssertUnwindSafe, catch_unwind};

use random::{Kind, Run};
use shell::Shell;
use skein::store::{
    Cipher, Fetched, Key, Messages, NewMessage, Options, Refused, Selection, StreamOptions, Sync,
};

#[test]
fn what_was_durable_is_there_after_a_power_cut() {
    for seed in 0..20 {
        let mut shell = Shell::new(seed);
        let number = shell
            .store
            .create_stream(b"A/S", b"meta", StreamOptions::default())
            .unwrap();
        let mut stream = shell.store.stream(number).unwrap();
        for i in 0..1000u64 {
            let subject = format!("a.{}", i % 10);
            let payload = format!("payload {i}");
            let message = NewMessage {
                subject: subject.as_bytes(),
                headers: b"",
                payload: payload.as_bytes(),
                time: 1_000_000 * i as i64,
                flags: 0,
            };
            assert_eq!(stream.append(&message), Ok(i + 1));
        }
        stream.note(0, b"fact").unwrap();
        stream.note(7, b"one").unwrap();
        stream.note(7, b"two").unwrap();
        assert!(stream.remove(5, false));
        shell.settle();
        assert_eq!(shell.store.durable(), shell.store.position());
        assert_eq!(shell.store.stream(number).unwrap().durable_seq(), 1000);
        shell.disk.cut_power();
        shell.reopen();
        assert_eq!(shell.log(), Vec::<String>::new());
        let streams: Vec<_> = shell.store.streams().collect();
        assert_eq!(streams, [number]);
        assert_eq!(shell.store.key(number), Some(&b"A/S"[..]));
        assert_eq!(shell.store.meta(number), Some(&b"meta"[..]));
        let mut facts = Vec::new();
        shell
            .store
            .notes(number, &mut |note, fact| facts.push((note, fact.to_vec())));
        facts.sort_by_key(|(note, _)| *note);
        assert_eq!(
            facts,
            [
                (0, b"fact".to_vec()),
                (7, b"one".to_vec()),
                (7, b"two".to_vec())
            ]
        );
        for seq in 1..=1000 {
            let got = shell.get(number, seq);
            if seq == 5 {
                assert_eq!(got, None);
            } else {
                let got = got.expect("it is there");
                assert_eq!(got.1, format!("payload {}", seq - 1).into_bytes());
            }
        }
        let mut stream = shell.store.stream(number).unwrap();
        assert_eq!(stream.state().messages, 999);
        assert_eq!(stream.state().last_seq, 1000);
        assert!(matches!(stream.get(5), Fetched::Gone));
    }
}

fn message<'a>(subject: &'a str, payload: &'a [u8]) -> NewMessage<'a> {
    NewMessage {
        subject: subject.as_bytes(),
        headers: b"",
        payload,
        time: 7,
        flags: 0,
    }
}

#[test]
fn a_fact_does_not_outlive_a_removal_that_was_before_it() {
    let mut kept_both = 0;
    for turns in 0..40 {
        let mut shell = Shell::new(turns);
        let number = shell
            .store
            .create_stream(b"A/S", b"", StreamOptions::default())
            .unwrap();
        let mut stream = shell.store.stream(number).unwrap();
        stream.append(&message("a", b"first")).unwrap();
        shell.settle();
        let mut stream = shell.store.stream(number).unwrap();
        assert!(stream.remove(1, false));
        stream.note(7, b"made when the first was gone").unwrap();
        // More than one frame holds.
        for _ in 0..200 {
            stream.append(&message("a", &[7; 9000])).unwrap();
        }
        for _ in 0..turns {
            shell.turn();
        }
        shell.reopen_after_power_cut();
        let mut facts = 0;
        shell.store.notes(number, &mut |_, _| facts += 1);
        let is_there = shell.get(number, 1).is_some();
        assert!(facts == 0 || !is_there, "after {turns} turns");
        kept_both += facts;
    }
    assert!((1..40).contains(&kept_both), "{kept_both} of 40");
}

#[test]
fn an_erased_message_leaves_nothing_behind_even_after_a_crash() {
    for seed in 0..60 {
        let mut shell = Shell::new(seed);
        let number = shell
            .store
            .create_stream(b"A/S", b"", StreamOptions::default())
            .unwrap();
        let secret: Vec<u8> = (0..50 + seed * 100)
            .map(|i| (i * 7 + 13) as u8 | 1)
            .collect();
        let mut stream = shell.store.stream(number).unwrap();
        for i in 0..50 {
            let payload = if i == 20 { &secret[..] } else { b"anything" };
            stream.append(&message("a", payload)).unwrap();
        }
        if seed % 2 == 0 {
            shell.settle();
            assert!(shell.disk.contains(&secret));
        }
        assert!(shell.store.stream(number).unwrap().remove(21, true));
        let before = shell.store.position();
        if seed % 4 < 2 {
            shell.settle();
            assert!(!shell.disk.contains(&secret[..50]), "seed {seed}");
        }
        for _ in 0..seed % 13 {
            shell.turn();
        }
        let was_durable = shell.store.durable() >= before;
        shell.disk.cut_power();
        shell.reopen();
        assert_eq!(shell.log(), Vec::<String>::new(), "seed {seed}");
        shell.settle();
        let Some(state) = shell.store.stream(number).map(|stream| *stream.state()) else {
            assert!(!was_durable, "seed {seed}");
            continue;
        };
        if was_durable {
            assert_eq!((state.messages, state.last_seq), (49, 50), "seed {seed}");
            assert!(!shell.disk.contains(&secret[..50]), "seed {seed}");
        }
        for seq in 1..=state.last_seq {
            if seq != 21 {
                let got = shell.get(number, seq).map(|(_, payload)| payload);
                assert_eq!(
                    got.as_deref(),
                    Some(&b"anything"[..]),
                    "seed {seed}, {seq}, {state:?}"
                );
            }
        }
    }
}

#[test]
fn a_power_cut_while_a_message_is_erased_costs_no_other_and_is_not_told_of() {
    let mut unfinished = 0;
    for seed in 0..100 {
        let mut shell = Shell::new(seed);
        let number = shell
            .store
            .create_stream(b"A/S", b"", StreamOptions::default())
            .unwrap();
        let secret: Vec<u8> = (0..300 + seed * 10)
            .map(|i| (i * 7 + 13) as u8 | 1)
            .collect();
        // Where in a sector the record begins differs.
        let before = vec![b'b'; seed as usize * 8 % 1000];
        for payload in [&before[..], &secret, b"behind", b"last"] {
            let mut stream = shell.store.stream(number).unwrap();
            stream.append(&message("a", payload)).unwrap();
        }
        shell.settle();
        // Again and again: it is begun anew after each cut.
        for round in 0..4 {
            let there = shell.store.stream(number).unwrap().state().messages;
            if there == 4 {
                assert!(shell.store.stream(number).unwrap().remove(2, true));
            }
            for _ in 0..seed % 8 {
                shell.turn();
            }
            shell.begin();
            shell.disk.cut_power();
            unfinished += u32::from(round == 0 && shell.disk.contains(&secret[..50]));
            shell.reopen();
            assert_eq!(shell.log(), Vec::<String>::new(), "seed {seed}, {round}");
            for (seq, payload) in [(1, &before[..]), (3, b"behind"), (4, b"last")] {
                let got = shell.get(number, seq).map(|(_, payload)| payload);
                assert_eq!(got.as_deref(), Some(payload), "seed {seed}, {round}");
            }
        }
        shell.settle();
        let state = *shell.store.stream(number).unwrap().state();
        if state.messages == 3 {
            assert!(!shell.disk.contains(&secret[..50]), "seed {seed}");
        }
    }
    assert!(unfinished > 25, "{unfinished}");
}

#[test]
fn messages_longer_than_the_cache_can_be_read() {
    let mut shell = Shell::new(3);
    let number = shell
        .store
        .create_stream(b"A/S", b"", StreamOptions::default())
        .unwrap();
    let long: Vec<u8> = (0..20_000_000u32).map(|i| (i >> 3) as u8).collect();
    for payload in [&b"short"[..], &long, b"short", &long] {
        shell
            .store
            .stream(number)
            .unwrap()
            .append(&message("a", payload))
            .unwrap();
    }
    shell.settle();
    shell.reopen_after_power_cut();
    for _ in 0..2 {
        for seq in 1..=4 {
            let expected = if seq % 2 == 0 { &long[..] } else { b"short" };
            assert!(shell.get(number, seq).unwrap().1 == expected);
        }
    }
    assert!(shell.store.usage().cache_bytes < 64 << 20);
    let longest = vec![0; (63 << 20) + 1];
    let refused = shell
        .store
        .stream(number)
        .unwrap()
        .append(&message("a", &longest));
    assert_eq!(refused, Err(Refused::TooLarge));
}

#[test]
fn a_full_disk_refuses_messages_and_takes_them_again_when_there_is_space() {
    let mut shell = Shell::new(4);
    shell.disk.faults.capacity = Some(8 << 20);
    let number = shell
        .store
        .create_stream(b"A/S", b"", StreamOptions::default())
        .unwrap();
    let payload = [5; 10_000];
    let mut stored = 0;
    while shell
        .store
        .stream(number)
        .unwrap()
        .append(&message("a", &payload))
        .is_ok()
    {
        stored += 1;
        shell.settle();
        assert!(stored < 1000, "the disk does not become full");
    }
    assert!(stored > 400, "only {stored} went in");
    let refused = shell
        .store
        .stream(number)
        .unwrap()
        .append(&message("a", &payload));
    assert_eq!(refused, Err(Refused::Full));
    assert_eq!(shell.store.refusal(), Some(Refused::Full));
    shell.settle();
    assert_eq!(shell.log().len(), 1);
    // Facts and removals are still taken, and what is there can be read.
    shell
        .store
        .stream(number)
        .unwrap()
        .note(0, b"fact")
        .unwrap();
    assert_eq!(shell.get(number, 1).unwrap().1, payload);
    for seq in 1..300 {
        assert!(shell.store.stream(number).unwrap().remove(seq, false));
    }
    shell.store.take_news();
    for _ in 0..100 {
        shell.settle();
        shell.pass_time();
    }
    assert_eq!(shell.store.durable(), shell.store.position());
    assert!(shell.store.take_news().space);
    assert!(
        shell
            .store
            .stream(number)
            .unwrap()
            .append(&message("a", &payload))
            .is_ok()
    );
    shell.settle();
    shell.reopen_after_power_cut();
    assert_eq!(
        shell.store.stream(number).unwrap().state().messages,
        stored - 299 + 1
    );
    // More room comes from outside.
    shell.disk.faults.capacity = None;
    for _ in 0..1000 {
        shell
            .store
            .stream(number)
            .unwrap()
            .append(&message("a", &payload))
            .unwrap();
        shell.settle();
    }
}

#[test]
fn a_failed_flush_poisons_and_says_so_once() {
    let mut shell = Shell::new(5);
    let number = shell
        .store
        .create_stream(b"A/S", b"", StreamOptions::default())
        .unwrap();
    shell
        .store
        .stream(number)
        .unwrap()
        .append(&message("a", b"one"))
        .unwrap();
    shell.settle();
    shell.disk.faults.write_errors = Some(1);
    shell
        .store
        .stream(number)
        .unwrap()
        .append(&message("a", b"two"))
        .unwrap();
    shell.settle();
    shell.disk.faults.write_errors = None;
    assert!(shell.store.durable() < shell.store.position());
    let mut stream = shell.store.stream(number).unwrap();
    assert_eq!(
        stream.append(&message("a", b"three")),
        Err(Refused::Poisoned)
    );
    assert_eq!(stream.note(0, b"fact"), Err(Refused::Poisoned));
    assert_eq!(stream.durable_seq(), 1);
    assert_eq!(shell.get(number, 1).unwrap().1, b"one");
    let log = shell.log();
    assert!(log.len() == 1 && log[0].contains("failed"), "{log:?}");
    shell.store.shut_down();
    assert!(shell.store.is_shut_down());
}

#[test]
fn with_an_interval_nothing_waits_and_a_sync_follows() {
    let mut options = Options::new(6);
    options.sync = Sync::Interval(2000);
    let mut shell = Shell::with(6, options);
    let number = shell
        .store
        .create_stream(b"A/S", b"", StreamOptions::default())
        .unwrap();
    shell
        .store
        .stream(number)
        .unwrap()
        .append(&message("a", b"one"))
        .unwrap();
    assert_eq!(shell.store.durable(), shell.store.position());
    assert_eq!(shell.store.stream(number).unwrap().durable_seq(), 1);
    shell.settle();
    assert_eq!(shell.store.next_deadline(), Some(2000));
    shell.pass_time();
    shell.settle();
    assert_eq!(shell.store.next_deadline(), None);
    shell.reopen_after_power_cut();
    assert_eq!(shell.get(number, 1).unwrap().1, b"one");
    // The process alone takes nothing with it.
    shell
        .store
        .stream(number)
        .unwrap()
        .append(&message("a", b"two"))
        .unwrap();
    shell.settle();
    shell.disk.kill();
    shell.reopen();
    assert_eq!(shell.get(number, 2).unwrap().1, b"two");
}

#[test]
fn keys_are_needed_and_may_change() {
    let key = |secret: &[u8], cipher| {
        Some(Key {
            cipher,
            secret: secret.to_vec(),
        })
    };
    let mut options = Options::new(7);
    options.key = key(b"old", Cipher::Aes);
    let mut shell = Shell::with(7, options);
    let number = shell
        .store
        .create_stream(b"A/SECRETNAME", b"secretmeta", StreamOptions::default())
        .unwrap();
    shell
        .store
        .stream(number)
        .unwrap()
        .append(&message("secretsubject", b"secretpayload"))
        .unwrap();
    shell
        .store
        .stream(number)
        .unwrap()
        .note(0, b"secretfact")
        .unwrap();
    for is_clean in [false, true] {
        if is_clean {
            shell.shut_down();
        } else {
            shell.settle();
        }
        for secret in [
            "SECRETNAME",
            "secretmeta",
            "secretsubject",
            "secretpayload",
            "secretfact",
        ] {
            assert!(!shell.disk.contains(secret.as_bytes()), "{secret}");
        }
        shell.options.key = key(b"new", Cipher::ChaCha);
        shell.reopen_after_power_cut();
        assert!(shell.store.failed().is_some());
        shell.options.previous_key = key(b"old", Cipher::ChaCha);
        shell.reopen_after_power_cut();
        assert_eq!(shell.store.failed(), None);
        assert_eq!(
            shell.get(number, 1).unwrap(),
            (b"secretsubject".to_vec(), b"secretpayload".to_vec())
        );
        shell.options.previous_key = None;
        shell.options.key = key(b"old", Cipher::Aes);
        shell.reopen_after_power_cut();
        assert_eq!(shell.store.failed(), None);
    }
}

#[test]
fn a_bad_checkpoint_costs_time_and_nothing_else() {
    for seed in 0..30 {
        let mut shell = Shell::new(seed);
        let number = shell
            .store
            .create_stream(b"A/S", b"", StreamOptions::default())
            .unwrap();
        for i in 0..500u32 {
            let payload = i.to_le_bytes();
            shell
                .store
                .stream(number)
                .unwrap()
                .append(&message("a", &payload))
                .unwrap();
            if i % 3 == 0 {
                shell
                    .store
                    .stream(number)
                    .unwrap()
                    .remove(u64::from(i), false);
            }
        }
        shell.shut_down();
        shell.disk.spoil("checkpoint");
        shell.reopen_after_power_cut();
        let log = shell.log();
        assert!(log.len() <= 1, "{log:?}");
        for i in 0..500u32 {
            let expected = (i % 3 != 2 || i == 499).then(|| i.to_le_bytes().to_vec());
            let got = shell
                .get(number, u64::from(i) + 1)
                .map(|(_, payload)| payload);
            assert_eq!(
                got,
                expected.filter(|_| (i + 1) % 3 != 0 || i == 500),
                "seed {seed}, {i}"
            );
        }
    }
}

#[test]
fn the_highest_sequence_is_given_to_nobody() {
    let last = u64::MAX - 1;
    // How a stream comes there.
    let skip: fn(&mut skein::store::Handle<'_>) = |stream| {
        stream.skip_to(u64::MAX - 2, 7).unwrap();
        assert_eq!(stream.append(&message("a", b"last")), Ok(u64::MAX - 1));
    };
    let skip_all: fn(&mut skein::store::Handle<'_>) = |stream| {
        stream.skip_to(u64::MAX, 7).unwrap();
    };
    let purge: fn(&mut skein::store::Handle<'_>) = |stream| {
        let everything = &mut skein::store::Selection::everything();
        stream.purge(everything, u64::MAX - 1, 0);
        assert_eq!(stream.append(&message("a", b"last")), Ok(u64::MAX - 1));
    };
    for (memory, come) in [false, true]
        .into_iter()
        .flat_map(|memory| [skip, skip_all, purge].map(|come| (memory, come)))
    {
        let mut shell = Shell::new(9);
        let options = StreamOptions {
            memory,
            compress: false,
        };
        let number = shell.store.create_stream(b"A/S", b"", options).unwrap();
        let mut stream = shell.store.stream(number).unwrap();
        stream.append(&message("a", b"first")).unwrap();
        come(&mut stream);
        let before = *stream.state();
        let refused = stream.append(&message("a", b"too much"));
        assert_eq!(refused, Err(Refused::TooLarge));
        assert_eq!((*stream.state(), before.last_seq), (before, last));
        shell.settle();
        shell.reopen_after_power_cut();
        assert_eq!(shell.log(), Vec::<String>::new());
        let mut stream = match shell.store.stream(number) {
            Some(stream) => stream,
            None if memory => continue,
            None => panic!("it is gone"),
        };
        assert_eq!(
            (stream.state().last_seq, stream.state().messages),
            (last, before.messages)
        );
        let refused = stream.append(&message("a", b"too much"));
        assert_eq!(refused, Err(Refused::TooLarge));
    }
}

#[test]
fn removals_are_logged_anew_piece_by_piece() {
    let mut shell = Shell::new(11);
    let number = shell
        .store
        .create_stream(b"A/S", b"", StreamOptions::default())
        .unwrap();
    // An older segment that stays, so that removals are still needed when theirs goes.
    for i in 0..160_000u32 {
        let mut stream = shell.store.stream(number).unwrap();
        stream.append(&message("a", &[i as u8; 20])).unwrap();
        if i % 10_000 == 0 {
            shell.settle();
        }
    }
    shell.settle();
    shell.reopen_after_power_cut();
    for seq in (1..=160_000u64).filter(|seq| matches!(seq % 5, 2 | 4)) {
        assert!(shell.store.stream(number).unwrap().remove(seq, false));
    }
    shell.settle();
    let before = *shell.store.stream(number).unwrap().state();
    assert_eq!(before.deleted, 64_000);
    shell.reopen_after_power_cut();
    let mut most = 0;
    for _ in 0..100 {
        loop {
            let position = shell.store.position();
            let happened = shell.turn();
            most = most.max(shell.store.position() - position);
            if !happened {
                break;
            }
        }
        shell.pass_time();
    }
    assert!((16..20).contains(&most), "{most}");
    shell.reopen_after_power_cut();
    assert_eq!(shell.log(), Vec::<String>::new());
    assert_eq!(*shell.store.stream(number).unwrap().state(), before);
}

#[test]
fn what_everything_took_in_memory_is_freed_piece_by_piece() {
    for (memory, is_deleted) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut shell = Shell::new(1);
        let options = StreamOptions {
            memory,
            ..StreamOptions::default()
        };
        let number = shell.store.create_stream(b"A/S", b"", options).unwrap();
        let mut stream = shell.store.stream(number).unwrap();
        for i in 0..5000 {
            let subject = format!("s.{i}");
            stream.append(&message(&subject, b"anything")).unwrap();
        }
        shell.settle();
        if is_deleted {
            assert!(shell.store.delete_stream(number));
        } else {
            let mut stream = shell.store.stream(number).unwrap();
            assert_eq!(
                stream.purge(&mut Selection::everything(), u64::MAX, 0),
                5000
            );
            let state = *stream.state();
            let got = (state.messages, state.bytes, state.subjects, state.first_seq);
            assert_eq!(got, (0, 0, 0, 5001));
            assert_eq!(stream.append(&message("s.1", b"new")), Ok(5001));
        }
        let mut pieces = 0;
        while shell.store.next_deadline() == Some(shell.now) {
            shell.store.tick(shell.now);
            pieces += 1;
        }
        assert!((4..50).contains(&pieces), "{pieces} pieces");
        shell.settle();
        if !is_deleted {
            assert_eq!(
                shell.get(number, 5001),
                Some((b"s.1".to_vec(), b"new".to_vec()))
            );
        }
        if !memory {
            shell.reopen_after_power_cut();
            let there = shell
                .store
                .stream(number)
                .map(|stream| stream.state().messages);
            assert_eq!(there, (!is_deleted).then_some(1));
        }
    }
}

#[test]
fn a_missing_segment_is_reported() {
    let mut shell = Shell::new(9);
    let number = shell
        .store
        .create_stream(b"A/S", b"", StreamOptions::default())
        .unwrap();
    let payload = [9; 10_000];
    for _ in 0..300 {
        shell
            .store
            .stream(number)
            .unwrap()
            .append(&message("a", &payload))
            .unwrap();
        shell.settle();
    }
    shell.disk.cut_power();
    assert!(shell.disk.lose_file("segment-000001"));
    shell.reopen();
    let log = shell.log();
    assert!(log.iter().any(|line| line.contains("missing")), "{log:?}");
    assert!(
        log.iter()
            .any(|line| line.contains("messages") && line.contains("are not there")),
        "{log:?}"
    );
    let state = *shell.store.stream(number).unwrap().state();
    assert!(
        state.last_seq == 300 && state.messages < 300 && state.messages > 100,
        "{state:?}"
    );
}

/// Runs some seeds, or those that `SKEIN_STORE_SEEDS=a..b` asks for: all of them, so that one failure does not hide
/// others.
fn simulate(kind: Kind, seeds: std::ops::Range<u64>) {
    let asked = std::env::var("SKEIN_STORE_SEEDS").ok().map(|range| {
        let (from, to) = range.split_once("..").expect("SKEIN_STORE_SEEDS is a..b");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let fails = |seed: &u64| {
        let result = catch_unwind(AssertUnwindSafe(|| Run::new(*seed, kind).run()));
        if result.is_err() {
            eprintln!(
                "\nseed {seed} fails; again: SKEIN_STORE_SEEDS={seed}..{} cargo test --test store {}\n",
                seed + 1,
                kind.name()
            );
        }
        result.is_err()
    };
    let failing: Vec<u64> = asked.unwrap_or(seeds).filter(fails).collect();
    assert!(failing.is_empty(), "seeds {failing:?} fail");
}

#[test]
fn seeds_that_failed_once_hold() {
    let lying = [
        1303, 4039, 4405, 4669, 5231, 5378, 6371, 11815, 16323, 26051, 27210,
    ];
    for seed in lying {
        Run::new(seed, Kind::Lying).run();
    }
}

/// A test for each kind of run.
macro_rules! simulations {
    ($($test:ident: $kind:ident, $seeds:expr;)*) => {
        $(
            #[test]
            fn $test() {
                simulate(Kind::$kind, $seeds);
            }
        )*
    };
}

simulations! {
    simulation_honest: Honest, 0..100;
    simulation_killed: Killed, 0..60;
    simulation_small: Small, 0..60;
    simulation_failing: Failing, 0..60;
    simulation_lying: Lying, 0..100;
}
