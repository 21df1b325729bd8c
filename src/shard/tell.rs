//! What a shard tells of itself: facts when asked, notices when something happens.
//!
//! Looks at every connection, so it is asked now and then, not for each message.

use std::sync::Arc;

use smallvec::SmallVec;

use super::facts::{
    AccountFacts, CLOSED_SUBSCRIPTION_BYTES_MAX, CLOSED_SUBSCRIPTIONS_MAX, ConnFacts, Farewell,
    ListPlace, Notice, ShardFacts, SubFacts, Traffic, Wanted, WantedSubscriptions,
};
use super::{Effects, Shard};
use crate::auth::accounts::GLOBAL_NAME;
use crate::auth::definition::ConnectionType;
use crate::base::deadlines::Millis;
use crate::base::ids::{AccountId, ConnId};
use crate::router::{NONE, SubId};
use crate::session::{CloseReason, Session};
use crate::subject;

/// Connections and subscriptions that a turn looks at for a list.
const LIST_STEPS_MAX: usize = 8192;
/// One that is listed counts for so many more.
const LISTED_STEPS: usize = 4;

/// So many connections are counted once a millisecond.
const COUNTED_PER_MS: u64 = 100;
/// Counts are never older.
const COUNTED_MS_MAX: Millis = 250;

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
    counted: Counted,
}

/// What was counted of all connections the last time.
#[derive(Debug, Default)]
struct Counted {
    at: Millis,
    connections: u64,
    subscriptions: u64,
    traffic: Traffic,
    accounts: Vec<AccountFacts>,
}

impl Counted {
    /// Whether it need not be counted again. Many who ask, each for something else, must not have many connections counted
    /// as often: a thousand are counted each ten milliseconds at most, and few whenever somebody asks.
    fn is_fresh(&self, now: Millis) -> bool {
        let lasts = (self.connections / COUNTED_PER_MS).min(COUNTED_MS_MAX);
        now < self.at + lasts
    }
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

fn place(session: &Session, slot: u32, sid: &str) -> ListPlace {
    ListPlace {
        slot,
        client_id: session.client_id,
        sid: sid.into(),
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
            return self.facts_of_connections(now, wanted);
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

    fn facts_of_connections(&mut self, now: Millis, wanted: &Wanted) -> ShardFacts {
        let own = self.id;
        let from = wanted.from.iter().find(|(shard, _)| *shard == own);
        let mut facts = ShardFacts {
            now: self.now,
            ..ShardFacts::default()
        };
        if wanted.from.is_empty() {
            self.count(now, wanted, &mut facts);
        }
        let is_listed = wanted.connections || wanted.subscriptions != WantedSubscriptions::None;
        if is_listed && (wanted.from.is_empty() || from.is_some()) {
            self.list(wanted, from.map(|(_, place)| place), &mut facts);
        }
        facts
    }

    /// What every answer has.
    fn count(&mut self, now: Millis, wanted: &Wanted, facts: &mut ShardFacts) {
        if !self.past.counted.is_fresh(now) {
            self.count_connections(now);
        }
        let Counted {
            connections,
            subscriptions,
            traffic,
            accounts,
            ..
        } = &self.past.counted;
        facts.connections = *connections;
        facts.subscriptions = *subscriptions;
        facts.traffic = *traffic;
        facts.accounts.clone_from(accounts);
        facts.jetstream = self
            .engine()
            .map(|engine| engine.facts(wanted.jetstream_accounts));
        facts.total_connections = self.past.connections;
        facts.inserts = self.past.inserts;
        facts.removes = self.past.removes;
        facts.slow_consumers = self.counters.slow_consumers;
        facts.stale_connections = self.past.stale_connections;
        facts.stalls = self.counters.stalls;
    }

    fn count_connections(&mut self, now: Millis) {
        let mut counted = Counted {
            at: now,
            ..Counted::default()
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
            counted.subscriptions += u64::from(session.subs);
            if session.closing {
                continue;
            }
            counted.connections += 1;
            // As in nats-server, one that has not been let in is of no account.
            account.connections += u64::from(session.entered.is_some());
        }
        for account in &accounts {
            counted.traffic.add(&account.traffic);
        }
        accounts.retain(|account| {
            account.connections > 0
                || account.slow_consumers > 0
                || account.traffic != Traffic::default()
        });
        counted.accounts = accounts;
        self.past.counted = counted;
    }

    /// Lists what is wanted of connections, as far as one turn may take.
    fn list(&self, wanted: &Wanted, from: Option<&ListPlace>, facts: &mut ShardFacts) {
        let mut steps = 0;
        // Where that is more than a piece holds, it saves nothing.
        let kept = wanted.subscriptions_kept;
        let kept = kept.filter(|kept| *kept < LIST_STEPS_MAX / LISTED_STEPS);
        let first = from.map_or(0, |place| place.slot);
        for slot in first..self.sessions.len() as u32 {
            let session = &self.sessions[slot as usize];
            if steps >= LIST_STEPS_MAX {
                facts.next = Some((self.id, place(session, slot, "")));
                return;
            }
            steps += 1;
            if !session.live || session.internal || session.closing {
                continue;
            }
            let account = self.account_name(session.account);
            if wanted.account.as_ref().is_some_and(|name| *name != account) {
                continue;
            }
            let is_same = |place: &&ListPlace| {
                place.slot == slot && place.client_id == session.client_id && !place.sid.is_empty()
            };
            let mut sub = match from.filter(is_same) {
                // One that has ended meanwhile takes those behind it along.
                Some(place) => self.router.find(slot, place.sid.as_bytes()).unwrap_or(NONE),
                None => {
                    if wanted.connections {
                        facts.connections_list.push(self.conn_facts(session));
                        steps += LISTED_STEPS;
                    }
                    session.first_sub
                }
            };
            let literal = match &wanted.subscriptions {
                WantedSubscriptions::None => continue,
                WantedSubscriptions::Of(ids) if ids.binary_search(&session.client_id).is_err() => {
                    continue;
                }
                WantedSubscriptions::Of(_) | WantedSubscriptions::All => None,
                WantedSubscriptions::Matching(literal) => Some(literal.as_bytes()),
            };
            let mut chosen: Vec<SubId> = Vec::new();
            while sub != NONE && steps < LIST_STEPS_MAX {
                steps += 1;
                let pattern = self.router.subject_of(sub);
                if literal.is_none_or(|literal| subject::matches(pattern, literal)) {
                    chosen.push(sub);
                    steps += if kept.is_none() { LISTED_STEPS } else { 0 };
                }
                sub = self.router.next_of_conn(sub);
            }
            facts.subscriptions_found += chosen.len();
            if let Some(kept) = kept.filter(|kept| *kept < chosen.len()) {
                chosen.select_nth_unstable_by_key(kept, |sub| self.sid_bytes(*sub));
                chosen.truncate(kept);
            }
            let list = chosen
                .iter()
                .map(|sub| self.sub_facts(*sub, session, &account));
            facts.subscriptions_list.extend(list);
            if kept.is_some() {
                steps += chosen.len() * LISTED_STEPS;
            }
            if sub != NONE {
                facts.next = Some((self.id, place(session, slot, &self.sid_text(sub))));
                return;
            }
        }
    }

    fn sid_bytes(&self, sub: SubId) -> SmallVec<[u8; 8]> {
        let sid = self.router.subs[sub].sid;
        match sid.long_place() {
            Some(place) => SmallVec::from_slice(self.router.long_sid(place)),
            None => {
                let (word, len) = sid.word_and_len();
                SmallVec::from_slice(&word.to_le_bytes()[..len - 1])
            }
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
