//! The way out of a stream or consumer: its account's subjects, and what is held until it is true.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::held::Held;
use super::host::{Host, Sink, StreamId};
use crate::base::ids::AccountId;
use crate::jetstream::sourcing::Feeder;
use crate::jetstream::{Outgoing, Outlet, Reached};

/// Which streams want to know whether anybody listens to a subject, as often as they want it.
#[derive(Debug, Default)]
pub struct Watchers(HashMap<Subject, SmallVec<[u32; 2]>>);

/// A subject of an account.
type Subject = (AccountId, Box<[u8]>);

impl Watchers {
    /// The streams that watch a subject, each once.
    pub fn of(&self, account: AccountId, subject: &[u8]) -> SmallVec<[u32; 2]> {
        let mut places = self
            .0
            .get(&(account, subject.into()))
            .cloned()
            .unwrap_or_default();
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// The [`Outlet`] of an account, for the time of one call.
pub struct WayOut<'a, H: Host> {
    /// Where it leads.
    pub host: &'a mut H,
    /// Whose subjects.
    pub account: AccountId,
    /// What waits.
    pub held: &'a mut Held,
    /// Whose way out it is.
    pub place: u32,
    /// And how many have had its place before.
    pub life: u32,
    /// Who watches what.
    pub watchers: &'a mut Watchers,
}

impl<H: Host> Outlet for WayOut<'_, H> {
    fn publish(&mut self, message: &Outgoing<'_>) -> Reached {
        self.host.publish(self.account, message)
    }

    fn publish_durable(&mut self, message: &Outgoing<'_>) {
        self.held.push(self.account, message);
    }

    fn publish_anew(&mut self, subject: &[u8], reply: &[u8], headers: &[u8], payload: &[u8]) {
        let message = Outgoing {
            to: subject,
            subject,
            reply,
            headers,
            payload,
        };
        self.host.publish(self.account, &message);
    }

    fn has_interest(&mut self, subject: &[u8]) -> bool {
        self.host.has_interest(self.account, subject)
    }

    fn has_literal_interest(&mut self, subject: &[u8]) -> bool {
        self.host.has_literal_interest(self.account, subject)
    }

    fn is_subscribed(&mut self, subject: &[u8], queue: &[u8]) -> bool {
        self.host.is_subscribed(self.account, subject, queue)
    }

    fn watch_interest(&mut self, subject: &[u8]) -> bool {
        let key = (self.account, subject.into());
        self.watchers.0.entry(key).or_default().push(self.place);
        self.host.watch(self.account, subject);
        self.host.has_interest(self.account, subject)
    }

    fn unwatch_interest(&mut self, subject: &[u8]) {
        let key = (self.account, subject.into());
        if let Some(places) = self.watchers.0.get_mut(&key)
            && let Some(at) = places.iter().position(|&place| place == self.place)
        {
            places.swap_remove(at);
            if places.is_empty() {
                self.watchers.0.remove(&key);
            }
            self.host.unwatch(self.account, subject);
        }
    }

    fn random(&mut self) -> u64 {
        self.host.random()
    }
}

impl<H: Host> Feeder for WayOut<'_, H> {
    fn publish(&mut self, message: &Outgoing<'_>) {
        self.host.publish(self.account, message);
    }

    fn listen(&mut self, subject: &[u8]) -> u32 {
        let sink = Sink::Feed(StreamId {
            place: self.place,
            life: self.life,
        });
        self.host.listen(self.account, subject, sink, true)
    }

    fn unlisten(&mut self, listen: u32) {
        self.host.unlisten(listen);
    }

    fn random(&mut self) -> u64 {
        self.host.random()
    }
}
