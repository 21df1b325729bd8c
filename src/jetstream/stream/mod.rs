//! One stream's rules: what becomes of a message that is published to it, of requests to read or
//! to remove messages, and what time does to it.
//!
//! A stream owns neither its messages nor its consumers: for each call it is handed a [`World`]
//! with the messages, a way out, and the moment. Where something has to be read that is not in
//! memory, the arrival waits, and those behind it too, until [`Stream::resume`] is called: the order
//! of arrivals is the order of sequences.
//!
//! A plain publish costs the store's append and an acknowledgement formatted into a buffer that is
//! kept: no allocation, no other look-up. What a feature costs is paid where it is on.

mod acks;
mod batch;
mod clock;
mod counter;
mod cron;
mod duplicates;
mod expiry;
mod fast;
pub(super) mod headers;
mod limits;
mod publish;
mod reads;
mod recovery;
mod republish;
mod requests;
mod schedule;
mod waiting;

use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::config::{PersistMode, Storage, StreamConfig};
use crate::jetstream::{Now, Outgoing, Outlet};
use crate::store::{Messages, Refused, Selection, Seq, UnixNanos};
use crate::subject::{self, Transform};

use acks::Acks;
use batch::AtomicBatches;
use clock::Clock;
use duplicates::Duplicates;
use expiry::Expiry;
use fast::FastBatches;
use reads::Reads;
use recovery::Recovery;
use schedule::Schedules;
use waiting::Waiting;

pub use publish::{Arrival, Origin, Outcome};
pub use requests::Details;

/// What a stream works with besides itself, for the time of one call.
pub struct World<'a, M: Messages, O: Outlet> {
    /// The stream's messages.
    pub messages: &'a mut M,
    /// The way out.
    pub outlet: &'a mut O,
    /// Whether a consumer wants messages of a subject; asked by streams of interest retention.
    pub wanted: &'a dyn Fn(&[u8]) -> bool,
    /// What may still be stored.
    pub room: Room,
    /// The moment.
    pub now: Now,
}

/// What limits beyond the stream's own still allow. Counted down while a call stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the account may still store, in the stream's kind of storage.
    pub account_bytes: u64,
    /// Bytes that the server may; below 0 where there is more than that already. A message is refused
    /// only then, as by nats-server: the one that goes beyond the limit is the last.
    pub server_bytes: i64,
    /// Atomic batches that the stream may have: as many as the others of the server leave.
    pub atomic_batches: usize,
    /// Fast batches that it may.
    pub fast_batches: usize,
}

impl Room {
    /// No limits.
    pub const UNLIMITED: Self = Self {
        account_bytes: u64::MAX,
        server_bytes: i64::MAX,
        atomic_batches: usize::MAX,
        fast_batches: usize::MAX,
    };
}

/// What a server sets for all its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The JetStream domain; may be empty.
    pub domain: String,
    /// What the largest message may have: headers and payload.
    pub max_payload: usize,
    /// Whether acknowledgements of files wait for the disk (`sync_interval: always`).
    pub waits_for_disk: bool,
    /// Messages of an atomic batch.
    pub batch_messages_max: u64,
    /// Atomic batches of a stream at once.
    pub atomic_batches_max: usize,
    /// Fast batches of a stream at once.
    pub fast_batches_max: usize,
    /// After so long without a message a batch is given up.
    pub batch_timeout_ms: u64,
    /// Bytes of messages that a stream's atomic batches may hold before they are committed.
    pub batch_bytes_max: usize,
    /// Message ids that a stream remembers.
    pub duplicates_max: usize,
    /// Bytes of arrivals and requests that may wait for a read of a stream.
    pub waiting_bytes_max: usize,
    /// Arrivals that may.
    pub waiting_messages_max: usize,
    /// Bytes of one answer to a direct get of many that does not say how many.
    pub direct_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domain: String::new(),
            max_payload: 1 << 20,
            waits_for_disk: true,
            batch_messages_max: 1000,
            atomic_batches_max: 50,
            fast_batches_max: 1000,
            batch_timeout_ms: 10_000,
            batch_bytes_max: 256 << 20,
            duplicates_max: 1 << 24,
            waiting_bytes_max: 128 << 20,
            waiting_messages_max: 100_000,
            direct_bytes_max: 64 << 20,
        }
    }
}

/// What has left a stream since it was asked last. Consumers of it have to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// One by one, in the order in which they went, with the lengths of their subjects.
    single: Vec<(Seq, usize)>,
    subjects: Vec<u8>,
    /// More than are worth naming have: whoever needs to know looks at what is left.
    pub many: bool,
}

impl Removed {
    /// More of them than this are [`Removed::many`].
    const SINGLE_MAX: usize = 1024;

    fn one(&mut self, seq: Seq, subject: &[u8]) {
        if self.many {
            return;
        }
        if self.single.len() >= Self::SINGLE_MAX {
            self.several();
        } else {
            self.single.push((seq, subject.len()));
            self.subjects.extend_from_slice(subject);
        }
    }

    fn several(&mut self) {
        self.single.clear();
        self.subjects.clear();
        self.many = true;
    }

    /// Whether nothing has.
    pub fn is_empty(&self) -> bool {
        self.single.is_empty() && !self.many
    }

    /// Those that are named, with their subjects.
    pub fn single(&self) -> impl Iterator<Item = (Seq, &[u8])> {
        let mut rest = self.subjects.as_slice();
        self.single.iter().map(move |&(seq, len)| {
            let (subject, behind) = rest.split_at(len);
            rest = behind;
            (seq, subject)
        })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Stream {
    config: StreamConfig,
    settings: Settings,
    acks: Acks,
    transform: Option<Transform>,
    republish: Option<Transform>,
    duplicates: Duplicates,
    /// `Nats-Msg-Id` of the last message, or nothing.
    last_msg_id: Vec<u8>,
    waiting: Waiting,
    reads: Reads,
    recovery: Recovery,
    expiry: Expiry,
    schedules: Schedules,
    atomic: AtomicBatches,
    fast: FastBatches,
    clock: Clock,
    removed: Removed,
    /// Whether somebody wants to know which messages are removed.
    tells_removed: bool,
    /// A limit was made narrower and there is still too much.
    is_over_limits: bool,
    /// Kept from call to call, so that they are not allocated anew.
    answer: Vec<u8>,
    transformed: Vec<u8>,
}

impl Stream {
    /// Makes a stream. The configuration has been checked.
    ///
    /// # Errors
    /// When a transform in it is none after all, or the storage does not take its first sequence.
    pub fn create(
        config: StreamConfig,
        settings: Settings,
        messages: &mut impl Messages,
    ) -> Result<Self, ApiError> {
        if config.first_seq > 1 {
            let last = config.first_seq - 1;
            // Nothing was stored at any time.
            messages.skip_to(last, 0).map_err(storage_error)?;
        }
        Self::new(config, settings, Recovery::default())
    }

    /// Makes a stream that was there before the server was started, from what it has stored and
    /// from the facts with number 0.
    ///
    /// # Errors
    /// When a transform in its configuration is none after all.
    pub fn recover<'f>(
        config: StreamConfig,
        settings: Settings,
        facts: impl IntoIterator<Item = &'f [u8]>,
        messages: &mut impl Messages,
        now: Now,
    ) -> Result<Self, ApiError> {
        let begin = now.unix.saturating_sub(config.duplicate_window);
        let mut stream = Self::new(config, settings, Recovery::default())?;
        stream.recover_batch(messages, facts);
        // What a mirror has is not looked at for ids: those of its messages are another stream's.
        stream.recovery = Recovery::new(messages, begin, stream.config.mirror.is_none());
        stream.is_over_limits = true;
        stream.hurry();
        Ok(stream)
    }

    fn new(config: StreamConfig, settings: Settings, recovery: Recovery) -> Result<Self, ApiError> {
        let (transform, republish) = transforms(&config)?;
        Ok(Self {
            acks: Acks::new(&config.name, &settings.domain),
            duplicates: Duplicates::new(config.duplicate_window, settings.duplicates_max),
            transform,
            republish,
            last_msg_id: Vec::new(),
            waiting: Waiting::default(),
            reads: Reads::default(),
            recovery,
            expiry: Expiry::default(),
            schedules: Schedules::default(),
            atomic: AtomicBatches::default(),
            fast: FastBatches::default(),
            clock: Clock::default(),
            removed: Removed::default(),
            tells_removed: true,
            is_over_limits: false,
            answer: Vec::new(),
            transformed: Vec::new(),
            config,
            settings,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Atomic and fast batches that have begun and not ended.
    pub fn batches(&self) -> (usize, usize) {
        (self.atomic.len(), self.fast.len())
    }

    /// Whether somebody wants to know which messages are removed one by one.
    pub fn tell_removed(&mut self, tells: bool) {
        self.tells_removed = tells;
    }

    /// Takes what has left since the last time.
    pub fn take_removed(&mut self) -> Removed {
        std::mem::take(&mut self.removed)
    }

    /// Whether acknowledgements wait until what they speak of is on the disk.
    fn waits_for_disk(&self) -> bool {
        self.settings.waits_for_disk
            && self.config.storage == Storage::File
            && self.config.persist_mode == PersistMode::Default
    }

    fn is_file(&self) -> bool {
        self.config.storage == Storage::File
    }

    /// Sends an answer to a publish, when it is true.
    fn answer(&self, outlet: &mut impl Outlet, reply: &[u8], payload: &[u8]) {
        let message = Outgoing {
            to: reply,
            subject: reply,
            payload,
            ..Outgoing::default()
        };
        if self.waits_for_disk() {
            outlet.publish_durable(&message);
        } else {
            outlet.publish(&message);
        }
    }

    /// Sends a refusal. It hangs on nothing, but must not overtake acknowledgements before it.
    fn refuse(&mut self, outlet: &mut impl Outlet, reply: &[u8], error: &ApiError) {
        if reply.is_empty() || self.config.no_ack {
            return;
        }
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        self.acks.refused(error, &mut answer);
        self.answer(outlet, reply, &answer);
        self.answer = answer;
    }
}

/// The transforms of a configuration: of what arrives, and of what is published again.
fn transforms(config: &StreamConfig) -> Result<(Option<Transform>, Option<Transform>), ApiError> {
    let invalid =
        |error: subject::TransformError| Code::StreamInvalidConfig.with(&[&error.to_string()]);
    let make = |source: &str, destination: &str| {
        // Nothing is everything, on both sides.
        let or_all = |text: &'_ str| {
            if text.is_empty() {
                ">".to_owned()
            } else {
                text.to_owned()
            }
        };
        Transform::new(&or_all(source), &or_all(destination)).map_err(invalid)
    };
    let arriving = config.subject_transform.as_ref();
    let again = config.republish.as_ref();
    Ok((
        arriving
            .map(|t| make(&t.source, &t.destination))
            .transpose()?,
        again.map(|r| make(&r.source, &r.destination)).transpose()?,
    ))
}

/// Whether a stream can have this configuration as far as its transforms go.
///
/// # Errors
/// One of them is none after all.
pub fn check_transforms(config: &StreamConfig) -> Result<(), ApiError> {
    transforms(config).map(drop)
}

/// What an API error says of a refusal of the storage.
pub fn storage_error(refused: Refused) -> ApiError {
    match refused {
        Refused::Full => Code::StorageResourcesExceeded.into(),
        Refused::Poisoned => Code::InsufficientResources.into(),
        Refused::TooLarge => Code::StreamStoreFailed.with(&["message too large"]),
    }
}

/// The time of a message that is stored now: not before the one before.
fn time_of_next(messages: &impl Messages, now: UnixNanos) -> UnixNanos {
    now.max(messages.state().last_time)
}

/// The last message that a subject or a pattern has.
fn last_of(messages: &impl Messages, pattern: &[u8]) -> Option<Seq> {
    if subject::is_literal(pattern) {
        return messages.subject(pattern).map(|state| state.last);
    }
    messages.last(&mut Selection::of(&[pattern]), Seq::MAX)
}

#[cfg(test)]
mod tests;
