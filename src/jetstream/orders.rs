//! What the shards' parts of JetStream say to each other.

use std::sync::Arc;

use super::config::StreamConfig;
use crate::base::ids::{AccountId, ConnId, ShardId};

/// A message that somebody published to JetStream itself: a request or an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In this account's name space.
    pub account: AccountId,
    /// Who has published it.
    pub publisher: (ShardId, ConnId),
    /// What others must know of that shard's interest to reach with an answer who waits for it.
    pub interest: u64,
    /// What was published to.
    pub subject: Box<[u8]>,
    /// Where to answer; empty for nowhere.
    pub reply: Box<[u8]>,
    /// The whole header block, or nothing.
    pub headers: Box<[u8]>,
    /// What follows it.
    pub payload: Box<[u8]>,
    /// What is shown of the publisher in advisories, or nothing.
    pub client: Box<[u8]>,
}

/// What a shard holds of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Bytes on disk.
    pub storage_bytes: u64,
    /// Consumers.
    pub consumers: u64,
    /// Requests to the API.
    pub requests: u64,
    /// Of which were answered with errors.
    pub errors: u64,
}

impl Usage {
    /// Adds another's.
    pub fn add(&mut self, other: &Usage) {
        self.memory_bytes += other.memory_bytes;
        self.storage_bytes += other.storage_bytes;
        self.consumers += other.consumers;
        self.requests += other.requests;
        self.errors += other.errors;
    }
}

/// An order from one shard to another.
#[derive(Debug)]
pub enum Order {
    /// To where the stream is, or to the shard that knows all streams.
    Request(Box<Request>),
    /// To the home of a new stream: make it, and answer the request.
    Create {
        /// Whose.
        account: AccountId,
        /// Checked.
        config: Box<StreamConfig>,
        /// What asked for it.
        request: Box<Request>,
        /// The number of this decision.
        decision: u64,
    },
    /// To the home of a stream: this is its configuration now; answer the request.
    Update {
        /// Whose.
        account: AccountId,
        /// Checked.
        config: Box<StreamConfig>,
        /// What asked for it.
        request: Box<Request>,
        /// The number of this decision.
        decision: u64,
    },
    /// To all: a stream lives there, with this configuration.
    Located {
        /// Whose.
        account: AccountId,
        /// Where.
        home: ShardId,
        /// What.
        config: Arc<StreamConfig>,
        /// The last decision that its home knows.
        decision: u64,
    },
    /// To all: there is no such stream any more.
    Gone {
        /// Whose.
        account: AccountId,
        /// Which.
        name: Box<str>,
        /// The last decision that its home knew.
        decision: u64,
    },
    /// To all: what a shard holds of an account.
    Usage {
        /// Whose.
        account: AccountId,
        /// How much.
        usage: Usage,
    },
    /// To the home of streams: describe them.
    Describe {
        /// Number of the question on the asking shard.
        question: u64,
        /// Whose.
        account: AccountId,
        /// Which.
        names: Vec<Box<str>>,
    },
    /// To all: say what an account uses there.
    AskUsage {
        /// Number of the question on the asking shard.
        question: u64,
        /// Whose.
        account: AccountId,
    },
    /// To the home of streams: remove them.
    Drop {
        /// Number of the question on the asking shard.
        question: u64,
        /// Whose.
        account: AccountId,
        /// Which.
        names: Vec<Box<str>>,
    },
    /// The answer; to a request for descriptions with JSON objects by name.
    Answered {
        /// Number of the question.
        question: u64,
        /// What there is.
        streams: Vec<(Box<str>, Vec<u8>)>,
    },
    /// To all: what lives on a shard was told before this, and nothing that is on its disks is missing.
    Recovered,
    /// To the shard that decides: a stream is on the disks of a shard and could not be brought back.
    LeftAlone {
        /// Name of the account, which may not be known.
        account: Box<str>,
        /// Which.
        name: Box<str>,
    },
    /// To all: how many batches have begun on a shard and not ended, atomic ones and fast ones.
    Batches(usize, usize),
}

impl Order {
    /// About how many bytes it takes on its way.
    pub fn size(&self) -> usize {
        let own = size_of::<Self>();
        own + match self {
            Self::Request(request)
            | Self::Create { request, .. }
            | Self::Update { request, .. } => {
                request.subject.len()
                    + request.headers.len()
                    + request.payload.len()
                    + request.client.len()
                    + 64
            }
            Self::Located { .. }
            | Self::Gone { .. }
            | Self::Usage { .. }
            | Self::AskUsage { .. }
            | Self::Recovered
            | Self::Batches(..) => 0,
            Self::LeftAlone { account, name } => account.len() + name.len(),
            Self::Describe { names, .. } | Self::Drop { names, .. } => names.len() * 32,
            Self::Answered { streams, .. } => streams.iter().map(|(_, json)| json.len() + 32).sum(),
        }
    }
}
