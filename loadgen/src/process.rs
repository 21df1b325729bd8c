//! What /proc knows about a server: processor time and memory.

use std::fs;
use std::time::Duration;

use crate::failure::{Doing, Failure, Result};

/// A process's consumption at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time its live threads have run, in nanosecond resolution.
    pub cpu: Duration,
    pub rss_bytes: u64,
    /// The largest resident size since the process began.
    pub rss_peak_bytes: u64,
}

impl Usage {
    pub fn read(pid: u32) -> Result<Self> {
        let status_path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&status_path).doing(|| format!("reading {status_path}"))?;
        let missing = |name: &str| Failure::usage(format!("{status_path} has no {name}"));
        Ok(Self {
            cpu: cpu(pid)?,
            rss_bytes: kib_field(&status, "VmRSS:").ok_or_else(|| missing("VmRSS"))? * 1024,
            rss_peak_bytes: kib_field(&status, "VmHWM:").ok_or_else(|| missing("VmHWM"))? * 1024,
        })
    }
}

/// Sums the run time of the threads; `/proc/PID/stat` counts in hundredths of a second, this in nanoseconds.
fn cpu(pid: u32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut total_ns = 0;
    for task in fs::read_dir(&tasks)
        .doing(|| format!("reading {tasks}"))?
        .flatten()
    {
        // A thread may end between listing and reading; its time is then lost either way.
        let Ok(schedstat) = fs::read_to_string(task.path().join("schedstat")) else {
            continue;
        };
        let run_ns = schedstat
            .split_ascii_whitespace()
            .next()
            .and_then(|field| field.parse::<u64>().ok());
        total_ns += run_ns.unwrap_or(0);
    }
    Ok(Duration::from_nanos(total_ns))
}

fn kib_field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name))?;
    line[name.len()..]
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_usage_is_read() {
        let usage = Usage::read(std::process::id()).unwrap();
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes);
    }

    #[test]
    fn status_fields_are_in_kib() {
        assert_eq!(
            kib_field("Name:\tx\nVmRSS:\t    1234 kB\n", "VmRSS:"),
            Some(1234)
        );
        assert_eq!(kib_field("Name:\tx\n", "VmRSS:"), None);
    }
}
