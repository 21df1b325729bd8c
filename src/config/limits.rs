//! What one client, and all of them together, may ask of the server.

use std::fmt;

use super::conf::shown_duration;

/// The limits of the core broker. Defaults: nats-server 2.15 (`server/const.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message body, headers included.
    pub max_payload_bytes: usize,
    /// Longest protocol line of a client.
    pub max_control_line_bytes: usize,
    /// Most bytes waiting to be sent to one connection before it counts as a slow consumer.
    pub max_pending_bytes: usize,
    /// Most client connections at a time; 0 refuses all.
    pub max_connections: usize,
    /// Most subscriptions of one connection; 0 is unlimited.
    pub max_subscriptions: usize,
    /// Publishers never wait for subscribers: what those that read too slowly have no room for is not delivered.
    pub no_fast_producer_stall: bool,
    /// How long one write to a connection may make no progress.
    pub write_deadline_ms: u64,
    /// Most tokens of a subscription's subject; 0 is unlimited.
    pub max_sub_tokens: u8,
    /// Headers are not offered to clients.
    pub no_header_support: bool,
    /// Bytes of a message that a trace shows; 0 is all.
    pub max_traced_bytes: usize,
    /// Of messages, a trace shows headers only.
    pub trace_headers: bool,
    /// Closed connections that monitoring remembers.
    pub max_closed_clients: usize,
    /// Time between two PINGs to an idle client.
    pub ping_interval_ms: u64,
    /// Unanswered PINGs after which a client is taken for dead.
    pub ping_max: u32,
    /// Time a client has to send its CONNECT.
    pub auth_timeout_ms: u64,
    /// Connections from one address; 0 for any number. Skein's own.
    pub max_connections_per_address: usize,
    /// Connections that have not been let in yet, where there is something to present. Skein's own.
    pub max_unauthenticated: usize,
    /// Time over which a server in lame duck mode closes its clients.
    pub lame_duck_duration_ms: u64,
    /// Wait before the first of them is closed; below `lame_duck_duration_ms`.
    pub lame_duck_grace_period_ms: u64,
}

impl Limits {
    pub const DEFAULT: Limits = Limits {
        max_payload_bytes: 1024 * 1024,
        max_control_line_bytes: 4096,
        max_pending_bytes: 64 * 1024 * 1024,
        max_connections: 65_536,
        max_subscriptions: 0,
        no_fast_producer_stall: false,
        write_deadline_ms: 10_000,
        max_sub_tokens: 0,
        no_header_support: false,
        max_traced_bytes: 0,
        trace_headers: false,
        max_closed_clients: 10_000,
        ping_interval_ms: 120_000,
        ping_max: 2,
        auth_timeout_ms: 2_000,
        max_connections_per_address: 0,
        max_unauthenticated: 8_192,
        lame_duck_duration_ms: 120_000,
        lame_duck_grace_period_ms: 10_000,
    };

    /// The relations between limits that nats-server refuses to start without.
    pub fn check(&self) -> Result<(), LimitError> {
        if self.max_payload_bytes > self.max_pending_bytes {
            return Err(LimitError::PayloadAbovePending {
                max_payload_bytes: self.max_payload_bytes,
                max_pending_bytes: self.max_pending_bytes,
            });
        }
        if self.lame_duck_grace_period_ms >= self.lame_duck_duration_ms {
            return Err(LimitError::GracePeriodNotBelowDuration {
                grace_period_ms: self.lame_duck_grace_period_ms,
                duration_ms: self.lame_duck_duration_ms,
            });
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

const _: () = assert!(Limits::DEFAULT.max_control_line_bytes <= Limits::DEFAULT.max_payload_bytes);
const _: () = assert!(Limits::DEFAULT.max_payload_bytes <= Limits::DEFAULT.max_pending_bytes);
const _: () =
    assert!(Limits::DEFAULT.lame_duck_grace_period_ms < Limits::DEFAULT.lame_duck_duration_ms);

/// Which relation between limits does not hold; the texts are nats-server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitError {
    PayloadAbovePending {
        max_payload_bytes: usize,
        max_pending_bytes: usize,
    },
    GracePeriodNotBelowDuration {
        grace_period_ms: u64,
        duration_ms: u64,
    },
}

impl std::error::Error for LimitError {}

impl fmt::Display for LimitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitError::PayloadAbovePending {
                max_payload_bytes,
                max_pending_bytes,
            } => write!(
                formatter,
                "max_payload ({max_payload_bytes}) cannot be higher than max_pending ({max_pending_bytes})"
            ),
            LimitError::GracePeriodNotBelowDuration {
                grace_period_ms,
                duration_ms,
            } => {
                let shown = |ms: u64| {
                    let ns = i64::try_from(ms)
                        .unwrap_or(i64::MAX)
                        .saturating_mul(1_000_000);
                    shown_duration(ns)
                };
                write!(
                    formatter,
                    "lame duck grace period ({}) should be strictly lower than lame duck duration ({})",
                    shown(*grace_period_ms),
                    shown(*duration_ms)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations() {
        #[track_caller]
        fn check(limits: &Limits, expected: Result<(), &str>) {
            let found = limits.check().map_err(|error| error.to_string());
            assert_eq!(found.as_ref().copied().map_err(String::as_str), expected);
        }
        check(&Limits::DEFAULT, Ok(()));
        let pending = Limits {
            max_pending_bytes: 1024,
            ..Limits::DEFAULT
        };
        check(
            &pending,
            Err("max_payload (1048576) cannot be higher than max_pending (1024)"),
        );
        let grace = Limits {
            lame_duck_grace_period_ms: 120_000,
            ..Limits::DEFAULT
        };
        check(
            &grace,
            Err(
                "lame duck grace period (2m0s) should be strictly lower than lame duck duration (2m0s)",
            ),
        );
    }
}
