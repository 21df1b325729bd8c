//! What monitoring costs: the same workloads against one server, with and without somebody who polls it, in turn.
//!
//! One server for all rounds, because two starts of the same program differ by more than what is looked for; each round runs
//! both ways, the order alternating, and gives one ratio. Their median is the result.

mod poller;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::compare::workloads::{self, Measure, Named};
use crate::failure::{Doing, Failure, Result};
use crate::jetstream::api::Api;
use crate::link::{Link, Target};
use crate::server::{Server, ServerCommand, Store};
use crate::settings::Settings;
use crate::system::{current_cpus, pin_current_thread, raise_open_files_limit};
use crate::units::{parse_count, parse_cpus, parse_duration, short};
use poller::{Poller, Polls};

/// Descriptors besides the connections that are held.
const OPEN_FILES_RESERVE: u64 = 256;
const SID: u64 = 1;
/// Subscriptions written at once.
const SUBSCRIPTIONS_CHUNK: u64 = 10_000;

#[derive(Args)]
pub struct PolledArgs {
    /// Command of the server; {port}, {monitor} and {store} are replaced, VAR=value in front is honoured
    #[arg(long, value_name = "CMD")]
    command: String,
    /// Names of workloads of `compare`, comma-separated
    #[arg(long, default_value = "1:1-16,1:10-16", value_name = "LIST")]
    workloads: String,
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Each path is asked for so often
    #[arg(long, default_value = "100ms", value_parser = parse_duration, value_name = "TIME")]
    every: Duration,
    #[arg(
        long,
        default_value = "/varz,/connz,/subsz,/jsz,/healthz,/metrics",
        value_delimiter = ',',
        value_name = "LIST"
    )]
    paths: Vec<String>,
    /// Processors for the server
    #[arg(long, default_value = "0", value_name = "LIST")]
    server_cpus: String,
    /// Processors for the client and the poller
    #[arg(long, default_value = "1", value_name = "LIST")]
    client_cpus: String,
    /// Idle connections that the server has meanwhile, with a subscription each
    #[arg(long, default_value = "0", value_parser = parse_count, value_name = "COUNT")]
    connections: u64,
    /// Subscriptions that it has meanwhile, of one more connection
    #[arg(long, default_value = "0", value_parser = parse_count, value_name = "COUNT")]
    subscriptions: u64,
    /// Streams that it has meanwhile
    #[arg(long, default_value = "0", value_parser = parse_count, value_name = "COUNT")]
    streams: u64,
    /// Where the server gets its {store}; the system's temporary directory if not given
    #[arg(long, value_name = "DIR")]
    store_dir: Option<PathBuf>,
}

/// One workload, all rounds.
struct Measured {
    title: &'static str,
    unit: &'static str,
    alone: Vec<f64>,
    polled: Vec<f64>,
    /// Of each round: the server's processor time for a message, polled over alone. All its threads are in it, also those that
    /// answer polls; it says something on a busy machine, too.
    cpu_ratios: Vec<f64>,
    polls: Polls,
    failures: Vec<String>,
}

impl PolledArgs {
    /// Runs everything and prints a table; `false` if any run or poll failed.
    pub fn run(&self, settings: &Settings) -> Result<bool> {
        let server_cpus = parse_cpus(&self.server_cpus).map_err(Failure::Usage)?;
        let client_cpus = parse_cpus(&self.client_cpus).map_err(Failure::Usage)?;
        let command = ServerCommand::parse(&self.command)?;
        let workloads = workloads::select(&self.workloads)?;
        let cpus_before = current_cpus();
        // The poller inherits this.
        pin_current_thread(&client_cpus)
            .doing(|| format!("pinning the client to {}", self.client_cpus))?;
        let mut settings = settings.clone();
        settings.cpus = client_cpus;
        settings.quiet = true;
        let mut all = Vec::new();
        for named in &workloads {
            let store = Store::make(self.store_dir.as_deref())?;
            let server = Server::start(&command, &server_cpus, &store, &settings)?;
            settings.target.address = server.address();
            settings.server_pid = Some(server.pid());
            let held = self.fill(&settings.target)?;
            all.push(self.measure(named, &server, &settings)?);
            drop(held);
        }
        if !cpus_before.is_empty() {
            pin_current_thread(&cpus_before).doing(|| "unpinning the client".to_owned())?;
        }
        print!("{}", self.markdown(&all));
        Ok(all.iter().all(|measured| measured.failures.is_empty()))
    }

    fn measure(&self, named: &Named, server: &Server, settings: &Settings) -> Result<Measured> {
        let Measure::Run(workload, value) = &named.measure else {
            return Err(Failure::usage(format!("{} is over at once", named.name)));
        };
        let mut settings = settings.clone();
        settings.payload_bytes = named.payload_bytes;
        let mut measured = Measured {
            title: named.title,
            unit: named.unit,
            alone: Vec::new(),
            polled: Vec::new(),
            cpu_ratios: Vec::new(),
            polls: Polls::default(),
            failures: Vec::new(),
        };
        for round in 0..self.rounds {
            let mut values = [None, None];
            let mut costs = [None, None];
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                let poller = (side == 1)
                    .then(|| Poller::start(server.monitor(), &self.paths, self.every))
                    .transpose()?;
                let outcome = workload.run(&settings)?;
                if let Some(poller) = poller {
                    measured.add(poller.stop());
                }
                measured.failures.extend(outcome.failures.iter().cloned());
                values[side] = value(&outcome);
                let messages = outcome.published.max(outcome.delivered) as f64;
                costs[side] = outcome.server_cpu_seconds.map(|cpu| cpu / messages);
            }
            if let [Some(alone), Some(polled)] = costs
                && alone > 0.0
            {
                measured.cpu_ratios.push(polled / alone);
            }
            if let [Some(alone), Some(polled)] = values
                && alone > 0.0
            {
                measured.alone.push(alone);
                measured.polled.push(polled);
                eprintln!(
                    "round {} | {} | {} {unit} | polled {} {unit} | {:.3}",
                    round + 1,
                    named.title,
                    short(alone),
                    short(polled),
                    polled / alone,
                    unit = named.unit
                );
            }
        }
        Ok(measured)
    }

    /// What the server has besides; it has it as long as this is kept.
    fn fill(&self, target: &Target) -> Result<Vec<Link>> {
        raise_open_files_limit(self.connections + OPEN_FILES_RESERVE)
            .doing(|| "raising the limit of open files".to_owned())?;
        let mut held = Vec::new();
        for number in 0..self.connections {
            let mut link = Link::open(target)?;
            link.subscribe(&format!("held.connection.{number}"), None, SID)?;
            held.push(link);
        }
        if self.subscriptions > 0 {
            let mut link = Link::open(target)?;
            let mut number = 0;
            while number < self.subscriptions {
                let end = self.subscriptions.min(number + SUBSCRIPTIONS_CHUNK);
                let mut lines = String::new();
                for number in number..end {
                    // Writing to a String cannot fail.
                    let _ = write!(lines, "SUB held.{}.{number} {number}\r\n", number % 1000);
                }
                link.write(lines.as_bytes())?;
                link.barrier()?;
                number = end;
            }
            held.push(link);
        }
        if self.streams > 0 {
            let mut api = Api::open(target)?;
            for number in 0..self.streams {
                let (name, subject) = (format!("HELD{number}"), format!("stored.{number}"));
                api.make_stream(&serde_json::json!({ "name": name, "subjects": [subject] }))?;
            }
        }
        Ok(held)
    }

    fn markdown(&self, all: &[Measured]) -> String {
        let mut text = format!(
            "- {}: every {} ms\n- {}\n- {} rounds; median (lowest–highest)\n- beside it {} connections, {} subscriptions, {} streams\n\n\
             | workload | unit | alone | polled | polled/alone | server CPU per message | answers | p50 | longest |\n|---|---|--:|--:|--:|--:|--:|--:|--:|\n",
            self.paths.join(" "),
            self.every.as_millis(),
            self.command,
            self.rounds,
            self.connections,
            self.subscriptions,
            self.streams,
        );
        for measured in all {
            text.push_str(&measured.line());
        }
        for measured in all {
            for failure in &measured.failures {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "\n- {}: {failure}", measured.title);
            }
        }
        text
    }
}

impl Measured {
    fn add(&mut self, polls: Polls) {
        self.polls.rounds += polls.rounds;
        self.polls.took.extend(polls.took);
        self.polls.bytes += polls.bytes;
        if let Some(failure) = polls.failure {
            self.failures.push(failure.to_string());
        }
        if polls.rounds == 0 {
            self.failures
                .push("nothing was polled: the run is too short".to_owned());
        }
    }

    fn line(&self) -> String {
        let spread = |values: &[f64]| {
            spread(values).map_or("–".to_owned(), |[low, middle, high]| {
                format!("{} ({}–{})", short(middle), short(low), short(high))
            })
        };
        let ratios: Vec<f64> = self
            .polled
            .iter()
            .zip(&self.alone)
            .map(|(polled, alone)| polled / alone)
            .collect();
        let ratio = |values: &[f64]| {
            self::spread(values).map_or("–".to_owned(), |[low, middle, high]| {
                format!("**{middle:.3}** ({low:.3}–{high:.3})")
            })
        };
        let mut took_ms: Vec<f64> = Vec::new();
        took_ms.extend(self.polls.took.iter().map(|took| took.as_secs_f64() * 1e3));
        let [_, p50, longest] = self::spread(&took_ms).unwrap_or_default();
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {p50:.2} ms | {longest:.1} ms |\n",
            self.title,
            self.unit,
            spread(&self.alone),
            spread(&self.polled),
            ratio(&ratios),
            ratio(&self.cpu_ratios),
            took_ms.len(),
        )
    }
}

/// Lowest, median and highest.
fn spread(values: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    };
    Some([lowest, median, highest])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_the_median_of_ratios() {
        let measured = Measured {
            title: "t",
            unit: "msg/s",
            alone: vec![100.0, 200.0, 400.0],
            polled: vec![99.0, 100.0, 400.0],
            cpu_ratios: vec![1.01],
            polls: Polls::default(),
            failures: Vec::new(),
        };
        let line = measured.line();
        assert!(
            line.contains("| **0.990** (0.500–1.000) | **1.010** (1.010–1.010) |"),
            "{line}"
        );
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0]), Some([1.0, 2.0, 3.0]));
    }

    #[test]
    fn a_run_in_which_nothing_was_polled_fails() {
        let mut measured = Measured {
            title: "t",
            unit: "msg/s",
            alone: Vec::new(),
            polled: Vec::new(),
            cpu_ratios: Vec::new(),
            polls: Polls::default(),
            failures: Vec::new(),
        };
        measured.add(Polls::default());
        assert_eq!(measured.failures.len(), 1);
    }
}
