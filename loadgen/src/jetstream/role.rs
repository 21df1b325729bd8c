//! What a connection does during a run, and the loop that lets the connections of a thread do it.
//!
//! A role reads, writes and keeps books; the loop knows sockets, sleep and time, but nothing of streams.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::failure::{Doing, Result};
use crate::jetstream::peer::Peer;
use crate::jetstream::seen::Seen;
use crate::latency::Latencies;
use crate::process::Usage;
use crate::report::Outcome;
use crate::run::Run;
use crate::settings::Settings;
use crate::system::{Epoll, Interest};

/// Passes without progress before the thread sleeps.
const SPIN_PASSES: u32 = 32;
/// Nobody with a clock of its own waits longer than this for its next message.
const SLEEP_MAX: Duration = Duration::from_millis(1);

/// One connection's part in a run.
pub trait Role: Send {
    fn peer(&self) -> &Peer;
    /// Reads and writes what can be read and written now; says whether that was anything.
    fn step(&mut self, moment: &Moment<'_>) -> Result<bool>;
    fn is_done(&self, run: &Run) -> bool;
    /// What counts as published and as delivered.
    fn counts(&self) -> (u64, u64);
    fn close(self: Box<Self>) -> Books;
}

pub struct Moment<'a> {
    pub run: &'a Run,
    /// Since the run's epoch.
    pub now_ns: u64,
    /// Time is up for those who publish.
    pub stopping: bool,
}

impl Moment<'_> {
    /// The time of what arrives, read once it has: a thread may lose its processor between the pass's begin and then.
    pub fn arrival(&self) -> Arrival<'_> {
        Arrival {
            run: self.run,
            at_ns: None,
        }
    }
}

/// When the messages of one pass arrived.
pub struct Arrival<'a> {
    run: &'a Run,
    at_ns: Option<u64>,
}

impl Arrival<'_> {
    pub fn since(&mut self, sent_ns: u64) -> u64 {
        let run = self.run;
        let at_ns = *self
            .at_ns
            .get_or_insert_with(|| run.epoch.elapsed().as_nanos() as u64);
        at_ns.saturating_sub(sent_ns)
    }
}

/// What a role found out.
#[derive(Default)]
pub struct Books {
    /// Messages that the server has acknowledged (or requests it has answered).
    pub acked: u64,
    pub duplicates: u64,
    pub errors: u64,
    pub delivered: u64,
    /// Stream sequences that were acknowledged to a publisher.
    pub stored: Seen,
    /// Stream sequences that were delivered to a reader.
    pub seen: Seen,
    pub latencies: Latencies,
    /// What the server did wrong, in words.
    pub faults: Faults,
}

/// A few of the things that went wrong, and how many there were.
#[derive(Default)]
pub struct Faults {
    texts: Vec<String>,
    total: u64,
}

impl Faults {
    #[cold]
    pub fn add(&mut self, text: impl FnOnce() -> String) {
        const TEXTS_MAX: usize = 3;
        self.total += 1;
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(text());
        }
    }

    pub fn into_failures(mut self) -> Vec<String> {
        let more = self.total - self.texts.len() as u64;
        if more > 0 {
            self.texts.push(format!("and {more} more of these"));
        }
        self.texts
    }
}

/// A run that is over but for its last checks.
pub struct Driven {
    pub outcome: Outcome,
    pub books: Vec<Books>,
    started: Instant,
    usage_before: Option<Usage>,
    server_pid: Option<u32>,
}

impl Driven {
    /// All books as one; what went wrong goes into the outcome.
    pub fn close_books(&mut self) -> Books {
        let mut total = Books::default();
        for books in self.books.drain(..) {
            total.acked += books.acked;
            total.duplicates += books.duplicates;
            total.errors += books.errors;
            total.delivered += books.delivered;
            total.stored.join(&books.stored);
            total.seen.join(&books.seen);
            total.latencies.add(&books.latencies);
            self.outcome.failures.extend(books.faults.into_failures());
        }
        self.outcome
            .count(total.acked, total.delivered, self.elapsed());
        total
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs_f64(self.outcome.elapsed_seconds)
    }

    /// Counts the time until now, for a run whose end is something that was asked for after it.
    pub fn ends_now(&mut self) -> Result<()> {
        self.outcome.elapsed_seconds = self.started.elapsed().as_secs_f64();
        self.read_usage()
    }

    fn read_usage(&mut self) -> Result<()> {
        if let (Some(before), Some(pid)) = (self.usage_before, self.server_pid) {
            let after = Usage::read(pid)?;
            self.outcome.server_cpu_seconds =
                Some(after.cpu.saturating_sub(before.cpu).as_secs_f64());
            self.outcome.server_rss_peak_bytes = Some(after.rss_peak_bytes);
        }
        Ok(())
    }

    pub fn must_hold(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.outcome.failures.push(otherwise());
        }
    }
}

/// Lets all roles work until they are done. `publishers` of them end the run's publishing when they close.
pub fn drive(
    name: &str,
    settings: &Settings,
    roles: Vec<Box<dyn Role>>,
    publishers: usize,
) -> Result<Driven> {
    let threads = settings.threads.clamp(1, roles.len().max(1));
    let mut workers: Vec<Vec<Box<dyn Role>>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, role) in roles.into_iter().enumerate() {
        workers[index % threads].push(role);
    }
    let run = Run::new(threads, publishers);
    let usage_before = settings.server_pid.map(Usage::read).transpose()?;
    let busy = settings.busy;
    let workers: Vec<_> = workers
        .into_iter()
        .map(|roles| move |run: &Run, thread: usize| work(roles, run, thread, busy))
        .collect();
    let finished = run.execute(settings, workers);

    let mut outcome = Outcome::new(name, settings.payload_bytes);
    outcome.client_cpu_seconds = finished.client_cpu.as_secs_f64();
    if finished.stalled {
        outcome.failures.push(format!(
            "no progress for {:.0} s",
            settings.stall_timeout.as_secs_f64()
        ));
    }
    let (mut books, mut last_progress) = (Vec::new(), finished.started);
    for report in finished.reports {
        match report {
            Ok((thread_books, progress)) => {
                books.extend(thread_books);
                last_progress = last_progress.max(progress);
            }
            Err(failure) => outcome.failures.push(failure.to_string()),
        }
    }
    outcome.elapsed_seconds = (last_progress - finished.started).as_secs_f64();
    let mut driven = Driven {
        outcome,
        books,
        started: run.epoch + finished.started,
        usage_before,
        server_pid: settings.server_pid,
    };
    driven.read_usage()?;
    Ok(driven)
}

fn work(
    mut roles: Vec<Box<dyn Role>>,
    run: &Run,
    thread: usize,
    busy: bool,
) -> Result<(Vec<Books>, Duration)> {
    let watching = || "watching sockets".to_owned();
    let mut epoll = Epoll::new().doing(watching)?;
    let mut blocked = vec![false; roles.len()];
    for (index, role) in roles.iter().enumerate() {
        epoll
            .add(role.peer().socket(), index, Interest::Readable)
            .doing(watching)?;
    }
    let counters = &run.counters[thread];
    let (mut last_progress, mut idle_passes) = (run.epoch.elapsed(), 0);
    while !run.abort.load(Relaxed) && !roles.iter().all(|role| role.is_done(run)) {
        let now = run.epoch.elapsed();
        let moment = Moment {
            run,
            now_ns: now.as_nanos() as u64,
            stopping: run.stop.load(Relaxed),
        };
        let (mut progress, mut published, mut delivered) = (false, 0, 0);
        for role in &mut roles {
            progress |= role.step(&moment)?;
            let counts = role.counts();
            published += counts.0;
            delivered += counts.1;
        }
        counters.published.store(published, Relaxed);
        counters.delivered.store(delivered, Relaxed);
        if progress {
            idle_passes = 0;
            last_progress = run.epoch.elapsed();
            continue;
        }
        idle_passes += 1;
        if busy || idle_passes <= SPIN_PASSES {
            continue;
        }
        for (index, role) in roles.iter().enumerate() {
            let unsent = role.peer().unsent_bytes() > 0;
            if unsent != blocked[index] {
                blocked[index] = unsent;
                let interest = if unsent {
                    Interest::ReadableOrWritable
                } else {
                    Interest::Readable
                };
                epoll
                    .change(role.peer().socket(), index, interest)
                    .doing(watching)?;
            }
        }
        epoll
            .wait(SLEEP_MAX, |_| {})
            .doing(|| "sleeping on sockets".to_owned())?;
    }
    Ok((
        roles.into_iter().map(|role| role.close()).collect(),
        last_progress,
    ))
}
