//! The files of a stream in nats-server's store, 2.10 to 2.15, decrypted: blocks of messages, the index
//! of a stream, the state of a consumer, and the JSON beside them.
//!
//! Each reader takes the bytes of one file. Which file belongs to what, and what encrypts it, is for
//! others to know.

mod block;
mod consumer;
mod index;
mod meta;
mod ranges;

pub use block::{RECORD_HEAD_BYTES, Record, Records, last_checksum, unpack};
pub use consumer::{read_consumer_state, read_sources};
pub use index::{Index, IndexBlock};
pub use meta::{Meta, read_meta, time_of, verify_meta};
pub use ranges::Ranges;

#[cfg(test)]
mod tests;

use highway::{HighwayHash, HighwayHasher, Key};
use sha2::{Digest, Sha256};

/// Bytes of the checksums.
pub const CHECKSUM_BYTES: usize = 8;
/// What a block holds at most: 8 MiB, and one record of 32 MiB behind it.
pub const BLOCK_BYTES_MAX: usize = 48 << 20;

/// The hash that a thing of nats-server's is checked with: HighwayHash-64, with a key made of the name.
#[derive(Clone, Debug)]
pub struct Checksum {
    key: [u64; 4],
}

impl Checksum {
    /// Of what is named so.
    fn named(name: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
        let (words, _) = digest.as_chunks::<8>();
        let mut key = [0; 4];
        for (key, word) in key.iter_mut().zip(words) {
            *key = u64::from_le_bytes(*word);
        }
        Self { key }
    }

    /// Of a stream's `meta.inf` and `index.db`.
    pub fn of_stream(stream: &str) -> Self {
        Self::named(stream)
    }

    /// Of the records in a block.
    pub fn of_block(stream: &str, block: u32) -> Self {
        Self::named(&format!("{stream}-{block}"))
    }

    /// Of a consumer's `meta.inf`.
    pub fn of_consumer(stream: &str, consumer: &str) -> Self {
        Self::named(&format!("{stream}/{consumer}"))
    }

    /// Over some pieces, one after the other.
    pub fn over(&self, pieces: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
        let mut hasher = HighwayHasher::new(Key(self.key));
        for piece in pieces {
            hasher.append(piece);
        }
        hasher.finalize64().to_le_bytes()
    }
}
