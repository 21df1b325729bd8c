//! A reader of one consumer: pulls or is pushed to, acknowledges, and checks order, content and number of what comes.

use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;

use crate::failure::{Failure, Result};
use crate::jetstream::ack::{Delivery, header, status};
use crate::jetstream::api::unique_inbox;
use crate::jetstream::peer::Peer;
use crate::jetstream::role::{Books, Moment, Role};
use crate::link::Target;
use crate::payload::Layout;
use crate::run::Run;
use crate::wire::{Message, encode_publish_line, printable};

/// How long the server may hold a request; longer than any stall that a run tolerates.
const EXPIRES_NS: u64 = 60_000_000_000;

#[derive(Clone)]
pub struct Reading {
    pub source: Source,
    pub acks: bool,
    /// Messages that this reader gets; `None` if readers share what the publishers of the run send.
    pub total: Option<u64>,
    pub layout: Layout,
    pub check: Check,
}

#[derive(Clone)]
pub enum Source {
    Pull {
        stream: String,
        consumer: String,
        batch: u64,
        /// Requests open at a time.
        requests: usize,
    },
    Push {
        deliver_subject: String,
    },
}

/// What is known of the messages of the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// One publisher has filled it alone: its message `n` is sequence `n + 1`, and no sequence is left out.
    Dense,
    /// The same, but only some of the messages come.
    Sparse,
    /// Several have published, or several read: sequences rise.
    Rising,
}

pub struct Reader {
    peer: Peer,
    reading: Reading,
    inbox: String,
    /// For each request, what it may still bring.
    open: Vec<u64>,
    requested: u64,
    progress: Progress,
}

/// How far a reader is; apart from its connection, which lends its buffer while this changes.
struct Progress {
    last_stream_seq: u64,
    last_consumer_seq: u64,
    books: Books,
}

impl Reader {
    pub fn connect(target: &Target, reading: Reading) -> Result<Self> {
        let inbox = unique_inbox("r");
        // What is delivered comes under its own subject: a subscription for each request tells them apart.
        let (subjects, requests) = match &reading.source {
            Source::Pull { requests, .. } => {
                let requests = (*requests).max(1);
                let inboxes = (0..requests).map(|index| format!("{inbox}.{index}"));
                (inboxes.collect(), requests)
            }
            Source::Push { deliver_subject } => (vec![deliver_subject.clone()], 0),
        };
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        Ok(Self {
            peer: Peer::open(target, &subjects)?,
            reading,
            inbox,
            open: vec![0; requests],
            requested: 0,
            progress: Progress {
                last_stream_seq: 0,
                last_consumer_seq: 0,
                books: Books::default(),
            },
        })
    }

    fn request(&mut self) {
        let Source::Pull {
            stream,
            consumer,
            batch,
            ..
        } = &self.reading.source
        else {
            return;
        };
        for (index, left) in self
            .open
            .iter_mut()
            .enumerate()
            .filter(|(_, left)| **left == 0)
        {
            let wanted = match self.reading.total {
                Some(total) => (*batch).min(total.saturating_sub(self.requested)),
                None => *batch,
            };
            if wanted == 0 {
                return;
            }
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
            let body = format!("{{\"batch\":{wanted},\"expires\":{EXPIRES_NS}}}");
            let reply = format!("{}.{index}", self.inbox);
            let outbox = self.peer.outbox();
            encode_publish_line(
                outbox,
                subject.as_bytes(),
                Some(reply.as_bytes()),
                body.len(),
            );
            outbox.extend_from_slice(body.as_bytes());
            outbox.extend_from_slice(b"\r\n");
            *left = wanted;
            self.requested += wanted;
        }
    }
}

impl Role for Reader {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn step(&mut self, _: &Moment<'_>) -> Result<bool> {
        self.request();
        let Self {
            peer,
            reading,
            open,
            requested,
            progress,
            ..
        } = self;
        let received = peer.receive(|message, outbox| {
            let left = open.get_mut(message.sid.wrapping_sub(1));
            match status(message.headers) {
                None => {
                    if let Some(left) = left {
                        *left = left.saturating_sub(1);
                    }
                    progress.take(reading, message, outbox)
                }
                Some(100) => {
                    let stalled = header(message.headers, "Nats-Consumer-Stalled");
                    if let Some(reply) = message.reply.or(stalled) {
                        encode_publish_line(outbox, reply, None, 0);
                        outbox.extend_from_slice(b"\r\n");
                    }
                    Ok(())
                }
                Some(404 | 408) => {
                    if let Some(left) = left {
                        *requested -= *left;
                        *left = 0;
                    }
                    Ok(())
                }
                Some(_) => Err(Failure::server(format!(
                    "ended a request with {:?}",
                    printable(message.headers)
                ))),
            }
        })?;
        if received > 0 {
            self.request();
        }
        let sent = self.peer.flush()?;
        Ok(received > 0 || sent)
    }

    fn is_done(&self, run: &Run) -> bool {
        // Acknowledgements are part of the work.
        self.peer.unsent_bytes() == 0
            && match self.reading.total {
                Some(total) => self.progress.books.delivered >= total,
                None => {
                    run.publishers_left.load(Acquire) == 0
                        && run.delivered() >= run.expected.load(Relaxed)
                }
            }
    }

    fn counts(&self) -> (u64, u64) {
        (0, self.progress.books.delivered)
    }

    fn close(self: Box<Self>) -> Books {
        let mut books = self.progress.books;
        if let Some(total) = self.reading.total
            && books.delivered != total
        {
            let delivered = books.delivered;
            books
                .faults
                .add(|| format!("delivered {delivered} messages of {total}"));
        }
        let again = books.seen.again();
        if again > 0 {
            books
                .faults
                .add(|| format!("delivered {again} messages again"));
        }
        books
    }
}

impl Progress {
    #[inline]
    fn take(
        &mut self,
        reading: &Reading,
        message: &Message<'_>,
        outbox: &mut Vec<u8>,
    ) -> Result<()> {
        let Some((reply, delivery)) = message
            .reply
            .and_then(|reply| Some((reply, Delivery::read(reply)?)))
        else {
            return Err(Failure::server(format!(
                "delivered a message with the reply subject {:?}",
                printable(message.reply.unwrap_or_default())
            )));
        };
        if reading.acks {
            encode_publish_line(outbox, reply, None, 4);
            outbox.extend_from_slice(b"+ACK\r\n");
        }
        self.books.delivered += 1;
        self.books.seen.mark(delivery.stream_seq);
        if let Some(wrong) = self.wrong(reading, message, &delivery) {
            let (seq, last) = (delivery.stream_seq, self.last_stream_seq);
            self.books
                .faults
                .add(|| format!("delivered sequence {seq} after {last}: {wrong}"));
        }
        self.last_stream_seq = delivery.stream_seq;
        self.last_consumer_seq = delivery.consumer_seq;
        Ok(())
    }

    #[inline]
    fn wrong(
        &self,
        reading: &Reading,
        message: &Message<'_>,
        delivery: &Delivery,
    ) -> Option<&'static str> {
        let Delivery {
            times,
            stream_seq,
            consumer_seq,
            ..
        } = *delivery;
        if times != 1 {
            return Some("delivered more than once");
        }
        let layout = &reading.layout;
        if message.payload.len() != layout.payload_bytes {
            return Some("its size is another");
        }
        if stream_seq <= self.last_stream_seq || consumer_seq <= self.last_consumer_seq {
            return Some("out of order");
        }
        if reading.check == Check::Rising {
            return None;
        }
        if consumer_seq != self.last_consumer_seq + 1 {
            return Some("the consumer has left out a number");
        }
        if reading.check == Check::Dense && stream_seq != self.last_stream_seq + 1 {
            return Some("a message is missing");
        }
        let same = layout.read(message.payload) == layout.word(0, stream_seq - 1);
        (!same).then_some("its content is another's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_deliveries_are_found() {
        const DENSE: Check = Check::Dense;
        const SPARSE: Check = Check::Sparse;
        const RISING: Check = Check::Rising;
        // Deliveries as (times, stream sequence, consumer sequence, number in the payload).
        let first = (1, 1, 1, 0);
        for (check, deliveries, expected) in [
            (DENSE, vec![first, (1, 2, 2, 1)], 0),
            (DENSE, vec![first, (1, 3, 2, 2)], 1),
            (DENSE, vec![first, (1, 2, 3, 1)], 1),
            (DENSE, vec![first, first], 1),
            (DENSE, vec![first, (2, 2, 2, 1)], 1),
            (DENSE, vec![(1, 1, 1, 7)], 1),
            (SPARSE, vec![first, (1, 3, 2, 2)], 0),
            (SPARSE, vec![first, (1, 3, 3, 2)], 1),
            (RISING, vec![first, (1, 3, 3, 9)], 0),
            (RISING, vec![(1, 3, 3, 9), first], 1),
        ] {
            let reading = Reading {
                source: Source::Push {
                    deliver_subject: String::new(),
                },
                acks: true,
                total: None,
                layout: Layout::new(16),
                check,
            };
            let mut progress = Progress {
                last_stream_seq: 0,
                last_consumer_seq: 0,
                books: Books::default(),
            };
            let mut outbox = Vec::new();
            for (times, stream_seq, consumer_seq, number) in &deliveries {
                let reply = format!("$JS.ACK.S.C.{times}.{stream_seq}.{consumer_seq}.1.0");
                let mut payload = [0; 16];
                let layout = &reading.layout;
                layout.write(&mut payload, layout.word(0, *number));
                let message = Message {
                    subject: b"s",
                    sid: 1,
                    reply: Some(reply.as_bytes()),
                    headers: b"",
                    payload: &payload,
                };
                progress.take(&reading, &message, &mut outbox).unwrap();
            }
            let found = progress.books.faults.into_failures();
            assert_eq!(found.len(), expected, "{deliveries:?}: {found:?}");
            assert_eq!(progress.books.delivered, deliveries.len() as u64);
            assert!(outbox.starts_with(b"PUB $JS.ACK.S.C.1."));
            assert!(outbox.ends_with(b" 4\r\n+ACK\r\n"));
        }
    }
}
