//! The event loop of one client thread: a send per publisher, a recv per subscriber, and sleep when neither moves.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::{Duration, Instant};

use crate::failure::{Doing, Result};
use crate::run::Run;
use crate::system::{Epoll, Interest};
use crate::throughput::publisher::Publisher;
use crate::throughput::subscriber::Subscriber;
use crate::verify::Tracker;

/// Passes without progress before the thread sleeps; each is a few failing system calls, together about 20 µs.
const SPIN_PASSES: u32 = 32;
/// Publishers are seldom spoken to: every so many passes is often enough for PING and -ERR.
const PASSES_PER_PUBLISHER_READ: u32 = 16;
const SLEEP_MAX: Duration = Duration::from_millis(20);
/// How long the last PONGs of subscribers may take.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Worker {
    pub publishers: Vec<Publisher>,
    pub subscribers: Vec<Subscriber>,
    /// Deliveries that one message of a publisher (by id) is owed.
    pub fanout: Vec<u64>,
    pub busy: bool,
}

pub struct Report {
    /// Publisher id and how many messages it sent.
    pub published: Vec<(usize, u64)>,
    /// Plan entry and books of each subscriber.
    pub trackers: Vec<(usize, Tracker)>,
    /// When the last message, or without subscribers the last PONG, came; counted from the epoch.
    pub last_progress: Duration,
    pub notes: Vec<String>,
}

impl Worker {
    pub fn run(mut self, run: &Run, thread: usize) -> Result<Report> {
        let mut epoll = self
            .watch_sockets()
            .doing(|| "watching sockets".to_owned())?;
        let counters = &run.counters[thread];
        let mut last_progress = run.epoch.elapsed();
        let mut notes = Vec::new();
        let mut idle_passes = 0;
        let mut pass = 0u32;
        while !run.abort.load(Relaxed) && !run.complete.load(Acquire) {
            pass = pass.wrapping_add(1);
            let stopping = run.stop.load(Relaxed);
            let read_publishers = idle_passes > 0 || pass.is_multiple_of(PASSES_PER_PUBLISHER_READ);
            let mut progress = self.publish(
                run,
                stopping,
                read_publishers,
                &epoll,
                &mut last_progress,
                &mut notes,
            )?;
            let mut received = 0;
            for subscriber in &mut self.subscribers {
                received += subscriber.receive()?;
            }
            if received > 0 {
                progress = true;
                last_progress = run.epoch.elapsed();
                counters.delivered.store(self.delivered(), Relaxed);
            }
            counters.published.store(
                self.publishers.iter().map(Publisher::published).sum(),
                Relaxed,
            );
            if run.publishers_left.load(Acquire) == 0
                && run.delivered() >= run.expected.load(Relaxed)
            {
                break;
            }
            if progress {
                idle_passes = 0;
            } else {
                idle_passes += 1;
                if !self.busy && idle_passes > SPIN_PASSES {
                    epoll
                        .wait(SLEEP_MAX, |_| {})
                        .doing(|| "sleeping on sockets".to_owned())?;
                }
            }
        }
        run.complete.store(true, Relaxed);
        if !run.abort.load(Relaxed) {
            self.close_subscribers()?;
        }
        counters.delivered.store(self.delivered(), Relaxed);
        Ok(Report {
            published: self
                .publishers
                .iter()
                .map(|publisher| (publisher.id, publisher.published()))
                .collect(),
            trackers: self
                .subscribers
                .into_iter()
                .map(|subscriber| (subscriber.index, subscriber.tracker))
                .collect(),
            last_progress,
            notes,
        })
    }

    /// Publishes everywhere; says whether any socket took bytes.
    fn publish(
        &mut self,
        run: &Run,
        stopping: bool,
        read: bool,
        epoll: &Epoll,
        last_progress: &mut Duration,
        notes: &mut Vec<String>,
    ) -> Result<bool> {
        let mut progress = false;
        let mut refused = None;
        let alone = self.subscribers.is_empty();
        for (index, publisher) in self
            .publishers
            .iter_mut()
            .enumerate()
            .filter(|(_, publisher)| !publisher.is_closed())
        {
            let outcome = publisher.push(stopping).and_then(|sent| {
                progress |= sent > 0;
                if read || publisher.is_closing() {
                    publisher.pull()
                } else {
                    Ok(false)
                }
            });
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    let owed = publisher.published() * self.fanout[publisher.id];
                    if !publisher.background {
                        run.expected.fetch_add(owed, Relaxed);
                        run.publishers_left.fetch_sub(1, AcqRel);
                    }
                    if alone {
                        *last_progress = run.epoch.elapsed();
                    }
                    epoll
                        .change(&publisher.link.stream, index, Interest::Readable)
                        .doing(|| "watching sockets".to_owned())?;
                }
                Err(failure) if publisher.background => refused = Some((index, failure)),
                Err(failure) => return Err(failure),
            }
        }
        if let Some((index, failure)) = refused {
            notes.push(format!("background publisher: {failure}"));
            self.publishers.swap_remove(index);
        }
        Ok(progress)
    }

    /// Waits for a PONG on every subscriber: what arrives before it was sent too often.
    fn close_subscribers(&mut self) -> Result<()> {
        let deadline = Instant::now() + CLOSING_TIMEOUT;
        self.subscribers.iter_mut().for_each(Subscriber::ask);
        while self
            .subscribers
            .iter()
            .any(|subscriber| !subscriber.answered())
            && Instant::now() < deadline
        {
            for subscriber in self
                .subscribers
                .iter_mut()
                .filter(|subscriber| !subscriber.answered())
            {
                subscriber.receive()?;
            }
        }
        Ok(())
    }

    fn delivered(&self) -> u64 {
        self.subscribers
            .iter()
            .map(|subscriber| subscriber.tracker.received())
            .sum()
    }

    fn watch_sockets(&self) -> std::io::Result<Epoll> {
        let epoll = Epoll::new()?;
        for (index, publisher) in self.publishers.iter().enumerate() {
            epoll.add(&publisher.link.stream, index, Interest::ReadableOrWritable)?;
        }
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            epoll.add(&subscriber.link.stream, index, Interest::Readable)?;
        }
        Ok(epoll)
    }
}
