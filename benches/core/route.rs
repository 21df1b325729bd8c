//! From bytes received to bytes to send, through a whole shard, as the runtime drives it: parse,
//! plan, deliver. Per delivery. Floor: the copies, about 10 ns for a message of 16 bytes.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{BenchmarkId, Criterion, Throughput};
use skein::base::ids::{ConnId, ShardId};
use skein::config::Limits;
use skein::proto::info::ServerIdentity;
use skein::shard::{Effects, Event, Opening, Policy, Settings, Shard};

/// Messages in one iteration.
const MESSAGES: usize = 1000;

/// Settings of a server with `shards` shards and nobody to keep out.
pub fn settings(shards: usize) -> Settings {
    Settings {
        limits: Limits::default(),
        policy: Policy::open(),
        unix_at_zero_ms: 0,
        fine_clock_ns: || 1,
        identity: ServerIdentity {
            id: "N".into(),
            name: "bench".into(),
            host: "127.0.0.1".into(),
            port: 4222,
            auth_required: false,
            tls: None,
            xkey: None,
            jetstream: None,
        },
        debug: false,
        trace: false,
        shards,
        hash_seed: 1,
    }
}

/// Opens a connection that has said hello.
pub fn connect(shard: &mut Shard, fx: &mut Effects, index: u32) -> ConnId {
    let conn = ConnId {
        index,
        generation: 1,
    };
    let event = Event::Opened {
        conn,
        client_id: u64::from(index),
        peer: SocketAddr::from(([127, 0, 0, 1], 1000)),
        refused: false,
        opening: Opening::Plain,
        nonce: Box::default(),
        internal: None,
    };
    shard.handle(1, event, fx);
    receive(
        shard,
        fx,
        conn,
        b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n",
    );
    conn
}

/// Hands bytes to a shard and takes what it wants to send, as a socket without end would.
pub fn receive(shard: &mut Shard, fx: &mut Effects, conn: ConnId, bytes: &[u8]) {
    shard.handle(1, Event::Received { conn, bytes }, fx);
    while let Some(conn) = fx.dirty.pop() {
        let Some(out) = shard.outbound(conn) else {
            continue;
        };
        let bytes = out.begin_send().map(<[u8]>::len).sum();
        shard.handle(1, Event::Sent { conn, bytes }, fx);
    }
    fx.reads.clear();
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    let cases: [(&str, usize, &str, &str, usize); 6] = [
        ("nobody", 0, "", "load.p", 16),
        ("1:1, 16 B", 1, "SUB load.p 1\r\n", "load.p", 16),
        ("1:1, 1 KiB", 1, "SUB load.p 1\r\n", "load.p", 1024),
        ("1:10, 16 B", 10, "SUB load.p 1\r\n", "load.p", 16),
        (
            "wildcard, 1,000 subjects, 16 B",
            1,
            "SUB load.* 1\r\n",
            "load.{n}",
            16,
        ),
        ("queue of 4, 16 B", 4, "SUB load.p q 1\r\n", "load.p", 16),
    ];
    for (name, subscribers, subscribe, subject, size) in cases {
        let mut shard = Shard::new(ShardId(0), settings(1), 1);
        let mut fx = Effects::default();
        let publisher = connect(&mut shard, &mut fx, 0);
        for n in 0..subscribers {
            let conn = connect(&mut shard, &mut fx, n as u32 + 1);
            receive(&mut shard, &mut fx, conn, subscribe.as_bytes());
        }
        let input: String = (0..MESSAGES)
            .map(|n| {
                let subject = subject.replace("{n}", &n.to_string());
                format!("PUB {subject} {size}\r\n{}\r\n", "x".repeat(size))
            })
            .collect();
        let deliveries = if name.starts_with("queue") {
            1
        } else {
            subscribers.max(1)
        };
        group.throughput(Throughput::Elements((MESSAGES * deliveries) as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                // In pieces of a read buffer, so that the outbound stays as small as it would.
                for piece in input.as_bytes().chunks(64 * 1024) {
                    receive(&mut shard, &mut fx, publisher, black_box(piece));
                }
            });
        });
    }
    group.finish();
}
