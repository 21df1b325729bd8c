//! What a stream publishes again once it is stored (`republish`, ADR-28), and the headers that say
//! from where a message is.

use crate::jetstream::Outlet;
use crate::jetstream::api::{encode, time};
use crate::store::{Messages, Seq, UnixNanos};

use super::publish::Checked;
use super::{Stream, World};

/// A message that will be published again.
#[derive(Debug)]
pub(super) struct Again {
    subject: Vec<u8>,
    /// The sequence of the message that its subject had before: clients see gaps by it.
    last: Seq,
}

impl Stream {
    /// Whether a message that is about to be stored will be published again.
    pub(super) fn begin_republish<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        subject: &[u8],
    ) -> Option<Again> {
        let transform = self.republish.as_ref()?;
        let mut to = Vec::new();
        transform
            .apply(subject, world.outlet.random(), &mut to)
            .then(|| Again {
                subject: to,
                last: world
                    .messages
                    .subject(subject)
                    .map_or(0, |state| state.last),
            })
    }

    /// Does it.
    pub(super) fn finish_republish<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        again: &Again,
        checked: &Checked<'_>,
        seq: Seq,
        time: UnixNanos,
    ) {
        let headers_only = self
            .config
            .republish
            .as_ref()
            .is_some_and(|r| r.headers_only);
        let mut block = begin_block(&checked.headers, checked.payload.len() + 256);
        push_origin(&mut block, &self.config.name, checked.subject, seq, time);
        push_number(&mut block, "Nats-Last-Sequence", again.last);
        if headers_only {
            push_number(&mut block, "Nats-Msg-Size", checked.payload.len() as u64);
        }
        block.extend_from_slice(b"\r\n");
        let payload: &[u8] = if headers_only { b"" } else { &checked.payload };
        world
            .outlet
            .publish_anew(&again.subject, b"", &block, payload);
    }
}

/// A block that headers can be appended to: without the empty line at its end.
pub(super) fn begin_block(headers: &[u8], room: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(headers.len() + room);
    match headers.strip_suffix(b"\r\n") {
        Some(open) if !open.is_empty() => block.extend_from_slice(open),
        _ => block.extend_from_slice(b"NATS/1.0\r\n"),
    }
    block
}

/// Appends where a message is from.
pub(super) fn push_origin(
    block: &mut Vec<u8>,
    stream: &str,
    subject: &[u8],
    seq: Seq,
    stored: UnixNanos,
) {
    block.extend_from_slice(b"Nats-Stream: ");
    block.extend_from_slice(stream.as_bytes());
    block.extend_from_slice(b"\r\nNats-Subject: ");
    block.extend_from_slice(subject);
    block.extend_from_slice(b"\r\n");
    push_number(block, "Nats-Sequence", seq);
    block.extend_from_slice(b"Nats-Time-Stamp: ");
    time::write(block, stored);
    block.extend_from_slice(b"\r\n");
}

/// Appends a header that is a number.
pub(super) fn push_number(block: &mut Vec<u8>, key: &str, number: u64) {
    block.extend_from_slice(key.as_bytes());
    block.extend_from_slice(b": ");
    encode::unsigned(block, number);
    block.extend_from_slice(b"\r\n");
}
