//! The bytes of answers to publishes, formatted by hand: there is one for each message.
//!
//! Knows no stream: only how its answers are spelled.

use crate::jetstream::api::encode;
use crate::jetstream::api::errors::ApiError;
use crate::store::Seq;

/// What all acknowledgements of a stream begin with.
#[derive(Clone, Debug)]
pub struct Acks {
    /// `{"stream":"S","seq":` or, within a domain, `{"stream":"S","domain":"D", "seq":`.
    prefix: Box<[u8]>,
    name: Box<str>,
}

impl Acks {
    /// Of a stream of this name; the domain may be empty.
    pub fn new(stream: &str, domain: &str) -> Self {
        let mut prefix = b"{\"stream\":".to_vec();
        encode::string(&mut prefix, stream);
        if !domain.is_empty() {
            prefix.extend_from_slice(b",\"domain\":");
            encode::string(&mut prefix, domain);
        }
        prefix.extend_from_slice(b",\"seq\":");
        Self {
            prefix: prefix.into(),
            name: stream.into(),
        }
    }

    /// `{"stream":"S","seq":22}`.
    #[inline]
    pub fn stored(&self, seq: Seq, to: &mut Vec<u8>) {
        self.begin(seq, to);
        to.push(b'}');
    }

    /// The message was there already.
    pub fn duplicate(&self, seq: Seq, to: &mut Vec<u8>) {
        self.begin(seq, to);
        to.extend_from_slice(b",\"duplicate\": true}");
    }

    /// A counter has this value now: decimal digits.
    pub fn counted(&self, seq: Seq, value: &str, to: &mut Vec<u8>) {
        self.begin(seq, to);
        to.extend_from_slice(b",\"val\":");
        encode::string(to, value);
        to.push(b'}');
    }

    /// A batch is stored, its last message with this sequence.
    pub fn batch(&self, seq: Seq, duplicate: bool, batch: &[u8], count: u64, to: &mut Vec<u8>) {
        self.begin(seq, to);
        if duplicate {
            to.extend_from_slice(b",\"duplicate\": true");
        }
        to.extend_from_slice(b",\"batch\":");
        encode::string(to, &String::from_utf8_lossy(batch));
        to.extend_from_slice(b",\"count\":");
        encode::unsigned(to, count);
        to.push(b'}');
    }

    /// It was refused.
    pub fn refused(&self, error: &ApiError, to: &mut Vec<u8>) {
        to.extend_from_slice(b"{\"error\":");
        error.render(to);
        to.extend_from_slice(b",\"stream\":");
        encode::string(to, &self.name);
        to.extend_from_slice(b",\"seq\":0}");
    }

    fn begin(&self, seq: Seq, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.prefix);
        encode::unsigned(to, seq);
    }
}

/// Of a fast batch: everything up to `seq` has arrived, and there will be one of these for each
/// `messages`.
pub fn flow(seq: u64, messages: u16, to: &mut Vec<u8>) {
    to.extend_from_slice(b"{\"type\":\"ack\",\"seq\":");
    encode::unsigned(to, seq);
    to.extend_from_slice(b",\"msgs\":");
    encode::unsigned(to, messages.into());
    to.push(b'}');
}

/// Of a fast batch: messages from `expected` up to before `seq` have not arrived.
pub fn gap(expected: u64, seq: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(b"{\"type\":\"gap\",\"last_seq\":");
    encode::unsigned(to, expected);
    to.extend_from_slice(b",\"seq\":");
    encode::unsigned(to, seq);
    to.push(b'}');
}

/// Of a fast batch: this message of it was refused.
pub fn flow_error(seq: u64, error: &ApiError, to: &mut Vec<u8>) {
    to.extend_from_slice(b"{\"type\":\"err\",\"seq\":");
    encode::unsigned(to, seq);
    to.extend_from_slice(b",\"error\":");
    error.render(to);
    to.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::api::errors::Code;

    fn text(make: impl Fn(&mut Vec<u8>)) -> String {
        let mut to = Vec::new();
        make(&mut to);
        String::from_utf8(to).expect("answers are text")
    }

    #[test]
    fn spelled_as_nats_server_does() {
        let acks = Acks::new("S", "");
        let within = Acks::new("S", "hub");
        let error = ApiError::from(Code::StreamSealed);
        let cases = [
            (text(|to| acks.stored(22, to)), r#"{"stream":"S","seq":22}"#),
            (
                text(|to| within.stored(0, to)),
                r#"{"stream":"S","domain":"hub","seq":0}"#,
            ),
            (
                text(|to| acks.duplicate(u64::MAX, to)),
                r#"{"stream":"S","seq":18446744073709551615,"duplicate": true}"#,
            ),
            (
                text(|to| acks.counted(3, "-5", to)),
                r#"{"stream":"S","seq":3,"val":"-5"}"#,
            ),
            (
                text(|to| acks.batch(9, false, b"id\"", 3, to)),
                r#"{"stream":"S","seq":9,"batch":"id\"","count":3}"#,
            ),
            (
                text(|to| acks.refused(&error, to)),
                concat!(
                    r#"{"error":{"code":400,"err_code":10109,"description":"#,
                    r#""invalid operation on sealed stream"},"stream":"S","seq":0}"#
                ),
            ),
            (
                text(|to| flow(5, 10, to)),
                r#"{"type":"ack","seq":5,"msgs":10}"#,
            ),
            (
                text(|to| gap(2, 5, to)),
                r#"{"type":"gap","last_seq":2,"seq":5}"#,
            ),
        ];
        for (answer, expected) in cases {
            assert_eq!(answer, expected);
        }
    }
}
