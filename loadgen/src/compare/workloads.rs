//! The rows of a comparison, all in one table: name, workload with its parameters, what is measured, which way is better.

use crate::compare::jetstream_rows;
use crate::failure::{Failure, Result};
use crate::report::Outcome;
use crate::workload::{
    FanArgs, IdleArgs, PairsArgs, PubArgs, QueueArgs, RequestArgs, SlowArgs, SparseArgs,
    WildcardArgs, Workload,
};
use crate::{idle, open_loop, slow};

pub struct Named {
    /// For the command line.
    pub name: &'static str,
    /// For the table.
    pub title: &'static str,
    pub payload_bytes: usize,
    pub measure: Measure,
    pub unit: &'static str,
    pub better: Better,
    /// Part of `--workloads core`.
    pub core: bool,
    /// Part of `--workloads js`, and not of `all`.
    pub jetstream: bool,
    /// The ratio B/A wanted, where one has been agreed.
    pub target: Option<f64>,
    /// Whether the third server takes part.
    pub with_c: bool,
    /// The ratio B/C wanted.
    pub target_c: Option<f64>,
}

pub enum Measure {
    /// From the spawn of the server until it has answered a PING.
    Ready,
    Run(Workload, fn(&Outcome) -> Option<f64>),
}

impl Named {
    /// Fills streams with another number of messages.
    pub fn fill_with(&mut self, messages: u64) {
        if let Measure::Run(Workload::JetStream(workload), _) = &mut self.measure {
            workload.fill_with(messages);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

/// The ratios that Skein means to reach against nats-server on the same core, by name.
const TARGETS: [(&str, f64); 13] = [
    ("1:1-16", 5.0),
    ("1:1-128", 3.0),
    ("1:1-1k", 1.5),
    ("1:1-64k", 1.2),
    ("1:10-16", 3.0),
    ("4pairs-16", 4.5),
    ("pub-16", 4.5),
    ("wildcard-1k", 4.5),
    ("wildcard-1m", 4.0),
    ("queue-4", 4.0),
    ("request", 0.4),
    ("sparse-20", 0.6),
    ("sparse-100", 0.6),
];

/// All rows, in the order of the table.
pub fn all() -> Vec<Named> {
    let mut rows = rows();
    rows.extend(jetstream_rows::rows());
    for row in &mut rows {
        let target = TARGETS.iter().find(|(name, _)| *name == row.name);
        row.target = row.target.or(target.map(|&(_, ratio)| ratio));
    }
    rows
}

fn rows() -> Vec<Named> {
    let pairs = |pairs| Workload::Pairs(PairsArgs { pairs });
    let wildcard = |subjects| {
        Workload::Wildcard(WildcardArgs {
            subjects,
            subscribers: 1,
            scattered: true,
        })
    };
    let sparse = |publishers, rate| {
        Workload::Sparse(SparseArgs {
            publishers,
            rate,
            subscribers: 4,
            even: false,
        })
    };
    let idle = |connections| Workload::Idle(IdleArgs { connections });
    let slow = |shared| Workload::Slow(SlowArgs { shared });
    let fan = Workload::Fan(FanArgs {
        subscribers: 10,
        publishers: 1,
    });
    let publish = Workload::Pub(PubArgs { publishers: 1 });
    let queue = Workload::Queue(QueueArgs {
        members: 4,
        publishers: 1,
    });
    let request = Workload::Request(RequestArgs {
        clients: 1,
        sleep: false,
    });
    vec![
        rate("1:1-16", "1:1, 16 B", 16, pairs(1), true),
        rate("1:1-128", "1:1, 128 B", 128, pairs(1), true),
        rate("1:1-1k", "1:1, 1 KiB", 1 << 10, pairs(1), true),
        rate("1:1-64k", "1:1, 64 KiB", 64 << 10, pairs(1), false),
        rate("1:10-16", "1:10, 16 B (deliveries)", 16, fan, true),
        rate("4pairs-16", "4 pairs, 16 B", 16, pairs(4), true),
        Named {
            measure: Measure::Run(publish.clone(), |outcome| {
                Some(outcome.published_per_second)
            }),
            ..rate("pub-16", "pub, nobody listens, 16 B", 16, publish, true)
        },
        rate(
            "wildcard-1k",
            "1,000 subjects → 1 wildcard, 16 B",
            16,
            wildcard(1_000),
            true,
        ),
        rate(
            "wildcard-1m",
            "1M subjects → 1 wildcard, 16 B",
            16,
            wildcard(1_000_000),
            false,
        ),
        rate("queue-4", "queue of 4, 16 B", 16, queue, true),
        cost("request", "request p50", request, "µs", true, |outcome| {
            outcome.latency.as_ref().map(|latency| latency.p50_us)
        }),
        cost(
            "sparse-20",
            "sparse: 20 publishers, 100k msg/s",
            sparse(20, 100_000),
            "CPU s/100k",
            true,
            cpu_per_messages,
        ),
        cost(
            "sparse-100",
            "sparse: 100 publishers, 50k msg/s",
            sparse(100, 50_000),
            "CPU s/100k",
            true,
            cpu_per_messages,
        ),
        cost(
            "idle-rss",
            "idle RSS per connection (8,000)",
            idle(8_000),
            "KiB",
            false,
            |outcome| outcome.metric(idle::RSS_PER_CONNECTION),
        ),
        cost(
            "idle-cpu",
            "idle CPU (1,000 connections)",
            idle(1_000),
            "ms/s",
            false,
            |outcome| outcome.metric(idle::CPU_WHILE_IDLE),
        ),
        Named {
            name: "ready",
            title: "ready after spawn",
            payload_bytes: 0,
            measure: Measure::Ready,
            unit: "ms",
            better: Better::Lower,
            core: false,
            jetstream: false,
            target: None,
            with_c: false,
            target_c: None,
        },
        share(
            "slow",
            "healthy pair beside a slow subscriber (own subject)",
            slow(false),
        ),
        share(
            "slow-shared",
            "healthy pair, slow subscriber on its subject",
            slow(true),
        ),
    ]
}

/// The rows named in a comma-separated list, or `all`, or `core`.
pub fn select(list: &str) -> Result<Vec<Named>> {
    let mut rows = all();
    match list {
        "all" => rows.retain(|row| !row.jetstream),
        "js" => rows.retain(|row| row.jetstream),
        "core" => rows.retain(|row| row.core),
        _ => {
            let wanted: Vec<&str> = list.split(',').map(str::trim).collect();
            if let Some(unknown) = wanted
                .iter()
                .find(|name| !rows.iter().any(|row| row.name == **name))
            {
                return Err(Failure::usage(format!(
                    "no workload is called {unknown}; {}",
                    help()
                )));
            }
            rows.retain(|row| wanted.contains(&row.name));
        }
    }
    Ok(rows)
}

pub fn help() -> String {
    let names: Vec<String> = all()
        .iter()
        .map(|row| {
            format!(
                "  {:<15} {}{}",
                row.name,
                row.title,
                if row.core {
                    " [core]"
                } else if row.jetstream {
                    " [js]"
                } else {
                    ""
                }
            )
        })
        .collect();
    format!("Workloads:\n{}", names.join("\n"))
}

fn rate(
    name: &'static str,
    title: &'static str,
    payload_bytes: usize,
    workload: Workload,
    core: bool,
) -> Named {
    Named {
        name,
        title,
        payload_bytes,
        measure: Measure::Run(workload, |outcome| Some(outcome.delivered_per_second)),
        unit: "msg/s",
        better: Better::Higher,
        core,
        jetstream: false,
        target: None,
        with_c: false,
        target_c: None,
    }
}

fn cost(
    name: &'static str,
    title: &'static str,
    workload: Workload,
    unit: &'static str,
    core: bool,
    value: fn(&Outcome) -> Option<f64>,
) -> Named {
    let measure = Measure::Run(workload, value);
    Named {
        name,
        title,
        payload_bytes: 16,
        measure,
        unit,
        better: Better::Lower,
        core,
        jetstream: false,
        target: None,
        with_c: false,
        target_c: None,
    }
}

fn share(name: &'static str, title: &'static str, workload: Workload) -> Named {
    Named {
        name,
        title,
        payload_bytes: 128,
        measure: Measure::Run(workload, |outcome| outcome.metric(slow::RATIO)),
        unit: "of alone",
        better: Better::Higher,
        core: false,
        jetstream: false,
        target: None,
        with_c: false,
        target_c: None,
    }
}

fn cpu_per_messages(outcome: &Outcome) -> Option<f64> {
    outcome.metric(open_loop::CPU_PER_MESSAGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_selectable() {
        let rows = all();
        for (index, row) in rows.iter().enumerate() {
            assert!(
                rows[..index].iter().all(|other| other.name != row.name),
                "{}",
                row.name
            );
        }
        let of_set = |set| select(set).unwrap().len();
        assert_eq!(of_set("all") + of_set("js"), rows.len());
        assert_eq!(select("ready, 1:1-16").unwrap().len(), 2);
        assert!(select("core").unwrap().len() < rows.len());
        assert!(select("nothing").is_err());
    }
}
