//! Memory that direct I/O accepts: it begins at a multiple of 4 KiB and is one long.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// What addresses, lengths and offsets in files are multiples of.
pub const BLOCK_BYTES: usize = 4096;

/// A fixed number of bytes, zero at first. An empty one takes no memory.
pub struct AlignedBuffer {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns its memory as a box does; nothing in it belongs to a thread.
unsafe impl Send for AlignedBuffer {}
// SAFETY: shared, it only gives out shared slices.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// At least so many bytes, rounded up to whole blocks.
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES);
        if bytes == 0 {
            return Self {
                start: NonNull::dangling(),
                bytes: 0,
            };
        }
        let layout = Self::layout(bytes);
        // SAFETY: the layout has a size, because `bytes` is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => Self { start, bytes },
            None => handle_alloc_error(layout),
        }
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, BLOCK_BYTES)
            .expect("nobody asks for half of the address space")
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `bytes` bytes from `start` are allocated and were initialised with zeroes, or
        // `bytes` is zero.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and it is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: it was allocated with this layout in `new`, and nobody has it any more.
            unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) };
        }
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.bytes)
    }
}

impl Default for AlignedBuffer {
    fn default() -> Self {
        Self::new(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_zero_and_rounded_up() {
        for (asked, got) in [
            (0, 0),
            (1, 4096),
            (4096, 4096),
            (4097, 8192),
            (1 << 20, 1 << 20),
        ] {
            let mut buffer = AlignedBuffer::new(asked);
            assert_eq!(buffer.len(), got);
            assert!(buffer.iter().all(|&byte| byte == 0));
            if got > 0 {
                assert_eq!(buffer.as_ptr() as usize % BLOCK_BYTES, 0);
                buffer[got - 1] = 7;
                assert_eq!(buffer[got - 1], 7);
            }
        }
    }
}
