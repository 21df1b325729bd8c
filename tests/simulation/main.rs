//! The whole broker but the kernel: shards, the mesh between them and clients, simulated from a
//! seed and judged by an oracle.
//!
//! `SKEIN_SEED=n` replays one seed and prints what happens; `SKEIN_SEEDS=from..to` runs a range.

mod accounts;
mod client;
mod host;
mod oracle;
mod pipe;
mod run;
mod scenario;
mod trace;
mod wire;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Outcome, run};

/// Seeds that are run by default.
const SEEDS: std::ops::Range<u64> = 0..500;

#[test]
fn simulation() {
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
        Err(_) => SEEDS,
    };
    let all = seeds == SEEDS;
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Vec::new());
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match std::panic::catch_unwind(|| twice(seed)) {
                        Ok(outcome) => add(&mut totals.lock().expect("no panic"), &outcome),
                        Err(_) => {
                            println!("replay: {}", replay(seed));
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
        replay(failed[0])
    );
    if all {
        for (name, total) in totals {
            assert!(total > 0, "this was never tested: {name}");
        }
    }
}

fn replay(seed: u64) -> String {
    format!("SKEIN_SEED={seed} cargo test --no-default-features --test simulation -- --nocapture")
}

/// I8: the same seed gives the same story.
fn twice(seed: u64) -> Outcome {
    let outcome = run(seed, false);
    assert_eq!(
        run(seed, false).digest,
        outcome.digest,
        "I8: two runs of one seed differ"
    );
    outcome
}

type Totals = Vec<(&'static str, u64)>;

fn add(totals: &mut Totals, outcome: &Outcome) {
    let Outcome {
        seen,
        counts,
        counters,
        ..
    } = outcome;
    let rows = [
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
    ];
    if totals.is_empty() {
        totals.extend(rows.map(|(name, _)| (name, 0)));
    }
    for (total, row) in totals.iter_mut().zip(rows) {
        total.1 += row.1;
    }
}
