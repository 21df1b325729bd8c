//! What an operator says of itself: with which keys it signs accounts, and which is the system's.

use super::fields::Fields;
use super::{ClaimsError, Common, broken};
use crate::auth::nkey::{KeyKind, PublicKey, is_account_key};

/// An operator's claims, signed by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorClaims {
    pub common: Common,
    pub signing_keys: Vec<String>,
    /// Where tools find account claims.
    pub account_server_url: String,
    /// Where clients connect.
    pub service_urls: Vec<String>,
    /// Public key of the system account; empty for none.
    pub system_account: String,
    /// Oldest server that may work with these claims: major, minor, update.
    pub server_version: [u64; 3],
    /// Accounts must be issued by a signing key, and users too.
    pub strict_signing_keys: bool,
}

impl OperatorClaims {
    pub(super) fn read(common: Common, nats: Fields<'_>) -> Result<Self, ClaimsError> {
        let version = nats.text("assert_server_version")?;
        Ok(Self {
            signing_keys: nats.texts("signing_keys")?,
            account_server_url: nats.text("account_server_url")?,
            service_urls: nats.texts("operator_service_urls")?,
            system_account: nats.text("system_account")?,
            server_version: parse_version(&version)
                .ok_or(ClaimsError::Field("assert_server_version"))?,
            strict_signing_keys: nats.flag("strict_signing_key_usage")?,
            common,
        })
    }

    /// Reads an operator's token, decorated or not.
    ///
    /// # Errors
    /// It is none, or not sound.
    pub fn decode(text: &str) -> Result<Self, ClaimsError> {
        let token = super::undecorated(text).ok_or(ClaimsError::Malformed)?;
        let super::Claims::Operator(claims) = super::decode(token)? else {
            return Err(ClaimsError::Kind);
        };
        claims.check()?;
        Ok(*claims)
    }

    fn check(&self) -> Result<(), ClaimsError> {
        let keys = self.signing_keys.iter().chain([&self.common.subject]);
        for key in keys {
            if PublicKey::parse_kind(key, KeyKind::Operator).is_none() {
                return Err(broken(format!("{key:?} is not an operator public key")));
            }
        }
        if !self.system_account.is_empty() && !is_account_key(&self.system_account) {
            let key = &self.system_account;
            return Err(broken(format!("{key:?} is not an account public key")));
        }
        Ok(())
    }
}

/// `major.minor.update`; nothing is version 0.
fn parse_version(text: &str) -> Option<[u64; 3]> {
    if text.is_empty() {
        return Some([0; 3]);
    }
    let mut version = [0; 3];
    let mut parts = text.split('.');
    for number in &mut version {
        *number = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then_some(version)
}
