//! Bytes in segments that are freed when nothing in them lives. Positions go on for ever.

use std::collections::VecDeque;

use crate::store::core::Debris;

/// Bytes that a segment is filled up to; a longer record has one of its own.
const SEGMENT_BYTES: usize = 256 * 1024;
/// The first segments are small: most streams are.
const FIRST_BYTES: usize = 4 * 1024;
/// Segments that are freed at once when all are.
const FREED_AT_ONCE: usize = 4;
/// A position is the number of the segment and the place in it.
const PLACE_BITS: u32 = 32;

#[derive(Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    live_bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Arena {
    segments: VecDeque<Segment>,
    /// Number of the first of `segments`.
    first: u64,
    live_bytes: u64,
    held_bytes: u64,
}

impl Arena {
    /// Puts pieces in one after the other; gives the position.
    pub fn push(&mut self, pieces: &[&[u8]]) -> u64 {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        let last = self.segments.back();
        let room = last.map_or(0, |last| last.bytes.capacity() - last.bytes.len());
        if room < len {
            let filled = self.held_bytes as usize / 2;
            let capacity = filled.clamp(FIRST_BYTES, SEGMENT_BYTES).max(len);
            self.held_bytes += capacity as u64;
            self.segments.push_back(Segment {
                bytes: Vec::with_capacity(capacity),
                live_bytes: 0,
            });
        }
        let number = self.first + self.segments.len() as u64 - 1;
        let segment = self.segments.back_mut().expect("there is one with room");
        let place = segment.bytes.len() as u64;
        for piece in pieces {
            segment.bytes.extend_from_slice(piece);
        }
        segment.live_bytes += len;
        self.live_bytes += len as u64;
        number << PLACE_BITS | place
    }

    /// The bytes from a position to the end of its segment.
    #[inline]
    pub fn from(&self, position: u64) -> &[u8] {
        let segment = (position >> PLACE_BITS).wrapping_sub(self.first);
        let place = (position & u64::from(u32::MAX)) as usize;
        let segment = self.segments.get(segment as usize);
        let bytes = segment.and_then(|segment| segment.bytes.get(place..));
        bytes.unwrap_or(&[])
    }

    /// So many bytes at a position are not needed any more.
    pub fn free(&mut self, position: u64, len: usize) {
        let number = (position >> PLACE_BITS).wrapping_sub(self.first);
        let Some(segment) = self.segments.get_mut(number as usize) else {
            return;
        };
        segment.live_bytes -= len;
        self.live_bytes -= len as u64;
        if segment.live_bytes == 0 {
            self.held_bytes -= segment.bytes.capacity() as u64;
            // The last one too: its positions must not be given out again.
            segment.bytes = Vec::new();
        }
        while self
            .segments
            .front()
            .is_some_and(|first| first.bytes.capacity() == 0)
        {
            self.segments.pop_front();
            self.first += 1;
        }
    }

    /// Nothing in it is needed any more; what there was comes back.
    pub fn take(&mut self) -> Self {
        let empty = Self {
            first: self.first + self.segments.len() as u64,
            ..Self::default()
        };
        std::mem::replace(self, empty)
    }

    /// A segment from which most has gone, when less than half of all that is held lives: its number
    /// and bytes.
    pub fn wasteful(&self, looked_at: &mut u64) -> Option<(u64, &[u8])> {
        let wasted = self.held_bytes - self.live_bytes;
        if wasted < self.live_bytes || wasted < 4 * SEGMENT_BYTES as u64 {
            return None;
        }
        // One after the other, not the last, and again from the first.
        let count = self.segments.len() as u64;
        let number = (*looked_at).clamp(self.first, self.first + count);
        let next = if number + 1 < self.first + count {
            number
        } else {
            self.first
        };
        *looked_at = next + 1;
        let segment = self.segments.get((next - self.first) as usize)?;
        let mostly_dead = segment.live_bytes < segment.bytes.capacity() / 2;
        mostly_dead.then_some((next << PLACE_BITS, segment.bytes.as_slice()))
    }

    /// Bytes in use for what lives and what does not.
    #[cfg(test)]
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}

impl Debris for Arena {
    fn shrink(&mut self) -> bool {
        let left = self.segments.len().saturating_sub(FREED_AT_ONCE);
        self.segments.truncate(left);
        left > 0
    }
}
