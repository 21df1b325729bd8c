//! JetStream's seat in a shard: streams are sinks beside connections, and what they send leaves
//! through the same plans.
//!
//! A message for a stream is copied once, into [`Arrivals`], while it is delivered; the engine
//! takes it from there when the event has been handled, so that it can publish in turn. What is
//! published to JetStream itself (`$JS.API.>`, acknowledgements, flow control) is taken on the
//! publisher's shard: each has a sink for it that the others are not told of.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};

use super::admission::Policy;
use super::publish::{Message, Origin};
use super::service::is_response;
use super::{Effects, Level, Shard};
use crate::auth::accounts::{Directory, StreamImport};
use crate::auth::definition::{JetStreamAccess, JetStreamLimits};
use crate::base::deadlines::Millis;
use crate::base::ids::{AccountId, ConnId, ShardId};
use crate::jetstream::api::check_stream::Limits;
use crate::jetstream::api::responses::AccountLimits;
use crate::jetstream::engine::{AccountFacts, Arrival, Engine, Host, Sink};
use crate::jetstream::{Now, Order, Outgoing, Reached};
use crate::proto::client::Bounds;
use crate::proto::client_info::{ClientInfo, REQUEST_INFO};
use crate::proto::headers;
use crate::router::{InterestChange, NONE, Plan, SubId};
use crate::session::{Publisher, Session};
use crate::store::io::Completion;
use crate::subject;

/// The slot of the session to which sinks belong, where there is JetStream. It has no connection.
pub(super) const HOUSE: u32 = 0;

/// The queue group of sinks that only their own shard knows. No client can name it.
const OWN_SHARD: &[u8] = b" ";

/// Requests to JetStream.
const REQUESTS: &[u8] = b"$JS.API.";

/// What the engine publishes comes from here: nobody is held back for it.
pub(super) const NO_CONN: ConnId = ConnId {
    index: NONE,
    generation: 0,
};

/// Arrivals, and changes of interest, handled before what else the event wants done is done.
const ROUNDS_MAX: usize = 64;

/// A message on its way to the engine.
#[derive(Clone, Copy, Debug)]
struct Place {
    sink: Sink,
    account: AccountId,
    publisher: Publisher,
    start: usize,
    to_len: usize,
    /// 0 where it is the same.
    subject_len: usize,
    reply_len: usize,
    header_len: usize,
    body_len: usize,
}

/// Messages for sinks, one behind the other.
#[derive(Debug, Default)]
struct Arrivals {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Arrivals {
    fn push(
        &mut self,
        sink: Sink,
        account: AccountId,
        publisher: Publisher,
        message: &Message<'_>,
    ) {
        let start = self.bytes.len();
        let (to, subject) = message.subject_and_shown();
        let (reply, body) = (message.reply(), message.body());
        self.bytes.extend_from_slice(to);
        self.bytes.extend_from_slice(subject);
        self.bytes.extend_from_slice(reply);
        self.bytes.extend_from_slice(body);
        self.places.push(Place {
            sink,
            account,
            publisher,
            start,
            to_len: to.len(),
            subject_len: subject.len(),
            reply_len: reply.len(),
            header_len: message.header_len,
            body_len: body.len(),
        });
    }

    fn get(&self, place: &Place, interest: u64) -> Arrival<'_> {
        let bytes = &self.bytes[place.start..];
        let (to, bytes) = bytes.split_at(place.to_len);
        let (subject, bytes) = match place.subject_len {
            0 => (to, bytes),
            len => bytes.split_at(len),
        };
        let (reply, bytes) = bytes.split_at(place.reply_len);
        let (headers, payload) = bytes[..place.body_len].split_at(place.header_len);
        Arrival {
            to,
            account: place.account,
            publisher: (place.publisher.shard, place.publisher.conn),
            interest,
            subject,
            reply,
            headers,
            payload,
            client: &[],
        }
    }
}

/// What a shard keeps for JetStream.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Taken out while it works.
    engine: Option<Box<Engine>>,
    /// Whether there is one.
    is_on: bool,
    sinks: HashMap<SubId, Sink>,
    next_sid: u64,
    arrivals: Arrivals,
    spare: Arrivals,
    /// Subjects of which the engine wants to know whether anybody listens, and how many want it.
    watched: BTreeMap<(AccountId, Box<[u8]>), u32>,
    /// Those of them for which that has changed: in order, so that the same events have the same effects.
    changed: BTreeSet<(AccountId, Box<[u8]>)>,
    /// What was published last took somebody over the mark.
    is_pressed: bool,
    rest: Vec<u8>,
    /// Who is held back until the disk has caught up.
    waiting: HashSet<Publisher>,
    /// Nanoseconds from 1970 to the zero of the fine clock.
    unix_at_fine_zero: i64,
}

impl Streams {
    /// Whether a subscription of this slot is a sink.
    #[inline]
    pub(super) fn owns(&self, conn: u32) -> bool {
        conn == HOUSE && self.is_on
    }

    /// Whether the engine has something to look at.
    #[inline]
    pub(super) fn has_arrivals(&self) -> bool {
        !self.arrivals.places.is_empty() || !self.changed.is_empty()
    }

    /// Notes that a destination is over its mark.
    pub(super) fn press(&mut self) {
        self.is_pressed = true;
    }

    /// Somebody has begun or ceased to listen.
    #[inline]
    pub(super) fn note_interest(&mut self, change: &InterestChange, directory: &Directory) {
        if !self.watched.is_empty() {
            self.note_watched(change.account, &change.subject);
            for import in &directory.streams {
                if import.importer == change.account {
                    self.note_imported(import, &change.subject);
                }
            }
        }
    }

    #[cold]
    fn note_watched(&mut self, account: AccountId, pattern: &[u8]) {
        if subject::is_literal(pattern) {
            let key = (account, pattern.into());
            if self.watched.contains_key(&key) {
                self.changed.insert(key);
            }
            return;
        }
        // What it matches begins as it does up to its first wildcard: mostly nothing, as with the inboxes
        // that each client has.
        let literal = literal_beginning(pattern);
        let watched = self.watched.range((account, literal.into())..);
        let same = watched.take_while(|(key, _)| key.0 == account && key.1.starts_with(literal));
        for (key, _) in same {
            if subject::matches(pattern, &key.1) {
                self.changed.insert(key.clone());
            }
        }
    }

    /// Somebody of an account that imports has begun or ceased to listen: with a pattern perhaps to
    /// anything that comes by the import.
    #[cold]
    fn note_imported(&mut self, import: &StreamImport, pattern: &[u8]) {
        let mut subject = Vec::new();
        let subject = match &import.back {
            _ if !subject::is_literal(pattern) => &import.from[..],
            None => pattern,
            Some(back) if back.apply(pattern, 0, &mut subject) => &subject,
            Some(_) => return,
        };
        if subject::matches(&import.from, subject) {
            self.note_watched(import.exporter, subject);
        }
    }
}

/// A pattern up to its first token that is a wildcard.
fn literal_beginning(pattern: &[u8]) -> &[u8] {
    let mut at = 0;
    for token in pattern.split(|&byte| byte == b'.') {
        if token == b"*" || token == b">" {
            break;
        }
        at += token.len() + 1;
    }
    &pattern[..at.min(pattern.len())]
}

impl Shard {
    /// Gives the shard its part of JetStream, before it has any connection; slot 0 of its
    /// connections is then taken.
    pub fn host(&mut self, engine: Box<Engine>) {
        debug_assert!(self.sessions.is_empty(), "it is the first to come");
        let bounds = Bounds {
            control_line_bytes: 0,
            payload_bytes: 0,
            headers: true,
        };
        let unspecified = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let mut house = Session::new(NO_CONN, 0, unspecified, bounds, usize::MAX);
        house.live = false;
        house.internal = true;
        house.headers = true;
        self.sessions.push(house);
        self.streams.is_on = true;
        self.streams.engine = Some(engine);
    }

    /// The shard's part of JetStream.
    pub fn engine(&self) -> Option<&Engine> {
        self.streams.engine.as_deref()
    }

    /// Copies a message for the engine; false where it is not for it.
    pub(super) fn sink(&mut self, origin: &Origin, sub_id: SubId, message: &Message<'_>) -> bool {
        let Some(&sink) = self.streams.sinks.get(&sub_id) else {
            return false;
        };
        let account = AccountId(u32::from(self.router.subs[sub_id].account));
        self.router.subs[sub_id].delivered += 1;
        let arrivals = &mut self.streams.arrivals;
        arrivals.push(sink, account, origin.publisher, message);
        true
    }

    /// Has the engine do something.
    pub(super) fn with_engine<R>(
        &mut self,
        fx: &mut Effects,
        work: impl FnOnce(&mut Engine, Now, &mut Out<'_>) -> R,
    ) -> Option<R> {
        let mut engine = self.streams.engine.take()?;
        let now = self.now_on_both();
        let mut out = Out { shard: self, fx };
        let done = work(&mut engine, now, &mut out);
        self.streams.engine = Some(engine);
        Some(done)
    }

    /// Hands on what has arrived, and what that has led to.
    #[inline(never)]
    pub(super) fn run_engine(&mut self, fx: &mut Effects) {
        for _ in 0..ROUNDS_MAX {
            if !self.streams.has_arrivals() {
                break;
            }
            let spare = std::mem::take(&mut self.streams.spare);
            let mut arrivals = std::mem::replace(&mut self.streams.arrivals, spare);
            let changed = std::mem::take(&mut self.streams.changed);
            self.with_engine(fx, |engine, now, out| {
                for (account, subject) in changed {
                    let is_heard = out.has_interest(account, &subject);
                    engine.interest_changed(now, account, &subject, is_heard, out);
                }
                let interest = out.interest_number();
                let places = arrivals.places.iter();
                let each = places.map(|place| (place.sink, arrivals.get(place, interest)));
                engine.arrived(now, each, out);
            });
            self.show_requests(&arrivals, fx);
            self.hold_for_disk(&arrivals.places, fx);
            arrivals.places.clear();
            arrivals.bytes.clear();
            if arrivals.bytes.capacity() <= 1 << 20 {
                self.streams.spare = arrivals;
            }
        }
    }

    /// Shows requests of all accounts to who listens to them in the system account, as operators' tools do: who asks is in a
    /// header, and there is no reply, so that JetStream alone answers.
    fn show_requests(&mut self, arrivals: &Arrivals, fx: &mut Effects) {
        let Some(system) = self.settings.policy.directory.system else {
            return;
        };
        for place in &arrivals.places {
            let Arrival { to, .. } = arrivals.get(place, 0);
            let is_request = place.sink == Sink::Api && to.starts_with(REQUESTS);
            if is_request && place.account != system && self.has_onlookers(system, to) {
                self.show_request(system, place, arrivals, fx);
            }
        }
    }

    /// Whether there is somebody beside this shard's own sink.
    fn has_onlookers(&mut self, system: AccountId, subject: &[u8]) -> bool {
        let plan = self.router.route_once(system, subject);
        let Plan { first, more, .. } = self.router.plans.get(plan);
        !more.is_empty() || !first.plain.is_empty() || first.remote != 0 || first.groups.len() > 1
    }

    #[cold]
    fn show_request(
        &mut self,
        system: AccountId,
        place: &Place,
        arrivals: &Arrivals,
        fx: &mut Effects,
    ) {
        let arrival = arrivals.get(place, 0);
        let account = self.settings.policy.directory.get(place.account);
        let name = account.map_or_else(String::new, |account| account.name.to_string());
        let info = self.client_info(place.publisher, true);
        let info = info.unwrap_or_else(|| ClientInfo::of_account(name));
        let info = info.with_server(Some(&*self.settings.identity.name));
        let Ok(info) = serde_json::to_string(&info) else {
            return;
        };
        let mut marked = Vec::new();
        headers::set(arrival.headers, REQUEST_INFO, &info, &mut marked);
        let outgoing = Outgoing {
            to: arrival.to,
            subject: arrival.to,
            reply: &[],
            headers: &marked,
            payload: arrival.payload,
        };
        let mut rest = Vec::new();
        write_rest(&outgoing, &mut rest);
        let message = Message {
            subject: outgoing.to,
            to: &[],
            rest: &rest,
            shared: None,
            reply_len: 0,
            header_len: marked.len(),
            body_len: marked.len() + outgoing.payload.len(),
        };
        let origin = Origin {
            publisher: Publisher {
                shard: self.id,
                conn: NO_CONN,
            },
            // It has come to the sink already.
            no_echo: HOUSE,
            replanned: false,
        };
        self.send_in(&origin, system, &message, fx);
    }

    /// Too much waits for the disk: who has fed it waits too.
    fn hold_for_disk(&mut self, places: &[Place], fx: &mut Effects) {
        if !self.engine().is_some_and(Engine::has_fallen_behind) {
            return;
        }
        for place in places {
            let publisher = place.publisher;
            if publisher.conn != NO_CONN && self.streams.waiting.insert(publisher) {
                self.counters.stalls += 1;
                self.hold(publisher, true, fx);
            }
        }
    }

    /// The disk has caught up, or nothing is brought to it any more: they go on.
    fn end_hold_for_disk(&mut self, fx: &mut Effects) {
        let may_go_on = |engine: &Engine| engine.has_caught_up() || engine.is_refusing();
        if self.streams.waiting.is_empty() || !self.engine().is_some_and(may_go_on) {
            return;
        }
        let waiting = std::mem::take(&mut self.streams.waiting);
        let mut waiting: Vec<Publisher> = waiting.into_iter().collect();
        waiting.sort_unstable_by_key(|publisher| (publisher.shard, publisher.conn));
        for publisher in waiting {
            self.hold(publisher, false, fx);
        }
    }

    fn now_on_both(&self) -> Now {
        let fine_ns = (self.settings.fine_clock_ns)() as i64;
        Now {
            mono_ms: self.now,
            unix: self.streams.unix_at_fine_zero + fine_ns,
        }
    }
}

/// The world as the engine sees it.
pub(super) struct Out<'a> {
    shard: &'a mut Shard,
    fx: &'a mut Effects,
}

impl Out<'_> {
    fn origin(&self) -> Origin {
        Origin {
            publisher: Publisher {
                shard: self.shard.id,
                conn: NO_CONN,
            },
            no_echo: NONE,
            replanned: false,
        }
    }

    fn send(&mut self, account: AccountId, message: &Message<'_>) -> bool {
        let origin = self.origin();
        let (subject, _) = message.subject_and_shown();
        if is_response(subject) {
            let shard = &mut *self.shard;
            return shard.respond_anywhere(&origin, account, message, &[], self.fx);
        }
        self.shard.send_in(&origin, account, message, self.fx)
    }
}

impl Host for Out<'_> {
    fn own(&self) -> ShardId {
        self.shard.id
    }

    fn accounts(&self) -> Vec<AccountFacts> {
        let Policy { directory, .. } = &self.shard.settings.policy;
        (0..)
            .map(AccountId)
            .map_while(|id| directory.get(id).map(|account| (id, account)))
            .map(|(id, account)| AccountFacts {
                id,
                name: account.name.to_string(),
                limits: limits(directory.jetstream(id)),
                is_system: directory.system == Some(id),
            })
            .collect()
    }

    fn seek_accounts(&mut self, names: Vec<String>) {
        self.fx.accounts = names;
    }

    fn client(&self, publisher: (ShardId, ConnId)) -> Option<Vec<u8>> {
        let (shard, conn) = publisher;
        let info = self.shard.client_info(Publisher { shard, conn }, true)?;
        let info = info.with_server(Some(&*self.shard.settings.identity.name));
        serde_json::to_vec(&info).ok()
    }

    fn publish(&mut self, account: AccountId, outgoing: &Outgoing<'_>) -> Reached {
        let mut rest = std::mem::take(&mut self.shard.streams.rest);
        write_rest(outgoing, &mut rest);
        let same = outgoing.subject.is_empty() || outgoing.to == outgoing.subject;
        let message = Message {
            subject: if same { outgoing.to } else { outgoing.subject },
            to: if same { &[] } else { outgoing.to },
            rest: &rest,
            shared: None,
            reply_len: outgoing.reply.len(),
            header_len: outgoing.headers.len(),
            body_len: outgoing.headers.len() + outgoing.payload.len(),
        };
        self.shard.streams.is_pressed = false;
        let reached = match self.send(account, &message) {
            false => Reached::Nobody,
            true if self.shard.streams.is_pressed => Reached::Full,
            true => Reached::Somebody,
        };
        self.shard.streams.rest = rest;
        reached
    }

    fn has_interest(&mut self, account: AccountId, subject: &[u8]) -> bool {
        if is_response(subject) {
            return self.shard.is_awaited(subject);
        }
        let router = &mut self.shard.router;
        let plan = router.route_once(account, subject);
        !router.plans.get(plan).is_empty()
    }

    fn has_literal_interest(&mut self, account: AccountId, subject: &[u8]) -> bool {
        self.shard.router.has_literal(account, subject)
    }

    fn is_subscribed(&mut self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool {
        let router = &mut self.shard.router;
        if router.has_literal_of(account, subject, queue) {
            return true;
        }
        // Somebody of another account to whom it flows.
        let hash = router.hasher().of(subject);
        let plan = router.route_hashed(account, subject, hash);
        let plan = router.plans.get(plan);
        let mut parts = (0..plan.parts()).map(|number| plan.part(number));
        parts.any(|part| part.account != account && !part.is_empty())
    }

    fn watch(&mut self, account: AccountId, subject: &[u8]) {
        let watched = &mut self.shard.streams.watched;
        *watched.entry((account, subject.into())).or_default() += 1;
    }

    fn unwatch(&mut self, account: AccountId, subject: &[u8]) {
        let watched = &mut self.shard.streams.watched;
        let key = (account, subject.into());
        if let Some(count) = watched.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                watched.remove(&key);
            }
        }
    }

    fn listen(&mut self, account: AccountId, pattern: &[u8], sink: Sink, everywhere: bool) -> u32 {
        let shard = &mut *self.shard;
        let queue = if everywhere { &[][..] } else { OWN_SHARD };
        let sid = shard.streams.next_sid.to_string();
        shard.streams.next_sid += 1;
        let first = &mut shard.sessions[HOUSE as usize].first_sub;
        let change = shard
            .router
            .subscribe(account, HOUSE, first, pattern, queue, sid.as_bytes());
        let sub = shard.sessions[HOUSE as usize].first_sub;
        shard.router.set_special(sub);
        shard.streams.sinks.insert(sub, sink);
        if everywhere && let Some(change) = change {
            shard
                .streams
                .note_interest(&change, &shard.settings.policy.directory);
            shard.mesh.broadcast(&change);
            self.fx.mesh.0 |= shard.mesh.peers().0;
        }
        sub
    }

    fn unlisten(&mut self, listen: u32) {
        let shard = &mut *self.shard;
        if shard.streams.sinks.remove(&listen).is_none() {
            return;
        }
        let everywhere = shard.router.queue_of(listen) != OWN_SHARD;
        let first = &mut shard.sessions[HOUSE as usize].first_sub;
        if let Some(change) = shard.router.unsubscribe(listen, first)
            && everywhere
        {
            shard
                .streams
                .note_interest(&change, &shard.settings.policy.directory);
            shard.mesh.broadcast(&change);
            self.fx.mesh.0 |= shard.mesh.peers().0;
        }
    }

    fn interest_number(&self) -> u64 {
        self.shard.mesh.interest_number()
    }

    fn fence(&mut self) -> u64 {
        self.fx.mesh.0 |= self.shard.mesh.peers().0;
        self.shard.mesh.fence()
    }

    fn interest_known(&self) -> u64 {
        self.shard.mesh.acked_by_all()
    }

    fn interest_seen(&self, of: ShardId) -> u64 {
        self.shard.mesh.interest_seen(of)
    }

    fn order(&mut self, to: ShardId, order: Order) {
        self.shard.mesh.order(to, order);
        self.fx.mesh.0 |= to.bit();
    }

    fn random(&mut self) -> u64 {
        self.shard.prng.next_u64()
    }

    fn log(&mut self, is_error: bool, text: String) {
        let level = if is_error { Level::Error } else { Level::Info };
        self.fx.log.push((level, text));
    }
}

/// What an account may have, as the API speaks of it.
fn limits(access: &JetStreamAccess) -> Option<Limits> {
    let shown = |limits: &JetStreamLimits| AccountLimits {
        max_memory: limits.memory_bytes,
        max_storage: limits.disk_bytes,
        max_streams: limits.streams,
        max_consumers: limits.consumers,
        max_ack_pending: limits.ack_pending,
        memory_max_stream_bytes: limits.memory_stream_bytes,
        storage_max_stream_bytes: limits.disk_stream_bytes,
        max_bytes_required: limits.stream_bytes_required,
    };
    match access {
        JetStreamAccess::None => None,
        JetStreamAccess::Limits(limits) => Some(Limits::Flat(shown(limits))),
        JetStreamAccess::Tiers(tiers) => Some(Limits::Tiers(
            tiers
                .iter()
                .map(|(name, limits)| (name.clone(), shown(limits)))
                .collect(),
        )),
    }
}

/// Writes what follows the subscription id in a delivery.
fn write_rest(outgoing: &Outgoing<'_>, rest: &mut Vec<u8>) {
    rest.clear();
    if !outgoing.reply.is_empty() {
        rest.extend_from_slice(outgoing.reply);
        rest.push(b' ');
    }
    if !outgoing.headers.is_empty() {
        write_number(outgoing.headers.len(), rest);
        rest.push(b' ');
    }
    write_number(outgoing.headers.len() + outgoing.payload.len(), rest);
    rest.extend_from_slice(b"\r\n");
    rest.extend_from_slice(outgoing.headers);
    rest.extend_from_slice(outgoing.payload);
    rest.extend_from_slice(b"\r\n");
}

fn write_number(mut number: usize, to: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[at..]);
}

impl Shard {
    /// The disk has done something for the engine.
    pub(super) fn disk_completed(
        &mut self,
        store: usize,
        completion: Completion,
        fx: &mut Effects,
    ) {
        self.with_engine(fx, |engine, now, out| {
            engine.disk_completed(now, store, completion, out);
        });
        self.end_hold_for_disk(fx);
    }

    /// Accounts that the engine wanted have been looked for.
    pub(super) fn accounts_were_sought(&mut self, fx: &mut Effects) {
        self.with_engine(fx, |engine, now, out| engine.accounts_were_sought(now, out));
    }

    /// What has come this turn is flushed.
    pub(super) fn flush_streams(&mut self, fx: &mut Effects) {
        let mut disk = std::mem::take(&mut fx.disk);
        self.with_engine(fx, |engine, now, out| engine.turn_ends(now, &mut disk, out));
        fx.disk = disk;
    }

    /// Another shard's part of JetStream has said something.
    pub(super) fn ordered(&mut self, from: ShardId, order: Order, fx: &mut Effects) {
        self.with_engine(fx, |engine, now, out| engine.ordered(now, from, order, out));
    }
}

impl Shard {
    /// Accounts are known to JetStream from now on, and its stores are read.
    pub fn begin_streams(&mut self, now: Millis, fx: &mut Effects) {
        self.now = now.max(1);
        let unix_ms = self.settings.unix_at_zero_ms + self.now;
        let fine_ns = (self.settings.fine_clock_ns)() as i64;
        self.streams.unix_at_fine_zero = unix_ms as i64 * 1_000_000 - fine_ns;
        self.with_engine(fx, |engine, now, out| engine.accounts_changed(now, out));
    }

    /// Time has passed for streams.
    pub(super) fn tick_streams(&mut self, fx: &mut Effects) {
        let now = self.now;
        let is_due = |engine: &Engine| engine.next_deadline().is_some_and(|at| at <= now);
        if self.engine().is_some_and(is_due) {
            self.with_engine(fx, |engine, now, out| engine.tick(now, out));
        }
    }

    /// Whether streams are there and those of other shards are known, or there is no JetStream.
    pub fn streams_are_ready(&self) -> bool {
        self.engine().is_none_or(Engine::is_ready)
    }

    /// Whether all shards know of this one's streams, also of those that came with their account.
    pub fn streams_are_known(&self) -> bool {
        let acknowledged = self.mesh.acked_by_all();
        let mut engine = self.engine().into_iter();
        engine.all(|engine| engine.is_known_by(acknowledged))
    }

    /// Why they will never be.
    pub fn streams_failed(&self) -> Option<&str> {
        self.engine().and_then(Engine::failed)
    }

    /// The server stops: streams begin nothing new.
    pub fn stop_streams(&mut self, now: Millis, fx: &mut Effects) {
        self.now = now.max(1);
        self.with_engine(fx, |engine, now, out| engine.stop(now, out));
    }

    /// What of its streams is not at rest, though nothing more may come; `None` when all is.
    pub fn streams_unrest(&self) -> Option<&'static str> {
        if self.streams.has_arrivals() {
            Some("something has arrived at a stream")
        } else if !self.streams.waiting.is_empty() {
            Some("publishers are held back for the disk")
        } else {
            self.engine().and_then(Engine::unrest)
        }
    }

    /// Whether all that was accepted is on disk.
    pub fn streams_are_stored(&self) -> bool {
        self.engine().is_none_or(Engine::is_stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_the_watched_subjects_that_they_match() {
        const A: AccountId = AccountId(1);
        let mut streams = Streams::default();
        let all = ["a", "a.b", "a.b.c", "a.bc", "a.c", "b", "b.a"];
        for subject in all {
            for account in [A, AccountId(2)] {
                let key = (account, subject.as_bytes().into());
                streams.watched.insert(key, 1);
            }
        }
        for (pattern, expected) in [
            ("a.b", &["a.b"][..]),
            ("a.*", &["a.b", "a.bc", "a.c"]),
            ("a.b.*", &["a.b.c"]),
            ("a.b.>", &["a.b.c"]),
            ("*.a", &["b.a"]),
            ("*", &["a", "b"]),
            (">", &["a", "a.b", "a.b.c", "a.bc", "a.c", "b", "b.a"]),
            ("c.>", &[]),
            ("x", &[]),
        ] {
            streams.note_watched(A, pattern.as_bytes());
            let changed = std::mem::take(&mut streams.changed);
            let expected = expected.iter().map(|name| (A, name.as_bytes().into()));
            assert_eq!(changed, expected.collect(), "{pattern}");
        }
    }
}
