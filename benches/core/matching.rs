//! From a subject to the patterns that match it, without the plan cache: 10 k and 1 M patterns,
//! none, a tenth or all of them with wildcards, for a hot set of subjects (1,000, in cache) and a
//! cold one (a million, every lookup in memory). Floor: one cache miss per cold lookup, about
//! 80 ns; a hash and a probe for hot ones, about 8 ns.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use skein::base::prng::Prng;
use skein::subject::{Index, SubjectHash};

/// Subjects looked up in one iteration.
const LOOKUPS: usize = 1000;

fn subject(n: usize) -> String {
    format!("region-{}.device-{n}.reading", n % 50)
}

fn pattern(n: usize, wildcard: bool) -> String {
    if wildcard {
        match n % 3 {
            0 => format!("region-{}.device-{n}.*", n % 50),
            1 => format!("region-{}.device-{n}.>", n % 50),
            _ => format!("*.device-{n}.reading"),
        }
    } else {
        subject(n)
    }
}

fn index(patterns: usize, wildcard_percent: usize) -> Index {
    let mut index = Index::new(SubjectHash::new(1));
    for n in 0..patterns {
        index.insert(pattern(n, n % 100 < wildcard_percent).as_bytes());
    }
    index
}

fn matches(index: &Index, subjects: &[String]) -> usize {
    let mut found = 0;
    for subject in subjects {
        let subject = subject.as_bytes();
        index.for_each_match(subject, index.hasher().of(subject), |entry| {
            black_box(entry);
            found += 1;
        });
    }
    found
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match");
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    for patterns in [10_000, 1_000_000] {
        for wildcard_percent in [0, 10, 100] {
            let index = index(patterns, wildcard_percent);
            let mut prng = Prng::new(7);
            let any = |prng: &mut Prng, of: usize| subject(prng.below(of as u32) as usize);
            let hot: Vec<String> = (0..LOOKUPS).map(|_| any(&mut prng, 1000)).collect();
            let cold: Vec<String> = (0..1_000_000).map(|_| any(&mut prng, patterns)).collect();
            let name = format!("{patterns} patterns, {wildcard_percent} % wildcards");
            group.bench_function(BenchmarkId::new("hot", &name), |bencher| {
                bencher.iter(|| matches(&index, &hot));
            });
            let mut at = 0;
            group.bench_function(BenchmarkId::new("cold", &name), |bencher| {
                bencher.iter(|| {
                    at = (at + LOOKUPS) % (cold.len() - LOOKUPS);
                    matches(&index, &cold[at..at + LOOKUPS])
                });
            });
        }
    }
    group.finish();
    insert_and_remove(criterion);
}

fn insert_and_remove(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    group.throughput(Throughput::Elements(1));
    let mut index = index(1_000_000, 10);
    for (name, wildcard) in [("literal", false), ("wildcard", true)] {
        let mut n = 2_000_000;
        group.bench_function(BenchmarkId::new("insert and remove", name), |bencher| {
            bencher.iter(|| {
                n += 1;
                let (entry, _) = index.insert(pattern(n, wildcard).as_bytes());
                index.remove(entry);
            });
        });
    }
    group.finish();
}
