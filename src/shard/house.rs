//! For tests: shards that are told everything at once, and clients in accounts.

use std::cell::Cell;
use std::sync::Arc;

use super::{Effects, Event, Policy, Reloaded, Settings, Shard};
use crate::auth::accounts::{Directory, Imports, SYSTEM_NAME};
use crate::auth::admission::Presented;
use crate::auth::definition::{
    AccountDefinition, AuthDefinition, Destination, ExportDefinition, ExportKind, ImportDefinition,
    ImportKind, MappingDefinition, ResponseType,
};
use crate::auth::gate::Gate;
use crate::base::ids::{AccountId, ConnId, ShardId};
use crate::config::Limits;
use crate::proto::info::ServerIdentity;
use crate::session::{CloseReason, Session};

pub(super) fn account(name: &str) -> AccountDefinition {
    AccountDefinition {
        name: name.to_owned(),
        ..AccountDefinition::default()
    }
}

/// Ways to write a definition down shortly.
impl AccountDefinition {
    pub(super) fn exports_stream(mut self, subject: &str) -> Self {
        self.exports.push(ExportDefinition {
            subject: subject.to_owned(),
            kind: ExportKind::Stream,
            accounts: None,
            token_required: false,
            account_token_position: 0,
        });
        self
    }

    pub(super) fn exports_service(mut self, subject: &str, response: ResponseType) -> Self {
        self.exports.push(ExportDefinition {
            subject: subject.to_owned(),
            kind: ExportKind::Service {
                response,
                threshold: None,
                latency: None,
                allow_trace: false,
            },
            accounts: None,
            token_required: false,
            account_token_position: 0,
        });
        self
    }

    pub(super) fn only_for(mut self, accounts: &[&str]) -> Self {
        let export = self.exports.last_mut().expect("one was added");
        export.accounts = Some(accounts.iter().map(|&a| a.to_owned()).collect());
        self
    }

    pub(super) fn imports(
        mut self,
        kind: ImportKind,
        account: &str,
        subject: &str,
        to: &str,
    ) -> Self {
        self.imports.push(ImportDefinition {
            account: account.to_owned(),
            subject: subject.to_owned(),
            to: (!to.is_empty()).then(|| to.to_owned()),
            activated: false,
            kind,
        });
        self
    }

    pub(super) fn imports_stream(self, account: &str, subject: &str, to: &str) -> Self {
        let kind = ImportKind::Stream { allow_trace: false };
        self.imports(kind, account, subject, to)
    }

    pub(super) fn imports_service(self, account: &str, subject: &str, to: &str) -> Self {
        let kind = ImportKind::Service { share: false };
        self.imports(kind, account, subject, to)
    }

    pub(super) fn maps(mut self, source: &str, destination: &str) -> Self {
        self.mappings.push(MappingDefinition {
            source: source.to_owned(),
            destinations: vec![Destination {
                subject: destination.to_owned(),
                weight: 100,
                cluster: None,
            }],
        });
        self
    }
}

pub(super) fn directory(accounts: &[AccountDefinition]) -> Result<Directory, String> {
    directory_after(accounts, None)
}

fn directory_after(
    accounts: &[AccountDefinition],
    before: Option<&Directory>,
) -> Result<Directory, String> {
    let accounts: Vec<_> = accounts.iter().cloned().map(Arc::new).collect();
    Directory::new(&accounts, SYSTEM_NAME, Imports::MustFit, before).map_err(|e| e.to_string())
}

/// What a server is made of in a test.
#[derive(Clone, Default)]
pub(super) struct Plan {
    pub shards: usize,
    pub auth: AuthDefinition,
    pub limits: Limits,
}

impl Plan {
    fn policy(&self, before: Option<&Directory>) -> Policy {
        let directory = directory_after(&self.auth.accounts, before);
        let directory = directory.expect("the accounts fit together");
        let gate = Gate::new(&self.auth).expect("the users are in order");
        Policy {
            gate: Arc::new(gate),
            directory: Arc::new(directory),
            only_more: false,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Client {
    pub shard: usize,
    pub conn: ConnId,
}

thread_local! {
    /// What the fine clock says, in nanoseconds.
    static CLOCK_NS: Cell<u64> = const { Cell::new(1) };
}

/// Sets the fine clock of this thread's houses.
pub(super) fn set_clock_ns(to: u64) {
    CLOCK_NS.set(to);
}

/// Shards that are told everything at once.
pub(super) struct House {
    pub shards: Vec<Shard>,
    pub clients: Vec<Client>,
    directory: Arc<Directory>,
    fx: Vec<Effects>,
    pub now: u64,
}

impl House {
    /// A house without users: clients are put into accounts.
    pub(super) fn new(shards: usize, accounts: &[AccountDefinition]) -> Self {
        Self::of(&Plan {
            shards,
            auth: AuthDefinition {
                accounts: accounts.to_vec(),
                ..AuthDefinition::default()
            },
            ..Plan::default()
        })
    }

    pub(super) fn of(plan: &Plan) -> Self {
        let policy = plan.policy(None);
        let settings = Settings {
            limits: plan.limits.clone(),
            identity: ServerIdentity {
                id: "N".repeat(56),
                name: "house".into(),
                host: "127.0.0.1".into(),
                port: 4222,
                auth_required: policy.gate.is_asked_for(),
                tls: None,
                xkey: None,
                jetstream: None,
            },
            unix_at_zero_ms: 0,
            fine_clock_ns: || CLOCK_NS.get(),
            debug: false,
            trace: false,
            shards: plan.shards,
            hash_seed: 1,
            policy,
        };
        Self {
            directory: Arc::clone(&settings.policy.directory),
            shards: (0..plan.shards)
                .map(|n| Shard::new(ShardId(n as u8), settings.clone(), n as u64))
                .collect(),
            clients: Vec::new(),
            fx: (0..plan.shards).map(|_| Effects::default()).collect(),
            now: 1,
        }
    }

    /// Has all shards follow a new configuration; the first of them has so many connections too many.
    pub(super) fn reload(&mut self, plan: &Plan, trace: bool, surplus: usize) {
        let policy = plan.policy(Some(&self.directory));
        self.directory = Arc::clone(&policy.directory);
        for shard in 0..self.shards.len() {
            let reloaded = Reloaded {
                limits: plan.limits.clone(),
                policy: policy.clone(),
                identity: self.shards[shard].settings.identity.clone(),
                debug: false,
                trace,
                storage: None,
                surplus: if shard == 0 { surplus } else { 0 },
            };
            self.tell(shard, Event::Reloaded(Box::new(reloaded)));
        }
        self.settle();
    }

    /// Replaces who may connect and the accounts.
    pub(super) fn change(&mut self, plan: &Plan) {
        let policy = plan.policy(Some(&self.directory));
        self.directory = Arc::clone(&policy.directory);
        for shard in 0..self.shards.len() {
            self.tell(shard, Event::Policy(policy.clone()));
        }
        self.settle();
    }

    /// A connection that has said nothing; its number. They go round the shards.
    pub(super) fn opens(&mut self, internal: Option<AccountId>) -> usize {
        let number = self.clients.len();
        let shard = number % self.shards.len();
        let conn = ConnId {
            index: (number / self.shards.len()) as u32,
            generation: 1,
        };
        let event = Event::Opened {
            conn,
            client_id: number as u64,
            peer: ([127, 0, 0, 1], 1).into(),
            refused: false,
            nonce: "nonce".into(),
            internal,
            opening: super::Opening::Plain,
        };
        self.tell(shard, event);
        self.clients.push(Client { shard, conn });
        self.heard(number);
        number
    }

    /// A connection in an account.
    pub(super) fn client(&mut self, account: &str) -> usize {
        let account = self.directory.find(account).expect("it is there").id;
        let number = self.opens(Some(account));
        self.connects(number, "");
        number
    }

    /// As [`Self::client`], but one that comes from outside, with a known round trip.
    pub(super) fn guest(&mut self, account: &str, round_trip_ns: u64) -> usize {
        let number = self.client(account);
        let session = self.session(number);
        session.internal = false;
        session.pings.round_trip_ns = round_trip_ns;
        number
    }

    /// What the broker knows of a client.
    pub(super) fn session(&mut self, client: usize) -> &mut Session {
        let Client { shard, conn } = self.clients[client];
        &mut self.shards[shard].sessions[conn.index as usize]
    }

    /// A connection of a user, let in or not.
    pub(super) fn user(&mut self, name: &str, pass: &str) -> usize {
        let number = self.opens(None);
        self.connects(number, &format!(",\"user\":{name:?},\"pass\":{pass:?}"));
        number
    }

    /// CONNECT with these options beside the usual ones.
    pub(super) fn connects(&mut self, client: usize, options: &str) {
        let usual = "\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true";
        self.say(client, &format!("CONNECT {{{usual}{options}}}\r\n"));
    }

    /// What a client sends; afterwards all shards have done all there is to do.
    pub(super) fn say(&mut self, client: usize, text: &str) {
        self.say_unheard(client, text);
        self.settle();
    }

    /// The same, but what the shards have for each other stays where it is.
    pub(super) fn say_unheard(&mut self, client: usize, text: &str) {
        let Client { shard, conn } = self.clients[client];
        let bytes = text.as_bytes();
        self.tell(shard, Event::Received { conn, bytes });
    }

    /// What a client has been sent since it was last asked.
    pub(super) fn heard(&mut self, client: usize) -> String {
        String::from_utf8(self.heard_bytes(client)).expect("tests speak text")
    }

    /// The same, where it may be no text.
    pub(super) fn heard_bytes(&mut self, client: usize) -> Vec<u8> {
        let Client { shard, conn } = self.clients[client];
        let out = self.shards[shard].outbound(conn).expect("it is there");
        let bytes: Vec<u8> = out.begin_send().flatten().copied().collect();
        let sent = bytes.len();
        self.tell(shard, Event::SendStarted { conn });
        self.tell(shard, Event::Sent { conn, bytes: sent });
        bytes
    }

    /// Whether a connection is being closed.
    pub(super) fn is_closed(&self, client: usize) -> bool {
        let Client { shard, conn } = self.clients[client];
        self.fx[shard].closes.iter().any(|close| close.conn == conn)
    }

    /// The peer hangs up.
    pub(super) fn hangs_up(&mut self, client: usize) {
        let Client { shard, conn } = self.clients[client];
        let reason = CloseReason::ClientClosed;
        self.tell(shard, Event::HungUp { conn, reason });
        self.settle();
    }

    /// What somebody else is to decide on, taken; with it the client's number.
    pub(super) fn questions(&mut self) -> Vec<(usize, Box<Presented>)> {
        let mut questions = Vec::new();
        for (shard, fx) in self.fx.iter_mut().enumerate() {
            for (conn, presented) in fx.questions.drain(..) {
                let client = self
                    .clients
                    .iter()
                    .position(|c| c.shard == shard && c.conn == conn);
                questions.push((client.expect("it is a client"), presented));
            }
        }
        questions
    }

    /// Somebody else has decided.
    pub(super) fn decide(&mut self, client: usize, presented: &Presented, plan: &Plan) {
        let Client { shard, conn } = self.clients[client];
        let Policy {
            gate, directory, ..
        } = plan.policy(Some(&self.directory));
        let outcome = gate.decide(&*directory, presented, self.now / 1000);
        self.tell(shard, Event::Decided { conn, outcome });
        self.settle();
    }

    /// Time passes.
    pub(super) fn wait(&mut self, ms: u64) {
        self.wait_unheard(ms);
        self.settle();
    }

    /// The same, but what the shards have for each other stays where it is.
    pub(super) fn wait_unheard(&mut self, ms: u64) {
        self.now += ms;
        for shard in 0..self.shards.len() {
            self.tell(shard, Event::Tick);
        }
    }

    fn tell(&mut self, shard: usize, event: Event<'_>) {
        self.shards[shard].handle(self.now, event, &mut self.fx[shard]);
    }

    /// Moves batches until there are none.
    fn settle(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for from in 0..self.shards.len() {
                for to in (0..self.shards.len()).filter(|&to| to != from) {
                    while let Some(batch) = self.shards[from].next_batch(ShardId(to as u8)) {
                        quiet = false;
                        let from = ShardId(from as u8);
                        self.tell(to, Event::Batch { from, batch });
                    }
                }
            }
        }
    }
}

/// The reply subject of the request in a delivery.
pub(super) fn reply_of(delivery: &str) -> String {
    delivery
        .split_ascii_whitespace()
        .find(|word| word.starts_with("_R_."))
        .unwrap_or_else(|| panic!("{delivery:?} has a reply"))
        .to_owned()
}
