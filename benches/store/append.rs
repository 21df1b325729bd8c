//! Appending 128 bytes in memory: index and copy. Floor with one subject: 10 ns; with a million
//! distinct subjects three cache misses (table, subject, its list), 240 ns.

use criterion::{BenchmarkId, Criterion, Throughput};
use skein::store::Messages;
use skein::store::memory::Stream;
use skein::subject::SubjectHash;

use crate::{filled, new_message, scattered, subject};

/// Messages that the stream may hold before it is made anew, so that memory stays bounded.
const HELD_MAX: u64 = 4_000_000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(1));
    for subjects in [1, 10_000, 1_000_000] {
        let names: Vec<String> = (0..subjects)
            .map(|number| subject(scattered(number, subjects)))
            .collect();
        let mut stream = filled(subjects, subjects);
        let mut number = subjects;
        group.bench_function(BenchmarkId::new("subjects", subjects), |bencher| {
            bencher.iter(|| {
                if stream.state().messages > HELD_MAX {
                    stream = Stream::new(SubjectHash::new(1));
                    number = 0;
                }
                let message = new_message(&names[number % subjects], number);
                number += 1;
                stream.append(&message)
            });
        });
    }
    group.finish();
}
