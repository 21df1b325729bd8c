//! What the system account is told unasked: the messages and their subjects.

use serde::{Deserialize, Serialize};

use super::accounts::{AccountStat, Count};
use super::connz::{client_type, shown_token};
use super::json::is_default;
use super::time::UnixNanos;
use super::view::ServerFacts;
use crate::proto::info::PROTOCOL_VERSION;
use crate::shard::facts::ConnFacts;

const CONNECT_TYPE: &str = "io.nats.server.advisory.v1.client_connect";
const DISCONNECT_TYPE: &str = "io.nats.server.advisory.v1.client_disconnect";
const ACCOUNT_CONNECTIONS_TYPE: &str = "io.nats.server.advisory.v1.account_connections";

/// The flag for JetStream. The others are about copies of streams, of which there are none.
const HAS_JETSTREAM: u64 = 1;

/// What each event says of its server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerInfo<'a> {
    pub name: &'a str,
    pub host: &'a str,
    pub id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub domain: &'a str,
    pub ver: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub tags: &'a [String],
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub metadata: &'a std::collections::BTreeMap<String, String>,
    pub jetstream: bool,
    pub flags: u64,
    pub seq: u64,
    pub time: UnixNanos,
}

impl<'a> ServerInfo<'a> {
    /// Of this server, in its message number `seq`.
    pub fn new(server: &'a ServerFacts, seq: u64, time: UnixNanos) -> Self {
        Self {
            name: &server.identity.name,
            host: &server.identity.host,
            id: &server.identity.id,
            domain: server.domain(),
            ver: PROTOCOL_VERSION,
            tags: &server.tags,
            metadata: &server.metadata,
            jetstream: server.jetstream.is_some(),
            flags: match server.jetstream {
                Some(_) => HAS_JETSTREAM,
                None => 0,
            },
            seq,
            time,
        }
    }
}

/// A client, as events and requests describe it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClientInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<UnixNanos>,
    #[serde(skip_serializing_if = "is_default")]
    pub host: String,
    #[serde(skip_serializing_if = "is_default")]
    pub id: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub acc: String,
    #[serde(skip_serializing_if = "is_default")]
    pub user: String,
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub lang: String,
    #[serde(skip_serializing_if = "is_default")]
    pub ver: String,
    #[serde(skip_serializing_if = "is_default")]
    pub rtt: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<UnixNanos>,
    #[serde(skip_serializing_if = "is_default")]
    pub jwt: String,
    #[serde(skip_serializing_if = "is_default")]
    pub issuer_key: String,
    #[serde(skip_serializing_if = "is_default")]
    pub name_tag: String,
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    pub client_type: &'static str,
}

impl ClientInfo {
    /// Of this connection.
    pub fn new(server: &ServerFacts, facts: &ConnFacts) -> Self {
        let text = |value: &Option<Box<str>>| value.as_deref().unwrap_or_default().to_owned();
        let claims = facts.claims.as_deref();
        Self {
            start: Some(server.moment(facts.started_at)),
            host: facts.peer.ip().to_string(),
            id: facts.client_id,
            acc: facts.account.to_string(),
            user: text(&facts.user),
            name: text(&facts.name),
            lang: text(&facts.lang),
            ver: text(&facts.version),
            rtt: 0,
            stop: None,
            jwt: claims
                .map(|c| shown_token(c).to_owned())
                .unwrap_or_default(),
            issuer_key: claims.map(|c| c.issuer_key.to_string()).unwrap_or_default(),
            name_tag: server.name_tag(&facts.account).to_owned(),
            tags: claims
                .map(|c| c.tags.iter().map(|tag| tag.to_string()).collect())
                .unwrap_or_default(),
            kind: "Client",
            client_type: client_type(facts.connection_type),
        }
    }
}

/// What a request that came through a service import says of who asks; the rest of it is not
/// needed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Requester {
    pub id: u64,
    pub acc: String,
    /// The account of the service, where the request came through several imports.
    pub svc: String,
    pub user: String,
    pub name_tag: String,
}

/// What every event begins with.
#[derive(Clone, Debug, Serialize)]
pub struct Typed {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub id: String,
    pub timestamp: UnixNanos,
}

#[derive(Clone, Debug, Serialize)]
pub struct Connect<'a> {
    #[serde(flatten)]
    pub typed: Typed,
    pub server: ServerInfo<'a>,
    pub client: ClientInfo,
}

#[derive(Clone, Debug, Serialize)]
pub struct Disconnect<'a> {
    #[serde(flatten)]
    pub typed: Typed,
    pub server: ServerInfo<'a>,
    pub client: ClientInfo,
    pub sent: Count,
    pub received: Count,
    pub reason: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct AccountConnections<'a> {
    #[serde(flatten)]
    pub typed: Typed,
    pub server: ServerInfo<'a>,
    #[serde(flatten)]
    pub stat: AccountStat,
}

/// A client was let in.
pub fn connect<'a>(
    server: &'a ServerFacts,
    facts: &ConnFacts,
    id: String,
    info: ServerInfo<'a>,
) -> Connect<'a> {
    Connect {
        typed: Typed {
            kind: CONNECT_TYPE,
            id,
            timestamp: info.time,
        },
        client: ClientInfo::new(server, facts),
        server: info,
    }
}

/// A client is gone, or was not let in.
pub fn disconnect<'a>(
    server: &'a ServerFacts,
    facts: &ConnFacts,
    stop: UnixNanos,
    reason: String,
    id: String,
    info: ServerInfo<'a>,
) -> Disconnect<'a> {
    let traffic = &facts.traffic;
    Disconnect {
        typed: Typed {
            kind: DISCONNECT_TYPE,
            id,
            timestamp: stop,
        },
        server: info,
        client: ClientInfo {
            rtt: facts.round_trip_ns.unwrap_or(0),
            stop: Some(stop),
            ..ClientInfo::new(server, facts)
        },
        // Here, sent is what the client has sent.
        sent: Count {
            msgs: traffic.in_messages,
            bytes: traffic.in_bytes,
        },
        received: Count {
            msgs: traffic.out_messages,
            bytes: traffic.out_bytes,
        },
        reason,
    }
}

/// An account's number of connections has changed, or nothing has for a while.
pub fn account_connections(
    stat: AccountStat,
    id: String,
    info: ServerInfo<'_>,
) -> AccountConnections<'_> {
    AccountConnections {
        typed: Typed {
            kind: ACCOUNT_CONNECTIONS_TYPE,
            id,
            timestamp: info.time,
        },
        server: info,
        stat,
    }
}
