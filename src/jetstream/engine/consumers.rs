//! Consumers of streams that live here: made, shown, changed and ended by the API.

use super::host::{Arrival, Host};
use super::{Around, Engine};
use crate::jetstream::api::check_consumer::{
    self, Consumers, Creation, ServerLimits, addressed, creation,
};
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::requests::{
    self, ConsumerRequest, ConsumersRequest, PauseRequest, ResetRequest, UnpinRequest,
};
use crate::jetstream::api::responses::{
    self, ConsumerInfo, Kind, LIST_MAX, NAMES_MAX, Page, PriorityGroup, SequenceInfo,
};
use crate::jetstream::api::subjects::{Call, ConsumerCall};
use crate::jetstream::api::time::NEVER;
use crate::jetstream::api::versions::{self, IDENTITY_HEADER};
use crate::jetstream::asset::Asset;
use crate::jetstream::config::ConsumerConfig;
use crate::jetstream::consumer::{Info, Position};
use crate::jetstream::{Now, letters};
use crate::proto::headers;
use crate::store::UnixNanos;

/// Letters of the name of a consumer that was given none.
const NAME_LETTERS: usize = 8;

/// A stream's consumers, for the checks.
struct Of<'a> {
    asset: &'a Asset,
    /// The deliver subject that the consumer has, if somebody listens to it.
    heard: Option<&'a str>,
}

impl Consumers for Of<'_> {
    fn consumer(&self, name: &str) -> Option<&ConsumerConfig> {
        self.asset.consumer(name).map(|consumer| consumer.config())
    }

    fn each(&self, each: &mut dyn FnMut(&str, &ConsumerConfig)) {
        for consumer in self.asset.consumers() {
            each(consumer.name(), consumer.config());
        }
    }

    fn has_interest(&self, subject: &str) -> bool {
        self.heard == Some(subject)
    }
}

impl Engine {
    pub(super) fn create_consumer<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        call: &Call<'_>,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: ConsumerRequest = requests::parse(arrival.payload, self.options.strict)?;
        let request = addressed(call, request)?;
        let limits = self.accounts.limits(arrival.account).cloned();
        let limits = limits.ok_or(Code::NotEnabledForAccount)?;
        let hosted = self.hosted(place).ok_or(Code::StreamNotFound)?;
        let name = match request.config.durable_name.as_str() {
            "" => &request.config.name,
            durable => durable,
        };
        let old = hosted.asset.consumer(name);
        let deliver = old.map_or("", |old| old.config().deliver_subject.as_str());
        let is_heard =
            !deliver.is_empty() && host.has_interest(arrival.account, deliver.as_bytes());
        let of = Of {
            asset: &hosted.asset,
            heard: is_heard.then_some(deliver),
        };
        let own_identity = hosted.asset.identity();
        let around = check_consumer::Around {
            stream: hosted.asset.config(),
            identity: &own_identity,
            consumers: &of,
            limits: &limits,
            server: ServerLimits {
                max_ack_pending: self.options.max_ack_pending,
                max_request_batch: self.options.max_request_batch,
            },
        };
        let identity = headers::find(arrival.headers, IDENTITY_HEADER);
        let checked = creation(request, identity, &around, || {
            letters::random(NAME_LETTERS, || host.random())
        })?;
        let volume = hosted.volume;
        let (name, config, is_new) = match checked {
            Creation::New { name, config } => (name, config, true),
            Creation::Update { name, config } => (name, config, false),
        };
        let usage = self.accounts.usage(arrival.account);
        if is_new && let Some((limits, _)) = limits.of(1) {
            let most = limits.max_consumers;
            if u64::try_from(most).is_ok_and(|most| most > 0 && usage.consumers >= most) {
                return Err(Code::MaximumConsumersLimit.into());
            }
        }
        let is_hidden = config.direct;
        let says_identity = config.direct || config.sourcing;
        let done = self.with(place, now, host, |asset, around| match is_new {
            true => asset.create_consumer(&name, config, around),
            false => asset.update_consumer(&name, config, around),
        });
        done.unwrap_or(Err(Code::StreamNotFound.into()))?;
        if is_new && !is_hidden {
            self.accounts.count_consumers(arrival.account, 1);
        }
        let json = self.shown(now, place, &name, host, |info, to| info.created(to))?;
        let head = says_identity.then(|| identity_header(&own_identity));
        self.respond_durable_with(
            arrival,
            &head.unwrap_or_default(),
            (volume, 0),
            host,
            |to| {
                to.extend_from_slice(&json);
            },
        );
        Ok(())
    }

    /// A consumer's info, written by `write`.
    fn shown<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        name: &str,
        host: &mut H,
        write: impl FnOnce(&ConsumerInfo<'_>, &mut Vec<u8>),
    ) -> Result<Vec<u8>, ApiError> {
        let json = self.with(place, now, host, |asset, around| {
            show(asset, name, true, now, around, write)
        });
        json.flatten().ok_or(Code::ConsumerNotFound.into())
    }

    pub(super) fn consumer_names<H: Host>(
        &mut self,
        place: u32,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: ConsumersRequest = self.read(arrival.payload)?;
        let hosted = self.hosted(place).ok_or(Code::StreamNotFound)?;
        let consumers = hosted.asset.consumers();
        let names: Vec<Box<str>> = consumers.map(|consumer| consumer.name().into()).collect();
        let (page, range) = Page::of(names.len(), request.offset, NAMES_MAX);
        self.respond(arrival, host, |to| {
            responses::consumer_names(to, page, &names[range]);
        });
        Ok(())
    }

    pub(super) fn consumer_list<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: ConsumersRequest = self.read(arrival.payload)?;
        let hosted = self.hosted(place).ok_or(Code::StreamNotFound)?;
        let consumers = hosted.asset.consumers();
        let names: Vec<Box<str>> = consumers.map(|consumer| consumer.name().into()).collect();
        let (page, range) = Page::of(names.len(), request.offset, LIST_MAX);
        let infos = self.with(place, now, host, |asset, around| {
            let shown = names[range].iter().filter_map(|name| {
                show(asset, name, false, now, around, |info, to| info.render(to))
            });
            shown.collect::<Vec<_>>()
        });
        self.respond(arrival, host, |to| {
            responses::consumer_list(to, page, &infos.unwrap_or_default());
        });
        Ok(())
    }

    pub(super) fn called_of_consumer<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        name: &str,
        call: ConsumerCall,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let hosted = self.hosted(place).ok_or(Code::StreamNotFound)?;
        let volume = hosted.volume;
        let Some(consumer) = hosted.asset.consumer(name) else {
            // nats-server has a subscription for each consumer's resets: nobody answers.
            return match call {
                ConsumerCall::Reset => Ok(()),
                _ => Err(Code::ConsumerNotFound.into()),
            };
        };
        let mut config = consumer.config().clone();
        match call {
            ConsumerCall::Info => {
                requests::none(arrival.payload)?;
                let json = self.shown(now, place, name, host, |info, to| info.shown(to))?;
                self.respond(arrival, host, |to| to.extend_from_slice(&json));
            }
            ConsumerCall::Delete => {
                requests::none(arrival.payload)?;
                self.drop_consumer(place, name, now, host);
                self.respond_durable(arrival, volume, 0, host, |to| {
                    Kind::ConsumerDelete.success(to);
                });
            }
            ConsumerCall::Pause => {
                let request: PauseRequest = self.read(arrival.payload)?;
                let until = (request.pause_until != NEVER).then_some(request.pause_until);
                config.pause_until = until;
                versions::set_consumer(&mut config);
                let done = self.with(place, now, host, |asset, around| {
                    asset.update_consumer(name, config, around)
                });
                done.unwrap_or(Err(Code::ConsumerNotFound.into()))?;
                let remaining = until.map_or(0, |until| until - now.unix);
                let is_paused = remaining > 0;
                self.respond_durable(arrival, volume, 0, host, |to| {
                    let until = request.pause_until;
                    responses::paused(to, is_paused, until, remaining.max(0));
                });
            }
            ConsumerCall::Unpin => {
                let request: UnpinRequest = requests::loose(arrival.payload)?;
                if request.group.is_empty() {
                    return Err(Code::InvalidJson.with(&["consumer group not specified"]));
                }
                if !check_consumer::is_group_name(&request.group) {
                    return Err(Code::ConsumerInvalidGroupName.into());
                }
                if !config.priority_groups.contains(&request.group) {
                    return Err(Code::ConsumerInvalidPriorityGroup.into());
                }
                self.with(place, now, host, |asset, around| {
                    asset.with_consumer(name, around, |consumer, around| {
                        consumer.unpin(&request.group, around);
                    })
                });
                self.respond(arrival, host, responses::unpinned);
            }
            ConsumerCall::Reset => {
                let request: ResetRequest = match arrival.payload {
                    [] => ResetRequest::default(),
                    body => requests::loose(body)?,
                };
                let done = self.with(place, now, host, |asset, around| {
                    asset.with_consumer(name, around, |consumer, around| {
                        consumer.reset(request.seq, around)
                    })
                });
                let seq = done
                    .flatten()
                    .ok_or(Code::ConsumerNotFound)?
                    .map_err(|refused| Code::ConsumerInvalidReset.with(&[refused.0]))?;
                let json = self.shown(now, place, name, host, |info, to| info.reset(to, seq))?;
                let asks = headers::find(arrival.headers, IDENTITY_HEADER).is_some();
                let asked = self.hosted(place).filter(|_| asks);
                let head = asked.map(|hosted| identity_header(&hosted.asset.identity()));
                let head = head.unwrap_or_default();
                self.respond_durable_with(arrival, &head, (volume, 0), host, |to| {
                    to.extend_from_slice(&json);
                });
            }
            ConsumerCall::LeaderStepdown => return Err(Code::ClusterRequired.into()),
            ConsumerCall::Next => {}
        }
        Ok(())
    }

    /// Ends a consumer.
    pub(super) fn drop_consumer<H: Host>(
        &mut self,
        place: u32,
        name: &str,
        now: Now,
        host: &mut H,
    ) {
        let Some(hosted) = self.hosted(place) else {
            return;
        };
        let account = hosted.account;
        let shown = hosted.asset.consumers().count();
        self.with(place, now, host, |asset, around| {
            asset.delete_consumer(name, around);
        });
        let left = self
            .hosted(place)
            .map_or(0, |h| h.asset.consumers().count());
        self.accounts
            .count_consumers(account, left as i64 - shown as i64);
    }
}

/// Writes a consumer's info.
pub(super) fn show<H: Host>(
    asset: &mut Asset,
    name: &str,
    says_server: bool,
    now: Now,
    around: &mut Around<'_, '_, H>,
    write: impl FnOnce(&ConsumerInfo<'_>, &mut Vec<u8>),
) -> Option<Vec<u8>> {
    let stream = asset.config().name.clone();
    let (info, mut config, created) = asset.with_consumer(name, around, |consumer, around| {
        let info = consumer.info(around);
        (info, consumer.config().clone(), consumer.created())
    })?;
    if says_server {
        versions::of_server(&mut config.metadata);
    }
    let Info {
        delivered,
        last_delivered,
        ack_floor,
        last_acked,
        ..
    } = info;
    let priority_groups = info.group.iter().map(|group| PriorityGroup {
        group: &group.name,
        pinned_client_id: &group.pinned_id,
        pinned_at: match group.pinned {
            0 => NEVER,
            time => time,
        },
    });
    let shown = ConsumerInfo {
        stream: &stream,
        name,
        created,
        config: &config,
        delivered: sequence(delivered, last_delivered),
        ack_floor: sequence(ack_floor, last_acked),
        num_ack_pending: info.num_ack_pending as u64,
        num_redelivered: info.num_redelivered as u64,
        num_waiting: info.num_waiting as u64,
        num_pending: info.num_pending,
        push_bound: info.push_bound,
        paused: info.paused,
        pause_remaining: info.pause_remaining,
        now: now.unix,
        priority_groups: priority_groups.collect(),
    };
    let mut json = Vec::new();
    write(&shown, &mut json);
    Some(json)
}

/// The header that says which stream of the name it is.
fn identity_header(identity: &str) -> Vec<u8> {
    format!("NATS/1.0\r\n{IDENTITY_HEADER}: {identity}\r\n\r\n").into_bytes()
}

fn sequence(position: Position, time: UnixNanos) -> SequenceInfo {
    SequenceInfo {
        consumer: position.consumer,
        stream: position.stream,
        last_active: (time != 0).then_some(time),
    }
}
