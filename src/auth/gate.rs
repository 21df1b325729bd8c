//! Who may connect: the decision on what a connection presents.
//!
//! A gate is made once of what the operator wrote and never changes; a new one replaces it. The
//! order of the means is nats-server's: claims where there are operators, else nkeys, users (by
//! password or certificate), a token, a single user. An authorization service, where there is
//! one, has the last word on all but its own users. Where anything of this is configured, nobody
//! gets in without it, unless `no_auth_user` names who that is (CVE-2023-47090).
//!
//! Every way in passes the same checks: of the connection type and of the proxy (GHSA-hmmp). The
//! gate knows no connections, and what it must know of accounts it asks of [`Accounts`].

mod answer;
mod operators;
#[cfg(test)]
mod tests;
mod users;

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use super::accounts::{Directory, GLOBAL_NAME};
use super::admission::{Admission, CalloutNeed, Credential, Outcome, Presented, Refused};
use super::claims::AccountClaims;
use super::definition::{AuthDefinition, CalloutDefinition, ConnectionType};
use super::nkey::{KeyKind, PublicKey, decode_signature};
use super::permissions::Permissions;
use super::trust::Trust;
use crate::base::ids::AccountId;
use operators::Operators;
use users::Users;

/// Where authorization services listen. Nobody but the server may publish there.
pub const CALLOUT_SUBJECT: &str = "$SYS.REQ.USER.AUTH";

/// What a gate asks about accounts.
pub trait Accounts {
    /// The account of this name or public key.
    fn account(&self, name: &str) -> Option<AccountView>;
}

/// What a gate must know of an account.
#[derive(Clone, Debug)]
pub struct AccountView {
    pub id: AccountId,
    pub name: Arc<str>,
    /// The operator's claims about it.
    pub claims: Option<Arc<AccountClaims>>,
}

impl Accounts for Directory {
    fn account(&self, name: &str) -> Option<AccountView> {
        let account = self.find(name)?;
        Some(AccountView {
            id: account.id,
            name: Arc::clone(&account.name),
            claims: account.definition.claims.clone(),
        })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Gate {
    trust: Trust,
    /// With operators nothing of `users` counts.
    operators: Option<Operators>,
    users: Users,
    callout: Option<CalloutDefinition>,
    /// Public keys of trusted proxies.
    proxies: Vec<PublicKey>,
    proxy_required: bool,
    maps_certificates: bool,
    /// What stands for whom an authorization service lets in.
    credential_of_service: Option<Credential>,
}

impl Default for Gate {
    /// Anybody may connect.
    fn default() -> Self {
        Self::new(&AuthDefinition::default()).expect("nothing is said, so nothing is wrong")
    }
}

/// What a change of the configuration means for somebody who was let in before.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Nothing.
    Same,
    /// It may do other things; `None` for everything.
    Changed(Option<Arc<Permissions>>),
}

/// Why somebody is not let in, with a text for the log.
type Refusal = (Refused, String);

impl Gate {
    /// Makes the gate of a configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(definition: &AuthDefinition) -> Result<Self, String> {
        let trust = Trust::new(definition)?;
        let operators = match trust.is_asked() {
            true => Some(Operators::new(definition, &trust)?),
            false if definition.default_sentinel.is_some() => {
                return Err("default sentinel requires operators and accounts".to_owned());
            }
            false => None,
        };
        if let Some(callout) = &definition.callout {
            check_callout(callout, operators.is_some())?;
        }
        let parse_proxy = |key: &String| {
            let parsed = PublicKey::parse(key).filter(|key| key.kind != KeyKind::Curve);
            parsed.ok_or_else(|| format!("proxy trusted key {key:?} is invalid"))
        };
        let users = Users::new(definition)?;
        Ok(Self {
            users,
            operators,
            trust,
            callout: definition.callout.clone(),
            proxies: definition
                .proxies
                .iter()
                .map(parse_proxy)
                .collect::<Result<_, _>>()?,
            proxy_required: definition.proxy_required,
            maps_certificates: definition.map_certificates,
            credential_of_service: definition.callout.as_ref().map(credential_of_callout),
        })
    }

    /// What INFO says: whether a client has to present something. Where there is a
    /// `no_auth_user` it need not.
    pub fn is_asked_for(&self) -> bool {
        self.is_required() && !self.users.have_anonymous()
    }

    /// Whether somebody is let in only by a decision.
    pub fn is_required(&self) -> bool {
        self.operators.is_some() || !self.users.is_open() || self.callout.is_some()
    }

    /// Whether INFO must have a nonce to be signed.
    pub fn needs_nonce(&self) -> bool {
        self.operators.is_some() || self.users.have_nkeys() || !self.proxies.is_empty()
    }

    /// Whether client certificates name users.
    pub fn tls_maps(&self) -> bool {
        self.maps_certificates
    }

    /// Whose accounts are believed in.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Whether the decision takes no longer than a few comparisons. Otherwise it verifies a
    /// signature, compares with a password hash or reads a certificate, and is not for a shard.
    pub fn is_cheap(&self, presented: &Presented) -> bool {
        let of_proxy = presented.proxy_sig.is_some() && !self.proxies.is_empty();
        self.operators.is_none()
            && !of_proxy
            && self.users.are_cheap(presented, self.maps(presented))
    }

    /// Decides on a connection.
    pub fn decide(
        &self,
        accounts: &dyn Accounts,
        presented: &Presented,
        now_unix_s: u64,
    ) -> Outcome {
        let proxied = match self.is_proxied(presented) {
            Ok(proxied) => proxied,
            Err((refused, why)) => return Outcome::Refused(refused, why),
        };
        if let Some(operators) = &self.operators {
            return operators.decide(self, accounts, presented, proxied, now_unix_s);
        }
        let found = self
            .users
            .identify(presented, self.maps(presented))
            .and_then(|identified| {
                self.check_proxy(proxied, identified.proxy_required)?;
                Ok(identified)
            });
        // Its own users are the service's only judges of others, so they are not judged.
        if let Some(callout) = &self.callout {
            let mine = |name: &str| callout.users.iter().any(|user| user == name);
            let asks = match &found {
                Ok(user) => !mine(user.name) && is_delegated(callout, user.account, presented),
                Err((Refused::Credentials, _)) => !mine(presented.shown_user().unwrap_or_default()),
                Err(_) => false,
            };
            if asks {
                return need(callout, accounts, presented, proxied);
            }
        }
        let identified = match found {
            Ok(identified) => identified,
            Err((refused, why)) => return Outcome::Refused(refused, why),
        };
        let Some(account) = accounts.account(identified.account) else {
            let why = format!("account {:?} is not known", identified.account);
            return Outcome::Refused(Refused::Credentials, why);
        };
        Outcome::Admitted(Box::new(Admission {
            account: account.id,
            account_name: account.name,
            user: identified.shown.map(Into::into),
            label: identified.label.map(Into::into),
            permissions: identified.permissions,
            max_subscriptions: None,
            max_payload_bytes: None,
            expires_unix_s: None,
            claims: None,
            credential: identified.credential,
        }))
    }

    /// Whether what let a connection in would still do, after a change of the gate or of the
    /// accounts.
    ///
    /// # Errors
    /// Why it must go.
    pub fn still_admits(
        &self,
        accounts: &dyn Accounts,
        admission: &Admission,
        now_unix_s: u64,
    ) -> Result<Standing, Refused> {
        let account = accounts.account(&admission.account_name);
        match (&self.operators, &admission.claims) {
            (Some(_), Some(facts)) => {
                let account = account.and_then(|account| account.claims);
                // Claims go when they expire or are deleted, which is told alike.
                let claims = account.ok_or(Refused::Expired)?;
                operators::still_admits(&self.trust, &claims, facts, now_unix_s)?;
                Ok(Standing::Same)
            }
            (None, _) if account.is_none() => Err(Refused::Moved),
            // Whom an authorization service has let in is its own to judge.
            (None, _) if self.credential_of_service == Some(admission.credential) => {
                Ok(Standing::Same)
            }
            (None, _) => self.users.stands(admission),
            (Some(_), None) => Err(Refused::Credentials),
        }
    }

    /// Whether this connection's certificate names its user. Other listeners than that for clients
    /// have their own say.
    fn maps(&self, presented: &Presented) -> bool {
        let of_clients = matches!(
            presented.connection_type,
            ConnectionType::Standard | ConnectionType::InProcess
        );
        self.maps_certificates && of_clients
    }

    /// Whether a trusted proxy vouches for the connection. One that is not trusted is worse than
    /// none.
    fn is_proxied(&self, presented: &Presented) -> Result<bool, Refusal> {
        let Some(signature) = &presented.proxy_sig else {
            return Ok(false);
        };
        if self.proxies.is_empty() {
            return Ok(false);
        }
        let nonce = presented.nonce.as_bytes();
        let signed = BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .is_ok_and(|signature| {
                !nonce.is_empty() && self.proxies.iter().any(|key| key.verify(nonce, &signature))
            });
        match signed {
            true => Ok(true),
            false => Err((Refused::ProxyNotTrusted, "proxy is not trusted".to_owned())),
        }
    }

    fn check_proxy(&self, proxied: bool, required: bool) -> Result<(), Refusal> {
        match proxied || !(required || self.proxy_required) {
            true => Ok(()),
            false => Err((
                Refused::ProxyRequired,
                "proxy connection required".to_owned(),
            )),
        }
    }
}

impl Presented {
    /// What monitoring calls it before anything is verified.
    pub(super) fn shown_user(&self) -> Option<&str> {
        let given = |text: &Option<Box<str>>| text.as_ref().is_some_and(|t| !t.is_empty());
        if given(&self.nkey) {
            self.nkey.as_deref()
        } else if given(&self.user) {
            self.user.as_deref()
        } else if self.token.as_ref().is_some_and(|token| !token.0.is_empty()) {
            Some("[REDACTED]")
        } else {
            None
        }
    }
}

/// Whether the nonce of the connection was signed with this key. Without a nonce there is nothing
/// that could not be sent twice.
fn check_signature(presented: &Presented, key: &PublicKey) -> Result<(), Refusal> {
    let signature = presented.sig.as_deref().unwrap_or_default();
    let wrong = |text: &str| Err((Refused::Credentials, text.to_owned()));
    if signature.is_empty() {
        return wrong("signature missing");
    }
    let Some(signature) = decode_signature(signature) else {
        return wrong("signature not valid base64");
    };
    let nonce = presented.nonce.as_bytes();
    match !nonce.is_empty() && key.verify(nonce, &signature) {
        true => Ok(()),
        false => wrong("signature not verified"),
    }
}

fn check_callout(callout: &CalloutDefinition, operators: bool) -> Result<(), String> {
    if operators {
        return Err(
            "operators do not allow authorization callouts to be configured directly".to_owned(),
        );
    }
    if PublicKey::parse_kind(&callout.issuer, KeyKind::Account).is_none() {
        return Err(format!(
            "auth callout issuer {:?} is not an account key",
            callout.issuer
        ));
    }
    match &callout.xkey {
        Some(xkey) if PublicKey::parse_kind(xkey, KeyKind::Curve).is_none() => {
            Err(format!("auth callout xkey {xkey:?} is not a curve key"))
        }
        _ => Ok(()),
    }
}

/// Whether the service is asked about users that are known to be of this account. Of the global
/// account is also who is not known.
fn is_delegated(callout: &CalloutDefinition, account: &str, presented: &Presented) -> bool {
    let leaf = matches!(
        presented.connection_type,
        ConnectionType::Leafnode | ConnectionType::LeafnodeWs
    );
    leaf || account == GLOBAL_NAME
        || callout.allowed_accounts.is_empty()
        || callout.allowed_accounts.iter().any(|name| name == account)
}

fn need(
    callout: &CalloutDefinition,
    accounts: &dyn Accounts,
    presented: &Presented,
    proxied: bool,
) -> Outcome {
    let name = match callout.account.as_str() {
        "" => GLOBAL_NAME,
        name => name,
    };
    let Some(account) = accounts.account(name) else {
        let why = format!("No valid account {name:?} for auth callout request");
        return Outcome::Refused(Refused::Credentials, why);
    };
    Outcome::NeedsCallout(Box::new(CalloutNeed {
        account: account.id,
        account_name: account.name,
        issuer: callout.issuer.as_str().into(),
        xkey: callout.xkey.as_deref().and_then(PublicKey::parse),
        operators: false,
        proxied,
        user: presented.shown_user().map(Into::into),
        claims: None,
    }))
}

/// Of what the operator wrote, with everything that makes a difference.
fn credential(parts: &[&str]) -> Credential {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Credential(hash.finalize().into())
}

fn credential_of_callout(callout: &CalloutDefinition) -> Credential {
    credential(&["callout", &callout.issuer, &callout.account])
}

/// Permissions of rules, without a way to the authorization service if it is in this account.
fn permissions(
    rules: Option<super::definition::PermissionRules>,
    beside_service: bool,
) -> Result<Option<Arc<Permissions>>, String> {
    let mut rules = rules.map(super::claims::with_responses_only);
    if beside_service {
        let rules = rules.get_or_insert_default();
        rules.publish.deny.push(CALLOUT_SUBJECT.to_owned());
    }
    rules
        .map(|rules| Permissions::new(rules).map(Arc::new))
        .transpose()
}
