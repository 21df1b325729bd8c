//! Records: what they say, and how it is written.
//!
//! The grammar is in the module above. Here a record is bytes in a slice; where it lies, who sealed
//! it and what follows from it is others' business.

pub(crate) use crate::store::location::UNIT_BYTES;
use crate::store::{Seq, UnixNanos};

/// Number of a stream in its journal; never given to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamNumber(pub u32);

/// What a stream is made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// It is only in memory: nothing of it is there after a restart.
    pub memory: bool,
    /// Messages are compressed where that makes them shorter.
    pub compress: bool,
}

/// Bytes before what depends on the kind.
pub(crate) const HEAD_BYTES: usize = 12;
/// Of that, what the checksum does not cover: itself.
const CRC_BYTES: usize = 4;
/// Bytes before a message's body.
pub(crate) const MESSAGE_HEAD_BYTES: usize = HEAD_BYTES + 24;

/// Kinds of records. Numbers are for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Message = 1,
    Removed = 2,
    Stream = 3,
    Deleted = 4,
    Skip = 5,
    Note = 6,
    Notes = 7,
    Segments = 8,
    Freed = 9,
    Erased = 10,
    Erase = 11,
}

const KIND_SHIFT: u32 = 26;
const LENGTH_MASK: u32 = (1 << KIND_SHIFT) - 1;

impl Kind {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Message,
            2 => Self::Removed,
            3 => Self::Stream,
            4 => Self::Deleted,
            5 => Self::Skip,
            6 => Self::Note,
            7 => Self::Notes,
            8 => Self::Segments,
            9 => Self::Freed,
            10 => Self::Erased,
            11 => Self::Erase,
            _ => return None,
        })
    }

    /// Whether the body behind the head may be encrypted: all that shows what users wrote.
    pub fn is_sealed(self) -> bool {
        matches!(
            self,
            Self::Message | Self::Stream | Self::Note | Self::Notes
        )
    }

    /// Bytes that stay plain: what is needed to open the rest, and to account for it without.
    pub fn head_bytes(self) -> usize {
        match self {
            Self::Message => MESSAGE_HEAD_BYTES,
            _ => HEAD_BYTES,
        }
    }
}

/// What a message's body went through, besides encryption, which goes by segment.
pub(crate) mod encoding {
    /// Headers and payload are compressed; four bytes with their length stand before.
    pub const COMPRESSED: u8 = 1;
}

/// The fields of a message before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageHead {
    pub stream: StreamNumber,
    pub seq: Seq,
    pub time: UnixNanos,
    pub subject_bytes: u16,
    pub headers_bytes: u32,
    pub flags: u8,
    pub encoding: u8,
}

impl MessageHead {
    /// As it stands in the record, behind checksum, length and kind.
    pub fn to_bytes(self) -> [u8; MESSAGE_HEAD_BYTES - 8] {
        let mut out = [0; MESSAGE_HEAD_BYTES - 8];
        out[0..4].copy_from_slice(&self.stream.0.to_le_bytes());
        out[4..8].copy_from_slice(&self.headers_bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.seq.to_le_bytes());
        out[16..24].copy_from_slice(&self.time.to_le_bytes());
        out[24..26].copy_from_slice(&self.subject_bytes.to_le_bytes());
        out[26] = self.flags;
        out[27] = self.encoding;
        out
    }

    fn from_bytes(record: &[u8]) -> Option<Self> {
        let bytes = record.get(8..MESSAGE_HEAD_BYTES)?;
        Some(Self {
            stream: StreamNumber(u32_at(bytes, 0)?),
            headers_bytes: u32_at(bytes, 4)?,
            seq: u64_at(bytes, 8)?,
            time: u64_at(bytes, 16)? as i64,
            subject_bytes: u16::from_le_bytes([bytes[24], bytes[25]]),
            flags: bytes[26],
            encoding: bytes[27],
        })
    }
}

/// A segment as others remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentMark {
    pub generation: u64,
    pub slot: u32,
    /// Where its frames end.
    pub end: u32,
}

/// A record, still in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a> {
    pub kind: Kind,
    pub stream: StreamNumber,
    /// All of it, without the padding behind.
    pub bytes: &'a [u8],
}

/// Length with padding.
pub(crate) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(UNIT_BYTES)
}

/// The first twelve bytes of a record; the checksum is put in at the end, by [`finish`].
pub(crate) fn head(kind: Kind, bytes: usize, stream: StreamNumber) -> [u8; HEAD_BYTES] {
    debug_assert!(bytes <= LENGTH_MASK as usize);
    let mut out = [0; HEAD_BYTES];
    let word = (kind as u32) << KIND_SHIFT | bytes as u32;
    out[4..8].copy_from_slice(&word.to_le_bytes());
    out[8..12].copy_from_slice(&stream.0.to_le_bytes());
    out
}

/// What a checksum begins with, so that bytes pass only where and when they were written.
pub(crate) fn salt(generation: u64, offset: usize) -> u32 {
    let mixed = (generation ^ (offset as u64).rotate_left(40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as u32
}

fn checksum(record: &[u8], salt: u32) -> u32 {
    crc32c::crc32c_append(salt, &record[CRC_BYTES..])
}

/// Puts the checksum in. `record` is without its padding.
pub(crate) fn finish(record: &mut [u8], salt: u32) {
    let crc = checksum(record, salt);
    record[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Length that the record at the beginning of `bytes` says it has, if it could.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let word = u32_at(bytes, 4)?;
    let length = (word & LENGTH_MASK) as usize;
    (length >= HEAD_BYTES).then_some(length)
}

/// The record at the beginning of `bytes`, if it is one and its checksum is right.
pub(crate) fn parse(bytes: &[u8], salt: u32) -> Option<Raw<'_>> {
    let record = bytes.get(..length(bytes)?)?;
    let crc = u32_at(record, 0)?;
    if checksum(record, salt) != crc {
        return None;
    }
    let kind = Kind::of((u32_at(record, 4)? >> KIND_SHIFT) as u8)?;
    if record.len() < kind.head_bytes() {
        return None;
    }
    Some(Raw {
        kind,
        stream: StreamNumber(u32_at(record, 8)?),
        bytes: record,
    })
}

impl<'a> Raw<'a> {
    /// What follows the head.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.kind.head_bytes().min(self.bytes.len())..]
    }

    /// Of a message.
    pub fn message(&self) -> Option<MessageHead> {
        match self.kind {
            Kind::Message => MessageHead::from_bytes(self.bytes),
            _ => None,
        }
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at + 4)?.try_into().expect("four bytes"),
    ))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at + 8)?.try_into().expect("eight bytes"),
    ))
}

/// Appends a number, seven bits per byte, low ones first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes one from the front.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7F);
        if i == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Some(value);
        }
    }
    None
}

/// Ranges of sequences, inclusive and in order, as bodies of [`Kind::Removed`] have them: from the
/// end of the last, and how many more than one.
pub(crate) fn put_range(out: &mut Vec<u8>, after: Seq, range: (Seq, Seq)) {
    put_varint(out, range.0.wrapping_sub(after));
    put_varint(out, range.1 - range.0);
}

/// Reads them; none when the body is not of that form.
pub(crate) fn ranges(mut body: &[u8]) -> Option<Vec<(Seq, Seq)>> {
    let mut found = Vec::new();
    let mut after: Seq = 0;
    while !body.is_empty() {
        let first = after.checked_add(take_varint(&mut body)?)?;
        let last = first.checked_add(take_varint(&mut body)?)?;
        found.push((first, last));
        after = last;
    }
    Some(found)
}

/// Reads the body of [`Kind::Segments`].
pub(crate) fn marks(body: &[u8]) -> impl Iterator<Item = SegmentMark> {
    body.chunks_exact(16).filter_map(|mark| {
        Some(SegmentMark {
            generation: u64_at(mark, 0)?,
            slot: u32_at(mark, 8)?,
            end: u32_at(mark, 12)?,
        })
    })
}

/// Writes one of them.
pub(crate) fn put_mark(out: &mut Vec<u8>, mark: SegmentMark) {
    out.extend_from_slice(&mark.generation.to_le_bytes());
    out.extend_from_slice(&mark.slot.to_le_bytes());
    out.extend_from_slice(&mark.end.to_le_bytes());
}

/// Reads lists of byte strings with their lengths before them.
pub(crate) fn strings(mut body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let length = u32_at(body, 0)? as usize;
        found.push(body.get(4..4usize.checked_add(length)?)?);
        body = &body[4 + length..];
    }
    Some(found)
}

/// Writes one of them.
pub(crate) fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    out.extend_from_slice(&(string.len() as u32).to_le_bytes());
    out.extend_from_slice(string);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_back() {
        for list in [
            vec![],
            vec![(1, 1)],
            vec![(1, 1), (3, 900), (902, 902), (1 << 40, u64::MAX)],
        ] {
            let mut body = Vec::new();
            let mut after = 0;
            for &range in &list {
                put_range(&mut body, after, range);
                after = range.1;
            }
            assert_eq!(ranges(&body), Some(list));
        }
        assert_eq!(ranges(&[0x80]), None);
        assert_eq!(ranges(&[1]), None);
        assert_eq!(ranges(&[0xFF; 30]), None);
    }

    #[test]
    fn a_record_passes_only_where_it_was_written() {
        let mut record = head(Kind::Deleted, 20, StreamNumber(7)).to_vec();
        record.extend_from_slice(b"12345678");
        finish(&mut record, salt(3, 4096));
        let raw = parse(&record, salt(3, 4096)).expect("it is whole");
        assert_eq!((raw.kind, raw.stream), (Kind::Deleted, StreamNumber(7)));
        assert_eq!(raw.body(), b"12345678");
        assert_eq!(parse(&record, salt(4, 4096)), None);
        assert_eq!(parse(&record, salt(3, 4104)), None);
        for i in 0..record.len() {
            let mut bad = record.clone();
            bad[i] ^= 1 << (i % 8);
            assert_eq!(parse(&bad, salt(3, 4096)), None, "byte {i}");
        }
        for cut in 0..record.len() {
            assert_eq!(parse(&record[..cut], salt(3, 4096)), None);
        }
    }

    #[test]
    fn message_heads_come_back() {
        let fields = MessageHead {
            stream: StreamNumber(9),
            seq: 1 << 50,
            time: -5,
            subject_bytes: 300,
            headers_bytes: 70_000,
            flags: 5,
            encoding: encoding::COMPRESSED,
        };
        let mut record = head(Kind::Message, MESSAGE_HEAD_BYTES, fields.stream).to_vec();
        record.extend_from_slice(&fields.to_bytes()[4..]);
        finish(&mut record, 1);
        let raw = parse(&record, 1).expect("it is whole");
        assert_eq!(raw.message(), Some(fields));
    }
}
