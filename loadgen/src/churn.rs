//! Connections that come and go: open, handshake, close, as fast as the server takes them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::failure::Result;
use crate::latency::Latencies;
use crate::link::Link;
use crate::report::Outcome;
use crate::run::Run;
use crate::settings::Settings;

/// Each of `parallel` threads opens and closes its share, one connection at a time. Latency is that of one handshake.
pub fn run(connections: usize, parallel: usize, settings: &Settings) -> Result<Outcome> {
    let parallel = parallel.clamp(1, connections.max(1));
    let run = Run::new(parallel, 0);
    let shares = (0..parallel)
        .map(|index| connections / parallel + usize::from(index < connections % parallel));
    let workers = shares
        .map(|share| move |run: &Run, thread| open_and_close(share, settings, run, thread))
        .collect();
    let finished = run.execute(settings, workers);
    let mut outcome = Outcome::new(&format!("churn, {parallel} at a time"), 0);
    outcome.client_cpu_seconds = finished.client_cpu.as_secs_f64();
    let (mut latencies, mut end) = (Latencies::default(), Duration::ZERO);
    for report in finished.reports {
        match report {
            Ok((share, at)) => {
                latencies.add(&share);
                end = end.max(at);
            }
            Err(failure) => outcome.failures.push(failure.to_string()),
        }
    }
    let seconds = end.saturating_sub(finished.started).as_secs_f64().max(1e-9);
    outcome.elapsed_seconds = seconds;
    outcome.add_metric("connections", latencies.samples() as f64, "");
    outcome.add_metric(
        "connections per second",
        latencies.samples() as f64 / seconds,
        "1/s",
    );
    outcome.set_latencies(latencies);
    Ok(outcome)
}

fn open_and_close(
    share: usize,
    settings: &Settings,
    run: &Run,
    thread: usize,
) -> Result<(Latencies, Duration)> {
    let mut latencies = Latencies::default();
    for _ in 0..share {
        if run.abort.load(Relaxed) {
            break;
        }
        let before = run.epoch.elapsed();
        drop(Link::open(&settings.target)?);
        latencies.record((run.epoch.elapsed() - before).as_nanos() as u64);
        run.counters[thread].delivered.fetch_add(1, Relaxed);
    }
    Ok((latencies, run.epoch.elapsed()))
}
