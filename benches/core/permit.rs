//! Whether a publish is allowed, what it is mapped to, and what becomes of its subject, without
//! the plan that remembers the answers. Floor: a hash and a probe, about 8 ns, for literal rules;
//! a probe for each token, about 20 ns, where there are wildcards.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use skein::auth::definition::{Destination, MappingDefinition, PermissionRules, SubjectRules};
use skein::auth::mapping::Mappings;
use skein::auth::permissions::Permissions;
use skein::subject::Transform;

/// Questions in one iteration.
const QUESTIONS: usize = 1000;

const SUBJECT: &[u8] = b"region-7.device-1042.reading";

/// Rules for other devices, with wildcards every third time, and one that allows `SUBJECT`.
fn permissions(rules: usize, denies: bool) -> Permissions {
    let others = |n: usize| match n % 3 {
        0 => format!("region-{}.*.status", n % 50),
        1 => format!("region-{}.device-{n}.>", 50 + n % 50),
        _ => format!("region-{}.device-{n}.alarm", n % 50),
    };
    let mut allow: Vec<String> = (1..rules).map(others).collect();
    allow.push("region-7.*.reading".into());
    Permissions::new(PermissionRules {
        publish: SubjectRules {
            allow: Some(allow),
            deny: Vec::from_iter(denies.then(|| "*.*.secret".into())),
        },
        ..PermissionRules::default()
    })
    .expect("the rules are subjects")
}

fn mappings(sources: usize) -> Mappings {
    let definitions: Vec<MappingDefinition> = (0..sources)
        .map(|n| MappingDefinition {
            source: format!("region-{n}.*.reading"),
            destinations: vec![Destination {
                subject: format!("readings.{{{{partition(16,1)}}}}.{n}.$1"),
                weight: 100,
                cluster: None,
            }],
        })
        .collect();
    Mappings::new(&definitions, None).expect("the mappings are valid")
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("permit");
    group.throughput(Throughput::Elements(QUESTIONS as u64));
    for rules in [1, 10, 1000] {
        let permissions = permissions(rules, rules > 1);
        for (name, subject) in [("hit", SUBJECT), ("miss", b"region-7.device-1042.nothing")] {
            let id = BenchmarkId::new(name, format!("{rules} rules"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    for _ in 0..QUESTIONS {
                        black_box(permissions.may_publish(black_box(subject)));
                    }
                });
            });
        }
    }
    let mut to = Vec::new();
    for sources in [1, 100] {
        let mappings = mappings(sources);
        for (name, subject) in [
            ("mapped", &b"region-0.device-1042.reading"[..]),
            ("not mapped", b"region-0.device-1042.status"),
        ] {
            let id = BenchmarkId::new(name, format!("{sources} mappings"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    for random in 0..QUESTIONS as u64 {
                        to.clear();
                        black_box(mappings.select(black_box(subject), random, &mut to));
                    }
                });
            });
        }
    }
    for destination in ["r.$2.$1", "r.{{partition(16,1,2)}}.{{splitfromleft(2,6)}}"] {
        let transform = Transform::new("*.*.reading", destination).expect("the transform is valid");
        group.bench_function(BenchmarkId::new("transform", destination), |bencher| {
            bencher.iter(|| {
                for random in 0..QUESTIONS as u64 {
                    to.clear();
                    black_box(transform.apply(black_box(SUBJECT), random, &mut to));
                }
            });
        });
    }
    group.finish();
}
