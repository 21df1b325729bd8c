//! What nats-server 2.15.1 was seen to do: scripts in `observed/`, played there by `observe.py` and
//! here on the stage. Lines that begin with `>` are what arrived after a step; lines with `!`, what
//! is done differently here on purpose, and with `!!`, why.

use serde_json::Value;

use super::*;

/// `observe.py` waits for so long after a step for more to come, and after one that is waiting.
const QUIET_MS: Millis = 120;
const QUIET_AFTER_PASS_MS: Millis = 30;

#[test]
fn pulls() {
    play(include_str!("observed/pull.txt"));
}

#[test]
fn redeliveries() {
    play(include_str!("observed/redelivery.txt"));
}

#[test]
fn starts() {
    play(include_str!("observed/start.txt"));
}

#[test]
fn pushes() {
    play(include_str!("observed/push.txt"));
}

#[test]
fn priorities() {
    play(include_str!("observed/priorities.txt"));
}

#[test]
fn more() {
    play(include_str!("observed/more.txt"));
}

/// Plays each script of a file, and compares.
fn play(text: &str) {
    let mut differences = String::new();
    for script in text.split("== ").skip(1) {
        let mut player = Player::new();
        let mut lines = script.lines().peekable();
        let title = lines.next().unwrap();
        while let Some(step) = lines.next() {
            let mut expected = Vec::new();
            while let Some(line) = lines.peek().and_then(|line| line.strip_prefix("> ")) {
                expected.push(line.trim_end().to_owned());
                lines.next();
            }
            let mut is_other = false;
            while let Some(line) = lines.peek().and_then(|line| line.strip_prefix('!')) {
                if !line.starts_with('!') {
                    if !std::mem::replace(&mut is_other, true) {
                        expected.clear();
                    }
                    expected.push(line.trim().to_owned());
                }
                lines.next();
            }
            if step.is_empty() {
                continue;
            }
            let seen: Vec<String> = player.step(step);
            if seen != expected {
                differences +=
                    &format!("{title}: {step}\n  expected {expected:#?}\n  but saw {seen:#?}\n");
                break;
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

struct Player {
    stage: Stage,
    config: Value,
    events: bool,
    pin: String,
    flow: String,
    subjects: std::collections::BTreeMap<Seq, String>,
}

impl Player {
    fn new() -> Self {
        let mut stage = Stage::new();
        stage.home.account = "$G".to_owned();
        Self {
            stage,
            config: Value::Object(serde_json::Map::new()),
            events: false,
            pin: String::new(),
            flow: String::new(),
            subjects: std::collections::BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &str) -> Vec<String> {
        let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
        let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut shown = Vec::new();
        let stage = &mut self.stage;
        let number = || rest.parse().unwrap();
        match word {
            "stream" => {}
            "consumer" | "update" => {
                let changes: Value = serde_json::from_str(rest).unwrap();
                let changes = changes.as_object().unwrap().clone();
                self.config.as_object_mut().unwrap().extend(changes);
                let config = config(&self.config);
                if word == "consumer" {
                    stage.create(config);
                } else {
                    stage.with(|consumer, around| consumer.update(config, around));
                    stage.settle();
                }
            }
            "put" if stage.consumer.is_none() => {
                stage.put_before(first, after);
            }
            "put" => {
                stage.put(first, after);
            }
            "pull" => stage.pull(first, &after.replace("$PIN", &self.pin)),
            "ack" => {
                let subject = self.subjects[&first.parse().unwrap()].clone();
                stage.answer_to(&subject, after);
            }
            "flow" => {
                let flow = self.flow.clone();
                stage.with(|consumer, around| {
                    consumer.handle_flow_control(flow.as_bytes(), b"", around);
                });
                stage.settle();
            }
            "listen" | "deaf" => {
                let is_heard = word == "listen";
                if is_heard {
                    stage.outlet.deaf.remove(rest);
                } else {
                    stage.outlet.deaf.insert(rest.to_owned());
                }
                if stage.outlet.watched.contains(rest) {
                    stage.with(|consumer, around| {
                        consumer.interest_changed(around);
                    });
                    stage.settle();
                }
            }
            "events" => self.events = true,
            "pass" => {
                if self.pass(number()) == Fate::Inactive {
                    return shown;
                }
            }
            "remove" => stage.remove(number()),
            "purge" => stage.purge(rest),
            "unpin" => {
                stage.with(|consumer, around| consumer.unpin(rest, around));
                stage.settle();
            }
            "pause" => {
                let ms: i64 = rest.parse().unwrap();
                let until = stage.now.unix + ms * NANOS_PER_MS;
                stage.with(|consumer, around| {
                    let mut config = consumer.config().clone();
                    config.pause_until = Some(until);
                    consumer.update(config, around);
                });
                stage.settle();
            }
            "reset" => {
                let seq = number();
                let reset = stage.with(|consumer, around| consumer.reset(seq, around));
                stage.settle();
                shown.push(match reset {
                    Ok(seq) => format!("reset {seq}"),
                    Err(_) => "refused".to_owned(),
                });
            }
            "delete" => {
                stage.with(|consumer, around| consumer.end(End::Deleted, around));
                stage.consumer = None;
            }
            "info" => shown.push(match stage.consumer {
                Some(_) => show_info(&stage.info()),
                None => "gone".to_owned(),
            }),
            _ => panic!("what is {step}?"),
        }
        self.pass(if word == "pass" {
            QUIET_AFTER_PASS_MS
        } else {
            QUIET_MS
        });
        shown.extend(self.take());
        shown
    }

    fn pass(&mut self, ms: Millis) -> Fate {
        if self.stage.consumer.is_none() {
            self.stage.now.mono_ms += ms;
            self.stage.now.unix += ms as i64 * NANOS_PER_MS;
            return Fate::Lives;
        }
        let fate = self.stage.pass(ms);
        if fate == Fate::Inactive {
            self.stage.consumer = None;
        }
        fate
    }

    /// What has left, as `observe.py` shows it.
    fn take(&mut self) -> Vec<String> {
        let outlet = &mut self.stage.outlet;
        let mut all = Vec::new();
        for sent in outlet.sent.drain(..).chain(outlet.durable.drain(..)) {
            let mut headers = Vec::new();
            for line in sent.headers.trim_start_matches("NATS/1.0").split("\r\n") {
                if let Some(pin) = line.strip_prefix("Nats-Pin-Id: ") {
                    self.pin = pin.to_owned();
                    headers.push("Nats-Pin-Id: *".to_owned());
                } else if let Some((key, value)) = line.split_once(": $JS.FC.S.C.") {
                    assert_eq!(value.len(), 4);
                    headers.push(format!("{key}: $JS.FC.S.C.*"));
                } else if !line.is_empty() {
                    headers.push(line.trim().to_owned());
                }
            }
            let headers = headers.join(" | ");
            if sent.reply.starts_with("$JS.FC.S.C.") {
                self.flow = sent.reply.clone();
            }
            let (to, payload) = (&sent.to, &sent.payload);
            let line = if sent.reply.starts_with("$JS.ACK.") {
                let (deliveries, seq, consumer_seq, pending) = sent.numbers();
                self.subjects.insert(seq, sent.reply.clone());
                let again = match deliveries {
                    1 => String::new(),
                    _ => format!(" x{deliveries}"),
                };
                let headers = match headers.as_str() {
                    "" => String::new(),
                    headers => format!(" [{headers}]"),
                };
                format!("{to}: {seq}{again} c{consumer_seq} p{pending}{headers} {payload}")
            } else {
                format!("{to}: {headers}{payload}")
            };
            all.push((sent.to.clone(), line.trim_end().to_owned()));
        }
        for (subject, mut event) in outlet.events.drain(..) {
            assert!(subject.ends_with(".S.C"), "{subject}");
            for key in ["id", "timestamp", "ack_time", "pause_until", "pinned_id"] {
                if let Some(value) = event.get_mut(key) {
                    *value = "*".into();
                }
            }
            if self.events {
                all.push(("E".to_owned(), format!("E: {event}")));
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.into_iter().map(|(_, line)| line).collect()
    }
}

fn show_info(info: &Info) -> String {
    let pair = |at: Position| format!("{}/{}", at.consumer, at.stream);
    let pinned = |group: &GroupInfo| !group.pinned_id.is_empty();
    let flag = |is: bool, name: &str| {
        if is {
            format!(" {name}")
        } else {
            String::new()
        }
    };
    format!(
        "delivered {} floor {} ack_pending {} redelivered {} waiting {} pending {}{}{}{}",
        pair(info.delivered),
        pair(info.ack_floor),
        info.num_ack_pending,
        info.num_redelivered,
        info.num_waiting,
        info.num_pending,
        flag(info.push_bound, "bound"),
        flag(info.paused, "paused"),
        flag(info.group.as_ref().is_some_and(pinned), "pinned"),
    )
}

/// A configuration with the defaults that the API sets.
fn config(json: &Value) -> ConsumerConfig {
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| json[key].as_i64().unwrap_or(0);
    let texts = |key: &str| -> Vec<String> {
        let list = json[key].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect()
    };
    let or = |value: i64, default: i64| if value == 0 { default } else { value };
    let backoff: Vec<i64> = json["backoff"]
        .as_array()
        .map(|list| list.iter().map(|v| v.as_i64().unwrap()).collect())
        .unwrap_or_default();
    let ack_policy = match json["ack_policy"].as_str().unwrap() {
        "none" => AckPolicy::None,
        "all" => AckPolicy::All,
        "explicit" => AckPolicy::Explicit,
        other => panic!("{other}"),
    };
    ConsumerConfig {
        durable_name: text("durable_name"),
        name: text("name"),
        deliver_policy: match json["deliver_policy"].as_str() {
            None => DeliverPolicy::All,
            Some("last") => DeliverPolicy::Last,
            Some("new") => DeliverPolicy::New,
            Some("by_start_sequence") => DeliverPolicy::ByStartSequence,
            Some("last_per_subject") => DeliverPolicy::LastPerSubject,
            Some(other) => panic!("{other}"),
        },
        opt_start_seq: json["opt_start_seq"].as_u64().unwrap_or(0),
        ack_policy,
        ack_wait: backoff
            .first()
            .copied()
            .unwrap_or(or(number("ack_wait"), 30_000_000_000)),
        max_deliver: or(number("max_deliver"), -1),
        backoff,
        filter_subject: text("filter_subject"),
        filter_subjects: texts("filter_subjects"),
        replay_policy: match json["replay_policy"].as_str() {
            Some("original") => ReplayPolicy::Original,
            _ => ReplayPolicy::default(),
        },
        sample_freq: text("sample_freq"),
        max_waiting: or(number("max_waiting"), 512),
        max_ack_pending: or(number("max_ack_pending"), 1000),
        flow_control: json["flow_control"].as_bool().unwrap_or(false),
        headers_only: json["headers_only"].as_bool().unwrap_or(false),
        max_batch: number("max_batch"),
        max_expires: number("max_expires"),
        max_bytes: number("max_bytes"),
        deliver_subject: text("deliver_subject"),
        idle_heartbeat: number("idle_heartbeat"),
        inactive_threshold: number("inactive_threshold"),
        priority_groups: texts("priority_groups"),
        priority_policy: match json["priority_policy"].as_str() {
            None => PriorityPolicy::None,
            Some("overflow") => PriorityPolicy::Overflow,
            Some("pinned_client") => PriorityPolicy::PinnedClient,
            Some("prioritized") => PriorityPolicy::Prioritized,
            Some(other) => panic!("{other}"),
        },
        priority_timeout: number("priority_timeout"),
        ..ConsumerConfig::default()
    }
}
