//! This shard's side of the mesh: what waits for each peer, and how far each peer has followed.
//!
//! Frames for a peer are appended to an open batch; a full one is closed and the runtime moves
//! closed and open ones into the ring between the two, as far as there is room. Nothing is ever
//! dropped: an outbox over its high-water mark holds back the connections that feed it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::frame::{self, FrameRest, PublishFrame, TraceFrame};
use crate::base::ids::{ConnId, ShardId, ShardSet};
use crate::base::limits::{
    MESH_BATCH_BYTES, MESH_BATCH_SHARED_BYTES, MESH_OUTBOX_HIGH_WATER_BYTES,
};
use crate::jetstream::Order;
use crate::router::InterestChange;

/// Batches kept for reuse.
const BATCHES_POOLED_MAX: usize = 64;

/// Frames for one peer, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Frames, one after the other.
    pub bytes: Vec<u8>,
    /// Large payloads, in the order of the frames that speak of them.
    pub shared: VecDeque<Bytes>,
    /// What JetStream says to its other parts, in the order of the frames that speak of it.
    pub orders: VecDeque<Order>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of frames, payloads and orders.
    pub fn size(&self) -> usize {
        let shared: usize = self.shared.iter().map(Bytes::len).sum();
        let orders: usize = self.orders.iter().map(Order::size).sum();
        self.bytes.len() + shared + orders
    }
}

#[derive(Debug, Default)]
struct Outbox {
    open: Batch,
    open_shared_bytes: usize,
    closed: VecDeque<Batch>,
    bytes: usize,
    /// Interest number that the peer has acknowledged.
    acked: u64,
    /// Interest frames that have come from the peer.
    seen: u64,
    /// The peer has sent interest since it was last acknowledged.
    owes_ack: bool,
    /// Connections of this shard held back until the outbox has drained.
    waiting: Vec<ConnId>,
}

/// All peers.
#[derive(Debug)]
pub struct Mesh {
    peers: ShardSet,
    outboxes: Vec<Outbox>,
    free: Vec<Batch>,
    /// Interest numbers given out.
    sent: u64,
}

impl Mesh {
    /// The mesh of shard `own` among `count`.
    pub fn new(own: ShardId, count: usize) -> Self {
        let all = if count == 64 {
            u64::MAX
        } else {
            (1 << count) - 1
        };
        Self {
            peers: ShardSet(all & !own.bit()),
            outboxes: (0..count).map(|_| Outbox::default()).collect(),
            free: Vec::new(),
            sent: 0,
        }
    }

    /// The other shards.
    pub fn peers(&self) -> ShardSet {
        self.peers
    }

    /// The number of the last interest told to the others.
    pub fn interest_number(&self) -> u64 {
        self.sent
    }

    /// The number up to which a peer's interest is known here.
    pub fn interest_seen(&self, peer: ShardId) -> u64 {
        self.outboxes[peer.index()].seen
    }

    /// The interest number that all peers have acknowledged.
    pub fn acked_by_all(&self) -> u64 {
        self.peers
            .map(|peer| self.outboxes[peer.index()].acked)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Tells all peers of a change and numbers it.
    pub fn broadcast(&mut self, change: &InterestChange) {
        if self.peers.0 == 0 {
            return;
        }
        self.sent += 1;
        for peer in self.peers {
            let size = 17 + change.subject.len() + change.queue.len();
            frame::encode_interest(self.room(peer, size), change);
        }
    }

    /// Numbers what was sent to all peers so far; they acknowledge it as they do interest.
    pub fn fence(&mut self) -> u64 {
        if self.peers.0 != 0 {
            self.sent += 1;
            for peer in self.peers {
                frame::encode_fence(self.room(peer, 1));
            }
        }
        self.sent
    }

    /// Sends a message to a peer.
    #[inline]
    pub fn publish(&mut self, peer: ShardId, message: &PublishFrame<'_>, shared: Option<&Bytes>) {
        let size = frame::publish_bytes(message);
        debug_assert_eq!(shared.is_some(), matches!(message.rest, FrameRest::Shared));
        frame::encode_publish(self.room(peer, size), message);
        if let Some(shared) = shared {
            let outbox = &mut self.outboxes[peer.index()];
            outbox.bytes += shared.len();
            outbox.open.shared.push_back(shared.clone());
            outbox.open_shared_bytes += shared.len();
            if outbox.open_shared_bytes > MESH_BATCH_SHARED_BYTES {
                // Frames that are short but speak of much: the ring bounds batches, not bytes.
                outbox.open_shared_bytes = 0;
                let full = std::mem::take(&mut outbox.open);
                outbox.closed.push_back(full);
            }
        }
    }

    /// Has a peer hold back, or release, one of its connections.
    pub fn hold(&mut self, peer: ShardId, conn: ConnId, hold: bool) {
        frame::encode_hold(self.room(peer, 9), conn, hold);
    }

    /// Tells a peer what has happened to a message of its that is traced.
    pub fn answer_trace(&mut self, peer: ShardId, answer: &TraceFrame<'_>) {
        let size = frame::trace_answer_bytes(answer);
        frame::encode_trace_answer(self.room(peer, size), answer);
    }

    /// Sends an order to a peer.
    pub fn order(&mut self, peer: ShardId, order: Order) {
        frame::encode_order(self.room(peer, 1));
        let outbox = &mut self.outboxes[peer.index()];
        outbox.bytes += order.size();
        outbox.open.orders.push_back(order);
    }

    /// Counts an interest frame that came from `peer`.
    pub fn count_interest(&mut self, peer: ShardId) {
        let outbox = &mut self.outboxes[peer.index()];
        outbox.seen += 1;
        outbox.owes_ack = true;
    }

    /// Acknowledges what has come from `peer`; false when that was done before.
    pub fn acknowledge(&mut self, peer: ShardId) -> bool {
        let outbox = &mut self.outboxes[peer.index()];
        if !std::mem::take(&mut outbox.owes_ack) {
            return false;
        }
        let seen = outbox.seen;
        frame::encode_ack(self.room(peer, 9), seen);
        true
    }

    /// `peer` knows all interest up to `number`.
    pub fn acked(&mut self, peer: ShardId, number: u64) {
        let acked = &mut self.outboxes[peer.index()].acked;
        debug_assert!(number >= *acked && number <= self.sent);
        *acked = number;
    }

    /// Whether too much waits for `peer`.
    #[inline]
    pub fn is_over_high_water(&self, peer: ShardId) -> bool {
        self.outboxes[peer.index()].bytes > MESH_OUTBOX_HIGH_WATER_BYTES
    }

    /// Bytes waiting for `peer`.
    pub fn waiting_bytes(&self, peer: ShardId) -> usize {
        self.outboxes[peer.index()].bytes
    }

    /// Connections held back until the outbox for `peer` has drained.
    pub fn waiting(&mut self, peer: ShardId) -> &mut Vec<ConnId> {
        &mut self.outboxes[peer.index()].waiting
    }

    /// The next batch for `peer`.
    pub fn next_batch(&mut self, peer: ShardId) -> Option<Batch> {
        let outbox = &mut self.outboxes[peer.index()];
        let batch = match outbox.closed.pop_front() {
            Some(batch) => batch,
            None if outbox.open.is_empty() => return None,
            None => {
                outbox.open_shared_bytes = 0;
                std::mem::take(&mut outbox.open)
            }
        };
        outbox.bytes -= batch.size();
        Some(batch)
    }

    /// Takes back a batch that there was no room for.
    pub fn put_back(&mut self, peer: ShardId, batch: Batch) {
        let outbox = &mut self.outboxes[peer.index()];
        outbox.bytes += batch.size();
        outbox.closed.push_front(batch);
    }

    /// Takes an empty batch for reuse.
    pub fn recycle(&mut self, mut batch: Batch) {
        if self.free.len() < BATCHES_POOLED_MAX && batch.bytes.capacity() <= 2 * MESH_BATCH_BYTES {
            batch.bytes.clear();
            batch.shared.clear();
            batch.orders.clear();
            self.free.push(batch);
        }
    }

    /// The open batch, with room for `size` more.
    #[inline]
    fn room(&mut self, peer: ShardId, size: usize) -> &mut Vec<u8> {
        let outbox = &mut self.outboxes[peer.index()];
        if outbox.open.bytes.capacity() - outbox.open.bytes.len() < size {
            let mut next = self.free.pop().unwrap_or_default();
            next.bytes.reserve(size.max(MESH_BATCH_BYTES));
            let full = std::mem::replace(&mut outbox.open, next);
            if full.is_empty() {
                // It had no buffer yet.
                debug_assert!(full.shared.is_empty());
            } else {
                outbox.closed.push_back(full);
                outbox.open_shared_bytes = 0;
            }
        }
        outbox.bytes += size;
        &mut outbox.open.bytes
    }
}
