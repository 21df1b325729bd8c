//! Snapshots of streams as nats-server writes and reads them, and the files of
//! its stores, which older snapshots are made of.
//!
//! Everything here is bytes in, bytes out. It must not know files, subscriptions or clocks.

mod files;
pub mod filestore;
mod flow;
mod reader;
pub mod s2;
#[cfg(test)]
pub(crate) mod samples;
mod state;
mod tar;
mod varint;
mod writer;

pub use flow::{Received, Receiving, Sending, Sent};
pub use reader::{Item, Read, Reader};

pub use state::{ConsumerState, Delivered, Position, StreamState};
pub use writer::{ConsumerSnapshot, Filled, Writer};

/// What is wrong with some bytes, and where in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Counted from the beginning of the file or stream, after decryption and decompression.
    pub offset: u64,
    /// What was found there.
    pub what: &'static str,
}

impl Damage {
    /// At an offset.
    pub fn at(offset: usize, what: &'static str) -> Self {
        Self {
            offset: offset as u64,
            what,
        }
    }

    /// As nats-server tells a client, which knows nothing of places in a stream that was compressed.
    pub fn told(&self) -> String {
        match self.what.contains("S2 ") {
            true => "s2: corrupt input".to_owned(),
            false => self.to_string(),
        }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at offset {}", self.what, self.offset)
    }
}

#[cfg(test)]
mod tests;
