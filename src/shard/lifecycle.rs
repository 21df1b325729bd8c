//! Connections come and go; frames from other shards arrive.

use std::net::SocketAddr;
use std::sync::Arc;

use super::frame::{Frame, FrameRest, Frames};
use super::{Batch, Close, Effects, Level, Opening, OpeningNews, Policy, Shard};
use crate::auth::admission::TlsFacts;
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
    pub opening: Opening,
}

impl Shard {
    pub(super) fn opened(&mut self, conn: ConnId, arrival: Arrival, fx: &mut Effects) {
        let Arrival {
            client_id,
            peer,
            refused,
            nonce,
            internal,
            opening,
        } = arrival;
        let limits = &self.settings.limits;
        let bounds = Bounds {
            control_line_bytes: limits.max_control_line_bytes,
            payload_bytes: limits.max_payload_bytes,
            headers: false,
        };
        let mut session = Session::new(conn, client_id, peer, bounds, self.high_water());
        session.nonce = nonce;
        session.opened_at = self.now;
        session.pings.sent_at_ns = (self.settings.fine_clock_ns)();
        session.offers_headers = !self.settings.limits.no_header_support;
        session.mapped = self.is_mapped(session.account);
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
        if opening != Opening::TlsFirst {
            let info = self.info(conn.index, false);
            self.reply(conn.index, &info, fx);
        }
        let limits = &self.settings.limits;
        let share = limits.max_unauthenticated.div_ceil(self.settings.shards);
        let must_present = self.settings.policy.gate.is_required();
        if refused || (must_present && self.unauthenticated >= share) {
            let text = "maximum connections exceeded";
            self.log(conn.index, Level::Error, text, fx);
            self.close(conn, CloseReason::MaxConnectionsExceeded, Some(text), fx);
            return;
        }
        if must_present {
            self.unauthenticated += 1;
            self.sessions[index].awaits_auth = true;
        }
        if opening == Opening::Plain {
            self.begin(conn);
        }
    }

    /// The conversation begins: the client is to present itself, and is pinged.
    fn begin(&mut self, conn: ConnId) {
        let auth_timeout = self.settings.limits.auth_timeout_ms;
        let session = &mut self.sessions[conn.index as usize];
        if session.awaits_auth {
            session.auth_at = self.now + auth_timeout;
            self.deadlines
                .arm(session.auth_at, Due::authentication(conn));
        }
        self.start_pings(conn);
    }

    /// What comes before the conversation gets on, or fails.
    pub(super) fn opening(&mut self, conn: ConnId, news: OpeningNews, fx: &mut Effects) {
        if !self.is_open(conn) {
            return;
        }
        match news {
            OpeningNews::Info => {
                let info = self.info(conn.index, false);
                self.reply(conn.index, &info, fx);
            }
            OpeningNews::Handshake => {
                let text = "Starting TLS client connection handshake";
                self.log(conn.index, Level::Debug, text, fx);
            }
            OpeningNews::Plain => self.begin(conn),
            OpeningNews::Failed {
                reason,
                log: (level, text),
                last_word,
            } => {
                self.log(conn.index, level, &text, fx);
                self.close(conn, reason, last_word, fx);
            }
        }
    }

    /// The TLS handshake is done.
    pub(super) fn secured(&mut self, conn: ConnId, facts: Arc<TlsFacts>, fx: &mut Effects) {
        if !self.is_open(conn) {
            return;
        }
        let text = format!(
            "TLS version {}, cipher suite {}",
            facts.version, facts.cipher_suite
        );
        let first = facts.first;
        self.sessions[conn.index as usize].tls = Some(facts);
        if first {
            let info = self.info(conn.index, false);
            self.reply(conn.index, &info, fx);
        }
        let done = "TLS handshake complete";
        self.log(conn.index, Level::Debug, done, fx);
        self.log(conn.index, Level::Debug, &text, fx);
        self.begin(conn);
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
        session.tls = None;
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
            headers: session.offers_headers,
            account,
            max_payload_bytes: session.bounds.payload_bytes,
            tls_first: !connect_info && session.tls.as_ref().is_some_and(|tls| tls.first),
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
                    self.streams
                        .note_interest(&change, &self.settings.policy.directory);
                    if change.members == 0 {
                        self.interest_lost();
                    }
                }
                Frame::Fence => self.mesh.count_interest(from),
                Frame::Ack(number) => {
                    self.mesh.acked(from, number);
                    acked = true;
                }
                Frame::Hold(conn) => {
                    self.count_stall(conn);
                    self.hold_local(conn, true, fx);
                }
                Frame::Release(conn) => self.hold_local(conn, false, fx),
                Frame::Order => {
                    let order = batch.orders.pop_front();
                    self.ordered(from, order.expect("a batch holds what it speaks of"), fx);
                }
                Frame::Trace(answer) => self.trace_answered(&answer, fx),
            }
        }
        if self.mesh.acknowledge(from) {
            fx.mesh.0 |= from.bit();
        }
        if acked {
            self.with_engine(fx, |engine, _, out| engine.interest_known(out));
        }
        if acked && !self.awaiting.is_empty() {
            self.end_waiting(fx);
        }
        self.mesh.recycle(batch);
    }
}
