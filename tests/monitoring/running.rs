//! What monitoring says while the server changes: a reload, certificates, lame duck, and who asks from where.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::certificates::Authority;
use super::harness::{PATIENCE, Server, is_nats_server, signal};
use super::http::{Answer, get, request};
use super::{client, monitor_address};

fn start(text: &str) -> (Server, SocketAddr) {
    let mut server = Server::configured(text).unwrap_or_else(|log| panic!("{log}"));
    let address = monitor_address(&mut server, "http");
    (server, address)
}

fn reload(server: &mut Server, text: &str) {
    server.rewrite(text);
    let from = server.log_position();
    assert!(signal(server.pid(), "HUP"));
    let is_done = |line: &str| line.contains("Reloaded server configuration");
    assert!(server.wait_for_log(from, is_done), "{}", server.log_text());
}

/// Asks until it is so.
fn until(address: SocketAddr, path: &str, is_it: impl Fn(&Answer) -> bool) -> Answer {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, path);
        if is_it(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "{path}: {}", answer.text());
        std::thread::yield_now();
    }
}

/// Somebody else's health check must not send clients to a server that sees its own off.
#[test]
fn lame_ducks_are_not_healthy() {
    let (server, address) = start(
        "http: \"127.0.0.1:-1\", lame_duck_duration: \"60s\", lame_duck_grace_period: \"59s\"",
    );
    let _stays = client(server.address(), "", "");
    assert_eq!(get(address, "/healthz").status, 200);
    assert!(signal(server.pid(), "USR2"));
    let error = "failed to be ready for connections after 1ms: server";
    let told = until(address, "/healthz", |answer| answer.status != 200);
    for path in [
        "/healthz",
        "/healthz?js-server-only=1",
        "/healthz?js-enabled-only=1",
    ] {
        let answer = get(address, path);
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (500, &error.into()),
            "{path}"
        );
    }
    assert_eq!(told.json()["status"], "error");
    let details = get(address, "/healthz?details=1").json();
    assert_eq!(details["errors"][0]["type"], "CONNECTION");
    assert_eq!(get(address, "/varz").status, 200);
}

/// The end of the certificate that is shown now.
#[test]
fn ends_of_certificates() {
    let authority = Authority::new();
    let names = ["localhost", "127.0.0.1"];
    // Beyond what nanoseconds in 64 bits can say.
    let first = authority.sign_until("first", &names, 4096);
    let second = authority.sign_until("second", &names, 2030);
    let text = |cert: &std::path::Path, key: &std::path::Path| {
        format!("http: \"127.0.0.1:-1\"\ntls {{ cert_file: {cert:?}, key_file: {key:?} }}\n")
    };
    let shown = |address| get(address, "/varz").json()["tls_cert_not_after"].clone();
    let (mut server, address) = start(&text(&first.cert, &first.key));
    assert_eq!(shown(address), "4096-01-01T00:00:00Z");
    // The names stay, and what is in the files changes.
    std::fs::copy(&second.cert, &first.cert).expect("it can be written");
    std::fs::copy(&second.key, &first.key).expect("it can be written");
    reload(&mut server, &text(&first.cert, &first.key));
    until(address, "/varz", |answer| {
        answer.json()["tls_cert_not_after"] == "2030-01-01T00:00:00Z"
    });
}

/// Whether somebody has to present something, beside what INFO says.
#[test]
fn authentication_beside_a_no_auth_user() {
    let users = "authorization { users [ { user: u, password: p } ] }";
    for (more, expected) in [
        (users.to_owned(), Value::Bool(true)),
        (format!("{users}\nno_auth_user: u"), Value::Bool(true)),
        (String::new(), Value::Null),
    ] {
        let (_server, address) = start(&format!("http: \"127.0.0.1:-1\"\n{more}"));
        let varz = get(address, "/varz").json();
        assert_eq!(varz["auth_required"], expected, "{more}");
    }
}

/// Only what has changed has another time, and what is gone is not told of.
#[test]
fn accounts_of_a_reload() {
    let text = |accounts: &str| {
        format!(
            "http: \"127.0.0.1:-1\"\naccounts {{ A {{ users [ {{ user: a, password: pw }} ] }}, {accounts} }}"
        )
    };
    let other = |limit: &str| format!("B {{ users [ {{ user: b, password: pw }} ], {limit} }}");
    let leaving = "Z { users [ { user: z, password: pw } ] }";
    let before = text(&format!("{}, {leaving}", other("")));
    let (mut server, address) = start(&before);
    drop(client(server.address(), "z", "PUB x 1\r\n1\r\n"));
    if is_nats_server() {
        return;
    }
    let updated = |name: &str| {
        let detail = get(address, &format!("/accountz?acc={name}")).json();
        detail["account_detail"]["update_time"].clone()
    };
    let loaded = || get(address, "/varz").json()["config_load_time"].clone();
    let (a, b, at) = (updated("A"), updated("B"), loaded());
    until(address, "/metrics", |answer| {
        answer.text().contains("account=\"Z\"")
    });
    reload(&mut server, &text(&other("exports [ { stream: \"x\" } ]")));
    until(address, "/accstatz?unused=1", |answer| {
        !answer.text().contains("\"Z\"")
    });
    assert!(!get(address, "/metrics").text().contains("account=\"Z\""));
    assert_eq!(updated("A"), a);
    assert_ne!(updated("B"), b);
    assert_ne!(loaded(), at);
}

/// Whoever listens anywhere is there for IPv6 too, for clients as for monitoring.
#[test]
fn both_families() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let mut server = Server::start("-a 0.0.0.0 -m -1", "").unwrap_or_else(|log| panic!("{log}"));
    let monitor = monitor_address(&mut server, "http").port();
    let port = server.address().port();
    for peer in ["127.0.0.1", "::1"] {
        let at = |port| SocketAddr::new(peer.parse().expect("an address"), port);
        let _client = client(at(port), "", "");
        let seen = get(at(monitor), "/connz").json();
        let connections = seen["connections"].as_array().expect("a list");
        assert!(connections.iter().any(|c| c["ip"] == peer), "{seen}");
    }
}

/// As Go's servers read paths: a base address with a slash behind it works, and so do escapes.
#[test]
fn paths() {
    let (_server, address) = start("http: \"127.0.0.1:-1\"");
    for (path, status, to) in [
        ("//routez", 307, "/routez"),
        ("/./routez?subs=1", 307, "/routez?subs=1"),
        ("/foo/../routez", 307, "/routez"),
        ("//elsewhere.example//x", 307, "/elsewhere.example/x"),
        ("/%68ealthz", 200, ""),
        ("/routez/", 404, ""),
        ("/debug%2fvars", 404, ""),
        ("/%2e/routez", 404, ""),
    ] {
        let answer = get(address, path);
        assert_eq!(answer.status, status, "{path}");
        let said = answer.head.contains(&format!("Location: {to}\r\n"));
        assert_eq!(said, status == 307, "{path}: {}", answer.head);
    }
    let hostless = request(address, "GET /routez HTTP/1.1\r\nConnection: close\r\n\r\n");
    let old = request(address, "GET /routez HTTP/1.0\r\n\r\n");
    assert_eq!((hostless.status, old.status), (400, 200));
}

/// Many who say nothing have to go for one who asks.
#[test]
fn the_silent_make_way() {
    let mut server = Server::start("-m -1", "").unwrap_or_else(|log| panic!("{log}"));
    let address = monitor_address(&mut server, "http");
    let from = Instant::now();
    let silent: Vec<TcpStream> = (0..400)
        .map(|_| TcpStream::connect(address).expect("it listens"))
        .collect();
    for path in ["/healthz", "/healthz?js-server-only=1", "/varz"] {
        assert_eq!(get(address, path).status, 200, "{path}");
    }
    // The silent have five seconds each, and 128 places.
    assert!(
        from.elapsed() < Duration::from_secs(4),
        "{:?}",
        from.elapsed()
    );
    drop(silent);
}

/// What is answered by whoever is asked is counted like the rest.
#[test]
fn what_needs_nobody_is_counted() {
    let (_server, address) = start("http: \"127.0.0.1:-1\"");
    for path in ["/", "/", "/healthz?js-server-only=1", "/healthz"] {
        assert_eq!(get(address, path).status, 200);
    }
    let stats = get(address, "/varz").json()["http_req_stats"].clone();
    assert_eq!((&stats["/"], &stats["/healthz"]), (&2.into(), &2.into()));
}

/// One that reads slowly, but reads, gets all of it; another that asks meanwhile does not wait for it.
#[test]
fn who_is_served_stays() {
    let (_server, address) = start("http: \"127.0.0.1:-1\"");
    let mut reader = TcpStream::connect(address).expect("it listens");
    reader
        .set_read_timeout(Some(PATIENCE))
        .expect("there is such an option");
    reader
        .write_all(b"GET /varz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("the server reads");
    let _silent: Vec<TcpStream> = (0..150)
        .map(|_| TcpStream::connect(address).expect("it listens"))
        .collect();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).expect("it comes");
    assert_eq!(Answer::parse(&all).status, 200);
}
