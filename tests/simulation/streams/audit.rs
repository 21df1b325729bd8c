//! Everything is at rest: what the server says is compared with what clients know.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::hear::consumers;
use super::lives;
use super::model::{Consumer, FILTERED, PUSHED, Retention, STREAMS};
use super::run::{Run, What};
use crate::client::Reader;

const ROUNDS_TO_ANSWER_MAX: u32 = 5000;
/// Rounds in which drained consumers must have delivered everything.
const ROUNDS_TO_DRAIN_MAX: u32 = 1000;

fn decode_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for byte in text.bytes().filter(|&byte| byte != b'=') {
        bits = bits << 6 | u32::from(digit(byte));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

fn names(json: &Value, of: &str) -> BTreeSet<String> {
    let all = json[of].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Run {
    /// Asks, and waits for the answer.
    fn ask(&mut self, call: &str, body: &str) -> Value {
        let auditor = self.auditor.expect("there is one");
        let reply = self.question(auditor, What::Audit);
        self.say(
            auditor,
            &format!("$JS.API.{call}"),
            &reply,
            "",
            body.as_bytes(),
        );
        for _ in 0..ROUNDS_TO_ANSWER_MAX {
            let busy = self.round();
            if let Some((_, payload)) = self.told.take() {
                return serde_json::from_slice(&payload)
                    .unwrap_or_else(|error| panic!("{call} is answered with {error}"));
            }
            self.world.pass_time(&self.hosts, busy);
        }
        panic!("liveness: {call} is not answered");
    }

    /// Reads out everything; `crashed` when the server has just begun anew.
    pub fn audit(&mut self, crashed: bool) {
        self.model.settle_lives(crashed);
        let auditor = self.connect();
        self.world.clients[auditor].reader = Reader::Fast;
        self.auditor = Some(auditor);
        let there = names(&self.ask("STREAM.NAMES", ""), "streams");
        assert!(
            !there.contains("R"),
            "a stream is there that was never restored"
        );
        for stream in 0..STREAMS {
            let is_named = there.contains(&format!("S{stream}"));
            if let Err(why) = self.audit_stream(stream, is_named, crashed) {
                panic!("stream {stream}: {why}");
            }
        }
        self.last_audit = self.next_step();
        self.rest();
    }

    fn audit_stream(&mut self, stream: usize, is_named: bool, crashed: bool) -> Result<(), String> {
        let info = self.ask(&format!("STREAM.INFO.S{stream}"), "");
        let life = match info["error"].is_object() {
            true => None,
            false => self.life_of(&info),
        };
        if life.is_some() != is_named {
            return Err(format!("named: {is_named}, info: {info}"));
        }
        let known = &self.model.streams[stream];
        if !lives::can_be(known.life, &known.asked, life) {
            let asked = known.asked.iter().map(|asked| format!("{asked:?}"));
            let asked: Vec<String> = asked.collect();
            return Err(format!(
                "no order of these explains it: it was {:?} and is {life:?} after\n{}",
                known.life,
                asked.join("\n")
            ));
        }
        let (found, last_seq) = match life {
            Some(_) => self.read_out(stream, &info)?,
            None => (BTreeMap::new(), 0),
        };
        let open: Vec<u64> = self.unacknowledged(stream);
        self.model.audit(stream, &found, last_seq)?;
        if crashed {
            let kept = open.iter().filter(|id| !self.model.messages[id].gone);
            let kept = kept.count() as u64;
            self.counts.kept_unacked += kept;
            self.counts.lost_unacked += open.len() as u64 - kept;
        }
        self.counts.found += found.len() as u64;
        if life.is_some() {
            self.audit_consumers(stream, &info, &found)?;
        } else {
            for consumer in consumers() {
                self.forget_held(stream, consumer);
            }
            self.model.streams[stream].consumers = Default::default();
        }
        self.found[stream] = found;
        let step = self.next_step();
        let known = &mut self.model.streams[stream];
        known.asked.clear();
        known.life = life;
        known.variant = life.map(|life| life.variant);
        known.unstable = false;
        known.since = life.map(|_| step);
        Ok(())
    }

    fn unacknowledged(&self, stream: usize) -> Vec<u64> {
        let messages = self.model.messages.iter();
        let open = messages.filter(|(_, message)| {
            message.stream == stream && message.seq.is_none() && !message.gone && !message.refused
        });
        open.map(|(&id, _)| id).collect()
    }

    /// What is where in a stream, and its last sequence.
    fn read_out(
        &mut self,
        stream: usize,
        info: &Value,
    ) -> Result<(BTreeMap<u64, u64>, u64), String> {
        let number = |name: &str| info["state"][name].as_u64().unwrap_or(0);
        let (first, last) = (number("first_seq"), number("last_seq"));
        let mut found = BTreeMap::new();
        let mut bytes = 0;
        for seq in first.max(1)..=last {
            let body = format!("{{\"seq\":{seq}}}");
            let answer = self.ask(&format!("STREAM.MSG.GET.S{stream}"), &body);
            if answer["error"]["err_code"].as_u64() == Some(10_037) {
                continue;
            }
            let message = &answer["message"];
            let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            if message["seq"].as_u64() != Some(seq) {
                return Err(format!("{seq} cannot be read: {answer}"));
            }
            let body = decode_base64(&text("data"));
            let id = self.model.check_content(&text("subject"), &body)?;
            bytes += body.len() as u64;
            found.insert(seq, id);
        }
        let counted = found.len() as u64;
        if number("messages") != counted
            || counted > 0 && found.keys().next() != Some(&first)
            || counted > 0 && number("bytes") < bytes
        {
            return Err(format!("{counted} messages of {bytes} bytes are {info}"));
        }
        Ok((found, last))
    }

    fn audit_consumers(
        &mut self,
        stream: usize,
        info: &Value,
        found: &BTreeMap<u64, u64>,
    ) -> Result<(), String> {
        let json = self.ask(&format!("CONSUMER.NAMES.S{stream}"), "");
        let there = names(&json, "consumers");
        if info["state"]["consumer_count"].as_u64() != Some(there.len() as u64) {
            return Err(format!("consumers {there:?}, but {info}"));
        }
        for consumer in consumers() {
            let name = format!("c{consumer}");
            let is_there = there.contains(&name);
            let known = &self.model.streams[stream].consumers[consumer];
            let must = known.since.is_some() && !known.unstable;
            let may = known.wanted || known.unstable || known.created.is_some();
            if must && !is_there || is_there && !may {
                return Err(format!("{name} is there: {is_there}, but {known:?}"));
            }
            if !is_there {
                self.forget_held(stream, consumer);
                self.model.streams[stream].consumers[consumer] = Consumer::default();
                continue;
            }
            let info = self.ask(&format!("CONSUMER.INFO.S{stream}.{name}"), "");
            self.audit_consumer(stream, consumer, &info, found)
                .map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }

    /// What a consumer that is no more has delivered is not acknowledged to its successor.
    fn forget_held(&mut self, stream: usize, consumer: usize) {
        for peer in &mut self.peers {
            let held = &mut peer.held;
            held.retain(|held| (held.stream, held.consumer) != (stream, consumer));
        }
    }

    fn audit_consumer(
        &mut self,
        stream: usize,
        consumer: usize,
        info: &Value,
        found: &BTreeMap<u64, u64>,
    ) -> Result<(), String> {
        let number = |json: &Value| json.as_u64().unwrap_or(u64::MAX);
        let created = info["created"].as_str().map(str::to_owned);
        let is_stable = !self.model.streams[stream].unstable
            && !self.model.streams[stream].consumers[consumer].unstable;
        let known = &mut self.model.streams[stream].consumers[consumer];
        if known.created != created {
            if is_stable && known.created.is_some() {
                return Err(format!("it was another one: {:?}, {info}", known.created));
            }
            if !is_stable {
                known.begin_anew(self.last_audit);
            }
            self.forget_held(stream, consumer);
        }
        let delivered = number(&info["delivered"]["stream_seq"]);
        let (before, (least, most)) = self.model.counts(stream, consumer, found, delivered);
        let ack_pending = number(&info["num_ack_pending"]);
        if number(&info["num_pending"]) != before {
            return Err(format!("{before} are before it: {info}"));
        }
        if is_stable && !(least..=most).contains(&ack_pending) {
            return Err(format!("{least} to {most} must be pending: {info}"));
        }
        let step = self.next_step();
        let known = &mut self.model.streams[stream].consumers[consumer];
        known.created = created;
        known.unstable = false;
        known.wanted = true;
        known.since = Some(step);
        Ok(())
    }

    /// Has all consumers deliver what they have, and acknowledges it: nothing must be kept back.
    pub fn drain(&mut self) {
        self.world.trace.line(|| "--- drain".into());
        let auditor = self.auditor.expect("there is one");
        self.drains = true;
        let mut pulled = Vec::new();
        for stream in 0..STREAMS {
            for consumer in consumers() {
                if self.model.streams[stream].consumers[consumer]
                    .since
                    .is_none()
                {
                    continue;
                }
                match consumer {
                    PUSHED => self.listen(auditor, stream, consumer),
                    _ => pulled.push((stream, consumer)),
                }
            }
        }
        let mut quiet = 0;
        for round in 0.. {
            assert!(round < ROUNDS_TO_DRAIN_MAX, "liveness: never drained");
            let before = self.counts.drained;
            for &(stream, consumer) in &pulled {
                self.pull_so(auditor, stream, consumer, 300, "\"expires\":20000000");
            }
            self.rest();
            // What was delivered to others comes back.
            self.world.now += self.scenario.ack_wait_ms + 200;
            self.rest();
            quiet = match self.counts.drained == before {
                true => quiet + 1,
                false => 0,
            };
            if quiet == 2 {
                break;
            }
        }
        for stream in 0..STREAMS {
            for consumer in consumers() {
                let known = &self.model.streams[stream].consumers[consumer];
                let left = self
                    .model
                    .undelivered(stream, consumer, &self.found[stream]);
                if known.since.is_some()
                    && let Some(id) = left
                {
                    panic!("stream {stream}: consumer {consumer} has never delivered {id}");
                }
            }
        }
        self.audit(false);
        self.drains = false;
        for stream in 0..STREAMS {
            let is_queue = self
                .model
                .variant(stream)
                .is_some_and(|variant| variant.retention == Retention::WorkQueue);
            let is_drained = consumers().any(|consumer| {
                let known = &self.model.streams[stream].consumers[consumer];
                consumer != FILTERED && known.since.is_some()
            });
            let left = &self.found[stream];
            assert!(
                !is_queue || !is_drained || left.is_empty(),
                "stream {stream}: a drained work queue holds {left:?}"
            );
        }
    }

    pub fn delete_all(&mut self) {
        for stream in 0..STREAMS {
            if self.model.streams[stream].life.is_some() {
                let answer = self.ask(&format!("STREAM.DELETE.S{stream}"), "");
                assert_eq!(answer["success"], true, "{answer}");
            }
        }
        let there = names(&self.ask("STREAM.NAMES", ""), "streams");
        assert!(there.is_empty(), "{there:?} is there");
    }
}
