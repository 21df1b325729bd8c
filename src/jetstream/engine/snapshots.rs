//! Snapshots of streams that live here, on their way to clients, and streams on their way back.
//!
//! A stream that is being restored belongs to nobody until all of it is there: it has a place in
//! a store, where it is marked as unfinished, and its name is taken, but it has no subjects. Restores
//! live on the shard that decides about streams.

use super::host::{Arrival, Host, StreamId};
use super::lifecycle::{LOST, key, stored_form, unfinished_form};
use super::way_out::WayOut;
use super::{Engine, owned};
use crate::base::deadlines::Millis;
use crate::base::ids::AccountId;
use crate::jetstream::adopted::{consumer_fact, message_flags};
use crate::jetstream::api::advisories::Advisory;
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::requests::{self, ConsumerRequest, RestoreRequest, SnapshotRequest};
use crate::jetstream::api::responses::{self, Kind, StreamState};
use crate::jetstream::config::{Storage, StreamConfig};
use crate::jetstream::snapshot::{self, Item, Received, Receiving, Sending, Sent, Writer};
use crate::jetstream::stream::storage_error;
use crate::jetstream::{Now, Request, letters};
use crate::store::{Messages, NewMessage, StreamNumber, UnixNanos};

/// Snapshots and restores under way, on a shard.
const UNDER_WAY_MAX: usize = 64;

/// Letters of the names by which their chunks are told from others'.
const ID_LETTERS: usize = 8;

/// A snapshot that is being sent.
struct Outgoing {
    stream: StreamId,
    id: String,
    sending: Sending,
    /// It waits for the store.
    is_reading: bool,
    began: UnixNanos,
    client: Vec<u8>,
}

/// A stream that is being restored.
struct Incoming {
    account: AccountId,
    config: StreamConfig,
    id: String,
    receiving: Receiving,
    number: StreamNumber,
    created: UnixNanos,
    /// What it counts with in its account.
    counted_bytes: u64,
    consumers: u32,
    request: Box<Request>,
    began: UnixNanos,
    client: Vec<u8>,
}

/// See the module.
#[derive(Default)]
pub struct Snapshots {
    outgoing: Vec<Outgoing>,
    incoming: Vec<Incoming>,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (outgoing, incoming) = (self.outgoing.len(), self.incoming.len());
        write!(f, "Snapshots({outgoing} out, {incoming} in)")
    }
}

impl Snapshots {
    /// Whether a stream of that name is being restored.
    pub fn is_coming(&self, account: AccountId, name: &str) -> bool {
        let mut incoming = self.incoming.iter();
        incoming.any(|one| one.account == account && one.config.name == name)
    }

    /// When one of them is due.
    pub fn next_deadline(&self) -> Option<Millis> {
        let outgoing = self.outgoing.iter().map(|one| one.sending.deadline());
        let incoming = self.incoming.iter().map(|one| one.receiving.deadline());
        outgoing.chain(incoming).min()
    }
}

impl Engine {
    /// `STREAM.SNAPSHOT`.
    pub(super) fn begin_snapshot<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: SnapshotRequest = requests::required(arrival.payload, self.options.strict)?;
        let deliver = request.deliver_subject.as_bytes();
        if !crate::subject::is_valid_literal(deliver) {
            return Err(Code::SnapshotDeliverSubjectInvalid.into());
        }
        if self.snapshots.outgoing.len() >= UNDER_WAY_MAX {
            return Err(Code::StreamSnapshot.with(&["too many snapshots are under way"]));
        }
        let id = letters::random(ID_LETTERS, || host.random());
        let mut answer = Vec::new();
        let mut held = StreamState::default();
        let sending = self.with(place, now, host, |asset, around| {
            let config = asset.config().clone();
            let state = *around.messages.state();
            let consumers = match request.no_consumers {
                true => Vec::new(),
                false => asset.snapshots(now.unix),
            };
            let shown = StreamState {
                state,
                consumers: asset.consumers().count(),
                ..StreamState::default()
            };
            responses::snapshot(&mut answer, &config, &shown);
            held = StreamState {
                state,
                consumers: shown.consumers,
                ..StreamState::default()
            };
            let state = snapshot::StreamState {
                messages: state.messages,
                bytes: state.bytes,
                first_seq: state.first_seq,
                first_time: state.first_time,
                last_seq: state.last_seq,
                last_time: state.last_time,
                subjects: state.subjects,
                deleted: state.deleted,
                consumers: 0,
            };
            let writer = Writer::new(state, consumers, now.unix);
            Sending::begin(&request, &config.name, &id, writer, now, around.outlet)
        });
        let sending = sending.ok_or(Code::StreamNotFound)?;
        self.respond(arrival, host, |to| to.extend_from_slice(&answer));
        let client = self.client(arrival, host);
        let hosted = self.hosted(place).ok_or(Code::StreamNotFound)?;
        let life = hosted.life;
        let (account, stream) = (hosted.account, hosted.asset.config().name.clone());
        let advisory = Advisory::SnapshotCreate {
            stream: &stream,
            state: &held,
            client: &client,
        };
        self.tell(account, &advisory, now, host);
        self.snapshots.outgoing.push(Outgoing {
            stream: StreamId { place, life },
            id,
            sending,
            is_reading: false,
            began: now.unix,
            client: client.clone(),
        });
        self.send_snapshots(now, false, host);
        Ok(())
    }

    /// A chunk of a snapshot was acknowledged.
    pub(super) fn snapshot_acknowledged<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        id: &[u8],
        host: &mut H,
    ) {
        let id = id.split(|&byte| byte == b'.').next().unwrap_or_default();
        for one in &mut self.snapshots.outgoing {
            // There is none of a stream that was in its place before.
            if one.stream.place == place && one.id.as_bytes() == id {
                one.sending.acknowledged();
            }
        }
        self.send_snapshots(now, false, host);
    }

    /// Somebody listens to a subject of snapshots now, or nobody does; whether it is one.
    pub(super) fn snapshot_interest(&mut self, now: Now, subject: &[u8], is_heard: bool) -> bool {
        let mut is_one = false;
        for one in &mut self.snapshots.outgoing {
            if one.sending.deliver_subject() == subject {
                one.sending.interest_changed(now, is_heard);
                is_one = true;
            }
        }
        is_one
    }

    /// Sends what may be sent; `has_read` after the store has read something.
    pub(super) fn send_snapshots<H: Host>(&mut self, now: Now, has_read: bool, host: &mut H) {
        let mut at = 0;
        while at < self.snapshots.outgoing.len() {
            let one = &mut self.snapshots.outgoing[at];
            if one.is_reading && !has_read {
                at += 1;
                continue;
            }
            let place = one.stream.place;
            let mut one = self.snapshots.outgoing.swap_remove(at);
            let sent = self.with(place, now, host, |_, around| {
                one.sending.poll(now, around.messages, around.outlet)
            });
            match sent {
                // The store does not know the stream.
                None => continue,
                Some(Sent::Ended(result)) => {
                    self.snapshot_ended(&one, &result, now, host);
                    continue;
                }
                Some(Sent::Waiting) => one.is_reading = false,
                Some(Sent::Again) => {
                    one.is_reading = false;
                    self.is_busy = true;
                }
                Some(Sent::Reading) => one.is_reading = true,
            }
            self.snapshots.outgoing.push(one);
            let last = self.snapshots.outgoing.len() - 1;
            self.snapshots.outgoing.swap(at, last);
            at += 1;
        }
    }

    /// A stream is about to be deleted: who gets a snapshot of it is told that there is no more to come.
    pub(super) fn end_snapshots<H: Host>(&mut self, now: Now, place: u32, host: &mut H) {
        let Some(life) = self.hosted(place).map(|hosted| hosted.life) else {
            return;
        };
        let stream = StreamId { place, life };
        let (ended, others) = std::mem::take(&mut self.snapshots.outgoing)
            .into_iter()
            .partition(|one| one.stream == stream);
        self.snapshots.outgoing = others;
        for mut one in ended {
            let sent = self.with(place, now, host, |_, around| {
                one.sending.give_up("stream deleted", around.outlet)
            });
            if let Some(Sent::Ended(result)) = sent {
                self.snapshot_ended(&one, &result, now, host);
            }
        }
    }

    fn snapshot_ended<H: Host>(
        &mut self,
        one: &Outgoing,
        result: &Result<(), String>,
        now: Now,
        host: &mut H,
    ) {
        let Some(hosted) = self.hosted(one.stream.place) else {
            return;
        };
        let (account, stream) = (hosted.account, hosted.asset.config().name.clone());
        let advisory = Advisory::SnapshotComplete {
            stream: &stream,
            start: one.began,
            end: now.unix,
            client: &one.client,
            error: result.as_ref().err().map_or("", String::as_str),
        };
        self.tell(account, &advisory, now, host);
    }

    /// `STREAM.RESTORE`.
    pub(super) fn begin_restore<H: Host>(
        &mut self,
        now: Now,
        name: &str,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: RestoreRequest = requests::required(arrival.payload, self.options.strict)?;
        let account = arrival.account;
        let config = self.restorable(name, request.config, account)?;
        if self.snapshots.is_coming(account, name) {
            return Err(Code::StreamNameExistRestoreFailed.into());
        }
        if self.is_lost(account, name) {
            return Err(Code::StreamRestore.with(&[LOST]));
        }
        if self.snapshots.incoming.len() >= UNDER_WAY_MAX {
            return Err(Code::StreamRestore.with(&["too many restores are under way"]));
        }
        let account_name = self.accounts.name(account).to_owned();
        let (meta, options) = unfinished_form(now.unix, &config);
        let key = key(&account_name, &config.name);
        let made = self.volumes[0].store.create_stream(&key, &meta, options);
        let number = made.map_err(storage_error)?;
        let id = letters::random(ID_LETTERS, || host.random());
        let receiving = Receiving::begin(&account_name, name, &id, now);
        let subject = receiving.subject().to_owned();
        let client = self.client(arrival, host);
        self.respond(arrival, host, |to| responses::restore(to, &subject));
        self.snapshots.incoming.push(Incoming {
            account,
            config,
            id,
            receiving,
            number,
            created: now.unix,
            counted_bytes: 0,
            consumers: 0,
            request: owned(arrival),
            began: now.unix,
            client: client.clone(),
        });
        let advisory = Advisory::RestoreCreate {
            stream: name,
            client: &client,
        };
        self.tell(account, &advisory, now, host);
        Ok(())
    }

    /// A chunk of a stream that is being restored has come.
    pub(super) fn restore_chunk<H: Host>(
        &mut self,
        now: Now,
        id: &[u8],
        arrival: &Arrival<'_>,
        host: &mut H,
    ) {
        let place = self
            .snapshots
            .incoming
            .iter()
            .position(|one| one.account == arrival.account && one.id.as_bytes() == id);
        if let Some(place) = place {
            let one = &mut self.snapshots.incoming[place];
            one.receiving.arrived(now, arrival.reply, arrival.payload);
            self.take_in(now, place, host);
        }
    }

    /// Takes in what has come of restored streams, and gives up what does not come.
    pub(super) fn take_in_all<H: Host>(&mut self, now: Now, host: &mut H) {
        for place in (0..self.snapshots.incoming.len()).rev() {
            self.take_in(now, place, host);
        }
    }

    fn take_in<H: Host>(&mut self, now: Now, place: usize, host: &mut H) {
        let mut one = self.snapshots.incoming.swap_remove(place);
        let (account, is_file) = (one.account, one.config.storage == Storage::File);
        let room = self.accounts.room(account, is_file, &self.options);
        let volume = &mut self.volumes[0];
        let mut outlet = WayOut {
            host,
            account: one.account,
            held: &mut volume.held,
            place: u32::MAX,
            life: 0,
            watchers: &mut self.watchers,
        };
        let Some(mut messages) = volume.store.stream(one.number) else {
            return;
        };
        let Incoming {
            receiving,
            consumers,
            created,
            counted_bytes,
            ..
        } = &mut one;
        let before = *counted_bytes;
        let mut is_too_much = false;
        let received = receiving.poll(now, &mut outlet, &mut |item| {
            keep(item, &mut messages, consumers, created)?;
            let more = messages.state().bytes.saturating_sub(before);
            let server_bytes = u64::try_from(room.server_bytes).unwrap_or(0);
            is_too_much = more > room.account_bytes.min(server_bytes);
            match is_too_much {
                true => Err(String::new()),
                false => Ok(()),
            }
        });
        let held = match received {
            Received::Waiting | Received::Again => messages.state().bytes,
            // It is a stream like others from now on, or none.
            Received::Complete { .. } | Received::Failed { .. } => 0,
        };
        self.accounts.count(account, is_file, before, held);
        *counted_bytes = held;
        match received {
            Received::Waiting => self.snapshots.incoming.push(one),
            Received::Again => {
                self.is_busy = true;
                self.snapshots.incoming.push(one);
            }
            Received::Complete { reply } => self.restored(now, one, reply, host),
            Received::Failed { reply, why } => {
                volume.store.delete_stream(one.number);
                one.request.reply = reply;
                let error = match (is_too_much, is_file) {
                    (false, _) => Code::StreamRestore.with(&[&why]),
                    (true, true) => Code::StorageResourcesExceeded.into(),
                    (true, false) => Code::MemoryResourcesExceeded.into(),
                };
                let arrival = super::borrowed(&one.request);
                self.refuse(&arrival, Kind::StreamCreate, &error, host);
            }
        }
    }

    /// All of a stream is there.
    fn restored<H: Host>(&mut self, now: Now, mut one: Incoming, reply: Box<[u8]>, host: &mut H) {
        one.request.reply = reply;
        let name = one.config.name.clone();
        let arrival = super::borrowed(&one.request);
        // Another with those subjects may have come meanwhile.
        let checked = self.restorable(&name, one.config.clone(), one.account);
        let (meta, options) = stored_form(one.created, &one.config);
        let store = &mut self.volumes[0].store;
        let done = checked.and_then(|_| {
            store
                .set_meta(one.number, &meta, options.compress)
                .map_err(storage_error)
        });
        let done = done.and_then(|()| {
            let decision = self.decide();
            self.recover_stream(0, one.number, decision, now, host)
                .map_err(|why| Code::StreamRestore.with(&[&why]))
        });
        if let Err(error) = done {
            self.volumes[0].store.delete_stream(one.number);
            self.refuse(&arrival, Kind::StreamCreate, &error, host);
            return;
        }
        let advisory = Advisory::RestoreComplete {
            stream: &name,
            start: one.began,
            end: now.unix,
            bytes: one.receiving.received_bytes() as i64,
            client: &one.client,
        };
        self.tell(one.account, &advisory, now, host);
        let Some(place) = self.place(one.account, &name) else {
            return;
        };
        let interest = host.interest_number();
        let mut json = Vec::new();
        self.show_stream(place, now, host, |info, _| info.restored(&mut json));
        self.respond_durable(&arrival, 0, interest, host, |to| {
            to.extend_from_slice(&json)
        });
    }
}

/// Stores an item of a snapshot.
fn keep<M: Messages>(
    item: Item<'_>,
    messages: &mut M,
    consumers: &mut u32,
    created: &mut UnixNanos,
) -> Result<(), String> {
    let stored = match item {
        Item::State(_) => Ok(()),
        Item::Meta(meta) => {
            *created = meta.created;
            Ok(())
        }
        Item::Consumer(consumer) => {
            let json = format!(
                "{{\"stream_name\":\"\",\"config\":{}}}",
                consumer.config_json
            );
            let request: ConsumerRequest = requests::parse(json.as_bytes(), false)
                .map_err(|error| format!("consumer {}: {}", consumer.name, error.description))?;
            let (note, fact) = consumer_fact(
                *consumers,
                &consumer.name,
                *created,
                &request.config,
                &consumer.state,
            );
            *consumers += 1;
            messages.rewrite_note(note, &fact)
        }
        Item::Message {
            seq,
            time,
            subject,
            headers,
            payload,
        } => messages
            .skip_to(seq.saturating_sub(1), time)
            .and_then(|()| {
                messages
                    .append(&NewMessage {
                        subject,
                        headers,
                        payload,
                        time,
                        flags: message_flags(headers),
                    })
                    .map(drop)
            }),
        Item::Removed(ranges) => {
            for (first, last) in ranges {
                for seq in first..=last {
                    messages.remove(seq, false);
                }
            }
            Ok(())
        }
        Item::End {
            last_seq,
            last_time,
        } => messages.skip_to(last_seq, last_time),
    };
    stored.map_err(|refused| storage_error(refused).description.to_string())
}
