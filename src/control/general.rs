//! The smaller answers: health, and what a server that stands alone, without JetStream, has to say
//! of routes, gateways, leafnodes and the like.

use std::collections::BTreeMap;

use serde::Serialize;

use super::json::is_default;
use super::time::{UnixNanos, duration};
use super::varz::Absent;

#[derive(Clone, Debug, Serialize)]
pub struct Idz<'a> {
    pub name: &'a str,
    pub host: &'a str,
    pub id: &'a str,
}

#[derive(Clone, Debug, Serialize)]
pub struct Routez<'a> {
    pub server_id: &'a str,
    pub server_name: &'a str,
    pub now: UnixNanos,
    pub num_routes: u64,
    pub routes: [Absent; 0],
}

#[derive(Clone, Debug, Serialize)]
pub struct Gatewayz<'a> {
    pub server_id: &'a str,
    pub now: UnixNanos,
    pub outbound_gateways: Absent,
    pub inbound_gateways: Absent,
}

#[derive(Clone, Debug, Serialize)]
pub struct Leafz<'a> {
    pub server_id: &'a str,
    pub now: UnixNanos,
    pub leafnodes: u64,
    pub leafs: [Absent; 0],
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct JetStreamApi {
    pub level: u64,
    pub total: u64,
    pub errors: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct JetStreamConfig {
    pub max_memory: u64,
    pub max_storage: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Jsz<'a> {
    pub memory: u64,
    pub storage: u64,
    pub reserved_memory: u64,
    pub reserved_storage: u64,
    pub accounts: u64,
    pub ha_assets: u64,
    pub api: JetStreamApi,
    pub server_id: &'a str,
    pub now: UnixNanos,
    pub disabled: bool,
    pub config: JetStreamConfig,
    pub streams: u64,
    pub consumers: u64,
    pub messages: u64,
    pub bytes: u64,
    pub total: u64,
}

/// JSZ of a server without JetStream.
pub fn jsz_disabled(server_id: &str, now: UnixNanos) -> Jsz<'_> {
    Jsz {
        memory: 0,
        storage: 0,
        reserved_memory: 0,
        reserved_storage: 0,
        accounts: 0,
        ha_assets: 0,
        api: JetStreamApi::default(),
        server_id,
        now,
        disabled: true,
        config: JetStreamConfig::default(),
        streams: 0,
        consumers: 0,
        messages: 0,
        bytes: 0,
        total: 0,
    }
}

/// What a health check asks about.
#[derive(Clone, Debug, Default)]
pub struct HealthOptions {
    pub account: String,
    pub stream: String,
    pub consumer: String,
    pub details: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    pub status: &'static str,
    /// Left out over HTTP, where the response has it.
    #[serde(skip_serializing_if = "is_default")]
    pub status_code: u16,
    #[serde(skip_serializing_if = "is_default")]
    pub error: String,
    #[serde(skip_serializing_if = "is_default")]
    pub errors: Vec<HealthError>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthError {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub error: String,
}

/// A server that answers is healthy, as long as there is nothing but it; questions may be wrong.
pub fn healthz(options: &HealthOptions) -> Health {
    let missing = match options {
        o if o.account.is_empty() && !o.stream.is_empty() => Some(("account", "stream")),
        o if o.stream.is_empty() && !o.consumer.is_empty() => Some(("stream", "consumer")),
        _ => None,
    };
    let Some((what, of)) = missing else {
        return Health {
            status: "ok",
            status_code: 200,
            error: String::new(),
            errors: Vec::new(),
        };
    };
    let error = format!("\"{what}\" must not be empty when checking {of} health");
    let mut health = Health {
        status: "error",
        status_code: 400,
        error: String::new(),
        errors: Vec::new(),
    };
    if options.details {
        health.errors.push(HealthError {
            kind: "BAD_REQUEST",
            error,
        });
    } else {
        health.error = error;
    }
    health
}

/// Go's runtime variables. There is no Go here; command lines can hold passwords.
#[derive(Clone, Debug, Serialize)]
pub struct Expvarz {
    pub memstats: BTreeMap<&'static str, u64>,
    pub cmdline: [&'static str; 1],
}

impl Expvarz {
    /// Of a process with so much resident memory.
    pub fn new(resident_bytes: u64) -> Self {
        Self {
            memstats: BTreeMap::from([("Sys", resident_bytes)]),
            cmdline: ["skein"],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profilez {
    /// There are none in Go's format: always `null`.
    pub profile: (),
    pub error: String,
}

/// PROFILEZ of a server that has no profiles.
pub fn profilez(name: &str, duration_ns: i64) -> Profilez {
    let error = match name {
        "" => "Profile name not specified".to_owned(),
        "cpu" if !(1..=15_000_000_000).contains(&duration_ns) => {
            let sign = if duration_ns < 0 { "-" } else { "" };
            let shown = duration(duration_ns.unsigned_abs());
            format!("Duration {sign}{shown} should be between 0s and 15s")
        }
        name => format!("Profile {name:?} not found"),
    };
    Profilez { profile: (), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health() {
        let check = |account: &str, stream: &str, consumer: &str, details| {
            let health = healthz(&HealthOptions {
                account: account.into(),
                stream: stream.into(),
                consumer: consumer.into(),
                details,
            });
            serde_json::to_string(&health).unwrap()
        };
        let cases = [
            (
                check("", "", "", false),
                r#"{"status":"ok","status_code":200}"#,
            ),
            (
                check("A", "S", "C", true),
                r#"{"status":"ok","status_code":200}"#,
            ),
            (
                check("", "S", "", false),
                r#"{"status":"error","status_code":400,"error":"\"account\" must not be empty when checking stream health"}"#,
            ),
            (
                check("A", "", "C", true),
                r#"{"status":"error","status_code":400,"errors":[{"type":"BAD_REQUEST","error":"\"stream\" must not be empty when checking consumer health"}]}"#,
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn profiles() {
        let cases = [
            ("", 0, "Profile name not specified"),
            ("nope", 0, "Profile \"nope\" not found"),
            ("cpu", 0, "Duration 0s should be between 0s and 15s"),
            (
                "cpu",
                i64::MIN,
                "Duration -2562047h47m16.854775808s should be between 0s and 15s",
            ),
            ("cpu", 1_000_000_000, "Profile \"cpu\" not found"),
        ];
        for (name, duration_ns, expected) in cases {
            assert_eq!(profilez(name, duration_ns).error, expected);
        }
    }
}
