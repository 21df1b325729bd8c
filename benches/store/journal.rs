//! The journal on a disk that is memory and never waits: what a message costs the processor.
//!
//! Floors. `append and flush`: an append in memory, a copy into the frame, a checksum of 200 bytes,
//! 30 ns; and what a flush costs, divided by the messages it carries. `get`: as in memory, where the
//! cache has it. `recovery`: checksums of the frame and the record and an insertion into the index, with
//! a hundred thousand subjects 200 ns.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use skein::store::io::{Completion, Failure, FileId, Listed, Submission, Work};
use skein::store::{Fetched, Messages, Options, Seq, Store, StreamNumber, StreamOptions};

use crate::{new_message, scattered, subject};

const SUBJECTS: usize = 100_000;
const RECOVERED: usize = 1_000_000;
/// Live messages of the stream that is appended to; older ones go, so that memory stays bounded.
const HELD: Seq = 200_000;

pub fn benches(criterion: &mut Criterion) {
    append(criterion);
    get_and_recover(criterion);
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    let names: Vec<String> = (0..SUBJECTS).map(subject).collect();
    for batch in [1usize, 100, 1_000] {
        group.throughput(Throughput::Elements(batch as u64));
        let (mut shell, stream) = Shell::new();
        let mut number = 0;
        group.bench_function(BenchmarkId::new("append and flush", batch), |bencher| {
            bencher.iter(|| {
                shell.append(stream, batch, |index| {
                    number += 1;
                    (&names[number % SUBJECTS], number + index)
                });
            });
        });
    }
    group.finish();
}

fn get_and_recover(criterion: &mut Criterion) {
    let (mut shell, stream) = Shell::new();
    let names: Vec<String> = (0..SUBJECTS).map(subject).collect();
    let mut handle = shell.store.stream(stream).expect("it was made");
    for number in 0..RECOVERED {
        let name = &names[scattered(number, SUBJECTS)];
        handle
            .append(&new_message(name, number))
            .expect("there is room");
        if number % 1_000 == 999 {
            shell.settle();
            handle = shell.store.stream(stream).expect("it was made");
        }
    }
    shell.settle();
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(1));
    // The last tenth, which the cache holds.
    let cached = RECOVERED / 10;
    for (name, random) in [("in order", false), ("at random", true)] {
        let mut number = 0;
        group.bench_function(BenchmarkId::new("get", name), |bencher| {
            bencher.iter(|| {
                number = (number + 1) % cached;
                let place = if random {
                    scattered(number, cached)
                } else {
                    number
                };
                shell.get(stream, (RECOVERED - cached + place) as Seq + 1);
            });
        });
    }
    group.throughput(Throughput::Elements(RECOVERED as u64));
    group.sample_size(10);
    group.bench_function("recovery", |bencher| {
        bencher.iter(|| shell.reopen());
    });
    group.finish();
}

/// A store with its disk.
struct Shell {
    store: Store,
    options: Options,
    disk: Disk,
    submissions: Vec<Submission>,
}

#[derive(Default)]
struct Disk {
    files: HashMap<String, Vec<u8>>,
    open: HashMap<FileId, String>,
}

impl Shell {
    fn new() -> (Self, StreamNumber) {
        let options = Options::new(1);
        let mut shell = Self {
            store: Store::open(&options, &[], 0),
            options,
            disk: Disk::default(),
            submissions: Vec::new(),
        };
        shell.settle();
        let stream = shell
            .store
            .create_stream(b"A/S", b"", StreamOptions::default())
            .expect("the disk has room");
        shell.settle();
        (shell, stream)
    }

    fn append<'a>(
        &mut self,
        stream: StreamNumber,
        batch: usize,
        mut name: impl FnMut(usize) -> (&'a String, usize),
    ) {
        let mut handle = self.store.stream(stream).expect("it was made");
        for index in 0..batch {
            let (name, number) = name(index);
            let seq = handle
                .append(&new_message(name, number))
                .expect("the disk has room");
            if seq > HELD {
                handle.remove(seq - HELD, false);
            }
        }
        self.settle();
    }

    fn get(&mut self, stream: StreamNumber, seq: Seq) {
        loop {
            let mut handle = self.store.stream(stream).expect("it was made");
            match handle.get(seq) {
                Fetched::Here(stored) => {
                    black_box(stored.payload);
                    return;
                }
                Fetched::Later => {}
                found => panic!("{seq}: {found:?}"),
            }
            self.turn();
        }
    }

    fn reopen(&mut self) {
        let listed: Vec<Listed> = (self.disk.files.iter())
            .map(|(name, bytes)| Listed {
                name: name.clone(),
                bytes: bytes.len() as u64,
            })
            .collect();
        self.disk.open.clear();
        self.store = Store::open(&self.options, &listed, 0);
        self.settle();
        assert!(self.store.is_ready(), "{:?}", self.store.failed());
    }

    /// Goes on until nothing is to be done.
    fn settle(&mut self) {
        while self.turn() {}
    }

    fn turn(&mut self) -> bool {
        self.store.submit(&mut self.submissions);
        let happened = !self.submissions.is_empty();
        for submission in self.submissions.drain(..) {
            self.store.handle(self.disk.execute(submission));
        }
        happened
    }
}

impl Disk {
    fn execute(&mut self, submission: Submission) -> Completion {
        let (mut result, mut read) = (Ok(0), None);
        match submission.work {
            Work::Open { file, name } => match self.files.contains_key(&name) {
                true => drop(self.open.insert(file, name)),
                false => result = Err(Failure::NotFound),
            },
            Work::Create { file, name, bytes } => {
                self.files.insert(name.clone(), vec![0; bytes as usize]);
                self.open.insert(file, name);
            }
            Work::Write {
                file,
                offset,
                buffer,
                bytes,
                ..
            } => {
                let offset = offset as usize;
                self.file(file)[offset..offset + bytes].copy_from_slice(&buffer[..bytes]);
            }
            Work::Read {
                file,
                offset,
                mut buffer,
            } => {
                let from = self.file(file).get(offset as usize..).unwrap_or_default();
                let length = from.len().min(buffer.len());
                buffer[..length].copy_from_slice(&from[..length]);
                result = Ok(length);
                read = Some(buffer);
            }
            Work::Sync { .. } => {}
            Work::Close { file } => drop(self.open.remove(&file)),
            Work::Remove { name } => drop(self.files.remove(&name)),
            Work::Rename { from, to } => match self.files.remove(&from) {
                Some(bytes) => drop(self.files.insert(to, bytes)),
                None => result = Err(Failure::NotFound),
            },
        }
        Completion {
            ticket: submission.ticket,
            result,
            buffer: read,
        }
    }

    fn file(&mut self, file: FileId) -> &mut Vec<u8> {
        let name = self.open.get(&file).expect("only open files are used");
        self.files.get_mut(name).expect("what is open exists")
    }
}
