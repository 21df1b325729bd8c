//! A socket, in plain or under TLS: the same calls for both, blocking or not.
//!
//! Under TLS a write takes bytes only when all ciphertext before them has left, and a read first sends
//! what is left: whoever waits for an answer has asked for it then.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::failure::{Doing, Failure, Result};

/// Ciphertext read at once where there is much.
const READ_BYTES_LARGE: usize = 128 * 1024;
/// The same before that is known.
const READ_BYTES_SMALL: usize = 4 * 1024;
/// Plaintext taken at once: what rustls holds.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// How to speak TLS to the server.
#[derive(Clone)]
pub struct Security {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Security")
    }
}

impl Security {
    /// Without `ca` any certificate will do: what is measured is the server, not the trust in it.
    pub fn new(host: &str, ca: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let unusable = |error: &dyn fmt::Display| Failure::usage(format!("TLS: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?;
        let builder = match ca {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(path)?);
                builder.with_root_certificates(roots)
            }
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        };
        let config = match own {
            Some((cert, key)) => {
                let text = fs::read(key).doing(|| format!("reading {}", key.display()))?;
                let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| unusable(&error))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, key)
                    .map_err(|error| unusable(&error))?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self {
            config: Arc::new(config),
            name: ServerName::try_from(host.to_owned()).map_err(|error| unusable(&error))?,
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = fs::read(path).doing(|| format!("reading {}", path.display()))?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// Takes a server's word for who it is, but not for what it signs.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

struct Secured {
    connection: ClientConnection,
    /// Ciphertext that was read and not yet looked at.
    read: Vec<u8>,
    start: usize,
    end: usize,
    /// Decrypted bytes that were not read yet.
    plain_bytes: usize,
}

pub struct Stream {
    socket: TcpStream,
    secured: Option<Box<Secured>>,
}

impl Stream {
    pub fn plain(socket: TcpStream) -> Self {
        Self {
            socket,
            secured: None,
        }
    }

    /// Does the handshake, blocking.
    pub fn secure(&mut self, security: &Security) -> Result<()> {
        let failed = |error: &dyn fmt::Display| Failure::server(format!("TLS handshake: {error}"));
        let config = Arc::clone(&security.config);
        let mut connection =
            ClientConnection::new(config, security.name.clone()).map_err(|error| failed(&error))?;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut self.socket)
                .map_err(|error| failed(&error))?;
        }
        self.secured = Some(Box::new(Secured {
            connection,
            read: vec![0; READ_BYTES_SMALL],
            start: 0,
            end: 0,
            plain_bytes: 0,
        }));
        Ok(())
    }

    pub fn set_read_timeout(&self, at_most: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(at_most)
    }

    pub fn go_nonblocking(&mut self) -> io::Result<()> {
        if let Some(secured) = &mut self.secured {
            secured.read.resize(READ_BYTES_LARGE, 0);
        }
        self.socket.set_nonblocking(true)
    }

    /// Whether a read would find something without asking the kernel, which would not say so again.
    pub fn has_more(&self) -> bool {
        self.secured
            .as_ref()
            .is_some_and(|secured| secured.start < secured.end || secured.plain_bytes > 0)
    }

    /// Whether all that was written has left.
    pub fn is_flushed(&self) -> bool {
        self.secured
            .as_ref()
            .is_none_or(|secured| !secured.connection.wants_write())
    }
}

impl Secured {
    fn flush(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(socket)?;
        }
        Ok(())
    }

    fn read(&mut self, socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        match self.flush(socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(length) => {
                    self.plain_bytes = self.plain_bytes.saturating_sub(length);
                    return Ok(length);
                }
                result => return result,
            }
            if self.start == self.end {
                self.start = 0;
                self.end = 0;
                self.end = socket.read(&mut self.read)?;
                if self.end == 0 {
                    return Ok(0);
                }
            }
            let mut unread = &self.read[self.start..self.end];
            self.start += self.connection.read_tls(&mut unread)?;
            let state = self
                .connection
                .process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            self.plain_bytes = state.plaintext_bytes_to_read();
        }
    }

    fn write(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let taken = self
            .connection
            .writer()
            .write(&bytes[..bytes.len().min(WRITE_BYTES_MAX)])?;
        match self.flush(socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.secured {
            None => self.socket.read(buffer),
            Some(secured) => secured.read(&mut self.socket, buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.secured {
            None => self.socket.write(bytes),
            Some(secured) => secured.write(&mut self.socket, bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.secured {
            None => Ok(()),
            Some(secured) => secured.flush(&mut self.socket),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
