//! Blocks as data. What nats-server looks for is in its `client.go`, `msgtrace.go`, `accounts.go`.

use super::*;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A block of these lines.
fn block(lines: &[&str]) -> Vec<u8> {
    format!("NATS/1.0\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

#[test]
fn beginnings() {
    let cases = [
        ("NATS/1.0\r\n\r\n", true, ""),
        ("NATS/1.0 503\r\n\r\n", true, "503"),
        (
            "NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n",
            true,
            "100 Idle Heartbeat",
        ),
        ("NATS/1.0", false, ""),
        ("NATS/1.1\r\n\r\n", false, ""),
        ("nats/1.0\r\n\r\n", false, ""),
        ("NATS/1.01\r\n\r\n", false, "1"),
        ("", false, ""),
    ];
    for (block, valid, expected) in cases {
        assert_eq!(is_block(block.as_bytes()), valid, "{block:?}");
        assert_eq!(text(status(block.as_bytes())), expected, "{block:?}");
    }
}

#[test]
fn finding() {
    let block = "NATS/1.0\r\nFoo: bar\r\nfoo:  small \r\nEmpty:\r\nFoo: second\r\n\
                 Quote: Deep: x\r\nHost:a:b\r\nNo colon\r\n\r\n";
    let cases = [
        ("Foo", Some("bar")),
        ("foo", Some("small ")),
        ("FOO", None),
        ("Fo", None),
        ("Empty", Some("")),
        ("Deep", None),
        ("Quote", Some("Deep: x")),
        ("Host", Some("a:b")),
        ("No colon", None),
        ("NATS/1.0", None),
        ("", None),
    ];
    for (key, expected) in cases {
        assert_eq!(find(block.as_bytes(), key).map(text), expected, "{key}");
    }
    // What is broken off is still looked at, and nothing is no block.
    assert_eq!(find(b"NATS/1.0\r\nFoo: ba", "Foo"), Some(&b"ba"[..]));
    for block in ["", "\r\n", "Foo: bar\r\n", "NATS/1.0\r\n"] {
        assert_eq!(find(block.as_bytes(), "Foo"), None, "{block:?}");
    }
    let all: Vec<(&str, &str)> = entries(block.as_bytes())
        .map(|(key, value)| (text(key), text(value)))
        .collect();
    assert_eq!(
        all,
        [
            ("Foo", "bar"),
            ("foo", "small"),
            ("Empty", ""),
            ("Foo", "second"),
            ("Quote", "Deep: x"),
            ("Host", "a:b")
        ]
    );
}

#[test]
fn taking_away_and_setting() {
    const KEY: &str = "Nats-Request-Info";
    // Block, without the key, with it.
    let cases = [
        ("NATS/1.0\r\nA: b\r\n\r\n", "NATS/1.0\r\nA: b\r\n\r\n"),
        ("NATS/1.0\r\nNats-Request-Info: x\r\n\r\n", ""),
        (
            "NATS/1.0 503\r\nNats-Request-Info: x\r\n\r\n",
            "NATS/1.0 503\r\n\r\n",
        ),
        (
            "NATS/1.0\r\nNats-Request-Info: x\r\nA: b\r\nnats-request-info: y\r\nNATS-REQUEST-INFO:z\r\n\r\n",
            "NATS/1.0\r\nA: b\r\n\r\n",
        ),
        // As lenient readers see them.
        (
            "NATS/1.0\r\nA: b\nNats-Request-Info: x\r\n\r\n",
            "NATS/1.0\r\nA: b\n\r\n",
        ),
        (
            "NATS/1.0\r\nA: b\r\n Nats-Request-Info : x\r\n\r\n",
            "NATS/1.0\r\nA: b\r\n\r\n",
        ),
        (
            "NATS/1.0\r\nNats-Request-Info: x\r\n y\r\n\tz\r\nA: b\r\n\r\n",
            "NATS/1.0\r\nA: b\r\n\r\n",
        ),
        // Others are left alone.
        (
            "NATS/1.0\r\nA: Nats-Request-Info: x\r\n\r\n",
            "NATS/1.0\r\nA: Nats-Request-Info: x\r\n\r\n",
        ),
        (
            "NATS/1.0\r\nNats-Request-Info2: x\r\n\r\n",
            "NATS/1.0\r\nNats-Request-Info2: x\r\n\r\n",
        ),
        ("", ""),
    ];
    for (block, expected) in cases {
        let mut to = b"before ".to_vec();
        without(block.as_bytes(), KEY, &mut to);
        assert_eq!(text(&to), format!("before {expected}"), "{block:?}");
        assert_eq!(
            has_in_any_case(block.as_bytes(), KEY),
            block != expected,
            "{block:?}"
        );
        assert!(!has_in_any_case(&to[7..], KEY));

        to.truncate(7);
        set(block.as_bytes(), KEY, "{\"a\":1}\r\nX: y ", &mut to);
        let start = match expected.strip_suffix("\r\n") {
            Some(start) => start.replace("\r\n", "\n").replace('\n', "\r\n"),
            None => "NATS/1.0\r\n".to_owned(),
        };
        let with = format!("before {start}{KEY}: {{\"a\":1}}  X: y\r\n\r\n");
        assert_eq!(text(&to), with, "{block:?}");
        assert_eq!(find(&to, KEY).map(text), Some("{\"a\":1}  X: y"));
    }
    // A block that is broken off does not swallow what is set.
    let mut to = Vec::new();
    set(b"NATS/1.0\r\nA: b", KEY, "x", &mut to);
    assert_eq!(find(&to, KEY), Some(&b"x"[..]));
}

#[test]
fn building() {
    /// Keys and values.
    type Headers = &'static [(&'static str, &'static str)];
    let cases: &[(&str, Headers, &str)] = &[
        ("", &[], "NATS/1.0\r\n\r\n"),
        ("503", &[], "NATS/1.0 503\r\n\r\n"),
        (
            "404 No Messages",
            &[("A", "b"), ("C", "d\r\nE: f")],
            "NATS/1.0 404 No Messages\r\nA: b\r\nC: d  E: f\r\n\r\n",
        ),
    ];
    for &(status, headers, expected) in cases {
        let mut to = Vec::new();
        build(status, headers, &mut to);
        assert_eq!(text(&to), expected);
        assert!(is_block(&to));
    }
}

#[test]
fn traced_messages() {
    let dest = Trace {
        destination: Some(b"t.here"),
        only: false,
        hop: None,
        origin_account: None,
        compression: Compression::None,
    };
    let external = Trace {
        destination: None,
        ..dest
    };
    let only = Trace { only: true, ..dest };
    let packed = |compression| {
        Some(Trace {
            compression,
            ..dest
        })
    };
    const DEST: &str = "Nats-Trace-Dest: t.here";
    const SAMPLED: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let cases: &[(&[&str], Option<Trace<'_>>)] = &[
        (&["A: b"], None),
        (&[DEST], Some(dest)),
        (&["Nats-Trace-Dest:  t.here\t"], Some(dest)),
        (&["nats-trace-dest: t.here"], None),
        (&["Nats-Trace-Dest: "], None),
        (
            &["Nats-Trace-Dest: ", DEST, "Nats-Trace-Dest: other"],
            Some(dest),
        ),
        (&["Nats-Trace-Dest: trace disabled", SAMPLED], None),
        (&["Nats-Trace-Only: true"], None),
        (&[DEST, "Nats-Trace-Only: true"], Some(only)),
        (&[DEST, "Nats-Trace-Only: ON"], Some(only)),
        (&["Nats-Trace-Only: 1", DEST], Some(only)),
        (&[DEST, "Nats-Trace-Only: yes"], Some(dest)),
        (&[DEST, "Accept-Encoding: GZIP"], packed(Compression::Gzip)),
        (
            &[DEST, "Accept-Encoding: gzip, S2"],
            packed(Compression::Snappy),
        ),
        (
            &[DEST, "Accept-Encoding: br"],
            packed(Compression::Unsupported),
        ),
        (&[DEST, "accept-encoding: gzip"], Some(dest)),
        (
            &[DEST, "Nats-Trace-Hop: 1.2"],
            Some(Trace {
                hop: Some(b"1.2"),
                ..dest
            }),
        ),
        (
            &[DEST, "Nats-Trace-Origin-Account: A"],
            Some(Trace {
                origin_account: Some(b"A"),
                ..dest
            }),
        ),
        (&[SAMPLED], Some(external)),
        (&[DEST, SAMPLED], Some(dest)),
        (&["TraceParent: 00-a-b-03"], Some(external)),
        (&["traceparent: 00-a-b-00", SAMPLED], Some(external)),
        (&["traceparent: 00-a-b-00"], None),
        (&["traceparent: 00-a-b-1"], None),
        (&["traceparent: 00-a-b-001"], None),
        (&["traceparent: 00-a-b-81"], None),
        (&["traceparent: 00-a-b-zz"], None),
        (&["traceparent: 00-a-b-c-01"], None),
        (&["traceparent: 01"], None),
        // Only where it is the account that is asked does `Nats-Trace-Only` not count.
        (&[SAMPLED, "Nats-Trace-Only: true"], Some(external)),
    ];
    for (lines, expected) in cases {
        assert_eq!(trace(&block(lines)), *expected, "{lines:?}");
    }
    let with_status = format!("NATS/1.0 503\r\n{DEST}\r\n\r\n");
    assert_eq!(trace(with_status.as_bytes()), None);
}

#[test]
fn latency_samples() {
    // Lines, and how many of them are told of, if it is sampled.
    let cases: &[(&[&str], Option<usize>)] = &[
        (&["A: b"], None),
        (&["Uber-Trace-Id: a:b:c:1"], Some(1)),
        (&["uber-trace-id: a:b:c:1", "uberctx-x: y", "A: b"], Some(2)),
        (&["Uber-Trace-Id: a:b:c:03"], Some(1)),
        (&["Uber-Trace-Id: a:b:c:0"], None),
        (&["Uber-Trace-Id: a:b:c:x1"], None),
        (&["Uber-Trace-Id: a:b:c:001"], None),
        (&["Uber-Trace-Id: a:b:c"], None),
        (&["Uber-Trace-Id: a:b:c:0", "X-B3-Sampled: 1"], None),
        (
            &[
                "X-B3-Sampled: 1",
                "X-B3-TraceId: a",
                "X-B3-SpanId: b",
                "A: b",
            ],
            Some(3),
        ),
        (&["x-b3-sampled: 1", "x-b3-parentspanid: a"], Some(2)),
        (&["X-B3-Sampled: 0", "X-B3-TraceId: a"], None),
        (&["X-B3-Sampled: d", "X-B3-TraceId: a"], Some(2)),
        (&["X-B3-TraceId: a", "B3: 0"], Some(1)),
        (&["B3: a-b-1-c"], Some(1)),
        (&["B3: a-b-0-c"], None),
        (&["b3: a-b"], Some(1)),
        (&["B3: 0"], None),
        (&["B3: 1"], Some(1)),
        (&["B3: 0", "Traceparent: 00-a-b-01"], None),
        (
            &["Traceparent: 00-a-b-01", "Tracestate: x", "tracestate: y"],
            Some(3),
        ),
        (&["Traceparent: 00-a-b-00"], None),
        // A line that is no header.
        (&["Traceparent: 00-a-b-01", "oops"], None),
    ];
    for &(lines, expected) in cases {
        let found = sampled_headers(&block(lines));
        let count = found.map(|headers| headers.values().map(Vec::len).sum());
        assert_eq!(count, expected, "{lines:?}");
    }
    let found = sampled_headers(&block(&["x-b3-traceid: a", "X-B3-TraceId: b"])).unwrap();
    let expected = (
        "X-B3-Traceid".to_owned(),
        vec!["a".to_owned(), "b".to_owned()],
    );
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [expected]);
}
