//! Where the claims of accounts come from and are kept, as `resolver` in the configuration says.
//!
//! Believes nothing: who looks something up verifies it, and who has something kept has verified
//! it. Blocks on files and on other servers: not for shards.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::claims_fetch::{ClaimsAddress, FETCH_TIME};
use super::claims_store::{ClaimsStore, Deletion, Keeping};
use crate::auth::claims::{OperatorClaims, TOKEN_BYTES_MAX};
use crate::auth::definition::{AuthDefinition, ResolverDefinition};

/// Between two looks for claims that have expired, at most.
const EXPIRE_INTERVAL_S: u64 = 60;

/// See the module.
#[derive(Debug)]
pub enum Resolver {
    /// Claims that were given with the configuration, and nothing else.
    Memory(Mutex<BTreeMap<String, String>>),
    Url(ClaimsAddress),
    Directory(Box<Kept>),
}

/// A directory of claims.
#[derive(Debug)]
pub struct Kept {
    store: Mutex<ClaimsStore>,
    /// Only of those who were asked for.
    pub is_cache: bool,
    /// Claims may be deleted.
    pub may_delete: bool,
    /// Between two looks for claims that have expired.
    pub expire_interval_s: u64,
}

impl Kept {
    pub fn store(&self) -> MutexGuard<'_, ClaimsStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver {
    /// Opens what the configuration says, or the address that a single operator names.
    ///
    /// # Errors
    /// There is none, a directory cannot be read, or nobody answers at an address.
    pub fn open(definition: &AuthDefinition, now_unix_s: u64) -> Result<Self, String> {
        match &definition.resolver {
            Some(ResolverDefinition::Memory) => Ok(Self::Memory(Mutex::default())),
            Some(ResolverDefinition::Url(address)) => Self::at(address),
            Some(ResolverDefinition::Directory {
                directory,
                cache,
                allow_delete,
                hard_delete,
                limit,
                ttl,
                ..
            }) => {
                // A cache may always lose what it has.
                let deletion = match (cache, allow_delete, hard_delete) {
                    (true, _, _) | (false, true, true) => Deletion::Hard,
                    (false, true, false) => Deletion::Rename,
                    (false, false, _) => Deletion::Never,
                };
                let ttl = ttl.unwrap_or_default();
                let keeping = Keeping {
                    cache: cache.then_some(ttl),
                    limit: *limit,
                    deletion,
                    sharded: false,
                };
                let shown = directory.display();
                let store = ClaimsStore::open(directory, keeping, now_unix_s)
                    .map_err(|error| format!("account resolver directory \"{shown}\": {error}"))?;
                Ok(Self::Directory(Box::new(Kept {
                    store: Mutex::new(store),
                    is_cache: *cache,
                    may_delete: deletion != Deletion::Never,
                    expire_interval_s: expire_interval_s(ttl),
                })))
            }
            None => match definition.operators.as_slice() {
                [operator] => {
                    let operator = OperatorClaims::decode(operator)
                        .map_err(|error| format!("operator JWT not valid: {error}"))?;
                    match operator.account_server_url.as_str() {
                        "" => Err(MISSING.to_owned()),
                        address => Self::at(&format!("{address}/accounts")),
                    }
                }
                _ => Err(MISSING.to_owned()),
            },
        }
    }

    fn at(address: &str) -> Result<Self, String> {
        let address = ClaimsAddress::new(address, FETCH_TIME)?;
        address.check()?;
        Ok(Self::Url(address))
    }

    /// Where claims are kept on disk, if they are.
    pub fn kept(&self) -> Option<&Kept> {
        match self {
            Self::Directory(kept) => Some(kept),
            Self::Memory(_) | Self::Url(_) => None,
        }
    }

    /// The token of an account; `None` when there is none. May take long.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn lookup(&self, key: &str, now_unix_s: u64) -> Result<Option<String>, String> {
        match self {
            Self::Memory(tokens) => {
                let tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(tokens.get(key).cloned())
            }
            Self::Url(address) => address.fetch(key).map(Some),
            Self::Directory(kept) => {
                let found = kept.store().load(key, now_unix_s);
                found.map_err(|error| error.to_string())
            }
        }
    }

    /// Takes over a token of the configuration, unless a newer one is there.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub fn preload(&self, key: &str, token: &str, now_unix_s: u64) -> Result<(), String> {
        match self {
            Self::Memory(_) => self.save(key, token, now_unix_s),
            Self::Url(_) => Err(
                "resolver preloads only available for writeable resolver types MEM/DIR/CACHE_DIR"
                    .to_owned(),
            ),
            Self::Directory(kept) => {
                let saved = kept.store().save_if_newer(key, token, now_unix_s);
                saved.map(drop).map_err(|error| error.to_string())
            }
        }
    }

    /// Drops a token that only the configuration gave; whether it was such a one.
    pub fn drop_preloaded(&self, key: &str) -> bool {
        match self {
            Self::Memory(tokens) => {
                let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
                tokens.remove(key).is_some()
            }
            Self::Url(_) | Self::Directory(_) => false,
        }
    }

    /// Keeps a token that has come, where anything is kept.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub fn save(&self, key: &str, token: &str, now_unix_s: u64) -> Result<(), String> {
        debug_assert!(token.len() <= TOKEN_BYTES_MAX);
        match self {
            Self::Memory(tokens) => {
                let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
                tokens.insert(key.to_owned(), token.to_owned());
                Ok(())
            }
            // The server there has its own way to new claims.
            Self::Url(_) => Ok(()),
            Self::Directory(kept) => {
                let saved = kept.store().save(key, token, now_unix_s);
                saved.map(drop).map_err(|error| error.to_string())
            }
        }
    }
}

const MISSING: &str = "operators require an account resolver to be configured";

fn expire_interval_s(ttl: Duration) -> u64 {
    match ttl.as_secs() / 2 {
        0 if ttl.is_zero() => EXPIRE_INTERVAL_S,
        half => half.clamp(1, EXPIRE_INTERVAL_S),
    }
}
