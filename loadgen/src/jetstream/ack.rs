//! Reading acknowledgements: what a stream says of a published message, and what a consumer's reply subject says of a delivered one.

use serde::Deserialize;

use crate::failure::{Failure, Result};
use crate::wire::printable;

/// A stream's answer to a published message.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PubAck {
    pub seq: u64,
    pub duplicate: bool,
    /// Messages in the batch that this acknowledges.
    pub count: u64,
    pub error: Option<serde_json::Value>,
}

impl PubAck {
    /// The plain form is read without a JSON parser: it is what comes a million times a second.
    pub fn read(payload: &[u8]) -> Result<Self> {
        if let Some(seq) = read_plain(payload) {
            return Ok(Self {
                seq,
                ..Self::default()
            });
        }
        serde_json::from_slice(payload).map_err(|error| {
            let text = printable(payload);
            Failure::server(format!("sent a PubAck that is no JSON ({error}): {text}"))
        })
    }
}

/// `{"stream":"NAME","seq":N}` and nothing else.
fn read_plain(payload: &[u8]) -> Option<u64> {
    let rest = payload.strip_prefix(b"{\"stream\":\"")?;
    let name_end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let digits = rest[name_end..].strip_prefix(b"\",\"seq\":")?;
    number(digits.strip_suffix(b"}")?)
}

/// What the reply subject of a delivered message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How often this message has been delivered, this time included.
    pub times: u64,
    pub stream_seq: u64,
    pub consumer_seq: u64,
    /// What was left for the consumer then.
    pub pending: u64,
}

impl Delivery {
    /// `$JS.ACK.stream.consumer.times.sseq.cseq.time.pending`, or with domain and account before the stream.
    pub fn read(reply: &[u8]) -> Option<Self> {
        const TOKENS_MAX: usize = 12;
        let rest = reply.strip_prefix(b"$JS.ACK.")?;
        let mut tokens: [&[u8]; TOKENS_MAX] = [b""; TOKENS_MAX];
        let mut count = 0;
        for token in rest.split(|byte| *byte == b'.') {
            *tokens.get_mut(count)? = token;
            count += 1;
        }
        let first = match count {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let at = |index: usize| number(tokens[first + index]);
        Some(Self {
            times: at(0)?,
            stream_seq: at(1)?,
            consumer_seq: at(2)?,
            pending: at(4)?,
        })
    }
}

pub fn number(digits: &[u8]) -> Option<u64> {
    // Nothing longer fits, and the sum below cannot overflow.
    const DIGITS_MAX: usize = 19;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + u64::from(digit - b'0'))
    })
}

/// The status of a message that has one instead of a payload: `NATS/1.0 408 Request Timeout`.
pub fn status(headers: &[u8]) -> Option<u16> {
    let digits = headers.strip_prefix(b"NATS/1.0 ")?.get(..3)?;
    number(digits).and_then(|status| u16::try_from(status).ok())
}

/// The value of a header, if it is there.
pub fn header<'a>(headers: &'a [u8], name: &str) -> Option<&'a [u8]> {
    headers.split(|byte| *byte == b'\n').find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        Some(value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pub_acks_are_read_in_both_ways() {
        for (payload, seq, duplicate, error) in [
            (r#"{"stream":"S","seq":12}"#, 12, false, false),
            (r#"{"stream":"S", "seq": 12}"#, 12, false, false),
            (r#"{"stream":"S","seq":7,"duplicate":true}"#, 7, true, false),
            (r#"{"stream":"S","domain":"d","seq":7}"#, 7, false, false),
            (
                r#"{"error":{"code":503},"stream":"S","seq":0}"#,
                0,
                false,
                true,
            ),
        ] {
            let ack = PubAck::read(payload.as_bytes()).unwrap();
            assert_eq!((ack.seq, ack.duplicate), (seq, duplicate), "{payload}");
            assert_eq!(ack.error.is_some(), error, "{payload}");
        }
        assert!(PubAck::read(b"").is_err());
        assert!(PubAck::read(b"+OK").is_err());
    }

    #[test]
    fn reply_subjects_are_read_in_both_forms() {
        let expected = Delivery {
            times: 1,
            stream_seq: 20,
            consumer_seq: 30,
            pending: 5,
        };
        for reply in [
            "$JS.ACK.S.C.1.20.30.1700000000000000000.5",
            "$JS.ACK.hub.ABCDEF.S.C.1.20.30.1700000000000000000.5",
            "$JS.ACK._.ABCDEF.S.C.1.20.30.1700000000000000000.5.xyz",
        ] {
            assert_eq!(Delivery::read(reply.as_bytes()), Some(expected), "{reply}");
        }
        for reply in [
            "$JS.ACK.S.C.1.20.30.5",
            "$JS.FC.S.x",
            "$JS.ACK.S.C.x.20.30.1.5",
        ] {
            assert_eq!(Delivery::read(reply.as_bytes()), None, "{reply}");
        }
    }

    #[test]
    fn statuses_and_headers_are_found() {
        let headers = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: $JS.FC.x\r\n\r\n";
        assert_eq!(status(headers), Some(100));
        assert_eq!(
            header(headers, "Nats-Consumer-Stalled"),
            Some(&b"$JS.FC.x"[..])
        );
        assert_eq!(status(b"NATS/1.0\r\nNats-Subject: a\r\n\r\n"), None);
        assert_eq!(header(headers, "Nats-Subject"), None);
    }
}
