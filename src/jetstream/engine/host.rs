//! What an engine can do outside of itself.

use super::accounts::AccountFacts;
use crate::base::ids::{AccountId, ConnId, ShardId};
use crate::jetstream::{Order, Outgoing, Reached};

/// A stream of this shard. Places are used again; what is on its way to a stream that is deleted must not
/// reach another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId {
    /// Where it is.
    pub place: u32,
    /// How many streams have had this place before.
    pub life: u32,
}

/// What a subscription of the house is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Stored in a stream of this shard.
    Stream(StreamId),
    /// What a mirror or a sourcing stream of this shard is fed with.
    Feed(StreamId),
    /// Said to JetStream itself.
    Api,
}

/// A message for a sink.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// In this account's name space.
    pub account: AccountId,
    /// Who has published it.
    pub publisher: (ShardId, ConnId),
    /// The last change of interest that the publisher's shard had told the others of by then.
    pub interest: u64,
    /// The subject by which it has come here.
    pub to: &'a [u8],
    /// What it was published to.
    pub subject: &'a [u8],
    /// Where answers go; empty for nowhere.
    pub reply: &'a [u8],
    /// The whole header block, or nothing.
    pub headers: &'a [u8],
    /// What follows it.
    pub payload: &'a [u8],
    /// What is shown of the publisher in advisories, where another shard has said it; or nothing.
    pub client: &'a [u8],
}

/// The world around an engine: its shard, or a test.
pub trait Host {
    /// The shard that it is part of.
    fn own(&self) -> ShardId;
    /// All accounts.
    fn accounts(&self) -> Vec<AccountFacts>;
    /// Has accounts of these names looked for: [`super::Engine::accounts_changed`] is called if any is
    /// found, and `Engine::accounts_were_sought` afterwards in any case.
    fn seek_accounts(&mut self, names: Vec<String>);
    /// What is shown of a client in advisories: a JSON object; nothing if it is not known.
    fn client(&self, publisher: (ShardId, ConnId)) -> Option<Vec<u8>>;
    /// Publishes in an account.
    fn publish(&mut self, account: AccountId, outgoing: &Outgoing<'_>) -> Reached;
    /// Whether somebody listens to a subject.
    fn has_interest(&mut self, account: AccountId, subject: &[u8]) -> bool;
    /// Whether somebody has subscribed to just that subject.
    fn has_literal_interest(&mut self, account: AccountId, subject: &[u8]) -> bool;
    /// Whether somebody has subscribed to just that subject, in this queue group, or with an empty one
    /// in none.
    fn is_subscribed(&mut self, account: AccountId, subject: &[u8], queue: &[u8]) -> bool;
    /// Has `Engine::interest_changed` called when somebody begins or ceases to listen.
    fn watch(&mut self, account: AccountId, subject: &[u8]);
    /// Ends it; as often as it was begun.
    fn unwatch(&mut self, account: AccountId, subject: &[u8]);
    /// Has messages that match a pattern arrive at a sink: those published on any shard, or only
    /// those of this one.
    fn listen(&mut self, account: AccountId, pattern: &[u8], sink: Sink, everywhere: bool) -> u32;
    /// Ends it.
    fn unlisten(&mut self, listen: u32);
    /// The number of the last change of interest that was told to other shards.
    fn interest_number(&self) -> u64;
    /// The same for what other shards were told of in orders before: a number that they acknowledge.
    fn fence(&mut self) -> u64;
    /// The number up to which all of them know it.
    fn interest_known(&self) -> u64;
    /// The number up to which this shard knows another one's interest.
    fn interest_seen(&self, of: ShardId) -> u64;
    /// Sends an order.
    fn order(&mut self, to: ShardId, order: Order);
    /// A random number.
    fn random(&mut self) -> u64;
    /// Writes a line for the operator.
    fn log(&mut self, is_error: bool, text: String);
}
