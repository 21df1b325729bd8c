//! What must not leave before it is true: acknowledgements wait here for the disk, and the answer to
//! a request that has made a stream waits until all shards send it what is published to it.

use std::collections::VecDeque;

use super::host::Host;
use crate::base::ids::AccountId;
use crate::jetstream::Outgoing;

#[derive(Debug)]
struct Entry {
    /// Where the journal must be durable up to; not known until the turn's flush begins.
    position: u64,
    /// The change of interest that all shards must know.
    interest: u64,
    /// It answers a request to the API.
    is_answer: bool,
    account: AccountId,
    to: u32,
    reply: u32,
    headers: u32,
    payload: u32,
}

impl Entry {
    fn bytes(&self) -> usize {
        (self.to + self.reply + self.headers + self.payload) as usize
    }
}

/// Messages in the order in which they will leave, and their bytes, one behind the other.
#[derive(Debug, Default)]
pub struct Held {
    entries: VecDeque<Entry>,
    bytes: Vec<u8>,
    /// Where the first entry's bytes begin.
    start: usize,
    /// Entries whose position is known.
    sealed: usize,
    /// Entries that answer requests to the API.
    answers: usize,
}

/// No position yet.
const UNSEALED: u64 = u64::MAX;
/// Bytes of room kept when everything has left.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Held {
    /// Takes a message.
    pub fn push(&mut self, account: AccountId, message: &Outgoing<'_>) {
        self.take(account, message, 0, false);
    }

    /// Takes the answer to a request to the API; `interest` is the change of interest that it waits for
    /// besides, 0 for none.
    pub fn push_answer(&mut self, account: AccountId, message: &Outgoing<'_>, interest: u64) {
        self.take(account, message, interest, true);
        self.answers += 1;
    }

    /// How many answers to requests wait.
    pub fn answers(&self) -> usize {
        self.answers
    }

    #[inline]
    fn take(&mut self, account: AccountId, message: &Outgoing<'_>, interest: u64, is_answer: bool) {
        for part in [message.to, message.reply, message.headers, message.payload] {
            self.bytes.extend_from_slice(part);
        }
        // Subjects, header blocks and payloads are bounded far below 4 GiB.
        self.entries.push_back(Entry {
            position: UNSEALED,
            interest,
            is_answer,
            account,
            to: message.to.len() as u32,
            reply: message.reply.len() as u32,
            headers: message.headers.len() as u32,
            payload: message.payload.len() as u32,
        });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All that has come since the last time waits for this position.
    pub fn seal(&mut self, position: u64) {
        for entry in self.entries.range_mut(self.sealed..) {
            entry.position = position;
        }
        self.sealed = self.entries.len();
    }

    /// Sends what is true now, in order.
    pub fn release<H: Host>(&mut self, durable: u64, host: &mut H) {
        let known = host.interest_known();
        while let Some(entry) = self.entries.front() {
            if entry.position > durable || entry.interest > known {
                break;
            }
            let bytes = &self.bytes[self.start..self.start + entry.bytes()];
            let (to, bytes) = bytes.split_at(entry.to as usize);
            let (reply, bytes) = bytes.split_at(entry.reply as usize);
            let (headers, payload) = bytes.split_at(entry.headers as usize);
            let message = Outgoing {
                to,
                subject: to,
                reply,
                headers,
                payload,
            };
            host.publish(entry.account, &message);
            self.start += entry.bytes();
            self.answers -= usize::from(entry.is_answer);
            self.entries.pop_front();
            self.sealed -= 1;
        }
        if self.entries.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES_MAX);
            self.start = 0;
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}
