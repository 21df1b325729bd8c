//! Where a message is: eight bytes per message of the index.

use std::num::NonZeroU64;

/// Records begin at, and are padded to, multiples of this.
pub const UNIT_BYTES: usize = 8;
/// No segment is longer: one more than the largest offset that a location can express.
pub const SEGMENT_BYTES_MAX: usize = 64 << 20;
/// No record is longer: a segment has at least some blocks that are not that record's.
pub const RECORD_BYTES_MAX: usize = SEGMENT_BYTES_MAX - (1 << 20);

const OFFSET_BITS: u32 = 23;
const COUNTED_BITS: u32 = 26;
const SLOT_BITS: u32 = 64 - OFFSET_BITS - COUNTED_BITS;

const _: () = assert!(UNIT_BYTES << OFFSET_BITS == SEGMENT_BYTES_MAX);
const _: () = assert!(RECORD_BYTES_MAX < 1 << COUNTED_BITS);

/// Number of a segment. Numbers are given again when all in a segment is dead.
pub type Slot = u32;

/// Segment, offset in it, and what the message counts as (`State::bytes`), exactly, so that the
/// index need not keep it beside. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(NonZeroU64);

impl Location {
    /// Segments that can be told apart: two tebibytes of them.
    pub const SLOTS_MAX: usize = 1 << SLOT_BITS;

    /// Of a message; the offset is a multiple of [`UNIT_BYTES`] and below [`SEGMENT_BYTES_MAX`].
    pub fn new(slot: Slot, offset: usize, counted_bytes: usize) -> Self {
        debug_assert!((slot as usize) < Self::SLOTS_MAX);
        debug_assert!(offset < SEGMENT_BYTES_MAX && offset.is_multiple_of(UNIT_BYTES));
        debug_assert!(counted_bytes > 0 && counted_bytes < 1 << COUNTED_BITS);
        let offset = (offset / UNIT_BYTES) as u64;
        let bits = u64::from(slot) << (OFFSET_BITS + COUNTED_BITS)
            | offset << COUNTED_BITS
            | counted_bytes as u64;
        Self(NonZeroU64::new(bits).expect("every message counts as something"))
    }

    /// As it was written by [`Location::to_bits`]; none if it could not have been.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let location = Self(NonZeroU64::new(bits)?);
        (location.counted_bytes() > 0).then_some(location)
    }

    /// As a number.
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// Which segment.
    pub fn slot(self) -> Slot {
        (self.0.get() >> (OFFSET_BITS + COUNTED_BITS)) as Slot
    }

    /// Where in it.
    pub fn offset(self) -> usize {
        (self.0.get() >> COUNTED_BITS) as usize % (1 << OFFSET_BITS) * UNIT_BYTES
    }

    /// What the message counts as.
    pub fn counted_bytes(self) -> usize {
        self.0.get() as usize % (1 << COUNTED_BITS)
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}@{}+{}",
            self.slot(),
            self.offset(),
            self.counted_bytes()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for slot in [0, 1, 77, Location::SLOTS_MAX as Slot - 1] {
            for offset in [0, 8, 4096, 1 << 20, SEGMENT_BYTES_MAX - UNIT_BYTES] {
                for counted in [1, 31, 160, 262_143, RECORD_BYTES_MAX] {
                    let location = Location::new(slot, offset, counted);
                    let got = (location.slot(), location.offset(), location.counted_bytes());
                    assert_eq!(got, (slot, offset, counted), "{location:?}");
                    assert_eq!(Location::from_bits(location.to_bits()), Some(location));
                }
            }
        }
        assert_eq!(Location::from_bits(0), None);
        assert_eq!(Location::from_bits(1 << COUNTED_BITS), None);
    }
}
