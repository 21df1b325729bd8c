//! The workloads by name, with their parameters: the command line's subcommands and `compare`'s rows are these.

use clap::{Args, Subcommand};

use crate::failure::Result;
use crate::jetstream::args::JetStreamWorkload;
use crate::open_loop::{self, OpenLoop};
use crate::report::Outcome;
use crate::settings::Settings;
use crate::units::parse_count;
use crate::{churn, idle, plans, request, slow, throughput};

#[derive(Clone, Debug, Subcommand)]
pub enum Workload {
    /// Publishers without any subscriber; ends when the server has answered each publisher's PING
    Pub(PubArgs),
    /// N publishers and N subscribers, each pair on its own subject (--pairs 1 is the 1:1 case)
    Pairs(PairsArgs),
    /// Every publisher's messages to every subscriber
    Fan(FanArgs),
    /// Many literal subjects into wildcard subscribers
    Wildcard(WildcardArgs),
    /// One queue group: each message to exactly one member
    Queue(QueueArgs),
    /// Closed-loop requests, one outstanding per client; reports latency
    Request(RequestArgs),
    /// Open loop at a fixed rate; latency counts from when a message was due
    Latency(LatencyArgs),
    /// Many connections that each seldom send one small message; reports server CPU per 100k messages
    Sparse(SparseArgs),
    /// Idle connections with one subscription each: server memory per connection and CPU (needs --server-pid)
    Idle(IdleArgs),
    /// A healthy pair alone, then beside a subscriber that never reads
    Slow(SlowArgs),
    /// Open, handshake, close; reports connections per second
    Churn(ChurnArgs),
    #[command(flatten)]
    JetStream(JetStreamWorkload),
}

#[derive(Args, Clone, Debug)]
pub struct PubArgs {
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
}

#[derive(Args, Clone, Debug)]
pub struct PairsArgs {
    #[arg(long, default_value_t = 1)]
    pub pairs: usize,
}

#[derive(Args, Clone, Debug)]
pub struct FanArgs {
    #[arg(long, default_value_t = 10)]
    pub subscribers: usize,
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
}

#[derive(Args, Clone, Debug)]
pub struct WildcardArgs {
    /// Distinct literal subjects
    #[arg(long, default_value = "1000", value_parser = parse_count)]
    pub subjects: u64,
    #[arg(long, default_value_t = 1)]
    pub subscribers: usize,
    /// Jump between the subjects instead of counting through them
    #[arg(long)]
    pub scattered: bool,
}

#[derive(Args, Clone, Debug)]
pub struct QueueArgs {
    #[arg(long, default_value_t = 4)]
    pub members: usize,
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
}

#[derive(Args, Clone, Debug)]
pub struct RequestArgs {
    #[arg(long, default_value_t = 1)]
    pub clients: usize,
    /// Sleep while waiting instead of polling; the latency then contains our wake-up
    #[arg(long)]
    pub sleep: bool,
}

#[derive(Args, Clone, Debug)]
pub struct LatencyArgs {
    /// Messages per second over all publishers
    #[arg(long, default_value = "10k", value_parser = parse_count)]
    pub rate: u64,
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    #[arg(long, default_value_t = 1)]
    pub subscribers: usize,
    /// Random distances instead of equal ones
    #[arg(long)]
    pub poisson: bool,
}

#[derive(Args, Clone, Debug)]
pub struct SparseArgs {
    #[arg(long, default_value_t = 100)]
    pub publishers: usize,
    /// Messages per second over all publishers
    #[arg(long, default_value = "50k", value_parser = parse_count)]
    pub rate: u64,
    #[arg(long, default_value_t = 4)]
    pub subscribers: usize,
    /// Equal distances instead of random ones
    #[arg(long)]
    pub even: bool,
}

#[derive(Args, Clone, Debug)]
pub struct IdleArgs {
    #[arg(long, default_value = "1000", value_parser = parse_count)]
    pub connections: u64,
}

#[derive(Args, Clone, Debug)]
pub struct SlowArgs {
    /// The slow subscriber listens to the healthy pair's own subject
    #[arg(long)]
    pub shared: bool,
}

#[derive(Args, Clone, Debug)]
pub struct ChurnArgs {
    #[arg(long, default_value = "10k", value_parser = parse_count)]
    pub connections: u64,
    /// Connections open at a time
    #[arg(long, default_value_t = 4)]
    pub parallel: usize,
}

impl Workload {
    pub fn run(&self, settings: &Settings) -> Result<Outcome> {
        match self {
            Workload::Pub(args) => {
                let name = format!("pub, {} publishers, nobody listens", args.publishers);
                throughput::run(&name, &plans::publish_only(args.publishers), settings)
            }
            Workload::Pairs(args) => throughput::run(
                &format!("{} pairs", args.pairs),
                &plans::pairs(args.pairs),
                settings,
            ),
            Workload::Fan(args) => {
                let name = format!(
                    "fan, {} publishers to {} subscribers",
                    args.publishers, args.subscribers
                );
                throughput::run(
                    &name,
                    &plans::fan(args.subscribers, args.publishers),
                    settings,
                )
            }
            Workload::Wildcard(args) => {
                let name = format!(
                    "wildcard, {} subjects to {} subscribers",
                    args.subjects, args.subscribers
                );
                throughput::run(
                    &name,
                    &plans::wildcard(args.subjects, args.subscribers, args.scattered),
                    settings,
                )
            }
            Workload::Queue(args) => {
                let name = format!(
                    "queue, {} publishers to a group of {}",
                    args.publishers, args.members
                );
                throughput::run(
                    &name,
                    &plans::queue(args.members, args.publishers),
                    settings,
                )
            }
            Workload::Request(args) => request::run(args.clients, args.sleep, settings),
            Workload::Latency(args) => {
                let load = OpenLoop {
                    rate: args.rate as f64,
                    publishers: args.publishers,
                    subscribers: args.subscribers,
                    poisson: args.poisson,
                    single_sends: false,
                };
                open_loop::run("latency, open loop", load, settings)
            }
            Workload::Sparse(args) => {
                let load = OpenLoop {
                    rate: args.rate as f64,
                    publishers: args.publishers,
                    subscribers: args.subscribers,
                    poisson: !args.even,
                    single_sends: true,
                };
                let name = format!(
                    "sparse, {} publishers to {} subscribers",
                    args.publishers, args.subscribers
                );
                open_loop::run(&name, load, settings)
            }
            Workload::Idle(args) => idle::run(args.connections as usize, settings),
            Workload::Slow(args) => slow::run(args.shared, settings),
            Workload::Churn(args) => churn::run(args.connections as usize, args.parallel, settings),
            Workload::JetStream(workload) => workload.run(settings),
        }
    }
}
