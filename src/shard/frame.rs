//! What shards say to each other, byte by byte.
//!
//! Frames lie one after the other in a batch. They never leave the process, so a frame that
//! cannot be read is our own mistake and panics.

use crate::base::ids::{AccountId, ConnId, ShardId};
use crate::router::{InterestChange, NONE, Via};
use crate::session::Publisher;

const PUBLISH: u8 = 1;
const INTEREST: u8 = 2;
const ACK: u8 = 3;
const HOLD: u8 = 4;
const RELEASE: u8 = 5;
const TRACE: u8 = 6;
const ORDER: u8 = 7;
const FENCE: u8 = 8;

const FLAG_PLAIN: u8 = 1;
const FLAG_REPLANNED: u8 = 2;
const FLAG_SHARED: u8 = 4;
const FLAG_RESPONSE: u8 = 8;
const FLAG_TRACED: u8 = 16;
const FLAG_TRACE_ONLY: u8 = 32;
const FLAG_TRACE_ALLOWED: u8 = 64;
const FLAG_SHOWN: u8 = 128;

/// Bytes of a publish frame before its names and its message.
const PUBLISH_HEAD_BYTES: usize = 48;
/// Bytes behind that of one that is traced.
const TRACE_HEAD_BYTES: usize = 16;

/// A message on its way to another shard.
#[derive(Clone, Copy, Debug)]
pub struct PublishFrame<'a> {
    /// Who published it: the connection that is held back when a destination is full.
    pub publisher: Publisher,
    /// Whose subject.
    pub account: AccountId,
    /// The subject's hash.
    pub hash: u64,
    /// The subject.
    pub subject: &'a [u8],
    /// The subject that receivers see; empty where it is the same.
    pub shown: &'a [u8],
    /// Plain subscriptions get it.
    pub plain: bool,
    /// It was sent on by a shard whose queue member had just left.
    pub replanned: bool,
    /// It is the response to a request that was sent from there to another account's service.
    pub response: bool,
    /// It is traced.
    pub trace: Option<FrameTrace>,
    /// Names of the queue groups of which a member there gets it. With a response that is measured,
    /// what it takes along instead.
    pub queues: QueueNames<'a>,
    /// Length of the reply subject at the start of `rest`.
    pub reply_len: usize,
    /// Length of the header block, 0 for none.
    pub header_len: usize,
    /// Length of header block and payload.
    pub body_len: usize,
    /// What follows the subscription id in a delivery.
    pub rest: FrameRest<'a>,
}

/// What a traced message takes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTrace {
    /// The trace's number on the publisher's shard.
    pub number: u64,
    /// The publisher's account.
    pub ingress: AccountId,
    /// Nothing is to be delivered.
    pub only: bool,
    /// The stream import that it has come through.
    pub via: Option<Via>,
}

/// What has happened to a traced message on a shard that it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceFrame<'a> {
    /// The trace's number.
    pub number: u64,
    /// The message had been sent on by the shard that it was sent to first.
    pub further: bool,
    /// To how many shards it was sent on.
    pub sent_on: u32,
    /// JSON objects with commas between.
    pub events: &'a [u8],
}

/// The message of a frame.
#[derive(Clone, Copy, Debug)]
pub enum FrameRest<'a> {
    /// In the frame.
    Inline(&'a [u8]),
    /// The next shared payload of the batch.
    Shared,
}

/// Names with a length before each.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueNames<'a>(pub &'a [u8]);

impl<'a> Iterator for QueueNames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at(usize::from(u16::from_le_bytes(*len)));
        self.0 = rest;
        Some(name)
    }
}

/// Adds a name to such a list.
pub fn push_queue_name(names: &mut Vec<u8>, name: &[u8]) {
    // A name is an argument of a control line, which is shorter than 64 KiB or refused.
    names.extend_from_slice(&(name.len() as u16).to_le_bytes());
    names.extend_from_slice(name);
}

/// One frame.
#[derive(Debug)]
pub enum Frame<'a> {
    /// A message.
    Publish(PublishFrame<'a>),
    /// Interest has come or gone. Numbered by counting.
    Interest(InterestChange),
    /// All interest up to this number is known here.
    Ack(u64),
    /// Stop reading from this connection of yours.
    Hold(ConnId),
    /// One destination less holds it back.
    Release(ConnId),
    /// A traced message has been handled.
    Trace(TraceFrame<'a>),
    /// The next of the batch's orders.
    Order,
    /// Numbered and acknowledged as interest is, so that it is known when what came before it has come.
    Fence,
}

/// Bytes that [`encode_publish`] will take.
pub fn publish_bytes(frame: &PublishFrame<'_>) -> usize {
    let inline = match frame.rest {
        FrameRest::Inline(rest) => rest.len(),
        FrameRest::Shared => 0,
    };
    let trace = frame.trace.map_or(0, |_| TRACE_HEAD_BYTES);
    let shown = match frame.shown.len() {
        0 => 0,
        len => 4 + len,
    };
    PUBLISH_HEAD_BYTES + trace + shown + frame.queues.0.len() + frame.subject.len() + inline
}

/// Appends a message.
#[inline]
pub fn encode_publish(to: &mut Vec<u8>, frame: &PublishFrame<'_>) {
    let (inline, shared) = match frame.rest {
        FrameRest::Inline(rest) => (rest, 0),
        FrameRest::Shared => (&[][..], FLAG_SHARED),
    };
    let mut flags = shared;
    if frame.plain {
        flags |= FLAG_PLAIN;
    }
    if frame.replanned {
        flags |= FLAG_REPLANNED;
    }
    if frame.response {
        flags |= FLAG_RESPONSE;
    }
    if !frame.shown.is_empty() {
        flags |= FLAG_SHOWN;
    }
    let trace = frame.trace.map(|trace| encode_trace(&trace, &mut flags));
    let mut head = [0u8; PUBLISH_HEAD_BYTES];
    head[0] = PUBLISH;
    head[1] = flags;
    head[2] = frame.publisher.shard.0;
    head[4..8].copy_from_slice(&frame.publisher.conn.index.to_le_bytes());
    head[8..12].copy_from_slice(&frame.publisher.conn.generation.to_le_bytes());
    head[12..16].copy_from_slice(&frame.account.0.to_le_bytes());
    head[16..24].copy_from_slice(&frame.hash.to_le_bytes());
    for (at, len) in [
        (24, frame.subject.len()),
        (28, frame.queues.0.len()),
        (32, frame.reply_len),
        (36, frame.header_len),
        (40, frame.body_len),
        (44, inline.len()),
    ] {
        head[at..at + 4].copy_from_slice(&(len as u32).to_le_bytes());
    }
    to.extend_from_slice(&head);
    if let Some(trace) = trace {
        to.extend_from_slice(&trace);
    }
    if !frame.shown.is_empty() {
        to.extend_from_slice(&(frame.shown.len() as u32).to_le_bytes());
        to.extend_from_slice(frame.shown);
    }
    to.extend_from_slice(frame.subject);
    to.extend_from_slice(frame.queues.0);
    to.extend_from_slice(inline);
}

#[cold]
fn encode_trace(trace: &FrameTrace, flags: &mut u8) -> [u8; TRACE_HEAD_BYTES] {
    *flags |= FLAG_TRACED;
    if trace.only {
        *flags |= FLAG_TRACE_ONLY;
    }
    if trace.via.is_some_and(|via| via.allow_trace) {
        *flags |= FLAG_TRACE_ALLOWED;
    }
    let import = trace.via.map_or(NONE, |via| via.import);
    let mut head = [0; TRACE_HEAD_BYTES];
    head[..8].copy_from_slice(&trace.number.to_le_bytes());
    head[8..12].copy_from_slice(&trace.ingress.0.to_le_bytes());
    head[12..].copy_from_slice(&import.to_le_bytes());
    head
}

/// Bytes that [`encode_trace_answer`] will take.
pub fn trace_answer_bytes(answer: &TraceFrame<'_>) -> usize {
    18 + answer.events.len()
}

/// Appends what has happened to a traced message.
pub fn encode_trace_answer(to: &mut Vec<u8>, answer: &TraceFrame<'_>) {
    to.push(TRACE);
    to.extend_from_slice(&answer.number.to_le_bytes());
    to.push(u8::from(answer.further));
    to.extend_from_slice(&answer.sent_on.to_le_bytes());
    to.extend_from_slice(&(answer.events.len() as u32).to_le_bytes());
    to.extend_from_slice(answer.events);
}

/// Appends a change of interest.
pub fn encode_interest(to: &mut Vec<u8>, change: &InterestChange) {
    to.push(INTEREST);
    to.extend_from_slice(&change.account.0.to_le_bytes());
    to.extend_from_slice(&change.members.to_le_bytes());
    for text in [&change.subject, &change.queue] {
        to.extend_from_slice(&(text.len() as u32).to_le_bytes());
        to.extend_from_slice(text);
    }
}

/// Appends an acknowledgement of interest.
pub fn encode_ack(to: &mut Vec<u8>, number: u64) {
    to.push(ACK);
    to.extend_from_slice(&number.to_le_bytes());
}

/// Appends a wish to hold back a connection, or to no longer do so.
pub fn encode_hold(to: &mut Vec<u8>, conn: ConnId, hold: bool) {
    to.push(if hold { HOLD } else { RELEASE });
    to.extend_from_slice(&conn.index.to_le_bytes());
    to.extend_from_slice(&conn.generation.to_le_bytes());
}

/// Appends the mark of an order that the batch holds beside its bytes.
pub fn encode_order(to: &mut Vec<u8>) {
    to.push(ORDER);
}

/// Appends what is only to be acknowledged.
pub fn encode_fence(to: &mut Vec<u8>) {
    to.push(FENCE);
}

/// Reads the frames of a batch, one after the other.
#[derive(Debug)]
pub struct Frames<'a>(pub &'a [u8]);

impl<'a> Frames<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .expect("frames are written whole");
        self.0 = rest;
        *taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn text(&mut self) -> Box<[u8]> {
        let len = self.u32() as usize;
        self.take(len).into()
    }

    fn conn(&mut self) -> ConnId {
        ConnId {
            index: self.u32(),
            generation: self.u32(),
        }
    }

    #[cold]
    fn trace(&mut self, flags: u8) -> FrameTrace {
        let number = u64::from_le_bytes(self.array());
        let ingress = AccountId(self.u32());
        let import = self.u32();
        let via = Via {
            import,
            allow_trace: flags & FLAG_TRACE_ALLOWED != 0,
        };
        FrameTrace {
            number,
            ingress,
            only: flags & FLAG_TRACE_ONLY != 0,
            via: (import != NONE).then_some(via),
        }
    }

    fn publish(&mut self) -> PublishFrame<'a> {
        let head: [u8; PUBLISH_HEAD_BYTES - 1] = self.array();
        let u32_at = |at: usize| {
            let at = at - 1;
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
        };
        let flags = head[0];
        let trace = (flags & FLAG_TRACED != 0).then(|| self.trace(flags));
        let shown = match flags & FLAG_SHOWN {
            0 => &[][..],
            _ => {
                let len = self.u32() as usize;
                self.take(len)
            }
        };
        let subject = self.take(u32_at(24) as usize);
        let queues = QueueNames(self.take(u32_at(28) as usize));
        let inline = self.take(u32_at(44) as usize);
        PublishFrame {
            publisher: Publisher {
                shard: ShardId(head[1]),
                conn: ConnId {
                    index: u32_at(4),
                    generation: u32_at(8),
                },
            },
            account: AccountId(u32_at(12)),
            hash: u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32,
            subject,
            shown,
            plain: flags & FLAG_PLAIN != 0,
            replanned: flags & FLAG_REPLANNED != 0,
            response: flags & FLAG_RESPONSE != 0,
            trace,
            queues,
            reply_len: u32_at(32) as usize,
            header_len: u32_at(36) as usize,
            body_len: u32_at(40) as usize,
            rest: if flags & FLAG_SHARED != 0 {
                FrameRest::Shared
            } else {
                FrameRest::Inline(inline)
            },
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        let (&kind, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(match kind {
            PUBLISH => Frame::Publish(self.publish()),
            INTEREST => {
                let account = AccountId(self.u32());
                let members = self.u32();
                Frame::Interest(InterestChange {
                    account,
                    subject: self.text(),
                    queue: self.text(),
                    members,
                })
            }
            ACK => Frame::Ack(u64::from_le_bytes(self.array())),
            HOLD => Frame::Hold(self.conn()),
            RELEASE => Frame::Release(self.conn()),
            TRACE => {
                let number = u64::from_le_bytes(self.array());
                let [further] = self.array();
                let sent_on = self.u32();
                let len = self.u32() as usize;
                Frame::Trace(TraceFrame {
                    number,
                    further: further != 0,
                    sent_on,
                    events: self.take(len),
                })
            }
            ORDER => Frame::Order,
            FENCE => Frame::Fence,
            kind => unreachable!("no frame is of kind {kind}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_written() {
        let mut names = Vec::new();
        push_queue_name(&mut names, b"q1");
        push_queue_name(&mut names, b"workers");
        let conn = ConnId {
            index: 7,
            generation: 9,
        };
        let publish = PublishFrame {
            publisher: Publisher {
                shard: ShardId(3),
                conn,
            },
            account: AccountId(2),
            hash: 0x0123_4567_89ab_cdef,
            subject: b"a.b",
            shown: b"seen",
            plain: true,
            replanned: false,
            response: true,
            trace: None,
            queues: QueueNames(&names),
            reply_len: 2,
            header_len: 0,
            body_len: 5,
            rest: FrameRest::Inline(b"re 5\r\nhello\r\n"),
        };
        let change = InterestChange {
            account: AccountId::GLOBAL,
            subject: b"x.*"[..].into(),
            queue: b"q"[..].into(),
            members: 4,
        };
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, &publish);
        assert_eq!(bytes.len(), publish_bytes(&publish));
        let trace = FrameTrace {
            number: 77,
            ingress: AccountId(5),
            only: true,
            via: Some(Via {
                import: 3,
                allow_trace: true,
            }),
        };
        let traced = PublishFrame {
            trace: Some(trace),
            ..publish
        };
        let before = bytes.len();
        encode_publish(&mut bytes, &traced);
        assert_eq!(bytes.len() - before, publish_bytes(&traced));
        let answer = TraceFrame {
            number: 77,
            further: true,
            sent_on: 2,
            events: b"{},{}",
        };
        let before = bytes.len();
        encode_trace_answer(&mut bytes, &answer);
        assert_eq!(bytes.len() - before, trace_answer_bytes(&answer));
        encode_interest(&mut bytes, &change);
        encode_ack(&mut bytes, 11);
        encode_hold(&mut bytes, conn, true);
        encode_hold(&mut bytes, conn, false);
        let mut frames = Frames(&bytes);
        let Some(Frame::Publish(read)) = frames.next() else {
            panic!("a publish was written first");
        };
        assert_eq!(format!("{read:?}"), format!("{publish:?}"));
        assert_eq!(read.queues.collect::<Vec<_>>(), [&b"q1"[..], b"workers"]);
        let rest: Vec<String> = frames.map(|frame| format!("{frame:?}")).collect();
        let expected = [
            Frame::Publish(traced),
            Frame::Trace(answer),
            Frame::Interest(change),
            Frame::Ack(11),
            Frame::Hold(conn),
            Frame::Release(conn),
        ];
        assert_eq!(rest, expected.map(|frame| format!("{frame:?}")));
    }
}
