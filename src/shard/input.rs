//! Bytes from a connection: cut into operations, and the operations other than publish.

use bytes::Bytes;

use super::{Effects, Level, Shard};
use crate::auth::permissions::MaySubscribe;
use crate::base::ids::ConnId;
use crate::base::limits::{CARRY_KEPT_MAX_BYTES, SHARE_PAYLOAD_MIN_BYTES};
use crate::proto::client::{Op, Step, Violation, kept_len, parse};
use crate::proto::info;
use crate::proto::quote::quote;
use crate::router::NONE;
use crate::session::CloseReason;
use crate::subject;

/// The queue name that nats-server keeps for itself.
const RESERVED_QUEUE: &[u8] = b"_sys_";

impl Shard {
    pub(super) fn received(&mut self, conn: ConnId, bytes: &[u8], fx: &mut Effects) {
        if !self.is_open(conn) {
            return;
        }
        let index = conn.index as usize;
        let mut input = bytes;
        self.sessions[index].heard_at = self.now;
        if let Some(backlog) = &mut self.sessions[index].backlog {
            backlog.extend_from_slice(input);
            return;
        }
        if !self.sessions[index].carry.is_empty() {
            match self.finish_carry(conn, input, fx) {
                Some(left) => input = left,
                None => return,
            }
            if self.keep_for_later(conn, input) {
                return;
            }
        }
        while let Some(&first) = input.first() {
            let session = &mut self.sessions[index];
            if session.closing {
                return;
            }
            if session.awaits_auth && !first.eq_ignore_ascii_case(&b'c') {
                self.admit_unasked(conn, fx);
                if self.sessions[index].closing || self.keep_for_later(conn, input) {
                    return;
                }
            }
            let session = &mut self.sessions[index];
            match parse(input, &session.bounds) {
                Ok(Step::Op(Op::Publish(publish), used)) => {
                    self.publish(conn.index, &publish, None, fx);
                    input = &input[used..];
                }
                Ok(Step::Op(op, used)) => {
                    self.apply(conn, op, fx);
                    input = &input[used..];
                    if self.keep_for_later(conn, input) {
                        return;
                    }
                }
                Ok(Step::More { total }) => {
                    let kept = kept_len(input, total, &session.bounds);
                    session.carry.keep(&input[..kept], total);
                    return;
                }
                Err(violation) => {
                    self.violation(conn, violation, input, fx);
                    return;
                }
            }
        }
    }

    /// Keeps `input` if the connection waits for other shards; whether it does.
    fn keep_for_later(&mut self, conn: ConnId, input: &[u8]) -> bool {
        match &mut self.sessions[conn.index as usize].backlog {
            Some(backlog) => {
                backlog.extend_from_slice(input);
                true
            }
            None => false,
        }
    }

    /// Completes the operation that was left unfinished; returns what is behind it, or `None`
    /// when it is still unfinished or was the last.
    fn finish_carry<'a>(
        &mut self,
        conn: ConnId,
        mut input: &'a [u8],
        fx: &mut Effects,
    ) -> Option<&'a [u8]> {
        let index = conn.index as usize;
        while !input.is_empty() {
            let session = &mut self.sessions[index];
            let taken = session.carry.fill(input);
            input = &input[taken..];
            if !session.carry.is_worth_parsing() {
                continue;
            }
            let bounds = session.bounds;
            // Moved out, because the operation borrows from it while sessions change.
            let mut buffer = session.carry.take();
            match parse(&buffer, &bounds) {
                Ok(Step::More { total }) => {
                    buffer.truncate(kept_len(&buffer, total, &bounds));
                    let carry = &mut self.sessions[index].carry;
                    *carry = crate::session::Carry::resume(buffer, total);
                    continue;
                }
                Ok(Step::Op(Op::Publish(_), _)) if buffer.len() >= SHARE_PAYLOAD_MIN_BYTES => {
                    let whole = Bytes::from(buffer);
                    if let Ok(Step::Op(Op::Publish(publish), _)) = parse(&whole, &bounds) {
                        self.publish(conn.index, &publish, Some(&whole), fx);
                    }
                    return Some(input);
                }
                Ok(Step::Op(op, used)) => {
                    debug_assert_eq!(used, buffer.len(), "a carry holds one operation");
                    match op {
                        Op::Publish(publish) => self.publish(conn.index, &publish, None, fx),
                        op => self.apply(conn, op, fx),
                    }
                }
                Err(violation) => {
                    self.violation(conn, violation, &buffer, fx);
                    return None;
                }
            }
            self.sessions[index]
                .carry
                .give_back(buffer, CARRY_KEPT_MAX_BYTES);
            return Some(input);
        }
        None
    }

    #[inline(never)]
    fn apply(&mut self, conn: ConnId, op: Op<'_>, fx: &mut Effects) {
        if self.settings.trace {
            self.trace_op(conn, &op, fx);
        }
        match op {
            Op::Publish(_) => unreachable!("publishes are taken before"),
            Op::Connect(json) => self.connect(conn, json, fx),
            Op::Ping => self.ping(conn, fx),
            Op::Pong => {
                let pings = &mut self.sessions[conn.index as usize].pings;
                pings.outstanding = 0;
                if pings.sent_at_ns != 0 {
                    pings.heard((self.settings.fine_clock_ns)());
                }
                pings.answered = true;
            }
            Op::Subscribe {
                subject,
                queue,
                sid,
            } => self.subscribe(conn, subject, queue, sid, fx),
            Op::Unsubscribe { sid, max } => self.unsubscribe(conn, sid, max, fx),
            Op::Ok => {}
            Op::Err(text) => {
                let text = format!("Client Error {}", String::from_utf8_lossy(text));
                self.log(conn.index, Level::Error, &text, fx);
                self.close(conn, CloseReason::ParseError, None, fx);
            }
            Op::Info(json) => {
                if let Err(text) = info::check(json) {
                    self.log(conn.index, Level::Error, &text, fx);
                    self.close(conn, CloseReason::ProtocolViolation, None, fx);
                }
            }
        }
    }

    /// Answers at once, or when all shards know what this connection has subscribed to. Until then
    /// its input waits too, so that what it does after the PING happens after the PONG.
    fn ping(&mut self, conn: ConnId, fx: &mut Effects) {
        let session = &mut self.sessions[conn.index as usize];
        session.pings.active_at = self.now;
        if session.barrier <= self.mesh.acked_by_all() {
            self.pong(conn, fx);
        } else {
            session.backlog = Some(Vec::new());
            self.awaiting.push(conn);
            self.hold_local(conn, true, fx);
        }
    }

    fn pong(&mut self, conn: ConnId, fx: &mut Effects) {
        self.reply(conn.index, b"PONG\r\n", fx);
        self.connect_info(conn, fx);
    }

    /// Other shards have caught up: answers those who waited for it, and goes on with their input.
    pub(super) fn end_waiting(&mut self, fx: &mut Effects) {
        let reached = self.mesh.acked_by_all();
        let mut ready = Vec::new();
        let sessions = &self.sessions;
        self.awaiting.retain(|&conn| {
            let waits = sessions[conn.index as usize].barrier > reached;
            if !waits {
                ready.push(conn);
            }
            waits
        });
        for conn in ready {
            if !self.is_open(conn) {
                continue;
            }
            let backlog = self.sessions[conn.index as usize].backlog.take();
            self.pong(conn, fx);
            self.hold_local(conn, false, fx);
            self.go_on(conn, &backlog.unwrap_or_default(), fx);
        }
    }

    /// Goes on with the input that has waited.
    pub(super) fn go_on(&mut self, conn: ConnId, backlog: &[u8], fx: &mut Effects) {
        self.received(conn, backlog, fx);
        let session = &self.sessions[conn.index as usize];
        if session.ends_after_backlog && session.backlog.is_none() && !session.closing {
            self.close(conn, CloseReason::ClientClosed, None, fx);
        }
    }

    /// The second INFO, behind the first PONG after CONNECT.
    fn connect_info(&mut self, conn: ConnId, fx: &mut Effects) {
        let session = &mut self.sessions[conn.index as usize];
        let wanted = session.options.as_ref().is_some_and(|o| o.protocol >= 1);
        if !wanted || session.connect_info_sent {
            return;
        }
        session.connect_info_sent = true;
        let info = self.info(conn.index, true);
        self.reply(conn.index, &info, fx);
    }

    fn subscribe(
        &mut self,
        conn: ConnId,
        subject: &[u8],
        queue: &[u8],
        sid: &[u8],
        fx: &mut Effects,
    ) {
        let index = conn.index as usize;
        let session = &mut self.sessions[index];
        let max_subscriptions = session.max_subscriptions;
        session.pings.active_at = self.now;
        if max_subscriptions > 0 && session.subs as usize >= max_subscriptions {
            let text = "maximum subscriptions exceeded";
            self.log(conn.index, Level::Error, text, fx);
            self.reply_error(conn.index, text, fx);
            return;
        }
        if !subject::is_valid_pattern(subject) {
            self.reply_error(conn.index, "Invalid Subject", fx);
            return;
        }
        let max_tokens = usize::from(self.settings.limits.max_sub_tokens);
        if max_tokens > 0 && subject.split(|&b| b == b'.').count() > max_tokens {
            let (subject, sid) = (quote(subject), String::from_utf8_lossy(sid));
            let text =
                format!("Permissions Violation for Subscription to {subject}, too many tokens");
            self.reply_error(conn.index, &text, fx);
            let text =
                format!("Subscription Violation Too Many Tokens - Subject {subject}, SID {sid}");
            self.log(conn.index, Level::Error, &text, fx);
            return;
        }
        let may = match self.sessions[index].permissions() {
            _ if queue == RESERVED_QUEUE => MaySubscribe::No,
            Some(permissions) => permissions.may_subscribe(subject, queue),
            None => MaySubscribe::All,
        };
        if may == MaySubscribe::No {
            self.subscription_violation(conn, subject, queue, sid, fx);
            return;
        }
        let session = &mut self.sessions[index];
        let checked = may == MaySubscribe::Some;
        // A known id is answered like a new one and changes nothing.
        if session.first_sub == NONE || self.router.find(conn.index, sid).is_none() {
            session.subs += 1;
            self.past.inserts += u64::from(!session.internal);
            let change = self.router.subscribe(
                session.account,
                conn.index,
                &mut session.first_sub,
                subject,
                queue,
                sid,
            );
            if checked {
                self.router.set_checked(session.first_sub);
            }
            if let Some(change) = change {
                self.streams
                    .note_interest(&change, &self.settings.policy.directory);
                self.mesh.broadcast(&change);
                fx.mesh.0 |= self.mesh.peers().0;
            }
            // Even without a change of its own: somebody else's may not be known everywhere.
            self.sessions[index].barrier = self.mesh.interest_number();
            self.hold_for_interest(conn, fx);
        }
        if self.sessions[index].verbose {
            self.reply(conn.index, b"+OK\r\n", fx);
        }
    }

    #[cold]
    fn subscription_violation(
        &mut self,
        conn: ConnId,
        subject: &[u8],
        queue: &[u8],
        sid: &[u8],
        fx: &mut Effects,
    ) {
        let (subject, sid) = (quote(subject), String::from_utf8_lossy(sid));
        let (log, text) = if queue.is_empty() {
            (
                format!("Subscription Violation - Subject {subject}, SID {sid}"),
                format!("Permissions Violation for Subscription to {subject}"),
            )
        } else {
            let queue = quote(queue);
            (
                format!("Subscription Violation - Subject {subject}, Queue: {queue}, SID {sid}"),
                format!("Permissions Violation for Subscription to {subject} using queue {queue}"),
            )
        };
        self.reply_error(conn.index, &text, fx);
        self.log(conn.index, Level::Error, &log, fx);
    }

    fn unsubscribe(&mut self, conn: ConnId, sid: &[u8], max: u64, fx: &mut Effects) {
        let index = conn.index as usize;
        self.sessions[index].pings.active_at = self.now;
        if let Some(sub) = self.router.find(conn.index, sid) {
            if max > self.router.subs[sub].delivered {
                self.router.set_max(sub, max);
            } else {
                self.remove_subscription(sub, fx);
                self.hold_for_interest(conn, fx);
            }
        }
        if self.sessions[index].verbose {
            self.reply(conn.index, b"+OK\r\n", fx);
        }
    }

    /// Removes a subscription and tells the other shards.
    pub(super) fn remove_subscription(&mut self, sub: u32, fx: &mut Effects) {
        let index = self.router.subs[sub].conn as usize;
        if self.settings.trace {
            let sid = self.sid_text(sub);
            self.log(
                index as u32,
                Level::Trace,
                &format!("<-> [DELSUB {sid}]"),
                fx,
            );
        }
        let session = &mut self.sessions[index];
        session.subs -= 1;
        self.past.removes += u64::from(!session.internal);
        if let Some(change) = self.router.unsubscribe(sub, &mut session.first_sub) {
            self.streams
                .note_interest(&change, &self.settings.policy.directory);
            self.mesh.broadcast(&change);
            fx.mesh.0 |= self.mesh.peers().0;
        }
        session.barrier = self.mesh.interest_number();
        self.interest_lost();
    }

    /// Removes all subscriptions of a connection.
    pub(super) fn drop_subscriptions(&mut self, conn: ConnId, fx: &mut Effects) {
        loop {
            let first = self.sessions[conn.index as usize].first_sub;
            if first == NONE {
                return;
            }
            self.remove_subscription(first, fx);
        }
    }

    /// What a client did wrong ends its connection, with or without a word.
    #[cold]
    fn violation(&mut self, conn: ConnId, violation: Violation, input: &[u8], fx: &mut Effects) {
        let start = input.split(|&b| b == b'\n').next().unwrap_or_default();
        let start = &start[..start.len().min(128)];
        let line = start.strip_suffix(b"\r").unwrap_or(start);
        if let Violation::Payload { .. } = violation {
            self.trace_too_large(conn, input, fx);
        }
        let (log, answer, reason) = match violation {
            Violation::UnknownOperation => (
                format!("Client parser ERROR: proto='{}...'", quote(start)),
                Some("Unknown Protocol Operation"),
                CloseReason::ProtocolViolation,
            ),
            Violation::ControlLine => (
                "maximum control line exceeded".to_owned(),
                Some("maximum control line exceeded"),
                CloseReason::MaxControlLineExceeded,
            ),
            Violation::Payload { size } => (
                format!(
                    "maximum payload exceeded: {size} vs {}",
                    self.settings.limits.max_payload_bytes
                ),
                Some("Maximum Payload Violation"),
                CloseReason::MaxPayloadExceeded,
            ),
            Violation::HeadersNotSupported => (
                "message headers not supported".to_owned(),
                None,
                CloseReason::ProtocolViolation,
            ),
            Violation::Arguments(what) => {
                let arguments = line
                    .iter()
                    .position(|b| matches!(b, b' ' | b'\t'))
                    .map_or(line, |blank| line[blank..].trim_ascii_start());
                (
                    format!("{what}: {}", quote(arguments)),
                    None,
                    CloseReason::ProtocolViolation,
                )
            }
        };
        self.log(conn.index, Level::Error, &log, fx);
        self.close(conn, reason, answer, fx);
    }

    #[cold]
    fn trace_op(&mut self, conn: ConnId, op: &Op<'_>, fx: &mut Effects) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line = match *op {
            Op::Connect(json) => format!("CONNECT {}", redacted(json)),
            Op::Ping => "PING".to_owned(),
            Op::Pong => "PONG".to_owned(),
            Op::Ok => "+OK".to_owned(),
            Op::Err(error) => format!("-ERR {}", text(error)),
            Op::Info(json) => format!("INFO {}", text(json)),
            Op::Subscribe {
                subject,
                queue: b"",
                sid,
            } => format!("SUB {} {}", text(subject), text(sid)),
            Op::Subscribe {
                subject,
                queue,
                sid,
            } => format!("SUB {} {} {}", text(subject), text(queue), text(sid)),
            Op::Unsubscribe { sid, max: 0 } => format!("UNSUB {}", text(sid)),
            Op::Unsubscribe { sid, max } => format!("UNSUB {} {max}", text(sid)),
            Op::Publish(_) => return,
        };
        self.log(conn.index, Level::Trace, &format!("<<- [{line}]"), fx);
    }

    pub(super) fn sid_text(&self, sub: u32) -> String {
        let sid = self.router.subs[sub].sid;
        match sid.long_place() {
            Some(place) => String::from_utf8_lossy(self.router.long_sid(place)).into_owned(),
            None => {
                let (word, len) = sid.word_and_len();
                String::from_utf8_lossy(&word.to_le_bytes()[..len - 1]).into_owned()
            }
        }
    }
}

/// The JSON of a CONNECT without its secrets.
fn redacted(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    let Ok(mut options) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text)
    else {
        return "[UNREADABLE]".to_owned();
    };
    for (option, value) in &mut options {
        let option = option.to_ascii_lowercase();
        let is_secret = matches!(&*option, "jwt" | "sig" | "proxy_sig" | "nkey");
        // `password` and the like mean nothing here; but clients have sent them.
        if is_secret || option.starts_with("pass") || option.starts_with("auth_token") {
            *value = "[REDACTED]".into();
        }
    }
    serde_json::Value::Object(options).to_string()
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn no_secret_is_traced() {
        let hidden = "[REDACTED]";
        for secret in [
            "pass",
            "password",
            "PASS",
            "auth_token",
            "jwt",
            "sig",
            "proxy_sig",
            "nkey",
        ] {
            let json = serde_json::json!({ "user": "u", secret: "told" }).to_string();
            let expected = serde_json::json!({ "user": "u", secret: hidden }).to_string();
            assert_eq!(redacted(json.as_bytes()), expected);
        }
        let plain = r#"{"name":"sig","no_sig":1,"user":"pass"}"#;
        assert_eq!(redacted(plain.as_bytes()), plain);
        assert_eq!(redacted(b"{"), "[UNREADABLE]");
    }
}
