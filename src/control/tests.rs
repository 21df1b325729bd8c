//! Control with a house of its own: what is asked, answered and told.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;

use super::endpoints::{Endpoint, HttpRequest};
use super::view::{AccountView, MonitorView, Told, Usage};
use super::*;
use crate::auth::definition::{AccountDefinition, ConnectionType};
use crate::base::deadlines::Millis;
use crate::config::Limits;
use crate::proto::info::ServerIdentity;
use crate::session::CloseReason;
use crate::shard::facts::{
    AccountFacts, ShardFacts, SubFacts, Traffic, Wanted, WantedSubscriptions,
};

const START: UnixNanos = UnixNanos(1_795_256_340_000_000_000);
const ID: &str = "NSERVER";

/// A server of facts.
#[derive(Default)]
struct Fake {
    now_ms: Millis,
    connections: Vec<ConnFacts>,
    subscriptions: Vec<SubFacts>,
    kicked: Vec<u64>,
    reloads: Vec<u64>,
    /// Shards that answer no question.
    silent: BTreeSet<usize>,
    missed: BTreeSet<usize>,
    asked: Vec<Wanted>,
}

impl House for Fake {
    fn now(&mut self) -> UnixNanos {
        UnixNanos(START.0 + self.now_ms * NANOS_PER_MS)
    }

    fn facts(&mut self, wanted: &Wanted) -> Vec<ShardFacts> {
        self.asked.push(wanted.clone());
        self.missed.extend(&self.silent);
        let is_of = |account: &Arc<str>| wanted.account.as_ref().is_none_or(|a| a == account);
        // Two shards, by odd and even numbers.
        let of_shard = |shard: u64| {
            let mut facts = ShardFacts::default();
            for conn in self.connections.iter().filter(|c| c.client_id % 2 == shard) {
                facts.connections += 1;
                facts.traffic.add(&conn.traffic);
                let seat = facts.accounts.iter().position(|a| a.name == conn.account);
                let seat = seat.unwrap_or_else(|| {
                    facts.accounts.push(AccountFacts {
                        name: Arc::clone(&conn.account),
                        ..AccountFacts::default()
                    });
                    facts.accounts.len() - 1
                });
                facts.accounts[seat].connections += 1;
                facts.accounts[seat].traffic.add(&conn.traffic);
                if wanted.connections && is_of(&conn.account) {
                    facts.connections_list.push(conn.clone());
                }
            }
            for sub in self
                .subscriptions
                .iter()
                .filter(|s| s.client_id % 2 == shard)
            {
                facts.subscriptions += 1;
                let is_wanted = match &wanted.subscriptions {
                    WantedSubscriptions::None => false,
                    WantedSubscriptions::All => true,
                    WantedSubscriptions::Of(ids) => ids.contains(&sub.client_id),
                    WantedSubscriptions::Matching(subject) => {
                        crate::subject::matches(sub.subject.as_bytes(), subject.as_bytes())
                    }
                };
                if is_wanted && is_of(&sub.account) {
                    facts.subscriptions_list.push(sub.clone());
                    facts.subscriptions_found += 1;
                }
            }
            facts
        };
        vec![of_shard(0), of_shard(1)]
    }

    fn take_silent(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.missed)
    }

    fn usage(&mut self) -> Usage {
        Usage {
            cpu_percent: 1.5,
            resident_bytes: 1 << 20,
        }
    }

    fn threads(&mut self) -> String {
        "1 main S\n".to_owned()
    }

    fn kick(&mut self, client_id: u64) -> bool {
        self.kicked.push(client_id);
        self.connections.iter().any(|c| c.client_id == client_id)
    }

    fn tell_lame_duck(&mut self, client_id: u64) -> Told {
        match client_id {
            5 => Told::Yes,
            6 => Told::NotReady,
            _ => Told::NoSuchClient,
        }
    }

    fn reload(&mut self, ticket: u64) {
        self.reloads.push(ticket);
    }
}

pub(super) fn server() -> Arc<ServerFacts> {
    let account = |name: &str| AccountView {
        definition: Arc::new(AccountDefinition {
            name: name.to_owned(),
            ..AccountDefinition::default()
        }),
        ..AccountView::default()
    };
    Arc::new(ServerFacts {
        identity: ServerIdentity {
            id: ID.to_owned(),
            name: "scene".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 4222,
            auth_required: true,
            tls: Default::default(),
            xkey: Default::default(),
            jetstream: None,
        },
        limits: Limits::DEFAULT,
        auth_required: true,
        started: START,
        config_loaded: START,
        config_digest: String::new(),
        system_account: "$SYS".into(),
        accounts: ["$G", "A", "B", "$SYS"].map(account).into(),
        tags: vec!["x:y".to_owned()],
        metadata: BTreeMap::new(),
        cores: 2,
        shards: 2,
        tls: None,
        connect_urls: Vec::new(),
        trusted_proxies: None,
        jetstream: None,
        monitor: MonitorView::default(),
        is_lame_duck: false,
    })
}

fn conn(client_id: u64, account: &str, messages: u64) -> ConnFacts {
    ConnFacts {
        client_id,
        connection_type: ConnectionType::Standard,
        peer: SocketAddr::from(([127, 0, 0, 1], 1000 + client_id as u16)),
        started_at: client_id,
        active_at: 1000 - client_id,
        round_trip_ns: Some(928_123),
        pending_bytes: 0,
        traffic: Traffic {
            in_messages: messages,
            in_bytes: 10 * messages,
            out_messages: 100 - messages,
            out_bytes: 1,
        },
        stalls: 0,
        subscriptions: 1,
        name: None,
        lang: Some("rust".into()),
        version: None,
        tls: None,
        account: account.into(),
        user: Some("alice".into()),
        claims: None,
        permissions: None,
        expires_unix_s: None,
        proxy: None,
    }
}

fn sub(client_id: u64, account: &str, subject: &str, queue: &str) -> SubFacts {
    SubFacts {
        account: account.into(),
        client_id,
        subject: subject.into(),
        queue: queue.into(),
        sid: "1".into(),
        delivered: 0,
        max: 0,
    }
}

/// The usual scene.
fn scene() -> (Fake, Control) {
    let house = Fake {
        now_ms: 2000,
        connections: vec![
            conn(5, "A", 3),
            conn(6, "A", 1),
            conn(7, "B", 2),
            conn(8, "$SYS", 9),
        ],
        subscriptions: vec![
            sub(5, "A", "foo.*", ""),
            sub(6, "A", "foo.>", "q"),
            sub(7, "B", "foo.*", ""),
        ],
        ..Fake::default()
    };
    let control = Control::new(server(), 1, START);
    (house, control)
}

/// The answer to a request at this server's own subject.
fn ask(what: &str, body: &str) -> Option<Value> {
    let (mut house, mut control) = scene();
    request(
        &mut house,
        &mut control,
        &format!("$SYS.REQ.SERVER.{ID}.{what}"),
        body,
    )
}

fn request(house: &mut Fake, control: &mut Control, subject: &str, body: &str) -> Option<Value> {
    control.handle_message(house, subject, "_INBOX.1", b"", body.as_bytes());
    let outgoing = control.take_outgoing();
    assert!(outgoing.len() <= 1, "one answer");
    let only = outgoing.first()?;
    assert_eq!(only.subject, "_INBOX.1");
    Some(serde_json::from_slice(&only.payload).unwrap())
}

/// Numbers of the connections in an answer.
fn cids(answer: &Value) -> Vec<u64> {
    let connections = answer["data"]["connections"].as_array().unwrap();
    connections
        .iter()
        .map(|c| c["cid"].as_u64().unwrap())
        .collect()
}

#[test]
fn connections_are_chosen_and_sorted() {
    let cases: &[(&str, &[u64])] = &[
        ("", &[5, 6, 7, 8]),
        (r#"{"sort":"msgs_from"}"#, &[8, 5, 7, 6]),
        (r#"{"sort":"msgs_to"}"#, &[6, 7, 5, 8]),
        (r#"{"sort":"bytes_from"}"#, &[8, 5, 7, 6]),
        (r#"{"sort":"last"}"#, &[5, 6, 7, 8]),
        (r#"{"sort":"idle"}"#, &[8, 7, 6, 5]),
        (r#"{"sort":"uptime"}"#, &[8, 7, 6, 5]),
        (r#"{"sort":"rtt"}"#, &[5, 6, 7, 8]),
        (r#"{"acc":"A"}"#, &[5, 6]),
        (r#"{"acc":"A","filter_subject":"foo.x.y"}"#, &[6]),
        (r#"{"acc":"A","filter_subject":"foo.x"}"#, &[5, 6]),
        (r#"{"cid":7}"#, &[7]),
        (r#"{"cid":70}"#, &[]),
        (r#"{"user":"alice","limit":2}"#, &[5, 6]),
        (r#"{"user":"bob"}"#, &[]),
        (r#"{"mqtt_client":"m"}"#, &[]),
        (r#"{"offset":1,"limit":2}"#, &[6, 7]),
        (r#"{"offset":-1,"limit":-1}"#, &[5, 6, 7, 8]),
        (
            r#"{"offset":9223372036854775807,"limit":9223372036854775807}"#,
            &[],
        ),
        (r#"{"offset":1,"limit":9223372036854775807}"#, &[6, 7, 8]),
        (r#"{"state":1}"#, &[]),
    ];
    for (options, expected) in cases {
        let answer = ask("CONNZ", options).unwrap();
        assert_eq!(cids(&answer), *expected, "{options}");
        assert_eq!(
            answer["data"]["num_connections"],
            expected.len(),
            "{options}"
        );
    }
}

#[test]
fn subscriptions_are_fetched_for_the_page_only() {
    let (mut house, mut control) = scene();
    let subject = format!("$SYS.REQ.SERVER.{ID}.CONNZ");
    let body = r#"{"subscriptions":true,"offset":1,"limit":1,"auth":true}"#;
    let answer = request(&mut house, &mut control, &subject, body).unwrap();
    assert_eq!(cids(&answer), [6]);
    let shown = &answer["data"]["connections"][0];
    assert_eq!(shown["subscriptions_list"], serde_json::json!(["foo.>"]));
    assert_eq!(shown["authorized_user"], "alice");
    assert_eq!(shown["account"], "A");
    assert_eq!(shown["rtt"], "928µs");
    let of = WantedSubscriptions::Of([6].as_slice().into());
    assert_eq!(house.asked.last().unwrap().subscriptions, of);
}

/// What lets in whoever has it is shown to nobody: not in CONNZ, not in events.
#[test]
fn bearer_tokens_are_not_shown() {
    for (bearer, shown) in [(true, false), (false, true)] {
        let (mut house, mut control) = scene();
        let claims = crate::auth::admission::ClaimsFacts {
            jwt: "T0KEN".into(),
            bearer,
            ..Default::default()
        };
        house.connections[0].claims = Some(Arc::new(claims));
        let facts = Box::new(house.connections[0].clone());
        let body = br#"{"auth":true,"cid":5}"#;
        let subject = format!("$SYS.REQ.SERVER.{ID}.CONNZ");
        control.handle_message(&mut house, &subject, "_INBOX.1", b"", body);
        control.handle_notices(&mut house, vec![Notice::Connected(facts)]);
        let outgoing = control.take_outgoing();
        let told = |o: &&Outgoing| String::from_utf8_lossy(&o.payload).contains("T0KEN");
        let expected = if shown { 2 } else { 0 };
        assert_eq!(outgoing.iter().filter(told).count(), expected);
    }
}

/// What a nats-server 2.15.1 said.
#[test]
fn refusals() {
    let cases = [
        (
            "CONNZ",
            r#"{"sort":"xx"}"#,
            500,
            "invalid sorting option: xx",
        ),
        (
            "CONNZ",
            r#"{"sort":"stop"}"#,
            500,
            "sort by stop only valid on closed connections",
        ),
        (
            "CONNZ",
            r#"{"sort":"reason"}"#,
            500,
            "sort by reason only valid on closed connections",
        ),
        (
            "CONNZ",
            r#"{"filter_subject":"x"}"#,
            500,
            "filter by subject only valid with account filtering",
        ),
        (
            "SUBSZ",
            r#"{"subscriptions":true,"test":"foo.*"}"#,
            500,
            "invalid test subject, must be valid publish subject: foo.*",
        ),
        (
            "ACCOUNTZ",
            r#"{"account":"ZZ"}"#,
            500,
            "Account ZZ does not exist",
        ),
        (
            "KICK",
            r#"{"cid":9999}"#,
            500,
            "no such client or leafnode id",
        ),
        ("LDM", r#"{"cid":9999}"#, 500, "no such client id"),
        (
            "LDM",
            r#"{"cid":6}"#,
            500,
            "client does not support Lame Duck Mode or is not ready to receive the notification",
        ),
        (
            "VARZ",
            "{bad",
            400,
            "invalid character 'b' looking for beginning of object key string",
        ),
        (
            "CONNZ",
            r#"{"sort":1}"#,
            400,
            "json: cannot unmarshal number into Go struct field ConnzEventOptions.sort of type server.SortOpt",
        ),
        (
            "STATSZ",
            "zz",
            400,
            "invalid character 'z' looking for beginning of value",
        ),
    ];
    for (what, body, code, text) in cases {
        let answer = ask(what, body).unwrap();
        assert_eq!(answer["error"]["code"], code, "{what} {body}");
        assert_eq!(answer["error"]["description"], text, "{what} {body}");
        let with_data = code == 500 && !matches!(what, "KICK" | "LDM");
        assert_eq!(answer.get("data").is_some(), with_data, "{what} {body}");
    }
}

#[test]
fn servers_that_are_not_asked_are_silent() {
    let cases = [
        (r#"{"server_name":"other"}"#, false),
        (r#"{"server_name":"scen"}"#, true),
        (r#"{"server_name":"scen","exact_match":true}"#, false),
        (r#"{"server_name":"scene","exact_match":true}"#, true),
        (r#"{"host":"127"}"#, true),
        (r#"{"cluster":"c"}"#, false),
        (r#"{"tags":["X:Y"]}"#, true),
        (r#"{"tags":["x:y","z"]}"#, false),
        (r#"{"domain":"d"}"#, false),
    ];
    for (filter, expected) in cases {
        assert_eq!(ask("VARZ", filter).is_some(), expected, "{filter}");
    }
    assert!(ask("JSZ", r#"{"leader_only":true}"#).is_none());
    assert!(ask("KICK", "").is_none());
}

#[test]
fn subscribers_are_counted() {
    let cases = [
        (
            "$SYS.REQ.ACCOUNT.NSUBS",
            r#"{"acc":"A","subject":"foo.1"}"#,
            Some(2),
        ),
        (
            "$SYS.REQ.ACCOUNT.NSUBS",
            r#"{"acc":"A","subject":"foo.1","queue":"cQ=="}"#,
            Some(1),
        ),
        (
            "$SYS.REQ.ACCOUNT.NSUBS",
            r#"{"acc":"A","subject":"foo.*"}"#,
            Some(1),
        ),
        (
            "$SYS.REQ.ACCOUNT.NSUBS",
            r#"{"acc":"A","subject":">"}"#,
            Some(2),
        ),
        (
            "$SYS.REQ.ACCOUNT.NSUBS",
            r#"{"acc":"$G","subject":">"}"#,
            None,
        ),
        ("$SYS.DEBUG.SUBSCRIBERS", "foo.1", Some(0)),
    ];
    for (subject, body, expected) in cases {
        let (mut house, mut control) = scene();
        let answer = request(&mut house, &mut control, subject, body);
        assert_eq!(answer, expected.map(Value::from), "{subject} {body}");
    }
}

#[test]
fn orders_are_obeyed() {
    let (mut house, mut control) = scene();
    for (what, body) in [("KICK", r#"{"cid":7}"#), ("LDM", r#"{"cid":5}"#)] {
        let subject = format!("$SYS.REQ.SERVER.{ID}.{what}");
        let answer = request(&mut house, &mut control, &subject, body).unwrap();
        assert_eq!(answer.as_object().unwrap().len(), 1, "{what}: {answer}");
        // Nobody tells all servers at once.
        let to_all = format!("$SYS.REQ.SERVER.PING.{what}");
        assert_eq!(request(&mut house, &mut control, &to_all, body), None);
    }
    assert_eq!(house.kicked, vec![7]);
}

/// The main thread reads the configuration again, and everybody is answered when it is done, in the order that has.
#[test]
fn reloads_are_answered_when_they_are_done() {
    let (mut house, mut control) = scene();
    let subject = format!("$SYS.REQ.SERVER.{ID}.RELOAD");
    for reply in ["one", "two", "three"] {
        control.handle_message(&mut house, &subject, reply, b"", b"");
    }
    let to_all = "$SYS.REQ.SERVER.PING.RELOAD";
    control.handle_message(&mut house, to_all, "all", b"", b"");
    assert_eq!(control.take_outgoing(), []);
    let tickets = house.reloads.clone();
    assert_eq!(tickets.len(), 3);
    control.reloaded(tickets[2], Err("no".to_owned()), START);
    control.reloaded(tickets[0], Ok(()), START);
    // Nobody waits for an answer twice.
    control.reloaded(tickets[0], Ok(()), START);
    let answers = control.take_outgoing();
    let of = |place: usize| {
        let answer: &Outgoing = &answers[place];
        let value: Value = serde_json::from_slice(&answer.payload).unwrap();
        (
            answer.subject.clone(),
            value["error"]["description"].clone(),
        )
    };
    assert_eq!(answers.len(), 2);
    assert_eq!(of(0), ("three".to_owned(), "no".into()));
    assert_eq!(of(1), ("one".to_owned(), Value::Null));
}

/// A server that sees its clients off is not one to send more to; nor does a reload bring it back.
#[test]
fn lame_ducks_are_not_healthy() {
    let (mut house, mut control) = scene();
    let subject = format!("$SYS.REQ.SERVER.{ID}.HEALTHZ");
    let status = |house: &mut Fake, control: &mut Control| {
        let answer = request(house, control, &subject, "").unwrap();
        answer["data"]["status_code"].clone()
    };
    assert_eq!(status(&mut house, &mut control), 200);
    control.lame_duck(START);
    control.take_outgoing();
    assert_eq!(status(&mut house, &mut control), 500);
    control.set_server(server());
    assert_eq!(status(&mut house, &mut control), 500);
}

/// What is a sum over shards is not told where one of them is missing.
#[test]
fn sums_without_a_shard() {
    let (mut house, mut control) = scene();
    let http = |house: &mut Fake, control: &mut Control, endpoint| {
        let request = HttpRequest {
            endpoint,
            query: "",
            accepted: "",
        };
        let reply = control.handle_http(house, &request);
        (reply.status, reply.warning.is_some())
    };
    let varz = format!("$SYS.REQ.SERVER.{ID}.VARZ");
    for silent in [false, true] {
        house.silent = silent.then_some(1).into_iter().collect();
        let status = if silent { 503 } else { 200 };
        for endpoint in [Endpoint::Varz, Endpoint::Metrics, Endpoint::AccountStatz] {
            let expected = (status, false);
            assert_eq!(
                http(&mut house, &mut control, endpoint),
                expected,
                "{endpoint:?}"
            );
        }
        // Lists tell of the others, and the log of that.
        assert_eq!(
            http(&mut house, &mut control, Endpoint::Connz),
            (200, silent)
        );
        let answer = request(&mut house, &mut control, &varz, "").unwrap();
        assert_eq!(answer["error"]["code"] == 503, silent, "{answer}");
    }
}

/// A connection comes, is counted every 30 seconds, and goes.
#[test]
fn events_of_a_connection() {
    let (mut house, mut control) = scene();
    let told = |control: &mut Control| {
        let outgoing = control.take_outgoing();
        let only_events = outgoing
            .into_iter()
            .filter(|o| !o.subject.ends_with("STATSZ"));
        only_events
            .map(|o| {
                (
                    o.subject,
                    serde_json::from_slice::<Value>(&o.payload).unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    let subjects = |events: &[(String, Value)]| -> Vec<String> {
        events.iter().map(|(subject, _)| subject.clone()).collect()
    };
    let facts = Box::new(conn(5, "A", 3));
    control.handle_notices(&mut house, vec![Notice::Connected(facts.clone())]);
    let events = told(&mut control);
    let of_account = ["$SYS.SERVER.ACCOUNT.A.CONNS", "$SYS.ACCOUNT.A.SERVER.CONNS"];
    assert_eq!(
        subjects(&events),
        ["$SYS.ACCOUNT.A.CONNECT", of_account[0], of_account[1]]
    );
    assert_eq!(
        events[0].1["type"],
        "io.nats.server.advisory.v1.client_connect"
    );
    assert_eq!(events[0].1["client"]["id"], 5);
    assert_eq!(events[1].1["conns"], 2);
    assert_eq!(events[1].1["id"], events[2].1["id"]);

    house.now_ms += 29_999;
    control.tick(&mut house);
    assert_eq!(told(&mut control), []);
    house.now_ms += 1;
    control.tick(&mut house);
    assert_eq!(subjects(&told(&mut control)), of_account);

    house.connections.clear();
    let farewell = Farewell {
        facts: *facts,
        reason: CloseReason::StaleConnection,
        stopped_at: 3000,
        subscriptions: vec![sub(5, "A", "foo.*", "")],
        admitted: true,
    };
    control.handle_notices(&mut house, vec![Notice::Disconnected(Box::new(farewell))]);
    let events = told(&mut control);
    assert_eq!(
        subjects(&events),
        ["$SYS.ACCOUNT.A.DISCONNECT", of_account[0], of_account[1]]
    );
    let gone = &events[0].1;
    assert_eq!(gone["reason"], "Stale Connection");
    assert_eq!(gone["client"]["stop"], "2026-11-21T10:19:02.999Z");
    assert_eq!(gone["sent"]["msgs"], 3);
    assert_eq!(gone["client"]["rtt"], 928_123);
    assert_eq!(events[1].1["conns"], 0);
    house.now_ms += 60_000;
    control.tick(&mut house);
    assert_eq!(
        told(&mut control),
        [],
        "an account without connections is quiet"
    );

    let subject = format!("$SYS.REQ.SERVER.{ID}.CONNZ");
    let body = r#"{"state":1,"sort":"reason","subscriptions_detail":true}"#;
    let answer = request(&mut house, &mut control, &subject, body).unwrap();
    assert_eq!(cids(&answer), [5]);
    let shown = &answer["data"]["connections"][0];
    assert_eq!(shown["uptime"], "2s");
    assert_eq!(shown["subscriptions_list_detail"][0]["subject"], "foo.*");
}

#[test]
fn nobody_is_told_how_many_are_in_the_global_account() {
    let (mut house, mut control) = scene();
    let facts = Box::new(conn(9, "$G", 0));
    control.handle_notices(&mut house, vec![Notice::Connected(facts)]);
    let outgoing = control.take_outgoing();
    assert_eq!(outgoing.len(), 1);
    assert_eq!(outgoing[0].subject, "$SYS.ACCOUNT.$G.CONNECT");
}

#[test]
fn a_failed_authentication_is_told_twice() {
    let (mut house, mut control) = scene();
    let facts = Box::new(conn(9, "$G", 0));
    let reason = CloseReason::AuthenticationFailure;
    control.handle_notices(
        &mut house,
        vec![Notice::AuthenticationFailed(facts, reason)],
    );
    let outgoing = control.take_outgoing();
    let told: Vec<_> = outgoing
        .iter()
        .map(|o| (o.account.as_deref(), o.subject.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("$G"), "$SYS.ACCOUNT.CLIENT.AUTH.ERR"),
            (None, "$SYS.SERVER.NSERVER.CLIENT.AUTH.ERR")
        ]
    );
}

/// 250 ms after the start, then later and later, up to ten seconds, and never within a second.
#[test]
fn statistics_come_quickly_at_first() {
    let mut house = Fake::default();
    let mut control = Control::new(server(), 1, START);
    let mut times = Vec::new();
    for ms in (0..60_000).step_by(50) {
        house.now_ms = ms;
        control.tick(&mut house);
        times.extend(control.take_outgoing().iter().map(|_| ms));
    }
    let expected = [
        250, 1250, 3250, 7250, 15_250, 25_250, 35_250, 45_250, 55_250,
    ];
    assert_eq!(times, expected);
}

#[test]
fn every_request_has_one_subject() {
    let subjects = Control::new(server(), 1, START).subjects();
    for subject in &subjects {
        let literal = subject.replace('*', "A");
        let matching = subjects
            .iter()
            .filter(|pattern| crate::subject::matches(pattern.as_bytes(), literal.as_bytes()));
        assert_eq!(matching.count(), 1, "{literal}");
    }
}

/// What nobody could be sent is not sent.
#[test]
fn an_answer_that_is_too_long_says_so() {
    let (mut house, _) = scene();
    let mut facts = (*server()).clone();
    facts.limits.max_pending_bytes = 600;
    let mut control = Control::new(Arc::new(facts), 1, START);
    let subject = format!("$SYS.REQ.SERVER.{ID}.VARZ");
    control.handle_message(&mut house, &subject, "reply", b"", b"");
    let outgoing = control.take_outgoing();
    let answer: Value = serde_json::from_slice(&outgoing[0].payload).unwrap();
    let text = answer["error"]["description"].as_str().unwrap();
    assert!(
        text.ends_with("more than max_pending allows: 600"),
        "{text}"
    );
    assert_eq!(answer.get("data"), None);
}
