//! How many batches have begun and not ended: their number is limited for the whole server, so shards
//! tell each other, once in a turn in which it has changed.

use super::Engine;
use super::host::Host;
use crate::base::ids::ShardId;
use crate::jetstream::Order;

/// Atomic batches, and fast ones.
pub type Count = (usize, usize);

/// See the module.
#[derive(Debug, Default)]
pub struct Batches {
    own: Count,
    told: Count,
    others: Vec<(ShardId, Count)>,
}

impl Batches {
    /// A stream of this shard has so many now.
    pub fn count(&mut self, before: Count, now: Count) {
        self.own.0 = (self.own.0 + now.0).saturating_sub(before.0);
        self.own.1 = (self.own.1 + now.1).saturating_sub(before.1);
    }

    /// Another shard has so many.
    pub fn heard(&mut self, from: ShardId, count: Count) {
        match self.others.iter_mut().find(|(shard, _)| *shard == from) {
            Some((_, known)) => *known = count,
            None => self.others.push((from, count)),
        }
    }

    /// How many there are on the server without those of one stream of this shard, which were counted.
    pub fn without(&self, counted: Count) -> Count {
        let own = (
            self.own.0.saturating_sub(counted.0),
            self.own.1.saturating_sub(counted.1),
        );
        let others = self.others.iter().map(|(_, count)| count);
        others.fold(own, |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }
}

impl Engine {
    /// Tells other shards how many this one has, if that has changed.
    pub(super) fn tell_batches<H: Host>(&mut self, host: &mut H) {
        let Batches { own, told, .. } = &mut self.batches;
        if own == told {
            return;
        }
        *told = *own;
        let (atomic, fast) = *own;
        for shard in self.others(host) {
            host.order(shard, Order::Batches(atomic, fast));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shards_count_together() {
        let mut batches = Batches::default();
        batches.count((0, 0), (2, 1));
        batches.heard(ShardId(1), (4, 0));
        batches.heard(ShardId(2), (0, 5));
        assert_eq!(batches.without((0, 0)), (6, 6));
        batches.count((2, 1), (1, 0));
        batches.heard(ShardId(1), (1, 1));
        assert_eq!(batches.without((0, 0)), (2, 6));
        assert_eq!(batches.without((1, 0)), (1, 6));
    }
}
