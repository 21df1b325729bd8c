//! TLS through the real binary: what is said before, during and instead of a handshake, and what gets
//! through after it.
//!
//! `NATS_SERVER_BIN=nats-server cargo test --test tls` asks the same of a nats-server; where the two
//! differ on purpose, the case says so.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "harness/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use certificates::{Authority, Identity};
use harness::{PATIENCE, Server, is_nats_server, signal};

const HELLO: &[u8] = b"CONNECT {\"verbose\":false}\r\nPING\r\n";
const REQUIRED: &str = "-ERR 'Secure Connection - TLS Required'\r\n";
const THROTTLED: &str = "-ERR 'Connection throttling is active. Please try again later.'\r\n";

type Secured = StreamOwned<ClientConnection, TcpStream>;

/// A server whose `tls` block has these lines besides its certificate.
struct Host {
    authority: Authority,
    server: Server,
}

impl Host {
    fn start(tls: &str) -> Self {
        Self::start_with(|_| (tls.to_owned(), String::new()))
    }

    /// `lines` gives those of the `tls` block and those outside.
    fn start_with(lines: impl FnOnce(&Authority) -> (String, String)) -> Self {
        let authority = Authority::new();
        let identity = authority.sign("server", &["localhost", "127.0.0.1"]);
        let (inside, outside) = lines(&authority);
        let text = format!(
            "tls {{\n  cert_file: \"{}\"\n  key_file: \"{}\"\n  {inside}\n}}\n{outside}\n",
            identity.cert.display(),
            identity.key.display()
        );
        let path = authority.folder.write("server.conf", &text);
        let server = Server::start(&format!("-DV -c {}", path.display()), "")
            .unwrap_or_else(|log| panic!("{log}"));
        Self { authority, server }
    }

    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.server.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    fn client(&self) -> ClientConnection {
        client(&self.authority, None, &[&TLS12, &TLS13])
    }

    /// INFO in plain, then TLS.
    fn secured(&self) -> Secured {
        self.secured_by(self.client()).unwrap()
    }

    fn secured_by(&self, client: ClientConnection) -> std::io::Result<Secured> {
        let mut socket = self.socket();
        line(&mut socket);
        shake(socket, client)
    }

    #[track_caller]
    fn expect_log(&mut self, text: &str) {
        if !self.server.wait_for_log(0, |line| line.contains(text)) {
            panic!("not in the log: {text}\n{}", self.server.log_text());
        }
    }
}

fn client(
    authority: &Authority,
    own: Option<&Identity>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.ca()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from(own.der.clone())],
                PrivateKeyDer::from_pem_file(&own.key).unwrap(),
            )
            .unwrap(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

fn shake(mut socket: TcpStream, mut client: ClientConnection) -> std::io::Result<Secured> {
    while client.is_handshaking() {
        client.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(client, socket))
}

/// One line, byte by byte, so that nothing behind it is taken.
fn line(from: &mut impl Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\n") {
        match from.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            end => panic!("{end:?} after {:?}", String::from_utf8_lossy(&text)),
        }
    }
    String::from_utf8(text).unwrap()
}

/// All until the end.
fn rest(from: &mut impl Read) -> String {
    let mut text = Vec::new();
    let mut some = [0; 4096];
    loop {
        match from.read(&mut some) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&some[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset) => break,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&text)),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[track_caller]
fn check_conversation(stream: &mut (impl Read + Write)) {
    stream.write_all(HELLO).unwrap();
    stream.flush().unwrap();
    assert_eq!(line(stream), "PONG\r\n");
}

fn flag(info: &str, name: &str) -> bool {
    info.contains(&format!("\"{name}\":true"))
}

/// What a client is told that is not told by nats-server, whose words do not reach the wire.
fn told(text: &'static str) -> &'static str {
    if is_nats_server() { "" } else { text }
}

/// Monitoring shows the server's certificate, and asks nobody for one.
#[test]
fn monitoring_by_https() {
    let mut host = Host::start_with(|authority| {
        let inside = format!("ca_file: \"{}\"\n  verify: true", authority.ca().display());
        (inside, "https: \"127.0.0.1:-1\"".to_owned())
    });
    let start = "Starting https monitor on ";
    host.expect_log(start);
    let log = host.server.log_text();
    let address = log.split(start).nth(1).and_then(|rest| rest.lines().next());
    for version in [&TLS12, &TLS13] {
        let socket = TcpStream::connect(address.unwrap().trim()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = client(&host.authority, None, &[version]);
        let mut stream = shake(socket, client).unwrap();
        stream
            .write_all(b"GET /varz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\"https_port\": -1,"), "{answer}");
    }
}

#[test]
fn info_comes_first_and_in_plain() {
    let mut host = Host::start("");
    let mut socket = host.socket();
    let info = line(&mut socket);
    assert!(flag(&info, "tls_required"), "{info}");
    assert!(
        !flag(&info, "tls_available") && !flag(&info, "tls_verify"),
        "{info}"
    );
    let mut stream = shake(socket, host.client()).unwrap();
    check_conversation(&mut stream);
    host.expect_log("TLS required for client connections");
    host.expect_log("Starting TLS client connection handshake");
    host.expect_log("TLS handshake complete");
    host.expect_log("TLS version 1.3, cipher suite TLS_AES_128_GCM_SHA256");
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert_eq!(rest(&mut stream), "");
    host.expect_log("Client connection closed: Client Closed");
}

#[test]
fn plain_is_refused() {
    let mut host = Host::start("");
    let mut socket = host.socket();
    line(&mut socket);
    socket.write_all(HELLO).unwrap();
    assert_eq!(rest(&mut socket), told(REQUIRED));
    host.expect_log("TLS handshake error: tls: first record does not look like a TLS handshake");
    host.expect_log("Client connection closed: TLS Handshake Failure");
}

#[test]
fn handshake_first() {
    let mut host = Host::start("handshake_first: true");
    let mut stream = shake(host.socket(), host.client()).unwrap();
    let info = line(&mut stream);
    assert!(
        info.starts_with("INFO ") && flag(&info, "tls_required"),
        "{info}"
    );
    check_conversation(&mut stream);
    let mut socket = host.socket();
    socket.write_all(HELLO).unwrap();
    assert_eq!(rest(&mut socket), "");
    host.expect_log("TLS handshake error: tls: first record does not look like a TLS handshake");
}

#[test]
fn handshake_first_if_the_client_begins() {
    let host = Host::start("handshake_first: \"300ms\"");
    let mut stream = shake(host.socket(), host.client()).unwrap();
    assert!(line(&mut stream).starts_with("INFO "));
    check_conversation(&mut stream);

    let start = Instant::now();
    let mut socket = host.socket();
    assert!(line(&mut socket).starts_with("INFO "));
    assert!(start.elapsed() >= Duration::from_millis(290));
    check_conversation(&mut shake(socket, host.client()).unwrap());
}

#[test]
fn clients_may_choose() {
    let allow = "allow_non_tls: true".to_owned();
    let mut host = Host::start_with(|_| (String::new(), allow.clone()));
    let mut socket = host.socket();
    let info = line(&mut socket);
    assert!(
        flag(&info, "tls_available") && !flag(&info, "tls_required"),
        "{info}"
    );
    check_conversation(&mut socket);
    check_conversation(&mut host.secured());
    host.expect_log("TLS available for client connections");

    // Both at once: the client that waits is sent a plain INFO and may go on in plain.
    let host = Host::start_with(|_| ("handshake_first: auto".to_owned(), allow));
    let mut stream = shake(host.socket(), host.client()).unwrap();
    assert!(flag(&line(&mut stream), "tls_required"));
    check_conversation(&mut stream);
    let mut socket = host.socket();
    let info = line(&mut socket);
    assert!(
        flag(&info, "tls_available") && !flag(&info, "tls_required"),
        "{info}"
    );
    check_conversation(&mut socket);
    let mut socket = host.socket();
    line(&mut socket);
    check_conversation(&mut shake(socket, host.client()).unwrap());
}

/// A handshake fails for a client at once, or, in TLS 1.3, when it reads.
#[track_caller]
fn check_refused(host: &Host, client: ClientConnection) {
    let Ok(mut stream) = host.secured_by(client) else {
        return;
    };
    let _ = stream.write_all(HELLO);
    let mut some = [0; 100];
    match stream.read(&mut some) {
        Ok(0) | Err(_) => {}
        Ok(length) => panic!("told {:?}", String::from_utf8_lossy(&some[..length])),
    }
}

#[test]
fn certificates_of_clients() {
    let others = Authority::new();
    let mut host = Host::start_with(|authority| {
        let ca = authority.ca().display();
        (format!("verify: true\n  ca_file: \"{ca}\""), String::new())
    });
    let info = line(&mut host.socket());
    assert!(flag(&info, "tls_verify"), "{info}");
    let right = host.authority.sign("client", &["client.example"]);
    let wrong = others.sign("client", &["client.example"]);
    for version in [&TLS12, &TLS13] {
        let of = |own| client(&host.authority, own, &[version]);
        check_refused(&host, of(None));
        check_refused(&host, of(Some(&wrong)));
        check_conversation(&mut host.secured_by(of(Some(&right))).unwrap());
    }
    host.expect_log("TLS handshake error: tls: client didn't provide a certificate");
    host.expect_log("certificate signed by unknown authority");
    host.expect_log("Client connection closed: TLS Handshake Failure");
}

#[test]
fn pinned_certificates() {
    let mut right = None;
    let mut host = Host::start_with(|authority| {
        let own = authority.sign("client", &["client.example"]);
        let digest = ::ring::digest::digest(&::ring::digest::SHA256, &own.public_key_info);
        let pin: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        right = Some(own);
        let ca = authority.ca().display();
        let lines = format!("verify: true\n  ca_file: \"{ca}\"\n  pinned_certs: [\"{pin}\"]");
        (lines, String::new())
    });
    let other = host.authority.sign("other", &["client.example"]);
    check_refused(&host, client(&host.authority, Some(&other), &[&TLS13]));
    host.expect_log("TLS handshake error: certificate not pinned");
    let right = client(&host.authority, right.as_ref(), &[&TLS13]);
    check_conversation(&mut host.secured_by(right).unwrap());
}

#[test]
fn the_oldest_version() {
    let host = Host::start("min_version: \"1.3\"");
    check_refused(&host, client(&host.authority, None, &[&TLS12]));
    check_conversation(
        &mut host
            .secured_by(client(&host.authority, None, &[&TLS13]))
            .unwrap(),
    );
}

#[test]
fn so_many_handshakes_in_a_second() {
    let host = Host::start("connection_rate_limit: 3");
    let start = Instant::now();
    let mut refused = 0;
    let mut served = 0;
    while start.elapsed() < Duration::from_millis(900) && refused < 5 {
        let mut socket = host.socket();
        line(&mut socket);
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut some = [0; 200];
        match socket.read(&mut some) {
            Ok(length) => {
                let mut text = String::from_utf8_lossy(&some[..length]).into_owned();
                text.push_str(&rest(&mut socket));
                assert_eq!(text, THROTTLED);
                refused += 1;
            }
            Err(_) => served += 1,
        }
    }
    assert_eq!(refused, 5, "{served} were served");
    assert!((3..=6).contains(&served), "{served} were served");
    let patience = Instant::now() + PATIENCE;
    loop {
        if let Ok(mut stream) = host.secured_by(host.client()) {
            check_conversation(&mut stream);
            return;
        }
        assert!(Instant::now() < patience, "nobody is let in any more");
    }
}

#[test]
fn handshakes_that_come_to_nothing() {
    let mut host = Host::start("timeout: 0.6");
    let start = Instant::now();
    // Nothing, a record that never ends, one byte now and then: all are cut off in time.
    let mut silent = host.socket();
    let mut half = host.socket();
    let mut slow = host.socket();
    for socket in [&mut silent, &mut half, &mut slow] {
        line(socket);
    }
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
    let mut hello = Vec::new();
    host.client().write_tls(&mut hello).unwrap();
    let mut slow_writer = slow.try_clone().unwrap();
    let slow_client = thread::spawn(move || {
        for byte in hello {
            if slow_writer.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(rest(&mut silent), told(REQUIRED));
    assert_eq!(rest(&mut half), "");
    assert_eq!(rest(&mut slow), "");
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(590) && took < PATIENCE / 2,
        "{took:?}"
    );
    slow_client.join().unwrap();
    host.expect_log("TLS handshake timeout");

    // Garbage behind the first byte, and one that leaves in the middle.
    let mut garbage = host.socket();
    line(&mut garbage);
    garbage.write_all(b"\x16\x03\x01\x00\x05hello").unwrap();
    let answer = rest(&mut garbage);
    // With an alert or without.
    assert!(
        answer.is_empty() || answer.starts_with('\x15'),
        "{answer:?}"
    );
    host.expect_log("TLS handshake error: tls: ");
    let mut gone = host.socket();
    line(&mut gone);
    let mut hello = Vec::new();
    host.client().write_tls(&mut hello).unwrap();
    gone.write_all(&hello[..hello.len() / 2]).unwrap();
    gone.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut gone), "");
    host.expect_log("TLS handshake error: unexpected EOF");
    let mut gone = host.socket();
    line(&mut gone);
    gone.write_all(&hello).unwrap();
    drop(gone);
    check_conversation(&mut host.secured());
}

/// A `TcpStream` that sends each byte alone.
struct ByteWise(TcpStream);

impl Read for ByteWise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(3);
        self.0.read(&mut buffer[..length])
    }
}

impl Write for ByteWise {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..1.min(bytes.len())])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn byte_by_byte() {
    let host = Host::start("");
    let mut socket = ByteWise(host.socket());
    line(&mut socket);
    let mut client = host.client();
    while client.is_handshaking() {
        client.complete_io(&mut socket).unwrap();
    }
    let mut stream = StreamOwned::new(client, socket);
    check_conversation(&mut stream);
}

#[test]
fn large_messages_both_ways() {
    const SIZE: usize = 1024 * 1024;
    const MESSAGES: usize = 24;
    let host = Host::start("");
    let mut stream = host.secured();
    check_conversation(&mut stream);
    stream.write_all(b"SUB big 1\r\nPING\r\n").unwrap();
    assert_eq!(line(&mut stream), "PONG\r\n");
    for number in 0..MESSAGES {
        let payload: Vec<u8> = (0..SIZE)
            .map(|i| (i / 251 + i * 7 + number) as u8)
            .collect();
        let mut message = format!("PUB big {SIZE}\r\n").into_bytes();
        message.extend_from_slice(&payload);
        message.extend_from_slice(b"\r\n");
        stream.write_all(&message).unwrap();
        let mut head = line(&mut stream);
        // The server asks now and then whether somebody is there; so does INFO come twice.
        while !head.starts_with("MSG ") {
            assert!(
                head.starts_with("PING") || head.starts_with("INFO"),
                "{head}"
            );
            head = line(&mut stream);
        }
        assert_eq!(head, format!("MSG big 1 {SIZE}\r\n"));
        let mut received = vec![0; SIZE + 2];
        stream.read_exact(&mut received).unwrap();
        assert!(received[..SIZE] == payload, "message {number}");
    }
}

#[test]
fn many_at_once() {
    const THREADS: usize = 8;
    const EACH: usize = 40;
    let host = Host::start("timeout: 20");
    let (address, authority) = (host.server.address(), &host.authority);
    let open = || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        line(&mut socket);
        shake(socket, client(authority, None, &[&TLS13])).unwrap()
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut streams: Vec<Secured> = (0..EACH).map(|_| open()).collect();
                streams.iter_mut().for_each(check_conversation);
            });
        }
    });
}

#[test]
fn certificates_are_read_again() {
    let mut host = Host::start("");
    let mut before = host.secured();
    check_conversation(&mut before);
    let shown = |stream: &Secured| stream.conn.peer_certificates().unwrap()[0].to_vec();
    // The same files, with another certificate.
    let renewed = host.authority.sign("server", &["localhost"]);
    assert!(signal(host.server.pid(), "HUP"));
    host.expect_log("Reloaded: tls = enabled");
    let deadline = Instant::now() + PATIENCE;
    let after = loop {
        let stream = host.secured();
        if shown(&stream) == renewed.der || Instant::now() > deadline {
            break stream;
        }
    };
    assert!(shown(&after) == renewed.der);
    assert!(shown(&before) != renewed.der);
    check_conversation(&mut before);
    // A file that is none changes nothing.
    std::fs::write(&renewed.cert, "nothing").unwrap();
    assert!(signal(host.server.pid(), "HUP"));
    host.expect_log("Failed to reload server configuration");
    check_conversation(&mut host.secured());
}

#[test]
fn async_nats_over_tls() {
    let mutual = |authority: &Authority| {
        let ca = authority.ca().display();
        (format!("verify: true\n  ca_file: \"{ca}\""), String::new())
    };
    let first = |_: &Authority| ("handshake_first: auto".to_owned(), String::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for (host, tls_first) in [
        (Host::start_with(mutual), false),
        (Host::start_with(first), true),
    ] {
        let own = host.authority.sign("client", &["client.example"]);
        let mut options = async_nats::ConnectOptions::new()
            .require_tls(true)
            .add_root_certificates(host.authority.ca().to_owned())
            .add_client_certificate(own.cert.clone(), own.key.clone());
        if tls_first {
            options = options.tls_first();
        }
        runtime.block_on(async {
            let url = format!("tls://localhost:{}", host.server.address().port());
            let client = options.connect(url).await.unwrap();
            let mut messages = client.subscribe("a.>").await.unwrap();
            for number in 0..200usize {
                let payload = vec![number as u8; number * 500];
                client
                    .publish(format!("a.{number}"), payload.into())
                    .await
                    .unwrap();
            }
            client.flush().await.unwrap();
            for number in 0..200usize {
                let message = messages.next().await.unwrap();
                assert_eq!(message.subject.as_str(), format!("a.{number}"));
                assert!(message.payload == vec![number as u8; number * 500]);
            }
        });
    }
}
