//! What an authorization service answered: claims of a user that is let in, or a refusal.

use super::operators::{Granted, facts, grant, is_type_allowed, permissions_of, restrictions};
use super::{AccountView, Accounts, Gate, Refusal, credential_of_callout, permissions};
use crate::auth::admission::{Admission, CalloutNeed, Credential, Outcome, Presented, Refused};
use crate::auth::callout::{Question, ServerKeys};
use crate::auth::claims::{
    ClaimsError, ResponseClaims, TOKEN_BYTES_MAX, UserClaims, looks_like_token,
};
use crate::auth::definition::ConnectionType;
use std::sync::Arc;

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err((Refused::Credentials, why.into()))
}

impl Gate {
    /// Judges the answer to a question. It counts only if it is for this server and for the user
    /// key of this question.
    #[expect(clippy::too_many_arguments, reason = "each is of another origin")]
    pub fn judge(
        &self,
        accounts: &dyn Accounts,
        need: &CalloutNeed,
        presented: &Presented,
        question: &Question,
        keys: &ServerKeys,
        answer: &[u8],
        now_unix_s: u64,
    ) -> Outcome {
        let user = match self.read(accounts, need, question, keys, answer, now_unix_s) {
            Ok(user) => user,
            Err((refused, why)) => return Outcome::Refused(refused, why),
        };
        // With operators the user's issuer says the account; else the service does, and only one
        // account key may speak for it.
        let target = match need.operators {
            true => user.account(),
            false => &user.common.audience,
        };
        if let Err((refused, why)) = self.check_issuer(accounts, need, &user) {
            return Outcome::Refused(refused, why);
        }
        let known = accounts
            .account(target)
            .filter(|account| !need.operators || account.claims.is_some());
        let Some(account) = known else {
            return match need.operators {
                true => Outcome::NeedsAccount(target.to_owned()),
                false => {
                    let why = format!("no valid account {target:?} for auth callout response");
                    Outcome::Refused(Refused::Credentials, why)
                }
            };
        };
        match self.admit_answered(account, need, presented, &user, now_unix_s) {
            Ok(admission) => Outcome::Admitted(Box::new(admission)),
            Err((refused, why)) => Outcome::Refused(refused, why),
        }
    }

    fn read(
        &self,
        accounts: &dyn Accounts,
        need: &CalloutNeed,
        question: &Question,
        keys: &ServerKeys,
        answer: &[u8],
        now_unix_s: u64,
    ) -> Result<UserClaims, Refusal> {
        if answer.is_empty() {
            return refuse("auth callout violation: no reason supplied");
        }
        if answer.len() > TOKEN_BYTES_MAX {
            return refuse("auth callout response is too large");
        }
        let opened = match &need.xkey {
            Some(service) if !looks_like_token(answer) => match keys.curve.open(answer, service) {
                Some(opened) => Some(opened),
                None => return refuse("error decrypting auth callout response"),
            },
            _ => None,
        };
        let Ok(token) = std::str::from_utf8(opened.as_deref().unwrap_or(answer)) else {
            return refuse("auth callout response is no text");
        };
        let invalid = |error: ClaimsError| {
            let text = format!("auth callout response not valid: {error}");
            (Refused::Credentials, text)
        };
        let response = ResponseClaims::decode(token, now_unix_s).map_err(invalid)?;
        let expected = question.user.to_string();
        if response.common.subject != expected {
            return refuse("auth callout violation: response is not for expected user");
        }
        if response.common.audience != keys.identity.public().to_string() {
            return refuse("auth callout violation: response is not for server");
        }
        if !response.error.is_empty() {
            let error: String = response.error.chars().take(256).collect();
            return refuse(format!("auth callout service returned an error: {error}"));
        }
        // What only the service can have sealed needs no other proof.
        if need.operators && opened.is_none() {
            let asked = accounts
                .account(&need.account_name)
                .and_then(|account| account.claims);
            let Some(asked) = asked else {
                return refuse("auth callout account is gone");
            };
            let strict = self.trust.is_strict(&asked.common.issuer);
            let named = &response.issuer_account;
            let mine = named.is_empty() || *named == asked.common.subject;
            let signs = response.common.issuer == asked.common.subject
                || asked.signer(&response.common.issuer, strict).is_some();
            if !mine || !signs {
                return refuse("auth callout signing key is unknown");
            }
        }
        let user = UserClaims::decode(&response.jwt).map_err(invalid)?;
        user.check(now_unix_s).map_err(invalid)?;
        if user.common.subject != expected {
            return refuse("auth callout response is for another user");
        }
        Ok(user)
    }

    fn check_issuer(
        &self,
        accounts: &dyn Accounts,
        need: &CalloutNeed,
        user: &UserClaims,
    ) -> Result<(), Refusal> {
        if !need.operators {
            if !user.issuer_account.is_empty() {
                return refuse("auth callout response attempted to use issuer_account");
            }
            return match *user.common.issuer == *need.issuer {
                true => Ok(()),
                false => refuse("wrong issuer for auth callout response"),
            };
        }
        let target = user.account();
        let asked = accounts
            .account(&need.account_name)
            .and_then(|account| account.claims);
        match asked {
            Some(asked) if *target == *need.issuer || asked.authorization.allows(target) => Ok(()),
            _ => refuse(format!(
                "account {target} not permitted by the auth callout's account"
            )),
        }
    }

    fn admit_answered(
        &self,
        account: AccountView,
        need: &CalloutNeed,
        presented: &Presented,
        user: &UserClaims,
        now_unix_s: u64,
    ) -> Result<Admission, Refusal> {
        let (granted, claims) = match (need.operators, account.claims.clone()) {
            (true, Some(claims)) => (grant(self, &claims, user, now_unix_s)?, Some(claims)),
            (true, None) => return refuse("account has no claims"),
            (false, _) => (as_said(user)?, None),
        };
        let required = user.limits.proxy_required || granted.limits.proxy_required;
        self.check_proxy(need.proxied, required)?;
        if !is_type_allowed(&granted, presented) {
            return refuse("authorized user uses a connection type that is not allowed");
        }
        let expires_unix_s = restrictions(&granted, user, presented, now_unix_s)?;
        let (permissions, credential) = match &claims {
            Some(claims) => (permissions_of(&granted, claims)?, Credential::default()),
            None => {
                let beside_service = account.name == need.account_name;
                let permissions = permissions(granted.limits.permissions.rules(), beside_service)
                    .map_err(|why| (Refused::Credentials, why))?;
                let credential = self.callout.as_ref().map(credential_of_callout);
                (permissions, credential.unwrap_or_default())
            }
        };
        let name = &user.common.name;
        let shown = match name.is_empty() {
            true => need.user.clone(),
            false => Some(name.as_str().into()),
        };
        // Services that say no limits write zeros or nothing.
        let said = |limit: Option<u64>| limit.filter(|&limit| limit != 0);
        Ok(Admission {
            label: shown.as_ref().map(|shown| format!("user:{shown}").into()),
            user: shown,
            permissions,
            max_subscriptions: said(granted.limits.subscriptions),
            max_payload_bytes: said(granted.limits.payload_bytes),
            expires_unix_s,
            // The token is the service's and is shown to nobody.
            claims: Some(Arc::new(facts("", user, &granted))),
            credential,
            account: account.id,
            account_name: account.name,
        })
    }
}

/// Without operators there are no scopes: what the service wrote counts.
fn as_said(user: &UserClaims) -> Result<Granted, Refusal> {
    let spelled = &user.limits.connection_types;
    let known = spelled
        .iter()
        .filter_map(|name| ConnectionType::parse(name));
    let granted = Granted {
        connection_types: known.collect(),
        limits: user.limits.clone(),
        scope: None,
    };
    match !spelled.is_empty() && granted.connection_types.is_empty() {
        true => refuse("authorized user has connection types that are not known"),
        false => Ok(granted),
    }
}
