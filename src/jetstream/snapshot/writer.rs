//! Making a snapshot: `NATSARC1`, the state of the stream, its consumers, its messages, and an entry of
//! nothing at the end, all in one framed stream.
//!
//! An entry is, in variable-length numbers: length of its name, time (signed), sequence, length of
//! headers, length of payload; and then name, headers and payload. `state.json` and `consumers/<name>`
//! hold JSON; what has a sequence is a message, named by its subject.

use super::s2::Framer;
use super::{ConsumerState, StreamState, varint};
use crate::store::{Fetched, Messages, Selection, Seq, UnixNanos};

/// What an archive begins with.
pub(super) const MAGIC: &[u8] = b"NATSARC1";
pub(super) const STATE_NAME: &str = "state.json";
pub(super) const CONSUMERS: &str = "consumers/";

/// A consumer for a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerSnapshot {
    /// Its name.
    pub name: String,
    /// Its configuration, as the API writes it.
    pub config_json: String,
    /// How far it has come.
    pub state: ConsumerState,
}

/// How [`Writer::fill`] has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The chunk is full, or the last.
    Chunk,
    /// A message is being read: again when the store has news. The chunk is as it was.
    Later,
    /// A message cannot be read: why.
    Failed(String),
}

enum Stage {
    Consumers,
    Messages,
    Ended,
}

/// A snapshot being made.
///
/// What is appended meanwhile is not in it; what is deleted meanwhile may be missing.
pub struct Writer {
    stage: Stage,
    consumers: std::vec::IntoIter<ConsumerSnapshot>,
    next_seq: Seq,
    last_seq: Seq,
    now: UnixNanos,
    everything: Selection,
    framer: Framer,
    head: Vec<u8>,
    /// Framed, and handed out up to `at`.
    out: Vec<u8>,
    at: usize,
}

impl Writer {
    /// Of a stream that is in this state now, with these consumers; `state.consumers` is set to their
    /// number.
    pub fn new(mut state: StreamState, consumers: Vec<ConsumerSnapshot>, now: UnixNanos) -> Self {
        state.consumers = consumers.len() as u64;
        let mut writer = Self {
            stage: Stage::Consumers,
            consumers: consumers.into_iter(),
            next_seq: state.first_seq,
            last_seq: state.last_seq,
            now,
            everything: Selection::everything(),
            framer: Framer::default(),
            head: Vec::new(),
            out: Vec::new(),
            at: 0,
        };
        writer.framer.write(MAGIC, &mut writer.out);
        writer.put(
            STATE_NAME.as_bytes(),
            now,
            0,
            &[],
            state.to_json().as_bytes(),
        );
        writer
    }

    /// Whether all of it was handed out.
    pub fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Ended) && self.at == self.out.len()
    }

    /// Puts the next piece into `chunk`: of `bytes` bytes, unless it is the last.
    pub fn fill(
        &mut self,
        messages: &mut impl Messages,
        bytes: usize,
        chunk: &mut Vec<u8>,
    ) -> Filled {
        while self.out.len() - self.at < bytes && !matches!(self.stage, Stage::Ended) {
            match self.stage {
                Stage::Ended => {}
                Stage::Consumers => match self.consumers.next() {
                    None => self.stage = Stage::Messages,
                    Some(consumer) => self.put_consumer(consumer),
                },
                Stage::Messages => match self.put_message(messages) {
                    Filled::Chunk => {}
                    ended => return ended,
                },
            }
        }
        let end = self.out.len().min(self.at + bytes);
        chunk.clear();
        chunk.extend_from_slice(&self.out[self.at..end]);
        self.at = end;
        if self.at * 2 >= self.out.len() {
            self.out.drain(..self.at);
            self.at = 0;
        }
        Filled::Chunk
    }

    fn put_consumer(&mut self, mut consumer: ConsumerSnapshot) {
        // It may have gone on since the stream's state was taken.
        let (state, last) = (&mut consumer.state, self.last_seq);
        state.delivered.stream_seq = state.delivered.stream_seq.min(last);
        state.ack_floor.stream_seq = state.ack_floor.stream_seq.min(last);
        state.pending.retain(|&seq, _| seq <= last);
        state.redelivered.retain(|&seq, _| seq <= last);
        let state = serde_json::to_string(state).expect("numbers as keys are JSON");
        let json = format!(r#"{{"config":{},"state":{state}}}"#, consumer.config_json);
        let name = format!("{CONSUMERS}{}", consumer.name);
        self.put(name.as_bytes(), self.now, 0, &[], json.as_bytes());
    }

    /// Writes the next message, or the end. `Chunk` if it did.
    fn put_message(&mut self, messages: &mut impl Messages) -> Filled {
        let next = messages.next(&mut self.everything, self.next_seq);
        let Some(seq) = next.filter(|&seq| seq <= self.last_seq) else {
            self.put(&[], 0, 0, &[], &[]);
            self.framer.finish(&mut self.out);
            self.stage = Stage::Ended;
            return Filled::Chunk;
        };
        match messages.get(seq) {
            Fetched::Later => return Filled::Later,
            Fetched::Damaged => {
                return Filled::Failed(format!("message {seq} cannot be read"));
            }
            Fetched::Gone => {}
            Fetched::Here(stored) => {
                put(
                    (&mut self.framer, &mut self.head, &mut self.out),
                    stored.subject,
                    stored.time,
                    seq,
                    stored.headers,
                    stored.payload,
                );
            }
        }
        self.next_seq = seq + 1;
        Filled::Chunk
    }

    fn put(&mut self, name: &[u8], time: UnixNanos, seq: Seq, headers: &[u8], payload: &[u8]) {
        let to = (&mut self.framer, &mut self.head, &mut self.out);
        put(to, name, time, seq, headers, payload);
    }
}

/// Writes an entry through a framer, with some scratch for its head.
fn put(
    (framer, head, out): (&mut Framer, &mut Vec<u8>, &mut Vec<u8>),
    name: &[u8],
    time: UnixNanos,
    seq: Seq,
    headers: &[u8],
    payload: &[u8],
) {
    head.clear();
    varint::put_unsigned(head, name.len() as u64);
    varint::put_signed(head, time);
    varint::put_unsigned(head, seq);
    varint::put_unsigned(head, headers.len() as u64);
    varint::put_unsigned(head, payload.len() as u64);
    for piece in [head, name, headers, payload] {
        framer.write(piece, out);
    }
}
