//! What is known of a stream's messages without reading them: where each is, its subject, its time.
//!
//! Per message about 17 bytes, and four for the list of its subject; per subject about 90 bytes and
//! its text. Nothing here grows with what was deleted: chunks and numbers of subjects are freed, a gap
//! costs nothing. A location is opaque: the owner of the bytes gives it and gets it back.

mod checkpoint;
mod chunk;
mod chunks;
mod grouping;
mod memo;
mod name;
mod order;
mod remnant;
mod search;
mod seqs;
mod subjects;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::VecDeque;

use super::{Selection, Seq, State, SubjectState, UnixNanos};
use crate::subject::SubjectHash;
pub use checkpoint::{Cursor, Invalid, Loading};
use chunk::Entry;
use chunks::{Chunks, Place};
pub use memo::Memo;
pub use remnant::Remnant;
use subjects::Subjects;

/// How many of the latest deletions are remembered, for selections that have counted.
const REMOVED_MAX: usize = if cfg!(test) { 64 } else { 4096 };
/// Keeping up to this many, a purge walks back over them.
const WALKED_BACK_MAX: u64 = 1024;

/// A message for the index.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its subject.
    pub subject: &'a [u8],
    /// Where its bytes are.
    pub location: u64,
    /// See [`super::flags`]. The index has room for four.
    pub flags: u8,
    /// When it was stored. Not before that of the message before.
    pub time: UnixNanos,
    /// What it counts as in [`State::bytes`].
    pub counted_bytes: u64,
}

/// A message that the index knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// Its sequence.
    pub seq: Seq,
    /// Its subject.
    pub subject: &'a [u8],
    /// Where its bytes are.
    pub location: u64,
    /// See [`super::flags`].
    pub flags: u8,
}

/// Is told of each message that goes, and says what it counted as.
pub type Gone<'a> = &'a mut dyn FnMut(&Known<'_>) -> u64;

/// See the module.
#[derive(Debug)]
pub struct Index {
    state: State,
    chunks: Chunks,
    subjects: Subjects,
    /// The latest deletions, if somebody is interested.
    removed: VecDeque<(Seq, u32)>,
    removed_count: u64,
    removed_wanted: Cell<bool>,
    /// Messages that came out of order, which no selection expects.
    upsets: u64,
}

impl Index {
    /// Of a stream that never had a message.
    pub fn new(hash: SubjectHash) -> Self {
        Self {
            state: State {
                first_seq: 1,
                ..State::default()
            },
            chunks: Chunks::default(),
            subjects: Subjects::new(hash),
            removed: VecDeque::new(),
            removed_count: 0,
            removed_wanted: Cell::new(false),
            upsets: 0,
        }
    }

    /// What the stream holds. Its `first_time` may be a little less than the truth, as
    /// [`Self::time_of`], until [`Self::set_first_time`].
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Who has read the first message knows its time exactly.
    pub fn set_first_time(&mut self, time: UnixNanos) {
        if self.state.messages > 0 {
            self.state.first_time = time;
        }
    }

    /// Puts in a message. Normally the one after the last; a known one is only moved, and its old
    /// location comes back; one between others, as in a log whose live records were moved, is put
    /// there. The sequence must not be the highest of all.
    pub fn insert(&mut self, seq: Seq, arrival: &Arrival<'_>) -> Option<u64> {
        if seq == Seq::MAX {
            return None;
        }
        if seq <= self.state.last_seq {
            if let Some(place) = self.chunks.find(seq) {
                let chunk = self.chunks.chunk(place.chunk);
                let old = chunk.location(place.entry);
                self.chunks.relocate(place, arrival.location);
                return Some(old);
            }
            self.upsets += 1;
        } else {
            self.state.last_seq = seq;
            self.state.last_time = arrival.time;
        }
        let subject = self.subjects.insert(arrival.subject, seq);
        let entry = Entry {
            location: arrival.location,
            subject,
            flags: arrival.flags,
            time: arrival.time,
        };
        self.chunks.insert(seq, &entry);
        let state = &mut self.state;
        if state.messages == 0 || seq < state.first_seq {
            state.first_seq = seq;
            state.first_time = arrival.time;
        }
        state.messages += 1;
        state.bytes += arrival.counted_bytes;
        self.settle();
        None
    }

    /// Makes `last_seq` what it is given, if that is more.
    pub fn skip_to(&mut self, last: Seq, time: UnixNanos) {
        let last = last.min(Seq::MAX - 1);
        if last > self.state.last_seq {
            self.state.last_seq = last;
            self.state.last_time = self.state.last_time.max(time);
            self.settle();
        }
    }

    /// Takes out a message. Whether it was there.
    pub fn remove(&mut self, seq: Seq, gone: Gone<'_>) -> bool {
        let Some(place) = self.chunks.find(seq) else {
            return false;
        };
        self.remove_at(seq, place, gone);
        self.settle_first();
        true
    }

    /// Takes out those from `first` to `last`. How many.
    pub fn remove_range(&mut self, first: Seq, last: Seq, gone: Gone<'_>) -> u64 {
        let before = self.state.messages;
        if first <= self.state.first_seq {
            self.remove_below(last.saturating_add(1), gone);
        } else {
            let mut from = first;
            while let Some(place) = self.chunks.next(self.chunks.place_from(from)) {
                let seq = self.chunks.seq(place);
                if seq > last {
                    break;
                }
                self.remove_at(seq, place, gone);
                from = seq + 1;
            }
            self.settle_first();
        }
        before - self.state.messages
    }

    /// The message's bytes were moved. Only if they are still where they were.
    pub fn relocate(&mut self, seq: Seq, old: u64, new: u64) -> bool {
        let Some(place) = self.chunks.find(seq) else {
            return false;
        };
        let same = self.chunks.chunk(place.chunk).location(place.entry) == old;
        if same {
            self.chunks.relocate(place, new);
        }
        same
    }

    /// As [`super::Messages::purge`].
    pub fn purge(
        &mut self,
        selection: &mut Selection,
        below: Seq,
        keep: u64,
        gone: Gone<'_>,
    ) -> u64 {
        let before = self.state.messages;
        let bound = self.purge_bound(selection, below, keep);
        if selection.is_everything() {
            self.remove_below(bound, gone);
            if self.state.messages == 0 && below != Seq::MAX {
                self.state.last_seq = self.state.last_seq.max(below.saturating_sub(1));
            }
        } else {
            for subject in self.selected(selection) {
                self.purge_subject(subject, bound, gone);
            }
        }
        self.settle_first();
        before - self.state.messages
    }

    /// Takes out everything, and tells where each message was; what that took in memory comes back, because freeing
    /// it takes longer than a shard can be kept.
    pub fn take_all(&mut self, gone: &mut dyn FnMut(u64)) -> Remnant {
        self.chunks
            .iter()
            .for_each(|chunk| chunk.each_location(gone));
        self.removed_count += self.state.messages;
        self.removed.clear();
        self.state.messages = 0;
        let remnant = Remnant::new(std::mem::take(&mut self.chunks), self.subjects.take());
        self.settle();
        remnant
    }

    /// What a purge of that selection goes up to when the last `keep` of those below `below` are kept:
    /// with it and nothing to keep it is the same purge, and may be repeated.
    pub fn purge_bound(&self, selection: &mut Selection, below: Seq, keep: u64) -> Seq {
        if keep == 0 || below == 0 {
            return below;
        }
        let count = |selection: &mut Selection, from: Seq| {
            self.pending(selection, from) - self.pending(selection, below)
        };
        if count(selection, 0) <= keep {
            return 0;
        }
        if keep <= WALKED_BACK_MAX {
            let mut bound = below;
            for _ in 0..keep {
                let Some(kept) = bound
                    .checked_sub(1)
                    .and_then(|up_to| self.last(selection, up_to))
                else {
                    return 0;
                };
                bound = kept;
            }
            return bound;
        }
        // The last sequence from which on there are so many.
        let (mut low, mut high) = (self.state.first_seq, below.min(self.state.last_seq + 1));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if count(selection, middle) >= keep {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    fn purge_subject(&mut self, subject: u32, below: Seq, gone: Gone<'_>) {
        let seqs = self.subjects.seqs(subject);
        let mut going = Vec::with_capacity(seqs.rank(below) as usize);
        seqs.each_below(below, &mut |seq| going.push(seq));
        for seq in going {
            if let Some(place) = self.chunks.find(seq) {
                self.remove_at(seq, place, gone);
            }
        }
    }

    /// Takes out everything below a sequence.
    fn remove_below(&mut self, below: Seq, gone: Gone<'_>) {
        let all = below > self.state.last_seq;
        while let Some(chunk) = self.chunks.pop_below(below) {
            for (seq, entry) in chunk.entries() {
                self.forget(seq, &entry, gone);
                if !all {
                    self.subjects.remove(entry.subject, seq);
                }
            }
        }
        if all {
            self.subjects.clear();
        }
        while let Some(place) = self.chunks.next(Place::default()) {
            let seq = self.chunks.seq(place);
            if seq >= below {
                break;
            }
            self.remove_at(seq, place, gone);
        }
        self.settle_first();
    }

    fn remove_at(&mut self, seq: Seq, place: Place, gone: Gone<'_>) {
        let entry = self.chunks.chunk(place.chunk).entry(place.entry);
        self.forget(seq, &entry, gone);
        self.chunks.remove(place);
        self.subjects.remove(entry.subject, seq);
    }

    /// Tells of a message that goes, and counts it no more.
    fn forget(&mut self, seq: Seq, entry: &Entry, gone: Gone<'_>) {
        let counted_bytes = gone(&Known {
            seq,
            subject: self.subjects.name(entry.subject),
            location: entry.location,
            flags: entry.flags,
        });
        self.state.messages -= 1;
        self.state.bytes = self.state.bytes.saturating_sub(counted_bytes);
        self.removed_count += 1;
        if self.removed_wanted.get() {
            if self.removed.len() >= REMOVED_MAX {
                self.removed.pop_front();
            }
            self.removed.push_back((seq, entry.subject));
        }
    }

    /// The deletions since there had been so many; none when they are not remembered.
    fn removed_since(&self, count: u64) -> Option<impl Iterator<Item = (Seq, u32)>> {
        let lag = usize::try_from(self.removed_count - count).ok()?;
        let since = self.removed.len().checked_sub(lag)?;
        Some(self.removed.range(since..).copied())
    }

    /// The first may have gone.
    fn settle_first(&mut self) {
        if self.state.messages > 0 {
            let first = self
                .chunks
                .next(self.chunks.place_from(self.state.first_seq));
            if let Some(place) = first {
                let seq = self.chunks.seq(place);
                if seq != self.state.first_seq {
                    self.state.first_seq = seq;
                    self.state.first_time = self.chunks.chunk(place.chunk).time(place.entry);
                }
            }
        }
        self.settle();
    }

    /// What follows from the rest.
    #[inline]
    fn settle(&mut self) {
        let state = &mut self.state;
        if state.messages == 0 {
            state.first_seq = state.last_seq + 1;
            state.first_time = 0;
            state.bytes = 0;
        }
        state.subjects = self.subjects.len() as u64;
        state.deleted = state.last_seq + 1 - state.first_seq - state.messages;
    }

    /// Where a message's bytes are.
    #[inline]
    pub fn location(&self, seq: Seq) -> Option<u64> {
        let place = self.chunks.find(seq)?;
        Some(self.chunks.chunk(place.chunk).location(place.entry))
    }

    /// What is known of a message.
    pub fn known(&self, seq: Seq) -> Option<Known<'_>> {
        let place = self.chunks.find(seq)?;
        let entry = self.chunks.chunk(place.chunk).entry(place.entry);
        Some(Known {
            seq,
            subject: self.subjects.name(entry.subject),
            location: entry.location,
            flags: entry.flags,
        })
    }

    /// As [`super::Messages::subject`].
    pub fn subject(&self, subject: &[u8]) -> Option<SubjectState> {
        self.subjects.state(self.subjects.find(subject)?)
    }

    /// As [`super::Messages::time_of`]: exact where a thousand messages came within four seconds, to the
    /// millisecond where they came within seven weeks.
    pub fn time_of(&self, seq: Seq) -> Option<UnixNanos> {
        let place = self.chunks.find(seq)?;
        Some(self.chunks.chunk(place.chunk).time(place.entry))
    }

    /// As [`super::Messages::subject_of`].
    pub fn subject_of(&self, seq: Seq) -> Option<&[u8]> {
        let place = self.chunks.find(seq)?;
        let subject = self.chunks.chunk(place.chunk).subject(place.entry);
        Some(self.subjects.name(subject))
    }

    /// As [`super::Messages::at_or_after`], but it may be one that was stored a little before: by
    /// what [`Self::time_of`] is less than the truth.
    pub fn at_or_after(&self, time: UnixNanos) -> Seq {
        let found = self.chunks.find_time(time);
        found.map_or(self.state.last_seq + 1, |place| self.chunks.seq(place))
    }

    /// As [`super::Messages::next_flagged`].
    pub fn next_flagged(&self, flags: u8, from: Seq) -> Option<Seq> {
        let mut place = self.chunks.place_from(from);
        while let Some(chunk) = self.chunks.get(place.chunk) {
            if let Some(entry) = chunk.find_flagged(place.entry, flags) {
                return Some(chunk.seq(entry));
            }
            place = Place {
                chunk: place.chunk + 1,
                entry: 0,
            };
        }
        None
    }

    /// As [`super::Messages::holes`].
    pub fn holes(&self, max: usize) -> Vec<(Seq, Seq)> {
        if self.state.deleted == 0 {
            return Vec::new();
        }
        self.holes_between(self.state.first_seq, self.state.last_seq, max)
    }

    /// Sequences from `first` to `last` that were given out and are not there, as ranges (inclusive), in order, at most
    /// `max` ranges.
    pub fn holes_between(&self, first: Seq, last: Seq, max: usize) -> Vec<(Seq, Seq)> {
        let mut holes = Vec::new();
        let mut expected = first.max(1);
        let last = last.min(self.state.last_seq);
        let Place {
            chunk: from,
            mut entry,
        } = self.chunks.place_from(expected);
        for number in from..self.chunks.len() {
            let chunk = self.chunks.chunk(number);
            while let Some((seq, after)) = chunk.next_run(&mut entry) {
                if holes.len() >= max || expected > last {
                    return holes;
                }
                if seq > expected {
                    holes.push((expected, last.min(seq - 1)));
                }
                expected = after;
            }
            entry = 0;
        }
        if expected <= last && holes.len() < max {
            holes.push((expected, last));
        }
        holes
    }
}
