//! What happened in a run: folded into one hash, and printed when a single seed is replayed.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

/// The story of one run.
pub struct Trace {
    hasher: FixedState,
    state: u64,
    print: bool,
}

impl Trace {
    /// An empty story; printed line by line if `print`.
    pub fn new(print: bool) -> Self {
        Self {
            hasher: FixedState::with_seed(1),
            state: 0,
            print,
        }
    }

    /// Adds numbers and bytes to the hash.
    pub fn hash(&mut self, numbers: &[u64], bytes: &[u8]) {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(self.state);
        for &number in numbers {
            hasher.write_u64(number);
        }
        hasher.write(bytes);
        self.state = hasher.finish();
    }

    /// Adds a line for the reader of a replay.
    pub fn line(&mut self, line: impl FnOnce() -> String) {
        if self.print {
            println!("{}", line());
        }
    }

    /// The hash of all so far.
    pub fn digest(&self) -> u64 {
        self.state
    }
}

/// The start of some bytes, readable.
pub fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(120)];
    let text = start.escape_ascii().to_string();
    if bytes.len() > start.len() {
        format!("{text}… ({} bytes)", bytes.len())
    } else {
        text
    }
}
