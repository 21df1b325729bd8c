//! Every limit of the broker's inside, with its unit, in one place.
//!
//! What an operator sets (`max_payload` and the like) is in `config::Limits`; these are the
//! sizes of the house itself.

/// Shards in one process. A set of shards is a 64-bit mask.
pub const SHARDS_MAX: usize = 64;

/// A fresh outbound chunk for a connection that sends little.
pub const CHUNK_SMALL_BYTES: usize = 4 * 1024;
/// A fresh outbound chunk for a connection that filled a small one.
pub const CHUNK_LARGE_BYTES: usize = 64 * 1024;
/// Free chunks that a shard keeps of each size; more go back to the allocator.
pub const CHUNKS_POOLED_MAX: usize = 128;
/// Pieces handed to the kernel in one vectored send.
pub const SEGMENTS_PER_SEND_MAX: usize = 32;
/// Bytes that a copy into a chunk may write past the end of what it means to write.
pub const CHUNK_SLACK_BYTES: usize = 64;

/// A message that did not fit one read buffer and is at least this long is reference-counted
/// instead of copied into each destination.
pub const SHARE_PAYLOAD_MIN_BYTES: usize = 16 * 1024;

/// Unsent bytes of a destination above which connections publishing to it are paused.
pub const OUTBOUND_HIGH_WATER_BYTES: usize = 1024 * 1024;
/// Unsent bytes below which they are resumed.
pub const OUTBOUND_LOW_WATER_BYTES: usize = 512 * 1024;
/// The longest pause. A destination that has not come below the low-water mark by then is
/// lagging: it is buffered up to `max_pending` and publishers no longer wait for it.
pub const STALL_MS_MAX: u64 = 5;
/// The longest pause for a lagging destination above three quarters of `max_pending` that still
/// reads: long enough that what it reads meanwhile is more than what its publishers send between
/// two pauses. With the short one a reader of a third of their speed was cut off.
pub const LAGGING_STALL_MS_MAX: u64 = 50;
/// A lagging destination that was sent nothing for this long does not stall anybody, however
/// full it is: it will be cut off as a slow consumer and should not cost the healthy.
pub const STALL_PROGRESS_MS: u64 = 50;

/// Bytes on their way to a shard's disk above which connections that publish to its streams are
/// paused: half a second of a slow disk, many flushes of a fast one.
pub const UNFLUSHED_HIGH_WATER_BYTES: usize = 16 * 1024 * 1024;
/// Bytes below which they go on.
pub const UNFLUSHED_LOW_WATER_BYTES: usize = 8 * 1024 * 1024;

/// A carry buffer larger than this is given back once it is empty.
pub const CARRY_KEPT_MAX_BYTES: usize = 1024;

/// Accounts of one server; a subscription names its account in 16 bits.
pub const ACCOUNTS_MAX: usize = 65_535;
/// Accounts that a message may pass through imports of imports.
pub const IMPORT_CHAIN_MAX: usize = 16;
/// Requests to other accounts' services that a shard waits for responses to. More are not
/// forwarded: their senders are told that nobody responds.
pub const SERVICE_RESPONSES_MAX: usize = 1 << 20;
/// Those of them that are measured. More are not measured, but sent.
pub const LATENCIES_MAX: usize = 1 << 14;

/// Bytes of what is written down of one traced message; what comes later is left out.
pub const TRACE_EVENTS_BYTES_MAX: usize = 512 * 1024;
/// Traced messages of a shard for which it waits for other shards; more are reported without what
/// happened there.
pub const TRACES_MAX: usize = 1024;
/// How long it waits.
pub const TRACE_ANSWERS_MS_MAX: u64 = 1000;

/// Slots of the per-shard cache from subject to delivery plan.
pub const PLAN_CACHE_SLOTS: usize = 8192;

/// Bytes of one batch of frames between two shards.
pub const MESH_BATCH_BYTES: usize = 64 * 1024;
/// Bytes of shared payloads after which a batch is closed, however short its frames.
pub const MESH_BATCH_SHARED_BYTES: usize = 256 * 1024;
/// Batches in the ring between two shards.
pub const MESH_RING_BATCHES: usize = 32;
/// Bytes waiting for one peer shard above which connections that feed it are paused.
pub const MESH_OUTBOX_HIGH_WATER_BYTES: usize = 1024 * 1024;
/// Bytes below which they are resumed.
pub const MESH_OUTBOX_LOW_WATER_BYTES: usize = 256 * 1024;

const _: () = {
    assert!(OUTBOUND_LOW_WATER_BYTES < OUTBOUND_HIGH_WATER_BYTES);
    assert!(MESH_OUTBOX_LOW_WATER_BYTES < MESH_OUTBOX_HIGH_WATER_BYTES);
    assert!(CHUNK_SMALL_BYTES > 4 * CHUNK_SLACK_BYTES);
    assert!(CHUNK_SMALL_BYTES < CHUNK_LARGE_BYTES);
    assert!(PLAN_CACHE_SLOTS.is_power_of_two());
    assert!(MESH_RING_BATCHES.is_power_of_two());
    assert!(SHARDS_MAX <= 64);
};
