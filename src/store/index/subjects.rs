//! The subjects of a stream by number: names, each one's sequences, and how to find them.
//!
//! A literal costs one hash, a pattern a walk over those that begin as it does. A subject that has no
//! message any more is forgotten and its number given to another; who remembers something of a number
//! asks [`Subjects::named_since`] whether it still means the same.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::name::Name;
use super::order::Order;
use super::seqs::Seqs;
use crate::base::bytes;
use crate::store::{Seq, SubjectState};
use crate::subject::{self, SubjectHash};

/// How many of the latest numbers given out are remembered at least.
const NAMED_MIN: usize = if cfg!(test) { 16 } else { 1024 };

/// A subject.
#[derive(Debug, Default)]
struct Slot {
    name: Name,
    seqs: Seqs,
}

/// A number and the hash of its name, so that the table grows without looking at names.
#[derive(Clone, Copy, Debug)]
struct Hashed {
    subject: u32,
    hash: u32,
}

impl Hashed {
    /// The table takes its places from the low bits and its tags from the high ones.
    fn wide(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Subjects {
    hash: SubjectHash,
    slots: Vec<Slot>,
    free: Vec<u32>,
    table: HashTable<Hashed>,
    order: Order,
    /// The latest numbers given out, the last at the end.
    named: VecDeque<u32>,
    /// How many were ever given out.
    named_count: u64,
    /// What that was when last a number was given out that had been another subject's.
    reused_count: u64,
}

/// What has happened to numbers since a count.
pub enum Named<'a> {
    /// These were given out; as many as the lag.
    These(Box<dyn Iterator<Item = u32> + 'a>),
    /// Too many to remember, but none had been another subject's.
    OnlyNew,
    /// Too many to remember.
    Any,
}

impl Subjects {
    /// Of no message.
    pub fn new(hash: SubjectHash) -> Self {
        Self {
            hash,
            slots: Vec::new(),
            free: Vec::new(),
            table: HashTable::new(),
            order: Order::default(),
            named: VecDeque::new(),
            named_count: 0,
            reused_count: 0,
        }
    }

    /// How many subjects there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Numbers are below this.
    pub fn numbers(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The name of a subject; nothing, if the number is free.
    #[inline]
    pub fn name(&self, subject: u32) -> &[u8] {
        self.slots[subject as usize].name.text()
    }

    /// Sequences of a subject; none, if the number is free.
    #[inline]
    pub fn seqs(&self, subject: u32) -> &Seqs {
        &self.slots[subject as usize].seqs
    }

    /// What there is of a subject.
    pub fn state(&self, subject: u32) -> Option<SubjectState> {
        let seqs = self.seqs(subject);
        Some(SubjectState {
            messages: seqs.len(),
            first: seqs.first()?,
            last: seqs.last()?,
        })
    }

    fn hash(&self, name: &[u8]) -> u32 {
        (self.hash.of(name) >> 32) as u32
    }

    /// The number of a subject, if it has messages.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.find_hashed(name, self.hash(name))
    }

    fn find_hashed(&self, name: &[u8], hash: u32) -> Option<u32> {
        let same =
            |hashed: &Hashed| hashed.hash == hash && bytes::same(self.name(hashed.subject), name);
        let found = self.table.find(Hashed::wide(hash), same);
        found.map(|hashed| hashed.subject)
    }

    /// Notes a message; gives the number of its subject.
    #[inline]
    pub fn insert(&mut self, name: &[u8], seq: Seq) -> u32 {
        let hash = self.hash(name);
        let subject = match self.find_hashed(name, hash) {
            Some(subject) => subject,
            None => self.intern(name, hash),
        };
        self.slots[subject as usize].seqs.insert(seq);
        subject
    }

    fn intern(&mut self, name: &[u8], hash: u32) -> u32 {
        let slot = Slot {
            name: name.into(),
            seqs: Seqs::None,
        };
        self.named_count += 1;
        let subject = if let Some(subject) = self.free.pop() {
            self.slots[subject as usize] = slot;
            self.reused_count = self.named_count;
            subject
        } else {
            if self.slots.len() == self.slots.capacity() {
                // As `Slab`: a large table must not stand half empty.
                self.slots.reserve_exact((self.slots.len() / 8).max(4));
            }
            self.slots.push(slot);
            self.slots.len() as u32 - 1
        };
        if self.named.len() >= NAMED_MIN + self.slots.len() / 16 {
            self.named.pop_front();
        }
        self.named.push_back(subject);
        let slots = &self.slots;
        self.order
            .insert(subject, name, |other| slots[other as usize].name.text());
        self.table
            .insert_unique(Hashed::wide(hash), Hashed { subject, hash }, |hashed| {
                Hashed::wide(hashed.hash)
            });
        subject
    }

    /// Forgets a message. Whether the subject has none any more, and so is forgotten too.
    #[inline]
    pub fn remove(&mut self, subject: u32, seq: Seq) -> bool {
        let slot = &mut self.slots[subject as usize];
        slot.seqs.remove(seq);
        let forgotten = slot.seqs.is_empty();
        if forgotten {
            self.forget(subject);
        }
        forgotten
    }

    fn forget(&mut self, subject: u32) {
        let slot = std::mem::take(&mut self.slots[subject as usize]);
        let hash = self.hash(slot.name.text());
        let found = self
            .table
            .find_entry(Hashed::wide(hash), |hashed| hashed.subject == subject);
        if let Ok(entry) = found {
            entry.remove();
        }
        self.order.remove(subject, slot.name.text());
        self.free.push(subject);
        if self.table.capacity() > 1024 && self.table.len() < self.table.capacity() / 8 {
            self.table
                .shrink_to(self.table.len() * 2, |hashed| Hashed::wide(hashed.hash));
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        drop(self.take());
    }

    /// The same; what there was comes back.
    pub fn take(&mut self) -> Self {
        let named_count = self.named_count + 1;
        let before = std::mem::replace(self, Self::new(self.hash.clone()));
        // What is given out from now on has meant something else before.
        self.named_count = named_count;
        self.reused_count = named_count;
        before
    }

    /// Frees what up to `count` subjects take; it is of no other use from then on. Whether something is left.
    pub fn shrink(&mut self, count: usize) -> bool {
        self.slots.truncate(self.slots.len().saturating_sub(count));
        !self.slots.is_empty()
    }

    /// How many numbers were ever given out: to be asked about later.
    #[inline]
    pub fn named_count(&self) -> u64 {
        self.named_count
    }

    /// The numbers given out since there had been `count`.
    pub fn named_since(&self, count: u64) -> Named<'_> {
        let lag = self.named_count.saturating_sub(count);
        match usize::try_from(lag) {
            Ok(lag) if lag <= self.named.len() => {
                let since = self.named.len() - lag;
                Named::These(Box::new(self.named.range(since..).copied()))
            }
            _ if self.reused_count <= count => Named::OnlyNew,
            _ => Named::Any,
        }
    }

    /// Calls `matching` for the subjects that a pattern matches and `each` for all that are looked at,
    /// until one says false. Whether none did.
    pub fn each_with(
        &self,
        pattern: &[u8],
        each: &mut dyn FnMut(u32) -> bool,
        matching: &mut dyn FnMut(u32) -> bool,
    ) -> bool {
        if subject::is_literal(pattern) {
            return self.find(pattern).is_none_or(matching);
        }
        let prefix = literal_prefix(pattern);
        let compiled = subject::Compiled::new(pattern);
        let mut walk = self.order.with_prefix(prefix, |other| self.name(other));
        walk.all(|subject| {
            each(subject) && (!compiled.matches(self.name(subject)) || matching(subject))
        })
    }

    /// Of these, which are in order of their names and get their numbers in that order. One without
    /// messages is not there, and its number free.
    pub fn of_sorted(
        hash: SubjectHash,
        names: Vec<Name>,
        seqs: impl Iterator<Item = Seqs>,
    ) -> Self {
        let mut subjects = Self::new(hash);
        subjects.slots.reserve_exact(names.len());
        let mut hashes = Vec::with_capacity(names.len());
        for (name, seqs) in names.into_iter().zip(seqs) {
            let subject = subjects.slots.len() as u32;
            if seqs.is_empty() {
                subjects.slots.push(Slot::default());
                subjects.free.push(subject);
                continue;
            }
            let hash = subjects.hash(name.text());
            subjects.slots.push(Slot { name, seqs });
            hashes.push(Hashed { subject, hash });
        }
        // In the order of their places in the table, which is faster than back and forth in it.
        subjects.table.reserve(hashes.len(), |_| 0);
        let bits = subjects.table.capacity().next_power_of_two().ilog2();
        hashes.sort_unstable_by_key(|hashed| hashed.hash << (u32::BITS - bits.clamp(1, u32::BITS)));
        for hashed in hashes {
            subjects
                .table
                .insert_unique(Hashed::wide(hashed.hash), hashed, |hashed| {
                    Hashed::wide(hashed.hash)
                });
        }
        // Nobody knows them yet.
        subjects.named_count = subjects.slots.len() as u64;
        let names = subjects.slots.iter().map(|slot| slot.name.text());
        let named = (0..).zip(names).zip(&subjects.slots);
        let named = named.filter(|(_, slot)| !slot.seqs.is_empty());
        subjects.order = Order::of_sorted(named.map(|(named, _)| named), subjects.len());
        subjects
    }

    /// All subjects in order, with their names.
    pub fn in_order(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let walk = self.order.with_prefix(b"", |other| self.name(other));
        walk.map(|subject| (subject, self.name(subject)))
    }

    /// Subjects after `name` in order, with their names.
    pub fn after(&self, name: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
        let walk = self.order.after(name, |other| self.name(other));
        walk.map(|subject| (subject, self.name(subject)))
    }

    /// All subjects by number.
    pub fn all(&self) -> impl Iterator<Item = u32> {
        let used = |subject: &u32| !self.seqs(*subject).is_empty();
        (0..self.numbers()).filter(used)
    }
}

/// What everything begins with that a pattern matches: its tokens before the first wildcard.
fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let mut end = 0;
    for token in pattern.split(|&byte| byte == subject::SEPARATOR) {
        if token == subject::ANY_TOKEN || token == subject::ANY_TAIL {
            break;
        }
        end += token.len() + 1;
    }
    &pattern[..end.min(pattern.len())]
}
