//! What accounts offer each other: `exports` and `imports`.

use std::time::Duration;

use super::reader::Reader;
use crate::auth::definition::{
    ExportDefinition, ExportKind, ImportDefinition, ImportKind, LatencyDefinition, ResponseType,
    Sampling,
};
use crate::config::conf::{Map, Node, Place, Value};
use crate::subject;

/// Reads `exports`; what is wrong with one leaves it out.
pub fn exports(node: &Node, reader: &mut Reader<'_>) -> Vec<ExportDefinition> {
    let Value::Array(nodes) = &node.value else {
        let text = format!("Exports should be an array, got {}", node.value.kind());
        reader.error(&node.place, text);
        return Vec::new();
    };
    let exports = nodes.iter().filter_map(|node| export(node, reader));
    exports.collect()
}

/// Reads `imports`; what is wrong with one leaves it out.
pub fn imports(node: &Node, reader: &mut Reader<'_>) -> Vec<ImportDefinition> {
    let Value::Array(nodes) = &node.value else {
        let text = format!("Imports should be an array, got {}", node.value.kind());
        reader.error(&node.place, text);
        return Vec::new();
    };
    let mut imports: Vec<ImportDefinition> = Vec::new();
    for node in nodes {
        let Some(import) = import(node, reader) else {
            continue;
        };
        fn local(import: &ImportDefinition) -> &str {
            import.to.as_deref().unwrap_or(&import.subject)
        }
        let is_service =
            |import: &ImportDefinition| matches!(import.kind, ImportKind::Service { .. });
        let same = |known: &&ImportDefinition| {
            is_service(known) && local(known) == local(&import) && known.account == import.account
        };
        if is_service(&import)
            && let Some(known) = imports.iter().find(same)
        {
            let text = format!(
                "Duplicate service import subject {:?}, previously used in import for account {:?}, subject {:?}",
                local(&import),
                known.account,
                known.subject
            );
            reader.error(&node.place, text);
            continue;
        }
        imports.push(import);
    }
    imports
}

fn export(node: &Node, reader: &mut Reader<'_>) -> Option<ExportDefinition> {
    let Value::Map(map) = &node.value else {
        let kind = node.value.kind();
        let text = format!("Export Items should be a map with type entry, got {kind}");
        reader.error(&node.place, text);
        return None;
    };
    let mut stream: Option<String> = None;
    let mut service: Option<String> = None;
    let mut response = None;
    let mut threshold = None;
    let mut latency = None;
    let mut allow_trace = None;
    let mut accounts = None;
    let mut account_token_position = 0;
    // What only services have, and where it is said.
    let mut directives: Vec<(&str, &Place)> = Vec::new();
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        let place = &node.place;
        match key {
            "stream" | "service" => {
                let Value::Text(subject) = &node.value else {
                    let kind = node.value.kind();
                    let text = format!("Expected {key} name to be string, got {kind}");
                    reader.error(place, text);
                    continue;
                };
                let (this, other, other_key) = match key {
                    "stream" => (&mut stream, &service, "service"),
                    _ => (&mut service, &stream, "stream"),
                };
                if other.is_some() {
                    let text = format!("Detected {key} {subject:?} but already saw a {other_key}");
                    reader.error(place, text);
                    continue;
                }
                *this = Some(subject.clone());
            }
            "response" | "response_type" => {
                directives.push(("response", place));
                if response.is_some() {
                    reader.error(place, "Duplicate response type definition");
                }
                response = response_type(node, reader).or(response);
            }
            "threshold" | "response_threshold" | "response_max_time" | "response_time" => {
                directives.push(("response", place));
                if threshold.is_some() {
                    reader.error(place, "Duplicate response threshold detected");
                }
                threshold = response_threshold(node, reader).or(threshold);
            }
            "accounts" => accounts = reader.texts(key, node),
            "latency" => {
                directives.push(("latency", place));
                latency = read_latency(node, reader);
            }
            "account_token_position" => {
                let number = reader.number::<i64>(key, node);
                account_token_position = number.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            }
            "allow_trace" => {
                directives.push(("allow_trace", place));
                allow_trace = reader.boolean(key, node);
            }
            _ => reader.unknown(entry),
        }
    }
    if stream.is_some() {
        for (what, place) in directives {
            let text = format!("Detected {what} directive on non-service");
            reader.error(place, text);
        }
    }
    // One that offers nothing is no mistake in nats-server.
    let (subject, kind) = match (stream, service) {
        (Some(subject), _) => (subject, ExportKind::Stream),
        (None, Some(subject)) => {
            let kind = ExportKind::Service {
                response: response.unwrap_or_default(),
                threshold,
                latency,
                allow_trace: allow_trace.unwrap_or(false),
            };
            (subject, kind)
        }
        (None, None) => return None,
    };
    Some(ExportDefinition {
        subject,
        kind,
        // As in nats-server, a list without entries is no list.
        accounts: accounts.filter(|accounts| !accounts.is_empty()),
        token_required: false,
        account_token_position,
    })
}

fn response_type(node: &Node, reader: &mut Reader<'_>) -> Option<ResponseType> {
    let Value::Text(text) = &node.value else {
        let kind = node.value.kind();
        let text = format!("Expected response type to be string, got {kind}");
        reader.error(&node.place, text);
        return None;
    };
    match text.to_lowercase().as_str() {
        "single" | "singleton" => Some(ResponseType::Singleton),
        "stream" => Some(ResponseType::Stream),
        "chunk" | "chunked" => Some(ResponseType::Chunked),
        _ => {
            reader.error(&node.place, format!("Unknown response type: {text:?}"));
            None
        }
    }
}

fn response_threshold(node: &Node, reader: &mut Reader<'_>) -> Option<Duration> {
    const EXPECTED: &str = "Expected response threshold to be a parseable time duration, got";
    let Value::Text(text) = &node.value else {
        let kind = node.value.kind();
        reader.error(&node.place, format!("{EXPECTED} {kind}"));
        return None;
    };
    match crate::config::conf::parse_duration(text).map(u64::try_from) {
        Ok(Ok(ns)) => Some(Duration::from_nanos(ns)).filter(|time| !time.is_zero()),
        Ok(Err(_)) | Err(_) => {
            reader.error(&node.place, format!("{EXPECTED} {text:?}"));
            None
        }
    }
}

fn read_latency(node: &Node, reader: &mut Reader<'_>) -> Option<LatencyDefinition> {
    let map: &Map = match &node.value {
        Value::Text(subject) => {
            return Some(LatencyDefinition {
                sampling: Sampling::Percent(100),
                subject: subject.clone(),
            });
        }
        Value::Map(map) => map,
        other => {
            let kind = other.kind();
            let text = format!("Expected latency entry to be a map/struct or string, got {kind}");
            reader.error(&node.place, text);
            return None;
        }
    };
    let sampling = match map.get("sampling") {
        Some(node) => read_sampling(node, reader)?,
        None => Sampling::Percent(100),
    };
    match map.get("subject").map(|node| &node.value) {
        Some(Value::Text(subject)) => Some(LatencyDefinition {
            sampling,
            subject: subject.clone(),
        }),
        Some(other) => {
            let text = format!(
                "Expected latency subject to be a string, got {}",
                other.kind()
            );
            reader.error(&node.place, text);
            None
        }
        None => {
            reader.error(&node.place, "Latency subject required, but missing");
            None
        }
    }
}

fn read_sampling(node: &Node, reader: &mut Reader<'_>) -> Option<Sampling> {
    let percent = match &node.value {
        Value::Integer(number) => *number,
        Value::Text(text) if text.trim().eq_ignore_ascii_case("headers") => {
            return Some(Sampling::Headers);
        }
        Value::Text(text) => match text.strip_suffix('%').unwrap_or(text).parse() {
            Ok(number) => number,
            Err(_) => {
                let text = format!("Failed to parse latency sample: {text:?}");
                reader.error(&node.place, text);
                return None;
            }
        },
        other => {
            let kind = other.kind();
            let text = format!("Expected latency sample to be a string or map/struct, got {kind}");
            reader.error(&node.place, text);
            return None;
        }
    };
    match u8::try_from(percent) {
        Ok(percent @ 1..=100) => Some(Sampling::Percent(percent)),
        Ok(_) | Err(_) => {
            let text = "bad sampling percentage, should be 1-100";
            reader.error(&node.place, text);
            None
        }
    }
}

fn import(node: &Node, reader: &mut Reader<'_>) -> Option<ImportDefinition> {
    let Value::Map(map) = &node.value else {
        let kind = node.value.kind();
        let text = format!("Import Items should be a map with type entry, got {kind}");
        reader.error(&node.place, text);
        return None;
    };
    let mut stream: Option<(String, String)> = None;
    let mut service: Option<(String, String)> = None;
    let mut prefix: Option<(String, &Place)> = None;
    let mut to: Option<(String, &Place)> = None;
    let mut share = false;
    let mut allow_trace: Option<(bool, &Place)> = None;
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        let place = &node.place;
        match key {
            "stream" | "service" => {
                let (this, other, other_key) = match key {
                    "stream" => (&mut stream, &service, "service"),
                    _ => (&mut service, &stream, "stream"),
                };
                if other.is_some() {
                    let text = format!("Detected {key} but already saw a {other_key}");
                    reader.error(place, text);
                    continue;
                }
                *this = account_and_subject(key, node, reader).or(this.take());
            }
            "prefix" => prefix = reader.text_given(key, node).map(|text| (text, place)),
            "to" => to = reader.text_given(key, node).map(|text| (text, place)),
            "share" => share = reader.boolean(key, node).unwrap_or(false),
            "allow_trace" => {
                allow_trace = reader.boolean(key, node).map(|on| (on, place));
            }
            _ => reader.unknown(entry),
        }
    }
    if let (Some((account, subject)), None) = (&service, &stream) {
        if let Some((_, place)) = allow_trace {
            reader.error(place, "Detected allow_trace directive on a non-stream");
        }
        return Some(ImportDefinition {
            account: account.clone(),
            subject: subject.clone(),
            to: to.map(|(to, _)| to),
            activated: false,
            kind: ImportKind::Service { share },
        });
    }
    let (account, subject) = stream?;
    let to = match (prefix, to) {
        (Some(_), Some((_, place))) => {
            let text = "Stream import can not have a 'prefix' and a 'to' property";
            reader.error(place, text);
            return None;
        }
        (Some((prefix, place)), None) => {
            if !subject::is_literal(prefix.as_bytes()) {
                let text = format!(
                    "Error adding stream import {subject:?}: stream import prefix can not contain wildcard tokens"
                );
                reader.error(place, text);
                return None;
            }
            let prefix = prefix.strip_suffix('.').unwrap_or(&prefix);
            Some(format!("{prefix}.{subject}"))
        }
        (None, to) => to.map(|(to, _)| to),
    };
    Some(ImportDefinition {
        account,
        subject,
        to,
        activated: false,
        kind: ImportKind::Stream {
            allow_trace: allow_trace.is_some_and(|(on, _)| on),
        },
    })
}

fn account_and_subject(
    key: &str,
    node: &Node,
    reader: &mut Reader<'_>,
) -> Option<(String, String)> {
    let Value::Map(map) = &node.value else {
        let what = if key == "stream" { "Stream" } else { "Service" };
        let kind = node.value.kind();
        let text = format!("{what} entry should be an account map, got {kind}");
        reader.error(&node.place, text);
        return None;
    };
    let (mut account, mut subject) = (None, None);
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        match key.as_str() {
            "account" => account = reader.text_given(&key, &entry.node),
            "subject" => subject = reader.text_given(&key, &entry.node),
            _ => reader.unknown(entry),
        }
    }
    let both = account.zip(subject);
    if both.is_none() {
        reader.error(&node.place, "Expect an account name and a subject");
    }
    both
}
