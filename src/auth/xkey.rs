//! Sealing for one reader: NaCl's box between two curve keys, in the frame of nkeys' xkeys
//! (`xkv1`, the nonce, the box). Knows nothing of what is sealed; nonces come from outside.

use std::fmt;

use crypto_box::aead::Aead;
use crypto_box::{Nonce, SalsaBox, SecretKey};

use super::nkey::{KEY_BYTES, KeyKind, PublicKey};

/// Says how a message is sealed.
const VERSION: &[u8; 4] = b"xkv1";
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;

/// A curve key with its secret half.
pub struct CurveKey {
    secret: SecretKey,
}

impl CurveKey {
    pub fn from_seed(seed: [u8; KEY_BYTES]) -> Self {
        Self {
            secret: SecretKey::from(seed),
        }
    }

    pub fn public(&self) -> PublicKey {
        PublicKey {
            kind: KeyKind::Curve,
            bytes: self.secret.public_key().to_bytes(),
        }
    }

    /// Seals `message` so that only the owner of `recipient` can open it, and knows from whom it
    /// is. A nonce must never be used twice. `None` if `recipient` is no curve key.
    pub fn seal(
        &self,
        message: &[u8],
        recipient: &PublicKey,
        nonce: [u8; NONCE_BYTES],
    ) -> Option<Vec<u8>> {
        let boxed = self
            .with(recipient)?
            .encrypt(&Nonce::from(nonce), message)
            .ok()?;
        let mut sealed = Vec::with_capacity(VERSION.len() + NONCE_BYTES + boxed.len());
        sealed.extend_from_slice(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&boxed);
        Some(sealed)
    }

    /// Opens what `sender` sealed for this key; `None` for anything else.
    pub fn open(&self, sealed: &[u8], sender: &PublicKey) -> Option<Vec<u8>> {
        let rest = sealed.strip_prefix(VERSION)?;
        let (nonce, boxed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        self.with(sender)?.decrypt(&Nonce::from(*nonce), boxed).ok()
    }

    fn with(&self, other: &PublicKey) -> Option<SalsaBox> {
        (other.kind == KeyKind::Curve).then(|| {
            let other = crypto_box::PublicKey::from(other.bytes);
            SalsaBox::new(&other, &self.secret)
        })
    }
}

impl fmt::Debug for CurveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CurveKey({})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::vectors;

    /// Against what Go's library sealed: a round trip of one's own would also pass with a key of
    /// zeros (CVE-2023-46129).
    #[test]
    fn the_go_library_seals_the_same() {
        let nine = CurveKey::from_seed([9; 32]);
        let ten = CurveKey::from_seed([10; 32]);
        assert_eq!(nine.public().to_string(), vectors::CURVE_9);
        assert_eq!(ten.public().to_string(), vectors::CURVE_10);
        let sealed = nine.seal(b"hello", &ten.public(), [11; 24]);
        assert_eq!(sealed.as_deref(), Some(&vectors::SEALED_9_TO_10[..]));
        let opened = ten.open(&vectors::SEALED_9_TO_10, &nine.public());
        assert_eq!(opened.as_deref(), Some(&b"hello"[..]));
    }

    #[test]
    fn what_does_not_open() {
        let ten = CurveKey::from_seed([10; 32]);
        let nine = CurveKey::from_seed([9; 32]).public();
        let sealed = vectors::SEALED_9_TO_10;
        for length in 0..sealed.len() {
            assert_eq!(ten.open(&sealed[..length], &nine), None, "{length}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed;
            changed[at] ^= 1;
            assert_eq!(ten.open(&changed, &nine), None, "{at}");
        }
        assert_eq!(ten.open(&sealed, &ten.public()), None);
        let account = PublicKey::parse(vectors::ACCOUNT).expect("a key");
        assert_eq!(ten.open(&sealed, &account), None);
        assert_eq!(ten.seal(b"x", &account, [0; 24]), None);
    }
}
