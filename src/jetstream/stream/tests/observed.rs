//! The script of what nats-server was seen to answer, run against a stream.

use crate::jetstream::api::decode;
use crate::jetstream::api::requests::{
    MsgDeleteRequest, MsgGetRequest, PurgeRequest, StreamRequest,
};
use crate::jetstream::config::{PersistMode, StreamConfig};

use super::*;

const SCRIPT: &str = include_str!("observed.txt");

fn request<T: decode::Decode>(text: &str) -> T {
    decode::request(text.as_bytes(), true).unwrap()
}

/// A configuration as JSON, with what nats-server adds to it.
fn config(text: &str) -> StreamConfig {
    let mut fields: serde_json::Value = serde_json::from_str(text).unwrap();
    for (key, value) in [
        ("name", "S".into()),
        ("subjects", vec!["t.>"].into()),
        ("storage", "memory".into()),
        ("max_msgs", (-1).into()),
        ("max_bytes", (-1).into()),
        ("max_msgs_per_subject", (-1).into()),
        ("max_msg_size", (-1).into()),
        ("duplicate_window", (120 * SECOND).into()),
    ] as [(&str, serde_json::Value); 8]
    {
        let fields = fields.as_object_mut().unwrap();
        fields.entry(key).or_insert(value);
    }
    let mut config = request::<StreamRequest>(&fields.to_string()).config;
    config.persist_mode = PersistMode::Default;
    config.allow_rollup_hdrs |= config.allow_msg_schedules || config.subject_delete_marker_ttl > 0;
    config
}

/// Headers without the version and times; the status comes first.
fn shown(block: &str) -> String {
    let lines = block
        .strip_prefix("NATS/1.0")
        .unwrap_or(block)
        .split("\r\n");
    let lines = lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Nats-Time-Stamp"));
    let lines: Vec<String> = lines
        .map(|line| match line.split_once(": ") {
            Some((key @ "Nats-Schedule-Next", time)) if time != "purge" => format!("{key}: <time>"),
            Some((key, value)) if value.starts_with("@at ") => format!("{key}: @at <time>"),
            _ => line.to_owned(),
        })
        .collect();
    lines.join(" ; ")
}

fn answer_of(payload: &str) -> String {
    if payload.is_empty() {
        return "''".into();
    }
    if payload.starts_with("{\"type\"") {
        return payload.into();
    }
    short(payload).trim_end().to_owned()
}

/// Runs one line, and gives what is answered.
fn run(scene: &mut Scene, command: &str, rest: &str) -> Vec<String> {
    let mut parts = rest.split('|').map(str::trim);
    let mut part = || parts.next().unwrap_or_default();
    let error_or = |result: Result<String, crate::jetstream::api::errors::ApiError>| {
        vec![result.unwrap_or_else(|e| format!("{} {}", e.code.number(), e.description))]
    };
    match command {
        "stream" => *scene = Scene::of(config(rest)),
        "update" => {
            let mut fields: serde_json::Value = serde_json::from_str(rest).unwrap();
            let sealed = fields["sealed"].take();
            let old = scene.stream.config().clone();
            let mut new = config(&{
                fields.as_object_mut().unwrap().remove("sealed");
                fields.to_string()
            });
            if new.max_msgs_per_subject < 0 {
                new.max_msgs_per_subject = old.max_msgs_per_subject;
            }
            new.sealed = sealed == true;
            scene
                .with(|stream, world| stream.update(new, world.messages))
                .unwrap();
        }
        "wait" => {
            let end = scene.now + rest.parse::<i64>().unwrap() * 1_000_000;
            scene.run_until(end);
        }
        "pub" => {
            let mut subject = part().split(' ');
            let (subject, reply) = (subject.next().unwrap(), subject.next().unwrap_or("r"));
            let lines: Vec<String> = part()
                .split(';')
                .map(|line| line.trim().to_owned())
                .filter(|line| !line.is_empty())
                .collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let answers = scene.answers(subject, reply, &lines, part());
            let answers = answers
                .iter()
                .map(|answer| answer_of(answer))
                .collect::<Vec<_>>();
            return if answers.is_empty() {
                vec!["none".into()]
            } else {
                answers
            };
        }
        "show" => {
            let state = *scene.messages.state();
            // Of a stream that never had a message the API says 0.
            let first = if state.last_seq == 0 {
                0
            } else {
                state.first_seq
            };
            let first = format!("{first}..{} {} messages", state.last_seq, state.messages);
            let messages = scene.sequences().into_iter().map(|seq| {
                let subject = String::from_utf8(scene.messages.messages[&seq].subject.clone());
                let headers = shown(&scene.headers_of(seq));
                let payload = scene.payload_of(seq);
                format!("{seq} {} [{headers}] {payload}", subject.unwrap())
                    .trim_end()
                    .to_owned()
            });
            return std::iter::once(first).chain(messages).collect();
        }
        "purge" => {
            let request: PurgeRequest = request(rest);
            let purged = scene.with(|stream, world| stream.purge(world, &request));
            return error_or(purged.map(|count| count.to_string()));
        }
        "delete" => {
            let request: MsgDeleteRequest = request(rest);
            let deleted = scene.with(|stream, world| stream.delete(world, &request));
            return error_or(deleted.map(|()| "ok".into()));
        }
        "get" => {
            let request: MsgGetRequest = request(rest);
            scene.outlet.left.clear();
            let got = scene.with(|stream, world| stream.message_get(world, &request, b"r"));
            return error_or(got.map(|()| {
                let left = &scene.outlet.left[0].payload;
                let json: serde_json::Value = serde_json::from_str(left).unwrap();
                json["message"]["seq"].to_string()
            }));
        }
        "direct" => {
            let (subject, payload) = (part(), part());
            scene.outlet.left.clear();
            scene.with(|stream, world| {
                stream.direct_get(world, subject.as_bytes(), b"r", b"", payload.as_bytes());
            });
            let left = scene.outlet.left.iter();
            return left
                .map(|left| {
                    format!("[{}] {}", shown(&left.headers), left.payload)
                        .trim_end()
                        .to_owned()
                })
                .collect();
        }
        other => panic!("no command: {other}"),
    }
    Vec::new()
}

#[test]
fn as_nats_server_was_seen() {
    let mut scene = Scene::new(|_| {});
    let mut differences = Vec::new();
    let mut lines = SCRIPT.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut expected = Vec::new();
        while let Some((_, next)) = lines.peek()
            && let Some(answer) = next.strip_prefix("-> ")
        {
            expected.push(answer.trim_end().to_owned());
            lines.next();
        }
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answers = run(&mut scene, command, rest);
        if answers != expected {
            differences.push(format!(
                "line {}: {line}\n  expected {expected:#?}\n  answered {answers:#?}",
                number + 1
            ));
        }
        scene.now += 1_000_000;
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
