//! Configurations of streams and consumers, as the API writes them.
//!
//! Durations are nanoseconds, 0 for none; counts that may be unlimited are -1 then, as in the API.

use std::collections::BTreeMap;

use crate::store::{Seq, UnixNanos};

/// When messages leave a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// When a limit is reached.
    #[default]
    Limits,
    /// When all consumers that want them have acknowledged them.
    Interest,
    /// When the one consumer that wants them has.
    WorkQueue,
}

/// What gives way at a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discard {
    /// The oldest message.
    #[default]
    Old,
    /// The new one.
    New,
}

/// Where messages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// Only in memory.
    Memory,
}

/// Whether stored messages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// They are not.
    #[default]
    None,
    /// They are; the name is that of nats-server's codec.
    S2,
}

/// Whether acknowledgements wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PersistMode {
    /// As the server is configured.
    #[default]
    Default,
    /// They do not.
    Async,
}

/// A subject transform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectTransform {
    /// What it applies to.
    pub source: String,
    /// What comes out.
    pub destination: String,
}

/// What a stream publishes again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Republish {
    /// What it applies to.
    pub source: String,
    /// What comes out.
    pub destination: String,
    /// Without the payload.
    pub headers_only: bool,
}

/// A stream of another account or domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// Prefix of its API.
    pub api: String,
    /// Prefix of what it delivers.
    pub deliver: String,
}

/// A consumer made beforehand that a mirror or source is fed by (ADR-60).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceConsumer {
    /// Its name.
    pub name: String,
    /// Where it delivers.
    pub deliver_subject: String,
}

/// Where a mirror or a sourcing stream takes messages from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamSource {
    /// The other stream's name.
    pub name: String,
    /// From this sequence; 0 for none.
    pub opt_start_seq: Seq,
    /// From this time.
    pub opt_start_time: Option<UnixNanos>,
    /// Only these subjects; empty for all.
    pub filter_subject: String,
    /// What they become.
    pub subject_transforms: Vec<SubjectTransform>,
    /// Where that stream is, if not here.
    pub external: Option<External>,
    /// A consumer to be used.
    pub consumer: Option<SourceConsumer>,
}

/// Where a stream should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// In which cluster.
    pub cluster: String,
    /// On servers with these tags.
    pub tags: Vec<String>,
    /// On which server the leader should be.
    pub preferred: String,
}

/// What consumers of a stream may ask for at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerLimits {
    /// Nanoseconds.
    pub inactive_threshold: i64,
    /// Messages.
    pub max_ack_pending: i64,
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    pub name: String,
    pub description: String,
    pub subjects: Vec<String>,
    pub retention: Retention,
    pub max_consumers: i64,
    pub max_msgs: i64,
    pub max_bytes: i64,
    /// Nanoseconds.
    pub max_age: i64,
    pub max_msgs_per_subject: i64,
    pub max_msg_size: i32,
    pub discard: Discard,
    pub storage: Storage,
    pub num_replicas: i64,
    pub no_ack: bool,
    /// Nanoseconds.
    pub duplicate_window: i64,
    pub placement: Option<Placement>,
    pub mirror: Option<StreamSource>,
    pub sources: Vec<StreamSource>,
    pub compression: Compression,
    pub first_seq: Seq,
    pub subject_transform: Option<SubjectTransform>,
    pub republish: Option<Republish>,
    pub allow_direct: bool,
    pub mirror_direct: bool,
    pub discard_new_per_subject: bool,
    pub sealed: bool,
    pub deny_delete: bool,
    pub deny_purge: bool,
    pub allow_rollup_hdrs: bool,
    pub consumer_limits: ConsumerLimits,
    pub allow_msg_ttl: bool,
    /// Nanoseconds.
    pub subject_delete_marker_ttl: i64,
    pub allow_msg_counter: bool,
    pub allow_atomic: bool,
    pub allow_msg_schedules: bool,
    pub persist_mode: PersistMode,
    pub allow_batched: bool,
    pub metadata: BTreeMap<String, String>,
}

impl StreamConfig {
    /// One of which nothing was said: all zeros, before the defaults are put in.
    pub fn unsaid() -> Self {
        Self {
            max_consumers: 0,
            max_msgs: 0,
            max_bytes: 0,
            max_msgs_per_subject: 0,
            max_msg_size: 0,
            num_replicas: 0,
            ..Self::default()
        }
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            subjects: Vec::new(),
            retention: Retention::default(),
            max_consumers: -1,
            max_msgs: -1,
            max_bytes: -1,
            max_age: 0,
            max_msgs_per_subject: -1,
            max_msg_size: -1,
            discard: Discard::default(),
            storage: Storage::default(),
            num_replicas: 1,
            no_ack: false,
            duplicate_window: 0,
            placement: None,
            mirror: None,
            sources: Vec::new(),
            compression: Compression::default(),
            first_seq: 0,
            subject_transform: None,
            republish: None,
            allow_direct: false,
            mirror_direct: false,
            discard_new_per_subject: false,
            sealed: false,
            deny_delete: false,
            deny_purge: false,
            allow_rollup_hdrs: false,
            consumer_limits: ConsumerLimits::default(),
            allow_msg_ttl: false,
            subject_delete_marker_ttl: 0,
            allow_msg_counter: false,
            allow_atomic: false,
            allow_msg_schedules: false,
            persist_mode: PersistMode::default(),
            allow_batched: false,
            metadata: BTreeMap::new(),
        }
    }
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliverPolicy {
    #[default]
    All,
    Last,
    New,
    ByStartSequence,
    ByStartTime,
    LastPerSubject,
}

/// What a consumer waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckPolicy {
    #[default]
    None,
    All,
    Explicit,
    FlowControl,
}

/// How fast a consumer delivers what is already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayPolicy {
    #[default]
    Instant,
    Original,
}

/// Who among the pulling clients comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PriorityPolicy {
    #[default]
    None,
    Overflow,
    PinnedClient,
    Prioritized,
}

/// A consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerConfig {
    pub durable_name: String,
    pub name: String,
    pub description: String,
    pub deliver_policy: DeliverPolicy,
    pub opt_start_seq: Seq,
    pub opt_start_time: Option<UnixNanos>,
    pub ack_policy: AckPolicy,
    /// Nanoseconds.
    pub ack_wait: i64,
    pub max_deliver: i64,
    /// Nanoseconds.
    pub backoff: Vec<i64>,
    pub filter_subject: String,
    pub filter_subjects: Vec<String>,
    pub replay_policy: ReplayPolicy,
    /// Bits per second.
    pub rate_limit_bps: u64,
    pub sample_freq: String,
    pub max_waiting: i64,
    pub max_ack_pending: i64,
    pub flow_control: bool,
    pub headers_only: bool,
    pub max_batch: i64,
    /// Nanoseconds.
    pub max_expires: i64,
    pub max_bytes: i64,
    pub deliver_subject: String,
    pub deliver_group: String,
    /// Nanoseconds.
    pub idle_heartbeat: i64,
    /// Nanoseconds.
    pub inactive_threshold: i64,
    pub num_replicas: i64,
    pub mem_storage: bool,
    pub direct: bool,
    pub sourcing: bool,
    pub metadata: BTreeMap<String, String>,
    pub pause_until: Option<UnixNanos>,
    pub priority_groups: Vec<String>,
    pub priority_policy: PriorityPolicy,
    /// Nanoseconds.
    pub priority_timeout: i64,
}
