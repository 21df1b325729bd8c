//! One core: owns its connections' sessions and its replica of the interest, and turns events
//! into effects.
//!
//! [`Shard::handle`] is the whole interface: no clock, socket, thread or lock in here, and the
//! same events give the same effects. The runtime, and the simulator in its place, executes what
//! [`Effects`] says and fetches bytes with [`Shard::outbound`] and batches with
//! [`Shard::next_batch`].
//!
//! Per message from a connection to one on the same shard: the parse, a lookup (one comparison
//! when the subject is that of the publisher's last message), one copy. To another shard: a copy
//! into the batch of that shard and one out of it there.

mod admission;
mod compress;
mod event;
pub mod facts;
mod flow;
mod frame;
mod input;
mod latency;
mod lifecycle;
mod mesh;
mod permit;
mod publish;
mod reload;
mod service;
mod shown;
mod streams;
mod tell;
mod timers;
mod trace;

pub use admission::Policy;
pub use event::{Close, Effects, Event, Level, Opening, OpeningNews};
pub use mesh::Batch;
pub use reload::{Reloaded, StorageLimits};

use std::sync::Arc;

use crate::base::deadlines::{Deadlines, Millis};
use crate::base::ids::{ConnId, ShardId, ShardSet};
use crate::base::outbound::{ChunkPool, Head, Outbound};
use crate::base::prng::Prng;
use crate::config::Limits;
use crate::jetstream::engine::Engine;
use crate::proto::info::ServerIdentity;
use crate::router::{Router, SubId};
use crate::session::{CloseReason, Session};
use crate::subject::SubjectHash;
use lifecycle::Arrival;
use mesh::Mesh;
use service::Responses;
use streams::Streams;
use tell::Past;
use timers::Due;
use trace::{Traces, Tracing};

/// What a shard needs to know of the server; the same for all.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What an operator bounds.
    pub limits: Limits,
    /// Who may connect, and the accounts.
    pub policy: Policy,
    /// What INFO says.
    pub identity: ServerIdentity,
    /// Lines about the lives of connections are wanted.
    pub debug: bool,
    /// Lines about each operation are wanted.
    pub trace: bool,
    /// How many shards there are.
    pub shards: usize,
    /// Milliseconds from 1970 to the zero of the shard's clock.
    pub unix_at_zero_ms: Millis,
    /// A monotonic clock in nanoseconds, for round trips and latencies: read once for each, never
    /// to decide anything.
    pub fine_clock_ns: fn() -> u64,
    /// Seed of the subjects' hash, the same on all shards and unknown to peers.
    pub hash_seed: u64,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages published by connections of this shard.
    pub in_messages: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Messages delivered to connections of this shard.
    pub out_messages: u64,
    /// Connections cut off because they did not read.
    pub slow_consumers: u64,
    /// Times that a publisher was held back.
    pub stalls: u64,
    /// Queue messages sent on because the last member here had just left.
    pub replans: u64,
}

impl Counters {
    /// Adds what a session has counted.
    fn add(&mut self, session: &Session) {
        self.in_messages += session.in_messages;
        self.in_bytes += session.in_bytes;
        self.out_messages += session.out_messages;
    }
}

/// A core's part of the broker.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    settings: Settings,
    now: Millis,
    sessions: Vec<Session>,
    connections: usize,
    router: Router,
    mesh: Mesh,
    pool: ChunkPool,
    prng: Prng,
    deadlines: Deadlines<Due>,
    counters: Counters,
    past: Past,
    lame_duck: bool,
    /// Connections that have to present something and have not been let in.
    unauthenticated: usize,
    /// Connections whose PONG waits for other shards.
    awaiting: Vec<ConnId>,
    // Scratch, kept to not allocate per message.
    head: Head,
    rest: Vec<u8>,
    full: Vec<u32>,
    spent: Vec<SubId>,
    queue_names: Vec<u8>,
    imported_subject: Vec<u8>,
    /// Requests to other accounts' services whose responses are awaited here.
    responses: Responses,
    /// The message under way, if it is traced.
    tracing: Option<Box<Tracing>>,
    traces: Traces,
    streams: Streams,
}

impl Shard {
    /// A shard without connections. `seed` drives its choice of queue members.
    pub fn new(id: ShardId, settings: Settings, seed: u64) -> Self {
        let mut router = Router::new(SubjectHash::new(settings.hash_seed));
        router.set_directory(Arc::clone(&settings.policy.directory));
        Self {
            id,
            now: 1,
            sessions: Vec::new(),
            connections: 0,
            router,
            mesh: Mesh::new(id, settings.shards),
            pool: ChunkPool::default(),
            prng: Prng::new(seed),
            deadlines: Deadlines::default(),
            counters: Counters::default(),
            past: Past::default(),
            lame_duck: false,
            unauthenticated: 0,
            awaiting: Vec::new(),
            head: Head::default(),
            rest: Vec::new(),
            full: Vec::new(),
            spent: Vec::new(),
            queue_names: Vec::new(),
            imported_subject: Vec::new(),
            responses: Responses::default(),
            tracing: None,
            traces: Traces::default(),
            streams: Streams::default(),
            settings,
        }
    }

    /// Takes one event at time `now` and adds what is to be done to `fx`.
    #[inline]
    pub fn handle(&mut self, now: Millis, event: Event<'_>, fx: &mut Effects) {
        self.now = now.max(1);
        match event {
            Event::Received { conn, bytes } => self.received(conn, bytes, fx),
            Event::SendStarted { conn } => self.send_started(conn),
            Event::Sent { conn, bytes } => self.sent(conn, bytes, fx),
            Event::Batch { from, batch } => self.batch(from, batch, fx),
            Event::MeshDrained { peer } => self.mesh_drained(peer, fx),
            Event::Tick => {
                self.tick(fx);
                self.tick_streams(fx);
            }
            Event::Opened {
                conn,
                client_id,
                peer,
                refused,
                nonce,
                internal,
                opening,
            } => {
                let admitted = Arrival {
                    client_id,
                    peer,
                    refused,
                    nonce,
                    internal,
                    opening,
                };
                self.opened(conn, admitted, fx);
            }
            Event::Decided { conn, outcome } => self.decided(conn, outcome, fx),
            Event::Policy(policy) => self.set_policy(policy, fx),
            Event::AccountsSought => self.accounts_were_sought(fx),
            Event::Reloaded(reloaded) => self.reload(*reloaded, fx),
            Event::Opening { conn, news } => self.opening(conn, news, fx),
            Event::Secured { conn, facts } => self.secured(conn, facts, fx),
            Event::HungUp { conn, reason } | Event::CloseNow { conn, reason } => {
                if !self.is_open(conn) {
                    return;
                }
                let session = &mut self.sessions[conn.index as usize];
                if session.backlog.is_some() && reason == CloseReason::ClientClosed {
                    session.ends_after_backlog = true;
                } else {
                    self.close(conn, reason, None, fx);
                }
            }
            Event::Closed { conn } => self.closed(conn),
            Event::LameDuck => self.enter_lame_duck(fx),
            Event::TellLameDuck { conn } if self.understands_info(conn) => {
                self.tell_lame_duck(conn, fx);
            }
            Event::TellLameDuck { .. } => {}
            Event::Disk { store, completion } => self.disk_completed(store, completion, fx),
            Event::TurnEnds => self.flush_streams(fx),
        }
        if self.streams.has_arrivals() {
            self.run_engine(fx);
        }
    }

    /// The earliest time at which [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Millis> {
        [
            self.deadlines.next(),
            self.responses.next_deadline(),
            self.traces.next_deadline(),
            self.engine().and_then(Engine::next_deadline),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether clients are given something to sign.
    pub fn needs_nonce(&self) -> bool {
        self.settings.policy.gate.needs_nonce()
    }

    /// What is to be sent to a connection; `None` when its slot is free.
    #[inline]
    pub fn outbound(&mut self, conn: ConnId) -> Option<&mut Outbound> {
        let session = self.sessions.get_mut(conn.index as usize)?;
        if !session.live || session.id != conn {
            return None;
        }
        session.dirty = false;
        Some(&mut session.out)
    }

    /// The next batch for a peer.
    pub fn next_batch(&mut self, peer: ShardId) -> Option<Batch> {
        self.mesh.next_batch(peer)
    }

    /// Takes back a batch that there was no room for.
    pub fn put_back(&mut self, peer: ShardId, batch: Batch) {
        self.mesh.put_back(peer, batch);
    }

    /// The other shards.
    pub fn peers(&self) -> ShardSet {
        self.mesh.peers()
    }

    /// Connections, closing ones among them.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Subscriptions of its connections.
    pub fn subscriptions(&self) -> usize {
        self.router.subs.len()
    }

    /// Patterns known here, of all shards.
    pub fn patterns(&self) -> usize {
        self.router.patterns()
    }

    /// Counts since the start: of the connections that are gone, and of those that are here.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        for session in self.sessions.iter().filter(|s| s.live) {
            counters.add(session);
        }
        counters
    }

    /// Unsent bytes of all connections and for all peers.
    pub fn bytes_held(&self) -> usize {
        let sessions: usize = self
            .sessions
            .iter()
            .filter(|s| s.live)
            .map(|s| {
                let backlog = s.backlog.as_ref().map_or(0, Vec::len);
                s.out.pending_bytes() + s.carry.bytes().len() + backlog
            })
            .sum();
        let mesh: usize = self
            .mesh
            .peers()
            .map(|peer| self.mesh.waiting_bytes(peer))
            .sum();
        sessions + mesh
    }

    /// Whether the slot is this connection's and it is not being closed.
    #[inline]
    fn is_open(&self, conn: ConnId) -> bool {
        self.sessions
            .get(conn.index as usize)
            .is_some_and(|s| s.live && s.id == conn && !s.closing)
    }

    /// Tells the runtime that a session has bytes to send.
    #[inline]
    fn mark_dirty(session: &mut Session, fx: &mut Effects) {
        if !session.dirty {
            session.dirty = true;
            fx.dirty.push(session.id);
        }
    }

    /// Sends a protocol line to a connection.
    fn reply(&mut self, index: u32, line: &[u8], fx: &mut Effects) {
        let session = &mut self.sessions[index as usize];
        session.out.append(&mut self.pool, line);
        Self::mark_dirty(session, fx);
        self.check_replies(index, fx);
        if self.settings.trace {
            let text = line.strip_suffix(b"\r\n").unwrap_or(line);
            let text = text.strip_prefix(b"+").unwrap_or(text);
            let label = self.sessions[index as usize].label();
            let text = String::from_utf8_lossy(text);
            fx.log
                .push((Level::Trace, format!("{label} - ->> [{text}]")));
        }
    }

    /// Sends `-ERR 'text'`.
    fn reply_error(&mut self, index: u32, text: &str, fx: &mut Effects) {
        self.reply(index, format!("-ERR '{text}'\r\n").as_bytes(), fx);
    }

    /// Writes a line about a connection.
    fn log(&self, index: u32, level: Level, text: &str, fx: &mut Effects) {
        let wanted = match level {
            Level::Error | Level::Info => true,
            Level::Debug => self.settings.debug,
            Level::Trace => self.settings.trace,
        };
        if wanted {
            let label = self.sessions[index as usize].label();
            fx.log.push((level, format!("{label} - {text}")));
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod account_tests;
#[cfg(test)]
mod admission_tests;
#[cfg(test)]
mod house;
#[cfg(test)]
mod latency_tests;
#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod trace_tests;
