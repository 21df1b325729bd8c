//! The NATS client protocol as bytes: what a client writes, and a parser for what a server writes. No sockets.
//!
//! The parser borrows from the receive buffer and answers `None` for "not yet"; it is the slow path. Receivers of a known
//! subject recognize whole messages by their constant head (see `expectation.rs`) and come here for everything else.

use std::fmt;

/// Longer control lines are taken for a server that does not speak NATS; INFO of a large cluster is a few KiB.
const CONTROL_LINE_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub enum ServerOp<'a> {
    Message(Message<'a>),
    Info(&'a [u8]),
    Ping,
    Pong,
    Ok,
    Error(&'a [u8]),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub subject: &'a [u8],
    /// The subscription that it is for.
    pub sid: usize,
    pub reply: Option<&'a [u8]>,
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
pub enum WireError {
    LineTooLong,
    UnknownOperation(String),
    BadMessageLine(String),
    MessageWithoutEnd,
}

impl fmt::Display for WireError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::LineTooLong => write!(
                formatter,
                "sent a line of more than {CONTROL_LINE_BYTES_MAX} bytes"
            ),
            WireError::UnknownOperation(line) => {
                write!(formatter, "sent an unknown operation {line:?}")
            }
            WireError::BadMessageLine(line) => {
                write!(formatter, "sent a malformed message line {line:?}")
            }
            WireError::MessageWithoutEnd => {
                write!(formatter, "sent a message that does not end in CR LF")
            }
        }
    }
}

/// Reads one operation from the front of `bytes` and says how long it is; `None` if it has not fully arrived.
pub fn parse_server_op(bytes: &[u8]) -> Result<Option<(ServerOp<'_>, usize)>, WireError> {
    let window = &bytes[..bytes.len().min(CONTROL_LINE_BYTES_MAX)];
    let Some(newline) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() < CONTROL_LINE_BYTES_MAX {
            Ok(None)
        } else {
            Err(WireError::LineTooLong)
        };
    };
    let line = bytes[..newline]
        .strip_suffix(b"\r")
        .unwrap_or(&bytes[..newline]);
    let after_line = newline + 1;
    let word_end = line
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t'))
        .unwrap_or(line.len());
    let (word, rest) = line.split_at(word_end);
    let op = if word.eq_ignore_ascii_case(b"MSG") {
        return parse_message(bytes, rest, after_line, false);
    } else if word.eq_ignore_ascii_case(b"HMSG") {
        return parse_message(bytes, rest, after_line, true);
    } else if word.eq_ignore_ascii_case(b"PING") {
        ServerOp::Ping
    } else if word.eq_ignore_ascii_case(b"PONG") {
        ServerOp::Pong
    } else if word.eq_ignore_ascii_case(b"+OK") {
        ServerOp::Ok
    } else if word.eq_ignore_ascii_case(b"INFO") {
        ServerOp::Info(rest.trim_ascii())
    } else if word.eq_ignore_ascii_case(b"-ERR") {
        ServerOp::Error(rest.trim_ascii())
    } else {
        return Err(WireError::UnknownOperation(printable(line)));
    };
    Ok(Some((op, after_line)))
}

pub fn encode_subscribe(out: &mut Vec<u8>, subject: &str, queue_group: Option<&str>, sid: u64) {
    out.extend_from_slice(b"SUB ");
    out.extend_from_slice(subject.as_bytes());
    if let Some(group) = queue_group {
        out.push(b' ');
        out.extend_from_slice(group.as_bytes());
    }
    out.extend_from_slice(format!(" {sid}\r\n").as_bytes());
}

/// The line before the payload of a published message.
pub fn encode_publish_line(
    out: &mut Vec<u8>,
    subject: &[u8],
    reply: Option<&[u8]>,
    payload_bytes: usize,
) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject);
    if let Some(reply) = reply {
        out.push(b' ');
        out.extend_from_slice(reply);
    }
    out.push(b' ');
    push_decimal(out, payload_bytes);
    out.extend_from_slice(b"\r\n");
}

/// Bytes as text for an error message, cut to a readable length.
pub fn printable(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 120;
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into_owned();
    if bytes.len() > SHOWN_BYTES_MAX {
        text.push('…');
    }
    text
}

fn parse_message<'a>(
    bytes: &'a [u8],
    arguments: &'a [u8],
    after_line: usize,
    with_headers: bool,
) -> Result<Option<(ServerOp<'a>, usize)>, WireError> {
    let malformed = || WireError::BadMessageLine(printable(&bytes[..after_line]));
    let mut fields: [&[u8]; 5] = [b""; 5];
    let mut field_count = 0;
    for field in arguments
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|field| !field.is_empty())
    {
        *fields.get_mut(field_count).ok_or_else(malformed)? = field;
        field_count += 1;
    }
    let size_fields = if with_headers { 2 } else { 1 };
    let reply = match field_count - size_fields.min(field_count) {
        2 => None,
        3 => Some(fields[2]),
        _ => return Err(malformed()),
    };
    let sid = decimal(fields[1]).ok_or_else(malformed)?;
    let total_bytes = decimal(fields[field_count - 1]).ok_or_else(malformed)?;
    let header_bytes = if with_headers {
        decimal(fields[field_count - 2]).ok_or_else(malformed)?
    } else {
        0
    };
    if header_bytes > total_bytes {
        return Err(malformed());
    }
    let body_end = after_line + total_bytes;
    let Some(end) = bytes.get(body_end..body_end + 2) else {
        return Ok(None);
    };
    if end != b"\r\n" {
        return Err(WireError::MessageWithoutEnd);
    }
    let message = Message {
        subject: fields[0],
        sid,
        reply,
        headers: &bytes[after_line..after_line + header_bytes],
        payload: &bytes[after_line + header_bytes..body_end],
    };
    Ok(Some((ServerOp::Message(message), body_end + 2)))
}

fn decimal(digits: &[u8]) -> Option<usize> {
    // More digits than this is no size or subscription id, and the sum below cannot overflow.
    const DIGITS_MAX: usize = 12;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + usize::from(digit - b'0');
    }
    Some(value)
}

fn push_decimal(out: &mut Vec<u8>, mut value: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"INFO {\"port\":4222} \r\n+OK\r\nPING\r\nPONG\r\n-ERR 'Slow Consumer'\r\n\
        MSG a.b 1 5\r\nhello\r\nMSG a.b 7 inbox.1 0\r\n\r\n\
        HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHMSG a 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n";

    fn describe(bytes: &[u8], described: &mut Vec<String>) -> usize {
        let mut at = 0;
        while let Some((op, length)) = parse_server_op(&bytes[at..]).unwrap() {
            described.push(format!("{op:?}"));
            at += length;
        }
        at
    }

    #[test]
    fn every_operation_survives_a_split_at_every_byte() {
        let mut whole = Vec::new();
        assert_eq!(describe(STREAM, &mut whole), STREAM.len());
        assert_eq!(whole.len(), 9);
        for split in 0..STREAM.len() {
            let mut described = Vec::new();
            let consumed = describe(&STREAM[..split], &mut described);
            describe(&STREAM[consumed..], &mut described);
            assert_eq!(described, whole, "split at {split}");
        }
    }

    #[test]
    fn message_fields_are_found() {
        let check =
            |bytes: &[u8], subject: &str, reply: Option<&str>, headers: &str, payload: &str| {
                let (op, length) = parse_server_op(bytes).unwrap().unwrap();
                assert_eq!(length, bytes.len());
                let expected = Message {
                    subject: subject.as_bytes(),
                    sid: 1,
                    reply: reply.map(str::as_bytes),
                    headers: headers.as_bytes(),
                    payload: payload.as_bytes(),
                };
                assert_eq!(op, ServerOp::Message(expected));
            };
        check(b"MSG a.b 1 5\r\nhello\r\n", "a.b", None, "", "hello");
        check(
            b"MSG a.b 1 in.x 2\r\n\r\n\r\n",
            "a.b",
            Some("in.x"),
            "",
            "\r\n",
        );
        check(
            b"HMSG a 1 r 4 6\r\nH\r\n\nhi\r\n",
            "a",
            Some("r"),
            "H\r\n\n",
            "hi",
        );
    }

    #[test]
    fn broken_streams_are_named() {
        for bytes in [
            &b"HELLO\r\n"[..],
            b"MSG a 1\r\n",
            b"MSG a 1 x\r\n",
            b"MSG a 1 2\r\nabcd\r\n",
            b"HMSG a 1 9 3\r\n",
        ] {
            assert!(parse_server_op(bytes).is_err(), "{}", printable(bytes));
        }
    }

    #[test]
    fn client_operations_are_encoded() {
        let mut out = Vec::new();
        encode_subscribe(&mut out, "a.*", None, 1);
        encode_subscribe(&mut out, "a.>", Some("workers"), 20);
        encode_publish_line(&mut out, b"a.b", None, 0);
        encode_publish_line(&mut out, b"a.b", Some(b"in"), 1024);
        assert_eq!(
            out,
            b"SUB a.* 1\r\nSUB a.> workers 20\r\nPUB a.b 0\r\nPUB a.b in 1024\r\n"
        );
    }
}
