//! What clients ask for: the bodies of requests. It does not know how that is
//! answered.

use std::collections::BTreeMap;

use crate::jetstream::config::{ConsumerConfig, Placement, StreamConfig};
use crate::store::{Seq, UnixNanos};

use super::decode::{Decode, Decoder, Known, one_value};
use super::time::NEVER;

pub use super::decode::request as parse;

use super::errors::{ApiError, Code};

/// Reads a body that may be missing, and that is passed over unless it begins like an object or a
/// list: of `STREAM.INFO`, `STREAM.NAMES`, `STREAM.LIST`, `STREAM.PURGE`, `CONSUMER.NAMES`,
/// `CONSUMER.LIST`, `CONSUMER.PAUSE` and `*.LEADER.STEPDOWN`.
///
/// # Errors
/// `invalid JSON: …`.
pub fn optional<T: Decode>(body: &[u8], strict: bool) -> Result<T, ApiError> {
    match body.trim_ascii_start() {
        [b'{' | b'[', ..] => parse(body, strict),
        _ => Ok(T::unsaid()),
    }
}

/// Reads a body that must say something: of `STREAM.MSG.GET`, `STREAM.MSG.DELETE`,
/// `STREAM.SNAPSHOT`, `STREAM.RESTORE` and `STREAM.PEER.*`. Of `STREAM.CREATE`, `STREAM.UPDATE` and
/// `CONSUMER.CREATE` an empty one is read as well, by [`parse`].
///
/// # Errors
/// `bad request` for an empty one, or `invalid JSON: …`.
pub fn required<T: Decode>(body: &[u8], strict: bool) -> Result<T, ApiError> {
    if is_empty(body) {
        return Err(Code::BadRequest.into());
    }
    parse(body, strict)
}

/// Looks at a body that must not say anything: of `STREAM.DELETE`, `CONSUMER.INFO` and
/// `CONSUMER.DELETE`. (That of `INFO` is passed over.)
///
/// # Errors
/// `expected an empty request payload`.
pub fn none(body: &[u8]) -> Result<(), ApiError> {
    match is_empty(body) {
        true => Ok(()),
        false => Err(Code::NotEmptyRequest.into()),
    }
}

/// Whether a body says nothing: it is empty, or an object without fields. White space alone says
/// something to nats-server, since it is no JSON.
pub fn is_empty(body: &[u8]) -> bool {
    let mut parts = body
        .split(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
        .filter(|part| !part.is_empty());
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => body.is_empty(),
        (Some(b"{}"), None, _) | (Some(b"{"), Some(b"}"), None) => true,
        _ => false,
    }
}

/// Reads the body of `CONSUMER.UNPIN`, which may have fields that nobody knows, and must be there.
/// So do the bodies of `CONSUMER.RESET` where they are not empty.
///
/// # Errors
/// `invalid JSON: …`.
pub fn loose<T: Decode>(body: &[u8]) -> Result<T, ApiError> {
    let mut value = T::unsaid();
    match one_value(body, &mut value) {
        Ok(()) => Ok(value),
        Err(message) => Err(Code::InvalidJson.with(&[&message])),
    }
}

/// `STREAM.CREATE` and `STREAM.UPDATE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// The stream.
    pub config: StreamConfig,
    /// Whether what does not fit is refused rather than adjusted.
    pub pedantic: bool,
    /// Whether the storage was said; an account's bytes are looked at earlier then.
    pub storage_said: bool,
}

impl Default for StreamRequest {
    fn default() -> Self {
        Self {
            config: StreamConfig::unsaid(),
            pedantic: false,
            storage_said: false,
        }
    }
}

impl Decode for StreamRequest {
    const TYPE: &'static str = "server.StreamConfigRequest";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        if name == "pedantic" {
            return decoder.boolean(&mut self.pedantic);
        }
        self.storage_said |= name == "storage";
        self.config.field(name, decoder)
    }
}

/// What is to be done with a consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Create it, or update it if it is there.
    #[default]
    CreateOrUpdate,
    /// Only create it.
    Create,
    /// Only update it.
    Update,
}

/// `CONSUMER.CREATE` and `CONSUMER.DURABLE.CREATE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerRequest {
    /// Of which stream.
    pub stream: String,
    /// The consumer.
    pub config: ConsumerConfig,
    /// What is to be done.
    pub action: Action,
    /// Whether what does not fit is refused rather than adjusted.
    pub pedantic: bool,
}

impl Decode for ConsumerRequest {
    const TYPE: &'static str = "server.CreateConsumerRequest";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "stream_name" => decoder.string(&mut self.stream),
            "config" => decoder.object(&mut self.config),
            "action" => {
                let names = [
                    ("create", Action::Create),
                    ("update", Action::Update),
                    ("", Action::CreateOrUpdate),
                ];
                decoder.named(&mut self.action, &names, |raw| {
                    format!("unknown consumer action: {}", String::from_utf8_lossy(raw))
                })
            }
            "pedantic" => decoder.boolean(&mut self.pedantic),
            _ => Known::No,
        }
    }
}

/// Makes a request of fields that are read one by one.
macro_rules! request {
    (
        $(#[$about:meta])*
        $name:ident $go:literal;
        $($(#[$what:meta])* $field:ident $json:literal $kind:ident: $type:ty $(= $default:expr)?;)*
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$what])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: request!(@default $($default)?),)*
                }
            }
        }

        impl Decode for $name {
            const TYPE: &'static str = concat!("server.", $go);

            fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
                match name {
                    $($json => decoder.$kind(&mut self.$field),)*
                    _ => Known::No,
                }
            }
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}

request! {
    /// `STREAM.NAMES` and `STREAM.LIST`.
    StreamsRequest "JSApiStreamNamesRequest";
    /// From which on.
    offset "offset" int: i64;
    /// Only streams with subjects that overlap with this; empty for all.
    subject "subject" string: String;
}

request! {
    /// `STREAM.INFO`.
    StreamInfoRequest "JSApiStreamInfoRequest";
    /// From which subject on.
    offset "offset" int: i64;
    /// Whether the sequences that are not there are to be listed.
    deleted_details "deleted_details" boolean: bool;
    /// Which subjects are to be listed with their messages; empty for none.
    subjects_filter "subjects_filter" string: String;
}

request! {
    /// `STREAM.PURGE`.
    PurgeRequest "JSApiStreamPurgeRequest";
    /// Up to this sequence, without it; 0 for all.
    seq "seq" uint64: Seq;
    /// Only these subjects; empty for all.
    filter "filter" string: String;
    /// How many messages stay.
    keep "keep" uint64: u64;
}

request! {
    /// `STREAM.MSG.DELETE`.
    MsgDeleteRequest "JSApiMsgDeleteRequest";
    /// Which.
    seq "seq" uint64: Seq;
    /// Whether its bytes may stay on the disk.
    no_erase "no_erase" boolean: bool;
}

request! {
    /// `STREAM.MSG.GET` and `DIRECT.GET`.
    MsgGetRequest "JSApiMsgGetRequest";
    /// Which, or from which on.
    seq "seq" uint64: Seq;
    /// The last of this subject.
    last_by_subj "last_by_subj" string: String;
    /// The next of these subjects.
    next_by_subj "next_by_subj" string: String;
    /// How many.
    batch "batch" int: i64;
    /// How many bytes.
    max_bytes "max_bytes" int: i64;
    /// From this time on.
    start_time "start_time" optional_time: Option<UnixNanos>;
    /// The last of each subject of these.
    multi_last "multi_last" strings: Vec<String>;
    /// Up to this sequence.
    up_to_seq "up_to_seq" uint64: Seq;
    /// Up to this time.
    up_to_time "up_to_time" optional_time: Option<UnixNanos>;
    /// Whether only the payload is wanted.
    no_hdr "no_hdr" boolean: bool;
}

request! {
    /// `STREAM.SNAPSHOT`.
    SnapshotRequest "JSApiStreamSnapshotRequest";
    /// Where the chunks go.
    deliver_subject "deliver_subject" string: String;
    /// Whether consumers are left out.
    no_consumers "no_consumers" boolean: bool;
    /// Bytes per chunk; 0 for the default.
    chunk_size "chunk_size" int: i64;
    /// Bytes that may be unacknowledged; 0 for the default.
    window_size "window_size" int: i64;
    /// Whether checksums of messages are looked at first.
    check_msgs "jsck" boolean: bool;
}

request! {
    /// What a stream held when its snapshot was taken: in `STREAM.RESTORE`.
    RestoreState "StreamState";
    /// Messages.
    messages "messages" uint64: u64;
    /// What they count as.
    bytes "bytes" uint64: u64;
    /// The first message's sequence.
    first_seq "first_seq" uint64: Seq;
    /// When it was stored.
    first_time "first_ts" time: UnixNanos = NEVER;
    /// The last sequence.
    last_seq "last_seq" uint64: Seq;
    /// When it was stored.
    last_time "last_ts" time: UnixNanos = NEVER;
    /// Different subjects.
    num_subjects "num_subjects" int: i64;
    /// Messages of each.
    subjects "subjects" counts: BTreeMap<String, u64>;
    /// Sequences that are not there.
    num_deleted "num_deleted" int: i64;
    /// Which.
    deleted "deleted" uint64s: Vec<Seq>;
    /// Messages that were lost.
    lost "lost" optional: Option<Lost>;
    /// Consumers.
    consumers "consumer_count" int: i64;
}

request! {
    /// Messages that a stream has lost.
    Lost "LostStreamData";
    /// Which.
    msgs "msgs" uint64s: Vec<Seq>;
    /// What they counted as.
    bytes "bytes" uint64: u64;
}

request! {
    /// `STREAM.RESTORE`.
    RestoreRequest "JSApiStreamRestoreRequest";
    /// The stream.
    config "config" object: StreamConfig = StreamConfig::unsaid();
    /// What it held.
    state "state" object: RestoreState;
}

request! {
    /// `STREAM.PEER.REMOVE` and `STREAM.PEER.EVACUATE`.
    RemovePeerRequest "JSApiStreamRemovePeerRequest";
    /// Which.
    peer "peer" string: String;
}

request! {
    /// `*.LEADER.STEPDOWN`.
    StepdownRequest "JSApiLeaderStepdownRequest";
    /// Where the next leader should be.
    placement "placement" optional: Option<Placement>;
}

request! {
    /// `CONSUMER.NAMES` and `CONSUMER.LIST`.
    ConsumersRequest "JSApiConsumersRequest";
    /// From which on.
    offset "offset" int: i64;
}

request! {
    /// `CONSUMER.PAUSE`.
    PauseRequest "JSApiConsumerPauseRequest";
    /// Until when; `NEVER` to resume.
    pause_until "pause_until" time: UnixNanos = NEVER;
}

request! {
    /// `CONSUMER.UNPIN`.
    UnpinRequest "JSApiConsumerUnpinRequest";
    /// Which priority group.
    group "group" string: String;
}

request! {
    /// `CONSUMER.RESET`.
    ResetRequest "JSApiConsumerResetRequest";
    /// To which sequence; 0 for where the acknowledged end.
    seq "seq" uint64: Seq;
}

request! {
    /// `CONSUMER.MSG.NEXT`, when it is an object.
    NextRequest "JSApiConsumerGetNextRequest";
    /// Nanoseconds.
    expires "expires" duration: i64;
    /// Messages.
    batch "batch" int: i64;
    /// Bytes; 0 for any number.
    max_bytes "max_bytes" int: i64;
    /// Whether only what is there is wanted.
    no_wait "no_wait" boolean: bool;
    /// Nanoseconds.
    idle_heartbeat "idle_heartbeat" duration: i64;
    /// Which priority group.
    group "group" string: String;
    /// Only if so many messages are waiting.
    min_pending "min_pending" int64: i64;
    /// Only if so many are unacknowledged.
    min_ack_pending "min_ack_pending" int64: i64;
    /// Whose pin it is.
    id "id" string: String;
    /// The lower, the earlier.
    priority "priority" int: i64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_that_say_nothing() {
        for empty in ["", "{}", " {} ", "{ }", "\n{\t}\r"] {
            assert!(is_empty(empty.as_bytes()), "{empty:?}");
            assert_eq!(none(empty.as_bytes()), Ok(()));
            let missing = required::<MsgGetRequest>(empty.as_bytes(), true);
            assert_eq!(missing, Err(Code::BadRequest.into()));
        }
        for full in [" ", "x", "{", "{}{}", "{} {}", "[]", "null", "{\"a\":1}"] {
            assert!(!is_empty(full.as_bytes()), "{full:?}");
            assert_eq!(none(full.as_bytes()), Err(Code::NotEmptyRequest.into()));
        }
    }

    #[test]
    fn bodies_that_may_be_missing() {
        let read = |body: &str| optional::<ConsumersRequest>(body.as_bytes(), true);
        for passed_over in ["", "x{", "5", " "] {
            assert_eq!(read(passed_over), Ok(ConsumersRequest::default()));
        }
        assert_eq!(read(" {\"offset\":5}").unwrap().offset, 5);
        for bad in ["[", "[1]", "{\"offse\":5}"] {
            assert_eq!(read(bad).unwrap_err().code, Code::InvalidJson, "{bad}");
        }
    }

    #[test]
    fn bodies_that_may_have_unknown_fields() {
        let request: UnpinRequest = loose(br#"{"group":"g","more":1}"#).unwrap();
        assert_eq!(request.group, "g");
        let error = loose::<UnpinRequest>(b"").unwrap_err();
        assert_eq!(
            error.description,
            "invalid JSON: unexpected end of JSON input"
        );
    }
}
