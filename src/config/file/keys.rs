//! Whether a text is a public nkey: the form only, nothing is signed or verified here.

/// Letters that public keys of each kind begin with.
const KINDS: &str = "NCOAUX";
const KEY_CHARACTERS: usize = 56;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Whether `text` is a public key of the kind that begins with this letter: `U` of a user, `A` of an account.
pub fn is_public_key(text: &str, kind: char) -> bool {
    text.starts_with(kind) && is_any_public_key(text)
}

/// Whether `text` is a public key: a kind, 32 bytes and their CRC-16, in base 32.
pub fn is_any_public_key(text: &str) -> bool {
    if text.len() != KEY_CHARACTERS || !text.starts_with(|first| KINDS.contains(first)) {
        return false;
    }
    let mut bytes = Vec::with_capacity(KEY_CHARACTERS * 5 / 8);
    let (mut bits, mut count) = (0u32, 0);
    for character in text.bytes() {
        let Some(value) = BASE32.iter().position(|known| *known == character) else {
            return false;
        };
        bits = (bits << 5 | value as u32) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    let Some((key, sum)) = bytes.split_last_chunk::<2>() else {
        return false;
    };
    // The letter alone is five bits; the other three are zero.
    key[0] & 0b111 == 0 && crc16(key) == u16::from_le_bytes(*sum)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum: u16, _| {
            match sum & 0x8000 {
                0 => sum << 1,
                _ => sum << 1 ^ 0x1021,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let user = "UCARKS2E3KVB7YORL2DG34XLT7PUCOL2SVM7YXV6ETHLW6Z46UUJ2VZ3";
        let account = "AC5GRL36RQV7MJ2GT6WQSCKDKJKYTK4T2LGLWJ2SEJKRDHFOQQWGGFQL";
        assert!(is_public_key(user, 'U') && is_public_key(account, 'A'));
        assert!(!is_public_key(user, 'A'));
        for wrong in [
            "",
            "U",
            &user.replace('K', "L"),
            &user.to_lowercase(),
            &user[..55],
            &user.replacen('C', "1", 1),
            &user.replacen('U', "\u{dc}", 1),
            "SCARKS2E3KVB7YORL2DG34XLT7PUCOL2SVM7YXV6ETHLW6Z46UUJ2VZ3",
        ] {
            assert!(!is_any_public_key(wrong), "{wrong}");
        }
    }
}
