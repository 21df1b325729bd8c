//! A publisher that keeps a window of messages in flight and checks each acknowledgement.

use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::failure::{Failure, Result};
use crate::jetstream::ack::{PubAck, number, status};
use crate::jetstream::api::unique_inbox;
use crate::jetstream::peer::Peer;
use crate::jetstream::role::{Books, Moment, Role};
use crate::link::Target;
use crate::payload::{Layout, filler};
use crate::run::Run;
use crate::subjects::{NumberedSubjects, Subjects, write_digits};
use crate::wire::{Message, printable};

/// Not more than this is encoded ahead of the kernel.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// Digits of a message's number in its reply subject and its id.
const NUMBER_DIGITS: usize = 10;

/// What is published, and how.
#[derive(Clone)]
pub struct Shape {
    pub subjects: Subjects,
    /// So many of the last digits of a numbered subject are a token of their own, in front of the others.
    pub group_digits: usize,
    pub layout: Layout,
    /// Messages in flight.
    pub window: u64,
    pub quota: Option<u64>,
    /// Messages per second, if not as many as possible.
    pub rate: Option<f64>,
    /// Messages carry `Nats-Msg-Id`; every so many repeat the id of the one before.
    pub repeat_every: Option<u64>,
    pub order: Order,
    /// Deliveries that readers of this run owe for each message.
    pub fanout: u64,
}

/// What the sequences of acknowledgements must look like.
#[derive(Clone)]
pub enum Order {
    /// Nobody else publishes: each is one more than the last, which is kept here.
    Alone(u64),
    /// Others publish too: they rise.
    Shared(u64),
    /// The subject's number is that of a stream which is this publisher's alone.
    PerStream(Vec<u64>),
}

pub struct Publisher {
    peer: Peer,
    id: u64,
    shape: Shape,
    template: Template,
    subject_number: u64,
    next: u64,
    /// The first message that is not acknowledged yet.
    oldest: u64,
    /// When the messages in flight were sent, by number modulo window; 0 once acknowledged.
    sent_ns: Vec<u64>,
    books: Books,
    is_closed: bool,
}

impl Publisher {
    pub fn connect(target: &Target, id: usize, shape: Shape) -> Result<Self> {
        let inbox = unique_inbox("p");
        let peer = Peer::open(target, &[&format!("{inbox}.*")])?;
        if shape.layout.payload_bytes > peer.max_payload() {
            return Err(Failure::usage(format!(
                "the server takes payloads of at most {} bytes",
                peer.max_payload()
            )));
        }
        Ok(Self {
            peer,
            id: id as u64,
            template: Template::new(&shape, id, &inbox),
            subject_number: match &shape.subjects {
                Subjects::Fixed(_) => 0,
                Subjects::Numbered(family) => family.number(0),
            },
            next: 0,
            oldest: 0,
            sent_ns: vec![0; shape.window.max(1) as usize],
            shape,
            books: Books::default(),
            is_closed: false,
        })
    }

    fn publish(&mut self, moment: &Moment<'_>) {
        let window = self.sent_ns.len() as u64;
        let mut limit = self.oldest + window;
        if let Some(quota) = self.shape.quota {
            limit = limit.min(quota);
        }
        if let Some(rate) = self.shape.rate {
            limit = limit.min((moment.now_ns as f64 / 1e9 * rate) as u64);
        }
        while self.next < limit && self.peer.unsent_bytes() < UNSENT_BYTES_MAX {
            self.template
                .number(self.next, self.repeats(self.next), self.subject_number);
            self.template
                .identify(&self.shape.layout, self.id, self.next);
            self.peer.outbox().extend_from_slice(&self.template.bytes);
            // Never 0, which means that nothing is in flight here.
            self.sent_ns[(self.next % window) as usize] = moment.now_ns | 1;
            if let Subjects::Numbered(family) = &self.shape.subjects {
                self.subject_number = family.next_number(self.subject_number);
            }
            self.next += 1;
        }
    }

    fn repeats(&self, number: u64) -> bool {
        match self.shape.repeat_every {
            Some(every) => every > 1 && number % every == every - 1,
            None => false,
        }
    }

    fn wants_to_close(&self, stopping: bool) -> bool {
        self.oldest == self.next && (stopping || self.shape.quota == Some(self.next))
    }
}

impl Role for Publisher {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<bool> {
        if self.is_closed {
            return Ok(false);
        }
        let Self {
            peer,
            shape,
            sent_ns,
            books,
            next,
            oldest,
            ..
        } = self;
        let window = sent_ns.len() as u64;
        let mut arrival = moment.arrival();
        let received = peer.receive(|message, _| {
            let token = message.subject.rsplit(|byte| *byte == b'.').next();
            let Some(number) = token.and_then(number) else {
                return Err(unexpected(message));
            };
            let slot = (number % window) as usize;
            if number < *oldest || number >= *next || sent_ns[slot] == 0 {
                books
                    .faults
                    .add(|| format!("message {number} was acknowledged twice"));
                return Ok(());
            }
            books.latencies.record(arrival.since(sent_ns[slot]));
            sent_ns[slot] = 0;
            while *oldest < *next && sent_ns[(*oldest % window) as usize] == 0 {
                *oldest += 1;
            }
            check(shape, books, number, message)
        })?;
        if !moment.stopping {
            self.publish(moment);
        }
        let sent = self.peer.flush()?;
        if self.wants_to_close(moment.stopping) {
            self.is_closed = true;
            let run = moment.run;
            let stored = self.books.acked - self.books.duplicates;
            run.expected.fetch_add(stored * self.shape.fanout, Relaxed);
            run.publishers_left.fetch_sub(1, AcqRel);
        }
        Ok(received > 0 || sent)
    }

    fn is_done(&self, _: &Run) -> bool {
        self.is_closed
    }

    fn counts(&self) -> (u64, u64) {
        (self.books.acked, 0)
    }

    fn close(self: Box<Self>) -> Books {
        let mut books = self.books;
        let unanswered = self.next - self.oldest;
        if unanswered > 0 {
            books
                .faults
                .add(|| format!("{unanswered} messages in flight were not acknowledged"));
        }
        books
    }
}

/// Enters one acknowledgement into the books.
fn check(shape: &mut Shape, books: &mut Books, number: u64, message: &Message<'_>) -> Result<()> {
    if status(message.headers).is_some() {
        return Err(unexpected(message));
    }
    let ack = PubAck::read(message.payload)?;
    if let Some(error) = ack.error {
        books.errors += 1;
        books
            .faults
            .add(|| format!("message {number} was refused: {error}"));
        return Ok(());
    }
    books.acked += 1;
    let repeated = shape
        .repeat_every
        .is_some_and(|every| every > 1 && number % every == every - 1);
    if ack.duplicate != repeated {
        let found = if repeated { "not " } else { "" };
        books
            .faults
            .add(|| format!("message {number} was {found}taken for a duplicate"));
    }
    if ack.duplicate {
        books.duplicates += 1;
        return Ok(());
    }
    let (last, exactly) = match &mut shape.order {
        Order::Alone(last) => (last, true),
        Order::Shared(last) => (last, false),
        Order::PerStream(lasts) => {
            let index = stream_of(&shape.subjects, number);
            (&mut lasts[index], true)
        }
    };
    if ack.seq <= *last || (exactly && ack.seq != *last + 1) {
        let last = *last;
        books
            .faults
            .add(|| format!("message {number} got sequence {} after {last}", ack.seq));
    }
    *last = ack.seq;
    if !matches!(shape.order, Order::PerStream(_)) {
        books.stored.mark(ack.seq);
    }
    Ok(())
}

fn stream_of(subjects: &Subjects, number: u64) -> usize {
    match subjects {
        Subjects::Fixed(_) => 0,
        Subjects::Numbered(family) => family.number(number) as usize,
    }
}

fn unexpected(message: &Message<'_>) -> Failure {
    Failure::server(format!(
        "answered a message with {:?} {:?}",
        printable(message.headers),
        printable(message.payload)
    ))
}

/// A whole publish of which only a few digits change from message to message.
struct Template {
    bytes: Vec<u8>,
    subject_at: usize,
    subject_digits: usize,
    group_digits: usize,
    reply_at: usize,
    id_at: Option<usize>,
    payload_at: usize,
}

impl Template {
    fn new(shape: &Shape, publisher: usize, inbox: &str) -> Self {
        let zeros = "0".repeat(NUMBER_DIGITS);
        let headers = shape
            .repeat_every
            .map(|_| format!("NATS/1.0\r\nNats-Msg-Id: load-{publisher}-{zeros}\r\n\r\n"));
        let verb = if headers.is_some() { "HPUB " } else { "PUB " };
        let mut bytes = verb.as_bytes().to_vec();
        let (mut subject_at, mut subject_digits) = (0, 0);
        match &shape.subjects {
            Subjects::Fixed(subject) => bytes.extend_from_slice(subject.as_bytes()),
            Subjects::Numbered(NumberedSubjects { prefix, digits, .. }) => {
                bytes.extend_from_slice(prefix.as_bytes());
                if shape.group_digits > 0 {
                    bytes.extend(std::iter::repeat_n(b'0', shape.group_digits));
                    bytes.push(b'.');
                }
                (subject_at, subject_digits) = (bytes.len(), *digits - shape.group_digits);
                bytes.extend(std::iter::repeat_n(b'0', subject_digits));
            }
        }
        bytes.extend_from_slice(format!(" {inbox}.").as_bytes());
        let reply_at = bytes.len();
        bytes.extend_from_slice(zeros.as_bytes());
        let payload_bytes = shape.layout.payload_bytes;
        let mut id_at = None;
        match &headers {
            None => bytes.extend_from_slice(format!(" {payload_bytes}\r\n").as_bytes()),
            Some(headers) => {
                let total = headers.len() + payload_bytes;
                bytes.extend_from_slice(format!(" {} {total}\r\n", headers.len()).as_bytes());
                bytes.extend_from_slice(headers.as_bytes());
                id_at = Some(bytes.len() - "\r\n\r\n".len() - NUMBER_DIGITS);
            }
        }
        let payload_at = bytes.len();
        bytes.extend_from_slice(&filler(payload_bytes));
        bytes.extend_from_slice(b"\r\n");
        Self {
            bytes,
            subject_at,
            subject_digits,
            group_digits: shape.group_digits,
            reply_at,
            id_at,
            payload_at,
        }
    }

    #[inline]
    fn number(&mut self, number: u64, repeats: bool, subject_number: u64) {
        let digits = |bytes: &mut [u8], at: usize, length: usize, value| {
            write_digits(&mut bytes[at..at + length], value);
        };
        digits(&mut self.bytes, self.reply_at, NUMBER_DIGITS, number);
        if self.subject_digits > 0 {
            let (mut number, length) = (subject_number, self.group_digits);
            if length > 0 {
                let groups = 10u64.pow(length as u32);
                digits(
                    &mut self.bytes,
                    self.subject_at - 1 - length,
                    length,
                    number % groups,
                );
                number /= groups;
            }
            digits(
                &mut self.bytes,
                self.subject_at,
                self.subject_digits,
                number,
            );
        }
        if let Some(at) = self.id_at {
            digits(
                &mut self.bytes,
                at,
                NUMBER_DIGITS,
                number - u64::from(repeats),
            );
        }
    }

    #[inline]
    fn identify(&mut self, layout: &Layout, publisher: u64, number: u64) {
        layout.write(
            &mut self.bytes[self.payload_at..],
            layout.word(publisher, number),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_rewritten_in_place() {
        let mut shape = Shape {
            subjects: Subjects::Numbered(NumberedSubjects::new("load.k.", 1_000, false)),
            group_digits: 0,
            layout: Layout::new(10),
            window: 1,
            quota: None,
            rate: None,
            repeat_every: None,
            order: Order::Alone(0),
            fanout: 0,
        };
        let mut template = Template::new(&shape, 3, "_INBOX.x");
        template.number(41, false, 7);
        template.identify(&shape.layout, 3, 41);
        assert_eq!(
            template.bytes,
            b"PUB load.k.000007 _INBOX.x.0000000041 10\r\n\x03\0\x29\0\0\0\0\0ij\r\n"
        );
        shape.group_digits = 2;
        let mut template = Template::new(&shape, 3, "_INBOX.x");
        template.number(41, false, 1_234);
        assert!(template.bytes.starts_with(b"PUB load.k.34.0012 _INBOX.x."));
        shape.group_digits = 0;
        shape.repeat_every = Some(2);
        let mut template = Template::new(&shape, 3, "_INBOX.x");
        template.number(41, true, 7);
        let text = String::from_utf8(template.bytes).unwrap();
        assert_eq!(
            text,
            "HPUB load.k.000007 _INBOX.x.0000000041 44 54\r\nNATS/1.0\r\nNats-Msg-Id: load-3-0000000040\r\n\r\nabcdefghij\r\n"
        );
    }
    #[test]
    fn wrong_acknowledgements_are_found() {
        /// The acknowledgements of messages 0, 1 … and how many of them are wrong.
        fn faults(order: Order, repeat_every: Option<u64>, acks: &[&str]) -> usize {
            let mut shape = Shape {
                subjects: Subjects::Numbered(NumberedSubjects::new("s.", 2, false)),
                group_digits: 0,
                layout: Layout::new(16),
                window: 10,
                quota: None,
                rate: None,
                repeat_every,
                order,
                fanout: 0,
            };
            let mut books = Books::default();
            for (number, ack) in acks.iter().enumerate() {
                let message = Message {
                    subject: b"_INBOX.x.0",
                    sid: 1,
                    reply: None,
                    headers: b"",
                    payload: ack.as_bytes(),
                };
                check(&mut shape, &mut books, number as u64, &message).unwrap();
            }
            books.faults.into_failures().len()
        }
        let ack = |seq: u64| format!(r#"{{"stream":"S","seq":{seq}}}"#);
        let (one, two, three) = (&*ack(1), &*ack(2), &*ack(3));
        let again = r#"{"stream":"S","seq":1,"duplicate":true}"#;
        let refused = r#"{"error":{"code":400},"stream":"S","seq":0}"#;
        let alone = || Order::Alone(0);
        for (order, repeat_every, acks, expected) in [
            (alone(), None, vec![one, two, three], 0),
            (alone(), None, vec![one, three], 1),
            (alone(), None, vec![one, one], 1),
            (alone(), None, vec![two], 1),
            (alone(), None, vec![one, refused, two], 1),
            (alone(), None, vec![one, again], 1),
            (alone(), Some(2), vec![one, again, two, again], 0),
            (alone(), Some(2), vec![one, two], 1),
            (Order::Shared(0), None, vec![one, three], 0),
            (Order::Shared(0), None, vec![two, one], 1),
            (Order::PerStream(vec![0, 0]), None, vec![one, one, two], 0),
            (Order::PerStream(vec![0, 0]), None, vec![one, two, three], 2),
        ] {
            assert_eq!(faults(order, repeat_every, &acks), expected, "{acks:?}");
        }
    }
}
