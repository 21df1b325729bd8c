//! A server with accounts, clients, streams and consumers, for tools to look at. The same with nats-server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Directory, PATIENCE, Server};

/// A offers something to B, stores, and maps a subject; one account has a name that is awkward to print.
const CONFIG: &str = r#"
server_name: scene
http: "127.0.0.1:-1"
jetstream { store_dir: "{dir}", max_mem: 10M, max_file: 100M }
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
  'an "awkward" \ näme' { users [ { user: carol, password: pw } ] }
  $SYS { users [ { user: sys, password: pw } ] }
}
"#;

pub struct Scene {
    pub address: SocketAddr,
    pub monitoring: SocketAddr,
    responder: (TcpStream, Option<JoinHandle<()>>),
    _clients: Vec<TcpStream>,
    _server: Server,
    _directory: Directory,
}

impl Scene {
    /// With the server under test.
    pub fn new() -> Self {
        Self::with(Server::configured)
    }

    /// With this program.
    pub fn of(program: &Path) -> Self {
        Self::with(|config| Server::configured_for(program, config))
    }

    fn with(start: impl FnOnce(&str) -> Result<Server, String>) -> Self {
        let directory = Directory::new();
        let store = directory.path().join("store").display().to_string();
        let config = CONFIG.replace("{dir}", &store);
        let mut server = start(&config).unwrap_or_else(|log| panic!("{log}"));
        let address = server.address();
        let mut alice = client(address, "alice", "SUB foo.* 1\r\nSUB svc.q Q 2\r\n");
        for (subject, body) in [
            (
                "STREAM.CREATE.S",
                json!({ "name": "S", "subjects": ["s.*"], "storage": "file" }),
            ),
            (
                "STREAM.CREATE.M",
                json!({ "name": "M", "mirror": { "name": "S" }, "storage": "memory" }),
            ),
            (
                "STREAM.CREATE.KV_BUCKET",
                json!({ "name": "KV_BUCKET", "subjects": ["$KV.BUCKET.>"], "max_msgs_per_subject": 1,
                    "allow_rollup_hdrs": true, "allow_direct": true, "discard": "new" }),
            ),
            (
                "CONSUMER.CREATE.S.C",
                json!({ "stream_name": "S", "config": { "durable_name": "C", "name": "C", "ack_policy": "explicit" } }),
            ),
        ] {
            api(&mut alice, subject, &body);
        }
        for subject in ["s.1", "s.2", "$KV.BUCKET.k"] {
            let text = format!("PUB {subject} _INBOX.2 3\r\nabc\r\n");
            alice.write_all(text.as_bytes()).expect("the server reads");
            wait_for(&mut alice, "\"seq\"");
        }
        let bob = client(address, "bob", "SUB t.ticks.x 1\r\n");
        let carol = client(address, "carol", "");
        let echo = client(address, "bob", "SUB b.echo 1\r\n");
        let mut answering = echo.try_clone().expect("a descriptor is free");
        let responder = std::thread::spawn(move || respond(&mut answering));
        let monitoring = monitor_address(&mut server);
        let scene = Self {
            address,
            monitoring,
            responder: (echo, Some(responder)),
            _clients: vec![alice, bob, carol],
            _server: server,
            _directory: directory,
        };
        // Until the mirror has caught up.
        let until = Instant::now() + PATIENCE;
        while crate::http::get(scene.monitoring, "/jsz").json()["messages"] != 5 {
            assert!(Instant::now() < until, "the mirror does not catch up");
            std::thread::yield_now();
        }
        scene
    }

    /// Somebody of account A comes and goes, which the system account is told.
    pub fn come_and_go(&self) {
        drop(client(self.address, "alice", "SUB gone 1\r\n"));
    }

    /// Somebody of account A asks JetStream for something.
    pub fn ask_for_a_stream(&self) {
        let mut alice = client(self.address, "alice", "");
        api(&mut alice, "STREAM.INFO.S", &json!({}));
    }

    /// What somebody of the system account who listens to this hears, when a client of account A asks for a stream.
    pub fn overheard(&self, pattern: &str) -> String {
        let mut onlooker = client(self.address, "sys", &format!("SUB {pattern} 1\r\n"));
        self.ask_for_a_stream();
        onlooker.write_all(b"PING\r\n").expect("the server reads");
        let heard = wait_for(&mut onlooker, "PONG\r\n");
        heard.replace("PONG\r\n", "")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Fails only when the server has gone before.
        let _ = self.responder.0.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.responder.1.take() {
            let _ = thread.join();
        }
    }
}

/// Answers requests until the connection ends.
fn respond(stream: &mut TcpStream) {
    // Nobody asks for a long time while a tool starts.
    stream
        .set_read_timeout(None)
        .expect("there is such an option");
    let mut heard = String::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => heard.push_str(&String::from_utf8_lossy(&buffer[..count])),
            _ => return,
        }
        while let Some(end) = heard.find("\r\n") {
            let line: String = heard.drain(..end + 2).collect();
            let words: Vec<&str> = line.split_whitespace().collect();
            let answer = match words[..] {
                ["MSG", _, _, reply, _] | ["HMSG", _, _, reply, _, _] => {
                    format!("PUB {reply} 2\r\nhi\r\n")
                }
                ["PING"] => "PONG\r\n".to_owned(),
                _ => continue,
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
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
fn monitor_address(server: &mut Server) -> SocketAddr {
    let start = "Starting http monitor on ";
    assert!(server.wait_for_log(0, |line| line.contains(start)));
    let log = server.log_text();
    let address = log.split(start).nth(1).expect("it was there");
    let address = address.lines().next().expect("a line has an end");
    address.trim().parse().expect("it is an address")
}
