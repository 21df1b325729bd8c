//! The shell: executors, sockets, clocks, signals, the log. Everything that is not here is plain
//! calls; everything that touches the world is.

mod authenticator;
mod buffers;
mod callouts;
mod cgroup;
pub mod claims_fetch;
pub mod claims_store;
mod clock;
mod commands;
mod conns;
mod disk;
mod doorway;
mod helpers;
mod host;
mod identity;
mod idle;
pub mod import;
mod lame_duck;
mod links;
mod listener;
pub mod log;
mod meter;
mod monitor;
mod pid_file;
mod ports_file;
mod registrar;
mod reload;
mod resolver;
mod responders;
mod ring;
mod securing;
pub mod signalling;
mod signals;
mod sockets;
mod stapling;
mod storage;
mod system_client;
mod tenants;
mod tls;
mod turn;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use glommio::{LocalExecutorBuilder, Placement};

use crate::auth::callout::ServerKeys;
use crate::base::ids::ShardId;
use crate::config::{Config, HandshakeFirst, MonitorOptions, Port};
use crate::control::view::{MonitorView, ServerFacts, TlsView};
use crate::proto::info::ServerIdentity;
use crate::shard::{Settings, Shard};
use authenticator::Authenticator;
use callouts::Callouts;
use clock::Clock;
use commands::{Address, Command, Mailbox, Report};
use disk::Disk;
use helpers::{Helpers, Pool};
use lame_duck::LameDuck;
use links::Links;
use listener::Listener;
use log::Log;
use monitor::{CurrentPhase, Door, Phase};
use ports_file::Listening;
use ring::NetRing;
use securing::Secure;
use stapling::{Keeper, Watch};
use system_client::{Notices, SystemClient};
use turn::Turns;

/// Memory that glommio registers for files of its own; it has none, and this is the least it takes.
const FILE_MEMORY_BYTES: usize = 64 * 1024;
/// How long connections may take to be closed when the server stops.
const STOP_TIME: Duration = Duration::from_secs(5);
/// How long helpers may take to finish what they are at after that.
const HELPERS_STOP_TIME: Duration = Duration::from_millis(100);

/// Why the server did not start.
#[derive(Debug)]
pub struct StartError(String);

impl StartError {
    /// What cannot be done, before why it cannot.
    fn because<E: fmt::Display>(what: &str) -> impl FnOnce(E) -> Self + '_ {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the configuration again: what it says now, with warnings, or what is wrong with it.
pub type Reread = Box<dyn Fn() -> Result<(Config, Vec<String>), String>>;

/// Runs the server until a signal ends it.
///
/// # Errors
/// When it cannot start; the log has been told.
pub fn run(config: &Config, reread: Reread, log: &Log) -> Result<(), StartError> {
    abort_on_panic(log.clone());
    let result = start(config, reread, log).map(|server| {
        // Else a signal has ended it already.
        if let Some(server) = server {
            server.serve();
        }
    });
    if let Err(StartError(text)) = &result {
        log.fatal(format_args!("{text}"));
    }
    result
}

/// A running server, seen from the main thread.
struct Server {
    shards: Vec<Address>,
    reports: Receiver<Report>,
    log: Log,
    config: Config,
    reread: Reread,
    /// What INFO says, and where the listener listens.
    identity: ServerIdentity,
    listening: SocketAddr,
    /// Where monitoring listens.
    monitoring: Option<Listening>,
    /// What everybody may know without asking.
    phase: CurrentPhase,
    authenticator: Arc<Authenticator>,
    /// For threads that are started later.
    report: Sender<Report>,
    /// What monitoring says.
    facts: ServerFacts,
    connections: Links,
    helpers: Pool,
    /// None without TLS.
    tls: Option<Watch>,
    /// Until all shards are ready there is none.
    system_client: Option<SystemClient>,
    running: usize,
}

/// Starts everything; `None` when a signal has come that ends it again.
fn start(config: &Config, reread: Reread, log: &Log) -> Result<Option<Server>, StartError> {
    let cpus = config.cpus.clone().unwrap_or_else(host::usable_cpus);
    let shards = config.shards.unwrap_or(cpus.len());
    if shards > crate::config::SHARDS_MAX {
        return Err(StartError(format!(
            "{shards} cores may be used, but at most {} shards are supported: choose with --shards",
            crate::config::SHARDS_MAX
        )));
    }
    let connections = config.limits.max_connections;
    let warning = host::prepare(shards, connections).map_err(|e| StartError(e.to_string()))?;
    let random = || host::random_u64().map_err(StartError::because("no random numbers"));
    let keys = server_keys().map_err(StartError::because("no random numbers"))?;
    let mut identity = identity::of(config, &keys);
    announce(config, &identity, log);
    if let Some(text) = warning {
        log.warn(format_args!("{text}"));
    }
    if let Some(path) = &config.pid_file {
        pid_file::write_pid_file(path).map_err(|e| StartError(e.to_string()))?;
    }

    let keeper = Keeper::load(config, log).map_err(StartError)?;
    let tls = keeper.as_ref().map(Keeper::tls);
    let listener = Listener::bind(&config.host, config.port.bind_number(), &config.limits)
        .map_err(|error| listen_error(config, &error))?;
    let address = listener
        .address()
        .map_err(|error| listen_error(config, &error))?;
    let current_tls = keeper.as_ref().map(Keeper::current);
    let door = Door::open(config, current_tls, log).map_err(StartError)?;
    if identity.port == 0 {
        identity.port = address.port();
    }
    let (report, reports) = crossbeam_channel::unbounded();
    let signals = signals::watch(report.clone());
    signals.map_err(StartError::because("cannot watch signals"))?;
    let authenticator = Authenticator::new(config, &identity, keys, log).map_err(StartError)?;
    let authenticator = Arc::new(authenticator);
    identity.auth_required = authenticator.policy().gate.is_asked_for();
    let clock = Clock::start();
    let settings = Settings {
        limits: config.limits.clone(),
        policy: authenticator.policy(),
        identity,
        debug: config.debug,
        trace: config.trace,
        shards,
        unix_at_zero_ms: clock.unix_at_zero_ms(),
        fine_clock_ns: host::fine_clock_ns,
        hash_seed: random()?,
    };

    let (addresses, mailboxes) = commands::mailboxes(shards, &report)
        .map_err(StartError::because("cannot make event descriptors"))?;
    authenticator.know(&addresses);
    let helpers = Pool::start(helpers::THREADS, helpers::JOBS_MAX)
        .map_err(StartError::because("cannot start helper threads"))?;
    let channels = system_client::Channels::new()
        .map_err(StartError::because("cannot make an event descriptor"))?;
    let storage = storage::Storage::of(config, &settings.identity.name, shards)
        .map_err(|e| StartError(e.to_string()))?;
    let mut links = links::mesh(shards);
    let connections = links[0].observer();
    let mut listener = Some(listener);
    for (own, mailbox) in mailboxes.into_iter().enumerate() {
        let cpu = cpus[own % cpus.len()];
        let mut shard = Shard::new(ShardId(own as u8), settings.clone(), random()?);
        let mut disks = Vec::new();
        if let Some(storage) = &storage {
            let opened = storage.open(own, shards, &addresses[own], &clock);
            let (engine, opened) = opened.map_err(|e| StartError(e.to_string()))?;
            shard.host(Box::new(engine));
            disks = opened;
        }
        let start = ShardStart {
            shard,
            links: links.remove(0),
            secure: Secure::new(tls.clone(), helpers.helpers(), addresses[own].clone()),
            mailbox,
            helpers: helpers.helpers(),
            authenticator: Arc::clone(&authenticator),
            log: log.clone(),
            listener: listener.take(),
            clock,
            notices: channels.notices(),
            disks,
            core: cpu,
        };
        start.spawn(cpu)?;
        log.info(format_args!("Shard {own} on core {cpu}"));
    }
    // What was found is kept, whatever a new configuration leaves open.
    let mut running = config.clone();
    if let Some(port) = NonZeroU16::new(address.port()) {
        running.port = Port::Fixed(port);
    }
    let facts = ServerFacts {
        jetstream: storage
            .as_ref()
            .map(|storage| storage.view(&config.jetstream)),
        ..server_facts(config, &settings, &clock, cpus.len())
    };
    let phase = CurrentPhase::new();
    let monitoring = door.as_ref().map(Door::listening);
    if let Some(door) = door {
        // From now on: whoever waits for the server can ask whether it is there.
        let started = door.serve(channels.inquirer(), phase.clone(), log.clone());
        started.map_err(StartError::because("cannot serve the monitor port"))?;
    }
    let mut server = Server {
        shards: addresses,
        reports,
        system_client: None,
        log: log.clone(),
        config: running,
        reread,
        identity: settings.identity,
        listening: address,
        monitoring,
        phase,
        authenticator: Arc::clone(&authenticator),
        report: report.clone(),
        facts,
        connections,
        helpers,
        tls: None,
        running: shards,
    };
    match await_ready(&server.reports, &report, shards)? {
        Readiness::Ready => {}
        Readiness::Ended(signal) => {
            let name = signals::name(signal);
            log.info(format_args!("Trapped \"{name}\" signal"));
            log.info(format_args!("Server Exiting.."));
            return Ok(None);
        }
    }
    server.start_services(keeper, channels, clock, random()?)?;
    // The first shard accepts for all, and not before all are ready.
    server.shards[0].send(Command::Accept);
    server.phase.set(Phase::Serving);
    tell_where(config, address.port(), log);
    if let Some(directory) = &config.ports_file_dir {
        server.write_ports_file(directory);
    }
    log.info(format_args!("Server is ready"));
    Ok(Some(server))
}

/// Says who begins, and with what.
fn announce(config: &Config, identity: &ServerIdentity, log: &Log) {
    log.info(format_args!("Starting skein"));
    log.info(format_args!("  Version:  {}", env!("CARGO_PKG_VERSION")));
    log.info(format_args!(
        "  NATS:     {}",
        crate::proto::info::PROTOCOL_VERSION
    ));
    log.info(format_args!("  Name:     {}", identity.name));
    log.info(format_args!("  ID:       {}", identity.id));
    if let Some(file) = &config.file {
        let (path, digest) = (file.path.display(), &file.digest);
        log.info(format_args!("Using configuration file: {path} ({digest})"));
    }
    if has_plaintext_secret(config) {
        log.warn(format_args!(
            "Plaintext passwords detected, use nkeys or bcrypt"
        ));
    }
}

/// Says where clients may come.
fn tell_where(config: &Config, port: u16, log: &Log) {
    let host = &config.host;
    log.info(format_args!(
        "Listening for client connections on {host}:{}",
        port
    ));
    if let Some(tls) = &config.tls {
        let kind = if config.allow_non_tls {
            "available"
        } else {
            "required"
        };
        log.info(format_args!("TLS {kind} for client connections"));
        if tls.handshake_first == HandshakeFirst::Yes {
            log.warn(format_args!(
                "Clients that are not using \"TLS Handshake First\" option will fail to connect"
            ));
        }
    }
}

/// What has come of waiting for the shards.
#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// This signal has ended the server before.
    Ended(i32),
}

/// Waits until all shards have read their stores. A signal that ends the server does so at once: nothing was accepted that
/// could be lost, and reading can take minutes. What else comes is done afterwards.
fn await_ready(
    reports: &Receiver<Report>,
    report: &Sender<Report>,
    shards: usize,
) -> Result<Readiness, StartError> {
    let mut waiting = shards;
    let mut later = Vec::new();
    while waiting > 0 {
        match reports.recv() {
            Ok(Report::Failed(text)) => return Err(StartError(text)),
            Ok(Report::Ready) => waiting -= 1,
            Ok(Report::Signal(signal @ (signals::SIGTERM | signals::SIGINT))) => {
                return Ok(Readiness::Ended(signal));
            }
            Ok(signal @ Report::Signal(_)) => later.push(signal),
            Ok(Report::Stopped | Report::Reload(_) | Report::Revoked) => {}
            Err(_) => return Err(StartError("the shards have ended".into())),
        }
    }
    for signal in later {
        // They come to the receiver that this has.
        let _ = report.send(signal);
    }
    Ok(Readiness::Ready)
}

/// What one shard's thread starts with.
struct ShardStart {
    shard: Shard,
    links: Links,
    mailbox: Mailbox,
    secure: Secure,
    helpers: Helpers,
    authenticator: Arc<Authenticator>,
    log: Log,
    listener: Option<Listener>,
    clock: Clock,
    notices: Notices,
    disks: Vec<Disk>,
    /// The CPU that it runs on.
    core: usize,
}

impl ShardStart {
    fn spawn(self, cpu: usize) -> Result<(), StartError> {
        let name = format!("shard-{}", self.links.own().0);
        let executor = LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .name(&name)
            .io_memory(FILE_MEMORY_BYTES)
            .spawn(move || self.run());
        // The thread is not joined: it reports when it has ended, and a panic ends the process.
        executor.map(drop).map_err(StartError::because(&format!(
            "cannot start a shard on core {cpu}"
        )))
    }

    async fn run(self) {
        // On this thread, which is the one that may submit.
        match NetRing::new() {
            Ok(ring) => {
                let turns = Turns::new(self, ring);
                turns.run().await;
            }
            Err(error) => self
                .mailbox
                .report(Report::Failed(format!("cannot make a net ring: {error}"))),
        }
    }
}

impl Server {
    /// Starts what asks shards, once they answer: who asks authorization services, who keeps up TLS, and control.
    fn start_services(
        &mut self,
        keeper: Option<Keeper>,
        channels: system_client::Channels,
        clock: Clock,
        seed: u64,
    ) -> Result<(), StartError> {
        let (authenticator, shards) = (&self.authenticator, &self.shards);
        let (shard, helpers) = (shards[0].clone(), self.helpers.helpers());
        let callouts = Callouts::start(authenticator, shard, helpers, &self.log)
            .map_err(StartError::because("cannot ask authorization services"))?;
        authenticator.use_callouts(callouts);
        if let Some(keeper) = keeper {
            if let Some(shown) = &mut self.facts.tls {
                shown.not_after = keeper.not_after();
            }
            let watch = keeper
                .start(shards.clone(), self.report.clone())
                .map_err(StartError::because("cannot keep up TLS"))?;
            self.tls = Some(watch);
        }
        let start = system_client::Start {
            channels,
            shards: shards.clone(),
            reports: self.report.clone(),
            authenticator: Arc::clone(authenticator),
            clock,
            log: self.log.clone(),
            server: self.facts.clone(),
            seed,
        };
        let started = SystemClient::start(start)
            .map_err(StartError::because("cannot serve the system account"))?;
        self.system_client = Some(started);
        Ok(())
    }

    /// Obeys signals until one of them ends the server.
    fn serve(mut self) {
        let mut lame_duck: Option<LameDuck> = None;
        loop {
            let report = match &lame_duck {
                None => self.reports.recv().ok(),
                Some(duck) => self.reports.recv_timeout(duck.pause()).ok(),
            };
            match report {
                Some(Report::Signal(signal)) => {
                    let name = signals::name(signal);
                    self.log.info(format_args!("Trapped \"{name}\" signal"));
                    match signal {
                        // It will end by itself.
                        signals::SIGTERM if lame_duck.is_some() => {}
                        signals::SIGHUP => {
                            // What is wrong is in the log.
                            let _ = self.reload();
                        }
                        signals::SIGUSR1 => self.reopen_log(),
                        signals::SIGUSR2 if lame_duck.is_none() => {
                            lame_duck = Some(self.enter_lame_duck());
                        }
                        signals::SIGUSR2 => {}
                        _ => break,
                    }
                }
                Some(Report::Reload(ticket)) => {
                    let result = self.reload();
                    if let Some(system_client) = &self.system_client {
                        system_client.reloaded(ticket, result);
                    }
                }
                Some(Report::Revoked) => break,
                Some(Report::Ready | Report::Failed(_) | Report::Stopped) | None => {}
            }
            if let Some(duck) = &mut lame_duck {
                match duck.next(self.connections.per_shard()) {
                    lame_duck::Step::Wait => {}
                    lame_duck::Step::Close(shard) => {
                        self.shards[shard.index()].send(Command::CloseOne);
                    }
                    lame_duck::Step::Done => break,
                }
            }
        }
        self.stop();
    }

    fn enter_lame_duck(&self) -> LameDuck {
        self.log.info(format_args!(
            "Entering lame duck mode, stop accepting new clients"
        ));
        self.phase.set(Phase::LameDuck);
        if let Some(system_client) = &self.system_client {
            system_client.enter_lame_duck();
        }
        for shard in &self.shards {
            shard.send(Command::StopAccepting);
            shard.send(Command::LameDuck);
        }
        LameDuck::new(&self.config.limits, self.log.clone())
    }

    fn stop(mut self) {
        self.log.info(format_args!("Initiating Shutdown..."));
        if let Some(system_client) = &self.system_client {
            system_client.stop();
        }
        for shard in &self.shards {
            shard.send(Command::Stop);
        }
        while self.running > 0 {
            match self.reports.recv_timeout(STOP_TIME) {
                Ok(Report::Stopped) => self.running -= 1,
                Ok(
                    Report::Ready
                    | Report::Failed(_)
                    | Report::Signal(_)
                    | Report::Reload(_)
                    | Report::Revoked,
                ) => {}
                Err(_) => {
                    let text = "Some connections could not be closed in time";
                    self.log.warn(format_args!("{text}"));
                    break;
                }
            }
        }
        if let Some(directory) = &self.config.ports_file_dir {
            ports_file::remove(directory, &self.log);
        }
        // What they were at concerns connections that are gone.
        self.helpers.stop(HELPERS_STOP_TIME);
        self.log.info(format_args!("Server Exiting.."));
    }
}

/// New keys for every start, as nats-server has them.
fn server_keys() -> std::io::Result<ServerKeys> {
    let identity = host::random_bytes()?;
    Ok(ServerKeys::from_seeds(&identity, host::random_bytes()?))
}

/// What monitoring says of the server; the accounts are filled in later.
fn server_facts(config: &Config, settings: &Settings, clock: &Clock, cores: usize) -> ServerFacts {
    let mut facts = ServerFacts {
        identity: settings.identity.clone(),
        limits: settings.limits.clone(),
        auth_required: settings.policy.gate.is_required(),
        started: clock.started(),
        config_loaded: clock.started(),
        config_digest: String::new(),
        system_account: Arc::default(),
        accounts: Vec::new(),
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        cores,
        shards: settings.shards,
        tls: None,
        connect_urls: Vec::new(),
        jetstream: None,
        trusted_proxies: None,
        is_lame_duck: false,
        monitor: MonitorView {
            host: config.monitor.host.as_ref().unwrap_or(&config.host).clone(),
            http_port: MonitorOptions::number(config.monitor.http),
            https_port: MonitorOptions::number(config.monitor.https),
            base_path: config.monitor.base_path.clone(),
        },
    };
    follow(&mut facts, config);
    facts
}

/// What of it the configuration says.
fn follow(facts: &mut ServerFacts, config: &Config) {
    let digest = config.file.as_ref().map(|file| file.digest.clone());
    facts.limits = config.limits.clone();
    facts.config_digest = digest.unwrap_or_default();
    facts.tags = config.server_tags.clone();
    facts.metadata = config.server_metadata.clone();
    facts.tls = config.tls.as_ref().map(|tls| TlsView {
        required: !config.allow_non_tls,
        verify: tls.verify,
        timeout_s: tls.timeout_ms as f64 / 1000.0,
        // It is the files that say so, and not the configuration.
        not_after: facts.tls.and_then(|tls| tls.not_after),
    });
    let proxies = &config.auth.proxies;
    facts.trusted_proxies = (!proxies.is_empty()).then(|| proxies.clone());
}

/// Whether somebody's password or token stands in the configuration as it is.
fn has_plaintext_secret(config: &Config) -> bool {
    let auth = &config.auth;
    let users = auth.users.iter().filter_map(|user| user.pass.as_ref());
    [auth.pass.as_ref(), auth.token.as_ref()]
        .into_iter()
        .flatten()
        .chain(users)
        .any(|secret| !crate::auth::is_bcrypt(&secret.0))
}

fn listen_error(config: &Config, error: &std::io::Error) -> StartError {
    StartError(format!(
        "Error listening on port: {host}:{port}, \"{error}\"",
        host = config.host,
        port = config.port.bind_number(),
    ))
}

/// A shard that panics has lost the interest of its connections and cannot be restarted alone:
/// the process says what happened and ends, for its supervisor to start it again.
fn abort_on_panic(log: Log) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        log.fatal(format_args!("internal error, please report it: {info}"));
        before(info);
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_while_stores_are_read() {
        let check = |sent: Vec<Report>, expected: Readiness, left: usize| {
            let (report, reports) = crossbeam_channel::unbounded();
            for one in sent {
                report.send(one).unwrap();
            }
            assert_eq!(await_ready(&reports, &report, 2).unwrap(), expected);
            assert_eq!(reports.len(), left);
        };
        let [hangup, term, int] =
            [signals::SIGHUP, signals::SIGTERM, signals::SIGINT].map(Report::Signal);
        check(vec![Report::Ready, Report::Ready], Readiness::Ready, 0);
        let between = vec![Report::Ready, hangup, Report::Ready];
        check(between, Readiness::Ready, 1);
        check(
            vec![Report::Ready, term],
            Readiness::Ended(signals::SIGTERM),
            0,
        );
        check(vec![int], Readiness::Ended(signals::SIGINT), 0);
    }
}
