//! Appending deliveries to a connection's outbound. Floor: the copy itself, 2–3 ns for 40 bytes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use skein::base::outbound::{ChunkPool, Head, Outbound};
use skein::base::sid::Sid;

/// Deliveries in one iteration.
const DELIVERIES: usize = 1000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(DELIVERIES as u64));
    for size in [16, 128, 1024] {
        let rest = format!("{size}\r\n{}\r\n", "x".repeat(size)).into_bytes();
        let sid = Sid::inline(b"17").expect("two bytes are stored in place");
        let mut head = Head::default();
        let mut pool = ChunkPool::default();
        let mut out = Outbound::default();
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                head.set(b"MSG ", b"load.p.000001");
                for _ in 0..DELIVERIES {
                    out.append_message(&mut pool, &head, sid, black_box(&rest));
                }
                while out.pending_bytes() > 0 {
                    let bytes = out.begin_send().map(<[u8]>::len).sum();
                    out.sent(&mut pool, bytes);
                }
            });
        });
    }
    group.finish();
}
