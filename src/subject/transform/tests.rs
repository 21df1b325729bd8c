//! What nats-server makes of subjects and destinations, as data.

use super::*;

fn applied(transform: &Transform, subject: &str) -> Option<String> {
    let mut to = b"before ".to_vec();
    let applies = transform.apply(subject.as_bytes(), 7 << 32, &mut to);
    let text = String::from_utf8(to).unwrap();
    let mapped = text.strip_prefix("before ").unwrap();
    assert!(applies || mapped.is_empty(), "{mapped}");
    applies.then(|| mapped.to_owned())
}

#[test]
fn destinations() {
    // Source, destination, subject, what it becomes (`-` for nothing).
    let cases = [
        ("foo", "bar", "foo", "bar"),
        ("foo", "bar", "baz", "-"),
        ("foo.*.*", "bar.$2.$1", "foo.a.b", "bar.b.a"),
        ("foo.*", "bar.{{wildcard(1)}}", "foo.a", "bar.a"),
        ("foo.*", "bar.{{ Wildcard ( 1 ) }}", "foo.a", "bar.a"),
        ("foo.*.>", "bar.$1.>", "foo.a.b.c", "bar.a.b.c"),
        (">", "pre.>", "a.b", "pre.a.b"),
        ("", "pre.>", "a.b", "pre.a.b"),
        ("foo.>", ">", "foo.a.b", "a.b"),
        ("foo.*", "$SYS.$1", "foo.a", "$SYS.a"),
        ("foo.*", "bar.$0", "foo.a", "bar.foo"),
        ("*", "bar.{{split(1,-)}}", "a-b-c", "bar.a.b.c"),
        ("*", "bar.{{split(1,-)}}", "-a--b-", "bar.a.b"),
        ("*", "bar.{{split(1,-)}}", "--a", "-"),
        ("*", "bar.{{split(1,-)}}", "--", "-"),
        ("*", "bar.{{split(1,)}}", "aé", "bar.a.é"),
        ("*", "bar.{{split(1,-)}}", "*-a", "-"),
        ("*", "{{splitfromleft(1,3)}}", "12345", "123.45"),
        ("*", "{{SplitFromRight(1,3)}}", "12345", "12.345"),
        ("*", "{{SplitFromRight(1,5)}}", "12345", "12345"),
        ("*", "{{SliceFromLeft(1,3)}}", "1234567890", "123.456.789.0"),
        (
            "*",
            "{{SliceFromRight(1,3)}}",
            "1234567890",
            "1.234.567.890",
        ),
        ("*", "{{SliceFromRight(1,5)}}", "1234567890", "12345.67890"),
        ("*", "{{left(1,3)}}", "1234567890", "123"),
        ("*", "{{right(1,3)}}", "1234567890", "890"),
        ("*", "{{right(1,-3)}}", "1234567890", "1234567890"),
        ("*", "{{left(1,1)}}", ">abc", "-"),
        ("*", "{{random(0)}}.$1", "a", "0.a"),
        ("*", "{{random(5)}}.$1", "a", "2.a"),
        ("*.*", "{{partition(10,1,2)}}.$1", "foo.bar", "0.foo"),
        ("*.*", "{{partition(0,1,2)}}.$1", "foo.bar", "0.foo"),
    ];
    for (source, destination, subject, expected) in cases {
        let transform = Transform::new(source, destination).unwrap();
        let result = applied(&transform, subject);
        assert_eq!(
            result.as_deref().unwrap_or("-"),
            expected,
            "{source} -> {destination}: {subject}"
        );
    }
}

#[test]
fn what_is_no_transform() {
    const PREFIX: &str = "invalid mapping destination: ";
    let unknown = |token| format!("{PREFIX}unknown function in {token}");
    let few = |token| format!("{PREFIX}not enough arguments passed to the function in {token}");
    let many = |token| format!("{PREFIX}too many arguments passed to the function in {token}");
    let invalid =
        |token| format!("{PREFIX}function argument is invalid or in the wrong format in {token}");
    let range = |token| format!("{PREFIX}wildcard index out of range in {token}");
    let subject = || "invalid subject".to_owned();
    let cases = [
        ("foo", "", subject()),
        ("foo.", "bar", subject()),
        ("foo", "bar..baz", subject()),
        ("foo.*", "bar.*", subject()),
        ("foo.>", "bar", subject()),
        ("foo", "bar.>", subject()),
        ("foo", "b ar", format!("{PREFIX}invalid transform in b ar")),
        ("foo", "$1", range("$1")),
        ("foo.*", "$2", range("$2")),
        ("foo.*", "{{wildcard(2)}}", range("{{wildcard(2)}}")),
        ("foo.*", "{{wildcard()}}", few("{{wildcard()}}")),
        ("foo.*", "{{wildcard(1,2)}}", many("{{wildcard(1,2)}}")),
        ("foo.*", "{{wildcard(a)}}", invalid("{{wildcard(a)}}")),
        ("foo.*", "{{WildCard(1)}}", unknown("{{WildCard(1)}}")),
        ("foo.*", "{{nothing(1)}}", unknown("{{nothing(1)}}")),
        ("foo.*", "{{splitfromleft(1)}}", few("{{splitfromleft(1)}}")),
        ("foo.*", "{{left(1,2,3)}}", many("{{left(1,2,3)}}")),
        (
            "foo.*",
            "{{left(1,9999999999)}}",
            invalid("{{left(1,9999999999)}}"),
        ),
        ("foo.*", "{{split(1,a b)}}", invalid("{{split(1,a b)}}")),
        ("foo.*", "{{partition()}}", invalid("{{partition()}}")),
        (
            "foo.*",
            "{{partition(9999999999)}}",
            invalid("{{partition(9999999999)}}"),
        ),
        ("foo.*", "{{partition(1,2)}}", range("{{partition(1,2)}}")),
        ("foo.*", "{{random(1,2)}}", few("{{random(1,2)}}")),
    ];
    for (source, destination, expected) in cases {
        let made = Transform::new(source, destination);
        assert_eq!(
            made.map_err(|e| e.to_string()),
            Err(expected),
            "{source} -> {destination}"
        );
    }
}

#[test]
fn strict_ones_and_back() {
    // Source, destination, and a subject there and here; or the error.
    let cases = [
        ("foo.*.*", "bar.$2.$1", Ok(("foo.a.b", "bar.b.a"))),
        ("*.*.*", "$2.$3.$1", Ok(("a.b.c", "b.c.a"))),
        (
            "foo.*.>",
            "x.{{wildcard(1)}}.y.>",
            Ok(("foo.a.b.c", "x.a.y.b.c")),
        ),
        ("foo.>", ">", Ok(("foo.a.b", "a.b"))),
        ("foo", "bar", Ok(("foo", "bar"))),
        // Patterns within the source.
        ("foo.*.*", "bar.$2.$1", Ok(("foo.*.b", "bar.b.*"))),
        ("foo.*.>", "x.$1.>", Ok(("foo.*.>", "x.*.>"))),
        (
            "foo.*.*",
            "bar.$2",
            Err("invalid mapping destination: not using all of the token wildcard(s) in bar.$2"),
        ),
        (
            "foo.*",
            "bar.{{left(1,1)}}",
            Err(
                "invalid mapping destination: the only mapping function allowed for import \
                 transforms is {{Wildcard()}} in {{left(1,1)}}",
            ),
        ),
    ];
    for (source, destination, expected) in cases {
        match (Transform::strict(source, destination), expected) {
            (Ok(there), Ok((subject, mapped))) => {
                assert_eq!(applied(&there, subject).as_deref(), Some(mapped));
                let back = there.reverse().unwrap();
                assert_eq!(applied(&back, mapped).as_deref(), Some(subject));
                assert_eq!(back.reverse().unwrap(), there);
            }
            (made, expected) => assert_eq!(
                made.map_err(|e| e.to_string()),
                Err(expected.unwrap_err().to_owned())
            ),
        }
    }
    let functions = Transform::new("*", "{{left(1,1)}}").unwrap();
    assert!(functions.reverse().is_err());
}

#[test]
fn placeholders() {
    for (pattern, expected) in [("a.*.b.*.>", "a.$1.b.$2.>"), ("a", "a"), ("*", "$1")] {
        assert_eq!(with_placeholders(pattern), expected);
    }
}
