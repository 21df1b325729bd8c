//! What was asked of the disk and is not done yet, and what for.

use std::collections::HashMap;

use super::io::{Submission, Ticket, Work};
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
    under_way: HashMap<Ticket, Purpose, foldhash::fast::RandomState>,
    out: Vec<Submission>,
}

impl Requests {
    pub fn submit(&mut self, work: Work, purpose: Purpose) {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.under_way.insert(ticket, purpose);
        self.out.push(Submission { ticket, work });
    }

    /// What a completion is of; none if it was not asked for.
    pub fn complete(&mut self, ticket: Ticket) -> Option<Purpose> {
        self.under_way.remove(&ticket)
    }

    pub fn drain(&mut self, out: &mut Vec<Submission>) {
        out.append(&mut self.out);
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }
}
