//! Fast batches (ADR-50): messages are stored as they come, and acknowledged only now and then. What
//! the publisher says about the batch is in its reply subject:
//! `<prefix>.<batch>.<messages per acknowledgement>.<gap ok|fail>.<sequence>.<operation>.$FI`.

use std::collections::HashMap;

use crate::base::deadlines::Millis;
use crate::jetstream::Outlet;
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::versions;
use crate::store::{Messages, Seq};

use super::acks;
use super::batch::{ID_BYTES_MAX, Staged};
use super::headers::{self, Asked};
use super::publish::{Arrival, Incoming, Origin, Outcome, Stop};
use super::{Stream, World};

/// What reply subjects of fast batches end with.
pub(super) const REPLY_END: &[u8] = b".$FI";
/// All fast batches of a stream together are acknowledged about once for so many messages.
const FLOW_MAX: u16 = 500;
/// Where the publisher says nothing that can be read.
const FLOW_DEFAULT: u16 = 10;

/// What a message does to its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Start,
    Append,
    /// It is the last.
    Commit,
    /// The one before was the last.
    CommitBefore,
    /// It is none: it asks how far the batch is.
    Ping,
}

/// What a reply subject says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said<'a> {
    id: &'a [u8],
    flow: u16,
    gaps_are_fine: bool,
    seq: u64,
    operation: Operation,
}

impl<'a> Said<'a> {
    fn read(reply: &'a [u8]) -> Option<Self> {
        let said = reply.strip_suffix(REPLY_END)?;
        let mut tokens = said.rsplitn(6, |&b| b == b'.');
        let operation = match headers::decimal(tokens.next()?)? {
            0 => Operation::Start,
            1 => Operation::Append,
            2 => Operation::Commit,
            3 => Operation::CommitBefore,
            4 => Operation::Ping,
            _ => return None,
        };
        let seq = headers::decimal(tokens.next()?)?;
        let fits = match operation {
            Operation::Start => seq == 1,
            Operation::Append | Operation::CommitBefore => seq > 1,
            Operation::Commit | Operation::Ping => seq > 0,
        };
        if !fits || seq == u64::MAX {
            return None;
        }
        let gaps_are_fine = match tokens.next()? {
            b"ok" => true,
            b"fail" => false,
            _ => return None,
        };
        let flow = match headers::decimal(tokens.next()?) {
            None | Some(0) => FLOW_DEFAULT,
            Some(flow) => u16::try_from(flow).unwrap_or(u16::MAX),
        };
        let id = tokens.next()?;
        // There is something before it.
        tokens.next()?;
        Some(Self {
            id,
            flow,
            gaps_are_fine,
            seq,
            operation,
        })
    }
}

/// A batch that has begun.
#[derive(Clone, Copy, Debug)]
struct Fast {
    /// The highest sequence in the batch that was taken.
    last: u64,
    /// The stream's sequence of the last message.
    last_stored: Seq,
    /// Up to which one it was acknowledged.
    acknowledged: u64,
    /// Messages for each acknowledgement, and what the publisher allows at most.
    flow: u16,
    flow_max: u16,
    gaps_are_fine: bool,
    expires_ms: Millis,
}

/// The fast batches of a stream.
#[derive(Debug, Default)]
pub(super) struct FastBatches {
    by_id: HashMap<Box<[u8]>, Fast>,
    /// None expires before.
    next_expiry_ms: Millis,
}

impl FastBatches {
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

    /// Gives up those that nothing was heard of.
    pub fn expire(&mut self, now: Millis) {
        if self.next_expiry().is_none_or(|at| at > now) {
            return;
        }
        self.by_id.retain(|_, batch| batch.expires_ms > now);
        let left = self.by_id.values().map(|batch| batch.expires_ms);
        self.next_expiry_ms = left.min().unwrap_or(Millis::MAX);
    }
}

impl Fast {
    /// Whether an acknowledgement is due; then its sequence. The flow changes with it: the more
    /// batches there are, the more often each is acknowledged.
    fn due(&mut self, batches: usize) -> Option<u64> {
        let flow = u64::from(self.flow.max(1));
        if self.last < self.acknowledged.saturating_add(flow) {
            return None;
        }
        self.acknowledged += (self.last - self.acknowledged) / flow * flow;
        let share = FLOW_MAX / u16::try_from(batches).unwrap_or(u16::MAX).max(1);
        let max = share.max(1).min(self.flow_max);
        self.flow = if self.flow < max {
            self.flow.saturating_mul(2).min(max)
        } else {
            (self.flow / 2).max(max).min(self.flow)
        };
        Some(self.acknowledged)
    }
}

impl Stream {
    /// Takes a message of a fast batch.
    pub(super) fn publish_fast<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'_>,
        block: &[u8],
        asked: &Asked<'_>,
    ) -> Outcome {
        let said = match self.check_fast(world, arrival, block, asked) {
            Ok(said) => said,
            Err(code) => {
                let error = ApiError::from(code);
                self.refuse(world.outlet, arrival.reply, &error);
                return Outcome::Refused(error);
            }
        };
        let expires_ms = world
            .now
            .mono_ms
            .saturating_add(self.settings.batch_timeout_ms);
        if self.fast.by_id.is_empty() {
            self.fast.next_expiry_ms = expires_ms;
        }
        let is_only = self.fast.by_id.is_empty();
        let known = self.fast.by_id.get(said.id).copied();
        let mut batch = known.unwrap_or(Fast {
            last: 0,
            last_stored: 0,
            acknowledged: 0,
            flow: if is_only { FLOW_MAX.min(said.flow) } else { 1 },
            flow_max: said.flow,
            gaps_are_fine: said.gaps_are_fine,
            expires_ms,
        });
        batch.expires_ms = expires_ms;
        self.fast.by_id.insert(said.id.into(), batch);
        let outcome = self.advance_fast(world, arrival, block, asked, said, &mut batch);
        match (&outcome, known) {
            // It comes again when what it needs was read.
            (Outcome::Waits, Some(before)) => batch = before,
            (Outcome::Waits, None) => drop(self.fast.by_id.remove(said.id)),
            _ => {}
        }
        if let Some(kept) = self.fast.by_id.get_mut(said.id) {
            *kept = batch;
        }
        outcome
    }

    fn check_fast<'a, M: Messages, O: Outlet>(
        &mut self,
        world: &World<'_, M, O>,
        arrival: &Arrival<'a>,
        block: &[u8],
        asked: &Asked<'_>,
    ) -> Result<Said<'a>, Code> {
        self.check_alone(world, arrival, block)?;
        if !self.config.allow_batched {
            return Err(Code::BatchPublishDisabled);
        }
        let said = Said::read(arrival.reply).ok_or(Code::BatchPublishInvalidPattern)?;
        if said.id.len() > ID_BYTES_MAX {
            return Err(Code::BatchPublishInvalidBatchId);
        }
        if !self.fast.by_id.contains_key(said.id) {
            if said.seq != 1 {
                return Err(Code::BatchPublishUnknownBatchId);
            }
            let most = self.settings.fast_batches_max;
            if self.fast.len() >= most.min(world.room.fast_batches) {
                return Err(Code::BatchPublishTooManyInflight);
            }
        }
        if versions::asks_too_much(Some(asked.required_level)) {
            self.fast.by_id.remove(said.id);
            return Err(Code::RequiredApiLevel);
        }
        Ok(said)
    }

    fn advance_fast<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'_>,
        block: &[u8],
        asked: &Asked<'_>,
        said: Said<'_>,
        batch: &mut Fast,
    ) -> Outcome {
        let reply = arrival.reply;
        let batches = self.fast.len();
        if said.operation == Operation::Ping {
            if said.seq > batch.last {
                self.say(world, reply, |to| {
                    acks::gap(batch.last + 1, said.seq + 1, to)
                });
                if !batch.gaps_are_fine {
                    self.commit_fast(world, reply, said.id, batch);
                    return Outcome::Staged;
                }
                batch.last = said.seq;
                if let Some(seq) = batch.due(batches) {
                    self.say(world, reply, |to| acks::flow(seq, batch.flow, to));
                    return Outcome::Staged;
                }
            }
            self.say(world, reply, |to| {
                acks::flow(batch.acknowledged, batch.flow, to)
            });
            return Outcome::Staged;
        }
        let expected = batch.last + 1;
        if said.seq != expected {
            self.say(world, reply, |to| acks::gap(expected, said.seq, to));
        }
        if said.seq < expected || (said.seq > expected && !batch.gaps_are_fine) {
            self.commit_fast(world, reply, said.id, batch);
            return Outcome::Staged;
        }
        if said.operation == Operation::CommitBefore {
            batch.last = said.seq - 1;
            self.commit_fast(world, reply, said.id, batch);
            return Outcome::Staged;
        }
        batch.last = said.seq;
        let commits = said.operation == Operation::Commit;
        if said.seq == 1 && !commits && !self.config.no_ack {
            self.say(world, reply, |to| acks::flow(0, batch.flow, to));
        }
        let block = if asked.required_level.is_empty() {
            block.to_vec()
        } else {
            headers::without(block, |key| key == headers::REQUIRED_LEVEL.as_bytes())
        };
        match self.store_fast(world, arrival, &block) {
            Ok(outcome) => {
                if let Outcome::Stored(seq) | Outcome::Unwanted(seq) = outcome {
                    batch.last_stored = seq;
                }
                if commits {
                    self.commit_fast(world, reply, said.id, batch);
                } else if let Some(seq) = batch.due(batches) {
                    self.say(world, reply, |to| acks::flow(seq, batch.flow, to));
                }
                outcome
            }
            Err(Stop::Later) => Outcome::Waits,
            Err(Stop::Duplicate(seq)) => {
                self.fast_duplicate(world, reply, said, batch, seq);
                Outcome::Duplicate(seq)
            }
            Err(Stop::Refused(error)) => {
                self.fast_refused(world, reply, said, batch, &error);
                Outcome::Refused(error)
            }
        }
    }

    fn store_fast<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        arrival: &Arrival<'_>,
        block: &[u8],
    ) -> Result<Outcome, Stop> {
        let asked = Asked::read(block);
        let mut transformed = std::mem::take(&mut self.transformed);
        let subject = self.transform(world, arrival, &mut transformed);
        let incoming = Incoming {
            subject,
            block,
            payload: arrival.payload,
            origin: Origin::Client,
        };
        let mut staged = Staged::default();
        let checked = self.check(world, &incoming, &asked, Some(&mut staged));
        let stored = checked.and_then(|checked| self.store(world, &checked));
        self.transformed = transformed;
        stored
    }

    /// A message of the batch was there already: as if it had been stored.
    fn fast_duplicate<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        reply: &[u8],
        said: Said<'_>,
        batch: &mut Fast,
        seq: Seq,
    ) {
        let due = batch.due(self.fast.len());
        if let Some(seq) = due {
            self.say(world, reply, |to| acks::flow(seq, batch.flow, to));
        }
        if said.operation != Operation::Commit {
            return;
        }
        if !said.gaps_are_fine && batch.last == 1 {
            self.fast.by_id.remove(said.id);
            let acks = self.acks.clone();
            self.say(world, reply, |to| {
                acks.batch(seq, true, said.id, said.seq, to)
            });
            return;
        }
        self.commit_fast(world, reply, said.id, batch);
    }

    /// A message of the batch was refused.
    fn fast_refused<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        reply: &[u8],
        said: Said<'_>,
        batch: &mut Fast,
        error: &ApiError,
    ) {
        if !said.gaps_are_fine && batch.last == 1 {
            // As a publish outside of a batch is.
            self.fast.by_id.remove(said.id);
            let acks = self.acks.clone();
            self.say(world, reply, |to| acks.refused(error, to));
            return;
        }
        self.say(world, reply, |to| acks::flow_error(said.seq, error, to));
        if said.gaps_are_fine && said.operation != Operation::Commit {
            return;
        }
        batch.last -= 1;
        self.commit_fast(world, reply, said.id, batch);
    }

    /// Ends a batch: all that came is stored.
    fn commit_fast<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        reply: &[u8],
        id: &[u8],
        batch: &Fast,
    ) {
        self.fast.by_id.remove(id);
        let acks = self.acks.clone();
        let (stored, count) = (batch.last_stored, batch.last);
        self.say(world, reply, |to| acks.batch(stored, false, id, count, to));
    }

    fn say<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        reply: &[u8],
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        write(&mut answer);
        self.answer(world.outlet, reply, &answer);
        self.answer = answer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reply_subjects_say() {
        type What = (&'static str, u16, bool, u64, Operation);
        let cases: &[(&str, Option<What>)] = &[
            (
                "_INBOX.x.id.100.fail.1.0.$FI",
                Some(("id", 100, false, 1, Operation::Start)),
            ),
            (
                "p.id.x.ok.7.1.$FI",
                Some(("id", 10, true, 7, Operation::Append)),
            ),
            (
                "p.id.99999.ok.7.2.$FI",
                Some(("id", 65535, true, 7, Operation::Commit)),
            ),
            (
                "p.id.0.ok.7.3.$FI",
                Some(("id", 10, true, 7, Operation::CommitBefore)),
            ),
            (
                "p.id.1.ok.7.4.$FI",
                Some(("id", 1, true, 7, Operation::Ping)),
            ),
            ("p.id.1.ok.7.5.$FI", None),
            ("p.id.1.ok.1.1.$FI", None),
            ("p.id.1.ok.2.0.$FI", None),
            ("p.id.1.ok.1.3.$FI", None),
            ("p.id.1.ok.0.2.$FI", None),
            ("p.id.1.no.1.0.$FI", None),
            ("p.id.1.ok.18446744073709551615.1.$FI", None),
            ("id.1.ok.1.0.$FI", None),
            ("1.$FI", None),
        ];
        for &(reply, expected) in cases {
            let said = Said::read(reply.as_bytes());
            let expected = expected.map(|(id, flow, gaps_are_fine, seq, operation)| Said {
                id: id.as_bytes(),
                flow,
                gaps_are_fine,
                seq,
                operation,
            });
            assert_eq!(said, expected, "{reply}");
        }
    }
}
