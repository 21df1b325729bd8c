//! The accounts of the server and what flows between them: imports and exports, checked.
//!
//! A [`Directory`] is made whole from definitions and never changes; a new one replaces it. An
//! account keeps its number and its count of connections from one to the next, because sessions
//! and interest speak of it by number.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::definition::{
    AccountDefinition, AccountLimits, ExportDefinition, ExportKind, ImportDefinition, ImportKind,
    JetStreamAccess, JetStreamLimits, LatencyDefinition, ResponseType, TraceDefinition,
};
use super::mapping::Mappings;
use super::system_imports::SYSTEM_IMPORTS;
use crate::base::ids::AccountId;
use crate::base::limits::ACCOUNTS_MAX;
use crate::subject::{self, Transform};

/// The global account's name.
pub const GLOBAL_NAME: &str = "$G";
/// The system account's name where none is configured.
pub const SYSTEM_NAME: &str = "$SYS";

/// How long a response may take where the export does not say.
const RESPONSE_TIME: Duration = Duration::from_secs(120);
/// Accounts that a chain of imports may pass.
const CHAIN_MAX: usize = 64;

/// Why accounts do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountError {
    /// The account whose definition is wrong.
    pub account: String,
    /// What is wrong with it.
    pub text: String,
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {:?}: {}", self.account, self.text)
    }
}

/// Messages of one account that another one sees, from the exporter's side.
#[derive(Clone, Debug)]
pub struct StreamImport {
    /// Subjects in the exporting account.
    pub from: Box<[u8]>,
    /// The exporting account.
    pub exporter: AccountId,
    /// The importing account.
    pub importer: AccountId,
    /// From the exporter's subject to the importer's; `None` where they are equal.
    pub there: Option<Transform>,
    /// And back.
    pub back: Option<Transform>,
    /// Subjects in the importing account.
    pub to: Box<[u8]>,
    /// Tracing goes on in the importing account.
    pub allow_trace: bool,
}

/// Requests of one account that another one answers, from the importer's side.
#[derive(Clone, Debug)]
pub struct ServiceImport {
    /// Subjects in the importing account.
    pub from: Box<[u8]>,
    /// The subject in the exporting account.
    pub to: Box<[u8]>,
    /// From the importer's subject to the exporter's; `None` where they are equal.
    pub there: Option<Transform>,
    pub exporter: AccountId,
    pub importer: AccountId,
    pub response: ResponseType,
    /// How long responses may take.
    pub threshold: Duration,
    pub latency: Option<LatencyDefinition>,
    /// The service is told all about who asks.
    pub share: bool,
    /// Tracing goes on in the exporting account.
    pub allow_trace: bool,
}

/// One account.
#[derive(Debug)]
pub struct Account {
    pub id: AccountId,
    pub name: Arc<str>,
    pub definition: Arc<AccountDefinition>,
    /// Where its publishes really go; `None` when there is nothing to look up.
    pub mappings: Option<Mappings>,
    /// It is defined no more, and keeps its number only.
    pub gone: bool,
    /// Client connections, on all shards and in all directories that knew it.
    pub connections: Arc<AtomicU64>,
}

impl Account {
    pub fn limits(&self) -> &AccountLimits {
        &self.definition.limits
    }

    /// What of JetStream it may use by its own definition; see [`Directory::jetstream`].
    pub fn jetstream(&self) -> &JetStreamAccess {
        &self.definition.jetstream
    }

    pub fn trace(&self) -> Option<&TraceDefinition> {
        self.definition.trace.as_ref()
    }

    /// Counts a connection in; false, and nothing counted, when there are too many.
    pub fn enter(&self) -> bool {
        let most = self.limits().connections.unwrap_or(u64::MAX);
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < most).then_some(now + 1)
            })
            .is_ok()
    }

    /// Counts a connection out if there are more than there may be now; whether there were.
    pub fn leave_if_too_many(&self) -> bool {
        let most = self.limits().connections.unwrap_or(u64::MAX);
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now > most).then_some(now - 1)
            })
            .is_ok()
    }

    /// Counts it out.
    pub fn leave(&self) {
        let before = self.connections.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "who leaves has entered");
    }
}

/// All accounts and what flows between them.
#[derive(Debug)]
pub struct Directory {
    accounts: Vec<Arc<Account>>,
    by_name: HashMap<Arc<str>, AccountId>,
    /// `None` when there shall be none.
    pub system: Option<AccountId>,
    pub streams: Vec<StreamImport>,
    pub services: Vec<ServiceImport>,
    /// What could not be joined, of accounts whose claims say so.
    pub rejected: Vec<AccountError>,
}

/// How strict to be with imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imports {
    /// A wrong one is an error: they are the operator's own words.
    MustFit,
    /// A wrong one is left out: they are tenants' words, and what they import may come later.
    MayFail,
}

impl Directory {
    /// A server without configured accounts.
    pub fn bare() -> Self {
        Self::new(&[], SYSTEM_NAME, Imports::MustFit, None).expect("no account, no mistake")
    }

    /// Joins accounts. `system` is the system account's name, or empty for none; it and the
    /// global account are made where no definition names them. Accounts that `before` knew keep
    /// their numbers.
    ///
    /// # Errors
    /// With [`Imports::MustFit`] an import that no export allows, or that forms a cycle.
    pub fn new(
        definitions: &[Arc<AccountDefinition>],
        system: &str,
        imports: Imports,
        before: Option<&Directory>,
    ) -> Result<Self, AccountError> {
        let mut directory = Self {
            accounts: Vec::new(),
            by_name: HashMap::new(),
            system: None,
            streams: Vec::new(),
            services: Vec::new(),
            rejected: Vec::new(),
        };
        if let Some(before) = before {
            for account in &before.accounts {
                let name = account.name.to_string();
                let gone = AccountDefinition {
                    name,
                    ..AccountDefinition::default()
                };
                directory.add(Arc::new(gone), Some(before))?;
            }
            for account in &mut directory.accounts {
                let account = Arc::get_mut(account).expect("it was just made, for nobody else yet");
                account.gone = true;
            }
        }
        // The global account comes first: connections are in it, by its number, until they present themselves.
        for name in [GLOBAL_NAME, system] {
            match definitions.iter().find(|d| d.name == name) {
                Some(definition) => directory.add(Arc::clone(definition), before)?,
                None if name.is_empty() => {}
                None => {
                    let made = AccountDefinition {
                        name: name.to_owned(),
                        ..AccountDefinition::default()
                    };
                    directory.add(Arc::new(made), before)?;
                }
            }
        }
        for definition in definitions {
            if definition.name != GLOBAL_NAME && definition.name != system {
                directory.add(Arc::clone(definition), before)?;
            }
        }
        debug_assert_eq!(directory.by_name.get(GLOBAL_NAME), Some(&AccountId::GLOBAL));
        directory.system = directory.by_name.get(system).copied();
        for definition in definitions {
            for import in &definition.imports {
                if let Err(error) = directory.join(definition, import) {
                    if imports == Imports::MustFit {
                        return Err(error);
                    }
                    directory.rejected.push(error);
                }
            }
        }
        Ok(directory)
    }

    /// Accounts by number.
    pub fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    /// The account of this number.
    pub fn get(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(id.0 as usize)
    }

    /// What of JetStream an account may use where the server has it. Where there is no account but
    /// the global and the system one, the global one may use everything. (So it may in a server
    /// with operators, where nobody is in it.)
    pub fn jetstream(&self, id: AccountId) -> &JetStreamAccess {
        static EVERYTHING: JetStreamAccess = JetStreamAccess::Limits(JetStreamLimits::UNLIMITED);
        let Some(account) = self.get(id) else {
            return &JetStreamAccess::None;
        };
        let is_other =
            |other: &Arc<Account>| other.id != AccountId::GLOBAL && Some(other.id) != self.system;
        let alone = id == AccountId::GLOBAL && !self.accounts.iter().any(is_other);
        match account.jetstream() {
            JetStreamAccess::None if alone => &EVERYTHING,
            access => access,
        }
    }

    /// The account of this name, or of this public key.
    pub fn find(&self, name: &str) -> Option<&Arc<Account>> {
        self.get(*self.by_name.get(name)?)
    }

    fn add(
        &mut self,
        definition: Arc<AccountDefinition>,
        before: Option<&Directory>,
    ) -> Result<(), AccountError> {
        let name: Arc<str> = definition.name.as_str().into();
        let error = |text: String| AccountError {
            account: definition.name.clone(),
            text,
        };
        let known = self.by_name.get(&name).copied();
        let id = known.unwrap_or(AccountId(self.accounts.len() as u32));
        if id.0 as usize >= ACCOUNTS_MAX {
            return Err(error(format!(
                "there are more than {ACCOUNTS_MAX} accounts"
            )));
        }
        let mappings =
            Mappings::new(&definition.mappings, None).map_err(|e| error(e.to_string()))?;
        let connections = match before.and_then(|before| before.find(&name)) {
            Some(account) => Arc::clone(&account.connections),
            None => Arc::default(),
        };
        if let Some(nkey) = &definition.nkey {
            self.by_name.insert(nkey.as_str().into(), id);
        }
        let account = Arc::new(Account {
            id,
            name: Arc::clone(&name),
            mappings: (!mappings.is_empty()).then_some(mappings),
            gone: false,
            connections,
            definition,
        });
        match known {
            Some(id) => self.accounts[id.0 as usize] = account,
            None => self.accounts.push(account),
        }
        self.by_name.insert(name, id);
        Ok(())
    }

    /// Adds one import, if an export allows it.
    fn join(
        &mut self,
        importer: &AccountDefinition,
        import: &ImportDefinition,
    ) -> Result<(), AccountError> {
        let what = match import.kind {
            ImportKind::Stream { .. } => "stream",
            ImportKind::Service { .. } => "service",
        };
        let error = |text: String| AccountError {
            account: importer.name.clone(),
            text: format!("Error adding {what} import {:?}: {text}", import.subject),
        };
        let exporter = self
            .find(&import.account)
            .cloned()
            .ok_or_else(|| AccountError {
                account: importer.name.clone(),
                text: format!("{:?} account not defined for {what} import", import.account),
            })?;
        let importer_id = self.by_name[importer.name.as_str()];
        let approved = exporter
            .definition
            .exports
            .iter()
            .filter(|export| is_same_kind(&export.kind, &import.kind))
            .filter(|export| covers(&export.subject, &import.subject))
            // The export of just this subject speaks first.
            .min_by_key(|export| export.subject != import.subject)
            .filter(|export| is_approved(export, importer, import));
        let Some(export) = approved else {
            return Err(error(format!("{what} import not authorized")));
        };
        let here = import.to.as_deref().unwrap_or(&import.subject);
        match (&export.kind, &import.kind) {
            (ExportKind::Stream, ImportKind::Stream { allow_trace }) => {
                let stream = stream_import(import, here, (exporter.id, importer_id), *allow_trace)
                    .map_err(error)?;
                if self.streams.iter().any(|other| {
                    other.importer == importer_id
                        && other.exporter == exporter.id
                        && other.from == stream.from
                }) {
                    return Err(error("stream import already exists".to_owned()));
                }
                self.streams.push(stream);
                if self.stream_cycle(self.streams.len() - 1) {
                    self.streams.pop();
                    return Err(error("import forms a cycle".to_owned()));
                }
            }
            (
                ExportKind::Service {
                    response,
                    threshold,
                    latency,
                    allow_trace,
                },
                ImportKind::Service { share },
            ) => {
                let mut service =
                    service_import(import, here, (exporter.id, importer_id)).map_err(error)?;
                service.response = *response;
                service.threshold = threshold.unwrap_or(RESPONSE_TIME);
                service.latency = latency.clone();
                service.allow_trace = *allow_trace;
                service.share = *share;
                if let Some(other) = self.services.iter().find(|other| {
                    other.importer == importer_id
                        && other.exporter == exporter.id
                        && other.from == service.from
                }) {
                    return Err(error(format!(
                        "duplicate service import subject {here:?}, previously used in import for account {:?}, subject {:?}",
                        exporter.name,
                        String::from_utf8_lossy(&other.to),
                    )));
                }
                self.services.push(service);
                if self.service_cycle(self.services.len() - 1) {
                    self.services.pop();
                    return Err(error("import forms a cycle".to_owned()));
                }
            }
            _ => unreachable!("kinds were compared"),
        }
        Ok(())
    }

    /// What every account asks of the system account without having imported it, made when it is
    /// asked: four imports for each account would be most of a large directory.
    pub fn system_service(&self, number: usize, importer: AccountId) -> Option<ServiceImport> {
        let import = SYSTEM_IMPORTS.get(number)?;
        let exporter = self.system?;
        if importer == exporter && !import.also_of_system_account {
            return None;
        }
        let name = &self.get(importer)?.name;
        Some(ServiceImport {
            from: import.subject.as_bytes().into(),
            to: import.to(name).into_bytes().into(),
            there: None,
            exporter,
            importer,
            response: import.response,
            threshold: RESPONSE_TIME,
            latency: None,
            share: import.share,
            allow_trace: false,
        })
    }

    /// Whether messages that pass the stream import at `start` can pass it again.
    fn stream_cycle(&self, start: usize) -> bool {
        let edges: Vec<_> = self
            .streams
            .iter()
            .map(|s| (s.exporter, &*s.from, s.importer, &*s.to))
            .collect();
        forms_cycle(&edges, start)
    }

    fn service_cycle(&self, start: usize) -> bool {
        let edges: Vec<_> = self
            .services
            .iter()
            .map(|s| (s.importer, &*s.from, s.exporter, &*s.to))
            .collect();
        forms_cycle(&edges, start)
    }
}

type Edge<'a> = (AccountId, &'a [u8], AccountId, &'a [u8]);

/// Whether what leaves by the edge at `start` can come back to its account, along edges whose
/// subjects overlap with what came in. Errs on the side of a cycle: subjects are compared as
/// patterns, and a chain that is too long is one.
fn forms_cycle(edges: &[Edge<'_>], start: usize) -> bool {
    let (origin, left, first, subject) = edges[start];
    if origin == first && subject::collide(left, subject) {
        return true;
    }
    let mut path = vec![(first, subject)];
    let mut seen = vec![(first, subject)];
    while let Some((account, subject)) = path.pop() {
        for &(from_account, from, to_account, to) in edges {
            if from_account != account || !subject::collide(subject, from) {
                continue;
            }
            if to_account == origin || seen.len() > CHAIN_MAX {
                return true;
            }
            // What goes on is no wider than what came in.
            let narrowed = if from == to && subject::is_subset(subject, from) {
                subject
            } else {
                to
            };
            if !seen.contains(&(to_account, narrowed)) {
                seen.push((to_account, narrowed));
                path.push((to_account, narrowed));
            }
        }
    }
    false
}

fn is_same_kind(export: &ExportKind, import: &ImportKind) -> bool {
    matches!(
        (export, import),
        (ExportKind::Stream, ImportKind::Stream { .. })
            | (ExportKind::Service { .. }, ImportKind::Service { .. })
    )
}

fn covers(export: &str, import: &str) -> bool {
    subject::is_subset(import.as_bytes(), export.as_bytes())
}

/// Whether the export is meant for this account.
fn is_approved(
    export: &ExportDefinition,
    importer: &AccountDefinition,
    import: &ImportDefinition,
) -> bool {
    if export.account_token_position > 0 {
        let token = import
            .subject
            .split('.')
            .nth(export.account_token_position - 1);
        return token == Some(&importer.name);
    }
    if export.token_required {
        return import.activated;
    }
    match &export.accounts {
        None => true,
        Some(accounts) => {
            accounts.contains(&importer.name)
                || importer
                    .nkey
                    .as_ref()
                    .is_some_and(|key| accounts.contains(key))
        }
    }
}

/// `{{…}}` and `$n` as the wildcards that they stand for.
fn as_pattern(subject: &str) -> Box<[u8]> {
    let tokens: Vec<&str> = subject
        .split('.')
        .map(|token| {
            let dollar = token
                .strip_prefix('$')
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            if dollar || token.starts_with("{{") {
                "*"
            } else {
                token
            }
        })
        .collect();
    tokens.join(".").into_bytes().into()
}

/// The same subject with its wildcards numbered.
fn numbered(subject: &str) -> String {
    let mut number = 0;
    let tokens: Vec<String> = subject
        .split('.')
        .map(|token| {
            if token == "*" {
                number += 1;
                format!("${number}")
            } else {
                token.to_owned()
            }
        })
        .collect();
    tokens.join(".")
}

fn stream_import(
    import: &ImportDefinition,
    here: &str,
    (exporter, importer): (AccountId, AccountId),
    allow_trace: bool,
) -> Result<StreamImport, String> {
    let (there, back) = if here == import.subject {
        (None, None)
    } else {
        let failed = |error: subject::TransformError| {
            format!(
                "failed to create mapping transform for stream import subject from {:?} to {here:?}: {error}",
                import.subject
            )
        };
        let there = Transform::strict(&import.subject, &numbered(here)).map_err(failed)?;
        let back = there.reverse().map_err(failed)?;
        (Some(there), Some(back))
    };
    Ok(StreamImport {
        from: import.subject.as_bytes().into(),
        to: as_pattern(here),
        exporter,
        importer,
        there,
        back,
        allow_trace,
    })
}

fn service_import(
    import: &ImportDefinition,
    here: &str,
    (exporter, importer): (AccountId, AccountId),
) -> Result<ServiceImport, String> {
    let there = if here == import.subject {
        None
    } else {
        let failed = |error: subject::TransformError| {
            format!(
                "failed to create mapping transform for service import subject from {here:?} to {:?}: {error}",
                import.subject
            )
        };
        // The subject here may name the wildcards of the subject there, in another order.
        let pattern = String::from_utf8_lossy(&as_pattern(here)).into_owned();
        let transform = if pattern == here {
            Transform::strict(here, &numbered(&import.subject)).map_err(failed)?
        } else {
            Transform::strict(&import.subject, here)
                .and_then(|t| t.reverse())
                .map_err(failed)?
        };
        Some(transform)
    };
    Ok(ServiceImport {
        from: as_pattern(here),
        to: import.subject.as_bytes().into(),
        there,
        exporter,
        importer,
        response: ResponseType::Singleton,
        threshold: RESPONSE_TIME,
        latency: None,
        share: false,
        allow_trace: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_other_accounts_the_global_one_may_store_everything() {
        let global_of = |names: &[&str], system: &str| {
            let definition = |name: &&str| {
                Arc::new(AccountDefinition {
                    name: (*name).to_owned(),
                    ..AccountDefinition::default()
                })
            };
            let definitions: Vec<_> = names.iter().map(definition).collect();
            let directory = Directory::new(&definitions, system, Imports::MustFit, None)
                .expect("nothing is imported");
            directory.jetstream(AccountId::GLOBAL).clone()
        };
        let everything = JetStreamAccess::Limits(JetStreamLimits::UNLIMITED);
        assert_eq!(global_of(&[], SYSTEM_NAME), everything);
        assert_eq!(global_of(&[], ""), everything);
        assert_eq!(global_of(&["S"], "S"), everything);
        assert_eq!(global_of(&["A"], SYSTEM_NAME), JetStreamAccess::None);
        let directory = Directory::bare();
        let system = directory.system.expect("there is one");
        assert_eq!(directory.jetstream(system), &JetStreamAccess::None);
        assert_eq!(directory.jetstream(AccountId(99)), &JetStreamAccess::None);
    }
}
