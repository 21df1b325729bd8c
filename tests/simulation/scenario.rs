//! What one seed stands for: how many shards and clients, which limits, which subjects.

use super::accounts;
use skein::base::prng::Prng;
use skein::config::Limits;

const LITERALS: &[&str] = &[
    "a",
    "b",
    "a.b",
    "a.c",
    "b.c",
    "a.b.c",
    "b.b.c",
    "q.a",
    "q.b",
    "$T.x",
    "a.subject.that.is.longer.than.the.head.is.copied.in.one.step",
    "a.subject.so.long.that.a.control.line.with.it.does.not.fit.a.block.of.64.bytes",
];
const WILDCARDS: &[&str] = &[
    "*",
    "a.*",
    "a.>",
    "*.b",
    "*.c",
    "*.*.c",
    "a.*.c",
    "q.*",
    "q.>",
    "$T.>",
    "z.>",
    "z.*.*",
    "a.subject.>",
];

/// The parameters of one run.
#[derive(Debug)]
pub struct Scenario {
    pub shards: usize,
    /// How many accounts clients are of.
    pub accounts: usize,
    pub clients: usize,
    pub epochs: usize,
    pub steps_per_epoch: u32,
    pub limits: Limits,
    pub ring_batches: usize,
    /// Subjects published to.
    pub subjects: Vec<&'static str>,
    /// Patterns subscribed to.
    pub patterns: Vec<&'static str>,
    pub queues: u32,
    /// Largest payload that is published.
    pub payload_max: usize,
    /// One in so many publishes is a large one.
    pub large_one_in: u32,
    /// Payload bytes published in one epoch, at most.
    pub bytes_per_epoch: usize,
    /// One in so many steps somebody leaves; 0 for nobody.
    pub leave_one_in: u32,
    /// One in so many steps a shard stands still for a while; 0 for never.
    pub freeze_one_in: u32,
    /// Time passes in one of so many steps.
    pub time_one_in: u32,
    /// Publishes rather than other operations, in percent.
    pub publish_percent: u32,
    /// Clients of the first epoch that never read.
    pub never_readers: usize,
    /// Clients flood the server with pings, and with interest that comes and goes.
    pub floods: bool,
}

fn one_of<T: Copy>(prng: &mut Prng, choices: &[T]) -> T {
    choices[prng.below(choices.len() as u32) as usize]
}

impl Scenario {
    /// The scenario of a seed.
    pub fn new(prng: &mut Prng) -> Self {
        let mut scenario = Self::of_one_account(prng);
        if prng.one_in(2) {
            scenario.accounts = accounts::SEVERAL;
            scenario.clients += 4;
            scenario.subjects.extend(accounts::SUBJECTS);
            scenario.patterns.extend(accounts::PATTERNS);
            // Clients whose shard stands still present themselves late.
            scenario.limits.auth_timeout_ms = 600_000;
        }
        scenario
    }

    fn of_one_account(prng: &mut Prng) -> Self {
        let max_pending_bytes = one_of(
            prng,
            &[64 << 10, 96 << 10, 256 << 10, 1 << 20, 8 << 20, 64 << 20],
        );
        let max_payload_bytes = (110 * 1024).min(max_pending_bytes);
        let limits = Limits {
            max_payload_bytes,
            max_pending_bytes,
            write_deadline_ms: one_of(prng, &[40, 300, 10_000, 10_000]),
            ping_interval_ms: one_of(prng, &[150, 1000, 120_000, 120_000]),
            ..Limits::DEFAULT
        };
        let some = |prng: &mut Prng, all: &[&'static str], at_least: u32| {
            let wanted = at_least + prng.below(all.len() as u32 / 2);
            (0..wanted).map(|_| one_of(prng, all)).collect::<Vec<_>>()
        };
        let subjects = some(prng, LITERALS, 2);
        let mut patterns = subjects[..subjects.len() - 1].to_vec();
        patterns.extend(some(prng, WILDCARDS, 1));
        if prng.one_in(3) {
            patterns.push(">");
        }
        let heavy = prng.one_in(4);
        // One in so many is about links that are full.
        if prng.one_in(10) {
            return Self::crowded(prng, &limits, subjects);
        }
        Self {
            accounts: 1,
            shards: one_of(prng, &[1, 2, 2, 3, 3, 4]),
            clients: 2 + prng.below(9) as usize,
            epochs: 2 + prng.below(2) as usize,
            steps_per_epoch: 100 + prng.below(500),
            limits,
            ring_batches: one_of(prng, &[1, 2, 4, 32]),
            subjects,
            patterns,
            queues: 1 + prng.below(3),
            payload_max: one_of(prng, &[200, 5_000, 100 * 1024]).min(max_payload_bytes - 64),
            large_one_in: if heavy { 2 } else { one_of(prng, &[8, 40]) },
            bytes_per_epoch: if heavy { 4 << 20 } else { 512 << 10 },
            leave_one_in: one_of(prng, &[0, 60, 300]),
            freeze_one_in: one_of(prng, &[0, 50, 300]),
            time_one_in: one_of(prng, &[6, 30]),
            publish_percent: one_of(prng, &[30, 60, 85]),
            never_readers: one_of(prng, &[0, 0, 1, 2]),
            floods: prng.one_in(6),
        }
    }

    /// Large messages to everybody, by short links, past shards that stand still.
    fn crowded(prng: &mut Prng, limits: &Limits, subjects: Vec<&'static str>) -> Self {
        let limits = Limits {
            max_payload_bytes: 110 * 1024,
            max_pending_bytes: 64 << 20,
            ..limits.clone()
        };
        Self {
            accounts: 1,
            shards: 2 + prng.below(2) as usize,
            clients: 6,
            epochs: 2,
            steps_per_epoch: 800,
            payload_max: 100 * 1024,
            ring_batches: 1 + prng.below(2) as usize,
            patterns: subjects.clone(),
            subjects,
            limits,
            queues: 1,
            large_one_in: 1,
            bytes_per_epoch: 16 << 20,
            leave_one_in: 0,
            freeze_one_in: 40,
            time_one_in: 30,
            publish_percent: 70,
            never_readers: 0,
            floods: true,
        }
    }
}
