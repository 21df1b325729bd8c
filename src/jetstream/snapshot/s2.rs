//! S2, klauspost's extension of Snappy: blocks, and streams of framed blocks.
//!
//! Blocks are decoded here; no crate that is kept well does. What is written is plain Snappy, which
//! every reader of S2 takes, in Snappy's framing (`framing_format.txt` of Snappy). A stream is decoded
//! one frame at a time, when it is asked for: a few bytes may stand for megabytes.

use super::{Damage, varint};

/// What a Snappy stream begins with, after the head of the frame.
const SNAPPY: &[u8] = b"sNaPpY";
/// The same of an S2 stream.
const S2: &[u8] = b"S2sTwO";
const FRAME_COMPRESSED: u8 = 0x00;
const FRAME_PLAIN: u8 = 0x01;
const FRAME_IDENTIFIER: u8 = 0xff;
/// From here on, frames that are not known may be left out; below they may not.
const FRAME_SKIPPABLE: u8 = 0x80;
const FRAME_HEAD_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
/// What a block decodes to at most: S2's own limit.
const BLOCK_BYTES_MAX: usize = 4 << 20;
/// A frame with a block that does not get smaller.
const FRAME_BYTES_MAX: usize = BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 6 + 64;
/// What Snappy's framing has in a frame at most.
const WRITTEN_BLOCK_BYTES: usize = 64 * 1024;

/// Decodes a block that must have at most `max` bytes, and appends it.
pub fn decode_block(block: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), Damage> {
    let varint::Varint::Is(length, head) = varint::unsigned(block) else {
        return Err(Damage::at(0, "S2 block without a length"));
    };
    if length > max as u64 {
        return Err(Damage::at(0, "S2 block too long"));
    }
    let length = length as usize;
    let begin = out.len();
    out.reserve(length);
    let mut at = head;
    let mut offset = 0usize;
    while let Some(&tag) = block.get(at) {
        let room = length - (out.len() - begin);
        let corrupt = Damage::at(at, "S2 block is corrupt");
        if tag & 3 == 0 {
            let (bytes, head) = literal_length(block, at).ok_or(corrupt)?;
            at += head;
            let literal = at
                .checked_add(bytes)
                .and_then(|end| block.get(at..end))
                .filter(|literal| literal.len() <= room)
                .ok_or(corrupt)?;
            out.extend_from_slice(literal);
            at += bytes;
        } else {
            let copy = Copy::read(&block[at..]).ok_or(corrupt)?;
            at += copy.head_bytes;
            if copy.offset != 0 {
                offset = copy.offset;
            }
            if offset == 0 || offset > out.len() - begin || copy.bytes > room {
                return Err(corrupt);
            }
            copy_within(out, offset, copy.bytes);
        }
    }
    match out.len() - begin == length {
        true => Ok(()),
        false => Err(Damage::at(block.len(), "S2 block ends early")),
    }
}

/// Bytes of the literal whose tag is at `at`, and of its head.
fn literal_length(block: &[u8], at: usize) -> Option<(usize, usize)> {
    let short = usize::from(block[at] >> 2);
    if short < 60 {
        return Some((short + 1, 1));
    }
    let more = short - 59;
    let bytes = block.get(at + 1..at + 1 + more)?;
    let length = bytes
        .iter()
        .rev()
        .fold(0u64, |length, &byte| length << 8 | u64::from(byte));
    Some((usize::try_from(length + 1).ok()?, 1 + more))
}

/// A copy of what was there before.
struct Copy {
    head_bytes: usize,
    bytes: usize,
    /// How far back; 0 for as far as the last one.
    offset: usize,
}

impl Copy {
    fn read(block: &[u8]) -> Option<Self> {
        let tag = block[0];
        let long = usize::from(tag >> 2) + 1;
        let copy = |head_bytes, bytes, offset| Self {
            head_bytes,
            bytes,
            offset,
        };
        match tag & 3 {
            1 => {
                let offset = usize::from(tag & 0xe0) << 3 | usize::from(*block.get(1)?);
                let length = usize::from(tag >> 2 & 7);
                let extra = |bytes: usize| {
                    let extra = block.get(2..2 + bytes)?;
                    let number = extra.iter().rev();
                    Some(number.fold(0usize, |number, &byte| number << 8 | usize::from(byte)))
                };
                Some(match (offset, length) {
                    (0, 5) => copy(3, 8 + extra(1)?, 0),
                    (0, 6) => copy(4, 4 + (1 << 8) + extra(2)?, 0),
                    (0, 7) => copy(5, 4 + (1 << 16) + extra(3)?, 0),
                    (offset, length) => copy(2, 4 + length, offset),
                })
            }
            2 => {
                let offset = block.get(1..3)?.try_into().ok()?;
                let offset = usize::from(u16::from_le_bytes(offset));
                (offset != 0).then(|| copy(3, long, offset))
            }
            _ => {
                let offset = block.get(1..5)?.try_into().ok()?;
                let offset = usize::try_from(u32::from_le_bytes(offset)).ok()?;
                (offset != 0).then(|| copy(5, long, offset))
            }
        }
    }
}

/// Appends `bytes` bytes from `offset` back, which may be fewer than `bytes`: then they repeat.
fn copy_within(out: &mut Vec<u8>, offset: usize, bytes: usize) {
    let from = out.len() - offset;
    let mut left = bytes;
    while left > 0 {
        // What has just been written can be copied along: each round doubles it.
        let now = left.min(out.len() - from);
        out.extend_from_within(from..from + now);
        left -= now;
    }
}

/// Snappy's masked CRC-32C.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// A framed stream, taken apart.
#[derive(Debug, Default)]
pub struct Unframer {
    /// Input that has not been looked at, from `at` on.
    input: Vec<u8>,
    at: usize,
    /// Where in the stream `input[at]` is.
    position: u64,
    /// Bytes of a frame that is left out.
    to_skip: usize,
    seen_identifier: bool,
}

impl Unframer {
    /// More of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that were pushed and not decoded.
    pub fn undecoded(&self) -> usize {
        self.input.len() - self.at
    }

    /// Whether the stream may end here: between frames.
    pub fn is_between_frames(&self) -> bool {
        self.undecoded() == 0 && self.to_skip == 0
    }

    /// Decodes the next frame and appends what is in it. False when more must be pushed first.
    ///
    /// # Errors
    /// When it is damaged; it will be again.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, Damage> {
        loop {
            let skipped = self.to_skip.min(self.undecoded());
            self.advance(skipped);
            self.to_skip -= skipped;
            let input = &self.input[self.at..];
            let Some(head) = input.first_chunk::<FRAME_HEAD_BYTES>() else {
                return Ok(false);
            };
            let &[kind, low, middle, high] = head;
            let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
            let damage = |what| Damage {
                offset: self.position,
                what,
            };
            if !self.seen_identifier && kind != FRAME_IDENTIFIER {
                return Err(damage("not an S2 or Snappy stream"));
            }
            match kind {
                FRAME_IDENTIFIER | FRAME_COMPRESSED | FRAME_PLAIN => {
                    if length > FRAME_BYTES_MAX {
                        return Err(damage("S2 frame too long"));
                    }
                    let Some(frame) = input.get(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + length) else {
                        return Ok(false);
                    };
                    if kind == FRAME_IDENTIFIER {
                        if frame != S2 && frame != SNAPPY {
                            return Err(damage("not an S2 or Snappy stream"));
                        }
                        self.seen_identifier = true;
                    } else {
                        unframe(frame, kind == FRAME_COMPRESSED, out).map_err(damage)?;
                    }
                    self.advance(FRAME_HEAD_BYTES + length);
                    if kind != FRAME_IDENTIFIER {
                        return Ok(true);
                    }
                }
                FRAME_SKIPPABLE.. => {
                    self.advance(FRAME_HEAD_BYTES);
                    self.to_skip = length;
                }
                _ => return Err(damage("S2 frame of an unknown kind")),
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        self.position += bytes as u64;
    }
}

fn unframe(frame: &[u8], compressed: bool, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let (sum, block) = frame
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or("S2 frame without a checksum")?;
    let begin = out.len();
    if compressed {
        decode_block(block, BLOCK_BYTES_MAX, out).map_err(|damage| damage.what)?;
    } else if block.len() <= BLOCK_BYTES_MAX {
        out.extend_from_slice(block);
    } else {
        return Err("S2 block too long");
    }
    match checksum(&out[begin..]) == u32::from_le_bytes(*sum) {
        true => Ok(()),
        false => Err("S2 frame with a wrong checksum"),
    }
}

/// Decodes a whole stream that must decode to at most `max` bytes, and appends it.
///
/// # Errors
/// When it is damaged, cut or longer.
pub fn decode_stream(stream: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), Damage> {
    let mut unframer = Unframer::default();
    unframer.push(stream);
    let begin = out.len();
    while unframer.next(out)? {
        if out.len() - begin > max {
            return Err(Damage::at(0, "S2 stream too long"));
        }
    }
    match unframer.is_between_frames() {
        true => Ok(()),
        false => Err(Damage::at(stream.len(), "S2 stream ends early")),
    }
}

/// Makes a framed stream.
pub struct Framer {
    encoder: snap::raw::Encoder,
    /// Bytes that have no frame yet.
    plain: Vec<u8>,
    block: Vec<u8>,
    has_begun: bool,
}

impl Default for Framer {
    fn default() -> Self {
        Self {
            encoder: snap::raw::Encoder::new(),
            plain: Vec::new(),
            block: Vec::new(),
            has_begun: false,
        }
    }
}

impl Framer {
    /// Takes bytes; whole frames are appended to `out`.
    pub fn write(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while self.plain.len() + bytes.len() >= WRITTEN_BLOCK_BYTES {
            let (now, later) = bytes.split_at(WRITTEN_BLOCK_BYTES - self.plain.len());
            self.plain.extend_from_slice(now);
            bytes = later;
            self.finish(out);
        }
        self.plain.extend_from_slice(bytes);
    }

    /// Frames what is left.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.has_begun {
            self.has_begun = true;
            out.extend_from_slice(&[FRAME_IDENTIFIER, SNAPPY.len() as u8, 0, 0]);
            out.extend_from_slice(SNAPPY);
        }
        if self.plain.is_empty() {
            return;
        }
        self.block
            .resize(snap::raw::max_compress_len(self.plain.len()), 0);
        let compressed = self.encoder.compress(&self.plain, &mut self.block);
        let (kind, block) = match compressed {
            Ok(length) if length < self.plain.len() => (FRAME_COMPRESSED, &self.block[..length]),
            _ => (FRAME_PLAIN, &self.plain[..]),
        };
        let [low, middle, high, _] = ((block.len() + CHECKSUM_BYTES) as u32).to_le_bytes();
        out.extend_from_slice(&[kind, low, middle, high]);
        out.extend_from_slice(&checksum(&self.plain).to_le_bytes());
        out.extend_from_slice(block);
        self.plain.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::base::prng::Prng;

    /// What the samples were made of: noise, runs and copies of all lengths.
    fn pattern() -> Vec<u8> {
        let mut out = Vec::new();
        let mut noise = 1u32;
        for i in 0..40usize {
            for _ in 0..i {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                out.push((noise >> 24) as u8);
            }
            out.resize(out.len() + i * i * i, i as u8);
            let from = out.len() / 3;
            for j in from..from + from.min(300) {
                out.push(out[j]);
            }
        }
        out.extend((0..200_000).map(|j| (j % 7) as u8));
        out
    }

    fn decoded(stream: &[u8]) -> Result<Vec<u8>, Damage> {
        let mut out = Vec::new();
        decode_stream(stream, 1 << 20, &mut out)?;
        Ok(out)
    }

    #[test]
    fn what_klauspost_encodes_is_decoded() {
        for sample in [samples::S2_FAST, samples::S2_BETTER, samples::S2_BEST] {
            assert!(decoded(&samples::bytes(sample)) == Ok(pattern()));
        }
    }

    #[test]
    fn what_is_written_is_read_in_any_pieces() {
        let mut random = Prng::new(3);
        let pattern = pattern();
        for _ in 0..20 {
            let (mut framer, mut stream) = (Framer::default(), Vec::new());
            let mut rest = &pattern[random.below(800_000) as usize..];
            let plain = rest.to_vec();
            while !rest.is_empty() {
                let bytes = (random.below(100_000) as usize).min(rest.len());
                framer.write(&rest[..bytes], &mut stream);
                rest = &rest[bytes..];
            }
            framer.finish(&mut stream);
            let (mut unframer, mut out) = (Unframer::default(), Vec::new());
            for piece in stream.chunks(1 + random.below(5000) as usize) {
                unframer.push(piece);
                while unframer.next(&mut out).expect("it is whole") {}
            }
            assert!(out == plain && unframer.is_between_frames());
            // Snappy's own reader takes it too.
            let mut read = Vec::new();
            let mut reader = snap::read::FrameDecoder::new(stream.as_slice());
            std::io::Read::read_to_end(&mut reader, &mut read).expect("it is Snappy");
            assert!(read == plain);
        }
    }

    /// No block, however it is damaged, decodes to more than it says, or panics.
    #[test]
    fn damage_is_found() {
        let mut random = Prng::new(5);
        let stream = samples::bytes(samples::S2_BEST);
        for length in (0..stream.len()).step_by(7) {
            let cut = decoded(&stream[..length]);
            // Between the frames it may end.
            assert!(cut.is_err() || cut.is_ok_and(|out| out.len() <= pattern().len()));
        }
        let mut found = 0;
        for _ in 0..500 {
            let mut bad = stream.clone();
            let at = random.below(bad.len() as u32) as usize;
            bad[at] ^= 1 << random.below(8);
            found += u32::from(decoded(&bad).is_err());
            // Without its checksum, too.
            let mut out = Vec::new();
            let _ = decode_block(&bad[18..], 1 << 20, &mut out);
            assert!(out.len() <= 1 << 20);
        }
        assert!(found > 400, "{found} of 500");
        let mut out = Vec::new();
        for length in 0..3000 {
            let noise: Vec<u8> = (0..length % 60).map(|_| random.below(256) as u8).collect();
            out.clear();
            let _ = decode_block(&noise, 10_000, &mut out);
            assert!(out.len() <= 10_000);
        }
    }
}
