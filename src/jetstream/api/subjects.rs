//! What a subject below `$JS.` asks for. It borrows from the subject and
//! knows no stream, consumer or account.
//!
//! Every publish passes [`Special::of`]: what does not begin with `$JS.` is let go after one
//! comparison.

use crate::jetstream::consumer::AckSubject;

/// What a publish to a subject of JetStream's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special<'s> {
    /// A request to the API.
    Api(Call<'s>),
    /// A publish to this subject instead: keys and objects reached through a domain.
    Instead(&'s [u8]),
    /// The acknowledgement of a message.
    Ack(AckSubject<'s>),
    /// The answer to a flow control request.
    FlowControl(FlowControlSubject<'s>),
    /// The acknowledgement of a chunk of a snapshot.
    SnapshotAck {
        /// Of which stream.
        stream: &'s str,
        /// Of which snapshot.
        id: &'s [u8],
    },
    /// A chunk of a stream that is being restored.
    RestoreChunk {
        /// Which stream.
        stream: &'s str,
        /// Which restore.
        id: &'s [u8],
    },
}

/// A request to the API. Names are as they stand in the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'s> {
    /// `INFO`.
    AccountInfo,
    /// `STREAM.CREATE.<stream>`.
    StreamCreate(&'s str),
    /// `STREAM.UPDATE.<stream>`.
    StreamUpdate(&'s str),
    /// `STREAM.NAMES`.
    StreamNames,
    /// `STREAM.LIST`.
    StreamList,
    /// `STREAM.INFO.<stream>`.
    StreamInfo(&'s str),
    /// `STREAM.DELETE.<stream>`.
    StreamDelete(&'s str),
    /// `STREAM.PURGE.<stream>`.
    StreamPurge(&'s str),
    /// `STREAM.SNAPSHOT.<stream>`.
    StreamSnapshot(&'s str),
    /// `STREAM.RESTORE.<stream>`.
    StreamRestore(&'s str),
    /// `STREAM.MSG.DELETE.<stream>`.
    MsgDelete(&'s str),
    /// `STREAM.MSG.GET.<stream>`.
    MsgGet(&'s str),
    /// `STREAM.PEER.REMOVE.<stream>`.
    StreamRemovePeer(&'s str),
    /// `STREAM.PEER.EVACUATE.<stream>`.
    StreamEvacuatePeer(&'s str),
    /// `STREAM.CANCEL_MOVE.<stream>`.
    StreamCancelMove(&'s str),
    /// `STREAM.LEADER.STEPDOWN.<stream>`.
    StreamLeaderStepdown(&'s str),
    /// `DIRECT.GET.<stream>`, or with a subject: the last of that.
    DirectGet {
        /// Of which stream.
        stream: &'s str,
        /// Of which subject.
        last_by_subject: Option<&'s [u8]>,
    },
    /// `CONSUMER.CREATE.<stream>`: an ephemeral one, or one whose name only the body says.
    ConsumerCreateUnnamed(&'s str),
    /// `CONSUMER.CREATE.<stream>.<consumer>` and perhaps a filter.
    ConsumerCreate {
        /// Of which stream.
        stream: &'s str,
        /// Its name.
        consumer: &'s str,
        /// What it wants.
        filter: Option<&'s str>,
    },
    /// `CONSUMER.DURABLE.CREATE.<stream>.<consumer>`.
    ConsumerDurableCreate {
        /// Of which stream.
        stream: &'s str,
        /// Its name.
        consumer: &'s str,
    },
    /// `CONSUMER.NAMES.<stream>`.
    ConsumerNames(&'s str),
    /// `CONSUMER.LIST.<stream>`.
    ConsumerList(&'s str),
    /// What is asked of one consumer.
    Consumer {
        /// Of which stream.
        stream: &'s str,
        /// Its name.
        consumer: &'s str,
        /// What.
        call: ConsumerCall,
    },
    /// `META.LEADER.STEPDOWN`, of the system account, as all that follow.
    MetaLeaderStepdown,
    /// `META.RESCUE`.
    MetaRescue,
    /// `SERVER.REMOVE`.
    ServerRemove,
    /// `SERVER.EVACUATE`.
    ServerEvacuate,
    /// `ACCOUNT.PURGE.<account>`.
    AccountPurge(&'s str),
    /// `ACCOUNT.…`, of which only clusters know the rest.
    Account,
    /// Something that nobody answers.
    Unknown,
}

/// What is asked of one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerCall {
    /// `CONSUMER.INFO.<stream>.<consumer>`.
    Info,
    /// `CONSUMER.DELETE.<stream>.<consumer>`.
    Delete,
    /// `CONSUMER.PAUSE.<stream>.<consumer>`.
    Pause,
    /// `CONSUMER.UNPIN.<stream>.<consumer>`.
    Unpin,
    /// `CONSUMER.RESET.<stream>.<consumer>`.
    Reset,
    /// `CONSUMER.MSG.NEXT.<stream>.<consumer>`.
    Next,
    /// `CONSUMER.LEADER.STEPDOWN.<stream>.<consumer>`.
    LeaderStepdown,
}

/// The reply subject of a flow control request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowControlSubject<'s> {
    /// The longer form's domain (`_` for none) and hash of the account.
    pub origin: Option<(&'s [u8], &'s [u8])>,
    /// Of which stream.
    pub stream: &'s str,
    /// Of which consumer.
    pub consumer: &'s str,
    /// Which request.
    pub id: &'s [u8],
}

const PREFIX: &[u8] = b"$JS.";

impl<'s> Special<'s> {
    /// What a publish to this subject is, if it is not like any other. `domain` is the server's own,
    /// or empty.
    #[inline]
    pub fn of(subject: &'s [u8], domain: &[u8]) -> Option<Self> {
        let (first, behind) = token(subject.strip_prefix(PREFIX)?);
        match (first, behind) {
            (b"API", Some(call)) => Some(Self::Api(Call::of(call))),
            (b"ACK", Some(_)) => AckSubject::parse(subject).map(Self::Ack),
            (b"FC", Some(behind)) => {
                FlowControlSubject::below_prefix(behind).map(Self::FlowControl)
            }
            (b"SNAPSHOT", Some(behind)) => Self::snapshot(behind),
            (own, Some(behind)) if own == domain && !domain.is_empty() => {
                let call = behind.strip_prefix(b"API.")?;
                let (first, more) = token(call);
                match (first, more) {
                    (b"$KV" | b"$OBJ", Some(_)) => Some(Self::Instead(call)),
                    (b"INFO", None)
                    | (
                        b"STREAM" | b"CONSUMER" | b"DIRECT" | b"META" | b"SERVER" | b"ACCOUNT",
                        Some(_),
                    ) => Some(Self::Api(Call::of(call))),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn snapshot(rest: &'s [u8]) -> Option<Self> {
        let (kind, rest) = token(rest);
        let (stream, id) = token(rest?);
        let (stream, id) = (text(stream)?, id?);
        match kind {
            b"ACK" => Some(Self::SnapshotAck { stream, id }),
            b"RESTORE" => Some(Self::RestoreChunk { stream, id }),
            _ => None,
        }
    }
}

impl<'s> Call<'s> {
    /// What stands behind `$JS.API.`.
    pub fn of(call: &'s [u8]) -> Self {
        Self::parse(call).unwrap_or(Call::Unknown)
    }

    fn parse(call: &'s [u8]) -> Option<Self> {
        let (kind, rest) = token(call);
        match (kind, rest) {
            (b"INFO", None) => Some(Call::AccountInfo),
            (b"STREAM", Some(rest)) => Self::stream(rest),
            (b"CONSUMER", Some(rest)) => Self::consumer(rest),
            (b"DIRECT", Some(rest)) => {
                let (stream, last_by_subject) = token(rest.strip_prefix(b"GET.")?);
                Some(Call::DirectGet {
                    stream: text(stream)?,
                    last_by_subject,
                })
            }
            (b"META", Some(b"LEADER.STEPDOWN")) => Some(Call::MetaLeaderStepdown),
            (b"META", Some(b"RESCUE")) => Some(Call::MetaRescue),
            (b"SERVER", Some(b"REMOVE")) => Some(Call::ServerRemove),
            (b"SERVER", Some(b"EVACUATE")) => Some(Call::ServerEvacuate),
            (b"ACCOUNT", Some(rest)) => Some(match token(rest) {
                (b"PURGE", Some(name)) => Call::AccountPurge(text(last(name)?)?),
                _ => Call::Account,
            }),
            _ => None,
        }
    }

    fn stream(rest: &'s [u8]) -> Option<Self> {
        let (verb, rest) = token(rest);
        let Some(rest) = rest else {
            return match verb {
                b"NAMES" => Some(Call::StreamNames),
                b"LIST" => Some(Call::StreamList),
                _ => None,
            };
        };
        // Verbs of two words have one token more.
        let (second, name) = token(rest);
        let Some(name) = name else {
            let stream = text(second)?;
            return match verb {
                b"CREATE" => Some(Call::StreamCreate(stream)),
                b"UPDATE" => Some(Call::StreamUpdate(stream)),
                b"INFO" => Some(Call::StreamInfo(stream)),
                b"DELETE" => Some(Call::StreamDelete(stream)),
                b"PURGE" => Some(Call::StreamPurge(stream)),
                b"SNAPSHOT" => Some(Call::StreamSnapshot(stream)),
                b"RESTORE" => Some(Call::StreamRestore(stream)),
                b"CANCEL_MOVE" => Some(Call::StreamCancelMove(stream)),
                _ => None,
            };
        };
        let stream = text(last(name)?)?;
        match (verb, second) {
            (b"MSG", b"DELETE") => Some(Call::MsgDelete(stream)),
            (b"MSG", b"GET") => Some(Call::MsgGet(stream)),
            (b"PEER", b"REMOVE") => Some(Call::StreamRemovePeer(stream)),
            (b"PEER", b"EVACUATE") => Some(Call::StreamEvacuatePeer(stream)),
            (b"LEADER", b"STEPDOWN") => Some(Call::StreamLeaderStepdown(stream)),
            _ => None,
        }
    }

    fn consumer(rest: &'s [u8]) -> Option<Self> {
        let (verb, rest) = token(rest);
        let rest = rest?;
        let call = match verb {
            b"CREATE" => return Self::create(rest),
            b"NAMES" => return Some(Call::ConsumerNames(text(last(rest)?)?)),
            b"LIST" => return Some(Call::ConsumerList(text(last(rest)?)?)),
            b"DURABLE" => {
                let (stream, consumer) = token(rest.strip_prefix(b"CREATE.")?);
                return Some(Call::ConsumerDurableCreate {
                    stream: text(stream)?,
                    consumer: text(last(consumer?)?)?,
                });
            }
            b"MSG" => (ConsumerCall::Next, rest.strip_prefix(b"NEXT.")?),
            b"LEADER" => (
                ConsumerCall::LeaderStepdown,
                rest.strip_prefix(b"STEPDOWN.")?,
            ),
            b"INFO" => (ConsumerCall::Info, rest),
            b"DELETE" => (ConsumerCall::Delete, rest),
            b"PAUSE" => (ConsumerCall::Pause, rest),
            b"UNPIN" => (ConsumerCall::Unpin, rest),
            b"RESET" => (ConsumerCall::Reset, rest),
            _ => return None,
        };
        let (call, names) = call;
        let (stream, consumer) = token(names);
        Some(Call::Consumer {
            stream: text(stream)?,
            consumer: text(last(consumer?)?)?,
            call,
        })
    }

    fn create(rest: &'s [u8]) -> Option<Self> {
        let (stream, rest) = token(rest);
        let stream = text(stream)?;
        let Some(rest) = rest else {
            return Some(Call::ConsumerCreateUnnamed(stream));
        };
        let (consumer, filter) = token(rest);
        Some(Call::ConsumerCreate {
            stream,
            consumer: text(consumer)?,
            filter: match filter {
                Some(filter) => Some(text(filter)?),
                None => None,
            },
        })
    }
}

impl<'s> FlowControlSubject<'s> {
    fn below_prefix(rest: &'s [u8]) -> Option<Self> {
        let tokens = memchr::memchr_iter(b'.', rest).count() + 1;
        let (origin, rest) = match tokens {
            3 => (None, rest),
            5 => {
                let (domain, rest) = token(rest);
                let (account, rest) = token(rest?);
                (Some((domain, account)), rest?)
            }
            _ => return None,
        };
        let (stream, rest) = token(rest);
        let (consumer, id) = token(rest?);
        Some(Self {
            origin,
            stream: text(stream)?,
            consumer: text(consumer)?,
            id: id?,
        })
    }
}

/// The first token, and what stands behind the dot after it.
#[inline]
fn token(subject: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'.', subject) {
        Some(dot) => (&subject[..dot], Some(&subject[dot + 1..])),
        None => (subject, None),
    }
}

/// The only token.
fn last(subject: &[u8]) -> Option<&[u8]> {
    match token(subject) {
        (only, None) => Some(only),
        _ => None,
    }
}

/// A name; those of streams and consumers are UTF-8 since they come from JSON.
fn text(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subject: &str) -> Option<Special<'_>> {
        Special::of(subject.as_bytes(), b"hub")
    }

    #[test]
    fn calls() {
        let check = |subject: &str, expected: Call<'_>| {
            let plain = format!("$JS.API.{subject}");
            assert_eq!(of(&plain), Some(Special::Api(expected)), "{plain}");
            if expected != Call::Unknown {
                let domain = format!("$JS.hub.API.{subject}");
                assert_eq!(of(&domain), Some(Special::Api(expected)), "{domain}");
            }
        };
        check("INFO", Call::AccountInfo);
        check("STREAM.CREATE.S", Call::StreamCreate("S"));
        check("STREAM.UPDATE.S", Call::StreamUpdate("S"));
        check("STREAM.NAMES", Call::StreamNames);
        check("STREAM.LIST", Call::StreamList);
        check("STREAM.INFO.S", Call::StreamInfo("S"));
        check("STREAM.DELETE.S", Call::StreamDelete("S"));
        check("STREAM.PURGE.S", Call::StreamPurge("S"));
        check("STREAM.SNAPSHOT.S", Call::StreamSnapshot("S"));
        check("STREAM.RESTORE.S", Call::StreamRestore("S"));
        check("STREAM.MSG.DELETE.S", Call::MsgDelete("S"));
        check("STREAM.MSG.GET.S", Call::MsgGet("S"));
        check("STREAM.PEER.REMOVE.S", Call::StreamRemovePeer("S"));
        check("STREAM.PEER.EVACUATE.S", Call::StreamEvacuatePeer("S"));
        check("STREAM.CANCEL_MOVE.S", Call::StreamCancelMove("S"));
        check("STREAM.LEADER.STEPDOWN.S", Call::StreamLeaderStepdown("S"));
        check("META.LEADER.STEPDOWN", Call::MetaLeaderStepdown);
        check("META.RESCUE", Call::MetaRescue);
        check("SERVER.REMOVE", Call::ServerRemove);
        check("SERVER.EVACUATE", Call::ServerEvacuate);
        check("ACCOUNT.PURGE.A", Call::AccountPurge("A"));
        check("ACCOUNT.PURGE.A.B", Call::Unknown);
        check("ACCOUNT.STREAM.MOVE.A.B", Call::Account);
        let direct = |last_by_subject| Call::DirectGet {
            stream: "S",
            last_by_subject,
        };
        check("DIRECT.GET.S", direct(None));
        check("DIRECT.GET.S.a.b", direct(Some(b"a.b")));
        check("CONSUMER.CREATE.S", Call::ConsumerCreateUnnamed("S"));
        let create = |filter| Call::ConsumerCreate {
            stream: "S",
            consumer: "C",
            filter,
        };
        check("CONSUMER.CREATE.S.C", create(None));
        check("CONSUMER.CREATE.S.C.a.>", create(Some("a.>")));
        check(
            "CONSUMER.DURABLE.CREATE.S.C",
            Call::ConsumerDurableCreate {
                stream: "S",
                consumer: "C",
            },
        );
        check("CONSUMER.NAMES.S", Call::ConsumerNames("S"));
        check("CONSUMER.LIST.S", Call::ConsumerList("S"));
        for (verb, call) in [
            ("INFO", ConsumerCall::Info),
            ("DELETE", ConsumerCall::Delete),
            ("PAUSE", ConsumerCall::Pause),
            ("UNPIN", ConsumerCall::Unpin),
            ("RESET", ConsumerCall::Reset),
            ("MSG.NEXT", ConsumerCall::Next),
            ("LEADER.STEPDOWN", ConsumerCall::LeaderStepdown),
        ] {
            let expected = Call::Consumer {
                stream: "S",
                consumer: "C",
                call,
            };
            check(&format!("CONSUMER.{verb}.S.C"), expected);
            check(&format!("CONSUMER.{verb}.S"), Call::Unknown);
            check(&format!("CONSUMER.{verb}.S.C.x"), Call::Unknown);
        }
        for unknown in [
            "",
            "FOO",
            "INFO.x",
            "STREAM",
            "STREAM.CREATE",
            "STREAM.CREATE.S.x",
            "STREAM.NAMES.x",
            "STREAM.MSG.GET.S.x",
            "STREAM.FOO.S",
            "CONSUMER.CREATE",
            "CONSUMER.DURABLE.CREATE.S",
            "CONSUMER.NAMES.S.x",
            "DIRECT.GET",
        ] {
            check(unknown, Call::Unknown);
        }
    }

    #[test]
    fn what_is_not_of_jetstream_is_like_any_other() {
        for subject in [
            "a.b",
            "$JS",
            "$JS.",
            "$JS.API",
            "$JS.EVENT.ADVISORY.API",
            "$JS.leaf.API.INFO",
            "$JS.hub.API.FOO",
            "$JS.hub.INFO",
        ] {
            assert_eq!(of(subject), None, "{subject}");
        }
        assert_eq!(Special::of(b"$JS..API.INFO", b""), None);
    }

    #[test]
    fn keys_and_objects_through_a_domain() {
        assert_eq!(
            of("$JS.hub.API.$KV.b.k"),
            Some(Special::Instead(b"$KV.b.k"))
        );
        assert_eq!(of("$JS.hub.API.$OBJ.b"), Some(Special::Instead(b"$OBJ.b")));
        assert_eq!(of("$JS.hub.API.$KV"), None);
    }

    #[test]
    fn flow_control_in_both_forms() {
        let expected = FlowControlSubject {
            origin: None,
            stream: "S",
            consumer: "C",
            id: b"xyz",
        };
        assert_eq!(of("$JS.FC.S.C.xyz"), Some(Special::FlowControl(expected)));
        let expected = FlowControlSubject {
            origin: Some((b"d", b"h")),
            ..expected
        };
        assert_eq!(
            of("$JS.FC.d.h.S.C.xyz"),
            Some(Special::FlowControl(expected))
        );
        assert_eq!(of("$JS.FC.S.C"), None);
        assert_eq!(of("$JS.FC.S.C.x.y"), None);
    }

    #[test]
    fn snapshots() {
        assert_eq!(
            of("$JS.SNAPSHOT.ACK.S.id.7"),
            Some(Special::SnapshotAck {
                stream: "S",
                id: b"id.7"
            })
        );
        assert_eq!(
            of("$JS.SNAPSHOT.RESTORE.S.id"),
            Some(Special::RestoreChunk {
                stream: "S",
                id: b"id"
            })
        );
        assert_eq!(of("$JS.SNAPSHOT.RESTORE.S"), None);
    }
}
