//! TLS for connections of clients: what the options mean, the handshake, and the records after it.
//!
//! Must not know what the bytes mean. The shard's loop owns the sockets and calls in here
//! ([`super::securing`]); the handshake's cryptography runs on a helper thread, records are
//! encrypted and decrypted on the shard.

mod certificates;
pub mod handshake;
mod names;
pub mod ocsp;
pub mod stream;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::CertificateDer;

use crate::config::{Config, HandshakeFirst, TlsOptions, TlsVersion};
pub use certificates::certificates_of;
use certificates::{Choice, Shown};
use ocsp::Staple;

/// Handshakes that a shard has under way; what comes on top is told to come back later.
pub const HANDSHAKES_MAX: usize = 2048;
/// Bytes of one client that are kept while its handshake is at a helper. It is not read from
/// meanwhile; this is what may come before that takes effect.
pub const HANDSHAKE_BYTES_MAX: usize = 256 * 1024;
/// How long to wait before a handshake is handed in again that there was no room for.
pub const RETRY_MS: u64 = 5;

/// The window of `connection_rate_limit`.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// What `tls` of the configuration amounts to; replaced as a whole when it is read again.
pub struct Tls {
    pub server: Arc<rustls::ServerConfig>,
    /// The same without certificates of clients: for monitoring.
    pub unverified: Arc<rustls::ServerConfig>,
    pub timeout_ms: u64,
    pub first: HandshakeFirst,
    /// Clients may do without.
    pub allow_non_tls: bool,
    pub pinned: BTreeSet<String>,
    rate: Option<Arc<Rate>>,
    /// In the order of the options.
    certificates: Vec<Shown>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files that the options name; `None` without a `tls` block.
    ///
    /// # Errors
    /// A text that names the file or the option.
    pub fn of(config: &Config) -> Result<Option<Arc<Self>>, String> {
        let Some(options) = &config.tls else {
            return Ok(None);
        };
        let rate = options.connection_rate_limit;
        let (server, certificates) = server_config(options, verifies(options))?;
        let (unverified, _) = server_config(options, false)?;
        Ok(Some(Arc::new(Self {
            server: Arc::new(server),
            unverified: Arc::new(unverified),
            timeout_ms: options.timeout_ms,
            first: options.handshake_first,
            allow_non_tls: config.allow_non_tls,
            pinned: options.pinned_certs.clone(),
            rate: (rate > 0).then(|| Arc::new(Rate::new(rate))),
            certificates,
        })))
    }

    /// The chain of each certificate, in the order of the options.
    pub fn chains(&self) -> impl Iterator<Item = &[CertificateDer<'static>]> {
        self.certificates.iter().map(|shown| &shown.key.cert[..])
    }

    /// The same with these staples, one or none for each certificate. Tickets and the count of
    /// connections go on.
    pub fn stapled(&self, staples: &[Option<&Staple>]) -> Arc<Self> {
        let certificates: Vec<Shown> = self
            .certificates
            .iter()
            .zip(staples)
            .map(|(shown, staple)| shown.stapled(*staple))
            .collect();
        let with_these = |config: &rustls::ServerConfig| {
            let mut config = config.clone();
            config.cert_resolver = Arc::new(Choice::new(certificates.clone()));
            Arc::new(config)
        };
        Arc::new(Self {
            server: with_these(&self.server),
            unverified: with_these(&self.unverified),
            timeout_ms: self.timeout_ms,
            first: self.first,
            allow_non_tls: self.allow_non_tls,
            pinned: self.pinned.clone(),
            rate: self.rate.clone(),
            certificates,
        })
    }

    /// Whether one more connection may start TLS in this second. Also says, once a second, how many
    /// were refused in the one before.
    pub fn admit(&self) -> (bool, Option<u64>) {
        match &self.rate {
            Some(rate) => rate.admit(Instant::now()),
            None => (true, None),
        }
    }
}

fn verifies(options: &TlsOptions) -> bool {
    options.verify || options.verify_and_map
}

/// The one place that makes a `ServerConfig`, wherever the options came from.
fn server_config(
    options: &TlsOptions,
    verify: bool,
) -> Result<(rustls::ServerConfig, Vec<Shown>), String> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: names::cipher_suites(&options.cipher_suites)?,
        kx_groups: names::curves(&options.curve_preferences)?,
        ..ring::default_provider()
    });
    let versions: &[_] = match options.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| format!("tls: {error}"))?;
    if options.certificates.is_empty() {
        return Err("tls: missing 'cert_file' and 'key_file'".to_owned());
    }
    let certificates = options
        .certificates
        .iter()
        .map(|files| certificates::load(files, &provider).map(Shown::new))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("error parsing X509 certificate/key pair: {error}"))?;
    // Read although nobody is verified: a wrong name is found at the start then.
    let roots = match &options.ca_file {
        Some(path) => Some(certificates::authorities(Some(path))?),
        None if verify => Some(certificates::authorities(None)?),
        None => None,
    };
    let builder = match roots {
        Some(roots) if verify => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| format!("tls: verify: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
        Some(_) | None => builder.with_no_client_auth(),
    };
    let choice = Choice::new(certificates.clone());
    let mut server = builder.with_cert_resolver(Arc::new(choice));
    server.ignore_client_order = true;
    // A ticket stands for a handshake that was verified by the rules of its time. So no listener takes
    // another's, none survives a reload, and where certificates of clients are verified there are none.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    if verify {
        server.send_tls13_tickets = 0;
    } else {
        server.ticketer =
            ring::Ticketer::new().map_err(|error| format!("tls: session tickets: {error}"))?;
        server.send_tls13_tickets = 1;
    }
    Ok((server, certificates))
}

/// Counts the connections of a second, of all shards.
#[derive(Debug)]
struct Rate {
    limit: u64,
    /// Not on the path of messages: taken once for each new connection.
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    end: Option<Instant>,
    count: u64,
    refused: u64,
}

impl Rate {
    fn new(limit: u64) -> Self {
        Self {
            limit,
            window: Mutex::new(Window {
                end: None,
                count: 0,
                refused: 0,
            }),
        }
    }

    fn admit(&self, now: Instant) -> (bool, Option<u64>) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refused = None;
        if window.end.is_none_or(|end| now > end) {
            refused = (window.refused > 0).then_some(window.refused);
            *window = Window {
                end: Some(now + RATE_WINDOW),
                count: 0,
                refused: 0,
            };
        }
        let admitted = window.count < self.limit;
        if admitted {
            window.count += 1;
        } else {
            window.refused += 1;
        }
        (admitted, refused)
    }
}

#[cfg(test)]
mod tests;
