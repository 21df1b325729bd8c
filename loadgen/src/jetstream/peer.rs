//! One non-blocking connection with what it still has to send. Knows the protocol's frames, not what they are for.

use crate::failure::{Failure, Result};
use crate::link::{INBOX_BYTES_LARGE, Link, Target, send_some};
use crate::stream::Stream;
use crate::wire::{Message, ServerOp, printable};

pub struct Peer {
    link: Link,
    outbox: Vec<u8>,
    sent: usize,
}

impl Peer {
    /// Connects and waits until the server knows the subscriptions.
    pub fn open(target: &Target, subjects: &[&str]) -> Result<Self> {
        let mut link = Link::open(target)?;
        for (index, subject) in subjects.iter().enumerate() {
            link.subscribe(subject, None, index as u64 + 1)?;
        }
        link.barrier()?;
        link.inbox.reserve(INBOX_BYTES_LARGE);
        link.go_nonblocking()?;
        Ok(Self {
            link,
            outbox: Vec::new(),
            sent: 0,
        })
    }

    pub fn socket(&self) -> &Stream {
        &self.link.stream
    }

    pub fn max_payload(&self) -> usize {
        self.link.info.max_payload
    }

    /// Where to write what is to be sent with the next [`Peer::flush`].
    pub fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    pub fn unsent_bytes(&self) -> usize {
        self.outbox.len() - self.sent
    }

    /// Hands the kernel what it takes; says whether that was anything.
    pub fn flush(&mut self) -> Result<bool> {
        if self.unsent_bytes() == 0 && self.link.stream.is_flushed() {
            return Ok(false);
        }
        let length = send_some(&mut self.link.stream, &self.outbox[self.sent..])?;
        self.sent += length;
        if self.sent == self.outbox.len() {
            self.outbox.clear();
            self.sent = 0;
        } else if self.sent > self.outbox.len() / 2 {
            self.outbox.drain(..self.sent);
            self.sent = 0;
        }
        Ok(length > 0)
    }

    /// Hands each message that has come to `handle`, with the outbox for what it answers; says how many bytes came.
    pub fn receive(
        &mut self,
        mut handle: impl FnMut(&Message<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<usize> {
        let length = self.link.inbox.fill(&mut self.link.stream)?;
        if length == 0 {
            return Ok(0);
        }
        let outbox = &mut self.outbox;
        self.link.inbox.drain(|op| match op {
            ServerOp::Message(message) => handle(&message, outbox),
            ServerOp::Ping => {
                outbox.extend_from_slice(b"PONG\r\n");
                Ok(())
            }
            ServerOp::Error(text) => Err(Failure::server(format!("sent -ERR {}", printable(text)))),
            ServerOp::Pong | ServerOp::Info(_) | ServerOp::Ok => Ok(()),
        })?;
        Ok(length)
    }
}
