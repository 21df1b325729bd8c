//! What was asked of the disk and is not done yet, and what for.

use std::collections::HashMap;

use super::io::{FileId, Submission, Ticket, Work};
use super::journal::files::FileNumber;
use super::location::Slot;

/// What a submission is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Flush,
    Sync,
    OpenSegment(FileNumber),
    CreateSegment(FileNumber),
    CloseSegment(FileNumber),
    RemoveSegment(FileNumber),
    /// A block for the cache.
    Block {
        slot: Slot,
        generation: u64,
        block: u32,
        /// Where in the block it begins.
        base: usize,
    },
    /// A piece of one that could not be read as one.
    Piece {
        slot: Slot,
        generation: u64,
        block: u32,
        piece: u32,
    },
    /// A window of the segment of that generation, to be compacted.
    Compact(u64),
    /// A step of erasing a message.
    Erase,
    /// A step of making a checkpoint.
    Checkpoint,
    /// The checkpoint is opened, and a piece of it from that offset is read.
    OpenCheckpoint,
    Restore(u64),
    /// One that was given up is closed.
    DiscardCheckpoint,
    /// Nobody waits for it.
    Forgotten,
    /// A piece of a file, when the store is opened.
    Recover {
        file: FileNumber,
        offset: u32,
        bytes: u32,
    },
}

/// Tickets, and the submissions to be handed out.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next: u64,
    under_way: HashMap<Ticket, (Purpose, Option<FileId>), foldhash::fast::RandomState>,
    /// Reads and writes of each file that are under way.
    busy: HashMap<FileId, u32, foldhash::fast::RandomState>,
    /// Files to be closed when nothing for them is under way.
    closing: Vec<(FileId, Purpose)>,
    out: Vec<Submission>,
}

impl Requests {
    pub fn submit(&mut self, work: Work, purpose: Purpose) {
        let file = match &work {
            Work::Write { file, .. } | Work::Read { file, .. } | Work::Sync { file } => Some(*file),
            Work::Close { file } if self.busy.contains_key(file) => {
                self.closing.push((*file, purpose));
                return;
            }
            _ => None,
        };
        if let Some(file) = file {
            *self.busy.entry(file).or_default() += 1;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.under_way.insert(ticket, (purpose, file));
        self.out.push(Submission { ticket, work });
    }

    /// What a completion is of; none if it was not asked for.
    pub fn complete(&mut self, ticket: Ticket) -> Option<Purpose> {
        let (purpose, file) = self.under_way.remove(&ticket)?;
        if let Some(file) = file
            && let Some(busy) = self.busy.get_mut(&file)
        {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&file);
                if let Some(at) = self
                    .closing
                    .iter()
                    .position(|(closing, _)| *closing == file)
                {
                    let (file, purpose) = self.closing.swap_remove(at);
                    self.submit(Work::Close { file }, purpose);
                }
            }
        }
        Some(purpose)
    }

    /// Whether something for that is under way.
    pub fn is_under_way(&self, purpose: Purpose) -> bool {
        let closing = self.closing.iter().map(|(_, purpose)| purpose);
        let mut all = self
            .under_way
            .values()
            .map(|(purpose, _)| purpose)
            .chain(closing);
        all.any(|other| *other == purpose)
    }

    pub fn drain(&mut self, out: &mut Vec<Submission>) {
        out.append(&mut self.out);
    }
}
