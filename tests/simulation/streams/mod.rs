//! JetStream in the simulation: shards with stores on disks that forget, clients that make and delete
//! streams and consumers, publish, pull and acknowledge on all shards, crashes of the whole server, and
//! a model of what clients may count on ([`model`], [`lives`]).
//!
//! After each epoch, and after each crash, everything comes to rest and is read out through the API.

mod acts;
mod audit;
mod hear;
mod lives;
mod model;
mod run;
mod server;

use skein::base::limits::UNFLUSHED_HIGH_WATER_BYTES;
use skein::base::prng::Prng;

use super::world::Seen;
use model::{Retention, Variant};

pub use run::run;

/// What happened at least once, it is to be hoped.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub published: u64,
    pub acked: u64,
    pub duplicates: u64,
    pub refused: u64,
    pub batches: u64,
    pub delivered: u64,
    pub redelivered: u64,
    pub confirmed: u64,
    pub answered: u64,
    pub errors: u64,
    pub taken: u64,
    pub status: u64,
    pub power_cuts: u64,
    pub kills: u64,
    pub stops: u64,
    pub found: u64,
    pub lost_unacked: u64,
    pub kept_unacked: u64,
    pub drained: u64,
    pub restores: u64,
    pub stalls: u64,
}

/// What a run leaves behind.
pub struct Outcome {
    pub digest: u64,
    pub counts: Counts,
    pub seen: Seen,
}

/// What a run is like.
#[derive(Debug)]
pub struct Scenario {
    pub shards: usize,
    pub clients: usize,
    pub epochs: usize,
    pub steps_per_epoch: u32,
    pub ring_batches: usize,
    pub disk_percent: u32,
    pub unflushed_high_bytes: usize,
    pub checkpoint_bytes: u64,
    pub cache_bytes: usize,
    pub variants: Vec<Variant>,
    pub payload_max: u32,
    pub ack_wait_ms: u64,
    pub max_ack_pending: u32,
    pub flow_control: bool,
    pub crash_percent: u32,
    pub freeze_one_in: u32,
    pub leave_one_in: u32,
    pub time_one_in: u32,
    pub publish_percent: u32,
}

impl Scenario {
    fn new(prng: &mut Prng) -> Self {
        fn one_of<T: Copy>(prng: &mut Prng, choices: &[T]) -> T {
            choices[prng.below(choices.len() as u32) as usize]
        }
        let variant = |prng: &mut Prng| {
            let retention = one_of(
                prng,
                &[Retention::Limits, Retention::Interest, Retention::WorkQueue],
            );
            Variant {
                retention,
                memory: prng.one_in(10),
                max_msgs: one_of(prng, &[None, None, Some(7), Some(40)]),
                direct: prng.one_in(2),
            }
        };
        // In one of so many the disk holds publishers back.
        let is_held_back = prng.one_in(10);
        Self {
            shards: one_of(prng, &[1, 2, 3, 3, 4, 4]),
            clients: 2 + prng.below(6) as usize,
            epochs: 2 + prng.below(3) as usize,
            steps_per_epoch: 100 + prng.below(600),
            ring_batches: one_of(prng, &[1, 2, 32, 32]),
            disk_percent: one_of(prng, &[3, 20, 60, 95]),
            unflushed_high_bytes: match is_held_back {
                true => 2_000,
                false => UNFLUSHED_HIGH_WATER_BYTES,
            },
            checkpoint_bytes: one_of(prng, &[1 << 14, 1 << 17, 1 << 20]),
            cache_bytes: one_of(prng, &[1 << 14, 1 << 20]),
            variants: (0..3).map(|_| variant(prng)).collect(),
            payload_max: one_of(prng, &[10, 300, 300, 9000]),
            ack_wait_ms: one_of(prng, &[20, 200, 2000]),
            max_ack_pending: one_of(prng, &[3, 50, 1000]),
            flow_control: prng.one_in(3),
            crash_percent: one_of(prng, &[0, 50, 100]),
            freeze_one_in: one_of(prng, &[0, 50, 300]),
            leave_one_in: one_of(prng, &[0, 60, 300]),
            time_one_in: one_of(prng, &[6, 30]),
            publish_percent: one_of(prng, &[30, 60]),
        }
    }
}

/// What is to have happened in a run of many seeds.
pub fn totals(outcome: &Outcome) -> Vec<(&'static str, u64)> {
    let Counts {
        published,
        acked,
        duplicates,
        refused,
        batches,
        delivered,
        redelivered,
        confirmed,
        answered,
        errors,
        taken,
        status,
        power_cuts,
        kills,
        stops,
        found,
        lost_unacked,
        kept_unacked,
        drained,
        restores,
        stalls,
    } = outcome.counts;
    vec![
        ("messages published to streams", published),
        ("messages acknowledged by streams", acked),
        ("messages that were there by their id", duplicates),
        ("messages refused by streams", refused),
        ("atomic batches committed", batches),
        ("messages delivered by consumers", delivered),
        ("messages delivered again", redelivered),
        ("acknowledgements confirmed", confirmed),
        ("requests answered", answered),
        ("requests answered with errors", errors),
        ("names of streams that were taken", taken),
        ("status messages to pulling clients", status),
        ("power cuts", power_cuts),
        ("kills", kills),
        ("ends in order", stops),
        ("messages read out at rest", found),
        ("unacknowledged messages lost by crashes", lost_unacked),
        ("unacknowledged messages kept over crashes", kept_unacked),
        ("messages left to drained consumers", drained),
        ("restores begun and given up", restores),
        ("publishers held back", stalls),
        ("completions of the disk", outcome.seen.disk_completions),
        ("batches between shards", outcome.seen.batches),
    ]
}
