//! Checkpoints: what is known of the journal's records, so that opening need not read them all.
//!
//! ```text
//! file    = head block*                         block: padded to 4 KiB
//! head    = "SKC1" crc:u32 version:u32 key:u32 salt:16 id:u64       one block
//! block   = crc:u32 length:u32 number:u32 kind:u32 body [tag]
//! ```
//!
//! A checkpoint begins at a frame's boundary. What is small (names, facts, segments) is taken at that
//! moment; the indexes follow in pieces over many turns while they change: what is logged from the
//! boundary on is replayed over them, and messages, removals and moves may be repeated. It is put in
//! place of the one before when all that it may have seen is durable. A checkpoint is a
//! shortcut and nothing more: without it, or with a bad one, the journal is read from its beginning.
//!
//! While there is a checkpoint, removals logged after its boundary are not dropped, even if no segment is
//! left that is older: the checkpoint has what they remove.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use super::facade::Store;
use super::index::Cursor;
use super::io::{AlignedBuffer, BLOCK_BYTES, Failure, FileId, Work};
use super::journal::StreamNumber;
use super::journal::record::{put_string, salt, u32_at, u64_at};
use super::journal::seal::{Seal, TAG_BYTES};
use super::requests::Purpose;
use crate::base::deadlines::Millis;

pub(crate) const NAME: &str = "checkpoint";
pub(crate) const NEW_NAME: &str = "checkpoint.new";
const WRITE_FILE: FileId = FileId(0);
pub(crate) const READ_FILE: FileId = FileId(1);
const MAGIC: &[u8; 4] = b"SKC1";
const VERSION: u32 = 1;
pub(crate) const BLOCK_HEAD_BYTES: usize = 16;
/// About what is written at once.
const PIECE_BYTES: usize = 256 << 10;
/// A checkpoint is made when so many times what the last one takes was logged since.
const LOGGED_TIMES: u64 = 2;
/// How long after a failure to try again.
const RETRY_MS: Millis = 60_000;

/// What a block holds.
pub(crate) mod block {
    /// Segments, and where replay begins.
    pub const START: u32 = 1;
    /// A stream without its index.
    pub const STREAM: u32 = 2;
    /// A piece of the index of the stream before.
    pub const PIECE: u32 = 3;
    /// Nothing follows.
    pub const END: u32 = 4;
    /// The stream before was deleted meanwhile.
    pub const GONE: u32 = 5;
}

/// The first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub key: u32,
    pub salt: [u8; 16],
    pub id: u64,
}

impl Head {
    fn to_bytes(self) -> [u8; 40] {
        let mut out = [0; 40];
        out[..4].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.key.to_le_bytes());
        out[16..32].copy_from_slice(&self.salt);
        out[32..40].copy_from_slice(&self.id.to_le_bytes());
        let crc = crc32c::crc32c(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..40)?;
        let is_good = &bytes[..4] == MAGIC
            && u32_at(bytes, 4)? == crc32c::crc32c(&bytes[8..])
            && u32_at(bytes, 8)? == VERSION;
        is_good.then_some(Self {
            key: u32_at(bytes, 12)?,
            salt: bytes[16..32].try_into().expect("sixteen bytes"),
            id: u64_at(bytes, 32)?,
        })
    }
}

/// Makes a block.
fn make_block(
    head: &Head,
    seal: Option<&Seal>,
    number: u32,
    kind: u32,
    body: &[u8],
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let length = BLOCK_HEAD_BYTES + body.len() + seal.map_or(0, |_| TAG_BYTES);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(body);
    if let Some(seal) = seal {
        out.extend_from_slice(&[0; TAG_BYTES]);
        seal.encrypt(
            head.id,
            number as usize,
            &mut out[start..],
            BLOCK_HEAD_BYTES,
        );
    }
    let crc = crc32c::crc32c_append(salt(head.id, number as usize), &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// How long the block is that begins here, with padding. None when too little of it is here to tell.
///
/// # Errors
/// When no block is so short.
pub(crate) fn block_span(bytes: &[u8]) -> Result<Option<usize>, Bad> {
    match u32_at(bytes, 4) {
        Some(length) if (length as usize) < BLOCK_HEAD_BYTES => Err(Bad),
        Some(length) => Ok(Some((length as usize).next_multiple_of(BLOCK_BYTES))),
        None => Ok(None),
    }
}

/// Kind and body of the block that begins here and is all there.
///
/// # Errors
/// When it is not what was written.
pub(crate) fn take_block<'a>(
    head: &Head,
    seal: Option<&Seal>,
    number: u32,
    bytes: &'a [u8],
) -> Result<(u32, Cow<'a, [u8]>), Bad> {
    let length = u32_at(bytes, 4).ok_or(Bad)? as usize;
    let bytes = bytes.get(..length).ok_or(Bad)?;
    let crc = crc32c::crc32c_append(salt(head.id, number as usize), &bytes[4..]);
    if u32_at(bytes, 0) != Some(crc) || u32_at(bytes, 8) != Some(number) {
        return Err(Bad);
    }
    let kind = u32_at(bytes, 12).ok_or(Bad)?;
    let body = match seal {
        Some(seal) => {
            let place = (head.id, number as usize);
            let mut body = Vec::new();
            if !seal.decrypt(place, bytes, BLOCK_HEAD_BYTES, &mut body) {
                return Err(Bad);
            }
            Cow::Owned(body)
        }
        None => Cow::Borrowed(&bytes[BLOCK_HEAD_BYTES..]),
    };
    Ok((kind, body))
}

/// A checkpoint is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Creating,
    /// A piece may be written, or is being written.
    Ready,
    Writing,
    /// All is written; what it has seen must become durable.
    Settling(u64),
    Syncing,
    Closing,
    Renaming,
}

/// A checkpoint that is being made.
#[derive(Debug)]
struct Writer {
    stage: Stage,
    head: Head,
    seal: Option<Seal>,
    /// From which generation on segments are replayed.
    generation: u64,
    /// Blocks so far, and bytes.
    number: u32,
    offset: u64,
    /// What is small, taken at the beginning: a block each.
    streams: VecDeque<(StreamNumber, Vec<u8>)>,
    start: Option<Vec<u8>>,
    /// The stream whose index is being written, and how far.
    cursor: Option<(StreamNumber, Cursor)>,
    ended: bool,
}

/// Checkpoints: the one there is, and the next.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    writer: Option<Box<Writer>>,
    /// From which generation on the one there is has segments replayed.
    pub there: Option<u64>,
    /// Bytes of the last one.
    pub bytes: u64,
    /// At least so much is logged between two.
    least_bytes: u64,
    /// Logged since it was begun.
    logged: u64,
    retry_at: Millis,
    /// Changes it has seen.
    pub changes: u64,
    failed_once: bool,
}

impl Checkpoints {
    pub fn new(least_bytes: u64) -> Self {
        Self {
            least_bytes,
            ..Self::default()
        }
    }

    pub fn pay(&mut self, bytes: usize) {
        self.logged += bytes as u64;
    }

    /// What was logged in that generation may be missing in a checkpoint.
    pub fn may_miss(&self, generation: u64) -> bool {
        let writing = self.writer.as_ref().map(|writer| writer.generation);
        let boundaries = self.there.into_iter().chain(writing);
        boundaries
            .into_iter()
            .any(|boundary| generation >= boundary)
    }

    /// Whether one would say more than the last.
    pub fn is_of_use(&self, changes: u64, now: Millis) -> bool {
        self.writer.is_none()
            && now >= self.retry_at
            && (self.changes != changes || self.there.is_none() && changes > 0)
    }

    /// The one there is cannot be used: it may miss anything, and another is due.
    pub fn distrust(&mut self) {
        self.there = Some(0);
        self.logged = u64::MAX / 2;
    }

    pub fn is_idle(&self) -> bool {
        self.writer.is_none()
    }
}

impl Store {
    /// Goes on with the checkpoint that is being made; begins one if it is time, or `wanted`.
    pub(super) fn checkpoint(&mut self, wanted: bool) {
        if self.core.log.is_poisoned() {
            return;
        }
        if self.checkpoints.writer.is_none() {
            let least = self
                .checkpoints
                .least_bytes
                .max(LOGGED_TIMES * self.checkpoints.bytes);
            let due =
                self.checkpoints.logged >= least && self.core.now >= self.checkpoints.retry_at;
            // What is to be erased would be forgotten.
            if !due && !wanted || !self.core.erasure.is_idle() {
                return;
            }
            // Its names must be free: the one that was read, or one that was given up, is still
            // being put away.
            let requests = &self.core.requests;
            let aside = [Purpose::Forgotten, Purpose::DiscardCheckpoint];
            if aside
                .into_iter()
                .any(|purpose| requests.is_under_way(purpose))
            {
                return;
            }
            self.begin_checkpoint();
        }
        let Some(mut writer) = self.checkpoints.writer.take() else {
            return;
        };
        match writer.stage {
            Stage::Ready => self.write_piece(&mut writer),
            Stage::Settling(changes) if self.core.durable_changes >= changes => {
                writer.stage = Stage::Syncing;
                let work = Work::Sync { file: WRITE_FILE };
                self.core.requests.submit(work, Purpose::Checkpoint);
            }
            _ => {}
        }
        self.checkpoints.writer = Some(writer);
    }

    fn begin_checkpoint(&mut self) {
        let filed = self.filed();
        let core = &mut self.core;
        let boundary = core.log.boundary();
        let head = Head {
            key: self.keys.current(),
            salt: core.log.random_salt(),
            id: core.log.random_id(),
        };
        let seal = self.keys.seal(head.key, &head.salt).ok().flatten();
        let mut start = Vec::new();
        for number in [
            boundary.generation,
            boundary.offset as u64,
            boundary.next_number,
        ] {
            start.extend_from_slice(&number.to_le_bytes());
        }
        start.extend_from_slice(&self.next_number.to_le_bytes());
        let segments: Vec<_> = core
            .log
            .segments()
            .map(|(slot, segment)| (slot, segment.generation, segment.end, segment.logged_bytes))
            .collect();
        for (slot, generation, end, logged) in segments {
            let mut part = Vec::new();
            part.extend_from_slice(&generation.to_le_bytes());
            part.extend_from_slice(&slot.to_le_bytes());
            part.extend_from_slice(&(end as u32).to_le_bytes());
            part.extend_from_slice(&logged.to_le_bytes());
            core.remains(slot).write(&mut part);
            put_string(&mut start, &part);
        }
        let mut streams = VecDeque::new();
        for number in filed {
            let mut body = Vec::new();
            self.file_streams[&number].write(&mut body);
            streams.push_back((number, body));
        }
        self.checkpoints.logged = 0;
        self.checkpoints.changes = core.changes;
        self.checkpoints.writer = Some(Box::new(Writer {
            stage: Stage::Creating,
            head,
            seal,
            generation: boundary.generation,
            number: 0,
            offset: 0,
            streams,
            start: Some(start),
            cursor: None,
            ended: false,
        }));
        let work = Work::Create {
            file: WRITE_FILE,
            name: NEW_NAME.to_owned(),
            bytes: BLOCK_BYTES as u64,
        };
        core.requests.submit(work, Purpose::Checkpoint);
    }

    fn write_piece(&mut self, writer: &mut Writer) {
        let mut out = Vec::with_capacity(PIECE_BYTES * 2);
        if writer.offset == 0 {
            out.extend_from_slice(&writer.head.to_bytes());
            out.resize(BLOCK_BYTES, 0);
        }
        let mut add = |writer: &mut Writer, kind, body: &[u8]| {
            let number = writer.number;
            make_block(
                &writer.head,
                writer.seal.as_ref(),
                number,
                kind,
                body,
                &mut out,
            );
            writer.number += 1;
            out.len() < PIECE_BYTES
        };
        let mut body = Vec::new();
        let mut more = true;
        while more && !writer.ended {
            if let Some(start) = writer.start.take() {
                more = add(writer, block::START, &start);
            } else if let Some((number, cursor)) = writer.cursor.take() {
                body.clear();
                if let Some(stream) = self.file_streams.get(&number) {
                    let next = stream.index.write_piece(cursor, &mut body, PIECE_BYTES);
                    writer.cursor = next.map(|cursor| (number, cursor));
                    more = add(writer, block::PIECE, &body);
                } else {
                    more = add(writer, block::GONE, &[]);
                }
            } else if let Some((number, stream)) = writer.streams.pop_front() {
                more = add(writer, block::STREAM, &stream);
                writer.cursor = Some((number, Cursor::default()));
            } else {
                add(writer, block::END, &[]);
                writer.ended = true;
            }
        }
        let mut buffer = AlignedBuffer::new(out.len());
        buffer[..out.len()].copy_from_slice(&out);
        let bytes = buffer.len();
        let work = Work::Write {
            file: WRITE_FILE,
            offset: writer.offset,
            buffer: Arc::new(buffer),
            bytes,
            sync: false,
        };
        writer.offset += bytes as u64;
        writer.stage = Stage::Writing;
        self.core.requests.submit(work, Purpose::Checkpoint);
    }

    /// A step of the checkpoint is done, or not.
    pub(super) fn checkpoint_done(&mut self, result: Result<usize, Failure>) {
        let Some(mut writer) = self.checkpoints.writer.take() else {
            return;
        };
        if let Err(failure) = result {
            self.abandon_checkpoint(&writer, failure);
            return;
        }
        let requests = &mut self.core.requests;
        match writer.stage {
            Stage::Creating => writer.stage = Stage::Ready,
            Stage::Writing if writer.ended => writer.stage = Stage::Settling(self.core.changes),
            Stage::Writing => writer.stage = Stage::Ready,
            Stage::Syncing => {
                writer.stage = Stage::Closing;
                requests.submit(Work::Close { file: WRITE_FILE }, Purpose::Checkpoint);
            }
            Stage::Closing => {
                writer.stage = Stage::Renaming;
                let work = Work::Rename {
                    from: NEW_NAME.to_owned(),
                    to: NAME.to_owned(),
                };
                requests.submit(work, Purpose::Checkpoint);
            }
            Stage::Renaming => {
                self.checkpoints.there = Some(writer.generation);
                self.checkpoints.bytes = writer.offset;
                self.checkpoints.failed_once = false;
                return;
            }
            Stage::Ready | Stage::Settling(_) => {}
        }
        self.checkpoints.writer = Some(writer);
    }

    fn abandon_checkpoint(&mut self, writer: &Writer, failure: Failure) {
        if !self.checkpoints.failed_once && failure != Failure::Full {
            let text = format!(
                "store: a checkpoint could not be written ({failure:?}): the next start takes longer"
            );
            self.core.say(super::core::Severity::Warning, text);
        }
        self.checkpoints.failed_once = true;
        self.checkpoints.retry_at = self.core.now + RETRY_MS;
        self.checkpoints.logged = u64::MAX / 2;
        match writer.stage {
            Stage::Creating | Stage::Closing => {}
            // It may be there or not: what it would miss must be kept.
            Stage::Renaming => {
                let known = self.checkpoints.there.unwrap_or(writer.generation);
                self.checkpoints.there = Some(known.min(writer.generation));
            }
            _ => {
                let work = Work::Close { file: WRITE_FILE };
                self.core.requests.submit(work, Purpose::DiscardCheckpoint);
            }
        }
    }
}
