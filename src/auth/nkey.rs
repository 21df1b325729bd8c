//! Public keys, seeds and signatures as NATS spells them: base 32 of a prefix, 32 bytes and a
//! checksum, beginning with a letter that says what the key is for.
//!
//! A key's bytes are typed by their length: text that is short by a byte is no key, so nothing
//! later can be surprised by it (GHSA-g33f).

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD};
use ed25519_dalek::{Signature, Signer, VerifyingKey};

/// Bytes of a public key and of a seed.
pub const KEY_BYTES: usize = 32;
/// Characters of a public key: 35 bytes in base 32.
pub const KEY_CHARACTERS: usize = 56;
/// Characters of a seed: 36 bytes in base 32.
const SEED_CHARACTERS: usize = 58;
/// First byte of a seed; the letter `S`.
const SEED_PREFIX: u8 = 18 << 3;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    Operator,
    Account,
    User,
    Server,
    Cluster,
    /// X25519, to encrypt; cannot sign.
    Curve,
}

impl KeyKind {
    const ALL: [KeyKind; 6] = [
        KeyKind::Operator,
        KeyKind::Account,
        KeyKind::User,
        KeyKind::Server,
        KeyKind::Cluster,
        KeyKind::Curve,
    ];

    /// The first byte, which makes the first letter.
    const fn prefix(self) -> u8 {
        match self {
            KeyKind::Account => 0,
            KeyKind::Cluster => 2 << 3,
            KeyKind::Server => 13 << 3,
            KeyKind::Operator => 14 << 3,
            KeyKind::User => 20 << 3,
            KeyKind::Curve => 23 << 3,
        }
    }

    fn of_prefix(prefix: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)
    }
}

/// A public key. Whether it is a point of the curve shows only when a signature is verified.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey {
    pub kind: KeyKind,
    pub bytes: [u8; KEY_BYTES],
}

impl PublicKey {
    /// Reads a public key; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != KEY_CHARACTERS {
            return None;
        }
        let raw = BASE32_NOPAD.decode(text.as_bytes()).ok()?;
        let payload = checked(&raw)?;
        let (&prefix, bytes) = payload.split_first()?;
        Some(Self {
            kind: KeyKind::of_prefix(prefix)?,
            bytes: bytes.try_into().ok()?,
        })
    }

    /// Reads a public key of this kind.
    pub fn parse_kind(text: &str, kind: KeyKind) -> Option<Self> {
        Self::parse(text).filter(|key| key.kind == kind)
    }

    /// Whether `signature` is this key's for `message`. Keys and signatures of small order, which
    /// would fit many messages, are refused.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        if self.kind == KeyKind::Curve {
            return false;
        }
        let (Ok(key), Ok(signature)) = (
            VerifyingKey::from_bytes(&self.bytes),
            Signature::from_slice(signature),
        ) else {
            return false;
        };
        key.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut raw = Vec::with_capacity(KEY_BYTES + 3);
        raw.push(self.kind.prefix());
        raw.extend_from_slice(&self.bytes);
        raw.extend_from_slice(&crc16(&raw).to_le_bytes());
        f.write_str(&BASE32_NOPAD.encode(&raw))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `text` is a public account key. To be asked before it becomes part of a path or of an
/// address.
pub fn is_account_key(text: &str) -> bool {
    PublicKey::parse_kind(text, KeyKind::Account).is_some()
}

/// Reads a signature as clients send it: base 64, for addresses and without padding or ordinary.
pub fn decode_signature(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    BASE64URL_NOPAD
        .decode(text)
        .or_else(|_| BASE64.decode(text))
        .ok()
}

/// A key that signs: the server's own, and those of the tests.
pub struct SigningKey {
    kind: KeyKind,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key of a seed; `None` for a curve key, which cannot sign.
    pub fn from_seed(kind: KeyKind, seed: &[u8; KEY_BYTES]) -> Option<Self> {
        (kind != KeyKind::Curve).then(|| Self {
            kind,
            key: ed25519_dalek::SigningKey::from_bytes(seed),
        })
    }

    pub fn public(&self) -> PublicKey {
        PublicKey {
            kind: self.kind,
            bytes: self.key.verifying_key().to_bytes(),
        }
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// Reads a seed (`S…`): what kind of key it is of, and its bytes.
pub fn parse_seed(text: &str) -> Option<(KeyKind, [u8; KEY_BYTES])> {
    if text.len() != SEED_CHARACTERS {
        return None;
    }
    let raw = BASE32_NOPAD.decode(text.as_bytes()).ok()?;
    let [first, second, seed @ ..] = checked(&raw)? else {
        return None;
    };
    if first & 0xf8 != SEED_PREFIX {
        return None;
    }
    // The kind's five bits are spread over both bytes so that the second letter shows it.
    let kind = KeyKind::of_prefix((first & 7) << 5 | second >> 3)?;
    Some((kind, seed.try_into().ok()?))
}

/// What comes before the checksum, if that is right.
fn checked(raw: &[u8]) -> Option<&[u8]> {
    let (payload, checksum) = raw.split_last_chunk::<2>()?;
    (crc16(payload) == u16::from_le_bytes(*checksum)).then_some(payload)
}

/// CRC-16/XMODEM, bit by bit: keys are short and read once.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::vectors;
    use crate::base::prng::Prng;

    #[test]
    fn keys_of_the_go_library_are_read_and_printed() {
        let cases = [
            (vectors::OPERATOR, KeyKind::Operator, 1),
            (vectors::ACCOUNT, KeyKind::Account, 3),
            (vectors::USER, KeyKind::User, 7),
            (vectors::SERVER, KeyKind::Server, 8),
        ];
        for (text, kind, byte) in cases {
            let key = PublicKey::parse(text).expect(text);
            assert_eq!(key.kind, kind);
            assert_eq!(key.to_string(), text);
            let signing = SigningKey::from_seed(kind, &[byte; 32]).expect("it can sign");
            assert_eq!(signing.public(), key);
        }
        let curve = PublicKey::parse(vectors::CURVE_9).expect("a curve key");
        assert_eq!(curve.kind, KeyKind::Curve);
        assert_eq!(
            parse_seed(vectors::SERVER_SEED),
            Some((KeyKind::Server, [8; 32]))
        );
        assert_eq!(
            parse_seed(vectors::CURVE_9_SEED),
            Some((KeyKind::Curve, [9; 32]))
        );
    }

    #[test]
    fn what_is_no_key() {
        let user = vectors::USER;
        let cases = [
            "",
            "U",
            &user[..55],
            &user[..54],
            &format!("{user}A"),
            &format!("{user}\n"),
            &user.to_lowercase(),
            &user.replace('D', "E"),
            &format!("{}=", &user[..55]),
            &format!("../{}", &user[3..]),
            vectors::SERVER_SEED,
            "é",
        ];
        for text in cases {
            assert!(PublicKey::parse(text).is_none(), "{text:?}");
            assert!(!is_account_key(text), "{text:?}");
        }
        assert!(!is_account_key(user));
        assert!(is_account_key(vectors::ACCOUNT));
        // A truncated key with a right checksum is still none.
        let mut raw = vec![KeyKind::Account.prefix()];
        raw.extend_from_slice(&[7; 20]);
        raw.extend_from_slice(&crc16(&raw).to_le_bytes());
        assert!(PublicKey::parse(&BASE32_NOPAD.encode(&raw)).is_none());
        for text in ["", "S", vectors::USER, &vectors::SERVER_SEED[..57]] {
            assert!(parse_seed(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn signatures() {
        let key = PublicKey::parse(vectors::USER).expect("a key");
        let signature = vectors::USER_SIGNATURE;
        assert!(key.verify(b"nonce-nonce-nonc", &signature));
        assert!(!key.verify(b"nonce-nonce-nonC", &signature));
        for wrong in [&signature[..63], &[], &[0; 64][..], &[255; 64][..]] {
            assert!(!key.verify(b"nonce-nonce-nonc", wrong));
        }
        let other = PublicKey::parse(vectors::ACCOUNT).expect("a key");
        assert!(!other.verify(b"nonce-nonce-nonc", &signature));
        // The neutral element as key and as half of the signature fits any message.
        let mut one = [0; 32];
        one[0] = 1;
        let weak = PublicKey {
            kind: KeyKind::User,
            bytes: one,
        };
        let mut forged = [0; 64];
        forged[0] = 1;
        assert!(!weak.verify(b"anything", &forged));

        for text in [
            BASE64URL_NOPAD.encode(&signature),
            BASE64.encode(&signature),
        ] {
            assert_eq!(decode_signature(&text).as_deref(), Some(&signature[..]));
        }
        assert_eq!(decode_signature("!"), None);
    }

    #[test]
    fn noise_is_no_key() {
        let mut random = Prng::new(7);
        for _ in 0..20_000 {
            let mut text = vectors::ACCOUNT.as_bytes().to_vec();
            let at = random.next_u64() as usize % text.len();
            let old = text[at];
            text[at] = (random.next_u64() & 0x7f) as u8;
            let text = String::from_utf8(text).expect("it is ASCII");
            let same = text.as_bytes()[at] == old;
            assert_eq!(PublicKey::parse(&text).is_some(), same, "{text:?}");
        }
    }
}
