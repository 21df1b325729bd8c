//! Names of queue groups as small numbers.

use hashbrown::HashMap;

use crate::base::slab::Slab;

/// The name of a queue group.
pub type QueueId = u32;

#[derive(Debug, Default)]
struct Queue {
    name: Box<[u8]>,
    holders: u32,
}

/// The names in use, each counted.
#[derive(Debug, Default)]
pub struct Queues {
    queues: Slab<Queue>,
    by_name: HashMap<Box<[u8]>, QueueId>,
}

impl Queues {
    /// The number of a name, which the caller holds from now on.
    pub fn intern(&mut self, name: &[u8]) -> QueueId {
        if let Some(&queue) = self.by_name.get(name) {
            self.queues[queue].holders += 1;
            return queue;
        }
        let queue = self.queues.insert(Queue {
            name: name.into(),
            holders: 1,
        });
        self.by_name.insert(name.into(), queue);
        queue
    }

    /// One holder less.
    pub fn release(&mut self, queue: QueueId) {
        self.queues[queue].holders -= 1;
        if self.queues[queue].holders == 0 {
            let Queue { name, .. } = self.queues.remove(queue);
            self.by_name.remove(&name);
        }
    }

    /// The number of a name in use.
    pub fn find(&self, name: &[u8]) -> Option<QueueId> {
        self.by_name.get(name).copied()
    }

    /// The name of a number in use.
    pub fn name(&self, queue: QueueId) -> &[u8] {
        &self.queues[queue].name
    }
}
