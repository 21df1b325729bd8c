//! Options and files, the handshake, and records, with a client of rustls's on the other side and no
//! socket between.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::handshake::{self, Progress};
use super::stream::{Buffers, Left, Received, SEND_PLAIN_BYTES_MAX, Stage, Stream};
use super::*;
use crate::auth::admission::TlsFacts;
use crate::base::prng::Prng;
use crate::config::CertificateFiles;

/// Files of one test, removed when dropped.
struct Files {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("skein-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = Self { folder, issuer };
        files.write("ca.pem", &files.issuer.pem());
        files
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A certificate for `name`, in `name.pem` and `name-key.pem`.
    fn sign(&self, name: &str) -> (CertificateFiles, CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let files = CertificateFiles {
            cert_file: self.write(&format!("{name}.pem"), &cert.pem()),
            key_file: self.write(&format!("{name}-key.pem"), &key.serialize_pem()),
        };
        (files, cert.der().clone(), key)
    }

    fn options(&self) -> TlsOptions {
        TlsOptions {
            certificates: vec![self.sign("localhost").0],
            ..TlsOptions::default()
        }
    }

    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConnection {
        self.client_for("localhost", versions, None)
    }

    fn client_for(
        &self,
        name: &'static str,
        versions: &[&'static rustls::SupportedProtocolVersion],
        own: Option<(CertificateDer<'static>, KeyPair)>,
    ) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(
                    vec![cert],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                )
                .unwrap(),
        };
        ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn tls(options: &TlsOptions) -> Arc<Tls> {
    let config = Config {
        tls: Some(options.clone()),
        ..Config::default()
    };
    Tls::of(&config).unwrap().unwrap()
}

fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// What the client makes of `bytes`: the other side's words.
fn read(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    use std::io::Read;
    let mut said = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets()?;
        let _ = client.reader().read_to_end(&mut said);
    }
    Ok(said)
}

/// One end of a connection as the shard's loop has it, without the loop.
struct Server {
    stream: Stream,
    setup: Arc<Tls>,
    buffers: Buffers,
    /// What the shard was handed.
    heard: Vec<u8>,
    /// How the handshake has ended.
    end: Option<Result<TlsFacts, String>>,
}

impl Server {
    fn new(setup: &Arc<Tls>) -> Self {
        Self {
            stream: Stream::new(Arc::clone(setup), Stage::Starting, false),
            setup: Arc::clone(setup),
            buffers: Buffers::default(),
            heard: Vec::new(),
            end: None,
        }
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Received {
        let heard = &mut self.heard;
        let received = self
            .stream
            .receive(bytes, |plain| heard.extend_from_slice(plain));
        self.go_on(received)
    }

    /// Does what the helper would do.
    fn go_on(&mut self, mut received: Received) -> Received {
        while received == Received::Handshake {
            let (connection, incoming) = self.stream.take_handshake().unwrap();
            let step = handshake::step(&self.setup, connection, incoming, false);
            self.stream.queue(&step.outgoing);
            self.stream.put_back(step.incoming);
            self.stream.stage = match step.progress {
                Progress::Going(connection) => Stage::Handshake(connection),
                Progress::Done(connection, facts) => {
                    self.end = Some(Ok(TlsFacts::clone(&facts)));
                    Stage::Open(connection)
                }
                Progress::Failed(failure) => {
                    self.end = Some(Err(failure.to_string()));
                    Stage::Ended
                }
            };
            let heard = &mut self.heard;
            received = self.stream.resume(|plain| heard.extend_from_slice(plain));
        }
        received
    }

    /// Encrypts and sends all of `pieces`, of which the socket takes `at_most` bytes at a time.
    fn send(&mut self, mut pieces: &[u8], at_most: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        loop {
            let first = pieces.len() / 3;
            let parts = [&pieces[..first], &pieces[first..]];
            let parts = parts.into_iter().filter(|part| !part.is_empty());
            if !self
                .stream
                .encrypt(&mut self.buffers, pieces.len(), parts)
                .unwrap()
            {
                assert!(pieces.is_empty());
                return sent;
            }
            loop {
                let now = self.stream.unsent().len().min(at_most);
                sent.extend_from_slice(&self.stream.unsent()[..now]);
                if let Left::All { plain_bytes } = self.stream.left(now, &mut self.buffers) {
                    assert!(plain_bytes <= SEND_PLAIN_BYTES_MAX);
                    pieces = &pieces[plain_bytes..];
                    break;
                }
            }
        }
    }
}

/// Hands `bytes` to the server in pieces of random size.
fn cut(prng: &mut Prng, server: &mut Server, bytes: &mut [u8], piece_max: u32) -> Received {
    let mut rest = bytes;
    let mut last = Received::Nothing;
    while !rest.is_empty() {
        let length = (1 + prng.below(piece_max) as usize).min(rest.len());
        let (piece, later) = rest.split_at_mut(length);
        last = server.receive(piece);
        rest = later;
    }
    last
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[test]
fn bytes_get_through_however_they_are_cut() {
    let files = Files::new("cut");
    let setup = tls(&files.options());
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let version = VERSIONS[prng.below(2) as usize];
        let piece_max = [1, 7, 100, 5_000, 200_000][prng.below(5) as usize];
        let mut client = files.client(&[version]);
        let mut server = Server::new(&setup);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let mut heard_by_client = Vec::new();
        for round in 0..12 {
            use std::io::Write;
            let size = if piece_max == 1 { 2_000 } else { 150_000 };
            let text: Vec<u8> = (0..prng.below(size)).map(|i| (i ^ round) as u8).collect();
            // From the start: a client may send its first words right behind its last of the handshake.
            let taken = client.writer().write(&text).unwrap();
            to_server.extend_from_slice(&text[..taken]);
            let mut bytes = written(&mut client);
            let received = cut(&mut prng, &mut server, &mut bytes, piece_max);
            assert!(
                matches!(received, Received::Nothing | Received::Answer),
                "seed {seed}: {received:?}"
            );
            let text = if server.stream.is_open() {
                &text[..]
            } else {
                &[]
            };
            to_client.extend_from_slice(text);
            let at_most = 1 + prng.below(100_000) as usize;
            heard_by_client.extend(read(&mut client, &server.send(text, at_most)).unwrap());
        }
        let Some(Ok(facts)) = &server.end else {
            panic!("seed {seed}: {:?}", server.end);
        };
        assert_eq!(facts.version == "1.3", version == &TLS13);
        assert!(server.heard == to_server, "seed {seed}");
        assert!(
            heard_by_client == to_client && !to_client.is_empty(),
            "seed {seed}"
        );
        client.send_close_notify();
        let mut bytes = written(&mut client);
        assert_eq!(server.receive(&mut bytes), Received::PeerClosed);
        server.stream.queue_close_notify();
        server.stream.queue_close_notify();
        let end = server.send(&[], 1);
        read(&mut client, &end).unwrap();
        assert!(client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn keys_are_changed_when_the_client_asks() {
    let files = Files::new("keys");
    let setup = tls(&files.options());
    let mut client = files.client(&[&TLS13]);
    let mut server = Server::new(&setup);
    while server.end.is_none() {
        let mut bytes = written(&mut client);
        server.receive(&mut bytes);
        read(&mut client, &server.send(&[], usize::MAX)).unwrap();
    }
    for round in 0..5u8 {
        use std::io::Write;
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(&[round; 10]).unwrap();
        let mut bytes = written(&mut client);
        // Cut within the message that asks, and something sent in between.
        for byte in &mut bytes {
            server.receive(std::slice::from_mut(byte));
            let said = read(&mut client, &server.send(b"x", usize::MAX)).unwrap();
            assert_eq!(said, b"x");
        }
        assert!(server.heard.ends_with(&[round; 10]));
    }
}

/// Nothing that a peer sends may panic, hang or make the server keep more than it may.
#[test]
fn whatever_comes_has_an_end() {
    let files = Files::new("garbage");
    let setup = tls(&files.options());
    for seed in 0..1500 {
        let mut prng = Prng::new(seed);
        let version = VERSIONS[prng.below(2) as usize];
        let mut client = files.client(&[version]);
        let mut server = Server::new(&setup);
        for _ in 0..6 {
            use std::io::Write;
            let _ = client.writer().write(&[1; 300]);
            let mut bytes = written(&mut client);
            match prng.below(6) {
                0 if !bytes.is_empty() => {
                    let at = prng.below(bytes.len() as u32) as usize;
                    bytes[at] ^= 1 << prng.below(8);
                }
                1 => bytes.truncate(prng.below(bytes.len() as u32 + 1) as usize),
                2 => bytes.extend((0..prng.below(40)).map(|i| (i * 37) as u8)),
                3 => {
                    // A record that lies about what is in it.
                    let kind = 20 + prng.below(5) as u8;
                    let length = prng.below(60) as u8;
                    let mut record = vec![kind, 3, 3, 0, length];
                    record.extend((0..length).map(|i| i.wrapping_mul(seed as u8)));
                    let at = if prng.one_in(2) { 0 } else { bytes.len() };
                    bytes.splice(at..at, record);
                }
                _ => {}
            }
            cut(&mut prng, &mut server, &mut bytes, 400);
            if matches!(server.stream.stage, Stage::Ended) {
                break;
            }
            let text: &[u8] = if server.stream.is_open() {
                &[2; 100]
            } else {
                &[]
            };
            let answer = server.send(text, usize::MAX);
            if read(&mut client, &answer).is_err() {
                break;
            }
        }
    }
}

#[test]
fn what_is_no_tls_is_told_apart() {
    #[track_caller]
    fn check(setup: &Arc<Tls>, bytes: &[u8], expected: Received, end: Option<&str>) {
        let mut server = Server::new(setup);
        let received = server.receive(&mut bytes.to_vec());
        assert_eq!(received, expected);
        let found = server.end.and_then(Result::err);
        assert_eq!(found.as_deref(), end);
    }
    let files = Files::new("not-tls");
    let setup = tls(&files.options());
    check(&setup, b"CONNECT {}\r\n", Received::NotTls, None);
    check(
        &setup,
        b"\x15\x03\x01\x00\x02\x02\x28",
        Received::NotTls,
        None,
    );
    check(&setup, b"\x16", Received::Nothing, None);
    check(
        &setup,
        b"\x16\x03\x01\x02\x00\x01\x00",
        Received::Nothing,
        None,
    );
    check(
        &setup,
        b"\x16\x03\x01\x00\x05hello",
        Received::Nothing,
        Some("tls: received corrupt message of type HandshakePayloadTooLarge"),
    );
    check(
        &setup,
        b"\x16\x03\x01\xff\xff",
        Received::Nothing,
        Some("tls: received corrupt message of type MessageTooLarge"),
    );
    let mut server = Server::new(&setup);
    server.stream.stage = Stage::Helped;
    let mut much = vec![0x16; HANDSHAKE_BYTES_MAX];
    assert_eq!(server.receive(&mut much), Received::Nothing);
    assert_eq!(server.receive(&mut [0]), Received::TooMuch);
}

fn shake(setup: &Arc<Tls>, mut client: ClientConnection) -> Result<(TlsFacts, Vec<u8>), String> {
    let mut server = Server::new(setup);
    for _ in 0..4 {
        let mut bytes = written(&mut client);
        server.receive(&mut bytes);
        let refused = read(&mut client, &server.send(&[], usize::MAX));
        match server.end.take() {
            Some(Ok(facts)) => {
                let shown = client.peer_certificates().unwrap()[0].to_vec();
                return Ok((facts, shown));
            }
            Some(Err(text)) => return Err(text),
            None => {}
        }
        if let Err(error) = refused {
            return Err(format!("client: {error}"));
        }
    }
    Err("it goes on for ever".to_owned())
}

#[test]
fn clients_are_verified() {
    let files = Files::new("verify");
    let others = Files::new("verify-others");
    let (_, cert, key) = files.sign("client");
    let own = |cert: &CertificateDer<'static>, key: &KeyPair| {
        let key = KeyPair::try_from(key.serialize_der()).unwrap();
        Some((cert.clone(), key))
    };
    let (_, other_cert, other_key) = others.sign("client");
    let info = rcgen::PublicKeyData::subject_public_key_info(&key);
    let pin: String = ::ring::digest::digest(&::ring::digest::SHA256, &info)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let verified = TlsOptions {
        ca_file: Some(files.folder.join("ca.pem")),
        verify: true,
        ..files.options()
    };
    let pinned = |pin: &str| TlsOptions {
        pinned_certs: BTreeSet::from([pin.to_owned()]),
        ..verified.clone()
    };
    type Own = Option<(CertificateDer<'static>, KeyPair)>;
    let check = |options: &TlsOptions, presented: &Own, expected: Result<usize, &str>| {
        for version in VERSIONS {
            let own = presented.as_ref().and_then(|(cert, key)| own(cert, key));
            let client = files.client_for("localhost", &[version], own);
            let found =
                shake(&tls(options), client).map(|(facts, _)| facts.peer_certificates.len());
            assert_eq!(found, expected.map_err(str::to_owned), "{version:?}");
        }
    };
    let right = own(&cert, &key);
    let wrong = own(&other_cert, &other_key);
    let none = "tls: client didn't provide a certificate";
    let unknown =
        "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    check(&files.options(), &None, Ok(0));
    check(&files.options(), &right, Ok(0));
    check(&verified, &None, Err(none));
    check(&verified, &right, Ok(1));
    check(&verified, &wrong, Err(unknown));
    check(&pinned(&pin), &right, Ok(1));
    check(
        &pinned(&"0".repeat(64)),
        &right,
        Err("certificate not pinned"),
    );
}

#[test]
fn versions_and_suites() {
    #[track_caller]
    fn check(
        files: &Files,
        options: &TlsOptions,
        version: &'static rustls::SupportedProtocolVersion,
        expected: Result<(&str, &str), &str>,
    ) {
        let found = shake(&tls(options), files.client(&[version]))
            .map(|(facts, _)| (facts.version.to_owned(), facts.cipher_suite));
        let expected = expected.map(|(v, s)| (v.to_owned(), s.to_owned()));
        assert_eq!(found, expected.map_err(str::to_owned));
    }
    let files = Files::new("versions");
    let of = |min_version, suites: &[&str]| TlsOptions {
        min_version,
        cipher_suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
        ..files.options()
    };
    let fast = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let chacha = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    check(
        &files,
        &of(TlsVersion::V1_2, &[]),
        &TLS13,
        Ok(("1.3", "TLS_AES_128_GCM_SHA256")),
    );
    check(
        &files,
        &of(TlsVersion::V1_2, &[]),
        &TLS12,
        Ok(("1.2", fast)),
    );
    check(
        &files,
        &of(TlsVersion::V1_2, &[chacha]),
        &TLS12,
        Ok(("1.2", chacha)),
    );
    check(
        &files,
        &of(TlsVersion::V1_3, &[]),
        &TLS13,
        Ok(("1.3", "TLS_AES_128_GCM_SHA256")),
    );
    check(
        &files,
        &of(TlsVersion::V1_3, &[]),
        &TLS12,
        Err("tls: peer is incompatible: Tls12NotOfferedOrEnabled"),
    );
}

#[test]
fn the_certificate_is_that_of_the_name() {
    let files = Files::new("names");
    let (first, first_der, _) = files.sign("one.example");
    let (second, second_der, _) = files.sign("two.example");
    let setup = tls(&TlsOptions {
        certificates: vec![first, second],
        ..TlsOptions::default()
    });
    for (name, expected) in [("one.example", &first_der), ("two.example", &second_der)] {
        let (_, shown) = shake(&setup, files.client_for(name, &VERSIONS, None)).unwrap();
        assert!(shown == expected.to_vec(), "{name}");
    }
    let other = shake(&setup, files.client_for("three.example", &VERSIONS, None));
    let text = other.expect_err("the first one is shown, and is not for this name");
    assert!(text.contains("not valid for name"), "{text}");
}

#[test]
fn options_that_cannot_be() {
    let files = Files::new("options");
    let (good, _, _) = files.sign("good");
    let (other, _, _) = files.sign("other");
    let empty = files.write("empty.pem", "nothing\n");
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = files.write("locked.pem", locked);
    let folder = files.folder.display().to_string();
    let check =
        |cert: &PathBuf, key: &PathBuf, change: fn(&mut TlsOptions, &str), expected: &str| {
            let mut options = TlsOptions {
                certificates: vec![CertificateFiles {
                    cert_file: cert.clone(),
                    key_file: key.clone(),
                }],
                ..TlsOptions::default()
            };
            change(&mut options, &folder);
            let error = server_config(&options, true).err().unwrap_or_default();
            assert_eq!(error.replace(&format!("{folder}/"), ""), expected);
        };
    let pair = "error parsing X509 certificate/key pair: ";
    let (cert, key) = (&good.cert_file, &good.key_file);
    check(cert, key, |_, _| {}, "");
    let missing = &files.folder.join("missing.pem");
    let not_there = "No such file or directory (os error 2)";
    check(
        missing,
        key,
        |_, _| {},
        &format!("{pair}cert_file \"missing.pem\": {not_there}"),
    );
    check(
        cert,
        missing,
        |_, _| {},
        &format!("{pair}key_file \"missing.pem\": {not_there}"),
    );
    check(
        &empty,
        key,
        |_, _| {},
        &format!("{pair}cert_file \"empty.pem\": no certificate found"),
    );
    check(
        cert,
        &empty,
        |_, _| {},
        &format!("{pair}key_file \"empty.pem\": no private key found"),
    );
    check(
        cert,
        &locked,
        |_, _| {},
        &format!("{pair}key_file \"locked.pem\": encrypted keys cannot be read"),
    );
    check(
        cert,
        &other.key_file,
        |_, _| {},
        &format!(
            "{pair}key_file \"other-key.pem\": the private key is not that of cert_file \"good.pem\""
        ),
    );
    check(
        cert,
        key,
        |options, folder| {
            options.verify = true;
            options.ca_file = Some(format!("{folder}/empty.pem").into());
        },
        "ca_file \"empty.pem\": no certificate found",
    );
    check(
        cert,
        key,
        |options, _| options.cipher_suites = vec!["TLS_NONE".to_owned()],
        "unrecognized cipher TLS_NONE",
    );
    check(
        cert,
        key,
        |options, _| options.curve_preferences = vec!["CurveP521".to_owned()],
        "curve preference CurveP521 is not offered",
    );
    check(
        cert,
        key,
        |options, _| options.certificates.clear(),
        "tls: missing 'cert_file' and 'key_file'",
    );
}

#[test]
fn so_many_in_a_second() {
    let rate = Rate::new(2);
    let start = Instant::now();
    let at = |ms| rate.admit(start + Duration::from_millis(ms));
    assert_eq!(at(0), (true, None));
    assert_eq!(at(500), (true, None));
    assert_eq!(at(900), (false, None));
    assert_eq!(at(1000), (false, None));
    assert_eq!(at(1001), (true, Some(2)));
    assert_eq!(at(1002), (true, None));
    assert_eq!(at(3000), (true, None));
}
