//! Accounts of a server with operators: fetched when somebody of them first connects, believed
//! when a trusted operator has signed them, and replaced when newer claims come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log::Log;
use crate::auth::claims::AccountClaims;
use crate::auth::definition::{AccountDefinition, AuthDefinition};
use crate::auth::trust::Trust;

/// Accounts that are fetched because others import from them, one from the next.
const IMPORT_DEPTH_MAX: usize = 16;

/// Where claims come from.
pub trait Source: Send + Sync {
    /// The token of an account; `None` when there is none. May take long.
    ///
    /// # Errors
    /// Why it cannot be had.
    fn lookup(&self, key: &str) -> Result<Option<String>, String>;

    /// Keeps a token that has come; false where it is not kept.
    ///
    /// # Errors
    /// Why it cannot be kept.
    fn keep(&self, key: &str, token: &str) -> Result<bool, String>;
}

/// One account.
struct Known {
    token: String,
    claims: Arc<AccountClaims>,
}

/// See the module.
pub struct Tenants {
    trust: Trust,
    /// Key of the system account, if there is one.
    system: Option<String>,
    source: Box<dyn Source>,
    known: Mutex<BTreeMap<String, Known>>,
    log: Log,
}

impl Tenants {
    /// The tenants of a server with operators; the system account and those of `resolver_preload`
    /// are known from the start.
    pub fn new(
        definition: &AuthDefinition,
        trust: Trust,
        source: Box<dyn Source>,
        now_unix_s: u64,
        log: Log,
    ) -> Result<Self, String> {
        let system = definition
            .system_account
            .clone()
            .or_else(|| trust.system_account().map(str::to_owned));
        let tenants = Self {
            trust,
            system,
            source,
            known: Mutex::default(),
            log,
        };
        for (key, token) in &definition.resolver_preload {
            let claims = tenants
                .trust
                .account(key, token, now_unix_s)
                .map_err(|error| format!("preloaded account {key:?}: {error}"))?;
            tenants.source.keep(key, token)?;
            tenants.learn(key, token, claims);
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

    /// Fetches an account that is not known, and those that it imports from.
    ///
    /// # Errors
    /// Why it is not known afterwards.
    pub fn load(&self, key: &str, now_unix_s: u64) -> Result<(), String> {
        self.load_with_exporters(key, now_unix_s, 0)
    }

    fn load_with_exporters(&self, key: &str, now_unix_s: u64, depth: usize) -> Result<(), String> {
        if self.lock().contains_key(key) {
            return Ok(());
        }
        let token = self
            .source
            .lookup(key)?
            .ok_or_else(|| "there are no claims of it".to_owned())?;
        let claims = self
            .trust
            .account(key, &token, now_unix_s)
            .map_err(|error| error.to_string())?;
        let exporters: Vec<String> = claims.imports.iter().map(|i| i.account.clone()).collect();
        self.learn(key, &token, claims);
        if depth < IMPORT_DEPTH_MAX {
            for exporter in exporters {
                if let Err(why) = self.load_with_exporters(&exporter, now_unix_s, depth + 1) {
                    let text = format!("Account {key} imports from {exporter}: {why}");
                    self.log.warn(format_args!("{text}"));
                }
            }
        }
        Ok(())
    }

    /// Takes over claims that somebody has sent; the key of their account.
    ///
    /// # Errors
    /// Why they are not taken.
    pub fn update(&self, token: &str, now_unix_s: u64) -> Result<String, String> {
        let key = AccountClaims::decode(token.trim())
            .map_err(|error| error.to_string())?
            .common
            .subject;
        let claims = self
            .trust
            .account(&key, token, now_unix_s)
            .map_err(|error| error.to_string())?;
        let known_issue = self.lock().get(&key).map(|k| k.claims.common.issued_at);
        if known_issue.is_some_and(|at| at > claims.common.issued_at) {
            return Err("newer claims of the account are known".to_owned());
        }
        self.source.keep(&key, token.trim())?;
        self.learn(&key, token.trim(), claims);
        Ok(key)
    }

    /// The token of an account, known or to be had.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn lookup(&self, key: &str) -> Result<Option<String>, String> {
        if let Some(known) = self.lock().get(key) {
            return Ok(Some(known.token.clone()));
        }
        self.source.lookup(key)
    }

    /// Forgets an account; whether it was known.
    pub fn forget(&self, key: &str) -> bool {
        self.lock().remove(key).is_some()
    }

    /// The accounts as they fit together now.
    pub fn definitions(&self, now_unix_s: u64) -> Vec<Arc<AccountDefinition>> {
        let known = self.lock();
        known
            .iter()
            .map(|(importer, account)| {
                let definition = account.claims.definition(|import| {
                    known.get(&import.account).is_some_and(|exporter| {
                        let strict = self.trust.is_strict(&exporter.claims.common.issuer);
                        exporter
                            .claims
                            .approves(importer, import, strict, now_unix_s)
                            .is_ok()
                    })
                });
                Arc::new(definition)
            })
            .collect()
    }

    fn learn(&self, key: &str, token: &str, claims: AccountClaims) {
        let known = Known {
            token: token.to_owned(),
            claims: Arc::new(claims),
        };
        self.lock().insert(key.to_owned(), known);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Claims that were given with the configuration, and nothing else (`resolver: MEMORY`).
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<String, String>>);

impl Source for Memory {
    fn lookup(&self, key: &str) -> Result<Option<String>, String> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tokens.get(key).cloned())
    }

    fn keep(&self, key: &str, token: &str) -> Result<bool, String> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(key.to_owned(), token.to_owned());
        Ok(true)
    }
}
