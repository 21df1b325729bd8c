//! What must not leave before all shards know what was told them before: otherwise who is answered could act on it
//! where it is not known yet.

use std::collections::VecDeque;

use super::host::Host;
use super::{Engine, borrowed};
use crate::base::ids::ShardId;
use crate::jetstream::api::errors::ApiError;
use crate::jetstream::api::responses::Kind;
use crate::jetstream::{Order, Request};

/// One of them.
#[derive(Debug)]
pub(super) enum Fenced {
    /// The refusal of a request.
    Refusal(Box<Request>, Kind, ApiError),
    /// To the shard that has asked: its question is answered.
    Answered(ShardId, u64),
}

/// In the order in which they leave, with the numbers that they wait for.
pub(super) type Fence = VecDeque<(u64, Fenced)>;

impl Engine {
    /// Does it when all shards know what they were told so far.
    pub(super) fn when_all_know<H: Host>(&mut self, fenced: Fenced, host: &mut H) {
        let number = host.fence();
        self.fence.push_back((number, fenced));
        self.release_fenced(host);
    }

    pub(super) fn release_fenced<H: Host>(&mut self, host: &mut H) {
        let known = host.interest_known();
        while self.fence.front().is_some_and(|&(at, _)| at <= known) {
            let Some((_, fenced)) = self.fence.pop_front() else {
                break;
            };
            match fenced {
                Fenced::Refusal(request, kind, error) => {
                    self.refuse(&borrowed(&request), kind, &error, host);
                }
                Fenced::Answered(asker, question) => {
                    let streams = Vec::new();
                    if asker == host.own() {
                        self.answered(question, streams, host);
                    } else {
                        host.order(asker, Order::Answered { question, streams });
                    }
                }
            }
        }
    }
}
