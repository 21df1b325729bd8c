//! What the API asks of a stream that lives here: what it is, and its messages.

use super::host::{Arrival, Host};
use super::{Around, Engine};
use crate::base::ids::AccountId;
use crate::jetstream::Now;
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::requests::{
    MsgDeleteRequest, MsgGetRequest, PurgeRequest, StreamInfoRequest,
};
use crate::jetstream::api::responses::{self, Kind, StreamInfo, StreamState};
use crate::jetstream::api::subjects::Call;
use crate::jetstream::api::{requests, versions};
use crate::jetstream::asset::Asset;
use crate::store::Messages;

impl Engine {
    /// A call that a stream of this shard answers.
    pub(super) fn called_of_stream<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        call: &Call<'_>,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) {
        let done = match *call {
            Call::StreamInfo(_) => self.stream_info(now, place, arrival, host),
            Call::StreamDelete(_) => requests::none(arrival.payload)
                .map(|()| self.delete_stream(now, place, arrival, host)),
            Call::StreamPurge(_) => self.purge(now, place, arrival, host),
            Call::MsgDelete(_) => self.delete_message(now, place, arrival, host),
            Call::MsgGet(_) => self.get_message(now, place, arrival, host),
            Call::ConsumerCreateUnnamed(_)
            | Call::ConsumerCreate { .. }
            | Call::ConsumerDurableCreate { .. } => {
                self.create_consumer(now, place, call, arrival, host)
            }
            Call::ConsumerNames(_) => self.consumer_names(place, arrival, host),
            Call::ConsumerList(_) => self.consumer_list(now, place, arrival, host),
            Call::Consumer { consumer, call, .. } => {
                self.called_of_consumer(now, place, consumer, call, arrival, host)
            }
            Call::StreamRemovePeer(_)
            | Call::StreamEvacuatePeer(_)
            | Call::StreamCancelMove(_)
            | Call::StreamLeaderStepdown(_) => Err(Code::ClusterRequired.into()),
            Call::StreamSnapshot(_) => self.begin_snapshot(now, place, arrival, host),
            _ => Err(Code::BadRequest.into()),
        };
        if let Err(error) = done
            && let Some(kind) = super::api::kind(call)
        {
            self.refuse(arrival, kind, &error, host);
        }
    }

    /// Shows a stream of this shard.
    pub(super) fn show_stream<H: Host>(
        &mut self,
        place: u32,
        now: Now,
        host: &mut H,
        show: impl FnOnce(&StreamInfo<'_>, &mut Around<'_, '_, H>),
    ) {
        let leader = self.options.server_name.clone();
        let domain = self.options.stream.domain.clone();
        self.with(place, now, host, |asset, around| {
            let mut config = asset.config().clone();
            versions::of_server(&mut config.metadata);
            let info = stream_info(asset, &config, Some(&leader), &domain, now, around.messages);
            show(&info, around);
        });
    }

    fn stream_info<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: StreamInfoRequest = self.read(arrival.payload)?;
        let details = self.with(place, now, host, |asset, around| {
            asset.stream().details(around.messages, &request)
        });
        let details = details.unwrap_or_default();
        let mut json = Vec::new();
        self.show_stream(place, now, host, |info, _| {
            let info = StreamInfo {
                state: StreamState {
                    subjects: &details.subjects,
                    deleted: &details.deleted,
                    ..info.state.clone()
                },
                ..info.clone()
            };
            info.shown(&mut json, details.page.unwrap_or_default());
        });
        // Who is told that a stream is there may publish to it, on any shard.
        let listens = self.hosted(place).map(|one| (one.volume, one.interest));
        match listens {
            Some((volume, interest)) if interest > host.interest_known() => {
                self.respond_durable(arrival, volume, interest, host, |to| {
                    to.extend_from_slice(&json);
                });
            }
            _ => self.respond(arrival, host, |to| to.extend_from_slice(&json)),
        }
        Ok(())
    }

    /// Describes streams of this shard for a list.
    pub(super) fn describe<H: Host>(
        &mut self,
        account: AccountId,
        names: &[Box<str>],
        now: Now,
        host: &mut H,
    ) -> Vec<(Box<str>, Vec<u8>)> {
        let domain = self.options.stream.domain.clone();
        let mut described = Vec::new();
        for name in names {
            let Some(place) = self.place(account, name) else {
                continue;
            };
            let json = self.with(place, now, host, |asset, around| {
                let mut json = Vec::new();
                let config = asset.config();
                stream_info(asset, config, None, &domain, now, around.messages).render(&mut json);
                json
            });
            described.extend(json.map(|json| (name.clone(), json)));
        }
        described
    }

    fn purge<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: PurgeRequest = self.read(arrival.payload)?;
        let purge =
            |asset: &mut Asset, around: &mut Around<'_, '_, H>| asset.purge(&request, around);
        let write = |purged, to: &mut Vec<u8>| responses::purged(to, purged);
        self.remove(now, place, arrival, host, purge, write)
    }

    fn delete_message<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: MsgDeleteRequest = requests::required(arrival.payload, self.options.strict)?;
        let delete = |asset: &mut Asset, around: &mut Around<'_, '_, H>| {
            asset.delete_message(&request, around)
        };
        let write = |(), to: &mut Vec<u8>| Kind::MsgDelete.success(to);
        self.remove(now, place, arrival, host, delete, write)
    }

    /// Removes messages, and answers when that is durable.
    fn remove<H: Host, T>(
        &mut self,
        now: Now,
        place: u32,
        arrival: &Arrival<'_>,
        host: &mut H,
        remove: impl FnOnce(&mut Asset, &mut Around<'_, '_, H>) -> Result<T, ApiError>,
        write: impl FnOnce(T, &mut Vec<u8>),
    ) -> Result<(), ApiError> {
        let done = self.with(place, now, host, remove);
        let done = done.unwrap_or(Err(Code::StreamNotFound.into()))?;
        let volume = self.hosted(place).map_or(0, |hosted| hosted.volume);
        self.respond_durable(arrival, volume, 0, host, |to| write(done, to));
        Ok(())
    }

    fn get_message<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: MsgGetRequest = requests::required(arrival.payload, self.options.strict)?;
        let done = self.with(place, now, host, |asset, around| {
            asset.with_stream(around, |stream, world| {
                stream.message_get(world, &request, arrival.reply)
            })
        });
        done.unwrap_or(Err(Code::StreamNotFound.into()))?;
        self.accounts.count_request(arrival.account, false);
        Ok(())
    }

    /// `DIRECT.GET`; whether the stream answers such.
    pub(super) fn direct_get<H: Host>(
        &mut self,
        now: Now,
        place: u32,
        last_by_subject: Option<&[u8]>,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> bool {
        let served = self.with(place, now, host, |asset, around| {
            let config = asset.config();
            if !config.allow_direct && !config.mirror_direct {
                return false;
            }
            asset.with_stream(around, |stream, world| {
                stream.direct_get(
                    world,
                    last_by_subject.unwrap_or_default(),
                    arrival.reply,
                    arrival.headers,
                    arrival.payload,
                );
            });
            true
        });
        served.unwrap_or(false)
    }
}

fn stream_info<'a>(
    asset: &'a Asset,
    config: &'a crate::jetstream::config::StreamConfig,
    leader: Option<&'a str>,
    domain: &'a str,
    now: Now,
    messages: &impl Messages,
) -> StreamInfo<'a> {
    let (mirror, sources) = asset.feeds().infos(now);
    StreamInfo {
        config,
        created: asset.created(),
        state: StreamState {
            state: *messages.state(),
            consumers: asset.consumer_count(),
            ..StreamState::default()
        },
        domain,
        leader,
        mirror,
        sources,
        alternates: &[],
        now: now.unix,
    }
}
