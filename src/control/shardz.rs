//! SHARDZ: each shard of this server, which nats-server has none of. `src/monitor/page/README.md` says what the fields
//! mean.

use serde::Serialize;

use super::json::float;
use super::time::UnixNanos;
use super::view::{House, ServerFacts};
use crate::base::histogram::Histogram;
use crate::shard::facts::{ShardFacts, WINDOW_MS, Wanted, WorkFacts};

#[derive(Clone, Debug, Serialize)]
pub struct Shardz<'a> {
    pub server_id: &'a str,
    pub now: UnixNanos,
    pub window_seconds: u64,
    pub shards: Vec<Shard>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Shard {
    pub shard: u8,
    pub core: usize,
    #[serde(serialize_with = "float")]
    pub cpu_seconds: f64,
    pub turns: u64,
    pub turn_time_us: TurnTime,
    pub connections: u64,
    pub subscriptions: u64,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    pub mesh_depth: Depth,
    pub stalls: u64,
    pub slow_consumers: u64,
    #[serde(flatten)]
    pub store: Option<Store>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct TurnTime {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Depth {
    pub now: u64,
    pub max: u64,
}

/// What there is with JetStream only.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Store {
    pub streams: u64,
    pub consumers: u64,
    pub flushes: u64,
    pub flush_time_us: FlushTime,
    pub store_backlog_bytes: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct FlushTime {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// What of a shard is to be known here, by its number.
pub fn by_number(house: &mut dyn House) -> Vec<ShardFacts> {
    let wanted = Wanted {
        work: true,
        ..Wanted::default()
    };
    let mut facts = house.facts(&wanted);
    facts.sort_by_key(|facts| facts.work.as_ref().map(|work| work.shard));
    facts
}

/// SHARDZ at this moment.
pub fn shardz<'a>(house: &mut dyn House, server: &'a ServerFacts) -> Shardz<'a> {
    let facts = by_number(house);
    let shards = facts.iter().filter_map(|facts| {
        let work = facts.work.as_ref()?;
        Some(shard(facts, work))
    });
    Shardz {
        server_id: &server.identity.id,
        now: house.now(),
        window_seconds: WINDOW_MS / 1000,
        shards: shards.collect(),
    }
}

fn shard(facts: &ShardFacts, work: &WorkFacts) -> Shard {
    let traffic = &facts.traffic;
    let (turns, flushes) = (&work.turns.last, &work.flushes.last);
    Shard {
        shard: work.shard,
        core: work.core,
        cpu_seconds: (work.cpu_ns / 1000) as f64 / 1e6,
        turns: work.turns.all.count(),
        turn_time_us: TurnTime {
            p50: quantile_us(turns, 500),
            p99: quantile_us(turns, 990),
            p999: quantile_us(turns, 999),
            max: quantile_us(turns, 1000),
        },
        connections: facts.connections,
        subscriptions: facts.subscriptions,
        in_msgs: traffic.in_messages,
        out_msgs: traffic.out_messages,
        in_bytes: traffic.in_bytes,
        out_bytes: traffic.out_bytes,
        mesh_depth: Depth {
            now: work.mesh_depth,
            max: work.mesh_depth_max,
        },
        stalls: facts.stalls,
        slow_consumers: facts.slow_consumers,
        store: facts.jetstream.as_ref().map(|jetstream| Store {
            streams: jetstream.streams,
            consumers: jetstream.usage.consumers,
            flushes: work.flushes.all.count(),
            flush_time_us: FlushTime {
                p50: quantile_us(flushes, 500),
                p99: quantile_us(flushes, 990),
                max: quantile_us(flushes, 1000),
            },
            store_backlog_bytes: work.backlog_bytes,
        }),
    }
}

/// Rounded up, so that only what took no time is 0.
fn quantile_us(of: &Histogram, per_mille: u64) -> u64 {
    of.quantile_ns(per_mille).div_ceil(1000)
}
