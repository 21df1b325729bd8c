//! Streams that keep messages only for their consumers: what none of them needs leaves.

use crate::jetstream::Outlet;
use crate::jetstream::config::Retention;
use crate::store::{Messages, Selection, Seq};

use super::{Asset, SWEEP_PER_TURN, Surroundings};

/// Whether a message is needed.
enum Verdict {
    Needed,
    Nobody,
}

impl Asset {
    /// Removes what consumers have settled and nobody else needs.
    pub(super) fn settle<M: Messages, O: Outlet>(&mut self, around: &mut Surroundings<'_, M, O>) {
        let settled = std::mem::take(&mut around.desk.settled);
        if self.config().retention == Retention::Limits {
            return;
        }
        let mut removed = Vec::new();
        for &(first, last) in &settled {
            let mut seq = first.max(around.messages.state().first_seq);
            while seq <= last {
                match self.verdict(seq, around.messages) {
                    Verdict::Needed => {}
                    Verdict::Nobody => {
                        if around.messages.remove(seq, false) {
                            removed.push(seq);
                        }
                    }
                }
                seq += 1;
            }
        }
        // The same room is used again.
        around.desk.settled = settled;
        around.desk.settled.clear();
        self.tell_of(&removed, around);
    }

    /// Tells those consumers that count on it.
    fn tell_of<M: Messages, O: Outlet>(
        &mut self,
        removed: &[Seq],
        around: &mut Surroundings<'_, M, O>,
    ) {
        if removed.is_empty() || self.names.len() < 2 {
            return;
        }
        let places: Vec<u32> = self.names.values().copied().collect();
        for place in places {
            self.hear(place, removed.iter().map(|&seq| (seq, None)), false, around);
        }
    }

    fn verdict<M: Messages>(&self, seq: Seq, messages: &M) -> Verdict {
        let mut may_need = self
            .names
            .values()
            .filter_map(|&place| self.seat(place))
            .filter(|seat| !seat.consumer.is_acknowledged(seq) || seat.consumer.gives_up())
            .peekable();
        if may_need.peek().is_none() {
            return Verdict::Nobody;
        }
        let Some(subject) = messages.subject_of(seq) else {
            return Verdict::Needed;
        };
        match may_need.any(|seat| seat.consumer.needs(seq, subject)) {
            true => Verdict::Needed,
            false => Verdict::Nobody,
        }
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
        let mut removed = Vec::new();
        for _ in 0..SWEEP_PER_TURN {
            let Some(seq) = around.messages.next(&mut everything, from) else {
                self.sweep = None;
                break;
            };
            match self.verdict(seq, around.messages) {
                Verdict::Needed => {}
                Verdict::Nobody => {
                    if around.messages.remove(seq, false) {
                        removed.push(seq);
                    }
                }
            }
            from = seq + 1;
            self.sweep = Some(from);
        }
        self.tell_of(&removed, around);
    }
}
