//! Streams in memory: the index, and bytes beside it that go with their messages.
//!
//! A record is its sequence, its time, the length of its headers and of the rest, and these. When most
//! of what is held has gone but some of everything is left, what is left is moved together, a segment
//! with each message that comes.

mod arena;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::core::Debris;
use super::index::{Arrival, Index, Known};
use super::{
    Fetched, Messages, NewMessage, Refused, Selection, Seq, State, Stored, SubjectState, UnixNanos,
};
use crate::subject::SubjectHash;
use arena::Arena;

const HEAD_BYTES: usize = 24;

/// One stream's messages, in memory.
#[derive(Debug)]
pub struct Stream {
    pub(super) index: Index,
    arena: Arena,
    /// The segment of the arena to look at next.
    looked_at: u64,
    notes: BTreeMap<u32, Notes>,
    /// Of purges: who owns the stream takes it away.
    pub(super) debris: Vec<Box<dyn Debris>>,
}

#[derive(Debug, Default)]
struct Notes {
    facts: Vec<Box<[u8]>>,
    /// Of facts since it was rewritten.
    bytes: u64,
}

/// What a record begins with.
struct Head {
    seq: Seq,
    time: UnixNanos,
    headers: usize,
    payload: usize,
}

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&self.seq.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time.to_le_bytes());
        bytes[16..20].copy_from_slice(&(self.headers as u32).to_le_bytes());
        bytes[20..].copy_from_slice(&(self.payload as u32).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (seq, rest) = bytes.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (headers, rest) = rest.split_first_chunk()?;
        let (payload, rest) = rest.split_first_chunk()?;
        let head = Self {
            seq: Seq::from_le_bytes(*seq),
            time: UnixNanos::from_le_bytes(*time),
            headers: u32::from_le_bytes(*headers) as usize,
            payload: u32::from_le_bytes(*payload) as usize,
        };
        Some((head, rest))
    }

    fn record_bytes(&self) -> usize {
        HEAD_BYTES + self.headers + self.payload
    }
}

/// Frees a message's bytes; gives what it counted as.
fn free(arena: &mut Arena, known: &Known<'_>) -> u64 {
    let Some((head, _)) = Head::decode(arena.from(known.location)) else {
        return 0;
    };
    arena.free(known.location, head.record_bytes());
    super::counted_bytes(known.subject.len(), head.headers, head.payload, false)
}

impl Stream {
    /// Of no message yet.
    pub fn new(hash: SubjectHash) -> Self {
        Self {
            index: Index::new(hash),
            arena: Arena::default(),
            looked_at: 0,
            notes: BTreeMap::new(),
            debris: Vec::new(),
        }
    }

    /// It is not needed any more.
    pub(super) fn end(mut self, debris: &mut Vec<Box<dyn Debris>>) {
        self.empty();
        debris.append(&mut self.debris);
    }

    /// Everything goes.
    fn empty(&mut self) {
        let index = self.index.take_all(&mut |_| {});
        self.debris.push(Box::new(index));
        self.debris.push(Box::new(self.arena.take()));
    }

    /// Facts of a number, in order.
    pub fn facts(&self, note: u32) -> impl Iterator<Item = &[u8]> {
        let facts = self.notes.get(&note).map_or(&[][..], |notes| &notes.facts);
        facts.iter().map(|fact| &**fact)
    }

    fn read(&self, seq: Seq) -> Option<Stored<'_>> {
        let known = self.index.known(seq)?;
        let (head, bytes) = Head::decode(self.arena.from(known.location))?;
        let (headers, rest) = bytes.split_at_checked(head.headers)?;
        Some(Stored {
            seq,
            time: head.time,
            subject: known.subject,
            headers,
            payload: rest.get(..head.payload)?,
        })
    }

    /// The index knows times nearly: who shows the first wants it exactly.
    fn settle_first(&mut self) {
        if let Some(first) = self.read(self.index.state().first_seq) {
            let time = first.time;
            self.index.set_first_time(time);
        }
    }

    /// Moves what is left of a segment that is mostly dead.
    fn tidy(&mut self) {
        let Some((position, bytes)) = self.arena.wasteful(&mut self.looked_at) else {
            return;
        };
        let mut left = Vec::new();
        let mut place = 0;
        while let Some((head, _)) = bytes.get(place..).and_then(Head::decode) {
            let location = position + place as u64;
            let known = self.index.known(head.seq);
            let end = place + head.record_bytes();
            if known.is_some_and(|known| known.location == location) {
                left.extend(
                    bytes
                        .get(place..end)
                        .map(|record| (head.seq, location, record.to_vec())),
                );
            }
            place = end;
        }
        for (seq, old, record) in left {
            let new = self.arena.push(&[&record]);
            self.index.relocate(seq, old, new);
            self.arena.free(old, record.len());
        }
    }
}

impl Messages for Stream {
    fn state(&self) -> &State {
        self.index.state()
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Seq, Refused> {
        let seq = self.index.state().last_seq + 1;
        let longest = message.headers.len().max(message.payload.len());
        if seq == Seq::MAX || longest > (u32::MAX / 4) as usize {
            return Err(Refused::TooLarge);
        }
        self.tidy();
        let head = Head {
            seq,
            time: message.time,
            headers: message.headers.len(),
            payload: message.payload.len(),
        };
        let pieces = [&head.encode(), message.headers, message.payload];
        let location = self.arena.push(&pieces);
        self.index.insert(
            seq,
            &Arrival {
                subject: message.subject,
                location,
                flags: message.flags,
                time: message.time,
                counted_bytes: message.counted_bytes(false),
            },
        );
        Ok(seq)
    }

    fn skip_to(&mut self, last: Seq, time: UnixNanos) -> Result<(), Refused> {
        self.index.skip_to(last, time);
        Ok(())
    }

    fn remove(&mut self, seq: Seq, _erase: bool) -> bool {
        let arena = &mut self.arena;
        let removed = self.index.remove(seq, &mut |known| free(arena, known));
        self.settle_first();
        removed
    }

    fn purge(&mut self, selection: &mut Selection, below: Seq, keep: u64) -> u64 {
        let before = *self.index.state();
        if selection.is_everything() && keep == 0 && below > before.last_seq && before.messages > 0
        {
            self.empty();
        }
        let arena = &mut self.arena;
        let gone = &mut |known: &Known<'_>| free(arena, known);
        self.index.purge(selection, below, keep, gone);
        self.settle_first();
        before.messages - self.index.state().messages
    }

    fn get(&mut self, seq: Seq) -> Fetched<'_> {
        match self.read(seq) {
            Some(stored) => Fetched::Here(stored),
            None => Fetched::Gone,
        }
    }

    fn subject(&self, subject: &[u8]) -> Option<SubjectState> {
        self.index.subject(subject)
    }

    fn next(&self, selection: &mut Selection, from: Seq) -> Option<Seq> {
        self.index.next(selection, from)
    }

    fn last(&self, selection: &mut Selection, up_to: Seq) -> Option<Seq> {
        self.index.last(selection, up_to)
    }

    fn pending(&self, selection: &mut Selection, from: Seq) -> u64 {
        self.index.pending(selection, from)
    }

    fn at_or_after(&self, time: UnixNanos) -> Seq {
        let everything = &mut Selection::everything();
        let mut seq = self.index.at_or_after(time);
        while self.read(seq).is_some_and(|stored| stored.time < time) {
            let next = self.index.next(everything, seq + 1);
            seq = next.unwrap_or(self.index.state().last_seq + 1);
        }
        seq
    }

    fn time_of(&self, seq: Seq) -> Option<UnixNanos> {
        self.read(seq).map(|stored| stored.time)
    }

    fn subject_of(&self, seq: Seq) -> Option<&[u8]> {
        self.index.subject_of(seq)
    }

    fn last_of_each(&self, selection: &mut Selection, up_to: Seq, max: usize) -> Option<Vec<Seq>> {
        self.index.last_of_each(selection, up_to, max)
    }

    fn each_subject(&self, selection: &mut Selection, each: &mut dyn FnMut(&[u8], SubjectState)) {
        self.index.each_subject(selection, each);
    }

    fn count_subjects(&self, selection: &mut Selection) -> u64 {
        self.index.count_subjects(selection)
    }

    fn holes(&self, max: usize) -> Vec<(Seq, Seq)> {
        self.index.holes(max)
    }

    fn next_flagged(&self, flags: u8, from: Seq) -> Option<Seq> {
        self.index.next_flagged(flags, from)
    }

    fn durable_seq(&self) -> Seq {
        self.index.state().last_seq
    }

    fn note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused> {
        let notes = self.notes.entry(note).or_default();
        notes.facts.push(fact.into());
        notes.bytes += fact.len() as u64;
        Ok(())
    }

    fn rewrite_note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused> {
        let facts = vec![fact.into()];
        self.notes.insert(note, Notes { facts, bytes: 0 });
        Ok(())
    }

    fn forget_note(&mut self, note: u32) {
        self.notes.remove(&note);
    }

    fn note_bytes(&self, note: u32) -> u64 {
        self.notes.get(&note).map_or(0, |notes| notes.bytes)
    }
}
