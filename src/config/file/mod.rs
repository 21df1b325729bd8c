//! The configuration file: the tree of [`super::conf`] → [`Config`].
//!
//! Every key of nats-server 2.15 is known. Those of parts that are not built yet are checked for their form and then
//! refused ([`later`]); unknown ones are mistakes. All mistakes are found in one go. Files are read through
//! [`Surroundings`]; keys and tokens are checked for their form, not decoded.

mod accounts;
mod authorization;
mod exports;
mod jetstream;
mod keys;
mod later;
mod permissions;
mod reader;
mod resolver;
mod tls;

use std::fmt;
use std::path::Path;

use self::reader::Reader;
pub use self::tls::help_tls;
use super::conf::{self, Entry, Map, Node, Place, Surroundings, Value};
use super::{
    Config, ConfigFile, LogFormat, MonitorOptions, OcspMode, OcspOptions, Port, RemoteSyslog,
};
use crate::auth::definition::Secret;

/// What a configuration file says.
#[derive(Debug, Default)]
pub struct Reading {
    pub config: Config,
    /// Nothing that keeps the server from starting.
    pub warnings: Vec<String>,
    /// Otherwise the time to authenticate depends on TLS.
    pub is_auth_timeout_given: bool,
}

/// Why a configuration file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    pub warnings: Vec<String>,
    /// At least one.
    pub errors: Vec<String>,
}

impl std::error::Error for FileError {}

/// A line for each, warnings first.
impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self
            .warnings
            .iter()
            .chain(&self.errors)
            .map(String::as_str)
            .collect();
        formatter.write_str(&lines.join("\n"))
    }
}

/// Reads a configuration file.
///
/// # Errors
/// It cannot be read, is not written in the language, or says something that is wrong or not supported yet.
pub fn read(path: &Path, surroundings: &dyn Surroundings) -> Result<Reading, FileError> {
    let map = conf::parse(path, surroundings).map_err(|error| FileError {
        warnings: Vec::new(),
        errors: vec![error.to_string()],
    })?;
    let mut reader = Reader::new(surroundings);
    if map.is_empty() {
        let path = path.display();
        reader
            .warnings
            .push(format!("{path}: config has no values or is empty"));
    }
    let mut config = Config {
        file: Some(ConfigFile {
            path: path.to_owned(),
            digest: conf::digest(&map),
        }),
        ..Config::default()
    };
    let mut top = Top {
        config: &mut config,
        is_auth_timeout_given: false,
    };
    for entry in map.entries() {
        top.key(entry, &mut reader);
    }
    let is_auth_timeout_given = top.is_auth_timeout_given;
    resolver::check_callout_accounts(&config.auth, &mut reader);
    let Reader {
        mut errors,
        warnings,
        mut later,
        ..
    } = reader;
    errors.append(&mut later);
    match errors.is_empty() {
        true => Ok(Reading {
            config,
            warnings,
            is_auth_timeout_given,
        }),
        false => Err(FileError { warnings, errors }),
    }
}

/// The top level, in the order in which it is written.
struct Top<'c> {
    config: &'c mut Config,
    is_auth_timeout_given: bool,
}

impl Top<'_> {
    fn key(&mut self, entry: &Entry, reader: &mut Reader<'_>) {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        if self.server_key(key, node, reader)
            || self.limit_key(key, node, reader)
            || self.log_key(key, node, reader)
            || self.monitor_key(key, node, reader)
            || self.security_key(key, node, reader)
            || self.jetstream_key(key, node, reader)
            || later::key(key, node, reader)
        {
            return;
        }
        reader.unknown(entry);
    }

    fn server_key(&mut self, key: &str, node: &Node, reader: &mut Reader<'_>) -> bool {
        let config = &mut *self.config;
        match key {
            "listen" => {
                if let Some((host, port)) = listen(node, reader) {
                    if let Some(host) = host {
                        config.host = host;
                    }
                    config.port = port;
                }
            }
            "port" => {
                if let Some(number) = reader.integer(key, node) {
                    set_some(&mut config.port, port(number, &node.place, reader));
                }
            }
            "host" | "net" => set_some(&mut config.host, reader.text_given(key, node)),
            "client_advertise" => {
                config.client_advertise = reader.text_given(key, node);
                let host_and_port = config.client_advertise.as_deref().map(split_advertise);
                if let Some(Err(text)) = host_and_port {
                    reader.error(&node.place, text);
                }
            }
            "server_name" => {
                config.server_name = reader.text_given(key, node);
                if config.server_name.as_ref().is_some_and(|n| n.contains(' ')) {
                    reader.error(&node.place, "server name cannot contain spaces");
                }
            }
            "server_tags" => {
                let tags = reader.text_or_texts(key, node).unwrap_or_default();
                // As in claims, tags are in lower case, and each once.
                for tag in tags {
                    let tag = tag.trim().to_lowercase();
                    if !tag.is_empty() && !config.server_tags.contains(&tag) {
                        config.server_tags.push(tag);
                    }
                }
            }
            "server_metadata" => {
                for entry in reader.map(key, node).map_or(&[][..], Map::entries) {
                    if let Some(text) = reader.text(&entry.key, &entry.node) {
                        let (key, text) = (entry.key.clone(), text.to_owned());
                        config.server_metadata.insert(key, text);
                    }
                }
            }
            "pidfile" | "pid_file" => {
                config.pid_file = reader.text_given(key, node).map(Into::into);
            }
            "ports_file_dir" => {
                config.ports_file_dir = reader.text_given(key, node).map(Into::into);
            }
            // The cache of subjects has a fixed size here and takes no memory that could be saved.
            "disable_sublist_cache" | "no_sublist_cache" => {
                reader.boolean(key, node);
            }
            // How often failing to reach another server is logged: there is no other server yet. And what of waiting is
            // written to a profile: there is no profiler that could be reached.
            "connect_error_reports" | "reconnect_error_reports" | "prof_block_rate" => {
                reader.integer(key, node);
            }
            _ => return false,
        }
        true
    }

    fn limit_key(&mut self, key: &str, node: &Node, reader: &mut Reader<'_>) -> bool {
        let limits = &mut self.config.limits;
        match key {
            "max_payload" => {
                let number = reader.number::<i32>(key, node);
                set_not_0(
                    &mut limits.max_payload_bytes,
                    not_negative(key, node, number, reader),
                );
            }
            "max_control_line" => {
                let number = reader.number::<i32>(key, node);
                let number = not_negative(key, node, number, reader);
                set_not_0(&mut limits.max_control_line_bytes, number);
            }
            "max_pending" => {
                set_not_0(&mut limits.max_pending_bytes, reader.number(key, node));
            }
            // Without a limit there would be no number to reserve descriptors for; a negative one has always refused all.
            "max_connections" | "max_conn" => {
                let number = reader.integer(key, node);
                let number = number.map(|number| usize::try_from(number).unwrap_or(0));
                set_some(&mut limits.max_connections, number);
            }
            "max_subscriptions" | "max_subs" => {
                let number = reader.integer(key, node);
                let number = number.map(|number| usize::try_from(number).unwrap_or(0));
                set_some(&mut limits.max_subscriptions, number);
            }
            "max_connections_per_address" => {
                let number = reader.integer(key, node);
                let number = number.map(|number| usize::try_from(number).unwrap_or(0));
                set_some(&mut limits.max_connections_per_address, number);
            }
            "max_unauthenticated" => {
                set_not_0(&mut limits.max_unauthenticated, reader.number(key, node));
            }
            "max_sub_tokens" | "max_subscription_tokens" => match reader.integer(key, node) {
                None => {}
                Some(..=0) => {
                    reader.error(&node.place, format!("{key} value can not be negative"));
                }
                Some(number) => match u8::try_from(number) {
                    Ok(number) => limits.max_sub_tokens = number,
                    Err(_) => reader.error(&node.place, format!("{key} value is too big")),
                },
            },
            "max_traced_msg_len" => {
                let number = reader.integer(key, node);
                let number = number.map(|number| usize::try_from(number).unwrap_or(0));
                set_some(&mut limits.max_traced_bytes, number);
            }
            "max_closed_clients" => {
                set_not_0(&mut limits.max_closed_clients, reader.number(key, node));
            }
            "no_header_support" => {
                set_some(&mut limits.no_header_support, reader.boolean(key, node));
            }
            "no_fast_producer_stall" => {
                set_some(
                    &mut limits.no_fast_producer_stall,
                    reader.boolean(key, node),
                );
            }
            "write_deadline" => {
                set_not_0(&mut limits.write_deadline_ms, reader.duration_ms(key, node));
            }
            // Clients are closed by default.
            "write_timeout" => match reader.text(key, node) {
                None | Some("default" | "close") => {}
                Some("retry") => reader.not_supported_yet("write_timeout: retry", &node.place),
                Some(_) => {
                    let text = "write_timeout must be 'default', 'close' or 'retry'";
                    reader.error(&node.place, text);
                }
            },
            "ping_interval" => {
                set_not_0(&mut limits.ping_interval_ms, reader.duration_ms(key, node));
            }
            "ping_max" => set_not_0(&mut limits.ping_max, reader.number(key, node)),
            // nats-server refuses less than 30 seconds. That is good advice, but no reason not to start: who has few
            // clients, or tests what they do, may hurry.
            "lame_duck_duration" => {
                let ns = reader.duration_text_ns(key, node);
                let ms = ns.and_then(|ns| reader.not_negative_ms(key, node, ns));
                set_not_0(&mut limits.lame_duck_duration_ms, ms);
            }
            "lame_duck_grace_period" => match reader.duration_text_ns(key, node) {
                Some(..0) => {
                    let text = "invalid lame_duck_grace_period, needs to be positive";
                    reader.error(&node.place, text);
                }
                Some(ns) => {
                    let ms = reader.not_negative_ms(key, node, ns);
                    set_not_0(&mut limits.lame_duck_grace_period_ms, ms);
                }
                None => {}
            },
            _ => return false,
        }
        true
    }

    fn log_key(&mut self, key: &str, node: &Node, reader: &mut Reader<'_>) -> bool {
        let config = &mut *self.config;
        match key {
            "debug" => set_some(&mut config.debug, reader.boolean(key, node)),
            "trace" => set_some(&mut config.trace, reader.boolean(key, node)),
            "trace_verbose" => {
                if let Some(on) = reader.boolean(key, node) {
                    (config.trace, config.trace_verbose) = (on, on);
                }
            }
            "trace_headers" => {
                if let Some(on) = reader.boolean(key, node) {
                    (config.trace, config.limits.trace_headers) = (on, on);
                }
            }
            "logtime" => set_some(&mut config.log.time, reader.boolean(key, node)),
            "logtime_utc" => set_some(&mut config.log.time_utc, reader.boolean(key, node)),
            "logfile" | "log_file" => {
                config.log.file = reader.text_given(key, node).map(Into::into);
            }
            "logfile_size_limit" | "log_size_limit" => {
                let bytes = reader.integer(key, node);
                let bytes = bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0));
                set_some(&mut config.log.file_size_limit, bytes);
            }
            "logfile_max_num" | "log_max_num" => {
                let files = reader.integer(key, node);
                let files = files.map(|files| usize::try_from(files).unwrap_or(0));
                set_some(&mut config.log.files_max, files);
            }
            "syslog" => set_some(&mut config.log.syslog, reader.boolean(key, node)),
            "remote_syslog" => {
                let given = reader.text_given(key, node);
                match given.as_deref().map(RemoteSyslog::parse).transpose() {
                    Ok(address) => config.log.remote_syslog = address,
                    Err(text) => reader.error(&node.place, text),
                }
            }
            "log_format" => match reader.text(key, node).map(LogFormat::parse) {
                None => {}
                Some(Ok(format)) => config.log.format = format,
                Some(Err(text)) => reader.error(&node.place, text),
            },
            _ => return false,
        }
        true
    }

    fn monitor_key(&mut self, key: &str, node: &Node, reader: &mut Reader<'_>) -> bool {
        let monitor = &mut self.config.monitor;
        match key {
            "http" | "https" => {
                let Some((host, number)) = listen_number(node, reader) else {
                    return true;
                };
                // The last one that names a place says which host; one without means that of clients.
                monitor.host = host;
                let port = monitor_port(number, &node.place, reader);
                match key {
                    "http" => monitor.http = port,
                    _ => monitor.https = port,
                }
            }
            "http_port" | "monitor_port" | "https_port" => {
                let number = reader.integer(key, node);
                let port = number.and_then(|number| monitor_port(number, &node.place, reader));
                match key {
                    "https_port" => monitor.https = port,
                    _ => monitor.http = port,
                }
            }
            "http_base_path" => {
                let path = reader.text(key, node);
                monitor.base_path = path.unwrap_or_default().to_owned();
            }
            _ => return false,
        }
        true
    }

    fn jetstream_key(&mut self, key: &str, node: &Node, reader: &mut Reader<'_>) -> bool {
        let options = &mut self.config.jetstream;
        match key {
            "jetstream" => jetstream::read(node, options, reader),
            "store_dir" | "storedir" => jetstream::store_dir(key, node, options, reader),
            _ => return false,
        }
        true
    }

    fn security_key(&mut self, key: &str, node: &Node, reader: &mut Reader<'_>) -> bool {
        let config = &mut *self.config;
        match key {
            "tls" => {
                config.tls = tls::read(node, tls::Side::Server, reader);
                let map = config.tls.as_ref().is_some_and(|tls| tls.verify_and_map);
                config.auth.map_certificates = map;
            }
            "allow_non_tls" => set_some(&mut config.allow_non_tls, reader.boolean(key, node)),
            "ocsp" => config.ocsp = ocsp(node, reader),
            "resolver_tls" => config.resolver_tls = tls::read(node, tls::Side::Client, reader),
            "authorization" => {
                config.auth.has_block = true;
                let timeout_ms = authorization::top_level(node, &mut config.auth, reader);
                if let Some(timeout_ms @ 1..) = timeout_ms {
                    config.limits.auth_timeout_ms = timeout_ms;
                    self.is_auth_timeout_given = true;
                }
            }
            "accounts" => accounts::read(node, &mut config.auth, reader),
            "mappings" | "maps" => {
                config.auth.mappings = accounts::mappings(key, node, reader);
            }
            "system_account" | "system" => match &node.value {
                Value::Text(name) => {
                    config.auth.system_account = Some(name.clone()).filter(|n| !n.is_empty());
                }
                _ => reader.error(&node.place, "system account name must be a string"),
            },
            "no_system_account" | "no_system" | "no_sys_acc" => {
                set_some(
                    &mut config.auth.no_system_account,
                    reader.boolean(key, node),
                );
            }
            "no_auth_user" => config.auth.no_auth_user = reader.text_given(key, node),
            "default_sentinel" => {
                config.auth.default_sentinel = reader.text_given(key, node).map(Secret);
            }
            _ => return resolver::key(key, node, &mut config.auth, reader),
        }
        true
    }
}

fn set_some<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// 0 stands for the default.
fn set_not_0<T: Default + PartialEq>(place: &mut T, value: Option<T>) {
    set_some(place, value.filter(|value| *value != T::default()));
}

fn not_negative(
    key: &str,
    node: &Node,
    number: Option<i32>,
    reader: &mut Reader<'_>,
) -> Option<usize> {
    let number = number?;
    let fitting = usize::try_from(number).ok();
    if fitting.is_none() {
        reader.error(&node.place, format!("{key} value can not be negative"));
    }
    fitting
}

fn port(number: i64, place: &Place, reader: &mut Reader<'_>) -> Option<Port> {
    let port = Port::from_number(number);
    if port.is_none() {
        let text = format!("port {number}: expected a port from 1 to 65535, or -1 for a free one");
        reader.error(place, text);
    }
    port
}

/// The port of monitoring; 0 is none.
fn monitor_port(number: i64, place: &Place, reader: &mut Reader<'_>) -> Option<Port> {
    match MonitorOptions::port(number) {
        Ok(port) => port,
        // It says why it is none.
        Err(()) => port(number, place, reader),
    }
}

/// `port` or `host:port`.
fn listen(node: &Node, reader: &mut Reader<'_>) -> Option<(Option<String>, Port)> {
    let (host, number) = listen_number(node, reader)?;
    Some((host, port(number, &node.place, reader)?))
}

/// The same, whatever the number means.
fn listen_number(node: &Node, reader: &mut Reader<'_>) -> Option<(Option<String>, i64)> {
    match &node.value {
        Value::Integer(number) => Some((None, *number)),
        Value::Text(text) => {
            let Some((host, number)) = split_host_port(text) else {
                let text = format!("could not parse address string {text:?}");
                reader.error(&node.place, text);
                return None;
            };
            let Ok(number) = number.parse() else {
                reader.error(&node.place, format!("could not parse port {number:?}"));
                return None;
            };
            let host = Some(host.to_owned()).filter(|host| !host.is_empty());
            Some((host, number))
        }
        other => {
            let text = format!("expected port or host:port, got {}", other.kind());
            reader.error(&node.place, text);
            None
        }
    }
}

/// `host:port` with an IPv6 address in brackets, as Go's `net.SplitHostPort`.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(host) => Some((host.strip_suffix(']')?, port)),
        None if host.contains([':', '[', ']']) => None,
        None => Some((host, port)),
    }
}

/// Host and port of an address to be advertised; `None` for the port that the server listens on.
pub fn split_advertise(text: &str) -> Result<(&str, Option<u16>), String> {
    let wrong = || format!("could not parse address string {text:?}");
    let (host, port) = match split_host_port(text) {
        Some((host, port)) => (host, port),
        None if text.contains(':') => return Err(wrong()),
        None => (text, "0"),
    };
    match port.parse::<i64>() {
        Ok(0 | -1) => Ok((host, None)),
        Ok(number) => match u16::try_from(number) {
            Ok(port) => Ok((host, Some(port))),
            Err(_) => Err(wrong()),
        },
        Err(_) => Err(wrong()),
    }
}

fn ocsp(node: &Node, reader: &mut Reader<'_>) -> Option<OcspOptions> {
    let mut options = OcspOptions {
        mode: OcspMode::Auto,
        urls: Vec::new(),
    };
    match &node.value {
        Value::Bool(true) => {}
        Value::Bool(false) => options.mode = OcspMode::Never,
        Value::Map(map) => {
            for entry in map.entries() {
                let (key, node) = (entry.key.as_str(), &entry.node);
                match key {
                    "mode" => match reader.text(key, node).map(str::to_lowercase).as_deref() {
                        None => {}
                        Some("always") => options.mode = OcspMode::Always,
                        Some("must") => options.mode = OcspMode::Must,
                        Some("never") => options.mode = OcspMode::Never,
                        Some("auto") => options.mode = OcspMode::Auto,
                        Some(other) => {
                            let text = format!(
                                "error parsing ocsp config: unsupported ocsp mode {other:?}"
                            );
                            reader.error(&node.place, text);
                        }
                    },
                    "url" => {
                        options.urls = reader.text_given(key, node).into_iter().collect();
                    }
                    "urls" => options.urls = reader.texts(key, node).unwrap_or_default(),
                    _ => reader.unknown_saying(
                        entry,
                        format!("error parsing ocsp config: unsupported field {key:?}"),
                    ),
                }
            }
        }
        other => {
            let kind = other.kind();
            let text = format!("error parsing ocsp config: unsupported type {kind}");
            reader.error(&node.place, text);
            return None;
        }
    }
    Some(options)
}

#[cfg(test)]
mod tests;
