//! What an account says of a user.

use super::fields::Fields;
use super::parts::UserLimits;
use super::{Claims, ClaimsError, Common, broken, decode};
use crate::auth::nkey::{KeyKind, PublicKey, is_account_key};

/// A user's claims, signed by its account or by one of the account's signing keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserClaims {
    pub common: Common,
    pub limits: UserLimits,
    /// The account, if the issuer is a signing key of it.
    pub issuer_account: String,
}

impl UserClaims {
    pub(super) fn read(
        common: Common,
        nats: Fields<'_>,
        other: Fields<'_>,
    ) -> Result<Self, ClaimsError> {
        let missing = if common.version == 1 { -1 } else { 0 };
        Ok(Self {
            limits: UserLimits::read(nats, missing)?,
            issuer_account: other.text("issuer_account")?,
            common,
        })
    }

    /// Reads a user's token.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(token: &str) -> Result<Self, ClaimsError> {
        match decode(token)? {
            Claims::User(claims) => Ok(*claims),
            _ => Err(ClaimsError::Kind),
        }
    }

    /// Whether they are sound and hold now.
    ///
    /// # Errors
    /// The rule that they break.
    pub fn check(&self, now_unix_s: u64) -> Result<(), ClaimsError> {
        self.common.check_time(now_unix_s)?;
        self.limits.check()?;
        if !self.issuer_account.is_empty() && !is_account_key(&self.issuer_account) {
            return Err(broken("issuer_account is not an account public key"));
        }
        Ok(())
    }

    /// The public key of its account.
    pub fn account(&self) -> &str {
        if self.issuer_account.is_empty() {
            &self.common.issuer
        } else {
            &self.issuer_account
        }
    }

    /// Its public key; `None` if the subject is none.
    pub fn key(&self) -> Option<PublicKey> {
        PublicKey::parse_kind(&self.common.subject, KeyKind::User)
    }
}
