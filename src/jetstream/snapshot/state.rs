//! How far a stream and a consumer have come, as snapshots say it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::filestore::time_of;
use crate::jetstream::api::time;
use crate::store::{Seq, UnixNanos};

/// A place in a consumer's and in its stream's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Counted by the consumer's deliveries.
    #[serde(default)]
    pub consumer_seq: u64,
    /// The message's sequence.
    #[serde(default)]
    pub stream_seq: Seq,
}

/// When a message that is not acknowledged was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// As the consumer's how manyth; 0 if that is not known.
    #[serde(rename = "Sequence", default)]
    pub consumer_seq: u64,
    /// When, the last time.
    #[serde(rename = "Timestamp", default)]
    pub time: UnixNanos,
}

/// How far a consumer has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerState {
    /// The last delivery.
    #[serde(default)]
    pub delivered: Position,
    /// Everything up to here is acknowledged.
    #[serde(default)]
    pub ack_floor: Position,
    /// By sequence: delivered, not acknowledged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pending: BTreeMap<Seq, Delivered>,
    /// By sequence: how many times it was delivered again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub redelivered: BTreeMap<Seq, u64>,
}

/// What a stream held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Messages.
    pub messages: u64,
    /// What they count as.
    pub bytes: u64,
    /// The first one's sequence.
    pub first_seq: Seq,
    /// When that was stored; 0 for none.
    pub first_time: UnixNanos,
    /// The highest sequence given out.
    pub last_seq: Seq,
    /// When that was; 0 for never.
    pub last_time: UnixNanos,
    /// Different subjects.
    pub subjects: u64,
    /// Sequences between the first and the last without a message.
    pub deleted: u64,
    /// Its consumers.
    pub consumers: u64,
}

/// The same as JSON.
#[derive(Serialize, Deserialize)]
struct StreamStateJson {
    messages: u64,
    bytes: u64,
    first_seq: Seq,
    first_ts: String,
    last_seq: Seq,
    last_ts: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    num_subjects: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    num_deleted: u64,
    consumer_count: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl StreamState {
    /// Reads what the API says of a stream's state. None when it is not that.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let json: StreamStateJson = serde_json::from_slice(json).ok()?;
        Some(Self {
            messages: json.messages,
            bytes: json.bytes,
            first_seq: json.first_seq,
            first_time: time_of(&json.first_ts)?,
            last_seq: json.last_seq,
            last_time: time_of(&json.last_ts)?,
            subjects: json.num_subjects,
            deleted: json.num_deleted,
            consumers: json.consumer_count,
        })
    }

    /// Writes it.
    pub fn to_json(&self) -> String {
        let time = |moment: UnixNanos| {
            let moment = if moment == 0 { time::NEVER } else { moment };
            let mut text = Vec::new();
            time::write(&mut text, moment);
            String::from_utf8(text).expect("times are digits and marks")
        };
        let json = StreamStateJson {
            messages: self.messages,
            bytes: self.bytes,
            first_seq: self.first_seq,
            first_ts: time(self.first_time),
            last_seq: self.last_seq,
            last_ts: time(self.last_time),
            num_subjects: self.subjects,
            num_deleted: self.deleted,
            consumer_count: self.consumers,
        };
        serde_json::to_string(&json).expect("plain numbers and texts are JSON")
    }
}
