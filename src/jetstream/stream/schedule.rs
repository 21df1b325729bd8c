//! Messages that are schedules (`Nats-Schedule`, ADR-51): which there are, whether a publish may be
//! one, and what they produce when they fire.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::jetstream::Outlet;
use crate::jetstream::api::errors::Code;
use crate::jetstream::api::time;
use crate::store::{Fetched, Messages, Seq, UnixNanos, flags};
use crate::subject;

use super::cron::{self, Firing};
use super::expiry::Progress;
use super::headers::{self, Asked, TimeToLive};
use super::publish::{Arrival, Checked, Origin, Outcome, Stop};
use super::{Stream, World, last_of};

/// What could not be produced is tried again after so long.
const RETRY_NANOS: i64 = 1_000_000_000;
/// The heap is looked through when it has that many more entries than there are schedules.
const SWEEP_SLACK: usize = 1024;

/// A schedule.
#[derive(Clone, Debug)]
struct Schedule {
    subject: Box<[u8]>,
    at: UnixNanos,
}

/// The schedules of a stream: a subject has one at most.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    by_seq: HashMap<Seq, Schedule>,
    by_subject: HashMap<Box<[u8]>, Seq>,
    /// An entry counts if its schedule has that very time.
    heap: BinaryHeap<Reverse<(UnixNanos, Seq)>>,
}

impl Schedules {
    /// One that was found after a restart.
    pub fn recover(
        &mut self,
        seq: Seq,
        subject: &[u8],
        asked: &Asked<'_>,
        stored: UnixNanos,
        now: UnixNanos,
    ) {
        let newer = self
            .by_subject
            .get(subject)
            .is_some_and(|&known| known > seq);
        if let Ok(Some(firing)) = read(asked, stored, now)
            && !newer
        {
            self.add(seq, subject, firing.at);
        }
    }

    /// A new one, instead of the one that the subject may have.
    pub fn add(&mut self, seq: Seq, subject: &[u8], at: UnixNanos) {
        self.remove(subject);
        let schedule = Schedule {
            subject: subject.into(),
            at,
        };
        self.by_seq.insert(seq, schedule);
        self.by_subject.insert(subject.into(), seq);
        self.push(at, seq);
    }

    /// A subject has none any more.
    pub fn remove(&mut self, subject: &[u8]) {
        if let Some(seq) = self.by_subject.remove(subject) {
            self.by_seq.remove(&seq);
        }
    }

    /// The one of a subject fires at another time.
    pub fn set_time(&mut self, subject: &[u8], at: UnixNanos) {
        if let Some(&seq) = self.by_subject.get(subject)
            && let Some(schedule) = self.by_seq.get_mut(&seq)
        {
            schedule.at = at;
            self.push(at, seq);
        }
    }

    /// All are forgotten.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the next one fires.
    pub fn next(&self) -> Option<UnixNanos> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    fn push(&mut self, at: UnixNanos, seq: Seq) {
        if self.heap.len()
            > self
                .by_seq
                .len()
                .saturating_mul(2)
                .saturating_add(SWEEP_SLACK)
        {
            let by_seq = &self.by_seq;
            self.heap
                .retain(|Reverse((at, seq))| by_seq.get(seq).is_some_and(|s| s.at == *at));
        }
        self.heap.push(Reverse((at, seq)));
    }

    /// The one whose time has come.
    fn due(&mut self, now: UnixNanos) -> Option<(UnixNanos, Seq)> {
        loop {
            let &Reverse((at, seq)) = self.heap.peek()?;
            if at > now {
                return None;
            }
            if self
                .by_seq
                .get(&seq)
                .is_some_and(|schedule| schedule.at == at)
            {
                return Some((at, seq));
            }
            self.heap.pop();
        }
    }
}

/// When a message fires, if it is a schedule.
fn read(asked: &Asked<'_>, from: UnixNanos, now: UnixNanos) -> Result<Option<Firing>, Code> {
    let zone = match asked.schedule_time_zone {
        None => None,
        Some(name) => Some(cron::zone(name).ok_or(Code::MessageSchedulesTimeZoneInvalid)?),
    };
    if asked.schedule.is_empty() {
        return Ok(None);
    }
    cron::next(asked.schedule, zone.as_ref(), from, now)
        .map(Some)
        .ok_or(Code::MessageSchedulesPatternInvalid)
}

impl Stream {
    /// Whether a message may be the schedule that it says, and when that fires. Says too whether
    /// it has to roll up its subject, which it did not say.
    pub(super) fn check_schedule<M: Messages, O: Outlet>(
        &self,
        world: &World<'_, M, O>,
        origin: Origin,
        subject: &[u8],
        asked: &Asked<'_>,
    ) -> Result<Option<UnixNanos>, Stop> {
        let now = world.now.unix;
        let firing = read(asked, now, now);
        if origin.is_trusted() {
            return Ok(firing.ok().flatten().map(|firing| firing.at));
        }
        if !self.config.allow_msg_schedules && firing != Ok(None) {
            return Err(Code::MessageSchedulesDisabled.into());
        }
        let Some(firing) = firing? else {
            return Ok(None);
        };
        let ttl = TimeToLive::read(asked.schedule_ttl);
        if ttl.is_none() {
            return Err(Code::MessageSchedulesTtlInvalid.into());
        }
        let rolls_up = |rollup: &[u8]| rollup.is_empty() || rollup == headers::ROLLUP_SUBJECT;
        if !rolls_up(asked.schedule_rollup) {
            return Err(Code::MessageSchedulesRollupInvalid.into());
        }
        if !asked.schedule_ttl.is_empty() && !self.config.allow_msg_ttl {
            return Err(Code::MessageTtlDisabled.into());
        }
        let (target, source) = (asked.schedule_target, asked.schedule_source);
        if !subject::is_valid_literal(target) || target == subject {
            return Err(Code::MessageSchedulesTargetInvalid.into());
        }
        let is_other = |source: &[u8]| {
            source != target && source != subject && subject::is_valid_literal(source)
        };
        if !source.is_empty() && !is_other(source) {
            return Err(Code::MessageSchedulesSourceInvalid.into());
        }
        let is_ours = |subject: &[u8]| {
            let mut patterns = self.config.subjects.iter();
            patterns.any(|pattern| subject::collide(pattern.as_bytes(), subject))
        };
        if !is_ours(target) {
            return Err(Code::MessageSchedulesTargetInvalid.into());
        }
        if !source.is_empty() && !is_ours(source) {
            return Err(Code::MessageSchedulesSourceInvalid.into());
        }
        if !rolls_up(&asked.rollup.to_ascii_lowercase()) {
            return Err(Code::MessageSchedulesRollupInvalid.into());
        }
        Ok(Some(firing.at))
    }

    /// Whether a client may say what it says about a schedule that has fired: only that one is over.
    pub(super) fn check_scheduler<M: Messages, O: Outlet>(
        &self,
        world: &World<'_, M, O>,
        subject: &[u8],
        asked: &Asked<'_>,
        staged: Option<bool>,
    ) -> Result<(), Stop> {
        let invalid = Err(Code::MessageSchedulesSchedulerInvalid.into());
        let scheduler = asked.scheduler;
        if asked.schedule_next.is_empty() {
            return if scheduler.is_empty() {
                Ok(())
            } else {
                invalid
            };
        }
        if asked.schedule_next != headers::SCHEDULE_PURGE
            || scheduler == subject
            || !subject::is_valid_literal(scheduler)
        {
            return invalid;
        }
        if !self.config.allow_msg_schedules {
            return Err(Code::MessageSchedulesDisabled.into());
        }
        let is_schedule = staged.or_else(|| {
            let last = last_of(world.messages, scheduler)?;
            Some(world.messages.next_flagged(flags::SCHEDULE, last) == Some(last))
        });
        if is_schedule == Some(false) {
            return invalid;
        }
        Ok(())
    }

    /// Keeps the schedules right when a message was stored.
    pub(super) fn note_schedule(&mut self, seq: Seq, checked: &Checked<'_>) {
        if !self.config.allow_msg_schedules {
            return;
        }
        if let Some(at) = checked.schedule {
            self.schedules.add(seq, checked.subject, at);
        } else if checked.scheduler.is_empty() {
            self.schedules.remove(checked.subject);
        }
        if !checked.scheduler.is_empty()
            && let Ok(next) = std::str::from_utf8(checked.schedule_next)
            && let Ok(next) = time::parse(next)
        {
            self.schedules.set_time(checked.scheduler, next);
        }
    }

    /// Has schedules fire, at most so many.
    pub(super) fn fire<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        budget: usize,
    ) -> Progress {
        for _ in 0..budget {
            let Some((at, seq)) = self.schedules.due(world.now.unix) else {
                return Progress::Done;
            };
            if self.fire_one(world, at, seq) == Progress::Blocked {
                return Progress::Blocked;
            }
        }
        Progress::More
    }

    fn fire_one<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        at: UnixNanos,
        seq: Seq,
    ) -> Progress {
        let Some(schedule) = self.schedules.by_seq.get(&seq) else {
            return Progress::Done;
        };
        let subject = schedule.subject.clone();
        let now = world.now.unix;
        let message = match world.messages.get(seq) {
            Fetched::Later => return Progress::Blocked,
            Fetched::Gone | Fetched::Damaged => {
                self.schedules.remove(&subject);
                return Progress::Done;
            }
            Fetched::Here(message) => (message.headers.to_vec(), message.payload.to_vec()),
        };
        let asked = Asked::read(&message.0);
        let zone = asked.schedule_time_zone.and_then(cron::zone);
        let Ok(Some(next)) = read(&asked, at, now) else {
            self.schedules.remove(&subject);
            return Progress::Done;
        };
        let mut source = None;
        if !asked.schedule_source.is_empty()
            && let Some(last) = last_of(world.messages, asked.schedule_source)
        {
            match world.messages.get(last) {
                Fetched::Later => return Progress::Blocked,
                Fetched::Gone | Fetched::Damaged => {}
                Fetched::Here(last) => {
                    source = Some((last.headers.to_vec(), last.payload.to_vec()));
                }
            }
        }
        let (content, payload) = source.as_ref().unwrap_or(&message);
        let mut block = headers::without(content, is_not_inherited);
        headers::push(&mut block, headers::SCHEDULER, &subject);
        let mut next_text = headers::SCHEDULE_PURGE.to_vec();
        if next.repeats {
            next_text.clear();
            cron::write(next.at, zone.as_ref(), &mut next_text);
        }
        headers::push(&mut block, headers::SCHEDULE_NEXT, &next_text);
        if !asked.schedule_ttl.is_empty() {
            headers::push(&mut block, headers::TTL, asked.schedule_ttl);
        }
        if !asked.schedule_rollup.is_empty() {
            headers::push(&mut block, headers::ROLLUP, asked.schedule_rollup);
        }
        let arrival = Arrival {
            subject: asked.schedule_target,
            reply: b"",
            headers: &block,
            payload,
            origin: Origin::Schedule,
        };
        match self.arrive(world, &arrival) {
            Outcome::Waits => return Progress::Blocked,
            Outcome::Refused(_) if !next.repeats => {
                let retry = now.saturating_add(RETRY_NANOS);
                self.schedules.set_time(&subject, retry);
            }
            // One that could not be stored is left out.
            Outcome::Refused(_) => self.schedules.set_time(&subject, next.at),
            Outcome::Stored(_) | Outcome::Unwanted(_) | Outcome::Duplicate(_) | Outcome::Staged => {
                // Storing it has set the time; unless nobody wanted it.
                if next.repeats {
                    self.schedules.set_time(&subject, next.at);
                } else {
                    self.schedules.remove(&subject);
                }
            }
        }
        Progress::Done
    }
}

/// What a message that a schedule produces does not take over from it.
fn is_not_inherited(key: &[u8]) -> bool {
    key.starts_with(b"Nats-Schedule")
        || key.starts_with(b"Nats-Expected-")
        || [headers::MSG_ID, headers::TTL, headers::ROLLUP]
            .iter()
            .any(|other| key == other.as_bytes())
}
