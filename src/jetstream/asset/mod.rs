//! A stream with its consumers, and what feeds it: what happens to the one when something happens to
//! another.
//!
//! New messages wake the consumers that have somebody to deliver to ([`wake`]); what consumers need no
//! longer leaves a stream that keeps messages only for them ([`retention`]); removals reach those
//! that count on what was removed. Knows neither other streams nor how subjects reach it.

pub(super) mod feeds;
pub(super) mod notes;
mod retention;
mod wake;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use hashbrown::HashMap;

use crate::base::deadlines::Millis;
use crate::jetstream::adopted;
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::requests::{MsgDeleteRequest, PurgeRequest};
use crate::jetstream::api::subjects::FlowControlSubject;
use crate::jetstream::api::time;
use crate::jetstream::config::{ConsumerConfig, Retention, Storage, StreamConfig};
use crate::jetstream::consumer::{AckSubject, Around, Consumer, Desk, End, Fate, Home, Progress};
use crate::jetstream::snapshot::ConsumerSnapshot;
use crate::jetstream::sourcing::Feeder;
use crate::jetstream::stream::{Arrival, Outcome, Room, Settings, Stream, World};
use crate::jetstream::{Now, Outlet};
use crate::store::{Messages, Seq, UnixNanos};

use feeds::Feeds;
use wake::Wake;

/// Sequences that a sweep looks at before others have their turn.
const SWEEP_PER_TURN: usize = 4096;
/// How long a consumer waits whose receiver has too much unsent.
const OUTLET_PAUSE_MS: Millis = 1;

/// What a call comes with.
pub struct Surroundings<'a, M: Messages, O: Outlet> {
    /// The moment.
    pub now: Now,
    /// The stream's messages.
    pub messages: &'a mut M,
    /// The way out.
    pub outlet: &'a mut O,
    /// What may still be stored.
    pub room: Room,
    /// Room for consumers to work in.
    pub desk: &'a mut Desk,
}

/// A consumer and what is known of it here.
#[derive(Debug)]
struct ConsumerSlot {
    consumer: Consumer,
    /// It is in the list of those to deliver.
    is_queued: bool,
    /// Its facts are kept.
    is_kept: bool,
    /// It is not shown: a mirror or a source made it.
    is_hidden: bool,
    /// It has to hear of each message that is removed.
    hears: bool,
    /// Where it is noted to deliver to.
    pushes_to: Option<Box<[u8]>>,
}

/// See the module.
#[derive(Debug)]
pub struct Asset {
    stream: Stream,
    home: Home,
    created: UnixNanos,
    /// By place; a consumer's facts are numbered by it, so it is kept over restarts.
    slots: Vec<Option<Box<ConsumerSlot>>>,
    /// No place before this is vacant.
    full_to: usize,
    names: BTreeMap<Box<str>, u32>,
    /// How many of them are consumers of mirrors and sources.
    hidden: usize,
    wake: Wake,
    /// To deliver, in turn.
    ready: VecDeque<u32>,
    /// Delivery waits for the store.
    reading: Vec<u32>,
    /// Delivery waits for a receiver.
    pausing: Vec<u32>,
    pausing_until: Millis,
    /// From where on messages that nobody needs are looked for.
    sweep: Option<Seq>,
    /// Consumers with facts that are not written.
    dirty: Vec<u32>,
    /// Consumers that have to hear of each message that is removed.
    hearing: BTreeSet<u32>,
    /// What was durable when consumers were woken last.
    seen: Seq,
    feeds: Feeds,
    /// When the stream has something to do.
    stream_due: Option<Millis>,
    /// Consumers by deliver subject.
    pushers: HashMap<Box<[u8]>, Vec<u32>>,
}

impl Asset {
    /// A stream without messages or consumers. The configuration has been checked.
    ///
    /// # Errors
    /// When a transform in it is none after all.
    pub fn create<M: Messages>(
        config: StreamConfig,
        settings: Settings,
        account: &str,
        messages: &mut M,
        now: Now,
    ) -> Result<Self, ApiError> {
        let home = home(&config, &settings, account);
        let feeds = Feeds::new(&config);
        let stream = Stream::create(config, settings, messages)?;
        Ok(Self::of(stream, home, feeds, now.unix))
    }

    /// One that was there before the server was started, from the facts with number 0. Its consumers
    /// follow ([`Self::recover_consumer`]), then [`Self::begin`].
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn recover<'f, M: Messages>(
        config: StreamConfig,
        settings: Settings,
        account: &str,
        created: UnixNanos,
        facts: impl IntoIterator<Item = &'f [u8]>,
        messages: &mut M,
        now: Now,
    ) -> Result<Self, ApiError> {
        let home = home(&config, &settings, account);
        let feeds = Feeds::new(&config);
        let stream = Stream::recover(config, settings, facts, messages, now)?;
        let mut asset = Self::of(stream, home, feeds, created);
        asset.seen = messages.durable_seq();
        Ok(asset)
    }

    fn of(stream: Stream, home: Home, feeds: Feeds, created: UnixNanos) -> Self {
        Self {
            feeds,
            stream,
            home,
            created,
            slots: Vec::new(),
            full_to: 0,
            names: BTreeMap::new(),
            hidden: 0,
            wake: Wake::default(),
            ready: VecDeque::new(),
            reading: Vec::new(),
            pausing: Vec::new(),
            pausing_until: 0,
            sweep: None,
            dirty: Vec::new(),
            hearing: BTreeSet::new(),
            seen: 0,
            stream_due: None,
            pushers: HashMap::new(),
        }
    }

    /// All of it is there: it goes on.
    pub fn begin<M: Messages, O: Outlet + Feeder>(&mut self, around: &mut Surroundings<'_, M, O>) {
        self.sweep_if_interest();
        self.begin_feeds(around.messages);
        self.tick_feeds(around);
        // What was found is aged from now on, even if nothing else happens.
        self.with_stream(around, |_, _| {});
    }

    /// Whether its messages are on disk.
    pub fn is_file(&self) -> bool {
        self.config().storage == Storage::File
    }

    /// What tells it from another stream of its name: the hash of when it was made.
    pub fn identity(&self) -> String {
        let mut created = Vec::new();
        time::write(&mut created, self.created);
        crate::jetstream::sourcing::hash(&String::from_utf8_lossy(&created))
    }

    /// Removes messages as `STREAM.PURGE` asks; how many.
    ///
    /// # Errors
    /// The request contradicts itself, or the stream does not allow it.
    pub fn purge<M: Messages, O: Outlet>(
        &mut self,
        request: &PurgeRequest,
        around: &mut Surroundings<'_, M, O>,
    ) -> Result<u64, ApiError> {
        let purged = self.with_stream(around, |stream, world| stream.purge(world, request));
        self.after_change(around);
        purged
    }

    /// Removes a message as `STREAM.MSG.DELETE` asks.
    ///
    /// # Errors
    /// It is not there, or the stream does not allow it.
    pub fn delete_message<M: Messages, O: Outlet>(
        &mut self,
        request: &MsgDeleteRequest,
        around: &mut Surroundings<'_, M, O>,
    ) -> Result<(), ApiError> {
        let deleted = self.with_stream(around, |stream, world| stream.delete(world, request));
        self.after_change(around);
        deleted
    }

    /// Its configuration.
    pub fn config(&self) -> &StreamConfig {
        self.stream.config()
    }

    /// The stream by itself.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// When it was made.
    pub fn created(&self) -> UnixNanos {
        self.created
    }

    /// Consumers, without those of mirrors and sources.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        let slots = self.names.values().filter_map(|&place| self.slot(place));
        slots
            .filter(|slot| !slot.is_hidden)
            .map(|slot| &slot.consumer)
    }

    /// How many that are.
    pub fn consumer_count(&self) -> usize {
        self.names.len() - self.hidden
    }

    /// Names of all consumers after one, in order, and whether each is of a mirror or source.
    pub fn consumer_names_after(&self, after: &str) -> impl Iterator<Item = (&str, bool)> {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let names = self.names.range::<str, _>(range);
        names.filter_map(|(name, &place)| self.slot(place).map(|slot| (&**name, slot.is_hidden)))
    }

    /// How far consumers have come, for a snapshot.
    pub fn snapshots(&self, now: UnixNanos) -> Vec<ConsumerSnapshot> {
        let consumers = self.consumers();
        consumers
            .filter_map(|consumer| adopted::snapshot_of(consumer, now))
            .collect()
    }

    /// All configurations of consumers there are, for the check of a new one.
    pub fn configs(&self) -> impl Iterator<Item = &ConsumerConfig> {
        self.consumers().map(Consumer::config)
    }

    /// A consumer.
    pub fn consumer(&self, name: &str) -> Option<&Consumer> {
        let place = *self.names.get(name)?;
        self.slot(place).map(|slot| &slot.consumer)
    }

    fn slot(&self, place: u32) -> Option<&ConsumerSlot> {
        self.slots.get(place as usize)?.as_deref()
    }

    /// A message was published to one of its subjects.
    pub fn arrived<M: Messages, O: Outlet>(
        &mut self,
        arrival: &Arrival<'_>,
        around: &mut Surroundings<'_, M, O>,
    ) -> Outcome {
        let outcome = self.with_stream(around, |stream, world| stream.publish(world, arrival));
        self.after_change(around);
        outcome
    }

    /// Has the stream do something.
    pub fn with_stream<M: Messages, O: Outlet, R>(
        &mut self,
        around: &mut Surroundings<'_, M, O>,
        work: impl FnOnce(&mut Stream, &mut World<'_, M, O>) -> R,
    ) -> R {
        let wake = &self.wake;
        let wanted = |subject: &[u8]| wake.is_wanted(subject);
        let mut world = World {
            messages: &mut *around.messages,
            outlet: &mut *around.outlet,
            wanted: &wanted,
            room: around.room,
            now: around.now,
        };
        let done = work(&mut self.stream, &mut world);
        around.room = world.room;
        self.stream_due = self.stream.next_deadline(around.messages, around.now);
        self.note_feeds_in_time(around.messages.state().last_seq);
        done
    }

    /// What follows from a change of the stream: consumers hear of removals, and are woken.
    pub fn after_change<M: Messages, O: Outlet>(&mut self, around: &mut Surroundings<'_, M, O>) {
        self.hear_of_removed(around);
        self.wake(around);
    }

    /// Tells consumers of what has left the stream: of many all, of one those that count on it.
    fn hear_of_removed<M: Messages, O: Outlet>(&mut self, around: &mut Surroundings<'_, M, O>) {
        let removed = self.stream.take_removed();
        if removed.is_empty() {
            return;
        }
        if removed.many {
            for place in self.names.values().copied().collect::<Vec<_>>() {
                self.with(place, around, Consumer::purged);
            }
            return;
        }
        for place in self.hearing.iter().copied().collect::<Vec<_>>() {
            self.with(place, around, |consumer, around| {
                for (seq, subject) in removed.single() {
                    consumer.removed(seq, Some(subject), around);
                }
            });
        }
    }

    /// Has a consumer do something, and sees to what follows.
    fn with<M: Messages, O: Outlet, R>(
        &mut self,
        place: u32,
        around: &mut Surroundings<'_, M, O>,
        work: impl FnOnce(&mut Consumer, &mut Around<'_, M, O>) -> R,
    ) -> Option<R> {
        let slot = self.slots[place as usize].as_deref_mut()?;
        let mut own = Around {
            now: around.now,
            home: &self.home,
            messages: &mut *around.messages,
            outlet: &mut *around.outlet,
            desk: &mut *around.desk,
        };
        let was_dirty = slot.consumer.is_dirty();
        let done = work(&mut slot.consumer, &mut own);
        if let Some(at) = slot.consumer.take_deadline(around.now) {
            self.wake.arm(place, at);
        }
        if slot.is_kept && !was_dirty && slot.consumer.is_dirty() {
            self.dirty.push(place);
        }
        if slot.consumer.is_ready() && !slot.is_queued {
            slot.is_queued = true;
            self.ready.push_back(place);
        }
        let hears = slot.consumer.hears_removals();
        if hears != slot.hears {
            slot.hears = hears;
            self.set_hearing(place, hears);
        }
        if !around.desk.settled.is_empty() {
            self.settle(around);
        }
        Some(done)
    }

    fn set_hearing(&mut self, place: u32, hears: bool) {
        if hears {
            self.hearing.insert(place);
        } else {
            self.hearing.remove(&place);
        }
        self.stream.tell_removed(!self.hearing.is_empty());
    }

    /// Where a consumer has its place, for [`Self::acknowledge`].
    pub fn consumer_place(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// A client has acknowledged something, or said something else about it.
    pub fn acknowledge<M: Messages, O: Outlet>(
        &mut self,
        place: u32,
        subject: &AckSubject<'_>,
        reply: &[u8],
        payload: &[u8],
        around: &mut Surroundings<'_, M, O>,
    ) {
        self.with(place, around, |consumer, around| {
            consumer.acknowledge(subject, reply, payload, around);
        });
    }

    /// A client asks for messages.
    pub fn next<M: Messages, O: Outlet>(
        &mut self,
        consumer: &str,
        reply: &[u8],
        headers: &[u8],
        payload: &[u8],
        around: &mut Surroundings<'_, M, O>,
    ) -> bool {
        let Some(&place) = self.names.get(consumer) else {
            return false;
        };
        self.with(place, around, |consumer, around| {
            consumer.handle_next(reply, headers, payload, around);
        });
        true
    }

    /// A client has answered a request of flow control.
    pub fn flow_controlled<M: Messages, O: Outlet>(
        &mut self,
        subject: &FlowControlSubject<'_>,
        whole: &[u8],
        headers: &[u8],
        around: &mut Surroundings<'_, M, O>,
    ) {
        let Some(&place) = self.names.get(subject.consumer) else {
            return;
        };
        self.with(place, around, |consumer, around| {
            consumer.handle_flow_control(whole, headers, around);
        });
    }

    /// Somebody has begun or ceased to listen to a consumer's deliver subject.
    pub fn interest_changed<M: Messages, O: Outlet>(
        &mut self,
        subject: &[u8],
        around: &mut Surroundings<'_, M, O>,
    ) {
        for place in self.pushers.get(subject).cloned().unwrap_or_default() {
            self.with(place, around, Consumer::interest_changed);
        }
    }

    /// Notes where a consumer delivers to.
    fn note_pusher(&mut self, place: u32) {
        self.forget_pusher(place);
        if let Some(slot) = self.slots[place as usize].as_deref_mut()
            && slot.consumer.is_push()
        {
            let subject: Box<[u8]> = slot.consumer.config().deliver_subject.as_bytes().into();
            slot.pushes_to = Some(subject.clone());
            self.pushers.entry(subject).or_default().push(place);
        }
    }

    fn forget_pusher(&mut self, place: u32) {
        let slot = self.slots[place as usize].as_deref_mut();
        let Some(subject) = slot.and_then(|slot| slot.pushes_to.take()) else {
            return;
        };
        if let Some(places) = self.pushers.get_mut(&subject) {
            places.retain(|&other| other != place);
            if places.is_empty() {
                self.pushers.remove(&subject);
            }
        }
    }

    /// Delivers at most `budget` messages, and takes off it what it has cost; whether there is more.
    pub fn pump<M: Messages, O: Outlet>(
        &mut self,
        budget: &mut usize,
        around: &mut Surroundings<'_, M, O>,
    ) -> bool {
        for _ in 0..self.ready.len() {
            // One is for looking at it, so that consumers without anything to deliver come to an end too.
            if *budget < 2 {
                break;
            }
            let Some(place) = self.ready.pop_front() else {
                break;
            };
            *budget -= 1;
            if let Some(slot) = self.slots[place as usize].as_deref_mut() {
                slot.is_queued = false;
            }
            let progress = self.with(place, around, |consumer, around| {
                consumer.deliver(budget, around)
            });
            match progress {
                Some(Progress::More) => self.queue(place),
                Some(Progress::WaitingForRead) => self.reading.push(place),
                Some(Progress::WaitingForOutlet) => {
                    self.pausing.push(place);
                    self.pausing_until = around.now.mono_ms + OUTLET_PAUSE_MS;
                }
                Some(Progress::Idle) | None => {}
            }
        }
        self.sweep(around);
        !self.ready.is_empty() || self.sweep.is_some()
    }

    fn queue(&mut self, place: u32) {
        if let Some(slot) = self.slots[place as usize].as_deref_mut()
            && !slot.is_queued
        {
            slot.is_queued = true;
            self.ready.push_back(place);
        }
    }

    /// The store has news: what waited for it goes on.
    pub fn resume<M: Messages, O: Outlet + Feeder>(&mut self, around: &mut Surroundings<'_, M, O>) {
        for place in std::mem::take(&mut self.reading) {
            self.queue(place);
        }
        self.with_stream(around, Stream::resume);
        self.after_change(around);
        self.resume_feeds(around);
    }

    /// Whether [`Self::pump`] has something to do.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty() || self.sweep.is_some()
    }

    /// Whether something waits for the store's news.
    pub fn waits_for_read(&self) -> bool {
        !self.reading.is_empty() || self.stream.waits() || self.feeds.wait()
    }

    /// Time has passed. Names of consumers that have ended by it.
    pub fn tick<M: Messages, O: Outlet + Feeder>(
        &mut self,
        around: &mut Surroundings<'_, M, O>,
    ) -> Vec<Box<str>> {
        let now_ms = around.now.mono_ms;
        if !self.pausing.is_empty() && self.pausing_until <= now_ms {
            for place in std::mem::take(&mut self.pausing) {
                self.queue(place);
            }
        }
        if self.stream_due.is_some_and(|at| at <= now_ms) {
            self.with_stream(around, Stream::tick);
            self.after_change(around);
            self.resume_feeds(around);
        }
        let mut ended = Vec::new();
        while let Some(place) = self.wake.pop_due(now_ms) {
            let fate = self.with(place, around, Consumer::tick);
            if fate == Some(Fate::Inactive) {
                ended.extend(self.slot(place).map(|slot| slot.consumer.name().into()));
            }
        }
        ended
    }

    /// When [`Self::tick`] is to be called.
    pub fn next_deadline(&self) -> Option<Millis> {
        let pausing = (!self.pausing.is_empty()).then_some(self.pausing_until);
        [
            self.stream_due,
            self.wake.next_due(),
            self.feeds.next_deadline(),
            pausing,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Makes a consumer. Its configuration has been checked, and its defaults are set.
    ///
    /// # Errors
    /// When the storage cannot take it.
    pub fn create_consumer<M: Messages, O: Outlet>(
        &mut self,
        name: &str,
        config: ConsumerConfig,
        around: &mut Surroundings<'_, M, O>,
    ) -> Result<(), ApiError> {
        let is_hidden = config.direct;
        let is_kept = !is_hidden && !config.mem_storage && self.config().storage == Storage::File;
        let mut own = Around {
            now: around.now,
            home: &self.home,
            messages: &mut *around.messages,
            outlet: &mut *around.outlet,
            desk: &mut *around.desk,
        };
        let consumer = Consumer::create(name, config, &mut own);
        let place = self.vacant();
        self.put_seat(
            place,
            ConsumerSlot {
                consumer,
                is_queued: false,
                is_kept,
                is_hidden,
                hears: false,
                pushes_to: None,
            },
        );
        if is_kept && self.write_whole(place, around).is_err() {
            self.vacate(place);
            return Err(Code::ConsumerStoreFailed.with(&["the storage cannot take it"]));
        }
        self.names.insert(name.into(), place);
        self.hidden += usize::from(is_hidden);
        self.enter(place, around);
        Ok(())
    }

    /// A consumer begins to take part.
    fn enter<M: Messages, O: Outlet>(&mut self, place: u32, around: &mut Surroundings<'_, M, O>) {
        let Some(slot) = self.slots[place as usize].as_deref() else {
            return;
        };
        self.wake.add(place, slot.consumer.selection());
        self.note_pusher(place);
        self.with(place, around, |_, _| {});
    }

    /// The first place that nobody has.
    fn vacant(&mut self) -> u32 {
        let is_taken = |slot: &Option<Box<ConsumerSlot>>| slot.is_some();
        while self.slots.get(self.full_to).is_some_and(is_taken) {
            self.full_to += 1;
        }
        self.full_to as u32
    }

    fn vacate(&mut self, place: u32) {
        self.slots[place as usize] = None;
        self.full_to = self.full_to.min(place as usize);
    }

    fn put_seat(&mut self, place: u32, slot: ConsumerSlot) {
        let at = place as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some(Box::new(slot));
    }

    /// Gives a consumer another configuration, which has been checked.
    ///
    /// # Errors
    /// When the storage cannot take it.
    pub fn update_consumer<M: Messages, O: Outlet>(
        &mut self,
        name: &str,
        config: ConsumerConfig,
        around: &mut Surroundings<'_, M, O>,
    ) -> Result<(), ApiError> {
        let Some(&place) = self.names.get(name) else {
            return Err(Code::ConsumerNotFound.into());
        };
        let is_filtered_anew = self.with(place, around, |consumer, around| {
            consumer.update(config, around)
        });
        if is_filtered_anew == Some(true) {
            if let Some(slot) = self.slots[place as usize].as_deref() {
                self.wake.remove(place);
                self.wake.add(place, slot.consumer.selection());
            }
            self.sweep_if_interest();
        }
        self.note_pusher(place);
        let is_kept = self.slot(place).is_some_and(|slot| slot.is_kept);
        if is_kept && self.write_whole(place, around).is_err() {
            return Err(Code::ConsumerStoreFailed.with(&["the storage cannot take it"]));
        }
        Ok(())
    }

    /// Has a consumer do something; `None` when there is none of that name.
    pub fn with_consumer<M: Messages, O: Outlet, R>(
        &mut self,
        name: &str,
        around: &mut Surroundings<'_, M, O>,
        work: impl FnOnce(&mut Consumer, &mut Around<'_, M, O>) -> R,
    ) -> Option<R> {
        let place = *self.names.get(name)?;
        self.with(place, around, work)
    }

    /// Ends a consumer; whether there was one.
    pub fn delete_consumer<M: Messages, O: Outlet>(
        &mut self,
        name: &str,
        around: &mut Surroundings<'_, M, O>,
    ) -> bool {
        let Some(place) = self.names.remove(name) else {
            return false;
        };
        let is_hidden = self.slot(place).is_some_and(|slot| slot.is_hidden);
        self.hidden -= usize::from(is_hidden);
        self.with(place, around, |consumer, around| {
            consumer.end(End::Deleted, around);
        });
        self.wake.remove(place);
        self.wake.disarm(place);
        self.forget_pusher(place);
        for list in [&mut self.reading, &mut self.pausing, &mut self.dirty] {
            list.retain(|&other| other != place);
        }
        self.ready.retain(|&other| other != place);
        self.set_hearing(place, false);
        self.vacate(place);
        around.messages.forget_note(notes::number(place));
        self.sweep_if_interest();
        true
    }

    /// Ends all of it: the stream is deleted, or the server stops.
    pub fn end<M: Messages, O: Outlet>(&mut self, end: End, around: &mut Surroundings<'_, M, O>) {
        let places: Vec<u32> = self.names.values().copied().collect();
        for place in places {
            self.with(place, around, |consumer, around| consumer.end(end, around));
        }
        if end == End::Deleted {
            self.stream.end_reads(around.outlet);
        }
    }

    /// Gives the stream another configuration, which has been checked.
    ///
    /// # Errors
    /// When a transform in it is none after all.
    pub fn update<M: Messages, O: Outlet + Feeder>(
        &mut self,
        config: StreamConfig,
        around: &mut Surroundings<'_, M, O>,
    ) -> Result<(), ApiError> {
        let retention = config.retention;
        self.with_stream(around, |stream, world| {
            stream.update(config, world.messages)
        })?;
        self.home.retention = retention;
        self.home.max_msgs_per_subject = self.config().max_msgs_per_subject;
        self.change_feeds(around);
        self.sweep_if_interest();
        self.after_change(around);
        Ok(())
    }

    fn is_interest(&self) -> bool {
        self.config().retention == Retention::Interest
    }
}

fn home(config: &StreamConfig, settings: &Settings, account: &str) -> Home {
    Home {
        account: account.to_owned(),
        stream: config.name.clone(),
        domain: settings.domain.clone(),
        long_subjects: None,
        retention: config.retention,
        max_msgs_per_subject: config.max_msgs_per_subject,
        message_bytes_max: settings.max_payload as u64,
        is_durable: settings.waits_for_disk && config.storage == Storage::File,
    }
}

#[cfg(test)]
mod tests;
