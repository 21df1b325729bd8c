//! What an engine asks other shards before it answers, and what it drops. What needs a disk is in [`stored`].

mod stored;

use std::sync::Arc;

use super::*;
use crate::base::ids::ConnId;
use crate::jetstream::api::check_stream::Limits;
use crate::jetstream::api::responses::AccountLimits;
use crate::jetstream::config::{Storage, StreamConfig};
use crate::jetstream::{Reached, Usage};

const A: AccountId = AccountId(1);
const SYSTEM: AccountId = AccountId(2);
const B: AccountId = AccountId(3);
const OTHER: ShardId = ShardId(1);
const NOW: Now = Now {
    mono_ms: 1,
    unix: 1,
};

/// Shard 0 of two.
#[derive(Default)]
struct World {
    published: Vec<(AccountId, String, String)>,
    payloads: Vec<(String, Vec<u8>)>,
    orders: Vec<(ShardId, Order)>,
    sought: Vec<String>,
    /// Account A is not known.
    is_without_a: bool,
    /// Other shards are behind.
    is_slow: bool,
    /// What others were told is numbered.
    fences: u64,
    log: Vec<String>,
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
        let mut all = vec![
            facts(SYSTEM, "S", None),
            facts(B, "B", Some(limits.clone())),
        ];
        if !self.is_without_a {
            all.push(facts(A, "A", Some(limits)));
        }
        all
    }
    fn seek_accounts(&mut self, names: Vec<String>) {
        self.sought = names;
    }
    fn client(&self, _: (ShardId, ConnId)) -> Option<Vec<u8>> {
        None
    }
    fn publish(&mut self, account: AccountId, outgoing: &Outgoing<'_>) -> Reached {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let payload = outgoing.payload.to_vec();
        self.payloads.push((text(outgoing.to), payload));
        let content = text(outgoing.headers) + &text(outgoing.payload);
        self.published.push((account, text(outgoing.to), content));
        Reached::Somebody
    }
    fn has_interest(&mut self, _: AccountId, subject: &[u8]) -> bool {
        subject == b"$JS.EVENT.ADVISORY.API.LIMIT_REACHED" || subject == b"_INBOX.1"
    }
    fn has_literal_interest(&mut self, _: AccountId, _: &[u8]) -> bool {
        false
    }
    fn is_subscribed(&mut self, _: AccountId, _: &[u8], _: &[u8]) -> bool {
        false
    }
    fn interest_seen(&self, _: ShardId) -> u64 {
        if self.is_slow { 0 } else { u64::MAX }
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
    fn fence(&mut self) -> u64 {
        self.fences += 1;
        self.fences
    }
    fn interest_known(&self) -> u64 {
        if self.is_slow { 0 } else { u64::MAX }
    }
    fn order(&mut self, to: ShardId, order: Order) {
        self.orders.push((to, order));
    }
    fn random(&mut self) -> u64 {
        7
    }
    fn log(&mut self, _: bool, text: String) {
        self.log.push(text);
    }
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

fn options() -> Options {
    Options {
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
    }
}

fn begin() -> (Engine, World) {
    let (mut engine, mut world) = (Engine::new(options(), Vec::new()), World::default());
    engine.accounts_changed(NOW, &mut world);
    (engine, world)
}

fn ask(engine: &mut Engine, world: &mut World, account: AccountId, subject: &str) {
    say(engine, world, (Sink::Api, account), subject, b"");
}

fn say(
    engine: &mut Engine,
    world: &mut World,
    (sink, account): (Sink, AccountId),
    subject: &str,
    payload: &[u8],
) {
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
        payload,
        client: b"",
    };
    engine.arrived(NOW, std::iter::once((sink, arrival)), world);
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

#[test]
fn room_is_what_all_shards_and_accounts_leave() {
    let (mut engine, mut world) = begin();
    let left = |engine: &Engine| engine.accounts.room(A, true, &engine.options).server_bytes;
    assert_eq!(left(&engine), 1000);
    engine.accounts.count(A, true, 0, 100);
    for (account, storage_bytes, expected) in [(B, 300, 600), (A, 50, 550), (B, 100, 750)] {
        let usage = Usage {
            storage_bytes,
            ..Usage::default()
        };
        let heard = Order::Usage { account, usage };
        engine.ordered(NOW, OTHER, heard, &mut world);
        assert_eq!(left(&engine), expected);
    }
    engine.accounts.count(A, true, 100, 20);
    assert_eq!(left(&engine), 830);
}

#[test]
fn what_is_used_is_told_when_it_has_changed() {
    let (mut engine, mut world) = begin();
    let told = |world: &mut World| -> Vec<AccountId> {
        let orders = std::mem::take(&mut world.orders).into_iter();
        let usages = orders.filter_map(|(_, order)| match order {
            Order::Usage { account, .. } => Some(account),
            _ => None,
        });
        usages.collect()
    };
    let mut now = NOW;
    for (at, changes, expected) in [
        (100, &[A, A, B][..], &[A, B][..]),
        (101, &[B], &[]),
        (111, &[], &[B]),
        (200, &[], &[]),
    ] {
        now.mono_ms = at;
        for &account in changes {
            engine.accounts.count(account, true, 0, 1);
        }
        engine.tick(now, &mut world);
        assert_eq!(told(&mut world), expected, "{at}");
    }
}

#[test]
fn who_is_gone_is_known_before_requests_that_wait() {
    let (mut engine, mut world) = begin();
    let config = StreamConfig {
        name: "X".to_owned(),
        ..StreamConfig::default()
    };
    let located = Order::Located {
        account: A,
        home: OTHER,
        config: Arc::new(config),
        decision: 1,
    };
    engine.ordered(NOW, OTHER, located, &mut world);
    world.is_slow = true;
    let conn = ConnId {
        index: 0,
        generation: 0,
    };
    let request = Request {
        account: A,
        publisher: (ShardId(2), conn),
        interest: 5,
        subject: b"$JS.API.STREAM.NAMES"[..].into(),
        reply: b"_INBOX.1"[..].into(),
        headers: Box::default(),
        payload: Box::default(),
        client: Box::default(),
    };
    engine.ordered(NOW, OTHER, Order::Request(Box::new(request)), &mut world);
    assert!(world.published.is_empty(), "nobody would get the answer");
    let gone = Order::Gone {
        account: A,
        name: "X".into(),
        decision: 1,
    };
    engine.ordered(NOW, OTHER, gone, &mut world);
    assert!(engine.located_streams().is_empty());
}
