//! Which messages a filter takes next: found, and asked of the store, several at a time.
//!
//! What a filter picks lies far apart, on the disk and in memory. Who asks for one after the other waits for
//! each; who knows the next ones has them fetched while it sends the first.

use std::collections::VecDeque;

use crate::store::{Messages, Selection, Seq};

/// Messages known at a time. Others are looked for when half of them are gone.
const MOST: usize = 64;
/// Sequences behind the last one known that are looked at for others: a filter that takes one in a million
/// must not have millions looked at in one turn.
const DISTANCE_MAX: u64 = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub struct Lookahead {
    seqs: VecDeque<Seq>,
    /// What is taken from here on up to there is in `seqs`.
    from: Seq,
    up_to: Seq,
}

impl Lookahead {
    /// The first message taken at or after `from`, if there is one up to `durable`.
    #[inline]
    pub fn next<M: Messages>(
        &mut self,
        (from, durable): (Seq, Seq),
        selection: &mut Selection,
        messages: &mut M,
    ) -> Option<Seq> {
        if from < self.from {
            *self = Self::default();
        }
        self.from = from;
        self.up_to = self.up_to.max(from - 1);
        while self.seqs.front().is_some_and(|&seq| seq < from) {
            self.seqs.pop_front();
        }
        if self.seqs.len() <= MOST / 2 && self.up_to < durable {
            self.look(durable, selection, messages);
        }
        self.seqs.front().copied()
    }

    #[inline(never)]
    fn look<M: Messages>(&mut self, durable: Seq, selection: &mut Selection, messages: &mut M) {
        let known = self.seqs.len();
        let limit = self.up_to.saturating_add(DISTANCE_MAX);
        while self.seqs.len() < MOST && (self.seqs.is_empty() || self.up_to < limit) {
            let next = messages.next(selection, self.up_to + 1);
            let Some(next) = next.filter(|&next| next <= durable) else {
                self.up_to = durable;
                break;
            };
            self.seqs.push_back(next);
            self.up_to = next;
        }
        // One alone is read at once.
        if self.seqs.len() > 1 {
            messages.expect(&self.seqs.make_contiguous()[known..]);
        }
    }
}
