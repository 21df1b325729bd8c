//! The INFO line: what a server tells a client about itself and about the connection.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The version of nats-server whose behaviour clients may count on; they switch features on it.
pub const PROTOCOL_VERSION: &str = "2.15.1";

/// Level of the JetStream API (ADR-44), which clients are told with or without JetStream.
const JETSTREAM_API_LEVEL: u8 = 5;

/// What is the same for all connections of a server.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// 56 characters, starting with `N`.
    pub id: String,
    /// The configured name, or the id.
    pub name: String,
    /// Address it listens on, as configured.
    pub host: String,
    /// Port it listens on.
    pub port: u16,
    /// Whether a client must authenticate.
    pub auth_required: bool,
    /// What it says about TLS; nothing without it.
    pub tls: Option<TlsOffer>,
    /// Public curve key, where clients may encrypt for the server.
    pub xkey: Option<String>,
    /// The domain of its JetStream, or nothing; `None` without JetStream.
    pub jetstream: Option<String>,
}

/// What a server says about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsOffer {
    /// A client must use it, and not only may.
    pub required: bool,
    /// A client must show a certificate.
    pub verify: bool,
}

/// What is said to one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// Number of the connection, unique in the server's life.
    pub client_id: u64,
    /// Where it comes from.
    pub client_ip: IpAddr,
    /// The server is in lame duck mode: clients should go elsewhere.
    pub lame_duck: bool,
    /// What the client is to sign; empty for nothing.
    pub nonce: &'a str,
    /// This is the second INFO, after CONNECT: the account's name, and whether it is the system
    /// account.
    pub account: Option<(&'a str, bool)>,
    /// Headers are offered.
    pub headers: bool,
    /// Longest message of this connection.
    pub max_payload_bytes: usize,
    /// The first INFO of a connection that is under TLS already, where TLS is not a choice.
    pub tls_first: bool,
}

#[derive(Serialize)]
struct Info<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'a str,
    proto: u8,
    go: &'a str,
    host: &'a str,
    port: u16,
    headers: bool,
    #[serde(skip_serializing_if = "is_false")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_verify: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_available: bool,
    max_payload: usize,
    #[serde(skip_serializing_if = "is_false")]
    jetstream: bool,
    client_id: u64,
    client_ip: IpAddr,
    #[serde(skip_serializing_if = "str::is_empty")]
    nonce: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    ldm: bool,
    #[serde(skip_serializing_if = "is_false")]
    connect_info: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_account: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    acc_is_sys: bool,
    api_lvl: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    xkey: Option<&'a str>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl ServerIdentity {
    /// `INFO {…} \r\n`, with the space that nats-server writes before the line end.
    pub fn info(&self, facts: &ConnectionFacts<'_>) -> Vec<u8> {
        let info = Info {
            server_id: &self.id,
            server_name: &self.name,
            version: PROTOCOL_VERSION,
            proto: 1,
            // Clients expect the field; there is no Go here.
            go: "",
            host: &self.host,
            port: self.port,
            headers: facts.headers,
            auth_required: self.auth_required,
            tls_required: facts.tls_first || self.tls.is_some_and(|tls| tls.required),
            tls_verify: self.tls.is_some_and(|tls| tls.verify),
            tls_available: self.tls.is_some_and(|tls| !tls.required),
            max_payload: facts.max_payload_bytes,
            jetstream: self.jetstream.is_some(),
            client_id: facts.client_id,
            client_ip: facts.client_ip,
            nonce: facts.nonce,
            domain: self.jetstream.as_deref().unwrap_or_default(),
            ldm: facts.lame_duck,
            connect_info: facts.account.is_some(),
            remote_account: facts.account.map(|(name, _)| name),
            acc_is_sys: facts.account.is_some_and(|(_, system)| system),
            api_lvl: JETSTREAM_API_LEVEL,
            xkey: self.xkey.as_deref(),
        };
        let json = serde_json::to_string(&info).expect("plain fields always serialise");
        format!("INFO {json} \r\n").into_bytes()
    }
}

/// The fields of an INFO whose types are checked when a client sends one, which means nothing.
#[derive(Deserialize)]
#[allow(dead_code, reason = "read to be checked, not to be used")]
struct Received {
    server_id: Option<String>,
    server_name: Option<String>,
    version: Option<String>,
    proto: Option<i64>,
    host: Option<String>,
    port: Option<i64>,
    headers: Option<bool>,
    max_payload: Option<i64>,
    client_id: Option<u64>,
    connect_urls: Option<Vec<String>>,
}

/// Whether an INFO from a client can be read, and if not, why.
pub fn check(json: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(json);
    match serde_json::from_str::<Received>(&text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("INFO cannot be read: {error}")),
    }
}
