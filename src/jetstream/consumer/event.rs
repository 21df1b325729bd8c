//! Advisories and metrics of a consumer (nats-features §5.8): typed values, and their JSON. Made
//! only when somebody listens.

use serde::Serialize;

use super::{Home, id};
use crate::jetstream::api::time;
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

/// All fields of all events, in the order in which they are shown.
#[derive(Default, Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    stream: &'a str,
    consumer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "reason")]
    term_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// The middle of the subject, and the last part of the type.
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Created => ("ADVISORY.CONSUMER.CREATED", "advisory.v1.consumer_action"),
            Self::Deleted => ("ADVISORY.CONSUMER.DELETED", "advisory.v1.consumer_action"),
            Self::Paused { .. } => ("ADVISORY.CONSUMER.PAUSE", "advisory.v1.consumer_pause"),
            Self::Acked { .. } => ("METRIC.CONSUMER.ACK", "metric.v1.consumer_ack"),
            Self::MaxDeliveries { .. } => (
                "ADVISORY.CONSUMER.MAX_DELIVERIES",
                "advisory.v1.max_deliver",
            ),
            Self::Naked { .. } => ("ADVISORY.CONSUMER.MSG_NAKED", "advisory.v1.nak"),
            Self::Terminated { .. } => {
                ("ADVISORY.CONSUMER.MSG_TERMINATED", "advisory.v1.terminated")
            }
            Self::Pinned { .. } => (
                "ADVISORY.CONSUMER.PINNED",
                "advisory.v1.consumer_group_pinned",
            ),
            Self::Unpinned { .. } => (
                "ADVISORY.CONSUMER.UNPINNED",
                "advisory.v1.consumer_group_unpinned",
            ),
        }
    }

    fn body(&self, account: &'a str) -> Body<'a> {
        let mut body = Body::default();
        match *self {
            Self::Created => body.action = Some("create"),
            Self::Deleted => body.action = Some("delete"),
            Self::Paused { until, is_paused } => {
                body.paused = Some(is_paused);
                body.pause_until = Some(written(until.unwrap_or(time::NEVER)));
            }
            Self::Acked {
                consumer_seq,
                stream_seq,
                ack_time,
                deliveries,
            } => {
                body.consumer_seq = Some(consumer_seq);
                body.stream_seq = Some(stream_seq);
                body.ack_time = Some(ack_time);
                body.deliveries = Some(deliveries);
            }
            Self::MaxDeliveries {
                stream_seq,
                deliveries,
            } => {
                body.stream_seq = Some(stream_seq);
                body.deliveries = Some(deliveries);
            }
            Self::Naked {
                consumer_seq,
                stream_seq,
                deliveries,
            } => {
                body.consumer_seq = Some(consumer_seq);
                body.stream_seq = Some(stream_seq);
                body.deliveries = Some(deliveries);
            }
            Self::Terminated {
                consumer_seq,
                stream_seq,
                deliveries,
                reason,
            } => {
                body.consumer_seq = Some(consumer_seq);
                body.stream_seq = Some(stream_seq);
                body.deliveries = Some(deliveries);
                body.term_reason = (!reason.is_empty()).then_some(reason);
            }
            Self::Pinned { group, id } => {
                body.account = Some(account);
                body.group = Some(group);
                body.pinned_id = Some(id);
            }
            Self::Unpinned { group, reason } => {
                body.account = Some(account);
                body.group = Some(group);
                body.reason = Some(reason);
            }
        }
        body
    }

    /// Tells it to those who listen.
    pub fn tell(&self, consumer: &str, now: Now, home: &Home, outlet: &mut impl Outlet) {
        let (subject, kind) = self.names();
        let subject = format!("$JS.EVENT.{subject}.{}.{consumer}", home.stream);
        if !outlet.has_interest(subject.as_bytes()) {
            return;
        }
        let body = Body {
            kind: format!("io.nats.jetstream.{kind}"),
            id: id::new(|| outlet.random()),
            timestamp: written(now.unix),
            stream: &home.stream,
            consumer,
            domain: &home.domain,
            ..self.body(&home.account)
        };
        let json = serde_json::to_vec(&body).expect("plain fields always serialise");
        outlet.publish_anew(subject.as_bytes(), b"", b"", &json);
    }
}

fn written(time: UnixNanos) -> String {
    let mut text = Vec::new();
    time::write(&mut text, time);
    String::from_utf8_lossy(&text).into_owned()
}
