//! Which consumers to wake for a message, and when to look at which.
//!
//! With few consumers all hungry ones are woken: each looks at the index once. With many, a message
//! wakes those whose filters match it, found as the router finds subscribers.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::base::deadlines::{Alarms, Millis};
use crate::jetstream::Outlet;
use crate::store::{Messages, Selection};
use crate::subject::{EntryId, Index, SubjectHash};

use super::{Asset, Surroundings};

/// Consumers above which it is worth looking at what a message is about.
const FEW: usize = 32;
/// New messages above which it is not.
const MANY_MESSAGES: u64 = 4096;

/// See the module.
#[derive(Debug)]
pub struct Wake {
    alarms: Alarms<u32>,
    /// For when each is set.
    armed: Vec<Option<Millis>>,
    hash: SubjectHash,
    index: Index,
    /// By entry of the index: who has that filter.
    filtered: Vec<Vec<u32>>,
    /// Who wants everything.
    unfiltered: Vec<u32>,
    /// The filters of each consumer that has some.
    entries: HashMap<u32, SmallVec<[EntryId; 2]>>,
}

impl Default for Wake {
    fn default() -> Self {
        // Filters are the operator's: nobody gains from collisions but who pays for them.
        let hash = SubjectHash::new(0x5b1d);
        Self {
            alarms: Alarms::default(),
            armed: Vec::new(),
            index: Index::new(hash.clone()),
            hash,
            filtered: Vec::new(),
            unfiltered: Vec::new(),
            entries: HashMap::new(),
        }
    }
}

impl Wake {
    /// A consumer wants these subjects.
    pub fn add(&mut self, place: u32, selection: &Selection) {
        if selection.is_everything() {
            self.unfiltered.push(place);
            return;
        }
        let mut entries = SmallVec::new();
        for pattern in selection.patterns() {
            let (entry, _) = self.index.insert(pattern);
            let at = entry as usize;
            if at >= self.filtered.len() {
                self.filtered.resize_with(at + 1, Vec::new);
            }
            if !entries.contains(&entry) {
                self.filtered[at].push(place);
                entries.push(entry);
            }
        }
        self.entries.insert(place, entries);
    }

    /// A consumer wants nothing more.
    pub fn remove(&mut self, place: u32) {
        let Some(entries) = self.entries.remove(&place) else {
            self.unfiltered.retain(|&other| other != place);
            return;
        };
        for entry in entries {
            let list = &mut self.filtered[entry as usize];
            list.retain(|&other| other != place);
            if list.is_empty() {
                self.index.remove(entry);
            }
        }
    }

    /// Consumers that there are.
    fn count(&self) -> usize {
        self.unfiltered.len() + self.entries.len()
    }

    /// Looks at a consumer then, and not at the time that was said before.
    pub fn arm(&mut self, place: u32, at: Millis) {
        let slot = place as usize;
        if slot >= self.armed.len() {
            self.armed.resize(slot + 1, None);
        }
        self.alarms.set(self.armed[slot].replace(at), at, place);
    }

    /// Does not look at a consumer any more.
    pub fn disarm(&mut self, place: u32) {
        if let Some(at) = self.armed.get_mut(place as usize).and_then(Option::take) {
            self.alarms.clear(at, place);
        }
    }

    /// A consumer to look at now.
    pub fn pop_due(&mut self, now: Millis) -> Option<u32> {
        let place = self.alarms.pop_due(now)?;
        self.armed[place as usize] = None;
        Some(place)
    }

    /// When the next one is to be looked at.
    pub fn next_due(&self) -> Option<Millis> {
        self.alarms.next()
    }

    /// Whether somebody wants a subject.
    pub fn is_wanted(&self, subject: &[u8]) -> bool {
        let mut is_wanted = !self.unfiltered.is_empty();
        if !is_wanted && !self.entries.is_empty() {
            self.filtered_by(subject, &mut |_| is_wanted = true);
        }
        is_wanted
    }

    /// Who wants a subject. One with several filters may come several times.
    pub fn interested(&self, subject: &[u8], each: &mut impl FnMut(u32)) {
        self.unfiltered.iter().for_each(|&place| each(place));
        self.filtered_by(subject, each);
    }

    fn filtered_by(&self, subject: &[u8], each: &mut impl FnMut(u32)) {
        self.index
            .for_each_match(subject, self.hash.of(subject), |entry| {
                for &place in &self.filtered[entry as usize] {
                    each(place);
                }
            });
    }
}

impl Asset {
    /// Wakes consumers for what is durable since the last time.
    pub fn wake<M: Messages, O: Outlet>(&mut self, around: &mut Surroundings<'_, M, O>) {
        let durable = around.messages.durable_seq();
        if durable <= self.seen {
            return;
        }
        let from = self.seen + 1;
        self.seen = durable;
        if self.wake.count() <= FEW || durable - from > MANY_MESSAGES {
            let places: Vec<u32> = self.names.values().copied().collect();
            for place in places {
                self.wake_one(place);
            }
            return;
        }
        for at in 0..self.wake.unfiltered.len() {
            self.wake_one(self.wake.unfiltered[at]);
        }
        let mut found: SmallVec<[u32; 16]> = SmallVec::new();
        for seq in from..=durable {
            let Some(subject) = around.messages.subject_of(seq) else {
                continue;
            };
            found.clear();
            self.wake
                .filtered_by(subject, &mut |place| found.push(place));
            for &place in &found {
                self.wake_one(place);
            }
        }
    }

    fn wake_one(&mut self, place: u32) {
        let is_hungry = self
            .slot(place)
            .is_some_and(|slot| slot.consumer.is_hungry());
        if is_hungry {
            self.queue(place);
        }
    }
}
