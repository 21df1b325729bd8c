//! Messages without a message: the status lines that a pulling client or a push consumer's
//! subscriber is told. Descriptions are part of the protocol.

use super::ack::push_decimal;
use crate::jetstream::{Outgoing, Outlet, Reached};
use crate::store::Seq;

/// What was left of a request when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// 100: nothing has come for a while.
    Heartbeat {
        consumer_seq: u64,
        stream_seq: Seq,
        /// The flow control request that nobody has answered.
        stalled: Option<&'a [u8]>,
    },
    /// 100: answer this when you have come so far.
    FlowControl,
    /// 400.
    BadRequest(&'a str),
    /// 404.
    NoMessages,
    /// 408.
    RequestTimeout(Left),
    /// 408.
    RequestsPending,
    /// 409: any of those that say only that.
    Conflict(&'a str),
    /// 409.
    TooLargeForMaxBytes(Left),
    /// 409.
    BatchCompleted(Left),
    /// 409.
    ServerShutdown(Left),
    /// 412.
    RequiredApiLevel,
    /// 423.
    PinMismatch,
    /// 423.
    WrongPin(Left),
}

impl Status<'_> {
    /// Appends the block of headers.
    pub fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(b"NATS/1.0 ");
        let (line, left) = match *self {
            Self::Heartbeat { .. } => ("100 Idle Heartbeat", None),
            Self::FlowControl => ("100 FlowControl Request", None),
            Self::BadRequest(_) => ("400 Bad Request - ", None),
            Self::NoMessages => ("404 No Messages", None),
            Self::RequestTimeout(left) => ("408 Request Timeout", Some(left)),
            Self::RequestsPending => ("408 Requests Pending", None),
            Self::Conflict(_) => ("409 ", None),
            Self::TooLargeForMaxBytes(left) => ("409 Message Size Exceeds MaxBytes", Some(left)),
            Self::BatchCompleted(left) => ("409 Batch Completed", Some(left)),
            Self::ServerShutdown(left) => ("409 Server Shutdown", Some(left)),
            Self::RequiredApiLevel => ("412 Required Api Level", None),
            Self::PinMismatch => ("423 Nats-Pin-Id mismatch", None),
            Self::WrongPin(left) => ("423 Nats-Wrong-Pin-Id", Some(left)),
        };
        to.extend_from_slice(line.as_bytes());
        if let Self::BadRequest(why) | Self::Conflict(why) = *self {
            to.extend_from_slice(why.as_bytes());
        }
        to.extend_from_slice(b"\r\n");
        if let Some(left) = left {
            push_header(to, b"Nats-Pending-Messages", left.messages);
            push_header(to, b"Nats-Pending-Bytes", left.bytes);
        }
        if let Self::Heartbeat {
            consumer_seq,
            stream_seq,
            stalled,
        } = *self
        {
            push_header(to, b"Nats-Last-Consumer", consumer_seq);
            push_header(to, b"Nats-Last-Stream", stream_seq);
            if let Some(subject) = stalled {
                to.extend_from_slice(b"Nats-Consumer-Stalled: ");
                to.extend_from_slice(subject);
                to.extend_from_slice(b"\r\n");
            }
        }
        to.extend_from_slice(b"\r\n");
    }

    /// Says it to the listeners of a subject, with a reply subject if there is one.
    pub fn send(
        &self,
        outlet: &mut impl Outlet,
        subject: &[u8],
        reply: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Reached {
        scratch.clear();
        self.write(scratch);
        outlet.publish(&Outgoing {
            to: subject,
            subject,
            reply,
            headers: scratch,
            payload: b"",
        })
    }
}

fn push_header(to: &mut Vec<u8>, key: &[u8], value: u64) {
    to.extend_from_slice(key);
    to.extend_from_slice(b": ");
    push_decimal(to, value);
    to.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_nats_server_does() {
        let left = Left {
            messages: 3,
            bytes: 40,
        };
        let heartbeat = |stalled| Status::Heartbeat {
            consumer_seq: 7,
            stream_seq: 9,
            stalled,
        };
        let rest = "Nats-Pending-Messages: 3\r\nNats-Pending-Bytes: 40\r\n";
        let last = "Nats-Last-Consumer: 7\r\nNats-Last-Stream: 9\r\n";
        let cases = [
            (heartbeat(None), "100 Idle Heartbeat", last.to_owned()),
            (
                heartbeat(Some(b"$JS.FC.S.C.abcd")),
                "100 Idle Heartbeat",
                format!("{last}Nats-Consumer-Stalled: $JS.FC.S.C.abcd\r\n"),
            ),
            (
                Status::FlowControl,
                "100 FlowControl Request",
                String::new(),
            ),
            (
                Status::BadRequest("Priority Group missing"),
                "400 Bad Request - Priority Group missing",
                String::new(),
            ),
            (Status::NoMessages, "404 No Messages", String::new()),
            (
                Status::RequestTimeout(left),
                "408 Request Timeout",
                rest.into(),
            ),
            (
                Status::RequestsPending,
                "408 Requests Pending",
                String::new(),
            ),
            (
                Status::Conflict("Consumer Deleted"),
                "409 Consumer Deleted",
                String::new(),
            ),
            (
                Status::TooLargeForMaxBytes(left),
                "409 Message Size Exceeds MaxBytes",
                rest.into(),
            ),
            (
                Status::BatchCompleted(left),
                "409 Batch Completed",
                rest.into(),
            ),
            (
                Status::ServerShutdown(left),
                "409 Server Shutdown",
                rest.into(),
            ),
            (
                Status::RequiredApiLevel,
                "412 Required Api Level",
                String::new(),
            ),
            (
                Status::PinMismatch,
                "423 Nats-Pin-Id mismatch",
                String::new(),
            ),
            (Status::WrongPin(left), "423 Nats-Wrong-Pin-Id", rest.into()),
        ];
        for (status, line, headers) in cases {
            let mut block = Vec::new();
            status.write(&mut block);
            let expected = format!("NATS/1.0 {line}\r\n{headers}\r\n");
            assert_eq!(String::from_utf8(block).unwrap(), expected);
        }
    }
}
