//! A subscriber connection of a throughput run: takes what has arrived, checks it, counts it.

use crate::expectation::Expectation;
use crate::failure::{Failure, Result};
use crate::link::{INBOX_BYTES_LARGE, Link, send_some};
use crate::payload::Layout;
use crate::verify::Tracker;
use crate::wire::{ServerOp, parse_server_op, printable};

pub struct Subscriber {
    pub link: Link,
    /// Which entry of the plan this is.
    pub index: usize,
    pub tracker: Tracker,
    expectation: Expectation,
    layout: Layout,
    control: Vec<u8>,
    pongs: u64,
}

impl Subscriber {
    pub fn new(
        mut link: Link,
        index: usize,
        expectation: Expectation,
        tracker: Tracker,
        layout: Layout,
    ) -> Self {
        link.inbox
            .reserve(INBOX_BYTES_LARGE.max(2 * expectation.message_bytes()));
        Self {
            link,
            index,
            tracker,
            expectation,
            layout,
            control: Vec::new(),
            pongs: 0,
        }
    }

    /// One `recv` and all that it brought; returns how many bytes that were.
    #[inline]
    pub fn receive(&mut self) -> Result<usize> {
        let received = self.link.inbox.fill(&mut self.link.stream)?;
        if received > 0 {
            self.understand()?;
        }
        if !self.control.is_empty() {
            let sent = send_some(&mut self.link.stream, &self.control)?;
            self.control.drain(..sent);
        }
        Ok(received)
    }

    /// Asks for a PONG behind everything the server has queued for this connection.
    pub fn ask(&mut self) {
        self.pongs = 0;
        self.control.extend_from_slice(b"PING\r\n");
    }

    pub fn answered(&self) -> bool {
        self.pongs > 0
    }

    fn understand(&mut self) -> Result<()> {
        loop {
            let taken = self
                .expectation
                .take(self.link.inbox.unread(), &mut self.tracker);
            self.link.inbox.consume(taken);
            let unread = self.link.inbox.unread();
            let parsed =
                parse_server_op(unread).map_err(|error| Failure::server(error.to_string()))?;
            let Some((op, length)) = parsed else {
                return Ok(());
            };
            match op {
                ServerOp::Message(message) => {
                    self.expectation
                        .take_parsed(&message, &self.layout, &mut self.tracker)
                }
                ServerOp::Ping => self.control.extend_from_slice(b"PONG\r\n"),
                ServerOp::Pong => self.pongs += 1,
                ServerOp::Info(_) | ServerOp::Ok => {}
                ServerOp::Error(text) => {
                    return Err(Failure::server(format!(
                        "sent -ERR {} to a subscriber",
                        printable(text)
                    )));
                }
            }
            self.link.inbox.consume(length);
        }
    }
}
