//! The index as bytes, in pieces that are written while it changes, and read back at memory speed.
//!
//! ```text
//! head      1 version last_seq:8 last_time:8 first_seq:8 first_time:8 numbers
//! subjects  2 count [number]* [bytes]* text*                in order of their text
//! chunk     3 entries base:8 time_base:8 time_shift columns live:8* flags:8*
//!             [location:8]* [subject]* [time]* [offset]*
//! end       4
//! ```
//! All little-endian, four bytes where nothing is said. `columns` says whether there are offsets (1) and
//! flags (2).
//!
//! What is read is as the index was at some moment since the first piece was written, or the other one,
//! message by message; whoever then repeats, in order, what was done since that moment has the index as
//! it is. That works because messages that came since are not written, because numbers of subjects
//! that had messages all the time keep their meaning, and because taking out what is not there does
//! nothing. Purges are repeated by their bound (see [`Index::purge_bound`]), not by what they kept.

use super::chunk::{Chunk, ENTRIES_MAX};
use super::chunks::Chunks;
use super::grouping;
use super::name::Name;
use super::subjects::Subjects;
use super::{Index, Seq, State, UnixNanos};
use crate::subject::SubjectHash;

const HEAD: u32 = 1;
const SUBJECTS: u32 = 2;
const CHUNK: u32 = 3;
const END: u32 = 4;
const VERSION: u32 = 1;
/// Subjects in a section.
const SUBJECTS_MAX: usize = 1024;
/// More numbers of subjects than fit into any memory: what says so is not believed.
const NUMBERS_MAX: u64 = 1 << 28;

/// How far writing has come.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    at: At,
    /// What `last_seq` was in the beginning.
    last_seq: Seq,
}

#[derive(Clone, Debug, Default)]
enum At {
    #[default]
    Head,
    /// After that subject.
    Subjects(Option<Box<[u8]>>),
    /// From that sequence on.
    Chunks(Seq),
}

/// What was read is not what an index has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

impl Index {
    /// Appends the next piece to `out`: about `budget` bytes, at least one section. Gives where to go on;
    /// none after the last.
    pub fn write_piece(&self, cursor: Cursor, out: &mut Vec<u8>, budget: usize) -> Option<Cursor> {
        let end = out.len().saturating_add(budget.max(1));
        let Cursor { mut at, last_seq } = cursor;
        let mut last_seq = last_seq;
        while out.len() < end {
            at = match at {
                At::Head => {
                    last_seq = self.state.last_seq;
                    self.write_head(out);
                    At::Subjects(None)
                }
                At::Subjects(after) => match self.write_subjects(after.as_deref(), out) {
                    Some(last) => At::Subjects(Some(last)),
                    None => At::Chunks(0),
                },
                At::Chunks(from) => match self.write_chunk(from, last_seq, out) {
                    Some(next) => At::Chunks(next),
                    None => {
                        put(out, &[END]);
                        return None;
                    }
                },
            }
        }
        Some(Cursor { at, last_seq })
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let state = &self.state;
        put(out, &[HEAD, VERSION]);
        out.extend(state.last_seq.to_le_bytes());
        out.extend(state.last_time.to_le_bytes());
        out.extend(state.first_seq.to_le_bytes());
        out.extend(state.first_time.to_le_bytes());
        put(out, &[self.subjects.numbers()]);
    }

    /// Gives the last subject written; none when there was none.
    fn write_subjects(&self, after: Option<&[u8]>, out: &mut Vec<u8>) -> Option<Box<[u8]>> {
        let subjects: Vec<(u32, &[u8])> = match after {
            Some(after) => self.subjects.after(after).take(SUBJECTS_MAX).collect(),
            None => self.subjects.in_order().take(SUBJECTS_MAX).collect(),
        };
        let &(_, last) = subjects.last()?;
        put(out, &[SUBJECTS, subjects.len() as u32]);
        subjects.iter().for_each(|&(number, _)| put(out, &[number]));
        subjects
            .iter()
            .for_each(|(_, text)| put(out, &[text.len() as u32]));
        subjects
            .iter()
            .for_each(|(_, text)| out.extend_from_slice(text));
        Some(last.into())
    }

    /// Gives where the next chunk begins; none when there was none up to `last_seq`.
    fn write_chunk(&self, from: Seq, last_seq: Seq, out: &mut Vec<u8>) -> Option<Seq> {
        let place = self.chunks.next(self.chunks.place_from(from))?;
        let chunk = self.chunks.chunk(place.chunk);
        if self.chunks.seq(place) > last_seq {
            return None;
        }
        let columns =
            u32::from(!chunk.offsets.is_empty()) | u32::from(chunk.flagged.is_some()) << 1;
        put(out, &[CHUNK, chunk.len() as u32]);
        out.extend(chunk.base.to_le_bytes());
        out.extend(chunk.time_base.to_le_bytes());
        put(out, &[chunk.time_shift, columns]);
        let words = chunk.len().div_ceil(64);
        put_wide(out, &chunk.live[..words]);
        for bits in chunk.flagged.iter().flat_map(|flagged| flagged.iter()) {
            put_wide(out, &bits[..words]);
        }
        put_wide(out, &chunk.locations);
        put(out, &chunk.subjects);
        put(out, &chunk.times);
        put(out, &chunk.offsets);
        Some(chunk.seq(chunk.len() - 1).saturating_add(1))
    }
}

fn put(out: &mut Vec<u8>, numbers: &[u32]) {
    out.reserve(numbers.len() * 4);
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put_wide(out: &mut Vec<u8>, numbers: &[u64]) {
    out.reserve(numbers.len() * 8);
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Invalid> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Invalid)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32, Invalid> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Invalid)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn wide(&mut self) -> Result<u64, Invalid> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Invalid)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn numbers(&mut self, count: usize) -> Result<Vec<u32>, Invalid> {
        let bytes = self.bytes(count.checked_mul(4).ok_or(Invalid)?)?;
        let (numbers, _) = bytes.as_chunks();
        Ok(numbers
            .iter()
            .map(|&number| u32::from_le_bytes(number))
            .collect())
    }

    fn wides(&mut self, count: usize) -> Result<Vec<u64>, Invalid> {
        let bytes = self.bytes(count.checked_mul(8).ok_or(Invalid)?)?;
        let (numbers, _) = bytes.as_chunks();
        Ok(numbers
            .iter()
            .map(|&number| u64::from_le_bytes(number))
            .collect())
    }

    fn bits(&mut self, words: usize) -> Result<[u64; ENTRIES_MAX / 64], Invalid> {
        let mut bits = [0; ENTRIES_MAX / 64];
        for word in bits.iter_mut().take(words) {
            *word = self.wide()?;
        }
        Ok(bits)
    }
}

/// An index that is being read: piece by piece in the order they were written in.
#[derive(Debug)]
pub struct Loading {
    hash: SubjectHash,
    /// What the head says; `subjects` are the numbers there were.
    head: Option<State>,
    names: Vec<Name>,
    /// By numbers as they were written: one more than the place in `names`, or 0; and messages.
    places: Vec<[u32; 2]>,
    chunks: Chunks,
    /// No chunk that comes has anything up to that.
    up_to: Seq,
    ended: bool,
}

impl Loading {
    /// Of nothing yet.
    pub fn new(hash: SubjectHash) -> Self {
        Self {
            hash,
            head: None,
            names: Vec::new(),
            places: Vec::new(),
            chunks: Chunks::default(),
            up_to: 0,
            ended: false,
        }
    }

    /// Takes the next piece: as many sections as it holds, whole ones.
    ///
    /// # Errors
    /// When it is not what comes next. What was read up to then is of no use.
    pub fn piece(&mut self, bytes: &[u8]) -> Result<(), Invalid> {
        let reader = &mut Reader(bytes);
        while !reader.0.is_empty() {
            let section = reader.number()?;
            if self.ended || self.head.is_none() != (section == HEAD) {
                return Err(Invalid);
            }
            match section {
                HEAD => self.read_head(reader)?,
                SUBJECTS => self.read_subjects(reader)?,
                CHUNK => self.read_chunk(reader)?,
                END => self.ended = true,
                _ => return Err(Invalid),
            }
        }
        Ok(())
    }

    fn read_head(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        if reader.number()? != VERSION {
            return Err(Invalid);
        }
        let state = State {
            last_seq: reader.wide()?,
            last_time: reader.wide()? as UnixNanos,
            first_seq: reader.wide()?,
            first_time: reader.wide()? as UnixNanos,
            subjects: u64::from(reader.number()?),
            ..State::default()
        };
        if state.last_seq == Seq::MAX || state.subjects > NUMBERS_MAX {
            return Err(Invalid);
        }
        // Zeroed memory is not there before something else is written.
        self.places = vec![[0; 2]; state.subjects as usize];
        self.head = Some(state);
        Ok(())
    }

    fn read_subjects(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        let count = reader.number()? as usize;
        let numbers = reader.numbers(count)?;
        let lens = reader.numbers(count)?;
        self.names.reserve(count);
        for (&number, &len) in numbers.iter().zip(&lens) {
            let text = reader.bytes(len as usize)?;
            if self.names.last().is_some_and(|last| last.text() >= text) {
                return Err(Invalid);
            }
            // Numbers that are new since the head have no message of those that are written.
            if let Some([place, _]) = self.places.get_mut(number as usize) {
                self.names.push(text.into());
                *place = u32::try_from(self.names.len()).map_err(|_| Invalid)?;
            }
        }
        Ok(())
    }

    fn read_chunk(&mut self, reader: &mut Reader<'_>) -> Result<(), Invalid> {
        let len = reader.number()? as usize;
        if len == 0 || len > ENTRIES_MAX {
            return Err(Invalid);
        }
        let base = reader.wide()?;
        let time_base = reader.wide()? as UnixNanos;
        let (time_shift, columns) = (reader.number()?, reader.number()?);
        let words = len.div_ceil(64);
        let mut live = reader.bits(words)?;
        if !len.is_multiple_of(64) {
            live[words - 1] &= (1 << (len % 64)) - 1;
        }
        let mut flagged = None;
        if columns & 2 != 0 {
            let flagged: &mut Box<[_; 4]> = flagged.get_or_insert_default();
            for bits in flagged.iter_mut() {
                *bits = reader.bits(words)?;
            }
        }
        let mut chunk = Chunk {
            base,
            time_base,
            time_shift,
            live,
            live_count: live.iter().map(|bits| bits.count_ones()).sum(),
            flagged,
            locations: reader.wides(len)?,
            subjects: reader.numbers(len)?,
            times: reader.numbers(len)?,
            offsets: reader.numbers(if columns & 1 != 0 { len } else { 0 })?,
        };
        let span = chunk
            .offsets
            .last()
            .map_or(len as u64 - 1, |&last| u64::from(last));
        let last = base.checked_add(span).ok_or(Invalid)?;
        let rising = chunk.offsets.is_sorted_by(|a, b| a < b);
        if time_shift > u32::BITS || !rising || last == Seq::MAX {
            return Err(Invalid);
        }
        let last_seq = self.head.as_ref().map_or(0, |head| head.last_seq);
        let before = self.up_to;
        self.up_to = before.max(last);
        // A chunk that has changed since another piece was written may repeat what that has.
        chunk.keep_between(before, last_seq);
        if chunk.live_count() > 0 {
            self.chunks.push_back(chunk);
        }
        Ok(())
    }

    /// The index. Calls for each message with its location, and is told what it counts as; or none,
    /// if that cannot be a location.
    ///
    /// # Errors
    /// When something is missing, or is not consistent.
    pub fn finish(
        mut self,
        mut weigh: impl FnMut(Seq, u64) -> Option<u64>,
    ) -> Result<Index, Invalid> {
        let head = self.head.filter(|_| self.ended).ok_or(Invalid)?;
        let mut state = State {
            last_seq: head.last_seq,
            last_time: head.last_time,
            ..State::default()
        };
        for chunk in self.chunks.iter_mut() {
            let mut place = 0;
            while let Some(found) = chunk.find(place, |_| true) {
                let number = &mut chunk.subjects[found];
                let named = self.places.get_mut(*number as usize);
                let [place_of_name, messages] = named.ok_or(Invalid)?;
                *messages = messages.checked_add(1).ok_or(Invalid)?;
                *number = place_of_name.checked_sub(1).ok_or(Invalid)?;
                state.messages += 1;
                let counted_bytes = weigh(chunk.seq(found), chunk.location(found));
                state.bytes = state
                    .bytes
                    .checked_add(counted_bytes.ok_or(Invalid)?)
                    .ok_or(Invalid)?;
                place = found + 1;
            }
        }
        let mut counts = vec![0; self.names.len()];
        for [place, messages] in std::mem::take(&mut self.places) {
            if let Some(count) = counts.get_mut((place as usize).wrapping_sub(1)) {
                *count = messages;
            }
        }
        let seqs = grouping::sequences(&self.chunks, &counts);
        let subjects = Subjects::of_sorted(self.hash, self.names, seqs);
        let mut index = Index {
            state,
            chunks: self.chunks,
            subjects,
            ..Index::new(SubjectHash::new(0))
        };
        index.settle_first();
        if index.state.first_seq == head.first_seq {
            index.set_first_time(head.first_time);
        }
        Ok(index)
    }
}
