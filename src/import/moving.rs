//! From another server's stream to one of ours: messages, and the proof that they have arrived.

use std::collections::BTreeMap;

use highway::{HighwayHash, HighwayHasher, Key};

use super::{Consumer, Fault, Message, Source, Stream};
use crate::jetstream::adopted;
use crate::jetstream::api::decode;
use crate::jetstream::config::{ConsumerConfig, StreamConfig};
use crate::store::{Fetched, Messages, NewMessage, Refused, Selection, Seq, Stored, UnixNanos};

/// A running sum over messages: equal for equal ones in equal order.
#[derive(Clone, Debug, Default)]
pub struct Fingerprint(HighwayHasher);

impl Fingerprint {
    fn new() -> Self {
        Self(HighwayHasher::new(Key::default()))
    }

    fn add(&mut self, message: &Message<'_>) {
        let parts = [message.subject, message.headers, message.payload];
        for number in [message.seq, message.time as u64] {
            self.0.append(&number.to_le_bytes());
        }
        for part in parts {
            self.0.append(&(part.len() as u64).to_le_bytes());
            self.0.append(part);
        }
    }

    /// The sum.
    pub fn finish(self) -> u64 {
        self.0.finalize64()
    }
}

/// A stream on its way.
pub struct Moving {
    fingerprint: Fingerprint,
    last_time: UnixNanos,
    /// Messages that were stored before the one before them.
    pub reordered: u64,
    has_sources: bool,
    /// What came last from each source.
    sources: BTreeMap<String, Seq>,
}

impl Moving {
    /// Of a stream with this configuration, about which this is known of its sources.
    pub fn new(config: &StreamConfig, sources: BTreeMap<String, Seq>) -> Self {
        Self {
            fingerprint: Fingerprint::new(),
            last_time: UnixNanos::MIN,
            reordered: 0,
            has_sources: !config.sources.is_empty(),
            sources,
        }
    }

    /// Appends a message.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn append(
        &mut self,
        message: &Message<'_>,
        messages: &mut impl Messages,
    ) -> Result<(), Refused> {
        // A clock was set back: times in a stream do not.
        let mut message = *message;
        if message.time < self.last_time {
            self.reordered += 1;
            message.time = self.last_time;
        }
        self.last_time = message.time;
        if messages.state().last_seq + 1 < message.seq {
            messages.skip_to(message.seq - 1, message.time)?;
        }
        messages.append(&NewMessage {
            subject: message.subject,
            headers: message.headers,
            payload: message.payload,
            time: message.time,
            flags: adopted::message_flags(message.headers),
        })?;
        self.fingerprint.add(&message);
        if self.has_sources
            && let Some((source, seq)) = adopted::sourced_from(message.headers)
        {
            let last = self.sources.entry(source).or_default();
            *last = seq.max(*last);
        }
        Ok(())
    }

    /// Ends the stream where it ended, and notes its consumers and how far its sources were
    /// followed. Gives the sum over its messages.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn finish(
        self,
        last: (Seq, UnixNanos),
        consumers: &[(Consumer, ConsumerConfig)],
        messages: &mut impl Messages,
    ) -> Result<u64, Refused> {
        if messages.state().last_seq < last.0 {
            messages.skip_to(last.0, last.1.max(self.last_time))?;
        }
        for (place, (consumer, config)) in consumers.iter().enumerate() {
            let meta = &consumer.meta;
            let state = &consumer.state;
            let place = place as u32;
            let (note, fact) =
                adopted::consumer_fact(place, &meta.name, meta.created, config, state);
            messages.rewrite_note(note, &fact)?;
        }
        if !self.sources.is_empty() {
            let (note, fact) = adopted::sources_fact(&self.sources);
            messages.rewrite_note(note, &fact)?;
        }
        Ok(self.fingerprint.finish())
    }
}

/// Reads messages back, to sum them up as they have arrived.
pub struct Checking {
    fingerprint: Fingerprint,
    next: Seq,
    everything: Selection,
}

/// What [`Checking::go_on`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It goes on when the store has read what is asked for.
    Later,
    /// All were read: their sum.
    All(u64),
    /// This one cannot be read.
    Damaged(Seq),
}

impl Default for Checking {
    fn default() -> Self {
        Self {
            fingerprint: Fingerprint::new(),
            next: 1,
            everything: Selection::everything(),
        }
    }
}

impl Checking {
    /// Reads on.
    pub fn go_on(&mut self, messages: &mut impl Messages) -> Checked {
        while let Some(seq) = messages.next(&mut self.everything, self.next) {
            match messages.get(seq) {
                Fetched::Later => return Checked::Later,
                Fetched::Gone | Fetched::Damaged => return Checked::Damaged(seq),
                Fetched::Here(Stored {
                    seq,
                    time,
                    subject,
                    headers,
                    payload,
                }) => self.fingerprint.add(&Message {
                    seq,
                    time,
                    subject,
                    headers,
                    payload,
                }),
            }
            self.next = seq + 1;
        }
        Checked::All(self.fingerprint.clone().finish())
    }
}

/// The configurations of a stream and its consumers, as this server reads them.
pub struct Definitions {
    /// The stream's.
    pub stream: StreamConfig,
    /// Its consumers.
    pub consumers: Vec<(Consumer, ConsumerConfig)>,
    /// How many replicas there were, if it was not one.
    pub replicas: Option<i64>,
}

impl Definitions {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with the stream's. A consumer that cannot be read is a fault.
    pub fn read<S: Source>(
        stream: &mut Stream<'_, S>,
        faults: &mut Vec<Fault>,
    ) -> Result<Self, Fault> {
        let folder = stream.place().folder();
        let read = decode::request(stream.meta().config_json.as_bytes(), true);
        let mut config: StreamConfig = read.map_err(|error| {
            let what = format!("configuration is not understood: {}", error.description);
            Fault::new(format!("{folder}/meta.inf"), what)
        })?;
        let replicas = (config.num_replicas > 1).then_some(config.num_replicas);
        config.num_replicas = 1;
        let mut consumers = Vec::new();
        for consumer in stream.consumers()? {
            let read =
                decode::request::<ConsumerConfig>(consumer.meta.config_json.as_bytes(), true);
            match read {
                Ok(mut config) => {
                    config.num_replicas = config.num_replicas.min(1);
                    consumers.push((consumer, config));
                }
                Err(error) => {
                    let file = format!("{folder}/obs/{}/meta.inf", consumer.meta.name);
                    let why = error.description;
                    let what = format!("configuration is not understood: {why}");
                    faults.push(Fault::new(file, what));
                }
            }
        }
        Ok(Self {
            stream: config,
            consumers,
            replicas,
        })
    }
}
