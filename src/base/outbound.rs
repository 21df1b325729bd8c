//! What is to be sent to one connection: bytes in order, in pooled chunks and shared payloads.
//!
//! Small messages are copied into the last chunk, one after the other; a large payload is a
//! reference-counted piece between two chunks. A send borrows the pieces at the front, and they
//! stay where they are until it has completed. An empty `Outbound` owns no buffer.
//!
//! Per message of `n` bytes: one copy of `n`, no allocation, one cache line of this struct.

use std::collections::VecDeque;

use bytes::Bytes;

use super::limits::{
    CHUNK_LARGE_BYTES, CHUNK_SLACK_BYTES, CHUNK_SMALL_BYTES, CHUNKS_POOLED_MAX,
    SEGMENTS_PER_SEND_MAX,
};
use super::sid::Sid;

/// Free chunks of one shard, the last one used on top: it is the one still in cache.
#[derive(Debug, Default)]
pub struct ChunkPool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

impl ChunkPool {
    fn take(&mut self, bytes_min: usize, large: bool) -> Vec<u8> {
        let (free, size) = if large || bytes_min > CHUNK_SMALL_BYTES {
            (&mut self.large, CHUNK_LARGE_BYTES)
        } else {
            (&mut self.small, CHUNK_SMALL_BYTES)
        };
        if bytes_min > size {
            return Vec::with_capacity(bytes_min);
        }
        free.pop().unwrap_or_else(|| Vec::with_capacity(size))
    }

    fn give(&mut self, mut chunk: Vec<u8>) {
        let free = match chunk.capacity() {
            CHUNK_SMALL_BYTES => &mut self.small,
            CHUNK_LARGE_BYTES => &mut self.large,
            _ => return,
        };
        if free.len() < CHUNKS_POOLED_MAX {
            chunk.clear();
            free.push(chunk);
        }
    }
}

#[derive(Debug)]
enum Segment {
    Chunk(Vec<u8>),
    Shared(Bytes),
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Segment::Chunk(chunk) => chunk,
            Segment::Shared(bytes) => bytes,
        }
    }
}

/// The start of a message, equal for all its destinations: `MSG subject ` and room to copy it in
/// fixed-size steps.
#[derive(Clone, Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
}

/// Heads up to this length are copied as this many bytes.
const HEAD_STEP_BYTES: usize = 32;

impl Head {
    /// Makes it `verb` (with its space), `subject`, and a space.
    #[inline]
    pub fn set(&mut self, verb: &[u8], subject: &[u8]) {
        self.bytes.clear();
        self.bytes
            .reserve(verb.len() + subject.len() + 1 + HEAD_STEP_BYTES);
        self.bytes.extend_from_slice(verb);
        self.bytes.extend_from_slice(subject);
        self.bytes.push(b' ');
    }

    /// What was set.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The outbound side of one connection.
#[derive(Debug, Default)]
pub struct Outbound {
    /// The chunk being filled; without capacity when there is none.
    tail: Vec<u8>,
    /// Pieces before it, oldest first.
    full: VecDeque<Segment>,
    /// Unsent bytes in `full` and `tail`.
    pending_bytes: usize,
    /// How much of the first piece has been sent.
    sent_of_first: usize,
    /// The last chunk was filled, so the next one is a large one.
    large: bool,
}

impl Outbound {
    /// Bytes not yet sent.
    #[inline]
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Makes room for `bytes` more and the slack.
    #[inline]
    fn reserve(&mut self, pool: &mut ChunkPool, bytes: usize) {
        if self.tail.capacity() - self.tail.len() < bytes + CHUNK_SLACK_BYTES {
            self.next_chunk(pool, bytes + CHUNK_SLACK_BYTES);
        }
    }

    #[cold]
    fn next_chunk(&mut self, pool: &mut ChunkPool, bytes_min: usize) {
        if !self.tail.is_empty() {
            self.large = true;
        }
        self.close_chunk(pool);
        self.tail = pool.take(bytes_min, self.large);
    }

    fn close_chunk(&mut self, pool: &mut ChunkPool) {
        let chunk = std::mem::take(&mut self.tail);
        if chunk.is_empty() {
            if chunk.capacity() > 0 {
                pool.give(chunk);
            }
        } else {
            self.full.push_back(Segment::Chunk(chunk));
        }
    }

    /// Appends `bytes` as they are.
    pub fn append(&mut self, pool: &mut ChunkPool, bytes: &[u8]) {
        self.reserve(pool, bytes.len());
        self.tail.extend_from_slice(bytes);
        self.pending_bytes += bytes.len();
    }

    /// Appends one delivery: head, subscription id with a space, and the rest of the message
    /// (`[reply ]size\r\npayload\r\n`), which is copied.
    #[inline]
    pub fn append_message(&mut self, pool: &mut ChunkPool, head: &Head, sid: Sid, rest: &[u8]) {
        let head_len = head.bytes.len();
        let (sid_word, sid_len) = sid.word_and_len();
        let len = head_len + sid_len + rest.len();
        self.reserve(pool, len);
        let start = self.tail.len();
        // SAFETY: `reserve` left room for `len + CHUNK_SLACK_BYTES` bytes after `start`. The head
        // is copied in one step of HEAD_STEP_BYTES, which its buffer always has (`Head::set`
        // reserves them) and which ends within the slack, or in its true length; the id in
        // a step of 8; the rest in its true length. All `len` bytes are written, in this order,
        // before the length is set. Source and destination never overlap: the chunk is ours.
        unsafe {
            let mut to = self.tail.as_mut_ptr().add(start);
            if head_len <= HEAD_STEP_BYTES {
                std::ptr::copy_nonoverlapping(head.bytes.as_ptr(), to, HEAD_STEP_BYTES);
            } else {
                std::ptr::copy_nonoverlapping(head.bytes.as_ptr(), to, head_len);
            }
            to = to.add(head_len);
            to.cast::<u64>().write_unaligned(sid_word.to_le());
            to = to.add(sid_len);
            copy_rest(rest, to);
            self.tail.set_len(start + len);
        }
        self.pending_bytes += len;
    }

    /// Appends one delivery whose subscription id does not fit in place.
    pub fn append_message_long_sid(
        &mut self,
        pool: &mut ChunkPool,
        head: &Head,
        sid: &[u8],
        rest: &[u8],
    ) {
        self.append(pool, head.as_bytes());
        self.append(pool, sid);
        self.append(pool, b" ");
        self.append(pool, rest);
    }

    /// Appends a piece that other connections may hold too.
    pub fn append_shared(&mut self, pool: &mut ChunkPool, bytes: Bytes) {
        self.close_chunk(pool);
        self.pending_bytes += bytes.len();
        self.full.push_back(Segment::Shared(bytes));
    }

    /// The pieces to send now, oldest first; at most [`SEGMENTS_PER_SEND_MAX`]. They stay where
    /// they are until [`Self::sent`] or [`Self::clear`].
    pub fn begin_send(&mut self) -> impl Iterator<Item = &[u8]> {
        if !self.tail.is_empty() {
            if self.tail.len() < CHUNK_SMALL_BYTES / 2 && self.full.is_empty() {
                self.large = false;
            }
            self.full
                .push_back(Segment::Chunk(std::mem::take(&mut self.tail)));
        }
        let skip = self.sent_of_first;
        self.full
            .iter()
            .take(SEGMENTS_PER_SEND_MAX)
            .enumerate()
            .map(move |(i, segment)| {
                let bytes = segment.bytes();
                if i == 0 { &bytes[skip..] } else { bytes }
            })
    }

    /// The first `bytes` bytes have been sent.
    pub fn sent(&mut self, pool: &mut ChunkPool, bytes: usize) {
        debug_assert!(bytes <= self.pending_bytes, "more sent than there was");
        self.pending_bytes -= bytes;
        let mut left = self.sent_of_first + bytes;
        while let Some(first) = self.full.front() {
            let len = first.bytes().len();
            if left < len {
                break;
            }
            left -= len;
            if let Some(Segment::Chunk(chunk)) = self.full.pop_front() {
                pool.give(chunk);
            }
        }
        self.sent_of_first = left;
        if self.full.is_empty() && self.full.capacity() > 8 {
            self.full = VecDeque::new();
        }
    }

    /// Drops everything unsent. Not while a send is under way.
    pub fn clear(&mut self, pool: &mut ChunkPool) {
        if self.tail.capacity() > 0 {
            pool.give(std::mem::take(&mut self.tail));
        }
        for segment in std::mem::take(&mut self.full) {
            if let Segment::Chunk(chunk) = segment {
                pool.give(chunk);
            }
        }
        self.pending_bytes = 0;
        self.sent_of_first = 0;
    }
}

/// Copies `rest` to `to` without calling out for the short ones, which are most.
///
/// # Safety
/// `to` must be valid for writes of `rest.len()` bytes and not overlap `rest`.
#[inline(always)]
unsafe fn copy_rest(rest: &[u8], to: *mut u8) {
    let len = rest.len();
    let from = rest.as_ptr();
    // SAFETY: the caller's promise; each case reads and writes only within `len` bytes, the
    // second half of each overlapping the first where `len` is not the full double.
    unsafe {
        if !(8..=64).contains(&len) {
            std::ptr::copy_nonoverlapping(from, to, len);
        } else if len >= 32 {
            std::ptr::copy_nonoverlapping(from, to, 32);
            std::ptr::copy_nonoverlapping(from.add(len - 32), to.add(len - 32), 32);
        } else if len >= 16 {
            std::ptr::copy_nonoverlapping(from, to, 16);
            std::ptr::copy_nonoverlapping(from.add(len - 16), to.add(len - 16), 16);
        } else {
            std::ptr::copy_nonoverlapping(from, to, 8);
            std::ptr::copy_nonoverlapping(from.add(len - 8), to.add(len - 8), 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    fn send(out: &mut Outbound, pool: &mut ChunkPool, at_most: usize, to: &mut Vec<u8>) {
        let mut now = Vec::new();
        for piece in out.begin_send() {
            now.extend_from_slice(piece);
        }
        now.truncate(at_most);
        out.sent(pool, now.len());
        to.extend_from_slice(&now);
    }

    #[test]
    fn what_goes_in_comes_out_whatever_the_sizes() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let mut pool = ChunkPool::default();
            let mut out = Outbound::default();
            let mut head = Head::default();
            let (mut expected, mut sent) = (Vec::new(), Vec::new());
            for n in 0..200u32 {
                let limit = if prng.one_in(10) { 70_000 } else { 100 };
                let size = prng.below(limit) as usize;
                let rest: Vec<u8> = (0..size).map(|i| (i as u32 ^ n) as u8).collect();
                let subject = vec![b's'; 1 + prng.below(60) as usize];
                head.set(b"MSG ", &subject);
                match prng.below(4) {
                    0 => {
                        out.append(&mut pool, &rest);
                        expected.extend_from_slice(&rest);
                    }
                    1 => {
                        out.append_shared(&mut pool, Bytes::copy_from_slice(&rest));
                        expected.extend_from_slice(&rest);
                    }
                    _ => {
                        let sid = Sid::inline(n.to_string().as_bytes()).expect("short");
                        out.append_message(&mut pool, &head, sid, &rest);
                        expected.extend_from_slice(head.as_bytes());
                        expected.extend_from_slice(format!("{n} ").as_bytes());
                        expected.extend_from_slice(&rest);
                    }
                }
                if prng.one_in(3) {
                    let at_most = prng.below(100_000) as usize;
                    send(&mut out, &mut pool, at_most, &mut sent);
                }
                assert_eq!(out.pending_bytes(), expected.len() - sent.len());
            }
            while out.pending_bytes() > 0 {
                send(&mut out, &mut pool, usize::MAX, &mut sent);
            }
            assert!(sent == expected, "seed {seed}");
        }
    }

    #[test]
    fn an_empty_one_owns_no_buffer() {
        let mut pool = ChunkPool::default();
        let mut out = Outbound::default();
        out.append(&mut pool, b"PONG\r\n");
        send(&mut out, &mut pool, usize::MAX, &mut Vec::new());
        assert_eq!(out.tail.capacity(), 0);
        assert!(out.full.is_empty());
    }
}
