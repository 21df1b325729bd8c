//! What streams and consumers can do besides changing themselves.

use crate::base::deadlines::Millis;
use crate::store::UnixNanos;

/// One moment, on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For waiting; never goes back.
    pub mono_ms: Millis,
    /// For people; may jump.
    pub unix: UnixNanos,
}

/// A message that leaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing<'a> {
    /// Whose subscribers get it: a deliver subject, an inbox.
    pub to: &'a [u8],
    /// The subject that they see; mostly the same.
    pub subject: &'a [u8],
    /// The reply subject, or nothing.
    pub reply: &'a [u8],
    /// The whole header block, or nothing.
    pub headers: &'a [u8],
    /// What follows it.
    pub payload: &'a [u8],
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Nobody listens.
    Nobody,
    /// It was handed to somebody.
    Somebody,
    /// It was, and who got it has so much unsent that the next should wait for a moment.
    Full,
}

/// The way out of a stream or consumer, in the account that it belongs to.
pub trait Outlet {
    /// Publishes now. Messages of streams that must not leave before they are durable are not
    /// offered before (`Messages::durable_seq`).
    fn publish(&mut self, message: &Outgoing<'_>) -> Reached;

    /// Publishes once everything that was appended, removed or noted so far is durable:
    /// acknowledgements. In the order of the calls.
    fn publish_durable(&mut self, message: &Outgoing<'_>);

    /// Publishes a message as a client of the account would (republishing, schedules, advisories):
    /// mappings do not apply; other streams may capture it. Not called for its own stream again
    /// before this call has returned.
    fn publish_anew(&mut self, subject: &[u8], reply: &[u8], headers: &[u8], payload: &[u8]);

    /// Whether somebody listens to a subject.
    fn has_interest(&mut self, subject: &[u8]) -> bool;

    /// Whether somebody has subscribed to just that subject, and not only to more.
    fn has_literal_interest(&mut self, subject: &[u8]) -> bool {
        self.has_interest(subject)
    }

    /// Whether somebody has subscribed to just that subject, in this queue group, or with an empty one
    /// in none.
    fn is_subscribed(&mut self, subject: &[u8], _queue: &[u8]) -> bool {
        self.has_literal_interest(subject)
    }

    /// Begins to hear when interest in this subject comes or goes (`interest_changed`): what push
    /// consumers and waiting pulls hang on. The answer is whether there is some now.
    fn watch_interest(&mut self, subject: &[u8]) -> bool;

    /// Ends it.
    fn unwatch_interest(&mut self, subject: &[u8]);

    /// A random number: ids, and choices.
    fn random(&mut self) -> u64;
}
