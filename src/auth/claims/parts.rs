//! What claims of several kinds are made of: permissions, limits, revocations, and the rules for
//! subjects in tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fields::Fields;
use super::restrictions::Restrictions;
use super::{ClaimsError, broken};
use crate::auth::definition::{PermissionRules, ResponseRules, SubjectRules};

/// Permissions as a token says them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissionClaims {
    pub publish: SubjectClaims,
    pub subscribe: SubjectClaims,
    /// Messages and nanoseconds; 0 for the default, negative for no limit.
    pub responses: Option<(i64, i64)>,
}

/// `None` where the token says nothing, which is not the same as an empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectClaims {
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
}

impl SubjectClaims {
    fn read(fields: Fields<'_>) -> Result<Self, ClaimsError> {
        Ok(Self {
            allow: fields
                .get("allow")
                .map(|_| fields.texts("allow"))
                .transpose()?,
            deny: fields.texts("deny")?,
        })
    }

    pub fn allowed(&self) -> &[String] {
        self.allow.as_deref().unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.allowed().is_empty() && self.deny.is_empty()
    }

    fn check(&self, with_queue: bool) -> Result<(), ClaimsError> {
        for entry in self.allowed().iter().chain(&self.deny) {
            let mut words = entry.split(' ');
            let subject = words.next().unwrap_or_default();
            check_subject(subject)?;
            if let Some(queue) = words.next() {
                check_subject(queue)?;
                if !with_queue || words.next().is_some() {
                    return Err(broken(format!("permission subject {entry:?} has spaces")));
                }
            }
        }
        Ok(())
    }

    /// Lists without entries are as good as none, unless the other has some.
    fn rules(&self) -> SubjectRules {
        if self.is_empty() {
            return SubjectRules::default();
        }
        SubjectRules {
            allow: self.allow.clone(),
            deny: self.deny.clone(),
        }
    }
}

impl PermissionClaims {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, ClaimsError> {
        let responses = match fields.object_option("resp")? {
            None => None,
            Some(responses) => Some((responses.integer("max")?, responses.integer("ttl")?)),
        };
        Ok(Self {
            publish: SubjectClaims::read(fields.object("pub")?)?,
            subscribe: SubjectClaims::read(fields.object("sub")?)?,
            responses,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty() && self.responses.is_none()
    }

    pub(super) fn check(&self) -> Result<(), ClaimsError> {
        self.subscribe.check(true)?;
        self.publish.check(false)
    }

    /// The rules; `None` if the token says none.
    pub fn rules(&self) -> Option<PermissionRules> {
        if self.is_empty() {
            return None;
        }
        let defaults = ResponseRules::default();
        let responses = self.responses.map(|(max, expires_ns)| ResponseRules {
            max: match max {
                0 => defaults.max,
                max => u64::try_from(max).ok(),
            },
            expires: match expires_ns {
                0 => defaults.expires,
                ns => u64::try_from(ns).ok().map(Duration::from_nanos),
            },
        });
        Some(with_responses_only(PermissionRules {
            publish: self.publish.rules(),
            subscribe: self.subscribe.rules(),
            responses,
        }))
    }
}

/// Who is allowed to give replies and is not told what else to publish may publish nothing else.
pub fn with_responses_only(mut rules: PermissionRules) -> PermissionRules {
    if rules.responses.is_some() && rules.publish.allow.is_none() {
        rules.publish.allow = Some(Vec::new());
    }
    rules
}

/// What a user may do and use: in its own token, or in the template of a scoped signing key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserLimits {
    pub permissions: PermissionClaims,
    /// Subscriptions; `None` for no limit.
    pub subscriptions: Option<u64>,
    /// Bytes in all, which no server counts.
    pub data_bytes: Option<u64>,
    /// Bytes of a message.
    pub payload_bytes: Option<u64>,
    /// From where and when.
    pub restrictions: Restrictions,
    /// The nonce need not be signed.
    pub bearer: bool,
    pub proxy_required: bool,
    /// As spelled; unknown ones are no error.
    pub connection_types: Vec<String>,
}

impl UserLimits {
    /// `missing` is the limit where the token says none.
    pub(super) fn read(fields: Fields<'_>, missing: i64) -> Result<Self, ClaimsError> {
        Ok(Self {
            permissions: PermissionClaims::read(fields)?,
            subscriptions: fields.limit_or("subs", missing)?,
            data_bytes: fields.limit_or("data", missing)?,
            payload_bytes: fields.limit_or("payload", missing)?,
            restrictions: Restrictions::read(fields)?,
            bearer: fields.flag("bearer_token")?,
            proxy_required: fields.flag("proxy_required")?,
            connection_types: fields.texts("allowed_connection_types")?,
        })
    }

    /// Whether the token says nothing at all, as a scoped user's must not.
    pub fn is_empty(&self) -> bool {
        self.permissions.is_empty()
            && [self.subscriptions, self.data_bytes, self.payload_bytes] == [Some(0); 3]
            && self.restrictions.is_empty()
            && !self.bearer
            && !self.proxy_required
            && self.connection_types.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), ClaimsError> {
        self.permissions.check()?;
        self.restrictions.check()
    }
}

/// Public keys whose claims up to a time are void; `*` for all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(pub BTreeMap<String, i64>);

impl Revocations {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, ClaimsError> {
        let map = fields.object("revocations")?;
        map.entries()
            .map(|(key, at)| {
                let at = at.as_i64().ok_or(ClaimsError::Field("revocations"))?;
                Ok((key.clone(), at))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether claims for this key, issued then, are void.
    pub fn covers(&self, key: &str, issued_at: i64) -> bool {
        [key, "*"]
            .iter()
            .any(|key| self.0.get(*key).is_some_and(|&at| at >= issued_at))
    }
}

/// What an account may store. Kept as the token says it: -1 for no limit, 0 for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JetStreamLimits {
    pub memory_bytes: i64,
    pub disk_bytes: i64,
    pub streams: i64,
    pub consumers: i64,
    pub ack_pending: i64,
    pub memory_stream_bytes: i64,
    pub disk_stream_bytes: i64,
    pub stream_bytes_required: bool,
}

impl JetStreamLimits {
    /// No limits.
    pub const UNLIMITED: Self = Self {
        memory_bytes: -1,
        disk_bytes: -1,
        streams: -1,
        consumers: -1,
        ack_pending: -1,
        memory_stream_bytes: -1,
        disk_stream_bytes: -1,
        stream_bytes_required: false,
    };

    /// Whether anything may be stored.
    pub(super) fn is_anything(&self) -> bool {
        self.memory_bytes != 0 || self.disk_bytes != 0
    }

    /// As the server means it: what need not be said is no limit if it is 0.
    pub(super) fn for_server(&self) -> Self {
        let or_unlimited = |limit: i64| if limit == 0 { -1 } else { limit };
        Self {
            ack_pending: or_unlimited(self.ack_pending),
            memory_stream_bytes: or_unlimited(self.memory_stream_bytes),
            disk_stream_bytes: or_unlimited(self.disk_stream_bytes),
            ..self.clone()
        }
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<Self, ClaimsError> {
        Ok(Self {
            memory_bytes: fields.integer("mem_storage")?,
            disk_bytes: fields.integer("disk_storage")?,
            streams: fields.integer("streams")?,
            consumers: fields.integer("consumer")?,
            ack_pending: fields.integer("max_ack_pending")?,
            memory_stream_bytes: fields.integer("mem_max_stream_bytes")?,
            disk_stream_bytes: fields.integer("disk_max_stream_bytes")?,
            stream_bytes_required: fields.flag("max_bytes_required")?,
        })
    }
}

/// A subject as tokens may have it: what the library checks, and not more.
pub(super) fn check_subject(subject: &str) -> Result<(), ClaimsError> {
    let wrong = subject.is_empty()
        || subject.contains(' ')
        || subject.starts_with('.')
        || subject.ends_with('.')
        || subject.contains("..");
    if wrong {
        return Err(broken(format!("subject {subject:?} is not valid")));
    }
    Ok(())
}

/// Whether a token of `subject` is a wildcard.
pub(super) fn has_wildcards(subject: &str) -> bool {
    subject == ">" || subject.ends_with(".>") || subject.split('.').any(|token| token == "*")
}

/// Whether all that `subject` matches is matched by `other`.
pub(super) fn is_contained(subject: &str, other: &str) -> bool {
    let mut mine = subject.split('.');
    let mut others = other.split('.').peekable();
    while let Some(wanted) = others.next() {
        let Some(token) = mine.next() else {
            return false;
        };
        if wanted == ">" && others.peek().is_none() {
            return true;
        }
        if wanted != token && wanted != "*" {
            return false;
        }
    }
    mine.next().is_none()
}
