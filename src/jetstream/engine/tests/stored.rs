//! An engine with a disk.

use super::*;
use crate::jetstream::stream::Settings;

#[path = "../../../../tests/simulated/disk.rs"]
mod disk;

use disk::Disk;

struct Scene {
    engine: Engine,
    world: World,
    disk: Disk,
}

impl Scene {
    /// The only shard.
    fn alone() -> Self {
        Self::of(1, |_| {})
    }

    fn of(shards: usize, change: impl FnOnce(&mut World)) -> Self {
        let mut world = World::default();
        change(&mut world);
        Self::open(shards, Disk::new(7), world)
    }

    fn open(shards: usize, disk: Disk, mut world: World) -> Self {
        let mut store = crate::store::Options::new(7);
        store.segment_bytes = 1 << 20;
        let store = Store::open(&store, &disk.listing(), 0);
        let options = Options {
            shards,
            max_memory: 1 << 30,
            max_storage: 1 << 30,
            request_queue: 100,
            stream: Settings::default(),
            ..options()
        };
        let mut engine = Engine::new(options, vec![store]);
        engine.accounts_changed(NOW, &mut world);
        let mut scene = Self {
            engine,
            world,
            disk,
        };
        scene.settle();
        scene
    }

    /// The process ends, the machine does not.
    fn reopen(self, change: impl FnOnce(&mut World)) -> Self {
        let shards = self.engine.options.shards;
        let mut world = World::default();
        change(&mut world);
        let mut disk = self.disk;
        disk.cut_power();
        Self::open(shards, disk, world)
    }

    /// The turn ends; nothing of what it has submitted is done yet.
    fn turn(&mut self) {
        let mut submissions = Vec::new();
        self.engine
            .turn_ends(NOW, &mut submissions, &mut self.world);
        let mut submissions = submissions.into_iter().map(|(_, one)| one).collect();
        self.disk.take(&mut submissions);
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.turn();
            let Some(completion) = self.disk.step() else {
                if self
                    .engine
                    .next_deadline()
                    .is_some_and(|at| at <= NOW.mono_ms)
                {
                    self.engine.tick(NOW, &mut self.world);
                    continue;
                }
                return;
            };
            self.engine
                .disk_completed(NOW, 0, completion, &mut self.world);
        }
        panic!("it does not come to rest");
    }

    fn say(&mut self, account: AccountId, subject: &str, payload: &str) {
        let sink = (Sink::Api, account);
        say(
            &mut self.engine,
            &mut self.world,
            sink,
            subject,
            payload.as_bytes(),
        );
    }

    /// Asks, and waits for the answer.
    fn ask(&mut self, account: AccountId, subject: &str, payload: &str) -> String {
        self.world.published.clear();
        self.say(account, subject, payload);
        self.settle();
        self.answer().expect("it is answered")
    }

    fn answer(&self) -> Option<String> {
        let mut published = self.world.published.iter();
        let answer = published.find(|(_, to, _)| to == "_INBOX.1");
        answer.map(|(_, _, text)| text.clone())
    }

    fn create(&mut self, account: AccountId, name: &str) {
        let config = format!("{{\"name\":\"{name}\",\"subjects\":[\"{name}.>\"]}}");
        let answer = self.ask(account, &format!("$JS.API.STREAM.CREATE.{name}"), &config);
        assert!(answer.contains("\"did_create\":true"), "{answer}");
    }

    fn store(&mut self, account: AccountId, name: &str, payload: &str) {
        let place = self.engine.place(account, name).expect("it is here");
        let life = self.engine.hosted(place).expect("it is here").life;
        let sink = (Sink::Stream(StreamId { place, life }), account);
        let subject = format!("{name}.x");
        say(
            &mut self.engine,
            &mut self.world,
            sink,
            &subject,
            payload.as_bytes(),
        );
    }

    fn info(&mut self, account: AccountId, name: &str) -> String {
        self.ask(account, &format!("$JS.API.STREAM.INFO.{name}"), "")
    }
}

#[test]
fn a_stream_waits_for_its_account() {
    let mut scene = Scene::alone();
    scene.create(A, "X");
    scene.store(A, "X", "one");
    scene.settle();
    for is_found in [true, false] {
        scene = scene.reopen(|world| world.is_without_a = true);
        assert_eq!(scene.world.sought, ["A"]);
        assert!(!scene.engine.is_ready(), "it waits for the account");
        let find = |scene: &mut Scene| {
            scene.world.is_without_a = false;
            scene.engine.accounts_changed(NOW, &mut scene.world);
        };
        if is_found {
            find(&mut scene);
        }
        scene.engine.accounts_were_sought(NOW, &mut scene.world);
        assert!(scene.engine.is_ready());
        assert_eq!(scene.engine.lost().is_empty(), is_found);
        if !is_found {
            // Nobody gets its name.
            assert!(scene.engine.recovery.is_done());
            find(&mut scene);
        }
        assert!(scene.engine.lost().is_empty());
        let info = scene.info(A, "X");
        assert!(info.contains("\"messages\":1"), "{info}");
    }
}

#[test]
fn nobody_gets_the_name_of_a_stream_that_is_left_alone() {
    let mut scene = Scene::of(2, |_| {});
    let left_alone = Order::LeftAlone {
        account: "A".into(),
        name: "X".into(),
    };
    scene
        .engine
        .ordered(NOW, OTHER, left_alone, &mut scene.world);
    let answer = scene.ask(A, "$JS.API.STREAM.CREATE.X", "{\"name\":\"X\"}");
    assert!(answer.contains("could not be brought back"), "{answer}");
    scene.create(B, "X");
    let config = StreamConfig {
        name: "X".to_owned(),
        ..StreamConfig::default()
    };
    let located = Order::Located {
        account: A,
        home: OTHER,
        config: Arc::new(config),
        decision: 0,
    };
    scene.engine.ordered(NOW, OTHER, located, &mut scene.world);
    assert!(!scene.engine.is_lost(A, "X"));
}

#[test]
fn a_stream_of_a_higher_level_is_left_alone() {
    let mut scene = Scene::alone();
    let config = StreamConfig {
        name: "X".to_owned(),
        metadata: [("_nats.req.level".to_owned(), "999".to_owned())].into(),
        ..StreamConfig::default()
    };
    let (meta, options) = stored_form(1, &config);
    let store = &mut scene.engine.volumes[0].store;
    store.create_stream(&key("A", "X"), &meta, options).unwrap();
    scene.settle();
    scene = scene.reopen(|_| {});
    assert_eq!(scene.engine.lost().len(), 1, "{:?}", scene.world.log);
    assert!(scene.engine.located_streams().is_empty());
}

/// Who asks again and again for less time than the stream has leaves nothing behind.
#[test]
fn a_stream_is_looked_at_once() {
    let mut scene = Scene::alone();
    let config = "{\"name\":\"X\",\"subjects\":[\"X.>\"],\"max_age\":3600000000000}";
    scene.ask(A, "$JS.API.STREAM.CREATE.X", config);
    scene.store(A, "X", "one");
    let consumer = "{\"stream_name\":\"X\",\"config\":{\"name\":\"C\",\"ack_policy\":\"none\"}}";
    scene.ask(A, "$JS.API.CONSUMER.CREATE.X.C", consumer);
    let mut now = NOW;
    for _ in 0..100 {
        let pull = "{\"batch\":10,\"expires\":5000000}";
        scene.say(A, "$JS.API.CONSUMER.MSG.NEXT.X.C", pull);
        scene.ask(A, "$JS.API.CONSUMER.INFO.X.C", "");
        now.mono_ms += 1000;
        scene.engine.tick(now, &mut scene.world);
    }
    assert!(scene.engine.alarms.len() <= 1);
}

#[test]
fn a_snapshot_ends_with_its_stream() {
    let mut scene = Scene::alone();
    scene.create(A, "X");
    for _ in 0..64 {
        scene.store(A, "X", &"x".repeat(16 << 10));
    }
    scene.settle();
    let request = "{\"deliver_subject\":\"D\",\"chunk_size\":1024,\"window_size\":1024}";
    scene.ask(A, "$JS.API.STREAM.SNAPSHOT.X", request);
    // Nobody seems to listen: it is sent all the same after a while.
    let later = Now {
        mono_ms: 60_000,
        ..NOW
    };
    scene.engine.send_snapshots(later, false, &mut scene.world);
    let sent = |scene: &Scene, status: &str| {
        let published = scene.world.published.iter();
        published
            .filter(|(account, to, text)| *account == A && to == "D" && text.contains(status))
            .count()
    };
    assert!(sent(&scene, "") > 0 && sent(&scene, "NATS/1.0") == 0);
    scene.say(A, "$JS.API.STREAM.DELETE.X", "");
    assert_eq!(sent(&scene, "NATS/1.0 500 stream deleted"), 1);
    let before = sent(&scene, "");
    scene.settle();
    scene.create(B, "Y");
    scene.store(B, "Y", "secret");
    scene.engine.tick(later, &mut scene.world);
    scene.settle();
    scene.world.published.clear();
    scene.engine.send_snapshots(later, true, &mut scene.world);
    assert_eq!(sent(&scene, ""), 0, "after {before}");
}

/// A home that has just deleted a stream is told to change it.
#[test]
fn a_refusal_waits_until_all_know_that_the_stream_is_gone() {
    let mut scene = Scene::of(2, |_| {});
    scene.engine.peers_recovered = 1;
    scene.create(A, "X");
    scene.world.is_slow = true;
    scene.world.published.clear();
    scene.world.orders.clear();
    scene.say(A, "$JS.API.STREAM.DELETE.X", "");
    let change = "{\"name\":\"X\",\"subjects\":[\"X.>\"],\"max_msgs\":5}";
    scene.say(A, "$JS.API.STREAM.UPDATE.X", change);
    assert_eq!(scene.answer(), None, "it is not durable");
    scene.settle();
    let is_gone = |(_, order): &(ShardId, Order)| matches!(order, Order::Gone { .. });
    assert!(scene.world.orders.iter().any(is_gone));
    assert_eq!(scene.answer(), None, "another shard may not know it");
    scene.world.is_slow = false;
    scene.engine.interest_known(&mut scene.world);
    let answers: Vec<&str> = (scene.world.published.iter())
        .filter(|(_, to, _)| to == "_INBOX.1")
        .map(|(_, _, text)| text.as_str())
        .collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    for expected in ["\"success\":true", "stream not found"] {
        assert!(
            answers.iter().any(|text| text.contains(expected)),
            "{answers:?}"
        );
    }
    scene.create(A, "X");
}

#[test]
fn a_purged_account_is_told_of_when_that_is_durable() {
    let mut scene = Scene::of(2, |_| {});
    for name in ["X", "Y", "Z"] {
        // They live here.
        let config = StreamConfig {
            name: name.to_owned(),
            ..StreamConfig::default()
        };
        let request = Box::new(Request {
            account: A,
            publisher: (
                ShardId(0),
                ConnId {
                    index: 0,
                    generation: 0,
                },
            ),
            interest: 0,
            subject: Box::default(),
            reply: Box::default(),
            headers: Box::default(),
            payload: Box::default(),
            client: Box::default(),
        });
        let order = Order::Create {
            account: A,
            config: Box::new(config),
            request,
            decision: 1,
        };
        scene
            .engine
            .ordered(NOW, ShardId(0), order, &mut scene.world);
    }
    scene.settle();
    scene.world.published.clear();
    scene.say(SYSTEM, "$JS.API.ACCOUNT.PURGE.A", "");
    assert_eq!(scene.answer(), None, "it is not durable");
    scene.turn();
    assert_eq!(scene.answer(), None, "it is not durable");
    scene.settle();
    let answer = scene.answer().expect("it is done");
    assert!(answer.contains("\"initiated\":true"), "{answer}");
    assert!(scene.engine.located_streams().is_empty());
}

#[test]
fn what_is_refused_is_not_written() {
    let mut scene = Scene::alone();
    scene.create(A, "X");
    let place = scene.engine.place(A, "X").expect("it is here");
    let hosted = scene.engine.hosted(place).expect("it is here");
    let mut config = hosted.asset.config().clone();
    config.max_msgs = 5;
    config.republish = Some(crate::jetstream::config::Republish {
        source: "a.*".to_owned(),
        destination: "b.{{wildcard(7)}}".to_owned(),
        ..Default::default()
    });
    let request = owned(&Arrival {
        account: A,
        publisher: (
            ShardId(0),
            ConnId {
                index: 0,
                generation: 0,
            },
        ),
        interest: 0,
        to: b"",
        subject: b"",
        reply: b"_INBOX.1",
        headers: b"",
        payload: b"",
        client: b"",
    });
    let order = Order::Update {
        account: A,
        config: Box::new(config),
        request,
        decision: 2,
    };
    scene.world.published.clear();
    scene
        .engine
        .ordered(NOW, ShardId(0), order, &mut scene.world);
    let answer = scene.answer().expect("it is refused");
    assert!(answer.contains("\"error\""), "{answer}");
    scene.settle();
    scene = scene.reopen(|_| {});
    let info = scene.info(A, "X");
    assert!(info.contains("\"max_msgs\":-1"), "{info}");
}

#[test]
fn a_restore_ends_where_there_is_no_room() {
    let mut scene = Scene::alone();
    scene.create(A, "X");
    for number in 0..64 {
        // Not to be compressed to nothing.
        scene.store(A, "X", &format!("{number}").repeat(4 << 10));
    }
    scene.settle();
    let request = "{\"deliver_subject\":\"D\"}";
    scene.world.payloads.clear();
    scene.ask(A, "$JS.API.STREAM.SNAPSHOT.X", request);
    let later = Now {
        mono_ms: 60_000,
        ..NOW
    };
    scene.engine.send_snapshots(later, false, &mut scene.world);
    let chunks: Vec<Vec<u8>> = (scene.world.payloads.drain(..))
        .filter(|(to, payload)| to == "D" && !payload.is_empty())
        .map(|(_, payload)| payload)
        .collect();
    scene.ask(A, "$JS.API.STREAM.DELETE.X", "");
    assert_eq!(scene.engine.accounts.own_usage(A).storage_bytes, 0);
    for (max_storage, expected) in [(50_000, "10047"), (1 << 20, "\"messages\":64")] {
        scene.engine.options.max_storage = max_storage;
        let config = "{\"name\":\"X\",\"subjects\":[\"X.>\"]}";
        let request = format!("{{\"config\":{config},\"state\":{{}}}}");
        let answer = scene.ask(A, "$JS.API.STREAM.RESTORE.X", &request);
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("it is JSON");
        let subject = answer["deliver_subject"]
            .as_str()
            .expect("it begins")
            .to_owned();
        scene.world.published.clear();
        for chunk in chunks.iter().map(Vec::as_slice).chain([&[][..]]) {
            let sink = (Sink::Api, A);
            say(&mut scene.engine, &mut scene.world, sink, &subject, chunk);
            scene.settle();
        }
        let published = &scene.world.published;
        let is_told = published.iter().any(|(_, _, text)| text.contains(expected));
        assert!(is_told, "{expected}: {published:?}");
        let used = scene.engine.accounts.own_usage(A).storage_bytes;
        assert_eq!(used > 0, expected != "10047");
    }
}
