//! What a shard is told and what it wants done: the whole interface between broker and world.

use std::net::SocketAddr;
use std::sync::Arc;

use super::admission::Policy;
use super::facts::Notice;
use super::mesh::Batch;
use super::reload::Reloaded;
use crate::auth::admission::{Outcome, Presented, TlsFacts};
use crate::base::ids::{AccountId, ConnId, ShardId, ShardSet};
use crate::session::CloseReason;
use crate::store::io::{Completion, Submission};

/// Something has happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection was accepted. The slot must be free.
    Opened {
        /// Where it will live.
        conn: ConnId,
        /// Its number in the server's life.
        client_id: u64,
        /// Where it comes from.
        peer: SocketAddr,
        /// The server has too many: it is told so and closed.
        refused: bool,
        /// What it is given to sign; empty where nobody signs.
        nonce: Box<str>,
        /// It is the server's own and belongs to this account.
        internal: Option<AccountId>,
        /// What comes before the conversation.
        opening: Opening,
    },
    /// The runtime gets on with what comes before the conversation.
    Opening {
        /// Where.
        conn: ConnId,
        /// How.
        news: OpeningNews,
    },
    /// A TLS handshake is done: the conversation begins.
    Secured {
        /// Where.
        conn: ConnId,
        /// What is known of it.
        facts: Arc<TlsFacts>,
    },
    /// Whether to let a connection in, as [`Effects::questions`] asked.
    Decided {
        /// Which.
        conn: ConnId,
        /// What was decided.
        outcome: Outcome,
    },
    /// Who may connect, and the accounts, have changed.
    Policy(Policy),
    /// The accounts that [`Effects::accounts`] named have been looked for. Those that there are have
    /// come before this, with [`Event::Policy`].
    AccountsSought,
    /// The configuration was read again.
    Reloaded(Box<Reloaded>),
    /// Bytes were received.
    Received {
        /// From whom.
        conn: ConnId,
        /// What.
        bytes: &'a [u8],
    },
    /// A send has started; it borrows what [`super::Shard::outbound`] gave.
    SendStarted {
        /// To whom.
        conn: ConnId,
    },
    /// Part or all of that send is done.
    Sent {
        /// To whom.
        conn: ConnId,
        /// How much.
        bytes: usize,
    },
    /// The peer is gone, or cannot be reached.
    HungUp {
        /// Which.
        conn: ConnId,
        /// How that showed.
        reason: CloseReason,
    },
    /// The socket of a connection that was closing is closed: the slot is free.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Frames from another shard.
    Batch {
        /// Whose.
        from: ShardId,
        /// What.
        batch: Batch,
    },
    /// Batches for this peer have left; there is room for more.
    MeshDrained {
        /// Which.
        peer: ShardId,
    },
    /// Time has passed.
    Tick,
    /// The server is in lame duck mode: clients are told.
    LameDuck,
    /// Tell one client that the server is in lame duck mode.
    TellLameDuck {
        /// Which.
        conn: ConnId,
    },
    /// The disk has done something.
    Disk {
        /// Of which of the shard's stores.
        store: usize,
        /// What.
        completion: Completion,
    },
    /// All that has come this turn was handled: what is to be durable is on its way to the disk.
    TurnEnds,
    /// Close this connection now.
    CloseNow {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
}

/// What comes before the conversation with a client. Nothing is received meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Only INFO.
    Plain,
    /// INFO, then a TLS handshake, or nothing if the client may choose and chooses so.
    InfoFirst,
    /// A TLS handshake, then INFO.
    TlsFirst,
}

/// News of a connection whose [`Opening`] is not plain.
#[derive(Debug, PartialEq, Eq)]
pub enum OpeningNews {
    /// It was [`Opening::TlsFirst`] and the client waits for INFO: it gets it now.
    Info,
    /// The handshake has begun.
    Handshake,
    /// The client does without TLS: the conversation begins.
    Plain,
    /// There will be no conversation.
    Failed {
        /// What monitoring shows.
        reason: CloseReason,
        /// A line for the log, and its weight.
        log: (Level, String),
        /// What the client is told.
        last_word: Option<&'static str>,
    },
}

/// How to close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Which.
    pub conn: ConnId,
    /// Send what is pending first.
    pub flush: bool,
}

/// Weight of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something went wrong for one client.
    Error,
    /// Something an operator wants to know.
    Info,
    /// Lives of connections.
    Debug,
    /// Each operation.
    Trace,
}

/// What is to be done after a turn. Kept and cleared, not made anew.
#[derive(Debug, Default)]
pub struct Effects {
    /// Connections with bytes to send, each once.
    pub dirty: Vec<ConnId>,
    /// Connections to close.
    pub closes: Vec<Close>,
    /// Connections to stop (`false`) or resume (`true`) reading from, in order.
    pub reads: Vec<(ConnId, bool)>,
    /// Peer shards with batches waiting.
    pub mesh: ShardSet,
    /// Connections that somebody else must decide on, with what they present.
    pub questions: Vec<(ConnId, Box<Presented>)>,
    /// Names of accounts that have streams and are not known: they are to be looked for.
    pub accounts: Vec<String>,
    /// What has happened to connections.
    pub notices: Vec<Notice>,
    /// What the disk is to do.
    pub disk: Vec<(usize, Submission)>,
    /// Lines for the log.
    pub log: Vec<(Level, String)>,
}
