//! The monitoring port of a running server, held against nats-server's.
//!
//! `recorded.json` is what a nats-server 2.15.1 answered in the same scene. Answers must have the same status, kind of
//! content and fields of the same kinds; mistakes must be told in the same words. [`MAY_DIFFER`] is what differs, with the
//! reasons. With a nats-server in `NATS_SERVER_BIN` the recording is held against itself, and with a file in
//! `RECORD_MONITORING` made anew.

#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it; one that cannot go on has failed"
)]
#[path = "../harness/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../harness/mod.rs"]
mod harness;
mod http;
mod running;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use harness::{Directory, PATIENCE, Server, is_nats_server};
use http::{Answer, get};
use serde_json::{Value, json};

const RECORDED: &str = include_str!("recorded.json");

/// A offers something to B, and stores.
const CONFIG: &str = r#"
server_name: scene
http: "127.0.0.1:-1"
jetstream { store_dir: "{dir}", max_mem: 1M, max_file: 10M }
accounts {
  A {
    jetstream: enabled
    users [ { user: alice, password: pw } ]
    exports [ { service: "svc.q", accounts: [B] }, { stream: "ticks.>" } ]
    mappings { "m.from": "m.to" }
  }
  B {
    users [ { user: bob, password: pw } ]
    imports [
      { service: { account: A, subject: "svc.q" }, to: "b.svc" }
      { stream: { account: A, subject: "ticks.>" }, prefix: "t" }
    ]
  }
  $SYS { users [ { user: sys, password: pw } ] }
}
"#;

/// What is asked. `{cid}` is the connection of alice.
const ASKED: &[&str] = &[
    "/varz",
    "/connz",
    "/connz?auth=1",
    "/connz?subs=1",
    "/connz?subs=detail&auth=true",
    "/connz?state=closed",
    "/connz?state=CLOSED&auth=1&subs=detail",
    "/connz?state=all&limit=2&offset=1",
    "/connz?state=any",
    "/connz?sort=cid",
    "/connz?sort=start",
    "/connz?sort=subs",
    "/connz?sort=pending",
    "/connz?sort=msgs_to",
    "/connz?sort=msgs_from",
    "/connz?sort=bytes_to",
    "/connz?sort=bytes_from",
    "/connz?sort=last",
    "/connz?sort=idle",
    "/connz?sort=uptime",
    "/connz?sort=rtt",
    "/connz?sort=stop&state=closed",
    "/connz?sort=reason&state=closed",
    "/connz?cid={cid}&subs=1",
    "/connz?cid=999999",
    "/connz?user=alice&auth=1",
    "/connz?acc=A&auth=1",
    "/connz?acc=NONE",
    "/connz?mqtt_client=x",
    "/connz?limit=1;offset=1",
    "/connz?a=%zz&limit=1",
    "/subsz",
    "/subscriptionsz",
    "/subsz?subs=1",
    "/subsz?subs=1&limit=1&offset=1",
    "/subsz?subs=1&test=foo.1",
    "/subsz?subs=1&acc=A",
    "/routez",
    "/routez?subs=1",
    "/routez?subs=detail",
    "/gatewayz",
    "/gatewayz?accs=1&subs=detail",
    "/gatewayz?gw_name=x&acc_name=A",
    "/leafz",
    "/leafz?subs=1&acc=A",
    "/accountz",
    "/accountz?acc=A",
    "/accountz?acc=B",
    "/accountz?acc=$SYS",
    "/accountz?acc=NONE",
    "/accstatz",
    "/accstatz?unused=1",
    "/jsz",
    "/jsz?accounts=1",
    "/jsz?streams=1",
    "/jsz?accounts=1&streams=1",
    "/jsz?consumers=1",
    "/jsz?consumers=1&config=1",
    "/jsz?consumers=1&direct-consumers=1",
    "/jsz?consumers=1&direct-consumers=1&config=1",
    "/jsz?acc=A&consumers=1&config=1",
    "/jsz?acc=NONE",
    "/jsz?accounts=1&limit=1&offset=1",
    "/jsz?leader-only=1",
    "/jsz?stream-leader-only=1&streams=1",
    "/jsz?raft=1&streams=1",
    "/healthz",
    "/healthz?js-enabled-only=1",
    "/healthz?js-server-only=1",
    "/healthz?js-meta-only=1",
    "/healthz?details=1",
    "/healthz?account=A",
    "/healthz?account=A&stream=S",
    "/healthz?account=A&stream=S&consumer=C",
    "/healthz?account=A&stream=M",
    "/healthz?account=NONE",
    "/healthz?account=A&stream=NONE",
    "/healthz?account=A&stream=S&consumer=NONE",
    "/healthz?account=A&stream=NONE&details=1",
    "/healthz?stream=S",
    "/healthz?account=A&consumer=C&details=1",
    "/ipqueuesz?queues=none",
    "/ipqueuesz?all=1",
    "/raftz",
    "/raftz?acc=A&group=x",
    "/debug/vars",
    "/varz?callback=f",
    // Mistakes.
    "/none",
    "/varz/",
    "/connz?auth=nah",
    "/connz?subs=x",
    "/connz?offset=x",
    "/connz?limit=99999999999999999999",
    "/connz?cid=-1",
    "/connz?state=x",
    "/connz?sort=x",
    "/connz?sort=stop",
    "/connz?sort=reason",
    "/subsz?subs=x",
    "/subsz?offset=1.5",
    "/subsz?limit=x",
    "/subsz?test=foo.*",
    "/routez?subs=x",
    "/gatewayz?accs=x",
    "/gatewayz?subs=x",
    "/leafz?subs=x",
    "/accstatz?unused=x",
    "/jsz?accounts=x",
    "/jsz?streams=x",
    "/jsz?consumers=x",
    "/jsz?direct-consumers=x",
    "/jsz?config=x",
    "/jsz?offset=x",
    "/jsz?limit=x",
    "/jsz?leader-only=x",
    "/jsz?raft=x",
    "/jsz?stream-leader-only=x",
    "/healthz?js-enabled=x",
    "/healthz?js-enabled-only=x",
    "/healthz?js-server-only=x",
    "/healthz?js-meta-only=x",
    "/healthz?details=x",
    "/ipqueuesz?all=x",
];

/// What differs: the end of the request before its options, the beginning of the field, and why.
const MAY_DIFFER: &[(&str, &str, &str)] = &[
    (
        "/varz",
        "jetstream.limits.default_max_consumers",
        "a stream has as many consumers as it likes where nothing is said",
    ),
    ("/jsz", "limits.default_max_consumers", "the same there"),
    (
        "/varz",
        "jetstream.config.sync_always",
        "what is acknowledged has been synced where nothing is said",
    ),
    ("/jsz", "config.sync_always", "the same of it there"),
    (
        "/subsz?subs=1&limit=1&offset=1",
        "subscriptions_list[].",
        "nats-server lists subscriptions in no order",
    ),
    ("/varz", "git_commit", "no commit is built in"),
    (
        "/jsz?consumers=1&direct-consumers=1&config=1",
        "account_details[].stream_detail[].direct_consumer_detail[].config.metadata",
        "a mirror's consumer is not labelled with whose it is",
    ),
    (
        "/healthz?account=A&stream=M",
        "",
        "nats-server looks for streams on the disk, and does not find those in memory",
    ),
    (
        "/ipqueuesz?all=1",
        "",
        "nothing here works through queues of that kind",
    ),
    (
        "/varz",
        "feature_flags",
        "there are no features that could be turned off",
    ),
    (
        "/debug/vars",
        "memstats.",
        "there is no Go here: the memory of the process is told",
    ),
    (
        "/varz?callback=f",
        "",
        "nats-server 2.15 has dropped `callback`; pages that use it are served as before",
    ),
];

/// Why this may differ, if it may.
fn difference(path: &str, field: &str) -> Option<&'static str> {
    let endpoint = path.split('?').next().unwrap_or_default();
    let found = MAY_DIFFER.iter().find(|(of, start, _)| {
        let is_whole = field.is_empty() && start.is_empty();
        (*of == endpoint || *of == path)
            && (is_whole || !start.is_empty() && field.starts_with(start))
            || *of == path && start.is_empty()
    });
    found.map(|(_, _, why)| *why)
}

/// The scene, and who is in it.
struct Scene {
    _server: Server,
    address: SocketAddr,
    _clients: Vec<TcpStream>,
    _directory: Directory,
}

/// A client that has said this, and was answered a PING behind it.
fn client(address: SocketAddr, user: &str, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("there is such an option");
    let hello = format!(
        "CONNECT {{\"user\":\"{user}\",\"pass\":\"pw\",\"name\":\"{user}'s\",\"lang\":\"test\",\"version\":\"1\",\
         \"verbose\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1}}\r\nSUB _INBOX.* 9\r\n{text}PING\r\n"
    );
    stream
        .write_all(hello.as_bytes())
        .expect("the server reads");
    wait_for(&mut stream, "PONG\r\n");
    stream
}

fn wait_for(stream: &mut TcpStream, text: &str) -> String {
    let mut heard = String::new();
    let mut buffer = [0; 4096];
    while !heard.contains(text) {
        let count = stream.read(&mut buffer).expect("it is said in time");
        assert!(count > 0, "{text:?} is not said, but {heard:?}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    heard
}

/// Has JetStream do something.
fn api(stream: &mut TcpStream, subject: &str, body: &Value) {
    let body = body.to_string();
    let size = body.len();
    let text = format!("PUB $JS.API.{subject} _INBOX.1 {size}\r\n{body}\r\n");
    stream.write_all(text.as_bytes()).expect("the server reads");
    let answer = wait_for(stream, "}\r\n");
    assert!(!answer.contains("\"error\""), "{answer}");
}

/// Where the log says that monitoring is served.
fn monitor_address(server: &mut Server, protocol: &str) -> SocketAddr {
    let start = format!("Starting {protocol} monitor on ");
    assert!(server.wait_for_log(0, |line| line.contains(&start)));
    let log = server.log_text();
    let address = log.split(&start).nth(1).expect("it was there");
    let address = address.lines().next().expect("a line has an end");
    address.trim().parse().expect("it is an address")
}

impl Scene {
    fn new() -> Self {
        let directory = Directory::new();
        let store = directory.path().join("store").display().to_string();
        let config = CONFIG.replace("{dir}", &store);
        let mut server = Server::configured(&config).unwrap_or_else(|log| panic!("{log}"));
        let address = monitor_address(&mut server, "http");
        let clients = server.address();
        let mut alice = client(
            clients,
            "alice",
            "SUB foo.* 1\r\nSUB svc.q Q 2\r\nUNSUB 2 7\r\nPUB foo.1 5\r\nhello\r\n",
        );
        api(
            &mut alice,
            "STREAM.CREATE.S",
            &json!({ "name": "S", "subjects": ["s.*"], "storage": "file" }),
        );
        api(
            &mut alice,
            "STREAM.CREATE.M",
            &json!({ "name": "M", "mirror": { "name": "S" }, "storage": "memory" }),
        );
        api(
            &mut alice,
            "CONSUMER.CREATE.S.C",
            &json!({ "stream_name": "S", "config": { "durable_name": "C", "name": "C", "ack_policy": "explicit" } }),
        );
        alice
            .write_all(b"PUB s.1 _INBOX.2 3\r\nabc\r\n")
            .expect("the server reads");
        wait_for(&mut alice, "\"seq\"");
        let bob = client(clients, "bob", "SUB t.ticks.x 1\r\n");
        drop(client(
            clients,
            "alice",
            "SUB gone 1\r\nPUB foo.2 2\r\n12\r\n",
        ));
        let scene = Self {
            _server: server,
            address,
            _clients: vec![alice, bob],
            _directory: directory,
        };
        // Until it is known that one has gone, and the mirror has caught up.
        scene.until("/connz?state=closed", |answer| {
            answer["total"].as_u64() == Some(1)
        });
        scene.until("/jsz", |answer| answer["messages"].as_u64() == Some(2));
        scene
    }

    fn until(&self, path: &str, is_it: impl Fn(&Value) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = get(self.address, path).json();
            if is_it(&answer) {
                return;
            }
            assert!(Instant::now() < until, "{path}: {answer}");
            std::thread::yield_now();
        }
    }

    /// All that is asked, with the answers.
    fn answers(&self) -> Vec<(&'static str, Answer)> {
        let connections = get(self.address, "/connz?auth=1&user=alice").json();
        let cid = connections["connections"][0]["cid"].to_string();
        ASKED
            .iter()
            .map(|path| (*path, get(self.address, &path.replace("{cid}", &cid))))
            .collect()
    }
}

/// Every field with its kind; elements of lists are taken together.
fn shape(value: &Value, field: &str, found: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(elements) => {
            for element in elements {
                shape(element, &format!("{field}[]"), found);
            }
            "array"
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let below = match field {
                    "" => name.clone(),
                    field => format!("{field}.{name}"),
                };
                shape(value, &below, found);
            }
            "object"
        }
    };
    found.insert(format!("{field}: {kind}"));
}

/// What of an answer is compared: the fields of a good one, and the words of what is none.
fn record(path: &str, answer: &Answer) -> Value {
    let mut fields = BTreeSet::new();
    let text = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(value) if answer.status == 200 => {
            shape(&value, "", &mut fields);
            String::new()
        }
        _ => answer.text(),
    };
    json!({
        "path": path,
        "status": answer.status,
        "content_type": answer.content_type,
        "text": text,
        "fields": fields,
    })
}

fn fields(recorded: &Value) -> BTreeSet<&str> {
    let fields = recorded["fields"].as_array().expect("a list").iter();
    fields.map(|f| f.as_str().expect("a text")).collect()
}

#[test]
fn answers_are_like_nats_servers() {
    let scene = Scene::new();
    let answers: Vec<Value> = scene
        .answers()
        .iter()
        .map(|(path, answer)| record(path, answer))
        .collect();
    if let Ok(file) = std::env::var("RECORD_MONITORING") {
        assert!(is_nats_server(), "what is recorded is nats-server");
        let text = serde_json::to_string_pretty(&answers).expect("it is JSON");
        std::fs::write(file, text + "\n").expect("it can be written");
        return;
    }
    let recorded: Vec<Value> = serde_json::from_str(RECORDED).expect("the recording is JSON");
    let mut offences = Vec::new();
    let mut allowed = BTreeSet::new();
    for got in &answers {
        let path = got["path"].as_str().expect("a text");
        let Some(expected) = recorded.iter().find(|r| r["path"] == path) else {
            offences.push(format!("{path} is not recorded"));
            continue;
        };
        let mut differs = |field: &str, what: String| match difference(path, field) {
            Some(why) => drop(allowed.insert(why)),
            None => offences.push(format!("{path}: {what}")),
        };
        for what in ["status", "content_type", "text"] {
            if expected[what] != got[what] {
                let what = format!("{what} {} instead of {}", got[what], expected[what]);
                differs("", what);
            }
        }
        let (wanted, found) = (fields(expected), fields(got));
        for field in wanted.difference(&found) {
            differs(field, format!("- {field}"));
        }
        for field in found.difference(&wanted) {
            differs(field, format!("+ {field}"));
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
    // A table that says more than is true would hide something later.
    for (of, field, why) in MAY_DIFFER {
        assert!(
            allowed.contains(why) || is_nats_server(),
            "{of} {field} does not differ"
        );
    }
}

/// What the answers say, where the scene decides it.
#[test]
fn answers_say_what_is() {
    let scene = Scene::new();
    let cases: &[(&str, &str, Value)] = &[
        ("/connz", "/total", 2.into()),
        ("/connz?state=all", "/total", 3.into()),
        (
            "/connz?user=alice&auth=1",
            "/connections/0/account",
            "A".into(),
        ),
        ("/connz?limit=1", "/num_connections", 1.into()),
        ("/subsz?subs=1&test=foo.1", "/total", 1.into()),
        (
            "/accountz?acc=A",
            "/account_detail/client_connections",
            1.into(),
        ),
        ("/accstatz", "/account_statz/0/conns", 1.into()),
        ("/jsz", "/streams", 2.into()),
        ("/jsz", "/consumers", 1.into()),
        ("/varz", "/http_port", (-1).into()),
        ("/varz", "/http_host", "127.0.0.1".into()),
        ("/varz", "/in_msgs", 6.into()),
        ("/healthz", "/status", "ok".into()),
    ];
    for (path, pointer, expected) in cases {
        let answer = get(scene.address, path).json();
        assert_eq!(
            answer.pointer(pointer),
            Some(expected),
            "{path}{pointer}: {answer}"
        );
    }
    let before = get(scene.address, "/varz").json()["http_req_stats"].clone();
    for path in [
        "/connz",
        "/connz?auth=x",
        "/subscriptionsz",
        "/subsz?subs=x",
        "/raftz",
    ] {
        get(scene.address, path);
    }
    let after = get(scene.address, "/varz").json()["http_req_stats"].clone();
    let more = |name: &str| after[name].as_u64().unwrap_or(0) - before[name].as_u64().unwrap_or(0);
    // A mistake in the options of one counts, in those of the other it does not.
    assert_eq!((more("/connz"), more("/subsz"), more("/raftz")), (1, 2, 0));
    assert_eq!(more("/varz"), 1);
}

/// What only this server has.
#[test]
fn shards_metrics_and_the_page() {
    if is_nats_server() {
        return;
    }
    let scene = Scene::new();
    let shardz = get(scene.address, "/shardz").json();
    let shards = shardz["shards"].as_array().expect("a list");
    let sum = |name: &str| {
        shards
            .iter()
            .map(|shard| shard[name].as_u64().expect("a number"))
            .sum::<u64>()
    };
    assert_eq!(shardz["window_seconds"], 10);
    assert_eq!(
        (sum("connections"), sum("streams"), sum("consumers")),
        (2, 2, 1)
    );
    assert!(
        sum("turns") > 0 && sum("in_msgs") == 6 && sum("flushes") > 0,
        "{shardz}"
    );
    for (number, shard) in shards.iter().enumerate() {
        assert_eq!(shard["shard"], number);
        assert!(shard["cpu_seconds"].as_f64() > Some(0.0), "{shard}");
    }

    let file = get(scene.address, "/");
    assert_eq!(
        (file.status, &*file.content_type),
        (200, "text/html; charset=utf-8")
    );
    assert!(
        file.head
            .contains("Content-Security-Policy: default-src 'self';"),
        "{}",
        file.head
    );
    let script = get(scene.address, "/page/page.js");
    assert_eq!(
        (script.status, &*script.content_type),
        (200, "text/javascript; charset=utf-8")
    );
    for none in ["/page/none.js", "/page/", "/page/%2e%2e/varz"] {
        assert_eq!(get(scene.address, none).status, 404, "{none}");
    }

    for (accepted, content_type, end) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", false),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        ),
    ] {
        let answer = http::request(
            scene.address,
            &format!(
                "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accepted}\r\nConnection: close\r\n\r\n"
            ),
        );
        assert_eq!((answer.status, &*answer.content_type), (200, content_type));
        assert_eq!(answer.text().ends_with("# EOF\n"), end);
        check_metrics(&answer.text(), end);
    }
}

/// A strict reading: each family is described once, before its samples, which are all together; histograms rise.
fn check_metrics(text: &str, is_open: bool) {
    let mut families: BTreeSet<&str> = BTreeSet::new();
    let mut family = ("", "");
    let mut series: BTreeSet<&str> = BTreeSet::new();
    let mut bucket = ("", -1.0, 0);
    for line in text.lines().filter(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                assert!(families.insert(name), "{name} comes twice");
                assert!(help.ends_with('.'), "{line}");
                family = (name, "");
            }
            ["#", "TYPE", name, kind] => {
                assert_eq!(name, family.0);
                family.1 = kind;
            }
            ["#", "UNIT", name, unit] => {
                assert!(
                    is_open && name == family.0 && name.ends_with(&format!("_{unit}")),
                    "{line}"
                );
            }
            _ => {
                let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
                let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
                assert!(value >= 0.0, "{line}");
                assert!(series.insert(name), "{name} comes twice");
                let (bare, labels) = name.split_once('{').unwrap_or((name, ""));
                let suffix = bare
                    .strip_prefix(family.0)
                    .unwrap_or_else(|| panic!("{line}: {family:?}"));
                match (family.1, suffix) {
                    ("gauge", "") => assert!(!bare.ends_with("_total"), "{line}"),
                    ("counter", "_total") => assert!(is_open, "{line}"),
                    ("counter", "") => assert!(!is_open && bare.ends_with("_total"), "{line}"),
                    ("histogram", "_bucket") => {
                        let (of, limit) = labels.split_once("le=\"").expect("a limit");
                        let limit = limit.trim_end_matches("\"}");
                        let limit = match limit {
                            "+Inf" => f64::INFINITY,
                            limit => limit.parse().unwrap_or_else(|_| panic!("{line}")),
                        };
                        if bucket.0 == of && bucket.1 < limit {
                            assert!(value as u64 >= bucket.2, "{line}");
                        }
                        bucket = (of, limit, value as u64);
                    }
                    ("histogram", "_count") => {
                        assert_eq!((bucket.1, bucket.2), (f64::INFINITY, value as u64))
                    }
                    ("histogram", "_sum") => {}
                    other => panic!("{line}: {other:?}"),
                }
            }
        }
    }
    for name in [
        "skein_shard_turn_seconds",
        "skein_shard_flush_seconds",
        "skein_shard_mesh_depth",
        "skein_resident_memory_bytes",
    ] {
        assert!(families.contains(name), "{name}");
    }
}

#[test]
fn base_paths() {
    let mut server = Server::configured("http: \"127.0.0.1:-1\", http_base_path: mon")
        .unwrap_or_else(|log| panic!("{log}"));
    let address = monitor_address(&mut server, "http");
    for (path, status) in [
        ("/mon/varz", 200),
        ("/varz", 404),
        ("/", 404),
        ("/mon/none", 404),
        ("/monvarz", 404),
    ] {
        assert_eq!(get(address, path).status, status, "{path}");
    }
    assert_eq!(get(address, "/mon/varz").json()["http_base_path"], "mon");
    if !is_nats_server() {
        let redirect = get(address, "/mon");
        assert!(
            redirect.status == 307 && redirect.head.contains("Location: /mon/\r\n"),
            "{}",
            redirect.head
        );
        assert_eq!(
            get(address, "/mon/").content_type,
            "text/html; charset=utf-8"
        );
    }
}

/// Whatever the method, the answer is the same; HEAD has no body.
#[test]
fn methods_and_connections() {
    let mut server = Server::start("-m -1", "").unwrap_or_else(|log| panic!("{log}"));
    let address = monitor_address(&mut server, "http");
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let answer = http::request(
            address,
            &format!(
                "{method} /routez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        );
        assert_eq!(
            (answer.status, answer.json()["num_routes"].as_u64()),
            (200, Some(0)),
            "{method}"
        );
        assert!(
            answer.head.contains("Access-Control-Allow-Origin: *\r\n"),
            "{}",
            answer.head
        );
    }
    let head = http::request(
        address,
        "HEAD /routez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((head.status, head.body.len()), (200, 0));
    // Two on one connection.
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("there is such an option");
    for _ in 0..2 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("the server reads");
        wait_for(&mut stream, "{\"status\":\"ok\"}");
    }
    // What does not fit, and what is none.
    if !is_nats_server() {
        let long = "x".repeat(20_000);
        for (request, status) in [
            (format!("GET /varz?{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414),
            (
                format!("GET /varz HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
                431,
            ),
            ("nonsense\r\n\r\n".to_owned(), 400),
        ] {
            let answer = http::request(address, &request);
            assert!(
                answer.status == status || answer.status == 431,
                "{}: {status}",
                answer.head
            );
        }
    }
}

/// Many who say nothing, or ask and do not read, keep nobody from being answered for long.
#[test]
fn the_slow_and_the_silent() {
    if is_nats_server() {
        return;
    }
    let mut server = Server::start("-m -1", "").unwrap_or_else(|log| panic!("{log}"));
    let address = monitor_address(&mut server, "http");
    let connect = || TcpStream::connect(address).expect("it listens");
    let mut silent: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
    for stream in &mut silent[..50] {
        stream
            .write_all(b"GET /varz HTTP/1.1\r\nHos")
            .expect("the server reads");
    }
    assert_eq!(get(address, "/varz").status, 200);
    // More than there is room for: those go that have been idle for longest.
    silent.extend((0..100).map(|_| connect()));
    assert_eq!(get(address, "/varz").status, 200);
    let mut rest = Vec::new();
    silent[0]
        .set_read_timeout(Some(PATIENCE))
        .expect("there is such an option");
    let _ = silent[0].read_to_end(&mut rest);
}
