//! Exports and imports in an account's claims, and whether they are sound on their own. Whether
//! an import is allowed is a question to the exporting account (`AccountClaims::approves`).

use serde_json::Value;

use super::activation::ActivationClaims;
use super::fields::Fields;
use super::parts::{Revocations, check_subject, has_wildcards, is_contained};
use super::{ClaimsError, broken};
use crate::auth::definition::{ResponseType, Sampling};

/// What an export or import is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportType {
    Stream,
    Service,
}

impl ExportType {
    pub(super) fn read(fields: Fields<'_>, name: &'static str) -> Result<Self, ClaimsError> {
        match fields.text(name)?.as_str() {
            "stream" => Ok(ExportType::Stream),
            "service" => Ok(ExportType::Service),
            _ => Err(ClaimsError::Field(name)),
        }
    }
}

/// One export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportClaims {
    pub name: String,
    pub subject: String,
    pub kind: ExportType,
    pub token_required: bool,
    /// Activation tokens that are void, by importing account.
    pub revocations: Revocations,
    pub response: Option<ResponseType>,
    pub threshold_ns: i64,
    /// Sampling and where results go.
    pub latency: Option<(Sampling, String)>,
    /// Counted from 1; 0 for none.
    pub account_token_position: usize,
    pub advertise: bool,
    pub allow_trace: bool,
}

impl ExportClaims {
    pub(super) fn read(value: &Value) -> Result<Self, ClaimsError> {
        let fields = Fields::of(value, "exports")?;
        let response = match fields.text("response_type")?.as_str() {
            "" => None,
            "Singleton" => Some(ResponseType::Singleton),
            "Stream" => Some(ResponseType::Stream),
            "Chunked" => Some(ResponseType::Chunked),
            _ => return Err(ClaimsError::Field("response_type")),
        };
        let latency = match fields.object_option("service_latency")? {
            None => None,
            Some(latency) => Some((read_sampling(latency)?, latency.text("results")?)),
        };
        let position = fields.integer("account_token_position")?;
        Ok(Self {
            name: fields.text("name")?,
            subject: fields.text("subject")?,
            kind: ExportType::read(fields, "type")?,
            token_required: fields.flag("token_req")?,
            revocations: Revocations::read(fields)?,
            response,
            threshold_ns: fields.integer("response_threshold")?,
            latency,
            account_token_position: usize::try_from(position)
                .map_err(|_| ClaimsError::Field("account_token_position"))?,
            advertise: fields.flag("advertise")?,
            allow_trace: fields.flag("allow_trace")?,
        })
    }

    pub(super) fn check(&self) -> Result<(), ClaimsError> {
        let subject = &self.subject;
        check_subject(subject)?;
        if self.kind == ExportType::Stream {
            let of_services = self.response.is_some()
                || self.allow_trace
                || self.latency.is_some()
                || self.threshold_ns != 0;
            if of_services {
                return Err(broken(format!(
                    "stream export {subject:?} says what only services can"
                )));
            }
        }
        if self.threshold_ns < 0 {
            return Err(broken("negative response threshold is invalid"));
        }
        if let Some((_, results)) = &self.latency {
            check_subject(results)?;
            if has_wildcards(results) {
                return Err(broken("results subject can not contain wildcards"));
            }
        }
        if let Some(position) = self.account_token_position.checked_sub(1)
            && subject.split('.').nth(position) != Some("*")
        {
            return Err(broken(format!(
                "account token position of {subject:?} must be a *"
            )));
        }
        Ok(())
    }
}

fn read_sampling(latency: Fields<'_>) -> Result<Sampling, ClaimsError> {
    match latency.get("sampling") {
        Some(Value::String(text)) if text.eq_ignore_ascii_case("headers") => Ok(Sampling::Headers),
        None => Ok(Sampling::Headers),
        Some(value) => match value.as_i64() {
            Some(0) => Ok(Sampling::Headers),
            Some(percent @ 1..=100) => Ok(Sampling::Percent(percent as u8)),
            _ => Err(ClaimsError::Field("sampling")),
        },
    }
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportClaims {
    pub name: String,
    /// For services without `local_subject` the subject here, else the subject there.
    pub subject: String,
    /// The exporting account.
    pub account: String,
    /// The activation token, read and bound to this import.
    pub activation: Option<Box<ActivationClaims>>,
    /// The old way to rename: a prefix here for streams, the subject there for services.
    pub to: String,
    /// The subject here.
    pub local_subject: String,
    pub kind: ExportType,
    pub share: bool,
    pub allow_trace: bool,
}

impl ImportClaims {
    pub(super) fn read(value: &Value) -> Result<Self, ClaimsError> {
        let fields = Fields::of(value, "imports")?;
        let token = fields.text("token")?;
        Ok(Self {
            name: fields.text("name")?,
            subject: fields.text("subject")?,
            account: fields.text("account")?,
            activation: match token.as_str() {
                "" => None,
                token => Some(Box::new(ActivationClaims::decode(token)?)),
            },
            to: fields.text("to")?,
            local_subject: fields.text("local_subject")?,
            kind: ExportType::read(fields, "type")?,
            share: fields.flag("share")?,
            allow_trace: fields.flag("allow_trace")?,
        })
    }

    /// The subject in the exporting account.
    pub fn there(&self) -> &str {
        if self.kind == ExportType::Service && self.local_subject.is_empty() && !self.to.is_empty()
        {
            &self.to
        } else {
            &self.subject
        }
    }

    /// The subject here, where it differs.
    pub fn here(&self) -> Option<String> {
        match (self.kind, self.local_subject.as_str(), self.to.as_str()) {
            (_, "", "") => None,
            (ExportType::Service, "", _) => Some(self.subject.clone()),
            (ExportType::Stream, "", prefix) => {
                Some(format!("{}.{}", prefix.trim_end_matches('.'), self.subject))
            }
            (_, local, _) => Some(local.to_owned()),
        }
    }

    /// Whether it is sound, and its token, if it has one, is for this account and this import:
    /// anything else in it is no permission (CVE-2021-3127).
    pub(super) fn check(&self, importer: &str) -> Result<(), ClaimsError> {
        let subject = &self.subject;
        if self.account.is_empty() {
            return Err(broken("account to import from is not specified"));
        }
        check_subject(subject)?;
        if self.kind == ExportType::Service && self.allow_trace {
            return Err(broken("allow_trace is only valid for stream imports"));
        }
        if self.kind == ExportType::Stream && self.share {
            return Err(broken("sharing information is only valid for services"));
        }
        if !self.local_subject.is_empty() {
            check_renaming(&self.local_subject, subject)?;
            if !self.to.is_empty() {
                return Err(broken("local_subject replaces to"));
            }
        }
        let Some(activation) = &self.activation else {
            return Ok(());
        };
        let bound = activation.exporter() == self.account
            && activation.common.subject == importer
            && activation.kind == self.kind
            && is_contained(self.there(), &activation.subject);
        if !bound {
            return Err(broken(format!(
                "activation token is not for import {subject:?}"
            )));
        }
        Ok(())
    }
}

/// A renaming uses each wildcard of the renamed subject once, as `*` or `$1`.
fn check_renaming(local: &str, subject: &str) -> Result<(), ClaimsError> {
    check_subject(local)?;
    let ends_open = |subject: &str| subject == ">" || subject.ends_with(".>");
    if ends_open(local) != ends_open(subject) {
        return Err(broken(format!(
            "{local:?} and {subject:?} must both end in > or neither"
        )));
    }
    let wildcards = subject.split('.').filter(|&token| token == "*").count();
    let mut used = 0;
    for token in local.split('.') {
        if token == "*" {
            used += 1;
        } else if let Some(Ok(number)) = token.strip_prefix('$').map(str::parse::<usize>) {
            if number > wildcards {
                return Err(broken(format!(
                    "{local:?} refers to a * that {subject:?} has not"
                )));
            }
            used += 1;
        }
    }
    if used != wildcards {
        return Err(broken(format!(
            "{local:?} does not use each * of {subject:?}"
        )));
    }
    Ok(())
}

/// Whether no subject of the list lies within another: exports of one kind must not overlap so.
pub(super) fn check_disjoint<'a>(
    subjects: impl Iterator<Item = &'a str>,
    what: &str,
) -> Result<(), ClaimsError> {
    let subjects: Vec<&str> = subjects.collect();
    for (i, one) in subjects.iter().enumerate() {
        for other in &subjects[i + 1..] {
            if is_contained(one, other) || is_contained(other, one) {
                return Err(broken(format!("overlapping {what} {one:?} and {other:?}")));
            }
        }
    }
    Ok(())
}
