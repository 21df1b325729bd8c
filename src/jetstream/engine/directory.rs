//! Which streams there are, and where each of them is. Every shard has all of it; only shard 0 adds
//! and takes away, and the others follow.
//!
//! What homes tell comes in each home's order, but a stream may be deleted on one shard and made on another,
//! and what shard 0 has decided may still be on its way when a home speaks of what was before. So decisions
//! are numbered, homes repeat the number, and what is older than what is known is not listened to.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::base::ids::{AccountId, ShardId};
use crate::jetstream::config::{Storage, StreamConfig};

/// A stream that there is.
#[derive(Clone, Debug)]
pub struct Located {
    /// The shard where it is.
    pub home: ShardId,
    /// Its configuration.
    pub config: Arc<StreamConfig>,
    /// Which decision of shard 0 this follows.
    pub decision: u64,
}

/// Streams by account and name.
#[derive(Debug, Default)]
pub struct Directory {
    accounts: HashMap<AccountId, BTreeMap<Box<str>, Located>>,
    /// How many live on each shard.
    homes: Vec<u32>,
    /// Bytes that all have reserved in memory, and on disk.
    reserved: [u64; 2],
}

impl Directory {
    /// A stream.
    pub fn get(&self, account: AccountId, name: &str) -> Option<&Located> {
        self.accounts.get(&account)?.get(name)
    }

    /// An account's streams, by name.
    pub fn of(&self, account: AccountId) -> impl Iterator<Item = (&str, &Located)> {
        let streams = self.accounts.get(&account).into_iter().flatten();
        streams.map(|(name, located)| (&**name, located))
    }

    /// All streams, in order.
    pub fn all(&self) -> Vec<(AccountId, &str, ShardId)> {
        let accounts = self.accounts.iter();
        let streams = accounts.flat_map(|(&account, streams)| {
            let streams = streams.iter();
            streams.map(move |(name, located)| (account, &**name, located.home))
        });
        let mut all: Vec<_> = streams.collect();
        all.sort_unstable();
        all
    }

    /// Notes where a stream is, and what it is now, if nothing newer is known.
    pub fn set(&mut self, account: AccountId, located: Located) {
        let known = self.get(account, &located.config.name);
        if known.is_some_and(|known| known.decision > located.decision) {
            return;
        }
        let name = located.config.name.as_str().into();
        let home = located.home.index();
        if home >= self.homes.len() {
            self.homes.resize(home + 1, 0);
        }
        self.homes[home] += 1;
        let (kind, bytes) = reservation(&located.config);
        self.reserved[kind] = self.reserved[kind].wrapping_add(bytes);
        let streams = self.accounts.entry(account).or_default();
        if let Some(before) = streams.insert(name, located) {
            self.left(&before);
        }
    }

    fn left(&mut self, gone: &Located) {
        self.homes[gone.home.index()] -= 1;
        let (kind, bytes) = reservation(&gone.config);
        self.reserved[kind] = self.reserved[kind].wrapping_sub(bytes);
    }

    /// Forgets a stream, if nothing newer is known of one of that name.
    pub fn remove(&mut self, account: AccountId, name: &str, decision: u64) {
        let known = self.get(account, name);
        if known.is_some_and(|known| known.decision > decision) {
            return;
        }
        if let Some(streams) = self.accounts.get_mut(&account)
            && let Some(gone) = streams.remove(name)
        {
            self.left(&gone);
        }
    }

    /// The shard among `shards` with the fewest streams.
    pub fn emptiest(&self, shards: usize) -> ShardId {
        let streams = |&shard: &usize| self.homes.get(shard).copied().unwrap_or(0);
        let fewest = (0..shards).min_by_key(streams);
        ShardId(fewest.unwrap_or(0) as u8)
    }

    /// Bytes that all streams have reserved, of one kind of storage.
    pub fn reserved_by_all(&self, storage: Storage) -> u64 {
        self.reserved[place(storage)]
    }

    /// Bytes that an account's streams have reserved, of one kind of storage.
    pub fn reserved(&self, account: AccountId, storage: Storage) -> u64 {
        self.of(account)
            .filter(|(_, located)| located.config.storage == storage)
            .map(|(_, located)| located.config.max_bytes.max(0) as u64)
            .sum()
    }
}

/// Which of the sums a stream counts in, and with how much. Sums wrap: what nobody could store may still stand in a
/// configuration, and comes out again as it went in.
fn reservation(config: &StreamConfig) -> (usize, u64) {
    (place(config.storage), config.max_bytes.max(0) as u64)
}

const fn place(storage: Storage) -> usize {
    match storage {
        Storage::Memory => 0,
        Storage::File => 1,
    }
}
