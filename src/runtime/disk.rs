//! Files of one shard's store: what it submits, carried out on the net ring and on a thread.
//!
//! Reads, writes and flushes go through the shard's ring, so that one system call hands over a turn's
//! sends and its flush, and one sleep waits for both. Opening, making, naming and deleting files are a
//! thread's work, because the kernel may take its time for them. Files are opened for direct I/O where
//! the file system can; where it cannot, the same writes go through the page cache. Reads go through
//! the page cache in any case: what readers behind the head want may well be in memory that nobody else
//! needs, and the kernel knows how much of that there is. It drops the pages of what is written beside
//! it.
//!
//! A write that must be durable carries that demand itself (RWF_DSYNC): on a file whose blocks are all
//! written before, the drive gets one command for both. Only where other writes of the same file
//! have not been flushed, a flush follows. Must not know what is in the files.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::commands::{Address, Command};
use super::host;
use super::ring::NetRing;
use crate::base::histogram::Windowed;
use crate::store::io::{
    AlignedBuffer, Completion, Failure, FileId, Listed, Submission, Ticket, Work,
};

/// Bytes of zeros written at once into a new file.
const ZEROS_BYTES: usize = 1024 * 1024;

/// A file that was opened twice.
#[derive(Debug)]
pub struct Opened {
    /// For direct I/O.
    file: OwnedFd,
    /// For reading through the page cache.
    reader: OwnedFd,
}

/// What the thread has done.
#[derive(Debug)]
pub enum News {
    /// A file is open, or could not be opened; what the completion says, if it is.
    Opened(FileId, Ticket, Result<Opened, Failure>, usize),
    /// Something else is done.
    Done(Completion),
}

/// A job for the thread.
enum Job {
    Open(FileId, Ticket, PathBuf),
    Create(FileId, Ticket, PathBuf, u64),
    Remove(Ticket, PathBuf),
    Rename(Ticket, PathBuf, PathBuf),
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Free,
    /// Being opened; what waits for that.
    Opening(VecDeque<Submission>),
    Open {
        opened: Opened,
        /// Writes that no flush has followed.
        unsynced: bool,
        under_way: u32,
        /// What waits until nothing is under way.
        close: Option<Ticket>,
    },
    Failed(Failure),
}

/// An operation in the ring.
#[derive(Debug)]
enum Operation {
    Write {
        ticket: Ticket,
        file: FileId,
        offset: u64,
        buffer: Arc<AlignedBuffer>,
        done: usize,
        bytes: usize,
        sync: bool,
    },
    Read {
        ticket: Ticket,
        file: FileId,
        offset: u64,
        buffer: AlignedBuffer,
        done: usize,
    },
    Sync {
        ticket: Ticket,
        file: FileId,
    },
}

/// One store's directory.
pub struct Disk {
    /// Which of its shard's.
    number: u32,
    directory: PathBuf,
    files: Vec<Slot>,
    operations: Vec<Option<Operation>>,
    free: Vec<u32>,
    jobs: Sender<Job>,
    under_way: usize,
    completed: VecDeque<Completion>,
    /// When operations that are to be durable were begun, by place.
    begun: Vec<Option<Instant>>,
    flushes: Windowed,
}

impl Disk {
    /// Opens a directory, and says what is in it. News come to `here`.
    ///
    /// # Errors
    /// When it cannot be made or read, or the thread cannot be started.
    pub fn open(number: u32, directory: &Path, here: Address) -> io::Result<(Self, Vec<Listed>)> {
        let listed = list(directory)?;
        let (jobs, queue) = crossbeam_channel::unbounded();
        let place = directory.to_path_buf();
        std::thread::Builder::new()
            .name("disk".into())
            .spawn(move || work(number as usize, &place, &queue, &here))?;
        let disk = Self {
            number,
            directory: directory.to_path_buf(),
            files: Vec::new(),
            operations: Vec::new(),
            free: Vec::new(),
            jobs,
            under_way: 0,
            completed: VecDeque::new(),
            begun: Vec::new(),
            flushes: Windowed::default(),
        };
        Ok((disk, listed))
    }

    /// How long what is to be durable took.
    pub fn flushes(&mut self) -> &mut Windowed {
        &mut self.flushes
    }

    /// Whether something is under way.
    pub fn is_busy(&self) -> bool {
        self.under_way > 0 || !self.completed.is_empty()
    }

    /// Whether something is done that was not asked for yet.
    pub fn has_completions(&self) -> bool {
        !self.completed.is_empty()
    }

    /// What is done.
    pub fn next_completion(&mut self) -> Option<Completion> {
        self.completed.pop_front()
    }

    /// Begins something.
    pub fn submit(&mut self, submission: Submission, ring: &mut NetRing) {
        let Submission { ticket, work } = submission;
        match work {
            Work::Open { file, name } => {
                self.open_slot(file);
                self.job(Job::Open(file, ticket, self.directory.join(name)));
            }
            Work::Create { file, name, bytes } => {
                self.open_slot(file);
                let path = self.directory.join(name);
                self.job(Job::Create(file, ticket, path, bytes));
            }
            Work::Remove { name } => {
                self.job(Job::Remove(ticket, self.directory.join(name)));
            }
            Work::Rename { from, to } => {
                let (from, to) = (self.directory.join(from), self.directory.join(to));
                self.job(Job::Rename(ticket, from, to));
            }
            Work::Write { file, .. }
            | Work::Read { file, .. }
            | Work::Sync { file }
            | Work::Close { file } => {
                let submission = Submission { ticket, work };
                self.with_file(file, submission, ring);
            }
        }
    }

    fn job(&mut self, job: Job) {
        self.under_way += 1;
        // The thread lives as long as there is somebody to send to it.
        let _ = self.jobs.send(job);
    }

    fn open_slot(&mut self, file: FileId) {
        let place = file.0 as usize;
        if place >= self.files.len() {
            self.files.resize_with(place + 1, Slot::default);
        }
        self.files[place] = Slot::Opening(VecDeque::new());
    }

    fn with_file(&mut self, file: FileId, submission: Submission, ring: &mut NetRing) {
        let slot = self.files.get_mut(file.0 as usize);
        let failure = match slot {
            Some(Slot::Opening(waiting)) => {
                waiting.push_back(submission);
                return;
            }
            Some(Slot::Open { .. }) => None,
            Some(Slot::Failed(failure)) => Some(*failure),
            Some(Slot::Free) | None => Some(Failure::NotFound),
        };
        let Submission { ticket, work } = submission;
        match (work, failure) {
            (Work::Close { .. }, _) => self.close(file, ticket),
            (Work::Read { buffer, .. }, Some(failure)) => {
                self.done(ticket, Err(failure), Some(buffer));
            }
            (_, Some(failure)) => self.done(ticket, Err(failure), None),
            (
                Work::Write {
                    offset,
                    buffer,
                    bytes,
                    sync,
                    ..
                },
                None,
            ) => self.begin(
                Operation::Write {
                    ticket,
                    file,
                    offset,
                    buffer,
                    done: 0,
                    bytes,
                    sync,
                },
                ring,
            ),
            (Work::Read { offset, buffer, .. }, None) => self.begin(
                Operation::Read {
                    ticket,
                    file,
                    offset,
                    buffer,
                    done: 0,
                },
                ring,
            ),
            (Work::Sync { .. }, None) => self.begin(Operation::Sync { ticket, file }, ring),
            (
                Work::Open { .. } | Work::Create { .. } | Work::Remove { .. } | Work::Rename { .. },
                None,
            ) => unreachable!("these are the thread's"),
        }
    }

    fn close(&mut self, file: FileId, ticket: Ticket) {
        let place = file.0 as usize;
        match self.files.get_mut(place) {
            Some(Slot::Open {
                under_way, close, ..
            }) if *under_way > 0 => {
                *close = Some(ticket);
                return;
            }
            Some(slot) => *slot = Slot::Free,
            None => {}
        }
        self.done(ticket, Ok(0), None);
    }

    fn done(
        &mut self,
        ticket: Ticket,
        result: Result<usize, Failure>,
        buffer: Option<AlignedBuffer>,
    ) {
        self.completed.push_back(Completion {
            ticket,
            result,
            buffer,
        });
    }

    fn begin(&mut self, operation: Operation, ring: &mut NetRing) {
        let (Operation::Write { file, .. }
        | Operation::Read { file, .. }
        | Operation::Sync { file, .. }) = operation;
        if let Some(Slot::Open {
            under_way,
            unsynced,
            ..
        }) = self.files.get_mut(file.0 as usize)
        {
            *under_way += 1;
            if let Operation::Write { sync: false, .. } = operation {
                *unsynced = true;
            }
        }
        self.under_way += 1;
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.operations.push(None);
                self.begun.push(None);
                (self.operations.len() - 1) as u32
            }
        };
        let is_durable = matches!(
            operation,
            Operation::Write { sync: true, .. } | Operation::Sync { .. }
        );
        self.begun[place as usize] = is_durable.then(Instant::now);
        self.operations[place as usize] = Some(operation);
        self.hand_over(place, ring);
    }

    fn opened(&self, file: FileId) -> &Opened {
        match &self.files[file.0 as usize] {
            Slot::Open { opened, .. } => opened,
            Slot::Free | Slot::Opening(_) | Slot::Failed(_) => {
                unreachable!("a file stays open while something is under way on it")
            }
        }
    }

    /// Gives the ring what is left of an operation.
    fn hand_over(&mut self, place: u32, ring: &mut NetRing) {
        match self.operations[place as usize].as_mut() {
            Some(Operation::Write {
                file,
                offset,
                buffer,
                done,
                bytes,
                sync,
                ..
            }) => {
                let (file, sync) = (*file, *sync);
                let (start, end, at) = (*done, *bytes, *offset + *done as u64);
                let rest: *const [u8] = &raw const buffer[start..end];
                let fd = self.opened(file).file.as_raw_fd();
                ring.write_file((self.number, place), fd, rest, at, sync);
            }
            Some(Operation::Read {
                file,
                offset,
                buffer,
                done,
                ..
            }) => {
                let (file, at) = (*file, *offset + *done as u64);
                let rest: *mut [u8] = &raw mut buffer[*done..];
                let fd = self.opened(file).reader.as_raw_fd();
                ring.read_file((self.number, place), fd, rest, at);
            }
            Some(Operation::Sync { file, .. }) => {
                let file = *file;
                let fd = self.opened(file).file.as_raw_fd();
                ring.sync_file((self.number, place), fd);
            }
            None => {}
        }
    }

    /// An operation of the ring has completed.
    pub fn completed(&mut self, place: u32, result: i32, ring: &mut NetRing) {
        let Some(mut operation) = self.operations[place as usize].take() else {
            debug_assert!(false, "an operation completes once");
            return;
        };
        if matches!(-result, libc::EINTR | libc::EAGAIN) {
            self.operations[place as usize] = Some(operation);
            self.hand_over(place, ring);
            return;
        }
        let moved = result.max(0) as usize;
        let again = match &mut operation {
            Operation::Write {
                ticket,
                file,
                done,
                bytes,
                sync,
                ..
            } => {
                *done += moved;
                let (ticket, file) = (*ticket, *file);
                let is_written = *done == *bytes;
                let needs_flush = is_written && *sync && self.is_unsynced(file);
                if needs_flush {
                    operation = Operation::Sync { ticket, file };
                }
                needs_flush || (result > 0 && !is_written)
            }
            Operation::Read { done, buffer, .. } => {
                *done += moved;
                result > 0 && *done < buffer.len()
            }
            Operation::Sync { .. } => false,
        };
        if again {
            self.operations[place as usize] = Some(operation);
            self.hand_over(place, ring);
            return;
        }
        if let Some(begun) = self.begun[place as usize].take() {
            let ns = begun.elapsed().as_nanos();
            self.flushes.record(u64::try_from(ns).unwrap_or(u64::MAX));
        }
        self.free.push(place);
        self.under_way -= 1;
        let (ticket, file, result, buffer) = match operation {
            Operation::Write {
                ticket,
                file,
                done,
                bytes,
                ..
            } => {
                let outcome = match result {
                    // The kernel has taken nothing and says no reason: there is no room.
                    0.. if done < bytes => Err(Failure::Full),
                    0.. => Ok(0),
                    error => Err(failure(-error)),
                };
                (ticket, file, outcome, None)
            }
            Operation::Read {
                ticket,
                file,
                done,
                buffer,
                ..
            } => {
                let outcome = match result {
                    0.. => Ok(done),
                    error => Err(failure(-error)),
                };
                (ticket, file, outcome, Some(buffer))
            }
            Operation::Sync { ticket, file } => {
                let outcome = match result {
                    0.. => Ok(0),
                    error => Err(failure(-error)),
                };
                if outcome.is_ok()
                    && let Some(Slot::Open { unsynced, .. }) = self.files.get_mut(file.0 as usize)
                {
                    *unsynced = false;
                }
                (ticket, file, outcome, None)
            }
        };
        self.done(ticket, result, buffer);
        let mut closed = None;
        if let Some(Slot::Open {
            under_way, close, ..
        }) = self.files.get_mut(file.0 as usize)
        {
            *under_way -= 1;
            if *under_way == 0 {
                closed = close.take();
            }
        }
        if let Some(ticket) = closed {
            self.close(file, ticket);
        }
    }

    fn is_unsynced(&self, file: FileId) -> bool {
        matches!(
            self.files.get(file.0 as usize),
            Some(Slot::Open { unsynced: true, .. })
        )
    }

    /// The thread has done something.
    pub fn news(&mut self, news: News, ring: &mut NetRing) {
        self.under_way -= 1;
        match news {
            News::Done(completion) => self.completed.push_back(completion),
            News::Opened(file, ticket, result, said) => {
                let (slot, outcome) = match result {
                    Ok(opened) => (
                        Slot::Open {
                            opened,
                            unsynced: false,
                            under_way: 0,
                            close: None,
                        },
                        Ok(said),
                    ),
                    Err(failure) => (Slot::Failed(failure), Err(failure)),
                };
                let place = file.0 as usize;
                let before = std::mem::replace(&mut self.files[place], slot);
                self.done(ticket, outcome, None);
                if let Slot::Opening(waiting) = before {
                    for submission in waiting {
                        self.with_file(file, submission, ring);
                    }
                }
            }
        }
    }
}

fn failure(error: i32) -> Failure {
    match error {
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Failure::Full,
        libc::ENOENT => Failure::NotFound,
        error => Failure::Io(error),
    }
}

pub fn failure_of(error: &io::Error) -> Failure {
    failure(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The files of a directory, which is made if there is none.
///
/// # Errors
/// When it cannot be made or read.
pub fn list(directory: &Path) -> io::Result<Vec<Listed>> {
    std::fs::create_dir_all(directory)?;
    let mut listed = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if let (true, Ok(name)) = (found.is_file(), entry.file_name().into_string()) {
            listed.push(Listed {
                name,
                bytes: found.len(),
            });
        }
    }
    Ok(listed)
}

/// The thread.
fn work(number: usize, directory: &Path, queue: &Receiver<Job>, here: &Address) {
    while let Ok(job) = queue.recv() {
        let news = match job {
            Job::Open(file, ticket, path) => {
                let opened = open(&path, 0).and_then(|file| with_reader(file, &path));
                News::Opened(file, ticket, opened.map_err(|e| failure_of(&e)), 0)
            }
            Job::Create(file, ticket, path, bytes) => {
                let made = create(directory, &path, bytes);
                let made = made.and_then(|file| with_reader(file, &path));
                let left = host::disk_space(directory).map_or(0, |space| space.free_bytes.max(1));
                let made = made.map_err(|e| failure_of(&e));
                News::Opened(file, ticket, made, left as usize)
            }
            Job::Remove(ticket, path) => {
                let removed = match std::fs::remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    result => result,
                };
                done(ticket, removed.and_then(|()| sync_directory(directory)))
            }
            Job::Rename(ticket, from, to) => {
                let renamed = std::fs::rename(from, to);
                done(ticket, renamed.and_then(|()| sync_directory(directory)))
            }
        };
        here.send(Command::Disk(number, news));
    }
}

fn done(ticket: Ticket, result: io::Result<()>) -> News {
    News::Done(Completion {
        ticket,
        result: result.map(|()| 0).map_err(|e| failure_of(&e)),
        buffer: None,
    })
}

pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn with_reader(file: OwnedFd, path: &Path) -> io::Result<Opened> {
    let reader = File::open(path)?.into();
    Ok(Opened { file, reader })
}

/// Opens for direct I/O, or without where the file system cannot.
pub fn open(path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::O_RDWR | libc::O_CLOEXEC | flags;
    let mut fd = -1;
    for direct in [libc::O_DIRECT, 0] {
        // SAFETY: the path is a string that ends with a zero byte.
        fd = unsafe { libc::open(text.as_ptr(), flags | direct, 0o600) };
        if fd >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a file whose blocks are all there and written, so that writing to them later changes
/// nothing of the file system's own, which would cost a second flush.
pub fn create(directory: &Path, path: &Path, bytes: u64) -> io::Result<OwnedFd> {
    let made = fill(path, bytes).and_then(|file| {
        sync_directory(directory)?;
        Ok(file)
    });
    if made.is_err() {
        // There may be a part of it, which would hold space that there is none of.
        let _ = std::fs::remove_file(path);
    }
    made
}

fn fill(path: &Path, bytes: u64) -> io::Result<OwnedFd> {
    let fd = open(path, libc::O_CREAT | libc::O_TRUNC)?;
    if bytes > 0 {
        // SAFETY: the descriptor is open. Where the file system cannot, writing does it alone.
        let result = unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, bytes as libc::off_t) };
        if result != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EOPNOTSUPP) {
                return Err(error);
            }
        }
    }
    let file = File::from(fd);
    let zeros = AlignedBuffer::new(ZEROS_BYTES);
    let mut at = 0;
    while at < bytes {
        let now = (bytes - at).min(ZEROS_BYTES as u64) as usize;
        std::os::unix::fs::FileExt::write_all_at(&file, &zeros[..now], at)?;
        at += now as u64;
    }
    file.sync_all()?;
    Ok(file.into())
}
