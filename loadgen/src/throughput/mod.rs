//! Throughput runs: publishers send as fast as their sockets take it, subscribers check every message.
//!
//! A `Plan` says who publishes and who listens; this module connects everybody, spreads the connections over the client
//! threads, and turns the workers' reports into an outcome. Cost per 16-byte message of the client itself: one 8-byte
//! store to publish; one compare of about 25 bytes and one of 8 to receive; the rest is the kernel copying bytes.

mod publisher;
mod subscriber;
mod worker;

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use crate::expectation::Expectation;
use crate::failure::{Failure, Result};
use crate::link::{INBOX_BYTES_LARGE, Link, Target};
use crate::payload::{Layout, PUBLISHERS_MAX};
use crate::process::Usage;
use crate::report::Outcome;
use crate::run::Run;
use crate::settings::Settings;
use crate::stream::Stream;
use crate::subjects::Subjects;
use crate::throughput::publisher::Publisher;
use crate::throughput::subscriber::Subscriber;
use crate::throughput::worker::{Report, Worker};
use crate::verify::{Check, Faults, Tracker, finish_group};

pub struct Plan {
    pub publishers: Vec<PublisherPlan>,
    pub subscribers: Vec<SubscriberPlan>,
    /// Subscriptions on connections that are never read.
    pub mute_subjects: Vec<String>,
}

pub struct PublisherPlan {
    pub subjects: Subjects,
    /// Loads the server until the others are done; nothing is expected of it.
    pub background: bool,
}

pub struct SubscriberPlan {
    pub filter: String,
    pub queue_group: Option<String>,
    /// What the messages received will carry as subject.
    pub subjects: Subjects,
    /// The publishers heard: so many, with consecutive ids from the first.
    pub first_publisher: usize,
    pub publishers: usize,
}

const SID: u64 = 1;

/// Runs a plan. A server that loses, copies or reorders messages shows in the outcome's failures.
pub fn run(name: &str, plan: &Plan, settings: &Settings) -> Result<Outcome> {
    if plan.publishers.len() > PUBLISHERS_MAX {
        return Err(Failure::usage(format!(
            "at most {PUBLISHERS_MAX} publishers can be told apart"
        )));
    }
    let mute = connect_mute(plan, &settings.target)?;
    let workers = connect(plan, settings)?;
    let foreground = plan
        .publishers
        .iter()
        .filter(|publisher| !publisher.background)
        .count();
    let run = Run::new(workers.len(), foreground);
    let usage_before = settings.server_pid.map(Usage::read);
    let workers = workers
        .into_iter()
        .map(|worker| move |run: &Run, thread| worker.run(run, thread))
        .collect();
    let finished = run.execute(settings, workers);
    let usage_after = settings.server_pid.map(Usage::read);

    let mut outcome = Outcome::new(name, settings.payload_bytes);
    outcome.client_cpu_seconds = finished.client_cpu.as_secs_f64();
    if let (Some(Ok(before)), Some(Ok(after))) = (usage_before, usage_after) {
        outcome.server_cpu_seconds = Some((after.cpu - before.cpu).as_secs_f64());
        outcome.server_rss_peak_bytes = Some(after.rss_peak_bytes);
    }
    if finished.stalled {
        outcome.failures.push(format!(
            "no progress for {:.0} s",
            settings.stall_timeout.as_secs_f64()
        ));
    }
    let mut reports = Vec::new();
    for report in finished.reports {
        match report {
            Ok(report) => reports.push(report),
            Err(failure) => outcome.failures.push(failure.to_string()),
        }
    }
    outcome.notes.extend(
        reports
            .iter()
            .flat_map(|report| report.notes.iter().cloned()),
    );
    let last_progress = reports
        .iter()
        .map(|report| report.last_progress)
        .max()
        .unwrap_or_default();
    let elapsed = last_progress.saturating_sub(finished.started);
    let threads_all_reported = reports.len() == run.counters.len();
    let (published, delivered, faults) = close_books(plan, reports);
    outcome.count(published, delivered, elapsed);
    // Books of a thread that failed are gone, and what the others miss is its doing.
    if threads_all_reported && !faults.is_clean() {
        outcome.failures.push(format!("messages {faults}"));
    }
    for stream in mute {
        let end = if was_disconnected(stream) {
            "was disconnected by the server"
        } else {
            "is still connected"
        };
        outcome
            .notes
            .push(format!("the never-reading subscriber {end}"));
    }
    Ok(outcome)
}

/// Totals, and what was wrong: published (without background), delivered, faults.
fn close_books(plan: &Plan, reports: Vec<Report>) -> (u64, u64, Faults) {
    let mut published_by = vec![0; plan.publishers.len()];
    let mut trackers: Vec<Option<Tracker>> = plan.subscribers.iter().map(|_| None).collect();
    for report in reports {
        for (publisher, published) in report.published {
            published_by[publisher] = published;
        }
        for (index, tracker) in report.trackers {
            trackers[index] = Some(tracker);
        }
    }
    let published_of = |publisher: u64| published_by[publisher as usize];
    let delivered = trackers.iter().flatten().map(Tracker::received).sum();
    let mut faults = Faults::default();
    let (grouped, single): (Vec<_>, Vec<_>) = plan
        .subscribers
        .iter()
        .zip(&mut trackers)
        .filter_map(|(plan, tracker)| tracker.as_mut().map(|tracker| (plan, tracker)))
        .partition(|(plan, _)| plan.queue_group.is_some());
    for (_, tracker) in single {
        faults += tracker.finish(published_of);
    }
    let mut members: Vec<&mut Tracker> = grouped.into_iter().map(|(_, tracker)| tracker).collect();
    faults += finish_group(&mut members, published_of);
    let foreground = plan
        .publishers
        .iter()
        .zip(&published_by)
        .filter(|(plan, _)| !plan.background);
    (
        foreground.map(|(_, published)| published).sum(),
        delivered,
        faults,
    )
}

fn connect_mute(plan: &Plan, target: &Target) -> Result<Vec<Stream>> {
    let mut streams = Vec::new();
    for subject in &plan.mute_subjects {
        let mut link = Link::open(target)?;
        link.subscribe(subject, None, SID)?;
        link.barrier()?;
        streams.push(link.stream);
    }
    Ok(streams)
}

/// Whether the server has closed a connection that was never read. Its end stands behind all unread bytes, so read them.
fn was_disconnected(mut stream: Stream) -> bool {
    const SILENCE_MAX: Duration = Duration::from_millis(500);
    const DRAIN_MAX: Duration = Duration::from_secs(5);
    if stream.set_read_timeout(Some(SILENCE_MAX)).is_err() {
        return true;
    }
    let mut unread = vec![0; INBOX_BYTES_LARGE];
    let deadline = Instant::now() + DRAIN_MAX;
    while Instant::now() < deadline {
        match stream.read(&mut unread) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
    false
}

/// Connects subscribers, waits until the server knows all subscriptions, connects publishers, deals them out to threads.
fn connect(plan: &Plan, settings: &Settings) -> Result<Vec<Worker>> {
    let layout = Layout::new(settings.payload_bytes);
    let threads = settings.threads.max(1);
    let fanout = fanout(plan);
    let mut workers: Vec<Worker> = (0..threads)
        .map(|_| Worker {
            publishers: Vec::new(),
            subscribers: Vec::new(),
            fanout: fanout.clone(),
            busy: settings.busy,
        })
        .collect();
    for (index, subscriber) in plan.subscribers.iter().enumerate() {
        let mut link = Link::open(&settings.target)?;
        link.subscribe(&subscriber.filter, subscriber.queue_group.as_deref(), SID)?;
        link.barrier()?;
        link.go_nonblocking()?;
        let check = if subscriber.queue_group.is_some() {
            Check::SharedWithGroup
        } else {
            Check::EveryMessage
        };
        let tracker = Tracker::new(
            layout,
            check,
            subscriber.first_publisher as u64,
            subscriber.publishers,
        );
        let expectation = Expectation::new(&subscriber.subjects, SID, &layout);
        // With several threads a subscriber sits on another one than its publisher.
        let home = &mut workers[(index + 1) % threads];
        home.subscribers
            .push(Subscriber::new(link, index, expectation, tracker, layout));
    }
    let foreground = plan
        .publishers
        .iter()
        .filter(|publisher| !publisher.background)
        .count();
    for (id, publisher) in plan.publishers.iter().enumerate() {
        let mut link = Link::open(&settings.target.for_publishers())?;
        if link.info.max_payload > 0 && settings.payload_bytes > link.info.max_payload {
            return Err(Failure::usage(format!(
                "the server takes payloads of at most {} bytes",
                link.info.max_payload
            )));
        }
        link.go_nonblocking()?;
        let quota = if publisher.background {
            None
        } else {
            settings.quota(id, foreground)
        };
        let publisher = Publisher::new(
            link,
            id,
            &publisher.subjects,
            layout,
            quota,
            publisher.background,
        );
        workers[id % threads].publishers.push(publisher);
    }
    Ok(workers)
}

/// For each publisher, how many deliveries a message is owed: one per subscriber, and one per queue group.
fn fanout(plan: &Plan) -> Vec<u64> {
    let mut fanout = vec![0; plan.publishers.len()];
    let mut groups_seen: Vec<&str> = Vec::new();
    for subscriber in &plan.subscribers {
        if let Some(group) = &subscriber.queue_group {
            if groups_seen.contains(&group.as_str()) {
                continue;
            }
            groups_seen.push(group);
        }
        let last = subscriber.first_publisher + subscriber.publishers;
        fanout[subscriber.first_publisher..last]
            .iter_mut()
            .for_each(|owed| *owed += 1);
    }
    fanout
}
