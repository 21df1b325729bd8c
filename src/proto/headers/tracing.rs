//! Which headers ask for a message to be traced (ADR-41), or for a service's latency to be measured.
//!
//! Knows no account: where external traces report to, and how many of them are, is for others.

use std::collections::BTreeMap;

use super::{VERSION, entries, lines};

/// Where a trace is to be reported to.
pub const TRACE_DESTINATION: &str = "Nats-Trace-Dest";
/// As a destination: the message is not traced any more. It is no valid subject.
pub const TRACE_DISABLED: &str = "trace disabled";
const ONLY: &[u8] = b"Nats-Trace-Only";
const HOP: &[u8] = b"Nats-Trace-Hop";
const ORIGIN_ACCOUNT: &[u8] = b"Nats-Trace-Origin-Account";
const ACCEPT_ENCODING: &[u8] = b"Accept-Encoding";
const TRACE_PARENT: &[u8] = b"Traceparent";

const UBER: &[u8] = b"Uber-Trace-Id";
const UBER_CONTEXT: &[u8] = b"Uberctx-";
const B3: &[u8] = b"B3";
const B3_SAMPLED: &[u8] = b"X-B3-Sampled";
const B3_TRACE: &[u8] = b"X-B3-TraceId";
const B3_PARENT: &[u8] = b"X-B3-ParentSpanId";
const B3_SPAN: &[u8] = b"X-B3-SpanId";
const TRACE_STATE: &[u8] = b"Tracestate";

/// How a message asks to be traced. That it may report there is still to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace<'b> {
    /// Where to report to; `None` for where the account says, as `traceparent` asks.
    pub destination: Option<&'b [u8]>,
    /// The message is not to be delivered.
    pub only: bool,
    /// Where the message has been, if it comes from another server.
    pub hop: Option<&'b [u8]>,
    /// An old server has traced it: it is not traced any more, and if it is `only` for tracing, it
    /// is not delivered either.
    pub origin_account: Option<&'b [u8]>,
    /// How the report is to be compressed.
    pub compression: Compression,
}

/// What `Accept-Encoding` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    Snappy,
    Gzip,
    /// One that is not known.
    Unsupported,
}

impl Compression {
    fn parse(accepted: &[u8]) -> Self {
        let accepted = accepted.to_ascii_lowercase();
        let names = |name: &[u8]| memchr::memmem::find(&accepted, name).is_some();
        if names(b"snappy") || names(b"s2") {
            Compression::Snappy
        } else if names(b"gzip") {
            Compression::Gzip
        } else {
            Compression::Unsupported
        }
    }
}

/// How the block asks for its message to be traced, if it does.
pub fn trace(block: &[u8]) -> Option<Trace<'_>> {
    // One with a status is none.
    if lines(block).next() != Some(VERSION) {
        return None;
    }
    let mut trace = Trace {
        destination: None,
        only: false,
        hop: None,
        origin_account: None,
        compression: Compression::None,
    };
    // Of each the first that is not empty counts.
    let (mut only, mut accepted) = (None, None);
    let mut is_sampled = false;
    for (key, value) in entries(block) {
        if value.is_empty() {
            continue;
        }
        let seat = match key {
            key if key == TRACE_DESTINATION.as_bytes() => &mut trace.destination,
            HOP => &mut trace.hop,
            ORIGIN_ACCOUNT => &mut trace.origin_account,
            ONLY => &mut only,
            ACCEPT_ENCODING => &mut accepted,
            _ => {
                is_sampled |= key.eq_ignore_ascii_case(TRACE_PARENT) && has_sampled_flag(value);
                continue;
            }
        };
        seat.get_or_insert(value);
    }
    if trace.destination == Some(TRACE_DISABLED.as_bytes())
        || (trace.destination.is_none() && !is_sampled)
    {
        return None;
    }
    let is_yes = |only: &[u8]| {
        [&b"1"[..], b"true", b"on"]
            .iter()
            .any(|yes| only.eq_ignore_ascii_case(yes))
    };
    trace.only = trace.destination.is_some() && only.is_some_and(is_yes);
    trace.compression = accepted.map(Compression::parse).unwrap_or_default();
    Some(trace)
}

/// The headers that ask for the latency of a service to be measured, which are told with the
/// result, by their canonical names; `None` if they do not ask for it.
pub fn sampled_headers(block: &[u8]) -> Option<BTreeMap<String, Vec<String>>> {
    // Readers of such headers refuse a block with a line that is none.
    let mut rest = lines(block).skip(1).take_while(|line| !line.is_empty());
    if !rest.all(|line| line.contains(&b':')) {
        return None;
    }
    let first = |name: &[u8]| {
        let mut found = entries(block).filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    };
    let told: &[&[u8]] = if let Some(id) = first(UBER) {
        if !is_sampled_by_uber(id) {
            return None;
        }
        &[UBER]
    } else if let Some(sampled @ (b"0" | b"1")) = first(B3_SAMPLED) {
        if sampled == b"0" {
            return None;
        }
        &[B3_SAMPLED, B3_TRACE, B3_PARENT, B3_SPAN]
    } else if first(B3_TRACE).is_some() {
        // Who receives it decides.
        &[B3_SAMPLED, B3_TRACE, B3_PARENT, B3_SPAN]
    } else if let Some(b3) = first(B3) {
        let mut parts = b3.split(|&b| b == b'-');
        if b3 == b"0" || parts.nth(2) == Some(b"0") {
            return None;
        }
        &[B3]
    } else if has_sampled_flag(first(TRACE_PARENT)?) {
        &[TRACE_PARENT, TRACE_STATE]
    } else {
        return None;
    };
    let is_told = |key: &[u8]| {
        let context = key.get(..UBER_CONTEXT.len());
        told.iter().any(|told| key.eq_ignore_ascii_case(told))
            || (told == [UBER] && context.is_some_and(|c| c.eq_ignore_ascii_case(UBER_CONTEXT)))
    };
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in entries(block).filter(|(key, _)| is_told(key)) {
        let value = String::from_utf8_lossy(value).into_owned();
        headers.entry(canonical(key)).or_default().push(value);
    }
    Some(headers)
}

/// W3C: `version-trace-parent-flags`, with the lowest bit of the flags set. Flags above `7f` do not
/// count, as in nats-server.
fn has_sampled_flag(trace_parent: &[u8]) -> bool {
    let mut parts = trace_parent.split(|&b| b == b'-');
    let (flags, end) = (parts.nth(3), parts.next());
    let (Some(flags), None) = (flags, end) else {
        return false;
    };
    let number = std::str::from_utf8(flags).map(|text| i8::from_str_radix(text, 16));
    flags.len() == 2 && matches!(number, Ok(Ok(n)) if n & 1 == 1)
}

/// Jaeger: `trace:span:parent:flags`, with the lowest bit of the flags set.
fn is_sampled_by_uber(id: &[u8]) -> bool {
    let mut parts = id.split(|&b| b == b':');
    let (flags, end) = (parts.nth(3), parts.next());
    match (flags, end) {
        (Some([digit] | [b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F', digit]), None) => {
            let digit = char::from(*digit).to_digit(16);
            digit.is_some_and(|n| n & 1 == 1)
        }
        _ => false,
    }
}

/// A capital at the beginning and after each `-`, small letters otherwise.
fn canonical(key: &[u8]) -> String {
    let mut is_first = true;
    let mut spell = |c: char| {
        let spelled = match is_first {
            true => c.to_ascii_uppercase(),
            false => c.to_ascii_lowercase(),
        };
        is_first = c == '-';
        spelled
    };
    String::from_utf8_lossy(key)
        .chars()
        .map(&mut spell)
        .collect()
}
