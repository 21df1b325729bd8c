//! Closed-loop requests: each client has one outstanding, each has its own responder on the same thread.
//!
//! By default the thread never sleeps, so what is measured is the server's time and the kernel's, not a wake-up of ours.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::failure::{Doing, Failure, Result};
use crate::latency::Latencies;
use crate::link::{Link, send_some};
use crate::payload::{Layout, filler};
use crate::process::Usage;
use crate::report::Outcome;
use crate::run::Run;
use crate::settings::Settings;
use crate::system::{Epoll, Interest};
use crate::wire::{ServerOp, encode_publish_line, printable};

/// Up to this many sockets, trying each is cheaper than asking which is ready.
const SOCKETS_TRIED_MAX: usize = 4;
const SLEEP_MAX: Duration = Duration::from_millis(20);
const SID: u64 = 1;

pub fn run(clients: usize, sleep: bool, settings: &Settings) -> Result<Outcome> {
    let mut workers: Vec<Worker> = (0..settings.threads.max(1))
        .map(|_| Worker::new(sleep, settings))
        .collect();
    let workers_count = workers.len();
    for index in 0..clients {
        workers[index % workers_count]
            .clients
            .push(Client::connect(index, clients, settings)?);
    }
    let run = Run::new(workers.len(), clients);
    let usage_before = settings.server_pid.map(Usage::read);
    let workers = workers
        .into_iter()
        .map(|worker| move |run: &Run, thread| worker.run(run, thread))
        .collect();
    let finished = run.execute(settings, workers);
    let usage_after = settings.server_pid.map(Usage::read);

    let mut outcome = Outcome::new(
        &format!("request, {clients} clients"),
        settings.payload_bytes,
    );
    outcome.client_cpu_seconds = finished.client_cpu.as_secs_f64();
    if let (Some(Ok(before)), Some(Ok(after))) = (usage_before, usage_after) {
        outcome.server_cpu_seconds = Some((after.cpu - before.cpu).as_secs_f64());
    }
    let mut latencies = Latencies::default();
    let (mut requests, mut last_progress) = (0, Duration::ZERO);
    for report in finished.reports {
        match report {
            Ok(report) => {
                latencies.add(&report.latencies);
                requests += report.requests;
                last_progress = last_progress.max(report.last_progress);
            }
            Err(failure) => outcome.failures.push(failure.to_string()),
        }
    }
    let answered = latencies.samples();
    outcome.count(
        requests,
        answered,
        last_progress.saturating_sub(finished.started),
    );
    if requests != answered {
        outcome
            .failures
            .push(format!("{} requests lost", requests - answered));
    }
    outcome.set_latencies(latencies);
    Ok(outcome)
}

struct Worker {
    clients: Vec<Client>,
    layout: Layout,
    sleep: bool,
}

struct Report {
    requests: u64,
    latencies: Latencies,
    last_progress: Duration,
}

struct Client {
    requester: Link,
    responder: Link,
    /// The whole request; only its identity changes.
    request: Vec<u8>,
    payload_offset: usize,
    quota: Option<u64>,
    requests: u64,
    sent_ns: u64,
    outstanding: bool,
    closed: bool,
}

impl Client {
    fn connect(index: usize, clients: usize, settings: &Settings) -> Result<Self> {
        let (subject, inbox) = (
            format!("load.r.{index}"),
            format!("_INBOX.loadgen.{}.{index}", std::process::id()),
        );
        let mut responder = Link::open(&settings.target)?;
        responder.subscribe(&subject, None, SID)?;
        responder.barrier()?;
        responder.go_nonblocking()?;
        let mut requester = Link::open(&settings.target.for_publishers())?;
        requester.subscribe(&inbox, None, SID)?;
        requester.barrier()?;
        requester.go_nonblocking()?;
        let mut request = Vec::new();
        encode_publish_line(
            &mut request,
            subject.as_bytes(),
            Some(inbox.as_bytes()),
            settings.payload_bytes,
        );
        let payload_offset = request.len();
        request.extend_from_slice(&filler(settings.payload_bytes));
        request.extend_from_slice(b"\r\n");
        let quota = settings.quota(index, clients);
        Ok(Self {
            requester,
            responder,
            request,
            payload_offset,
            quota,
            requests: 0,
            sent_ns: 0,
            outstanding: false,
            closed: false,
        })
    }

    fn send_request(&mut self, layout: &Layout, now_ns: u64) -> Result<()> {
        layout.write(
            &mut self.request[self.payload_offset..],
            layout.word(0, self.requests),
        );
        self.requests += 1;
        self.sent_ns = now_ns;
        self.outstanding = true;
        send_whole(&mut self.requester, &self.request)
    }

    /// Answers what has come in for the responder, with the payload that came.
    fn respond(&mut self) -> Result<()> {
        if self.responder.inbox.fill(&mut self.responder.stream)? == 0 {
            return Ok(());
        }
        let mut answers = Vec::new();
        self.responder.inbox.drain(|op| {
            match op {
                ServerOp::Message(message) => {
                    let reply = message.reply.ok_or_else(|| {
                        Failure::server("delivered a request without its reply subject")
                    })?;
                    encode_publish_line(&mut answers, reply, None, message.payload.len());
                    answers.extend_from_slice(message.payload);
                    answers.extend_from_slice(b"\r\n");
                }
                other => answer_control(&other, &mut answers)?,
            }
            Ok(())
        })?;
        send_whole(&mut self.responder, &answers)
    }

    /// Takes the answer if it has come.
    fn take_answer(&mut self, layout: &Layout) -> Result<bool> {
        if self.requester.inbox.fill(&mut self.requester.stream)? == 0 {
            return Ok(false);
        }
        let expected = layout.word(0, self.requests.wrapping_sub(1));
        let (mut answered, mut control) = (false, Vec::new());
        let outstanding = &mut self.outstanding;
        self.requester.inbox.drain(|op| {
            match op {
                ServerOp::Message(message) if !message.headers.is_empty() => {
                    return Err(Failure::server(format!(
                        "answered a request with {}",
                        printable(message.headers)
                    )));
                }
                ServerOp::Message(message) => {
                    let ours = message.payload.len() == layout.payload_bytes
                        && layout.read(message.payload) == expected;
                    if !ours || !*outstanding {
                        return Err(Failure::server(
                            "delivered an answer twice, or one that nobody sent",
                        ));
                    }
                    *outstanding = false;
                    answered = true;
                }
                other => answer_control(&other, &mut control)?,
            }
            Ok(())
        })?;
        if !control.is_empty() {
            send_whole(&mut self.requester, &control)?;
        }
        Ok(answered)
    }
}

impl Worker {
    fn new(sleep: bool, settings: &Settings) -> Self {
        Self {
            clients: Vec::new(),
            layout: Layout::new(settings.payload_bytes),
            sleep,
        }
    }

    fn run(mut self, run: &Run, thread: usize) -> Result<Report> {
        let counters = &run.counters[thread];
        let mut latencies = Latencies::default();
        let mut epoll = self
            .watch_sockets()
            .doing(|| "watching sockets".to_owned())?;
        let try_all = 2 * self.clients.len() <= SOCKETS_TRIED_MAX && !self.sleep;
        let all: Vec<usize> = (0..2 * self.clients.len()).collect();
        let mut ready = Vec::new();
        let now_ns = || run.epoch.elapsed().as_nanos() as u64;
        let mut last_progress = run.epoch.elapsed();
        for client in self.clients.iter_mut() {
            client.next(&self.layout, false, now_ns())?;
        }
        while !run.abort.load(Relaxed) && self.clients.iter().any(|client| !client.closed) {
            let stopping = run.stop.load(Relaxed);
            if !try_all {
                ready.clear();
                let timeout = if self.sleep {
                    SLEEP_MAX
                } else {
                    Duration::ZERO
                };
                epoll
                    .wait(timeout, |token| ready.push(token))
                    .doing(|| "sleeping on sockets".to_owned())?;
            }
            for token in if try_all { &all } else { &ready } {
                let client = &mut self.clients[token / 2];
                if token % 2 == 0 {
                    client.respond()?;
                } else if client.take_answer(&self.layout)? {
                    let answered_ns = now_ns();
                    latencies.record(answered_ns - client.sent_ns);
                    last_progress = Duration::from_nanos(answered_ns);
                    counters.delivered.store(latencies.samples(), Relaxed);
                    client.next(&self.layout, stopping, answered_ns)?;
                }
            }
        }
        let requests = self.clients.iter().map(|client| client.requests).sum();
        Ok(Report {
            requests,
            latencies,
            last_progress,
        })
    }

    fn watch_sockets(&self) -> std::io::Result<Epoll> {
        let epoll = Epoll::new()?;
        for (index, client) in self.clients.iter().enumerate() {
            epoll.add(&client.responder.stream, 2 * index, Interest::Readable)?;
            epoll.add(&client.requester.stream, 2 * index + 1, Interest::Readable)?;
        }
        Ok(epoll)
    }
}

impl Client {
    fn next(&mut self, layout: &Layout, stopping: bool, now_ns: u64) -> Result<()> {
        if stopping || self.quota.is_some_and(|quota| self.requests >= quota) {
            self.closed = true;
            return Ok(());
        }
        self.send_request(layout, now_ns)
    }
}

fn answer_control(op: &ServerOp<'_>, out: &mut Vec<u8>) -> Result<()> {
    match op {
        ServerOp::Ping => out.extend_from_slice(b"PONG\r\n"),
        ServerOp::Error(text) => {
            return Err(Failure::server(format!("sent -ERR {}", printable(text))));
        }
        ServerOp::Pong | ServerOp::Info(_) | ServerOp::Ok | ServerOp::Message(_) => {}
    }
    Ok(())
}

/// With one small message outstanding the socket has room; a very large one may need a few tries.
fn send_whole(link: &mut Link, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() || !link.stream.is_flushed() {
        let sent = send_some(&mut link.stream, bytes)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}
