//! A store, its disk and its clock.

use skein::store::io::Submission;
use skein::store::{Fetched, Messages, Options, Seq, Severity, Store, StreamNumber};

use crate::disk::Disk;

/// Subject, and headers with payload, of a message that is there.
pub type Got = Option<(Vec<u8>, Vec<u8>)>;

pub struct Shell {
    pub store: Store,
    pub disk: Disk,
    pub options: Options,
    pub now: u64,
    out: Vec<Submission>,
    log: Vec<(Severity, String)>,
}

impl Shell {
    pub fn new(seed: u64) -> Self {
        let mut options = Options::new(seed);
        options.segment_bytes = 1 << 20;
        options.cache_bytes = 1 << 20;
        Self::with(seed, options)
    }

    pub fn with(seed: u64, options: Options) -> Self {
        let disk = Disk::new(seed);
        let store = Store::open(&options, &disk.listing(), 0);
        let mut this = Self {
            store,
            disk,
            options,
            now: 0,
            out: Vec::new(),
            log: Vec::new(),
        };
        this.settle();
        assert!(this.store.is_ready());
        this
    }

    /// Opens what is on the disk anew.
    pub fn reopen(&mut self) {
        self.options.seed = self.options.seed.wrapping_add(0x1_0000);
        self.store = Store::open(&self.options, &self.disk.listing(), self.now);
        while !self.store.is_ready() && self.store.failed().is_none() {
            assert!(self.turn(), "opening waits for nothing");
        }
    }

    pub fn reopen_after_power_cut(&mut self) {
        self.disk.cut_power();
        self.reopen();
    }

    /// One thing happens; false when nothing can but time.
    pub fn turn(&mut self) -> bool {
        let happened = self.turn_quietly();
        self.take_log();
        happened
    }

    /// The same; what the store says is left where it is.
    pub fn turn_quietly(&mut self) -> bool {
        self.store.submit(&mut self.out);
        self.disk.take(&mut self.out);
        let done = self.disk.step();
        let happened = done.is_some();
        if let Some(completion) = done {
            self.store.handle(completion);
        }
        happened
    }

    /// What is to be done is under way, and nothing of it has happened.
    pub fn begin(&mut self) {
        self.store.submit(&mut self.out);
        self.disk.take(&mut self.out);
    }

    fn take_log(&mut self) {
        for line in self.store.take_log() {
            self.log.push((line.severity, line.text));
        }
    }

    /// Ends as it should.
    pub fn shut_down(&mut self) {
        self.store.shut_down();
        while !self.store.is_shut_down() {
            assert!(self.turn(), "the end waits for nothing");
        }
        self.settle();
    }

    /// Goes on until nothing is under way.
    pub fn settle(&mut self) {
        while self.turn() {}
    }

    /// Time goes on to the store's next deadline.
    pub fn pass_time(&mut self) {
        self.now = self.store.next_deadline().unwrap_or(self.now).max(self.now);
        self.store.tick(self.now);
    }

    /// What was said since the last call, louder than mere information.
    pub fn log(&mut self) -> Vec<String> {
        self.take_log();
        let lines = std::mem::take(&mut self.log);
        let loud = lines
            .into_iter()
            .filter(|(severity, _)| *severity != Severity::Info);
        loud.map(|(_, text)| text).collect()
    }

    /// Reads a message: subject and payload; none if there is none.
    ///
    /// # Panics
    /// When it is damaged.
    pub fn get(&mut self, number: StreamNumber, seq: Seq) -> Got {
        self.try_get(number, seq).expect("it is not damaged")
    }

    /// The same; `Err` when it is damaged.
    pub fn try_get(&mut self, number: StreamNumber, seq: Seq) -> Result<Got, ()> {
        loop {
            let mut stream = self.store.stream(number).expect("the stream is there");
            match stream.get(seq) {
                Fetched::Here(stored) => {
                    assert_eq!(stored.seq, seq);
                    let mut body = stored.headers.to_vec();
                    body.extend_from_slice(stored.payload);
                    return Ok(Some((stored.subject.to_vec(), body)));
                }
                Fetched::Gone => return Ok(None),
                Fetched::Damaged => return Err(()),
                Fetched::Later => assert!(self.turn(), "a read waits for nothing"),
            }
        }
    }
}
