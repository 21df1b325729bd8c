//! Who is let in: CONNECT, the decision on it, and its end.
//!
//! What is decided by a comparison is decided here and now. What needs a signature, a password
//! hash or somebody else's word is decided elsewhere: the connection's input waits meanwhile, as
//! it does behind a PING that other shards have to answer.

use std::sync::Arc;

use super::timers::Due;
use super::{Effects, Level, Shard};
use crate::auth::accounts::{Account, Directory};
use crate::auth::admission::{Admission, Credential, Outcome, Presented, Refused};
use crate::auth::definition::AccountLimits;
use crate::auth::gate::{Gate, Standing};
use crate::base::ids::{AccountId, ConnId};
use crate::config::Limits;
use crate::proto::quote::quote;
use crate::session::{CloseReason, Refusal, Session};

/// Who decides, and between what: replaced whole when the operator or a tenant changes something.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Who may connect.
    pub gate: Arc<Gate>,
    /// The accounts.
    pub directory: Arc<Directory>,
    /// Accounts have only come: who was let in need not be looked at again.
    pub only_more: bool,
}

impl Policy {
    /// Anybody may connect, to the global account.
    pub fn open() -> Self {
        Self {
            gate: Arc::default(),
            directory: Arc::new(Directory::bare()),
            only_more: false,
        }
    }
}

/// How much a connection may send and subscribe to.
pub(super) struct Bounds {
    payload_bytes: usize,
    /// 0 for any number.
    subscriptions: usize,
}

impl Bounds {
    /// The least of what the server, the account and the user's own limits allow.
    pub(super) fn new(server: &Limits, account: &AccountLimits, admission: &Admission) -> Self {
        let least = |a: usize, b: Option<u64>, c: Option<u64>| {
            [b, c]
                .into_iter()
                .flatten()
                .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
                .fold(a, usize::min)
        };
        let unlimited = match server.max_subscriptions {
            0 => usize::MAX,
            most => most,
        };
        let own = admission.max_subscriptions;
        Self {
            payload_bytes: least(
                server.max_payload_bytes,
                account.payload_bytes,
                admission.max_payload_bytes,
            ),
            subscriptions: match least(unlimited, account.subscriptions, own) {
                usize::MAX => 0,
                most => most,
            },
        }
    }

    pub(super) fn apply(&self, session: &mut Session) {
        session.bounds.payload_bytes = self.payload_bytes;
        session.max_subscriptions = self.subscriptions;
    }
}

impl Shard {
    pub(super) fn connect(&mut self, conn: ConnId, json: &[u8], fx: &mut Effects) {
        let session = &mut self.sessions[conn.index as usize];
        let again = session.options.is_some();
        let presented = match session.connect(json) {
            Ok(presented) => presented,
            Err(error) => {
                self.log(conn.index, Level::Error, &error.to_string(), fx);
                self.close(conn, CloseReason::ProtocolViolation, None, fx);
                return;
            }
        };
        if again {
            // As in nats-server, a second CONNECT starts afresh, possibly in another account.
            self.drop_subscriptions(conn, fx);
        }
        let session = &mut self.sessions[conn.index as usize];
        if session.internal
            && let Some(admission) = session.admission.clone()
        {
            match session.admit(admission) {
                Ok(()) => self.answer_connect(conn, fx),
                Err(refusal) => self.refuse(conn, refusal, fx),
            }
            return;
        }
        let Policy {
            gate, directory, ..
        } = &self.settings.policy;
        if gate.is_cheap(&presented) {
            let now = self.unix_s();
            let outcome = gate.decide(&**directory, &presented, now);
            self.apply_decision(conn, outcome, presented, fx);
        } else {
            self.ask(conn, presented, fx);
        }
    }

    /// A peer starts without CONNECT. It is let in where those who present nothing are.
    pub(super) fn admit_unasked(&mut self, conn: ConnId, fx: &mut Effects) {
        let session = &mut self.sessions[conn.index as usize];
        let verbose = session.verbose;
        let Ok(presented) = session.connect(b"{\"verbose\":false}") else {
            unreachable!("this is an object");
        };
        let Policy {
            gate, directory, ..
        } = &self.settings.policy;
        let outcome = gate.decide(&**directory, &presented, self.unix_s());
        self.apply_decision(conn, outcome, presented, fx);
        let session = &mut self.sessions[conn.index as usize];
        session.verbose = verbose;
        session.wordy |= verbose;
        // What comes later is its first CONNECT.
        session.options = None;
    }

    /// Has somebody else decide. Until then the connection's input waits.
    fn ask(&mut self, conn: ConnId, presented: Presented, fx: &mut Effects) {
        let session = &mut self.sessions[conn.index as usize];
        session.deciding = true;
        // It has said who it is; how long the answer takes is not its fault.
        session.auth_at = 0;
        session.backlog.get_or_insert_default();
        self.hold_local(conn, true, fx);
        fx.questions.push((conn, Box::new(presented)));
    }

    /// The decision that was asked for has come.
    pub(super) fn decided(&mut self, conn: ConnId, outcome: Outcome, fx: &mut Effects) {
        if !self.is_open(conn) || !self.sessions[conn.index as usize].deciding {
            return;
        }
        let session = &mut self.sessions[conn.index as usize];
        session.deciding = false;
        let backlog = session.backlog.take();
        match outcome {
            Outcome::Admitted(admission) => self.admit_still(conn, admission, fx),
            Outcome::Refused(refused, why) => self.turn_away(conn, refused, &why, fx),
            Outcome::NeedsAccount(key) => {
                let why = format!("account {key} could not be fetched");
                self.turn_away(conn, Refused::Credentials, &why, fx);
            }
            Outcome::NeedsCallout(_) => {
                let why = "the authorization service gave no answer";
                self.turn_away(conn, Refused::Credentials, why, fx);
            }
        }
        self.hold_local(conn, false, fx);
        self.go_on(conn, &backlog.unwrap_or_default(), fx);
    }

    /// Lets in who was decided upon elsewhere, if the policy of now does: it may be newer than the decision.
    fn admit_still(&mut self, conn: ConnId, mut admission: Box<Admission>, fx: &mut Effects) {
        let Policy {
            gate, directory, ..
        } = &self.settings.policy;
        match gate.still_admits(&**directory, &admission, self.unix_s()) {
            Ok(Standing::Same) => self.admit(conn, admission, fx),
            Ok(Standing::Changed(permissions)) => {
                admission.permissions = permissions;
                self.admit(conn, admission, fx);
            }
            Err(refused) => {
                let why = "what it presented does not count any more";
                self.turn_away(conn, refused, why, fx);
            }
        }
    }

    fn apply_decision(
        &mut self,
        conn: ConnId,
        outcome: Outcome,
        presented: Presented,
        fx: &mut Effects,
    ) {
        match outcome {
            Outcome::Admitted(admission) => self.admit(conn, admission, fx),
            Outcome::Refused(refused, why) => self.turn_away(conn, refused, &why, fx),
            Outcome::NeedsAccount(_) | Outcome::NeedsCallout(_) => self.ask(conn, presented, fx),
        }
    }

    fn admit(&mut self, conn: ConnId, admission: Box<Admission>, fx: &mut Effects) {
        let index = conn.index as usize;
        let directory = Arc::clone(&self.settings.policy.directory);
        let Some(account) = directory.get(admission.account) else {
            self.turn_away(conn, Refused::Credentials, "the account is gone", fx);
            return;
        };
        self.leave_account(conn.index);
        if !account.enter() {
            let text = "maximum account active connections exceeded";
            self.log(conn.index, Level::Error, text, fx);
            let reason = CloseReason::MaxAccountConnectionsExceeded;
            self.close(conn, reason, Some(text), fx);
            return;
        }
        let bounds = Bounds::new(&self.settings.limits, account.limits(), &admission);
        let expires_unix_s = admission.expires_unix_s;
        let trace = self.settings.trace;
        let session = &mut self.sessions[index];
        self.unauthenticated -= usize::from(std::mem::take(&mut session.awaits_auth));
        session.entered = Some(admission.account);
        if let Err(refusal) = session.admit(Arc::from(admission)) {
            self.refuse(conn, refusal, fx);
            return;
        }
        session.wordy |= trace;
        session.mapped = account.mappings.is_some();
        bounds.apply(session);
        session.expires_at = 0;
        if let Some(expires_unix_s) = expires_unix_s {
            let now_ms = self.settings.unix_at_zero_ms + self.now;
            let left = (expires_unix_s.saturating_mul(1000)).saturating_sub(now_ms);
            let at = self.now.saturating_add(left.max(1));
            session.expires_at = at;
            self.deadlines.arm(at, Due::expiry(conn));
        }
        self.answer_connect(conn, fx);
        fx.notices.push(self.notice_of_entry(conn));
    }

    /// Whether what clients of an account publish may be mapped.
    pub(super) fn is_mapped(&self, account: AccountId) -> bool {
        let account = self.settings.policy.directory.get(account);
        account.is_some_and(|account| account.mappings.is_some())
    }

    fn answer_connect(&mut self, conn: ConnId, fx: &mut Effects) {
        // Until a PONG says better, the answer to INFO tells how far away the peer is.
        let now = (self.settings.fine_clock_ns)();
        self.sessions[conn.index as usize].pings.heard(now);
        if self.sessions[conn.index as usize].verbose {
            self.reply(conn.index, b"+OK\r\n", fx);
        }
        self.restart_pings(conn);
    }

    fn refuse(&mut self, conn: ConnId, refusal: Refusal, fx: &mut Effects) {
        let (text, reason) = match refusal {
            Refusal::Account => {
                self.authorization_violation(conn, "", fx);
                return;
            }
            Refusal::ProtocolVersion => (
                "invalid client protocol",
                CloseReason::BadClientProtocolVersion,
            ),
            Refusal::NoRespondersNeedsHeaders => (
                "no responders requires headers support",
                CloseReason::NoRespondersRequiresHeaders,
            ),
        };
        self.log(conn.index, Level::Error, text, fx);
        self.close(conn, reason, Some(text), fx);
    }

    fn turn_away(&mut self, conn: ConnId, refused: Refused, why: &str, fx: &mut Effects) {
        if !why.is_empty() {
            self.log(conn.index, Level::Debug, why, fx);
        }
        let reason = match refused {
            Refused::Credentials | Refused::Moved | Refused::Revoked | Refused::Expired => {
                CloseReason::AuthenticationFailure
            }
            Refused::ProxyNotTrusted => CloseReason::ProxyNotTrusted,
            Refused::ProxyRequired => CloseReason::ProxyRequired,
        };
        self.violation_of_authorization(conn, reason, fx);
    }

    /// The peer did something before it was let in, or presented what does not count.
    pub(super) fn authorization_violation(&mut self, conn: ConnId, why: &str, fx: &mut Effects) {
        self.turn_away(conn, Refused::Credentials, why, fx);
    }

    fn violation_of_authorization(&mut self, conn: ConnId, reason: CloseReason, fx: &mut Effects) {
        let whom = match self.sessions[conn.index as usize].options.as_deref() {
            Some(options) => match (&options.nkey, &options.user, &options.auth_token) {
                (Some(nkey), _, _) => format!(" - Nkey {}", quote(nkey.as_bytes())),
                (None, Some(user), _) => format!(" - User {}", quote(user.as_bytes())),
                (None, None, Some(_)) => " - Token \"[REDACTED]\"".to_owned(),
                (None, None, None) => String::new(),
            },
            None => String::new(),
        };
        let text = format!("authentication error{whom}");
        self.log(conn.index, Level::Error, &text, fx);
        fx.notices.push(self.notice_of_refusal(conn, reason));
        self.close(conn, reason, Some("Authorization Violation"), fx);
    }

    /// The time of an admission is over.
    pub(super) fn expire(&mut self, conn: ConnId, fx: &mut Effects) {
        let text = "User Authentication Expired";
        self.log(conn.index, Level::Debug, text, fx);
        self.close(conn, CloseReason::AuthenticationExpired, Some(text), fx);
    }

    /// The operator's or a tenant's words have changed: everybody is looked at again.
    pub(super) fn set_policy(&mut self, policy: Policy, fx: &mut Effects) {
        self.router.set_directory(Arc::clone(&policy.directory));
        let only_more = policy.only_more;
        self.settings.policy = policy;
        self.with_engine(fx, |engine, now, out| engine.accounts_changed(now, out));
        self.settings.identity.auth_required = self.settings.policy.gate.is_asked_for();
        if only_more {
            return;
        }
        let now = self.unix_s();
        let Policy {
            gate, directory, ..
        } = self.settings.policy.clone();
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            if !session.live || session.closing || session.internal {
                continue;
            }
            let conn = session.id;
            let Some(admission) = session.admission.clone() else {
                self.sessions[index].mapped = self.is_mapped(session.account);
                continue;
            };
            match gate.still_admits(&*directory, &admission, now) {
                Ok(standing) => {
                    if let Standing::Changed(permissions) = standing {
                        self.change_permissions(conn, &admission, permissions, fx);
                    }
                    if let Some(account) = directory.get(admission.account).cloned() {
                        self.bound(conn, &account, &admission, fx);
                    }
                }
                Err(Refused::Moved) => self.close(conn, CloseReason::ClientClosed, None, fx),
                Err(Refused::Credentials) => {
                    self.authorization_violation(conn, "", fx);
                }
                Err(refused) => {
                    let (reason, text) = match refused {
                        Refused::Expired => (
                            CloseReason::AuthenticationExpired,
                            "Account Authentication Expired",
                        ),
                        Refused::Revoked => (
                            CloseReason::CredentialsRevoked,
                            "User Authentication Revoked",
                        ),
                        Refused::Credentials
                        | Refused::Moved
                        | Refused::ProxyNotTrusted
                        | Refused::ProxyRequired => (
                            CloseReason::AuthenticationFailure,
                            "Authorization Violation",
                        ),
                    };
                    self.log(conn.index, Level::Debug, text, fx);
                    self.close(conn, reason, Some(text), fx);
                }
            }
        }
    }

    /// Has a connection keep to what its account may do now. Of too many connections, those that
    /// this shard comes to first must go.
    fn bound(&mut self, conn: ConnId, account: &Account, admission: &Admission, fx: &mut Effects) {
        let session = &mut self.sessions[conn.index as usize];
        session.mapped = account.mappings.is_some();
        Bounds::new(&self.settings.limits, account.limits(), admission).apply(session);
        if session.entered.is_some() && account.leave_if_too_many() {
            session.entered = None;
            let text = "maximum account active connections exceeded";
            self.log(conn.index, Level::Error, text, fx);
            let reason = CloseReason::MaxAccountConnectionsExceeded;
            self.close(conn, reason, Some(text), fx);
        }
    }

    /// Takes a connection out of its account's count.
    pub(super) fn leave_account(&mut self, index: u32) {
        if let Some(id) = self.sessions[index as usize].entered.take()
            && let Some(account) = self.settings.policy.directory.get(id)
        {
            account.leave();
        }
    }

    /// Seconds since 1970.
    pub(super) fn unix_s(&self) -> u64 {
        (self.settings.unix_at_zero_ms + self.now) / 1000
    }

    /// Lets in a connection of the server itself.
    pub(super) fn admit_internal(&mut self, index: u32, account: AccountId) {
        let name = self
            .settings
            .policy
            .directory
            .get(account)
            .map(|a| Arc::clone(&a.name));
        let session = &mut self.sessions[index as usize];
        session.internal = true;
        // The server's own answers are as long as they are.
        session.bounds.payload_bytes = self.settings.limits.max_pending_bytes;
        session.account = account;
        session.admission = Some(Arc::new(Admission {
            account,
            account_name: name.unwrap_or_default(),
            user: None,
            label: None,
            permissions: None,
            max_subscriptions: None,
            max_payload_bytes: None,
            expires_unix_s: None,
            claims: None,
            credential: Credential::default(),
        }));
    }
}
