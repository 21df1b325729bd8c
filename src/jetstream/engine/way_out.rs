//! The way out of a stream or consumer: its account's subjects, and what is held until it is true.

use super::held::Held;
use super::host::Host;
use crate::base::ids::AccountId;
use crate::jetstream::{Outgoing, Outlet, Reached};

/// The [`Outlet`] of an account, for the time of one call.
pub struct WayOut<'a, H: Host> {
    /// Where it leads.
    pub host: &'a mut H,
    /// Whose subjects.
    pub account: AccountId,
    /// What waits.
    pub held: &'a mut Held,
}

impl<H: Host> Outlet for WayOut<'_, H> {
    fn publish(&mut self, message: &Outgoing<'_>) -> Reached {
        self.host.publish(self.account, message)
    }

    fn publish_durable(&mut self, message: &Outgoing<'_>) {
        self.held.push(self.account, message, 0);
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

    fn watch_interest(&mut self, subject: &[u8]) -> bool {
        self.host.watch(self.account, subject);
        self.host.has_interest(self.account, subject)
    }

    fn unwatch_interest(&mut self, subject: &[u8]) {
        self.host.unwatch(self.account, subject);
    }

    fn random(&mut self) -> u64 {
        self.host.random()
    }
}
