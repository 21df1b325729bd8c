//! One step of a handshake: what the client has sent goes in, what it is to be sent comes out.
//!
//! Signing and the key exchange take up to milliseconds, so a helper thread does this; the connection
//! travels there with its bytes and back with the result. Must not know sockets.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use ring::digest;
use rustls::server::{ParsedCertificate, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{AlertDescription, CertificateError, ProtocolVersion};

use super::Tls;
use super::names;
use super::stream::encode;
use crate::auth::admission::TlsFacts;

/// A connection of rustls's: the keys and the state of the handshake.
pub struct Connection(Box<UnbufferedServerConnection>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Deref for Connection {
    type Target = UnbufferedServerConnection;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// What a handshake has come to.
#[derive(Debug)]
pub enum Progress {
    /// More bytes of the client are needed.
    Going(Connection),
    /// It is done.
    Done(Connection, Arc<TlsFacts>),
    /// There will be no connection.
    Failed(Failure),
}

/// Why there is none; in nats-server's words where it has some.
#[derive(Debug)]
pub enum Failure {
    /// TLS says so.
    Tls(rustls::Error),
    /// The client ended it.
    Closed,
    /// It needs a certificate out of `pinned_certs`.
    NotPinned,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Tls(rustls::Error::NoCertificatesPresented) => {
                f.write_str("tls: client didn't provide a certificate")
            }
            Failure::Tls(rustls::Error::InvalidCertificate(error)) => match error {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => f.write_str(
                    "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                ),
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => f.write_str(
                    "tls: failed to verify certificate: x509: certificate has expired or is not yet \
                     valid",
                ),
                error => write!(f, "tls: failed to verify certificate: {error}"),
            },
            Failure::Tls(rustls::Error::AlertReceived(alert)) => {
                write!(f, "remote error: tls: {}", alert_text(*alert))
            }
            Failure::Tls(error) => write!(f, "tls: {error}"),
            Failure::Closed => f.write_str("EOF"),
            Failure::NotPinned => f.write_str("certificate not pinned"),
        }
    }
}

fn alert_text(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::BadCertificate => "bad certificate".to_owned(),
        AlertDescription::UnknownCA => "unknown certificate authority".to_owned(),
        AlertDescription::CertificateUnknown => "unknown certificate".to_owned(),
        AlertDescription::CertificateExpired => "expired certificate".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What a step gave.
#[derive(Debug)]
pub struct Step {
    pub progress: Progress,
    /// Bytes for the client.
    pub outgoing: Vec<u8>,
    /// Bytes of the client that were not used yet.
    pub incoming: Vec<u8>,
}

/// Goes as far as the bytes reach. Without a connection, they are its first.
pub fn step(
    setup: &Tls,
    connection: Option<Connection>,
    mut incoming: Vec<u8>,
    first: bool,
) -> Step {
    let mut outgoing = Vec::new();
    let made = || {
        UnbufferedServerConnection::new(Arc::clone(&setup.server))
            .map(|made| Connection(Box::new(made)))
    };
    let mut connection = match connection.map_or_else(made, Ok) {
        Ok(connection) => connection,
        Err(error) => {
            return Step {
                progress: Progress::Failed(Failure::Tls(error)),
                outgoing,
                incoming,
            };
        }
    };
    let progress = loop {
        let UnbufferedStatus { discard, state } = connection.process_tls_records(&mut incoming);
        let reached = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut outgoing, |room| data.encode(room).ok());
                None
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::BlockedHandshake) => Some(Reached::Blocked),
            Ok(ConnectionState::WriteTraffic(_) | ConnectionState::ReadTraffic(_)) => {
                Some(Reached::End)
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                Some(Reached::Failed(Failure::Closed))
            }
            // There is none: it is not offered.
            Ok(_) => Some(Reached::Failed(Failure::Tls(rustls::Error::General(
                "early data".to_owned(),
            )))),
            Err(error) => Some(Reached::Failed(Failure::Tls(error))),
        };
        incoming.drain(..discard);
        match reached {
            None => {}
            Some(Reached::Blocked) => break Progress::Going(connection),
            // Data can be written before the client has finished, but not to whom.
            Some(Reached::End) if connection.is_handshaking() => {
                break Progress::Going(connection);
            }
            Some(Reached::End) => {
                if !is_pinned(&connection, &setup.pinned) {
                    outgoing.clear();
                    break Progress::Failed(Failure::NotPinned);
                }
                let facts = Arc::new(facts(&connection, first));
                break Progress::Done(connection, facts);
            }
            Some(Reached::Failed(failure)) => {
                alert(&mut connection, &mut incoming, &mut outgoing);
                break Progress::Failed(failure);
            }
        }
    };
    Step {
        progress,
        outgoing,
        incoming,
    }
}

enum Reached {
    Blocked,
    End,
    Failed(Failure),
}

/// Appends the alert that tells the client what was wrong.
///
/// `incoming` is as the step has left it: rustls may have seen the first part of a message there, and
/// panics without it. It is asked once only: with nothing more to say it would look at the wrong bytes
/// again.
fn alert(connection: &mut Connection, incoming: &mut [u8], outgoing: &mut Vec<u8>) {
    if let Ok(ConnectionState::EncodeTlsData(mut data)) =
        connection.process_tls_records(incoming).state
    {
        encode(outgoing, |room| data.encode(room).ok());
    }
}

/// Whether the client's certificate is among those that are let in; all are if there are none.
pub fn is_pinned(connection: &UnbufferedServerConnection, pinned: &BTreeSet<String>) -> bool {
    if pinned.is_empty() {
        return true;
    }
    connection
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(|certificate| ParsedCertificate::try_from(certificate).ok())
        .is_some_and(|certificate| {
            let info = certificate.subject_public_key_info();
            pinned.contains(&hex(digest::digest(&digest::SHA256, &info).as_ref()))
        })
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn facts(connection: &UnbufferedServerConnection, first: bool) -> TlsFacts {
    TlsFacts {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        },
        cipher_suite: connection
            .negotiated_cipher_suite()
            .map_or("unknown", names::of_suite)
            .to_owned(),
        peer_certificates: connection
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect(),
        first,
    }
}
