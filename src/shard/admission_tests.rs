//! Who is let in and what they may do, as connections see it.

use std::collections::BTreeSet;

use super::house::{House, Plan, account};
use crate::auth::definition::{
    AccountDefinition, AccountLimits, AuthDefinition, ConnectionType, PermissionRules,
    ResponseRules, ResponseType, Secret, SubjectRules, UserDefinition,
};

fn user(name: &str, account: &str) -> UserDefinition {
    UserDefinition {
        name: Some(name.to_owned()),
        pass: Some(Secret(format!("{name}-pass"))),
        account: (!account.is_empty()).then(|| account.to_owned()),
        ..UserDefinition::default()
    }
}

fn rules(allow: Option<&[&str]>, deny: &[&str]) -> SubjectRules {
    let owned = |subjects: &[&str]| subjects.iter().map(|&s| s.to_owned()).collect();
    SubjectRules {
        allow: allow.map(owned),
        deny: owned(deny),
    }
}

fn plan(shards: usize, accounts: &[AccountDefinition], users: &[UserDefinition]) -> Plan {
    Plan {
        shards,
        auth: AuthDefinition {
            accounts: accounts.to_vec(),
            users: users.to_vec(),
            ..AuthDefinition::default()
        },
        ..Plan::default()
    }
}

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

#[test]
fn publishes_and_subscriptions_are_checked() {
    let mut limited = user("u", "");
    limited.permissions = Some(PermissionRules {
        publish: rules(Some(&["in.*", "x.>"]), &["x.secret"]),
        subscribe: rules(None, &["no", "no.>", "part.x"]),
        responses: None,
    });
    for shards in 1..=2 {
        let mut house = House::of(&plan(shards, &[], &[limited.clone(), user("all", "")]));
        let [u, all] = [("u", "u-pass"), ("all", "all-pass")].map(|(n, p)| house.user(n, p));
        house.say(all, "SUB > 1\r\n");
        for (publish, answer) in [
            ("PUB in.a 0\r\n\r\n", ""),
            ("PUB in.a 0\r\n\r\n", ""),
            (
                "PUB out 0\r\n\r\n",
                "-ERR 'Permissions Violation for Publish to \"out\"'\r\n",
            ),
            ("PUB x.y.z 0\r\n\r\n", ""),
            (
                "PUB x.secret 0\r\n\r\n",
                "-ERR 'Permissions Violation for Publish to \"x.secret\"'\r\n",
            ),
            (
                "SUB no 2\r\n",
                "-ERR 'Permissions Violation for Subscription to \"no\"'\r\n",
            ),
            (
                "SUB no.a q 3\r\n",
                "-ERR 'Permissions Violation for Subscription to \"no.a\" using queue \"q\"'\r\n",
            ),
            ("SUB part.* 4\r\nSUB part.> workers 5\r\n", ""),
        ] {
            house.say(u, publish);
            assert_eq!(house.heard(u), answer, "{publish:?}");
        }
        assert_eq!(house.heard(all).matches("MSG ").count(), 3);
        // Denied where it overlaps with a subscription that is allowed (GHSA-wh7g).
        house.say(all, "PUB part.x 1\r\n1\r\nPUB part.y 1\r\n2\r\n");
        let heard = house.heard(u);
        assert!(!heard.contains("part.x"), "{heard}");
        assert_eq!(heard.matches("MSG part.y ").count(), 2, "{heard}");
    }
}

/// What one user may is remembered with the subject, and does not count for another.
#[test]
fn what_is_remembered_is_the_set_of_permissions() {
    let with = |name: &str, allow: &[&str]| {
        let mut user = user(name, "");
        user.permissions = Some(PermissionRules {
            publish: rules(Some(allow), &[]),
            ..PermissionRules::default()
        });
        user
    };
    let users = [with("a", &["s"]), with("b", &["t"]), with("c", &["s", "t"])];
    let mut house = House::of(&plan(1, &[], &users));
    let [a, b, c] = ["a", "b", "c"].map(|name| house.user(name, &format!("{name}-pass")));
    for _ in 0..3 {
        for (client, subject, may) in [
            (a, "s", true),
            (b, "s", false),
            (c, "s", true),
            (a, "t", false),
        ] {
            house.say(client, &format!("PUB {subject} 0\r\n\r\n"));
            let refused = house.heard(client).contains("Permissions Violation");
            assert_eq!(!refused, may, "{client} {subject}");
        }
    }
}

#[test]
fn responders_may_answer_what_they_are_asked() {
    let mut responder = user("r", "");
    responder.permissions = Some(PermissionRules {
        publish: rules(Some(&[]), &[]),
        subscribe: rules(Some(&["ask"]), &[]),
        responses: Some(ResponseRules::default()),
    });
    let mut house = House::of(&plan(2, &[], &[responder, user("all", "")]));
    let [r, all] = [("r", "r-pass"), ("all", "all-pass")].map(|(n, p)| house.user(n, p));
    house.say(r, "SUB ask 1\r\nPUB box 1\r\n0\r\n");
    assert!(
        house
            .heard(r)
            .contains("Permissions Violation for Publish to \"box\"")
    );
    house.say(all, "SUB box 2\r\nPUB ask box 1\r\n?\r\n");
    assert_eq!(house.heard(r), "MSG ask 1 box 1\r\n?\r\n");
    house.say(r, "PUB box 1\r\n1\r\nPUB box 1\r\n2\r\n");
    assert!(
        house
            .heard(r)
            .contains("Permissions Violation for Publish to \"box\"")
    );
    assert_eq!(house.heard(all), "MSG box 2 1\r\n1\r\n");
    house.say(all, "PUB ask box 1\r\n?\r\n");
    house.wait(120_001);
    house.heard(all);
    house.say(r, "PUB box 1\r\n3\r\n");
    assert!(!house.heard(all).contains("MSG box"));
}

/// GHSA-38x3 and GHSA-hmmp: who says nothing about itself passes the same checks.
#[test]
fn those_who_present_nothing() {
    let with = |types: Option<ConnectionType>| {
        let mut anonymous = user("anonymous", "A");
        anonymous.connection_types = types.map(|t| BTreeSet::from([t]));
        let mut plan = plan(1, &[account("A")], &[anonymous, user("u", "B")]);
        plan.auth.accounts.push(account("B"));
        plan.auth.no_auth_user = Some("anonymous".to_owned());
        plan
    };
    let mut house = House::of(&with(None));
    let early = house.opens(None);
    house.say(early, "SUB a 1\r\nPING\r\nPUB a 1\r\n1\r\n");
    assert_eq!(
        house.heard(early),
        "+OK\r\nPONG\r\n+OK\r\nMSG a 1 1\r\n1\r\n"
    );
    // Its own CONNECT may still follow, and lead elsewhere.
    house.connects(early, ",\"user\":\"u\",\"pass\":\"u-pass\"");
    house.say(early, "PUB a 1\r\n2\r\nPING\r\n");
    assert_eq!(house.heard(early), "PONG\r\n");
    let mut house = House::of(&with(Some(ConnectionType::Websocket)));
    for first in ["SUB a 1\r\n", "CONNECT {}\r\n", "PUB a 0\r\n\r\n"] {
        let refused = house.opens(None);
        house.say(refused, first);
        assert_eq!(house.heard(refused), VIOLATION, "{first:?}");
        assert!(house.is_closed(refused));
    }
    // Without such a user nothing comes before CONNECT.
    let mut house = House::of(&plan(1, &[], &[user("u", "")]));
    for first in ["SUB a 1\r\n", "PING\r\n", "CONNECT {}\r\n", "INFO {}\r\n"] {
        let refused = house.opens(None);
        house.say(refused, first);
        assert_eq!(house.heard(refused), VIOLATION, "{first:?}");
    }
}

/// CVE-2023-47090: only who says nothing about who may connect lets everybody in.
#[test]
fn a_password_for_the_system_account_locks_nobody_out() {
    let mut system_only = plan(1, &[account("$SYS")], &[user("admin", "$SYS")]);
    system_only.auth = system_only.auth.with_anonymous(7);
    let mut house = House::of(&system_only);
    let anyone = house.opens(None);
    house.connects(anyone, "");
    house.say(anyone, "SUB a 1\r\nPUB a 1\r\n1\r\n");
    assert_eq!(house.heard(anyone), "MSG a 1 1\r\n1\r\n");
    let admin = house.user("admin", "admin-pass");
    house.say(admin, "PUB a 1\r\n2\r\n");
    assert_eq!(house.heard(anyone), "");
    let wrong = house.user("admin", "guess");
    assert_eq!(house.heard(wrong), VIOLATION);
    for change in [
        |auth: &mut AuthDefinition| auth.has_block = true,
        |auth: &mut AuthDefinition| auth.token = Some(Secret("t".to_owned())),
        |auth: &mut AuthDefinition| auth.accounts.push(account("A")),
    ] {
        let mut closed = plan(1, &[account("$SYS")], &[user("admin", "$SYS")]);
        change(&mut closed.auth);
        closed.auth = closed.auth.with_anonymous(7);
        closed.auth.users.retain(|_| closed.auth.token.is_none());
        let mut house = House::of(&closed);
        let refused = house.opens(None);
        house.connects(refused, "");
        assert_eq!(house.heard(refused), VIOLATION);
    }
}

/// CVE-2022-24450: a client has no say in which account it is.
#[test]
fn accounts_come_from_credentials_only() {
    let accounts = [account("A"), account("B")];
    let mut house = House::of(&plan(1, &accounts, &[user("u", "A")]));
    for options in [
        "\"account\":\"B\"",
        "\"account\":\"$SYS\"",
        "\"account\":\"A\"",
        "\"account\":\"C\",\"new_account\":true",
        "\"new_account\":true",
    ] {
        let client = house.opens(None);
        house.connects(
            client,
            &format!(",\"user\":\"u\",\"pass\":\"u-pass\",{options}"),
        );
        assert_eq!(house.heard(client), VIOLATION, "{options}");
    }
    let client = house.opens(None);
    house.connects(
        client,
        ",\"user\":\"u\",\"pass\":\"u-pass\",\"acc\":\"B\",\"svc\":\"B\"",
    );
    house.say(client, "SUB x 1\r\n");
    assert_eq!(house.heard(client), "");
}

#[test]
fn accounts_bound_their_connections() {
    let mut small = account("A");
    small.limits = AccountLimits {
        connections: Some(2),
        subscriptions: Some(1),
        payload_bytes: Some(4),
        leafnodes: None,
    };
    for shards in 1..=2 {
        let mut house = House::of(&plan(
            shards,
            &[small.clone()],
            &[user("u", "A"), user("free", "")],
        ));
        let first = house.user("u", "u-pass");
        let second = house.user("u", "u-pass");
        let third = house.user("u", "u-pass");
        assert_eq!(
            house.heard(third),
            "-ERR 'maximum account active connections exceeded'\r\n"
        );
        assert!(house.is_closed(third));
        let free = house.user("free", "free-pass");
        assert_eq!(house.heard(free), "");
        house.hangs_up(first);
        let again = house.user("u", "u-pass");
        assert_eq!(house.heard(again), "");
        house.say(again, "SUB a 1\r\nSUB b 2\r\n");
        assert_eq!(
            house.heard(again),
            "-ERR 'maximum subscriptions exceeded'\r\n"
        );
        house.say(second, "PUB a 5\r\n12345\r\n");
        assert_eq!(house.heard(second), "-ERR 'Maximum Payload Violation'\r\n");
    }
}

/// CVE-2026-33246 and CVE-2026-33223: only the server says who asks.
#[test]
fn nobody_says_who_asks_but_the_server() {
    let accounts = [
        account("A").exports_service("s", ResponseType::Singleton),
        account("B").imports_service("A", "s", ""),
    ];
    let mut house = House::of(&plan(2, &accounts, &[user("a", "A"), user("b", "B")]));
    let [a, b] = ["a", "b"].map(|name| house.user(name, &format!("{name}-pass")));
    house.say(a, "SUB s 1\r\n");
    for spoofed in [
        "Nats-Request-Info",
        "nats-request-info",
        "NATS-REQUEST-INFO ",
    ] {
        let header = format!(
            "NATS/1.0\r\nX: 1\r\n{spoofed}: {{\"acc\":\"$SYS\"}}\r\n{spoofed}:{{\"acc\":\"A\"}}\r\n\r\n"
        );
        let len = header.len();
        house.say(b, &format!("HPUB s in {len} {}\r\n{header}hi\r\n", len + 2));
        let heard = house.heard(a);
        let said: Vec<&str> = heard
            .lines()
            .filter(|line| line.to_ascii_lowercase().contains("request-info"))
            .collect();
        assert_eq!(said.len(), 1, "{heard}");
        assert!(
            said[0].starts_with("Nats-Request-Info: {\"acc\":\"B\""),
            "{heard}"
        );
        assert!(
            heard.contains("X: 1\r\n") && heard.ends_with("hi\r\n"),
            "{heard}"
        );
    }
}

#[test]
fn input_waits_for_a_decision_made_elsewhere() {
    // A hash of "u-pass" with the least cost there is.
    let hash = bcrypt::hash("u-pass", 4).expect("this is a cost");
    let mut slow = user("u", "");
    slow.pass = Some(Secret(hash));
    let plan = plan(1, &[], &[slow]);
    let mut house = House::of(&plan);
    let right = house.opens(None);
    house.connects(right, ",\"user\":\"u\",\"pass\":\"u-pass\"");
    house.say(right, "SUB a 1\r\nPUB a 1\r\n1\r\nPING\r\n");
    assert_eq!(house.heard(right), "");
    let wrong = house.opens(None);
    house.connects(wrong, ",\"user\":\"u\",\"pass\":\"guess\"");
    house.say(wrong, "SUB a 1\r\nPING\r\n");
    let gone = house.opens(None);
    house.connects(gone, ",\"user\":\"u\",\"pass\":\"u-pass\"");
    house.hangs_up(gone);
    let late = house.opens(None);
    house.connects(late, ",\"user\":\"u\",\"pass\":\"u-pass\"");
    let mut questions = house.questions();
    assert_eq!(questions.len(), 4);
    let (client, presented) = questions.pop().expect("there are four");
    assert_eq!(client, late);
    house.wait(2_000);
    // It has said who it is: the time for that does not run any more.
    assert!(!house.is_closed(late));
    house.decide(late, &presented, &plan);
    house.say(late, "PING\r\n");
    assert!(house.heard(late).ends_with("PONG\r\n"));
    for (client, presented) in &questions {
        if *client != right {
            house.decide(*client, presented, &plan);
        }
    }
    assert!(house.is_closed(gone));
}

#[test]
fn decisions_let_the_input_go_on() {
    let hash = bcrypt::hash("u-pass", 4).expect("this is a cost");
    let mut slow = user("u", "");
    slow.pass = Some(Secret(hash));
    let plan = plan(1, &[], &[slow]);
    let mut house = House::of(&plan);
    for (pass, expected) in [
        ("u-pass", "MSG a 1 1\r\n1\r\nPONG\r\n"),
        ("guess", VIOLATION),
    ] {
        let client = house.opens(None);
        house.connects(client, &format!(",\"user\":\"u\",\"pass\":{pass:?}"));
        house.say(client, "SUB a 1\r\nPUB a 1\r\n1\r\nPING\r\n");
        assert_eq!(house.heard(client), "");
        for (client, presented) in house.questions() {
            house.decide(client, &presented, &plan);
        }
        assert_eq!(house.heard(client), expected);
        house.hangs_up(client);
    }
}

#[test]
fn a_flood_of_the_unauthenticated_is_bounded() {
    let mut plan = plan(2, &[], &[user("u", "")]);
    plan.limits.max_unauthenticated = 4;
    let mut house = House::of(&plan);
    let let_in = house.user("u", "u-pass");
    let waiting: Vec<usize> = (0..4).map(|_| house.opens(None)).collect();
    let refused = house.opens(None);
    assert!(house.is_closed(refused));
    assert!(waiting.iter().all(|&client| !house.is_closed(client)));
    // One of the same shard is let in: there is room for another.
    let same_shard = waiting
        .iter()
        .find(|&&client| client % 2 == 1)
        .expect("there are two");
    house.connects(*same_shard, ",\"user\":\"u\",\"pass\":\"u-pass\"");
    let next = house.opens(None);
    assert!(!house.is_closed(let_in) && (!house.is_closed(next) || next.is_multiple_of(2)));
    house.wait(2_000);
    assert!(
        waiting
            .iter()
            .filter(|&c| c != same_shard)
            .all(|&c| house.is_closed(c))
    );
}

#[test]
fn who_is_no_longer_a_user_must_go() {
    let accounts = [
        account("A").exports_stream("s"),
        account("B").imports_stream("A", "s", ""),
    ];
    let before = plan(
        2,
        &accounts,
        &[user("a", "A"), user("b", "B"), user("old", "A")],
    );
    let mut house = House::of(&before);
    let [a, b, old] = ["a", "b", "old"].map(|name| house.user(name, &format!("{name}-pass")));
    house.say(b, "SUB s 1\r\n");
    house.say(a, "PUB s 1\r\n1\r\n");
    assert_eq!(house.heard(b), "MSG s 1 1\r\n1\r\n");
    let after = plan(
        2,
        &[account("A"), account("B")],
        &[user("a", "A"), user("b", "B")],
    );
    house.change(&after);
    assert!(house.is_closed(old) && !house.is_closed(a) && !house.is_closed(b));
    // Nor is what is no longer imported.
    house.say(a, "PUB s 1\r\n2\r\n");
    assert_eq!(house.heard(b), "");
}
