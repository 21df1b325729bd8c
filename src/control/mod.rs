//! The operator's view: what the system account is told and can ask.
//!
//! [`Control`] is a state machine without I/O: messages, notices and the passing of time go in,
//! messages to publish come out. It is a client of the house: it sees what shards tell through
//! [`House`] and never reaches into one. Must not know sockets, threads, or how a message gets to
//! it. Rendering (`varz`, `connz`, …) is apart from requests, because the same is to be had over
//! HTTP.

pub mod accounts;
pub mod claims;
pub mod compress;
pub mod connz;
pub mod endpoints;
pub mod events;
mod filter;
pub mod general;
pub mod health;
pub mod json;
pub mod jsz;
pub mod metrics;
mod nuid;
pub mod options;
pub mod page;
pub mod requests;
pub mod shardz;
pub mod statsz;
pub mod subsz;
pub mod time;
pub mod varz;
pub mod view;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::shard::facts::{ConnFacts, Farewell, Notice, Wanted};
use accounts::AccountStat;
use compress::Encoding;
use connz::ClosedConnections;
use events::{ServerInfo, account_connections, connect, disconnect};
use json::compact;
use nuid::Nuid;
use requests::{Answer, Request};
use statsz::{ServerStats, statsz};
use time::UnixNanos;
use view::{GLOBAL_ACCOUNT, House, Merged, ServerFacts, silence};

const NANOS_PER_MS: u64 = 1_000_000;
/// Statistics are published this soon after the start, then twice as late each time …
const STATSZ_FIRST_NS: u64 = 250 * NANOS_PER_MS;
/// … up to this.
const STATSZ_INTERVAL_NS: u64 = 10_000 * NANOS_PER_MS;
/// And not more often than this, however they are asked for.
const STATSZ_GAP_NS: u64 = 1_000 * NANOS_PER_MS;
/// Changes of accounts' connections that follow each other faster than this are told together:
/// counting is work for the shards.
const ACCOUNT_GAP_NS: u64 = 50 * NANOS_PER_MS;
/// Between two events of an account's connections, when nothing changes.
const ACCOUNT_INTERVAL_NS: u64 = 30_000 * NANOS_PER_MS;

/// Requests to read the configuration again that may wait for the end of it.
const RELOADS_MAX: usize = 64;
/// What is a sum over all shards. Without one of them it would be less than it was.
const SUMS: [&str; 2] = ["VARZ", "STATZ"];

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// In which account; `None` for the system account.
    pub account: Option<Arc<str>>,
    pub subject: String,
    /// With the version line; empty for none.
    pub headers: &'static str,
    pub payload: Vec<u8>,
}

/// The operator's view.
#[derive(Debug)]
pub struct Control {
    server: Arc<ServerFacts>,
    closed: ClosedConnections,
    http_requests: BTreeMap<String, u64>,
    ids: Nuid,
    /// Messages of this server so far.
    sequence: u64,
    statsz_at: UnixNanos,
    statsz_interval_ns: u64,
    last_statsz: UnixNanos,
    /// Accounts with connections, and when to say so again.
    accounts: BTreeMap<Arc<str>, UnixNanos>,
    /// When accounts were last counted because of a change.
    accounts_counted: UnixNanos,
    outgoing: Vec<Outgoing>,
    /// Who waits for a reload, and how they want to be answered, by ticket.
    reloads: BTreeMap<u64, (String, Encoding)>,
    last_ticket: u64,
}

/// Whether this is what a request asks for.
fn is_about(subject: &str, name: &str) -> bool {
    subject.rsplit('.').next() == Some(name)
}

/// The envelope of answers.
#[derive(Serialize)]
struct Envelope<'a> {
    server: ServerInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError<'a>>,
}

#[derive(Serialize)]
struct ApiError<'a> {
    code: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
}

#[derive(Serialize)]
struct ServerStatsMessage<'a> {
    server: ServerInfo<'a>,
    statsz: ServerStats,
}

impl Control {
    /// Begins at `now`. `seed` is for the ids of events.
    pub fn new(server: Arc<ServerFacts>, seed: u64, now: UnixNanos) -> Self {
        Self {
            server,
            closed: ClosedConnections::default(),
            http_requests: BTreeMap::new(),
            ids: Nuid::new(seed),
            sequence: 0,
            statsz_at: UnixNanos(now.0 + STATSZ_FIRST_NS),
            statsz_interval_ns: STATSZ_FIRST_NS,
            last_statsz: UnixNanos(0),
            accounts: BTreeMap::new(),
            accounts_counted: UnixNanos(0),
            outgoing: Vec::new(),
            reloads: BTreeMap::new(),
            last_ticket: 0,
        }
    }

    /// The subjects to subscribe to in the system account.
    pub fn subjects(&self) -> Vec<String> {
        requests::subjects(&self.server.identity.id)
    }

    /// The configuration has changed.
    pub fn set_server(&mut self, mut server: Arc<ServerFacts>) {
        // That is for ever, whatever is configured.
        if self.server.is_lame_duck {
            Arc::make_mut(&mut server).is_lame_duck = true;
        }
        self.server = server;
    }

    /// What is to be published.
    pub fn take_outgoing(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outgoing)
    }

    /// When [`Control::tick`] is due.
    pub fn next_tick(&self) -> UnixNanos {
        let accounts = self.accounts.values().copied().min();
        accounts.map_or(self.statsz_at, |at| at.min(self.statsz_at))
    }

    /// Takes a message on one of the subjects; `reply` is empty for none.
    pub fn handle_message(
        &mut self,
        house: &mut dyn House,
        subject: &str,
        reply: &str,
        headers: &[u8],
        body: &[u8],
    ) {
        if claims::is_request(subject) {
            let now = house.now();
            if let Some(registry) = house.registry() {
                let answers = claims::answer(registry, subject, !reply.is_empty(), body);
                self.answer_about_claims(reply, answers, now);
            }
            return;
        }
        let server = Arc::clone(&self.server);
        house.take_silent();
        let answer = Request {
            house,
            server: &server,
            closed: &self.closed,
            http_requests: &self.http_requests,
            subject,
            headers,
            body,
            has_reply: !reply.is_empty(),
        }
        .answer();
        let now = house.now();
        let answer = match silence(&house.take_silent()) {
            Some(text) if SUMS.iter().any(|name| is_about(subject, name)) => Answer::Error {
                code: 503,
                text,
                with_data: true,
            },
            Some(_) | None => answer,
        };
        match answer {
            Answer::None => {}
            Answer::Bare(payload) => self.publish(reply, payload),
            Answer::Data(data) => {
                let data = serde_json::from_slice(&data).expect("it was just serialised");
                let encoding = Encoding::accepted(headers);
                self.respond(reply, Some(data), None, encoding, now);
            }
            Answer::Done => {
                self.respond(reply, None, None, Encoding::accepted(headers), now);
            }
            Answer::Error {
                code,
                text,
                with_data,
            } => {
                let null = with_data.then_some(RawValue::NULL);
                let error = ApiError {
                    code,
                    description: &text,
                };
                self.respond(reply, null, Some(error), Encoding::Plain, now);
            }
            Answer::Reload => self.reload(house, reply, Encoding::accepted(headers), now),
            Answer::Statsz if reply.is_empty() => {
                self.last_statsz = UnixNanos(0);
                self.broadcast_statsz(house);
            }
            Answer::Statsz => self.publish_statsz(house, reply),
            Answer::AccountConnections(account) => {
                let merged = Merged::ask(house, &Wanted::default());
                self.account_event(&account, &merged, now, &[reply]);
            }
        }
    }

    fn reload(&mut self, house: &mut dyn House, reply: &str, encoding: Encoding, now: UnixNanos) {
        if self.reloads.len() >= RELOADS_MAX {
            let error = ApiError {
                code: 503,
                description: "too many requests to reload are waiting already",
            };
            return self.respond(reply, None, Some(error), Encoding::Plain, now);
        }
        self.last_ticket += 1;
        let waiting = (reply.to_owned(), encoding);
        self.reloads.insert(self.last_ticket, waiting);
        house.reload(self.last_ticket);
    }

    /// The configuration was read again for the request with this ticket, or it is said why it stays as it was.
    pub fn reloaded(&mut self, ticket: u64, result: Result<(), String>, now: UnixNanos) {
        let Some((reply, encoding)) = self.reloads.remove(&ticket) else {
            return;
        };
        match result {
            Ok(()) => self.respond(&reply, None, None, encoding, now),
            Err(text) => {
                let error = ApiError {
                    code: 500,
                    description: &text,
                };
                self.respond(&reply, None, Some(error), Encoding::Plain, now);
            }
        }
    }

    fn answer_about_claims(&mut self, reply: &str, answers: Vec<claims::Answer>, now: UnixNanos) {
        if reply.is_empty() {
            return;
        }
        let server = Arc::clone(&self.server);
        for answer in answers {
            let info = ServerInfo::new(&server, self.next_sequence(), now);
            self.publish(reply, answer.render(info));
        }
    }

    /// Takes what shards have told since the last time.
    pub fn handle_notices(&mut self, house: &mut dyn House, notices: Vec<Notice>) {
        let mut changed: Vec<Arc<str>> = Vec::new();
        let now = house.now();
        for notice in notices {
            match notice {
                Notice::Connected(facts) => {
                    self.connected(&facts, now);
                    changed.push(facts.account);
                }
                Notice::AuthenticationFailed(facts, reason) => {
                    self.authentication_failed(&facts, reason.to_string(), now);
                }
                Notice::Disconnected(farewell) => {
                    self.disconnected(&farewell, now);
                    if farewell.admitted {
                        changed.push(Arc::clone(&farewell.facts.account));
                    }
                    self.closed.push(*farewell);
                }
            }
        }
        changed.retain(|account| **account != *GLOBAL_ACCOUNT);
        if changed.is_empty() {
            return;
        }
        let soonest = UnixNanos(self.accounts_counted.0 + ACCOUNT_GAP_NS);
        for account in changed {
            self.accounts.insert(account, soonest);
        }
        if soonest <= now {
            self.accounts_counted = now;
            self.tell_accounts(house, now);
        }
    }

    /// Tells the connections of accounts of which it is time to.
    fn tell_accounts(&mut self, house: &mut dyn House, now: UnixNanos) {
        let due: Vec<Arc<str>> = self
            .accounts
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(account, _)| Arc::clone(account))
            .collect();
        if due.is_empty() {
            return;
        }
        let merged = Merged::ask(house, &Wanted::default());
        for account in due {
            self.account_changed(&account, &merged, now);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, house: &mut dyn House) {
        let now = house.now();
        if self.statsz_at <= now {
            self.statsz_interval_ns = (self.statsz_interval_ns * 2).min(STATSZ_INTERVAL_NS);
            self.statsz_at = UnixNanos(now.0 + self.statsz_interval_ns);
            self.broadcast_statsz(house);
        }
        self.tell_accounts(house, now);
    }

    /// The server has entered lame duck mode.
    pub fn lame_duck(&mut self, now: UnixNanos) {
        Arc::make_mut(&mut self.server).is_lame_duck = true;
        self.about_server("LAMEDUCK", now);
    }

    /// The server stops.
    pub fn shutdown(&mut self, now: UnixNanos) {
        self.about_server("SHUTDOWN", now);
    }

    fn about_server(&mut self, what: &str, now: UnixNanos) {
        let server = Arc::clone(&self.server);
        let subject = format!("$SYS.SERVER.{}.{what}", server.identity.id);
        let info = ServerInfo::new(&server, self.next_sequence(), now);
        self.publish(&subject, compact(&info));
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn publish(&mut self, subject: &str, payload: Vec<u8>) {
        self.outgoing.push(Outgoing {
            account: None,
            subject: subject.to_owned(),
            headers: "",
            payload,
        });
    }

    fn respond(
        &mut self,
        reply: &str,
        data: Option<&RawValue>,
        error: Option<ApiError<'_>>,
        encoding: Encoding,
        now: UnixNanos,
    ) {
        // KICK and the like are obeyed without being asked for an answer.
        if reply.is_empty() {
            return;
        }
        let sequence = self.next_sequence();
        let plain = compact(&Envelope {
            server: ServerInfo::new(&self.server, sequence, now),
            data,
            error,
        });
        let (payload, headers) = encoding.apply(plain);
        let most = self.server.limits.max_pending_bytes;
        if payload.len() + headers.len() > most {
            // Shard 0 would close the connection for it, and whoever asked would be a slow consumer.
            let text = format!(
                "the answer has {} bytes, more than max_pending allows: {most}",
                payload.len()
            );
            let error = ApiError {
                code: 500,
                description: &text,
            };
            return self.respond(reply, None, Some(error), Encoding::Plain, now);
        }
        self.outgoing.push(Outgoing {
            account: None,
            subject: reply.to_owned(),
            headers,
            payload,
        });
    }

    fn broadcast_statsz(&mut self, house: &mut dyn House) {
        let now = house.now();
        let gap = STATSZ_GAP_NS.min(self.statsz_interval_ns);
        if now.since(self.last_statsz) < gap {
            self.statsz_at = UnixNanos(self.last_statsz.0 + gap);
            return;
        }
        self.last_statsz = now;
        let subject = format!("$SYS.SERVER.{}.STATSZ", self.server.identity.id);
        self.publish_statsz(house, &subject);
    }

    fn publish_statsz(&mut self, house: &mut dyn House, subject: &str) {
        house.take_silent();
        let merged = Merged::ask(house, &Wanted::default());
        if !house.take_silent().is_empty() {
            // Sums that are less than they were would be taken for those of another server.
            return;
        }
        let usage = house.usage();
        let sequence = self.next_sequence();
        let payload = compact(&ServerStatsMessage {
            server: ServerInfo::new(&self.server, sequence, house.now()),
            statsz: statsz(&self.server, &merged, usage),
        });
        self.publish(subject, payload);
    }

    fn connected(&mut self, facts: &ConnFacts, now: UnixNanos) {
        let server = Arc::clone(&self.server);
        let info = ServerInfo::new(&server, self.next_sequence(), now);
        let event = connect(&server, facts, self.ids.next(), info);
        let subject = format!("$SYS.ACCOUNT.{}.CONNECT", facts.account);
        self.publish(&subject, compact(&event));
    }

    fn disconnected(&mut self, farewell: &Farewell, now: UnixNanos) {
        let server = Arc::clone(&self.server);
        let facts = &farewell.facts;
        let stop = server.moment(farewell.stopped_at);
        let info = ServerInfo::new(&server, self.next_sequence(), now);
        let reason = farewell.reason.to_string();
        let event = disconnect(&server, facts, stop, reason, self.ids.next(), info);
        let subject = format!("$SYS.ACCOUNT.{}.DISCONNECT", facts.account);
        self.publish(&subject, compact(&event));
    }

    fn authentication_failed(&mut self, facts: &ConnFacts, reason: String, now: UnixNanos) {
        let server = Arc::clone(&self.server);
        // First to the account, then to the operator.
        let info = ServerInfo::new(&server, self.next_sequence(), now);
        let event = disconnect(&server, facts, now, reason.clone(), self.ids.next(), info);
        self.outgoing.push(Outgoing {
            account: Some(Arc::clone(&facts.account)),
            subject: "$SYS.ACCOUNT.CLIENT.AUTH.ERR".to_owned(),
            headers: "",
            payload: compact(&event),
        });
        let info = ServerInfo::new(&server, self.next_sequence(), now);
        let event = disconnect(&server, facts, now, reason, self.ids.next(), info);
        let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", server.identity.id);
        self.publish(&subject, compact(&event));
    }

    /// Says how many connections an account has, and when to say so again.
    fn account_changed(&mut self, account: &Arc<str>, merged: &Merged, now: UnixNanos) {
        if merged.account(account).connections == 0 {
            self.accounts.remove(account);
        } else {
            let at = UnixNanos(now.0 + ACCOUNT_INTERVAL_NS);
            self.accounts.insert(Arc::clone(account), at);
        }
        let old = format!("$SYS.SERVER.ACCOUNT.{account}.CONNS");
        let new = format!("$SYS.ACCOUNT.{account}.SERVER.CONNS");
        self.account_event(account, merged, now, &[&old, &new]);
    }

    fn account_event(&mut self, account: &str, merged: &Merged, now: UnixNanos, to: &[&str]) {
        let server = Arc::clone(&self.server);
        let id = self.ids.next();
        for subject in to {
            let stat = AccountStat::new(&server, account, &merged.account(account));
            let info = ServerInfo::new(&server, self.next_sequence(), now);
            let event = account_connections(stat, id.clone(), info);
            self.publish(subject, compact(&event));
        }
    }
}

#[cfg(test)]
mod tests;
