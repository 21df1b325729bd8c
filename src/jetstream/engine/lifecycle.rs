//! Streams come, change and go. Shard 0 decides, because it alone knows all configurations; the home of
//! a stream does it, tells everybody, and answers.

use std::sync::Arc;

use super::directory::{Directory, Located};
use super::fenced::Fenced;
use super::host::{Arrival, Host, Sink, StreamId};
use super::{Engine, HostedStream, owned};
use crate::base::ids::{AccountId, ShardId};
use crate::jetstream::api::advisories::Action;
use crate::jetstream::api::check_stream::{self, Around, Creation, ServerLimits, Streams};
use crate::jetstream::api::decode::{self, Decode};
use crate::jetstream::api::encode::Object;
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::requests::{self, StreamRequest};
use crate::jetstream::api::responses::{Kind, StreamInfo};
use crate::jetstream::asset::Asset;
use crate::jetstream::config::{Compression, Storage, StreamConfig};
use crate::jetstream::consumer::End;
use crate::jetstream::stream::{check_transforms, storage_error};
use crate::jetstream::{Now, Order, Request};
use crate::store::{StreamNumber, StreamOptions, UnixNanos};

/// Why a stream is not made whose name one on the disks has.
pub(super) const LOST: &str = "a stream of that name is on disk and could not be brought back";

/// An account's streams, for the checks.
struct Of<'a>(&'a Directory, AccountId);

impl Streams for Of<'_> {
    fn stream(&self, name: &str) -> Option<&StreamConfig> {
        let located = self.0.get(self.1, name)?;
        Some(&located.config)
    }

    fn each(&self, each: &mut dyn FnMut(&StreamConfig)) {
        for (_, located) in self.0.of(self.1) {
            each(&located.config);
        }
    }
}

/// A stream that was deleted, until that is durable. Its name could not be given to a stream on another shard
/// before: after a crash there might be both.
#[derive(Debug)]
pub(super) struct Deletion {
    volume: usize,
    /// Where the journal must be durable up to; not known until the turn's flush begins.
    position: Option<u64>,
    account: AccountId,
    name: Box<str>,
    decision: u64,
    /// What is still on its way to it reaches nobody.
    listens: Vec<u32>,
    /// What others are told when that is done.
    owed: Vec<Owed>,
}

/// What somebody is told when a stream is no more.
#[derive(Debug)]
enum Owed {
    /// That: he has asked for it.
    Deletion(Box<Request>),
    /// That it is not there to be changed.
    Refusal(Box<Request>, Kind, ApiError),
    /// To a shard that asks when all streams of an account are gone: this one is.
    Purge(ShardId, u64),
}

/// What a store knows of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub created: UnixNanos,
    pub config: StreamConfig,
    /// Not all of it has come yet.
    pub is_restoring: bool,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            created: 0,
            config: StreamConfig::unsaid(),
            is_restoring: false,
        }
    }
}

impl Decode for Meta {
    const TYPE: &'static str = "stream";

    fn field(&mut self, name: &str, decoder: &mut decode::Decoder<'_>) -> decode::Known {
        match name {
            "created" => decoder.int64(&mut self.created),
            "config" => decoder.object(&mut self.config),
            "restoring" => decoder.boolean(&mut self.is_restoring),
            _ => decode::Known::No,
        }
    }
}

fn meta(created: UnixNanos, config: &StreamConfig) -> Vec<u8> {
    written(created, config, false)
}

fn written(created: UnixNanos, config: &StreamConfig, is_restoring: bool) -> Vec<u8> {
    let mut meta = Vec::new();
    let mut object = Object::begin(&mut meta);
    object.integer("created", created);
    config.render(object.key("config"));
    object.boolean_if_true("restoring", is_restoring);
    object.end();
    meta
}

/// The key of a stream: the account's name with its length before it, and the stream's.
pub fn key(account: &str, stream: &str) -> Vec<u8> {
    // Names of accounts are in the configuration or are public keys.
    let mut key = (account.len() as u16).to_le_bytes().to_vec();
    key.extend_from_slice(account.as_bytes());
    key.extend_from_slice(stream.as_bytes());
    key
}

/// The account and the stream of a key.
pub fn names(key: &[u8]) -> Option<(&str, &str)> {
    let (length, rest) = key.split_first_chunk::<2>()?;
    let (account, stream) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((
        std::str::from_utf8(account).ok()?,
        std::str::from_utf8(stream).ok()?,
    ))
}

/// What a store is to be told of a stream that is written into it from elsewhere.
pub fn stored_form(created: UnixNanos, config: &StreamConfig) -> (Vec<u8>, StreamOptions) {
    (meta(created, config), options(config))
}

/// The same while not all of it is there: should the server end before, it was never there.
pub(super) fn unfinished_form(
    created: UnixNanos,
    config: &StreamConfig,
) -> (Vec<u8>, StreamOptions) {
    (written(created, config, true), options(config))
}

fn options(config: &StreamConfig) -> StreamOptions {
    StreamOptions {
        memory: config.storage == Storage::Memory,
        compress: config.compression == Compression::S2,
    }
}

impl Engine {
    fn server_limits(&self) -> ServerLimits {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        ServerLimits {
            duplicate_window: self.options.max_duplicate_window,
            max_memory: bytes(self.options.max_memory),
            max_storage: bytes(self.options.max_storage),
            reserved_memory: bytes(self.directory.reserved_by_all(Storage::Memory)),
            reserved_storage: bytes(self.directory.reserved_by_all(Storage::File)),
        }
    }

    /// Has a configuration judged against an account's streams, and what it and the server may have.
    fn judge<T>(
        &self,
        account: AccountId,
        judge: impl FnOnce(&Around<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let limits = self.accounts.limits(account);
        judge(&Around {
            streams: &Of(&self.directory, account),
            limits: limits.ok_or(Code::NotEnabledForAccount)?,
            server: self.server_limits(),
        })
    }

    /// `STREAM.CREATE`, on the shard that decides.
    pub(super) fn create_stream<H: Host>(
        &mut self,
        now: Now,
        name: &str,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: StreamRequest = requests::parse(arrival.payload, self.options.strict)?;
        let account = arrival.account;
        let judged = self.judge(account, |around| {
            check_stream::creation(name, request, around)
        });
        let (home, config) = match judged? {
            Creation::New(_) if self.snapshots.is_coming(account, name) => {
                return Err(Code::StreamNameExist.into());
            }
            Creation::New(_) if self.is_lost(account, name) => {
                return Err(Code::StreamStoreFailed.with(&[LOST]));
            }
            Creation::New(config) => (self.directory.emptiest(self.options.shards), *config),
            Creation::Same => {
                let located = self.directory.get(account, name);
                let located = located.ok_or(Code::StreamNotFound)?;
                (located.home, (*located.config).clone())
            }
        };
        let decision = self.decided(account, home, &config);
        let order = Order::Create {
            account,
            config: Box::new(config),
            request: owned(arrival),
            decision,
        };
        self.order(home, order, now, host);
        Ok(())
    }

    /// The number of another decision.
    pub(super) fn decide(&mut self) -> u64 {
        self.decisions += 1;
        self.decisions
    }

    /// A stream is to be so: from now on the name and the subjects are taken.
    fn decided(&mut self, account: AccountId, home: ShardId, config: &StreamConfig) -> u64 {
        let decision = self.decide();
        let located = Located {
            home,
            config: Arc::new(config.clone()),
            decision,
        };
        self.directory.set(account, located);
        decision
    }

    /// The configuration of a stream that is to be restored, if it may be.
    pub(super) fn restorable(
        &self,
        name: &str,
        config: StreamConfig,
        account: AccountId,
    ) -> Result<StreamConfig, ApiError> {
        self.judge(account, |around| {
            check_stream::restoration(name, config, around)
        })
    }

    /// `STREAM.UPDATE`, on the shard that decides.
    pub(super) fn update_stream<H: Host>(
        &mut self,
        now: Now,
        name: &str,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: StreamRequest = requests::parse(arrival.payload, self.options.strict)?;
        let account = arrival.account;
        let config = self.judge(account, |around| {
            check_stream::update(name, request, around)
        })?;
        let located = self.directory.get(account, name);
        let home = located.ok_or(Code::StreamNotFound)?.home;
        let decision = self.decided(arrival.account, home, &config);
        let order = Order::Update {
            account,
            config: Box::new(config),
            request: owned(arrival),
            decision,
        };
        self.order(home, order, now, host);
        Ok(())
    }

    /// Makes a stream that lives here, if it is not there already, and answers.
    pub(super) fn make<H: Host>(
        &mut self,
        account: AccountId,
        config: StreamConfig,
        request: &Request,
        decision: u64,
        now: Now,
        host: &mut H,
    ) {
        let arrival = super::borrowed(request);
        let name = config.name.clone();
        let place = match self.place(account, &name) {
            Some(place) => {
                self.heard_decision(place, decision);
                place
            }
            None => match self.begin(account, config, decision, now, host) {
                Ok(place) => {
                    self.tell_stream(account, &name, Action::Create, now, host);
                    place
                }
                Err(error) => {
                    let request = owned(&arrival);
                    let refusal = (request, Kind::StreamCreate, error);
                    self.is_none(account, &name, decision, refusal, host);
                    return;
                }
            },
        };
        self.respond_with_stream(place, &arrival, now, host, |info, to| info.created(to));
    }

    /// Answers with what a stream is now, when that is durable and all shards send it what is published
    /// to it.
    fn respond_with_stream<H: Host>(
        &mut self,
        place: u32,
        arrival: &Arrival<'_>,
        now: Now,
        host: &mut H,
        write: impl FnOnce(&StreamInfo<'_>, &mut Vec<u8>),
    ) {
        let volume = self.hosted(place).map_or(0, |hosted| hosted.volume);
        let interest = host.interest_number();
        let mut json = Vec::new();
        self.show_stream(place, now, host, |info, _| write(info, &mut json));
        self.respond_durable(arrival, volume, interest, host, |to| {
            to.extend_from_slice(&json);
        });
    }

    /// Begins a stream: in the store, as a state machine, and with its subjects.
    fn begin<H: Host>(
        &mut self,
        account: AccountId,
        config: StreamConfig,
        decision: u64,
        now: Now,
        host: &mut H,
    ) -> Result<u32, ApiError> {
        let account_name = self.accounts.name(account).to_owned();
        let key = key(&account_name, &config.name);
        let store = &mut self.volumes[0].store;
        let made = store.create_stream(&key, &meta(now.unix, &config), options(&config));
        let number = made.map_err(storage_error)?;
        let settings = self.options.stream.clone();
        let Some(mut messages) = store.stream(number) else {
            return Err(Code::StreamStoreFailed.with(&["it is not there"]));
        };
        let asset = Asset::create(config, settings, &account_name, &mut messages, now);
        let asset = match asset {
            Ok(asset) => asset,
            Err(error) => {
                store.delete_stream(number);
                return Err(error);
            }
        };
        let place = self.settle_in(account, 0, number, asset, decision, host);
        self.with(place, now, host, |asset, around| asset.tick_feeds(around));
        Ok(place)
    }

    /// Gives a stream its place, and tells everybody.
    pub(super) fn settle_in<H: Host>(
        &mut self,
        account: AccountId,
        volume: usize,
        number: StreamNumber,
        asset: Asset,
        decision: u64,
        host: &mut H,
    ) -> u32 {
        let free = self.assets.iter().position(Option::is_none);
        let place = free.unwrap_or(self.assets.len()) as u32;
        let name: Box<str> = asset.config().name.as_str().into();
        self.names.insert((account, name), place);
        self.lives = self.lives.wrapping_add(1);
        let hosted = Box::new(HostedStream {
            account,
            life: self.lives,
            decision,
            volume,
            number,
            asset,
            listens: Vec::new(),
            interest: 0,
            is_queued: false,
            is_dirty: false,
            is_flushing: false,
            is_reading: false,
            armed: None,
            counted_bytes: 0,
            counted_batches: (0, 0),
        });
        match self.assets.get_mut(place as usize) {
            Some(slot) => *slot = Some(hosted),
            None => self.assets.push(Some(hosted)),
        }
        // In this order: who knows that it listens knows of it.
        self.tell_located(place, host);
        self.listen(place, host);
        place
    }

    /// Subscribes to a stream's subjects, as they are now.
    fn listen<H: Host>(&mut self, place: u32, host: &mut H) {
        let Some(hosted) = self.assets[place as usize].as_deref_mut() else {
            return;
        };
        let before = std::mem::take(&mut hosted.listens);
        let config = hosted.asset.config();
        // A sealed stream takes nothing, and a mirror only what it mirrors.
        if config.mirror.is_none() {
            for subject in &config.subjects {
                let life = hosted.life;
                let sink = Sink::Stream(StreamId { place, life });
                let listen = host.listen(hosted.account, subject.as_bytes(), sink, true);
                hosted.listens.push(listen);
            }
        }
        // Afterwards, so that nothing is missed in between; nothing arrives twice, because nothing
        // arrives in the middle of this.
        for listen in before {
            host.unlisten(listen);
        }
        hosted.interest = host.interest_number();
    }

    fn heard_decision(&mut self, place: u32, decision: u64) {
        if let Some(hosted) = self.assets[place as usize].as_deref_mut() {
            hosted.decision = decision;
        }
    }

    fn tell_located<H: Host>(&mut self, place: u32, host: &mut H) {
        let Some(hosted) = self.hosted(place) else {
            return;
        };
        let (account, decision) = (hosted.account, hosted.decision);
        let config = Arc::new(hosted.asset.config().clone());
        let home = host.own();
        for shard in self.others(host) {
            let config = Arc::clone(&config);
            let order = Order::Located {
                account,
                home,
                config,
                decision,
            };
            host.order(shard, order);
        }
        let located = Located {
            home,
            config,
            decision,
        };
        self.directory.set(account, located);
    }

    /// A stream is no more; everybody is told.
    fn gone<H: Host>(&mut self, account: AccountId, name: &str, decision: u64, host: &mut H) {
        for shard in self.others(host) {
            let name = name.into();
            let order = Order::Gone {
                account,
                name,
                decision,
            };
            host.order(shard, order);
        }
        self.directory.remove(account, name, decision);
    }

    /// There is no stream here that was decided about: everybody is told, but not before the deletion of
    /// one of that name is durable; and then who has asked for it.
    fn is_none<H: Host>(
        &mut self,
        account: AccountId,
        name: &str,
        decision: u64,
        refusal: (Box<Request>, Kind, ApiError),
        host: &mut H,
    ) {
        let (request, kind, error) = refusal;
        match self.leaving_of(account, name) {
            Some(leaving) => {
                leaving.decision = decision;
                leaving.owed.push(Owed::Refusal(request, kind, error));
            }
            None => {
                self.gone(account, name, decision, host);
                self.when_all_know(Fenced::Refusal(request, kind, error), host);
            }
        }
    }

    fn leaving_of(&mut self, account: AccountId, name: &str) -> Option<&mut Deletion> {
        let mut leaving = self.leaving.iter_mut().rev();
        leaving.find(|one| one.account == account && *one.name == *name)
    }

    /// Answers a question when streams that were to be deleted are no more.
    pub(super) fn answer_when_gone<H: Host>(
        &mut self,
        account: AccountId,
        names: &[Box<str>],
        (asker, question): (ShardId, u64),
        host: &mut H,
    ) {
        let mut is_owed = false;
        for name in names {
            if let Some(leaving) = self.leaving_of(account, name) {
                leaving.owed.push(Owed::Purge(asker, question));
                is_owed = true;
            }
        }
        if !is_owed {
            self.when_all_know(Fenced::Answered(asker, question), host);
        }
    }

    /// Gives a stream that lives here another configuration, and answers.
    pub(super) fn change<H: Host>(
        &mut self,
        account: AccountId,
        config: StreamConfig,
        request: &Request,
        decision: u64,
        now: Now,
        host: &mut H,
    ) {
        let arrival = super::borrowed(request);
        let name = config.name.clone();
        let place = self.place(account, &name);
        if let Some(place) = place {
            self.heard_decision(place, decision);
        }
        let changed = self.changed(account, config, now, host);
        match changed {
            Err(error) => {
                // It stays what it is, which the deciding shard does not know.
                let request = owned(&arrival);
                let kind = Kind::StreamUpdate;
                match place {
                    Some(place) => {
                        self.tell_located(place, host);
                        self.when_all_know(Fenced::Refusal(request, kind, error), host);
                    }
                    None => {
                        let refusal = (request, kind, error);
                        self.is_none(account, &name, decision, refusal, host);
                    }
                }
            }
            Ok(place) => {
                self.tell_stream(account, &name, Action::Modify, now, host);
                self.respond_with_stream(place, &arrival, now, host, |info, to| info.updated(to));
            }
        }
    }

    fn changed<H: Host>(
        &mut self,
        account: AccountId,
        config: StreamConfig,
        now: Now,
        host: &mut H,
    ) -> Result<u32, ApiError> {
        let place = self.place(account, &config.name);
        let place = place.ok_or(Code::StreamNotFound)?;
        let hosted = self.hosted(place).ok_or(Code::StreamNotFound)?;
        let consumers = hosted.asset.consumers().map(|consumer| {
            let config = consumer.config();
            (
                consumer.name(),
                config.inactive_threshold,
                config.max_ack_pending,
            )
        });
        check_stream::consumers_fit(hosted.asset.config(), &config, consumers)?;
        // Nothing is written of what would then be refused.
        check_transforms(&config)?;
        let (volume, number) = (hosted.volume, hosted.number);
        let meta = meta(hosted.asset.created(), &config);
        let compress = options(&config).compress;
        let store = &mut self.volumes[volume].store;
        store
            .set_meta(number, &meta, compress)
            .map_err(storage_error)?;
        let done = self.with(place, now, host, |asset, around| {
            asset.update(config, around)
        });
        done.unwrap_or(Err(Code::StreamNotFound.into()))?;
        self.listen(place, host);
        self.tell_located(place, host);
        self.with(place, now, host, |asset, around| asset.tick_feeds(around));
        Ok(place)
    }

    /// `STREAM.DELETE`, at home.
    pub(super) fn delete_stream<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) {
        self.drop_stream(now, place, Some(owned(arrival)), host);
    }

    /// Ends a stream, with all that it has. Who has asked for it is answered when it is durable.
    pub(super) fn drop_stream<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        request: Option<Box<Request>>,
        host: &mut H,
    ) {
        self.end_snapshots(now, place, host);
        self.with(place, now, host, |asset, around| {
            asset.end_feeds(around);
            asset.end(End::Deleted, around);
        });
        let Some(hosted) = self.assets[place as usize].take() else {
            return;
        };
        let is_file = hosted.asset.is_file();
        self.accounts
            .count(hosted.account, is_file, hosted.counted_bytes, 0);
        self.batches.count(hosted.counted_batches, (0, 0));
        let consumers = hosted.asset.consumers().count() as i64;
        self.accounts.count_consumers(hosted.account, -consumers);
        for list in [&mut self.dirty, &mut self.flushing, &mut self.reading] {
            list.retain(|&other| other != place);
        }
        if let Some(at) = hosted.armed {
            self.alarms.clear(at, place);
        }
        self.ready.retain(|&other| other != place);
        self.volumes[hosted.volume]
            .store
            .delete_stream(hosted.number);
        let name = hosted.asset.config().name.clone();
        self.names.remove(&super::Key(hosted.account, &name));
        self.tell_stream(hosted.account, &name, Action::Delete, now, host);
        let HostedStream {
            account,
            volume,
            decision,
            listens,
            ..
        } = *hosted;
        self.leaving.push(Deletion {
            volume,
            position: None,
            account,
            name: name.as_str().into(),
            decision,
            listens,
            owed: request.map(Owed::Deletion).into_iter().collect(),
        });
    }

    /// The turn's flush has begun: deletions wait for it.
    pub(super) fn seal_leaving(&mut self, volume: usize) {
        let position = self.volumes[volume].store.position();
        for leaving in self.leaving.iter_mut().filter(|one| one.volume == volume) {
            leaving.position.get_or_insert(position);
        }
    }

    /// Streams whose deletion is durable are no more; who has asked for it is answered when all shards
    /// know that.
    pub(super) fn let_go<H: Host>(&mut self, host: &mut H) {
        let mut purges: Vec<(ShardId, u64)> = Vec::new();
        for leaving in std::mem::take(&mut self.leaving) {
            let durable = self.volumes[leaving.volume].store.durable();
            if leaving.position.is_none_or(|position| position > durable) {
                self.leaving.push(leaving);
                continue;
            }
            self.gone(leaving.account, &leaving.name, leaving.decision, host);
            // After the orders: who knows of this knows of them.
            for listen in leaving.listens {
                host.unlisten(listen);
            }
            for owed in leaving.owed {
                match owed {
                    Owed::Deletion(request) => {
                        let known = host.fence();
                        let arrival = super::borrowed(&request);
                        self.respond_durable(&arrival, leaving.volume, known, host, |to| {
                            Kind::StreamDelete.success(to);
                        });
                    }
                    Owed::Refusal(request, kind, error) => {
                        self.when_all_know(Fenced::Refusal(request, kind, error), host);
                    }
                    Owed::Purge(asker, question) => purges.push((asker, question)),
                }
            }
        }
        purges.sort_unstable();
        purges.dedup();
        for (asker, question) in purges {
            let waits = |owed: &Owed| matches!(*owed, Owed::Purge(other, number) if (other, number) == (asker, question));
            if !(self.leaving.iter()).any(|one| one.owed.iter().any(waits)) {
                self.when_all_know(Fenced::Answered(asker, question), host);
            }
        }
    }
}
