//! The answer of an authorization service (ADR-26). The question is written by
//! [`crate::auth::callout`] and read by services only.

use super::fields::Fields;
use super::{Claims, ClaimsError, Common, broken, decode};
use crate::auth::nkey::{KeyKind, PublicKey, is_account_key};

/// What the service answered, signed by an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseClaims {
    pub common: Common,
    /// Claims of the user that is let in; empty with an error.
    pub jwt: String,
    pub error: String,
    pub issuer_account: String,
}

impl ResponseClaims {
    pub(super) fn read(common: Common, nats: Fields<'_>) -> Result<Self, ClaimsError> {
        Ok(Self {
            jwt: nats.text("jwt")?,
            error: nats.text("error")?,
            issuer_account: nats.text("issuer_account")?,
            common,
        })
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// It is none, not sound, or does not hold now.
    pub fn decode(token: &str, now_unix_s: u64) -> Result<Self, ClaimsError> {
        let Claims::AuthorizationResponse(claims) = decode(token)? else {
            return Err(ClaimsError::Kind);
        };
        let key_of = |text, kind| PublicKey::parse_kind(text, kind).is_some();
        if !key_of(&claims.common.subject, KeyKind::User) {
            return Err(broken("subject must be a user public key"));
        }
        if !key_of(&claims.common.audience, KeyKind::Server) {
            return Err(broken("audience must be a server public key"));
        }
        if claims.error.is_empty() == claims.jwt.is_empty() {
            return Err(broken("either error or jwt is required"));
        }
        if !claims.issuer_account.is_empty() && !is_account_key(&claims.issuer_account) {
            return Err(broken("issuer_account is not an account public key"));
        }
        claims.common.check_time(now_unix_s)?;
        Ok(*claims)
    }
}
