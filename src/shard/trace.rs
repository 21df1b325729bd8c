//! Message tracing (ADR-41): what happens to a message that asks for it is written down and
//! published where the message says.
//!
//! A message without headers never comes here; one with headers costs a search for the header's
//! name. A traced one takes the long way: each subscription that might get it is an event, whether
//! it gets it or why not. A message that goes to other shards takes the trace's number along; they
//! send back what they have written, and the shard of the publisher publishes all of it when the
//! last has answered, or after [`TRACE_ANSWERS_MS_MAX`].
//!
//! Knows nothing of how plans are made and of how bytes are delivered.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Serialize;

use super::frame::{FrameTrace, PublishFrame, TraceFrame};
use super::publish::{Message, Origin};
use super::{Effects, Level, Shard};
use crate::auth::accounts::ServiceImport;
use crate::auth::mapping::Selected;
use crate::base::deadlines::Millis;
use crate::base::ids::{AccountId, ConnId};
use crate::base::limits::{TRACE_ANSWERS_MS_MAX, TRACE_EVENTS_BYTES_MAX, TRACES_MAX};
use crate::proto::client::Publish;
use crate::proto::headers::{self, Compression, TRACE_DESTINATION, TRACE_DISABLED, Trace};
use crate::proto::info::PROTOCOL_VERSION;
use crate::proto::quote::quote;
use crate::router::{GroupPick, PlanId, SubId, Via};
use crate::subject;

const NO_ECHO: &str = "Not delivered because of no echo";
const DENIED: &str = "Not delivered because subscription denies this subject";
const NOT_STALLED: &str = "Not delivered because fast producer not stalled and consumer is slow";
const CLOSED: &str = "Not delivered because client is closed";
const TOO_LARGE: &str = "maximum payload exceeded";
const EXCEEDED: &str = "Not delivered because auto-unsubscribe exceeded";

type Headers = BTreeMap<String, Vec<String>>;

/// A message that is being traced.
#[derive(Debug)]
pub(super) struct Tracing {
    /// Nothing is to be delivered.
    only: bool,
    /// The publisher's account.
    ingress: AccountId,
    /// The trace's number on the publisher's shard.
    number: u64,
    /// The stream import that deliveries under way go through.
    pub via: Option<Via>,
    /// What has happened: JSON objects with commas between.
    events: String,
    /// Frames to other shards.
    sent: i64,
    /// What is known only where the publisher is.
    home: Option<Box<Home>>,
}

#[derive(Debug)]
struct Home {
    destination: Box<[u8]>,
    compression: Compression,
    header: Headers,
    size: usize,
    ingress: Ingress,
}

#[derive(Debug)]
struct Ingress {
    at: String,
    client_id: u64,
    name: String,
    subject: String,
    error: Option<String>,
}

/// Traces of a shard that wait for what other shards have written.
#[derive(Debug)]
pub(super) struct Traces {
    finder: Finder<'static>,
    open: HashMap<u64, Open>,
    expiries: VecDeque<(Millis, u64)>,
    last: u64,
    /// Reports published.
    reports: u64,
}

#[derive(Debug)]
struct Open {
    tracing: Box<Tracing>,
    /// Answers to come from shards that the message was sent to, and from those that it was sent
    /// on to; the second are known when the first are here.
    direct: i64,
    further: i64,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            finder: Finder::new(TRACE_DESTINATION),
            open: HashMap::new(),
            expiries: VecDeque::new(),
            last: 0,
            reports: 0,
        }
    }
}

impl Traces {
    /// When the first one is no longer waited for.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        self.expiries.front().map(|&(at, _)| at)
    }
}

/// One thing that has happened, in nats-server's fields.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Event<'a> {
    #[serde(rename = "in")]
    Ingress {
        ts: &'a str,
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "str::is_empty")]
        name: &'a str,
        acc: &'a str,
        subj: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    #[serde(rename = "sm")]
    SubjectMapping { ts: &'a str, to: &'a str },
    #[serde(rename = "se")]
    StreamExport {
        ts: &'a str,
        acc: &'a str,
        to: &'a str,
    },
    #[serde(rename = "si")]
    ServiceImport {
        ts: &'a str,
        acc: &'a str,
        from: &'a str,
        to: &'a str,
    },
    #[serde(rename = "eg")]
    Egress {
        ts: &'a str,
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "str::is_empty")]
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        acc: Option<&'a str>,
        sub: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        queue: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
}

/// The whole, but for its events.
#[derive(Serialize)]
struct Report<'a> {
    server: Server<'a>,
    request: Request<'a>,
}

#[derive(Serialize)]
struct Server<'a> {
    name: &'a str,
    host: &'a str,
    id: &'a str,
    ver: &'a str,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: &'a str,
}

#[derive(Serialize)]
struct Request<'a> {
    header: &'a Headers,
    msgsize: usize,
}

/// What tracing makes of a message.
enum Verdict {
    /// It goes its way as if it asked for nothing.
    Ordinary,
    /// It goes its way, and does not ask for it any more.
    Disabled,
    /// It is not delivered.
    Dropped,
    Traced(Box<Tracing>),
}

impl Shard {
    /// Publishes what is mapped, or may be traced.
    #[inline(never)]
    pub(super) fn publish_unusual(
        &mut self,
        from: u32,
        publish: &Publish<'_>,
        whole: Option<&Bytes>,
        fx: &mut Effects,
    ) {
        if let Some(len) = publish.header_len
            && let Some(trace) = self.asks_for_trace(from, &publish.body[..len])
        {
            self.publish_traced(from, publish, &trace, whole, fx);
        } else if self.sessions[from as usize].mapped {
            self.publish_mapped(from, publish, whole, fx);
        } else {
            self.publish_there(from, publish, whole, fx);
        }
    }

    fn asks_for_trace<'b>(&self, from: u32, block: &'b [u8]) -> Option<Trace<'b>> {
        let account = self.sessions[from as usize].account;
        let directory = &self.settings.policy.directory;
        // `traceparent` alone says something only where the account says where to report to.
        let may_be = self.traces.finder.find(block).is_some()
            || directory
                .get(account)
                .is_some_and(|account| account.trace().is_some());
        if may_be { headers::trace(block) } else { None }
    }

    #[cold]
    fn publish_traced(
        &mut self,
        from: u32,
        publish: &Publish<'_>,
        trace: &Trace<'_>,
        whole: Option<&Bytes>,
        fx: &mut Effects,
    ) {
        let changed;
        let mut publish = *publish;
        let mut whole = whole;
        match self.judge(from, &publish, trace, fx) {
            Verdict::Dropped => return,
            Verdict::Ordinary => {}
            Verdict::Disabled => {
                let (block, payload) = publish.body.split_at(publish.header_len.unwrap_or(0));
                let mut header = Vec::new();
                disable(block, &mut header);
                publish.header_len = Some(header.len());
                changed = [&header, payload].concat();
                publish.body = &changed;
                publish.rest = None;
                whole = None;
            }
            Verdict::Traced(tracing) => self.tracing = Some(tracing),
        }
        if self.sessions[from as usize].mapped {
            self.publish_mapped(from, &publish, whole, fx);
        } else {
            self.publish_there(from, &publish, whole, fx);
        }
        if let Some(tracing) = self.tracing.take() {
            self.await_answers(tracing, fx);
        }
    }

    /// Whether the message is traced, and where it reports to.
    fn judge(
        &mut self,
        from: u32,
        publish: &Publish<'_>,
        trace: &Trace<'_>,
        fx: &mut Effects,
    ) -> Verdict {
        let unless_only = |verdict| match trace.only {
            true => Verdict::Dropped,
            false => verdict,
        };
        if let Some(account) = trace.origin_account {
            let text = format!(
                "Message tracing disabled because of header \"Nats-Trace-Origin-Account\" with value={}",
                quote(account)
            );
            self.log(from, Level::Error, &text, fx);
            return unless_only(Verdict::Disabled);
        }
        let account = self.sessions[from as usize].account;
        let directory = &self.settings.policy.directory;
        let destination: Box<[u8]> = match trace.destination {
            Some(destination) => destination.into(),
            None => {
                let Some(definition) = directory.get(account).and_then(|a| a.trace()) else {
                    return Verdict::Ordinary;
                };
                let share = u32::from(definition.sampling);
                let destination = definition.destination.as_bytes().into();
                if (1..100).contains(&share) && self.prng.below(100) >= share {
                    return Verdict::Disabled;
                }
                destination
            }
        };
        if !subject::is_valid_literal(&destination) {
            let text = format!(
                "Destination {} is not valid, won't be able to trace events",
                quote(&destination)
            );
            self.log(from, Level::Error, &text, fx);
            return unless_only(Verdict::Ordinary);
        }
        // What the publisher may not publish to, it may not have published to for it.
        let permissions = self.sessions[from as usize].permissions();
        if permissions.is_some_and(|p| !p.may_publish(&destination))
            || self.is_reserved_here(from, &destination)
        {
            self.publish_violation(from, &destination, fx);
            return Verdict::Dropped;
        }
        let len = publish.header_len.unwrap_or(0);
        let mut header = Headers::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for (key, value) in headers::entries(&publish.body[..len]) {
            if !value.is_empty() {
                header.entry(text(key)).or_default().push(text(value));
            }
        }
        let session = &self.sessions[from as usize];
        self.traces.last += 1;
        Verdict::Traced(Box::new(Tracing {
            only: trace.only,
            ingress: account,
            number: self.traces.last,
            via: None,
            events: String::new(),
            sent: 0,
            home: Some(Box::new(Home {
                destination,
                compression: trace.compression,
                header,
                size: publish.body.len(),
                ingress: Ingress {
                    at: self.date(),
                    client_id: session.client_id,
                    name: self.name_of(from),
                    subject: text(publish.subject),
                    error: None,
                },
            })),
        }))
    }

    /// A message is too large, which ends its publisher's connection. If its header is here
    /// already, that is reported.
    #[cold]
    pub(super) fn trace_too_large(&mut self, conn: ConnId, input: &[u8], fx: &mut Effects) {
        let Some((subject, block, size)) = header_of_start(input) else {
            return;
        };
        if self.sessions[conn.index as usize].admission.is_none() {
            return;
        }
        let publish = Publish {
            subject,
            reply: &[],
            header_len: Some(block.len()),
            body: block,
            rest: None,
        };
        if let Some(trace) = self.asks_for_trace(conn.index, block)
            && let Verdict::Traced(mut tracing) = self.judge(conn.index, &publish, &trace, fx)
        {
            if let Some(home) = &mut tracing.home {
                home.size = size;
                home.ingress.error = Some(TOO_LARGE.to_owned());
            }
            self.publish_trace(&tracing, fx);
        }
    }

    /// A message under way is refused to its publisher.
    pub(super) fn note_ingress_error(&mut self, text: &str) {
        if let Some(tracing) = &mut self.tracing
            && let Some(home) = &mut tracing.home
        {
            home.ingress.error = Some(text.to_owned());
        }
    }

    /// A mapping has led the message elsewhere.
    pub(super) fn note_mapping(&mut self, selected: Selected, to: &[u8]) {
        if self.tracing.is_some() && selected == Selected::Mapped {
            let (ts, to) = (self.date(), String::from_utf8_lossy(to));
            self.note(&Event::SubjectMapping { ts: &ts, to: &to });
        }
    }

    /// Whether the message under way is traced and not delivered.
    pub(super) fn is_only_traced(&self) -> bool {
        self.tracing.as_ref().is_some_and(|tracing| tracing.only)
    }

    /// The message goes on to another account that answers it, with its header changed so that
    /// nobody there reports to a subject of this one.
    pub(super) fn note_service(
        &mut self,
        import: &ServiceImport,
        from: &[u8],
        to: &[u8],
        header: &mut Vec<u8>,
    ) -> Passage {
        self.note_passage((import.exporter, import.allow_trace), from, to, header)
    }

    /// The same for a response on its way back, which is never traced further.
    pub(super) fn note_response(
        &mut self,
        account: AccountId,
        from: &[u8],
        to: &[u8],
        header: &mut Vec<u8>,
    ) -> Passage {
        self.note_passage((account, false), from, to, header)
    }

    /// The message has passed into another account: the trace goes on here.
    pub(super) fn resume_trace(&mut self, passage: Passage) {
        if let Passage::Paused(tracing) = passage {
            self.tracing = tracing;
        }
    }

    fn note_passage(
        &mut self,
        (account, allowed): (AccountId, bool),
        from: &[u8],
        to: &[u8],
        header: &mut Vec<u8>,
    ) -> Passage {
        let Some(tracing) = &self.tracing else {
            return Passage::Open;
        };
        let only = tracing.only;
        let (ts, acc) = (self.date(), self.account_name(account));
        let (from, to) = (String::from_utf8_lossy(from), String::from_utf8_lossy(to));
        self.note(&Event::ServiceImport {
            ts: &ts,
            acc: &acc,
            from: &from,
            to: &to,
        });
        let block = std::mem::take(header);
        if allowed {
            // Servers that the message is sent on to report through here; there are none yet, and
            // who answers shall not report to the subject of another account.
            let nowhere = super::service::reply_subject(self.id, self.prng.next_u64(), false);
            let nowhere = String::from_utf8_lossy(&nowhere).into_owned();
            headers::set(&block, TRACE_DESTINATION, &nowhere, header);
            return Passage::Open;
        }
        disable(&block, header);
        match only {
            true => Passage::End,
            false => Passage::Paused(self.tracing.take()),
        }
    }

    /// What goes along with a frame to another shard.
    pub(super) fn frame_trace(&mut self) -> Option<FrameTrace> {
        let tracing = self.tracing.as_mut()?;
        tracing.sent += 1;
        Some(FrameTrace {
            number: tracing.number,
            ingress: tracing.ingress,
            only: tracing.only,
            via: tracing.via,
        })
    }

    /// A frame that is traced: handles it, and sends back what has happened.
    #[cold]
    pub(super) fn deliver_traced_frame(
        &mut self,
        frame: &PublishFrame<'_>,
        trace: &FrameTrace,
        shared: Option<&Bytes>,
        fx: &mut Effects,
    ) {
        self.tracing = Some(Box::new(Tracing {
            only: trace.only,
            ingress: trace.ingress,
            number: trace.number,
            via: trace.via,
            events: String::new(),
            sent: 0,
            home: None,
        }));
        self.deliver_frame(
            &PublishFrame {
                shown: &[],
                trace: None,
                ..*frame
            },
            shared,
            fx,
        );
        let Some(tracing) = self.tracing.take() else {
            return;
        };
        let home = frame.publisher.shard;
        let back = TraceFrame {
            number: tracing.number,
            further: frame.replanned && !frame.response,
            sent_on: tracing.sent as u32,
            events: tracing.events.as_bytes(),
        };
        if home == self.id {
            self.trace_answered(&back, fx);
        } else {
            self.mesh.answer_trace(home, &back);
            fx.mesh.0 |= home.bit();
        }
    }

    /// Publishes a trace, or keeps it until other shards have answered.
    fn await_answers(&mut self, tracing: Box<Tracing>, fx: &mut Effects) {
        if tracing.sent == 0 || self.traces.open.len() >= TRACES_MAX {
            self.publish_trace(&tracing, fx);
            return;
        }
        let at = self.now + TRACE_ANSWERS_MS_MAX;
        self.traces.expiries.push_back((at, tracing.number));
        let open = Open {
            direct: tracing.sent,
            further: 0,
            tracing,
        };
        self.traces.open.insert(open.tracing.number, open);
    }

    /// Another shard has handled a frame that was traced.
    pub(super) fn trace_answered(&mut self, back: &TraceFrame<'_>, fx: &mut Effects) {
        let Some(open) = self.traces.open.get_mut(&back.number) else {
            return;
        };
        match back.further {
            true => open.further -= 1,
            false => open.direct -= 1,
        }
        open.further += i64::from(back.sent_on);
        add(
            &mut open.tracing.events,
            &String::from_utf8_lossy(back.events),
        );
        if open.direct == 0
            && open.further == 0
            && let Some(open) = self.traces.open.remove(&back.number)
        {
            self.publish_trace(&open.tracing, fx);
        }
    }

    /// Publishes those traces that have waited for long enough.
    pub(super) fn expire_traces(&mut self, fx: &mut Effects) {
        while let Some(&(at, number)) = self.traces.expiries.front()
            && at <= self.now
        {
            self.traces.expiries.pop_front();
            if let Some(open) = self.traces.open.remove(&number) {
                self.publish_trace(&open.tracing, fx);
            }
        }
    }

    fn publish_trace(&mut self, tracing: &Tracing, fx: &mut Effects) {
        let Some(home) = &tracing.home else {
            return;
        };
        let Ingress {
            at,
            client_id,
            name,
            subject,
            error,
        } = &home.ingress;
        self.traces.reports += 1;
        let time = self.date();
        let identity = &self.settings.identity;
        let report = Report {
            server: Server {
                name: &identity.name,
                host: &identity.host,
                id: &identity.id,
                ver: PROTOCOL_VERSION,
                jetstream: false,
                flags: 0,
                // Each shard has its own numbers.
                seq: self.traces.reports * self.settings.shards as u64 + u64::from(self.id.0),
                time: &time,
            },
            request: Request {
                header: &home.header,
                msgsize: home.size,
            },
        };
        let ingress = Event::Ingress {
            ts: at,
            kind: 0,
            cid: *client_id,
            name,
            acc: &self.account_name(tracing.ingress),
            subj: subject,
            error: error.as_deref(),
        };
        let mut json = to_json(&report);
        json.pop();
        json.push_str(",\"events\":[");
        json.push_str(&to_json(&ingress));
        if !tracing.events.is_empty() {
            json.push(',');
            json.push_str(&tracing.events);
        }
        json.push_str("]}");
        let (encoding, payload) = super::compress::compress(home.compression, json.into_bytes());
        let mut header = Vec::new();
        if let Some(encoding) = encoding {
            headers::build("", &[("Content-Encoding", encoding)], &mut header);
        }
        self.publish_report(tracing.ingress, &home.destination, &header, &payload, fx);
    }

    /// As `deliver_plain`, for a message that is traced.
    #[cold]
    #[inline(never)]
    pub(super) fn deliver_plain_traced(
        &mut self,
        origin: &Origin,
        (plan, part): (PlanId, usize),
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        let mut delivered = false;
        for sub in self.router.plans.get(plan).part(part).plain.clone() {
            delivered |= self.deliver_one_traced(origin, sub, message, fx);
        }
        self.settle(origin, fx);
        delivered
    }

    /// As `deliver_queue`, for a message that is traced.
    #[cold]
    #[inline(never)]
    pub(super) fn deliver_queue_traced(
        &mut self,
        origin: &Origin,
        pick: &GroupPick,
        start: u32,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        let groups = &self.router.groups;
        let mut members: Vec<SubId> = Vec::new();
        for &group in &pick.groups {
            members.extend(&groups[group].members);
        }
        members.rotate_left(start as usize);
        let mut delivered = false;
        for sub in members {
            if self.deliver_one_traced(origin, sub, message, fx) {
                delivered = true;
                break;
            }
        }
        self.settle(origin, fx);
        delivered
    }

    /// Writes down what becomes of the message at one subscription, and delivers it if it shall be.
    fn deliver_one_traced(
        &mut self,
        origin: &Origin,
        sub_id: SubId,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        let Some(tracing) = &self.tracing else {
            return false;
        };
        let (only, via, ingress) = (tracing.only, tracing.via, tracing.ingress);
        let account = AccountId(u32::from(self.router.subs[sub_id].account));
        let (ts, acc) = (self.date(), self.account_name(account));
        if via.is_some() {
            let to = String::from_utf8_lossy(message.subject);
            self.note(&Event::StreamExport {
                ts: &ts,
                acc: &acc,
                to: &to,
            });
        }
        let obstacle = self.obstacle(origin, sub_id, message);
        if via.is_none_or(|via| via.allow_trace) {
            let conn = self.router.subs[sub_id].conn;
            let sub = self.subject_shown(sub_id, via);
            let queue = self.router.queue_of(sub_id).to_vec();
            self.note(&Event::Egress {
                ts: &ts,
                kind: 0,
                cid: self.sessions[conn as usize].client_id,
                name: &self.name_of(conn),
                acc: (account != ingress).then_some(&acc),
                sub: &String::from_utf8_lossy(&sub),
                queue: &String::from_utf8_lossy(&queue),
                error: obstacle,
            });
        } else if only {
            return true;
        }
        if obstacle.is_some() {
            return false;
        }
        if !only {
            self.deliver_odd(origin, sub_id, message, fx);
            if self.settings.trace {
                self.trace_delivery(sub_id, message, fx);
            }
        }
        true
    }

    /// Why a subscription does not get a message.
    fn obstacle(
        &self,
        origin: &Origin,
        sub_id: SubId,
        message: &Message<'_>,
    ) -> Option<&'static str> {
        let sub = &self.router.subs[sub_id];
        let session = &self.sessions[sub.conn as usize];
        let queue = self.router.queue_of(sub_id);
        if sub.conn == origin.no_echo {
            Some(NO_ECHO)
        } else if sub.checked
            && let Some(permissions) = session.permissions()
            && !permissions.may_deliver(message.subject, queue)
        {
            Some(DENIED)
        } else if sub.special && sub.delivered >= self.router.max_of(sub_id) {
            Some(EXCEEDED)
        } else if session.deaf && self.settings.limits.no_fast_producer_stall && !session.closing {
            Some(NOT_STALLED)
        } else if session.deaf {
            Some(CLOSED)
        } else {
            None
        }
    }

    /// A subscription's subject as the exporter sees it.
    fn subject_shown(&self, sub_id: SubId, via: Option<Via>) -> Vec<u8> {
        let pattern = self.router.subject_of(sub_id);
        let directory = &self.settings.policy.directory;
        let Some(import) = via.and_then(|via| directory.streams.get(via.import as usize)) else {
            return pattern.to_vec();
        };
        if !subject::is_subset(pattern, &import.to) {
            return import.from.to_vec();
        }
        let mut shown = Vec::new();
        match &import.back {
            None => shown.extend_from_slice(pattern),
            Some(back) if back.apply(pattern, 0, &mut shown) => {}
            Some(_) => shown = import.from.to_vec(),
        }
        shown
    }

    fn note(&mut self, event: &Event<'_>) {
        if let Some(tracing) = &mut self.tracing {
            add(&mut tracing.events, &to_json(event));
        }
    }

    fn name_of(&self, conn: u32) -> String {
        let options = self.sessions[conn as usize].options.as_ref();
        options
            .and_then(|options| options.name.as_deref())
            .unwrap_or_default()
            .to_owned()
    }

    fn date(&self) -> String {
        super::latency::date(i128::from(self.settings.unix_at_zero_ms + self.now) * 1_000_000)
    }
}

/// How a traced message passes into another account.
pub(super) enum Passage {
    /// As any message; if it is traced, it is traced further.
    Open,
    /// The rest is not to be seen: the trace goes on with this afterwards.
    Paused(Option<Box<Tracing>>),
    /// It ends here.
    End,
}

/// Adds events to others, as long as there is room.
fn add(to: &mut String, events: &str) {
    if events.is_empty() || to.len() + events.len() >= TRACE_EVENTS_BYTES_MAX {
        return;
    }
    if !to.is_empty() {
        to.push(',');
    }
    to.push_str(events);
}

/// Subject, header block and size of a message whose payload may not be there.
fn header_of_start(input: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let line_end = memchr::memchr(b'\n', input)?;
    let mut words = input[..line_end]
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    if !words.next()?.eq_ignore_ascii_case(b"HPUB") {
        return None;
    }
    let subject = words.next()?;
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<usize>().ok();
    let mut from_behind = words.rev();
    let size = number(from_behind.next()?)?;
    let len = number(from_behind.next()?)?;
    let block = input.get(line_end + 1..)?.get(..len)?;
    Some((subject, block, size))
}

fn disable(block: &[u8], to: &mut Vec<u8>) {
    headers::set(block, TRACE_DESTINATION, TRACE_DISABLED, to);
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain fields always serialise")
}
