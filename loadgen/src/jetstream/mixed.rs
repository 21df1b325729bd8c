//! A long mixed load: every kind of retention, a bucket, watchers, consumers and streams that come and go, at a fixed
//! rate, while memory and files are looked at. What grows although nothing is kept shows here.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::failure::{Failure, Result};
use crate::jetstream::api::{Api, unique_inbox};
use crate::jetstream::args::{Keeping, MixedArgs};
use crate::jetstream::kv::{bucket, watch_config};
use crate::jetstream::publish::shape;
use crate::jetstream::publisher::{Publisher, Shape};
use crate::jetstream::reader::{Check, Reader, Reading, Source};
use crate::jetstream::role::{Role, drive};
use crate::payload::Layout;
use crate::process::Usage;
use crate::report::Outcome;
use crate::settings::Settings;
use crate::subjects::{NumberedSubjects, Subjects};
use crate::units::short;

pub const RSS_GROWTH: &str = "server RSS, last quarter / second quarter";
pub const FILES_GROWTH: &str = "store, last quarter / second quarter";
const SUBJECTS: u64 = 1_000;
const IN_FLIGHT: u64 = 1_000;
/// Each stream and, by subject, what keeps it from growing.
const STREAMS: [(&str, &str); 5] = [
    ("MIXED_LIMITS", "mixed.limits."),
    ("MIXED_AGE", "mixed.age."),
    ("MIXED_INTEREST", "mixed.interest."),
    ("MIXED_WORK", "mixed.work."),
    ("KV_MIXED", "$KV.MIXED.key"),
];

/// What was seen at one moment.
struct Sample {
    rss_bytes: u64,
    store_bytes: u64,
}

pub fn run(args: &MixedArgs, settings: &Settings) -> Result<Outcome> {
    let mut api = Api::open(&settings.target)?;
    make(&mut api, &args.keeping)?;
    let mut roles: Vec<Box<dyn Role>> = Vec::new();
    for (stream, consumer) in [
        ("MIXED_LIMITS", "L"),
        ("MIXED_INTEREST", "I1"),
        ("MIXED_INTEREST", "I2"),
        ("MIXED_WORK", "W"),
    ] {
        api.make_consumer(
            stream,
            &json!({"durable_name": consumer, "ack_policy": "explicit", "max_ack_pending": 10_000}),
        )?;
        let source = Source::Pull {
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            batch: 100,
            requests: 2,
        };
        roles.push(reader(source, true, settings)?);
    }
    let deliver_subject = unique_inbox("w");
    let source = Source::Push {
        deliver_subject: deliver_subject.clone(),
    };
    roles.push(reader(source, false, settings)?);
    api.make_consumer(
        "KV_MIXED",
        &watch_config("WATCH", "$KV.MIXED.>", &deliver_subject),
    )?;
    // Readers of the stream that is limited by age come and go; see `come_and_go`.
    for (index, ((_, prefix), fanout)) in STREAMS.iter().zip([1, 0, 2, 1, 1]).enumerate() {
        let shape = Shape {
            subjects: Subjects::Numbered(NumberedSubjects::new(prefix, SUBJECTS, true)),
            window: IN_FLIGHT,
            rate: Some(args.rate as f64),
            fanout,
            ..shape(settings, settings.quota(index, STREAMS.len()))
        };
        let target = settings.target.for_publishers();
        roles.push(Box::new(Publisher::connect(&target, 0, shape)?));
    }
    let over = AtomicBool::new(false);
    let (driven, samples, changes) = thread::scope(|scope| {
        let samples = scope.spawn(|| sample(args, settings, &over));
        let changes = scope.spawn(|| come_and_go(&args.keeping, settings, &over));
        let driven = drive("js-mixed", settings, roles, STREAMS.len());
        over.store(true, Relaxed);
        let panicked = |_| Err(Failure::usage("a thread of the load panicked"));
        (
            driven,
            samples.join().unwrap_or_else(panicked),
            changes
                .join()
                .unwrap_or_else(|_| Err(Failure::usage("a thread panicked"))),
        )
    });
    let (mut driven, samples, changes) = (driven?, samples?, changes?);
    let books = driven.close_books();
    let mut outcome = driven.outcome;
    outcome.set_latencies(books.latencies);
    outcome.add_metric("streams and consumers made and deleted", changes as f64, "");
    // Nobody has answered the server on the other connection meanwhile, which may be an hour.
    let mut api = Api::open(&settings.target)?;
    let work = api.stream("MIXED_WORK")?;
    if work.messages > IN_FLIGHT {
        outcome
            .failures
            .push(format!("the work queue is left with {work:?}"));
    }
    if let Some(growth) = growth(&samples, |sample| sample.rss_bytes) {
        outcome.add_metric(RSS_GROWTH, growth, "");
    }
    if let Some(growth) = growth(&samples, |sample| sample.store_bytes) {
        outcome.add_metric(FILES_GROWTH, growth, "");
    }
    for (stream, _) in STREAMS {
        api.delete_stream(stream)?;
    }
    Ok(outcome)
}

fn make(api: &mut Api, keeping: &Keeping) -> Result<()> {
    for (stream, prefix) in STREAMS {
        let subjects = format!("{prefix}>");
        let config = match stream {
            "KV_MIXED" => bucket(keeping, stream, "$KV.MIXED.>", 5),
            _ => keeping.stream(
                stream,
                &[&subjects],
                &match stream {
                    "MIXED_LIMITS" => json!({"max_msgs": 100_000, "max_msgs_per_subject": 200}),
                    "MIXED_AGE" => {
                        json!({"max_age": 10_000_000_000u64, "duplicate_window": 5_000_000_000u64})
                    }
                    "MIXED_INTEREST" => json!({"retention": "interest"}),
                    _ => json!({"retention": "workqueue"}),
                },
            ),
        };
        api.make_stream(&config)?;
    }
    Ok(())
}

fn reader(source: Source, acks: bool, settings: &Settings) -> Result<Box<dyn Role>> {
    let reading = Reading {
        source,
        acks,
        total: None,
        layout: Layout::new(settings.payload_bytes),
        check: Check::Rising,
    };
    Ok(Box::new(Reader::connect(&settings.target, reading)?))
}

/// Makes and deletes streams and consumers, purges and deletes messages, until the run is over.
fn come_and_go(keeping: &Keeping, settings: &Settings, over: &AtomicBool) -> Result<u64> {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut api = Api::open(&settings.target)?;
    let mut rounds = 0u64;
    while !over.load(Relaxed) {
        let stream = format!("MIXED_SHORT{}", rounds % 10);
        let subject = format!("mixed.short.{}", rounds % 10);
        api.make_stream(&keeping.stream(&stream, &[&subject], &json!({})))?;
        for _ in 0..10 {
            api.request(&subject, b"short")?;
        }
        let consumer = format!("SHORT{rounds}");
        api.make_consumer(
            "MIXED_AGE",
            &json!({"durable_name": consumer, "ack_policy": "explicit",
                "filter_subject": format!("mixed.age.{:06}", rounds % SUBJECTS)}),
        )?;
        let purge = json!({"filter": format!("mixed.limits.{:06}", rounds % SUBJECTS), "keep": 10});
        api.call("STREAM.PURGE.MIXED_LIMITS", &purge)?;
        api.call(&format!("STREAM.MSG.DELETE.{stream}"), &json!({"seq": 5}))?;
        api.delete_consumer("MIXED_AGE", &consumer)?;
        api.delete_stream(&stream)?;
        rounds += 1;
        thread::sleep(PAUSE);
    }
    Ok(2 * rounds)
}

fn sample(args: &MixedArgs, settings: &Settings, over: &AtomicBool) -> Result<Vec<Sample>> {
    const GLANCE: Duration = Duration::from_millis(100);
    let (start, mut next, mut samples) = (Instant::now(), Duration::ZERO, Vec::new());
    while !over.load(Relaxed) {
        thread::sleep(GLANCE);
        if start.elapsed() < next {
            continue;
        }
        next += args.every;
        let usage = settings.server_pid.map(Usage::read).transpose()?;
        let sample = Sample {
            rss_bytes: usage.map_or(0, |usage| usage.rss_bytes),
            store_bytes: args.server_store.as_deref().map_or(0, bytes_on_disk),
        };
        eprintln!(
            "{:>6.0} s  RSS {:>8.1} MiB  store {:>9.1} MiB  CPU {:>8} s",
            start.elapsed().as_secs_f64(),
            mib(sample.rss_bytes),
            mib(sample.store_bytes),
            short(usage.map_or(0.0, |usage| usage.cpu.as_secs_f64()))
        );
        samples.push(sample);
    }
    Ok(samples)
}

/// The largest value in the last quarter over the largest in the second: a level that is held stays near one.
fn growth(samples: &[Sample], value: fn(&Sample) -> u64) -> Option<f64> {
    let quarter = samples.len() / 4;
    if quarter == 0 {
        return None;
    }
    let largest = |samples: &[Sample]| samples.iter().map(value).max();
    let early = largest(&samples[quarter..2 * quarter])?;
    let late = largest(&samples[samples.len() - quarter..])?;
    (early > 0).then(|| late as f64 / early as f64)
}

/// What the files below a directory take; those that vanish meanwhile count nothing.
pub fn bytes_on_disk(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    const BLOCK_BYTES: u64 = 512;
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let mut bytes = 0;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        bytes += if metadata.is_dir() {
            bytes_on_disk(&entry.path())
        } else {
            metadata.blocks() * BLOCK_BYTES
        };
    }
    bytes
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
