//! When to look at which connection again.
//!
//! A binary heap of (time, key) that is never searched: a deadline that has moved gets a second
//! entry, and the owner of a key takes an entry for good only if it still names that very time.
//! Entries of keys that are gone stay until they come up or are swept away.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Milliseconds of the shard's monotonic clock.
pub type Millis = u64;

/// Fewer entries than this are not worth a sweep.
const SWEEP_MIN_ENTRIES: usize = 1024;

/// A heap of times, each with a key of type `K`.
#[derive(Debug)]
pub struct Deadlines<K: Ord> {
    heap: BinaryHeap<Reverse<(Millis, K)>>,
    /// Entries at which the next sweep is due.
    sweep_at: usize,
}

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            sweep_at: SWEEP_MIN_ENTRIES,
        }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Has `key` come up at `at`.
    pub fn arm(&mut self, at: Millis, key: K) {
        self.heap.push(Reverse((at, key)));
    }

    /// The earliest time at which something comes up.
    pub fn next(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one entry whose time has come.
    pub fn pop_due(&mut self, now: Millis) -> Option<(Millis, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Drops the entries of keys that are gone, when there are twice as many entries as after the
    /// last sweep: cheap enough to be called each time that a key goes.
    pub fn sweep(&mut self, lives: impl Fn(&K) -> bool) {
        if self.heap.len() < self.sweep_at {
            return;
        }
        self.heap.retain(|Reverse((_, key))| lives(key));
        self.sweep_at = SWEEP_MIN_ENTRIES.max(self.heap.len() * 2);
        self.heap.shrink_to(self.sweep_at);
    }

    /// Entries, due or not.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// True when nothing will come up.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_up_in_order_and_not_early() {
        let mut deadlines = Deadlines::default();
        for (at, key) in [(30, 3), (10, 1), (20, 2)] {
            deadlines.arm(at, key);
        }
        assert_eq!(deadlines.pop_due(9), None);
        assert_eq!(deadlines.pop_due(25), Some((10, 1)));
        assert_eq!(deadlines.pop_due(25), Some((20, 2)));
        assert_eq!(deadlines.pop_due(25), None);
        assert_eq!(deadlines.next(), Some(30));
    }

    #[test]
    fn keys_that_are_gone_take_no_room() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(7, 0);
        for key in 1..100_000 {
            deadlines.arm(1_000_000, key);
            deadlines.sweep(|&key| key == 0);
            assert!(deadlines.len() <= SWEEP_MIN_ENTRIES);
        }
        assert_eq!(deadlines.pop_due(7), Some((7, 0)));
    }
}
