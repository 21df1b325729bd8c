//! `accounts` and mappings. Exports and imports are held against each other here; chains and circles of them show when the
//! accounts are joined, which is done once to see whether it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::authorization::{GLOBAL_ACCOUNT, add_users, apply_defaults, users};
use super::exports;
use super::jetstream;
use super::keys::is_public_key;
use super::permissions;
use super::reader::Reader;
use crate::auth::accounts::{Directory, Imports};
use crate::auth::definition::{
    AccountDefinition, AuthDefinition, Destination, ExportDefinition, ExportKind, ImportDefinition,
    ImportKind, MappingDefinition, TraceDefinition, UserDefinition,
};
use crate::config::conf::{Entry, Map, Node, Place, Value};
use crate::subject::{self, Transform};

/// Reads `accounts`: names only, or a map.
pub fn read(node: &Node, auth: &mut AuthDefinition, reader: &mut Reader<'_>) {
    match &node.value {
        Value::Array(nodes) => {
            for node in nodes {
                let Some(name) = reader.text("accounts", node) else {
                    continue;
                };
                if is_free(name, &node.place, auth, reader) {
                    auth.accounts.push(AccountDefinition {
                        name: name.to_owned(),
                        ..AccountDefinition::default()
                    });
                }
            }
        }
        Value::Map(map) => {
            for entry in map.entries() {
                // One that is there to be referred to.
                if !entry.is_variable {
                    account(entry, auth, reader);
                }
            }
        }
        other => {
            let kind = other.kind();
            let text = format!("accounts: expected a map or an array, got {kind}");
            reader.error(&node.place, text);
        }
    }
    if reader.errors.is_empty() {
        check_exports_and_imports(&node.place, &auth.accounts, reader);
    }
}

fn is_free(name: &str, place: &Place, auth: &AuthDefinition, reader: &mut Reader<'_>) -> bool {
    if name == GLOBAL_ACCOUNT {
        reader.error(place, format!("{name:?} is a Reserved Account"));
        return false;
    }
    if auth.accounts.iter().any(|known| known.name == name) {
        reader.error(place, format!("Duplicate Account Entry: {name}"));
        return false;
    }
    true
}

fn account(entry: &Entry, auth: &mut AuthDefinition, reader: &mut Reader<'_>) {
    let place = &entry.node.place;
    let Value::Map(map) = &entry.node.value else {
        reader.error(place, "Expected map entries for accounts");
        return;
    };
    if !is_free(&entry.key, place, auth, reader) {
        return;
    }
    let mut account = AccountDefinition {
        name: entry.key.clone(),
        ..AccountDefinition::default()
    };
    let mut its_users: Vec<UserDefinition> = Vec::new();
    let mut users_place = place;
    let mut defaults = None;
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        match key {
            "nkey" => match &node.value {
                Value::Text(nkey) if is_public_key(nkey, 'A') => account.nkey = Some(nkey.clone()),
                Value::Text(nkey) => {
                    let text = format!("Not a valid public nkey for an account: {nkey:?}");
                    reader.error(&node.place, text);
                }
                other => {
                    let kind = other.kind();
                    let text = format!("Not a valid public nkey for an account: {kind}");
                    reader.error(&node.place, text);
                }
            },
            "imports" => account.imports = exports::imports(node, reader),
            "exports" => account.exports = exports::exports(node, reader),
            "jetstream" => account.jetstream = jetstream::of_account(node, reader),
            "users" => {
                users_place = &node.place;
                its_users = users(node, reader).unwrap_or_default();
            }
            "default_permissions" => defaults = permissions::read(node, reader),
            "mappings" | "maps" => account.mappings = mappings(key, node, reader),
            "limits" => limits(node, &mut account, reader),
            "msg_trace" | "trace_dest" => account.trace = trace(&entry.key, node, reader),
            _ => reader.unknown(entry),
        }
    }
    if !its_users.is_empty() {
        if auth.user.is_some() {
            reader.error(users_place, "Can not have a single user/pass and accounts");
        } else if auth.token.is_some() {
            reader.error(users_place, "Can not have a token and accounts");
        }
    }
    apply_defaults(&mut its_users, defaults.as_ref());
    for user in &mut its_users {
        user.account = Some(account.name.clone());
    }
    add_users(its_users, users_place, auth, reader);
    auth.accounts.push(account);
}

fn limits(node: &Node, account: &mut AccountDefinition, reader: &mut Reader<'_>) {
    let Value::Map(map) = &node.value else {
        let kind = node.value.kind();
        let text = format!("Expected account limits to be a map/struct, got {kind}");
        reader.error(&node.place, text);
        return;
    };
    let limits = &mut account.limits;
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let limit = match key.as_str() {
            "max_connections" | "max_conn" => &mut limits.connections,
            "max_subscriptions" | "max_subs" => &mut limits.subscriptions,
            "max_payload" | "max_pay" => &mut limits.payload_bytes,
            "max_leafnodes" | "max_leafs" => &mut limits.leafnodes,
            _ => {
                let text = format!("Unknown field {:?} parsing account limits", entry.key);
                reader.unknown_saying(entry, text);
                continue;
            }
        };
        if let Some(number) = reader.number::<i32>(&key, &entry.node) {
            // Negative is no limit.
            *limit = u64::try_from(number).ok();
        }
    }
}

fn trace(name: &str, node: &Node, reader: &mut Reader<'_>) -> Option<TraceDefinition> {
    let mut destination = None;
    let mut sampling = None;
    match &node.value {
        Value::Text(_) => destination = trace_destination(name, node, reader),
        Value::Map(map) => {
            for entry in map.entries() {
                match entry.key.to_lowercase().as_str() {
                    "dest" => destination = trace_destination(&entry.key, &entry.node, reader),
                    "sampling" => sampling = trace_sampling(entry, reader),
                    _ => {
                        let text = format!(
                            "Unknown field {:?} parsing account message trace map/struct {name:?}",
                            entry.key
                        );
                        reader.unknown_saying(entry, text);
                    }
                }
            }
        }
        other => {
            let kind = other.kind();
            let text = format!(
                "Expected account message trace {name:?} to be a string or a map/struct, got {kind}"
            );
            reader.error(&node.place, text);
        }
    }
    let Some(destination) = destination else {
        if sampling.is_some() {
            let place = &node.place;
            reader.warnings.push(format!(
                "{place}: Trace destination sampling ignored since no destination was set"
            ));
        }
        return None;
    };
    Some(TraceDefinition {
        destination,
        sampling: sampling.unwrap_or(100),
    })
}

fn trace_destination(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let Value::Text(text) = &node.value else {
        let kind = node.value.kind();
        let text = format!("Field {key:?} should be a string, got {kind}");
        reader.error(&node.place, text);
        return None;
    };
    if !subject::is_valid_literal(text.as_bytes()) {
        let text = format!("Trace destination {text:?} is not valid");
        reader.error(&node.place, text);
        return None;
    }
    Some(text.clone())
}

fn trace_sampling(entry: &Entry, reader: &mut Reader<'_>) -> Option<u8> {
    let place = &entry.node.place;
    let number = match &entry.node.value {
        Value::Integer(number) => *number,
        Value::Text(text) => match text.strip_suffix('%').unwrap_or(text).parse() {
            Ok(number) => number,
            Err(_) => {
                let text = format!("Invalid trace destination sampling value {text:?}");
                reader.error(place, text);
                return None;
            }
        },
        other => {
            let kind = other.kind();
            let text = format!(
                "Trace destination sampling field {:?} should be an integer or a percentage, got {kind}",
                entry.key
            );
            reader.error(place, text);
            return None;
        }
    };
    if !(1..=100).contains(&number) {
        // The first word is nats-server's.
        let text =
            format!("Ttrace destination sampling value {number} is invalid, needs to be [1..100]");
        reader.error(place, text);
        return None;
    }
    u8::try_from(number).ok()
}

/// Reads `mappings`.
pub fn mappings(key: &str, node: &Node, reader: &mut Reader<'_>) -> Vec<MappingDefinition> {
    let mut mappings = Vec::new();
    for entry in reader.map(key, node).map_or(&[][..], Map::entries) {
        let (source, place) = (&entry.key, &entry.node.place);
        if !subject::is_valid_pattern(source.as_bytes()) {
            let text = format!("Subject {source:?} is not a valid subject");
            reader.error(place, text);
            continue;
        }
        if let Some(destinations) = destinations(entry, reader) {
            mappings.push(MappingDefinition {
                source: source.clone(),
                destinations,
            });
        }
    }
    mappings
}

/// What a subject is mapped to: a subject, or one or several with weights.
fn destinations(entry: &Entry, reader: &mut Reader<'_>) -> Option<Vec<Destination>> {
    let (source, place) = (&entry.key, &entry.node.place);
    let nodes = match &entry.node.value {
        Value::Text(subject) => {
            if let Err(error) = Transform::new(source, subject) {
                let text = format!("Error adding mapping for {source:?} to {subject:?} : {error}");
                reader.error(place, text);
                return None;
            }
            return Some(vec![Destination {
                subject: subject.clone(),
                weight: 100,
                cluster: None,
            }]);
        }
        Value::Array(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(&entry.node),
    };
    let mut destinations: Vec<Destination> = Vec::new();
    for node in nodes {
        destinations.push(destination(node, reader)?);
    }
    let mut weights: BTreeMap<Option<&str>, u32> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for destination in &destinations {
        let weight = weights.entry(destination.cluster.as_deref()).or_default();
        *weight += u32::from(destination.weight);
        let subject = &destination.subject;
        let wrong = if !seen.insert(subject) {
            format!("duplicate entry for {subject:?}")
        } else if *weight > 100 {
            "total weight needs to be <= 100".to_owned()
        } else if let Err(error) = Transform::new(source, subject) {
            error.to_string()
        } else {
            continue;
        };
        reader.error(
            place,
            format!("Error adding mapping for {source:?} : {wrong}"),
        );
        return None;
    }
    Some(destinations)
}

fn destination(node: &Node, reader: &mut Reader<'_>) -> Option<Destination> {
    let Value::Map(map) = &node.value else {
        reader.error(&node.place, "Expected an entry for the mapping destination");
        return None;
    };
    let mut subject = String::new();
    let mut weight = None;
    let mut cluster = None;
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        match key {
            "dest" | "destination" => subject = reader.text(key, node)?.to_owned(),
            "weight" => weight = Some(mapping_weight(node, reader)?),
            "cluster" => cluster = reader.text_given(key, node),
            _ => {
                let text = format!("Unknown field {:?} for mapping destination", entry.key);
                reader.error(&node.place, text);
                return None;
            }
        }
    }
    let Some(weight) = weight else {
        let text = format!("Missing weight for mapping destination {subject:?}");
        reader.error(&node.place, text);
        return None;
    };
    Some(Destination {
        subject,
        weight,
        cluster,
    })
}

fn mapping_weight(node: &Node, reader: &mut Reader<'_>) -> Option<u8> {
    let wrong = match &node.value {
        Value::Integer(number @ 0..=100) => return u8::try_from(*number).ok(),
        Value::Integer(number) => format!("Invalid weight {number} for mapping destination"),
        Value::Text(text) => {
            let digits = text.strip_suffix('%').unwrap_or(text);
            match digits.parse::<i64>() {
                Ok(number @ 0..=100) => return u8::try_from(number).ok(),
                Ok(number) => format!("Invalid weight {number} for mapping destination"),
                Err(_) => format!("Invalid weight {digits:?} for mapping destination"),
            }
        }
        other => format!("Unknown entry type for weight of {}", other.kind()),
    };
    reader.error(&node.place, wrong);
    None
}

/// What one account says about another. The place is that of all accounts, as in nats-server.
fn check_exports_and_imports(
    place: &Place,
    accounts: &[AccountDefinition],
    reader: &mut Reader<'_>,
) {
    let by_name: BTreeMap<&str, &AccountDefinition> = accounts
        .iter()
        .map(|account| (account.name.as_str(), account))
        .collect();
    for export in accounts.iter().flat_map(|account| &account.exports) {
        if let Err(text) = check_export(export, &by_name) {
            reader.error(place, text);
        }
    }
    let mut is_sound = true;
    for account in accounts {
        let mut imported = BTreeSet::new();
        for import in &account.imports {
            let is_first = imported.insert((&import.account, &import.subject))
                || matches!(import.kind, ImportKind::Service { .. });
            if let Err(text) = check_import(import, &account.name, is_first, &by_name) {
                reader.error(place, text);
                is_sound = false;
            }
        }
    }
    // Rings, and renamings that cannot be, show when accounts are joined.
    let joined: Vec<_> = accounts.iter().cloned().map(Arc::new).collect();
    if is_sound && let Err(error) = Directory::new(&joined, "", Imports::MustFit, None) {
        reader.error(place, error.text);
    }
}

fn check_export(
    export: &ExportDefinition,
    accounts: &BTreeMap<&str, &AccountDefinition>,
) -> Result<(), String> {
    let what = match export.kind {
        ExportKind::Stream => "stream",
        ExportKind::Service { .. } => "service",
    };
    for account in export.accounts.iter().flatten() {
        if !accounts.contains_key(account.as_str()) {
            return Err(format!("{account:?} account not defined for {what} export"));
        }
    }
    let subject = &export.subject;
    let wrong = |why: &str| Err(format!("Error adding {what} export {subject:?}: {why}"));
    if !subject::is_valid_pattern(subject.as_bytes()) {
        return wrong("invalid subject");
    }
    if export.account_token_position > 0
        && subject.split('.').nth(export.account_token_position - 1) != Some("*")
    {
        return wrong("invalid subject");
    }
    if let ExportKind::Service {
        latency: Some(latency),
        ..
    } = &export.kind
        && !subject::is_valid_literal(latency.subject.as_bytes())
    {
        let to = &latency.subject;
        return Err(format!(
            "Error adding service latency sampling for {subject:?} on subject {to:?}: invalid publish subject"
        ));
    }
    Ok(())
}

fn check_import(
    import: &ImportDefinition,
    importer: &str,
    is_first: bool,
    accounts: &BTreeMap<&str, &AccountDefinition>,
) -> Result<(), String> {
    let is_stream = matches!(import.kind, ImportKind::Stream { .. });
    let what = if is_stream { "stream" } else { "service" };
    let Some(exporter) = accounts.get(import.account.as_str()) else {
        let account = &import.account;
        return Err(format!("{account:?} account not defined for {what} import"));
    };
    let subject = &import.subject;
    let wrong = |why: &str| Err(format!("Error adding {what} import {subject:?}: {why}"));
    let is_allowed = subject::is_valid_pattern(subject.as_bytes())
        && exporter.exports.iter().any(|export| {
            matches!(export.kind, ExportKind::Stream) == is_stream
                && is_within(subject, &export.subject)
                && is_approved(export, importer, subject)
        });
    let to = import.to.as_deref().unwrap_or(subject);
    if !is_stream && !subject::is_valid_pattern(to.as_bytes()) {
        return wrong("invalid subject");
    }
    if !is_allowed {
        return wrong(&format!("{what} import not authorized"));
    }
    if !is_first {
        return wrong("stream import already exists");
    }
    Ok(())
}

fn is_approved(export: &ExportDefinition, importer: &str, subject: &str) -> bool {
    if export.account_token_position > 0 {
        return subject.split('.').nth(export.account_token_position - 1) == Some(importer);
    }
    let accounts = export.accounts.as_ref();
    accounts.is_none_or(|accounts| accounts.iter().any(|account| account == importer))
}

/// Whether all that matches `inner` matches `outer`.
fn is_within(inner: &str, outer: &str) -> bool {
    let mut inner = inner.split('.');
    for wanted in outer.split('.') {
        match (inner.next(), wanted) {
            (None, _) | (Some(">"), "*") => return false,
            (Some(_), ">") => return true,
            (Some(_), "*") => {}
            (Some(token), wanted) if token == wanted => {}
            (Some(_), _) => return false,
        }
    }
    inner.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn within() {
        for (inner, outer, expected) in [
            ("a", "a", true),
            ("a.b", "a.*", true),
            ("a.*", "a.*", true),
            ("a.b", "a.>", true),
            ("a.>", "a.>", true),
            ("a.>", "a.*", false),
            ("a", "a.>", false),
            ("a.*", "a.b", false),
            ("a.b.c", "a.*", false),
            (">", ">", true),
            ("*", ">", true),
        ] {
            assert_eq!(is_within(inner, outer), expected, "{inner} {outer}");
        }
    }
}
