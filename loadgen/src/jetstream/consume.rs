//! Consuming: pulling and being pushed to, with a filter and without, and from a work queue.

use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::Result;
use crate::jetstream::api::{Api, ConsumerState, wait_for};
use crate::jetstream::args::{FetchArgs, FilterArgs, PushArgs, WorkArgs};
use crate::jetstream::publish::{STREAM, fill, shape};
use crate::jetstream::publisher::{Order, Publisher, Shape};
use crate::jetstream::reader::{Check, Reader, Reading, Source};
use crate::jetstream::role::{Driven, Role, drive};
use crate::payload::Layout;
use crate::report::Outcome;
use crate::settings::Settings;
use crate::subjects::{NumberedSubjects, Subjects};

const FILTERED: &str = "filtered";
const UNFILTERED: &str = "unfiltered";
const OF_UNFILTERED: &str = "filtered / unfiltered";
const CREATED_AFTER: &str = "consumer with filter created in";
const CONSUMER: &str = "LOADER";

pub fn fetch(args: &FetchArgs, settings: &Settings) -> Result<Outcome> {
    let mut api = Api::open(&settings.target)?;
    let subject = Subjects::Fixed("load.js".to_owned());
    let filled = fill(&mut api, &args.keeping, subject, 0, args.messages, settings)?;
    let ack_policy = if args.no_acks { "none" } else { "explicit" };
    api.make_consumer(
        STREAM,
        &json!({"durable_name": CONSUMER, "ack_policy": ack_policy, "deliver_policy": "all"}),
    )?;
    let reading = Reading {
        source: pull(args.batch, args.requests),
        acks: !args.no_acks,
        total: Some(args.messages),
        layout: Layout::new(settings.payload_bytes),
        check: Check::Dense,
    };
    let name = format!(
        "js-fetch, batches of {}, {} open, {}",
        args.batch,
        args.requests,
        if args.no_acks {
            "no acks"
        } else {
            "explicit acks"
        }
    );
    let mut driven = consume(&name, reading, &mut api, settings)?;
    driven.outcome.failures.extend(filled.outcome.failures);
    api.delete_stream(STREAM)?;
    Ok(driven.outcome)
}

pub fn push(args: &PushArgs, settings: &Settings) -> Result<Outcome> {
    let mut api = Api::open(&settings.target)?;
    let subject = Subjects::Fixed("load.js".to_owned());
    let filled = fill(&mut api, &args.keeping, subject, 0, args.messages, settings)?;
    let deliver_subject = crate::jetstream::api::unique_inbox("d");
    let reading = Reading {
        source: Source::Push {
            deliver_subject: deliver_subject.clone(),
        },
        acks: args.acks,
        total: Some(args.messages),
        layout: Layout::new(settings.payload_bytes),
        check: Check::Dense,
    };
    // The reader listens first: a consumer begins when somebody does.
    let reader = Reader::connect(&settings.target, reading)?;
    let how = if args.acks {
        json!({"ack_policy": "explicit"})
    } else {
        json!({"ack_policy": "none", "flow_control": true, "idle_heartbeat": 5_000_000_000u64})
    };
    let mut config = json!({
        "durable_name": CONSUMER, "deliver_policy": "all", "deliver_subject": deliver_subject
    });
    extend(&mut config, &how);
    api.make_consumer(STREAM, &config)?;
    let name = format!(
        "js-push, {}",
        if args.acks {
            "explicit acks"
        } else {
            "flow control"
        }
    );
    let mut driven = drive(&name, settings, vec![Box::new(reader)], 0)?;
    close(&mut driven, args.acks, args.messages, &mut api, settings)?;
    driven.outcome.failures.extend(filled.outcome.failures);
    api.delete_stream(STREAM)?;
    Ok(driven.outcome)
}

pub fn filter(args: &FilterArgs, settings: &Settings) -> Result<Outcome> {
    let group_digits = args.group_digits.min(5);
    let groups = 10u64.pow(group_digits as u32);
    let group = groups / 2;
    let mut api = Api::open(&settings.target)?;
    let family = NumberedSubjects::new("load.f.", args.subjects, true);
    let taken = taken_by(&family, args.messages, groups, group);
    let filled = fill(
        &mut api,
        &args.keeping,
        Subjects::Numbered(family),
        group_digits,
        args.messages,
        settings,
    )?;
    let layout = Layout::new(settings.payload_bytes);
    let reading = |total, check| Reading {
        source: pull(args.batch, args.requests),
        acks: true,
        total: Some(total),
        layout,
        check,
    };
    let mut config = json!({
        "durable_name": CONSUMER, "ack_policy": "explicit", "deliver_policy": "all"
    });
    api.make_consumer(STREAM, &config)?;
    let mut unfiltered = consume(
        UNFILTERED,
        reading(args.messages, Check::Dense),
        &mut api,
        settings,
    )?;
    api.delete_consumer(STREAM, CONSUMER)?;

    let start = std::time::Instant::now();
    let filter = match group_digits {
        // Not the stream's own subject, which some servers take for no filter.
        0 => "load.*.>".to_owned(),
        _ => format!("load.f.{group:0group_digits$}.*"),
    };
    extend(&mut config, &json!({"filter_subject": filter}));
    let answer = api.make_consumer(STREAM, &config)?;
    let created_after = start.elapsed();
    let name = format!(
        "js-filter, 1 of {groups} groups of {} subjects, {} of {} messages",
        args.subjects, taken, args.messages
    );
    let mut driven = consume(&name, reading(taken, Check::Sparse), &mut api, settings)?;
    let pending = answer["num_pending"].as_u64().unwrap_or(0);
    driven.must_hold(pending == taken, || {
        format!("announced {pending} pending messages for the filter, there are {taken}")
    });
    let rate = driven.outcome.delivered_per_second;
    let reference = unfiltered.outcome.delivered_per_second;
    driven.outcome.add_metric(FILTERED, rate, "msg/s");
    driven.outcome.add_metric(UNFILTERED, reference, "msg/s");
    driven
        .outcome
        .add_metric(OF_UNFILTERED, rate / reference, "");
    driven
        .outcome
        .add_metric(CREATED_AFTER, created_after.as_secs_f64() * 1e3, "ms");
    driven
        .outcome
        .failures
        .append(&mut unfiltered.outcome.failures);
    driven.outcome.failures.extend(filled.outcome.failures);
    api.delete_stream(STREAM)?;
    Ok(driven.outcome)
}

pub fn work(args: &WorkArgs, settings: &Settings) -> Result<Outcome> {
    let mut api = Api::open(&settings.target)?;
    let retention = json!({"retention": "workqueue"});
    api.make_stream(&args.keeping.stream(STREAM, &["load.js"], &retention))?;
    api.make_consumer(
        STREAM,
        &json!({"durable_name": CONSUMER, "ack_policy": "explicit", "max_ack_pending": 10_000}),
    )?;
    let mut roles: Vec<Box<dyn Role>> = Vec::new();
    for id in 0..args.publishers {
        let shape = Shape {
            window: args.window,
            order: if args.publishers == 1 {
                Order::Alone(0)
            } else {
                Order::Shared(0)
            },
            fanout: 1,
            ..shape(settings, settings.quota(id, args.publishers))
        };
        let target = settings.target.for_publishers();
        roles.push(Box::new(Publisher::connect(&target, id, shape)?));
    }
    for _ in 0..args.workers {
        let reading = Reading {
            source: pull(args.batch, args.requests),
            acks: true,
            total: None,
            layout: Layout::new(settings.payload_bytes),
            check: Check::Rising,
        };
        roles.push(Box::new(Reader::connect(&settings.target, reading)?));
    }
    let name = format!(
        "js-work, {} publishers, {} workers",
        args.publishers, args.workers
    );
    let mut driven = drive(&name, settings, roles, args.publishers)?;
    let emptied = wait_for(
        settings.stall_timeout,
        || api.stream(STREAM),
        |state| state.messages == 0,
    )?;
    driven.ends_now()?;
    let books = driven.close_books();
    if let Err(state) = emptied {
        driven.outcome.failures.push(format!(
            "all was acknowledged, and {} messages are still there",
            state.messages
        ));
    }
    driven.must_hold(
        books.acked == books.delivered && books.seen.distinct() == books.delivered,
        || {
            format!(
                "acknowledged {} messages and delivered {}, {} of them distinct",
                books.acked,
                books.delivered,
                books.seen.distinct()
            )
        },
    );
    driven.outcome.set_latencies(books.latencies);
    driven
        .outcome
        .notes
        .push("latency is that of publishing".to_owned());
    api.delete_stream(STREAM)?;
    Ok(driven.outcome)
}

fn pull(batch: u64, requests: usize) -> Source {
    Source::Pull {
        stream: STREAM.to_owned(),
        consumer: CONSUMER.to_owned(),
        batch,
        requests,
    }
}

fn consume(name: &str, reading: Reading, api: &mut Api, settings: &Settings) -> Result<Driven> {
    let (acks, total) = (reading.acks, reading.total.unwrap_or(0));
    let reader = Reader::connect(&settings.target, reading)?;
    let mut driven = drive(name, settings, vec![Box::new(reader)], 0)?;
    close(&mut driven, acks, total, api, settings)?;
    Ok(driven)
}

/// The run ends when the consumer knows that it has: acknowledgements are part of the work.
fn close(
    driven: &mut Driven,
    acks: bool,
    total: u64,
    api: &mut Api,
    settings: &Settings,
) -> Result<()> {
    let failed = !driven.outcome.failures.is_empty();
    let patience = if failed {
        Duration::ZERO
    } else {
        settings.stall_timeout
    };
    let finished = wait_for(
        patience,
        || api.consumer(STREAM, CONSUMER),
        |state| !acks || (state.ack_floor >= total && state.ack_pending == 0),
    )?;
    driven.ends_now()?;
    driven.close_books();
    let expected = ConsumerState {
        delivered: total,
        ack_floor: if acks { total } else { 0 },
        ..ConsumerState::default()
    };
    let (Ok(mut state) | Err(mut state)) = finished;
    if !acks {
        // Some servers count what needs no acknowledgement as acknowledged.
        state.ack_floor = 0;
    }
    driven.must_hold(state == expected, || {
        format!("says of its consumer at the end {state:?}, expected was {expected:?}")
    });
    Ok(())
}

fn extend(config: &mut Value, more: &Value) {
    if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
        config.extend(more.clone());
    }
}

/// How many messages have a subject of the group.
fn taken_by(family: &NumberedSubjects, messages: u64, groups: u64, group: u64) -> u64 {
    let mut number = family.number(0);
    let mut taken = 0;
    for _ in 0..messages {
        taken += u64::from(number % groups == group);
        number = family.next_number(number);
    }
    taken
}
