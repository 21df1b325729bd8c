//! The tools that operators of nats-server use, with the server under test behind them.
//!
//! What is shown has to hold in any case. Where there is a `nats-server` on PATH, each tool is also run against that, in the
//! same scene, and must say the same but for numbers, and for what is listed in [`MAY_DIFFER`] with the reasons. A tool that
//! is not on PATH is said to be not tested. With `NATS_SERVER_BIN` the expectations are proven with a real nats-server.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "a part of it is enough here")]
#[path = "../monitoring/http.rs"]
mod http;
mod likeness;
mod run;
mod scene;

use std::collections::BTreeSet;
use std::time::Instant;

use harness::{Directory, PATIENCE};
use likeness::{Difference, differing_fields, differing_lines};
use run::{Live, Ran, missing, on_path, run};
use scene::Scene;

/// Who runs `nats`, with which arguments, how it ends, and what it must show. `{dir}` is an empty directory, `{id}` the server.
type Case = (&'static str, &'static str, i32, &'static [&'static str]);

/// All that reads from a server and ends by itself. What begins with `request` prints JSON for each server.
const COMMANDS: &[Case] = &[
    ("sys", "server list", 0, &["scene", "2.15.1", "yes"]),
    ("sys", "server ping 1", 0, &["scene", "rtt=", "1 replies"]),
    (
        "sys",
        "server info",
        0,
        &[
            "Server information for scene",
            "Maximum File Storage: 95 MiB",
        ],
    ),
    ("sys", "server info scene", 0, &["Active Accounts: 1"]),
    (
        "sys",
        "server report connections",
        0,
        &["Totals for 5 connections", "alice's", "bob's", "carol's"],
    ),
    (
        "sys",
        "server report connections --sort in-msgs --top 1",
        0,
        &["Top 1 Connections out of 5"],
    ),
    (
        "sys",
        "server report connections --account A",
        0,
        &["alice's"],
    ),
    (
        "sys",
        "server report connections --account A --subject foo.*",
        0,
        &["alice's"],
    ),
    ("sys", "server report accounts", 0, &["awkward", "$SYS"]),
    ("sys", "server report accounts A", 0, &["A"]),
    ("sys", "server report jetstream", 0, &["scene"]),
    ("sys", "server report jetstream --account A", 0, &["scene"]),
    ("sys", "server report cpu", 0, &["scene"]),
    ("sys", "server report mem", 0, &["scene"]),
    ("sys", "server report health", 0, &["scene", "ok (200)"]),
    (
        "sys",
        "server report health --account A --stream S --consumer C",
        0,
        &["ok (200)"],
    ),
    ("sys", "server report routes", 0, &[]),
    ("sys", "server report gateways", 0, &[]),
    ("sys", "server report leafnodes", 0, &[]),
    ("sys", "server report downgrade 0", 0, &[]),
    (
        "alice",
        "server check connection --connect-warn 4s --connect-critical 5s --rtt-warn 4s --rtt-critical 5s --req-warn 4s --req-critical 5s",
        0,
        &["OK Connection"],
    ),
    ("sys", "server check server --name scene", 0, &["OK scene"]),
    (
        "sys",
        "server check server --name scene --conn-warn 1 --conn-critical 2",
        2,
        &["CRITICAL scene"],
    ),
    (
        "sys",
        "server check server --name nobody",
        2,
        &["CRITICAL nobody"],
    ),
    ("alice", "server check stream --stream S", 0, &["OK S"]),
    (
        "alice",
        "server check stream --stream S --msgs-critical 3",
        2,
        &["CRITICAL S"],
    ),
    (
        "alice",
        "server check stream --stream M --lag-critical 5 --seen-critical 1h",
        0,
        &["OK M"],
    ),
    (
        "alice",
        "server check stream --stream NONE",
        2,
        &["CRITICAL"],
    ),
    (
        "alice",
        "server check stream --stream S --format text",
        0,
        &["S"],
    ),
    (
        "alice",
        "server check consumer --stream S --consumer C",
        0,
        &["OK S_C"],
    ),
    (
        "alice",
        "server check consumer --stream S --consumer C --unprocessed-critical 1",
        2,
        &["CRITICAL S_C"],
    ),
    (
        "alice",
        "server check message --stream S --subject s.1",
        0,
        &["OK"],
    ),
    ("alice", "server check jetstream", 0, &["OK JetStream"]),
    (
        "alice",
        "server check jetstream --format prometheus",
        0,
        &["nats_server_check_jetstream_streams"],
    ),
    (
        "alice",
        "server check jetstream --format json",
        0,
        &["\"status\""],
    ),
    (
        "alice",
        "server check kv --bucket BUCKET --key k",
        0,
        &["OK BUCKET"],
    ),
    (
        "alice",
        "server check kv --bucket NONE",
        2,
        &["CRITICAL NONE"],
    ),
    ("bob", "server check request --subject b.echo", 0, &["OK"]),
    (
        "sys",
        "server check meta --expect 1 --lag-critical 1 --seen-critical 1s",
        2,
        &["CRITICAL"],
    ),
    (
        "sys",
        "server request accounts",
        0,
        &["\"accounts\":[", "awkward"],
    ),
    (
        "sys",
        "server request accounts --account A",
        0,
        &["\"account_name\":\"A\""],
    ),
    (
        "sys",
        "server request connections",
        0,
        &["\"num_connections\":5"],
    ),
    (
        "sys",
        "server request connections --sort msgs_to --subscriptions --limit 20",
        0,
        &["\"limit\":20"],
    ),
    (
        "sys",
        "server request connections --filter-state closed",
        0,
        &["\"connections\":["],
    ),
    ("sys", "server request gateways", 0, &["\"data\":{"]),
    ("sys", "server request ipqueue", 0, &["\"server\":{"]),
    (
        "sys",
        "server request jetstream-health",
        0,
        &["\"status\":\"ok\""],
    ),
    (
        "sys",
        "server request jetstream-health --stream S --account A",
        0,
        &["\"status\":\"ok\""],
    ),
    (
        "sys",
        "server request jetstream-health --stream NONE --account A",
        0,
        &["not found"],
    ),
    ("sys", "server request jetstream", 0, &["\"messages\":5"]),
    (
        "sys",
        "server request jetstream --streams --consumer --config --account A",
        0,
        &["\"stream_detail\":[", "\"consumer_detail\":["],
    ),
    ("sys", "server request leafnodes", 0, &["\"leafnodes\":0"]),
    ("sys", "server request raft", 0, &["\"server\":{"]),
    ("sys", "server request routes", 0, &["\"num_routes\":0"]),
    (
        "sys",
        "server request subscriptions",
        0,
        &["\"num_subscriptions\":"],
    ),
    (
        "sys",
        "server request subscriptions --detail --filter-account A",
        0,
        &["\"subscriptions_list\":[", "foo.*"],
    ),
    (
        "sys",
        "server request variables",
        0,
        &["\"server_name\":\"scene\""],
    ),
    ("sys", "server account info A", 0, &["svc.q", "m.from"]),
    ("sys", "account info", 0, &["System Account: true"]),
    (
        "alice",
        "account info",
        0,
        &["Account: A (A)", "Streams: 3"],
    ),
    ("alice", "account report connections", 0, &["alice's"]),
    (
        "alice",
        "account report statistics",
        0,
        &["Server Statistics"],
    ),
    (
        "alice",
        "stream report",
        0,
        &["KV_BUCKET", "Replication Report"],
    ),
    ("alice", "consumer report S", 0, &["C"]),
    (
        "sys",
        "top scene -o {dir}/top",
        0,
        &["Connections Polled: 5", "carol's"],
    ),
    // What changes something, at the end.
    ("sys", "server request kick 99 {id}", 0, &[]),
    ("sys", "server config reload {id} --force", 0, &[]),
    ("sys", "server account purge A --force", 0, &["initiated"]),
];

/// What differs: how the command begins, how the line or field begins, and why.
const MAY_DIFFER: &[(&str, &str, &str)] = &[
    ("server info", "Git Commit", "no commit is built in"),
    ("server info", "Go Version", "there is no Go here"),
    (
        "server info",
        "Configuration Digest",
        "the stores are in different places",
    ),
    (
        "server info",
        "Always sync writes",
        "what is acknowledged has been synced where nothing is said",
    ),
    (
        "server account info",
        "Subject: $JS.API",
        "JetStream's requests are taken on the asker's shard, without an import",
    ),
    ("server account info", "Type: service", "of the same import"),
    ("server account info", "Sharing: true", "of the same import"),
    (
        "server account info",
        "Tracking: false",
        "of the same import",
    ),
    ("server account info", "", "of the same import"),
    (
        "server request",
        "server.feature_flags",
        "there are no features that could be turned off",
    ),
    ("server request", "data.feature_flags", "the same"),
    ("server info", "Storage Directory", "each has its own"),
    ("server config reload", "Storage Directory", "the same"),
    (
        "server config reload",
        "Git Commit",
        "of what is shown behind it",
    ),
    ("server config reload", "Go Version", "the same"),
    ("server config reload", "Configuration Digest", "the same"),
    ("server config reload", "Always sync writes", "the same"),
    (
        "server request ipqueue",
        "data.",
        "its queues are named after nats-server's own parts",
    ),
    (
        "server request variables",
        "data.jetstream.limits.default_max_consumers",
        "a stream has as many consumers as it likes where nothing is said",
    ),
    (
        "server request jetstream",
        "data.limits.default_max_consumers",
        "the same there",
    ),
    (
        "prometheus-nats-exporter",
        "gnatsd_varz_jetstream_limits_default_max_consumers{",
        "the same there",
    ),
    (
        "server request variables",
        "data.git_commit",
        "no commit is built in",
    ),
    (
        "server request variables",
        "data.jetstream.config.sync_always",
        "what is acknowledged has been synced where nothing is said",
    ),
    (
        "server request jetstream",
        "data.config.sync_always",
        "the same of it there",
    ),
];

/// Looks at text and JSON that tools print, once for the server under test and once for nats-server.
#[test]
fn nats_shows_what_it_shows_of_nats_server() {
    let Some(nats) = on_path("nats") else {
        return missing("nats");
    };
    let scene = Scene::new();
    let reference = reference_scene();
    let mut wrong = Vec::new();
    for (user, arguments, status, shown) in COMMANDS {
        let ran = run_nats(&nats, &scene, user, arguments);
        let text = ran.text();
        if ran.status != *status {
            wrong.push(format!(
                "{arguments}: ends with {}, not {status}: {text}",
                ran.status
            ));
        }
        for expected in *shown {
            if !text.contains(expected) {
                wrong.push(format!("{arguments}: no {expected:?} in {text}"));
            }
        }
        let Some(reference) = &reference else {
            continue;
        };
        let other = run_nats(&nats, reference, user, arguments);
        if other.status != *status {
            wrong.push(format!(
                "{arguments}: nats-server: ends with {}: {}",
                other.status,
                other.text()
            ));
        }
        let differences = if arguments.starts_with("server request") {
            differing_fields(&other.output, &ran.output)
        } else {
            differing_lines(&other.text(), &text)
        };
        wrong.extend(unexpected(arguments, differences));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Views that are drawn anew until they are stopped, on a terminal.
#[test]
fn live_views_show_what_goes_on() {
    let (Some(nats), Some(script)) = (on_path("nats"), on_path("script")) else {
        return missing("nats or script");
    };
    let scene = Scene::new();
    let nats = format!(
        "{nats} --no-context --server nats://sys:pw@{}",
        scene.address
    );
    let cases: &[(String, &[&str])] = &[
        (
            format!("{nats} server watch servers"),
            &["Server activity by", "scene", "Totals"],
        ),
        (
            format!("{nats} server watch jetstream"),
            &["HA Assets", "scene", "Totals"],
        ),
        (
            format!("{nats} server watch accounts"),
            &["Account activity by", "│ A "],
        ),
        (
            format!("{nats} server watch api requests"),
            &["JS API activity", "stream_info_request", "│ A "],
        ),
        (
            format!("{nats} server graph scene"),
            &["Statistics for scene", "Subscriptions"],
        ),
        (
            format!("{nats} server graph --jetstream scene"),
            &["JetStream Statistics for scene"],
        ),
        (format!("{nats} top scene"), &["2.15.1", "Polled", "bob's"]),
    ];
    for (command, shown) in cases {
        see(&script, command, &scene, shown);
    }
}

/// What `nats server watch api` lives on, without any tool.
#[test]
fn requests_are_shown_to_the_system_account() {
    let scene = Scene::new();
    // Whichever shards they are on.
    for _ in 0..8 {
        let heard = scene.overheard("$JS.API.>");
        let lines: Vec<&str> = heard.split("\r\n").collect();
        let is_told = lines[0].starts_with("HMSG $JS.API.STREAM.INFO.S 1 ")
            && heard.matches("HMSG").count() == 1
            && lines[2].starts_with("Nats-Request-Info: {")
            && lines[2].contains("\"acc\":\"A\"")
            && lines[2].contains("\"name\":\"alice's\"")
            && lines[2].contains("\"server\":\"scene\"")
            && lines[4] == "{}";
        assert!(is_told, "{heard:?}");
        let words = lines[0].split(' ').count();
        // With nats-server, who answers there answers the client.
        assert_eq!(
            words,
            if harness::is_nats_server() { 6 } else { 5 },
            "{heard:?}"
        );
        // Acknowledgements and other subjects are not.
        assert_eq!(scene.overheard("$JS.ACK.>"), "");
        assert_eq!(scene.overheard("s.>"), "");
    }
}

/// The older tool, which asks over HTTP.
#[test]
fn nats_top_lists_connections() {
    let (Some(top), Some(script)) = (on_path("nats-top"), on_path("script")) else {
        return missing("nats-top or script");
    };
    let scene = Scene::new();
    let reference = reference_scene();
    let command = |scene: &Scene| {
        let (address, port) = (scene.monitoring.ip(), scene.monitoring.port());
        format!("{top} -s {address} -m {port}")
    };
    // With subscriptions, which nats-server lists in no order.
    let live = format!("{} -u", command(&scene));
    see(
        &script,
        &live,
        &scene,
        &["2.15.1", "alice's", "carol's", "foo.*"],
    );
    let directory = Directory::new();
    let snapshot = |scene: &Scene, name: &str| {
        let file = directory.path().join(name);
        let line = format!("{} -o {}", command(scene), file.display());
        let ran = run(&script, &["-qec", &line, "/dev/null"]);
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {}", ran.text()))
    };
    let text = snapshot(&scene, "one");
    for expected in ["Server: scene", "Connections Polled: 4", "bob's"] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
    if let Some(reference) = &reference {
        let wrong = unexpected(
            "nats-top",
            differing_lines(&snapshot(reference, "other"), &text),
        );
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// What Prometheus gets of nats-server through its exporter.
#[test]
fn prometheus_nats_exporter_finds_its_fields() {
    let Some(exporter) = on_path("prometheus-nats-exporter") else {
        return missing("prometheus-nats-exporter");
    };
    let scene = Scene::new();
    let ours = exported(&exporter, &scene);
    for expected in [
        "gnatsd_varz_connections{server_id}",
        "gnatsd_connz_in_msgs{",
        "gnatsd_healthz_status",
        "gnatsd_subsz_num_subscriptions",
        "gnatsd_accstatz_current_connections",
        "gnatsd_routez_num_routes",
        "jetstream_server_total_streams",
        "jetstream_stream_total_messages",
        "jetstream_consumer_num_pending",
    ] {
        let found = ours.iter().any(|series| series.starts_with(expected));
        assert!(found, "no {expected} in {ours:#?}");
    }
    if let Some(reference) = reference_scene() {
        let theirs = exported(&exporter, &reference);
        let differences = differing_lines(&joined(&theirs), &joined(&ours));
        let wrong = unexpected("prometheus-nats-exporter", differences);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// What Prometheus gets without an exporter, read by its own tool and by its own library, in both formats.
#[test]
fn metrics_are_as_prometheus_reads_them() {
    if harness::is_nats_server() {
        return;
    }
    let scene = Scene::new();
    let directory = Directory::new();
    let mut files = Vec::new();
    for (name, accepted) in [
        ("classic", "text/plain"),
        ("open", "application/openmetrics-text; version=1.0.0"),
    ] {
        let answer = http::request(
            scene.monitoring,
            &format!(
                "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accepted}\r\nConnection: close\r\n\r\n"
            ),
        );
        directory.write(name, &answer.text());
        files.push(directory.path().join(name).display().to_string());
    }
    match on_path("promtool") {
        Some(promtool) => {
            let ran = run(
                "sh",
                &[
                    "-c",
                    &format!("{promtool} check metrics --extended < {}", files[0]),
                ],
            );
            // It also says what could be called better.
            assert_eq!(ran.status, 0, "{}", ran.text());
        }
        None => missing("promtool"),
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/metrics.py");
    let ran = run("python3", &[script, &files[0], &files[1]]);
    match ran.status {
        0 => assert!(ran.output.starts_with("read "), "{}", ran.text()),
        77 => missing("prometheus_client"),
        _ => panic!("{}", ran.text()),
    }
}

/// What differs and is not known to.
fn unexpected(command: &str, differences: Vec<Difference>) -> Vec<String> {
    let is_known = |what: &str| {
        let mut known = MAY_DIFFER.iter();
        known.any(|(of, begin, _)| {
            let is_it = match begin.is_empty() {
                true => what.is_empty(),
                false => what.starts_with(begin),
            };
            command.starts_with(of) && is_it
        })
    };
    let unknown = differences
        .into_iter()
        .filter(|difference| !is_known(&difference.what));
    unknown
        .map(|difference| format!("{command}: {difference}"))
        .collect()
}

/// The scene with the nats-server on PATH, unless that is what is tested.
fn reference_scene() -> Option<Scene> {
    if harness::is_nats_server() {
        return None;
    }
    let program = on_path("nats-server");
    if program.is_none() {
        missing("nats-server to compare with");
    }
    program.map(|program| Scene::of(program.as_ref()))
}

fn run_nats(nats: &str, scene: &Scene, user: &str, arguments: &str) -> Ran {
    let directory = Directory::new();
    let id = http::get(scene.monitoring, "/varz").json()["server_id"].clone();
    let arguments = arguments
        .replace("{dir}", &directory.path().display().to_string())
        .replace("{id}", id.as_str().expect("it has an id"));
    let server = format!("nats://{user}:pw@{}", scene.address);
    let mut all = vec!["--no-context", "--timeout", "5s", "--server", &server];
    all.extend(arguments.split(' '));
    let mut ran = run(nats, &all);
    // What it wrote to a file.
    if let Ok(text) = std::fs::read_to_string(directory.path().join("top")) {
        ran.output.push_str(&text);
    }
    ran
}

/// Runs it on a terminal until it has shown all of this.
fn see(script: &str, command: &str, scene: &Scene, shown: &[&str]) {
    let mut live = Live::start(script, command);
    let until = Instant::now() + PATIENCE * 2;
    while !shown.iter().all(|expected| live.seen().contains(expected)) {
        assert!(
            Instant::now() < until && live.more(),
            "{command}: not all of {shown:?} in {:?}",
            live.seen()
        );
        // Events and requests for those who look at them.
        scene.come_and_go();
        scene.ask_for_a_stream();
    }
}

fn joined(lines: &BTreeSet<String>) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Names and labels of what the exporter finds.
fn exported(exporter: &str, scene: &Scene) -> BTreeSet<String> {
    let text = run::export(exporter, scene.monitoring);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let own = |line: &&str| line.starts_with("gnatsd_") || line.starts_with("jetstream_");
    lines.filter(own).map(likeness::series).collect()
}
