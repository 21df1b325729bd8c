//! What control knows and asks: the server as configured, the shards' facts merged into one view,
//! and [`House`], through which it asks the rest of the server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::claims::Registry;
use super::time::{UnixNanos, UnixSeconds};
use crate::auth::definition::AccountDefinition;
use crate::base::deadlines::Millis;
use crate::config::{AssetLimits, Limits};
use crate::proto::info::ServerIdentity;
use crate::shard::facts::{
    AccountFacts, AccountUsage, ConnFacts, JetStreamFacts, ShardFacts, SubFacts, Traffic, Wanted,
};

/// The account that everybody is in where there are no others.
pub const GLOBAL_ACCOUNT: &str = "$G";

/// The rest of the server, as far as control asks it to do something. A call may take a moment.
pub trait House {
    /// The time. It never goes back.
    fn now(&mut self) -> UnixNanos;
    /// What the shards tell. One that does not answer in time is missing.
    fn facts(&mut self, wanted: &Wanted) -> Vec<ShardFacts>;
    /// The shards that did not answer in time since this was last asked.
    fn take_silent(&mut self) -> BTreeSet<usize> {
        BTreeSet::new()
    }
    /// What the process uses.
    fn usage(&mut self) -> Usage;
    /// The process's threads, for people.
    fn threads(&mut self) -> String;
    /// Closes a client's connection; whether there was one.
    fn kick(&mut self, client_id: u64) -> bool;
    /// Tells a client that the server is in lame duck mode.
    fn tell_lame_duck(&mut self, client_id: u64) -> Told;
    /// Has the configuration read again. When that is done, [`super::Control::reloaded`] is told so with this ticket.
    fn reload(&mut self, ticket: u64);
    /// Where claims of accounts are; nowhere without operators.
    fn registry(&mut self) -> Option<&mut dyn Registry> {
        None
    }
}

/// What to say of shards that do not answer; `None` where all do.
pub fn silence(silent: &BTreeSet<usize>) -> Option<String> {
    let first = silent.first()?;
    Some(match silent.len() {
        1 => format!("shard {first} does not answer"),
        many => format!("shard {first} and {} others do not answer", many - 1),
    })
}

/// What became of a word to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Yes,
    NoSuchClient,
    /// It would not understand, or is not ready.
    NotReady,
}

/// What the process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Per cent of one core.
    pub cpu_percent: f64,
    pub resident_bytes: u64,
}

/// The server, as it was configured and started.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    pub identity: ServerIdentity,
    pub limits: Limits,
    /// Whether somebody is let in only by a decision. INFO says less where there is a `no_auth_user`.
    pub auth_required: bool,
    /// The moment at which the shards' clock was 1.
    pub started: UnixNanos,
    pub config_loaded: UnixNanos,
    /// `sha256:…` of the configuration; empty without a file.
    pub config_digest: String,
    /// Name of the system account.
    pub system_account: Arc<str>,
    pub accounts: Vec<AccountView>,
    pub tags: Vec<String>,
    pub metadata: BTreeMap<String, String>,
    /// Cores of the machine, and those with a shard.
    pub cores: usize,
    pub shards: usize,
    pub tls: Option<TlsView>,
    /// Addresses that clients are told.
    pub connect_urls: Vec<String>,
    /// Public keys of trusted proxies; `None` where none are configured.
    pub trusted_proxies: Option<Vec<String>>,
    /// `None` without it.
    pub jetstream: Option<JetStreamView>,
    pub monitor: MonitorView,
    /// It takes no new clients any more, and sees its clients off.
    pub is_lame_duck: bool,
}

/// The monitoring port as configured: 0 is none, -1 any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitorView {
    pub host: String,
    pub http_port: i64,
    pub https_port: i64,
    pub base_path: String,
}

/// JetStream as it was configured, with what was found out where nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JetStreamView {
    pub max_memory_bytes: u64,
    pub max_storage_bytes: u64,
    pub store_dir: String,
    pub sync_interval_ns: u64,
    pub sync_always: bool,
    /// Empty for none.
    pub domain: String,
    /// Empty for none.
    pub unique_tag: String,
    pub strict: bool,
    pub limits: AssetLimits,
}

/// TLS for clients, as monitoring shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TlsView {
    pub required: bool,
    pub verify: bool,
    pub timeout_s: f64,
    /// When the server's certificate ends.
    pub not_after: Option<UnixSeconds>,
}

/// One account.
#[derive(Clone, Debug, Default)]
pub struct AccountView {
    pub definition: Arc<AccountDefinition>,
    pub updated: UnixNanos,
    /// What people call it; its name, unless claims say otherwise.
    pub name_tag: String,
    /// Its claims, as text.
    pub jwt: String,
    pub issuer_key: String,
    pub tags: Vec<String>,
    pub expired: bool,
}

impl ServerFacts {
    /// When something was by the shards' clock.
    pub fn moment(&self, at: Millis) -> UnixNanos {
        let nanos = at.saturating_sub(1).saturating_mul(1_000_000);
        UnixNanos(self.started.0.saturating_add(nanos))
    }

    /// Its JetStream's domain, or nothing.
    pub fn domain(&self) -> &str {
        self.jetstream.as_ref().map_or("", |view| &view.domain)
    }

    /// The account of this name.
    pub fn account(&self, name: &str) -> Option<&AccountView> {
        self.accounts
            .iter()
            .find(|account| account.definition.name == name)
    }

    /// What people call the account of this name.
    pub fn name_tag<'a>(&'a self, account: &'a str) -> &'a str {
        match self.account(account) {
            Some(view) if !view.name_tag.is_empty() => &view.name_tag,
            Some(_) | None => account,
        }
    }
}

/// The shards' facts together.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    pub connections: u64,
    pub total_connections: u64,
    pub subscriptions: u64,
    pub inserts: u64,
    pub removes: u64,
    pub traffic: Traffic,
    pub slow_consumers: u64,
    pub stale_connections: u64,
    pub stalls: u64,
    pub accounts: BTreeMap<Arc<str>, AccountFacts>,
    pub connections_list: Vec<ConnFacts>,
    pub subscriptions_list: Vec<SubFacts>,
    /// All zeros without JetStream.
    pub jetstream: JetStreamFacts,
    /// Accounts that may use JetStream, if they were asked for.
    pub jetstream_accounts: BTreeMap<Box<str>, AccountUsage>,
}

impl Merged {
    /// Asks and merges.
    pub fn ask(house: &mut dyn House, wanted: &Wanted) -> Self {
        Self::ask_piecewise(house, wanted, |_| ())
    }

    /// The same, with a look at each piece of the lists before it is merged.
    pub fn ask_piecewise(
        house: &mut dyn House,
        wanted: &Wanted,
        mut look: impl FnMut(&mut ShardFacts),
    ) -> Self {
        let mut merged = Self::default();
        let mut wanted = wanted.clone();
        loop {
            let pieces = house.facts(&wanted);
            wanted.from.clear();
            for mut facts in pieces {
                wanted.from.extend(facts.next.take());
                look(&mut facts);
                merged.add(facts);
            }
            if wanted.from.is_empty() {
                return merged;
            }
        }
    }

    /// Adds a shard's facts.
    pub fn add(&mut self, facts: ShardFacts) {
        self.connections += facts.connections;
        self.total_connections += facts.total_connections;
        self.subscriptions += facts.subscriptions;
        self.inserts += facts.inserts;
        self.removes += facts.removes;
        self.traffic.add(&facts.traffic);
        self.slow_consumers += facts.slow_consumers;
        self.stale_connections += facts.stale_connections;
        self.stalls += facts.stalls;
        for account in facts.accounts {
            let sum = self
                .accounts
                .entry(Arc::clone(&account.name))
                .or_insert_with(|| AccountFacts {
                    name: Arc::clone(&account.name),
                    ..AccountFacts::default()
                });
            sum.connections += account.connections;
            sum.subscriptions += account.subscriptions;
            sum.traffic.add(&account.traffic);
            sum.slow_consumers += account.slow_consumers;
        }
        self.connections_list.extend(facts.connections_list);
        self.subscriptions_list.extend(facts.subscriptions_list);
        if let Some(jetstream) = facts.jetstream {
            self.add_jetstream(jetstream);
        }
    }

    fn add_jetstream(&mut self, facts: JetStreamFacts) {
        let sum = &mut self.jetstream;
        sum.usage.add(&facts.usage);
        sum.streams += facts.streams;
        sum.api_level = facts.api_level;
        sum.requests_in_flight += facts.requests_in_flight;
        // These all shards know of the whole server; one may have heard of the last change before another.
        sum.accounts = sum.accounts.max(facts.accounts);
        let reserved = &mut sum.reserved_memory_bytes;
        *reserved = (*reserved).max(facts.reserved_memory_bytes);
        let reserved = &mut sum.reserved_storage_bytes;
        *reserved = (*reserved).max(facts.reserved_storage_bytes);
        for account in facts.accounts_list {
            match self.jetstream_accounts.get_mut(&account.name) {
                Some(sum) => sum.usage.add(&account.usage),
                None => {
                    let name = account.name.clone();
                    self.jetstream_accounts.insert(name, account);
                }
            }
        }
    }

    /// Counts of an account; all zero for one that nobody has used.
    pub fn account(&self, name: &str) -> AccountFacts {
        self.accounts.get(name).cloned().unwrap_or_default()
    }
}

/// The part of a list that `offset` and `limit` ask for, whatever they are.
pub fn page(length: usize, offset: i64, limit: i64) -> std::ops::Range<usize> {
    let from = usize::try_from(offset.max(0)).unwrap_or(usize::MAX);
    let from = from.min(length);
    let count = usize::try_from(limit.max(0)).unwrap_or(usize::MAX);
    from..from + count.min(length - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GHSA-q59r: offset and limit near the end of their type must not wrap.
    #[test]
    fn pages() {
        let cases = [
            (10, 0, 1024, 0..10),
            (10, 3, 4, 3..7),
            (10, 8, 4, 8..10),
            (10, 10, 1, 10..10),
            (10, 11, 1, 10..10),
            (10, -5, 2, 0..2),
            (10, i64::MAX, i64::MAX, 10..10),
            (10, 1, i64::MAX, 1..10),
            (0, 0, 1, 0..0),
            (10, i64::MIN, i64::MIN, 0..0),
        ];
        for (length, offset, limit, expected) in cases {
            assert_eq!(page(length, offset, limit), expected, "{offset} {limit}");
        }
    }
}
