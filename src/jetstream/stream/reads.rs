//! Requests to read messages: `DIRECT.GET` in its kinds (ADR-31) and
//! `STREAM.MSG.GET`.
//!
//! What is asked for in one request is resolved when it comes; the messages are then sent one by
//! one as they are read, a bounded number in a turn. An answer that has in it what is not on
//! the disk yet waits for that: what somebody has read must not be gone after a crash.

use std::collections::VecDeque;

use crate::base::deadlines::Millis;
use crate::jetstream::api::decode;
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::requests::MsgGetRequest;
use crate::jetstream::api::responses::{self, Kind};
use crate::jetstream::api::versions;
use crate::jetstream::{Outgoing, Outlet, Reached};
use crate::store::{Fetched, Messages, Selection, Seq, Stored};

use super::headers;
use super::republish::{begin_block, push_number, push_origin};
use super::{Stream, World, last_of};

/// Answers of one request that asks for the last of many subjects.
const MULTI_MAX: usize = 1024;
/// Requests that may be under way.
const READS_MAX: usize = 16 * 1024;
/// Messages that are sent in one turn.
const SENT_AT_ONCE: usize = 256;

/// A client that has too much unsent is left alone for so long.
const PAUSE_MS: Millis = 2;

/// A request under way.
#[derive(Debug)]
struct Read {
    reply: Box<[u8]>,
    has_headers: bool,
    what: What,
    /// Something of the answer waits for the disk, and the rest must not overtake it.
    is_held: bool,
}

#[derive(Debug)]
enum What {
    /// One message as JSON, for the API.
    Stored(Seq),
    /// One message as it is.
    One(Seq),
    Batch(Box<Batch>),
    Multi(Box<Multi>),
}

/// Messages from a sequence on.
#[derive(Debug)]
struct Batch {
    selection: Selection,
    from: Seq,
    left: u64,
    pending: u64,
    /// What `pending` was counted of.
    counted_to: Seq,
    sent: u64,
    last: Seq,
    bytes_left: u64,
    /// More than one was asked for: when they end early there is an end all the same.
    ends_early: bool,
}

/// The last message of each subject.
#[derive(Debug)]
struct Multi {
    seqs: VecDeque<Seq>,
    pending: u64,
    left: u64,
    last: Seq,
    bytes_left: u64,
    up_to: Seq,
}

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Sent,
    /// Sent, but who gets it has too much unsent.
    SentLast,
    Ended,
    Later,
}

/// Requests under way.
#[derive(Debug, Default)]
pub(super) struct Reads {
    list: VecDeque<Read>,
    /// All of them wait for the store or for a slow client.
    are_blocked: bool,
    /// When those that wait for a client are tried again.
    again_ms: Option<Millis>,
}

impl Reads {
    /// Whether there is something to do at once.
    pub fn is_ready(&self) -> bool {
        !self.are_blocked && !self.list.is_empty()
    }

    /// When to try those again that wait for a slow client.
    pub fn again(&self) -> Option<Millis> {
        self.again_ms.filter(|_| !self.list.is_empty())
    }

    /// Whether somebody waits.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Stream {
    /// Answers `DIRECT.GET`. `subject` is what follows the stream's name in the request's subject, or
    /// nothing.
    pub fn direct_get<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        subject: &[u8],
        reply: &[u8],
        request_headers: &[u8],
        payload: &[u8],
    ) {
        if reply.is_empty() {
            return;
        }
        match self.resolve(world.messages, subject, request_headers, payload) {
            Ok((what, has_headers)) => self.begin_read(world, reply, what, has_headers),
            Err(status) => send_status(world.outlet, reply, status, false),
        }
    }

    /// Answers `STREAM.MSG.GET`: the request was read, and says something.
    ///
    /// # Errors
    /// It contradicts itself, or there is no such message: to be answered at once.
    pub fn message_get<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        request: &MsgGetRequest,
        reply: &[u8],
    ) -> Result<(), ApiError> {
        let (has_last, has_next) = (
            !request.last_by_subj.is_empty(),
            !request.next_by_subj.is_empty(),
        );
        let has_seq = request.seq > 0;
        let has_time = request.start_time.is_some();
        let is_bad = request.batch > 0
            || request.max_bytes > 0
            || (has_seq && (has_last || has_time))
            || !(has_seq || has_last || has_next || has_time)
            || (has_last && (has_time || has_next));
        if is_bad {
            return Err(Code::BadRequest.into());
        }
        let seq = find_one(world.messages, request).ok_or(Code::NoMessageFound)?;
        if reply.is_empty() {
            return Ok(());
        }
        self.begin_read(world, reply, What::Stored(seq), !request.no_hdr);
        Ok(())
    }

    /// The stream is deleted: who waits for a message is told that there is none.
    pub fn end_reads<O: Outlet>(&mut self, outlet: &mut O) {
        for read in std::mem::take(&mut self.reads.list) {
            if !matches!(read.what, What::Stored(_)) {
                send_status(outlet, &read.reply, "404 Message Not Found", read.is_held);
                continue;
            }
            let mut answer = Vec::new();
            Kind::MsgGet.error(&mut answer, &Code::StreamNotFound.into());
            outlet.publish(&Outgoing {
                to: &read.reply,
                subject: &read.reply,
                payload: &answer,
                ..Outgoing::default()
            });
        }
    }

    /// What a request for messages is about, or the status that answers it.
    fn resolve(
        &self,
        messages: &impl Messages,
        subject: &[u8],
        request_headers: &[u8],
        payload: &[u8],
    ) -> Result<(What, bool), &'static str> {
        let level = crate::proto::headers::find(request_headers, headers::REQUIRED_LEVEL);
        if versions::asks_too_much(level) {
            return Err("412 Required Api Level");
        }
        let mut request = MsgGetRequest::default();
        if !payload.is_empty() {
            request = decode::request(payload, false).map_err(|_| "408 Malformed Request")?;
        }
        if !subject.is_empty() {
            let plain = MsgGetRequest {
                no_hdr: request.no_hdr,
                max_bytes: request.max_bytes,
                ..MsgGetRequest::default()
            };
            if request != plain {
                return Err("408 Bad Request");
            }
            request.last_by_subj = String::from_utf8_lossy(subject).into_owned();
        }
        let (has_last, has_next) = (
            !request.last_by_subj.is_empty(),
            !request.next_by_subj.is_empty(),
        );
        let (has_seq, has_time) = (request.seq > 0, request.start_time.is_some());
        let has_multi = !request.multi_last.is_empty();
        if !(has_seq || has_last || has_next || has_multi || has_time) {
            return Err("408 Empty Request");
        }
        let is_bad = (has_seq && (has_last || has_time))
            || (has_last && (has_time || has_next || has_multi || request.batch > 0))
            || (has_next && has_multi)
            || (request.up_to_seq > 0 && request.up_to_time.is_some());
        if is_bad {
            return Err("408 Bad Request");
        }
        let has_headers = !request.no_hdr;
        let bytes_left = match u64::try_from(request.max_bytes) {
            Ok(0) | Err(_) => self.settings.direct_bytes_max,
            Ok(max) => max,
        };
        if has_multi {
            let multi = resolve_multi(messages, &request, bytes_left)?;
            return Ok((What::Multi(Box::new(multi)), true));
        }
        let Some(left) = u64::try_from(request.batch).ok().filter(|&batch| batch > 0) else {
            let seq = find_one(messages, &request).ok_or("404 Message Not Found")?;
            return Ok((What::One(seq), has_headers));
        };
        let mut selection = selection_of(&request);
        let from = first_of(messages, &request);
        let batch = Batch {
            pending: messages.pending(&mut selection, from),
            counted_to: messages.state().last_seq,
            selection,
            from,
            left,
            sent: 0,
            last: 0,
            bytes_left,
            ends_early: left > 1,
        };
        Ok((What::Batch(Box::new(batch)), has_headers))
    }

    fn begin_read<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        reply: &[u8],
        what: What,
        has_headers: bool,
    ) {
        if self.reads.list.len() >= READS_MAX {
            send_status(world.outlet, reply, "429 Too Many Requests", false);
            return;
        }
        let mut read = Read {
            reply: reply.into(),
            has_headers,
            what,
            is_held: false,
        };
        let mut budget = SENT_AT_ONCE;
        let step = self.read_on(world, &mut read, &mut budget);
        // Alone it decides whether there is something to do at once.
        if self.reads.list.is_empty() {
            self.reads.are_blocked = step != Step::Sent;
        }
        match step {
            Step::Ended => {}
            Step::Later => self.reads.list.push_back(read),
            Step::SentLast => {
                self.reads.list.push_back(read);
                self.reads.again_ms = Some(world.now.mono_ms + PAUSE_MS);
            }
            Step::Sent => {
                self.reads.list.push_back(read);
                self.reads.are_blocked = false;
            }
        }
    }

    /// Goes on with all requests under way. Whether there is more to do at once.
    pub(super) fn read_more<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
    ) -> bool {
        let mut budget = SENT_AT_ONCE;
        let mut is_any_ready = false;
        self.reads.again_ms = None;
        for _ in 0..self.reads.list.len() {
            if budget == 0 {
                is_any_ready = true;
                break;
            }
            let Some(mut read) = self.reads.list.pop_front() else {
                break;
            };
            let step = self.read_on(world, &mut read, &mut budget);
            is_any_ready |= step == Step::Sent;
            if step == Step::SentLast {
                self.reads.again_ms = Some(world.now.mono_ms + PAUSE_MS);
            }
            if step != Step::Ended {
                self.reads.list.push_back(read);
            }
        }
        self.reads.are_blocked = !is_any_ready;
        is_any_ready
    }

    /// Sends what is there of an answer.
    fn read_on<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        read: &mut Read,
        budget: &mut usize,
    ) -> Step {
        while *budget > 0 {
            *budget -= 1;
            let step = match &mut read.what {
                What::Stored(seq) => {
                    let seq = *seq;
                    self.send_stored(world, read, seq)
                }
                What::One(seq) => {
                    let seq = *seq;
                    self.send_one(world, read, seq)
                }
                What::Batch(_) => self.send_next(world, read),
                What::Multi(_) => self.send_last(world, read),
            };
            if step != Step::Sent {
                return step;
            }
        }
        Step::Sent
    }

    fn send_stored<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        read: &mut Read,
        seq: Seq,
    ) -> Step {
        let mut answer = Vec::new();
        let durable = world.messages.durable_seq();
        match world.messages.get(seq) {
            Fetched::Later => return Step::Later,
            Fetched::Gone | Fetched::Damaged => {
                Kind::MsgGet.error(&mut answer, &Code::NoMessageFound.into());
            }
            Fetched::Here(message) => {
                let headers = if read.has_headers {
                    message.headers
                } else {
                    b""
                };
                responses::message(&mut answer, &Stored { headers, ..message });
                read.is_held = seq > durable;
            }
        }
        let message = Outgoing {
            to: &read.reply,
            subject: &read.reply,
            payload: &answer,
            ..Outgoing::default()
        };
        if read.is_held {
            world.outlet.publish_durable(&message);
        } else {
            world.outlet.publish(&message);
        }
        Step::Ended
    }

    fn send_one<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        read: &mut Read,
        seq: Seq,
    ) -> Step {
        match self.send(world, read, seq, None) {
            Some((Step::Later, _)) => return Step::Later,
            Some(_) => {}
            None => send_status(world.outlet, &read.reply, "404 Message Not Found", false),
        }
        Step::Ended
    }

    fn send_next<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        read: &mut Read,
    ) -> Step {
        let What::Batch(batch) = &mut read.what else {
            return Step::Ended;
        };
        let next = (batch.left > 0)
            .then(|| world.messages.next(&mut batch.selection, batch.from))
            .flatten();
        // Without headers nobody sees it, and nats-server does not count.
        let counted = u64::from(read.has_headers);
        let (pending, last) = (batch.pending.saturating_sub(counted), batch.last);
        let sent = next.and_then(|seq| {
            let sent = self.send(world, read, seq, Some((pending, last)))?;
            Some((seq, sent))
        });
        let What::Batch(batch) = &mut read.what else {
            return Step::Ended;
        };
        match sent {
            Some((_, (Step::Later, _))) => return Step::Later,
            Some((seq, (step, bytes))) => {
                batch.from = seq + 1;
                batch.last = seq;
                batch.pending = pending;
                batch.left -= 1;
                batch.sent += 1;
                batch.bytes_left = batch.bytes_left.saturating_sub(bytes);
                if batch.left > 0 && batch.bytes_left > 0 {
                    return step;
                }
            }
            None if next.is_some() && batch.sent > 0 => {}
            None if batch.sent == 0 || !batch.ends_early => {
                send_status(
                    world.outlet,
                    &read.reply,
                    "404 Message Not Found",
                    read.is_held,
                );
                return Step::Ended;
            }
            None => {}
        }
        if world.messages.state().last_seq > batch.counted_to {
            batch.pending = world.messages.pending(&mut batch.selection, batch.from);
        }
        let (pending, last) = (batch.pending, batch.last);
        self.send_end(world, read, pending, last, None);
        Step::Ended
    }

    fn send_last<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        read: &mut Read,
    ) -> Step {
        let What::Multi(multi) = &mut read.what else {
            return Step::Ended;
        };
        let (pending, last) = (multi.pending.saturating_sub(1), multi.last);
        if let Some(&seq) = multi.seqs.front() {
            let sent = self.send(world, read, seq, Some((pending, last)));
            let What::Multi(multi) = &mut read.what else {
                return Step::Ended;
            };
            match sent {
                Some((Step::Later, _)) => return Step::Later,
                None => {
                    send_status(
                        world.outlet,
                        &read.reply,
                        "404 Message Not Found",
                        read.is_held,
                    );
                    return Step::Ended;
                }
                Some((step, bytes)) => {
                    multi.seqs.pop_front();
                    multi.pending = pending;
                    multi.last = seq;
                    multi.left -= 1;
                    multi.bytes_left = multi.bytes_left.saturating_sub(bytes);
                    if multi.left > 0 && multi.bytes_left > 0 && !multi.seqs.is_empty() {
                        return step;
                    }
                }
            }
        }
        let What::Multi(multi) = &read.what else {
            return Step::Ended;
        };
        let (pending, last, up_to) = (multi.pending, multi.last, multi.up_to);
        self.send_end(world, read, pending, last, Some(up_to));
        Step::Ended
    }

    /// Sends a message with where it is from; with how many follow and which came before it, if it
    /// is one of many. None if it is not there; else what it counts as.
    fn send<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        read: &mut Read,
        seq: Seq,
        of_many: Option<(u64, Seq)>,
    ) -> Option<(Step, u64)> {
        let durable = world.messages.durable_seq();
        let message = match world.messages.get(seq) {
            Fetched::Later => return Some((Step::Later, 0)),
            Fetched::Gone | Fetched::Damaged => return None,
            Fetched::Here(message) => message,
        };
        let mut block = Vec::new();
        if read.has_headers {
            block = begin_block(message.headers, 256);
            push_origin(
                &mut block,
                &self.config.name,
                message.subject,
                seq,
                message.time,
            );
            if let Some((pending, last)) = of_many {
                push_number(&mut block, "Nats-Num-Pending", pending);
                push_number(&mut block, "Nats-Last-Sequence", last);
            }
            block.extend_from_slice(b"\r\n");
        }
        let bytes = message.subject.len() + message.headers.len() + message.payload.len();
        let outgoing = Outgoing {
            to: &read.reply,
            subject: &read.reply,
            headers: &block,
            payload: message.payload,
            ..Outgoing::default()
        };
        read.is_held |= seq > durable;
        let reached = if read.is_held {
            world.outlet.publish_durable(&outgoing);
            Reached::Somebody
        } else {
            world.outlet.publish(&outgoing)
        };
        let step = match reached {
            Reached::Full => Step::SentLast,
            Reached::Somebody | Reached::Nobody => Step::Sent,
        };
        Some((step, bytes as u64))
    }

    fn send_end<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        read: &Read,
        pending: u64,
        last: Seq,
        up_to: Option<Seq>,
    ) {
        let mut block = b"NATS/1.0 204 EOB\r\n".to_vec();
        push_number(&mut block, "Nats-Num-Pending", pending);
        push_number(&mut block, "Nats-Last-Sequence", last);
        if let Some(up_to) = up_to {
            push_number(&mut block, "Nats-UpTo-Sequence", up_to);
        }
        block.extend_from_slice(b"\r\n");
        send_block(world.outlet, &read.reply, &block, read.is_held);
    }
}

/// The message that a request for one is about.
fn find_one(messages: &impl Messages, request: &MsgGetRequest) -> Option<Seq> {
    let from = first_of(messages, request);
    if !request.next_by_subj.is_empty() {
        return messages.next(&mut selection_of(request), from);
    }
    if from > 0 {
        return messages.time_of(from).map(|_| from);
    }
    last_of(messages, request.last_by_subj.as_bytes())
}

/// The sequence from which on is asked for; 0 if none is said.
fn first_of(messages: &impl Messages, request: &MsgGetRequest) -> Seq {
    match request.start_time {
        Some(time) => messages.at_or_after(time),
        None => request.seq,
    }
}

fn selection_of(request: &MsgGetRequest) -> Selection {
    match request.next_by_subj.as_str() {
        "" => Selection::everything(),
        pattern => Selection::of(&[pattern]),
    }
}

fn resolve_multi(
    messages: &impl Messages,
    request: &MsgGetRequest,
    bytes_left: u64,
) -> Result<Multi, &'static str> {
    let state = messages.state();
    let mut up_to = request.up_to_seq;
    if let Some(time) = request.up_to_time {
        up_to = messages.at_or_after(time);
        if up_to <= state.first_seq {
            return Err("404 No Results");
        }
        up_to -= 1;
    }
    if up_to == 0 {
        up_to = state.last_seq;
    }
    let mut selection = Selection::of(&request.multi_last);
    let seqs = messages
        .last_of_each(&mut selection, up_to, MULTI_MAX)
        .ok_or("413 Too Many Results")?;
    if seqs.is_empty() {
        return Err("404 No Results");
    }
    // Those before the first that is wanted count as answered.
    let skipped = seqs.partition_point(|&seq| seq < request.seq);
    Ok(Multi {
        pending: (seqs.len() - skipped) as u64,
        seqs: seqs.into_iter().skip(skipped).collect(),
        left: u64::try_from(request.batch)
            .ok()
            .filter(|&batch| batch > 0)
            .unwrap_or(u64::MAX),
        last: 0,
        bytes_left,
        up_to,
    })
}

fn send_status(outlet: &mut impl Outlet, reply: &[u8], status: &str, is_held: bool) {
    let block = format!("NATS/1.0 {status}\r\n\r\n");
    send_block(outlet, reply, block.as_bytes(), is_held);
}

fn send_block(outlet: &mut impl Outlet, reply: &[u8], headers: &[u8], is_held: bool) {
    let message = Outgoing {
        to: reply,
        subject: reply,
        headers,
        ..Outgoing::default()
    };
    if is_held {
        outlet.publish_durable(&message);
    } else {
        outlet.publish(&message);
    }
}
