//! The headers of a publish that a stream obeys, found in one pass.
//!
//! Keys are compared as they are spelled, and the first of a key counts, as in nats-server. Knows
//! no stream: values are kept as they came, or read where only one reading exists.

use crate::proto::headers;

/// What a header block ends with.
const BLOCK_END: &[u8] = b"\r\n\r\n";
/// A block with nothing in it, as it is begun.
const BLOCK_BEGIN: &[u8] = b"NATS/1.0\r\n";

pub const MSG_ID: &str = "Nats-Msg-Id";
pub const ROLLUP: &str = "Nats-Rollup";
pub const TTL: &str = "Nats-TTL";
pub const MARKER_REASON: &str = "Nats-Marker-Reason";
pub const INCREMENT: &str = "Nats-Incr";
pub const COUNTER_SOURCES: &str = "Nats-Counter-Sources";
pub const BATCH_COMMIT: &str = "Nats-Batch-Commit";
pub const EXPECTED_LAST_MSG_ID: &str = "Nats-Expected-Last-Msg-Id";
pub const REQUIRED_LEVEL: &str = "Nats-Required-Api-Level";
pub const SCHEDULER: &str = "Nats-Scheduler";
pub const SCHEDULE_NEXT: &str = "Nats-Schedule-Next";
/// Who asked, as a service import adds it: not stored.
pub const CLIENT_INFO: &str = "Nats-Request-Info";

/// Rolls up the message's subject.
pub const ROLLUP_SUBJECT: &[u8] = b"sub";
/// Rolls up the whole stream.
pub const ROLLUP_ALL: &[u8] = b"all";
/// The schedule named with it has fired for the last time.
pub const SCHEDULE_PURGE: &[u8] = b"purge";

/// What a publish asks for. Empty where it says nothing, unless an empty value means something.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub msg_id: &'a [u8],
    pub expected_stream: &'a [u8],
    /// One that is no number is higher than any there can be.
    pub expected_last: Option<u64>,
    /// The same.
    pub expected_subject_last: Option<u64>,
    pub expected_subject: &'a [u8],
    pub expected_msg_id: &'a [u8],
    pub rollup: &'a [u8],
    pub ttl: &'a [u8],
    pub increment: &'a [u8],
    pub counter_sources: &'a [u8],
    pub batch_id: Option<&'a [u8]>,
    pub batch_sequence: &'a [u8],
    pub batch_commit: Option<&'a [u8]>,
    pub required_level: &'a [u8],
    pub schedule: &'a [u8],
    pub schedule_time_zone: Option<&'a [u8]>,
    pub schedule_ttl: &'a [u8],
    pub schedule_rollup: &'a [u8],
    pub schedule_target: &'a [u8],
    pub schedule_source: &'a [u8],
    pub schedule_next: &'a [u8],
    pub scheduler: &'a [u8],
    pub stream_source: &'a [u8],
    pub marker_reason: &'a [u8],
    pub kv_operation: &'a [u8],
    pub client_info: bool,
}

impl<'a> Asked<'a> {
    /// Nothing.
    pub const NOTHING: Asked<'static> = Asked {
        msg_id: &[],
        expected_stream: &[],
        expected_last: None,
        expected_subject_last: None,
        expected_subject: &[],
        expected_msg_id: &[],
        rollup: &[],
        ttl: &[],
        increment: &[],
        counter_sources: &[],
        batch_id: None,
        batch_sequence: &[],
        batch_commit: None,
        required_level: &[],
        schedule: &[],
        schedule_time_zone: None,
        schedule_ttl: &[],
        schedule_rollup: &[],
        schedule_target: &[],
        schedule_source: &[],
        schedule_next: &[],
        scheduler: &[],
        stream_source: &[],
        marker_reason: &[],
        kv_operation: &[],
        client_info: false,
    };

    /// Reads a block.
    pub fn read(block: &'a [u8]) -> Self {
        let mut asked: Self = Self::NOTHING;
        let mut rest = block;
        // A line ends with both characters; one of them alone is part of a value.
        let mut from = 0;
        while let Some(at) = memchr::memchr(b'\r', &rest[from..]) {
            let at = from + at;
            if rest.get(at + 1) != Some(&b'\n') {
                from = at + 1;
                continue;
            }
            asked.line(&rest[..at]);
            rest = &rest[at + 2..];
            from = 0;
        }
        asked.line(rest);
        asked
    }

    fn line(&mut self, line: &'a [u8]) {
        let Some(colon) = memchr::memchr(b':', line) else {
            return;
        };
        let value = &line[colon + 1..];
        let value = &value[value.iter().take_while(|&&b| b == b' ').count()..];
        let Some(key) = line[..colon].strip_prefix(b"Nats-") else {
            if &line[..colon] == b"KV-Operation" {
                first(&mut self.kv_operation, value);
            }
            return;
        };
        match key {
            b"Msg-Id" => first(&mut self.msg_id, value),
            b"Expected-Stream" => first(&mut self.expected_stream, value),
            b"Expected-Last-Sequence" => first_number(&mut self.expected_last, value),
            b"Expected-Last-Subject-Sequence" => {
                first_number(&mut self.expected_subject_last, value);
            }
            b"Expected-Last-Subject-Sequence-Subject" => first(&mut self.expected_subject, value),
            b"Expected-Last-Msg-Id" => first(&mut self.expected_msg_id, value),
            b"Rollup" => first(&mut self.rollup, value),
            b"TTL" => first(&mut self.ttl, value),
            b"Incr" => first(&mut self.increment, value),
            b"Counter-Sources" => first(&mut self.counter_sources, value),
            b"Batch-Id" => first_of_any(&mut self.batch_id, value),
            b"Batch-Sequence" => first(&mut self.batch_sequence, value),
            b"Batch-Commit" => first_of_any(&mut self.batch_commit, value),
            b"Required-Api-Level" => first(&mut self.required_level, value),
            b"Schedule" => first(&mut self.schedule, value),
            b"Schedule-Time-Zone" => first_of_any(&mut self.schedule_time_zone, value),
            b"Schedule-TTL" => first(&mut self.schedule_ttl, value),
            b"Schedule-Rollup" => first(&mut self.schedule_rollup, value),
            b"Schedule-Target" => first(&mut self.schedule_target, value),
            b"Schedule-Source" => first(&mut self.schedule_source, value),
            b"Schedule-Next" => first(&mut self.schedule_next, value),
            b"Scheduler" => first(&mut self.scheduler, value),
            b"Stream-Source" => first(&mut self.stream_source, value),
            b"Marker-Reason" => first(&mut self.marker_reason, value),
            b"Request-Info" => self.client_info = true,
            _ => {}
        }
    }

    /// Whether the message says that its subject was deleted: a marker of the server, or a purge of
    /// a key-value client.
    pub fn is_delete_marker(&self) -> bool {
        !self.marker_reason.is_empty() || self.kv_operation == b"PURGE"
    }

    /// Whether any expectation is set.
    pub fn expects(&self) -> bool {
        !self.expected_stream.is_empty()
            || !self.expected_msg_id.is_empty()
            || !self.expected_subject.is_empty()
            || self.expected_last.is_some()
            || self.expected_subject_last.is_some()
    }
}

fn first<'a>(field: &mut &'a [u8], value: &'a [u8]) {
    if field.is_empty() {
        *field = value;
    }
}

fn first_of_any<'a>(field: &mut Option<&'a [u8]>, value: &'a [u8]) {
    if field.is_none() {
        *field = Some(value);
    }
}

fn first_number(field: &mut Option<u64>, value: &[u8]) {
    if field.is_none() && !value.is_empty() {
        *field = Some(decimal(value).unwrap_or(u64::MAX));
    }
}

/// A decimal number of digits only; none if it is no such or too large.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0u64, |number, &digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// How long a message lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    /// Nothing is said, or zero.
    Unset,
    /// It does not age.
    Never,
    /// Whole seconds.
    Seconds(u64),
}

impl TimeToLive {
    /// Reads a value of `Nats-TTL`: `never`, a duration of at least a second, or seconds. None if
    /// it is none of them.
    pub fn read(text: &[u8]) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Unset);
        }
        if text.eq_ignore_ascii_case(b"never") {
            return Some(Self::Never);
        }
        if let Some(nanos) = duration(text) {
            let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
            // "0" is both a duration and a number of seconds; as a duration it is too short.
            return (seconds > 0).then_some(Self::Seconds(seconds));
        }
        match decimal(text)? {
            0 => Some(Self::Unset),
            seconds => i64::try_from(seconds).ok().map(|_| Self::Seconds(seconds)),
        }
    }
}

/// A duration as Go writes them (`1h2m3.5s`), in nanoseconds; none if it is no such.
pub fn duration(text: &[u8]) -> Option<i64> {
    let (negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if rest == b"0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
        let whole = digits(rest);
        let integer = if whole > 0 {
            decimal(&rest[..whole])?
        } else {
            0
        };
        rest = &rest[whole..];
        let mut fraction: &[u8] = &[];
        if let [b'.', after @ ..] = rest {
            let len = digits(after);
            fraction = &after[..len];
            rest = &after[len..];
        }
        if whole == 0 && fraction.is_empty() {
            return None;
        }
        let unit_len = rest
            .iter()
            .take_while(|b| **b != b'.' && !b.is_ascii_digit())
            .count();
        let unit: i128 = match &rest[..unit_len] {
            b"ns" => 1,
            b"us" => 1_000,
            text if text == "µs".as_bytes() || text == "μs".as_bytes() => 1_000,
            b"ms" => 1_000_000,
            b"s" => 1_000_000_000,
            b"m" => 60_000_000_000,
            b"h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[unit_len..];
        total += i128::from(integer) * unit;
        let mut place = unit;
        for digit in fraction.iter().take(18) {
            place /= 10;
            total += i128::from(digit - b'0') * place;
        }
        if total > i128::from(i64::MAX) {
            return None;
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// The block without a status behind the version; nothing if nothing else is in it.
pub fn without_status(block: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    use std::borrow::Cow;
    if headers::status(block).is_empty() {
        let is_empty = block.len() <= BLOCK_BEGIN.len() + 2;
        return Cow::Borrowed(if is_empty { &[] } else { block });
    }
    let Some(end) = memchr::memmem::find(block, b"\r\n") else {
        return Cow::Borrowed(block);
    };
    let rest = &block[end + 2..];
    if rest.len() <= 2 {
        return Cow::Borrowed(&[]);
    }
    Cow::Owned([BLOCK_BEGIN, rest].concat())
}

/// Appends a header to a block that is whole, or begins one.
pub fn push(block: &mut Vec<u8>, key: &str, value: &[u8]) {
    if block.ends_with(BLOCK_END) {
        block.truncate(block.len() - 2);
    } else {
        block.clear();
        block.extend_from_slice(BLOCK_BEGIN);
    }
    block.extend_from_slice(key.as_bytes());
    block.extend_from_slice(b": ");
    block.extend(
        value
            .iter()
            .map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }),
    );
    block.extend_from_slice(BLOCK_END);
}

/// Puts a value in the place of the one that the key has, or appends it.
pub fn set(block: &mut Vec<u8>, key: &str, value: &[u8]) {
    let found = headers::find(block, key).map(|old| {
        let at = old.as_ptr() as usize - block.as_ptr() as usize;
        at..at + old.len()
    });
    match found {
        Some(old) => drop(block.splice(old, value.iter().copied())),
        None => push(block, key, value),
    }
}

/// The block without the headers of which `goes` says so; nothing if nothing is left.
pub fn without(block: &[u8], goes: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(block.len());
    for (at, line) in block.split_inclusive(|&b| b == b'\n').enumerate() {
        let key = memchr::memchr(b':', line).map_or(&[][..], |colon| &line[..colon]);
        if at == 0 || key.is_empty() || !goes(key) {
            kept.extend_from_slice(line);
        }
    }
    if kept.len() <= BLOCK_BEGIN.len() + 2 {
        kept.clear();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let second = 1_000_000_000;
        let cases: &[(&str, Option<i64>)] = &[
            ("1s", Some(second)),
            ("1.5s", Some(second + second / 2)),
            ("1h2m3s", Some(3723 * second)),
            ("-1s", Some(-second)),
            ("250ms", Some(second / 4)),
            (".5s", Some(second / 2)),
            ("1µs", Some(1000)),
            ("0", Some(0)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1x", None),
            (".s", None),
            ("1s ", None),
            ("9999999999h", None),
        ];
        for &(text, expected) in cases {
            assert_eq!(duration(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn times_to_live() {
        use TimeToLive::{Never, Seconds, Unset};
        let cases: &[(&str, Option<TimeToLive>)] = &[
            ("", Some(Unset)),
            ("never", Some(Never)),
            ("NEVER", Some(Never)),
            ("5", Some(Seconds(5))),
            ("5s", Some(Seconds(5))),
            ("1500ms", Some(Seconds(1))),
            ("500ms", None),
            ("0", None),
            ("00", Some(Unset)),
            ("-1", None),
            ("x", None),
            ("99999999999999999999", None),
        ];
        for &(text, expected) in cases {
            assert_eq!(TimeToLive::read(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn the_first_of_a_key_spelled_exactly_so() {
        let block = b"NATS/1.0\r\nnats-msg-id: no\r\nNats-Msg-Id:  a b \r\nNats-Msg-Id: c\r\n\
            Nats-Expected-Last-Sequence: x\r\nNats-Batch-Commit:\r\n\r\n";
        let asked = Asked::read(block);
        assert_eq!(asked.msg_id, b"a b ");
        assert_eq!(asked.expected_last, Some(u64::MAX));
        assert_eq!(asked.batch_commit, Some(&b""[..]));
        assert_eq!(asked.batch_id, None);
    }

    #[test]
    fn blocks_change() {
        let cases: &[(&str, &str)] = &[
            ("NATS/1.0\r\n\r\n", ""),
            ("NATS/1.0 503 No\r\n\r\n", ""),
            ("NATS/1.0 100\r\na: b\r\n\r\n", "NATS/1.0\r\na: b\r\n\r\n"),
            ("NATS/1.0\r\na: b\r\n\r\n", "NATS/1.0\r\na: b\r\n\r\n"),
            ("", ""),
        ];
        for &(block, expected) in cases {
            assert_eq!(
                without_status(block.as_bytes()).as_ref(),
                expected.as_bytes()
            );
        }
        let mut block = Vec::new();
        push(&mut block, "A", b"1");
        push(&mut block, "B", b"2\r\n3");
        assert_eq!(block, b"NATS/1.0\r\nA: 1\r\nB: 2  3\r\n\r\n");
        assert_eq!(
            without(&block, |key| key == b"A"),
            b"NATS/1.0\r\nB: 2  3\r\n\r\n"
        );
        assert_eq!(without(&block, |_| true), b"");
    }
}
