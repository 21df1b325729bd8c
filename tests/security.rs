//! Who gets in with what, through the real binary and real clients: async-nats for each mechanism, and where they are
//! installed the `nats` tool, `nsc` and nats-py. Each mechanism is shown to let in and to refuse.
//!
//! A tool that is not installed is named on standard error and not tested with.
//!
//! # Advisories of nats-server, and what holds them here
//!
//! Those that touch configuration, authentication, accounts, TLS and the system account. `cases/x.txt` are played by
//! `tests/transcripts.rs`, against nats-server too; what is in capitals is a part of the case's name.
//!
//! | advisory | what went wrong there | held by |
//! |---|---|---|
//! | CVE-2020-26521 | a JWT with missing parts: a nil pointer | `auth::claims::tests::nothing_panics`, `what_is_refused`; fuzz target `credentials` |
//! | CVE-2020-26892 | expiry and revocation not enforced | `auth::gate::tests::claims::users_of_accounts`, `default_permissions_limits_and_ends`; `shard::admission_tests::who_is_no_longer_a_user_must_go`; [`tokens_signed_by_accounts`] |
//! | CVE-2020-28466, CVE-2022-42709 | circles of imports | `shard::account_tests::import_cycles_are_refused`; `cases/account_errors.txt` |
//! | CVE-2021-3127 | activation tokens of somebody else | `auth::claims::tests::activation_tokens_are_bound_to_one_import` |
//! | CVE-2021-32026 | TLS by flags lost its cipher suites | `runtime::tls::tests::versions_and_suites`, `config::command_line::tests::flags_override_the_file` |
//! | CVE-2022-24450 | clients named their account | `shard::admission_tests::accounts_come_from_credentials_only`; `cases/users.txt` CVE-2022-24450 |
//! | CVE-2022-28357 | names of files from the system account | `runtime::claims_store::tests::names_and_tokens_that_are_none` |
//! | CVE-2022-29946 | a deny did not hold for queues on wildcards | `auth::permissions::oracle::two_rules_with_queues`; `cases/permissions.txt` CVE-2022-29946 |
//! | CVE-2022-42708 | a number out of range | `config::file::tests::every_key`, `limits` |
//! | CVE-2023-47090 | `$SYS` with users and others let everybody in | `auth::gate::tests::anonymous_is_refused_wherever_something_is_configured`; `cases/tokens.txt` CVE-2023-47090 |
//! | CVE-2023-46129 | sealing with a zero key | `auth::xkey::the_go_library_seals_the_same` |
//! | CVE-2025-68121 | sessions shared between listeners | `tests/tls.rs` `certificates_of_clients`: no tickets where clients are verified |
//! | CVE-2026-33216 | a password in a field that is shown | `config::file::tests::secrets_are_not_shown`; `cases/users.txt` PASSWORDS ARE NOT IN TRACES |
//! | CVE-2026-33246, CVE-2026-33223 | `Nats-Request-Info` said by the client | `shard::admission_tests::nobody_says_who_asks_but_the_server`; `cases/services.txt` CVE-2026-33246 |
//! | CVE-2026-33248 | odd subjects of certificates | `auth::certificate::comparing_subjects`, `changed_certificates_do_not_panic` |
//! | CVE-2026-33247 | credentials in arguments shown | no page shows arguments: `control` has no access to them |
//! | GHSA-38x3 (16) | the way for those who present nothing led elsewhere | `shard::admission_tests::those_who_present_nothing`; `cases/users.txt` OPERATIONS BEFORE CONNECT; `cases/mappings.txt` BEFORE CONNECT |
//! | GHSA-wh7g (17), GHSA-jx8g (18) | a deny that overlaps was not looked at | `auth::permissions::oracle` (all); `cases/permissions.txt` GHSA-wh7g |
//! | GHSA-g33f (23) | a key cut short | `auth::nkey::what_is_no_key`, `noise_is_no_key` |
//! | GHSA-hmmp (24) | those who present nothing passed no checks | `auth::gate::tests::who_presents_nothing_may_be_somebody`; `cases/users.txt` GHSA-hmmp |
//! | `ccd898ea8` | users of certificates let in by name elsewhere | `auth::gate::tests::certificates`; [`names_in_certificates`] |
//! | `91045691a` | a blank permission: a panic | `auth::permissions::tests::entries_that_are_no_subjects` |
//! | `739caaf6f`, `b2d0c2a77`, `f06df13f2` | templates: panics | `auth::templates::noise_does_not_panic`, `expansion_is_bounded` |
//! | GHSA-q59r (28) | offset and limit of `CONNZ` overflowed | `control::tests::connections_are_chosen_and_sorted` |

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

#[path = "harness/certificates.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod certificates;
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::client::RequestErrorKind;
use async_nats::{Client, ConnectOptions};
use data_encoding::BASE64URL_NOPAD;
use futures_util::StreamExt;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use certificates::{Authority, Folder};
use harness::{PATIENCE, Server};

/// `secret`, hashed.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

#[test]
fn users_and_their_passwords() {
    let text = format!(
        "authorization {{ users [ {{ user: u, password: p }}, {{ user: h, password: \"{HASH}\" }} ] }}"
    );
    let host = Host::start(&text);
    let as_user =
        |user: &str, pass: &str| ConnectOptions::with_user_and_password(user.into(), pass.into());
    host.lets_in("a user", as_user("u", "p"));
    host.lets_in("a user with a hash", as_user("h", "secret"));
    host.refuses("a wrong password", as_user("u", "q"));
    host.refuses("a hash for a password", as_user("h", HASH));
    host.refuses("nobody", as_user("nobody", "p"));
    host.refuses("a token", ConnectOptions::with_token("p".into()));
    host.refuses("nothing", ConnectOptions::new());
}

#[test]
fn a_token() {
    let host = Host::start(&format!("authorization {{ token: \"{HASH}\" }}"));
    host.lets_in("the token", ConnectOptions::with_token("secret".into()));
    host.refuses("another", ConnectOptions::with_token("Secret".into()));
    host.refuses("nothing", ConnectOptions::new());
}

#[test]
fn keys() {
    let known = KeyPair::new_user();
    let host = Host::start(&format!(
        "authorization {{ users [ {{ nkey: {} }} ] }}",
        known.public_key()
    ));
    let with = |key: &KeyPair| ConnectOptions::with_nkey(key.seed().unwrap());
    host.lets_in("a key", with(&known));
    host.refuses("an unknown key", with(&KeyPair::new_user()));
    host.refuses("nothing", ConnectOptions::new());
}

/// Operators, with the accounts in the configuration file.
#[test]
fn tokens_signed_by_accounts() {
    let tenants = Tenants::new();
    let host = tenants.host();
    let known = KeyPair::new_user();
    let signed = |by: &KeyPair, more: Value| user_token(&known, by, more);
    let good = signed(&tenants.account, json!({}));
    let now = unix_s();
    host.lets_in("a user", credentials(&good, &known));
    for (what, token, key) in [
        ("somebody else's key", good.clone(), KeyPair::new_user()),
        (
            "an account nobody knows",
            signed(&KeyPair::new_account(), json!({})),
            KeyPair::from_seed(&known.seed().unwrap()).unwrap(),
        ),
        (
            "the operator for an account",
            signed(&tenants.operator, json!({})),
            KeyPair::from_seed(&known.seed().unwrap()).unwrap(),
        ),
        (
            "one that is over",
            signed(&tenants.account, json!({ "exp": now - 5 })),
            KeyPair::from_seed(&known.seed().unwrap()).unwrap(),
        ),
        (
            "one that is not yet",
            signed(&tenants.account, json!({ "nbf": now + 500 })),
            KeyPair::from_seed(&known.seed().unwrap()).unwrap(),
        ),
    ] {
        host.refuses(what, credentials(&token, &key));
    }
    let revoked = user_token(&tenants.revoked, &tenants.account, json!({}));
    host.refuses(
        "one that is revoked",
        credentials(&revoked, &tenants.revoked),
    );
    let mut changed = good.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    host.refuses("one that was changed", credentials(&changed, &known));
    host.refuses("nothing", ConnectOptions::new());
    // One that ends is let in, and then put out.
    let short = signed(&tenants.account, json!({ "exp": now + 3 }));
    host.block_on(async {
        let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
        let options = credentials(&short, &known).event_callback(move |event| {
            // Nobody listens any more when the test is over.
            let _ = sender.send(event);
            std::future::ready(())
        });
        let client = host.connect(options).await.expect("it is valid still");
        loop {
            match events.recv().await.expect("the client goes on") {
                async_nats::Event::Disconnected => break,
                _ => continue,
            }
        }
        drop(client);
    });
}

#[test]
fn over_tls() {
    let authority = Authority::new();
    let server = authority.sign("server", &["localhost"]);
    let client = authority.sign("client", &["client.example"]);
    let stranger = Authority::new().sign("client", &["client.example"]);
    let tls = |more: &str| {
        format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\"\n {more} }}\n",
            server.cert.display(),
            server.key.display(),
            authority.ca().display()
        )
    };
    let trusting = || {
        ConnectOptions::with_user_and_password("u".into(), "p".into())
            .require_tls(true)
            .add_root_certificates(authority.ca().to_owned())
    };
    let user = "authorization { user: u, password: p }";
    let host = Host::start(&(tls("") + user));
    host.lets_in("a user over TLS", trusting());
    host.refuses(
        "a wrong password over TLS",
        trusting().user_and_password("u".into(), "q".into()),
    );
    let host = Host::start(&(tls("verify: true") + user));
    let with = |own: &certificates::Identity| {
        trusting().add_client_certificate(own.cert.clone(), own.key.clone())
    };
    host.lets_in("a certificate and a password", with(&client));
    host.refuses("no certificate", trusting());
    host.refuses("the certificate of another authority", with(&stranger));
    host.refuses(
        "a certificate and a wrong password",
        with(&client).user_and_password("u".into(), "q".into()),
    );
}

#[test]
fn names_in_certificates() {
    let authority = Authority::new();
    let server = authority.sign("server", &["localhost"]);
    let known = authority.sign("known", &["known.example"]);
    let unknown = authority.sign("unknown", &["unknown.example"]);
    let host = Host::start(&format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify_and_map: true }}\n\
         authorization {{ users [ {{ user: known.example }} ] }}",
        server.cert.display(),
        server.key.display(),
        authority.ca().display()
    ));
    let with = |own: &certificates::Identity| {
        ConnectOptions::new()
            .require_tls(true)
            .add_root_certificates(authority.ca().to_owned())
            .add_client_certificate(own.cert.clone(), own.key.clone())
    };
    host.lets_in("a name in a certificate", with(&known));
    host.refuses("another name", with(&unknown));
    host.refuses(
        "another name that says it is the first",
        with(&unknown).user_and_password("known.example".into(), String::new()),
    );
}

// ---- real tools ----

/// `nats` with each mechanism: publishing, subscribing, asking, answering.
#[test]
fn the_tool_with_each_mechanism() {
    let Some(tool) = Tool::find("nats") else {
        return;
    };
    let folder = Folder::new();
    let known = KeyPair::new_user();
    let seed = folder.write("user.nk", &known.seed().unwrap());
    let stranger = folder.write("stranger.nk", &KeyPair::new_user().seed().unwrap());
    let text = format!(
        "authorization {{ users [ {{ nkey: {} }}, {{ user: u, password: p }} ] }}",
        known.public_key()
    );
    let plain = Host::start(&text);
    let inside = || ConnectOptions::with_user_and_password("u".into(), "p".into());
    tool.works(&plain, &["--user", "u", "--password", "p"], inside());
    tool.works(&plain, &["--nkey", text_of(&seed)], inside());
    tool.fails(&plain, &["--user", "u", "--password", "q"]);
    tool.fails(&plain, &["--nkey", text_of(&stranger)]);

    let tenants = Tenants::new();
    let host = tenants.host();
    let token = user_token(&known, &tenants.account, json!({}));
    let file = folder.write("user.creds", &credentials_file(&token, &known));
    let other = user_token(&known, &KeyPair::new_account(), json!({}));
    let wrong = folder.write("wrong.creds", &credentials_file(&other, &known));
    tool.works(
        &host,
        &["--creds", text_of(&file)],
        credentials(&token, &known),
    );
    tool.fails(&host, &["--creds", text_of(&wrong)]);

    let authority = Authority::new();
    let server = authority.sign("server", &["localhost"]);
    let own = authority.sign("own", &["own.example"]);
    let host = Host::start(&format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        server.cert.display(),
        server.key.display(),
        authority.ca().display()
    ));
    let ca = ["--tlsca", text_of(authority.ca())];
    let cert = [
        "--tlscert",
        text_of(&own.cert),
        "--tlskey",
        text_of(&own.key),
    ];
    let inside = ConnectOptions::new()
        .require_tls(true)
        .add_root_certificates(authority.ca().to_owned())
        .add_client_certificate(own.cert.clone(), own.key.clone());
    tool.works(&host, &[ca.as_slice(), &cert].concat(), inside);
    tool.fails(&host, &ca);
}

/// Credentials that `nats auth` has made, and what an operator does with them.
#[test]
fn credentials_made_by_the_tool() {
    let Some(tool) = Tool::find("nats") else {
        return;
    };
    let file = |name: &str| tool.folder.path(name).display().to_string();
    let [user, system, later] = ["u.creds", "s.creds", "later.creds"].map(file);
    let credential = |path: &str| format!("--credential={path}");
    for arguments in [
        vec!["auth", "operator", "add", "OP"],
        vec!["auth", "account", "add", "ACC", "--defaults"],
        vec![
            "auth",
            "user",
            "add",
            "U",
            "ACC",
            "--defaults",
            &credential(&user),
        ],
        vec![
            "auth",
            "user",
            "add",
            "S",
            "SYSTEM",
            "--defaults",
            &credential(&system),
        ],
    ] {
        tool.succeeds(&arguments);
    }
    let store = tool.folder.path("data/nats/nsc/stores/OP");
    let read = |path: &str| {
        let path = store.join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let system_token = read("accounts/SYSTEM/SYSTEM.jwt");
    let tokens = [system_token.clone(), read("accounts/ACC/ACC.jwt")];
    let host = Host::start(&operated_by(
        &read("OP.jwt"),
        &subject_of(&system_token),
        &tokens,
    ));
    // An account that the server was not told of.
    tool.succeeds(&["auth", "account", "add", "LATER", "--defaults"]);
    tool.succeeds(&[
        "auth",
        "user",
        "add",
        "L",
        "LATER",
        "--defaults",
        &credential(&later),
    ]);
    tool.fails(&host, &["--creds", &later]);
    let name = host.server_name();
    for (creds, arguments, expected) in [
        (&user, vec!["account", "info"], "Account: "),
        (&user, vec!["pub", "a", "hello"], ""),
        (
            &user,
            vec![
                "bench",
                "pub",
                "a",
                "--msgs",
                "2000",
                "--size",
                "16",
                "--no-progress",
            ],
            "msgs/sec",
        ),
        (&system, vec!["server", "ping", "1"], "rtt"),
        (&system, vec!["server", "info"], &name),
        (&system, vec!["server", "list", "1"], &name),
        (
            &system,
            vec!["server", "report", "connections"],
            "Connection",
        ),
        (&system, vec!["server", "report", "accounts"], "Account"),
        (
            &system,
            vec!["server", "request", "variables"],
            "\"auth_required\":true",
        ),
        (
            &system,
            vec!["server", "request", "connections"],
            "\"num_connections\":",
        ),
    ] {
        let output = tool.asks(&host, &["--creds", creds], &arguments);
        let said = said(&output);
        assert!(
            output.status.success() && said.contains(expected),
            "{arguments:?}: {said}"
        );
    }
}

/// A whole configuration that `nsc` has made, with its accounts in it.
#[test]
fn a_configuration_made_by_nsc() {
    let Some(tool) = Tool::find("nsc") else {
        return;
    };
    let config = tool.folder.path("server.conf");
    for arguments in [
        vec!["add", "operator", "--sys", "-n", "OP"],
        vec!["add", "account", "-n", "ACC"],
        vec![
            "add",
            "user",
            "-a",
            "ACC",
            "-n",
            "U",
            "--deny-pub",
            "secret.>",
        ],
        vec![
            "generate",
            "config",
            "--mem-resolver",
            "--config-file",
            text_of(&config),
        ],
    ] {
        tool.succeeds(&arguments);
    }
    let creds = tool.output(&["generate", "creds", "-a", "ACC", "-n", "U"]);
    let creds = String::from_utf8(creds.stdout).unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let host = Host::start(&text);
    host.lets_in(
        "a user of nsc",
        ConnectOptions::with_credentials(&creds).unwrap(),
    );
    host.refuses("nothing", ConnectOptions::new());
}

/// nats-py with each mechanism.
#[test]
fn another_language() {
    let folder = Folder::new();
    let known = KeyPair::new_user();
    let seed = folder.write("user.nk", &known.seed().unwrap());
    let stranger = folder.write("stranger.nk", &KeyPair::new_user().seed().unwrap());
    let plain = Host::start(&format!(
        "authorization {{ users [ {{ nkey: {} }}, {{ user: u, password: p }} ] }}",
        known.public_key()
    ));
    let token_host = Host::start("authorization { token: t }");
    let tenants = Tenants::new();
    let operated = tenants.host();
    let token = user_token(&known, &tenants.account, json!({}));
    let good = folder.write("user.creds", &credentials_file(&token, &known));
    let other = user_token(&known, &KeyPair::new_account(), json!({}));
    let wrong = folder.write("wrong.creds", &credentials_file(&other, &known));
    let authority = Authority::new();
    let server = authority.sign("server", &["localhost"]);
    let own = authority.sign("own", &["own.example"]);
    let secured = Host::start(&format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify_and_map: true }}\n\
         authorization {{ users [ {{ user: own.example }} ] }}",
        server.cert.display(),
        server.key.display(),
        authority.ca().display()
    ));
    let ca = authority.ca();
    for (host, how, expected) in [
        (&plain, json!({ "user": "u", "password": "p" }), "in"),
        (&plain, json!({ "user": "u", "password": "q" }), "refused"),
        (&plain, json!({ "nkeys_seed": seed }), "in"),
        (&plain, json!({ "nkeys_seed": stranger }), "refused"),
        (&token_host, json!({ "token": "t" }), "in"),
        (&token_host, json!({ "token": "x" }), "refused"),
        (&operated, json!({ "user_credentials": good }), "in"),
        (&operated, json!({ "user_credentials": wrong }), "refused"),
        (
            &secured,
            json!({ "ca": ca, "cert": own.cert, "key": own.key }),
            "in",
        ),
        (&secured, json!({ "ca": ca }), "refused"),
    ] {
        let mut how = how;
        how["url"] = host.url().into();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nats_py.py");
        let output = Command::new("python3")
            .arg(script)
            .arg(how.to_string())
            .output();
        let Ok(output) = output else {
            return missing("python3");
        };
        let said = said(&output);
        if said.starts_with("missing") {
            return missing("nats-py (with nkeys)");
        }
        assert!(said.starts_with(expected), "{how}: {said}");
    }
}

// ---- servers and clients ----

/// A server and what asks it.
struct Host {
    server: Server,
    runtime: Runtime,
    is_secure: bool,
}

impl Host {
    fn start(text: &str) -> Self {
        let server = Server::configured(text).unwrap_or_else(|log| panic!("{log}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let is_secure = text.contains("tls {");
        Self {
            server,
            runtime,
            is_secure,
        }
    }

    fn url(&self) -> String {
        let port = self.server.address().port();
        match self.is_secure {
            true => format!("tls://localhost:{port}"),
            false => format!("nats://127.0.0.1:{port}"),
        }
    }

    fn server_name(&self) -> String {
        let (info, _) = self.block_on(async {
            let stream = tokio::net::TcpStream::connect(self.server.address())
                .await
                .unwrap();
            let mut reader = tokio::io::BufReader::new(stream);
            let mut line = String::new();
            tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line)
                .await
                .unwrap();
            (line, reader)
        });
        let info: Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
        info["server_name"].as_str().unwrap().to_owned()
    }

    fn block_on<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime
            .block_on(async { tokio::time::timeout(4 * PATIENCE, what).await })
            .expect("it takes not that long")
    }

    async fn connect(&self, options: ConnectOptions) -> Result<Client, async_nats::ConnectError> {
        let options = options
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE));
        options.connect(self.url()).await
    }

    /// It connects, and what it publishes comes back.
    #[track_caller]
    fn lets_in(&self, what: &str, options: ConnectOptions) {
        self.block_on(async {
            let client = self.connect(options).await;
            let client = client.unwrap_or_else(|error| panic!("{what} is refused: {error}"));
            let mut messages = client.subscribe("echo").await.unwrap();
            client.publish("echo", "hello".into()).await.unwrap();
            let message = messages.next().await.expect("it comes back");
            assert_eq!(message.payload, "hello", "{what}");
        });
    }

    #[track_caller]
    fn refuses(&self, what: &str, options: ConnectOptions) {
        let outcome = self.block_on(self.connect(options));
        assert!(outcome.is_err(), "{what} gets in");
    }
}

/// An operator with one account beside that of the system.
struct Tenants {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
    revoked: KeyPair,
}

impl Tenants {
    fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
            revoked: KeyPair::new_user(),
        }
    }

    fn host(&self) -> Host {
        let nats =
            json!({ "type": "operator", "version": 2, "system_account": self.system.public_key() });
        let operator = token(&self.operator, &self.operator.public_key(), nats, json!({}));
        let account = |key: &KeyPair, revoked: &[&KeyPair]| {
            let revoked: BTreeMap<_, _> = revoked
                .iter()
                .map(|key| (key.public_key(), unix_s() + 60))
                .collect();
            let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                "wildcards": true, "conn": -1, "leaf": -1 });
            let nats = json!({ "type": "account", "version": 2, "limits": limits, "revocations": revoked });
            token(&self.operator, &key.public_key(), nats, json!({}))
        };
        let tokens = [
            account(&self.account, &[&self.revoked]),
            account(&self.system, &[]),
        ];
        Host::start(&operated_by(&operator, &self.system.public_key(), &tokens))
    }
}

/// A configuration with an operator and the tokens of its accounts.
fn operated_by(operator: &str, system: &str, accounts: &[String]) -> String {
    let preload: String = accounts
        .iter()
        .map(|token| format!("  {}: \"{}\"\n", subject_of(token), token.trim()))
        .collect();
    let operator = operator.trim();
    format!(
        "operator: \"{operator}\"\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload {{\n{preload}}}\n"
    )
}

fn user_token(user: &KeyPair, by: &KeyPair, more: Value) -> String {
    let nats = json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    token(by, &user.public_key(), nats, more)
}

/// A signed token, as the Go library makes them.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write the values in place"
)]
fn token(by: &KeyPair, subject: &str, nats: Value, more: Value) -> String {
    let mut claims = json!({ "jti": "of a test", "iat": unix_s() - 10, "iss": by.public_key(), "name": "test",
        "sub": subject, "nats": nats });
    for (key, value) in more.as_object().unwrap() {
        claims[key] = value.clone();
    }
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" }).to_string();
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let text = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let signature = by.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", encode(&signature))
}

fn subject_of(token: &str) -> String {
    let claims = token.split('.').nth(1).expect("a token has three parts");
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["sub"].as_str().unwrap().to_owned()
}

fn credentials_file(token: &str, user: &KeyPair) -> String {
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

fn credentials(token: &str, user: &KeyPair) -> ConnectOptions {
    ConnectOptions::with_credentials(&credentials_file(token, user)).unwrap()
}

fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A program that may be installed, with folders of its own.
struct Tool {
    name: &'static str,
    folder: Folder,
}

impl Tool {
    fn find(name: &'static str) -> Option<Self> {
        let is_there = Command::new(name).arg("--version").output().is_ok();
        if !is_there {
            missing(name);
            return None;
        }
        let folder = Folder::new();
        Some(Self { name, folder })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.name);
        command
            .env("HOME", self.folder.path("home"))
            .env("XDG_DATA_HOME", self.folder.path("data"))
            .env("XDG_CONFIG_HOME", self.folder.path("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.args(arguments).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    }

    fn at(&self, host: &Host, who: &[&str]) -> Command {
        let mut command = self.command();
        command
            .args(["--no-context", "--timeout", "5s", "--server", &host.url()])
            .args(who);
        command
    }

    fn asks(&self, host: &Host, who: &[&str], arguments: &[&str]) -> Output {
        let mut command = self.at(host, who);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.args(arguments).output().unwrap()
    }

    /// It publishes, subscribes, asks and answers; `inside` are options of a client that is in the same account.
    #[track_caller]
    fn works(&self, host: &Host, who: &[&str], inside: ConnectOptions) {
        host.block_on(async {
            let client = host.connect(inside).await.unwrap();
            let mut published = client.subscribe("tool.pub").await.unwrap();
            let mut asked = client.subscribe("tool.req").await.unwrap();
            // A message of one's own is a round trip.
            client.publish("tool.pub", "ready".into()).await.unwrap();
            published.next().await.expect("it comes back");
            let mut publish = self.at(host, who);
            let publish = publish.args(["pub", "tool.pub", "hello"]).spawn();
            assert_eq!(published.next().await.unwrap().payload, "hello");
            assert!(publish.unwrap().wait().unwrap().success());

            let mut request = self.at(host, who);
            let request = request.args(["req", "tool.req", "question", "--raw"]);
            let request = request.stdout(Stdio::piped()).spawn().unwrap();
            let message = asked.next().await.unwrap();
            assert_eq!(message.payload, "question");
            client
                .publish(message.reply.unwrap(), "answer".into())
                .await
                .unwrap();
            client.flush().await.unwrap();
            let output = request.wait_with_output().unwrap();
            assert!(said(&output).contains("answer"), "{}", said(&output));

            let mut reply = self.at(host, who);
            let mut reply = reply
                .args(["reply", "tool.reply", "reply", "--count", "1"])
                .spawn()
                .unwrap();
            assert_eq!(
                until_answered(&client, "tool.reply").await.unwrap(),
                "reply"
            );
            reply.kill().unwrap();
            reply.wait().unwrap();

            let mut listen = self.at(host, who);
            let listen = listen.args(["sub", "tool.sub", "--count", "1", "--raw"]);
            let listen = listen.stdout(Stdio::piped()).spawn().unwrap();
            // Nobody answers, but then somebody has heard it.
            assert_eq!(until_answered(&client, "tool.sub").await, None);
            let output = listen.wait_with_output().unwrap();
            assert!(said(&output).contains("are you there"), "{}", said(&output));
        });
    }

    #[track_caller]
    fn fails(&self, host: &Host, who: &[&str]) {
        let output = self.asks(host, who, &["pub", "tool.pub", "hello"]);
        assert!(!output.status.success(), "{who:?}: {}", said(&output));
    }
}

/// Asks until there is somebody who listens, for as long as a test may take; its answer, or `None` if it gives none.
async fn until_answered(client: &Client, subject: &'static str) -> Option<String> {
    loop {
        let request = async_nats::Request::new()
            .payload("are you there".into())
            .timeout(Some(Duration::from_millis(500)));
        match client.send_request(subject, request).await {
            Ok(message) => return Some(String::from_utf8_lossy(&message.payload).into_owned()),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                tokio::task::yield_now().await;
            }
            Err(_) => return None,
        }
    }
}

/// All that it has written.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// Past the capture of the test harness, so that it is seen when tests pass.
fn missing(what: &str) {
    let _ = writeln!(std::io::stderr(), "NOT TESTED: there is no {what} here");
}
