//! The language, case by case, and that no text makes it panic.

use std::collections::HashMap;
use std::path::Path;

use super::*;
use crate::base::prng::Prng;

struct Files<'f>(HashMap<&'f str, &'f str>, HashMap<&'f str, &'f str>);

impl Surroundings for Files<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        let path = path.to_string_lossy();
        match self.0.get(path.as_ref()) {
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => Err(format!("open {path}: no such file or directory")),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.1.get(name).map(|text| (*text).to_owned())
    }
}

fn parse_with(
    text: &str,
    files: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> Result<Map, ParseError> {
    let mut files: HashMap<_, _> = files.iter().copied().collect();
    files.insert("dir/a.conf", text);
    let variables = variables.iter().copied().collect();
    parse(Path::new("dir/a.conf"), &Files(files, variables))
}

/// The tree in a form that is easy to compare.
fn shown(map: &Map) -> String {
    fn value_of(value: &Value) -> String {
        match value {
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Bool(on) => on.to_string(),
            Value::DateTime(text) => format!("<{text}>"),
            Value::Array(nodes) => {
                let nodes: Vec<_> = nodes.iter().map(|node| value_of(&node.value)).collect();
                format!("[{}]", nodes.join(", "))
            }
            Value::Map(map) => shown(map),
        }
    }
    let entries = map.entries().iter();
    let entries: Vec<_> = entries
        .map(|entry| format!("{}={}", entry.key, value_of(&entry.node.value)))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    match parse_with(text, &[], &[]) {
        Ok(map) => assert_eq!(shown(&map), expected, "{text:?}"),
        Err(error) => panic!("{text:?}: {error}"),
    }
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    match parse_with(text, &[], &[]) {
        Ok(map) => panic!("{text:?} was taken as {}", shown(&map)),
        Err(error) => assert_eq!(error.to_string(), expected, "{text:?}"),
    }
}

#[test]
fn separators_and_ends() {
    check("", "{}");
    check("a 1", "{a=1}");
    check("a=1\nb:2\r\nc 3;d 4,e=5", "{a=1, b=2, c=3, d=4, e=5}");
    check("a\n  1", "{a=1}");
    check("a:", "{a=\"\"}");
    check("'a b': 1\n\"c d\" 2", "{a b=1, c d=2}");
    check("a 1\na 2", "{a=2}");
    check(
        "{\"a\": 1, \"b\": {\"c\": [true, null]}}",
        "{a=1, b={c=[true, \"null\"]}}",
    );
    check("a {b 1}\n}\n", "{a={b=1}}");
    check(
        "a { b: 1, c = 2; d 3\n e:\n 4 }",
        "{a={b=1, c=2, d=3, e=4}}",
    );
    check("a [1,2\n3, [x, y]]", "{a=[1, 2, 3, [\"x\", \"y\"]]}");
}

#[test]
fn comments() {
    check("# x\na 1 # y\n// z\nb 2 // w", "{a=1, b=2}");
    check(
        "a { # x\n b 1 // y\n}\nc [ # z\n 1 # w\n]",
        "{a={b=1}, c=[1]}",
    );
    check("a \"#b//c\"", "{a=\"#b//c\"}");
    check("a http://b#c", "{a=\"http://b#c\"}");
}

#[test]
fn scalars() {
    check(
        "a true\nb NO\nc On\nd 'on'",
        "{a=true, b=false, c=true, d=\"on\"}",
    );
    check("a -1\nb 1.5\nc -0.5\nd 007", "{a=-1, b=1.5, c=-0.5, d=7}");
    check(
        "a 1k\nb 1K\nc 1kb\nd 1Ki\ne 1kib",
        "{a=1000, b=1000, c=1024, d=1024, e=1024}",
    );
    check(
        "a 2m\nb 2mb\nc 3g\nd 3GiB\ne 1t\nf 1p\ng 1e\nh -1eb",
        "{a=2000000, b=2097152, c=3000000000, d=3221225472, e=1000000000000, f=1000000000000000, \
         g=1000000000000000000, h=-1152921504606846976}",
    );
    check("a 90s\nb 10h\nc 1kx", "{a=\"90s\", b=\"10h\", c=\"1kx\"}");
    check(
        "a 127.0.0.1:4222\nb 1.2.3",
        "{a=\"127.0.0.1:4222\", b=\"1.2.3\"}",
    );
    check("a 2020-02-29T00:00:00Z", "{a=<2020-02-29T00:00:00Z>}");
    check(r#"a "\x41\t\n\r\"\\é""#, "{a=\"A\\t\\n\\r\\\"\\\\é\"}");
    check(r"a b\x41c", "{a=\"bAc\"}");
    check(r"a 'b\x41c'", "{a=\"b\\\\x41c\"}");
    check("a (\n b )\n{c\n)\nd 1", "{a=\"\\n b )\\n{c\\n\", d=1}");
    check("a (\nb\n)", "{a=\"\\nb\\n\"}");
    check("a b'\nc d", "{a=\"b\", c=\"d\"}");
}

#[test]
fn wrong_text() {
    let line = |line: usize, text: &str| format!("Parse error on line {line}: '{text}'");
    refused("a {\n", &line(2, "Unexpected EOF processing map."));
    refused("a {b", &line(1, "Unexpected EOF processing map key."));
    refused(
        "a [1",
        &line(
            1,
            "Expected an array value terminator \",\" or an array terminator \"]\", but got '\0' instead.",
        ),
    );
    refused("a 1\n\n b", "config is invalid (dir/a.conf:3:3)");
    refused("foo", "config is invalid (dir/a.conf:1:3)");
    refused("\n= 1", &line(2, "Unexpected key separator '='"));
    refused("a { = 1", &line(1, "Unexpected key separator '='."));
    refused("a { b }", &line(1, "Expected a value for key 'b'"));
    refused(
        "a { b: , c: 1}",
        &line(1, "Unexpected map value terminator ','."),
    );
    refused(
        "a { ] }",
        &line(1, "Unexpected array end ']' processing map."),
    );
    refused("a =\n1", &line(2, "Expected value but found new line"));
    refused("a [,1]", &line(1, "Unexpected array value terminator ','."));
    refused(
        "a 1 b",
        &line(
            1,
            "Expected a top-level value to end with a new line, comment or EOF, but got 'b' instead.",
        ),
    );
    refused(
        "{a 1 b}",
        &line(
            1,
            "Expected a block-level value to end with a new line, comment or EOF, but got 'b' instead.",
        ),
    );
    refused(
        "a {b 1 c}",
        &line(
            1,
            "Expected a map value terminator \",\" or a map terminator \"}\", but got 'c' instead.",
        ),
    );
    refused("a .5", &line(1, "Floats must start with a digit"));
    refused(
        "a 1.",
        &line(
            1,
            "Floats must have a digit after the '.', but got '\0' instead.",
        ),
    );
    refused("a -x", &line(1, "Expected a digit but got 'x'."));
    refused(
        "a 10-20",
        &line(1, "All ISO8601 dates must be in full Zulu form."),
    );
    refused(
        "a 2020-01-01",
        &line(
            1,
            "Expected 'T' in ISO8601 datetime, but found '\0' instead.",
        ),
    );
    refused(
        "a 2020-13-01T00:00:00Z",
        "expected Zulu formatted DateTime, but got '2020-13-01T00:00:00Z'",
    );
    refused("a \"b", &line(1, "Unexpected EOF."));
    refused("a 'b", &line(1, "Unexpected EOF."));
    refused("a (\nb", &line(2, "Unexpected EOF processing block."));
    refused(
        "a \"\\q\"",
        &line(
            1,
            "Invalid escape character 'q'. Only the following escape characters are allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.",
        ),
    );
    refused(
        "a \"\\xg0\"",
        &line(
            1,
            "Expected two hexadecimal digits after '\\x', but got 'g0'",
        ),
    );
    refused("a \"\\xff\"", &line(1, "A string is not UTF-8"));
    refused(
        "a 9223372036854775808",
        "integer '9223372036854775808' is out of the range",
    );
    refused(
        "a 9223372036854775807k",
        "integer '9223372036854775807k' is out of the range",
    );
    refused("a 1kbb", "expected integer, but got '1kbb'");
    refused("a 1\0b", "config is invalid (dir/a.conf:1:5)");
    refused(
        "a $b",
        "variable reference for 'b' on line 1 can not be found",
    );
    refused(
        &format!("a {}", "[".repeat(65)),
        &line(1, "More than 64 maps and arrays in each other"),
    );
}

#[test]
fn variables() {
    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let variables = [
            ("NUMBER", "12k"),
            ("TEXT", "\"a b\""),
            ("MAP", "{x: [1, 2], y: $NUMBER}"),
            ("LOOP", "$LOOP"),
            ("LOOP_A", "$LOOP_B"),
            ("LOOP_B", "$LOOP_A"),
            ("BROKEN", "["),
            ("EMPTY", ""),
        ];
        let found = parse_with(text, &[], &variables);
        let found = found.as_ref().map(shown).map_err(ToString::to_string);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }
    check("x 1\na $x", Ok("{x=1, a=1}"));
    check("x {y 1}\na {x 2, b [$x]}", Ok("{x={y=1}, a={x=2, b=[2]}}"));
    check("x 1\na {b {c $x}}", Ok("{x=1, a={b={c=1}}}"));
    check(
        "a $NUMBER\nb $TEXT\nc $EMPTY",
        Ok("{a=12000, b=\"a b\", c=\"\"}"),
    );
    check("a $MAP", Ok("{a={x=[1, 2], y=12000}}"));
    check("NUMBER 1\na $NUMBER", Ok("{NUMBER=1, a=1}"));
    check(
        "a '$NUMBER'\nb \"$NUMBER\"",
        Ok("{a=\"$NUMBER\", b=\"$NUMBER\"}"),
    );
    check("a $2a$11$abc", Ok("{a=\"$2a$11$abc\"}"));
    check(
        "a $2b$11$abc",
        Err("variable reference for '2b$11$abc' on line 1 can not be found"),
    );
    check(
        "a { x 1 }\nb $x",
        Err("variable reference for 'x' on line 2 can not be found"),
    );
    check(
        "a $LOOP",
        Err(
            "variable reference for 'LOOP' on line 1 could not be parsed: variable reference for 'LOOP' on line 1 could not be parsed: variable reference cycle for 'LOOP'",
        ),
    );
    check(
        "a $LOOP_A",
        Err(
            "variable reference for 'LOOP_A' on line 1 could not be parsed: variable reference for 'LOOP_B' on line 1 could not be parsed: variable reference for 'LOOP_A' on line 1 could not be parsed: variable reference cycle for 'LOOP_A'",
        ),
    );
    check(
        "a $BROKEN",
        Err(
            "variable reference for 'BROKEN' on line 1 could not be parsed: Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got '\0' instead.'",
        ),
    );

    let map = parse_with("x 1\ny 2\na $x", &[], &[]).unwrap();
    let used: Vec<_> = map.entries().iter().map(|e| e.is_variable).collect();
    assert_eq!(used, [true, false, false]);
}

#[test]
fn includes() {
    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let files = [
            ("dir/b.conf", "b 1\nx 2"),
            ("dir/sub/c.conf", "c 3; include ../b.conf"),
            ("dir/loop.conf", "include loop.conf"),
            ("dir/bad.conf", "\n["),
            ("dir/twice.conf", "include b.conf\ninclude b.conf"),
            ("dir/outer.conf", "o $x"),
        ];
        let found = parse_with(text, &files, &[]);
        let found = found.as_ref().map(shown).map_err(ToString::to_string);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }
    check("include b.conf", Ok("{b=1, x=2}"));
    check("include './b.conf'\na $x", Ok("{b=1, x=2, a=2}"));
    check(
        "a { include \"sub/c.conf\"; d 4 }",
        Ok("{a={c=3, b=1, x=2, d=4}}"),
    );
    check("x 5\ninclude b.conf", Ok("{x=2, b=1}"));
    check("include: 1", Ok("{include=1}"));
    check("include twice.conf", Ok("{b=1, x=2}"));
    check(
        "include nowhere",
        Err("error parsing include file 'nowhere', open dir/nowhere: no such file or directory"),
    );
    check(
        "include bad.conf",
        Err("error parsing include file 'bad.conf', config is invalid (dir/bad.conf:2:2)"),
    );
    // A file sees its own keys only.
    check(
        "x 1\ninclude outer.conf",
        Err(
            "error parsing include file 'outer.conf', variable reference for 'x' on line 1 can not be found",
        ),
    );
    check(
        "include [a]",
        Err("Parse error on line 1: 'Expected include value but found start of an array'"),
    );
    check(
        "include\na",
        Err("Parse error on line 2: 'Expected include value but found new line'"),
    );

    let error = parse_with(
        "include loop.conf",
        &[("dir/loop.conf", "include loop.conf")],
        &[],
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("files include each other more than 16 deep"),
        "{error}"
    );
}

#[test]
fn places() {
    let text = "a 1\n  b 2\n\"c\" [\n  x\n \"y\", {d 1\n}\n]\n\te {\n f: $b }";
    let map = parse_with(text, &[("dir/i.conf", "g 1")], &[]).unwrap();
    let place = |node: &Node| node.place.to_string();
    let top: Vec<_> = map.entries().iter().map(|e| place(&e.node)).collect();
    assert_eq!(
        top,
        [
            "dir/a.conf:1:0",
            "dir/a.conf:2:3",
            "dir/a.conf:3:2",
            "dir/a.conf:8:2"
        ]
    );
    let Some(Value::Array(nodes)) = map.get("c").map(|node| &node.value) else {
        panic!("no array");
    };
    let nodes: Vec<_> = nodes.iter().map(place).collect();
    assert_eq!(
        nodes,
        ["dir/a.conf:4:3", "dir/a.conf:5:3", "dir/a.conf:6:2"]
    );
    let Some(Value::Map(inner)) = map.get("e").map(|node| &node.value) else {
        panic!("no map");
    };
    assert_eq!(place(inner.get("f").unwrap()), "dir/a.conf:9:2");
}

/// Digests that nats-server 2.15.1 shows with `-t`.
#[test]
fn digests() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let map = parse_with(text, &[], &[]).unwrap();
        assert_eq!(digest(&map), format!("sha256:{expected}"), "{text}");
    }
    check(
        "port: 4222",
        "797533ebd0dfba7d34a0f9337ecf147e442871f48ddfd07ed751575a5737267e",
    );
    check(
        "tls { timeout: 1000000000000000000000.5 }",
        "d7d0dae31d52f22aa65c8cc8fe1aec73cb6277049beef70275c6b6c6e176a180",
    );
    check(
        "tls { timeout: 0.0000001 }",
        "052cde36a00db48e2ca216cfc8a363e2ccef3237e1613a344d248635baa0b4dd",
    );
    check(
        "tls { timeout: 10.0 }",
        "093b8cd517b7a441f3cffe550790fd458ab2e3ce930fcc5d4779483ea459eb8a",
    );
    check(
        "server_name: (\nab\n)\n",
        "ad1e20fe611075aa6e9267c7a2bdbb51894ac06ce594277e8095b4717ad0a4cd",
    );
    check(
        "server_metadata { \"a<b\": \"x&\\x01é\\t\", b: (\n l\n)\n}\nserver_tags: [a, \"b\"\n c\n]\n x: on, debug: $x\n\
         max_payload: 1kb",
        "a2560240a32c659f312245a8f2b2da3eef55a5b01d55271338df39ecef28430f",
    );
}

#[test]
fn limits() {
    let doubling: String = (1..40).fold("v0 [x]\n".to_owned(), |text, n| {
        format!("{text}v{n} [$v{}\n$v{}\n]\n", n - 1, n - 1)
    });
    let error = parse_with(&doubling, &[], &[]).unwrap_err().to_string();
    assert!(
        error.contains("References to variables are too large"),
        "{error}"
    );

    let files = [
        ("dir/b.conf", "include c.conf;".repeat(100)),
        ("dir/c.conf", "include d.conf;".repeat(100)),
        ("dir/d.conf", String::new()),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    let error = parse_with("include b.conf", &files, &[])
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("configuration is too large"), "{error}");

    let deep = format!("a {}{}", "{ b [".repeat(10_000), "] }".repeat(10_000));
    assert!(parse_with(&deep, &[], &[]).is_err());
}

#[test]
fn secrets_are_not_shown() {
    let map = parse_with("password hunter2", &[], &[]).unwrap();
    let shown = format!("{map:?}");
    assert!(
        shown.contains("password") && !shown.contains("hunter2"),
        "{shown}"
    );
}

/// Pieces of valid text, cut, doubled and put together at random.
#[test]
fn no_text_panics() {
    const PIECES: &[&str] = &[
        "a",
        "\"b c\"",
        "'d'",
        " ",
        "\n",
        "\r\n",
        "\t",
        "=",
        ":",
        ";",
        ",",
        "{",
        "}",
        "[",
        "]",
        "(",
        "\n)\n",
        ")",
        "# x\n",
        "//",
        "/",
        "include ",
        "dir",
        "b.conf",
        "$a",
        "$MAP",
        "$2a$x",
        "1",
        "-",
        ".",
        "12k",
        "1.5",
        "1kib",
        "2020-01-01T00:00:00Z",
        "127.0.0.1",
        "true",
        "\\",
        "\\x4",
        "\\t",
        "\"",
        "'",
        "é",
        "\u{2028}",
        "\0",
        "\u{feff}",
        "a {b 1}",
        "a [1, 2]",
        "accounts { A { users [ {user: a} ] } }",
    ];
    let files = [("dir/b.conf", "b { include b.conf }"), ("dir/dir", "x 1")];
    let mut random = Prng::new(1);
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..random.below(24) {
            let piece = PIECES[random.below(PIECES.len() as u32) as usize];
            text.push_str(piece);
        }
        match parse_with(&text, &files, &[("MAP", "{a 1}")]) {
            Ok(map) => {
                digest(&map);
            }
            Err(error) => assert!(!error.0.is_empty(), "{text:?}"),
        }
    }
}
