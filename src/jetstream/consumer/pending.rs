//! Messages that were delivered and not acknowledged: what is looked at for each delivery and each
//! acknowledgement, so neither costs more than a few cache lines.
//!
//! Deliveries of new messages come in order of the stream, so the entries are a ring in that order.
//! An acknowledged one is marked, and leaves when it is first; when more than half of the ring is
//! marked it is closed up, so that one message that nobody acknowledges does not make it grow.
//! A deadline is written down for a run of deliveries, as most have the same wait; only what comes
//! up before the last of these (a delay that a client asked for, backoff) is in a heap.
//!
//! It knows no policies: who may deliver how often is decided above.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::base::deadlines::Millis;
use crate::store::{Seq, UnixNanos};

/// The time of what does not come up by itself.
pub const NEVER: Millis = Millis::MAX;
/// Fewer marked entries than this are not worth closing up.
const CLOSE_UP_MIN: usize = 64;
/// More runs than that, and two for each entry, are mostly of no use any more.
const RUNS_MAX: usize = 1100;
/// Room for so many entries is kept when there are none.
const KEPT_ENTRIES: usize = 8;

/// What is to become of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was delivered, and comes up when it is due.
    Waiting,
    /// It is to be delivered again.
    Queued,
    /// It is acknowledged and only takes a place.
    Settled,
}

/// A message that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence in the stream.
    pub seq: Seq,
    /// The consumer's sequence of its first delivery.
    pub consumer_seq: u64,
    /// When it was delivered the last time.
    pub delivered: UnixNanos,
    due_ms: Millis,
    /// Deliveries after the first.
    pub redeliveries: u32,
    state: State,
}

/// Those of a run of entries that are due at that time.
#[derive(Clone, Copy, Debug)]
struct Run {
    due_ms: Millis,
    first: Seq,
    last: Seq,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Pending {
    /// In order of sequences. The first is not settled.
    entries: VecDeque<Entry>,
    live: usize,
    redelivered: usize,
    /// To be delivered again, in this order; those that are not queued any more are passed over.
    queue: VecDeque<Seq>,
    queued: usize,
    /// In order of time. What is in them may have been settled or got another time.
    runs: VecDeque<Run>,
    early: BinaryHeap<Reverse<(Millis, Seq)>>,
}

impl Pending {
    /// How many are not acknowledged.
    #[inline]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether none is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// How many of them were delivered more than once.
    pub fn redelivered(&self) -> usize {
        self.redelivered
    }

    /// How many of them are to be delivered again.
    #[inline]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// The first one.
    #[inline]
    pub fn first(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Entries and deadlines that take room, whether they are of use or not.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.entries.len() + self.runs.len() + self.early.len() + self.queue.len()
    }

    /// Those not acknowledged, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| e.state != State::Settled)
    }

    /// The one of that sequence.
    #[inline]
    pub fn get(&self, seq: Seq) -> Option<&Entry> {
        self.find(seq).map(|at| &self.entries[at])
    }

    #[inline]
    fn find(&self, seq: Seq) -> Option<usize> {
        let first = self.entries.front()?.seq;
        let guess = usize::try_from(seq.checked_sub(first)?).ok()?;
        // Where nothing is left out, the place is the distance from the first.
        let at = match self.entries.get(guess) {
            Some(entry) if entry.seq == seq => guess,
            _ => self.entries.binary_search_by_key(&seq, |e| e.seq).ok()?,
        };
        (self.entries[at].state != State::Settled).then_some(at)
    }

    /// A new message was delivered; its sequence is above all before.
    #[inline]
    pub fn push(&mut self, seq: Seq, consumer_seq: u64, delivered: UnixNanos, due_ms: Millis) {
        let entry = Entry {
            seq,
            consumer_seq,
            delivered,
            due_ms,
            redeliveries: 0,
            state: State::Waiting,
        };
        let is_next = self.entries.back().is_none_or(|last| last.seq < seq);
        debug_assert!(is_next, "new messages are delivered in order");
        if !is_next {
            return;
        }
        self.entries.push_back(entry);
        self.live += 1;
        self.arm(due_ms, seq);
    }

    /// Puts one back as it was, after a restart.
    pub fn restore(&mut self, seq: Seq, consumer_seq: u64, redeliveries: u32) {
        if self.entries.back().is_some_and(|last| last.seq >= seq) {
            return;
        }
        self.entries.push_back(Entry {
            seq,
            consumer_seq,
            delivered: 0,
            due_ms: NEVER,
            redeliveries,
            state: State::Waiting,
        });
        self.live += 1;
        self.redelivered += usize::from(redeliveries > 0);
    }

    /// Sets how often one was delivered again, after a restart.
    pub fn set_redeliveries(&mut self, seq: Seq, redeliveries: u32) {
        if let Some(at) = self.find(seq) {
            self.count(at, redeliveries);
        }
    }

    fn count(&mut self, at: usize, redeliveries: u32) {
        let entry = &mut self.entries[at];
        self.redelivered -= usize::from(entry.redeliveries > 0);
        entry.redeliveries = redeliveries;
        self.redelivered += usize::from(redeliveries > 0);
    }

    /// Has `seq` come up at `due_ms`.
    #[inline]
    fn arm(&mut self, due_ms: Millis, seq: Seq) {
        match self.runs.back_mut() {
            _ if due_ms == NEVER => {}
            Some(run) if run.due_ms == due_ms => {
                run.first = run.first.min(seq);
                run.last = run.last.max(seq);
            }
            Some(run) if run.due_ms > due_ms => self.arm_early(due_ms, seq),
            _ => {
                if self.runs.len() > RUNS_MAX + 2 * self.live {
                    self.rearm();
                }
                self.runs.push_back(Run {
                    due_ms,
                    first: seq,
                    last: seq,
                });
            }
        }
    }

    #[cold]
    fn arm_early(&mut self, due_ms: Millis, seq: Seq) {
        // One message may be given another delay again and again.
        if self.early.len() > CLOSE_UP_MIN + 2 * self.live {
            self.rearm();
        }
        self.early.push(Reverse((due_ms, seq)));
    }

    /// Makes the deadlines anew from what the entries say.
    fn rearm(&mut self) {
        self.runs.clear();
        self.early = self
            .entries
            .iter()
            .filter(|entry| entry.state == State::Waiting && entry.due_ms != NEVER)
            .map(|entry| Reverse((entry.due_ms, entry.seq)))
            .collect();
    }

    /// Gives every one that waits the time that `due_of` says.
    pub fn reschedule(&mut self, due_of: impl Fn(&Entry) -> Millis) {
        for entry in &mut self.entries {
            entry.due_ms = due_of(entry);
        }
        self.rearm();
    }

    /// One gets more time, or is to be delivered again only then. Whether it is pending.
    pub fn postpone(&mut self, seq: Seq, delivered: UnixNanos, due_ms: Millis) -> bool {
        let Some(at) = self.find(seq) else {
            return false;
        };
        let entry = &mut self.entries[at];
        entry.due_ms = due_ms;
        entry.delivered = delivered;
        if entry.state == State::Queued {
            entry.state = State::Waiting;
            self.queued -= 1;
            self.queue.retain(|&queued| queued != seq);
        }
        self.arm(due_ms, seq);
        true
    }

    /// As `postpone`, but one that is queued for delivery stays so: work in progress.
    pub fn touch(&mut self, seq: Seq, delivered: UnixNanos, due_ms: Millis) -> bool {
        let Some(at) = self.find(seq) else {
            return false;
        };
        let entry = &mut self.entries[at];
        entry.due_ms = due_ms;
        entry.delivered = delivered;
        if entry.state == State::Waiting {
            self.arm(due_ms, seq);
        }
        true
    }

    /// One is to be delivered again, after those that already are.
    pub fn enqueue(&mut self, seq: Seq) {
        if let Some(at) = self.find(seq)
            && self.entries[at].state == State::Waiting
        {
            self.entries[at].state = State::Queued;
            self.queued += 1;
            self.queue.push_back(seq);
        }
    }

    /// The next that is to be delivered again.
    #[inline]
    pub fn next_queued(&mut self) -> Option<Entry> {
        if self.queued == 0 {
            return None;
        }
        while let Some(&seq) = self.queue.front() {
            if let Some(at) = self.find(seq)
                && self.entries[at].state == State::Queued
            {
                return Some(self.entries[at]);
            }
            self.queue.pop_front();
        }
        None
    }

    /// One that was queued was delivered.
    pub fn redeliver(&mut self, seq: Seq, delivered: UnixNanos, due_ms: Millis) {
        let Some(at) = self.find(seq) else {
            return;
        };
        if self.entries[at].state == State::Queued {
            self.queued -= 1;
            if self.queue.front() == Some(&seq) {
                self.queue.pop_front();
            }
        }
        let redeliveries = self.entries[at].redeliveries.saturating_add(1);
        self.count(at, redeliveries);
        let entry = &mut self.entries[at];
        entry.state = State::Waiting;
        entry.delivered = delivered;
        entry.due_ms = due_ms;
        self.arm(due_ms, seq);
    }

    /// One was acknowledged, or is given up. What it was, and whether it was the first.
    #[inline]
    pub fn settle(&mut self, seq: Seq) -> Option<(Entry, bool)> {
        let at = self.find(seq)?;
        let entry = self.entries[at];
        self.entries[at].state = State::Settled;
        self.forget(&entry);
        if at == 0 {
            self.drop_settled();
        } else if self.entries.len() > CLOSE_UP_MIN + 2 * self.live {
            self.entries.retain(|entry| entry.state != State::Settled);
        }
        Some((entry, at == 0))
    }

    /// All up to a sequence were acknowledged.
    pub fn settle_up_to(&mut self, seq: Seq, mut each: impl FnMut(&Entry)) {
        while let Some(&entry) = self.entries.front()
            && entry.seq <= seq
        {
            self.entries.pop_front();
            if entry.state != State::Settled {
                self.forget(&entry);
                each(&entry);
            }
        }
        self.drop_settled();
    }

    fn forget(&mut self, entry: &Entry) {
        self.live -= 1;
        self.redelivered -= usize::from(entry.redeliveries > 0);
        self.queued -= usize::from(entry.state == State::Queued);
    }

    /// Holds that the first entry is not settled, and lets go of deadlines before it.
    #[inline]
    fn drop_settled(&mut self) {
        while let Some(first) = self.entries.front()
            && first.state == State::Settled
        {
            self.entries.pop_front();
        }
        match self.entries.front() {
            Some(first) => {
                let first = first.seq;
                while self.runs.front().is_some_and(|run| run.last < first) {
                    self.runs.pop_front();
                }
            }
            None => {
                self.queue.clear();
                self.runs.clear();
                self.early.clear();
            }
        }
    }

    /// All of a range are not pending any more.
    pub fn settle_range(&mut self, from: Seq, up_to: Seq) {
        let first = self.entries.partition_point(|entry| entry.seq < from);
        let within = self.entries.range(first..).map(|entry| entry.seq);
        let within: Vec<Seq> = within.take_while(|&seq| seq <= up_to).collect();
        for seq in within {
            self.settle(seq);
        }
    }

    /// After a restart all have their whole wait again.
    pub fn begin_again(&mut self, delivered: UnixNanos, due_of: impl Fn(u32) -> Millis) {
        for entry in &mut self.entries {
            entry.delivered = delivered;
        }
        self.reschedule(|entry| due_of(entry.redeliveries));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives memory back when there are none.
    pub fn shrink(&mut self) {
        if self.live == 0 && self.entries.capacity() > KEPT_ENTRIES {
            self.clear();
        }
    }

    /// When to look for due ones again; perhaps for nothing.
    pub fn next_due(&self) -> Option<Millis> {
        let run = self.runs.front().map(|run| run.due_ms);
        let early = self.early.peek().map(|Reverse((due, _))| *due);
        match (run, early) {
            (Some(run), Some(early)) => Some(run.min(early)),
            (run, early) => run.or(early),
        }
    }

    /// Those that are due, in order of sequences. They stay as they are: the owner queues or settles
    /// each.
    pub fn take_due(&mut self, now: Millis) -> Vec<Seq> {
        let mut due = Vec::new();
        while let Some(&run) = self.runs.front()
            && run.due_ms <= now
        {
            self.runs.pop_front();
            let from = self.entries.partition_point(|entry| entry.seq < run.first);
            let ready = |e: &&Entry| e.state == State::Waiting && e.due_ms <= now;
            let within = self.entries.range(from..);
            let within = within.take_while(|entry| entry.seq <= run.last);
            due.extend(within.filter(ready).map(|entry| entry.seq));
        }
        while let Some(&Reverse((due_ms, seq))) = self.early.peek()
            && due_ms <= now
        {
            self.early.pop();
            if self.find(seq).is_some_and(|at| {
                let entry = &self.entries[at];
                entry.state == State::Waiting && entry.due_ms <= now
            }) {
                due.push(seq);
            }
        }
        due.sort_unstable();
        due.dedup();
        due
    }
}

impl Entry {
    /// When it comes up, unless it is queued.
    pub fn due_ms(&self) -> Millis {
        self.due_ms
    }
}
