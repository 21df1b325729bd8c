//! The accounts of a run that has several, and what of one is seen in another.
//!
//! The first account exports a stream and a service; the second imports the stream under another
//! name, the third as it is, and both ask the service.

use std::sync::Arc;

use skein::auth::accounts::{Directory, Imports, SYSTEM_NAME};
use skein::auth::definition::{
    AccountDefinition, AuthDefinition, ExportDefinition, ExportKind, ImportDefinition, ImportKind,
    ResponseType, Secret, UserDefinition,
};
use skein::auth::gate::Gate;
use skein::shard::Policy;

/// How many there are, where there are several.
pub const SEVERAL: usize = 3;
/// Their names, which are also their users' names and passwords.
const NAMES: [&str; SEVERAL] = ["X", "Y", "Z"];
/// The one that exports.
pub const EXPORTER: usize = 0;
const STREAM: &str = "a.>";
const SERVICE: &str = "svc.*";

/// Subjects that are published to for the sake of imports.
pub const SUBJECTS: &[&str] = &["ask.a", "ask.b", "ask.a", "a.b", "a.b.c"];
/// Patterns that hear them.
pub const PATTERNS: &[&str] = &[
    "svc.*", "svc.a", "svc.>", "imp.a.*", "imp.>", "a.b", "ask.*",
];

/// Where responses to requests of other accounts go.
pub const RESPONSE_PREFIX: &str = "_R_.";

/// What CONNECT says to be let into an account; nothing where there is one only.
pub fn credentials(account: usize, accounts: usize) -> String {
    match accounts {
        1 => String::new(),
        _ => format!(",\"user\":{0:?},\"pass\":{0:?}", NAMES[account]),
    }
}

/// What a service is told of who asks.
pub fn request_info(account: usize) -> String {
    format!("{{\"acc\":{:?}", NAMES[account])
}

/// Who may connect, and the accounts.
pub fn policy(accounts: usize) -> Policy {
    if accounts == 1 {
        return Policy::open();
    }
    let export = |subject: &str, kind| ExportDefinition {
        subject: subject.to_owned(),
        kind,
        accounts: None,
        token_required: false,
        account_token_position: 0,
    };
    let import = |subject: &str, to: &str, kind| ImportDefinition {
        account: NAMES[EXPORTER].to_owned(),
        subject: subject.to_owned(),
        to: Some(to.to_owned()),
        activated: false,
        kind,
    };
    let definition = |account: usize| {
        let stream = ImportKind::Stream { allow_trace: false };
        let ask = || import(SERVICE, "ask.*", ImportKind::Service { share: false });
        let service = ExportKind::Service {
            response: ResponseType::Singleton,
            threshold: None,
            latency: None,
            allow_trace: false,
        };
        let (exports, imports) = match account {
            0 => (
                vec![export(STREAM, ExportKind::Stream), export(SERVICE, service)],
                vec![],
            ),
            1 => (vec![], vec![import(STREAM, "imp.a.>", stream), ask()]),
            _ => (vec![], vec![import(STREAM, STREAM, stream), ask()]),
        };
        AccountDefinition {
            name: NAMES[account].to_owned(),
            exports,
            imports,
            ..AccountDefinition::default()
        }
    };
    let user = |name: &str| UserDefinition {
        name: Some(name.to_owned()),
        pass: Some(Secret(name.to_owned())),
        account: Some(name.to_owned()),
        ..UserDefinition::default()
    };
    let auth = AuthDefinition {
        accounts: (0..SEVERAL).map(definition).collect(),
        users: NAMES.map(user).into(),
        ..AuthDefinition::default()
    };
    let definitions: Vec<_> = auth.accounts.iter().cloned().map(Arc::new).collect();
    let directory = Directory::new(&definitions, SYSTEM_NAME, Imports::MustFit, None);
    Policy {
        gate: Arc::new(Gate::new(&auth).expect("the users are in order")),
        directory: Arc::new(directory.expect("the accounts fit together")),
        only_more: false,
    }
}

/// The subject that a message published to `subject` in one account has in another; `None` where
/// it is not seen.
pub fn seen_as(from: usize, subject: &str, to: usize) -> Option<String> {
    if subject.starts_with(RESPONSE_PREFIX) {
        // Whoever publishes there without having been asked is not heard.
        return None;
    }
    match (from, to) {
        _ if from == to => Some(subject.to_owned()),
        (EXPORTER, 1) if subject.starts_with("a.") => Some(format!("imp.{subject}")),
        (EXPORTER, _) if subject.starts_with("a.") => Some(subject.to_owned()),
        (_, EXPORTER) => is_request(from, subject).then(|| subject.replacen("ask", "svc", 1)),
        _ => None,
    }
}

/// Whether a message is a request to the exporter's service.
pub fn is_request(from: usize, subject: &str) -> bool {
    from != EXPORTER && subject.starts_with("ask.") && subject.matches('.').count() == 1
}
