//! Two or three servers, the same workloads, in turn: each run gets a fresh server with a fresh store, pinned away from
//! the client.
//!
//! Rounds alternate the order (A B, then B A), so that a machine that warms up or slows down favours neither.

mod jetstream_rows;
mod machine;

mod table;
pub mod workloads;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::compare::table::{Cell, Row};
use crate::compare::workloads::{Measure, Named};
use crate::failure::{Doing, Failure, Result};
use crate::jetstream::args::JetStreamWorkload;
use crate::jetstream::{disk, restart};
use crate::report::{Outcome, write_json};
use crate::server::{Server, ServerCommand, Store};
use crate::settings::Settings;
use crate::system::{current_cpus, pin_current_thread};
use crate::units::{parse_count, parse_cpus, short};
use crate::workload::Workload;

#[derive(Args)]
#[command(after_help = workloads::help())]
pub struct CompareArgs {
    /// Command of the first server (the one compared against); {port}, {store} and {sync_always} are replaced, VAR=value
    /// in front is honoured
    #[arg(long, value_name = "CMD")]
    a: String,
    /// Command of the second server
    #[arg(long, value_name = "CMD")]
    b: String,
    #[arg(long, default_value = "A")]
    name_a: String,
    #[arg(long, default_value = "B")]
    name_b: String,
    /// Command of a third server, for the workloads in which it says something: one that syncs each write, say
    #[arg(long, value_name = "CMD")]
    c: Option<String>,
    #[arg(long, default_value = "C")]
    name_c: String,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where servers get their {store}, a directory of its own for each run; the system's temporary directory if not given
    #[arg(long, value_name = "DIR")]
    store_dir: Option<PathBuf>,
    /// Messages in the streams that are filled before something is measured, instead of each workload's own number
    #[arg(long, value_parser = parse_count)]
    messages: Option<u64>,
    /// all (without streams), core (the most telling of these), js (with streams), or names from the list below, comma-separated
    #[arg(long, default_value = "core", value_name = "LIST")]
    workloads: String,
    /// Processors for the servers
    #[arg(long, default_value = "0", value_name = "LIST")]
    server_cpus: String,
    /// Processors for the client
    #[arg(long, default_value = "1", value_name = "LIST")]
    client_cpus: String,
    /// Also write the table to a file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// One run, as it goes into the JSON file.
#[derive(Serialize)]
struct Record {
    workload: &'static str,
    server: String,
    round: usize,
    value: Option<f64>,
    unit: &'static str,
    failures: Vec<String>,
    outcome: Option<Outcome>,
}

#[derive(Serialize)]
struct Document<'a> {
    header: &'a [String],
    rows: &'a [Row],
    runs: &'a [Record],
}

impl CompareArgs {
    /// Runs everything and prints the table; `false` if any run failed.
    pub fn run(&self, settings: &Settings, json: Option<&Path>) -> Result<bool> {
        let mut workloads = workloads::select(&self.workloads)?;
        if let Some(messages) = self.messages {
            workloads
                .iter_mut()
                .for_each(|named| named.fill_with(messages));
        }
        let server_cpus = parse_cpus(&self.server_cpus).map_err(Failure::Usage)?;
        let client_cpus = parse_cpus(&self.client_cpus).map_err(Failure::Usage)?;
        let mut commands = vec![
            ServerCommand::parse(&self.a)?,
            ServerCommand::parse(&self.b)?,
        ];
        let mut names = vec![self.name_a.as_str(), self.name_b.as_str()];
        if let Some(c) = &self.c {
            commands.push(ServerCommand::parse(c)?);
            names.push(&self.name_c);
        }
        let cpus_before = current_cpus();
        // The monitoring thread of each run inherits this, so nothing of ours disturbs the server's processor.
        pin_current_thread(&client_cpus)
            .doing(|| format!("pinning the client to {}", self.client_cpus))?;
        let mut settings = settings.clone();
        settings.cpus = client_cpus;
        settings.quiet = true;

        let mut rows: Vec<Row> = workloads
            .iter()
            .map(|named| Row::new(named, names.len()))
            .collect();
        let mut records = Vec::new();
        for round in 0..self.rounds {
            for (named, row) in workloads.iter().zip(&mut rows) {
                let servers = if named.with_c { names.len() } else { 2 };
                let mut order: Vec<usize> = (0..servers).collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                for side in order {
                    let record = run_once(
                        named,
                        &commands[side],
                        names[side],
                        round,
                        &server_cpus,
                        self.store_dir.as_deref(),
                        &settings,
                    );
                    if named.jetstream
                        && let Some(outcome) = &record.outcome
                    {
                        add_details(row, side, outcome);
                    }
                    eprintln!("{}", progress(&record));
                    row.cells[side].push(match record.value {
                        Some(value) if record.failures.is_empty() => Cell::Value(value),
                        _ => Cell::Failed,
                    });
                    records.push(record);
                }
            }
        }
        if !cpus_before.is_empty() {
            pin_current_thread(&cpus_before).doing(|| "unpinning the client".to_owned())?;
        }
        let header = self.header();
        let markdown = self.markdown(&header, &rows, &records, &names);
        print!("{markdown}");
        if let Some(path) = &self.markdown {
            std::fs::write(path, &markdown).doing(|| format!("writing {}", path.display()))?;
        }
        if let Some(path) = json {
            write_json(
                path,
                &Document {
                    header: &header,
                    rows: &rows,
                    runs: &records,
                },
            )?;
        }
        Ok(records.iter().all(|record| record.failures.is_empty()))
    }

    fn header(&self) -> Vec<String> {
        let mut header = vec![
            machine::describe(),
            format!("date: {}", machine::date()),
            format!("{}: `{}`", self.name_a, self.a),
            format!("{}: `{}`", self.name_b, self.b),
        ];
        header.extend(self.c.iter().map(|c| format!("{}: `{c}`", self.name_c)));
        header.extend([
            format!(
                "pinning: server on {}, client on {}",
                self.server_cpus, self.client_cpus
            ),
            format!(
                "rounds: {}, order alternating; median (lowest–highest)",
                self.rounds
            ),
        ]);
        header.extend(
            self.messages
                .map(|messages| format!("streams filled with {messages} messages")),
        );
        header.extend(machine::git_commit().map(|commit| format!("checkout: {commit}")));
        header
    }

    fn markdown(
        &self,
        header: &[String],
        rows: &[Row],
        records: &[Record],
        names: &[&str],
    ) -> String {
        let mut text: String = header.iter().map(|line| format!("- {line}\n")).collect();
        text.push('\n');
        text.push_str(&table::markdown(rows, names));
        text.push_str(&table::details_markdown(rows, names));
        let mut failed = records
            .iter()
            .filter(|record| !record.failures.is_empty())
            .peekable();
        if failed.peek().is_some() {
            text.push_str("\nFailed runs:\n\n");
        }
        for record in failed {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "- {}, {}, round {}: {}",
                record.workload,
                record.server,
                record.round + 1,
                record.failures.join("; ")
            );
        }
        text
    }
}

fn run_once(
    named: &Named,
    command: &ServerCommand,
    name: &str,
    round: usize,
    server_cpus: &[usize],
    store_parent: Option<&Path>,
    settings: &Settings,
) -> Record {
    let mut record = Record {
        workload: named.title,
        server: name.to_owned(),
        round,
        value: None,
        unit: named.unit,
        failures: Vec::new(),
        outcome: None,
    };
    match measure(named, command, server_cpus, store_parent, settings) {
        Ok((value, outcome)) => {
            record.value = value;
            if let Some(outcome) = outcome {
                record.failures.clone_from(&outcome.failures);
                record.outcome = Some(outcome);
            }
        }
        Err(failure) => record.failures.push(failure.to_string()),
    }
    record
}

fn measure(
    named: &Named,
    command: &ServerCommand,
    server_cpus: &[usize],
    store_parent: Option<&Path>,
    settings: &Settings,
) -> Result<(Option<f64>, Option<Outcome>)> {
    let mut settings = settings.clone();
    settings.payload_bytes = named.payload_bytes;
    // Some have no server, or start and stop it themselves.
    let alone = match &named.measure {
        Measure::Run(Workload::JetStream(JetStreamWorkload::Disk(args)), value) => {
            // In the server's place: from another processor than the one that takes the disk's
            // interrupts, each sync takes longer.
            pin_current_thread(server_cpus)
                .doing(|| "pinning to the server's processors".to_owned())?;
            let outcome = disk::run(store_parent, args.how, settings.duration());
            pin_current_thread(&settings.cpus)
                .doing(|| "pinning to the client's processors".to_owned())?;
            let outcome = outcome?;
            Some((value(&outcome), Some(outcome)))
        }
        Measure::Run(Workload::JetStream(JetStreamWorkload::JsRestart(args)), value) => {
            let outcome = restart::run(args, command, server_cpus, store_parent, &settings)?;
            Some((value(&outcome), Some(outcome)))
        }
        Measure::Ready | Measure::Run(..) => None,
    };
    if let Some(alone) = alone {
        return Ok(alone);
    }
    let store = Store::make(store_parent)?;
    let server = Server::start(command, server_cpus, &store, &settings)?;
    settings.target.address = server.address();
    settings.server_pid = Some(server.pid());
    match &named.measure {
        Measure::Ready => Ok((Some(server.ready_after().as_secs_f64() * 1e3), None)),
        Measure::Run(workload, value) => {
            let outcome = workload.run(&settings)?;
            Ok((value(&outcome), Some(outcome)))
        }
    }
}

fn progress(record: &Record) -> String {
    let result = match record.value {
        Some(value) if record.failures.is_empty() => format!("{} {}", short(value), record.unit),
        _ => format!("FAILED: {}", record.failures.join("; ")),
    };
    format!(
        "round {} | {} | {} | {result}",
        record.round + 1,
        record.workload,
        record.server
    )
}

/// What streams cost and how long publishers wait for them, beside each row's own figure.
fn add_details(row: &mut Row, side: usize, outcome: &Outcome) {
    let messages = outcome.published.max(outcome.delivered);
    if let Some(seconds) = outcome.server_cpu_seconds
        && messages > 0
    {
        let each_us = seconds * 1e6 / messages as f64;
        row.add_detail(side, "server CPU per message", "µs", each_us);
    }
    if let Some(latency) = &outcome.latency {
        row.add_detail(side, "latency p50", "µs", latency.p50_us);
        row.add_detail(side, "latency p99", "µs", latency.p99_us);
    }
    for metric in &outcome.metrics {
        row.add_detail(side, &metric.name, &metric.unit, metric.value);
    }
}
