//! The thread that asks authorization services: publishes questions in their accounts and hands
//! the answers on to be judged.
//!
//! It is a client of the house like control, with a connection for each account that has a
//! service. Those who wait are kept in a table, not on threads. Must not know what a question or
//! an answer says.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::authenticator::Authenticator;
use super::commands::{Address, Arrival, Command, event_fd};
use super::helpers::{Full, Helpers};
use super::host;
use super::log::Log;
use crate::auth::admission::{CalloutNeed, Outcome, Presented, Refused};
use crate::auth::callout::{Question, XKEY_HEADER};
use crate::auth::gate::CALLOUT_SUBJECT;
use crate::base::ids::{AccountId, ConnId};
use crate::control::wire::{Incoming, Wire};

/// Questions that may be on their way to this thread.
const QUEUE_MAX: usize = 4096;
/// Connections that may wait for an answer.
const WAITING_MAX: usize = 16 * 1024;
/// Accounts with a connection of this thread.
const LINES_MAX: usize = 256;
/// A connection that nobody needs is closed after this time.
const LINE_IDLE_TIME: Duration = Duration::from_secs(60);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// A connection that waits for the answer to a question about it.
pub struct Waiting {
    pub conn: ConnId,
    pub shard: Address,
    pub presented: Box<Presented>,
    pub need: Box<CalloutNeed>,
    pub question: Question,
}

impl Waiting {
    fn refuse(self, why: &str) {
        let outcome = Outcome::Refused(Refused::Credentials, why.to_owned());
        self.shard.send(Command::Decided(self.conn, outcome));
    }
}

/// The thread, seen by those who want something asked.
pub struct Callouts {
    questions: Sender<Waiting>,
    event: Arc<File>,
}

impl Callouts {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is no thread, or no event descriptor, to be had.
    pub fn start(
        authenticator: &Arc<Authenticator>,
        shard: Address,
        helpers: Helpers,
        log: &Log,
    ) -> io::Result<Self> {
        let (questions, received) = bounded(QUEUE_MAX);
        let event = Arc::new(event_fd()?);
        let turns = Turns {
            authenticator: Arc::clone(authenticator),
            shard,
            helpers,
            log: log.clone(),
            questions: received,
            event: Arc::clone(&event),
            inbox: format!("$SYS._INBOX.{:016X}", host::random_u64()?),
            asked: 0,
            timeout: Duration::from_millis(authenticator.callout_timeout_ms()),
            waiting: BTreeMap::new(),
            deadlines: VecDeque::new(),
            lines: BTreeMap::new(),
            buffer: vec![0; READ_BYTES],
        };
        thread::Builder::new()
            .name("callouts".to_owned())
            .spawn(move || turns.run())?;
        Ok(Self { questions, event })
    }

    /// Has a question asked. Never waits.
    ///
    /// # Errors
    /// Too many are on their way.
    pub fn ask(&self, waiting: Waiting) -> Result<(), String> {
        self.questions
            .try_send(waiting)
            .map_err(|error| match error {
                TrySendError::Full(_) => TOO_MANY.to_owned(),
                TrySendError::Disconnected(_) => "the server is being stopped".to_owned(),
            })?;
        // An event counter can only be full of wakes that are not yet taken.
        let _ = (&*self.event).write(&1u64.to_ne_bytes());
        Ok(())
    }
}

const TOO_MANY: &str = "too many connections wait for an authorization service";

/// A connection to shard 0, in one account.
struct Line {
    socket: UnixStream,
    wire: Wire,
    used_at: Instant,
}

impl Line {
    /// Writes what it can; whether the connection is still good.
    fn write(&mut self) -> bool {
        while !self.wire.pending().is_empty() {
            match self.socket.write(self.wire.pending()) {
                Ok(count) => self.wire.wrote(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads what is there; whether the connection is still good.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        match self.socket.read(buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.wire.handle_input(&buffer[..count]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

/// The thread's own.
struct Turns {
    authenticator: Arc<Authenticator>,
    shard: Address,
    helpers: Helpers,
    log: Log,
    questions: Receiver<Waiting>,
    event: Arc<File>,
    /// Answers come on this subject and a number.
    inbox: String,
    asked: u64,
    timeout: Duration,
    waiting: BTreeMap<u64, Waiting>,
    /// Of all that were asked, in order, also of those that have been answered.
    deadlines: VecDeque<(Instant, u64)>,
    lines: BTreeMap<u32, Line>,
    buffer: Vec<u8>,
}

impl Turns {
    fn run(mut self) {
        loop {
            self.wait();
            self.ask();
            self.read();
            self.give_up();
            self.write();
        }
    }

    fn wait(&self) {
        let mut polled = Vec::with_capacity(1 + self.lines.len());
        let mut add = |fd, events| {
            polled.push(libc::pollfd {
                fd,
                events,
                revents: 0,
            });
        };
        add(self.event.as_raw_fd(), libc::POLLIN);
        for line in self.lines.values() {
            let write = if line.wire.pending().is_empty() {
                0
            } else {
                libc::POLLOUT
            };
            add(line.socket.as_raw_fd(), libc::POLLIN | write);
        }
        let next = self.deadlines.front().map(|(at, _)| *at);
        let left = next.map_or(LINE_IDLE_TIME, |at| {
            at.saturating_duration_since(Instant::now())
        });
        let left_ms = left.min(LINE_IDLE_TIME).as_millis() + 1;
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
            // It was readable; what it says is that there is something in the channel.
            let _ = (&*self.event).read(&mut count);
        }
    }

    /// Publishes the questions that have come.
    fn ask(&mut self) {
        while let Ok(waiting) = self.questions.try_recv() {
            if self.waiting.len() >= WAITING_MAX {
                waiting.refuse(TOO_MANY);
                continue;
            }
            let account = waiting.need.account;
            let number = self.asked;
            let reply = format!("{}.{number}", self.inbox);
            let mut headers = String::new();
            if let Some(xkey) = &waiting.question.xkey {
                // Writing to a string cannot fail.
                let _ = write!(headers, "NATS/1.0\r\n{XKEY_HEADER}: {xkey}\r\n\r\n");
            }
            let line = match self.line(account) {
                Ok(line) => line,
                Err(error) => {
                    waiting.refuse(&format!("no authorization service can be asked: {error}"));
                    continue;
                }
            };
            line.used_at = Instant::now();
            let payload = &waiting.question.payload;
            line.wire
                .request(CALLOUT_SUBJECT, &reply, &headers, payload);
            self.asked += 1;
            self.deadlines
                .push_back((Instant::now() + self.timeout, number));
            self.waiting.insert(number, waiting);
        }
        self.write();
    }

    /// The connection of an account, which is made if there is none.
    fn line(&mut self, account: AccountId) -> io::Result<&mut Line> {
        if !self.lines.contains_key(&account.0) {
            if self.lines.len() >= LINES_MAX {
                // Who waits there finds that nobody answers.
                let oldest = self.lines.iter().min_by_key(|(_, line)| line.used_at);
                if let Some((&oldest, _)) = oldest {
                    self.lines.remove(&oldest);
                }
            }
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
            self.shard.send(Command::Adopt(arrival));
            let line = Line {
                socket: own,
                wire: Wire::new(&[format!("{}.*", self.inbox)]),
                used_at: Instant::now(),
            };
            self.lines.insert(account.0, line);
        }
        let line = self.lines.get_mut(&account.0);
        Ok(line.expect("it is there or was made"))
    }

    fn write(&mut self) {
        self.lines.retain(|_, line| line.write());
    }

    fn read(&mut self) {
        let mut answers: Vec<(u32, String, Vec<u8>)> = Vec::new();
        let (buffer, log) = (&mut self.buffer, &self.log);
        self.lines.retain(|account, line| {
            let mut good = line.read(buffer);
            while let Some(incoming) = line.wire.poll_incoming() {
                match incoming {
                    Incoming::Message { subject, body, .. } => {
                        answers.push((*account, subject, body));
                    }
                    Incoming::Pong => {}
                    Incoming::Broken(why) => {
                        log.warn(format_args!(
                            "Authorization service: connection lost: {why}"
                        ));
                        good = false;
                        break;
                    }
                }
            }
            good
        });
        for (account, subject, body) in answers {
            self.answered(account, &subject, body);
        }
    }

    /// Has an answer judged, the first one to each question.
    fn answered(&mut self, account: u32, subject: &str, body: Vec<u8>) {
        let number = subject
            .strip_prefix(&*self.inbox)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|number| number.parse().ok());
        let Some(number) = number else {
            return;
        };
        let asked_there = self
            .waiting
            .get(&number)
            .is_some_and(|waiting| waiting.need.account.0 == account);
        if !asked_there {
            return;
        }
        let Some(waiting) = self.waiting.remove(&number) else {
            return;
        };
        let (conn, shard) = (waiting.conn, waiting.shard.clone());
        let authenticator = Arc::clone(&self.authenticator);
        let job = Box::new(move || {
            let outcome = authenticator.judge(&waiting, &body);
            waiting.shard.send(Command::Decided(waiting.conn, outcome));
        });
        if let Err(Full(_)) = self.helpers.submit(job) {
            let outcome = Outcome::Refused(Refused::Credentials, TOO_MANY.to_owned());
            shard.send(Command::Decided(conn, outcome));
        }
    }

    /// Refuses those whose answer has not come in time, and closes what nobody needs.
    fn give_up(&mut self) {
        let now = Instant::now();
        while let Some(&(at, number)) = self.deadlines.front()
            && at <= now
        {
            self.deadlines.pop_front();
            if let Some(waiting) = self.waiting.remove(&number) {
                let account = Arc::clone(&waiting.need.account_name);
                waiting.refuse(&format!(
                    "Authorization callout response not received in time on account {account:?}"
                ));
            }
        }
        // An answered question keeps its deadline: the bound on who waits must hold for these too.
        while self.deadlines.len() > WAITING_MAX
            && let Some((_, number)) = self.deadlines.front()
            && !self.waiting.contains_key(number)
        {
            self.deadlines.pop_front();
        }
        let needless = LINE_IDLE_TIME + self.timeout;
        self.lines.retain(|_, line| now - line.used_at < needless);
    }
}
