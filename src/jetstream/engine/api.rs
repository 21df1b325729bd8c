//! What is published to JetStream itself: requests, acknowledgements, answers to flow control. Each is
//! handled where its stream lives; what concerns all streams, on shard 0.

use super::advise::API_ADVISORY;
use super::host::{Arrival, Host};
use super::{Engine, owned};
use crate::base::ids::{AccountId, ShardId};
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::requests::{self, StreamsRequest};
use crate::jetstream::api::responses::{self, Kind, NAMES_MAX, Page};
use crate::jetstream::api::subjects::{Call, ConsumerCall, Special};
use crate::jetstream::api::versions;
use crate::jetstream::consumer::AckSubject;
use crate::jetstream::{Now, Order, Outgoing};
use crate::proto::headers;
use crate::subject;

/// The shard that decides which streams there are.
pub(super) const DECIDES: ShardId = ShardId(0);

/// Where a stream is.
enum Found {
    Here(u32),
    /// On another shard, which was told.
    Elsewhere,
    Nowhere,
}

impl Engine {
    /// Handles what was published to JetStream itself. What `is_forwarded` has been seen by the shard
    /// of its publisher, and belongs here.
    pub(super) fn special<H: Host>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        is_forwarded: bool,
        host: &mut H,
    ) {
        self.now = now;
        let domain = self.options.stream.domain.clone();
        match Special::of(arrival.to, domain.as_bytes()) {
            Some(Special::Api(call)) => self.called(now, &call, arrival, is_forwarded, host),
            Some(Special::Instead(subject)) => {
                let message = Outgoing {
                    to: subject,
                    subject,
                    reply: arrival.reply,
                    headers: arrival.headers,
                    payload: arrival.payload,
                };
                host.publish(arrival.account, &message);
            }
            Some(Special::Ack(ack)) => {
                self.acknowledged(now, &ack, arrival, is_forwarded, |_| None, host);
            }
            Some(Special::FlowControl(flow)) => {
                if let Found::Here(place) = self.find(arrival, flow.stream, is_forwarded, host) {
                    self.with(place, now, host, |asset, around| {
                        asset.flow_controlled(&flow, arrival.to, arrival.headers, around);
                    });
                }
            }
            Some(Special::SnapshotAck { stream, id }) => {
                if let Found::Here(place) = self.find(arrival, stream, is_forwarded, host) {
                    self.snapshot_acknowledged(now, place, id, host);
                }
            }
            Some(Special::RestoreChunk { id, .. }) => match host.own() == DECIDES {
                true => self.restore_chunk(now, id, arrival, host),
                false => host.order(DECIDES, Order::Request(owned(arrival))),
            },
            None => {}
        }
    }

    /// A client says something about a message of a consumer, and goes on with what `more` gives: about
    /// the same consumer.
    pub(super) fn acknowledged<'a, H: Host>(
        &mut self,
        now: Now,
        subject: &AckSubject<'a>,
        arrival: &Arrival<'a>,
        is_forwarded: bool,
        mut more: impl FnMut(&AckSubject<'a>) -> Option<(AckSubject<'a>, Arrival<'a>)>,
        host: &mut H,
    ) {
        let Found::Here(place) = self.find(arrival, subject.stream, is_forwarded, host) else {
            return;
        };
        self.with(place, now, host, |asset, around| {
            let Some(consumer) = asset.consumer_place(subject.consumer) else {
                return;
            };
            let mut next = Some((*subject, *arrival));
            while let Some((ack, arrival)) = next {
                let Arrival { reply, payload, .. } = arrival;
                asset.acknowledge(consumer, &ack, reply, payload, around);
                next = more(subject);
            }
        });
    }

    /// Finds a stream, and forwards what is said to it if it is elsewhere.
    fn find<H: Host>(
        &mut self,
        arrival: &Arrival<'_>,
        stream: &str,
        is_forwarded: bool,
        host: &mut H,
    ) -> Found {
        if let Some(place) = self.place(arrival.account, stream) {
            return Found::Here(place);
        }
        let own = host.own();
        match self.directory.get(arrival.account, stream) {
            Some(located) if located.home != own => {
                host.order(located.home, Order::Request(owned(arrival)));
                Found::Elsewhere
            }
            // It may be so new that this shard has not heard of it.
            None if own != DECIDES && !is_forwarded => {
                host.order(DECIDES, Order::Request(owned(arrival)));
                Found::Elsewhere
            }
            Some(_) | None => Found::Nowhere,
        }
    }

    fn called<H: Host>(
        &mut self,
        now: Now,
        call: &Call<'_>,
        arrival: &Arrival<'_>,
        is_forwarded: bool,
        host: &mut H,
    ) {
        if self.accounts.is_system(arrival.account) && *call != Call::AccountInfo {
            self.called_by_system(now, call, arrival, host);
            return;
        }
        let Some(kind) = kind(call) else {
            self.called_otherwise(now, call, arrival, is_forwarded, host);
            return;
        };
        if self.is_behind(call) {
            self.tell_dropped(now, host);
            return;
        }
        let client = self.client_to_tell(call, arrival, host);
        let arrival = &Arrival {
            client: &client,
            ..*arrival
        };
        if self.accounts.limits(arrival.account).is_none() {
            self.refuse(arrival, kind, &Code::NotEnabledForAccount.into(), host);
            return;
        }
        let level = headers::find(arrival.headers, versions::REQUIRED_LEVEL_HEADER);
        if versions::asks_too_much(level) {
            self.refuse(arrival, kind, &Code::RequiredApiLevel.into(), host);
            return;
        }
        if is_of_clusters(call) {
            self.refuse(arrival, kind, &Code::ClusterRequired.into(), host);
            return;
        }
        if let Some(stream) = stream_of(call) {
            match self.find(arrival, stream, is_forwarded, host) {
                Found::Here(place) => self.called_of_stream(now, place, call, arrival, host),
                Found::Elsewhere => {}
                // nats-server has a subscription for each consumer's resets: nobody answers.
                Found::Nowhere if kind == Kind::ConsumerReset => {}
                Found::Nowhere => {
                    let error = Code::StreamNotFound.into();
                    self.refuse(arrival, kind, &error, host);
                }
            }
            return;
        }
        if host.own() != DECIDES {
            host.order(DECIDES, Order::Request(owned(arrival)));
            return;
        }
        let done = match *call {
            Call::AccountInfo => {
                self.ask_for_usage(arrival, host);
                Ok(())
            }
            Call::StreamCreate(name) => self.create_stream(now, name, arrival, host),
            Call::StreamUpdate(name) => self.update_stream(now, name, arrival, host),
            Call::StreamNames => self.names(arrival, host),
            Call::StreamList => self.list(now, arrival, host),
            Call::StreamRestore(name) => self.begin_restore(now, name, arrival, host),
            _ => Err(Code::BadRequest.into()),
        };
        if let Err(error) = done {
            self.refuse(arrival, kind, &error, host);
        }
    }

    /// Whether so many requests wait for the disk or for other shards already that this one is
    /// dropped. Who only asks is counted apart, so that questions do not keep others from changing
    /// something.
    fn is_behind(&self, call: &Call<'_>) -> bool {
        match call {
            Call::AccountInfo
            | Call::StreamNames
            | Call::StreamList
            | Call::StreamInfo(_)
            | Call::ConsumerNames(_)
            | Call::ConsumerList(_)
            | Call::Consumer {
                call: ConsumerCall::Info,
                ..
            } => self.questions.len() >= self.options.info_queue,
            _ => {
                let answers = self.volumes.iter().map(|volume| volume.held.answers());
                answers.sum::<usize>() >= self.options.request_queue
            }
        }
    }

    /// What is shown of a client in advisories, while it is on this shard: the shard that answers may
    /// be another. Nothing where nobody would see it.
    fn client_to_tell<H: Host>(
        &self,
        call: &Call<'_>,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Vec<u8> {
        // A snapshot is told of when it has ended, too.
        let is_told = matches!(call, Call::StreamSnapshot(_) | Call::StreamRestore(_))
            || host.has_interest(arrival.account, API_ADVISORY);
        if !is_told || !arrival.client.is_empty() {
            return arrival.client.to_vec();
        }
        host.client(arrival.publisher).unwrap_or_default()
    }

    /// The system account has no streams, and says what is done to other accounts' and to servers. Of
    /// that, one server knows only how to remove what an account has.
    fn called_by_system<H: Host>(
        &mut self,
        now: Now,
        call: &Call<'_>,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) {
        match *call {
            Call::AccountPurge(_) if host.own() != DECIDES => {
                host.order(DECIDES, Order::Request(owned(arrival)));
            }
            Call::AccountPurge(name) if name.contains(['/', '\\']) => {
                let error =
                    Code::StreamGeneral.with(&["account name can not contain path separators"]);
                self.refuse(arrival, Kind::AccountPurge, &error, host);
            }
            Call::AccountPurge(name) => {
                let account = self.accounts.find(name);
                self.ask_for_purge(now, account, arrival, host);
            }
            Call::MetaLeaderStepdown
            | Call::MetaRescue
            | Call::ServerRemove
            | Call::ServerEvacuate
            | Call::Account => {}
            _ => {
                let error = Code::NotEnabledForAccount.into();
                self.refuse(arrival, Kind::System, &error, host);
            }
        }
    }

    /// Requests that are not answered with JSON, or by nobody.
    fn called_otherwise<H: Host>(
        &mut self,
        now: Now,
        call: &Call<'_>,
        arrival: &Arrival<'_>,
        is_forwarded: bool,
        host: &mut H,
    ) {
        match *call {
            Call::DirectGet {
                stream,
                last_by_subject,
            } => {
                let served = match self.find(arrival, stream, is_forwarded, host) {
                    Found::Here(place) => {
                        self.direct_get(now, place, last_by_subject, arrival, host)
                    }
                    Found::Elsewhere => true,
                    Found::Nowhere => false,
                };
                if !served {
                    self.nobody_responds(arrival, host);
                }
            }
            Call::Consumer {
                stream,
                consumer,
                call: ConsumerCall::Next,
            } => {
                let served = match self.find(arrival, stream, is_forwarded, host) {
                    Found::Here(place) => {
                        let Arrival {
                            reply,
                            headers,
                            payload,
                            ..
                        } = *arrival;
                        let known = self.with(place, now, host, |asset, around| {
                            asset.next(consumer, reply, headers, payload, around)
                        });
                        known.unwrap_or(false)
                    }
                    Found::Elsewhere => true,
                    Found::Nowhere => false,
                };
                if !served {
                    self.nobody_responds(arrival, host);
                }
            }
            _ => {}
        }
    }

    /// Says what a client hears when nobody listens: nats-server subscribes for each consumer, and for each stream
    /// with direct gets.
    fn nobody_responds<H: Host>(&mut self, arrival: &Arrival<'_>, host: &mut H) {
        if arrival.reply.is_empty() {
            return;
        }
        let mut headers = b"NATS/1.0 503\r\nNats-Subject: ".to_vec();
        headers.extend_from_slice(arrival.subject);
        headers.extend_from_slice(b"\r\n\r\n");
        let message = Outgoing {
            to: arrival.reply,
            subject: arrival.reply,
            headers: &headers,
            ..Outgoing::default()
        };
        host.publish(arrival.account, &message);
    }

    fn names<H: Host>(&mut self, arrival: &Arrival<'_>, host: &mut H) -> Result<(), ApiError> {
        let request: StreamsRequest = self.read(arrival.payload)?;
        let names = self.matching(arrival.account, &request.subject);
        let (page, range) = Page::of(names.len(), request.offset, NAMES_MAX);
        self.respond(arrival, host, |to| {
            responses::stream_names(to, page, &names[range]);
        });
        Ok(())
    }

    /// Names of an account's streams that have a subject, or of all.
    pub(super) fn matching(&self, account: AccountId, subject: &str) -> Vec<Box<str>> {
        let overlaps = |subjects: &[String]| {
            let mut subjects = subjects.iter();
            subjects.any(|own| subject::collide(own.as_bytes(), subject.as_bytes()))
        };
        self.directory
            .of(account)
            .filter(|(_, located)| subject.is_empty() || overlaps(&located.config.subjects))
            .map(|(name, _)| name.into())
            .collect()
    }

    /// Reads a request; nothing is one that asks for nothing in particular.
    pub(super) fn read<T: crate::jetstream::api::decode::Decode>(
        &self,
        payload: &[u8],
    ) -> Result<T, ApiError> {
        requests::optional(payload, self.options.strict)
    }

    /// Answers what has changed nothing.
    pub(super) fn respond<H: Host>(
        &mut self,
        arrival: &Arrival<'_>,
        host: &mut H,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        write(&mut answer);
        self.accounts.count_request(arrival.account, false);
        self.send(arrival.account, arrival.reply, &answer, host);
        self.audit(arrival, &answer, self.now, host);
        self.answer = answer;
    }

    /// Answers what has changed something, when that is durable, and when all shards know of the
    /// change of interest with this number.
    pub(super) fn respond_durable<H: Host>(
        &mut self,
        arrival: &Arrival<'_>,
        volume: usize,
        interest: u64,
        host: &mut H,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.respond_durable_with(arrival, &[], (volume, interest), host, write);
    }

    /// The same with a header block; `waits_for` is the volume and the change of interest.
    pub(super) fn respond_durable_with<H: Host>(
        &mut self,
        arrival: &Arrival<'_>,
        headers: &[u8],
        waits_for: (usize, u64),
        host: &mut H,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let (volume, interest) = waits_for;
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        write(&mut answer);
        self.accounts.count_request(arrival.account, false);
        if !arrival.reply.is_empty() {
            let message = Outgoing {
                to: arrival.reply,
                subject: arrival.reply,
                headers,
                payload: &answer,
                ..Outgoing::default()
            };
            let held = &mut self.volumes[volume].held;
            held.push_answer(arrival.account, &message, interest);
        }
        self.audit(arrival, &answer, self.now, host);
        self.answer = answer;
    }

    /// Answers with an error.
    pub(super) fn refuse<H: Host>(
        &mut self,
        arrival: &Arrival<'_>,
        kind: Kind,
        error: &ApiError,
        host: &mut H,
    ) {
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        kind.error(&mut answer, error);
        self.accounts.count_request(arrival.account, true);
        self.send(arrival.account, arrival.reply, &answer, host);
        self.audit(arrival, &answer, self.now, host);
        self.answer = answer;
    }

    pub(super) fn send<H: Host>(
        &mut self,
        account: AccountId,
        reply: &[u8],
        answer: &[u8],
        host: &mut H,
    ) {
        if !reply.is_empty() {
            let message = Outgoing {
                to: reply,
                subject: reply,
                payload: answer,
                ..Outgoing::default()
            };
            host.publish(account, &message);
        }
    }
}

/// Whether only a cluster can do it, whatever the stream.
const fn is_of_clusters(call: &Call<'_>) -> bool {
    matches!(
        call,
        Call::StreamRemovePeer(_)
            | Call::StreamEvacuatePeer(_)
            | Call::StreamCancelMove(_)
            | Call::StreamLeaderStepdown(_)
            | Call::Consumer {
                call: ConsumerCall::LeaderStepdown,
                ..
            }
    )
}

/// The kind of a call's answer; `None` where it is none, or no JSON.
pub(super) fn kind(call: &Call<'_>) -> Option<Kind> {
    Some(match call {
        Call::AccountInfo => Kind::AccountInfo,
        Call::StreamCreate(_) => Kind::StreamCreate,
        Call::StreamUpdate(_) => Kind::StreamUpdate,
        Call::StreamNames => Kind::StreamNames,
        Call::StreamList => Kind::StreamList,
        Call::StreamInfo(_) => Kind::StreamInfo,
        Call::StreamDelete(_) => Kind::StreamDelete,
        Call::StreamPurge(_) => Kind::StreamPurge,
        Call::StreamSnapshot(_) => Kind::StreamSnapshot,
        Call::StreamRestore(_) => Kind::StreamRestore,
        Call::MsgDelete(_) => Kind::MsgDelete,
        Call::MsgGet(_) => Kind::MsgGet,
        Call::StreamRemovePeer(_) => Kind::StreamRemovePeer,
        Call::StreamEvacuatePeer(_) => Kind::StreamEvacuatePeer,
        Call::StreamCancelMove(_) => Kind::StreamCancelMove,
        Call::StreamLeaderStepdown(_) => Kind::StreamLeaderStepdown,
        Call::ConsumerCreateUnnamed(_)
        | Call::ConsumerCreate { .. }
        | Call::ConsumerDurableCreate { .. } => Kind::ConsumerCreate,
        Call::ConsumerNames(_) => Kind::ConsumerNames,
        Call::ConsumerList(_) => Kind::ConsumerList,
        Call::Consumer { call, .. } => match call {
            ConsumerCall::Info => Kind::ConsumerInfo,
            ConsumerCall::Delete => Kind::ConsumerDelete,
            ConsumerCall::Pause => Kind::ConsumerPause,
            ConsumerCall::Unpin => Kind::ConsumerUnpin,
            ConsumerCall::Reset => Kind::ConsumerReset,
            ConsumerCall::LeaderStepdown => Kind::ConsumerLeaderStepdown,
            ConsumerCall::Next => return None,
        },
        Call::DirectGet { .. }
        | Call::MetaLeaderStepdown
        | Call::MetaRescue
        | Call::ServerRemove
        | Call::ServerEvacuate
        | Call::AccountPurge(_)
        | Call::Account
        | Call::Unknown => return None,
    })
}

/// The stream that must be there for a call, and answers it.
fn stream_of<'s>(call: &Call<'s>) -> Option<&'s str> {
    match *call {
        Call::StreamInfo(name)
        | Call::StreamDelete(name)
        | Call::StreamPurge(name)
        | Call::StreamSnapshot(name)
        | Call::MsgDelete(name)
        | Call::MsgGet(name)
        | Call::ConsumerCreateUnnamed(name)
        | Call::ConsumerNames(name)
        | Call::ConsumerList(name)
        | Call::StreamRemovePeer(name)
        | Call::StreamEvacuatePeer(name)
        | Call::StreamCancelMove(name)
        | Call::StreamLeaderStepdown(name) => Some(name),
        Call::ConsumerCreate { stream, .. }
        | Call::ConsumerDurableCreate { stream, .. }
        | Call::Consumer { stream, .. } => Some(stream),
        _ => None,
    }
}
