//! Connections come and go; frames from other shards arrive.

use std::net::SocketAddr;

use super::frame::{Frame, FrameRest, Frames};
use super::{Batch, Close, Effects, Level, Policy, Shard};
use crate::base::ids::{AccountId, ConnId, ShardId};
use crate::proto::client::Bounds;
use crate::proto::info::ConnectionFacts;
use crate::session::{CloseReason, Session};
use crate::shard::timers::Due;

/// A connection that was accepted.
pub(super) struct Arrival {
    pub client_id: u64,
    pub peer: SocketAddr,
    pub refused: bool,
    pub nonce: Box<str>,
    pub internal: Option<AccountId>,
}

impl Shard {
    pub(super) fn opened(&mut self, conn: ConnId, arrival: Arrival, fx: &mut Effects) {
        let Arrival {
            client_id,
            peer,
            refused,
            nonce,
            internal,
        } = arrival;
        let limits = &self.settings.limits;
        let bounds = Bounds {
            control_line_bytes: limits.max_control_line_bytes,
            payload_bytes: limits.max_payload_bytes,
            headers: false,
        };
        let auth_timeout = limits.auth_timeout_ms;
        let mut session = Session::new(conn, client_id, peer, bounds, self.high_water());
        session.nonce = nonce;
        session.opened_at = self.now;
        let index = conn.index as usize;
        if index < self.sessions.len() {
            debug_assert!(!self.sessions[index].live, "the slot is free");
            self.sessions[index] = session;
        } else {
            debug_assert_eq!(index, self.sessions.len(), "slots are used from the lowest");
            if index == self.sessions.capacity() {
                self.sessions.reserve_exact((index / 8).max(16));
            }
            self.sessions.push(session);
        }
        self.connections += 1;
        if let Some(account) = internal {
            self.admit_internal(conn.index, account);
            return;
        }
        self.past.connections += 1;
        self.log(conn.index, Level::Debug, "Client connection created", fx);
        let info = self.info(conn.index, false);
        self.reply(conn.index, &info, fx);
        let must_present = self.settings.policy.gate.must_present();
        let share = self
            .settings
            .limits
            .max_unauthenticated
            .div_ceil(self.settings.shards);
        if refused || (must_present && self.unauthenticated >= share) {
            let text = "maximum connections exceeded";
            self.log(conn.index, Level::Error, text, fx);
            self.close(conn, CloseReason::MaxConnectionsExceeded, Some(text), fx);
            return;
        }
        if must_present {
            self.unauthenticated += 1;
            let session = &mut self.sessions[index];
            session.awaits_auth = true;
            session.auth_at = self.now + auth_timeout;
            self.deadlines
                .arm(session.auth_at, Due::authentication(conn));
        }
        self.start_pings(conn);
    }

    /// Ends a conversation, with a last word if there is one. The slot stays taken until the
    /// runtime has closed the socket.
    pub(super) fn close(
        &mut self,
        conn: ConnId,
        reason: CloseReason,
        last_word: Option<&str>,
        fx: &mut Effects,
    ) {
        let index = conn.index as usize;
        if self.sessions[index].closing {
            return;
        }
        if !self.sessions[index].internal {
            let text = format!("Client connection closed: {reason}");
            self.log(conn.index, Level::Debug, &text, fx);
        }
        if !self.sessions[index].internal {
            fx.notices.push(self.notice_of_end(conn, reason));
        }
        self.drop_subscriptions(conn, fx);
        let flush = !matches!(
            reason,
            CloseReason::SlowConsumerPendingBytes
                | CloseReason::SlowConsumerWriteDeadline
                | CloseReason::WriteError
                | CloseReason::ReadError
        );
        let session = &mut self.sessions[index];
        self.unauthenticated -= usize::from(std::mem::take(&mut session.awaits_auth));
        session.closing = true;
        session.deaf = true;
        session.carry = Default::default();
        session.backlog = None;
        if flush && let Some(text) = last_word {
            self.reply_error(conn.index, text, fx);
        }
        self.leave_account(conn.index);
        self.end_stall(conn.index, fx);
        fx.closes.push(Close { conn, flush });
    }

    /// The socket is closed and the slot free.
    pub(super) fn closed(&mut self, conn: ConnId) {
        let session = &mut self.sessions[conn.index as usize];
        debug_assert!(session.live && session.closing && session.id == conn);
        session.live = false;
        session.admission = None;
        session.replies = None;
        self.counters.add(session);
        self.past.add(session);
        session.out.clear(&mut self.pool);
        session.options = None;
        session.waiting = Vec::new();
        self.connections -= 1;
        // Its pings may be due in minutes only.
        let sessions = &self.sessions;
        self.deadlines
            .sweep(|due| sessions[due.conn().index as usize].is_live(due.conn()));
    }

    /// Tells those clients that understand it to go elsewhere.
    pub(super) fn enter_lame_duck(&mut self, fx: &mut Effects) {
        self.lame_duck = true;
        for index in 0..self.sessions.len() as u32 {
            let session = &self.sessions[index as usize];
            // Only to those that have shown, by their first PING, that they know what may come.
            if session.live && !session.closing && session.connect_info_sent {
                let info = self.info(index, false);
                self.reply(index, &info, fx);
            }
        }
    }

    /// The INFO line for a connection.
    pub(super) fn info(&self, index: u32, connect_info: bool) -> Vec<u8> {
        let session = &self.sessions[index as usize];
        let Policy { directory, .. } = &self.settings.policy;
        let account = session
            .admission
            .as_ref()
            .filter(|_| connect_info)
            .map(|a| (&*a.account_name, Some(a.account) == directory.system));
        self.settings.identity.info(&ConnectionFacts {
            client_id: session.client_id,
            client_ip: session.peer.ip(),
            lame_duck: self.lame_duck,
            nonce: &session.nonce,
            account,
            max_payload_bytes: session.bounds.payload_bytes,
        })
    }

    /// Frames from another shard, in the order in which it wrote them.
    pub(super) fn batch(&mut self, from: ShardId, mut batch: Batch, fx: &mut Effects) {
        let mut acked = false;
        for frame in Frames(&batch.bytes) {
            match frame {
                Frame::Publish(publish) => {
                    let shared = match publish.rest {
                        FrameRest::Shared => batch.shared.pop_front(),
                        FrameRest::Inline(_) => None,
                    };
                    self.deliver_frame(&publish, shared.as_ref(), fx);
                }
                Frame::Interest(change) => {
                    self.router.set_remote(
                        change.account,
                        &change.subject,
                        &change.queue,
                        from,
                        change.members,
                    );
                    self.mesh.count_interest(from);
                }
                Frame::Ack(number) => {
                    self.mesh.acked(from, number);
                    acked = true;
                }
                Frame::Hold(conn) => {
                    self.count_stall(conn);
                    self.hold_local(conn, true, fx);
                }
                Frame::Release(conn) => self.hold_local(conn, false, fx),
            }
        }
        if self.mesh.acknowledge(from) {
            fx.mesh.0 |= from.bit();
        }
        if acked && !self.awaiting.is_empty() {
            self.end_waiting(fx);
        }
        self.mesh.recycle(batch);
    }
}
