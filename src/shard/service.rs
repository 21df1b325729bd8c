//! Requests that another account answers, and their way back.
//!
//! A request through a service import is published in the exporting account with a reply subject
//! of this shard's making, `_R_.` and twelve characters: one for the shard, eleven for the entry
//! in its table; two more if the time is measured (`latency`). Whoever publishes to it, on whichever shard, has the message sent here, where
//! the entry says to whom it belongs. No interest is told to other shards for a request.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::frame::{FrameRest, PublishFrame, QueueNames};
use super::latency::{Fate, Measured};
use super::publish::{self, Message, Origin};
use super::trace::Passage;
use super::{Effects, Shard};
use crate::auth::accounts::ServiceImport;
use crate::auth::definition::ResponseType;
use crate::auth::mapping::Selected;
use crate::base::deadlines::Millis;
use crate::base::ids::{AccountId, ConnId, ShardId};
use crate::base::limits::{IMPORT_CHAIN_MAX, SERVICE_RESPONSES_MAX};
use crate::proto::client::Publish;
use crate::proto::client_info::{ClientInfo, REQUEST_INFO};
use crate::proto::headers;
use crate::router::{NONE, ServiceLeg};
use crate::session::Publisher;

/// Where responses to requests through service imports go.
const PREFIX: &[u8] = b"_R_.";
/// Digits of what follows it.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
/// Digits of an entry's number.
const NUMBER_LEN: usize = 11;
const REPLY_LEN: usize = PREFIX.len() + 1 + NUMBER_LEN;
/// What follows that, if who answers is to be told.
const MEASURED: &[u8] = b".T";
/// Replies that consumers acknowledge with: they keep their meaning in other accounts.
const JETSTREAM_ACK: &[u8] = b"$JS.ACK.";

/// A request whose response is awaited.
#[derive(Debug)]
struct Awaited {
    /// The account that asked.
    to: AccountId,
    /// The account that answers.
    from: AccountId,
    /// Where the response goes.
    reply: Box<[u8]>,
    response: ResponseType,
    threshold_ms: Millis,
    expires_at: Millis,
    measured: Option<Box<Measured>>,
}

/// All of a shard.
#[derive(Debug, Default)]
pub(super) struct Responses {
    awaited: HashMap<u64, Awaited>,
    /// When to look at which; an entry may have been prolonged.
    expiries: BinaryHeap<Reverse<(Millis, u64)>>,
    /// Those that are measured.
    pub(super) measured: BTreeSet<u64>,
    /// When to look whether those are still waited for; 0 for never.
    pub(super) look_at: Millis,
    /// Service imports passed by the message under way.
    depth: usize,
}

impl Responses {
    /// When the first one expires.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        let expiry = self.expiries.peek().map(|Reverse((at, _))| *at);
        let look = (self.look_at != 0).then_some(self.look_at);
        expiry.into_iter().chain(look).min()
    }

    /// Forgets those that were waited for long enough, and returns what was measured of them.
    pub(super) fn expire(&mut self, now: Millis) -> Vec<Measured> {
        let mut expired = Vec::new();
        while let Some(&Reverse((at, number))) = self.expiries.peek()
            && at <= now
        {
            self.expiries.pop();
            match self.awaited.get(&number).map(|awaited| awaited.expires_at) {
                Some(later) if later > now => self.expiries.push(Reverse((later, number))),
                Some(_) => expired.extend(self.remove(number).map(|measured| *measured)),
                None => {}
            }
        }
        expired
    }

    /// Forgets one, and returns what was measured of it.
    pub(super) fn remove(&mut self, number: u64) -> Option<Box<Measured>> {
        let measured = self.awaited.remove(&number)?.measured;
        if measured.is_some() {
            self.measured.remove(&number);
        }
        measured
    }

    /// Where the response goes, and to whom.
    pub(super) fn reply_of(&self, number: u64) -> Option<(AccountId, &[u8])> {
        let awaited = self.awaited.get(&number)?;
        Some((awaited.to, &awaited.reply))
    }

    fn add(&mut self, number: u64, awaited: Awaited) {
        self.expiries.push(Reverse((awaited.expires_at, number)));
        if awaited.measured.is_some() {
            self.measured.insert(number);
        }
        self.awaited.insert(number, awaited);
    }
}

/// Whether a subject is one of a response.
pub(super) fn is_response(subject: &[u8]) -> bool {
    subject.starts_with(PREFIX)
        && (subject.len() == REPLY_LEN
            || (subject.len() == REPLY_LEN + MEASURED.len() && subject.ends_with(MEASURED)))
}

/// Whether a response is measured.
fn is_measured(subject: &[u8]) -> bool {
    is_response(subject) && subject.len() != REPLY_LEN
}

pub(super) fn reply_subject(shard: ShardId, number: u64, is_measured: bool) -> SmallVec<[u8; 64]> {
    let mut subject = SmallVec::from_slice(PREFIX);
    subject.push(DIGITS[shard.index()]);
    let mut left = number;
    for _ in 0..NUMBER_LEN {
        subject.push(DIGITS[(left & 63) as usize]);
        left >>= 6;
    }
    if is_measured {
        subject.extend_from_slice(MEASURED);
    }
    subject
}

/// The shard and the entry that a response subject names.
fn parse_reply(subject: &[u8]) -> Option<(ShardId, u64)> {
    let subject = subject.strip_suffix(MEASURED).unwrap_or(subject);
    let (shard, digits) = subject.strip_prefix(PREFIX)?.split_first()?;
    if digits.len() != NUMBER_LEN {
        return None;
    }
    let value = |digit: u8| DIGITS.iter().position(|&d| d == digit);
    let mut number: u64 = 0;
    for (place, &digit) in digits.iter().enumerate() {
        number |= (value(digit)? as u64).checked_shl(6 * place as u32)?;
    }
    Some((ShardId(value(*shard)? as u8), number))
}

impl Shard {
    /// Sends a message to the accounts that answer it; whether anybody got it.
    pub(super) fn send_to_services(
        &mut self,
        origin: &Origin,
        account: AccountId,
        services: &[ServiceLeg],
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        if services.is_empty() || self.responses.depth >= IMPORT_CHAIN_MAX {
            return false;
        }
        self.responses.depth += 1;
        let directory = Arc::clone(&self.settings.policy.directory);
        let mut delivered = false;
        for leg in services {
            delivered |= match *leg {
                ServiceLeg::Import(number) => match directory.services.get(number as usize) {
                    Some(import) => self.serve(origin, import, message, fx),
                    None => false,
                },
                ServiceLeg::System(number) => {
                    match directory.system_service(usize::from(number), account) {
                        Some(import) => self.serve(origin, &import, message, fx),
                        None => false,
                    }
                }
            };
        }
        self.responses.depth -= 1;
        delivered
    }

    /// Publishes a request in the account that answers it.
    fn serve(
        &mut self,
        origin: &Origin,
        import: &ServiceImport,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        let mut subject = Vec::new();
        match &import.there {
            Some(there) if !there.apply(message.subject, 0, &mut subject) => return false,
            Some(_) => {}
            None if import.from == import.to => subject.extend_from_slice(message.subject),
            None => subject.extend_from_slice(&import.to),
        }
        let subject = self.mapped_in(import.exporter, subject);
        let is_only_traced = self.is_only_traced();
        let mut measured = None;
        if !is_only_traced {
            measured = self.measure(origin, import, message, fx);
        }
        if message.reply_len == 0
            && let Some(measured) = measured.take()
        {
            self.report_fate(&measured, Fate::BadRequest, fx);
        }
        let mut awaited = None;
        let reply: SmallVec<[u8; 64]> = if message.reply_len == 0 {
            SmallVec::new()
        } else if message.reply().starts_with(JETSTREAM_ACK) {
            SmallVec::from_slice(message.reply())
        } else {
            // A response in pieces has no end that could be measured.
            measured = measured.filter(|_| import.response == ResponseType::Singleton);
            measured = measured.filter(|_| self.may_measure());
            let is_noted = measured.is_some() || is_measured(message.reply());
            let Some(number) = self.await_response(
                (import.importer, import.exporter),
                message.reply(),
                (import.response, import.threshold.as_millis() as Millis),
                measured,
            ) else {
                return false;
            };
            awaited = Some(number);
            reply_subject(self.id, number, is_noted)
        };
        let mut header = self.with_request_info(origin, import, message);
        let passage = self.note_service(import, message.subject, &subject, &mut header);
        let payload = &message.body()[message.header_len..];
        let delivered = !matches!(passage, Passage::End)
            && self.publish_in(
                origin,
                import.exporter,
                &Publish {
                    subject: &subject,
                    reply: &reply,
                    header_len: (!header.is_empty()).then_some(header.len()),
                    body: &[&header, payload].concat(),
                    rest: None,
                },
                fx,
            );
        self.resume_trace(passage);
        if (!delivered || is_only_traced)
            && let Some(number) = awaited
            && let Some(measured) = self.responses.remove(number)
        {
            self.report_fate(&measured, Fate::Unavailable, fx);
        }
        delivered
    }

    /// Publishes what the server itself has to say in an account, without a request's way to
    /// other accounts' services.
    pub(super) fn publish_report(
        &mut self,
        account: AccountId,
        subject: &[u8],
        header: &[u8],
        payload: &[u8],
        fx: &mut Effects,
    ) {
        let publish = Publish {
            subject,
            reply: &[],
            header_len: (!header.is_empty()).then_some(header.len()),
            body: &[header, payload].concat(),
            rest: None,
        };
        let rest = publish::normalised(&publish);
        let message = publish::message(&publish, &rest, None);
        let hash = self.router.hasher().of(subject);
        let plan = self.router.route_hashed(account, subject, hash);
        // It is no part of what is traced.
        let tracing = self.tracing.take();
        let origin = Origin {
            // Nobody is held back for it.
            publisher: Publisher {
                shard: self.id,
                conn: ConnId {
                    index: NONE,
                    generation: 0,
                },
            },
            no_echo: NONE,
            replanned: false,
        };
        self.send_to_importers(&origin, plan, &message, fx);
        self.tracing = tracing;
    }

    /// Sends a message to everybody in an account.
    pub(super) fn publish_in(
        &mut self,
        origin: &Origin,
        account: AccountId,
        publish: &Publish<'_>,
        fx: &mut Effects,
    ) -> bool {
        let rest = publish::normalised(publish);
        self.send_in(origin, account, &publish::message(publish, &rest, None), fx)
    }

    /// The same with a message as deliveries need it.
    pub(super) fn send_in(
        &mut self,
        origin: &Origin,
        account: AccountId,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        let (subject, _) = message.subject_and_shown();
        let plan = self.router.route_once(account, subject);
        if self.router.plans.get(plan).is_empty() {
            return false;
        }
        self.send_to_plan(origin, plan, message, fx)
    }

    /// Where an account's mappings lead from a subject.
    fn mapped_in(&mut self, account: AccountId, subject: Vec<u8>) -> Vec<u8> {
        let directory = Arc::clone(&self.settings.policy.directory);
        let Some(mappings) = directory.get(account).and_then(|a| a.mappings.as_ref()) else {
            return subject;
        };
        let random = self.prng.next_u64();
        let mut mapped = Vec::new();
        match mappings.select(&subject, random, &mut mapped) {
            Selected::Unchanged => subject,
            Selected::Mapped => mapped,
            Selected::Dropped => Vec::new(),
        }
    }

    /// Notes that a response is awaited; its number, or `None` when there are too many.
    fn await_response(
        &mut self,
        (to, from): (AccountId, AccountId),
        reply: &[u8],
        (response, threshold_ms): (ResponseType, Millis),
        measured: Option<Box<Measured>>,
    ) -> Option<u64> {
        if self.responses.awaited.len() >= SERVICE_RESPONSES_MAX {
            return None;
        }
        let mut number = self.prng.next_u64();
        while self.responses.awaited.contains_key(&number) {
            number = self.prng.next_u64();
        }
        let awaited = Awaited {
            to,
            from,
            reply: reply.into(),
            response,
            threshold_ms,
            expires_at: self.now + threshold_ms,
            measured,
        };
        self.responses.add(number, awaited);
        Some(number)
    }

    /// The message's header block with who asks in it, whatever the client wrote there.
    fn with_request_info(
        &self,
        origin: &Origin,
        import: &ServiceImport,
        message: &Message<'_>,
    ) -> Vec<u8> {
        let block = &message.body()[..message.header_len];
        if self.responses.depth > 1 && !block.is_empty() {
            // The account before has put it there.
            return block.to_vec();
        }
        let mut changed = Vec::new();
        let Some(info) = self.client_info(origin.publisher, import.share) else {
            headers::without(block, REQUEST_INFO, &mut changed);
            return changed;
        };
        let to_system = self.settings.policy.directory.system == Some(import.exporter);
        let server = (import.share || to_system).then_some(&*self.settings.identity.name);
        let info = info.with_server(server).to_json();
        headers::set(block, REQUEST_INFO, &info, &mut changed);
        changed
    }

    /// What is told of a client to services of other accounts.
    pub(super) fn client_info(&self, publisher: Publisher, all: bool) -> Option<ClientInfo> {
        if publisher.shard != self.id {
            return None;
        }
        let session = self.sessions.get(publisher.conn.index as usize)?;
        if !session.is_live(publisher.conn) || session.internal {
            return None;
        }
        let account = session
            .admission
            .as_ref()
            .map(|a| a.account_name.to_string());
        let mut info = ClientInfo::of_account(account.unwrap_or_else(|| "$G".to_owned()));
        let round_trip = session.pings.round_trip_ns;
        info.rtt = (round_trip != 0).then_some(round_trip);
        if all {
            info.describe(
                session.client_id,
                session.peer.ip().to_string(),
                session.opened_at + self.settings.unix_at_zero_ms,
            );
            if let Some(options) = &session.options {
                info.name = options.name.as_deref().map(str::to_owned);
                info.lang = options.lang.as_deref().map(str::to_owned);
                info.ver = options.version.as_deref().map(str::to_owned);
            }
            if let Some(admission) = &session.admission {
                info.user = admission.user.as_deref().map(str::to_owned);
                if let Some(claims) = &admission.claims {
                    info.issuer_key = Some(claims.issuer_key.to_string());
                    info.name_tag = Some(claims.name_tag.to_string());
                    info.tags = claims.tags.iter().map(|tag| tag.to_string()).collect();
                }
            }
        }
        Some(info)
    }

    /// A client of this shard publishes a response.
    pub(super) fn publish_response(
        &mut self,
        from: u32,
        publish: &Publish<'_>,
        whole: Option<&Bytes>,
        fx: &mut Effects,
    ) {
        let session = &self.sessions[from as usize];
        let account = session.account;
        let origin = Origin {
            publisher: Publisher {
                shard: self.id,
                conn: session.id,
            },
            no_echo: NONE,
            replanned: false,
        };
        let (rest, shared);
        let message = match publish.rest {
            Some(rest) => {
                shared = whole.map(|whole| whole.slice_ref(rest));
                publish::message(publish, rest, shared.as_ref())
            }
            None => {
                rest = publish::normalised(publish);
                publish::message(publish, &rest, None)
            }
        };
        self.respond_anywhere(&origin, account, &message, &[], fx);
    }

    /// Takes a response to the shard that awaits it. `note` is what it took along from another.
    pub(super) fn respond_anywhere(
        &mut self,
        origin: &Origin,
        account: AccountId,
        message: &Message<'_>,
        note: &[u8],
        fx: &mut Effects,
    ) -> bool {
        let (subject, shown) = message.subject_and_shown();
        let Some((shard, _)) = parse_reply(subject) else {
            return false;
        };
        if shard == self.id {
            return self.respond(origin, account, message, note, fx);
        }
        if self.mesh.peers().0 & shard.bit() == 0 {
            return false;
        }
        let own_note;
        let note = if note.is_empty() && is_measured(subject) {
            own_note = self.note_of_answer(origin.publisher);
            &own_note
        } else {
            note
        };
        let frame = PublishFrame {
            shown,
            publisher: origin.publisher,
            account,
            hash: 0,
            subject,
            plain: false,
            replanned: true,
            response: true,
            trace: self.frame_trace(),
            queues: QueueNames(note),
            reply_len: message.reply_len,
            header_len: message.header_len,
            body_len: message.body_len,
            rest: match message.shared {
                Some(_) => FrameRest::Shared,
                None => FrameRest::Inline(message.rest),
            },
        };
        self.mesh.publish(shard, &frame, message.shared);
        fx.mesh.0 |= shard.bit();
        true
    }

    /// Whether the response to a request that left from a shard is still awaited; of another shard
    /// only it knows.
    pub(super) fn is_awaited(&self, subject: &[u8]) -> bool {
        parse_reply(subject).is_some_and(|(shard, number)| {
            shard != self.id || self.responses.awaited.contains_key(&number)
        })
    }

    /// A response from `account` to a request that left from here.
    pub(super) fn respond(
        &mut self,
        origin: &Origin,
        account: AccountId,
        message: &Message<'_>,
        note: &[u8],
        fx: &mut Effects,
    ) -> bool {
        let now = self.now;
        let (subject, shown) = message.subject_and_shown();
        let Some((_, number)) = parse_reply(subject) else {
            return false;
        };
        let Some(awaited) = self.responses.awaited.get_mut(&number) else {
            return false;
        };
        // Another account has no say in it, even if it knows the subject.
        if awaited.from != account || self.responses.depth >= IMPORT_CHAIN_MAX {
            return false;
        }
        if self.tracing.is_some() {
            let (to, there) = (awaited.to, awaited.reply.clone());
            self.respond_traced(origin, (account, to), message, (&there, note), fx);
            return true;
        }
        let is_last = match awaited.response {
            ResponseType::Singleton => true,
            ResponseType::Stream | ResponseType::Chunked => message.body_len == 0,
        };
        awaited.expires_at = now + awaited.threshold_ms;
        let (to, threshold_ms) = (awaited.to, awaited.threshold_ms);
        let there = awaited.reply.clone();
        if is_last && let Some(measured) = self.responses.remove(number) {
            self.report_answer(&measured, origin.publisher, note, fx);
        }
        // Who gets the response may respond in turn.
        let mut reply: SmallVec<[u8; 64]> = SmallVec::from_slice(message.reply());
        if !reply.is_empty() && !reply.starts_with(JETSTREAM_ACK) {
            let back = (account, to);
            let response = (ResponseType::Singleton, threshold_ms);
            let Some(number) = self.await_response(back, message.reply(), response, None) else {
                return false;
            };
            reply = reply_subject(self.id, number, false);
        }
        self.responses.depth += 1;
        let publish = Publish {
            subject: &there,
            reply: &reply,
            header_len: (message.header_len > 0).then_some(message.header_len),
            body: message.body(),
            rest: None,
        };
        let rest = publish::normalised(&publish);
        let mut message = publish::message(&publish, &rest, None);
        if !shown.is_empty() {
            message.to = &there;
            message.subject = shown;
        }
        let reached = match is_response(&there) {
            true => self.respond_anywhere(origin, to, &message, note, fx),
            false => self.send_in(origin, to, &message, fx),
        };
        self.responses.depth -= 1;
        reached
    }

    /// A response that is traced: that it passes here is the last that is seen of it.
    #[cold]
    fn respond_traced(
        &mut self,
        origin: &Origin,
        (account, to): (AccountId, AccountId),
        message: &Message<'_>,
        (there, note): (&[u8], &[u8]),
        fx: &mut Effects,
    ) {
        let (block, payload) = message.body().split_at(message.header_len);
        let mut header = block.to_vec();
        let passage = self.note_response(to, message.subject, there, &mut header);
        // Looking at a response is not giving it.
        if !matches!(passage, Passage::End) {
            let rest = publish::normalised(&Publish {
                subject: message.subject_and_shown().0,
                reply: message.reply(),
                header_len: Some(header.len()),
                body: &[&header, payload].concat(),
                rest: None,
            });
            let disabled = Message {
                rest: &rest,
                shared: None,
                header_len: header.len(),
                body_len: header.len() + payload.len(),
                ..*message
            };
            self.respond(origin, account, &disabled, note, fx);
        }
        self.resume_trace(passage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_name_their_shard_and_entry() {
        for (shard, number) in [(0, 0), (1, 1), (63, u64::MAX), (7, 0x0123_4567_89ab_cdef)] {
            for measured in [false, true] {
                let subject = reply_subject(ShardId(shard), number, measured);
                assert!(is_response(&subject));
                assert_eq!(is_measured(&subject), measured);
                assert_eq!(parse_reply(&subject), Some((ShardId(shard), number)));
            }
        }
        for subject in [
            "_R_.",
            "_R_.short",
            "_R_.000000000000.",
            "_R_.0!0000000000",
            "_R_x000000000000",
        ] {
            assert_eq!(parse_reply(subject.as_bytes()), None, "{subject}");
        }
    }
}
