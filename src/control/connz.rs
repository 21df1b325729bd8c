//! CONNZ: connections, open and closed.
//!
//! Connections are filtered, sorted and cut to the page before anything is rendered, and
//! subscriptions are fetched for the connections of the page only.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::filter::collide;
use super::json::is_default;
use super::subsz::SubDetail;
use super::time::{UnixNanos, duration, uptime};
use super::view::{GLOBAL_ACCOUNT, House, Merged, ServerFacts, page};
use crate::auth::admission::ClaimsFacts;
use crate::auth::certificate::Summary;
use crate::auth::definition::ConnectionType;
use crate::shard::facts::{ConnFacts, Farewell, SubFacts, Wanted, WantedSubscriptions};

/// Connections in an answer that asks for no number.
pub const LIMIT_DEFAULT: i64 = 1024;
/// Closed connections that are remembered.
const CLOSED_MAX: usize = 10_000;

/// Which connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Open,
    Closed,
    All,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub sort: String,
    pub auth: bool,
    pub subscriptions: bool,
    pub subscriptions_detail: bool,
    pub offset: i64,
    pub limit: i64,
    pub cid: u64,
    pub mqtt_client: String,
    pub state: State,
    pub user: String,
    pub account: String,
    pub filter_subject: String,
}

/// Connections that have closed, the latest of them.
#[derive(Debug, Default)]
pub struct ClosedConnections(VecDeque<Farewell>);

impl ClosedConnections {
    /// Remembers one.
    pub fn push(&mut self, farewell: Farewell) {
        if self.0.len() == CLOSED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(farewell);
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Connz {
    pub server_id: String,
    pub now: UnixNanos,
    pub num_connections: usize,
    pub total: usize,
    pub offset: i64,
    pub limit: i64,
    /// `null` where the account is not known.
    pub connections: Option<Vec<ConnInfo>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ConnInfo {
    pub cid: u64,
    pub kind: &'static str,
    #[serde(rename = "type")]
    pub client_type: &'static str,
    pub ip: String,
    pub port: u16,
    pub start: UnixNanos,
    pub last_activity: UnixNanos,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<UnixNanos>,
    #[serde(skip_serializing_if = "is_default")]
    pub reason: String,
    pub rtt: String,
    pub uptime: String,
    pub idle: String,
    pub pending_bytes: usize,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub stalls: u64,
    pub subscriptions: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub lang: String,
    #[serde(skip_serializing_if = "is_default")]
    pub version: String,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_version: String,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_cipher_suite: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_peer_certs: Vec<PeerCertificate>,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_first: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub authorized_user: String,
    #[serde(skip_serializing_if = "is_default")]
    pub account: String,
    #[serde(skip_serializing_if = "is_default")]
    pub subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub subscriptions_list_detail: Vec<SubDetail>,
    #[serde(skip_serializing_if = "is_default")]
    pub jwt: String,
    #[serde(skip_serializing_if = "is_default")]
    pub issuer_key: String,
    #[serde(skip_serializing_if = "is_default")]
    pub name_tag: String,
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<super::varz::Proxy>,
}

/// A certificate that a client has presented.
#[derive(Clone, Debug, Serialize)]
pub struct PeerCertificate {
    #[serde(skip_serializing_if = "is_default")]
    pub subject: String,
    pub spki_sha256: String,
    pub cert_sha256: String,
}

/// What monitoring calls a kind of client.
pub fn client_type(connection_type: ConnectionType) -> &'static str {
    match connection_type {
        ConnectionType::Standard | ConnectionType::Leafnode | ConnectionType::InProcess => "nats",
        ConnectionType::Mqtt | ConnectionType::MqttWs => "mqtt",
        ConnectionType::Websocket | ConnectionType::LeafnodeWs => "websocket",
    }
}

/// A round trip, without digits that say nothing.
pub fn round_trip_text(nanos: Option<u64>) -> String {
    let nanos = nanos.unwrap_or(0);
    let shown = match nanos {
        1_000..1_000_000 => nanos / 1000 * 1000,
        _ => nanos,
    };
    duration(shown)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Cid,
    Subscriptions,
    Pending,
    OutMessages,
    InMessages,
    OutBytes,
    InBytes,
    Last,
    Idle,
    Uptime,
    Stop,
    Reason,
    RoundTrip,
}

impl Sort {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "" | "cid" | "start" => Sort::Cid,
            "subs" => Sort::Subscriptions,
            "pending" => Sort::Pending,
            "msgs_to" => Sort::OutMessages,
            "msgs_from" => Sort::InMessages,
            "bytes_to" => Sort::OutBytes,
            "bytes_from" => Sort::InBytes,
            "last" => Sort::Last,
            "idle" => Sort::Idle,
            "uptime" => Sort::Uptime,
            "stop" => Sort::Stop,
            "reason" => Sort::Reason,
            "rtt" => Sort::RoundTrip,
            _ => return None,
        })
    }
}

/// A connection that may be in the answer.
enum Candidate<'a> {
    Open(&'a ConnFacts),
    Closed(&'a Farewell),
}

impl Candidate<'_> {
    fn facts(&self) -> &ConnFacts {
        match self {
            Candidate::Open(facts) => facts,
            Candidate::Closed(farewell) => &farewell.facts,
        }
    }

    fn farewell(&self) -> Option<&Farewell> {
        match self {
            Candidate::Open(_) => None,
            Candidate::Closed(farewell) => Some(farewell),
        }
    }

    /// How long it lived, by the shards' clock.
    fn lifetime(&self, now: u64) -> u64 {
        let end = self.farewell().map_or(now, |f| f.stopped_at);
        end.saturating_sub(self.facts().started_at)
    }

    /// All but numbers, uptimes and reasons descend; equal ones are in the order of their numbers.
    fn compare(&self, other: &Self, sort: Sort, now: u64) -> Ordering {
        let (a, b) = (self.facts(), other.facts());
        let descending = |key: fn(&ConnFacts) -> u64| key(b).cmp(&key(a));
        let order = match sort {
            Sort::Cid => Ordering::Equal,
            Sort::Subscriptions => descending(|c| u64::from(c.subscriptions)),
            Sort::Pending => descending(|c| c.pending_bytes as u64),
            Sort::OutMessages => descending(|c| c.traffic.out_messages),
            Sort::InMessages => descending(|c| c.traffic.in_messages),
            Sort::OutBytes => descending(|c| c.traffic.out_bytes),
            Sort::InBytes => descending(|c| c.traffic.in_bytes),
            Sort::Last => descending(|c| c.active_at),
            Sort::Idle => a.active_at.cmp(&b.active_at),
            Sort::Uptime => self.lifetime(now).cmp(&other.lifetime(now)),
            Sort::Stop => {
                let stop = |c: &Self| c.farewell().map(|f| f.stopped_at);
                stop(other).cmp(&stop(self))
            }
            Sort::Reason => {
                let reason = |c: &Self| c.farewell().map(|f| f.reason.to_string());
                reason(self).cmp(&reason(other))
            }
            Sort::RoundTrip => descending(|c| c.round_trip_ns.unwrap_or(0)),
        };
        order.then(a.client_id.cmp(&b.client_id))
    }
}

/// CONNZ of what these options ask for.
///
/// # Errors
/// Options that do not go together; the text is for the peer.
pub fn connz(
    house: &mut dyn House,
    server: &ServerFacts,
    closed: &ClosedConnections,
    options: &Options,
) -> Result<Connz, String> {
    let sort = Sort::parse(&options.sort)
        .ok_or_else(|| format!("invalid sorting option: {}", options.sort))?;
    let word = match sort {
        Sort::Stop => Some("stop"),
        Sort::Reason => Some("reason"),
        _ => None,
    };
    if let Some(word) = word.filter(|_| options.state != State::Closed) {
        return Err(format!("sort by {word} only valid on closed connections"));
    }
    let by_subject = !options.filter_subject.is_empty() && options.filter_subject != ">";
    if by_subject && options.account.is_empty() {
        return Err("filter by subject only valid with account filtering".to_owned());
    }
    let limit = match options.limit {
        _ if options.cid > 0 => 1,
        ..=0 => LIMIT_DEFAULT,
        limit => limit,
    };
    let offset = options.offset.max(0);
    let mut answer = Connz {
        server_id: String::new(),
        now: house.now(),
        num_connections: 0,
        total: 0,
        offset,
        limit,
        connections: None,
    };
    let account: Option<Arc<str>> = match options.account.as_str() {
        "" => None,
        // As in nats-server: not even the server's id.
        name if server.account(name).is_none() => return Ok(answer),
        name => Some(name.into()),
    };
    answer.server_id.clone_from(&server.identity.id);

    let mut open = Merged::default();
    if options.state != State::Closed {
        let wanted = Wanted {
            connections: true,
            subscriptions: if by_subject {
                WantedSubscriptions::All
            } else {
                WantedSubscriptions::None
            },
            account: account.clone(),
            ..Wanted::default()
        };
        open = Merged::ask(house, &wanted);
        // Taken after the facts, so that nobody is active in the future.
        answer.now = house.now();
    }
    let is_of_account =
        |facts: &ConnFacts| account.as_ref().is_none_or(|name| *name == facts.account);
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    candidates.extend(open.connections_list.iter().map(Candidate::Open));
    if options.state != State::Open {
        let closed = closed.0.iter().filter(|c| is_of_account(&c.facts));
        candidates.extend(closed.map(Candidate::Closed));
    }
    answer.total = candidates.len();
    let interested: HashSet<u64> = open
        .subscriptions_list
        .iter()
        .filter(|sub| by_subject && collide(&sub.subject, &options.filter_subject))
        .map(|sub| sub.client_id)
        .collect();
    candidates.retain(|candidate| {
        let facts = candidate.facts();
        (options.cid == 0 || facts.client_id == options.cid)
            && (options.user.is_empty() || facts.user.as_deref() == Some(&options.user))
            // There are no MQTT clients.
            && options.mqtt_client.is_empty()
            && (!by_subject
                || candidate.farewell().is_some()
                || interested.contains(&facts.client_id))
    });
    let now_ms = answer.now.since(server.started) / 1_000_000 + 1;
    candidates.sort_by(|a, b| a.compare(b, sort, now_ms));
    let page = &candidates[page(candidates.len(), offset, limit)];

    let with_subscriptions = options.subscriptions || options.subscriptions_detail;
    let subscriptions = if with_subscriptions {
        subscriptions_of(house, page)
    } else {
        Vec::new()
    };
    let mut connections = Vec::with_capacity(page.len());
    for candidate in page {
        let mut info = info(server, candidate, answer.now);
        if options.auth {
            add_authorization(server, candidate, &mut info);
        }
        let own: &[SubFacts] = match candidate {
            Candidate::Closed(farewell) => &farewell.subscriptions,
            Candidate::Open(facts) => of_client(&subscriptions, facts.client_id),
        };
        if options.subscriptions_detail {
            let detail = |sub| match candidate {
                Candidate::Open(_) => SubDetail::of_client(sub),
                // As in nats-server, which has nothing else of them any more.
                Candidate::Closed(_) => SubDetail::of_account(server, sub),
            };
            info.subscriptions_list_detail = own.iter().map(detail).collect();
        } else if options.subscriptions {
            info.subscriptions_list = own.iter().map(|sub| sub.subject.to_string()).collect();
        }
        connections.push(info);
    }
    answer.num_connections = connections.len();
    answer.connections = Some(connections);
    Ok(answer)
}

/// Subscriptions of the open connections of a page, by connection.
fn subscriptions_of(house: &mut dyn House, page: &[Candidate<'_>]) -> Vec<SubFacts> {
    let mut ids: Vec<u64> = page
        .iter()
        .filter(|candidate| candidate.farewell().is_none())
        .map(|candidate| candidate.facts().client_id)
        .collect();
    ids.sort_unstable();
    let wanted = Wanted {
        subscriptions: WantedSubscriptions::Of(ids.into()),
        ..Wanted::default()
    };
    let mut list = Merged::ask(house, &wanted).subscriptions_list;
    list.sort_by_key(|sub| sub.client_id);
    list
}

fn of_client(sorted: &[SubFacts], client_id: u64) -> &[SubFacts] {
    let from = sorted.partition_point(|sub| sub.client_id < client_id);
    let to = sorted.partition_point(|sub| sub.client_id <= client_id);
    &sorted[from..to]
}

fn info(server: &ServerFacts, candidate: &Candidate<'_>, now: UnixNanos) -> ConnInfo {
    let facts = candidate.facts();
    let farewell = candidate.farewell();
    let start = server.moment(facts.started_at);
    let last_activity = server.moment(facts.active_at);
    let stop = farewell.map(|f| server.moment(f.stopped_at));
    let until = stop.unwrap_or(now);
    let text = |value: &Option<Box<str>>| value.as_deref().unwrap_or_default().to_owned();
    let tls = facts.tls.as_deref();
    ConnInfo {
        cid: facts.client_id,
        kind: "Client",
        client_type: client_type(facts.connection_type),
        ip: facts.peer.ip().to_string(),
        port: facts.peer.port(),
        start,
        last_activity,
        stop,
        reason: farewell.map(|f| f.reason.to_string()).unwrap_or_default(),
        rtt: round_trip_text(facts.round_trip_ns),
        uptime: uptime(until.since(start)),
        idle: uptime(until.since(last_activity)),
        pending_bytes: facts.pending_bytes,
        in_msgs: facts.traffic.in_messages,
        out_msgs: facts.traffic.out_messages,
        in_bytes: facts.traffic.in_bytes,
        out_bytes: facts.traffic.out_bytes,
        stalls: facts.stalls,
        subscriptions: facts.subscriptions,
        name: text(&facts.name),
        lang: text(&facts.lang),
        version: text(&facts.version),
        tls_version: tls.map(|t| t.version.to_owned()).unwrap_or_default(),
        tls_cipher_suite: tls.map(|t| t.cipher_suite.clone()).unwrap_or_default(),
        tls_peer_certs: Vec::new(),
        tls_first: tls.is_some_and(|t| t.first),
        authorized_user: String::new(),
        account: String::new(),
        subscriptions_list: Vec::new(),
        subscriptions_list_detail: Vec::new(),
        jwt: String::new(),
        issuer_key: String::new(),
        name_tag: String::new(),
        tags: Vec::new(),
        proxy: facts.proxy.as_ref().map(|key| super::varz::Proxy {
            key: key.to_string(),
        }),
    }
}

/// The token that monitoring shows of claims. One that lets in whoever has it is a secret.
pub fn shown_token(claims: &ClaimsFacts) -> &str {
    if claims.bearer { "" } else { &claims.jwt }
}

fn add_authorization(server: &ServerFacts, candidate: &Candidate<'_>, info: &mut ConnInfo) {
    let facts = candidate.facts();
    info.authorized_user = facts.user.as_deref().unwrap_or_default().to_owned();
    let is_global = &*facts.account == GLOBAL_ACCOUNT;
    if !is_global {
        info.account = facts.account.to_string();
    }
    if !is_global || candidate.farewell().is_none() {
        info.name_tag = server.name_tag(&facts.account).to_owned();
    }
    if let Some(tls) = &facts.tls {
        let summaries = tls
            .peer_certificates
            .iter()
            .filter_map(|der| Summary::of(der));
        info.tls_peer_certs = summaries
            .map(|summary| PeerCertificate {
                subject: summary.subject,
                spki_sha256: summary.public_key_sha256,
                cert_sha256: summary.sha256,
            })
            .collect();
    }
    if let Some(claims) = &facts.claims {
        info.jwt = shown_token(claims).to_owned();
        info.issuer_key = claims.issuer_key.to_string();
        info.tags = claims.tags.iter().map(|tag| tag.to_string()).collect();
    }
}
