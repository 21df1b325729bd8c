//! `tls` blocks → [`TlsOptions`]. Certificates are named here and loaded elsewhere.

use super::reader::Reader;
use crate::config::conf::{Entry, Map, Node, Value, parse_duration};
use crate::config::{CertificateFiles, HandshakeFirst, TlsOptions, TlsVersion};

/// What a block is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Clients connect with it.
    Server,
    /// This server connects with it.
    Client,
    /// Other servers: both.
    Cluster,
}

/// Cipher suites by their IANA names.
const CIPHER_SUITES: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Those that are known to be weak.
const INSECURE_CIPHER_SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// As nats-server spells them.
const CURVES: &[&str] = &[
    "CurveP256",
    "CurveP384",
    "CurveP521",
    "SecP256r1MLKEM768",
    "SecP384r1MLKEM1024",
    "X25519",
    "X25519MLKEM768",
];

/// `auto` waits this long for the client to begin.
const FALLBACK_MS: u64 = 50;

/// The page of `--help_tls`.
pub fn help_tls() -> String {
    let mut page = "A configuration file has a block for TLS:

    tls {
        cert_file: \"./server-cert.pem\"
        key_file:  \"./server-key.pem\"

        # Clients must present a certificate, which an authority in this file has signed.
        ca_file: \"./ca.pem\"
        verify:  true

        # And it says which user they are.
        verify_and_map: true

        # Only these, in this order.
        cipher_suites: [ \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\" ]
        curve_preferences: [ \"X25519\", \"CurveP256\" ]
    }

Available cipher suites include:
"
    .to_owned();
    for name in CIPHER_SUITES {
        page.push_str(&format!("    {name}\n"));
    }
    page.push_str("\nAvailable curve preferences include:\n");
    for name in CURVES {
        page.push_str(&format!("    {name}\n"));
    }
    page
}

/// Reads a block; `None` if it is no map. Of its mistakes nats-server reports the first, this all.
pub fn read(node: &Node, side: Side, reader: &mut Reader<'_>) -> Option<TlsOptions> {
    let map = reader.map("tls", node)?;
    let mut block = Block {
        options: TlsOptions::default(),
        side,
        cert_file: None,
        key_file: None,
        has_certs: false,
        are_insecure_suites_allowed: false,
    };
    for entry in map.entries() {
        block.key(entry, reader);
    }
    block.finish(node, reader)
}

struct Block {
    options: TlsOptions,
    side: Side,
    cert_file: Option<String>,
    key_file: Option<String>,
    has_certs: bool,
    are_insecure_suites_allowed: bool,
}

impl Block {
    fn key(&mut self, entry: &Entry, reader: &mut Reader<'_>) {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        let options = &mut self.options;
        match key {
            "cert_file" => self.cert_file = file_name(key, node, reader),
            "key_file" => self.key_file = file_name(key, node, reader),
            "ca_file" => {
                let path = file_name(key, node, reader);
                if let Some(path) = &path {
                    reader.check_file(&node.place, path, "");
                }
                options.ca_file = path.map(Into::into);
            }
            "certs" | "certificates" => {
                if let Some(certificates) = certificates(key, node, reader) {
                    self.has_certs = !certificates.is_empty();
                    options.certificates = certificates;
                }
            }
            "insecure" => set(&mut options.insecure, switch(key, node, reader)),
            "verify" => {
                let on = switch(key, node, reader);
                set(
                    &mut options.verify,
                    on.map(|on| on || options.verify_and_map),
                );
            }
            "verify_and_map" => {
                if let Some(on) = switch(key, node, reader) {
                    options.verify_and_map = on;
                    options.verify |= on;
                }
            }
            "verify_cert_and_check_known_urls" => {
                if switch(key, node, reader) == Some(true) {
                    match self.side {
                        Side::Cluster => options.verify = true,
                        Side::Server | Side::Client => reader.error(
                            &node.place,
                            "verify_cert_and_check_known_urls not supported in this context",
                        ),
                    }
                }
            }
            "allow_insecure_cipher_suites" => {
                let on = switch(key, node, reader);
                set(&mut self.are_insecure_suites_allowed, on);
            }
            "cipher_suites" => {
                let known = [CIPHER_SUITES, INSECURE_CIPHER_SUITES].concat();
                if let Some(names) = names_of(key, "cipher", &known, node, reader) {
                    options.cipher_suites = names;
                }
            }
            "curve_preferences" => {
                if let Some(names) = names_of(key, "curve preference", CURVES, node, reader) {
                    options.curve_preferences = names;
                }
            }
            "timeout" => {
                if let Some(timeout_ms @ 1..) = reader.timeout_ms(key, "tls", node) {
                    options.timeout_ms = timeout_ms;
                }
            }
            "connection_rate_limit" => match node.value {
                Value::Integer(number) => {
                    options.connection_rate_limit = u64::try_from(number).unwrap_or(0);
                }
                _ => reader.error(
                    &node.place,
                    "error parsing tls config, 'connection_rate_limit' wrong type",
                ),
            },
            "pinned_certs" => self.pinned_certs(node, reader),
            "handshake_first" | "first" | "immediate" => {
                if let Some(first) = handshake_first(key, node, reader) {
                    options.handshake_first = first;
                }
            }
            "min_version" => {
                let version = match &node.value {
                    Value::Text(text) => match text.as_str() {
                        "1.2" => Ok(TlsVersion::V1_2),
                        "1.3" => Ok(TlsVersion::V1_3),
                        "1.0" | "1.1" => Err(format!("unsupported TLS version: TLS {text}")),
                        _ => Err(format!("unknown version: {text}")),
                    },
                    other => Err(format!("'min_version' wrong type: {}", other.kind())),
                };
                match version {
                    Ok(version) => options.min_version = version,
                    Err(text) => {
                        let text = format!("error parsing tls config: {text}");
                        reader.error(&node.place, text);
                    }
                }
            }
            "ocsp_peer" => ocsp_peer(key, node, reader),
            // Certificates out of Windows' store.
            "cert_store"
            | "cert_match_by"
            | "cert_match"
            | "ca_certs_match"
            | "cert_match_skip_invalid" => {
                let text = format!("'{key}' is not supported on this operating system");
                reader.error(&node.place, text);
            }
            _ => reader.unknown_saying(
                entry,
                format!("error parsing tls config, unknown field {:?}", entry.key),
            ),
        }
    }

    fn pinned_certs(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let Value::Array(nodes) = &node.value else {
            reader.error(
                &node.place,
                "error parsing tls config, expected 'pinned_certs' to be a list of hex-encoded sha256 of DER \
                 encoded SubjectPublicKeyInfo",
            );
            return;
        };
        for node in nodes {
            let Some(text) = reader.text("pinned_certs", node) else {
                continue;
            };
            let pin = text.to_lowercase();
            if pin.len() == 64 && pin.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                self.options.pinned_certs.insert(pin);
            } else {
                let text = format!(
                    "error parsing tls config, 'pinned_certs' key {pin} does not look like hex-encoded sha256 of DER \
                     encoded SubjectPublicKeyInfo"
                );
                reader.error(&node.place, text);
            }
        }
    }

    fn finish(self, node: &Node, reader: &mut Reader<'_>) -> Option<TlsOptions> {
        let mut options = self.options;
        let insecure = options.cipher_suites.iter().filter(|name| {
            !self.are_insecure_suites_allowed && INSECURE_CIPHER_SUITES.contains(&name.as_str())
        });
        let insecure: Vec<_> = insecure.map(String::as_str).collect();
        if !insecure.is_empty() {
            let text = format!(
                "insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: {}",
                insecure.join(", ")
            );
            reader.error(&node.place, text);
        }
        let wrong = match (self.cert_file, self.key_file) {
            (Some(_), _) if self.has_certs => Some(
                "error parsing tls config, cannot combine 'cert_file' option with 'certs' option",
            ),
            (Some(cert_file), Some(key_file)) => {
                let before = "error parsing X509 certificate/key pair: ";
                reader.check_file(&node.place, &cert_file, before);
                reader.check_file(&node.place, &key_file, before);
                options.certificates = vec![CertificateFiles {
                    cert_file: cert_file.into(),
                    key_file: key_file.into(),
                }];
                None
            }
            (Some(_), None) => Some("missing 'key_file' in TLS configuration"),
            (None, Some(_)) => Some("missing 'cert_file' in TLS configuration"),
            (None, None) => None,
        };
        if let Some(text) = wrong {
            reader.error(&node.place, text);
        }
        Some(options)
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn file_name(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        _ => {
            let text = format!("error parsing tls config, expected '{key}' to be filename");
            reader.error(&node.place, text);
            None
        }
    }
}

fn switch(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<bool> {
    match node.value {
        Value::Bool(on) => Some(on),
        _ => {
            let text = format!("error parsing tls config, expected '{key}' to be a boolean");
            reader.error(&node.place, text);
            None
        }
    }
}

fn names_of(
    key: &str,
    what: &str,
    known: &[&str],
    node: &Node,
    reader: &mut Reader<'_>,
) -> Option<Vec<String>> {
    let nodes = reader.array(key, node)?;
    if nodes.is_empty() {
        let text = format!("error parsing tls config, '{key}' cannot be empty");
        reader.error(&node.place, text);
    }
    let mut names = Vec::new();
    for node in nodes {
        match reader.text(key, node) {
            Some(name) if known.contains(&name) => names.push(name.to_owned()),
            Some(name) => reader.error(&node.place, format!("unrecognized {what} {name}")),
            None => {}
        }
    }
    Some(names)
}

fn certificates(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<Vec<CertificateFiles>> {
    const WRONG_TYPE: &str = "error parsing certificates config: unsupported type";
    let Value::Array(nodes) = &node.value else {
        let text = format!("{WRONG_TYPE} {} of {key}", node.value.kind());
        reader.error(&node.place, text);
        return None;
    };
    let mut certificates = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        let Value::Map(map) = &node.value else {
            reader.error(&node.place, format!("{WRONG_TYPE} {}", node.value.kind()));
            continue;
        };
        let (mut cert_file, mut key_file) = (None, None);
        for entry in map.entries() {
            let Value::Text(file) = &entry.node.value else {
                let kind = entry.node.value.kind();
                reader.error(&entry.node.place, format!("{WRONG_TYPE} {kind}"));
                continue;
            };
            let file = Some(file.clone()).filter(|file| !file.is_empty());
            match entry.key.as_str() {
                "cert_file" => cert_file = file,
                "key_file" => key_file = file,
                unknown => {
                    let text = format!("error parsing tls certs config, unknown field {unknown:?}");
                    reader.error(&entry.node.place, text);
                }
            }
        }
        let (Some(cert_file), Some(key_file)) = (cert_file, key_file) else {
            reader.error(
                &node.place,
                "error parsing certificates config: both 'cert_file' and 'cert_key' options are required",
            );
            continue;
        };
        let before = format!(
            "error parsing X509 certificate/key pair {}/{}: ",
            number + 1,
            nodes.len()
        );
        reader.check_file(&node.place, &cert_file, &before);
        reader.check_file(&node.place, &key_file, &before);
        certificates.push(CertificateFiles {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
        });
    }
    Some(certificates)
}

fn handshake_first(key: &str, node: &Node, reader: &mut Reader<'_>) -> Option<HandshakeFirst> {
    let text = match &node.value {
        Value::Bool(true) => return Some(HandshakeFirst::Yes),
        Value::Bool(false) => return Some(HandshakeFirst::No),
        Value::Text(text) => text,
        other => {
            let kind = other.kind();
            let text = format!("field {key:?} should be a boolean or a string, got {kind}");
            reader.error(&node.place, text);
            return None;
        }
    };
    match text.to_lowercase().as_str() {
        "true" | "on" => Some(HandshakeFirst::Yes),
        "false" | "off" => Some(HandshakeFirst::No),
        "auto" | "auto_fallback" => Some(HandshakeFirst::Auto {
            fallback_ms: FALLBACK_MS,
        }),
        _ => match parse_duration(text).map(u64::try_from) {
            Ok(Ok(0)) => Some(HandshakeFirst::Yes),
            Ok(Ok(ns)) => Some(HandshakeFirst::Auto {
                fallback_ms: ns.div_ceil(1_000_000),
            }),
            Ok(Err(_)) | Err(_) => {
                let text = format!("field {key:?}'s value {text:?} is invalid");
                reader.error(&node.place, text);
                None
            }
        },
    }
}

/// Asking about clients' certificates is not built; that it is off may be said.
fn ocsp_peer(key: &str, node: &Node, reader: &mut Reader<'_>) {
    let is_on = match &node.value {
        Value::Bool(on) => *on,
        Value::Map(map) => ocsp_peer_map(map, reader),
        other => {
            let kind = other.kind();
            let text = format!("error parsing ocsp peer config: unsupported type {kind}");
            reader.error(&node.place, text);
            return;
        }
    };
    if is_on {
        reader.not_supported_yet(&format!("tls.{key}"), &node.place);
    }
}

fn ocsp_peer_map(map: &Map, reader: &mut Reader<'_>) -> bool {
    let mut is_on = false;
    for entry in map.entries() {
        let key = entry.key.to_lowercase();
        let (key, node) = (key.as_str(), &entry.node);
        match key {
            "verify" => is_on = reader.boolean(key, node).unwrap_or(false),
            "allowed_clockskew" | "ca_timeout" | "cache_ttl_when_next_update_unset" => {
                reader.timeout_ms(key, "ocsp peer", node);
            }
            "warn_only" | "unknown_is_good" | "allow_when_ca_unreachable" => {
                reader.boolean(key, node);
            }
            _ => reader.unknown_saying(
                entry,
                format!("error parsing tls peer config, unknown field {key:?}"),
            ),
        }
    }
    is_on
}
