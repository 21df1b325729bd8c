//! Whom an operator's server believes about accounts: the keys of its operators.

use std::collections::BTreeMap;

use super::claims::{AccountClaims, ClaimsError, OperatorClaims};
use super::definition::AuthDefinition;
use super::nkey::{KeyKind, PublicKey};

/// Keys that may issue accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Public keys, and whether their accounts must sign users with signing keys only.
    keys: BTreeMap<String, bool>,
    /// Public key of the system account that the first operator names.
    system_account: Option<String>,
    /// Oldest server that all operators are content with.
    server_version: [u64; 3],
}

impl Trust {
    /// The trust of this configuration; one that trusts nobody for a server without operators.
    ///
    /// # Errors
    /// An operator's token is not sound, or a key is none.
    pub fn new(definition: &AuthDefinition) -> Result<Self, String> {
        let mut trust = Self::default();
        let mut systems = Vec::new();
        for token in &definition.operators {
            let operator = OperatorClaims::decode(token)
                .map_err(|error| format!("operator JWT not valid: {error}"))?;
            let strict = operator.strict_signing_keys;
            if !strict {
                trust.keys.insert(operator.common.subject, false);
            }
            for key in operator.signing_keys {
                trust.keys.insert(key, strict);
            }
            trust.server_version = trust.server_version.max(operator.server_version);
            if !operator.system_account.is_empty() {
                systems.push(operator.system_account);
            }
        }
        if let Some(system) = &definition.system_account
            && !systems.is_empty()
            && !systems.contains(system)
        {
            return Err("system_account in config and operator JWT must be identical".to_owned());
        }
        trust.system_account = systems.into_iter().next();
        if !definition.operators.is_empty() && !definition.trusted_keys.is_empty() {
            return Err("conflicting options for trusted keys and operators".to_owned());
        }
        for key in &definition.trusted_keys {
            if PublicKey::parse_kind(key, KeyKind::Operator).is_none() {
                return Err(format!("trusted key {key:?} is not an operator public key"));
            }
            trust.keys.insert(key.clone(), false);
        }
        if !definition.operators.is_empty() && trust.keys.is_empty() {
            return Err("operator requires signing keys and has none".to_owned());
        }
        Ok(trust)
    }

    /// Whether there are operators at all.
    pub fn is_asked(&self) -> bool {
        !self.keys.is_empty()
    }

    pub fn system_account(&self) -> Option<&str> {
        self.system_account.as_deref()
    }

    /// Oldest server (major, minor, update) that the operators' accounts may be served by.
    pub fn server_version(&self) -> [u64; 3] {
        self.server_version
    }

    /// Whether this key may issue accounts.
    pub fn is_trusted(&self, issuer: &str) -> bool {
        self.keys.contains_key(issuer)
    }

    /// Whether accounts of this issuer must sign users with signing keys only.
    pub fn is_strict(&self, issuer: &str) -> bool {
        self.keys.get(issuer).copied().unwrap_or(false)
    }

    /// Reads the claims of the account `key`, as a resolver gave them.
    ///
    /// # Errors
    /// They are not sound, do not hold now, are of another account, or are not of a trusted
    /// operator.
    pub fn account(
        &self,
        key: &str,
        token: &str,
        now_unix_s: u64,
    ) -> Result<AccountClaims, ClaimsError> {
        let claims = AccountClaims::decode(token.trim())?;
        if claims.common.subject != key {
            let text = "subject does not match the account that was asked for";
            return Err(ClaimsError::Content(text.to_owned()));
        }
        if !self.is_trusted(&claims.common.issuer) {
            return Err(ClaimsError::Content(
                "account is not signed by a trusted operator".to_owned(),
            ));
        }
        claims.check()?;
        claims.common.check_time(now_unix_s)?;
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::vectors::{
        ACCOUNT, ACCOUNT_TOKEN, OPERATOR, OPERATOR_SIGNING, OPERATOR_TOKEN, OTHER_ACCOUNT,
        USER_TOKEN,
    };

    #[test]
    fn whose_accounts_count() {
        let with = |operators: &[&str], keys: &[&str]| {
            Trust::new(&AuthDefinition {
                operators: operators.iter().map(|&s| s.to_owned()).collect(),
                trusted_keys: keys.iter().map(|&s| s.to_owned()).collect(),
                ..AuthDefinition::default()
            })
        };
        assert!(!with(&[], &[]).expect("trust").is_asked());
        // The operator is strict: its own key does not count.
        let strict = with(&[OPERATOR_TOKEN], &[]).expect("trust");
        assert!(strict.is_trusted(OPERATOR_SIGNING) && strict.is_strict(OPERATOR_SIGNING));
        assert!(!strict.is_trusted(OPERATOR));
        assert_eq!(strict.system_account(), Some(OTHER_ACCOUNT));
        assert_eq!(strict.server_version(), [2, 10, 0]);
        for (system, fits) in [(OTHER_ACCOUNT, true), (ACCOUNT, false)] {
            let definition = AuthDefinition {
                operators: vec![OPERATOR_TOKEN.to_owned()],
                system_account: Some(system.to_owned()),
                ..AuthDefinition::default()
            };
            assert_eq!(Trust::new(&definition).is_ok(), fits);
        }
        assert!(strict.account(ACCOUNT, ACCOUNT_TOKEN, 0).is_ok());
        assert!(strict.account(OTHER_ACCOUNT, ACCOUNT_TOKEN, 0).is_err());
        assert!(strict.account(ACCOUNT, USER_TOKEN, 0).is_err());
        let other = with(&[], &[OPERATOR]).expect("trust");
        assert!(other.is_asked() && !other.is_strict(OPERATOR));
        assert!(other.account(ACCOUNT, ACCOUNT_TOKEN, 0).is_err());
        for (operators, keys) in [
            (&[OPERATOR_TOKEN][..], &[OPERATOR][..]),
            (&[USER_TOKEN], &[]),
            (&["x"], &[]),
            (&[], &[ACCOUNT]),
        ] {
            assert!(with(operators, keys).is_err());
        }
    }
}
