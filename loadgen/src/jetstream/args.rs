//! The subcommands of JetStream workloads and their parameters.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::failure::Result;
use crate::jetstream::{batches, consume, consumers, disk, kv, mixed, publish, restart};
use crate::report::Outcome;
use crate::settings::Settings;
use crate::units::{parse_count, parse_duration};

#[derive(Clone, Debug, Subcommand)]
pub enum JetStreamWorkload {
    /// Publish to a stream with a window of messages in flight; counts acknowledgements
    JsPub(PublishArgs),
    /// Publish with one message in flight per publisher; reports latency
    JsPubSync(PublishSyncArgs),
    /// Publish in atomic or in fast batches
    JsBatch(BatchArgs),
    /// Pull from a filled stream and acknowledge each message
    JsFetch(FetchArgs),
    /// A push consumer on a filled stream
    JsPush(PushArgs),
    /// Pull with a filter from a stream of many subjects, and without one
    JsFilter(FilterArgs),
    /// A work queue: publish, consume, acknowledge, delete at once
    JsWork(WorkArgs),
    /// Publishes spread over many streams
    JsStreams(StreamsArgs),
    /// Many consumers on one stream: creation, publishing beside them, consuming with all
    JsConsumers(ConsumersArgs),
    /// Key-value: put
    KvPut(KvPutArgs),
    /// Key-value: get, directly from the stream
    KvGet(KvGetArgs),
    /// Key-value: puts that several watchers see
    KvWatch(KvWatchArgs),
    /// All retention kinds, buckets and consumers at once, with memory and files over time
    JsMixed(MixedArgs),
    /// Fill a stream, stop the server, start it again: time until the stream answers
    JsRestart(RestartArgs),
    /// What the disk does without any server: append 4 KiB, fdatasync
    Disk(DiskArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Storage {
    File,
    Memory,
}

/// Where streams are kept.
#[derive(Args, Clone, Debug)]
pub struct Keeping {
    #[arg(long, value_enum, default_value = "file")]
    pub storage: Storage,
    #[arg(long, default_value_t = 1)]
    pub replicas: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            storage: Storage::File,
            replicas: 1,
        }
    }
}

impl Keeping {
    /// The configuration of a stream that is kept so, with what `more` says.
    pub fn stream(&self, name: &str, subjects: &[&str], more: &Value) -> Value {
        let mut config = json!({
            "name": name,
            "subjects": subjects,
            "retention": "limits",
            "storage": match self.storage {
                Storage::File => "file",
                Storage::Memory => "memory",
            },
            "num_replicas": self.replicas,
        });
        if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
            config.extend(more.clone());
        }
        config
    }
}

#[derive(Args, Clone, Debug)]
pub struct PublishArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// Messages in flight per publisher
    #[arg(long, default_value = "1000", value_parser = parse_count)]
    pub window: u64,
    /// Distinct subjects of each publisher
    #[arg(long, default_value = "1", value_parser = parse_count)]
    pub subjects: u64,
    /// Give messages ids, and repeat the id of the one before every so many messages (1: never)
    #[arg(long, value_parser = parse_count)]
    pub repeat_every: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub struct PublishSyncArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BatchKind {
    Atomic,
    Fast,
}

#[derive(Args, Clone, Debug)]
pub struct BatchArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    #[arg(long, value_enum, default_value = "atomic")]
    pub kind: BatchKind,
    /// Messages in an atomic batch, or between the acknowledgements that a fast batch asks for
    #[arg(long, default_value = "500", value_parser = parse_count)]
    pub batch: u64,
    /// Atomic batches in flight, or acknowledgements of a fast batch that may be outstanding
    #[arg(long, default_value_t = 2)]
    pub in_flight: u64,
}

#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    /// Messages in the stream
    #[arg(long, default_value = "500k", value_parser = parse_count)]
    pub messages: u64,
    #[arg(long, default_value = "500", value_parser = parse_count)]
    pub batch: u64,
    /// Requests open at a time
    #[arg(long, default_value_t = 1)]
    pub requests: usize,
    /// Consume without acknowledging
    #[arg(long)]
    pub no_acks: bool,
}

#[derive(Args, Clone, Debug)]
pub struct PushArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    /// Messages in the stream
    #[arg(long, default_value = "500k", value_parser = parse_count)]
    pub messages: u64,
    /// Acknowledge each message, instead of flow control
    #[arg(long)]
    pub acks: bool,
}

#[derive(Args, Clone, Debug)]
pub struct FilterArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    /// Messages in the stream
    #[arg(long, default_value = "2M", value_parser = parse_count)]
    pub messages: u64,
    /// Distinct subjects
    #[arg(long, default_value = "1M", value_parser = parse_count)]
    pub subjects: u64,
    /// The filter takes one of 10, 100, 1000 … groups of subjects; with 0 all of them, by a wildcard
    #[arg(long, default_value_t = 2)]
    pub group_digits: usize,
    #[arg(long, default_value = "500", value_parser = parse_count)]
    pub batch: u64,
    /// Requests open at a time
    #[arg(long, default_value_t = 1)]
    pub requests: usize,
}

#[derive(Args, Clone, Debug)]
pub struct WorkArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// Messages in flight per publisher
    #[arg(long, default_value = "1000", value_parser = parse_count)]
    pub window: u64,
    #[arg(long, default_value = "500", value_parser = parse_count)]
    pub batch: u64,
    /// Requests open at a time per worker
    #[arg(long, default_value_t = 2)]
    pub requests: usize,
}

#[derive(Args, Clone, Debug)]
pub struct StreamsArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    #[arg(long, default_value = "1000", value_parser = parse_count)]
    pub streams: u64,
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// Messages in flight per publisher
    #[arg(long, default_value = "1000", value_parser = parse_count)]
    pub window: u64,
}

#[derive(Args, Clone, Debug)]
pub struct ConsumersArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    #[arg(long, default_value = "10k", value_parser = parse_count)]
    pub consumers: u64,
    /// Messages published for each consumer (each filters on a subject of its own)
    #[arg(long, default_value = "20", value_parser = parse_count)]
    pub messages_each: u64,
    /// Consumers that are asked at a time
    #[arg(long, default_value = "100", value_parser = parse_count)]
    pub parallel: u64,
}

#[derive(Args, Clone, Debug)]
pub struct KvPutArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    #[arg(long, default_value = "10k", value_parser = parse_count)]
    pub keys: u64,
    /// Values kept per key
    #[arg(long, default_value_t = 1)]
    pub history: u64,
    /// Puts in flight
    #[arg(long, default_value = "100", value_parser = parse_count)]
    pub in_flight: u64,
}

#[derive(Args, Clone, Debug)]
pub struct KvGetArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    #[arg(long, default_value = "10k", value_parser = parse_count)]
    pub keys: u64,
    /// Gets in flight
    #[arg(long, default_value = "100", value_parser = parse_count)]
    pub in_flight: u64,
}

#[derive(Args, Clone, Debug)]
pub struct KvWatchArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    #[arg(long, default_value = "10k", value_parser = parse_count)]
    pub keys: u64,
    #[arg(long, default_value_t = 10)]
    pub watchers: u64,
    /// Puts in flight
    #[arg(long, default_value = "100", value_parser = parse_count)]
    pub in_flight: u64,
}

#[derive(Args, Clone, Debug)]
pub struct MixedArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    /// Messages per second into each of the five streams
    #[arg(long, default_value = "2k", value_parser = parse_count)]
    pub rate: u64,
    /// Time between two lines of memory and files
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub every: Duration,
    /// The server's store directory, to see how many bytes it takes
    #[arg(long, value_name = "DIR")]
    pub server_store: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct RestartArgs {
    #[command(flatten)]
    pub keeping: Keeping,
    /// The server; {port} and {store} are replaced (compare knows it)
    #[arg(long, value_name = "CMD", default_value = "")]
    pub command: String,
    #[arg(long, default_value = "10M", value_parser = parse_count)]
    pub messages: u64,
    #[arg(long, default_value = "1M", value_parser = parse_count)]
    pub subjects: u64,
    /// End the server with SIGKILL
    #[arg(long)]
    pub kill: bool,
    /// Where the store directory is made
    #[arg(long, value_name = "DIR")]
    pub store_dir: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct DiskArgs {
    /// Where the file is made
    #[arg(long, value_name = "DIR")]
    pub store_dir: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "direct")]
    pub how: Append,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Append {
    /// O_DIRECT, then fdatasync
    Direct,
    /// O_DIRECT and O_DSYNC: one system call
    Dsync,
    /// Through the page cache, then fdatasync
    Buffered,
}

impl JetStreamWorkload {
    /// Fills the stream with another number of messages, where it is filled before something is measured.
    pub fn fill_with(&mut self, messages: u64) {
        match self {
            Self::JsFetch(args) => args.messages = messages,
            Self::JsPush(args) => args.messages = messages,
            Self::JsFilter(args) => args.messages = messages,
            Self::JsRestart(args) => args.messages = messages,
            _ => {}
        }
    }

    pub fn run(&self, settings: &Settings) -> Result<Outcome> {
        match self {
            Self::JsPub(args) => publish::window(args, settings),
            Self::JsPubSync(args) => publish::sync(args, settings),
            Self::JsBatch(args) => batches::run(args, settings),
            Self::JsFetch(args) => consume::fetch(args, settings),
            Self::JsPush(args) => consume::push(args, settings),
            Self::JsFilter(args) => consume::filter(args, settings),
            Self::JsWork(args) => consume::work(args, settings),
            Self::JsStreams(args) => publish::streams(args, settings),
            Self::JsConsumers(args) => consumers::run(args, settings),
            Self::KvPut(args) => kv::put(args, settings),
            Self::KvGet(args) => kv::get(args, settings),
            Self::KvWatch(args) => kv::watch(args, settings),
            Self::JsMixed(args) => mixed::run(args, settings),
            Self::JsRestart(args) => restart::run_alone(args, settings),
            Self::Disk(args) => disk::run(args.store_dir.as_deref(), args.how, settings.duration()),
        }
    }
}
