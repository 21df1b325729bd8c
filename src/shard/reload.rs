//! A new configuration: settings for all connections, other permissions for some, the end for a few.
//!
//! A shard takes it whole, in one turn: everybody who is connected is held against the new policy, which says who stays as
//! they are, who may something else (their subscriptions are looked at again), and who has to go. Must not know files, nor
//! what can be reloaded: whatever comes here is right, and is followed.

use std::sync::Arc;

use super::{Effects, Level, Policy, Shard};
use crate::auth::admission::Admission;
use crate::auth::permissions::{MaySubscribe, Permissions};
use crate::base::ids::ConnId;
use crate::config::{AssetLimits, Limits};
use crate::proto::info::ServerIdentity;
use crate::proto::quote::quote;
use crate::router::NONE;
use crate::session::CloseReason;
use crate::shard::timers::Due;

/// What is another from now on; the same for all shards, but for `surplus`.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// What an operator bounds.
    pub limits: Limits,
    /// Who may connect, and the accounts.
    pub policy: Policy,
    /// What INFO says.
    pub identity: ServerIdentity,
    /// Lines about the lives of connections are wanted.
    pub debug: bool,
    /// Lines about each operation are wanted.
    pub trace: bool,
    /// What streams may take.
    pub storage: Option<StorageLimits>,
    /// Connections that this shard has too many.
    pub surplus: usize,
}

/// What streams may take of memory and disk, and what they and consumers may ask for.
#[derive(Clone, Copy, Debug)]
pub struct StorageLimits {
    /// In bytes; `None` for what it was.
    pub memory: Option<u64>,
    /// In bytes; `None` for what it was.
    pub disk: Option<u64>,
    /// Of streams and consumers.
    pub assets: AssetLimits,
}

impl Shard {
    pub(super) fn reload(&mut self, reloaded: Reloaded, fx: &mut Effects) {
        let Reloaded {
            limits,
            policy,
            identity,
            debug,
            trace,
            storage,
            surplus,
        } = reloaded;
        let payload_before = self.settings.limits.max_payload_bytes;
        let tells_payload = payload_before != limits.max_payload_bytes;
        self.settings.limits = limits;
        self.settings.identity = identity;
        (self.settings.debug, self.settings.trace) = (debug, trace);
        if let Some(StorageLimits {
            memory,
            disk,
            assets,
        }) = storage
        {
            self.with_engine(fx, |engine, _, _| {
                engine.set_limits(memory, disk);
                engine.set_asset_limits(
                    assets.duplicate_window_ns,
                    assets.max_ack_pending,
                    assets.max_request_batch,
                );
            });
        }
        self.bound_all();
        self.set_policy(policy, fx);
        self.ask_for_credentials();
        self.close_surplus(surplus, fx);
        if tells_payload {
            self.tell_all(fx);
        }
    }

    /// Has connections keep to the limits of the server. Those of accounts and users are for
    /// [`Shard::set_policy`].
    fn bound_all(&mut self) {
        let limits = &self.settings.limits;
        let water = self.high_water();
        let trace = self.settings.trace;
        for session in self.sessions.iter_mut().filter(|s| s.live && !s.closing) {
            if session.internal {
                session.bounds.payload_bytes = limits.max_pending_bytes;
                continue;
            }
            session.bounds.control_line_bytes = limits.max_control_line_bytes;
            // Where nobody waits for it just now. Otherwise the mark is set when it has drained.
            if session.stall_until == 0 && !session.lagging {
                session.water = water;
            }
            if session.admission.is_none() {
                session.bounds.payload_bytes = limits.max_payload_bytes;
            } else {
                session.wordy = session.verbose || session.pedantic || trace;
            }
        }
    }

    /// Whoever has not presented itself has to, if that is new.
    fn ask_for_credentials(&mut self) {
        if !self.settings.policy.gate.is_required() {
            return;
        }
        let at = self.now + self.settings.limits.auth_timeout_ms;
        for session in self.sessions.iter_mut().filter(|s| s.live && !s.closing) {
            if session.admission.is_some() || session.awaits_auth || session.internal {
                continue;
            }
            session.awaits_auth = true;
            session.auth_at = at;
            self.unauthenticated += 1;
            self.deadlines.arm(at, Due::authentication(session.id));
        }
    }

    fn close_surplus(&mut self, surplus: usize, fx: &mut Effects) {
        let open = self.sessions.iter();
        let open = open.filter(|s| s.live && !s.closing && !s.internal);
        let conns: Vec<ConnId> = open.map(|s| s.id).take(surplus).collect();
        for conn in conns {
            let text = "maximum connections exceeded";
            self.log(conn.index, Level::Error, text, fx);
            self.close(conn, CloseReason::MaxConnectionsExceeded, Some(text), fx);
        }
    }

    /// Sends INFO to those that have shown that they know what may come.
    fn tell_all(&mut self, fx: &mut Effects) {
        for index in 0..self.sessions.len() as u32 {
            let session = &self.sessions[index as usize];
            if session.live && !session.closing && session.connect_info_sent {
                let info = self.info(index, false);
                self.reply(index, &info, fx);
            }
        }
    }

    /// A user may do other things than before. What it listens to and may not any more ends, and it is
    /// told.
    pub(super) fn change_permissions(
        &mut self,
        conn: ConnId,
        before: &Admission,
        permissions: Option<Arc<Permissions>>,
        fx: &mut Effects,
    ) {
        let admission = Admission {
            permissions,
            ..before.clone()
        };
        self.sessions[conn.index as usize].allow(Arc::new(admission));
        let mut ended = Vec::new();
        let mut sub = self.sessions[conn.index as usize].first_sub;
        while sub != NONE {
            let may = match self.sessions[conn.index as usize].permissions() {
                Some(permissions) => {
                    let (subject, queue) = (self.router.subject_of(sub), self.router.queue_of(sub));
                    permissions.may_subscribe(subject, queue)
                }
                None => MaySubscribe::All,
            };
            match may {
                MaySubscribe::No => ended.push(sub),
                MaySubscribe::Some => self.router.set_checked(sub),
                MaySubscribe::All => self.router.clear_checked(sub),
            }
            sub = self.router.next_of_conn(sub);
        }
        for sub in ended {
            // What it is told may be more than it can be sent.
            if self.is_open(conn) {
                self.end_subscription(conn, sub, fx);
            }
        }
    }

    #[cold]
    fn end_subscription(&mut self, conn: ConnId, sub: u32, fx: &mut Effects) {
        let sid = self.sid_text(sub);
        let queue = match self.router.queue_of(sub) {
            b"" => String::new(),
            queue => format!(" using queue {}", quote(queue)),
        };
        let what = format!(
            "{}{queue} (sid {})",
            quote(self.router.subject_of(sub)),
            quote(sid.as_bytes())
        );
        let label = self.sessions[conn.index as usize].admission.as_ref();
        let label = label.and_then(|admission| admission.label.as_deref());
        let whom = match label.and_then(|label| label.split_once(':')) {
            Some(("nkey", key)) => format!("Nkey {}", quote(key.as_bytes())),
            Some((_, name)) => format!("User {}", quote(name.as_bytes())),
            None => "User \"\"".to_owned(),
        };
        let line = format!("Removed sub {what} for {whom} - not authorized");
        fx.log.push((Level::Info, line));
        let text = format!("Permissions Violation for Subscription to {what}");
        self.remove_subscription(sub, fx);
        self.reply_error(conn.index, &text, fx);
    }
}
