//! Streams come, change and go. Shard 0 decides, because it alone knows all configurations; the home of
//! a stream does it, tells everybody, and answers.

use std::sync::Arc;

use super::directory::{Directory, Located};
use super::host::{Arrival, Host, Seat, Sink};
use super::{Engine, Hosted, owned};
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
use crate::jetstream::stream::storage_error;
use crate::jetstream::{Now, Order, Request};
use crate::store::{StreamNumber, StreamOptions, UnixNanos};

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
pub(super) struct Leaving {
    shelf: usize,
    /// Where the journal must be durable up to; not known until the turn's flush begins.
    position: Option<u64>,
    account: AccountId,
    name: Box<str>,
    decision: u64,
    /// What is still on its way to it reaches nobody.
    listens: Vec<u32>,
    /// Who has asked for that, if it was for one stream.
    request: Option<Box<Request>>,
}

/// What a store knows of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Meta {
    created: UnixNanos,
    config: StreamConfig,
    /// Not all of it has come yet.
    is_restoring: bool,
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
                    self.is_none(account, &name, decision, host);
                    self.refuse(&arrival, Kind::StreamCreate, &error, host);
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
        let shelf = self.hosted(place).map_or(0, |hosted| hosted.shelf);
        let interest = host.interest_number();
        let mut json = Vec::new();
        self.show_stream(place, now, host, |info, _| write(info, &mut json));
        self.respond_durable(arrival, shelf, interest, host, |to| {
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
        let store = &mut self.shelves[0].store;
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
    fn settle_in<H: Host>(
        &mut self,
        account: AccountId,
        shelf: usize,
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
        let hosted = Box::new(Hosted {
            account,
            life: self.lives,
            decision,
            shelf,
            number,
            asset,
            listens: Vec::new(),
            interest: 0,
            is_queued: false,
            is_dirty: false,
            is_flushing: false,
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
                let sink = Sink::Stream(Seat { place, life });
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
    /// one of that name is durable.
    fn is_none<H: Host>(&mut self, account: AccountId, name: &str, decision: u64, host: &mut H) {
        let mut leaving = self.leaving.iter_mut().rev();
        match leaving.find(|one| one.account == account && *one.name == *name) {
            Some(leaving) => leaving.decision = decision,
            None => self.gone(account, name, decision, host),
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
                match place {
                    Some(place) => self.tell_located(place, host),
                    None => self.is_none(account, &name, decision, host),
                }
                self.refuse(&arrival, Kind::StreamUpdate, &error, host);
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
        let (shelf, number) = (hosted.shelf, hosted.number);
        let meta = meta(hosted.asset.created(), &config);
        let compress = options(&config).compress;
        let store = &mut self.shelves[shelf].store;
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
        self.ready.retain(|&other| other != place);
        self.shelves[hosted.shelf]
            .store
            .delete_stream(hosted.number);
        let name = hosted.asset.config().name.clone();
        self.names.remove(&super::Key(hosted.account, &name));
        self.tell_stream(hosted.account, &name, Action::Delete, now, host);
        let Hosted {
            account,
            shelf,
            decision,
            listens,
            ..
        } = *hosted;
        self.leaving.push(Leaving {
            shelf,
            position: None,
            account,
            name: name.as_str().into(),
            decision,
            listens,
            request,
        });
    }

    /// The turn's flush has begun: deletions wait for it.
    pub(super) fn seal_leaving(&mut self, shelf: usize) {
        let position = self.shelves[shelf].store.position();
        for leaving in self.leaving.iter_mut().filter(|one| one.shelf == shelf) {
            leaving.position.get_or_insert(position);
        }
    }

    /// Streams whose deletion is durable are no more; who has asked for it is answered when all shards
    /// know that.
    pub(super) fn let_go<H: Host>(&mut self, host: &mut H) {
        for leaving in std::mem::take(&mut self.leaving) {
            let durable = self.shelves[leaving.shelf].store.durable();
            if leaving.position.is_none_or(|position| position > durable) {
                self.leaving.push(leaving);
                continue;
            }
            self.gone(leaving.account, &leaving.name, leaving.decision, host);
            // After the orders: who knows of this knows of them.
            for listen in leaving.listens {
                host.unlisten(listen);
            }
            if let Some(request) = &leaving.request {
                let interest = host.interest_number();
                let arrival = super::borrowed(request);
                self.respond_durable(&arrival, leaving.shelf, interest, host, |to| {
                    Kind::StreamDelete.success(to);
                });
            }
        }
    }

    /// Brings back what the stores hold.
    pub(super) fn recover<H: Host>(&mut self, now: Now, host: &mut H) {
        for shelf in 0..self.shelves.len() {
            let mut numbers: Vec<StreamNumber> = self.shelves[shelf].store.streams().collect();
            numbers.sort_unstable();
            for number in numbers {
                if let Err(why) = self.recover_stream(shelf, number, 0, now, host) {
                    let text = format!("JetStream: stream {} is left alone: {why}", number.0);
                    host.log(true, text);
                    let store = &self.shelves[shelf].store;
                    let key = store.key(number).unwrap_or_default().to_vec();
                    if let Some((account, stream)) = names(&key) {
                        self.lose(account, stream);
                    }
                }
            }
        }
    }

    pub(super) fn recover_stream<H: Host>(
        &mut self,
        shelf: usize,
        number: StreamNumber,
        decision: u64,
        now: Now,
        host: &mut H,
    ) -> Result<(), String> {
        let store = &mut self.shelves[shelf].store;
        let key = store.key(number).ok_or("it has no name")?;
        let (account_name, stream) = names(key).ok_or("its name cannot be read")?;
        let (account_name, stream) = (account_name.to_owned(), stream.to_owned());
        let meta: Meta = decode::request(store.meta(number).unwrap_or_default(), false)
            .map_err(|error| format!("{account_name} > {stream}: {}", error.description))?;
        if meta.is_restoring {
            self.shelves[shelf].store.delete_stream(number);
            let text = format!(
                "JetStream: {account_name} > {stream} was not restored to its end: what had come is deleted"
            );
            host.log(false, text);
            return Ok(());
        }
        let Some(account) = self.accounts.find(&account_name) else {
            return Err(format!(
                "there is no account {account_name:?} for {stream:?}"
            ));
        };
        let mut facts: std::collections::BTreeMap<u32, Vec<Vec<u8>>> = Default::default();
        store.notes(number, &mut |note, fact| {
            facts.entry(note).or_default().push(fact.to_vec());
        });
        let own = facts.remove(&0).unwrap_or_default();
        let settings = self.options.stream.clone();
        let Some(mut messages) = store.stream(number) else {
            return Err("it is not there".to_owned());
        };
        let asset = Asset::recover(
            meta.config,
            settings,
            &account_name,
            meta.created,
            own.iter().map(Vec::as_slice),
            &mut messages,
            now,
        );
        let asset =
            asset.map_err(|error| format!("{account_name} > {stream}: {}", error.description))?;
        let place = self.settle_in(account, shelf, number, asset, decision, host);
        for (note, facts) in facts {
            let recovered = self.with(place, now, host, |asset, around| {
                if asset.recover_feeds(note, &facts) {
                    return Ok(false);
                }
                asset.recover_consumer(note, &facts, around).map(|()| true)
            });
            match recovered {
                Some(Err(why)) => {
                    let text = format!("JetStream: {account_name} > {stream}: {why}");
                    host.log(true, text);
                }
                Some(Ok(true)) => self.accounts.count_consumers(account, 1),
                Some(Ok(false)) | None => {}
            }
        }
        self.with(place, now, host, |asset, around| {
            asset.begin(around);
        });
        Ok(())
    }
}
