//! Who gets a message: the interest of this shard's connections, of the other shards, and the
//! plan for a subject made from both.
//!
//! Each shard holds all interest of the server, but people only for its own connections: of
//! another shard it knows, per pattern, *that* it has plain subscribers, and per queue group how
//! many members. So a publish crosses to a shard once, whatever the fan-out there.
//!
//! A router knows no session and no bytes: connections are numbers here, and what is sent is the
//! shard's business.
//!
//! Costs per literal subscription with a subject of its own, on the shard of its connection:
//! 48 bytes here, 16 for the interest, 5–6 in the table by id, and what the index takes
//! (`subject::index`): together about 140 with a subject of 20 bytes.

mod links;
pub mod plan;
mod queues;

use hashbrown::HashTable;
use smallvec::SmallVec;

use std::sync::Arc;

use crate::auth::accounts::Directory;
use crate::base::ids::{AccountId, ShardId};
use crate::base::sid::Sid;
use crate::base::slab::Slab;
use crate::subject::{EntryId, Index, SubjectHash};
use links::Links;
pub use plan::{GroupPick, Part, Plan, PlanCache, PlanId, ServiceLeg, Via};
pub use queues::{QueueId, Queues};

/// A subscription's place in its shard.
pub type SubId = u32;
/// A queue group's place in its shard.
pub type GroupId = u32;

/// Where requests to the system account begin.
const SYSTEM_REQUESTS: &[u8] = b"$SYS.REQ.";

/// One of so many subjects is asked for what it has in common with others.
const PLANS_PER_PREFIX: u32 = 8;

/// No subscription, no group.
pub const NONE: u32 = u32::MAX;

/// One subscription of a connection of this shard.
#[derive(Debug, Default)]
pub struct Sub {
    /// Slot of the connection.
    pub conn: u32,
    /// The pattern.
    pub entry: EntryId,
    /// The queue group, or [`NONE`].
    pub group: GroupId,
    /// Whether `Router::max_of` knows a maximum, or `checked`: it takes the long way.
    pub special: bool,
    /// Each message is checked before it is delivered: some are denied.
    pub checked: bool,
    /// The account of pattern and group.
    pub account: u16,
    /// The client's id for it.
    pub sid: Sid,
    /// Messages delivered since it began.
    pub delivered: u64,
    conn_next: SubId,
    conn_prev: SubId,
    /// For a plain one, its neighbours in the pattern's list; for a queue member `peer_prev` is
    /// its place among the members.
    peer_next: SubId,
    peer_prev: SubId,
}

/// What hangs on one pattern.
#[derive(Debug)]
struct Interest {
    /// Plain subscriptions of this shard.
    first: SubId,
    /// Queue groups with a member on any shard.
    groups: GroupId,
    /// Other shards with plain subscriptions.
    remote: u64,
}

impl Default for Interest {
    fn default() -> Self {
        Self {
            first: NONE,
            groups: NONE,
            remote: 0,
        }
    }
}

impl Interest {
    fn is_empty(&self) -> bool {
        self.first == NONE && self.groups == NONE && self.remote == 0
    }
}

/// A queue group on one pattern.
#[derive(Debug, Default)]
pub struct Group {
    /// Its name.
    pub queue: QueueId,
    /// Members of this shard.
    pub members: Vec<SubId>,
    /// Members on other shards.
    pub remote: SmallVec<[(ShardId, u32); 2]>,
    next: GroupId,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.remote.is_empty()
    }
}

/// Interest of this shard that the others must know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterestChange {
    /// Whose subjects.
    pub account: AccountId,
    /// The pattern.
    pub subject: Box<[u8]>,
    /// The queue group; empty for plain interest.
    pub queue: Box<[u8]>,
    /// Members of the group on this shard now; for plain interest 1 or 0.
    pub members: u32,
}

#[derive(Debug)]
struct Account {
    index: Index,
    interest: Vec<Interest>,
    /// What it exports and imports; most accounts of most servers do neither.
    links: Option<Box<Links>>,
}

impl Account {
    fn new(hash: &SubjectHash) -> Self {
        Self {
            index: Index::new(hash.clone()),
            interest: Vec::new(),
            links: None,
        }
    }
}

/// What a plan is made from.
#[derive(Clone, Copy)]
struct Tables<'a> {
    accounts: &'a [Account],
    subs: &'a Slab<Sub>,
    groups: &'a Slab<Group>,
    directory: &'a Directory,
    hasher: &'a SubjectHash,
}

impl Tables<'_> {
    /// Adds everybody who has subscribed to `subject` in `account` to `part`.
    fn fill(&self, part: &mut Part, account: AccountId, subject: &[u8], hash: u64) {
        let Account {
            index, interest, ..
        } = &self.accounts[account.0 as usize];
        index.for_each_match(subject, hash, |entry| {
            let interest = &interest[entry as usize];
            part.remote |= interest.remote;
            let mut sub = interest.first;
            while sub != NONE {
                part.plain.push(sub);
                sub = self.subs[sub].peer_next;
            }
            let mut group = interest.groups;
            while group != NONE {
                part.add_group(self.groups[group].queue, group);
                group = self.groups[group].next;
            }
        });
    }
}

/// The interest of all accounts.
#[derive(Debug)]
pub struct Router {
    hash: SubjectHash,
    accounts: Vec<Account>,
    directory: Arc<Directory>,
    /// Subscriptions of this shard's connections.
    pub subs: Slab<Sub>,
    /// Queue groups with a member anywhere.
    pub groups: Slab<Group>,
    /// Names of queue groups.
    pub queues: Queues,
    /// Plans made before.
    pub plans: PlanCache,
    by_sid: HashTable<SubId>,
    long_sids: Slab<Box<[u8]>>,
    maxima: hashbrown::HashMap<SubId, u64>,
    /// Plans made for subjects that may come once.
    made: u32,
}

impl Router {
    /// No interest yet.
    pub fn new(hash: SubjectHash) -> Self {
        Self {
            accounts: vec![Account::new(&hash)],
            directory: Arc::new(Directory::bare()),
            hash,
            subs: Slab::default(),
            groups: Slab::default(),
            queues: Queues::default(),
            plans: PlanCache::default(),
            by_sid: HashTable::new(),
            long_sids: Slab::default(),
            maxima: hashbrown::HashMap::new(),
            made: 0,
        }
    }

    /// Members of a group, on all shards.
    pub fn members(&self, pick: &GroupPick) -> u32 {
        let of = |group: &Group| {
            let there: u32 = group.remote.iter().map(|&(_, members)| members).sum();
            group.members.len() as u32 + there
        };
        pick.groups
            .iter()
            .map(|&group| of(&self.groups[group]))
            .sum()
    }

    /// Patterns known, of all accounts and shards.
    pub fn patterns(&self) -> usize {
        self.accounts.iter().map(|a| a.index.len()).sum()
    }

    /// The connection's subscription with this id.
    pub fn find(&self, conn: u32, sid: &[u8]) -> Option<SubId> {
        self.by_sid
            .find(self.sid_hash(conn, sid), |&s| {
                self.subs[s].conn == conn && self.sid_is(self.subs[s].sid, sid)
            })
            .copied()
    }

    /// Adds a subscription; `first` is the head of the connection's list. The id must be free.
    pub fn subscribe(
        &mut self,
        account: AccountId,
        conn: u32,
        first: &mut SubId,
        subject: &[u8],
        queue: &[u8],
        sid: &[u8],
    ) -> Option<InterestChange> {
        let entry = self.entry_or_new(account, subject);
        self.forget_plans(account, entry);
        let sid_kept =
            Sid::inline(sid).unwrap_or_else(|| Sid::long(self.long_sids.insert(sid.into())));
        let sub = self.subs.insert(Sub {
            conn,
            entry,
            group: NONE,
            special: false,
            checked: false,
            account: account.0 as u16,
            sid: sid_kept,
            delivered: 0,
            conn_next: *first,
            conn_prev: NONE,
            peer_next: NONE,
            peer_prev: NONE,
        });
        if *first != NONE {
            self.subs[*first].conn_prev = sub;
        }
        *first = sub;
        let hash = self.sid_hash(conn, sid);
        let (subs, long_sids, hasher) = (&self.subs, &self.long_sids, &self.hash);
        self.by_sid.insert_unique(hash, sub, |&s| {
            let sub = &subs[s];
            with_sid_text(sub.sid, long_sids, |text| sid_hash(hasher, sub.conn, text))
        });
        let members = if queue.is_empty() {
            self.add_plain(account, entry, sub)?
        } else {
            self.add_member(account, entry, queue, sub)
        };
        Some(InterestChange {
            account,
            subject: subject.into(),
            queue: queue.into(),
            members,
        })
    }

    /// Removes a subscription; `first` is the head of its connection's list.
    pub fn unsubscribe(&mut self, sub: SubId, first: &mut SubId) -> Option<InterestChange> {
        let Sub {
            conn,
            entry,
            group,
            account,
            sid,
            conn_next,
            conn_prev,
            ..
        } = self.subs[sub];
        let account = AccountId(u32::from(account));
        self.forget_plans(account, entry);
        if conn_prev == NONE {
            *first = conn_next;
        } else {
            self.subs[conn_prev].conn_next = conn_next;
        }
        if conn_next != NONE {
            self.subs[conn_next].conn_prev = conn_prev;
        }
        let hash = with_sid_text(sid, &self.long_sids, |text| {
            sid_hash(&self.hash, conn, text)
        });
        if let Ok(found) = self.by_sid.find_entry(hash, |&s| s == sub) {
            found.remove();
        }
        if let Some(place) = sid.long_place() {
            self.long_sids.remove(place);
        }
        if self.subs[sub].special {
            self.maxima.remove(&sub);
        }
        let left = if group == NONE {
            self.remove_plain(account, entry, sub)
        } else {
            Some(self.remove_member(group, sub))
        };
        let change = left.map(|members| InterestChange {
            account,
            subject: self.account(account).index.text(entry).into(),
            queue: if group == NONE {
                Box::default()
            } else {
                self.queues.name(self.groups[group].queue).into()
            },
            members,
        });
        self.subs.remove(sub);
        if group != NONE {
            self.drop_group_if_empty(account, entry, group);
        }
        self.drop_entry_if_empty(account, entry);
        change
    }

    /// Another shard's interest: how many members (or, for plain interest, whether any).
    pub fn set_remote(
        &mut self,
        account: AccountId,
        subject: &[u8],
        queue: &[u8],
        shard: ShardId,
        members: u32,
    ) {
        let entry = self.entry_or_new(account, subject);
        self.forget_plans(account, entry);
        if queue.is_empty() {
            let interest = self.interest(account, entry);
            if members > 0 {
                interest.remote |= shard.bit();
            } else {
                interest.remote &= !shard.bit();
            }
        } else {
            let group = self.group_or_new(account, entry, queue);
            let remote = &mut self.groups[group].remote;
            remote.retain(|&mut (s, _)| s != shard);
            if members > 0 {
                remote.push((shard, members));
            }
            self.drop_group_if_empty(account, entry, group);
        }
        self.drop_entry_if_empty(account, entry);
    }

    /// Ends the subscription after `max` deliveries, counted from its start.
    pub fn set_max(&mut self, sub: SubId, max: u64) {
        self.subs[sub].special = true;
        self.maxima.insert(sub, max);
    }

    /// Has deliveries to the subscription take the long way.
    pub fn set_special(&mut self, sub: SubId) {
        self.subs[sub].special = true;
    }

    /// Has each delivery to the subscription checked.
    pub fn set_checked(&mut self, sub: SubId) {
        self.subs[sub].special = true;
        self.subs[sub].checked = true;
    }

    /// Has no delivery to the subscription checked any more. They take the long way still.
    pub fn clear_checked(&mut self, sub: SubId) {
        self.subs[sub].checked = false;
    }

    /// Deliveries after which a subscription ends.
    #[cold]
    pub fn max_of(&self, sub: SubId) -> u64 {
        self.maxima.get(&sub).copied().unwrap_or(u64::MAX)
    }

    /// The subscription after `sub` in its connection's list, or [`NONE`].
    pub fn next_of_conn(&self, sub: SubId) -> SubId {
        self.subs[sub].conn_next
    }

    /// The pattern of a subscription.
    pub fn subject_of(&self, sub: SubId) -> &[u8] {
        let Sub { account, entry, .. } = self.subs[sub];
        self.accounts[usize::from(account)].index.text(entry)
    }

    /// The queue of a subscription; empty for a plain one.
    pub fn queue_of(&self, sub: SubId) -> &[u8] {
        match self.subs[sub].group {
            NONE => &[],
            group => self.queues.name(self.groups[group].queue),
        }
    }

    /// The text of an id that is not stored in place.
    #[cold]
    pub fn long_sid(&self, place: u32) -> &[u8] {
        &self.long_sids[place]
    }

    /// The plan for a subject. `hint` is where the caller's last one was found.
    #[inline]
    pub fn route(&mut self, account: AccountId, subject: &[u8], hint: PlanId) -> PlanId {
        if self.plans.holds(hint, account, subject) {
            return hint;
        }
        self.route_hashed(account, subject, self.hash.of(subject))
    }

    /// As [`Self::route`], for somebody whose permissions are not remembered with the plan: subjects that
    /// come once may share one.
    #[inline]
    pub fn route_freely(&mut self, account: AccountId, subject: &[u8], hint: PlanId) -> PlanId {
        if self.plans.holds(hint, account, subject) {
            return hint;
        }
        self.route_once(account, subject)
    }

    /// As [`Self::route_freely`], for a subject that most probably is another each time.
    #[inline]
    pub fn route_once(&mut self, account: AccountId, subject: &[u8]) -> PlanId {
        let hash = self.hash.of(subject);
        if let Some(plan) = self.plans.find_by_prefix(account, subject)
            && !self.account(account).index.has_literal(subject, hash)
        {
            self.plans.lend(plan, subject, hash);
            return plan;
        }
        match self.plans.find(account, subject, hash) {
            Ok(plan) => plan,
            Err(slot) => {
                self.make_plan(account, subject, hash, slot);
                self.note_prefix(account, subject, hash, slot);
                slot
            }
        }
    }

    /// A plan was made: it may be that of many subjects.
    fn note_prefix(&mut self, account: AccountId, subject: &[u8], hash: u64, plan: PlanId) {
        self.made = self.made.wrapping_add(1);
        if !self.made.is_multiple_of(PLANS_PER_PREFIX) {
            return;
        }
        let Account { index, links, .. } = self.account(account);
        if links.is_some()
            || index.has_literal(subject, hash)
            || has_empty_token(subject)
            || subject.starts_with(SYSTEM_REQUESTS)
        {
            return;
        }
        let bytes = index.decisive_bytes(subject);
        if bytes < subject.len() {
            self.plans.keep_prefix(account, subject, bytes, plan);
        }
    }

    /// As [`Self::route`], with the subject's hash known.
    #[inline]
    pub fn route_hashed(&mut self, account: AccountId, subject: &[u8], hash: u64) -> PlanId {
        match self.plans.find(account, subject, hash) {
            Ok(plan) => plan,
            Err(slot) => {
                self.make_plan(account, subject, hash, slot);
                slot
            }
        }
    }

    /// Whether anybody of this account has subscribed to a subject, on whichever shard.
    pub fn is_heard(&self, account: AccountId, subject: &[u8]) -> bool {
        let mut is_heard = false;
        if let Some(Account { index, .. }) = self.accounts.get(account.0 as usize) {
            index.for_each_match(subject, self.hash.of(subject), |_| is_heard = true);
        }
        is_heard
    }

    /// Whether anybody of this account has subscribed to just that subject, on whichever shard.
    pub fn has_literal(&self, account: AccountId, subject: &[u8]) -> bool {
        let account = self.accounts.get(account.0 as usize);
        account.is_some_and(|account| account.index.find(subject).is_some())
    }

    /// Whether anybody of this account has subscribed to just that subject, on whichever shard: in this
    /// queue group, or with an empty one in none.
    pub fn has_literal_of(&self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool {
        let Some(Account {
            index, interest, ..
        }) = self.accounts.get(account.0 as usize)
        else {
            return false;
        };
        let Some(entry) = index.find(subject) else {
            return false;
        };
        let interest = &interest[entry as usize];
        if queue.is_empty() {
            return interest.first != NONE || interest.remote != 0;
        }
        let mut group = interest.groups;
        while group != NONE {
            if self.queues.name(self.groups[group].queue) == queue {
                return true;
            }
            group = self.groups[group].next;
        }
        false
    }

    /// The hasher for subjects.
    pub fn hasher(&self) -> &SubjectHash {
        &self.hash
    }

    #[inline(never)]
    fn make_plan(&mut self, account: AccountId, subject: &[u8], hash: u64, slot: PlanId) {
        self.ensure(account);
        let Self {
            accounts,
            subs,
            groups,
            plans,
            directory,
            hash: hasher,
            ..
        } = self;
        let plan = plans.begin(slot, account, subject, hash);
        // Subjects with an empty token can be published but reach nobody.
        if has_empty_token(subject) {
            return;
        }
        let tables = Tables {
            accounts,
            subs,
            groups,
            directory,
            hasher,
        };
        tables.fill(&mut plan.first, account, subject, hash);
        if accounts[account.0 as usize].links.is_some() {
            tables.follow_links(plan, account, subject, hash);
        }
        if subject.starts_with(SYSTEM_REQUESTS) {
            tables.follow_system(plan, subject);
        }
    }

    /// Makes room for an account that has not been spoken of before.
    fn ensure(&mut self, account: AccountId) {
        while self.accounts.len() <= account.0 as usize {
            self.accounts.push(Account::new(&self.hash));
        }
    }

    fn account(&self, account: AccountId) -> &Account {
        &self.accounts[account.0 as usize]
    }

    fn interest(&mut self, account: AccountId, entry: EntryId) -> &mut Interest {
        &mut self.accounts[account.0 as usize].interest[entry as usize]
    }

    fn entry_or_new(&mut self, account: AccountId, subject: &[u8]) -> EntryId {
        self.ensure(account);
        let Account {
            index, interest, ..
        } = &mut self.accounts[account.0 as usize];
        let (entry, _) = index.insert(subject);
        let place = entry as usize;
        if place >= interest.len() {
            if place >= interest.capacity() {
                interest.reserve_exact((place / 8).max(16));
            }
            interest.resize_with(place + 1, Interest::default);
        }
        entry
    }

    fn drop_entry_if_empty(&mut self, account: AccountId, entry: EntryId) {
        if self.interest(account, entry).is_empty() {
            self.accounts[account.0 as usize].index.remove(entry);
        }
    }

    /// Forgets the plans that a change of this pattern may touch: its own subject's when it is
    /// literal, and all of them otherwise.
    fn forget_plans(&mut self, account: AccountId, entry: EntryId) {
        let Account { index, links, .. } = &self.accounts[account.0 as usize];
        if !index.is_literal(entry) {
            self.plans.forget_all();
            return;
        }
        let subject = index.text(entry);
        self.plans.forget(account, self.hash.of(subject));
        if links.as_ref().is_some_and(|links| links.has_imports()) {
            let subject = subject.to_vec();
            self.forget_exporters(account, &subject);
        }
    }

    /// Returns 1 when this is the shard's first.
    fn add_plain(&mut self, account: AccountId, entry: EntryId, sub: SubId) -> Option<u32> {
        let first = std::mem::replace(&mut self.interest(account, entry).first, sub);
        self.subs[sub].peer_next = first;
        if first == NONE {
            return Some(1);
        }
        self.subs[first].peer_prev = sub;
        None
    }

    /// Returns 0 when it was the shard's last.
    fn remove_plain(&mut self, account: AccountId, entry: EntryId, sub: SubId) -> Option<u32> {
        let Sub {
            peer_next,
            peer_prev,
            ..
        } = self.subs[sub];
        if peer_next != NONE {
            self.subs[peer_next].peer_prev = peer_prev;
        }
        if peer_prev != NONE {
            self.subs[peer_prev].peer_next = peer_next;
            return None;
        }
        self.interest(account, entry).first = peer_next;
        (peer_next == NONE).then_some(0)
    }

    fn group_or_new(&mut self, account: AccountId, entry: EntryId, queue: &[u8]) -> GroupId {
        let queue = self.queues.intern(queue);
        let first = self.interest(account, entry).groups;
        let mut group = first;
        while group != NONE {
            if self.groups[group].queue == queue {
                self.queues.release(queue);
                return group;
            }
            group = self.groups[group].next;
        }
        let group = self.groups.insert(Group {
            queue,
            members: Vec::new(),
            remote: SmallVec::new(),
            next: first,
        });
        self.interest(account, entry).groups = group;
        group
    }

    fn drop_group_if_empty(&mut self, account: AccountId, entry: EntryId, group: GroupId) {
        if !self.groups[group].is_empty() {
            return;
        }
        let Group { queue, next, .. } = self.groups.remove(group);
        self.queues.release(queue);
        let mut before = self.interest(account, entry).groups;
        if before == group {
            self.interest(account, entry).groups = next;
            return;
        }
        while self.groups[before].next != group {
            before = self.groups[before].next;
        }
        self.groups[before].next = next;
    }

    fn add_member(&mut self, account: AccountId, entry: EntryId, queue: &[u8], sub: SubId) -> u32 {
        let group = self.group_or_new(account, entry, queue);
        let members = &mut self.groups[group].members;
        self.subs[sub].group = group;
        self.subs[sub].peer_prev = members.len() as u32;
        members.push(sub);
        members.len() as u32
    }

    fn remove_member(&mut self, group: GroupId, sub: SubId) -> u32 {
        let place = self.subs[sub].peer_prev;
        let members = &mut self.groups[group].members;
        members.swap_remove(place as usize);
        if let Some(&moved) = members.get(place as usize) {
            self.subs[moved].peer_prev = place;
        }
        self.groups[group].members.len() as u32
    }

    fn sid_hash(&self, conn: u32, sid: &[u8]) -> u64 {
        sid_hash(&self.hash, conn, sid)
    }

    fn sid_is(&self, sid: Sid, text: &[u8]) -> bool {
        match Sid::inline(text) {
            Some(inline) => inline == sid,
            None => with_sid_text(sid, &self.long_sids, |kept| kept == text),
        }
    }
}

fn sid_hash(hasher: &SubjectHash, conn: u32, sid: &[u8]) -> u64 {
    (hasher.of(sid) ^ u64::from(conn)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn with_sid_text<R>(sid: Sid, long_sids: &Slab<Box<[u8]>>, f: impl FnOnce(&[u8]) -> R) -> R {
    match sid.long_place() {
        Some(place) => f(&long_sids[place]),
        None => {
            let (word, len) = sid.word_and_len();
            f(&word.to_le_bytes()[..len - 1])
        }
    }
}

fn has_empty_token(subject: &[u8]) -> bool {
    let mut before = b'.';
    for &byte in subject {
        if byte == b'.' && before == b'.' {
            return true;
        }
        before = byte;
    }
    before == b'.'
}

#[cfg(test)]
mod tests;
