//! What the hosts and the clients of a run share: time, chance, the rings between shards, and how clients read and leave.
//! What clients say, and what they must hear, is not known here.

use std::collections::VecDeque;

use skein::base::prng::Prng;
use skein::shard::Batch;

use super::client::{Client, Reader};
use super::host::Host;
use super::oracle::Oracle;
use super::trace::Trace;

/// What a client may hold unread when everything is to come to an end.
const DRAINING_CAPACITY_BYTES: usize = 512 * 1024;

/// What happened at least once, it is to be hoped.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub put_backs: u64,
    pub mesh_stalls_ended: u64,
    pub stalls_timed_out: u64,
    pub deferred_pongs: u64,
    pub partial_sends: u64,
    pub sends_under_way_at_close: u64,
    pub mid_message_disconnects: u64,
    pub pending_bytes_max: usize,
    pub slow_pending: u64,
    pub slow_deadline: u64,
    pub stale: u64,
    pub closed_with_last_words: u64,
    pub batches: u64,
    pub shared_payload_batches: u64,
    pub disk_completions: u64,
}

/// The ring between two shards.
pub struct Link {
    pub batches: VecDeque<(u64, Batch)>,
    pub capacity: usize,
}

impl Link {
    pub fn new(capacity: usize) -> Self {
        Self {
            batches: VecDeque::new(),
            capacity,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

/// What the hosts of a run share.
pub struct World {
    pub now: u64,
    pub prng: Prng,
    pub trace: Trace,
    pub oracle: Oracle,
    pub clients: Vec<Client>,
    /// From each shard to each.
    pub links: Vec<Vec<Link>>,
    pub seen: Seen,
    /// Nothing new begins, and everything under way is to end soon.
    pub draining: bool,
    /// Most unsent bytes that one connection may have.
    pub pending_max: usize,
    pub write_deadline_ms: u64,
    pub ping_interval_ms: u64,
    /// How likely a look at a disk finds something done, in percent.
    pub disk_percent: u32,
}

impl World {
    /// A shard stands still for a while, by chance.
    pub fn freeze(&mut self, hosts: &mut [Host], one_in: u32, steps_max: u32) {
        let all_run = hosts.iter().all(|host| host.frozen == 0);
        if all_run && one_in > 0 && self.prng.one_in(one_in) {
            let host = self.prng.below(hosts.len() as u32) as usize;
            hosts[host].frozen = 10 + self.prng.below(steps_max);
        }
    }

    /// Time goes on, by chance, and now and then by much.
    pub fn go_on(&mut self, one_in: u32) {
        if one_in > 0 && self.prng.one_in(one_in) {
            let step = if self.prng.one_in(10) { 60 } else { 3 };
            self.now += u64::from(1 + self.prng.below(step));
        }
    }

    /// Time goes on while all come to rest: where nobody was busy, to what comes next.
    pub fn pass_time(&mut self, hosts: &[Host], busy: bool) {
        if !busy {
            let next = hosts.iter().filter_map(Host::next_deadline).min();
            let step = next.map_or(1, |at| at.saturating_sub(self.now));
            self.now += step.clamp(1, 20);
        } else if self.prng.one_in(4) {
            self.now += 1;
        }
    }

    /// What is still to happen, as far as bytes and batches tell.
    pub fn unrest(&self, hosts: &mut [Host]) -> Option<String> {
        for links in &self.links {
            if links.iter().any(|link| !link.is_empty()) {
                return Some("a batch is in a ring".into());
            }
        }
        for (number, host) in hosts.iter_mut().enumerate() {
            if let Some(what) = host.unrest(self) {
                return Some(what);
            }
            if host.has_batches() {
                return Some(format!("s{number} has batches waiting"));
            }
        }
        let mut clients = self.clients.iter().enumerate();
        clients
            .find(|(_, client)| client.reads() && client.has_unread())
            .map(|(number, _)| format!("client {number} has not read everything"))
    }

    /// A client closes its connection, whatever is under way; `false` if it has none any more.
    pub fn leave(&mut self, number: usize) -> bool {
        let client = &mut self.clients[number];
        if client.closed || client.gone {
            return false;
        }
        client.closed = true;
        client.gone = true;
        if self.prng.one_in(2) {
            // Cut off, in the middle of what it was writing.
            client.reset = self.prng.one_in(2);
            let kept = self.prng.below(client.to_server.len() as u32 + 1);
            client.to_server.truncate(kept as usize);
            if client.reset {
                client.to_server.truncate(0);
            }
        }
        self.oracle.ended(number);
        self.trace
            .line(|| format!("client {number} closes its connection"));
        true
    }

    /// A client reads as it is wont to; whether it has seen the end of its connection.
    pub fn read(&mut self, number: usize) -> bool {
        let draining = self.draining;
        let client = &mut self.clients[number];
        let at_most = match client.reader {
            _ if client.gone => return false,
            Reader::Never => 0,
            _ if draining => usize::MAX,
            Reader::Fast => usize::MAX,
            Reader::Slow => self.prng.below(8000) as usize,
            Reader::Pausing if client.paused_for > 0 => {
                client.paused_for -= 1;
                return false;
            }
            Reader::Pausing => {
                if self.prng.one_in(10) {
                    client.paused_for = 5 + self.prng.below(30);
                }
                usize::MAX
            }
        };
        if draining && client.reader != Reader::Never {
            client.capacity = client.capacity.max(DRAINING_CAPACITY_BYTES);
        }
        client.read(at_most) || client.reader == Reader::Never && client.server_shut
    }
}
