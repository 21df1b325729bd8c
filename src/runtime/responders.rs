//! Asks OCSP responders over HTTP.
//!
//! Blocks until the answer or the time limit: for system threads that nobody waits for. What comes
//! back are bytes that nobody has verified.

use std::fmt;
use std::time::Duration;

use data_encoding::BASE64;
use ureq::http::Response;
use ureq::{Agent, Body, Error};

use super::claims_fetch::{tls, why};

/// Time for one answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Bytes of an answer. It goes to clients beside the certificates, in a message of 64 KiB at most.
const ANSWER_BYTES_MAX: u64 = 32 * 1024;
/// Bytes that the headers of an answer may have.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// The responders for one certificate, in the order in which they are asked.
pub struct Responders {
    /// Without slashes at their ends.
    addresses: Vec<String>,
    agent: Agent,
}

impl Responders {
    pub fn new(addresses: &[String], time: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(time))
            .max_response_header_size(HEADER_BYTES_MAX)
            // The environment's proxies are not asked.
            .proxy(None)
            .tls_config(tls());
        let addresses = addresses.iter();
        Self {
            addresses: addresses
                .map(|a| a.trim_end_matches('/').to_owned())
                .collect(),
            agent: config.build().into(),
        }
    }

    /// Asks one after the other, until `accept` takes what one has answered.
    ///
    /// # Errors
    /// There is none, or what was wrong with the last one's answer.
    pub fn ask<T>(
        &self,
        request: &[u8],
        accept: impl Fn(Vec<u8>) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut last = "no available ocsp servers".to_owned();
        for address in &self.addresses {
            match self.answer(address, request).and_then(&accept) {
                Ok(accepted) => return Ok(accepted),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// What one says: to a POST or, where that is not served, to a GET.
    fn answer(&self, address: &str, request: &[u8]) -> Result<Vec<u8>, String> {
        let posted = self
            .agent
            .post(address)
            .header("Content-Type", "application/ocsp-request")
            .header("Accept", "application/ocsp-response")
            .send(request)
            .and_then(body);
        let failed = match posted {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // Whoever has not answered in time would only cost as much again.
        if let Error::Timeout(_) = failed {
            return Err(format!("exhausted ocsp servers: {}", why(&failed)));
        }
        self.agent
            .get(format!("{address}/{}", in_path(request)))
            .header("Accept", "application/ocsp-response")
            .call()
            .and_then(body)
            .map_err(|error| {
                let (post, get) = (why(&failed), why(&error));
                format!("exhausted ocsp servers: POST: {post}; GET: {get}")
            })
    }
}

impl fmt::Debug for Responders {
    /// The addresses may have passwords in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responders")
    }
}

fn body(mut response: Response<Body>) -> Result<Vec<u8>, Error> {
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    body.read_to_vec()
}

/// Base 64, with what means something in a path escaped (RFC 6960, A.1).
fn in_path(request: &[u8]) -> String {
    let mut path = String::new();
    for character in BASE64.encode(request).chars() {
        match character {
            '+' => path.push_str("%2B"),
            '/' => path.push_str("%2F"),
            '=' => path.push_str("%3D"),
            other => path.push(other),
        }
    }
    path
}
