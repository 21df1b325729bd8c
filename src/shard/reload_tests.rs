//! What connections see of a new configuration.

use super::house::{House, Plan};
use crate::auth::definition::{
    AuthDefinition, PermissionRules, Secret, SubjectRules, UserDefinition,
};
use crate::config::Limits;

fn user(name: &str, denied: &[&str]) -> UserDefinition {
    let rules = SubjectRules {
        allow: None,
        deny: denied.iter().map(|&subject| subject.to_owned()).collect(),
    };
    UserDefinition {
        name: Some(name.to_owned()),
        pass: Some(Secret(format!("{name}-pass"))),
        permissions: (!denied.is_empty()).then(|| PermissionRules {
            publish: rules.clone(),
            subscribe: rules,
            ..PermissionRules::default()
        }),
        ..UserDefinition::default()
    }
}

fn plan(users: &[UserDefinition], limits: Limits) -> Plan {
    Plan {
        shards: 2,
        auth: AuthDefinition {
            users: users.to_vec(),
            ..AuthDefinition::default()
        },
        limits,
    }
}

#[test]
fn permissions_of_those_who_are_there() {
    let before = plan(&[user("a", &[]), user("b", &[])], Limits::DEFAULT);
    let mut house = House::of(&before);
    let [a, b] = ["a", "b"].map(|name| house.user(name, &format!("{name}-pass")));
    house.say(
        a,
        "SUB foo 1\r\nSUB foo q 2\r\nSUB > 3\r\nPUB foo 0\r\n\r\n",
    );
    assert_eq!(house.heard(a).matches("MSG foo").count(), 3);
    let after = plan(&[user("a", &["foo"]), user("b", &[])], Limits::DEFAULT);
    house.reload(&after, false, 0);
    let heard = house.heard(a);
    for told in [
        "-ERR 'Permissions Violation for Subscription to \"foo\" (sid \"1\")'\r\n",
        "-ERR 'Permissions Violation for Subscription to \"foo\" using queue \"q\" (sid \"2\")'\r\n",
    ] {
        assert!(heard.contains(told), "{heard}");
    }
    // What was published before the change was remembered as allowed.
    house.say(a, "PUB foo 0\r\n\r\nPUB bar 0\r\n\r\n");
    let heard = house.heard(a);
    assert!(heard.contains("Permissions Violation for Publish to \"foo\""));
    assert!(heard.contains("MSG bar 3 0"), "{heard}");
    house.say(b, "PUB foo 0\r\n\r\n");
    assert_eq!(house.heard(a), "");
    // The same again changes nothing, and freedom comes back.
    house.reload(&after, false, 0);
    assert_eq!((house.heard(a), house.heard(b)), Default::default());
    house.reload(&before, false, 0);
    house.say(b, "PUB foo 0\r\n\r\n");
    assert_eq!(house.heard(a), "MSG foo 3 0\r\n\r\n");
    house.say(a, "PUB foo 0\r\n\r\n");
    assert_eq!(house.heard(a), "MSG foo 3 0\r\n\r\n");
}

#[test]
fn limits_of_those_who_are_there() {
    let users = [user("a", &[])];
    let mut house = House::of(&plan(&users, Limits::DEFAULT));
    let clients: Vec<usize> = (0..4).map(|_| house.user("a", "a-pass")).collect();
    let narrow = Limits {
        max_payload_bytes: 3,
        max_control_line_bytes: 40,
        max_subscriptions: 1,
        ..Limits::DEFAULT
    };
    house.reload(&plan(&users, narrow.clone()), false, 0);
    house.say(clients[0], "SUB a 1\r\nSUB b 2\r\n");
    assert_eq!(
        house.heard(clients[0]),
        "-ERR 'maximum subscriptions exceeded'\r\n"
    );
    house.say(clients[0], "PUB a 4\r\nxxxx\r\n");
    assert!(
        house
            .heard(clients[0])
            .contains("Maximum Payload Violation")
    );
    house.say(clients[1], &format!("SUB {} 1\r\n", "x".repeat(50)));
    assert!(
        house
            .heard(clients[1])
            .contains("maximum control line exceeded")
    );
    // Of the two that are left, one has to go.
    let first = clients
        .iter()
        .filter(|&&c| house.clients[c].shard == 0 && !house.is_closed(c));
    let there = first.count();
    house.reload(&plan(&users, narrow), false, 1);
    let told =
        |house: &mut House, c: usize| house.heard(c).contains("maximum connections exceeded");
    let gone = clients.iter().filter(|&&c| told(&mut house, c)).count();
    assert_eq!(gone, 1.min(there));
}

#[test]
fn whoever_has_not_presented_itself_has_to() {
    let mut house = House::of(&plan(&[], Limits::DEFAULT));
    let silent = house.opens(None);
    let open = house.opens(None);
    house.connects(open, "");
    house.reload(&plan(&[user("a", &[])], Limits::DEFAULT), false, 0);
    assert!(house.is_closed(open) && !house.is_closed(silent));
    house.wait(Limits::DEFAULT.auth_timeout_ms + 1);
    assert!(house.heard(silent).contains("Authentication Timeout"));
}

/// A decision that was made by an older policy does not let in.
#[test]
fn decisions_may_be_older() {
    let hash = bcrypt::hash("u-pass", 4).expect("this is a cost");
    let slow = |name: &str, denied: &[&str]| UserDefinition {
        pass: Some(Secret(hash.clone())),
        ..user(name, denied)
    };
    let before = plan(&[slow("u", &[])], Limits::DEFAULT);
    let gone = plan(&[slow("other", &[])], Limits::DEFAULT);
    let narrower = plan(&[slow("u", &["foo"])], Limits::DEFAULT);
    for (after, refused) in [(&gone, true), (&narrower, false)] {
        let mut house = House::of(&before);
        let client = house.opens(None);
        house.connects(client, ",\"user\":\"u\",\"pass\":\"u-pass\"");
        let (_, presented) = house.questions().pop().expect("it is slow");
        house.reload(after, false, 0);
        house.decide(client, &presented, &before);
        assert_eq!(house.is_closed(client), refused);
        if !refused {
            house.say(client, "PUB foo 0\r\n\r\n");
            assert!(
                house
                    .heard(client)
                    .contains("Permissions Violation for Publish")
            );
        }
    }
}

#[test]
fn traces_come_and_go() {
    let users = [user("a", &[])];
    let mut house = House::of(&plan(&users, Limits::DEFAULT));
    let a = house.user("a", "a-pass");
    let plan = plan(&users, Limits::DEFAULT);
    for trace in [true, false, true] {
        house.reload(&plan, trace, 0);
        house.say(a, "PUB x 0\r\n\r\n");
        assert_eq!(house.session(a).wordy, trace);
    }
}
