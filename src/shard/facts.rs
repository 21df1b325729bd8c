//! What a shard tells of itself when it is asked, and what it tells unasked: plain values that can
//! be sent to another thread. Who asks and what becomes of it is not known here.
//!
//! Times are those of the shard's clock; whoever gave it that clock knows what it means.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::auth::admission::{ClaimsFacts, TlsFacts};
use crate::auth::definition::ConnectionType;
use crate::auth::permissions::Permissions;
use crate::base::deadlines::Millis;
use crate::base::histogram::Histogram;
use crate::base::ids::ShardId;
pub use crate::jetstream::engine::{
    AccountUsage, Cursor, JetStreamFacts, Only, Problem, StreamFacts, StreamsPage, Survey, Tally,
    Unhealthy,
};
use crate::session::CloseReason;

/// Subscriptions told of a connection that has closed; the number is exact even where there were
/// more. What is kept of the past must be bounded.
pub const CLOSED_SUBSCRIPTIONS_MAX: usize = 128;
/// Their subjects, queue groups and ids together.
pub const CLOSED_SUBSCRIPTION_BYTES_MAX: usize = 4096;

/// What was measured lately is told of windows of so many milliseconds, the same for everybody who asks.
pub const WINDOW_MS: Millis = 10_000;

/// What is asked for, besides the counts that every answer has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Facts of each connection.
    pub connections: bool,
    /// Which subscriptions.
    pub subscriptions: WantedSubscriptions,
    /// Of a connection's subscriptions that are asked for, those with the first ids are enough, so many; all are counted.
    pub subscriptions_kept: Option<usize>,
    /// Connections and subscriptions of this account only.
    pub account: Option<Arc<str>>,
    /// What each account uses of JetStream.
    pub jetstream_accounts: bool,
    /// How the shard works.
    pub work: bool,
    /// Where lists of connections and subscriptions go on, by shard. Those that are not here have no more; if it is empty, all
    /// begin. Counts are told at the beginning only.
    pub from: Vec<(ShardId, ListPlace)>,
    /// A page of streams. Nothing is told of connections with it, so that many pages cost no more than streams do.
    pub streams: Option<Survey>,
}

/// Where a shard's lists of connections and subscriptions go on: so much is told at a time that no turn is long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPlace {
    /// Slot of the connection that comes next.
    pub slot: u32,
    /// Its number: another one may have come into the slot.
    pub client_id: u64,
    /// Its own id for the subscription that comes next; empty before all of it.
    pub sid: Box<str>,
}

/// Which subscriptions are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WantedSubscriptions {
    #[default]
    None,
    All,
    /// Those of connections with these numbers, sorted.
    Of(Arc<[u64]>),
    /// Those that a message on this subject would match.
    Matching(Arc<str>),
}

/// Messages and bytes, seen from the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Published by clients.
    pub in_messages: u64,
    pub in_bytes: u64,
    /// Delivered to clients.
    pub out_messages: u64,
    pub out_bytes: u64,
}

impl Traffic {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Traffic) {
        self.in_messages += other.in_messages;
        self.in_bytes += other.in_bytes;
        self.out_messages += other.out_messages;
        self.out_bytes += other.out_bytes;
    }
}

/// One connection.
#[derive(Clone, Debug)]
pub struct ConnFacts {
    /// Number in the server's life.
    pub client_id: u64,
    pub connection_type: ConnectionType,
    pub peer: SocketAddr,
    pub started_at: Millis,
    /// When it last sent or was sent something.
    pub active_at: Millis,
    /// Time from a PING to its PONG, once known.
    pub round_trip_ns: Option<u64>,
    /// Unsent.
    pub pending_bytes: usize,
    pub traffic: Traffic,
    /// Times that its publishes were held back.
    pub stalls: u64,
    pub subscriptions: u32,
    /// From its CONNECT.
    pub name: Option<Box<str>>,
    pub lang: Option<Box<str>>,
    pub version: Option<Box<str>>,
    pub tls: Option<Arc<TlsFacts>>,
    /// Whose subjects it speaks of.
    pub account: Arc<str>,
    /// What it calls itself, as monitoring shows it: never a secret.
    pub user: Option<Box<str>>,
    pub claims: Option<Arc<ClaimsFacts>>,
    /// What it may do; `None` for everything.
    pub permissions: Option<Arc<Permissions>>,
    pub expires_unix_s: Option<u64>,
    /// Public key of the trusted proxy that it came through.
    pub proxy: Option<Box<str>>,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubFacts {
    pub account: Arc<str>,
    pub client_id: u64,
    pub subject: Box<str>,
    /// Empty for none.
    pub queue: Box<str>,
    pub sid: Box<str>,
    pub delivered: u64,
    /// Messages after which it ends; 0 for never.
    pub max: u64,
}

/// Counts of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFacts {
    pub name: Arc<str>,
    pub connections: u64,
    pub subscriptions: u64,
    pub traffic: Traffic,
    pub slow_consumers: u64,
}

/// One shard at one moment.
#[derive(Clone, Debug, Default)]
pub struct ShardFacts {
    /// When, by the shard's clock.
    pub now: Millis,
    /// Connections open now, and since the start.
    pub connections: u64,
    pub total_connections: u64,
    pub subscriptions: u64,
    /// Subscriptions begun and ended since the start.
    pub inserts: u64,
    pub removes: u64,
    pub traffic: Traffic,
    pub slow_consumers: u64,
    pub stale_connections: u64,
    pub stalls: u64,
    /// Those with a connection now or in the past.
    pub accounts: Vec<AccountFacts>,
    /// If asked for.
    pub connections_list: Vec<ConnFacts>,
    /// If asked for.
    pub subscriptions_list: Vec<SubFacts>,
    /// Subscriptions that belong there, told or not.
    pub subscriptions_found: usize,
    /// Where these lists go on, if they do.
    pub next: Option<(ShardId, ListPlace)>,
    /// Nothing without JetStream.
    pub jetstream: Option<JetStreamFacts>,
    /// If asked for.
    pub streams: Option<StreamsPage>,
    /// If asked for.
    pub work: Option<Box<WorkFacts>>,
}

/// How long something took, in the last whole window of [`WINDOW_MS`] and since the start.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    pub last: Histogram,
    pub all: Histogram,
}

/// How a shard works, as the thread that runs it has measured.
#[derive(Clone, Debug, Default)]
pub struct WorkFacts {
    /// Its number.
    pub shard: u8,
    /// The CPU that it is pinned to.
    pub core: usize,
    /// User and system.
    pub cpu_ns: u64,
    /// Turns that had something to do, from their beginning to that of the next.
    pub turns: Spans,
    /// Batches of other shards that wait: now, and the most that one turn of the last whole window took.
    pub mesh_depth: u64,
    pub mesh_depth_max: u64,
    /// From the submission of what is to be durable to its completion.
    pub flushes: Spans,
    /// Accepted and not durable yet.
    pub backlog_bytes: u64,
}

/// What a shard tells unasked.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A connection was let in.
    Connected(Box<ConnFacts>),
    /// It was not.
    AuthenticationFailed(Box<ConnFacts>, CloseReason),
    /// A connection is closed; with what it was subscribed to, up to
    /// [`CLOSED_SUBSCRIPTIONS_MAX`].
    Disconnected(Box<Farewell>),
}

/// A connection that is closed.
#[derive(Clone, Debug)]
pub struct Farewell {
    pub facts: ConnFacts,
    pub reason: CloseReason,
    /// When.
    pub stopped_at: Millis,
    pub subscriptions: Vec<SubFacts>,
    /// It had been let in.
    pub admitted: bool,
}
