//! Open-loop load: messages are due at times fixed beforehand, and latency counts from when a message was due.
//!
//! A server (or this client) that falls behind so pays for every message it holds up: no coordinated omission. One
//! schedule per thread is dealt out over its publishers, which for random spacing is the same as one schedule each.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::Duration;

use crate::failure::{Doing, Failure, Result};
use crate::latency::Latencies;
use crate::link::{INBOX_BYTES_LARGE, Link, send_some};
use crate::payload::{
    Layout, PUBLISHERS_MAX, TIMED_PAYLOAD_BYTES_MIN, filler, read_time, write_time,
};
use crate::process::Usage;
use crate::report::Outcome;
use crate::run::Run;
use crate::settings::Settings;
use crate::system::{Epoll, Interest};
use crate::verify::{Check, Faults, Tracker};
use crate::wire::{ServerOp, encode_publish_line, printable};

#[derive(Clone, Copy, Debug)]
pub struct OpenLoop {
    /// Messages per second over all publishers.
    pub rate: f64,
    pub publishers: usize,
    pub subscribers: usize,
    /// Random distances with the same mean instead of equal ones.
    pub poisson: bool,
    /// One `send` per message even if several are due, so that a late client does not spare the server work.
    pub single_sends: bool,
}

const SID: u64 = 1;
/// A publisher with this much unsent has a server that does not take the rate.
const UNSENT_BYTES_MAX: usize = 256 << 20;
/// Below this the thread spins towards the next message, above it sleeps: a wake-up takes tens of µs.
const SLEEP_MIN: Duration = Duration::from_millis(2);
const PUBLISHER_READ_INTERVAL_NS: u64 = 100_000_000;

/// Publisher `i` writes to subject `i mod subscribers`, so each message is delivered once.
pub fn run(name: &str, load: OpenLoop, settings: &Settings) -> Result<Outcome> {
    if settings.payload_bytes < TIMED_PAYLOAD_BYTES_MIN {
        return Err(Failure::usage(format!(
            "timed messages need --size {TIMED_PAYLOAD_BYTES_MIN} or more"
        )));
    }
    if load.publishers == 0
        || load.subscribers == 0
        || load.publishers > PUBLISHERS_MAX
        || load.rate <= 0.0
    {
        return Err(Failure::usage(
            "publishers, subscribers and rate must be above zero (publishers at most 65536)",
        ));
    }
    let workers = connect(load, settings)?;
    let run = Run::new(
        workers.len(),
        workers
            .iter()
            .filter(|worker| !worker.publishers.is_empty())
            .count(),
    );
    let usage_before = settings.server_pid.map(Usage::read);
    let workers = workers
        .into_iter()
        .map(|worker| move |run: &Run, thread| worker.run(run, thread))
        .collect();
    let finished = run.execute(settings, workers);
    let usage_after = settings.server_pid.map(Usage::read);

    let mut outcome = Outcome::new(name, settings.payload_bytes);
    outcome.client_cpu_seconds = finished.client_cpu.as_secs_f64();
    let mut latencies = Latencies::default();
    let mut published_by = vec![0; load.publishers];
    let (mut trackers, mut last_progress, mut all_reported) = (Vec::new(), Duration::ZERO, true);
    for report in finished.reports {
        match report {
            Ok(report) => {
                latencies.add(&report.latencies);
                report
                    .published
                    .into_iter()
                    .for_each(|(publisher, published)| published_by[publisher] = published);
                trackers.extend(report.trackers);
                last_progress = last_progress.max(report.last_progress);
            }
            Err(failure) => {
                all_reported = false;
                outcome.failures.push(failure.to_string());
            }
        }
    }
    let mut faults = Faults::default();
    for (subscriber, tracker) in &mut trackers {
        let mine = |publisher: u64| publisher as usize % load.subscribers == *subscriber;
        faults += tracker.finish(|publisher| {
            if mine(publisher) {
                published_by[publisher as usize]
            } else {
                0
            }
        });
    }
    if all_reported && !faults.is_clean() {
        outcome.failures.push(format!("messages {faults}"));
    }
    let published: u64 = published_by.iter().sum();
    outcome.count(
        published,
        latencies.samples(),
        last_progress.saturating_sub(finished.started),
    );
    outcome.add_metric("rate asked for", load.rate, "messages/s");
    if let (Some(Ok(before)), Some(Ok(after))) = (usage_before, usage_after) {
        let seconds = (after.cpu - before.cpu).as_secs_f64();
        outcome.server_cpu_seconds = Some(seconds);
        outcome.add_metric(
            CPU_PER_MESSAGES,
            seconds * 1e5 / published.max(1) as f64,
            "s",
        );
    }
    outcome.set_latencies(latencies);
    Ok(outcome)
}

/// The metric by which `sparse` is compared.
pub const CPU_PER_MESSAGES: &str = "server CPU per 100k messages";

struct Worker {
    load: OpenLoop,
    layout: Layout,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// Nanoseconds between two messages of this thread, in the mean.
    interval_ns: f64,
    quota: Option<u64>,
    random: u64,
    busy: bool,
}

struct Publisher {
    link: Link,
    id: usize,
    message: Vec<u8>,
    payload_offset: usize,
    sequence: u64,
    unsent: Vec<u8>,
}

struct Subscriber {
    link: Link,
    index: usize,
    tracker: Tracker,
}

struct Report {
    published: Vec<(usize, u64)>,
    trackers: Vec<(usize, Tracker)>,
    latencies: Latencies,
    last_progress: Duration,
}

fn connect(load: OpenLoop, settings: &Settings) -> Result<Vec<Worker>> {
    let layout = Layout::new(settings.payload_bytes);
    let threads = settings.threads.max(1);
    let publishing_threads = threads.min(load.publishers);
    let mut workers: Vec<Worker> = (0..threads)
        .map(|thread| Worker {
            load,
            layout,
            publishers: Vec::new(),
            subscribers: Vec::new(),
            interval_ns: 1e9 * publishing_threads as f64 / load.rate,
            quota: settings.quota(thread, publishing_threads),
            random: 0x9e37_79b9_7f4a_7c15 ^ (thread as u64 + 1),
            busy: settings.busy,
        })
        .collect();
    for index in 0..load.subscribers {
        let mut link = Link::open(&settings.target)?;
        link.subscribe(&subject(index), None, SID)?;
        link.barrier()?;
        link.go_nonblocking()?;
        link.inbox.reserve(INBOX_BYTES_LARGE);
        let tracker = Tracker::new(layout, Check::EveryMessage, 0, load.publishers);
        workers[(index + 1) % threads].subscribers.push(Subscriber {
            link,
            index,
            tracker,
        });
    }
    for id in 0..load.publishers {
        let mut link = Link::open(&settings.target.for_publishers())?;
        link.go_nonblocking()?;
        let mut message = Vec::new();
        encode_publish_line(
            &mut message,
            subject(id % load.subscribers).as_bytes(),
            None,
            layout.payload_bytes,
        );
        let payload_offset = message.len();
        message.extend_from_slice(&filler(layout.payload_bytes));
        message.extend_from_slice(b"\r\n");
        let publisher = Publisher {
            link,
            id,
            message,
            payload_offset,
            sequence: 0,
            unsent: Vec::new(),
        };
        workers[id % threads].publishers.push(publisher);
    }
    Ok(workers)
}

fn subject(index: usize) -> String {
    format!("load.s.{index:06}")
}

impl Worker {
    fn run(mut self, run: &Run, thread: usize) -> Result<Report> {
        let counters = &run.counters[thread];
        let mut epoll = self
            .watch_sockets()
            .doing(|| "watching sockets".to_owned())?;
        let mut latencies = Latencies::default();
        let now_ns = || run.epoch.elapsed().as_nanos() as u64;
        let mut due_ns = now_ns() as f64;
        let mut published = 0;
        let mut next_publisher = 0;
        let mut publishing = !self.publishers.is_empty();
        let mut publishers_read_ns = 0;
        let mut last_progress = run.epoch.elapsed();
        let mut dirty: Vec<usize> = Vec::new();
        while !run.abort.load(Relaxed) {
            let now = now_ns();
            let over = run.stop.load(Relaxed) || self.quota.is_some_and(|quota| published >= quota);
            while publishing
                && !over
                && due_ns <= now as f64
                && self.quota.is_none_or(|quota| published < quota)
            {
                let publisher = &mut self.publishers[next_publisher];
                publisher.enqueue(&self.layout, due_ns as u64)?;
                let sent = self.load.single_sends && publisher.flush()?;
                if !sent && dirty.last() != Some(&next_publisher) {
                    dirty.push(next_publisher);
                }
                published += 1;
                next_publisher = (next_publisher + 1) % self.publishers.len();
                due_ns += self.gap_ns();
            }
            for index in std::mem::take(&mut dirty) {
                if !self.publishers[index].flush()? {
                    dirty.push(index);
                }
            }
            dirty.sort_unstable();
            dirty.dedup();
            if publishing && over && dirty.is_empty() {
                publishing = false;
                run.expected.fetch_add(published, Relaxed);
                run.publishers_left.fetch_sub(1, AcqRel);
            }
            counters.published.store(published, Relaxed);
            let mut received = false;
            for subscriber in &mut self.subscribers {
                received |= subscriber.receive(&self.layout, &mut latencies, now_ns)?;
            }
            if received {
                last_progress = run.epoch.elapsed();
                counters.delivered.store(latencies.samples(), Relaxed);
            }
            if run.publishers_left.load(Acquire) == 0
                && run.delivered() >= run.expected.load(Relaxed)
            {
                break;
            }
            if now - publishers_read_ns > PUBLISHER_READ_INTERVAL_NS {
                publishers_read_ns = now;
                self.publishers.iter_mut().try_for_each(Publisher::pull)?;
            }
            let until_due = Duration::from_nanos((due_ns as u64).saturating_sub(now_ns()));
            if !self.busy && !received && dirty.is_empty() && (until_due > SLEEP_MIN || !publishing)
            {
                let sleep = if publishing {
                    until_due - SLEEP_MIN / 2
                } else {
                    SLEEP_MIN
                };
                epoll
                    .wait(sleep, |_| {})
                    .doing(|| "sleeping on sockets".to_owned())?;
            }
        }
        Ok(Report {
            published: self
                .publishers
                .iter()
                .map(|publisher| (publisher.id, publisher.sequence))
                .collect(),
            trackers: self
                .subscribers
                .into_iter()
                .map(|subscriber| (subscriber.index, subscriber.tracker))
                .collect(),
            latencies,
            last_progress,
        })
    }

    /// The distance to the next message: equal, or exponentially distributed.
    fn gap_ns(&mut self) -> f64 {
        if !self.load.poisson {
            return self.interval_ns;
        }
        // xorshift: the sequence is the same in every run, so two servers get the same load.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let uniform = (self.random >> 11) as f64 / (1u64 << 53) as f64;
        -self.interval_ns * (1.0 - uniform).ln()
    }

    fn watch_sockets(&self) -> std::io::Result<Epoll> {
        let epoll = Epoll::new()?;
        for subscriber in &self.subscribers {
            epoll.add(
                &subscriber.link.stream,
                subscriber.index,
                Interest::Readable,
            )?;
        }
        Ok(epoll)
    }
}

impl Publisher {
    fn enqueue(&mut self, layout: &Layout, due_ns: u64) -> Result<()> {
        let payload = &mut self.message[self.payload_offset..];
        layout.write(payload, layout.word(self.id as u64, self.sequence));
        write_time(payload, due_ns);
        self.sequence += 1;
        if self.unsent.len() > UNSENT_BYTES_MAX {
            return Err(Failure::server(
                "does not take the rate: 256 MiB wait to be sent on one connection",
            ));
        }
        self.unsent.extend_from_slice(&self.message);
        Ok(())
    }

    /// Sends what the socket takes; `true` if that was all.
    fn flush(&mut self) -> Result<bool> {
        if !self.unsent.is_empty() {
            let sent = send_some(&mut self.link.stream, &self.unsent)?;
            self.unsent.drain(..sent);
        }
        let stream = &mut self.link.stream;
        if self.unsent.is_empty() && !stream.is_flushed() {
            send_some(stream, &[])?;
        }
        Ok(self.unsent.is_empty() && self.link.stream.is_flushed())
    }

    fn pull(&mut self) -> Result<()> {
        if self.link.inbox.fill(&mut self.link.stream)? == 0 {
            return Ok(());
        }
        let unsent = &mut self.unsent;
        self.link.inbox.drain(|op| answer(&op, unsent))?;
        self.flush().map(|_| ())
    }
}

impl Subscriber {
    fn receive(
        &mut self,
        layout: &Layout,
        latencies: &mut Latencies,
        now_ns: impl Fn() -> u64,
    ) -> Result<bool> {
        if self.link.inbox.fill(&mut self.link.stream)? == 0 {
            return Ok(false);
        }
        let (now, tracker) = (now_ns(), &mut self.tracker);
        let mut control = Vec::new();
        self.link.inbox.drain(|op| {
            match op {
                ServerOp::Message(message) if message.payload.len() == layout.payload_bytes => {
                    tracker.accept(message.payload);
                    latencies.record(now.saturating_sub(read_time(message.payload).unwrap_or(now)));
                }
                ServerOp::Message(_) => tracker.faults.altered += 1,
                other => answer(&other, &mut control)?,
            }
            Ok(())
        })?;
        if !control.is_empty() {
            self.link.write(&control)?;
        }
        Ok(true)
    }
}

fn answer(op: &ServerOp<'_>, out: &mut Vec<u8>) -> Result<()> {
    match op {
        ServerOp::Ping => out.extend_from_slice(b"PONG\r\n"),
        ServerOp::Error(text) => {
            return Err(Failure::server(format!("sent -ERR {}", printable(text))));
        }
        ServerOp::Pong | ServerOp::Info(_) | ServerOp::Ok | ServerOp::Message(_) => {}
    }
    Ok(())
}
