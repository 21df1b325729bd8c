//! Acknowledgements: the subject that a delivered message is answered on, and what is said there.
//!
//! Subjects are written and read by hand: both are done once for each message.

use serde::Deserialize;

use crate::jetstream::stream::headers::duration;
use crate::store::{Seq, UnixNanos};

/// What all these subjects begin with.
pub const PREFIX: &[u8] = b"$JS.ACK.";
/// Tokens of the short form, and the fewest of the long one, which names domain and account.
const TOKENS_SHORT: usize = 9;
const TOKENS_LONG: usize = 11;

/// What is said in the subject of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckSubject<'a> {
    /// Domain (`_` for none) and account of the long form.
    pub place: Option<(&'a [u8], &'a [u8])>,
    /// The stream.
    pub stream: &'a str,
    /// The consumer.
    pub consumer: &'a str,
    /// How often the message was delivered.
    pub deliveries: u64,
    /// Its sequence in the stream.
    pub stream_seq: Seq,
    /// The sequence of that delivery.
    pub consumer_seq: u64,
}

impl<'a> AckSubject<'a> {
    /// Reads one of either form; nothing if it is none.
    pub fn parse(subject: &'a [u8]) -> Option<Self> {
        if !subject.starts_with(PREFIX) {
            return None;
        }
        let mut tokens = [&b""[..]; TOKENS_LONG];
        let (mut count, mut begin) = (0, 0);
        for end in memchr::memchr_iter(b'.', subject).chain([subject.len()]) {
            if let Some(place) = tokens.get_mut(count) {
                *place = &subject[begin..end];
            }
            count += 1;
            begin = end + 1;
        }
        let at = match count {
            TOKENS_SHORT => 2,
            TOKENS_LONG.. => 4,
            _ => return None,
        };
        Some(Self {
            place: (at == 4).then_some((tokens[2], tokens[3])),
            stream: name(tokens[at])?,
            consumer: name(tokens[at + 1])?,
            deliveries: number(tokens[at + 2])?,
            stream_seq: number(tokens[at + 3])?,
            consumer_seq: number(tokens[at + 4])?,
        })
    }
}

impl AckSubject<'_> {
    /// Whether both are about messages of one consumer.
    #[inline]
    pub fn is_of_same_consumer(&self, other: &AckSubject<'_>) -> bool {
        (self.place, self.stream, self.consumer) == (other.place, other.stream, other.consumer)
    }
}

/// Names of streams and consumers are UTF-8 since they come from JSON.
fn name(token: &[u8]) -> Option<&str> {
    std::str::from_utf8(token).ok()
}

/// A decimal number of at most 19 digits.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u64::from(byte - b'0'))
    })
}

/// Appends `<delivered>.<sseq>.<cseq>.<ts>.<pending>`.
#[inline]
pub fn push_numbers(
    to: &mut Vec<u8>,
    deliveries: u64,
    stream_seq: Seq,
    consumer_seq: u64,
    time: UnixNanos,
    pending: u64,
) {
    push_decimal(to, deliveries);
    to.push(b'.');
    push_decimal(to, stream_seq);
    to.push(b'.');
    push_decimal(to, consumer_seq);
    to.push(b'.');
    push_decimal(to, time.max(0).unsigned_abs());
    to.push(b'.');
    push_decimal(to, pending);
}

/// `00` to `99`.
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// Appends a number, two digits at a time.
#[inline]
pub fn push_decimal(to: &mut Vec<u8>, number: u64) {
    if number < 10 {
        to.push(b'0' + number as u8);
        return;
    }
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    while rest >= 100 {
        let pair = (rest % 100) as usize * 2;
        rest /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if rest >= 10 {
        let pair = rest as usize * 2;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    to.extend_from_slice(&digits[at..]);
}

/// What a client says to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack<'a> {
    /// It is done.
    Done,
    /// It is done, and more is asked for: a pull request.
    Next(&'a [u8]),
    /// Not done: deliver it again, after so many nanoseconds if there are any.
    Not(Option<i64>),
    /// It is being worked on.
    Progress,
    /// It will never be done, and why.
    Never(&'a [u8]),
    /// None of these.
    Unknown,
}

/// The JSON of a delay.
#[derive(Deserialize)]
struct Delay {
    #[serde(default)]
    delay: i64,
}

impl<'a> Ack<'a> {
    /// Reads the payload (without headers). A delay that cannot be read is none.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Self {
        match payload {
            b"" | b"+ACK" | b"+OK" => Self::Done,
            b"+WPI" => Self::Progress,
            _ => Self::parse_longer(payload),
        }
    }

    fn parse_longer(payload: &'a [u8]) -> Self {
        if let Some(request) = payload.strip_prefix(b"+NXT") {
            return Self::Next(request);
        }
        if let Some(reason) = payload.strip_prefix(b"+TERM") {
            return Self::Never(reason.trim_ascii());
        }
        let Some(delay) = payload.strip_prefix(b"-NAK") else {
            return Self::Unknown;
        };
        Self::Not(match delay.trim_ascii() {
            b"" => None,
            json @ [b'{', ..] => serde_json::from_slice(json).ok().map(|d: Delay| d.delay),
            plain => duration(plain),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for number in (0..1100).chain([9_999, 10_000, 123_456_789, u64::MAX - 1, u64::MAX]) {
            let mut text = Vec::new();
            push_decimal(&mut text, number);
            assert_eq!(text, number.to_string().as_bytes());
            if number < 1 << 60 {
                assert_eq!(super::number(&text), Some(number));
            }
        }
        for wrong in ["", "-1", "1a", "99999999999999999999"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn subjects() {
        let short = AckSubject::parse(b"$JS.ACK.S.C.1.22.333.1700000000000000000.4").unwrap();
        assert_eq!(short.place, None);
        assert_eq!((short.stream, short.consumer), ("S", "C"));
        assert_eq!(
            (short.deliveries, short.stream_seq, short.consumer_seq),
            (1, 22, 333)
        );
        let long = b"$JS.ACK._.hash.S.C.1.22.333.1700000000000000000.4";
        for more in ["", ".x", ".x.y"] {
            let long = [&long[..], more.as_bytes()].concat();
            let long = AckSubject::parse(&long).unwrap();
            assert_eq!(long.place, Some((&b"_"[..], &b"hash"[..])));
            let place = None;
            assert_eq!(AckSubject { place, ..long }, short);
        }
        for wrong in [
            "$JS.ACK.S.C.1.2.3.4",
            "$JS.ACK.S.C.1.2.3.4.5.6",
            "$JS.ACK.S.C.x.2.3.4.5",
            "$JS.FC.S.C.1.2.3.4.5",
        ] {
            assert_eq!(AckSubject::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn payloads() {
        const SECOND: i64 = 1_000_000_000;
        let cases = [
            ("", Ack::Done),
            ("+ACK", Ack::Done),
            ("+OK", Ack::Done),
            ("+ACK ", Ack::Unknown),
            ("+WPI", Ack::Progress),
            ("+WPI ", Ack::Unknown),
            ("-NAK", Ack::Not(None)),
            ("-NAK  ", Ack::Not(None)),
            ("-NAK {\"delay\": 1000000000}", Ack::Not(Some(SECOND))),
            ("-NAK 1.5s", Ack::Not(Some(SECOND * 3 / 2))),
            ("-NAK never", Ack::Not(None)),
            ("-NAK {bad", Ack::Not(None)),
            ("-NAK {}", Ack::Not(Some(0))),
            ("+TERM", Ack::Never(b"")),
            ("+TERM no good ", Ack::Never(b"no good")),
            ("+NXT", Ack::Next(b"")),
            ("+NXT 5", Ack::Next(b" 5")),
            ("what", Ack::Unknown),
        ];
        for (payload, expected) in cases {
            assert_eq!(Ack::parse(payload.as_bytes()), expected, "{payload}");
        }
    }
}
