//! How long services of other accounts take to answer: what is measured, and the event that says
//! so (`io.nats.server.metric.v1.service_latency`).
//!
//! A request is measured on the shard that it leaves from, where its response is awaited. Its
//! reply subject ends in `.T` then, so that a shard where it is answered knows to tell who
//! answers, and when; other responses carry nothing. Knows no sockets and no dates but the
//! shard's; how a response finds its way is `service`'s business.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::publish::{Message, Origin};
use super::{Effects, Shard};
use crate::auth::accounts::ServiceImport;
use crate::auth::definition::{LatencyDefinition, Sampling};
use crate::base::deadlines::Millis;
use crate::base::ids::AccountId;
use crate::base::limits::LATENCIES_MAX;
use crate::base::prng::Prng;
use crate::proto::client_info::ClientInfo;
use crate::proto::headers;
use crate::session::Publisher;

const KIND: &str = "io.nats.server.metric.v1.service_latency";
/// Clients ping first; one that does not is asked for its round trip after this time.
const FIRST_PING_MS: Millis = 2000;
/// From the loss of a requester's interest to the look at whose that was.
pub(super) const INTEREST_LOST_MS: Millis = 50;

/// A request whose way there and back is measured.
#[derive(Debug)]
pub(super) struct Measured {
    /// Where the event is published, in the account that answers.
    account: AccountId,
    subject: Box<[u8]>,
    requester: Publisher,
    requestor: Option<ClientInfo>,
    /// The headers that asked for it.
    headers: Option<Headers>,
    /// On the fine clock.
    started_ns: u64,
    /// On the shard's.
    started_at: Millis,
}

type Headers = BTreeMap<String, Vec<String>>;

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It came without a reply subject.
    BadRequest,
    /// Nobody waits for the response any more.
    InterestLost,
    /// Nobody was there to answer.
    Unavailable,
    /// The response did not come in time.
    Timeout,
}

impl Fate {
    fn status(self) -> (u16, &'static str) {
        match self {
            Fate::BadRequest => (400, "Bad Request"),
            Fate::InterestLost => (408, "Request Timeout"),
            Fate::Unavailable => (503, "Service Unavailable"),
            Fate::Timeout => (504, "Service Timeout"),
        }
    }
}

/// The event, in nats-server's fields. Times are nanoseconds.
#[derive(Serialize)]
struct ServiceLatency<'a> {
    r#type: &'static str,
    id: String,
    timestamp: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requestor: Option<&'a ClientInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    responder: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'a Headers>,
    start: String,
    service: u64,
    system: u64,
    total: u64,
}

/// Who has answered, and when the answer came to its shard.
#[derive(Debug)]
struct Answer {
    responder: Option<Value>,
    round_trip_ns: u64,
    at_ns: u64,
}

impl Shard {
    /// Whether a request is one of those that are measured, and with which headers it asks for it.
    pub(super) fn sample(
        &mut self,
        latency: &LatencyDefinition,
        message: &Message<'_>,
    ) -> Option<Option<Headers>> {
        if let Sampling::Percent(percent) = latency.sampling
            && (percent >= 100 || self.prng.below(100) < u32::from(percent))
        {
            return Some(None);
        }
        // A request that was not drawn may still ask for it itself.
        let block = &message.body()[..message.header_len];
        headers::sampled_headers(block).map(Some)
    }

    /// Begins to measure a request; `None` when it is not to be measured.
    pub(super) fn measure(
        &mut self,
        origin: &Origin,
        import: &ServiceImport,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> Option<Box<Measured>> {
        let latency = import.latency.as_ref()?;
        let headers = self.sample(latency, message)?;
        self.ask_round_trip(origin.publisher, fx);
        Some(Box::new(Measured {
            account: import.exporter,
            subject: latency.subject.as_bytes().into(),
            requester: origin.publisher,
            requestor: self.described(origin.publisher, import.share),
            headers,
            started_ns: (self.settings.fine_clock_ns)(),
            started_at: self.now,
        }))
    }

    /// Whether there is room for one more that waits for its response.
    pub(super) fn may_measure(&self) -> bool {
        self.responses.measured.len() < LATENCIES_MAX
    }

    /// Pings a requester whose round trip is not known, for the next time.
    fn ask_round_trip(&mut self, requester: Publisher, fx: &mut Effects) {
        if requester.shard != self.id || !self.is_open(requester.conn) {
            return;
        }
        let session = &mut self.sessions[requester.conn.index as usize];
        let may_come = session.connect_info_sent || session.opened_at + FIRST_PING_MS < self.now;
        let pings = &mut session.pings;
        if session.internal || !may_come || pings.round_trip_ns != 0 || pings.outstanding > 0 {
            return;
        }
        pings.outstanding = 1;
        pings.sent_at_ns = (self.settings.fine_clock_ns)();
        session.out.append(&mut self.pool, b"PING\r\n");
        Self::mark_dirty(session, fx);
    }

    /// What is told of a client, with its server if all is told.
    fn described(&self, publisher: Publisher, all: bool) -> Option<ClientInfo> {
        let info = self.client_info(publisher, all)?;
        Some(info.with_server(all.then_some(&*self.settings.identity.name)))
    }

    /// What a response takes along to the shard that awaits it: when it came, and from whom.
    pub(super) fn note_of_answer(&self, responder: Publisher) -> Vec<u8> {
        let mut note = (self.settings.fine_clock_ns)().to_le_bytes().to_vec();
        if let Some(info) = self.described(responder, true) {
            note.extend_from_slice(info.to_json().as_bytes());
        }
        note
    }

    /// Says how long a response took. `note` is what it took along; empty if it was given here.
    pub(super) fn report_answer(
        &mut self,
        measured: &Measured,
        responder: Publisher,
        note: &[u8],
        fx: &mut Effects,
    ) {
        let answer = match note.split_first_chunk() {
            Some((at_ns, json)) => answer(u64::from_le_bytes(*at_ns), json),
            None => {
                let json = self.described(responder, true).map(|info| info.to_json());
                let now_ns = (self.settings.fine_clock_ns)();
                answer(now_ns, json.unwrap_or_default().as_bytes())
            }
        };
        self.report(measured, Ok(answer), fx);
    }

    /// Says that a request has had no response.
    pub(super) fn report_fate(&mut self, measured: &Measured, fate: Fate, fx: &mut Effects) {
        self.report(measured, Err(fate), fx);
    }

    fn report(&mut self, measured: &Measured, result: Result<Answer, Fate>, fx: &mut Effects) {
        let now_ns = (self.settings.fine_clock_ns)();
        let mut requestor = measured.requestor.clone();
        if let Some(info) = &mut requestor
            && let Some(session) = self.sessions.get(measured.requester.conn.index as usize)
            && session.is_live(measured.requester.conn)
        {
            // The first request's own ping may have told it.
            let round_trip = session.pings.round_trip_ns;
            info.rtt = (round_trip != 0).then_some(round_trip);
        }
        let request_ns = requestor.as_ref().and_then(|info| info.rtt).unwrap_or(0);
        let started_ms = self.settings.unix_at_zero_ms + measured.started_at;
        let start_ns = (i128::from(started_ms) * 1_000_000).saturating_sub(request_ns.into());
        let now_unix_ns = i128::from(self.settings.unix_at_zero_ms + self.now) * 1_000_000;
        let mut event = ServiceLatency {
            r#type: KIND,
            id: event_id(&mut self.prng),
            timestamp: date(now_unix_ns),
            status: 200,
            description: None,
            requestor: requestor.as_ref(),
            responder: None,
            header: measured.headers.as_ref(),
            start: date(start_ns),
            service: 0,
            system: 0,
            total: 0,
        };
        match result {
            Ok(answer) => {
                let there_and_back = answer.at_ns.saturating_sub(measured.started_ns);
                event.responder = answer.responder;
                event.service = there_and_back.saturating_sub(answer.round_trip_ns);
                event.system = now_ns.saturating_sub(answer.at_ns);
                event.total = request_ns
                    .saturating_add(there_and_back)
                    .saturating_add(event.system);
            }
            Err(fate) => {
                let (status, description) = fate.status();
                event.status = status;
                event.description = Some(description);
            }
        }
        let json = serde_json::to_vec(&event).expect("plain fields always serialise");
        self.publish_report(measured.account, &measured.subject, &[], &json, fx);
    }

    /// Somebody who may wait for a measured response has unsubscribed.
    pub(super) fn interest_lost(&mut self) {
        if !self.responses.measured.is_empty() && self.responses.look_at == 0 {
            self.responses.look_at = self.now + INTEREST_LOST_MS;
        }
    }

    /// Ends the waiting for measured responses, in time or for want of interest.
    pub(super) fn expire_responses(&mut self, fx: &mut Effects) {
        for measured in self.responses.expire(self.now) {
            self.report_fate(&measured, Fate::Timeout, fx);
        }
        if self.responses.look_at == 0 || self.responses.look_at > self.now {
            return;
        }
        self.responses.look_at = 0;
        for number in self.responses.measured.clone() {
            let is_lost = self.responses.reply_of(number).is_some_and(|(to, reply)| {
                !super::service::is_response(reply) && !self.router.is_heard(to, reply)
            });
            if is_lost && let Some(measured) = self.responses.remove(number) {
                self.report_fate(&measured, Fate::InterestLost, fx);
            }
        }
    }
}

fn answer(at_ns: u64, json: &[u8]) -> Answer {
    let responder: Option<Value> = serde_json::from_slice(json).ok();
    let round_trip = responder.as_ref().and_then(|info| info.get("rtt"));
    Answer {
        round_trip_ns: round_trip.and_then(Value::as_u64).unwrap_or(0),
        responder,
        at_ns,
    }
}

/// 22 digits, as nats-server's events have.
fn event_id(prng: &mut Prng) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..22)
        .map(|_| char::from(DIGITS[prng.below(62) as usize]))
        .collect()
}

/// In RFC 3339.
pub(super) fn date(unix_ns: i128) -> String {
    let date = jiff::Timestamp::from_nanosecond(unix_ns).unwrap_or_default();
    date.to_string()
}
