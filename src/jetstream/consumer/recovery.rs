//! What is written down of a consumer, and how it is made again from that.

use super::facts::{Fact, NoFact, add_to_runs};
use super::settle::due_from_now;
use super::{Around, Consumer, Position, facts::Run};
use crate::jetstream::Outlet;
use crate::jetstream::config::{ConsumerConfig, ReplayPolicy};
use crate::store::{Messages, Seq, UnixNanos};

impl Consumer {
    /// Whether there is something to write down.
    pub fn is_dirty(&self) -> bool {
        self.changes.is_some()
    }

    /// What has changed since the last call, if anything has: a fact to be appended to those before.
    pub fn take_delta(&mut self) -> Option<Vec<u8>> {
        let mut changes = self.changes.take()?;
        if changes.is_whole {
            return Some(self.snapshot());
        }
        changes.delivered = self.delivered;
        changes.floor = self.floor;
        Some(changes.encode())
    }

    /// Everything, as one fact that stands for all before.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut whole = Fact {
            is_whole: true,
            delivered: self.delivered,
            floor: self.floor,
            ..Fact::default()
        };
        for entry in self.pending.iter() {
            add_to_runs(&mut whole.runs, entry.seq, entry.consumer_seq);
            if entry.redeliveries > 0 {
                whole.again.push((entry.seq, entry.redeliveries));
            }
        }
        if let Some(rare) = &self.rare {
            whole.resume = rare.last.as_ref().map(|last| last.resume);
            whole.given_up = rare.given_up.iter().map(|(&seq, &n)| (seq, n)).collect();
        }
        if whole.resume.is_none() && self.next > self.delivered.stream + 1 {
            // It is known that there is nothing between.
            whole.resume = Some(self.next - 1);
        }
        whole.encode()
    }

    /// Makes one again from its facts, in their order.
    ///
    /// # Errors
    /// When one of them is no fact.
    pub fn recover<'f, M: Messages, O: Outlet>(
        name: &str,
        config: ConsumerConfig,
        created: UnixNanos,
        facts: impl IntoIterator<Item = &'f [u8]>,
        around: &mut Around<'_, M, O>,
    ) -> Result<Self, NoFact> {
        let mut consumer = Self::new(name, config, created, around);
        let mut resume = None;
        let mut is_known = false;
        let last_seq = around.messages.state().last_seq;
        for fact in facts {
            let fact = Fact::decode(fact)?;
            is_known = true;
            if fact.is_whole {
                resume = fact.resume;
            }
            consumer.apply(&fact, last_seq);
        }
        if !is_known {
            consumer.begin_at_policy(around);
            consumer.changed().is_whole = true;
        }
        consumer.reconcile(around);
        if let Some(resume) = resume {
            consumer.resume_last(resume, around);
        }
        if consumer.config.replay_policy == ReplayPolicy::Original && is_known {
            consumer.rare().replay = Some((None, last_seq));
        }
        consumer.bind(around);
        Ok(consumer)
    }

    fn apply(&mut self, fact: &Fact, last_seq: Seq) {
        if fact.is_whole {
            self.pending.clear();
            if let Some(rare) = &mut self.rare {
                rare.given_up.clear();
            }
        }
        self.delivered = fact.delivered;
        self.floor = fact.floor;
        for run in &fact.runs {
            let Run {
                seq, consumer_seq, ..
            } = *run;
            let there = (last_seq + 1).saturating_sub(seq).min(run.length);
            for at in 0..there {
                self.pending.restore(seq + at, consumer_seq + at, 0);
            }
        }
        for &(seq, redeliveries) in &fact.again {
            self.pending.set_redeliveries(seq, redeliveries);
        }
        for &(from, up_to) in &fact.settled {
            self.pending.settle_range(from, up_to);
        }
        for &(seq, deliveries) in &fact.given_up {
            self.rare().given_up.insert(seq, deliveries);
        }
        for seq in &fact.returned {
            if let Some(rare) = &mut self.rare {
                rare.given_up.remove(seq);
            }
        }
    }

    /// Fits what was written down to what the stream has: it may have lost messages meanwhile, and
    /// without flushes of each acknowledgement also the last ones.
    fn reconcile<M: Messages, O>(&mut self, around: &mut Around<'_, M, O>) {
        let messages = &*around.messages;
        let state = messages.state();
        let (first, last) = (state.first_seq, state.last_seq);
        let now = around.now;
        let gone: Vec<Seq> = (self.pending.iter())
            .map(|entry| entry.seq)
            .filter(|&seq| messages.time_of(seq).is_none())
            .collect();
        for &seq in &gone {
            self.pending.settle(seq);
            self.changed().add_settled(seq);
        }
        if let Some(rare) = &mut self.rare {
            rare.given_up
                .retain(|&seq, _| messages.time_of(seq).is_some());
        }
        let (config, unix) = (&self.config, now.unix);
        self.pending
            .begin_again(unix, |redeliveries| due_from_now(config, redeliveries, now));
        // Where nothing was delivered yet, it is the place to begin, which may be still to come.
        if self.delivered.consumer > 0 {
            self.delivered.stream = self.delivered.stream.min(last);
        }
        self.floor.stream = self.floor.stream.min(self.delivered.stream);
        match self.pending.first() {
            None if self.floor.stream < self.delivered.stream && !self.gives_up() => {
                self.floor = self.delivered;
            }
            None => {}
            Some(entry) if !gone.is_empty() => {
                let before = Position {
                    consumer: entry.consumer_seq.saturating_sub(1),
                    stream: entry.seq - 1,
                };
                if before.consumer > self.floor.consumer {
                    self.floor = before;
                }
            }
            Some(_) => {}
        }
        self.next = (self.delivered.stream + 1).max(first).max(1);
    }

    /// Goes on with a list of last messages, if it was not at its end.
    fn resume_last<M: Messages, O>(&mut self, resume: Seq, around: &mut Around<'_, M, O>) {
        let messages = &*around.messages;
        let resume = resume.min(messages.state().last_seq);
        let mut seqs = match self.config.deliver_policy {
            super::DeliverPolicy::LastPerSubject => messages
                .last_of_each(&mut self.selection, resume, usize::MAX)
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        seqs.retain(|&seq| seq > self.delivered.stream);
        if seqs.is_empty() {
            self.next = self.next.max(resume + 1);
        } else {
            self.next = self.begin_with_last(seqs, resume);
        }
    }
}
