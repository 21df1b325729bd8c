//! Opening: which files hold which segments, and reading them back.
//!
//! First the head of each file is read. The newest segment's records say which others are alive; then
//! these are read in the order of their generations, two at a time. What cannot be read as one is
//! read in pieces, down to blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::erase::Logged;
use super::file_stream::FileStream;
use super::io::{AlignedBuffer, BLOCK_BYTES, Failure, Work};
use super::journal::StreamNumber;
use super::journal::files::FileNumber;
use super::journal::frame::FrameHead;
use super::journal::record::SegmentMark;
use super::journal::scan::Damage;
use super::location::Slot;
use super::requests::{Purpose, Requests};
use super::restore::Restore;

/// Files that are opened at once.
const OPENS_MAX: usize = 64;
/// Files that are read as a whole at once.
const WHOLES_MAX: usize = 2;

/// What was found out about a file by its first block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survey {
    pub file: FileNumber,
    pub bytes: u64,
    pub head: Option<FrameHead>,
    /// Nothing but zeroes: it was never written to, if nobody misses it.
    pub is_blank: bool,
    /// All of it was looked through for frames of a later generation.
    pub is_searched: bool,
}

/// A file that was read as a whole.
#[derive(Debug)]
pub(crate) struct Whole {
    pub file: FileNumber,
    pub buffer: AlignedBuffer,
    /// Bytes that could not be read.
    pub unreadable: usize,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Files are opened, and their heads read.
    Heads,
    /// Files without a head are read as a whole, to see whether there is one further on.
    Search,
    /// The newest segments are read for which others there are.
    Marks,
    /// What seems to be spare is read as a whole: a segment whose first frame was lost looks like one, blank or
    /// with what was in the file before.
    Spares,
    /// What is still to come of the checkpoint is awaited.
    Restore,
    /// Segments are read and replayed.
    Replay,
}

#[derive(Debug)]
struct Reading {
    buffer: AlignedBuffer,
    pieces: usize,
    unreadable: usize,
}

/// What a checkpoint says to be in segments that are gone by now. It was logged anew before they went; unless replay
/// meets that, it is lost, and the next checkpoint would be the only place where it stands.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    /// Names of streams, and what is to be known of them.
    pub names: BTreeSet<StreamNumber>,
    /// Facts of these numbers.
    pub notes: BTreeSet<(StreamNumber, u32)>,
}

impl Strays {
    /// Forgets places in such segments, and remembers for what.
    pub fn gather(&mut self, stream: &mut FileStream, is_gone: impl Fn(Slot) -> bool) {
        if stream.meta_at.is_none_or(|(slot, _)| is_gone(slot)) {
            stream.meta_at = None;
            self.names.insert(stream.number);
        }
        for (&note, kept) in &mut stream.notes {
            let spots = kept.spots.len();
            kept.spots.retain(|&(slot, _)| !is_gone(slot));
            if kept.spots.len() < spots {
                self.notes.insert((stream.number, note));
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub stage: Stage,
    to_open: VecDeque<(FileNumber, u64)>,
    opening: usize,
    pub surveys: Vec<Survey>,
    /// Files to be read as a whole, in order, and those that are being read.
    pub wanted: VecDeque<(FileNumber, u64)>,
    reading: BTreeMap<FileNumber, Reading>,
    order: VecDeque<FileNumber>,
    /// What the newest segments say of others, and what is said to be gone.
    pub marks: BTreeMap<u64, SegmentMark>,
    pub has_marks: bool,
    /// A segment was found that may know better which others there are.
    pub has_lost_head: bool,
    pub freed: BTreeSet<u64>,
    /// The highest generation of what was never a segment.
    pub highest: u64,
    /// Generations that were searched for those.
    pub searched: BTreeSet<u64>,
    /// The checkpoint, if there is one.
    pub restore: Option<Restore>,
    /// Segments to be replayed.
    pub replay: VecDeque<SegmentMark>,
    /// What only the checkpoint knows.
    pub strays: Strays,
    /// Streams that were deleted.
    pub deleted: BTreeSet<u32>,
    /// Where in the first of them.
    pub replay_from: (u64, usize),
    /// Messages that were to be erased: generation and offset.
    pub erased: BTreeMap<(u64, usize), Logged>,
    /// Damages to be reported: file, generation, where, and whether it could not be read.
    pub found: Vec<(FileNumber, u64, Damage, bool)>,
    /// Number of damages so far, and sequences that may be lost with them.
    pub damages: u64,
}

impl Recovery {
    pub fn new(files: Vec<(FileNumber, u64)>) -> Self {
        Self {
            stage: Stage::Heads,
            to_open: files.into(),
            opening: 0,
            surveys: Vec::new(),
            wanted: VecDeque::new(),
            reading: BTreeMap::new(),
            order: VecDeque::new(),
            marks: BTreeMap::new(),
            has_marks: false,
            has_lost_head: false,
            freed: BTreeSet::new(),
            highest: 0,
            searched: BTreeSet::new(),
            restore: None,
            replay: VecDeque::new(),
            strays: Strays::default(),
            deleted: BTreeSet::new(),
            replay_from: (0, 0),
            erased: BTreeMap::new(),
            found: Vec::new(),
            damages: 0,
        }
    }

    /// Goes on asking for what is wanted.
    pub fn ask(&mut self, requests: &mut Requests) {
        while self.opening < OPENS_MAX
            && let Some((file, bytes)) = self.to_open.pop_front()
        {
            self.opening += 1;
            self.surveys.push(Survey {
                file,
                bytes,
                head: None,
                is_blank: false,
                is_searched: false,
            });
            let work = Work::Open {
                file: file.id(),
                name: file.name(),
            };
            requests.submit(work, Purpose::OpenSegment(file));
        }
        while self.reading.len() < WHOLES_MAX
            && let Some((file, bytes)) = self.wanted.pop_front()
        {
            self.order.push_back(file);
            let reading = Reading {
                buffer: AlignedBuffer::default(),
                pieces: 1,
                unreadable: 0,
            };
            self.reading.insert(file, reading);
            read(file, 0, bytes as usize, requests);
        }
    }

    /// Whether all heads are known.
    pub fn heads_known(&self) -> bool {
        self.opening == 0 && self.to_open.is_empty()
    }

    /// A file was opened.
    pub fn opened(&mut self, file: FileNumber, requests: &mut Requests) {
        let bytes = self.surveys.iter().find(|survey| survey.file == file);
        if bytes.is_none_or(|survey| survey.bytes < BLOCK_BYTES as u64) {
            self.opening -= 1;
            return;
        }
        read(file, 0, BLOCK_BYTES, requests);
    }

    /// A file could not be opened: nothing is known of it.
    pub fn not_opened(&mut self, file: FileNumber) {
        self.opening -= 1;
        self.surveys.retain(|survey| survey.file != file);
    }

    /// Something that was asked for has come, or not.
    pub fn arrived(
        &mut self,
        (file, offset, bytes): (FileNumber, u32, u32),
        result: Result<usize, Failure>,
        buffer: AlignedBuffer,
        requests: &mut Requests,
    ) {
        if self.stage == Stage::Heads {
            self.opening -= 1;
            if let Some(survey) = self.surveys.iter_mut().find(|survey| survey.file == file)
                && result == Ok(BLOCK_BYTES)
            {
                survey.head = FrameHead::parse(&buffer);
                survey.is_blank = buffer.iter().all(|&byte| byte == 0);
            }
            return;
        }
        let Some(reading) = self.reading.get_mut(&file) else {
            return;
        };
        let (offset, bytes) = (offset as usize, bytes as usize);
        reading.pieces -= 1;
        let total = self.surveys.iter().find(|survey| survey.file == file);
        let total = total.map_or(0, |survey| survey.bytes as usize);
        match result {
            Ok(got) if bytes == total => {
                reading.unreadable = total - got.min(total);
                reading.buffer = buffer;
            }
            Ok(got) => {
                let got = got.min(bytes);
                if reading.buffer.len() >= offset + got {
                    reading.buffer[offset..offset + got].copy_from_slice(&buffer[..got]);
                }
                reading.unreadable += bytes - got;
            }
            Err(_) if bytes > BLOCK_BYTES => {
                drop(buffer);
                if reading.buffer.is_empty() {
                    reading.buffer = AlignedBuffer::new(total);
                }
                let step = (bytes / 16).next_multiple_of(BLOCK_BYTES);
                let mut at = offset;
                while at < offset + bytes {
                    let length = step.min(offset + bytes - at);
                    read(file, at, length, requests);
                    reading.pieces += 1;
                    at += length;
                }
            }
            Err(_) => reading.unreadable += bytes,
        }
    }

    /// The next file that was read as a whole, in the order in which they were wanted.
    pub fn next_whole(&mut self) -> Option<Whole> {
        let &file = self.order.front()?;
        if self.reading.get(&file)?.pieces > 0 {
            return None;
        }
        self.order.pop_front();
        let reading = self.reading.remove(&file)?;
        Some(Whole {
            file,
            buffer: reading.buffer,
            unreadable: reading.unreadable,
        })
    }

    /// Whether nothing that was wanted is still to come.
    pub fn is_satisfied(&self) -> bool {
        self.wanted.is_empty() && self.order.is_empty()
    }
}

fn read(file: FileNumber, offset: usize, bytes: usize, requests: &mut Requests) {
    let work = Work::Read {
        file: file.id(),
        offset: offset as u64,
        buffer: AlignedBuffer::new(bytes),
    };
    let purpose = Purpose::Recover {
        file,
        offset: offset as u32,
        bytes: bytes as u32,
    };
    requests.submit(work, purpose);
}
