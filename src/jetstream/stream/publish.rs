//! What becomes of one message: it is looked at, stored or not, and answered.
//!
//! Looking ([`Stream::check`]) changes nothing, so that it can be done again after a read, and for a
//! whole batch before anything of it is stored ([`Stream::store`]).

use std::borrow::Cow;

use crate::jetstream::Outlet;
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::config::{Discard, Retention, Storage};
use crate::store::{
    Fetched, Messages, NewMessage, Refused, Selection, Seq, UnixNanos, counted_bytes, flags,
};

use super::batch::Staged;
use super::expiry::Progress;
use super::fast;
use super::headers::{self, Asked, TimeToLive};
use super::limits::limit;
use super::recovery::end_of_life;
use super::{Stream, World, last_of, storage_error, time_of_next};

/// Headers may not be longer.
const HEADERS_BYTES_MAX: usize = u16::MAX as usize;
/// nor records in files, as nats-server counts them.
const RECORD_BYTES_MAX: u64 = 32 << 20;

/// Where a message comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A client, or another stream's republishing.
    #[default]
    Client,
    /// A stream that this one sources.
    Source,
    /// The stream itself: a delete marker. Its subject is final.
    Own,
    /// The stream's own schedules.
    Schedule,
}

impl Origin {
    /// Whether it is stored as it is, without asking whether a client may say such a thing.
    pub(super) fn is_trusted(self) -> bool {
        self != Self::Client
    }
}

/// A message that arrives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival<'a> {
    pub subject: &'a [u8],
    /// Where the answer goes, or nothing.
    pub reply: &'a [u8],
    /// The whole header block, or nothing.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    pub origin: Origin,
}

/// A message that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming<'a> {
    /// As it will be stored.
    pub subject: &'a [u8],
    /// Without a status.
    pub block: &'a [u8],
    pub payload: &'a [u8],
    pub origin: Origin,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has this sequence.
    Stored(Seq),
    /// Nobody is interested: the sequence is given out, but not to a message that is kept.
    Unwanted(Seq),
    /// It is there already, with this sequence.
    Duplicate(Seq),
    /// It is part of a batch that goes on, or said something about one.
    Staged,
    /// It waits for a read; one of a source is to be brought again after it.
    Waits,
    /// It was refused, and its publisher told so.
    Refused(ApiError),
}

/// Why a message is not stored now.
#[derive(Debug)]
pub enum Stop {
    Refused(ApiError),
    Duplicate(Seq),
    /// Something has to be read first.
    Later,
}

impl From<Code> for Stop {
    fn from(code: Code) -> Self {
        Self::Refused(code.into())
    }
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

/// What goes when a message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollup {
    None,
    Subject,
    All,
}

/// A message that may be stored.
#[derive(Debug)]
pub struct Checked<'a> {
    pub subject: &'a [u8],
    pub headers: Cow<'a, [u8]>,
    pub payload: Cow<'a, [u8]>,
    pub msg_id: &'a [u8],
    pub rollup: Rollup,
    pub ttl: TimeToLive,
    /// When it fires, if it is a schedule.
    pub schedule: Option<UnixNanos>,
    /// The schedule that has produced it, and what becomes of that.
    pub scheduler: &'a [u8],
    pub schedule_next: &'a [u8],
    /// What its subject counts up to with it.
    pub counter: Option<String>,
    /// Whether somebody wants it, where that matters.
    pub is_wanted: bool,
}

/// What an acknowledgement says beside the sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said<'a> {
    pub counter: Option<&'a str>,
    /// Name of a batch that is stored with it, and how many messages that had.
    pub batch: Option<(&'a [u8], u64)>,
}

impl Stream {
    /// Takes a message that was published to one of the stream's subjects, and answers it. One of a source is not
    /// kept where it has to wait: whoever notes what was taken of the source has to know when it is stored.
    pub fn publish<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'_>,
    ) -> Outcome {
        if self.waiting.is_empty() {
            let outcome = self.arrive(world, arrival);
            if outcome != Outcome::Waits {
                return outcome;
            }
        }
        if arrival.origin == Origin::Source {
            return Outcome::Waits;
        }
        if self.waiting.bytes() > self.settings.waiting_bytes_max
            || self.waiting.len() >= self.settings.waiting_messages_max
        {
            let error = ApiError::from(Code::StreamTooManyRequests);
            self.refuse(world.outlet, arrival.reply, &error);
            return Outcome::Refused(error);
        }
        self.waiting.push(arrival);
        Outcome::Waits
    }

    /// Goes on with arrivals that have waited for a read.
    pub(super) fn resume_arrivals<M: Messages, O: Outlet>(&mut self, world: &mut World<'_, M, O>) {
        while let Some(arrival) = self.waiting.pop() {
            if self.arrive(world, &arrival.borrowed()) == Outcome::Waits {
                self.waiting.push_front(arrival);
                return;
            }
        }
    }

    /// Takes a message without asking whether others wait before it.
    pub(super) fn arrive<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'_>,
    ) -> Outcome {
        if self.recovery.blocks() && self.recover_more(world) == Progress::Blocked {
            return Outcome::Waits;
        }
        let block = headers::without_status(arrival.headers);
        let asked = if block.is_empty() {
            Asked::NOTHING
        } else {
            Asked::read(&block)
        };
        if arrival.reply.ends_with(fast::REPLY_END) && arrival.origin == Origin::Client {
            return self.publish_fast(world, arrival, &block, &asked);
        }
        if let Some(batch) = asked.batch_id.filter(|id| !id.is_empty())
            && arrival.origin == Origin::Client
        {
            return self.publish_in_batch(world, arrival, batch, &block, &asked);
        }
        self.publish_one(world, arrival, &block, &asked)
    }

    fn publish_one<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'_>,
        block: &[u8],
        asked: &Asked<'_>,
    ) -> Outcome {
        let mut transformed = std::mem::take(&mut self.transformed);
        let subject = self.transform(world, arrival, &mut transformed);
        let message = Incoming {
            subject,
            block,
            payload: arrival.payload,
            origin: arrival.origin,
        };
        let mut counter = None;
        let stored = self
            .check(world, &message, asked, None)
            .and_then(|mut checked| {
                let stored = self.store(world, &checked);
                counter = checked.counter.take();
                stored
            });
        transformed.clear();
        self.transformed = transformed;
        let said = Said {
            counter: counter.as_deref(),
            batch: None,
        };
        self.conclude(world.outlet, arrival.reply, stored, said)
    }

    /// Answers, and says what became of it.
    pub(super) fn conclude(
        &mut self,
        outlet: &mut impl Outlet,
        reply: &[u8],
        stored: Result<Outcome, Stop>,
        said: Said<'_>,
    ) -> Outcome {
        let outcome = match stored {
            Ok(outcome) => outcome,
            Err(Stop::Duplicate(seq)) => Outcome::Duplicate(seq),
            Err(Stop::Later) => return Outcome::Waits,
            Err(Stop::Refused(error)) => {
                self.refuse(outlet, reply, &error);
                return Outcome::Refused(error);
            }
        };
        self.acknowledge(outlet, reply, &outcome, said);
        outcome
    }

    /// The subject under which a message is stored.
    pub(super) fn transform<'a, M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'a>,
        to: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        match &self.transform {
            Some(transform) if arrival.origin != Origin::Own => {
                to.clear();
                if transform.apply(arrival.subject, world.outlet.random(), to) {
                    return to;
                }
                arrival.subject
            }
            _ => arrival.subject,
        }
    }

    fn acknowledge(
        &mut self,
        outlet: &mut impl Outlet,
        reply: &[u8],
        outcome: &Outcome,
        said: Said<'_>,
    ) {
        if reply.is_empty() || self.config.no_ack {
            return;
        }
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        match (outcome, said) {
            (
                Outcome::Stored(seq) | Outcome::Unwanted(seq),
                Said {
                    batch: Some((id, count)),
                    ..
                },
            ) => self.acks.batch(*seq, false, id, count, &mut answer),
            (
                Outcome::Stored(seq),
                Said {
                    counter: Some(value),
                    ..
                },
            ) => self.acks.counted(*seq, value, &mut answer),
            (Outcome::Stored(seq) | Outcome::Unwanted(seq), _) => {
                self.acks.stored(*seq, &mut answer);
            }
            (Outcome::Duplicate(seq), _) => self.acks.duplicate(*seq, &mut answer),
            (Outcome::Staged | Outcome::Waits | Outcome::Refused(_), _) => return,
        }
        self.answer(outlet, reply, &answer);
        self.answer = answer;
    }

    /// Whether a message may be stored, and as what. Nothing changes. `staged` are those before it
    /// in a batch that is stored as one.
    pub(super) fn check<'a, M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        message: &Incoming<'a>,
        asked: &Asked<'a>,
        mut staged: Option<&mut Staged>,
    ) -> Result<Checked<'a>, Stop> {
        if self.config.sealed {
            return Err(Code::StreamSealed.into());
        }
        let mut checked = Checked {
            subject: message.subject,
            headers: Cow::Borrowed(message.block),
            payload: Cow::Borrowed(message.payload),
            msg_id: asked.msg_id,
            rollup: Rollup::None,
            ttl: TimeToLive::Unset,
            schedule: None,
            scheduler: asked.scheduler,
            schedule_next: asked.schedule_next,
            counter: None,
            is_wanted: self.config.retention != Retention::Interest
                || (world.wanted)(message.subject),
        };
        if !message.block.is_empty() {
            self.check_headers(
                world,
                message.origin,
                asked,
                &mut checked,
                staged.as_deref(),
            )?;
        }
        if self.config.allow_msg_counter || !asked.increment.is_empty() {
            self.check_counter(
                world,
                message.origin,
                asked,
                &mut checked,
                staged.as_deref_mut(),
            )?;
        }
        self.check_size(world, &checked)?;
        if checked.is_wanted {
            let counted = self.counted(&checked);
            if counted > world.room.account_bytes {
                return Err(Code::AccountResourcesExceeded.into());
            }
            self.check_discard(world, &checked, asked, counted, staged.as_deref())?;
        }
        if let Some(staged) = staged {
            staged.add(&checked, self.counted(&checked));
        }
        Ok(checked)
    }

    fn check_headers<'a, M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        origin: Origin,
        asked: &Asked<'a>,
        checked: &mut Checked<'a>,
        staged: Option<&Staged>,
    ) -> Result<(), Stop> {
        let subject = checked.subject;
        if asked.client_info {
            let is_info = |key: &[u8]| key == headers::CLIENT_INFO.as_bytes();
            checked.headers = Cow::Owned(headers::without(&checked.headers, is_info));
        }
        // Said here, so that an increment that is none comes first, as in nats-server.
        self.check_increment(origin, asked, &checked.payload)?;
        if !asked.expected_stream.is_empty() && asked.expected_stream != self.config.name.as_bytes()
        {
            return Err(Code::StreamNotMatch.into());
        }
        let ttl = TimeToLive::read(asked.ttl);
        let says_ttl = ttl.is_some_and(|ttl| ttl != TimeToLive::Unset);
        if says_ttl && !origin.is_trusted() && !self.config.allow_msg_ttl {
            return Err(Code::MessageTtlDisabled.into());
        }
        check_expected(world.messages, subject, asked, staged)?;
        checked.schedule = self.check_schedule(world, origin, subject, asked)?;
        let mut rollup = asked.rollup;
        if !origin.is_trusted() {
            if checked.schedule.is_some() && rollup.is_empty() {
                rollup = headers::ROLLUP_SUBJECT;
                headers::push(checked.headers.to_mut(), headers::ROLLUP, rollup);
            }
            let staged = staged.and_then(|staged| staged.is_schedule(asked.scheduler));
            self.check_scheduler(world, subject, asked, staged)?;
            if !asked.stream_source.is_empty() {
                return Err(Code::MessageSourceHdrNotAllowed.into());
            }
        }
        if !asked.msg_id.is_empty() && self.config.mirror.is_none() {
            if staged.is_some_and(|staged| staged.has_id(asked.msg_id)) {
                return Err(Code::AtomicPublishContainsDuplicateMessage.into());
            }
            let now = time_of_next(world.messages, world.now.unix);
            if let Some(seq) = self.duplicates.find(asked.msg_id, now) {
                return Err(Stop::Duplicate(seq));
            }
        }
        if !asked.expected_msg_id.is_empty() && asked.expected_msg_id != self.last_msg_id {
            let last = String::from_utf8_lossy(&self.last_msg_id);
            return Err(Code::StreamWrongLastMsgId.with(&[&last]).into());
        }
        checked.rollup = self.check_rollup(origin, rollup)?;
        let conflict = staged.and_then(|staged| staged.conflict(checked));
        if let Some(conflict) = conflict {
            return Err(Code::StreamRollupFailed.with(&[conflict]).into());
        }
        checked.ttl = ttl.ok_or(Code::MessageTtlInvalid)?;
        self.lengthen_ttl(checked);
        Ok(())
    }

    fn check_counter<'a, M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        origin: Origin,
        asked: &Asked<'a>,
        checked: &mut Checked<'a>,
        staged: Option<&mut Staged>,
    ) -> Result<(), Stop> {
        if !self.config.allow_msg_counter {
            return Ok(());
        }
        let Some(increment) = self.check_increment(origin, asked, &checked.payload)? else {
            // What the server says about a subject is no counting.
            if origin == Origin::Own {
                return Ok(());
            }
            return Err(Code::MessageIncrMissing.into());
        };
        let before = staged
            .as_ref()
            .and_then(|staged| staged.total(checked.subject));
        let total = self.count(world, increment, asked, checked, before)?;
        if let Some(staged) = staged {
            staged.set_total(checked.subject, total);
        }
        Ok(())
    }

    fn check_rollup(&self, origin: Origin, rollup: &[u8]) -> Result<Rollup, Stop> {
        if rollup.is_empty() {
            return Ok(Rollup::None);
        }
        let allowed = self.config.allow_rollup_hdrs && !self.config.deny_purge;
        if !allowed && !origin.is_trusted() {
            return Err(Code::StreamRollupFailed
                .with(&["rollup not permitted"])
                .into());
        }
        let rollup = rollup.to_ascii_lowercase();
        match rollup.as_slice() {
            _ if !allowed => Ok(Rollup::None),
            headers::ROLLUP_SUBJECT => Ok(Rollup::Subject),
            headers::ROLLUP_ALL => Ok(Rollup::All),
            other => {
                let text = format!("rollup value invalid: {:?}", String::from_utf8_lossy(other));
                Err(Code::StreamRollupFailed.with(&[&text]).into())
            }
        }
    }

    /// A message must not go before a marker that is there of its subject would have: else
    /// nothing would say any more that the subject was deleted.
    fn lengthen_ttl(&self, checked: &mut Checked<'_>) {
        let marker_seconds =
            u64::try_from(self.config.subject_delete_marker_ttl / 1_000_000_000).unwrap_or(0);
        if let TimeToLive::Seconds(seconds) = checked.ttl
            && seconds < marker_seconds
            && self.config.max_msgs_per_subject != 1
        {
            checked.ttl = TimeToLive::Seconds(marker_seconds);
            let is_ttl = |key: &[u8]| key == headers::TTL.as_bytes();
            let mut block = headers::without(&checked.headers, is_ttl);
            headers::push(
                &mut block,
                headers::TTL,
                marker_seconds.to_string().as_bytes(),
            );
            checked.headers = Cow::Owned(block);
        }
    }

    fn check_size<M: Messages, O: Outlet>(
        &self,
        world: &World<'_, M, O>,
        checked: &Checked<'_>,
    ) -> Result<(), Stop> {
        let bytes = checked.headers.len() + checked.payload.len();
        if usize::try_from(self.config.max_msg_size).is_ok_and(|max| bytes > max) {
            return Err(Code::StreamMessageExceedsMaximum.into());
        }
        if checked.headers.len() > HEADERS_BYTES_MAX {
            return Err(Code::StreamHeaderExceedsMaximum.into());
        }
        let counted = self.counted(checked);
        if self.is_file() && counted > RECORD_BYTES_MAX {
            return Err(Code::StreamStoreFailed.with(&["message too large"]).into());
        }
        if world.room.server_bytes < 0 {
            return Err(Code::InsufficientResources.into());
        }
        Ok(())
    }

    pub(super) fn counted(&self, checked: &Checked<'_>) -> u64 {
        counted_bytes(
            checked.subject.len(),
            checked.headers.len(),
            checked.payload.len(),
            self.config.storage == Storage::File,
        )
    }

    /// Stores a message that was checked, and does what it entails.
    pub(super) fn store<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        checked: &Checked<'_>,
    ) -> Result<Outcome, Stop> {
        let subject = checked.subject;
        let time = time_of_next(world.messages, world.now.unix);
        if !checked.is_wanted {
            let seq = world.messages.state().last_seq.saturating_add(1);
            if seq == Seq::MAX {
                return Err(storage_error(Refused::TooLarge).into());
            }
            world.messages.skip_to(seq, time).map_err(storage_error)?;
            self.remember_id(checked.msg_id, seq, time);
            self.roll_up(world, checked, 0);
            return Ok(Outcome::Unwanted(seq));
        }
        let again = self.begin_republish(world, subject);
        let message = NewMessage {
            subject,
            headers: &checked.headers,
            payload: &checked.payload,
            time,
            flags: checked.flags(),
        };
        let seq = world.messages.append(&message).map_err(storage_error)?;
        let counted = self.counted(checked);
        let room = &mut world.room;
        room.account_bytes = room.account_bytes.saturating_sub(counted);
        room.server_bytes = room.server_bytes.saturating_sub_unsigned(counted);
        self.enforce(world, subject);
        self.remember_id(checked.msg_id, seq, time);
        self.note_schedule(seq, checked);
        if let TimeToLive::Seconds(seconds) = checked.ttl
            && self.config.allow_msg_ttl
        {
            self.expiry
                .add(end_of_life(time, seconds), seq, world.messages);
        }
        self.roll_up(world, checked, 1);
        if let Some(again) = again {
            self.finish_republish(world, &again, checked, seq, time);
        }
        Ok(Outcome::Stored(seq))
    }

    fn remember_id(&mut self, id: &[u8], seq: Seq, time: i64) {
        self.last_msg_id.clear();
        if !id.is_empty() {
            self.last_msg_id.extend_from_slice(id);
            self.duplicates.insert(id, seq, time);
        }
    }

    fn roll_up<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        checked: &Checked<'_>,
        keep: u64,
    ) {
        match checked.rollup {
            Rollup::None => {}
            Rollup::Subject => self.remove_all(world, Selection::of(&[checked.subject]), keep),
            Rollup::All => self.remove_all(world, Selection::everything(), keep),
        }
        // A schedule that has fired for the last time.
        if checked.schedule_next == headers::SCHEDULE_PURGE
            && !checked.scheduler.is_empty()
            && self.config.allow_msg_schedules
        {
            self.schedules.remove(checked.scheduler);
            self.remove_all(world, Selection::of(&[checked.scheduler]), 0);
        }
    }

    fn remove_all<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        mut selection: Selection,
        keep: u64,
    ) {
        let below = world.messages.state().last_seq + 1;
        if world.messages.purge(&mut selection, below, keep) > 0 {
            self.removed.several();
        }
    }

    /// Whether a stream that discards what is new takes this one.
    fn check_discard<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        checked: &Checked<'_>,
        asked: &Asked<'_>,
        counted: u64,
        staged: Option<&Staged>,
    ) -> Result<(), Stop> {
        if self.config.discard != Discard::New {
            return Ok(());
        }
        let failed = |text: &str| Err(Code::StreamStoreFailed.with(&[text]).into());
        let state = *world.messages.state();
        let (mut messages, mut bytes) = (state.messages, state.bytes);
        let of_subject = world.messages.subject(checked.subject).unwrap_or_default();
        let mut messages_of_subject = of_subject.messages;
        if let Some(staged) = staged {
            messages += staged.messages;
            bytes += staged.bytes;
            messages_of_subject += staged.messages_of(checked.subject);
        }
        // One message of the subject will go, and make room; but not for a batch.
        let mut replaced = None;
        if limit(self.config.max_msgs_per_subject).is_some_and(|max| messages_of_subject >= max) {
            if self.config.discard_new_per_subject && asked.rollup.is_empty() {
                return failed("maximum messages per subject exceeded");
            }
            replaced = Some(of_subject.first).filter(|_| staged.is_none());
        }
        if limit(self.config.max_msgs).is_some_and(|max| messages >= max) && replaced.is_none() {
            return failed("maximum messages exceeded");
        }
        if limit(self.config.max_bytes).is_some_and(|max| bytes + counted > max) {
            let Some(first) = replaced else {
                return failed("maximum bytes exceeded");
            };
            let freed = match world.messages.get(first) {
                Fetched::Here(message) => counted_bytes(
                    message.subject.len(),
                    message.headers.len(),
                    message.payload.len(),
                    self.config.storage == Storage::File,
                ),
                Fetched::Later => return Err(Stop::Later),
                Fetched::Gone | Fetched::Damaged => 0,
            };
            if freed < counted {
                return failed("maximum bytes exceeded");
            }
        }
        Ok(())
    }
}

impl Checked<'_> {
    /// What the index is to remember.
    fn flags(&self) -> u8 {
        let mut flags = 0;
        if !self.msg_id.is_empty() {
            flags |= flags::MSG_ID;
        }
        if self.ttl != TimeToLive::Unset {
            flags |= flags::TTL;
        }
        if self.schedule.is_some() {
            flags |= flags::SCHEDULE;
        }
        flags
    }
}

/// Whether what a publisher expects of the stream's and a subject's last message is so.
fn check_expected(
    messages: &impl Messages,
    subject: &[u8],
    asked: &Asked<'_>,
    staged: Option<&Staged>,
) -> Result<(), Stop> {
    let wrong = |seq: Seq| {
        Err(Code::StreamWrongLastSequence
            .with(&[&seq.to_string()])
            .into())
    };
    if let Some(expected) = asked.expected_subject_last {
        let pattern = if asked.expected_subject.is_empty() {
            subject
        } else {
            asked.expected_subject
        };
        if staged.is_some_and(|staged| staged.messages_of(pattern) > 0) {
            return Err(Code::StreamWrongLastSequenceConstant.into());
        }
        let last = last_of(messages, pattern).unwrap_or(0);
        if last != expected {
            return wrong(last);
        }
    } else if !asked.expected_subject.is_empty() {
        return Err(Code::StreamExpectedLastSeqPerSubjectInvalid.into());
    }
    if let Some(expected) = asked.expected_last {
        let staged = staged.map_or(0, |staged| staged.messages);
        let last = messages.state().last_seq + staged;
        if expected != last {
            return wrong(last);
        }
        if staged > 0 {
            return Err(Code::StreamWrongLastSequenceConstant.into());
        }
    }
    Ok(())
}
