//! What each key takes and refuses, and what comes of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::auth::definition::{
    AuthDefinition, ConnectionType, ExportKind, ImportKind, PermissionRules, ResolverDefinition,
    ResponseRules, ResponseType, Sampling,
};
use crate::config::{HandshakeFirst, Limits, MonitorOptions, TlsOptions, TlsVersion};

const USER: &str = "UCARKS2E3KVB7YORL2DG34XLT7PUCOL2SVM7YXV6ETHLW6Z46UUJ2VZ3";
const ACCOUNT: &str = "AC5GRL36RQV7MJ2GT6WQSCKDKJKYTK4T2LGLWJ2SEJKRDHFOQQWGGFQL";

/// One configuration and a few files that others may be.
struct Files<'f>(&'f str);

impl Surroundings for Files<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        match path.to_str() {
            Some("a.conf") => Ok(self.0.into()),
            Some("x.pem") => Ok(Vec::new()),
            Some("operator.jwt") => Ok("-----BEGIN NATS OPERATOR JWT-----\neyJx.y.z\n\
                                        ------END NATS OPERATOR JWT------\n"
                .into()),
            _ => Err(format!("open {}: no such file", path.display())),
        }
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

fn read_text(text: &str) -> Result<Reading, FileError> {
    let text = text.replace("USER", USER).replace("ACCOUNT", ACCOUNT);
    read(Path::new("a.conf"), &Files(&text))
}

#[track_caller]
pub(super) fn config(text: &str) -> Config {
    match read_text(text) {
        Ok(reading) => reading.config,
        Err(error) => panic!("{text}\n{error}"),
    }
}

#[track_caller]
fn auth(text: &str) -> AuthDefinition {
    config(text).auth
}

/// The first error, or nothing.
pub(super) fn first_error(text: &str) -> String {
    let errors = read_text(text).err().map(|error| error.errors);
    errors.into_iter().flatten().next().unwrap_or_default()
}

/// Every key of the top level and of what is built: a value that is taken, and one that is not, with the reason.
#[test]
fn every_key() {
    const CASES: &[(&str, &str, &str)] = &[
        (
            "listen: \"h:1\"",
            "listen: \"h\"",
            "could not parse address string \"h\"",
        ),
        (
            "listen: 4222",
            "listen: \"h:x\"",
            "could not parse port \"x\"",
        ),
        (
            "listen: \"[::1]:-1\"",
            "listen: on",
            "expected port or host:port, got a boolean",
        ),
        (
            "port: -1",
            "port: 65536",
            "port 65536: expected a port from 1 to 65535, or -1 for a free one",
        ),
        ("port: 0", "port: -2", "port -2: expected a port"),
        (
            "host: x",
            "host: 1",
            "host: expected a string, got an integer",
        ),
        ("net: x", "net: []", "net: expected a string, got an array"),
        (
            "client_advertise: \"h:1\"",
            "client_advertise: \"h:x\"",
            "could not parse address string",
        ),
        (
            "server_name: x",
            "server_name: \"x y\"",
            "server name cannot contain spaces",
        ),
        (
            "server_tags: [a, b]",
            "server_tags: [1, 2]",
            "server_tags: expected a string, got an integer",
        ),
        (
            "server_tags: a",
            "server_tags: {}",
            "server_tags: expected a string or an array of strings, got a map",
        ),
        (
            "server_metadata { a: b }",
            "server_metadata { a: 1 }",
            "a: expected a string, got an integer",
        ),
        ("pid_file: x", "pidfile: 1", "pidfile: expected a string"),
        (
            "disable_sublist_cache: true",
            "no_sublist_cache: 1",
            "no_sublist_cache: expected a boolean",
        ),
        (
            "connect_error_reports: 1",
            "reconnect_error_reports: x",
            "reconnect_error_reports: expected an integer",
        ),
        (
            "max_payload: 1kb",
            "max_payload: -1",
            "max_payload value can not be negative",
        ),
        (
            "max_payload: 2147483647",
            "max_payload: 2147483648",
            "max_payload value is too big",
        ),
        (
            "max_control_line: 1",
            "max_control_line: 1t",
            "max_control_line value is too big",
        ),
        (
            "max_pending: 64MB",
            "max_pending: -1",
            "max_pending value can not be negative",
        ),
        (
            "max_connections: 0",
            "max_conn: x",
            "max_conn: expected an integer, got a string",
        ),
        (
            "max_subs: 1",
            "max_subscriptions: 1.5",
            "max_subscriptions: expected an integer, got a float",
        ),
        (
            "max_sub_tokens: 255",
            "max_sub_tokens: 256",
            "max_sub_tokens value is too big",
        ),
        (
            "max_subscription_tokens: 1",
            "max_subscription_tokens: 0",
            "max_subscription_tokens value can not be negative",
        ),
        (
            "max_traced_msg_len: 1",
            "max_traced_msg_len: x",
            "max_traced_msg_len: expected an integer",
        ),
        (
            "max_closed_clients: 1",
            "max_closed_clients: -1",
            "max_closed_clients value can not be negative",
        ),
        (
            "no_fast_producer_stall: true",
            "no_fast_producer_stall: 1",
            "no_fast_producer_stall: expected a boolean",
        ),
        (
            "no_header_support: true",
            "no_header_support: 1",
            "no_header_support: expected a boolean",
        ),
        (
            "write_deadline: \"5s\"",
            "write_deadline: \"-5s\"",
            "write_deadline value can not be negative",
        ),
        (
            "write_deadline: 9223372036",
            "write_deadline: 9223372037",
            "write_deadline value is too big",
        ),
        (
            "write_timeout: close",
            "write_timeout: open",
            "write_timeout must be 'default', 'close' or 'retry'",
        ),
        (
            "write_timeout: default",
            "write_timeout: retry",
            "not supported yet: write_timeout: retry (a.conf:1:0)",
        ),
        (
            "ping_interval: \"1m\"",
            "ping_interval: x",
            "error parsing ping_interval: time: invalid duration \"x\"",
        ),
        (
            "ping_max: 1",
            "ping_max: 4294967296",
            "ping_max value is too big",
        ),
        (
            "lame_duck_duration: 1ms",
            "lame_duck_duration: 60",
            "lame_duck_duration: expected a string, got an integer",
        ),
        (
            "lame_duck_grace_period: 1s",
            "lame_duck_grace_period: \"-1s\"",
            "invalid lame_duck_grace_period, needs to be positive",
        ),
        ("debug: on", "debug: 1", "debug: expected a boolean"),
        ("trace: yes", "trace: x", "trace: expected a boolean"),
        (
            "trace_verbose: yes",
            "trace_verbose: x",
            "trace_verbose: expected a boolean",
        ),
        ("logtime: no", "logtime: x", "logtime: expected a boolean"),
        (
            "logtime_utc: yes",
            "logtime_utc: x",
            "logtime_utc: expected a boolean",
        ),
        ("log_file: x", "logfile: 1", "logfile: expected a string"),
        (
            "allow_non_tls: true",
            "allow_non_tls: x",
            "allow_non_tls: expected a boolean",
        ),
        (
            "ocsp: true",
            "ocsp: x",
            "error parsing ocsp config: unsupported type a string",
        ),
        (
            "ocsp { mode: must, urls [a] }",
            "ocsp { mode: x }",
            "unsupported ocsp mode \"x\"",
        ),
        (
            "ocsp { url: a }",
            "ocsp { x: 1 }",
            "unsupported field \"x\"",
        ),
        (
            "system_account: A",
            "system: 1",
            "system account name must be a string",
        ),
        (
            "no_system_account: true",
            "no_sys_acc: 1",
            "no_sys_acc: expected a boolean",
        ),
        (
            "no_auth_user: a",
            "no_auth_user: 1",
            "no_auth_user: expected a string",
        ),
        (
            "default_sentinel: a",
            "default_sentinel: 1",
            "default_sentinel: expected a string",
        ),
        (
            "operator: eyJ",
            "operator: x",
            "error parsing operator JWT: open x: no such file",
        ),
        (
            "operators: [operator.jwt]",
            "operator: x.pem",
            "expected a JSON Web Token",
        ),
        (
            "trusted: []",
            "trusted_keys: USER",
            "required to be a valid public operator nkey",
        ),
        (
            "resolver: MEMORY",
            "resolver: x",
            "error parsing account resolver",
        ),
        (
            "resolver: URL(http://x/y)",
            "resolver: URL(x)",
            "error parsing account resolver",
        ),
        (
            "resolver { type: mem }",
            "resolver { type: x }",
            "error parsing account resolver",
        ),
        (
            "resolver { type: full, dir: x }",
            "resolver { type: full }",
            "dir has no value",
        ),
        (
            "resolver { type: full, dir: x, interval: \"1m\" }",
            "resolver { type: cache, dir: x, interval: \"1m\" }",
            "CACHE does not accept sync",
        ),
        (
            "resolver { type: cache, dir: x, ttl: \"1h\" }",
            "resolver { type: full, dir: x, ttl: \"1h\" }",
            "FULL does not accept ttl",
        ),
        (
            "resolver { type: full, dir: x, allow_delete: yes, hard_delete: yes }",
            "resolver { type: full, dir: x, hard_delete: yes }",
            "hard_delete has no effect without delete",
        ),
        (
            "resolver_preload { A: eyJ }",
            "resolver_preload { A: x }",
            "invalid account JWT",
        ),
        (
            "resolver_preload {}",
            "resolver_preload: x",
            "preload should be a map",
        ),
        (
            "resolver_pinned_accounts: [A]",
            "resolver_pinned_accounts: 1",
            "resolver_pinned_accounts: expected",
        ),
        (
            "resolver_tls { timeout: 5 }",
            "resolver_tls { x: 5 }",
            "unknown field \"x\"",
        ),
        (
            "proxies { trusted: [ { key: ACCOUNT } ] }",
            "proxies { trusted: [ { key: x } ] }",
            "invalid proxy key \"x\"",
        ),
        ("proxies {}", "proxies { x: 1 }", "unknown field \"x\""),
        // TLS.
        (
            "tls { cert_file: x.pem, key_file: x.pem, ca_file: x.pem }",
            "tls { ca_file: y.pem }",
            "open y.pem",
        ),
        (
            "tls { certs: [ { cert_file: x.pem, key_file: x.pem } ] }",
            "tls { certs: [ { cert_file: x.pem } ] }",
            "are required",
        ),
        (
            "tls { verify: true }",
            "tls { verify: 1 }",
            "expected 'verify' to be a boolean",
        ),
        (
            "tls { insecure: true }",
            "tls { verify_cert_and_check_known_urls: true }",
            "not supported in this context",
        ),
        (
            "tls { cipher_suites: [TLS_AES_128_GCM_SHA256] }",
            "tls { cipher_suites: [X] }",
            "unrecognized cipher X",
        ),
        (
            "tls { cipher_suites: [TLS_RSA_WITH_RC4_128_SHA], allow_insecure_cipher_suites: yes }",
            "tls { cipher_suites: [TLS_RSA_WITH_RC4_128_SHA] }",
            "insecure cipher suites configured",
        ),
        (
            "tls { curve_preferences: [X25519] }",
            "tls { curve_preferences: [] }",
            "'curve_preferences' cannot be empty",
        ),
        (
            "tls { timeout: 0.5 }",
            "tls { timeout: x }",
            "error parsing tls config, 'timeout' time: invalid duration \"x\"",
        ),
        (
            "tls { connection_rate_limit: 5 }",
            "tls { connection_rate_limit: x }",
            "'connection_rate_limit' wrong type",
        ),
        (
            "tls { pinned_certs: [] }",
            "tls { pinned_certs: [\"ab\"] }",
            "does not look like hex-encoded sha256",
        ),
        (
            "tls { handshake_first: auto }",
            "tls { first: x }",
            "field \"first\"'s value \"x\" is invalid",
        ),
        (
            "tls { min_version: \"1.3\" }",
            "tls { min_version: \"1.1\" }",
            "unsupported TLS version",
        ),
        (
            "tls { ocsp_peer: false }",
            "tls { ocsp_peer: true }",
            "not supported yet: tls.ocsp_peer (a.conf:1:6)",
        ),
        (
            "tls {}",
            "tls { cert_store: x }",
            "is not supported on this operating system",
        ),
        // Who may connect.
        (
            "authorization { user: a, password: b }",
            "authorization { password: b }",
            "a password without a user protects nothing",
        ),
        (
            "authorization { token: a }",
            "authorization { user: a, token: b }",
            "Cannot have a user/pass and token",
        ),
        (
            "authorization { timeout: 1.5 }",
            "authorization { timeout: -1 }",
            "timeout value can not be negative",
        ),
        (
            "authorization { users: [ { nkey: USER } ] }",
            "authorization { users: [ { nkey: USER, user: a } ] }",
            "Nkey users do not take usernames or passwords",
        ),
        (
            "authorization { users: [ { user: a } ] }",
            "authorization { users: [ { password: a } ] }",
            "User entry requires a user",
        ),
        (
            "authorization { users: [ { user: a, connection_types: MQTT } ] }",
            "authorization { users: [ { user: a, clients: [x] } ] }",
            "invalid connection types [\"X\"]",
        ),
        (
            "authorization { proxy_required: yes }",
            "authorization { proxy_required: 1 }",
            "proxy_required: expected a boolean",
        ),
        (
            "authorization { permissions { sub: \"a q\" } }",
            "authorization { permissions { pub: \"a q\" } }",
            "subject \"a q\" is not a valid subject",
        ),
        (
            "authorization { permissions { allow_responses: { max: -1, ttl: 1s } } }",
            "authorization { permissions { allow_responses: { ttl: 1 } } }",
            "not a duration string",
        ),
        (
            "accounts { A {} }, authorization { auth_callout { issuer: ACCOUNT, auth_users: [a], allowed_accounts: [A] } }",
            "authorization { auth_callout { issuer: ACCOUNT, users: [a], allowed_accounts: [A] } }",
            "auth_callout allowed account \"A\" not found in configured accounts",
        ),
        (
            "authorization { auth_hook { issuer: ACCOUNT, users: [a] } }",
            "authorization { auth_hook { issuer: USER, users: [a] } }",
            "valid public account nkey",
        ),
        (
            "accounts: [A, B]",
            "accounts: [A, A]",
            "Duplicate Account Entry: A",
        ),
        (
            "accounts { A { nkey: ACCOUNT } }",
            "accounts { A { nkey: USER } }",
            "Not a valid public nkey for an account",
        ),
        (
            "accounts { A { limits { max_conn: -1, max_subs: 1, max_pay: 1, max_leafs: 0 } } }",
            "accounts { A { limits { max_x: 1 } } }",
            "Unknown field \"max_x\" parsing account limits",
        ),
        (
            "accounts { A { trace_dest: a } }",
            "accounts { A { trace_dest: \"a.*\" } }",
            "Trace destination \"a.*\" is not valid",
        ),
        (
            "accounts { A { msg_trace { dest: a, sampling: \"50%\" } } }",
            "accounts { A { msg_trace { dest: a, sampling: 0 } } }",
            "sampling value 0 is invalid",
        ),
        (
            "accounts { A { exports [ { stream: a } ] } }",
            "accounts { A { exports [ { stream: a, response: stream } ] } }",
            "Detected response directive on non-service",
        ),
        (
            "accounts { A { exports [ { service: a, latency { sampling: headers, subject: b } } ] } }",
            "accounts { A { exports [ { service: a, latency { sampling: 101, subject: b } } ] } }",
            "bad sampling percentage, should be 1-100",
        ),
        (
            "accounts { A { exports [ { service: \"a.*\", account_token_position: 2 } ] } }",
            "accounts { A { exports [ { service: \"a.*\", account_token_position: 1 } ] } }",
            "invalid subject",
        ),
        (
            "accounts { A { exports [ { service: a, threshold: \"1s\" } ] } }",
            "accounts { A { exports [ { service: a, accounts: [B] } ] } }",
            "\"B\" account not defined for service export",
        ),
        (
            "accounts { A { exports [ { stream: a } ] }, B { imports [ { stream { account: A, subject: a }, prefix: p } ] } }",
            "accounts { A { exports [ { stream: a } ] }, B { imports [ { stream { account: A, subject: a }, prefix: p, to: q } ] } }",
            "can not have a 'prefix' and a 'to' property",
        ),
        (
            "mappings { a: b }",
            "mappings { \"a..b\": b }",
            "Subject \"a..b\" is not a valid subject",
        ),
        (
            "maps { a { dest: b, weight: \"50%\" } }",
            "maps { a { dest: b } }",
            "Missing weight for mapping destination \"b\"",
        ),
        // Not built yet, and turned off.
        (
            "cluster {}",
            "cluster { port: 1 }",
            "not supported yet: cluster (a.conf:1:0)",
        ),
        (
            "gateway {}",
            "gateway { name: a, port: 1 }",
            "not supported yet: gateway (a.conf:1:0)",
        ),
        (
            "leafnodes {}",
            "leaf { remotes [ { url: x } ] }",
            "not supported yet: leaf (a.conf:1:0)",
        ),
        (
            "websocket {}",
            "ws { port: 1 }",
            "not supported yet: ws (a.conf:1:0)",
        ),
        (
            "mqtt {}",
            "mqtt { max_ack_pending: 65536 }",
            "should be in [0..65535] range",
        ),
        ("http: 8222", "http: h", "could not parse address string"),
        (
            "https_port: 0",
            "monitor_port: 65536",
            "port 65536: expected",
        ),
        (
            "http_base_path: x",
            "http_base_path: 1",
            "http_base_path: expected",
        ),
        (
            "logfile_size_limit: 0",
            "log_size_limit: x",
            "log_size_limit: expected an integer",
        ),
        (
            "logfile_max_num: 3",
            "log_max_num: x",
            "log_max_num: expected an integer",
        ),
        ("syslog: off", "syslog: 1", "syslog: expected a boolean"),
        ("log_format: json", "log_format: xml", "log_format must be"),
        (
            "remote_syslog: \"\"",
            "remote_syslog: x",
            "expected udp://host:port",
        ),
        (
            "trace_headers: off",
            "trace_headers: x",
            "trace_headers: expected a boolean",
        ),
        (
            "ports_file_dir: \"\"",
            "ports_file_dir: 1",
            "ports_file_dir: expected a string",
        ),
        (
            "prof_port: 0",
            "prof_port: 1",
            "not supported yet: prof_port",
        ),
        (
            "prof_block_rate: 1",
            "prof_block_rate: x",
            "prof_block_rate: expected an integer",
        ),
        (
            "proxy_protocol: off",
            "proxy_protocol: on",
            "not supported yet: proxy_protocol",
        ),
        (
            "feature_flags { a: off }",
            "feature_flags { a: on }",
            "not supported yet: feature_flags",
        ),
        (
            "feature_flags {}",
            "feature_flags { a: 1 }",
            "a: expected a boolean",
        ),
        (
            "default_js_domain {}",
            "default_js_domain { A: x }",
            "not supported yet: default_js_domain",
        ),
        ("store_dir: y", "storedir: 1", "storedir: expected a string"),
        (
            "ocsp_cache: true",
            "ocsp_cache { type: x }",
            "type: expected one of",
        ),
    ];
    for (taken, refused, expected) in CASES {
        assert_eq!(first_error(taken), "", "{taken}");
        let error = first_error(refused);
        assert!(
            error.contains(expected),
            "{refused}\n{error:?}\n{expected:?}"
        );
    }
}

/// Keys are in any case, and those of parts that are not built are looked through.
#[test]
fn places_of_unknown_keys() {
    for (text, expected) in [
        ("foo: 1", "a.conf:1:0"),
        ("authorization { foo: 1 }", "a.conf:1:16"),
        (
            "authorization { users [ { user: a, foo: 1 } ] }",
            "a.conf:1:35",
        ),
        ("accounts { A { foo: 1 } }", "a.conf:1:15"),
        ("cluster { foo: 1 }", "a.conf:1:10"),
        ("gateway { gateways [ { foo: 1 } ] }", "a.conf:1:23"),
        (
            "leafnodes { remotes [ { proxy { foo: 1 } } ] }",
            "a.conf:1:32",
        ),
        ("jetstream { limits { batch { foo: 1 } } }", "a.conf:1:29"),
        ("websocket { authorization { foo: 1 } }", "a.conf:1:28"),
        ("mqtt { foo: 1 }", "a.conf:1:7"),
    ] {
        assert_eq!(
            first_error(text),
            format!("{expected}: unknown field \"foo\""),
            "{text}"
        );
    }
    assert_eq!(first_error("MAX_Payload: 5\nfoo: 1\nport: $foo"), "");
    let all = read_text("foo: 1\nbar: 2\nport: x").unwrap_err();
    assert_eq!(all.errors.len(), 3, "{all}");
}

#[test]
fn limits() {
    #[track_caller]
    fn check(text: &str, expected: &Limits) {
        assert_eq!(&config(text).limits, expected, "{text}");
    }
    let all = "max_payload: 1k, max_control_line: 512, max_pending: 2k, max_connections: 0, max_subs: 3,\
               max_sub_tokens: 4, no_fast_producer_stall: true, no_header_support: on, write_deadline: 5s, ping_interval: \"1m\", ping_max: 6, max_traced_msg_len: 7,\
               max_closed_clients: 8, lame_duck_duration: 40s, lame_duck_grace_period: 1s, authorization { timeout: 0.5 }, max_connections_per_address: 9, max_unauthenticated: 10";
    check(
        all,
        &Limits {
            max_payload_bytes: 1000,
            max_control_line_bytes: 512,
            max_pending_bytes: 2000,
            max_connections: 0,
            max_subscriptions: 3,
            max_sub_tokens: 4,
            no_header_support: true,
            no_fast_producer_stall: true,
            write_deadline_ms: 5000,
            ping_interval_ms: 60_000,
            ping_max: 6,
            max_traced_bytes: 7,
            trace_headers: false,
            max_closed_clients: 8,
            lame_duck_duration_ms: 40_000,
            lame_duck_grace_period_ms: 1000,
            auth_timeout_ms: 500,
            max_connections_per_address: 9,
            max_unauthenticated: 10,
        },
    );
    check(
        "max_payload: 0, max_pending: 0, ping_max: 0, write_deadline: \"0s\"",
        &Limits::DEFAULT,
    );
    let one = Limits {
        max_connections: 0,
        ..Limits::DEFAULT
    };
    check("max_conn: -1", &one);
}

#[test]
fn server() {
    let config = config(
        "listen: \"[::1]:5\", client_advertise: \"h:1\", server_name: n, server_tags: [A, b, \"a \"], server_metadata { k: v },\
         pidfile: p, logfile: l, trace_verbose: on, logtime: off, logtime_utc: on, allow_non_tls: on, ocsp { mode: Always, url: u }",
    );
    assert_eq!(
        (config.host.as_str(), config.port),
        ("::1", Port::from_number(5).unwrap())
    );
    assert_eq!(config.server_tags, ["a", "b"]);
    assert_eq!(config.server_metadata["k"], "v");
    assert_eq!(config.pid_file.as_deref(), Some(Path::new("p")));
    assert_eq!(config.log.file.as_deref(), Some(Path::new("l")));
    assert!(config.trace && config.trace_verbose && !config.log.time && config.log.time_utc);
    let ocsp = config.ocsp.unwrap();
    assert_eq!(
        (ocsp.mode, ocsp.urls),
        (OcspMode::Always, vec!["u".to_owned()])
    );
}

#[test]
fn monitoring() {
    let check = |text: &str, host: Option<&str>, http: i64, https: i64, base_path: &str| {
        let monitor = read_text(text).unwrap().config.monitor;
        assert_eq!(monitor.host.as_deref(), host, "{text}");
        let numbers = [monitor.http, monitor.https].map(MonitorOptions::number);
        assert_eq!(
            (numbers, &*monitor.base_path),
            ([http, https], base_path),
            "{text}"
        );
    };
    check("http: 8222", None, 8222, 0, "");
    check(
        "http: \"h:-1\", http_base_path: \"/a\"",
        Some("h"),
        -1,
        0,
        "/a",
    );
    check("https: \":1\"", None, 0, 1, "");
    check("monitor_port: 7, https_port: 8", None, 7, 8, "");
    check("http: \"h:1\", http: 2, https_port: 0", None, 2, 0, "");
}

#[test]
fn tls_blocks() {
    let pin = "AB".repeat(32);
    let tls = config(&format!(
        "tls {{ cert_file: x.pem, key_file: x.pem, ca_file: x.pem, verify_and_map: true, verify: false, timeout: 1.5,\
         handshake_first: \"300ms\", min_version: \"1.3\", pinned_certs: [\"{pin}\"], connection_rate_limit: 9 }}"
    ));
    assert!(tls.auth.map_certificates);
    let expected = TlsOptions {
        certificates: vec![crate::config::CertificateFiles {
            cert_file: "x.pem".into(),
            key_file: "x.pem".into(),
        }],
        ca_file: Some("x.pem".into()),
        verify: true,
        verify_and_map: true,
        timeout_ms: 1500,
        handshake_first: HandshakeFirst::Auto { fallback_ms: 300 },
        min_version: TlsVersion::V1_3,
        pinned_certs: BTreeSet::from([pin.to_lowercase()]),
        connection_rate_limit: 9,
        ..TlsOptions::default()
    };
    assert_eq!(tls.tls, Some(expected));
}

#[test]
fn users_and_permissions() {
    let auth = auth(
        "authorization {\n\
           default_permissions { publish: d }\n\
           users [\n\
             { user: a, password: p, permissions { pub: [x, y], sub { allow: \"s.* q\", deny: t } } }\n\
             { user: b, allowed_connection_types: [standard, WEBSOCKET], proxy_required: true }\n\
             { nkey: USER, permissions { allow_responses: true } }\n\
             { user: c, permissions { publish { deny: x }, allow_responses { max: 5, expires: \"-1s\" } } }\n\
             { user: d, permissions { publish: [], subscribe {} } }\n\
           ]\n\
         }\naccounts { A { default_permissions { subscribe: e }, users [ { user: f }, { user: g, permissions {} } ] } }",
    );
    let rules = |name: &str| -> PermissionRules {
        let user = auth
            .users
            .iter()
            .find(|user| user.name.as_deref() == Some(name));
        user.unwrap().permissions.clone().unwrap()
    };
    let list = |text: &str| Some(text.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(rules("a").publish.allow, list("x y"));
    assert_eq!(rules("a").subscribe.allow, Some(vec!["s.* q".to_owned()]));
    assert_eq!(rules("a").subscribe.deny, ["t"]);
    assert_eq!(rules("b").publish.allow, list("d"));
    assert_eq!(auth.users[2].nkey.as_deref(), Some(USER));
    let nkey = auth.users[2].permissions.clone().unwrap();
    assert_eq!(nkey.publish.allow, Some(Vec::new()));
    assert_eq!(nkey.responses, Some(ResponseRules::default()));
    assert_eq!(
        (rules("c").publish.allow, rules("c").publish.deny),
        (Some(vec![]), vec!["x".to_owned()])
    );
    let any_time = ResponseRules {
        max: Some(5),
        expires: None,
    };
    assert_eq!(rules("c").responses, Some(any_time));
    assert_eq!(rules("d"), PermissionRules::default());
    assert_eq!(rules("f").subscribe.allow, list("e"));
    assert_eq!(rules("g"), PermissionRules::default());
    let types = BTreeSet::from([ConnectionType::Standard, ConnectionType::Websocket]);
    assert_eq!(auth.users[1].connection_types, Some(types));
    assert!(auth.users[1].proxy_required && auth.users[1].pass.is_none());
    assert_eq!(auth.users[5].account.as_deref(), Some("A"));
}

#[test]
fn accounts_with_all() {
    let auth = auth(
        "accounts {\n\
           A {\n\
             exports [\n\
               { stream: \"s.*\", accounts: [B] }\n\
               { response: chunked, service: q, threshold: \"5s\", latency: l, allow_trace: true }\n\
             ]\n\
             mappings { m: [ { dest: n, weight: 20 }, { dest: o, weight: \"30%\", cluster: c } ] }\n\
             limits { max_connections: 5, max_payload: -1 }\n\
             msg_trace { dest: t, sampling: 7 }\n\
           }\n\
           B { imports [\n\
             { stream { account: A, subject: s.x }, prefix: \"p.\", allow_trace: true }\n\
             { service { account: A, subject: q }, to: r, share: true }\n\
           ] }\n\
         }\nmappings { g: h }",
    );
    let [a, b] = auth.accounts.as_slice() else {
        panic!("{:?}", auth.accounts);
    };
    assert_eq!(
        a.exports[0].accounts.as_deref(),
        Some(&["B".to_owned()][..])
    );
    let ExportKind::Service {
        response,
        threshold,
        latency,
        allow_trace,
    } = &a.exports[1].kind
    else {
        panic!("{:?}", a.exports);
    };
    assert_eq!(
        (*response, *threshold),
        (ResponseType::Chunked, Some(Duration::from_secs(5)))
    );
    assert_eq!(latency.as_ref().unwrap().sampling, Sampling::Percent(100));
    assert!(allow_trace);
    let [n, o] = a.mappings[0].destinations.as_slice() else {
        panic!("{:?}", a.mappings);
    };
    assert_eq!(
        (n.weight, o.weight, o.cluster.as_deref()),
        (20, 30, Some("c"))
    );
    assert_eq!(
        (a.limits.connections, a.limits.payload_bytes),
        (Some(5), None)
    );
    assert_eq!(a.trace.as_ref().unwrap().sampling, 7);
    assert_eq!(b.imports[0].to.as_deref(), Some("p.s.x"));
    assert_eq!(b.imports[0].kind, ImportKind::Stream { allow_trace: true });
    assert_eq!(
        (b.imports[1].to.as_deref(), b.imports[1].subject.as_str()),
        (Some("r"), "q")
    );
    assert_eq!(b.imports[1].kind, ImportKind::Service { share: true });
    assert_eq!(
        (
            auth.mappings[0].source.as_str(),
            auth.mappings[0].destinations[0].weight
        ),
        ("g", 100)
    );
}

#[test]
fn operators_and_resolvers() {
    let auth = auth(
        "operator: operator.jwt\nresolver_preload { A: eyJ }\nresolver_pinned_accounts: A\nproxies { trusted [ { public_key: ACCOUNT } ] }\n\
         resolver { type: FULL, dir: d, allow_delete: true, hard_delete: true, limit: 5, interval: \"1m\", timeout: \"2s\" }",
    );
    assert_eq!(auth.operators, ["eyJx.y.z"]);
    assert_eq!(auth.resolver_preload, [("A".to_owned(), "eyJ".to_owned())]);
    assert_eq!(
        (auth.pinned_accounts, auth.proxies),
        (vec!["A".to_owned()], vec![ACCOUNT.to_owned()])
    );
    let expected = ResolverDefinition::Directory {
        directory: "d".into(),
        cache: false,
        allow_delete: true,
        hard_delete: true,
        limit: Some(5),
        ttl: None,
        interval: Some(Duration::from_secs(60)),
        timeout: Some(Duration::from_secs(2)),
    };
    assert_eq!(auth.resolver, Some(expected));
    let url = config("resolver: URL(\"http://x/y\")").auth.resolver;
    assert_eq!(url, Some(ResolverDefinition::Url("http://x/y".to_owned())));
}

#[test]
fn duplicates_between_blocks() {
    let users = "authorization { users [ { user: a } ] }";
    let account = "accounts { A { users [ { user: a } ] } }";
    for (text, expected) in [
        (
            format!("{users}\n{account}"),
            "a.conf:2:16: Duplicate user \"a\" detected",
        ),
        (
            format!("{account}\n{users}"),
            "a.conf:2:1: Duplicate user \"a\" detected",
        ),
        (
            format!("{account}\nauthorization {{ user: b, password: c }}"),
            "a.conf:2:1: Can not have a single user/pass and a users array",
        ),
        (
            format!("authorization {{ user: b, password: c }}\n{account}"),
            "a.conf:2:16: Can not have a single user/pass and accounts",
        ),
        (
            format!("authorization {{ token: b }}\n{account}"),
            "a.conf:2:16: Can not have a token and accounts",
        ),
    ] {
        assert_eq!(first_error(&text), expected, "{text}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let config = config(
        "authorization { users [ { user: a, password: hunter2 } ] }, default_sentinel: s3cr3t",
    );
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("s3cr3t"),
        "{shown}"
    );
}
