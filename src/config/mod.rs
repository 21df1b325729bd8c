//! What the operator asked for, as one plain value: text → [`Config`].
//!
//! Must not know sockets, files or the log: it names them, `runtime/` opens them. Defaults are nats-server's, so a
//! `Config` that was never touched describes the server that `nats-server` without flags would be.

mod command_line;
pub mod conf;
mod cpu_list;
mod limits;
mod tls;

pub use command_line::{CommandLineError, Invocation, parse};
pub use cpu_list::{CPU_NUMBER_MAX, CpuListError, parse_cpu_list};
pub use limits::{LIMITS_VARIABLE, LimitError, Limits};
pub use tls::{CertificateFiles, HandshakeFirst, OcspMode, OcspOptions, TlsOptions, TlsVersion};

use std::fmt;
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

    /// The number to hand to `bind(2)`, where 0 asks for a free port.
    pub fn bind_number(self) -> u16 {
        match self {
            Port::PickFree => 0,
            Port::Fixed(number) => number.get(),
        }
    }
}

/// Everything the broker is told before it starts.
///
/// Strings are never empty: an empty flag means "not given", as in nats-server.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// Host name or address to listen on.
    pub host: String,
    pub port: Port,
    /// `None`: the server id doubles as the name.
    pub server_name: Option<String>,
    pub pid_file: Option<PathBuf>,
    /// `None`: log to stderr.
    pub log_file: Option<PathBuf>,
    pub debug: bool,
    pub trace: bool,
    /// Trace the system account as well (`-VV`); implies nothing without `trace`.
    pub trace_verbose: bool,
    /// Start log lines with the time.
    pub log_time: bool,
    /// The time in log lines is UTC instead of local time.
    pub log_time_utc: bool,
    /// User that every client must name; `None` with `token` `None` leaves the server open.
    pub user: Option<String>,
    /// Password of `user`; `None` with a `user` is the empty password.
    pub pass: Option<String>,
    /// Token that every client must present. It wins: with a token, `user` and `pass` admit nobody.
    pub token: Option<String>,
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
}

impl Default for Config {
    fn default() -> Config {
        Config {
            host: "0.0.0.0".to_owned(),
            port: Port::DEFAULT,
            server_name: None,
            pid_file: None,
            log_file: None,
            debug: false,
            trace: false,
            trace_verbose: false,
            log_time: true,
            log_time_utc: false,
            user: None,
            pass: None,
            token: None,
            shards: None,
            cpus: None,
            limits: Limits::DEFAULT,
            auth: AuthDefinition::default(),
            tls: None,
            allow_non_tls: false,
            ocsp: None,
        }
    }
}

/// Written out so that a password or token never reaches a log; the pattern names every field, so a new one that is
/// forgotten here does not compile.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config {
            host,
            port,
            server_name,
            pid_file,
            log_file,
            debug,
            trace,
            trace_verbose,
            log_time,
            log_time_utc,
            user,
            pass,
            token,
            shards,
            cpus,
            limits,
            auth,
            tls,
            allow_non_tls,
            ocsp,
        } = self;
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "[REDACTED]");
        formatter
            .debug_struct("Config")
            .field("host", host)
            .field("port", port)
            .field("server_name", server_name)
            .field("pid_file", pid_file)
            .field("log_file", log_file)
            .field("debug", debug)
            .field("trace", trace)
            .field("trace_verbose", trace_verbose)
            .field("log_time", log_time)
            .field("log_time_utc", log_time_utc)
            .field("user", user)
            .field("pass", &hidden(pass))
            .field("token", &hidden(token))
            .field("shards", shards)
            .field("cpus", cpus)
            .field("limits", limits)
            .field("auth", auth)
            .field("tls", tls)
            .field("allow_non_tls", allow_non_tls)
            .field("ocsp", ocsp)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_secrets() {
        let config = Config {
            user: Some("alice".to_owned()),
            pass: Some("hunter2".to_owned()),
            token: Some("s3cr3t".to_owned()),
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
