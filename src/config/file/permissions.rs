//! Permissions: which subjects a user may publish and subscribe to.

use std::time::Duration;

use super::reader::Reader;
use crate::auth::definition::{PermissionRules, ResponseRules, SubjectRules};
use crate::config::conf::{Map, Node, Value};
use crate::subject;

/// Reads `permissions` of a user, or the default ones.
pub fn read(node: &Node, reader: &mut Reader<'_>) -> Option<PermissionRules> {
    let Value::Map(map) = &node.value else {
        let text = format!(
            "Expected permissions to be a map/struct, got {}",
            node.value.kind()
        );
        reader.error(&node.place, text);
        return None;
    };
    let mut rules = PermissionRules::default();
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let node = &entry.node;
        match key.as_str() {
            "pub" | "publish" | "import" => {
                if let Some(subjects) = subject_rules(node, false, reader) {
                    rules.publish = subjects;
                }
            }
            "sub" | "subscribe" | "export" => {
                if let Some(subjects) = subject_rules(node, true, reader) {
                    rules.subscribe = subjects;
                }
            }
            "publish_allow_responses" | "allow_responses" => {
                rules.responses = responses(node, reader);
            }
            _ => reader.unknown_saying(
                entry,
                format!("Unknown field {:?} parsing permissions", entry.key),
            ),
        }
    }
    // Who may answer, and is told nothing else, may publish nothing else.
    if rules.responses.is_some() && rules.publish.allow.is_none() {
        rules.publish.allow = Some(Vec::new());
    }
    Some(rules)
}

fn subject_rules(node: &Node, with_queue: bool, reader: &mut Reader<'_>) -> Option<SubjectRules> {
    let Value::Map(map) = &node.value else {
        return Some(SubjectRules {
            allow: allowed(subjects(node, with_queue, reader)?),
            deny: Vec::new(),
        });
    };
    let mut rules = SubjectRules::default();
    for entry in map.entries() {
        match entry.key.to_lowercase().as_str() {
            "allow" => {
                rules.allow = subjects(&entry.node, with_queue, reader).and_then(allowed);
            }
            "deny" => {
                rules.deny = subjects(&entry.node, with_queue, reader).unwrap_or_default();
            }
            _ => reader.unknown_saying(
                entry,
                format!(
                    "Unknown field name {:?} parsing subject permissions, only 'allow' or 'deny' are permitted",
                    entry.key
                ),
            ),
        }
    }
    Some(rules)
}

/// In nats-server a list without entries is no list.
fn allowed(subjects: Vec<String>) -> Option<Vec<String>> {
    Some(subjects).filter(|subjects| !subjects.is_empty())
}

/// One subject or several.
pub fn subjects(node: &Node, with_queue: bool, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let mut subjects = Vec::new();
    match &node.value {
        Value::Text(text) => subjects.push(text.clone()),
        Value::Array(nodes) => {
            for node in nodes {
                let Value::Text(text) = &node.value else {
                    let text = "Subject in permissions array cannot be cast to string";
                    reader.error(&node.place, text);
                    return None;
                };
                subjects.push(text.clone());
            }
        }
        other => {
            let kind = other.kind();
            let text = format!(
                "Expected subject permissions to be a subject, or array of subjects, got {kind}"
            );
            reader.error(&node.place, text);
            return None;
        }
    }
    for subject in &subjects {
        if let Err(text) = check_subject(subject, with_queue) {
            reader.error(&node.place, text);
            return None;
        }
    }
    Some(subjects)
}

fn check_subject(text: &str, with_queue: bool) -> Result<(), String> {
    let is_valid = |text: &str| subject::is_valid_pattern(text.as_bytes());
    if is_valid(text) {
        return Ok(());
    }
    let wrong = |text: &str| Err(format!("subject {text:?} is not a valid subject"));
    let words: Vec<_> = text.split_whitespace().collect();
    match words.as_slice() {
        [subject, _] if with_queue && !is_valid(subject) => wrong(subject),
        [_, queue] if with_queue && !is_valid(queue) => {
            Err(format!("queue {queue:?} is not a valid queue"))
        }
        [_, _] if with_queue => Ok(()),
        _ => wrong(text),
    }
}

fn responses(node: &Node, reader: &mut Reader<'_>) -> Option<ResponseRules> {
    let map: &Map = match &node.value {
        Value::Bool(true) => return Some(ResponseRules::default()),
        Value::Bool(false) => return None,
        Value::Map(map) => map,
        _ => {
            let text = "error parsing response permissions, expected a boolean or a map";
            reader.error(&node.place, text);
            return None;
        }
    };
    let mut rules = ResponseRules::default();
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let node = &entry.node;
        match key.as_str() {
            // Negative is any number, and 0 the default; so it is with the time.
            "max" | "max_msgs" | "max_messages" | "max_responses" => {
                match reader.integer(&key, node) {
                    Some(0) | None => {}
                    Some(number) => rules.max = u64::try_from(number).ok(),
                }
            }
            "expires" | "expiration" | "ttl" => match &node.value {
                Value::Text(_) => match reader.duration_text_ns("expires", node) {
                    Some(0) | None => {}
                    Some(ns) => rules.expires = u64::try_from(ns).ok().map(Duration::from_nanos),
                },
                _ => reader.error(&node.place, "error parsing expires, not a duration string"),
            },
            _ => reader.unknown_saying(
                entry,
                format!("Unknown field {:?} parsing permissions", entry.key),
            ),
        }
    }
    Some(rules)
}
