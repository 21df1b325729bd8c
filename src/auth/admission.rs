//! What a connection presents, and what it is let in as.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::claims::Scope;
use super::definition::{ConnectionType, Secret};
use super::nkey::PublicKey;
use super::permissions::Permissions;
use crate::base::ids::AccountId;

/// What a client presents with CONNECT, and what is known of its connection. It can be sent to
/// another thread: checking some of it takes longer than a shard may wait.
#[derive(Clone, Debug)]
pub struct Presented {
    pub user: Option<Box<str>>,
    pub pass: Option<Secret>,
    pub token: Option<Secret>,
    /// Public user key.
    pub nkey: Option<Box<str>>,
    /// User claims.
    pub jwt: Option<Box<str>>,
    /// The nonce, signed.
    pub sig: Option<Box<str>>,
    /// The nonce, signed by a proxy.
    pub proxy_sig: Option<Box<str>>,
    /// What INFO gave to be signed; empty for none.
    pub nonce: Box<str>,
    pub connection_type: ConnectionType,
    pub peer: IpAddr,
    pub port: u16,
    /// Number of the connection in the server's life.
    pub client_id: u64,
    /// `name`, `lang`, `version` and `protocol` of the CONNECT.
    pub name: Option<Box<str>>,
    pub lang: Option<Box<str>>,
    pub version: Option<Box<str>>,
    pub protocol: i64,
    /// The TLS connection, if it is one.
    pub tls: Option<Arc<TlsFacts>>,
}

/// What is known of a TLS connection after its handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// IANA name of the cipher suite.
    pub cipher_suite: String,
    /// Certificates of the client (DER), its own first; verified if `verify` was asked for.
    pub peer_certificates: Vec<Vec<u8>>,
    /// The handshake came before INFO.
    pub first: bool,
}

/// What a connection is let in as.
#[derive(Clone, Debug)]
pub struct Admission {
    pub account: AccountId,
    pub account_name: Arc<str>,
    /// What monitoring calls it: a user name, a public key, `[REDACTED]` for a token.
    pub user: Option<Box<str>>,
    /// How the log says it behind the account: `user:NAME`, `nkey:KEY`, `token`.
    pub label: Option<Box<str>>,
    /// `None` for everything.
    pub permissions: Option<Arc<Permissions>>,
    /// Subscriptions it may have, if its account allows as many.
    pub max_subscriptions: Option<u64>,
    /// Bytes that a message of it may have, if its account allows as many.
    pub max_payload_bytes: Option<u64>,
    /// Unix time in seconds at which it is cut off. The end of its account comes otherwise, with a
    /// change of accounts: it can be put off.
    pub expires_unix_s: Option<u64>,
    /// From its claims, for monitoring.
    pub claims: Option<Arc<ClaimsFacts>>,
    /// What let it in; compared when the configuration changes.
    pub credential: Credential,
}

/// Stands for a credential of the configuration: other if its owner, its account or its secret is
/// another, and says none of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Credential(pub [u8; 32]);

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// What monitoring shows of a user's claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimsFacts {
    pub jwt: Box<str>,
    /// Public user key.
    pub subject: Box<str>,
    /// Unix time of issue, against which revocations count.
    pub issued_at_unix_s: u64,
    pub issuer_key: Box<str>,
    pub name_tag: Box<str>,
    pub tags: Vec<Box<str>>,
    /// Nothing but the token was asked for.
    pub bearer: bool,
    /// The role that it was given, if its issuer has one.
    pub scope: Option<Box<Scope>>,
}

/// What is to be asked of an authorization service, and how its answer is to be judged.
#[derive(Clone, Debug)]
pub struct CalloutNeed {
    /// Where the question is published.
    pub account: AccountId,
    pub account_name: Arc<str>,
    /// Public account key that is to issue the user.
    pub issuer: Box<str>,
    /// Curve key to seal the question for.
    pub xkey: Option<PublicKey>,
    /// Accounts come from claims, not from the configuration.
    pub operators: bool,
    /// The connection came through a trusted proxy.
    pub proxied: bool,
    /// What monitoring would call it.
    pub user: Option<Box<str>>,
    /// The token that it presented or was given, with what it says of the user.
    pub claims: Option<Arc<ClaimsFacts>>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `Authorization Violation`, whatever it was: the peer is not told.
    Credentials,
    /// It is no longer there, or in another account.
    Moved,
    /// Its claims were revoked.
    Revoked,
    /// Its claims or those of its account have expired.
    Expired,
    /// `Proxy Not Trusted`.
    ProxyNotTrusted,
    /// `Proxy Required`.
    ProxyRequired,
}

/// What is to be done with a connection that has presented itself.
#[derive(Debug)]
pub enum Outcome {
    /// It is let in.
    Admitted(Box<Admission>),
    /// It is not; the text is for the log only.
    Refused(Refused, String),
    /// The claims of this account (public key) must be fetched first; then ask again.
    NeedsAccount(String),
    /// A service is to be asked (auth callout).
    NeedsCallout(Box<CalloutNeed>),
}
