//! The loop of one shard: collect what has happened, let the broker handle it, do what it wants,
//! and sleep when there is nothing.
//!
//! A turn makes one system call, however many connections were read and written.

use std::collections::VecDeque;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::ShardStart;
use super::authenticator::Authenticator;
use super::clock::Clock;
use super::commands::{Arrival, Command, Mailbox, Reload, Report};
use super::conns::{Closing, Conns, Receive};
use super::disk::Disk;
use super::helpers::Helpers;
use super::host;
use super::idle::{Idle, Seen};
use super::links::Links;
use super::listener::Listener;
use super::log::Log;
use super::meter::{self, Meter};
use super::ring::{Completion, Kind, NetRing};
use super::securing::Secure;
use super::system_client::Notices;
use super::tls::stream::Received;
use crate::auth::admission::{Outcome, Refused};
use crate::base::deadlines::Millis;
use crate::base::ids::{ConnId, ShardSet};
use crate::control::view::Told;
use crate::session::CloseReason;
use crate::shard::facts::{Spans, WorkFacts};
use crate::shard::{Effects, Event, Level, Opening, Shard};

/// Completions handled before the turn's sends are started.
const COMPLETIONS_PER_TURN: usize = 256;
/// Bytes taken from peers after which sends are started.
const BATCH_BYTES_PER_FLUSH: usize = 512 * 1024;
/// Rounds over all peers in a turn; one is enough where no sends were started in between.
const BATCH_ROUNDS_PER_TURN: usize = 4;
/// Turns after which glommio's other tasks get their share.
const TURNS_PER_YIELD: u32 = 64;
/// What comes from a connection answers what it was sent, if that was so many turns ago at most.
const ANSWER_TURNS_MAX: u32 = 8;
/// How long to wait after accepting has failed.
const ACCEPT_PAUSE_MS: Millis = 50;
/// How long a connection that is being closed may take to read its last words.
const LINGER_MS: Millis = 1000;

/// One shard with its sockets.
pub struct Turns {
    pub(super) shard: Shard,
    pub(super) fx: Effects,
    /// Counts turns.
    pub(super) turn: u32,
    pub(super) ring: NetRing,
    pub(super) conns: Conns,
    links: Links,
    mailbox: Mailbox,
    /// For what would stall this shard.
    helpers: Helpers,
    /// Who decides on those whom the shard cannot.
    authenticator: Arc<Authenticator>,
    /// Who waits until all shards know of this one's streams.
    awaiting_streams: Vec<Sender<()>>,
    /// TLS of the connections.
    pub(super) secure: Secure,
    pub(super) log: Log,
    clock: Clock,
    /// Where to tell what has happened.
    notices: Notices,
    /// Completions that came while batches were taken.
    set_aside: VecDeque<Completion>,
    /// Receives to start again, after buffers have gone back.
    pub(super) rearm: VecDeque<ConnId>,
    /// Connections being closed, and when that ends at the latest; oldest first.
    lingering: VecDeque<(Millis, ConnId)>,
    /// Peers whose ring was full.
    blocked: ShardSet,
    listener: Option<Listener>,
    /// An accept is under way. It must end before the process does: the kernel takes its time to
    /// tear a ring down, and the port would stay taken for a successor.
    accepting: bool,
    /// When to accept again after it has failed.
    accept_at: Option<Millis>,
    idle: Idle,
    /// The event descriptor has been read and is to be watched again.
    woken: bool,
    stopping: bool,
    /// Where streams are kept.
    disks: Vec<Disk>,
    meter: Meter,
    core: usize,
}

impl Turns {
    /// Must be made on the thread that will run it.
    pub fn new(start: ShardStart, ring: NetRing) -> Self {
        let ShardStart {
            shard,
            links,
            mailbox,
            secure,
            helpers,
            authenticator,
            log,
            listener,
            clock,
            notices,
            disks,
            core,
        } = start;
        links.announce(ring.fd());
        let mut conns = Conns::default();
        if shard.engine().is_some() {
            conns.reserve();
        }
        Self {
            shard,
            fx: Effects::default(),
            turn: 0,
            ring,
            conns,
            links,
            mailbox,
            secure,
            helpers,
            authenticator,
            awaiting_streams: Vec::new(),
            log,
            clock,
            notices,
            set_aside: VecDeque::new(),
            rearm: VecDeque::new(),
            lingering: Default::default(),
            blocked: ShardSet::default(),
            accepting: false,
            accept_at: None,
            listener,
            idle: Idle::default(),
            woken: false,
            stopping: false,
            disks,
            meter: Meter::default(),
            core,
        }
    }

    /// Runs until told to stop.
    pub async fn run(mut self) {
        self.ring.watch(self.mailbox.event_fd());
        if !self.open_streams() {
            return;
        }
        self.mailbox.report(Report::Ready);
        loop {
            let busy = self.turn();
            if self.stopping && self.conns.len() == 0 && !self.accepting && self.is_stored() {
                break;
            }
            if busy {
                // With nothing to hand over and nothing to collect, the call can wait until sleep.
                if !self.ring.is_submitted() || self.ring.has_work() {
                    self.ring.turn();
                }
            } else if self.look() {
                self.ring.turn();
            } else {
                self.sleep();
            }
            self.turn = self.turn.wrapping_add(1);
            if self.turn.is_multiple_of(TURNS_PER_YIELD) {
                glommio::executor().yield_task_queue_now().await;
            }
        }
        self.mailbox.report(Report::Stopped);
    }

    /// Whether nothing is on its way to a disk.
    fn is_stored(&mut self) -> bool {
        let now = self.now();
        self.shard.stop_streams(now, &mut self.fx);
        self.shard.streams_are_stored() && !self.disks.iter().any(Disk::is_busy)
    }

    /// Brings back what the stores hold, and hears what those of other shards do, before anybody may
    /// connect; whether that has worked.
    fn open_streams(&mut self) -> bool {
        let now = self.now();
        self.shard.begin_streams(now, &mut self.fx);
        while !self.shard.streams_are_ready() {
            if let Some(why) = self.shard.streams_failed() {
                self.mailbox
                    .report(Report::Failed(format!("JetStream: {why}")));
                return false;
            }
            let is_busy = self.turn();
            if is_busy {
                self.ring.turn();
            } else if !self.shard.streams_are_ready() {
                self.sleep();
            }
        }
        true
    }

    /// Handles what is there; whether there was anything.
    fn turn(&mut self) -> bool {
        let (now, now_ns) = self.clock.reading();
        if self.meter.turn_begins(now, now_ns) {
            self.meter.end_window(now, &mut self.disks);
        }
        let busy = self.work(now);
        if busy {
            self.meter.turn_worked(now_ns);
        }
        busy
    }

    fn work(&mut self, now: Millis) -> bool {
        let mut busy = false;
        // Batches first: what a peer has sent before a client was told so, and the client then
        // asked about here, is handled before the question.
        busy |= self.take_batches(now);
        for _ in 0..COMPLETIONS_PER_TURN {
            let Some(completion) = self.set_aside.pop_front().or_else(|| self.ring.next()) else {
                break;
            };
            busy = true;
            self.completed(now, completion);
        }
        if self.woken {
            self.woken = false;
            self.ring.watch(self.mailbox.event_fd());
            self.commands(now);
        }
        if self.shard.next_deadline().is_some_and(|at| at <= now) {
            self.shard.handle(now, Event::Tick, &mut self.fx);
            busy = true;
        }
        if !self.awaiting_streams.is_empty() && self.shard.streams_are_known() {
            for known in self.awaiting_streams.drain(..) {
                // Who waits for it may have stopped waiting.
                let _ = known.send(());
            }
        }
        self.securing_due(now);
        self.end_lingering(now);
        self.accept_again(now);
        busy |= self.use_disk(now);
        self.execute(now);
        busy
    }

    fn now(&self) -> Millis {
        self.clock.millis()
    }

    /// Looks for a moment whether something comes, if that is likely.
    fn look(&mut self) -> bool {
        if !self.ring.is_submitted() {
            return false;
        }
        let Some(look) = self.idle.look(self.disks.iter().any(Disk::is_busy)) else {
            return false;
        };
        let (from, mut looking) = (Instant::now(), look.begin());
        let seen = loop {
            if look.yields {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
            let came = self.ring.has_work() || !self.links.is_empty();
            if let Some(seen) = looking.is_over(from.elapsed(), came) {
                break seen;
            }
        };
        self.idle.looked(look, seen);
        seen == Seen::Something
    }

    fn sleep(&mut self) {
        let now = self.now();
        let deadline = [
            self.shard.next_deadline(),
            self.secure.next_deadline(),
            self.lingering.front().map(|&(at, _)| at),
            self.accept_at,
        ]
        .into_iter()
        .flatten()
        .min();
        if !self.links.fall_asleep() {
            return;
        }
        let at_most = deadline.map(|at| Duration::from_millis(at.saturating_sub(now).max(1)));
        let from = Instant::now();
        self.ring.sleep(at_most);
        self.idle.slept(from.elapsed());
        self.links.wake_up();
    }

    fn completed(&mut self, now: Millis, completion: Completion) {
        match completion.kind {
            Kind::Receive => self.received(now, completion),
            Kind::Send => self.sent(now, completion),
            Kind::Accept => self.accepted(now, completion),
            Kind::Wake => self.woken = true,
            Kind::Disk => {
                let ConnId { index, generation } = completion.conn;
                if let Some(disk) = self.disks.get_mut(generation as usize) {
                    disk.completed(index, completion.result, &mut self.ring);
                }
            }
            Kind::Ignore => {}
        }
    }

    #[inline]
    fn received(&mut self, now: Millis, completion: Completion) {
        let id = completion.conn;
        let Some(conn) = self.conns.get(id) else {
            debug_assert!(false, "a connection is closed after its receive has ended");
            return;
        };
        if !completion.more {
            conn.receive = Receive::Idle;
        }
        let open = conn.closing == Closing::No;
        let result = completion.result;
        if let Some(buffer) = completion.buffer {
            let bytes = self.ring.buffers.received(buffer, result.max(0) as usize);
            let mut secured = Received::Nothing;
            if open && !bytes.is_empty() {
                conn.read_in_turn = self.turn;
                let since_sent = self.turn.wrapping_sub(conn.sent_in_turn);
                self.idle.heard(since_sent <= ANSWER_TURNS_MAX);
                let mut deliver = |bytes: &[u8]| {
                    let event = Event::Received { conn: id, bytes };
                    self.shard.handle(now, event, &mut self.fx);
                };
                match &mut conn.tls {
                    None => deliver(bytes),
                    Some(stream) => secured = stream.receive(bytes, deliver),
                }
            }
            if !completion.buffer_more {
                self.ring.buffers.push(buffer);
            }
            self.after_receive(now, id, secured);
        }
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if completion.more {
            return;
        }
        if conn.closing == Closing::Shut {
            // However it has ended, closing has waited for that.
            self.close_if_idle(now, id);
            return;
        }
        if result > 0 {
            self.rearm.push_back(id);
            return;
        }
        match -result {
            // The buffers were used up by others: they wait behind this one next time.
            libc::ENOBUFS if conn.read_in_turn != self.turn => self.rearm.push_front(id),
            libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN => {
                self.rearm.push_back(id);
            }
            error if open => {
                conn.ended = true;
                if self.securing_hung_up(now, id) {
                    return;
                }
                let reason = match error {
                    0 | libc::ECONNRESET => CloseReason::ClientClosed,
                    _ => CloseReason::ReadError,
                };
                let event = Event::HungUp { conn: id, reason };
                self.shard.handle(now, event, &mut self.fx);
            }
            _ => {
                conn.ended = true;
                if conn.closing == Closing::Lingering {
                    conn.shut();
                }
                self.close_if_idle(now, id);
            }
        }
    }

    fn sent(&mut self, now: Millis, completion: Completion) {
        let id = completion.conn;
        let Some(conn) = self.conns.get(id) else {
            debug_assert!(false, "a connection is closed after its send has ended");
            return;
        };
        conn.sending = false;
        let result = completion.result;
        if conn
            .tls
            .as_ref()
            .is_some_and(|tls| tls.is_sending_records())
        {
            self.records_sent(now, id, result);
            self.go_on_closing(now, id);
            return;
        }
        if result >= 0 {
            let bytes = result as usize;
            let event = Event::Sent { conn: id, bytes };
            self.shard.handle(now, event, &mut self.fx);
        } else if matches!(-result, libc::EINTR | libc::EAGAIN) {
            let event = Event::Sent { conn: id, bytes: 0 };
            self.shard.handle(now, event, &mut self.fx);
        } else if conn.closing == Closing::No {
            conn.is_broken = true;
            let reason = CloseReason::WriteError;
            let event = Event::HungUp { conn: id, reason };
            self.shard.handle(now, event, &mut self.fx);
        } else {
            conn.shut();
        }
        // TLS may have had something to say behind it.
        self.flush_records(now, id);
        self.go_on_closing(now, id);
    }

    fn accepted(&mut self, now: Millis, completion: Completion) {
        // SAFETY: the descriptor was just accepted and belongs to nobody else.
        let socket =
            (completion.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(completion.result) });
        let Some(listener) = &mut self.listener else {
            self.accepting &= completion.more;
            return;
        };
        let Some(socket) = socket else {
            listener.failed(-completion.result, &self.log);
            if !completion.more {
                // Out of file descriptors, say: trying at once would only fail at once.
                self.accept_at = Some(now + ACCEPT_PAUSE_MS);
            }
            return;
        };
        if !completion.more {
            self.ring.accept(listener.fd());
        }
        let (shard, arrival) = listener.place(socket, &self.links);
        if shard == self.links.own() {
            self.adopt(now, arrival);
        } else {
            self.mailbox.send(shard, Command::Adopt(arrival));
        }
    }

    /// Takes over an accepted socket.
    fn adopt(&mut self, now: Millis, arrival: Arrival) {
        let Arrival {
            socket,
            client_id,
            peer,
            refused,
            pass,
            internal,
        } = arrival;
        let conn = self.conns.insert(socket, pass, internal.is_some());
        let nonce = match self.shard.needs_nonce() {
            true => host::nonce(),
            false => Box::default(),
        };
        let event = Event::Opened {
            conn,
            client_id,
            peer,
            refused,
            opening: match internal {
                None => self.secure.opening(),
                Some(_) => Opening::Plain,
            },
            nonce,
            internal,
        };
        self.shard.handle(now, event, &mut self.fx);
        self.rearm.push_back(conn);
        if !refused && internal.is_none() {
            self.start_securing(now, conn);
        }
    }

    /// Handles sends that are done, and sets aside other completions until all batches are taken.
    fn take_sent(&mut self, now: Millis) {
        while let Some(completion) = self.ring.next() {
            if completion.kind == Kind::Send {
                self.sent(now, completion);
            } else {
                self.set_aside.push_back(completion);
            }
        }
    }

    /// Takes all batches that peers have sent. Sends are started in between, so that a connection
    /// is given the chance to read before more is put on top.
    fn take_batches(&mut self, now: Millis) -> bool {
        let mut taken = 0;
        for _ in 0..BATCH_ROUNDS_PER_TURN {
            let mut bytes = 0;
            let mut flushed = false;
            for peer in self.links.peers() {
                let before = taken;
                while let Some(batch) = self.links.pop(peer) {
                    taken += 1;
                    bytes += batch.size();
                    let event = Event::Batch { from: peer, batch };
                    self.shard.handle(now, event, &mut self.fx);
                    if bytes > BATCH_BYTES_PER_FLUSH {
                        bytes = 0;
                        flushed = true;
                        self.take_sent(now);
                        self.execute(now);
                        self.ring.turn();
                        self.take_sent(now);
                    }
                }
                if taken > before
                    && let Some(ring_fd) = self.links.to_unblock(peer)
                {
                    self.ring.wake_peer(ring_fd);
                }
            }
            if !flushed {
                // What has completed by now is looked at after the batches sent before it.
                break;
            }
        }
        self.meter.took(taken);
        taken > 0
    }

    /// How this shard works.
    fn work_facts(&mut self) -> WorkFacts {
        let mut flushes = Spans::default();
        for disk in &mut self.disks {
            let spans = meter::spans(disk.flushes());
            flushes.last.add(&spans.last);
            flushes.all.add(&spans.all);
        }
        let engine = self.shard.engine();
        WorkFacts {
            shard: self.links.own().0,
            core: self.core,
            cpu_ns: host::thread_cpu_ns(),
            turns: self.meter.turns(),
            mesh_depth: self.links.waiting(),
            mesh_depth_max: self.meter.depth_max(),
            flushes,
            backlog_bytes: engine.map_or(0, |engine| engine.unflushed_bytes() as u64),
        }
    }

    fn commands(&mut self, now: Millis) {
        while let Some(command) = self.mailbox.next() {
            match command {
                Command::Adopt(arrival) => self.adopt(now, arrival),
                Command::Handshake(conn, step) => self.handshake_stepped(now, conn, *step),
                Command::Tls(tls) => self.secure.tls = tls,
                Command::Decided(conn, outcome) => {
                    let event = Event::Decided { conn, outcome };
                    self.shard.handle(now, event, &mut self.fx);
                }
                Command::Policy(policy) => {
                    self.shard.handle(now, Event::Policy(policy), &mut self.fx);
                }
                Command::AccountsSought => {
                    self.shard.handle(now, Event::AccountsSought, &mut self.fx);
                }
                Command::AwaitStreams(known) => self.awaiting_streams.push(known),
                Command::Reloaded(reload) => self.reload(now, *reload),
                Command::Accept => self.accept(),
                Command::StopAccepting => self.stop_accepting(),
                Command::LameDuck => {
                    self.shard.handle(now, Event::LameDuck, &mut self.fx);
                }
                Command::CloseOne => {
                    if let Some(conn) = self.conns.any_open() {
                        let reason = CloseReason::ServerShutdown;
                        let event = Event::CloseNow { conn, reason };
                        self.shard.handle(now, event, &mut self.fx);
                    }
                }
                Command::Facts(wanted, answer) => {
                    let mut facts = self.shard.facts(now, &wanted, &mut self.fx);
                    facts.work = wanted.work.then(|| Box::new(self.work_facts()));
                    // Who has asked may have stopped waiting; here and below.
                    let _ = answer.send(facts);
                }
                Command::Kick(client_id, answer) => {
                    let found = self.shard.find_client(client_id);
                    if let Some(conn) = found {
                        let reason = CloseReason::Kicked;
                        let event = Event::CloseNow { conn, reason };
                        self.shard.handle(now, event, &mut self.fx);
                    }
                    let _ = answer.send(found.is_some());
                }
                Command::TellLameDuck(client_id, answer) => {
                    let told = match self.shard.find_client(client_id) {
                        None => Told::NoSuchClient,
                        Some(conn) if self.shard.understands_info(conn) => {
                            let event = Event::TellLameDuck { conn };
                            self.shard.handle(now, event, &mut self.fx);
                            Told::Yes
                        }
                        Some(_) => Told::NotReady,
                    };
                    let _ = answer.send(told);
                }
                Command::Disk(store, news) => {
                    if let Some(disk) = self.disks.get_mut(store) {
                        disk.news(news, &mut self.ring);
                    }
                }
                Command::Stop => {
                    self.stop_accepting();
                    self.stopping = true;
                    for conn in self.conns.ids() {
                        let reason = CloseReason::ServerShutdown;
                        let event = Event::CloseNow { conn, reason };
                        self.shard.handle(now, event, &mut self.fx);
                        // Nobody is waited for any more.
                        if let Some(open) = self.conns.get(conn)
                            && open.closing == Closing::Lingering
                        {
                            open.shut();
                            self.close_if_idle(now, conn);
                        }
                    }
                }
            }
        }
    }

    fn reload(&mut self, now: Millis, reload: Reload) {
        let Reload {
            reloaded,
            tls,
            done,
        } = reload;
        if let Some(tls) = tls {
            self.set_tls(now, tls);
        }
        if let Some(listener) = &mut self.listener {
            listener.set_limits(&reloaded.limits);
        }
        let event = Event::Reloaded(Box::new(reloaded));
        self.shard.handle(now, event, &mut self.fx);
        // Who waits for it may have stopped waiting.
        let _ = done.send(());
    }

    fn accept(&mut self) {
        if let Some(listener) = &self.listener {
            self.ring.accept(listener.fd());
            self.accepting = true;
        }
    }

    fn stop_accepting(&mut self) {
        if self.listener.take().is_some() {
            // It may be pausing just now.
            self.accepting &= self.accept_at.take().is_none();
            self.ring.cancel_accept();
        }
    }

    fn accept_again(&mut self, now: Millis) {
        if let (Some(at), Some(listener)) = (self.accept_at, &self.listener)
            && at <= now
        {
            self.accept_at = None;
            self.ring.accept(listener.fd());
        }
    }

    /// Tells the store what the disk has done, and the disk what the store wants; whether there was
    /// anything.
    fn use_disk(&mut self, now: Millis) -> bool {
        if self.disks.is_empty() {
            return false;
        }
        let mut busy = false;
        for (store, disk) in self.disks.iter_mut().enumerate() {
            while let Some(completion) = disk.next_completion() {
                busy = true;
                let event = Event::Disk { store, completion };
                self.shard.handle(now, event, &mut self.fx);
            }
        }
        self.shard.handle(now, Event::TurnEnds, &mut self.fx);
        for (store, submission) in self.fx.disk.drain(..) {
            busy = true;
            self.disks[store].submit(submission, &mut self.ring);
        }
        busy | self.disks.iter().any(Disk::has_completions)
    }

    /// Does what the broker wants.
    fn execute(&mut self, now: Millis) {
        loop {
            self.ask_desk(now);
            self.execute_reads();
            self.flush_mesh(now);
            self.flush_sends(now);
            self.execute_closes(now);
            // Draining an outbox may have released connections.
            if self.fx.reads.is_empty() && self.fx.closes.is_empty() && self.fx.dirty.is_empty() {
                break;
            }
        }
        self.notices.push(self.fx.notices.drain(..));
        for (level, text) in self.fx.log.drain(..) {
            match level {
                Level::Error => self.log.error(format_args!("{text}")),
                Level::Info => self.log.info(format_args!("{text}")),
                Level::Debug => self.log.debug(format_args!("{text}")),
                Level::Trace => self.log.trace(format_args!("{text}")),
            }
        }
    }

    /// Has the authenticator decide on connections and look for accounts, on a helper thread.
    fn ask_desk(&mut self, now: Millis) {
        for (conn, presented) in std::mem::take(&mut self.fx.questions) {
            let authenticator = Arc::clone(&self.authenticator);
            let here = self.mailbox.address(self.links.own());
            let job = Box::new(move || authenticator.answer(conn, presented, &here));
            if self.helpers.submit(job).is_err() {
                let why = "too many connections wait to be let in".to_owned();
                let outcome = Outcome::Refused(Refused::Credentials, why);
                let event = Event::Decided { conn, outcome };
                self.shard.handle(now, event, &mut self.fx);
            }
        }
        if !self.fx.accounts.is_empty() {
            let names = std::mem::take(&mut self.fx.accounts);
            let authenticator = Arc::clone(&self.authenticator);
            let here = self.mailbox.address(self.links.own());
            let job = Box::new(move || authenticator.seek(&names, &here));
            if self.helpers.submit(job).is_err() {
                self.shard.handle(now, Event::AccountsSought, &mut self.fx);
            }
        }
    }

    fn execute_reads(&mut self) {
        for (id, wanted) in self.fx.reads.drain(..) {
            let Some(conn) = self.conns.get(id) else {
                continue;
            };
            conn.wanted = wanted;
            match conn.receive {
                Receive::Armed if !wanted => {
                    conn.receive = Receive::Stopping;
                    self.ring.cancel_receive(id);
                }
                Receive::Idle if wanted => self.rearm.push_back(id),
                Receive::Armed | Receive::Idle | Receive::Stopping => {}
            }
        }
        for id in self.rearm.drain(..) {
            let Some(conn) = self.conns.get(id) else {
                continue;
            };
            let wanted = conn.wanted && !conn.paused || conn.closing == Closing::Lingering;
            if conn.receive == Receive::Idle && wanted && conn.closing != Closing::Shut {
                conn.receive = Receive::Armed;
                self.ring.receive(id, conn.fd());
            }
        }
    }

    fn flush_mesh(&mut self, now: Millis) {
        let peers = ShardSet(self.fx.mesh.0 | self.blocked.0);
        self.fx.mesh = ShardSet::default();
        self.blocked = ShardSet::default();
        for peer in peers {
            let mut any = false;
            while let Some(batch) = self.shard.next_batch(peer) {
                if let Err(batch) = self.links.push(peer, batch) {
                    self.shard.put_back(peer, batch);
                    self.blocked.0 |= peer.bit();
                    break;
                }
                any = true;
            }
            if !any {
                continue;
            }
            self.shard
                .handle(now, Event::MeshDrained { peer }, &mut self.fx);
            if let Some(ring_fd) = self.links.to_wake(peer) {
                self.ring.wake_peer(ring_fd);
            }
        }
    }

    fn flush_sends(&mut self, now: Millis) {
        let mut dirty = std::mem::take(&mut self.fx.dirty);
        for id in dirty.drain(..) {
            let Some(conn) = self.conns.get(id) else {
                continue;
            };
            // One that is sending is marked again when that is done.
            if conn.sending || conn.closing == Closing::Shut {
                continue;
            }
            if conn.tls.is_some() {
                self.flush_records(now, id);
                continue;
            }
            let fd = conn.fd();
            let Some(out) = self.shard.outbound(id) else {
                continue;
            };
            if out.pending_bytes() == 0 {
                continue;
            }
            conn.begins_to_send(self.turn);
            self.ring.send(id, fd, out.begin_send());
            let event = Event::SendStarted { conn: id };
            self.shard.handle(now, event, &mut self.fx);
        }
        // No new ones were marked in between: starting a send delivers nothing.
        self.fx.dirty = dirty;
    }

    fn execute_closes(&mut self, now: Millis) {
        let mut closes = std::mem::take(&mut self.fx.closes);
        for close in closes.drain(..) {
            let Some(conn) = self.conns.get(close.conn) else {
                continue;
            };
            if !conn.internal {
                // From now on there is room for another one.
                self.links.count_closed();
            }
            if close.flush && !conn.is_broken {
                conn.closing = Closing::Flushing;
                self.lingering.push_back((now + LINGER_MS, close.conn));
            } else {
                conn.shut();
            }
            self.go_on_closing(now, close.conn);
        }
        self.fx.closes = closes;
    }

    /// Takes a closing connection as far as it gets.
    fn go_on_closing(&mut self, now: Millis, id: ConnId) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if conn.closing == Closing::Flushing && !conn.sending {
            let pending = self.shard.outbound(id).map_or(0, |out| out.pending_bytes());
            if pending == 0 && self.finish_records(now, id) {
                return;
            }
            let Some(conn) = self.conns.get(id) else {
                return;
            };
            if pending == 0 && (self.stopping || conn.ended) {
                conn.shut();
            } else if pending == 0 {
                conn.finish_sending();
                match conn.receive {
                    // The peer has gone, or will be read until it does.
                    Receive::Idle => self.rearm.push_back(id),
                    Receive::Armed | Receive::Stopping => {}
                }
            }
        }
        self.close_if_idle(now, id);
    }

    /// Closes a socket that was shut down, when nothing is under way on it.
    fn close_if_idle(&mut self, now: Millis, id: ConnId) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if conn.closing != Closing::Shut {
            return;
        }
        if conn.receive == Receive::Armed {
            // Shutting down has not ended it where the peer's FIN had come before.
            conn.receive = Receive::Stopping;
            self.ring.cancel_receive(id);
        }
        if conn.receive == Receive::Idle && !conn.sending {
            self.forget_stream(id);
            self.conns.remove(id);
            self.shard
                .handle(now, Event::Closed { conn: id }, &mut self.fx);
        }
    }

    /// Closes those whose time to read their last words is over.
    fn end_lingering(&mut self, now: Millis) {
        while let Some(&(at, id)) = self.lingering.front() {
            if at > now {
                return;
            }
            self.lingering.pop_front();
            if let Some(conn) = self.conns.get(id)
                && conn.closing != Closing::Shut
            {
                conn.shut();
                self.close_if_idle(now, id);
            }
        }
    }
}
