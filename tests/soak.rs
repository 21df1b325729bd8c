//! Connections come and go, in good order and not: memory, descriptors and threads of the server
//! stay where they were.
//!
//! `SKEIN_SOAK=200000 cargo test --test soak` sets how many come and go (`.ci/run` does).

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::{PATIENCE, Server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

const CONNECTIONS: usize = 60_000;
/// Connections before memory is measured first, or as many as are to be measured if these are more:
/// pools and tables grow to what they need, and with several threads the allocator takes about
/// 200,000 to settle (seen: 44 MiB after 60,000, 48 after 260,000, 49 after 660,000).
const WARM_UP_MIN: usize = 60_000;
/// Connections open at the same time.
const PARALLEL: usize = 64;
/// Source addresses, so that ports in TIME_WAIT do not run out.
const SOURCES: usize = 100;
/// What memory may grow by. In 200,000 connections it finds 20 bytes that each leaves behind; what
/// the allocator keeps back has settled to within half of it after the warm-up.
const GROWTH_MAX_KIB: u64 = 4096;
/// One size, so that what the allocator keeps is soon as much as it will ever be.
const PAYLOAD_BYTES: usize = 40_000;
const DEADLINE: Duration = Duration::from_secs(300);

#[test]
fn nothing_remains_of_closed_connections() {
    let total = env::var("SKEIN_SOAK").ok();
    let total = total.map_or(CONNECTIONS, |text| {
        text.parse().expect("SKEIN_SOAK is a number")
    });
    let warm_up = total.max(WARM_UP_MIN);
    let server = Server::start("--shards 2", "").expect("the server starts");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let idle = Footprint::of(&server);
    runtime.block_on(async {
        let soaked = async {
            come_and_go(server.address(), 0..warm_up).await;
            settle(&server, &idle).await;
            let warm = Footprint::of(&server);
            let start = Instant::now();
            come_and_go(server.address(), warm_up..warm_up + total).await;
            let elapsed = start.elapsed();
            settle(&server, &idle).await;
            let end = Footprint::of(&server);
            println!("{total} connections in {elapsed:?}: {idle:?}, then {warm:?}, then {end:?}");
            assert!(
                end.memory_kib <= warm.memory_kib + GROWTH_MAX_KIB,
                "{warm:?}, then {end:?}"
            );
            assert_eq!(end.threads, warm.threads, "no thread was left over");
        };
        tokio::time::timeout(DEADLINE, soaked)
            .await
            .expect("it takes too long");
    });
}

/// What a process has taken from the system.
#[derive(Debug)]
struct Footprint {
    memory_kib: u64,
    threads: u64,
    descriptors: BTreeMap<String, usize>,
}

impl Footprint {
    fn of(server: &Server) -> Self {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid()));
        let status = status.expect("the server runs");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number
                .and_then(|text| text.parse().ok())
                .expect("the kernel says it")
        };
        let mut descriptors = BTreeMap::new();
        let directory = fs::read_dir(format!("/proc/{}/fd", server.pid()));
        for entry in directory.expect("the server runs") {
            // One may have been closed in between.
            let target = entry.and_then(|entry| fs::read_link(entry.path()));
            let Ok(target) = target else { continue };
            // `socket:[123]`: the kind alone.
            let target = target.to_string_lossy().into_owned();
            let kind = target.split(":[").next().unwrap_or_default();
            *descriptors.entry(kind.to_owned()).or_default() += 1;
        }
        Self {
            memory_kib: number("VmRSS:"),
            threads: number("Threads:"),
            descriptors,
        }
    }
}

/// Waits until the server has closed what its clients have left.
async fn settle(server: &Server, idle: &Footprint) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A round trip on each of the shards, and its own connections are gone soon as well.
        for number in [1, 6, 11] {
            let done = one(server.address(), number).await;
            done.expect("the server still works");
        }
        let now = Footprint::of(server);
        if now.descriptors == idle.descriptors {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "descriptors remain: {idle:?}, then {now:?}"
        );
    }
}

async fn come_and_go(address: SocketAddr, numbers: std::ops::Range<usize>) {
    let numbers = std::cell::RefCell::new(numbers);
    let next = || numbers.borrow_mut().next();
    let work = async || {
        while let Some(number) = next() {
            if let Err(error) = one(address, number).await {
                panic!("connection {number}: {error}");
            }
        }
    };
    join_all((0..PARALLEL).map(|_| work())).await;
}

/// The life of one connection.
async fn one(address: SocketAddr, number: usize) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    let source = Ipv4Addr::new(127, 0, 0, 1 + (number % SOURCES) as u8);
    socket.bind(SocketAddr::from((source, 0)))?;
    let mut stream = BufReader::new(socket.connect(address).await?);
    let connect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n";
    let payload = "x".repeat(PAYLOAD_BYTES);
    let size = payload.len();
    match number % 8 {
        0 => {}
        // A conversation in good order.
        1 | 6 => {
            expect(&mut stream, "INFO {").await?;
            let operations = format!(
                "{connect}SUB soak.{number}.* 1\r\nSUB soak.> q{number} 2\r\nUNSUB 2\r\n\
                 PUB soak.{number}.a 2\r\nhi\r\nPING\r\n"
            );
            stream.write_all(operations.as_bytes()).await?;
            expect(&mut stream, &format!("MSG soak.{number}.a 1 2")).await?;
            expect(&mut stream, "hi").await?;
            expect(&mut stream, "PONG").await?;
        }
        2 => {
            expect(&mut stream, "INFO {").await?;
        }
        // Half a CONNECT, then the end.
        3 => {
            expect(&mut stream, "INFO {").await?;
            stream.write_all(&connect.as_bytes()[..20]).await?;
        }
        // Half a message, then the end.
        4 => {
            let operations = format!("{connect}SUB soak.half 1\r\nPUB soak.half {size}\r\n");
            stream.write_all(operations.as_bytes()).await?;
            stream.write_all(&payload.as_bytes()[..size / 2]).await?;
        }
        // A reset with subscriptions, and with messages unread.
        5 => {
            let operations = format!(
                "SUB soak.{number} 1\r\n{connect}SUB soak.{number} 2\r\n\
                 PUB soak.{number} {size}\r\n{payload}\r\n"
            );
            stream.write_all(operations.as_bytes()).await?;
            // More than that is on its way then.
            expect(&mut stream, "INFO {").await?;
            expect(&mut stream, "+OK").await?;
            stream.get_ref().set_zero_linger()?;
        }
        // An error, which the server closes for.
        _ => {
            expect(&mut stream, "INFO {").await?;
            stream
                .write_all(b"SUB soak.error 1\r\nNONSENSE\r\n")
                .await?;
            expect(&mut stream, "+OK").await?;
            expect(&mut stream, "-ERR 'Unknown Protocol Operation'").await?;
        }
    }
    Ok(())
}

async fn expect(stream: &mut BufReader<TcpStream>, start: &str) -> io::Result<()> {
    let mut line = String::new();
    within_patience(stream.read_line(&mut line)).await?;
    if line.starts_with(start) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "expected `{start}`, got `{line}`"
    )))
}

async fn within_patience<T>(reading: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.map_err(|_| io::Error::other("nothing comes"))?
}
