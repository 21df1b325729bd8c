//! Keeps up what TLS shows to clients: reads the files again when told so, fetches OCSP responses for
//! the server's own certificates and renews them before they expire.
//!
//! A thread of its own, since it waits for others' servers; shards are sent what has changed. Must not
//! know handshakes, nor what makes a response believable ([`super::tls::ocsp`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::commands::{Address, Command, Report};
use super::log::Log;
use super::monitor::CurrentTls;
use super::responders::{ANSWER_TIME, Responders};
use super::tls::ocsp::{self, Inquiry, Staple, Status};
use super::tls::{Tls, certificates_of};
use crate::config::{Config, OcspMode, TlsOptions};
use crate::control::time;

/// How long a response is good for that does not say.
const UNLIMITED_S: u64 = 24 * 60 * 60;
/// The pauses between questions get shorter as the end of a response comes nearer, but not shorter
/// than this.
const PAUSE_S_MIN: u64 = 1;
/// The pause where there is no response any more. Clients are refused meanwhile.
const PAUSE_WITHOUT_S: u64 = 5;
/// The wall clock may be set: it is looked at no less often than this.
const LOOK_TIME: Duration = Duration::from_secs(60);

/// A certificate that is shown with a staple.
#[derive(Debug)]
struct Stapled {
    file: PathBuf,
    inquiry: Inquiry,
    responders: Arc<Responders>,
    /// Rather no server than one whose certificate is not good.
    insists: bool,
    staple: Staple,
    due: UnixTime,
}

/// What TLS is now, and how to make it anew.
#[derive(Debug)]
pub struct Keeper {
    log: Log,
    tls: Arc<Tls>,
    /// The same, for who is no shard.
    current: CurrentTls,
    /// One or none for each certificate.
    certificates: Vec<Option<Stapled>>,
}

impl Keeper {
    /// Reads the files and fetches the staples; `None` without a `tls` block.
    ///
    /// # Errors
    /// A file is wrong, or there is no staple where there must be one.
    pub fn load(config: &Config, log: &Log) -> Result<Option<Self>, String> {
        Self::load_after(config, log, &[])
    }

    /// The same. If a certificate is one of those before and nobody answers, its staple is kept as
    /// long as it lasts.
    fn load_after(
        config: &Config,
        log: &Log,
        before: &[Option<Stapled>],
    ) -> Result<Option<Self>, String> {
        let (Some(options), Some(tls)) = (&config.tls, Tls::of(config)?) else {
            return Ok(None);
        };
        let mut certificates = Vec::new();
        for (files, chain) in options.certificates.iter().zip(tls.chains()) {
            let file = &files.cert_file;
            let Some(wanted) = Wanted::of(config, options, file, chain, log)? else {
                certificates.push(None);
                continue;
            };
            let known = before.iter().flatten();
            let known = known.map(|s| (&s.inquiry, &s.staple));
            let known = known.filter(|(inquiry, _)| **inquiry == wanted.inquiry);
            let known = known.map(|(_, staple)| staple).next();
            certificates.push(Some(wanted.fetch(known, log)?));
        }
        let mut keeper = Self {
            log: log.clone(),
            current: Arc::new(Mutex::new(Arc::clone(&tls))),
            tls,
            certificates,
        };
        keeper.staple();
        keeper.publish();
        Ok(Some(keeper))
    }

    /// For new connections.
    pub fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// What always is what it is now.
    pub fn current(&self) -> CurrentTls {
        Arc::clone(&self.current)
    }

    /// When the first certificate ends.
    pub fn not_after(&self) -> Option<time::UnixSeconds> {
        let first = self.tls.chains().next().and_then(<[_]>::first)?;
        Some(time::UnixSeconds(ocsp::not_after(first)?.as_secs()))
    }

    fn publish(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = self.tls();
    }

    /// Goes on where another one was: who is no shard finds there what TLS is.
    pub fn take_over(&mut self, current: CurrentTls) {
        self.current = current;
        self.publish();
    }

    /// Starts the thread, which ends when the watch is dropped.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut self, shards: Vec<Address>, reports: Sender<Report>) -> io::Result<Watch> {
        let (orders, received) = crossbeam_channel::unbounded();
        let retired = Arc::new(Mutex::new(false));
        let is_retired = Arc::clone(&retired);
        let current = self.current();
        std::thread::Builder::new()
            .name("tls".to_owned())
            .spawn(move || {
                self.tell_found();
                if self.run(&received, &shards, &is_retired).is_err() {
                    // The main thread waits for all shards to end.
                    let _ = reports.send(Report::Revoked);
                }
            })?;
        Ok(Watch {
            orders,
            retired,
            current,
        })
    }

    fn run(
        &mut self,
        orders: &Receiver<Order>,
        shards: &[Address],
        retired: &Mutex<bool>,
    ) -> Result<(), Revoked> {
        loop {
            match orders.recv_timeout(self.pause(UnixTime::now())) {
                Ok((config, answer)) => {
                    let loaded = Self::load_after(&config, &self.log, &self.certificates);
                    // Who has asked may have stopped waiting.
                    let _ = answer.send(loaded);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.renew(UnixTime::now())? {
                        self.staple();
                        // Held while they are told: what comes after it must come later to them.
                        let retired = retired.lock().unwrap_or_else(PoisonError::into_inner);
                        if *retired {
                            return Ok(());
                        }
                        self.send(shards);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn pause(&self, now: UnixTime) -> Duration {
        let due = self
            .certificates
            .iter()
            .flatten()
            .map(|stapled| stapled.due);
        let pause = due.map(|due| due.as_secs().saturating_sub(now.as_secs()));
        pause
            .min()
            .map_or(LOOK_TIME, Duration::from_secs)
            .min(LOOK_TIME)
    }

    /// Fetches what is due; whether something has changed.
    fn renew(&mut self, now: UnixTime) -> Result<bool, Revoked> {
        let mut changed = false;
        for stapled in self.certificates.iter_mut().flatten() {
            if stapled.due > now {
                continue;
            }
            changed |= stapled.renew(&self.log)?;
        }
        Ok(changed)
    }

    /// Puts the staples to the certificates.
    fn staple(&mut self) {
        let staples = self.certificates.iter();
        let staples: Vec<_> = staples.map(|s| s.as_ref().map(|s| &s.staple)).collect();
        if staples.iter().any(Option::is_some) {
            self.tls = self.tls.stapled(&staples);
        }
    }

    fn send(&self, shards: &[Address]) {
        self.publish();
        for shard in shards {
            shard.send(Command::Tls(Some(self.tls())));
        }
    }

    fn tell_found(&self) {
        let mut all = self.certificates.iter().flatten().peekable();
        if all.peek().is_some() {
            let text = "OCSP Stapling enabled for Client connections";
            self.log.info(format_args!("{text}"));
        }
        for stapled in all {
            stapled.tell("Found", "certificate at", &self.log);
        }
    }
}

/// A configuration to read the files of, and where what came of it goes.
type Order = (Box<Config>, Sender<Loaded>);

/// What was made of a configuration's files; `None` without a `tls` block. Or a file is wrong, or there is no staple where
/// there must be one.
pub type Loaded = Result<Option<Keeper>, String>;

/// The thread, seen from the main one.
#[derive(Debug)]
pub struct Watch {
    orders: Sender<Order>,
    /// Another one has taken over.
    retired: Arc<Mutex<bool>>,
    current: CurrentTls,
}

impl Watch {
    /// Has the files of another configuration read; this thread goes on. Nothing comes back when it has ended, because the
    /// certificate is revoked.
    pub fn load(&self, config: &Config) -> Receiver<Loaded> {
        let (sender, answer) = crossbeam_channel::bounded(1);
        let order = (Box::new(config.clone()), sender);
        // The sender is dropped then.
        let _ = self.orders.send(order);
        answer
    }

    /// Ends it: nothing comes from it after this. The one that takes over is to go on with what is returned.
    pub fn retire(self) -> CurrentTls {
        *self.retired.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.current
    }
}

/// A certificate is no longer good, and the server is not to run with such.
#[derive(Debug)]
struct Revoked;

/// A certificate that needs a staple.
struct Wanted {
    file: PathBuf,
    inquiry: Inquiry,
    responders: Arc<Responders>,
    insists: bool,
}

impl Wanted {
    /// Whether a certificate needs one. `must` does not demand one of certificates that do not, and
    /// `auto` does where they do: the modes differ in what follows from a revocation.
    fn of(
        config: &Config,
        options: &TlsOptions,
        file: &Path,
        chain: &[CertificateDer<'static>],
        log: &Log,
    ) -> Result<Option<Self>, String> {
        let demanded = chain.first().is_some_and(ocsp::must_staple);
        let mode = config
            .ocsp
            .as_ref()
            .map_or(OcspMode::Auto, |ocsp| ocsp.mode);
        let (wanted, insists) = match mode {
            OcspMode::Never => {
                if demanded {
                    let shown = file.display();
                    log.warn(format_args!(
                        "Certificate at '{shown}' has MustStaple but OCSP is disabled"
                    ));
                }
                (false, false)
            }
            OcspMode::Always => (true, true),
            OcspMode::Must => (demanded, true),
            OcspMode::Auto => (demanded, false),
        };
        let Some(certificate) = chain.first().filter(|_| wanted) else {
            return Ok(None);
        };
        let authorities = || match &options.ca_file {
            Some(path) => certificates_of(path, "ca_file"),
            None => Ok(rustls_native_certs::load_native_certs().certs),
        };
        let issuer = ocsp::issuer_of(chain, authorities)?;
        let inquiry = Inquiry::new(certificate.clone(), issuer)?;
        let urls = config.ocsp.as_ref().map(|ocsp| &ocsp.urls);
        let addresses = match urls.filter(|urls| !urls.is_empty()) {
            Some(urls) => urls.clone(),
            None => inquiry.responders(),
        };
        Ok(Some(Self {
            file: file.to_path_buf(),
            inquiry,
            responders: Arc::new(Responders::new(&addresses, ANSWER_TIME)),
            insists,
        }))
    }

    fn fetch(self, known: Option<&Staple>, log: &Log) -> Result<Stapled, String> {
        let Self {
            file,
            inquiry,
            responders,
            insists,
        } = self;
        let shown = file.display();
        let staple = match (fetch(&inquiry, &responders), known) {
            (Ok(staple), _) => staple,
            (Err(error), Some(known)) if known.is_current(UnixTime::now()) => {
                log.error(format_args!(
                    "Bad OCSP status update for certificate '{shown}': {error}"
                ));
                known.clone()
            }
            (Err(error), _) => {
                return Err(format!(
                    "bad OCSP status update for certificate at '{shown}': {error}"
                ));
            }
        };
        let status = staple.status();
        if insists && status != Status::Good {
            return Err(format!(
                "found existing OCSP status for certificate at '{shown}': {status}"
            ));
        }
        let due = due(&staple, UnixTime::now());
        Ok(Stapled {
            file,
            inquiry,
            responders,
            insists,
            staple,
            due,
        })
    }
}

impl Stapled {
    /// Asks again; whether there is something new.
    fn renew(&mut self, log: &Log) -> Result<bool, Revoked> {
        let fetched = fetch(&self.inquiry, &self.responders);
        let now = UnixTime::now();
        let shown = self.file.display();
        match fetched {
            Ok(staple) => {
                self.due = due(&staple, now);
                let changed = staple != self.staple;
                self.staple = staple;
                self.tell("Received", "certificate", log);
                if self.insists && self.staple.status() != Status::Good {
                    return Err(Revoked);
                }
                Ok(changed)
            }
            Err(error) => {
                self.due = due(&self.staple, now);
                let pause = pause(self.due, now);
                log.error(format_args!(
                    "Bad OCSP status update for certificate '{shown}': {error}, trying again in {pause}"
                ));
                Ok(false)
            }
        }
    }

    fn tell(&self, what: &str, whose: &str, log: &Log) {
        let (shown, status) = (self.file.display(), self.staple.status());
        if status != Status::Good {
            log.error(format_args!(
                "{what} OCSP status for Client {whose} '{shown}': {status}"
            ));
            return;
        }
        let until = self.staple.until();
        let until = until.map_or_else(|| "unknown".to_owned(), ocsp::shown);
        let pause = pause(self.due, UnixTime::now());
        log.info(format_args!(
            "{what} OCSP status for Client {whose} '{shown}': good, next update {until}, checking \
             again in {pause}"
        ));
    }
}

fn fetch(inquiry: &Inquiry, responders: &Responders) -> Result<Staple, String> {
    let request = inquiry.request()?;
    responders.ask(&request, |response| inquiry.read(response, UnixTime::now()))
}

/// When to ask again: in the middle between now and the end of a response, so that there is time for
/// a second try.
fn due(staple: &Staple, now: UnixTime) -> UnixTime {
    due_after(staple.until(), now)
}

fn due_after(until: Option<UnixTime>, now: UnixTime) -> UnixTime {
    let left_s = until.map(|until| until.as_secs().saturating_sub(now.as_secs()));
    let pause_s = match left_s {
        None => UNLIMITED_S,
        Some(0) => PAUSE_WITHOUT_S,
        Some(left_s) => (left_s / 2).max(PAUSE_S_MIN),
    };
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().saturating_add(pause_s)))
}

fn pause(due: UnixTime, now: UnixTime) -> String {
    let pause_s = due.as_secs().saturating_sub(now.as_secs());
    time::duration(pause_s.saturating_mul(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        for (until_s, pause_s) in [
            (None, 86_400),
            (Some(7 * 86_400), 7 * 43_200),
            (Some(100), 50),
            (Some(2), 1),
            (Some(1), 1),
            (Some(0), 5),
        ] {
            let now = 1_000_000;
            let due = due_after(until_s.map(|s| at(now + s)), at(now));
            assert_eq!(due, at(now + pause_s), "{until_s:?}");
        }
        let past = due_after(Some(at(10)), at(20));
        assert_eq!((past, pause(past, at(20))), (at(25), "5s".to_owned()));
        assert_eq!(pause(at(5), at(9)), "0s");
    }
}
