//! Keys of parts that are not built yet: their form is checked, and then they are refused.
//!
//! What turns such a part off is let pass, as is what means nothing without it. When a part is built its keys move out
//! of these tables.

use super::authorization;
use super::keys::is_public_key;
use super::permissions;
use super::reader::Reader;
use super::tls::{self, Side};
use super::{listen, port};
use crate::config::conf::{Map, Node, Value};

/// What a value may be.
enum Form {
    Bool,
    Integer,
    /// From, to.
    Range(i64, i64),
    Text,
    Word(&'static [&'static str]),
    /// A string, or a number of seconds.
    Duration,
    /// Seconds, whole or not, or a duration.
    Timeout,
    Port,
    Listen,
    Texts,
    TextOrTexts,
    /// Any keys.
    TextMap,
    BoolMap,
    Map(&'static [Key]),
    /// An array of maps.
    Maps(&'static [Key]),
    /// The first that is for such a value.
    OneOf(&'static [Form]),
    Tls(Side),
    /// `authorization` of other servers: one user.
    ServerAuthorization(&'static str),
    Permissions,
    Subjects,
    UserKey,
    /// Windows, and settings that are read but have no effect.
    Anything,
}

struct Key {
    names: &'static [&'static str],
    form: Form,
}

const fn key_of(names: &'static [&'static str], form: Form) -> Key {
    Key { names, form }
}

const COMPRESSION: Form = Form::OneOf(&[
    Form::Bool,
    Form::Text,
    Form::Map(&[
        key_of(&["mode"], Form::Text),
        key_of(
            &["rtt_thresholds", "thresholds", "rtts", "rtt"],
            Form::Texts,
        ),
    ]),
]);
const WRITE_TIMEOUT: Form = Form::Word(&["default", "close", "retry"]);

const TOP: &[Key] = &[
    key_of(&["cluster"], Form::Map(CLUSTER)),
    key_of(&["gateway"], Form::Map(GATEWAY)),
    key_of(&["leaf", "leafnodes"], Form::Map(LEAF_NODES)),
    key_of(&["websocket", "ws"], Form::Map(WEBSOCKET)),
    key_of(&["mqtt"], Form::Map(MQTT)),
    key_of(&["prof_port"], Form::Integer),
    key_of(&["proxy_protocol"], Form::Bool),
    key_of(&["feature_flags"], Form::BoolMap),
    key_of(&["default_js_domain"], Form::TextMap),
];

/// Of parts that are not there, but without an effect of their own.
const WITHOUT_EFFECT: &[Key] = &[
    // Only of `ocsp_peer`.
    key_of(
        &["ocsp_cache"],
        Form::OneOf(&[
            Form::Bool,
            Form::Map(&[
                key_of(&["type"], Form::Word(&["none", "local"])),
                key_of(&["local_store"], Form::Text),
                key_of(&["preserve_revoked"], Form::Bool),
                key_of(&["save_interval"], Form::Timeout),
            ]),
        ]),
    ),
];

const CLUSTER: &[Key] = &[
    key_of(&["name"], Form::Text),
    key_of(&["listen"], Form::Listen),
    key_of(&["port"], Form::Port),
    key_of(&["host", "net"], Form::Text),
    key_of(&["authorization"], Form::ServerAuthorization("Cluster")),
    key_of(&["routes"], Form::Texts),
    key_of(&["tls"], Form::Tls(Side::Cluster)),
    key_of(&["cluster_advertise", "advertise"], Form::Text),
    key_of(&["no_advertise"], Form::Bool),
    key_of(&["connect_retries"], Form::Integer),
    key_of(&["connect_backoff"], Form::Bool),
    key_of(&["permissions"], Form::Permissions),
    key_of(&["pool_size"], Form::Integer),
    key_of(&["accounts"], Form::TextOrTexts),
    key_of(&["compression"], COMPRESSION),
    key_of(&["ping_interval"], Form::Duration),
    key_of(&["ping_max"], Form::Integer),
    key_of(&["write_deadline"], Form::Duration),
    key_of(&["write_timeout"], WRITE_TIMEOUT),
];

const GATEWAY: &[Key] = &[
    key_of(&["name"], Form::Text),
    key_of(&["listen"], Form::Listen),
    key_of(&["port"], Form::Port),
    key_of(&["host", "net"], Form::Text),
    key_of(&["authorization"], Form::ServerAuthorization("Gateway")),
    key_of(&["tls"], Form::Tls(Side::Cluster)),
    key_of(&["advertise"], Form::Text),
    key_of(&["connect_retries"], Form::Integer),
    key_of(&["connect_backoff"], Form::Bool),
    key_of(
        &["gateways"],
        Form::Maps(&[
            key_of(&["name"], Form::Text),
            key_of(&["tls"], Form::Tls(Side::Cluster)),
            key_of(&["url"], Form::Text),
            key_of(&["urls"], Form::Texts),
        ]),
    ),
    key_of(&["reject_unknown", "reject_unknown_cluster"], Form::Bool),
    key_of(&["write_deadline"], Form::Duration),
    key_of(&["write_timeout"], WRITE_TIMEOUT),
];

const LEAF_NODES: &[Key] = &[
    key_of(&["listen"], Form::Listen),
    key_of(&["port"], Form::Port),
    key_of(&["host", "net"], Form::Text),
    key_of(
        &["authorization"],
        Form::Map(&[
            key_of(&["user", "username"], Form::Text),
            key_of(&["pass", "password"], Form::Text),
            key_of(&["nkey"], Form::UserKey),
            key_of(&["timeout"], Form::Timeout),
            key_of(
                &["users"],
                Form::Maps(&[
                    key_of(&["user", "username"], Form::Text),
                    key_of(&["pass", "password"], Form::Text),
                    key_of(&["account"], Form::Text),
                    key_of(&["proxy_required"], Form::Bool),
                ]),
            ),
            key_of(&["account"], Form::Text),
            key_of(&["proxy_required"], Form::Bool),
        ]),
    ),
    key_of(&["remotes"], Form::Maps(LEAF_REMOTE)),
    key_of(
        &["reconnect", "reconnect_delay", "reconnect_interval"],
        Form::Duration,
    ),
    key_of(&["dial_timeout"], Form::Duration),
    key_of(&["tls"], Form::Tls(Side::Server)),
    key_of(&["leafnode_advertise", "advertise"], Form::Text),
    key_of(&["no_advertise"], Form::Bool),
    key_of(&["min_version", "minimum_version"], Form::Text),
    key_of(&["compression"], COMPRESSION),
    key_of(&["isolate_leafnode_interest", "isolate"], Form::Bool),
    key_of(&["write_deadline"], Form::Duration),
    key_of(&["write_timeout"], WRITE_TIMEOUT),
];

const LEAF_REMOTE: &[Key] = &[
    key_of(&["no_randomize", "dont_randomize"], Form::Bool),
    key_of(&["url", "urls"], Form::TextOrTexts),
    key_of(&["account", "local"], Form::Text),
    key_of(&["creds", "credentials"], Form::Text),
    key_of(&["nkey", "seed"], Form::Text),
    key_of(&["tls"], Form::Tls(Side::Client)),
    key_of(&["hub"], Form::Bool),
    key_of(&["deny_imports", "deny_import"], Form::Subjects),
    key_of(&["deny_exports", "deny_export"], Form::Subjects),
    key_of(
        &[
            "ws_compress",
            "ws_compression",
            "websocket_compress",
            "websocket_compression",
        ],
        Form::Bool,
    ),
    key_of(&["ws_no_masking", "websocket_no_masking"], Form::Bool),
    key_of(
        &["jetstream_cluster_migrate", "js_cluster_migrate"],
        Form::OneOf(&[
            Form::Bool,
            Form::Map(&[key_of(&["leader_migrate_delay"], Form::Duration)]),
        ]),
    ),
    key_of(&["isolate_leafnode_interest", "isolate"], Form::Bool),
    key_of(&["request_isolation"], Form::Bool),
    key_of(&["compression"], COMPRESSION),
    key_of(&["first_info_timeout"], Form::Duration),
    key_of(&["dial_timeout"], Form::Duration),
    key_of(&["disabled"], Form::Bool),
    key_of(
        &["proxy"],
        Form::Map(&[
            key_of(&["url"], Form::Text),
            key_of(&["username"], Form::Text),
            key_of(&["password"], Form::Text),
            key_of(&["timeout"], Form::Duration),
        ]),
    ),
    key_of(&["ignore_discovered_servers"], Form::Bool),
];

const SIMPLE_AUTHORIZATION: Form = Form::Map(&[
    key_of(&["user", "username"], Form::Text),
    key_of(&["pass", "password"], Form::Text),
    key_of(&["token"], Form::Text),
    key_of(&["timeout"], Form::Timeout),
]);

const WEBSOCKET: &[Key] = &[
    key_of(&["listen"], Form::Listen),
    key_of(&["port"], Form::Port),
    key_of(&["host", "net"], Form::Text),
    key_of(&["advertise"], Form::Text),
    key_of(&["no_tls"], Form::Bool),
    key_of(&["tls"], Form::Tls(Side::Server)),
    key_of(&["same_origin"], Form::Bool),
    key_of(
        &[
            "allowed_origins",
            "allowed_origin",
            "allow_origins",
            "allow_origin",
            "origins",
            "origin",
        ],
        Form::TextOrTexts,
    ),
    key_of(&["handshake_timeout"], Form::Timeout),
    key_of(&["compress", "compression"], Form::Bool),
    key_of(&["authorization", "authentication"], SIMPLE_AUTHORIZATION),
    key_of(
        &["jwt_cookie", "user_cookie", "pass_cookie", "token_cookie"],
        Form::Text,
    ),
    key_of(&["no_auth_user"], Form::Text),
    key_of(&["headers"], Form::TextMap),
    key_of(&["ping_interval"], Form::Duration),
];

const MQTT: &[Key] = &[
    key_of(&["listen"], Form::Listen),
    key_of(&["port"], Form::Port),
    key_of(&["host", "net"], Form::Text),
    key_of(&["tls"], Form::Tls(Side::Server)),
    key_of(&["authorization", "authentication"], SIMPLE_AUTHORIZATION),
    key_of(&["no_auth_user"], Form::Text),
    key_of(&["ack_wait", "ackwait"], Form::Duration),
    key_of(&["js_api_timeout", "api_timeout"], Form::Duration),
    key_of(
        &["max_ack_pending", "max_pending", "max_inflight"],
        Form::Range(0, 0xffff),
    ),
    key_of(&["js_domain"], Form::Text),
    key_of(&["stream_replicas"], Form::Integer),
    key_of(&["consumer_replicas"], Form::Anything),
    key_of(&["consumer_memory_storage"], Form::Bool),
    key_of(
        &["consumer_inactive_threshold", "consumer_auto_cleanup"],
        Form::Duration,
    ),
    key_of(&["reject_qos2_publish"], Form::Bool),
    key_of(&["downgrade_qos2_subscribe"], Form::Bool),
];

/// Reads a key of the top level, if it is one of these.
pub fn key(key: &str, node: &Node, reader: &mut Reader<'_>) -> bool {
    if let Some(found) = find(WITHOUT_EFFECT, key) {
        check(&found.form, key, node, reader);
    } else if let Some(found) = find(TOP, key) {
        check(&found.form, key, node, reader);
        refuse(key, node, reader);
    } else {
        return false;
    }
    true
}

fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.names.contains(&name))
}

fn refuse(key: &str, node: &Node, reader: &mut Reader<'_>) {
    if !is_off(&node.value) {
        reader.not_supported_yet(key, &node.place);
    }
}

/// Whether a part is turned off by this.
fn is_off(value: &Value) -> bool {
    let is = |value: &Value, off: &[&str]| match value {
        Value::Text(text) => off.iter().any(|off| text.eq_ignore_ascii_case(off)),
        Value::Bool(on) => !on,
        _ => false,
    };
    match value {
        Value::Integer(number) => *number == 0,
        Value::Map(map) => {
            let mut entries = map.entries().iter();
            let enabled = entries.find(|entry| {
                entry.key.eq_ignore_ascii_case("enabled")
                    || entry.key.eq_ignore_ascii_case("enable")
            });
            map.is_empty()
                || enabled.is_some_and(|entry| is(&entry.node.value, &[]))
                || map.entries().iter().all(|e| is(&e.node.value, &[]))
        }
        other => is(other, &["", "disabled", "disable"]),
    }
}

fn check(form: &Form, key: &str, node: &Node, reader: &mut Reader<'_>) {
    match form {
        Form::Bool => drop(reader.boolean(key, node)),
        Form::Integer => drop(reader.integer(key, node)),
        Form::Range(from, to) => {
            if let Some(number) = reader.integer(key, node)
                && !(*from..=*to).contains(&number)
            {
                let text =
                    format!("{key}: invalid value {number}, should be in [{from}..{to}] range");
                reader.error(&node.place, text);
            }
        }
        Form::Text => drop(reader.text(key, node)),
        Form::Word(words) => {
            if let Some(text) = reader.text(key, node)
                && !words.iter().any(|word| text.eq_ignore_ascii_case(word))
            {
                let text = format!("{key}: expected one of {words:?}, got {text:?}");
                reader.error(&node.place, text);
            }
        }
        Form::Duration => drop(reader.duration_ns(key, node)),
        Form::Timeout => drop(reader.timeout_ms(key, key, node)),
        Form::Port => {
            if let Some(number) = reader.integer(key, node) {
                port(number, &node.place, reader);
            }
        }
        Form::Listen => drop(listen(node, reader)),
        Form::Texts => drop(reader.texts(key, node)),
        Form::TextOrTexts => drop(reader.text_or_texts(key, node)),
        Form::TextMap => {
            for entry in reader.map(key, node).map_or(&[][..], Map::entries) {
                reader.text(&entry.key, &entry.node);
            }
        }
        Form::BoolMap => {
            for entry in reader.map(key, node).map_or(&[][..], Map::entries) {
                reader.boolean(&entry.key, &entry.node);
            }
        }
        Form::Map(keys) => check_map(keys, key, node, reader),
        Form::Maps(keys) => {
            for node in reader.array(key, node).unwrap_or_default() {
                check_map(keys, key, node, reader);
            }
        }
        Form::OneOf(forms) => {
            let last = forms.last();
            let fitting = forms.iter().find(|form| is_for(form, &node.value));
            if let Some(form) = fitting.or(last) {
                check(form, key, node, reader);
            }
        }
        Form::Tls(side) => drop(tls::read(node, *side, reader)),
        Form::ServerAuthorization(part) => check_server_authorization(part, node, reader),
        Form::Permissions => drop(permissions::read(node, reader)),
        Form::Subjects => drop(permissions::subjects(node, false, reader)),
        Form::UserKey => {
            if let Some(text) = reader.text(key, node)
                && !is_public_key(text, 'U')
            {
                let text = "Not a valid public nkey for leafnode authorization";
                reader.error(&node.place, text);
            }
        }
        Form::Anything => {}
    }
}

/// Whether a form is meant for such values, right or wrong.
fn is_for(form: &Form, value: &Value) -> bool {
    matches!(
        (form, value),
        (Form::Bool, Value::Bool(_))
            | (Form::Map(_), Value::Map(_))
            | (Form::Text, Value::Text(_))
            | (Form::Duration, Value::Text(_) | Value::Integer(_))
    )
}

fn check_map(keys: &'static [Key], name: &str, node: &Node, reader: &mut Reader<'_>) {
    for entry in reader.map(name, node).map_or(&[][..], Map::entries) {
        let key = entry.key.to_lowercase();
        match find(keys, &key) {
            Some(found) => check(&found.form, &key, &entry.node, reader),
            None => reader.unknown(entry),
        }
    }
}

fn check_server_authorization(part: &str, node: &Node, reader: &mut Reader<'_>) {
    let Some(block) = authorization::read(node, reader) else {
        return;
    };
    let wrong = if block.users.is_some() {
        "does not allow multiple users"
    } else if block.token.is_some() {
        "does not support tokens"
    } else if block.callout.is_some() {
        "does not support callouts"
    } else {
        if part == "Cluster" && block.default_permissions.is_some() {
            let text = "setting \"permissions\" within cluster authorization block is deprecated";
            reader.warn("authorization", &node.place, text);
        }
        return;
    };
    reader.error(&node.place, format!("{part} authorization {wrong}"));
}
