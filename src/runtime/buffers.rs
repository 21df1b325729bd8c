//! The read buffers of a shard: one pool for all its connections, handed to the kernel as a ring.
//!
//! The kernel takes from the buffer at the head when bytes have arrived, and names buffer and
//! length in the completion. Where it can (Linux 6.12), it goes on in the same buffer with the next
//! receive, whoever's it is: a thousand small messages of a thousand connections share one buffer
//! and a busy connection fills whole ones. Older kernels give each receive a buffer of its own.
//! An idle connection holds none.
//!
//! The pool's size bounds what one turn reads, and so what it copies: it stays in the processor's
//! second-level cache together with what is made of it.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The group's number in the ring.
pub const GROUP: u16 = 0;
/// `IOU_PBUF_RING_INC` of the kernel's interface.
const CONSUME_INCREMENTALLY: u16 = 2;

/// How many buffers there are, and how large.
#[derive(Clone, Copy)]
struct Shape {
    buffers: u16,
    buffer_bytes: usize,
}

/// For kernels that fill buffers piece by piece.
const INCREMENTAL: Shape = Shape {
    buffers: 8,
    buffer_bytes: 64 * 1024,
};
/// For kernels that do not: enough for as many connections in one turn.
const WHOLE: Shape = Shape {
    buffers: 128,
    buffer_bytes: 8 * 1024,
};

impl Shape {
    const fn ring_bytes(self) -> usize {
        (self.buffers as usize * size_of::<BufRingEntry>()).next_multiple_of(4096)
    }

    const fn map_bytes(self) -> usize {
        self.ring_bytes() + self.buffers as usize * self.buffer_bytes
    }
}

const _: () = assert!(INCREMENTAL.buffers.is_power_of_two() && WHOLE.buffers.is_power_of_two());

/// The pool.
pub struct ReadBuffers {
    shape: Shape,
    /// The ring of free buffers, followed by the buffers.
    map: *mut u8,
    tail: u16,
    /// How much of each buffer has been filled and handed out.
    used: Vec<usize>,
}

impl ReadBuffers {
    /// Makes a pool known to `ring`, which must be dropped before it.
    pub fn register(ring: &IoUring) -> io::Result<Self> {
        match Self::register_shape(ring, INCREMENTAL, CONSUME_INCREMENTALLY) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Self::register_shape(ring, WHOLE, 0)
            }
            result => result,
        }
    }

    fn register_shape(ring: &IoUring, shape: Shape, flags: u16) -> io::Result<Self> {
        // SAFETY: an anonymous private mapping of a given size; nothing else refers to it.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                shape.map_bytes(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut buffers = Self {
            shape,
            map: map.cast(),
            tail: 0,
            used: vec![0; usize::from(shape.buffers)],
        };
        // SAFETY: the address is page-aligned, has room for the entries, and stays mapped until
        // after the ring is gone.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                map as u64,
                shape.buffers,
                GROUP,
                flags,
            )?;
        }
        for buffer in 0..shape.buffers {
            buffers.push(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The `len` bytes that a completion has added to a buffer.
    #[inline]
    pub fn received(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        let used = &mut self.used[usize::from(buffer)];
        let from = *used;
        *used += len;
        assert!(
            *used <= self.shape.buffer_bytes,
            "the kernel fills what it was given"
        );
        // SAFETY: the kernel has filled these bytes and goes on behind them, if at all; the buffer
        // is given back, and other bytes of it are handed out, with `&mut self` only.
        unsafe { std::slice::from_raw_parts_mut(self.address(buffer).add(from), len) }
    }

    /// Gives a buffer back, from the next [`Self::publish`] on.
    pub fn push(&mut self, buffer: u16) {
        self.used[usize::from(buffer)] = 0;
        let slot = usize::from(self.tail & (self.shape.buffers - 1));
        // SAFETY: the slot lies in the mapped ring; the kernel does not read it before the tail
        // has passed it, and no more buffers exist than slots, so it does not still hold another.
        unsafe {
            let entry = &mut *self.map.cast::<BufRingEntry>().add(slot);
            entry.set_addr(self.address(buffer) as u64);
            entry.set_len(self.shape.buffer_bytes as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see the buffers given back.
    pub fn publish(&self) {
        // SAFETY: the tail lies in the first entry of the mapped ring, is aligned for 16 bits, and
        // is written by this thread only; the kernel reads it.
        unsafe {
            let tail = BufRingEntry::tail(self.map.cast()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < self.shape.buffers);
        let offset = self.shape.ring_bytes() + usize::from(buffer) * self.shape.buffer_bytes;
        // SAFETY: within the mapping, as checked.
        unsafe { self.map.add(offset) }
    }
}

impl Drop for ReadBuffers {
    fn drop(&mut self) {
        // SAFETY: mapped by `register_shape` with this size; the ring that used it is gone.
        unsafe { libc::munmap(self.map.cast(), self.shape.map_bytes()) };
    }
}
