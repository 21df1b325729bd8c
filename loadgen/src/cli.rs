//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::compare::CompareArgs;
use crate::failure::{Failure, Result};
use crate::link::Target;
use crate::plot::write_svg;
use crate::polled::PolledArgs;
use crate::report::{Outcome, write_json};
use crate::settings::{Amount, Settings};
use crate::stream::Security;
use crate::units::{parse_bytes, parse_count, parse_cpus, parse_duration};
use crate::workload::Workload;

/// Load generator for NATS servers. Every message is verified: a server that loses, copies, reorders or alters one,
/// sends -ERR or closes a connection makes the run fail loudly, with exit code 1.
#[derive(Parser)]
#[command(name = "loadgen", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Units: counts take k, M, G; sizes B, kB, KiB, MB, MiB; times us, ms, s, m.

Examples:
  loadgen pairs --count 10M                           1:1, 16 B payloads
  loadgen pairs --pairs 4 --size 128 --duration 10s   4 pairs for ten seconds
  loadgen pairs --pairs 4 --threads 2 --cpus 0,1      publisher and subscriber on different threads
  loadgen fan --subscribers 10                        1:10 fan-out
  loadgen wildcard --subjects 1M --scattered          1M literal subjects into load.k.*
  loadgen queue --members 4                           each message to exactly one of four
  loadgen request --hgrm r.hgrm --svg r.svg           request latency, polling client
  loadgen latency --rate 100k --json l.json           open loop: latency from the intended send time
  loadgen sparse --publishers 1000 --rate 50k --server-pid $(pidof nats-server)
  loadgen idle --connections 8000 --server-pid $(pidof nats-server)
  loadgen slow --shared                               a subscriber that never reads
  loadgen js-pub --publishers 4 --size 128            1000 in flight each, acknowledgements checked
  loadgen js-fetch --batch 500                        pull with explicit acknowledgements
  loadgen js-restart --command 'nats-server -js -sd {store} -p {port}' --messages 1M
  loadgen compare --a 'GOMAXPROCS=1 nats-server -p {port}' --name-a nats-server \\
                  --b 'target/release/skein -p {port}' --name-b skein \\
                  --server-cpus 0 --client-cpus 1 --rounds 5 --markdown compare.md
  loadgen polled --command 'target/release/skein -p {port} -m {monitor}' --duration 1s";

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Workload(Workload),
    /// Run workloads against two servers in turn, each freshly started and pinned, and print a table
    Compare(CompareArgs),
    /// Run workloads against one server with and without somebody who polls its monitoring, and print a table
    Polled(PolledArgs),
}

#[derive(Args)]
pub struct Common {
    /// Server to load
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:4222",
        value_name = "HOST:PORT"
    )]
    server: String,
    #[arg(long, global = true)]
    user: Option<String>,
    #[arg(long, global = true)]
    pass: Option<String>,
    #[arg(long, global = true)]
    token: Option<String>,
    /// User of those who publish or ask, where it is another than --user: in another account, say
    #[arg(long, global = true, requires = "publisher_pass")]
    publisher_user: Option<String>,
    #[arg(long, global = true, requires = "publisher_user")]
    publisher_pass: Option<String>,
    /// Speak TLS; without --tlsca whatever the server's certificate is
    #[arg(long, global = true)]
    tls: bool,
    /// Authorities for the server's certificate (implies --tls)
    #[arg(long, global = true, value_name = "FILE")]
    tlsca: Option<PathBuf>,
    /// Own certificate (implies --tls)
    #[arg(long, global = true, value_name = "FILE", requires = "tlskey")]
    tlscert: Option<PathBuf>,
    /// Key of the own certificate
    #[arg(long, global = true, value_name = "FILE", requires = "tlscert")]
    tlskey: Option<PathBuf>,
    /// Processors for the client threads, one each in turn: 1 or 0,2-3
    #[arg(long, global = true, value_name = "LIST")]
    cpus: Option<String>,
    /// Client threads; connections are dealt out over them
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
    /// Payload size
    #[arg(long, global = true, default_value = "16", value_parser = parse_bytes)]
    size: usize,
    /// Stop after this many published messages (over all publishers)
    #[arg(long, global = true, value_parser = parse_count)]
    count: Option<u64>,
    /// Stop publishing after this time (unless --count is given)
    #[arg(long, global = true, default_value = "5s", value_parser = parse_duration)]
    duration: Duration,
    /// Poll the sockets without ever sleeping
    #[arg(long, global = true)]
    busy: bool,
    /// Without progress for this long, missing messages count as lost
    #[arg(long, global = true, default_value = "10s", value_parser = parse_duration)]
    stall: Duration,
    /// The server's process, for its CPU time and memory
    #[arg(long, global = true, value_name = "PID")]
    server_pid: Option<u32>,
    /// Write all figures as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the latency distribution in HdrHistogram's percentile text format
    #[arg(long, global = true, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Draw latency by percentile
    #[arg(long, global = true, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// No progress lines
    #[arg(long, global = true)]
    quiet: bool,
}

impl Cli {
    /// Runs what was asked for; `false` if a server failed a check.
    pub fn run(&self) -> Result<bool> {
        let settings = self.common.settings()?;
        match &self.command {
            Command::Workload(workload) => {
                let outcome = workload.run(&settings)?;
                print!("{}", outcome.to_text());
                self.common.write_files(&outcome)?;
                Ok(outcome.failures.is_empty())
            }
            Command::Compare(args) => args.run(&settings, self.common.json.as_deref()),
            Command::Polled(args) => args.run(&settings),
        }
    }
}

impl Common {
    fn settings(&self) -> Result<Settings> {
        let mut target = Target::resolve(&self.server)?;
        target.user.clone_from(&self.user);
        target.pass.clone_from(&self.pass);
        target.token.clone_from(&self.token);
        target.publisher = self.publisher_user.clone().zip(self.publisher_pass.clone());
        target.security = self.security()?;
        let cpus = self
            .cpus
            .as_deref()
            .map(parse_cpus)
            .transpose()
            .map_err(Failure::Usage)?;
        Ok(Settings {
            target,
            cpus: cpus.unwrap_or_default(),
            threads: self.threads.max(1),
            payload_bytes: self.size,
            amount: self
                .count
                .map_or(Amount::After(self.duration), Amount::Count),
            busy: self.busy,
            stall_timeout: self.stall,
            quiet: self.quiet,
            server_pid: self.server_pid,
        })
    }

    fn security(&self) -> Result<Option<Security>> {
        let own = self.tlscert.as_deref().zip(self.tlskey.as_deref());
        if !self.tls && self.tlsca.is_none() && own.is_none() {
            return Ok(None);
        }
        let server = self
            .server
            .rsplit_once(':')
            .map_or(&*self.server, |(host, _)| host);
        let host = server
            .trim_start_matches("nats://")
            .trim_start_matches("tls://");
        Security::new(host, self.tlsca.as_deref(), own).map(Some)
    }

    fn write_files(&self, outcome: &Outcome) -> Result<()> {
        if let Some(path) = &self.json {
            write_json(path, outcome)?;
        }
        if let Some(path) = &self.hgrm {
            outcome.write_hgrm(path)?;
        }
        if let Some(path) = &self.svg {
            let latencies = outcome
                .latencies
                .as_ref()
                .ok_or_else(|| Failure::usage("--svg: this workload measures no latency"))?;
            write_svg(path, &outcome.workload, latencies)?;
        }
        Ok(())
    }
}
