//! What was read from segments, and what was just written to them: blocks of 64 KiB.
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

/// Bytes of one block of the cache.
pub(crate) const CACHE_BLOCK_BYTES: usize = 64 << 10;
const PIECES: u32 = (CACHE_BLOCK_BYTES / BLOCK_BYTES) as u32;
/// Blocks asked for ahead of a sequential reader.
const AHEAD: u32 = 8;
/// Blocks that may be on their way at once, besides those of one record.
const READS_MAX: usize = 128;

/// Which block: slot and number in the segment.
type Name = (Slot, u32);

#[derive(Debug)]
struct Block {
    name: Name,
    generation: u64,
    /// Empty while it is being read.
    buffer: AlignedBuffer,
    /// What of it is there.
    from: usize,
    to: usize,
    /// Pieces that are still to come; then those that could not be read.
    missing: u16,
    bad: u16,
    asked: bool,
    /// Whether who gets here should have the next ones asked for.
    ahead: bool,
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
    reading: usize,
    /// Where the block was that was looked for last: nearly always the next one is the same.
    recent: Cell<u32>,
}

/// The file of a segment, and how long it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub slot: Slot,
    pub generation: u64,
    pub file: FileId,
    pub bytes: usize,
}

impl Cache {
    pub fn new(bytes: usize) -> Self {
        Self {
            blocks: Vec::new(),
            places: HashMap::default(),
            blocks_max: (bytes / CACHE_BLOCK_BYTES).max(64),
            stretched: 0,
            hand: 0,
            reading: 0,
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

    /// Whether the bytes of a segment from `from` to `to` are here; what is not is asked for.
    pub fn look(
        &mut self,
        source: Source,
        from: usize,
        to: usize,
        requests: &mut Requests,
    ) -> Found {
        let mut found = Found::Here;
        let first = (from / CACHE_BLOCK_BYTES) as u32;
        let last = ((to - 1) / CACHE_BLOCK_BYTES) as u32;
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
            match self.look_in(source, number, inner_from, inner_to, requests) {
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

    /// The bytes of a segment from `from` to `to` will be looked at soon: asks for what is not here,
    /// if not too much is on its way. Whether something is not.
    pub fn expect(
        &mut self,
        source: Source,
        from: usize,
        to: usize,
        requests: &mut Requests,
    ) -> bool {
        let first = (from / CACHE_BLOCK_BYTES) as u32;
        let last = (to.saturating_sub(1) / CACHE_BLOCK_BYTES) as u32;
        let mut is_missing = false;
        for number in first..=last {
            match self.place((source.slot, number)) {
                Some(place) => is_missing |= self.blocks[place as usize].buffer.is_empty(),
                None => {
                    is_missing = true;
                    if self.reading < READS_MAX {
                        self.ask(source, number, requests);
                    }
                }
            }
        }
        is_missing
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
        from: usize,
        to: usize,
        requests: &mut Requests,
    ) -> Found {
        let Some(place) = self.place((source.slot, number)) else {
            if self.stretched == 0 {
                self.shrink();
            }
            let follows = number == 0 || self.places.contains_key(&(source.slot, number - 1));
            self.ask(source, number, requests);
            if follows {
                self.ask_ahead(source, number + 1, requests);
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
        } else if block.from > 0 || block.to < CACHE_BLOCK_BYTES {
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
        let offset = number as usize * CACHE_BLOCK_BYTES;
        let bytes = CACHE_BLOCK_BYTES.min(source.bytes.saturating_sub(offset));
        let place = self.make(source.slot, source.generation, number);
        self.blocks[place].asked = true;
        self.reading += 1;
        let work = Work::Read {
            file: source.file,
            offset: offset as u64,
            buffer: AlignedBuffer::new(bytes),
        };
        let purpose = Purpose::Block {
            slot: source.slot,
            generation: source.generation,
            block: number,
        };
        requests.submit(work, purpose);
    }

    /// A place for a block that is not here.
    fn make(&mut self, slot: Slot, generation: u64, number: u32) -> usize {
        let block = Block {
            name: (slot, number),
            generation,
            buffer: AlignedBuffer::default(),
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
            self.places.remove(&self.blocks[place].name);
            self.blocks[place] = block;
            self.places.insert((slot, number), place as u32);
            return place;
        }
        self.blocks.push(block);
        self.places
            .insert((slot, number), (self.blocks.len() - 1) as u32);
        self.blocks.len() - 1
    }

    /// One to be given up: not one that is being read.
    fn victim(&mut self) -> Option<usize> {
        for _ in 0..2 * self.blocks.len() {
            self.hand = (self.hand + 1) % self.blocks.len();
            let block = &mut self.blocks[self.hand];
            if block.buffer.is_empty() || block.missing != 0 {
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
        if let Some(moved) = self.blocks.get(place) {
            self.places.insert(moved.name, place as u32);
        }
    }

    /// A block was read, or not; true when it is of use to somebody.
    pub fn arrived(
        &mut self,
        source: Option<Source>,
        name: (Slot, u64, u32),
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
        if block.generation != generation || !block.buffer.is_empty() {
            return;
        }
        match (result, source) {
            (Ok(bytes), _) => {
                block.to = bytes;
                if bytes < buffer.len() {
                    // The file is shorter than it was: the rest is bad.
                    block.to = buffer.len();
                    block.bad = (u32::MAX << (bytes / BLOCK_BYTES)) as u16;
                }
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
                block.buffer = AlignedBuffer::new(CACHE_BLOCK_BYTES);
                (block.from, block.to) = (inner, inner);
            }
            if block.to == inner && block.generation == generation && block.missing == 0 {
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
        let place = self.place((slot, number))?;
        self.blocks[place as usize]
            .buffer
            .get(from - start..to - start)
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
