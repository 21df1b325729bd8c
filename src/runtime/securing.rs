//! The part of a shard's loop that is about TLS: from the socket of a new connection to the first
//! record, and records on their way out.
//!
//! A handshake is half duplex: while a helper thinks about what the client has sent, the client is not
//! read from, and when the answer is there it is. Nothing of it waits on this thread.

use std::collections::VecDeque;
use std::sync::Arc;

use super::commands::{Address, Command};
use super::conns::{Closing, Receive};
use super::helpers::{Full, Helpers, Job};
use super::tls::handshake::{self, Progress, Step};
use super::tls::stream::{Buffers, Left, Received, Stage, Stream};
use super::tls::{HANDSHAKES_MAX, RETRY_MS, Tls};
use super::turn::Turns;
use crate::base::deadlines::{Deadlines, Millis};
use crate::base::ids::ConnId;
use crate::config::HandshakeFirst;
use crate::session::CloseReason;
use crate::shard::{Event, Level, Opening, OpeningNews};

/// What a client is told that speaks, or waits, in plain where it must not.
const REQUIRED: &str = "Secure Connection - TLS Required";
const THROTTLED: &str = "Connection throttling is active. Please try again later.";

/// TLS of one shard.
pub struct Secure {
    /// For connections to come; `None` if there is to be no TLS.
    pub tls: Option<Arc<Tls>>,
    helpers: Helpers,
    /// Where helpers send what they have done.
    address: Address,
    buffers: Buffers,
    deadlines: Deadlines<ConnId>,
    /// How many clients have begun a handshake and not finished it.
    handshakes: usize,
    /// Steps that the helpers had no room for, and when to ask them again.
    waiting: VecDeque<Job>,
    retry_at: Option<Millis>,
}

impl Secure {
    pub fn new(tls: Option<Arc<Tls>>, helpers: Helpers, address: Address) -> Self {
        Self {
            tls,
            helpers,
            address,
            buffers: Buffers::default(),
            deadlines: Deadlines::default(),
            handshakes: 0,
            waiting: VecDeque::new(),
            retry_at: None,
        }
    }

    /// How a new connection begins.
    pub fn opening(&self) -> Opening {
        match self.tls.as_deref().map(|tls| tls.first) {
            None => Opening::Plain,
            Some(HandshakeFirst::No) => Opening::InfoFirst,
            Some(HandshakeFirst::Yes | HandshakeFirst::Auto { .. }) => Opening::TlsFirst,
        }
    }

    /// The earliest time at which [`Turns::securing_due`] has something to do.
    pub fn next_deadline(&self) -> Option<Millis> {
        [self.deadlines.next(), self.retry_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn arm(&mut self, id: ConnId, stream: &mut Stream, at: Millis) {
        stream.deadline = at;
        self.deadlines.arm(at, id);
    }

    fn count_out(&mut self, stream: &mut Stream) {
        if std::mem::take(&mut stream.counted) {
            self.handshakes -= 1;
        }
    }
}

impl Turns {
    /// The stream of a connection.
    fn stream(&mut self, id: ConnId) -> Option<&mut Stream> {
        self.conns.get(id)?.tls.as_deref_mut()
    }

    /// A connection was opened.
    pub(super) fn start_securing(&mut self, now: Millis, id: ConnId) {
        let (Some(tls), Some(conn)) = (&self.secure.tls, self.conns.get(id)) else {
            return;
        };
        let tls = Arc::clone(tls);
        let (stage, first, within_ms) = match tls.first {
            HandshakeFirst::Auto { fallback_ms } => (Stage::Listening, true, fallback_ms),
            HandshakeFirst::Yes => (Stage::Starting, true, tls.timeout_ms),
            HandshakeFirst::No if tls.allow_non_tls => (Stage::Sniffing, false, tls.timeout_ms),
            HandshakeFirst::No => (Stage::Starting, false, tls.timeout_ms),
        };
        let starts = matches!(stage, Stage::Starting);
        let stream = conn.tls.insert(Box::new(Stream::new(tls, stage, first)));
        self.secure.arm(id, stream, now + within_ms);
        if starts {
            self.start_handshake(now, id);
        }
    }

    /// The client is to do a handshake, or has begun with it.
    fn start_handshake(&mut self, now: Millis, id: ConnId) {
        let Some(stream) = self.conns.get(id).and_then(|conn| conn.tls.as_deref_mut()) else {
            return;
        };
        let (admitted, refused) = stream.setup.admit();
        if let Some(refused) = refused {
            self.log.warn(format_args!(
                "Rejected {refused} connections due to TLS rate limiting"
            ));
        }
        if !admitted {
            let log = (Level::Debug, THROTTLED.to_owned());
            let reason = CloseReason::MaxConnectionsExceeded;
            self.fail(now, id, reason, log, Some(THROTTLED));
            return;
        }
        let at = now + stream.setup.timeout_ms;
        stream.stage = Stage::Starting;
        self.secure.arm(id, stream, at);
        self.news(now, id, OpeningNews::Handshake);
    }

    /// New connections begin like this from now on. Whose certificate is no longer among those that are let in
    /// must go.
    pub(super) fn set_tls(&mut self, now: Millis, tls: Option<Arc<Tls>>) {
        let pinned = |tls: &Option<Arc<Tls>>| tls.as_ref().map(|tls| tls.pinned.clone());
        let before = pinned(&self.secure.tls);
        let after = pinned(&tls);
        self.secure.tls = tls;
        let Some(after) = after.filter(|after| before.as_ref() != Some(after)) else {
            return;
        };
        for id in self.conns.ids() {
            let Some(Stage::Open(connection)) = self.stream(id).map(|stream| &stream.stage) else {
                continue;
            };
            if !handshake::is_pinned(connection, &after) {
                let reason = CloseReason::TlsHandshakeFailure;
                let event = Event::CloseNow { conn: id, reason };
                self.shard.handle(now, event, &mut self.fx);
            }
        }
    }

    fn news(&mut self, now: Millis, conn: ConnId, news: OpeningNews) {
        let event = Event::Opening { conn, news };
        self.shard.handle(now, event, &mut self.fx);
    }

    /// There will be no conversation with this client.
    fn fail(
        &mut self,
        now: Millis,
        id: ConnId,
        reason: CloseReason,
        log: (Level, String),
        last_word: Option<&'static str>,
    ) {
        let Some(stream) = self.conns.get(id).and_then(|conn| conn.tls.as_deref_mut()) else {
            return;
        };
        self.secure.count_out(stream);
        stream.stage = Stage::Ended;
        stream.deadline = 0;
        let news = OpeningNews::Failed {
            reason,
            log,
            last_word,
        };
        self.news(now, id, news);
    }

    fn fail_handshake(&mut self, now: Millis, id: ConnId, level: Level, text: &str) {
        let reason = CloseReason::TlsHandshakeFailure;
        self.fail(now, id, reason, (level, text.to_owned()), None);
    }

    /// The client does without TLS, and may.
    fn become_plain(&mut self, now: Millis, id: ConnId) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        // Nothing of TLS was sent, so a send under way is a plain one.
        let Some(mut stream) = conn.tls.take() else {
            return;
        };
        let bytes = stream.take_incoming();
        self.news(now, id, OpeningNews::Plain);
        let event = Event::Received {
            conn: id,
            bytes: &bytes,
        };
        self.shard.handle(now, event, &mut self.fx);
    }

    /// Bytes have come, and this is what they were.
    pub(super) fn after_receive(&mut self, now: Millis, id: ConnId, received: Received) {
        match received {
            Received::Nothing => return,
            Received::First { tls } => {
                let Some(stream) = self.stream(id) else {
                    return;
                };
                // INFO has not been sent to one that was only listened to, so it cannot choose.
                if !tls && matches!(stream.stage, Stage::Sniffing) {
                    self.become_plain(now, id);
                    return;
                }
                self.start_handshake(now, id);
                // Looks at the same bytes again.
                if let Some(stream) = self.stream(id) {
                    let received = stream.resume(|_| {});
                    self.after_receive(now, id, received);
                }
                return;
            }
            Received::Handshake => {
                self.hand_in(now, id);
                return;
            }
            Received::NotTls => {
                let first = self.stream(id).is_none_or(|stream| stream.first);
                let text =
                    "TLS handshake error: tls: first record does not look like a TLS handshake";
                let reason = CloseReason::TlsHandshakeFailure;
                let log = (Level::Debug, text.to_owned());
                self.fail(now, id, reason, log, (!first).then_some(REQUIRED));
                return;
            }
            Received::TooMuch => {
                let text = "TLS handshake error: too many bytes before its end";
                self.fail_handshake(now, id, Level::Error, text);
                return;
            }
            Received::PeerClosed => {
                if let Some(conn) = self.conns.get(id) {
                    conn.ended = true;
                }
                let reason = CloseReason::ClientClosed;
                let event = Event::HungUp { conn: id, reason };
                self.shard.handle(now, event, &mut self.fx);
            }
            Received::Failed => {
                let reason = CloseReason::ReadError;
                let event = Event::HungUp { conn: id, reason };
                self.shard.handle(now, event, &mut self.fx);
            }
            Received::Answer => {}
        }
        self.flush_records(now, id);
    }

    /// Gives a helper what it needs for the next step, or lets it wait.
    fn hand_in(&mut self, now: Millis, id: ConnId) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let Some(stream) = conn.tls.as_deref_mut() else {
            return;
        };
        if !stream.counted {
            if self.secure.handshakes >= HANDSHAKES_MAX {
                let text = "TLS handshake error: too many handshakes at once";
                self.fail_handshake(now, id, Level::Error, text);
                return;
            }
            stream.counted = true;
            self.secure.handshakes += 1;
        }
        conn.paused = true;
        if conn.receive == Receive::Armed {
            conn.receive = Receive::Stopping;
            self.ring.cancel_receive(id);
        }
        let Some((connection, incoming)) = stream.take_handshake() else {
            return;
        };
        let (setup, first) = (Arc::clone(&stream.setup), stream.first);
        let address = self.secure.address.clone();
        let job = Box::new(move || {
            let step = handshake::step(&setup, connection, incoming, first);
            address.send(Command::Handshake(id, Box::new(step)));
        });
        let Err(Full(job)) = self.secure.helpers.submit(job) else {
            return;
        };
        // As many as there are handshakes, but for those whose clients have gone meanwhile.
        if self.secure.waiting.len() >= HANDSHAKES_MAX {
            let text = "TLS handshake error: too many handshakes at once";
            self.fail_handshake(now, id, Level::Error, text);
            return;
        }
        self.secure.waiting.push_back(job);
        self.secure.retry_at.get_or_insert(now + RETRY_MS);
    }

    /// Hands in what there was no room for before.
    fn hand_in_waiting(&mut self, now: Millis) {
        self.secure.retry_at = None;
        while let Some(job) = self.secure.waiting.pop_front() {
            if let Err(Full(job)) = self.secure.helpers.submit(job) {
                self.secure.waiting.push_front(job);
                self.secure.retry_at = Some(now + RETRY_MS);
                return;
            }
        }
    }

    /// A helper has done a step of a handshake.
    pub(super) fn handshake_stepped(&mut self, now: Millis, id: ConnId, step: Step) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let open = conn.closing == Closing::No;
        let Some(stream) = conn.tls.as_deref_mut() else {
            return;
        };
        if !open || !matches!(stream.stage, Stage::Helped) {
            return;
        }
        let Step {
            progress,
            outgoing,
            incoming,
        } = step;
        stream.queue(&outgoing);
        stream.put_back(incoming);
        conn.paused = false;
        if conn.receive == Receive::Idle {
            self.rearm.push_back(id);
        }
        match progress {
            Progress::Going(connection) => stream.stage = Stage::Handshake(connection),
            Progress::Done(connection, facts) => {
                stream.stage = Stage::Open(connection);
                stream.deadline = 0;
                self.secure.count_out(stream);
                let event = Event::Secured { conn: id, facts };
                self.shard.handle(now, event, &mut self.fx);
            }
            Progress::Failed(failure) => {
                let text = format!("TLS handshake error: {failure}");
                self.fail_handshake(now, id, Level::Error, &text);
            }
        }
        // Looks at what has come behind the bytes that were used, before anything is encrypted.
        let (shard, fx) = (&mut self.shard, &mut self.fx);
        if let Some(stream) = self.conns.get(id).and_then(|conn| conn.tls.as_deref_mut()) {
            let received = stream.resume(|bytes| {
                shard.handle(now, Event::Received { conn: id, bytes }, fx);
            });
            self.after_receive(now, id, received);
        }
        self.flush_records(now, id);
    }

    /// The peer is gone in the middle of a handshake; false when it was not in one.
    pub(super) fn securing_hung_up(&mut self, now: Millis, id: ConnId) -> bool {
        let Some(stream) = self.stream(id) else {
            return false;
        };
        match stream.stage {
            Stage::Open(_) | Stage::Ended => return false,
            // A client that may do without TLS and has said nothing yet.
            Stage::Sniffing => return false,
            Stage::Listening | Stage::Starting | Stage::Handshake(_) | Stage::Helped => {}
        }
        let text = if stream.is_cut() {
            "TLS handshake error: unexpected EOF"
        } else {
            "TLS handshake error: EOF"
        };
        self.fail_handshake(now, id, Level::Error, text);
        true
    }

    /// Does what has come due.
    pub(super) fn securing_due(&mut self, now: Millis) {
        if self.secure.retry_at.is_some_and(|at| at <= now) {
            self.hand_in_waiting(now);
        }
        while let Some((at, id)) = self.secure.deadlines.pop_due(now) {
            let Some(stream) = self.stream(id) else {
                continue;
            };
            if stream.deadline != at {
                continue;
            }
            match stream.stage {
                Stage::Open(_) | Stage::Ended => {}
                Stage::Listening => self.stop_listening(now, id),
                Stage::Sniffing => self.become_plain(now, id),
                Stage::Starting | Stage::Handshake(_) | Stage::Helped => {
                    // To one that has begun with TLS, plain words would mean nothing.
                    let silent = !stream.first && !stream.has_begun();
                    let reason = CloseReason::TlsHandshakeFailure;
                    let log = (Level::Debug, "TLS handshake timeout".to_owned());
                    self.fail(now, id, reason, log, silent.then_some(REQUIRED));
                }
            }
        }
    }

    /// The client has said nothing, so it waits for INFO.
    fn stop_listening(&mut self, now: Millis, id: ConnId) {
        let Some(stream) = self.conns.get(id).and_then(|conn| conn.tls.as_deref_mut()) else {
            return;
        };
        stream.first = false;
        let may_choose = stream.setup.allow_non_tls;
        if may_choose {
            stream.stage = Stage::Sniffing;
            let at = now + stream.setup.timeout_ms;
            self.secure.arm(id, stream, at);
        }
        self.news(now, id, OpeningNews::Info);
        if !may_choose {
            self.start_handshake(now, id);
        }
    }

    /// Starts a send on a connection with a stream, if there is something and none is under way: in
    /// plain before the handshake is done, and in records after it.
    pub(super) fn flush_records(&mut self, now: Millis, id: ConnId) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if conn.sending || conn.closing == Closing::Shut {
            return;
        }
        let fd = conn.fd();
        let Some(stream) = conn.tls.as_deref_mut() else {
            return;
        };
        let Some(out) = self.shard.outbound(id) else {
            return;
        };
        let pending_bytes = out.pending_bytes();
        if !stream.is_open() && pending_bytes > 0 {
            stream.set_sending_plain();
            conn.begins_to_send(self.turn);
            self.ring.send(id, fd, out.begin_send());
        } else {
            let pieces = out.begin_send();
            match stream.encrypt(&mut self.secure.buffers, pending_bytes, pieces) {
                Ok(true) => {
                    self.ring.send(id, fd, std::iter::once(stream.unsent()));
                    conn.begins_to_send(self.turn);
                }
                Ok(false) => return,
                Err(_) => {
                    let reason = CloseReason::WriteError;
                    let event = Event::HungUp { conn: id, reason };
                    self.shard.handle(now, event, &mut self.fx);
                    return;
                }
            }
        }
        if pending_bytes > 0 {
            let event = Event::SendStarted { conn: id };
            self.shard.handle(now, event, &mut self.fx);
        }
    }

    /// A send of records is done, or part of it.
    pub(super) fn records_sent(&mut self, now: Millis, id: ConnId, result: i32) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let Some(stream) = conn.tls.as_deref_mut() else {
            return;
        };
        let bytes = match result {
            0.. => match stream.left(result as usize, &mut self.secure.buffers) {
                // The shard learns that there was progress, and of its bytes when all are gone.
                Left::Part => 0,
                Left::All { plain_bytes } => plain_bytes,
            },
            _ if matches!(-result, libc::EINTR | libc::EAGAIN) => 0,
            _ if conn.closing == Closing::No => {
                let reason = CloseReason::WriteError;
                let event = Event::HungUp { conn: id, reason };
                self.shard.handle(now, event, &mut self.fx);
                return;
            }
            _ => {
                conn.shut();
                return;
            }
        };
        let event = Event::Sent { conn: id, bytes };
        self.shard.handle(now, event, &mut self.fx);
        self.flush_records(now, id);
    }

    /// With nothing more of the shard's to send: whether TLS still has something, such as its own
    /// last words, which are queued here.
    pub(super) fn finish_records(&mut self, now: Millis, id: ConnId) -> bool {
        let Some(stream) = self.stream(id) else {
            return false;
        };
        stream.queue_close_notify();
        self.flush_records(now, id);
        self.conns.get(id).is_some_and(|conn| conn.sending)
    }

    /// The socket is about to be closed.
    pub(super) fn forget_stream(&mut self, id: ConnId) {
        if let Some(mut stream) = self.conns.get(id).and_then(|conn| conn.tls.take()) {
            self.secure.count_out(&mut stream);
            stream.recycle(&mut self.secure.buffers);
        }
        let conns = &self.conns;
        self.secure.deadlines.sweep(|&id| conns.has(id));
    }
}
