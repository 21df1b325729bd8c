//! What every account sees of the system account, without anybody having configured it.
//!
//! Only the list: who exports, and under which name each account imports. Service imports are made
//! from it elsewhere.

use super::definition::ResponseType;

/// A service of the system account that is exported to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemExport {
    pub subject: &'static str,
    pub response: ResponseType,
    /// The token of the subject that must be the importing account's name, counted from 1; 0 for
    /// none.
    pub account_token_position: usize,
}

/// An import that an account has of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemImport {
    /// The subject in the account.
    pub subject: &'static str,
    /// The subject in the system account, before and behind the importing account's name.
    pub before: &'static str,
    pub behind: &'static str,
    /// The request carries who asks in detail; others carry the account and the round trip only.
    pub share: bool,
    pub response: ResponseType,
    /// The system account has it too, towards itself.
    pub also_of_system_account: bool,
}

impl SystemImport {
    /// The subject in the system account for an importing account.
    pub fn to(&self, account: &str) -> String {
        format!("{}{account}{}", self.before, self.behind)
    }
}

/// Header of a request that came through a service import: who asks, as JSON.
pub const REQUEST_INFO_HEADER: &str = "Nats-Request-Info";

/// In the order in which nats-server makes them. An account's own export that covers a subject
/// comes before.
pub const SYSTEM_EXPORTS: [SystemExport; 4] = [
    SystemExport {
        subject: "$SYS.REQ.ACCOUNT.*.CONNZ",
        response: ResponseType::Stream,
        account_token_position: 4,
    },
    SystemExport {
        subject: "$SYS.REQ.ACCOUNT.*.STATZ",
        response: ResponseType::Stream,
        account_token_position: 4,
    },
    SystemExport {
        subject: "$SYS.DEBUG.SUBSCRIBERS",
        response: ResponseType::Singleton,
        account_token_position: 0,
    },
    SystemExport {
        subject: "$SYS.REQ.USER.*.INFO",
        response: ResponseType::Singleton,
        account_token_position: 0,
    },
];

/// Of every account but the system account, unless it has an import of that subject.
pub const SYSTEM_IMPORTS: [SystemImport; 4] = [
    SystemImport {
        subject: "$SYS.REQ.ACCOUNT.PING.CONNZ",
        before: "$SYS.REQ.ACCOUNT.",
        behind: ".CONNZ",
        share: false,
        response: ResponseType::Stream,
        also_of_system_account: false,
    },
    SystemImport {
        subject: "$SYS.REQ.SERVER.PING.CONNZ",
        before: "$SYS.REQ.ACCOUNT.",
        behind: ".CONNZ",
        share: false,
        response: ResponseType::Stream,
        also_of_system_account: false,
    },
    SystemImport {
        subject: "$SYS.REQ.ACCOUNT.PING.STATZ",
        before: "$SYS.REQ.ACCOUNT.",
        behind: ".STATZ",
        share: false,
        response: ResponseType::Stream,
        also_of_system_account: false,
    },
    SystemImport {
        subject: "$SYS.REQ.USER.INFO",
        before: "$SYS.REQ.USER.",
        behind: ".INFO",
        share: true,
        response: ResponseType::Singleton,
        also_of_system_account: true,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_import_has_its_export() {
        for import in SYSTEM_IMPORTS {
            let to = import.to("ACCOUNT");
            let covered = SYSTEM_EXPORTS.iter().any(|export| {
                crate::subject::matches(export.subject.as_bytes(), to.as_bytes())
                    && export.response == import.response
            });
            assert!(covered, "{to}");
        }
    }
}
