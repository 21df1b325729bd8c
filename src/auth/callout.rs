//! The question to an authorization service (ADR-26): who wants to connect, as a signed token that
//! may be sealed for the service. The answer is judged by [`super::gate::Gate::judge`].
//!
//! Knows nothing of messages: the runtime publishes the question on
//! [`super::gate::CALLOUT_SUBJECT`] in the account that the need names, and waits for the answer.
//! Passwords are part of the question; that is its purpose.

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::admission::{CalloutNeed, Presented, TlsFacts};
use super::claims::{self, UserClaims};
use super::definition::ConnectionType;
use super::nkey::{KEY_BYTES, KeyKind, PublicKey, SigningKey};
use super::xkey::{CurveKey, NONCE_BYTES};

/// The header that carries the server's curve key, with which a sealed question can be opened.
pub const XKEY_HEADER: &str = "Nats-Server-Xkey";
/// For whom a question is.
const AUDIENCE: &str = "nats-authorization-request";
/// Characters in a line of a certificate as text.
const PEM_LINE: usize = 64;

/// Keys of the server: its identity, whose public half is its id, and one to seal with.
#[derive(Debug)]
pub struct ServerKeys {
    pub identity: SigningKey,
    pub curve: CurveKey,
}

impl ServerKeys {
    /// Keys of random bytes.
    pub fn from_seeds(identity: &[u8; KEY_BYTES], curve: [u8; KEY_BYTES]) -> Self {
        let identity = SigningKey::from_seed(KeyKind::Server, identity);
        Self {
            identity: identity.expect("a server's key can sign"),
            curve: CurveKey::from_seed(curve),
        }
    }
}

/// What a question says of the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerFacts<'a> {
    pub name: &'a str,
    pub host: &'a str,
    pub version: &'a str,
    pub cluster: &'a str,
    pub tags: &'a [String],
}

/// One question, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The public key that the user must have in the answer; of no other question, so that no
    /// answer fits twice.
    pub user: PublicKey,
    pub payload: Vec<u8>,
    /// Value of [`XKEY_HEADER`], for a sealed question.
    pub xkey: Option<String>,
}

/// Randomness for one question.
#[derive(Clone, Copy)]
pub struct Random {
    pub user_seed: [u8; KEY_BYTES],
    pub nonce: [u8; NONCE_BYTES],
}

/// Writes the question about a connection. It holds until `expires_unix_s`.
pub fn question(
    need: &CalloutNeed,
    presented: &Presented,
    server: &ServerFacts<'_>,
    keys: &ServerKeys,
    random: &Random,
    (now_unix_s, expires_unix_s): (u64, u64),
) -> Question {
    let user = SigningKey::from_seed(KeyKind::User, &random.user_seed);
    let user = user.expect("a user's key can sign").public();
    let xkey = need.xkey.map(|_| keys.curve.public().to_string());
    let mut content = json!({
        "server_id": without_empty(json!({
            "version": server.version,
            "cluster": server.cluster,
            "tags": server.tags,
            "xkey": xkey.clone().unwrap_or_default(),
        })),
        "user_nkey": user.to_string(),
        "client_info": client_info(need, presented),
        "connect_opts": connect_options(need, presented),
        "type": "authorization_request",
        "version": 2,
    });
    content["server_id"]["name"] = server.name.into();
    content["server_id"]["host"] = server.host.into();
    content["server_id"]["id"] = keys.identity.public().to_string().into();
    if let Some(tls) = &presented.tls {
        content["client_tls"] = client_tls(tls);
    }
    let mut body = Map::new();
    body.insert("aud".into(), AUDIENCE.into());
    body.insert("exp".into(), expires_unix_s.into());
    body.insert("sub".into(), need.issuer.as_ref().into());
    body.insert("nats".into(), content);
    let token = claims::encode(body, now_unix_s, &keys.identity).into_bytes();
    let sealed = need
        .xkey
        .and_then(|service| keys.curve.seal(&token, &service, random.nonce));
    // A need names a curve key or none, so nothing is sent open that should be sealed.
    debug_assert_eq!(sealed.is_some(), need.xkey.is_some());
    Question {
        user,
        payload: match need.xkey {
            Some(_) => sealed.unwrap_or_default(),
            None => token,
        },
        xkey,
    }
}

fn client_info(need: &CalloutNeed, presented: &Presented) -> Value {
    let (kind, client_type) = match presented.connection_type {
        ConnectionType::Standard | ConnectionType::InProcess => ("Client", "nats"),
        ConnectionType::Websocket => ("Client", "websocket"),
        ConnectionType::Mqtt | ConnectionType::MqttWs => ("Client", "mqtt"),
        ConnectionType::Leafnode | ConnectionType::LeafnodeWs => ("Leafnode", ""),
    };
    let signed = presented.sig.as_ref().is_some_and(|sig| !sig.is_empty());
    let (tags, name_tag) = match &need.claims {
        Some(claims) => (
            claims.tags.iter().map(|tag| json!(tag)).collect(),
            &*claims.name_tag,
        ),
        None => (Vec::new(), ""),
    };
    without_empty(json!({
        "host": presented.peer.to_string(),
        "id": presented.client_id,
        "user": need.user,
        "name": presented.name,
        "tags": tags,
        "name_tag": name_tag,
        "kind": kind,
        "type": client_type,
        "nonce": if signed { &*presented.nonce } else { "" },
    }))
}

fn connect_options(need: &CalloutNeed, presented: &Presented) -> Value {
    let secret = |secret: &Option<super::definition::Secret>| secret.as_ref().map(|s| s.0.clone());
    let mut options = without_empty(json!({
        "jwt": token(need, presented),
        "nkey": presented.nkey,
        "sig": presented.sig,
        "auth_token": secret(&presented.token),
        "user": presented.user,
        "pass": secret(&presented.pass),
        "name": presented.name,
        "lang": presented.lang,
        "version": presented.version,
    }));
    options["protocol"] = presented.protocol.into();
    options
}

/// The token that was presented or given; MQTT has only the password to put it in.
fn token<'a>(need: &'a CalloutNeed, presented: &'a Presented) -> Option<&'a str> {
    let mqtt = matches!(
        presented.connection_type,
        ConnectionType::Mqtt | ConnectionType::MqttWs
    );
    let counted = need.claims.as_ref().map(|claims| &*claims.jwt);
    let presented_token = presented.jwt.as_deref();
    counted.or(presented_token).or_else(|| {
        let pass = presented.pass.as_ref().filter(|_| mqtt)?.0.as_str();
        UserClaims::decode(pass).ok().map(|_| pass)
    })
}

fn client_tls(tls: &TlsFacts) -> Value {
    let certificates: Vec<String> = tls.peer_certificates.iter().map(|der| pem(der)).collect();
    without_empty(json!({
        "version": tls.version,
        "cipher": tls.cipher_suite,
        "certs": certificates,
    }))
}

fn pem(der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (at, c) in base64.chars().enumerate() {
        if at != 0 && at % PEM_LINE == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

/// Drops what says nothing, as the library does.
fn without_empty(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Number(number) => number.as_i64() != Some(0),
            Value::Bool(_) | Value::Object(_) => true,
        });
    }
    value
}
