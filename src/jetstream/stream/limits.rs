//! The limits of a stream: what goes when there is too much.

use crate::jetstream::Outlet;
use crate::store::{Messages, Selection, Seq};

use super::{Stream, World};

/// Messages that one publish removes at most: when a limit was made narrower, the rest goes in
/// turns of the clock.
const REMOVED_AT_ONCE: usize = 64;

impl Stream {
    /// Removes what is beyond the limits after a message of this subject was stored.
    #[inline]
    pub(super) fn enforce<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        subject: &[u8],
    ) {
        if let Some(max) = limit(self.config.max_msgs_per_subject) {
            self.enforce_subject(world, subject, max);
        }
        if !self.enforce_totals(world, REMOVED_AT_ONCE) {
            self.is_over_limits = true;
            self.hurry();
        }
    }

    fn enforce_subject<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        subject: &[u8],
        max: u64,
    ) {
        for _ in 0..REMOVED_AT_ONCE {
            match world.messages.subject(subject) {
                Some(state) if state.messages > max => self.remove_one(world, state.first),
                _ => return,
            }
        }
    }

    /// Whether the stream is within its limits then.
    pub(super) fn enforce_totals<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        budget: usize,
    ) -> bool {
        let max_messages = limit(self.config.max_msgs).unwrap_or(u64::MAX);
        let max_bytes = limit(self.config.max_bytes).unwrap_or(u64::MAX);
        for _ in 0..budget {
            let state = world.messages.state();
            let is_within = state.messages <= max_messages && state.bytes <= max_bytes;
            if is_within || state.messages == 0 {
                return true;
            }
            let first = state.first_seq;
            self.remove_one(world, first);
        }
        false
    }

    /// Keeps a limit for each subject that was made narrower.
    pub(super) fn enforce_subjects(&mut self, messages: &mut impl Messages, max: u64) {
        let mut over = Vec::new();
        messages.each_subject(&mut Selection::everything(), &mut |subject, state| {
            if state.messages > max {
                over.push(subject.to_vec());
            }
        });
        let below = messages.state().last_seq + 1;
        for subject in over {
            messages.purge(&mut Selection::of(&[subject]), below, max);
            self.removed.several();
        }
    }

    /// Removes one and tells so.
    pub(super) fn remove_one<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        seq: Seq,
    ) {
        self.remove(world.messages, seq, false);
    }

    /// Removes a message that was kept for consumers, and that none of them needs any more.
    pub fn remove_settled(&mut self, seq: Seq, messages: &mut impl Messages) {
        self.remove(messages, seq, false);
    }

    /// Removes one, tells so, and says whether it was there.
    pub(super) fn remove(&mut self, messages: &mut impl Messages, seq: Seq, erase: bool) -> bool {
        if self.tells_removed
            && let Some(subject) = messages.subject_of(seq)
        {
            self.removed.one(seq, subject);
        }
        messages.remove(seq, erase)
    }
}

/// A limit of the configuration, if it is one.
pub(super) fn limit(configured: i64) -> Option<u64> {
    u64::try_from(configured).ok().filter(|&limit| limit > 0)
}
