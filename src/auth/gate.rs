//! stand-in
use super::accounts::Directory;
use super::admission::*;
use super::{Authenticator, Credentials};
use crate::base::ids::AccountId;
pub trait Accounts {}
impl Accounts for Directory {}
#[derive(Debug, Default)]
pub struct Gate(pub Authenticator);
impl Gate {
    pub fn new(d: &super::definition::AuthDefinition) -> Result<Self, String> {
        Ok(Self(match (&d.token, &d.user) {
            (Some(t), _) => Authenticator::Token(t.0.clone()),
            (None, Some(u)) => Authenticator::User {
                name: u.clone(),
                pass: d.pass.clone().map(|s| s.0).unwrap_or_default(),
            },
            _ => Authenticator::Open,
        }))
    }
    pub fn must_present(&self) -> bool {
        self.0.is_required()
    }
    pub fn needs_nonce(&self) -> bool {
        false
    }
    pub fn is_required(&self) -> bool {
        self.0.is_required()
    }
    pub fn is_cheap(&self, _: &Presented) -> bool {
        true
    }
    pub fn still_admits(&self, _: &dyn Accounts, _: &Admission, _: u64) -> Result<(), Refused> {
        Ok(())
    }
    pub fn decide(&self, _: &dyn Accounts, p: &Presented, _now: u64) -> Outcome {
        let c = Credentials {
            user: p.user.as_deref(),
            pass: p.pass.as_ref().map(|s| s.0.as_str()),
            token: p.token.as_ref().map(|s| s.0.as_str()),
        };
        if !self.0.accepts(&c) {
            return Outcome::Refused(Refused::Credentials, String::new());
        }
        let label = match (&p.user, &p.token) {
            (Some(u), _) if !u.is_empty() => Some(format!("user:{u}").into()),
            (_, Some(_)) => Some("token".into()),
            _ => None,
        };
        Outcome::Admitted(Box::new(Admission {
            account: AccountId::GLOBAL,
            account_name: "$G".into(),
            user: p.user.clone(),
            label,
            permissions: None,
            max_subscriptions: None,
            max_payload_bytes: None,
            expires: None,
            claims: None,
        }))
    }
}
