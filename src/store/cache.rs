//! What was read from segments, and what was just written to them: blocks of 16 KiB.
//!
//! A full cache gives up what was not asked for since the hand came by last. A read at the beginning
//! of a segment or behind a block that is here counts as sequential: the blocks behind it are asked for
//! as well. A block that cannot be read as one is read in pieces, so that a bad sector costs no
//! more than what is in it.

use std::cell::Cell;
use std::collections::HashMap;

use super::io::{AlignedBuffer, BLOCK_BYTES, Failure, FileId, Work};
use super::location::Slot;
use super::requests::{Purpose, Requests};
use crate::base::bytes;

/// Bytes of one block of the cache.
pub(crate) const CACHE_BLOCK_BYTES: usize = 16 << 10;
const PIECES: u32 = (CACHE_BLOCK_BYTES / BLOCK_BYTES) as u32;
/// Blocks asked for ahead of a sequential reader.
const AHEAD: u32 = 32;
/// Blocks that may be on their way at once, besides those of one record.
const READS_MAX: usize = 256;

/// Memory of blocks kept for the next ones.
const SPARES_MAX: usize = 128;

/// Which block: slot and number in the segment.
type Name = (Slot, u32);

#[derive(Debug)]
struct Block {
    name: Name,
    generation: u64,
    /// Empty while it is being read.
    buffer: AlignedBuffer,
    /// Where in the block the buffer begins, and how long it is or will be: one that was read for a single
    /// record has no more than that.
    base: usize,
    bytes: usize,
    /// What of the block is there.
    from: usize,
    to: usize,
    /// Pieces that are still to come; then those that could not be read.
    missing: u16,
    bad: u16,
    asked: bool,
    /// Whether who gets here should have the next ones asked for.
    ahead: bool,
}

impl Block {
    /// Whether a byte of it is here or on its way.
    fn has_or_gets(&self, at: usize) -> bool {
        let (from, to) = match self.buffer.is_empty() {
            true => (self.base, self.base + self.bytes),
            false => (self.from, self.to),
        };
        (from..to).contains(&at)
    }
}

/// Whether bytes are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Here,
    Coming,
    /// They cannot be read.
    Bad,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    blocks: Vec<Block>,
    places: HashMap<Name, u32, foldhash::fast::RandomState>,
    blocks_max: usize,
    /// Blocks that may be here for a long record.
    stretched: usize,
    hand: usize,
    /// Blocks that were looked for last: who looked has yet to see them.
    pinned: (Slot, u32, u32),
    reading: usize,
    /// Memory of blocks that are here no more, for those that come: by how many pieces it has room for.
    spare: [Vec<AlignedBuffer>; PIECES as usize],
    /// Where the block was that was looked for last: nearly always the next one is the same.
    recent: Cell<u32>,
}

/// The block in which an offset of a segment is.
pub(crate) fn block_of(slot: Slot, offset: usize) -> (Slot, u32) {
    (slot, (offset / CACHE_BLOCK_BYTES) as u32)
}

/// The file of a segment, and how long it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub slot: Slot,
    pub generation: u64,
    pub file: FileId,
    pub bytes: usize,
}

/// How long a block is: the last one of a segment may be shorter.
fn block_bytes(source: Source, number: u32) -> usize {
    let offset = number as usize * CACHE_BLOCK_BYTES;
    CACHE_BLOCK_BYTES.min(source.bytes.saturating_sub(offset))
}

impl Cache {
    pub fn new(bytes: usize) -> Self {
        Self {
            blocks: Vec::new(),
            places: HashMap::default(),
            blocks_max: (bytes / CACHE_BLOCK_BYTES).max(64),
            stretched: 0,
            hand: 0,
            pinned: (0, 0, 0),
            reading: 0,
            spare: Default::default(),
            recent: Cell::new(0),
        }
    }

    /// The place of a block, if it is here or on its way.
    #[inline]
    fn place(&self, name: Name) -> Option<u32> {
        let recent = self.recent.get();
        if self
            .blocks
            .get(recent as usize)
            .is_some_and(|block| block.name == name)
        {
            return Some(recent);
        }
        let &place = self.places.get(&name)?;
        self.recent.set(place);
        Some(place)
    }

    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.buffer.len()).sum()
    }

    /// Whether the bytes of a segment from `from` to `to` are here; what is not is asked for, and with it
    /// what is up to `likely` in the same block.
    pub fn look(
        &mut self,
        source: Source,
        (from, to): (usize, usize),
        likely: usize,
        requests: &mut Requests,
    ) -> Found {
        let mut found = Found::Here;
        let first = (from / CACHE_BLOCK_BYTES) as u32;
        let last = ((to - 1) / CACHE_BLOCK_BYTES) as u32;
        self.pinned = (source.slot, first, last);
        // A record that is longer than half of the cache needs more of it for now.
        let blocks = (last - first + 1) as usize;
        let is_long = blocks * 2 > self.blocks_max;
        if is_long {
            self.stretched = self.stretched.max(blocks * 2);
        }
        for number in first..=last {
            let start = number as usize * CACHE_BLOCK_BYTES;
            let inner_from = from.saturating_sub(start);
            let inner_to = (to - start).min(CACHE_BLOCK_BYTES);
            let inner_likely = (likely.max(to) - start).min(CACHE_BLOCK_BYTES);
            let part = (inner_from, inner_to, inner_likely);
            match self.look_in(source, number, part, requests) {
                Found::Here => {}
                Found::Coming => found = Found::Coming,
                Found::Bad => return Found::Bad,
            }
        }
        if found == Found::Here && is_long {
            self.stretched = 0;
        }
        found
    }

    /// The bytes of a segment from `from` to `to` will be looked at soon: asks for what is not here, if
    /// not too much is on its way; for no more than that of a block, if nothing else of it `is_alone` wanted.
    pub fn expect(
        &mut self,
        source: Source,
        (from, to): (usize, usize),
        is_alone: bool,
        requests: &mut Requests,
    ) {
        let first = (from / CACHE_BLOCK_BYTES) as u32;
        let last = (to.saturating_sub(1) / CACHE_BLOCK_BYTES) as u32;
        for number in first..=last {
            let start = number as usize * CACHE_BLOCK_BYTES;
            let part = (
                from.saturating_sub(start),
                (to - start).min(CACHE_BLOCK_BYTES),
            );
            let may_ask = self.reading < READS_MAX;
            match self.place((source.slot, number)) {
                None if !may_ask => {}
                None if is_alone => self.ask_part(source, number, part, requests),
                None => self.ask(source, number, requests),
                Some(place) => {
                    let block = &self.blocks[place as usize];
                    if block.has_or_gets(part.0) {
                        bytes::prefetch(block.buffer.get(part.0 - block.base..).unwrap_or(&[]));
                    } else if may_ask {
                        // Several records of it are wanted.
                        self.drop_block(place as usize);
                        self.ask(source, number, requests);
                    }
                }
            }
        }
    }

    /// Gives back what a long record has needed.
    fn shrink(&mut self) {
        while self.blocks.len() > self.blocks_max
            && let Some(place) = self.victim()
        {
            self.drop_block(place);
        }
    }

    fn look_in(
        &mut self,
        source: Source,
        number: u32,
        (from, to, likely): (usize, usize, usize),
        requests: &mut Requests,
    ) -> Found {
        let Some(place) = self.place((source.slot, number)) else {
            if self.stretched == 0 {
                self.shrink();
            }
            let follows = number == 0 || self.places.contains_key(&(source.slot, number - 1));
            if follows {
                self.ask(source, number, requests);
                self.ask_ahead(source, number + 1, requests);
            } else {
                self.ask_part(source, number, (from, likely), requests);
            }
            return Found::Coming;
        };
        let block = &mut self.blocks[place as usize];
        block.asked = true;
        if block.buffer.is_empty() || block.missing != 0 {
            return Found::Coming;
        }
        let ahead = std::mem::take(&mut block.ahead);
        let found = if from >= block.from && to <= block.to {
            let mut bad = false;
            if block.bad != 0 {
                let pieces = from / BLOCK_BYTES..to.div_ceil(BLOCK_BYTES);
                bad = pieces.into_iter().any(|piece| block.bad & 1 << piece != 0);
            }
            if bad { Found::Bad } else { Found::Here }
        } else if block.from > 0 || block.to < block_bytes(source, number) {
            // What was written there before is not here any more: read all of it.
            self.drop_block(place as usize);
            self.ask(source, number, requests);
            Found::Coming
        } else {
            Found::Bad
        };
        if ahead {
            self.ask_ahead(source, number + 1, requests);
        }
        found
    }

    fn ask_ahead(&mut self, source: Source, from: u32, requests: &mut Requests) {
        let blocks = source.bytes.div_ceil(CACHE_BLOCK_BYTES) as u32;
        for number in from..(from + AHEAD).min(blocks) {
            if self.reading >= READS_MAX || self.places.contains_key(&(source.slot, number)) {
                break;
            }
            self.ask(source, number, requests);
            if number == from + AHEAD / 2 {
                self.mark_ahead((source.slot, number));
            }
        }
    }

    fn mark_ahead(&mut self, name: Name) {
        if let Some(&place) = self.places.get(&name) {
            self.blocks[place as usize].ahead = true;
        }
    }

    fn ask(&mut self, source: Source, number: u32, requests: &mut Requests) {
        let bytes = block_bytes(source, number);
        self.ask_part(source, number, (0, bytes), requests);
    }

    /// Asks for the part of a block in which these bytes of it are.
    fn ask_part(
        &mut self,
        source: Source,
        number: u32,
        (from, to): (usize, usize),
        requests: &mut Requests,
    ) {
        let base = from / BLOCK_BYTES * BLOCK_BYTES;
        let end = to.next_multiple_of(BLOCK_BYTES);
        let bytes = end.min(block_bytes(source, number)).saturating_sub(base);
        let place = self.make(source.slot, source.generation, number);
        let buffer = self.buffer(bytes);
        let block = &mut self.blocks[place];
        block.asked = true;
        (block.base, block.bytes) = (base, buffer.len());
        self.reading += 1;
        let work = Work::Read {
            file: source.file,
            offset: (number as usize * CACHE_BLOCK_BYTES + base) as u64,
            buffer,
        };
        let purpose = Purpose::Block {
            slot: source.slot,
            generation: source.generation,
            block: number,
            base,
        };
        requests.submit(work, purpose);
    }

    /// Room for a block; what is in it is of no meaning.
    fn buffer(&mut self, bytes: usize) -> AlignedBuffer {
        let spare = self.spares_of(bytes).and_then(Vec::pop);
        spare.unwrap_or_else(|| AlignedBuffer::new(bytes))
    }

    fn keep(&mut self, buffer: AlignedBuffer) {
        if let Some(spares) = self.spares_of(buffer.len())
            && spares.len() < SPARES_MAX
        {
            spares.push(buffer);
        }
    }

    fn spares_of(&mut self, bytes: usize) -> Option<&mut Vec<AlignedBuffer>> {
        self.spare
            .get_mut(bytes.div_ceil(BLOCK_BYTES).wrapping_sub(1))
    }

    /// A place for a block that is not here.
    fn make(&mut self, slot: Slot, generation: u64, number: u32) -> usize {
        let block = Block {
            name: (slot, number),
            generation,
            buffer: AlignedBuffer::default(),
            base: 0,
            bytes: CACHE_BLOCK_BYTES,
            from: 0,
            to: 0,
            missing: 0,
            bad: 0,
            asked: false,
            ahead: false,
        };
        if self.blocks.len() >= self.blocks_max.max(self.stretched)
            && let Some(place) = self.victim()
        {
            let gone = std::mem::replace(&mut self.blocks[place], block);
            self.places.remove(&gone.name);
            self.keep(gone.buffer);
            self.places.insert((slot, number), place as u32);
            return place;
        }
        self.blocks.push(block);
        self.places
            .insert((slot, number), (self.blocks.len() - 1) as u32);
        self.blocks.len() - 1
    }

    /// One to be given up: not one that is being read, or is to be seen.
    fn victim(&mut self) -> Option<usize> {
        let (slot, first, last) = self.pinned;
        for _ in 0..2 * self.blocks.len() {
            self.hand = (self.hand + 1) % self.blocks.len();
            let block = &mut self.blocks[self.hand];
            if block.buffer.is_empty() || block.missing != 0 {
                continue;
            }
            if block.name.0 == slot && (first..=last).contains(&block.name.1) {
                continue;
            }
            if !std::mem::take(&mut block.asked) {
                return Some(self.hand);
            }
        }
        None
    }

    fn drop_block(&mut self, place: usize) {
        let gone = self.blocks.swap_remove(place);
        self.places.remove(&gone.name);
        self.keep(gone.buffer);
        if let Some(moved) = self.blocks.get(place) {
            self.places.insert(moved.name, place as u32);
        }
    }

    /// A block was read, or not; true when it is of use to somebody.
    pub fn arrived(
        &mut self,
        source: Option<Source>,
        name: (Slot, u64, u32),
        base: usize,
        result: Result<usize, Failure>,
        buffer: AlignedBuffer,
        requests: &mut Requests,
    ) {
        self.reading = self.reading.saturating_sub(1);
        let (slot, generation, number) = name;
        let Some(&place) = self.places.get(&(slot, number)) else {
            return;
        };
        let block = &mut self.blocks[place as usize];
        let is_its = (block.base, block.bytes) == (base, buffer.len());
        if block.generation != generation || !block.buffer.is_empty() || !is_its {
            return;
        }
        let is_whole = base == 0 && source.is_none_or(|s| buffer.len() >= block_bytes(s, number));
        match (result, source) {
            (Ok(bytes), _) if bytes == buffer.len() => {
                (block.from, block.to) = (base, base + bytes);
                block.buffer = buffer;
            }
            // It is asked for again as a whole, and then looked at piece by piece.
            (_, Some(source)) if !is_whole => {
                self.drop_block(place as usize);
                self.ask(source, number, requests);
            }
            (Ok(bytes), _) => {
                // The file is shorter than it was: the rest is bad.
                block.to = buffer.len();
                block.bad = (u32::MAX << (bytes / BLOCK_BYTES)) as u16;
                block.buffer = buffer;
            }
            (Err(_), None) => self.drop_block(place as usize),
            (Err(_), Some(source)) => {
                let pieces = buffer.len().div_ceil(BLOCK_BYTES) as u32;
                block.to = buffer.len();
                block.buffer = buffer;
                block.missing = ((1u32 << pieces.min(PIECES)) - 1) as u16;
                for piece in 0..pieces.min(PIECES) {
                    let offset = number as usize * CACHE_BLOCK_BYTES + piece as usize * BLOCK_BYTES;
                    let work = Work::Read {
                        file: source.file,
                        offset: offset as u64,
                        buffer: AlignedBuffer::new(BLOCK_BYTES),
                    };
                    let purpose = Purpose::Piece {
                        slot,
                        generation,
                        block: number,
                        piece,
                    };
                    requests.submit(work, purpose);
                }
            }
        }
    }

    /// A piece of a block that could not be read as one.
    pub fn piece_arrived(
        &mut self,
        name: (Slot, u64, u32),
        piece: u32,
        result: Result<usize, Failure>,
        buffer: &AlignedBuffer,
    ) {
        let (slot, generation, number) = name;
        let Some(&place) = self.places.get(&(slot, number)) else {
            return;
        };
        let block = &mut self.blocks[place as usize];
        if block.generation != generation || block.missing & 1 << piece == 0 {
            return;
        }
        block.missing &= !(1 << piece);
        let at = piece as usize * BLOCK_BYTES;
        if result == Ok(BLOCK_BYTES) && buffer.len() == BLOCK_BYTES {
            block.buffer[at..at + BLOCK_BYTES].copy_from_slice(buffer);
        } else {
            block.bad |= 1 << piece;
        }
    }

    /// Keeps what was written.
    pub fn wrote(&mut self, slot: Slot, generation: u64, start: usize, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let number = ((start + at) / CACHE_BLOCK_BYTES) as u32;
            let inner = (start + at) % CACHE_BLOCK_BYTES;
            let length = (CACHE_BLOCK_BYTES - inner).min(bytes.len() - at);
            let place = match self.place((slot, number)) {
                Some(place) => place as usize,
                None => self.make(slot, generation, number),
            };
            let block = &mut self.blocks[place];
            let part = &bytes[at..at + length];
            if block.buffer.is_empty() {
                (block.base, block.bytes) = (0, CACHE_BLOCK_BYTES);
                block.buffer = match self.spare[PIECES as usize - 1].pop() {
                    Some(spare) => spare,
                    None => AlignedBuffer::new(CACHE_BLOCK_BYTES),
                };
                (block.from, block.to) = (inner, inner);
            }
            let is_whole = (block.base, block.buffer.len()) == (0, CACHE_BLOCK_BYTES);
            let is_next = block.to == inner && is_whole;
            if is_next && block.generation == generation && block.missing == 0 {
                block.buffer[inner..inner + length].copy_from_slice(part);
                block.to = inner + length;
            } else {
                self.drop_block(place);
            }
            at += length;
        }
    }

    /// Gives up what is of a segment.
    pub fn forget(&mut self, slot: Slot) {
        let mut place = 0;
        while place < self.blocks.len() {
            if self.blocks[place].name.0 == slot {
                self.drop_block(place);
            } else {
                place += 1;
            }
        }
    }

    /// Bytes that [`Cache::look`] has found here, when they are in one block.
    pub fn slice(&self, slot: Slot, from: usize, to: usize) -> Option<&[u8]> {
        let number = (from / CACHE_BLOCK_BYTES) as u32;
        let start = number as usize * CACHE_BLOCK_BYTES;
        let block = &self.blocks[self.place((slot, number))? as usize];
        let start = start + block.base;
        block.buffer.get(from.checked_sub(start)?..to - start)
    }

    /// The same when they are in several: appended to `out`.
    pub fn copy(&self, slot: Slot, from: usize, to: usize, out: &mut Vec<u8>) {
        let mut at = from;
        while at < to {
            let end = (at / CACHE_BLOCK_BYTES + 1) * CACHE_BLOCK_BYTES;
            let end = end.min(to);
            match self.slice(slot, at, end) {
                Some(part) => out.extend_from_slice(part),
                None => return,
            }
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::io::Submission;
    use super::*;
    use crate::base::prng::Prng;

    const SEGMENT_BYTES: usize = 8 << 20;

    fn byte_at(offset: usize) -> u8 {
        (offset as u32).wrapping_mul(0x9E37_79B9).to_be_bytes()[0]
    }

    /// Does one of the reads that were asked for.
    fn read_one(cache: &mut Cache, requests: &mut Requests, waiting: &mut Vec<Submission>) -> bool {
        requests.drain(waiting);
        let Some(Submission { ticket, work }) = waiting.pop() else {
            return false;
        };
        let (
            Work::Read {
                offset, mut buffer, ..
            },
            Some(purpose),
        ) = (work, requests.complete(ticket))
        else {
            panic!("only reads are asked for");
        };
        let Purpose::Block {
            slot,
            generation,
            block,
            base,
        } = purpose
        else {
            panic!("{purpose:?}");
        };
        for (i, byte) in buffer.iter_mut().enumerate() {
            *byte = byte_at(offset as usize + i);
        }
        let name = (slot, generation, block);
        let length = buffer.len();
        cache.arrived(None, name, base, Ok(length), buffer, requests);
        true
    }

    #[test]
    fn what_is_said_to_be_here_can_be_had() {
        let mut random = Prng::new(5);
        let source = Source {
            slot: 0,
            generation: 1,
            file: FileId(7),
            bytes: SEGMENT_BYTES,
        };
        let mut cache = Cache::new(0);
        let mut requests = Requests::default();
        let mut waiting = Vec::new();
        let mut from = 0;
        for step in 0..4000 {
            let most = [100, 20_000, 200_000, 2_000_000][random.below(4) as usize];
            let length = 1 + random.below(most) as usize;
            if random.one_in(8) || from + length > SEGMENT_BYTES {
                from = random.below((SEGMENT_BYTES - length) as u32) as usize;
            }
            let to = from + length;
            let mut tries = 0;
            while cache.look(source, (from, to), to, &mut requests) != Found::Here {
                assert!(
                    read_one(&mut cache, &mut requests, &mut waiting),
                    "{step}: it waits for nothing"
                );
                tries += 1;
                assert!(tries < 2000, "{step}: it never comes");
            }
            let mut got = Vec::new();
            cache.copy(0, from, to, &mut got);
            assert_eq!(got.len(), length, "{step}: from {from}");
            for (i, &byte) in got.iter().enumerate().step_by(509) {
                assert_eq!(byte, byte_at(from + i), "{step}: {from} + {i}");
            }
            from = to;
        }
    }
}
