//! A message from its publisher to everybody who gets it.

use bytes::Bytes;
use smallvec::SmallVec;

use super::frame::{self, FrameRest, PublishFrame, QueueNames};
use super::service::is_response;
use super::{Effects, Level, Shard};
use crate::base::ids::{AccountId, ShardId};
use crate::base::outbound::{ChunkPool, Head};
use crate::proto::client::Publish;
use crate::proto::quote::quote;
use crate::router::{Group, GroupPick, NONE, Part, Plan, PlanId, QueueId, Sub, SubId};
use crate::session::{Publisher, Session};
use crate::subject;

/// A message as deliveries need it.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// What receivers see.
    pub subject: &'a [u8],
    /// What decides who they are, where that is another subject; else empty. JetStream delivers
    /// to an inbox what was published elsewhere.
    pub to: &'a [u8],
    /// `[reply ][header size ]size\r\nbody\r\n`.
    pub rest: &'a [u8],
    /// The same as a shared piece, when it is a large one.
    pub shared: Option<&'a Bytes>,
    pub reply_len: usize,
    /// 0 for none.
    pub header_len: usize,
    pub body_len: usize,
}

impl<'a> Message<'a> {
    fn verb(&self) -> &'static [u8] {
        if self.header_len > 0 {
            b"HMSG "
        } else {
            b"MSG "
        }
    }

    /// The same on its way to those who subscribe to another subject. Who sees that subject sees
    /// it; who sees one that it was stored with goes on to see that.
    pub(super) fn routed_by(&self, subject: &'a [u8]) -> Message<'a> {
        match self.to.is_empty() {
            true => Message { subject, ..*self },
            false => Message {
                to: subject,
                ..*self
            },
        }
    }

    /// The subject that routes it, and the one that is seen instead, if there is one.
    pub(super) fn subject_and_shown(&self) -> (&'a [u8], &'a [u8]) {
        match self.to.is_empty() {
            true => (self.subject, &[]),
            false => (self.to, self.subject),
        }
    }

    pub(super) fn reply(&self) -> &'a [u8] {
        &self.rest[..self.reply_len]
    }

    pub(super) fn body(&self) -> &'a [u8] {
        let end = self.rest.len() - 2;
        &self.rest[end - self.body_len..end]
    }
}

/// Where a message comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub publisher: Publisher,
    /// The publishing connection's slot, when it is of this shard and wants no echo.
    pub no_echo: u32,
    /// It was sent on once already.
    pub replanned: bool,
}

impl Shard {
    /// Publishes for a connection of this shard. `whole` is the buffer the operation lies in when
    /// it is large enough to be shared.
    #[inline]
    pub(super) fn publish(
        &mut self,
        from: u32,
        publish: &Publish<'_>,
        whole: Option<&Bytes>,
        fx: &mut Effects,
    ) {
        let session = &mut self.sessions[from as usize];
        session.in_messages += 1;
        session.in_bytes += publish.body.len() as u64;
        if session.mapped | publish.header_len.is_some() {
            self.publish_unusual(from, publish, whole, fx);
        } else {
            self.publish_there(from, publish, whole, fx);
        }
    }

    /// Publishes to a subject that mappings have nothing to say about any more.
    #[inline]
    pub(super) fn publish_there(
        &mut self,
        from: u32,
        publish: &Publish<'_>,
        whole: Option<&Bytes>,
        fx: &mut Effects,
    ) {
        let session = &mut self.sessions[from as usize];
        let account = session.account;
        let permissions = session.permissions_id;
        let hint = session.plan_hint;
        let mut plan = match permissions {
            0 => self.router.route_freely(account, publish.subject, hint),
            _ => self.router.route(account, publish.subject, hint),
        };
        session.plan_hint = plan;
        if permissions != 0
            && !self.router.plans.get(plan).is_allowed(permissions)
            && !self.check_permissions(from, publish, plan, fx)
        {
            return;
        }
        let session = &self.sessions[from as usize];
        if session.wordy || needs_look(publish.subject, publish.reply) {
            // Rare, and possibly the end of it. Not for what merely begins like what is reserved, as
            // acknowledgements and most replies do: a subject that is routed twice is taken for one
            // that comes often, and gets a seat among the plans.
            if !self.check_publish(from, publish, whole, fx) {
                return;
            }
            plan = self.router.route(account, publish.subject, plan);
        }
        let session = &self.sessions[from as usize];
        let answer = session.no_responders && !publish.reply.is_empty();
        if self.router.plans.get(plan).is_empty() {
            if answer {
                self.no_responders(from, publish, fx);
            }
            return;
        }
        let origin = Origin {
            publisher: Publisher {
                shard: self.id,
                conn: session.id,
            },
            no_echo: if session.echo { NONE } else { from },
            replanned: false,
        };
        if self.deliver_to_one(&origin, plan, publish, whole.is_some(), fx) {
            return;
        }
        let delivered = match publish.rest {
            Some(rest) => {
                let shared = whole.map(|whole| whole.slice_ref(rest));
                let message = message(publish, rest, shared.as_ref());
                self.send_to_plan(&origin, plan, &message, fx)
            }
            None => {
                let rest = normalised(publish);
                let message = message(publish, &rest, None);
                self.send_to_plan(&origin, plan, &message, fx)
            }
        };
        if answer && !delivered {
            self.no_responders(from, publish, fx);
        }
    }

    /// The shortest way, for the most frequent cases: one subscription on this shard, or one queue
    /// group, with nothing special about it or the message. False when it is not that case.
    #[inline(always)]
    fn deliver_to_one(
        &mut self,
        origin: &Origin,
        plan: PlanId,
        publish: &Publish<'_>,
        large: bool,
        fx: &mut Effects,
    ) -> bool {
        let plan = self.router.plans.get(plan);
        let (Some(rest), None) = (publish.rest, publish.header_len) else {
            return false;
        };
        let sub_id = if let Some(sub) = plan.only_plain() {
            sub
        } else if let Some(group) = plan.only_group() {
            let Group {
                members, remote, ..
            } = &self.router.groups[group];
            if members.is_empty() || !remote.is_empty() {
                return false;
            }
            members[self.prng.below(members.len() as u32) as usize]
        } else {
            return false;
        };
        let sub = &mut self.router.subs[sub_id];
        let session = &mut self.sessions[sub.conn as usize];
        if large || session.deaf || sub.conn == origin.no_echo || self.settings.trace {
            return false;
        }
        let message = message(publish, rest, None);
        let max_pending = self.settings.limits.max_pending_bytes;
        let (pool, full) = (&mut self.pool, (&mut self.full, max_pending));
        if !deliver_ordinary(sub, session, pool, &plan.first.head, &message, full, fx) {
            return false;
        }
        if !self.full.is_empty() {
            self.settle(origin, fx);
        }
        true
    }

    /// Delivers to everybody in the plan, here and elsewhere; whether there was anybody.
    #[inline]
    pub(super) fn send_to_plan(
        &mut self,
        origin: &Origin,
        plan: PlanId,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        let Plan {
            first, services, ..
        } = self.router.plans.get(plan);
        let alone = self.router.plans.get(plan).is_alone();
        if alone && first.subject.is_empty() {
            return self.send_to_part(origin, plan, 0, &[], message, fx);
        }
        let services = services.clone();
        let account = self.router.plans.account(plan);
        self.send_to_importers(origin, plan, message, fx)
            | self.send_to_services(origin, account, &services, message, fx)
    }

    /// Delivers to each part of a plan, with the subject that it has there.
    pub(super) fn send_to_importers(
        &mut self,
        origin: &Origin,
        plan: PlanId,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        let mut delivered = false;
        let taken = self.share_out(origin, plan);
        let mut subject = std::mem::take(&mut self.imported_subject);
        for number in 0..self.router.plans.get(plan).parts() {
            let there = &self.router.plans.get(plan).part(number).subject;
            let message = if there.is_empty() {
                *message
            } else {
                subject.clear();
                subject.extend_from_slice(there);
                message.routed_by(&subject)
            };
            let mine = |&&(_, part): &&(QueueId, usize)| part != number;
            let left_out: SmallVec<[QueueId; 4]> =
                taken.iter().filter(mine).map(|&(queue, _)| queue).collect();
            delivered |= self.send_to_part(origin, plan, number, &left_out, &message, fx);
        }
        self.imported_subject = subject;
        delivered
    }

    /// The part that gets the message for each queue group with members in several accounts: as
    /// in nats-server they are one group, in which each member is as likely that would take it.
    fn share_out(&mut self, origin: &Origin, plan: PlanId) -> SmallVec<[(QueueId, usize); 4]> {
        let plan = self.router.plans.get(plan);
        let mut taken = SmallVec::new();
        for &queue in &plan.shared {
            let mut members: SmallVec<[(usize, u32); 4]> = SmallVec::new();
            for number in 0..plan.parts() {
                let pick = plan.part(number).groups.iter().find(|p| p.queue == queue);
                members.extend(pick.map(|pick| (number, self.takers(origin, pick))));
            }
            let total: u32 = members.iter().map(|&(_, count)| count).sum();
            let mut at = self.prng.below(total.max(1));
            for (number, count) in members {
                if at < count {
                    taken.push((queue, number));
                    break;
                }
                at -= count;
            }
        }
        taken
    }

    /// How many members of a group would take a message, as far as that is known here: not who has sent it
    /// and wants no echo, or is just leaving.
    fn takers(&self, origin: &Origin, pick: &GroupPick) -> u32 {
        let members = pick
            .groups
            .iter()
            .flat_map(|&g| &self.router.groups[g].members);
        let takes = |conn: u32| conn != origin.no_echo && !self.sessions[conn as usize].deaf;
        let unwilling = members.filter(|&&sub| !takes(self.router.subs[sub].conn));
        self.router.members(pick) - unwilling.count() as u32
    }

    /// Delivers to everybody of one account but the queue groups `left_out`, here and elsewhere;
    /// whether there was anybody.
    #[inline]
    fn send_to_part(
        &mut self,
        origin: &Origin,
        plan_id: PlanId,
        number: usize,
        left_out: &[QueueId],
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        if let Some(tracing) = &mut self.tracing {
            tracing.via = self.router.plans.get(plan_id).part(number).via;
        }
        let mut delivered = self.deliver_plain(origin, plan_id, number, message, fx);
        let part = self.router.plans.get(plan_id).part(number);
        if part.remote == 0 && part.groups.is_empty() {
            return delivered;
        }
        let (remote, hash, account) = (part.remote, part.hash, part.account);
        let mut chosen: SmallVec<[(ShardId, u32); 4]> = SmallVec::new();
        if !part.groups.is_empty() {
            // Taken out while deliveries change sessions and subscriptions, and put back.
            let picks = self.router.plans.take_groups(plan_id, number);
            for pick in picks.iter().filter(|p| !left_out.contains(&p.queue)) {
                match self.pick(pick) {
                    Pick::Here(start) => {
                        delivered |= self.deliver_queue(origin, pick, start, message, fx)
                            || self.elsewhere(pick, &mut chosen);
                    }
                    Pick::There(shard) => {
                        chosen.push((shard, pick.queue));
                        delivered = true;
                    }
                    Pick::Nobody => {}
                }
            }
            self.router.plans.put_groups(plan_id, number, picks);
        }
        let mut shards = remote;
        for &(shard, _) in &chosen {
            shards |= shard.bit();
        }
        for shard in crate::base::ids::ShardSet(shards) {
            delivered = true;
            self.queue_names.clear();
            for &(_, queue) in chosen.iter().filter(|&&(s, _)| s == shard) {
                frame::push_queue_name(&mut self.queue_names, self.router.queues.name(queue));
            }
            let plain = remote & shard.bit() != 0;
            self.send_to_shard(origin, (account, hash), (shard, plain), message, fx);
        }
        delivered
    }

    /// Copies the message to each plain subscription of this shard.
    #[inline]
    fn deliver_plain(
        &mut self,
        origin: &Origin,
        plan: PlanId,
        part: usize,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        if self.tracing.is_some() {
            return self.deliver_plain_traced(origin, (plan, part), message, fx);
        }
        let Self {
            router,
            sessions,
            pool,
            head: scratch,
            full,
            settings,
            ..
        } = self;
        let max_pending = settings.limits.max_pending_bytes;
        let Part { plain, head, .. } = router.plans.get(plan).part(part);
        if plain.is_empty() {
            return false;
        }
        let head = if message.header_len > 0 || !message.to.is_empty() {
            scratch.set(message.verb(), message.subject);
            scratch
        } else {
            head
        };
        let mut delivered = false;
        let mut odd: SmallVec<[SubId; 4]> = SmallVec::new();
        for &sub_id in plain {
            let sub = &mut router.subs[sub_id];
            let session = &mut sessions[sub.conn as usize];
            if session.deaf || sub.conn == origin.no_echo {
                continue;
            }
            let full = (&mut *full, max_pending);
            if deliver_ordinary(sub, session, pool, head, message, full, fx) {
                delivered = true;
            } else {
                odd.push(sub_id);
            }
        }
        let asked = odd.len();
        odd.retain(|sub| !self.deliver_odd(origin, *sub, message, fx));
        // Those that are left may not have it, and are no responders.
        delivered |= odd.len() < asked;
        if self.settings.trace {
            self.trace_deliveries((plan, part), origin, &odd, message, fx);
        }
        self.settle(origin, fx);
        delivered
    }

    /// Delivers where the short way will not do: a maximum of messages, a long id, a shared
    /// payload, a header that the subscriber does not understand. False if it is not for this
    /// subscription.
    #[inline(never)]
    pub(super) fn deliver_odd(
        &mut self,
        origin: &Origin,
        sub_id: SubId,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        let conn = self.router.subs[sub_id].conn as usize;
        if self.streams.owns(conn as u32) {
            return self.sink(origin, sub_id, message);
        }
        if self.sessions[conn].deaf {
            // Another of its subscriptions has had too much of the same message.
            return false;
        }
        let checked = self.router.subs[sub_id].checked;
        if checked && !self.check_delivery(sub_id, message) {
            return false;
        }
        if self.router.subs[sub_id].special {
            let max = self.router.max_of(sub_id);
            let delivered = self.router.subs[sub_id].delivered + 1;
            if delivered > max {
                return false;
            }
            if delivered == max {
                self.spent.push(sub_id);
            }
        }
        let sub = &mut self.router.subs[sub_id];
        let session = &mut self.sessions[sub.conn as usize];
        if session.may_reply && message.reply_len > 0 {
            session.expect_reply(message.reply(), self.now);
        }
        sub.delivered += 1;
        session.out_messages += 1;
        session.out_bytes += message.body_len as u64;
        let strip = message.header_len > 0 && !session.headers;
        if strip {
            self.head.set(b"MSG ", message.subject);
            self.rest.clear();
            without_header(message, &mut self.rest);
        } else {
            self.head.set(message.verb(), message.subject);
        }
        let (rest, shared) = match (strip, message.shared) {
            (true, _) => (self.rest.as_slice(), None),
            (false, Some(shared)) => (&[][..], Some(shared)),
            (false, None) => (message.rest, None),
        };
        match sub.sid.long_place() {
            Some(place) => session.out.append_message_long_sid(
                &mut self.pool,
                &self.head,
                self.router.long_sid(place),
                rest,
            ),
            None => {
                let sid = self.router.subs[sub_id].sid;
                session
                    .out
                    .append_message(&mut self.pool, &self.head, sid, rest);
            }
        }
        if let Some(shared) = shared {
            session.out.append_shared(&mut self.pool, shared.clone());
        }
        Self::mark_dirty(session, fx);
        if session.out.pending_bytes() > session.water {
            fill(
                session,
                self.settings.limits.max_pending_bytes,
                &mut self.full,
            );
        }
        true
    }

    /// After a delivery: subscriptions that have had their share, destinations that are full.
    /// In this order, because the second may close a connection and with it the first.
    #[inline]
    pub(super) fn settle(&mut self, origin: &Origin, fx: &mut Effects) {
        if !self.spent.is_empty() {
            for sub in std::mem::take(&mut self.spent) {
                self.remove_subscription(sub, fx);
            }
        }
        if !self.full.is_empty() {
            for i in 0..self.full.len() {
                self.over_water(self.full[i], origin.publisher, fx);
            }
            self.full.clear();
        }
    }

    /// Where the member is that gets the message: each member of the group is as likely.
    fn pick(&mut self, pick: &GroupPick) -> Pick {
        let groups = &self.router.groups;
        let here: u32 = pick
            .groups
            .iter()
            .map(|&g| groups[g].members.len() as u32)
            .sum();
        let there = pick.groups.iter().flat_map(|&g| &groups[g].remote);
        let total = here + there.clone().map(|&(_, members)| members).sum::<u32>();
        if total == 0 {
            return Pick::Nobody;
        }
        let mut at = self.prng.below(total);
        if at < here {
            return Pick::Here(at);
        }
        at -= here;
        for &(shard, members) in there {
            if at < members {
                return Pick::There(shard);
            }
            at -= members;
        }
        unreachable!("the members were counted")
    }

    /// Another shard with members of the group, when none here would take the message.
    fn elsewhere(&self, pick: &GroupPick, chosen: &mut SmallVec<[(ShardId, u32); 4]>) -> bool {
        let there = pick
            .groups
            .iter()
            .flat_map(|&g| &self.router.groups[g].remote)
            .next();
        match there {
            Some(&(shard, _)) => {
                chosen.push((shard, pick.queue));
                true
            }
            None => false,
        }
    }

    /// Delivers to one member of this shard: the one at `start`, or the next that takes it.
    fn deliver_queue(
        &mut self,
        origin: &Origin,
        pick: &GroupPick,
        start: u32,
        message: &Message<'_>,
        fx: &mut Effects,
    ) -> bool {
        if self.tracing.is_some() {
            return self.deliver_queue_traced(origin, pick, start, message, fx);
        }
        let groups = &self.router.groups;
        if let &[group] = &pick.groups[..] {
            // Nearly always there is one pattern, and the member chosen takes it.
            let sub_id = groups[group].members[start as usize];
            let sub = &mut self.router.subs[sub_id];
            let session = &mut self.sessions[sub.conn as usize];
            if !session.deaf && sub.conn != origin.no_echo && !self.settings.trace {
                let max_pending = self.settings.limits.max_pending_bytes;
                let (pool, full) = (&mut self.pool, (&mut self.full, max_pending));
                self.head.set(message.verb(), message.subject);
                if deliver_ordinary(sub, session, pool, &self.head, message, full, fx) {
                    self.settle(origin, fx);
                    return true;
                }
            }
        }
        let groups = &self.router.groups;
        let members = || pick.groups.iter().flat_map(|&g| &groups[g].members);
        let start = start as usize;
        let all: SmallVec<[SubId; 16]> = members()
            .skip(start)
            .chain(members().take(start))
            .copied()
            .collect();
        for sub in all {
            let conn = self.router.subs[sub].conn;
            if conn == origin.no_echo || self.sessions[conn as usize].deaf {
                continue;
            }
            if self.deliver_odd(origin, sub, message, fx) {
                if self.settings.trace {
                    self.trace_delivery(sub, message, fx);
                }
                self.settle(origin, fx);
                return true;
            }
        }
        false
    }

    /// Puts the message into the batch for another shard, for the queues in `queue_names`.
    fn send_to_shard(
        &mut self,
        origin: &Origin,
        (account, hash): (AccountId, u64),
        (shard, plain): (ShardId, bool),
        message: &Message<'_>,
        fx: &mut Effects,
    ) {
        let (subject, shown) = message.subject_and_shown();
        let frame = PublishFrame {
            publisher: origin.publisher,
            account,
            hash,
            subject,
            shown,
            plain,
            replanned: origin.replanned,
            response: false,
            trace: self.frame_trace(),
            queues: QueueNames(&self.queue_names),
            reply_len: message.reply_len,
            header_len: message.header_len,
            body_len: message.body_len,
            rest: match message.shared {
                Some(_) => FrameRest::Shared,
                None => FrameRest::Inline(message.rest),
            },
        };
        self.mesh.publish(shard, &frame, message.shared);
        fx.mesh.0 |= shard.bit();
        if self.mesh.is_over_high_water(shard) {
            self.hold_for_mesh(shard, origin.publisher, fx);
        }
    }

    /// A message that came from another shard.
    #[inline]
    pub(super) fn deliver_frame(
        &mut self,
        frame: &PublishFrame<'_>,
        shared: Option<&Bytes>,
        fx: &mut Effects,
    ) {
        if let Some(trace) = &frame.trace {
            self.deliver_traced_frame(frame, trace, shared, fx);
            return;
        }
        let rest = match (frame.rest, shared) {
            (FrameRest::Inline(rest), _) => rest,
            (FrameRest::Shared, Some(shared)) => shared,
            (FrameRest::Shared, None) => unreachable!("a batch holds the payloads it speaks of"),
        };
        let (subject, to) = match frame.shown {
            [] => (frame.subject, &[][..]),
            shown => (shown, frame.subject),
        };
        let message = Message {
            subject,
            to,
            rest,
            shared,
            reply_len: frame.reply_len,
            header_len: frame.header_len,
            body_len: frame.body_len,
        };
        let origin = Origin {
            publisher: frame.publisher,
            no_echo: self.no_echo_of(frame.publisher),
            replanned: true,
        };
        if frame.response {
            self.respond(&origin, frame.account, &message, frame.queues.0, fx);
            return;
        }
        let plan = self
            .router
            .route_hashed(frame.account, frame.subject, frame.hash);
        if self.router.plans.get(plan).first.via.is_some() {
            // Those for whom it was meant have left; who imports it was served by its own shard.
            return;
        }
        if frame.plain {
            self.deliver_plain(&origin, plan, 0, &message, fx);
        }
        for name in frame.queues {
            self.deliver_frame_queue(frame, name, plan, &origin, &message, fx);
        }
    }

    /// The slot of a publisher that wants no echo, when its own message comes back to this shard
    /// because the queue member meant for it had left elsewhere.
    #[inline]
    fn no_echo_of(&self, publisher: Publisher) -> u32 {
        if publisher.shard != self.id {
            return NONE;
        }
        match self.sessions.get(publisher.conn.index as usize) {
            Some(session) if session.id == publisher.conn && !session.echo => session.id.index,
            _ => NONE,
        }
    }

    /// One member here of a group gets the message; if the last one has just left, a member
    /// elsewhere, once.
    fn deliver_frame_queue(
        &mut self,
        frame: &PublishFrame<'_>,
        name: &[u8],
        plan: PlanId,
        origin: &Origin,
        message: &Message<'_>,
        fx: &mut Effects,
    ) {
        let Some(queue) = self.router.queues.find(name) else {
            return;
        };
        let groups = &self.router.plans.get(plan).first.groups;
        let Some(pick) = groups.iter().find(|pick| pick.queue == queue).cloned() else {
            return;
        };
        let here: u32 = pick
            .groups
            .iter()
            .map(|&g| self.router.groups[g].members.len() as u32)
            .sum();
        if here > 0 {
            let start = self.prng.below(here);
            if self.deliver_queue(origin, &pick, start, message, fx) {
                return;
            }
        }
        let mut chosen = SmallVec::new();
        if !frame.replanned && self.elsewhere(&pick, &mut chosen) {
            self.counters.replans += 1;
            self.queue_names.clear();
            frame::push_queue_name(&mut self.queue_names, name);
            for (shard, _) in chosen {
                let whose = (frame.account, frame.hash);
                self.send_to_shard(origin, whose, (shard, false), message, fx);
            }
        }
    }

    /// Checks that only some subjects and some clients need; false when the message is refused.
    #[cold]
    #[inline(never)]
    fn check_publish(
        &mut self,
        from: u32,
        publish: &Publish<'_>,
        whole: Option<&Bytes>,
        fx: &mut Effects,
    ) -> bool {
        let Publish { subject, reply, .. } = *publish;
        let refused = if self.is_reserved_here(from, subject) {
            self.publish_violation(from, subject, fx);
            return false;
        } else if self.sessions[from as usize].internal {
            None
        } else if is_reserved_reply(reply) {
            let log = format!("Publish Violation - Reply {}", quote(reply));
            let reply = quote(reply);
            let text = format!("Permissions Violation for Publish with Reply of {reply}");
            Some((log, text))
        } else {
            None
        };
        if let Some((log, text)) = refused {
            self.note_ingress_error(&text);
            self.log(from, Level::Error, &log, fx);
            self.reply_error(from, &text, fx);
            return false;
        }
        // What a mapping has lost has no subject, which is no mistake of the client.
        let is_wrong = !subject.is_empty() && !subject::is_valid_literal(subject);
        if self.sessions[from as usize].pedantic && is_wrong {
            self.reply_error(from, "Invalid Publish Subject", fx);
        }
        if self.settings.trace {
            self.trace_publish(from, publish, fx);
        }
        if self.sessions[from as usize].verbose {
            self.reply(from, b"+OK\r\n", fx);
        }
        if is_response(subject) {
            self.publish_response(from, publish, whole, fx);
            return false;
        }
        true
    }

    /// Whether a subject is reserved for servers, to those of this connection's account.
    pub(super) fn is_reserved_here(&self, from: u32, subject: &[u8]) -> bool {
        let system = self.settings.policy.directory.system;
        is_reserved_subject(
            subject,
            system == Some(self.sessions[from as usize].account),
        )
    }

    #[cold]
    pub(super) fn publish_violation(&mut self, from: u32, subject: &[u8], fx: &mut Effects) {
        let subject = quote(subject);
        let text = format!("Publish Violation - Subject {subject}");
        self.log(from, Level::Error, &text, fx);
        let text = format!("Permissions Violation for Publish to {subject}");
        self.note_ingress_error(&text);
        self.reply_error(from, &text, fx);
    }

    /// Tells a requester that nobody listens: status 503 on its reply subject, with the subject
    /// it asked (ADR-4, and "No Responders" in docs.nats.io).
    #[cold]
    fn no_responders(&mut self, from: u32, publish: &Publish<'_>, fx: &mut Effects) {
        let mut sub = self.sessions[from as usize].first_sub;
        while sub != NONE {
            let plain = self.router.subs[sub].group == NONE;
            if plain && subject::matches(self.router.subject_of(sub), publish.reply) {
                break;
            }
            sub = self.router.next_of_conn(sub);
        }
        if sub == NONE {
            return;
        }
        let mut header = b"NATS/1.0 503\r\nNats-Subject: ".to_vec();
        header.extend_from_slice(publish.subject);
        header.extend_from_slice(b"\r\n\r\n");
        let mut line = b"HMSG ".to_vec();
        line.extend_from_slice(publish.reply);
        let sizes = format!(
            " {} {len} {len}\r\n",
            self.sid_text(sub),
            len = header.len()
        );
        line.extend_from_slice(sizes.as_bytes());
        line.extend_from_slice(&header);
        line.extend_from_slice(b"\r\n");
        let session = &mut self.sessions[from as usize];
        session.out.append(&mut self.pool, &line);
        Self::mark_dirty(session, fx);
        self.check_replies(from, fx);
    }
}

/// Delivers to a subscription like most: without a maximum, with a short id, and able to take the
/// message as it is. False when it is not like that.
#[inline(always)]
fn deliver_ordinary(
    sub: &mut Sub,
    session: &mut Session,
    pool: &mut ChunkPool,
    head: &Head,
    message: &Message<'_>,
    (full, max_pending): (&mut Vec<u32>, usize),
    fx: &mut Effects,
) -> bool {
    let ordinary = !sub.special
        && sub.sid.long_place().is_none()
        && message.shared.is_none()
        && (message.header_len == 0 || session.headers)
        && (message.reply_len == 0 || !session.may_reply);
    if !ordinary {
        return false;
    }
    sub.delivered += 1;
    session.out_messages += 1;
    session.out_bytes += message.body_len as u64;
    session
        .out
        .append_message(pool, head, sub.sid, message.rest);
    Shard::mark_dirty(session, fx);
    if session.out.pending_bytes() > session.water {
        fill(session, max_pending, full);
    }
    true
}

/// Notes a destination over its mark. Over `max_pending` it gets no more of the message either: a
/// connection may have any number of subscriptions that match.
#[cold]
fn fill(session: &mut Session, max_pending: usize, full: &mut Vec<u32>) {
    session.deaf = session.out.pending_bytes() > max_pending;
    full.push(session.id.index);
}

enum Pick {
    /// On this shard, counted over its members.
    Here(u32),
    There(ShardId),
    Nobody,
}

#[inline]
pub(super) fn message<'a>(
    publish: &Publish<'a>,
    rest: &'a [u8],
    shared: Option<&'a Bytes>,
) -> Message<'a> {
    Message {
        subject: publish.subject,
        to: &[],
        rest,
        shared,
        reply_len: publish.reply.len(),
        header_len: publish.header_len.unwrap_or(0),
        body_len: publish.body.len(),
    }
}

/// What a delivery says after the subscription id, for a publish that was spelled otherwise.
#[cold]
pub(super) fn normalised(publish: &Publish<'_>) -> Vec<u8> {
    let mut rest = Vec::with_capacity(publish.reply.len() + publish.body.len() + 32);
    if !publish.reply.is_empty() {
        rest.extend_from_slice(publish.reply);
        rest.push(b' ');
    }
    if let Some(len) = publish.header_len {
        rest.extend_from_slice(format!("{len} ").as_bytes());
    }
    rest.extend_from_slice(format!("{}\r\n", publish.body.len()).as_bytes());
    rest.extend_from_slice(publish.body);
    rest.extend_from_slice(b"\r\n");
    rest
}

/// The same for a subscriber that does not understand headers.
#[cold]
fn without_header(message: &Message<'_>, rest: &mut Vec<u8>) {
    let payload = &message.body()[message.header_len..];
    if message.reply_len > 0 {
        rest.extend_from_slice(message.reply());
        rest.push(b' ');
    }
    rest.extend_from_slice(format!("{}\r\n", payload.len()).as_bytes());
    rest.extend_from_slice(payload);
    rest.extend_from_slice(b"\r\n");
}

/// Whether a subject may be one of the reserved ones.
#[inline]
fn is_special(subject: &[u8]) -> bool {
    matches!(subject, [b'$' | b'_', ..])
}

/// Whether something is special about a publish but that its subject or reply begins so.
#[inline]
fn needs_look(subject: &[u8], reply: &[u8]) -> bool {
    is_special(subject) && (is_reserved_subject(subject, false) || is_response(subject))
        || is_special(reply) && is_reserved_reply(reply)
}

fn is_reserved_subject(subject: &[u8], is_system: bool) -> bool {
    let reserved: &[&[u8]] = match is_system {
        true => &[b"$GR.", b"_GR_."],
        false => &[b"$NRG.", b"$GR.", b"_GR_."],
    };
    reserved.iter().any(|prefix| subject.starts_with(prefix))
}

fn is_reserved_reply(reply: &[u8]) -> bool {
    reply.starts_with(b"_R_.")
        || [&b"$JS.ACK."[..], b"$GR.", b"_GR_."]
            .iter()
            .any(|prefix| reply.starts_with(prefix) && reply.len() > prefix.len())
}
