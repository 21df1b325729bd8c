//! Answers of the API as nats-server writes them: names, their order, and
//! what is left out. It does not know where the values come from.
//!
//! Every function appends to what it is given. Lists take streams and consumers that were written
//! before, because they come from several shards.

use std::collections::BTreeMap;

use crate::jetstream::config::{ConsumerConfig, External, StreamConfig, SubjectTransform};
use crate::store::{Seq, State, UnixNanos};

use super::configs::render_transforms;
use super::encode::{self, Object, array};
use super::errors::ApiError;
use super::scan::go_quoted;
use super::time::NEVER;

/// Most names in one answer.
pub const NAMES_MAX: usize = 1024;
/// Most streams or consumers in one answer.
pub const LIST_MAX: usize = 256;
/// Most subjects in one answer.
pub const SUBJECTS_MAX: usize = 100_000;

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    AccountInfo,
    StreamCreate,
    StreamUpdate,
    StreamInfo,
    StreamNames,
    StreamList,
    StreamDelete,
    StreamPurge,
    StreamSnapshot,
    StreamRestore,
    StreamRemovePeer,
    StreamEvacuatePeer,
    StreamCancelMove,
    StreamLeaderStepdown,
    MsgDelete,
    MsgGet,
    ConsumerCreate,
    ConsumerInfo,
    ConsumerNames,
    ConsumerList,
    ConsumerDelete,
    ConsumerPause,
    ConsumerUnpin,
    ConsumerReset,
    ConsumerLeaderStepdown,
    AccountPurge,
    System,
    SystemOverloaded,
}

impl Kind {
    /// The end of `type` in JSON.
    fn suffix(self) -> &'static str {
        match self {
            Kind::AccountInfo => "account_info_response",
            Kind::StreamCreate => "stream_create_response",
            Kind::StreamUpdate => "stream_update_response",
            Kind::StreamInfo => "stream_info_response",
            Kind::StreamNames => "stream_names_response",
            Kind::StreamList => "stream_list_response",
            Kind::StreamDelete => "stream_delete_response",
            Kind::StreamPurge => "stream_purge_response",
            Kind::StreamSnapshot => "stream_snapshot_response",
            Kind::StreamRestore => "stream_restore_response",
            Kind::StreamRemovePeer => "stream_remove_peer_response",
            Kind::StreamEvacuatePeer => "stream_evacuate_peer_response",
            Kind::StreamCancelMove => "stream_cancel_move_response",
            Kind::StreamLeaderStepdown => "stream_leader_stepdown_response",
            Kind::MsgDelete => "stream_msg_delete_response",
            Kind::MsgGet => "stream_msg_get_response",
            Kind::ConsumerCreate => "consumer_create_response",
            Kind::ConsumerInfo => "consumer_info_response",
            Kind::ConsumerNames => "consumer_names_response",
            Kind::ConsumerList => "consumer_list_response",
            Kind::ConsumerDelete => "consumer_delete_response",
            Kind::ConsumerPause => "consumer_pause_response",
            Kind::ConsumerUnpin => "consumer_unpin_response",
            Kind::ConsumerReset => "consumer_reset_response",
            Kind::ConsumerLeaderStepdown => "consumer_leader_stepdown_response",
            Kind::AccountPurge => "account_purge_response",
            Kind::System => "system_response",
            Kind::SystemOverloaded => "system_overloaded",
        }
    }

    fn begin(self, out: &mut Vec<u8>) -> Object<'_> {
        let mut object = Object::begin(out);
        let out = object.key("type");
        out.extend_from_slice(b"\"io.nats.jetstream.api.v1.");
        out.extend_from_slice(self.suffix().as_bytes());
        out.push(b'"');
        object
    }

    /// An error, with the fields that Go writes although they say nothing.
    pub fn error(self, out: &mut Vec<u8>, error: &ApiError) {
        let mut object = self.begin(out);
        error.render(object.key("error"));
        match self {
            Kind::StreamInfo => page(&mut object, Page::default()),
            Kind::StreamNames => {
                page(&mut object, Page::default());
                object.null("streams");
            }
            Kind::StreamList => {
                page(&mut object, Page::default());
                object.strings_or_null::<&str>("streams", Some(&[]));
            }
            Kind::ConsumerNames | Kind::ConsumerList => {
                page(&mut object, Page::default());
                object.strings_or_null::<&str>("consumers", Some(&[]));
            }
            Kind::StreamPurge => object.unsigned("purged", 0),
            Kind::StreamRestore => object.string("deliver_subject", ""),
            Kind::ConsumerPause => {
                object.boolean("paused", false);
                object.time("pause_until", NEVER);
            }
            Kind::ConsumerReset => object.unsigned("reset_seq", 0),
            _ => {}
        }
        object.end();
    }

    /// `"success":true`, for what has nothing else to say.
    pub fn success(self, out: &mut Vec<u8>) {
        let mut object = self.begin(out);
        object.boolean("success", true);
        object.end();
    }
}

/// The answer to the removal of all that an account has.
pub fn account_purged(out: &mut Vec<u8>) {
    let mut object = Kind::AccountPurge.begin(out);
    object.boolean("initiated", true);
    object.end();
}

/// Which part of a list an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// How many there are in all.
    pub total: usize,
    /// From which on.
    pub offset: usize,
    /// How many there may be in one answer.
    pub limit: usize,
}

impl Page {
    /// The part of `total` that begins at what was asked for, and its range.
    pub fn of(total: usize, offset: i64, limit: usize) -> (Self, std::ops::Range<usize>) {
        // nats-server takes an offset beyond the end for the end, and a negative one for none.
        let offset = usize::try_from(offset).unwrap_or(0).min(total);
        let page = Self {
            total,
            offset,
            limit,
        };
        (page, offset..total.min(offset.saturating_add(limit)))
    }
}

fn page(object: &mut Object<'_>, page: Page) {
    object.unsigned("total", page.total as u64);
    object.unsigned("offset", page.offset as u64);
    object.unsigned("limit", page.limit as u64);
}

/// The answer to a publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PubAck<'a> {
    /// Which stream took it.
    pub stream: &'a str,
    /// The message's sequence.
    pub seq: Seq,
    /// The stream's domain, or nothing.
    pub domain: &'a str,
    /// Whether the stream had it already.
    pub duplicate: bool,
    /// The counter's value, or nothing.
    pub value: &'a str,
    /// The batch's id, or nothing.
    pub batch: &'a str,
    /// How many messages the batch had.
    pub count: u64,
}

impl PubAck<'_> {
    /// `{"stream":"S","seq":1}`. Does not allocate if there is space. nats-server does not write
    /// these with its encoder: the domain comes before the sequence, and a space before `true`.
    pub fn render(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"stream\":");
        quoted(out, self.stream);
        if !self.domain.is_empty() {
            out.extend_from_slice(b",\"domain\":");
            quoted(out, self.domain);
        }
        out.extend_from_slice(b",\"seq\":");
        encode::unsigned(out, self.seq);
        if self.duplicate {
            out.extend_from_slice(b",\"duplicate\": true");
        }
        if !self.value.is_empty() {
            out.extend_from_slice(b",\"val\":");
            quoted(out, self.value);
        }
        if !self.batch.is_empty() {
            out.extend_from_slice(b",\"batch\":");
            quoted(out, self.batch);
            out.extend_from_slice(b",\"count\":");
            encode::unsigned(out, self.count);
        }
        out.push(b'}');
    }

    /// `{"error":{…},"stream":"S","seq":0}`: that it was not taken, and by which stream. Where none
    /// is known, Go leaves the stream and the sequence out.
    pub fn refuse(out: &mut Vec<u8>, error: &ApiError, stream: Option<&str>) {
        let mut object = Object::begin(out);
        error.render(object.key("error"));
        if let Some(stream) = stream {
            object.string("stream", stream);
            object.unsigned("seq", 0);
        }
        object.end();
    }
}

/// As Go's `%q`, which is not JSON's way for odd characters; names seldom have any.
fn quoted(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(go_quoted(text.as_bytes()).as_bytes());
    }
}

/// What a stream holds.
#[derive(Clone, Debug, Default)]
pub struct StreamState<'a> {
    /// What the store says.
    pub state: State,
    /// Messages of each subject, if they were asked for; sorted.
    pub subjects: &'a [(Vec<u8>, u64)],
    /// Sequences that are not there, if they were asked for.
    pub deleted: &'a [Seq],
    /// Sequences that were lost, and what they counted as.
    pub lost: Option<(&'a [Seq], u64)>,
    /// Consumers.
    pub consumers: usize,
}

impl StreamState<'_> {
    /// As nats-server writes it.
    pub fn render(&self, out: &mut Vec<u8>) {
        let state = &self.state;
        // A stream that never held anything begins at 0 in nats-server.
        let fresh = state.last_seq == 0 && state.first_seq == 1;
        let first_seq = if fresh { 0 } else { state.first_seq };
        let known = |time: UnixNanos| if time == 0 { NEVER } else { time };
        let mut object = Object::begin(out);
        object.unsigned("messages", state.messages);
        object.unsigned("bytes", state.bytes);
        object.unsigned("first_seq", first_seq);
        object.time("first_ts", known(state.first_time));
        object.unsigned("last_seq", state.last_seq);
        object.time("last_ts", known(state.last_time));
        object.unsigned_unless_zero("num_subjects", state.subjects);
        if !self.subjects.is_empty() {
            let out = object.key("subjects");
            out.push(b'{');
            for (i, (subject, messages)) in self.subjects.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                encode::text(out, subject);
                out.push(b':');
                encode::unsigned(out, *messages);
            }
            out.push(b'}');
        }
        object.unsigned_unless_zero("num_deleted", state.deleted);
        if !self.deleted.is_empty() {
            array(object.key("deleted"), self.deleted, |out, &seq| {
                encode::unsigned(out, seq);
            });
        }
        if let Some((messages, bytes)) = self.lost {
            let mut lost = Object::begin(object.key("lost"));
            array(lost.key("msgs"), messages, |out, &seq| {
                encode::unsigned(out, seq);
            });
            lost.unsigned("bytes", bytes);
            lost.end();
        }
        object.unsigned("consumer_count", self.consumers as u64);
        object.end();
    }
}

/// How a mirror or source is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceInfo<'a> {
    /// The other stream's name.
    pub name: &'a str,
    /// Where it is.
    pub external: Option<&'a External>,
    /// How many messages it is ahead.
    pub lag: u64,
    /// The last sequence that was taken from it; 0 for none.
    pub seq: Seq,
    /// Nanoseconds since it was last heard of, or -1 if it never was.
    pub active: i64,
    /// What is wrong.
    pub error: Option<ApiError>,
    /// Only these subjects.
    pub filter_subject: &'a str,
    /// What they become.
    pub subject_transforms: &'a [SubjectTransform],
}

impl SourceInfo<'_> {
    /// As it stands in its stream's info.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.string("name", self.name);
        if let Some(external) = self.external {
            external.render(object.key("external"));
        }
        object.unsigned("lag", self.lag);
        if self.seq > 0 {
            object.unsigned("seq", self.seq);
        }
        object.integer("active", self.active);
        if let Some(error) = &self.error {
            error.render(object.key("error"));
        }
        object.string_unless_empty("filter_subject", self.filter_subject);
        render_transforms(&mut object, self.subject_transforms);
        object.end();
    }
}

/// A stream that has the same subjects: a mirror, or what is mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alternate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its domain, or nothing.
    pub domain: &'a str,
    /// Its cluster.
    pub cluster: &'a str,
}

/// A stream and what it holds.
#[derive(Clone, Debug)]
pub struct StreamInfo<'a> {
    /// The stream. With what `versions::of_server` adds, but in lists.
    pub config: &'a StreamConfig,
    /// When it was made.
    pub created: UnixNanos,
    /// What it holds.
    pub state: StreamState<'a>,
    /// Its domain, or nothing.
    pub domain: &'a str,
    /// The server that leads it; nats-server says that only when asked for this stream alone.
    pub leader: Option<&'a str>,
    /// What it mirrors.
    pub mirror: Option<SourceInfo<'a>>,
    /// What it takes messages from.
    pub sources: Vec<SourceInfo<'a>>,
    /// Streams that could be asked instead.
    pub alternates: &'a [Alternate<'a>],
    /// When that was so.
    pub now: UnixNanos,
}

impl StreamInfo<'_> {
    /// As it stands in a list.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        self.fields(&mut object);
        object.end();
    }

    fn fields(&self, object: &mut Object<'_>) {
        self.config.render(object.key("config"));
        object.time("created", self.created);
        self.state.render(object.key("state"));
        object.string_unless_empty("domain", self.domain);
        leader(object, self.leader);
        if let Some(mirror) = &self.mirror {
            mirror.render(object.key("mirror"));
        }
        if !self.sources.is_empty() {
            array(object.key("sources"), &self.sources, |out, source| {
                source.render(out);
            });
        }
        if !self.alternates.is_empty() {
            array(object.key("alternates"), self.alternates, |out, one| {
                let mut object = Object::begin(out);
                object.string("name", one.name);
                object.string_unless_empty("domain", one.domain);
                object.string("cluster", one.cluster);
                object.end();
            });
        }
        object.time("ts", self.now);
    }

    /// The answer to its creation, without its domain and who leads it. nats-server says of an equal one that it
    /// created it, too.
    pub fn created(&self, out: &mut Vec<u8>) {
        let mut object = Kind::StreamCreate.begin(out);
        let brief = Self {
            domain: "",
            leader: None,
            ..self.clone()
        };
        brief.fields(&mut object);
        object.boolean("did_create", true);
        object.end();
    }

    /// The answer to the end of its restoring.
    pub fn restored(&self, out: &mut Vec<u8>) {
        let mut object = Kind::StreamCreate.begin(out);
        let brief = Self {
            domain: "",
            leader: None,
            ..self.clone()
        };
        brief.fields(&mut object);
        object.end();
    }

    /// The answer to its update.
    pub fn updated(&self, out: &mut Vec<u8>) {
        let mut object = Kind::StreamUpdate.begin(out);
        let brief = Self {
            leader: None,
            ..self.clone()
        };
        brief.fields(&mut object);
        object.end();
    }

    /// The answer to a question for it, with the part of its subjects that it shows.
    pub fn shown(&self, out: &mut Vec<u8>, subjects: Page) {
        let mut object = Kind::StreamInfo.begin(out);
        page(&mut object, subjects);
        self.fields(&mut object);
        object.end();
    }
}

/// A standalone server's cluster is its leader's name.
fn leader(object: &mut Object<'_>, leader: Option<&str>) {
    if let Some(leader) = leader {
        let mut cluster = Object::begin(object.key("cluster"));
        cluster.string_unless_empty("leader", leader);
        cluster.end();
    }
}

/// Streams' names, sorted. Where there are none, Go writes `null`.
pub fn stream_names<S: AsRef<str>>(out: &mut Vec<u8>, part: Page, names: &[S]) {
    let mut object = Kind::StreamNames.begin(out);
    page(&mut object, part);
    object.strings_or_null("streams", Some(names).filter(|names| !names.is_empty()));
    object.end();
}

/// Streams, each as [`StreamInfo::render`] wrote it.
pub fn stream_list<I: AsRef<[u8]>>(out: &mut Vec<u8>, part: Page, infos: &[I]) {
    let mut object = Kind::StreamList.begin(out);
    page(&mut object, part);
    array(object.key("streams"), infos, |out, info| {
        out.extend_from_slice(info.as_ref());
    });
    object.end();
}

/// How many messages a purge took away.
pub fn purged(out: &mut Vec<u8>, messages: u64) {
    let mut object = Kind::StreamPurge.begin(out);
    object.boolean("success", true);
    object.unsigned("purged", messages);
    object.end();
}

/// What a snapshot will be of; its chunks follow.
pub fn snapshot(out: &mut Vec<u8>, config: &StreamConfig, state: &StreamState<'_>) {
    let mut object = Kind::StreamSnapshot.begin(out);
    config.render(object.key("config"));
    state.render(object.key("state"));
    object.end();
}

/// Where the chunks of a restore are to be sent.
pub fn restore(out: &mut Vec<u8>, deliver_subject: &str) {
    let mut object = Kind::StreamRestore.begin(out);
    object.string("deliver_subject", deliver_subject);
    object.end();
}

/// A stored message.
pub fn message(out: &mut Vec<u8>, stored: &crate::store::Stored<'_>) {
    let mut object = Kind::MsgGet.begin(out);
    let mut inner = Object::begin(object.key("message"));
    encode::text(inner.key("subject"), stored.subject);
    inner.unsigned("seq", stored.seq);
    inner.base64_unless_empty("hdrs", stored.headers);
    inner.base64_unless_empty("data", stored.payload);
    inner.time("time", stored.time);
    inner.end();
    object.end();
}

/// How far a consumer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceInfo {
    /// Counted in its deliveries.
    pub consumer: u64,
    /// Counted in the stream.
    pub stream: Seq,
    /// When that last changed.
    pub last_active: Option<UnixNanos>,
}

impl SequenceInfo {
    fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.unsigned("consumer_seq", self.consumer);
        object.unsigned("stream_seq", self.stream);
        if let Some(time) = self.last_active {
            object.time("last_active", time);
        }
        object.end();
    }
}

/// Who is served in a priority group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityGroup<'a> {
    /// Its name.
    pub group: &'a str,
    /// Whose pin it is, or nothing.
    pub pinned_client_id: &'a str,
    /// Since when; `NEVER` for nobody.
    pub pinned_at: UnixNanos,
}

/// A consumer and how far it is.
#[derive(Clone, Debug)]
pub struct ConsumerInfo<'a> {
    /// Of which stream.
    pub stream: &'a str,
    /// Its name.
    pub name: &'a str,
    /// When it was made.
    pub created: UnixNanos,
    /// The consumer. With what `versions::of_server` adds, but in lists.
    pub config: &'a ConsumerConfig,
    /// What was delivered.
    pub delivered: SequenceInfo,
    /// Up to where everything is acknowledged.
    pub ack_floor: SequenceInfo,
    /// How many are not acknowledged.
    pub num_ack_pending: u64,
    /// How many of those were delivered more than once.
    pub num_redelivered: u64,
    /// How many pull requests wait.
    pub num_waiting: u64,
    /// How many messages wait.
    pub num_pending: u64,
    /// Whether somebody listens to its deliver subject.
    pub push_bound: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// For how long still, in nanoseconds.
    pub pause_remaining: i64,
    /// When that was so.
    pub now: UnixNanos,
    /// Its priority groups.
    pub priority_groups: Vec<PriorityGroup<'a>>,
}

impl ConsumerInfo<'_> {
    /// As it stands in a list.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        self.fields(&mut object);
        object.end();
    }

    /// The same, for monitoring that was not asked for configurations.
    pub fn render_without_config(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        self.names(&mut object);
        self.progress(&mut object);
        object.end();
    }

    fn fields(&self, object: &mut Object<'_>) {
        self.names(object);
        self.config.render(object.key("config"));
        self.progress(object);
    }

    fn names(&self, object: &mut Object<'_>) {
        object.string("stream_name", self.stream);
        object.string("name", self.name);
        object.time("created", self.created);
    }

    fn progress(&self, object: &mut Object<'_>) {
        self.delivered.render(object.key("delivered"));
        self.ack_floor.render(object.key("ack_floor"));
        object.unsigned("num_ack_pending", self.num_ack_pending);
        object.unsigned("num_redelivered", self.num_redelivered);
        object.unsigned("num_waiting", self.num_waiting);
        object.unsigned("num_pending", self.num_pending);
        object.boolean_if_true("push_bound", self.push_bound);
        object.boolean_if_true("paused", self.paused);
        object.integer_unless_zero("pause_remaining", self.pause_remaining);
        object.time("ts", self.now);
        if !self.priority_groups.is_empty() {
            array(
                object.key("priority_groups"),
                &self.priority_groups,
                |out, one| {
                    let mut object = Object::begin(out);
                    object.string("group", one.group);
                    object.string_unless_empty("pinned_client_id", one.pinned_client_id);
                    object.time("pinned_ts", one.pinned_at);
                    object.end();
                },
            );
        }
    }

    /// The answer to its creation or update.
    pub fn created(&self, out: &mut Vec<u8>) {
        self.answer(Kind::ConsumerCreate, out);
    }

    /// The answer to a question for it.
    pub fn shown(&self, out: &mut Vec<u8>) {
        self.answer(Kind::ConsumerInfo, out);
    }

    /// The answer to a reset, and where it begins again.
    pub fn reset(&self, out: &mut Vec<u8>, seq: Seq) {
        let mut object = Kind::ConsumerReset.begin(out);
        self.fields(&mut object);
        object.unsigned("reset_seq", seq);
        object.end();
    }

    fn answer(&self, kind: Kind, out: &mut Vec<u8>) {
        let mut object = kind.begin(out);
        self.fields(&mut object);
        object.end();
    }
}

/// Consumers' names, sorted.
pub fn consumer_names<S: AsRef<str>>(out: &mut Vec<u8>, part: Page, names: &[S]) {
    let mut object = Kind::ConsumerNames.begin(out);
    page(&mut object, part);
    object.strings_or_null("consumers", Some(names));
    object.end();
}

/// Consumers, each as [`ConsumerInfo::render`] wrote it.
pub fn consumer_list<I: AsRef<[u8]>>(out: &mut Vec<u8>, part: Page, infos: &[I]) {
    let mut object = Kind::ConsumerList.begin(out);
    page(&mut object, part);
    array(object.key("consumers"), infos, |out, info| {
        out.extend_from_slice(info.as_ref());
    });
    object.end();
}

/// Whether a consumer is paused now, until when, and how many nanoseconds that is.
pub fn paused(out: &mut Vec<u8>, paused: bool, until: UnixNanos, remaining: i64) {
    let mut object = Kind::ConsumerPause.begin(out);
    object.boolean("paused", paused);
    object.time("pause_until", until);
    object.integer_unless_zero("pause_remaining", remaining);
    object.end();
}

/// That nobody is pinned any more.
pub fn unpinned(out: &mut Vec<u8>) {
    Kind::ConsumerUnpin.begin(out).end();
}

/// What an account may have at most; -1 for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    pub max_memory: i64,
    pub max_storage: i64,
    pub max_streams: i64,
    pub max_consumers: i64,
    pub max_ack_pending: i64,
    pub memory_max_stream_bytes: i64,
    pub storage_max_stream_bytes: i64,
    pub max_bytes_required: bool,
}

impl AccountLimits {
    /// No limits.
    pub const NONE: Self = Self {
        max_memory: -1,
        max_storage: -1,
        max_streams: -1,
        max_consumers: -1,
        max_ack_pending: -1,
        memory_max_stream_bytes: -1,
        storage_max_stream_bytes: -1,
        max_bytes_required: false,
    };

    /// All zeros: what is shown for the sum of an account with tiers.
    pub const ZERO: Self = Self {
        max_memory: 0,
        max_storage: 0,
        max_streams: 0,
        max_consumers: 0,
        max_ack_pending: 0,
        memory_max_stream_bytes: 0,
        storage_max_stream_bytes: 0,
        max_bytes_required: false,
    };
}

/// What an account uses, in all or of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes on disk.
    pub storage: u64,
    /// Bytes in memory that streams may still fill: the sum of their `max_bytes`.
    pub reserved_memory: u64,
    /// Bytes on disk that streams may still fill.
    pub reserved_storage: u64,
    /// Streams.
    pub streams: u64,
    /// Consumers.
    pub consumers: u64,
    /// What it may have.
    pub limits: AccountLimits,
}

impl Usage {
    fn fields(&self, object: &mut Object<'_>) {
        object.unsigned("memory", self.memory);
        object.unsigned("storage", self.storage);
        object.unsigned("reserved_memory", self.reserved_memory);
        object.unsigned("reserved_storage", self.reserved_storage);
        object.unsigned("streams", self.streams);
        object.unsigned("consumers", self.consumers);
        let limits = &self.limits;
        let mut inner = Object::begin(object.key("limits"));
        inner.integer("max_memory", limits.max_memory);
        inner.integer("max_storage", limits.max_storage);
        inner.integer("max_streams", limits.max_streams);
        inner.integer("max_consumers", limits.max_consumers);
        inner.integer("max_ack_pending", limits.max_ack_pending);
        inner.integer("memory_max_stream_bytes", limits.memory_max_stream_bytes);
        inner.integer("storage_max_stream_bytes", limits.storage_max_stream_bytes);
        inner.boolean("max_bytes_required", limits.max_bytes_required);
        inner.end();
    }
}

/// What was asked of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiStats {
    /// Requests.
    pub total: u64,
    /// Of which were answered with errors.
    pub errors: u64,
    /// Of which are not answered yet.
    pub inflight: u64,
}

/// An account.
#[derive(Clone, Debug)]
pub struct AccountInfo<'a> {
    /// What it uses in all.
    pub usage: Usage,
    /// The server's domain, or nothing.
    pub domain: &'a str,
    /// What it asked of the API.
    pub api: ApiStats,
    /// What it uses of each tier, if it has tiers.
    pub tiers: BTreeMap<String, Usage>,
}

impl AccountInfo<'_> {
    /// The answer to a question for it.
    pub fn shown(&self, out: &mut Vec<u8>) {
        let mut object = Kind::AccountInfo.begin(out);
        self.usage.fields(&mut object);
        object.string_unless_empty("domain", self.domain);
        let mut api = Object::begin(object.key("api"));
        api.integer("level", super::versions::API_LEVEL);
        api.unsigned("total", self.api.total);
        api.unsigned("errors", self.api.errors);
        api.unsigned_unless_zero("inflight", self.api.inflight);
        api.end();
        if !self.tiers.is_empty() {
            let mut tiers = Object::begin(object.key("tiers"));
            for (name, usage) in &self.tiers {
                let mut tier = Object::begin(tiers.key(name));
                usage.fields(&mut tier);
                tier.end();
            }
            tiers.end();
        }
        object.end();
    }
}

#[cfg(test)]
mod tests;
