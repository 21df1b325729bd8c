//! The client protocol as far as control speaks it: what arrives on its connection, and what it
//! writes. No socket is known here.

use std::fmt::Write as _;

/// Bytes that may wait to be written; what comes on top is dropped.
const OUTPUT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Longest line that is waited for: a subject, a reply and numbers.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Something has arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Message {
        subject: String,
        /// Empty for none.
        reply: String,
        headers: Vec<u8>,
        body: Vec<u8>,
    },
    Pong,
    /// The other side says what it should not, or ends: the connection is of no more use.
    Broken(String),
}

/// Both directions of one connection.
#[derive(Debug, Default)]
pub struct Wire {
    input: Vec<u8>,
    /// How much of it is done with.
    read: usize,
    output: Vec<u8>,
    written: usize,
    dropped: u64,
}

impl Wire {
    /// A connection that begins with CONNECT and these subscriptions, and asks for a PONG behind
    /// them.
    pub fn new(subjects: &[String]) -> Self {
        let mut lines = "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false,\
                         \"headers\":true,\"lang\":\"skein\",\"name\":\"system\"}\r\n"
            .to_owned();
        for (sid, subject) in subjects.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(lines, "SUB {subject} {sid}\r\n");
        }
        let mut wire = Self {
            output: lines.into_bytes(),
            ..Self::default()
        };
        wire.ping();
        wire
    }

    /// Asks for a PONG behind what was written before.
    pub fn ping(&mut self) {
        self.output.extend_from_slice(b"PING\r\n");
    }

    /// Publishes; `headers` with the version line, or empty for none.
    pub fn publish(&mut self, subject: &str, headers: &str, body: &[u8]) {
        self.request(subject, "", headers, body);
    }

    /// Publishes and says where answers go, unless `reply` is empty.
    pub fn request(&mut self, subject: &str, reply: &str, headers: &str, body: &[u8]) {
        let size = headers.len() + body.len();
        // A subject comes from a peer's reply: it has passed the parser there.
        let is_line = !subject.is_empty() && !subject.bytes().any(|b| b <= b' ');
        if !is_line || self.output.len() + size > OUTPUT_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        let gap = if reply.is_empty() { "" } else { " " };
        let head = match headers.len() {
            0 => format!("PUB {subject} {reply}{gap}{size}\r\n"),
            header_size => format!("HPUB {subject} {reply}{gap}{header_size} {size}\r\n"),
        };
        for part in [head.as_bytes(), headers.as_bytes(), body, b"\r\n"] {
            self.output.extend_from_slice(part);
        }
    }

    /// Messages that were not published because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What is to be written.
    pub fn pending(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// So much of it is.
    pub fn wrote(&mut self, bytes: usize) {
        self.written = (self.written + bytes).min(self.output.len());
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
    }

    /// Bytes have arrived.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.input.drain(..self.read);
            self.read = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// The next thing that has arrived as a whole.
    pub fn poll_incoming(&mut self) -> Option<Incoming> {
        loop {
            let rest = &self.input[self.read..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                let too_long = rest.len() > LINE_BYTES_MAX;
                return too_long.then(|| Incoming::Broken("a line without end".to_owned()));
            };
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            let line = line.trim_end();
            let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
            let after = self.read + end + 1;
            match verb {
                "MSG" | "HMSG" => {
                    let Some(sizes) = Sizes::parse(arguments, verb == "HMSG") else {
                        return Some(Incoming::Broken(line.to_owned()));
                    };
                    let body_end = after + sizes.total;
                    if self.input.len() < body_end + 2 {
                        return None;
                    }
                    let body_start = after + sizes.headers;
                    let incoming = Incoming::Message {
                        subject: sizes.subject,
                        reply: sizes.reply,
                        headers: self.input[after..body_start].to_vec(),
                        body: self.input[body_start..body_end].to_vec(),
                    };
                    self.read = body_end + 2;
                    return Some(incoming);
                }
                "PING" => self.output.extend_from_slice(b"PONG\r\n"),
                "PONG" => {
                    self.read = after;
                    return Some(Incoming::Pong);
                }
                "INFO" | "+OK" => {}
                _ => {
                    self.read = after;
                    return Some(Incoming::Broken(line.to_owned()));
                }
            }
            self.read = after;
        }
    }
}

/// What a MSG or HMSG line says.
struct Sizes {
    subject: String,
    reply: String,
    headers: usize,
    total: usize,
}

impl Sizes {
    fn parse(arguments: &str, with_headers: bool) -> Option<Self> {
        let words: Vec<&str> = arguments.split(' ').collect();
        let sizes_from = words.len().checked_sub(1 + usize::from(with_headers))?;
        let (names, sizes) = words.split_at(sizes_from);
        let (subject, reply) = match names {
            [subject, _sid] => (subject, ""),
            [subject, _sid, reply] => (subject, *reply),
            _ => return None,
        };
        let total: usize = sizes.last()?.parse().ok()?;
        let headers = match with_headers {
            true => sizes.first()?.parse().ok()?,
            false => 0,
        };
        // Nothing that long is ever sent, and sums stay sums.
        (headers <= total && total <= OUTPUT_BYTES_MAX).then(|| Self {
            subject: (*subject).to_owned(),
            reply: reply.to_owned(),
            headers,
            total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str, reply: &str, headers: &str, body: &str) -> Incoming {
        Incoming::Message {
            subject: subject.into(),
            reply: reply.into(),
            headers: headers.into(),
            body: body.into(),
        }
    }

    #[test]
    fn input_in_pieces_of_any_size() {
        let input = b"INFO {}\r\nPING\r\nMSG a.b 1 3\r\nx\ny\r\nPONG\r\n\
            MSG a 12 _INBOX.r 0\r\n\r\nHMSG h 2 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n+OK\r\n-ERR 'no'\r\n";
        let expected = [
            message("a.b", "", "", "x\ny"),
            Incoming::Pong,
            message("a", "_INBOX.r", "", ""),
            message("h", "r", "NATS/1.0\r\n\r\n", "hi"),
            Incoming::Broken("-ERR 'no'".into()),
        ];
        for size in [1, 2, 7, input.len()] {
            let mut wire = Wire::default();
            let mut got = Vec::new();
            for piece in input.chunks(size) {
                wire.handle_input(piece);
                while let Some(incoming) = wire.poll_incoming() {
                    got.push(incoming);
                }
            }
            assert_eq!(got, expected, "{size}");
            assert_eq!(wire.pending(), b"PONG\r\n");
        }
    }

    #[test]
    fn lines_that_make_no_sense() {
        let cases = [
            "MSG\r\n",
            "MSG a 1\r\n",
            "MSG a 1 b c 3\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 99999999999999999999\r\n",
            "HMSG a 1 5 3\r\n",
            "HMSG a 1 5\r\n",
        ];
        for line in cases {
            let mut wire = Wire::default();
            wire.handle_input(line.as_bytes());
            let got = wire.poll_incoming();
            assert!(matches!(got, Some(Incoming::Broken(_))), "{line}: {got:?}");
        }
        let mut wire = Wire::default();
        wire.handle_input(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert!(matches!(wire.poll_incoming(), Some(Incoming::Broken(_))));
    }

    #[test]
    fn output_is_taken_piece_by_piece() {
        let mut wire = Wire::new(&["a.*".to_owned()]);
        wire.publish("r", "", b"x");
        wire.publish("r", "NATS/1.0\r\n\r\n", b"yz");
        // Nobody's reply gets to write lines of its own.
        wire.publish("r 1\r\nPUB", "", b"");
        wire.publish("", "", b"");
        let mut all = Vec::new();
        while !wire.pending().is_empty() {
            let n = wire.pending().len().min(3);
            all.extend_from_slice(&wire.pending()[..n]);
            wire.wrote(n);
        }
        let text = String::from_utf8(all).unwrap();
        let (connect, rest) = text.split_once("\r\n").unwrap();
        assert!(connect.starts_with("CONNECT {"));
        assert_eq!(
            rest,
            "SUB a.* 0\r\nPING\r\nPUB r 1\r\nx\r\nHPUB r 12 14\r\nNATS/1.0\r\n\r\nyz\r\n"
        );
        assert_eq!(wire.dropped(), 2);
    }
}
