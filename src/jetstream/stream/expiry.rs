//! What time removes: messages that are older than `max_age`, or than they say themselves
//! (`Nats-TTL`), and the markers that are left when a subject's last message goes so (ADR-43).
//!
//! Ages need no memory: messages lie in the order of their times, and those that live for ever are
//! stepped over once. Times to live are a heap, which is swept when most of it speaks of messages
//! that are gone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::jetstream::Outlet;
use crate::jetstream::api::errors::Code;
use crate::store::{Fetched, Messages, Selection, Seq, UnixNanos, flags};

use super::headers::{self, Asked, TimeToLive};
use super::publish::{Arrival, Origin, Outcome};
use super::{Stream, World};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// The heap is looked through when it has that many more entries than there are messages.
const SWEEP_SLACK: usize = 1024;

/// What is known about the ends of messages.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    ttls: BinaryHeap<Reverse<(UnixNanos, Seq)>>,
    sweep_at: usize,
    /// What is left below it never ages.
    ageless_below: Seq,
}

impl Expiry {
    /// A message with a time to live.
    pub fn add(&mut self, expires: UnixNanos, seq: Seq, messages: &impl Messages) {
        let there = usize::try_from(messages.state().messages).unwrap_or(usize::MAX);
        if self.ttls.len()
            > self
                .sweep_at
                .max(there.saturating_mul(2))
                .saturating_add(SWEEP_SLACK)
        {
            self.ttls
                .retain(|Reverse((_, seq))| messages.time_of(*seq).is_some());
            self.sweep_at = self.ttls.len();
        }
        self.ttls.push(Reverse((expires, seq)));
    }

    /// Times to live that are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.ttls.len()
    }

    /// All ages are to be looked at anew.
    pub fn restart(&mut self) {
        self.ageless_below = 0;
    }

    /// All times to live are forgotten.
    pub fn forget(&mut self) {
        self.ttls = BinaryHeap::new();
    }
}

/// How far something got within its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing is left to do now.
    Done,
    /// There is more.
    More,
    /// Something has to be read first.
    Blocked,
    /// It did not work; try again in a while.
    Failed,
}

impl Stream {
    /// When the next message ends.
    pub(super) fn next_expiry(&self, messages: &impl Messages) -> Option<UnixNanos> {
        let ttl = self.expiry.ttls.peek().map(|Reverse((at, _))| *at);
        let age = self.next_of_age(messages).map(|(_, at)| at);
        [ttl, age].into_iter().flatten().min()
    }

    /// The oldest message that may age, and when it is too old.
    fn next_of_age(&self, messages: &impl Messages) -> Option<(Seq, UnixNanos)> {
        let state = messages.state();
        if self.config.max_age <= 0 || state.messages == 0 {
            return None;
        }
        let (seq, time) = if self.expiry.ageless_below <= state.first_seq {
            (state.first_seq, state.first_time)
        } else {
            let seq = messages.next(&mut Selection::everything(), self.expiry.ageless_below)?;
            (seq, messages.time_of(seq)?)
        };
        Some((seq, time.saturating_add(self.config.max_age)))
    }

    /// Ends messages, at most so many.
    pub(super) fn expire<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        budget: usize,
    ) -> Progress {
        for _ in 0..budget {
            let now = world.now.unix;
            let ended = match self.next_of_age(world.messages) {
                Some((seq, at)) if at <= now => self.end_of_age(world, seq),
                _ => match self.expiry.ttls.peek() {
                    Some(&Reverse((at, seq))) if at <= now => {
                        let ended = self.end(world, seq);
                        if ended == Progress::Done {
                            self.expiry.ttls.pop();
                        }
                        ended
                    }
                    _ => return Progress::Done,
                },
            };
            if ended != Progress::Done {
                return ended;
            }
        }
        Progress::More
    }

    /// Ends a message that is too old, unless it says that it does not age.
    fn end_of_age<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        seq: Seq,
    ) -> Progress {
        if world.messages.next_flagged(flags::TTL, seq) == Some(seq) {
            match world.messages.get(seq) {
                Fetched::Later => return Progress::Blocked,
                Fetched::Here(message) => {
                    let ttl = TimeToLive::read(Asked::read(message.headers).ttl);
                    if ttl == Some(TimeToLive::Never) {
                        self.expiry.ageless_below = seq + 1;
                        return Progress::Done;
                    }
                }
                Fetched::Gone | Fetched::Damaged => {}
            }
        }
        let ended = self.end(world, seq);
        if ended == Progress::Done {
            self.expiry.ageless_below = seq + 1;
        }
        ended
    }

    /// Removes a message whose time has come, or has a marker take its place.
    fn end<M: Messages, O: Outlet>(&mut self, world: &mut World<'_, M, O>, seq: Seq) -> Progress {
        let marker_seconds = self.config.subject_delete_marker_ttl / NANOS_PER_SECOND;
        if marker_seconds <= 0 {
            self.remove_one(world, seq);
            return Progress::Done;
        }
        let subject = match world.messages.get(seq) {
            Fetched::Later => return Progress::Blocked,
            // What cannot be read must go all the same.
            Fetched::Gone | Fetched::Damaged => None,
            Fetched::Here(message) => {
                (!Asked::read(message.headers).is_delete_marker()).then(|| message.subject.to_vec())
            }
        };
        let is_last = |subject: &[u8]| {
            let state = world.messages.subject(subject);
            state.is_some_and(|state| state.messages == 1)
        };
        let Some(subject) = subject.filter(|subject| is_last(subject)) else {
            self.remove_one(world, seq);
            return Progress::Done;
        };
        let mut block = Vec::new();
        headers::push(&mut block, headers::MARKER_REASON, b"MaxAge");
        let ttl = go_seconds(marker_seconds);
        headers::push(&mut block, headers::TTL, ttl.as_bytes());
        headers::push(&mut block, headers::ROLLUP, headers::ROLLUP_SUBJECT);
        let marker = Arrival {
            subject: &subject,
            headers: &block,
            origin: Origin::Own,
            ..Arrival::default()
        };
        match self.arrive(world, &marker) {
            Outcome::Stored(_) | Outcome::Unwanted(_) | Outcome::Duplicate(_) | Outcome::Staged => {
                // Where rollups are not allowed, the marker does not take its place.
                self.remove_one(world, seq);
                Progress::Done
            }
            Outcome::Waits => Progress::Blocked,
            // With room again it may work.
            Outcome::Refused(error) if lacks_room(error.code) => Progress::Failed,
            Outcome::Refused(_) => {
                self.remove_one(world, seq);
                Progress::Done
            }
        }
    }
}

fn lacks_room(code: Code) -> bool {
    matches!(
        code,
        Code::StorageResourcesExceeded
            | Code::InsufficientResources
            | Code::AccountResourcesExceeded
    )
}

/// Seconds as Go writes a duration: `1h0m5s`.
fn go_seconds(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}
