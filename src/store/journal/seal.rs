//! Encryption at rest: keys of segments, and sealing of records.
//!
//! A segment has a key of its own, derived from the configured one with a random salt, and a record's
//! nonce is where it lies in which generation. So no nonce is used twice with a key, not even when a
//! directory is restored from a copy and goes on from there.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes by which sealing makes a record longer.
pub(crate) const TAG_BYTES: usize = 16;

/// How records are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM.
    Aes,
    /// ChaCha20-Poly1305.
    ChaCha,
}

/// A key as configured: any bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// What to encrypt with. Reading accepts either.
    pub cipher: Cipher,
    /// What keys are derived from.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.cipher)
    }
}

fn derive(secret: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac =
        <Hmac<Sha256> as Mac>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl Cipher {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Aes => b"skein journal aes-256-gcm",
            Self::ChaCha => b"skein journal chacha20-poly1305",
        }
    }
}

/// What names a key and a cipher in frames, without telling the key. Never 0, which is "none".
pub(crate) fn fingerprint(cipher: Cipher, secret: &[u8]) -> u32 {
    let digest = derive(secret, &[b"skein key name ", cipher.name()]);
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]).max(1)
}

/// The keys there are: the one to write with comes first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    known: Vec<(u32, Key)>,
    writes: bool,
}

impl Keys {
    /// Of the configured key, if any, and an earlier one.
    pub fn new(key: Option<&Key>, previous: Option<&Key>) -> Self {
        let mut known = Vec::new();
        for key in key.into_iter().chain(previous) {
            let other = match key.cipher {
                Cipher::Aes => Cipher::ChaCha,
                Cipher::ChaCha => Cipher::Aes,
            };
            for cipher in [key.cipher, other] {
                let name = fingerprint(cipher, &key.secret);
                let secret = key.secret.clone();
                known.push((name, Key { cipher, secret }));
            }
        }
        Self {
            known,
            writes: key.is_some(),
        }
    }

    /// Which key new segments have, 0 for none.
    pub fn current(&self) -> u32 {
        match self.known.first() {
            Some(&(name, _)) if self.writes => name,
            _ => 0,
        }
    }

    /// What opens a segment: nothing when it is not encrypted.
    ///
    /// # Errors
    /// When it is encrypted with a key that is not known.
    pub fn seal(&self, name: u32, salt: &[u8; 16]) -> Result<Option<Seal>, UnknownKey> {
        if name == 0 {
            return Ok(None);
        }
        let (_, key) = self
            .known
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or(UnknownKey)?;
        let derived = derive(&key.secret, &[key.cipher.name(), salt]);
        Ok(Some(match key.cipher {
            Cipher::Aes => Seal::Aes(Box::new(Aes256Gcm::new(&derived.into()))),
            Cipher::ChaCha => Seal::ChaCha(Box::new(ChaCha20Poly1305::new(&derived.into()))),
        }))
    }
}

/// A segment is encrypted with a key that is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownKey;

/// Encrypts and decrypts records of one segment.
pub(crate) enum Seal {
    Aes(Box<Aes256Gcm>),
    ChaCha(Box<ChaCha20Poly1305>),
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

fn nonce(generation: u64, offset: usize) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&generation.to_le_bytes());
    nonce[8..].copy_from_slice(&(offset as u32).to_le_bytes());
    nonce
}

impl Seal {
    /// Encrypts what is behind `head` bytes and before the room for the tag, which is at the end. The
    /// head, without the checksum that is yet to come, is authenticated.
    pub fn encrypt(&self, generation: u64, offset: usize, record: &mut [u8], head: usize) {
        let nonce = nonce(generation, offset);
        let (plain_head, rest) = record.split_at_mut(head);
        let (body, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
        let with = &plain_head[4..];
        let sealed = match self {
            Self::Aes(cipher) => cipher.encrypt_in_place_detached(&nonce.into(), with, body),
            Self::ChaCha(cipher) => cipher.encrypt_in_place_detached(&nonce.into(), with, body),
        };
        tag.copy_from_slice(&sealed.expect("a record is far shorter than what a cipher can take"));
    }

    /// Puts the body of a record, decrypted, in `out`. Whether it is authentic.
    pub fn decrypt(
        &self,
        (generation, offset): (u64, usize),
        record: &[u8],
        head: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        let Some(end) = record
            .len()
            .checked_sub(TAG_BYTES)
            .filter(|&end| end >= head)
        else {
            return false;
        };
        let nonce = nonce(generation, offset);
        out.extend_from_slice(&record[head..end]);
        let tag = &record[end..];
        let with = &record[4..head];
        match self {
            Self::Aes(cipher) => {
                cipher.decrypt_in_place_detached(&nonce.into(), with, out, tag.into())
            }
            Self::ChaCha(cipher) => {
                cipher.decrypt_in_place_detached(&nonce.into(), with, out, tag.into())
            }
        }
        .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bodies_open_only_in_their_place_with_their_key() {
        for cipher in [Cipher::Aes, Cipher::ChaCha] {
            let key = Key {
                cipher,
                secret: b"s3cr3t".to_vec(),
            };
            let keys = Keys::new(Some(&key), None);
            let seal = keys
                .seal(keys.current(), &[7; 16])
                .expect("known")
                .expect("a key");
            let mut record = b"head of 12 bbody of a record".to_vec();
            record.extend_from_slice(&[0; TAG_BYTES]);
            seal.encrypt(5, 4096, &mut record, 12);
            assert!(!record.windows(4).any(|part| part == b"body"));
            let mut out = Vec::new();
            assert!(seal.decrypt((5, 4096), &record, 12, &mut out));
            assert_eq!(out, b"body of a record");
            assert!(!seal.decrypt((5, 4104), &record, 12, &mut out));
            assert!(!seal.decrypt((6, 4096), &record, 12, &mut out));
            let other = Keys::new(None, Some(&key));
            assert_eq!(other.current(), 0);
            let seal = other
                .seal(keys.current(), &[8; 16])
                .expect("known")
                .expect("a key");
            assert!(!seal.decrypt((5, 4096), &record, 12, &mut out));
            assert!(Keys::default().seal(keys.current(), &[7; 16]).is_err());
            record[20] ^= 1;
        }
    }
}
