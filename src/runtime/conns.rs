//! What the runtime knows of each connection: its socket and the operations under way on it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::doorway::Pass;
use super::ring::GENERATION_MASK;
use super::tls::stream::Stream;
use crate::base::ids::ConnId;

/// The receive operation of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Receive {
    /// None is under way.
    #[default]
    Idle,
    /// One is.
    Armed,
    /// One is, and has been told to stop.
    Stopping,
}

/// How far the closing of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Closing {
    /// It is open.
    #[default]
    No,
    /// What is pending is being sent.
    Flushing,
    /// All is sent; the peer may read it, and what it still sends is dropped, until it closes too
    /// or its time is over. Closing at once would reset the connection, and the last words with it.
    Lingering,
    /// The socket is shut down; it is closed when no operation is under way.
    Shut,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Conn {
    /// `None` when the slot is free.
    pub socket: Option<OwnedFd>,
    /// Counts the uses of the slot.
    pub generation: u32,
    /// The receive operation.
    pub receive: Receive,
    /// Whether the shard wants its input.
    pub wanted: bool,
    /// It is not read from for a while, whether the shard wants its input or not.
    pub paused: bool,
    /// The turn in which it was last read from.
    pub read_in_turn: u32,
    /// The turn in which it was last sent to.
    pub sent_in_turn: u32,
    /// The peer sends nothing more; it may still read.
    pub ended: bool,
    /// A send is under way.
    pub sending: bool,
    /// A send has failed: the peer takes nothing more.
    pub is_broken: bool,
    /// How far closing has come.
    pub closing: Closing,
    /// Its place in the count of its address.
    pub pass: Option<Pass>,
    /// It is the server's own and counts nowhere.
    pub internal: bool,
    /// What is between the socket and the shard, if the client uses TLS or may still do so.
    pub tls: Option<Box<Stream>>,
}

impl Conn {
    /// The socket's number; only while there is one.
    pub fn fd(&self) -> RawFd {
        self.socket
            .as_ref()
            .map(AsRawFd::as_raw_fd)
            .expect("operations are started on open sockets only")
    }

    /// A send begins.
    pub fn begins_to_send(&mut self, turn: u32) {
        self.sending = true;
        self.sent_in_turn = turn;
    }

    /// Ends both directions, so that operations under way complete.
    pub fn shut(&mut self) {
        self.closing = Closing::Shut;
        // SAFETY: the descriptor is open; an error only says that the peer was faster.
        unsafe { libc::shutdown(self.fd(), libc::SHUT_RDWR) };
    }

    /// Tells the peer that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        self.closing = Closing::Lingering;
        // SAFETY: as above.
        unsafe { libc::shutdown(self.fd(), libc::SHUT_WR) };
    }
}

/// All connections of a shard.
#[derive(Debug, Default)]
pub struct Conns {
    slots: Vec<Conn>,
    free: Vec<u32>,
    /// Slots that are never given out.
    reserved: usize,
}

impl Conns {
    /// Has a slot never given to a socket: the shard uses it itself.
    pub fn reserve(&mut self) {
        self.slots.push(Conn::default());
        self.reserved += 1;
    }

    /// Gives a socket a slot.
    pub fn insert(&mut self, socket: OwnedFd, pass: Option<Pass>, internal: bool) -> ConnId {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Conn::default());
                (self.slots.len() - 1) as u32
            }
        };
        let conn = &mut self.slots[index as usize];
        let generation = conn.generation.wrapping_add(1) & GENERATION_MASK;
        *conn = Conn {
            socket: Some(socket),
            generation,
            wanted: true,
            pass,
            internal,
            ..Conn::default()
        };
        ConnId { index, generation }
    }

    /// The connection, if the slot is still its own.
    #[inline]
    pub fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slots
            .get_mut(id.index as usize)
            .filter(|conn| conn.generation == id.generation && conn.socket.is_some())
    }

    /// Whether the slot is still this connection's.
    pub fn has(&self, id: ConnId) -> bool {
        self.slots
            .get(id.index as usize)
            .is_some_and(|conn| conn.generation == id.generation && conn.socket.is_some())
    }

    /// Closes the socket and frees the slot.
    pub fn remove(&mut self, id: ConnId) {
        self.slots[id.index as usize].socket = None;
        self.slots[id.index as usize].pass = None;
        self.free.push(id.index);
    }

    /// Connections in use.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len() - self.reserved
    }

    /// A client's connection that is not being closed.
    pub fn any_open(&self) -> Option<ConnId> {
        let index = self.slots.iter().rposition(|conn| {
            conn.socket.is_some() && conn.closing == Closing::No && !conn.internal
        })?;
        let generation = self.slots[index].generation;
        let index = index as u32;
        Some(ConnId { index, generation })
    }

    /// Slots of all connections in use.
    pub fn ids(&self) -> Vec<ConnId> {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, conn)| conn.socket.is_some())
            .map(|(index, conn)| ConnId {
                index,
                generation: conn.generation,
            })
            .collect()
    }
}
