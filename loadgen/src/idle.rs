//! What idle connections cost a server: resident memory for each, and processor time while nothing happens.

use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Doing, Failure, Result};
use crate::link::Link;
use crate::process::Usage;
use crate::report::Outcome;
use crate::settings::Settings;
use crate::system::raise_open_files_limit;

pub const RSS_PER_CONNECTION: &str = "server RSS per connection";
pub const CPU_WHILE_IDLE: &str = "server CPU with idle connections";
const CPU_BEFORE: &str = "server CPU before connecting";
const SID: u64 = 1;
/// Descriptors besides the connections.
const OPEN_FILES_RESERVE: u64 = 64;
const SETTLE: Duration = Duration::from_secs(1);
/// Servers tidy up and send a first PING in the seconds after a handshake; that is not idleness.
const SETTLE_CONNECTED: Duration = Duration::from_secs(4);

pub fn run(connections: usize, settings: &Settings) -> Result<Outcome> {
    let pid = settings
        .server_pid
        .ok_or_else(|| Failure::usage("idle needs --server-pid (compare knows it)"))?;
    let wanted = connections as u64 + OPEN_FILES_RESERVE;
    let limit =
        raise_open_files_limit(wanted).doing(|| "raising the limit of open files".to_owned())?;
    if limit < wanted {
        return Err(Failure::usage(format!(
            "{connections} connections need {wanted} open files, allowed are {limit}"
        )));
    }
    let mut outcome = Outcome::new(
        &format!("idle, {connections} connections"),
        settings.payload_bytes,
    );
    // The first connection makes the server set up what it sets up once.
    drop(Link::open(&settings.target)?);
    thread::sleep(SETTLE);
    let window = settings.duration();
    let busy_before = cpu_share(pid, window)?;
    let before = Usage::read(pid)?;

    let start = Instant::now();
    let mut links = Vec::with_capacity(connections);
    for index in 0..connections {
        let mut link = Link::open(&settings.target)?;
        link.subscribe(&format!("load.idle.{index:06}"), None, SID)?;
        link.barrier()?;
        links.push(link.stream);
        if !settings.quiet && (index + 1) % 2_000 == 0 {
            eprintln!("{} connections", index + 1);
        }
    }
    outcome.add_metric(
        "connections opened",
        connections as f64 / start.elapsed().as_secs_f64(),
        "1/s",
    );
    thread::sleep(SETTLE_CONNECTED);
    let after = Usage::read(pid)?;
    let busy_after = cpu_share(pid, window)?;

    let growth_bytes = after.rss_bytes.saturating_sub(before.rss_bytes) as f64;
    outcome.server_rss_peak_bytes = Some(after.rss_peak_bytes);
    outcome.add_metric(
        RSS_PER_CONNECTION,
        growth_bytes / connections.max(1) as f64 / 1024.0,
        "KiB",
    );
    outcome.add_metric(CPU_BEFORE, busy_before * 1e3, "ms/s");
    outcome.add_metric(CPU_WHILE_IDLE, busy_after * 1e3, "ms/s");
    let dropped = links
        .iter()
        .filter(|stream| crate::system::peer_has_closed(*stream))
        .count();
    if dropped > 0 {
        outcome
            .failures
            .push(format!("the server closed {dropped} idle connections"));
    }
    Ok(outcome)
}

/// The share of one processor the server uses over a time in which we do nothing.
fn cpu_share(pid: u32, window: Duration) -> Result<f64> {
    let (start, before) = (Instant::now(), Usage::read(pid)?);
    thread::sleep(window);
    let after = Usage::read(pid)?;
    Ok((after.cpu.saturating_sub(before.cpu)).as_secs_f64() / start.elapsed().as_secs_f64())
}
