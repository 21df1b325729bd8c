//! The digest of a configuration, as nats-server shows it: SHA-256 over the values as Go's JSON, keys sorted, and a
//! line feed. Comments, order and spelling of numbers make no difference to it.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::tree::{Map, Value};

/// `sha256:` and 64 hexadecimal digits.
pub fn digest(map: &Map) -> String {
    let mut json = String::new();
    write_map(map, &mut json);
    json.push('\n');
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(json.as_bytes()) {
        // Writing to a `String` does not fail, here and below.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn write_map(map: &Map, json: &mut String) {
    let mut entries: Vec<_> = map.entries().iter().collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    json.push('{');
    for (number, entry) in entries.into_iter().enumerate() {
        if number > 0 {
            json.push(',');
        }
        write_text(&entry.key, json);
        json.push(':');
        write_value(&entry.node.value, json);
    }
    json.push('}');
}

fn write_value(value: &Value, json: &mut String) {
    match value {
        Value::Text(text) | Value::DateTime(text) => write_text(text, json),
        Value::Integer(number) => {
            let _ = write!(json, "{number}");
        }
        Value::Float(number) => write_float(*number, json),
        Value::Bool(on) => json.push_str(if *on { "true" } else { "false" }),
        Value::Array(nodes) => {
            json.push('[');
            for (number, node) in nodes.iter().enumerate() {
                if number > 0 {
                    json.push(',');
                }
                write_value(&node.value, json);
            }
            json.push(']');
        }
        Value::Map(map) => write_map(map, json),
    }
}

/// Shortest digits; with an exponent of at least two digits, unless negative, where the number is very large or small.
fn write_float(number: f64, json: &mut String) {
    let magnitude = number.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        let _ = write!(json, "{number}");
        return;
    }
    let shown = format!("{number:e}");
    match shown.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => {
            let _ = write!(json, "{digits}e+{exponent}");
        }
        _ => json.push_str(&shown),
    }
}

fn write_text(text: &str, json: &mut String) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            // Go makes its JSON safe to stand in HTML and JavaScript.
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}
