//! The smaller answers: what a server that stands alone has to say of routes, gateways, leafnodes and
//! the like, for the system account and over HTTP alike.
//!
//! They are there because tools ask for them and expect their fields. Must not know who asks, nor ask anybody: when there are
//! other servers, what is said of them gets a file of its own.

use std::collections::BTreeMap;

use serde::Serialize;

use super::time::{UnixNanos, duration};
use super::varz::Absent;
use super::view::ServerFacts;
use crate::proto::quote::quote;

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

impl<'a> Routez<'a> {
    /// Of a server without routes.
    pub fn alone(server: &'a ServerFacts, now: UnixNanos) -> Self {
        Self {
            server_id: &server.identity.id,
            server_name: &server.identity.name,
            now,
            num_routes: 0,
            routes: [],
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Gatewayz<'a> {
    pub server_id: &'a str,
    pub now: UnixNanos,
    pub outbound_gateways: Absent,
    pub inbound_gateways: Absent,
}

impl<'a> Gatewayz<'a> {
    /// Of a server without gateways.
    pub fn alone(server: &'a ServerFacts, now: UnixNanos) -> Self {
        Self {
            server_id: &server.identity.id,
            now,
            outbound_gateways: Absent {},
            inbound_gateways: Absent {},
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Leafz<'a> {
    pub server_id: &'a str,
    pub now: UnixNanos,
    pub leafnodes: u64,
    pub leafs: [Absent; 0],
}

impl<'a> Leafz<'a> {
    /// Of a server without leafnodes.
    pub fn alone(server: &'a ServerFacts, now: UnixNanos) -> Self {
        Self {
            server_id: &server.identity.id,
            now,
            leafnodes: 0,
            leafs: [],
        }
    }
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
        name => format!("Profile {} not found", quote(name.as_bytes())),
    };
    Profilez { profile: (), error }
}

#[cfg(test)]
mod tests {
    use super::*;

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
