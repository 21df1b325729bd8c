//! Accounts as JetStream sees them: what they may have, what they use on this shard and on others, and
//! the subscriptions by which they reach the API.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::host::{Host, Sink};
use super::{Engine, Options};
use crate::base::deadlines::Millis;
use crate::base::ids::{AccountId, ShardId};
use crate::jetstream::api::check_stream::Limits;
use crate::jetstream::api::responses;
use crate::jetstream::api::responses::{AccountInfo, AccountLimits, ApiStats};
use crate::jetstream::config::Storage;
use crate::jetstream::stream::Room;
use crate::jetstream::{Now, Order, Usage};

/// Subjects that are JetStream's own, in every account.
const SPECIAL: [&str; 4] = ["$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$JS.SNAPSHOT.>"];

/// Between two tellings of what is used, at least.
const USAGE_PAUSE_MS: Millis = 10;

/// An account as its host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFacts {
    /// Its number.
    pub id: AccountId,
    /// Its name, by which stores know it.
    pub name: String,
    /// What it may have; `None` where it may not use JetStream.
    pub limits: Option<Limits>,
    /// It is the system account.
    pub is_system: bool,
}

#[derive(Debug)]
struct Account {
    facts: AccountFacts,
    own: Usage,
    /// Others are to be told of it.
    has_changed: bool,
    others: Vec<(ShardId, Usage)>,
    /// Bytes in memory and on disk, with those of others.
    stored: [u64; 2],
}

impl Account {
    fn add(&mut self, kind: usize, before: u64, now: u64) {
        self.stored[kind] = moved(self.stored[kind], before, now);
    }
}

/// Which of two sums.
const fn kind(is_file: bool) -> usize {
    is_file as usize
}

const fn moved(sum: u64, before: u64, now: u64) -> u64 {
    sum.saturating_sub(before).saturating_add(now)
}

/// See the module.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: HashMap<AccountId, Account>,
    /// Bytes in memory and on disk of all accounts, on all shards as far as that is known here.
    stored: [u64; 2],
    /// Accounts of which others are to be told.
    changed: Vec<AccountId>,
    /// When they were told last.
    told_ms: Millis,
    /// What other shards have said of accounts that are not known here yet.
    unknown: Vec<(ShardId, AccountId, Usage)>,
}

impl Accounts {
    /// These are the accounts now.
    pub fn change<H: Host>(&mut self, facts: Vec<AccountFacts>, domain: &str, host: &mut H) {
        for facts in facts {
            match self.accounts.get_mut(&facts.id) {
                Some(account) => account.facts = facts,
                None => {
                    let own = format!("$JS.{domain}.API.>");
                    let with_domain = (!domain.is_empty()).then_some(own.as_str());
                    let patterns = SPECIAL.iter().copied().chain(with_domain);
                    // They stay as long as the server: accounts keep their numbers.
                    for pattern in patterns {
                        host.listen(facts.id, pattern.as_bytes(), Sink::Api, false);
                    }
                    let account = Account {
                        own: Usage::default(),
                        has_changed: false,
                        others: Vec::new(),
                        stored: [0; 2],
                        facts,
                    };
                    self.accounts.insert(account.facts.id, account);
                }
            }
        }
        for (from, id, usage) in std::mem::take(&mut self.unknown) {
            self.heard(from, id, usage);
        }
    }

    /// An account's name.
    pub fn name(&self, id: AccountId) -> &str {
        self.accounts
            .get(&id)
            .map_or("", |account| account.facts.name.as_str())
    }

    /// The account of a name.
    pub fn find(&self, name: &str) -> Option<AccountId> {
        let mut all = self.accounts.values();
        all.find(|account| account.facts.name == name)
            .map(|account| account.facts.id)
    }

    /// What an account may have; `None` where it may not use JetStream.
    pub fn limits(&self, id: AccountId) -> Option<&Limits> {
        self.accounts.get(&id)?.facts.limits.as_ref()
    }

    /// The system account.
    pub fn system(&self) -> Option<AccountId> {
        let mut all = self.accounts.values();
        all.find(|account| account.facts.is_system)
            .map(|account| account.facts.id)
    }

    /// Whether it is the system account.
    pub fn is_system(&self, id: AccountId) -> bool {
        let account = self.accounts.get(&id);
        account.is_some_and(|account| account.facts.is_system)
    }

    /// What an account uses on this shard.
    pub fn own_usage(&self, id: AccountId) -> Usage {
        self.accounts
            .get(&id)
            .map_or_else(Usage::default, |account| account.own)
    }

    /// Another shard's part of what an account uses.
    pub fn heard(&mut self, from: ShardId, id: AccountId, usage: Usage) {
        let Some(account) = self.accounts.get_mut(&id) else {
            self.unknown
                .retain(|&(shard, account, _)| (shard, account) != (from, id));
            self.unknown.push((from, id, usage));
            return;
        };
        let before = match account.others.iter_mut().find(|(shard, _)| *shard == from) {
            Some((_, known)) => std::mem::replace(known, usage),
            None => {
                account.others.push((from, usage));
                Usage::default()
            }
        };
        let changes = [
            (before.memory_bytes, usage.memory_bytes),
            (before.storage_bytes, usage.storage_bytes),
        ];
        for (kind, (before, now)) in changes.into_iter().enumerate() {
            account.add(kind, before, now);
            self.stored[kind] = moved(self.stored[kind], before, now);
        }
    }

    /// Changes what an account uses on this shard.
    fn change_own(&mut self, id: AccountId, change: impl FnOnce(&mut Account)) {
        if let Some(account) = self.accounts.get_mut(&id) {
            change(account);
            if !std::mem::replace(&mut account.has_changed, true) {
                self.changed.push(id);
            }
        }
    }

    /// A stream counts as so many bytes now.
    pub fn count(&mut self, id: AccountId, is_file: bool, before: u64, now: u64) {
        let kind = kind(is_file);
        self.stored[kind] = moved(self.stored[kind], before, now);
        self.change_own(id, |account| {
            let bytes = match is_file {
                true => &mut account.own.storage_bytes,
                false => &mut account.own.memory_bytes,
            };
            *bytes = moved(*bytes, before, now);
            account.add(kind, before, now);
        });
    }

    /// A consumer has come (1) or gone (-1).
    pub fn count_consumers(&mut self, id: AccountId, change: i64) {
        self.change_own(id, |account| {
            account.own.consumers = account.own.consumers.saturating_add_signed(change);
        });
    }

    /// A request was answered.
    pub fn count_request(&mut self, id: AccountId, is_error: bool) {
        self.change_own(id, |account| {
            account.own.requests += 1;
            account.own.errors += u64::from(is_error);
        });
    }

    /// When other shards are to be told what is used here.
    pub fn next_telling(&self) -> Millis {
        match self.changed.is_empty() {
            true => Millis::MAX,
            false => self.told_ms.saturating_add(USAGE_PAUSE_MS),
        }
    }

    /// What an account uses on all shards, as far as that is known here.
    pub fn usage(&self, id: AccountId) -> Usage {
        let Some(account) = self.accounts.get(&id) else {
            return Usage::default();
        };
        let mut sum = account.own;
        for (_, usage) in &account.others {
            sum.memory_bytes += usage.memory_bytes;
            sum.storage_bytes += usage.storage_bytes;
            sum.consumers += usage.consumers;
            sum.requests += usage.requests;
            sum.errors += usage.errors;
        }
        sum
    }

    /// Calls for each account with what it uses on this shard.
    pub fn each(&self, mut each: impl FnMut(&AccountFacts, Usage)) {
        for account in self.accounts.values() {
            each(&account.facts, account.own);
        }
    }

    /// What may still be stored.
    pub fn room(&self, id: AccountId, is_file: bool, options: &Options) -> Room {
        let Some(account) = self.accounts.get(&id) else {
            return Room::UNLIMITED;
        };
        let most = |limits: &AccountLimits| match is_file {
            true => limits.max_storage,
            false => limits.max_memory,
        };
        let limit = match &account.facts.limits {
            Some(Limits::Flat(limits)) => most(limits),
            Some(Limits::Tiers(tiers)) => tiers.get("R1").map_or(-1, most),
            None => -1,
        };
        let account_bytes = match u64::try_from(limit) {
            Ok(limit) => limit.saturating_sub(account.stored[kind(is_file)]),
            Err(_) => u64::MAX,
        };
        let most = match is_file {
            true => options.max_storage,
            false => options.max_memory,
        };
        Room {
            account_bytes,
            server_bytes: left(most, self.stored[kind(is_file)]),
            ..Room::UNLIMITED
        }
    }
}

impl Engine {
    /// What the server may take in bytes is another from now on; `None` for what it was.
    pub fn set_limits(&mut self, max_memory: Option<u64>, max_storage: Option<u64>) {
        let options = &mut self.options;
        options.max_memory = max_memory.unwrap_or(options.max_memory);
        options.max_storage = max_storage.unwrap_or(options.max_storage);
    }

    /// What streams and consumers may ask for is another from now on; 0 for any or the default.
    pub fn set_asset_limits(
        &mut self,
        max_duplicate_window_ns: i64,
        max_ack_pending: i64,
        max_request_batch: i64,
    ) {
        let options = &mut self.options;
        options.max_duplicate_window = max_duplicate_window_ns;
        options.max_ack_pending = max_ack_pending;
        options.max_request_batch = max_request_batch;
    }

    /// Tells other shards what this one's accounts use, if that has changed: not with each message, as limits are
    /// not kept to the byte over shards.
    pub(super) fn tell_usage<H: Host>(&mut self, now: Now, host: &mut H) {
        if self.accounts.next_telling() > now.mono_ms {
            return;
        }
        self.accounts.told_ms = now.mono_ms;
        let others: SmallVec<[ShardId; 8]> = self.others(host).collect();
        for id in std::mem::take(&mut self.accounts.changed) {
            let Some(account) = self.accounts.accounts.get_mut(&id) else {
                continue;
            };
            account.has_changed = false;
            for &shard in &others {
                let order = Order::Usage {
                    account: id,
                    usage: account.own,
                };
                host.order(shard, order);
            }
        }
    }

    /// The answer to `$JS.API.INFO`.
    pub(super) fn account_info(&self, id: AccountId, to: &mut Vec<u8>) {
        let usage = self.accounts.usage(id);
        let shown = |limits: AccountLimits| responses::Usage {
            memory: usage.memory_bytes,
            storage: usage.storage_bytes,
            reserved_memory: self.directory.reserved(id, Storage::Memory),
            reserved_storage: self.directory.reserved(id, Storage::File),
            streams: self.directory.of(id).count() as u64,
            consumers: usage.consumers,
            limits,
        };
        let (limits, tiers) = match self.accounts.limits(id) {
            Some(Limits::Flat(limits)) => (*limits, Default::default()),
            Some(Limits::Tiers(tiers)) => {
                let tiers = tiers.iter();
                let shown = tiers.map(|(name, limits)| match name.as_str() {
                    // All streams of one server have one copy.
                    "R1" => (name.clone(), shown(*limits)),
                    _ => (name.clone(), empty(*limits)),
                });
                (AccountLimits::ZERO, shown.collect())
            }
            None => (AccountLimits::NONE, Default::default()),
        };
        AccountInfo {
            usage: shown(limits),
            domain: &self.options.stream.domain,
            api: ApiStats {
                total: usage.requests,
                errors: usage.errors,
                inflight: 0,
            },
            tiers,
        }
        .shown(to);
    }
}

/// How far what is used is below what may be; below 0 where it is above.
fn left(most: u64, used: u64) -> i64 {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    most.saturating_sub_unsigned(used)
}

fn empty(limits: AccountLimits) -> responses::Usage {
    responses::Usage {
        memory: 0,
        storage: 0,
        reserved_memory: 0,
        reserved_storage: 0,
        streams: 0,
        consumers: 0,
        limits,
    }
}
