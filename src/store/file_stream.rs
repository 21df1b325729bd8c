//! One stream of the store: what is known of it in memory, and what is yet to be logged.

use std::collections::HashMap;

use super::index::Index;
use super::journal::StreamNumber;
use super::journal::record::{self, StreamOptions};
use super::location::Slot;
use super::{Seq, UnixNanos};
use crate::subject::SubjectHash;

/// A stream.
#[derive(Debug)]
pub(crate) struct FileStream {
    pub number: StreamNumber,
    /// As the owner named it; empty when no record has said so.
    pub key: Box<[u8]>,
    pub meta: Box<[u8]>,
    pub options: StreamOptions,
    /// Where that is logged: segment and weight.
    pub meta_at: Option<(Slot, usize)>,
    pub index: Index,
    pub notes: HashMap<u32, Note, foldhash::fast::RandomState>,
    /// Removed, and not yet logged as such.
    pub removed: Vec<(Seq, Seq)>,
    /// Whether it is in the list of those that have such.
    pub has_removed: bool,
    pub durable_seq: Seq,
    /// The frame whose list has it last, and where in that list.
    pub touched: (u64, usize),
    /// Generation of the segment that shows how far sequences were given out.
    pub last_shown_in: u64,
    /// While opening: damages that were met when it was met last, and sequences missing behind
    /// them.
    pub damages_seen: u64,
    pub doubtful: Vec<(Seq, Seq)>,
}

/// Facts of one number.
#[derive(Debug, Default)]
pub(crate) struct Note {
    /// All of them, each with its length before it.
    pub facts: Vec<u8>,
    /// Bytes of facts since it was rewritten.
    pub bytes: u64,
    /// Segments and weights of the records that hold them.
    pub spots: Vec<(Slot, usize)>,
    /// Generation and offset of the record that replaced all before it.
    pub reset: Option<(u64, usize)>,
}

impl FileStream {
    pub fn new(number: StreamNumber, hash: SubjectHash) -> Self {
        Self {
            number,
            key: Box::default(),
            meta: Box::default(),
            options: StreamOptions::default(),
            meta_at: None,
            index: Index::new(hash),
            notes: HashMap::default(),
            removed: Vec::new(),
            has_removed: false,
            durable_seq: 0,
            touched: (0, 0),
            last_shown_in: 0,
            damages_seen: 0,
            doubtful: Vec::new(),
        }
    }

    /// Remembers a removal that is to be logged.
    #[inline]
    pub fn note_removed(removed: &mut Vec<(Seq, Seq)>, seq: Seq) {
        match removed.last_mut() {
            Some(last) if last.1 + 1 == seq => last.1 = seq,
            _ => removed.push((seq, seq)),
        }
    }

    /// While opening: it is known what became of the sequences from `first` to `last`. If there was
    /// damage since the last ones, those between may be lost.
    pub fn reaches(&mut self, first: Seq, last: Seq, damages: u64) {
        let before = self.index.state().last_seq;
        if last <= before {
            // That says nothing of what comes after.
            return;
        }
        if self.damages_seen < damages && first > before + 1 {
            self.doubtful.push((before + 1, first - 1));
        }
        self.damages_seen = damages;
    }

    /// When the last message was stored.
    pub fn last_time(&self) -> UnixNanos {
        self.index.state().last_time
    }
}

impl Note {
    /// One more fact.
    pub fn add(&mut self, fact: &[u8], at: (Slot, usize)) {
        record::put_string(&mut self.facts, fact);
        self.bytes += fact.len() as u64;
        self.spots.push(at);
    }
}

/// Sorts ranges and joins those that touch.
pub(crate) fn join(ranges: &mut Vec<(Seq, Seq)>) {
    if !ranges.is_sorted() {
        ranges.sort_unstable();
    }
    ranges.dedup_by(|next, before| {
        let touch = next.0 <= before.1.saturating_add(1);
        if touch {
            before.1 = before.1.max(next.1);
        }
        touch
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined() {
        for (given, joined) in [
            (vec![], vec![]),
            (vec![(1, 1)], vec![(1, 1)]),
            (vec![(5, 6), (1, 2), (3, 3)], vec![(1, 3), (5, 6)]),
            (vec![(1, 9), (2, 3), (10, 10)], vec![(1, 10)]),
            (vec![(1, 1), (3, 3)], vec![(1, 1), (3, 3)]),
        ] {
            let mut ranges = given.clone();
            join(&mut ranges);
            assert_eq!(ranges, joined, "{given:?}");
        }
    }
}
