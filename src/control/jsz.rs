//! JSZ: JetStream's accounts, streams and consumers, and the parts of other answers that speak of it.
//!
//! Streams are asked for page by page (`shard::facts::Survey`), so that no shard works on an answer for long; the
//! answer is put together here. It is what was there while the pages came, not at one moment.

use serde::Serialize;
use serde_json::value::RawValue;

use super::json::is_default;
use super::time::UnixNanos;
use super::view::{House, JetStreamView, Merged, ServerFacts};
use crate::proto::quote::quote;
use crate::shard::facts::{
    AccountUsage, JetStreamFacts, StreamFacts, Survey, Tally, Unhealthy, Wanted,
};

/// Accounts in an answer, if nothing is said.
const LIMIT: i64 = 1024;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Only this account in detail; goes before `accounts`.
    pub account: String,
    pub accounts: bool,
    pub streams: bool,
    pub consumers: bool,
    /// Those of mirrors and sources, beside `consumers`.
    pub direct_consumers: bool,
    pub config: bool,
    /// Only the leader answers; a server that stands alone is it.
    pub leader_only: bool,
    /// Of accounts.
    pub offset: i64,
    /// Of accounts; 0 for the default, a negative one for all.
    pub limit: i64,
    /// With what raft groups there are: none, but all is led here.
    pub raft: bool,
    /// Only streams that are led here, which all are.
    pub stream_leader_only: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Api {
    pub level: u64,
    pub total: u64,
    pub errors: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub inflight: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub memory: u64,
    pub storage: u64,
    pub reserved_memory: u64,
    pub reserved_storage: u64,
    pub accounts: u64,
    pub ha_assets: u64,
    pub api: Api,
}

impl Stats {
    /// Of all accounts.
    pub fn new(facts: &JetStreamFacts) -> Self {
        let usage = &facts.usage;
        Self {
            memory: usage.memory_bytes,
            storage: usage.storage_bytes,
            reserved_memory: facts.reserved_memory_bytes,
            reserved_storage: facts.reserved_storage_bytes,
            accounts: facts.accounts,
            ha_assets: 0,
            api: Api {
                level: facts.api_level,
                total: usage.requests,
                errors: usage.errors,
                inflight: facts.requests_in_flight,
            },
        }
    }

    /// Of one account, with its limits as what is reserved for it; -1 is the highest number there, as in nats-server.
    fn of_account(account: &AccountUsage) -> Self {
        Self {
            memory: account.usage.memory_bytes,
            storage: account.usage.storage_bytes,
            reserved_memory: account.max_memory_bytes as u64,
            reserved_storage: account.max_storage_bytes as u64,
            api: Api {
                total: account.usage.requests,
                errors: account.usage.errors,
                ..Api::default()
            },
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Config {
    pub max_memory: u64,
    pub max_storage: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub store_dir: String,
    #[serde(skip_serializing_if = "is_default")]
    pub sync_interval: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub sync_always: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub domain: String,
    #[serde(skip_serializing_if = "is_default")]
    pub compress_ok: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub unique_tag: String,
    #[serde(skip_serializing_if = "is_default")]
    pub strict: bool,
}

impl Config {
    fn new(view: &JetStreamView) -> Self {
        Self {
            max_memory: view.max_memory_bytes,
            max_storage: view.max_storage_bytes,
            store_dir: view.store_dir.clone(),
            sync_interval: view.sync_interval_ns,
            sync_always: view.sync_always,
            domain: view.domain.clone(),
            compress_ok: true,
            unique_tag: view.unique_tag.clone(),
            strict: view.strict,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AssetLimits {
    #[serde(skip_serializing_if = "is_default")]
    pub max_request_batch: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_ack_pending: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_duplicate_window: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_batch_inflight_per_stream: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_batch_inflight_total: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_batch_size: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_batch_timeout: i64,
}

impl AssetLimits {
    fn new(view: &JetStreamView) -> Self {
        let limits = &view.limits;
        Self {
            max_request_batch: limits.max_request_batch,
            max_ack_pending: limits.max_ack_pending,
            max_duplicate_window: limits.duplicate_window_ns,
            max_batch_inflight_per_stream: limits.batches_per_stream,
            max_batch_inflight_total: limits.batches,
            max_batch_size: limits.batch_messages,
            max_batch_timeout: limits.batch_timeout_ns,
        }
    }
}

/// JetStream in VARZ and STATSZ; nothing at all without it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct JetStreamVarz {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<AssetLimits>,
}

impl JetStreamVarz {
    /// Of these facts. STATSZ goes to more than those who need to know where files are.
    pub fn new(server: &ServerFacts, merged: &Merged, with_store_dir: bool) -> Self {
        let Some(view) = &server.jetstream else {
            return Self::default();
        };
        let mut config = Config::new(view);
        if !with_store_dir {
            config.store_dir = String::new();
        }
        Self {
            config: Some(config),
            stats: Some(Stats::new(&merged.jetstream)),
            limits: Some(AssetLimits::new(view)),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Jsz<'a> {
    #[serde(flatten)]
    pub stats: Stats,
    pub server_id: &'a str,
    pub now: UnixNanos,
    #[serde(skip_serializing_if = "is_default")]
    pub disabled: bool,
    pub config: Config,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<AssetLimits>,
    pub streams: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub streams_leader: u64,
    pub consumers: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub consumers_leader: u64,
    pub messages: u64,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub account_details: Vec<AccountDetail>,
    pub total: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct AccountDetail {
    /// What people call it.
    pub name: String,
    pub id: String,
    #[serde(flatten)]
    pub stats: Stats,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stream_detail: Vec<StreamDetail>,
}

/// A stream. What the API has too is as it writes it.
#[derive(Clone, Debug, Serialize)]
pub struct StreamDetail {
    pub name: String,
    pub created: UnixNanos,
    pub cluster: Cluster,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Box<RawValue>>,
    pub state: Box<RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumer_detail: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub direct_consumer_detail: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Box<RawValue>>,
}

/// Who leads a stream: the server itself.
#[derive(Clone, Debug, Serialize)]
pub struct Cluster {
    pub leader: String,
}

/// JSZ.
///
/// # Errors
/// Only a leader is to answer, and a server without JetStream is none. Over NATS, it then says nothing.
pub fn jsz<'a>(
    house: &mut dyn House,
    server: &'a ServerFacts,
    options: &Options,
) -> Result<Jsz<'a>, String> {
    let mut answer = Jsz {
        stats: Stats::default(),
        server_id: &server.identity.id,
        now: house.now(),
        disabled: true,
        config: Config::default(),
        limits: None,
        streams: 0,
        streams_leader: 0,
        consumers: 0,
        consumers_leader: 0,
        messages: 0,
        bytes: 0,
        account_details: Vec::new(),
        total: 0,
    };
    let Some(view) = &server.jetstream else {
        return match options.leader_only {
            true => Err("filtered response: not leader".to_owned()),
            false => Ok(answer),
        };
    };
    let merged = Merged::ask(house, &with_accounts());
    let accounts: Vec<&AccountUsage> = merged.jetstream_accounts.values().collect();
    let chosen = chosen(&accounts, options);
    let surveyed = survey(house, &what(&chosen, options));
    let tally = &surveyed.tally;
    answer.disabled = false;
    answer.stats = Stats::new(&merged.jetstream);
    answer.config = Config::new(view);
    answer.limits = Some(AssetLimits::new(view));
    answer.streams = tally.streams;
    answer.consumers = tally.consumers;
    if options.raft {
        answer.streams_leader = tally.streams;
        answer.consumers_leader = tally.consumers;
    }
    answer.messages = tally.messages;
    answer.bytes = tally.bytes;
    answer.total = accounts.len();
    let mut streams = surveyed.streams.into_iter().peekable();
    for account in chosen {
        let mut details = Vec::new();
        while let Some(stream) = streams.next_if(|stream| *stream.account == *account.name) {
            details.push(stream_detail(server, &stream, options));
        }
        answer
            .account_details
            .push(account_detail(server, account, details));
    }
    Ok(answer)
}

/// JSZ of one account.
///
/// # Errors
/// There is no such account, or it has no JetStream; the text is for the peer.
pub fn account_jsz(
    house: &mut dyn House,
    server: &ServerFacts,
    account: &str,
    options: &Options,
) -> Result<AccountDetail, String> {
    if server.jetstream.is_none() {
        return Err("jetstream not enabled".to_owned());
    }
    if server.account(account).is_none() {
        return Err(format!("account {} not found", quote(account.as_bytes())));
    }
    let merged = Merged::ask(house, &with_accounts());
    let Some(usage) = merged.jetstream_accounts.get(account) else {
        return Err(format!(
            "account {} not jetstream enabled",
            quote(account.as_bytes())
        ));
    };
    let mut details = Vec::new();
    // As in nats-server, consumers do not bring their streams along here.
    if options.streams {
        let surveyed = survey(house, &what(&[usage], options));
        let streams = surveyed.streams.iter();
        details.extend(streams.map(|stream| stream_detail(server, stream, options)));
    }
    Ok(account_detail(server, usage, details))
}

fn with_accounts() -> Wanted {
    Wanted {
        jetstream_accounts: true,
        ..Wanted::default()
    }
}

/// The accounts that are shown, by name.
fn chosen<'a>(accounts: &[&'a AccountUsage], options: &Options) -> Vec<&'a AccountUsage> {
    let named = accounts.iter().find(|a| *a.name == *options.account);
    if let Some(named) = named {
        return vec![named];
    }
    let asks_for_streams = options.streams || options.consumers;
    let asks_for_all = asks_for_streams && options.account.is_empty();
    if !options.accounts && !asks_for_all {
        return Vec::new();
    }
    let page = match options.limit {
        limit if limit < 0 => 0..accounts.len(),
        0 => super::view::page(accounts.len(), options.offset, LIMIT),
        limit => super::view::page(accounts.len(), options.offset, limit),
    };
    accounts[page].to_vec()
}

fn what(chosen: &[&AccountUsage], options: &Options) -> Survey {
    let described = options.streams || options.consumers;
    let names = chosen.iter().filter(|_| described);
    Survey {
        described: names.map(|account| account.name.clone()).collect(),
        consumers: options.consumers,
        direct_consumers: options.consumers && options.direct_consumers,
        configs: options.config,
        ..Survey::default()
    }
}

/// What the shards' streams are, all pages together: by account and name.
#[derive(Debug, Default)]
pub struct Surveyed {
    pub tally: Tally,
    pub streams: Vec<StreamFacts>,
    pub unhealthy: Vec<Unhealthy>,
}

/// Asks for streams, page by page until there are no more. A shard that does not answer in time is missing.
pub fn survey(house: &mut dyn House, survey: &Survey) -> Surveyed {
    let mut surveyed = Surveyed::default();
    let mut survey = survey.clone();
    loop {
        let wanted = Wanted {
            streams: Some(survey.clone()),
            ..Wanted::default()
        };
        survey.from.clear();
        for page in house.facts(&wanted).into_iter().filter_map(|f| f.streams) {
            surveyed.tally.add(&page.tally);
            surveyed.unhealthy.extend(page.unhealthy);
            for stream in page.streams {
                let before = surveyed.streams.iter_mut().rev();
                let mut before = before.take_while(|_| stream.goes_on);
                let is_same =
                    |s: &&mut StreamFacts| s.name == stream.name && s.account == stream.account;
                match before.find(is_same) {
                    Some(before) => {
                        before.consumers_list.extend(stream.consumers_list);
                        let direct = stream.direct_consumers_list;
                        before.direct_consumers_list.extend(direct);
                    }
                    None => surveyed.streams.push(stream),
                }
            }
            let next = page.next.map(|cursor| (page.shard, cursor));
            survey.from.extend(next);
        }
        if survey.from.is_empty() {
            break;
        }
    }
    let streams = &mut surveyed.streams;
    streams.sort_by(|a, b| (&a.account, &a.name).cmp(&(&b.account, &b.name)));
    surveyed
}

fn account_detail(
    server: &ServerFacts,
    account: &AccountUsage,
    stream_detail: Vec<StreamDetail>,
) -> AccountDetail {
    AccountDetail {
        name: server.name_tag(&account.name).to_owned(),
        id: account.name.to_string(),
        stats: Stats::of_account(account),
        stream_detail,
    }
}

fn stream_detail(server: &ServerFacts, stream: &StreamFacts, options: &Options) -> StreamDetail {
    let rawly = |list: &[Vec<u8>]| list.iter().map(|json| raw(json)).collect();
    StreamDetail {
        name: stream.name.to_string(),
        created: UnixNanos(stream.created.unsigned_abs()),
        cluster: Cluster {
            leader: server.identity.name.clone(),
        },
        config: options.config.then(|| raw(&stream.config_json())),
        state: raw(&stream.state_json()),
        consumer_detail: rawly(&stream.consumers_list),
        direct_consumer_detail: rawly(&stream.direct_consumers_list),
        mirror: stream.mirror.as_deref().map(raw),
        sources: rawly(&stream.sources),
    }
}

fn raw(json: &[u8]) -> Box<RawValue> {
    serde_json::from_slice(json).expect("the API's encoder writes JSON")
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::super::view::{Told, Usage};
    use super::*;
    use std::collections::BTreeSet;

    use crate::shard::facts::{Cursor, ShardFacts, StreamsPage};

    /// A house with one shard, the accounts A and B, and these pages of streams.
    #[derive(Default)]
    pub struct House {
        pub pages: Vec<StreamsPage>,
        /// Shards that answer no question.
        pub silent: BTreeSet<usize>,
        asked: usize,
        missed: BTreeSet<usize>,
    }

    impl super::House for House {
        fn threads(&mut self) -> String {
            String::new()
        }
        fn now(&mut self) -> UnixNanos {
            UnixNanos(1)
        }

        fn take_silent(&mut self) -> BTreeSet<usize> {
            std::mem::take(&mut self.missed)
        }

        fn facts(&mut self, wanted: &Wanted) -> Vec<ShardFacts> {
            self.missed.extend(&self.silent);
            let mut facts = ShardFacts::default();
            if let Some(survey) = &wanted.streams {
                assert_eq!(survey.from.is_empty(), self.asked == 0);
                facts.streams = self.pages.get(self.asked).cloned();
                self.asked += 1;
            } else if wanted.jetstream_accounts {
                facts.jetstream = Some(JetStreamFacts {
                    accounts_list: ["A", "B"].map(account).into(),
                    ..JetStreamFacts::default()
                });
            }
            vec![facts]
        }

        fn usage(&mut self) -> Usage {
            Usage::default()
        }

        fn kick(&mut self, _: u64) -> bool {
            false
        }

        fn tell_lame_duck(&mut self, _: u64) -> Told {
            Told::NoSuchClient
        }

        fn reload(&mut self, _: u64) {}
    }

    fn account(name: &str) -> AccountUsage {
        AccountUsage {
            name: name.into(),
            max_memory_bytes: -1,
            max_storage_bytes: -1,
            usage: Default::default(),
        }
    }

    /// A server with JetStream.
    pub fn server() -> ServerFacts {
        ServerFacts {
            jetstream: Some(JetStreamView::default()),
            ..(*super::super::tests::server()).clone()
        }
    }

    #[test]
    fn which_accounts_are_shown() {
        let check = |options: Options, expected: &[&str]| {
            let all = ["A", "B", "C"].map(account);
            let all: Vec<&AccountUsage> = all.iter().collect();
            let chosen: Vec<&str> = chosen(&all, &options).iter().map(|a| &*a.name).collect();
            assert_eq!(chosen, expected, "{options:?}");
        };
        let all = |offset, limit| Options {
            accounts: true,
            offset,
            limit,
            ..Options::default()
        };
        let one = |name: &str, accounts| Options {
            account: name.to_owned(),
            accounts,
            streams: true,
            ..Options::default()
        };
        check(Options::default(), &[]);
        check(all(0, 0), &["A", "B", "C"]);
        check(all(1, 1), &["B"]);
        check(all(3, 1), &[]);
        check(all(2, -1), &["A", "B", "C"]);
        check(all(i64::MIN, i64::MAX), &["A", "B", "C"]);
        check(all(i64::MAX, i64::MAX), &[]);
        check(one("B", false), &["B"]);
        check(one("nope", false), &[]);
        check(one("nope", true), &["A", "B", "C"]);
        check(one("", false), &["A", "B", "C"]);
    }

    #[test]
    fn consumers_of_a_stream_come_together_from_its_pages() {
        let stream = |account: &str, consumer: &str, goes_on| StreamFacts {
            account: account.into(),
            name: "S".into(),
            created: 0,
            config: Arc::default(),
            state: Default::default(),
            consumers: 3,
            mirror: None,
            sources: Vec::new(),
            consumers_list: vec![consumer.into()],
            direct_consumers_list: Vec::new(),
            goes_on,
        };
        let page = |streams, goes_on: bool| StreamsPage {
            streams,
            tally: Tally {
                streams: 1,
                ..Tally::default()
            },
            next: goes_on.then(Cursor::default),
            ..StreamsPage::default()
        };
        let mut house = House {
            pages: vec![
                page(vec![stream("B", "1", false)], true),
                page(vec![stream("B", "2", true)], true),
                page(vec![stream("B", "3", true), stream("A", "4", false)], false),
            ],
            ..House::default()
        };
        let options = Options {
            consumers: true,
            ..Options::default()
        };
        let server = server();
        let answer = jsz(&mut house, &server, &options).unwrap();
        assert_eq!((answer.streams, answer.total), (3, 2));
        let shown: Vec<(String, Vec<String>)> = answer
            .account_details
            .iter()
            .flat_map(|account| account.stream_detail.iter().map(move |s| (account, s)))
            .map(|(account, s)| {
                let consumers = s.consumer_detail.iter();
                let consumers = consumers.map(|json| json.get().to_owned());
                (account.id.clone(), consumers.collect())
            })
            .collect();
        let of_b = ["1", "2", "3"].map(str::to_owned).to_vec();
        let expected = [
            ("A".to_owned(), vec!["4".to_owned()]),
            ("B".to_owned(), of_b),
        ];
        assert_eq!(shown, expected);
    }
}
