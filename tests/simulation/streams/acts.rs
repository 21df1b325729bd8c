//! What clients ask for, at random.

use super::lives::{Answer, Asked, Wish};
use super::model::{
    CONSUMERS, FILTERED, Message, PUSHED, Removal, Removed, Retention, STREAMS, SUBJECTS, VOLATILE,
    payload, subject,
};
use super::run::{Delivered, Pull, Question, Run, What};

/// Questions about a stream's life that can be looked through.
const ASKED_MAX: usize = 60;
/// Which token of the subject of an acknowledgement is the message's sequence.
const ACKED_SEQUENCE: usize = 5;

impl Run {
    /// A client does something.
    pub fn act(&mut self, client: usize) {
        let prng = &mut self.world.prng;
        if prng.below(100) < self.scenario.publish_percent {
            for _ in 0..1 + self.world.prng.below(3) {
                self.publish(client);
            }
            return;
        }
        let stream = prng.below(STREAMS as u32) as usize;
        let volatile = prng.below(VOLATILE as u32) as usize;
        let consumer = prng.below(CONSUMERS as u32) as usize;
        match prng.below(100) {
            0..30 => self.pull(client, stream, consumer),
            30..45 => self.settle_one(client),
            45..53 => self.create(client, stream),
            53..57 => self.race(),
            57..60 => self.life(client, volatile, Wish::Delete),
            60..61 => self.life(client, stream, Wish::Delete),
            61..63 => self.update(client, stream),
            63..65 => self.life(client, stream, Wish::See),
            65..67 => self.purge(client, stream),
            67..69 => self.delete_message(client, stream),
            69..73 => self.get(client, stream),
            73..76 => self.ask_around(client),
            76..77 => self.begin_restore(client),
            77..89 => self.make_consumer(client, stream, consumer),
            89..91 => self.about_consumer(client, stream, consumer, "DELETE"),
            91..94 => self.about_consumer(client, stream, consumer, "INFO"),
            94..95 => self.about_consumers(client, stream),
            _ => self.listen(client, stream, consumer),
        }
    }

    /// Publishes.
    pub fn say(&mut self, client: usize, to: &str, reply: &str, header: &str, body: &[u8]) {
        let now = self.world.now;
        self.world.trace.line(|| {
            let body = crate::trace::shown(&body[..body.len().min(200)]);
            format!("{now:5} client {client} says {to} [{reply}] {header:?} {body}")
        });
        let sizes = match header {
            "" => body.len().to_string(),
            _ => format!("{} {}", header.len(), header.len() + body.len()),
        };
        let verb = if header.is_empty() { "PUB" } else { "HPUB" };
        let space = if reply.is_empty() { "" } else { " " };
        let mut bytes = format!("{verb} {to}{space}{reply} {sizes}\r\n{header}").into_bytes();
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
        self.world.clients[client].write_operation(&bytes);
    }

    /// Notes a question; gives where it is answered.
    pub fn question(&mut self, client: usize, what: What) -> String {
        let sent = self.next_step();
        let question = Question {
            client,
            sent,
            what,
            answers: 0,
        };
        self.questions.insert(sent, question);
        format!("_INBOX.{client}.{sent}")
    }

    fn request(&mut self, client: usize, call: &str, body: &str, what: What) {
        let reply = self.question(client, what);
        let to = format!("$JS.API.{call}");
        self.say(client, &to, &reply, "", body.as_bytes());
    }

    /// Notes a question about a stream's life; its number.
    fn ask_life(&mut self, stream: usize, wish: Wish) -> usize {
        let sent = self.step + 1;
        let stream = &mut self.model.streams[stream];
        stream.asked.push(Asked {
            sent,
            answered: None,
            wish,
            answer: Answer::Lost,
        });
        stream.asked.len() - 1
    }

    pub fn config(&self, stream: usize, variant: u32, mark: u64) -> String {
        let how = self.model.variants[variant as usize];
        let retention = match how.retention {
            Retention::Limits => "limits",
            Retention::Interest => "interest",
            Retention::WorkQueue => "workqueue",
        };
        let storage = if how.memory { "memory" } else { "file" };
        let max_msgs = how.max_msgs.map_or(-1, |most| most as i64);
        format!(
            "{{\"name\":\"S{stream}\",\"description\":\"v{variant}.{mark}\",\
             \"subjects\":[\"s{stream}.>\"],\"retention\":\"{retention}\",\
             \"storage\":\"{storage}\",\"max_msgs\":{max_msgs},\"allow_direct\":{},\
             \"allow_atomic\":true,\"duplicate_window\":360000000000000}}",
            how.direct
        )
    }

    pub fn life(&mut self, client: usize, stream: usize, wish: Wish) {
        if self.model.streams[stream].asked.len() >= ASKED_MAX {
            return;
        }
        if wish == Wish::Delete {
            self.model.shake(stream);
        }
        let number = self.ask_life(stream, wish);
        let (call, body) = match wish {
            Wish::Create { variant } => ("CREATE", self.config(stream, variant, 0)),
            Wish::Update { variant, mark } => ("UPDATE", self.config(stream, variant, mark)),
            Wish::Delete => ("DELETE", String::new()),
            Wish::See | Wish::Use | Wish::Restart { .. } => ("INFO", String::new()),
        };
        let call = format!("STREAM.{call}.S{stream}");
        self.request(client, &call, &body, What::Life(stream, number));
    }

    fn create(&mut self, client: usize, stream: usize) {
        // The others keep what they are mostly.
        let variant = match stream < VOLATILE || self.world.prng.one_in(10) {
            true => self.world.prng.below(self.model.variants.len() as u32),
            false => stream as u32 % self.model.variants.len() as u32,
        };
        self.life(client, stream, Wish::Create { variant });
    }

    /// Several want the same name at once.
    fn race(&mut self) {
        let stream = self.world.prng.below(VOLATILE as u32) as usize;
        for _ in 0..2 + self.world.prng.below(2) {
            let client = self.any_client();
            self.create(client, stream);
        }
    }

    fn update(&mut self, client: usize, stream: usize) {
        let known = self.model.streams[stream].life;
        let Some(variant) = known.map(|life| life.variant) else {
            return;
        };
        let mark = self.step + 1;
        self.life(client, stream, Wish::Update { variant, mark });
    }

    /// Notes that a removal begins; its number and that of the question whether the stream is there.
    fn removal(&mut self, stream: usize, what: Removed) -> (usize, usize) {
        let number = self.ask_life(stream, Wish::Use);
        let sent = self.step + 1;
        let removals = &mut self.model.streams[stream].removals;
        removals.push(Removal {
            what,
            sent,
            answered: None,
        });
        (number, removals.len() - 1)
    }

    fn is_asked_too_much(&self, stream: usize) -> bool {
        self.model.streams[stream].asked.len() >= ASKED_MAX
    }

    fn purge(&mut self, client: usize, stream: usize) {
        if self.is_asked_too_much(stream) {
            return;
        }
        let last = self.model.streams[stream].last_seq as u32;
        let prng = &mut self.world.prng;
        let (what, body) = match prng.below(3) {
            0 => (Removed::All, String::new()),
            1 => {
                let which = prng.below(SUBJECTS);
                let filter = subject(stream, which);
                (
                    Removed::Subject(which),
                    format!("{{\"filter\":\"{filter}\"}}"),
                )
            }
            _ => {
                let seq = 1 + u64::from(prng.below(last + 3));
                (Removed::Below(seq), format!("{{\"seq\":{seq}}}"))
            }
        };
        let (number, removal) = self.removal(stream, what);
        let call = format!("STREAM.PURGE.S{stream}");
        let what = What::Remove(stream, number, removal);
        self.request(client, &call, &body, what);
    }

    /// A place in a stream that something is known about.
    fn any_place(&mut self, stream: usize) -> Option<(u64, u64)> {
        let places = &self.model.streams[stream].places;
        let most = places.len().min(1 << 20) as u32;
        if most == 0 {
            return None;
        }
        let nth = self.world.prng.below(most) as usize;
        places.iter().nth(nth).map(|(&seq, &id)| (seq, id))
    }

    fn delete_message(&mut self, client: usize, stream: usize) {
        let Some((seq, id)) = self.any_place(stream) else {
            return;
        };
        if self.is_asked_too_much(stream) {
            return;
        }
        let (number, removal) = self.removal(stream, Removed::Message(id));
        let no_erase = self.world.prng.one_in(2);
        let body = format!("{{\"seq\":{seq},\"no_erase\":{no_erase}}}");
        let call = format!("STREAM.MSG.DELETE.S{stream}");
        let what = What::Remove(stream, number, removal);
        self.request(client, &call, &body, what);
    }

    fn get(&mut self, client: usize, stream: usize) {
        let prng = &mut self.world.prng;
        let by_subject = prng.one_in(2);
        let direct = prng.one_in(2);
        let filter = subject(stream, prng.below(SUBJECTS));
        let seq = 1 + prng.below(self.model.streams[stream].last_seq as u32 + 2);
        let body = match by_subject {
            true => format!("{{\"last_by_subj\":\"{filter}\"}}"),
            false => format!("{{\"seq\":{seq}}}"),
        };
        let call = if direct {
            "DIRECT.GET"
        } else {
            "STREAM.MSG.GET"
        };
        self.request(client, &format!("{call}.S{stream}"), &body, What::Any);
    }

    fn ask_around(&mut self, client: usize) {
        let call = match self.world.prng.below(4) {
            0 => "STREAM.NAMES",
            1 | 2 => "STREAM.LIST",
            _ => "INFO",
        };
        self.request(client, call, "", What::Any);
    }

    /// Begins to bring a stream back, and brings nothing: it must never be there, crash or not.
    fn begin_restore(&mut self, client: usize) {
        self.counts.restores += 1;
        let body = "{\"config\":{\"name\":\"R\",\"subjects\":[\"r.>\"],\"storage\":\"file\"}}";
        self.request(client, "STREAM.RESTORE.R", body, What::Any);
    }

    pub fn consumer_config(&self, stream: usize, consumer: usize) -> String {
        let ack_wait_ns = self.scenario.ack_wait_ms * 1_000_000;
        let more = match consumer {
            FILTERED => format!(",\"filter_subject\":\"{}\"", subject(stream, 0)),
            PUSHED if self.scenario.flow_control => format!(
                ",\"deliver_subject\":\"_P.{stream}.{consumer}\",\"flow_control\":true,\
                 \"idle_heartbeat\":300000000"
            ),
            PUSHED => format!(",\"deliver_subject\":\"_P.{stream}.{consumer}\""),
            _ => String::new(),
        };
        format!(
            "{{\"stream_name\":\"S{stream}\",\"config\":{{\"durable_name\":\"c{consumer}\",\
             \"ack_policy\":\"explicit\",\"ack_wait\":{ack_wait_ns},\"max_ack_pending\":{}{more}}}}}",
            self.scenario.max_ack_pending
        )
    }

    fn make_consumer(&mut self, client: usize, stream: usize, consumer: usize) {
        if self.is_asked_too_much(stream) {
            return;
        }
        let number = self.ask_life(stream, Wish::Use);
        self.model.streams[stream].consumers[consumer].wanted = true;
        let body = self.consumer_config(stream, consumer);
        let mut call = format!("CONSUMER.CREATE.S{stream}.c{consumer}");
        if consumer == FILTERED {
            call = format!("{call}.{}", subject(stream, 0));
        }
        let what = What::MakeConsumer(stream, number, consumer);
        self.request(client, &call, &body, what);
    }

    fn about_consumer(&mut self, client: usize, stream: usize, consumer: usize, call: &str) {
        if self.is_asked_too_much(stream) {
            return;
        }
        let number = self.ask_life(stream, Wish::Use);
        let what = if call == "DELETE" {
            let known = &mut self.model.streams[stream].consumers[consumer];
            known.unstable = true;
            known.since = None;
            What::DeleteConsumer(stream, number)
        } else {
            What::AboutConsumer(stream, number, consumer)
        };
        let call = format!("CONSUMER.{call}.S{stream}.c{consumer}");
        self.request(client, &call, "", what);
    }

    fn about_consumers(&mut self, client: usize, stream: usize) {
        if self.is_asked_too_much(stream) {
            return;
        }
        let number = self.ask_life(stream, Wish::Use);
        let call = if self.world.prng.one_in(2) {
            "NAMES"
        } else {
            "LIST"
        };
        let call = format!("CONSUMER.{call}.S{stream}");
        self.request(client, &call, "", What::Life(stream, number));
    }

    /// Listens to a pushing consumer, or does so no more.
    pub fn listen(&mut self, client: usize, stream: usize, consumer: usize) {
        if consumer != PUSHED {
            return;
        }
        let sid = format!("q{stream}.{consumer}");
        let line = if self.peers[client].hears.remove(&(stream, consumer)) {
            format!("UNSUB {sid}\r\n")
        } else {
            self.peers[client].hears.insert((stream, consumer));
            format!("SUB _P.{stream}.{consumer} {sid}\r\n")
        };
        let now = self.world.now;
        self.world
            .trace
            .line(|| format!("{now:5} client {client}: {}", line.trim_end()));
        self.world.clients[client].write_operation(line.as_bytes());
    }

    pub fn pull(&mut self, client: usize, stream: usize, consumer: usize) {
        if consumer == PUSHED || self.peers[client].pulls.len() > 5 {
            return;
        }
        let prng = &mut self.world.prng;
        let batch = 1 + u64::from(prng.below(8));
        let how = match prng.below(3) {
            0 => "\"no_wait\":true".to_owned(),
            1 => format!("\"expires\":{}000000", 2 + prng.below(100)),
            _ => "\"expires\":10000000,\"no_wait\":true".to_owned(),
        };
        self.pull_so(client, stream, consumer, batch, &how);
    }

    pub fn pull_so(&mut self, client: usize, stream: usize, consumer: usize, left: u64, how: &str) {
        let sent = self.next_step();
        let pull = Pull {
            sent,
            stream,
            consumer,
            left,
        };
        self.peers[client].pulls.insert(sent, pull);
        let reply = format!("_PULL.{client}.{sent}");
        let line = format!("SUB {reply} p{sent}\r\n");
        self.world.clients[client].write_operation(line.as_bytes());
        let to = format!("$JS.API.CONSUMER.MSG.NEXT.S{stream}.c{consumer}");
        let body = format!("{{\"batch\":{left},{how}}}");
        self.say(client, &to, &reply, "", body.as_bytes());
    }

    /// A client answers one of the deliveries that it has kept.
    fn settle_one(&mut self, client: usize) {
        let most = self.peers[client].held.len() as u32;
        if most > 0 {
            let which = self.world.prng.below(most) as usize;
            let delivered = self.peers[client].held.swap_remove(which);
            self.settle(client, delivered);
        }
    }

    /// A client says something about a delivery.
    pub fn settle(&mut self, client: usize, delivered: Delivered) {
        let choice = self.world.prng.below(100);
        match choice {
            0..40 => self.done(client, &delivered, "+ACK", false),
            40..75 => self.done(client, &delivered, "", true),
            75..79 => self.done(client, &delivered, "+TERM", false),
            79..83 => self.done(client, &delivered, "+TERM", true),
            83..88 => self.say(client, &delivered.reply, "", "", b"-NAK"),
            88..92 => {
                let body = format!("-NAK {{\"delay\":{}000000}}", 1 + choice);
                self.say(client, &delivered.reply, "", "", body.as_bytes());
            }
            92..96 => {
                self.say(client, &delivered.reply, "", "", b"+WPI");
                self.peers[client].held.push(delivered);
            }
            _ => {}
        }
    }

    pub fn done(&mut self, client: usize, delivered: &Delivered, how: &str, confirmed: bool) {
        let &Delivered {
            stream,
            consumer,
            id,
            ..
        } = delivered;
        let known = &mut self.model.streams[stream].consumers[consumer];
        known.maybe.insert(id, self.step);
        let seq = delivered.reply.split('.').nth(ACKED_SEQUENCE);
        let seq = seq.and_then(|seq| seq.parse().ok());
        known.said.insert(seq.expect("it names one"), self.step);
        let reply = match confirmed {
            true => self.question(client, What::Confirm(stream, consumer, id)),
            false => String::new(),
        };
        self.say(client, &delivered.reply, &reply, "", how.as_bytes());
    }

    fn publish(&mut self, client: usize) {
        let last_client_bytes = self.world.clients[client].to_server.len();
        if last_client_bytes > 400 * 1024 {
            return;
        }
        let prng = &mut self.world.prng;
        let stream = prng.below(STREAMS as u32) as usize;
        if prng.one_in(12) {
            self.publish_batch(client, stream);
            return;
        }
        let id = self.draft(client, stream);
        let last = self.model.streams[stream].last_seq;
        let prng = &mut self.world.prng;
        let mut header = String::new();
        let message = self.model.messages.get_mut(&id).expect("it was drafted");
        match prng.below(12) {
            0..2 => {
                // Some of them again and again: after a crash, too.
                let recent = u64::from(prng.below(20));
                let msg_id =
                    stream as u64 * 1_000_000 + (id / 20).saturating_sub(recent / 10) * 20 + recent;
                message.msg_id = Some(msg_id);
                header = format!("Nats-Msg-Id: {msg_id}\r\n");
            }
            2 => {
                let last = (last + u64::from(prng.below(3))).saturating_sub(1);
                message.expected_last = Some(last);
                header = format!("Nats-Expected-Last-Sequence: {last}\r\n");
            }
            3 => {
                let places = &self.model.streams[stream].places;
                let messages = &self.model.messages;
                let which = messages[&id].subject;
                let mut of_subject = places.iter().rev();
                let last = of_subject.find(|(_, id)| messages[*id].subject == which);
                let last = last.map_or(0, |(&seq, _)| seq);
                let message = self.model.messages.get_mut(&id).expect("it was drafted");
                message.expected_subject_last = Some(last);
                header = format!("Nats-Expected-Last-Subject-Sequence: {last}\r\n");
            }
            _ => {}
        }
        if !header.is_empty() {
            header = format!("NATS/1.0\r\n{header}\r\n");
        }
        let what = What::Publish(id);
        let reply = match self.world.prng.one_in(10) {
            true => String::new(),
            false => self.question(client, what),
        };
        self.send(client, id, &reply, &header);
    }

    /// A new message.
    fn draft(&mut self, client: usize, stream: usize) -> u64 {
        let sent = self.next_step();
        let id = self.next_message;
        self.next_message += 1;
        let prng = &mut self.world.prng;
        let message = Message {
            stream,
            subject: prng.below(SUBJECTS),
            client,
            sent,
            bytes: prng.below(self.scenario.payload_max) as usize,
            msg_id: None,
            expected_last: None,
            expected_subject_last: None,
            batch: None,
            seq: None,
            acked: None,
            refused: false,
            gone: false,
        };
        self.model.messages.insert(id, message);
        self.counts.published += 1;
        id
    }

    fn send(&mut self, client: usize, id: u64, reply: &str, header: &str) {
        let message = &self.model.messages[&id];
        let to = subject(message.stream, message.subject);
        let body = payload(id, message.bytes);
        self.say(client, &to, reply, header, &body);
    }

    fn publish_batch(&mut self, client: usize, stream: usize) {
        let count = 1 + u64::from(self.world.prng.below(5));
        let batch = self.step + 1;
        // One that is never committed must leave nothing.
        let is_left = self.world.prng.one_in(6);
        let mut ids = Vec::new();
        for place in 1..=count {
            let id = self.draft(client, stream);
            ids.push(id);
            let message = self.model.messages.get_mut(&id).expect("it was drafted");
            message.batch = Some((batch, place));
            message.refused = is_left;
            let mut header =
                format!("NATS/1.0\r\nNats-Batch-Id: b{batch}\r\nNats-Batch-Sequence: {place}\r\n");
            let mut what = What::Part(id);
            if place == count && !is_left {
                header += "Nats-Batch-Commit: 1\r\n";
                what = What::Commit(ids.clone());
            }
            header += "\r\n";
            let reply = self.question(client, what);
            self.send(client, id, &reply, &header);
        }
    }
}
