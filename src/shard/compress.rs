//! Reports in the encodings that a request may ask for.

use std::io::Write;

use flate2::write::GzEncoder;
use snap::write::FrameEncoder;

use crate::proto::headers::Compression;

/// The payload encoded, and what to call the encoding; nothing where none was asked for.
pub(super) fn compress(
    compression: Compression,
    payload: Vec<u8>,
) -> (Option<&'static str>, Vec<u8>) {
    match compression {
        Compression::None => (None, payload),
        Compression::Unsupported => (Some("identity"), payload),
        Compression::Gzip => (Some("gzip"), gzip(&payload)),
        Compression::Snappy => (Some("snappy"), snappy(&payload)),
    }
}

fn gzip(payload: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(payload).expect(INTO_MEMORY);
    encoder.finish().expect(INTO_MEMORY)
}

fn snappy(payload: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::new(Vec::new());
    encoder.write_all(payload).expect(INTO_MEMORY);
    encoder
        .into_inner()
        .unwrap_or_else(|_| unreachable!("{INTO_MEMORY}"))
}

const INTO_MEMORY: &str = "writing into memory does not fail";
