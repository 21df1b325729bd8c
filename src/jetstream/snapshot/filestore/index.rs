//! A stream's `index.db`: what its blocks held when it was written, at a clean stop or now and then.
//!
//! It is the only place that knows what limits have removed. It counts as long as its last checksum
//! is that of the last record of the last block.

use super::super::{Damage, varint};
use super::{CHECKSUM_BYTES, Checksum, Ranges};
use crate::store::{Seq, UnixNanos};

const MAGIC: u8 = 11;
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=4;
/// From this version on each block says how many messages have a time to live …
const WITH_TTLS: u8 = 2;
/// … and how many are schedules.
const WITH_SCHEDULES: u8 = 3;
/// From this version on each subject names its last block; before, only one of several messages.
const WITH_LAST_BLOCKS: u8 = 4;

/// What is said about a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexBlock {
    /// Its number.
    pub number: u32,
    /// What its messages count as.
    pub bytes: u64,
    /// Its first message's sequence.
    pub first_seq: Seq,
    /// Its last sequence.
    pub last_seq: Seq,
    /// Sequences between the two that are gone.
    pub deleted: Ranges,
}

/// The index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// How many messages there are.
    pub messages: u64,
    /// What they count as.
    pub bytes: u64,
    /// The first one's sequence.
    pub first_seq: Seq,
    /// When that was stored; 0 for none.
    pub first_time: UnixNanos,
    /// The highest sequence given out.
    pub last_seq: Seq,
    /// When that was; 0 for never.
    pub last_time: UnixNanos,
    /// How many subjects there are.
    pub subjects: u64,
    /// The blocks, in order.
    pub blocks: Vec<IndexBlock>,
    /// The block that was written to.
    pub last_block: u32,
    /// The checksum of its last record.
    pub last_checksum: [u8; CHECKSUM_BYTES],
}

impl Index {
    /// Takes the checksum off a file that may be encrypted.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn verified<'a>(file: &'a [u8], stream: &str) -> Result<&'a [u8], Damage> {
        let (index, sum) = file
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(Damage::at(0, "index too short"))?;
        match Checksum::of_stream(stream).over(&[index]) == *sum {
            true => Ok(index),
            false => Err(Damage::at(index.len(), "index with a wrong checksum")),
        }
    }

    /// Reads what [`Self::verified`] gave, decrypted.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(index: &[u8]) -> Result<Self, Damage> {
        let &[MAGIC, version, ..] = index else {
            return Err(Damage::at(0, "not an index"));
        };
        if !VERSIONS.contains(&version) {
            return Err(Damage::at(1, "index of an unknown version"));
        }
        let mut from = Cursor { index, at: 2 };
        let (messages, bytes, first_seq) = (from.unsigned()?, from.unsigned()?, from.unsigned()?);
        let (first_time, last_seq, last_time) = (from.signed()?, from.unsigned()?, from.signed()?);
        let subjects = from.unsigned()?;
        for _ in 0..subjects {
            from.skip_subject(version)?;
        }
        let mut blocks = Vec::new();
        for _ in 0..from.unsigned()? {
            blocks.push(from.block(version)?);
        }
        let last_block = from.block_number()?;
        let last_checksum = *from.rest().first_chunk().ok_or(from.damage())?;
        Ok(Self {
            messages,
            bytes,
            first_seq,
            first_time,
            last_seq,
            last_time,
            subjects,
            blocks,
            last_block,
            last_checksum,
        })
    }

    /// Sequences that blocks may still hold, though they are gone.
    pub fn gone(&self) -> Ranges {
        let mut ranges = Vec::new();
        let mut next = 0;
        for block in &self.blocks {
            ranges.push((next, block.first_seq.saturating_sub(1)));
            if block.last_seq < block.first_seq {
                continue;
            }
            let within =
                |(first, last): (Seq, Seq)| (first.max(block.first_seq), last.min(block.last_seq));
            ranges.extend(block.deleted.iter().map(within));
            next = next.max(block.last_seq.saturating_add(1));
        }
        let mut gone = Ranges::default();
        gone.merge(ranges);
        gone
    }
}

struct Cursor<'a> {
    index: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &[u8] {
        &self.index[self.at..]
    }

    fn damage(&self) -> Damage {
        Damage::at(self.at, "index is corrupt")
    }

    fn unsigned(&mut self) -> Result<u64, Damage> {
        let varint::Varint::Is(value, bytes) = varint::unsigned(self.rest()) else {
            return Err(self.damage());
        };
        self.at += bytes;
        Ok(value)
    }

    fn signed(&mut self) -> Result<i64, Damage> {
        let varint::Varint::Is(value, bytes) = varint::signed(self.rest()) else {
            return Err(self.damage());
        };
        self.at += bytes;
        Ok(value)
    }

    fn block_number(&mut self) -> Result<u32, Damage> {
        let damage = self.damage();
        u32::try_from(self.unsigned()?).map_err(|_| damage)
    }

    fn take(&mut self, bytes: u64) -> Result<&[u8], Damage> {
        let damage = self.damage();
        let bytes = usize::try_from(bytes).map_err(|_| damage)?;
        let begin = self.at;
        let end = begin.checked_add(bytes).ok_or(damage)?;
        let taken = self.index.get(begin..end).ok_or(damage)?;
        self.at = end;
        Ok(taken)
    }

    fn skip_subject(&mut self, version: u8) -> Result<(), Damage> {
        let bytes = self.unsigned()?;
        if bytes == 0 {
            return Ok(());
        }
        self.take(bytes)?;
        let (total, _first_block) = (self.unsigned()?, self.unsigned()?);
        if total > 1 || version >= WITH_LAST_BLOCKS {
            let _last_block = self.unsigned()?;
        }
        Ok(())
    }

    fn block(&mut self, version: u8) -> Result<IndexBlock, Damage> {
        let (number, bytes) = (self.block_number()?, self.unsigned()?);
        let (first_seq, _first_time) = (self.unsigned()?, self.signed()?);
        let (last_seq, _last_time) = (self.unsigned()?, self.signed()?);
        let deleted = self.unsigned()?;
        if version >= WITH_TTLS {
            self.unsigned()?;
        }
        if version >= WITH_SCHEDULES {
            self.unsigned()?;
        }
        let deleted = match deleted {
            0 => Ranges::default(),
            count => self.sequence_set(count)?,
        };
        Ok(IndexBlock {
            number,
            bytes,
            first_seq,
            last_seq,
            deleted,
        })
    }

    /// nats-server's set of sequences: nodes of a tree, each a base and a bitmap from there on.
    fn sequence_set(&mut self, count: u64) -> Result<Ranges, Damage> {
        const MAGIC: u8 = 22;
        let damage = self.damage();
        let &[MAGIC, version] = self.take(2)? else {
            return Err(damage);
        };
        let words = match version {
            1 => 64,
            2 => 32,
            _ => return Err(damage),
        };
        let (nodes, size) = (self.u32()?, self.u32()?);
        let mut ranges = Vec::new();
        for _ in 0..nodes {
            let base = self.u64()?;
            for word in 0..words {
                let mut bits = self.u64()?;
                let begin = base.checked_add(64 * word).filter(|seq| seq >> 62 == 0);
                let begin = begin.ok_or(damage)?;
                let mut at = 0;
                while bits != 0 {
                    let zeros = bits.trailing_zeros();
                    let ones = (bits >> zeros).trailing_ones();
                    at += zeros;
                    ranges.push((begin + u64::from(at), begin + u64::from(at + ones) - 1));
                    at += ones;
                    // Two shifts: one of 64 bits is none.
                    bits = bits >> zeros >> (ones - 1) >> 1;
                }
            }
            self.take(2)?;
        }
        let mut set = Ranges::default();
        set.merge(ranges);
        match u64::from(size) == count && set.count() == count {
            true => Ok(set),
            false => Err(damage),
        }
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        let damage = self.damage();
        let bytes = self.take(4)?.try_into().map_err(|_| damage)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, Damage> {
        let damage = self.damage();
        let bytes = self.take(8)?.try_into().map_err(|_| damage)?;
        Ok(u64::from_le_bytes(bytes))
    }
}
