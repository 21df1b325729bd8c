//! The pump: takes the next message, first what is to be delivered again, and sends it.

use super::pending::Entry;
use super::pull::Way;
use super::settle::due_from_now;
use super::{Ahead, Around, Consumer, Desk, Held, Progress, ack};
use crate::base::deadlines::Millis;
use crate::jetstream::config::{AckPolicy, PriorityPolicy, Retention};
use crate::jetstream::{Now, Outgoing, Outlet, Reached};
use crate::store::{Fetched, Messages, Seq, Stored};

use super::facts::add_to_ranges;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Sent,
    /// Sent, but the next should wait.
    SentLast,
    /// There was no such message.
    Skipped,
    /// It is being read.
    Later,
    /// Nobody takes it now.
    NoTaker,
    /// Somebody listens, but has not got it.
    Refused,
    /// It is too early for it.
    Held,
}

impl Consumer {
    /// Delivers at most `budget` messages, and takes those off it.
    pub fn deliver<M: Messages, O: Outlet>(
        &mut self,
        budget: &mut usize,
        around: &mut Around<'_, M, O>,
    ) -> Progress {
        self.is_ready = false;
        around.desk.reply.clear();
        around.desk.reply.extend_from_slice(&self.ack_prefix);
        let mut is_stalled = false;
        let progress = loop {
            let now = around.now;
            if !self.is_hungry() || self.is_paused(now) {
                break Progress::Idle;
            }
            if self.held_until().is_some_and(|until| until > now.mono_ms) {
                return Progress::Idle;
            }
            if *budget == 0 {
                return Progress::More;
            }
            let again = self.next_again(around);
            let seq = match again {
                Some(entry) => entry.seq,
                None if self.is_stalled() => {
                    is_stalled = true;
                    break Progress::Idle;
                }
                None => match self.next_new(around.messages) {
                    Some(seq) => seq,
                    None => break Progress::Idle,
                },
            };
            match self.send(seq, again, around) {
                Step::Sent => *budget -= 1,
                Step::Skipped => self.pass_over(seq, again, around),
                Step::SentLast | Step::Refused => return Progress::WaitingForOutlet,
                Step::Later => return Progress::WaitingForRead,
                Step::Held => return Progress::Idle,
                Step::NoTaker => break Progress::Idle,
            }
        };
        let is_due = self.waiting.next_event_ms() <= around.now.mono_ms;
        if is_due || (self.waiting.has_no_wait() && !is_stalled) {
            self.look_at_waiting(!is_stalled, around);
        }
        progress
    }

    /// The next one to be delivered again. Those that may not be any more are given up.
    #[inline]
    fn next_again<M: Messages, O: Outlet>(
        &mut self,
        around: &mut Around<'_, M, O>,
    ) -> Option<Entry> {
        while let Some(entry) = self.pending.next_queued() {
            if self.may_deliver_again(&entry) {
                return Some(entry);
            }
            self.give_up(&entry, around);
        }
        None
    }

    /// The next new one that may leave. What is passed over is never looked at again.
    #[inline]
    fn next_new<M: Messages>(&mut self, messages: &mut M) -> Option<Seq> {
        let last = self.rare.as_ref().and_then(|rare| rare.last.as_ref());
        if let Some(last) = last {
            return last.seqs.front().copied();
        }
        let state = *messages.state();
        let up_to = messages.durable_seq().min(state.last_seq);
        let from = self.next.max(state.first_seq);
        if from > up_to {
            return None;
        }
        let everything = self.selection.is_everything();
        if state.deleted == 0 && everything {
            return Some(from);
        }
        let seq = match everything {
            true => messages.next(&mut self.selection, from),
            false => {
                let range = (from, up_to);
                let lookahead = self.lookahead.get_or_insert_default();
                lookahead.next(range, &mut self.selection, messages)
            }
        };
        if let Some(seq) = seq
            && seq <= up_to
        {
            return Some(seq);
        }
        self.next = up_to + 1;
        if up_to == state.last_seq {
            self.ahead = Some(Ahead { count: 0, up_to });
        }
        None
    }

    /// A message is not there, or cannot be read.
    #[cold]
    fn pass_over<M: Messages, O: Outlet>(
        &mut self,
        seq: Seq,
        again: Option<Entry>,
        around: &mut Around<'_, M, O>,
    ) {
        if let Some(entry) = again {
            self.lose(&entry, around);
            return;
        }
        let last = self.rare.as_mut().and_then(|rare| rare.last.as_mut());
        if let Some(last) = last {
            last.seqs.pop_front();
            if last.seqs.is_empty() {
                self.leave_last();
            }
            return;
        }
        self.next = seq + 1;
        // It was counted, or it was not: that is found out when it matters.
        self.ahead = None;
    }

    fn send<M: Messages, O: Outlet>(
        &mut self,
        seq: Seq,
        again: Option<Entry>,
        around: &mut Around<'_, M, O>,
    ) -> Step {
        let is_new = again.is_none();
        let ahead = self.num_pending(around.messages);
        let Around {
            now,
            home,
            messages,
            outlet,
            desk,
        } = around;
        let Desk {
            reply,
            headers,
            pinned,
            status,
            damaged,
            settled,
        } = &mut **desk;
        let stored = match messages.get(seq) {
            Fetched::Here(stored) => stored,
            Fetched::Later => return Step::Later,
            Fetched::Gone => return Step::Skipped,
            Fetched::Damaged => {
                *damaged += 1;
                return Step::Skipped;
            }
        };
        let deliveries = again.map_or(1, |entry| u64::from(entry.redeliveries) + 2);
        let consumer_seq = self.delivered.consumer + 1;
        let left = ahead.saturating_sub(u64::from(is_new));
        reply.truncate(self.ack_prefix.len());
        ack::push_numbers(reply, deliveries, seq, consumer_seq, stored.time, left);
        let payload = match self.config.headers_only {
            true => b"",
            false => stored.payload,
        };
        let block = match self.config.headers_only {
            true => {
                let size = stored.payload.len() as u64;
                headers.clear();
                push_header(headers, stored.headers, b"Nats-Msg-Size", |to| {
                    ack::push_decimal(to, size);
                });
                &headers[..]
            }
            false => stored.headers,
        };
        let bytes = (stored.subject.len() + reply.len() + block.len() + payload.len()) as u64;
        let mut way = Way {
            now: *now,
            home,
            outlet: &mut **outlet,
            status,
        };
        if !self.is_push() && !self.choose(bytes, ahead, &mut way) {
            return Step::NoTaker;
        }
        if !self.may_leave(&stored, is_new, bytes, *now, home.message_bytes_max) {
            return Step::Held;
        }
        let reached = loop {
            let block = self.with_pin(block, pinned);
            let to = match self.waiting.first() {
                Some(request) => &request.reply,
                None => self.config.deliver_subject.as_bytes(),
            };
            let reached = way.outlet.publish(&Outgoing {
                to,
                subject: stored.subject,
                reply,
                headers: block,
                payload,
            });
            if reached != Reached::Nobody {
                break reached;
            }
            if self.is_push() {
                // It may be that somebody listens who may not hear this.
                let subject = self.config.deliver_subject.as_bytes();
                if way.outlet.has_interest(subject) {
                    return Step::Refused;
                }
                self.set_bound(false, *now);
                return Step::NoTaker;
            }
            // Whoever asked is gone.
            self.waiting.remove_first();
            if !self.choose(bytes, ahead, &mut way) {
                return Step::NoTaker;
            }
        };
        let subject_bytes = stored.subject.len() as u64;
        if !self.is_push() {
            self.served(bytes, &mut way);
            self.last_used_ms = now.mono_ms;
        }
        self.record(seq, again, *now);
        if self.config.ack_policy == AckPolicy::None && home.retention != Retention::Limits {
            add_to_ranges(settled, seq);
        }
        if self.is_push() {
            self.set_heartbeat(*now);
            if self.config.flow_control {
                let to_bytes = self.config.deliver_subject.len() as u64;
                self.count_flow(bytes - subject_bytes + to_bytes, around);
            }
        }
        match reached {
            Reached::Full => Step::SentLast,
            Reached::Somebody | Reached::Nobody => Step::Sent,
        }
    }

    /// A message was delivered.
    #[inline]
    fn record(&mut self, seq: Seq, again: Option<Entry>, now: Now) {
        self.delivered.consumer += 1;
        self.last_delivered = now.unix;
        let consumer_seq = self.delivered.consumer;
        if let Some(entry) = again {
            let redeliveries = entry.redeliveries.saturating_add(1);
            let due = due_from_now(&self.config, redeliveries, now);
            self.pending.redeliver(seq, now.unix, due);
            self.changed().add_again(seq, redeliveries);
            return;
        }
        self.delivered.stream = seq;
        self.next = seq + 1;
        if self.config.ack_policy == AckPolicy::None {
            self.floor = self.delivered;
            self.changed();
        } else {
            let due = due_from_now(&self.config, 0, now);
            self.pending.push(seq, consumer_seq, now.unix, due);
            self.changed().add_delivered(seq, consumer_seq);
        }
        if let Some(last) = self.rare.as_mut().and_then(|rare| rare.last.as_mut()) {
            last.seqs.pop_front();
            last.live = last.live.saturating_sub(1);
            if last.seqs.is_empty() {
                self.leave_last();
            }
        } else if let Some(ahead) = &mut self.ahead
            && seq <= ahead.up_to
        {
            ahead.count = ahead.count.saturating_sub(1);
        }
    }

    /// Whether replay in original time and the rate limit let a message leave now. If not, it is
    /// asked for again when they do, and then they have.
    #[inline]
    fn may_leave(
        &mut self,
        stored: &Stored<'_>,
        is_new: bool,
        bytes: u64,
        now: Now,
        burst_bytes: u64,
    ) -> bool {
        let rate_bytes = self.config.rate_limit_bps / 8;
        if rate_bytes == 0 && self.rare.as_ref().is_none_or(|rare| rare.replay.is_none()) {
            return true;
        }
        let rare = self.rare.get_or_insert_default();
        if let Some(held) = rare.held.take()
            && held.seq == stored.seq
        {
            return true;
        }
        let mut until_ms = now.mono_ms;
        if let Some((before, up_to)) = &mut rare.replay {
            if let Some(before) = before.replace(stored.time)
                && is_new
            {
                until_ms += stored.time.saturating_sub(before).max(0).unsigned_abs() / 1_000_000;
            }
            if stored.seq > *up_to {
                rare.replay = None;
                until_ms = now.mono_ms;
            }
        }
        if rate_bytes > 0 {
            let nanos = |bytes: u64| {
                let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate_bytes);
                u64::try_from(nanos).unwrap_or(u64::MAX)
            };
            let now_ns = now.mono_ms.saturating_mul(1_000_000);
            // Counted from one burst ahead, so that it is never before the beginning of time.
            rare.paid_off_ns = (rare.paid_off_ns.max(now_ns)).saturating_add(nanos(bytes));
            let over_ns = rare.paid_off_ns.saturating_sub(now_ns);
            let wait_ms: Millis = over_ns.saturating_sub(nanos(burst_bytes)) / 1_000_000;
            until_ms = until_ms.max(now.mono_ms.saturating_add(wait_ms));
        }
        if until_ms > now.mono_ms {
            rare.held = Some(Held {
                seq: stored.seq,
                until_ms,
            });
        }
        until_ms <= now.mono_ms
    }

    /// The block of headers, with who has the pin where clients are pinned.
    fn with_pin<'b>(&self, block: &'b [u8], room: &'b mut Vec<u8>) -> &'b [u8] {
        let pin = self.rare.as_ref().and_then(|rare| rare.pin.as_ref());
        match pin {
            Some(pin) if self.config.priority_policy == PriorityPolicy::PinnedClient => {
                room.clear();
                push_header(room, block, b"Nats-Pin-Id", |to| {
                    to.extend_from_slice(pin.id.as_bytes());
                });
                room
            }
            _ => block,
        }
    }
}

/// Appends `block`, or an empty one, with one more header.
fn push_header(to: &mut Vec<u8>, block: &[u8], key: &[u8], value: impl FnOnce(&mut Vec<u8>)) {
    let block = match block {
        b"" => b"NATS/1.0\r\n",
        block => block.strip_suffix(b"\r\n").unwrap_or(block),
    };
    to.extend_from_slice(block);
    to.extend_from_slice(key);
    to.extend_from_slice(b": ");
    value(to);
    to.extend_from_slice(b"\r\n\r\n");
}
