//! Parsing operations from one read buffer. Floor: about 3 ns for the load and mask of 64 bytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use skein::proto::client::{Bounds, Step, parse};

const BOUNDS: Bounds = Bounds {
    control_line_bytes: 4096,
    payload_bytes: 1 << 20,
    headers: true,
};

/// Parses `input` to its end and counts operations.
fn parse_all(mut input: &[u8]) -> usize {
    let mut operations = 0;
    while let Ok(Step::Op(op, used)) = parse(input, &BOUNDS) {
        black_box(op);
        operations += 1;
        input = &input[used..];
        if input.is_empty() {
            break;
        }
    }
    operations
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let inbox = "_INBOX.kXQnz9y8vYh2mC5tW7bP3d.Lr4sTq1u";
    let long_subject = "token.".repeat(20) + "end";
    let cases = [
        (
            "pub-16",
            format!("PUB load.p.000001 16\r\n{}\r\n", "x".repeat(16)),
        ),
        (
            "pub-1k",
            format!("PUB load.p.000001 1024\r\n{}\r\n", "x".repeat(1024)),
        ),
        (
            "pub-reply-16",
            format!("PUB svc {inbox} 16\r\n{}\r\n", "x".repeat(16)),
        ),
        (
            "hpub-16",
            format!(
                "HPUB load.p.000001 12 28\r\nNATS/1.0\r\n\r\n{}\r\n",
                "x".repeat(16)
            ),
        ),
        (
            "pub-line-parser",
            format!("PUB {long_subject} 16\r\n{}\r\n", "x".repeat(16)),
        ),
        ("sub", "SUB load.p.000001 17\r\n".to_owned()),
        ("ping", "PING\r\n".to_owned()),
    ];
    for (name, operation) in cases {
        let count = (64 * 1024 / operation.len()).max(16);
        let input = operation.repeat(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(parse_all(black_box(input.as_bytes())), count));
        });
    }
    group.finish();
}
