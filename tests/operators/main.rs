//! A server with operators: accounts and users that show claims, from every kind of resolver;
//! changes of claims while it runs; services that decide who may connect.
//!
//! With a nats-server in `NATS_SERVER_BIN` the same is expected of it.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as expected"
)]

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../harness/mod.rs"]
mod harness;

mod callout;
mod scene;
mod streams;

use harness::{Directory, Server, is_nats_server};
use scene::{
    ClaimsServer, Client, account, account_token, account_token_by, config, key, now, token, user,
    user_token, user_token_by,
};
use serde_json::{Value, json};
use skein::auth::nkey::KeyKind;

const VIOLATION: &str = "-ERR 'Authorization Violation'";

/// What becomes of a connection with this token.
fn outcome(server: &Server, jwt: &str, seed: u8) -> String {
    match Client::user(server.address(), jwt, seed) {
        Ok(_) => "in".to_owned(),
        Err(error) => error,
    }
}

/// A client of the system account.
fn system(server: &Server) -> Client {
    Client::user(server.address(), &user_token(2, 20, json!({})), 20).unwrap()
}

fn update(system: &mut Client, seed: u8, token: &str) -> Value {
    let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", account(seed));
    system.ask(&subject, token)
}

fn assert_updated(answer: &Value, seed: u8) {
    assert_eq!(
        answer["data"],
        json!({"account": account(seed), "code": 200, "message": "jwt updated"}),
        "{answer}"
    );
}

/// A directory with a resolver of this type and the system account.
fn kept(directory: &Directory, kind: &str, more: &str, preload: &[(u8, &str)]) -> Server {
    let path = directory.path().join("jwt");
    let resolver = format!("{{ type: {kind}, dir: \"{}\" {more} }}", path.display());
    let system = account_token(2, json!({}));
    let mut all = vec![(2, system.as_str())];
    all.extend_from_slice(preload);
    Server::configured(&config(&resolver, &all)).unwrap()
}

#[test]
fn users_of_accounts_in_the_configuration() {
    let signing = key(KeyKind::Account, 51);
    let scoped = key(KeyKind::Account, 52);
    let template = json!({"pub": {"allow": ["a.{{name()}}"]}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
    let of_5 = account_token(
        5,
        json!({"nats": {"limits": {"payload": 10}, "signing_keys": [
            signing.public().to_string(),
            {"kind": "user_scope", "key": scoped.public().to_string(), "role": "r", "template": template},
        ]}}),
    );
    let strangers = account_token_by(&key(KeyKind::Operator, 9), 6, json!({}));
    let no_bearers = account_token(7, json!({"nats": {"limits": {"disallow_bearer": true}}}));
    let one = account_token(8, json!({"nats": {"limits": {"conn": 1, "subs": 1}}}));
    let server = Server::configured(&config(
        "MEMORY",
        &[
            (2, &account_token(2, json!({}))),
            (5, &of_5),
            (6, &strangers),
            (7, &no_bearers),
            (8, &one),
        ],
    ))
    .unwrap();
    let of_account = json!({"nats": {"issuer_account": account(5)}});
    let bearer = json!({"nats": {"bearer_token": true}});
    let by_scope = json!({"sub": user(50), "name": "x", "nats": {"type": "user", "version": 2,
        "pub": {}, "sub": {}, "issuer_account": account(5)}});
    let by_scope = token(by_scope, &json!({}), now(), &scoped);
    let cases = [
        ("a user", user_token(5, 50, json!({})), 50, "in"),
        (
            "somebody else's token",
            user_token(5, 50, json!({})),
            53,
            VIOLATION,
        ),
        (
            "a bearer's token",
            user_token(5, 50, bearer.clone()),
            53,
            "in",
        ),
        (
            "by a signing key",
            user_token_by(&signing, 50, of_account.clone()),
            50,
            "in",
        ),
        (
            "by a signing key without its account",
            user_token_by(&signing, 50, json!({})),
            50,
            VIOLATION,
        ),
        ("by a role", by_scope.clone(), 50, "in"),
        (
            "with more than its role",
            user_token_by(&scoped, 50, of_account.clone()),
            50,
            VIOLATION,
        ),
        (
            "by another account's key",
            user_token(8, 50, of_account),
            50,
            VIOLATION,
        ),
        (
            "of an account of a stranger",
            user_token(6, 50, json!({})),
            50,
            VIOLATION,
        ),
        (
            "of no account",
            user_token(77, 50, json!({})),
            50,
            VIOLATION,
        ),
        (
            "a bearer where there are none",
            user_token(7, 50, bearer),
            50,
            VIOLATION,
        ),
        ("no token", "x".to_owned(), 50, VIOLATION),
        (
            "another key's signature",
            user_token(5, 50, json!({})).replace("eyJ0", "eyJ1"),
            50,
            VIOLATION,
        ),
    ];
    for (what, jwt, seed, expected) in cases {
        assert_eq!(outcome(&server, &jwt, seed), expected, "{what}");
    }
    // A role's permissions, and limits of an account.
    let mut client = Client::user(server.address(), &by_scope, 50).unwrap();
    client.publish("a.x", "");
    client.flush().unwrap();
    client.publish("b", "");
    assert_eq!(
        client.flush().unwrap_err(),
        "-ERR 'Permissions Violation for Publish to \"b\"'"
    );
    let mut client = Client::user(server.address(), &user_token(5, 50, json!({})), 50).unwrap();
    client.publish("b", "12345678901");
    assert_eq!(
        client.flush().unwrap_err(),
        "-ERR 'Maximum Payload Violation'"
    );
    let jwt = user_token(8, 50, json!({}));
    let mut first = Client::user(server.address(), &jwt, 50).unwrap();
    assert_eq!(
        outcome(&server, &jwt, 50),
        "-ERR 'maximum account active connections exceeded'"
    );
    first.say("SUB a 1\r\nSUB b 2");
    assert_eq!(
        first.flush().unwrap_err(),
        "-ERR 'maximum subscriptions exceeded'"
    );
}

/// CVE-2020-26892: credentials that have expired must not work, nor go on working.
#[test]
fn cve_2020_26892_expired_credentials() {
    let soon = now() + 3;
    let ends = account_token(6, json!({"exp": soon}));
    let ended = account_token(7, json!({"exp": now() - 5}));
    let system = account_token(2, json!({}));
    let server = Server::configured(&config(
        "MEMORY",
        &[
            (2, &system),
            (5, &account_token(5, json!({}))),
            (6, &ends),
            (7, &ended),
        ],
    ))
    .unwrap();
    let cases = [
        (
            "an expired user",
            user_token(5, 50, json!({"exp": now() - 5})),
            VIOLATION,
        ),
        (
            "a user of tomorrow",
            user_token(5, 50, json!({"nbf": now() + 5000})),
            VIOLATION,
        ),
        (
            "of an expired account",
            user_token(7, 50, json!({})),
            VIOLATION,
        ),
    ];
    for (what, jwt, expected) in cases {
        assert_eq!(outcome(&server, &jwt, 50), expected, "{what}");
    }
    let jwt = user_token(6, 50, json!({}));
    let mut of_account = Client::user(server.address(), &jwt, 50).unwrap();
    let jwt_of_user = user_token(5, 50, json!({"exp": soon}));
    let mut of_user = Client::user(server.address(), &jwt_of_user, 50).unwrap();
    assert_eq!(of_user.last_word(), "-ERR 'User Authentication Expired'");
    assert_eq!(
        of_account.last_word(),
        "-ERR 'Account Authentication Expired'"
    );
    assert_eq!(outcome(&server, &jwt, 50), VIOLATION);
    // In the second in which it ends, nats-server may let it in and out again.
    if !is_nats_server() {
        assert_eq!(outcome(&server, &jwt_of_user, 50), VIOLATION);
    }
}

#[test]
fn claims_from_an_address() {
    let claims = ClaimsServer::start();
    let publish = |seed: u8, token: String| {
        claims.tokens.lock().unwrap().insert(account(seed), token);
    };
    publish(2, account_token(2, json!({})));
    publish(5, account_token(5, json!({})));
    publish(
        6,
        account_token_by(&key(KeyKind::Operator, 9), 6, json!({})),
    );
    publish(7, account_token(5, json!({})));
    let resolver = format!("URL(\"http://{}/jwt/v1/accounts/\")", claims.address);
    let server = Server::configured(&config(&resolver, &[])).unwrap();
    let asked = claims.asked.lock().unwrap().clone();
    assert_eq!(asked[0], "/jwt/v1/accounts/", "whether anybody is there");
    let cases = [(5, "in"), (6, VIOLATION), (7, VIOLATION), (8, VIOLATION)];
    for (seed, expected) in cases {
        let jwt = user_token(seed, 50, json!({}));
        assert_eq!(outcome(&server, &jwt, 50), expected, "{seed}");
    }
    // One that is in use can be replaced; of another nothing is known.
    let mut system = system(&server);
    let smaller = account_token(5, json!({"nats": {"limits": {"payload": 5}}}));
    let mut client = Client::user(server.address(), &user_token(5, 50, json!({})), 50).unwrap();
    assert_updated(&update(&mut system, 5, &smaller), 5);
    client.flush().unwrap();
    client.publish("a", "123456");
    assert_eq!(
        client.flush().unwrap_err(),
        "-ERR 'Maximum Payload Violation'"
    );
    let skipped = update(&mut system, 9, &account_token(9, json!({})));
    assert_eq!(skipped["data"]["message"], "jwt update skipped");
    let other = update(&mut system, 5, &account_token(9, json!({})));
    assert_eq!(
        other["error"],
        json!({"account": account(5), "code": 500,
            "description": "jwt update resulted in error - subject does not match jwt content"})
    );
    drop(server);
    // An address where nobody is, and accounts that could not be kept there.
    let nobody = "URL(\"http://127.0.0.1:1/\")";
    assert!(Server::configured(&config(nobody, &[])).is_err());
    let token = account_token(5, json!({}));
    assert!(Server::configured(&config(&resolver, &[(5, &token)])).is_err());
}

#[test]
fn all_claims_in_a_directory() {
    let directory = Directory::new();
    let server = kept(&directory, "full", ", allow_delete: true", &[]);
    let mut system = system(&server);
    let jwt = user_token(5, 50, json!({}));
    assert_eq!(outcome(&server, &jwt, 50), VIOLATION);
    let first = account_token(5, json!({}));
    let pushed = system.ask("$SYS.REQ.CLAIMS.UPDATE", &first);
    assert_updated(&pushed, 5);
    assert!(pushed["server"]["id"].as_str().unwrap().starts_with('N'));
    let path = directory
        .path()
        .join("jwt")
        .join(format!("{}.jwt", account(5)));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
    assert_eq!(outcome(&server, &jwt, 50), "in");

    // Reading.
    let lookup = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.LOOKUP", account(5));
    assert_eq!(system.request(&lookup, "").unwrap(), first.as_bytes());
    let lookup = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.LOOKUP", account(6));
    assert_eq!(system.request(&lookup, "").unwrap(), b"");
    let list = system.ask("$SYS.REQ.CLAIMS.LIST", "");
    let mut listed: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    listed.sort_unstable();
    let mut expected = [account(2), account(5)];
    expected.sort_unstable();
    assert_eq!(listed, expected);
    system.subscribe("pack");
    system.say("PUB $SYS.REQ.CLAIMS.PACK pack 0\r\n");
    let mut packed = Vec::new();
    loop {
        let (_, _, _, body) = system.message().unwrap();
        match body.as_slice() {
            [] => break,
            body => packed.push(String::from_utf8(body.to_vec()).unwrap()),
        }
    }
    assert_eq!(packed.len(), 2);
    assert!(packed.contains(&format!("{}|{first}", account(5))));

    // A user is revoked, a limit is lowered, connections are too many.
    let mut revoked = Client::user(server.address(), &jwt, 50).unwrap();
    let other = user_token(5, 51, json!({}));
    let mut stays = Client::user(server.address(), &other, 51).unwrap();
    let claims = json!({"nats": {"revocations": {user(50): now()}, "limits": {"payload": 5}}});
    let old = format!("$SYS.ACCOUNT.{}.CLAIMS.UPDATE", account(5));
    assert_updated(&system.ask(&old, &account_token(5, claims)), 5);
    assert_eq!(revoked.last_word(), "-ERR 'User Authentication Revoked'");
    assert_eq!(outcome(&server, &jwt, 50), VIOLATION);
    stays.flush().unwrap();
    stays.publish("a", "123456");
    assert_eq!(
        stays.flush().unwrap_err(),
        "-ERR 'Maximum Payload Violation'"
    );
    let mut stays = Client::user(server.address(), &other, 51).unwrap();
    let none = json!({"nats": {"limits": {"conn": 0}}});
    assert_updated(&update(&mut system, 5, &account_token(5, none)), 5);
    assert_eq!(
        stays.last_word(),
        "-ERR 'maximum account active connections exceeded'"
    );

    // The end of an account can be put off; then it comes.
    let soon = account_token(5, json!({"exp": now() + 2}));
    assert_updated(&update(&mut system, 5, &soon), 5);
    let mut client = Client::user(server.address(), &jwt, 50).unwrap();
    let at = now() + 4;
    let later = account_token(5, json!({"exp": at}));
    assert_updated(&update(&mut system, 5, &later), 5);
    assert_eq!(client.last_word(), "-ERR 'Account Authentication Expired'");
    assert!(now() >= at, "not at its first end");
    assert_eq!(outcome(&server, &jwt, 50), VIOLATION);
    assert_updated(&update(&mut system, 5, &account_token(5, json!({}))), 5);
    assert_eq!(outcome(&server, &jwt, 50), "in");

    // Deleting is for operators.
    let request = |issuer: &skein::auth::nkey::SigningKey, accounts: &[String]| {
        let subject = issuer.public().to_string();
        let body = json!({"sub": subject, "nats": {"accounts": accounts, "type": "generic", "version": 2}});
        token(body, &json!({}), now(), issuer)
    };
    let operator = key(KeyKind::Operator, 1);
    let refusals = [
        (
            request(&key(KeyKind::Operator, 9), &[account(5)]),
            "not trusted",
        ),
        (
            request(&key(KeyKind::Account, 5), &[account(5)]),
            "not trusted",
        ),
        (
            request(&operator, &[account(2)]),
            "not allowed to delete system account",
        ),
        (request(&operator, &["x".to_owned()]), "malformed request"),
    ];
    let mut client = Client::user(server.address(), &jwt, 50).unwrap();
    for (body, why) in refusals {
        let answer = system.ask("$SYS.REQ.CLAIMS.DELETE", &body);
        let text = answer["error"]["description"].as_str().unwrap_or_default();
        assert!(text.ends_with(&format!("failed - {why}")), "{answer}");
    }
    client.flush().unwrap();
    let answer = system.ask("$SYS.REQ.CLAIMS.DELETE", &request(&operator, &[account(5)]));
    assert_eq!(
        answer["data"],
        json!({"code": 200, "message": "deleted 1 accounts"})
    );
    assert_eq!(client.last_word(), "-ERR 'Account Authentication Expired'");
    assert!(!path.exists());

    // Another server finds what is there.
    assert_updated(&update(&mut system, 5, &account_token(5, json!({}))), 5);
    drop(server);
    let server = kept(&directory, "full", "", &[]);
    assert_eq!(outcome(&server, &jwt, 50), "in");
}

/// CVE-2022-28357: what comes as the name of an account becomes part of a path.
#[test]
fn cve_2022_28357_names_that_lead_elsewhere() {
    let directory = Directory::new();
    let secret = account_token(6, json!({}));
    directory.write("secret.jwt", &secret);
    let server = kept(&directory, "full", ", allow_delete: true", &[]);
    let mut system = system(&server);
    let names = ["../secret", "..", "/etc/passwd", "%2e%2e"];
    for name in names {
        // Names with dots are other subjects.
        let lookup = format!("$SYS.REQ.ACCOUNT.{name}.CLAIMS.LOOKUP");
        system.subscribe(&format!("reply.{}", name.len()));
        system.say(&format!("PUB {lookup} reply.{} 0\r\n", name.len()));
        let body = json!({"sub": name, "name": "x", "nats": {"type": "account", "version": 2}});
        let evil = token(body, &json!({}), now(), &key(KeyKind::Operator, 1));
        let answer = system.ask("$SYS.REQ.CLAIMS.UPDATE", &evil);
        assert!(answer["error"].is_object(), "{answer}");
        let operator = key(KeyKind::Operator, 1);
        let body = json!({"sub": operator.public().to_string(),
            "nats": {"accounts": [name], "type": "generic", "version": 2}});
        let delete = token(body, &json!({}), now(), &operator);
        let answer = system.ask("$SYS.REQ.CLAIMS.DELETE", &delete);
        assert!(answer["error"].is_object(), "{answer}");
    }
    let there = std::fs::read_to_string(directory.path().join("secret.jwt")).unwrap();
    assert_eq!(there, secret);
    let entries = std::fs::read_dir(directory.path()).unwrap();
    assert_eq!(entries.count(), 2, "the directory of claims and the secret");
}

#[test]
fn some_claims_in_a_directory() {
    let directory = Directory::new();
    let five = account_token(5, json!({}));
    let server = kept(&directory, "cache", ", ttl: \"1h\"", &[(5, &five)]);
    let jwt = user_token(5, 50, json!({}));
    assert_eq!(outcome(&server, &jwt, 50), "in");
    let mut system = system(&server);
    let skipped = system.ask("$SYS.REQ.CLAIMS.UPDATE", &account_token(6, json!({})));
    assert_eq!(skipped["data"]["message"], "jwt update cache skipped");
    let closed = account_token(5, json!({"nats": {"revocations": {"*": now()}}}));
    let updated = system.ask("$SYS.REQ.CLAIMS.UPDATE", &closed);
    assert_eq!(updated["data"]["message"], "jwt updated cache");
    assert_eq!(outcome(&server, &jwt, 50), VIOLATION);
    let unread = system.ask("$SYS.REQ.CLAIMS.UPDATE", "x");
    assert_eq!(unread["error"]["account"], "n/a");
    assert_eq!(system.request("$SYS.REQ.CLAIMS.PACK", ""), None);
}

/// CVE-2021-3127: an activation counts only for the account that it was given to, from the account
/// that gives it, for what it says, and as long as it holds.
#[test]
fn cve_2021_3127_activations() {
    let activation = |issuer: u8, for_whom: u8, subject: &str, more: Value| {
        let body = json!({"sub": account(for_whom), "name": "a",
            "nats": {"subject": subject, "kind": "stream", "type": "activation", "version": 2}});
        token(body, &more, now(), &key(KeyKind::Account, issuer))
    };
    let exporter = account_token(
        5,
        json!({"nats": {"exports": [{"name": "s", "subject": "s.>", "type": "stream", "token_req": true}]}}),
    );
    let importer = |seed: u8, activation: Option<String>| {
        let mut import =
            json!({"name": "i", "subject": "s.>", "account": account(5), "type": "stream"});
        if let Some(activation) = activation {
            import["token"] = activation.into();
        }
        account_token(seed, json!({"nats": {"imports": [import]}}))
    };
    let soon = now() + 4;
    let cases = [
        (60, Some(activation(5, 60, "s.>", json!({}))), true),
        (61, None, false),
        // Given to somebody else.
        (62, Some(activation(5, 60, "s.>", json!({}))), false),
        // Given to itself, and by a third.
        (63, Some(activation(63, 63, "s.>", json!({}))), false),
        (64, Some(activation(60, 64, "s.>", json!({}))), false),
        // By a third in the exporter's name.
        (
            65,
            Some(activation(
                60,
                65,
                "s.>",
                json!({"nats": {"issuer_account": account(5)}}),
            )),
            false,
        ),
        // For something else.
        (66, Some(activation(5, 66, "t.>", json!({}))), false),
        (
            67,
            Some(activation(5, 67, "s.>", json!({"exp": now() - 5}))),
            false,
        ),
        (
            68,
            Some(activation(5, 68, "s.>", json!({"exp": soon}))),
            true,
        ),
    ];
    let mut all = vec![(2, account_token(2, json!({}))), (5, exporter)];
    for (seed, activation, _) in &cases {
        all.push((*seed, importer(*seed, activation.clone())));
    }
    let directory = Directory::new();
    let preload: Vec<(u8, &str)> = all[1..]
        .iter()
        .map(|(seed, token)| (*seed, &**token))
        .collect();
    let server = kept(&directory, "full", "", &preload);
    let mut publisher = Client::user(server.address(), &user_token(5, 50, json!({})), 50).unwrap();
    let mut clients: Vec<(u8, bool, Client)> = cases
        .iter()
        .filter_map(|(seed, _, expected)| {
            let jwt = user_token(*seed, 50, json!({}));
            match Client::user(server.address(), &jwt, 50) {
                Ok(mut client) => {
                    client.subscribe("s.a");
                    Some((*seed, *expected, client))
                }
                // An account with a forged activation may also have no users.
                Err(error) => {
                    assert!(!expected, "{seed}: {error}");
                    None
                }
            }
        })
        .collect();
    assert_eq!(
        clients.iter().filter(|(_, expected, _)| *expected).count(),
        2
    );
    publisher.publish("s.a", "x");
    publisher.flush().unwrap();
    let gets = |client: &mut Client| {
        client.publish("s.a", "end");
        client.message().unwrap().3 == b"x"
    };
    for (seed, expected, client) in &mut clients {
        assert_eq!(gets(client), *expected, "{seed}");
        if *expected {
            assert_eq!(client.message().unwrap().3, b"end");
        }
    }
    // One that ends, ends.
    let (_, _, ending) = clients.iter_mut().find(|(seed, ..)| *seed == 68).unwrap();
    let deadline = std::time::Instant::now() + harness::PATIENCE;
    loop {
        publisher.publish("s.a", "x");
        publisher.flush().unwrap();
        if !gets(ending) {
            break;
        }
        assert_eq!(ending.message().unwrap().3, b"end");
        assert!(std::time::Instant::now() < deadline, "it ends");
    }
    assert!(now() >= soon);
}

#[test]
fn the_server_is_a_key() {
    let server = Server::configured("port: -1").unwrap();
    let mut info = Value::Null;
    let mut stream =
        std::io::BufReader::new(std::net::TcpStream::connect(server.address()).unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stream, &mut line).unwrap();
    scene::over(&mut info, &serde_json::from_str(&line[5..]).unwrap());
    let parse = |name: &str| skein::auth::nkey::PublicKey::parse(info[name].as_str().unwrap());
    assert_eq!(parse("server_id").unwrap().kind, KeyKind::Server);
    assert_eq!(parse("xkey").unwrap().kind, KeyKind::Curve);
    if !is_nats_server() {
        assert_eq!(info.get("git_commit"), None);
    }
}
