//! Accounts of a server with operators: fetched when somebody of them first connects, believed
//! when a trusted operator has signed them, and replaced when other claims come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::log::Log;
use super::resolver::Resolver;
use crate::auth::claims::AccountClaims;
use crate::auth::definition::{AccountDefinition, AuthDefinition};
use crate::auth::trust::Trust;

/// Accounts that are fetched because others import from them, one from the next.
const IMPORT_DEPTH_MAX: usize = 16;
/// Accounts that are fetched because of one.
const EXPORTERS_MAX: usize = 256;
/// And how long that may take.
const EXPORTERS_TIME: Duration = Duration::from_secs(4);
/// Fetches of one account, when other claims of it come meanwhile.
const FETCHES_MAX: usize = 3;

/// One account.
struct Known {
    token: String,
    claims: Arc<AccountClaims>,
}

impl Known {
    fn has_ended(&self, now_unix_s: u64) -> bool {
        self.claims.ends_at().is_some_and(|at| at <= now_unix_s)
    }
}

#[derive(Default)]
struct Accounts {
    known: BTreeMap<String, Known>,
    /// Counts claims that came or went on their own.
    changes: u64,
}

/// The accounts as they fit together at a moment.
pub struct Fitted {
    pub definitions: Vec<Arc<AccountDefinition>>,
    /// Unix time in seconds at which they will fit together otherwise: an account or an
    /// activation ends.
    pub until: Option<u64>,
}

/// See the module.
pub struct Tenants {
    trust: Trust,
    /// Key of the system account, if there is one.
    system: Option<String>,
    resolver: Resolver,
    accounts: Mutex<Accounts>,
    log: Log,
}

/// What may still be fetched because of one account.
struct Budget {
    exporters: usize,
    until: Instant,
}

impl Tenants {
    /// The tenants of a server with operators. The system account is known from the start, and so
    /// are accounts that are given with the configuration and kept nowhere else.
    ///
    /// # Errors
    /// What the configuration says of them is wrong.
    pub fn new(
        definition: &AuthDefinition,
        trust: Trust,
        now_unix_s: u64,
        log: Log,
    ) -> Result<Self, String> {
        let resolver = Resolver::open(definition, now_unix_s)?;
        let system = definition
            .system_account
            .clone()
            .or_else(|| trust.system_account().map(str::to_owned));
        if resolver.kept().is_some() && system.is_none() {
            return Err(
                "using nats based account resolver - the system account needs to be \
                        specified in configuration or the operator jwt"
                    .to_owned(),
            );
        }
        let tenants = Self {
            trust,
            system,
            resolver,
            accounts: Mutex::default(),
            log,
        };
        for (key, token) in &definition.resolver_preload {
            AccountClaims::decode(token)
                .map_err(|error| format!("preload account error for {key:?}: {error}"))?;
            tenants.resolver.preload(key, token, now_unix_s)?;
            if let Err(error) = tenants.trust.account(key, token, now_unix_s) {
                let text = format!("Account [{key}] has validation issues: {error}");
                tenants.log.warn(format_args!("{text}"));
            } else if matches!(tenants.resolver, Resolver::Memory(_)) {
                tenants.load(key, now_unix_s)?;
            }
        }
        if let Some(key) = tenants.system.clone()
            && let Err(why) = tenants.load(&key, now_unix_s)
        {
            let text = format!("Error fetching system account {key:?}: {why}");
            tenants.log.warn(format_args!("{text}"));
        }
        Ok(tenants)
    }

    /// Key of the system account, or its usual name.
    pub fn system(&self) -> &str {
        self.system
            .as_deref()
            .unwrap_or(crate::auth::accounts::SYSTEM_NAME)
    }

    /// Whose accounts are believed in.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Where claims come from.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Whether an account is in use, or was.
    pub fn is_known(&self, key: &str) -> bool {
        self.lock().known.contains_key(key)
    }

    /// The token of a known account.
    pub fn token(&self, key: &str) -> Option<String> {
        self.lock().known.get(key).map(|known| known.token.clone())
    }

    /// Fetches an account that is not known or has ended, and those that it imports from.
    ///
    /// # Errors
    /// Why it is not known afterwards.
    pub fn load(&self, key: &str, now_unix_s: u64) -> Result<(), String> {
        let mut budget = Budget {
            exporters: EXPORTERS_MAX,
            until: Instant::now() + EXPORTERS_TIME,
        };
        self.load_with_exporters(key, now_unix_s, 0, &mut budget)
    }

    fn load_with_exporters(
        &self,
        key: &str,
        now_unix_s: u64,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<(), String> {
        if let Some(claims) = self.fetch(key, now_unix_s)? {
            self.load_exporters(&claims, now_unix_s, depth, budget);
        }
        Ok(())
    }

    /// Fetches the accounts that one imports from.
    fn load_exporters(
        &self,
        claims: &AccountClaims,
        now_unix_s: u64,
        depth: usize,
        budget: &mut Budget,
    ) {
        if depth >= IMPORT_DEPTH_MAX {
            return;
        }
        let importer = &claims.common.subject;
        let mut exporters: Vec<&str> = claims.imports.iter().map(|i| &*i.account).collect();
        exporters.sort_unstable();
        exporters.dedup();
        for exporter in exporters {
            if budget.exporters == 0 || Instant::now() >= budget.until {
                return;
            }
            budget.exporters -= 1;
            if let Err(why) = self.load_with_exporters(exporter, now_unix_s, depth + 1, budget) {
                let text = format!("Account {importer} imports from {exporter}: {why}");
                self.log.warn(format_args!("{text}"));
            }
        }
    }

    /// Fetches one account; its claims, or `None` when it was known already.
    fn fetch(&self, key: &str, now_unix_s: u64) -> Result<Option<Arc<AccountClaims>>, String> {
        for _ in 0..FETCHES_MAX {
            let changes = {
                let accounts = self.lock();
                let known = accounts.known.get(key);
                if known.is_some_and(|known| !known.has_ended(now_unix_s)) {
                    return Ok(None);
                }
                accounts.changes
            };
            let token = self
                .resolver
                .lookup(key, now_unix_s)?
                .ok_or_else(|| "there are no claims of it".to_owned())?;
            let claims = self
                .trust
                .account(key, &token, now_unix_s)
                .map_err(|error| error.to_string())?;
            let claims = Arc::new(claims);
            let mut accounts = self.lock();
            // What was looked up may be older than what has come meanwhile.
            if accounts.changes == changes {
                let known = Known {
                    token: token.trim().to_owned(),
                    claims: Arc::clone(&claims),
                };
                if known.has_ended(now_unix_s) {
                    return Err("claim is expired".to_owned());
                }
                accounts.known.insert(key.to_owned(), known);
                return Ok(Some(claims));
            }
        }
        Err("its claims change too fast".to_owned())
    }

    /// Takes over claims that somebody has sent, and keeps them; whether any account that is
    /// known is another one now.
    ///
    /// # Errors
    /// Why they are not taken.
    pub fn update(&self, key: &str, token: &str, now_unix_s: u64) -> Result<bool, String> {
        let token = token.trim();
        let claims = self
            .trust
            .account(key, token, now_unix_s)
            .map_err(|error| error.to_string())?;
        self.resolver.save(key, token, now_unix_s)?;
        let claims = Arc::new(claims);
        {
            let mut accounts = self.lock();
            accounts.changes += 1;
            let concerns = accounts.known.contains_key(key)
                || accounts.known.values().any(|known| {
                    let mut imports = known.claims.imports.iter();
                    imports.any(|import| import.account == key)
                });
            if !concerns {
                return Ok(false);
            }
            let known = Known {
                token: token.to_owned(),
                claims: Arc::clone(&claims),
            };
            accounts.known.insert(key.to_owned(), known);
        }
        let mut budget = Budget {
            exporters: EXPORTERS_MAX,
            until: Instant::now() + EXPORTERS_TIME,
        };
        self.load_exporters(&claims, now_unix_s, 0, &mut budget);
        Ok(true)
    }

    /// Takes over a token that the configuration gives now.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn preload(&self, key: &str, token: &str, now_unix_s: u64) -> Result<(), String> {
        match &self.resolver {
            Resolver::Memory(_) => self.update(key, token, now_unix_s).map(drop),
            Resolver::Url(_) | Resolver::Directory(_) => {
                self.resolver.preload(key, token, now_unix_s)
            }
        }
    }

    /// The configuration gives no token of this account any more. What is kept elsewhere stays.
    pub fn unload(&self, key: &str) {
        if self.resolver.drop_preloaded(key) {
            self.forget(key);
        }
    }

    /// Forgets an account; whether it was known.
    pub fn forget(&self, key: &str) -> bool {
        let mut accounts = self.lock();
        accounts.changes += 1;
        accounts.known.remove(key).is_some()
    }

    /// The accounts as they fit together now; those that have ended do not.
    pub fn fitted(&self, now_unix_s: u64) -> Fitted {
        let accounts = self.lock();
        let mut until: Option<u64> = None;
        let mut ends = |at: Option<u64>| {
            until = until.into_iter().chain(at).min();
        };
        let definitions = accounts
            .known
            .iter()
            .filter(|(_, account)| !account.has_ended(now_unix_s))
            .map(|(importer, account)| {
                ends(account.claims.ends_at());
                let definition = account.claims.definition(|import| {
                    accounts.known.get(&import.account).is_some_and(|exporter| {
                        let claims = &exporter.claims;
                        let strict = self.trust.is_strict(&claims.common.issuer);
                        match claims.approves(importer, import, strict, now_unix_s) {
                            Ok(at) => {
                                ends(at);
                                true
                            }
                            Err(_) => false,
                        }
                    })
                });
                Arc::new(definition)
            })
            .collect();
        Fitted { definitions, until }
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
