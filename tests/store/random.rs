//! Random operations, random faults, and what must hold whatever happens.

use skein::base::prng::Prng;
use skein::store::{Cipher, Key, NewMessage, Options, StreamNumber, StreamOptions, Sync};

use crate::oracle::Oracle;
use crate::shell::Shell;

const SUBJECTS: [&str; 5] = ["a", "a.b", "b.c", "orders.new", "orders.done"];

/// What a run is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Power cuts.
    Honest,
    /// The process is killed.
    Killed,
    /// The disk is small.
    Small,
    /// Writes fail.
    Failing,
    /// Bits flip, blocks cannot be read, writes are lost or go elsewhere.
    Lying,
}

impl Kind {
    /// What its test is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honest => "simulation_honest",
            Self::Killed => "simulation_killed",
            Self::Small => "simulation_small",
            Self::Failing => "simulation_failing",
            Self::Lying => "simulation_lying",
        }
    }
}

pub struct Run {
    random: Prng,
    shell: Shell,
    oracle: Oracle,
    kind: Kind,
    time: i64,
}

impl Run {
    pub fn new(seed: u64, kind: Kind) -> Self {
        let mut random = Prng::new(seed ^ 0x5eed);
        let mut options = Options::new(seed);
        options.segment_bytes = 1 << 20;
        options.cache_bytes = 1 << 20;
        let secret = b"a secret".to_vec();
        options.key = match random.below(4) {
            0 => Some(Key {
                cipher: Cipher::Aes,
                secret,
            }),
            1 => Some(Key {
                cipher: Cipher::ChaCha,
                secret,
            }),
            _ => None,
        };
        options.checkpoint_bytes = [1 << 16, 1 << 20, 64 << 20][random.below(3) as usize];
        options.sync = Sync::Always;
        let mut shell = Shell::with(seed, options);
        if kind == Kind::Small {
            shell.disk.faults.capacity = Some(u64::from(5 + random.below(6)) << 20);
        }
        Self {
            random,
            shell,
            oracle: Oracle::default(),
            kind,
            time: 1_700_000_000_000_000_000,
        }
    }

    pub fn run(&mut self) {
        let rounds = 1 + self.random.below(4);
        for _ in 0..rounds {
            self.round();
        }
    }

    fn round(&mut self) {
        let operations = 1 << self.random.below(11);
        // Some rounds write much, so that there is something to compact.
        let size = [16, 300, 5000, 40_000][self.random.below(4) as usize];
        if self.kind == Kind::Failing && self.random.one_in(2) {
            self.shell.disk.faults.write_errors = Some(200);
        }
        if self.kind == Kind::Lying {
            let faults = &mut self.shell.disk.faults;
            if self.random.one_in(3) {
                faults.lost = Some(50);
            } else if self.random.one_in(2) {
                faults.misdirected = Some(50);
            }
        }
        for _ in 0..operations {
            self.operation(size);
            self.turns();
        }
        let faults = &mut self.shell.disk.faults;
        let mut lied = faults.lost.take().is_some() | faults.misdirected.take().is_some();
        if self.kind == Kind::Lying && !lied {
            self.shell.settle();
            for _ in 0..1 + self.random.below(3) {
                let spoilt = if self.random.one_in(2) {
                    self.shell.disk.flip_bit()
                } else {
                    self.shell.disk.spoil_block()
                };
                lied |= spoilt.is_some();
            }
        }
        if lied {
            // What is lost at the very end cannot be known.
            self.oracle.is_lenient = true;
            for _ in 0..4 {
                self.shell.settle();
                if self.oracle.live().is_empty() {
                    let options = StreamOptions::default();
                    self.oracle.create(&mut self.shell, b"A/last", options);
                }
                for number in self.oracle.live() {
                    self.append(number, 10);
                }
            }
            self.shell.settle();
        } else if self.random.one_in(3) {
            self.shell.settle();
        }
        if self.random.one_in(4) && self.kind != Kind::Failing && self.kind != Kind::Small {
            self.shell.shut_down();
            assert_eq!(self.shell.store.durable(), self.shell.store.position());
        }
        self.oracle.observe(&self.shell);
        self.shell.disk.faults.write_errors = None;
        match self.kind {
            Kind::Killed => self.shell.disk.kill(),
            _ => self.shell.disk.cut_power(),
        }
        self.shell.log();
        self.shell.reopen();
        assert_eq!(self.shell.store.failed(), None);
        self.oracle.check(&mut self.shell);
        if self.kind == Kind::Lying {
            // Damage that is known is said again at each start; it is not the next round's.
            self.oracle.is_lenient = true;
        }
    }

    fn turns(&mut self) {
        let turns = match self.random.below(10) {
            0 => 20,
            1..6 => self.random.below(4),
            _ => 0,
        };
        for _ in 0..turns {
            if !self.shell.turn() && self.random.one_in(2) {
                self.shell.pass_time();
            }
        }
        self.oracle.observe(&self.shell);
        if self.kind != Kind::Small && self.kind != Kind::Failing && self.kind != Kind::Lying {
            assert_eq!(self.shell.log(), Vec::<String>::new());
        }
    }

    fn some_stream(&mut self) -> Option<StreamNumber> {
        let live = self.oracle.live();
        live.get(self.random.below(live.len().max(1) as u32) as usize)
            .copied()
    }

    fn append(&mut self, number: StreamNumber, size: u32) {
        self.time += i64::from(self.random.below(1000));
        let subject = SUBJECTS[self.random.below(SUBJECTS.len() as u32) as usize];
        let length = self.random.below(size.max(1)) as usize;
        let length = if self.random.one_in(500) {
            length + 1_200_000
        } else {
            length
        };
        let byte = self.random.next_u64() as u8;
        let noisy = self.random.one_in(2);
        let payload: Vec<u8> = (0..length)
            .map(|i| {
                if noisy {
                    self.random.next_u64() as u8
                } else {
                    byte ^ (i as u8 & 3)
                }
            })
            .collect();
        let headers: &[u8] = if self.random.one_in(4) {
            b"NATS/1.0\r\nA: b\r\n\r\n"
        } else {
            b""
        };
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers,
            payload: &payload,
            time: self.time,
            flags: self.random.below(16) as u8,
        };
        self.oracle.append(&mut self.shell, number, &message);
    }

    fn operation(&mut self, size: u32) {
        let live = self.oracle.live().len() as u32;
        if live == 0 || live < 5 && self.random.one_in(40) {
            let options = StreamOptions {
                memory: false,
                compress: self.random.one_in(2),
            };
            let key = format!("A/{}", self.random.below(1000));
            self.oracle.create(&mut self.shell, key.as_bytes(), options);
            return;
        }
        let Some(number) = self.some_stream() else {
            return;
        };
        let messages = &self.oracle.streams[&number].messages;
        let (first, last) = match (messages.keys().next(), messages.keys().next_back()) {
            (Some(&first), Some(&last)) => (first, last),
            _ => (1, 1),
        };
        let some = first + u64::from(self.random.below((last - first + 2) as u32));
        match self.random.below(100) {
            0..50 => self.append(number, size),
            50..62 => self.oracle.remove(&mut self.shell, number, some, false),
            62..66 => {
                // As limits do: from the front.
                for seq in first..some.min(first + 20) {
                    if self.oracle.streams[&number].messages.contains_key(&seq) {
                        self.oracle.remove(&mut self.shell, number, seq, false);
                    }
                }
            }
            66..68 => {
                let subject = SUBJECTS[self.random.below(SUBJECTS.len() as u32) as usize];
                let subject = (!self.random.one_in(3)).then_some(subject);
                let keep = u64::from(self.random.below(3));
                let below = if self.random.one_in(2) {
                    u64::MAX
                } else {
                    some
                };
                self.oracle
                    .purge(&mut self.shell, number, subject, below, keep);
            }
            68..69 => {
                let by = 1 + u64::from(self.random.below(5));
                self.oracle.skip(&mut self.shell, number, by);
            }
            69..85 => {
                let note = self.random.below(4);
                let fact: Vec<u8> = (0..self.random.below(40))
                    .map(|_| self.random.next_u64() as u8)
                    .collect();
                let forget = self.random.one_in(10);
                let rewrite = self.random.one_in(6);
                let fact = (!forget).then_some(&fact[..]);
                self.oracle
                    .note(&mut self.shell, number, note, fact, rewrite);
            }
            85..87 => {
                let meta = self.random.next_u64().to_le_bytes();
                self.oracle.set_meta(&mut self.shell, number, &meta);
            }
            87 => {
                if self.random.one_in(4) {
                    self.oracle.delete(&mut self.shell, number);
                }
            }
            _ => self.oracle.look(&mut self.shell, number, some),
        }
    }
}
