//! A server's return: filled, stopped or killed, started again, and asked until its stream answers as before.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::failure::{Failure, Result};
use crate::jetstream::api::{Api, StreamState};
use crate::jetstream::args::RestartArgs;
use crate::jetstream::mixed::bytes_on_disk;
use crate::jetstream::publish::{STREAM, fill_made};
use crate::link::Target;
use crate::payload::Layout;
use crate::process::Usage;
use crate::report::Outcome;
use crate::server::{Server, ServerCommand, Store};
use crate::settings::Settings;
use crate::subjects::{NumberedSubjects, Subjects};
use crate::system::current_cpus;

pub const READY: &str = "stream answers after";
pub const RSS_FILLED: &str = "server RSS, filled";
pub const RSS_RESTARTED: &str = "server RSS, restarted";
const FILLED: &str = "filled with";
const STOPPED: &str = "stopped within";
const LISTENING: &str = "answers PING after";
const STORE: &str = "store";
const PATIENCE: Duration = Duration::from_secs(600);

/// The workload with a command of its own, not `compare`'s.
pub fn run_alone(args: &RestartArgs, settings: &Settings) -> Result<Outcome> {
    if args.command.is_empty() {
        return Err(Failure::usage(
            "js-restart starts its server: --command 'nats-server -js -sd {store} -p {port}'",
        ));
    }
    let command = ServerCommand::parse(&args.command)?;
    let cpus = current_cpus();
    run(args, &command, &cpus, args.store_dir.as_deref(), settings)
}

pub fn run(
    args: &RestartArgs,
    command: &ServerCommand,
    cpus: &[usize],
    store_parent: Option<&Path>,
    settings: &Settings,
) -> Result<Outcome> {
    let store = Store::make(store_parent)?;
    let server = Server::start(command, cpus, &store, settings)?;
    let mut settings = settings.clone();
    settings.target.address = server.address();
    settings.server_pid = Some(server.pid());
    let mut api = Api::open(&settings.target)?;
    let family = NumberedSubjects::new("load.k.", args.subjects, true);
    let config = args
        .keeping
        .stream(STREAM, &["load.k.>"], &json!({"allow_direct": true}));
    api.make_stream(&config)?;
    let filled = fill_made(
        &mut api,
        STREAM,
        Subjects::Numbered(family),
        0,
        args.messages,
        &settings,
    )?;
    let before = api.stream(STREAM)?;
    let usage_filled = Usage::read(server.pid())?;
    let stopping = Instant::now();
    server.stop(args.kill);
    let stopped_within = stopping.elapsed();
    let store_bytes = bytes_on_disk(&store.messages());

    let start = Instant::now();
    let server = Server::start(command, cpus, &store, &settings)?;
    settings.target.address = server.address();
    let (mut api, after) = wait_for_stream(&settings.target, &before)?;
    let ready_after = start.elapsed();
    let usage = Usage::read(server.pid())?;

    let mut outcome = filled.outcome;
    outcome.workload = format!(
        "js-restart, {} messages, {} subjects, {}",
        args.messages,
        args.subjects,
        if args.kill { "killed" } else { "stopped" }
    );
    outcome.add_metric(FILLED, outcome.published_per_second, "msg/s");
    outcome.add_metric(READY, ready_after.as_secs_f64() * 1e3, "ms");
    outcome.add_metric(LISTENING, server.ready_after().as_secs_f64() * 1e3, "ms");
    outcome.add_metric(STOPPED, stopped_within.as_secs_f64() * 1e3, "ms");
    outcome.add_metric(RSS_FILLED, mib(usage_filled.rss_bytes), "MiB");
    outcome.add_metric(RSS_RESTARTED, mib(usage.rss_bytes), "MiB");
    outcome.add_metric(STORE, mib(store_bytes), "MiB");
    outcome.add_metric("server CPU of the restart", usage.cpu.as_secs_f64(), "s");
    if after != before {
        outcome.failures.push(format!(
            "had {before:?} before the restart and {after:?} after it"
        ));
    }
    outcome
        .failures
        .extend(read_back(&mut api, args.messages, settings.payload_bytes)?);
    Ok(outcome)
}

/// Asks until the stream is as before; the last answer if it never is.
fn wait_for_stream(target: &Target, before: &StreamState) -> Result<(Api, StreamState)> {
    const PAUSE: Duration = Duration::from_millis(1);
    let deadline = Instant::now() + PATIENCE;
    let mut api: Option<Api> = None;
    loop {
        let answer = match &mut api {
            Some(api) => api.stream(STREAM),
            None => Api::open(target).and_then(|mut opened| {
                let state = opened.stream(STREAM);
                api = Some(opened);
                state
            }),
        };
        match answer {
            Ok(state) if state == *before || Instant::now() > deadline => {
                let api = api.ok_or_else(|| Failure::usage("an answer without a connection"))?;
                return Ok((api, state));
            }
            Err(failure) if Instant::now() > deadline => return Err(failure),
            Ok(_) | Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Reads messages from all over the stream and compares them with what was published.
fn read_back(api: &mut Api, messages: u64, payload_bytes: usize) -> Result<Option<String>> {
    const LOOKS: u64 = 1_000;
    let layout = Layout::new(payload_bytes);
    for look in 0..LOOKS.min(messages) {
        let number = if look == 0 {
            messages - 1
        } else {
            look * (messages / LOOKS).max(1) % messages
        };
        let body = json!({"seq": number + 1}).to_string();
        let payload = api.request(&format!("$JS.API.DIRECT.GET.{STREAM}"), body.as_bytes())?;
        if payload.len() != payload_bytes || layout.read(&payload) != layout.word(0, number) {
            let seq = number + 1;
            return Ok(Some(format!(
                "has at sequence {seq} another message than was published"
            )));
        }
    }
    Ok(None)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
