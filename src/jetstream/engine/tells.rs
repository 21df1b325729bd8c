//! What an engine tells whoever listens: advisories about streams, snapshots and requests. Consumers
//! tell of themselves. Nothing is written where nobody listens.

use super::Engine;
use super::host::{Arrival, Host};
use crate::base::ids::AccountId;
use crate::jetstream::api::advisories::{Action, Advisory, Envelope, id};
use crate::jetstream::{Now, Outgoing};

impl Engine {
    /// Tells of something that has happened in an account.
    pub(super) fn tell<H: Host>(
        &mut self,
        account: AccountId,
        advisory: &Advisory<'_>,
        now: Now,
        host: &mut H,
    ) {
        let mut subject = Vec::new();
        advisory.subject(&mut subject);
        if !host.has_interest(account, &subject) {
            return;
        }
        let id = id(|| host.random());
        let envelope = Envelope {
            id: &id,
            now: now.unix,
            domain: &self.options.stream.domain,
        };
        let mut payload = Vec::new();
        advisory.render(&envelope, &mut payload);
        let message = Outgoing {
            to: &subject,
            subject: &subject,
            payload: &payload,
            ..Outgoing::default()
        };
        host.publish(account, &message);
    }

    /// Tells that a stream was made, changed or deleted.
    pub(super) fn tell_stream<H: Host>(
        &mut self,
        account: AccountId,
        stream: &str,
        action: Action,
        now: Now,
        host: &mut H,
    ) {
        self.tell(account, &Advisory::Stream { stream, action }, now, host);
    }

    /// Tells of an answered request.
    pub(super) fn audit<H: Host>(
        &mut self,
        arrival: &Arrival<'_>,
        response: &[u8],
        now: Now,
        host: &mut H,
    ) {
        if !host.has_interest(arrival.account, b"$JS.EVENT.ADVISORY.API") {
            return;
        }
        let server = self.options.server_name.clone();
        let client = self.client(arrival, host);
        let advisory = Advisory::Api {
            server: &server,
            client: &client,
            subject: arrival.to,
            request: arrival.payload,
            response,
        };
        self.tell(arrival.account, &advisory, now, host);
    }

    /// Who has asked, as far as that is known here.
    pub(super) fn client<H: Host>(&self, arrival: &Arrival<'_>, host: &H) -> Vec<u8> {
        host.client(arrival.publisher).unwrap_or_else(|| {
            let account = self.accounts.name(arrival.account);
            let mut client = Vec::new();
            let mut object = crate::jetstream::api::encode::Object::begin(&mut client);
            object.string("acc", account);
            object.end();
            client
        })
    }
}
