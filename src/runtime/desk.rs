//! Where it is decided who is let in when a shard cannot decide that at once.
//!
//! One desk for all shards, asked on helper threads: password hashes and signatures take their
//! time there. It holds the policy that the shards have copies of, and hands out a new one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::commands::{Address, Command};
use crate::auth::accounts::{AccountError, Directory, Imports, SYSTEM_NAME};
use crate::auth::admission::{Outcome, Presented};
use crate::auth::definition::{AccountDefinition, AuthDefinition};
use crate::auth::gate::Gate;
use crate::shard::Policy;

/// See the module.
pub struct Desk {
    policy: Mutex<Policy>,
    /// Empty until the shards are there.
    shards: Mutex<Vec<Address>>,
}

impl Desk {
    /// A desk that follows the operator's words.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(definition: &AuthDefinition) -> Result<Self, String> {
        let gate = Gate::new(definition).map_err(|error| error.to_string())?;
        let directory = directory(definition, None).map_err(|error| error.to_string())?;
        Ok(Self {
            policy: Mutex::new(Policy {
                gate: Arc::new(gate),
                directory: Arc::new(directory),
            }),
            shards: Mutex::default(),
        })
    }

    /// Tells it where the shards are.
    pub fn know(&self, shards: &[Address]) {
        *self.shards.lock().unwrap_or_else(PoisonError::into_inner) = shards.to_vec();
    }

    /// The policy as it is now.
    pub fn policy(&self) -> Policy {
        self.policy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Decides. May take long; call it on a helper thread.
    pub fn decide(&self, presented: &Presented) -> Outcome {
        let Policy { gate, directory } = self.policy();
        gate.decide(&*directory, presented, unix_s())
    }

    /// Replaces the policy, on all shards.
    pub fn publish(&self, policy: &Policy) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy.clone();
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in &*shards {
            shard.send(Command::Policy(policy.clone()));
        }
    }
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
