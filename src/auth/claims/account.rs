//! What an operator says of an account.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::exchange::{ExportClaims, ExportType, ImportClaims, check_disjoint};
use super::fields::Fields;
use super::parts::{
    JetStreamLimits, PermissionClaims, Revocations, UserLimits, check_subject, has_wildcards,
};
use super::user::UserClaims;
use super::{Claims, ClaimsError, Common, broken, decode};
use crate::auth::nkey::{KeyKind, PublicKey, is_account_key};
use crate::subject::is_subset;

/// Characters of a description or of an address in it.
const INFO_BYTES_MAX: usize = 8 * 1024;
/// Exports or imports of one account; comparing each with each takes time.
const EXCHANGES_MAX: usize = 8192;

/// An account's claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountClaims {
    pub common: Common,
    pub imports: Vec<ImportClaims>,
    pub exports: Vec<ExportClaims>,
    pub limits: AccountLimitClaims,
    /// Keys that sign users; with a scope, users have its permissions.
    pub signing_keys: BTreeMap<String, Option<Scope>>,
    /// Users whose claims are void.
    pub revocations: Revocations,
    pub default_permissions: PermissionClaims,
    /// Publishes to a subject go elsewhere.
    pub mappings: BTreeMap<String, Vec<DestinationClaims>>,
    /// Somebody else decides about its users.
    pub authorization: ExternalAuthorization,
    /// Where traces go, and per cent of sampled messages.
    pub trace: Option<(String, u8)>,
    /// Cluster traffic of its streams belongs to it, not to the system.
    pub owns_cluster_traffic: bool,
}

/// Limits of an account; `None` for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountLimitClaims {
    pub subscriptions: Option<u64>,
    pub data_bytes: Option<u64>,
    pub payload_bytes: Option<u64>,
    pub imports: Option<u64>,
    pub exports: Option<u64>,
    pub wildcard_exports: bool,
    pub disallow_bearer: bool,
    pub connections: Option<u64>,
    pub leafnodes: Option<u64>,
    pub jetstream: JetStreamLimits,
    /// By tier (`R1`, `R3`), instead of `jetstream`.
    pub tiers: BTreeMap<String, JetStreamLimits>,
}

/// What users of a signing key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub key: String,
    pub role: String,
    pub template: UserLimits,
}

/// One destination of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationClaims {
    pub subject: String,
    /// Per cent.
    pub weight: u8,
    pub cluster: String,
}

/// Who decides about users (ADR-26).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalAuthorization {
    /// Public keys of users that are not asked about; nobody is asked if there are none.
    pub users: Vec<String>,
    /// Accounts that users may be put in, besides this one; `*` for any.
    pub allowed_accounts: Vec<String>,
    /// Public curve key for which questions are sealed; empty for none.
    pub xkey: String,
}

impl AccountClaims {
    pub(super) fn read(common: Common, nats: Fields<'_>) -> Result<Self, ClaimsError> {
        let exports = nats.list("exports")?;
        let imports = nats.list("imports")?;
        if exports.len() > EXCHANGES_MAX || imports.len() > EXCHANGES_MAX {
            return Err(broken("too many exports or imports"));
        }
        for list in [nats.text("description")?, nats.text("info_url")?] {
            if list.len() > INFO_BYTES_MAX {
                return Err(broken("description or info url is too long"));
            }
        }
        let trace = match nats.object_option("trace")? {
            None => None,
            Some(trace) => Some((trace.text("dest")?, read_percent(trace, "sampling")?)),
        };
        let authorization = nats.object("authorization")?;
        Ok(Self {
            imports: imports
                .iter()
                .map(ImportClaims::read)
                .collect::<Result<_, _>>()?,
            exports: exports
                .iter()
                .map(ExportClaims::read)
                .collect::<Result<_, _>>()?,
            limits: AccountLimitClaims::read(nats.object("limits")?)?,
            signing_keys: read_signing_keys(nats)?,
            revocations: Revocations::read(nats)?,
            default_permissions: PermissionClaims::read(nats.object("default_permissions")?)?,
            mappings: read_mappings(nats)?,
            authorization: ExternalAuthorization {
                users: authorization.texts("auth_users")?,
                allowed_accounts: authorization.texts("allowed_accounts")?,
                xkey: authorization.text("xkey")?,
            },
            trace,
            owns_cluster_traffic: match nats.text("cluster_traffic")?.as_str() {
                "" | "system" => false,
                "owner" => true,
                _ => return Err(ClaimsError::Field("cluster_traffic")),
            },
            common,
        })
    }

    /// Reads an account's token.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(token: &str) -> Result<Self, ClaimsError> {
        match decode(token)? {
            Claims::Account(claims) => Ok(*claims),
            _ => Err(ClaimsError::Kind),
        }
    }

    /// Whether they are sound. Whether they hold now is another question
    /// ([`Common::check_time`]), and whether the operator is trusted a third.
    ///
    /// # Errors
    /// The rule that they break.
    pub fn check(&self) -> Result<(), ClaimsError> {
        if !is_account_key(&self.common.subject) {
            return Err(broken("subject is not an account public key"));
        }
        self.check_imports()?;
        self.check_exports()?;
        let limits = &self.limits;
        if !limits.tiers.is_empty() && limits.tiers.contains_key("") {
            return Err(broken("a JetStream tier has no name"));
        }
        self.default_permissions.check()?;
        for (source, destinations) in &self.mappings {
            check_mapping(source, destinations)?;
        }
        self.authorization.check()?;
        if let Some((destination, _)) = &self.trace {
            check_subject(destination)?;
            if has_wildcards(destination) {
                return Err(broken("trace destination must not have wildcards"));
            }
        }
        for (key, scope) in &self.signing_keys {
            if !is_account_key(key) {
                return Err(broken(format!("{key:?} is not an account signing key")));
            }
            if let Some(scope) = scope {
                scope.template.restrictions.check()?;
            }
        }
        Ok(())
    }

    fn check_imports(&self) -> Result<(), ClaimsError> {
        if self
            .limits
            .imports
            .is_some_and(|max| self.imports.len() as u64 > max)
        {
            return Err(broken("more imports than allowed by the operator"));
        }
        let mut services: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for import in &self.imports {
            import.check(&self.common.subject)?;
            if import.kind == ExportType::Service {
                let here = if import.to.is_empty() {
                    without_references(import.here().as_deref().unwrap_or(&import.subject))
                } else {
                    import.to.clone()
                };
                services.entry(&import.account).or_default().push(here);
            }
        }
        for subjects in services.values() {
            check_disjoint(subjects.iter().map(String::as_str), "service imports")?;
        }
        Ok(())
    }

    fn check_exports(&self) -> Result<(), ClaimsError> {
        if self
            .limits
            .exports
            .is_some_and(|max| self.exports.len() as u64 > max)
        {
            return Err(broken("more exports than allowed by the operator"));
        }
        let no_wildcards = self.limits.exports.is_some() && !self.limits.wildcard_exports;
        for export in &self.exports {
            export.check()?;
            if no_wildcards && has_wildcards(&export.subject) {
                return Err(broken("wildcard exports are not allowed by the operator"));
            }
        }
        for kind in [ExportType::Service, ExportType::Stream] {
            let of_kind = self.exports.iter().filter(|export| export.kind == kind);
            check_disjoint(of_kind.map(|export| export.subject.as_str()), "exports")?;
        }
        Ok(())
    }

    /// Unix time in seconds at which they end.
    pub fn ends_at(&self) -> Option<u64> {
        let at = u64::try_from(self.common.expires).ok();
        at.filter(|&at| at != 0)
    }

    /// Whether a key may sign for this account, and with which scope. `strict` is the operator's
    /// rule that the account's own key must not.
    pub fn signer(&self, key: &str, strict: bool) -> Option<Option<&Scope>> {
        if !strict && key == self.common.subject {
            return Some(None);
        }
        self.signing_keys.get(key).map(Option::as_ref)
    }

    /// Whether the claims of a user of this account are void.
    pub fn is_revoked(&self, user: &UserClaims) -> bool {
        self.revocations
            .covers(&user.common.subject, user.common.issued_at)
    }

    /// Whether this account lets `importer` have an import of it that needs a token.
    ///
    /// # Errors
    /// Why not. Until when, otherwise: Unix time in seconds, `None` for ever.
    pub fn approves(
        &self,
        importer: &str,
        import: &ImportClaims,
        strict: bool,
        now_unix_s: u64,
    ) -> Result<Option<u64>, ClaimsError> {
        let wanted = import.there();
        let of_kind = |export: &&ExportClaims| export.kind == import.kind;
        let exact = self
            .exports
            .iter()
            .filter(of_kind)
            .find(|e| e.subject == wanted);
        let around = || {
            self.exports
                .iter()
                .filter(of_kind)
                .find(|e| is_subset(wanted.as_bytes(), e.subject.as_bytes()))
        };
        let export = exact
            .or_else(around)
            .ok_or_else(|| broken("there is no such export"))?;
        if let Some(position) = export.account_token_position.checked_sub(1) {
            return match wanted.split('.').nth(position) == Some(importer) {
                true => Ok(None),
                false => Err(broken("the subject does not name the importing account")),
            };
        }
        if !export.token_required {
            return Ok(None);
        }
        let Some(activation) = &import.activation else {
            return Err(broken("an activation token is required"));
        };
        import.check(importer)?;
        let facts = &activation.common;
        if activation.exporter() != self.common.subject
            || import.account != self.common.subject
            // Named as its own issuer the account may always sign, as in nats-server.
            || (!activation.issuer_account.is_empty()
                && self.signer(&facts.issuer, strict).is_none())
        {
            return Err(broken(
                "activation token is not signed by the exporting account",
            ));
        }
        facts.check_time(now_unix_s)?;
        let expires = u64::try_from(facts.expires).ok().filter(|&at| at != 0);
        if expires.is_some_and(|at| at <= now_unix_s) {
            return Err(ClaimsError::Expired);
        }
        if export.revocations.covers(&facts.subject, facts.issued_at) {
            return Err(broken("activation token is revoked"));
        }
        Ok(expires)
    }
}

impl AccountLimitClaims {
    fn read(fields: Fields<'_>) -> Result<Self, ClaimsError> {
        let tiers: BTreeMap<String, JetStreamLimits> = fields
            .object("tiered_limits")?
            .entries()
            .map(|(name, value)| {
                let tier = Fields::of(value, "tiered_limits")?;
                Ok((name.clone(), JetStreamLimits::read(tier)?))
            })
            .collect::<Result<_, ClaimsError>>()?;
        let jetstream = match tiers.is_empty() {
            true => JetStreamLimits::read(fields)?,
            false => JetStreamLimits::default(),
        };
        Ok(Self {
            subscriptions: fields.limit("subs")?,
            data_bytes: fields.limit("data")?,
            payload_bytes: fields.limit("payload")?,
            imports: fields.limit("imports")?,
            exports: fields.limit("exports")?,
            wildcard_exports: fields.flag("wildcards")?,
            disallow_bearer: fields.flag("disallow_bearer")?,
            connections: fields.limit("conn")?,
            leafnodes: fields.limit("leaf")?,
            jetstream,
            tiers,
        })
    }
}

impl ExternalAuthorization {
    /// Whether anybody is asked.
    pub fn is_enabled(&self) -> bool {
        !self.users.is_empty()
    }

    /// Whether users may be put in this other account.
    pub fn allows(&self, account: &str) -> bool {
        self.allowed_accounts == ["*"] || self.allowed_accounts.iter().any(|a| a == account)
    }

    fn check(&self) -> Result<(), ClaimsError> {
        if self.users.is_empty() && !self.allowed_accounts.is_empty() {
            return Err(broken(
                "external authorization cannot have accounts without users",
            ));
        }
        for user in &self.users {
            if PublicKey::parse_kind(user, KeyKind::User).is_none() {
                return Err(broken(format!("{user:?} is not a user public key")));
            }
        }
        for account in &self.allowed_accounts {
            let any = account == "*" && self.allowed_accounts.len() == 1;
            if !any && !is_account_key(account) {
                return Err(broken(format!("{account:?} is not an account public key")));
            }
        }
        if !self.xkey.is_empty() && PublicKey::parse_kind(&self.xkey, KeyKind::Curve).is_none() {
            return Err(broken(format!("{:?} is not a public xkey", self.xkey)));
        }
        Ok(())
    }
}

fn read_signing_keys(nats: Fields<'_>) -> Result<BTreeMap<String, Option<Scope>>, ClaimsError> {
    const NAME: &str = "signing_keys";
    let mut keys = BTreeMap::new();
    for value in nats.list(NAME)? {
        let (key, scope) = match value {
            Value::String(key) => (key.clone(), None),
            Value::Object(_) => {
                let fields = Fields::of(value, NAME)?;
                if fields.text("kind")? != "user_scope" {
                    return Err(ClaimsError::Field(NAME));
                }
                let key = fields.text("key")?;
                let scope = Scope {
                    key: key.clone(),
                    role: fields.text("role")?,
                    template: UserLimits::read(fields.object("template")?, -1)?,
                };
                (key, Some(scope))
            }
            _ => return Err(ClaimsError::Field(NAME)),
        };
        // A key with and without scope: the scope must not be lost by order.
        match keys.get(&key) {
            Some(Some(_)) if scope.is_none() => {}
            _ => drop(keys.insert(key, scope)),
        }
    }
    Ok(keys)
}

fn read_mappings(
    nats: Fields<'_>,
) -> Result<BTreeMap<String, Vec<DestinationClaims>>, ClaimsError> {
    let mut mappings = BTreeMap::new();
    for (source, value) in nats.object("mappings")?.entries() {
        let Value::Array(list) = value else {
            return Err(ClaimsError::Field("mappings"));
        };
        let mut destinations = Vec::with_capacity(list.len().min(128));
        for destination in list {
            let fields = Fields::of(destination, "mappings")?;
            destinations.push(DestinationClaims {
                subject: fields.text("subject")?,
                weight: read_percent(fields, "weight")?,
                cluster: fields.text("cluster")?,
            });
        }
        mappings.insert(source.clone(), destinations);
    }
    Ok(mappings)
}

/// 1 to 100; 0 and nothing are 100.
fn read_percent(fields: Fields<'_>, name: &'static str) -> Result<u8, ClaimsError> {
    match fields.integer(name)? {
        0 => Ok(100),
        percent @ 1..=100 => Ok(percent as u8),
        _ => Err(ClaimsError::Field(name)),
    }
}

fn check_mapping(source: &str, destinations: &[DestinationClaims]) -> Result<(), ClaimsError> {
    check_subject(source)?;
    let clusters: BTreeSet<&str> = destinations.iter().map(|d| d.cluster.as_str()).collect();
    for cluster in clusters {
        let of_cluster = destinations.iter().filter(|d| d.cluster == cluster);
        if of_cluster.map(|d| u64::from(d.weight)).sum::<u64>() > 100 {
            return Err(broken(format!("mapping {source:?} exceeds 100%")));
        }
    }
    destinations
        .iter()
        .try_for_each(|d| check_subject(&d.subject))
}

/// `$1` is `*` to those who compare subjects.
fn without_references(subject: &str) -> String {
    let plain = |token: &'static str, original: &str| match original.strip_prefix('$') {
        Some(number) if number.parse::<u64>().is_ok() => token.to_owned(),
        _ => original.to_owned(),
    };
    let tokens: Vec<String> = subject.split('.').map(|t| plain("*", t)).collect();
    tokens.join(".")
}
