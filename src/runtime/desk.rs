//! Where it is decided who is let in when a shard cannot decide that at once.
//!
//! One desk for all shards, asked on helper threads: password hashes and signatures take their
//! time there. It holds the policy that the shards have copies of, and hands out a new one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::commands::{Address, Command};
use super::log::Log;
use super::tenants::{Memory, Source, Tenants};
use crate::auth::accounts::{AccountError, Directory, Imports, SYSTEM_NAME};
use crate::auth::admission::{Outcome, Presented, Refused};
use crate::auth::definition::{AccountDefinition, AuthDefinition, ResolverDefinition};
use crate::auth::gate::Gate;
use crate::shard::Policy;

/// Times that an account is fetched for one decision: its own, and none more.
const FETCHES_MAX: usize = 1;

/// See the module.
pub struct Desk {
    policy: Mutex<Policy>,
    /// With operators, where accounts come from.
    tenants: Option<Tenants>,
    /// Empty until the shards are there.
    shards: Mutex<Vec<Address>>,
    log: Log,
}

impl Desk {
    /// A desk that follows the operator's words.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(definition: &AuthDefinition, log: &Log) -> Result<Self, String> {
        let gate = Gate::new(definition)?;
        let tenants = match gate.trust().is_asked() {
            true => Some(Tenants::new(
                definition,
                gate.trust().clone(),
                source(definition)?,
                unix_s(),
                log.clone(),
            )?),
            false => None,
        };
        let directory = match &tenants {
            Some(tenants) => tenant_directory(tenants, None),
            None => directory(definition, None),
        };
        let policy = Policy {
            gate: Arc::new(gate),
            directory: Arc::new(directory.map_err(|error| error.to_string())?),
            only_more: false,
        };
        Ok(Self {
            policy: Mutex::new(policy),
            tenants,
            shards: Mutex::default(),
            log: log.clone(),
        })
    }

    /// Tells it where the shards are.
    pub fn know(&self, shards: &[Address]) {
        *self.shards.lock().unwrap_or_else(PoisonError::into_inner) = shards.to_vec();
    }

    /// The policy as it is now.
    pub fn policy(&self) -> Policy {
        self.lock().clone()
    }

    /// With operators, the accounts that are known.
    pub fn tenants(&self) -> Option<&Tenants> {
        self.tenants.as_ref()
    }

    /// Decides. May take long; call it on a helper thread.
    pub fn decide(&self, presented: &Presented) -> Outcome {
        let mut fetches = 0;
        loop {
            let Policy {
                gate, directory, ..
            } = self.policy();
            match gate.decide(&*directory, presented, unix_s()) {
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
        match tenant_directory(tenants, Some(&policy.directory)) {
            Ok(directory) => {
                for rejected in &directory.rejected {
                    self.log.debug(format_args!("{rejected}"));
                }
                policy.directory = Arc::new(directory);
                policy.only_more = only_more;
                self.tell_shards(&policy);
            }
            Err(error) => self.log.error(format_args!("{error}")),
        }
    }

    fn tell_shards(&self, policy: &Policy) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in &*shards {
            shard.send(Command::Policy(policy.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the configuration says that claims come from.
fn source(definition: &AuthDefinition) -> Result<Box<dyn Source>, String> {
    match &definition.resolver {
        None | Some(ResolverDefinition::Memory) => Ok(Box::new(Memory::default())),
        Some(ResolverDefinition::Url(_) | ResolverDefinition::Directory { .. }) => {
            Err("this resolver is not supported yet".to_owned())
        }
    }
}

/// The accounts that claims tell of.
fn tenant_directory(
    tenants: &Tenants,
    before: Option<&Directory>,
) -> Result<Directory, AccountError> {
    let definitions = tenants.definitions(unix_s());
    Directory::new(&definitions, tenants.system(), Imports::MayFail, before)
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
fn unix_s() -> u64 {
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
