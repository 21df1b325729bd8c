//! A publisher connection of a throughput run: keeps its socket full, then asks for a PONG to know that all was taken.

use crate::batch::Batch;
use crate::failure::{Failure, Result};
use crate::link::{Link, send_some};
use crate::payload::Layout;
use crate::subjects::Subjects;
use crate::wire::{ServerOp, printable};

pub struct Publisher {
    pub link: Link,
    pub id: usize,
    /// Nobody waits for a background publisher: it only loads the server.
    pub background: bool,
    batch: Batch,
    /// The sequence after the last one encoded.
    sequence: u64,
    quota: Option<u64>,
    sent_bytes: usize,
    batch_bytes: usize,
    /// PING and PONG lines, sent between batches so that they never cut a message in two.
    control: Vec<u8>,
    owed_pongs: usize,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Publishing,
    /// All is sent but perhaps the PING, and its PONG has not come.
    Closing,
    Closed,
}

impl Publisher {
    pub fn new(
        link: Link,
        id: usize,
        subjects: &Subjects,
        layout: Layout,
        quota: Option<u64>,
        background: bool,
    ) -> Self {
        Self {
            link,
            id,
            background,
            batch: Batch::new(subjects, layout, id as u64),
            sequence: 0,
            quota,
            sent_bytes: 0,
            batch_bytes: 0,
            control: Vec::new(),
            owed_pongs: 0,
            phase: Phase::Publishing,
        }
    }

    pub fn published(&self) -> u64 {
        self.sequence
    }

    pub fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// One `send`; returns how many bytes the kernel took.
    pub fn push(&mut self, stopping: bool) -> Result<usize> {
        if self.sent_bytes == self.batch_bytes {
            self.refill(stopping);
        }
        if self.sent_bytes < self.batch_bytes {
            let sent = send_some(
                &mut self.link.stream,
                &self.batch.bytes()[self.sent_bytes..self.batch_bytes],
            )?;
            self.sent_bytes += sent;
            if stopping {
                self.cut_short();
            }
            return Ok(sent);
        }
        if self.control.is_empty() {
            return Ok(0);
        }
        let sent = send_some(&mut self.link.stream, &self.control)?;
        self.control.drain(..sent);
        Ok(sent)
    }

    /// Reads what the server says to a publisher; returns whether the closing PONG came with it.
    pub fn pull(&mut self) -> Result<bool> {
        if self.link.inbox.fill(&mut self.link.stream)? == 0 {
            return Ok(false);
        }
        let mut pongs = 0;
        let owed_pongs = &mut self.owed_pongs;
        self.link.inbox.drain(|op| {
            match op {
                ServerOp::Ping => *owed_pongs += 1,
                ServerOp::Pong => pongs += 1,
                ServerOp::Info(_) | ServerOp::Ok => {}
                ServerOp::Error(text) => {
                    return Err(Failure::server(format!(
                        "sent -ERR {} to a publisher",
                        printable(text)
                    )));
                }
                ServerOp::Message(message) => {
                    let subject = printable(message.subject);
                    return Err(Failure::server(format!(
                        "sent a message on {subject} to a publisher without subscription"
                    )));
                }
            }
            Ok(())
        })?;
        if pongs > 0 && self.phase == Phase::Closing {
            self.phase = Phase::Closed;
            return Ok(true);
        }
        Ok(false)
    }

    fn refill(&mut self, stopping: bool) {
        if self.owed_pongs > 0 {
            self.control
                .extend_from_slice(&b"PONG\r\n".repeat(self.owed_pongs));
            self.owed_pongs = 0;
        }
        if self.phase != Phase::Publishing || !self.control.is_empty() {
            return;
        }
        let left = if stopping {
            0
        } else {
            self.quota.map_or(u64::MAX, |quota| quota - self.sequence)
        };
        if left == 0 {
            self.phase = Phase::Closing;
            self.control.extend_from_slice(b"PING\r\n");
            return;
        }
        let messages = left.min(self.batch.messages_max());
        self.sent_bytes = 0;
        self.batch_bytes = self.batch.number(self.sequence, messages);
        self.sequence += messages;
    }

    /// Takes the messages back of which nothing was sent.
    fn cut_short(&mut self) {
        let message_bytes = self.batch.message_bytes();
        let boundary = self.sent_bytes.next_multiple_of(message_bytes);
        self.sequence -= ((self.batch_bytes - boundary) / message_bytes) as u64;
        self.batch_bytes = boundary;
    }
}
