//! Atomic batches (`Nats-Batch-*`, ADR-50): messages are kept until the one that commits, then all
//! are looked at, and all are stored or none.
//!
//! They are kept in memory, up to a limit of bytes for each stream: nothing has been promised of
//! them before the commit. That a crash leaves none of them or all is seen to by a fact before and one
//! after: what lies between the two without the second is removed at the start.

use std::collections::{HashMap, HashSet};

use crate::base::deadlines::Millis;
use crate::jetstream::Outlet;
use crate::jetstream::api::advisories::{self, Abandoned, Advisory};
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::versions;
use crate::jetstream::config::Storage;
use crate::store::{Messages, Seq};

use super::counter::Total;
use super::headers::{self, Asked};
use super::publish::{Arrival, Checked, Incoming, Origin, Outcome, Rollup, Said, Stop};
use super::waiting::Owned;
use super::{Stream, World, storage_error};

/// Longer names of batches are refused.
pub(super) const ID_BYTES_MAX: usize = 64;
/// The number of the facts of a stream itself.
const NOTE: u32 = 0;

/// A batch that has begun.
#[derive(Debug)]
pub(super) struct Atomic {
    /// Sequence of the last message in the batch.
    last: u64,
    messages: Vec<Owned>,
    bytes: usize,
    expires_ms: Millis,
    /// The message that commits is among them already, and waits for a read.
    is_whole: bool,
}

/// What of a batch was looked at.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub messages: u64,
    pub bytes: u64,
    ids: HashSet<Box<[u8]>>,
    subjects: HashMap<Box<[u8]>, OfSubject>,
    totals: HashMap<Box<[u8]>, Total>,
}

#[derive(Debug, Default)]
struct OfSubject {
    messages: u64,
    is_schedule: bool,
}

impl Staged {
    /// Puts one behind the others.
    pub fn add(&mut self, checked: &Checked<'_>, counted: u64) {
        self.messages += 1;
        self.bytes += counted;
        if !checked.msg_id.is_empty() {
            self.ids.insert(checked.msg_id.into());
        }
        let of_subject = self.subjects.entry(checked.subject.into()).or_default();
        of_subject.messages += 1;
        of_subject.is_schedule = checked.schedule.is_some();
    }

    /// Whether one has this id.
    pub fn has_id(&self, id: &[u8]) -> bool {
        self.ids.contains(id)
    }

    /// How many have this subject.
    pub fn messages_of(&self, subject: &[u8]) -> u64 {
        self.subjects.get(subject).map_or(0, |of| of.messages)
    }

    /// Whether the last of a subject is a schedule, if there is one of it.
    pub fn is_schedule(&self, subject: &[u8]) -> Option<bool> {
        self.subjects.get(subject).map(|of| of.is_schedule)
    }

    /// Why a message would remove some of its own batch.
    pub fn conflict(&self, checked: &Checked<'_>) -> Option<&'static str> {
        match checked.rollup {
            Rollup::Subject if self.messages_of(checked.subject) > 0 => {
                Some("batch rollup sub invalid")
            }
            Rollup::All if self.messages > 0 => Some("batch rollup all invalid"),
            Rollup::None | Rollup::Subject | Rollup::All => None,
        }
    }

    /// What a subject counts up to with those before.
    pub fn total(&self, subject: &[u8]) -> Option<&Total> {
        self.totals.get(subject)
    }

    pub fn set_total(&mut self, subject: &[u8], total: Total) {
        self.totals.insert(subject.into(), total);
    }
}

/// The atomic batches of a stream.
#[derive(Debug, Default)]
pub(super) struct AtomicBatches {
    by_id: HashMap<Box<[u8]>, Atomic>,
    bytes: usize,
    /// None expires before.
    next_expiry_ms: Millis,
}

impl AtomicBatches {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All are given up.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// When to look whether one has expired.
    pub fn next_expiry(&self) -> Option<Millis> {
        (!self.by_id.is_empty()).then_some(self.next_expiry_ms)
    }

    fn remove(&mut self, id: &[u8]) -> Option<Atomic> {
        let batch = self.by_id.remove(id)?;
        self.bytes -= batch.bytes;
        Some(batch)
    }
}

/// A message of a batch that is refused, and whether and how the batch ends with it.
struct Refused {
    error: ApiError,
    abandoned: Option<Abandoned>,
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self {
            error: code.into(),
            abandoned: None,
        }
    }
}

impl Stream {
    /// Takes a message that says it is part of an atomic batch.
    pub(super) fn publish_in_batch<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'_>,
        id: &[u8],
        block: &[u8],
        asked: &Asked<'_>,
    ) -> Outcome {
        let is_committed = match self.stage(world, arrival, id, block, asked) {
            Ok(is_committed) => is_committed,
            Err(Refused { error, abandoned }) => {
                if let Some(reason) = abandoned {
                    self.abandon(world, id, reason);
                }
                self.refuse(world.outlet, arrival.reply, &error);
                return Outcome::Refused(error);
            }
        };
        if !is_committed {
            // Nothing is promised: that it came.
            if !arrival.reply.is_empty() && !self.config.no_ack {
                self.answer(world.outlet, arrival.reply, b"");
            }
            return Outcome::Staged;
        }
        let Some(batch) = self.atomic.remove(id) else {
            return Outcome::Staged;
        };
        let stored = self.commit(world, &batch.messages);
        if matches!(stored, Err(Stop::Later)) {
            self.atomic.bytes += batch.bytes;
            self.atomic.by_id.insert(id.into(), batch);
            return Outcome::Waits;
        }
        let stored = stored.map_err(|stop| match stop {
            Stop::Duplicate(_) => Stop::from(Code::AtomicPublishContainsDuplicateMessage),
            stop => stop,
        });
        let said = Said {
            counter: None,
            batch: Some((id, batch.messages.len() as u64)),
        };
        self.conclude(world.outlet, arrival.reply, stored, said)
    }

    /// Keeps a message of a batch. Whether it is whole then.
    fn stage<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'_>,
        id: &[u8],
        block: &[u8],
        asked: &Asked<'_>,
    ) -> Result<bool, Refused> {
        self.check_alone(world, arrival, block)?;
        if !self.config.allow_atomic {
            return Err(Code::AtomicPublishDisabled.into());
        }
        if id.len() > ID_BYTES_MAX {
            return Err(Code::AtomicPublishInvalidBatchId.into());
        }
        let seq = headers::decimal(asked.batch_sequence).ok_or(Code::AtomicPublishMissingSeq)?;
        let commits_before = asked.batch_commit == Some(b"eob");
        let size = seq.saturating_sub(u64::from(commits_before));
        let too_large = || {
            let max = self.settings.batch_messages_max.to_string();
            Code::AtomicPublishTooLargeBatch.with(&[&max])
        };
        if !self.atomic.by_id.contains_key(id) {
            if seq != 1 && size > self.settings.batch_messages_max {
                return Err(Refused {
                    error: too_large(),
                    abandoned: None,
                });
            }
            if seq != 1 {
                return Err(Code::AtomicPublishIncompleteBatch.into());
            }
            let most = self.settings.atomic_batches_max;
            if self.atomic.len() >= most.min(world.room.atomic_batches) {
                return Err(Code::AtomicPublishTooManyInflight.into());
            }
        }
        let expires_ms = world
            .now
            .mono_ms
            .saturating_add(self.settings.batch_timeout_ms);
        if self.atomic.by_id.is_empty() {
            self.atomic.next_expiry_ms = expires_ms;
        }
        let batch = self
            .atomic
            .by_id
            .entry(id.into())
            .or_insert_with(|| Atomic {
                last: 0,
                messages: Vec::new(),
                bytes: 0,
                expires_ms,
                is_whole: false,
            });
        if batch.is_whole {
            return Ok(true);
        }
        batch.expires_ms = expires_ms;
        if asked
            .batch_commit
            .is_some_and(|commit| commit != b"1" && !commits_before)
        {
            self.atomic.remove(id);
            return Err(Code::AtomicPublishInvalidBatchCommit.into());
        }
        if versions::asks_too_much(Some(asked.required_level)) {
            return Err(Refused {
                error: Code::RequiredApiLevel.into(),
                abandoned: Some(Abandoned::Unsupported),
            });
        }
        batch.last += 1;
        if batch.last != seq || (seq == 1 && commits_before) {
            return Err(Refused {
                error: Code::AtomicPublishIncompleteBatch.into(),
                abandoned: Some(Abandoned::Incomplete),
            });
        }
        if size > self.settings.batch_messages_max {
            return Err(Refused {
                error: too_large(),
                abandoned: Some(Abandoned::Large),
            });
        }
        if commits_before {
            // What only says that it is the end is not stored; the one before it is what commits.
            if let Some(last) = batch.messages.last_mut() {
                let mut block = last.headers.to_vec();
                headers::push(&mut block, headers::BATCH_COMMIT, b"1");
                last.headers = block.into();
            }
        } else {
            let is_level = |key: &[u8]| key == headers::REQUIRED_LEVEL.as_bytes();
            let owned = Owned {
                headers: headers::without(block, is_level).into(),
                ..Owned::new(arrival)
            };
            let bytes = owned.bytes();
            batch.messages.push(owned);
            batch.bytes += bytes;
            self.atomic.bytes += bytes;
            if self.atomic.bytes > self.settings.batch_bytes_max {
                return Err(Refused {
                    error: Code::InsufficientResources.into(),
                    abandoned: Some(Abandoned::Large),
                });
            }
        }
        batch.is_whole = asked.batch_commit.is_some();
        Ok(batch.is_whole)
    }

    /// What can be said against a message of a batch before the others are there.
    pub(super) fn check_alone<M: Messages, O: Outlet>(
        &self,
        world: &World<'_, M, O>,
        arrival: &Arrival<'_>,
        block: &[u8],
    ) -> Result<(), Code> {
        if self.config.sealed {
            return Err(Code::StreamSealed);
        }
        let bytes = (block.len() + arrival.payload.len()) as u64;
        if world.room.server_bytes < 0 {
            return Err(Code::InsufficientResources);
        }
        if bytes > world.room.account_bytes {
            return Err(Code::AccountResourcesExceeded);
        }
        if u64::try_from(self.config.max_msg_size).is_ok_and(|max| bytes > max) {
            return Err(Code::StreamMessageExceedsMaximum);
        }
        Ok(())
    }

    /// Stores all or none.
    fn commit<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        messages: &[Owned],
    ) -> Result<Outcome, Stop> {
        let mut subjects = Vec::with_capacity(messages.len());
        for message in messages {
            let mut to = Vec::new();
            let subject = self.transform(world, &message.borrowed(), &mut to).to_vec();
            subjects.push(subject);
        }
        let mut staged = Staged::default();
        let mut all = Vec::with_capacity(messages.len());
        for (message, subject) in messages.iter().zip(&subjects) {
            let asked = Asked::read(&message.headers);
            if !asked.expected_msg_id.is_empty() {
                let header = headers::EXPECTED_LAST_MSG_ID;
                return Err(Code::AtomicPublishUnsupportedHeaderBatch
                    .with(&[header])
                    .into());
            }
            let incoming = Incoming {
                subject,
                block: &message.headers,
                payload: &message.payload,
                origin: Origin::Client,
            };
            all.push(self.check(world, &incoming, &asked, Some(&mut staged))?);
        }
        let before = world.messages.state().last_seq;
        let is_marked = all.len() > 1 && self.config.storage == Storage::File;
        if is_marked {
            let begin = before.to_le_bytes();
            world
                .messages
                .rewrite_note(NOTE, &begin)
                .map_err(storage_error)?;
        }
        let mut stored = Err(Code::AtomicPublishIncompleteBatch.into());
        for checked in &all {
            stored = self.store(world, checked);
            if stored.is_err() {
                // Those before it must not stay alone.
                self.take_back(world.messages, before);
                break;
            }
        }
        if is_marked {
            world.messages.forget_note(NOTE);
        }
        stored
    }

    /// Removes what was stored after a sequence.
    fn take_back(&mut self, messages: &mut impl Messages, after: Seq) {
        for seq in after + 1..=messages.state().last_seq {
            messages.remove(seq, false);
        }
        self.removed.several();
    }

    /// Removes what is left of a batch that was being stored when the server ended.
    pub(super) fn recover_batch<'f>(
        &mut self,
        messages: &mut impl Messages,
        facts: impl IntoIterator<Item = &'f [u8]>,
    ) {
        let last = facts.into_iter().last();
        let Some(before) = last.and_then(|fact| <[u8; 8]>::try_from(fact).ok()) else {
            return;
        };
        self.take_back(messages, Seq::from_le_bytes(before));
        messages.forget_note(NOTE);
    }

    /// Gives up batches that nothing was heard of.
    pub(super) fn expire_atomic<M: Messages, O: Outlet>(&mut self, world: &mut World<'_, M, O>) {
        let now = world.now.mono_ms;
        if self.atomic.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        let all = self.atomic.by_id.iter();
        // One that is whole only waits for a read.
        let due = all.filter(|(_, batch)| batch.expires_ms <= now && !batch.is_whole);
        let due: Vec<_> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            self.abandon(world, &id, Abandoned::Timeout);
        }
        let left = self.atomic.by_id.values().map(|batch| batch.expires_ms);
        let soonest = left.min().unwrap_or(Millis::MAX);
        self.atomic.next_expiry_ms = soonest.max(now + 1000);
    }

    /// Gives up a batch, and tells.
    fn abandon<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        id: &[u8],
        reason: Abandoned,
    ) {
        self.atomic.remove(id);
        let advisory = Advisory::BatchAbandoned {
            stream: &self.config.name,
            batch: &String::from_utf8_lossy(id),
            reason,
        };
        let domain = &self.settings.domain;
        advisories::publish(&advisory, world.now.unix, domain, world.outlet);
    }
}
