//! Acknowledgements and what else ends waiting for them: the ack floor, what is given up, and what
//! the stream has lost.

use std::collections::BTreeMap;

use super::ack::{Ack, AckSubject};
use super::facts::add_to_ranges;
use super::pending::{Entry, NEVER};
use super::{Around, Consumer, Event, Position, millis};
use crate::base::deadlines::Millis;
use crate::jetstream::config::{AckPolicy, ConsumerConfig, Retention};
use crate::jetstream::{Now, Outgoing, Outlet};
use crate::store::{Messages, Seq, UnixNanos};

/// Deadlines are rounded up to so many parts of the wait, so that many share one.
const WAIT_PARTS: Millis = 1024;
/// Why messages are given up that the stream does not have any more.
const DELETED: &str = "Unacknowledged message was deleted";

/// How long to wait for an acknowledgement after so many redeliveries; nothing for ever.
fn wait(config: &ConsumerConfig, redeliveries: u32) -> Option<Millis> {
    let backoff = &config.backoff;
    let place = usize::try_from(redeliveries).unwrap_or(usize::MAX);
    let nanos = match backoff.last() {
        Some(&last) => backoff.get(place).copied().unwrap_or(last),
        None => config.ack_wait,
    };
    (nanos > 0).then(|| millis(nanos))
}

/// When a message that is delivered now comes up.
#[inline]
pub fn due_from_now(config: &ConsumerConfig, redeliveries: u32, now: Now) -> Millis {
    wait(config, redeliveries).map_or(NEVER, |wait| {
        let part = (wait / WAIT_PARTS).max(1);
        let due = now.mono_ms.saturating_add(wait);
        due.div_ceil(part).saturating_mul(part)
    })
}

/// When a message that was delivered at a time comes up.
pub fn due(config: &ConsumerConfig, redeliveries: u32, delivered: UnixNanos, now: Now) -> Millis {
    wait(config, redeliveries).map_or(NEVER, |wait| {
        let waited = millis(now.unix.saturating_sub(delivered));
        now.mono_ms.saturating_add(wait.saturating_sub(waited))
    })
}

impl Consumer {
    /// A client answers a message: `subject` is what it was published on, `payload` is without
    /// headers.
    pub fn acknowledge<M: Messages, O: Outlet>(
        &mut self,
        subject: &AckSubject<'_>,
        reply: &[u8],
        payload: &[u8],
        around: &mut Around<'_, M, O>,
    ) {
        self.used(around.now);
        let ack = Ack::parse(payload);
        let is_kept = matches!(ack, Ack::Done | Ack::Never(_));
        let is_answered = match ack {
            Ack::Done => self.done(subject, true, around),
            Ack::Next(request) => {
                self.done(subject, true, around);
                self.handle_next(reply, b"", request, around);
                return;
            }
            Ack::Not(delay) => {
                self.not_done(subject, delay, around);
                true
            }
            Ack::Progress => {
                if let Some(entry) = self.pending.get(subject.stream_seq) {
                    let due = due_from_now(&self.config, entry.redeliveries, around.now);
                    let now = around.now.unix;
                    self.pending.touch(subject.stream_seq, now, due);
                }
                true
            }
            Ack::Never(reason) => {
                let is_answered = self.done(subject, false, around);
                let event = Event::Terminated {
                    consumer_seq: subject.consumer_seq,
                    stream_seq: subject.stream_seq,
                    deliveries: subject.deliveries,
                    reason: &String::from_utf8_lossy(reason),
                };
                around.tell(&self.name, &event);
                is_answered
            }
            Ack::Unknown => true,
        };
        if !reply.is_empty() && is_answered && subject.stream_seq > 0 {
            let answer = Outgoing {
                to: reply,
                subject: reply,
                ..Outgoing::default()
            };
            // What changes nothing is not waited for: there may be no flush for it. An acknowledgement
            // that was given before may still be on its way to the disk.
            if is_kept && around.home.is_durable && !self.config.mem_storage {
                self.changed();
                around.outlet.publish_durable(&answer);
            } else {
                around.outlet.publish(&answer);
            }
        }
    }

    /// A message is done. Whether that is to be answered: not where it was never delivered.
    fn done<M: Messages, O: Outlet>(
        &mut self,
        subject: &AckSubject<'_>,
        is_sampled: bool,
        around: &mut Around<'_, M, O>,
    ) -> bool {
        let seq = subject.stream_seq;
        if seq > self.delivered.stream {
            return false;
        }
        match self.config.ack_policy {
            AckPolicy::None => return false,
            AckPolicy::Explicit => {
                if is_sampled && !self.config.sample_freq.is_empty() {
                    self.sample(subject, around);
                }
                self.settle(seq, around);
            }
            AckPolicy::All | AckPolicy::FlowControl => {
                self.done_up_to(seq, subject.consumer_seq, around);
            }
        }
        self.last_acked = around.now.unix;
        true
    }

    /// One message is settled; the floor follows.
    #[inline]
    fn settle<M, O>(&mut self, seq: Seq, around: &mut Around<'_, M, O>) {
        if self.is_stalled() {
            self.is_ready = true;
        }
        match self.pending.settle(seq) {
            Some((_, was_first)) => self.move_floor(seq, was_first),
            None if self.take_given_up(seq) => self.returned(seq),
            None => return,
        }
        self.changed().add_settled(seq);
        if around.home.retention != Retention::Limits {
            add_to_ranges(&mut around.desk.settled, seq);
        }
    }

    /// After one was settled: behind the first that is still pending, or at what was delivered. What was
    /// given up holds it as if it were pending, as long as anything is: as in nats-server.
    #[inline]
    fn move_floor(&mut self, settled: Seq, was_first: bool) {
        match self.pending.first() {
            None => {
                self.floor = self.delivered;
                if self.waiting.is_empty() {
                    self.pending.shrink();
                }
            }
            Some(_) if was_first && self.has_given_up_below(settled) => {}
            Some(first) if was_first => {
                self.floor = Position {
                    consumer: first.consumer_seq.saturating_sub(1),
                    stream: first.seq - 1,
                };
            }
            Some(_) => {}
        }
    }

    #[inline]
    fn has_given_up_below(&self, seq: Seq) -> bool {
        let Some(rare) = &self.rare else {
            return false;
        };
        let above = rare.given_up.range(self.floor.stream.saturating_add(1)..);
        above.take(1).any(|(&first, _)| first < seq)
    }

    /// A message that was given up is not any more. Without another, nothing holds the floor.
    fn returned(&mut self, seq: Seq) {
        self.changed().add_returned(seq);
        if self.pending.is_empty() && !self.gives_up() {
            self.floor = self.delivered;
        }
    }

    fn take_given_up(&mut self, seq: Seq) -> bool {
        match &mut self.rare {
            Some(rare) => rare.given_up.remove(&seq).is_some(),
            None => false,
        }
    }

    /// All messages up to one are done.
    pub(super) fn done_up_to<M, O>(
        &mut self,
        seq: Seq,
        consumer_seq: u64,
        around: &mut Around<'_, M, O>,
    ) {
        let consumer_seq = consumer_seq.min(self.delivered.consumer);
        if consumer_seq <= self.floor.consumer || seq <= self.floor.stream {
            return;
        }
        if self.is_stalled() {
            self.is_ready = true;
        }
        let is_told = around.home.retention != Retention::Limits;
        let settled = &mut around.desk.settled;
        let changes = self.changes.get_or_insert_default();
        let mut returned = Vec::new();
        let mut each = |seq| {
            changes.add_settled(seq);
            if is_told {
                add_to_ranges(settled, seq);
            }
        };
        self.pending.settle_up_to(seq, |entry| each(entry.seq));
        let given_up = self.rare.as_mut().map(|rare| &mut rare.given_up);
        if let Some(given_up) = given_up
            && given_up
                .first_key_value()
                .is_some_and(|(&first, _)| first <= seq)
        {
            let above = given_up.split_off(&(seq + 1));
            returned.extend(std::mem::replace(given_up, above).into_keys());
        }
        returned.iter().for_each(|&seq| each(seq));
        for seq in returned {
            changes.add_returned(seq);
        }
        self.floor = Position {
            consumer: consumer_seq,
            stream: seq,
        };
        // What came after it may have been removed.
        if self.pending.is_empty() && seq < self.delivered.stream {
            self.floor = self.delivered;
        }
        if self.pending.is_empty() && self.waiting.is_empty() {
            self.pending.shrink();
        }
    }

    /// A client cannot do it: it is delivered again, at once or after a delay in nanoseconds.
    fn not_done<M: Messages, O: Outlet>(
        &mut self,
        subject: &AckSubject<'_>,
        delay: Option<i64>,
        around: &mut Around<'_, M, O>,
    ) {
        let seq = subject.stream_seq;
        let (floor, delivered) = (self.floor.consumer, self.delivered.consumer);
        let is_possible = subject.consumer_seq > floor && subject.consumer_seq <= delivered;
        if !is_possible || self.pending.get(seq).is_none() {
            return;
        }
        let event = Event::Naked {
            consumer_seq: subject.consumer_seq,
            stream_seq: seq,
            deliveries: subject.deliveries,
        };
        around.tell(&self.name, &event);
        match delay {
            Some(delay) => {
                let due = around.now.mono_ms.saturating_add(millis(delay));
                self.pending.postpone(seq, around.now.unix, due);
            }
            None => {
                self.pending.enqueue(seq);
                self.is_ready = true;
            }
        }
    }

    fn sample<M: Messages, O: Outlet>(
        &self,
        subject: &AckSubject<'_>,
        around: &mut Around<'_, M, O>,
    ) {
        let Some(entry) = self.pending.get(subject.stream_seq) else {
            return;
        };
        let percent = self.config.sample_freq.trim_end_matches('%');
        let percent = percent.parse().unwrap_or(0u64);
        if percent == 0 || (percent < 100 && around.outlet.random() % 100 >= percent) {
            return;
        }
        let event = Event::Acked {
            consumer_seq: subject.consumer_seq,
            stream_seq: subject.stream_seq,
            ack_time: around.now.unix.saturating_sub(entry.delivered),
            deliveries: subject.deliveries,
        };
        around.tell(&self.name, &event);
    }

    /// Messages that nobody has acknowledged in time are to be delivered again, or given up.
    pub(super) fn take_due<M: Messages, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) {
        let due = self.pending.take_due(around.now.mono_ms);
        self.deliver_these_again(due, around);
    }

    /// All that is pending is to be delivered again.
    pub(super) fn deliver_all_again<M: Messages, O: Outlet>(
        &mut self,
        around: &mut Around<'_, M, O>,
    ) {
        let all = self.pending.iter().map(|entry| entry.seq).collect();
        self.deliver_these_again(all, around);
    }

    fn deliver_these_again<M: Messages, O: Outlet>(
        &mut self,
        seqs: Vec<Seq>,
        around: &mut Around<'_, M, O>,
    ) {
        for seq in seqs {
            match self.pending.get(seq) {
                Some(entry) if self.may_deliver_again(entry) => self.pending.enqueue(seq),
                Some(&entry) => self.give_up(&entry, around),
                None => {}
            }
        }
        self.is_ready = true;
    }

    /// Whether another delivery of it is allowed.
    pub(super) fn may_deliver_again(&self, entry: &Entry) -> bool {
        match u64::try_from(self.config.max_deliver) {
            Ok(max) if max > 0 => u64::from(entry.redeliveries) + 1 < max,
            _ => true,
        }
    }

    /// It was delivered as often as may be. Nobody waits for it any more, but where messages are
    /// kept for consumers it stays: somebody may be told of it and want to look.
    pub(super) fn give_up<M: Messages, O: Outlet>(
        &mut self,
        entry: &Entry,
        around: &mut Around<'_, M, O>,
    ) {
        let deliveries = entry.redeliveries.saturating_add(1);
        let event = Event::MaxDeliveries {
            stream_seq: entry.seq,
            deliveries: u64::from(deliveries),
        };
        around.tell(&self.name, &event);
        self.pending.settle(entry.seq);
        if self.pending.is_empty() && self.waiting.is_empty() {
            self.pending.shrink();
        }
        self.rare().given_up.insert(entry.seq, deliveries);
        let changes = self.changed();
        changes.add_settled(entry.seq);
        changes.add_given_up(entry.seq, deliveries);
        self.is_ready = true;
    }

    /// A message of the stream was removed, by a limit or by somebody. Without its subject, what is
    /// ahead is counted anew where a filter would have to tell.
    pub fn removed<M: Messages, O: Outlet>(
        &mut self,
        seq: Seq,
        subject: Option<&[u8]>,
        around: &mut Around<'_, M, O>,
    ) {
        if let Some(ahead) = &mut self.ahead
            && seq >= self.next
            && seq <= ahead.up_to
        {
            match subject {
                Some(subject) if !self.selection.matches(subject) => {}
                None if !self.selection.is_everything() => self.ahead = None,
                Some(_) | None => ahead.count = ahead.count.saturating_sub(1),
            }
        }
        if let Some(rare) = &mut self.rare {
            if let Some(last) = &mut rare.last
                && last.seqs.binary_search(&seq).is_ok()
            {
                last.live = last.live.saturating_sub(1);
            }
            if rare.given_up.remove(&seq).is_some() {
                self.returned(seq);
            }
        }
        if let Some(&entry) = self.pending.get(seq) {
            self.lose(&entry, around);
        }
    }

    /// A message that is pending is not there any more.
    pub(super) fn lose<M, O: Outlet>(&mut self, entry: &Entry, around: &mut Around<'_, M, O>) {
        if self.is_stalled() {
            self.is_ready = true;
        }
        if let Some((_, was_first)) = self.pending.settle(entry.seq) {
            self.move_floor(entry.seq, was_first);
        }
        self.changed().add_settled(entry.seq);
        let event = Event::Terminated {
            consumer_seq: entry.consumer_seq,
            stream_seq: entry.seq,
            deliveries: u64::from(entry.redeliveries) + 1,
            reason: DELETED,
        };
        around.tell(&self.name, &event);
    }

    /// Whether it has to hear of each message that is removed.
    pub fn hears_removals(&self) -> bool {
        !self.pending.is_empty()
            || self.ahead.is_some_and(|ahead| ahead.up_to >= self.next)
            || self
                .rare
                .as_ref()
                .is_some_and(|rare| rare.last.is_some() || !rare.given_up.is_empty())
    }

    /// Many messages of the stream were removed at once: it looks at what is left.
    pub fn purged<M: Messages, O>(&mut self, around: &mut Around<'_, M, O>) {
        let messages = &mut *around.messages;
        let first = messages.state().first_seq;
        let is_gone = |seq: Seq| seq < first || messages.time_of(seq).is_none();
        let gone: Vec<Entry> = (self.pending.iter().filter(|e| is_gone(e.seq)))
            .copied()
            .collect();
        for entry in &gone {
            self.pending.settle(entry.seq);
        }
        if let Some(rare) = &mut self.rare {
            rare.given_up.retain(|&seq, _| !is_gone(seq));
            if let Some(last) = &mut rare.last {
                last.seqs.retain(|&seq| !is_gone(seq));
                last.live = last.seqs.len() as u64;
            }
        }
        self.next = self.next.max(first);
        self.ahead = None;
        match self.pending.first() {
            None => {
                self.delivered.stream = self.delivered.stream.max(first - 1);
                self.floor = self.delivered;
            }
            Some(pending) => {
                self.floor = Position {
                    consumer: pending.consumer_seq.saturating_sub(1),
                    stream: (pending.seq - 1).min(self.floor.stream.max(first - 1)),
                };
            }
        }
        if self.last_is_empty() {
            self.leave_last();
        }
        self.is_ready = true;
        self.changed().is_whole = true;
    }

    fn last_is_empty(&self) -> bool {
        let last = self.rare.as_ref().and_then(|rare| rare.last.as_ref());
        last.is_some_and(|last| last.seqs.is_empty())
    }

    /// Whether it still needs a message of its stream.
    pub fn needs(&self, seq: Seq, subject: &[u8]) -> bool {
        if !self.selection.matches(subject) {
            return false;
        }
        let is_given_up = || {
            let given_up = self.rare.as_ref().map(|rare| &rare.given_up);
            given_up.is_some_and(|given_up: &BTreeMap<_, _>| given_up.contains_key(&seq))
        };
        !self.is_acknowledged(seq) || is_given_up()
    }

    /// Whether it does not wait for the acknowledgement of that sequence, or will: whatever the
    /// subject.
    pub fn is_acknowledged(&self, seq: Seq) -> bool {
        let is_explicit = self.config.ack_policy == AckPolicy::Explicit;
        seq <= self.floor.stream
            || (is_explicit && seq < self.next && self.pending.get(seq).is_none())
    }

    /// Whether there are messages that it has given up, and would keep.
    pub fn gives_up(&self) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| !rare.given_up.is_empty())
    }

    /// Up to where all is acknowledged.
    pub fn ack_floor(&self) -> Position {
        self.floor
    }
}
