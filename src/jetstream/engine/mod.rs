//! All streams of a shard, and where those of the others are.

mod directory;
mod held;
mod host;
mod way_out;

pub use host::{Arrival, Host, Sink};

use crate::base::deadlines::Millis;
use crate::base::ids::{AccountId, ShardId};
use crate::jetstream::{Now, Order};
use crate::store::io::{Completion, Submission};

/// All streams of a shard.
#[derive(Debug, Default)]
pub struct Engine {}

impl Engine {
    /// When `tick` is to be called.
    pub fn next_deadline(&self) -> Option<Millis> {
        None
    }
    pub fn arrived<H: Host>(&mut self, now: Now, sink: Sink, arrival: &Arrival<'_>, host: &mut H) {}
    pub fn interest_changed<H: Host>(
        &mut self,
        now: Now,
        account: AccountId,
        subject: &[u8],
        is_heard: bool,
        host: &mut H,
    ) {
    }
    pub fn disk_completed<H: Host>(&mut self, now: Now, completion: Completion, host: &mut H) {}
    pub fn turn_ends<H: Host>(&mut self, now: Now, disk: &mut Vec<Submission>, host: &mut H) {}
    pub fn ordered<H: Host>(&mut self, now: Now, from: ShardId, order: Order, host: &mut H) {}
    pub fn interest_known<H: Host>(&mut self, now: Now, host: &mut H) {}
}
