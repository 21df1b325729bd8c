//! Accounts as JetStream sees them: what they may have, what they use on this shard and on others, and
//! the subscriptions by which they reach the API.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::host::{Host, Sink};
use super::{Engine, Options};
use crate::base::ids::{AccountId, ShardId};
use crate::jetstream::api::check_stream::Limits;
use crate::jetstream::api::responses;
use crate::jetstream::api::responses::{AccountInfo, AccountLimits, ApiStats};
use crate::jetstream::config::Storage;
use crate::jetstream::stream::Room;
use crate::jetstream::{Order, Usage};

/// Subjects that are JetStream's own, in every account.
const SPECIAL: [&str; 4] = ["$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$JS.SNAPSHOT.>"];

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
    told: Usage,
    others: Vec<(ShardId, Usage)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: HashMap<AccountId, Account>,
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
                        told: Usage::default(),
                        others: Vec::new(),
                        facts,
                    };
                    self.accounts.insert(account.facts.id, account);
                }
            }
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
            return;
        };
        match account.others.iter_mut().find(|(shard, _)| *shard == from) {
            Some((_, known)) => *known = usage,
            None => account.others.push((from, usage)),
        }
    }

    /// A stream counts as so many bytes now.
    pub fn count(&mut self, id: AccountId, is_file: bool, before: u64, now: u64) {
        if let Some(account) = self.accounts.get_mut(&id) {
            let bytes = match is_file {
                true => &mut account.own.storage_bytes,
                false => &mut account.own.memory_bytes,
            };
            *bytes = bytes.saturating_sub(before).saturating_add(now);
        }
    }

    /// A consumer has come (1) or gone (-1).
    pub fn count_consumers(&mut self, id: AccountId, change: i64) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.own.consumers = account.own.consumers.saturating_add_signed(change);
        }
    }

    /// A request was answered.
    pub fn count_request(&mut self, id: AccountId, is_error: bool) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.own.requests += 1;
            account.own.errors += u64::from(is_error);
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
        let used = |usage: &Usage| match is_file {
            true => usage.storage_bytes,
            false => usage.memory_bytes,
        };
        let account_bytes = match u64::try_from(limit) {
            Ok(limit) => {
                let others: u64 = account.others.iter().map(|(_, usage)| used(usage)).sum();
                limit.saturating_sub(used(&account.own) + others)
            }
            Err(_) => u64::MAX,
        };
        Room {
            account_bytes,
            server_bytes: match is_file {
                true => left(options.max_storage, self.used(is_file)),
                false => left(options.max_memory, self.used(is_file)),
            },
            ..Room::UNLIMITED
        }
    }

    fn used(&self, is_file: bool) -> u64 {
        // Few servers have more than a handful of accounts with streams.
        let used = |account: &Account| match is_file {
            true => account.own.storage_bytes,
            false => account.own.memory_bytes,
        };
        self.accounts.values().map(used).sum()
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

    /// Tells other shards what this one's accounts use, if that has changed.
    pub(super) fn tell_usage<H: Host>(&mut self, host: &mut H) {
        let others: SmallVec<[ShardId; 8]> = self.others(host).collect();
        if others.is_empty() {
            return;
        }
        for account in self.accounts.accounts.values_mut() {
            if account.told == account.own {
                continue;
            }
            account.told = account.own;
            for &shard in &others {
                let order = Order::Usage {
                    account: account.facts.id,
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
