//! Taking out what a work queue takes out: the message that was appended a thousand messages ago, as
//! one appends. Floor: that of an append, and about the same again.

use criterion::{BenchmarkId, Criterion, Throughput};
use skein::store::{Messages, Seq};

use crate::{filled, new_message, scattered, subject};

const HELD: usize = 1_000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append and remove");
    group.throughput(Throughput::Elements(1));
    for subjects in [1, 1_000] {
        let names: Vec<String> = (0..subjects).map(subject).collect();
        for (order, shuffled) in [("in order", false), ("out of order", true)] {
            let mut stream = filled(HELD, subjects);
            let mut number = HELD;
            let name = format!("{order}, {subjects} subjects");
            group.bench_function(BenchmarkId::new("queue", name), |bencher| {
                bencher.iter(|| {
                    let message = new_message(&names[number % subjects], number);
                    let appended = stream.append(&message);
                    // Within each thousand, every one is taken out once.
                    let place = if shuffled {
                        number - number % HELD + scattered(number % HELD, HELD)
                    } else {
                        number
                    };
                    number += 1;
                    (appended, stream.remove((place - HELD) as Seq + 1, false))
                });
            });
        }
    }
    group.finish();
}
