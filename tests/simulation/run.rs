//! One run: clients at random, shards in random order, and a judge.

use skein::base::ids::ShardId;
use skein::base::limits::{MESH_BATCH_BYTES, MESH_OUTBOX_HIGH_WATER_BYTES};
use skein::base::prng::Prng;
use skein::proto::info::ServerIdentity;
use skein::shard::{Counters, Settings, Shard};

use super::accounts;
use super::client::{Answer, Barrier, Client, Mark, Reader};
use super::host::Host;
use super::oracle::{Counts, Facts, Message, NAMED_PAYLOAD_BYTES, Oracle};
use super::scenario::Scenario;
use super::trace::Trace;
use super::wire::{Delivery, ServerOp, parse};
use super::world::{Link, Seen, World};

/// What a client has unsent before it writes more.
const BACKLOG_BYTES: usize = 300 * 1024;
/// Rounds after which a run that is to come to rest is taken to be stuck.
const ROUNDS_TO_REST_MAX: u32 = 20_000;

/// What a run leaves behind.
pub struct Outcome {
    pub digest: u64,
    pub seen: Seen,
    pub counts: Counts,
    pub counters: Counters,
}

/// Runs a seed to its end; panics where the oracle objects.
pub fn run(seed: u64, print: bool) -> Outcome {
    let mut prng = Prng::new(seed);
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

struct Run {
    scenario: Scenario,
    world: World,
    hosts: Vec<Host>,
    /// Payload bytes that may still be published in this epoch.
    budget: usize,
    /// A reply subject that a service of another account was given.
    known_reply: Option<String>,
}

impl Run {
    fn new(scenario: Scenario, mut prng: Prng, print: bool) -> Self {
        let policy = accounts::policy(scenario.accounts);
        let settings = Settings {
            limits: scenario.limits.clone(),
            unix_at_zero_ms: 0,
            fine_clock_ns: || 1,
            identity: ServerIdentity {
                id: "N".repeat(56),
                name: "simulated".into(),
                host: "127.0.0.1".into(),
                port: 4222,
                auth_required: policy.gate.is_asked_for(),
                tls: None,
                xkey: None,
                jetstream: None,
            },
            debug: true,
            trace: false,
            shards: scenario.shards,
            hash_seed: prng.next_u64(),
            policy,
        };
        let ids = || (0..scenario.shards as u8).map(ShardId);
        let hosts = ids()
            .map(|id| Host::new(Shard::new(id, settings.clone(), prng.next_u64()), id))
            .collect();
        let links = ids()
            .map(|_| ids().map(|_| Link::new(scenario.ring_batches)).collect())
            .collect();
        // Over its limit it may be by what was appended last.
        let appended_max = scenario.limits.max_payload_bytes + 1024;
        Self {
            world: World {
                now: 1,
                prng,
                trace: Trace::new(print),
                oracle: Oracle::new(),
                clients: Vec::new(),
                links,
                seen: Seen::default(),
                draining: false,
                pending_max: scenario.limits.max_pending_bytes + appended_max,
                write_deadline_ms: scenario.limits.write_deadline_ms,
                ping_interval_ms: scenario.limits.ping_interval_ms,
                disk_percent: 100,
            },
            hosts,
            budget: 0,
            known_reply: None,
            scenario,
        }
    }

    fn epoch(&mut self, epoch: usize) {
        self.world.trace.line(|| format!("=== epoch {epoch}"));
        self.world.draining = false;
        self.budget = self.scenario.bytes_per_epoch;
        let missing = self
            .scenario
            .clients
            .saturating_sub(self.world.clients.iter().filter(|c| !c.gone).count());
        for i in 0..missing {
            let never = epoch == 0 && i < self.scenario.never_readers;
            self.connect(never);
        }
        for step in 0..self.scenario.steps_per_epoch {
            self.step(step);
        }
        self.rest();
        if let Err(objection) = self.world.oracle.end_epoch() {
            panic!("{objection}");
        }
    }

    fn connect(&mut self, never: bool) {
        let prng = &mut self.world.prng;
        let headers = !prng.one_in(3);
        let no_responders = headers && prng.one_in(2);
        let echo = !prng.one_in(3);
        let reader = match prng.below(6) {
            _ if never => Reader::Never,
            0 => Reader::Slow,
            1 => Reader::Pausing,
            _ => Reader::Fast,
        };
        let tiny = self.scenario.payload_max <= 5000;
        let account = prng.below(self.scenario.accounts as u32) as usize;
        let credentials = accounts::credentials(account, self.scenario.accounts);
        let says = (echo, headers, no_responders);
        let mut client = Client::new(prng, reader, says, tiny, &credentials);
        let shard = prng.below(self.hosts.len() as u32) as usize;
        let number = self.world.oracle.connected(Facts {
            account,
            echo,
            headers,
            no_responders,
            reads: reader != Reader::Never,
            ended: None,
        });
        let connect = client.connect.clone();
        client.write_operation(connect.as_bytes());
        self.world
            .trace
            .line(|| format!("client {number} on s{shard}: {reader:?} {connect}"));
        self.world.clients.push(client);
        self.hosts[shard].arrivals.push(number);
        if never {
            for _ in 0..3 {
                self.subscribe(number);
            }
        }
        if no_responders {
            self.subscribe_to(number, &format!("_INBOX.{number}.*"), "");
        }
    }

    fn step(&mut self, step: u32) {
        let most = if self.scenario.floods { 500 } else { 120 };
        let one_in = self.scenario.freeze_one_in;
        self.world.freeze(&mut self.hosts, one_in, most);
        let one_in = self.scenario.leave_one_in;
        if one_in > 0 && self.world.prng.one_in(one_in) {
            let client = self.any_client();
            self.world.leave(client);
            if self.world.prng.one_in(2) {
                self.connect(false);
            }
        }
        self.world.go_on(self.scenario.time_one_in);
        for _ in 0..2 {
            let client = self.any_client();
            self.act(client);
        }
        let host = self.world.prng.below(self.hosts.len() as u32) as usize;
        if self.hosts[host].frozen == 0 {
            self.turn(host);
        }
        for host in &mut self.hosts {
            host.frozen = host.frozen.saturating_sub(1);
        }
        if step.is_multiple_of(16) {
            for host in &mut self.hosts {
                host.check_pending(&mut self.world);
            }
        }
    }

    fn any_client(&mut self) -> usize {
        self.world.prng.below(self.world.clients.len() as u32) as usize
    }

    fn turn(&mut self, host: usize) -> bool {
        let busy = self.hosts[host].turn(&mut self.world);
        self.check_bytes_held(host);
        busy
    }

    /// I5: no shard holds more than its connections and its links may.
    fn check_bytes_held(&self, host: usize) {
        let shard = &self.hosts[host].shard;
        let limits = &self.scenario.limits;
        let message = limits.max_payload_bytes + 1024;
        // A turn reads one buffer of each connection before holds take effect; a message of a few
        // bytes takes five times as much in a batch.
        let of_mesh = MESH_OUTBOX_HIGH_WATER_BYTES
            + shard.connections() * (message + 5 * 16 * 1024)
            + self.scenario.ring_batches * MESH_BATCH_BYTES;
        // What is received until a hold takes effect.
        let backlog = 8 * 16 * 1024;
        let most = shard.connections() * (self.world.pending_max + message + backlog)
            + (self.hosts.len() - 1) * of_mesh;
        let held = shard.bytes_held();
        assert!(held <= most, "I5: s{host} holds {held} bytes, above {most}");
    }

    /// Goes on without new operations until nothing moves any more.
    fn rest(&mut self) {
        self.world.draining = true;
        self.world.trace.line(|| "--- to rest".into());
        for host in &mut self.hosts {
            host.frozen = 0;
        }
        let mut reason = String::new();
        let start = self.world.now;
        for round in 0..ROUNDS_TO_REST_MAX {
            let mut busy = false;
            for client in 0..self.world.clients.len() {
                self.read(client);
            }
            for host in 0..self.hosts.len() {
                busy |= self.turn(host);
                self.hosts[host].check_holds(self.world.now, start);
            }
            if !busy || round % 4 == 0 {
                match self.unrest() {
                    None => return,
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

    /// What is still to happen.
    fn unrest(&mut self) -> Option<String> {
        if let Some(what) = self.world.unrest(&mut self.hosts) {
            return Some(what);
        }
        for (number, client) in self.world.clients.iter().enumerate() {
            if !client.reads() {
                continue;
            }
            if let Some(answer) = client.answers_owed.front() {
                return Some(format!("client {number} is owed {answer:?}"));
            }
        }
        None
    }

    /// Everybody leaves; nothing must be left of them.
    fn end(mut self) -> Outcome {
        for client in 0..self.world.clients.len() {
            self.world.leave(client);
        }
        self.rest();
        let mut counters = Counters::default();
        for (number, host) in self.hosts.iter().enumerate() {
            let shard = &host.shard;
            assert_eq!(host.connections(), 0);
            let left = [
                shard.connections(),
                shard.subscriptions(),
                shard.patterns(),
                shard.bytes_held(),
            ];
            assert_eq!(left, [0; 4], "liveness: left on s{number}");
            let own = shard.counters();
            counters.in_messages += own.in_messages;
            counters.stalls += own.stalls;
            counters.slow_consumers += own.slow_consumers;
            counters.replans += own.replans;
        }
        Outcome {
            digest: self.world.trace.digest(),
            seen: self.world.seen,
            counts: self.world.oracle.counts,
            counters,
        }
    }

    fn act(&mut self, number: usize) {
        if self.world.clients[number].gone {
            return;
        }
        if self.world.prng.one_in(2) {
            self.read(number);
        } else {
            for _ in 0..1 + self.world.prng.below(4) {
                self.write(number);
            }
        }
    }

    fn write(&mut self, number: usize) {
        let client = &self.world.clients[number];
        if client.gone || client.doomed || client.to_server.len() > BACKLOG_BYTES {
            return;
        }
        let prng = &mut self.world.prng;
        if prng.below(100) < self.scenario.publish_percent {
            for _ in 0..1 + prng.below(4) {
                self.publish(number);
            }
            return;
        }
        let floods = self.scenario.floods && client.reader == Reader::Never;
        let choice = if floods { 96 } else { prng.below(100) };
        match choice {
            0..25 => self.subscribe(number),
            25..30 => self.begin_barrier(number),
            30..45 => {
                self.subscribe(number);
                self.ping(number);
            }
            45..57 => self.unsubscribe(number),
            57..65 => {
                self.unsubscribe(number);
                self.ping(number);
            }
            65..73 => self.subscribe_max(number),
            73..90 => {
                self.ping(number);
            }
            90..94 => self.subscribe_wrongly(number),
            94..96 if self.scenario.floods => self.churn(number),
            94..96 => self.connect_again(number),
            96..98 => {
                let most = if self.scenario.floods { 40_000 } else { 100 };
                for _ in 0..1 + self.world.prng.below(most) {
                    self.ping(number);
                }
            }
            98 if self.scenario.floods || self.world.prng.one_in(8) => self.churn(number),
            _ if self.world.prng.one_in(8) => self.break_protocol(number),
            _ => {}
        }
    }

    fn publish(&mut self, number: usize) {
        self.publish_to(number, None);
    }

    /// Publishes to a subject at random, or a request to the one given.
    fn publish_to(&mut self, number: usize, wanted: Option<&str>) {
        let scenario = &self.scenario;
        let prng = &mut self.world.prng;
        let client = &mut self.world.clients[number];
        let large = prng.one_in(scenario.large_one_in);
        let most = if large { scenario.payload_max } else { 150 };
        let mut payload_bytes = prng.below(most as u32 + 1) as usize;
        if prng.one_in(10) {
            payload_bytes = 0;
        }
        payload_bytes = payload_bytes.min(self.budget);
        self.budget -= payload_bytes;
        client.messages += 1;
        let message = client.messages;
        let with_reply = wanted.is_some() || prng.one_in(4);
        let mut subject =
            scenario.subjects[prng.below(scenario.subjects.len() as u32) as usize].to_owned();
        if payload_bytes < NAMED_PAYLOAD_BYTES && !with_reply || prng.one_in(20) {
            subject = format!("z.{number}.{message}");
        }
        if payload_bytes < NAMED_PAYLOAD_BYTES && subject.starts_with("ask.") {
            // Its reply will be another one, and would not name it.
            subject = format!("z.{number}.{message}");
        }
        if let Some(wanted) = wanted {
            subject = wanted.to_owned();
        }
        let mut with_reply = with_reply || subject.starts_with("ask.") && !prng.one_in(4);
        if let Some(known) = &self.known_reply
            && payload_bytes >= NAMED_PAYLOAD_BYTES
            && self.world.oracle.account_of(number) != accounts::EXPORTER
            && prng.one_in(20)
        {
            self.world.oracle.counts.forged_responses += 1;
            subject = known.clone();
            with_reply = false;
        }
        let reply = if with_reply {
            format!("_INBOX.{number}.{message}")
        } else {
            String::new()
        };
        // The names in reply and subject have one place for the client and one for the number.
        let mut draft = Oracle::draft(number, message, subject, reply);
        draft.payload_bytes = payload_bytes;
        if client.headers && prng.one_in(3) {
            draft.header = format!("NATS/1.0\r\nN: {message}\r\n\r\n").into_bytes();
        }
        self.send(number, draft);
    }

    fn send(&mut self, number: usize, draft: Message) {
        let line = publish_line(&mut self.world.prng, &draft);
        let mut bytes = line.into_bytes();
        bytes.extend_from_slice(&draft.header);
        let payload = (draft.number, draft.payload_bytes);
        bytes.extend(self.world.oracle.payload(number, payload.0, payload.1));
        bytes.extend_from_slice(b"\r\n");
        let place = self.world.oracle.publish_sent(draft);
        let client = &mut self.world.clients[number];
        client.write_operation(&bytes);
        client.mark(Mark::Message(place));
    }

    /// A client has read a request of another account, and answers it, mostly.
    fn respond(&mut self, number: usize, delivery: &Delivery<'_>) {
        let Some(request) = self.world.oracle.request(delivery) else {
            return;
        };
        let client = &mut self.world.clients[number];
        let full = client.to_server.len() > BACKLOG_BYTES;
        if self.world.draining || client.gone || client.doomed || full {
            return;
        }
        self.known_reply = Some(delivery.reply.to_owned());
        if self.world.prng.one_in(5) {
            return;
        }
        client.messages += 1;
        let (message, reply) = (client.messages, delivery.reply.to_owned());
        let mut draft = Oracle::draft(number, message, reply, String::new());
        draft.payload_bytes = NAMED_PAYLOAD_BYTES + self.world.prng.below(100) as usize;
        if client.headers && self.world.prng.one_in(3) {
            draft.header = format!("NATS/1.0\r\nN: {message}\r\n\r\n").into_bytes();
        }
        draft.answers = Some(request);
        self.send(number, draft);
    }

    fn subscribe(&mut self, number: usize) {
        let prng = &mut self.world.prng;
        let patterns = &self.scenario.patterns;
        let mut pattern = patterns[prng.below(patterns.len() as u32) as usize].to_owned();
        if prng.one_in(12) {
            pattern = format!("_INBOX.{number}.*");
        }
        let queue = if prng.one_in(2) {
            format!("queue{}", prng.below(self.scenario.queues))
        } else {
            String::new()
        };
        self.subscribe_to(number, &pattern, &queue);
    }

    fn subscribe_to(&mut self, number: usize, pattern: &str, queue: &str) -> String {
        let long = self.world.prng.one_in(6);
        let client = &mut self.world.clients[number];
        client.sids += 1;
        let sid = if long {
            format!("a-long-subscription-id-{}", client.sids)
        } else {
            client.sids.to_string()
        };
        self.world
            .oracle
            .subscribe_sent(number, pattern, queue, &sid);
        let line = if queue.is_empty() {
            format!("SUB {pattern} {sid}\r\n")
        } else {
            format!("SUB {pattern} {queue} {sid}\r\n")
        };
        client.write_operation(line.as_bytes());
        sid
    }

    /// Subscribes to a subject of its own, and has others publish there the moment that it is
    /// confirmed, and again the moment that its end is: a barrier that comes too early is seen.
    fn begin_barrier(&mut self, number: usize) {
        let client = &self.world.clients[number];
        let subject = format!("barrier.of{number}.n{}", client.sids);
        let sid = self.subscribe_to(number, &subject, "");
        let ping = self.ping(number);
        let barrier = Barrier { ping, subject, sid };
        self.world.clients[number].barriers.push(barrier);
    }

    /// A PONG has come: goes on with the barriers that it was for.
    fn barriers_reached(&mut self, number: usize, ping: u64) {
        let client = &mut self.world.clients[number];
        let Some(place) = client.barriers.iter().position(|b| b.ping == ping) else {
            return;
        };
        let Barrier { subject, sid, .. } = client.barriers.swap_remove(place);
        let still = self.world.oracle.subscribed(number);
        let begins = still.iter().any(|(other, _)| *other == sid);
        for publisher in 0..self.world.clients.len() {
            let publisher_client = &self.world.clients[publisher];
            if publisher_client.gone || publisher_client.doomed || self.world.draining {
                continue;
            }
            if self.world.prng.one_in(2) {
                self.publish_to(publisher, Some(&subject));
            }
        }
        let client = &self.world.clients[number];
        if begins && !client.gone && !client.doomed && !self.world.draining {
            self.world.oracle.unsubscribe_sent(number, &sid);
            self.world.clients[number].write_operation(format!("UNSUB {sid}\r\n").as_bytes());
            let ping = self.ping(number);
            let barrier = Barrier { ping, subject, sid };
            self.world.clients[number].barriers.push(barrier);
        }
    }

    fn any_subscription(&mut self, number: usize) -> Option<String> {
        let subscribed = self.world.oracle.subscribed(number);
        if subscribed.is_empty() {
            return None;
        }
        let place = self.world.prng.below(subscribed.len() as u32) as usize;
        Some(subscribed[place].0.clone())
    }

    fn unsubscribe(&mut self, number: usize) {
        let Some(sid) = self.any_subscription(number) else {
            return;
        };
        self.world.oracle.unsubscribe_sent(number, &sid);
        self.world.clients[number].write_operation(format!("UNSUB {sid}\r\n").as_bytes());
    }

    fn subscribe_max(&mut self, number: usize) {
        let sid = if self.world.prng.one_in(3) {
            match self.any_subscription(number) {
                Some(sid) => sid,
                None => return,
            }
        } else {
            let prng = &mut self.world.prng;
            let patterns = &self.scenario.patterns;
            let pattern = patterns[prng.below(patterns.len() as u32) as usize];
            let queue = if prng.one_in(6) { "queue0" } else { "" };
            self.subscribe_to(number, pattern, queue)
        };
        let max = 1 + u64::from(self.world.prng.below(6));
        let place = self.world.oracle.max_sent(number, &sid, max);
        let client = &mut self.world.clients[number];
        client.write_operation(format!("UNSUB {sid} {max}\r\n").as_bytes());
        client.mark(Mark::Max(place));
        if self.world.prng.one_in(2) {
            self.ping(number);
        }
    }

    fn subscribe_wrongly(&mut self, number: usize) {
        let client = &mut self.world.clients[number];
        client.write(b"SUB a..b 1\r\n");
        let answer = Answer::Err("Invalid Subject".into());
        client.answers_owed.push_back(answer);
    }

    fn connect_again(&mut self, number: usize) {
        self.world.oracle.reconnect_sent(number);
        let client = &mut self.world.clients[number];
        let connect = client.connect.clone();
        client.write_operation(connect.as_bytes());
    }

    /// Interest that comes and goes, much of it.
    fn churn(&mut self, number: usize) {
        let pattern = format!("churn.{number}.{}", "long.".repeat(40)) + "end";
        for _ in 0..100 + self.world.prng.below(1500) {
            let client = &mut self.world.clients[number];
            if client.to_server.len() > BACKLOG_BYTES {
                return;
            }
            client.write_operation(format!("SUB {pattern} churn\r\n").as_bytes());
            client.write_operation(b"UNSUB churn\r\n");
        }
    }

    /// Returns the step at which it was sent.
    fn ping(&mut self, number: usize) -> u64 {
        let step = self.world.oracle.next_step();
        let client = &mut self.world.clients[number];
        client.write(b"PING\r\n");
        client.answers_owed.push_back(Answer::Pong(step));
        step
    }

    /// Says something that ends the connection.
    fn break_protocol(&mut self, number: usize) {
        let client = &mut self.world.clients[number];
        client.doomed = true;
        if self.world.prng.one_in(2) {
            client.write(b"-ERR 'I give up'\r\n");
        } else {
            client.write(b"NONSENSE\r\n");
            let answer = Answer::Err("Unknown Protocol Operation".into());
            client.answers_owed.push_back(answer);
        }
    }

    fn read(&mut self, number: usize) {
        let ended = self.world.read(number);
        self.digest(number);
        if ended {
            self.ended(number);
        }
    }

    /// Takes in what has been read.
    fn digest(&mut self, number: usize) {
        let input = std::mem::take(&mut self.world.clients[number].input);
        let mut at = 0;
        while let Some((op, used)) = parse(&input[at..]) {
            if let Err(objection) = self.take(number, &op) {
                panic!("client {number}: {objection}");
            }
            at += used;
        }
        self.world.clients[number].input = input[at..].to_vec();
    }

    fn take(&mut self, number: usize, op: &ServerOp<'_>) -> Result<(), String> {
        let now = self.world.now;
        let client = &mut self.world.clients[number];
        let mut expect = |answer: Answer| match client.answers_owed.pop_front() {
            Some(owed) if owed == answer => Ok(()),
            owed => Err(format!("was owed {owed:?} and got {op:?}")),
        };
        match *op {
            ServerOp::Message(ref delivery) => {
                self.world.oracle.delivered(number, delivery)?;
                self.world.trace.line(|| {
                    format!(
                        "{now:5} client {number} got {} for {}",
                        delivery.subject, delivery.sid
                    )
                });
                self.respond(number, delivery);
            }
            ServerOp::Ok => expect(Answer::Ok)?,
            // It comes whenever it comes, and is the last.
            ServerOp::Err("Stale Connection") => client.answers_owed.clear(),
            ServerOp::Err(text) => expect(Answer::Err(text.to_owned()))?,
            ServerOp::Pong => {
                let Some(Answer::Pong(sent)) = client.answers_owed.pop_front() else {
                    return Err("a PONG out of order".into());
                };
                client.got_pong = true;
                self.world.oracle.pong(number, sent);
                self.world
                    .trace
                    .line(|| format!("{now:5} client {number} got PONG of {sent}"));
                self.barriers_reached(number, sent);
            }
            ServerOp::Ping => {
                if client.answers && !client.doomed {
                    client.write(b"PONG\r\n");
                }
            }
            ServerOp::Info(text) => {
                let second = text.contains("\"connect_info\":true");
                let in_order = if second {
                    client.got_pong && client.protocol == 1 && !client.got_connect_info
                } else {
                    !client.got_info
                };
                if !in_order {
                    return Err(format!("INFO out of order: {text}"));
                }
                client.got_info = true;
                client.got_connect_info |= second;
            }
        }
        Ok(())
    }

    /// A client has seen the end of its connection, and closes its side.
    fn ended(&mut self, number: usize) {
        let client = &mut self.world.clients[number];
        client.gone = true;
        client.closed = true;
        if client.server_finished && !client.server_shut {
            // It was let go in order: nothing that it was owed is missing.
            assert!(
                client.input.is_empty(),
                "client {number}: half an operation"
            );
            assert!(
                !client.doomed || client.answers_owed.is_empty(),
                "client {number}: was owed {:?} when it was closed",
                client.answers_owed
            );
        }
    }
}

/// The control line of a message, spelled in one of several ways.
fn publish_line(prng: &mut Prng, message: &Message) -> String {
    let (verb, sizes) = if message.header.is_empty() {
        ("PUB", message.payload_bytes.to_string())
    } else {
        let header = message.header.len();
        let sizes = format!("{header} {}", header + message.payload_bytes);
        ("HPUB", sizes)
    };
    let subject = &message.subject;
    let line = if message.reply.is_empty() {
        format!("{verb} {subject} {sizes}")
    } else {
        format!("{verb} {subject} {} {sizes}", message.reply)
    };
    match prng.below(12) {
        0 => line.replace(' ', "  ") + "\r\n",
        1 => line.replace(' ', "\t") + " \r\n",
        2 => line.replace(verb, &verb.to_lowercase()) + "\n",
        _ => line + "\r\n",
    }
}
