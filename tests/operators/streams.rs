//! Streams of accounts that are fetched when somebody of them connects: they are there after a restart.

use std::path::Path;

use serde_json::{Value, json};

use super::scene::{ClaimsServer, Client, account, account_token, config, user_token};
use super::{VIOLATION, outcome};
use crate::harness::{Directory, Server, is_nats_server};

/// Whose streams.
const SEED: u8 = 5;

fn token() -> String {
    let limits = json!({"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1});
    account_token(SEED, json!({"nats": {"limits": limits}}))
}

fn client(server: &Server) -> Client {
    Client::user(server.address(), &user_token(SEED, 50, json!({})), 50).unwrap()
}

fn start(resolver: &str, preload: &[(u8, &str)], store: &Path) -> Server {
    let text = config(resolver, preload);
    let store = store.display();
    let text = format!("{text}\nserver_name: s\njetstream {{ store_dir: \"{store}\" }}\n");
    Server::configured(&text).unwrap()
}

/// What is asked for a stream, and the streams: more than one, so that not all are on one shard.
const NAMES: [&str; 3] = ["A", "B", "C"];

fn creation(name: &str) -> String {
    json!({"name": name, "subjects": [format!("{name}.>")], "storage": "file"}).to_string()
}

fn messages(client: &mut Client, name: &str) -> Value {
    let info = client.ask(&format!("$JS.API.STREAM.INFO.{name}"), "");
    info["state"]["messages"].clone()
}

fn fill(server: &Server) {
    let mut client = client(server);
    for name in NAMES {
        let made = client.ask(&format!("$JS.API.STREAM.CREATE.{name}"), &creation(name));
        assert_eq!(made["error"], Value::Null, "{made}");
        for number in 1..=3 {
            let ack = client.ask(&format!("{name}.x"), "m");
            assert_eq!(ack["seq"], number, "{ack}");
        }
    }
}

/// All of them are there, for whoever comes first, and each takes a message once.
fn assert_there(server: &Server) {
    let mut client = client(server);
    for name in NAMES {
        let ack = client.ask(&format!("{name}.x"), "m");
        assert_eq!(ack["seq"], 4, "{name}: {ack}");
        assert_eq!(messages(&mut client, name), 4, "{name}");
        let made = client.ask(&format!("$JS.API.STREAM.CREATE.{name}"), &creation(name));
        assert_eq!(made["state"]["messages"], 4, "{made}");
        let ack = client.ask(&format!("{name}.x"), "m");
        assert_eq!(ack["seq"], 5, "{name}: {ack}");
        assert_eq!(messages(&mut client, name), 5, "{name}");
    }
}

#[test]
fn streams_are_there_before_anybody_of_their_account_is() {
    for kind in ["full", "cache"] {
        let directory = Directory::new();
        let path = directory.path().join("jwt");
        let ttl = if kind == "cache" { ", ttl: 1h" } else { "" };
        let resolver = format!("{{ type: {kind}, dir: \"{}\"{ttl} }}", path.display());
        let (system, own) = (account_token(2, json!({})), token());
        let store = directory.path().join("js");
        let preload = [(2, system.as_str()), (SEED, own.as_str())];
        let server = start(&resolver, &preload, &store);
        fill(&server);
        drop(server);
        let mut server = start(&resolver, &preload[..1], &store);
        assert_there(&server);
        let log = server.log_text();
        assert!(!log.contains("left alone"), "{log}");
    }
}

#[test]
fn streams_come_with_an_account_that_was_away() {
    let directory = Directory::new();
    let claims = ClaimsServer::start();
    let keep = |seed, token| claims.tokens.lock().unwrap().insert(account(seed), token);
    keep(2, account_token(2, json!({})));
    keep(SEED, token());
    let resolver = format!("URL(\"http://{}/jwt/v1/accounts/\")", claims.address);
    let store = directory.path().join("js");
    let server = start(&resolver, &[], &store);
    fill(&server);
    drop(server);
    claims.tokens.lock().unwrap().remove(&account(SEED));
    let mut server = start(&resolver, &[], &store);
    assert_eq!(
        outcome(&server, &user_token(SEED, 50, json!({})), 50),
        VIOLATION
    );
    let log = server.log_text();
    assert!(is_nats_server() || log.contains("left alone"), "{log}");
    keep(SEED, token());
    assert_there(&server);
}
