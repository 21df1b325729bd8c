//! What a stream does of its own accord: when time has come, when there is more to do than one turn
//! allows, and when something that had to be read is there.

use crate::base::deadlines::Millis;
use crate::jetstream::{Now, Outlet};
use crate::store::{Messages, UnixNanos};

use super::expiry::Progress;
use super::{Stream, World};

/// Messages that end in one turn.
const ENDED_AT_ONCE: usize = 1024;
/// Schedules that fire in one turn.
const FIRED_AT_ONCE: usize = 64;
/// Messages that are removed in one turn, after a limit was made narrower.
const REMOVED_AT_ONCE: usize = 4096;
/// Turns for messages that end lie so far apart at least: those of a while go together.
const TURN_MS: Millis = 50;
/// What did not work is tried again after so long.
const RETRY_MS: Millis = 1000;
/// The clock of people may be set: it is looked at again after so long.
const LOOK_MS: Millis = 600_000;
const NANOS_PER_MS: i64 = 1_000_000;

/// When a stream has something to do.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Not before this.
    not_before_ms: Millis,
    /// There is more to do at once.
    is_busy: bool,
    /// What ends or fires has to be read first.
    is_blocked: bool,
}

impl Stream {
    /// When [`Self::tick`] is to be called.
    pub fn next_deadline(&self, messages: &impl Messages, now: Now) -> Option<Millis> {
        if self.clock.is_busy || self.reads.is_ready() {
            return Some(now.mono_ms);
        }
        let ends = (!self.clock.is_blocked)
            .then(|| {
                let schedule = self.schedules.next();
                let next = [self.next_expiry(messages), schedule];
                next.into_iter().flatten().min()
            })
            .flatten()
            .map(|at| mono(at, now).max(self.clock.not_before_ms));
        let forgets = self.duplicates.next_expiry().map(|at| {
            // Nothing hangs on it but memory.
            mono(at, now).saturating_add(RETRY_MS)
        });
        let batches = [
            self.atomic.next_expiry(),
            self.fast.next_expiry(),
            self.reads.again(),
        ];
        let all = [ends, forgets].into_iter().chain(batches);
        all.flatten().min()
    }

    /// Does what is due.
    pub fn tick<M: Messages, O: Outlet>(&mut self, world: &mut World<'_, M, O>) {
        let now = world.now;
        self.duplicates.expire(now.unix);
        self.expire_atomic(world);
        self.fast.expire(now.mono_ms);
        self.clock.is_busy = false;
        self.clock.is_blocked = false;
        let recovered = if self.recovery.is_done() {
            Progress::Done
        } else {
            self.recover_more(world)
        };
        let ended = self.expire(world, ENDED_AT_ONCE);
        let fired = self.fire(world, FIRED_AT_ONCE);
        for progress in [recovered, ended, fired] {
            self.clock.is_busy |= progress == Progress::More;
            self.clock.is_blocked |= progress == Progress::Blocked;
        }
        let pause = if ended == Progress::Failed {
            RETRY_MS
        } else {
            TURN_MS
        };
        self.clock.not_before_ms = now.mono_ms.saturating_add(pause);
        if self.is_over_limits {
            self.is_over_limits = !self.enforce_totals(world, REMOVED_AT_ONCE);
            self.clock.is_busy |= self.is_over_limits;
        }
        if !self.reads.is_empty() {
            self.read_more(world);
        }
    }

    /// Goes on with what waited for a read, or for a slow client: the store has news, or time has
    /// passed.
    pub fn resume<M: Messages, O: Outlet>(&mut self, world: &mut World<'_, M, O>) {
        if !self.recovery.is_done() && self.recover_more(world) == Progress::More {
            self.clock.is_busy = true;
        }
        self.resume_arrivals(world);
        if !self.reads.is_empty() {
            self.read_more(world);
        }
        if self.clock.is_blocked {
            self.tick(world);
        }
    }

    /// Whether something waits for [`Self::resume`].
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
            || !self.reads.is_empty()
            || self.clock.is_blocked
            || !self.recovery.is_done()
    }

    /// Has the next turn come at once.
    pub(super) fn hurry(&mut self) {
        self.clock.is_busy = true;
    }
}

/// The moment of a time of people's clock, rounded up.
fn mono(at: UnixNanos, now: Now) -> Millis {
    let wait = at.saturating_sub(now.unix).max(0).unsigned_abs();
    let wait_ms = wait.div_ceil(NANOS_PER_MS as u64).min(LOOK_MS);
    now.mono_ms.saturating_add(wait_ms)
}
