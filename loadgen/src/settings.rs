//! What every workload needs to know and no workload decides: the server, the load, the processors, the patience.

use std::time::Duration;

use crate::link::Target;

/// When publishers stop.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// After this many messages over all publishers.
    Count(u64),
    After(Duration),
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub target: Target,
    /// Thread `i` is pinned to entry `i` modulo length; empty means not pinned.
    pub cpus: Vec<usize>,
    pub threads: usize,
    pub payload_bytes: usize,
    pub amount: Amount,
    /// Never sleep while waiting for the server.
    pub busy: bool,
    /// Without any progress for this long, what is missing counts as lost.
    pub stall_timeout: Duration,
    pub quiet: bool,
    /// The server's process, to read its processor time and memory.
    pub server_pid: Option<u32>,
}

impl Settings {
    /// The time given, or for a counted load the default: for workloads that only make sense over a time.
    pub fn duration(&self) -> Duration {
        const DURATION_DEFAULT: Duration = Duration::from_secs(5);
        match self.amount {
            Amount::After(duration) => duration,
            Amount::Count(_) => DURATION_DEFAULT,
        }
    }

    /// The share of one of `publishers` publishers in a counted load; `None` if time ends the load.
    pub fn quota(&self, publisher: usize, publishers: usize) -> Option<u64> {
        match self.amount {
            Amount::Count(total) => {
                let (each, rest) = (total / publishers as u64, total % publishers as u64);
                Some(each + u64::from((publisher as u64) < rest))
            }
            Amount::After(_) => None,
        }
    }
}
