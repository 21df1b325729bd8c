//! What one client, and all of them together, may ask of the server.

use std::fmt;
use std::num::IntErrorKind;

/// Environment variable whose value `main` hands to [`Limits::apply`]. Hidden: it is in no help text.
pub const LIMITS_VARIABLE: &str = "SKEIN_SET";

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
    /// How long one write to a connection may make no progress.
    pub write_deadline_ms: u64,
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
        write_deadline_ms: 10_000,
        ping_interval_ms: 120_000,
        ping_max: 2,
        auth_timeout_ms: 2_000,
        max_connections_per_address: 0,
        max_unauthenticated: 8_192,
        lame_duck_duration_ms: 120_000,
        lame_duck_grace_period_ms: 10_000,
    };

    /// Applies `name=value,name=value`, the form of the [`LIMITS_VARIABLE`]; all or nothing.
    ///
    /// This exists so that tests can set limits before there is a configuration file, and is not meant for operators.
    /// Names are those of the configuration file (`max_payload`, `ping_max`), except that times carry their unit
    /// (`write_deadline_ms`). Empty text changes nothing.
    pub fn apply(&mut self, text: &str) -> Result<(), LimitError> {
        if text.is_empty() {
            return Ok(());
        }
        let mut changed = self.clone();
        let mut seen = Vec::new();
        for assignment in text.split(',') {
            let (name, value) = assignment
                .split_once('=')
                .ok_or_else(|| LimitError::NotAnAssignment(assignment.to_owned()))?;
            changed.set(name, value)?;
            if seen.contains(&name) {
                return Err(LimitError::SetTwice(name.to_owned()));
            }
            seen.push(name);
        }
        changed.check()?;
        *self = changed;
        Ok(())
    }

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

    fn set(&mut self, name: &str, value: &str) -> Result<(), LimitError> {
        match name {
            "max_payload" => self.max_payload_bytes = number(name, value, 1)?,
            "max_control_line" => self.max_control_line_bytes = number(name, value, 1)?,
            "max_pending" => self.max_pending_bytes = number(name, value, 1)?,
            "max_connections" => self.max_connections = number(name, value, 0)?,
            "max_subscriptions" => self.max_subscriptions = number(name, value, 0)?,
            "write_deadline_ms" => self.write_deadline_ms = number(name, value, 1)?,
            "ping_interval_ms" => self.ping_interval_ms = number(name, value, 1)?,
            "ping_max" => self.ping_max = number(name, value, 1)?,
            "max_connections_per_address" => {
                self.max_connections_per_address = number(name, value, 0)?;
            }
            "max_unauthenticated" => self.max_unauthenticated = number(name, value, 1)?,
            "auth_timeout_ms" => self.auth_timeout_ms = number(name, value, 1)?,
            "lame_duck_duration_ms" => self.lame_duck_duration_ms = number(name, value, 1)?,
            "lame_duck_grace_period_ms" => self.lame_duck_grace_period_ms = number(name, value, 0)?,
            _ => return Err(LimitError::UnknownName(name.to_owned())),
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

/// Which rule a limit broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitError {
    NotAnAssignment(String),
    UnknownName(String),
    SetTwice(String),
    NotANumber {
        name: String,
        value: String,
    },
    TooSmall {
        name: String,
        value: String,
        least: u64,
    },
    TooLarge {
        name: String,
        value: String,
    },
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
            LimitError::NotAnAssignment(text) => {
                write!(formatter, "{text:?} is not of the form name=value")
            }
            LimitError::UnknownName(name) => write!(formatter, "there is no limit {name:?}"),
            LimitError::SetTwice(name) => write!(formatter, "{name} is set twice"),
            LimitError::NotANumber { name, value } => {
                write!(formatter, "{name}: {value:?} is not a whole number")
            }
            LimitError::TooSmall { name, value, least } => {
                write!(
                    formatter,
                    "{name}: {value} is too small, the least is {least}"
                )
            }
            LimitError::TooLarge { name, value } => {
                write!(formatter, "{name}: {value} is too large")
            }
            LimitError::PayloadAbovePending {
                max_payload_bytes,
                max_pending_bytes,
            } => {
                write!(
                    formatter,
                    "max_payload ({max_payload_bytes}) is above max_pending ({max_pending_bytes})"
                )
            }
            LimitError::GracePeriodNotBelowDuration {
                grace_period_ms,
                duration_ms,
            } => write!(
                formatter,
                "lame_duck_grace_period_ms ({grace_period_ms}) is not below lame_duck_duration_ms ({duration_ms})"
            ),
        }
    }
}

fn number<T: TryFrom<u64>>(name: &str, value: &str, least: u64) -> Result<T, LimitError> {
    let too_large = || LimitError::TooLarge {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let number: u64 =
        value
            .parse()
            .map_err(|error: std::num::ParseIntError| match error.kind() {
                IntErrorKind::PosOverflow => too_large(),
                _ => LimitError::NotANumber {
                    name: name.to_owned(),
                    value: value.to_owned(),
                },
            })?;
    if number < least {
        return Err(LimitError::TooSmall {
            name: name.to_owned(),
            value: value.to_owned(),
            least,
        });
    }
    T::try_from(number).map_err(|_| too_large())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applied() {
        #[track_caller]
        fn check(text: &str, expected: &Limits) {
            let mut limits = Limits::default();
            assert_eq!(limits.apply(text), Ok(()), "{text}");
            assert_eq!(limits, *expected, "{text}");
        }
        check("", &Limits::DEFAULT);
        check(
            "max_connections=0",
            &Limits {
                max_connections: 0,
                ..Limits::DEFAULT
            },
        );
        check(
            "ping_max=4294967295",
            &Limits {
                ping_max: u32::MAX,
                ..Limits::DEFAULT
            },
        );
        check(
            "max_payload=1024,max_connections=2,max_subscriptions=3,max_control_line=512,max_pending=2048,\
             write_deadline_ms=4,ping_interval_ms=5,ping_max=6,auth_timeout_ms=7,lame_duck_duration_ms=9,\
             lame_duck_grace_period_ms=8",
            &Limits {
                max_payload_bytes: 1024,
                max_control_line_bytes: 512,
                max_pending_bytes: 2048,
                max_connections: 2,
                max_subscriptions: 3,
                write_deadline_ms: 4,
                ping_interval_ms: 5,
                ping_max: 6,
                auth_timeout_ms: 7,
                lame_duck_duration_ms: 9,
                lame_duck_grace_period_ms: 8,
                ..Limits::DEFAULT
            },
        );
    }

    #[test]
    fn refused_without_a_change() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let mut limits = Limits::default();
            match limits.apply(text) {
                Ok(()) => panic!("{text} was taken"),
                Err(error) => assert_eq!(error.to_string(), expected, "{text}"),
            }
            assert_eq!(limits, Limits::DEFAULT, "{text}");
        }
        check(
            "max_payload",
            "\"max_payload\" is not of the form name=value",
        );
        check("ping_max=1,", "\"\" is not of the form name=value");
        check("max_conns=1", "there is no limit \"max_conns\"");
        check(" ping_max=1", "there is no limit \" ping_max\"");
        check("ping_max=1,ping_max=1", "ping_max is set twice");
        check("ping_max=", "ping_max: \"\" is not a whole number");
        check("ping_max=-1", "ping_max: \"-1\" is not a whole number");
        check(
            "max_connections=1,max_payload=1K",
            "max_payload: \"1K\" is not a whole number",
        );
        check(
            "max_payload=0",
            "max_payload: 0 is too small, the least is 1",
        );
        check("ping_max=4294967296", "ping_max: 4294967296 is too large");
        check(
            "max_pending=99999999999999999999",
            "max_pending: 99999999999999999999 is too large",
        );
        check(
            "max_pending=1024",
            "max_payload (1048576) is above max_pending (1024)",
        );
        check(
            "lame_duck_duration_ms=10000",
            "lame_duck_grace_period_ms (10000) is not below lame_duck_duration_ms (10000)",
        );
    }
}
