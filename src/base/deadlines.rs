//! When to look at which connection again.
//!
//! A binary heap of (time, key) that is never searched: a deadline that has moved gets a second
//! entry, and the owner of a key takes an entry for good only if it still names that very time.
//! Entries of keys that are gone stay until they come up or are swept away.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

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

/// Times at which keys come up, one for each at most: for keys whose times move often, so that entries which
/// do not count any more would pile up. Their owner knows for when each is set.
#[derive(Debug)]
pub struct Alarms<K: Ord> {
    at: BTreeSet<(Millis, K)>,
}

impl<K: Ord> Default for Alarms<K> {
    fn default() -> Self {
        Self {
            at: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Copy> Alarms<K> {
    /// Has `key` come up at `at` and not at `before`.
    pub fn set(&mut self, before: Option<Millis>, at: Millis, key: K) {
        if let Some(before) = before {
            self.at.remove(&(before, key));
        }
        self.at.insert((at, key));
    }

    /// Has a key that is set for `at` not come up.
    pub fn clear(&mut self, at: Millis, key: K) {
        self.at.remove(&(at, key));
    }

    /// The earliest time at which something comes up.
    pub fn next(&self) -> Option<Millis> {
        self.at.first().map(|(at, _)| *at)
    }

    /// Takes one whose time has come.
    pub fn pop_due(&mut self, now: Millis) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        self.at.pop_first().map(|(_, key)| key)
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// True when nothing will come up.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
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
    fn a_key_comes_up_once() {
        let mut alarms = Alarms::default();
        alarms.set(None, 1_000_000, 7);
        alarms.set(None, 30, 8);
        let mut before = 1_000_000;
        for at in (10..20).rev() {
            alarms.set(Some(before), at, 7);
            before = at;
        }
        assert_eq!((alarms.len(), alarms.next()), (2, Some(10)));
        assert_eq!(alarms.pop_due(9), None);
        assert_eq!(alarms.pop_due(100), Some(7));
        alarms.clear(30, 8);
        assert_eq!(alarms.pop_due(100), None);
        assert!(alarms.is_empty());
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
