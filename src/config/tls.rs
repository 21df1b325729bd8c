//! What a `tls` block says.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// When the TLS handshake takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// After INFO.
    #[default]
    No,
    /// Before INFO, always.
    Yes,
    /// Before INFO if the client starts it within this time, and after INFO otherwise.
    Auto { fallback_ms: u64 },
}

/// Oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

/// When OCSP responses are stapled. Where they are, there is no start without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcspMode {
    /// When the certificate demands it.
    Auto,
    /// Always, and the server ends when the certificate is no longer good.
    Always,
    /// Never.
    Never,
    /// When the certificate demands it, and the server ends when it is no longer good.
    Must,
}

/// A certificate chain and its key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// One `tls` block, or the flags that say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// `cert_file` and `key_file`, or those of `certs`.
    pub certificates: Vec<CertificateFiles>,
    /// Authorities that clients' certificates are checked against; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// Where this server is the client, the other side's certificate is not checked.
    pub insecure: bool,
    /// Clients must present a certificate.
    pub verify: bool,
    /// And it says which user they are.
    pub verify_and_map: bool,
    /// How long the handshake may take.
    pub timeout_ms: u64,
    pub handshake_first: HandshakeFirst,
    pub min_version: TlsVersion,
    /// Names of cipher suites (IANA), in order; empty for the default.
    pub cipher_suites: Vec<String>,
    /// Names of curves as nats-server spells them, in order; empty for the default.
    pub curve_preferences: Vec<String>,
    /// SHA-256 of the public key info of certificates that are let in, in lower-case hex; empty
    /// for all.
    pub pinned_certs: BTreeSet<String>,
    /// New TLS connections per second; 0 for any number.
    pub connection_rate_limit: u64,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            ca_file: None,
            insecure: false,
            verify: false,
            verify_and_map: false,
            timeout_ms: 2_000,
            handshake_first: HandshakeFirst::No,
            min_version: TlsVersion::V1_2,
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            pinned_certs: BTreeSet::new(),
            connection_rate_limit: 0,
        }
    }
}

/// Stapling of OCSP responses: `ocsp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspOptions {
    pub mode: OcspMode,
    /// Responders instead of those that the certificate names.
    pub urls: Vec<String>,
}
