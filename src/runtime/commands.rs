//! Words between threads that are not messages: new connections, and what signals ask for.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::disk::News;
use super::doorway::Pass;
use super::tls::Tls;
use super::tls::handshake::Step;
use crate::auth::admission::Outcome;
use crate::base::ids::{AccountId, ConnId, ShardId};
use crate::control::view::Told;
use crate::shard::facts::{ShardFacts, Wanted};
use crate::shard::{Policy, Reloaded};

/// A connection that was accepted.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket.
    pub socket: OwnedFd,
    /// Its number in the server's life.
    pub client_id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// There are too many: it is told so and closed.
    pub refused: bool,
    /// Its place in the count of its address.
    pub pass: Option<Pass>,
    /// It is the server's own, counts nowhere, and belongs to this account.
    pub internal: Option<AccountId>,
}

/// A new configuration, for one shard: all of it at once, so that nothing is seen of it before the rest.
#[derive(Clone, Debug)]
pub struct Reload {
    /// For the shard.
    pub reloaded: Reloaded,
    /// For its new connections; `None` when that has not changed, and `Some(None)` for no TLS.
    pub tls: Option<Option<Arc<Tls>>>,
    /// Told when it is in force there.
    pub done: Sender<()>,
}

/// To a shard.
#[derive(Debug)]
pub enum Command {
    /// Take over a connection.
    Adopt(Arrival),
    /// A helper is done with a handshake.
    Handshake(ConnId, Box<Step>),
    /// New connections use TLS by these options.
    Tls(Option<Arc<Tls>>),
    /// Let a connection in, or not: its shard has asked.
    Decided(ConnId, Outcome),
    /// Who may connect, and the accounts, have changed.
    Policy(Policy),
    /// The accounts that the shard wanted have been looked for.
    AccountsSought,
    /// Say when all shards know of the shard's streams.
    AwaitStreams(Sender<()>),
    /// The configuration was read again.
    Reloaded(Box<Reload>),
    /// Accept connections: all shards are ready for them.
    Accept,
    /// Close the listening socket.
    StopAccepting,
    /// Tell clients that the server is in lame duck mode.
    LameDuck,
    /// Close one connection.
    CloseOne,
    /// Tell what is wanted.
    Facts(Arc<Wanted>, Sender<ShardFacts>),
    /// Close a client's connection, and say whether there was one.
    Kick(u64, Sender<bool>),
    /// Tell a client that the server is in lame duck mode.
    TellLameDuck(u64, Sender<Told>),
    /// The disk thread has done something.
    Disk(usize, News),
    /// Close all connections and end.
    Stop,
}

/// From a shard.
#[derive(Debug)]
pub enum Report {
    /// It runs.
    Ready,
    /// It could not start.
    Failed(String),
    /// It has ended.
    Stopped,
    /// A signal has come; not from a shard but on the same way.
    Signal(i32),
    /// The configuration is to be read again; why it was not goes back.
    Reload(u64),
    /// The server's own certificate is no longer good and it is not to run without: the log knows.
    Revoked,
}

/// Where commands for one shard go.
#[derive(Clone)]
pub struct Address {
    commands: Sender<Command>,
    event: Arc<File>,
}

impl Address {
    /// Sends a command and wakes the shard.
    pub fn send(&self, command: Command) {
        // A shard that has ended takes no commands, and needs none.
        if self.commands.send(command).is_ok() {
            let one = 1u64.to_ne_bytes();
            // An event counter can only be full of wakes that are not yet taken.
            let _ = (&*self.event).write(&one);
        }
    }
}

/// A shard's end.
pub struct Mailbox {
    commands: Receiver<Command>,
    event: Arc<File>,
    peers: Vec<Address>,
    reports: Sender<Report>,
}

impl Mailbox {
    /// The descriptor that can be read when commands have come.
    pub fn event_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// The next command.
    pub fn next(&self) -> Option<Command> {
        self.commands.try_recv().ok()
    }

    /// Where commands for a shard go.
    pub fn address(&self, shard: ShardId) -> Address {
        self.peers[shard.index()].clone()
    }

    /// Sends a command to another shard.
    pub fn send(&self, shard: ShardId, command: Command) {
        self.peers[shard.index()].send(command);
    }

    /// Tells the main thread.
    pub fn report(&self, report: Report) {
        // The main thread waits for all shards to end.
        let _ = self.reports.send(report);
    }
}

/// Addresses and ends for `count` shards.
pub fn mailboxes(
    count: usize,
    reports: &Sender<Report>,
) -> io::Result<(Vec<Address>, Vec<Mailbox>)> {
    let mut addresses = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..count {
        // Bounded by the backlog of a listening socket many times over; an acceptor that is ahead
        // of a shard by this much waits for it.
        let (commands, receiver) = crossbeam_channel::bounded(64 * 1024);
        let event = Arc::new(event_fd()?);
        addresses.push(Address {
            commands,
            event: Arc::clone(&event),
        });
        ends.push((receiver, event));
    }
    let mailboxes = ends
        .into_iter()
        .map(|(commands, event)| Mailbox {
            commands,
            event,
            peers: addresses.clone(),
            reports: reports.clone(),
        })
        .collect();
    Ok((addresses, mailboxes))
}

/// A counter that can be waited for.
pub fn event_fd() -> io::Result<File> {
    // SAFETY: takes two numbers and returns a descriptor or -1.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { File::from_raw_fd(fd) })
}
