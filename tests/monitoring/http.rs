//! As much of HTTP as a test needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::harness::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// From all that came.
    pub fn parse(bytes: &[u8]) -> Self {
        let shown = String::from_utf8_lossy(bytes);
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {shown:?}"));
        let head = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map_or(String::new(), |(_, value)| value.to_owned())
        };
        let rest = &bytes[end + 4..];
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status: {shown:?}")),
            content_type: header("Content-Type"),
            body: match header("Transfer-Encoding").as_str() {
                "chunked" => unchunked(rest),
                _ => rest.to_vec(),
            },
            head,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        let error = |error| panic!("{error}: {}", self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(error)
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").expect("a size");
        let size = std::str::from_utf8(&rest[..end]).expect("a size is text");
        let size = usize::from_str_radix(size, 16).expect("a size is a number");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

/// Asks with GET.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

/// Says this, and takes what comes until the end.
pub fn request(address: SocketAddr, text: &str) -> Answer {
    request_within(address, text, PATIENCE)
}

/// The same within a time.
pub fn request_within(address: SocketAddr, text: &str, time: Duration) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .set_read_timeout(Some(time))
        .expect("there is such an option");
    stream.write_all(text.as_bytes()).expect("the server reads");
    let mut bytes = Vec::new();
    // One that hangs up with something unread resets the connection; what came is there.
    let _ = stream.read_to_end(&mut bytes);
    Answer::parse(&bytes)
}
