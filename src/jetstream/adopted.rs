//! Streams that come from elsewhere (another server's store, a snapshot), as engines keep them: what a
//! store is told so that a restart, or who restores, finds them as if they had been here always; and
//! consumers the other way round.

use std::collections::BTreeMap;

use super::api::decode;
use super::asset::feeds::{self, Taken};
use super::asset::notes;
use super::config::{ConsumerConfig, Discard, StreamConfig};
use super::consumer::facts::{Fact, NoFact, add_to_runs};
use super::consumer::{Consumer, Position};
use super::snapshot::{self, ConsumerState, Delivered, Item};
use super::sourcing::SourcedFrom;
use super::stream::headers::Asked;
use crate::store::{Messages, NewMessage, Refused, Selection, Seq, Stored, UnixNanos, flags};

pub use super::engine::{key, names, stored_form};

/// What the index is to remember of a message with these headers.
pub fn message_flags(headers: &[u8]) -> u8 {
    if headers.is_empty() {
        return 0;
    }
    let asked = Asked::read(headers);
    [
        (asked.msg_id, flags::MSG_ID),
        (asked.ttl, flags::TTL),
        (asked.schedule, flags::SCHEDULE),
        (asked.stream_source, flags::SOURCED),
    ]
    .into_iter()
    .filter(|(value, _)| !value.is_empty())
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// Which source a message with these headers was taken from, and which message of it that was.
pub fn sourced_from(headers: &[u8]) -> Option<(String, Taken)> {
    if headers.is_empty() {
        return None;
    }
    let from = SourcedFrom::read(headers)?;
    let (seq, identity) = (from.seq, from.identity);
    Some((from.index_name, Taken { seq, identity }))
}

/// Number and content of the fact of a stream's consumer, of which there are `place` before.
pub fn consumer_fact(
    place: u32,
    name: &str,
    created: UnixNanos,
    config: &ConsumerConfig,
    state: &ConsumerState,
) -> (u32, Vec<u8>) {
    let mut fact = notes::definition(name, created, config);
    fact.extend_from_slice(&whole(state, config).encode());
    (notes::number(place), fact)
}

/// Number and content of the fact of how far sources were followed; by what names a source. The stream has this last sequence.
pub fn sources_fact(taken: &BTreeMap<String, Taken>, last_seq: Seq) -> (u32, Vec<u8>) {
    feeds::fact(taken, last_seq)
}

/// A stream that is being taken over: its messages, then how it ends.
#[derive(Debug, Default)]
pub struct Adopting {
    last_time: UnixNanos,
    /// Messages that were stored before the one before them, by the clock of where they come from.
    pub reordered: u64,
    consumers: u32,
    has_sources: bool,
    /// What came last from each source.
    sources: BTreeMap<String, Taken>,
}

impl Adopting {
    /// One of this configuration, about which this is known of its sources. Its `messages` are empty.
    pub fn new(config: &StreamConfig, sources: BTreeMap<String, Seq>) -> Self {
        Self {
            has_sources: !config.sources.is_empty(),
            sources: sources
                .into_iter()
                .map(|(source, seq)| {
                    let identity = String::new();
                    (source, Taken { seq, identity })
                })
                .collect(),
            ..Self::default()
        }
    }

    /// Appends a message. Gives the time that it has now: times of a stream do not go back.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn append(
        &mut self,
        message: &Stored<'_>,
        messages: &mut impl Messages,
    ) -> Result<UnixNanos, Refused> {
        self.reordered += u64::from(message.time < self.last_time);
        let time = message.time.max(self.last_time);
        if messages.state().last_seq + 1 < message.seq {
            messages.skip_to(message.seq - 1, time)?;
        }
        messages.append(&NewMessage {
            subject: message.subject,
            headers: message.headers,
            payload: message.payload,
            time,
            flags: message_flags(message.headers),
        })?;
        self.last_time = time;
        if self.has_sources
            && let Some((source, taken)) = sourced_from(message.headers)
        {
            let last = self.sources.entry(source).or_default();
            if taken.seq >= last.seq {
                *last = taken;
            }
        }
        Ok(time)
    }

    /// Notes a consumer.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn consumer(
        &mut self,
        name: &str,
        created: UnixNanos,
        config: &ConsumerConfig,
        state: &ConsumerState,
        messages: &mut impl Messages,
    ) -> Result<(), Refused> {
        let (note, fact) = consumer_fact(self.consumers, name, created, config, state);
        self.consumers += 1;
        messages.rewrite_note(note, &fact)
    }

    /// Ends the stream where it ended: at this sequence, which was given out then.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn finish(
        &mut self,
        last: (Seq, UnixNanos),
        messages: &mut impl Messages,
    ) -> Result<(), Refused> {
        if messages.state().last_seq < last.0 {
            messages.skip_to(last.0, last.1.max(self.last_time))?;
        }
        if !self.sources.is_empty() {
            let (note, fact) = sources_fact(&self.sources, messages.state().last_seq);
            messages.rewrite_note(note, &fact)?;
        }
        Ok(())
    }

    /// Removes what is beyond the limits of the stream: what they had removed where it comes from may
    /// have come back. Ages are seen to when the stream begins.
    pub fn apply_limits(config: &StreamConfig, messages: &mut impl Messages) {
        let end = messages.state().last_seq + 1;
        if let Ok(keep @ 1..) = u64::try_from(config.max_msgs_per_subject) {
            let mut over = Vec::new();
            let mut all = Selection::everything();
            messages.each_subject(&mut all, &mut |subject, state| {
                if state.messages > keep {
                    over.push(subject.to_vec());
                }
            });
            for subject in over {
                messages.purge(&mut Selection::of(&[subject]), end, keep);
            }
        }
        if config.discard != Discard::Old {
            return;
        }
        if let Ok(keep @ 1..) = u64::try_from(config.max_msgs) {
            messages.purge(&mut Selection::everything(), end, keep);
        }
        if let Ok(most @ 1..) = u64::try_from(config.max_bytes) {
            while messages.state().bytes > most && messages.state().messages > 0 {
                let first = messages.state().first_seq;
                messages.remove(first, false);
            }
        }
    }

    /// Takes over an item of a snapshot. A consumer was made `now`.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn take(
        &mut self,
        item: Item<'_>,
        now: UnixNanos,
        messages: &mut impl Messages,
    ) -> Result<(), String> {
        let taken = match item {
            Item::Meta(_) => Ok(()),
            Item::State(state) => match state.first_seq.checked_sub(1) {
                Some(last @ 1..) => messages.skip_to(last, 0),
                Some(0) | None => Ok(()),
            },
            Item::Message {
                seq,
                time,
                subject,
                headers,
                payload,
            } => {
                let message = Stored {
                    seq,
                    time,
                    subject,
                    headers,
                    payload,
                };
                self.append(&message, messages).map(|_| ())
            }
            Item::Removed(ranges) => {
                for (first, last) in ranges {
                    for seq in first..=last {
                        messages.remove(seq, false);
                    }
                }
                Ok(())
            }
            Item::Consumer(consumer) => {
                let config = decode::request(consumer.config_json.as_bytes(), false);
                let mut config: ConsumerConfig = config.map_err(|error| {
                    format!("consumer {:?}: {}", consumer.name, error.description)
                })?;
                config.num_replicas = config.num_replicas.min(1);
                self.consumer(&consumer.name, now, &config, &consumer.state, messages)
            }
            Item::End {
                last_seq,
                last_time,
            } => self.finish((last_seq, last_time), messages),
        };
        taken.map_err(|refused| match refused {
            Refused::Full => "no space left".to_owned(),
            Refused::Poisoned => "the store cannot be written to".to_owned(),
            Refused::TooLarge => "a message is too large".to_owned(),
        })
    }
}

fn whole(state: &ConsumerState, config: &ConsumerConfig) -> Fact {
    let position = |at: snapshot::Position| Position {
        consumer: at.consumer_seq,
        stream: at.stream_seq,
    };
    let mut fact = Fact {
        is_whole: true,
        delivered: position(state.delivered),
        floor: position(state.ack_floor),
        ..Fact::default()
    };
    let count = |redelivered: u64| u32::try_from(redelivered).unwrap_or(u32::MAX);
    let mut last = 0;
    for (&seq, delivered) in &state.pending {
        // They go up with the stream's; what says otherwise does not say it well.
        last = delivered.consumer_seq.max(last + 1);
        add_to_runs(&mut fact.runs, seq, last);
        if let Some(&redelivered) = state.redelivered.get(&seq) {
            fact.again.push((seq, count(redelivered)));
        }
    }
    for (&seq, &redelivered) in &state.redelivered {
        let deliveries = redelivered.saturating_add(1);
        let is_over = config.max_deliver > 0 && deliveries >= config.max_deliver as u64;
        if is_over && !state.pending.contains_key(&seq) {
            fact.given_up.push((seq, count(deliveries)));
        }
    }
    fact
}

/// How far a consumer has come, by its whole state (`Consumer::snapshot`), for a snapshot. When its
/// messages were delivered is not kept: that is `now`.
///
/// # Errors
/// When that is no fact.
pub fn consumer_state(whole: &[u8], now: UnixNanos) -> Result<ConsumerState, NoFact> {
    let fact = Fact::decode(whole)?;
    let position = |at: Position| snapshot::Position {
        consumer_seq: at.consumer,
        stream_seq: at.stream,
    };
    let mut state = ConsumerState {
        delivered: position(fact.delivered),
        ack_floor: position(fact.floor),
        ..ConsumerState::default()
    };
    for run in &fact.runs {
        for at in 0..run.length {
            let consumer_seq = run.consumer_seq + at;
            let delivered = Delivered {
                consumer_seq,
                time: now,
            };
            state.pending.insert(run.seq + at, delivered);
        }
    }
    let again = fact
        .again
        .iter()
        .map(|&(seq, count)| (seq, u64::from(count)));
    let given_up = fact.given_up.iter();
    let given_up = given_up.map(|&(seq, count)| (seq, u64::from(count.saturating_sub(1))));
    state.redelivered = again.chain(given_up).collect();
    Ok(state)
}

/// How far a consumer has come, for a snapshot.
pub fn snapshot_of(consumer: &Consumer, now: UnixNanos) -> Option<snapshot::ConsumerSnapshot> {
    let mut config_json = Vec::new();
    consumer.config().render(&mut config_json);
    Some(snapshot::ConsumerSnapshot {
        name: consumer.name().to_owned(),
        config_json: String::from_utf8(config_json).ok()?,
        state: consumer_state(&consumer.snapshot(), now).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::config::StreamSource;
    use crate::jetstream::snapshot::{ConsumerSnapshot, StreamState};
    use crate::store::naive::Naive;

    #[test]
    fn headers_say_what_is_remembered() {
        for (headers, expected) in [
            ("", 0),
            ("NATS/1.0\r\nA: b\r\n\r\n", 0),
            ("NATS/1.0\r\nNats-Msg-Id: b\r\n\r\n", flags::MSG_ID),
            ("NATS/1.0\r\nNats-TTL: 1s\r\nX: y\r\n\r\n", flags::TTL),
            (
                "NATS/1.0\r\nNats-Schedule: @at x\r\nNats-Schedule-TTL: 1\r\n\r\n",
                flags::SCHEDULE,
            ),
            (
                "NATS/1.0\r\nNats-Stream-Source: S 1 > > s\r\nNats-Msg-Id: 1\r\n\r\n",
                flags::SOURCED | flags::MSG_ID,
            ),
        ] {
            assert_eq!(message_flags(headers.as_bytes()), expected, "{headers}");
        }
    }

    #[test]
    fn a_snapshot_is_taken_over() {
        let mut messages = Naive::new(true);
        let mut config = StreamConfig::default();
        config.sources.push(StreamSource::default());
        let mut adopting = Adopting::new(&config, [("A > >".to_owned(), 7)].into());
        let message = |seq, time, headers| Item::Message {
            seq,
            time,
            subject: b"s",
            headers,
            payload: b"p",
        };
        let state = StreamState {
            first_seq: 5,
            ..StreamState::default()
        };
        let consumer = ConsumerSnapshot {
            name: "c".to_owned(),
            config_json: r#"{"durable_name":"c","num_replicas":3}"#.to_owned(),
            state: ConsumerState::default(),
        };
        let sourced = b"NATS/1.0\r\nNats-Stream-Source: B 9 > > s\r\n\r\n";
        for item in [
            Item::State(state),
            Item::Consumer(consumer),
            message(5, 100, b""),
            message(8, 90, sourced),
            message(9, 110, b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n"),
            Item::Removed(vec![(5, 5)]),
            Item::End {
                last_seq: 12,
                last_time: 0,
            },
        ] {
            assert_eq!(adopting.take(item, 50, &mut messages), Ok(()));
        }
        let state = messages.state();
        assert_eq!(
            (state.first_seq, state.last_seq, state.messages),
            (8, 12, 2)
        );
        assert_eq!(
            (state.first_time, state.last_time, adopting.reordered),
            (100, 110, 1)
        );
        assert_eq!(messages.messages[&8].flags, flags::SOURCED);
        assert_eq!(messages.messages[&9].flags, flags::MSG_ID);
        let (note, _) = sources_fact(&BTreeMap::new(), 0);
        assert_eq!(messages.facts(note), [b"12 .\n7 A > >\n9 B > >\n".to_vec()]);
        let fact = &messages.facts(notes::number(0))[0];
        assert!(String::from_utf8_lossy(fact).contains(r#""created":50"#));

        messages.refuses = Some(Refused::Full);
        let refused = adopting.take(message(20, 200, b""), 50, &mut messages);
        assert_eq!(refused, Err("no space left".to_owned()));
        let bad = Item::Consumer(ConsumerSnapshot {
            name: "d".to_owned(),
            config_json: "[]".to_owned(),
            state: ConsumerState::default(),
        });
        assert!(
            adopting
                .take(bad, 50, &mut messages)
                .is_err_and(|why| why.starts_with("consumer"))
        );
    }

    #[test]
    fn limits_are_applied_again() {
        let left = |config: StreamConfig| {
            let mut messages = Naive::new(true);
            for i in 0..10 {
                // 33 bytes each.
                messages.put(["s.1", "s.2"][i % 2], b"", 1);
            }
            Adopting::apply_limits(&config, &mut messages);
            messages.messages.into_keys().collect::<Vec<Seq>>()
        };
        let config = StreamConfig::default;
        let no_limits = StreamConfig::unsaid();
        assert_eq!(left(config()).len(), 10);
        assert_eq!(left(no_limits).len(), 10);
        let max_msgs_per_subject = 2;
        let per_subject = StreamConfig {
            max_msgs_per_subject,
            ..config()
        };
        assert_eq!(left(per_subject), [7, 8, 9, 10]);
        let max_msgs = 3;
        let by_count = StreamConfig {
            max_msgs,
            ..config()
        };
        assert_eq!(left(by_count.clone()), [8, 9, 10]);
        let discard = Discard::New;
        assert_eq!(
            left(StreamConfig {
                discard,
                ..by_count
            })
            .len(),
            10
        );
        let max_bytes = 70;
        assert_eq!(
            left(StreamConfig {
                max_bytes,
                ..config()
            }),
            [9, 10]
        );
    }

    #[test]
    fn a_consumer_comes_and_goes_as_it_was() {
        let position = |consumer_seq, stream_seq| snapshot::Position {
            consumer_seq,
            stream_seq,
        };
        let delivered = |consumer_seq| Delivered {
            consumer_seq,
            time: 9,
        };
        let state = ConsumerState {
            delivered: position(20, 30),
            ack_floor: position(3, 4),
            pending: [(5, delivered(4)), (6, delivered(5)), (9, delivered(7))].into(),
            redelivered: [(6, 2), (8, 4)].into(),
        };
        let config = ConsumerConfig {
            max_deliver: 5,
            ..ConsumerConfig::default()
        };
        let whole = whole(&state, &config).encode();
        assert_eq!(consumer_state(&whole, 9), Ok(state.clone()));
        assert_eq!(consumer_state(&whole[1..], 9), Err(NoFact));

        // Numbers of deliveries that are not known go up all the same.
        let mut old = state;
        old.pending = [(5, delivered(0)), (6, delivered(0)), (9, delivered(0))].into();
        let (number, fact) = consumer_fact(2, "c", 77, &config, &old);
        assert_eq!(number, notes::number(2));
        let length = u32::from_le_bytes(*fact.first_chunk().expect("it is longer")) as usize;
        let state = consumer_state(&fact[4 + length..], 9).expect("it is a fact");
        let seqs: Vec<_> = state.pending.values().map(|at| at.consumer_seq).collect();
        assert_eq!(seqs, [1, 2, 3]);
        let json = std::str::from_utf8(&fact[4..4 + length]).expect("it is text");
        assert!(
            json.starts_with(r#"{"name":"c","created":77,"config":{"#),
            "{json}"
        );
    }
}
