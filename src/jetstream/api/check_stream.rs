//! Which configurations of streams are allowed, what is put in where nothing was said, and what may
//! be changed. In the order of nats-server, so that the first error is the same.
//!
//! Of other streams it knows what [`Streams`] tells; it does not know where they live.

use std::collections::BTreeMap;

use crate::jetstream::config::{Discard, Retention, Storage, StreamConfig};

use super::errors::{ApiError, Code};
use super::overlap::Held;
use super::requests::StreamRequest;
use super::responses::AccountLimits;
use super::stream_rules::{
    EVERYTHING, check, check_discard_per_subject, check_filters, check_mapping, invalid,
};
use super::versions;

/// The other streams of an account.
pub trait Streams {
    /// One of them.
    fn stream(&self, name: &str) -> Option<&StreamConfig>;

    /// Calls for each of them.
    fn each(&self, each: &mut dyn FnMut(&StreamConfig));
}

impl Streams for BTreeMap<String, StreamConfig> {
    fn stream(&self, name: &str) -> Option<&StreamConfig> {
        self.get(name)
    }

    fn each(&self, each: &mut dyn FnMut(&StreamConfig)) {
        self.values().for_each(each);
    }
}

/// What an account may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Limits for all its streams together.
    Flat(AccountLimits),
    /// Limits by the number of copies that streams have: `R1`, `R3`.
    Tiers(BTreeMap<String, AccountLimits>),
}

impl Limits {
    /// The limits for streams with so many copies, and the name of their tier.
    pub fn of(&self, replicas: i64) -> Option<(AccountLimits, String)> {
        match self {
            Limits::Flat(limits) => Some((*limits, String::new())),
            Limits::Tiers(tiers) => {
                let tier = format!("R{}", replicas.max(1));
                tiers.get(&tier).map(|limits| (*limits, tier))
            }
        }
    }
}

/// What the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// The longest duplicate window in nanoseconds; 0 for any.
    pub duplicate_window: i64,
    /// Bytes in memory.
    pub max_memory: i64,
    /// Bytes on disk.
    pub max_storage: i64,
    /// Bytes in memory that streams of all accounts have reserved with `max_bytes`.
    pub reserved_memory: i64,
    /// Bytes on disk that streams of all accounts have reserved with `max_bytes`.
    pub reserved_storage: i64,
}

/// What a stream is checked against.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The other streams of the account; the stream itself may be among them.
    pub streams: &'a dyn Streams,
    /// What the account may have.
    pub limits: &'a Limits,
    /// What the server has.
    pub server: ServerLimits,
}

/// What is to be done about a request to create a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It is to be made.
    New(Box<StreamConfig>),
    /// It is there and is just so.
    Same,
}

/// Checks a request to create a stream.
///
/// # Errors
/// Why not.
pub fn creation(
    subject_name: &str,
    request: StreamRequest,
    around: &Around<'_>,
) -> Result<Creation, ApiError> {
    let StreamRequest {
        mut config,
        pedantic,
        storage_said,
    } = request;
    versions::set_stream(&mut config);
    if subject_name != config.name {
        return Err(Code::StreamMismatch.into());
    }
    if config.name.contains(['\\', '/']) {
        return Err(Code::StreamNameContainsPathSeparators.into());
    }
    if config.sealed {
        return invalid("stream configuration for create can not be sealed");
    }
    if config.mirror_direct && config.mirror.is_none() {
        return invalid("stream has no mirror but does have mirror direct");
    }
    within_account(&config, storage_said, around)?;
    addition(config, pedantic, around)
}

/// Checks a stream that is to be added, by a request or out of a snapshot.
///
/// # Errors
/// Why not.
pub fn addition(
    config: StreamConfig,
    pedantic: bool,
    around: &Around<'_>,
) -> Result<Creation, ApiError> {
    let mut config = check(config, pedantic, around)?;
    if config.num_replicas > 1 {
        return Err(Code::StreamReplicasNotSupported.into());
    }
    if let Some(old) = around.streams.stream(&config.name) {
        versions::copy(&mut config.metadata, &old.metadata);
        return if config == *old {
            Ok(Creation::Same)
        } else {
            Err(Code::StreamNameExist.into())
        };
    }
    let (limits, tier) = around
        .limits
        .of(config.num_replicas)
        .ok_or(Code::NoLimits)?;
    let reserved = reserved(&config, &tier, around);
    within_limits(&config, config.max_bytes, &limits, &tier, reserved, around)?;
    check_filters(&config)?;
    if overlaps(&config, around) {
        return Err(Code::StreamSubjectOverlap.into());
    }
    Ok(Creation::New(Box::new(config)))
}

/// Checks a request to restore a stream, before the first of its messages comes.
///
/// # Errors
/// Why not.
pub fn restoration(
    subject_name: &str,
    mut config: StreamConfig,
    around: &Around<'_>,
) -> Result<StreamConfig, ApiError> {
    if config.name.is_empty() {
        subject_name.clone_into(&mut config.name);
    }
    if subject_name != config.name {
        return Err(Code::StreamMismatch.into());
    }
    if config.name.contains(['\\', '/']) {
        return Err(Code::StreamNameContainsPathSeparators.into());
    }
    let config = check(config, false, around)?;
    within_account(&config, true, around)?;
    if around.streams.stream(&config.name).is_some() {
        return Err(Code::StreamNameExistRestoreFailed.into());
    }
    match addition(config, false, around)? {
        Creation::New(config) => Ok(*config),
        Creation::Same => Err(Code::StreamNameExistRestoreFailed.into()),
    }
}

/// Checks a request to update a stream.
///
/// # Errors
/// Why not.
pub fn update(
    subject_name: &str,
    request: StreamRequest,
    around: &Around<'_>,
) -> Result<StreamConfig, ApiError> {
    let pedantic = request.pedantic;
    let mut config = check(request.config, pedantic, around)?;
    if subject_name != config.name {
        return Err(Code::StreamMismatch.into());
    }
    let old = around
        .streams
        .stream(subject_name)
        .ok_or(Code::StreamNotFound)?;
    versions::set_stream(&mut config);
    let mut config = change(old, config, pedantic, around)?;
    if overlaps(&config, around) {
        return Err(Code::StreamSubjectOverlap.into());
    }
    if let Some(republish) = &mut config.republish
        && republish.destination.is_empty()
    {
        republish.destination = EVERYTHING.to_owned();
        check_mapping(&republish.source, EVERYTHING).map_err(|why| {
            let source = &republish.source;
            let why = format!("stream configuration for republish from '{source}' to '>': {why}");
            Code::StreamUpdate.with(&[&why])
        })?;
    }
    Ok(config)
}

/// Checks that limits for consumers that an update changes do not exclude those that are there:
/// given by name, inactive threshold and unacknowledged messages. For between the other checks of
/// [`update`] and that of subjects in nats-server; here after them.
///
/// # Errors
/// Which they exclude.
pub fn consumers_fit<'c>(
    old: &StreamConfig,
    new: &StreamConfig,
    consumers: impl Iterator<Item = (&'c str, i64, i64)>,
) -> Result<(), ApiError> {
    let (before, after) = (&old.consumer_limits, &new.consumer_limits);
    let threshold = after.inactive_threshold;
    let pending = after.max_ack_pending;
    let changed = (threshold > 0 && before.inactive_threshold != threshold)
        || (pending > 0 && before.max_ack_pending != pending);
    if !changed {
        return Ok(());
    }
    let excluded: Vec<&str> = consumers
        .filter(|(_, its_threshold, its_pending)| {
            (threshold > 0 && *its_threshold > threshold) || (pending > 0 && *its_pending > pending)
        })
        .map(|(name, ..)| name)
        .collect();
    if excluded.is_empty() {
        return Ok(());
    }
    let names = excluded.join(", ");
    Err(Code::StreamUpdate.with(&[&format!("change to limits violates consumers: {names}")]))
}

fn overlaps(config: &StreamConfig, around: &Around<'_>) -> bool {
    let own = Held::new(&config.subjects);
    let mut overlap = false;
    around.streams.each(&mut |other| {
        overlap |=
            other.name != config.name && other.subjects.iter().any(|theirs| own.collides(theirs));
    });
    overlap
}

/// How many streams an account may have, and what they may reserve. Before the configuration is
/// looked at, as nats-server does.
fn within_account(
    config: &StreamConfig,
    storage_said: bool,
    around: &Around<'_>,
) -> Result<(), ApiError> {
    let (limits, tier) = around
        .limits
        .of(config.num_replicas)
        .ok_or(Code::NoLimits)?;
    if limits.max_streams > 0 {
        let mut streams = 0;
        around.streams.each(&mut |other| {
            if is_of_tier(other, &tier, config) && other.name != config.name {
                streams += 1;
            }
        });
        if streams >= limits.max_streams {
            return Err(Code::MaximumStreamsLimit.into());
        }
    }
    check_max_consumers(config, &limits)?;
    if !storage_said {
        // nats-server does not know yet where it will be; the bytes are counted later.
        return Ok(());
    }
    let reserved = reserved(config, &tier, around);
    within_limits(config, config.max_bytes, &limits, &tier, reserved, around)
}

fn check_max_consumers(config: &StreamConfig, limits: &AccountLimits) -> Result<(), ApiError> {
    let (own, limit) = (config.max_consumers, limits.max_consumers);
    if own > 0 && limit > 0 && own > limit {
        return Err(Code::MaximumConsumersLimit.into());
    }
    Ok(())
}

fn is_of_tier(other: &StreamConfig, tier: &str, config: &StreamConfig) -> bool {
    tier.is_empty() || other.num_replicas.max(1) == config.num_replicas.max(1)
}

/// What the other streams of the tier and kind of storage have reserved.
fn reserved(config: &StreamConfig, tier: &str, around: &Around<'_>) -> i64 {
    let mut sum = 0_i64;
    around.streams.each(&mut |other| {
        let counts = other.name != config.name
            && other.storage == config.storage
            && is_of_tier(other, tier, config);
        if counts {
            sum = sum.saturating_add(reservation(tier, other.num_replicas, other.max_bytes));
        }
    });
    sum
}

/// What a stream reserves of an account: without tiers, each copy counts.
fn reservation(tier: &str, replicas: i64, bytes: i64) -> i64 {
    if bytes <= 0 {
        return 0;
    }
    let copies = if tier.is_empty() { replicas.max(1) } else { 1 };
    bytes.saturating_mul(copies)
}

/// Whether so many more bytes fit into what account and server have.
fn within_limits(
    config: &StreamConfig,
    max_bytes: i64,
    limits: &AccountLimits,
    tier: &str,
    reserved: i64,
    around: &Around<'_>,
) -> Result<(), ApiError> {
    check_max_consumers(config, limits)?;
    // Without a limit of its own, a stream needs some space.
    let bytes = if max_bytes < 0 { 1 } else { max_bytes };
    let of_account = reservation(tier, config.num_replicas, bytes);
    let server = &around.server;
    let (limit, has, used, code) = match config.storage {
        Storage::Memory => (
            limits.max_memory,
            server.max_memory,
            server.reserved_memory,
            Code::MemoryResourcesExceeded,
        ),
        Storage::File => (
            limits.max_storage,
            server.max_storage,
            server.reserved_storage,
            Code::StorageResourcesExceeded,
        ),
    };
    let beyond = |bytes: i64, used: i64, limit: i64| used > limit || bytes > limit - used;
    if (limit >= 0 && beyond(of_account, reserved, limit)) || beyond(bytes, used, has) {
        return Err(code.into());
    }
    Ok(())
}

/// Checks what a stream becomes against what it was.
fn change(
    old: &StreamConfig,
    config: StreamConfig,
    pedantic: bool,
    around: &Around<'_>,
) -> Result<StreamConfig, ApiError> {
    let mut config = check(config, pedantic, around)?;
    if config.num_replicas > 1 {
        return Err(Code::StreamReplicasNotSupported.into());
    }
    if config.storage != old.storage {
        return invalid("stream configuration update can not change storage type");
    }
    let work_queue = |one: &StreamConfig| one.retention == Retention::WorkQueue;
    if config.retention != old.retention && (work_queue(old) || work_queue(&config)) {
        return invalid(
            "stream configuration update can not change retention policy to/from workqueue",
        );
    }
    if old.sealed && !config.sealed {
        return invalid("stream configuration update can not unseal a sealed stream");
    }
    if old.deny_delete && !config.deny_delete {
        return invalid("stream configuration update can not cancel deny message deletes");
    }
    if old.deny_purge && !config.deny_purge {
        return invalid("stream configuration update can not cancel deny purge");
    }
    // A mirror may become an ordinary stream, but nothing else.
    if config.mirror.is_some() && config.mirror != old.mirror {
        return Err(Code::StreamMirrorNotUpdatable.into());
    }
    check_discard_per_subject(&config)?;
    if old.allow_msg_ttl && !config.allow_msg_ttl {
        return invalid("message TTL status can not be disabled");
    }
    if config.allow_msg_counter != old.allow_msg_counter {
        return invalid("stream configuration update can not change message counter setting");
    }
    if old.allow_msg_schedules && !config.allow_msg_schedules {
        return invalid("message schedules can not be disabled");
    }
    if old.persist_mode != config.persist_mode {
        return invalid("stream configuration update can not change persist mode");
    }
    if config.sealed {
        config.max_age = 0;
        config.discard = Discard::New;
        (config.deny_delete, config.deny_purge) = (true, true);
        config.allow_rollup_hdrs = false;
    }

    // Only what it grows by has to fit into what is left of the server.
    let growth = (config.max_bytes.max(0) - old.max_bytes.max(0)).max(0);
    let (limits, tier) = around
        .limits
        .of(config.num_replicas)
        .or_else(|| around.limits.of(old.num_replicas))
        .ok_or(Code::NoLimits)?;
    let others = reserved(&config, &tier, around);
    let rest = reservation(&tier, config.num_replicas, config.max_bytes - growth);
    let reserved = others.saturating_add(rest);
    within_limits(&config, growth, &limits, &tier, reserved, around)?;
    Ok(config)
}
