//! What can be asked in the system account: which subjects, with which options, and what comes
//! back. How the messages come and go is not known here.

use std::collections::BTreeMap;

use serde::Serialize;

use super::accounts::{account_info, account_statz, accountz};
use super::compress::header;
use super::connz::{self, ClosedConnections, State, connz};
use super::events::Requester;
use super::filter::is_subset;
use super::general::{Expvarz, Gatewayz, Idz, Leafz, Routez, profilez};
use super::health::{HealthOptions, healthz};
use super::json::{compact, is_default};
use super::jsz::{self, account_jsz, jsz};
use super::options::{Field, Slot, read};
use super::subsz::{self, subsz};
use super::varz::{Absent, varz};
use super::view::{House, Merged, ServerFacts, Told};
use crate::auth::definition::PermissionRules;
use crate::auth::system_imports::REQUEST_INFO_HEADER;
use crate::shard::facts::{Wanted, WantedSubscriptions};
use crate::subject;

/// Statistics that every server answers, at its own subject and at the one of all.
const OF_SERVER: [&str; 15] = [
    "IDZ",
    "STATSZ",
    "VARZ",
    "SUBSZ",
    "CONNZ",
    "ROUTEZ",
    "GATEWAYZ",
    "LEAFZ",
    "ACCOUNTZ",
    "JSZ",
    "HEALTHZ",
    "PROFILEZ",
    "EXPVARZ",
    "IPQUEUESZ",
    "RAFTZ",
];
/// Things that one server is told to do.
const TO_SERVER: [&str; 3] = ["RELOAD", "KICK", "LDM"];
/// Statistics of one account.
const OF_ACCOUNT: [&str; 7] = ["SUBSZ", "CONNZ", "LEAFZ", "JSZ", "INFO", "STATZ", "CONNS"];

const PING: &str = "$SYS.REQ.SERVER.PING";
const SERVER_PREFIX: &str = "$SYS.REQ.SERVER.";
const ACCOUNT_PREFIX: &str = "$SYS.REQ.ACCOUNT.";
const USER_PREFIX: &str = "$SYS.REQ.USER.";
const ACCOUNT_SUBSCRIPTIONS: &str = "$SYS.REQ.ACCOUNT.NSUBS";
const DEBUG_SUBSCRIBERS: &str = "$SYS.DEBUG.SUBSCRIBERS";

/// The subjects to subscribe to. Each request matches one of them.
pub fn subjects(server_id: &str) -> Vec<String> {
    let mut subjects = vec![
        PING.to_owned(),
        ACCOUNT_SUBSCRIPTIONS.to_owned(),
        DEBUG_SUBSCRIBERS.to_owned(),
        format!("{USER_PREFIX}*.INFO"),
    ];
    for name in OF_SERVER {
        subjects.push(format!("{PING}.{name}"));
        subjects.push(format!("{SERVER_PREFIX}{server_id}.{name}"));
    }
    subjects.extend(TO_SERVER.map(|name| format!("{SERVER_PREFIX}{server_id}.{name}")));
    // `PING` in place of an account is all of them, where that is known.
    subjects.extend(OF_ACCOUNT.map(|name| format!("{ACCOUNT_PREFIX}*.{name}")));
    subjects
}

/// What comes back.
#[derive(Debug)]
pub enum Answer {
    /// Nothing.
    None,
    /// This, in the envelope.
    Data(Vec<u8>),
    /// The envelope alone.
    Done,
    /// An error in the envelope; `with_data` has `"data":null` before it.
    Error {
        code: u16,
        text: String,
        with_data: bool,
    },
    /// This, without an envelope.
    Bare(Vec<u8>),
    /// The server's statistics, which come in an envelope of their own.
    Statsz,
    /// Whatever comes of reading the configuration again, when it is known.
    Reload,
    /// The event of an account's connections.
    AccountConnections(String),
}

impl Answer {
    fn data<T: Serialize>(data: &T) -> Self {
        Answer::Data(compact(data))
    }

    fn result<T: Serialize>(result: Result<T, String>) -> Self {
        match result {
            Ok(data) => Answer::data(&data),
            Err(text) => Answer::Error {
                code: 500,
                text,
                with_data: true,
            },
        }
    }

    fn done(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Answer::Done,
            Err(text) => Answer::Error {
                code: 500,
                text,
                with_data: false,
            },
        }
    }
}

/// Which servers are asked.
#[derive(Debug, Default)]
struct Filter {
    name: String,
    cluster: String,
    host: String,
    exact: bool,
    tags: Vec<String>,
    domain: String,
}

impl Filter {
    fn fields(&mut self) -> [Field<'_>; 6] {
        [
            ("server_name", Slot::Text(&mut self.name, "string")),
            ("cluster", Slot::Text(&mut self.cluster, "string")),
            ("host", Slot::Text(&mut self.host, "string")),
            ("exact_match", Slot::Flag(&mut self.exact)),
            ("tags", Slot::Texts(&mut self.tags)),
            ("domain", Slot::Text(&mut self.domain, "string")),
        ]
    }

    fn asks(&self, server: &ServerFacts) -> bool {
        let matches = |wanted: &str, own: &str| {
            wanted.is_empty()
                || (self.exact && own == wanted)
                || (!self.exact && own.contains(wanted))
        };
        let has_tag = |tag: &String| {
            let tag = tag.trim();
            server.tags.iter().any(|own| own.eq_ignore_ascii_case(tag))
        };
        matches(&self.name, &server.identity.name)
            && matches(&self.host, &server.identity.host)
            && matches(&self.cluster, "")
            && self.tags.iter().all(has_tag)
            && (self.domain.is_empty() || self.domain == server.domain())
    }
}

/// Why there is no answer from the options.
enum Refused {
    Unreadable(String),
    NotAsked,
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotAsked => Answer::None,
            Refused::Unreadable(text) => Answer::Error {
                code: 400,
                text,
                with_data: false,
            },
        }
    }
}

/// One request, and what it needs to be answered.
pub struct Request<'a> {
    pub house: &'a mut dyn House,
    pub server: &'a ServerFacts,
    pub closed: &'a ClosedConnections,
    pub http_requests: &'a BTreeMap<String, u64>,
    pub subject: &'a str,
    pub headers: &'a [u8],
    pub body: &'a [u8],
    pub has_reply: bool,
}

impl Request<'_> {
    /// The answer. A request that wants none is still obeyed where nats-server does.
    pub fn answer(&mut self) -> Answer {
        if self.subject == PING {
            return self.statsz();
        }
        if self.subject == ACCOUNT_SUBSCRIPTIONS {
            return self.account_subscriptions();
        }
        if self.subject == DEBUG_SUBSCRIBERS {
            return self.debug_subscribers();
        }
        let subject = self.subject;
        if let Some(rest) = subject.strip_prefix(SERVER_PREFIX) {
            let (whom, what) = rest.split_once('.').unwrap_or((rest, ""));
            let to_one = whom == self.server.identity.id;
            return self.of_server(what, to_one).unwrap_or_else(Answer::from);
        }
        if let Some(rest) = subject.strip_prefix(ACCOUNT_PREFIX) {
            let (account, what) = rest.split_once('.').unwrap_or((rest, ""));
            return self.of_account(what, account).unwrap_or_else(Answer::from);
        }
        if subject.starts_with(USER_PREFIX) {
            return self.user_info();
        }
        Answer::None
    }

    /// Reads options and the filter of servers behind them.
    fn options<'b>(
        &self,
        type_name: &str,
        fields: impl IntoIterator<Item = Field<'b>>,
    ) -> Result<(), Refused> {
        // Without options there is no filter either.
        if self.body.is_empty() {
            return Ok(());
        }
        let mut filter = Filter::default();
        let mut all: Vec<Field<'_>> = fields.into_iter().collect();
        all.extend(filter.fields());
        read(self.body, type_name, &mut all).map_err(Refused::Unreadable)?;
        drop(all);
        if filter.asks(self.server) {
            Ok(())
        } else {
            Err(Refused::NotAsked)
        }
    }

    fn no_options(&self, type_name: &str) -> Result<(), Refused> {
        self.options(type_name, [])
    }

    fn of_server(&mut self, what: &str, to_one: bool) -> Result<Answer, Refused> {
        if !self.has_reply && !matches!(what, "STATSZ" | "KICK" | "LDM" | "RELOAD") {
            return Ok(Answer::None);
        }
        let server = self.server;
        let id = server.identity.id.as_str();
        Ok(match what {
            "IDZ" => Answer::Bare(compact(&Idz {
                name: &server.identity.name,
                host: &server.identity.host,
                id,
            })),
            "STATSZ" => self.statsz(),
            "VARZ" => {
                self.no_options("VarzEventOptions")?;
                let merged = Merged::ask(self.house, &Wanted::default());
                let usage = self.house.usage();
                let now = self.house.now();
                Answer::data(&varz(server, &merged, usage, self.http_requests, now))
            }
            "SUBSZ" => {
                let options = self.subsz_options()?;
                Answer::result(subsz(self.house, server, &options))
            }
            "CONNZ" => {
                let options = self.connz_options()?;
                Answer::result(connz(self.house, server, self.closed, &options))
            }
            "ROUTEZ" => {
                let (mut plain, mut detail) = (false, false);
                self.options(
                    "RoutezEventOptions",
                    [
                        ("subscriptions", Slot::Flag(&mut plain)),
                        ("subscriptions_detail", Slot::Flag(&mut detail)),
                    ],
                )?;
                Answer::data(&Routez::alone(server, self.house.now()))
            }
            "GATEWAYZ" => {
                let (mut name, mut account) = (String::new(), String::new());
                let [mut accounts, mut plain, mut detail] = [false; 3];
                self.options(
                    "GatewayzEventOptions",
                    [
                        ("name", Slot::Text(&mut name, "string")),
                        ("accounts", Slot::Flag(&mut accounts)),
                        ("account_name", Slot::Text(&mut account, "string")),
                        ("subscriptions", Slot::Flag(&mut plain)),
                        ("subscriptions_detail", Slot::Flag(&mut detail)),
                    ],
                )?;
                Answer::data(&Gatewayz::alone(server, self.house.now()))
            }
            "LEAFZ" => self.leafz()?,
            "ACCOUNTZ" => {
                let mut account = String::new();
                self.options(
                    "AccountzEventOptions",
                    [("account", Slot::Text(&mut account, "string"))],
                )?;
                Answer::result(accountz(self.house, server, &account))
            }
            "JSZ" => {
                let options = self.jsz_options()?;
                match jsz(self.house, server, &options) {
                    Ok(answer) => Answer::data(&answer),
                    Err(_) => Answer::None,
                }
            }
            "HEALTHZ" => {
                let options = self.health_options()?;
                Answer::data(&healthz(self.house, server, &options))
            }
            "PROFILEZ" => {
                let (mut name, mut debug, mut duration) = (String::new(), 0, 0);
                self.options(
                    "ProfilezEventOptions",
                    [
                        ("name", Slot::Text(&mut name, "string")),
                        ("debug", Slot::Signed(&mut debug, "int")),
                        ("duration", Slot::Signed(&mut duration, "time.Duration")),
                    ],
                )?;
                Answer::data(&profilez(&name, duration))
            }
            "EXPVARZ" => {
                self.no_options("ExpvarzEventOptions")?;
                Answer::data(&Expvarz::new(self.house.usage().resident_bytes))
            }
            "IPQUEUESZ" => {
                let (mut all, mut filter) = (false, String::new());
                self.options(
                    "IpqueueszEventOptions",
                    [
                        ("all", Slot::Flag(&mut all)),
                        ("filter", Slot::Text(&mut filter, "string")),
                    ],
                )?;
                // Nothing here works through queues of that kind.
                Answer::data(&Absent {})
            }
            "RAFTZ" => {
                let (mut account, mut group) = (String::new(), String::new());
                self.options(
                    "RaftzEventOptions",
                    [
                        ("account", Slot::Text(&mut account, "string")),
                        ("group", Slot::Text(&mut group, "string")),
                    ],
                )?;
                Answer::data(&Absent {})
            }
            "RELOAD" if to_one => {
                if !self.has_reply {
                    return Ok(Answer::None);
                }
                self.no_options("EventFilterOptions")?;
                Answer::Reload
            }
            "KICK" | "LDM" if to_one => self.obey(what)?,
            _ => Answer::None,
        })
    }

    fn of_account(&mut self, what: &str, account: &str) -> Result<Answer, Refused> {
        if !self.has_reply {
            return Ok(Answer::None);
        }
        let server = self.server;
        Ok(match what {
            "SUBSZ" => {
                let mut options = self.subsz_options()?;
                options.subscriptions = true;
                account.clone_into(&mut options.account);
                Answer::result(subsz(self.house, server, &options))
            }
            "CONNZ" => {
                let mut options = self.connz_options()?;
                account.clone_into(&mut options.account);
                Answer::result(connz(self.house, server, self.closed, &options))
            }
            "LEAFZ" => self.leafz()?,
            "JSZ" => {
                let options = self.jsz_options()?;
                Answer::result(account_jsz(self.house, server, account, &options))
            }
            "INFO" => {
                self.no_options("AccInfoEventOptions")?;
                Answer::result(account_info(self.house, server, account))
            }
            "STATZ" => {
                let (mut accounts, mut unused) = (Vec::new(), false);
                self.options(
                    "AccountStatzEventOptions",
                    [
                        ("accounts", Slot::Texts(&mut accounts)),
                        ("include_unused", Slot::Flag(&mut unused)),
                    ],
                )?;
                if account != "PING" {
                    accounts = vec![account.to_owned()];
                }
                let statz = account_statz(self.house, server, &accounts, unused);
                if statz.account_statz.is_empty() && !unused {
                    return Ok(Answer::None);
                }
                Answer::data(&statz)
            }
            "CONNS" => self.account_connections(account),
            _ => Answer::None,
        })
    }

    fn statsz(&mut self) -> Answer {
        match self.no_options("StatszEventOptions") {
            Ok(()) => Answer::Statsz,
            Err(refused) => refused.into(),
        }
    }

    fn subsz_options(&self) -> Result<subsz::Options, Refused> {
        let mut options = subsz::Options::default();
        self.options(
            "SubszEventOptions",
            [
                ("offset", Slot::Signed(&mut options.offset, "int")),
                ("limit", Slot::Signed(&mut options.limit, "int")),
                ("subscriptions", Slot::Flag(&mut options.subscriptions)),
                ("account", Slot::Text(&mut options.account, "string")),
                ("test", Slot::Text(&mut options.test, "string")),
            ],
        )?;
        Ok(options)
    }

    fn connz_options(&self) -> Result<connz::Options, Refused> {
        let mut options = connz::Options::default();
        let mut state = 0;
        self.options(
            "ConnzEventOptions",
            [
                ("sort", Slot::Text(&mut options.sort, "server.SortOpt")),
                ("auth", Slot::Flag(&mut options.auth)),
                ("subscriptions", Slot::Flag(&mut options.subscriptions)),
                (
                    "subscriptions_detail",
                    Slot::Flag(&mut options.subscriptions_detail),
                ),
                ("offset", Slot::Signed(&mut options.offset, "int")),
                ("limit", Slot::Signed(&mut options.limit, "int")),
                ("cid", Slot::Unsigned(&mut options.cid)),
                (
                    "mqtt_client",
                    Slot::Text(&mut options.mqtt_client, "string"),
                ),
                ("state", Slot::Signed(&mut state, "server.ConnState")),
                ("user", Slot::Text(&mut options.user, "string")),
                ("acc", Slot::Text(&mut options.account, "string")),
                (
                    "filter_subject",
                    Slot::Text(&mut options.filter_subject, "string"),
                ),
            ],
        )?;
        options.state = match state {
            1 => State::Closed,
            2 => State::All,
            _ => State::Open,
        };
        Ok(options)
    }

    fn jsz_options(&self) -> Result<jsz::Options, Refused> {
        let mut options = jsz::Options::default();
        self.options(
            "JszEventOptions",
            [
                ("account", Slot::Text(&mut options.account, "string")),
                ("accounts", Slot::Flag(&mut options.accounts)),
                ("streams", Slot::Flag(&mut options.streams)),
                ("consumer", Slot::Flag(&mut options.consumers)),
                ("direct_consumer", Slot::Flag(&mut options.direct_consumers)),
                ("config", Slot::Flag(&mut options.config)),
                ("leader_only", Slot::Flag(&mut options.leader_only)),
                ("offset", Slot::Signed(&mut options.offset, "int")),
                ("limit", Slot::Signed(&mut options.limit, "int")),
                ("raft", Slot::Flag(&mut options.raft)),
                (
                    "stream_leader_only",
                    Slot::Flag(&mut options.stream_leader_only),
                ),
            ],
        )?;
        Ok(options)
    }

    fn health_options(&self) -> Result<HealthOptions, Refused> {
        let mut options = HealthOptions::default();
        let [mut enabled, mut meta_only] = [false; 2];
        self.options(
            "HealthzEventOptions",
            [
                ("js-enabled", Slot::Flag(&mut enabled)),
                ("js-enabled-only", Slot::Flag(&mut options.enabled_only)),
                ("js-server-only", Slot::Flag(&mut options.server_only)),
                ("js-meta-only", Slot::Flag(&mut meta_only)),
                ("account", Slot::Text(&mut options.account, "string")),
                ("stream", Slot::Text(&mut options.stream, "string")),
                ("consumer", Slot::Text(&mut options.consumer, "string")),
                ("details", Slot::Flag(&mut options.details)),
            ],
        )?;
        // The old name of the same.
        options.enabled_only |= enabled;
        Ok(options)
    }

    fn leafz(&mut self) -> Result<Answer, Refused> {
        let (mut plain, mut account) = (false, String::new());
        self.options(
            "LeafzEventOptions",
            [
                ("subscriptions", Slot::Flag(&mut plain)),
                ("account", Slot::Text(&mut account, "string")),
            ],
        )?;
        Ok(Answer::data(&Leafz::alone(self.server, self.house.now())))
    }

    /// Obeys KICK or LDM. One that cannot be read is dropped.
    fn obey(&mut self, what: &str) -> Result<Answer, Refused> {
        let mut cid = 0;
        let mut fields = [("cid", Slot::Unsigned(&mut cid))];
        if read(self.body, "KickClientReq", &mut fields).is_err() || !self.has_reply {
            return Ok(Answer::None);
        }
        self.no_options("EventFilterOptions")?;
        let result = match what {
            "KICK" if self.house.kick(cid) => Ok(()),
            "KICK" => Err("no such client or leafnode id"),
            _ => match self.house.tell_lame_duck(cid) {
                Told::Yes => Ok(()),
                Told::NoSuchClient => Err("no such client id"),
                Told::NotReady => Err(
                    "client does not support Lame Duck Mode or is not ready to receive the \
                     notification",
                ),
            },
        };
        Ok(Answer::done(result.map_err(str::to_owned)))
    }

    fn account_connections(&mut self, account: &str) -> Answer {
        let mut named = account.to_owned();
        let mut fields = [("acc", Slot::Text(&mut named, "string"))];
        let readable =
            self.body.is_empty() || read(self.body, "accNumConnsReq", &mut fields).is_ok();
        if !readable || named != account || self.server.account(account).is_none() {
            return Answer::None;
        }
        let facts = Merged::ask(self.house, &Wanted::default()).account(account);
        if facts.connections == 0 {
            return Answer::None;
        }
        Answer::AccountConnections(named)
    }

    /// How many subscribers a subject has; a server asks this of others.
    fn account_subscriptions(&mut self) -> Answer {
        let (mut account, mut subject, mut queue) = (String::new(), String::new(), None);
        let mut fields = [
            ("acc", Slot::Text(&mut account, "string")),
            ("subject", Slot::Text(&mut subject, "string")),
            ("queue", Slot::Bytes(&mut queue)),
        ];
        if !self.has_reply || read(self.body, "accNumSubsReq", &mut fields).is_err() {
            return Answer::None;
        }
        let queue = match queue.as_deref().map(base64_text) {
            None => None,
            Some(Some(queue)) => Some(queue),
            Some(None) => return Answer::None,
        };
        let facts = Merged::ask(self.house, &Wanted::default()).account(&account);
        if facts.connections == 0 {
            return Answer::None;
        }
        self.count_subscribers(&account, &subject, queue.as_deref())
    }

    /// The same for people: subject and perhaps a queue group as text.
    fn debug_subscribers(&mut self) -> Answer {
        if !self.has_reply {
            return Answer::None;
        }
        let asks = match self.requester() {
            Some(Ok(requester)) if !requester.svc.is_empty() => requester.svc,
            Some(Ok(requester)) if !requester.acc.is_empty() => requester.acc,
            Some(Ok(_)) | None => self.server.system_account.to_string(),
            Some(Err(())) => return Answer::None,
        };
        let text = String::from_utf8_lossy(self.body).into_owned();
        let mut words = text.trim().split(' ');
        let subject = words.next().unwrap_or_default();
        self.count_subscribers(&asks, subject, words.next())
    }

    fn count_subscribers(&mut self, account: &str, subject: &str, queue: Option<&str>) -> Answer {
        let is_literal = subject::is_literal(subject.as_bytes());
        let wanted = Wanted {
            connections: false,
            subscriptions: if is_literal {
                WantedSubscriptions::Matching(subject.into())
            } else {
                WantedSubscriptions::All
            },
            account: Some(account.into()),
            ..Wanted::default()
        };
        let merged = Merged::ask(self.house, &wanted);
        let count = merged
            .subscriptions_list
            .iter()
            .filter(|sub| is_literal || is_subset(&sub.subject, subject))
            .filter(|sub| queue.is_none_or(|queue| *sub.queue == *queue))
            .count();
        Answer::Bare(count.to_string().into_bytes())
    }

    /// Who asks, where the request came through a service import.
    fn requester(&self) -> Option<Result<Requester, ()>> {
        let json = header(self.headers, REQUEST_INFO_HEADER.as_bytes())?;
        Some(serde_json::from_slice(json).map_err(drop))
    }

    fn user_info(&mut self) -> Answer {
        if !self.has_reply {
            return Answer::None;
        }
        let requester = match self.requester() {
            Some(Ok(requester)) => requester,
            Some(Err(())) | None => {
                return Answer::Error {
                    code: 400,
                    text: String::new(),
                    with_data: false,
                };
            }
        };
        let wanted = Wanted {
            connections: true,
            subscriptions: WantedSubscriptions::None,
            account: Some(requester.acc.as_str().into()),
            ..Wanted::default()
        };
        let merged = Merged::ask(self.house, &wanted);
        let mut connections = merged.connections_list.iter();
        let client = connections.find(|facts| facts.client_id == requester.id);
        let now_s = self.house.now().0 / 1_000_000_000;
        let left_s = client
            .and_then(|facts| facts.expires_unix_s)
            .map_or(0, |at| at.saturating_sub(now_s));
        Answer::data(&UserInfo {
            account_name: self.server.name_tag(&requester.acc).to_owned(),
            account: requester.acc,
            user: requester.user,
            user_name: requester.name_tag,
            permissions: client
                .and_then(|facts| facts.permissions.as_deref())
                .map(|permissions| Permissions::new(permissions.rules())),
            expires: left_s.saturating_mul(1_000_000_000),
        })
    }
}

/// Text that was sent as base64, as Go sends bytes.
fn base64_text(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for character in encoded.trim_end_matches('=').bytes() {
        let six = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    String::from_utf8(bytes).ok()
}

#[derive(Clone, Debug, Serialize)]
struct UserInfo {
    user: String,
    account: String,
    #[serde(skip_serializing_if = "is_default")]
    account_name: String,
    #[serde(skip_serializing_if = "is_default")]
    user_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Permissions>,
    #[serde(skip_serializing_if = "is_default")]
    expires: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Permissions {
    publish: Rules,
    subscribe: Rules,
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<Responses>,
}

#[derive(Clone, Debug, Serialize)]
struct Rules {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Responses {
    max: i64,
    ttl: i64,
}

impl Permissions {
    fn new(rules: &PermissionRules) -> Self {
        let of = |rules: &crate::auth::definition::SubjectRules| Rules {
            allow: rules.allow.clone().unwrap_or_default(),
            deny: rules.deny.clone(),
        };
        Self {
            publish: of(&rules.publish),
            subscribe: of(&rules.subscribe),
            responses: rules.responses.as_ref().map(|responses| Responses {
                max: responses
                    .max
                    .map_or(-1, |max| i64::try_from(max).unwrap_or(i64::MAX)),
                ttl: responses
                    .expires
                    .map_or(-1, |ttl| i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX)),
            }),
        }
    }
}
