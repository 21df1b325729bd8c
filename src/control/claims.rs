//! Requests about the claims of accounts: those of `nsc push` and `nsc pull`, and of other servers.
//!
//! Which there are depends on where claims are kept ([`Keeping`]). What is done about them is asked
//! of a [`Registry`]; who publishes the answers is not known here.

use serde::Serialize;
use serde_json::Value;

use super::events::ServerInfo;
use super::json::compact;
use crate::auth::claims::{AccountClaims, Claims, decode};
use crate::auth::nkey::is_account_key;

const ACCOUNT_PREFIX: &str = "$SYS.REQ.ACCOUNT.";
const OLD_ACCOUNT_PREFIX: &str = "$SYS.ACCOUNT.";
const UPDATE_SUFFIX: &str = ".CLAIMS.UPDATE";
const LOOKUP_SUFFIX: &str = ".CLAIMS.LOOKUP";
const UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";
const DELETE: &str = "$SYS.REQ.CLAIMS.DELETE";
const LIST: &str = "$SYS.REQ.CLAIMS.LIST";
const PACK: &str = "$SYS.REQ.CLAIMS.PACK";

/// Where claims are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In the configuration or at an address: only what is in use is replaced.
    Elsewhere,
    /// Here, all of them.
    All,
    /// Here, those that were asked for.
    Some,
}

/// What is done about claims. A call may take a moment.
pub trait Registry {
    fn keeping(&self) -> Keeping;
    /// Whether an account is in use.
    fn is_known(&self, account: &str) -> bool;
    /// Whether claims may be deleted.
    fn may_delete(&self) -> bool;
    /// Whether this is a key of a trusted operator.
    fn is_operator(&self, key: &str) -> bool;
    /// Whether this is the system account.
    fn is_system(&self, account: &str) -> bool;
    /// Verifies claims, keeps them and has them hold at once.
    ///
    /// # Errors
    /// Why they are not taken.
    fn update(&mut self, account: &str, token: &str) -> Result<(), String>;
    /// The claims that are kept.
    ///
    /// # Errors
    /// They cannot be read.
    fn lookup(&mut self, account: &str) -> Result<Option<String>, String>;
    /// Deletes claims and has that hold at once; what went wrong.
    fn delete(&mut self, accounts: &[&str]) -> Vec<String>;
    /// The accounts whose claims are kept.
    fn list(&mut self) -> Vec<String>;
    /// The claims that are kept, each as `KEY|TOKEN`; nothing if their hash is this one.
    fn packages(&mut self, hash: &[u8]) -> Vec<String>;
}

/// What comes back on the reply subject, each a message of its own.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Message(Vec<u8>),
    Status(Status),
    /// Public keys of accounts.
    List(Vec<String>),
}

/// What became of a change.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// Whose claims; empty for those of several.
    pub account: String,
    pub message: String,
    /// Why it was not done.
    pub error: Option<String>,
}

/// The subjects to subscribe to.
pub fn subjects(keeping: Keeping) -> Vec<String> {
    let mut subjects = vec![
        format!("{ACCOUNT_PREFIX}*{UPDATE_SUFFIX}"),
        format!("{OLD_ACCOUNT_PREFIX}*{UPDATE_SUFFIX}"),
    ];
    let more: &[&str] = match keeping {
        Keeping::Elsewhere => &[],
        Keeping::All => &[UPDATE, DELETE, LIST, PACK],
        Keeping::Some => &[UPDATE, DELETE, LIST],
    };
    subjects.extend(more.iter().map(|&subject| subject.to_owned()));
    if keeping == Keeping::All {
        subjects.push(format!("{ACCOUNT_PREFIX}*{LOOKUP_SUFFIX}"));
    }
    subjects
}

/// Whether a message on this subject is for [`answer`].
pub fn is_request(subject: &str) -> bool {
    matches!(subject, UPDATE | DELETE | LIST | PACK)
        || updated_account(subject).is_some()
        || looked_up_account(subject).is_some()
}

/// Does what a request asks for. Changes are obeyed without being asked for an answer.
pub fn answer(
    registry: &mut dyn Registry,
    subject: &str,
    has_reply: bool,
    body: &[u8],
) -> Vec<Answer> {
    let status = |status| vec![Answer::Status(status)];
    match subject {
        UPDATE => status(update(registry, None, body)),
        DELETE => status(delete(registry, body)),
        _ if !has_reply => match updated_account(subject) {
            Some(account) => status(update(registry, Some(account), body)),
            None => Vec::new(),
        },
        LIST => vec![Answer::List(registry.list())],
        PACK => {
            let packages = registry.packages(body).into_iter();
            let packages = packages.map(|package| Answer::Message(package.into_bytes()));
            // An empty one says that it was the last.
            packages.chain([Answer::Message(Vec::new())]).collect()
        }
        _ => match (updated_account(subject), looked_up_account(subject)) {
            (Some(account), _) => status(update(registry, Some(account), body)),
            // A path is made of no other name than a key (CVE-2022-28357).
            (None, Some(account)) if is_account_key(account) => match registry.lookup(account) {
                Ok(token) => vec![Answer::Message(token.unwrap_or_default().into_bytes())],
                Err(_) => Vec::new(),
            },
            (None, _) => Vec::new(),
        },
    }
}

fn updated_account(subject: &str) -> Option<&str> {
    let rest = subject.strip_suffix(UPDATE_SUFFIX)?;
    let account = rest
        .strip_prefix(ACCOUNT_PREFIX)
        .or_else(|| rest.strip_prefix(OLD_ACCOUNT_PREFIX))?;
    (!account.contains('.')).then_some(account)
}

fn looked_up_account(subject: &str) -> Option<&str> {
    let account = subject
        .strip_prefix(ACCOUNT_PREFIX)?
        .strip_suffix(LOOKUP_SUFFIX)?;
    (!account.contains('.')).then_some(account)
}

/// `named` is the account of the subject.
fn update(registry: &mut dyn Registry, named: Option<&str>, body: &[u8]) -> Status {
    let (what, keeps) = match registry.keeping() {
        Keeping::Elsewhere => ("jwt update", false),
        Keeping::All => ("jwt update", true),
        Keeping::Some => ("jwt update cache", true),
    };
    let unread = match (registry.keeping(), named) {
        (Keeping::All, _) | (_, None) => "n/a",
        (_, Some(named)) => named,
    };
    let failed = |account: &str, message: String, error: String| Status {
        account: account.to_owned(),
        message,
        error: Some(error),
    };
    let resulted =
        |account: &str, error: String| failed(account, format!("{what} resulted in error"), error);
    if !keeps && body.is_empty() {
        let text = "request body is empty".to_owned();
        return failed(unread, format!("{what} error"), text);
    }
    let token = std::str::from_utf8(body).unwrap_or_default().trim();
    let claims = match AccountClaims::decode(token) {
        Ok(claims) => claims,
        Err(error) => return resulted(unread, error.to_string()),
    };
    let account = claims.common.subject.as_str();
    if named.is_some_and(|named| named != account) {
        let text = "subject does not match jwt content".to_owned();
        return resulted(named.unwrap_or_default(), text);
    }
    if registry.keeping() != Keeping::All && !registry.is_known(account) {
        return Status {
            account: account.to_owned(),
            message: format!("{what} skipped"),
            error: None,
        };
    }
    if let Err(error) = claims.check() {
        let message = match registry.keeping() {
            Keeping::All => "jwt validation failed".to_owned(),
            Keeping::Elsewhere | Keeping::Some => format!("{what} validation failed"),
        };
        return failed(account, message, format!("validation errors: [{error}]"));
    }
    if let Err(error) = registry.update(account, token) {
        return resulted(account, error);
    }
    Status {
        account: account.to_owned(),
        message: what.replacen("update", "updated", 1),
        error: None,
    }
}

/// The request is a token that an operator has issued to itself.
fn delete(registry: &mut dyn Registry, body: &[u8]) -> Status {
    let status = |message: String, error: Option<String>| Status {
        account: String::new(),
        message,
        error,
    };
    let refused = |subject: &str, error: &str| {
        let message = format!("delete accounts request by {subject} failed");
        status(message, Some(error.to_owned()))
    };
    let token = std::str::from_utf8(body).unwrap_or_default();
    let claims = match decode(token.trim()) {
        Ok(Claims::Generic(claims)) => claims,
        Ok(other) => return refused(&other.common().subject, "malformed request"),
        Err(error) => return refused("", &error.to_string()),
    };
    let common = &claims.common;
    let subject = common.subject.as_str();
    if !registry.may_delete() {
        return refused(subject, "delete must be enabled in server config");
    }
    if subject != common.issuer {
        return refused(subject, "not self signed");
    }
    if !registry.is_operator(subject) {
        return refused(subject, "not trusted");
    }
    let named: Option<Vec<&str>> = match claims.content.get("accounts") {
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let Some(accounts) = named.filter(|list| list.iter().all(|key| is_account_key(key))) else {
        return refused(subject, "malformed request");
    };
    if accounts.iter().any(|account| registry.is_system(account)) {
        return refused(subject, "not allowed to delete system account");
    }
    let errors = registry.delete(&accounts);
    let deleted = accounts.len().saturating_sub(errors.len());
    match errors.len() {
        0 => status(format!("deleted {deleted} accounts"), None),
        failed => status(
            format!("deleted {deleted} accounts, failed for {failed}"),
            Some(errors.join("\n")),
        ),
    }
}

#[derive(Serialize)]
struct StatusMessage<'a> {
    server: ServerInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Done<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failed<'a>>,
}

#[derive(Serialize)]
struct Done<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    account: &'a str,
    code: u16,
    message: &'a str,
}

#[derive(Serialize)]
struct Failed<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    account: &'a str,
    code: u16,
    description: String,
}

#[derive(Serialize)]
struct ListMessage<'a> {
    data: &'a [String],
    server: ServerInfo<'a>,
}

impl Answer {
    /// The message.
    pub fn render(self, server: ServerInfo<'_>) -> Vec<u8> {
        match self {
            Answer::Message(message) => message,
            Answer::List(accounts) => compact(&ListMessage {
                data: &accounts,
                server,
            }),
            Answer::Status(Status {
                account,
                message,
                error,
            }) => compact(&StatusMessage {
                server,
                data: error.is_none().then_some(Done {
                    account: &account,
                    code: 200,
                    message: &message,
                }),
                error: error.map(|error| Failed {
                    account: &account,
                    code: 500,
                    description: format!("{message} - {error}"),
                }),
            }),
        }
    }
}
