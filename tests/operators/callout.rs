//! Services that decide who may connect (ADR-26), with a service that the test plays.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use skein::auth::nkey::{KeyKind, PublicKey, SigningKey};
use skein::auth::xkey::CurveKey;

use crate::harness::Server;
use crate::scene::{
    Client, account, account_token, config, key, now, token, user, user_token, user_token_by,
};
use crate::{VIOLATION, outcome};

/// What the service does about the user that a question is about.
#[derive(Clone)]
struct Verdict {
    /// Over the claims of the user.
    user: Value,
    /// Over the answer.
    answer: Value,
    issuer: u8,
    signer: u8,
}

impl Verdict {
    /// Puts the user in an account.
    fn place(account: &str) -> Self {
        Self {
            user: json!({"aud": account}),
            answer: json!({}),
            issuer: 9,
            signer: 9,
        }
    }
}

/// The content of a token, without verifying it.
fn content(token: &[u8]) -> Value {
    let body = token.split(|&b| b == b'.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(body).unwrap()).unwrap()
}

/// Answers questions as `decide` says for the user name or token that was presented, until the
/// server is gone; the questions' contents come back. `None` is silence.
fn serve(
    mut service: Client,
    curve: Option<u8>,
    decide: impl Fn(&str) -> Option<Verdict> + Send + 'static,
) -> JoinHandle<Vec<Value>> {
    service.subscribe("$SYS.REQ.USER.AUTH");
    thread::spawn(move || {
        let mut questions = Vec::new();
        while let Some((_, reply, headers, body)) = service.message() {
            let curve = curve.map(|seed| CurveKey::from_seed([seed; 32]));
            let server = headers
                .lines()
                .find_map(|line| line.strip_prefix("Nats-Server-Xkey: "))
                .and_then(|key| PublicKey::parse(key.trim()));
            let question = match (&curve, &server) {
                (Some(curve), Some(server)) => content(&curve.open(&body, server).unwrap()),
                (None, None) => content(&body),
                _ => panic!("sealed or not: {headers:?}"),
            };
            let options = &question["nats"]["connect_opts"];
            let shown = ["user", "auth_token", "name"].map(|name| options[name].as_str());
            let shown = shown
                .into_iter()
                .flatten()
                .next()
                .unwrap_or_default()
                .to_owned();
            if let Some(verdict) = decide(&shown) {
                let answer = answer(&question, &verdict).into_bytes();
                let answer = match (&curve, &server) {
                    (Some(curve), Some(server)) => curve.seal(&answer, server, [7; 24]).unwrap(),
                    _ => answer,
                };
                service.say_bytes(&reply, &answer);
            }
            questions.push(question);
        }
        questions
    })
}

fn answer(question: &Value, verdict: &Verdict) -> String {
    let subject = &question["nats"]["user_nkey"];
    let issuer = key(KeyKind::Account, verdict.issuer);
    let body = json!({"sub": subject, "nats": {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}});
    let jwt = token(body, &verdict.user, now(), &issuer);
    let body = json!({"sub": subject, "aud": question["nats"]["server_id"]["id"],
        "nats": {"type": "authorization_response", "version": 2, "jwt": jwt}});
    token(
        body,
        &verdict.answer,
        now(),
        &key(KeyKind::Account, verdict.signer),
    )
}

fn by_name(address: SocketAddr, name: &str) -> Result<Client, String> {
    Client::connect(address, |_| json!({"user": name, "pass": "pw"}))
}

/// The verdict on a name, as the tests have it.
fn verdict(name: &str) -> Option<Verdict> {
    let mut verdict = Verdict::place("A");
    match name {
        "alice" => {}
        "limited" => {
            verdict.user = json!({"aud": "A", "name": "renamed",
                "nats": {"pub": {"allow": ["ok.>"]}}});
        }
        "denied" => verdict.answer = json!({"nats": {"jwt": "", "error": "go away"}}),
        "nowhere" => verdict.user = json!({"aud": "NOWHERE"}),
        "unplaced" => verdict.user = json!({}),
        "wrong issuer" => (verdict.issuer, verdict.signer) = (8, 8),
        "wrong server" => verdict.answer = json!({"aud": account(9)}),
        "wrong user" => verdict.user = json!({"aud": "A", "sub": user(50)}),
        "expired" => verdict.user = json!({"aud": "A", "exp": now() - 10}),
        _ => return None,
    }
    Some(verdict)
}

fn configured(more: &str) -> Server {
    let issuer = account(9);
    let text = format!(
        "accounts {{ AUTH {{ users [{{ user: auth, password: pw }}] }}, A {{}} }}\n\
         authorization {{ timeout: 1, auth_callout {{ issuer: {issuer}, account: AUTH, auth_users: [auth] {more} }} }}\n"
    );
    Server::configured(&text).unwrap()
}

#[test]
fn a_service_of_the_configuration() {
    for curve in [None, Some(10)] {
        let xkey = curve.map(|seed| CurveKey::from_seed([seed; 32]).public());
        let more = xkey
            .map(|xkey| format!(", xkey: {xkey}"))
            .unwrap_or_default();
        let server = configured(&more);
        // Nobody is there to answer.
        assert_eq!(
            by_name(server.address(), "alice").err().as_deref(),
            Some(VIOLATION)
        );
        let service = by_name(server.address(), "auth").unwrap();
        let questions = serve(service, curve, verdict);
        let names = [
            ("alice", "in"),
            ("denied", VIOLATION),
            ("nowhere", VIOLATION),
            ("unplaced", VIOLATION),
            ("wrong issuer", VIOLATION),
            ("wrong server", VIOLATION),
            ("wrong user", VIOLATION),
            ("expired", VIOLATION),
            ("silence", VIOLATION),
        ];
        for (name, expected) in names {
            let got = by_name(server.address(), name);
            let got = got.map(|_| "in".to_owned()).unwrap_or_else(|error| error);
            assert_eq!(got, expected, "{name} {curve:?}");
        }
        let mut limited = by_name(server.address(), "limited").unwrap();
        let mut alice = by_name(server.address(), "alice").unwrap();
        alice.subscribe("ok.x");
        limited.publish("ok.x", "hello");
        limited.flush().unwrap();
        assert_eq!(alice.message().unwrap().3, b"hello");
        limited.publish("no", "");
        assert_eq!(
            limited.flush().unwrap_err(),
            "-ERR 'Permissions Violation for Publish to \"no\"'"
        );
        // Two at once, and one after the other.
        let address = server.address();
        let both =
            ["alice", "limited"].map(|name| thread::spawn(move || by_name(address, name).is_ok()));
        assert_eq!(both.map(|one| one.join().unwrap()), [true; 2]);
        drop(server);
        let questions = questions.join().unwrap();
        let first = &questions[0]["nats"];
        assert_eq!(first["type"], "authorization_request");
        assert_eq!(first["connect_opts"]["pass"], "pw");
        assert_eq!(first["client_info"]["host"], "127.0.0.1");
        assert_eq!(first["client_info"]["kind"], "Client");
        assert_eq!(questions[0]["iss"], first["server_id"]["id"]);
        assert_eq!(questions[0]["aud"], "nats-authorization-request");
        assert_eq!(first["server_id"]["xkey"].is_string(), curve.is_some());
    }
}

#[test]
fn a_service_of_an_account() {
    // Account 5 has a service, which is user 55 of it; it may put users into account 6.
    let five = account_token(
        5,
        json!({"nats": {"authorization": {"auth_users": [user(55)], "allowed_accounts": [account(6)]}}}),
    );
    let server = Server::configured(
        &(config(
            "MEMORY",
            &[
                (2, &account_token(2, json!({}))),
                (5, &five),
                (6, &account_token(6, json!({}))),
                (7, &account_token(7, json!({}))),
            ],
        ) + "authorization { timeout: 1 }\n"),
    )
    .unwrap();
    let service = Client::user(server.address(), &user_token(5, 55, json!({})), 55).unwrap();
    let decide = |name: &str| {
        let (issuer, signer) = match name {
            "here" => (5, 5),
            "elsewhere" => (6, 5),
            "too far" => (7, 5),
            "wrong signer" => (6, 6),
            _ => return None,
        };
        Some(Verdict {
            user: json!({"name": name}),
            answer: json!({}),
            issuer,
            signer,
        })
    };
    let questions = serve(service, None, decide);
    // Who may ask is a bearer of account 5 that may do nothing.
    let sentinel = user_token(
        5,
        50,
        json!({"nats": {"bearer_token": true, "pub": {"deny": [">"]}, "sub": {"deny": [">"]}}}),
    );
    let connect =
        |name: &str| Client::connect(server.address(), |_| json!({"jwt": sentinel, "name": name}));
    let cases = [
        ("here", "in"),
        ("elsewhere", "in"),
        ("too far", VIOLATION),
        ("wrong signer", VIOLATION),
        ("silence", VIOLATION),
    ];
    for (name, expected) in cases {
        let got = connect(name).map(|_| "in".to_owned());
        assert_eq!(got.unwrap_or_else(|error| error), expected, "{name}");
    }
    // It is in the account that it was put into.
    let mut there = Client::user(server.address(), &user_token(6, 60, json!({})), 60).unwrap();
    there.subscribe("x");
    let mut client = connect("elsewhere").unwrap();
    client.publish("x", "hello");
    assert_eq!(there.message().unwrap().3, b"hello");
    // Others are not asked about.
    assert_eq!(outcome(&server, &user_token(7, 50, json!({})), 50), "in");
    let stranger: SigningKey = key(KeyKind::Account, 77);
    assert_eq!(
        outcome(&server, &user_token_by(&stranger, 50, json!({})), 50),
        VIOLATION
    );
    drop(server);
    let questions = questions.join().unwrap();
    assert_eq!(questions[0]["sub"], account(5));
    assert_eq!(questions[0]["nats"]["connect_opts"]["jwt"], sentinel);
}
