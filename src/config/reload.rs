//! What a new configuration changes, and whether a running server can follow: two [`Config`]s → a list
//! of [`Change`]s, or the reason why nothing changes.
//!
//! One row for each setting ([`TABLE`]), under the name that nats-server's log and error texts have for it.
//! What it cannot reload is refused with its words; what it refuses and this server can do is done: the
//! rows say which. A setting without a row is refused, so that a new one cannot be passed over.
//!
//! Must not know how a change is brought about.

use std::fmt::Display;

use super::conf::shown_duration;
use super::{Cipher, Config, HandshakeFirst, JetStreamOptions, MonitorOptions, Port, Sync};
use crate::auth::accounts::SYSTEM_NAME;
use crate::auth::definition::{AuthDefinition, ResolverDefinition, UserDefinition};

/// Which part of the server has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The log: another place, or another form.
    Log,
    /// Nothing but the settings that everybody is handed.
    Settings,
    /// Who may connect, and the accounts.
    Authorization,
    /// TLS for new connections.
    Tls,
    /// The limits of JetStream.
    JetStream,
    /// The file with the process id.
    PidFile,
    /// The file with the ports.
    PortsFile,
}

/// Something that is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub part: Part,
    /// The line for the log; empty for none.
    pub said: String,
}

/// What becomes of a setting that has changed.
enum Rule {
    /// It is followed, and said so.
    Followed(Part, fn(&Config) -> String),
    /// It is not; the text is nats-server's, with what it was and what it would be.
    Fixed(fn(&Config) -> String),
    /// It depends on what it was and is to be.
    Asked(fn(&Config, &Config) -> Verdict),
}

type Verdict = Result<Option<Change>, String>;

/// One setting.
struct Row {
    /// Go's name of it.
    name: &'static str,
    differs: fn(&Config, &Config) -> bool,
    /// Makes it what it is in the second one.
    level: fn(&mut Config, &Config),
    rule: Rule,
}

/// A row for a field, or for several that go together.
macro_rules! row {
    ($name:literal, $($($field:ident).+),+; $rule:expr) => {
        Row {
            name: $name,
            differs: |a, b| $(a.$($field).+ != b.$($field).+)||+,
            level: |to, from| { $(to.$($field).+.clone_from(&from.$($field).+);)+ },
            rule: $rule,
        }
    };
}

/// `Reloaded: NAME = VALUE`
macro_rules! says {
    ($part:ident, $name:literal, $value:expr) => {
        Rule::Followed(Part::$part, |new| {
            let value: fn(&Config) -> String = $value;
            format!("Reloaded: {} = {}", $name, value(new))
        })
    };
    ($part:ident, $text:literal) => {
        Rule::Followed(Part::$part, |_| $text.to_owned())
    };
}

use Rule::{Asked, Fixed, Followed};

/// In the order of nats-server's options, and what it has not behind them.
const TABLE: &[Row] = &[
    row!("ServerName", server_name; Fixed(|c| shown(c.server_name.as_ref()))),
    row!("Host", host; Fixed(|c| c.host.clone())),
    row!("Port", port; Fixed(|c| c.port.bind_number().to_string())),
    row!("ClientAdvertise", client_advertise; Followed(Part::Settings, |c| {
        format!("Reload: client_advertise = {}", shown(c.client_advertise.as_ref()))
    })),
    row!("Trace", trace; says!(Settings, "trace", |c| c.trace.to_string())),
    row!("Debug", debug; says!(Settings, "debug", |c| c.debug.to_string())),
    row!("TraceHeaders", limits.trace_headers; says!(Settings, "trace_headers", |c| c.limits.trace_headers.to_string())),
    row!("TraceVerbose", trace_verbose; says!(Settings, "trace_verbose", |c| c.trace_verbose.to_string())),
    row!("Logtime", log.time; says!(Log, "logtime", |c| c.log.time.to_string())),
    row!("LogtimeUTC", log.time_utc; says!(Log, "logtime_utc", |c| c.log.time_utc.to_string())),
    row!("LogFile", log.file; says!(Log, "log_file", |c| path(c.log.file.as_ref()))),
    row!("Syslog", log.syslog; says!(Log, "syslog", |c| c.log.syslog.to_string())),
    row!("RemoteSyslog", log.remote_syslog; says!(Log, "remote_syslog", |c| shown(c.log.remote_syslog.as_ref()))),
    // nats-server refuses these two.
    row!("LogSizeLimit", log.file_size_limit; says!(Log, "log_size_limit", |c| c.log.file_size_limit.to_string())),
    row!("LogMaxFiles", log.files_max; says!(Log, "log_max_num", |c| c.log.files_max.to_string())),
    row!("MaxConn", limits.max_connections; says!(Settings, "max_connections", |c| c.limits.max_connections.to_string())),
    // nats-server refuses these two.
    row!("MaxSubs", limits.max_subscriptions; says!(Settings, "max_subscriptions", |c| c.limits.max_subscriptions.to_string())),
    row!("MaxSubTokens", limits.max_sub_tokens; says!(Settings, "max_subscription_tokens", |c| c.limits.max_sub_tokens.to_string())),
    // Users and keys are one list here; which of them is said follows nats-server.
    row!("Nkeys", auth.users; Asked(users)),
    row!("Accounts", auth.accounts, auth.mappings; says!(Authorization, "Reloaded: accounts")),
    row!("SystemAccount", auth.system_account; Asked(system_account)),
    row!("NoSystemAccount", auth.no_system_account; Fixed(|c| c.auth.no_system_account.to_string())),
    row!("Username", auth.user; says!(Authorization, "Reloaded: authorization username")),
    row!("Password", auth.pass; says!(Authorization, "Reloaded: authorization password")),
    row!("ProxyRequired", auth.proxy_required; Fixed(|c| c.auth.proxy_required.to_string())),
    row!("Authorization", auth.token; says!(Authorization, "Reloaded: authorization token")),
    row!("AuthCallout", auth.callout; Fixed(callout)),
    row!("PingInterval", limits.ping_interval_ms; says!(Settings, "ping_interval", |c| duration(c.limits.ping_interval_ms))),
    row!("MaxPingsOut", limits.ping_max; says!(Settings, "ping_max", |c| c.limits.ping_max.to_string())),
    row!("NoAuthUser", auth.no_auth_user; Asked(no_auth_user)),
    row!("DefaultSentinel", auth.default_sentinel; says!(Authorization, "Reloaded: default_sentinel")),
    row!("AuthTimeout", limits.auth_timeout_ms; says!(Settings, "authorization timeout", |c| seconds(c.limits.auth_timeout_ms))),
    row!("MaxControlLine", limits.max_control_line_bytes; says!(Settings, "max_control_line", |c| c.limits.max_control_line_bytes.to_string())),
    row!("MaxPayload", limits.max_payload_bytes; says!(Settings, "max_payload", |c| c.limits.max_payload_bytes.to_string())),
    // nats-server refuses it.
    row!("MaxPending", limits.max_pending_bytes; says!(Settings, "max_pending", |c| c.limits.max_pending_bytes.to_string())),
    row!("NoHeaderSupport", limits.no_header_support; Fixed(|c| c.limits.no_header_support.to_string())),
    row!("MaxClosedClients", limits.max_closed_clients; Fixed(|c| c.limits.max_closed_clients.to_string())),
    row!("JetStream", jetstream.enabled; Fixed(|c| c.jetstream.enabled.to_string())),
    row!("NoJetStreamStrict", jetstream.strict; Fixed(|c| (!c.jetstream.strict).to_string())),
    row!("JetStreamMaxMemory", jetstream.max_memory_bytes; Asked(|old, new| {
        store_limit("max_mem_store", (old, new), |jetstream| jetstream.max_memory_bytes)
    })),
    row!("JetStreamMaxStore", jetstream.max_storage_bytes; Asked(|old, new| {
        store_limit("max_file_store", (old, new), |jetstream| jetstream.max_storage_bytes)
    })),
    row!("JetStreamDomain", jetstream.domain; Fixed(|c| shown(c.jetstream.domain.as_ref()))),
    row!("JetStreamKey", jetstream.key; Fixed(|_| "[REDACTED]".to_owned())),
    row!("JetStreamOldKey", jetstream.previous_key; Fixed(|_| "[REDACTED]".to_owned())),
    row!("JetStreamCipher", jetstream.cipher; Fixed(cipher)),
    row!("JetStreamUniqueTag", jetstream.unique_tag; Fixed(|c| shown(c.jetstream.unique_tag.as_ref()))),
    // Of batches under way, nothing is looked at again.
    row!("JetStreamLimits",
        jetstream.limits.max_ack_pending, jetstream.limits.max_request_batch, jetstream.limits.duplicate_window_ns;
        says!(JetStream, "Reloaded: JetStream limits")),
    row!("JetStreamLimits",
        jetstream.limits.batches_per_stream, jetstream.limits.batches,
        jetstream.limits.batch_messages, jetstream.limits.batch_timeout_ns;
        Fixed(batches)),
    row!("StreamMaxBufferedSize", jetstream.max_buffered_bytes; Fixed(|c| c.jetstream.max_buffered_bytes.to_string())),
    row!("StreamMaxBufferedMsgs", jetstream.max_buffered_messages; Fixed(|c| c.jetstream.max_buffered_messages.to_string())),
    row!("JetStreamRequestQueueLimit", jetstream.request_queue; Fixed(|c| c.jetstream.request_queue.to_string())),
    row!("JetStreamInfoQueueLimit", jetstream.info_queue; Fixed(|c| c.jetstream.info_queue.to_string())),
    row!("StoreDir", jetstream.store_dir; Asked(store_dir)),
    row!("SyncInterval", jetstream.sync; Fixed(sync)),
    row!("PidFile", pid_file; says!(PidFile, "pid_file", |c| path(c.pid_file.as_ref()))),
    row!("PortsFileDir", ports_file_dir; says!(PortsFile, "ports_file_dir", |c| path(c.ports_file_dir.as_ref()))),
    // Files are read again whether their names have changed or not: see `changes`.
    row!("TLSConfig", tls; Asked(|_, _| Ok(None))),
    // nats-server refuses these two.
    row!("AllowNonTLS", allow_non_tls; says!(Tls, "allow_non_tls", |c| c.allow_non_tls.to_string())),
    row!("TLSMap", auth.map_certificates; says!(Authorization, "verify_and_map", |c| c.auth.map_certificates.to_string())),
    row!("WriteDeadline", limits.write_deadline_ms; says!(Settings, "write_deadline", |c| duration(c.limits.write_deadline_ms))),
    row!("MaxTracedMsgLen", limits.max_traced_bytes; says!(Settings, "max_traced_msg_len", |c| c.limits.max_traced_bytes.to_string())),
    // nats-server refuses these two.
    row!("LameDuckDuration", limits.lame_duck_duration_ms; says!(Settings, "lame_duck_duration", |c| duration(c.limits.lame_duck_duration_ms))),
    row!("LameDuckGracePeriod", limits.lame_duck_grace_period_ms; says!(Settings, "lame_duck_grace_period", |c| duration(c.limits.lame_duck_grace_period_ms))),
    row!("TrustedOperators", auth.operators; Fixed(|c| format!("{} operators", c.auth.operators.len()))),
    row!("TrustedKeys", auth.trusted_keys; Fixed(|c| list(&c.auth.trusted_keys))),
    row!("AccountResolver", auth.resolver; Asked(resolver)),
    row!("AccountResolverTLSConfig", resolver_tls; Fixed(|c| has(c.resolver_tls.as_ref()))),
    row!("ResolverPreloads", auth.resolver_preload; says!(Authorization, "Reloaded: accounts")),
    row!("ResolverPinnedAccounts", auth.pinned_accounts; Fixed(|c| list(&c.auth.pinned_accounts))),
    row!("OCSPConfig", ocsp; says!(Tls, "Reloaded: OCSP")),
    row!("NoFastProducerStall", limits.no_fast_producer_stall; Followed(Part::Settings, |c| {
        let not = if c.limits.no_fast_producer_stall { "not " } else { "" };
        format!("Reloaded: fast producers will {not}be stalled")
    })),
    row!("Tags", server_tags; says!(Settings, "Reloaded: tags")),
    row!("Metadata", server_metadata; says!(Settings, "Reloaded: metadata")),
    row!("Proxies", auth.proxies; Asked(proxies)),
    row!("Shards", shards, cpus; Fixed(shards)),
    row!("LogFormat", log.format; says!(Log, "log_format", |c| format!("{:?}", c.log.format).to_lowercase())),
    row!("MaxConnectionsPerAddress", limits.max_connections_per_address;
        says!(Settings, "max_connections_per_address", |c| c.limits.max_connections_per_address.to_string())),
    row!("MaxUnauthenticated", limits.max_unauthenticated;
        says!(Settings, "max_unauthenticated", |c| c.limits.max_unauthenticated.to_string())),
    row!("HTTPHost", monitor.host; Fixed(|c| shown(c.monitor.host.as_ref()))),
    row!("HTTPPort", monitor.http; Fixed(|c| MonitorOptions::number(c.monitor.http).to_string())),
    row!("HTTPSPort", monitor.https; Fixed(|c| MonitorOptions::number(c.monitor.https).to_string())),
    row!("HTTPBasePath", monitor.base_path; Fixed(|c| c.monitor.base_path.clone())),
    // These say nothing of their own.
    row!("ConfigFile", file; Asked(|_, _| Ok(None))),
    row!("Authorization", auth.has_block; Asked(|_, _| authorization())),
];

/// Lets a new configuration have what the running server has where it leaves the choice to it.
pub fn settle(old: &Config, new: &mut Config) {
    if new.port == Port::PickFree {
        new.port = old.port;
    }
}

/// What is to be done to follow a new configuration that was [`settle`]d.
///
/// # Errors
/// Why it cannot be followed; nothing of it is to be done then.
pub fn changes(old: &Config, new: &Config) -> Result<Vec<Change>, String> {
    let mut changes = tls(old, new);
    let mut rest = new.clone();
    for row in TABLE.iter().filter(|row| (row.differs)(old, new)) {
        (row.level)(&mut rest, old);
        match &row.rule {
            Followed(part, said) => changes.push(Change {
                part: *part,
                said: said(new),
            }),
            Fixed(value) => return Err(refusal(row.name, &value(old), &value(new))),
            Asked(judge) => changes.extend(judge(old, new)?),
        }
    }
    // What has no row.
    match rest == *old {
        true => Ok(changes),
        false => Err("config reload not supported for a setting that was changed".to_owned()),
    }
}

fn refusal(name: &str, old: &str, new: &str) -> String {
    format!("config reload not supported for {name}: old={old}, new={new}")
}

/// With TLS, files are read again in any case, and clients see what is in them now.
fn tls(old: &Config, new: &Config) -> Vec<Change> {
    let mut said = Vec::new();
    match (&old.tls, &new.tls) {
        (None, None) => {}
        (Some(_), None) => said.push("Reloaded: tls = disabled".to_owned()),
        (before, Some(now)) => {
            said.push("Reloaded: tls = enabled".to_owned());
            let before = before.clone().unwrap_or_default();
            if before.timeout_ms != now.timeout_ms {
                let timeout = seconds(now.timeout_ms);
                said.push(format!("Reloaded: tls timeout = {timeout}"));
            }
            if before.pinned_certs != now.pinned_certs {
                let count = now.pinned_certs.len();
                said.push(format!("Reloaded: {count} pinned_certs"));
            }
            if before.handshake_first != now.handshake_first {
                let first = now.handshake_first != HandshakeFirst::No;
                said.push(format!("Reloaded: Client TLS handshake first: {first}"));
                if let HandshakeFirst::Auto { fallback_ms } = now.handshake_first {
                    let delay = duration(fallback_ms);
                    said.push(format!(
                        "Reloaded: Client TLS handshake first fallback delay: {delay}"
                    ));
                }
            }
        }
    }
    let change = |said| Change {
        part: Part::Tls,
        said,
    };
    said.into_iter().map(change).collect()
}

fn authorization() -> Verdict {
    Ok(Some(Change {
        part: Part::Authorization,
        said: String::new(),
    }))
}

fn users(old: &Config, new: &Config) -> Verdict {
    let keys = |config: &Config| -> Vec<UserDefinition> {
        let users = config.auth.users.iter();
        users.filter(|u| u.nkey.is_some()).cloned().collect()
    };
    let said = match keys(old) == keys(new) {
        true => "Reloaded: authorization users",
        false => "Reloaded: authorization nkey users",
    };
    Ok(Some(Change {
        part: Part::Authorization,
        said: said.to_owned(),
    }))
}

/// It may be left out where it has its usual name.
fn system_account(old: &Config, new: &Config) -> Verdict {
    let name = |auth: &AuthDefinition| {
        let name = auth.system_account.as_deref();
        name.unwrap_or(SYSTEM_NAME).to_owned()
    };
    let (before, now) = (name(&old.auth), name(&new.auth));
    match before == now {
        true => Ok(None),
        false => Err(refusal("SystemAccount", &before, &now)),
    }
}

/// It may go with its user.
fn no_auth_user(old: &Config, new: &Config) -> Verdict {
    let (before, now) = (&old.auth.no_auth_user, &new.auth.no_auth_user);
    let is_it = |user: &UserDefinition| user.name == *before || user.nkey == *before;
    match before.is_some() && now.is_none() && !new.auth.users.iter().any(is_it) {
        true => authorization(),
        false => {
            let (before, now) = (shown(before.as_ref()), shown(now.as_ref()));
            Err(refusal("NoAuthUser", &before, &now))
        }
    }
}

/// It may grow, and be anything where nothing is stored.
fn store_limit(
    name: &str,
    (old, new): (&Config, &Config),
    limit: fn(&JetStreamOptions) -> Option<i64>,
) -> Verdict {
    let refuse = |what: &str| Err(format!("config reload not supported for {what}"));
    if !old.jetstream.enabled && !new.jetstream.enabled {
        return Ok(None);
    }
    match (limit(&old.jetstream), limit(&new.jetstream)) {
        (Some(old), Some(new)) if new > old => Ok(Some(Change {
            part: Part::JetStream,
            said: format!("Reloaded: JetStream {name} = {}", friendly_bytes(new)),
        })),
        (Some(_), Some(_)) => refuse("decreasing jetstream max memory and store"),
        (Some(_), None) => refuse("jetstream max memory and max store"),
        (None, _) => refuse("jetstream dynamic max memory and store"),
    }
}

fn store_dir(old: &Config, new: &Config) -> Verdict {
    match (old.jetstream.enabled, &new.jetstream.store_dir) {
        (false, _) => Ok(None),
        (true, None) => Err("config reload not supported for jetstream storage dir".to_owned()),
        (true, Some(_)) => {
            Err("config reload not supported for jetstream storage directory".to_owned())
        }
    }
}

fn resolver(old: &Config, new: &Config) -> Verdict {
    match (&old.auth.resolver, &new.auth.resolver) {
        (Some(old), Some(new)) => {
            let (old, new) = (shown_resolver(old), shown_resolver(new));
            Err(refusal("AccountResolver", &old, &new))
        }
        (_, _) => {
            Err("config reload does not support moving to or from an account resolver".to_owned())
        }
    }
}

/// Where claims are, without what only its owner may know: addresses may have passwords before the host, and tokens
/// behind it.
fn shown_resolver(resolver: &ResolverDefinition) -> String {
    match resolver {
        ResolverDefinition::Memory => "memory".to_owned(),
        ResolverDefinition::Url(url) => {
            let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}")
        }
        ResolverDefinition::Directory {
            directory, cache, ..
        } => {
            let kind = if *cache { "cache" } else { "full" };
            format!("{kind} {}", directory.display())
        }
    }
}

fn proxies(old: &Config, new: &Config) -> Verdict {
    let (old, new) = (&old.auth.proxies, &new.auth.proxies);
    let without = |keys: &[String], others: &[String]| -> Vec<String> {
        let keys = keys.iter().filter(|key| !others.contains(key));
        keys.map(|key| format!("{key:?}")).collect()
    };
    let (gone, come) = (without(old, new), without(new, old));
    let said = match (gone.is_empty(), come.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(
            "Reloaded: proxies trusted keys [{}] were added",
            come.join(" ")
        ),
        (false, _) => format!(
            "Reloaded: proxies trusted keys [{}] were removed{}",
            gone.join(" "),
            match come.is_empty() {
                true => String::new(),
                false => format!(", [{}] were added", come.join(" ")),
            }
        ),
    };
    Ok(Some(Change {
        part: Part::Authorization,
        said,
    }))
}

fn callout(config: &Config) -> String {
    match &config.auth.callout {
        Some(callout) => format!(
            "issuer {}, account {}, users {}, xkey {}, allowed accounts {}",
            callout.issuer,
            callout.account,
            list(&callout.users),
            shown(callout.xkey.as_ref()),
            list(&callout.allowed_accounts),
        ),
        None => "<nil>".to_owned(),
    }
}

fn batches(config: &Config) -> String {
    let limits = &config.jetstream.limits;
    format!(
        "max_batch_inflight_per_stream {}, max_batch_inflight_total {}, max_batch_size {}, max_batch_timeout {}",
        limits.batches_per_stream,
        limits.batches,
        limits.batch_messages,
        shown_duration(limits.batch_timeout_ns),
    )
}

fn cipher(config: &Config) -> String {
    let name = match config.jetstream.cipher {
        Cipher::Aes => "aes",
        Cipher::ChaCha => "chacha",
    };
    name.to_owned()
}

fn sync(config: &Config) -> String {
    match config.jetstream.sync {
        Sync::Always => "always".to_owned(),
        Sync::Every(time) => duration(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// How many, and where.
fn shards(config: &Config) -> String {
    let cpus = config.cpus.iter().flatten();
    let on: String = cpus.map(|cpu| format!(" {cpu}")).collect();
    match on.is_empty() {
        true => shown(config.shards.as_ref()),
        false => format!("{} on{on}", shown(config.shards.as_ref())),
    }
}

fn list<'a, T: AsRef<str> + 'a>(texts: impl IntoIterator<Item = &'a T>) -> String {
    let texts: Vec<&str> = texts.into_iter().map(AsRef::as_ref).collect();
    format!("[{}]", texts.join(" "))
}

fn has<T>(value: Option<&T>) -> String {
    match value {
        Some(_) => "&{…}".to_owned(),
        None => "<nil>".to_owned(),
    }
}

fn shown<T: Display>(value: Option<&T>) -> String {
    value.map(T::to_string).unwrap_or_default()
}

fn path(path: Option<&std::path::PathBuf>) -> String {
    path.map(|path| path.display().to_string())
        .unwrap_or_default()
}

fn seconds(ms: u64) -> String {
    (ms as f64 / 1000.0).to_string()
}

fn duration(ms: u64) -> String {
    let ns = i64::try_from(ms).unwrap_or(i64::MAX);
    shown_duration(ns.saturating_mul(1_000_000))
}

/// As nats-server shows sizes: `1.91 MB`.
fn friendly_bytes(bytes: i64) -> String {
    const UNITS: &[&str] = &["KB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

#[cfg(test)]
mod tests;
