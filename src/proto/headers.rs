//! The block of headers of a message (ADR-4): a version line, `key: value` lines, an empty line.
//!
//! Looking something up allocates nothing. Keys are compared as they are spelled, as nats-server
//! does; only what takes a key away does so in any case and with any line ending, because clients
//! read them so: nobody may forge a header that the server sets (CVE-2026-33246).
//!
//! Knows no message: a block is bytes, and what it asks for is only told.

mod tracing;

pub use tracing::{Compression, TRACE_DESTINATION, TRACE_DISABLED, Trace, sampled_headers, trace};

/// What a block begins with.
const VERSION: &[u8] = b"NATS/1.0";
const LINE_END: &[u8] = b"\r\n";
/// A block without status and headers.
const EMPTY: &[u8] = b"NATS/1.0\r\n\r\n";

/// Whether `block` begins as one: the version, and behind it the end of the line or a status.
pub fn is_block(block: &[u8]) -> bool {
    match block.strip_prefix(VERSION) {
        Some(rest) => rest.starts_with(LINE_END) || rest.starts_with(b" "),
        None => false,
    }
}

/// Status and description behind the version, as in `NATS/1.0 503`; empty for none.
pub fn status(block: &[u8]) -> &[u8] {
    let line = lines(block).next().unwrap_or_default();
    line.strip_prefix(VERSION).unwrap_or_default().trim_ascii()
}

/// The first value of a key spelled exactly so, without the spaces before it.
pub fn find<'b>(block: &'b [u8], key: &str) -> Option<&'b [u8]> {
    lines(block).skip(1).find_map(|line| {
        let value = line.strip_prefix(key.as_bytes())?.strip_prefix(b":")?;
        let spaces = value.iter().take_while(|&&b| b == b' ').count();
        Some(&value[spaces..])
    })
}

/// All keys and values, without white space around values, in their order. Lines that are no
/// header are left out.
pub fn entries(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(block).skip(1).filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let value = line[colon + 1..].trim_ascii();
        (colon > 0).then_some((&line[..colon], value))
    })
}

/// Whether there is a header with this key in any case.
pub fn has_in_any_case(block: &[u8], key: &str) -> bool {
    raw_lines(block).skip(1).any(|line| is_of(line, key))
}

/// Appends the block to `to` without any header of this key, whatever its case. Nothing is
/// appended if nothing is left: then the message has no headers any more.
pub fn without(block: &[u8], key: &str, to: &mut Vec<u8>) {
    let before = to.len();
    let mut is_taken = false;
    for (at, line) in raw_lines(block).enumerate() {
        // A line that begins with a space goes on with the one before it.
        let goes_on = line.starts_with(b" ") || line.starts_with(b"\t");
        is_taken = at > 0 && (is_of(line, key) || (is_taken && goes_on));
        if !is_taken {
            to.extend_from_slice(line);
        }
    }
    if to[before..] == *EMPTY {
        to.truncate(before);
    }
}

/// Appends the block to `to` with this header instead of all of its key, whatever their case. An
/// empty block becomes one.
pub fn set(block: &[u8], key: &str, value: &str, to: &mut Vec<u8>) {
    let before = to.len();
    without(block, key, to);
    if to.len() == before {
        to.extend_from_slice(EMPTY);
    }
    if to[before..].ends_with(b"\n\r\n") {
        to.truncate(to.len() - LINE_END.len());
    }
    // It may be broken off or have another line ending; what comes now must begin a line to all.
    if !to.ends_with(LINE_END) {
        if to.ends_with(b"\n") {
            to.pop();
        }
        to.extend_from_slice(LINE_END);
    }
    push(key, value, to);
    to.extend_from_slice(LINE_END);
}

/// Appends a new block: a status with its description, if it is not empty, and headers.
pub fn build(status: &str, headers: &[(&str, &str)], to: &mut Vec<u8>) {
    to.extend_from_slice(VERSION);
    if !status.is_empty() {
        to.push(b' ');
        push_value(status, to);
    }
    to.extend_from_slice(LINE_END);
    for (key, value) in headers {
        push(key, value, to);
    }
    to.extend_from_slice(LINE_END);
}

fn push(key: &str, value: &str, to: &mut Vec<u8>) {
    debug_assert!(
        key.bytes().all(|b| b.is_ascii_graphic() && b != b':'),
        "keys are the server's own"
    );
    to.extend_from_slice(key.as_bytes());
    to.extend_from_slice(b": ");
    push_value(value, to);
    to.extend_from_slice(LINE_END);
}

/// A value must not end its line.
fn push_value(value: &str, to: &mut Vec<u8>) {
    let clean = |b| if b == b'\r' || b == b'\n' { b' ' } else { b };
    to.extend(value.trim_ascii().bytes().map(clean));
}

/// Lines as nats-server sees them, without their ends. The empty ones at the end are there.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(block);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memmem::find(text, LINE_END);
        rest = end.map(|at| &text[at + LINE_END.len()..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// Lines as the most lenient reader sees them, with their ends.
fn raw_lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split_inclusive(|&b| b == b'\n')
}

fn is_of(line: &[u8], key: &str) -> bool {
    memchr::memchr(b':', line).is_some_and(|colon| {
        line[..colon]
            .trim_ascii()
            .eq_ignore_ascii_case(key.as_bytes())
    })
}

#[cfg(test)]
mod tests;
