//! Publishing in batches: atomic ones, and one fast batch that lasts as long as the run.

use std::io::Write as _;
use std::sync::atomic::Ordering::AcqRel;

use serde::Deserialize;
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::jetstream::ack::PubAck;
use crate::jetstream::api::{Api, unique_inbox};
use crate::jetstream::args::{BatchArgs, BatchKind};
use crate::jetstream::peer::Peer;
use crate::jetstream::publish::STREAM;
use crate::jetstream::role::{Books, Moment, Role, drive};
use crate::payload::{Layout, filler};
use crate::report::Outcome;
use crate::run::Run;
use crate::settings::Settings;
use crate::wire::{Message, printable};

/// Not more than this is encoded ahead of the kernel.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// More in an atomic batch are refused in nats-server's default configuration.
const ATOMIC_MESSAGES_MAX: u64 = 1_000;

pub fn run(args: &BatchArgs, settings: &Settings) -> Result<Outcome> {
    if args.kind == BatchKind::Atomic && args.batch > ATOMIC_MESSAGES_MAX {
        return Err(Failure::usage(format!(
            "an atomic batch has at most {ATOMIC_MESSAGES_MAX} messages"
        )));
    }
    let mut api = Api::open(&settings.target)?;
    let allowed = match args.kind {
        BatchKind::Atomic => json!({"allow_atomic": true}),
        BatchKind::Fast => json!({"allow_batched": true}),
    };
    api.make_stream(&args.keeping.stream(STREAM, &["load.js"], &allowed))?;
    let inbox = unique_inbox("b");
    let batcher = Batcher {
        peer: Peer::open(&settings.target.for_publishers(), &[&format!("{inbox}.>")])?,
        kind: args.kind,
        batch: args.batch.max(2),
        in_flight: args.in_flight.max(1),
        inbox,
        payload: filler(settings.payload_bytes),
        layout: Layout::new(settings.payload_bytes),
        quota: settings.quota(0, 1),
        next: 0,
        fast_limit: 1,
        commits_sent: 0,
        commits_acked: 0,
        sent_ns: Vec::new(),
        books: Books::default(),
        is_closed: false,
    };
    let name = match args.kind {
        BatchKind::Atomic => format!(
            "js-batch, atomic, {} messages each, {} in flight",
            args.batch, args.in_flight
        ),
        BatchKind::Fast => format!(
            "js-batch, fast, an ack per {}, {} outstanding",
            args.batch, args.in_flight
        ),
    };
    let mut driven = drive(&name, settings, vec![Box::new(batcher)], 1)?;
    let books = driven.close_books();
    let (acked, state) = (books.acked, api.stream(STREAM)?);
    driven.must_hold(state.messages == acked && state.last_seq == acked, || {
        format!("acknowledged {acked} messages and then has {state:?}")
    });
    if args.kind == BatchKind::Atomic {
        driven.outcome.set_latencies(books.latencies);
        let note = "latency is that of a commit, from the batch's first message";
        driven.outcome.notes.push(note.to_owned());
    }
    api.delete_stream(STREAM)?;
    Ok(driven.outcome)
}

struct Batcher {
    peer: Peer,
    kind: BatchKind,
    batch: u64,
    in_flight: u64,
    inbox: String,
    payload: Vec<u8>,
    layout: Layout,
    quota: Option<u64>,
    /// Messages sent.
    next: u64,
    /// How far the server's last flow acknowledgement lets a fast batch go.
    fast_limit: u64,
    commits_sent: u64,
    commits_acked: u64,
    /// When the first message of each batch was sent.
    sent_ns: Vec<u64>,
    books: Books,
    is_closed: bool,
}

/// What a fast batch hears while it goes on.
#[derive(Deserialize)]
struct Flow {
    #[serde(rename = "type")]
    kind: String,
    seq: u64,
    #[serde(default)]
    msgs: u64,
}

impl Batcher {
    fn publish_atomic(&mut self, moment: &Moment<'_>) {
        while self.commits_sent - self.commits_acked < self.in_flight
            && self.peer.unsent_bytes() < UNSENT_BYTES_MAX
        {
            let place = self.next % self.batch;
            let over = self.quota.is_some_and(|quota| self.next >= quota);
            // A batch that has begun is finished.
            if place == 0 && (moment.stopping || over) {
                return;
            }
            if place == 0 {
                self.sent_ns.push(moment.now_ns);
            }
            let number = self.next / self.batch;
            let commits = place + 1 == self.batch;
            let end = if commits {
                "Nats-Batch-Commit: 1\r\n\r\n"
            } else {
                "\r\n"
            };
            let headers = format!(
                "NATS/1.0\r\nNats-Batch-Id: load{number}\r\nNats-Batch-Sequence: {}\r\n{end}",
                place + 1
            );
            let (length, total) = (headers.len(), headers.len() + self.payload.len());
            let reply = if commits {
                format!("{}.{number} ", self.inbox)
            } else {
                String::new()
            };
            // Writing to a Vec cannot fail.
            let _ = write!(
                self.peer.outbox(),
                "HPUB load.js {reply}{length} {total}\r\n{headers}"
            );
            self.append_payload();
            self.commits_sent += u64::from(commits);
        }
    }

    fn publish_fast(&mut self, moment: &Moment<'_>) {
        let (inbox, batch) = (self.inbox.clone(), self.batch);
        while self.commits_sent == 0 && self.peer.unsent_bytes() < UNSENT_BYTES_MAX {
            let over = self.quota.is_some_and(|quota| self.next + 1 >= quota);
            let commits = (moment.stopping || over) && self.next > 0;
            if !commits && self.next >= self.fast_limit {
                return;
            }
            let sequence = self.next + 1;
            let operation = match self.next {
                _ if commits => 2,
                0 => 0,
                _ => 1,
            };
            let size = self.payload.len();
            // Writing to a Vec cannot fail.
            let _ = write!(
                self.peer.outbox(),
                "PUB load.js {inbox}.load.{batch}.fail.{sequence}.{operation}.$FI {size}\r\n"
            );
            self.append_payload();
            self.commits_sent += u64::from(commits);
        }
    }

    fn append_payload(&mut self) {
        self.layout
            .write(&mut self.payload, self.layout.word(0, self.next));
        let outbox = self.peer.outbox();
        outbox.extend_from_slice(&self.payload);
        outbox.extend_from_slice(b"\r\n");
        self.next += 1;
    }
}

impl Role for Batcher {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<bool> {
        if self.is_closed {
            return Ok(false);
        }
        let Self {
            peer,
            kind,
            batch,
            in_flight,
            next,
            fast_limit,
            commits_acked,
            sent_ns,
            books,
            ..
        } = self;
        let mut arrival = moment.arrival();
        let received = peer.receive(|message, _| {
            if *kind == BatchKind::Fast
                && let Ok(flow) = serde_json::from_slice::<Flow>(message.payload)
            {
                if flow.kind != "ack" || flow.seq < books.acked || flow.seq > *next {
                    return Err(unexpected(message));
                }
                books.acked = flow.seq;
                *fast_limit = flow.seq + flow.msgs.clamp(1, *batch) * *in_flight;
                return Ok(());
            }
            let ack = PubAck::read(message.payload)?;
            let expected = match kind {
                BatchKind::Atomic => *batch,
                BatchKind::Fast => *next,
            };
            let expected_seq = match kind {
                BatchKind::Atomic => books.acked + expected,
                BatchKind::Fast => expected,
            };
            if ack.error.is_some() || ack.count != expected || ack.seq != expected_seq {
                return Err(unexpected(message));
            }
            books.acked = ack.seq;
            if let Some(sent_ns) = sent_ns.get(*commits_acked as usize) {
                books.latencies.record(arrival.since(*sent_ns));
            }
            *commits_acked += 1;
            Ok(())
        })?;
        match self.kind {
            BatchKind::Atomic => self.publish_atomic(moment),
            BatchKind::Fast => self.publish_fast(moment),
        }
        let sent = self.peer.flush()?;
        let over = moment.stopping || self.quota.is_some_and(|quota| self.next >= quota);
        let whole = match self.kind {
            BatchKind::Atomic => self.next.is_multiple_of(self.batch),
            BatchKind::Fast => self.commits_sent > 0,
        };
        if over && whole && self.commits_acked == self.commits_sent {
            self.is_closed = true;
            moment.run.publishers_left.fetch_sub(1, AcqRel);
        }
        Ok(received > 0 || sent)
    }

    fn is_done(&self, _: &Run) -> bool {
        self.is_closed
    }

    fn counts(&self) -> (u64, u64) {
        (self.books.acked, 0)
    }

    fn close(self: Box<Self>) -> Books {
        self.books
    }
}

fn unexpected(message: &Message<'_>) -> Failure {
    Failure::server(format!(
        "answered a batch with {:?} {:?}",
        printable(message.headers),
        printable(message.payload)
    ))
}
