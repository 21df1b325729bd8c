//! A consumer's rules: what it delivers to whom, what it waits for, and when it delivers again.
//!
//! Pure: inputs come with the time, the messages of its stream and a way out. Per message delivered
//! and acknowledged it costs one look at the index, one copy of the message into the outlet, one
//! subject written by hand, and an entry of a ring; nothing is allocated. A consumer that nobody
//! asks costs nothing while messages come: whoever owns it calls [`Consumer::deliver`] only where
//! [`Consumer::is_hungry`], and [`Consumer::removed`] only where [`Consumer::hears_removals`].
//!
//! It must not know other consumers, retention, the API's JSON or how facts are stored.

mod ack;
mod deliver;
mod event;
pub(super) mod facts;
mod lookahead;
mod pending;
mod pull;
mod push;
mod recovery;
mod settle;
mod status;
mod waiting;

pub use ack::{Ack, AckSubject};
pub use event::Event;
pub use facts::NoFact;
pub use status::Status;

use std::collections::{BTreeMap, VecDeque};

use crate::base::deadlines::Millis;
use crate::jetstream::config::{
    ConsumerConfig, DeliverPolicy, PriorityPolicy, ReplayPolicy, Retention,
};
use crate::jetstream::{Now, Outlet};
use crate::store::{Messages, Selection, Seq, UnixNanos};
use facts::Fact;
use lookahead::Lookahead;
use pending::{NEVER, Pending};
use push::Flow;
use waiting::Waiting;

const NANOS_PER_MS: i64 = 1_000_000;
/// What an ephemeral consumer without a threshold of its own gets.
const INACTIVE_THRESHOLD_NS: i64 = 5_000_000_000;
/// A count of what is ahead is kept for so long after the last request: while it is kept, the
/// consumer has to hear of removals.
const COUNT_KEPT_MS: Millis = 10_000;

/// What a consumer knows of its stream.
#[derive(Clone, Debug, Default)]
pub struct Home {
    /// The account's name.
    pub account: String,
    /// The stream's.
    pub stream: String,
    /// The JetStream domain, or nothing.
    pub domain: String,
    /// The account's hash, where subjects of acknowledgements have the long form.
    pub long_subjects: Option<String>,
    /// What becomes of messages.
    pub retention: Retention,
    /// At most so many of a subject, or -1.
    pub max_msgs_per_subject: i64,
    /// The longest message there may be: what a rate limit lets through at once.
    pub message_bytes_max: u64,
    /// Whether what is acknowledged is on disk first.
    pub is_durable: bool,
}

/// What an input comes with.
pub struct Around<'a, M, O> {
    pub now: Now,
    pub home: &'a Home,
    pub messages: &'a mut M,
    pub outlet: &'a mut O,
    pub desk: &'a mut Desk,
}

impl<M, O: Outlet> Around<'_, M, O> {
    fn tell(&mut self, consumer: &str, event: &Event<'_>) {
        event.tell(consumer, self.now, self.home, self.outlet);
    }
}

/// Room that is used for one thing after the other, and what the owner has to see to.
#[derive(Debug, Default)]
pub struct Desk {
    /// Messages that a consumer needs no more, as ranges (inclusive): written where the stream's
    /// retention is not by limits. The owner takes them after each call.
    pub settled: Vec<(Seq, Seq)>,
    /// How many messages could not be read, and were passed over. The store has said which.
    pub damaged: u64,
    reply: Vec<u8>,
    headers: Vec<u8>,
    pinned: Vec<u8>,
    status: Vec<u8>,
}

/// A place in the order of deliveries, and in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The consumer's sequence.
    pub consumer: u64,
    /// The stream's.
    pub stream: Seq,
}

/// Why a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is nothing to do until something happens.
    Idle,
    /// The budget is used up.
    More,
    /// A message is being read: call again when the store has news.
    WaitingForRead,
    /// Who gets it has too much unsent: call again in a moment.
    WaitingForOutlet,
}

/// What a look at the time says about the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Lives,
    /// Nobody has used it for its inactive threshold: it is to be deleted.
    Inactive,
}

/// Why a consumer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It, or its stream, is deleted.
    Deleted,
    /// The server stops; the consumer will be there again.
    Shutdown,
}

/// Why it was not reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetRefused(pub &'static str);

/// What the API shows of a consumer, beside its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub delivered: Position,
    /// When something was delivered the last time; 0 for never since the start.
    pub last_delivered: UnixNanos,
    pub ack_floor: Position,
    /// When something was acknowledged the last time; 0 for never since the start.
    pub last_acked: UnixNanos,
    pub num_ack_pending: usize,
    pub num_redelivered: usize,
    pub num_waiting: usize,
    pub num_pending: u64,
    pub push_bound: bool,
    pub paused: bool,
    /// Nanoseconds; 0 when it is not paused.
    pub pause_remaining: i64,
    /// The group of a consumer with priorities; with the pin and when it was given, if there is one.
    pub group: Option<GroupInfo>,
}

/// See [`Info`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    pub name: String,
    pub pinned_id: String,
    pub pinned: UnixNanos,
}

/// The last messages of each subject, from before the consumer was made.
#[derive(Debug)]
struct Last {
    seqs: VecDeque<Seq>,
    /// How many of them are still there.
    live: u64,
    /// Where to go on behind them.
    resume: Seq,
}

/// How many messages are ahead: counted up to a sequence.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    count: u64,
    up_to: Seq,
}

/// A message that must not leave before a time.
#[derive(Clone, Copy, Debug)]
struct Held {
    seq: Seq,
    until_ms: Millis,
}

/// The client that has the pin.
#[derive(Debug)]
struct Pin {
    id: String,
    group: String,
    since: UnixNanos,
    expires_ms: Millis,
}

/// What few consumers have.
#[derive(Debug, Default)]
struct Rare {
    last: Option<Last>,
    flow: Option<Flow>,
    pin: Option<Pin>,
    /// Delivered as often as may be, and not acknowledged; with how often.
    given_up: BTreeMap<Seq, u32>,
    /// Time of the last message, while messages are delivered as they came, and up to which.
    replay: Option<(Option<UnixNanos>, Seq)>,
    /// When what a rate limit has let through would be paid off.
    paid_off_ns: u64,
    held: Option<Held>,
}

/// See the module.
#[derive(Debug)]
pub struct Consumer {
    name: Box<str>,
    created: UnixNanos,
    config: Box<ConsumerConfig>,
    selection: Selection,
    /// Subjects of acknowledgements up to the numbers.
    ack_prefix: Box<[u8]>,
    /// The sequence to look for the next new message from.
    next: Seq,
    delivered: Position,
    floor: Position,
    last_delivered: UnixNanos,
    last_acked: UnixNanos,
    pending: Pending,
    ahead: Option<Ahead>,
    waiting: Waiting,
    /// When a request or an acknowledgement came.
    last_used_ms: Millis,
    /// How long it may be unused; 0 for ever.
    inactive_ms: Millis,
    inactive_at_ms: Millis,
    heartbeat_at_ms: Millis,
    resume_at_ms: Millis,
    /// What `take_deadline` gave last.
    armed_at_ms: Millis,
    /// Somebody listens to the deliver subject.
    is_bound: bool,
    /// Something has happened after which there may be something to deliver.
    is_ready: bool,
    /// Of a consumer with a filter.
    lookahead: Option<Box<Lookahead>>,
    changes: Option<Box<Fact>>,
    rare: Option<Box<Rare>>,
}

/// Milliseconds, rounded up, of a duration of the configuration.
fn millis(nanos: i64) -> Millis {
    nanos.max(0).unsigned_abs().div_ceil(NANOS_PER_MS as u64)
}

impl Consumer {
    /// Makes one, which begins where its policy says. The configuration has been checked, and its
    /// defaults are set.
    pub fn create<M: Messages, O: Outlet>(
        name: &str,
        config: ConsumerConfig,
        around: &mut Around<'_, M, O>,
    ) -> Self {
        let mut consumer = Self::new(name, config, around.now.unix, around);
        consumer.begin_at_policy(around);
        consumer.changed().is_whole = true;
        consumer.bind(around);
        around.tell(&consumer.name, &Event::Created);
        consumer
    }

    fn new<M, O: Outlet>(
        name: &str,
        config: ConsumerConfig,
        created: UnixNanos,
        around: &mut Around<'_, M, O>,
    ) -> Self {
        let mut consumer = Self {
            name: name.into(),
            created,
            selection: selection(&config),
            ack_prefix: prefix(ack::PREFIX, name, around.home),
            config: Box::new(config),
            next: 1,
            delivered: Position::default(),
            floor: Position::default(),
            last_delivered: 0,
            last_acked: 0,
            pending: Pending::default(),
            ahead: None,
            waiting: Waiting::default(),
            last_used_ms: around.now.mono_ms,
            inactive_ms: 0,
            inactive_at_ms: NEVER,
            heartbeat_at_ms: NEVER,
            resume_at_ms: NEVER,
            armed_at_ms: NEVER,
            is_bound: false,
            is_ready: true,
            lookahead: None,
            changes: None,
            rare: None,
        };
        consumer.set_inactive_threshold(around);
        consumer.set_pause(around.now);
        consumer
    }

    /// Begins where the deliver policy says.
    fn begin_at_policy<M: Messages, O>(&mut self, around: &mut Around<'_, M, O>) {
        let messages = &mut *around.messages;
        let state = *messages.state();
        let after_last = state.last_seq + 1;
        let mut start = match self.config.deliver_policy {
            DeliverPolicy::All => state.first_seq,
            DeliverPolicy::New => after_last,
            DeliverPolicy::ByStartSequence => self.config.opt_start_seq,
            DeliverPolicy::ByStartTime => {
                let time = self.config.opt_start_time.unwrap_or(0);
                messages.at_or_after(time).min(after_last)
            }
            DeliverPolicy::Last => messages
                .last(&mut self.selection, state.last_seq)
                .unwrap_or(0),
            // With one message of each subject, all are the last.
            DeliverPolicy::LastPerSubject if around.home.max_msgs_per_subject == 1 => {
                state.first_seq
            }
            DeliverPolicy::LastPerSubject => {
                let seqs = messages.last_of_each(&mut self.selection, state.last_seq, usize::MAX);
                self.begin_with_last(seqs.unwrap_or_default(), state.last_seq)
            }
        };
        start = start.max(state.first_seq).max(1);
        self.next = start;
        self.delivered.stream = start - 1;
        self.floor.stream = start - 1;
        if self.config.replay_policy == ReplayPolicy::Original {
            self.rare().replay = Some((None, state.last_seq));
        }
    }

    /// Has these delivered before anything else; gives the first.
    fn begin_with_last(&mut self, seqs: Vec<Seq>, resume: Seq) -> Seq {
        let first = seqs.first().copied().unwrap_or(resume + 1);
        if !seqs.is_empty() {
            self.rare().last = Some(Last {
                live: seqs.len() as u64,
                seqs: seqs.into(),
                resume,
            });
        }
        first
    }

    /// Begins to hear whether somebody listens, and sets out its clocks.
    fn bind<M, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) {
        self.is_ready = true;
        self.last_used_ms = around.now.mono_ms;
        if !self.is_push() {
            self.inactive_at_ms = self.after_inactive(around.now);
            return;
        }
        around
            .outlet
            .watch_interest(self.config.deliver_subject.as_bytes());
        self.is_bound = self.is_subscribed(around);
        if !self.is_bound {
            self.inactive_at_ms = self.after_inactive(around.now);
        }
        if self.config.flow_control {
            self.rare().flow = Some(Flow::default());
        }
        self.set_heartbeat(around.now);
    }

    /// Ends it: waiting clients are told. What it needed is not settled; the owner asks what other
    /// consumers need.
    pub fn end<M: Messages, O: Outlet>(&mut self, end: End, around: &mut Around<'_, M, O>) {
        for request in self.waiting.take() {
            let status = match end {
                End::Deleted => Status::Conflict("Consumer Deleted"),
                End::Shutdown => Status::ServerShutdown(request.left()),
            };
            status.send(around.outlet, &request.reply, b"", &mut around.desk.status);
        }
        if self.is_push() {
            let subject = self.config.deliver_subject.as_bytes();
            around.outlet.unwatch_interest(subject);
        }
        if end == End::Deleted {
            around.tell(&self.name, &Event::Deleted);
        }
    }

    /// Takes a changed configuration, which has been checked. Whether its filter has changed: then
    /// messages that only it wanted may be wanted by nobody.
    pub fn update<M: Messages, O: Outlet>(
        &mut self,
        config: ConsumerConfig,
        around: &mut Around<'_, M, O>,
    ) -> bool {
        let old = std::mem::replace(&mut *self.config, config);
        self.is_ready = true;
        if old.deliver_subject != self.config.deliver_subject && self.is_push() {
            around
                .outlet
                .unwatch_interest(old.deliver_subject.as_bytes());
            let subject = self.config.deliver_subject.as_bytes();
            around.outlet.watch_interest(subject);
            let is_bound = self.is_subscribed(around);
            self.set_bound(is_bound, around.now);
            // What was sent there may not have arrived.
            self.deliver_all_again(around);
        }
        if old.ack_wait != self.config.ack_wait || old.backoff != self.config.backoff {
            let (config, now) = (&self.config, around.now);
            self.pending
                .reschedule(|entry| settle::due(config, entry.redeliveries, entry.delivered, now));
        }
        if old.rate_limit_bps != self.config.rate_limit_bps
            && let Some(rare) = &mut self.rare
        {
            rare.paid_off_ns = 0;
            rare.held = None;
        }
        if old.inactive_threshold != self.config.inactive_threshold
            || old.durable_name != self.config.durable_name
        {
            self.set_inactive_threshold(around);
            if !self.is_bound {
                self.last_used_ms = around.now.mono_ms;
                self.inactive_at_ms = self.after_inactive(around.now);
            }
        }
        if old.pause_until != self.config.pause_until {
            self.set_pause(around.now);
            self.tell_pause(around);
        }
        let is_filtered_anew = filters(&old) != filters(&self.config);
        if is_filtered_anew {
            self.selection = selection(&self.config);
            self.lookahead = None;
            self.ahead = None;
            self.filter_last(around.messages);
        }
        if self.config.sourcing {
            // It goes back to the floor: what was in flight may not have arrived.
            let _ = self.reset(0, around);
        }
        is_filtered_anew
    }

    /// After a change of the filter, only those of the list that are still wanted.
    fn filter_last<M: Messages>(&mut self, messages: &mut M) {
        let Some(last) = self.rare.as_mut().and_then(|rare| rare.last.as_mut()) else {
            return;
        };
        let from = last.seqs.front().copied().unwrap_or(0);
        let all = messages.last_of_each(&mut self.selection, last.resume, usize::MAX);
        last.seqs = all.unwrap_or_default().into();
        last.seqs.retain(|&seq| seq >= from);
        last.live = last.seqs.len() as u64;
        if last.seqs.is_empty() {
            self.leave_last();
        }
    }

    /// The list of last messages is used up.
    fn leave_last(&mut self) {
        if let Some(last) = self.rare.as_mut().and_then(|rare| rare.last.take()) {
            self.next = self.next.max(last.resume + 1);
            // How far it has come is said only by a whole state.
            self.changed().is_whole = true;
        }
    }

    fn set_inactive_threshold<M, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) {
        if self.config.durable_name.is_empty() && self.config.inactive_threshold <= 0 {
            self.config.inactive_threshold = INACTIVE_THRESHOLD_NS;
        }
        self.inactive_ms = millis(self.config.inactive_threshold);
        if self.inactive_ms > 0 && !self.is_push() {
            // Clients of many consumers that went away together should not have them all deleted at
            // once; and who pulls at that very interval should not lose a race.
            self.inactive_ms += 100 + around.outlet.random() % 900;
        }
    }

    fn after_inactive(&self, now: Now) -> Millis {
        match self.inactive_ms {
            0 => NEVER,
            threshold => now.mono_ms.saturating_add(threshold),
        }
    }

    fn set_pause(&mut self, now: Now) {
        let remaining = self
            .config
            .pause_until
            .unwrap_or(0)
            .saturating_sub(now.unix);
        self.resume_at_ms = if remaining > 0 {
            now.mono_ms.saturating_add(millis(remaining))
        } else {
            NEVER
        };
    }

    fn is_paused(&self, now: Now) -> bool {
        self.resume_at_ms != NEVER
            && self
                .config
                .pause_until
                .is_some_and(|until| now.unix < until)
    }

    fn tell_pause<M: Messages, O: Outlet>(&self, around: &mut Around<'_, M, O>) {
        let until = self.config.pause_until;
        let is_paused = until.is_some_and(|until| around.now.unix < until);
        around.tell(&self.name, &Event::Paused { until, is_paused });
    }

    /// Goes back to a sequence, or with 0 to behind the ack floor; gives where it is now.
    ///
    /// # Errors
    /// When the deliver policy does not allow that.
    pub fn reset<M: Messages, O: Outlet>(
        &mut self,
        seq: Seq,
        around: &mut Around<'_, M, O>,
    ) -> Result<Seq, ResetRefused> {
        let seq = match (seq, self.config.deliver_policy) {
            (0, _) => self.floor.stream + 1,
            (_, DeliverPolicy::All) => seq,
            (_, DeliverPolicy::ByStartSequence) if seq < self.config.opt_start_seq => {
                return Err(ResetRefused("below start seq"));
            }
            (_, DeliverPolicy::ByStartSequence) => seq,
            (_, DeliverPolicy::ByStartTime) => {
                let time = self.config.opt_start_time.unwrap_or(0);
                if seq < around.messages.at_or_after(time) {
                    return Err(ResetRefused("below start time"));
                }
                seq
            }
            _ => return Err(ResetRefused("not allowed")),
        };
        self.pending.clear();
        if let Some(rare) = &mut self.rare {
            rare.given_up.clear();
            rare.held = None;
            rare.last = None;
        }
        self.next = seq;
        self.delivered = Position {
            consumer: 0,
            stream: seq - 1,
        };
        self.floor = self.delivered;
        (self.last_delivered, self.last_acked) = (0, 0);
        self.ahead = None;
        self.is_ready = true;
        self.changed().is_whole = true;
        Ok(seq)
    }

    /// Takes the pin away from whom it has, as an administrator asks.
    pub fn unpin<M: Messages, O: Outlet>(&mut self, group: &str, around: &mut Around<'_, M, O>) {
        if let Some(rare) = &mut self.rare {
            rare.pin = None;
        }
        let reason = "admin";
        around.tell(&self.name, &Event::Unpinned { group, reason });
        self.is_ready = true;
    }

    /// Looks at the time: what is due is done.
    pub fn tick<M: Messages, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) -> Fate {
        let now = around.now;
        if self
            .pending
            .next_due()
            .is_some_and(|due| due <= now.mono_ms)
        {
            self.take_due(around);
        }
        if self.resume_at_ms <= now.mono_ms {
            // The clock of people may have been set meanwhile.
            self.set_pause(now);
            if self.resume_at_ms == NEVER {
                self.tell_pause(around);
                self.is_ready = true;
            }
        }
        if self.waiting.next_event_ms() <= now.mono_ms {
            self.look_at_waiting(true, around);
        }
        if self.heartbeat_at_ms <= now.mono_ms {
            self.push_heartbeat(around);
        }
        if self.held_until().is_some_and(|until| until <= now.mono_ms) {
            self.is_ready = true;
        }
        if self.pin_expires() <= now.mono_ms {
            self.expire_pin(around);
        }
        if self.count_kept_until() <= now.mono_ms {
            // What the selection remembers of the stream's subjects goes with it.
            self.ahead = None;
            self.selection = selection(&self.config);
            self.lookahead = None;
        }
        if self.inactive_at_ms <= now.mono_ms && self.is_inactive(around) {
            return Fate::Inactive;
        }
        Fate::Lives
    }

    /// When to call [`Self::tick`].
    pub fn next_deadline(&self) -> Option<Millis> {
        let next = self
            .pending
            .next_due()
            .unwrap_or(NEVER)
            .min(self.waiting.next_event_ms())
            .min(self.heartbeat_at_ms)
            .min(self.resume_at_ms)
            .min(self.inactive_at_ms)
            .min(self.pin_expires())
            .min(self.count_kept_until())
            .min(self.held_until().unwrap_or(NEVER));
        (next != NEVER).then_some(next)
    }

    /// When to call [`Self::tick`], if that is before what this has given last: to be asked after
    /// each input, at the cost of a few comparisons.
    pub fn take_deadline(&mut self, now: Now) -> Option<Millis> {
        if self.armed_at_ms <= now.mono_ms {
            self.armed_at_ms = NEVER;
        }
        let next = self.next_deadline()?.max(now.mono_ms + 1);
        if next >= self.armed_at_ms {
            return None;
        }
        self.armed_at_ms = next;
        Some(next)
    }

    /// Whether it has really not been used; if not, when to look again.
    fn is_inactive<M: Messages, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) -> bool {
        let now_ms = around.now.mono_ms;
        if self.is_push() {
            self.inactive_at_ms = NEVER;
            return !self.is_bound;
        }
        let unused_since = self.last_used_ms.saturating_add(self.inactive_ms);
        if unused_since > now_ms {
            self.inactive_at_ms = unused_since;
            return false;
        }
        self.look_at_waiting(true, around);
        if !self.waiting.is_empty() {
            self.inactive_at_ms = self.after_inactive(around.now);
            return false;
        }
        // Somebody may be at work without a sign until the last message is due.
        let dues = self.pending.iter().map(pending::Entry::due_ms);
        let last_due = dues.filter(|&due| due != NEVER).max().unwrap_or(0);
        let unused_at = last_due.saturating_add(self.inactive_ms);
        if !self.pending.is_empty() && unused_at > now_ms {
            self.inactive_at_ms = unused_at;
            return false;
        }
        self.inactive_at_ms = NEVER;
        true
    }

    /// Somebody has used it.
    fn used(&mut self, now: Now) {
        self.last_used_ms = now.mono_ms;
        if !self.is_push() || !self.is_bound {
            self.inactive_at_ms = self.after_inactive(now);
        }
    }

    /// A count of what is ahead is needed only while there is something to deliver to.
    fn count_kept_until(&self) -> Millis {
        match self.ahead {
            Some(ahead)
                if ahead.up_to >= self.next && !self.is_push() && self.waiting.is_empty() =>
            {
                self.last_used_ms.saturating_add(COUNT_KEPT_MS)
            }
            _ => NEVER,
        }
    }

    fn held_until(&self) -> Option<Millis> {
        Some(self.rare.as_ref()?.held?.until_ms)
    }

    /// How many messages it has not delivered yet.
    fn num_pending<M: Messages>(&mut self, messages: &M) -> u64 {
        let state = messages.state();
        let (of_last, from) = match self.rare.as_ref().and_then(|rare| rare.last.as_ref()) {
            Some(last) => (last.live, self.next.max(last.resume + 1)),
            None => (0, self.next),
        };
        if state.deleted == 0 && self.selection.is_everything() {
            let from = from.max(state.first_seq);
            return of_last + (state.last_seq + 1).saturating_sub(from);
        }
        let ahead = match self.ahead {
            Some(ahead) if ahead.up_to >= state.last_seq => ahead,
            Some(ahead) => {
                let from = from.max(ahead.up_to + 1);
                let new = messages.pending(&mut self.selection, from);
                Ahead {
                    count: ahead.count + new,
                    up_to: state.last_seq,
                }
            }
            None => Ahead {
                count: messages.pending(&mut self.selection, from),
                up_to: state.last_seq,
            },
        };
        self.ahead = Some(ahead);
        of_last + ahead.count
    }

    /// What the API shows.
    pub fn info<M: Messages, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) -> Info {
        self.look_at_waiting(false, around);
        let remaining = self
            .config
            .pause_until
            .unwrap_or(0)
            .saturating_sub(around.now.unix);
        let given_up = self.rare.as_ref().map_or(0, |rare| rare.given_up.len());
        let pin = self.rare.as_ref().and_then(|rare| rare.pin.as_ref());
        let group = self.config.priority_groups.first().map(|name| GroupInfo {
            name: name.clone(),
            pinned_id: pin.map(|pin| pin.id.clone()).unwrap_or_default(),
            pinned: pin.map_or(0, |pin| pin.since),
        });
        Info {
            delivered: self.delivered,
            last_delivered: self.last_delivered,
            ack_floor: self.floor,
            last_acked: self.last_acked,
            num_ack_pending: self.pending.len(),
            // What is delivered once is not delivered again.
            num_redelivered: match self.config.max_deliver {
                1 => 0,
                _ => self.pending.redelivered() + given_up,
            },
            num_waiting: self.waiting.len(),
            num_pending: self.num_pending(around.messages),
            push_bound: self.is_push() && self.is_bound,
            paused: remaining > 0,
            pause_remaining: remaining.max(0),
            group,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it was made.
    pub fn created(&self) -> UnixNanos {
        self.created
    }

    /// Its configuration.
    pub fn config(&self) -> &ConsumerConfig {
        &self.config
    }

    /// What it is for.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Whether it delivers to a subject of its own accord.
    pub fn is_push(&self) -> bool {
        !self.config.deliver_subject.is_empty()
    }

    /// Whether it would deliver a new message now: then [`Self::deliver`] is to be called when there
    /// is one.
    pub fn is_hungry(&self) -> bool {
        let flows = || self.rare.as_ref().and_then(|rare| rare.flow.as_ref());
        match self.is_push() {
            true => self.is_bound && !flows().is_some_and(Flow::is_closed),
            false => !self.waiting.is_empty(),
        }
    }

    /// Whether something has happened after which [`Self::deliver`] is to be called.
    pub fn is_ready(&self) -> bool {
        self.is_ready && self.is_hungry()
    }

    fn is_stalled(&self) -> bool {
        usize::try_from(self.config.max_ack_pending)
            .is_ok_and(|max| max > 0 && self.pending.len() >= max)
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What has changed since the last delta; to be written to.
    #[inline]
    fn changed(&mut self) -> &mut Fact {
        self.changes.get_or_insert_default()
    }

    /// Has its whole state written the next time.
    pub fn rewrite(&mut self) {
        self.changed().is_whole = true;
    }

    fn uses_priorities(&self) -> bool {
        self.config.priority_policy != PriorityPolicy::None
    }
}

/// `<what><stream>.<consumer>.`, with domain and account where subjects have the long form.
fn prefix(what: &[u8], consumer: &str, home: &Home) -> Box<[u8]> {
    let mut prefix = what.to_vec();
    if let Some(account) = &home.long_subjects {
        let domain = match home.domain.as_str() {
            "" => "_",
            domain => domain,
        };
        prefix.extend_from_slice(format!("{domain}.{account}.").as_bytes());
    }
    prefix.extend_from_slice(format!("{}.{consumer}.", home.stream).as_bytes());
    prefix.into()
}

/// The filters of a configuration, in order.
fn filters(config: &ConsumerConfig) -> Vec<&str> {
    let one = (!config.filter_subject.is_empty()).then_some(&config.filter_subject);
    let mut filters: Vec<&str> = one
        .into_iter()
        .chain(&config.filter_subjects)
        .map(String::as_str)
        .collect();
    filters.sort_unstable();
    filters
}

fn selection(config: &ConsumerConfig) -> Selection {
    Selection::of(&filters(config))
}

#[cfg(test)]
mod tests;
