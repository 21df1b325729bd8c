//! What a stream has to find out again after a restart: ids within the window, the last id, times
//! to live and schedules. The index says which messages have such; those are read.
//!
//! Ids come first, and publishes wait for them: a duplicate must not get through because the
//! server was started again. The rest is done in the stream's turns, a bounded number at a time.

use crate::jetstream::Outlet;
use crate::store::{Fetched, Messages, Seq, flags};

use super::expiry::Progress;
use super::headers::{Asked, TimeToLive};
use super::{Stream, World};

/// Messages that are looked at in one turn.
const LOOKED_AT_ONCE: usize = 512;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// From where on ids are to be read; 0 when all are.
    ids_from: Seq,
    /// The same of times to live and schedules.
    timers_from: Seq,
    /// Up to this message: what comes later is known anyway.
    last: Seq,
}

impl Recovery {
    /// Of a stream that has these messages already.
    pub fn new(messages: &impl Messages, window_begin: i64, has_ids: bool) -> Self {
        let state = messages.state();
        if state.messages == 0 {
            return Self::default();
        }
        Self {
            // The last id is needed even if it has left the window.
            ids_from: if has_ids {
                let first = messages.at_or_after(window_begin);
                first.min(state.last_seq).max(1)
            } else {
                0
            },
            timers_from: 1,
            last: state.last_seq,
        }
    }

    /// Looks at times to live and schedules once more.
    pub fn restart_timers(&mut self, messages: &impl Messages) {
        self.timers_from = 1;
        self.last = messages.state().last_seq;
    }

    /// Whether publishes wait for it.
    pub fn blocks(&self) -> bool {
        self.ids_from > 0
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        self.ids_from == 0 && self.timers_from == 0
    }
}

impl Stream {
    /// Goes on with finding out.
    pub(super) fn recover_more<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
    ) -> Progress {
        for _ in 0..LOOKED_AT_ONCE {
            let progress = if self.recovery.ids_from > 0 {
                self.recover_id(world)
            } else if self.recovery.timers_from > 0 {
                self.recover_timer(world)
            } else {
                return Progress::Done;
            };
            if progress != Progress::More {
                return progress;
            }
        }
        Progress::More
    }

    fn recover_id<M: Messages, O: Outlet>(&mut self, world: &mut World<'_, M, O>) -> Progress {
        let from = self.recovery.ids_from;
        let last = self.recovery.last;
        let flagged = world.messages.next_flagged(flags::MSG_ID, from);
        let Some(seq) = flagged.filter(|&seq| seq <= last) else {
            self.recovery.ids_from = 0;
            return Progress::More;
        };
        match world.messages.get(seq) {
            Fetched::Later => return Progress::Blocked,
            Fetched::Gone | Fetched::Damaged => {}
            Fetched::Here(message) => {
                let id = Asked::read(message.headers).msg_id;
                if !id.is_empty() {
                    self.duplicates.insert(id, seq, message.time);
                    if seq == last {
                        self.last_msg_id = id.to_vec();
                    }
                }
            }
        }
        self.recovery.ids_from = seq + 1;
        Progress::More
    }

    fn recover_timer<M: Messages, O: Outlet>(&mut self, world: &mut World<'_, M, O>) -> Progress {
        let mut wanted = 0;
        if self.config.allow_msg_ttl {
            wanted |= flags::TTL;
        }
        if self.config.allow_msg_schedules {
            wanted |= flags::SCHEDULE;
        }
        let from = self.recovery.timers_from;
        let flagged = (wanted != 0).then(|| world.messages.next_flagged(wanted, from));
        let Some(seq) = flagged.flatten().filter(|&seq| seq <= self.recovery.last) else {
            self.recovery.timers_from = 0;
            return Progress::Done;
        };
        match world.messages.get(seq) {
            Fetched::Later => return Progress::Blocked,
            Fetched::Gone | Fetched::Damaged => {}
            Fetched::Here(message) => {
                let asked = Asked::read(message.headers);
                let time = message.time;
                if self.config.allow_msg_schedules {
                    self.schedules
                        .recover(seq, message.subject, &asked, time, world.now.unix);
                }
                if self.config.allow_msg_ttl
                    && let Some(TimeToLive::Seconds(seconds)) = TimeToLive::read(asked.ttl)
                {
                    let expires = end_of_life(time, seconds);
                    self.expiry.add(expires, seq, world.messages);
                }
            }
        }
        self.recovery.timers_from = seq + 1;
        Progress::More
    }
}

/// When a message that lives so many seconds ends.
pub(super) fn end_of_life(time: i64, seconds: u64) -> i64 {
    let nanos = i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000_000);
    time.saturating_add(nanos)
}
