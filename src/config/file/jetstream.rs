//! `jetstream` of the server and of accounts.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::{set_not_0, set_some};
use crate::auth::definition::{JetStreamAccess, JetStreamLimits, Secret};
use crate::config::conf::{Map, Node, Value};
use crate::config::jetstream::{AssetLimits, Cipher, JetStreamOptions, Sync};

/// Reads `jetstream` of the server. A map turns it on, even an empty one.
pub fn read(node: &Node, options: &mut JetStreamOptions, reader: &mut Reader<'_>) {
    match &node.value {
        Value::Map(map) => {
            let mut enabled = true;
            for entry in map.entries() {
                let key = entry.key.to_lowercase();
                if !server_key(&key, &entry.node, options, &mut enabled, reader) {
                    reader.unknown(entry);
                }
            }
            options.enabled = enabled;
        }
        _ => set_some(&mut options.enabled, on_or_off(node, reader)),
    }
}

/// Reads the folder, which may also be given at the top level, but only once.
pub fn store_dir(key: &str, node: &Node, options: &mut JetStreamOptions, reader: &mut Reader<'_>) {
    if options.store_dir.is_some() {
        reader.error(&node.place, "Duplicate 'store_dir' configuration");
        return;
    }
    options.store_dir = reader.text_given(key, node).map(PathBuf::from);
}

/// Reads `jetstream` of an account.
pub fn of_account(node: &Node, reader: &mut Reader<'_>) -> JetStreamAccess {
    let mut limits = JetStreamLimits::UNLIMITED;
    let Value::Map(map) = &node.value else {
        return match on_or_off(node, reader) {
            Some(true) => JetStreamAccess::Limits(limits),
            Some(false) | None => JetStreamAccess::None,
        };
    };
    for entry in map.entries() {
        let (key, node) = (entry.key.to_lowercase(), &entry.node);
        let limit = match key.as_str() {
            "max_memory" | "max_mem" | "mem" | "memory" => &mut limits.memory_bytes,
            "max_store" | "max_file" | "max_disk" | "store" | "disk" => &mut limits.disk_bytes,
            "max_streams" | "streams" => &mut limits.streams,
            "max_consumers" | "consumers" => &mut limits.consumers,
            "mem_max_stream_bytes" | "memory_max_stream_bytes" => &mut limits.memory_stream_bytes,
            "disk_max_stream_bytes" | "store_max_stream_bytes" => &mut limits.disk_stream_bytes,
            "max_ack_pending" => &mut limits.ack_pending,
            "max_bytes_required" | "max_stream_bytes" | "max_bytes" => {
                let required = reader.boolean(&key, node);
                set_some(&mut limits.stream_bytes_required, required);
                continue;
            }
            // Between servers, of which there is one.
            "cluster_traffic" => {
                if let Some(text) = reader.text(&key, node)
                    && !matches!(text, "system" | "owner" | "")
                {
                    let text = format!(
                        "Expected 'system' or 'owner' string value for {:?}, got {text}",
                        entry.key
                    );
                    reader.error(&node.place, text);
                }
                continue;
            }
            _ => {
                reader.unknown(entry);
                continue;
            }
        };
        set_some(limit, reader.integer(&key, node));
    }
    JetStreamAccess::Limits(limits)
}

fn on_or_off(node: &Node, reader: &mut Reader<'_>) -> Option<bool> {
    let wrong = match &node.value {
        Value::Bool(on) => return Some(*on),
        Value::Text(text) => match text.to_lowercase().as_str() {
            "enabled" | "enable" => return Some(true),
            "disabled" | "disable" => return Some(false),
            _ => format!("Expected 'enabled' or 'disabled' for string value, got '{text}'"),
        },
        other => {
            let kind = other.kind();
            format!("Expected map, bool or string to define JetStream, got {kind}")
        }
    };
    reader.error(&node.place, wrong);
    None
}

/// Reads a key of the server's map, if it is one.
fn server_key(
    key: &str,
    node: &Node,
    options: &mut JetStreamOptions,
    enabled: &mut bool,
    reader: &mut Reader<'_>,
) -> bool {
    match key {
        "enable" | "enabled" => set_some(enabled, reader.boolean(key, node)),
        "strict" => set_some(&mut options.strict, reader.boolean(key, node)),
        "store" | "store_dir" | "storedir" => store_dir(key, node, options, reader),
        "sync" | "sync_interval" => set_some(&mut options.sync, sync(key, node, reader)),
        // A negative one asks for what there is.
        "max_memory_store" | "max_mem_store" | "max_mem" => {
            let bytes = size("max_mem_store", node, reader);
            options.max_memory_bytes = bytes.filter(|bytes| *bytes >= 0);
        }
        "max_file_store" | "max_file" => {
            let bytes = size("max_file_store", node, reader);
            options.max_storage_bytes = bytes.filter(|bytes| *bytes >= 0);
        }
        "domain" => options.domain = reader.text_given(key, node),
        "key" | "ek" | "encryption_key" => options.key = secret(key, node, reader),
        "prev_key" | "prev_ek" | "prev_encryption_key" => {
            options.previous_key = secret(key, node, reader);
        }
        "cipher" => set_some(&mut options.cipher, cipher(key, node, reader)),
        "limits" => limits(key, node, &mut options.limits, reader),
        "tpm" => {
            tpm(key, node, reader);
            reader.not_supported_yet("jetstream.tpm", &node.place);
        }
        "unique_tag" => {
            let tag = reader.text(key, node).map(|tag| tag.trim().to_lowercase());
            options.unique_tag = tag.filter(|tag| !tag.is_empty());
        }
        "max_buffered_size" => {
            set_not_0(&mut options.max_buffered_bytes, size(key, node, reader));
        }
        "max_buffered_msgs" => {
            set_not_0(
                &mut options.max_buffered_messages,
                reader.integer(key, node),
            );
        }
        "request_queue_limit" => set_not_0(&mut options.request_queue, reader.integer(key, node)),
        "info_queue_limit" => set_not_0(&mut options.info_queue, reader.integer(key, node)),
        // Between servers, of which there is one; and files, of which this one has few.
        "extension_hint" => drop(reader.text(key, node)),
        "max_outstanding_catchup" => drop(size(key, node, reader)),
        "meta_compact" => {
            if let Some(number @ ..0) = reader.integer(key, node) {
                not_absolute(key, "", number, node, reader);
            }
        }
        "meta_compact_size" => {
            if let Some(number @ ..0) = size(key, node, reader) {
                not_absolute(key, "", number, node, reader);
            }
        }
        "meta_compact_sync" => drop(reader.boolean(key, node)),
        "max_concurrent_io" => match reader.integer(key, node) {
            None | Some(4..=8192) => {}
            Some(number) => not_absolute(key, " between 4 and 8192", number, node, reader),
        },
        _ => return false,
    }
    true
}

fn secret(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<Secret> {
    reader.text_given(key, node).map(Secret)
}

fn sync(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<Sync> {
    match &node.value {
        Value::Text(text) if text.eq_ignore_ascii_case("always") => Some(Sync::Always),
        _ => match reader.duration_ns(key, node)? {
            // 0 stands for the default.
            ..=0 => Some(Sync::default()),
            ns => Some(Sync::Every(Duration::from_nanos(ns.unsigned_abs()))),
        },
    }
}

fn cipher(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<Cipher> {
    let text = reader.text(key, node)?;
    match text.to_lowercase().as_str() {
        "chacha" | "chachapoly" => Some(Cipher::ChaCha),
        "aes" => Some(Cipher::Aes),
        _ => {
            reader.error(&node.place, format!("Unknown cipher type: {text:?}"));
            None
        }
    }
}

fn limits(key: &str, node: &Node, limits: &mut AssetLimits, reader: &mut Reader<'_>) {
    for entry in reader.map(key, node).map_or(&[][..], Map::entries) {
        let (key, node) = (entry.key.to_lowercase(), &entry.node);
        let (place, value) = match key.as_str() {
            "max_ack_pending" => (&mut limits.max_ack_pending, reader.integer(&key, node)),
            // Copies, of which there is one.
            "max_ha_assets" => {
                reader.integer(&key, node);
                continue;
            }
            "max_request_batch" => (&mut limits.max_request_batch, reader.integer(&key, node)),
            "duplicate_window" => (
                &mut limits.duplicate_window_ns,
                reader.duration_text_ns(&key, node),
            ),
            "batch" => {
                batch_limits(&key, node, limits, reader);
                continue;
            }
            _ => {
                reader.unknown(entry);
                continue;
            }
        };
        set_some(place, value);
    }
}

fn batch_limits(key: &str, node: &Node, limits: &mut AssetLimits, reader: &mut Reader<'_>) {
    for entry in reader.map(key, node).map_or(&[][..], Map::entries) {
        let (key, node) = (entry.key.to_lowercase(), &entry.node);
        let (place, value) = match key.as_str() {
            "max_inflight_per_stream" => {
                (&mut limits.batches_per_stream, reader.integer(&key, node))
            }
            "max_inflight_total" => (&mut limits.batches, reader.integer(&key, node)),
            "max_msgs" => (&mut limits.batch_messages, reader.integer(&key, node)),
            "timeout" => (
                &mut limits.batch_timeout_ns,
                reader.duration_text_ns(&key, node),
            ),
            _ => {
                reader.unknown(entry);
                continue;
            }
        };
        set_some(place, value);
    }
}

/// Keys of a chip, which only Windows has for nats-server: looked through, and not used.
fn tpm(key: &str, node: &Node, reader: &mut Reader<'_>) {
    for entry in reader.map(key, node).map_or(&[][..], Map::entries) {
        let (key, node) = (entry.key.to_lowercase(), &entry.node);
        match key.as_str() {
            "keys_file" | "encryption_password" | "srk_password" => {
                reader.text(&key, node);
            }
            "pcr" => drop(reader.integer(&key, node)),
            "cipher" => {
                cipher(&key, node, reader);
            }
            _ => reader.unknown(entry),
        }
    }
}

fn not_absolute(key: &str, range: &str, number: i64, node: &Node, reader: &mut Reader<'_>) {
    let text = format!("Expected an absolute size for {key:?}{range}, got {number}");
    reader.error(&node.place, text);
}

/// Bytes: an integer, or a string that ends in K, M, G or T.
fn size(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<i64> {
    let wrong = match &node.value {
        Value::Integer(bytes) => return Some(*bytes),
        Value::Text(text) => match parse_size(text) {
            Ok(bytes) => return Some(bytes),
            Err(why) => format!("{key} {why}"),
        },
        _ => format!("{key} must be int64 or string"),
    };
    reader.error(&node.place, wrong);
    None
}

fn parse_size(text: &str) -> Result<i64, String> {
    let Some((end, suffix)) = text.char_indices().next_back() else {
        return Ok(0);
    };
    let digits = &text[..end];
    let number: i64 = digits
        .parse()
        .map_err(|_| format!("strconv.ParseInt: parsing {digits:?}: invalid syntax"))?;
    let shift = match suffix {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return Err("sizes defined as strings must end in K, M, G, T".to_owned()),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text:?} is too big"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, first_error};
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Result<i64, &str>| {
            assert_eq!(
                parse_size(text).as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|e| *e)
            );
        };
        check("", Ok(0));
        check("1K", Ok(1024));
        check("-2M", Ok(-2 * 1024 * 1024));
        check("3G", Ok(3 << 30));
        check("4T", Ok(4 << 40));
        check("1k", Err("sizes defined as strings must end in K, M, G, T"));
        check("10", Err("sizes defined as strings must end in K, M, G, T"));
        check("K", Err("strconv.ParseInt: parsing \"\": invalid syntax"));
        check("é", Err("strconv.ParseInt: parsing \"\": invalid syntax"));
        check("9999999999999T", Err("\"9999999999999T\" is too big"));
    }

    #[test]
    fn what_is_taken_and_what_is_not() {
        let cases = [
            (
                "jetstream { enabled: false, max_mem: 1 }",
                "jetstream { store_dir: x, tpm { pcr: 1 } }",
                "not supported yet: jetstream.tpm (a.conf:1:26)",
            ),
            (
                "jetstream: disable",
                "jetstream: x",
                "Expected 'enabled' or 'disabled' for string value, got 'x'",
            ),
            (
                "jetstream {}",
                "jetstream: 1",
                "Expected map, bool or string to define JetStream, got",
            ),
            (
                "store_dir: x",
                "store_dir: x, jetstream { store_dir: y }",
                "Duplicate 'store_dir' configuration",
            ),
            (
                "jetstream { cipher: AES, key: x }",
                "jetstream { cipher: rot13 }",
                "Unknown cipher type: \"rot13\"",
            ),
            (
                "jetstream { max_mem: \"1G\" }",
                "jetstream { max_mem: \"1GB\" }",
                "max_mem_store strconv.ParseInt: parsing \"1G\": invalid syntax",
            ),
            (
                "jetstream { max_concurrent_io: 4 }",
                "jetstream { max_concurrent_io: 3 }",
                "Expected an absolute size for \"max_concurrent_io\" between 4 and 8192, got 3",
            ),
            (
                "jetstream { sync_interval: always }",
                "jetstream { sync_interval: sometimes }",
                "error parsing sync_interval: time: invalid duration",
            ),
            (
                "accounts { A { jetstream: disabled } }",
                "accounts { A { jetstream: x } }",
                "Expected 'enabled' or 'disabled' for string value, got 'x'",
            ),
            (
                "accounts { A { jetstream { max_mem: 1, cluster_traffic: owner } } }",
                "accounts { A { jetstream { cluster_traffic: x } } }",
                "Expected 'system' or 'owner' string value for \"cluster_traffic\", got x",
            ),
        ];
        for (taken, refused, expected) in cases {
            assert_eq!(first_error(taken), "", "{taken}");
            let error = first_error(refused);
            assert!(error.contains(expected), "{refused}\n{error:?}");
        }
    }

    #[test]
    fn jetstream_of_the_server() {
        #[track_caller]
        fn check(text: &str, expected: &JetStreamOptions) {
            assert_eq!(&config(text).jetstream, expected, "{text}");
        }
        let on = JetStreamOptions {
            enabled: true,
            ..JetStreamOptions::default()
        };
        assert_eq!(on.sync, Sync::Always);
        check("", &JetStreamOptions::default());
        check("jetstream {}", &on);
        check("jetstream: true", &on);
        check("JetStream: Enabled", &on);
        check("jetstream: off", &JetStreamOptions::default());
        check(
            "jetstream: enabled, jetstream: disable",
            &JetStreamOptions::default(),
        );
        check(
            "store_dir: x",
            &JetStreamOptions {
                store_dir: Some("x".into()),
                ..JetStreamOptions::default()
            },
        );
        check(
            "jetstream { sync: \"2m\", max_mem: -1, max_file: 0, max_buffered_msgs: 0, unique_tag: \" Az \" }",
            &JetStreamOptions {
                sync: Sync::Every(Duration::from_secs(120)),
                max_storage_bytes: Some(0),
                unique_tag: Some("az".to_owned()),
                ..on.clone()
            },
        );
        let all = "jetstream { strict: off, store: x, sync_interval: Always, max_memory_store: 1k, max_file_store: \"2G\", domain: d, \
               ek: secret, prev_ek: old, cipher: aes, extension_hint: no_extend, max_outstanding_catchup: 1M, max_buffered_size: 1mb, \
               max_buffered_msgs: 5, request_queue_limit: 6, info_queue_limit: 7, meta_compact: 1, meta_compact_size: 1K, \
               meta_compact_sync: on, max_concurrent_io: 8, limits { max_ack_pending: 1, max_ha_assets: 2, max_request_batch: 3, \
               duplicate_window: 4s, batch { max_inflight_per_stream: 5, max_inflight_total: 6, max_msgs: 7, timeout: 8s } } }";
        check(
            all,
            &JetStreamOptions {
                enabled: true,
                strict: false,
                store_dir: Some("x".into()),
                sync: Sync::Always,
                max_memory_bytes: Some(1000),
                max_storage_bytes: Some(2 << 30),
                domain: Some("d".to_owned()),
                unique_tag: None,
                key: Some(Secret("secret".to_owned())),
                previous_key: Some(Secret("old".to_owned())),
                cipher: Cipher::Aes,
                limits: AssetLimits {
                    max_ack_pending: 1,
                    max_request_batch: 3,
                    duplicate_window_ns: 4_000_000_000,
                    batches_per_stream: 5,
                    batches: 6,
                    batch_messages: 7,
                    batch_timeout_ns: 8_000_000_000,
                },
                max_buffered_bytes: 1024 * 1024,
                max_buffered_messages: 5,
                request_queue: 6,
                info_queue: 7,
            },
        );
    }

    #[test]
    fn jetstream_of_accounts() {
        #[track_caller]
        fn check(text: &str, expected: &JetStreamAccess) {
            let config = config(&format!("accounts {{ A {{ {text} }} }}"));
            assert_eq!(&config.auth.accounts[0].jetstream, expected, "{text}");
        }
        let unlimited = JetStreamLimits::UNLIMITED;
        check("", &JetStreamAccess::None);
        check("jetstream: disable", &JetStreamAccess::None);
        for on in ["true", "enabled", "Enable", "{}"] {
            check(
                &format!("jetstream: {on}"),
                &JetStreamAccess::Limits(unlimited.clone()),
            );
        }
        check(
            "jetstream { mem: 1, disk: 2k, streams: 3, consumers: 4, max_bytes: on, mem_max_stream_bytes: 5, store_max_stream_bytes: 6, max_ack_pending: 7 }",
            &JetStreamAccess::Limits(JetStreamLimits {
                memory_bytes: 1,
                disk_bytes: 2000,
                streams: 3,
                consumers: 4,
                ack_pending: 7,
                memory_stream_bytes: 5,
                disk_stream_bytes: 6,
                stream_bytes_required: true,
            }),
        );
    }
}
