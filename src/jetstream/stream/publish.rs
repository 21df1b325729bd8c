//! What becomes of one message: it is looked at, stored or not, and answered.
//!
//! Looking ([`Stream::check`]) changes nothing, so that it can be done again after a read, and for a
//! whole batch before anything of it is stored ([`Stream::store`]).

use std::borrow::Cow;

use crate::jetstream::Outlet;
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::config::{Discard, Retention, Storage};
use crate::store::{Fetched, Messages, NewMessage, Selection, Seq, counted_bytes, flags};
use crate::subject;

use super::headers::{self, Asked, TimeToLive};
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
    fn is_trusted(self) -> bool {
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
    /// It waits for a read.
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
    /// Whether it says [`headers::ROLLUP`] at all.
    pub says_rollup: bool,
}

impl Stream {
    /// Takes a message that was published to one of the stream's subjects, and answers it.
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
        if self.waiting.bytes() > self.settings.waiting_bytes_max {
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

    fn arrive<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'_>,
    ) -> Outcome {
        let block = headers::without_status(arrival.headers);
        let asked = if block.is_empty() {
            Asked::NOTHING
        } else {
            Asked::read(&block)
        };
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
        let checked = self.check(
            world,
            arrival.origin,
            subject,
            block,
            arrival.payload,
            asked,
        );
        let outcome = match checked.and_then(|checked| self.store(world, &checked)) {
            Ok(outcome) => {
                self.acknowledge(world.outlet, arrival.reply, &outcome);
                outcome
            }
            Err(Stop::Duplicate(seq)) => {
                let outcome = Outcome::Duplicate(seq);
                self.acknowledge(world.outlet, arrival.reply, &outcome);
                outcome
            }
            Err(Stop::Later) => Outcome::Waits,
            Err(Stop::Refused(error)) => {
                self.refuse(world.outlet, arrival.reply, &error);
                Outcome::Refused(error)
            }
        };
        transformed.clear();
        self.transformed = transformed;
        outcome
    }

    /// The subject under which a message is stored.
    fn transform<'a, M: Messages, O: Outlet>(
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

    fn acknowledge(&mut self, outlet: &mut impl Outlet, reply: &[u8], outcome: &Outcome) {
        if reply.is_empty() || self.config.no_ack {
            return;
        }
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        match outcome {
            Outcome::Stored(seq) | Outcome::Unwanted(seq) => self.acks.stored(*seq, &mut answer),
            Outcome::Duplicate(seq) => self.acks.duplicate(*seq, &mut answer),
            Outcome::Staged | Outcome::Waits | Outcome::Refused(_) => return,
        }
        self.answer(outlet, reply, &answer);
        self.answer = answer;
    }

    /// Whether a message may be stored, and as what.
    pub(super) fn check<'a, M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        origin: Origin,
        subject: &'a [u8],
        block: &'a [u8],
        payload: &'a [u8],
        asked: &Asked<'a>,
    ) -> Result<Checked<'a>, Stop> {
        if self.config.sealed {
            return Err(Code::StreamSealed.into());
        }
        let mut checked = Checked {
            subject,
            headers: Cow::Borrowed(block),
            payload: Cow::Borrowed(payload),
            msg_id: asked.msg_id,
            rollup: Rollup::None,
            ttl: TimeToLive::Unset,
            says_rollup: !asked.rollup.is_empty(),
        };
        if !block.is_empty() {
            self.check_headers(world, origin, asked, &mut checked)?;
        }
        self.check_size(world, &checked)?;
        Ok(checked)
    }

    fn check_headers<'a, M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        origin: Origin,
        asked: &Asked<'a>,
        checked: &mut Checked<'a>,
    ) -> Result<(), Stop> {
        let subject = checked.subject;
        if asked.client_info {
            let kept = headers::without(&checked.headers, |key| {
                key == headers::CLIENT_INFO.as_bytes()
            });
            checked.headers = Cow::Owned(kept);
        }
        if !asked.expected_stream.is_empty() && asked.expected_stream != self.config.name.as_bytes()
        {
            return Err(Code::StreamNotMatch.into());
        }
        let ttl = TimeToLive::read(asked.ttl);
        let says_ttl = ttl.is_some_and(|ttl| ttl != TimeToLive::Unset);
        if says_ttl && !origin.is_trusted() && !self.config.allow_msg_ttl {
            return Err(Code::MessageTtlDisabled.into());
        }
        check_expected(world.messages, subject, asked)?;
        if !origin.is_trusted() && !asked.stream_source.is_empty() {
            return Err(Code::MessageSourceHdrNotAllowed.into());
        }
        if !asked.msg_id.is_empty() && self.config.mirror.is_none() {
            let now = time_of_next(world.messages, world.now.unix);
            if let Some(seq) = self.duplicates.find(asked.msg_id, now) {
                return Err(Stop::Duplicate(seq));
            }
        }
        if !asked.expected_msg_id.is_empty() && asked.expected_msg_id != self.last_msg_id {
            let last = String::from_utf8_lossy(&self.last_msg_id);
            return Err(Code::StreamWrongLastMsgId.with(&[&last]).into());
        }
        checked.rollup = self.check_rollup(origin, asked.rollup)?;
        checked.ttl = ttl.ok_or(Code::MessageTtlInvalid)?;
        self.lengthen_ttl(checked);
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
        if counted > world.room.server_bytes {
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
        if self.config.retention == Retention::Interest && !(world.wanted)(subject) {
            let seq = world.messages.state().last_seq + 1;
            world.messages.skip_to(seq, time).map_err(storage_error)?;
            self.remember_id(checked.msg_id, seq, time);
            self.roll_up(world, checked, 0);
            return Ok(Outcome::Unwanted(seq));
        }
        let counted = self.counted(checked);
        if counted > world.room.account_bytes {
            return Err(Code::AccountResourcesExceeded.into());
        }
        self.check_discard(world, checked, counted)?;
        let again = self.begin_republish(world, subject);
        let mut flags = 0;
        if !checked.msg_id.is_empty() {
            flags |= flags::MSG_ID;
        }
        if checked.ttl != TimeToLive::Unset {
            flags |= flags::TTL;
        }
        let seq = world
            .messages
            .append(&NewMessage {
                subject,
                headers: &checked.headers,
                payload: &checked.payload,
                time,
                flags,
            })
            .map_err(storage_error)?;
        world.room.account_bytes -= counted;
        world.room.server_bytes = world.room.server_bytes.saturating_sub(counted);
        self.enforce(world, subject);
        self.remember_id(checked.msg_id, seq, time);
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
        let mut selection = match checked.rollup {
            Rollup::None => return,
            Rollup::Subject => Selection::of(&[checked.subject]),
            Rollup::All => Selection::everything(),
        };
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
        counted: u64,
    ) -> Result<(), Stop> {
        if self.config.discard != Discard::New {
            return Ok(());
        }
        let failed = |text: &str| Err(Code::StreamStoreFailed.with(&[text]).into());
        let limit = |limit: i64| u64::try_from(limit).ok().filter(|&limit| limit > 0);
        let state = *world.messages.state();
        // One message of the subject will go, and make room.
        let mut replaced = None;
        if let Some(max) = limit(self.config.max_msgs_per_subject)
            && let Some(of_subject) = world.messages.subject(checked.subject)
            && of_subject.messages >= max
        {
            if self.config.discard_new_per_subject && !checked.says_rollup {
                return failed("maximum messages per subject exceeded");
            }
            replaced = Some(of_subject.first);
        }
        if limit(self.config.max_msgs).is_some_and(|max| state.messages >= max)
            && replaced.is_none()
        {
            return failed("maximum messages exceeded");
        }
        if limit(self.config.max_bytes).is_some_and(|max| state.bytes + counted > max) {
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

/// Whether what a publisher expects of the stream's and a subject's last message is so.
fn check_expected(messages: &impl Messages, subject: &[u8], asked: &Asked<'_>) -> Result<(), Stop> {
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
        let last = last_of(messages, pattern).unwrap_or(0);
        if last != expected {
            return wrong(last);
        }
    } else if !asked.expected_subject.is_empty() {
        return Err(Code::StreamExpectedLastSeqPerSubjectInvalid.into());
    }
    let last = messages.state().last_seq;
    if asked.expected_last.is_some_and(|expected| expected != last) {
        return wrong(last);
    }
    Ok(())
}
