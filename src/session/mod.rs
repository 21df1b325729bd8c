//! One peer's conversation: what it asked for, what is owed to it, what it left unfinished.
//!
//! A session knows its own connection only. It takes no decision about other connections and
//! does not know the router; the shard moves messages between sessions.

mod carry;
pub mod close;
mod replies;

pub use carry::Carry;
pub use close::CloseReason;
pub use replies::Replies;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::auth::admission::{Admission, Presented, TlsFacts};
use crate::auth::definition::{ConnectionType, Secret};
use crate::auth::permissions::Permissions;
use crate::base::deadlines::Millis;
use crate::base::ids::{AccountId, ConnId, ShardId};
use crate::base::outbound::Outbound;
use crate::proto::client::Bounds;
use crate::proto::connect::{ConnectError, ConnectOptions};

/// A connection whose input is held back until this destination has drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Publisher {
    /// The shard of the connection.
    pub shard: ShardId,
    /// The connection there.
    pub conn: ConnId,
}

/// The pings of one connection.
#[derive(Debug, Default)]
pub struct Pings {
    /// When to look next.
    pub at: Millis,
    /// Sent and not answered.
    pub outstanding: u32,
    /// When the peer last published, subscribed or pinged.
    pub active_at: Millis,
    /// Messages it had published at the last look.
    pub published: u64,
    /// A PONG has come since CONNECT, so the round trip is known.
    pub answered: bool,
    /// When the last one was sent, on the fine clock; 0 when it was answered.
    pub sent_at_ns: u64,
    /// How long the last answer took; 0 before the first.
    pub round_trip_ns: u64,
}

impl Pings {
    /// What was sent last is answered.
    pub fn heard(&mut self, now_ns: u64) {
        if self.sent_at_ns != 0 {
            self.round_trip_ns = now_ns.saturating_sub(self.sent_at_ns).max(1);
            self.sent_at_ns = 0;
        }
    }
}

/// Everything about one client connection.
#[derive(Debug)]
pub struct Session {
    // What each delivery touches comes first.
    /// Bytes to send.
    pub out: Outbound,
    /// Unsent bytes above which the shard has to act.
    pub water: usize,
    /// Deliveries to it.
    pub out_messages: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Slot and generation.
    pub id: ConnId,
    /// It has bytes to send, and the runtime has been told.
    pub dirty: bool,
    /// It is being closed: nothing is read from it.
    pub closing: bool,
    /// Nothing more is delivered to it: it is being closed, or will be after this message because
    /// it is over `max_pending`; with `no_fast_producer_stall`, until it has read some.
    pub deaf: bool,
    /// It gets its own messages.
    pub echo: bool,
    /// It takes HMSG.
    pub headers: bool,
    /// What it is asked, it may answer though it may not publish there otherwise.
    pub may_reply: bool,
    /// The slot is in use.
    pub live: bool,

    // What each publish touches.
    /// Where its last plan was found.
    pub plan_hint: u32,
    /// Whose subjects it speaks of.
    pub account: AccountId,
    /// What bounds its operations.
    pub bounds: Bounds,
    /// Its publishes are checked, answered or traced.
    pub wordy: bool,
    /// `+OK` for each operation.
    pub verbose: bool,
    /// Publish subjects are checked.
    pub pedantic: bool,
    /// Requests without a responder are answered.
    pub no_responders: bool,
    /// It has to authenticate first.
    pub awaits_auth: bool,
    /// What it publishes may be mapped: its account has mappings.
    pub mapped: bool,
    /// Which permissions its publishes are checked against; 0 for none.
    pub permissions_id: u64,
    /// Messages published.
    pub in_messages: u64,
    /// Bytes published.
    pub in_bytes: u64,
    /// The start of an operation that is not all there.
    pub carry: Carry,
    /// Destinations that hold back its input.
    pub holds: u32,
    /// When something last came from it.
    pub heard_at: Millis,

    // The rest.
    /// Number in the server's life.
    pub client_id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The TLS connection, if it is one.
    pub tls: Option<Arc<TlsFacts>>,
    /// What it asked for; none before CONNECT.
    pub options: Option<Box<ConnectOptions>>,
    /// What it was let in as; none before that.
    pub admission: Option<Arc<Admission>>,
    /// When it was accepted.
    pub opened_at: Millis,
    /// The server offers headers.
    pub offers_headers: bool,
    /// What INFO gave it to sign; empty for nothing.
    pub nonce: Box<str>,
    /// It is the server's own: it counts nowhere and nothing is logged of it.
    pub internal: bool,
    /// The account that counts it.
    pub entered: Option<AccountId>,
    /// Whether to let it in is being decided elsewhere.
    pub deciding: bool,
    /// When its admission ends; 0 for never.
    pub expires_at: Millis,
    /// Subscriptions that it may have; 0 for any number.
    pub max_subscriptions: usize,
    /// Replies it may publish to because it was asked.
    pub replies: Option<Box<Replies>>,
    /// First of its subscriptions, or `router::NONE`.
    pub first_sub: u32,
    /// How many it has.
    pub subs: u32,
    /// Interest number that its next PONG must wait for.
    pub barrier: u64,
    /// It waits for that number: what it has sent since is kept here, unread.
    pub backlog: Option<Vec<u8>>,
    /// It has closed its sending side meanwhile: when the backlog is done, so is it.
    pub ends_after_backlog: bool,
    /// Its pings.
    pub pings: Pings,
    /// The second INFO has been sent.
    pub connect_info_sent: bool,
    /// When authentication must have happened; 0 for never.
    pub auth_at: Millis,
    /// When the send under way was started or last got on; 0 when there is none.
    pub sending_since: Millis,
    /// When to look at the send under way; 0 for never.
    pub write_check_at: Millis,
    /// Times that a destination held back its input.
    pub stalls: u64,
    /// When it was last able to send something.
    pub drained_at: Millis,
    /// Publishers held back until it drains, and until when; 0 for nobody.
    pub waiting: Vec<Publisher>,
    /// End of the stall under way; 0 when there is none.
    pub stall_until: Millis,
    /// A stall has ended without it having drained: nobody waits for it any more.
    pub lagging: bool,
}

/// Why a CONNECT is refused, other than by who decides on credentials.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// A protocol version that there is none of.
    ProtocolVersion,
    /// `no_responders` without `headers`.
    NoRespondersNeedsHeaders,
    /// An account named by the client.
    Account,
}

impl Session {
    /// A session for a connection just accepted.
    pub fn new(id: ConnId, client_id: u64, peer: SocketAddr, bounds: Bounds, water: usize) -> Self {
        // Before CONNECT the options are the defaults of the protocol.
        let options = ConnectOptions::default();
        Self {
            out: Outbound::default(),
            water,
            out_messages: 0,
            out_bytes: 0,
            id,
            dirty: false,
            closing: false,
            deaf: false,
            echo: options.echo,
            headers: options.headers,
            may_reply: false,
            live: true,
            plan_hint: 0,
            account: AccountId::GLOBAL,
            bounds,
            wordy: true,
            verbose: options.verbose,
            pedantic: options.pedantic,
            no_responders: false,
            awaits_auth: false,
            mapped: false,
            permissions_id: 0,
            in_messages: 0,
            in_bytes: 0,
            carry: Carry::default(),
            holds: 0,
            heard_at: 0,
            client_id,
            peer,
            tls: None,
            options: None,
            admission: None,
            opened_at: 0,
            offers_headers: true,
            nonce: Box::default(),
            internal: false,
            entered: None,
            deciding: false,
            expires_at: 0,
            max_subscriptions: 0,
            replies: None,
            first_sub: u32::MAX,
            subs: 0,
            barrier: 0,
            backlog: None,
            ends_after_backlog: false,
            pings: Pings::default(),
            connect_info_sent: false,
            auth_at: 0,
            sending_since: 0,
            write_check_at: 0,
            stalls: 0,
            drained_at: 0,
            waiting: Vec::new(),
            stall_until: 0,
            lagging: false,
        }
    }

    /// Takes over the options of a CONNECT, and says what it presents.
    pub fn connect(&mut self, json: &[u8]) -> Result<Presented, ConnectError> {
        let mut options = self.options.take().unwrap_or_default();
        let merged = options.merge(json);
        let options = self.options.insert(options);
        merged?;
        let secret = |text: &Option<Box<str>>| text.as_deref().map(|t| Secret(t.to_owned()));
        Ok(Presented {
            user: options.user.clone(),
            pass: secret(&options.pass),
            token: secret(&options.auth_token),
            nkey: options.nkey.clone(),
            jwt: options.jwt.clone(),
            sig: options.sig.clone(),
            proxy_sig: options.proxy_sig.clone(),
            nonce: self.nonce.clone(),
            connection_type: ConnectionType::Standard,
            peer: self.peer.ip(),
            port: self.peer.port(),
            client_id: self.client_id,
            name: options.name.clone(),
            lang: options.lang.clone(),
            version: options.version.clone(),
            protocol: options.protocol,
            tls: self.tls.clone(),
        })
    }

    /// Lets it in, if the rest of its CONNECT is in order.
    pub fn admit(&mut self, admission: Arc<Admission>) -> Result<(), Refusal> {
        let options = self.options.get_or_insert_default();
        if !(0..=1).contains(&options.protocol) {
            return Err(Refusal::ProtocolVersion);
        }
        if options.no_responders && !(options.headers && self.offers_headers) {
            return Err(Refusal::NoRespondersNeedsHeaders);
        }
        if options.new_account || options.account.as_deref().is_some_and(|a| !a.is_empty()) {
            return Err(Refusal::Account);
        }
        self.wordy = options.verbose || options.pedantic;
        self.verbose = options.verbose;
        self.pedantic = options.pedantic;
        self.echo = options.echo;
        self.headers = options.headers && self.offers_headers;
        self.bounds.headers = self.headers;
        self.no_responders = options.no_responders;
        self.awaits_auth = false;
        self.auth_at = 0;
        self.account = admission.account;
        self.allow(admission);
        Ok(())
    }

    /// What it may do is what this admission says.
    pub fn allow(&mut self, admission: Arc<Admission>) {
        self.permissions_id = admission.permissions.as_ref().map_or(0, |p| p.id());
        let responses = admission.permissions.as_ref().and_then(|p| p.responses());
        self.may_reply = responses.is_some();
        self.replies = responses.map(|rules| Box::new(Replies::new(rules)));
        self.admission = Some(admission);
    }

    /// It is being sent a request with this reply subject.
    pub fn expect_reply(&mut self, reply: &[u8], now: Millis) {
        let allowed = self.permissions().is_none_or(|p| p.may_publish(reply));
        if let (false, Some(replies)) = (allowed, &mut self.replies) {
            replies.expect(reply, now);
        }
    }

    /// What it may do, if that is bounded.
    pub fn permissions(&self) -> Option<&Arc<Permissions>> {
        self.admission.as_ref()?.permissions.as_ref()
    }

    /// Whether the slot is in use, and by this connection.
    pub fn is_live(&self, id: ConnId) -> bool {
        self.live && self.id == id
    }

    /// The name of the connection in the log, in nats-server's form.
    pub fn label(&self) -> String {
        let mut label = format!("{} - cid:{}", self.peer, self.client_id);
        let Some(options) = &self.options else {
            return label;
        };
        let version = options.version.as_deref().map(|v| format!("v{v}"));
        let parts: Vec<&str> = [
            version.as_deref(),
            options.lang.as_deref(),
            options.name.as_deref(),
        ]
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
        if !parts.is_empty() {
            label.push_str(&format!(" - \"{}\"", parts.join(":")));
        }
        if let Some(admission) = &self.admission {
            if let Some(whom) = &admission.label {
                label.push_str(&format!(" - \"{}/{whom}\"", admission.account_name));
            }
            return label;
        }
        match (&options.user, &options.auth_token) {
            (Some(user), _) if !user.is_empty() => {
                label.push_str(&format!(" - \"$G/user:{user}\""));
            }
            (_, Some(_)) => label.push_str(" - \"$G/token\""),
            (Some(_) | None, None) => {}
        }
        label
    }
}
