//! A running server is given another configuration: real binary, clients that go on working meanwhile,
//! and those that must not.
//!
//! `NATS_SERVER_BIN` runs what holds for nats-server too against a real one.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

#[path = "../harness/certificates.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod certificates;
#[path = "../harness/mod.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use certificates::Authority;
use futures_util::StreamExt;
use harness::{Directory, PATIENCE, Server, signal};
use serde_json::Value;

const DONE: &str = "Reloaded server configuration";
const FAILED: &str = "Failed to reload server configuration: ";

fn start(shards: usize, text: &str) -> Server {
    match Server::start_with(&format!("--shards {shards}"), "", text) {
        Ok(server) => server,
        Err(log) => panic!("{log}"),
    }
}

/// Gives it another configuration; why it does not take it.
fn reload(server: &mut Server, text: &str) -> Result<(), String> {
    server.rewrite(text);
    let from = server.log_position();
    assert!(signal(server.pid(), "HUP"));
    let line = server.log_line(from, |line| line.contains(DONE) || line.contains(FAILED));
    let line = line.unwrap_or_else(|| panic!("no end of it:\n{}", server.log_text()));
    match line.split_once(FAILED) {
        Some((_, why)) => {
            // Each mistake has a line; this one comes behind them.
            let from = server.log_position();
            assert!(signal(server.pid(), "USR1"));
            assert!(server.wait_for_log(from, |line| line.contains("re-open")));
            Err(why.to_owned())
        }
        None => Ok(()),
    }
}

/// A client that sees every byte.
struct Client {
    socket: TcpStream,
    heard: String,
}

impl Client {
    fn open(server: &Server) -> Self {
        let socket = TcpStream::connect(server.address()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut client = Self {
            socket,
            heard: String::new(),
        };
        client.hears("INFO ");
        client
    }

    fn connect(server: &Server, user: &str) -> Self {
        let mut client = Self::open(server);
        let who = match user {
            "" => String::new(),
            user => format!(",\"user\":\"{user}\",\"pass\":\"p\""),
        };
        client.say(&format!(
            "CONNECT {{\"verbose\":false,\"protocol\":1{who}}}\r\n"
        ));
        client.say("PING\r\n");
        client.hears("PONG\r\n");
        client.hears("\"connect_info\":true");
        client.hears("\r\n");
        client
    }

    fn say(&mut self, text: &str) {
        // One that was cut off finds out when it listens.
        let _ = self.socket.write_all(text.as_bytes());
    }

    /// Waits for a text; what came up to and with it.
    #[track_caller]
    fn hears(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.find(text) {
                let rest = self.heard.split_off(at + text.len());
                return std::mem::replace(&mut self.heard, rest);
            }
            assert!(Instant::now() < until, "no {text:?} in {:?}", self.heard);
            assert!(self.read(), "closed without {text:?}: {:?}", self.heard);
        }
    }

    /// Reads what is there; false at the end.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 65_536];
        match self.socket.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.heard
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Waits for the end; what came before it, but for the server's first PING, which may have been due.
    #[track_caller]
    fn cut_off(mut self) -> String {
        let until = Instant::now() + PATIENCE;
        while self.read() {
            assert!(Instant::now() < until, "not closed: {:?}", self.heard);
        }
        self.heard.replace("PING\r\n", "")
    }

    /// Whether all works, and nothing has come meanwhile but for the server's first PING, which may have been due.
    #[track_caller]
    fn is_undisturbed(&mut self) {
        self.say("PING\r\n");
        assert_eq!(self.hears("PONG\r\n").replace("PING\r\n", ""), "PONG\r\n");
    }
}

fn users(list: &[&str]) -> String {
    format!("authorization {{ users = [ {} ] }}\n", list.join(", "))
}

fn user(name: &str, more: &str) -> String {
    format!("{{ user: {name}, password: \"p\" {more} }}")
}

#[test]
fn who_is_cut_off() {
    for shards in [1, 2] {
        let (a, b, c) = (user("a", ""), user("b", ""), user("c", ""));
        let mut server = start(shards, &users(&[&a, &b, &c]));
        let [a, b, mut kept] = ["a", "b", "c"].map(|name| Client::connect(&server, name));
        let mut stranger = Client::open(&server);
        let changed = b_with("q");
        reload(&mut server, &users(&[&changed, &c])).unwrap();
        // As with nats-server: without a word for one that is no longer there.
        assert_eq!(a.cut_off(), "");
        assert_eq!(b.cut_off(), "-ERR 'Authorization Violation'\r\n");
        kept.is_undisturbed();
        stranger.say("CONNECT {\"user\":\"a\",\"pass\":\"p\"}\r\n");
        stranger.hears("-ERR 'Authorization Violation'");

        // Into another account.
        let accounts = |of_c: &str, of_d: &str| {
            format!("accounts {{ A {{ users [ {of_c} ] }}, B {{ users [ {of_d} ] }} }}")
        };
        let d = user("d", "");
        reload(&mut server, &accounts(&c, &d)).unwrap();
        assert_eq!(kept.cut_off(), "");
        let [one, mut other] = ["c", "d"].map(|name| Client::connect(&server, name));
        reload(&mut server, &accounts("", &format!("{c}, {d}"))).unwrap();
        assert_eq!(one.cut_off(), "");
        other.is_undisturbed();
        // And out of any.
        reload(&mut server, "").unwrap();
        assert_eq!(other.cut_off(), "");
        let open = Client::connect(&server, "");
        reload(&mut server, &users(&[&c])).unwrap();
        assert_eq!(open.cut_off(), "-ERR 'Authorization Violation'\r\n");
    }
}

fn b_with(password: &str) -> String {
    user("b", "").replace("\"p\"", &format!("{password:?}"))
}

#[test]
fn permissions_change() {
    for shards in [1, 2] {
        let mut server = start(shards, &users(&[&user("a", ""), &user("b", "")]));
        let mut a = Client::connect(&server, "a");
        let mut b = Client::connect(&server, "b");
        a.say("SUB foo 1\r\nSUB foo q 2\r\nSUB bar 3\r\nSUB > 4\r\n");
        a.is_undisturbed();
        b.say("PUB foo 1\r\nx\r\n");
        b.is_undisturbed();
        a.hears("MSG foo 4 1\r\n");

        let denied = user(
            "a",
            ", permissions { subscribe { deny: \"foo\" }, publish: \"bar\" }",
        );
        reload(&mut server, &users(&[&denied, &user("b", "")])).unwrap();
        let mut told = a.hears("-ERR 'Permissions Violation for Subscription to \"foo\"");
        told += &a.hears("-ERR 'Permissions Violation for Subscription to \"foo\"");
        told += &a.hears("'\r\n");
        assert!(told.contains(" (sid \"1\")'\r\n"), "{told}");
        assert!(
            told.contains(" using queue \"q\" (sid \"2\")'\r\n"),
            "{told}"
        );
        b.say("PUB foo 1\r\ny\r\nPUB bar 1\r\nz\r\n");
        b.is_undisturbed();
        let heard = a.hears("MSG bar 4 1\r\nz\r\n") + &std::mem::take(&mut a.heard);
        assert!(!heard.contains("MSG foo"), "{heard}");
        a.say("PUB foo 1\r\nx\r\n");
        a.hears("-ERR 'Permissions Violation for Publish to \"foo\"'\r\n");

        // Back again: what ended stays ended, what is asked for is given.
        reload(&mut server, &users(&[&user("a", ""), &user("b", "")])).unwrap();
        a.say("SUB foo 5\r\nPING\r\n");
        a.hears("PONG\r\n");
        b.say("PUB foo 1\r\nw\r\n");
        let heard = a.hears("MSG foo 5 1\r\nw\r\n") + &a.hears_more();
        assert!(heard.contains("MSG foo 4 1\r\nw\r\n"), "{heard}");
    }
}

impl Client {
    fn hears_more(&mut self) -> String {
        self.say("PING\r\n");
        self.hears("PONG\r\n")
    }
}

#[test]
fn limits() {
    for shards in [1, 2] {
        let mut server = start(shards, "max_payload: 1000\n");
        let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(&server, "")).collect();
        let text = "max_payload: 500\nmax_subscriptions: 2\nmax_control_line: 300\nmax_pending: 2MB\nping_interval: 60\n";
        reload(&mut server, text).unwrap();
        let mut one = clients.remove(0);
        let info = one.hears("\r\n");
        assert!(info.contains("\"max_payload\":500,"), "{info}");
        one.say("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n");
        one.hears("-ERR 'maximum subscriptions exceeded'");
        one.say(&format!("PUB a 501\r\n{:501}\r\n", ""));
        one.hears("-ERR 'Maximum Payload Violation'");
        let mut two = clients.remove(0);
        two.hears("\"max_payload\":500,");
        two.say(&format!("SUB {} 1\r\n", "x".repeat(400)));
        assert!(two.cut_off().contains("maximum control line exceeded"));
        assert_eq!(one.cut_off(), "\r\n");

        // Four are left, and two have to go.
        let from = server.log_position();
        reload(&mut server, "max_connections: 2\n").unwrap();
        assert!(server.wait_for_log(from, |line| {
            line.contains("Closed 2 connections to fall within max_connections")
        }));
        let until = Instant::now() + PATIENCE;
        let mut closed = 0;
        while closed < 2 && Instant::now() < until {
            clients.retain_mut(|client| {
                let open = client.read();
                let told = client.heard.contains("-ERR 'maximum connections exceeded'");
                assert!(open || told, "{}", client.heard);
                closed += usize::from(!open);
                open
            });
        }
        assert_eq!((closed, clients.len()), (2, 2));
        for client in &mut clients {
            client.hears_more();
        }
        let mut late = Client::open(&server);
        late.hears("-ERR 'maximum connections exceeded'");
        // And back.
        reload(&mut server, "max_connections: 10\n").unwrap();
        Client::connect(&server, "").is_undisturbed();
    }
}

/// What cannot be followed is refused with its reason, and nothing of the file is followed then.
#[test]
fn refusals() {
    const BEFORE: &str = "server_name: a\nmax_payload: 1000\njetstream { domain: hub, max_mem: 10M, max_file: 10M, store_dir: \"DIR\" }\n";
    let directory = Directory::new();
    let path = directory.path().display().to_string();
    let text = |text: &str| text.replace("DIR", &path);
    let mut server = start(1, &text(BEFORE));
    for (from, to, reason) in [
        (
            "server_name: a",
            "server_name: b",
            "config reload not supported for ServerName: old=a, new=b",
        ),
        (
            "server_name: a",
            "server_name: a\nno_header_support: true",
            "config reload not supported for NoHeaderSupport: old=false, new=true",
        ),
        (
            "server_name: a",
            "server_name: a\nmax_closed_clients: 9",
            "config reload not supported for MaxClosedClients: old=10000, new=9",
        ),
        (
            "server_name: a",
            "server_name: a\nno_sys_acc: true",
            "config reload not supported for NoSystemAccount: old=false, new=true",
        ),
        (
            "server_name: a",
            "server_name: a\naccounts { S {} }\nsystem_account: S",
            "config reload not supported for SystemAccount: old=$SYS, new=S",
        ),
        (
            "domain: hub",
            "domain: spoke",
            "config reload not supported for JetStreamDomain: old=hub, new=spoke",
        ),
        (
            "max_mem: 10M",
            "max_mem: 5M",
            "config reload not supported for decreasing jetstream max memory and store",
        ),
        (
            "max_mem: 10M, ",
            "",
            "config reload not supported for jetstream max memory and max store",
        ),
        (
            "DIR",
            "DIR/other",
            "config reload not supported for jetstream storage directory",
        ),
        (
            "max_payload: 1000",
            "max_payload: 1GB",
            "max_payload (1073741824) cannot be higher than max_pending (67108864)",
        ),
    ] {
        let changed = text(
            &BEFORE
                .replace(from, to)
                .replace("max_payload: 1000", "max_payload: 500"),
        );
        let changed = match to.contains("max_payload") {
            true => text(&BEFORE.replace(from, to)),
            false => changed,
        };
        assert_eq!(
            reload(&mut server, &changed),
            Err(reason.to_owned()),
            "{to}"
        );
        let mut client = Client::open(&server);
        client.heard.clear();
        client.say("PING\r\n");
        client.hears("PONG\r\n");
    }
    let grown = text(&BEFORE.replace("max_mem: 10M", "max_mem: 20M"));
    let from = server.log_position();
    reload(&mut server, &grown).unwrap();
    assert!(server.wait_for_log(from, |line| {
        line.contains("Reloaded: JetStream max_mem_store = 19.07 MB")
    }));
}

#[test]
fn a_broken_file_changes_nothing() {
    let before = format!("max_payload: 1000\n{}", users(&[&user("a", "")]));
    let mut server = start(1, &before);
    let mut a = Client::connect(&server, "a");
    for (text, reason) in [
        ("max_payload: {", ""),
        (
            "max_payload: 500\nmax_conection: 1",
            "unknown field \"max_conection\"",
        ),
        (
            "max_payload: 500\ntls { cert_file: nowhere, key_file: nowhere }",
            "nowhere",
        ),
        ("max_payload: 500\nlog_file: \"/dev/null/x\"", "/dev/null/x"),
        (
            "max_payload: 500\nauthorization { users = [ { user: a, password: b }, { user: a, password: c } ] }",
            "a",
        ),
    ] {
        let why = reload(&mut server, text).unwrap_err();
        assert!(why.contains(reason), "{text}: {why}");
        a.is_undisturbed();
        let mut info = Client {
            socket: TcpStream::connect(server.address()).unwrap(),
            heard: String::new(),
        };
        assert!(info.hears("\r\n").contains("\"max_payload\":1000,"));
    }
    // And then one that is right.
    reload(&mut server, &before.replace("1000", "2000")).unwrap();
}

/// Ten reloads while clients publish: nothing of theirs is lost, comes twice or out of order.
#[test]
fn under_load() {
    for shards in [1, 2] {
        let authority = Authority::new();
        let (first, second) = (
            authority.sign("first", &["localhost", "127.0.0.1"]),
            authority.sign("second", &["localhost", "127.0.0.1"]),
        );
        let text = |round: usize| {
            let identity = if round.is_multiple_of(2) {
                &first
            } else {
                &second
            };
            let guest = match round % 3 {
                0 => user("guest", ""),
                1 => user("guest", ", permissions { subscribe: \"x\" }"),
                _ => user("other", ""),
            };
            format!(
                "tls {{ cert_file: {:?}, key_file: {:?} }}\nallow_non_tls: true\ndebug: {}\nmax_payload: {}\nmax_subscriptions: {}\n\
                 server_tags: [ \"t{round}\" ]\nmappings {{ m.{round}: n }}\n{}",
                identity.cert,
                identity.key,
                round.is_multiple_of(2),
                1_000_000 + round,
                100 + round,
                users(&[&user("worker", ""), &guest]),
            )
        };
        let mut server = start(shards, &text(0));
        let address = server.address();
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let load = {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            let ca = authority.ca().to_owned();
            std::thread::spawn(move || work(address, &ca, &stop, &sent))
        };
        for round in 1..=10 {
            // Something has passed since the last one.
            let before = sent.load(Ordering::Relaxed);
            let until = Instant::now() + PATIENCE;
            while sent.load(Ordering::Relaxed) <= before && Instant::now() < until {
                std::thread::yield_now();
            }
            let had_guest = (round - 1) % 3 != 2;
            let guest = had_guest.then(|| Client::connect(&server, "guest"));
            reload(&mut server, &text(round)).unwrap();
            if let Some(guest) = guest
                && round % 3 == 2
            {
                guest.cut_off();
            }
        }
        stop.store(true, Ordering::Relaxed);
        let (count, heard) = load.join().unwrap();
        assert_eq!(count, heard);
        assert!(count > 1000, "{count}");
    }
}

/// Publishes numbers without TLS and listens to them with it, until told to stop; how many were published and heard.
fn work(address: SocketAddr, ca: &Path, stop: &AtomicBool, sent: &AtomicU64) -> (u64, u64) {
    let options =
        || ConnectOptions::with_user_and_password("worker".into(), "p".into()).max_reconnects(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let secure = options()
            .require_tls(true)
            .add_root_certificates(ca.to_owned());
        let reader = secure.connect(format!("tls://{address}")).await.unwrap();
        let writer = options()
            .connect(format!("nats://{address}"))
            .await
            .unwrap();
        let mut messages = reader.subscribe("load").await.unwrap();
        reader.flush().await.unwrap();
        let heard = AtomicU64::new(0);
        let listens = AtomicBool::new(false);
        let publish = async {
            let mut number: u64 = 0;
            // Until the subscription is there.
            while !listens.load(Ordering::Relaxed) {
                writer.publish("load", "start".into()).await.unwrap();
                writer.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            while !stop.load(Ordering::Relaxed) {
                // The client drops what its subscriber is behind with by 65,536 messages.
                while number - heard.load(Ordering::Relaxed) > 10_000 {
                    tokio::task::yield_now().await;
                }
                for _ in 0..200 {
                    let payload = number.to_string();
                    writer.publish("load", payload.into()).await.unwrap();
                    number += 1;
                }
                writer.flush().await.unwrap();
                sent.store(number, Ordering::Relaxed);
            }
            writer.publish("load", "end".into()).await.unwrap();
            writer.flush().await.unwrap();
            number
        };
        let listen = async {
            let mut expected: u64 = 0;
            while let Some(message) = messages.next().await {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                listens.store(true, Ordering::Relaxed);
                match text.as_str() {
                    "start" => continue,
                    "end" => break,
                    _ => {}
                }
                assert_eq!(text, expected.to_string(), "lost, twice, or out of order");
                expected += 1;
                heard.store(expected, Ordering::Relaxed);
            }
            expected
        };
        futures_util::future::join(publish, listen).await
    })
}

/// Whoever asks twice at once gets what is there last.
#[test]
fn several_at_once() {
    let system = "accounts { $SYS { users [ { user: admin, password: \"p\" } ] }, A { users [ { user: a, password: \"p\" } ] } }\n";
    let text = |size: usize| format!("max_payload: {size}\n{system}");
    let server = start(2, &text(1000));
    let mut admin = Client::connect(&server, "admin");
    admin.say("SUB answers 1\r\nPUB $SYS.REQ.SERVER.PING.VARZ answers 0\r\n\r\n");
    let answer = answer_of(&mut admin);
    let id = answer["server"]["id"].as_str().unwrap().to_owned();
    let varz = |admin: &mut Client| {
        admin.say(&format!("PUB $SYS.REQ.SERVER.{id}.VARZ answers 0\r\n\r\n"));
        answer_of(admin)["data"].clone()
    };
    let before = varz(&mut admin);
    for size in [2000, 3000, 4000] {
        server.rewrite(&text(size));
        for _ in 0..3 {
            admin.say(&format!(
                "PUB $SYS.REQ.SERVER.{id}.RELOAD answers 0\r\n\r\n"
            ));
            assert!(signal(server.pid(), "HUP"));
        }
        for _ in 0..3 {
            let answer = answer_of(&mut admin);
            assert!(answer["error"].is_null(), "{answer}");
        }
        // At once: no other answer comes between.
        let after = varz(&mut admin);
        assert_eq!(after["max_payload"], size);
    }
    let after = varz(&mut admin);
    assert_ne!(before["config_digest"], after["config_digest"]);
    assert_ne!(before["config_load_time"], after["config_load_time"]);
    assert_eq!(before["start"], after["start"]);

    server.rewrite("max_payload: x");
    admin.say(&format!(
        "PUB $SYS.REQ.SERVER.{id}.RELOAD answers 0\r\n\r\n"
    ));
    let answer = answer_of(&mut admin);
    let told = answer["error"]["description"].as_str().unwrap_or_default();
    assert!(told.contains("max_payload"), "{answer}");
    server.rewrite(&format!("server_name: other\n{}", text(4000)));
    admin.say(&format!(
        "PUB $SYS.REQ.SERVER.{id}.RELOAD answers 0\r\n\r\n"
    ));
    let answer = answer_of(&mut admin);
    let told = answer["error"]["description"].as_str().unwrap_or_default();
    assert!(
        told.starts_with("config reload not supported for ServerName"),
        "{answer}"
    );
}

/// A reload that waits for somebody else's server keeps nobody waiting, and the server from ending least of all.
#[test]
fn while_others_are_waited_for() {
    let authority = Authority::new();
    let identity = authority.sign("server", &["localhost"]);
    let (responder, asked, holds) = slow_responder();
    let system = "accounts { $SYS { users [ { user: admin, password: \"p\" } ] }, A { users [ { user: a, password: \"p\" } ] } }\n";
    let mut server = start(2, system);
    let mut admin = Client::connect(&server, "admin");
    admin.say("SUB answers 1\r\nPUB $SYS.REQ.SERVER.PING.VARZ answers 0\r\n\r\n");
    let answer = answer_of(&mut admin);
    let id = answer["server"]["id"].as_str().unwrap().to_owned();
    server.rewrite(&format!(
        "{system}tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?} }}\nocsp {{ mode: always, url: \"http://{}\" }}\n",
        identity.cert,
        identity.key,
        authority.ca(),
        responder,
    ));
    let order = format!("PUB $SYS.REQ.SERVER.{id}.RELOAD answers 0\r\n\r\n");
    admin.say(&order);
    asked.recv_timeout(PATIENCE).unwrap();
    admin.say(&format!("PUB $SYS.REQ.SERVER.{id}.VARZ answers 0\r\n\r\n"));
    let varz = answer_of(&mut admin);
    assert!(varz["data"]["max_payload"].is_number(), "{varz}");
    holds.store(false, Ordering::Relaxed);
    let answer = answer_of(&mut admin);
    let why = answer["error"]["description"].as_str().unwrap_or_default();
    assert!(why.contains("OCSP"), "{answer}");

    holds.store(true, Ordering::Relaxed);
    while asked.try_recv().is_ok() {}
    admin.say(&order);
    asked.recv_timeout(PATIENCE).unwrap();
    assert!(signal(server.pid(), "TERM"));
    assert_eq!(server.wait_for_exit(), Some(0));
}

/// Somebody who knows nothing, and while it holds does not even say that: where it is, and when it was asked.
fn slow_responder() -> (SocketAddr, Receiver<()>, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    let holds = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&holds);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let _ = socket.read(&mut request);
            if sender.send(()).is_err() {
                return;
            }
            while held.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            let no = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = socket.write_all(no);
        }
    });
    (address, asked, holds)
}

fn answer_of(client: &mut Client) -> Value {
    client.hears("MSG answers 1 ");
    let size: usize = client.hears("\r\n").trim().parse().unwrap();
    let until = Instant::now() + PATIENCE;
    while client.heard.len() < size + 2 && Instant::now() < until {
        client.read();
    }
    let rest = client.heard.split_off(size + 2);
    let body = std::mem::replace(&mut client.heard, rest);
    serde_json::from_str(body.trim()).unwrap()
}

/// Lines go elsewhere, in another form, and to another file when that is long.
#[test]
fn the_log() {
    let directory = Directory::new();
    let path = |name: &str| directory.path().join(name);
    let log_to = |name: &str, more: &str| format!("log_file: {:?}\n{more}", path(name));
    let read = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
    let server = start(2, "# nothing\n");
    server.rewrite(&log_to("a.log", "debug: true\ntrace: true\n"));
    assert!(signal(server.pid(), "HUP"));
    wait_until(|| read("a.log").contains(DONE));
    // Every shard traces.
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(&server, "")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.say(&format!("PUB traced.{number} 1\r\nx\r\n"));
    }
    wait_until(|| (0..4).all(|n| read("a.log").contains(&format!("<<- [PUB traced.{n} 1]"))));

    // Moved away, and opened anew.
    fs::rename(path("a.log"), path("moved.log")).unwrap();
    assert!(signal(server.pid(), "USR1"));
    wait_until(|| read("a.log").contains("File log re-opened"));

    // As JSON, in another file; and no shard traces.
    server.rewrite(&log_to("b.log", "log_format: json\n"));
    assert!(signal(server.pid(), "HUP"));
    wait_until(|| read("b.log").contains(DONE));
    for client in &mut clients {
        client.say("PUB quiet 1\r\nx\r\n");
        client.is_silent_but_for_pongs();
    }
    let text = read("b.log");
    assert!(!text.contains("quiet"), "{text}");
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "info");
        assert_eq!(line["pid"], server.pid());
        assert!(line["time"].as_str().unwrap().len() > 26 && line["message"].is_string());
    }

    // Put aside when it is long, and only so many are kept.
    let rotating = "log_size_limit: 2000\nlog_max_num: 3\ndebug: true\n";
    server.rewrite(&log_to("c.log", rotating));
    assert!(signal(server.pid(), "HUP"));
    wait_until(|| read("c.log").contains(DONE));
    let aside = || {
        let entries = fs::read_dir(directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("c.log."))
            .collect::<Vec<_>>()
    };
    let until = Instant::now() + PATIENCE;
    while !read("c.log").contains("Purged log file") && Instant::now() < until {
        drop(Client::connect(&server, ""));
    }
    wait_until(|| aside().len() == 2);
    for name in aside() {
        let parts: Vec<usize> = name["c.log.".len()..].split('.').map(str::len).collect();
        assert_eq!(parts, [4, 2, 2, 2, 2, 2, 9], "{name}");
        assert!(read(&name).len() < 4000);
    }

    // To a system log.
    let syslog = UdpSocket::bind("127.0.0.1:0").unwrap();
    syslog.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = syslog.local_addr().unwrap();
    server.rewrite(&format!("remote_syslog: \"udp://{address}\"\n"));
    assert!(signal(server.pid(), "HUP"));
    let mut buffer = [0; 1024];
    let count = syslog.recv(&mut buffer).unwrap();
    let line = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert!(
        line.starts_with("<5>") && line.contains(&format!("skein[{}]: {DONE}", server.pid())),
        "{line}"
    );
}

impl Client {
    #[track_caller]
    fn is_silent_but_for_pongs(&mut self) {
        let heard = self.hears_more();
        assert!(!heard.contains("-ERR"), "{heard}");
    }
}

#[track_caller]
fn wait_until(is_true: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < until, "not in time");
        std::thread::yield_now();
    }
}

/// `--signal`, and the files that say where the server is.
#[test]
fn signals_by_pid_file() {
    let directory = Directory::new();
    let at = |name: &str| directory.path().join(name);
    let text = |size: usize, pid: &str| {
        format!(
            "max_payload: {size}\nhttp: \"127.0.0.1:-1\"\npid_file: {:?}\nports_file_dir: {:?}\n",
            at(pid),
            directory.path()
        )
    };
    let mut server = start(1, &text(1000, "one.pid"));
    let tell = |what: &str, file: &str| {
        let order = format!("{what}={}", at(file).display());
        let status = harness::command().args(["--signal", &order]).status();
        status.unwrap().success()
    };
    let program = harness::command().get_program().to_owned();
    let program = std::path::Path::new(&program)
        .file_name()
        .unwrap()
        .to_owned();
    let ports = format!("{}_{}.ports", program.to_string_lossy(), server.pid());
    let ports_text = fs::read_to_string(at(&ports)).unwrap();
    let value: Value = serde_json::from_str(&ports_text).unwrap();
    assert_eq!(value["nats"][0], format!("nats://{}", server.address()));
    let monitoring = value["monitoring"][0].as_str().unwrap().to_owned();
    assert!(monitoring.starts_with("http://127.0.0.1:"), "{monitoring}");

    server.rewrite(&text(2000, "two.pid"));
    let from = server.log_position();
    assert!(tell("reload", "one.pid"));
    assert!(server.wait_for_log(from, |line| line.contains(DONE)));
    assert_eq!(
        fs::read_to_string(at("two.pid")).unwrap(),
        server.pid().to_string()
    );
    let from = server.log_position();
    assert!(tell("reopen", "two.pid"));
    assert!(server.wait_for_log(from, |line| line.contains("not a file logger")));
    assert!(!tell("reload", "nowhere.pid"));
    assert!(!tell("reload=1", "two.pid") && !tell("restart", "two.pid"));
    assert!(tell("quit", "two.pid"));
    server.wait_for_exit().unwrap();
    assert!(!at(&ports).exists());
}
