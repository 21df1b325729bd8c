//! VARZ: the server in general.

use std::collections::BTreeMap;

use serde::Serialize;

use super::json::{float, is_default, nanos, seconds};
use super::jsz::JetStreamVarz;
use super::time::{UnixNanos, UnixSeconds, uptime};
use super::view::{Merged, ServerFacts, Usage};
use crate::proto::info::PROTOCOL_VERSION;

/// Counts by kind of connection. There are clients only, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByKind {
    pub clients: u64,
    pub routes: u64,
    pub gateways: u64,
    pub leafs: u64,
}

/// What is configured of something that this server does not have.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Absent {}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct DiskWaits {
    pub waiters: u64,
    pub waits: u64,
    pub wait_time: u64,
    pub max_wait_time: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Proxies {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<Proxy>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Proxy {
    pub key: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Varz<'a> {
    pub server_id: &'a str,
    pub server_name: &'a str,
    pub version: &'a str,
    pub proto: u8,
    pub go: &'a str,
    pub host: &'a str,
    pub port: u16,
    #[serde(skip_serializing_if = "is_default")]
    pub auth_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_verify: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub connect_urls: &'a [String],
    pub max_connections: usize,
    #[serde(skip_serializing_if = "is_default")]
    pub max_subscriptions: usize,
    pub ping_interval: u64,
    pub ping_max: u32,
    pub http_host: &'a str,
    pub http_port: i64,
    pub http_base_path: &'a str,
    pub https_port: i64,
    #[serde(serialize_with = "float")]
    pub auth_timeout: f64,
    pub max_control_line: usize,
    pub max_payload: usize,
    pub max_pending: usize,
    pub cluster: Absent,
    pub gateway: Absent,
    pub leaf: Absent,
    pub mqtt: Absent,
    pub websocket: Absent,
    pub jetstream: JetStreamVarz,
    #[serde(serialize_with = "float")]
    pub tls_timeout: f64,
    pub write_deadline: u64,
    pub start: UnixNanos,
    pub now: UnixNanos,
    pub uptime: String,
    pub mem: u64,
    pub cores: usize,
    pub gomaxprocs: usize,
    #[serde(serialize_with = "float")]
    pub cpu: f64,
    pub connections: u64,
    pub total_connections: u64,
    pub routes: u64,
    pub remotes: u64,
    pub leafnodes: u64,
    pub in_msgs: u64,
    pub in_bytes: u64,
    pub in_client_msgs: u64,
    pub in_client_bytes: u64,
    pub out_msgs: u64,
    pub out_bytes: u64,
    pub out_client_msgs: u64,
    pub out_client_bytes: u64,
    pub slow_consumers: u64,
    pub stale_connections: u64,
    pub stalled_clients: u64,
    pub subscriptions: u64,
    pub http_req_stats: &'a BTreeMap<String, u64>,
    pub config_load_time: UnixNanos,
    pub config_digest: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub system_account: &'a str,
    pub slow_consumer_stats: ByKind,
    pub stale_connection_stats: ByKind,
    pub disk_io_wait_stats: DiskWaits,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<Proxies>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert_not_after: Option<UnixSeconds>,
}

/// VARZ of these facts.
pub fn varz<'a>(
    server: &'a ServerFacts,
    merged: &Merged,
    usage: Usage,
    http_requests: &'a BTreeMap<String, u64>,
    now: UnixNanos,
) -> Varz<'a> {
    let limits = &server.limits;
    let traffic = &merged.traffic;
    Varz {
        server_id: &server.identity.id,
        server_name: &server.identity.name,
        version: PROTOCOL_VERSION,
        proto: 1,
        // Tools expect the field; there is no Go here.
        go: "",
        host: &server.identity.host,
        port: server.identity.port,
        auth_required: server.auth_required,
        tls_required: server.tls.is_some_and(|tls| tls.required),
        tls_verify: server.tls.is_some_and(|tls| tls.verify),
        connect_urls: &server.connect_urls,
        max_connections: limits.max_connections,
        max_subscriptions: limits.max_subscriptions,
        ping_interval: nanos(limits.ping_interval_ms),
        ping_max: limits.ping_max,
        http_host: &server.monitor.host,
        http_port: server.monitor.http_port,
        http_base_path: &server.monitor.base_path,
        https_port: server.monitor.https_port,
        auth_timeout: seconds(limits.auth_timeout_ms),
        max_control_line: limits.max_control_line_bytes,
        max_payload: limits.max_payload_bytes,
        max_pending: limits.max_pending_bytes,
        cluster: Absent {},
        gateway: Absent {},
        leaf: Absent {},
        mqtt: Absent {},
        websocket: Absent {},
        jetstream: JetStreamVarz::new(server, merged, true),
        tls_timeout: server.tls.map_or(2.0, |tls| tls.timeout_s),
        write_deadline: nanos(limits.write_deadline_ms),
        start: server.started,
        now,
        uptime: uptime(now.since(server.started)),
        mem: usage.resident_bytes,
        cores: server.cores,
        gomaxprocs: server.shards,
        cpu: usage.cpu_percent,
        connections: merged.connections,
        total_connections: merged.total_connections,
        routes: 0,
        remotes: 0,
        leafnodes: 0,
        in_msgs: traffic.in_messages,
        in_bytes: traffic.in_bytes,
        in_client_msgs: traffic.in_messages,
        in_client_bytes: traffic.in_bytes,
        out_msgs: traffic.out_messages,
        out_bytes: traffic.out_bytes,
        out_client_msgs: traffic.out_messages,
        out_client_bytes: traffic.out_bytes,
        slow_consumers: merged.slow_consumers,
        stale_connections: merged.stale_connections,
        stalled_clients: merged.stalls,
        subscriptions: merged.subscriptions,
        http_req_stats: http_requests,
        config_load_time: server.config_loaded,
        config_digest: &server.config_digest,
        tags: &server.tags,
        metadata: &server.metadata,
        system_account: &server.system_account,
        slow_consumer_stats: ByKind {
            clients: merged.slow_consumers,
            ..ByKind::default()
        },
        stale_connection_stats: ByKind {
            clients: merged.stale_connections,
            ..ByKind::default()
        },
        disk_io_wait_stats: DiskWaits::default(),
        proxies: server.trusted_proxies.as_ref().map(|keys| Proxies {
            trusted: keys.iter().map(|key| Proxy { key: key.clone() }).collect(),
        }),
        tls_cert_not_after: server.tls.and_then(|tls| tls.not_after),
    }
}
