//! How answers are shown in recordings: what differs from run to run has a name in place of its value.

use std::fmt::Write as _;

use data_encoding::BASE64;
use serde_json::Value;

/// Fields whose numbers depend on time or on other clients.
const NUMBERS: [(&str, &str); 5] = [
    ("pause_remaining", "DURATION"),
    ("ack_time", "DURATION"),
    ("rtt", "DURATION"),
    ("start_time", "TIME"),
    ("inflight", "COUNT"),
];

/// JSON with names for what differs; text that is no JSON stays.
pub fn json_text(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) if value.is_object() || value.is_array() => {
            normalise(&mut value, "", "");
            value.to_string()
        }
        _ => text.to_owned(),
    }
}

/// What differs between two lines: fields of JSON, else all of them.
pub fn difference(expected: &str, got: &str) -> String {
    let split = |line: &str| {
        let at = line.find('{').unwrap_or(line.len());
        let value = serde_json::from_str::<Value>(&line[at..]).ok();
        (line[..at].to_owned(), value)
    };
    let mut report = String::new();
    match (split(expected), split(got)) {
        ((a, Some(left)), (b, Some(right)))
            if a == b && left.get("error") == right.get("error") =>
        {
            fields(&left, &right, "", &mut report);
        }
        _ if canonical(expected) != canonical(got) => {
            let _ = writeln!(report, "    expected {expected}\n         got {got}");
        }
        _ => {}
    }
    report
}

fn fields(expected: &Value, got: &Value, path: &str, report: &mut String) {
    match (expected, got) {
        (Value::Object(left), Value::Object(right)) => {
            let more = right.keys().filter(|key| !left.contains_key(*key));
            for key in left.keys().chain(more) {
                let (left, right) = (left.get(key), right.get(key));
                let path = format!("{path}.{key}");
                match (left, right) {
                    (Some(left), Some(right)) => fields(left, right, &path, report),
                    (Some(left), None) => {
                        let _ = writeln!(report, "    {path}: expected {left}, got nothing");
                    }
                    (None, Some(right)) => {
                        let _ = writeln!(report, "    {path}: expected nothing, got {right}");
                    }
                    (None, None) => {}
                }
            }
        }
        _ if sorted(expected) != sorted(got) => {
            let _ = writeln!(report, "    {path}: expected {expected}, got {got}");
        }
        _ => {}
    }
}

/// The same text with the keys in order, for comparing.
pub fn canonical(line: &str) -> String {
    match line.find(['{', '[']) {
        Some(at) if at == 0 || line[..at].ends_with("| ") => {
            match serde_json::from_str::<Value>(&line[at..]) {
                Ok(value) => format!("{}{}", &line[..at], sorted(&value)),
                Err(_) => line.to_owned(),
            }
        }
        _ => line.to_owned(),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            let fields = fields.into_iter();
            Value::Object(fields.map(|(k, v)| (k.clone(), sorted(v))).collect())
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn normalise(value: &mut Value, key: &str, parent: &str) {
    match value {
        Value::Object(fields) => {
            let typed = fields
                .get("type")
                .and_then(Value::as_str)
                .is_some_and(|name| name.contains(".advisory.") || name.contains(".metric."));
            // What the JSON decoder of a language says of a fault is its own.
            if fields.get("err_code").and_then(Value::as_u64) == Some(10025) {
                fields.insert("description".to_owned(), "invalid JSON: ERROR".into());
            }
            if fields.get("err_code").and_then(Value::as_u64) == Some(10225) {
                let description = "consumer's stream identity does not match: ID";
                fields.insert("description".to_owned(), description.into());
            }
            for (name, field) in fields {
                match name.as_str() {
                    // In base 64.
                    "hdrs" => {
                        let text = field.as_str().unwrap_or_default().as_bytes();
                        let block = BASE64.decode(text).unwrap_or_default();
                        let block = String::from_utf8_lossy(&block);
                        *field = header_lines(&block).join("; ").into();
                    }
                    "sources" if parent.is_empty() && field.is_array() => {
                        normalise(field, name, key);
                        let list = field.as_array_mut().expect("it is an array");
                        list.sort_by_key(ToString::to_string);
                    }
                    // Of a snapshot, which every server writes in its own way.
                    "bytes" if typed => *field = "BYTES".into(),
                    "id" if typed || field.is_number() => *field = "ID".into(),
                    "_nats.ver" | "ver" => *field = "VERSION".into(),
                    "server_id" | "domain_leader" => *field = "SERVER".into(),
                    name => normalise(field, name, key),
                }
            }
        }
        Value::Array(list) => {
            for item in list {
                normalise(item, key, parent);
            }
        }
        Value::String(text) if is_time(text) => *text = "TIME".to_owned(),
        // In an advisory about a request.
        Value::String(text) if key == "response" || key == "request" => *text = json_text(text),
        Value::String(text) if text.starts_with("$JS.") || text.contains("_INBOX.") => {
            *text = token_text(text);
        }
        Value::Number(_) => {
            if let Some((_, name)) = NUMBERS.iter().find(|(name, _)| *name == key) {
                *value = (*name).into();
            }
            // Since when a source was heard of, in nanoseconds; -1 is never.
            if key == "active" && value.as_i64().is_some_and(|active| active > 0) {
                *value = "DURATION".into();
            }
        }
        _ => {}
    }
}

/// Whether this is a point in time of our days.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20
        && text.starts_with("20")
        && !text.starts_with("2099")
        && !text.starts_with("200")
        && bytes[4] == b'-'
        && matches!(bytes[10], b'T' | b' ')
        && bytes[13] == b':'
        && bytes[..4].iter().all(u8::is_ascii_digit)
}

/// Header lines without the status line, in order of their names.
pub fn header_lines(block: &str) -> Vec<String> {
    let lines = block.lines().skip(1).filter(|line| !line.is_empty());
    let mut lines: Vec<String> = lines.map(token_text).collect();
    lines.sort();
    lines
}

/// A header line or a subject with names for what differs.
pub fn token_text(text: &str) -> String {
    if let Some((name, value)) = text.split_once(": ") {
        let value = match name {
            "Nats-Time-Stamp" => "TIME",
            "Nats-Pin-Id" | "Nats-Stream-Identity" => "ID",
            // Stream, sequence, filter, transform, subject, and which stream of that name it was.
            "Nats-Stream-Source" => match value.rsplit_once(' ') {
                Some((start, _)) => return format!("{name}: {start} ID"),
                None => value,
            },
            _ => value,
        };
        return format!("{name}: {value}");
    }
    if let Some(at) = text.find("_INBOX.") {
        return format!("{}_INBOX", &text[..at]);
    }
    let mut tokens: Vec<&str> = text.split('.').collect();
    match tokens.as_mut_slice() {
        // What it is followed by: delivered, stream and consumer sequence, time, pending.
        ["$JS", "ACK", _, _, _, _, _, time, _] => *time = "TIME",
        ["$JS", "FC", _, _, id] => *id = "ID",
        ["$JS", "SNAPSHOT", _, _, id] => *id = "ID",
        _ => return text.to_owned(),
    }
    tokens.join(".")
}
