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
        ("foo.*.>", "bar.$1.>", "foo", "-"),
        ("foo.*", "bar.$1", "foo.", "-"),
        ("", "pre.>", "a.b", "pre.a.b"),
        ("t0.*.*", "r.$2.$1", "t0.a.b", "r.b.a"),
        ("t1.*", "r.{{wildcard(1)}}", "t1.a", "r.a"),
        ("t2.*", "r.{{ Wildcard ( 1 ) }}", "t2.a", "r.a"),
        ("t3.*", "r.x{{wildcard(1)}}", "t3.a", "r.x{{wildcard(1)}}"),
        ("t4.*.>", "r.$1.x.>", "t4.a.b.c", "r.a.x.b.c"),
        ("t5.>", "r.>", "t5.a.b", "r.a.b"),
        ("t6.>", "r.pre.>", "t6.a.b", "r.pre.a.b"),
        ("t7.*", "r.$0", "t7.a", "r.t7"),
        ("t8.*", "r.$-1", "t8.a", "r.t8"),
        ("t9.*", "r.$+1", "t9.a", "r.a"),
        ("t10.*", "r.$1x", "t10.a", "r.$1x"),
        ("t11.*", "r.$foo", "t11.a", "r.$foo"),
        ("t12.*", "r.{{wildcard(0)}}", "t12.a", "r.t12"),
        ("t13.*", "r.{{split(1,-)}}", "t13.a-b-c", "r.a.b.c"),
        ("t14.*", "r.{{split(1,-)}}", "t14.-a--b-", "r.a.b"),
        ("t15.*", "r.{{split(1,-)}}", "t15.--a", "-"),
        ("t16.*", "r.{{split(1,-)}}", "t16.--", "-"),
        ("t17.*", "r.{{split(1,-)}}", "t17.-", "-"),
        ("t18.*", "r.{{split(1,-)}}", "t18.a---b", "r.a.b"),
        ("t19.*", "r.{{split(1,)}}", "t19.aéb", "r.a.é.b"),
        ("t22.*", "r.{{split(1, ab)}}", "t22.xaby", "r.x.y"),
        ("t23.*.*", "r.{{split(2,-)}}.x.$1", "t23.q.a-b", "r.a.b.x.q"),
        ("t24.*", "r.{{splitfromleft(1,3)}}", "t24.12345", "r.123.45"),
        (
            "t25.*",
            "r.{{SplitFromRight(1,3)}}",
            "t25.12345",
            "r.12.345",
        ),
        ("t26.*", "r.{{SplitFromRight(1,5)}}", "t26.12345", "r.12345"),
        ("t27.*", "r.{{splitFromLeft(1,0)}}", "t27.12345", "r.12345"),
        ("t28.*", "r.{{splitfromleft(1,-3)}}", "t28.12345", "r.12345"),
        (
            "t29.*",
            "r.{{SliceFromLeft(1,3)}}",
            "t29.1234567890",
            "r.123.456.789.0",
        ),
        (
            "t30.*",
            "r.{{SliceFromLeft(1,5)}}",
            "t30.1234567890",
            "r.12345.67890",
        ),
        (
            "t31.*",
            "r.{{SliceFromLeft(1,9)}}",
            "t31.1234567890",
            "r.123456789.0",
        ),
        (
            "t32.*",
            "r.{{SliceFromLeft(1,6)}}",
            "t32.1234567890",
            "r.123456.7890",
        ),
        (
            "t33.*",
            "r.{{SliceFromRight(1,3)}}",
            "t33.1234567890",
            "r.1.234.567.890",
        ),
        (
            "t34.*",
            "r.{{SliceFromRight(1,5)}}",
            "t34.1234567890",
            "r.12345.67890",
        ),
        (
            "t35.*",
            "r.{{SliceFromRight(1,6)}}",
            "t35.1234567890",
            "r.1234.567890",
        ),
        ("t36.*", "r.{{SliceFromRight(1,1)}}", "t36.123", "r.1.2.3"),
        ("t37.*", "r.{{left(1,3)}}", "t37.1234567890", "r.123"),
        ("t38.*", "r.{{right(1,3)}}", "t38.1234567890", "r.890"),
        ("t41.*", "r.{{random(0)}}", "t41.a", "r.0"),
        ("t42.*", "r.{{random(1)}}", "t42.a", "r.0"),
        ("t43.*", "r.{{random(-1)}}", "t43.a", "r.0"),
        (
            "t44.*.*",
            "r.{{partition(10,1,2)}}.$1",
            "t44.foo.bar",
            "r.0.foo",
        ),
        (
            "t45.*.*",
            "r.{{partition(10,2,1)}}.$1",
            "t45.foo.bar",
            "r.2.foo",
        ),
        ("t46.*.*", "r.{{partition(10)}}", "t46.foo.bar", "r.0"),
        ("t47.*.*", "r.{{partition(1000,2)}}", "t47.foo.bar", "r.602"),
        ("t48.*.*", "r.{{partition(0,1,2)}}", "t48.foo.bar", "r.0"),
        (
            "t49.*.*",
            "r.{{partition(-1,1,2)}}",
            "t49.foo.bar",
            "r.3214735720",
        ),
        (
            "t50.*.*",
            "r.{{partition(-4294967295,1,2)}}",
            "t50.foo.bar",
            "r.0",
        ),
        (
            "t51.*.>",
            "r.{{partition(1000)}}.>",
            "t51.foo.bar.baz",
            "r.919.bar.baz",
        ),
        ("t52.*", "r.{{ partition( 1000 , 1 ) }}", "t52.foo", "r.223"),
        ("t54", "r.{{random(1)}}", "t54", "r.0"),
        ("t56.*", "r.{{x{{wildcard(1)}}", "t56.a", "r.a"),
        ("t57.*", "r.{{wildcard(1)}}x}}", "t57.a", "r.a"),
        ("t58.*", "r.{{split(1,))}}", "t58.a)b", "r.a.b"),
        ("t59.*", "r.{{split(1,}})}}", "t59.a}}b", "r.a.b"),
        ("t61.*x", "r.y", "t61.*x", "r.y"),
        // Different there: wildcards come out, `*x` counts as `*`, and the hash of a literal source is
        // that of nothing or of the subject, as other mappings have it.
        ("t20.*", "r.{{split(1,-)}}", "t20.*-a", "-"),
        ("t21.*", "r.{{split(1,-)}}", "t21.a->", "-"),
        ("t39.*", "r.{{left(1,1)}}", "t39.*ab", "-"),
        ("t40.*", "r.{{SplitFromLeft(1,1)}}", "t40.*ab", "-"),
        ("t53", "r.{{partition(1000)}}", "t53", "r.843"),
        ("t55", "r.{{partition(1000,7)}}", "t55", "r.557"),
        ("t60.*x", "r.y", "t60.a", "-"),
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
    let range = |token: &str| format!("{PREFIX}wildcard index out of range in {token}");
    let subject = || "invalid subject".to_owned();
    let cases = [
        ("foo", "", subject()),
        ("foo.", "bar", subject()),
        ("foo", "bar..baz", format!("{PREFIX}invalid transform")),
        (
            "foo.>",
            "bar.>.baz",
            format!("{PREFIX}invalid transform in baz"),
        ),
        ("foo.*", "bar.*", subject()),
        ("foo.>", "bar", subject()),
        ("foo", "bar.>", subject()),
        ("foo", "b ar", format!("{PREFIX}invalid transform")),
        ("foo", "$1", range("$1")),
        ("foo.*", "$2", range("$2: [2]")),
        ("foo.*", "{{wildcard(2)}}", range("{{wildcard(2)}}: [2]")),
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
        (
            "foo.*",
            "{{partition(1,2)}}",
            range("{{partition(1,2)}}: [2]"),
        ),
        ("foo.*", "{{random(1,2)}}", few("{{random(1,2)}}")),
        (
            "foo.*.*",
            "$1.{{wildcard(1)}}{{wildcard(2)}}",
            invalid("{{wildcard(1)}}{{wildcard(2)}}"),
        ),
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
            "$0.$1",
            Err("invalid mapping destination: wildcard index out of range in $0"),
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

#[test]
fn only_subjects_come_out() {
    let functions = [
        "$1",
        "{{split(1,-)}}",
        "{{split(2,)}}",
        "{{split(2,-*)}}",
        "{{splitfromleft(1,1)}}",
        "{{splitfromright(2,1)}}",
        "{{slicefromleft(1,1)}}",
        "{{slicefromright(1,2)}}",
        "{{left(1,1)}}",
        "{{right(2,1)}}",
        "{{partition(3,1,2)}}",
        "{{random(3)}}",
    ];
    let letters = [b'-', b'*', b'>', b'a', 0xc3, 0xa9];
    let mut prng = Prng::new(3);
    let mut outcomes = [0, 0];
    for _ in 0..20_000 {
        let mut any = |of: usize| prng.below(of as u32) as usize;
        let destination = [functions[any(12)], functions[any(12)], ">"].join(".");
        let transform = Transform::new("x.*.*.>", &destination).unwrap();
        let mut token = |_| -> Vec<u8> {
            let length = 1 + any(4);
            (0..length).map(|_| letters[any(letters.len())]).collect()
        };
        let tokens: Vec<Vec<u8>> = (0..4).map(&mut token).collect();
        let subject = [b"x.", &tokens.join(&SEPARATOR)[..]].concat();
        if !is_valid_literal(&subject) {
            continue;
        }
        let mut to = Vec::new();
        let applies = transform.apply(&subject, prng.next_u64(), &mut to);
        assert_eq!(applies, !to.is_empty());
        assert!(
            !applies || is_valid_literal(&to),
            "{destination} {subject:?} {to:?}"
        );
        outcomes[usize::from(applies)] += 1;
    }
    assert!(outcomes.iter().all(|&times| times > 1000), "{outcomes:?}");
}
