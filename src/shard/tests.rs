//! What the simulator (`tests/simulation`) has found, each in its smallest form.

use std::collections::BTreeSet;

use super::facts::{
    CLOSED_SUBSCRIPTIONS_MAX, ListPlace, Notice, Traffic, Wanted, WantedSubscriptions,
};
use super::{Batch, Effects, Event, Opening, Policy, Settings, Shard};
use crate::base::ids::{ConnId, ShardId};
use crate::base::limits::MESH_OUTBOX_HIGH_WATER_BYTES;
use crate::config::Limits;
use crate::proto::info::ServerIdentity;
use crate::session::CloseReason;

const FIRST: ShardId = ShardId(0);
const SECOND: ShardId = ShardId(1);
const CONN: ConnId = ConnId {
    index: 0,
    generation: 1,
};

/// Two shards, and a connection on the first which has read its INFO.
struct Pair {
    first: Shard,
    second: Shard,
    fx: Effects,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let settings = Settings {
            limits,
            policy: Policy::open(),
            unix_at_zero_ms: 0,
            fine_clock_ns: || 1,
            identity: ServerIdentity {
                id: "N".repeat(56),
                name: "pair".into(),
                host: "127.0.0.1".into(),
                port: 4222,
                auth_required: false,
                tls: None,
                xkey: None,
                jetstream: None,
            },
            debug: false,
            trace: false,
            shards: 2,
            hash_seed: 1,
        };
        let mut pair = Self {
            first: Shard::new(FIRST, settings.clone(), 1),
            second: Shard::new(SECOND, settings, 2),
            fx: Effects::default(),
        };
        let peer = ([127, 0, 0, 1], 1).into();
        let event = Event::Opened {
            conn: CONN,
            client_id: 1,
            peer,
            refused: false,
            opening: Opening::Plain,
            nonce: Box::default(),
            internal: None,
        };
        pair.first.handle(1, event, &mut pair.fx);
        pair.send(usize::MAX);
        pair.received(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
        pair
    }

    fn received(&mut self, bytes: &[u8]) {
        let event = Event::Received { conn: CONN, bytes };
        self.first.handle(1, event, &mut self.fx);
    }

    /// Starts a send, if the connection is marked, and ends it.
    fn send(&mut self, at_most: usize) -> Vec<u8> {
        let sent = self.start();
        let bytes = sent.len().min(at_most);
        self.sent(bytes);
        sent[..bytes].to_vec()
    }

    fn start(&mut self) -> Vec<u8> {
        if std::mem::take(&mut self.fx.dirty).is_empty() {
            return Vec::new();
        }
        let out = self.first.outbound(CONN).expect("it is open");
        let bytes = out.begin_send().flatten().copied().collect();
        let event = Event::SendStarted { conn: CONN };
        self.first.handle(1, event, &mut self.fx);
        bytes
    }

    fn sent(&mut self, bytes: usize) {
        let event = Event::Sent { conn: CONN, bytes };
        self.first.handle(1, event, &mut self.fx);
    }

    /// Moves all batches to the second shard and what it answers back.
    fn exchange(&mut self) {
        let batches: Vec<Batch> = std::iter::from_fn(|| self.first.next_batch(SECOND)).collect();
        for batch in batches {
            let event = Event::Batch { from: FIRST, batch };
            self.second.handle(1, event, &mut Effects::default());
        }
        let event = Event::MeshDrained { peer: SECOND };
        self.first.handle(1, event, &mut self.fx);
        while let Some(batch) = self.second.next_batch(FIRST) {
            let event = Event::Batch {
                from: SECOND,
                batch,
            };
            self.first.handle(1, event, &mut self.fx);
        }
    }
}

#[test]
fn a_reply_that_waits_does_not_leave_the_connection_marked_for_good() {
    let mut pair = Pair::new(Limits::DEFAULT);
    pair.received(b"PING\r\n");
    assert_eq!(pair.start(), b"PONG\r\n");
    // Behind the PONG that waits, an error waits too, while the send is under way.
    pair.received(b"SUB a 1\r\nPING\r\nSUB a..b 2\r\n");
    pair.fx.dirty.clear();
    pair.sent(b"PONG\r\n".len());
    pair.exchange();
    assert_eq!(pair.send(usize::MAX), b"PONG\r\n-ERR 'Invalid Subject'\r\n");
}

#[test]
fn what_comes_behind_a_pong_that_waits_waits_too() {
    let mut pair = Pair::new(Limits::DEFAULT);
    pair.received(b"SUB a 1\r\nPING\r\nPUB a 2\r\nhi\r\nPI");
    assert_eq!(pair.fx.reads, [(CONN, false)]);
    // It had been received before the input was held back.
    pair.received(b"NG\r\n");
    assert_eq!(pair.send(usize::MAX), b"");
    pair.exchange();
    assert_eq!(pair.fx.reads, [(CONN, false), (CONN, true)]);
    assert_eq!(
        pair.send(usize::MAX),
        b"PONG\r\nMSG a 1 2\r\nhi\r\nPONG\r\n"
    );
}

#[test]
fn who_does_not_read_replies_is_cut_off() {
    let mut pair = Pair::new(Limits {
        max_pending_bytes: 4096,
        ..Limits::DEFAULT
    });
    pair.received(&b"PING\r\n".repeat(4096 / 6));
    assert!(pair.fx.closes.is_empty());
    pair.received(b"PING\r\n");
    assert_eq!(pair.fx.closes.len(), 1);
    assert_eq!(pair.first.counters().slow_consumers, 1);
}

#[test]
fn what_a_slow_reader_has_no_room_for_is_dropped_where_publishers_do_not_wait() {
    let mut pair = Pair::new(Limits {
        max_pending_bytes: 4096,
        no_fast_producer_stall: true,
        ..Limits::DEFAULT
    });
    pair.received(b"SUB a 1\r\n");
    let publish = format!("PUB a 1000\r\n{:1000}\r\n", "");
    let delivery = format!("MSG a 1 1000\r\n{:1000}\r\n", "");
    for _ in 0..100 {
        pair.received(publish.as_bytes());
    }
    assert_eq!(pair.send(usize::MAX), delivery.repeat(4).as_bytes());
    pair.received(publish.as_bytes());
    assert_eq!(pair.send(usize::MAX), delivery.as_bytes());
    assert!(pair.fx.closes.is_empty() && pair.fx.reads.is_empty());
    assert_eq!(pair.first.counters().stalls, 0);
}

#[test]
fn one_message_to_many_subscriptions_stops_at_max_pending() {
    let mut pair = Pair::new(Limits {
        max_pending_bytes: 4096,
        ..Limits::DEFAULT
    });
    for sid in 0..100 {
        pair.received(format!("SUB a {sid}\r\n").as_bytes());
    }
    let payload = "x".repeat(1000);
    pair.received(format!("PUB a 1000\r\n{payload}\r\n").as_bytes());
    assert_eq!(pair.fx.closes.len(), 1);
    assert!(pair.first.bytes_held() < 4096 + 2000 + 100 * 40);
}

#[test]
fn interest_that_comes_and_goes_is_held_back() {
    let mut pair = Pair::new(Limits::DEFAULT);
    let mut turns = 0;
    while pair.fx.reads.is_empty() {
        pair.received(&b"SUB a 1\r\nUNSUB 1\r\n".repeat(1000));
        turns += 1;
        assert!(turns < MESH_OUTBOX_HIGH_WATER_BYTES / 1000, "never");
    }
    assert_eq!(pair.fx.reads, [(CONN, false)]);
    pair.exchange();
    assert_eq!(pair.fx.reads, [(CONN, false), (CONN, true)]);
}

/// What a shard tells unasked and what it tells when asked are the same story, and what has gone
/// still counts.
#[test]
fn facts_and_notices() {
    let mut pair = Pair::new(Limits::DEFAULT);
    let notices = std::mem::take(&mut pair.fx.notices);
    let [Notice::Connected(facts)] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert_eq!((facts.client_id, &*facts.account), (1, "$G"));
    pair.received(b"SUB a.* 1\r\nSUB b q 2\r\nUNSUB 1 5\r\nPUB a.x 3\r\nabc\r\n");
    let wanted = |account: Option<&str>| Wanted {
        connections: true,
        subscriptions: WantedSubscriptions::Matching("a.x".into()),
        account: account.map(Into::into),
        ..Wanted::default()
    };
    let traffic = Traffic {
        in_messages: 1,
        in_bytes: 3,
        out_messages: 1,
        out_bytes: 3,
    };
    let facts = pair.first.facts(1, &wanted(Some("$G")), &mut pair.fx);
    let counts = (facts.connections, facts.subscriptions, facts.inserts);
    assert_eq!(counts, (1, 2, 2));
    assert_eq!(facts.connections_list[0].subscriptions, 2);
    let [sub] = facts.subscriptions_list.as_slice() else {
        panic!("{:?}", facts.subscriptions_list);
    };
    let told = (&*sub.subject, &*sub.sid, sub.delivered, sub.max);
    assert_eq!(told, ("a.*", "1", 1, 5));
    let of_others = pair.first.facts(1, &wanted(Some("$SYS")), &mut pair.fx);
    assert!(of_others.connections_list.is_empty() && of_others.subscriptions_list.is_empty());

    for sid in 3..1000 {
        pair.received(format!("SUB c.{sid} {sid}\r\n").as_bytes());
    }
    let reason = CloseReason::Kicked;
    let event = Event::CloseNow { conn: CONN, reason };
    pair.first.handle(7, event, &mut pair.fx);
    let notices = std::mem::take(&mut pair.fx.notices);
    let [Notice::Disconnected(farewell)] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert_eq!((farewell.reason, farewell.stopped_at), (reason, 7));
    assert_eq!(farewell.facts.subscriptions, 999);
    assert_eq!(farewell.subscriptions.len(), CLOSED_SUBSCRIPTIONS_MAX);
    assert_eq!(farewell.facts.traffic, traffic);
    for closed in [false, true] {
        if closed {
            let event = Event::Closed { conn: CONN };
            pair.first.handle(8, event, &mut pair.fx);
        }
        let facts = pair.first.facts(1, &wanted(None), &mut pair.fx);
        let counts = (facts.connections, facts.total_connections, facts.removes);
        assert_eq!(counts, (0, 1, 999));
        assert_eq!(facts.traffic, traffic);
        assert!(facts.connections_list.is_empty());
        assert_eq!(facts.accounts[0].traffic, traffic);
    }
}

/// Long lists come in pieces, none of which takes a turn long, and each subscription in one of them.
#[test]
fn lists_come_in_pieces() {
    const SUBSCRIPTIONS: usize = 10_000;
    let mut pair = Pair::new(Limits::DEFAULT);
    let mut text = String::new();
    for sid in 1..=SUBSCRIPTIONS {
        text += &format!("SUB a.{sid} {sid}\r\n");
    }
    pair.received(text.as_bytes());
    let listed = |pair: &mut Pair, subscriptions: &WantedSubscriptions, ended: &[u8]| {
        let mut wanted = Wanted {
            connections: true,
            subscriptions: subscriptions.clone(),
            ..Wanted::default()
        };
        let (mut seen, mut connections, mut pieces) = (BTreeSet::new(), 0, 0);
        loop {
            let facts = pair.first.facts(1, &wanted, &mut pair.fx);
            assert!(facts.subscriptions_list.len() <= 2048);
            // Counts come once.
            assert_eq!(facts.connections, u64::from(pieces == 0));
            connections += facts.connections_list.len();
            pieces += 1;
            for sub in facts.subscriptions_list {
                assert!(seen.insert(sub.sid.clone()), "{} comes twice", sub.sid);
            }
            let Some(next) = facts.next else {
                assert_eq!(connections, 1);
                return (seen.len(), pieces);
            };
            pair.received(ended);
            wanted.from = vec![next];
        }
    };
    let all = WantedSubscriptions::All;
    assert_eq!(listed(&mut pair, &all, b""), (SUBSCRIPTIONS, 7));
    let of = WantedSubscriptions::Of([1].as_slice().into());
    assert_eq!(listed(&mut pair, &of, b""), (SUBSCRIPTIONS, 7));
    let matching = WantedSubscriptions::Matching("a.77".into());
    assert_eq!(listed(&mut pair, &matching, b""), (1, 2));
    // Of those of which a few are enough, the first ones by their ids are among what is told.
    let mut wanted = Wanted {
        subscriptions: WantedSubscriptions::All,
        subscriptions_kept: Some(3),
        ..Wanted::default()
    };
    let (mut told, mut found) = (BTreeSet::new(), 0);
    loop {
        let facts = pair.first.facts(1, &wanted, &mut pair.fx);
        assert!(facts.subscriptions_list.len() <= 3);
        found += facts.subscriptions_found;
        told.extend(facts.subscriptions_list.into_iter().map(|sub| sub.sid));
        let Some(next) = facts.next else {
            break;
        };
        wanted.from = vec![next];
    }
    let first: Vec<&str> = told.iter().take(3).map(|sid| &**sid).collect();
    assert_eq!(
        (found, &first[..]),
        (SUBSCRIPTIONS, &["1", "10", "100"][..])
    );
    // A place that is no more ends its connection's list, and nothing else.
    let everything: String = (1..=SUBSCRIPTIONS)
        .map(|sid| format!("UNSUB {sid}\r\n"))
        .collect();
    let (seen, pieces) = listed(&mut pair, &all, everything.as_bytes());
    assert!(seen <= 2048 && pieces == 2, "{seen} {pieces}");
    let elsewhere = Wanted {
        connections: true,
        from: vec![(ShardId(1), ListPlace::default())],
        ..Wanted::default()
    };
    let facts = pair.first.facts(1, &elsewhere, &mut pair.fx);
    assert!(facts.connections_list.is_empty() && facts.connections == 0);
}
