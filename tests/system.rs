//! The system account of a running server: what it is told, and what it answers.
//!
//! `recorded/system.json` is what a nats-server 2.15.1 answered and told in the same scene. Answers
//! must have the same fields of the same kinds; errors must be equal. With a nats-server in
//! `NATS_SERVER_BIN` the recording is held against itself.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{PATIENCE, Server, signal};
use serde_json::Value;

const RECORDED: &str = include_str!("recorded/system.json");

/// The scene's accounts: A offers something to B, one of its users may do little.
const CONFIG: &str = r#"
server_name: scene
server_tags: ["x:y"]
accounts {
  A {
    users [
      { user: alice, password: pw }
      { user: limited, password: pw, permissions: {
          publish: { allow: ["a.>", "$SYS.REQ.USER.INFO"], deny: "x" }
          subscribe: { allow: ["a.>", "_INBOX.>"] }
          allow_responses: true
      } }
    ]
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

/// Fields that nats-server has and this server has nothing to say about, or the other way round.
const MAY_DIFFER: [&str; 5] = [
    "server.feature_flags",
    "data.feature_flags",
    "data.git_commit",
    // Round trips are measured at another time.
    "client.rtt",
    // Exports and imports are listed in no order, and an activation is nothing to a file.
    "server.metadata",
];

/// A message.
#[derive(Debug)]
struct Message {
    subject: String,
    reply: String,
    headers: String,
    body: Vec<u8>,
}

impl Message {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// A client of few words.
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    requests: u32,
}

impl Client {
    fn connect(address: SocketAddr, user: &str, name: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self {
            stream,
            input: Vec::new(),
            requests: 0,
        };
        client.say(&format!(
            "CONNECT {{\"user\":\"{user}\",\"pass\":\"pw\",\"name\":\"{name}\",\"lang\":\"test\",\"version\":\"1\",\"verbose\":false,\
             \"headers\":true,\"no_responders\":true,\"protocol\":1}}\r\nSUB _INBOX.{user}.* inbox\r\n"
        ));
        client.flush();
        client
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the server has done all that was said.
    fn flush(&mut self) {
        self.say("PING\r\n");
        let line = self.line_that(|line| line == "PONG");
        assert!(line.is_some(), "a PONG comes");
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing comes")
            }
            Err(_) => false,
        }
    }

    /// The next line, and its bytes with the line end; `None` at the end.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.input[..end]).into_owned();
                self.input.drain(..end + 2);
                if line == "PING" {
                    self.say("PONG\r\n");
                    continue;
                }
                return Some(line);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn line_that(&mut self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        while let Some(line) = self.line() {
            if is_it(&line) {
                return Some(line);
            }
        }
        None
    }

    fn message(&mut self) -> Message {
        let line = self
            .line_that(|line| line.starts_with("MSG ") || line.starts_with("HMSG "))
            .expect("a message comes");
        let words: Vec<&str> = line.split(' ').collect();
        let sizes = if words[0] == "MSG" { 1 } else { 2 };
        let number = |word: &str| word.parse::<usize>().unwrap();
        let total = number(words[words.len() - 1]);
        let headers = if sizes == 2 {
            number(words[words.len() - 2])
        } else {
            0
        };
        while self.input.len() < total + 2 {
            assert!(self.fill(), "the rest comes");
        }
        let all: Vec<u8> = self.input.drain(..total + 2).collect();
        let names = &words[1..words.len() - sizes];
        Message {
            subject: names[0].to_owned(),
            reply: names.get(2).copied().unwrap_or_default().to_owned(),
            headers: String::from_utf8_lossy(&all[..headers]).into_owned(),
            body: all[headers..total].to_vec(),
        }
    }

    /// Sends a request and says where its answer will come.
    fn ask(&mut self, user: &str, subject: &str, headers: &str, body: &str) -> String {
        self.requests += 1;
        let reply = format!("_INBOX.{user}.{}", self.requests);
        let size = headers.len() + body.len();
        let head = match headers.len() {
            0 => format!("PUB {subject} {reply} {size}\r\n"),
            of_headers => format!("HPUB {subject} {reply} {of_headers} {size}\r\n"),
        };
        self.say(&format!("{head}{headers}{body}\r\n"));
        reply
    }

    /// The answer to a request; `None` if the next one is answered instead.
    fn request(&mut self, user: &str, subject: &str, body: &str) -> Option<Message> {
        let reply = self.ask(user, subject, "", body);
        let next = (user == "sys").then(|| self.ask(user, "$SYS.REQ.SERVER.PING.IDZ", "", ""));
        let mut answer = None;
        loop {
            let message = self.message();
            if message.subject == reply {
                answer = Some(message);
                if next.is_none() {
                    return answer;
                }
            } else if Some(&message.subject) == next.as_ref() {
                return answer;
            }
        }
    }
}

/// The scene, and who is in it.
struct Scene {
    server: Server,
    sys: Client,
    _watcher: Client,
    alice: Client,
    limited: Client,
    _bob: Client,
    id: String,
    /// What the system account was told, by subject.
    events: Vec<Message>,
}

impl Scene {
    fn new() -> Self {
        let server = Server::configured(CONFIG).unwrap_or_else(|log| panic!("{log}"));
        let address = server.address();
        let mut watcher = Client::connect(address, "sys", "watcher");
        watcher.say("SUB $SYS.ACCOUNT.> 1\r\nSUB $SYS.SERVER.> 2\r\n");
        watcher.flush();
        let mut alice = Client::connect(address, "alice", "alice's");
        alice.say("SUB foo.* 1\r\nSUB svc.q Q 2\r\n");
        let mut bob = Client::connect(address, "bob", "bob's");
        bob.say("SUB t.ticks.x 1\r\n");
        bob.flush();
        let limited = Client::connect(address, "limited", "lim");
        alice.say("PUB foo.1 5\r\nhello\r\n");
        alice.flush();
        let mut gone = Client::connect(address, "alice", "gone");
        gone.say("PUB foo.2 2\r\n12\r\n");
        gone.flush();
        drop(gone);
        let mut wrong = TcpStream::connect(address).unwrap();
        wrong
            .write_all(
                b"CONNECT {\"user\":\"alice\",\"pass\":\"no\",\"name\":\"wrong\",\"lang\":\"test\",\"version\":\"1\"}\r\nPING\r\n",
            )
            .unwrap();
        // Whatever comes, until the end.
        let _ = wrong.read_to_end(&mut Vec::new());
        drop(wrong);

        let mut sys = Client::connect(address, "sys", "system");
        let id = sys.request("sys", "$SYS.REQ.SERVER.PING.IDZ", "").unwrap();
        let id = id.json()["id"].as_str().unwrap().to_owned();
        let wanted: BTreeSet<String> = recorded("events")
            .iter()
            .map(|e| e["subject"].as_str().unwrap().replace("{id}", &id))
            .collect();
        let mut events: Vec<Message> = Vec::new();
        let until = Instant::now() + PATIENCE;
        while !wanted
            .iter()
            .all(|subject| events.iter().any(|e| e.subject == *subject))
        {
            let seen: Vec<&str> = events.iter().map(|e| e.subject.as_str()).collect();
            assert!(Instant::now() < until, "wanted {wanted:?}, got {seen:?}");
            events.push(watcher.message());
        }
        Self {
            server,
            sys,
            _watcher: watcher,
            alice,
            limited,
            _bob: bob,
            id,
            events,
        }
    }

    /// Asks as the user of the recording.
    fn request(&mut self, user: &str, subject: &str, body: &str) -> Option<Message> {
        let client = match user {
            "sys" => &mut self.sys,
            "alice" => &mut self.alice,
            "limited" => &mut self.limited,
            other => panic!("{other} is not in the scene"),
        };
        client.request(user, subject, body)
    }
}

fn recorded(what: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(RECORDED).unwrap();
    all[what].as_array().unwrap().clone()
}

/// Every field with its kind; elements of lists are taken together.
fn shape(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    if MAY_DIFFER.contains(&path) {
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(elements) => {
            for element in elements {
                shape(element, &format!("{path}[]"), found);
            }
            "array"
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                shape(field, &below, found);
            }
            "object"
        }
    };
    found.insert(format!("{path}: {kind}"));
}

/// What one has and the other has not.
fn differences(expected: &Value, got: &Value) -> Vec<String> {
    let (mut wanted, mut found) = (BTreeSet::new(), BTreeSet::new());
    shape(expected, "", &mut wanted);
    shape(got, "", &mut found);
    let missing = wanted.difference(&found).map(|f| format!("- {f}"));
    missing
        .chain(found.difference(&wanted).map(|f| format!("+ {f}")))
        .collect()
}

#[test]
fn answers_have_the_fields_of_nats_server() {
    let mut scene = Scene::new();
    let mut offences = Vec::new();
    for case in recorded("requests") {
        let text = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
        let subject = text("subject").replace("{id}", &scene.id);
        let user = match text("user") {
            user if user.is_empty() => "sys".to_owned(),
            user => user,
        };
        let expected = &case["answer"];
        let answer = scene.request(&user, &subject, &text("body"));
        let name = text("name");
        let answer = match (answer, expected) {
            (None, Value::Null) => continue,
            (Some(answer), Value::Null) => {
                offences.push(format!("{name}: + {}", answer.json()));
                continue;
            }
            (None, _) => {
                offences.push(format!("{name}: no answer"));
                continue;
            }
            (Some(answer), _) => answer.json(),
        };
        for difference in differences(expected, &answer) {
            offences.push(format!("{name}: {difference}"));
        }
        if expected["error"] != answer["error"] {
            offences.push(format!(
                "{name}: {} instead of {}",
                answer["error"], expected["error"]
            ));
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn events_have_the_fields_of_nats_server() {
    let scene = Scene::new();
    let mut offences = Vec::new();
    for case in recorded("events") {
        let subject = case["subject"].as_str().unwrap().replace("{id}", &scene.id);
        let event = scene
            .events
            .iter()
            .find(|e| e.subject == subject)
            .unwrap()
            .json();
        for difference in differences(&case["event"], &event) {
            offences.push(format!("{subject}: {difference}"));
        }
        for fixed in ["type", "reason", "acc"] {
            if case["event"][fixed] != event[fixed] {
                offences.push(format!("{subject}: {fixed} is {}", event[fixed]));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// What the answers say, where the scene decides it.
#[test]
fn answers_say_what_is() {
    let mut scene = Scene::new();
    let to_one = format!("$SYS.REQ.SERVER.{}.", scene.id);
    let cases: &[(&str, &str, &str, Value)] = &[
        ("CONNZ", "", "/data/total", 5.into()),
        ("CONNZ", r#"{"state":1}"#, "/data/total", 2.into()),
        (
            "CONNZ",
            r#"{"acc":"A","user":"alice"}"#,
            "/data/num_connections",
            1.into(),
        ),
        (
            "CONNZ",
            r#"{"acc":"A","filter_subject":"foo.x"}"#,
            "/data/connections/0/name",
            "alice's".into(),
        ),
        (
            "CONNZ",
            r#"{"state":1,"auth":true,"acc":"A"}"#,
            "/data/connections/0/reason",
            "Client Closed".into(),
        ),
        (
            "CONNZ",
            r#"{"acc":"A","user":"alice"}"#,
            "/data/connections/0/in_msgs",
            1.into(),
        ),
        (
            "CONNZ",
            r#"{"acc":"A","user":"alice"}"#,
            "/data/connections/0/in_bytes",
            5.into(),
        ),
        (
            "CONNZ",
            r#"{"acc":"A","user":"alice"}"#,
            "/data/connections/0/out_msgs",
            2.into(),
        ),
        (
            "CONNZ",
            r#"{"acc":"A","user":"alice"}"#,
            "/data/connections/0/out_bytes",
            7.into(),
        ),
        ("VARZ", "", "/data/connections", 5.into()),
        ("VARZ", "", "/data/total_connections", 7.into()),
        ("VARZ", "", "/data/system_account", "$SYS".into()),
        (
            "SUBSZ",
            r#"{"subscriptions":true,"test":"foo.9"}"#,
            "/data/subscriptions_list/0/msgs",
            2.into(),
        ),
        (
            "SUBSZ",
            r#"{"subscriptions":true,"test":"foo.9"}"#,
            "/data/total",
            1.into(),
        ),
        (
            "ACCOUNTZ",
            r#"{"account":"A"}"#,
            "/data/account_detail/client_connections",
            2.into(),
        ),
        ("STATSZ", "", "/statsz/active_accounts", 3.into()),
    ];
    for (what, body, pointer, expected) in cases {
        let answer = scene.request("sys", &format!("{to_one}{what}"), body);
        let answer = answer
            .unwrap_or_else(|| panic!("{what} {body}: no answer"))
            .json();
        assert_eq!(
            answer.pointer(pointer),
            Some(expected),
            "{what} {body}: {answer}"
        );
    }
    // Another account sees itself and nobody else.
    let answer = scene.request("alice", "$SYS.REQ.SERVER.PING.CONNZ", r#"{"acc":"B"}"#);
    let answer = answer.unwrap().json();
    assert_eq!(answer["data"]["num_connections"], 2, "{answer}");
}

#[test]
fn answers_are_compressed_as_asked() {
    let mut scene = Scene::new();
    let cases = [
        ("gzip", "gzip", b"\x1f\x8b".as_slice()),
        ("snappy", "snappy", b"\xff\x06\0\0sNaPpY".as_slice()),
        ("br", "identity", b"{\"server\":".as_slice()),
    ];
    for (accepted, encoding, start) in cases {
        let headers = format!("NATS/1.0\r\nAccept-Encoding: {accepted}\r\n\r\n");
        scene
            .sys
            .ask("sys", "$SYS.REQ.SERVER.PING.VARZ", &headers, "");
        let answer = scene.sys.message();
        let expected = format!("NATS/1.0\r\nContent-Encoding: {encoding}\r\n\r\n");
        assert_eq!(answer.headers, expected);
        assert!(answer.body.starts_with(start), "{accepted}");
    }
}

#[test]
fn clients_are_kicked_and_told() {
    let mut scene = Scene::new();
    let to_one = format!("$SYS.REQ.SERVER.{}.", scene.id);
    let connz = scene.request(
        "sys",
        &format!("{to_one}CONNZ"),
        r#"{"acc":"A","user":"alice"}"#,
    );
    let cid = connz.unwrap().json()["data"]["connections"][0]["cid"].clone();
    let body = format!("{{\"cid\":{cid}}}");
    let told = scene
        .request("sys", &format!("{to_one}LDM"), &body)
        .unwrap();
    assert_eq!(told.json().get("error"), None);
    let info = scene.alice.line_that(|line| line.starts_with("INFO "));
    assert!(info.unwrap().contains("\"ldm\":true"));
    let kicked = scene
        .request("sys", &format!("{to_one}KICK"), &body)
        .unwrap();
    assert_eq!(kicked.json().get("error"), None);
    assert_eq!(
        scene.alice.line_that(|_| false),
        None,
        "the connection ends"
    );
    let again = scene
        .request("sys", &format!("{to_one}KICK"), &body)
        .unwrap();
    assert_eq!(
        again.json()["error"]["description"],
        "no such client or leafnode id"
    );
}

/// A server that goes says so, in both ways, to those on every shard.
#[test]
fn the_last_words() {
    for (by, subject) in [("USR2", "LAMEDUCK"), ("TERM", "SHUTDOWN")] {
        let scene = Scene::new();
        let address = scene.server.address();
        let mut listeners: Vec<Client> = (0..4)
            .map(|_| Client::connect(address, "sys", "listener"))
            .collect();
        let subject = format!("$SYS.SERVER.{}.{subject}", scene.id);
        for listener in &mut listeners {
            listener.say(&format!("SUB {subject} 1\r\n"));
            listener.flush();
        }
        assert!(signal(scene.server.pid(), by));
        for listener in &mut listeners {
            let event = listener.message();
            assert_eq!(event.subject, subject);
            assert_eq!(event.reply, "");
            assert_eq!(event.json()["name"], "scene");
        }
    }
}

/// The account of a failed client is told as well, though it has no part in the system account.
#[test]
fn an_account_is_told_of_failed_authentication() {
    let text = "authorization { users [ { user: u, password: pw } ] }";
    let server = Server::configured(text).unwrap_or_else(|log| panic!("{log}"));
    let mut u = Client::connect(server.address(), "u", "");
    u.say("SUB $SYS.ACCOUNT.CLIENT.AUTH.ERR 1\r\n");
    u.flush();
    let mut wrong = TcpStream::connect(server.address()).unwrap();
    wrong
        .write_all(b"CONNECT {\"user\":\"u\",\"pass\":\"no\"}\r\n")
        .unwrap();
    let event = u.message();
    assert_eq!(event.subject, "$SYS.ACCOUNT.CLIENT.AUTH.ERR");
    let event = event.json();
    assert_eq!(event["reason"], "Authentication Failure");
    assert_eq!(event["client"]["user"], "u");
}

/// The operator's tool, where there is one.
#[test]
fn the_operators_tool_understands() {
    let scene = Scene::new();
    let url = |user: &str| format!("nats://{user}:pw@{}", scene.server.address());
    let cases: &[(&str, &[&str], &str)] = &[
        ("sys", &["server", "ping", "1"], "rtt"),
        ("sys", &["server", "info"], "scene"),
        ("sys", &["server", "list", "1"], "scene"),
        ("sys", &["server", "report", "connections"], "alice's"),
        ("sys", &["server", "report", "accounts"], "$SYS"),
        (
            "sys",
            &["server", "request", "variables"],
            "\"server_name\":\"scene\"",
        ),
        (
            "sys",
            &["server", "request", "connections", "--subscriptions"],
            "foo.*",
        ),
        (
            "sys",
            &["server", "request", "subscriptions", "--detail"],
            "num_subscriptions",
        ),
        (
            "sys",
            &["server", "request", "jetstream"],
            "\"disabled\":true",
        ),
        ("sys", &["server", "request", "routes"], "\"num_routes\":0"),
        ("sys", &["server", "account", "info", "A"], "svc.q"),
        ("alice", &["account", "info"], "Account: A"),
    ];
    for (user, arguments, expected) in cases {
        let output = Command::new("nats")
            .args(["--no-context", "--timeout", "3s", "--server", &url(user)])
            .args(*arguments)
            .output();
        let Ok(output) = output else {
            eprintln!("there is no `nats` here: not tested with it");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(expected), "{arguments:?}: {text}{errors}");
    }
}

/// Statistics come quickly at first, without being asked for.
#[test]
fn statistics_are_told() {
    let server = Server::configured(CONFIG).unwrap_or_else(|log| panic!("{log}"));
    let mut sys = Client::connect(server.address(), "sys", "");
    sys.say("SUB $SYS.SERVER.*.STATSZ 1\r\n");
    let from = Instant::now();
    let first = sys.message();
    assert!(first.subject.ends_with(".STATSZ"));
    let second = sys.message().json();
    assert!(
        from.elapsed() < Duration::from_secs(5),
        "{:?}",
        from.elapsed()
    );
    let seq = |event: &Value| event["server"]["seq"].as_u64().unwrap();
    assert!(seq(&second) > seq(&first.json()));
    assert_eq!(second["statsz"]["connections"], 1);
}
