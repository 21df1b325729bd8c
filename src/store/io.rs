//! What the store asks of the disk, and what comes back.
//!
//! The store emits [`Submission`]s and is handed one [`Completion`] for each, with its ticket, at
//! any time later and in any order: it waits itself where order matters. So it uses a file only
//! when its opening has completed, and closes it when nothing for it is under way. All files lie in
//! one directory that belongs to the store alone. Offsets and lengths of reads and writes are
//! multiples of [`BLOCK_BYTES`], so that they may be direct.

use std::sync::Arc;

pub use crate::base::aligned::{AlignedBuffer, BLOCK_BYTES};

/// Which submission a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// An open file. The store chooses the number, uses it from the submission that opens the file to
/// that which closes it, and keeps numbers small (they may index a table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A file there is in the directory, before the store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name, without the directory. Files of other names than the store gives are left alone.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Something to be done.
#[derive(Debug)]
pub struct Submission {
    /// Comes back with the completion.
    pub ticket: Ticket,
    /// What.
    pub work: Work,
}

/// What is to be done.
#[derive(Debug)]
pub enum Work {
    /// Open a file that exists, for reading and writing.
    Open {
        /// Its number from now on.
        file: FileId,
        /// Its name.
        name: String,
    },
    /// Make a file, in place of any of that name, with so many bytes of space that is really
    /// allocated, and open it. It and its name are on stable storage when this completes. When
    /// there is no space ([`Failure::Full`]), the file does not exist, nor does `file`.
    Create {
        /// Its number from now on.
        file: FileId,
        /// Its name.
        name: String,
        /// Its length. The bytes are zero.
        bytes: u64,
    },
    /// Write. Short writes are the executor's to go on with. Segments are written where they have space
    /// already; a checkpoint is written at its end and becomes longer.
    Write {
        /// Where to.
        file: FileId,
        /// Offset in the file.
        offset: u64,
        /// What. The executor only reads it, and lets go of it before it completes.
        buffer: Arc<AlignedBuffer>,
        /// How much of its beginning.
        bytes: usize,
        /// Whether it, and all that was written to the file and completed before, must be on stable
        /// storage when this completes.
        sync: bool,
    },
    /// Read as much as the buffer is long. The completion gives it back, also after a failure.
    Read {
        /// Where from.
        file: FileId,
        /// Offset in the file.
        offset: u64,
        /// Where to.
        buffer: AlignedBuffer,
    },
    /// Have all that was written to the file and completed before on stable storage.
    Sync {
        /// Which.
        file: FileId,
    },
    /// Close a file. `file` may be used again when this has completed.
    Close {
        /// Which.
        file: FileId,
    },
    /// Delete a file that is not open; its absence is on stable storage when this completes. There
    /// being none is no failure.
    Remove {
        /// Its name.
        name: String,
    },
    /// Give a file that is not open another name, in place of any of that name, atomically; on
    /// stable storage when this completes.
    Rename {
        /// From.
        from: String,
        /// To.
        to: String,
    },
}

/// Something was done, or not.
#[derive(Debug)]
pub struct Completion {
    /// Which submission's.
    pub ticket: Ticket,
    /// How many bytes were read: fewer than were asked for at the end of a file. When a file was made,
    /// how many the disk has left, but at least one; or 0 when that is not known. 0 for all else.
    pub result: Result<usize, Failure>,
    /// The buffer of a read.
    pub buffer: Option<AlignedBuffer>,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No space: `ENOSPC`, `EDQUOT`, `EFBIG`.
    Full,
    /// No such file, or it was never opened.
    NotFound,
    /// Anything else, as the operating system numbers it.
    Io(i32),
}
