//! Where it is decided who is let in when a shard cannot decide that at once.
//!
//! One for all shards, asked on helper threads: password hashes and signatures take their time there. It holds the policy
//! (who may connect, and the accounts) that the shards have copies of, makes a new one when the configuration or claims
//! change, and hands it to all of them. Must not know sockets or sessions, nor what a rule means ([`crate::auth`]).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::callouts::{Callouts, Waiting};
use super::commands::{Address, Command};
use super::host;
use super::log::Log;
use super::tenants::Tenants;
use crate::auth::accounts::{AccountError, Directory, Imports, SYSTEM_NAME};
use crate::auth::admission::{CalloutNeed, Outcome, Presented, Refused};
use crate::auth::callout::{self, Question, Random, ServerFacts, ServerKeys};
use crate::auth::definition::{AccountDefinition, AuthDefinition, ResolverDefinition};
use crate::auth::gate::Gate;
use crate::auth::nkey::is_account_key;
use crate::base::ids::ConnId;
use crate::config::Config;
use crate::proto::info::{PROTOCOL_VERSION, ServerIdentity};
use crate::shard::Policy;

/// Times that an account is fetched for one decision: its own, and none more.
const FETCHES_MAX: usize = 1;

/// How long shards may take to tell each other of streams that have come with an account.
const STREAMS_TIME: Duration = Duration::from_secs(5);

/// What the authenticator says of the server when it asks others.
struct Letterhead {
    keys: ServerKeys,
    name: String,
    host: String,
    /// What a reload may change.
    terms: Mutex<Terms>,
}

/// Tags of the server, and how long an answer may take.
#[derive(Clone)]
struct Terms {
    tags: Vec<String>,
    timeout_ms: u64,
}

impl Terms {
    fn of(config: &Config) -> Self {
        Self {
            tags: config.server_tags.clone(),
            timeout_ms: config.limits.auth_timeout_ms,
        }
    }
}

impl Letterhead {
    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a new configuration says, checked and not yet in force.
pub struct Prepared {
    definition: AuthDefinition,
    gate: Gate,
    /// Without operators: the accounts.
    directory: Option<Directory>,
    terms: Terms,
}

/// See the module.
pub struct Authenticator {
    policy: Mutex<Policy>,
    /// With operators, where accounts come from.
    tenants: Option<Tenants>,
    /// Unix time in seconds at which the tenants fit together otherwise by themselves.
    change_at: AtomicU64,
    /// And at which claims that are kept may have expired.
    expire_at: AtomicU64,
    /// Empty until the shards are there.
    shards: Mutex<Vec<Address>>,
    letterhead: Letterhead,
    /// Whoever asks authorization services, once it is there.
    callouts: OnceLock<Callouts>,
    /// Makes the name of who presents nothing, where that is asked for; the same for the server's life.
    unique: u64,
    /// The tokens that the configuration gives, by account.
    preloaded: Mutex<Vec<(String, String)>>,
    /// Accounts that have streams and could not be found.
    streams_of: Mutex<BTreeSet<String>>,
    log: Log,
}

impl Authenticator {
    /// An authenticator that follows the operator's words.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(
        config: &Config,
        identity: &ServerIdentity,
        keys: ServerKeys,
        log: &Log,
    ) -> Result<Self, String> {
        let unique = super::host::random_u64().map_err(|e| format!("no random numbers: {e}"))?;
        let definition = &config.auth.clone().with_anonymous(unique);
        let by_address = matches!(definition.resolver, Some(ResolverDefinition::Url(_)));
        if by_address && config.resolver_tls.is_some() {
            // Other authorities than those that were asked for would be worse than none.
            return Err("resolver_tls is not supported".to_owned());
        }
        let gate = Gate::new(definition)?;
        let tenants = match gate.trust().is_asked() {
            true => Some(Tenants::new(
                definition,
                gate.trust().clone(),
                unix_s(),
                log.clone(),
            )?),
            false => None,
        };
        let (directory, change_at) = match &tenants {
            Some(tenants) => {
                let fitted = tenants.fitted(unix_s());
                let directory = tenant_directory(tenants, &fitted.definitions, None);
                (directory, fitted.until.unwrap_or(u64::MAX))
            }
            None => (directory(definition, None), u64::MAX),
        };
        let policy = Policy {
            gate: Arc::new(gate),
            directory: Arc::new(directory.map_err(|error| error.to_string())?),
            only_more: false,
        };
        Ok(Self {
            policy: Mutex::new(policy),
            tenants,
            change_at: AtomicU64::new(change_at),
            expire_at: AtomicU64::new(0),
            shards: Mutex::default(),
            letterhead: Letterhead {
                keys,
                name: identity.name.clone(),
                host: identity.host.clone(),
                terms: Mutex::new(Terms::of(config)),
            },
            callouts: OnceLock::new(),
            unique,
            preloaded: Mutex::new(config.auth.resolver_preload.clone()),
            streams_of: Mutex::default(),
            log: log.clone(),
        })
    }

    /// Tells it where the shards are.
    pub fn know(&self, shards: &[Address]) {
        *self.shards.lock().unwrap_or_else(PoisonError::into_inner) = shards.to_vec();
    }

    /// Tells it who asks authorization services.
    pub fn use_callouts(&self, callouts: Callouts) {
        // There is only one.
        let _ = self.callouts.set(callouts);
    }

    /// How long an authorization service may take to answer.
    pub fn callout_timeout_ms(&self) -> u64 {
        self.letterhead.terms().timeout_ms
    }

    /// Checks a new configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn prepare(&self, config: &Config) -> Result<Prepared, String> {
        let definition = config.auth.clone().with_anonymous(self.unique);
        let gate = Gate::new(&definition)?;
        let directory = match &self.tenants {
            Some(_) => None,
            None => {
                let before = self.policy().directory;
                let made = directory(&definition, Some(&before));
                Some(made.map_err(|error| error.to_string())?)
            }
        };
        Ok(Prepared {
            definition,
            gate,
            directory,
            terms: Terms::of(config),
        })
    }

    /// Puts it into force: `tell` is to hand the policy to all shards, and nobody hands them another
    /// one meanwhile.
    pub fn adopt(&self, prepared: Prepared, tell: impl FnOnce(&Policy, &[Address])) {
        let Prepared {
            definition,
            gate,
            directory,
            terms,
        } = prepared;
        *self.letterhead.terms() = terms;
        let preload_changed = self.preload(definition.resolver_preload);
        {
            let mut policy = self.lock();
            policy.gate = Arc::new(gate);
            if let Some(directory) = directory {
                policy.directory = Arc::new(directory);
            }
            policy.only_more = false;
            tell(&policy, &self.shards());
        }
        if preload_changed {
            self.tenants_changed();
        }
    }

    /// With operators, takes over the tokens that the configuration gives; whether they are others than before.
    fn preload(&self, tokens: Vec<(String, String)>) -> bool {
        let Some(tenants) = &self.tenants else {
            return false;
        };
        let preloaded = self.preloaded.lock();
        let mut preloaded = preloaded.unwrap_or_else(PoisonError::into_inner);
        if *preloaded == tokens {
            return false;
        }
        for (key, token) in &tokens {
            if let Err(error) = tenants.preload(key, token, unix_s()) {
                let text = format!("Account [{key}] has validation issues: {error}");
                self.log.warn(format_args!("{text}"));
            }
        }
        for (key, _) in &*preloaded {
            if !tokens.iter().any(|(kept, _)| kept == key) {
                self.log.info(format_args!(
                    "Reloaded: deleting account [removed]: {key:?}"
                ));
                tenants.unload(key);
            }
        }
        *preloaded = tokens;
        true
    }

    /// The policy as it is now.
    pub fn policy(&self) -> Policy {
        self.lock().clone()
    }

    /// With operators, the accounts that are known.
    pub fn tenants(&self) -> Option<&Tenants> {
        self.tenants.as_ref()
    }

    /// Decides on a connection and tells its shard, or has an authorization service asked. May
    /// take long; call it on a helper thread.
    pub fn answer(&self, conn: ConnId, presented: Box<Presented>, shard: &Address) {
        let outcome = match self.decide(&presented) {
            Outcome::NeedsCallout(need) => match self.ask(conn, presented, shard, need) {
                Ok(()) => return,
                Err(why) => Outcome::Refused(Refused::Credentials, why),
            },
            outcome => outcome,
        };
        shard.send(Command::Decided(conn, outcome));
    }

    fn decide(&self, presented: &Presented) -> Outcome {
        self.with_accounts(|gate, directory| gate.decide(directory, presented, unix_s()))
    }

    /// Judges what an authorization service has answered. May take long.
    pub fn judge(&self, waiting: &Waiting, answer: &[u8]) -> Outcome {
        let Waiting {
            presented,
            need,
            question,
            ..
        } = waiting;
        let keys = &self.letterhead.keys;
        self.with_accounts(|gate, directory| {
            gate.judge(directory, need, presented, question, keys, answer, unix_s())
        })
    }

    /// Has an authorization service asked.
    fn ask(
        &self,
        conn: ConnId,
        presented: Box<Presented>,
        shard: &Address,
        need: Box<CalloutNeed>,
    ) -> Result<(), String> {
        let callouts = self.callouts.get().ok_or("nobody can be asked yet")?;
        let question = self.question(&need, &presented)?;
        callouts.ask(Waiting {
            conn,
            shard: shard.clone(),
            presented,
            need,
            question,
        })
    }

    fn question(&self, need: &CalloutNeed, presented: &Presented) -> Result<Question, String> {
        let no_random = |error| format!("no random numbers: {error}");
        let random = Random {
            user_seed: host::random_bytes().map_err(no_random)?,
            nonce: host::random_bytes().map_err(no_random)?,
        };
        let head = &self.letterhead;
        let terms = head.terms().clone();
        let server = ServerFacts {
            name: &head.name,
            host: &head.host,
            version: PROTOCOL_VERSION,
            cluster: "",
            tags: &terms.tags,
        };
        let now_ms = unix_ms();
        let times = (
            now_ms / 1000,
            now_ms.saturating_add(terms.timeout_ms) / 1000,
        );
        Ok(callout::question(
            need, presented, &server, &head.keys, &random, times,
        ))
    }

    /// Asks the gate, and again when the account that it lacks has been fetched.
    fn with_accounts(&self, ask: impl Fn(&Gate, &Directory) -> Outcome) -> Outcome {
        let mut fetches = 0;
        loop {
            let Policy {
                gate, directory, ..
            } = self.policy();
            match ask(&gate, &directory) {
                Outcome::NeedsAccount(key) if fetches < FETCHES_MAX => {
                    fetches += 1;
                    if let Err(why) = self.fetch(&key) {
                        let why = format!("account {key} could not be fetched: {why}");
                        return Outcome::Refused(Refused::Credentials, why);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Has an account known, on all shards.
    fn fetch(&self, key: &str) -> Result<(), String> {
        let tenants = self.tenants.as_ref().ok_or("there are no operators")?;
        tenants.load(key, unix_s())?;
        self.renew(true);
        Ok(())
    }

    /// Looks for accounts that have streams, has those known that there are, and then tells the shard that
    /// has the streams. May take long; call it on a helper thread.
    pub fn seek(&self, names: &[String], shard: &Address) {
        if let Some(tenants) = &self.tenants {
            let mut is_any_found = false;
            for name in names.iter().filter(|name| is_account_key(name)) {
                match tenants.load(name, unix_s()) {
                    Ok(()) => is_any_found = true,
                    Err(why) => {
                        self.streams_of().insert(name.clone());
                        let text = format!("Account {name} has streams, but is not found: {why}");
                        self.log.error(format_args!("{text}"));
                    }
                }
            }
            if is_any_found {
                self.renew(true);
            }
        }
        shard.send(Command::AccountsSought);
    }

    /// Streams have come with an account: whoever connects next, and waits for the policy meanwhile, finds them.
    fn await_streams(&self) {
        let (known, all) = crossbeam_channel::unbounded();
        for shard in &*self.shards() {
            shard.send(Command::AwaitStreams(known.clone()));
        }
        drop(known);
        let until = Instant::now() + STREAMS_TIME;
        while all.recv_deadline(until).is_ok() {}
    }

    fn streams_of(&self) -> MutexGuard<'_, BTreeSet<String>> {
        let missing = self.streams_of.lock();
        missing.unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims have changed or gone: all shards get the accounts as they are now, and look at who
    /// is connected.
    pub fn tenants_changed(&self) {
        self.renew(false);
    }

    fn renew(&self, only_more: bool) {
        let Some(tenants) = &self.tenants else {
            return;
        };
        // Held while the new one is made, so that of two changes the later one comes out.
        let mut policy = self.lock();
        let now = unix_s();
        let fitted = tenants.fitted(now);
        let until = fitted.until.unwrap_or(u64::MAX);
        let was_due = self.change_at.swap(until, Ordering::Relaxed) <= now;
        match tenant_directory(tenants, &fitted.definitions, Some(&policy.directory)) {
            Ok(directory) => {
                for rejected in &directory.rejected {
                    self.log.debug(format_args!("{rejected}"));
                }
                policy.directory = Arc::new(directory);
                // Something has ended by itself meanwhile: it is not only more.
                policy.only_more = only_more && !was_due;
                self.tell_shards(&policy);
                let mut missing = self.streams_of();
                let before = missing.len();
                missing.retain(|name| policy.directory.find(name).is_none());
                if missing.len() < before {
                    self.await_streams();
                }
            }
            Err(error) => self.log.error(format_args!("{error}")),
        }
    }

    /// Does what time brings with it: accounts and activations end, claims that are kept expire.
    /// Says in how many milliseconds it is to be called again.
    pub fn tick(&self) -> u64 {
        let Some(tenants) = &self.tenants else {
            return u64::MAX;
        };
        let now = unix_s();
        if self.change_at.load(Ordering::Relaxed) <= now {
            self.tenants_changed();
        }
        if let Some(kept) = tenants.resolver().kept()
            && self.expire_at.load(Ordering::Relaxed) <= now
        {
            let again_at = now.saturating_add(kept.expire_interval_s);
            self.expire_at.store(again_at, Ordering::Relaxed);
            let expired = kept.store().expire(now);
            match expired {
                Ok(gone) => {
                    for key in gone {
                        self.log
                            .debug(format_args!("Claims of account {key} expired"));
                    }
                }
                Err(error) => {
                    let text = "Expired claims cannot be removed";
                    self.log.error(format_args!("{text}: {error}"));
                }
            }
        }
        let expire_at = match tenants.resolver().kept() {
            Some(_) => self.expire_at.load(Ordering::Relaxed),
            None => u64::MAX,
        };
        let next = self.change_at.load(Ordering::Relaxed).min(expire_at);
        next.saturating_mul(1000).saturating_sub(unix_ms())
    }

    fn tell_shards(&self, policy: &Policy) {
        for shard in &*self.shards() {
            shard.send(Command::Policy(policy.clone()));
        }
    }

    fn shards(&self) -> MutexGuard<'_, Vec<Address>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The accounts that claims tell of.
fn tenant_directory(
    tenants: &Tenants,
    definitions: &[Arc<AccountDefinition>],
    before: Option<&Directory>,
) -> Result<Directory, AccountError> {
    Directory::new(definitions, tenants.system(), Imports::MayFail, before)
}

/// The accounts of a configuration file.
fn directory(
    definition: &AuthDefinition,
    before: Option<&Directory>,
) -> Result<Directory, AccountError> {
    let mut accounts: Vec<Arc<AccountDefinition>> =
        definition.accounts.iter().cloned().map(Arc::new).collect();
    if !definition.mappings.is_empty() {
        accounts.push(Arc::new(AccountDefinition {
            name: crate::auth::accounts::GLOBAL_NAME.to_owned(),
            mappings: definition.mappings.clone(),
            ..AccountDefinition::default()
        }));
    }
    let system = match (&definition.system_account, definition.no_system_account) {
        (_, true) => "",
        (Some(name), false) => name,
        (None, false) => SYSTEM_NAME,
    };
    Directory::new(&accounts, system, Imports::MustFit, before)
}

/// Seconds since 1970.
pub fn unix_s() -> u64 {
    unix_ms() / 1000
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    // Before 1970 nothing has expired.
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
