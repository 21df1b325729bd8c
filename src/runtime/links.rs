//! The mesh between shards: a ring of batches for each ordered pair, and who is asleep.
//!
//! A shard that is about to sleep says so, looks into its rings once more, and then sleeps; one
//! that has put something into a ring looks whether the other sleeps, and wakes it by posting a
//! completion to its net ring. The fences between make sure that one of the two sees the other.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering, fence};

use crate::base::ids::{ShardId, ShardSet};
use crate::base::limits::MESH_RING_BATCHES;
use crate::base::spsc::{self, Receiver, Sender};
use crate::shard::Batch;

/// What shards share, each part on its own cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Public {
    asleep: AtomicBool,
    ring_fd: AtomicI32,
    /// Peers whose ring was full when this shard last put something in.
    blocked_on: AtomicU64,
    /// Connections, counted by whoever gives or closes them.
    connections: AtomicUsize,
}

/// One shard's ends of all rings.
pub struct Links {
    own: ShardId,
    public: Arc<[Public]>,
    to: Vec<Option<Sender<Batch>>>,
    from: Vec<Option<Receiver<Batch>>>,
}

/// The ends for each of `count` shards.
pub fn mesh(count: usize) -> Vec<Links> {
    let public: Arc<[Public]> = (0..count).map(|_| Public::default()).collect();
    let mut links: Vec<Links> = (0..count)
        .map(|own| Links {
            own: ShardId(own as u8),
            public: Arc::clone(&public),
            to: (0..count).map(|_| None).collect(),
            from: (0..count).map(|_| None).collect(),
        })
        .collect();
    for a in 0..count {
        for b in (0..count).filter(|&b| b != a) {
            let (sender, receiver) = spsc::ring(MESH_RING_BATCHES);
            links[a].to[b] = Some(sender);
            links[b].from[a] = Some(receiver);
        }
    }
    links
}

impl Links {
    /// Which shard's ends these are.
    pub fn own(&self) -> ShardId {
        self.own
    }

    /// Tells the others where to post wakes.
    pub fn announce(&self, ring_fd: RawFd) {
        self.public[self.own.index()]
            .ring_fd
            .store(ring_fd, Ordering::Release);
    }

    /// Puts a batch into the ring to `peer`, or gives it back.
    pub fn push(&mut self, peer: ShardId, batch: Batch) -> Result<(), Batch> {
        let Some(sender) = &mut self.to[peer.index()] else {
            return Err(batch);
        };
        let result = sender.push(batch);
        let Err(batch) = result else {
            return Ok(());
        };
        // Say so before the last look, so that the peer wakes this shard when it has made room.
        let blocked = &self.public[self.own.index()].blocked_on;
        blocked.fetch_or(peer.bit(), Ordering::SeqCst);
        sender.push(batch)
    }

    /// Takes the next batch from `peer`.
    pub fn pop(&mut self, peer: ShardId) -> Option<Batch> {
        self.from[peer.index()].as_mut()?.pop()
    }

    /// After batches were put into the ring to `peer`: its net ring, if it must be woken.
    pub fn to_wake(&self, peer: ShardId) -> Option<RawFd> {
        fence(Ordering::SeqCst);
        let public = &self.public[peer.index()];
        (public.asleep.load(Ordering::Relaxed) && public.asleep.swap(false, Ordering::AcqRel))
            .then(|| public.ring_fd.load(Ordering::Acquire))
    }

    /// After batches were taken from `peer`: its net ring, if it sleeps and waits for room.
    pub fn to_unblock(&self, peer: ShardId) -> Option<RawFd> {
        let blocked = &self.public[peer.index()].blocked_on;
        let own = self.own.bit();
        fence(Ordering::SeqCst);
        if blocked.load(Ordering::Relaxed) & own == 0 {
            return None;
        }
        blocked.fetch_and(!own, Ordering::AcqRel);
        self.to_wake(peer)
    }

    /// Says that this shard is about to sleep; false when there is something to do after all.
    pub fn fall_asleep(&mut self) -> bool {
        let asleep = &self.public[self.own.index()].asleep;
        asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    /// Batches that peers have put into their rings and that were not taken.
    pub fn waiting(&mut self) -> u64 {
        let lengths = self.from.iter_mut().flatten().map(Receiver::len);
        lengths.sum::<usize>() as u64
    }

    /// Whether no peer has put anything into its ring.
    pub fn is_empty(&mut self) -> bool {
        self.from.iter_mut().flatten().all(Receiver::is_empty)
    }

    /// Says that this shard no longer sleeps.
    pub fn wake_up(&self) {
        self.public[self.own.index()]
            .asleep
            .store(false, Ordering::Relaxed);
    }

    /// Connections of all shards.
    pub fn connections(&self) -> usize {
        self.per_shard().sum()
    }

    /// The shard with the fewest connections; the first after `last` among equals, so that a few
    /// connections do not land on one core.
    pub fn least_loaded(&self, last: ShardId) -> ShardId {
        let count = self.public.len();
        (1..=count)
            .map(|step| (last.index() + step) % count)
            .min_by_key(|&shard| self.public[shard].connections.load(Ordering::Relaxed))
            .map_or(self.own, |shard| ShardId(shard as u8))
    }

    /// Connections of each shard.
    pub fn per_shard(&self) -> impl Iterator<Item = usize> {
        self.public
            .iter()
            .map(|p| p.connections.load(Ordering::Relaxed))
    }

    /// The counts alone, for a thread that is no shard.
    pub fn observer(&self) -> Links {
        Links {
            own: self.own,
            public: Arc::clone(&self.public),
            to: Vec::new(),
            from: Vec::new(),
        }
    }

    /// Counts a connection given to `shard`.
    pub fn count_opened(&self, shard: ShardId) {
        self.public[shard.index()]
            .connections
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection of this shard that is closed.
    pub fn count_closed(&self) {
        self.public[self.own.index()]
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }

    /// The other shards.
    pub fn peers(&self) -> ShardSet {
        let all = (0..self.public.len() as u8).fold(0, |all, s| all | ShardId(s).bit());
        ShardSet(all & !self.own.bit())
    }
}
