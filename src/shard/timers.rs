//! What comes due on a connection: authentication, pings, a send that does not get on, the end
//! of a stall. An entry counts only if the session still names its time.

use super::{Effects, Level, Shard};
use crate::base::deadlines::Millis;
use crate::base::ids::ConnId;
use crate::session::CloseReason;

/// After CONNECT the first ping is not later than this, to learn the round trip.
const FIRST_PING_MS_MAX: u64 = 2000;

/// One thing to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    conn: ConnId,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Authentication,
    Expiry,
    Ping,
    Write,
    Stall,
}

impl Due {
    pub fn authentication(conn: ConnId) -> Self {
        let what = What::Authentication;
        Self { conn, what }
    }

    pub fn expiry(conn: ConnId) -> Self {
        let what = What::Expiry;
        Self { conn, what }
    }

    pub fn ping(conn: ConnId) -> Self {
        let what = What::Ping;
        Self { conn, what }
    }

    pub fn write(conn: ConnId) -> Self {
        let what = What::Write;
        Self { conn, what }
    }

    pub fn stall(conn: ConnId) -> Self {
        let what = What::Stall;
        Self { conn, what }
    }

    pub fn conn(&self) -> ConnId {
        self.conn
    }
}

impl Shard {
    pub(super) fn tick(&mut self, fx: &mut Effects) {
        self.expire_responses(fx);
        self.expire_traces(fx);
        while let Some((at, Due { conn, what })) = self.deadlines.pop_due(self.now) {
            if !self.is_open(conn) {
                continue;
            }
            let session = &self.sessions[conn.index as usize];
            match what {
                What::Authentication if session.auth_at == at => {
                    self.close(
                        conn,
                        CloseReason::AuthenticationTimeout,
                        Some("Authentication Timeout"),
                        fx,
                    );
                }
                What::Expiry if session.expires_at == at => self.expire(conn, fx),
                What::Ping if session.pings.at == at => self.ping_due(conn, fx),
                What::Write if session.write_check_at == at => self.write_due(conn, fx),
                What::Stall if session.stall_until == at => self.stall_timed_out(conn.index, fx),
                What::Authentication | What::Expiry | What::Ping | What::Write | What::Stall => {}
            }
        }
    }

    /// Sets the first look at a new connection's pings.
    pub(super) fn start_pings(&mut self, conn: ConnId) {
        self.arm_ping(conn, self.settings.limits.ping_interval_ms);
    }

    /// After CONNECT the peer is pinged soon, and at a time of its own, so that thousands that
    /// connect at once are not pinged at once.
    pub(super) fn restart_pings(&mut self, conn: ConnId) {
        let delay = self.settings.limits.ping_interval_ms.min(FIRST_PING_MS_MAX);
        let jitter = delay * u64::from(self.prng.below(20)) / 100;
        let pings = &mut self.sessions[conn.index as usize].pings;
        pings.answered = false;
        self.arm_ping(conn, delay + jitter);
    }

    fn arm_ping(&mut self, conn: ConnId, delay: Millis) {
        let at = self.now + delay;
        self.sessions[conn.index as usize].pings.at = at;
        self.deadlines.arm(at, Due::ping(conn));
    }

    fn ping_due(&mut self, conn: ConnId, fx: &mut Effects) {
        let interval = self.settings.limits.ping_interval_ms;
        let ping_max = self.settings.limits.ping_max;
        self.log(conn.index, Level::Debug, "Client Ping Timer", fx);
        let now = self.now;
        let session = &mut self.sessions[conn.index as usize];
        let pings = &mut session.pings;
        // Publishes are seen by their count, so that they need not read the time.
        let published = session.in_messages;
        if published != pings.published {
            pings.published = published;
            pings.active_at = now;
        }
        let active = pings.active_at + interval > now;
        if active && pings.answered && pings.outstanding == 0 {
            let text = "Delaying PING due to remote client data or ping";
            self.log(conn.index, Level::Debug, text, fx);
        } else if pings.outstanding >= ping_max {
            self.past.stale_connections += 1;
            let text = "Stale Client Connection - Closing";
            self.log(conn.index, Level::Debug, text, fx);
            let reason = CloseReason::StaleConnection;
            self.close(conn, reason, Some("Stale Connection"), fx);
            return;
        } else {
            pings.outstanding += 1;
            pings.sent_at_ns = (self.settings.fine_clock_ns)();
            // A ping is no reply: it does not wait for other shards.
            session.out.append(&mut self.pool, b"PING\r\n");
            Self::mark_dirty(session, fx);
        }
        self.arm_ping(conn, interval);
    }

    /// Whether the send under way has got on within the write deadline.
    fn write_due(&mut self, conn: ConnId, fx: &mut Effects) {
        let deadline = self.settings.limits.write_deadline_ms;
        let session = &mut self.sessions[conn.index as usize];
        session.write_check_at = 0;
        if session.sending_since == 0 {
            return;
        }
        let at = session.sending_since + deadline;
        if at > self.now {
            session.write_check_at = at;
            self.deadlines.arm(at, Due::write(conn));
            return;
        }
        let pending = session.out.pending_bytes();
        let text = format!(
            "Slow Consumer Detected: WriteDeadline of {deadline}ms exceeded with {pending} total bytes."
        );
        let reason = CloseReason::SlowConsumerWriteDeadline;
        self.slow_consumer(conn.index, &text, reason, fx);
    }
}
