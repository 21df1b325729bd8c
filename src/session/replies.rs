//! Replies that a connection may publish to because it was sent a request (`allow_responses`).

use std::collections::HashMap;

use crate::auth::definition::ResponseRules;
use crate::base::deadlines::Millis;

/// Replies remembered before those that have expired are looked for.
const PRUNE_AT: usize = 4096;

#[derive(Debug)]
struct Allowed {
    since: Millis,
    used: u64,
}

/// Reply subjects of the requests that one connection was sent.
#[derive(Debug)]
pub struct Replies {
    rules: ResponseRules,
    allowed: HashMap<Box<[u8]>, Allowed>,
    prune_at: usize,
}

impl Replies {
    /// None yet.
    pub fn new(rules: ResponseRules) -> Self {
        Self {
            rules,
            allowed: HashMap::new(),
            prune_at: PRUNE_AT,
        }
    }

    /// A request with this reply subject is delivered.
    pub fn expect(&mut self, reply: &[u8], now: Millis) {
        if self.allowed.len() >= self.prune_at {
            let rules = self.rules;
            self.allowed.retain(|_, reply| is_open(&rules, reply, now));
            self.prune_at = PRUNE_AT.max(self.allowed.len() * 2);
        }
        let since = now;
        self.allowed
            .insert(reply.into(), Allowed { since, used: 0 });
    }

    /// Whether it may publish to `subject` now; counts it.
    pub fn take(&mut self, subject: &[u8], now: Millis) -> bool {
        let Some(reply) = self.allowed.get_mut(subject) else {
            return false;
        };
        if !is_open(&self.rules, reply, now) {
            self.allowed.remove(subject);
            return false;
        }
        reply.used += 1;
        true
    }
}

fn is_open(rules: &ResponseRules, reply: &Allowed, now: Millis) -> bool {
    let unused = rules.max.is_none_or(|max| reply.used < max);
    let in_time = rules
        .expires
        .is_none_or(|expires| now.saturating_sub(reply.since) as u128 <= expires.as_millis());
    unused && in_time
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_often_and_as_long_as_the_rules_say() {
        let second = Duration::from_secs(1);
        for (max, expires, publishes, expected) in [
            (Some(1), None, vec![0, 0], vec![true, false]),
            (Some(2), None, vec![0, 9, 9], vec![true, true, false]),
            (
                None,
                Some(second),
                vec![0, 1000, 1001],
                vec![true, true, false],
            ),
            (None, None, vec![0, 1 << 40], vec![true, true]),
        ] {
            let mut replies = Replies::new(ResponseRules { max, expires });
            replies.expect(b"r", 5);
            assert!(!replies.take(b"other", 5));
            let taken: Vec<bool> = publishes
                .into_iter()
                .map(|after| replies.take(b"r", 5 + after))
                .collect();
            assert_eq!(taken, expected, "{max:?} {expires:?}");
        }
    }

    #[test]
    fn expired_ones_are_forgotten() {
        let mut replies = Replies::new(ResponseRules::default());
        for number in 0..100_000u64 {
            replies.expect(&number.to_be_bytes(), number * 1000);
        }
        assert!(replies.allowed.len() <= PRUNE_AT);
    }
}
