//! Pull requests: which are taken, which is served next, and how they end.

use super::pending::NEVER;
use super::status::Left;
use super::waiting::{Asked, Group, Request};
use super::{Around, Consumer, Event, Home, Pin, Status, millis};
use crate::base::deadlines::Millis;
use crate::jetstream::api::{advisories, time};
use crate::jetstream::config::PriorityPolicy;
use crate::jetstream::{Now, Outlet};
use crate::proto::headers;
use crate::store::Messages;

/// The highest level of the API that a request may require.
const API_LEVEL: u64 = 5;
const REQUIRED_API_LEVEL: &str = "Nats-Required-Api-Level";

/// A way out, while the messages are borrowed by the one that is being delivered.
pub struct Way<'a, O> {
    pub now: Now,
    pub home: &'a Home,
    pub outlet: &'a mut O,
    pub status: &'a mut Vec<u8>,
}

impl Consumer {
    /// A client asks for messages: `block` and `payload` are its request's headers and what follows
    /// them.
    pub fn handle_next<M: Messages, O: Outlet>(
        &mut self,
        reply: &[u8],
        block: &[u8],
        payload: &[u8],
        around: &mut Around<'_, M, O>,
    ) {
        if reply.is_empty() {
            return;
        }
        if let Err(status) = self.take_request(reply, block, payload, around) {
            let refused = match &status {
                Refused::Said(status) => *status,
                Refused::Bad(why) => Status::BadRequest(why),
                Refused::Exceeded(what) => Status::Conflict(what),
                Refused::Silently => return,
            };
            refused.send(around.outlet, reply, b"", &mut around.desk.status);
        }
    }

    fn take_request<M: Messages, O: Outlet>(
        &mut self,
        reply: &[u8],
        block: &[u8],
        payload: &[u8],
        around: &mut Around<'_, M, O>,
    ) -> Result<(), Refused> {
        if self.is_push() {
            return Err(Refused::Said(Status::Conflict("Consumer is push based")));
        }
        if let Some(level) = headers::find(block, REQUIRED_API_LEVEL)
            && super::ack::number(level).is_none_or(|level| level > API_LEVEL)
        {
            return Err(Refused::Said(Status::RequiredApiLevel));
        }
        let now = around.now;
        let asked = Asked::parse(payload).map_err(Refused::Bad)?;
        self.check_limits(&asked)?;
        let group = self.check_group(asked.group.as_ref(), now)?;
        self.used(now);
        let max_waiting = usize::try_from(self.config.max_waiting).unwrap_or(0);
        if self.waiting.len() >= max_waiting {
            self.look_at_waiting(false, around);
        }
        if asked.no_wait {
            let there = self.num_pending(around.messages) + self.pending.queued() as u64;
            if there == 0 && asked.expires == 0 {
                return Err(Refused::Said(Status::NoMessages));
            }
            if there > 0 {
                self.look_at_waiting(false, around);
                if there < self.waiting.wanted() {
                    return Err(Refused::Said(Status::RequestsPending));
                }
            }
        }
        if self.waiting.len() >= max_waiting {
            // Who gets heartbeats notices that there are none, and asks again; told at once, it
            // would ask at once.
            return Err(if asked.idle_heartbeat > 0 {
                Refused::Silently
            } else {
                Refused::Said(Status::Conflict("Exceeded MaxWaiting"))
            });
        }
        let after = |nanos: i64| match nanos {
            0 => NEVER,
            nanos => now.mono_ms.saturating_add(millis(nanos)),
        };
        let request = Request {
            reply: reply.into(),
            left: asked.batch.max(1).unsigned_abs(),
            is_served: false,
            no_wait: asked.no_wait,
            has_byte_limit: asked.max_bytes > 0,
            bytes_left: asked.max_bytes.max(0).unsigned_abs(),
            expires_ms: after(asked.expires),
            heartbeat_ms: millis(asked.idle_heartbeat),
            next_heartbeat_ms: after(asked.idle_heartbeat.max(0)),
            group,
        };
        self.waiting.add(request, self.serves_by_priority());
        self.is_ready = true;
        Ok(())
    }

    fn check_limits(&self, asked: &Asked) -> Result<(), Refused> {
        let config = &self.config;
        let what = if config.max_batch > 0 && asked.batch > config.max_batch {
            format!("MaxRequestBatch of {}", config.max_batch)
        } else if config.max_expires > 0 && asked.expires > config.max_expires {
            let max = time::duration(config.max_expires);
            format!("MaxRequestExpires of {max}")
        } else if config.max_bytes > 0 && asked.max_bytes > config.max_bytes {
            format!("MaxRequestMaxBytes of {}", config.max_bytes)
        } else {
            return Ok(());
        };
        Err(Refused::Exceeded(format!("Exceeded {what}")))
    }

    fn check_group(
        &mut self,
        group: Option<&Group>,
        now: Now,
    ) -> Result<Option<Box<Group>>, Refused> {
        let Some(group) = group else {
            return Ok(None);
        };
        let bad = |why: &str| Err(Refused::Bad(why.to_owned()));
        let policy = self.config.priority_policy;
        if (group.min_pending != 0 || group.min_ack_pending != 0)
            && policy != PriorityPolicy::Overflow
        {
            return bad("Not a Overflow Priority consumer");
        }
        if !group.id.is_empty() && policy != PriorityPolicy::PinnedClient {
            return bad("Not a Pinned Client Priority consumer");
        }
        if !(0..=9).contains(&group.priority) {
            return bad("Priority must be between 0 and 9");
        }
        if !self.uses_priorities() {
            return Ok(None);
        }
        if group.name.is_empty() {
            return bad("Priority Group missing");
        }
        if !self.config.priority_groups.contains(&group.name) {
            return bad("Invalid Priority Group");
        }
        let expires_ms = self.pin_time(now);
        if let Some(pin) = self.rare.as_mut().and_then(|rare| rare.pin.as_mut()) {
            if group.id == pin.id {
                pin.expires_ms = expires_ms;
            } else if !group.id.is_empty() {
                return Err(Refused::Said(Status::PinMismatch));
            }
        }
        Ok(Some(Box::new(group.clone())))
    }

    fn serves_by_priority(&self) -> bool {
        self.config.priority_policy == PriorityPolicy::Prioritized
    }

    /// Has the request come first that is to get a message of so many bytes, when `ahead` are left
    /// with this one. False if there is none.
    #[inline]
    pub(super) fn choose<O: Outlet>(
        &mut self,
        bytes: u64,
        ahead: u64,
        way: &mut Way<'_, O>,
    ) -> bool {
        let mut passed_over = 0;
        while let Some(request) = self.waiting.first() {
            if request.expires_ms <= way.now.mono_ms {
                self.end_first(Status::RequestTimeout, way);
                continue;
            }
            let mut is_newly_pinned = false;
            match self.config.priority_policy {
                PriorityPolicy::None | PriorityPolicy::Prioritized => {}
                PriorityPolicy::Overflow => {
                    let has_enough = request.group.as_ref().is_none_or(|group| {
                        let at_least = |least: i64, there: u64| {
                            u64::try_from(least).is_ok_and(|least| least > 0 && least <= there)
                        };
                        (group.min_pending <= 0 && group.min_ack_pending <= 0)
                            || at_least(group.min_pending, ahead)
                            || at_least(group.min_ack_pending, self.pending.len() as u64)
                    });
                    if !has_enough {
                        self.waiting.rotate();
                        passed_over += 1;
                        if passed_over >= self.waiting.len() {
                            return false;
                        }
                        continue;
                    }
                }
                PriorityPolicy::PinnedClient => match self.look_at_pin(way) {
                    Pinned::Here => {}
                    Pinned::NewlyHere => is_newly_pinned = true,
                    Pinned::Elsewhere => {
                        self.waiting.rotate();
                        passed_over += 1;
                        if passed_over >= self.waiting.len() {
                            return false;
                        }
                        continue;
                    }
                    Pinned::Unknown => {
                        self.end_first(Status::WrongPin, way);
                        continue;
                    }
                },
            }
            let first = self.waiting.first();
            if first.is_some_and(|first| first.has_byte_limit && bytes > first.bytes_left) {
                self.end_first(Status::TooLargeForMaxBytes, way);
                if is_newly_pinned {
                    self.drop_pin();
                }
                continue;
            }
            return true;
        }
        false
    }

    fn end_first<O: Outlet>(
        &mut self,
        status: impl Fn(Left) -> Status<'static>,
        way: &mut Way<'_, O>,
    ) {
        if let Some(request) = self.waiting.remove_first() {
            let status = status(request.left());
            status.send(way.outlet, &request.reply, b"", way.status);
        }
    }

    /// The first request has got a message of so many bytes.
    #[inline]
    pub(super) fn served<O: Outlet>(&mut self, bytes: u64, way: &mut Way<'_, O>) {
        let by_priority = self.serves_by_priority();
        let Some(request) = self.waiting.first() else {
            return;
        };
        request.is_served = true;
        request.left = request.left.saturating_sub(1);
        if request.has_byte_limit {
            request.bytes_left = request.bytes_left.saturating_sub(bytes);
            if request.bytes_left == 0 {
                request.left = 0;
            }
        }
        if request.heartbeat_ms > 0 {
            request.next_heartbeat_ms = way.now.mono_ms.saturating_add(request.heartbeat_ms);
        }
        if request.left > 0 {
            self.waiting.requeue_first(by_priority);
        } else if request.bytes_left > 0 {
            self.end_first(Status::BatchCompleted, way);
        } else {
            self.waiting.remove_first();
        }
    }

    /// Ends what has expired, drops those that nobody listens to any more, and sends heartbeats.
    /// With `at_end` there is nothing more to deliver: who does not want to wait is told.
    pub(super) fn look_at_waiting<M, O: Outlet>(
        &mut self,
        at_end: bool,
        around: &mut Around<'_, M, O>,
    ) {
        if self.waiting.is_empty() {
            return;
        }
        let now_ms = around.now.mono_ms;
        let outlet = &mut *around.outlet;
        let status = &mut around.desk.status;
        let heartbeat = Status::Heartbeat {
            consumer_seq: self.delivered.consumer,
            stream_seq: self.next - 1,
            stalled: None,
        };
        self.waiting.retain(|request| {
            if request.expires_ms <= now_ms {
                let timeout = Status::RequestTimeout(request.left());
                timeout.send(outlet, &request.reply, b"", status);
                return false;
            }
            let has_time = request.expires_ms != NEVER && !request.is_served;
            if at_end && request.no_wait && !has_time {
                Status::NoMessages.send(outlet, &request.reply, b"", status);
                return false;
            }
            if !outlet.has_interest(&request.reply) {
                return false;
            }
            if request.next_heartbeat_ms <= now_ms {
                heartbeat.send(outlet, &request.reply, b"", status);
                request.next_heartbeat_ms = now_ms.saturating_add(request.heartbeat_ms);
            }
            true
        });
    }

    /// Who has the pin, seen from the first request. If nobody has it, that one gets it.
    fn look_at_pin<O: Outlet>(&mut self, way: &mut Way<'_, O>) -> Pinned {
        let expires_ms = self.pin_time(way.now);
        let pin = self.rare.as_ref().and_then(|rare| rare.pin.as_ref());
        let Some(request) = self.waiting.first() else {
            return Pinned::Elsewhere;
        };
        let group = request.group.as_deref_mut();
        match (pin, group) {
            (Some(pin), Some(group)) if group.id == pin.id => Pinned::Here,
            (_, Some(group)) if !group.id.is_empty() => Pinned::Unknown,
            (Some(_), _) => Pinned::Elsewhere,
            // A request that names no group is served, but cannot hold the pin.
            (None, None) => Pinned::Here,
            (None, Some(group)) => {
                let pin = Pin {
                    id: advisories::id(|| way.outlet.random()),
                    group: group.name.clone(),
                    since: way.now.unix,
                    expires_ms,
                };
                group.id.clone_from(&pin.id);
                let (id, group) = (&pin.id, &pin.group);
                let event = Event::Pinned { group, id };
                event.tell(&self.name, way.now, way.home, way.outlet);
                self.rare().pin = Some(pin);
                Pinned::NewlyHere
            }
        }
    }

    fn pin_time(&self, now: Now) -> Millis {
        now.mono_ms
            .saturating_add(millis(self.config.priority_timeout))
    }

    pub(super) fn drop_pin(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.pin = None;
        }
    }

    pub(super) fn pin_expires(&self) -> Millis {
        let pin = self.rare.as_ref().and_then(|rare| rare.pin.as_ref());
        pin.map_or(NEVER, |pin| pin.expires_ms)
    }

    /// Who has the pin has not asked for too long.
    pub(super) fn expire_pin<M: Messages, O: Outlet>(&mut self, around: &mut Around<'_, M, O>) {
        let Some(pin) = self.rare.as_mut().and_then(|rare| rare.pin.take()) else {
            return;
        };
        let event = Event::Unpinned {
            group: &pin.group,
            reason: "timeout",
        };
        around.tell(&self.name, &event);
        self.is_ready = true;
    }
}

/// Why a request was not taken.
enum Refused {
    Said(Status<'static>),
    Bad(String),
    Exceeded(String),
    Silently,
}

/// Who has the pin.
enum Pinned {
    Here,
    NewlyHere,
    Elsewhere,
    /// The request names a pin that is not the one.
    Unknown,
}
