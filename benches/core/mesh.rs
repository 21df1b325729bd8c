//! The hop from one shard to another: the ring between two threads, and a message through frame
//! and batch to a subscriber on the other shard (on one thread, so that only work is counted).
//! Floor: one cache line from core to core for each batch, about 50–100 ns.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{Criterion, Throughput};
use skein::base::ids::ShardId;
use skein::base::spsc;
use skein::shard::{Effects, Event, Shard};

use crate::route::{connect, receive, settings};

const MESSAGES: usize = 1000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mesh");
    group.throughput(Throughput::Elements(1));
    group.bench_function("ring, push and pop on one thread", |bencher| {
        let (mut sender, mut receiver) = spsc::ring::<u64>(32);
        bencher.iter(|| {
            sender.push(black_box(1)).expect("it is emptied each time");
            receiver.pop()
        });
    });
    group.bench_function("ring, there and back between two threads", there_and_back);
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("message to another shard, 16 B", message);
    group.finish();
}

fn there_and_back(bencher: &mut criterion::Bencher<'_>) {
    let (mut there, mut arrived) = spsc::ring::<u64>(32);
    let (mut back, mut returned) = spsc::ring::<u64>(32);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Some(value) = arrived.pop() {
                    back.push(value).expect("there is one value on its way");
                }
                std::hint::spin_loop();
            }
        });
        bencher.iter(|| {
            there.push(1).expect("there is one value on its way");
            while returned.pop().is_none() {
                std::hint::spin_loop();
            }
        });
        stop.store(true, Ordering::Relaxed);
    });
}

fn message(bencher: &mut criterion::Bencher<'_>) {
    let mut shards = [0u8, 1].map(|id| Shard::new(ShardId(id), settings(2), 1));
    let mut fx = Effects::default();
    let publisher = connect(&mut shards[0], &mut fx, 0);
    let subscriber = connect(&mut shards[1], &mut fx, 0);
    receive(&mut shards[1], &mut fx, subscriber, b"SUB load.p 1\r\n");
    exchange(&mut shards, &mut fx);
    let input = format!("PUB load.p 16\r\n{}\r\n", "x".repeat(16)).repeat(MESSAGES);
    bencher.iter(|| {
        receive(
            &mut shards[0],
            &mut fx,
            publisher,
            black_box(input.as_bytes()),
        );
        exchange(&mut shards, &mut fx);
    });
}

/// Moves batches until there are none.
fn exchange(shards: &mut [Shard; 2], fx: &mut Effects) {
    loop {
        let mut moved = false;
        for (from, to) in [(0, 1), (1, 0)] {
            while let Some(batch) = shards[from].next_batch(ShardId(to as u8)) {
                moved = true;
                let from = ShardId(from as u8);
                shards[to].handle(1, Event::Batch { from, batch }, fx);
                while let Some(conn) = fx.dirty.pop() {
                    let Some(out) = shards[to].outbound(conn) else {
                        continue;
                    };
                    let bytes = out.begin_send().map(<[u8]>::len).sum();
                    shards[to].handle(1, Event::Sent { conn, bytes }, fx);
                }
            }
        }
        if !moved {
            return;
        }
    }
}
