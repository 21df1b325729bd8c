//! Users, tokens and nkeys that stand in the configuration.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Refusal, Standing, check_signature, credential, permissions};
use crate::auth::accounts::GLOBAL_NAME;
use crate::auth::admission::{Admission, Credential, Presented, Refused};
use crate::auth::certificate::{DistinguishedName, Identity};
use crate::auth::definition::{AuthDefinition, ConnectionType, Secret, UserDefinition};
use crate::auth::nkey::{KeyKind, PublicKey};
use crate::auth::password::{Password, same};
use crate::auth::permissions::Permissions;

/// Everybody in the configuration, by how they show who they are.
#[derive(Debug, Default)]
pub struct Users {
    by_nkey: HashMap<String, Known>,
    by_name: HashMap<String, Known>,
    /// Names of users that are subjects of certificates.
    subjects: Vec<(DistinguishedName, String)>,
    token: Option<Password>,
    token_credential: Credential,
    /// The one user beside or instead of the others.
    single: Option<(String, Password)>,
    single_credential: Credential,
    no_auth_user: Option<String>,
    /// Compared with for users that do not exist, so that it takes as long.
    decoy: Option<Password>,
    /// Users without a password are known by certificates, maybe on another listener.
    certificates_only: bool,
}

/// One user.
#[derive(Debug)]
struct Known {
    key: Option<PublicKey>,
    /// `None` for one that has no password.
    password: Option<Password>,
    account: String,
    permissions: Option<Arc<Permissions>>,
    connection_types: Option<BTreeSet<ConnectionType>>,
    proxy_required: bool,
    credential: Credential,
}

/// Who a connection is.
#[derive(Debug)]
pub struct Identified<'a> {
    /// As configured; empty for one by token, or by nothing.
    pub name: &'a str,
    pub account: &'a str,
    pub permissions: Option<Arc<Permissions>>,
    /// For monitoring.
    pub shown: Option<String>,
    /// For the log.
    pub label: Option<String>,
    pub proxy_required: bool,
    pub credential: Credential,
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err((Refused::Credentials, why.into()))
}

impl Users {
    pub fn new(definition: &AuthDefinition) -> Result<Self, String> {
        let mut users = Self {
            token: definition.token.as_ref().map(Password::new),
            no_auth_user: definition.no_auth_user.clone(),
            certificates_only: definition.map_certificates,
            ..Self::default()
        };
        if let Some(token) = &definition.token {
            // One that came empty out of the environment must not open the door.
            if token.0.is_empty() {
                return Err("authorization token is empty".to_owned());
            }
            users.token_credential = credential(&["token", &token.0]);
        }
        if let Some(name) = &definition.user {
            if name.is_empty() {
                return Err("authorization user is empty".to_owned());
            }
            let pass = definition
                .pass
                .clone()
                .unwrap_or_else(|| Secret(String::new()));
            users.single_credential = credential(&["user", name, GLOBAL_NAME, &pass.0]);
            users.single = Some((name.clone(), Password::new(&pass)));
        }
        let service = definition
            .callout
            .as_ref()
            .map(|callout| callout.account.as_str());
        for user in &definition.users {
            users.add(user, service)?;
        }
        if let Some(name) = &definition.no_auth_user
            && !users.by_name.contains_key(name)
            && !users.by_nkey.contains_key(name)
        {
            return Err(format!(
                "no_auth_user: {name:?} not present as user or nkey in authorization block or account configuration"
            ));
        }
        let passwords = users
            .by_name
            .values()
            .filter_map(|known| known.password.as_ref());
        users.decoy = passwords
            .into_iter()
            .find(|password| password.is_slow())
            .cloned();
        Ok(users)
    }

    fn add(&mut self, user: &UserDefinition, service: Option<&str>) -> Result<(), String> {
        let account = user.account.as_deref().unwrap_or(GLOBAL_NAME);
        let whom = user.nkey.as_ref().or(user.name.as_ref());
        let whom = whom.ok_or("a user has neither name nor nkey")?.clone();
        let pass = user.pass.as_ref().map_or("", |pass| pass.0.as_str());
        let kind = if user.nkey.is_some() { "nkey" } else { "user" };
        let known = Known {
            key: match &user.nkey {
                None => None,
                Some(nkey) => Some(
                    PublicKey::parse_kind(nkey, KeyKind::User)
                        .ok_or_else(|| format!("{nkey:?} is not a valid public nkey for a user"))?,
                ),
            },
            password: user
                .pass
                .as_ref()
                .filter(|pass| !pass.0.is_empty())
                .map(Password::new),
            account: account.to_owned(),
            permissions: permissions(user.permissions.clone(), service == Some(account))
                .map_err(|error| format!("invalid permissions for {kind} {whom:?}: {error}"))?,
            connection_types: user
                .connection_types
                .clone()
                .filter(|types| !types.is_empty()),
            proxy_required: user.proxy_required,
            credential: credential(&[kind, &whom, account, pass]),
        };
        let taken = if known.key.is_some() {
            self.by_nkey.insert(whom.clone(), known)
        } else {
            if let Some(subject) = DistinguishedName::parse(&whom) {
                self.subjects.push((subject, whom.clone()));
            }
            self.by_name.insert(whom.clone(), known)
        };
        match taken {
            None => Ok(()),
            Some(_) => Err(format!("duplicate {kind} {whom:?} detected")),
        }
    }

    /// Whether those who present nothing are somebody.
    pub fn have_anonymous(&self) -> bool {
        self.no_auth_user.is_some()
    }

    /// Whether nobody has to present anything.
    pub fn is_open(&self) -> bool {
        self.by_nkey.is_empty()
            && self.by_name.is_empty()
            && self.token.is_none()
            && self.single.is_none()
    }

    pub fn have_nkeys(&self) -> bool {
        !self.by_nkey.is_empty()
    }

    /// Whether something that is nobody's in particular lets in: the token, the single user, or nothing at all.
    fn lets_in(&self, credential: Credential) -> bool {
        (self.token.is_some() && credential == self.token_credential)
            || (self.single.is_some() && credential == self.single_credential)
            || (self.is_open() && credential == Credential::default())
    }

    /// What somebody who was let in may do now. Whoever is no longer there, or is in another account, goes without
    /// a word, as with nats-server; a secret that has changed is a violation.
    pub fn stands(&self, admission: &Admission) -> Result<Standing, Refused> {
        let label = admission.label.as_deref().unwrap_or_default();
        let known = match label.split_once(':') {
            Some(("nkey", key)) => self.by_nkey.get(key),
            Some(("user", name)) => self.by_name.get(name),
            Some(_) | None => None,
        };
        match known {
            Some(known) if known.credential == admission.credential => {
                let types = known.connection_types.as_ref();
                // Other listeners have their own say, when there are any.
                if types.is_some_and(|types| !types.contains(&ConnectionType::Standard)) {
                    return Err(Refused::Credentials);
                }
                match are_same(known.permissions.as_ref(), admission.permissions.as_ref()) {
                    true => Ok(Standing::Same),
                    false => Ok(Standing::Changed(known.permissions.clone())),
                }
            }
            Some(known) if *known.account == *admission.account_name => Err(Refused::Credentials),
            Some(_) => Err(Refused::Moved),
            None if self.lets_in(admission.credential) => Ok(Standing::Same),
            None if label.contains(':') => Err(Refused::Moved),
            None => Err(Refused::Credentials),
        }
    }

    /// Whether [`Users::identify`] takes no longer than a few comparisons.
    pub fn are_cheap(&self, presented: &Presented, maps: bool) -> bool {
        let signed = self.have_nkeys() && given(presented.nkey.as_deref());
        let mapped = maps && !self.by_name.is_empty();
        let slow = |password: Option<&Password>, presented: &Option<Secret>| {
            presented.is_some() && password.is_some_and(Password::is_slow)
        };
        let name = presented.user.as_deref().filter(|name| !name.is_empty());
        let of_user = name.and_then(|name| match self.by_name.get(name) {
            Some(known) => known.password.as_ref(),
            None => self.decoy.as_ref(),
        });
        let of_single = self.single.as_ref().map(|(_, password)| password);
        !signed
            && !mapped
            && !slow(of_user, &presented.pass)
            && !slow(of_single, &presented.pass)
            && !slow(self.token.as_ref(), &presented.token)
    }

    /// Who it is.
    pub fn identify(&self, presented: &Presented, maps: bool) -> Result<Identified<'_>, Refusal> {
        if self.have_nkeys()
            && let Some(nkey) = self.presented_nkey(presented)
        {
            return self.by_signature(nkey, presented);
        }
        if !self.by_name.is_empty() {
            if maps {
                return self.by_certificate(presented);
            }
            if let Some(name) = presented.user.as_deref().filter(|name| !name.is_empty()) {
                return self.by_password(name, presented);
            }
            if let Some(name) = self.no_auth_user.as_deref()
                && let Some((name, known)) = self.by_name.get_key_value(name)
                && is_anonymous(presented)
            {
                known.check_type(presented)?;
                return Ok(known.identified(name, "user"));
            }
        }
        self.by_simple_means(presented)
    }

    /// The nkey to look up: what was presented, or that of those who present nothing.
    fn presented_nkey<'a>(&'a self, presented: &'a Presented) -> Option<&'a str> {
        let nkey = presented.nkey.as_deref().filter(|nkey| !nkey.is_empty());
        let nobody = || {
            let name = self.no_auth_user.as_deref()?;
            (is_anonymous(presented) && self.by_nkey.contains_key(name)).then_some(name)
        };
        nkey.or_else(nobody)
    }

    fn by_signature(&self, nkey: &str, presented: &Presented) -> Result<Identified<'_>, Refusal> {
        let Some((nkey, known)) = self.by_nkey.get_key_value(nkey) else {
            return refuse("nkey is not known");
        };
        known.check_type(presented)?;
        // Whoever presents nothing is this user anyway.
        if self.no_auth_user.as_ref() != Some(nkey) {
            let key = known.key.as_ref();
            let key =
                key.ok_or_else(|| (Refused::Credentials, "user nkey not valid".to_owned()))?;
            check_signature(presented, key)?;
        }
        Ok(known.identified(nkey, "nkey"))
    }

    fn by_password(&self, name: &str, presented: &Presented) -> Result<Identified<'_>, Refusal> {
        let pass = presented.pass.as_ref();
        let Some((name, known)) = self.by_name.get_key_value(name) else {
            if let Some(decoy) = &self.decoy {
                decoy.matches(pass);
            }
            return refuse("user is not known");
        };
        let matches = match &known.password {
            Some(password) => password.matches(pass),
            // One without a password is known by its certificate, where certificates count.
            None => !self.certificates_only && pass.is_none_or(|pass| pass.0.is_empty()),
        };
        if !matches {
            return refuse("password does not match");
        }
        known.check_type(presented)?;
        Ok(known.identified(name, "user"))
    }

    fn by_certificate(&self, presented: &Presented) -> Result<Identified<'_>, Refusal> {
        let certificate = presented
            .tls
            .as_ref()
            .and_then(|tls| tls.peer_certificates.first());
        let Some(certificate) = certificate else {
            return refuse("user required in cert, no peer certificates found");
        };
        let Some(identity) = Identity::of(certificate) else {
            return refuse("user required in cert, none found");
        };
        let Some((name, known)) = self.named_by(&identity, presented) else {
            return refuse("user in cert not found");
        };
        // As in nats-server, one that has a password as well must say it.
        let pass = presented.pass.as_ref();
        let matches = match &known.password {
            Some(password) => password.matches(pass),
            None => pass.is_none_or(|pass| pass.0.is_empty()),
        };
        match matches {
            true => Ok(known.identified(name, "user")),
            false => refuse("password does not match"),
        }
    }

    /// The user of a certificate, among those that may connect in this way.
    fn named_by(&self, identity: &Identity, presented: &Presented) -> Option<(&String, &Known)> {
        let by_name = |name: &String| {
            let found = self.by_name.get_key_value(name);
            found.filter(|(_, known)| known.check_type(presented).is_ok())
        };
        if let Some(found) = identity.alternative_names.iter().find_map(by_name) {
            return Some(found);
        }
        if let Some(subject) = &identity.subject {
            let steps = [
                DistinguishedName::is_same,
                DistinguishedName::has_same_steps,
            ];
            for fits in steps {
                let mut users = self.subjects.iter().filter(|(name, _)| fits(name, subject));
                if let Some(found) = users.find_map(|(_, name)| by_name(name)) {
                    return Some(found);
                }
            }
        }
        identity.subject_texts.iter().find_map(by_name)
    }

    fn by_simple_means(&self, presented: &Presented) -> Result<Identified<'_>, Refusal> {
        let nobody = Identified {
            name: "",
            account: GLOBAL_NAME,
            permissions: None,
            shown: None,
            label: None,
            proxy_required: false,
            credential: Credential::default(),
        };
        if let Some(token) = &self.token {
            let presented = presented.token.as_ref();
            return match presented.is_some() && token.matches(presented) {
                true => Ok(Identified {
                    shown: Some("[REDACTED]".to_owned()),
                    label: Some("token".to_owned()),
                    credential: self.token_credential,
                    ..nobody
                }),
                false => refuse("token does not match"),
            };
        }
        if let Some((name, password)) = &self.single {
            // Both are always compared.
            let right_name = same(name, presented.user.as_deref().unwrap_or_default());
            let right_password = password.matches(presented.pass.as_ref());
            return match right_name & right_password {
                true => Ok(Identified {
                    name,
                    shown: Some(name.clone()),
                    label: Some(format!("user:{name}")),
                    credential: self.single_credential,
                    ..nobody
                }),
                false => refuse("user or password does not match"),
            };
        }
        if !self.is_open() {
            return refuse("nothing presented");
        }
        // Shown as presented: anybody may be called anything.
        let shown = presented.shown_user();
        let label = shown.map(|shown| match () {
            () if given(presented.nkey.as_deref()) => format!("nkey:{shown}"),
            () if given(presented.user.as_deref()) => format!("user:{shown}"),
            () => "token".to_owned(),
        });
        Ok(Identified {
            shown: shown.map(str::to_owned),
            label,
            ..nobody
        })
    }
}

impl Known {
    fn check_type(&self, presented: &Presented) -> Result<(), Refusal> {
        match &self.connection_types {
            Some(types) if !types.contains(&presented.connection_type) => {
                refuse("connection type not allowed")
            }
            _ => Ok(()),
        }
    }

    fn identified<'a>(&'a self, name: &'a str, kind: &str) -> Identified<'a> {
        Identified {
            name,
            account: &self.account,
            permissions: self.permissions.clone(),
            shown: Some(name.to_owned()),
            label: Some(format!("{kind}:{name}")),
            proxy_required: self.proxy_required,
            credential: self.credential,
        }
    }
}

fn given(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

/// Whether nothing was presented that could be wrong. A key is looked up before this is asked; where nobody has one it counts
/// for nothing, as in nats-server: its bearer could as well have kept it to itself.
fn is_anonymous(presented: &Presented) -> bool {
    let secret =
        |secret: &Option<Secret>| secret.as_ref().is_some_and(|secret| !secret.0.is_empty());
    !given(presented.user.as_deref()) && !secret(&presented.pass) && !secret(&presented.token)
}

/// Whether two sets of permissions say the same. Asked for everybody who is connected when a configuration is read again,
/// in one turn of a shard: most have the very same ones, and what is compared is not copied.
fn are_same(one: Option<&Arc<Permissions>>, other: Option<&Arc<Permissions>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.rules() == other.rules(),
        (Some(_), None) | (None, Some(_)) => false,
    }
}
