//! Overwriting messages that are to leave nothing behind.
//!
//! That a record is to be erased is logged before its place is touched, in two frames: so its own frame
//! is not the last one when it is written to, where a write that was not finished would be taken for the
//! end of the log. Between the two the record is read: a length is believed only where its checksum is right, because
//! what is overwritten too much are others' messages, and the second says it. After a crash it is done again, from what
//! was logged. What is in its place then says how long it was, so that replay finds its way. Copies that compaction has
//! left behind in files that wait to be used again are not looked for: they are overwritten when they are.

use std::sync::Arc;

use super::Refused;
use super::facade::Store;
use super::io::{AlignedBuffer, BLOCK_BYTES, Failure, Work};
use super::journal::StreamNumber;
use super::journal::log::Need;
use super::journal::record::{self, HEAD_BYTES, Kind};
use super::location::{Location, Slot};
use super::requests::Purpose;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be logged for the first time.
    New,
    /// Logged in that frame; when that is durable, it is read.
    Logged(u64),
    /// The head of the record is being read.
    Measuring,
    /// All of the record is being read, to see whether it is what was written.
    Verifying,
    /// Its length is known: to be logged again.
    Measured,
    LoggedAgain(u64),
    /// Its blocks are being read.
    Reading,
    Writing,
}

/// A message that is being erased.
#[derive(Debug)]
pub(crate) struct Erasing {
    slot: Slot,
    generation: u64,
    offset: usize,
    /// Of the record, when it was found to be right.
    length: Option<usize>,
    /// Generation of the segment in which that was logged last.
    logged_in: u64,
    stage: Stage,
}

/// What the log says of a message that is to be erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logged {
    /// Of the record, if it was found to be right.
    pub length: Option<usize>,
    /// Of the segment that says it.
    pub generation: u64,
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

    /// Whether a segment is about to be written to, or what it says is needed until that is done.
    pub fn wants(&self, slot: Slot, generation: u64) -> bool {
        let mut all = self.waiting.iter().chain(&self.current);
        all.any(|erasing| erasing.slot == slot || erasing.logged_in == generation)
    }

    pub fn add(&mut self, location: Location, generation: u64) {
        self.waiting.push(Erasing {
            slot: location.slot(),
            generation,
            offset: location.offset(),
            length: None,
            logged_in: 0,
            stage: Stage::New,
        });
    }

    /// One that was logged before a restart.
    pub fn add_again(&mut self, slot: Slot, (generation, offset): (u64, usize), logged: Logged) {
        self.waiting.push(Erasing {
            slot,
            generation,
            offset,
            length: logged.length,
            logged_in: logged.generation,
            stage: Stage::Logged(0),
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
        let mut waiting = std::mem::take(&mut self.core.erasure.waiting);
        for erasing in &mut waiting {
            if self.log_erasing(erasing).is_err() {
                break;
            }
        }
        let durable = self.core.log.durable();
        let is_ready = |erasing: &Erasing| {
            let is_logged = match erasing.stage {
                Stage::Logged(frame) | Stage::LoggedAgain(frame) => frame <= durable,
                _ => false,
            };
            is_logged && !self.compaction.is_of(erasing.slot)
        };
        if self.core.erasure.current.is_none()
            && let Some(ready) = waiting.iter().position(is_ready)
        {
            let mut erasing = waiting.swap_remove(ready);
            let bytes = match (erasing.stage, erasing.length) {
                (Stage::LoggedAgain(_), Some(length)) => {
                    erasing.stage = Stage::Reading;
                    length
                }
                _ => {
                    // Its length may lie in the next block.
                    erasing.stage = Stage::Measuring;
                    HEAD_BYTES
                }
            };
            self.read_for_erasing(erasing, bytes);
        }
        self.core.erasure.waiting.append(&mut waiting);
    }

    /// Logs that something is to be erased, if that is what comes next.
    fn log_erasing(&mut self, erasing: &mut Erasing) -> Result<(), Refused> {
        if !matches!(erasing.stage, Stage::New | Stage::Measured) {
            return Ok(());
        }
        let offset = (erasing.offset as u32).to_le_bytes();
        let length = erasing.length.map(|length| (length as u32).to_le_bytes());
        let length = length.as_ref().map_or(&[][..], |length| &length[..]);
        let parts: [&[u8]; 3] = [&erasing.generation.to_le_bytes(), &offset, length];
        let log = &mut self.core.log;
        log.put(
            Kind::Erase,
            StreamNumber::default(),
            &parts,
            Need::Housekeeping,
        )?;
        erasing.logged_in = log.head_generation();
        erasing.stage = match erasing.stage {
            Stage::New => Stage::Logged(log.position()),
            _ => Stage::LoggedAgain(log.position()),
        };
        Ok(())
    }

    /// Reads the blocks of so many bytes of the record.
    fn read_for_erasing(&mut self, erasing: Erasing, bytes: usize) {
        let source = self.core.source(erasing.slot);
        let Some(source) = source.filter(|source| source.generation == erasing.generation) else {
            // Its segment is gone.
            return;
        };
        let start = first_block(erasing.offset);
        let end = (erasing.offset + bytes).next_multiple_of(BLOCK_BYTES);
        if end > source.bytes {
            self.not_erased();
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

    fn not_erased(&mut self) {
        let text = "store: a message that is to be erased cannot be read: its bytes may survive"
            .to_owned();
        self.core.say(super::Severity::Error, text);
    }

    pub(super) fn erase_step(&mut self, result: Result<usize, Failure>, buffer: AlignedBuffer) {
        let Some(erasing) = self.core.erasure.current.take() else {
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
        if result != Ok(buffer.len()) {
            self.not_erased();
            return;
        }
        match erasing.stage {
            Stage::Measuring => {
                let at = erasing.offset - first_block(erasing.offset);
                // What was logged is right; what is there may be half of what was written over it.
                let length = erasing.length.or_else(|| record::length(&buffer[at..]));
                let Some(length) = length else {
                    self.not_erased();
                    return;
                };
                let stage = Stage::Verifying;
                self.read_for_erasing(Erasing { stage, ..erasing }, length);
            }
            Stage::Verifying => self.verify_erasing(erasing, &buffer),
            _ => self.overwrite(erasing, buffer),
        }
    }

    /// Finds out how long the record is.
    fn verify_erasing(&mut self, mut erasing: Erasing, buffer: &AlignedBuffer) {
        let at = erasing.offset - first_block(erasing.offset);
        let salt = record::salt(erasing.generation, erasing.offset);
        let there = record::parse(&buffer[at..], salt);
        match there.map(|raw| (raw.kind, raw.bytes.len())) {
            Some((Kind::Erased, _)) => return,
            Some((Kind::Message, length)) => erasing.length = Some(length),
            _ if erasing.length.is_none() => {
                self.not_erased();
                return;
            }
            _ => {}
        }
        erasing.stage = Stage::Measured;
        self.core.erasure.waiting.push(erasing);
    }

    /// Writes its place anew.
    fn overwrite(&mut self, mut erasing: Erasing, mut buffer: AlignedBuffer) {
        let source = self.core.source(erasing.slot);
        let at = erasing.offset - first_block(erasing.offset);
        let place = erasing
            .length
            .and_then(|length| buffer.get_mut(at..at + length));
        let (Some(source), Some(record)) = (source, place) else {
            return;
        };
        record[HEAD_BYTES..].fill(0);
        let stream = StreamNumber(record::u32_at(record, 8).unwrap_or(0));
        let head = record::head(Kind::Erased, record.len(), stream);
        record[..HEAD_BYTES].copy_from_slice(&head);
        let salt = record::salt(erasing.generation, erasing.offset);
        record::finish(record, salt);
        let bytes = buffer.len();
        let work = Work::Write {
            file: source.file,
            offset: first_block(erasing.offset) as u64,
            buffer: Arc::new(buffer),
            bytes,
            sync: true,
        };
        self.core.requests.submit(work, Purpose::Erase);
        erasing.stage = Stage::Writing;
        self.core.erasure.current = Some(erasing);
    }
}
