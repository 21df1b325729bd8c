//! What a shard tells of itself: facts when asked, notices when something happens.
//!
//! Looks at every connection, so it is asked now and then, not for each message.

use std::sync::Arc;

use super::facts::{
    AccountFacts, CLOSED_SUBSCRIPTION_BYTES_MAX, CLOSED_SUBSCRIPTIONS_MAX, ConnFacts, Farewell,
    Notice, ShardFacts, SubFacts, Traffic, Wanted, WantedSubscriptions,
};
use super::{Effects, Shard};
use crate::auth::accounts::GLOBAL_NAME;
use crate::auth::definition::ConnectionType;
use crate::base::deadlines::Millis;
use crate::base::ids::{AccountId, ConnId};
use crate::router::NONE;
use crate::session::{CloseReason, Session};
use crate::subject;

/// Counts since the start that only others than the shard want to know.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Connections, those that were refused among them.
    pub connections: u64,
    pub stale_connections: u64,
    pub inserts: u64,
    pub removes: u64,
    /// By account: connections that are gone.
    accounts: Vec<PastOfAccount>,
}

#[derive(Clone, Debug, Default)]
struct PastOfAccount {
    traffic: Traffic,
    slow_consumers: u64,
}

impl Past {
    fn account(&mut self, id: AccountId) -> &mut PastOfAccount {
        let place = id.0 as usize;
        if place >= self.accounts.len() {
            self.accounts.resize_with(place + 1, Default::default);
        }
        &mut self.accounts[place]
    }

    /// A connection is gone.
    pub fn add(&mut self, session: &Session) {
        if !session.internal {
            self.account(session.account).traffic.add(&traffic(session));
        }
    }

    /// A connection of this account did not read.
    pub fn count_slow_consumer(&mut self, id: AccountId) {
        self.account(id).slow_consumers += 1;
    }
}

fn traffic(session: &Session) -> Traffic {
    Traffic {
        in_messages: session.in_messages,
        in_bytes: session.in_bytes,
        out_messages: session.out_messages,
        out_bytes: session.out_bytes,
    }
}

impl Shard {
    /// The shard at this moment. To find out of consumers may make the shard send something.
    pub fn facts(&mut self, now: Millis, wanted: &Wanted, fx: &mut Effects) -> ShardFacts {
        let Some(survey) = &wanted.streams else {
            return self.facts_of_connections(wanted);
        };
        self.now = now.max(1);
        let streams = self.with_engine(fx, |engine, now, out| engine.survey(now, survey, out));
        if self.streams.has_arrivals() {
            self.run_engine(fx);
        }
        ShardFacts {
            now: self.now,
            streams,
            ..ShardFacts::default()
        }
    }

    fn facts_of_connections(&self, wanted: &Wanted) -> ShardFacts {
        let mut facts = ShardFacts {
            now: self.now,
            jetstream: self
                .engine()
                .map(|engine| engine.facts(wanted.jetstream_accounts)),
            total_connections: self.past.connections,
            inserts: self.past.inserts,
            removes: self.past.removes,
            slow_consumers: self.counters.slow_consumers,
            stale_connections: self.past.stale_connections,
            stalls: self.counters.stalls,
            ..ShardFacts::default()
        };
        let mut accounts: Vec<AccountFacts> = (0u32..)
            .zip(&self.past.accounts)
            .map(|(id, past)| AccountFacts {
                name: self.account_name(AccountId(id)),
                traffic: past.traffic,
                slow_consumers: past.slow_consumers,
                ..AccountFacts::default()
            })
            .collect();
        for session in self.sessions.iter().filter(|s| s.live && !s.internal) {
            let place = session.account.0 as usize;
            for id in accounts.len()..=place {
                accounts.push(AccountFacts {
                    name: self.account_name(AccountId(id as u32)),
                    ..AccountFacts::default()
                });
            }
            let account = &mut accounts[place];
            account.traffic.add(&traffic(session));
            account.subscriptions += u64::from(session.subs);
            facts.subscriptions += u64::from(session.subs);
            if session.closing {
                continue;
            }
            facts.connections += 1;
            // As in nats-server, one that has not been let in is of no account.
            account.connections += u64::from(session.entered.is_some());
            self.list(session, wanted, &mut facts);
        }
        for account in &accounts {
            facts.traffic.add(&account.traffic);
        }
        accounts.retain(|account| {
            account.connections > 0
                || account.slow_consumers > 0
                || account.traffic != Traffic::default()
        });
        facts.accounts = accounts;
        facts
    }

    /// Adds what is wanted of one connection.
    fn list(&self, session: &Session, wanted: &Wanted, facts: &mut ShardFacts) {
        let account = self.account_name(session.account);
        if wanted.account.as_ref().is_some_and(|name| *name != account) {
            return;
        }
        if wanted.connections {
            facts.connections_list.push(self.conn_facts(session));
        }
        let every = match &wanted.subscriptions {
            WantedSubscriptions::None => return,
            WantedSubscriptions::Of(ids) if ids.binary_search(&session.client_id).is_err() => {
                return;
            }
            WantedSubscriptions::Of(_) | WantedSubscriptions::All => None,
            WantedSubscriptions::Matching(literal) => Some(literal.as_bytes()),
        };
        let mut sub = session.first_sub;
        while sub != NONE {
            let pattern = self.router.subject_of(sub);
            if every.is_none_or(|literal| subject::matches(pattern, literal)) {
                facts
                    .subscriptions_list
                    .push(self.sub_facts(sub, session, &account));
            }
            sub = self.router.next_of_conn(sub);
        }
    }

    pub(super) fn account_name(&self, id: AccountId) -> Arc<str> {
        match self.settings.policy.directory.get(id) {
            Some(account) => Arc::clone(&account.name),
            None => GLOBAL_NAME.into(),
        }
    }

    fn conn_facts(&self, session: &Session) -> ConnFacts {
        let options = session.options.as_deref();
        let admission = session.admission.as_deref();
        let user = match (admission, options) {
            (Some(admission), _) => admission.user.clone(),
            (None, Some(options)) => match &options.nkey {
                Some(nkey) => Some(nkey.clone()),
                None if options.user.is_some() => options.user.clone(),
                None => options.auth_token.as_ref().map(|_| "[REDACTED]".into()),
            },
            (None, None) => None,
        };
        let round_trip = session.pings.round_trip_ns;
        ConnFacts {
            client_id: session.client_id,
            connection_type: ConnectionType::Standard,
            peer: session.peer,
            started_at: session.opened_at,
            active_at: session
                .opened_at
                .max(session.heard_at)
                .max(session.drained_at),
            round_trip_ns: (round_trip != 0).then_some(round_trip),
            pending_bytes: session.out.pending_bytes(),
            traffic: traffic(session),
            stalls: session.stalls,
            subscriptions: session.subs,
            name: options.and_then(|o| o.name.clone()),
            lang: options.and_then(|o| o.lang.clone()),
            version: options.and_then(|o| o.version.clone()),
            tls: session.tls.clone(),
            account: self.account_name(session.account),
            user,
            claims: admission.and_then(|a| a.claims.clone()),
            permissions: session.permissions().cloned(),
            expires_unix_s: admission.and_then(|a| a.expires_unix_s),
            proxy: None,
        }
    }

    fn sub_facts(&self, sub: u32, session: &Session, account: &Arc<str>) -> SubFacts {
        let text = |bytes| String::from_utf8_lossy(bytes).into();
        SubFacts {
            account: Arc::clone(account),
            client_id: session.client_id,
            subject: text(self.router.subject_of(sub)),
            queue: text(self.router.queue_of(sub)),
            sid: self.sid_text(sub).into(),
            delivered: self.router.subs[sub].delivered,
            max: match self.router.max_of(sub) {
                u64::MAX => 0,
                max => max,
            },
        }
    }

    /// A connection was let in.
    pub(super) fn notice_of_entry(&self, conn: ConnId) -> Notice {
        let facts = self.conn_facts(&self.sessions[conn.index as usize]);
        Notice::Connected(Box::new(facts))
    }

    /// A connection was not let in.
    pub(super) fn notice_of_refusal(&self, conn: ConnId, reason: CloseReason) -> Notice {
        let facts = self.conn_facts(&self.sessions[conn.index as usize]);
        Notice::AuthenticationFailed(Box::new(facts), reason)
    }

    /// A connection is closed; said while it still has its subscriptions.
    pub(super) fn notice_of_end(&self, conn: ConnId, reason: CloseReason) -> Notice {
        let session = &self.sessions[conn.index as usize];
        let facts = self.conn_facts(session);
        let mut subscriptions = Vec::new();
        let mut bytes = 0;
        let mut sub = session.first_sub;
        while sub != NONE && subscriptions.len() < CLOSED_SUBSCRIPTIONS_MAX {
            let one = self.sub_facts(sub, session, &facts.account);
            bytes += one.subject.len() + one.queue.len() + one.sid.len();
            if bytes > CLOSED_SUBSCRIPTION_BYTES_MAX {
                break;
            }
            subscriptions.push(one);
            sub = self.router.next_of_conn(sub);
        }
        Notice::Disconnected(Box::new(Farewell {
            facts,
            reason,
            stopped_at: self.now,
            subscriptions,
            admitted: session.entered.is_some(),
        }))
    }

    /// The connection with this number, if it is here and open.
    pub fn find_client(&self, client_id: u64) -> Option<ConnId> {
        let is_it = |s: &&Session| s.live && !s.closing && !s.internal && s.client_id == client_id;
        self.sessions.iter().find(is_it).map(|session| session.id)
    }

    /// Tells one client that the server is in lame duck mode.
    pub(super) fn tell_lame_duck(&mut self, conn: ConnId, fx: &mut super::Effects) {
        let before = std::mem::replace(&mut self.lame_duck, true);
        let info = self.info(conn.index, false);
        self.lame_duck = before;
        self.reply(conn.index, &info, fx);
    }

    /// Whether a client has shown that it understands INFO at any time.
    pub fn understands_info(&self, conn: ConnId) -> bool {
        self.is_open(conn) && self.sessions[conn.index as usize].connect_info_sent
    }
}
