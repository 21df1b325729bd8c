//! Permissions and mappings of a publish or a delivery, off the shortest way.

use bytes::Bytes;

use super::publish::Message;
use super::{Effects, Shard};
use crate::auth::mapping::Selected;
use crate::proto::client::Publish;
use crate::router::{PlanId, SubId};

impl Shard {
    /// Whether the publisher may publish to the subject. The answer yes is remembered with the
    /// plan, so that it is asked for once and not for each message.
    #[inline(never)]
    pub(super) fn check_permissions(
        &mut self,
        from: u32,
        publish: &Publish<'_>,
        plan: PlanId,
        fx: &mut Effects,
    ) -> bool {
        let session = &mut self.sessions[from as usize];
        let Some(permissions) = session.permissions() else {
            return true;
        };
        if permissions.may_publish(publish.subject) {
            self.router.plans.allow(plan, session.permissions_id);
            return true;
        }
        let now = self.now;
        let asked_for = session
            .replies
            .as_mut()
            .is_some_and(|replies| replies.take(publish.subject, now));
        if !asked_for {
            self.publish_violation(from, publish.subject, fx);
        }
        asked_for
    }

    /// Whether a message may be delivered to a subscription that needs asking.
    pub(super) fn check_delivery(&mut self, sub_id: SubId, message: &Message<'_>) -> bool {
        let sub = &self.router.subs[sub_id];
        let queue = self.router.queue_of(sub_id);
        let session = &mut self.sessions[sub.conn as usize];
        if let Some(permissions) = session.permissions()
            && !permissions.may_deliver(message.subject, queue)
        {
            return false;
        }
        true
    }

    /// Publishes to where the account's mappings lead.
    #[inline(never)]
    pub(super) fn publish_mapped(
        &mut self,
        from: u32,
        publish: &Publish<'_>,
        whole: Option<&Bytes>,
        fx: &mut Effects,
    ) {
        let account = self.sessions[from as usize].account;
        let random = self.prng.next_u64();
        let mut subject = Vec::new();
        let selected = self
            .settings
            .policy
            .directory
            .get(account)
            .and_then(|account| account.mappings.as_ref())
            .map_or(Selected::Unchanged, |mappings| {
                mappings.select(publish.subject, random, &mut subject)
            });
        self.note_mapping(selected, &subject);
        match selected {
            Selected::Unchanged => self.publish_there(from, publish, whole, fx),
            // Its weights say that this one is lost: a subject that nobody can listen to.
            Selected::Dropped | Selected::Mapped => {
                let mapped = Publish {
                    subject: &subject,
                    ..*publish
                };
                self.publish_there(from, &mapped, whole, fx);
            }
        }
    }
}
