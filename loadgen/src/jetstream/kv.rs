//! Key-value buckets: put, get straight from the stream, and watch.

use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::jetstream::ack::{number, status};
use crate::jetstream::api::{Api, unique_inbox};
use crate::jetstream::args::{Keeping, KvGetArgs, KvPutArgs, KvWatchArgs};
use crate::jetstream::peer::Peer;
use crate::jetstream::publish::{fill_made, shape};
use crate::jetstream::publisher::{Publisher, Shape};
use crate::jetstream::reader::{Check, Reader, Reading, Source};
use crate::jetstream::role::{Books, Moment, Role, drive};
use crate::link::Target;
use crate::payload::Layout;
use crate::report::Outcome;
use crate::run::Run;
use crate::settings::Settings;
use crate::subjects::{NumberedSubjects, Subjects};
use crate::wire::printable;
use std::sync::atomic::Ordering::AcqRel;

const BUCKET: &str = "KV_LOAD";
const KEYS: &str = "$KV.LOAD.key";

/// The stream that clients make for a bucket.
pub fn bucket(keeping: &Keeping, name: &str, subjects: &str, history: u64) -> Value {
    keeping.stream(
        name,
        &[subjects],
        &json!({
            "max_msgs_per_subject": history,
            "discard": "new",
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "allow_direct": true,
        }),
    )
}

/// What watchers of a bucket ask for: an ordered consumer that begins with the last value of each key.
pub fn watch_config(name: &str, filter: &str, deliver_subject: &str) -> Value {
    json!({
        "name": name,
        "filter_subject": filter,
        "deliver_subject": deliver_subject,
        "deliver_policy": "last_per_subject",
        "ack_policy": "none",
        "max_deliver": 1,
        "flow_control": true,
        "idle_heartbeat": 5_000_000_000u64,
        "mem_storage": true,
        "num_replicas": 1,
        "inactive_threshold": 300_000_000_000u64,
    })
}

fn keys(count: u64) -> Subjects {
    Subjects::Numbered(NumberedSubjects::new(KEYS, count, true))
}

pub fn put(args: &KvPutArgs, settings: &Settings) -> Result<Outcome> {
    let mut api = Api::open(&settings.target)?;
    api.make_stream(&bucket(&args.keeping, BUCKET, "$KV.LOAD.>", args.history))?;
    let shape = Shape {
        subjects: keys(args.keys),
        window: args.in_flight,
        ..shape(settings, settings.quota(0, 1))
    };
    let publisher = Publisher::connect(&settings.target.for_publishers(), 0, shape)?;
    let name = format!("kv-put, {} keys, {} in flight", args.keys, args.in_flight);
    let mut driven = drive(&name, settings, vec![Box::new(publisher)], 1)?;
    let books = driven.close_books();
    let state = api.stream(BUCKET)?;
    let (acked, kept) = (books.acked, books.acked.min(args.keys * args.history));
    driven.must_hold(state.last_seq == acked && state.messages == kept, || {
        format!("acknowledged {acked} puts and then has {state:?}, expected were {kept} values")
    });
    driven.outcome.set_latencies(books.latencies);
    api.delete_stream(BUCKET)?;
    Ok(driven.outcome)
}

pub fn get(args: &KvGetArgs, settings: &Settings) -> Result<Outcome> {
    let mut api = Api::open(&settings.target)?;
    api.make_stream(&bucket(&args.keeping, BUCKET, "$KV.LOAD.>", 1))?;
    let filled = fill_made(&mut api, BUCKET, keys(args.keys), 0, args.keys, settings)?;
    let getter = Getter::connect(&settings.target, args, settings)?;
    let name = format!("kv-get, {} keys, {} in flight", args.keys, args.in_flight);
    let mut driven = drive(&name, settings, vec![Box::new(getter)], 1)?;
    let books = driven.close_books();
    driven.outcome.failures.extend(filled.outcome.failures);
    driven.outcome.set_latencies(books.latencies);
    api.delete_stream(BUCKET)?;
    Ok(driven.outcome)
}

pub fn watch(args: &KvWatchArgs, settings: &Settings) -> Result<Outcome> {
    let mut api = Api::open(&settings.target)?;
    // With as much history as a bucket may have, no value is gone before a watcher has seen it.
    const HISTORY_MAX: u64 = 64;
    api.make_stream(&bucket(&args.keeping, BUCKET, "$KV.LOAD.>", HISTORY_MAX))?;
    let mut roles: Vec<Box<dyn Role>> = Vec::new();
    for index in 0..args.watchers {
        let deliver_subject = unique_inbox("w");
        let reading = Reading {
            source: Source::Push {
                deliver_subject: deliver_subject.clone(),
            },
            acks: false,
            total: None,
            layout: Layout::new(settings.payload_bytes),
            check: Check::Sparse,
        };
        roles.push(Box::new(Reader::connect(&settings.target, reading)?));
        let name = format!("WATCH{index}");
        api.make_consumer(BUCKET, &watch_config(&name, "$KV.LOAD.>", &deliver_subject))?;
    }
    let shape = Shape {
        subjects: keys(args.keys),
        window: args.in_flight,
        fanout: args.watchers,
        ..shape(settings, settings.quota(0, 1))
    };
    let target = settings.target.for_publishers();
    roles.push(Box::new(Publisher::connect(&target, 0, shape)?));
    let name = format!(
        "kv-watch, {} keys, {} watchers, {} puts in flight",
        args.keys, args.watchers, args.in_flight
    );
    let mut driven = drive(&name, settings, roles, 1)?;
    let books = driven.close_books();
    let (acked, delivered, owed) = (books.acked, books.delivered, books.acked * args.watchers);
    driven.must_hold(delivered == owed, || {
        format!("delivered {delivered} updates of {acked} puts to the watchers, owed were {owed}")
    });
    driven.outcome.set_latencies(books.latencies);
    driven
        .outcome
        .notes
        .push("latency is that of putting".to_owned());
    api.delete_stream(BUCKET)?;
    Ok(driven.outcome)
}

/// Asks for the values of keys, with several requests in flight.
struct Getter {
    peer: Peer,
    inbox: String,
    family: NumberedSubjects,
    layout: Layout,
    next: u64,
    oldest: u64,
    quota: Option<u64>,
    /// When the requests in flight were sent, by number modulo the number of them; 0 once answered.
    sent_ns: Vec<u64>,
    books: Books,
    is_closed: bool,
}

impl Getter {
    fn connect(target: &Target, args: &KvGetArgs, settings: &Settings) -> Result<Self> {
        let inbox = unique_inbox("g");
        Ok(Self {
            peer: Peer::open(target, &[&format!("{inbox}.*")])?,
            inbox,
            family: NumberedSubjects::new(KEYS, args.keys, true),
            layout: Layout::new(settings.payload_bytes),
            next: 0,
            oldest: 0,
            quota: settings.quota(0, 1),
            sent_ns: vec![0; args.in_flight.max(1) as usize],
            books: Books::default(),
            is_closed: false,
        })
    }

    /// The key that a request asks for: not in the order in which they were put.
    fn put_number(&self, number: u64) -> u64 {
        let keys = self.family.subjects;
        keys - 1 - number % keys
    }

    fn ask(&mut self, now_ns: u64) {
        use std::io::Write as _;
        let window = self.sent_ns.len() as u64;
        let limit = (self.oldest + window).min(self.quota.unwrap_or(u64::MAX));
        while self.next < limit {
            let key = self.family.number(self.put_number(self.next));
            let (width, inbox, number) = (self.family.digits, &self.inbox, self.next);
            let outbox = self.peer.outbox();
            // Writing to a Vec cannot fail.
            let _ = write!(
                outbox,
                "PUB $JS.API.DIRECT.GET.{BUCKET}.{KEYS}{key:0width$} {inbox}.{number} 0\r\n\r\n"
            );
            self.sent_ns[(self.next % window) as usize] = now_ns | 1;
            self.next += 1;
        }
    }
}

impl Role for Getter {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<bool> {
        if self.is_closed {
            return Ok(false);
        }
        let window = self.sent_ns.len() as u64;
        let (layout, keys) = (self.layout, self.family.subjects);
        let Self {
            peer,
            sent_ns,
            books,
            next,
            oldest,
            ..
        } = self;
        let mut arrival = moment.arrival();
        let received = peer.receive(|message, _| {
            let token = message.subject.rsplit(|byte| *byte == b'.').next();
            let number = token.and_then(number).filter(|number| number < next);
            let (Some(number), None) = (number, status(message.headers)) else {
                return Err(Failure::server(format!(
                    "answered a get with {:?}",
                    printable(message.headers)
                )));
            };
            let slot = (number % window) as usize;
            if number < *oldest || sent_ns[slot] == 0 {
                return Err(Failure::server("answered a get twice"));
            }
            let put = keys - 1 - number % keys;
            let same = message.payload.len() == layout.payload_bytes
                && layout.read(message.payload) == layout.word(0, put);
            if !same {
                books
                    .faults
                    .add(|| format!("get {number} brought another key's value"));
            }
            books.latencies.record(arrival.since(sent_ns[slot]));
            books.acked += 1;
            sent_ns[slot] = 0;
            while *oldest < *next && sent_ns[(*oldest % window) as usize] == 0 {
                *oldest += 1;
            }
            Ok(())
        })?;
        if !moment.stopping {
            self.ask(moment.now_ns);
        }
        let sent = self.peer.flush()?;
        if self.oldest == self.next && (moment.stopping || self.quota == Some(self.next)) {
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
