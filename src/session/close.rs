//! Why a connection ends.

use std::fmt;

/// The reasons of nats-server, with its texts (monitoring and the log show them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed it.
    ClientClosed,
    /// No authentication in time.
    AuthenticationTimeout,
    /// Wrong credentials.
    AuthenticationFailure,
    /// It did not read and its unsent bytes came over `max_pending`.
    SlowConsumerPendingBytes,
    /// It did not read for `write_deadline`.
    SlowConsumerWriteDeadline,
    /// Sending failed.
    WriteError,
    /// Receiving failed.
    ReadError,
    /// No such operation.
    ParseError,
    /// It did not answer pings.
    StaleConnection,
    /// Arguments that cannot be read, and the like.
    ProtocolViolation,
    /// A protocol version that there is none of.
    BadClientProtocolVersion,
    /// More connections than `max_connections`.
    MaxConnectionsExceeded,
    /// A message longer than `max_payload`.
    MaxPayloadExceeded,
    /// A control line longer than `max_control_line`.
    MaxControlLineExceeded,
    /// The server stops.
    ServerShutdown,
    /// `no_responders` without `headers`.
    NoRespondersRequiresHeaders,
    /// The TLS handshake failed or took too long.
    TlsHandshakeFailure,
    /// More connections than its account may have.
    MaxAccountConnectionsExceeded,
    /// Its claims, or those of its account, have expired.
    AuthenticationExpired,
    /// Its claims were revoked, or its user is no longer configured.
    CredentialsRevoked,
    /// Its account is gone.
    MissingAccount,
    /// An operator wants it gone.
    Kicked,
    /// It came through a proxy that is not trusted.
    ProxyNotTrusted,
    /// It had to come through a proxy.
    ProxyRequired,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::ClientClosed => "Client Closed",
            CloseReason::AuthenticationTimeout => "Authentication Timeout",
            CloseReason::AuthenticationFailure => "Authentication Failure",
            CloseReason::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            CloseReason::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            CloseReason::WriteError => "Write Error",
            CloseReason::ReadError => "Read Error",
            CloseReason::ParseError => "Parse Error",
            CloseReason::StaleConnection => "Stale Connection",
            CloseReason::ProtocolViolation => "Protocol Violation",
            CloseReason::BadClientProtocolVersion => "Bad Client Protocol Version",
            CloseReason::MaxConnectionsExceeded => "Maximum Connections Exceeded",
            CloseReason::MaxPayloadExceeded => "Maximum Message Payload Exceeded",
            CloseReason::MaxControlLineExceeded => "Maximum Control Line Exceeded",
            CloseReason::ServerShutdown => "Server Shutdown",
            CloseReason::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            CloseReason::TlsHandshakeFailure => "TLS Handshake Failure",
            CloseReason::MaxAccountConnectionsExceeded => "Maximum Account Connections Exceeded",
            CloseReason::AuthenticationExpired => "Authentication Expired",
            CloseReason::CredentialsRevoked => "Credentials Revoked",
            CloseReason::MissingAccount => "Missing Account",
            CloseReason::Kicked => "Kicked",
            CloseReason::ProxyNotTrusted => "Proxy Not Trusted",
            CloseReason::ProxyRequired => "Proxy Required",
        })
    }
}
