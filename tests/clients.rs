//! A real client, async-nats, against the real binary: what applications do, on one shard and
//! across three.
//!
//! `flush` of async-nats empties its socket buffer and is no round trip, so tests that need one
//! use [`meet`], and the barrier that PING and PONG are is tested with bytes.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::time::{Duration, Instant};

use async_nats::client::{PublishErrorKind, RequestErrorKind};
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Message, Request, Subscriber,
};
use futures_util::future::{join, join_all, select};
use futures_util::{FutureExt, StreamExt};
use harness::{PATIENCE, Server};
use tokio::net::TcpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Numbers of shards that every scenario is played on.
const SHARDS: [usize; 2] = [1, 3];
/// One scenario's time; reached only by a failure.
const DEADLINE: Duration = Duration::from_secs(60);
/// Messages that a subscription may hold unread, so that none is dropped by the client.
const UNREAD_MAX: usize = 200_000;

#[test]
fn publish_and_subscribe() {
    play("", async |server| {
        let [alice, bob] = pair(server).await;
        let mut at_alice = subscribe(&alice, "news").await;
        let mut at_bob = subscribe(&bob, "news").await;
        meet(&alice, &bob).await;
        for number in 0..1000 {
            publish(&bob, "news", &number.to_string()).await;
        }
        for number in 0..1000 {
            for subscriber in [&mut at_alice, &mut at_bob] {
                let message = next(subscriber).await;
                assert_eq!(message.subject.as_str(), "news");
                assert_eq!(message.payload, number.to_string());
                assert_eq!((message.reply, message.headers), (None, None));
            }
        }
        meet(&alice, &bob).await;
        assert!(unread(&mut at_alice).is_none());
        assert!(unread(&mut at_bob).is_none());
    });
}

#[test]
fn no_echo_for_who_does_not_want_it() {
    play("", async |server| {
        let alice = options().no_echo().connect(address(server)).await;
        let alice = alice.expect("it connects");
        let bob = connect(server).await;
        let mut at_alice = subscribe(&alice, "news").await;
        let mut at_bob = subscribe(&bob, "news").await;
        // Both ways: this checks that the other knows of the subscription.
        meet(&bob, &alice).await;
        publish(&alice, "news", "from alice").await;
        assert_eq!(next(&mut at_bob).await.payload, "from alice");
        meet(&alice, &bob).await;
        publish(&bob, "news", "from bob").await;
        assert_eq!(next(&mut at_alice).await.payload, "from bob");
    });
}

#[test]
fn wildcards() {
    play("", async |server| {
        let [alice, bob] = pair(server).await;
        let patterns = ["a.*.c", "a.>", "*.b.*", ">", "a.b.c", "a.b", "*"];
        let mut subscribers = Vec::new();
        for pattern in patterns {
            subscribers.push(subscribe(&alice, pattern).await);
        }
        meet(&alice, &bob).await;
        for subject in ["a.b.c", "a.x.c", "a.b", "a", "a.b.c.d", "x.b.y"] {
            publish(&bob, subject, subject).await;
        }
        meet(&alice, &bob).await;
        let expected: [&[&str]; 7] = [
            &["a.b.c", "a.x.c"],
            &["a.b.c", "a.x.c", "a.b", "a.b.c.d"],
            &["a.b.c", "x.b.y"],
            &["a.b.c", "a.x.c", "a.b", "a", "a.b.c.d", "x.b.y"],
            &["a.b.c"],
            &["a.b"],
            &["a"],
        ];
        for ((subscriber, pattern), expected) in subscribers.iter_mut().zip(patterns).zip(expected)
        {
            let mut subjects = Vec::new();
            while let Some(message) = unread(subscriber) {
                // The inboxes of `meet` match as well.
                if !message.subject.starts_with("_INBOX") {
                    assert_eq!(message.payload, message.subject.as_str());
                    subjects.push(message.subject.to_string());
                }
            }
            assert_eq!(subjects, expected, "{pattern}");
        }
    });
}

#[test]
fn a_queue_group_gets_each_message_once_and_all_members_work() {
    const MESSAGES: usize = 4000;
    play("", async |server| {
        let publisher = connect(server).await;
        let mut members = Vec::new();
        for _ in 0..4 {
            let member = connect(server).await;
            let jobs = member.queue_subscribe("jobs.*", "workers".into()).await;
            let jobs = jobs.expect("it subscribes");
            meet(&member, &publisher).await;
            members.push((member, jobs));
        }
        for number in 0..MESSAGES {
            publish(&publisher, "jobs.x", &number.to_string()).await;
        }
        let mut seen = HashSet::new();
        for (member, jobs) in &mut members {
            meet(member, &publisher).await;
            let mut count = 0;
            while let Some(message) = unread(jobs) {
                count += 1;
                assert!(seen.insert(message.payload), "no message comes twice");
            }
            let share = count * 100 / MESSAGES;
            assert!((15..=35).contains(&share), "a member gets {share} %");
        }
        assert_eq!(seen.len(), MESSAGES);
    });
}

#[test]
fn queue_groups_and_plain_subscribers_side_by_side() {
    play("", async |server| {
        let publisher = connect(server).await;
        let mut subscribers = Vec::new();
        for queue in ["red", "red", "blue", "blue", ""] {
            let client = connect(server).await;
            let subscriber = match queue {
                "" => client.subscribe("work").await,
                queue => client.queue_subscribe("work", queue.into()).await,
            };
            meet(&client, &publisher).await;
            subscribers.push((client, queue, subscriber.expect("it subscribes")));
        }
        for number in 0..400 {
            publish(&publisher, "work", &number.to_string()).await;
        }
        let mut counts = [("red", 0), ("blue", 0), ("", 0)];
        for (client, queue, subscriber) in &mut subscribers {
            meet(client, &publisher).await;
            while unread(subscriber).is_some() {
                let count = counts.iter_mut().find(|(name, _)| name == queue);
                count.expect("all are listed").1 += 1;
            }
        }
        assert_eq!(counts, [("red", 400), ("blue", 400), ("", 400)]);
    });
}

#[test]
fn headers_go_both_ways() {
    play("", async |server| {
        let [alice, bob] = pair(server).await;
        let mut requests = subscribe(&alice, "echo").await;
        meet(&alice, &bob).await;
        let mut headers = HeaderMap::new();
        headers.insert("Single", "one");
        headers.append("Many", "first");
        headers.append("Many", "second: with a colon");
        headers.append("Many", "third");
        headers.insert("Unicode", "värde");
        let answer = async {
            let request = next(&mut requests).await;
            let headers = request.headers.expect("it was sent with headers");
            assert_eq!(request.payload, "question");
            let reply = request.reply.expect("it is a request");
            let sent = alice.publish_with_headers(reply, headers, "answer".into());
            sent.await.expect("it publishes");
        };
        let question = bob.request_with_headers("echo", headers.clone(), "question".into());
        let (response, ()) = join(question, answer).await;
        let response = response.expect("there is a responder");
        assert_eq!(response.payload, "answer");
        assert_eq!(response.headers, Some(headers));
    });
}

#[test]
fn requests_and_replies() {
    play("", async |server| {
        let [alice, bob] = pair(server).await;
        let mut requests = subscribe(&alice, "double.*").await;
        meet(&alice, &bob).await;
        let serve = async {
            for _ in 0..2000 {
                let request = next(&mut requests).await;
                let reply = request.reply.expect("it is a request");
                let payload = [&request.payload[..], &request.payload[..]].concat();
                alice.publish(reply, payload.into()).await.expect("publish");
            }
        };
        let ask = async {
            for round in 0..20 {
                let asked = (0..100).map(|number| {
                    let text = format!("{round}-{number};");
                    let request = bob.request(format!("double.{number}"), text.clone().into());
                    async move { (text, request.await.expect("it is answered").payload) }
                });
                for (text, answer) in join_all(asked).await {
                    assert_eq!(answer, text.repeat(2));
                }
            }
        };
        join(serve, ask).await;
    });
}

#[test]
fn a_request_that_nobody_answers() {
    play("", async |server| {
        let [alice, bob] = pair(server).await;
        let start = Instant::now();
        let refused = bob.request("nobody.here", "".into()).await;
        let refused = refused.expect_err("nobody listens");
        assert_eq!(refused.kind(), RequestErrorKind::NoResponders);
        assert!(start.elapsed() < Duration::from_secs(2), "at once");

        let mut ignored = subscribe(&alice, "silent").await;
        meet(&alice, &bob).await;
        let patience = Duration::from_millis(150);
        let request = Request::new().timeout(Some(patience));
        let start = Instant::now();
        let late = bob.send_request("silent", request).await;
        let late = late.expect_err("nobody answers");
        assert_eq!(late.kind(), RequestErrorKind::TimedOut);
        assert!(start.elapsed() >= patience);
        assert!(next(&mut ignored).await.reply.is_some());
    });
}

#[test]
fn draining() {
    play("", async |server| {
        let [alice, bob] = pair(server).await;
        let mut drained = subscribe(&alice, "drain").await;
        let mut kept = subscribe(&alice, "drain").await;
        meet(&alice, &bob).await;
        for number in 0..100 {
            publish(&bob, "drain", &number.to_string()).await;
        }
        meet(&alice, &bob).await;
        drained.drain().await.expect("it drains");
        for number in 0..100 {
            assert_eq!(next(&mut drained).await.payload, number.to_string());
        }
        assert!(drained.next().await.is_none());
        publish(&bob, "drain", "afterwards").await;
        for _ in 0..100 {
            next(&mut kept).await;
        }
        assert_eq!(next(&mut kept).await.payload, "afterwards");

        // The whole client: what was published before is delivered, then it ends.
        let mut at_bob = subscribe(&bob, "farewell").await;
        meet(&bob, &alice).await;
        for number in 0..100 {
            publish(&alice, "farewell", &number.to_string()).await;
        }
        alice.drain().await.expect("it drains");
        assert!(kept.next().await.is_none());
        for number in 0..100 {
            assert_eq!(next(&mut at_bob).await.payload, number.to_string());
        }
        let gone = bob.request("drain", "".into()).await;
        let gone = gone.map_err(|error| error.kind());
        assert!(matches!(gone, Err(RequestErrorKind::NoResponders)));
    });
}

#[test]
fn unsubscribing_after_some_messages() {
    play("", async |server| {
        let [alice, bob] = pair(server).await;
        let mut five = subscribe(&alice, "count").await;
        five.unsubscribe_after(5).await.expect("it unsubscribes");
        meet(&alice, &bob).await;
        for number in 0..10 {
            publish(&bob, "count", &number.to_string()).await;
        }
        for number in 0..5 {
            assert_eq!(next(&mut five).await.payload, number.to_string());
        }
        assert!(five.next().await.is_none());
        let nobody = bob.request("count", "".into()).await;
        let nobody = nobody.map_err(|error| error.kind());
        assert!(matches!(nobody, Err(RequestErrorKind::NoResponders)));
    });
}

#[test]
fn max_payload_is_told_and_kept() {
    play_with("", "max_payload=1000", async |server| {
        let [alice, bob] = pair(server).await;
        assert_eq!(alice.server_info().max_payload, 1000);
        assert_eq!(alice.max_payload(), 1000);
        let mut at_alice = subscribe(&alice, "size").await;
        meet(&alice, &bob).await;
        let payload = vec![b'x'; 1001];
        let refused = bob.publish("size", payload.clone().into()).await;
        let refused = refused.expect_err("it is too large");
        assert_eq!(refused.kind(), PublishErrorKind::MaxPayloadExceeded);
        let allowed = bob.publish("size", payload[1..].to_vec().into()).await;
        allowed.expect("it is just not too large");
        assert_eq!(next(&mut at_alice).await.payload.len(), 1000);
        // What a client would hear that does not check by itself.
        let mut wire = Wire::open(server.address());
        wire.send("CONNECT {\"verbose\":false}\r\nPUB size 1001\r\n");
        assert_eq!(wire.line(), "-ERR 'Maximum Payload Violation'");
        assert_eq!(wire.line(), "", "and the end");
    });
}

#[test]
fn large_messages_arrive_unchanged() {
    play("", async |server| {
        let [alice, bob] = pair(server).await;
        let mut at_alice = subscribe(&alice, "large").await;
        let mut also = subscribe(&alice, "*").await;
        let mut at_bob = subscribe(&bob, "large").await;
        meet(&alice, &bob).await;
        let mut sizes: Vec<usize> = (0..=20).map(|power| 1 << power).collect();
        sizes.extend((5..20).flat_map(|power| [(1 << power) - 1, (1 << power) + 1]));
        sizes.extend([0, 1_000_000, 1024 * 1024 - 1, 1024 * 1024]);
        for &size in &sizes {
            let sent = bob.publish("large", pattern(size).into()).await;
            sent.expect("it publishes");
        }
        for &size in &sizes {
            for subscriber in [&mut at_alice, &mut also, &mut at_bob] {
                let message = next(subscriber).await;
                assert_eq!(message.payload.len(), size);
                assert!(message.payload == pattern(size), "{size} bytes");
            }
        }
    });
}

#[test]
fn many_messages_in_order() {
    const MESSAGES: usize = 100_000;
    play("", async |server| {
        let [alice, bob] = pair(server).await;
        let mut subscriber = subscribe(&alice, "order.*").await;
        meet(&alice, &bob).await;
        let send = async {
            for number in 0..MESSAGES {
                publish(&bob, &format!("order.{}", number % 7), &number.to_string()).await;
            }
        };
        let receive = async {
            for number in 0..MESSAGES {
                let message = next(&mut subscriber).await;
                assert_eq!(message.payload, number.to_string());
                assert_eq!(message.subject.as_str(), format!("order.{}", number % 7));
            }
        };
        join(send, receive).await;
    });
}

#[test]
fn a_client_survives_a_restart() {
    for end in ["TERM", "KILL"] {
        play("", async |server| {
            let (client, mut events) = connect_with_events(server).await;
            let mut subscriber = subscribe(&client, "again.*").await;
            let mut workers = subscribe_queue(&client, "again.*").await;
            meet(&client, &client).await;
            let address = server.address();
            let before = client.server_info();
            assert!(harness::signal(server.pid(), end), "it is running");
            server.wait_for_exit();
            wait_for(&mut events, &Event::Disconnected).await;
            let reserved = reserve(address).await;
            for number in 0..10 {
                publish(&client, "again.pending", &number.to_string()).await;
            }
            let flags = format!("{} -p {}", shards_flag(1), address.port());
            *server = Server::start(&flags, "").expect("the port is free again");
            drop(reserved);
            wait_for(&mut events, &Event::Connected).await;
            for number in 0..10 {
                assert_eq!(next(&mut subscriber).await.payload, number.to_string());
                assert_eq!(next(&mut workers).await.payload, number.to_string());
            }
            assert_ne!(client.server_info().server_id, before.server_id);
            let other = connect(server).await;
            meet(&client, &other).await;
            publish(&other, "again.later", "later").await;
            assert_eq!(next(&mut subscriber).await.payload, "later");
            assert_eq!(next(&mut workers).await.payload, "later");
        });
    }
}

#[test]
fn lame_duck_mode_is_told() {
    let set = "lame_duck_duration_ms=1500,lame_duck_grace_period_ms=500";
    // nats-server takes 30 seconds and more.
    let set = match harness::is_nats_server() {
        true => "lame_duck_duration_ms=30000,lame_duck_grace_period_ms=500",
        false => set,
    };
    play_with("", set, async |server| {
        let (client, mut events) = connect_with_events(server).await;
        let (other, mut other_events) = connect_with_events(server).await;
        let mut subscriber = subscribe(&client, "duck").await;
        meet(&client, &other).await;
        // The client sends its first PING with CONNECT, and waits for its PONG.
        assert!(harness::signal(server.pid(), "USR2"), "it is running");
        wait_for(&mut events, &Event::LameDuckMode).await;
        wait_for(&mut other_events, &Event::LameDuckMode).await;
        publish(&other, "duck", "still here").await;
        assert_eq!(next(&mut subscriber).await.payload, "still here");
        wait_for(&mut events, &Event::Disconnected).await;
        wait_for(&mut other_events, &Event::Disconnected).await;
        assert_eq!(server.wait_for_exit(), Some(0));
    });
}

#[test]
fn users_and_passwords() {
    play("--user alice --pass secret", async |server| {
        let right = options().user_and_password("alice".into(), "secret".into());
        let right = right.connect(address(server)).await;
        let right = right.expect("these are right");
        assert!(right.server_info().auth_required);
        meet(&right, &right).await;
        for (user, pass) in [
            ("alice", "wrong"),
            ("bob", "secret"),
            ("", ""),
            ("Alice", "secret"),
        ] {
            let wrong = options().user_and_password(user.into(), pass.into());
            is_refused(wrong, server).await;
        }
        is_refused(options(), server).await;
        is_refused(options().token("secret".into()), server).await;
        meet(&right, &right).await;
    });
}

#[test]
fn tokens() {
    play("--auth t0ken", async |server| {
        let right = options().token("t0ken".into()).connect(address(server));
        let right = right.await.expect("this is right");
        meet(&right, &right).await;
        is_refused(options(), server).await;
        is_refused(options().token("t0keN".into()), server).await;
        let wrong = options().user_and_password("t0ken".into(), "t0ken".into());
        is_refused(wrong, server).await;
        meet(&right, &right).await;
    });
}

#[test]
fn five_hundred_clients_at_once() {
    const CLIENTS: usize = 500;
    play("", async |server| {
        let clients = join_all((0..CLIENTS).map(|_| connect(server))).await;
        let ids: HashSet<u64> = clients.iter().map(|c| c.server_info().client_id).collect();
        assert_eq!(ids.len(), CLIENTS, "client ids are unique");
        let mut subscribers = Vec::new();
        for (number, client) in clients.iter().enumerate() {
            let all = subscribe(client, "all").await;
            subscribers.push((all, subscribe(client, &format!("one.{number}")).await));
        }
        join_all(clients.iter().map(|client| meet(client, &clients[0]))).await;
        publish(&clients[0], "all", "everybody").await;
        for number in 0..CLIENTS {
            publish(&clients[0], &format!("one.{number}"), &number.to_string()).await;
        }
        for (number, (all, one)) in subscribers.iter_mut().enumerate() {
            assert_eq!(next(all).await.payload, "everybody");
            assert_eq!(next(one).await.payload, number.to_string());
        }
        for (all, one) in &mut subscribers {
            assert!(unread(all).is_none() && unread(one).is_none());
        }
    });
}

#[test]
fn what_the_server_says_about_itself() {
    play("-n the_name", async |server| {
        let [alice, bob] = pair(server).await;
        let (info, other) = (alice.server_info(), bob.server_info());
        assert!(info.server_id.starts_with('N') && info.server_id.len() == 56);
        assert_eq!(info.server_id, other.server_id);
        assert_eq!(info.server_name, "the_name");
        assert_eq!(info.host, "127.0.0.1");
        assert_eq!(info.port, server.address().port());
        assert!(alice.is_server_compatible(2, 10, 0), "{}", info.version);
        assert_eq!(info.proto, 1);
        assert!(info.headers && !info.auth_required && !info.tls_required);
        assert!(!info.lame_duck_mode && !info.jetstream);
        assert_eq!(info.max_payload, 1024 * 1024);
        assert_eq!(info.client_ip, "127.0.0.1");
        assert!(info.client_id > 0 && info.client_id != other.client_id);
        assert_eq!(info.connect_urls, Vec::<String>::new());
    });
}

/// What `flush` of other clients is: after the PONG, every shard knows of the SUB before it.
#[test]
fn ping_and_pong_are_a_barrier_for_the_whole_server() {
    play("", async |server| {
        let mut wires: Vec<Wire> = (0..6).map(|_| Wire::open(server.address())).collect();
        for wire in &mut wires {
            wire.send("CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
        }
        let connections = wires.len();
        for round in 0..500 {
            let subscriber = round % connections;
            let publisher = (round / connections + round + 1) % connections;
            let subject = format!("barrier.{round}");
            wires[subscriber].send(&format!("SUB {subject} {round}\r\nPING\r\n"));
            assert_eq!(wires[subscriber].line(), "PONG");
            wires[publisher].send(&format!("PUB {subject} 2\r\nhi\r\nPING\r\n"));
            // One that publishes to itself gets its message first.
            if subscriber != publisher {
                assert_eq!(wires[publisher].line(), "PONG");
            }
            let delivery = wires[subscriber].line();
            assert_eq!(
                delivery,
                format!("MSG {subject} {round} 2"),
                "round {round}"
            );
            assert_eq!(wires[subscriber].line(), "hi");
            if subscriber == publisher {
                assert_eq!(wires[publisher].line(), "PONG");
            }
            // After the PONG of an UNSUB, nothing comes any more.
            wires[subscriber].send(&format!("UNSUB {round}\r\nPING\r\n"));
            assert_eq!(wires[subscriber].line(), "PONG");
            wires[publisher].send(&format!("PUB {subject} 4\r\nlate\r\nPING\r\n"));
            assert_eq!(wires[publisher].line(), "PONG");
        }
    });
}

/// The other half: after the PONG of a publisher, a PONG to a subscriber comes behind the message.
#[test]
fn a_publish_before_a_pong_is_before_every_later_pong() {
    play("", async |server| {
        let mut wires: Vec<Wire> = (0..6).map(|_| Wire::open(server.address())).collect();
        for (number, wire) in wires.iter_mut().enumerate() {
            wire.send("CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
            wire.send(&format!("SUB order.{number} 1\r\nPING\r\n"));
            assert_eq!(wire.line(), "PONG");
        }
        let connections = wires.len();
        for round in 0..500 {
            let subscriber = round % connections;
            let publisher = (subscriber + 1 + round % (connections - 1)) % connections;
            wires[publisher].send(&format!("PUB order.{subscriber} 2\r\nhi\r\nPING\r\n"));
            assert_eq!(wires[publisher].line(), "PONG");
            wires[subscriber].send("PING\r\n");
            let first = wires[subscriber].line();
            assert_eq!(
                first,
                format!("MSG order.{subscriber} 1 2"),
                "round {round}"
            );
            assert_eq!(wires[subscriber].line(), "hi");
            assert_eq!(wires[subscriber].line(), "PONG");
        }
    });
}

// ---- how scenarios are played ----

fn play(flags: &str, scenario: impl AsyncFn(&mut Server)) {
    play_with(flags, "", scenario);
}

/// Plays a scenario against a new server for each number of shards.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write the closure in place"
)]
fn play_with(flags: &str, set: &str, scenario: impl AsyncFn(&mut Server)) {
    for shards in SHARDS {
        let flags = format!("{} {flags}", shards_flag(shards));
        let mut server = Server::start(&flags, set).expect("the server starts");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let outcome =
            runtime.block_on(async { tokio::time::timeout(DEADLINE, scenario(&mut server)).await });
        assert!(outcome.is_ok(), "on {shards} shards it takes too long");
    }
}

fn shards_flag(shards: usize) -> String {
    match harness::is_nats_server() {
        true => String::new(),
        false => format!("--shards {shards}"),
    }
}

fn address(server: &Server) -> String {
    server.address().to_string()
}

fn options() -> ConnectOptions {
    ConnectOptions::new()
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .subscription_capacity(UNREAD_MAX)
        .reconnect_delay_callback(|_| Duration::from_millis(5))
}

async fn connect(server: &Server) -> Client {
    let client = options().connect(address(server)).await;
    client.expect("it connects")
}

/// Two clients, which are on different shards where there are several.
async fn pair(server: &Server) -> [Client; 2] {
    [connect(server).await, connect(server).await]
}

async fn connect_with_events(server: &Server) -> (Client, UnboundedReceiver<Event>) {
    let (sender, mut events) = unbounded_channel();
    let options = options().event_callback(move |event| {
        // Nobody listens any more when the test is over.
        let _ = sender.send(event);
        std::future::ready(())
    });
    let client = options.connect(address(server)).await;
    wait_for(&mut events, &Event::Connected).await;
    (client.expect("it connects"), events)
}

async fn wait_for(events: &mut UnboundedReceiver<Event>, wanted: &Event) {
    while let Some(event) = events.recv().await {
        if event == *wanted {
            return;
        }
    }
    panic!("the client ended before the event `{wanted}`");
}

async fn is_refused(options: ConnectOptions, server: &Server) {
    let refused = options.connect(address(server)).await;
    let refused = refused.expect_err("it must not connect");
    assert_eq!(refused.kind(), ConnectErrorKind::AuthorizationViolation);
}

async fn subscribe(client: &Client, subject: &str) -> Subscriber {
    let subscriber = client.subscribe(subject.to_owned()).await;
    subscriber.expect("it subscribes")
}

async fn subscribe_queue(client: &Client, subject: &str) -> Subscriber {
    let subscriber = client.queue_subscribe(subject.to_owned(), "queue".into());
    subscriber.await.expect("it subscribes")
}

async fn publish(client: &Client, subject: &str, payload: &str) {
    let payload = payload.to_owned().into();
    let published = client.publish(subject.to_owned(), payload).await;
    published.expect("it publishes");
}

async fn next(subscriber: &mut Subscriber) -> Message {
    subscriber.next().await.expect("the subscription is open")
}

/// What has come and was not read; whether that is all means something after [`meet`].
fn unread(subscriber: &mut Subscriber) -> Option<Message> {
    // Without its budget, tokio says "not ready" after 128 messages.
    let next = tokio::task::unconstrained(subscriber.next());
    next.now_or_never().flatten()
}

/// Sends a request through the server. Afterwards the shard of `sender` knows of what `receiver`
/// has subscribed to, and `receiver` has got what `sender` has published to it.
async fn meet(receiver: &Client, sender: &Client) {
    let subject = receiver.new_inbox();
    let mut requests = subscribe(receiver, &subject).await;
    let answer = async {
        // More than one may come where the first answer came late.
        loop {
            let reply = next(&mut requests).await.reply;
            publish(receiver, &reply.expect("it is a request"), "").await;
        }
    };
    let ask = async {
        loop {
            // Until the subscription is known there are no responders, or only a `>` that is silent.
            let request = Request::new().timeout(Some(Duration::from_millis(50)));
            if sender.send_request(subject.clone(), request).await.is_ok() {
                break;
            }
        }
    };
    select(pin!(answer), pin!(ask)).await;
}

/// Keeps a port from being given to somebody else, without listening on it. The kernel takes the
/// listening socket of a killed server apart a little after the process is gone.
async fn reserve(address: SocketAddr) -> TcpSocket {
    loop {
        let socket = TcpSocket::new_v4().expect("there are sockets");
        socket
            .set_reuseaddr(true)
            .expect("a fresh socket takes options");
        match socket.bind(address) {
            Ok(()) => return socket,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                // Ends with the scenario's deadline.
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("cannot bind {address}: {error}"),
        }
    }
}

/// Bytes that are different at each place and in each size.
fn pattern(size: usize) -> Vec<u8> {
    let mut state = size as u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

/// A connection without a client.
struct Wire {
    reader: BufReader<TcpStream>,
}

impl Wire {
    /// Connects and drops the greeting.
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream
            .set_nodelay(true)
            .expect("a fresh socket takes options");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a fresh socket takes options");
        let mut wire = Self {
            reader: BufReader::new(stream),
        };
        assert!(wire.line().starts_with("INFO {"));
        wire
    }

    fn send(&mut self, text: &str) {
        self.reader
            .get_mut()
            .write_all(text.as_bytes())
            .expect("the server reads");
    }

    /// The next line without its end; empty at the end of the connection. The server's own PINGs
    /// are answered.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.reader.read_line(&mut line);
            read.expect("the server says something");
            if line != "PING\r\n" {
                return line.trim_end().to_owned();
            }
            self.send("PONG\r\n");
        }
    }
}
