//! Traced messages: held against what nats-server 2.15.1 reports in the same scenes
//! (`recorded_traces.json`, without times, numbers and names of the server), on one to three
//! shards.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use serde_json::{Value, json};

use super::house::{House, account, reply_of};
use crate::auth::definition::{
    AccountDefinition, ExportKind, ImportKind, PermissionRules, ResponseType, SubjectRules,
    TraceDefinition,
};
use crate::auth::permissions::Permissions;

const DEST: &str = "Nats-Trace-Dest: t.d";
const ONLY: &str = "Nats-Trace-Only: 1";
const SAMPLED: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn recorded() -> BTreeMap<String, Vec<Value>> {
    let recorded = include_str!("recorded_traces.json");
    serde_json::from_str(recorded).expect("it is an object of lists")
}

fn accounts() -> Vec<AccountDefinition> {
    let single = ResponseType::Singleton;
    let mut a = account("A")
        .exports_stream("s.>")
        .exports_service("svc.*", single)
        .exports_service("dark.*", single)
        .maps("m.one", "m.two");
    let ExportKind::Service { allow_trace, .. } = &mut a.exports[1].kind else {
        unreachable!("it is a service");
    };
    *allow_trace = true;
    a.trace = Some(TraceDefinition {
        destination: "acc.trace".to_owned(),
        sampling: 100,
    });
    let mut b = account("B")
        .imports_stream("A", "s.>", "from.a.s.>")
        .imports_service("A", "svc.*", "do.*")
        .imports_service("A", "dark.*", "dark2.*");
    b.imports[0].kind = ImportKind::Stream { allow_trace: true };
    vec![a, b, account("C").imports_stream("A", "s.>", "")]
}

fn hpub(subject: &str, reply: &str, lines: &[&str]) -> String {
    let mut block = "NATS/1.0\r\n".to_owned();
    for line in lines {
        block.push_str(line);
        block.push_str("\r\n");
    }
    block.push_str("\r\n");
    let (len, gap) = (block.len(), if reply.is_empty() { "" } else { " " });
    format!(
        "HPUB {subject} {reply}{gap}{len} {}\r\n{block}hi\r\n",
        len + 2
    )
}

/// A house with the clients of the recording, by name.
struct Scene {
    house: House,
    clients: BTreeMap<&'static str, usize>,
}

impl Scene {
    fn new(shards: usize) -> Self {
        Self::of(shards, &accounts())
    }

    fn of(shards: usize, accounts: &[AccountDefinition]) -> Self {
        let mut scene = Self {
            house: House::new(shards, accounts),
            clients: BTreeMap::new(),
        };
        for (name, shown, account, echo) in [
            ("a", "alice", "A", true),
            ("w", "watch", "A", true),
            ("q", "queue", "A", true),
            ("b", "bob", "B", true),
            ("c", "", "C", true),
            ("lim", "", "A", true),
            ("ne", "noecho", "A", false),
        ] {
            let number = scene.house.guest(account, 0);
            let session = scene.house.session(number);
            session.echo = echo;
            session.mapped = account == "A";
            let options = session.options.as_mut().expect("it has said CONNECT");
            options.name = (!shown.is_empty()).then(|| shown.into());
            if name == "lim" {
                let rules = PermissionRules {
                    publish: denying(&["no.>", "tdeny"]),
                    subscribe: denying(&["d.x"]),
                    responses: None,
                };
                let permissions = Permissions::new(rules).expect("they are subjects");
                let admission = session.admission.as_deref().expect("it was let in");
                let mut admission = admission.clone();
                session.permissions_id = permissions.id();
                admission.permissions = Some(Arc::new(permissions));
                session.admission = Some(Arc::new(admission));
            }
            scene.clients.insert(name, number);
        }
        scene
    }

    fn say(&mut self, name: &str, text: &str) {
        self.house.say(self.clients[name], text);
    }

    fn heard(&mut self, name: &str) -> String {
        self.house.heard(self.clients[name])
    }

    /// The reports that anybody has heard, and how often `hi` was delivered.
    fn reports(&mut self) -> (Vec<Value>, usize) {
        let all: String = ["a", "w", "q", "b", "c", "lim", "ne"]
            .map(|name| self.heard(name))
            .concat();
        let lines = all.lines();
        let reports = lines.clone().filter(|line| line.starts_with("{\"server\""));
        let reports = reports.map(|line| serde_json::from_str(line).expect("it is JSON"));
        (
            reports.collect(),
            lines.filter(|&line| line == "hi").count(),
        )
    }
}

fn denying(subjects: &[&str]) -> SubjectRules {
    SubjectRules {
        allow: None,
        deny: subjects.iter().map(|&s| s.to_owned()).collect(),
    }
}

/// Without what differs between servers, runs and shards. Events are put in order: only the first
/// one's place is certain.
fn comparable(mut report: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("feature_flags");
                for (key, field) in fields.iter_mut() {
                    match key.as_str() {
                        "cid" | "seq" => *field = json!(0),
                        "ts" | "time" | "id" | "ver" | "host" | "name"
                            if key != "name" || field == "srv" || field == "house" =>
                        {
                            *field = json!("")
                        }
                        _ if field.as_str().is_some_and(|s| s.starts_with("_R_")) => {
                            *field = json!("_R_")
                        }
                        _ => strip(field),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut report);
    let events = report["events"].as_array_mut().expect("it has events");
    events[1..].sort_by_key(Value::to_string);
    report
}

#[test]
fn scenes_are_reported_as_nats_server_does() {
    let recorded = recorded();
    // Title, what is subscribed before, who publishes what, and deliveries of the message itself.
    type Step<'a> = (&'a str, &'a [(&'a str, &'a str)], (&'a str, String), usize);
    let steps: &[Step<'_>] = &[
        (
            "plain+queue",
            &[
                ("w", "SUB t.d 1\r\nSUB acc.trace 2\r\n"),
                ("q", "SUB p.* grp 1\r\nSUB p.x 3\r\n"),
                ("b", "SUB t.d 8\r\n"),
            ],
            (
                "a",
                hpub("p.x", "", &[DEST, "X: 1", "x: 2", "X: 3", "Empty: "]),
            ),
            2,
        ),
        (
            "only",
            &[],
            ("a", hpub("p.x", "", &[DEST, "Nats-Trace-Only: true"])),
            0,
        ),
        ("nobody", &[], ("a", hpub("nobody", "rr", &[DEST])), 0),
        (
            "mapping",
            &[("a", "SUB m.two 5\r\n")],
            ("a", hpub("m.one", "", &[DEST])),
            1,
        ),
        (
            "stream import",
            &[
                ("b", "SUB from.a.s.1 4\r\nSUB from.a.s.1 qq 5\r\n"),
                ("c", "SUB s.1 6\r\n"),
                ("a", "SUB s.1 7\r\n"),
            ],
            ("a", hpub("s.1", "", &[DEST])),
            4,
        ),
        (
            "stream import only",
            &[],
            ("a", hpub("s.1", "", &[DEST, ONLY])),
            0,
        ),
        (
            "service import nobody",
            &[],
            ("b", hpub("do.1", "inb", &[DEST])),
            0,
        ),
        (
            "service import",
            &[
                ("q", "SUB svc.* 9\r\nSUB dark.* 9d\r\n"),
                ("b", "SUB inb 10\r\n"),
            ],
            ("b", hpub("do.1", "inb", &[DEST])),
            1,
        ),
        (
            "service import only",
            &[],
            ("b", hpub("do.1", "inb", &[DEST, ONLY])),
            0,
        ),
        (
            "service import dark",
            &[],
            ("b", hpub("dark2.1", "inb", &[DEST])),
            1,
        ),
        (
            "service import dark only",
            &[],
            ("b", hpub("dark2.1", "inb", &[DEST, ONLY])),
            0,
        ),
        // GHSA-2026: what one may not publish to, one may not have published to.
        (
            "dest denied",
            &[],
            ("lim", hpub("p.x", "", &["Nats-Trace-Dest: tdeny"])),
            0,
        ),
        ("subject denied", &[], ("lim", hpub("no.x", "", &[DEST])), 0),
        (
            "dest invalid",
            &[],
            ("lim", hpub("p.x", "", &["Nats-Trace-Dest: a.*"])),
            2,
        ),
        (
            "dest invalid only",
            &[],
            ("lim", hpub("p.x", "", &["Nats-Trace-Dest: a.*", ONLY])),
            0,
        ),
        (
            "sub deny",
            &[("lim", "SUB d.* 11\r\n")],
            ("a", hpub("d.x", "", &[DEST])),
            0,
        ),
        (
            "no echo",
            &[("ne", "SUB e 12\r\n")],
            ("ne", hpub("e", "", &[DEST])),
            0,
        ),
        (
            "auto unsub",
            &[("a", "SUB au 13\r\nUNSUB 13 1\r\n")],
            ("a", hpub("au", "", &[DEST]).repeat(2)),
            1,
        ),
        ("external", &[], ("a", hpub("p.x", "", &[SAMPLED])), 2),
        (
            "external w/o account dest",
            &[],
            ("b", hpub("p.x", "", &[SAMPLED])),
            0,
        ),
        (
            "origin account",
            &[],
            (
                "a",
                hpub("p.x", "", &[DEST, "Nats-Trace-Origin-Account: A"]),
            ),
            2,
        ),
        (
            "origin account only",
            &[],
            (
                "a",
                hpub("p.x", "", &[DEST, "Nats-Trace-Origin-Account: A", ONLY]),
            ),
            0,
        ),
        (
            "hop",
            &[],
            ("a", hpub("p.x", "", &[DEST, "Nats-Trace-Hop: 1.2"])),
            2,
        ),
        ("only without dest", &[], ("a", hpub("p.x", "", &[ONLY])), 2),
        ("empty token", &[], ("a", hpub("p..x", "", &[DEST])), 0),
        (
            "reserved dest",
            &[],
            ("a", hpub("p.x", "", &["Nats-Trace-Dest: $NRG.x"])),
            0,
        ),
        (
            "reserved reply",
            &[],
            ("a", hpub("p.x", "_R_.x", &[DEST])),
            0,
        ),
        (
            "service subject in own account",
            &[],
            ("a", hpub("dark.1", "", &[DEST])),
            1,
        ),
    ];
    for shards in 1..=3 {
        let mut scene = Scene::new(shards);
        let mut seen = 0;
        for (title, before, (from, publish), deliveries) in steps {
            for (name, text) in *before {
                scene.say(name, text);
            }
            scene.say(from, publish);
            let (reports, delivered) = scene.reports();
            let reports: Vec<Value> = reports.into_iter().map(comparable).collect();
            let expected: Vec<Value> = recorded[*title].iter().cloned().map(comparable).collect();
            assert_eq!(reports, expected, "{title} on {shards} shards");
            assert_eq!(delivered, *deliveries, "{title} on {shards} shards");
            seen += 1;
        }
        // A response, which is never traced further than to where it goes.
        scene.say("b", "PUB do.1 inb 0\r\n\r\n");
        let reply = reply_of(&scene.heard("q"));
        scene.say("q", &hpub(&reply, "", &[DEST, ONLY]));
        assert_eq!(scene.reports().1, 0, "looking is not answering");
        scene.say("q", &hpub(&reply, "", &[DEST]));
        let answer = scene.heard("b");
        assert!(
            answer.contains("Nats-Trace-Dest: trace disabled"),
            "{answer}"
        );
        let (reports, _) = scene.reports();
        let reports: Vec<Value> = reports.into_iter().map(comparable).collect();
        let expected: Vec<Value> = recorded["response traced"]
            .iter()
            .cloned()
            .map(comparable)
            .collect();
        assert_eq!(reports, expected);
        seen += 1;
        assert_eq!(
            seen,
            recorded.len(),
            "each scene of the recording is played"
        );
    }
}

/// What ends the connection of its publisher is reported as well, if its header has come.
#[test]
fn too_large_messages_are_reported() {
    let block = format!("NATS/1.0\r\n{DEST}\r\n\r\n");
    let len = block.len();
    let line = format!("HPUB p.x {len} 2000034\r\n");
    for (said, reports_expected) in [(format!("{line}{block}xx"), 1), (line, 0)] {
        let mut scene = Scene::new(2);
        scene.say("w", "SUB t.d 1\r\n");
        let q = scene.clients["q"];
        scene.house.session(q).bounds.payload_bytes = 1 << 20;
        scene.say("q", &said);
        let (reports, _) = scene.reports();
        assert_eq!(reports.len(), reports_expected);
        for report in reports {
            let ingress = &report["events"][0];
            assert_eq!(report["request"]["msgsize"], 2_000_034);
            assert_eq!(ingress["error"], "maximum payload exceeded");
            assert_eq!(
                (&ingress["subj"], &ingress["name"]),
                (&json!("p.x"), &json!("queue"))
            );
        }
    }
}

/// Of what others ask to be traced the account takes a share; the rest is not traced by servers
/// further on either.
#[test]
fn an_account_may_trace_a_share() {
    let mut accounts = accounts();
    if let Some(trace) = &mut accounts[0].trace {
        trace.sampling = 20;
    }
    let mut scene = Scene::of(1, &accounts);
    scene.say("w", "SUB acc.trace 1\r\nSUB p.x 2\r\n");
    for _ in 0..1000 {
        scene.say("a", &hpub("p.x", "", &[SAMPLED]));
    }
    let heard = scene.heard("w");
    let traced = heard.matches("{\"server\"").count();
    assert!((150..250).contains(&traced), "{traced}");
    let disabled = heard
        .matches("\r\nNats-Trace-Dest: trace disabled\r\n")
        .count();
    assert_eq!(traced + disabled, 1000);
}

/// What a service of another account is told of the trace.
#[test]
fn services_do_not_report_to_the_requester() {
    for shards in 1..=2 {
        let mut scene = Scene::new(shards);
        scene.say("q", "SUB svc.* 1\r\nSUB dark.* 2\r\n");
        scene.say("b", &hpub("do.1", "", &[DEST]));
        let heard = scene.heard("q");
        assert!(heard.contains("\r\nNats-Trace-Dest: _R_."), "{heard}");
        assert!(!heard.contains("t.d"), "{heard}");
        scene.say("b", &hpub("dark2.1", "", &[DEST]));
        let heard = scene.heard("q");
        assert!(
            heard.contains("\r\nNats-Trace-Dest: trace disabled\r\n"),
            "{heard}"
        );
    }
}

#[test]
fn reports_are_compressed_as_asked_for() {
    let gunzip = |bytes: &[u8]| {
        let mut text = String::new();
        let read = flate2::read::GzDecoder::new(bytes).read_to_string(&mut text);
        read.map(|_| text)
    };
    let unsnap = |bytes: &[u8]| {
        let mut text = String::new();
        let read = snap::read::FrameDecoder::new(bytes).read_to_string(&mut text);
        read.map(|_| text)
    };
    type Decode<'a> = &'a dyn Fn(&[u8]) -> std::io::Result<String>;
    let as_is = |bytes: &[u8]| Ok(String::from_utf8_lossy(bytes).into_owned());
    let cases: [(&str, &str, Decode<'_>); 4] = [
        ("gzip", "gzip", &gunzip),
        ("snappy", "snappy", &unsnap),
        ("S2", "snappy", &unsnap),
        ("br", "identity", &as_is),
    ];
    for (accepted, encoding, decode) in cases {
        let mut scene = Scene::new(1);
        scene.say("w", "SUB t.d 1\r\n");
        let line = format!("Accept-Encoding: {accepted}");
        scene.say("a", &hpub("p.x", "", &[DEST, &line]));
        let heard = scene.house.heard_bytes(scene.clients["w"]);
        let block = format!("NATS/1.0\r\nContent-Encoding: {encoding}\r\n\r\n");
        let at = heard
            .windows(block.len())
            .position(|w| w == block.as_bytes());
        let at = at.expect("the encoding is named") + block.len();
        let text = decode(&heard[at..heard.len() - 2]).expect("it is so encoded");
        let report: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(report["events"][0]["subj"], "p.x");
    }
}

/// A shard that does not answer is not waited for for ever.
#[test]
fn a_trace_ends_without_an_answer() {
    let mut scene = Scene::new(2);
    // Even numbers are on the first shard, with the publisher.
    scene.say("w", "SUB p.x 1\r\n");
    scene.say("a", "SUB t.d 2\r\n");
    let a = scene.clients["a"];
    scene.house.say_unheard(a, &hpub("p.x", "", &[DEST]));
    assert!(scene.heard("a").is_empty());
    assert!(scene.house.shards[0].next_deadline() <= Some(1 + 1000));
    scene.house.wait_unheard(999);
    assert!(scene.heard("a").is_empty());
    scene.house.wait_unheard(1);
    let (reports, _) = scene.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0]["events"].as_array().map(Vec::len), Some(1));
    // What comes too late is for nobody.
    scene.house.wait(1);
    assert_eq!(scene.reports().0.len(), 0);
}

/// However many get it, what is written down of it is bounded.
#[test]
fn reports_are_bounded() {
    for shards in 1..=2 {
        let mut scene = Scene::new(shards);
        scene.say("w", "SUB t.d 1\r\n");
        for sid in 0..20_000 {
            scene.say("q", &format!("SUB p.x {sid}\r\n"));
        }
        scene.say("a", &hpub("p.x", "", &[DEST, ONLY]));
        let (reports, delivered) = scene.reports();
        assert_eq!((reports.len(), delivered), (1, 0));
        let text = reports[0].to_string();
        let bound = crate::base::limits::TRACE_EVENTS_BYTES_MAX;
        assert!(
            (bound - 1000..bound + 1000).contains(&text.len()),
            "{}",
            text.len()
        );
    }
}
