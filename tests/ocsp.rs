//! Stapling through the real binary: what clients are shown beside the certificate, and what becomes of
//! a server that has nothing to show.
//!
//! `NATS_SERVER_BIN=nats-server cargo test --test ocsp` asks the same of a nats-server; where the two
//! differ on purpose, the case says so.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "harness/answers.rs"]
mod answers;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "harness/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;
#[path = "harness/responder.rs"]
mod responder;

use std::io::Read;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use answers::{Answer, Said};
use certificates::{Authority, Identity};
use harness::{PATIENCE, Server, is_nats_server, signal};
use responder::{Manner, Responder};

/// `id-pe-tlsfeature` with `status_request`.
fn must_staple() -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5])
}

/// `authorityInfoAccess` with one responder.
fn access(url: &str) -> CustomExtension {
    let mut place = vec![6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 0x86, url.len() as u8];
    place.extend_from_slice(url.as_bytes());
    let mut list = vec![0x30, place.len() as u8 + 2, 0x30, place.len() as u8];
    list.append(&mut place);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], list)
}

/// An authority, its responder, and a server's certificate.
struct Scene {
    authority: Authority,
    key: Arc<KeyPair>,
    responder: Responder,
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::new();
        let key = Arc::new(KeyPair::from_pem(&authority.key().serialize_pem()).unwrap());
        let manner = Manner::Answers(Answer::good(3600), Arc::clone(&key));
        Self {
            authority,
            key,
            responder: Responder::start(manner),
        }
    }

    fn answers(&self, answer: Answer) -> Manner {
        Manner::Answers(answer, Arc::clone(&self.key))
    }

    /// Signs a certificate for the server; again, if there was one.
    fn sign(&self, demands: bool, names_responder: bool) -> Identity {
        let mut extensions = Vec::new();
        extensions.extend(demands.then(must_staple));
        extensions.extend(names_responder.then(|| access(&self.responder.url())));
        self.authority
            .sign_with("server", &["localhost"], extensions)
    }

    fn start(&self, lines: &str, demands: bool, names_responder: bool) -> Result<Host<'_>, String> {
        let identity = self.sign(demands, names_responder);
        let text = format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", timeout: 10 }}\n{lines}\n",
            identity.cert.display(),
            identity.key.display(),
            self.authority.ca().display(),
        );
        let path = self.authority.folder.write("server.conf", &text);
        let server = Server::start(&format!("-DV -c {}", path.display()), "")?;
        let authority = &self.authority;
        Ok(Host { authority, server })
    }

    /// With a certificate that demands nothing and names the responder.
    fn start_always(&self) -> Host<'_> {
        self.start("ocsp { mode: always }", false, true)
            .unwrap_or_else(|log| panic!("{log}"))
    }
}

struct Host<'a> {
    authority: &'a Authority,
    server: Server,
}

impl Host<'_> {
    /// The staple in a handshake, empty where there is none; or why there was no handshake.
    fn staple(&self) -> std::io::Result<Vec<u8>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.authority.ca()).unwrap())
            .unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let witness = Arc::new(Witness {
            verifier: verifier.build().unwrap(),
            seen: Mutex::default(),
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as _)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(self.server.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut byte = [0];
        while byte != [b'\n'] {
            socket.read_exact(&mut byte)?;
        }
        while client.is_handshaking() {
            client.complete_io(&mut socket)?;
        }
        let seen = witness.seen.lock().unwrap().clone();
        Ok(seen)
    }

    /// Asks for staples until one satisfies.
    #[track_caller]
    fn await_staple(&mut self, what: &str, matches: impl Fn(&std::io::Result<Vec<u8>>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !matches(&self.staple()) {
            if Instant::now() > deadline {
                panic!("never {what}\n{}", self.server.log_text());
            }
            // Between two looks at what changes with the seconds.
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn expect_log(&mut self, text: &str) {
        if !self.server.wait_for_log(0, |line| line.contains(text)) {
            panic!("not in the log: {text}\n{}", self.server.log_text());
        }
    }
}

/// Verifies as usual and remembers the staple.
#[derive(Debug)]
struct Witness {
    verifier: Arc<WebPkiServerVerifier>,
    seen: Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap() = ocsp_response.to_vec();
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

const DEMANDS: bool = true;
const NAMES: bool = true;
const NO_SERVERS: &str = "no available ocsp servers";

#[test]
fn modes() {
    /// What becomes of it.
    enum Then {
        Stapled,
        Bare,
        NoStart(&'static str),
    }
    use Then::{Bare, NoStart, Stapled};
    let cases = [
        ("", DEMANDS, NAMES, Stapled),
        ("", !DEMANDS, NAMES, Bare),
        ("", DEMANDS, !NAMES, NoStart(NO_SERVERS)),
        ("ocsp: true", DEMANDS, NAMES, Stapled),
        ("ocsp: false", DEMANDS, NAMES, Bare),
        ("ocsp { mode: auto }", DEMANDS, NAMES, Stapled),
        ("ocsp { mode: auto }", !DEMANDS, NAMES, Bare),
        ("ocsp { mode: auto }", DEMANDS, !NAMES, NoStart(NO_SERVERS)),
        ("ocsp { mode: always }", DEMANDS, NAMES, Stapled),
        ("ocsp { mode: always }", !DEMANDS, NAMES, Stapled),
        (
            "ocsp { mode: always }",
            !DEMANDS,
            !NAMES,
            NoStart(NO_SERVERS),
        ),
        ("ocsp { mode: must }", DEMANDS, NAMES, Stapled),
        ("ocsp { mode: must }", !DEMANDS, NAMES, Bare),
        ("ocsp { mode: must }", !DEMANDS, !NAMES, Bare),
        ("ocsp { mode: must }", DEMANDS, !NAMES, NoStart(NO_SERVERS)),
        ("ocsp { mode: never }", DEMANDS, NAMES, Bare),
        ("ocsp { mode: never }", !DEMANDS, !NAMES, Bare),
    ];
    let scene = Scene::new();
    for (lines, demands, names, then) in cases {
        let case = format!("{lines}, demands: {demands}, names: {names}");
        match (scene.start(lines, demands, names), then) {
            (Ok(mut host), Stapled) => {
                assert!(!host.staple().unwrap().is_empty(), "{case}");
                host.expect_log("OCSP Stapling enabled for Client connections");
                host.expect_log("good, next update ");
            }
            (Ok(mut host), Bare) => {
                assert!(host.staple().unwrap().is_empty(), "{case}");
                // A nats-server has no log yet when it says so.
                if demands && !is_nats_server() {
                    host.expect_log("has MustStaple but OCSP is disabled");
                }
            }
            (Err(log), NoStart(text)) => {
                assert!(log.contains(text), "{case}\n{log}");
                let why = "bad OCSP status update for certificate at ";
                assert!(log.contains(why), "{case}\n{log}");
            }
            (Ok(_), NoStart(_)) => panic!("starts: {case}"),
            (Err(log), _) => panic!("{case}\n{log}"),
        }
    }
}

#[test]
fn responders_of_the_configuration_come_first() {
    let scene = Scene::new();
    let other = Responder::start(scene.answers(Answer::good(3600)));
    let lines = format!("ocsp {{ mode: always, url: \"{}/\" }}", other.url());
    let host = scene
        .start(&lines, !DEMANDS, NAMES)
        .unwrap_or_else(|log| panic!("{log}"));
    assert!(!host.staple().unwrap().is_empty());
    assert_eq!((scene.responder.asked(), other.asked()), (0, 1));
    if is_nats_server() {
        // It takes no list of them.
        return;
    }
    // One that fails is followed by the next.
    let failing = Responder::start(Manner::Fails);
    let (first, second) = (failing.url(), other.url());
    let lines = format!("ocsp {{ mode: always, urls: [\"{first}\", \"{second}\"] }}");
    let host = scene
        .start(&lines, !DEMANDS, NAMES)
        .unwrap_or_else(|log| panic!("{log}"));
    assert!(!host.staple().unwrap().is_empty());
    assert_eq!((failing.asked(), other.asked()), (2, 2));
}

#[test]
fn answers_that_are_believed_and_others() {
    let scene = Scene::new();
    let others = Authority::new();
    let good = || Answer::good(3600);
    let delegated = |from: &Authority, purpose: ExtendedKeyUsagePurpose, days| {
        let (key, certificate) = from.delegate(purpose, days);
        let certificates = vec![certificate];
        let answer = Answer {
            certificates,
            ..good()
        };
        Manner::Answers(answer, Arc::new(key))
    };
    let signing = || ExtendedKeyUsagePurpose::OcspSigning;
    let of_others = Arc::new(KeyPair::generate().unwrap());
    let expired = Answer {
        since_s: -60,
        ..Answer::good(-1)
    };
    let to_come = Answer {
        since_s: 1800,
        ..good()
    };
    let another = Answer {
        about_it: false,
        ..good()
    };
    let unlimited = Answer {
        until_s: None,
        ..good()
    };
    let wrong_signer = "the signature is not that of the issuer";
    // Whether a nats-server believes it, where that differs, is the last column.
    let cases = [
        ("good", scene.answers(good()), None, false),
        ("unlimited", scene.answers(unlimited), None, false),
        (
            "to GET",
            Manner::AnswersGet(good(), Arc::clone(&scene.key)),
            None,
            false,
        ),
        (
            "delegated",
            delegated(&scene.authority, signing(), 10),
            None,
            false,
        ),
        (
            "expired",
            scene.answers(expired),
            Some("invalid ocsp NextUpdate, is past time"),
            false,
        ),
        (
            "to come",
            scene.answers(to_come),
            Some("invalid ocsp ThisUpdate, is future time"),
            false,
        ),
        (
            "about another",
            scene.answers(another),
            Some("the response is about another certificate"),
            true,
        ),
        (
            "signed by anybody",
            Manner::Answers(good(), of_others),
            Some(wrong_signer),
            false,
        ),
        (
            "delegated for servers",
            delegated(&scene.authority, ExtendedKeyUsagePurpose::ServerAuth, 10),
            Some("the issuer has not authorised the responder"),
            true,
        ),
        (
            "delegated in the past",
            delegated(&scene.authority, signing(), 0),
            Some("the responder's certificate has expired"),
            true,
        ),
        (
            "delegated by others",
            delegated(&others, signing(), 10),
            Some("the responder's certificate is not of the issuer"),
            false,
        ),
        (
            "garbage",
            Manner::Sends(b"garbage".to_vec()),
            Some("malformed response"),
            false,
        ),
        (
            "nothing",
            Manner::Sends(Vec::new()),
            Some("malformed response"),
            false,
        ),
        (
            "try later",
            Manner::Sends(vec![0x30, 3, 10, 1, 3]),
            Some("ocsp: error from server: try later"),
            false,
        ),
        (
            "too large",
            Manner::Sends(vec![0x30; 1024 * 1024]),
            Some("exhausted ocsp servers"),
            false,
        ),
        (
            "failure",
            Manner::Fails,
            Some("exhausted ocsp servers"),
            false,
        ),
    ];
    for (case, manner, refused, not_by_nats_server) in cases {
        scene.responder.behave(manner);
        let started = scene.start("ocsp { mode: must }", DEMANDS, NAMES);
        let refused = refused.filter(|_| !(is_nats_server() && not_by_nats_server));
        match (started, refused) {
            (Ok(host), None) => assert!(!host.staple().unwrap().is_empty(), "{case}"),
            (Err(log), Some(text)) => {
                let why = "bad OCSP status update for certificate at ";
                assert!(log.contains(why), "{case}\n{log}");
                assert!(is_nats_server() || log.contains(text), "{case}\n{log}");
            }
            (Ok(_), Some(_)) => panic!("believed: {case}"),
            (Err(log), None) => panic!("{case}\n{log}"),
        }
    }
}

#[test]
fn revoked_from_the_start() {
    let scene = Scene::new();
    for said in [Said::Revoked, Said::Unknown] {
        scene.responder.behave(scene.answers(Answer {
            said,
            ..Answer::good(3600)
        }));
        for mode in ["always", "must"] {
            let Err(log) = scene.start(&format!("ocsp {{ mode: {mode} }}"), DEMANDS, NAMES) else {
                panic!("starts: {mode}, {said:?}");
            };
            let status = format!("{said:?}").to_lowercase();
            let found = "found existing OCSP status for certificate at ";
            let line = log.lines().find(|line| line.contains(found));
            assert!(line.is_some_and(|line| line.ends_with(&status)), "{log}");
        }
        // What clients make of it is their affair.
        let host = scene
            .start("", DEMANDS, NAMES)
            .unwrap_or_else(|log| panic!("{log}"));
        assert!(!host.staple().unwrap().is_empty());
    }
}

#[test]
fn revoked_later() {
    let scene = Scene::new();
    scene.responder.behave(scene.answers(Answer::good(4)));
    let mut host = scene.start_always();
    let revoked = Answer {
        said: Said::Revoked,
        ..Answer::good(3600)
    };
    scene.responder.behave(scene.answers(revoked));
    host.expect_log("Received OCSP status for Client certificate ");
    host.expect_log(": revoked");
    host.expect_log("Initiating Shutdown...");
    assert_eq!(host.server.wait_for_exit(), Some(0));
}

#[test]
fn renewed_in_time() {
    let scene = Scene::new();
    scene.responder.behave(scene.answers(Answer::good(6)));
    let start = Instant::now();
    let mut host = scene.start_always();
    let first = host.staple().unwrap();
    assert!(!first.is_empty());
    scene.responder.behave(scene.answers(Answer::good(3600)));
    host.await_staple("renewed", |staple| {
        assert!(staple.as_ref().is_ok_and(|staple| !staple.is_empty()));
        staple.as_ref().is_ok_and(|staple| *staple != first)
    });
    assert!(start.elapsed() < Duration::from_secs(6), "too late");
    host.expect_log("Received OCSP status for Client certificate ");
}

#[test]
fn nobody_is_shown_an_expired_one() {
    let scene = Scene::new();
    scene.responder.behave(scene.answers(Answer::good(4)));
    let mut host = scene.start_always();
    // Shown while it lasts, although nobody renews it.
    scene.responder.behave(Manner::Fails);
    host.expect_log("Bad OCSP status update for certificate ");
    assert!(!host.staple().unwrap().is_empty());
    host.await_staple("refused", Result::is_err);
    scene.responder.behave(scene.answers(Answer::good(3600)));
    host.await_staple("there again", |staple| {
        staple.as_ref().is_ok_and(|staple| !staple.is_empty())
    });
}

#[test]
fn a_slow_responder_holds_nobody_up() {
    let scene = Scene::new();
    scene.responder.behave(scene.answers(Answer::good(4)));
    let host = scene.start_always();
    let before = scene.responder.asked();
    scene.responder.behave(Manner::Silent);
    let deadline = Instant::now() + PATIENCE;
    while scene.responder.asked() == before {
        assert!(Instant::now() < deadline, "never asked");
        thread::sleep(Duration::from_millis(20));
    }
    let start = Instant::now();
    assert!(!host.staple().unwrap().is_empty());
    assert!(start.elapsed() < Duration::from_secs(1));
    if is_nats_server() {
        // It waits for the responder before it ends.
        return;
    }
    let mut host = host;
    assert!(signal(host.server.pid(), "TERM"));
    assert!(host.server.wait_for_exit().is_some());
}

#[test]
fn certificates_and_staples_are_read_again() {
    let scene = Scene::new();
    let mut host = scene.start_always();
    let first = host.staple().unwrap();
    scene.sign(!DEMANDS, NAMES);
    assert!(signal(host.server.pid(), "HUP"));
    host.expect_log("Reloaded: tls = enabled");
    host.await_staple("another", |staple| {
        staple
            .as_ref()
            .is_ok_and(|staple| !staple.is_empty() && *staple != first)
    });
    let second = host.staple().unwrap();
    if is_nats_server() {
        // It goes on without a staple then.
        return;
    }
    // The same certificate without a responder keeps what it has; another is not taken.
    scene.responder.behave(Manner::Fails);
    assert!(signal(host.server.pid(), "HUP"));
    host.expect_log("Bad OCSP status update for certificate ");
    assert_eq!(host.staple().unwrap(), second);
    scene.sign(!DEMANDS, NAMES);
    assert!(signal(host.server.pid(), "HUP"));
    host.expect_log("Failed to reload server configuration: bad OCSP status update");
    assert_eq!(host.staple().unwrap(), second);
}
