//! The whole broker but the kernel: shards, the mesh between them and clients, simulated from a
//! seed and judged by an oracle; without JetStream, and with it ([`streams`]).
//!
//! `SKEIN_SEED=n` replays one seed and prints what happens; `SKEIN_SEEDS=from..to` runs a range.

mod accounts;
mod client;
#[path = "../simulated/disk.rs"]
mod disk;
mod host;
mod oracle;
mod pipe;
mod run;
mod scenario;
mod streams;
mod trace;
mod wire;
mod world;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Outcome, run};

#[test]
fn simulation() {
    run_seeds("simulation", 0..500, |seed, print| {
        let outcome = run(seed, print);
        (outcome.digest, totals(&outcome))
    });
}

#[test]
fn jetstream() {
    run_seeds("jetstream", 0..100, |seed, print| {
        let outcome = streams::run(seed, print);
        (outcome.digest, streams::totals(&outcome))
    });
}

/// How often what happened in a run.
type Totals = Vec<(&'static str, u64)>;

/// Runs seeds of a test: those that are asked for, or all of `default`. A run gives the hash of its
/// story and what has happened in it.
fn run_seeds(test: &str, default: Range<u64>, run: impl Fn(u64, bool) -> (u64, Totals) + Sync) {
    if let Ok(seed) = std::env::var("SKEIN_SEED") {
        let seed = seed.parse().expect("SKEIN_SEED is a number");
        run(seed, true);
        return;
    }
    let seeds = match std::env::var("SKEIN_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("SKEIN_SEEDS is from..to");
            let number = |text: &str| text.parse().expect("SKEIN_SEEDS are numbers");
            number(from)..number(to)
        }
        Err(_) => default.clone(),
    };
    let all = seeds == default;
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Totals::new());
    let failed = Mutex::new(Vec::new());
    let run = std::panic::AssertUnwindSafe(run);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match std::panic::catch_unwind(|| twice(seed, &*run)) {
                        Ok(rows) => add(&mut totals.lock().expect("no panic"), rows),
                        Err(_) => {
                            println!("replay: {}", replay(test, seed));
                            failed.lock().expect("no panic").push(seed);
                        }
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().expect("no panic");
    for (name, total) in &totals {
        println!("{total:>10} {name}");
    }
    let mut failed = failed.into_inner().expect("no panic");
    failed.sort_unstable();
    assert!(
        failed.is_empty(),
        "{} failed: {failed:?}\n{}",
        failed.len(),
        replay(test, failed[0])
    );
    if all {
        for (name, total) in totals {
            assert!(total > 0, "this was never tested: {name}");
        }
    }
}

fn replay(test: &str, seed: u64) -> String {
    format!(
        "SKEIN_SEED={seed} cargo test --no-default-features --test simulation -- --exact {test} --nocapture"
    )
}

/// I8: the same seed gives the same story.
fn twice(seed: u64, run: &impl Fn(u64, bool) -> (u64, Totals)) -> Totals {
    let (digest, totals) = run(seed, false);
    let (again, _) = run(seed, false);
    assert_eq!(again, digest, "I8: two runs of one seed differ");
    totals
}

fn add(totals: &mut Totals, rows: Totals) {
    if totals.is_empty() {
        *totals = rows;
        return;
    }
    for (total, row) in totals.iter_mut().zip(rows) {
        total.1 += row.1;
    }
}

fn totals(outcome: &Outcome) -> Totals {
    let Outcome {
        seen,
        counts,
        counters,
        ..
    } = outcome;
    vec![
        ("messages published", counters.in_messages),
        ("messages read by clients", counts.deliveries),
        (
            "deliveries owed to plain subscriptions",
            counts.owed_deliveries,
        ),
        (
            "deliveries owed to queue groups",
            counts.owed_queue_deliveries,
        ),
        (
            "own messages withheld (echo off)",
            counts.own_messages_withheld,
        ),
        ("headers stripped", counts.headers_stripped),
        ("payloads of 16 KiB and more read", counts.shared_payloads),
        ("no-responders answers (503)", counts.no_responders),
        ("no-responders answers owed", counts.owed_no_responders),
        (
            "subscriptions that reached their maximum",
            counts.max_reached,
        ),
        ("messages read through imports", counts.imported),
        (
            "requests read by services of other accounts",
            counts.requests,
        ),
        ("responses read by requesters", counts.answers),
        ("responses owed to requesters", counts.owed_answers),
        ("responses forged by others", counts.forged_responses),
        ("stalls of publishers", counters.stalls),
        ("stalls that timed out (lagging)", seen.stalls_timed_out),
        ("stalls by the mesh that ended", seen.mesh_stalls_ended),
        ("slow consumers", counters.slow_consumers),
        ("slow consumers by pending bytes", seen.slow_pending),
        ("slow consumers by write deadline", seen.slow_deadline),
        ("stale connections", seen.stale),
        ("batches put back", seen.put_backs),
        ("batches taken", seen.batches),
        ("batches with shared payloads", seen.shared_payload_batches),
        ("queue messages planned anew", counters.replans),
        ("deferred PONGs", seen.deferred_pongs),
        ("partial sends", seen.partial_sends),
        ("sends under way at a close", seen.sends_under_way_at_close),
        ("closes with last words", seen.closed_with_last_words),
        ("disconnects in the middle", seen.mid_message_disconnects),
    ]
}
