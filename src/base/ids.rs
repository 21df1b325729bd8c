//! Newtypes for the things that are counted.

use std::fmt;

/// A core's executor, its connections and its replica of the interest index. At most
/// [`super::limits::SHARDS_MAX`] of them, numbered from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u8);

impl ShardId {
    /// The shard's bit in a set of shards.
    #[inline]
    pub const fn bit(self) -> u64 {
        1 << self.0
    }

    /// The shard's place in a table of shards.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A connection of one shard: its slot, and which use of that slot. A completion that arrives
/// after the slot was given to somebody else carries the old generation and is dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    /// Slot in the shard's tables.
    pub index: u32,
    /// Counts the uses of the slot. 24 bits of it travel through the kernel.
    pub generation: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// An account: the name space of subjects. Everything belongs to one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountId(pub u32);

impl AccountId {
    /// `$G`, the account of servers that configure none.
    pub const GLOBAL: AccountId = AccountId(0);
}

/// A set of shards as a bit mask, iterated from the lowest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardSet(pub u64);

impl Iterator for ShardSet {
    type Item = ShardId;

    #[inline]
    fn next(&mut self) -> Option<ShardId> {
        if self.0 == 0 {
            return None;
        }
        let lowest = self.0.trailing_zeros() as u8;
        self.0 &= self.0 - 1;
        Some(ShardId(lowest))
    }
}
