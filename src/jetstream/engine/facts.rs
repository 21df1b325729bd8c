//! What an engine tells those who watch the server: what its accounts use, and its streams and consumers, page by page.
//!
//! A page costs the shard at most [`PAGE_WORK`] units of about 100 ns, however many streams there are. It does not know
//! who asks.

use std::ops::Range;
use std::sync::Arc;

use super::host::Host;
use super::{Engine, consumers};
use crate::base::ids::AccountId;
use crate::jetstream::api::check_stream::Limits;
use crate::jetstream::api::responses::{SourceInfo, StreamState};
use crate::jetstream::api::versions::API_LEVEL;
use crate::jetstream::config::{Storage, StreamConfig};
use crate::jetstream::{Now, Usage};
use crate::store::{Messages, Refused, State, UnixNanos};

/// What one page may cost.
const PAGE_WORK: usize = 4096;
/// To look at a stream and count it.
const LOOK_WORK: usize = 1;
/// To describe it.
const DESCRIBE_WORK: usize = 16;
/// To describe one of its consumers.
const CONSUMER_WORK: usize = 64;

/// What all streams of a shard come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JetStreamFacts {
    /// Of all accounts, on this shard.
    pub usage: Usage,
    /// Accounts of the server that may use JetStream.
    pub accounts: u64,
    /// Bytes that streams of the server have reserved.
    pub reserved_memory_bytes: u64,
    pub reserved_storage_bytes: u64,
    /// On this shard.
    pub streams: u64,
    /// What the server can do (ADR-44).
    pub api_level: u64,
    /// Requests that wait for other shards.
    pub requests_in_flight: u64,
    /// Accounts that may use JetStream, if they were asked for.
    pub accounts_list: Vec<AccountUsage>,
}

/// An account and what it uses of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountUsage {
    pub name: Box<str>,
    /// What it may have at most; -1 for any, and 0 where that depends on the streams' copies.
    pub max_memory_bytes: i64,
    pub max_storage_bytes: i64,
    pub usage: Usage,
}

/// Which streams are asked for, and what of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Only this stream, described.
    pub only: Option<Only>,
    /// Those of these accounts, in order, are described; all others are only counted.
    pub described: Arc<[Box<str>]>,
    /// With their consumers.
    pub consumers: bool,
    /// With the consumers of mirrors and sources.
    pub direct_consumers: bool,
    /// Consumers with their configurations.
    pub configs: bool,
    /// Streams of which something is wrong are told.
    pub unhealthy: bool,
    /// Where to go on, by shard. Those that are not here have no more; if it is empty, all begin.
    pub from: Vec<(u8, Cursor)>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only {
    pub account: Arc<str>,
    pub stream: Arc<str>,
    /// With this consumer, whatever else is asked for.
    pub consumer: Option<Arc<str>>,
}

/// Where the next page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    place: u32,
    /// The last consumer of that stream that was told; empty where the stream has not been told.
    consumer: Box<str>,
}

/// A part of a shard's streams.
#[derive(Clone, Debug, Default)]
pub struct StreamsPage {
    /// Of which shard.
    pub shard: u8,
    /// All that were looked at.
    pub tally: Tally,
    /// Those that are described.
    pub streams: Vec<StreamFacts>,
    pub unhealthy: Vec<Unhealthy>,
    /// Nothing where this was the last page.
    pub next: Option<Cursor>,
}

/// Sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub streams: u64,
    pub consumers: u64,
    pub messages: u64,
    pub bytes: u64,
}

impl Tally {
    /// Adds another's.
    pub fn add(&mut self, other: &Tally) {
        self.streams += other.streams;
        self.consumers += other.consumers;
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// A stream. JSON is as the API has it.
#[derive(Clone, Debug)]
pub struct StreamFacts {
    pub account: Box<str>,
    pub name: Box<str>,
    pub created: UnixNanos,
    /// Without what answers add of the server.
    pub config: Arc<StreamConfig>,
    pub state: State,
    /// How many there are, whatever was asked for.
    pub consumers: u64,
    /// JSON of what it mirrors.
    pub mirror: Option<Vec<u8>>,
    /// JSON of each of what it takes messages from.
    pub sources: Vec<Vec<u8>>,
    /// JSON of each consumer that was asked for.
    pub consumers_list: Vec<Vec<u8>>,
    /// The same of those of mirrors and sources.
    pub direct_consumers_list: Vec<Vec<u8>>,
    /// The stream was in the page before: these are more of its consumers.
    pub goes_on: bool,
}

impl StreamFacts {
    /// JSON of its configuration.
    pub fn config_json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        self.config.render(&mut json);
        json
    }

    /// JSON of what it holds.
    pub fn state_json(&self) -> Vec<u8> {
        let state = StreamState {
            state: self.state,
            consumers: self.consumers as usize,
            ..StreamState::default()
        };
        let mut json = Vec::new();
        state.render(&mut json);
        json
    }
}

/// A stream of which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhealthy {
    pub account: Box<str>,
    pub stream: Box<str>,
    pub what: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such account any more.
    NoAccount,
    /// It could not be brought back.
    NotRecovered,
    /// Nothing can be stored.
    CannotWrite(&'static str),
}

impl Engine {
    /// What there is in all.
    pub fn facts(&self, with_accounts: bool) -> JetStreamFacts {
        let mut facts = JetStreamFacts {
            reserved_memory_bytes: self.directory.reserved_by_all(Storage::Memory),
            reserved_storage_bytes: self.directory.reserved_by_all(Storage::File),
            streams: self.names.len() as u64,
            api_level: API_LEVEL.unsigned_abs(),
            requests_in_flight: self.questions.len() as u64,
            ..JetStreamFacts::default()
        };
        self.accounts.each(|account, usage| {
            facts.usage.add(&usage);
            let Some(limits) = &account.limits else {
                return;
            };
            facts.accounts += 1;
            if with_accounts {
                let (max_memory_bytes, max_storage_bytes) = match limits {
                    Limits::Flat(limits) => (limits.max_memory, limits.max_storage),
                    Limits::Tiers(_) => (0, 0),
                };
                facts.accounts_list.push(AccountUsage {
                    name: account.name.as_str().into(),
                    max_memory_bytes,
                    max_storage_bytes,
                    usage,
                });
            }
        });
        facts
    }

    /// A page of this shard's streams. What is found out of consumers may make them say something, as a question of
    /// the API may.
    pub fn survey<H: Host>(&mut self, now: Now, survey: &Survey, host: &mut H) -> StreamsPage {
        let mut page = StreamsPage {
            shard: host.own().0,
            ..StreamsPage::default()
        };
        let mut cursor = match survey.from.iter().find(|(shard, _)| *shard == page.shard) {
            Some((_, cursor)) => cursor.clone(),
            None if survey.from.is_empty() => Cursor::default(),
            None => return page,
        };
        if cursor == Cursor::default() && survey.unhealthy {
            page.unhealthy = self.lost();
        }
        let places = self.places(survey);
        let mut work = PAGE_WORK;
        for place in places.start.max(cursor.place)..places.end {
            if work == 0 {
                page.next = Some(Cursor {
                    place,
                    consumer: Box::default(),
                });
                break;
            }
            let after = match place == cursor.place {
                true => std::mem::take(&mut cursor.consumer),
                false => Box::default(),
            };
            work = work.saturating_sub(LOOK_WORK);
            let Some(account) = self.count(place, after.is_empty(), survey, &mut page) else {
                continue;
            };
            if !self.is_described(account, survey) {
                continue;
            }
            work = work.saturating_sub(DESCRIBE_WORK);
            let more = self.describe_facts(now, place, &after, survey, &mut work, &mut page, host);
            if let Some(consumer) = more {
                page.next = Some(Cursor { place, consumer });
                break;
            }
        }
        page
    }

    /// Where the streams are that are asked for.
    fn places(&self, survey: &Survey) -> Range<u32> {
        let Some(only) = &survey.only else {
            return 0..self.assets.len() as u32;
        };
        let account = self.accounts.find(&only.account);
        match account.and_then(|account| self.place(account, &only.stream)) {
            Some(place) => place..place + 1,
            None => 0..0,
        }
    }

    fn is_described(&self, account: AccountId, survey: &Survey) -> bool {
        if survey.only.is_some() {
            return true;
        }
        let name = || self.accounts.name(account);
        !survey.described.is_empty()
            && survey
                .described
                .binary_search_by(|one| (**one).cmp(name()))
                .is_ok()
    }

    /// Counts the stream at a place, if there is one and it was not counted; whose it is.
    fn count(
        &mut self,
        place: u32,
        is_new: bool,
        survey: &Survey,
        page: &mut StreamsPage,
    ) -> Option<AccountId> {
        let hosted = self.assets[place as usize].as_deref()?;
        let store = &mut self.volumes[hosted.volume].store;
        let refusal = store.refusal().filter(|_| hosted.asset.is_file());
        let state = *store.stream(hosted.number)?.state();
        if is_new {
            page.tally.add(&Tally {
                streams: 1,
                consumers: hosted.asset.consumer_count() as u64,
                messages: state.messages,
                bytes: state.bytes,
            });
            if let Some(why) = refusal.filter(|_| survey.unhealthy) {
                page.unhealthy.push(Unhealthy {
                    account: self.accounts.name(hosted.account).into(),
                    stream: hosted.asset.config().name.as_str().into(),
                    what: Problem::CannotWrite(refused(why)),
                });
            }
        }
        Some(hosted.account)
    }

    /// Describes a stream with its consumers after one. The last consumer for which there was room, if there are more.
    #[expect(clippy::too_many_arguments, reason = "a part of one function")]
    fn describe_facts<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        after: &str,
        survey: &Survey,
        work: &mut usize,
        page: &mut StreamsPage,
        host: &mut H,
    ) -> Option<Box<str>> {
        let account = self.hosted(place)?.account;
        let account_name = self.accounts.name(account).into();
        let config = {
            let name = &self.hosted(place)?.asset.config().name;
            Arc::clone(&self.directory.get(account, name)?.config)
        };
        let described = self.with(place, now, host, |asset, around| {
            let (mirror, sources) = asset.feeds().infos(now);
            let written = |source: &SourceInfo<'_>| {
                let mut json = Vec::new();
                source.render(&mut json);
                json
            };
            let mut facts = StreamFacts {
                account: account_name,
                name: config.name.as_str().into(),
                created: asset.created(),
                state: *around.messages.state(),
                consumers: asset.consumer_count() as u64,
                mirror: mirror.as_ref().map(written),
                sources: sources.iter().map(written).collect(),
                consumers_list: Vec::new(),
                direct_consumers_list: Vec::new(),
                goes_on: !after.is_empty(),
                config,
            };
            if let Some(name) = survey.only.as_ref().and_then(|only| only.consumer.as_ref()) {
                let json = consumers::show(asset, name, false, now, around, |info, to| {
                    info.render_without_config(to);
                });
                facts.consumers_list.extend(json);
            }
            if !survey.consumers {
                return (facts, None);
            }
            let room = *work / CONSUMER_WORK + 1;
            let wanted = |is_hidden: &bool| !is_hidden || survey.direct_consumers;
            let names = asset.consumer_names_after(after);
            let names: Vec<(Box<str>, bool)> = names
                .filter(|(_, is_hidden)| wanted(is_hidden))
                .take(room + 1)
                .map(|(name, is_hidden)| (name.into(), is_hidden))
                .collect();
            for (name, is_hidden) in names.iter().take(room) {
                *work = work.saturating_sub(CONSUMER_WORK);
                let json =
                    consumers::show(asset, name, false, now, around, |info, to| {
                        match survey.configs {
                            true => info.render(to),
                            false => info.render_without_config(to),
                        }
                    });
                match is_hidden {
                    true => facts.direct_consumers_list.extend(json),
                    false => facts.consumers_list.extend(json),
                }
            }
            let more = names.get(room).map(|_| names[room - 1].0.clone());
            (facts, more)
        });
        let (facts, more) = described?;
        page.streams.push(facts);
        more
    }
}

fn refused(why: Refused) -> &'static str {
    match why {
        Refused::Full => "no space left on device",
        Refused::Poisoned => "a flush has failed",
        Refused::TooLarge => "a record is too long",
    }
}
