//! One direction of a socket.

/// Bytes in order.
#[derive(Debug, Default)]
pub struct Pipe {
    bytes: Vec<u8>,
    read: usize,
}

impl Pipe {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.read
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn write(&mut self, bytes: &[u8]) {
        if self.read > self.bytes.len() / 2 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes at most so many bytes.
    pub fn read(&mut self, at_most: usize) -> &[u8] {
        let start = self.read;
        self.read += at_most.min(self.len());
        &self.bytes[start..self.read]
    }

    /// Forgets all but the first bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.read + len);
    }
}
