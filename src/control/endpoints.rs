//! What can be asked over HTTP: which paths, with which options, and what comes back.
//!
//! Paths, options and the texts of mistakes are nats-server's; `/shardz`, `/metrics` and the page at the top are Skein's
//! own. The answers are rendered by the same functions as those of the system account. How requests come and answers
//! go is not known here.

mod query;

use super::Control;
use super::accounts::{account_statz, accountz};
use super::connz::{self, State, connz};
use super::general::{Expvarz, Gatewayz, Leafz, Routez};
use super::health::{Health, HealthOptions, at_once, healthz};
use super::json::{compact, pretty};
use super::jsz::{self, jsz};
use super::metrics::{TextFormat, metrics};
use super::shardz::shardz;
use super::subsz::{self, subsz};
use super::varz::{Absent, varz};
use super::view::{House, Merged, silence};
use crate::proto::quote::quote;
use crate::shard::facts::Wanted;
use query::Query;
use serde::Serialize;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The page for people.
    Root,
    Varz,
    Connz,
    Subsz,
    Routez,
    Gatewayz,
    Leafz,
    Accountz,
    AccountStatz,
    Jsz,
    Healthz,
    Ipqueuesz,
    Raftz,
    Stacksz,
    Expvarz,
    Shardz,
    Metrics,
}

/// Paths, and whether requests are counted, by which name.
const PATHS: &[(&str, Endpoint, &str)] = &[
    ("/", Endpoint::Root, "/"),
    ("/varz", Endpoint::Varz, "/varz"),
    ("/connz", Endpoint::Connz, "/connz"),
    ("/subsz", Endpoint::Subsz, "/subsz"),
    ("/subscriptionsz", Endpoint::Subsz, "/subsz"),
    ("/routez", Endpoint::Routez, "/routez"),
    ("/gatewayz", Endpoint::Gatewayz, "/gatewayz"),
    ("/leafz", Endpoint::Leafz, "/leafz"),
    ("/accountz", Endpoint::Accountz, "/accountz"),
    ("/accstatz", Endpoint::AccountStatz, "/accstatz"),
    ("/jsz", Endpoint::Jsz, "/jsz"),
    ("/healthz", Endpoint::Healthz, "/healthz"),
    ("/ipqueuesz", Endpoint::Ipqueuesz, ""),
    ("/raftz", Endpoint::Raftz, ""),
    ("/stacksz", Endpoint::Stacksz, ""),
    ("/debug/vars", Endpoint::Expvarz, ""),
    ("/shardz", Endpoint::Shardz, "/shardz"),
    ("/metrics", Endpoint::Metrics, "/metrics"),
];

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Endpoint(Endpoint),
    /// To the same with a slash behind it, or written as it is meant.
    Redirect(String),
    /// A file of the page, by its name below `/page/`.
    File(String),
    NotFound,
}

/// Below which path everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    /// From what is configured: with a slash before it and none behind, and `.`, `..` and doubled slashes resolved.
    pub fn new(configured: &str) -> Self {
        let mut parts: Vec<&str> = Vec::new();
        for part in configured.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let mut path = String::new();
        for part in parts {
            path.push('/');
            path.push_str(part);
        }
        Self(path)
    }

    /// Where a path leads, as it stands in a request.
    pub fn route(&self, path: &str) -> Route {
        let clean = cleaned(path);
        if clean != path {
            return Route::Redirect(clean);
        }
        match unescaped(&clean) {
            Some(path) => self.route_plain(&path),
            None => Route::NotFound,
        }
    }

    fn route_plain(&self, path: &str) -> Route {
        let Some(below) = path.strip_prefix(&self.0) else {
            return Route::NotFound;
        };
        if below.is_empty() && !self.0.is_empty() {
            // The page's own addresses are relative.
            return Route::Redirect(format!("{path}/"));
        }
        if let Some(file) = below.strip_prefix("/page/") {
            return Route::File(file.to_owned());
        }
        let found = PATHS.iter().find(|(known, _, _)| *known == below);
        found.map_or(Route::NotFound, |(_, endpoint, _)| {
            Route::Endpoint(*endpoint)
        })
    }
}

/// A path with `.`, `..` and doubled slashes resolved, as Go's servers have it before they look where it leads.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = String::with_capacity(path.len() + 1);
    for part in &parts {
        clean.push('/');
        clean.push_str(part);
    }
    // One behind it is kept. What ends with dots has none.
    if parts.is_empty() || path.ends_with('/') {
        clean.push('/');
    }
    clean
}

/// A path without escapes. A slash that was one is none: it separates nothing.
fn unescaped(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let parts = path.split('/').map(|part| {
        let bytes = query::decoded_escapes(part, false)?;
        String::from_utf8(bytes)
            .ok()
            .filter(|part| !part.contains('/'))
    });
    let parts: Option<Vec<String>> = parts.collect();
    Some(parts?.join("/"))
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    pub endpoint: Endpoint,
    /// What follows the question mark, as it came.
    pub query: &'a str,
    /// Kinds of content that are understood, as `Accept` says it.
    pub accepted: &'a str,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// Every page of the world may read it.
    pub is_public: bool,
    /// What the log is to be told.
    pub warning: Option<String>,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl Reply {
    fn json(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            content_type: JSON,
            body,
            is_public: true,
            warning: None,
        }
    }

    /// A text for people.
    pub fn text(status: u16, text: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: text.into(),
            is_public: false,
            warning: None,
        }
    }

    /// There is nothing at this path.
    pub fn not_found() -> Self {
        Self::text(404, "404 page not found\n")
    }

    /// As a script that calls this function.
    fn called_back(mut self, callback: &str) -> Self {
        self.content_type = "application/javascript";
        self.body.splice(..0, format!("{callback}(").into_bytes());
        self.body.push(b')');
        self
    }
}

fn ok<T: Serialize>(value: &T) -> Result<Reply, String> {
    Ok(Reply::json(pretty(value, b"  ")))
}

impl Control {
    /// Answers a request.
    pub fn handle_http(&mut self, house: &mut dyn House, request: &HttpRequest<'_>) -> Reply {
        let query = Query::parse(request.query);
        house.take_silent();
        let mut reply = match self.answer_http(house, request, &query) {
            Err(text) => Reply::text(400, text),
            Ok(reply) => called_back(reply, &query),
        };
        let is_sum = matches!(
            request.endpoint,
            Endpoint::Varz | Endpoint::AccountStatz | Endpoint::Metrics
        );
        match silence(&house.take_silent()) {
            None => {}
            // Counters that go back would be taken for those of another server.
            Some(text) if is_sum && reply.status == 200 => {
                reply = Reply::text(503, format!("{text}\n"));
            }
            Some(text) => {
                let warning = format!("Monitoring told of some shards only: {text}");
                reply.warning.get_or_insert(warning);
            }
        }
        reply
    }

    fn count_http(&mut self, endpoint: Endpoint) {
        self.count_answered(endpoint, 1);
    }

    /// Counts requests that were answered by somebody who knew the answer already.
    pub fn count_answered(&mut self, endpoint: Endpoint, times: u64) {
        let path = PATHS.iter().find(|(_, known, _)| *known == endpoint);
        if let Some((_, _, name)) = path.filter(|(_, _, name)| !name.is_empty() && times > 0) {
            *self.http_requests.entry((*name).to_owned()).or_default() += times;
        }
    }

    fn answer_http(
        &mut self,
        house: &mut dyn House,
        request: &HttpRequest<'_>,
        query: &Query,
    ) -> Result<Reply, String> {
        let endpoint = request.endpoint;
        // Mistakes in the options of these two do not count as requests.
        if !matches!(endpoint, Endpoint::Connz | Endpoint::Routez) {
            self.count_http(endpoint);
        }
        let server = std::sync::Arc::clone(&self.server);
        let server = &*server;
        match endpoint {
            Endpoint::Root => Ok(Reply::text(200, "")),
            Endpoint::Varz => {
                let merged = Merged::ask(house, &Wanted::default());
                let usage = house.usage();
                let now = house.now();
                ok(&varz(server, &merged, usage, &self.http_requests, now))
            }
            Endpoint::Connz => {
                let options = connz_options(query)?;
                self.count_http(endpoint);
                ok(&connz(house, server, &self.closed, &options)?)
            }
            Endpoint::Subsz => {
                let options = subsz::Options {
                    subscriptions: query.flag("subs")?,
                    offset: query.number("offset")?,
                    limit: query.number("limit")?,
                    test: query.get("test").to_owned(),
                    account: query.get("acc").to_owned(),
                };
                ok(&subsz(house, server, &options)?)
            }
            Endpoint::Routez => {
                query.flag_or_detail("subs")?;
                self.count_http(endpoint);
                ok(&Routez::alone(server, house.now()))
            }
            Endpoint::Gatewayz => {
                query.flag_or_detail("subs")?;
                query.flag("accs")?;
                ok(&Gatewayz::alone(server, house.now()))
            }
            Endpoint::Leafz => {
                query.flag("subs")?;
                ok(&Leafz::alone(server, house.now()))
            }
            Endpoint::Accountz => ok(&accountz(house, server, query.get("acc"))?),
            Endpoint::AccountStatz => {
                let unused = query.flag("unused")?;
                ok(&account_statz(house, server, &[], unused))
            }
            Endpoint::Jsz => {
                let options = jsz::Options {
                    accounts: query.flag("accounts")?,
                    streams: query.flag("streams")?,
                    consumers: query.flag("consumers")?,
                    direct_consumers: query.flag("direct-consumers")?,
                    config: query.flag("config")?,
                    offset: query.number("offset")?,
                    limit: query.number("limit")?,
                    leader_only: query.flag("leader-only")?,
                    raft: query.flag("raft")?,
                    stream_leader_only: query.flag("stream-leader-only")?,
                    account: query.get("acc").to_owned(),
                };
                ok(&jsz(house, server, &options)?)
            }
            Endpoint::Healthz => {
                let options = health_options(query)?;
                Ok(health_reply(healthz(house, server, &options)))
            }
            Endpoint::Ipqueuesz => {
                query.flag("all")?;
                // Nothing here works through queues of that kind.
                ok(&Absent {})
            }
            Endpoint::Raftz => Ok(Reply::text(404, "No Raft nodes registered")),
            Endpoint::Stacksz => Ok(Reply::json(house.threads().into_bytes())),
            Endpoint::Expvarz => {
                let mut reply = Reply::json(compact(&Expvarz::new(house.usage().resident_bytes)));
                reply.content_type = "application/json; charset=utf-8";
                reply.is_public = false;
                Ok(reply)
            }
            Endpoint::Shardz => ok(&shardz(house, server)),
            Endpoint::Metrics => {
                let format = TextFormat::accepted(request.accepted);
                let mut reply = Reply::text(200, metrics(house, server, format));
                reply.content_type = format.content_type();
                Ok(reply)
            }
        }
    }
}

fn connz_options(query: &Query) -> Result<connz::Options, String> {
    let auth = query.flag("auth")?;
    let (subscriptions, subscriptions_detail) = query.flag_or_detail("subs")?;
    Ok(connz::Options {
        sort: query.get("sort").to_owned(),
        auth,
        subscriptions,
        subscriptions_detail,
        offset: query.number("offset")?,
        limit: query.number("limit")?,
        cid: query.unsigned("cid")?,
        state: match query.get("state") {
            "" => State::Open,
            other => match other.to_lowercase().as_str() {
                "open" => State::Open,
                "closed" => State::Closed,
                "any" | "all" => State::All,
                _ => return Err(format!("Error decoding state for {other}")),
            },
        },
        user: query.get("user").to_owned(),
        account: query.get("acc").to_owned(),
        mqtt_client: query.get("mqtt_client").to_owned(),
        // Only in the system account.
        filter_subject: String::new(),
    })
}

fn called_back(reply: Reply, query: &Query) -> Reply {
    match query.get("callback") {
        // nats-server 2.15 knows it no more. Nothing but a name is sent back.
        name if is_function_name(name) && reply.content_type == JSON => reply.called_back(name),
        _ => reply,
    }
}

/// The answer of [`Endpoint::Healthz`], if it is known without asking anybody.
pub fn health_at_once(query: &str, takes_clients: bool) -> Option<Reply> {
    let query = Query::parse(query);
    match health_options(&query) {
        Err(text) => Some(Reply::text(400, text)),
        Ok(options) => {
            let health = at_once(takes_clients, &options)?;
            Some(called_back(health_reply(health), &query))
        }
    }
}

fn health_options(query: &Query) -> Result<HealthOptions, String> {
    let old_name = query.flag("js-enabled")?;
    let enabled_only = query.flag("js-enabled-only")? || old_name;
    let server_only = query.flag("js-server-only")?;
    // A server that stands alone has nothing to say of meta groups.
    query.flag("js-meta-only")?;
    Ok(HealthOptions {
        enabled_only,
        server_only,
        details: query.flag("details")?,
        account: query.get("account").to_owned(),
        stream: query.get("stream").to_owned(),
        consumer: query.get("consumer").to_owned(),
    })
}

fn health_reply(mut health: Health) -> Reply {
    // The response has it.
    let status = std::mem::take(&mut health.status_code);
    let warning = match (health.error.as_str(), health.errors.len()) {
        ("", 0) => None,
        ("", count) => Some(format!("Healthcheck failed: {count} errors")),
        (error, _) => Some(format!("Healthcheck failed: {}", quote(error.as_bytes()))),
    };
    Reply {
        status,
        warning,
        ..Reply::json(compact(&health))
    }
}

/// Whether it is a name in JavaScript, perhaps of a member: what is sent back in a script must not be one itself.
fn is_function_name(text: &str) -> bool {
    const BYTES_MAX: usize = 128;
    let is_name = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'))
            && part.bytes().next().is_some_and(|b| !b.is_ascii_digit())
    };
    text.len() <= BYTES_MAX && text.split('.').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let check = |base: &str, path: &str, expected: Route| {
            assert_eq!(BasePath::new(base).route(path), expected, "{base} {path}");
        };
        let at = Route::Endpoint;
        for base in ["", "/", "//", "/a/.."] {
            check(base, "/", at(Endpoint::Root));
            check(base, "/varz", at(Endpoint::Varz));
            check(base, "/subscriptionsz", at(Endpoint::Subsz));
            check(base, "/debug/vars", at(Endpoint::Expvarz));
            check(base, "/page/page.js", Route::File("page.js".into()));
            check(base, "/varz/", Route::NotFound);
            check(base, "/%76arz", at(Endpoint::Varz));
            check(base, "/debug%2fvars", Route::NotFound);
            check(base, "/%2e/varz", Route::NotFound);
            check(base, "/%zz", Route::NotFound);
            check(base, "/%ff", Route::NotFound);
            for (path, to) in [
                ("", "/"),
                ("varz", "/varz"),
                ("//varz", "/varz"),
                ("///", "/"),
                ("/./varz", "/varz"),
                ("/foo/../varz", "/varz"),
                ("/../..//foo/./bar/", "/foo/bar/"),
                ("/page/../varz", "/varz"),
                ("/varz/.", "/varz"),
                ("//elsewhere.example//varz", "/elsewhere.example/varz"),
            ] {
                check(base, path, Route::Redirect(to.into()));
            }
        }
        for base in ["mon", "/mon", "/mon/", "//mon//", "/x/../mon/."] {
            check(base, "/mon/", at(Endpoint::Root));
            check(base, "/mon", Route::Redirect("/mon/".into()));
            check(base, "/mon/varz", at(Endpoint::Varz));
            check(base, "/varz", Route::NotFound);
            check(base, "/monvarz", Route::NotFound);
            check(base, "/", Route::NotFound);
        }
    }

    #[test]
    fn names_of_functions() {
        for good in ["f", "jQuery_1", "$.x", "a.b.c9"] {
            assert!(is_function_name(good), "{good}");
        }
        let long = "a".repeat(129);
        for bad in ["", "1a", "a.", ".a", "a b", "a(", "a;b", "é", "a\n", &long] {
            assert!(!is_function_name(bad), "{bad}");
        }
    }
}
