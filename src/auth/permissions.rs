//! Whether a user may publish to a subject, subscribe to a pattern, and be given a message.
//!
//! Made once for each set of rules; asked on the message path, but not for each message: answers
//! are remembered with the plan of the subject. Knows no connection: replies that a subscriber is
//! allowed for a while are counted by its session.
//!
//! An allowed subject is looked up in an [`Index`] of the rules, so that a question costs the same
//! whether there are three rules or three thousand, and allocates nothing.
//!
//! Deny rules count where they overlap with a subscription, not only where they cover it
//! (GHSA-wh7g), and a queue entry never takes a plain deny back (GHSA-jx8g).

use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::definition::{PermissionRules, ResponseRules};
use crate::subject::{self, COMPARED_MAX, Compiled, Index, SubjectHash};

/// The answer to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaySubscribe {
    /// No.
    No,
    /// Yes, and every message that matches may be delivered.
    All,
    /// Yes, but some messages that match are denied: ask for each subject.
    Some,
}

/// Compiled rules.
#[derive(Debug)]
pub struct Permissions {
    id: u64,
    rules: PermissionRules,
    publish_allow: Option<Entries>,
    publish_deny: Entries,
    subscribe_allow: Option<Entries>,
    subscribe_deny: Entries,
}

impl Permissions {
    /// Compiles rules.
    ///
    /// # Errors
    /// An entry is no valid subject; the text says which.
    pub fn new(rules: PermissionRules) -> Result<Self, String> {
        let list = |entries: &[String], may_have_queue| Entries::new(entries, may_have_queue);
        let (publish, subscribe) = (&rules.publish, &rules.subscribe);
        let publish_allow = match &publish.allow {
            Some(entries) => Some(list(entries, false)?),
            None => None,
        };
        let publish_deny = list(&publish.deny, false)?;
        let subscribe_allow = match &subscribe.allow {
            Some(entries) => Some(list(entries, true)?),
            None => None,
        };
        let subscribe_deny = list(&subscribe.deny, true)?;
        // Tells sets apart, nothing else: what is decided does not depend on it.
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            rules,
            publish_allow,
            publish_deny,
            subscribe_allow,
            subscribe_deny,
        })
    }

    /// A number that no other set of permissions of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The rules it was made from.
    pub fn rules(&self) -> &PermissionRules {
        &self.rules
    }

    /// Whether `subject` may be published to, replies aside.
    pub fn may_publish(&self, subject: &[u8]) -> bool {
        if let Some(allow) = &self.publish_allow
            && !allow.match_plain(subject)
        {
            return false;
        }
        !self.publish_deny.match_plain(subject)
    }

    /// Whether `pattern` may be subscribed to; `queue` is empty for none.
    pub fn may_subscribe(&self, pattern: &[u8], queue: &[u8]) -> MaySubscribe {
        if let Some(allow) = &self.subscribe_allow
            && !allow.allow_subscription(pattern, queue)
        {
            return MaySubscribe::No;
        }
        // A pattern is looked up here as if it were a subject: its wildcards are tokens that only
        // wildcards match. So `foo.*` denies `foo.>` as a whole, as it does in nats-server, though
        // it does not cover it.
        if !self.may_deliver(pattern, queue) {
            return MaySubscribe::No;
        }
        if !subject::is_literal(pattern) && self.subscribe_deny.overlap(pattern, queue) {
            return MaySubscribe::Some;
        }
        MaySubscribe::All
    }

    /// Whether a message on `subject` may be delivered to a subscription in `queue`.
    pub fn may_deliver(&self, subject: &[u8], queue: &[u8]) -> bool {
        let (plain, queued) = self.subscribe_deny.find(subject, queue, |_| true);
        !plain && queued != Some(true)
    }

    /// Which replies are allowed in addition.
    pub fn responses(&self) -> Option<ResponseRules> {
        self.rules.responses
    }
}

/// What the rules say of one pattern.
#[derive(Debug, Default)]
struct Entry {
    /// There is a rule without a queue.
    plain: bool,
    /// Queues of the rules with one, which may have wildcards.
    queues: SmallVec<[Box<[u8]>; 1]>,
}

impl Entry {
    fn has_queue(&self, queue: &[u8]) -> bool {
        self.queues
            .iter()
            .any(|rule| **rule == *queue || subject::is_subset(queue, rule))
    }

    /// Whether it concerns a subscription in this queue, or in none if it is empty.
    fn concerns(&self, queue: &[u8]) -> bool {
        self.plain || (!queue.is_empty() && self.has_queue(queue))
    }
}

/// One list of rules.
#[derive(Debug)]
struct Entries {
    /// All patterns, where there are few; empty where there are many.
    few: Vec<Compiled>,
    index: Index,
    /// By the index's entry ids.
    entries: Vec<Entry>,
}

impl Entries {
    fn new(rules: &[String], may_have_queue: bool) -> Result<Self, String> {
        // Rules are the operator's: nobody else can choose some that collide.
        let mut index = Index::new(SubjectHash::new(0));
        let mut entries: Vec<Entry> = Vec::new();
        for rule in rules {
            let (pattern, queue) = split_rule(rule, may_have_queue)?;
            let (id, _) = index.insert(pattern.as_bytes());
            let id = id as usize;
            if entries.len() <= id {
                entries.resize_with(id + 1, Entry::default);
            }
            match queue {
                Some(queue) => entries[id].queues.push(queue.as_bytes().into()),
                None => entries[id].plain = true,
            }
        }
        let ids = 0..entries.len() as u32;
        let few = match entries.len() {
            ..=COMPARED_MAX => ids.map(|id| Compiled::new(index.text(id))).collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            few,
            index,
            entries,
        })
    }

    fn match_plain(&self, subject: &[u8]) -> bool {
        if !self.few.is_empty() {
            return self.few.iter().any(|pattern| pattern.matches(subject));
        }
        let mut matched = false;
        if !self.index.is_empty() {
            self.index
                .for_each_match(subject, self.index.hasher().of(subject), |_| matched = true);
        }
        matched
    }

    /// Whether a rule without a queue matches, and whether one with a queue that matches has this
    /// queue (`None` if there is none, or the subscription has no queue).
    fn find(
        &self,
        subject: &[u8],
        queue: &[u8],
        counts: impl Fn(&[u8]) -> bool,
    ) -> (bool, Option<bool>) {
        let (mut plain, mut queued) = (false, None);
        if self.index.is_empty() {
            return (plain, queued);
        }
        let hash = self.index.hasher().of(subject);
        self.index.for_each_match(subject, hash, |id| {
            if !counts(self.index.text(id)) {
                return;
            }
            let entry = &self.entries[id as usize];
            plain |= entry.plain;
            if !queue.is_empty() && !entry.queues.is_empty() {
                queued = Some(queued == Some(true) || entry.has_queue(queue));
            }
        });
        (plain, queued)
    }

    /// Whether rules that allow cover this subscription. Where there are rules with a queue, they
    /// decide for those in queues, and plain ones do not.
    ///
    /// What is found must cover the pattern: nats-server takes its wildcards for words here too, so
    /// that who may have `foo.*` gets all of `foo.>` there.
    fn allow_subscription(&self, pattern: &[u8], queue: &[u8]) -> bool {
        let covers = |rule: &[u8]| subject::is_subset(pattern, rule);
        let (plain, queued) = self.find(pattern, queue, covers);
        // A pattern without wildcards is in the literal table, others are found by the tree.
        queued.unwrap_or(plain)
    }

    /// Whether a rule concerns some of the subjects that this subscription matches.
    fn overlap(&self, pattern: &[u8], queue: &[u8]) -> bool {
        self.entries.iter().enumerate().any(|(id, entry)| {
            entry.concerns(queue) && subject::collide(self.index.text(id as u32), pattern)
        })
    }
}

/// Splits `subject` or `subject queue`.
fn split_rule(rule: &str, may_have_queue: bool) -> Result<(&str, Option<&str>), String> {
    let valid = |part: &str| subject::is_valid_pattern(part.as_bytes());
    if valid(rule) {
        return Ok((rule, None));
    }
    let mut parts = rule.split_ascii_whitespace();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(pattern), Some(queue), None) if may_have_queue => {
            if !valid(pattern) {
                return Err(format!("subject {pattern:?} is not a valid subject"));
            }
            if !valid(queue) {
                return Err(format!("queue {queue:?} is not a valid queue"));
            }
            Ok((pattern, Some(queue)))
        }
        _ => Err(format!("subject {rule:?} is not a valid subject")),
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
