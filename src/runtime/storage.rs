//! Where streams are kept: directories for the shards' stores, and the engines that use them.
//!
//! Each shard has a directory of its own. When there are fewer shards than there were, one takes over
//! several; new streams go to its own.

use std::io;
use std::path::{Path, PathBuf};

use super::clock::Clock;
use super::commands::Address;
use super::disk::Disk;
use super::host;
use crate::config::Config;
use crate::jetstream::engine::{Engine, Options};
use crate::jetstream::stream;
use crate::store::{self, Store};
use crate::subject::SubjectHash;

/// Below the configured store directory; nats-server's accounts lie beside it.
const DIRECTORY: &str = "jetstream/skein";

/// Below a store directory, the one that has a directory for each shard, named by its number; and how
/// many there are, or will be.
///
/// # Errors
/// When it cannot be made or read.
pub fn directories(store_dir: &Path, shards: usize) -> io::Result<(PathBuf, usize)> {
    let directory = store_dir.join(DIRECTORY);
    std::fs::create_dir_all(&directory)?;
    let mut count = shards.max(1);
    for entry in std::fs::read_dir(&directory)? {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.parse::<usize>().ok()) {
            count = count.max(number + 1);
        }
    }
    Ok((directory, count))
}

/// Where streams are kept.
pub struct Storage {
    directory: PathBuf,
    /// Directories of shards there are, or will be.
    count: usize,
    engine: Options,
    store: store::Options,
}

impl Storage {
    /// Where the configuration says; `None` without JetStream.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn of(config: &Config, shards: usize) -> io::Result<Option<Self>> {
        let Some(directory) = std::env::var_os("SKEIN_JS") else {
            return Ok(None);
        };
        let (directory, count) = directories(Path::new(&directory), shards)?;
        let random = || host::random_u64().map_err(|e| io::Error::other(e.to_string()));
        let mut store = store::Options::new(random()?);
        store.hash = SubjectHash::new(random()?);
        Ok(Some(Self {
            directory,
            count,
            engine: Options {
                stream: stream::Settings::default(),
                strict: true,
                server_name: config.server_name.clone().unwrap_or_default(),
                shards,
                max_memory: u64::MAX,
                max_storage: u64::MAX,
                max_duplicate_window: 0,
                max_ack_pending: 0,
            },
            store,
        }))
    }

    /// Opens a shard's directories. News of their files go to `here`.
    ///
    /// # Errors
    /// When one cannot be read or made.
    pub fn open(
        &self,
        shard: usize,
        shards: usize,
        here: &Address,
        clock: &Clock,
    ) -> io::Result<(Engine, Vec<Disk>)> {
        let (mut stores, mut disks) = (Vec::new(), Vec::new());
        for number in (shard..self.count).step_by(shards) {
            let directory = self.directory.join(number.to_string());
            let place = disks.len() as u32;
            let (disk, listed) = Disk::open(place, &directory, here.clone())?;
            let mut options = self.store.clone();
            options.seed ^= number as u64;
            stores.push(Store::open(&options, &listed, clock.millis()));
            disks.push(disk);
        }
        Ok((Engine::new(self.engine.clone(), stores), disks))
    }
}
