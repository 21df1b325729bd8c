//! Whether two things that a tool prints are alike: the same words with other numbers, or the same fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// What is on one side only.
#[derive(Debug)]
pub struct Difference {
    pub what: String,
    /// So many more times here than with nats-server.
    more: i64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, more } = self;
        write!(f, "{more:+} of {what:?}")
    }
}

/// Lines, in any order, that only one of them has.
pub fn differing_lines(theirs: &str, ours: &str) -> Vec<Difference> {
    differing(theirs.lines().map(plain), ours.lines().map(plain))
}

/// Fields of JSON, with their kinds, that only one of them has.
pub fn differing_fields(theirs: &str, ours: &str) -> Vec<Difference> {
    differing(fields(theirs).into_iter(), fields(ours).into_iter())
}

/// A sample of the exposition format by name and labels, without their values.
pub fn series(line: &str) -> String {
    let (name, rest) = line.split_once(['{', ' ']).unwrap_or((line, ""));
    let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
    let names = labels
        .split("\",")
        .filter_map(|label| label.split_once('='));
    let names: BTreeSet<&str> = names.map(|(name, _)| name).collect();
    let names: Vec<&str> = names.into_iter().collect();
    format!("{name}{{{}}}", names.join(","))
}

fn differing(
    theirs: impl Iterator<Item = String>,
    ours: impl Iterator<Item = String>,
) -> Vec<Difference> {
    let mut times: BTreeMap<String, i64> = BTreeMap::new();
    for what in theirs {
        *times.entry(what).or_default() -= 1;
    }
    for what in ours {
        *times.entry(what).or_default() += 1;
    }
    let differing = times.into_iter().filter(|(_, more)| *more != 0);
    differing
        .map(|(what, more)| Difference { what, more })
        .collect()
}

/// A line without frames, widths, numbers, units and names that are made up.
fn plain(line: &str) -> String {
    let is_frame = |c: char| c.is_whitespace() || ('\u{2500}'..='\u{257f}').contains(&c);
    let words = line.split(is_frame).filter(|word| !word.is_empty());
    let words = words.filter(|word| !matches!(*word, "B" | "KiB" | "MiB" | "GiB"));
    let words = words.map(|word| {
        if word.contains("://") {
            return "URL".to_owned();
        }
        if let Some((name, number)) = word.split_once('=')
            && number.starts_with(|c: char| c.is_ascii_digit())
        {
            // Such as `rtt=1.2ms` and the nagios format's `msgs=2;1;3`.
            return format!("{name}=#");
        }
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let is_key = bare.len() == 56
            && bare
                .bytes()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        match bare.chars().next() {
            _ if is_key => "KEY".to_owned(),
            Some(first) if first.is_ascii_digit() => "#".to_owned(),
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Paths of all fields with the kind of what is there; of lists, of what any entry has.
fn fields(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match value {
            Ok(value) => collect(&value, "", &mut found),
            Err(error) => {
                found.insert(format!("no JSON: {error}"));
                break;
            }
        }
    }
    found
}

fn collect(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (name, entry) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                collect(entry, &format!("{path}{dot}{name}"), found);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                collect(entry, &format!("{path}[]"), found);
            }
        }
        Value::Null => drop(found.insert(format!("{path}: null"))),
        Value::Bool(_) => drop(found.insert(format!("{path}: boolean"))),
        Value::Number(_) => drop(found.insert(format!("{path}: number"))),
        Value::String(_) => drop(found.insert(format!("{path}: string"))),
    }
}

#[test]
fn likeness() {
    for (one, other, count) in [
        ("│ a │ 2 │", "│ a   │ 17 │", 0),
        ("Memory: 1.2 MiB", "Memory: 900 B", 0),
        ("OK S msgs=2;1;3", "OK S msgs=14;1;3", 0),
        ("rtt=1ms", "rtt=300µs", 0),
        ("a\nb", "b\na", 0),
        ("a", "b", 2),
        ("a\na", "a", 1),
    ] {
        assert_eq!(differing_lines(one, other).len(), count, "{one} {other}");
    }
    for (one, other, count) in [
        (
            r#"{"a":1,"b":[{"c":1}]}"#,
            r#"{"b":[{"c":2},{"c":3}],"a":4}"#,
            0,
        ),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, 2),
        (r#"{"a":1}"#, r#"{"a":1,"b":null}"#, 1),
        (r#"{"a":1}"#, "gone", 2),
    ] {
        assert_eq!(differing_fields(one, other).len(), count, "{one} {other}");
    }
    assert_eq!(series(r#"a_b{x="1",a="b,c"} 4"#), "a_b{a,x}");
    assert_eq!(series("a_b 4"), "a_b{}");
}
