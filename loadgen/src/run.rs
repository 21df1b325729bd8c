//! Runs the client threads of one measurement: pinning, a common start, progress, the end of time, and stalls.
//!
//! Knows no workload: a worker is a closure that publishes its counters and obeys `stop` and `abort`.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Doing, Result};
use crate::settings::{Amount, Settings};
use crate::system::{pin_current_thread, thread_cpu_ns};
use crate::units::short;

/// One thread's counters on their own cache lines, so that counting does not slow the neighbour.
#[derive(Default)]
#[repr(align(128))]
pub struct Counters {
    pub published: AtomicU64,
    pub delivered: AtomicU64,
}

/// What the threads of a run share.
pub struct Run {
    pub counters: Vec<Counters>,
    /// Time is up: publishers finish the message they are in and close their books.
    pub stop: AtomicBool,
    /// Give up at once: a stall, or a failure in another thread.
    pub abort: AtomicBool,
    /// All expected messages have arrived.
    pub complete: AtomicBool,
    /// Publishers whose books are not closed yet.
    pub publishers_left: AtomicUsize,
    /// Deliveries owed by closed publishers.
    pub expected: AtomicU64,
    /// Every time in this run is counted from here.
    pub epoch: Instant,
    start: Barrier,
    workers_left: AtomicUsize,
}

pub struct Finished<R> {
    pub reports: Vec<Result<R>>,
    pub client_cpu: Duration,
    /// When the common start was, counted from the epoch.
    pub started: Duration,
    pub stalled: bool,
}

impl Run {
    pub fn new(threads: usize, publishers: usize) -> Self {
        Self {
            counters: (0..threads).map(|_| Counters::default()).collect(),
            stop: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            publishers_left: AtomicUsize::new(publishers),
            expected: AtomicU64::new(0),
            epoch: Instant::now(),
            start: Barrier::new(threads + 1),
            workers_left: AtomicUsize::new(threads),
        }
    }

    pub fn delivered(&self) -> u64 {
        self.counters
            .iter()
            .map(|counters| counters.delivered.load(Relaxed))
            .sum()
    }

    fn published(&self) -> u64 {
        self.counters
            .iter()
            .map(|counters| counters.published.load(Relaxed))
            .sum()
    }

    /// Runs one thread per worker until all have returned.
    pub fn execute<W, R>(&self, settings: &Settings, workers: Vec<W>) -> Finished<R>
    where
        W: FnOnce(&Run, usize) -> Result<R> + Send,
        R: Send,
    {
        let watcher = &thread::current();
        thread::scope(|scope| {
            let threads: Vec<_> = workers
                .into_iter()
                .enumerate()
                .map(|(index, worker)| {
                    scope.spawn(move || {
                        let done = self.work(settings, index, worker);
                        watcher.unpark();
                        done
                    })
                })
                .collect();
            self.start.wait();
            let started = self.epoch.elapsed();
            let stalled = self.watch(settings);
            let mut reports = Vec::new();
            let mut client_cpu = Duration::ZERO;
            for thread in threads {
                let (report, cpu) = thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                reports.push(report);
                client_cpu += cpu;
            }
            Finished {
                reports,
                client_cpu,
                started,
                stalled,
            }
        })
    }

    fn work<W, R>(&self, settings: &Settings, index: usize, worker: W) -> (Result<R>, Duration)
    where
        W: FnOnce(&Run, usize) -> Result<R>,
    {
        let pinned = if settings.cpus.is_empty() {
            Ok(())
        } else {
            let cpu = settings.cpus[index % settings.cpus.len()];
            pin_current_thread(&[cpu])
                .doing(|| format!("pinning a client thread to processor {cpu}"))
        };
        self.start.wait();
        let cpu_before_ns = thread_cpu_ns();
        let report = pinned.and_then(|()| worker(self, index));
        let cpu = Duration::from_nanos(thread_cpu_ns() - cpu_before_ns);
        if report.is_err() {
            self.abort.store(true, Relaxed);
        }
        self.workers_left.fetch_sub(1, Relaxed);
        (report, cpu)
    }

    /// Watches from outside until the workers are done; says whether the run had to be given up.
    fn watch(&self, settings: &Settings) -> bool {
        const GLANCE: Duration = Duration::from_millis(20);
        const PROGRESS_LINE: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let mut line = (start, 0);
        let mut progress = (start, 0);
        while self.workers_left.load(Relaxed) > 0 {
            // Whoever is done wakes it: the end of a short run is part of its time.
            thread::park_timeout(GLANCE);
            let now = Instant::now();
            if let Amount::After(duration) = settings.amount
                && now - start >= duration
            {
                self.stop.store(true, Relaxed);
            }
            let (published, delivered) = (self.published(), self.delivered());
            if published + delivered != progress.1 {
                progress = (now, published + delivered);
            } else if now - progress.0 >= settings.stall_timeout {
                self.abort.store(true, Relaxed);
                return true;
            }
            if !settings.quiet && now - line.0 >= PROGRESS_LINE {
                let shown = if delivered > 0 { delivered } else { published };
                let per_second = (shown - line.1.min(shown)) as f64 / (now - line.0).as_secs_f64();
                eprintln!(
                    "{:>5.0} s  {:>9} messages  {:>9}/s",
                    (now - start).as_secs_f64(),
                    short(shown as f64),
                    short(per_second)
                );
                line = (now, shown);
            }
        }
        false
    }
}
