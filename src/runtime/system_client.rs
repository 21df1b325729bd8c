//! The thread of [`Control`]: a client of the house, on one end of a socket pair whose other end
//! shard 0 serves like any connection.
//!
//! It waits for its socket, for notices of the shards and for orders of the main thread, and may
//! take its time with all of them: nobody waits for it but who has asked it something.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::authenticator::Authenticator;
use super::clock::Clock;
use super::commands::{Address, Arrival, Command, Report, event_fd};
use super::log::Log;
use super::registrar::Registrar;
use super::usage::UsageMeter;
use crate::auth::accounts::Directory;
use crate::base::ids::AccountId;
use crate::control::claims::{self, Registry};
use crate::control::endpoints::{Endpoint, HttpRequest, Reply};
use crate::control::time::UnixNanos;
use crate::control::view::{AccountView, House, ServerFacts, Told, Usage};
use crate::control::wire::{Incoming, Wire};
use crate::control::{Control, Outgoing};
use crate::shard::facts::{Notice, ShardFacts, Wanted};

/// Notices that may wait; the shards drop what comes on top.
const NOTICES_MAX: usize = 16 * 1024;
/// Notices taken at once.
const NOTICES_PER_TURN: usize = 1024;
/// How long all shards together may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// How long the last words may take when the server stops.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);
/// Between two attempts to be served.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// From the main thread.
enum Order {
    LameDuck,
    /// The server is configured like this now.
    Configured(Box<ServerFacts>),
    /// Say goodbye, then say so here.
    Stop(Sender<()>),
    /// What came of reading the configuration again, for the request with this ticket.
    Reloaded(u64, Result<(), String>),
    /// Answer.
    Ask(Question),
}

/// A question of the monitoring port.
pub struct Question {
    pub endpoint: Endpoint,
    pub query: String,
    pub accepted: String,
    pub answer: oneshot::Sender<Reply>,
    /// Nobody else asks meanwhile.
    pub turn: OwnedSemaphorePermit,
}

/// Requests that the monitoring port has answered by itself, since they were last counted.
#[derive(Default)]
struct Uncounted {
    page: AtomicU64,
    health: AtomicU64,
}

/// Where to ask.
#[derive(Clone)]
pub struct Inquirer {
    orders: Sender<Order>,
    event: Arc<File>,
    uncounted: Arc<Uncounted>,
}

impl Inquirer {
    /// Does not wait. Where there is nobody to answer, the question is dropped.
    pub fn ask(&self, question: Question) {
        if self.orders.send(Order::Ask(question)).is_ok() {
            wake(&self.event);
        }
    }

    /// Has a request counted that was answered without asking. That need not be at once.
    pub fn count(&self, endpoint: Endpoint) {
        let of = match endpoint {
            Endpoint::Healthz => &self.uncounted.health,
            _ => &self.uncounted.page,
        };
        of.fetch_add(1, Ordering::Relaxed);
    }
}

/// A shard's end of the notices.
#[derive(Clone)]
pub struct Notices {
    sender: Sender<Notice>,
    event: Arc<File>,
    dropped: Arc<AtomicU64>,
}

impl Notices {
    /// Passes notices on; never waits.
    pub fn push(&self, notices: impl Iterator<Item = Notice>) {
        let mut any = false;
        for notice in notices {
            any = true;
            match self.sender.try_send(notice) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(_)) => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if any {
            wake(&self.event);
        }
    }
}

fn wake(event: &File) {
    // An event counter can only be full of wakes that are not yet taken.
    let _ = (&*event).write(&1u64.to_ne_bytes());
}

/// The ends that shards and the thread will hold.
pub struct Channels {
    notices: Notices,
    received: Receiver<Notice>,
    inquirer: Inquirer,
    orders: Receiver<Order>,
}

impl Channels {
    /// # Errors
    /// No event descriptor can be had.
    pub fn new() -> io::Result<Self> {
        let (sender, received) = bounded(NOTICES_MAX);
        let notices = Notices {
            sender,
            event: Arc::new(event_fd()?),
            dropped: Arc::default(),
        };
        let (orders, ordered) = unbounded();
        let inquirer = Inquirer {
            orders,
            event: Arc::clone(&notices.event),
            uncounted: Arc::default(),
        };
        Ok(Self {
            notices,
            received,
            inquirer,
            orders: ordered,
        })
    }

    /// Where the monitoring port asks.
    pub fn inquirer(&self) -> Inquirer {
        self.inquirer.clone()
    }

    /// What a shard holds.
    pub fn notices(&self) -> Notices {
        self.notices.clone()
    }
}

/// What the thread needs.
pub struct Start {
    pub channels: Channels,
    pub shards: Vec<Address>,
    pub reports: Sender<Report>,
    pub authenticator: Arc<Authenticator>,
    pub clock: Clock,
    pub log: Log,
    /// The accounts in it are filled in from the authenticator.
    pub server: ServerFacts,
    pub seed: u64,
}

/// The thread, seen from the main one.
pub struct SystemClient {
    orders: Sender<Order>,
    event: Arc<File>,
}

impl SystemClient {
    /// Starts the thread and waits until requests are answered.
    ///
    /// # Errors
    /// There is no thread, or no socket pair, to be had.
    pub fn start(begin: Start) -> io::Result<Self> {
        let Inquirer { orders, event, .. } = begin.channels.inquirer();
        let (ready, is_ready) = bounded(1);
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || Turns::new(begin, ready).run())?;
        // One that is late will be there later.
        let _ = is_ready.recv_timeout(ANSWER_TIME);
        Ok(Self { orders, event })
    }

    fn order(&self, order: Order) {
        // The thread ends only when it is told to.
        if self.orders.send(order).is_ok() {
            wake(&self.event);
        }
    }

    /// Has it tell that the server is in lame duck mode.
    pub fn enter_lame_duck(&self) {
        self.order(Order::LameDuck);
    }

    /// Tells it what a new configuration says of the server. The accounts in it are filled in from the authenticator.
    pub fn configured(&self, server: ServerFacts) {
        self.order(Order::Configured(Box::new(server)));
    }

    /// Tells it what came of reading the configuration again, which it has asked for with this ticket.
    pub fn reloaded(&self, ticket: u64, result: Result<(), String>) {
        self.order(Order::Reloaded(ticket, result));
    }

    /// Has it tell that the server stops, and waits until it has; while the shards still serve.
    pub fn stop(&self) {
        let (done, is_done) = bounded(1);
        self.order(Order::Stop(done));
        let _ = is_done.recv_timeout(LAST_WORDS_TIME);
    }
}

/// The rest of the server, as control asks it.
struct Hall {
    shards: Vec<Address>,
    reports: Sender<Report>,
    clock: Clock,
    usage: UsageMeter,
    registrar: Option<Registrar>,
    /// Shards that have left a question unanswered.
    silent: BTreeSet<usize>,
}

impl Hall {
    /// Asks all shards and collects what they say in time.
    fn ask<T>(&mut self, command: impl Fn(Sender<T>) -> Command) -> Vec<T> {
        let asked: Vec<Receiver<T>> = self
            .shards
            .iter()
            .map(|shard| {
                let (sender, answer) = bounded(1);
                shard.send(command(sender));
                answer
            })
            .collect();
        collect(&asked, Instant::now() + ANSWER_TIME, &mut self.silent)
    }
}

/// What is answered in time, and who has not answered.
fn collect<T>(asked: &[Receiver<T>], until: Instant, silent: &mut BTreeSet<usize>) -> Vec<T> {
    let mut answers = Vec::with_capacity(asked.len());
    for (shard, answer) in asked.iter().enumerate() {
        match answer.recv_deadline(until) {
            Ok(answer) => answers.push(answer),
            Err(_) => drop(silent.insert(shard)),
        }
    }
    answers
}

impl House for Hall {
    fn now(&mut self) -> UnixNanos {
        self.clock.now()
    }

    fn facts(&mut self, wanted: &Wanted) -> Vec<ShardFacts> {
        let wanted = Arc::new(wanted.clone());
        self.ask(|sender| Command::Facts(Arc::clone(&wanted), sender))
    }

    fn take_silent(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.silent)
    }

    fn usage(&mut self) -> Usage {
        self.usage.look()
    }

    fn threads(&mut self) -> String {
        super::usage::threads()
    }

    fn kick(&mut self, client_id: u64) -> bool {
        let answers = self.ask(|sender| Command::Kick(client_id, sender));
        answers.contains(&true)
    }

    fn tell_lame_duck(&mut self, client_id: u64) -> Told {
        let answers = self.ask(|sender| Command::TellLameDuck(client_id, sender));
        let found = answers.into_iter().find(|told| *told != Told::NoSuchClient);
        found.unwrap_or(Told::NoSuchClient)
    }

    fn registry(&mut self) -> Option<&mut dyn Registry> {
        let registrar = self.registrar.as_mut()?;
        Some(registrar)
    }

    fn reload(&mut self, ticket: u64) {
        // Nobody takes it where the server is being stopped; then nobody is answered either.
        let _ = self.reports.send(Report::Reload(ticket));
    }
}

/// A connection to shard 0.
struct Connection {
    socket: UnixStream,
    wire: Wire,
    opened_at: Instant,
}

/// The thread's own.
struct Turns {
    control: Control,
    hall: Hall,
    server: ServerFacts,
    authenticator: Arc<Authenticator>,
    directory: Arc<Directory>,
    log: Log,
    notices: Receiver<Notice>,
    dropped: Arc<AtomicU64>,
    dropped_told: u64,
    orders: Receiver<Order>,
    uncounted: Arc<Uncounted>,
    event: Arc<File>,
    connection: Option<Connection>,
    /// Who waits for the first PONG.
    ready: Option<Sender<()>>,
    /// Who waits for the last.
    stopping: Option<Sender<()>>,
    buffer: Vec<u8>,
}

impl Turns {
    fn new(begin: Start, ready: Sender<()>) -> Self {
        let Start {
            channels,
            shards,
            reports,
            authenticator,
            clock,
            log,
            mut server,
            seed,
        } = begin;
        let directory = authenticator.policy().directory;
        if directory.system.is_none() {
            // Nobody can ask anything.
            let _ = ready.send(());
        }
        let started = server.started;
        tell_accounts(&mut server, &directory, &authenticator, started);
        Self {
            control: Control::new(Arc::new(server.clone()), seed, clock.now()),
            hall: Hall {
                shards,
                reports,
                clock,
                usage: UsageMeter::new(),
                registrar: Registrar::new(&authenticator),
                silent: BTreeSet::new(),
            },
            server,
            authenticator,
            directory,
            log,
            notices: channels.received,
            dropped: channels.notices.dropped,
            dropped_told: 0,
            orders: channels.orders,
            uncounted: channels.inquirer.uncounted,
            event: channels.notices.event,
            connection: None,
            ready: Some(ready),
            stopping: None,
            buffer: vec![0; READ_BYTES],
        }
    }

    fn run(mut self) {
        loop {
            let tick_ms = self.authenticator.tick();
            self.follow_policy();
            self.connect();
            self.wait(tick_ms);
            self.read();
            self.take_notices();
            self.take_orders();
            self.control.tick(&mut self.hall);
            self.publish();
            self.write();
            if self.stopping.is_some() && self.connection.is_none() {
                // The PONG behind the last words has come, or nobody is there to send it.
                return;
            }
        }
    }

    /// Takes over accounts that have changed.
    fn follow_policy(&mut self) {
        let directory = self.authenticator.policy().directory;
        if Arc::ptr_eq(&directory, &self.directory) {
            return;
        }
        self.take_over(directory);
    }

    fn take_over(&mut self, directory: Arc<Directory>) {
        if directory.system != self.directory.system {
            self.connection = None;
        }
        self.directory = directory;
        let now = self.hall.clock.now();
        tell_accounts(&mut self.server, &self.directory, &self.authenticator, now);
        self.control.set_server(Arc::new(self.server.clone()));
    }

    /// Has shard 0 serve the system account's connection, if it does not.
    fn connect(&mut self) {
        let Some(system) = self.directory.system else {
            return;
        };
        if self.connection.is_some() || self.stopping.is_some() {
            return;
        }
        match self.open(system) {
            Ok(socket) => {
                self.connection = Some(Connection {
                    socket,
                    wire: Wire::new(&self.subjects()),
                    opened_at: Instant::now(),
                });
                self.write();
            }
            Err(error) => {
                self.log
                    .error(format_args!("System account: cannot connect: {error}"));
                thread::sleep(RECONNECT_PAUSE);
            }
        }
    }

    /// What is listened to in the system account.
    fn subjects(&mut self) -> Vec<String> {
        let mut subjects = self.control.subjects();
        if let Some(registry) = self.hall.registry() {
            subjects.extend(claims::subjects(registry.keeping()));
        }
        subjects
    }

    /// One end of a pair, the other one of which shard 0 has.
    fn open(&self, account: AccountId) -> io::Result<UnixStream> {
        let (own, other) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let arrival = Arrival {
            socket: OwnedFd::from(other),
            client_id: 0,
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            refused: false,
            pass: None,
            internal: Some(account),
        };
        self.hall.shards[0].send(Command::Adopt(arrival));
        Ok(own)
    }

    /// Waits until there is something to do.
    fn wait(&self, tick_ms: u64) {
        let left = self.control.next_tick().since(self.hall.clock.now());
        let left_ms = left.div_ceil(1_000_000).min(60_000).min(tick_ms);
        let connection = self.connection.as_ref();
        let wants_to_write = connection.is_some_and(|c| !c.wire.pending().is_empty());
        let mut events = libc::POLLIN;
        if wants_to_write {
            events |= libc::POLLOUT;
        }
        let mut polled = [
            libc::pollfd {
                fd: self.event.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            },
            libc::pollfd {
                // A negative one is passed over.
                fd: connection.map_or(-1, |c| c.socket.as_raw_fd()),
                events,
                revents: 0,
            },
        ];
        // SAFETY: the array is valid for its length; the descriptors are open meanwhile.
        let ready = unsafe {
            libc::poll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                left_ms as libc::c_int,
            )
        };
        if ready > 0 && polled[0].revents != 0 {
            let mut count = [0; 8];
            // It was readable; what it says is that there is something in the channels.
            let _ = (&*self.event).read(&mut count);
        }
    }

    fn read(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let end = match connection.socket.read(&mut self.buffer) {
            Ok(0) => Some("it was closed".to_owned()),
            Ok(count) => {
                connection.wire.handle_input(&self.buffer[..count]);
                None
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => None,
                _ => Some(error.to_string()),
            },
        };
        while let Some(incoming) = self
            .connection
            .as_mut()
            .and_then(|c| c.wire.poll_incoming())
        {
            // What comes after a reload is answered after it.
            self.take_orders();
            self.count();
            match incoming {
                Incoming::Message {
                    subject,
                    reply,
                    headers,
                    body,
                } => {
                    let hall = &mut self.hall;
                    self.control
                        .handle_message(hall, &subject, &reply, &headers, &body);
                    // One answer at a time, so that many do not pile up.
                    self.publish();
                }
                Incoming::Pong if self.stopping.is_some() => {
                    self.connection = None;
                    if let Some(done) = &self.stopping {
                        let _ = done.send(());
                    }
                }
                Incoming::Pong => {
                    if let Some(ready) = self.ready.take() {
                        let _ = ready.send(());
                    }
                }
                Incoming::Broken(why) => self.lost(&why),
            }
        }
        if let Some(why) = end {
            self.lost(&why);
        }
    }

    /// The connection is gone; there will be another one.
    fn lost(&mut self, why: &str) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if self.stopping.is_none() {
            self.log
                .warn(format_args!("System account: connection lost: {why}"));
            if connection.opened_at.elapsed() < RECONNECT_PAUSE {
                thread::sleep(RECONNECT_PAUSE);
            }
        }
    }

    fn take_notices(&mut self) {
        loop {
            let some: Vec<Notice> = self.notices.try_iter().take(NOTICES_PER_TURN).collect();
            if some.is_empty() {
                break;
            }
            self.control.handle_notices(&mut self.hall, some);
            self.publish();
        }
        let unsaid = self.connection.as_ref().map_or(0, |c| c.wire.dropped());
        let dropped = self.dropped.load(Ordering::Relaxed) + unsaid;
        if dropped > self.dropped_told {
            let count = dropped - self.dropped_told;
            self.log.warn(format_args!(
                "System account: {count} events or answers were dropped, there were too many"
            ));
        }
        // Less than before when the connection is a new one.
        self.dropped_told = dropped;
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            let now = self.hall.clock.now();
            match order {
                Order::LameDuck => self.control.lame_duck(now),
                Order::Configured(server) => {
                    self.server = ServerFacts {
                        accounts: std::mem::take(&mut self.server.accounts),
                        config_loaded: now,
                        ..*server
                    };
                    self.take_over(self.authenticator.policy().directory);
                }
                Order::Stop(done) => {
                    self.control.shutdown(now);
                    self.publish();
                    if let Some(connection) = &mut self.connection {
                        connection.wire.ping();
                    }
                    self.stopping = Some(done);
                }
                Order::Reloaded(ticket, result) => self.control.reloaded(ticket, result, now),
                Order::Ask(question) => self.answer(question),
            }
        }
    }

    /// Counts what the monitoring port has answered by itself.
    fn count(&mut self) {
        let Uncounted { page, health } = &*self.uncounted;
        for (endpoint, count) in [(Endpoint::Root, page), (Endpoint::Healthz, health)] {
            let times = count.swap(0, Ordering::Relaxed);
            self.control.count_answered(endpoint, times);
        }
    }

    /// Answers the monitoring port, unless nobody waits for it any more.
    fn answer(&mut self, question: Question) {
        let Question {
            endpoint,
            query,
            accepted,
            answer,
            turn,
        } = question;
        if !answer.is_closed() {
            self.count();
            let request = HttpRequest {
                endpoint,
                query: &query,
                accepted: &accepted,
            };
            let mut reply = self.control.handle_http(&mut self.hall, &request);
            if let Some(warning) = reply.warning.take() {
                self.log.warn(format_args!("{warning}"));
            }
            // It may have been closed in between.
            let _ = answer.send(reply);
        }
        drop(turn);
    }

    /// Hands what control wants to say to its connections.
    fn publish(&mut self) {
        let mut elsewhere: Vec<Outgoing> = Vec::new();
        for outgoing in self.control.take_outgoing() {
            match (&outgoing.account, &mut self.connection) {
                (Some(_), _) => elsewhere.push(outgoing),
                (None, Some(connection)) => {
                    connection
                        .wire
                        .publish(&outgoing.subject, outgoing.headers, &outgoing.payload);
                }
                (None, None) => {}
            }
        }
        elsewhere.sort_by(|a, b| a.account.cmp(&b.account));
        for of_account in elsewhere.chunk_by(|a, b| a.account == b.account) {
            self.publish_elsewhere(of_account);
        }
    }

    /// Publishes in another account: a connection for these messages only.
    fn publish_elsewhere(&self, messages: &[Outgoing]) {
        let name = messages.first().and_then(|m| m.account.as_deref());
        let Some(account) = name.and_then(|name| self.directory.find(name)) else {
            return;
        };
        let mut wire = Wire::new(&[]);
        for message in messages {
            wire.publish(&message.subject, message.headers, &message.payload);
        }
        if let Ok(mut socket) = self.open(account.id) {
            // As much as a socket takes at once: in a flood of failures some are not told.
            let _ = socket.write(wire.pending());
        }
    }

    fn write(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        while !connection.wire.pending().is_empty() {
            match connection.socket.write(connection.wire.pending()) {
                Ok(count) => connection.wire.wrote(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.lost(&error.to_string());
                    return;
                }
            }
        }
    }
}

/// Fills in the accounts. Those that are as they were keep the time at which they came to be so.
fn tell_accounts(
    server: &mut ServerFacts,
    directory: &Directory,
    authenticator: &Authenticator,
    now: UnixNanos,
) {
    let before: HashMap<String, AccountView> = std::mem::take(&mut server.accounts)
        .into_iter()
        .map(|view| (view.definition.name.clone(), view))
        .collect();
    let system = directory.system.and_then(|id| directory.get(id));
    server.system_account = system.map(|a| Arc::clone(&a.name)).unwrap_or_default();
    server.accounts = directory
        .accounts()
        .iter()
        .filter_map(|account| {
            let definition = Arc::clone(&account.definition);
            let claims = definition.claims.as_ref().map(|claims| &claims.common);
            let tenants = authenticator.tenants();
            let token = tenants.and_then(|tenants| tenants.token(&account.name));
            if account.gone && token.is_none() {
                return None;
            }
            let is_same = |before: &&AccountView| before.definition == definition;
            let before = before.get(&*account.name).filter(is_same);
            Some(AccountView {
                // What has a token but no claims that hold has ended.
                expired: token.is_some() && claims.is_none(),
                jwt: token.unwrap_or_default(),
                updated: before.map_or(now, |before| before.updated),
                name_tag: claims.map(|c| c.name.clone()).unwrap_or_default(),
                issuer_key: claims.map(|c| c.issuer.clone()).unwrap_or_default(),
                tags: claims.map(|c| c.tags.clone()).unwrap_or_default(),
                definition,
            })
        })
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_known() {
        let until = Instant::now() + Duration::from_millis(10);
        let (senders, asked): (Vec<_>, Vec<_>) = (0..4).map(|_| bounded(1)).unzip();
        let mut senders = senders.into_iter();
        let mut next = || senders.next().expect("there are four");
        next().send('a').unwrap();
        // One that hangs, and one that is gone.
        let _hangs = next();
        drop(next());
        next().send('d').unwrap();
        let mut silent = BTreeSet::new();
        assert_eq!(collect(&asked, until, &mut silent), ['a', 'd']);
        assert_eq!(silent, BTreeSet::from([1, 2]));
    }
}
