//! What the operator asked for, as one plain value: command line and configuration file →
//! [`Config`].
//!
//! Must not know sockets, files or the log: it names them, `runtime/` opens them. Defaults are nats-server's, so a
//! `Config` that was never touched describes the server that `nats-server` without flags would be.

mod check;
mod command_line;
pub mod conf;
mod cpu_list;
mod file;
mod jetstream;
mod limits;
mod logging;
mod monitor;
pub mod reload;
mod signal;
mod tls;

pub use command_line::{CommandLineError, ImportOptions, Invocation, parse};
pub use conf::Surroundings;
pub use cpu_list::{CPU_NUMBER_MAX, CpuListError, parse_cpu_list};
pub use file::{FileError, split_advertise};
pub use jetstream::{AssetLimits, Cipher, JetStreamOptions, Sync};
pub use limits::{LimitError, Limits};
pub use logging::{LogFormat, LogOptions, RemoteSyslog};
pub use monitor::MonitorOptions;
pub use signal::{SignalCommand, SignalOrder};
pub use tls::{CertificateFiles, HandshakeFirst, OcspMode, OcspOptions, TlsOptions, TlsVersion};

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;

use crate::auth::definition::AuthDefinition;

/// The most shards one server runs: `--shards` and the length of `--cpus` stay at or below it.
pub const SHARDS_MAX: usize = 64;

/// The TCP port that clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The operating system picks a free one (`-p -1`).
    PickFree,
    /// Exactly this one.
    Fixed(NonZeroU16),
}

impl Port {
    /// The port NATS clients try when none is given.
    pub const DEFAULT: Port = Port::Fixed(NonZeroU16::new(4222).expect("4222 is not zero"));

    /// The port of a number as operators write it: 0 is the default, -1 a free one.
    pub fn from_number(number: i64) -> Option<Port> {
        match number {
            0 => Some(Port::DEFAULT),
            -1 => Some(Port::PickFree),
            _ => {
                let number = u16::try_from(number).ok()?;
                NonZeroU16::new(number).map(Port::Fixed)
            }
        }
    }

    /// The number to hand to `bind(2)`, where 0 asks for a free port.
    pub fn bind_number(self) -> u16 {
        match self {
            Port::PickFree => 0,
            Port::Fixed(number) => number.get(),
        }
    }
}

/// The file that a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    pub path: PathBuf,
    /// `sha256:…` over its values.
    pub digest: String,
}

/// Everything the broker is told before it starts.
///
/// Strings are never empty: an empty flag or value means "not given", as in nats-server. `Debug` shows no secrets: those
/// are in `auth`, as [`crate::auth::definition::Secret`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub file: Option<ConfigFile>,
    /// Host name or address to listen on.
    pub host: String,
    pub port: Port,
    /// `host` or `host:port` that clients are told instead of where the server listens.
    pub client_advertise: Option<String>,
    /// `None`: the server id doubles as the name.
    pub server_name: Option<String>,
    pub server_tags: Vec<String>,
    pub server_metadata: BTreeMap<String, String>,
    pub pid_file: Option<PathBuf>,
    /// Where the file goes that says which ports were taken; `None` for none.
    pub ports_file_dir: Option<PathBuf>,
    pub log: LogOptions,
    pub debug: bool,
    pub trace: bool,
    /// Trace the system account as well (`-VV`); implies nothing without `trace`.
    pub trace_verbose: bool,
    /// Shards (cores) to run, at most [`SHARDS_MAX`]; `None`: one per usable CPU.
    pub shards: Option<usize>,
    /// CPU of each shard. `Some` implies `shards == Some(cpus.len())`.
    pub cpus: Option<Vec<usize>>,
    pub limits: Limits,
    /// Who may connect, and the accounts.
    pub auth: AuthDefinition,
    /// TLS for clients.
    pub tls: Option<TlsOptions>,
    /// With `tls`, clients may do without.
    pub allow_non_tls: bool,
    pub ocsp: Option<OcspOptions>,
    /// TLS towards the account resolver.
    pub resolver_tls: Option<TlsOptions>,
    pub jetstream: JetStreamOptions,
    pub monitor: MonitorOptions,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            file: None,
            host: "0.0.0.0".to_owned(),
            port: Port::DEFAULT,
            client_advertise: None,
            server_name: None,
            server_tags: Vec::new(),
            server_metadata: BTreeMap::new(),
            pid_file: None,
            ports_file_dir: None,
            log: LogOptions::default(),
            debug: false,
            trace: false,
            trace_verbose: false,
            shards: None,
            cpus: None,
            limits: Limits::DEFAULT,
            auth: AuthDefinition::default(),
            tls: None,
            allow_non_tls: false,
            ocsp: None,
            resolver_tls: None,
            jetstream: JetStreamOptions::default(),
            monitor: MonitorOptions::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::definition::Secret;

    #[test]
    fn debug_output_hides_secrets() {
        let config = Config {
            auth: AuthDefinition {
                user: Some("alice".to_owned()),
                pass: Some(Secret("hunter2".to_owned())),
                token: Some(Secret("s3cr3t".to_owned())),
                ..AuthDefinition::default()
            },
            ..Config::default()
        };
        let shown = format!("{config:?}");
        assert!(
            shown.contains("alice") && shown.contains("[REDACTED]"),
            "{shown}"
        );
        assert!(
            !shown.contains("hunter2") && !shown.contains("s3cr3t"),
            "{shown}"
        );
    }

    #[test]
    fn port_for_bind() {
        assert_eq!(Port::DEFAULT.bind_number(), 4222);
        assert_eq!(Port::PickFree.bind_number(), 0);
    }
}
