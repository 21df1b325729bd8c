//! What nats-server encrypts its store with, undone.
//!
//! Each stream, block and consumer has a random seed; beside it, in a file of its own, the seed is
//! sealed with a key made of the configured one, the account and the name of the thing. Small files are
//! sealed as a whole, nonce first. A block is the key stream of the seed's cipher, begun anew at its
//! first byte, with the nonce of the file that holds its seed; only checksums tell whether it is right.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::Aes256;
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20poly1305::XChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// AES-GCM with a nonce as long as a block, as nats-server has it.
type AesGcm = aes_gcm::AesGcm<Aes256, U16>;
type AesCounter = ctr::Ctr128BE<Aes256>;
const SEED_BYTES: usize = 32;
const CIPHERS: [Cipher; 2] = [Cipher::ChaCha, Cipher::Aes];

/// A cipher of nats-server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cipher {
    ChaCha,
    Aes,
}

impl Cipher {
    fn nonce_bytes(self) -> usize {
        match self {
            Self::ChaCha => 24,
            Self::Aes => 16,
        }
    }

    /// Opens what was sealed with its nonce in front.
    fn open(self, key: &[u8; SEED_BYTES], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(self.nonce_bytes())?;
        match self {
            Self::ChaCha => XChaCha20Poly1305::new(key.into()).decrypt(nonce.into(), sealed),
            Self::Aes => AesGcm::new(key.into()).decrypt(nonce.into(), sealed),
        }
        .ok()
    }
}

/// The configured keys: what `key` says, and what `prev_key` said.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Vec<String>,
}

impl Keys {
    /// They are tried in this order.
    pub fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self {
            keys: keys.into_iter().filter(|key| !key.is_empty()).collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Finds out what a file of a sealed seed holds. None when no key opens it.
    pub fn unlock(&self, account: &str, thing: &str, sealed_seed: &[u8]) -> Option<Unlocked> {
        let mut tries = self
            .keys
            .iter()
            .flat_map(|key| CIPHERS.map(|cipher| (key, cipher)));
        tries.find_map(|(key, cipher)| {
            let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.as_bytes())
                .expect("any length of key will do");
            mac.update(account.as_bytes());
            mac.update(thing.as_bytes());
            let key: [u8; SEED_BYTES] = mac.finalize().into_bytes().into();
            let seed = cipher.open(&key, sealed_seed)?.try_into().ok()?;
            Some(Unlocked {
                cipher,
                seed,
                nonce: sealed_seed.get(..cipher.nonce_bytes())?.to_vec(),
            })
        })
    }
}

/// The seed of one thing.
pub struct Unlocked {
    cipher: Cipher,
    seed: [u8; SEED_BYTES],
    nonce: Vec<u8>,
}

impl Unlocked {
    /// Opens a small file. None when it is of another seed, or damaged.
    pub fn open(&self, file: &[u8]) -> Option<Vec<u8>> {
        self.cipher.open(&self.seed, file)
    }

    /// Decrypts a block.
    pub fn decrypt_block(&self, block: &mut [u8]) {
        let (seed, nonce) = (&self.seed, self.nonce.as_slice());
        match self.cipher {
            Cipher::ChaCha => XChaCha20::new(seed.into(), nonce.into()).apply_keystream(block),
            Cipher::Aes => AesCounter::new(seed.into(), nonce.into()).apply_keystream(block),
        }
    }
}
