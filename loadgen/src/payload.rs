//! What a payload carries so that its receiver can tell which message it is.
//!
//! Little-endian, as much of it as fits: bytes 0–1 publisher, bytes 2–7 sequence, and in timed workloads bytes 8–15 the
//! intended send time in nanoseconds. One or two bytes carry only the sequence; no byte carries nothing.

/// Bytes of publisher and sequence in a payload that has room for them.
pub const IDENTITY_BYTES: usize = 8;
/// The smallest payload that also carries a time.
pub const TIMED_PAYLOAD_BYTES_MIN: usize = 16;
const PUBLISHER_BITS: u32 = 16;
/// More publishers than this could not be told apart.
pub const PUBLISHERS_MAX: usize = 1 << PUBLISHER_BITS;

#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub payload_bytes: usize,
    /// Bytes of the identity word that fit.
    word_bytes: usize,
    sequence_shift: u32,
    mask: u64,
}

impl Layout {
    pub fn new(payload_bytes: usize) -> Self {
        let word_bytes = payload_bytes.min(IDENTITY_BYTES);
        Self {
            payload_bytes,
            word_bytes,
            sequence_shift: if word_bytes > 2 { PUBLISHER_BITS } else { 0 },
            mask: if word_bytes == 8 {
                u64::MAX
            } else {
                (1 << (8 * word_bytes)) - 1
            },
        }
    }

    pub fn word_bytes(&self) -> usize {
        self.word_bytes
    }

    pub fn carries_publisher(&self) -> bool {
        self.sequence_shift > 0
    }

    /// Whether sequences never wrap, so that messages can be told apart for good.
    pub fn carries_whole_sequence(&self) -> bool {
        self.word_bytes == IDENTITY_BYTES
    }

    /// How many bits of the sequence are visible to the receiver.
    pub fn sequence_bits(&self) -> u32 {
        8 * self.word_bytes as u32 - self.sequence_shift
    }

    /// The identity word of a message, as far as this payload carries it.
    #[inline]
    pub fn word(&self, publisher: u64, sequence: u64) -> u64 {
        if self.sequence_shift == 0 {
            sequence & self.mask
        } else {
            (publisher | (sequence << PUBLISHER_BITS)) & self.mask
        }
    }

    /// The publisher named by an identity word; 0 when it carries none.
    #[inline]
    pub fn publisher(&self, word: u64) -> u64 {
        if self.sequence_shift == 0 {
            0
        } else {
            word & ((1 << PUBLISHER_BITS) - 1)
        }
    }

    /// The visible part of the sequence in an identity word.
    #[inline]
    pub fn sequence(&self, word: u64) -> u64 {
        word >> self.sequence_shift
    }

    #[inline]
    pub fn write(&self, payload: &mut [u8], word: u64) {
        if self.word_bytes == IDENTITY_BYTES {
            payload[..IDENTITY_BYTES].copy_from_slice(&word.to_le_bytes());
        } else {
            payload[..self.word_bytes].copy_from_slice(&word.to_le_bytes()[..self.word_bytes]);
        }
    }

    /// Reads the identity word; `payload` has at least `word_bytes`.
    #[inline]
    pub fn read(&self, payload: &[u8]) -> u64 {
        if self.word_bytes == IDENTITY_BYTES
            && let Some(word) = payload.first_chunk()
        {
            return u64::from_le_bytes(*word);
        }
        let mut word = [0; IDENTITY_BYTES];
        word[..self.word_bytes].copy_from_slice(&payload[..self.word_bytes]);
        u64::from_le_bytes(word)
    }
}

/// Writes the intended send time after the identity; the payload has at least [`TIMED_PAYLOAD_BYTES_MIN`].
pub fn write_time(payload: &mut [u8], intended_ns: u64) {
    payload[IDENTITY_BYTES..TIMED_PAYLOAD_BYTES_MIN].copy_from_slice(&intended_ns.to_le_bytes());
}

/// Reads the intended send time; `None` if the payload is too short to carry one.
pub fn read_time(payload: &[u8]) -> Option<u64> {
    payload
        .get(IDENTITY_BYTES..)?
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
}

/// The bytes around the identity: printable, so that a packet dump can be read.
pub fn filler(payload_bytes: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(payload_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_survives_every_payload_size() {
        for payload_bytes in 0..40 {
            let layout = Layout::new(payload_bytes);
            let mut payload = filler(payload_bytes);
            let (publisher, sequence) = (0x0102, 0x0000_0506_0708_090a);
            layout.write(&mut payload, layout.word(publisher, sequence));
            let word = layout.read(&payload);
            assert_eq!(word, layout.word(publisher, sequence));
            let visible = sequence & ((1u64 << layout.sequence_bits()) - 1);
            assert_eq!(layout.sequence(word), visible, "{payload_bytes} bytes");
            assert_eq!(
                layout.publisher(word),
                if payload_bytes > 2 { publisher } else { 0 }
            );
        }
    }

    #[test]
    fn time_does_not_disturb_the_identity() {
        let layout = Layout::new(16);
        let mut payload = filler(16);
        layout.write(&mut payload, layout.word(3, 9));
        write_time(&mut payload, 123_456_789);
        assert_eq!(read_time(&payload), Some(123_456_789));
        assert_eq!(layout.read(&payload), layout.word(3, 9));
        assert_eq!(read_time(&payload[..15]), None);
    }
}
