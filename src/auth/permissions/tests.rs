//! Cases observed at nats-server, and every decision for small rule sets against an oracle that
//! enumerates subjects.

use super::*;
use crate::auth::definition::SubjectRules;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&s| s.to_owned()).collect()
}

fn subscriber(allow: Option<&[&str]>, deny: &[&str]) -> Permissions {
    Permissions::new(PermissionRules {
        subscribe: SubjectRules {
            allow: allow.map(strings),
            deny: strings(deny),
        },
        ..PermissionRules::default()
    })
    .unwrap()
}

#[test]
fn subscriptions() {
    use MaySubscribe::{All, No, Some as Part};
    /// Allowed, denied, pattern, queue, answer.
    type Case = (
        Option<&'static [&'static str]>,
        &'static [&'static str],
        &'static str,
        &'static str,
        MaySubscribe,
    );
    let cases: &[Case] = &[
        (None, &[], "foo", "", All),
        (Some(&[]), &[], "foo", "", No),
        (Some(&["foo.*"]), &[], "foo.bar", "", All),
        (Some(&["foo.*"]), &[], "foo.bar", "q", All),
        (Some(&["foo.*"]), &[], "foo.*", "", All),
        (Some(&["foo.>"]), &[], "foo.*", "", All),
        (Some(&["foo.>"]), &[], "foo", "", No),
        (Some(&["foo.*"]), &[], "foo.>", "", No),
        (Some(&["foo.bar"]), &[], "foo.*", "", No),
        (None, &["foo.bar"], "foo.>", "", Part),
        (None, &["foo.bar"], "foo.*", "q", Part),
        (None, &["foo.bar"], "foo.bar", "q", No),
        (None, &["foo.bar"], "foo.baz", "", All),
        (None, &["foo.*"], "foo.*", "", No),
        (None, &["foo.>"], "foo.*", "", No),
        (None, &["foo.*"], "foo.>", "", No),
        (None, &["*.bar"], "foo.*", "", Part),
        (None, &["*.bar"], "foo.*.baz", "", All),
        // Queues.
        (Some(&["foo v1"]), &[], "foo", "", No),
        (Some(&["foo v1"]), &[], "foo", "v1", All),
        (Some(&["foo v1"]), &[], "foo", "v2", No),
        (Some(&["foo", "foo v1"]), &[], "foo", "", All),
        (Some(&["foo", "foo v1"]), &[], "foo", "v2", No),
        (Some(&["foo", "foo *.prod"]), &[], "foo", "v1.prod", All),
        (Some(&["foo", "foo *.prod"]), &[], "foo", "v1.dev", No),
        (None, &["foo v1"], "foo", "", All),
        (None, &["foo v1"], "foo", "v1", No),
        (None, &["foo v1"], "foo", "v2", All),
        (None, &["foo v1.>"], "foo", "v1.a.b", No),
        (None, &["foo v1"], "*", "v1", Part),
        (None, &["foo v1"], "*", "v2", All),
        (None, &["foo v1"], "*", "", All),
        // A queue entry does not take back a plain deny.
        (None, &["foo", "foo v1"], "foo", "v2", No),
        (None, &["foo", "foo v1"], "*", "v2", Part),
    ];
    for &(allow, deny, pattern, queue, expected) in cases {
        assert_eq!(
            subscriber(allow, deny).may_subscribe(pattern.as_bytes(), queue.as_bytes()),
            expected,
            "{pattern} {queue:?}, allowed {allow:?}, denied {deny:?}"
        );
    }
}

#[test]
fn entries_that_are_no_subjects() {
    /// Whether it may stand in a list.
    type Answer = Result<(), &'static str>;
    let cases: &[(&str, Answer, Answer)] = &[
        ("foo", Ok(()), Ok(())),
        ("foo.>", Ok(()), Ok(())),
        (
            "foo q",
            Err(r#"subject "foo q" is not a valid subject"#),
            Ok(()),
        ),
        (
            " ",
            Err(r#"subject " " is not a valid subject"#),
            Err(r#"subject " " is not a valid subject"#),
        ),
        (
            "",
            Err(r#"subject "" is not a valid subject"#),
            Err(r#"subject "" is not a valid subject"#),
        ),
        (
            "foo q r",
            Err(r#"subject "foo q r" is not a valid subject"#),
            Err(r#"subject "foo q r" is not a valid subject"#),
        ),
        (
            "foo..bar q",
            Err(r#"subject "foo..bar q" is not a valid subject"#),
            Err(r#"subject "foo..bar" is not a valid subject"#),
        ),
        (
            "foo q..r",
            Err(r#"subject "foo q..r" is not a valid subject"#),
            Err(r#"queue "q..r" is not a valid queue"#),
        ),
    ];
    for &(entry, publish, subscribe) in cases {
        let rules = SubjectRules {
            allow: None,
            deny: strings(&[entry]),
        };
        let made = |publish, subscribe| {
            Permissions::new(PermissionRules {
                publish,
                subscribe,
                responses: None,
            })
            .map(drop)
        };
        let none = SubjectRules::default();
        assert_eq!(
            made(rules.clone(), none.clone()),
            publish.map_err(str::to_owned),
            "publish {entry:?}"
        );
        assert_eq!(
            made(none, rules),
            subscribe.map_err(str::to_owned),
            "subscribe {entry:?}"
        );
    }
}
