//! A server with JetStream: shards with a store each, on disks that outlive them.

use std::cell::Cell;

use skein::base::ids::ShardId;
use skein::config::Limits;
use skein::jetstream::engine::{self, Engine};
use skein::jetstream::stream;
use skein::proto::info::ServerIdentity;
use skein::shard::{Policy, Settings, Shard};
use skein::store::{self, Store};

use super::Scenario;
use crate::disk::Disk;
use crate::host::Host;
use crate::world::{Link, World};

/// Milliseconds from 1970 to the beginning of a run.
const UNIX_AT_ZERO_MS: u64 = 1_700_000_000_000;
const TURNS_TO_OPEN_MAX: u32 = 20_000;

thread_local! {
    /// What the fine clock says: each look is a nanosecond later.
    static FINE_NS: Cell<u64> = const { Cell::new(0) };
}

/// Lets the fine clock of this thread's runs follow; time does not go back.
pub fn follow(now_ms: u64) {
    FINE_NS.set(FINE_NS.get().max(now_ms * 1_000_000));
}

/// Another run begins.
pub fn reset_clock() {
    FINE_NS.set(0);
}

fn fine_ns() -> u64 {
    FINE_NS.set(FINE_NS.get() + 1);
    FINE_NS.get()
}

/// Begins a server on these disks, as after a start or a crash, and waits until its streams are there.
pub fn open(world: &mut World, scenario: &Scenario, disks: Vec<Disk>) -> Vec<Host> {
    follow(world.now);
    let hash_seed = world.prng.next_u64();
    let store_hash_seed = world.prng.next_u64();
    let settings = settings(scenario, hash_seed);
    let shards = scenario.shards;
    let mut hosts = Vec::new();
    for (number, disk) in disks.into_iter().enumerate() {
        let mut options = store::Options::new(world.prng.next_u64());
        options.seed_hash(store_hash_seed);
        options.segment_bytes = 1 << 20;
        options.cache_bytes = scenario.cache_bytes;
        options.checkpoint_bytes = scenario.checkpoint_bytes;
        let store = Store::open(&options, &disk.listing(), world.now);
        let engine = Engine::new(engine_options(scenario), vec![store]);
        let id = ShardId(number as u8);
        let mut shard = Shard::new(id, settings.clone(), world.prng.next_u64());
        shard.host(Box::new(engine));
        hosts.push(Host::with_disk(shard, id, disk));
    }
    let link = |_| Link::new(scenario.ring_batches);
    world.links = (0..shards)
        .map(|_| (0..shards).map(link).collect())
        .collect();
    for host in &mut hosts {
        host.begin_streams(world.now);
    }
    for _ in 0..TURNS_TO_OPEN_MAX {
        for host in &mut hosts {
            host.turn(world);
            if let Some(why) = host.shard.streams_failed() {
                panic!("a store cannot be opened: {why}");
            }
        }
        // Whatever is still on its way between them, clients may come.
        if hosts.iter().all(|host| host.shard.streams_are_ready()) {
            return hosts;
        }
    }
    panic!("liveness: streams are not ready");
}

fn settings(scenario: &Scenario, hash_seed: u64) -> Settings {
    Settings {
        limits: Limits {
            max_pending_bytes: 64 << 20,
            write_deadline_ms: 600_000,
            ..Limits::DEFAULT
        },
        policy: Policy::open(),
        identity: ServerIdentity {
            id: "N".repeat(56),
            name: "simulated".into(),
            host: "127.0.0.1".into(),
            port: 4222,
            auth_required: false,
            tls: None,
            xkey: None,
            jetstream: Some(String::new()),
        },
        debug: true,
        trace: false,
        shards: scenario.shards,
        unix_at_zero_ms: UNIX_AT_ZERO_MS,
        fine_clock_ns: fine_ns,
        hash_seed,
    }
}

fn engine_options(scenario: &Scenario) -> engine::Options {
    engine::Options {
        stream: stream::Settings::default(),
        strict: false,
        server_name: "simulated".into(),
        shards: scenario.shards,
        max_memory: 1 << 30,
        max_storage: 1 << 40,
        max_duplicate_window: 0,
        max_ack_pending: 0,
        max_atomic_batches: 1000,
        max_fast_batches: 1000,
        request_queue: 10_000,
        info_queue: 10_000,
        max_request_batch: 0,
        unflushed_high_bytes: scenario.unflushed_high_bytes,
        unflushed_low_bytes: scenario.unflushed_high_bytes / 2,
    }
}
