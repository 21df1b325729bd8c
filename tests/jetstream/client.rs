//! A NATS client of few words for the call files: one connection, requests with an inbox each, named subscriptions.
//!
//! Knows the protocol's framing; nothing about JetStream.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    pub subject: String,
    pub reply: String,
    /// The header block without its last empty line; empty without headers.
    pub headers: String,
    pub body: Vec<u8>,
}

impl Message {
    /// The code of a status line, which is what ends an answer of several messages.
    pub fn status(&self) -> Option<u16> {
        let first = self.headers.strip_prefix("NATS/1.0 ")?;
        first.get(..3)?.parse().ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    /// Bytes of `input` that are done with.
    done: usize,
    next_sid: u32,
    /// Messages by subscription.
    unread: HashMap<u32, VecDeque<Message>>,
    pongs: usize,
    errors: Vec<String>,
}

impl Client {
    pub fn connect(address: SocketAddr, user: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("there is such an option");
        let mut client = Self {
            stream,
            input: Vec::new(),
            done: 0,
            next_sid: 1,
            unread: HashMap::new(),
            pongs: 0,
            errors: Vec::new(),
        };
        let login = match user {
            "" => String::new(),
            user => format!("\"user\":\"{user}\",\"pass\":\"pw\","),
        };
        client.say(
            format!(
                "CONNECT {{{login}\"name\":\"calls\",\"lang\":\"test\",\"version\":\"1\",\"verbose\":false,\"pedantic\":false,\
                 \"headers\":true,\"no_responders\":true,\"protocol\":1}}\r\n"
            )
            .as_bytes(),
        );
        client.flush();
        client
    }

    fn say(&mut self, bytes: &[u8]) {
        // A server that has closed the connection is seen when nothing comes.
        let _ = self.stream.write_all(bytes);
    }

    /// Waits until the server has done all that was said before.
    pub fn flush(&mut self) {
        let before = self.pongs;
        self.say(b"PING\r\n");
        let deadline = Instant::now() + crate::harness::PATIENCE;
        while self.pongs == before && self.fill(deadline) {}
    }

    pub fn subscribe(&mut self, subject: &str) -> u32 {
        let sid = self.next_sid;
        self.next_sid += 1;
        self.say(format!("SUB {subject} {sid}\r\n").as_bytes());
        self.unread.insert(sid, VecDeque::new());
        sid
    }

    pub fn unsubscribe(&mut self, sid: u32) {
        self.say(format!("UNSUB {sid}\r\n").as_bytes());
        self.unread.remove(&sid);
    }

    pub fn publish(&mut self, subject: &str, reply: &str, headers: &[String], body: &[u8]) {
        let mut bytes = Vec::with_capacity(body.len() + 256);
        if headers.is_empty() {
            bytes.extend(format!("PUB {subject} {reply} {}\r\n", body.len()).bytes());
        } else {
            let block = format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n"));
            let all = block.len() + body.len();
            bytes.extend(format!("HPUB {subject} {reply} {} {all}\r\n", block.len()).bytes());
            bytes.extend(block.bytes());
        }
        bytes.extend(body);
        bytes.extend(b"\r\n");
        self.say(&bytes);
    }

    /// The next message of a subscription; `None` when nothing comes in time.
    pub fn next(&mut self, sid: u32, patience: Duration) -> Option<Message> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(message) = self.unread.get_mut(&sid).and_then(VecDeque::pop_front) {
                return Some(message);
            }
            if !self.fill(deadline) {
                return None;
            }
        }
    }

    /// What the server complained of since the last time.
    pub fn errors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.errors)
    }

    /// Reads once and takes what is complete; `false` at the deadline or the end.
    fn fill(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let set = self.stream.set_read_timeout(Some(left));
        set.expect("there is such an option");
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                while self.take_one() {}
                self.input.drain(..self.done);
                self.done = 0;
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::Interrupted),
        }
    }

    /// Takes one operation of the input.
    fn take_one(&mut self) -> bool {
        let input = &self.input[self.done..];
        let Some(end) = input.windows(2).position(|w| w == b"\r\n") else {
            return false;
        };
        let line = String::from_utf8_lossy(&input[..end]).into_owned();
        let mut words = line.split(' ');
        let operation = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let (header_size, size, sid, subject, reply) = match (operation, words.as_slice()) {
            ("MSG", [subject, sid, size]) => ("0", *size, sid, subject, ""),
            ("MSG", [subject, sid, reply, size]) => ("0", *size, sid, subject, *reply),
            ("HMSG", [subject, sid, headers, size]) => (*headers, *size, sid, subject, ""),
            ("HMSG", [subject, sid, reply, headers, size]) => {
                (*headers, *size, sid, subject, *reply)
            }
            _ => {
                match operation {
                    "PING" => self.say(b"PONG\r\n"),
                    "PONG" => self.pongs += 1,
                    "-ERR" => self.errors.push(line),
                    _ => {}
                }
                self.done += end + 2;
                return true;
            }
        };
        let number = |text: &str| text.parse::<usize>().expect("sizes are numbers");
        let (header_size, size) = (number(header_size), number(size));
        let start = end + 2;
        if input.len() < start + size + 2 {
            return false;
        }
        let headers = String::from_utf8_lossy(&input[start..start + header_size]);
        let message = Message {
            subject: (*subject).to_owned(),
            reply: reply.to_owned(),
            headers: headers.trim_end_matches("\r\n").to_owned(),
            body: input[start + header_size..start + size].to_vec(),
        };
        self.done += start + size + 2;
        let sid = sid.parse().expect("subscriptions have numbers");
        if let Some(unread) = self.unread.get_mut(&sid) {
            unread.push_back(message);
        }
        true
    }
}
