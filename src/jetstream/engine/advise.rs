//! What an engine tells whoever listens: advisories about streams, snapshots and requests. Consumers
//! tell of themselves. Nothing is written where nobody listens.

use super::Engine;
use super::host::{Arrival, Host};
use crate::base::ids::AccountId;
use crate::jetstream::api::advisories::{Action, Advisory};
use crate::jetstream::api::subjects::{Call, ConsumerCall, Special};
use crate::jetstream::{Now, Outgoing};

/// Where answered requests are told of.
pub(super) const API_ADVISORY: &[u8] = b"$JS.EVENT.ADVISORY.API";

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
        let domain = &self.options.stream.domain;
        let payload = advisory.written(now.unix, domain, || host.random());
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

    /// Tells the operator that a request was dropped.
    pub(super) fn tell_dropped<H: Host>(&mut self, now: Now, host: &mut H) {
        let Some(system) = self.accounts.system() else {
            return;
        };
        let server = self.options.server_name.clone();
        let advisory = Advisory::ApiLimitReached {
            server: &server,
            dropped: 1,
        };
        self.tell(system, &advisory, now, host);
    }

    /// Tells of an answered request.
    pub(super) fn audit<H: Host>(
        &mut self,
        arrival: &Arrival<'_>,
        response: &[u8],
        now: Now,
        host: &mut H,
    ) {
        if !host.has_interest(arrival.account, API_ADVISORY) {
            return;
        }
        // There, consumers answer those themselves, and tell nobody.
        let domain = self.options.stream.domain.as_bytes();
        let called = match Special::of(arrival.to, domain) {
            Some(Special::Api(Call::Consumer { call, .. })) => Some(call),
            _ => None,
        };
        if called == Some(ConsumerCall::Reset) {
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
        if !arrival.client.is_empty() {
            return arrival.client.to_vec();
        }
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
