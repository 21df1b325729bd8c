//! Overwriting messages that are to leave nothing behind.
//!
//! That a record is to be erased is logged before its place is touched, in two frames: so its own frame
//! is not the last one when it is written to, where a write that was not finished would be taken for the
//! end of the log. After a crash it is done again. What is in its place then says how long it was, so that
//! replay finds its way. Copies that compaction has left behind in files that wait to be used again
//! are not looked for: they are overwritten when they are.

use std::sync::Arc;

use super::facade::Store;
use super::io::{AlignedBuffer, BLOCK_BYTES, Failure, Work};
use super::journal::StreamNumber;
use super::journal::log::Need;
use super::journal::record::{self, HEAD_BYTES, Kind, padded};
use super::location::{Location, Slot};
use super::requests::Purpose;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be logged for the first time.
    New,
    /// Logged in that frame; then to be logged again.
    Logged(u64),
    LoggedAgain(u64),
    /// How long it is, is being read.
    Measuring,
    /// Its blocks are being read.
    Reading,
    Writing,
}

/// A message that is being erased.
#[derive(Debug)]
pub(crate) struct Erasing {
    slot: Slot,
    pub generation: u64,
    pub offset: usize,
    stage: Stage,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Erasure {
    waiting: Vec<Erasing>,
    /// The one whose place is being touched.
    current: Option<Erasing>,
}

impl Erasure {
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none()
    }

    /// Whether a segment is about to be written to.
    pub fn wants(&self, slot: Slot) -> bool {
        let mut all = self.waiting.iter().chain(&self.current);
        all.any(|erasing| erasing.slot == slot)
    }

    pub fn add(&mut self, location: Location, generation: u64) {
        self.waiting.push(Erasing {
            slot: location.slot(),
            generation,
            offset: location.offset(),
            stage: Stage::New,
        });
    }
}

fn first_block(offset: usize) -> usize {
    offset / BLOCK_BYTES * BLOCK_BYTES
}

impl Store {
    /// Logs what is to be erased, and begins with what was.
    pub(super) fn erase(&mut self) {
        if self.core.erasure.is_idle() || self.core.log.is_poisoned() {
            return;
        }
        let durable = self.core.log.durable();
        let mut waiting = std::mem::take(&mut self.core.erasure.waiting);
        for erasing in &mut waiting {
            let log = match erasing.stage {
                Stage::New => true,
                Stage::Logged(frame) => frame <= durable,
                _ => false,
            };
            if !log {
                continue;
            }
            let offset = (erasing.offset as u32).to_le_bytes();
            let parts: [&[u8]; 2] = [&erasing.generation.to_le_bytes(), &offset];
            let none = StreamNumber::default();
            if self
                .core
                .log
                .put(Kind::Erase, none, &parts, Need::Housekeeping)
                .is_err()
            {
                break;
            }
            let frame = self.core.log.position();
            erasing.stage = match erasing.stage {
                Stage::New => Stage::Logged(frame),
                _ => Stage::LoggedAgain(frame),
            };
        }
        if self.core.erasure.current.is_none() {
            let ready = waiting.iter().position(|erasing| {
                matches!(erasing.stage, Stage::LoggedAgain(frame) if frame <= durable)
                    && !self.compaction.is_of(erasing.slot)
            });
            if let Some(ready) = ready {
                let mut erasing = waiting.swap_remove(ready);
                erasing.stage = Stage::Measuring;
                // Its length may lie in the next block.
                self.read_for_erasing(erasing, HEAD_BYTES);
            }
        }
        self.core.erasure.waiting.append(&mut waiting);
    }

    /// Reads the blocks of so many bytes of the record.
    fn read_for_erasing(&mut self, erasing: Erasing, bytes: usize) {
        let Some(source) = self.core.source(erasing.slot) else {
            return;
        };
        let start = first_block(erasing.offset);
        let end = (erasing.offset + bytes).next_multiple_of(BLOCK_BYTES);
        if source.generation != erasing.generation || end > source.bytes {
            return;
        }
        let work = Work::Read {
            file: source.file,
            offset: start as u64,
            buffer: AlignedBuffer::new(end - start),
        };
        self.core.requests.submit(work, Purpose::Erase);
        self.core.erasure.current = Some(erasing);
    }

    pub(super) fn erase_step(&mut self, result: Result<usize, Failure>, mut buffer: AlignedBuffer) {
        let Some(mut erasing) = self.core.erasure.current.take() else {
            return;
        };
        if erasing.stage == Stage::Writing {
            if let Err(failure) = result {
                self.core
                    .poison(&format!("erasing of a message has failed ({failure:?})"));
            }
            self.core.cache.forget(erasing.slot);
            return;
        }
        let at = erasing.offset - first_block(erasing.offset);
        let is_read = result == Ok(buffer.len());
        let length = is_read.then(|| record::length(&buffer[at..])).flatten();
        let Some(length) = length else {
            let text =
                "store: a message that is to be erased cannot be read: its bytes may survive"
                    .to_owned();
            self.core.say(super::Severity::Error, text);
            return;
        };
        if erasing.stage == Stage::Measuring {
            erasing.stage = Stage::Reading;
            self.read_for_erasing(erasing, length);
            return;
        }
        let salt = record::salt(erasing.generation, erasing.offset);
        let Some(bytes) = buffer.get_mut(at..at + length) else {
            return;
        };
        if record::parse(bytes, salt).is_some_and(|raw| raw.kind == Kind::Erased) {
            return;
        }
        bytes[HEAD_BYTES..].fill(0);
        let stream = StreamNumber(record::u32_at(bytes, 8).unwrap_or(0));
        bytes[..HEAD_BYTES].copy_from_slice(&record::head(Kind::Erased, length, stream));
        record::finish(bytes, salt);
        let Some(source) = self.core.source(erasing.slot) else {
            return;
        };
        let bytes = buffer.len();
        let work = Work::Write {
            file: source.file,
            offset: first_block(erasing.offset) as u64,
            buffer: Arc::new(buffer),
            bytes,
            sync: true,
        };
        debug_assert!(bytes >= padded(length));
        self.core.requests.submit(work, Purpose::Erase);
        erasing.stage = Stage::Writing;
        self.core.erasure.current = Some(erasing);
    }
}
