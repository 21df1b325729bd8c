//! The header by which a sourced message says where it comes from:
//! `Nats-Stream-Source: <stream> <sequence> <filter> <destination> <subject> <identity>`.

use crate::jetstream::config::StreamSource;
use crate::proto::headers;
use crate::store::Seq;

const NAME: &str = "Nats-Stream-Source";
/// Headers that said something about the message where it was published first.
const LEFT_BEHIND: [&[u8]; 2] = [b"Nats-Expected-", b"Nats-Batch-"];

/// Where a message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcedFrom {
    /// Stream, filters and destinations, as [`index_name`] writes them.
    pub index_name: String,
    /// The sequence there.
    pub seq: Seq,
    /// What tells that stream from another of its name; empty where that was not known.
    pub identity: String,
}

impl SourcedFrom {
    /// What a header block says.
    pub fn read(block: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(headers::find(block, NAME)?).ok()?;
        let mut fields = value.split(' ');
        let (stream, seq) = (fields.next()?, fields.next()?.parse().ok()?);
        let (filter, destination) = (fields.next()?, fields.next()?);
        Some(Self {
            index_name: format!("{stream} {filter} {destination}"),
            seq,
            // Behind the subject.
            identity: fields.nth(1).unwrap_or_default().to_owned(),
        })
    }
}

/// What tells a source from the others of a stream: its name, with that of the other account's API
/// if it is there, its filters, and what they become.
pub fn index_name(source: &StreamSource) -> String {
    let mut name = source.name.clone();
    if let Some(external) = &source.external {
        name.push(':');
        name.push_str(&hash(&external.api));
    }
    let or_all = |text: &str| match text {
        "" => ">".to_owned(),
        text => text.to_owned(),
    };
    let (filters, destinations): (Vec<String>, Vec<String>) = match &source.subject_transforms[..] {
        [] => (vec![or_all(&source.filter_subject)], vec![">".to_owned()]),
        transforms => transforms
            .iter()
            .map(|t| (or_all(&t.source), or_all(&t.destination)))
            .unzip(),
    };
    format!(
        "{name} {} {}",
        filters.join("\u{c}"),
        destinations.join("\u{c}")
    )
}

/// The eight characters by which nats-server shortens names: of SHA-256, in base 62.
pub fn hash(text: &str) -> String {
    use sha2::{Digest, Sha256};
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let sum = Sha256::digest(text.as_bytes());
    sum[..8]
        .iter()
        .map(|&byte| char::from(DIGITS[usize::from(byte) % DIGITS.len()]))
        .collect()
}

/// A sourced message's headers.
pub fn sourced_headers(
    block: &[u8],
    index_name: &str,
    seq: Seq,
    subject: &[u8],
    identity: &str,
) -> Vec<u8> {
    let mut to = b"NATS/1.0\r\n".to_vec();
    for (key, value) in headers::entries(block) {
        let goes = key == NAME.as_bytes() || LEFT_BEHIND.iter().any(|start| key.starts_with(start));
        if !goes {
            to.extend_from_slice(key);
            to.extend_from_slice(b": ");
            to.extend_from_slice(value);
            to.extend_from_slice(b"\r\n");
        }
    }
    let (stream, rest) = index_name.split_once(' ').unwrap_or((index_name, ""));
    to.extend_from_slice(format!("{NAME}: {stream} {seq} {rest} ").as_bytes());
    to.extend_from_slice(subject);
    if !identity.is_empty() {
        to.push(b' ');
        to.extend_from_slice(identity.as_bytes());
    }
    to.extend_from_slice(b"\r\n\r\n");
    to
}
