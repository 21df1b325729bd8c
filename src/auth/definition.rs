//! What an operator or an account's claims say about accounts and users, as plain values.
//!
//! `config` makes them from a file, `auth::claims` from JSON Web Tokens; [`super::Directory`] is
//! made from them and is what the server works with. Nothing here is checked against anything
//! else: names may name nobody, imports may form cycles. Subjects are as written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::claims::AccountClaims;
pub use super::claims::JetStreamLimits;

/// Text that must not be shown: a password, a token, a seed. Neither `Debug` nor `Display` say it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// Subjects that are allowed and denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectRules {
    /// `None` allows everything; an empty list nothing. Of subscriptions an entry may be
    /// `subject queue`, both of which may have wildcards.
    pub allow: Option<Vec<String>>,
    /// Takes away from what is allowed.
    pub deny: Vec<String>,
}

/// Replies that a subscriber may publish to without being allowed to otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseRules {
    /// How many messages for each request; `None` for any number.
    pub max: Option<u64>,
    /// For how long after the request; `None` for ever.
    pub expires: Option<Duration>,
}

impl Default for ResponseRules {
    /// One message within two minutes.
    fn default() -> Self {
        Self {
            max: Some(1),
            expires: Some(Duration::from_secs(120)),
        }
    }
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissionRules {
    /// Subjects it may publish to.
    pub publish: SubjectRules,
    /// Subjects it may subscribe to.
    pub subscribe: SubjectRules,
    /// Replies it may give.
    pub responses: Option<ResponseRules>,
}

/// Ways to be connected, as `allowed_connection_types` spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionType {
    Standard,
    Websocket,
    Leafnode,
    LeafnodeWs,
    Mqtt,
    MqttWs,
    InProcess,
}

impl ConnectionType {
    pub const ALL: [(ConnectionType, &'static str); 7] = [
        (ConnectionType::Standard, "STANDARD"),
        (ConnectionType::Websocket, "WEBSOCKET"),
        (ConnectionType::Leafnode, "LEAFNODE"),
        (ConnectionType::LeafnodeWs, "LEAFNODE_WS"),
        (ConnectionType::Mqtt, "MQTT"),
        (ConnectionType::MqttWs, "MQTT_WS"),
        (ConnectionType::InProcess, "IN_PROCESS"),
    ];

    /// The type of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL
            .iter()
            .find(|(_, n)| n.eq_ignore_ascii_case(name))?;
        Some(found.0)
    }
}

/// One user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserDefinition {
    /// Name, for one with a password or known by a certificate.
    pub name: Option<String>,
    /// Password or bcrypt hash; `None` with `nkey`, and for users known by their certificate.
    pub pass: Option<Secret>,
    /// Public user key (`U…`) instead of name and password.
    pub nkey: Option<String>,
    /// Whose user it is; `None` for the global account.
    pub account: Option<String>,
    /// What it may do, with the defaults of its account or server applied; `None` for everything.
    pub permissions: Option<PermissionRules>,
    /// How it may connect; `None` for any way.
    pub connection_types: Option<BTreeSet<ConnectionType>>,
    /// It must come through a trusted proxy.
    pub proxy_required: bool,
}

/// How a service answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseType {
    /// With one message.
    #[default]
    Singleton,
    /// With any number of messages.
    Stream,
    /// With one message in pieces.
    Chunked,
}

/// When a service's latency is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// This share of requests, 1 to 100.
    Percent(u8),
    /// When the request's headers ask for it.
    Headers,
}

/// Where a service's latency is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyDefinition {
    pub sampling: Sampling,
    pub subject: String,
}

/// What is special about an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportKind {
    /// Messages that flow to importers.
    Stream,
    /// Requests that come from importers.
    Service {
        response: ResponseType,
        /// How long a response may take; `None` for the default of two minutes.
        threshold: Option<Duration>,
        latency: Option<LatencyDefinition>,
        /// Tracing goes on in this account.
        allow_trace: bool,
    },
}

/// Subjects that other accounts may import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportDefinition {
    pub subject: String,
    pub kind: ExportKind,
    /// Accounts that may import it; `None` for all.
    pub accounts: Option<Vec<String>>,
    /// Importers need an activation token (claims only).
    pub token_required: bool,
    /// The token of the subject that must be the importing account's name, counted from 1; 0 for
    /// none.
    pub account_token_position: usize,
}

/// What is special about an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportKind {
    Stream {
        /// Tracing goes on in this account.
        allow_trace: bool,
    },
    Service {
        /// The service is told who asks (`Nats-Request-Info`).
        share: bool,
    },
}

/// Subjects of another account that are seen in this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportDefinition {
    /// The exporting account.
    pub account: String,
    /// The subject there. It must be within an export.
    pub subject: String,
    /// The subject here, where it differs, with `$1` or `{{Wildcard(1)}}` for wildcards. A `prefix`
    /// of a configuration file has become `prefix.subject`.
    pub to: Option<String>,
    /// A valid activation token came with it (claims only).
    pub activated: bool,
    pub kind: ImportKind,
}

/// One destination of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// With functions of wildcards in `{{…}}` or `$1`.
    pub subject: String,
    /// Share of the messages, 0 to 100.
    pub weight: u8,
    /// Only in this cluster; `None` for everywhere.
    pub cluster: Option<String>,
}

/// Publishes to `source` go elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingDefinition {
    pub source: String,
    pub destinations: Vec<Destination>,
}

/// What an account may use; `None` for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountLimits {
    /// Client connections of the account, on all shards.
    pub connections: Option<u64>,
    /// Leafnode connections.
    pub leafnodes: Option<u64>,
    /// Subscriptions of each connection.
    pub subscriptions: Option<u64>,
    /// Bytes of each message.
    pub payload_bytes: Option<u64>,
}

/// Where traced messages of an account report to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceDefinition {
    pub destination: String,
    /// Per cent of sampled messages that are traced.
    pub sampling: u8,
}

/// What of JetStream an account may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JetStreamAccess {
    /// Nothing.
    #[default]
    None,
    /// So much in all; -1 for no limit.
    Limits(JetStreamLimits),
    /// So much of each tier: `R1` of streams without copies, `R3` of those with three.
    Tiers(BTreeMap<String, JetStreamLimits>),
}

/// One account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountDefinition {
    pub name: String,
    /// Public account key, if it has one.
    pub nkey: Option<String>,
    pub exports: Vec<ExportDefinition>,
    pub imports: Vec<ImportDefinition>,
    pub mappings: Vec<MappingDefinition>,
    pub limits: AccountLimits,
    pub jetstream: JetStreamAccess,
    pub trace: Option<TraceDefinition>,
    /// The operator's claims that it was made from, with all that concerns its users; `None` for
    /// an account of the configuration file.
    pub claims: Option<Arc<AccountClaims>>,
}

/// Somebody else decides who may connect (ADR-26).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalloutDefinition {
    /// Public account key that signs the answers.
    pub issuer: String,
    /// The account in which the question is asked.
    pub account: String,
    /// Names or public keys of users that connect without it: the service's own.
    pub users: Vec<String>,
    /// Public curve key to encrypt questions for.
    pub xkey: Option<String>,
    /// Accounts that users may be put in; empty for all.
    pub allowed_accounts: Vec<String>,
}

/// Where account claims come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolverDefinition {
    /// `resolver_preload` only.
    Memory,
    /// An HTTP address; the account's public key is appended.
    Url(String),
    /// A directory.
    Directory {
        directory: PathBuf,
        /// All claims (FULL) or those that were asked for (CACHE).
        cache: bool,
        allow_delete: bool,
        /// Delete instead of renaming.
        hard_delete: bool,
        /// Number of claims kept; `None` for any.
        limit: Option<usize>,
        /// Age at which a cached one is dropped.
        ttl: Option<Duration>,
        /// Between two comparisons with other servers.
        interval: Option<Duration>,
        /// Of a lookup.
        timeout: Option<Duration>,
    },
}

impl AuthDefinition {
    /// Where only the system account has users, and nothing else says who may connect, everybody
    /// else is in the global account: an operator who gives that account a password has not meant
    /// to lock the others out. `unique` makes the name that they are known by inside.
    pub fn with_anonymous(mut self, unique: u64) -> Self {
        let system = self.system_account.as_deref().unwrap_or("$SYS");
        let only_system = matches!(&self.accounts[..], [account] if account.name == system);
        let says_nothing = !self.has_block
            && self.user.is_none()
            && self.token.is_none()
            && self.no_auth_user.is_none()
            && self.operators.is_empty()
            && self.trusted_keys.is_empty()
            && self.callout.is_none();
        if only_system && says_nothing && !self.no_system_account {
            let name = format!("nats-{unique:016x}");
            self.users.push(UserDefinition {
                name: Some(name.clone()),
                pass: Some(Secret(format!("{:016x}", unique.rotate_left(32)))),
                ..UserDefinition::default()
            });
            self.no_auth_user = Some(name);
        }
        self
    }
}

/// Who may connect, as the operator wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthDefinition {
    /// There is an `authorization` block, whatever it says.
    pub has_block: bool,
    /// The one user of `authorization { user, password }` or of the command line.
    pub user: Option<String>,
    /// Its password.
    pub pass: Option<Secret>,
    /// The token that everybody presents.
    pub token: Option<Secret>,
    /// Users of the `authorization` block and of all accounts.
    pub users: Vec<UserDefinition>,
    pub accounts: Vec<AccountDefinition>,
    /// Mappings of the global account (top-level `mappings`).
    pub mappings: Vec<MappingDefinition>,
    /// Name or key; `None` for `$SYS`.
    pub system_account: Option<String>,
    /// There shall be no system account.
    pub no_system_account: bool,
    /// The user that those without credentials are.
    pub no_auth_user: Option<String>,
    /// All must come through a trusted proxy.
    pub proxy_required: bool,
    /// Public keys of trusted proxies.
    pub proxies: Vec<String>,
    pub callout: Option<CalloutDefinition>,
    /// Operator tokens, as text.
    pub operators: Vec<String>,
    /// Operator keys trusted without a token.
    pub trusted_keys: Vec<String>,
    pub resolver: Option<ResolverDefinition>,
    /// Account key and token.
    pub resolver_preload: Vec<(String, String)>,
    /// Accounts (keys) that are known even when nobody can be asked; empty for all.
    pub pinned_accounts: Vec<String>,
    /// The bearer token of those who present none.
    pub default_sentinel: Option<Secret>,
    /// TLS certificates name users (`verify_and_map`).
    pub map_certificates: bool,
}
