//! What clients hear: answers, deliveries, statuses.

use serde_json::Value;

use super::lives::{Answer, Life};
use super::model::CONSUMERS;
use super::run::{Delivered, Run, What};
use crate::wire::{Delivery, ServerOp, parse};

/// The code of a status without a message; `None` for a message.
fn status(header: &[u8]) -> Option<&str> {
    let rest = header.strip_prefix(b"NATS/1.0 ")?;
    std::str::from_utf8(rest.get(..3)?).ok()
}

/// Stream, consumer, deliveries and place in the stream of an acknowledgement's subject.
fn ack_subject(reply: &str) -> Option<(usize, usize, u64, u64)> {
    let rest = reply.strip_prefix("$JS.ACK.S")?;
    let words: Vec<&str> = rest.split('.').collect();
    let consumer = words.get(1)?.strip_prefix('c')?;
    Some((
        words[0].parse().ok()?,
        consumer.parse().ok()?,
        words.get(2)?.parse().ok()?,
        words.get(3)?.parse().ok()?,
    ))
}

impl Run {
    /// Takes in what has been read.
    pub fn digest(&mut self, number: usize) {
        let input = std::mem::take(&mut self.world.clients[number].input);
        let mut at = 0;
        while let Some((op, used)) = parse(&input[at..]) {
            if let Err(objection) = self.take(number, &op) {
                panic!("client {number}: {objection}");
            }
            at += used;
        }
        self.world.clients[number].input = input[at..].to_vec();
    }

    fn take(&mut self, number: usize, op: &ServerOp<'_>) -> Result<(), String> {
        match *op {
            ServerOp::Message(ref delivery) => {
                let now = self.world.now;
                self.world.trace.line(|| {
                    let header = crate::trace::shown(delivery.header);
                    let body = &delivery.payload[..delivery.payload.len().min(300)];
                    format!(
                        "{now:5} client {number} hears {} for {} [{}] {header} {}",
                        delivery.subject,
                        delivery.sid,
                        delivery.reply,
                        body.escape_ascii()
                    )
                });
                let what = self.heard(number, delivery);
                what.map_err(|why| format!("{why}, in {}", delivery.subject))
            }
            ServerOp::Ping => {
                self.world.clients[number].write(b"PONG\r\n");
                Ok(())
            }
            ServerOp::Ok | ServerOp::Info(_) => Ok(()),
            ServerOp::Pong | ServerOp::Err(_) => Err(format!("got {op:?}")),
        }
    }

    fn heard(&mut self, number: usize, delivery: &Delivery<'_>) -> Result<(), String> {
        if delivery.sid == "1" {
            let token = delivery.subject.rsplit('.').next();
            let token = token.and_then(|token| token.parse().ok());
            return self.answered(number, token.ok_or("no answer")?, delivery);
        }
        if let Some(token) = delivery.sid.strip_prefix('p') {
            let token = token.parse().map_err(|_| "no subscription")?;
            return self.pulled(number, token, delivery);
        }
        match status(delivery.header) {
            Some(_) if !delivery.reply.is_empty() => self.say(number, delivery.reply, "", "", b""),
            Some(_) => {}
            None => {
                self.delivered(number, None, delivery)?;
            }
        }
        Ok(())
    }

    /// Something has come for a pull request.
    fn pulled(&mut self, number: usize, token: u64, delivery: &Delivery<'_>) -> Result<(), String> {
        let Some(pull) = self.peers[number].pulls.get(&token).cloned() else {
            return Err(format!("pull {token} was over"));
        };
        let is_over = match status(delivery.header) {
            Some(_) => {
                self.counts.status += 1;
                true
            }
            None => {
                let (stream, consumer) = self.delivered(number, Some(pull.sent), delivery)?;
                if (stream, consumer) != (pull.stream, pull.consumer) {
                    return Err(format!("a message of another consumer for {pull:?}"));
                }
                let peer = &mut self.peers[number];
                let pull = peer.pulls.get_mut(&token).expect("it was there");
                pull.left -= 1;
                pull.left == 0
            }
        };
        if is_over {
            self.peers[number].pulls.remove(&token);
            let line = format!("UNSUB p{token}\r\n");
            self.world.clients[number].write_operation(line.as_bytes());
        }
        Ok(())
    }

    /// A consumer has delivered a message; `pulled` is when it was asked for.
    fn delivered(
        &mut self,
        number: usize,
        pulled: Option<u64>,
        delivery: &Delivery<'_>,
    ) -> Result<(usize, usize), String> {
        let (stream, consumer, deliveries, seq) =
            ack_subject(delivery.reply).ok_or_else(|| format!("reply {:?}", delivery.reply))?;
        let id = self
            .model
            .check_content(delivery.subject, delivery.payload)?;
        if self.model.messages[&id].stream != stream {
            return Err(format!("message {id} comes from stream {stream}"));
        }
        self.counts.delivered += 1;
        self.counts.redelivered += u64::from(deliveries > 1);
        // Those in memory may go without being told.
        let is_kept = self.model.variant(stream).is_some_and(|v| !v.memory);
        if is_kept {
            self.model.placed(id, seq)?;
        }
        let known = &mut self.model.streams[stream].consumers[consumer];
        if !known.unstable
            && let Some(&(at, by)) = known.confirmed.get(&id)
            && (by == number || pulled.is_some_and(|sent| sent > at))
        {
            return Err(format!("message {id} is delivered again and was done"));
        }
        let delivered = Delivered {
            reply: delivery.reply.to_owned(),
            stream,
            consumer,
            id,
        };
        if self.drains {
            known.drained.insert(id);
            self.counts.drained += 1;
            self.done(number, &delivered, "+ACK", true);
        } else if !self.world.draining {
            match self.world.prng.below(20) {
                0..12 => self.settle(number, delivered),
                12..17 => self.peers[number].held.push(delivered),
                _ => {}
            }
        }
        Ok((stream, consumer))
    }

    /// A request is answered.
    fn answered(
        &mut self,
        number: usize,
        token: u64,
        delivery: &Delivery<'_>,
    ) -> Result<(), String> {
        let now = self.next_step();
        let Some(question) = self.questions.get_mut(&token) else {
            return Err(format!("an answer to {token}, which is over"));
        };
        question.answers += 1;
        if question.answers > 1 {
            return Err(format!("answered twice: {question:?}"));
        }
        if question.client != number {
            return Err(format!("somebody else has asked: {question:?}"));
        }
        let question = question.clone();
        self.counts.answered += 1;
        if let What::Audit = question.what {
            self.told = Some((delivery.header.to_vec(), delivery.payload.to_vec()));
            return Ok(());
        }
        if status(delivery.header) == Some("503") {
            return self.unheard(&question.what, question.sent);
        }
        let json = || -> Result<Value, String> {
            serde_json::from_slice(delivery.payload)
                .map_err(|error| format!("{error}: {question:?}"))
        };
        match question.what.clone() {
            What::Any | What::Audit => Ok(()),
            What::Life(stream, asked) => self.life_answered(stream, asked, now, &json()?).map(drop),
            What::Remove(stream, asked, removal) => {
                if self.life_answered(stream, asked, now, &json()?)? {
                    self.model.streams[stream].removals[removal].answered = Some(now);
                }
                Ok(())
            }
            What::MakeConsumer(stream, asked, consumer) => {
                let is_done = self.life_answered(stream, asked, now, &json()?)?;
                let known = &mut self.model.streams[stream].consumers[consumer];
                if is_done && !known.unstable {
                    known.since.get_or_insert(now);
                }
                Ok(())
            }
            What::DeleteConsumer(stream, asked) => {
                self.life_answered(stream, asked, now, &json()?).map(drop)
            }
            What::AboutConsumer(stream, asked, consumer) => {
                let is_done = self.life_answered(stream, asked, now, &json()?)?;
                let known = &self.model.streams[stream].consumers[consumer];
                if !is_done && !known.unstable && known.since.is_some_and(|s| s < question.sent) {
                    return Err(format!("consumer {consumer} of {stream} is not there"));
                }
                Ok(())
            }
            What::Publish(id) => self.published(id, question.sent, now, &json()?),
            What::Part(_) if delivery.payload.is_empty() => Ok(()),
            What::Part(id) => match json()?["error"]["err_code"].as_u64() {
                Some(_) => {
                    self.counts.refused += 1;
                    self.refused(id);
                    Ok(())
                }
                None => Err("a part of a batch is acknowledged".into()),
            },
            What::Commit(ids) => self.committed(&ids, now, &json()?),
            What::Confirm(stream, consumer, id) => {
                if !delivery.payload.is_empty() {
                    return Err("what is confirmed has content".into());
                }
                self.counts.confirmed += 1;
                let known = &mut self.model.streams[stream].consumers[consumer];
                known.confirmed.insert(id, (now, number));
                Ok(())
            }
        }
    }

    /// Nobody responds.
    fn unheard(&mut self, what: &What, sent: u64) -> Result<(), String> {
        let mut refuse = |id: u64| {
            let stream = self.model.messages[&id].stream;
            if self.model.is_there(stream, sent) {
                return Err(format!("stream {stream} has not heard of message {id}"));
            }
            self.refused(id);
            Ok(())
        };
        match what {
            What::Publish(id) | What::Part(id) => refuse(*id),
            What::Commit(ids) => ids.iter().try_for_each(|id| refuse(*id)),
            // A stream that is not there, or answers no direct gets.
            What::Any => Ok(()),
            _ => Err(format!("nobody responds to {what:?}")),
        }
    }

    fn refused(&mut self, id: u64) {
        let message = self.model.messages.get_mut(&id).expect("it was sent");
        message.refused = true;
    }

    /// A question about a stream's life is answered; whether with what was asked for.
    fn life_answered(
        &mut self,
        stream: usize,
        asked: usize,
        now: u64,
        json: &Value,
    ) -> Result<bool, String> {
        let answer = match json["error"]["err_code"].as_u64() {
            Some(10_059) => Answer::Absent,
            Some(10_058) => {
                self.counts.taken += 1;
                Answer::Taken
            }
            Some(_) => Answer::Refused,
            None => match self.life_of(json) {
                Some(life) => Answer::Is(life),
                None => Answer::Done,
            },
        };
        if json["error"].is_object() {
            self.counts.errors += 1;
        }
        let known = &mut self.model.streams[stream];
        let asked = &mut known.asked[asked];
        let is_done = matches!(answer, Answer::Is(_) | Answer::Done);
        let is_about_stream = !matches!(asked.wish, super::lives::Wish::Use);
        asked.answered = Some(now);
        asked.answer = match answer {
            // What only a stream that is there says, whatever it is.
            Answer::Is(_) | Answer::Refused | Answer::Taken if !is_about_stream => Answer::Done,
            other => other,
        };
        if let Answer::Is(life) = answer
            && is_about_stream
            && !known.unstable
        {
            known.since.get_or_insert(now);
            known.variant.get_or_insert(life.variant);
        }
        Ok(is_done)
    }

    /// The life that a stream's info speaks of.
    pub fn life_of(&mut self, json: &Value) -> Option<Life> {
        let description = json["config"]["description"].as_str()?;
        let (variant, mark) = description.strip_prefix('v')?.split_once('.')?;
        Some(Life {
            created: Some(self.model.created(json["created"].as_str()?)),
            variant: variant.parse().ok()?,
            mark: mark.parse().ok()?,
        })
    }

    fn published(&mut self, id: u64, sent: u64, now: u64, json: &Value) -> Result<(), String> {
        let message = &self.model.messages[&id];
        let stream = message.stream;
        if let Some(code) = json["error"]["err_code"].as_u64() {
            let may = match code {
                10_071 => {
                    message.expected_last.is_some() || message.expected_subject_last.is_some()
                }
                _ => false,
            };
            if !may && self.model.is_there(stream, sent) {
                return Err(format!("message {id} was refused: {json}"));
            }
            self.counts.refused += 1;
            self.refused(id);
            return Ok(());
        }
        if json["stream"].as_str() != Some(&format!("S{stream}")) {
            return Err(format!("message {id} is in another stream: {json}"));
        }
        let seq = json["seq"].as_u64().ok_or("no sequence")?;
        if json["duplicate"].as_bool() == Some(true) {
            let own = message.msg_id.ok_or("it has no id")?;
            self.counts.duplicates += 1;
            self.refused(id);
            let places = &self.model.streams[stream].places;
            return match places.get(&seq) {
                Some(other) if self.model.messages[other].msg_id != Some(own) => {
                    Err(format!("message {id} is no duplicate of {other}: {json}"))
                }
                _ => Ok(()),
            };
        }
        self.counts.acked += 1;
        self.model.placed(id, seq)?;
        let message = self.model.messages.get_mut(&id).expect("it was sent");
        message.acked = Some(now);
        Ok(())
    }

    fn committed(&mut self, ids: &[u64], now: u64, json: &Value) -> Result<(), String> {
        if json["error"].is_object() {
            self.counts.refused += 1;
            for &id in ids {
                self.refused(id);
            }
            return Ok(());
        }
        let last = json["seq"].as_u64().ok_or("no sequence")?;
        let count = json["count"].as_u64();
        if count != Some(ids.len() as u64) {
            return Err(format!("a batch of {} is {json}", ids.len()));
        }
        self.counts.batches += 1;
        for (behind, &id) in ids.iter().rev().enumerate() {
            self.model.placed(id, last - behind as u64)?;
            let message = self.model.messages.get_mut(&id).expect("it was sent");
            message.acked = Some(now);
        }
        Ok(())
    }
}

/// All consumers that a stream may have.
pub fn consumers() -> std::ops::Range<usize> {
    0..CONSUMERS
}
