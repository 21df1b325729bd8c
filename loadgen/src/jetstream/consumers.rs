//! Many consumers on one stream, each with a filter of its own: what they cost those who publish, and each other.

use std::time::Instant;

use serde_json::json;

use crate::failure::{Failure, Result};
use crate::jetstream::ack::{Delivery, number, status};
use crate::jetstream::api::{Api, unique_inbox, wait_for};
use crate::jetstream::args::ConsumersArgs;
use crate::jetstream::peer::Peer;
use crate::jetstream::publish::{STREAM, fill_made};
use crate::jetstream::role::{Books, Moment, Role, drive};
use crate::payload::Layout;
use crate::process::Usage;
use crate::report::Outcome;
use crate::run::Run;
use crate::settings::Settings;
use crate::subjects::{NumberedSubjects, Subjects};
use crate::wire::{encode_publish_line, printable};

pub const PUBLISHED: &str = "published beside them";
pub const CONSUMED: &str = "consumed by all";
const CREATED: &str = "consumers created";
const RSS_EACH: &str = "server RSS per consumer";
const PREFIX: &str = "load.c.";

pub fn run(args: &ConsumersArgs, settings: &Settings) -> Result<Outcome> {
    let mut api = Api::open(&settings.target)?;
    let filter = format!("{PREFIX}>");
    // Said, because nats-server 2.15.1 takes a thousand if it is not.
    let room = json!({"max_consumers": args.consumers + 1});
    api.make_stream(&args.keeping.stream(STREAM, &[&filter], &room))?;
    let family = NumberedSubjects::new(PREFIX, args.consumers, true);
    let rss = || -> Result<Option<u64>> {
        let usage = settings.server_pid.map(Usage::read).transpose()?;
        Ok(usage.map(|usage| usage.rss_bytes))
    };
    let rss_before = rss()?;
    let start = Instant::now();
    for index in 0..args.consumers {
        let config = json!({
            "durable_name": format!("C{index}"),
            "ack_policy": "explicit",
            "filter_subject": format!("{PREFIX}{index:0width$}", width = family.digits),
        });
        api.make_consumer(STREAM, &config)?;
        if !settings.quiet && (index + 1) % 1_000 == 0 {
            eprintln!("{} consumers", index + 1);
        }
    }
    let created_per_second = args.consumers as f64 / start.elapsed().as_secs_f64();
    let rss_after = rss()?;

    let messages = args.consumers * args.messages_each;
    let published = fill_made(
        &mut api,
        STREAM,
        Subjects::Numbered(family.clone()),
        0,
        messages,
        settings,
    )?;
    let inbox = unique_inbox("c");
    let asker = Asker {
        peer: Peer::open(&settings.target, &[&format!("{inbox}.*")])?,
        inbox,
        consumers: args.consumers,
        each: args.messages_each,
        parallel: args.parallel.max(1),
        next: 0,
        finished: 0,
        got: vec![0; args.consumers as usize],
        family,
        layout: Layout::new(settings.payload_bytes),
        books: Books::default(),
    };
    let name = format!(
        "js-consumers, {} consumers, {} messages",
        args.consumers, messages
    );
    let mut driven = drive(&name, settings, vec![Box::new(asker)], 0)?;
    // The last consumers are the last whose acknowledgements arrive.
    let each = args.messages_each;
    for index in args.consumers.saturating_sub(args.parallel)..args.consumers {
        let consumer = format!("C{index}");
        let state = wait_for(
            settings.stall_timeout,
            || api.consumer(STREAM, &consumer),
            |state| state.ack_floor == each && state.ack_pending == 0,
        )?;
        if let Err(state) = state {
            let failures = &mut driven.outcome.failures;
            failures.push(format!("says of consumer {consumer} at the end {state:?}"));
            break;
        }
    }
    driven.ends_now()?;
    let books = driven.close_books();
    let delivered = books.delivered;
    driven.must_hold(
        delivered == messages && books.seen.distinct() == messages,
        || format!("delivered {delivered} messages of {messages}"),
    );
    let mut outcome = driven.outcome;
    outcome.failures.extend(published.outcome.failures);
    outcome.add_metric(CREATED, created_per_second, "1/s");
    outcome.add_metric(PUBLISHED, published.outcome.published_per_second, "msg/s");
    outcome.add_metric(CONSUMED, outcome.delivered_per_second, "msg/s");
    if let (Some(before), Some(after)) = (rss_before, rss_after) {
        let growth = after.saturating_sub(before) as f64;
        outcome.add_metric(
            RSS_EACH,
            growth / args.consumers.max(1) as f64 / 1024.0,
            "KiB",
        );
    }
    api.delete_stream(STREAM)?;
    Ok(outcome)
}

/// Asks one consumer after the other for all it has, several at a time.
struct Asker {
    peer: Peer,
    inbox: String,
    consumers: u64,
    each: u64,
    parallel: u64,
    next: u64,
    finished: u64,
    got: Vec<u64>,
    family: NumberedSubjects,
    layout: Layout,
    books: Books,
}

impl Asker {
    fn ask(&mut self) {
        while self.next < self.consumers && self.next - self.finished < self.parallel {
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.C{}", self.next);
            let reply = format!("{}.{}", self.inbox, self.next);
            let body = format!("{{\"batch\":{},\"expires\":60000000000}}", self.each);
            let outbox = self.peer.outbox();
            encode_publish_line(
                outbox,
                subject.as_bytes(),
                Some(reply.as_bytes()),
                body.len(),
            );
            outbox.extend_from_slice(body.as_bytes());
            outbox.extend_from_slice(b"\r\n");
            self.next += 1;
        }
    }
}

impl Role for Asker {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn step(&mut self, _: &Moment<'_>) -> Result<bool> {
        self.ask();
        let Self {
            peer,
            each,
            finished,
            got,
            family,
            layout,
            books,
            ..
        } = self;
        let received = peer.receive(|message, outbox| {
            let failed = |why: &str| {
                let headers = printable(message.headers);
                Err(Failure::server(format!(
                    "answered a consumer's request with {why} {headers:?}"
                )))
            };
            // With a filter on one subject, messages come under it, and the reply names the consumer.
            if status(message.headers).is_some() {
                return failed("a status");
            }
            let Some(delivery) = message.reply.and_then(Delivery::read) else {
                return failed("a message without a reply subject");
            };
            let token = message.subject.rsplit(|byte| *byte == b'.').next();
            let Some(consumer) = token
                .and_then(number)
                .filter(|index| *index < got.len() as u64)
            else {
                return failed("a message that nobody asked for");
            };
            let number = delivery.stream_seq - 1;
            let count = &mut got[consumer as usize];
            *count += 1;
            let same = message.payload.len() == layout.payload_bytes
                && layout.read(message.payload) == layout.word(0, number)
                && family.number(number) == consumer;
            if !same || delivery.times != 1 || delivery.consumer_seq != *count {
                books
                    .faults
                    .add(|| format!("consumer {consumer} got a wrong message: {delivery:?}"));
            }
            *finished += u64::from(*count == *each);
            books.delivered += 1;
            books.seen.mark(delivery.stream_seq);
            encode_publish_line(outbox, message.reply.unwrap_or_default(), None, 4);
            outbox.extend_from_slice(b"+ACK\r\n");
            Ok(())
        })?;
        if received > 0 {
            self.ask();
        }
        let sent = self.peer.flush()?;
        Ok(received > 0 || sent)
    }

    fn is_done(&self, _: &Run) -> bool {
        self.finished == self.consumers && self.peer.unsent_bytes() == 0
    }

    fn counts(&self) -> (u64, u64) {
        (0, self.books.delivered)
    }

    fn close(self: Box<Self>) -> Books {
        self.books
    }
}
