//! An exporting account's permission for one other account to import.

use super::exchange::ExportType;
use super::fields::Fields;
use super::parts::check_subject;
use super::{Claims, ClaimsError, Common, broken, decode};
use crate::auth::nkey::is_account_key;

/// Signed by the exporting account or by one of its signing keys; its subject is the importing
/// account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationClaims {
    pub common: Common,
    /// What may be imported.
    pub subject: String,
    pub kind: ExportType,
    /// The exporting account, if the issuer is a signing key of it.
    pub issuer_account: String,
}

impl ActivationClaims {
    pub(super) fn read(
        common: Common,
        nats: Fields<'_>,
        other: Fields<'_>,
    ) -> Result<Self, ClaimsError> {
        // Version 1 called it by the name that says the kind of claims since.
        let kind = if common.version == 1 { "type" } else { "kind" };
        let claims = Self {
            subject: nats.text("subject")?,
            kind: ExportType::read(nats, kind)?,
            issuer_account: other.text("issuer_account")?,
            common,
        };
        check_subject(&claims.subject)?;
        if !claims.issuer_account.is_empty() && !is_account_key(&claims.issuer_account) {
            return Err(broken("issuer_account is not an account public key"));
        }
        Ok(claims)
    }

    /// Reads an activation token.
    ///
    /// # Errors
    /// It is none, or not sound.
    pub fn decode(token: &str) -> Result<Self, ClaimsError> {
        match decode(token)? {
            Claims::Activation(claims) => Ok(*claims),
            _ => Err(ClaimsError::Kind),
        }
    }

    /// The public key of the exporting account, as the token names it.
    pub fn exporter(&self) -> &str {
        if self.issuer_account.is_empty() {
            &self.common.issuer
        } else {
            &self.issuer_account
        }
    }
}
