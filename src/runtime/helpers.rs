//! Threads for work that would stall a shard: cryptography with private keys, slow hashes, files,
//! fetching from elsewhere.
//!
//! Must not know what the jobs are about. A job brings its result to a shard as a
//! [`super::commands::Command`] through the shard's `Address`, which wakes it. The queue is bounded and
//! submitting never waits: whoever finds it full says so to its peer, or tries again later. The threads
//! are not pinned; the scheduler gives them what the shards leave.
//!
//! A panic in a job ends the process like one in a shard does: its result would never come.

use std::fmt;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

/// Threads in a pool, unless said otherwise.
pub const THREADS: usize = 2;
/// Jobs that may wait. One that checks a password takes a tenth of a second or more, so a longer queue
/// would only hold those whose time is over before their turn comes.
pub const JOBS_MAX: usize = 1024;

/// One piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// The queue is full, or the pool has ended; the job comes back.
pub struct Full(pub Job);

impl fmt::Debug for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full")
    }
}

/// Where jobs are handed in; one for each shard.
#[derive(Clone)]
pub struct Helpers {
    jobs: Sender<Job>,
}

impl Helpers {
    /// Queues a job. Never waits.
    ///
    /// # Errors
    /// When the queue is full: the job is given back.
    pub fn submit(&self, job: Job) -> Result<(), Full> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Full(job),
        })
    }
}

/// The threads.
pub struct Pool {
    helpers: Helpers,
    /// Nothing is sent: dropping it tells the threads to end.
    stop: Sender<()>,
    /// Nothing is received: it is disconnected when all threads have ended.
    ended: Receiver<()>,
}

impl Pool {
    /// Starts `threads` threads that share a queue of `jobs_max`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(threads: usize, jobs_max: usize) -> io::Result<Self> {
        let (jobs, queue) = crossbeam_channel::bounded(jobs_max);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (ending, ended) = crossbeam_channel::bounded(0);
        for number in 0..threads {
            let (queue, stopped, ending) = (queue.clone(), stopped.clone(), ending.clone());
            std::thread::Builder::new()
                .name(format!("helper-{number}"))
                .spawn(move || {
                    work(&queue, &stopped);
                    // In this order: who sees that all have ended finds nobody who takes jobs.
                    drop(queue);
                    drop(ending);
                })?;
        }
        let helpers = Helpers { jobs };
        Ok(Self {
            helpers,
            stop,
            ended,
        })
    }

    /// Where to hand in jobs.
    pub fn helpers(&self) -> Helpers {
        self.helpers.clone()
    }

    /// Ends the threads after the jobs they are at; those still queued are dropped. Waits for that at
    /// most for `at_most`, and says whether it was enough.
    pub fn stop(self, at_most: Duration) -> bool {
        drop(self.stop);
        matches!(
            self.ended.recv_timeout(at_most),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected)
        )
    }
}

/// One thread.
fn work(queue: &Receiver<Job>, stopped: &Receiver<()>) {
    loop {
        crossbeam_channel::select_biased! {
            recv(stopped) -> _ => return,
            recv(queue) -> job => match job {
                Ok(job) => job(),
                Err(_) => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn jobs_run_side_by_side_and_all_of_them() {
        let pool = Pool::start(2, 64).unwrap();
        let helpers = pool.helpers();
        // Two that need each other, so one thread alone would never finish.
        let (to_first, from_second) = crossbeam_channel::bounded(0);
        let (to_test, results) = crossbeam_channel::unbounded();
        let done = to_test.clone();
        let wait = move || done.send(from_second.recv_timeout(LONG).unwrap()).unwrap();
        helpers.submit(Box::new(wait)).unwrap();
        helpers
            .submit(Box::new(move || to_first.send(100).unwrap()))
            .unwrap();
        assert_eq!(results.recv_timeout(LONG), Ok(100));
        for n in 0..50 {
            let to_test = to_test.clone();
            helpers
                .submit(Box::new(move || to_test.send(n).unwrap()))
                .unwrap();
        }
        let mut all: Vec<i32> = (0..50)
            .map(|_| results.recv_timeout(LONG).unwrap())
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
        assert!(pool.stop(LONG));
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let pool = Pool::start(1, 2).unwrap();
        let helpers = pool.helpers();
        let (release, released) = crossbeam_channel::bounded::<()>(0);
        let (started, at_it) = crossbeam_channel::bounded(0);
        let block = move || {
            started.send(()).unwrap();
            let _ = released.recv();
        };
        helpers.submit(Box::new(block)).unwrap();
        at_it.recv_timeout(LONG).unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let count = |ran: &Arc<AtomicUsize>| -> Job {
            let ran = Arc::clone(ran);
            Box::new(move || {
                ran.fetch_add(1, Ordering::SeqCst);
            })
        };
        helpers.submit(count(&ran)).unwrap();
        helpers.submit(count(&ran)).unwrap();
        let Err(Full(job)) = helpers.submit(count(&ran)) else {
            panic!("there was room for a third");
        };
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        job();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        drop(release);
        assert!(pool.stop(LONG));
    }

    #[test]
    fn it_ends_although_somebody_could_still_submit() {
        let pool = Pool::start(2, 2).unwrap();
        let helpers = pool.helpers();
        assert!(pool.stop(LONG));
        let Err(Full(_)) = helpers.submit(Box::new(|| {})) else {
            panic!("nobody is left to run it");
        };
    }

    #[test]
    fn a_job_that_does_not_end_is_not_waited_for() {
        let pool = Pool::start(1, 2).unwrap();
        let (release, released) = crossbeam_channel::bounded::<()>(0);
        let (started, at_it) = crossbeam_channel::bounded(0);
        let block = move || {
            started.send(()).unwrap();
            let _ = released.recv();
        };
        pool.helpers().submit(Box::new(block)).unwrap();
        at_it.recv_timeout(LONG).unwrap();
        assert!(!pool.stop(Duration::from_millis(1)));
        drop(release);
    }
}
