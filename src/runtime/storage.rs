//! Where streams are kept: directories for the shards' stores, and the engines that use them.
//!
//! Each shard has a directory of its own. When there are fewer shards than there were, one takes over
//! several; new streams go to its own.

use std::io;
use std::path::{Path, PathBuf};

use super::clock::Clock;
use super::commands::Address;
use super::disk::Disk;
use super::{cgroup, host};
use crate::auth::definition::Secret;
use crate::base::limits::{UNFLUSHED_HIGH_WATER_BYTES, UNFLUSHED_LOW_WATER_BYTES};
use crate::config::{Cipher, Config, JetStreamOptions, Sync};
use crate::control::view::JetStreamView;
use crate::jetstream::engine::{Engine, Options};
use crate::jetstream::stream;
use crate::store::{self, Store};

/// Below the configured store directory; nats-server's accounts lie beside it.
const DIRECTORY: &str = "jetstream/skein";

/// Atomic batches of all streams, where the configuration says nothing.
const ATOMIC_BATCHES_MAX: usize = 1000;
/// Fast batches.
const FAST_BATCHES_MAX: usize = 50_000;

/// A store's cache: this part of the memory for all, and for each at least and at most.
const CACHE_PART: u64 = 64;
const CACHE_BYTES_MIN: u64 = 32 << 20;
const CACHE_BYTES_MAX: u64 = 1 << 30;
/// A store's segments are at most such a part of the disk, divided by the stores on it: those that it
/// keeps ready and those that it fills take little of a small one then.
const SEGMENTS_PER_DISK: u64 = 64;

/// nats-server shows its interval of two minutes also where everything is synchronised at once.
const SYNC_INTERVAL_SHOWN_NS: u64 = 120_000_000_000;

/// Where streams are kept if nothing is said, in the directory for temporary files.
const TEMPORARY: &str = "nats";

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

/// What stores are encrypted with, and were before.
pub fn keys(options: &JetStreamOptions) -> (Option<store::Key>, Option<store::Key>) {
    let key = |secret: &Secret| store::Key {
        cipher: match options.cipher {
            Cipher::ChaCha => store::Cipher::ChaCha,
            Cipher::Aes => store::Cipher::Aes,
        },
        secret: secret.0.clone().into_bytes(),
    };
    let previous = options.previous_key.as_ref();
    (options.key.as_ref().map(key), previous.map(key))
}

/// What each store may keep of its files in memory: what was written last goes past the kernel's cache,
/// and consumers that are not far behind want it.
fn cache_bytes(memory_bytes: u64, shards: usize) -> usize {
    let part = memory_bytes / CACHE_PART / shards.max(1) as u64;
    part.clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX) as usize
}

/// Tells a store what disk it is on, which it has for itself but for so many stores.
///
/// # Errors
/// When the kernel does not say.
pub fn fit(options: &mut store::Options, directory: &Path, stores: usize) -> io::Result<()> {
    let space = host::disk_space(directory)?;
    let share = space.total_bytes / SEGMENTS_PER_DISK / stores.max(1) as u64;
    options.segment_bytes = options.segment_bytes.min(share);
    options.room_bytes = space.free_bytes;
    Ok(())
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
    pub fn of(config: &Config, name: &str, shards: usize) -> io::Result<Option<Self>> {
        let options = &config.jetstream;
        if !options.enabled {
            return Ok(None);
        }
        let base = match &options.store_dir {
            Some(directory) => directory.clone(),
            None => std::env::temp_dir().join(TEMPORARY),
        };
        let (directory, count) = directories(&base, shards)?;
        let random = || host::random_u64().map_err(|e| io::Error::other(e.to_string()));
        let mut store = store::Options::new(random()?);
        store.seed_hash(random()?);
        store.sync = match options.sync {
            Sync::Always => store::Sync::Always,
            Sync::Every(time) => store::Sync::Interval(time.as_millis().max(1) as u64),
        };
        (store.key, store.previous_key) = keys(options);
        let memory_bytes = host::memory_bytes();
        let memory_bytes =
            cgroup::memory_limit_bytes().map_or(memory_bytes, |limit| limit.min(memory_bytes));
        store.cache_bytes = cache_bytes(memory_bytes, shards);
        let said = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
        let max_memory = match said(options.max_memory_bytes) {
            Some(bytes) => bytes,
            None => host::memory_bytes() / 4 * 3,
        };
        let max_storage = match said(options.max_storage_bytes) {
            Some(bytes) => bytes,
            None => host::disk_space(&directory)?.free_bytes / 4 * 3,
        };
        let queue = |length: i64| usize::try_from(length).unwrap_or(usize::MAX);
        let batches = usize::try_from(options.limits.batches);
        let batches = batches.ok().filter(|&batches| batches > 0);
        Ok(Some(Self {
            directory,
            count,
            engine: Options {
                stream: stream_settings(config),
                strict: options.strict,
                server_name: name.to_owned(),
                shards,
                max_memory,
                max_storage,
                max_duplicate_window: options.limits.duplicate_window_ns,
                max_ack_pending: options.limits.max_ack_pending,
                max_atomic_batches: batches.unwrap_or(ATOMIC_BATCHES_MAX),
                request_queue: queue(options.request_queue),
                info_queue: queue(options.info_queue),
                max_fast_batches: batches.unwrap_or(FAST_BATCHES_MAX),
                max_request_batch: options.limits.max_request_batch,
                unflushed_high_bytes: UNFLUSHED_HIGH_WATER_BYTES,
                unflushed_low_bytes: UNFLUSHED_LOW_WATER_BYTES,
            },
            store,
        }))
    }

    /// What monitoring shows of it.
    pub fn view(&self, options: &JetStreamOptions) -> JetStreamView {
        JetStreamView {
            max_memory_bytes: self.engine.max_memory,
            max_storage_bytes: self.engine.max_storage,
            // As nats-server shows it: not with the folder for this server's own files.
            store_dir: self
                .directory
                .parent()
                .map_or_else(String::new, |parent| parent.display().to_string()),
            sync_interval_ns: match options.sync {
                Sync::Always => SYNC_INTERVAL_SHOWN_NS,
                Sync::Every(time) => u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            },
            sync_always: options.sync == Sync::Always,
            domain: self.engine.stream.domain.clone(),
            unique_tag: options.unique_tag.clone().unwrap_or_default(),
            strict: options.strict,
            limits: options.limits,
        }
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
            fit(&mut options, &directory, self.count)?;
            stores.push(Store::open(&options, &listed, clock.millis()));
            disks.push(disk);
        }
        Ok((Engine::new(self.engine.clone(), stores), disks))
    }
}

/// What all streams are told.
fn stream_settings(config: &Config) -> stream::Settings {
    let options = &config.jetstream;
    let limits = &options.limits;
    let mut settings = stream::Settings {
        domain: options.domain.clone().unwrap_or_default(),
        max_payload: config.limits.max_payload_bytes,
        waits_for_disk: options.sync == Sync::Always,
        ..stream::Settings::default()
    };
    if let Ok(messages @ 1..) = u64::try_from(limits.batch_messages) {
        settings.batch_messages_max = messages;
    }
    if let Ok(batches @ 1..) = usize::try_from(limits.batches_per_stream) {
        settings.atomic_batches_max = batches;
        settings.fast_batches_max = batches;
    }
    if let Ok(time @ 1..) = u64::try_from(limits.batch_timeout_ns) {
        settings.batch_timeout_ms = (time / 1_000_000).max(1);
    }
    if let Ok(bytes @ 1..) = usize::try_from(options.max_buffered_bytes) {
        settings.waiting_bytes_max = bytes;
    }
    if let Ok(messages @ 1..) = usize::try_from(options.max_buffered_messages) {
        settings.waiting_messages_max = messages;
    }
    settings
}
