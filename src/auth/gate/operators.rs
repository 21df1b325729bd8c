//! Users that show claims of an account that an operator vouches for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{AccountView, Accounts, Gate, Refusal, check_signature, permissions};
use crate::auth::admission::{
    Admission, CalloutNeed, ClaimsFacts, Credential, Outcome, Presented, Refused,
};
use crate::auth::claims::{AccountClaims, ClaimsError, Scope, UserClaims, UserLimits, Within};
use crate::auth::definition::{AuthDefinition, ConnectionType};
use crate::auth::nkey::{PublicKey, is_account_key};
use crate::auth::templates;
use crate::auth::trust::Trust;

/// What is particular to a server with operators.
#[derive(Debug)]
pub struct Operators {
    /// The token of those who present none.
    sentinel: Option<Box<str>>,
    /// Accounts whose users may connect; empty for all.
    pinned: BTreeSet<String>,
}

/// How a user is to be let in.
pub struct Granted {
    pub limits: UserLimits,
    pub connection_types: BTreeSet<ConnectionType>,
    pub scope: Option<Box<Scope>>,
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err((Refused::Credentials, why.into()))
}

fn unsound(error: &ClaimsError) -> Refusal {
    let refused = match error {
        ClaimsError::Expired => Refused::Expired,
        _ => Refused::Credentials,
    };
    (refused, format!("user JWT not valid: {error}"))
}

impl Operators {
    pub fn new(definition: &AuthDefinition, trust: &Trust) -> Result<Self, String> {
        if !definition.users.is_empty() || definition.no_auth_user.is_some() {
            return Err("operators do not allow users to be configured directly".to_owned());
        }
        if !definition.accounts.is_empty() {
            return Err("operators do not allow accounts to be configured directly".to_owned());
        }
        let sentinel = match &definition.default_sentinel {
            None => None,
            Some(token) => {
                let claims = UserClaims::decode(&token.0)
                    .map_err(|error| format!("default sentinel JWT not valid: {error}"))?;
                // A scoped user may be made a bearer by its scope, which is not known yet.
                let may_be_scoped = !claims.issuer_account.is_empty() && claims.limits.is_empty();
                if !claims.limits.bearer && !may_be_scoped {
                    return Err("default sentinel must be a bearer token".to_owned());
                }
                Some(token.0.as_str().into())
            }
        };
        let mut pinned: BTreeSet<String> = definition.pinned_accounts.iter().cloned().collect();
        if let Some(key) = pinned.iter().find(|key| !is_account_key(key)) {
            return Err(format!(
                "pinned account key {key:?} is not a valid account public key"
            ));
        }
        if !pinned.is_empty() {
            let system = definition
                .system_account
                .as_deref()
                .or(trust.system_account());
            pinned.extend(system.map(str::to_owned));
        }
        Ok(Self { sentinel, pinned })
    }

    pub fn decide(
        &self,
        gate: &Gate,
        accounts: &dyn Accounts,
        presented: &Presented,
        proxied: bool,
        now_unix_s: u64,
    ) -> Outcome {
        let Some((token, user)) = self.claims(presented) else {
            let why = "authentication requires a user JWT".to_owned();
            return Outcome::Refused(Refused::Credentials, why);
        };
        if let Err(error) = user.check(now_unix_s) {
            let (refused, why) = unsound(&error);
            return Outcome::Refused(refused, why);
        }
        let key = user.account();
        if !self.pinned.is_empty() && !self.pinned.contains(key) {
            let why = format!("account {key} not listed as operator pinned account");
            return Outcome::Refused(Refused::Credentials, why);
        }
        // One that has expired or was deleted is known by its number only.
        let known = accounts.account(key).filter(|a| a.claims.is_some());
        let Some(account) = known else {
            return Outcome::NeedsAccount(key.to_owned());
        };
        let admission = admit(gate, account, presented, proxied, &user, token, now_unix_s);
        match admission {
            Ok(Ok(admission)) => Outcome::Admitted(admission),
            Ok(Err(need)) => Outcome::NeedsCallout(need),
            Err((refused, why)) => Outcome::Refused(refused, why),
        }
    }

    /// The token that counts, and what it says: what was presented, or else what those get who
    /// present none.
    fn claims<'a>(&'a self, presented: &'a Presented) -> Option<(&'a str, UserClaims)> {
        let read = |token: &'a str| Some((token, UserClaims::decode(token).ok()?));
        // MQTT has no field for it.
        let mqtt = matches!(
            presented.connection_type,
            ConnectionType::Mqtt | ConnectionType::MqttWs
        );
        let pass = presented.pass.as_ref().filter(|_| mqtt);
        let jwt = presented.jwt.as_deref().filter(|jwt| !jwt.is_empty());
        match jwt {
            Some(jwt) => read(jwt),
            None => pass.and_then(|pass| read(&pass.0)),
        }
        .or_else(|| self.sentinel.as_deref().and_then(read))
    }
}

/// Lets a user in, or to the account's own authorization service.
fn admit(
    gate: &Gate,
    account: AccountView,
    presented: &Presented,
    proxied: bool,
    user: &UserClaims,
    token: &str,
    now_unix_s: u64,
) -> Result<Result<Box<Admission>, Box<CalloutNeed>>, Refusal> {
    let Some(claims) = account.claims.clone() else {
        return refuse("account has no claims");
    };
    let granted = grant(gate, &claims, user, now_unix_s)?;
    gate.check_proxy(
        proxied,
        user.limits.proxy_required || granted.limits.proxy_required,
    )?;
    if !is_type_allowed(&granted, presented) {
        return refuse("connection type not allowed");
    }
    if !granted.limits.bearer {
        let Some(key) = user.key() else {
            return refuse("user nkey not valid");
        };
        check_signature(presented, &key)?;
    }
    let expires_unix_s = restrictions(&granted, user, presented, now_unix_s)?;
    let facts = Arc::new(facts(token, user, &granted));
    let service = &claims.authorization;
    if service.is_enabled() && !service.users.contains(&user.common.subject) {
        return Ok(Err(Box::new(CalloutNeed {
            account: account.id,
            account_name: account.name,
            issuer: claims.common.subject.as_str().into(),
            xkey: PublicKey::parse(&service.xkey),
            operators: true,
            proxied,
            user: Some(user.common.subject.as_str().into()),
            claims: Some(facts),
        })));
    }
    let label = format!("jwt:{}", user.common.subject);
    Ok(Ok(Box::new(Admission {
        user: Some(user.common.subject.as_str().into()),
        label: Some(label.into()),
        max_subscriptions: granted.limits.subscriptions,
        max_payload_bytes: granted.limits.payload_bytes,
        permissions: permissions_of(&granted, &claims)?,
        expires_unix_s,
        claims: Some(facts),
        credential: Credential::default(),
        account: account.id,
        account_name: account.name,
    })))
}

/// What a user of an account may do, if the account is sound and the user's issuer is one of it.
pub fn grant(
    gate: &Gate,
    claims: &AccountClaims,
    user: &UserClaims,
    now_unix_s: u64,
) -> Result<Granted, Refusal> {
    let issuer = &claims.common.issuer;
    if !gate.trust.is_trusted(issuer) {
        return refuse("account JWT not signed by trusted operator");
    }
    let Some(scope) = claims.signer(&user.common.issuer, gate.trust.is_strict(issuer)) else {
        return refuse("user JWT issuer is not known");
    };
    let limits = match scope {
        None => user.limits.clone(),
        Some(_) if !user.limits.is_empty() => {
            return refuse("scoped users require no permissions or limits set");
        }
        Some(scope) => UserLimits {
            permissions: templates::expand(&scope.template.permissions, user, claims)
                .map_err(|why| (Refused::Credentials, why))?,
            ..scope.template.clone()
        },
    };
    if has_expired(claims, now_unix_s) {
        return Err((Refused::Expired, "account JWT has expired".to_owned()));
    }
    if limits.bearer && claims.limits.disallow_bearer {
        return refuse("account does not allow bearer tokens");
    }
    if claims.is_revoked(user) {
        return Err((Refused::Revoked, "user authentication revoked".to_owned()));
    }
    let spelled = &limits.connection_types;
    let connection_types: BTreeSet<_> = spelled
        .iter()
        .filter_map(|name| ConnectionType::parse(name))
        .collect();
    // Only ways that this server does not know: that must not become all ways.
    if !spelled.is_empty() && connection_types.is_empty() {
        return refuse("connection types are not known");
    }
    Ok(Granted {
        limits,
        connection_types,
        scope: scope.cloned().map(Box::new),
    })
}

pub fn is_type_allowed(granted: &Granted, presented: &Presented) -> bool {
    granted.connection_types.is_empty()
        || granted
            .connection_types
            .contains(&presented.connection_type)
}

/// Whether the user may come from there and now, and until when.
pub fn restrictions(
    granted: &Granted,
    user: &UserClaims,
    presented: &Presented,
    now_unix_s: u64,
) -> Result<Option<u64>, Refusal> {
    let restrictions = &granted.limits.restrictions;
    if !restrictions.allow_source(presented.peer) {
        return refuse(format!("bad src ip {}", presented.peer));
    }
    let end_of_time = match restrictions.allow_time(now_unix_s) {
        Within::No => return refuse("outside connect times"),
        Within::Always => None,
        Within::For(seconds) => Some(now_unix_s.saturating_add(seconds)),
    };
    let claims_end = u64::try_from(user.common.expires)
        .ok()
        .filter(|&at| at != 0);
    if claims_end.is_some_and(|at| at <= now_unix_s) {
        return Err((Refused::Expired, "user JWT has expired".to_owned()));
    }
    Ok(end_of_time.into_iter().chain(claims_end).min())
}

/// Its own permissions, or the account's for users that have none.
pub fn permissions_of(
    granted: &Granted,
    claims: &AccountClaims,
) -> Result<Option<Arc<crate::auth::permissions::Permissions>>, Refusal> {
    let own = granted.limits.permissions.rules();
    let rules = own.or_else(|| claims.default_permissions.rules());
    permissions(rules, claims.authorization.is_enabled()).map_err(|why| {
        (
            Refused::Credentials,
            format!("user JWT generated invalid permissions: {why}"),
        )
    })
}

pub fn facts(token: &str, user: &UserClaims, granted: &Granted) -> ClaimsFacts {
    ClaimsFacts {
        jwt: token.into(),
        subject: user.common.subject.as_str().into(),
        issued_at_unix_s: u64::try_from(user.common.issued_at).unwrap_or(0),
        issuer_key: user.common.issuer.as_str().into(),
        name_tag: user.common.name.as_str().into(),
        tags: user
            .common
            .tags
            .iter()
            .map(|tag| tag.as_str().into())
            .collect(),
        bearer: granted.limits.bearer,
        scope: granted.scope.clone(),
    }
}

/// Whether an account still has a user that it had.
pub fn still_admits(
    trust: &Trust,
    claims: &AccountClaims,
    facts: &ClaimsFacts,
    now_unix_s: u64,
) -> Result<(), Refused> {
    if has_expired(claims, now_unix_s) {
        return Err(Refused::Expired);
    }
    let issued_at = i64::try_from(facts.issued_at_unix_s).unwrap_or(i64::MAX);
    if claims.revocations.covers(&facts.subject, issued_at) {
        return Err(Refused::Revoked);
    }
    let issuer = &claims.common.issuer;
    let signer = claims.signer(&facts.issuer_key, trust.is_strict(issuer));
    let same_role = signer.is_some_and(|scope| scope == facts.scope.as_deref());
    if !trust.is_trusted(issuer) || !same_role || (facts.bearer && claims.limits.disallow_bearer) {
        return Err(Refused::Credentials);
    }
    Ok(())
}

fn has_expired(claims: &AccountClaims, now_unix_s: u64) -> bool {
    claims.ends_at().is_some_and(|at| at <= now_unix_s)
}
