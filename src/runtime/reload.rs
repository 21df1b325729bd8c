//! A new configuration: read, judged, prepared, and only then put into force.
//!
//! Everything that can fail comes first, and leaves everything as it was: files of certificates are read,
//! users and accounts are made, the log is opened. Then each shard is handed all that is new in one command.
//! Shards do not take it in the same moment; but none shows a part of it, and as what a client does after
//! a reload was answered comes later, the client sees all of it.
//!
//! Must not know which settings can be reloaded ([`crate::config::reload`]).

use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::authenticator::Prepared;
use super::commands::{Command, Reload, Report};
use super::log;
use super::stapling::{Keeper, Loaded};
use super::{Server, follow, host, identity, pid_file, ports_file, signals};
use crate::config::Config;
use crate::config::reload::{Change, Part, changes, settle};
use crate::control::time::UnixSeconds;
use crate::shard::{Reloaded, StorageLimits};

/// How long shards may take to be told.
const SHARDS_TIME: Duration = Duration::from_secs(2);

/// Why nothing is changed any more.
const STOPPING: &str = "the server is being stopped";

/// What was made of a new configuration.
struct Next {
    config: Config,
    changes: Vec<Change>,
    log: Option<log::Prepared>,
    /// `None` where nothing changes; `Some(None)` for no TLS.
    tls: Option<Option<Keeper>>,
    access: Prepared,
}

impl Server {
    /// Reads the configuration again and follows it.
    ///
    /// # Errors
    /// Why everything is as it was; the log was told.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        match self.prepare() {
            Ok(next) => {
                self.adopt(next);
                Ok(())
            }
            Err(error) => {
                // A line for each of several mistakes.
                for line in error.lines() {
                    let text = "Failed to reload server configuration";
                    self.log.error(format_args!("{text}: {line}"));
                }
                Err(error)
            }
        }
    }

    fn prepare(&self) -> Result<Next, String> {
        if self.config.file.is_none() {
            let text = "can only reload config when a file is provided using -c or --config";
            return Err(text.to_owned());
        }
        let (mut config, warnings) = (self.reread)()?;
        for warning in warnings {
            self.log.warn(format_args!("{warning}"));
        }
        settle(&self.config, &mut config);
        let changes = changes(&self.config, &config)?;
        let access = self.authenticator.prepare(&config)?;
        let log = match has(&changes, Part::Log) {
            true => Some(log::Log::prepare(&config).map_err(|error| error.to_string())?),
            false => None,
        };
        // Last, because it may wait for somebody else's server.
        let tls = match has(&changes, Part::Tls) {
            true => Some(self.await_tls(&self.load_tls(&config)?)?),
            false => None,
        };
        Ok(Next {
            config,
            changes,
            log,
            tls,
            access,
        })
    }

    /// Has the files of TLS read, and staples fetched, elsewhere.
    fn load_tls(&self, config: &Config) -> Result<Receiver<Loaded>, String> {
        if let Some(watch) = &self.tls {
            return Ok(watch.load(config));
        }
        let (sender, loaded) = crossbeam_channel::bounded(1);
        let (config, log) = (config.clone(), self.log.clone());
        std::thread::Builder::new()
            .name("tls-load".to_owned())
            .spawn(move || {
                // Who has asked may have stopped waiting.
                let _ = sender.send(Keeper::load(&config, &log));
            })
            .map_err(|error| format!("cannot read the files of TLS: {error}"))?;
        Ok(loaded)
    }

    /// Waits for it, but not beyond a signal that ends the server. What else comes meanwhile is done after it.
    fn await_tls(&self, loaded: &Receiver<Loaded>) -> Loaded {
        let mut later = Vec::new();
        let result = loop {
            crossbeam_channel::select! {
                recv(loaded) -> loaded => {
                    let revoked = || Err("the server's certificate is revoked".to_owned());
                    break loaded.unwrap_or_else(|_| revoked());
                }
                recv(self.reports) -> report => {
                    let Ok(report) = report else {
                        break Err(STOPPING.to_owned());
                    };
                    let ends = match &report {
                        Report::Signal(signal) => ends_server(*signal),
                        Report::Revoked => true,
                        _ => false,
                    };
                    later.push(report);
                    if ends {
                        break Err(STOPPING.to_owned());
                    }
                }
            }
        };
        for report in later {
            // They come to the receiver that this has.
            let _ = self.report.send(report);
        }
        result
    }

    fn adopt(&mut self, next: Next) {
        let Next {
            config,
            changes,
            log,
            mut tls,
            access,
        } = next;
        for change in changes.iter().filter(|change| !change.said.is_empty()) {
            self.log.info(format_args!("{}", change.said));
        }
        let before = std::mem::replace(&mut self.config, config);
        match log {
            Some(log) => self.log.replace(&self.config, log),
            None => self.log.set_levels(self.config.debug, self.config.trace),
        }
        identity::follow(&mut self.identity, &self.config, self.listening.port());
        if self.config.limits.max_connections != before.limits.max_connections {
            self.raise_limits();
        }
        if let Some(watch) = self.tls.take_if(|_| tls.is_some()) {
            let current = watch.retire();
            if let Some(Some(keeper)) = &mut tls {
                keeper.take_over(current);
            }
        }
        self.tell_shards(&changes, tls.as_ref(), access);
        // The files may be others now, whatever their names are.
        let not_after = tls
            .as_ref()
            .map(|keeper| keeper.as_ref().and_then(Keeper::not_after));
        if let Some(Some(keeper)) = tls {
            self.keep_up(keeper);
        }
        self.rewrite_files(&before, &changes);
        self.tell_control(not_after);
        let digest = self.config.file.as_ref().map(|file| &*file.digest);
        self.log.info(format_args!(
            "Reloaded server configuration ({})",
            digest.unwrap_or_default()
        ));
    }

    /// Hands all shards all that is new, and waits until they have it.
    fn tell_shards(&self, changes: &[Change], tls: Option<&Option<Keeper>>, access: Prepared) {
        let surplus = self.surplus();
        let closed: usize = surplus.iter().sum();
        let (done, is_done) = crossbeam_channel::bounded(self.shards.len());
        let reload = Reload {
            done,
            reloaded: Reloaded {
                limits: self.config.limits.clone(),
                policy: self.authenticator.policy(),
                identity: self.identity.clone(),
                debug: self.config.debug,
                trace: self.config.trace,
                storage: has(changes, Part::JetStream).then(|| storage_limits(&self.config)),
                surplus: 0,
            },
            tls: tls.map(|tls| tls.as_ref().map(Keeper::tls)),
        };
        self.authenticator.adopt(access, |policy, shards| {
            for (shard, surplus) in shards.iter().zip(surplus) {
                let mut reload = reload.clone();
                reload.reloaded.policy = policy.clone();
                reload.reloaded.identity.auth_required = policy.gate.is_asked_for();
                reload.reloaded.surplus = surplus;
                shard.send(Command::Reloaded(Box::new(reload)));
            }
        });
        drop(reload);
        await_all(self.shards.len(), &is_done);
        if closed > 0 {
            self.log.info(format_args!(
                "Closed {closed} connections to fall within max_connections"
            ));
        }
    }

    fn keep_up(&mut self, keeper: Keeper) {
        match keeper.start(self.shards.clone(), self.report.clone()) {
            Ok(watch) => self.tls = Some(watch),
            Err(error) => {
                let text = "cannot keep up TLS";
                self.log.error(format_args!("{text}: {error}"));
            }
        }
    }

    /// Tells control what monitoring says of the server now; `not_after` is when the certificate ends, where files were read.
    fn tell_control(&mut self, not_after: Option<Option<UnixSeconds>>) {
        self.identity.auth_required = self.authenticator.policy().gate.is_asked_for();
        self.facts.identity = self.identity.clone();
        self.facts.auth_required = self.authenticator.policy().gate.is_required();
        follow(&mut self.facts, &self.config);
        if let Some(not_after) = not_after
            && let Some(shown) = &mut self.facts.tls
        {
            shown.not_after = not_after;
        }
        if let Some(shown) = &mut self.facts.jetstream {
            let limits = storage_limits(&self.config);
            shown.max_memory_bytes = limits.memory.unwrap_or(shown.max_memory_bytes);
            shown.max_storage_bytes = limits.disk.unwrap_or(shown.max_storage_bytes);
            shown.limits = limits.assets;
        }
        if let Some(system_client) = &self.system_client {
            system_client.configured(self.facts.clone());
        }
    }

    /// More connections need more descriptors.
    fn raise_limits(&self) {
        let connections = self.config.limits.max_connections;
        match host::prepare(self.shards.len(), connections) {
            Ok(None) => {}
            Ok(Some(text)) => self.log.warn(format_args!("{text}")),
            Err(error) => self.log.warn(format_args!("{error}")),
        }
    }

    /// How many connections each shard has too many, if there are more than there may be; each its part.
    fn surplus(&self) -> Vec<usize> {
        let counts: Vec<usize> = self.connections.per_shard().collect();
        share_out(&counts, self.config.limits.max_connections)
    }

    fn rewrite_files(&self, before: &Config, changes: &[Change]) {
        if let Some(path) = &self.config.pid_file
            && has(changes, Part::PidFile)
            && let Err(error) = pid_file::write_pid_file(path)
        {
            self.log
                .error(format_args!("Failed to write pidfile: {error}"));
        }
        if has(changes, Part::PortsFile) {
            if let Some(directory) = &before.ports_file_dir {
                ports_file::remove(directory, &self.log);
            }
            if let Some(directory) = &self.config.ports_file_dir {
                self.write_ports_file(directory);
            }
        }
    }

    pub(super) fn write_ports_file(&self, directory: &Path) {
        let clients = ports_file::Listening {
            scheme: if self.config.tls.is_some() {
                "tls"
            } else {
                "nats"
            },
            address: self.listening,
        };
        ports_file::write(directory, clients, self.monitoring, &self.log);
    }

    /// Somebody has moved the log file away.
    pub(super) fn reopen_log(&self) {
        match self.log.reopen() {
            Ok(true) => self.log.info(format_args!("File log re-opened")),
            Ok(false) => {
                let text = "File log re-open ignored, not a file logger";
                self.log.info(format_args!("{text}"));
            }
            Err(error) => self.log.error(format_args!("{error}")),
        }
    }
}

/// Lame duck included: it is not to wait for somebody else's server either.
fn ends_server(signal: i32) -> bool {
    matches!(
        signal,
        signals::SIGTERM | signals::SIGINT | signals::SIGUSR2
    )
}

/// Waits until all shards have said so: what a client does after the answer comes after the reload.
fn await_all(shards: usize, is_done: &Receiver<()>) {
    let until = Instant::now() + SHARDS_TIME;
    // One that is late will follow nevertheless.
    for _ in 0..shards {
        if is_done.recv_deadline(until).is_err() {
            break;
        }
    }
}

fn has(changes: &[Change], part: Part) -> bool {
    changes.iter().any(|change| change.part == part)
}

fn storage_limits(config: &Config) -> StorageLimits {
    let bytes = |said: Option<i64>| said.and_then(|bytes| u64::try_from(bytes).ok());
    StorageLimits {
        memory: bytes(config.jetstream.max_memory_bytes),
        disk: bytes(config.jetstream.max_storage_bytes),
        assets: config.jetstream.limits,
    }
}

/// Of so many on each shard, how many have to go so that `max` are left: from the fullest first.
fn share_out(counts: &[usize], max: usize) -> Vec<usize> {
    let total: usize = counts.iter().sum();
    let mut left = counts.to_vec();
    for _ in 0..total.saturating_sub(max) {
        if let Some(fullest) = left.iter_mut().max() {
            *fullest = fullest.saturating_sub(1);
        }
    }
    counts
        .iter()
        .zip(left)
        .map(|(count, left)| count - left)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surplus_is_shared() {
        for (counts, max, expected) in [
            (&[][..], 0, &[][..]),
            (&[3], 5, &[0]),
            (&[3], 1, &[2]),
            (&[3, 3], 6, &[0, 0]),
            (&[3, 3], 4, &[1, 1]),
            (&[5, 1], 3, &[3, 0]),
            (&[5, 1], 0, &[5, 1]),
        ] {
            assert_eq!(share_out(counts, max), expected, "{counts:?} {max}");
        }
    }
}
