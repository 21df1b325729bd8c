//! Plans and the cache of them.
//!
//! The cache is small enough for the processor's second-level cache, direct-mapped, and has a
//! doorkeeper: where a plan already sits, a subject takes its slot only when it is seen twice with
//! no other contender in between. With more subjects than slots most lookups therefore cost one
//! probe and a fresh match, and nothing is copied or evicted: there is no cliff (nats-server's
//! cache of 1,024 subjects, swept when full, costs more than it saves there: nats-server#4341).
//!
//! Subjects that come once, as those of acknowledgements and replies, have few plans between them:
//! patterns ask for their first tokens and for nothing behind. Such plans have slots by those tokens.

use smallvec::SmallVec;

use super::{GroupId, QueueId, SubId};
use crate::base::bytes;
use crate::base::ids::AccountId;
use crate::base::limits::PLAN_CACHE_SLOTS;
use crate::base::outbound::Head;

/// Where a plan is kept. Good until the next call to the router.
pub type PlanId = u32;

/// The slot of plans that are not cached.
const SCRATCH: PlanId = PLAN_CACHE_SLOTS as PlanId;

/// Slots of plans by the beginnings of subjects; behind all others.
const PREFIXES: usize = 16;
/// So many bytes of a subject say which of them is its.
const PREFIX_KEY_BYTES: usize = 16;

/// A queue group that has a say in a message: one name, on each pattern that matched.
#[derive(Clone, Debug, Default)]
pub struct GroupPick {
    /// The name.
    pub queue: QueueId,
    /// The groups of that name.
    pub groups: SmallVec<[GroupId; 2]>,
}

/// A stream import that a message has come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// Its place in the directory.
    pub import: u32,
    /// Tracing goes on behind it.
    pub allow_trace: bool,
}

/// Who gets a message in one account.
#[derive(Clone, Debug)]
pub struct Part {
    /// The account whose subscribers these are.
    pub account: AccountId,
    /// The subject there; empty where it is the one published.
    pub subject: Vec<u8>,
    /// The import through which they see it, the last one of a chain.
    pub via: Option<Via>,
    /// That subject's hash.
    pub hash: u64,
    /// Plain subscriptions of this shard: each gets it.
    pub plain: Vec<SubId>,
    /// Queue groups: one member of each gets it, on whichever shard.
    pub groups: Vec<GroupPick>,
    /// Other shards with plain subscriptions.
    pub remote: u64,
    /// The start of a delivery without headers, equal for all messages on the subject.
    pub head: Head,
}

impl Default for Part {
    fn default() -> Self {
        Self {
            account: AccountId::GLOBAL,
            subject: Vec::new(),
            via: None,
            hash: 0,
            plain: Vec::new(),
            groups: Vec::new(),
            remote: 0,
            head: Head::default(),
        }
    }
}

impl Part {
    /// Makes it a part without anybody. What it has allocated stays.
    pub(super) fn begin(&mut self, account: AccountId, hash: u64, via: Option<Via>) {
        self.account = account;
        self.hash = hash;
        self.via = via;
        self.subject.clear();
        self.plain.clear();
        self.groups.clear();
        self.remote = 0;
    }

    /// Adds a group, to the others of its name if there are any.
    pub(super) fn add_group(&mut self, queue: QueueId, group: GroupId) {
        match self.groups.iter_mut().find(|pick| pick.queue == queue) {
            Some(pick) => pick.groups.push(group),
            None => self.groups.push(GroupPick {
                queue,
                groups: SmallVec::from_slice(&[group]),
            }),
        }
    }

    /// Whether it has nobody.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty() && self.remote == 0
    }
}

/// A request that another account answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceLeg {
    /// By an import: its place in the directory.
    Import(u32),
    /// By what every account may ask of the system account: its place in that list.
    System(u8),
}

/// Sets of permissions that a slot remembers to allow its subject.
const ALLOWED_KEPT: usize = 2;

/// Parts that a slot keeps to be filled again.
const PARTS_KEPT: usize = 4;

/// Who gets a message.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The publisher's own account; where nobody there gets it, the first importing one.
    pub first: Part,
    /// Accounts that import it.
    pub more: Vec<Part>,
    /// Accounts that answer it.
    pub services: SmallVec<[ServiceLeg; 1]>,
    /// Queue groups with members in several of the accounts.
    pub shared: SmallVec<[QueueId; 1]>,
    /// Sets of permissions that allow publishing it, the last one first; 0 for none.
    allowed: [u64; ALLOWED_KEPT],
    /// Parts of before, for what they have allocated.
    spare: Vec<Part>,
}

impl Plan {
    /// The subscription that gets it, if that is one plain one of this shard.
    #[inline]
    pub fn only_plain(&self) -> Option<SubId> {
        let Part {
            plain,
            groups,
            remote,
            ..
        } = &self.first;
        match &plain[..] {
            &[sub] if groups.is_empty() && *remote == 0 && self.is_alone() => Some(sub),
            _ => None,
        }
    }

    /// The queue group of which a member gets it, if that is one group on one pattern and nobody
    /// else does.
    #[inline]
    pub fn only_group(&self) -> Option<GroupId> {
        let Part {
            plain,
            groups,
            remote,
            ..
        } = &self.first;
        match (&groups[..], &plain[..]) {
            ([pick], []) if *remote == 0 && pick.groups.len() == 1 && self.is_alone() => {
                Some(pick.groups[0])
            }
            _ => None,
        }
    }

    /// Whether there is nobody beside the first part.
    #[inline]
    pub fn is_alone(&self) -> bool {
        self.more.is_empty() && self.services.is_empty()
    }

    /// Whether nobody gets it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.is_alone()
    }

    /// The parts' number.
    pub fn parts(&self) -> usize {
        1 + self.more.len()
    }

    /// One of the parts.
    #[inline]
    pub fn part(&self, number: usize) -> &Part {
        match number {
            0 => &self.first,
            n => &self.more[n - 1],
        }
    }

    fn part_mut(&mut self, number: usize) -> &mut Part {
        match number {
            0 => &mut self.first,
            n => &mut self.more[n - 1],
        }
    }

    /// Whether a set of permissions is known to allow publishing this subject.
    #[inline]
    pub fn is_allowed(&self, permissions: u64) -> bool {
        self.allowed[0] == permissions || self.allowed[1] == permissions
    }

    /// Notes the groups that are in several accounts, and takes the first importing account to the
    /// front, where nobody else is: what is published in one account and heard in one other is as
    /// common as both in one.
    pub(super) fn settle(&mut self) {
        let parts = self.more.iter().enumerate();
        for (before, part) in parts {
            for &GroupPick { queue, .. } in &part.groups {
                let has = |part: &Part| part.groups.iter().any(|pick| pick.queue == queue);
                if !self.shared.contains(&queue)
                    && (has(&self.first) || self.more[..before].iter().any(has))
                {
                    self.shared.push(queue);
                }
            }
        }
        if self.first.is_empty() && !self.more.is_empty() {
            let first = self.more.remove(0);
            let nobody = std::mem::replace(&mut self.first, first);
            self.keep_spare(nobody);
        }
    }

    /// A part to be begun.
    pub(super) fn spare_part(&mut self) -> Part {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a part that is not needed.
    pub(super) fn keep_spare(&mut self, part: Part) {
        if self.spare.len() < PARTS_KEPT {
            self.spare.push(part);
        }
    }

    /// Adds a part, unless it has nobody.
    pub(super) fn add(&mut self, part: Part) {
        match part.is_empty() {
            true => self.keep_spare(part),
            false => self.more.push(part),
        }
    }
}

/// What a lookup reads first: 16 bytes, so that the tags of all slots stay in cache.
#[derive(Clone, Copy, Debug)]
struct Tag {
    hash: u64,
    /// Upper half of the hash of the last contender.
    contender: u32,
    /// The slot is taken if this is the cache's generation.
    generation: u32,
}

#[derive(Debug, Default)]
struct Slot {
    subject: Vec<u8>,
    account: u32,
    plan: Plan,
}

/// What subjects with one plan have in common.
#[derive(Debug, Default)]
struct Prefix {
    /// They begin with it, and no pattern without wildcards is one of them.
    text: Vec<u8>,
    /// Separators behind that.
    separators: usize,
    account: u32,
    /// It is good if this is the cache's generation.
    generation: u32,
}

impl Prefix {
    #[inline]
    fn fits(&self, account: AccountId, subject: &[u8]) -> bool {
        if self.account != account.0 {
            return false;
        }
        let Some(rest) = subject.strip_prefix(&self.text[..]) else {
            return false;
        };
        // A token must not be empty.
        let (mut separators, mut start) = (0, 0);
        for at in memchr::memchr_iter(b'.', rest) {
            if at == start {
                return false;
            }
            start = at + 1;
            separators += 1;
        }
        separators == self.separators && start < rest.len()
    }
}

/// Plans made before, by subject.
#[derive(Debug)]
pub struct PlanCache {
    tags: Box<[Tag]>,
    slots: Box<[Slot]>,
    prefixes: [Prefix; PREFIXES],
    generation: u32,
}

impl Default for PlanCache {
    fn default() -> Self {
        let empty = Tag {
            hash: 0,
            contender: 0,
            generation: 0,
        };
        Self {
            // Some more for the scratch slot and those of prefixes, which hold no single subject.
            tags: vec![empty; PLAN_CACHE_SLOTS + 1 + PREFIXES].into_boxed_slice(),
            slots: (0..PLAN_CACHE_SLOTS + 1 + PREFIXES)
                .map(|_| Slot::default())
                .collect(),
            prefixes: Default::default(),
            generation: 1,
        }
    }
}

impl PlanCache {
    /// The plan at `plan`.
    #[inline]
    pub fn get(&self, plan: PlanId) -> &Plan {
        &self.slots[plan as usize].plan
    }

    /// The account in whose name space the plan's subject is.
    pub fn account(&self, plan: PlanId) -> AccountId {
        AccountId(self.slots[plan as usize].account)
    }

    /// Takes the queue groups out of a part, to be put back before the router is used again.
    pub fn take_groups(&mut self, plan: PlanId, part: usize) -> Vec<GroupPick> {
        std::mem::take(&mut self.slots[plan as usize].plan.part_mut(part).groups)
    }

    /// Puts the queue groups back.
    pub fn put_groups(&mut self, plan: PlanId, part: usize, groups: Vec<GroupPick>) {
        self.slots[plan as usize].plan.part_mut(part).groups = groups;
    }

    /// Remembers that a set of permissions allows publishing the plan's subject.
    pub fn allow(&mut self, plan: PlanId, permissions: u64) {
        if plan < SCRATCH {
            let allowed = &mut self.slots[plan as usize].plan.allowed;
            *allowed = [permissions, allowed[0]];
        }
    }

    /// Whether `plan` is this subject's, and still good.
    #[inline]
    pub fn holds(&self, plan: PlanId, account: AccountId, subject: &[u8]) -> bool {
        let slot = &self.slots[plan as usize];
        self.tags[plan as usize].generation == self.generation
            && bytes::same(&slot.subject, subject)
            && slot.account == account.0
    }

    /// The subject's plan, or the slot in which to make one.
    #[inline]
    pub(super) fn find(
        &mut self,
        account: AccountId,
        subject: &[u8],
        hash: u64,
    ) -> Result<PlanId, PlanId> {
        let hash = slot_hash(account, hash);
        let place = hash as usize & (PLAN_CACHE_SLOTS - 1);
        let tag = &mut self.tags[place];
        if tag.generation != self.generation {
            return Err(place as PlanId);
        }
        if tag.hash == hash {
            let slot = &self.slots[place];
            let same = bytes::same(&slot.subject, subject) && slot.account == account.0;
            return if same {
                Ok(place as PlanId)
            } else {
                Err(SCRATCH)
            };
        }
        let contender = (hash >> 32) as u32;
        if tag.contender == contender {
            Err(place as PlanId)
        } else {
            tag.contender = contender;
            Err(SCRATCH)
        }
    }

    /// Where the plan of subjects that begin like this one has its slot.
    #[inline]
    fn prefix_place(subject: &[u8]) -> Option<usize> {
        let key = u128::from_le_bytes(*subject.first_chunk::<PREFIX_KEY_BYTES>()?);
        let key = (key ^ (key >> 64)) as u64;
        Some((key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize)
    }

    /// The plan of subjects that begin like this one, if it is a plan for this one as well unless a
    /// pattern without wildcards is just this subject.
    #[inline]
    pub(super) fn find_by_prefix(&self, account: AccountId, subject: &[u8]) -> Option<PlanId> {
        let place = Self::prefix_place(subject)?;
        let prefix = &self.prefixes[place];
        let is_its = prefix.generation == self.generation && prefix.fits(account, subject);
        is_its.then_some(SCRATCH + 1 + place as PlanId)
    }

    /// Turns a plan of [`PlanCache::find_by_prefix`] into this subject's.
    #[inline]
    pub(super) fn lend(&mut self, plan: PlanId, subject: &[u8], hash: u64) {
        let first = &mut self.slots[plan as usize].plan.first;
        first.hash = hash;
        first.head.set(b"MSG ", subject);
    }

    /// The plan, which is this subject's, is that of all that begin with its first `bytes` bytes and have
    /// as many tokens.
    pub(super) fn keep_prefix(
        &mut self,
        account: AccountId,
        subject: &[u8],
        bytes: usize,
        plan: PlanId,
    ) {
        let Some(place) = Self::prefix_place(subject) else {
            return;
        };
        let prefix = &mut self.prefixes[place];
        prefix.text.clear();
        prefix.text.extend_from_slice(&subject[..bytes]);
        prefix.separators = memchr::memchr_iter(b'.', &subject[bytes..]).count();
        prefix.account = account.0;
        prefix.generation = self.generation;
        let (slots, shared) = self.slots.split_at_mut(SCRATCH as usize + 1);
        shared[place].account = account.0;
        shared[place].plan.clone_from(&slots[plan as usize].plan);
    }

    /// Gives a subject a slot and returns its plan, empty.
    pub(super) fn begin(
        &mut self,
        slot: PlanId,
        account: AccountId,
        subject: &[u8],
        hash: u64,
    ) -> &mut Plan {
        let Slot {
            subject: known,
            account: whose,
            plan,
        } = &mut self.slots[slot as usize];
        plan.first.begin(account, hash, None);
        plan.first.head.set(b"MSG ", subject);
        while let Some(part) = plan.more.pop() {
            plan.keep_spare(part);
        }
        plan.services.clear();
        plan.shared.clear();
        plan.allowed = [0; ALLOWED_KEPT];
        *whose = account.0;
        if slot != SCRATCH {
            known.clear();
            known.extend_from_slice(subject);
            self.tags[slot as usize] = Tag {
                hash: slot_hash(account, hash),
                contender: 0,
                generation: self.generation,
            };
        }
        plan
    }

    /// Forgets the plan of the subject with this hash.
    pub(super) fn forget(&mut self, account: AccountId, hash: u64) {
        let hash = slot_hash(account, hash);
        let tag = &mut self.tags[hash as usize & (PLAN_CACHE_SLOTS - 1)];
        if tag.hash == hash {
            tag.generation = 0;
        }
    }

    /// Forgets all plans.
    pub(super) fn forget_all(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
    }
}

/// Accounts use the same subjects; their plans have slots of their own.
#[inline]
fn slot_hash(account: AccountId, hash: u64) -> u64 {
    hash ^ u64::from(account.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
