//! Two servers, the same workloads, in turn: each run gets a fresh server, pinned away from the client.
//!
//! Rounds alternate the order (A B, then B A), so that a machine that warms up or slows down favours neither.

mod machine;

mod table;
mod workloads;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::compare::table::{Cell, Row};
use crate::compare::workloads::{Measure, Named};
use crate::failure::{Doing, Failure, Result};
use crate::report::{Outcome, write_json};
use crate::server::{Server, ServerCommand, Store};
use crate::settings::Settings;
use crate::system::{current_cpus, pin_current_thread};
use crate::units::{parse_cpus, short};

#[derive(Args)]
#[command(after_help = workloads::help())]
pub struct CompareArgs {
    /// Command of the first server (the one compared against); {port} is replaced, VAR=value in front is honoured
    #[arg(long, value_name = "CMD")]
    a: String,
    /// Command of the second server
    #[arg(long, value_name = "CMD")]
    b: String,
    #[arg(long, default_value = "A")]
    name_a: String,
    #[arg(long, default_value = "B")]
    name_b: String,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// all, core, or names from the list below, comma-separated
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
        let workloads = workloads::select(&self.workloads)?;
        let server_cpus = parse_cpus(&self.server_cpus).map_err(Failure::Usage)?;
        let client_cpus = parse_cpus(&self.client_cpus).map_err(Failure::Usage)?;
        let commands = [
            ServerCommand::parse(&self.a)?,
            ServerCommand::parse(&self.b)?,
        ];
        let names = [self.name_a.as_str(), self.name_b.as_str()];
        let cpus_before = current_cpus();
        // The monitoring thread of each run inherits this, so nothing of ours disturbs the server's processor.
        pin_current_thread(&client_cpus)
            .doing(|| format!("pinning the client to {}", self.client_cpus))?;
        let mut settings = settings.clone();
        settings.cpus = client_cpus;
        settings.quiet = true;

        let mut rows: Vec<Row> = workloads.iter().map(Row::new).collect();
        let mut records = Vec::new();
        for round in 0..self.rounds {
            for (named, row) in workloads.iter().zip(&mut rows) {
                let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
                for side in order {
                    let record = run_once(
                        named,
                        &commands[side],
                        names[side],
                        round,
                        &server_cpus,
                        &settings,
                    );
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
        let markdown = self.markdown(&header, &rows, &records, names);
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
            format!(
                "pinning: server on {}, client on {}",
                self.server_cpus, self.client_cpus
            ),
            format!(
                "rounds: {}, order alternating; median (lowest–highest)",
                self.rounds
            ),
        ];
        header.extend(machine::git_commit().map(|commit| format!("checkout: {commit}")));
        header
    }

    fn markdown(
        &self,
        header: &[String],
        rows: &[Row],
        records: &[Record],
        names: [&str; 2],
    ) -> String {
        let mut text: String = header.iter().map(|line| format!("- {line}\n")).collect();
        text.push('\n');
        text.push_str(&table::markdown(rows, names));
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
    match measure(named, command, server_cpus, settings) {
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
    settings: &Settings,
) -> Result<(Option<f64>, Option<Outcome>)> {
    let store = Store::make(None)?;
    let server = Server::start(command, server_cpus, &store, settings)?;
    let mut settings = settings.clone();
    settings.target.address = server.address();
    settings.server_pid = Some(server.pid());
    settings.payload_bytes = named.payload_bytes;
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
