//! Backpressure: who waits for whom, and for how long.
//!
//! A destination above its high-water mark holds back the connections that publish to it, on
//! whichever shard, until it has drained below the low-water mark; at the latest after
//! [`STALL_MS_MAX`] they go on and the destination is *lagging*. For a lagging one nobody waits
//! until three quarters of `max_pending` are used, and only if it still reads something; above
//! `max_pending` it is cut off as a slow consumer. So a reader that is merely slower than its
//! publishers paces them, one that stopped reading costs them one stall, and neither holds more
//! than its limit.
//!
//! With `no_fast_producer_stall` nobody waits: above three quarters of `max_pending` a destination gets
//! nothing more until it has read down to there.

use super::{Effects, Level, Shard};
use crate::base::ids::{ConnId, ShardId};
use crate::base::limits::{
    LAGGING_STALL_MS_MAX, MESH_OUTBOX_LOW_WATER_BYTES, OUTBOUND_HIGH_WATER_BYTES,
    OUTBOUND_LOW_WATER_BYTES, STALL_MS_MAX, STALL_PROGRESS_MS,
};
use crate::session::{CloseReason, Publisher};
use crate::shard::streams::NO_CONN;
use crate::shard::timers::Due;

impl Shard {
    /// The mark above which a destination that is not lagging holds back its publishers.
    pub(super) fn high_water(&self) -> usize {
        if self.settings.limits.no_fast_producer_stall {
            return self.lagging_water();
        }
        OUTBOUND_HIGH_WATER_BYTES.min(self.lagging_water())
    }

    /// The mark below which they go on.
    fn low_water(&self) -> usize {
        OUTBOUND_LOW_WATER_BYTES.min(self.high_water() / 2)
    }

    /// The mark of a lagging one.
    fn lagging_water(&self) -> usize {
        self.settings.limits.max_pending_bytes / 4 * 3
    }

    /// A delivery took a destination over its mark.
    #[cold]
    #[inline(never)]
    pub(super) fn over_water(&mut self, index: u32, publisher: Publisher, fx: &mut Effects) {
        let max_pending = self.settings.limits.max_pending_bytes;
        let lagging_water = self.lagging_water();
        let now = self.now;
        let session = &mut self.sessions[index as usize];
        if session.closing {
            return;
        }
        let pending = session.out.pending_bytes();
        if pending > max_pending {
            self.over_max_pending(index, fx);
            return;
        }
        if self.settings.limits.no_fast_producer_stall {
            session.deaf = true;
            return;
        }
        if session.lagging && session.stall_until == 0 {
            if session.drained_at + STALL_PROGRESS_MS < now {
                session.water = max_pending;
                return;
            }
            debug_assert!(pending > lagging_water);
        }
        if session.stall_until == 0 {
            let longest = match session.lagging {
                true => LAGGING_STALL_MS_MAX,
                false => STALL_MS_MAX,
            };
            session.stall_until = now + longest;
            self.deadlines
                .arm(session.stall_until, Due::stall(session.id));
        }
        if publisher.conn == NO_CONN {
            // A stream of this or of another shard: this one's waits by itself.
            self.streams.press();
            return;
        }
        if !session.waiting.contains(&publisher) {
            session.waiting.push(publisher);
            self.counters.stalls += 1;
            if publisher.shard == self.id {
                self.count_stall(publisher.conn);
            }
            self.hold(publisher, true, fx);
        }
    }

    /// What is not a delivery counts too: a client that asks and does not read the answers is cut
    /// off as one that does not read its messages.
    #[inline]
    pub(super) fn check_replies(&mut self, index: u32, fx: &mut Effects) {
        let max_pending = self.settings.limits.max_pending_bytes;
        let session = &mut self.sessions[index as usize];
        if session.closing {
            return;
        }
        if session.out.pending_bytes() > max_pending {
            self.over_max_pending(index, fx);
        }
    }

    #[cold]
    fn over_max_pending(&mut self, index: u32, fx: &mut Effects) {
        let max_pending = self.settings.limits.max_pending_bytes;
        let text = format!("Slow Consumer Detected: MaxPending of {max_pending} Exceeded");
        self.slow_consumer(index, &text, CloseReason::SlowConsumerPendingBytes, fx);
    }

    /// Cuts off a connection that does not read.
    pub(super) fn slow_consumer(
        &mut self,
        index: u32,
        text: &str,
        reason: CloseReason,
        fx: &mut Effects,
    ) {
        self.counters.slow_consumers += 1;
        let account = self.sessions[index as usize].account;
        self.past.count_slow_consumer(account);
        self.log(index, Level::Info, text, fx);
        let conn = self.sessions[index as usize].id;
        self.close(conn, reason, None, fx);
    }

    /// A send of the runtime starts.
    pub(super) fn send_started(&mut self, conn: ConnId) {
        let write_deadline = self.settings.limits.write_deadline_ms;
        let Some(session) = self.sessions.get_mut(conn.index as usize) else {
            return;
        };
        session.sending_since = self.now;
        if session.write_check_at == 0 && session.live && session.id == conn {
            session.write_check_at = self.now + write_deadline;
            self.deadlines.arm(session.write_check_at, Due::write(conn));
        }
    }

    /// Bytes have left.
    pub(super) fn sent(&mut self, conn: ConnId, bytes: usize, fx: &mut Effects) {
        let (low_water, lagging_water) = (self.low_water(), self.lagging_water());
        let Some(session) = self.sessions.get_mut(conn.index as usize) else {
            return;
        };
        if !session.live || session.id != conn {
            return;
        }
        session.sending_since = 0;
        session.drained_at = self.now;
        session.out.sent(&mut self.pool, bytes);
        // Also when it is marked already: the runtime passed it over while this send was under way.
        // With nothing to send it is marked no longer, even if it was for a reply that waits for
        // other shards: that one marks it again when it comes.
        session.dirty = session.out.pending_bytes() > 0;
        if session.dirty {
            fx.dirty.push(conn);
        }
        if session.deaf && !session.closing && session.out.pending_bytes() <= lagging_water {
            session.deaf = false;
        }
        let drained = session.out.pending_bytes() <= low_water;
        if drained && (session.stall_until != 0 || session.lagging) {
            session.lagging = false;
            self.end_stall(conn.index, fx);
        }
    }

    /// The time of a stall is over: nobody waits any longer.
    pub(super) fn stall_timed_out(&mut self, index: u32, fx: &mut Effects) {
        self.sessions[index as usize].lagging = true;
        self.end_stall(index, fx);
    }

    /// Releases everybody who waits for this destination and sets its next mark.
    pub(super) fn end_stall(&mut self, index: u32, fx: &mut Effects) {
        let water = if self.sessions[index as usize].lagging {
            self.lagging_water()
        } else {
            self.high_water()
        };
        let session = &mut self.sessions[index as usize];
        session.water = water;
        session.stall_until = 0;
        let mut waiting = std::mem::take(&mut session.waiting);
        for &publisher in &waiting {
            self.hold(publisher, false, fx);
        }
        waiting.clear();
        // Kept for the next stall, unless it is a large one.
        if waiting.capacity() <= 16 {
            self.sessions[index as usize].waiting = waiting;
        }
    }

    /// Holds back a publisher, or lets it go on, wherever it is.
    pub(super) fn hold(&mut self, publisher: Publisher, hold: bool, fx: &mut Effects) {
        if publisher.shard == self.id {
            self.hold_local(publisher.conn, hold, fx);
        } else {
            self.mesh.hold(publisher.shard, publisher.conn, hold);
            fx.mesh.0 |= publisher.shard.bit();
        }
    }

    /// Counts the holds on a connection of this shard; its input stops at the first.
    pub(super) fn hold_local(&mut self, conn: ConnId, hold: bool, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(conn.index as usize) else {
            return;
        };
        if !session.live || session.id != conn {
            return;
        }
        if hold {
            session.holds += 1;
            if session.holds == 1 {
                fx.reads.push((conn, false));
            }
        } else {
            debug_assert!(session.holds > 0, "a hold ends once");
            session.holds -= 1;
            if session.holds == 0 {
                fx.reads.push((conn, true));
            }
        }
    }

    /// Too much waits for another shard: the connection that feeds it waits too. A message sent
    /// on for another shard has no connection here to hold back.
    #[cold]
    pub(super) fn hold_for_mesh(&mut self, peer: ShardId, publisher: Publisher, fx: &mut Effects) {
        if publisher.conn == NO_CONN {
            self.streams.press();
            return;
        }
        if publisher.shard != self.id || self.mesh.waiting(peer).contains(&publisher.conn) {
            return;
        }
        self.mesh.waiting(peer).push(publisher.conn);
        self.counters.stalls += 1;
        self.count_stall(publisher.conn);
        self.hold_local(publisher.conn, true, fx);
    }

    /// A connection of this shard is held back by a destination.
    pub(super) fn count_stall(&mut self, conn: ConnId) {
        if self.is_open(conn) {
            self.sessions[conn.index as usize].stalls += 1;
        }
    }

    /// Interest that comes and goes feeds the outboxes as messages do.
    pub(super) fn hold_for_interest(&mut self, conn: ConnId, fx: &mut Effects) {
        for peer in self.mesh.peers() {
            if self.mesh.is_over_high_water(peer) {
                let shard = self.id;
                self.hold_for_mesh(peer, Publisher { shard, conn }, fx);
            }
        }
    }

    /// Batches for a peer have left.
    pub(super) fn mesh_drained(&mut self, peer: ShardId, fx: &mut Effects) {
        if self.mesh.waiting_bytes(peer) > MESH_OUTBOX_LOW_WATER_BYTES {
            return;
        }
        for conn in std::mem::take(self.mesh.waiting(peer)) {
            self.hold_local(conn, false, fx);
        }
    }
}
