//! Messages between accounts: imports, services and their responses, on one shard and across
//! several.

use super::house::{House, account, directory, reply_of};
use crate::auth::definition::ResponseType;

#[test]
fn streams_are_seen_by_who_imports_them() {
    let accounts = [
        account("A").exports_stream("s.>").exports_stream("t.*"),
        account("B").imports_stream("A", "s.>", "from.a.s.>"),
        account("C").imports_stream("A", "t.*", ""),
        account("D").imports_stream("A", "t.*", "x.$1.y"),
    ];
    for shards in 1..=3 {
        let mut house = House::new(shards, &accounts);
        let publisher = house.client("A");
        let [b, queue, c, d, outside] = ["B", "B", "C", "D", "$G"].map(|a| house.client(a));
        house.say(b, "SUB from.a.s.*.* 1\r\n");
        house.say(queue, "SUB from.a.> workers 2\r\n");
        house.say(c, "SUB t.one 3\r\n");
        house.say(d, "SUB x.*.y 4\r\nSUB x.one.y 5\r\n");
        house.say(outside, "SUB > 6\r\n");
        house.say(
            publisher,
            "PUB s.1.2 r 2\r\nhi\r\nPUB t.one 3\r\nho!\r\nPUB t.two 0\r\n\r\n",
        );
        assert_eq!(house.heard(b), "MSG from.a.s.1.2 1 r 2\r\nhi\r\n");
        assert_eq!(house.heard(queue), "MSG from.a.s.1.2 2 r 2\r\nhi\r\n");
        assert_eq!(house.heard(c), "MSG t.one 3 3\r\nho!\r\n");
        let at_d = house.heard(d);
        for expected in [
            "MSG x.one.y 4 3\r\nho!",
            "MSG x.one.y 5 3\r\nho!",
            "MSG x.two.y 4 0",
        ] {
            assert!(at_d.contains(expected), "{at_d}");
        }
        assert_eq!(house.heard(outside), "");
        assert_eq!(house.heard(publisher), "");
    }
}

#[test]
fn changes_of_interest_reach_plans_through_imports() {
    let accounts = [
        account("A").exports_stream("s.>"),
        account("B")
            .imports_stream("A", "s.*", "b.$1")
            .exports_stream("b.>"),
        account("C").imports_stream("B", "b.>", "c.b.>"),
    ];
    for shards in 1..=2 {
        let mut house = House::new(shards, &accounts);
        let [a, b, c] = ["A", "B", "C"].map(|name| house.client(name));
        house.say(a, "PUB s.x 1\r\n0\r\n");
        house.say(b, "SUB b.x 1\r\n");
        house.say(a, "PUB s.x 1\r\n1\r\n");
        house.say(c, "SUB c.b.x 1\r\n");
        house.say(a, "PUB s.x 1\r\n2\r\n");
        house.say(b, "UNSUB 1\r\n");
        house.say(a, "PUB s.x 1\r\n3\r\n");
        house.say(b, "PUB b.x 1\r\n4\r\n");
        assert_eq!(house.heard(b), "MSG b.x 1 1\r\n1\r\nMSG b.x 1 1\r\n2\r\n");
        // Who imports from an importer sees what that one publishes, not what it imports.
        assert_eq!(house.heard(c), "MSG c.b.x 1 1\r\n4\r\n");
    }
}

#[test]
fn requests_go_to_the_exporter_and_come_back() {
    let accounts = [
        account("A").exports_service("add.*", ResponseType::Singleton),
        account("B").imports_service("A", "add.*", "sum.*"),
        account("C").exports_service("x", ResponseType::Singleton),
    ];
    for shards in 1..=3 {
        let mut house = House::new(shards, &accounts);
        let [service, client, stranger] = ["A", "B", "C"].map(|name| house.client(name));
        house.say(service, "SUB add.* 1\r\n");
        house.say(client, "SUB inbox.* 2\r\n");
        house.say(client, "PUB sum.2 inbox.7 3\r\n1+1\r\n");
        let request = house.heard(service);
        let reply = reply_of(&request);
        assert!(
            request.starts_with(&format!("MSG add.2 1 {reply} ")),
            "{request}"
        );
        assert!(request.ends_with("1+1\r\n"), "{request}");
        // Nobody else can answer, not even who knows the subject.
        house.say(stranger, &format!("PUB {reply} 1\r\n9\r\n"));
        house.say(client, &format!("PUB {reply} 1\r\n9\r\n"));
        assert_eq!(house.heard(client), "");
        house.say(service, &format!("PUB {reply} 1\r\n2\r\n"));
        assert_eq!(house.heard(client), "MSG inbox.7 2 1\r\n2\r\n");
        // One response, and no more.
        house.say(service, &format!("PUB {reply} 1\r\n3\r\n"));
        assert_eq!(house.heard(client), "");
        // Nobody listens any more.
        house.say(service, "UNSUB 1\r\n");
        house.say(client, "PUB sum.2 inbox.8 0\r\n\r\n");
        assert_eq!(
            house.heard(client),
            "HMSG inbox.8 2 37 37\r\nNATS/1.0 503\r\nNats-Subject: sum.2\r\n\r\n\r\n"
        );
    }
}

#[test]
fn services_may_answer_in_several_messages() {
    for (response, more) in [(ResponseType::Stream, true), (ResponseType::Chunked, true)] {
        let accounts = [
            account("A").exports_service("s", response),
            account("B").imports_service("A", "s", ""),
        ];
        let mut house = House::new(2, &accounts);
        let [service, client] = ["A", "B"].map(|name| house.client(name));
        house.say(service, "SUB s 1\r\n");
        house.say(client, "SUB in 2\r\nPUB s in 0\r\n\r\n");
        let reply = reply_of(&house.heard(service));
        for text in ["1", "2", "", "3"] {
            house.say(
                service,
                &format!("PUB {reply} {}\r\n{text}\r\n", text.len()),
            );
        }
        let heard = house.heard(client);
        assert_eq!(heard.contains("\r\n2\r\n"), more, "{heard}");
        // The empty one was the last.
        assert!(
            heard.contains("MSG in 2 0\r\n") && !heard.contains("\r\n3\r\n"),
            "{heard}"
        );
    }
}

#[test]
fn requests_pass_chains_and_mappings() {
    let accounts = [
        account("A")
            .exports_service("deep", ResponseType::Singleton)
            .maps("deep", "deeper"),
        account("B")
            .imports_service("A", "deep", "middle")
            .exports_service("middle", ResponseType::Singleton),
        account("C").imports_service("B", "middle", "top"),
    ];
    for shards in 1..=3 {
        let mut house = House::new(shards, &accounts);
        let [service, client] = ["A", "C"].map(|name| house.client(name));
        house.say(service, "SUB deeper 1\r\n");
        house.say(client, "SUB in 2\r\nPUB top in 2\r\n??\r\n");
        let request = house.heard(service);
        assert!(request.starts_with("MSG deeper 1 _R_."), "{request}");
        let reply = reply_of(&request);
        house.say(service, &format!("PUB {reply} 2\r\n!!\r\n"));
        assert_eq!(
            house.heard(client),
            "MSG in 2 2\r\n!!\r\n",
            "{shards} shards"
        );
    }
}

#[test]
fn imports_that_no_export_allows() {
    let exporter = || account("A").exports_stream("s.>").only_for(&["B"]);
    let importer = |name, subject| account(name).imports_stream("A", subject, "");
    for (accounts, expected) in [
        (vec![exporter(), importer("B", "s.x")], None),
        (
            vec![exporter(), importer("C", "s.x")],
            Some("stream import not authorized"),
        ),
        (
            vec![exporter(), importer("B", "t.x")],
            Some("stream import not authorized"),
        ),
        (
            vec![exporter(), importer("B", ">")],
            Some("stream import not authorized"),
        ),
        (
            vec![importer("B", "s.x")],
            Some("account not defined for stream import"),
        ),
        (
            vec![exporter(), account("B").imports_service("A", "s.x", "")],
            Some("service import not authorized"),
        ),
    ] {
        let result = directory(&accounts).err();
        let as_expected = match (&result, expected) {
            (None, None) => true,
            (Some(error), Some(expected)) => error.contains(expected),
            _ => false,
        };
        assert!(as_expected, "{result:?}, not {expected:?}");
    }
}

/// CVE-2020-28466 and CVE-2022-42709: accounts that import from each other in a ring.
#[test]
fn import_cycles_are_refused() {
    let single = ResponseType::Singleton;
    for accounts in [
        vec![
            account("A")
                .exports_stream("a")
                .imports_stream("B", "a", ""),
            account("B")
                .exports_stream("a")
                .imports_stream("A", "a", ""),
        ],
        vec![
            account("A")
                .exports_stream(">")
                .imports_stream("C", "c.>", "x.c.>"),
            account("B")
                .exports_stream(">")
                .imports_stream("A", "x.>", "b.>"),
            account("C")
                .exports_stream(">")
                .imports_stream("B", "b.*", "c.$1"),
        ],
        vec![
            account("A")
                .exports_service("a", single)
                .imports_service("B", "b", "a"),
            account("B")
                .exports_service("b", single)
                .imports_service("A", "a", "b"),
        ],
        vec![
            account("A")
                .exports_service("x.*", single)
                .imports_service("C", "z.*", "x.*"),
            account("B")
                .exports_service("y.*", single)
                .imports_service("A", "x.*", "y.*"),
            account("C")
                .exports_service("z.*", single)
                .imports_service("B", "y.*", "z.*"),
        ],
    ] {
        let error = directory(&accounts).expect_err("it is a ring");
        assert!(error.contains("import forms a cycle"), "{error}");
    }
    // Back and forth on subjects that do not meet is no ring.
    let apart = [
        account("A")
            .exports_stream("a")
            .imports_stream("B", "b", ""),
        account("B")
            .exports_stream("b")
            .imports_stream("A", "a", ""),
    ];
    directory(&apart).expect("nothing goes round");
}
