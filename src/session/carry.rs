//! The part of an operation that has arrived, until the rest does.

/// Bytes of one unfinished operation. Owns no buffer while there is none.
#[derive(Debug, Default)]
pub struct Carry {
    bytes: Vec<u8>,
    /// Length of the whole operation, or 0 while the control line is not complete.
    total: usize,
}

impl Carry {
    /// Whether nothing is unfinished.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Keeps the start of an operation of `total` bytes, if that is known.
    pub fn keep(&mut self, start: &[u8], total: Option<usize>) {
        self.total = total.unwrap_or(0);
        if self.total > self.bytes.capacity() {
            // All of it at once, and no more: a large payload is then handed on as it is.
            self.bytes.reserve_exact(self.total - self.bytes.len());
        }
        self.bytes.extend_from_slice(start);
    }

    /// Goes on with what [`Self::take`] gave, of an operation of `total` bytes, if that is known.
    pub fn resume(mut bytes: Vec<u8>, total: Option<usize>) -> Self {
        let total = total.unwrap_or(0);
        bytes.reserve_exact(total.saturating_sub(bytes.len()));
        Self { bytes, total }
    }

    /// Takes from `input` what belongs to this operation as far as can be told: up to its known
    /// end, or up to the end of the line. Returns how much it took.
    pub fn fill(&mut self, input: &[u8]) -> usize {
        let taken = if self.total > 0 {
            input.len().min(self.total - self.bytes.len())
        } else {
            memchr::memchr(b'\n', input).map_or(input.len(), |newline| newline + 1)
        };
        self.bytes.extend_from_slice(&input[..taken]);
        taken
    }

    /// What has arrived so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there may be something to find: all is there, or all but the last byte, so that a
    /// payload with the wrong ending is refused at its first wrong byte; or the line is unknown.
    pub fn is_worth_parsing(&self) -> bool {
        self.total == 0 || self.bytes.len() + 1 >= self.total
    }

    /// Moves the buffer out, to be read while the session is used otherwise.
    pub fn take(&mut self) -> Vec<u8> {
        self.total = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Gives a buffer back for use by the next unfinished operation, unless it is a large one.
    pub fn give_back(&mut self, mut buffer: Vec<u8>, kept_max_bytes: usize) {
        if self.bytes.capacity() == 0 && buffer.capacity() <= kept_max_bytes {
            buffer.clear();
            self.bytes = buffer;
        }
    }
}
