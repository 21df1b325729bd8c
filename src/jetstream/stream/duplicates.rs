//! Which message ids a stream has seen within its window (`Nats-Msg-Id`, `duplicate_window`).
//!
//! Ids lie behind each other in one ring of bytes, oldest first, and a table of numbers finds them
//! through it: some 60 bytes beside each id's own, and no allocation of its own. Knows no stream.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::store::{Seq, UnixNanos};

/// An id that was seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    hash: u64,
    seq: Seq,
    time: UnixNanos,
    /// Where its bytes begin, counted from the first byte there ever was.
    at: u64,
    len: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Duplicates {
    /// Nanoseconds; 0 switches it off.
    window: i64,
    /// So many ids are remembered at most; then the oldest is forgotten early.
    count_max: usize,
    seen: VecDeque<Seen>,
    /// How many were forgotten: the number of the first of `seen`.
    forgotten: u64,
    ids: VecDeque<u8>,
    /// How many bytes were forgotten.
    ids_forgotten: u64,
    table: HashTable<u64>,
    hasher: foldhash::quality::RandomState,
}

impl Duplicates {
    /// With a window in nanoseconds.
    pub fn new(window: i64, count_max: usize) -> Self {
        Self {
            window,
            count_max: count_max.max(1),
            ..Self::default()
        }
    }

    /// Another window, from now on.
    pub fn set_window(&mut self, window: i64) {
        self.window = window;
    }

    /// Ids remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// The sequence of the message that had this id, if it is within the window.
    pub fn find(&mut self, id: &[u8], now: UnixNanos) -> Option<Seq> {
        self.expire(now);
        let hash = self.hasher.hash_one(id);
        let number = *self.table.find(hash, |&number| self.is(number, hash, id))?;
        Some(self.entry(number).seq)
    }

    /// Remembers an id. Times should not go back.
    pub fn insert(&mut self, id: &[u8], seq: Seq, time: UnixNanos) {
        let Ok(len) = u32::try_from(id.len()) else {
            return;
        };
        if self.window <= 0 {
            return;
        }
        if self.seen.len() >= self.count_max {
            self.forget_oldest();
        }
        let hash = self.hasher.hash_one(id);
        let number = self.forgotten + self.seen.len() as u64;
        let known = self.table.find(hash, |&known| self.is(known, hash, id));
        // The later of two messages of one id counts.
        if let Some(&known) = known {
            if let Some(known) = self.table.find_mut(hash, |&other| other == known) {
                *known = number;
            }
        } else {
            let (seen, forgotten) = (&self.seen, self.forgotten);
            self.table.insert_unique(hash, number, |&number| {
                seen[(number - forgotten) as usize].hash
            });
        }
        self.seen.push_back(Seen {
            hash,
            seq,
            time,
            at: self.ids_forgotten + self.ids.len() as u64,
            len,
        });
        self.ids.extend(id);
    }

    /// Forgets what has left the window.
    pub fn expire(&mut self, now: UnixNanos) {
        while let Some(oldest) = self.seen.front()
            && now.saturating_sub(oldest.time) >= self.window
        {
            self.forget_oldest();
        }
        if self.seen.is_empty() {
            self.ids.shrink_to(1024);
            self.seen.shrink_to(64);
        }
    }

    /// When the oldest leaves the window.
    pub fn next_expiry(&self) -> Option<UnixNanos> {
        Some(self.seen.front()?.time.saturating_add(self.window))
    }

    fn forget_oldest(&mut self) {
        let Some(&oldest) = self.seen.front() else {
            return;
        };
        let number = self.forgotten;
        if let Ok(entry) = self.table.find_entry(oldest.hash, |&other| other == number) {
            entry.remove();
        }
        self.seen.pop_front();
        self.forgotten += 1;
        self.ids.drain(..oldest.len as usize);
        self.ids_forgotten += u64::from(oldest.len);
    }

    fn entry(&self, number: u64) -> &Seen {
        &self.seen[(number - self.forgotten) as usize]
    }

    fn is(&self, number: u64, hash: u64, id: &[u8]) -> bool {
        let entry = self.entry(number);
        if entry.hash != hash || entry.len as usize != id.len() {
            return false;
        }
        let from = (entry.at - self.ids_forgotten) as usize;
        let (head, tail) = self.ids.as_slices();
        match head.get(from..) {
            None => tail[from - head.len()..].starts_with(id),
            Some(begin) if begin.len() >= id.len() => begin.starts_with(id),
            Some(begin) => id.starts_with(begin) && tail.starts_with(&id[begin.len()..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use std::collections::BTreeMap;

    #[test]
    fn as_a_map_with_times() {
        let mut prng = Prng::new(3);
        let mut duplicates = Duplicates::new(500, 1_000_000);
        let mut model: BTreeMap<Vec<u8>, (Seq, UnixNanos)> = BTreeMap::new();
        let mut now = 0;
        for seq in 1..20_000 {
            now += i64::from(prng.below(8));
            let id = vec![b'x'; 1 + prng.below(40) as usize];
            let id = [id, prng.below(60).to_string().into_bytes()].concat();
            let expected = model
                .get(&id)
                .filter(|(_, time)| now - time < 500)
                .map(|(seq, _)| *seq);
            assert_eq!(duplicates.find(&id, now), expected);
            if expected.is_none() || prng.one_in(10) {
                duplicates.insert(&id, seq, now);
                model.insert(id, (seq, now));
            }
        }
        duplicates.expire(now + 500);
        assert_eq!((duplicates.len(), duplicates.table.len()), (0, 0));
        assert!(duplicates.ids.is_empty());
    }

    #[test]
    fn there_is_a_limit_and_it_can_be_off() {
        let mut duplicates = Duplicates::new(1_000, 2);
        for (seq, id) in [(1, b"a"), (2, b"b"), (3, b"c")] {
            duplicates.insert(id, seq, 0);
        }
        assert_eq!(duplicates.find(b"a", 0), None);
        assert_eq!(duplicates.find(b"c", 0), Some(3));
        let mut off = Duplicates::new(0, 2);
        off.insert(b"a", 1, 0);
        assert_eq!(off.find(b"a", 0), None);
    }
}
