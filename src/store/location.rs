//! Where a record is: eight bytes per message of the index.

use std::num::NonZeroU64;

/// Records begin at, and are padded to, multiples of this.
pub const UNIT_BYTES: usize = 8;
/// No segment is longer: one more than the largest offset that a location can express.
pub const SEGMENT_BYTES_MAX: usize = 64 << 20;
/// No record is longer: a segment has at least a block that is not that record's.
pub const RECORD_BYTES_MAX: usize = SEGMENT_BYTES_MAX - 4096;

const OFFSET_BITS: u32 = 23;
const LENGTH_BITS: u32 = 16;
const SLOT_BITS: u32 = 64 - OFFSET_BITS - LENGTH_BITS;
/// Lengths from here on are kept in steps of [`COARSE_UNITS`].
const FINE_UNITS: u64 = 1 << (LENGTH_BITS - 1);
const COARSE_UNITS: u64 = 256;

const _: () = assert!(UNIT_BYTES << OFFSET_BITS == SEGMENT_BYTES_MAX);
const _: () =
    assert!(FINE_UNITS as usize * COARSE_UNITS as usize * UNIT_BYTES >= SEGMENT_BYTES_MAX);

/// Number of a segment file, from 0. Files are used again for other records when all in them are
/// dead.
pub type Slot = u32;

/// Segment file, offset in it, and length: exact up to 256 KiB, rounded up to 2 KiB above, which
/// tells how much to read. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(NonZeroU64);

impl Location {
    /// Slots that can be expressed.
    pub const SLOTS_MAX: u32 = 1 << SLOT_BITS;

    /// Of a record; offset and length are multiples of [`UNIT_BYTES`] and below
    /// [`SEGMENT_BYTES_MAX`] and [`RECORD_BYTES_MAX`], and the length is not zero.
    pub fn new(slot: Slot, offset: usize, bytes: usize) -> Self {
        debug_assert!(slot < Self::SLOTS_MAX);
        debug_assert!(offset < SEGMENT_BYTES_MAX && offset.is_multiple_of(UNIT_BYTES));
        debug_assert!(bytes > 0 && bytes <= RECORD_BYTES_MAX && bytes.is_multiple_of(UNIT_BYTES));
        let units = (bytes / UNIT_BYTES) as u64;
        let length = if units < FINE_UNITS {
            units
        } else {
            FINE_UNITS | units.div_ceil(COARSE_UNITS)
        };
        let offset = (offset / UNIT_BYTES) as u64;
        let bits = u64::from(slot) << (OFFSET_BITS + LENGTH_BITS) | offset << LENGTH_BITS | length;
        Self(NonZeroU64::new(bits).expect("the length is not zero"))
    }

    /// As it was written by [`Location::to_bits`]; none if it could not have been.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let location = Self(NonZeroU64::new(bits)?);
        (location.bytes() > 0).then_some(location)
    }

    /// As a number.
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// Which file.
    pub fn slot(self) -> Slot {
        (self.0.get() >> (OFFSET_BITS + LENGTH_BITS)) as Slot
    }

    /// Where in it.
    pub fn offset(self) -> usize {
        (self.0.get() >> LENGTH_BITS) as usize % (1 << OFFSET_BITS) * UNIT_BYTES
    }

    /// How long it is, or a little more.
    pub fn bytes(self) -> usize {
        let length = self.0.get() % (1 << LENGTH_BITS);
        let units = if length < FINE_UNITS {
            length
        } else {
            (length & (FINE_UNITS - 1)) * COARSE_UNITS
        };
        units as usize * UNIT_BYTES
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}+{}", self.slot(), self.offset(), self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let top = SEGMENT_BYTES_MAX - UNIT_BYTES;
        for slot in [0, 1, 77, Location::SLOTS_MAX - 1] {
            for offset in [0, 8, 4096, 1 << 20, top] {
                for (bytes, kept) in [
                    (8, 8),
                    (160, 160),
                    (262_136, 262_136),
                    (262_144, 262_144),
                    (262_152, 264_192),
                    (RECORD_BYTES_MAX, RECORD_BYTES_MAX),
                ] {
                    let location = Location::new(slot, offset, bytes);
                    let got = (location.slot(), location.offset(), location.bytes());
                    assert_eq!(got, (slot, offset, kept), "{location:?}");
                    assert_eq!(Location::from_bits(location.to_bits()), Some(location));
                }
            }
        }
    }
}
