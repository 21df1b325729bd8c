//! The net ring: sockets of one shard on an io_uring of their own.
//!
//! Set up for a single submitter that runs the kernel's deferred work when it asks for
//! completions (SINGLE_ISSUER, DEFER_TASKRUN), which glommio's own rings are not. Receives are
//! multishot and take buffers from the shard's pool; there is one send in flight for each
//! connection. A turn makes one system call for everything it wants done.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::buffers::{GROUP, ReadBuffers};
use crate::base::ids::ConnId;
use crate::base::limits::SEGMENTS_PER_SEND_MAX;

const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 8192;
/// Vectored sends that can be prepared between two submissions.
const VECTORED_SENDS: usize = 64;

/// What a completion is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes, or the end, of a connection.
    Receive = 1,
    /// A send.
    Send = 2,
    /// A new connection.
    Accept = 3,
    /// Another thread wants attention.
    Wake = 4,
    /// Nothing that matters.
    Ignore = 5,
    /// A file; instead of a connection's slot it has the operation's.
    Disk = 6,
}

/// A completion, decoded.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// What it is about.
    pub kind: Kind,
    /// Of which connection.
    pub conn: ConnId,
    /// Bytes, a file descriptor, or a negative error number.
    pub result: i32,
    /// The read buffer that was filled.
    pub buffer: Option<u16>,
    /// More completions of the same operation will follow.
    pub more: bool,
    /// The kernel goes on filling the same read buffer.
    pub buffer_more: bool,
}

/// Bits of a generation that fit beside kind and index.
pub const GENERATION_MASK: u32 = (1 << 24) - 1;

fn user_data(kind: Kind, conn: ConnId) -> u64 {
    (kind as u64) << 56 | u64::from(conn.generation & GENERATION_MASK) << 32 | u64::from(conn.index)
}

/// A file operation's place and its store, where others have a connection.
fn operation((store, place): (u32, u32)) -> ConnId {
    ConnId {
        index: place,
        generation: store,
    }
}

const NOBODY: ConnId = ConnId {
    index: 0,
    generation: 0,
};

struct VectoredSend {
    header: libc::msghdr,
    pieces: [libc::iovec; SEGMENTS_PER_SEND_MAX],
}

/// The ring and what it lends to the kernel.
pub struct NetRing {
    ring: IoUring,
    /// Dropped after the ring.
    pub buffers: ReadBuffers,
    /// Headers of vectored sends; the kernel copies them when they are submitted.
    vectored: Box<[VectoredSend]>,
    vectored_used: usize,
    wake_value: Box<u64>,
}

impl NetRing {
    /// A ring of the calling thread.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        // Saves the kernel a look-up of the descriptor at each call; not all kernels can.
        let _ = ring.submitter().register_ring_fd();
        let buffers = ReadBuffers::register(&ring)?;
        let vectored = (0..VECTORED_SENDS)
            .map(|_| VectoredSend {
                // SAFETY: a msghdr of zeros and null pointers is valid and empty.
                header: unsafe { std::mem::zeroed() },
                pieces: [libc::iovec {
                    iov_base: std::ptr::null_mut(),
                    iov_len: 0,
                }; SEGMENTS_PER_SEND_MAX],
            })
            .collect();
        Ok(Self {
            ring,
            buffers,
            vectored,
            vectored_used: 0,
            wake_value: Box::new(0),
        })
    }

    /// The ring's file descriptor, to which peers post wakes.
    pub fn fd(&self) -> RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.ring)
    }

    /// Takes one completion.
    #[inline]
    pub fn next(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        let data = entry.user_data();
        let kind = match data >> 56 {
            1 => Kind::Receive,
            2 => Kind::Send,
            3 => Kind::Accept,
            4 => Kind::Wake,
            6 => Kind::Disk,
            _ => Kind::Ignore,
        };
        Some(Completion {
            kind,
            conn: ConnId {
                index: data as u32,
                generation: (data >> 32) as u32 & GENERATION_MASK,
            },
            result: entry.result(),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
            buffer_more: cqueue::buffer_more(entry.flags()),
        })
    }

    /// Receives from a connection until cancelled, out of buffers, or at the end.
    pub fn receive(&mut self, conn: ConnId, fd: RawFd) {
        let entry = opcode::RecvMulti::new(Fd(fd), GROUP).build();
        self.push(&entry.user_data(user_data(Kind::Receive, conn)));
    }

    /// Stops receiving from a connection.
    pub fn cancel_receive(&mut self, conn: ConnId) {
        let entry = opcode::AsyncCancel::new(user_data(Kind::Receive, conn)).build();
        self.push(&entry.user_data(user_data(Kind::Ignore, NOBODY)));
    }

    /// Sends the pieces to a connection. They must stay where they are until it completes.
    pub fn send<'a>(
        &mut self,
        conn: ConnId,
        fd: RawFd,
        mut pieces: impl Iterator<Item = &'a [u8]>,
    ) {
        let Some(first) = pieces.next() else {
            return;
        };
        let Some(second) = pieces.next() else {
            let entry = opcode::Send::new(Fd(fd), first.as_ptr(), first.len() as u32)
                .flags(libc::MSG_NOSIGNAL)
                .build();
            self.push(&entry.user_data(user_data(Kind::Send, conn)));
            return;
        };
        if self.vectored_used == self.vectored.len() {
            self.submit_now();
        }
        let slot = &mut self.vectored[self.vectored_used];
        self.vectored_used += 1;
        let mut count = 0;
        for piece in [first, second].into_iter().chain(pieces) {
            slot.pieces[count] = libc::iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: piece.len(),
            };
            count += 1;
        }
        slot.header.msg_iov = slot.pieces.as_mut_ptr();
        slot.header.msg_iovlen = count;
        let entry = opcode::SendMsg::new(Fd(fd), &raw const slot.header)
            .flags(libc::MSG_NOSIGNAL as u32)
            .build();
        self.push(&entry.user_data(user_data(Kind::Send, conn)));
    }

    /// Writes to a file, and has it on stable storage before it completes, if `sync`. The bytes must
    /// stay where they are until then.
    pub fn write_file(
        &mut self,
        place: (u32, u32),
        fd: RawFd,
        bytes: *const [u8],
        at: u64,
        sync: bool,
    ) {
        let flags = if sync { libc::RWF_DSYNC } else { 0 };
        let entry = opcode::Write::new(Fd(fd), bytes.cast(), bytes.len() as u32)
            .offset(at)
            .rw_flags(flags)
            .build();
        self.push(&entry.user_data(user_data(Kind::Disk, operation(place))));
    }

    /// Reads from a file. The bytes must stay where they are, untouched, until it completes.
    pub fn read_file(&mut self, place: (u32, u32), fd: RawFd, bytes: *mut [u8], at: u64) {
        let entry = opcode::Read::new(Fd(fd), bytes.cast(), bytes.len() as u32)
            .offset(at)
            .build();
        self.push(&entry.user_data(user_data(Kind::Disk, operation(place))));
    }

    /// Has what was written to a file on stable storage before it completes.
    pub fn sync_file(&mut self, place: (u32, u32), fd: RawFd) {
        let entry = opcode::Fsync::new(Fd(fd))
            .flags(io_uring::types::FsyncFlags::DATASYNC)
            .build();
        self.push(&entry.user_data(user_data(Kind::Disk, operation(place))));
    }

    /// Accepts connections until the listening socket is closed.
    pub fn accept(&mut self, fd: RawFd) {
        let entry = opcode::AcceptMulti::new(Fd(fd))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.push(&entry.user_data(user_data(Kind::Accept, NOBODY)));
    }

    /// Stops accepting.
    pub fn cancel_accept(&mut self) {
        let entry = opcode::AsyncCancel::new(user_data(Kind::Accept, NOBODY)).build();
        self.push(&entry.user_data(user_data(Kind::Ignore, NOBODY)));
    }

    /// Completes as [`Kind::Wake`] when the event descriptor is written to.
    pub fn watch(&mut self, event_fd: RawFd) {
        let value: *mut u64 = &raw mut *self.wake_value;
        let entry = opcode::Read::new(Fd(event_fd), value.cast(), 8).build();
        self.push(&entry.user_data(user_data(Kind::Wake, NOBODY)));
    }

    /// Posts a completion to the ring of another shard, which wakes it.
    pub fn wake_peer(&mut self, ring_fd: RawFd) {
        let wake = user_data(Kind::Ignore, NOBODY);
        let entry = opcode::MsgRingData::new(Fd(ring_fd), 0, wake, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(&entry.user_data(user_data(Kind::Ignore, NOBODY)));
    }

    /// Whether nothing was prepared since the last submission.
    pub fn is_submitted(&mut self) -> bool {
        self.ring.submission().is_empty()
    }

    /// Whether there are completions, or the kernel has work for this thread that will make some.
    /// Looks into memory shared with the kernel; no system call.
    pub fn has_work(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Hands over what was prepared and collects completions, without waiting.
    pub fn turn(&mut self) {
        self.buffers.publish();
        self.vectored_used = 0;
        const GETEVENTS: u32 = 1;
        let prepared = self.ring.submission().len() as u32;
        // SAFETY: no argument is passed; all that entries refer to lives until they complete (the
        // callers' promise) or, for headers of vectored sends, until this call returns.
        let result = unsafe {
            self.ring
                .submitter()
                .enter::<libc::sigset_t>(prepared, 0, GETEVENTS, None)
        };
        Self::check(result);
    }

    /// Hands over what was prepared and sleeps until a completion, at the latest for `at_most`.
    pub fn sleep(&mut self, at_most: Option<Duration>) {
        self.buffers.publish();
        self.vectored_used = 0;
        let submitter = self.ring.submitter();
        let result = match at_most {
            None => submitter.submit_and_wait(1),
            Some(time) => {
                let timespec = Timespec::from(time);
                let args = SubmitArgs::new().timespec(&timespec);
                submitter.submit_with_args(1, &args)
            }
        };
        Self::check(result);
    }

    fn check(result: io::Result<usize>) {
        let Err(error) = result else {
            return;
        };
        match error.raw_os_error() {
            // Out of time, a signal, or completions to be taken first.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
            _ => panic!("the net ring cannot be entered: {error}"),
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what the entry refers to outlives its completion: sockets are closed after their
        // operations have ended, pieces belong to the session's outbound until `Sent`.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit_now();
        }
    }

    fn submit_now(&mut self) {
        Self::check(self.ring.submit());
        self.vectored_used = 0;
    }
}
