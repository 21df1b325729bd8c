//! What must hold of a whole configuration, wherever its parts came from. The texts are nats-server's.

use super::Config;
use crate::auth::accounts::SYSTEM_NAME;
use crate::auth::definition::{AccountDefinition, JetStreamAccess};

impl Config {
    /// Whether a server can be started with it.
    ///
    /// # Errors
    /// It contradicts itself; the text says in what.
    pub fn check(&self) -> Result<(), String> {
        self.limits.check().map_err(|error| error.to_string())?;
        self.jetstream.check()?;
        self.monitor.check(self.tls.is_some())?;
        let auth = &self.auth;
        let refuse = |text: &str| Err(text.to_owned());
        let system = auth.system_account.as_deref().unwrap_or(SYSTEM_NAME);
        let stores = |account: &AccountDefinition| {
            account.name == system && account.jetstream != JetStreamAccess::None
        };
        if self.jetstream.enabled && auth.accounts.iter().any(stores) {
            return refuse(
                "Error enabling jetstream on configured accounts: jetstream can not be enabled on the system account",
            );
        }
        if auth.operators.is_empty() {
            if auth.default_sentinel.is_some() {
                return refuse("default sentinel requires operators and accounts");
            }
        } else if !auth.accounts.is_empty() {
            return refuse("operators do not allow Accounts to be configured directly");
        } else if !auth.users.is_empty() {
            return refuse("operators do not allow users to be configured directly");
        } else if !auth.trusted_keys.is_empty() {
            return refuse("conflicting options for 'TrustedKeys' and 'TrustedOperators'");
        }
        let Some(user) = &auth.no_auth_user else {
            return Ok(());
        };
        let is_it = |name: &Option<String>| name.as_ref() == Some(user);
        if !auth.operators.is_empty() {
            refuse("no_auth_user not compatible with Trusted Operator")
        } else if auth.users.is_empty() {
            Err(format!(
                "no_auth_user: \"{user}\" present, but users/nkeys are not defined"
            ))
        } else if auth.users.iter().any(|u| is_it(&u.name) || is_it(&u.nkey)) {
            Ok(())
        } else {
            Err(format!(
                "no_auth_user: \"{user}\" not present as user or nkey in authorization block or account configuration"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::definition::{AuthDefinition, JetStreamLimits, Secret, UserDefinition};
    use crate::config::JetStreamOptions;

    #[test]
    fn jetstream() {
        let check = |domain: &str, account: &str, expected: &str| {
            let config = Config {
                jetstream: JetStreamOptions {
                    enabled: true,
                    domain: Some(domain.to_owned()),
                    ..JetStreamOptions::default()
                },
                auth: AuthDefinition {
                    accounts: vec![AccountDefinition {
                        name: account.to_owned(),
                        jetstream: JetStreamAccess::Limits(JetStreamLimits::UNLIMITED),
                        ..AccountDefinition::default()
                    }],
                    ..AuthDefinition::default()
                },
                ..Config::default()
            };
            assert_eq!(config.check().err().unwrap_or_default(), expected);
        };
        check("hub", "A", "");
        check("a.b", "A", "invalid domain name: may not contain ., * or >");
        check(
            "a b",
            "A",
            "invalid domain name: derived \"$JS.a b.API.>\" is not a valid subject",
        );
        check(
            "hub",
            "$SYS",
            "Error enabling jetstream on configured accounts: jetstream can not be enabled on the system account",
        );
    }

    #[test]
    fn contradictions() {
        #[track_caller]
        fn check(auth: AuthDefinition, expected: &str) {
            let config = Config {
                auth,
                ..Config::default()
            };
            let found = config.check().err().unwrap_or_default();
            assert!(found.contains(expected), "{found:?} {expected:?}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{found}");
        }
        let default = AuthDefinition::default;
        let user = |name: &str| UserDefinition {
            name: Some(name.to_owned()),
            ..UserDefinition::default()
        };
        let operators = vec!["eyJ".to_owned()];
        let no_auth_user = Some("a".to_owned());
        check(default(), "");
        let sentinel = AuthDefinition {
            default_sentinel: Some(Secret("eyJ".to_owned())),
            ..default()
        };
        check(sentinel.clone(), "default sentinel requires");
        let with_operator = AuthDefinition {
            operators: operators.clone(),
            ..sentinel
        };
        check(with_operator.clone(), "");
        let accounts = vec![AccountDefinition::default()];
        let direct = AuthDefinition {
            accounts,
            ..with_operator.clone()
        };
        check(direct, "do not allow Accounts");
        let direct = AuthDefinition {
            users: vec![user("a")],
            ..with_operator.clone()
        };
        check(direct, "do not allow users");
        let keys = AuthDefinition {
            trusted_keys: vec![String::new()],
            ..with_operator.clone()
        };
        check(keys, "conflicting options");
        let unnamed = AuthDefinition {
            no_auth_user: no_auth_user.clone(),
            ..with_operator
        };
        check(unnamed, "not compatible");
        let unnamed = AuthDefinition {
            no_auth_user,
            ..default()
        };
        check(unnamed.clone(), "users/nkeys are not defined");
        let other = AuthDefinition {
            users: vec![user("b")],
            ..unnamed.clone()
        };
        check(other, "not present as user or nkey");
        let known = AuthDefinition {
            users: vec![user("b"), user("a")],
            ..unnamed
        };
        check(known, "");
    }
}
