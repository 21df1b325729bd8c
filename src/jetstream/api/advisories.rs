//! What JetStream says unasked: events of streams and consumers, and measured acknowledgements.
//! It does not know who listens; nothing needs to be written if nobody does.
//!
//! Advisories of consumers and streams are published in their account; [`Advisory::OutOfStorage`]
//! and [`Advisory::ApiLimitReached`] in the system account.

use crate::jetstream::{Outlet, letters};
use crate::store::{Seq, UnixNanos};

use super::encode::{self, Object};
use super::responses::StreamState;

/// Characters of an advisory's id.
const ID_CHARACTERS: usize = 22;

/// Whose advisory it is, and when.
#[derive(Clone, Copy, Debug)]
struct Envelope<'a> {
    /// Different for each; see [`id`].
    id: &'a str,
    /// When it happened.
    now: UnixNanos,
    /// The server's domain, or nothing.
    domain: &'a str,
}

/// A new id.
pub fn id(number: impl FnMut() -> u64) -> String {
    letters::random(ID_CHARACTERS, number)
}

/// Publishes an advisory in the account that an outlet leads to, if somebody listens.
pub fn publish(advisory: &Advisory<'_>, now: UnixNanos, domain: &str, outlet: &mut impl Outlet) {
    let mut subject = Vec::new();
    advisory.subject(&mut subject);
    if !outlet.has_interest(&subject) {
        return;
    }
    let payload = advisory.written(now, domain, || outlet.random());
    outlet.publish_anew(&subject, b"", b"", &payload);
}

/// What was done to a stream or consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was made.
    Create,
    /// It was changed. Of streams only.
    Modify,
    /// It is gone.
    Delete,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Modify => "modify",
            Action::Delete => "delete",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Action::Create => "CREATED",
            Action::Modify => "UPDATED",
            Action::Delete => "DELETED",
        }
    }
}

/// Why a batch came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// It did not go on.
    Timeout,
    /// It had too many messages.
    Large,
    /// Some of its messages did not arrive.
    Incomplete,
    /// It needs a newer server.
    Unsupported,
}

impl Abandoned {
    fn name(self) -> &'static str {
        match self {
            Abandoned::Timeout => "timeout",
            Abandoned::Large => "large",
            Abandoned::Incomplete => "incomplete",
            Abandoned::Unsupported => "unsupported",
        }
    }
}

/// One message of one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Of which stream.
    pub stream: &'a str,
    /// By which consumer.
    pub consumer: &'a str,
    /// Counted in its deliveries.
    pub consumer_seq: u64,
    /// The message's sequence.
    pub stream_seq: Seq,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// Something that happened. `client` is who asked for it, as `Nats-Request-Info` has it without
/// the token: JSON, or nothing where nobody did.
#[derive(Clone, Copy, Debug)]
pub enum Advisory<'a> {
    /// A request to the API was answered.
    Api {
        /// The server's name.
        server: &'a str,
        /// Who asked.
        client: &'a [u8],
        /// On which subject.
        subject: &'a [u8],
        /// With which body.
        request: &'a [u8],
        /// The answer.
        response: &'a [u8],
    },
    /// A stream was made, changed or deleted.
    Stream {
        /// Which.
        stream: &'a str,
        /// What was done.
        action: Action,
    },
    /// A consumer was made or deleted.
    Consumer {
        /// Of which stream.
        stream: &'a str,
        /// Which.
        consumer: &'a str,
        /// What was done.
        action: Action,
    },
    /// A consumer was paused, or goes on.
    Pause {
        /// Of which stream.
        stream: &'a str,
        /// Which.
        consumer: &'a str,
        /// Whether it is paused.
        paused: bool,
        /// Until when; `NEVER` when it goes on.
        until: UnixNanos,
    },
    /// A sampled message was acknowledged, so long after it was delivered.
    Acknowledged(Delivery<'a>, i64),
    /// A message was delivered as often as it may be and not acknowledged.
    MaxDeliveries(Delivery<'a>),
    /// A message was refused by who got it.
    Naked(Delivery<'a>),
    /// A message will not be delivered any more, for this reason.
    Terminated(Delivery<'a>, &'a str),
    /// A snapshot begins.
    SnapshotCreate {
        /// Of which stream.
        stream: &'a str,
        /// What it holds.
        state: &'a StreamState<'a>,
        /// Who asked.
        client: &'a [u8],
    },
    /// A snapshot has ended.
    SnapshotComplete {
        /// Of which stream.
        stream: &'a str,
        /// When it began.
        start: UnixNanos,
        /// When it ended.
        end: UnixNanos,
        /// Who asked.
        client: &'a [u8],
        /// Why it failed, or nothing.
        error: &'a str,
    },
    /// A restore begins.
    RestoreCreate {
        /// Of which stream.
        stream: &'a str,
        /// Who asked.
        client: &'a [u8],
    },
    /// A restore has ended.
    RestoreComplete {
        /// Of which stream.
        stream: &'a str,
        /// When it began.
        start: UnixNanos,
        /// When it ended.
        end: UnixNanos,
        /// How many bytes came.
        bytes: i64,
        /// Who asked.
        client: &'a [u8],
    },
    /// A batch came to nothing. The account is said by servers of a cluster only.
    BatchAbandoned {
        /// To which stream.
        stream: &'a str,
        /// The batch.
        batch: &'a str,
        /// Why.
        reason: Abandoned,
    },
    /// A client is served alone in its priority group from now on.
    Pinned {
        /// The account's name.
        account: &'a str,
        /// Of which stream.
        stream: &'a str,
        /// By which consumer.
        consumer: &'a str,
        /// In which group.
        group: &'a str,
        /// The pin.
        pin: &'a str,
    },
    /// And no more.
    Unpinned {
        /// The account's name.
        account: &'a str,
        /// Of which stream.
        stream: &'a str,
        /// By which consumer.
        consumer: &'a str,
        /// In which group.
        group: &'a str,
        /// `admin` or `timeout`.
        reason: &'a str,
    },
    /// The disk is full.
    OutOfStorage {
        /// The server's name.
        server: &'a str,
        /// The server's id.
        server_id: &'a str,
        /// Which stream found out, or nothing.
        stream: &'a str,
    },
    /// More requests came than may wait.
    ApiLimitReached {
        /// The server's name.
        server: &'a str,
        /// How many were dropped.
        dropped: i64,
    },
}

impl Advisory<'_> {
    /// Appends the subject that it is published to.
    pub fn subject(&self, out: &mut Vec<u8>) {
        let (kind, stream, consumer) = match *self {
            Advisory::Api { .. } => ("ADVISORY.API", "", ""),
            Advisory::Stream { stream, action } => {
                out.extend_from_slice(b"$JS.EVENT.ADVISORY.STREAM.");
                tokens(out, action.subject(), stream, "");
                return;
            }
            Advisory::Consumer {
                stream,
                consumer,
                action,
            } => {
                out.extend_from_slice(b"$JS.EVENT.ADVISORY.CONSUMER.");
                tokens(out, action.subject(), stream, consumer);
                return;
            }
            Advisory::Pause {
                stream, consumer, ..
            } => ("ADVISORY.CONSUMER.PAUSE", stream, consumer),
            Advisory::Acknowledged(of, _) => ("METRIC.CONSUMER.ACK", of.stream, of.consumer),
            Advisory::MaxDeliveries(of) => {
                ("ADVISORY.CONSUMER.MAX_DELIVERIES", of.stream, of.consumer)
            }
            Advisory::Naked(of) => ("ADVISORY.CONSUMER.MSG_NAKED", of.stream, of.consumer),
            Advisory::Terminated(of, _) => {
                ("ADVISORY.CONSUMER.MSG_TERMINATED", of.stream, of.consumer)
            }
            Advisory::SnapshotCreate { stream, .. } => {
                ("ADVISORY.STREAM.SNAPSHOT_CREATE", stream, "")
            }
            Advisory::SnapshotComplete { stream, .. } => {
                ("ADVISORY.STREAM.SNAPSHOT_COMPLETE", stream, "")
            }
            Advisory::RestoreCreate { stream, .. } => {
                ("ADVISORY.STREAM.RESTORE_CREATE", stream, "")
            }
            Advisory::RestoreComplete { stream, .. } => {
                ("ADVISORY.STREAM.RESTORE_COMPLETE", stream, "")
            }
            Advisory::BatchAbandoned { stream, .. } => {
                ("ADVISORY.STREAM.BATCH_ABANDONED", stream, "")
            }
            Advisory::Pinned {
                stream, consumer, ..
            } => ("ADVISORY.CONSUMER.PINNED", stream, consumer),
            Advisory::Unpinned {
                stream, consumer, ..
            } => ("ADVISORY.CONSUMER.UNPINNED", stream, consumer),
            Advisory::OutOfStorage { .. } => ("ADVISORY.SERVER.OUT_OF_STORAGE", "", ""),
            Advisory::ApiLimitReached { .. } => ("ADVISORY.API.LIMIT_REACHED", "", ""),
        };
        out.extend_from_slice(b"$JS.EVENT.");
        tokens(out, kind, stream, consumer);
    }

    /// Its JSON, with a new id.
    pub fn written(&self, now: UnixNanos, domain: &str, number: impl FnMut() -> u64) -> Vec<u8> {
        let id = id(number);
        let envelope = Envelope {
            id: &id,
            now,
            domain,
        };
        let mut out = Vec::new();
        self.render(&envelope, &mut out);
        out
    }

    /// Appends its JSON.
    fn render(&self, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        let kind = object.key("type");
        kind.extend_from_slice(b"\"io.nats.jetstream.");
        kind.extend_from_slice(self.kind().as_bytes());
        kind.push(b'"');
        object.string("id", envelope.id);
        object.time("timestamp", envelope.now);
        self.fields(envelope, &mut object);
        object.end();
    }

    /// The end of its type.
    fn kind(&self) -> &'static str {
        match self {
            Advisory::Api { .. } => "advisory.v1.api_audit",
            Advisory::Stream { .. } => "advisory.v1.stream_action",
            Advisory::Consumer { .. } => "advisory.v1.consumer_action",
            Advisory::Pause { .. } => "advisory.v1.consumer_pause",
            Advisory::Acknowledged(..) => "metric.v1.consumer_ack",
            Advisory::MaxDeliveries(_) => "advisory.v1.max_deliver",
            Advisory::Naked(_) => "advisory.v1.nak",
            Advisory::Terminated(..) => "advisory.v1.terminated",
            Advisory::SnapshotCreate { .. } => "advisory.v1.snapshot_create",
            Advisory::SnapshotComplete { .. } => "advisory.v1.snapshot_complete",
            Advisory::RestoreCreate { .. } => "advisory.v1.restore_create",
            Advisory::RestoreComplete { .. } => "advisory.v1.restore_complete",
            Advisory::BatchAbandoned { .. } => "advisory.v1.stream_batch_abandoned",
            Advisory::Pinned { .. } => "advisory.v1.consumer_group_pinned",
            Advisory::Unpinned { .. } => "advisory.v1.consumer_group_unpinned",
            Advisory::OutOfStorage { .. } => "advisory.v1.server_out_of_space",
            Advisory::ApiLimitReached { .. } => "advisory.v1.api_limit_reached",
        }
    }

    /// What is its own. The domain is mostly last, but not always.
    fn fields(&self, envelope: &Envelope<'_>, object: &mut Object<'_>) {
        let domain =
            |object: &mut Object<'_>| object.string_unless_empty("domain", envelope.domain);
        match *self {
            Advisory::Api {
                server,
                client: asker,
                subject,
                request,
                response,
            } => {
                object.string("server", server);
                client(object, asker);
                encode::text(object.key("subject"), subject);
                if !request.is_empty() {
                    encode::text(object.key("request"), request);
                }
                encode::text(object.key("response"), response);
                domain(object);
            }
            Advisory::Stream { stream, action } => {
                object.string("stream", stream);
                object.string("action", action.name());
                domain(object);
            }
            Advisory::Consumer {
                stream,
                consumer,
                action,
            } => {
                object.string("stream", stream);
                object.string("consumer", consumer);
                object.string("action", action.name());
                domain(object);
            }
            Advisory::Pause {
                stream,
                consumer,
                paused,
                until,
            } => {
                object.string("stream", stream);
                object.string("consumer", consumer);
                object.boolean("paused", paused);
                object.time("pause_until", until);
                domain(object);
            }
            Advisory::Acknowledged(of, after_ns) => {
                names_and_seqs(object, &of);
                object.integer("ack_time", after_ns);
                object.unsigned("deliveries", of.deliveries);
                domain(object);
            }
            Advisory::MaxDeliveries(of) => {
                object.string("stream", of.stream);
                object.string("consumer", of.consumer);
                object.unsigned("stream_seq", of.stream_seq);
                object.unsigned("deliveries", of.deliveries);
                domain(object);
            }
            Advisory::Naked(of) => {
                names_and_seqs(object, &of);
                object.unsigned("deliveries", of.deliveries);
                domain(object);
            }
            Advisory::Terminated(of, reason) => {
                names_and_seqs(object, &of);
                object.unsigned("deliveries", of.deliveries);
                object.string_unless_empty("reason", reason);
                domain(object);
            }
            Advisory::SnapshotCreate {
                stream,
                state,
                client: asker,
            } => {
                object.string("stream", stream);
                state.render(object.key("state"));
                client(object, asker);
                domain(object);
            }
            Advisory::SnapshotComplete {
                stream,
                start,
                end,
                client: asker,
                error,
            } => {
                object.string("stream", stream);
                object.time("start", start);
                object.time("end", end);
                client(object, asker);
                domain(object);
                object.string_unless_empty("error", error);
            }
            Advisory::RestoreCreate {
                stream,
                client: asker,
            } => {
                object.string("stream", stream);
                client(object, asker);
                domain(object);
            }
            Advisory::RestoreComplete {
                stream,
                start,
                end,
                bytes,
                client: asker,
            } => {
                object.string("stream", stream);
                object.time("start", start);
                object.time("end", end);
                object.integer("bytes", bytes);
                client(object, asker);
                domain(object);
            }
            Advisory::BatchAbandoned {
                stream,
                batch,
                reason,
            } => {
                object.string("stream", stream);
                domain(object);
                object.string("batch", batch);
                object.string("reason", reason.name());
            }
            Advisory::Pinned {
                account,
                stream,
                consumer,
                group,
                pin,
            } => {
                object.string_unless_empty("account", account);
                object.string("stream", stream);
                object.string("consumer", consumer);
                domain(object);
                object.string("group", group);
                object.string("pinned_id", pin);
            }
            Advisory::Unpinned {
                account,
                stream,
                consumer,
                group,
                reason,
            } => {
                object.string_unless_empty("account", account);
                object.string("stream", stream);
                object.string("consumer", consumer);
                domain(object);
                object.string("group", group);
                object.string("reason", reason);
            }
            Advisory::OutOfStorage {
                server,
                server_id,
                stream,
            } => {
                object.string("server", server);
                object.string("server_id", server_id);
                object.string_unless_empty("stream", stream);
                object.string("cluster", "");
                domain(object);
            }
            Advisory::ApiLimitReached { server, dropped } => {
                object.string("server", server);
                domain(object);
                object.integer("dropped", dropped);
            }
        }
    }
}

fn tokens(out: &mut Vec<u8>, kind: &str, stream: &str, consumer: &str) {
    out.extend_from_slice(kind.as_bytes());
    for name in [stream, consumer] {
        if !name.is_empty() {
            out.push(b'.');
            out.extend_from_slice(name.as_bytes());
        }
    }
}

fn names_and_seqs(object: &mut Object<'_>, of: &Delivery<'_>) {
    object.string("stream", of.stream);
    object.string("consumer", of.consumer);
    object.unsigned("consumer_seq", of.consumer_seq);
    object.unsigned("stream_seq", of.stream_seq);
}

fn client(object: &mut Object<'_>, json: &[u8]) {
    if json.is_empty() {
        object.null("client");
    } else {
        object.key("client").extend_from_slice(json);
    }
}

#[cfg(test)]
mod tests {
    use super::super::time::{NEVER, parse};
    use super::*;

    /// Recorded from nats-server 2.15.1, with another id and time.
    #[test]
    fn advisories_are_those_of_nats_server() {
        let envelope = Envelope {
            id: "ID",
            now: 0,
            domain: "",
        };
        let check = |advisory: Advisory<'_>, subject: &str, expected: &str| {
            let mut out = Vec::new();
            advisory.subject(&mut out);
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("$JS.EVENT.{subject}")
            );
            let mut out = Vec::new();
            advisory.render(&envelope, &mut out);
            let (kind, rest) = expected.split_once(' ').unwrap();
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!(
                    r#"{{"type":"io.nats.jetstream.{kind}","id":"ID","timestamp":"1970-01-01T00:00:00Z",{rest}}}"#
                )
            );
        };
        let client = br#"{"id":5,"acc":"$G"}"#;
        check(
            Advisory::Api {
                server: "S",
                client,
                subject: b"$JS.API.STREAM.DELETE.A",
                request: b"",
                response: br#"{"success":true}"#,
            },
            "ADVISORY.API",
            r#"advisory.v1.api_audit "server":"S","client":{"id":5,"acc":"$G"},"subject":"$JS.API.STREAM.DELETE.A","response":"{\"success\":true}""#,
        );
        check(
            Advisory::Stream {
                stream: "A",
                action: Action::Modify,
            },
            "ADVISORY.STREAM.UPDATED.A",
            r#"advisory.v1.stream_action "stream":"A","action":"modify""#,
        );
        check(
            Advisory::Consumer {
                stream: "A",
                consumer: "p",
                action: Action::Create,
            },
            "ADVISORY.CONSUMER.CREATED.A.p",
            r#"advisory.v1.consumer_action "stream":"A","consumer":"p","action":"create""#,
        );
        check(
            Advisory::Pause {
                stream: "A",
                consumer: "p",
                paused: false,
                until: NEVER,
            },
            "ADVISORY.CONSUMER.PAUSE.A.p",
            r#"advisory.v1.consumer_pause "stream":"A","consumer":"p","paused":false,"pause_until":"0001-01-01T00:00:00Z""#,
        );
        let delivery = Delivery {
            stream: "A",
            consumer: "p",
            consumer_seq: 3,
            stream_seq: 4,
            deliveries: 1,
        };
        check(
            Advisory::Acknowledged(delivery, 323_881),
            "METRIC.CONSUMER.ACK.A.p",
            r#"metric.v1.consumer_ack "stream":"A","consumer":"p","consumer_seq":3,"stream_seq":4,"ack_time":323881,"deliveries":1"#,
        );
        check(
            Advisory::MaxDeliveries(delivery),
            "ADVISORY.CONSUMER.MAX_DELIVERIES.A.p",
            r#"advisory.v1.max_deliver "stream":"A","consumer":"p","stream_seq":4,"deliveries":1"#,
        );
        check(
            Advisory::Naked(delivery),
            "ADVISORY.CONSUMER.MSG_NAKED.A.p",
            r#"advisory.v1.nak "stream":"A","consumer":"p","consumer_seq":3,"stream_seq":4,"deliveries":1"#,
        );
        check(
            Advisory::Terminated(delivery, "hi"),
            "ADVISORY.CONSUMER.MSG_TERMINATED.A.p",
            r#"advisory.v1.terminated "stream":"A","consumer":"p","consumer_seq":3,"stream_seq":4,"deliveries":1,"reason":"hi""#,
        );
        let state = StreamState {
            state: crate::store::State {
                messages: 4,
                bytes: 160,
                first_seq: 1,
                first_time: parse("2026-11-21T14:26:16.2870262Z").unwrap(),
                last_seq: 4,
                last_time: parse("2026-11-21T14:26:16.287486093Z").unwrap(),
                subjects: 1,
                deleted: 0,
            },
            consumers: 1,
            ..StreamState::default()
        };
        check(
            Advisory::SnapshotCreate {
                stream: "A",
                state: &state,
                client,
            },
            "ADVISORY.STREAM.SNAPSHOT_CREATE.A",
            r#"advisory.v1.snapshot_create "stream":"A","state":{"messages":4,"bytes":160,"first_seq":1,"first_ts":"2026-11-21T14:26:16.2870262Z","last_seq":4,"last_ts":"2026-11-21T14:26:16.287486093Z","num_subjects":1,"consumer_count":1},"client":{"id":5,"acc":"$G"}"#,
        );
        check(
            Advisory::SnapshotComplete {
                stream: "A",
                start: 0,
                end: 500_000_000,
                client: b"",
                error: "",
            },
            "ADVISORY.STREAM.SNAPSHOT_COMPLETE.A",
            r#"advisory.v1.snapshot_complete "stream":"A","start":"1970-01-01T00:00:00Z","end":"1970-01-01T00:00:00.5Z","client":null"#,
        );
        check(
            Advisory::RestoreCreate {
                stream: "B",
                client,
            },
            "ADVISORY.STREAM.RESTORE_CREATE.B",
            r#"advisory.v1.restore_create "stream":"B","client":{"id":5,"acc":"$G"}"#,
        );
        check(
            Advisory::RestoreComplete {
                stream: "B",
                start: 0,
                end: 0,
                bytes: 7,
                client,
            },
            "ADVISORY.STREAM.RESTORE_COMPLETE.B",
            r#"advisory.v1.restore_complete "stream":"B","start":"1970-01-01T00:00:00Z","end":"1970-01-01T00:00:00Z","bytes":7,"client":{"id":5,"acc":"$G"}"#,
        );
        check(
            Advisory::BatchAbandoned {
                stream: "A",
                batch: "b1",
                reason: Abandoned::Incomplete,
            },
            "ADVISORY.STREAM.BATCH_ABANDONED.A",
            r#"advisory.v1.stream_batch_abandoned "stream":"A","batch":"b1","reason":"incomplete""#,
        );
        check(
            Advisory::Pinned {
                account: "$G",
                stream: "A",
                consumer: "g",
                group: "g",
                pin: "PIN",
            },
            "ADVISORY.CONSUMER.PINNED.A.g",
            r#"advisory.v1.consumer_group_pinned "account":"$G","stream":"A","consumer":"g","group":"g","pinned_id":"PIN""#,
        );
        check(
            Advisory::Unpinned {
                account: "$G",
                stream: "A",
                consumer: "g",
                group: "g",
                reason: "admin",
            },
            "ADVISORY.CONSUMER.UNPINNED.A.g",
            r#"advisory.v1.consumer_group_unpinned "account":"$G","stream":"A","consumer":"g","group":"g","reason":"admin""#,
        );
        check(
            Advisory::OutOfStorage {
                server: "S",
                server_id: "N",
                stream: "",
            },
            "ADVISORY.SERVER.OUT_OF_STORAGE",
            r#"advisory.v1.server_out_of_space "server":"S","server_id":"N","cluster":"""#,
        );
        check(
            Advisory::ApiLimitReached {
                server: "S",
                dropped: 9,
            },
            "ADVISORY.API.LIMIT_REACHED",
            r#"advisory.v1.api_limit_reached "server":"S","dropped":9"#,
        );
    }

    #[test]
    fn the_domain_stands_where_nats_server_has_it() {
        let envelope = Envelope {
            id: "ID",
            now: 0,
            domain: "hub",
        };
        let check = |advisory: Advisory<'_>, expected: &str| {
            let mut out = Vec::new();
            advisory.render(&envelope, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(expected), "{text}");
        };
        check(
            Advisory::Stream {
                stream: "A",
                action: Action::Delete,
            },
            r#""action":"delete","domain":"hub"}"#,
        );
        check(
            Advisory::ApiLimitReached {
                server: "S",
                dropped: 1,
            },
            r#""domain":"hub","dropped":1}"#,
        );
    }
}
