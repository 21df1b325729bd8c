//! `authorization` blocks and users.

use std::collections::BTreeSet;

use super::keys::is_public_key;
use super::permissions;
use super::reader::Reader;
use crate::auth::definition::{
    AuthDefinition, CalloutDefinition, ConnectionType, PermissionRules, Secret, UserDefinition,
};
use crate::config::conf::{Node, Place, Value};

/// The account of those that have no other.
pub const GLOBAL_ACCOUNT: &str = "$G";
/// Timeouts above this are probably a number with a unit that was meant as a time.
const TIMEOUT_HIGH_MS: u64 = 60_000;

/// One `authorization` block.
#[derive(Default)]
pub struct Authorization {
    pub user: Option<String>,
    pub pass: Option<Secret>,
    /// The password is there for others to refer to, or not only for that.
    is_pass_referred_to: bool,
    pub token: Option<Secret>,
    /// `None` without `users`.
    pub users: Option<Vec<UserDefinition>>,
    pub timeout_ms: Option<u64>,
    pub default_permissions: Option<PermissionRules>,
    pub callout: Option<CalloutDefinition>,
    pub proxy_required: bool,
}

/// Reads the block for clients; the timeout in it.
pub fn top_level(node: &Node, auth: &mut AuthDefinition, reader: &mut Reader<'_>) -> Option<u64> {
    let block = read(node, reader)?;
    let place = &node.place;
    auth.user = block.user;
    auth.pass = block.pass;
    auth.token = block.token;
    auth.callout = block.callout;
    auth.proxy_required = block.proxy_required;
    let is_single = auth.user.is_some();
    // nats-server starts, open to everyone.
    if auth.pass.is_some() && !is_single && auth.token.is_none() && !block.is_pass_referred_to {
        reader.error(place, "a password without a user protects nothing");
    }
    if (is_single || auth.pass.is_some()) && auth.token.is_some() {
        reader.error(place, "Cannot have a user/pass and token");
    } else if block.users.is_some() || !auth.users.is_empty() {
        if is_single {
            reader.error(place, "Can not have a single user/pass and a users array");
        } else if auth.token.is_some() {
            reader.error(place, "Can not have a token and a users array");
        }
    }
    add_users(block.users.unwrap_or_default(), place, auth, reader);
    block.timeout_ms
}

/// Adds users, each of which must be new.
pub fn add_users(
    users: Vec<UserDefinition>,
    place: &Place,
    auth: &mut AuthDefinition,
    reader: &mut Reader<'_>,
) {
    let name_of = |user: &UserDefinition| user.nkey.clone().or_else(|| user.name.clone());
    let mut known: BTreeSet<_> = auth.users.iter().filter_map(name_of).collect();
    for user in users {
        if let Some(name) = name_of(&user)
            && !known.insert(name.clone())
        {
            let what = if user.nkey.is_some() { "nkey" } else { "user" };
            reader.error(place, format!("Duplicate {what} {name:?} detected"));
            continue;
        }
        auth.users.push(user);
    }
}

/// Reads a block, with defaults applied to its users.
pub fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Authorization> {
    let map = reader.map("authorization", node)?;
    let mut block = Authorization::default();
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        match key {
            "user" | "username" => block.user = reader.text_given(key, node),
            "pass" | "password" => {
                block.pass = reader.text_given(key, node).map(Secret);
                block.is_pass_referred_to = entry.is_variable;
            }
            "token" => block.token = reader.text_given(key, node).map(Secret),
            "timeout" => block.timeout_ms = timeout_ms(key, node, reader),
            "users" => block.users = users(node, reader),
            "default_permission" | "default_permissions" | "permissions" => {
                block.default_permissions = permissions::read(node, reader);
            }
            "auth_callout" | "auth_hook" => block.callout = callout(node, reader),
            "proxy_required" => {
                block.proxy_required = reader.boolean(key, node).unwrap_or(false);
            }
            _ => reader.unknown(entry),
        }
    }
    apply_defaults(
        block.users.as_deref_mut().unwrap_or_default(),
        block.default_permissions.as_ref(),
    );
    Some(block)
}

/// Gives permissions to users that have none of their own.
pub fn apply_defaults(users: &mut [UserDefinition], defaults: Option<&PermissionRules>) {
    for user in users {
        if user.permissions.is_none() {
            user.permissions = defaults.cloned();
        }
    }
}

fn timeout_ms(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<u64> {
    let timeout_ms = reader.timeout_ms(key, "authorization", node)?;
    if timeout_ms > TIMEOUT_HIGH_MS {
        let written = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Float(number) => number.to_string(),
            _ => (timeout_ms / 1000).to_string(),
        };
        let seconds = timeout_ms as f64 / 1000.0;
        let text = format!(
            "timeout of {written} ({seconds:.6} seconds) is high, consider keeping it under 60 seconds. possibly \
             caused by unquoted duration; use '1m' instead of 1m, for example"
        );
        reader.warn(key, &node.place, text);
    }
    Some(timeout_ms)
}

/// Reads `users`; what is wrong with one leaves it out.
pub fn users(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<UserDefinition>> {
    let Value::Array(nodes) = &node.value else {
        let kind = node.value.kind();
        let text = format!("Expected users field to be an array, got {kind}");
        reader.error(&node.place, text);
        return None;
    };
    Some(nodes.iter().filter_map(|node| user(node, reader)).collect())
}

fn user(node: &Node, reader: &mut Reader<'_>) -> Option<UserDefinition> {
    let Value::Map(map) = &node.value else {
        let kind = node.value.kind();
        let text = format!("Expected user entry to be a map/struct, got {kind}");
        reader.error(&node.place, text);
        return None;
    };
    let mut user = UserDefinition::default();
    let mut place = &node.place;
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        match key {
            "nkey" => {
                user.nkey = reader.text_given(key, node);
                place = &node.place;
            }
            "user" | "username" => user.name = reader.text_given(key, node),
            "pass" | "password" => user.pass = reader.text_given(key, node).map(Secret),
            "permission" | "permissions" | "authorization" => {
                user.permissions = permissions::read(node, reader);
            }
            "allowed_connection_types" | "connection_types" | "clients" => {
                user.connection_types = connection_types(node, reader);
            }
            "proxy_required" => {
                user.proxy_required = reader.boolean(key, node).unwrap_or(false);
            }
            _ => reader.unknown(entry),
        }
    }
    let wrong = match &user.nkey {
        None if user.name.is_none() => "User entry requires a user",
        None => return Some(user),
        Some(nkey) if !is_public_key(nkey, 'U') => "Not a valid public nkey for a user",
        Some(_) if user.name.is_some() || user.pass.is_some() => {
            "Nkey users do not take usernames or passwords"
        }
        Some(_) => return Some(user),
    };
    reader.error(place, wrong);
    None
}

fn connection_types(node: &Node, reader: &mut Reader<'_>) -> Option<BTreeSet<ConnectionType>> {
    let names = reader.text_or_texts("allowed connection types", node)?;
    let mut types = BTreeSet::new();
    for name in names {
        match ConnectionType::parse(&name) {
            Some(known) => {
                types.insert(known);
            }
            None => reader.error(
                &node.place,
                format!("invalid connection types [{:?}]", name.to_uppercase()),
            ),
        }
    }
    // Without an entry it restricts nothing.
    Some(types).filter(|types| !types.is_empty())
}

fn callout(node: &Node, reader: &mut Reader<'_>) -> Option<CalloutDefinition> {
    let Value::Map(map) = &node.value else {
        let kind = node.value.kind();
        let text = format!("Expected authorization callout to be a map/struct, got {kind}");
        reader.error(&node.place, text);
        return None;
    };
    let mut callout = CalloutDefinition {
        issuer: String::new(),
        account: GLOBAL_ACCOUNT.to_owned(),
        users: Vec::new(),
        xkey: None,
        allowed_accounts: Vec::new(),
    };
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        match key {
            "issuer" => {
                let issuer = reader.text(key, node)?;
                if !is_public_key(issuer, 'A') {
                    let text = format!(
                        "Expected callout user to be a valid public account nkey, got {issuer:?}"
                    );
                    reader.error(&node.place, text);
                    return None;
                }
                callout.issuer = issuer.to_owned();
            }
            "account" | "acc" => {
                if let Some(account) = reader.text_given(key, node) {
                    callout.account = account;
                }
            }
            "auth_users" | "users" => {
                callout.users = reader.texts(key, node).unwrap_or_default();
            }
            "xkey" | "key" => {
                let xkey = reader.text(key, node)?;
                if !is_public_key(xkey, 'X') {
                    let text =
                        format!("Expected callout xkey to be a valid public xkey, got {xkey:?}");
                    reader.error(&node.place, text);
                    return None;
                }
                callout.xkey = Some(xkey.to_owned());
            }
            "allowed_accounts" => {
                callout.allowed_accounts = reader.texts(key, node).unwrap_or_default();
            }
            _ => reader.unknown_saying(
                entry,
                format!(
                    "Unknown field {:?} parsing authorization callout",
                    entry.key
                ),
            ),
        }
    }
    let missing = match (callout.issuer.is_empty(), callout.users.is_empty()) {
        (true, _) => "Authorization callouts require an issuer to be specified",
        (_, true) => "Authorization callouts require authorized users to be specified",
        (false, false) => return Some(callout),
    };
    reader.error(&node.place, missing);
    None
}
