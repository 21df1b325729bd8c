//! Lame duck mode: no new clients, and the old ones are closed one by one, so that they do not
//! all come down on the next server at once.

use std::time::{Duration, Instant};

use super::log::Log;
use crate::base::ids::ShardId;
use crate::base::prng::Prng;
use crate::config::Limits;

/// Between two closings there is at most this, however few clients there are.
const GAP_MAX: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// Close a connection of this shard.
    Close(ShardId),
    /// Nobody is left.
    Done,
}

/// The schedule.
pub struct LameDuck {
    next_at: Instant,
    /// Set when the grace period is over and clients have been counted.
    gap: Option<Duration>,
    spread: Duration,
    prng: Prng,
    log: Log,
}

impl LameDuck {
    /// Starts the grace period.
    pub fn new(limits: &Limits, log: Log) -> Self {
        let grace = Duration::from_millis(limits.lame_duck_grace_period_ms);
        let duration = Duration::from_millis(limits.lame_duck_duration_ms);
        Self {
            next_at: Instant::now() + grace,
            gap: None,
            spread: duration.saturating_sub(grace),
            prng: Prng::new(u64::from(std::process::id())),
            log,
        }
    }

    /// How long to wait for something else before the next look.
    pub fn pause(&self) -> Duration {
        // Also looks in between, to end as soon as the last client has left by itself.
        self.next_at
            .saturating_duration_since(Instant::now())
            .min(Duration::from_millis(100))
    }

    /// What to do now, with so many connections on each shard.
    pub fn next(&mut self, per_shard: impl Iterator<Item = usize>) -> Step {
        let per_shard: Vec<usize> = per_shard.collect();
        let left: usize = per_shard.iter().sum();
        if left == 0 {
            return Step::Done;
        }
        let now = Instant::now();
        if now < self.next_at {
            return Step::Wait;
        }
        let gap = match self.gap {
            Some(gap) => gap,
            None => {
                self.log.info(format_args!("Closing existing clients"));
                let clients = u32::try_from(left).unwrap_or(u32::MAX);
                *self.gap.insert((self.spread / clients).min(GAP_MAX))
            }
        };
        // Between half a gap and a whole one.
        let half = gap / 2;
        let random = u64::from(self.prng.below(1000));
        self.next_at = now + half + Duration::from_nanos(half.as_nanos() as u64 / 1000 * random);
        let most = (0u8..).zip(&per_shard).max_by_key(|&(_, &count)| count);
        most.map_or(Step::Done, |(shard, _)| Step::Close(ShardId(shard)))
    }
}
