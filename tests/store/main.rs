//! The store on a simulated disk.

mod disk;
mod oracle;
mod random;
mod shell;

use std::panic::{AssertUnwindSafe, catch_unwind};

use random::{Kind, Run};
use shell::Shell;
use skein::store::{Fetched, Messages, NewMessage, StreamOptions};

#[test]
fn what_was_durable_is_there_after_a_power_cut() {
    for seed in 0..50 {
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

/// Runs some seeds, or those that `SKEIN_STORE_SEEDS=a..b` asks for.
fn simulate(kind: Kind, seeds: std::ops::Range<u64>) {
    let asked = std::env::var("SKEIN_STORE_SEEDS").ok().map(|range| {
        let (from, to) = range.split_once("..").expect("SKEIN_STORE_SEEDS is a..b");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    for seed in asked.unwrap_or(seeds) {
        let result = catch_unwind(AssertUnwindSafe(|| Run::new(seed, kind).run()));
        if let Err(why) = result {
            eprintln!(
                "\nseed {seed} fails; again: SKEIN_STORE_SEEDS={seed}..{} cargo test --test store {kind:?}\n",
                seed + 1
            );
            std::panic::resume_unwind(why);
        }
    }
}

#[test]
#[allow(non_snake_case)]
fn simulation_Honest() {
    simulate(Kind::Honest, 0..150);
}

#[test]
#[allow(non_snake_case)]
fn simulation_Killed() {
    simulate(Kind::Killed, 0..100);
}

#[test]
#[allow(non_snake_case)]
fn simulation_Small() {
    simulate(Kind::Small, 0..100);
}

#[test]
#[allow(non_snake_case)]
fn simulation_Failing() {
    simulate(Kind::Failing, 0..100);
}

#[test]
#[allow(non_snake_case)]
fn simulation_Lying() {
    simulate(Kind::Lying, 0..150);
}
