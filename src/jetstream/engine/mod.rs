//! All streams of a shard: who gets what has arrived, what is flushed, who goes on when.
//!
//! An engine is driven like the shard that it is part of: something has arrived, a disk has done
//! something, time has passed, the turn ends. What belongs to a stream of another shard goes there as
//! an [`Order`]; shard 0 decides which streams there are (`lifecycle`). It knows no connection.

mod accounts;
mod advise;
mod api;
mod batches;
mod consumers;
mod directory;
mod facts;
mod fenced;
mod held;
mod host;
mod lifecycle;
mod messages;
mod questions;
mod recovery;
mod snapshots;
mod way_out;

pub use accounts::AccountFacts;
pub use facts::{
    AccountUsage, Cursor, JetStreamFacts, Only, Problem, StreamFacts, StreamsPage, Survey, Tally,
    Unhealthy,
};
pub use host::{Arrival, Host, Sink, StreamId};
pub use lifecycle::{key, names, stored_form};

use std::collections::VecDeque;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::asset::{Asset, Surroundings};
use super::consumer::{AckSubject, Desk};
use super::stream;
use crate::base::deadlines::{Alarms, Millis};
use crate::base::ids::{AccountId, ShardId, ShardSet};
use crate::jetstream::{Now, Order, Outgoing, Request};
use crate::store::io::{Completion, Submission};
use crate::store::{Handle, Messages, Severity, Store, StreamNumber};
use accounts::Accounts;
use batches::Batches;
use directory::{Directory, Located};
use held::Held;
use questions::Questions;
use recovery::Recovery;
use snapshots::Snapshots;
use way_out::{Watchers, WayOut};

/// Messages that consumers deliver in one turn.
const DELIVERIES_PER_TURN: usize = 256;

/// What is the same for all engines of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// For all streams.
    pub stream: stream::Settings,
    /// Whether requests with unknown fields are refused.
    pub strict: bool,
    /// The server's name, which answers show as leader.
    pub server_name: String,
    /// How many shards there are.
    pub shards: usize,
    /// Bytes that streams in memory may take together.
    pub max_memory: u64,
    /// Bytes that streams on disk may take together.
    pub max_storage: u64,
    /// The longest duplicate window in nanoseconds; 0 for any.
    pub max_duplicate_window: i64,
    /// Consumers of the server may have at most so much unacknowledged; 0 for any.
    pub max_ack_pending: i64,
    /// Atomic batches that may be under way.
    pub max_atomic_batches: usize,
    /// Fast batches that may be.
    pub max_fast_batches: usize,
    /// Answers to requests that may wait for the disk on a shard.
    pub request_queue: usize,
    /// Questions that may wait for other shards' answers.
    pub info_queue: usize,
    /// A pull request may ask for at most so many messages; 0 for any.
    pub max_request_batch: i64,
    /// Bytes on their way to a shard's disks above which who publishes to its streams is held back.
    pub unflushed_high_bytes: usize,
    /// Bytes below which they go on.
    pub unflushed_low_bytes: usize,
}

/// A stream that lives here.
#[derive(Debug)]
struct HostedStream {
    account: AccountId,
    /// Tells it from what was in its place before.
    life: u32,
    /// The last decision about it that has come here.
    decision: u64,
    /// In which of the stores it is.
    volume: usize,
    number: StreamNumber,
    asset: Asset,
    /// Its subjects' subscriptions.
    listens: Vec<u32>,
    /// The change of interest by which all shards know of them.
    interest: u64,
    is_queued: bool,
    is_dirty: bool,
    /// Messages of it are on their way to the disk.
    is_flushing: bool,
    /// It waits for a store.
    is_reading: bool,
    /// When it is looked at next.
    armed: Option<Millis>,
    /// What it was counted with in its account.
    counted_bytes: u64,
    /// Its batches that were counted.
    counted_batches: batches::Count,
}

/// A store, and what waits for it.
#[derive(Debug)]
struct Volume {
    store: Store,
    held: Held,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    volumes: Vec<Volume>,
    recovery: Recovery,
    /// Other shards that have told of all their streams.
    peers_recovered: usize,
    assets: Vec<Option<Box<HostedStream>>>,
    /// Counts streams that have come here.
    lives: u32,
    names: HashMap<(AccountId, Box<str>), u32>,
    directory: Directory,
    /// Counts decisions about streams, on the shard that decides.
    decisions: u64,
    accounts: Accounts,
    batches: Batches,
    watchers: Watchers,
    desk: Desk,
    ready: VecDeque<u32>,
    dirty: Vec<u32>,
    flushing: Vec<u32>,
    reading: Vec<u32>,
    /// A store has news for those.
    has_read: bool,
    alarms: Alarms<u32>,
    questions: Questions,
    /// Streams that are deleted.
    leaving: Vec<lifecycle::Deletion>,
    fence: fenced::Fence,
    /// Orders that cannot be obeyed yet, with who gave them.
    early: VecDeque<(ShardId, Order)>,
    snapshots: Snapshots,
    /// The moment of the call that is under way.
    now: Now,
    /// There is more to do at once.
    is_busy: bool,
    /// Room for answers.
    answer: Vec<u8>,
    is_stopping: bool,
}

/// One of the shard's stores as a stream sees it, and its surroundings.
type Around<'a, 'b, H> = Surroundings<'a, Handle<'b>, WayOut<'b, H>>;

impl Engine {
    /// An engine with its stores, the first of which takes new streams. They are recovered before
    /// anything else happens: see [`Self::is_ready`].
    pub fn new(options: Options, stores: Vec<Store>) -> Self {
        let volume = |store| Volume {
            store,
            held: Held::default(),
        };
        Self {
            options,
            volumes: stores.into_iter().map(volume).collect(),
            recovery: Recovery::default(),
            peers_recovered: 0,
            assets: Vec::new(),
            lives: 0,
            names: HashMap::new(),
            directory: Directory::default(),
            decisions: 0,
            accounts: Accounts::default(),
            batches: Batches::default(),
            watchers: Watchers::default(),
            desk: Desk::default(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            flushing: Vec::new(),
            reading: Vec::new(),
            has_read: false,
            alarms: Alarms::default(),
            questions: Questions::default(),
            leaving: Vec::new(),
            fence: VecDeque::new(),
            early: VecDeque::new(),
            snapshots: Snapshots::default(),
            now: Now {
                mono_ms: 0,
                unix: 0,
            },
            is_busy: false,
            answer: Vec::new(),
            is_stopping: false,
        }
    }

    /// Whether its streams are there, and those of all other shards are known: before, requests would
    /// be told that there is no such stream, or make it twice.
    pub fn is_ready(&self) -> bool {
        self.recovery.is_done() && self.peers_recovered + 1 >= self.options.shards
    }

    /// Messages have arrived at sinks, in this order. What is for the same stream or consumer is handed
    /// to it together.
    pub fn arrived<'a, H: Host>(
        &mut self,
        now: Now,
        arrivals: impl Iterator<Item = (Sink, Arrival<'a>)>,
        host: &mut H,
    ) {
        let mut arrivals = arrivals.peekable();
        while let Some((sink, arrival)) = arrivals.next() {
            match sink {
                Sink::Stream(id) | Sink::Feed(id) if !self.is_alive(id) => {}
                Sink::Stream(StreamId { place, .. }) => {
                    self.with(place, now, host, |asset, around| {
                        asset.arrived(&published(&arrival), around);
                        while let Some((_, next)) = arrivals.next_if(|(other, _)| *other == sink) {
                            asset.arrived(&published(&next), around);
                        }
                    });
                }
                Sink::Feed(StreamId { place, .. }) => {
                    let message = Outgoing {
                        to: arrival.to,
                        subject: arrival.subject,
                        reply: arrival.reply,
                        headers: arrival.headers,
                        payload: arrival.payload,
                    };
                    self.with(place, now, host, |asset, around| {
                        asset.fed(&message, around);
                    });
                }
                Sink::Api => match AckSubject::parse(arrival.to) {
                    Some(subject) => {
                        let more = |subject: &AckSubject<'_>| {
                            let mut ack = None;
                            arrivals.next_if(|(sink, next)| {
                                ack = (*sink == Sink::Api && next.account == arrival.account)
                                    .then(|| AckSubject::parse(next.to))
                                    .flatten()
                                    .filter(|next| next.is_of_same_consumer(subject))
                                    .map(|ack| (ack, *next));
                                ack.is_some()
                            })?;
                            ack
                        };
                        self.acknowledged(now, &subject, &arrival, false, more, host);
                    }
                    None => self.special(now, &arrival, false, host),
                },
            }
        }
    }

    /// Has a stream of this shard do something, and sees to what follows from it.
    fn with<H: Host, R>(
        &mut self,
        place: u32,
        now: Now,
        host: &mut H,
        work: impl FnOnce(&mut Asset, &mut Around<'_, '_, H>) -> R,
    ) -> Option<R> {
        let hosted = self.assets.get_mut(place as usize)?.as_deref_mut()?;
        let volume = &mut self.volumes[hosted.volume];
        let is_file = hosted.asset.is_file();
        let mut room = self.accounts.room(hosted.account, is_file, &self.options);
        let (atomic, fast) = self.batches.without(hosted.counted_batches);
        room.atomic_batches = self.options.max_atomic_batches.saturating_sub(atomic);
        room.fast_batches = self.options.max_fast_batches.saturating_sub(fast);
        let mut messages = volume.store.stream(hosted.number)?;
        let mut outlet = WayOut {
            host,
            account: hosted.account,
            held: &mut volume.held,
            place,
            life: hosted.life,
            watchers: &mut self.watchers,
        };
        let mut around = Surroundings {
            now,
            messages: &mut messages,
            outlet: &mut outlet,
            room,
            desk: &mut self.desk,
        };
        let done = work(&mut hosted.asset, &mut around);
        let state = messages.state();
        if state.bytes != hosted.counted_bytes {
            self.accounts
                .count(hosted.account, is_file, hosted.counted_bytes, state.bytes);
            hosted.counted_bytes = state.bytes;
        }
        let batches = hosted.asset.stream().batches();
        if batches != hosted.counted_batches {
            self.batches.count(hosted.counted_batches, batches);
            hosted.counted_batches = batches;
        }
        if !hosted.is_flushing && messages.durable_seq() < state.last_seq {
            hosted.is_flushing = true;
            self.flushing.push(place);
        }
        self.after(place);
        Some(done)
    }

    /// Notes what a stream has to do next.
    fn after(&mut self, place: u32) {
        let Some(hosted) = self.assets[place as usize].as_deref_mut() else {
            return;
        };
        let asset = &hosted.asset;
        if !hosted.is_queued && asset.is_ready() {
            hosted.is_queued = true;
            self.ready.push_back(place);
        }
        if !hosted.is_dirty && asset.is_dirty() {
            hosted.is_dirty = true;
            self.dirty.push(place);
        }
        if !hosted.is_reading && asset.waits_for_read() {
            hosted.is_reading = true;
            self.reading.push(place);
        }
        let due = asset.next_deadline();
        if let Some(at) = due
            && hosted.armed.is_none_or(|armed| at < armed)
        {
            self.alarms.set(hosted.armed.replace(at), at, place);
        }
    }

    /// Somebody has begun or ceased to listen to a subject.
    pub fn interest_changed<H: Host>(
        &mut self,
        now: Now,
        account: AccountId,
        subject: &[u8],
        is_heard: bool,
        host: &mut H,
    ) {
        if self.snapshot_interest(now, subject, is_heard) {
            self.send_snapshots(now, false, host);
        }
        let places: SmallVec<[u32; 2]> = self.watchers.of(account, subject);
        for place in places {
            self.with(place, now, host, |asset, around| {
                asset.interest_changed(subject, around);
            });
        }
    }

    /// All shards know more of the interest that this one has told them of.
    pub fn interest_known<H: Host>(&mut self, host: &mut H) {
        self.release(host);
    }

    /// A disk has done something.
    pub fn disk_completed<H: Host>(
        &mut self,
        now: Now,
        volume: usize,
        completion: Completion,
        host: &mut H,
    ) {
        self.volumes[volume].store.handle(completion);
        self.take_news(now, volume, host);
    }

    fn take_news<H: Host>(&mut self, now: Now, volume: usize, host: &mut H) {
        let store = &mut self.volumes[volume].store;
        for line in store.take_log() {
            host.log(
                line.severity == Severity::Error,
                format!("JetStream: {}", line.text),
            );
        }
        let news = store.take_news();
        if news.durable {
            self.release(host);
            self.wake(now, host);
        }
        self.has_read |= news.reads || news.space;
        if self.recovery.is_reading() && self.volumes.iter().all(|volume| volume.store.is_ready()) {
            self.begin_recovery(now, host);
        }
    }

    /// Has those go on that wait for the stores, once for all that was read in a turn.
    fn go_on<H: Host>(&mut self, now: Now, host: &mut H) {
        if !std::mem::take(&mut self.has_read) {
            return;
        }
        self.send_snapshots(now, true, host);
        for place in std::mem::take(&mut self.reading) {
            if let Some(hosted) = self.assets[place as usize].as_deref_mut() {
                hosted.is_reading = false;
            }
            self.with(place, now, host, |asset, around| asset.resume(around));
        }
    }

    /// Tells consumers of messages that have become durable.
    fn wake<H: Host>(&mut self, now: Now, host: &mut H) {
        for place in std::mem::take(&mut self.flushing) {
            let is_behind = self.with(place, now, host, |asset, around| {
                asset.wake(around);
                around.messages.durable_seq() < around.messages.state().last_seq
            });
            let Some(hosted) = self.assets[place as usize].as_deref_mut() else {
                continue;
            };
            hosted.is_flushing = is_behind == Some(true);
            if hosted.is_flushing {
                self.flushing.push(place);
            }
        }
    }

    fn release<H: Host>(&mut self, host: &mut H) {
        if !self.leaving.is_empty() {
            self.let_go(host);
        }
        self.release_fenced(host);
        for volume in &mut self.volumes {
            if !volume.held.is_empty() {
                volume.held.release(volume.store.durable(), host);
            }
        }
    }

    /// The turn ends: what is to be durable goes to the disk, and what is durable is said.
    pub fn turn_ends<H: Host>(
        &mut self,
        now: Now,
        disk: &mut Vec<(usize, Submission)>,
        host: &mut H,
    ) {
        self.go_on(now, host);
        if !self.early.is_empty() {
            self.obey_early(now, host);
        }
        for place in std::mem::take(&mut self.dirty) {
            self.write_facts(place);
        }
        // Before the answers to their beginning leave.
        self.tell_batches(host);
        let mut submissions = Vec::new();
        for number in 0..self.volumes.len() {
            let volume = &mut self.volumes[number];
            volume.store.submit(&mut submissions);
            disk.extend(submissions.drain(..).map(|one| (number, one)));
            if !self.leaving.is_empty() {
                self.seal_leaving(number);
                self.let_go(host);
            }
            let Volume { store, held } = &mut self.volumes[number];
            if !held.is_empty() {
                held.seal(store.position());
                held.release(store.durable(), host);
            }
            self.take_news(now, number, host);
        }
        // In the next turn, so that what they want to read is submitted then.
        self.is_busy |= self.has_read;
    }

    /// Writes what is to be known of a stream's consumers.
    fn write_facts(&mut self, place: u32) {
        let Some(hosted) = self.assets[place as usize].as_deref_mut() else {
            return;
        };
        let store = &mut self.volumes[hosted.volume].store;
        let Some(mut messages) = store.stream(hosted.number) else {
            return;
        };
        hosted.asset.before_flush(&mut messages);
        hosted.is_dirty = hosted.asset.is_dirty();
        if hosted.is_dirty {
            self.dirty.push(place);
        }
    }

    /// Consumers deliver, in turn and not too much: what was acknowledged meanwhile does not wait for
    /// that, nor does the disk for what it could do.
    fn pump<H: Host>(&mut self, now: Now, host: &mut H) {
        let mut budget = DELIVERIES_PER_TURN;
        for _ in 0..self.ready.len() {
            // As it says in the asset.
            if budget < 2 {
                break;
            }
            let Some(place) = self.ready.pop_front() else {
                break;
            };
            budget -= 1;
            if let Some(hosted) = self.assets[place as usize].as_deref_mut() {
                hosted.is_queued = false;
            }
            self.with(place, now, host, |asset, around| {
                asset.pump(&mut budget, around)
            });
        }
    }

    /// Time has passed, or there is something to deliver.
    pub fn tick<H: Host>(&mut self, now: Now, host: &mut H) {
        self.pump(now, host);
        for number in 0..self.volumes.len() {
            self.volumes[number].store.tick(now.mono_ms);
            self.take_news(now, number, host);
        }
        // Each once: who has more to do at once leaves room for others first.
        let mut due: SmallVec<[u32; 16]> = SmallVec::new();
        while let Some(place) = self.alarms.pop_due(now.mono_ms) {
            due.push(place);
        }
        for place in due {
            let Some(hosted) = self.assets[place as usize].as_deref_mut() else {
                continue;
            };
            hosted.armed = None;
            let ended = self.with(place, now, host, |asset, around| {
                asset.tick_feeds(around);
                asset.tick(around)
            });
            for name in ended.into_iter().flatten() {
                self.drop_consumer(place, &name, now, host);
            }
        }
        self.is_busy = false;
        self.send_snapshots(now, false, host);
        self.take_in_all(now, host);
        self.tell_usage(now, host);
    }

    /// When [`Self::tick`] is to be called.
    pub fn next_deadline(&self) -> Option<Millis> {
        if !self.ready.is_empty() || self.is_busy {
            return Some(0);
        }
        let stores = self.volumes.iter().filter_map(|s| s.store.next_deadline());
        let is_told = self.options.shards > 1;
        let others = [
            self.alarms.next(),
            self.snapshots.next_deadline(),
            is_told.then(|| self.accounts.next_telling()),
        ];
        stores.chain(others.into_iter().flatten()).min()
    }

    /// What another shard's engine has said.
    pub fn ordered<H: Host>(&mut self, now: Now, from: ShardId, order: Order, host: &mut H) {
        // Only those that are answered to somebody: other shards take the rest as known when this one has
        // acknowledged what came behind it, and numbers of decisions say which of them counts.
        let is_request = matches!(
            order,
            Order::Request(_) | Order::Create { .. } | Order::Update { .. }
        );
        let mut early = self.early.iter();
        let is_behind = is_request && early.any(|(other, _)| *other == from);
        if is_behind || is_early(from, &order, host) {
            self.early.push_back((from, order));
        } else {
            self.obey(now, from, order, host);
        }
    }

    /// Obeys what came too early, and what came behind it from the same shard.
    fn obey_early<H: Host>(&mut self, now: Now, host: &mut H) {
        let mut waiting = ShardSet::default();
        for (from, order) in std::mem::take(&mut self.early) {
            if waiting.0 & from.bit() != 0 || is_early(from, &order, host) {
                waiting.0 |= from.bit();
                self.early.push_back((from, order));
            } else {
                self.obey(now, from, order, host);
            }
        }
    }

    fn obey<H: Host>(&mut self, now: Now, from: ShardId, order: Order, host: &mut H) {
        match order {
            Order::Request(request) => self.special(now, &borrowed(&request), true, host),
            Order::Create {
                account,
                config,
                request,
                decision,
            } => self.make(account, *config, &request, decision, now, host),
            Order::Update {
                account,
                config,
                request,
                decision,
            } => self.change(account, *config, &request, decision, now, host),
            Order::Located {
                account,
                home,
                config,
                decision,
            } => {
                self.found(account, &config.name);
                let located = Located {
                    home,
                    config,
                    decision,
                };
                self.directory.set(account, located);
            }
            Order::Gone {
                account,
                name,
                decision,
            } => self.directory.remove(account, &name, decision),
            Order::Usage { account, usage } => self.accounts.heard(from, account, usage),
            Order::Describe {
                question,
                account,
                names,
            } => {
                let streams = self.describe(account, &names, now, host);
                self.order(from, Order::Answered { question, streams }, now, host);
            }
            Order::AskUsage { question, account } => {
                let usage = self.accounts.own_usage(account);
                host.order(from, Order::Usage { account, usage });
                let streams = Vec::new();
                host.order(from, Order::Answered { question, streams });
            }
            Order::Drop {
                question,
                account,
                names,
            } => {
                for name in &names {
                    if let Some(place) = self.place(account, name) {
                        self.drop_stream(now, place, None, host);
                    }
                }
                self.answer_when_gone(account, &names, (from, question), host);
            }
            Order::Recovered => self.peers_recovered += 1,
            Order::LeftAlone { account, name } => self.recovery.hear_of_lost(account, name),
            Order::Batches(atomic, fast) => self.batches.heard(from, (atomic, fast)),
            Order::Answered { question, streams } => self.answered(question, streams, host),
        }
    }

    /// Gives an order, to another shard or to this one.
    fn order<H: Host>(&mut self, to: ShardId, order: Order, now: Now, host: &mut H) {
        if to == host.own() {
            self.ordered(now, to, order, host);
        } else {
            host.order(to, order);
        }
    }

    /// Who may have JetStream has changed, or is known for the first time.
    pub fn accounts_changed<H: Host>(&mut self, now: Now, host: &mut H) {
        let domain = &self.options.stream.domain;
        self.accounts.change(host.accounts(), domain, host);
        self.recover_left_alone(now, host);
    }

    /// The server stops: who waits is told, and what is known of the stores is written down.
    pub fn stop<H: Host>(&mut self, now: Now, host: &mut H) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        for place in 0..self.assets.len() as u32 {
            self.with(place, now, host, |asset, around| {
                asset.end(super::consumer::End::Shutdown, around);
            });
        }
        for place in std::mem::take(&mut self.dirty) {
            self.write_facts(place);
        }
        for volume in &mut self.volumes {
            volume.store.shut_down();
        }
    }

    /// Why its streams will never be there.
    pub fn failed(&self) -> Option<&str> {
        self.volumes.iter().find_map(|volume| volume.store.failed())
    }

    /// Whether all that was accepted is on disk after [`Self::stop`], or cannot be brought there.
    pub fn is_stored(&self) -> bool {
        let mut stores = self.volumes.iter().map(|volume| &volume.store);
        stores.all(|store| store.is_shut_down() || store.refusal().is_some())
    }

    /// Whether a store takes nothing now.
    pub fn is_refusing(&self) -> bool {
        let mut stores = self.volumes.iter().map(|volume| &volume.store);
        stores.any(|store| store.refusal().is_some())
    }

    /// What is not at rest, though nothing more may come; `None` when all is.
    pub fn unrest(&self) -> Option<&'static str> {
        let waits = |&place: &u32| {
            let hosted = self.hosted(place);
            hosted.is_some_and(|hosted| hosted.asset.waits_for_read())
        };
        let things = [
            (!self.is_ready(), "streams are not there yet"),
            (
                self.volumes.iter().any(|volume| !volume.held.is_empty()),
                "answers wait for the disk",
            ),
            (!self.flushing.is_empty(), "messages wait for the disk"),
            (self.reading.iter().any(waits), "a stream waits for a read"),
            (!self.dirty.is_empty(), "facts are not written"),
            (!self.ready.is_empty(), "a stream has something to deliver"),
            (!self.leaving.is_empty(), "a deletion waits for the disk"),
            (!self.fence.is_empty(), "an answer waits for other shards"),
            (!self.early.is_empty(), "an order came too early"),
            (self.questions.is_open(), "a list waits for other shards"),
        ];
        let found = things.into_iter().find(|(is_there, _)| *is_there);
        found.map(|(_, what)| what)
    }

    /// Which streams there are on all shards, as far as that is known here: whose, which, where.
    pub fn located_streams(&self) -> Vec<(AccountId, &str, ShardId)> {
        self.directory.all()
    }

    /// Whether too much has arrived that is not on the disks.
    pub fn has_fallen_behind(&self) -> bool {
        self.unflushed_bytes() > self.options.unflushed_high_bytes
    }

    /// Whether little has.
    pub fn has_caught_up(&self) -> bool {
        self.unflushed_bytes() < self.options.unflushed_low_bytes
    }

    pub fn unflushed_bytes(&self) -> usize {
        let stores = self.volumes.iter();
        stores.map(|volume| volume.store.backlog_bytes()).sum()
    }

    /// Whether the stream that was meant is still there.
    fn is_alive(&self, id: StreamId) -> bool {
        self.hosted(id.place)
            .is_some_and(|hosted| hosted.life == id.life)
    }

    fn hosted(&self, place: u32) -> Option<&HostedStream> {
        self.assets.get(place as usize)?.as_deref()
    }

    /// The place of a stream that lives here.
    fn place(&self, account: AccountId, name: &str) -> Option<u32> {
        // Looked up by reference, so that an acknowledgement does not allocate.
        self.names.get(&Key(account, name)).copied()
    }
}

/// A message as a stream takes it.
fn published<'a>(arrival: &Arrival<'a>) -> stream::Arrival<'a> {
    stream::Arrival {
        subject: arrival.subject,
        reply: arrival.reply,
        headers: arrival.headers,
        payload: arrival.payload,
        origin: stream::Origin::Client,
    }
}

/// A borrowed key.
#[derive(Hash)]
struct Key<'a>(AccountId, &'a str);

impl hashbrown::Equivalent<(AccountId, Box<str>)> for Key<'_> {
    fn equivalent(&self, key: &(AccountId, Box<str>)) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

/// Whether the answer to a request that has come by a third shard might not reach who waits for it: what
/// it subscribes to is still on its way here.
fn is_early<H: Host>(from: ShardId, order: &Order, host: &H) -> bool {
    let (Order::Request(request) | Order::Create { request, .. } | Order::Update { request, .. }) =
        order
    else {
        return false;
    };
    let (origin, _) = request.publisher;
    origin != from && origin != host.own() && host.interest_seen(origin) < request.interest
}

fn borrowed(request: &Request) -> Arrival<'_> {
    Arrival {
        account: request.account,
        publisher: request.publisher,
        interest: request.interest,
        to: &request.subject,
        subject: &request.subject,
        reply: &request.reply,
        headers: &request.headers,
        payload: &request.payload,
        client: &request.client,
    }
}

fn owned(arrival: &Arrival<'_>) -> Box<Request> {
    Box::new(Request {
        account: arrival.account,
        publisher: arrival.publisher,
        interest: arrival.interest,
        subject: arrival.subject.into(),
        reply: arrival.reply.into(),
        headers: arrival.headers.into(),
        payload: arrival.payload.into(),
        client: arrival.client.into(),
    })
}

#[cfg(test)]
mod tests;
