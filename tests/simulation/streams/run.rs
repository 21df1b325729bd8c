//! One run: clients at random, shards in random order, crashes, and rest in between.

use std::collections::{BTreeMap, BTreeSet};

use skein::base::prng::Prng;

use super::model::{Model, STREAMS};
use super::{Counts, Outcome, Scenario, server};
use crate::client::{Client, Reader};
use crate::disk::Disk;
use crate::host::Host;
use crate::oracle::{Facts, Oracle};
use crate::trace::Trace;
use crate::world::{Seen, World};

/// What a client has unsent before it writes more.
const BACKLOG_BYTES: usize = 600 * 1024;
/// Rounds after which a run that is to come to rest is taken to be stuck.
const ROUNDS_TO_REST_MAX: u32 = 20_000;

/// Runs a seed to its end; panics where something is not as it must be.
pub fn run(seed: u64, print: bool) -> Outcome {
    let mut prng = Prng::new(seed ^ 0x57ea_0000_0000);
    let scenario = Scenario::new(&mut prng);
    if print {
        println!("{scenario:#?}");
    }
    let mut run = Run::new(scenario, prng, print);
    for epoch in 0..run.scenario.epochs {
        run.epoch(epoch);
    }
    run.end()
}

/// What was asked for, and awaits an answer.
#[derive(Clone, Debug)]
pub enum What {
    /// About the life of a stream; the number of the question in the stream's list.
    Life(usize, usize),
    /// The same, and a removal if it is answered well, by its number.
    Remove(usize, usize, usize),
    /// The same, about one of its consumers.
    MakeConsumer(usize, usize, usize),
    DeleteConsumer(usize, usize),
    AboutConsumer(usize, usize, usize),
    /// What says something, whatever it is.
    Any,
    Publish(u64),
    /// A part of a batch that is not its last.
    Part(u64),
    /// A batch.
    Commit(Vec<u64>),
    /// That this message is done.
    Confirm(usize, usize, u64),
    Audit,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Question {
    pub client: usize,
    pub sent: u64,
    pub what: What,
    pub answers: u32,
}

/// A client's request for messages.
#[derive(Clone, Debug)]
pub struct Pull {
    pub sent: u64,
    pub stream: usize,
    pub consumer: usize,
    pub left: u64,
}

/// A delivery that a client has not answered yet.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub reply: String,
    pub stream: usize,
    pub consumer: usize,
    pub id: u64,
}

/// A client's side of JetStream.
#[derive(Debug, Default)]
pub struct Peer {
    pub pulls: BTreeMap<u64, Pull>,
    pub held: Vec<Delivered>,
    /// Pushing consumers that it listens to.
    pub hears: BTreeSet<(usize, usize)>,
}

pub struct Run {
    pub scenario: Scenario,
    pub world: World,
    pub hosts: Vec<Host>,
    pub model: Model,
    pub peers: Vec<Peer>,
    pub questions: BTreeMap<u64, Question>,
    /// Counts what happens, for clients.
    pub step: u64,
    pub next_message: u64,
    /// Who asks at rest, and what it was told.
    pub auditor: Option<usize>,
    pub told: Option<(Vec<u8>, Vec<u8>)>,
    /// What the last audit has found in each stream.
    pub found: Vec<BTreeMap<u64, u64>>,
    pub last_audit: u64,
    pub counts: Counts,
    /// Consumers are being drained: the auditor acknowledges everything.
    pub drains: bool,
    /// Subscriptions of a server without streams.
    base: usize,
}

impl Run {
    fn new(scenario: Scenario, mut prng: Prng, print: bool) -> Self {
        server::reset_clock();
        let disks = (0..scenario.shards).map(|_| Disk::new(prng.next_u64()));
        let disks = disks.collect();
        let mut world = World {
            now: 1,
            prng,
            trace: Trace::new(print),
            oracle: Oracle::new(),
            clients: Vec::new(),
            links: Vec::new(),
            seen: Seen::default(),
            draining: false,
            pending_max: 65 << 20,
            write_deadline_ms: 600_000,
            ping_interval_ms: 120_000,
            disk_percent: scenario.disk_percent,
        };
        let hosts = server::open(&mut world, &scenario, disks);
        let base = hosts[0].shard.subscriptions();
        Self {
            model: Model::new(scenario.variants.clone()),
            world,
            hosts,
            peers: Vec::new(),
            questions: BTreeMap::new(),
            step: 0,
            next_message: 0,
            auditor: None,
            told: None,
            found: vec![BTreeMap::new(); STREAMS],
            last_audit: 0,
            counts: Counts::default(),
            drains: false,
            base,
            scenario,
        }
    }

    fn epoch(&mut self, epoch: usize) {
        self.world.trace.line(|| format!("=== epoch {epoch}"));
        self.world.draining = false;
        let here = self.world.clients.iter().filter(|c| !c.gone).count();
        for _ in here..self.scenario.clients {
            self.connect();
        }
        let crashes = self.world.prng.below(100) < self.scenario.crash_percent;
        for _ in 0..self.scenario.steps_per_epoch {
            self.one_step();
        }
        if crashes {
            self.crash();
        }
        self.rest();
        self.audit(crashes);
    }

    pub fn connect(&mut self) -> usize {
        let prng = &mut self.world.prng;
        let reader = match prng.below(6) {
            0 => Reader::Slow,
            1 => Reader::Pausing,
            _ => Reader::Fast,
        };
        let mut client = Client::new(prng, reader, (true, true, true), false, "");
        let shard = prng.below(self.hosts.len() as u32) as usize;
        let number = self.world.oracle.connected(Facts {
            account: 0,
            echo: true,
            headers: true,
            no_responders: true,
            reads: true,
            ended: None,
        });
        let connect = client.connect.clone();
        client.write_operation(connect.as_bytes());
        client.write_operation(format!("SUB _INBOX.{number}.* 1\r\n").as_bytes());
        self.world
            .trace
            .line(|| format!("client {number} on s{shard}: {reader:?} {connect}"));
        self.world.clients.push(client);
        self.peers.push(Peer::default());
        self.hosts[shard].arrivals.push(number);
        number
    }

    /// What clients see happens now.
    pub fn next_step(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    fn one_step(&mut self) {
        let one_in = self.scenario.freeze_one_in;
        self.world.freeze(&mut self.hosts, one_in, 120);
        let one_in = self.scenario.leave_one_in;
        if one_in > 0 && self.world.prng.one_in(one_in) {
            let client = self.any_client();
            self.leave(client);
            self.connect();
        }
        self.world.go_on(self.scenario.time_one_in);
        for _ in 0..2 {
            let client = self.any_client();
            if self.world.clients[client].gone {
                continue;
            }
            self.read(client);
            let is_full = self.world.clients[client].to_server.len() > BACKLOG_BYTES;
            if self.world.prng.one_in(2) && !is_full {
                self.act(client);
            }
        }
        let host = self.world.prng.below(self.hosts.len() as u32) as usize;
        if self.hosts[host].frozen == 0 {
            self.turn(host);
        }
        for host in &mut self.hosts {
            host.frozen = host.frozen.saturating_sub(1);
        }
    }

    pub fn any_client(&mut self) -> usize {
        let here: Vec<usize> = (0..self.world.clients.len())
            .filter(|&number| !self.world.clients[number].gone)
            .collect();
        here[self.world.prng.below(here.len() as u32) as usize]
    }

    fn turn(&mut self, host: usize) -> bool {
        server::follow(self.world.now);
        self.hosts[host].turn(&mut self.world)
    }

    /// One round of everybody; whether anything has happened.
    pub fn round(&mut self) -> bool {
        for client in 0..self.world.clients.len() {
            self.read(client);
        }
        let mut busy = false;
        for host in 0..self.hosts.len() {
            busy |= self.turn(host);
        }
        busy
    }

    /// Goes on without new operations until nothing moves any more.
    pub fn rest(&mut self) {
        self.world.draining = true;
        self.world.trace.line(|| "--- to rest".into());
        for host in &mut self.hosts {
            host.frozen = 0;
        }
        if !self.drains {
            self.stop_listening();
        }
        let mut reason = String::new();
        for round in 0..ROUNDS_TO_REST_MAX {
            let busy = self.round();
            if !busy || round % 4 == 0 {
                match self.unrest() {
                    None => return self.at_rest(),
                    Some(what) => {
                        let now = self.world.now;
                        self.world
                            .trace
                            .line(|| format!("{now:5} round {round}: {what}"));
                        reason = what;
                    }
                }
            }
            self.world.pass_time(&self.hosts, busy);
        }
        panic!("liveness: never at rest: {reason}");
    }

    /// What is pushed to who does not acknowledge it comes again and again.
    fn stop_listening(&mut self) {
        for client in 0..self.peers.len() {
            for (stream, consumer) in self.peers[client].hears.clone() {
                self.listen(client, stream, consumer);
            }
        }
    }

    /// What is still to happen.
    fn unrest(&mut self) -> Option<String> {
        if let Some(what) = self.world.unrest(&mut self.hosts) {
            return Some(what);
        }
        for (number, client) in self.world.clients.iter().enumerate() {
            if client.gone {
                continue;
            }
            if let Some(pull) = self.peers[number].pulls.values().next() {
                return Some(format!("client {number} waits for messages: {pull:?}"));
            }
        }
        let mut questions = self.questions.values();
        questions
            .find(|question| question.answers == 0 && self.must_answer(question))
            .map(|question| format!("not answered: {question:?}"))
    }

    fn must_answer(&self, question: &Question) -> bool {
        if self.world.clients[question.client].gone {
            return false;
        }
        let will_arrive = |id: &u64| {
            let message = &self.model.messages[id];
            self.model.is_there(message.stream, message.sent)
        };
        match &question.what {
            What::Publish(id) | What::Part(id) => will_arrive(id),
            What::Commit(ids) => ids.iter().all(will_arrive),
            What::Confirm(stream, consumer, _) => {
                let consumer = &self.model.streams[*stream].consumers[*consumer];
                consumer.since.is_some() && !consumer.unstable
            }
            _ => true,
        }
    }

    fn at_rest(&mut self) {
        self.questions.clear();
        let all: Vec<_> = self.hosts.iter().map(|h| h.shard.engine()).collect();
        let located = |engine: &Option<&skein::jetstream::engine::Engine>| {
            format!("{:?}", engine.expect("it is there").located_streams())
        };
        let first = located(&all[0]);
        for (number, engine) in all.iter().enumerate() {
            let other = located(engine);
            assert_eq!(other, first, "s{number} knows other streams than s0");
        }
    }

    /// A client closes its connection, whatever is under way.
    fn leave(&mut self, number: usize) {
        if self.world.leave(number) {
            self.peers[number] = Peer::default();
        }
    }

    /// The whole server ends, and begins anew.
    fn crash(&mut self) {
        let how = self.world.prng.below(4);
        self.world.trace.line(|| format!("--- crash {how}"));
        if how == 0 {
            self.counts.stops += 1;
            self.world.draining = true;
            for round in 0.. {
                assert!(round < ROUNDS_TO_REST_MAX, "liveness: streams do not stop");
                let mut busy = false;
                for host in &mut self.hosts {
                    busy |= host.stop_streams(&mut self.world);
                }
                if !busy {
                    break;
                }
            }
        }
        let mut disks = Vec::new();
        for host in self.hosts.drain(..) {
            self.counts.stalls += host.shard.counters().stalls;
            let mut disk = host.disk.expect("it has one");
            match how {
                0 | 1 => disk.kill(),
                _ => disk.cut_power(),
            }
            disks.push(disk);
        }
        match how {
            0 => {}
            1 => self.counts.kills += 1,
            _ => self.counts.power_cuts += 1,
        }
        for number in 0..self.world.clients.len() {
            let client = &mut self.world.clients[number];
            if !client.gone {
                client.closed = true;
                client.gone = true;
                self.world.oracle.ended(number);
            }
        }
        self.peers
            .iter_mut()
            .for_each(|peer| *peer = Peer::default());
        self.questions.clear();
        self.model.crash();
        self.world.now += u64::from(self.world.prng.below(3000));
        self.world.draining = false;
        self.hosts = server::open(&mut self.world, &self.scenario, disks);
    }

    /// Consumers deliver what they have, streams are deleted, everybody leaves; nothing must be left.
    fn end(mut self) -> Outcome {
        self.drain();
        self.delete_all();
        for client in 0..self.world.clients.len() {
            self.leave(client);
        }
        self.rest();
        for (number, host) in self.hosts.iter().enumerate() {
            let shard = &host.shard;
            assert_eq!(host.connections(), 0);
            self.counts.stalls += shard.counters().stalls;
            let left = [
                shard.connections(),
                shard.subscriptions() - self.base,
                shard.bytes_held(),
            ];
            assert_eq!(left, [0; 3], "liveness: left on s{number}");
        }
        Outcome {
            digest: self.world.trace.digest(),
            counts: self.counts,
            seen: self.world.seen,
        }
    }

    fn read(&mut self, number: usize) {
        let ended = self.world.read(number);
        self.digest(number);
        assert!(!ended, "client {number} was cut off");
    }
}
