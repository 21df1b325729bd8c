//! Questions to a stream of two million messages on a million subjects.
//!
//! Floors. `get`: in order a few ns, at random three misses (chunk, subject, bytes), 240 ns. `next`
//! without a filter: a few ns. With a filter that takes one subject in a hundred, the messages in
//! between must not be looked at: 100 ns. `pending`: one walk down a tree, some misses; a filter's
//! first question goes through the subjects it takes, and is asked once for each consumer.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use skein::store::memory::Stream;
use skein::store::{Messages, Selection, Seq};

use crate::{filled, scattered};

const MESSAGES: usize = 2_000_000;
const SUBJECTS: usize = 1_000_000;
/// What is selected, and how it is called.
const FILTERS: [(&str, &str); 5] = [
    ("everything", ">"),
    ("all by wildcard", "load.>"),
    ("1 of 100 groups", "load.42.*"),
    ("100 subjects", "*.*.device-000042"),
    ("1 subject", "load.42.device-000042"),
];

pub fn benches(criterion: &mut Criterion) {
    let mut stream = filled(MESSAGES, SUBJECTS);
    get(criterion, &mut stream);
    next(criterion, &stream);
    pending(criterion, &stream);
}

fn get(criterion: &mut Criterion, stream: &mut Stream) {
    let mut group = criterion.benchmark_group("get");
    group.throughput(Throughput::Elements(1));
    let mut number = 0;
    group.bench_function("in order", |bencher| {
        bencher.iter(|| {
            number = (number + 1) % MESSAGES;
            black_box(stream.get(number as Seq + 1));
        });
    });
    group.bench_function("at random", |bencher| {
        bencher.iter(|| {
            number = (number + 1) % MESSAGES;
            black_box(stream.get(scattered(number, MESSAGES) as Seq + 1));
        });
    });
    group.finish();
}

fn next(criterion: &mut Criterion, stream: &Stream) {
    let mut group = criterion.benchmark_group("next");
    group.throughput(Throughput::Elements(1));
    for (name, filter) in FILTERS {
        let mut selection = Selection::of(&[filter]);
        let mut from = 1;
        group.bench_function(BenchmarkId::new("filter", name), |bencher| {
            bencher.iter(|| {
                from = stream.next(&mut selection, from).map_or(1, |seq| seq + 1);
                from
            });
        });
    }
    group.finish();
}

fn pending(criterion: &mut Criterion, stream: &Stream) {
    let mut group = criterion.benchmark_group("pending");
    let mut number = 0;
    for (name, filter) in FILTERS {
        let mut selection = Selection::of(&[filter]);
        group.bench_function(BenchmarkId::new("asked again", name), |bencher| {
            bencher.iter(|| {
                number = (number + 1) % MESSAGES;
                stream.pending(&mut selection, scattered(number, MESSAGES) as Seq)
            });
        });
        group.bench_function(BenchmarkId::new("asked first", name), |bencher| {
            bencher.iter(|| stream.pending(&mut Selection::of(&[filter]), MESSAGES as Seq / 2));
        });
    }
    group.finish();
}
