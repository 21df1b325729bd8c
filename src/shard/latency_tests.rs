//! What is told of the latency of services, for each end that a request can come to. The fields
//! are those that nats-server 2.15.1 fills in the same scenes.

use serde_json::{Value, json};

use super::house::{House, account, reply_of, set_clock_ns};
use crate::auth::definition::{
    AccountDefinition, ExportKind, LatencyDefinition, ResponseType, Sampling,
};
use crate::base::deadlines::Millis;

fn measured(sampling: Sampling, response: ResponseType) -> AccountDefinition {
    let mut account = account("A").exports_service("add.*", response);
    let export = account.exports.last_mut().expect("one was added");
    let ExportKind::Service {
        latency, threshold, ..
    } = &mut export.kind
    else {
        unreachable!("it is a service");
    };
    *latency = Some(LatencyDefinition {
        sampling,
        subject: "latency.add".to_owned(),
    });
    *threshold = Some(std::time::Duration::from_secs(1));
    account
}

fn shares(mut account: AccountDefinition) -> AccountDefinition {
    use crate::auth::definition::ImportKind;
    for import in &mut account.imports {
        import.kind = ImportKind::Service { share: true };
    }
    account
}

/// The events in what somebody heard.
fn events(heard: &str) -> Vec<Value> {
    heard
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The one event, without what differs from run to run.
fn event(heard: &str) -> Value {
    let mut events = events(heard);
    assert_eq!(events.len(), 1, "{heard}");
    let mut event = events.remove(0);
    let event_object = event.as_object_mut().expect("it is an object");
    let id = event_object.remove("id").expect("it has an id");
    assert_eq!(id.as_str().map(str::len), Some(22));
    event
}

fn house(shards: usize, exporter: &AccountDefinition, share: bool) -> House {
    let mut importer = account("B").imports_service("A", "add.*", "sum.*");
    if share {
        importer = shares(importer);
    }
    House::new(shards, &[exporter.clone(), importer])
}

#[test]
fn answers_are_measured_on_all_shards() {
    let always = measured(Sampling::Percent(100), ResponseType::Singleton);
    for shards in 1..=3 {
        for share in [false, true] {
            let mut house = house(shards, &always, share);
            let watcher = house.client("A");
            let service = house.guest("A", 100);
            let client = house.guest("B", 10);
            house.say(watcher, "SUB latency.* 1\r\n");
            house.say(service, "SUB add.* 1\r\n");
            house.say(client, "SUB in 2\r\n");
            set_clock_ns(1_000);
            house.say(client, "PUB sum.2 in 0\r\n\r\n");
            let reply = reply_of(&house.heard(service));
            assert!(reply.ends_with(".T"), "{reply}");
            set_clock_ns(1_500);
            house.say(service, &format!("PUB {reply} 1\r\n2\r\n"));
            assert_eq!(house.heard(client), "MSG in 2 1\r\n2\r\n");
            let heard = house.heard(watcher);
            assert!(heard.starts_with("MSG latency.add 1 "), "{heard}");
            let mut requestor = json!({"acc": "B", "rtt": 10});
            if share {
                requestor = json!({
                    "start": "1970-01-01T00:00:00.001Z", "host": "127.0.0.1", "id": 2, "acc": "B",
                    "rtt": 10, "server": "house", "kind": "Client", "client_type": "nats",
                });
            }
            let expected = json!({
                "type": "io.nats.server.metric.v1.service_latency",
                "timestamp": "1970-01-01T00:00:00.001Z",
                "status": 200,
                "requestor": requestor,
                "responder": {
                    "start": "1970-01-01T00:00:00.001Z", "host": "127.0.0.1", "id": 1, "acc": "A",
                    "rtt": 100, "server": "house", "kind": "Client", "client_type": "nats",
                },
                "start": "1970-01-01T00:00:00.00099999Z",
                "service": 400,
                "system": 0,
                "total": 510,
            });
            assert_eq!(event(&heard), expected, "{shards} shards");
        }
    }
}

/// What is done between request and event.
enum Then {
    Nothing,
    Wait(Millis),
    Unsubscribe,
    Leave,
}

#[test]
fn requests_without_an_answer_are_told_of() {
    let always = measured(Sampling::Percent(100), ResponseType::Singleton);
    let chunked = measured(Sampling::Percent(100), ResponseType::Chunked);
    let request = "PUB sum.2 in 0\r\n\r\n";
    let cases = [
        (
            &always,
            "PUB sum.2 0\r\n\r\n",
            true,
            Then::Nothing,
            Some((400, "Bad Request")),
        ),
        (
            &chunked,
            "PUB sum.2 0\r\n\r\n",
            true,
            Then::Nothing,
            Some((400, "Bad Request")),
        ),
        (
            &always,
            request,
            false,
            Then::Nothing,
            Some((503, "Service Unavailable")),
        ),
        (&always, request, true, Then::Wait(999), None),
        (
            &always,
            request,
            true,
            Then::Wait(1000),
            Some((504, "Service Timeout")),
        ),
        (&chunked, request, true, Then::Wait(1000), None),
        (
            &always,
            request,
            true,
            Then::Unsubscribe,
            Some((408, "Request Timeout")),
        ),
        (
            &always,
            request,
            true,
            Then::Leave,
            Some((408, "Request Timeout")),
        ),
    ];
    for shards in 1..=3 {
        for (exporter, request, has_service, then, expected) in &cases {
            let mut house = house(shards, exporter, false);
            let watcher = house.client("A");
            let service = house.guest("A", 0);
            let client = house.guest("B", 0);
            house.say(watcher, "SUB latency.* 1\r\n");
            house.say(client, "SUB in 2\r\n");
            if *has_service {
                house.say(service, "SUB add.* 1\r\n");
            }
            house.say(client, request);
            match then {
                Then::Nothing => {}
                Then::Wait(ms) => house.wait(*ms),
                Then::Leave => {
                    house.hangs_up(client);
                    house.wait(50);
                }
                Then::Unsubscribe => {
                    house.say(client, "UNSUB 2\r\n");
                    house.wait(50);
                }
            }
            let heard = house.heard(watcher);
            let Some((status, description)) = expected else {
                assert_eq!(heard, "");
                continue;
            };
            let expected = json!({
                "type": "io.nats.server.metric.v1.service_latency",
                "timestamp": event(&heard)["timestamp"],
                "status": status,
                "description": description,
                "requestor": {"acc": "B"},
                "start": "1970-01-01T00:00:00.001Z",
                "service": 0,
                "system": 0,
                "total": 0,
            });
            assert_eq!(event(&heard), expected, "{shards} shards");
            // It is told once.
            house.wait(5000);
            assert!(events(&house.heard(watcher)).is_empty());
        }
    }
}

#[test]
fn headers_ask_for_it() {
    let headers = measured(Sampling::Headers, ResponseType::Singleton);
    let cases = [
        ("", None),
        ("X-B3-Sampled: 0", None),
        ("X-B3-Sampled: 1", Some(json!({"X-B3-Sampled": ["1"]}))),
        (
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            Some(json!({
                "Traceparent": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            })),
        ),
    ];
    for (line, expected) in cases {
        let mut house = house(2, &headers, false);
        let watcher = house.client("A");
        let service = house.guest("A", 0);
        let client = house.guest("B", 0);
        house.say(watcher, "SUB latency.* 1\r\n");
        house.say(service, "SUB add.* 1\r\n");
        house.say(client, "SUB in 2\r\n");
        let block = match line {
            "" => "NATS/1.0\r\n\r\n".to_owned(),
            line => format!("NATS/1.0\r\n{line}\r\n\r\n"),
        };
        let len = block.len();
        house.say(client, &format!("HPUB sum.2 in {len} {len}\r\n{block}\r\n"));
        let reply = reply_of(&house.heard(service));
        assert_eq!(reply.ends_with(".T"), expected.is_some(), "{line}");
        house.say(service, &format!("PUB {reply} 1\r\n2\r\n"));
        let heard = house.heard(watcher);
        match expected {
            None => assert_eq!(heard, ""),
            Some(expected) => assert_eq!(event(&heard)["header"], expected),
        }
    }
}

/// A share of the requests is measured: about that share.
#[test]
fn a_share_is_drawn() {
    let some = measured(Sampling::Percent(20), ResponseType::Singleton);
    let mut house = house(1, &some, false);
    let watcher = house.client("A");
    let service = house.guest("A", 0);
    let client = house.guest("B", 0);
    house.say(watcher, "SUB latency.* 1\r\n");
    house.say(service, "SUB add.* 1\r\n");
    house.say(client, &"PUB sum.2 in 0\r\n\r\n".repeat(1000));
    house.wait(1000);
    let drawn = events(&house.heard(watcher)).len();
    assert!((150..250).contains(&drawn), "{drawn}");
}

/// The service of a service: what it takes is told by each of them that wants it, with who
/// answered, although only the first is asked by a client.
#[test]
fn chains_tell_who_answered() {
    let accounts = |inner: bool, outer: bool| {
        let mut deep = measured(Sampling::Percent(100), ResponseType::Singleton);
        let mut middle = account("M")
            .imports_service("A", "add.*", "mid.*")
            .exports_service("mid.*", ResponseType::Singleton);
        let ExportKind::Service { latency, .. } = &mut middle.exports[0].kind else {
            unreachable!("it is a service");
        };
        *latency = outer.then(|| LatencyDefinition {
            sampling: Sampling::Percent(100),
            subject: "latency.mid".to_owned(),
        });
        if !inner {
            deep = account("A").exports_service("add.*", ResponseType::Singleton);
        }
        [
            deep,
            middle,
            account("B").imports_service("M", "mid.*", "top.*"),
        ]
    };
    for shards in 1..=3 {
        for (inner, outer) in [(true, true), (true, false), (false, true)] {
            let mut house = House::new(shards, &accounts(inner, outer));
            let watchers = [house.client("A"), house.client("M")];
            let client = house.guest("B", 0);
            let service = house.guest("A", 0);
            for watcher in watchers {
                house.say(watcher, "SUB latency.* 1\r\n");
            }
            house.say(service, "SUB add.* 1\r\n");
            house.say(client, "SUB in 2\r\nPUB top.1 in 0\r\n\r\n");
            let reply = reply_of(&house.heard(service));
            house.say(service, &format!("PUB {reply} 1\r\n2\r\n"));
            assert_eq!(house.heard(client), "MSG in 2 1\r\n2\r\n");
            for (watcher, wants) in watchers.into_iter().zip([inner, outer]) {
                let heard = house.heard(watcher);
                assert_eq!(events(&heard).len(), usize::from(wants), "{heard}");
                if wants {
                    assert_eq!(event(&heard)["responder"]["id"], 3, "{shards} shards");
                }
            }
        }
    }
}

/// Who asks and has not been pinged yet is pinged, so that later events can tell its round trip.
#[test]
fn requesters_are_asked_for_their_round_trip() {
    let always = measured(Sampling::Percent(100), ResponseType::Singleton);
    let mut house = house(1, &always, false);
    let service = house.guest("A", 0);
    let client = house.guest("B", 0);
    house.say(service, "SUB add.* 1\r\n");
    house.say(client, "PUB sum.1 in 0\r\n\r\n");
    assert_eq!(house.heard(client), "", "it is new");
    house.now += 2001;
    set_clock_ns(7);
    house.say(client, "PUB sum.1 in 0\r\n\r\n");
    assert_eq!(house.heard(client), "PING\r\n");
    set_clock_ns(9);
    house.say(
        client,
        "PUB sum.1 in 0\r\n\r\nPONG\r\nPUB sum.1 in 0\r\n\r\n",
    );
    assert_eq!(house.heard(client), "", "one is enough");
    assert_eq!(house.session(client).pings.round_trip_ns, 2);
}
