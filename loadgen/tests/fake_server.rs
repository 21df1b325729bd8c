//! Whole runs against a tiny in-process broker that can be told to misbehave, so the tests need nothing installed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clap::Parser;
use loadgen::cli::Cli;
use loadgen::link::Target;
use loadgen::report::Outcome;
use loadgen::settings::{Amount, Settings};
use loadgen::workload::*;

#[derive(Clone, Copy, PartialEq)]
enum Misdeed {
    None,
    Lose,
    Duplicate,
    Reorder,
    Alter,
    Error,
    Close,
}

/// The delivery, counted over the broker's life, that goes wrong.
const VICTIM: u64 = 500;
const MESSAGES: u64 = 2_000;

struct Subscription {
    filter: String,
    queue_group: Option<String>,
    sid: String,
    connection: TcpStream,
}

struct Broker {
    subscriptions: Vec<Subscription>,
    misdeed: Misdeed,
    deliveries: u64,
    /// A message held back to arrive after its successor.
    held: Option<Vec<u8>>,
    turns: BTreeMap<String, usize>,
}

fn start(misdeed: Misdeed) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let broker = Broker {
        subscriptions: Vec::new(),
        misdeed,
        deliveries: 0,
        held: None,
        turns: BTreeMap::new(),
    };
    let broker = Arc::new(Mutex::new(broker));
    thread::spawn(move || {
        for connection in listener.incoming() {
            let broker = Arc::clone(&broker);
            // A client that goes away ends its thread with an error that nobody needs.
            thread::spawn(move || serve(connection.unwrap(), &broker));
        }
    });
    address
}

fn serve(mut connection: TcpStream, broker: &Mutex<Broker>) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    connection.write_all(b"INFO {\"version\":\"fake\",\"max_payload\":1048576}\r\n")?;
    let mut input = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[0] {
            "PING" => {
                let _in_turn = broker.lock().unwrap();
                connection.write_all(b"PONG\r\n")?;
            }
            "SUB" => broker.lock().unwrap().subscriptions.push(Subscription {
                filter: words[1].to_owned(),
                queue_group: (words.len() == 4).then(|| words[2].to_owned()),
                sid: words[words.len() - 1].to_owned(),
                connection: connection.try_clone()?,
            }),
            "PUB" => {
                let reply = if words.len() == 4 { words[2] } else { "" };
                let mut payload = vec![0; words[words.len() - 1].parse::<usize>().unwrap() + 2];
                input.read_exact(&mut payload)?;
                broker.lock().unwrap().publish(words[1], reply, &payload);
            }
            _ => {}
        }
    }
}

impl Broker {
    fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) {
        let matching: Vec<usize> = (0..self.subscriptions.len())
            .filter(|index| matches(&self.subscriptions[*index].filter, subject))
            .collect();
        let (grouped, single): (Vec<usize>, Vec<usize>) = matching
            .into_iter()
            .partition(|index| self.subscriptions[*index].queue_group.is_some());
        for index in single {
            self.deliver(index, subject, reply, payload);
        }
        if !grouped.is_empty() {
            let turn = self.turns.entry(subject.to_owned()).or_default();
            *turn += 1;
            let member = grouped[*turn % grouped.len()];
            self.deliver(member, subject, reply, payload);
        }
    }

    fn deliver(&mut self, index: usize, subject: &str, reply: &str, payload: &[u8]) {
        let Subscription { sid, .. } = &self.subscriptions[index];
        let size = payload.len() - 2;
        let gap = if reply.is_empty() { "" } else { " " };
        let mut message = format!("MSG {subject} {sid}{gap}{reply} {size}\r\n").into_bytes();
        message.extend_from_slice(payload);
        self.deliveries += 1;
        if self.deliveries == VICTIM {
            match self.misdeed {
                Misdeed::None => {}
                Misdeed::Lose => return,
                Misdeed::Duplicate => message = message.repeat(2),
                Misdeed::Reorder => {
                    self.held = Some(message);
                    return;
                }
                Misdeed::Alter => message[4] ^= 1,
                Misdeed::Error => message = b"-ERR 'Slow Consumer'\r\n".to_vec(),
                Misdeed::Close => {
                    let _ = self.subscriptions[index]
                        .connection
                        .shutdown(std::net::Shutdown::Both);
                }
            }
        }
        message.extend(self.held.take().unwrap_or_default());
        // A gone subscriber loses its messages, as with any broker.
        let _ = self.subscriptions[index].connection.write_all(&message);
    }
}

fn matches(filter: &str, subject: &str) -> bool {
    let (filter, subject): (Vec<&str>, Vec<&str>) =
        (filter.split('.').collect(), subject.split('.').collect());
    filter.len() == subject.len()
        && filter
            .iter()
            .zip(&subject)
            .all(|(token, word)| *token == "*" || token == word)
}

fn settings(address: SocketAddr, threads: usize) -> Settings {
    Settings {
        target: Target {
            address,
            user: None,
            pass: None,
            token: None,
            publisher: None,
            security: None,
        },
        cpus: Vec::new(),
        threads,
        payload_bytes: 16,
        amount: Amount::Count(MESSAGES),
        busy: false,
        stall_timeout: Duration::from_millis(300),
        quiet: true,
        server_pid: None,
    }
}

fn workloads() -> Vec<(Workload, u64)> {
    vec![
        (Workload::Pub(PubArgs { publishers: 2 }), 0),
        (Workload::Pairs(PairsArgs { pairs: 3 }), MESSAGES),
        (
            Workload::Fan(FanArgs {
                subscribers: 3,
                publishers: 2,
            }),
            3 * MESSAGES,
        ),
        (
            Workload::Wildcard(WildcardArgs {
                subjects: 77,
                subscribers: 2,
                scattered: true,
            }),
            2 * MESSAGES,
        ),
        (
            Workload::Queue(QueueArgs {
                members: 3,
                publishers: 2,
            }),
            MESSAGES,
        ),
        (
            Workload::Request(RequestArgs {
                clients: 2,
                sleep: true,
            }),
            MESSAGES,
        ),
        (
            Workload::Latency(LatencyArgs {
                rate: 100_000,
                publishers: 2,
                subscribers: 3,
                poisson: true,
            }),
            MESSAGES,
        ),
        (
            Workload::Sparse(SparseArgs {
                publishers: 7,
                rate: 50_000,
                subscribers: 2,
                even: true,
            }),
            MESSAGES,
        ),
    ]
}

#[test]
fn an_honest_broker_passes_every_workload() {
    for threads in [1, 2] {
        for (workload, delivered) in workloads() {
            let outcome = workload
                .run(&settings(start(Misdeed::None), threads))
                .unwrap();
            assert_eq!(
                outcome.failures, [""; 0],
                "{workload:?} on {threads} threads"
            );
            assert_eq!(
                (outcome.published, outcome.delivered),
                (MESSAGES, delivered),
                "{workload:?}"
            );
        }
    }
}

#[test]
fn payloads_of_any_size_pass() {
    for payload_bytes in [0, 1, 2, 3, 7, 8, 9, 100, 70_000] {
        let mut settings = settings(start(Misdeed::None), 1);
        settings.payload_bytes = payload_bytes;
        let outcome = Workload::Pairs(PairsArgs { pairs: 1 })
            .run(&settings)
            .unwrap();
        assert_eq!(outcome.failures, [""; 0], "{payload_bytes} bytes");
    }
}

#[test]
fn publishing_for_a_time_loses_nothing() {
    let mut settings = settings(start(Misdeed::None), 1);
    settings.amount = Amount::After(Duration::from_millis(100));
    // Nothing is to be lost here, and a busy machine may take its time.
    settings.stall_timeout = Duration::from_secs(20);
    for (workload, _) in workloads() {
        let outcome = workload.run(&settings).unwrap();
        assert_eq!(outcome.failures, [""; 0], "{workload:?}");
        assert!(outcome.published > 0);
    }
}

fn failures_of(workload: &Workload, misdeed: Misdeed) -> String {
    match workload.run(&settings(start(misdeed), 1)) {
        Ok(Outcome { failures, .. }) => failures.join("; "),
        Err(failure) => failure.to_string(),
    }
}

#[test]
fn every_misdeed_is_found() {
    for (workload, _) in workloads()
        .into_iter()
        .filter(|(_, delivered)| *delivered > 0)
    {
        let requests = matches!(workload, Workload::Request(_));
        for (misdeed, word) in [
            (Misdeed::Lose, "lost"),
            (Misdeed::Duplicate, "duplicated"),
            (Misdeed::Error, "-ERR 'Slow Consumer'"),
            (Misdeed::Close, "closed the connection"),
        ] {
            let failures = failures_of(&workload, misdeed);
            let word = if requests && misdeed == Misdeed::Duplicate {
                "twice"
            } else {
                word
            };
            // A doubled request may reach the responder; then two answers come, which is found as well.
            assert!(
                failures.contains(word),
                "{workload:?}: {word} not in {failures:?}"
            );
        }
    }
}

#[test]
fn reordered_and_altered_messages_are_found() {
    let pair = Workload::Pairs(PairsArgs { pairs: 1 });
    assert_eq!(failures_of(&pair, Misdeed::Reorder), "messages 1 reordered");
    assert_eq!(failures_of(&pair, Misdeed::Alter), "messages 1 altered");
    let wildcard = Workload::Wildcard(WildcardArgs {
        subjects: 9,
        subscribers: 1,
        scattered: false,
    });
    assert_eq!(
        failures_of(&wildcard, Misdeed::Reorder),
        "messages 1 reordered"
    );
}

#[test]
fn the_command_line_runs_and_writes_files() {
    let server = start(Misdeed::None).to_string();
    let file =
        |end: &str| std::env::temp_dir().join(format!("loadgen-test-{}.{end}", std::process::id()));
    let [json, hgrm, svg] = ["json", "hgrm", "svg"].map(file);
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let arguments = [
        "loadgen", "--server", &server, "--count", "1k", "--quiet", "request", "--size", "64B",
    ];
    let files = [
        "--json",
        &path(&json),
        "--hgrm",
        &path(&hgrm),
        "--svg",
        &path(&svg),
    ];
    assert!(
        Cli::try_parse_from(arguments.into_iter().chain(files))
            .ok()
            .unwrap()
            .run()
            .unwrap()
    );
    let document: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(document["delivered"], 1_000);
    assert_eq!(document["latency"]["samples"], 1_000);
    assert!(
        std::fs::read_to_string(&hgrm)
            .unwrap()
            .contains("Total count    =         1000]")
    );
    assert!(std::fs::read_to_string(&svg).unwrap().contains("<svg"));
    [json, hgrm, svg]
        .iter()
        .for_each(|path| std::fs::remove_file(path).unwrap());
}
