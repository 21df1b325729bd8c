//! What the operator sees of JetStream: JSZ, HEALTHZ, and JetStream in VARZ, STATSZ, ACCOUNTZ and INFO.
//!
//! `recorded/view.json` is what nats-server 2.15.1 answered in the same scene; fields, kinds and values must be equal, but
//! for what no two servers have in common ([`VOLATILE`]) and what is listed with a reason ([`KNOWN`]).

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::client::Client;
use crate::harness::{self, Directory, PATIENCE, Server};

const RECORDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/jetstream/recorded/view.json"
);

/// How long after an answer to the next request none comes to the one before.
const SILENCE: Duration = Duration::from_millis(500);

/// Values that time, chance or the machine decides; their kinds must be equal.
const VOLATILE: [&str; 20] = [
    "server.id",
    "server.seq",
    "server.time",
    "server.host",
    "server_id",
    "now",
    "created",
    "ts",
    "first_ts",
    "last_ts",
    "last_active",
    "update_time",
    "active",
    "pause_remaining",
    "store_dir",
    // Drawn for consumers of mirrors and sources.
    "config.deliver_subject",
    "JS_SRC.name",
    "JS_SRC.config.name",
    "JS_MIRROR.config.name",
    "JS_MIRROR.name",
];

/// What differs from nats-server: the end of a field's path, and why.
const KNOWN: [(&str, &str); 5] = [
    (
        "server.flags",
        "the other flags are about copies of streams, of which there are none",
    ),
    ("server.feature_flags", "there are none"),
    (
        "limits.default_max_consumers",
        "streams have no limit that they have not been given",
    ),
    (
        "sources.F.seq",
        "not in infos of streams, from which this is taken",
    ),
    (
        "JS_SRC.delivered.stream_seq",
        "what a consumer has delivered does not move on for messages that are not for it",
    ),
];

fn config(store: &str) -> String {
    format!(
        r#"
server_name: scene
jetstream {{
  store_dir: "{store}", sync_interval: always, max_mem: 64MB, max_file: 256MB, domain: hub, unique_tag: "az:"
  limits {{ max_ack_pending: 5000, max_request_batch: 300, duplicate_window: "1h" }}
}}
server_tags: ["az:1"]
accounts {{
  A {{
    users [ {{ user: alice, password: pw }} ]
    jetstream {{ max_mem: 8MB, max_file: 16MB, max_streams: 10, max_consumers: 20 }}
  }}
  B {{ users [ {{ user: bob, password: pw }} ], jetstream: enabled }}
  C {{ users [ {{ user: carol, password: pw }} ] }}
  $SYS {{ users [ {{ user: sys, password: pw }} ] }}
}}
"#
    )
}

const WITHOUT: &str = r#"
server_name: scene
accounts { A { users [ { user: alice, password: pw } ] }, $SYS { users [ { user: sys, password: pw } ] } }
"#;

/// Requests of the system account in a server with streams.
const WITH_STREAMS: [(&str, &str); 48] = [
    ("SERVER.PING.JSZ", ""),
    ("SERVER.PING.JSZ", r#"{"accounts":true}"#),
    ("SERVER.PING.JSZ", r#"{"account":"A"}"#),
    ("SERVER.PING.JSZ", r#"{"account":"nope"}"#),
    ("SERVER.PING.JSZ", r#"{"account":"nope","accounts":true}"#),
    ("SERVER.PING.JSZ", r#"{"account":"C","streams":true}"#),
    ("SERVER.PING.JSZ", r#"{"streams":true}"#),
    ("SERVER.PING.JSZ", r#"{"streams":true,"config":true}"#),
    ("SERVER.PING.JSZ", r#"{"account":"B","streams":true}"#),
    ("SERVER.PING.JSZ", r#"{"consumer":true}"#),
    ("SERVER.PING.JSZ", r#"{"consumer":true,"config":true}"#),
    (
        "SERVER.PING.JSZ",
        r#"{"consumer":true,"account":"A","direct_consumer":true}"#,
    ),
    (
        "SERVER.PING.JSZ",
        r#"{"streams":true,"account":"A","direct_consumer":true}"#,
    ),
    ("SERVER.PING.JSZ", r#"{"accounts":true,"offset":1}"#),
    ("SERVER.PING.JSZ", r#"{"accounts":true,"limit":1}"#),
    (
        "SERVER.PING.JSZ",
        r#"{"accounts":true,"offset":7,"limit":1}"#,
    ),
    (
        "SERVER.PING.JSZ",
        r#"{"accounts":true,"offset":-7,"limit":-1}"#,
    ),
    (
        "SERVER.PING.JSZ",
        r#"{"accounts":true,"offset":9223372036854775807,"limit":9223372036854775807}"#,
    ),
    ("SERVER.PING.JSZ", r#"{"raft":true}"#),
    (
        "SERVER.PING.JSZ",
        r#"{"raft":true,"streams":true,"consumer":true}"#,
    ),
    ("SERVER.PING.JSZ", r#"{"leader_only":true}"#),
    (
        "SERVER.PING.JSZ",
        r#"{"stream_leader_only":true,"streams":true}"#,
    ),
    ("SERVER.PING.JSZ", r#"{"domain":"hub"}"#),
    ("SERVER.PING.JSZ", r#"{"domain":"spoke"}"#),
    ("SERVER.PING.JSZ", r#"{"streams":1}"#),
    ("ACCOUNT.A.JSZ", ""),
    ("ACCOUNT.A.JSZ", r#"{"streams":true,"config":true}"#),
    ("ACCOUNT.A.JSZ", r#"{"streams":true,"consumer":true}"#),
    ("ACCOUNT.A.JSZ", r#"{"consumer":true}"#),
    ("ACCOUNT.A.JSZ", r#"{"account":"B"}"#),
    ("ACCOUNT.C.JSZ", ""),
    ("ACCOUNT.nope.JSZ", ""),
    ("SERVER.PING.HEALTHZ", ""),
    ("SERVER.PING.HEALTHZ", r#"{"details":true}"#),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"js-enabled":true,"account":"nope"}"#,
    ),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"js-enabled-only":true,"account":"nope"}"#,
    ),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"js-server-only":true,"account":"nope"}"#,
    ),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"js-meta-only":true,"account":"nope"}"#,
    ),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"account":"nope","details":true}"#,
    ),
    ("SERVER.PING.HEALTHZ", r#"{"account":"C"}"#),
    ("SERVER.PING.HEALTHZ", r#"{"account":"A","stream":"F"}"#),
    ("SERVER.PING.HEALTHZ", r#"{"account":"A","stream":"nope"}"#),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"account":"A","stream":"nope","details":true}"#,
    ),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"account":"A","stream":"F","consumer":"pull"}"#,
    ),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"account":"A","stream":"F","consumer":"nope"}"#,
    ),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"account":"A","stream":"F","consumer":"nope","details":true}"#,
    ),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"account":"B","stream":"F","consumer":"pull"}"#,
    ),
    ("SERVER.PING.HEALTHZ", r#"{"stream":"F"}"#),
];

/// Requests whose answers are compared in a part only.
const PARTS: [(&str, &str, &str); 4] = [
    ("SERVER.PING.VARZ", "", "/data/jetstream"),
    ("SERVER.PING.STATSZ", "", "/statsz/jetstream"),
    (
        "SERVER.PING.ACCOUNTZ",
        r#"{"account":"B"}"#,
        "/data/account_detail/jetstream_enabled",
    ),
    ("ACCOUNT.C.INFO", "", "/data/jetstream_enabled"),
];

/// Requests where there is no JetStream.
const WITHOUT_STREAMS: [(&str, &str); 7] = [
    ("SERVER.PING.JSZ", ""),
    ("SERVER.PING.JSZ", r#"{"streams":true}"#),
    ("SERVER.PING.JSZ", r#"{"leader_only":true}"#),
    ("ACCOUNT.A.JSZ", ""),
    ("SERVER.PING.HEALTHZ", r#"{"account":"nope"}"#),
    ("SERVER.PING.HEALTHZ", r#"{"js-enabled-only":true}"#),
    (
        "SERVER.PING.HEALTHZ",
        r#"{"account":"A","consumer":"x","details":true}"#,
    ),
];

/// A server with its streams, and who asks it.
struct Scene {
    _server: Server,
    _store: Directory,
    sys: Client,
    alice: Client,
}

impl Scene {
    fn of(text: &str, store: Directory, shards: usize) -> Self {
        let flags = match harness::is_nats_server() {
            true => String::new(),
            false => format!("--shards {shards}"),
        };
        let server = Server::start_with(&flags, "", text).unwrap_or_else(|log| panic!("{log}"));
        Self {
            sys: Client::connect(server.address(), "sys"),
            alice: Client::connect(server.address(), "alice"),
            _server: server,
            _store: store,
        }
    }

    fn new(shards: usize) -> Self {
        let store = Directory::new();
        let text = config(&store.path().display().to_string());
        let mut scene = Self::of(&text, store, shards);
        let mut bob = Client::connect(scene._server.address(), "bob");
        let api = |client: &mut Client, call: &str, body: &str| {
            let answer = ask(client, &format!("$JS.API.{call}"), body).expect("an answer");
            assert!(answer.get("error").is_none(), "{call} {body}: {answer}");
        };
        let alice = &mut scene.alice;
        let create = |client: &mut Client, name: &str, rest: &str| {
            let body =
                format!(r#"{{"name":"{name}","retention":"limits","num_replicas":1,{rest}}}"#);
            api(client, &format!("STREAM.CREATE.{name}"), &body);
        };
        create(
            alice,
            "F",
            r#""subjects":["f.>"],"storage":"file","max_bytes":1000000"#,
        );
        create(
            alice,
            "M",
            r#""subjects":["m.*"],"storage":"memory","max_bytes":10000"#,
        );
        create(&mut bob, "F", r#""subjects":["f.>"],"storage":"file""#);
        for (subject, body) in [
            ("f.1", "one"),
            ("f.2", "two"),
            ("f.3", "three"),
            ("m.1", "x"),
        ] {
            ask(alice, subject, body).expect("it is stored");
        }
        api(alice, "STREAM.MSG.DELETE.F", r#"{"seq":2}"#);
        create(alice, "R", r#""storage":"file","mirror":{"name":"F"}"#);
        create(
            alice,
            "S",
            r#""storage":"file","sources":[{"name":"F","filter_subject":"f.1"}]"#,
        );
        let deliver = alice.subscribe("to.push");
        for (name, rest) in [
            ("pull", ""),
            ("push", r#","deliver_subject":"to.push""#),
            ("paused", r#","pause_until":"2099-01-01T00:00:00Z""#),
            (
                "pinned",
                r#","priority_policy":"pinned_client","priority_groups":["g"],"priority_timeout":10000000000"#,
            ),
        ] {
            let body = format!(
                r#"{{"stream_name":"F","config":{{"name":"{name}","durable_name":"{name}","ack_policy":"explicit"{rest}}}}}"#
            );
            api(alice, &format!("CONSUMER.CREATE.F.{name}"), &body);
        }
        for _ in 0..2 {
            alice.next(deliver, PATIENCE).expect("it is delivered");
        }
        let inbox = alice.subscribe("_INBOX.pull");
        alice.publish("$JS.API.CONSUMER.MSG.NEXT.F.pull", "_INBOX.pull", &[], b"1");
        alice.next(inbox, PATIENCE).expect("it is delivered");
        let nope = ask(alice, "$JS.API.CONSUMER.INFO.F.nope", "").expect("an answer");
        assert_eq!(nope["error"]["code"], 404);
        // Asked in a way that does not count.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let jsz = scene.system("SERVER.PING.JSZ", "");
            if jsz["data"]["messages"] == 6 {
                break;
            }
            assert!(Instant::now() < deadline, "{jsz}");
        }
        scene
    }

    fn system(&mut self, what: &str, body: &str) -> Value {
        let subject = format!("$SYS.REQ.{what}");
        ask(&mut self.sys, &subject, body).unwrap_or(Value::Null)
    }
}

/// The answer to a request. `None` if the next one is answered and this one is not soon after it.
fn ask(client: &mut Client, subject: &str, body: &str) -> Option<Value> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Not to be mistaken for one that comes late.
    let inbox = format!("_INBOX.ask.{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let reply = format!("{inbox}.this");
    let sid = client.subscribe(&format!("{inbox}.*"));
    client.publish(subject, &reply, &[], body.as_bytes());
    if subject.starts_with("$SYS") {
        client.publish(
            "$SYS.REQ.SERVER.PING.IDZ",
            &format!("{inbox}.next"),
            &[],
            b"",
        );
    }
    let mut message = client.next(sid, PATIENCE);
    if message
        .as_ref()
        .is_some_and(|message| message.subject != reply)
    {
        // nats-server does not answer in order.
        message = client.next(sid, SILENCE);
    }
    client.unsubscribe(sid);
    let message = message?;
    let answer = serde_json::from_slice(&message.body);
    Some(answer.unwrap_or_else(|e| panic!("{subject}: {e}: {}", message.text())))
}

/// All answers, by request.
fn answers(shards: usize) -> Map<String, Value> {
    let mut answers = Map::new();
    let mut scene = Scene::new(shards);
    for (what, body) in WITH_STREAMS {
        let answer = scene.system(what, body);
        answers.insert(format!("{what} {body}"), named(answer));
    }
    for (what, body, part) in PARTS {
        // Statistics are not told more often than each second.
        let deadline = Instant::now() + Duration::from_secs(3);
        let mut answer = scene.system(what, body);
        while answer.is_null() && Instant::now() < deadline {
            answer = scene.system(what, body);
        }
        let part_of = answer.pointer(part).cloned().unwrap_or_default();
        answers.insert(format!("{what} {body} {part}"), named(part_of));
    }
    let mut scene = Scene::of(WITHOUT, Directory::new(), shards);
    for (what, body) in WITHOUT_STREAMS {
        let answer = scene.system(what, body);
        answers.insert(format!("without: {what} {body}"), named(answer));
    }
    let varz = scene.system("SERVER.PING.VARZ", "");
    answers.insert(
        "without: VARZ".to_owned(),
        varz["data"]["jetstream"].clone(),
    );
    answers
}

/// Lists of what has names become objects: no server lists streams in an order.
fn named(value: Value) -> Value {
    match value {
        Value::Array(list) if list.iter().all(|one| one["name"].is_string()) => {
            let mut all = BTreeMap::new();
            for one in list {
                let name = one["name"].as_str().unwrap_or_default();
                // The name of such a consumer ends by chance.
                let name = match name.rsplit_once('-') {
                    Some((start, _)) => start.split('_').take(2).collect::<Vec<_>>().join("_"),
                    None => name.to_owned(),
                };
                all.insert(name, named(one));
            }
            Value::Object(all.into_iter().collect())
        }
        Value::Array(list) => list.into_iter().map(named).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            fields.map(|(name, field)| (name, named(field))).collect()
        }
        other => other,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Whether the path is this one, or ends with it.
fn is_at(path: &str, end: &str) -> bool {
    path.strip_suffix(end)
        .is_some_and(|start| start.is_empty() || start.ends_with('.'))
}

fn compare(path: &str, expected: Option<&Value>, got: Option<&Value>, report: &mut String) {
    if KNOWN.iter().any(|(end, _)| is_at(path, end)) && !harness::is_nats_server() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = match (expected, got) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let more = right.keys().filter(|key| !left.contains_key(*key));
            for key in left.keys().chain(more) {
                compare(
                    &format!("{path}.{key}"),
                    left.get(key),
                    right.get(key),
                    report,
                );
            }
            Ok(())
        }
        (Some(left), Some(right)) if VOLATILE.iter().any(|end| is_at(path, end)) => {
            match kind(left) == kind(right) {
                true => Ok(()),
                false => writeln!(report, "{path}: {} instead of {}", kind(right), kind(left)),
            }
        }
        (Some(left), Some(right)) if left == right => Ok(()),
        (left, right) => {
            let shown =
                |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
            writeln!(
                report,
                "{path}: {} instead of {}",
                shown(right),
                shown(left)
            )
        }
    };
}

#[test]
fn the_operator_sees_what_nats_server_shows() {
    if harness::is_nats_server() && env::var_os("RECORD").is_some() {
        let text = serde_json::to_string_pretty(&Value::Object(answers(1))).expect("it is JSON");
        fs::write(RECORDING, text + "\n").expect("the recording can be written");
        return;
    }
    let recording = fs::read_to_string(RECORDING).expect("there is a recording");
    let expected: Map<String, Value> = serde_json::from_str(&recording).expect("it is JSON");
    let mut report = String::new();
    for shards in [1, 2] {
        let got = answers(shards);
        assert_eq!(expected.len(), got.len(), "all requests are recorded");
        for (request, expected) in &expected {
            let mut differences = String::new();
            compare("", Some(expected), got.get(request), &mut differences);
            for line in differences.lines() {
                let _ = writeln!(report, "{shards} shards, {request}{line}");
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// More streams than fit in a page, and more consumers of one.
#[test]
fn pages_make_a_whole() {
    const STREAMS: usize = 300;
    const CONSUMERS: usize = 150;
    if harness::is_nats_server() {
        return;
    }
    for shards in [1, 2] {
        let store = Directory::new();
        let path = store.path().display();
        let text = format!(
            "jetstream {{ store_dir: \"{path}\" }}\naccounts {{ A {{ users [ {{ user: alice, password: pw }} ], jetstream: \
             enabled }}, $SYS {{ users [ {{ user: sys, password: pw }} ] }} }}"
        );
        let mut scene = Scene::of(&text, store, shards);
        for n in 0..STREAMS {
            let body = format!(r#"{{"name":"S{n}","subjects":["s.{n}"],"storage":"memory"}}"#);
            let made = ask(
                &mut scene.alice,
                &format!("$JS.API.STREAM.CREATE.S{n}"),
                &body,
            );
            assert!(made.is_some_and(|made| made.get("error").is_none()));
            ask(&mut scene.alice, &format!("s.{n}"), "x").expect("it is stored");
        }
        for n in 0..CONSUMERS {
            let body =
                format!(r#"{{"stream_name":"S7","config":{{"name":"c{n}","ack_policy":"none"}}}}"#);
            let subject = format!("$JS.API.CONSUMER.CREATE.S7.c{n}");
            let made = ask(&mut scene.alice, &subject, &body);
            assert!(made.is_some_and(|made| made.get("error").is_none()));
        }
        let jsz = scene.system("SERVER.PING.JSZ", r#"{"consumer":true,"config":true}"#);
        let jsz = &jsz["data"];
        for (what, count) in [
            ("streams", STREAMS),
            ("messages", STREAMS),
            ("consumers", CONSUMERS),
        ] {
            assert_eq!(jsz[what], count, "{what} on {shards} shards");
        }
        let names = |list: &Value| {
            let list = list.as_array().expect("a list").iter();
            list.map(|one| one["name"].to_string())
                .collect::<BTreeSet<_>>()
        };
        let account = &jsz["account_details"][0];
        let streams = &account["stream_detail"];
        assert_eq!(streams.as_array().map(Vec::len), Some(STREAMS));
        assert_eq!(names(streams).len(), STREAMS);
        let all = streams.as_array().expect("a list");
        let crowded = all.iter().find(|s| s["name"] == "S7").expect("it is there");
        let consumers = &crowded["consumer_detail"];
        assert_eq!(consumers.as_array().map(Vec::len), Some(CONSUMERS));
        assert_eq!(names(consumers).len(), CONSUMERS);
    }
}
