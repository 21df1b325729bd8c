//! From another server's stream to one of ours: messages, and the proof that they have arrived.

use std::collections::BTreeMap;

use highway::{HighwayHash, HighwayHasher, Key};

use super::{Consumer, Fault, Source, Stream};
use crate::jetstream::adopted::Adopting;
use crate::jetstream::api::decode;
use crate::jetstream::config::{ConsumerConfig, StreamConfig};
use crate::store::{Fetched, Messages, Refused, Selection, Seq, Stored, UnixNanos};

/// A running sum over messages: equal for equal ones in equal order.
#[derive(Clone, Debug, Default)]
pub struct Fingerprint(HighwayHasher);

impl Fingerprint {
    fn new() -> Self {
        Self(HighwayHasher::new(Key::default()))
    }

    fn add(&mut self, message: &Stored<'_>) {
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
    adopting: Adopting,
    fingerprint: Fingerprint,
}

impl Moving {
    /// Of a stream with this configuration, about which this is known of its sources.
    pub fn new(config: &StreamConfig, sources: BTreeMap<String, Seq>) -> Self {
        Self {
            adopting: Adopting::new(config, sources),
            fingerprint: Fingerprint::new(),
        }
    }

    /// Messages that were stored before the one before them, by the clock of their server.
    pub fn reordered(&self) -> u64 {
        self.adopting.reordered
    }

    /// Appends a message.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn append(
        &mut self,
        message: &Stored<'_>,
        messages: &mut impl Messages,
    ) -> Result<(), Refused> {
        let time = self.adopting.append(message, messages)?;
        self.fingerprint.add(&Stored { time, ..*message });
        Ok(())
    }

    /// Ends the stream where it ended, and notes its consumers. Gives the sum over its messages.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn finish(
        mut self,
        last: (Seq, UnixNanos),
        consumers: &[(Consumer, ConsumerConfig)],
        messages: &mut impl Messages,
    ) -> Result<u64, Refused> {
        for (Consumer { meta, state }, config) in consumers {
            let (name, created) = (&meta.name, meta.created);
            (self.adopting).consumer(name, created, config, state, messages)?;
        }
        self.adopting.finish(last, messages)?;
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
                Fetched::Here(stored) => self.fingerprint.add(&stored),
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
