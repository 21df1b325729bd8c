//! Where log lines go and what they look like.

use std::path::PathBuf;

/// What the operator says about the log, beyond its level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// `None`: somewhere else.
    pub file: Option<PathBuf>,
    /// Bytes after which the file is put aside and a new one begun; 0 for never.
    pub file_size_limit: u64,
    /// Files to keep, the one that is written to among them; 0 for all.
    pub files_max: usize,
    /// Without a file: to the system log.
    pub syslog: bool,
    /// Without a file: to the system log of this host.
    pub remote_syslog: Option<RemoteSyslog>,
    pub format: LogFormat,
    /// Start lines with the time.
    pub time: bool,
    /// That is UTC instead of local time.
    pub time_utc: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            file: None,
            file_size_limit: 0,
            files_max: 0,
            syslog: false,
            remote_syslog: None,
            format: LogFormat::Text,
            time: true,
            time_utc: false,
        }
    }
}

/// What a line looks like. System logs have a form of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// As nats-server's.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Where a system log is listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSyslog {
    /// `udp://host:port`
    Udp(String),
    /// `tcp://host:port`
    Tcp(String),
    /// `unix:///path`
    Unix(PathBuf),
}

impl RemoteSyslog {
    /// Reads an address.
    ///
    /// # Errors
    /// It is none; the text says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("remote_syslog {text:?}: {what}"));
        let Some((network, rest)) = text.split_once("://") else {
            return wrong("expected udp://host:port, tcp://host:port or unix:///path");
        };
        let has_port = rest.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
        });
        match network {
            "udp" if has_port => Ok(Self::Udp(rest.to_owned())),
            "tcp" if has_port => Ok(Self::Tcp(rest.to_owned())),
            "udp" | "tcp" => wrong("expected host:port"),
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => wrong("expected a path"),
            other => wrong(&format!("invalid network type: {other:?}")),
        }
    }
}

/// The address as it was written.
impl std::fmt::Display for RemoteSyslog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Udp(address) => write!(formatter, "udp://{address}"),
            Self::Tcp(address) => write!(formatter, "tcp://{address}"),
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
    }
}

impl LogFormat {
    /// Reads its name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("log_format must be 'text' or 'json'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_system_logs() {
        for (text, right) in [
            ("udp://127.0.0.1:514", true),
            ("tcp://logs.example.org:514", true),
            ("udp://[::1]:514", true),
            ("unix:///run/log", true),
            ("unix://log", false),
            ("udp://127.0.0.1", false),
            ("udp://:514", false),
            ("tcp://a/b:1", false),
            ("tcp://a:70000", false),
            ("http://a:1", false),
            ("127.0.0.1:514", false),
            ("", false),
        ] {
            let parsed = RemoteSyslog::parse(text);
            assert_eq!(parsed.is_ok(), right, "{text}: {parsed:?}");
            if let Ok(parsed) = parsed {
                assert_eq!(parsed.to_string(), text);
            }
        }
    }
}
