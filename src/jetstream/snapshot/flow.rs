//! Snapshots on their way: chunks as messages, acknowledged one by one.
//!
//! A snapshot goes to the client's subject; each full chunk asks for an acknowledgement, and so many
//! may be without one. A message without payload ends it, and its status says how. A restored one comes
//! the other way: each chunk is answered when it was taken in, and an empty one ends it.
//!
//! These are state machines of whoever hosts them: it listens to the subjects that they name, and calls
//! them again when something has come, at their deadline, or when a message was read.

use std::collections::VecDeque;

use super::reader::{Item, Read, Reader};
use super::writer::{Filled, Writer};
use crate::base::deadlines::Millis;
use crate::jetstream::api::requests::SnapshotRequest;
use crate::jetstream::{Now, Outgoing, Outlet, Reached};
use crate::store::Messages;

const CHUNK_BYTES: i64 = 128 << 10;
const CHUNK_BYTES_MIN: i64 = 1 << 10;
const CHUNK_BYTES_MAX: i64 = 1 << 20;
const WINDOW_BYTES: i64 = 8 << 20;
const WINDOW_BYTES_MAX: i64 = 32 << 20;
/// How long nobody may listen at first.
const INTEREST_MS: Millis = 2_000;
/// How long acknowledgements may fail to come.
const ACK_MS: Millis = 5_000;
/// How long chunks may.
const CHUNK_MS: Millis = 5_000;
/// What is sent or taken in at once, before others have their turn.
const TURN_BYTES: usize = 1 << 20;
/// What may have come without being taken in: the window of a client that keeps to one.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What a snapshot being sent waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// An acknowledgement, interest, room, or its deadline.
    Waiting,
    /// News of the store: a message is being read.
    Reading,
    /// Its next turn.
    Again,
    /// Nothing: it has ended, well or for this reason. The subject is not watched any more.
    Ended(Result<(), String>),
}

/// A snapshot being sent.
pub struct Sending {
    writer: Writer,
    chunk: Vec<u8>,
    deliver: Box<[u8]>,
    acks: String,
    chunk_bytes: usize,
    unacknowledged: usize,
    unacknowledged_max: usize,
    sent: u64,
    is_heard: bool,
    /// Until when somebody must listen, or acknowledge.
    deadline: Millis,
    failure: Option<(&'static str, &'static str)>,
}

impl Sending {
    /// Begins. `id` is what no other snapshot of the stream has.
    pub fn begin(
        request: &SnapshotRequest,
        stream: &str,
        id: &str,
        writer: Writer,
        now: Now,
        outlet: &mut impl Outlet,
    ) -> Self {
        let or = |given: i64, default| if given == 0 { default } else { given };
        let chunk_bytes =
            or(request.chunk_size, CHUNK_BYTES).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let window_bytes = or(request.window_size, WINDOW_BYTES)
            .clamp(CHUNK_BYTES_MIN, WINDOW_BYTES_MAX)
            .max(chunk_bytes);
        let deliver: Box<[u8]> = request.deliver_subject.as_bytes().into();
        // A client's one subscription for all answers would swallow what it does not expect: many
        // subscribe to the very subject only when the request is answered.
        outlet.watch_interest(&deliver);
        let is_heard = outlet.has_literal_interest(&deliver);
        let patience = if is_heard { ACK_MS } else { INTEREST_MS };
        Self {
            writer,
            chunk: Vec::new(),
            deliver,
            acks: format!("$JS.SNAPSHOT.ACK.{stream}.{id}"),
            chunk_bytes: chunk_bytes as usize,
            unacknowledged: 0,
            unacknowledged_max: (window_bytes / chunk_bytes) as usize,
            sent: 0,
            is_heard,
            deadline: now.mono_ms + patience,
            failure: None,
        }
    }

    /// What its chunks go to, and whose interest counts.
    pub fn deliver_subject(&self) -> &[u8] {
        &self.deliver
    }

    /// An acknowledgement has come.
    pub fn acknowledged(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    /// Somebody listens now, or nobody does any more.
    pub fn interest_changed(&mut self, now: Now, is_heard: bool) {
        if !is_heard && self.is_heard {
            self.fail("408 No Interest", "no interest");
        }
        if is_heard && !self.is_heard {
            self.deadline = now.mono_ms + ACK_MS;
        }
        self.is_heard = is_heard;
    }

    /// When [`Self::poll`] is to be called at the latest.
    pub fn deadline(&self) -> Millis {
        self.deadline
    }

    fn fail(&mut self, status: &'static str, why: &'static str) {
        self.failure.get_or_insert((status, why));
    }

    /// Sends what may be sent.
    pub fn poll(
        &mut self,
        now: Now,
        messages: &mut impl Messages,
        outlet: &mut impl Outlet,
    ) -> Sent {
        if !self.is_heard && self.failure.is_none() {
            if now.mono_ms < self.deadline {
                return Sent::Waiting;
            }
            // Nobody may be seen to listen, and somebody does all the same.
            self.is_heard = true;
            self.deadline = now.mono_ms + ACK_MS;
        }
        let mut turn_bytes = 0;
        loop {
            if let Some((status, why)) = self.failure {
                return self.end(status, Err(why.to_owned()), outlet);
            }
            if self.unacknowledged >= self.unacknowledged_max {
                if now.mono_ms < self.deadline {
                    return Sent::Waiting;
                }
                self.fail("408 No Flow Response", "no flow response");
                continue;
            }
            if turn_bytes >= TURN_BYTES {
                return Sent::Again;
            }
            match self
                .writer
                .fill(messages, self.chunk_bytes, &mut self.chunk)
            {
                Filled::Chunk => {}
                Filled::Later => {
                    // It is not the client that is waited for.
                    self.deadline = now.mono_ms + ACK_MS;
                    return Sent::Reading;
                }
                Filled::Failed(why) => {
                    let status = format!("500 {why}");
                    return self.end(&status, Err(why), outlet);
                }
            }
            let is_full = self.chunk.len() == self.chunk_bytes;
            let mut reached = Reached::Somebody;
            if !self.chunk.is_empty() {
                let reply = match is_full {
                    true => format!("{}.{}.{}", self.acks, self.chunk.len(), self.sent + 1),
                    false => String::new(),
                };
                reached = self.publish(reply.as_bytes(), &[], &self.chunk, outlet);
                turn_bytes += self.chunk.len();
            }
            if !is_full {
                return self.end("204", Ok(()), outlet);
            }
            self.sent += 1;
            self.unacknowledged += 1;
            self.deadline = now.mono_ms + ACK_MS;
            if reached == Reached::Full {
                return Sent::Again;
            }
        }
    }

    fn publish(
        &self,
        reply: &[u8],
        headers: &[u8],
        payload: &[u8],
        outlet: &mut impl Outlet,
    ) -> Reached {
        outlet.publish(&Outgoing {
            to: &self.deliver,
            subject: &self.deliver,
            reply,
            headers,
            payload,
        })
    }

    /// Ends it before its end.
    pub fn give_up(&mut self, why: &str, outlet: &mut impl Outlet) -> Sent {
        self.end(&format!("500 {why}"), Err(why.to_owned()), outlet)
    }

    fn end(&mut self, status: &str, result: Result<(), String>, outlet: &mut impl Outlet) -> Sent {
        let headers = format!("NATS/1.0 {status}\r\n\r\n");
        self.publish(&[], headers.as_bytes(), &[], outlet);
        outlet.unwatch_interest(&self.deliver);
        Sent::Ended(result)
    }
}

/// What a snapshot being restored waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A chunk, or its deadline.
    Waiting,
    /// Its next turn.
    Again,
    /// Nothing: all of it was taken in. The answer to the restore goes to `reply`.
    Complete {
        /// Empty for nowhere.
        reply: Box<[u8]>,
    },
    /// Nothing: it has failed, and so must the stream.
    Failed {
        /// Where this is to be said; empty for nowhere.
        reply: Box<[u8]>,
        /// Why.
        why: String,
    },
}

struct Chunk {
    reply: Box<[u8]>,
    payload: Box<[u8]>,
}

/// A snapshot being restored.
pub struct Receiving {
    /// `ACCOUNT > STREAM`, for complaints.
    of: String,
    subject: String,
    reader: Reader,
    chunks: VecDeque<Chunk>,
    waiting_bytes: usize,
    /// Where the chunk is answered that the reader has.
    open: Option<Box<[u8]>>,
    received_bytes: u64,
    deadline: Millis,
    failure: Option<(Box<[u8]>, String)>,
}

impl Receiving {
    /// Begins. `id` is what no other restore of the stream has.
    pub fn begin(account: &str, stream: &str, id: &str, now: Now) -> Self {
        Self {
            of: format!("{account} > {stream}"),
            subject: format!("$JS.SNAPSHOT.RESTORE.{stream}.{id}"),
            reader: Reader::new(stream),
            chunks: VecDeque::new(),
            waiting_bytes: 0,
            open: None,
            received_bytes: 0,
            deadline: now.mono_ms + CHUNK_MS,
            failure: None,
        }
    }

    /// What chunks are published to.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Bytes that have come.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// When [`Self::poll`] is to be called at the latest.
    pub fn deadline(&self) -> Millis {
        self.deadline
    }

    /// A chunk has come.
    pub fn arrived(&mut self, now: Now, reply: &[u8], payload: &[u8]) {
        self.deadline = now.mono_ms + CHUNK_MS;
        self.received_bytes += payload.len() as u64;
        self.waiting_bytes += payload.len();
        let why = if reply.is_empty() {
            "requires reply subject for each chunk"
        } else if self.waiting_bytes > WAITING_BYTES_MAX {
            "received more than was asked for"
        } else {
            self.chunks.push_back(Chunk {
                reply: reply.into(),
                payload: payload.into(),
            });
            return;
        };
        let why = format!("restore for stream '{}' {why}", self.of);
        self.failure.get_or_insert((reply.into(), why));
    }

    /// Takes in what has come: calls for each item, and answers chunks.
    ///
    /// An error of `each` fails the restore.
    pub fn poll(
        &mut self,
        now: Now,
        outlet: &mut impl Outlet,
        each: &mut dyn FnMut(Item<'_>) -> Result<(), String>,
    ) -> Received {
        let mut turn_bytes = 0;
        loop {
            if let Some((reply, why)) = self.failure.take() {
                return Received::Failed { reply, why };
            }
            if turn_bytes >= TURN_BYTES {
                return Received::Again;
            }
            if let Some(reply) = &self.open {
                let taken = match self.reader.next_item() {
                    Err(damage) => Err(damage.told()),
                    Ok(Read::Item(item)) => {
                        turn_bytes += match &item {
                            Item::Message { payload, .. } => payload.len() + ITEM_BYTES,
                            _ => ITEM_BYTES,
                        };
                        each(item)
                    }
                    Ok(Read::More | Read::Nothing) => {
                        outlet.publish(&Outgoing {
                            to: reply,
                            subject: reply,
                            ..Outgoing::default()
                        });
                        self.open = None;
                        self.deadline = now.mono_ms + CHUNK_MS;
                        Ok(())
                    }
                };
                if let Err(why) = taken {
                    self.failure = Some((self.open.take().unwrap_or_default(), why));
                }
                continue;
            }
            let Some(chunk) = self.chunks.pop_front() else {
                if now.mono_ms < self.deadline {
                    return Received::Waiting;
                }
                let why = format!("restore for stream '{}' is stalled", self.of);
                self.failure = Some((Box::default(), why));
                continue;
            };
            let Chunk { reply, payload } = chunk;
            if payload.is_empty() {
                if self.reader.has_ended() {
                    return Received::Complete { reply };
                }
                self.failure = Some((reply, "backup was truncated".to_owned()));
                continue;
            }
            self.waiting_bytes -= payload.len();
            self.reader.push(&payload);
            self.open = Some(reply);
        }
    }
}

/// What an item counts as in a turn, beside its payload.
const ITEM_BYTES: usize = 256;
