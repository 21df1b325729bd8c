//! Each setting, changed alone: what is said, or why not.

use std::path::Path;

use super::*;
use crate::config::{Surroundings, file};

struct Files<'f>(&'f str);

impl Surroundings for Files<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        match path.to_str() {
            Some("a.conf") => Ok(self.0.into()),
            _ => Ok(Vec::new()),
        }
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

fn config(text: &str) -> Config {
    match file::read(Path::new("a.conf"), &Files(text)) {
        Ok(reading) => reading.config,
        Err(error) => panic!("{text}\n{error}"),
    }
}

fn said(old: &str, new: &str) -> Result<Vec<String>, String> {
    let (old, mut new) = (config(old), config(new));
    settle(&old, &mut new);
    let lines = changes(&old, &new)?.into_iter().map(|change| change.said);
    Ok(lines.filter(|line| !line.is_empty()).collect())
}

#[track_caller]
fn check(old: &str, new: &str, expected: Result<&[&str], &str>) {
    let found = said(old, new);
    let found: Result<Vec<&str>, &str> = match &found {
        Ok(lines) => Ok(lines.iter().map(String::as_str).collect()),
        Err(text) => Err(text),
    };
    let expected = expected.map(<[&str]>::to_vec);
    assert_eq!(found, expected, "{old} → {new}");
}

const USER: &str = "authorization { users = [ { user: a, password: b } ] }";

#[test]
fn what_is_followed() {
    for (old, new, line) in [
        (
            "",
            "client_advertise: \"x:44\"",
            "Reload: client_advertise = x:44",
        ),
        ("", "debug: true", "Reloaded: debug = true"),
        ("trace: true", "", "Reloaded: trace = false"),
        ("logtime: false", "", "Reloaded: logtime = true"),
        ("", "logtime_utc: true", "Reloaded: logtime_utc = true"),
        ("", "log_file: x", "Reloaded: log_file = x"),
        ("log_file: x", "", "Reloaded: log_file = "),
        ("", "syslog: true", "Reloaded: syslog = true"),
        (
            "",
            "remote_syslog: \"udp://h:1\"",
            "Reloaded: remote_syslog = udp://h:1",
        ),
        (
            "",
            "log_size_limit: 1000",
            "Reloaded: log_size_limit = 1000",
        ),
        ("", "logfile_max_num: 3", "Reloaded: log_max_num = 3"),
        ("", "log_format: json", "Reloaded: log_format = json"),
        ("", "max_connections: 7", "Reloaded: max_connections = 7"),
        ("", "max_subs: 7", "Reloaded: max_subscriptions = 7"),
        (
            "",
            "max_sub_tokens: 7",
            "Reloaded: max_subscription_tokens = 7",
        ),
        (
            "",
            "max_control_line: 500",
            "Reloaded: max_control_line = 500",
        ),
        ("", "max_payload: 500", "Reloaded: max_payload = 500"),
        ("", "max_pending: 5MB", "Reloaded: max_pending = 5242880"),
        ("", "ping_interval: \"5s\"", "Reloaded: ping_interval = 5s"),
        ("", "ping_max: 5", "Reloaded: ping_max = 5"),
        (
            "",
            "write_deadline: \"3s\"",
            "Reloaded: write_deadline = 3s",
        ),
        (
            "",
            "max_traced_msg_len: 5",
            "Reloaded: max_traced_msg_len = 5",
        ),
        (
            "",
            "max_connections_per_address: 5",
            "Reloaded: max_connections_per_address = 5",
        ),
        (
            "",
            "max_unauthenticated: 5",
            "Reloaded: max_unauthenticated = 5",
        ),
        (
            "",
            "lame_duck_duration: \"50s\"",
            "Reloaded: lame_duck_duration = 50s",
        ),
        (
            "",
            "lame_duck_grace_period: \"5s\"",
            "Reloaded: lame_duck_grace_period = 5s",
        ),
        (
            "",
            "authorization { timeout: 5 }",
            "Reloaded: authorization timeout = 5",
        ),
        ("", "server_tags: [a]", "Reloaded: tags"),
        ("", "server_metadata { a: b }", "Reloaded: metadata"),
        ("", "pid_file: x", "Reloaded: pid_file = x"),
        ("", "ports_file_dir: x", "Reloaded: ports_file_dir = x"),
        ("", USER, "Reloaded: authorization users"),
        (
            USER,
            "authorization { users = [ { user: a, password: c } ] }",
            "Reloaded: authorization users",
        ),
        (
            "",
            "authorization { users = [ { nkey: UCARKS2E3KVB7YORL2DG34XLT7PUCOL2SVM7YXV6ETHLW6Z46UUJ2VZ3 } ] }",
            "Reloaded: authorization nkey users",
        ),
        (
            "",
            "authorization { token: x }",
            "Reloaded: authorization token",
        ),
        (
            "authorization { user: a, password: b }",
            "authorization { user: a, password: c }",
            "Reloaded: authorization password",
        ),
        (
            "authorization { user: a, password: b }",
            "authorization { user: c, password: b }",
            "Reloaded: authorization username",
        ),
        ("", "accounts { A {} }", "Reloaded: accounts"),
        (
            "mappings { a: b }",
            "mappings { a: c }",
            "Reloaded: accounts",
        ),
        (
            "accounts { A { exports [ { stream: x } ] } }",
            "accounts { A {} }",
            "Reloaded: accounts",
        ),
        ("", "allow_non_tls: true", "Reloaded: allow_non_tls = true"),
        ("", "ocsp: false", "Reloaded: OCSP"),
        (
            "jetstream { max_mem: 1M }",
            "jetstream { max_mem: 2M }",
            "Reloaded: JetStream max_mem_store = 1.91 MB",
        ),
        (
            "jetstream { max_file: 1M }",
            "jetstream { max_file: 3M }",
            "Reloaded: JetStream max_file_store = 2.86 MB",
        ),
        (
            "jetstream {}",
            "jetstream { limits { max_ack_pending: 5 } }",
            "Reloaded: JetStream limits",
        ),
        (
            "jetstream {}",
            "jetstream { limits { duplicate_window: \"5s\" } }",
            "Reloaded: JetStream limits",
        ),
    ] {
        check(old, new, Ok(&[line]));
    }
}

#[test]
fn what_is_refused() {
    let fixed = |name: &str, old: &str, new: &str| {
        format!("config reload not supported for {name}: old={old}, new={new}")
    };
    let with_user = |line: &str| format!("{line}\n{USER}");
    for (old, new, name, before, after) in [
        ("server_name: a", "server_name: b", "ServerName", "a", "b"),
        (
            "http_port: 8222",
            "http_port: 8223",
            "HTTPPort",
            "8222",
            "8223",
        ),
        (
            "http_base_path: a",
            "http_base_path: b",
            "HTTPBasePath",
            "a",
            "b",
        ),
        ("host: a", "host: b", "Host", "a", "b"),
        ("port: 4999", "port: 5000", "Port", "4999", "5000"),
        ("port: 4999", "", "Port", "4999", "4222"),
        (
            "",
            "no_header_support: true",
            "NoHeaderSupport",
            "false",
            "true",
        ),
        (
            "max_closed_clients: 10",
            "max_closed_clients: 11",
            "MaxClosedClients",
            "10",
            "11",
        ),
        ("", "no_sys_acc: true", "NoSystemAccount", "false", "true"),
        (
            "accounts { S {}, T {} }\nsystem_account: S",
            "accounts { S {}, T {} }\nsystem_account: T",
            "SystemAccount",
            "S",
            "T",
        ),
        (
            "accounts { S {} }",
            "accounts { S {} }\nsystem_account: S",
            "SystemAccount",
            "$SYS",
            "S",
        ),
        (
            &with_user(""),
            &with_user("no_auth_user: a"),
            "NoAuthUser",
            "",
            "a",
        ),
        (
            &with_user("no_auth_user: a"),
            &with_user(""),
            "NoAuthUser",
            "a",
            "",
        ),
        (
            "",
            "authorization { proxy_required: true }",
            "ProxyRequired",
            "false",
            "true",
        ),
        ("", "jetstream: true", "JetStream", "false", "true"),
        ("jetstream: true", "", "JetStream", "true", "false"),
        (
            "jetstream { domain: a }",
            "jetstream { domain: b }",
            "JetStreamDomain",
            "a",
            "b",
        ),
        (
            "jetstream { strict: true }",
            "jetstream { strict: false }",
            "NoJetStreamStrict",
            "false",
            "true",
        ),
        (
            "jetstream { key: a }",
            "jetstream { key: b }",
            "JetStreamKey",
            "[REDACTED]",
            "[REDACTED]",
        ),
        (
            "jetstream { unique_tag: a }",
            "jetstream { unique_tag: b }",
            "JetStreamUniqueTag",
            "a",
            "b",
        ),
        (
            "jetstream { max_buffered_msgs: 1 }",
            "jetstream { max_buffered_msgs: 2 }",
            "StreamMaxBufferedMsgs",
            "1",
            "2",
        ),
    ] {
        check(old, new, Err(&fixed(name, before, after)));
    }
    for (old, new, reason) in [
        (
            "jetstream { max_mem: 2M }",
            "jetstream { max_mem: 1M }",
            "for decreasing jetstream max memory and store",
        ),
        (
            "jetstream { max_file: 2M }",
            "jetstream {}",
            "for jetstream max memory and max store",
        ),
        (
            "jetstream {}",
            "jetstream { max_file: 2M }",
            "for jetstream dynamic max memory and store",
        ),
        (
            "jetstream { store_dir: a }",
            "jetstream { store_dir: b }",
            "for jetstream storage directory",
        ),
        (
            "jetstream { store_dir: a }",
            "jetstream {}",
            "for jetstream storage dir",
        ),
        (
            "jetstream { sync: always }",
            "jetstream { sync: \"1s\" }",
            "for SyncInterval: old=always, new=1s",
        ),
    ] {
        check(
            old,
            new,
            Err(&format!("config reload not supported {reason}")),
        );
    }
    let without = config("");
    let mut with = config("");
    with.auth.resolver = Some(ResolverDefinition::Memory);
    let moving = "config reload does not support moving to or from an account resolver";
    assert_eq!(changes(&without, &with), Err(moving.to_owned()));
    assert_eq!(changes(&with, &without), Err(moving.to_owned()));
}

#[test]
fn tls_is_read_again_in_any_case() {
    let tls = |more: &str| format!("tls {{ cert_file: c, key_file: k, {more} }}");
    let enabled = "Reloaded: tls = enabled";
    check(&tls(""), &tls(""), Ok(&[enabled]));
    check(&tls(""), &tls("cert_file: d"), Ok(&[enabled]));
    check("", "", Ok(&[]));
    // The time to authenticate follows from that of TLS on the command line only.
    check(&tls(""), "", Ok(&["Reloaded: tls = disabled"]));
    check("", &tls(""), Ok(&[enabled]));
    check(
        &tls(""),
        &tls("timeout: 5"),
        Ok(&[enabled, "Reloaded: tls timeout = 5"]),
    );
    check(
        &tls(""),
        &tls("handshake_first: \"100ms\""),
        Ok(&[
            enabled,
            "Reloaded: Client TLS handshake first: true",
            "Reloaded: Client TLS handshake first fallback delay: 100ms",
        ]),
    );
    let pin =
        "pinned_certs: [\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]";
    check(
        &tls(""),
        &tls(pin),
        Ok(&[enabled, "Reloaded: 1 pinned_certs"]),
    );
}

#[test]
fn what_needs_nothing() {
    for (old, new) in [
        ("", ""),
        ("port: 4999", "port: -1"),
        ("system_account: \"$SYS\"", ""),
        ("connect_error_reports: 4", "reconnect_error_reports: 5"),
        ("# a", "# b"),
        // Without JetStream nobody is limited.
        (
            "jetstream { enabled: false }",
            "jetstream { enabled: false, max_mem: 1M, max_file: 1M }",
        ),
        (
            "jetstream { enabled: false, max_mem: 2M }",
            "jetstream { enabled: false, max_mem: 1M }",
        ),
        (
            "disable_sublist_cache: false",
            "disable_sublist_cache: true",
        ),
        ("prof_block_rate: 1", "prof_block_rate: 2"),
    ] {
        check(old, new, Ok(&[]));
    }
    check(
        &format!("no_auth_user: a\n{USER}"),
        "authorization { users = [ { user: b, password: b } ] }",
        Ok(&["Reloaded: authorization users"]),
    );
}

/// One that is refused keeps all others from being followed.
#[test]
fn all_or_nothing() {
    check(
        "server_name: a\ndebug: true",
        "server_name: b\ndebug: false",
        Err("config reload not supported for ServerName: old=a, new=b"),
    );
}

/// No secret is said.
#[test]
fn secrets() {
    let secret = "hunter2";
    for (old, new) in [
        (
            "authorization { token: hunter2 }",
            "authorization { token: hunter22 }",
        ),
        (
            "authorization { user: a, password: hunter2 }",
            "authorization { user: a, password: hunter22 }",
        ),
        ("jetstream { key: hunter2 }", "jetstream { key: hunter22 }"),
        (
            "jetstream { prev_key: hunter2 }",
            "jetstream { prev_key: hunter22 }",
        ),
    ] {
        let text = format!("{:?}", said(old, new));
        assert!(!text.contains(secret), "{text}");
    }
    let with = |url: &str| {
        let mut config = config("");
        config.auth.resolver = Some(ResolverDefinition::Url(url.to_owned()));
        config
    };
    let (old, new) = (
        with("https://u:hunter2@a.example:1/jwt/v1/accounts/"),
        with("http://b.example/x?token=hunter2"),
    );
    assert_eq!(
        changes(&old, &new).unwrap_err(),
        "config reload not supported for AccountResolver: old=https://a.example:1, new=http://b.example"
    );
}

#[test]
fn sizes() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KB"),
        (2_000_000, "1.91 MB"),
        (i64::MAX, "8.00 EB"),
    ] {
        assert_eq!(friendly_bytes(bytes), text);
    }
}
