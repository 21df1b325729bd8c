//! Blocks of messages, `msgs/<N>.blk`.
//!
//! A block is records, little-endian, one behind the other:
//!
//! ```text
//! length u32 (highest bit: it has headers) · sequence u64 · nanoseconds u64 · subject length u16 ·
//! subject · [headers length u32 · headers ·] payload · checksum 8 bytes
//! ```
//!
//! The highest bit of the sequence says that the message was erased or never was, the one below that
//! the record is a tombstone: the message of that sequence, mostly of an earlier block, was deleted.
//! The checksum is over sequence, time, subject, headers and payload. A compressed block is `cmp`, the
//! algorithm, the length before, an S2 stream, and the last checksum as it is.

use super::super::{Damage, s2, varint};
use super::{BLOCK_BYTES_MAX, CHECKSUM_BYTES, Checksum};
use crate::store::{Seq, UnixNanos};

/// Bytes of a record before its subject.
pub const RECORD_HEAD_BYTES: usize = 22;
/// Longest record that nats-server takes for one.
const RECORD_BYTES_MAX: usize = 32 << 20;
const HAS_HEADERS: u32 = 1 << 31;
const ERASED: u64 = 1 << 63;
const TOMBSTONE: u64 = 1 << 62;
const COMPRESSED: &[u8] = b"cmp";
const UNCOMPRESSED_BLOCK: u8 = 0;
const S2_BLOCK: u8 = 1;

/// Decompresses a block, if it is compressed.
///
/// # Errors
/// When it is, but not well.
pub fn unpack(block: Vec<u8>) -> Result<Vec<u8>, Damage> {
    if block.len() < 5 || !block.starts_with(COMPRESSED) {
        return Ok(block);
    }
    let varint::Varint::Is(length, bytes) = varint::unsigned(&block[4..]) else {
        return Err(Damage::at(4, "compressed block without its length"));
    };
    let head = 4 + bytes;
    match block[3] {
        S2_BLOCK => {}
        UNCOMPRESSED_BLOCK => return Ok(block[head..].to_vec()),
        _ => return Err(Damage::at(3, "block compressed in an unknown way")),
    }
    let Some((stream, last)) = block[head..].split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(Damage::at(head, "compressed block too short"));
    };
    if length > BLOCK_BYTES_MAX as u64 {
        return Err(Damage::at(4, "compressed block too long"));
    }
    let length = length as usize;
    let mut unpacked = Vec::with_capacity(length.min(stream.len().saturating_mul(32)));
    s2::decode_stream(stream, length, &mut unpacked).map_err(|damage| Damage {
        offset: damage.offset + head as u64,
        what: damage.what,
    })?;
    unpacked.extend_from_slice(last);
    match unpacked.len() == length {
        true => Ok(unpacked),
        false => Err(Damage::at(
            4,
            "compressed block of another length than it says",
        )),
    }
}

/// The checksum of a block's last record: what `index.db` knows it by.
pub fn last_checksum(block: &[u8]) -> [u8; CHECKSUM_BYTES] {
    block.last_chunk().copied().unwrap_or_default()
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A message.
    Message {
        /// Its sequence, not 0.
        seq: Seq,
        /// When it was stored.
        time: UnixNanos,
        /// Its subject.
        subject: &'a [u8],
        /// Its header block, or nothing.
        headers: &'a [u8],
        /// What follows that.
        payload: &'a [u8],
    },
    /// A sequence that was given out, but there is no message: erased or skipped.
    Nothing {
        /// The sequence.
        seq: Seq,
        /// When; 0 when it was erased.
        time: UnixNanos,
    },
    /// Another message was deleted.
    Tombstone {
        /// Its sequence.
        seq: Seq,
        /// When that was stored.
        time: UnixNanos,
    },
}

/// The records of a block, checked.
pub struct Records<'a> {
    block: &'a [u8],
    at: usize,
    checksum: Checksum,
}

impl<'a> Records<'a> {
    /// Of an unpacked block.
    pub fn of(block: &'a [u8], checksum: Checksum) -> Self {
        Self {
            block,
            at: 0,
            checksum,
        }
    }

    /// From where another [`Self::offset`] was.
    pub fn from_offset(block: &'a [u8], checksum: Checksum, offset: usize) -> Self {
        Self {
            block,
            at: offset,
            checksum,
        }
    }

    /// Where the next one begins.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Whether what could not be read as a record may be the beginning of one, to the end of the block,
    /// or space that was never written to.
    pub fn is_cut(rest: &[u8]) -> bool {
        if rest.iter().all(|&byte| byte == 0) {
            return true;
        }
        let Some(head) = rest.first_chunk() else {
            return true;
        };
        let length = (u32::from_le_bytes(*head) & !HAS_HEADERS) as usize;
        (RECORD_HEAD_BYTES + CHECKSUM_BYTES..=RECORD_BYTES_MAX).contains(&length)
            && rest.len() < length
    }

    fn read(&self, record: &'a [u8]) -> Result<(usize, Record<'a>), &'static str> {
        let head: &[u8; RECORD_HEAD_BYTES] = record.first_chunk().ok_or("record cut short")?;
        let word = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let has_headers = word & HAS_HEADERS != 0;
        let length = (word & !HAS_HEADERS) as usize;
        if !(RECORD_HEAD_BYTES + CHECKSUM_BYTES..=RECORD_BYTES_MAX).contains(&length) {
            return Err("record of an impossible length");
        }
        let record = record.get(..length).ok_or("record cut short")?;
        let (body, sum) = record[RECORD_HEAD_BYTES..]
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or("record cut short")?;
        let subject_bytes = usize::from(u16::from_le_bytes([head[20], head[21]]));
        let (subject, rest) = body
            .split_at_checked(subject_bytes)
            .ok_or("subject longer than its record")?;
        let (headers_bytes, rest) = match has_headers {
            false => (0, rest),
            true => {
                let (length, rest) = rest
                    .split_first_chunk()
                    .ok_or("headers longer than their record")?;
                (u32::from_le_bytes(*length) as usize, rest)
            }
        };
        if self.checksum.over(&[&head[4..20], subject, rest]) != *sum {
            return Err("record with a wrong checksum");
        }
        let (headers, payload) = rest
            .split_at_checked(headers_bytes)
            .ok_or("headers longer than their record")?;
        let number = |at: usize| {
            let bytes = head[at..].first_chunk().expect("the head is longer");
            u64::from_le_bytes(*bytes)
        };
        let (marked, time) = (number(4), number(12) as UnixNanos);
        let seq = marked & !(ERASED | TOMBSTONE);
        let record = match marked {
            _ if marked & TOMBSTONE != 0 => Record::Tombstone { seq, time },
            _ if marked & ERASED != 0 || seq == 0 => Record::Nothing { seq, time },
            _ => Record::Message {
                seq,
                time,
                subject,
                headers,
                payload,
            },
        };
        Ok((length, record))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Damage>;

    /// After damage there is nothing more: where the next record begins is not known.
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.block.get(self.at..).filter(|rest| !rest.is_empty())?;
        Some(match self.read(rest) {
            Ok((length, record)) => {
                self.at += length;
                Ok(record)
            }
            Err(what) => {
                let damage = Damage::at(self.at, what);
                self.at = self.block.len();
                Err(damage)
            }
        })
    }
}
