//! Certificates and keys from PEM files, and which of them a client is shown.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::ocsp::Staple;
use crate::config::CertificateFiles;

/// Larger files hold no certificates.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn read(path: &Path, option: &str) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let error = |error: std::io::Error| format!("{option} \"{shown}\": {error}");
    let size = std::fs::metadata(path).map_err(error)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{option} \"{shown}\": too large"));
    }
    std::fs::read(path).map_err(error)
}

/// The certificates in a PEM file; there is one at least.
///
/// # Errors
/// A text that names the file and the option that named it.
pub fn certificates_of(path: &Path, option: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let text = read(path, option)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, pem::Error>>()
        .map_err(|error| format!("{option} \"{shown}\": {error}"))?;
    if chain.is_empty() {
        return Err(format!("{option} \"{shown}\": no certificate found"));
    }
    Ok(chain)
}

/// Reads a chain and the key of its first certificate, and sees that they belong together.
pub fn load(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = certificates_of(&files.cert_file, "cert_file")?;
    let shown = files.key_file.display();
    let text = read(&files.key_file, "key_file")?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if is_encrypted(&text) => {
            format!("key_file \"{shown}\": encrypted keys cannot be read")
        }
        pem::Error::NoItemsFound => format!("key_file \"{shown}\": no private key found"),
        error => format!("key_file \"{shown}\": {error}"),
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        let certificate = files.cert_file.display();
        match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "key_file \"{shown}\": the private key is not that of cert_file \"{certificate}\""
            ),
            rustls::Error::InvalidCertificate(_) => {
                format!("cert_file \"{certificate}\": {error}")
            }
            error => format!("key_file \"{shown}\": {error}"),
        }
    })
}

fn is_encrypted(pem: &[u8]) -> bool {
    memchr::memmem::find(pem, b"ENCRYPTED").is_some()
}

/// The authorities in `ca_file`, or those of the system.
pub fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let found = certificates_of(path, "ca_file")?;
            let (added, _) = roots.add_parsable_certificates(found);
            if added == 0 {
                let shown = path.display();
                return Err(format!(
                    "ca_file \"{shown}\": failed to parse root ca certificate"
                ));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(
                    "verify: the system has no certificate authorities, and ca_file names none"
                        .to_owned(),
                );
            }
        }
    }
    Ok(roots)
}

/// A certificate with its key and, maybe, a staple.
#[derive(Clone, Debug)]
pub struct Shown {
    pub key: Arc<CertifiedKey>,
    /// When the staple becomes worthless, and with it the certificate: who was promised that it is
    /// known not to be revoked is not to be told less.
    until: Option<UnixTime>,
}

impl Shown {
    pub fn new(key: CertifiedKey) -> Self {
        Self {
            key: Arc::new(key),
            until: None,
        }
    }

    /// The same with this staple or without any.
    pub fn stapled(&self, staple: Option<&Staple>) -> Self {
        let mut key = (*self.key).clone();
        key.ocsp = staple.map(|staple| staple.der().to_vec());
        Self {
            key: Arc::new(key),
            until: staple.and_then(Staple::until),
        }
    }
}

/// Shows each client the first certificate that it can use and that is for the name it asked for; if
/// there is none, the first that it can use; if there is none either, the first. If its staple has
/// expired, nothing.
#[derive(Debug)]
pub struct Choice {
    certificates: Vec<Shown>,
}

impl Choice {
    pub fn new(certificates: Vec<Shown>) -> Self {
        Self { certificates }
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let name = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let usable = |shown: &&Shown| shown.key.key.choose_scheme(schemes).is_some();
        let named = |shown: &&Shown| {
            let Some(name) = &name else {
                return false;
            };
            let certificate = shown.key.end_entity_cert();
            certificate
                .and_then(ParsedCertificate::try_from)
                .and_then(|certificate| verify_server_name(&certificate, name))
                .is_ok()
        };
        let all = || self.certificates.iter();
        let shown = all()
            .filter(usable)
            .find(named)
            .or_else(|| all().find(usable))
            .or_else(|| all().next())?;
        let current = shown.until.is_none_or(|until| UnixTime::now() < until);
        current.then(|| Arc::clone(&shown.key))
    }
}
