//! What feeds a mirror, or a stream that sources: a consumer of another stream, made through the
//! API as any client would, wherever that stream is (ADR-60).
//!
//! A [`Feed`] knows the conversation: asking for a consumer, seeing that nothing is missing, answering
//! flow control, asking again when it has gone quiet. It knows neither the stream that it feeds nor how
//! subjects reach it: it is told what has arrived, and says what to store.

mod header;

pub use header::{SourcedFrom, hash, sourced_headers};

use std::collections::BTreeMap;

use serde_json::Value;

use super::api::encode::Object;
use super::api::errors::{ApiError, Code};
use super::api::responses::SourceInfo;
use super::api::versions::IDENTITY_HEADER;
use super::config::{AckPolicy, ConsumerConfig, DeliverPolicy, StreamSource};
use super::{Now, Outgoing, letters};
use crate::base::deadlines::Millis;
use crate::proto::headers;
use crate::store::{Seq, UnixNanos};
use crate::subject::Transform;

/// How often the other side says that it is there.
const HEARTBEAT_NANOS: i64 = 1_000_000_000;
/// After so long without a word the consumer is made anew.
const QUIET_MS: Millis = 10_000;
/// How long an answer to the request for a consumer may take.
const ANSWER_MS: Millis = 5_000;
/// The first pause after a failure; each further one is twice as long.
const RETRY_MS: Millis = 250;
/// The longest.
const RETRY_MS_MAX: Millis = 10_000;
/// Consumers of feeds are never redelivered to.
const ACK_WAIT_NANOS: i64 = 22 * 3600 * 1_000_000_000;

/// Letters of names that nobody else has.
const TOKEN_LETTERS: usize = 8;

/// What a feed can do, in the account of the stream that it feeds.
pub trait Feeder {
    /// Publishes.
    fn publish(&mut self, message: &Outgoing<'_>);
    /// Has what is published to a subject arrive.
    fn listen(&mut self, subject: &[u8]) -> u32;
    /// Ends it.
    fn unlisten(&mut self, listen: u32);
    /// A random number.
    fn random(&mut self) -> u64;
}

/// Where a feed begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start<'a> {
    /// After this sequence of the other stream; 0 for none.
    pub after: Seq,
    /// Not before this; where nothing is known of sequences.
    pub not_before: Option<UnixNanos>,
    /// Of which stream that sequence is; empty where it is not known.
    pub identity: &'a str,
}

/// A message to store.
#[derive(Debug)]
pub struct Fed<'a> {
    /// Its subject here.
    pub subject: Vec<u8>,
    /// Its sequence there.
    pub seq: Seq,
    /// When it was stored there.
    pub time: UnixNanos,
    /// The whole header block, or nothing.
    pub headers: Vec<u8>,
    /// What follows it.
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is under way; it is tried at this time.
    Waiting { at: Millis },
    /// A consumer was asked for.
    Asked { until: Millis },
    /// There is one.
    Fed,
}

/// See the module.
#[derive(Debug)]
pub struct Feed {
    source: StreamSource,
    is_mirror: bool,
    /// The stream that is fed.
    stream: String,
    filters: Vec<String>,
    transforms: Vec<Transform>,
    /// How headers name it.
    index_name: String,
    phase: Phase,
    failures: u32,
    listens: Vec<u32>,
    reply: Vec<u8>,
    deliver: Vec<u8>,
    consumer: String,
    /// Which stream of the name it is fed by.
    identity: String,
    /// The stream that was known is gone, and there is another of its name.
    is_recreated: bool,
    consumer_seq: u64,
    /// Counts how often it has begun.
    beginnings: u64,
    stream_seq: Seq,
    lag: u64,
    /// When something was heard last.
    heard_at: Option<Millis>,
    error: Option<ApiError>,
}

impl Feed {
    /// A feed of `stream`. The configuration has been checked: transforms are some.
    pub fn new(source: StreamSource, is_mirror: bool, stream: &str) -> Self {
        let mut filters: Vec<String> = Vec::new();
        if !source.filter_subject.is_empty() {
            filters.push(source.filter_subject.clone());
        }
        filters.extend(source.subject_transforms.iter().map(|t| or_all(&t.source)));
        let made = source.subject_transforms.iter().map(|transform| {
            Transform::new(&or_all(&transform.source), &or_all(&transform.destination)).ok()
        });
        Self {
            transforms: made.flatten().collect(),
            index_name: header::index_name(&source),
            filters,
            is_mirror,
            stream: stream.to_owned(),
            phase: Phase::Waiting { at: 0 },
            failures: 0,
            listens: Vec::new(),
            reply: Vec::new(),
            deliver: Vec::new(),
            consumer: String::new(),
            identity: String::new(),
            is_recreated: false,
            consumer_seq: 0,
            beginnings: 0,
            stream_seq: 0,
            lag: 0,
            heard_at: None,
            error: None,
            source,
        }
    }

    /// How the headers of sourced messages name it.
    pub fn index_name(&self) -> &str {
        &self.index_name
    }

    /// Whether it listens to a subject.
    pub fn hears(&self, subject: &[u8]) -> bool {
        !self.listens.is_empty() && (subject == self.deliver || subject == self.reply)
    }

    /// Its configuration.
    pub fn source(&self) -> &StreamSource {
        &self.source
    }

    /// How often it has begun: what has come before it did the last time comes again.
    pub fn beginnings(&self) -> u64 {
        self.beginnings
    }

    /// When [`Self::tick`] is to be called.
    pub fn next_deadline(&self) -> Millis {
        match self.phase {
            Phase::Waiting { at } => at,
            Phase::Asked { until } => until,
            Phase::Fed => self.heard_at.unwrap_or(0) + QUIET_MS,
        }
    }

    /// Time has passed. `start` says where to go on.
    pub fn tick<F: Feeder>(&mut self, now: Now, start: Start<'_>, feeder: &mut F) {
        if now.mono_ms < self.next_deadline() {
            return;
        }
        match self.phase {
            Phase::Waiting { .. } => self.ask(now, start, feeder),
            Phase::Asked { .. } | Phase::Fed => self.retry(now, true, feeder),
        }
    }

    /// Ends it: the other side will miss it.
    pub fn end<F: Feeder>(&mut self, feeder: &mut F) {
        self.beginnings += 1;
        for listen in self.listens.drain(..) {
            feeder.unlisten(listen);
        }
    }

    /// What was to be stored could not be: it is asked for again.
    pub fn failed<F: Feeder>(&mut self, now: Now, feeder: &mut F) {
        self.retry(now, true, feeder);
    }

    fn retry<F: Feeder>(&mut self, now: Now, later: bool, feeder: &mut F) {
        self.end(feeder);
        let pause = match later {
            true => (RETRY_MS << self.failures.min(8)).min(RETRY_MS_MAX),
            false => 0,
        };
        self.failures += u32::from(later);
        self.phase = Phase::Waiting {
            at: now.mono_ms + pause,
        };
    }

    fn ask<F: Feeder>(&mut self, now: Now, start: Start<'_>, feeder: &mut F) {
        self.end(feeder);
        let id = letters::random(TOKEN_LETTERS, || feeder.random());
        let external = self.source.external.as_ref();
        let kind = if self.is_mirror { "M" } else { "S" };
        let (name, deliver) = match &self.source.consumer {
            Some(consumer) => (consumer.name.clone(), consumer.deliver_subject.clone()),
            None => {
                let prefix = match external {
                    Some(external) if !external.deliver.is_empty() => &external.deliver,
                    _ => "$JS",
                };
                let what = if self.is_mirror { "MIRROR" } else { "SRC" };
                let deliver = format!("{prefix}.{kind}.{id}").replace("..", ".");
                (format!("JS_{what}_{id}"), deliver)
            }
        };
        self.consumer = name;
        self.deliver = deliver.into_bytes();
        let reply = letters::random(TOKEN_LETTERS, || feeder.random());
        self.reply = format!("$JS.{kind}.{reply}.R").into_bytes();
        // What is delivered is listened to when the answer has said which stream it comes from.
        self.listens = vec![feeder.listen(&self.reply)];
        self.consumer_seq = 0;
        self.stream_seq = start.after;
        self.phase = Phase::Asked {
            until: now.mono_ms + ANSWER_MS,
        };
        let (subject, body) = match self.source.consumer {
            Some(_) => {
                let reset = format!("CONSUMER.RESET.{}.{}", self.source.name, self.consumer);
                let body = match start.after {
                    0 => Vec::new(),
                    after => format!("{{\"seq\":{}}}", after + 1).into_bytes(),
                };
                (reset, body)
            }
            None => self.creation(start),
        };
        let api = external.map_or("$JS.API", |external| external.api.trim_end_matches('.'));
        let subject = format!("{api}.{subject}").replace("..", ".");
        let reply = self.reply.clone();
        // Mirrors keep the sequences of what they mirror: there is nothing to begin anew with.
        let known = if self.is_mirror { "" } else { start.identity };
        let head = format!("NATS/1.0\r\n{IDENTITY_HEADER}: {known}\r\n\r\n");
        self.identity = known.to_owned();
        feeder.publish(&Outgoing {
            to: subject.as_bytes(),
            subject: subject.as_bytes(),
            reply: &reply,
            headers: head.as_bytes(),
            payload: &body,
        });
    }

    /// The request for a consumer: what it is published to behind the prefix, and its body.
    fn creation(&self, start: Start<'_>) -> (String, Vec<u8>) {
        let mut config = ConsumerConfig {
            name: self.consumer.clone(),
            deliver_subject: String::from_utf8_lossy(&self.deliver).into_owned(),
            ack_policy: AckPolicy::None,
            ack_wait: ACK_WAIT_NANOS,
            max_deliver: 1,
            idle_heartbeat: HEARTBEAT_NANOS,
            flow_control: true,
            direct: true,
            sourcing: true,
            inactive_threshold: QUIET_MS as i64 * 1_000_000,
            metadata: BTreeMap::from([(
                match self.is_mirror {
                    true => "_nats.mirror.stream".to_owned(),
                    false => "_nats.source.stream".to_owned(),
                },
                self.stream.clone(),
            )]),
            ..ConsumerConfig::default()
        };
        let source = &self.source;
        if start.after > 0 {
            config.deliver_policy = DeliverPolicy::ByStartSequence;
            config.opt_start_seq = start.after + 1;
        } else if source.opt_start_seq > 0 {
            config.deliver_policy = DeliverPolicy::ByStartSequence;
            config.opt_start_seq = source.opt_start_seq;
        } else if let Some(time) = source.opt_start_time.max(start.not_before) {
            config.deliver_policy = DeliverPolicy::ByStartTime;
            config.opt_start_time = Some(time);
        }
        let name = &source.name;
        let subject = match &self.filters[..] {
            [] => format!("CONSUMER.CREATE.{name}.{}", self.consumer),
            [filter] => {
                config.filter_subject = filter.clone();
                format!("CONSUMER.CREATE.{name}.{}.{filter}", self.consumer)
            }
            filters => {
                config.filter_subjects = filters.to_vec();
                format!("CONSUMER.CREATE.{name}.{}", self.consumer)
            }
        };
        let mut body = Vec::new();
        let mut object = Object::begin(&mut body);
        object.string("stream_name", name);
        config.render(object.key("config"));
        object.end();
        (subject, body)
    }

    /// Something has arrived on one of the subjects that it listens to: what to store, if anything.
    pub fn arrived<'a, F: Feeder>(
        &mut self,
        now: Now,
        message: &Outgoing<'a>,
        feeder: &mut F,
    ) -> Option<Fed<'a>> {
        if message.to == self.reply {
            self.answered(now, message, feeder);
            return None;
        }
        if self.phase != Phase::Fed || self.listens.is_empty() {
            return None;
        }
        self.heard_at = Some(now.mono_ms);
        if headers::status(message.headers).starts_with(b"100") {
            self.controlled(now, message, feeder);
            return None;
        }
        let delivered = Delivered::of(message.reply)?;
        if delivered.deliveries > 1 {
            return None;
        }
        if delivered.consumer_seq != self.consumer_seq + 1 {
            // Something is missing: it is asked for again, from where it is known.
            self.retry(now, false, feeder);
            return None;
        }
        self.consumer_seq = delivered.consumer_seq;
        if delivered.stream_seq <= self.stream_seq {
            return None;
        }
        self.stream_seq = delivered.stream_seq;
        self.lag = delivered.pending.saturating_sub(1);
        let mut subject = Vec::new();
        let seen = message.subject;
        if !self
            .transforms
            .iter()
            .any(|transform| transform.apply(seen, 0, &mut subject))
        {
            subject.clear();
            subject.extend_from_slice(seen);
        }
        let headers = match self.is_mirror {
            true => message.headers.to_vec(),
            false => sourced_headers(
                message.headers,
                &self.index_name,
                delivered.stream_seq,
                seen,
                &self.identity,
            ),
        };
        Some(Fed {
            subject,
            seq: delivered.stream_seq,
            time: delivered.time,
            headers,
            payload: message.payload,
        })
    }

    fn answered<F: Feeder>(&mut self, now: Now, message: &Outgoing<'_>, feeder: &mut F) {
        if !matches!(self.phase, Phase::Asked { .. }) {
            return;
        }
        let answer: Value = match serde_json::from_slice(message.payload) {
            Ok(answer) => answer,
            Err(_) => {
                self.error = Some(Code::InvalidJson.with(&["not an answer"]));
                self.retry(now, true, feeder);
                return;
            }
        };
        if let Some(error) = answer.get("error") {
            let mismatch = u64::from(Code::ConsumerStreamIdentityMismatch.number());
            if error["err_code"].as_u64() == Some(mismatch) && !self.identity.is_empty() {
                self.is_recreated = true;
                self.retry(now, false, feeder);
                return;
            }
            let text = error["description"].as_str().unwrap_or("no reason given");
            let code = match self.is_mirror {
                true => Code::MirrorConsumerSetupFailed,
                false => Code::SourceConsumerSetupFailed,
            };
            self.error = Some(code.with(&[text]));
            self.retry(now, true, feeder);
            return;
        }
        let policy = answer["config"]["ack_policy"].as_str();
        if self.source.consumer.is_some() && policy != Some("flow_control") {
            let code = match self.is_mirror {
                true => Code::MirrorConsumerRequiresAckFC,
                false => Code::SourceConsumerRequiresAckFC,
            };
            self.error = Some(code.into());
            self.retry(now, true, feeder);
            return;
        }
        if let Some(name) = answer["name"].as_str() {
            self.consumer = name.to_owned();
        }
        if let Some(identity) = headers::find(message.headers, IDENTITY_HEADER) {
            self.identity = String::from_utf8_lossy(identity).into_owned();
        }
        self.error = None;
        self.failures = 0;
        self.heard_at = Some(now.mono_ms);
        if self.consumer_seq == 0 {
            self.lag = answer["num_pending"].as_u64().unwrap_or(0);
        }
        self.listens.push(feeder.listen(&self.deliver));
        self.phase = Phase::Fed;
    }

    /// A heartbeat, or a question of flow control.
    fn controlled<F: Feeder>(&mut self, now: Now, message: &Outgoing<'_>, feeder: &mut F) {
        let answer = |feeder: &mut F, to: &[u8]| {
            feeder.publish(&Outgoing {
                to,
                subject: to,
                ..Outgoing::default()
            });
        };
        if !message.reply.is_empty() {
            answer(feeder, message.reply);
            return;
        }
        let last = headers::find(message.headers, "Nats-Last-Consumer").and_then(number);
        if last.is_some_and(|last| last != self.consumer_seq) {
            self.retry(now, false, feeder);
        } else if let Some(stalled) = headers::find(message.headers, "Nats-Consumer-Stalled") {
            answer(feeder, stalled);
        }
    }

    /// Which stream of the name it is fed by; empty where that is not known.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether the stream that was known is gone, and there is another of its name: what was known of
    /// sequences is of no use. Once.
    pub fn take_recreated(&mut self) -> bool {
        std::mem::take(&mut self.is_recreated)
    }

    /// As stream infos show it; of a source with the last sequence that was taken from it.
    pub fn info(&self, now: Now, taken: Seq) -> SourceInfo<'_> {
        SourceInfo {
            name: &self.source.name,
            external: self.source.external.as_ref(),
            lag: self.lag,
            seq: taken,
            active: match self.heard_at {
                // Some time has passed, if less than the clock shows.
                Some(at) => (now.mono_ms.saturating_sub(at) as i64 * 1_000_000).max(1),
                None => -1,
            },
            error: self.error.clone(),
            // nats-server tells of a mirror's when it has heard of the other stream.
            filter_subject: match self.is_mirror && self.heard_at.is_none() {
                true => "",
                false => &self.source.filter_subject,
            },
            subject_transforms: &self.source.subject_transforms,
        }
    }
}

fn or_all(text: &str) -> String {
    match text {
        "" => ">".to_owned(),
        text => text.to_owned(),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What the reply subject of a delivery says.
struct Delivered {
    deliveries: u64,
    stream_seq: Seq,
    consumer_seq: u64,
    time: UnixNanos,
    pending: u64,
}

impl Delivered {
    fn of(reply: &[u8]) -> Option<Self> {
        let tokens: Vec<&[u8]> = reply.split(|&byte| byte == b'.').collect();
        if !reply.starts_with(b"$JS.ACK.") {
            return None;
        }
        let at = match tokens.len() {
            9 => 3,
            11.. => 5,
            _ => return None,
        };
        let numbers = |place: usize| number(tokens[at + place]);
        Some(Self {
            deliveries: numbers(1)?,
            stream_seq: numbers(2)?,
            consumer_seq: numbers(3)?,
            time: i64::try_from(numbers(4)?).ok()?,
            pending: numbers(5)?,
        })
    }
}

#[cfg(test)]
mod tests;
