//! What a consumer tells of itself: events without the names that all of them
//! have in common. Made only when somebody listens; how they are written, `api::advisories` knows.

use super::Home;
use crate::jetstream::api::advisories::{self, Action, Advisory, Delivery};
use crate::jetstream::api::time::NEVER;
use crate::jetstream::{Now, Outlet};
use crate::store::{Seq, UnixNanos};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Created,
    Deleted,
    Paused {
        until: Option<UnixNanos>,
        is_paused: bool,
    },
    Acked {
        consumer_seq: u64,
        stream_seq: Seq,
        ack_time: i64,
        deliveries: u64,
    },
    MaxDeliveries {
        stream_seq: Seq,
        deliveries: u64,
    },
    Naked {
        consumer_seq: u64,
        stream_seq: Seq,
        deliveries: u64,
    },
    Terminated {
        consumer_seq: u64,
        stream_seq: Seq,
        deliveries: u64,
        reason: &'a str,
    },
    Pinned {
        group: &'a str,
        id: &'a str,
    },
    Unpinned {
        group: &'a str,
        reason: &'a str,
    },
}

impl<'a> Event<'a> {
    fn advisory(&self, consumer: &'a str, home: &'a Home) -> Advisory<'a> {
        let (account, stream) = (home.account.as_str(), home.stream.as_str());
        let delivery = |consumer_seq, stream_seq, deliveries| Delivery {
            stream,
            consumer,
            consumer_seq,
            stream_seq,
            deliveries,
        };
        let action = |action| Advisory::Consumer {
            stream,
            consumer,
            action,
        };
        match *self {
            Self::Created => action(Action::Create),
            Self::Deleted => action(Action::Delete),
            Self::Paused { until, is_paused } => Advisory::Pause {
                stream,
                consumer,
                paused: is_paused,
                until: until.unwrap_or(NEVER),
            },
            Self::Acked {
                consumer_seq,
                stream_seq,
                ack_time,
                deliveries,
            } => Advisory::Acknowledged(delivery(consumer_seq, stream_seq, deliveries), ack_time),
            Self::MaxDeliveries {
                stream_seq,
                deliveries,
            } => Advisory::MaxDeliveries(delivery(0, stream_seq, deliveries)),
            Self::Naked {
                consumer_seq,
                stream_seq,
                deliveries,
            } => Advisory::Naked(delivery(consumer_seq, stream_seq, deliveries)),
            Self::Terminated {
                consumer_seq,
                stream_seq,
                deliveries,
                reason,
            } => Advisory::Terminated(delivery(consumer_seq, stream_seq, deliveries), reason),
            Self::Pinned { group, id } => Advisory::Pinned {
                account,
                stream,
                consumer,
                group,
                pin: id,
            },
            Self::Unpinned { group, reason } => Advisory::Unpinned {
                account,
                stream,
                consumer,
                group,
                reason,
            },
        }
    }

    /// Tells it to those who listen.
    pub fn tell(&self, consumer: &str, now: Now, home: &Home, outlet: &mut impl Outlet) {
        let advisory = self.advisory(consumer, home);
        advisories::publish(&advisory, now.unix, &home.domain, outlet);
    }
}
