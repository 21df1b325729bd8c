//! The index of a stream: a million messages on 100,000 subjects, about 30 MB. Floor: a message put in
//! or taken out is a probe for its subject, its subject's list and its chunk, each a miss in the
//! caches once there are many: about 100 ns; finding the next is a word of a bitmap, about 5 ns, and
//! with a filter a verdict of two bits more.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use skein::base::prng::Prng;
use skein::store::Selection;
use skein::store::index::{Arrival, Cursor, Index, Loading};
use skein::subject::SubjectHash;

const MESSAGES: u64 = 1_000_000;
const SUBJECTS: u32 = 100_000;
/// Questions in one iteration.
const QUESTIONS: u64 = 1000;

fn insert(index: &mut Index, seq: u64, subject: &[u8]) {
    let arrival = Arrival {
        subject,
        location: seq << 8,
        flags: 0,
        time: seq as i64 * 1000,
        counted_bytes: 100,
    };
    index.insert(seq, &arrival);
}

fn names() -> Vec<String> {
    let name = |number| format!("orders.{}.{number}", number % 100);
    (0..SUBJECTS).map(name).collect()
}

fn filled(names: &[String]) -> Index {
    let mut index = Index::new(SubjectHash::new(1));
    let mut prng = Prng::new(1);
    for seq in 1..=MESSAGES {
        let name = &names[prng.below(SUBJECTS) as usize];
        insert(&mut index, seq, name.as_bytes());
    }
    index
}

pub fn benches(criterion: &mut Criterion) {
    let names = names();
    let mut index = filled(&names);
    let mut group = criterion.benchmark_group("index");
    group.throughput(Throughput::Elements(QUESTIONS));
    group.bench_function("insert and remove the first", |bencher| {
        let mut prng = Prng::new(2);
        bencher.iter(|| {
            for _ in 0..QUESTIONS {
                let state = *index.state();
                let name = &names[prng.below(SUBJECTS) as usize];
                insert(&mut index, state.last_seq + 1, name.as_bytes());
                index.remove(state.first_seq, &mut |_| 100);
            }
        });
    });
    let filters: &[(&str, &[&str])] = &[
        ("everything", &[]),
        ("all by a pattern", &["orders.*.*"]),
        ("one in a hundred", &["orders.7.*"]),
        ("one subject", &["orders.7.7"]),
    ];
    for (name, patterns) in filters {
        let mut selection = Selection::of(patterns);
        let mut from = 0;
        group.bench_function(BenchmarkId::new("next", name), |bencher| {
            bencher.iter(|| {
                for _ in 0..QUESTIONS {
                    let next = index.next(&mut selection, from);
                    from = next.map_or(0, |seq| seq + 1);
                }
            });
        });
        group.bench_function(BenchmarkId::new("pending", name), |bencher| {
            let first = index.state().first_seq;
            bencher.iter(|| {
                for question in 0..QUESTIONS {
                    black_box(index.pending(&mut selection, first + question));
                }
            });
        });
    }
    group.throughput(Throughput::Elements(MESSAGES));
    group.sample_size(10);
    let mut pieces = Vec::new();
    index.write_piece(Cursor::default(), &mut pieces, usize::MAX);
    group.bench_function("load", |bencher| {
        let load = || {
            let mut loading = Loading::new(SubjectHash::new(1));
            loading.piece(&pieces).expect("it was written so");
            loading.finish(|_, _| Some(100)).expect("it is complete")
        };
        bencher.iter_batched(|| (), |()| load(), BatchSize::PerIteration);
    });
    group.finish();
}
