//! Streams that keep messages only for their consumers: what none of them needs leaves.

use crate::jetstream::Outlet;
use crate::jetstream::config::Retention;
use crate::store::{Messages, Selection, Seq};

use super::{Asset, SWEEP_PER_TURN, Surroundings};

impl Asset {
    /// Removes what consumers have settled and nobody else needs.
    pub(super) fn settle<M: Messages, O: Outlet>(&mut self, around: &mut Surroundings<'_, M, O>) {
        let settled = std::mem::take(&mut around.desk.settled);
        if self.config().retention != Retention::Limits {
            let mut everything = Selection::everything();
            for &(first, last) in &settled {
                // What is not there need not be looked at: a range may be long and the stream empty.
                let mut from = first;
                while let Some(seq) = around.messages.next(&mut everything, from)
                    && seq <= last
                {
                    self.remove_if_unneeded(seq, around.messages);
                    from = seq + 1;
                }
            }
        }
        // The same room is used again.
        around.desk.settled = settled;
        around.desk.settled.clear();
        self.hear_of_removed(around);
    }

    fn remove_if_unneeded<M: Messages>(&mut self, seq: Seq, messages: &mut M) {
        if !self.is_needed(seq, messages) {
            self.stream.remove_settled(seq, messages);
        }
    }

    /// Whether some consumer needs a message. Only those are asked whose filters match.
    fn is_needed<M: Messages>(&self, seq: Seq, messages: &M) -> bool {
        let Some(subject) = messages.subject_of(seq) else {
            return true;
        };
        let mut is_needed = false;
        self.wake.interested(subject, &mut |place| {
            let needs = |slot: &super::ConsumerSlot| slot.consumer.needs(seq, subject);
            is_needed = is_needed || self.slot(place).is_some_and(needs);
        });
        is_needed
    }

    /// A consumer has gone or wants something else: what only it wanted may leave.
    pub(super) fn sweep_if_interest(&mut self) {
        if self.is_interest() {
            self.sweep = Some(0);
        }
    }

    /// Looks at some of the messages for those that nobody needs.
    pub(super) fn sweep<M: Messages, O: Outlet>(&mut self, around: &mut Surroundings<'_, M, O>) {
        let Some(mut from) = self.sweep else {
            return;
        };
        let mut everything = Selection::everything();
        for _ in 0..SWEEP_PER_TURN {
            let Some(seq) = around.messages.next(&mut everything, from) else {
                self.sweep = None;
                break;
            };
            self.remove_if_unneeded(seq, around.messages);
            from = seq + 1;
            self.sweep = Some(from);
        }
        self.hear_of_removed(around);
    }
}
