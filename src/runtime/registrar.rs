//! Does what requests about claims ask for: keeps, deletes and lists them, and has changes hold.

use std::sync::Arc;

use super::authenticator::{Authenticator, unix_s};
use super::tenants::Tenants;
use crate::control::claims::{Keeping, Registry};

/// See the module. Nobody has one without operators.
pub struct Registrar(Arc<Authenticator>);

impl Registrar {
    /// The registrar of a server with operators.
    pub fn new(authenticator: &Arc<Authenticator>) -> Option<Self> {
        authenticator
            .tenants()
            .map(|_| Self(Arc::clone(authenticator)))
    }

    fn tenants(&self) -> &Tenants {
        let tenants = self.0.tenants();
        tenants.expect("there were operators when it was made")
    }
}

impl Registry for Registrar {
    fn keeping(&self) -> Keeping {
        match self.tenants().resolver().kept() {
            None => Keeping::Elsewhere,
            Some(kept) if kept.is_cache => Keeping::Some,
            Some(_) => Keeping::All,
        }
    }

    fn is_known(&self, account: &str) -> bool {
        self.tenants().is_known(account)
    }

    fn may_delete(&self) -> bool {
        let kept = self.tenants().resolver().kept();
        kept.is_some_and(|kept| kept.may_delete)
    }

    fn is_operator(&self, key: &str) -> bool {
        self.tenants().trust().is_trusted(key)
    }

    fn is_system(&self, account: &str) -> bool {
        self.tenants().system() == account
    }

    fn update(&mut self, account: &str, token: &str) -> Result<(), String> {
        if self.tenants().update(account, token, unix_s())? {
            self.0.tenants_changed();
        }
        Ok(())
    }

    fn lookup(&mut self, account: &str) -> Result<Option<String>, String> {
        match self.tenants().resolver().kept() {
            None => Ok(None),
            Some(kept) => {
                let found = kept.store().load(account, unix_s());
                found.map_err(|error| error.to_string())
            }
        }
    }

    fn delete(&mut self, accounts: &[&str]) -> Vec<String> {
        let Some(kept) = self.tenants().resolver().kept() else {
            return vec!["nothing is kept here".to_owned()];
        };
        let mut errors = Vec::new();
        let mut is_change = false;
        for account in accounts {
            let deleted = kept.store().delete(account);
            match deleted {
                Ok(true) => is_change |= self.tenants().forget(account),
                Ok(false) => errors.push(format!("there are no claims of {account}")),
                Err(error) => errors.push(error.to_string()),
            }
        }
        if is_change {
            self.0.tenants_changed();
        }
        errors
    }

    fn list(&mut self) -> Vec<String> {
        let kept = self.tenants().resolver().kept();
        kept.map(|kept| kept.store().keys()).unwrap_or_default()
    }

    fn packages(&mut self, hash: &[u8]) -> Vec<String> {
        let Some(kept) = self.tenants().resolver().kept() else {
            return Vec::new();
        };
        let store = kept.store();
        if store.hash() == hash {
            return Vec::new();
        }
        store.packages(1, unix_s()).collect()
    }
}
