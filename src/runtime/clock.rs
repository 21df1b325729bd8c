//! The clock that all shards go by, and what it means for others.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::deadlines::Millis;
use crate::control::time::UnixNanos;

/// Read once from the system's clock, then it goes on evenly.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    from: Instant,
    unix: UnixNanos,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        // Before 1970 nothing has happened.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix = since.map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        });
        Self {
            from: Instant::now(),
            unix: UnixNanos(unix),
        }
    }

    /// When it began.
    pub fn started(&self) -> UnixNanos {
        self.unix
    }

    /// The time.
    pub fn now(&self) -> UnixNanos {
        let passed = u64::try_from(self.from.elapsed().as_nanos()).unwrap_or(u64::MAX);
        UnixNanos(self.unix.0.saturating_add(passed))
    }

    /// The time as shards count it: from 1.
    pub fn millis(&self) -> Millis {
        self.reading().0
    }

    /// The same, and nanoseconds from the beginning, of one look.
    pub fn reading(&self) -> (Millis, u64) {
        let passed = self.from.elapsed();
        let ns = passed.as_secs() * 1_000_000_000 + u64::from(passed.subsec_nanos());
        (ns / 1_000_000 + 1, ns)
    }

    /// Milliseconds from 1970 to the zero of the shards' count.
    pub fn unix_at_zero_ms(&self) -> Millis {
        (self.unix.0 / 1_000_000).saturating_sub(1)
    }
}
