//! Numbers of variable length as Go's `encoding/binary` writes them.

/// Longest there is.
pub const LONGEST: usize = 10;

/// What is at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Varint<T> {
    /// A number, and how many bytes it has.
    Is(T, usize),
    /// The beginning of one.
    Cut,
    /// More than 64 bits.
    TooLong,
}

/// Reads an unsigned one.
pub fn unsigned(bytes: &[u8]) -> Varint<u64> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(LONGEST) {
        if i == LONGEST - 1 && byte > 1 {
            return Varint::TooLong;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Varint::Is(value, i + 1);
        }
    }
    match bytes.len() < LONGEST {
        true => Varint::Cut,
        false => Varint::TooLong,
    }
}

/// Reads a signed one: the sign is the lowest bit.
pub fn signed(bytes: &[u8]) -> Varint<i64> {
    match unsigned(bytes) {
        Varint::Is(value, length) => Varint::Is(zigzag(value), length),
        Varint::Cut => Varint::Cut,
        Varint::TooLong => Varint::TooLong,
    }
}

/// The signed number that is written as an unsigned one.
pub fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Writes an unsigned one.
pub fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a signed one.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for shift in 0..64 {
            for around in [-1i64, 0, 1] {
                let value = (1i64 << shift).wrapping_add(around);
                let mut bytes = Vec::new();
                put_signed(&mut bytes, value);
                assert_eq!(signed(&bytes), Varint::Is(value, bytes.len()));
                assert_eq!(signed(&bytes[..bytes.len() - 1]), Varint::Cut);
                bytes.clear();
                put_unsigned(&mut bytes, value as u64);
                assert_eq!(unsigned(&bytes), Varint::Is(value as u64, bytes.len()));
                bytes.push(0x55);
                assert_eq!(unsigned(&bytes), Varint::Is(value as u64, bytes.len() - 1));
            }
        }
        // From Go's documentation of zig-zag: 0, -1, 1, -2, 2 …
        assert_eq!(signed(&[3]), Varint::Is(-2, 1));
        assert_eq!(signed(&[4]), Varint::Is(2, 1));
        assert_eq!(unsigned(&[0xff; 10]), Varint::TooLong);
        assert_eq!(unsigned(&[0x80; 12]), Varint::TooLong);
    }
}
