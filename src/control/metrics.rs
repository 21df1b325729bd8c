//! METRICS: numbers for Prometheus, as OpenMetrics or as the text format before it.
//!
//! What is told does not grow without bounds: histograms have one bucket for each power of two, and accounts are told up
//! to [`ACCOUNTS_MAX`], the first by name, so that those that are stay.

mod exposition;

use std::collections::HashSet;

use super::shardz::by_number;
use super::view::{House, Merged, ServerFacts, Usage};
use crate::base::histogram::Histogram;
use crate::shard::facts::{AccountFacts, ShardFacts, WorkFacts};
pub use exposition::TextFormat;
use exposition::{Exposition, Kind};

use Kind::{Counter, Gauge};

/// Accounts that are told of.
pub const ACCOUNTS_MAX: usize = 256;

/// A family of numbers, of which each shard or account has one.
struct Family<T> {
    /// Without what all names begin with.
    name: &'static str,
    /// The end of the name, or empty.
    unit: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&T) -> u64,
}

/// A number that can fall again.
const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> u64) -> Family<T> {
    Family {
        name,
        unit: "",
        kind: Gauge,
        help,
        value,
    }
}

/// One that only rises.
const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> u64) -> Family<T> {
    Family {
        kind: Counter,
        ..gauge(name, help, value)
    }
}

/// One of bytes.
const fn in_bytes<T>(family: &Family<T>) -> Family<T> {
    Family {
        unit: "bytes",
        ..*family
    }
}

impl<T> Family<T> {
    fn begin(&self, of: &str, text: &mut Exposition) {
        let name = format!("{of}_{}", self.name);
        text.family(&name, self.unit, self.kind, self.help);
    }
}

const OF_SHARD: &[Family<ShardFacts>] = &[
    gauge("connections", "Connections of clients.", |s| s.connections),
    gauge("subscriptions", "Subscriptions of clients.", |s| {
        s.subscriptions
    }),
    counter(
        "in_messages",
        "Messages that clients have published.",
        |s| s.traffic.in_messages,
    ),
    in_bytes(&counter(
        "in_bytes",
        "Bytes of the messages that clients have published.",
        |s| s.traffic.in_bytes,
    )),
    counter(
        "out_messages",
        "Messages that were delivered to clients.",
        |s| s.traffic.out_messages,
    ),
    in_bytes(&counter(
        "out_bytes",
        "Bytes of the messages that were delivered to clients.",
        |s| s.traffic.out_bytes,
    )),
    counter("stalls", "Times that a publisher was held back.", |s| {
        s.stalls
    }),
    counter(
        "slow_consumers",
        "Connections that were closed because they did not read.",
        |s| s.slow_consumers,
    ),
    counter(
        "stale_connections",
        "Connections that were closed because they did not answer.",
        |s| s.stale_connections,
    ),
    counter(
        "accepted_connections",
        "Connections that were accepted.",
        |s| s.total_connections,
    ),
];

const OF_STORE: &[Family<(u64, u64, WorkFacts)>] = &[
    gauge("streams", "Streams.", |s| s.0),
    gauge("consumers", "Consumers.", |s| s.1),
    in_bytes(&gauge(
        "store_backlog_bytes",
        "Bytes that were accepted and are not durable yet.",
        |s| s.2.backlog_bytes,
    )),
];

const OF_ACCOUNT: &[Family<AccountFacts>] = &[
    gauge("connections", "Connections of an account's clients.", |a| {
        a.connections
    }),
    gauge(
        "subscriptions",
        "Subscriptions of an account's clients.",
        |a| a.subscriptions,
    ),
    counter(
        "in_messages",
        "Messages that an account's clients have published.",
        |a| a.traffic.in_messages,
    ),
    in_bytes(&counter(
        "in_bytes",
        "Bytes of the messages that an account's clients have published.",
        |a| a.traffic.in_bytes,
    )),
    counter(
        "out_messages",
        "Messages that were delivered to an account's clients.",
        |a| a.traffic.out_messages,
    ),
    in_bytes(&counter(
        "out_bytes",
        "Bytes of the messages that were delivered to an account's clients.",
        |a| a.traffic.out_bytes,
    )),
    counter(
        "slow_consumers",
        "Connections of an account that were closed because they did not read.",
        |a| a.slow_consumers,
    ),
];

/// METRICS at this moment.
pub fn metrics(house: &mut dyn House, server: &ServerFacts, format: TextFormat) -> String {
    let shards = by_number(house);
    let usage = house.usage();
    let mut text = Exposition::new(format);
    of_process(server, usage, &mut text);
    of_shards(&shards, &mut text);
    let mut merged = Merged::default();
    for facts in shards {
        merged.add(facts);
    }
    // What is not there any more has counts, which its connections have left behind.
    let views = server.accounts.iter();
    let known: HashSet<&str> = views.map(|view| &*view.definition.name).collect();
    merged.accounts.retain(|name, _| known.contains(&**name));
    of_accounts(&merged, &mut text);
    if server.jetstream.is_some() {
        of_jetstream(&merged, &mut text);
    }
    text.end()
}

fn of_process(server: &ServerFacts, usage: Usage, text: &mut Exposition) {
    let labels = [
        ("server_id", server.identity.id.as_str()),
        ("server_name", server.identity.name.as_str()),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    text.family("skein_server", "", Gauge, "Which server this is; always 1.");
    text.sample("", &labels, 1);
    let help = "Memory of the process that is in use.";
    text.family("skein_resident_memory_bytes", "bytes", Gauge, help);
    text.sample("", &[], usage.resident_bytes);
    let help = "When the server was started, since 1970.";
    text.family("skein_start_time_seconds", "seconds", Gauge, help);
    text.sample("", &[], server.started.0 / 1_000_000_000);
    let help = "Connections that there may be.";
    text.family("skein_connections_limit", "", Gauge, help);
    text.sample("", &[], server.limits.max_connections);
}

fn of_shards(shards: &[ShardFacts], text: &mut Exposition) {
    let working: Vec<(String, &ShardFacts, &WorkFacts)> = shards
        .iter()
        .filter_map(|facts| {
            let work = facts.work.as_deref()?;
            Some((work.shard.to_string(), facts, work))
        })
        .collect();
    let help = "CPU time of a shard's thread, user and system.";
    text.family("skein_shard_cpu_seconds", "seconds", Counter, help);
    for (shard, _, work) in &working {
        text.sample("", &[("shard", shard)], seconds(work.cpu_ns));
    }
    let help = "How long a turn of a shard's loop worked.";
    text.family("skein_shard_turn_seconds", "seconds", Kind::Histogram, help);
    for (shard, _, work) in &working {
        histogram(text, shard, &work.turns.all);
    }
    let help = "Batches of other shards that wait.";
    text.family("skein_shard_mesh_depth", "", Gauge, help);
    for (shard, _, work) in &working {
        text.sample("", &[("shard", shard)], work.mesh_depth);
    }
    let help = "The most batches of other shards that a turn found lately.";
    text.family("skein_shard_mesh_depth_max", "", Gauge, help);
    for (shard, _, work) in &working {
        text.sample("", &[("shard", shard)], work.mesh_depth_max);
    }
    for family in OF_SHARD {
        family.begin("skein_shard", text);
        for (shard, facts, _) in &working {
            text.sample("", &[("shard", shard)], (family.value)(facts));
        }
    }
    let stores: Vec<(&str, (u64, u64, WorkFacts))> = working
        .iter()
        .filter_map(|(shard, facts, work)| {
            let jetstream = facts.jetstream.as_ref()?;
            let (streams, consumers) = (jetstream.streams, jetstream.usage.consumers);
            Some((shard.as_str(), (streams, consumers, (*work).clone())))
        })
        .collect();
    if stores.is_empty() {
        return;
    }
    for family in OF_STORE {
        family.begin("skein_shard", text);
        for (shard, store) in &stores {
            text.sample("", &[("shard", shard)], (family.value)(store));
        }
    }
    let help = "From the submission of what is to be durable to its completion.";
    text.family(
        "skein_shard_flush_seconds",
        "seconds",
        Kind::Histogram,
        help,
    );
    for (shard, (_, _, work)) in &stores {
        histogram(text, shard, &work.flushes.all);
    }
}

fn of_accounts(merged: &Merged, text: &mut Exposition) {
    for family in OF_ACCOUNT {
        family.begin("skein_account", text);
        for (account, facts) in merged.accounts.iter().take(ACCOUNTS_MAX) {
            text.sample("", &[("account", account)], (family.value)(facts));
        }
    }
    let help = "Accounts that are not told of, because there are too many.";
    text.family("skein_accounts_left_out", "", Gauge, help);
    text.sample("", &[], merged.accounts.len().saturating_sub(ACCOUNTS_MAX));
}

fn of_jetstream(merged: &Merged, text: &mut Exposition) {
    let usage = &merged.jetstream.usage;
    let families = [
        (
            "memory_bytes",
            "bytes",
            Gauge,
            "Bytes of streams in memory.",
            usage.memory_bytes,
        ),
        (
            "storage_bytes",
            "bytes",
            Gauge,
            "Bytes of streams on disk.",
            usage.storage_bytes,
        ),
        (
            "api_requests",
            "",
            Counter,
            "Requests to the API.",
            usage.requests,
        ),
        (
            "api_errors",
            "",
            Counter,
            "Requests to the API that were refused.",
            usage.errors,
        ),
    ];
    for (name, unit, kind, help, value) in families {
        text.family(&format!("skein_jetstream_{name}"), unit, kind, help);
        text.sample("", &[], value);
    }
}

fn histogram(text: &mut Exposition, shard: &str, of: &Histogram) {
    for (limit_ns, below) in of.octaves() {
        let limit = seconds(limit_ns).to_string();
        text.sample("_bucket", &[("shard", shard), ("le", &limit)], below);
    }
    let count = of.count();
    text.sample("_bucket", &[("shard", shard), ("le", "+Inf")], count);
    text.sample("_sum", &[("shard", shard)], seconds(of.sum_ns()));
    text.sample("_count", &[("shard", shard)], count);
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
