//! Authorities and certificates, made for one test and gone after it. Knows nothing about servers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

/// A folder of its own in the temporary one, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("skein-tls-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key, in PEM files.
#[derive(Clone)]
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The certificate, and its public key info, in DER.
    pub der: Vec<u8>,
    pub public_key_info: Vec<u8>,
}

/// An authority, and what it has signed.
pub struct Authority {
    pub folder: Folder,
    pub ca: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = Folder::new();
        let ca = folder.write("ca.pem", &issuer.pem());
        Self { folder, ca, issuer }
    }

    /// A certificate for these names, for servers and clients.
    pub fn sign(&self, name: &str, names: &[&str]) -> Identity {
        self.sign_with(name, names, Vec::new())
    }

    /// The same with more extensions.
    pub fn sign_with(
        &self,
        name: &str,
        names: &[&str],
        extensions: Vec<CustomExtension>,
    ) -> Identity {
        let mut params = Self::params(name, names);
        params.custom_extensions = extensions;
        self.sign_params(name, &params)
    }

    /// A certificate that ends when a year begins.
    pub fn sign_until(&self, name: &str, names: &[&str], year: i32) -> Identity {
        let mut params = Self::params(name, names);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.sign_params(name, &params)
    }

    fn params(name: &str, names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params
    }

    fn sign_params(&self, name: &str, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            cert: self.folder.write(&format!("{name}.pem"), &cert.pem()),
            key: self
                .folder
                .write(&format!("{name}-key.pem"), &key.serialize_pem()),
            der: cert.der().to_vec(),
            public_key_info: rcgen::PublicKeyData::subject_public_key_info(&key),
        }
    }

    /// A key, and a certificate for it in DER that is for just this, for so many days from yesterday.
    pub fn delegate(&self, purpose: ExtendedKeyUsagePurpose, days: u32) -> (KeyPair, Vec<u8>) {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![purpose];
        let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
        params.not_before = yesterday.into();
        params.not_after = params.not_before + std::time::Duration::from_secs(86_400) * days;
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (key, cert.der().to_vec())
    }

    pub fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    pub fn ca(&self) -> &Path {
        &self.ca
    }
}
