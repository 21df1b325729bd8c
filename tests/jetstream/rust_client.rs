//! The Rust client async-nats with all its features: a line per step, compared with nats-server's recording.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PriorityPolicy, ReplayPolicy};
use async_nats::jetstream::consumer::{PullConsumer, PushConsumer, pull, push};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, RetentionPolicy, Source, StorageType, Stream, SubjectTransform,
};
use async_nats::jetstream::{AckKind, Context, Message, kv, object_store};
use async_nats::service::ServiceExt;
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::runtime;
use tokio::time::timeout;

use crate::harness::{Directory, PATIENCE};
use crate::scripts::{compare, start};

/// The whole scene's time; reached only by a failure.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn async_nats() {
    let directory = Directory::new();
    let mut server = start(&directory);
    let address = server.address();
    let mut report = Report(String::new());
    let scene = async {
        let client = async_nats::ConnectOptions::new()
            .max_reconnects(1)
            .connect(address.to_string())
            .await
            .expect("it connects");
        let js = async_nats::jetstream::new(client.clone());
        streams(&js, &mut report).await;
        publishing(&js, &mut report).await;
        pulling(&js, &mut report).await;
        pushing(&js, &mut report).await;
        gets(&js, &mut report).await;
        mirrors(&js, &mut report).await;
        buckets(&js, &mut report).await;
        objects(&js, &mut report).await;
        services(&client, &mut report).await;
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("there is a runtime");
    let ended = runtime.block_on(async { timeout(DEADLINE, scene).await });
    let log = server.log_text();
    let complaint = match ended {
        Ok(()) if !log.contains("panicked") => "",
        Ok(()) => log.as_str(),
        Err(_) => "it does not end\n",
    };
    compare("async_nats", &report.0, complaint);
}

/// A line per step.
struct Report(String);

impl Report {
    fn note(&mut self, step: &str, outcome: impl Serialize) {
        let line = json!({ "step": step, "outcome": outcome });
        self.0.push_str(&line.to_string());
        self.0.push('\n');
    }

    /// Notes what an error says, too.
    fn result<T: Serialize, E: Debug>(&mut self, step: &str, result: Result<T, E>) {
        match result {
            Ok(outcome) => self.note(step, outcome),
            Err(error) => self.note(step, json!({ "error": format!("{error:?}") })),
        }
    }
}

fn config(name: &str, subjects: &[&str]) -> Config {
    Config {
        name: name.to_owned(),
        subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
        ..Config::default()
    }
}

async fn streams(js: &Context, report: &mut Report) {
    let full = Config {
        description: Some("all of it".to_owned()),
        max_messages: 1000,
        max_bytes: 1_000_000,
        max_age: Duration::from_secs(3600),
        max_messages_per_subject: 100,
        max_message_size: 10_000,
        discard: DiscardPolicy::New,
        storage: StorageType::Memory,
        duplicate_window: Duration::from_secs(60),
        allow_direct: true,
        allow_rollup: true,
        metadata: HashMap::from([("k".to_owned(), "v".to_owned())]),
        subject_transform: Some(SubjectTransform {
            source: "f.x".to_owned(),
            destination: "f.y".to_owned(),
        }),
        ..config("F", &["f.>"])
    };
    let created = js.create_stream(full).await;
    report.result("create", created.map(|stream| show_config(&stream)));
    let created = js.create_stream(config("A", &["a.>"])).await;
    report.result("create", created.map(|stream| show_config(&stream)));
    let created = js.create_stream(config("A", &["b"])).await;
    report.result("create again", created.map(|stream| show_config(&stream)));
    let created = js.create_stream(config("B", &["a.b"])).await;
    report.result("overlap", created.map(|stream| show_config(&stream)));
    let updated = Config {
        description: Some("changed".to_owned()),
        ..config("A", &["a.>", "c"])
    };
    let updated = js.update_stream(updated).await;
    report.result("update", updated.map(|info| info.config));
    let none = js.get_stream("NONE").await;
    report.result("get none", none.map(|stream| show_config(&stream)));
    report.result("by subject", js.stream_by_subject("a.b").await);
    let names: Result<Vec<String>, _> = js.stream_names().try_collect().await;
    report.result("names", names);
    let list: Result<Vec<_>, _> = js.streams().map_ok(|info| info.config).try_collect().await;
    report.result("list", list);
    let account = js.query_account().await;
    let account = account.map(|a| json!([a.streams, a.consumers, a.storage, a.memory]));
    report.result("account", account);
    let deleted = js.delete_stream("F").await;
    report.result("delete", deleted.map(|status| status.success));
    let deleted = js.delete_stream("F").await;
    report.result("delete again", deleted.map(|status| status.success));
}

fn show_config(stream: &Stream) -> Value {
    json!(stream.cached_info().config)
}

async fn publishing(js: &Context, report: &mut Report) {
    let one = js.publish("a.1", "one".into()).await.expect("it is sent");
    report.result("publish", one.await.map(|ack| (ack.stream, ack.sequence)));
    let mut headers = HeaderMap::new();
    headers.insert("K", "v");
    let two = js.publish_with_headers("a.2", headers, "two".into()).await;
    let two = two.expect("it is sent").await;
    report.result("with headers", two.map(|ack| ack.sequence));
    let messages = [
        ("with id", PublishMessage::build().message_id("id")),
        ("with id again", PublishMessage::build().message_id("id")),
        (
            "expecting a stream",
            PublishMessage::build().expected_stream("B"),
        ),
        (
            "expecting a sequence",
            PublishMessage::build().expected_last_sequence(9),
        ),
        (
            "expecting a subject's",
            PublishMessage::build().expected_last_subject_sequence(9),
        ),
        (
            "expecting an id",
            PublishMessage::build().expected_last_message_id("x"),
        ),
        (
            "to live",
            PublishMessage::build().ttl(Duration::from_secs(5)),
        ),
    ];
    for (step, message) in messages {
        let sent = js.send_publish("a.3", message.payload("x".into())).await;
        let ack = sent.expect("it is sent").await;
        report.result(step, ack.map(|ack| (ack.sequence, ack.duplicate)));
    }
    let nowhere = js.publish("z", "x".into()).await.expect("it is sent");
    report.result("to nobody", nowhere.await.map(|ack| ack.sequence));
    let mut window = Vec::new();
    for number in 0..500 {
        let sent = js.publish("a.many", number.to_string().into()).await;
        window.push(sent.expect("it is sent"));
    }
    let mut last = 0;
    for ack in window {
        last = ack.await.expect("it is acknowledged").sequence;
    }
    report.note("many", last);
}

fn show(message: &Message) -> Value {
    let info = message.info().expect("it is of a stream");
    json!([
        message.subject.as_str(),
        String::from_utf8_lossy(&message.payload),
        info.stream_sequence,
        info.consumer_sequence,
        info.delivered,
        info.pending
    ])
}

async fn pulling(js: &Context, report: &mut Report) {
    let stream = js.get_stream("A").await.expect("it is there");
    let created = stream
        .create_consumer(pull::Config {
            durable_name: Some("C".to_owned()),
            ack_policy: AckPolicy::Explicit,
            filter_subject: "a.*".to_owned(),
            max_deliver: 5,
            ..pull::Config::default()
        })
        .await;
    let consumer: PullConsumer = created.expect("it is created");
    report.note("consumer", &consumer.cached_info().config);
    let mut messages = consumer
        .messages()
        .await
        .expect("messages come")
        .take(50)
        .enumerate();
    while let Some((number, message)) = messages.next().await {
        let message = message.expect("it comes");
        if number < 3 {
            report.note("message", show(&message));
        }
        let done = match number {
            0 => message.ack_with(AckKind::Progress).await,
            1 => message.double_ack_with(AckKind::Term).await,
            _ => Ok(()),
        };
        done.expect("it is sent");
        message.double_ack().await.expect("it is confirmed");
    }
    drop(messages);
    let fetched = consumer.fetch().max_messages(5).messages().await;
    let mut fetched = fetched.expect("messages come");
    while let Some(message) = fetched.next().await {
        let message = message.expect("it comes");
        let nak = AckKind::Nak(Some(Duration::from_secs(60)));
        message.ack_with(nak).await.expect("it is sent");
    }
    let strict = stream.create_consumer_strict(pull::Config {
        durable_name: Some("C".to_owned()),
        ..pull::Config::default()
    });
    let strict = strict
        .await
        .map(|consumer| consumer.cached_info().name.clone());
    report.result("strictly", strict);
    let names: Result<Vec<String>, _> = stream.consumer_names().try_collect().await;
    report.result("names", names);
    let deleted = stream.delete_consumer("C").await;
    report.result("delete", deleted.map(|status| status.success));
    let deleted = stream.delete_consumer("C").await;
    report.result("delete again", deleted.map(|status| status.success));

    let grouped = stream.create_consumer(pull::Config {
        durable_name: Some("G".to_owned()),
        priority_policy: PriorityPolicy::Overflow,
        priority_groups: vec!["g".to_owned()],
        ack_policy: AckPolicy::Explicit,
        ..pull::Config::default()
    });
    let grouped: PullConsumer = grouped.await.expect("it is created");
    let fetched = grouped.fetch().group("g").max_messages(2).messages().await;
    let fetched: Vec<Value> = fetched
        .expect("messages come")
        .map(|message| show(&message.expect("it comes")))
        .collect()
        .await;
    report.note("in a group", fetched);
    let overflow = grouped.fetch().group("g").min_pending(100_000);
    let overflow = overflow.max_messages(2).messages().await;
    let overflow = overflow.expect("it is asked").count().await;
    report.note("no overflow", overflow);
}

async fn pushing(js: &Context, report: &mut Report) {
    let stream = js.get_stream("A").await.expect("it is there");
    let created = stream.create_consumer(push::Config {
        durable_name: Some("P".to_owned()),
        deliver_subject: "push.here".to_owned(),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: 2 },
        ack_policy: AckPolicy::Explicit,
        replay_policy: ReplayPolicy::Instant,
        idle_heartbeat: Duration::from_secs(1),
        flow_control: true,
        ..push::Config::default()
    });
    let consumer: PushConsumer = created.await.expect("it is created");
    let mut messages = consumer.messages().await.expect("messages come").take(100);
    let mut last = Value::Null;
    while let Some(message) = messages.next().await {
        let message = message.expect("it comes");
        last = show(&message);
        message.double_ack().await.expect("it is confirmed");
    }
    report.note("the hundredth pushed", last);
    let ordered = stream.create_consumer(pull::OrderedConfig {
        filter_subject: "a.many".to_owned(),
        ..pull::OrderedConfig::default()
    });
    let ordered = ordered.await.expect("it is created");
    let messages = ordered.messages().await.expect("messages come");
    let sequences: Vec<u64> = messages
        .take(500)
        .map(|m| {
            m.expect("it comes")
                .info()
                .expect("of a stream")
                .stream_sequence
        })
        .collect()
        .await;
    let rising = sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    report.note("in order", (sequences.first(), sequences.len(), rising));
    let ordered = stream.create_consumer(push::OrderedConfig {
        deliver_subject: "ordered.here".to_owned(),
        deliver_policy: DeliverPolicy::Last,
        ..push::OrderedConfig::default()
    });
    let ordered = ordered.await.expect("it is created");
    let mut messages = ordered.messages().await.expect("messages come");
    let message = messages.next().await.expect("one comes");
    report.note("ordered push", show(&message.expect("it comes")));
}

async fn gets(js: &Context, report: &mut Report) {
    let direct = Config {
        allow_direct: true,
        ..config("D", &["d.>"])
    };
    let stream = js.create_stream(direct).await.expect("it is created");
    for number in 1..=5 {
        let sent = js.publish(format!("d.{}", number % 2), number.to_string().into());
        let ack = sent.await.expect("it is sent").await;
        ack.expect("it is acknowledged");
    }
    let show = |m: async_nats::jetstream::message::StreamMessage| {
        json!([
            m.subject.as_str(),
            m.sequence,
            String::from_utf8_lossy(&m.payload)
        ])
    };
    report.result("direct", stream.direct_get(2).await.map(show));
    report.result("direct none", stream.direct_get(99).await.map(show));
    let last = stream.direct_get_last_for_subject("d.1").await;
    report.result("direct last", last.map(show));
    let next = stream.direct_get_next_for_subject("d.0", Some(3)).await;
    report.result("direct next", next.map(show));
    report.result("raw", stream.get_raw_message(3).await.map(show));
    report.result("raw none", stream.get_raw_message(99).await.map(show));
    let last = stream.get_last_raw_message_by_subject("d.0").await;
    report.result("raw last", last.map(show));
    report.result("delete", stream.delete_message(2).await);
    report.result("delete again", stream.delete_message(2).await);
    let purged = stream.purge().filter("d.1").keep(1).await;
    report.result(
        "purge",
        purged.map(|answer| (answer.success, answer.purged)),
    );
    let purged = stream.purge().sequence(5).await;
    report.result(
        "purge",
        purged.map(|answer| (answer.success, answer.purged)),
    );
    let info = stream.get_info().await;
    let info = info.map(|i| {
        (
            i.state.messages,
            i.state.first_sequence,
            i.state.last_sequence,
        )
    });
    report.result("state", info);
    let subjects = stream.info_with_subjects(">").await.expect("it answers");
    let mut subjects: Vec<_> = subjects.map(|s| s.expect("it is one")).collect().await;
    subjects.sort();
    report.note("subjects", subjects);
}

async fn mirrors(js: &Context, report: &mut Report) {
    let mirror = Config {
        mirror: Some(Source {
            name: "A".to_owned(),
            ..Source::default()
        }),
        ..config("M", &[])
    };
    let mirror = js.create_stream(mirror).await.expect("it is created");
    let sourced = Config {
        sources: Some(vec![Source {
            name: "A".to_owned(),
            filter_subject: Some("a.many".to_owned()),
            ..Source::default()
        }]),
        ..config("S", &[])
    };
    let sourced = js.create_stream(sourced).await.expect("it is created");
    let original = js.get_stream("A").await.expect("it is there");
    let wanted = original.cached_info().state.messages;
    for (step, stream, wanted) in [("mirror", mirror, wanted), ("source", sourced, 500)] {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut messages = 0;
        while messages < wanted && tokio::time::Instant::now() < deadline {
            let info = stream.get_info().await.expect("it answers");
            messages = info.state.messages;
        }
        report.note(step, messages == wanted);
    }
    let queue = Config {
        retention: RetentionPolicy::WorkQueue,
        ..config("W", &["w"])
    };
    let queue = js.create_stream(queue).await.expect("it is created");
    for number in 0..10 {
        let sent = js.publish("w", number.to_string().into()).await;
        sent.expect("it is sent").await.expect("it is acknowledged");
    }
    let worker = queue.create_consumer(pull::Config {
        durable_name: Some("w".to_owned()),
        ..pull::Config::default()
    });
    let worker: PullConsumer = worker.await.expect("it is created");
    let mut jobs = worker.messages().await.expect("messages come").take(10);
    while let Some(job) = jobs.next().await {
        let job = job.expect("it comes");
        job.double_ack().await.expect("it is confirmed");
    }
    let left = queue.get_info().await.expect("it answers").state.messages;
    report.note("left in the queue", left);
}

async fn buckets(js: &Context, report: &mut Report) {
    let created = js
        .create_key_value(kv::Config {
            bucket: "KV".to_owned(),
            history: 5,
            limit_markers: Some(Duration::from_secs(60)),
            ..kv::Config::default()
        })
        .await;
    let kv = created.expect("it is created");
    let show = |e: kv::Entry| {
        let value = String::from_utf8_lossy(&e.value).into_owned();
        json!([e.key, value, e.revision, format!("{:?}", e.operation)])
    };
    report.note("config", &kv.stream.cached_info().config);
    let mut watch = kv.watch_all().await.expect("it watches");
    report.result("put", kv.put("k", "1".into()).await);
    report.result("put", kv.put("k", "2".into()).await);
    report.result("get", kv.get("k").await.map(|v| v.map(|v| v.to_vec())));
    report.result("entry", kv.entry("k").await.map(|e| e.map(show)));
    let first = kv.entry_for_revision("k", 1).await;
    report.result("entry of a revision", first.map(|e| e.map(show)));
    report.result("none", kv.entry("none").await.map(|e| e.map(show)));
    report.result("create", kv.create("k", "x".into()).await);
    report.result("create", kv.create("n", "x".into()).await);
    let short = kv.create_with_ttl("t", "x".into(), Duration::from_secs(100));
    report.result("create with a time to live", short.await);
    report.result("update", kv.update("k", "3".into(), 2).await);
    report.result("update an old one", kv.update("k", "4".into(), 2).await);
    report.result("delete", kv.delete("n").await);
    report.result("deleted", kv.entry("n").await.map(|e| e.map(show)));
    let wrong = kv.delete_expect_revision("k", Some(1)).await;
    report.result("delete an old one", wrong);
    report.result("create the deleted", kv.create("n", "y".into()).await);
    report.result("purge", kv.purge("n").await);
    let keys = kv.keys().await.expect("it answers");
    let mut keys: Vec<String> = keys.try_collect().await.expect("they come");
    keys.sort();
    report.note("keys", keys);
    let history = kv.history("k").await.expect("it answers");
    let history: Result<Vec<Value>, _> = history.map_ok(show).try_collect().await;
    report.result("history", history);
    for _ in 0..8 {
        let seen = timeout(PATIENCE, watch.next()).await;
        let seen = seen
            .ok()
            .flatten()
            .map(|entry| show(entry.expect("it is one")));
        report.note("watched", seen);
    }
    let status = kv.status().await.expect("it answers");
    report.note(
        "status",
        (status.values(), status.history(), status.bucket()),
    );
    let deleted = js.delete_key_value("KV").await;
    report.result("delete the bucket", deleted.map(|status| status.success));
    let gone = js.get_key_value("KV").await;
    report.result("a bucket that is gone", gone.map(|kv| kv.name));
}

async fn objects(js: &Context, report: &mut Report) {
    let created = js
        .create_object_store(object_store::Config {
            bucket: "O".to_owned(),
            description: Some("objects".to_owned()),
            ..object_store::Config::default()
        })
        .await;
    let mut store = created.expect("it is created");
    let show = |info: &object_store::ObjectInfo| {
        json!([
            info.name,
            info.size,
            info.chunks,
            info.digest,
            info.deleted,
            info.description
        ])
    };
    let much = vec![7; 400_000];
    let put = store.put("small", &mut &b"content"[..]).await;
    report.result("put", put.map(|info| show(&info)));
    let put = store.put("much", &mut much.as_slice()).await;
    report.result("put much", put.map(|info| show(&info)));
    for name in ["small", "much", "none"] {
        let got = match store.get(name).await {
            Ok(mut object) => {
                let mut bytes = Vec::new();
                let read = object.read_to_end(&mut bytes).await;
                read.map_err(|error| error.to_string()).map(|_| bytes.len())
            }
            Err(error) => Err(format!("{:?}", error.kind())),
        };
        report.result(name, got);
    }
    let small = store.info("small").await.expect("it is there");
    let link = store.add_link("link", &small).await;
    report.result("link", link.map(|info| (info.name, info.size)));
    let mut linked = store.get("link").await.expect("it is there");
    let mut bytes = Vec::new();
    linked.read_to_end(&mut bytes).await.expect("it is read");
    report.note("through the link", bytes.len());
    let renamed = object_store::UpdateMetadata {
        name: "renamed".to_owned(),
        description: Some("changed".to_owned()),
        ..object_store::UpdateMetadata::default()
    };
    let updated = store.update_metadata("small", renamed).await;
    report.result("update", updated.map(|info| show(&info)));
    report.result("delete", store.delete("much").await);
    let info = store.info("much").await;
    report.result("deleted", info.map(|info| (info.size, info.deleted)));
    let list = store.list().await.expect("it answers");
    let list: Vec<object_store::ObjectInfo> = list.try_collect().await.expect("they come");
    let mut list: Vec<&str> = list.iter().map(|info| info.name.as_str()).collect();
    list.sort_unstable();
    report.note("list", list);
    report.result("seal", store.seal().await);
    let late = store.put("late", &mut &b"x"[..]).await;
    report.note("put into the sealed", late.is_err());
    let deleted = js.delete_object_store("O").await;
    report.note("delete the bucket", deleted.is_ok());
}

async fn services(client: &async_nats::Client, report: &mut Report) {
    let service = client.service_builder().description("adds");
    let service = service.start("adder", "1.0.0").await.expect("it starts");
    let group = service.group("sum");
    let mut endpoint = group.endpoint("two").await.expect("it is added");
    let answering = tokio::spawn(async move {
        while let Some(request) = endpoint.next().await {
            let sum: u64 = String::from_utf8_lossy(&request.message.payload)
                .split('+')
                .filter_map(|number| number.parse::<u64>().ok())
                .sum();
            let answer = Ok(sum.to_string().into());
            request.respond(answer).await.expect("it is sent");
        }
    });
    let answer = client.request("sum.two", "2+3".into()).await;
    report.result("call", answer.map(|m| m.payload.to_vec()));
    for verb in ["PING", "INFO", "STATS"] {
        for name in ["", ".adder", ".nobody"] {
            let answer = client.request(format!("$SRV.{verb}{name}"), "".into());
            let answer = answer.await.map(|message| {
                let mut json: Value = serde_json::from_slice(&message.payload).expect("JSON");
                json["id"] = Value::Null;
                json["endpoints"] = json!(json["endpoints"].as_array().map(Vec::len));
                json
            });
            report.result(
                &format!("{verb}{name}"),
                answer.map_err(|error| error.kind()),
            );
        }
    }
    report.note("stop", service.stop().await.is_ok());
    answering.abort();
}
