//! Random operations against a naive model: what was delivered and acknowledged, in maps, and rules
//! that every delivery has to keep. Every now and then the consumer is made again from its facts.

use std::collections::BTreeMap;

use super::*;

const SUBJECTS: [&str; 4] = ["a.1", "a.2", "b.1", "c"];
const ACK_WAIT_MS: Millis = 1000;

/// A message that was delivered.
#[derive(Clone, Debug)]
struct Delivered {
    count: u64,
    consumer_seq: u64,
    /// It must not be delivered again before.
    due_ms: Millis,
}

/// What is known of the consumer by what it was seen to do.
struct Model {
    stage: Stage,
    pending: BTreeMap<Seq, Delivered>,
    given_up: BTreeSet<Seq>,
    /// Something was given up at some time: the floor may have stayed below it.
    ever_gave_up: bool,
    consumer_seq: u64,
    /// The last that was delivered for the first time.
    last: Seq,
    /// What the journal has.
    facts: Vec<Vec<u8>>,
}

impl Model {
    fn new(prng: &mut Prng) -> Self {
        let mut stage = Stage::new();
        if prng.one_in(2) {
            stage.home.retention = Retention::Interest;
        }
        for _ in 0..prng.below(20) {
            let subject = SUBJECTS[prng.below(4) as usize];
            stage.put_before(subject, "before");
        }
        let filters: &[&str] = match prng.below(4) {
            0 => &["a.*"],
            1 => &["a.1", "c"],
            _ => &[],
        };
        let policy = match prng.below(8) {
            0 => AckPolicy::None,
            1 | 2 => AckPolicy::All,
            _ => AckPolicy::Explicit,
        };
        let is_push = prng.one_in(3);
        stage.create(ConsumerConfig {
            ack_policy: policy,
            ack_wait: ACK_WAIT_MS as i64 * NANOS_PER_MS,
            max_deliver: [-1, -1, 1, 3][prng.below(4) as usize],
            max_ack_pending: [-1, 3, 10][prng.below(3) as usize],
            filter_subjects: filters.iter().map(|&f| f.to_owned()).collect(),
            deliver_subject: if is_push { "D" } else { "" }.to_owned(),
            ..pull_config()
        });
        let mut model = Self {
            last: 0,
            stage,
            pending: BTreeMap::new(),
            given_up: BTreeSet::new(),
            ever_gave_up: false,
            consumer_seq: 0,
            facts: Vec::new(),
        };
        model.observe();
        model
    }

    fn config(&self) -> &ConsumerConfig {
        self.stage.consumer.as_ref().unwrap().config()
    }

    fn matching(&self, from: Seq) -> Vec<Seq> {
        let selection = self.stage.consumer.as_ref().unwrap().selection();
        let messages = self.stage.messages.messages.range(from..);
        let matching = messages.filter(|(_, message)| selection.matches(&message.subject));
        matching.map(|(&seq, _)| seq).collect()
    }

    /// Looks at what has left.
    fn observe(&mut self) {
        let (policy, max_deliver) = (self.config().ack_policy, self.config().max_deliver);
        for sent in std::mem::take(&mut self.stage.outlet.sent) {
            if !sent.reply.starts_with("$JS.ACK.") {
                continue;
            }
            let (count, seq, consumer_seq, left) = sent.numbers();
            self.consumer_seq += 1;
            assert_eq!(consumer_seq, self.consumer_seq, "without gaps");
            let message = self.stage.messages.messages.get(&seq);
            let message = message.expect("what is delivered is there");
            assert_eq!(sent.subject.as_bytes(), message.subject);
            if count == 1 {
                let next = self.matching(self.last + 1);
                assert_eq!(next.first(), Some(&seq), "in order, and none is left out");
                assert!(left < next.len() as u64 + 1 && left + 1 >= next.len() as u64);
                self.last = seq;
                if policy == AckPolicy::None {
                    continue;
                }
            }
            let now_ms = sent.at_ms;
            let delivered = self.pending.entry(seq).or_insert(Delivered {
                count: 0,
                consumer_seq,
                due_ms: 0,
            });
            delivered.count += 1;
            assert_eq!(count, delivered.count, "counted");
            assert!(max_deliver <= 0 || count <= max_deliver.unsigned_abs());
            assert!(delivered.due_ms <= now_ms, "{seq} not before its time");
            delivered.due_ms = now_ms + ACK_WAIT_MS;
        }
        for (subject, event) in std::mem::take(&mut self.stage.outlet.events) {
            if subject.contains("MAX_DELIVERIES") {
                let seq = event["stream_seq"].as_u64().unwrap();
                let delivered = self.pending.remove(&seq).expect("it was pending");
                assert_eq!(delivered.count, max_deliver.unsigned_abs());
                self.given_up.insert(seq);
                self.ever_gave_up = true;
            }
        }
    }

    /// Says something to a message.
    fn answer(&mut self, prng: &mut Prng) {
        let known = self.pending.keys().chain(&self.given_up);
        let known: Vec<Seq> = known.copied().collect();
        let (seq, delivered) = match known.len() {
            0 => return,
            n => {
                let seq = known[prng.below(n as u32) as usize];
                (seq, self.pending.get(&seq).cloned())
            }
        };
        let count = delivered.as_ref().map_or(1, |d| d.count);
        let consumer_seq = delivered.map_or(1, |d| d.consumer_seq);
        let subject = format!("$JS.ACK.S.C.{count}.{seq}.{consumer_seq}.0.0");
        let is_all = self.config().ack_policy == AckPolicy::All;
        let now_ms = self.stage.now.mono_ms;
        match prng.below(8) {
            0 => {
                if let Some(delivered) = self.pending.get_mut(&seq) {
                    delivered.due_ms = 0;
                }
                self.stage.answer_to(&subject, "-NAK");
            }
            1 => {
                if let Some(delivered) = self.pending.get_mut(&seq) {
                    delivered.due_ms = now_ms + 200;
                }
                self.stage.answer_to(&subject, "-NAK 200ms");
            }
            2 => {
                if let Some(delivered) = self.pending.get_mut(&seq) {
                    // One that is to be delivered again already is.
                    delivered.due_ms = delivered.due_ms.min(now_ms);
                }
                self.stage.answer_to(&subject, "+WPI");
            }
            other => {
                if is_all {
                    let floor = self.stage.info().ack_floor;
                    if seq > floor.stream && consumer_seq > floor.consumer {
                        self.pending.retain(|&one, _| one > seq);
                        self.given_up.retain(|&one| one > seq);
                    }
                } else {
                    self.pending.remove(&seq);
                    self.given_up.remove(&seq);
                }
                self.stage
                    .answer_to(&subject, if other == 3 { "+TERM" } else { "" });
            }
        }
    }

    fn act(&mut self, prng: &mut Prng) {
        match prng.below(20) {
            0..5 => {
                let subject = SUBJECTS[prng.below(4) as usize];
                self.stage.put(subject, "new");
            }
            5..8 if !self.stage.consumer.as_ref().unwrap().is_push() => {
                let request = match prng.below(3) {
                    0 => format!("{}", 1 + prng.below(8)),
                    1 => format!(r#"{{"batch":{},"no_wait":true}}"#, 1 + prng.below(8)),
                    _ => format!(r#"{{"batch":{},"expires":700000000}}"#, 1 + prng.below(8)),
                };
                self.stage.pull("P", &request);
            }
            5..13 => self.answer(prng),
            13..15 => {
                self.stage.pass(u64::from(prng.below(600)));
            }
            15 => {
                let last = self.stage.messages.state.last_seq;
                let seq = 1 + u64::from(prng.below(last as u32 + 1));
                self.stage.remove(seq);
                self.pending.remove(&seq);
                self.given_up.remove(&seq);
            }
            16 if prng.one_in(8) => {
                let last = self.stage.messages.state.last_seq;
                let seq = 1 + u64::from(prng.below(last as u32 + 1));
                let filter = [">", "a.1", "c"][prng.below(3) as usize];
                self.stage
                    .purge(&format!(r#"{{"seq":{seq},"filter":"{filter}"}}"#));
                let there = &self.stage.messages.messages;
                self.pending.retain(|seq, _| there.contains_key(seq));
                self.given_up.retain(|seq| there.contains_key(seq));
            }
            17 => self.flush(),
            18 if prng.one_in(3) => self.restart(),
            _ => {
                // What is in flight to the disk is not to be seen.
                let last = self.stage.messages.state.last_seq;
                self.stage.messages.durable = prng.one_in(2).then(|| last.saturating_sub(2));
                self.stage.settle();
            }
        }
    }

    /// What has changed is written down.
    fn flush(&mut self) {
        let consumer = self.stage.consumer.as_mut().unwrap();
        assert_eq!(consumer.is_dirty(), consumer.changes.is_some());
        self.facts.extend(consumer.take_delta());
        assert!(!consumer.is_dirty());
    }

    /// The consumer is made again from what was written down.
    fn restart(&mut self) {
        self.flush();
        let stage = &mut self.stage;
        let before = stage.consumer.take().unwrap();
        let snapshot = before.snapshot();
        let config = before.config().clone();
        let mut around = Around {
            now: stage.now,
            home: &stage.home,
            messages: &mut stage.messages,
            outlet: &mut stage.outlet,
            desk: &mut stage.desk,
        };
        let facts = self.facts.iter().map(Vec::as_slice);
        let mut after = Consumer::recover("C", config, before.created, facts, &mut around).unwrap();
        let mut expected = Fact::decode(&snapshot).unwrap();
        let mut seen = Fact::decode(&after.snapshot()).unwrap();
        // What was found to be without a message to deliver may be looked at again.
        (expected.resume, seen.resume) = (None, None);
        assert_eq!(seen, expected);
        after.bind(&mut around);
        stage.consumer = Some(after);
        for delivered in self.pending.values_mut() {
            delivered.due_ms = stage.now.mono_ms + ACK_WAIT_MS;
        }
        self.stage.settle();
    }

    /// What has to be true at rest.
    fn check(&mut self) {
        let info = self.stage.info();
        let pending: Vec<Seq> = self.pending.keys().copied().collect();
        let consumer = self.stage.consumer.as_ref().unwrap();
        let seen: Vec<Seq> = consumer.pending.iter().map(|entry| entry.seq).collect();
        assert_eq!(seen, pending);
        assert_eq!(info.num_ack_pending, pending.len());
        assert_eq!(info.delivered.consumer, self.consumer_seq);
        let again = self.pending.values().filter(|d| d.count > 1).count() + self.given_up.len();
        if self.config().max_deliver != 1 {
            assert_eq!(info.num_redelivered, again);
        }
        assert_eq!(info.num_pending, self.matching(self.last + 1).len() as u64);
        let max = self.config().max_ack_pending;
        assert!(max < 0 || pending.len() <= max.unsigned_abs() as usize);
        if let Some(&first) = pending.first() {
            assert!(info.ack_floor.stream < first);
        }
        let consumer = self.stage.consumer.as_ref().unwrap();
        for (&seq, message) in &self.stage.messages.messages {
            let is_wanted = consumer.selection().matches(&message.subject)
                && (seq > self.last
                    || self.pending.contains_key(&seq)
                    || self.given_up.contains(&seq));
            assert_eq!(
                consumer.needs(seq, &message.subject),
                is_wanted,
                "{seq}: {info:?}"
            );
        }
        for (from, up_to) in self.stage.desk.settled.drain(..) {
            for seq in from..=up_to {
                assert!(!self.pending.contains_key(&seq) && seq <= self.last);
            }
        }
    }

    /// Everything that is not done is delivered in the end.
    fn finish(&mut self) {
        self.stage.messages.durable = None;
        for _ in 0..200 {
            if !self.stage.consumer.as_ref().unwrap().is_push() {
                self.stage.pull("P", r#"{"batch":100,"no_wait":true}"#);
            }
            self.observe();
            self.check();
            for (seq, delivered) in std::mem::take(&mut self.pending) {
                let consumer_seq = delivered.consumer_seq;
                let subject = format!("$JS.ACK.S.C.1.{seq}.{consumer_seq}.0.0");
                self.stage.answer_to(&subject, "");
                self.given_up.retain(|&one| {
                    self.stage
                        .consumer
                        .as_ref()
                        .unwrap()
                        .rare
                        .as_ref()
                        .is_some_and(|rare| rare.given_up.contains_key(&one))
                });
            }
            self.observe();
            self.stage.pass(ACK_WAIT_MS + 10);
        }
        assert_eq!(self.matching(self.last + 1), Vec::<Seq>::new());
        assert_eq!(self.stage.info().num_ack_pending, 0);
        let floor = self.stage.info().ack_floor;
        let delivered = self.stage.info().delivered;
        if self.ever_gave_up {
            assert!(floor.stream <= delivered.stream);
            return;
        }
        assert_eq!(floor.stream, delivered.stream);
        if self.config().ack_policy == AckPolicy::Explicit {
            assert_eq!(floor, delivered);
        }
    }
}

#[test]
fn keeps_the_rules() {
    for seed in 0..200 {
        let result = std::panic::catch_unwind(|| {
            let mut prng = Prng::new(seed);
            let mut model = Model::new(&mut prng);
            for _ in 0..200 {
                model.act(&mut prng);
                model.observe();
                model.check();
            }
            model.finish();
        });
        assert!(result.is_ok(), "seed {seed}");
    }
}
