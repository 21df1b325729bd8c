//! Publishing: with a window in flight, one by one, and spread over many streams.

use serde_json::json;

use crate::failure::Result;
use crate::jetstream::api::Api;
use crate::jetstream::args::{Keeping, PublishArgs, PublishSyncArgs, StreamsArgs};
use crate::jetstream::publisher::{Order, Publisher, Shape};
use crate::jetstream::role::{Books, Driven, Role, drive};
use crate::payload::Layout;
use crate::report::Outcome;
use crate::settings::{Amount, Settings};
use crate::subjects::{NumberedSubjects, Subjects};
use crate::units::grouped;

pub const STREAM: &str = "LOAD";
/// In flight while a stream is filled for a workload that reads it.
const FILL_WINDOW: u64 = 4_000;

pub fn window(args: &PublishArgs, settings: &Settings) -> Result<Outcome> {
    let name = format!(
        "js-pub, {} publishers, {} in flight each",
        args.publishers, args.window
    );
    run(&name, args, settings)
}

pub fn sync(args: &PublishSyncArgs, settings: &Settings) -> Result<Outcome> {
    let name = format!("js-pub-sync, {} publishers", args.publishers);
    let args = PublishArgs {
        keeping: args.keeping.clone(),
        publishers: args.publishers,
        window: 1,
        subjects: 1,
        repeat_every: None,
    };
    run(&name, &args, settings)
}

fn run(name: &str, args: &PublishArgs, settings: &Settings) -> Result<Outcome> {
    let mut api = Api::open(&settings.target)?;
    api.make_stream(&args.keeping.stream(STREAM, &["load.js.>"], &json!({})))?;
    let mut roles: Vec<Box<dyn Role>> = Vec::new();
    for id in 0..args.publishers {
        let prefix = format!("load.js.{id}.");
        let shape = Shape {
            subjects: if args.subjects > 1 {
                Subjects::Numbered(NumberedSubjects::new(&prefix, args.subjects, true))
            } else {
                Subjects::Fixed(format!("{prefix}x"))
            },
            order: if args.publishers == 1 {
                Order::Alone(0)
            } else {
                Order::Shared(0)
            },
            window: args.window,
            repeat_every: args.repeat_every,
            ..shape(settings, settings.quota(id, args.publishers))
        };
        roles.push(Box::new(Publisher::connect(
            &settings.target.for_publishers(),
            id,
            shape,
        )?));
    }
    let mut driven = drive(name, settings, roles, args.publishers)?;
    let books = driven.close_books();
    check_stored(&mut driven, &mut api, STREAM, &books)?;
    api.delete_stream(STREAM)?;
    finish(driven, books)
}

/// The plainest shape: one subject, one publisher alone.
pub fn shape(settings: &Settings, quota: Option<u64>) -> Shape {
    Shape {
        subjects: Subjects::Fixed("load.js".to_owned()),
        group_digits: 0,
        layout: Layout::new(settings.payload_bytes),
        window: 1,
        quota,
        rate: None,
        repeat_every: None,
        order: Order::Alone(0),
        fanout: 0,
    }
}

/// Every acknowledged sequence is there once, and nothing else.
fn check_stored(driven: &mut Driven, api: &mut Api, stream: &str, books: &Books) -> Result<()> {
    let state = api.stream(stream)?;
    let stored = books.acked - books.duplicates;
    driven.must_hold(
        state.messages == stored && state.last_seq == stored && books.stored.distinct() == stored,
        || {
            format!(
                "acknowledged {stored} messages with {} sequences, and then has {} of them up to {}",
                books.stored.distinct(),
                state.messages,
                state.last_seq
            )
        },
    );
    Ok(())
}

fn finish(driven: Driven, books: Books) -> Result<Outcome> {
    let mut outcome = driven.outcome;
    outcome.set_latencies(books.latencies);
    if books.duplicates > 0 {
        outcome.add_metric("duplicates", books.duplicates as f64, "messages");
    }
    if books.errors > 0 {
        outcome.add_metric("refused", books.errors as f64, "messages");
    }
    Ok(outcome)
}

pub fn streams(args: &StreamsArgs, settings: &Settings) -> Result<Outcome> {
    let publishers = args.publishers.max(1);
    let each = args.streams.div_ceil(publishers as u64).max(1);
    let mut api = Api::open(&settings.target)?;
    let start = std::time::Instant::now();
    for publisher in 0..publishers {
        for index in 0..each {
            let subject = format!("load.s{publisher}.{index:06}");
            let config =
                args.keeping
                    .stream(&format!("LOAD{publisher}x{index}"), &[&subject], &json!({}));
            api.make_stream(&config)?;
        }
    }
    let total = each * publishers as u64;
    let creations = total as f64 / start.elapsed().as_secs_f64();
    let mut roles: Vec<Box<dyn Role>> = Vec::new();
    for id in 0..publishers {
        let shape = Shape {
            subjects: Subjects::Numbered(NumberedSubjects::new(
                &format!("load.s{id}."),
                each,
                false,
            )),
            order: Order::PerStream(vec![0; each as usize]),
            window: args.window,
            ..shape(settings, settings.quota(id, publishers))
        };
        roles.push(Box::new(Publisher::connect(
            &settings.target.for_publishers(),
            id,
            shape,
        )?));
    }
    let name = format!("js-streams, {publishers} publishers over {total} streams");
    let mut driven = drive(&name, settings, roles, publishers)?;
    let books = driven.close_books();
    let mut stored = 0;
    for publisher in 0..publishers {
        for index in 0..each {
            let stream = format!("LOAD{publisher}x{index}");
            stored += api.stream(&stream)?.messages;
            api.delete_stream(&stream)?;
        }
    }
    let acked = books.acked;
    driven.must_hold(stored == acked, || {
        format!("acknowledged {acked} messages and then has {stored}")
    });
    let mut outcome = finish(driven, books)?;
    outcome.add_metric("streams created", creations, "1/s");
    Ok(outcome)
}

/// Fills a new stream with `messages` messages of publisher 0, the first being sequence 1.
pub fn fill(
    api: &mut Api,
    keeping: &Keeping,
    subjects: Subjects,
    group_digits: usize,
    messages: u64,
    settings: &Settings,
) -> Result<Driven> {
    let filter = match &subjects {
        Subjects::Fixed(subject) => subject.clone(),
        Subjects::Numbered(family) => format!("{}>", family.prefix),
    };
    let filters = [filter.as_str()];
    api.make_stream(&keeping.stream(STREAM, &filters, &json!({})))?;
    fill_made(api, STREAM, subjects, group_digits, messages, settings)
}

/// The same for a stream that has just been made.
pub fn fill_made(
    api: &mut Api,
    stream: &str,
    subjects: Subjects,
    group_digits: usize,
    messages: u64,
    settings: &Settings,
) -> Result<Driven> {
    let mut settings = settings.clone();
    settings.amount = Amount::Count(messages);
    let shape = Shape {
        subjects,
        group_digits,
        window: FILL_WINDOW,
        ..shape(&settings, Some(messages))
    };
    let publisher = Publisher::connect(&settings.target.for_publishers(), 0, shape)?;
    let mut driven = drive("filling", &settings, vec![Box::new(publisher)], 1)?;
    let books = driven.close_books();
    let last_seq = api.stream(stream)?.last_seq;
    driven.must_hold(books.acked == messages && last_seq == messages, || {
        format!(
            "acknowledged {} of {} messages and then stands at {last_seq}",
            grouped(books.acked),
            grouped(messages)
        )
    });
    Ok(driven)
}
