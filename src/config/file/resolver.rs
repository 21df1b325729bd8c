//! Operators, account resolvers and trusted proxies. Tokens stay text here.

use std::path::Path;
use std::time::Duration;

use super::keys::{is_any_public_key, is_public_key};
use super::reader::Reader;
use crate::auth::definition::{AuthDefinition, ResolverDefinition};
use crate::config::conf::{Map, Node, Value};

/// What every JSON Web Token begins with: `{"` in base 64.
const TOKEN_PREFIX: &str = "eyJ";

/// Reads a key of the top level, if it is one of these.
pub fn key(key: &str, node: &Node, auth: &mut AuthDefinition, reader: &mut Reader<'_>) -> bool {
    match key {
        "operator" | "operators" | "roots" | "root" | "root_operators" | "root_operator" => {
            let named = reader.text_or_texts(key, node).unwrap_or_default();
            auth.operators = named
                .iter()
                .filter_map(|named| operator(named, node, reader))
                .collect();
        }
        "trusted" | "trusted_keys" => {
            auth.trusted_keys = reader.text_or_texts(key, node).unwrap_or_default();
            for key in &auth.trusted_keys {
                if !is_public_key(key, 'O') {
                    let text =
                        format!("trust key {key:?} required to be a valid public operator nkey");
                    reader.error(&node.place, text);
                }
            }
        }
        "resolver" | "account_resolver" | "accounts_resolver" => {
            auth.resolver = resolver(node, reader);
        }
        "resolver_preload" => preload(node, auth, reader),
        "resolver_pinned_accounts" => {
            auth.pinned_accounts = reader.text_or_texts(key, node).unwrap_or_default();
        }
        "proxies" => proxies(node, auth, reader),
        _ => return false,
    }
    true
}

/// Accounts that a callout may put users in must be there.
pub fn check_callout_accounts(auth: &AuthDefinition, reader: &mut Reader<'_>) {
    let allowed = auth.callout.iter().flat_map(|c| &c.allowed_accounts);
    for account in allowed {
        if !auth.accounts.iter().any(|known| known.name == *account) {
            reader.errors.push(format!(
                "auth_callout allowed account {account:?} not found in configured accounts"
            ));
        }
    }
}

/// The token of an operator, out of a file or as it stands.
fn operator(named: &str, node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let content = match reader.surroundings.read(Path::new(named)) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
        Err(_) if named.starts_with(TOKEN_PREFIX) => named.to_owned(),
        Err(error) => {
            let text = format!("error parsing operator JWT: {error}");
            reader.error(&node.place, text);
            return None;
        }
    };
    let token = undecorated(&content);
    if !token.starts_with(TOKEN_PREFIX) {
        let text = "error parsing operator JWT: expected a JSON Web Token";
        reader.error(&node.place, text);
        return None;
    }
    Some(token.to_owned())
}

/// The token between `-----BEGIN …-----` and `------END …------`, or the whole text.
fn undecorated(content: &str) -> &str {
    let mut lines = content.lines().map(str::trim);
    match lines.find(|line| line.starts_with("---")) {
        Some(_) => lines.find(|line| !line.is_empty()).unwrap_or_default(),
        None => content.trim(),
    }
}

fn resolver(node: &Node, reader: &mut Reader<'_>) -> Option<ResolverDefinition> {
    const WRONG: &str = "error parsing account resolver, should be MEM or  URL(\"url\") or a map containing dir and \
                         type state=[FULL|CACHE])";
    let resolver = match &node.value {
        Value::Text(text) => named_resolver(text),
        Value::Map(map) => directory_resolver(map, node, reader)?,
        other => {
            let kind = other.kind();
            let text = format!("error parsing operator resolver, wrong type {kind}");
            reader.error(&node.place, text);
            return None;
        }
    };
    if resolver.is_none() {
        reader.error(&node.place, WRONG);
    }
    resolver
}

/// `MEM`, `MEMORY` or `URL(address)`.
fn named_resolver(text: &str) -> Option<ResolverDefinition> {
    let upper = text.to_ascii_uppercase();
    if upper.contains("MEM") {
        return Some(ResolverDefinition::Memory);
    }
    let after = &text[upper.find("URL")? + "URL".len()..];
    let inside = after.trim_start().strip_prefix('(')?;
    let address = inside[..inside.rfind(')')?].trim().trim_matches('"');
    let is_http = address.starts_with("http://") || address.starts_with("https://");
    is_http.then(|| ResolverDefinition::Url(address.to_owned()))
}

/// `Some(None)` is a type that does not exist; `None` has been reported.
fn directory_resolver(
    map: &Map,
    node: &Node,
    reader: &mut Reader<'_>,
) -> Option<Option<ResolverDefinition>> {
    let errors_before = reader.errors.len();
    let mut directory = String::new();
    let mut kind = String::new();
    let (mut allow_delete, mut hard_delete) = (false, None);
    let mut limit = None;
    let (mut ttl, mut interval, mut timeout) = (None, None, None);
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        let mut duration = || -> Option<Duration> {
            let ns = reader.duration_text_ns(key, node)?;
            let ms = reader.not_negative_ms(key, node, ns)?;
            Some(Duration::from_millis(ms)).filter(|time| !time.is_zero())
        };
        match key {
            "ttl" => ttl = duration(),
            "interval" => interval = duration(),
            "timeout" => timeout = duration(),
            "dir" => directory = reader.text_given(key, node).unwrap_or_default(),
            "type" => kind = reader.text_given(key, node).unwrap_or_default(),
            "allow_delete" => allow_delete = reader.boolean(key, node).unwrap_or(false),
            "hard_delete" => hard_delete = reader.boolean(key, node),
            "limit" => {
                limit = reader
                    .number::<i64>(key, node)
                    .and_then(|n| usize::try_from(n).ok());
                limit = limit.filter(|limit| *limit > 0);
            }
            _ => reader.unknown(entry),
        }
    }
    let cache = match kind.to_uppercase().as_str() {
        "MEM" | "MEMORY" => return Some(Some(ResolverDefinition::Memory)),
        "CACHE" => true,
        "FULL" => false,
        _ => return Some(None),
    };
    let mut refuse = |is_wrong: bool, text: &str| {
        if is_wrong {
            reader.error(&node.place, text);
        }
    };
    refuse(
        directory.is_empty(),
        "dir has no value and needs to point to a directory",
    );
    refuse(cache && interval.is_some(), "CACHE does not accept sync");
    refuse(cache && allow_delete, "CACHE does not accept allow_delete");
    refuse(
        cache && hard_delete.is_some(),
        "CACHE does not accept hard_delete",
    );
    refuse(!cache && ttl.is_some(), "FULL does not accept ttl");
    refuse(
        !cache && hard_delete.is_some() && !allow_delete,
        "hard_delete has no effect without delete",
    );
    (reader.errors.len() == errors_before).then(|| {
        Some(ResolverDefinition::Directory {
            directory: directory.into(),
            cache,
            allow_delete,
            hard_delete: hard_delete.unwrap_or(false),
            limit,
            ttl,
            interval,
            timeout,
        })
    })
}

fn preload(node: &Node, auth: &mut AuthDefinition, reader: &mut Reader<'_>) {
    let Value::Map(map) = &node.value else {
        reader.error(
            &node.place,
            "preload should be a map of account_public_key:account_jwt",
        );
        return;
    };
    for entry in map.entries() {
        let place = &entry.node.place;
        match &entry.node.value {
            Value::Text(token) if token.trim().starts_with(TOKEN_PREFIX) => {
                let (key, token) = (entry.key.clone(), token.trim().to_owned());
                auth.resolver_preload.push((key, token));
            }
            Value::Text(_) => reader.error(place, "invalid account JWT"),
            _ => reader.error(place, "preload map value should be a string JWT"),
        }
    }
}

fn proxies(node: &Node, auth: &mut AuthDefinition, reader: &mut Reader<'_>) {
    let Value::Map(map) = &node.value else {
        let kind = node.value.kind();
        let text = format!("expected proxies to be a map/struct, got {kind}");
        reader.error(&node.place, text);
        return;
    };
    auth.proxies.clear();
    for entry in map.entries() {
        match entry.key.to_lowercase().as_str() {
            "trusted" => trusted_proxies(&entry.node, auth, reader),
            _ => reader.unknown(entry),
        }
    }
}

fn trusted_proxies(node: &Node, auth: &mut AuthDefinition, reader: &mut Reader<'_>) {
    let Value::Array(nodes) = &node.value else {
        let kind = node.value.kind();
        let text = format!("expected proxies' trusted field to be an array, got {kind}");
        reader.error(&node.place, text);
        return;
    };
    for node in nodes {
        let Value::Map(map) = &node.value else {
            let kind = node.value.kind();
            let text = format!("expected proxies' trusted entry to be a map/struct, got {kind}");
            reader.error(&node.place, text);
            continue;
        };
        for entry in map.entries() {
            let key = entry.key.to_lowercase();
            match key.as_str() {
                "key" | "public_key" => match reader.text(&key, &entry.node) {
                    Some(proxy) if is_any_public_key(proxy) => {
                        auth.proxies.push(proxy.to_owned());
                    }
                    Some(proxy) => {
                        let text = format!("invalid proxy key {proxy:?}");
                        reader.error(&entry.node.place, text);
                    }
                    None => {}
                },
                _ => reader.unknown(entry),
            }
        }
    }
}
