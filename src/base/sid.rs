//! A subscription id as the client spelled it, in eight bytes.

/// Ids of up to seven bytes (all that clients count up to 9,999,999) are stored in place: seven
/// bytes of text, and their number in the top byte. Longer ones are a number in a side table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sid(u64);

const LONG: u64 = 0xff;
const TEXT_MASK: u64 = (1 << 56) - 1;

impl Sid {
    /// The longest text that is stored in place.
    pub const INLINE_MAX_BYTES: usize = 7;

    /// `None` when the text is empty or too long to be stored in place.
    #[inline]
    pub fn inline(text: &[u8]) -> Option<Sid> {
        if text.is_empty() || text.len() > Self::INLINE_MAX_BYTES {
            return None;
        }
        let mut word = [0u8; 8];
        word[..text.len()].copy_from_slice(text);
        word[7] = text.len() as u8;
        Some(Sid(u64::from_le_bytes(word)))
    }

    /// The id stored at `place` of the side table.
    pub const fn long(place: u32) -> Sid {
        Sid(LONG << 56 | place as u64)
    }

    /// Where in the side table the text is, or `None` when it is stored in place.
    #[inline]
    pub const fn long_place(self) -> Option<u32> {
        if self.0 >> 56 == LONG {
            Some(self.0 as u32)
        } else {
            None
        }
    }

    /// The text followed by a space, as the eight bytes to write, and how many of them count.
    /// Only for ids stored in place.
    #[inline]
    pub const fn word_and_len(self) -> (u64, usize) {
        let len = (self.0 >> 56) as usize;
        ((self.0 & TEXT_MASK) | (b' ' as u64) << (8 * len), len + 1)
    }

    /// The eight bytes as a number, for hashing.
    pub const fn raw(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_what_was_given() {
        for text in ["1", "42", "9999999", "ab-c"] {
            let (word, len) = Sid::inline(text.as_bytes())
                .expect("short enough")
                .word_and_len();
            assert_eq!(
                &word.to_le_bytes()[..len],
                format!("{text} ").as_bytes(),
                "{text}"
            );
        }
    }

    #[test]
    fn long_and_empty_ids_are_not_stored_in_place() {
        assert_eq!(Sid::inline(b""), None);
        assert_eq!(Sid::inline(b"12345678"), None);
        assert_eq!(Sid::long(7).long_place(), Some(7));
        assert_eq!(Sid::inline(b"7").and_then(Sid::long_place), None);
    }
}
