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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    const LONG: Duration = Duration::from_secs(60);

    /// Answers each connection with one of these, and says how each request began.
    fn serve(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let serve = |answer: Vec<u8>| {
                let (mut socket, _) = listener.accept().unwrap();
                let first = first_line(&mut socket);
                // A client that has had enough does not read to the end.
                let _ = socket.write_all(&answer);
                first
            };
            answers.into_iter().map(serve).collect()
        });
        (address, server)
    }

    fn first_line(socket: &mut TcpStream) -> String {
        let mut request = Vec::new();
        let mut some = [0; 1024];
        let is_whole = |request: &[u8]| match request.starts_with(b"POST") {
            true => request.ends_with(REQUEST),
            false => request.ends_with(b"\r\n\r\n"),
        };
        while !is_whole(&request) {
            let length = socket.read(&mut some).unwrap();
            assert_ne!(length, 0);
            request.extend_from_slice(&some[..length]);
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    }

    const REQUEST: &[u8] = b"\xff\xef\xbf?";

    fn with_body(status: &str, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let mut answer =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
                .into_bytes();
        answer.extend_from_slice(body);
        answer
    }

    #[test]
    fn post_then_get() {
        let (address, server) = serve(vec![
            with_body("405 Method Not Allowed", b""),
            with_body("200 OK", b"\x00yes"),
        ]);
        let responders = Responders::new(&[format!("{address}/ocsp/")], LONG);
        assert_eq!(responders.ask(REQUEST, Ok), Ok(b"\x00yes".to_vec()));
        let asked = server.join().unwrap();
        let expected = [
            "POST /ocsp HTTP/1.1",
            "GET /ocsp/%2F%2B%2B%2FPw%3D%3D HTTP/1.1",
        ];
        assert_eq!(asked, expected);
    }

    #[test]
    fn answers_are_limited() {
        let size = ANSWER_BYTES_MAX as usize;
        for (body_bytes, taken) in [(size - 1, true), (size + 1, false)] {
            let body = vec![7; body_bytes];
            let answer = with_body("200 OK", &body);
            let count = if taken { 1 } else { 2 };
            let (address, server) = serve(vec![answer; count]);
            let answered = Responders::new(&[address], LONG).ask(REQUEST, Ok);
            assert_eq!(answered.is_ok(), taken, "{body_bytes}");
            server.join().unwrap();
        }
    }

    #[test]
    fn nobody_is_waited_for_too_long_and_the_next_is_asked() {
        // The listener accepts in the kernel and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent_address = format!("http://{}", silent.local_addr().unwrap());
        let time = Duration::from_millis(20);
        let only = Responders::new(std::slice::from_ref(&silent_address), time);
        let error = only.ask(REQUEST, Ok).unwrap_err();
        assert!(error.contains("timeout"), "{error}");
        let (address, server) = serve(vec![
            with_body("200 OK", b"first"),
            with_body("200 OK", b"second"),
        ]);
        let three = [address.clone(), silent_address, address];
        let time = Duration::from_secs(1);
        let accept = |answer: Vec<u8>| match &answer[..] {
            b"first" => Err("not this".to_owned()),
            _ => Ok(answer),
        };
        let answered = Responders::new(&three, time).ask(REQUEST, accept);
        assert_eq!(answered, Ok(b"second".to_vec()));
        server.join().unwrap();
    }

    #[test]
    fn what_cannot_be_asked() {
        assert_eq!(
            Responders::new(&[], LONG).ask(REQUEST, Ok),
            Err("no available ocsp servers".to_owned())
        );
        for address in [
            "",
            "a",
            "ftp://x",
            "http://",
            "http:// /",
            "ldap://127.0.0.1/",
            "\n",
        ] {
            let responders = Responders::new(&[address.to_owned()], LONG);
            let error = responders.ask(REQUEST, Ok).unwrap_err();
            assert!(
                error.starts_with("exhausted ocsp servers: "),
                "{address:?}: {error}"
            );
        }
        let secret = "http://u:geheim@127.0.0.1:1".to_owned();
        let responders = Responders::new(&[secret], LONG);
        assert!(!responders.ask(REQUEST, Ok).unwrap_err().contains("geheim"));
        assert!(!format!("{responders:?}").contains("geheim"));
    }
}
