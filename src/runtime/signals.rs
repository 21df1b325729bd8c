//! Signals, as reports to the main thread.

use std::io;

use crossbeam_channel::Sender;
pub use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::commands::Report;

/// Starts the thread that waits for signals.
pub fn watch(reports: Sender<Report>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2])?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if reports.send(Report::Signal(signal)).is_err() {
                    return;
                }
            }
        })
        .map(drop)
}

/// What nats-server's log calls a signal.
pub fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "interrupt",
        SIGTERM => "terminated",
        SIGHUP => "hangup",
        SIGUSR1 => "user defined signal 1",
        SIGUSR2 => "user defined signal 2",
        _ => "unknown",
    }
}
