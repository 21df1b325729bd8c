//! What only push consumers have: interest in their subject, heartbeats, and flow control.
//!
//! Flow control: when half of a window has been sent, a request goes behind it; the client answers
//! it when it has come so far. Nothing is sent beyond the window. Each answer doubles it.

use super::ack::number;
use super::pending::NEVER;
use super::{Around, Consumer, Status, millis, prefix};
use crate::jetstream::config::AckPolicy;
use crate::jetstream::{Now, Outlet, letters};
use crate::proto::headers;
use crate::store::Messages;

/// The largest window, and the one to begin with.
const WINDOW_BYTES_MAX: u64 = 32 * 1024 * 1024;
const WINDOW_BYTES_FIRST: u64 = WINDOW_BYTES_MAX / 16;
/// What subjects of flow control begin with.
const PREFIX: &[u8] = b"$JS.FC.";

/// Flow control of one consumer.
#[derive(Debug)]
pub struct Flow {
    window_bytes: u64,
    /// Sent, and not known to have arrived.
    sent_bytes: u64,
    /// Of these, what was sent before the request that is not answered.
    asked_bytes: u64,
    /// The subject of that request; empty when there is none.
    asked: Vec<u8>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            window_bytes: WINDOW_BYTES_FIRST,
            sent_bytes: 0,
            asked_bytes: 0,
            asked: Vec::new(),
        }
    }
}

impl Flow {
    /// Whether nothing may be sent now.
    pub fn is_closed(&self) -> bool {
        self.sent_bytes > self.window_bytes
    }

    /// The request that is not answered.
    pub fn asked(&self) -> Option<&[u8]> {
        (!self.asked.is_empty()).then_some(&self.asked)
    }

    /// Counts what was sent. Whether it is time for a request.
    fn sent(&mut self, bytes: u64, is_stalled: bool) -> bool {
        self.sent_bytes += bytes;
        if self.asked.is_empty() {
            return self.sent_bytes > self.window_bytes / 2 || is_stalled;
        }
        if self.sent_bytes.saturating_sub(self.asked_bytes) >= self.window_bytes {
            self.asked_bytes += bytes;
        }
        false
    }

    /// The request is answered.
    fn answered(&mut self) {
        self.window_bytes = (self.window_bytes * 2).min(WINDOW_BYTES_MAX);
        self.sent_bytes = self.sent_bytes.saturating_sub(self.asked_bytes);
        self.asked_bytes = 0;
        self.asked.clear();
    }
}

impl Consumer {
    /// Interest in the deliver subject has come or gone.
    pub fn interest_changed<M, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) {
        if self.is_push() {
            let is_bound = self.is_subscribed(around);
            self.set_bound(is_bound, around.now);
        }
    }

    /// Whether somebody is there to deliver to: who has subscribed to more than the deliver subject
    /// only looks on, and so does who is not in the group that was named.
    pub(super) fn is_subscribed<M, O: Outlet>(&self, around: &mut Around<'_, M, O>) -> bool {
        let subject = self.config.deliver_subject.as_bytes();
        let group = self.config.deliver_group.as_bytes();
        around.outlet.is_subscribed(subject, group)
    }

    pub(super) fn set_bound(&mut self, is_bound: bool, now: Now) {
        if is_bound {
            self.inactive_at_ms = NEVER;
            self.is_ready |= !self.is_bound;
        } else if self.inactive_at_ms == NEVER {
            self.inactive_at_ms = self.after_inactive(now);
        }
        self.is_bound = is_bound;
    }

    pub(super) fn set_heartbeat(&mut self, now: Now) {
        self.heartbeat_at_ms = match millis(self.config.idle_heartbeat) {
            0 => NEVER,
            after => now.mono_ms.saturating_add(after),
        };
    }

    /// Nothing was sent for a while.
    pub(super) fn push_heartbeat<M, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) {
        self.set_heartbeat(around.now);
        if !self.is_bound {
            return;
        }
        let flow = self.rare.as_ref().and_then(|rare| rare.flow.as_ref());
        let status = Status::Heartbeat {
            consumer_seq: self.delivered.consumer,
            stream_seq: self.next - 1,
            stalled: flow.and_then(Flow::asked),
        };
        let subject = self.config.deliver_subject.as_bytes();
        status.send(around.outlet, subject, b"", &mut around.desk.status);
        // Where answers to flow control acknowledge, the last messages need one too.
        let is_asked = flow.is_some_and(|flow| flow.asked().is_some());
        let acks_by_flow = self.config.ack_policy == AckPolicy::FlowControl;
        if acks_by_flow && !self.pending.is_empty() && !is_asked {
            self.ask_flow(around);
        }
    }

    /// Counts a message of so many bytes, and asks the client when it is time.
    pub(super) fn count_flow<M, O: Outlet>(&mut self, bytes: u64, around: &mut Around<'_, M, O>) {
        let is_stalled = self.config.ack_policy == AckPolicy::FlowControl && self.is_stalled();
        let flow = self.rare.as_mut().and_then(|rare| rare.flow.as_mut());
        if flow.is_some_and(|flow| flow.sent(bytes, is_stalled)) {
            self.ask_flow(around);
        }
    }

    fn ask_flow<M, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) {
        let last = letters::random(4, || around.outlet.random());
        let mut asked = prefix(PREFIX, &self.name, around.home).into_vec();
        asked.extend_from_slice(last.as_bytes());
        let subject = self.config.deliver_subject.as_bytes();
        Status::FlowControl.send(around.outlet, subject, &asked, &mut around.desk.status);
        if let Some(flow) = self.rare.as_mut().and_then(|rare| rare.flow.as_mut()) {
            flow.asked_bytes = flow.sent_bytes;
            flow.asked = asked;
        }
    }

    /// A client answers a request of flow control: `subject` is what it was published on.
    pub fn handle_flow_control<M: Messages, O: Outlet>(
        &mut self,
        subject: &[u8],
        block: &[u8],
        around: &mut Around<'_, M, O>,
    ) {
        let Some(flow) = self.rare.as_mut().and_then(|rare| rare.flow.as_mut()) else {
            return;
        };
        if flow.asked() != Some(subject) {
            return;
        }
        flow.answered();
        self.is_ready = true;
        if self.config.ack_policy != AckPolicy::FlowControl {
            return;
        }
        let value = |key| headers::find(block, key).and_then(|value| number(value.trim_ascii()));
        if let Some(seq) = value("Nats-Last-Stream")
            && seq > 0
            && seq <= self.delivered.stream
        {
            self.done_up_to(seq, value("Nats-Last-Consumer").unwrap_or(0), around);
            self.last_acked = around.now.unix;
        }
    }
}
