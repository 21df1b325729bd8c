//! Account claims from an HTTP address (`resolver: URL(…)`).
//!
//! Blocks until the answer or the time limit: for helper threads only. What comes back is text
//! that nobody has verified.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Error};

use crate::auth::claims::TOKEN_BYTES_MAX;
use crate::auth::nkey::is_account_key;

/// Time for one lookup, as nats-server has it.
pub const FETCH_TIME: Duration = Duration::from_millis(1900);
/// Bytes that the headers of an answer may have.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// An address to which account keys are appended.
pub struct ClaimsAddress {
    /// Ends with a slash.
    base: String,
    agent: Agent,
}

impl ClaimsAddress {
    /// Prepares for an `http` or `https` address. For the latter the system's authorities count.
    ///
    /// # Errors
    /// It is another kind of address.
    pub fn new(address: &str, time: Duration) -> Result<Self, String> {
        let secure = address.starts_with("https://");
        if !secure && !address.starts_with("http://") {
            return Err("account resolver address is neither http nor https".to_owned());
        }
        let config = Agent::config_builder()
            .timeout_global(Some(time))
            .max_response_header_size(HEADER_BYTES_MAX)
            // The environment's proxies are not asked, as in nats-server.
            .proxy(None)
            // Nobody is led from a verified server to another.
            .https_only(secure)
            // Also where the address is plain: the answer may lead elsewhere, and ureq panics without.
            .tls_config(tls());
        let slash = if address.ends_with('/') { "" } else { "/" };
        Ok(Self {
            base: format!("{address}{slash}"),
            agent: config.build().into(),
        })
    }

    /// Whether anybody answers there.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        match self.agent.get(&self.base).call() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "could not fetch from the account resolver: {}",
                why(&error)
            )),
        }
    }

    /// Fetches the claims of an account.
    ///
    /// # Errors
    /// The key is none, nobody answers in time, or the answer is too large or no success.
    pub fn fetch(&self, account_key: &str) -> Result<String, String> {
        if !is_account_key(account_key) {
            return Err("will only fetch valid account keys".to_owned());
        }
        let failed =
            |error: &Error| format!("could not fetch account {account_key}: {}", why(error));
        let mut response = self
            .agent
            .get(format!("{}{account_key}", self.base))
            .call()
            .map_err(|error| failed(&error))?;
        response
            .body_mut()
            .with_config()
            .limit(TOKEN_BYTES_MAX as u64)
            .read_to_string()
            .map_err(|error| failed(&error))
    }
}

impl fmt::Debug for ClaimsAddress {
    /// The address may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimsAddress")
    }
}

/// How servers behind `https` are verified: by the system's authorities.
pub(super) fn tls() -> TlsConfig {
    let authorities = rustls_native_certs::load_native_certs().certs;
    let authorities: Vec<Certificate<'static>> = authorities
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(authorities)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

/// What went wrong, without the address.
pub(super) fn why(error: &Error) -> String {
    match error {
        Error::BadUri(_) => "the address is not valid".to_owned(),
        Error::RequireHttpsOnly(_) => "it leads to an address without TLS".to_owned(),
        Error::ConnectProxyFailed(_) => "a proxy failed".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::nkey::{KeyKind, SigningKey};
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn account() -> String {
        let key = SigningKey::from_seed(KeyKind::Account, &[3; 32]).unwrap();
        key.public().to_string()
    }

    /// Answers one request with this, and says what was asked for.
    fn serve(answer: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/jwt/v1/accounts", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let length = socket.read(&mut buffer).unwrap();
                assert_ne!(length, 0);
                request.extend_from_slice(&buffer[..length]);
            }
            // A client that has had enough does not read to the end.
            let _ = socket.write_all(&answer);
            let text = String::from_utf8(request).unwrap();
            text.lines().next().unwrap_or_default().to_owned()
        });
        (address, server)
    }

    #[test]
    fn answers() {
        let large = "x".repeat(TOKEN_BYTES_MAX + 1);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\neyJ\r\n0\r\n\r\n";
        let cases = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\neyJ".to_owned(),
                Some("eyJ"),
            ),
            (chunked.to_owned(), Some("eyJ")),
            (
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                None,
            ),
            (
                "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
                None,
            ),
            (
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{large}",
                    large.len()
                ),
                None,
            ),
            ("noise\r\n\r\n".to_owned(), None),
            (String::new(), None),
        ];
        for (answer, expected) in cases {
            let (address, server) = serve(answer.clone().into_bytes());
            let claims = ClaimsAddress::new(&address, Duration::from_secs(60)).unwrap();
            let fetched = claims.fetch(&account());
            let start = &answer[..answer.len().min(60)];
            assert_eq!(fetched.as_deref().ok(), expected, "{start} {fetched:?}");
            let asked = server.join().unwrap();
            assert_eq!(
                asked,
                format!("GET /jwt/v1/accounts/{} HTTP/1.1", account())
            );
        }
    }

    #[test]
    fn an_answer_may_lead_to_an_address_with_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let elsewhere = listener.local_addr().unwrap();
        let other = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: https://{elsewhere}/\r\nContent-Length: 0\r\n\r\n"
        );
        let (address, server) = serve(answer.into_bytes());
        let claims = ClaimsAddress::new(&address, Duration::from_secs(60)).unwrap();
        claims.fetch(&account()).unwrap_err();
        server.join().unwrap();
        other.join().unwrap();
    }

    #[test]
    fn what_is_not_fetched() {
        assert!(ClaimsAddress::new("ftp://x", FETCH_TIME).is_err());
        assert!(ClaimsAddress::new("https://localhost/", FETCH_TIME).is_ok());
        let claims = ClaimsAddress::new("http://u:geheim@127.0.0.1:1", FETCH_TIME).unwrap();
        for key in [
            "",
            "..",
            "A/../B",
            &account()[..55],
            &format!("{}/x", account()),
        ] {
            assert_eq!(
                claims.fetch(key),
                Err("will only fetch valid account keys".to_owned())
            );
        }
        let error = claims.fetch(&account()).unwrap_err();
        assert!(!error.contains("geheim"), "{error}");
        assert!(!format!("{claims:?}").contains("geheim"));
    }

    #[test]
    fn nobody_is_waited_for_too_long() {
        // The listener accepts in the kernel and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let claims = ClaimsAddress::new(&address, Duration::from_millis(20)).unwrap();
        let error = claims.fetch(&account()).unwrap_err();
        assert!(error.contains("timeout"), "{error}");
    }
}
