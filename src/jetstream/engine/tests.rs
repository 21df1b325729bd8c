//! What an engine asks other shards before it answers, and what it drops. Nothing here has a disk.

use std::sync::Arc;

use super::*;
use crate::base::ids::ConnId;
use crate::jetstream::api::check_stream::Limits;
use crate::jetstream::api::responses::AccountLimits;
use crate::jetstream::config::{Storage, StreamConfig};
use crate::jetstream::{Reached, Usage};

const A: AccountId = AccountId(1);
const SYSTEM: AccountId = AccountId(2);
const OTHER: ShardId = ShardId(1);
const NOW: Now = Now {
    mono_ms: 1,
    unix: 1,
};

/// Shard 0 of two.
#[derive(Default)]
struct World {
    published: Vec<(AccountId, String, String)>,
    orders: Vec<(ShardId, Order)>,
}

impl Host for World {
    fn own(&self) -> ShardId {
        ShardId(0)
    }
    fn accounts(&self) -> Vec<AccountFacts> {
        let facts = |id, name: &str, limits| AccountFacts {
            id,
            name: name.to_owned(),
            limits,
            is_system: id == SYSTEM,
        };
        let limits = Limits::Flat(AccountLimits::NONE);
        vec![facts(A, "A", Some(limits)), facts(SYSTEM, "S", None)]
    }
    fn client(&self, _: (ShardId, ConnId)) -> Option<Vec<u8>> {
        None
    }
    fn publish(&mut self, account: AccountId, outgoing: &Outgoing<'_>) -> Reached {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.published
            .push((account, text(outgoing.to), text(outgoing.payload)));
        Reached::Somebody
    }
    fn has_interest(&mut self, _: AccountId, subject: &[u8]) -> bool {
        subject == b"$JS.EVENT.ADVISORY.API.LIMIT_REACHED"
    }
    fn has_literal_interest(&mut self, _: AccountId, _: &[u8]) -> bool {
        false
    }
    fn is_subscribed(&mut self, _: AccountId, _: &[u8], _: &[u8]) -> bool {
        false
    }
    fn interest_seen(&self, _: ShardId) -> u64 {
        u64::MAX
    }
    fn watch(&mut self, _: AccountId, _: &[u8]) {}
    fn unwatch(&mut self, _: AccountId, _: &[u8]) {}
    fn listen(&mut self, _: AccountId, _: &[u8], _: Sink, _: bool) -> u32 {
        0
    }
    fn unlisten(&mut self, _: u32) {}
    fn interest_number(&self) -> u64 {
        0
    }
    fn interest_known(&self) -> u64 {
        0
    }
    fn order(&mut self, to: ShardId, order: Order) {
        self.orders.push((to, order));
    }
    fn random(&mut self) -> u64 {
        7
    }
    fn log(&mut self, _: bool, _: String) {}
}

impl World {
    /// The answer to the first question that was asked.
    fn answer(&mut self, engine: &mut Engine) {
        let (to, order) = self.orders.remove(0);
        assert_eq!(to, OTHER);
        let question = match order {
            Order::AskUsage { question, .. } | Order::Drop { question, .. } => question,
            other => panic!("that is no question: {other:?}"),
        };
        let streams = Vec::new();
        let answer = Order::Answered { question, streams };
        engine.ordered(NOW, OTHER, answer, self);
    }
}

fn begin() -> (Engine, World) {
    let options = Options {
        stream: stream::Settings::default(),
        strict: false,
        server_name: "proof".to_owned(),
        shards: 2,
        max_memory: 1000,
        max_storage: 1000,
        max_duplicate_window: 0,
        max_ack_pending: 0,
        max_atomic_batches: 1,
        max_fast_batches: 1,
        request_queue: 1,
        info_queue: 2,
        max_request_batch: 0,
        unflushed_high_bytes: 1000,
        unflushed_low_bytes: 500,
    };
    let (mut engine, mut world) = (Engine::new(options, Vec::new()), World::default());
    engine.accounts_changed(&mut world);
    (engine, world)
}

fn ask(engine: &mut Engine, world: &mut World, account: AccountId, subject: &str) {
    let conn = ConnId {
        index: 0,
        generation: 0,
    };
    let arrival = Arrival {
        account,
        publisher: (ShardId(0), conn),
        interest: 0,
        to: subject.as_bytes(),
        subject: subject.as_bytes(),
        reply: b"_INBOX.1",
        headers: b"",
        payload: b"",
        client: b"",
    };
    engine.arrived(NOW, std::iter::once((Sink::Api, arrival)), world);
}

#[test]
fn what_an_account_uses_is_asked_for() {
    let (mut engine, mut world) = begin();
    ask(&mut engine, &mut world, A, "$JS.API.INFO");
    assert!(world.published.is_empty());
    let usage = Usage {
        memory_bytes: 33,
        ..Usage::default()
    };
    let heard = Order::Usage { account: A, usage };
    engine.ordered(NOW, OTHER, heard, &mut world);
    world.answer(&mut engine);
    let [(account, to, text)] = &world.published[..] else {
        panic!("one answer: {:?}", world.published);
    };
    assert_eq!((*account, to.as_str()), (A, "_INBOX.1"));
    assert!(text.contains("\"memory\":33,"), "{text}");
}

#[test]
fn more_questions_than_may_wait_are_dropped_and_told() {
    let (mut engine, mut world) = begin();
    for _ in 0..3 {
        ask(&mut engine, &mut world, A, "$JS.API.INFO");
    }
    assert_eq!(world.orders.len(), 2);
    let [(account, subject, text)] = &world.published[..] else {
        panic!("one is told of: {:?}", world.published);
    };
    assert_eq!(*account, SYSTEM);
    assert_eq!(subject, "$JS.EVENT.ADVISORY.API.LIMIT_REACHED");
    assert!(text.contains("\"dropped\":1"), "{text}");
    // Where others have been answered, there is room again.
    world.answer(&mut engine);
    ask(&mut engine, &mut world, A, "$JS.API.INFO");
    assert_eq!(world.orders.len(), 2);
}

#[test]
fn an_account_is_purged_where_its_streams_are() {
    let (mut engine, mut world) = begin();
    let config = StreamConfig {
        name: "X".to_owned(),
        storage: Storage::Memory,
        ..StreamConfig::default()
    };
    let located = Order::Located {
        account: A,
        home: OTHER,
        config: Arc::new(config),
        decision: 1,
    };
    engine.ordered(NOW, OTHER, located, &mut world);
    ask(&mut engine, &mut world, A, "$JS.API.ACCOUNT.PURGE.A");
    assert!(world.orders.is_empty(), "only the system account may");
    ask(&mut engine, &mut world, SYSTEM, "$JS.API.ACCOUNT.PURGE.A");
    assert!(world.published.is_empty());
    let Some((_, Order::Drop { names, .. })) = world.orders.first() else {
        panic!("it is to be dropped: {:?}", world.orders);
    };
    assert_eq!(&**names, ["X".into()]);
    world.answer(&mut engine);
    let (_, _, text) = &world.published[0];
    assert!(text.contains("\"initiated\":true"), "{text}");
}
