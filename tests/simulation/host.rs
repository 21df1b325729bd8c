//! One shard and the runtime around it, as `src/runtime/turn.rs` drives it, with a simulated
//! kernel below.
//!
//! The order within a turn, and what is done for which completion, is copied from there.

use std::collections::VecDeque;

use skein::base::ids::{ConnId, ShardId, ShardSet};
use skein::session::CloseReason;
use skein::shard::{Effects, Event, Level, Opening, Shard};

use super::client::Mark;
use super::disk::Disk;
use super::trace::shown;
use super::world::World;

const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;
const BATCHES_PER_TURN: usize = 16;
const LINGER_MS: u64 = 1000;
/// The longest hold while no shard stands still: several stalls, one after the other.
const HOLD_MS_MAX: u64 = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    Idle,
    Armed,
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    Flushing,
    Lingering,
    Shut,
}

#[derive(Debug)]
struct Conn {
    client: usize,
    generation: u32,
    live: bool,
    receive: Receive,
    wanted: bool,
    /// Since when it is not.
    held_since: u64,
    /// The client sends nothing more.
    ended: bool,
    /// The bytes of the send under way.
    sending: Option<Vec<u8>>,
    closing: Closing,
    /// A send has failed.
    broken: bool,
}

/// One shard with its connections.
pub struct Host {
    pub shard: Shard,
    id: ShardId,
    fx: Effects,
    conns: Vec<Conn>,
    free: Vec<u32>,
    rearm: Vec<ConnId>,
    lingering: VecDeque<(u64, ConnId)>,
    blocked: ShardSet,
    pub arrivals: Vec<usize>,
    /// Steps for which it gets no turn.
    pub frozen: u32,
    /// Where its streams are, if it has JetStream.
    pub disk: Option<Disk>,
}

enum Completion {
    Receive(usize),
    Send(usize),
}

impl Host {
    pub fn new(shard: Shard, id: ShardId) -> Self {
        Self {
            shard,
            id,
            fx: Effects::default(),
            conns: Vec::new(),
            free: Vec::new(),
            rearm: Vec::new(),
            lingering: VecDeque::new(),
            blocked: ShardSet::default(),
            arrivals: Vec::new(),
            frozen: 0,
            disk: None,
        }
    }

    /// One with streams; its shard keeps the first slot for itself.
    pub fn with_disk(shard: Shard, id: ShardId, disk: Disk) -> Self {
        let house = Conn {
            client: usize::MAX,
            generation: 0,
            live: false,
            receive: Receive::Idle,
            wanted: false,
            held_since: 0,
            ended: false,
            sending: None,
            closing: Closing::No,
            broken: false,
        };
        Self {
            conns: vec![house],
            disk: Some(disk),
            ..Self::new(shard, id)
        }
    }

    /// Connections whose sockets are not closed.
    pub fn connections(&self) -> usize {
        self.conns.len() - self.free.len() - usize::from(self.disk.is_some())
    }

    /// Has the streams brought back; they are there when the shard says so.
    pub fn begin_streams(&mut self, now: u64) {
        self.shard.begin_streams(now, &mut self.fx);
    }

    /// Stops the streams as the server's end does; false when nothing more is to be done.
    pub fn stop_streams(&mut self, world: &mut World) -> bool {
        self.shard.stop_streams(world.now, &mut self.fx);
        self.use_disk(world);
        !self.shard.streams_are_stored() || self.disk.as_ref().is_some_and(|d| d.under_way() > 0)
    }

    /// The next time at which the runtime would wake up by itself.
    pub fn next_deadline(&self) -> Option<u64> {
        let lingering = self.lingering.front().map(|&(at, _)| at);
        [self.shard.next_deadline(), lingering]
            .into_iter()
            .flatten()
            .min()
    }

    /// What keeps it from being at rest; `None` when it is.
    pub fn unrest(&mut self, world: &World) -> Option<String> {
        if !self.arrivals.is_empty() {
            return Some("arrivals".into());
        }
        if self.blocked.0 != 0 {
            return Some(format!("blocked on {:?}", self.blocked));
        }
        if self.disk.as_ref().is_some_and(|disk| disk.under_way() > 0) {
            return Some(format!("the disk of {:?} is at work", self.id));
        }
        if let Some(what) = self.shard.streams_unrest() {
            return Some(format!("{:?}: {what}", self.id));
        }
        for slot in self.conns.iter().filter(|slot| slot.live) {
            let client = &world.clients[slot.client];
            let what = if slot.closing != Closing::No {
                "it is being closed"
            } else if client.closed && client.to_server.is_empty() {
                "its end is to be read"
            } else if !client.to_server.is_empty() {
                "it has unread input"
            } else if !slot.wanted {
                "it is held back"
            } else if client.reader == super::client::Reader::Never {
                continue;
            } else if slot.sending.is_some() {
                "a send is under way"
            } else {
                continue;
            };
            return Some(format!(
                "{:?} client {}: {what}: {slot:?}",
                self.id, slot.client
            ));
        }
        None
    }

    /// Nobody may be held back for long by shards and links that do their work.
    pub fn check_holds(&self, now: u64, since: u64) {
        let held = |slot: &&Conn| slot.live && !slot.wanted && slot.closing == Closing::No;
        for slot in self.conns.iter().filter(held) {
            let held_ms = now - slot.held_since.max(since);
            assert!(
                held_ms < HOLD_MS_MAX,
                "liveness: client {} has been held back for {held_ms} ms",
                slot.client
            );
        }
    }

    /// Bytes that wait for peers; takes them to look at them and puts them back.
    pub fn has_batches(&mut self) -> bool {
        for peer in self.shard.peers() {
            if let Some(batch) = self.shard.next_batch(peer) {
                self.shard.put_back(peer, batch);
                return true;
            }
        }
        false
    }

    /// Unsent bytes of a connection with a send under way, for which looking changes nothing.
    pub fn check_pending(&mut self, world: &mut World) {
        for index in 0..self.conns.len() {
            let slot = &self.conns[index];
            if slot.live && slot.sending.is_some() && slot.closing == Closing::No {
                let id = self.conn_id(index);
                let pending = self.shard.outbound(id).map_or(0, |out| out.pending_bytes());
                self.note_pending(pending, world);
            }
        }
    }

    fn note_pending(&self, pending: usize, world: &mut World) {
        world.seen.pending_bytes_max = world.seen.pending_bytes_max.max(pending);
        assert!(
            pending <= world.pending_max,
            "I5: {pending} unsent bytes of one connection, above {}",
            world.pending_max
        );
    }

    fn conn_id(&self, index: usize) -> ConnId {
        ConnId {
            index: index as u32,
            generation: self.conns[index].generation,
        }
    }

    fn find(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns
            .get_mut(id.index as usize)
            .filter(|conn| conn.live && conn.generation == id.generation)
    }

    fn handle(&mut self, world: &mut World, event: Event<'_>) {
        let own = u64::from(self.id.0);
        let now = world.now;
        let mut ack_only = false;
        let mut kind = 0;
        match &event {
            Event::Received { conn, bytes } => {
                world
                    .trace
                    .hash(&[own, now, 1, u64::from(conn.index)], bytes);
                world
                    .trace
                    .line(|| format!("{now:5} s{own} received {conn}: {}", shown(bytes)));
            }
            Event::Batch { from, batch } => {
                world
                    .trace
                    .hash(&[own, now, 2, u64::from(from.0)], &batch.bytes);
                for shared in &batch.shared {
                    world.trace.hash(&[], shared);
                }
                ack_only = batch.bytes.len() == 9 && batch.bytes[0] == 3;
                world.seen.batches += 1;
                world.seen.shared_payload_batches += u64::from(!batch.shared.is_empty());
                world.trace.line(|| {
                    format!(
                        "{now:5} s{own} batch from s{}: {}",
                        from.0,
                        shown(&batch.bytes)
                    )
                });
            }
            Event::MeshDrained { .. } => kind = 1,
            Event::Tick => kind = 2,
            Event::Disk { completion, .. } => {
                let length = completion.buffer.as_ref().map_or(0, |buffer| buffer.len());
                world.seen.disk_completions += 1;
                world.trace.hash(&[own, now, 7, length as u64], b"");
                let result = &completion.result;
                world
                    .trace
                    .line(|| format!("{now:5} s{own} disk: {result:?}"));
            }
            Event::TurnEnds => {}
            event => world.trace.line(|| format!("{now:5} s{own} {event:?}")),
        }
        let (dirty, reads) = (self.fx.dirty.len(), self.fx.reads.len());
        self.shard.handle(now, event, &mut self.fx);
        let resumed = self.fx.reads[reads..].iter().filter(|read| read.1).count() as u64;
        match kind {
            1 => world.seen.mesh_stalls_ended += resumed,
            2 => world.seen.stalls_timed_out += resumed,
            _ => {}
        }
        if ack_only && self.fx.dirty.len() > dirty {
            world.seen.deferred_pongs += 1;
        }
        self.read_log(world);
    }

    /// Whoever is closed must have given reason to.
    fn read_log(&mut self, world: &mut World) {
        let own = self.id.0;
        for (level, text) in self.fx.log.drain(..) {
            let complains = level == Level::Error && text.starts_with("JetStream");
            assert!(!complains, "s{own} complains: {text}");
            world.trace.hash(&[], text.as_bytes());
            world
                .trace
                .line(|| format!("{:5} s{own}   log: {text}", world.now));
            let Some((start, reason)) = text.split_once("Client connection closed: ") else {
                continue;
            };
            let number: usize = start
                .split_once("cid:")
                .and_then(|(_, rest)| rest.split_once(' '))
                .and_then(|(number, _)| number.parse().ok())
                .expect("a label names the client");
            let client = &world.clients[number];
            let allowed = match reason {
                "Client Closed" | "Write Error" | "Read Error" => client.closed,
                "Parse Error" | "Protocol Violation" => client.doomed,
                "Slow Consumer (Pending Bytes)" => {
                    world.seen.slow_pending += 1;
                    world.pending_max < 64 << 20
                }
                "Slow Consumer (Write Deadline)" => {
                    world.seen.slow_deadline += 1;
                    world.write_deadline_ms < 1000 || client.reader != super::client::Reader::Fast
                }
                "Stale Connection" => {
                    world.seen.stale += 1;
                    world.ping_interval_ms <= 1000
                }
                _ => false,
            };
            assert!(allowed, "client {number} was closed: {reason}");
            world.clients[number].left = reason == "Client Closed";
        }
    }

    /// One turn; whether there was anything to do.
    pub fn turn(&mut self, world: &mut World) -> bool {
        let mut busy = false;
        if self.disk.is_some() {
            // All that was sent before, as the runtime does: streams count on it.
            for peer in self.shard.peers() {
                busy |= self.take_all_batches(world, peer);
            }
            busy |= self.complete_some(world);
        } else {
            busy |= self.complete_some(world);
            for peer in self.shard.peers() {
                busy |= self.take_batches(world, peer);
            }
        }
        for client in std::mem::take(&mut self.arrivals) {
            self.adopt(world, client);
            busy = true;
        }
        if self.shard.next_deadline().is_some_and(|at| at <= world.now) {
            self.handle(world, Event::Tick);
            busy = true;
        }
        self.end_lingering(world);
        busy |= self.use_disk(world);
        busy | self.execute(world)
    }

    /// Some of what is under way on the disk is done, and what has come is flushed.
    fn use_disk(&mut self, world: &mut World) -> bool {
        let mut busy = false;
        for _ in 0..self.disk.as_ref().map_or(0, Disk::under_way) {
            if !world.draining && world.prng.below(100) >= world.disk_percent {
                break;
            }
            let Some(completion) = self.disk.as_mut().and_then(Disk::step) else {
                break;
            };
            busy = true;
            self.handle(
                world,
                Event::Disk {
                    store: 0,
                    completion,
                },
            );
        }
        if self.disk.is_some() {
            self.handle(world, Event::TurnEnds);
        }
        let mut submissions: Vec<_> = self.fx.disk.drain(..).map(|(_, one)| one).collect();
        busy |= !submissions.is_empty();
        if let Some(disk) = &mut self.disk {
            disk.take(&mut submissions);
        }
        busy
    }

    fn take_all_batches(&mut self, world: &mut World, peer: ShardId) -> bool {
        let mut any = false;
        while let Some((_, batch)) = {
            let link = &mut world.links[peer.index()][self.id.index()];
            link.batches.pop_front()
        } {
            any = true;
            self.handle(world, Event::Batch { from: peer, batch });
        }
        any
    }

    fn complete_some(&mut self, world: &mut World) -> bool {
        let mut possible = Vec::new();
        for (index, slot) in self.conns.iter().enumerate().filter(|(_, slot)| slot.live) {
            let client = &world.clients[slot.client];
            let readable = !client.to_server.is_empty() || client.closed || client.server_shut;
            if slot.receive == Receive::Stopping || slot.receive == Receive::Armed && readable {
                possible.push(Completion::Receive(index));
            }
            let writable =
                client.to_client.len() < client.capacity || client.closed || client.server_shut;
            if slot.sending.is_some() && writable {
                possible.push(Completion::Send(index));
            }
        }
        let mut busy = false;
        for i in (1..possible.len()).rev() {
            possible.swap(i, world.prng.below(i as u32 + 1) as usize);
        }
        for completion in possible {
            if world.prng.one_in(4) {
                continue;
            }
            busy = true;
            match completion {
                Completion::Receive(index) => self.complete_receive(world, index),
                Completion::Send(index) => self.complete_send(world, index),
            }
        }
        busy
    }

    fn complete_receive(&mut self, world: &mut World, index: usize) {
        let id = self.conn_id(index);
        let slot = &mut self.conns[index];
        if !slot.live {
            return;
        }
        let number = slot.client;
        let client = &mut world.clients[number];
        let cancelled = slot.receive == Receive::Stopping
            && (client.to_server.is_empty() && !client.closed && !client.server_shut
                || world.prng.one_in(2));
        if cancelled {
            slot.receive = Receive::Idle;
            self.rearm.push(id);
            if slot.closing == Closing::Shut {
                // Not in turn.rs, which leaves such a connection for good.
                self.close_if_idle(world, id);
            }
            return;
        }
        let open = slot.closing == Closing::No;
        let ended = client.server_shut || client.reset || client.to_server.is_empty();
        if !ended {
            // Byte by byte it would take too long to come to rest.
            let segment_max = if world.draining {
                RECEIVE_BUFFER_BYTES
            } else {
                client.segment_max
            };
            let at_most = world.prng.below(segment_max) + 1;
            let count = (at_most as usize).min(client.to_server.len());
            let bytes = client.to_server.read(count).to_vec();
            client.fed += count as u64;
            let fed = client.fed;
            if world.prng.one_in(8) {
                slot.receive = Receive::Idle;
                self.rearm.push(id);
            }
            if !open {
                return;
            }
            let bytes = &bytes;
            self.handle(world, Event::Received { conn: id, bytes });
            let cut_off = self.fx.closes.iter().any(|close| close.conn == id);
            while let Some(&(at, mark)) = world.clients[number].marks.front()
                && at <= fed
            {
                world.clients[number].marks.pop_front();
                let waits = world.clients[number].waits_since();
                match mark {
                    Mark::Message(message) => world.oracle.publish_fed(message, cut_off, waits),
                    Mark::Max(subscription) => world.oracle.max_fed(subscription, waits),
                }
            }
            return;
        }
        slot.receive = Receive::Idle;
        slot.ended = true;
        if open && !client.server_shut {
            if client.fed < client.written {
                world.seen.mid_message_disconnects += 1;
            }
            let reason = if client.reset && world.prng.one_in(3) {
                CloseReason::ReadError
            } else {
                CloseReason::ClientClosed
            };
            self.handle(world, Event::HungUp { conn: id, reason });
        } else {
            if slot.closing == Closing::Lingering {
                self.shut(world, id);
            }
            self.close_if_idle(world, id);
        }
    }

    fn complete_send(&mut self, world: &mut World, index: usize) {
        let id = self.conn_id(index);
        let slot = &mut self.conns[index];
        if !slot.live {
            return;
        }
        let Some(bytes) = slot.sending.take() else {
            return;
        };
        let client = &mut world.clients[slot.client];
        if !client.closed && !client.server_shut {
            let room = client.capacity - client.to_client.len();
            let mut count = room.min(bytes.len());
            if world.prng.one_in(5) {
                count = world.prng.below(count as u32 + 1) as usize;
            }
            if count < bytes.len() {
                world.seen.partial_sends += 1;
            }
            client.to_client.write(&bytes[..count]);
            world.trace.hash(
                &[u64::from(self.id.0), 3, u64::from(id.index)],
                &bytes[..count],
            );
            self.handle(
                world,
                Event::Sent {
                    conn: id,
                    bytes: count,
                },
            );
        } else if slot.closing == Closing::No {
            slot.broken = true;
            let reason = CloseReason::WriteError;
            self.handle(world, Event::HungUp { conn: id, reason });
        } else {
            self.shut(world, id);
        }
        self.go_on_closing(world, id);
    }

    fn adopt(&mut self, world: &mut World, client: usize) {
        let fresh = Conn {
            client,
            generation: 1,
            live: true,
            receive: Receive::Idle,
            wanted: true,
            held_since: 0,
            ended: false,
            sending: None,
            closing: Closing::No,
            broken: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                let slot = &mut self.conns[index as usize];
                let generation = slot.generation + 1;
                *slot = Conn {
                    generation,
                    ..fresh
                };
                index
            }
            None => {
                self.conns.push(fresh);
                self.conns.len() as u32 - 1
            }
        };
        let conn = self.conn_id(index as usize);
        self.handle(
            world,
            Event::Opened {
                conn,
                client_id: client as u64,
                peer: ([127, 0, 0, 1], 1000 + client as u16).into(),
                refused: false,
                opening: Opening::Plain,
                nonce: Box::default(),
                internal: None,
            },
        );
        self.rearm.push(conn);
    }

    fn take_batches(&mut self, world: &mut World, peer: ShardId) -> bool {
        let mut any = false;
        for _ in 0..BATCHES_PER_TURN {
            let link = &mut world.links[peer.index()][self.id.index()];
            let there = link.batches.front().is_some_and(|&(at, _)| at <= world.now);
            if !there || world.prng.one_in(8) {
                break;
            }
            let (_, batch) = link.batches.pop_front().expect("it is there");
            any = true;
            self.handle(world, Event::Batch { from: peer, batch });
        }
        any
    }

    fn execute(&mut self, world: &mut World) -> bool {
        let mut any = false;
        loop {
            self.execute_reads(world);
            any |= self.flush_mesh(world);
            any |= self.flush_sends(world);
            self.execute_closes(world);
            if self.fx.reads.is_empty() && self.fx.closes.is_empty() && self.fx.dirty.is_empty() {
                break;
            }
            any = true;
        }
        self.read_log(world);
        any
    }

    fn execute_reads(&mut self, world: &mut World) {
        for (id, wanted) in std::mem::take(&mut self.fx.reads) {
            world.trace.hash(
                &[5, u64::from(self.id.0), u64::from(id.index), wanted.into()],
                b"",
            );
            let own = self.id.0;
            let now = world.now;
            world
                .trace
                .line(|| format!("{now:5} s{own}   reads {id}: {wanted}"));
            let Some(conn) = self.find(id) else {
                continue;
            };
            assert_ne!(conn.wanted, wanted, "the shard repeats itself");
            conn.wanted = wanted;
            conn.held_since = now;
            match conn.receive {
                Receive::Armed if !wanted => conn.receive = Receive::Stopping,
                Receive::Idle if wanted => self.rearm.push(id),
                Receive::Armed | Receive::Idle | Receive::Stopping => {}
            }
        }
        for id in std::mem::take(&mut self.rearm) {
            let Some(conn) = self.find(id) else {
                continue;
            };
            let wanted = conn.wanted || conn.closing == Closing::Lingering;
            if conn.receive == Receive::Idle && wanted && conn.closing != Closing::Shut {
                conn.receive = Receive::Armed;
            }
        }
    }

    fn flush_mesh(&mut self, world: &mut World) -> bool {
        let peers = ShardSet(self.fx.mesh.0 | self.blocked.0);
        self.fx.mesh = ShardSet::default();
        self.blocked = ShardSet::default();
        let mut moved = false;
        for peer in peers {
            let mut any = false;
            while let Some(batch) = self.shard.next_batch(peer) {
                let delay = if world.prng.one_in(4) {
                    u64::from(world.prng.below(4))
                } else {
                    0
                };
                let link = &mut world.links[self.id.index()][peer.index()];
                if link.batches.len() == link.capacity {
                    self.shard.put_back(peer, batch);
                    self.blocked.0 |= peer.bit();
                    world.seen.put_backs += 1;
                    break;
                }
                link.batches.push_back((world.now + delay, batch));
                any = true;
            }
            if any {
                moved = true;
                self.handle(world, Event::MeshDrained { peer });
            }
        }
        moved
    }

    fn flush_sends(&mut self, world: &mut World) -> bool {
        let mut dirty = std::mem::take(&mut self.fx.dirty);
        let mut any = false;
        for id in dirty.drain(..) {
            let Some(conn) = self.find(id) else {
                continue;
            };
            if conn.sending.is_some() || conn.closing == Closing::Shut {
                continue;
            }
            let open = conn.closing == Closing::No;
            let client = conn.client;
            let Some(out) = self.shard.outbound(id) else {
                continue;
            };
            let pending = out.pending_bytes();
            if pending == 0 {
                continue;
            }
            // More than the socket takes cannot leave.
            let capacity = world.clients[client].capacity;
            let mut bytes = Vec::new();
            for piece in out.begin_send() {
                let room = (capacity - bytes.len()).min(piece.len());
                bytes.extend_from_slice(&piece[..room]);
            }
            if open {
                self.note_pending(pending, world);
            }
            self.find(id).expect("it was there").sending = Some(bytes);
            self.handle(world, Event::SendStarted { conn: id });
            any = true;
        }
        assert!(self.fx.dirty.is_empty(), "starting a send marks nobody");
        self.fx.dirty = dirty;
        any
    }

    fn execute_closes(&mut self, world: &mut World) {
        let mut closes = std::mem::take(&mut self.fx.closes);
        for close in closes.drain(..) {
            world.trace.hash(
                &[
                    6,
                    u64::from(self.id.0),
                    u64::from(close.conn.index),
                    close.flush.into(),
                ],
                b"",
            );
            let Some(conn) = self.find(close.conn) else {
                continue;
            };
            let client = &world.clients[conn.client];
            if !client.left
                && let Some(since) = client.waits_since()
            {
                world.oracle.cut_off(conn.client, since);
            }
            world.oracle.ended(conn.client);
            if conn.sending.is_some() {
                world.seen.sends_under_way_at_close += 1;
            }
            if close.flush && !conn.broken {
                conn.closing = Closing::Flushing;
                world.seen.closed_with_last_words += 1;
                self.lingering
                    .push_back((world.now + LINGER_MS, close.conn));
            } else {
                self.shut(world, close.conn);
            }
            self.go_on_closing(world, close.conn);
        }
        self.fx.closes = closes;
    }

    fn shut(&mut self, world: &mut World, id: ConnId) {
        let conn = self.find(id).expect("it is open");
        conn.closing = Closing::Shut;
        world.clients[conn.client].server_shut = true;
    }

    fn go_on_closing(&mut self, world: &mut World, id: ConnId) {
        let Some(conn) = self.find(id) else {
            return;
        };
        if conn.closing == Closing::Flushing && conn.sending.is_none() {
            let client = conn.client;
            let pending = self.shard.outbound(id).map_or(0, |out| out.pending_bytes());
            let conn = self.find(id).expect("it is open");
            if pending == 0 && conn.ended {
                self.shut(world, id);
            } else if pending == 0 {
                conn.closing = Closing::Lingering;
                world.clients[client].server_finished = true;
                if conn.receive == Receive::Idle {
                    self.rearm.push(id);
                }
            }
        }
        self.close_if_idle(world, id);
    }

    fn close_if_idle(&mut self, world: &mut World, id: ConnId) {
        let Some(conn) = self.find(id) else {
            return;
        };
        if conn.closing != Closing::Shut {
            return;
        }
        if conn.receive == Receive::Armed {
            conn.receive = Receive::Stopping;
        }
        if conn.receive == Receive::Idle && conn.sending.is_none() {
            conn.live = false;
            self.free.push(id.index);
            self.handle(world, Event::Closed { conn: id });
        }
    }

    fn end_lingering(&mut self, world: &mut World) {
        while let Some(&(at, id)) = self.lingering.front() {
            if at > world.now {
                return;
            }
            self.lingering.pop_front();
            if self.find(id).is_some_and(|c| c.closing != Closing::Shut) {
                self.shut(world, id);
                self.close_if_idle(world, id);
            }
        }
    }
}
