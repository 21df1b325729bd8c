//! STATSZ: the server's counts, as servers tell each other and operators every few seconds.

use serde::Serialize;

use super::accounts::Count;
use super::json::{float, is_default};
use super::jsz::JetStreamVarz;
use super::time::UnixNanos;
use super::varz::ByKind;
use super::view::{Merged, ServerFacts, Usage};

#[derive(Clone, Debug, Serialize)]
pub struct ServerStats {
    pub start: UnixNanos,
    pub mem: u64,
    pub cores: usize,
    #[serde(serialize_with = "float")]
    pub cpu: f64,
    pub connections: u64,
    pub total_connections: u64,
    pub active_accounts: usize,
    pub subscriptions: u64,
    pub sent: Count,
    pub sent_to_clients: Count,
    pub received: Count,
    pub received_from_clients: Count,
    pub slow_consumers: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub slow_consumer_stats: ByKind,
    #[serde(skip_serializing_if = "is_default")]
    pub stale_connections: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub stale_connection_stats: ByKind,
    #[serde(skip_serializing_if = "is_default")]
    pub stalled_clients: u64,
    pub active_servers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jetstream: Option<JetStreamVarz>,
    pub gomaxprocs: usize,
}

/// STATSZ of these facts.
pub fn statsz(server: &ServerFacts, merged: &Merged, usage: Usage) -> ServerStats {
    let sent = Count {
        msgs: merged.traffic.out_messages,
        bytes: merged.traffic.out_bytes,
    };
    let received = Count {
        msgs: merged.traffic.in_messages,
        bytes: merged.traffic.in_bytes,
    };
    let of_clients = |clients| ByKind {
        clients,
        ..ByKind::default()
    };
    let active = merged.accounts.values().filter(|a| a.connections > 0);
    ServerStats {
        start: server.started,
        mem: usage.resident_bytes,
        cores: server.cores,
        cpu: usage.cpu_percent,
        connections: merged.connections,
        total_connections: merged.total_connections,
        active_accounts: active.count(),
        subscriptions: merged.subscriptions,
        sent,
        sent_to_clients: sent,
        received,
        received_from_clients: received,
        slow_consumers: merged.slow_consumers,
        slow_consumer_stats: of_clients(merged.slow_consumers),
        stale_connections: merged.stale_connections,
        stale_connection_stats: of_clients(merged.stale_connections),
        stalled_clients: merged.stalls,
        active_servers: 1,
        jetstream: server
            .jetstream
            .as_ref()
            .map(|_| JetStreamVarz::new(server, merged, false)),
        gomaxprocs: server.shards,
    }
}
