//! Frames: the records of one flush, being filled and being read.

use std::sync::Arc;

use super::record::{self, Kind, Raw, StreamNumber, u32_at, u64_at};
use super::seal::Seal;
use crate::base::aligned::{AlignedBuffer, BLOCK_BYTES};
use crate::store::location::Slot;

/// "SKJ1".
const MAGIC: u32 = u32::from_le_bytes(*b"SKJ1");
/// Bytes before a frame's records.
pub(crate) const FRAME_HEAD_BYTES: usize = 64;
/// What a new frame's buffer has room for.
const FIRST_BYTES: usize = 64 << 10;

/// What stands before a frame's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// Of the segment that it is in.
    pub generation: u64,
    /// Of the frame: one more than that of the frame before.
    pub number: u64,
    /// With this head, without the padding behind.
    pub bytes: u32,
    /// Records.
    pub records: u32,
    /// Checksum over the first eight bytes of each record.
    pub chain: u32,
    /// Which key the segment's records are sealed with, 0 for none.
    pub key: u32,
    /// What that segment's key was derived with.
    pub salt: [u8; 16],
    /// The segment that was begun before that one.
    pub before: Before,
}

/// What each frame says of the segment before its own: the list of segments stands only in the first frame, which may
/// be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// How much lower its generation is; 0 when there is none, or nobody knows.
    pub generations: u32,
    /// Where its frames end.
    pub end: u32,
}

impl FrameHead {
    /// The segment before that of this frame, if it is known: its generation, and where its frames end.
    pub fn before(&self) -> Option<(u64, u32)> {
        let generations = u64::from(self.before.generations);
        let generation = self.generation.checked_sub(generations)?;
        (generations > 0 && generation > 0).then_some((generation, self.before.end))
    }

    fn to_bytes(self) -> [u8; FRAME_HEAD_BYTES] {
        let mut out = [0; FRAME_HEAD_BYTES];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..16].copy_from_slice(&self.generation.to_le_bytes());
        out[16..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..28].copy_from_slice(&self.bytes.to_le_bytes());
        out[28..32].copy_from_slice(&self.records.to_le_bytes());
        out[32..36].copy_from_slice(&self.chain.to_le_bytes());
        out[36..40].copy_from_slice(&self.key.to_le_bytes());
        out[40..56].copy_from_slice(&self.salt);
        out[56..60].copy_from_slice(&self.before.generations.to_le_bytes());
        out[60..64].copy_from_slice(&self.before.end.to_le_bytes());
        let crc = crc32c::crc32c(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The head at the beginning of `bytes`, if there is one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEAD_BYTES)?;
        if u32_at(bytes, 0)? != MAGIC || u32_at(bytes, 4)? != crc32c::crc32c(&bytes[8..]) {
            return None;
        }
        let head = Self {
            generation: u64_at(bytes, 8)?,
            number: u64_at(bytes, 16)?,
            bytes: u32_at(bytes, 24)?,
            records: u32_at(bytes, 28)?,
            chain: u32_at(bytes, 32)?,
            key: u32_at(bytes, 36)?,
            salt: bytes[40..56].try_into().expect("sixteen bytes"),
            before: Before {
                generations: u32_at(bytes, 56)?,
                end: u32_at(bytes, 60)?,
            },
        };
        (head.bytes as usize >= FRAME_HEAD_BYTES).then_some(head)
    }

    /// Bytes up to where the next frame begins.
    pub fn span(&self) -> usize {
        (self.bytes as usize).next_multiple_of(BLOCK_BYTES)
    }
}

/// A frame that is being filled.
#[derive(Debug)]
pub(crate) struct OpenFrame {
    pub slot: Slot,
    pub generation: u64,
    pub number: u64,
    /// Where it begins in its segment.
    pub start: usize,
    /// How long it may become.
    limit: usize,
    bytes: usize,
    records: u32,
    chain: u32,
    buffer: AlignedBuffer,
}

/// A frame that is full, or on its way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct SealedFrame {
    pub slot: Slot,
    pub generation: u64,
    pub number: u64,
    pub start: usize,
    /// With padding.
    pub span: usize,
    pub buffer: Arc<AlignedBuffer>,
}

impl OpenFrame {
    /// An empty one. `buffer` is an old one to be used again, or an empty one.
    pub fn new(
        (slot, generation): (Slot, u64),
        number: u64,
        start: usize,
        limit: usize,
        buffer: AlignedBuffer,
    ) -> Self {
        debug_assert!(start.is_multiple_of(BLOCK_BYTES) && limit >= BLOCK_BYTES);
        let buffer = if buffer.is_empty() {
            AlignedBuffer::new(FIRST_BYTES.min(limit))
        } else {
            buffer
        };
        Self {
            slot,
            generation,
            number,
            start,
            limit,
            bytes: FRAME_HEAD_BYTES,
            records: 0,
            chain: 0,
            buffer,
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// With head and padding.
    pub fn span(&self) -> usize {
        self.bytes.next_multiple_of(BLOCK_BYTES)
    }

    /// Whether a record of that length (without padding) still goes in.
    #[inline]
    pub fn fits(&self, bytes: usize) -> bool {
        self.bytes + record::padded(bytes) <= self.limit
    }

    /// How long it may become.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Its memory.
    pub fn into_buffer(self) -> AlignedBuffer {
        self.buffer
    }

    /// Lets an empty frame become longer than others, for a record that needs it.
    pub fn stretch(&mut self, limit: usize) {
        self.limit = self.limit.max(limit);
    }

    /// Appends a record that fits; gives its offset in the segment. `parts` follow the first twelve
    /// bytes; `seal` encrypts what is behind the kind's head.
    #[inline]
    pub fn push(
        &mut self,
        kind: Kind,
        stream: StreamNumber,
        parts: &[&[u8]],
        seal: Option<&Seal>,
    ) -> (usize, usize) {
        let plain = record::HEAD_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
        let seal = seal.filter(|_| kind.is_sealed());
        let bytes = plain + seal.map_or(0, |_| super::seal::TAG_BYTES);
        let end = self.bytes + record::padded(bytes);
        debug_assert!(end <= self.limit);
        if end > self.buffer.len() {
            self.grow(end);
        }
        let offset = self.start + self.bytes;
        let target = &mut self.buffer[self.bytes..end];
        target[..record::HEAD_BYTES].copy_from_slice(&record::head(kind, bytes, stream));
        let mut at = record::HEAD_BYTES;
        for part in parts {
            target[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        if let Some(seal) = seal {
            seal.encrypt(
                self.generation,
                offset,
                &mut target[..bytes],
                kind.head_bytes(),
            );
        }
        record::finish(&mut target[..bytes], record::salt(self.generation, offset));
        target[bytes..].fill(0);
        self.chain = crc32c::crc32c_append(self.chain, &target[..8]);
        self.records += 1;
        self.bytes = end;
        (offset, end - (offset - self.start))
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        let capacity = (self.buffer.len() * 2)
            .max(bytes)
            .min(self.limit.max(bytes));
        let mut larger = AlignedBuffer::new(capacity);
        larger[..self.bytes].copy_from_slice(&self.buffer[..self.bytes]);
        self.buffer = larger;
    }

    /// What is in the segment from `offset` on, as far as this frame has it.
    pub fn bytes_from(&self, offset: usize) -> Option<&[u8]> {
        let at = offset.checked_sub(self.start)?;
        self.buffer.get(at..self.bytes)
    }

    /// Makes it ready to be written.
    pub fn seal(mut self, key: u32, salt: [u8; 16], before: Before) -> SealedFrame {
        let head = FrameHead {
            generation: self.generation,
            number: self.number,
            bytes: self.bytes as u32,
            records: self.records,
            chain: self.chain,
            key,
            salt,
            before,
        };
        self.buffer[..FRAME_HEAD_BYTES].copy_from_slice(&head.to_bytes());
        let span = self.span();
        self.buffer[self.bytes..span].fill(0);
        SealedFrame {
            slot: self.slot,
            generation: self.generation,
            number: self.number,
            start: self.start,
            span,
            buffer: Arc::new(self.buffer),
        }
    }
}

impl SealedFrame {
    /// What is in the segment from `offset` on, as far as this frame has it.
    pub fn bytes_from(&self, offset: usize) -> Option<&[u8]> {
        let at = offset.checked_sub(self.start)?;
        self.buffer.get(at..self.span)
    }
}

/// What walking through a frame's records found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    /// All of it is as it was written.
    pub whole: bool,
    /// Records that are.
    pub good: u32,
    /// Where the frame is bad: from where records do not pass to where they do again, or the frame ends.
    pub bad: Vec<(usize, usize)>,
}

/// So many bad ranges of a frame are told apart; the last one takes in those that follow.
const BAD_MAX: usize = 64;

/// Walks through the records of a frame that begins at `start` of a segment. After a bad record
/// it tries to go on behind it, and then at each place where a record may begin.
pub(crate) fn walk<'a>(
    head: &FrameHead,
    frame: &'a [u8],
    start: usize,
    each: &mut dyn FnMut(usize, Raw<'a>),
) -> Walked {
    let end = (head.bytes as usize).min(frame.len());
    let mut walked = Walked {
        whole: end == head.bytes as usize,
        ..Walked::default()
    };
    let mut at = FRAME_HEAD_BYTES;
    let mut chain = 0;
    let mut has_erased = false;
    while at < end {
        let Some(raw) = record::parse(&frame[at..end], record::salt(head.generation, start + at))
        else {
            let next = resume(head, &frame[..end], start, at);
            walked.whole = false;
            if walked.bad.len() < BAD_MAX {
                walked.bad.push((at, next));
            } else if let Some(last) = walked.bad.last_mut() {
                last.1 = next;
            }
            at = next;
            continue;
        };
        chain = crc32c::crc32c_append(chain, &raw.bytes[..8]);
        has_erased |= raw.kind == Kind::Erased;
        walked.good += 1;
        each(start + at, raw);
        at += record::padded(raw.bytes.len());
    }
    // Which records belong together is a question where a write may not have been finished; nothing is erased
    // in the last frame. What was there before cannot be kept safe of a cut while it is overwritten.
    let is_chained = chain == head.chain || has_erased;
    if walked.whole && (walked.good != head.records || !is_chained) {
        walked.whole = false;
        walked.bad.push((FRAME_HEAD_BYTES, end));
    }
    walked
}

/// Bytes that a search for the next good record may put through checksums: damage must not make
/// recovery quadratic.
const RESUME_BYTES: usize = 64 << 20;

/// Where the next good record behind a bad one is, or the end.
fn resume(head: &FrameHead, frame: &[u8], start: usize, bad: usize) -> usize {
    let good = |at: usize| {
        at < frame.len()
            && record::parse(&frame[at..], record::salt(head.generation, start + at)).is_some()
    };
    if let Some(length) = record::length(&frame[bad..]) {
        let next = bad.saturating_add(record::padded(length));
        if good(next) {
            return next;
        }
    }
    let mut budget = RESUME_BYTES;
    let mut at = bad + crate::store::location::UNIT_BYTES;
    while at < frame.len() {
        if let Some(length) = record::length(&frame[at..])
            && at + length <= frame.len()
        {
            if good(at) {
                return at;
            }
            budget = budget.saturating_sub(length);
            if budget == 0 {
                break;
            }
        }
        at += crate::store::location::UNIT_BYTES;
    }
    frame.len()
}
