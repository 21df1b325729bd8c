//! What this process uses of the machine.

use std::fs;
use std::time::Instant;

use crate::control::view::Usage;

/// Looks closer together than this give the same answer: the share of a core over a shorter time
/// says nothing.
const INTERVAL_S_MIN: f64 = 0.25;

/// Measures between two looks.
pub struct UsageMeter {
    looked_at: Instant,
    cpu_s: f64,
    cpu_percent: f64,
}

impl UsageMeter {
    pub fn new() -> Self {
        Self {
            looked_at: Instant::now(),
            cpu_s: cpu_seconds(),
            cpu_percent: 0.0,
        }
    }

    /// Memory now, and the share of a core since the last look.
    pub fn look(&mut self) -> Usage {
        let passed_s = self.looked_at.elapsed().as_secs_f64();
        if passed_s >= INTERVAL_S_MIN {
            let cpu_s = cpu_seconds();
            // In tenths of a per cent.
            self.cpu_percent = ((cpu_s - self.cpu_s) / passed_s * 1000.0).round() / 10.0;
            self.cpu_s = cpu_s;
            self.looked_at = Instant::now();
        }
        Usage {
            cpu_percent: self.cpu_percent,
            resident_bytes: resident_bytes(),
        }
    }
}

/// Time that all threads of the process have run.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is valid; a process always has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Second number of `statm`, in pages; 0 where there is no `/proc`.
fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| {
            let word = text.split_ascii_whitespace().nth(1)?;
            word.parse::<u64>().ok()
        });
    // SAFETY: takes a number and returns one.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages
        .unwrap_or(0)
        .saturating_mul(u64::try_from(page_bytes).unwrap_or(4096))
}

/// A line for each thread: number, name, state, CPU time in hundredths of a second, user and system.
pub fn threads() -> String {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let mut lines: Vec<String> = tasks
        .flatten()
        .filter_map(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            // The name is in brackets, and may itself have some.
            let (start, rest) = stat.rsplit_once(") ")?;
            let (number, name) = start.split_once(" (")?;
            let words: Vec<&str> = rest.split(' ').collect();
            let (state, user, system) = (words.first()?, words.get(11)?, words.get(12)?);
            Some(format!(
                "thread {number} {name} [{state}] {user} {system}\n"
            ))
        })
        .collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_uses_something() {
        let mut meter = UsageMeter::new();
        let from = Instant::now();
        let mut number = 0u64;
        while from.elapsed().as_secs_f64() < INTERVAL_S_MIN {
            number = std::hint::black_box(number.wrapping_mul(31) + 1);
        }
        let usage = meter.look();
        assert!(usage.cpu_percent > 1.0, "{usage:?}");
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        // At once again: nothing new to say.
        assert_eq!(meter.look().cpu_percent, usage.cpu_percent);
    }
}
