//! Tests of the whole consumer: a stage with a naive stream and an outlet that notes everything.

mod cases;
mod observed;
mod random;

use std::collections::BTreeSet;

use super::*;
use crate::base::prng::Prng;
use crate::jetstream::config::AckPolicy;
use crate::jetstream::{Outgoing, Reached};
use crate::store::naive::Naive;

/// Something that left.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    at_ms: Millis,
    to: String,
    subject: String,
    reply: String,
    headers: String,
    payload: String,
}

impl Sent {
    /// What a delivered message says about itself: deliveries, stream's and consumer's sequence,
    /// what is pending.
    fn numbers(&self) -> (u64, Seq, u64, u64) {
        let ack = AckSubject::parse(self.reply.as_bytes()).expect("it is to be acknowledged");
        let pending = self.reply.rsplit('.').next().unwrap();
        (
            ack.deliveries,
            ack.stream_seq,
            ack.consumer_seq,
            pending.parse().unwrap(),
        )
    }

    /// `line [headers]` of a status, or `seq xdeliveries` of a message.
    fn short(&self) -> String {
        if self.reply.starts_with("$JS.ACK.") {
            let (deliveries, seq, ..) = self.numbers();
            return match deliveries {
                1 => format!("{}: {seq}", self.to),
                _ => format!("{}: {seq} x{deliveries}", self.to),
            };
        }
        let text = self.headers.trim_start_matches("NATS/1.0 ").trim_end();
        format!("{}: {}", self.to, text.replace("\r\n", " | "))
    }
}

/// An outlet that notes what leaves.
struct Notes {
    now_ms: Millis,
    sent: Vec<Sent>,
    durable: Vec<Sent>,
    events: Vec<(String, serde_json::Value)>,
    deaf: BTreeSet<String>,
    watched: BTreeSet<String>,
    full: bool,
    refuses: bool,
    prng: Prng,
}

fn note(message: &Outgoing<'_>, at_ms: Millis) -> Sent {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Sent {
        at_ms,
        to: text(message.to),
        subject: text(message.subject),
        reply: text(message.reply),
        headers: text(message.headers),
        payload: text(message.payload),
    }
}

impl Outlet for Notes {
    fn publish(&mut self, message: &Outgoing<'_>) -> Reached {
        let sent = note(message, self.now_ms);
        if self.refuses || self.deaf.contains(&sent.to) {
            return Reached::Nobody;
        }
        self.sent.push(sent);
        match self.full {
            true => Reached::Full,
            false => Reached::Somebody,
        }
    }

    fn publish_durable(&mut self, message: &Outgoing<'_>) {
        self.durable.push(note(message, self.now_ms));
    }

    fn publish_anew(&mut self, subject: &[u8], _: &[u8], _: &[u8], payload: &[u8]) {
        let subject = String::from_utf8(subject.to_vec()).unwrap();
        let event = serde_json::from_slice(payload).unwrap();
        self.events.push((subject, event));
    }

    fn has_interest(&mut self, subject: &[u8]) -> bool {
        !self.deaf.contains(std::str::from_utf8(subject).unwrap())
    }

    fn watch_interest(&mut self, subject: &[u8]) -> bool {
        let subject = String::from_utf8(subject.to_vec()).unwrap();
        self.watched.insert(subject.clone());
        !self.deaf.contains(&subject)
    }

    fn unwatch_interest(&mut self, subject: &[u8]) {
        self.watched.remove(std::str::from_utf8(subject).unwrap());
    }

    fn random(&mut self) -> u64 {
        self.prng.next_u64()
    }
}

const START: UnixNanos = 1_700_000_000_000_000_000;

/// A consumer with everything around it.
struct Stage {
    now: Now,
    home: Home,
    messages: Naive,
    outlet: Notes,
    desk: Desk,
    consumer: Option<Consumer>,
}

impl Stage {
    fn new() -> Self {
        Self {
            now: Now {
                mono_ms: 1_000_000,
                unix: START,
            },
            home: Home {
                account: "A".to_owned(),
                stream: "S".to_owned(),
                max_msgs_per_subject: -1,
                message_bytes_max: 1000,
                is_durable: true,
                ..Home::default()
            },
            messages: Naive::new(true),
            outlet: Notes {
                now_ms: 0,
                sent: Vec::new(),
                durable: Vec::new(),
                events: Vec::new(),
                deaf: BTreeSet::new(),
                watched: BTreeSet::new(),
                full: false,
                refuses: false,
                prng: Prng::new(1),
            },
            desk: Desk::default(),
            consumer: None,
        }
    }

    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Consumer, &mut Around<'_, Naive, Notes>) -> T,
    ) -> T {
        self.outlet.now_ms = self.now.mono_ms;
        let mut around = Around {
            now: self.now,
            home: &self.home,
            messages: &mut self.messages,
            outlet: &mut self.outlet,
            desk: &mut self.desk,
        };
        act(self.consumer.as_mut().expect("it was made"), &mut around)
    }

    fn create(&mut self, config: ConsumerConfig) {
        let mut around = Around {
            now: self.now,
            home: &self.home,
            messages: &mut self.messages,
            outlet: &mut self.outlet,
            desk: &mut self.desk,
        };
        self.consumer = Some(Consumer::create("C", config, &mut around));
        self.settle();
    }

    fn put_before(&mut self, subject: &str, payload: &str) -> Seq {
        self.messages
            .put(subject, payload.as_bytes(), self.now.unix)
    }

    fn put(&mut self, subject: &str, payload: &str) -> Seq {
        let seq = self
            .messages
            .put(subject, payload.as_bytes(), self.now.unix);
        self.settle();
        seq
    }

    /// As the owner does after each input: pumps, and looks at the time.
    fn settle(&mut self) {
        self.with(|consumer, around| {
            for _ in 0..10_000 {
                let is_due = |due: Millis| due <= around.now.mono_ms;
                if consumer.next_deadline().is_some_and(is_due) {
                    consumer.tick(around);
                }
                match consumer.deliver(&mut 7, around) {
                    Progress::More => {}
                    _ if consumer.is_ready() => {}
                    _ => return,
                }
            }
            panic!("it does not come to rest");
        });
    }

    /// Time goes by, from deadline to deadline.
    fn pass(&mut self, ms: Millis) -> Fate {
        let end = self.now.mono_ms + ms;
        loop {
            let next = self.with(|consumer, _| consumer.next_deadline());
            let next = next.unwrap_or(end).clamp(self.now.mono_ms, end);
            let step = next - self.now.mono_ms;
            self.now.mono_ms = next;
            self.now.unix += step as i64 * NANOS_PER_MS;
            if self.with(|consumer, around| consumer.tick(around)) == Fate::Inactive {
                return Fate::Inactive;
            }
            self.settle();
            if next == end {
                return Fate::Lives;
            }
        }
    }

    fn pull(&mut self, reply: &str, request: &str) {
        self.with(|consumer, around| {
            consumer.handle_next(reply.as_bytes(), b"", request.as_bytes(), around);
        });
        self.settle();
    }

    /// Answers the last delivery of a sequence.
    fn answer(&mut self, seq: Seq, payload: &str) {
        let sent = self.outlet.sent.iter().rev();
        let mut acked = sent.filter(|sent| sent.reply.starts_with("$JS.ACK."));
        let sent = acked.find(|sent| sent.numbers().1 == seq);
        let subject = sent.expect("it was delivered").reply.clone();
        self.answer_to(&subject, payload);
    }

    fn answer_to(&mut self, subject: &str, payload: &str) {
        let subject = AckSubject::parse(subject.as_bytes()).unwrap();
        self.with(|consumer, around| {
            consumer.acknowledge(&subject, b"R", payload.as_bytes(), around);
        });
        self.settle();
    }

    fn info(&mut self) -> Info {
        self.with(Consumer::info)
    }

    /// What has left since the last look.
    fn take(&mut self) -> Vec<String> {
        let sent = std::mem::take(&mut self.outlet.sent);
        sent.iter().map(Sent::short).collect()
    }
}

/// A pull consumer with explicit acknowledgements, and its defaults set.
fn pull_config() -> ConsumerConfig {
    ConsumerConfig {
        durable_name: "C".to_owned(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: 30_000_000_000,
        max_deliver: -1,
        max_ack_pending: 1000,
        max_waiting: 512,
        ..ConsumerConfig::default()
    }
}

fn push_config() -> ConsumerConfig {
    ConsumerConfig {
        deliver_subject: "D".to_owned(),
        max_waiting: 0,
        ..pull_config()
    }
}

impl Stage {
    /// A message is deleted.
    fn remove(&mut self, seq: Seq) {
        let Some(message) = self.messages.messages.get(&seq).cloned() else {
            return;
        };
        self.messages.remove(seq, false);
        self.with(|consumer, around| {
            if consumer.hears_removals() {
                consumer.removed(seq, Some(&message.subject), around);
            }
        });
        self.settle();
    }

    /// Messages are purged, as the API's request says.
    fn purge(&mut self, request: &str) {
        let request: serde_json::Value = serde_json::from_str(request).unwrap_or_default();
        let filter = request["filter"].as_str().unwrap_or(">");
        let below = request["seq"].as_u64().unwrap_or(Seq::MAX);
        let mut selection = Selection::of(&[filter]);
        let keep = request["keep"].as_u64().unwrap_or(0);
        self.messages.purge(&mut selection, below, keep);
        if self.consumer.is_some() {
            self.with(Consumer::purged);
            self.settle();
        }
    }
}

#[test]
fn an_idle_consumer_is_small() {
    assert!(size_of::<Consumer>() + size_of::<ConsumerConfig>() <= 1024);
}
