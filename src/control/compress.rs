//! Answers are compressed if the request's header asks for it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

const ACCEPT: &[u8] = b"Accept-Encoding";

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Nothing was said.
    Plain,
    Gzip,
    /// Snappy's framing format, which s2 reads too.
    Snappy,
    /// Something was asked for that is not known.
    Identity,
}

impl Encoding {
    /// What the headers of a request ask for.
    pub fn accepted(headers: &[u8]) -> Self {
        let Some(value) = header(headers, ACCEPT) else {
            return Encoding::Plain;
        };
        let value = String::from_utf8_lossy(value).to_lowercase();
        match value.as_str() {
            "" => Encoding::Plain,
            v if v.contains("snappy") || v.contains("s2") => Encoding::Snappy,
            v if v.contains("gzip") => Encoding::Gzip,
            _ => Encoding::Identity,
        }
    }

    /// The encoded answer, and the header that says so.
    pub fn apply(self, plain: Vec<u8>) -> (Vec<u8>, &'static str) {
        match self {
            Encoding::Plain => (plain, ""),
            Encoding::Identity => (plain, "NATS/1.0\r\nContent-Encoding: identity\r\n\r\n"),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                let written = encoder.write_all(&plain).and_then(|()| encoder.finish());
                let bytes = written.expect("writing to memory does not fail");
                (bytes, "NATS/1.0\r\nContent-Encoding: gzip\r\n\r\n")
            }
            Encoding::Snappy => {
                let mut encoder = snap::write::FrameEncoder::new(Vec::new());
                encoder
                    .write_all(&plain)
                    .expect("writing to memory does not fail");
                let written = encoder.into_inner().map_err(|e| e.to_string());
                let bytes = written.expect("writing to memory does not fail");
                (bytes, "NATS/1.0\r\nContent-Encoding: snappy\r\n\r\n")
            }
        }
    }
}

/// The value of the first header of this name, in exactly this spelling, as nats-server looks.
pub fn header<'a>(headers: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    headers.split(|&b| b == b'\n').skip(1).find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(b":")?;
        Some(value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_asked_for() {
        let cases = [
            ("", Encoding::Plain),
            ("NATS/1.0\r\n\r\n", Encoding::Plain),
            ("NATS/1.0\r\nAccept-Encoding: \r\n\r\n", Encoding::Plain),
            ("NATS/1.0\r\nAccept-Encoding: GZIP\r\n\r\n", Encoding::Gzip),
            (
                "NATS/1.0\r\nA: b\r\nAccept-Encoding:gzip, s2\r\n\r\n",
                Encoding::Snappy,
            ),
            (
                "NATS/1.0\r\nAccept-Encoding: br\r\n\r\n",
                Encoding::Identity,
            ),
            ("NATS/1.0\r\naccept-encoding: gzip\r\n\r\n", Encoding::Plain),
        ];
        for (headers, expected) in cases {
            assert_eq!(
                Encoding::accepted(headers.as_bytes()),
                expected,
                "{headers}"
            );
        }
    }

    #[test]
    fn there_and_back() {
        let plain = b"0123456789".repeat(20_000);
        for encoding in [
            Encoding::Plain,
            Encoding::Identity,
            Encoding::Gzip,
            Encoding::Snappy,
        ] {
            let (bytes, header) = encoding.apply(plain.clone());
            let mut decoded = Vec::new();
            match encoding {
                Encoding::Plain | Encoding::Identity => decoded = bytes,
                Encoding::Gzip => {
                    assert!(bytes.len() < plain.len() / 10);
                    let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
                    decoder.read_to_end(&mut decoded).unwrap();
                }
                Encoding::Snappy => {
                    assert!(bytes.len() < plain.len() / 10);
                    let mut decoder = snap::read::FrameDecoder::new(&bytes[..]);
                    decoder.read_to_end(&mut decoded).unwrap();
                }
            }
            assert!(decoded == plain, "{encoding:?}");
            assert_eq!(header.is_empty(), encoding == Encoding::Plain);
        }
    }
}
