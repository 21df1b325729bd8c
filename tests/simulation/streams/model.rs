//! What clients know of streams: which messages must be there, which may, which must not.
//!
//! A message is known by its number, which its payload begins with. Between two audits, at which a
//! stream is read out whole, only that is asserted which no order of what is under way could excuse.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::lives::{Answer, Asked, Life, Wish};

/// Streams of a run: the first are made and deleted all the time, by several clients at once.
pub const STREAMS: usize = 6;
pub const VOLATILE: usize = 2;
/// Subjects of each.
pub const SUBJECTS: u32 = 3;
/// Consumers of each: pulled; pulled, of one subject only; pushed.
pub const CONSUMERS: usize = 3;
pub const FILTERED: usize = 1;
pub const PUSHED: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    Limits,
    Interest,
    WorkQueue,
}

/// How a stream is made.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub retention: Retention,
    pub memory: bool,
    pub max_msgs: Option<u64>,
    pub direct: bool,
}

/// A message that a client has sent.
#[derive(Clone, Debug)]
pub struct Message {
    pub stream: usize,
    pub subject: u32,
    pub client: usize,
    pub sent: u64,
    pub bytes: usize,
    pub msg_id: Option<u64>,
    pub expected_last: Option<u64>,
    pub expected_subject_last: Option<u64>,
    /// The atomic batch, and the place in it.
    pub batch: Option<(u64, u64)>,
    /// Its place, as acknowledged, delivered or read.
    pub seq: Option<u64>,
    /// When its acknowledgement was read.
    pub acked: Option<u64>,
    /// It must never be seen: it was refused, or another with its id is there.
    pub refused: bool,
    /// It was not there, or is not any more.
    pub gone: bool,
}

/// Messages that somebody had removed.
#[derive(Clone, Debug)]
pub struct Removal {
    pub what: Removed,
    pub sent: u64,
    /// When it was confirmed.
    pub answered: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum Removed {
    All,
    Subject(u32),
    Below(u64),
    Message(u64),
}

impl Removal {
    fn means(&self, id: u64, message: &Message) -> bool {
        match self.what {
            Removed::All => true,
            Removed::Subject(subject) => message.subject == subject,
            Removed::Below(seq) => message.seq.is_none_or(|own| own < seq),
            Removed::Message(own) => own == id,
        }
    }

    /// Whether a message may be gone by it.
    fn may(&self, id: u64, message: &Message) -> bool {
        self.means(id, message) && self.answered.is_none_or(|at| message.sent < at)
    }

    /// Whether it must.
    fn must(&self, id: u64, message: &Message) -> bool {
        self.means(id, message)
            && self.answered.is_some()
            && message.seq.is_some()
            && message.acked.is_some_and(|acked| acked < self.sent)
    }
}

/// What is known of a consumer.
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    /// As the last audit has seen it: when it was made.
    pub created: Option<String>,
    /// Since when it is there for sure.
    pub since: Option<u64>,
    /// Somebody has tried to make it.
    pub wanted: bool,
    /// Somebody has tried to delete it since the last audit.
    pub unstable: bool,
    /// Confirmed acknowledgements: message, when that was read, by whom.
    pub confirmed: BTreeMap<u64, (u64, usize)>,
    /// What may count as acknowledged, and when that was said last.
    pub maybe: BTreeMap<u64, u64>,
    /// Sequences that were acknowledged, and when that was said last: where a stream of that name has come
    /// meanwhile, it may have been said to its message of that sequence.
    pub said: BTreeMap<u64, u64>,
    /// What was delivered since the drain began.
    pub drained: BTreeSet<u64>,
}

impl Consumer {
    /// It may be another one than before: what was said to it may have been said to either.
    pub fn begin_anew(&mut self, last_audit: u64) {
        for (id, (at, _)) in std::mem::take(&mut self.confirmed) {
            let said = self.maybe.entry(id).or_default();
            *said = at.max(*said);
        }
        self.maybe.retain(|_, at| *at > last_audit);
        self.said.retain(|_, at| *at > last_audit);
    }

    fn knows(&self, id: u64) -> bool {
        self.maybe.contains_key(&id) || self.confirmed.contains_key(&id)
    }
}

/// What is known of a stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// As the last audit has seen it.
    pub life: Option<Life>,
    /// Its kind, while that is known.
    pub variant: Option<u32>,
    /// What was asked about its life since.
    pub asked: Vec<Asked>,
    /// Since when it is there for sure; nothing if somebody may delete it.
    pub since: Option<u64>,
    /// Its life may have ended or begun anew since the last audit.
    pub unstable: bool,
    pub removals: Vec<Removal>,
    pub consumers: [Consumer; CONSUMERS],
    /// What is known to be where.
    pub places: BTreeMap<u64, u64>,
    /// The highest place heard of.
    pub last_seq: u64,
}

#[derive(Debug)]
pub struct Model {
    pub variants: Vec<Variant>,
    pub streams: Vec<Stream>,
    pub messages: BTreeMap<u64, Message>,
    /// Times of creation that were seen, by number.
    created: Vec<String>,
}

/// What a message's payload is.
pub fn payload(id: u64, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{id}:").into_bytes();
    let more = (0..bytes as u64).map(|i| b'a' + ((id * 7 + i) % 26) as u8);
    payload.extend(more);
    payload
}

pub fn id_of(payload: &[u8]) -> Option<u64> {
    let colon = payload.iter().position(|&byte| byte == b':')?;
    std::str::from_utf8(&payload[..colon]).ok()?.parse().ok()
}

/// The subject of a message.
pub fn subject(stream: usize, subject: u32) -> String {
    format!("s{stream}.{subject}")
}

impl Model {
    pub fn new(variants: Vec<Variant>) -> Self {
        Self {
            variants,
            streams: vec![Stream::default(); STREAMS],
            messages: BTreeMap::new(),
            created: Vec::new(),
        }
    }

    /// The number of a time of creation.
    pub fn created(&mut self, text: &str) -> u32 {
        let known = self.created.iter().position(|other| other == text);
        known.unwrap_or_else(|| {
            self.created.push(text.to_owned());
            self.created.len() - 1
        }) as u32
    }

    /// How a stream is, if that is known.
    pub fn variant(&self, stream: usize) -> Option<Variant> {
        let stream = &self.streams[stream];
        let known = stream.variant.filter(|_| !stream.unstable)?;
        Some(self.variants[known as usize])
    }

    /// Whether a message that is sent now will arrive in the stream.
    pub fn is_there(&self, stream: usize, sent: u64) -> bool {
        let stream = &self.streams[stream];
        !stream.unstable && stream.since.is_some_and(|since| since < sent)
    }

    /// A message was seen: whether it is what was sent.
    pub fn check_content(&self, to: &str, body: &[u8]) -> Result<u64, String> {
        let id = id_of(body).ok_or_else(|| format!("a message that nobody sent: {to}"))?;
        let message = self
            .messages
            .get(&id)
            .ok_or_else(|| format!("message {id} was never sent"))?;
        if to != subject(message.stream, message.subject) {
            return Err(format!("message {id} has the subject {to}"));
        }
        if body != payload(id, message.bytes) {
            return Err(format!("message {id} has another payload"));
        }
        if message.refused {
            return Err(format!("message {id} was refused, and is there"));
        }
        Ok(id)
    }

    /// A message has this place.
    pub fn placed(&mut self, id: u64, seq: u64) -> Result<(), String> {
        let message = self.messages.get_mut(&id).expect("it was sent");
        let stream = &mut self.streams[message.stream];
        if stream.unstable {
            return Ok(());
        }
        if message.gone {
            return Err(format!("message {id} was gone, and is {seq}"));
        }
        if let Some(before) = message.seq.filter(|&before| before != seq) {
            return Err(format!("message {id} was {before} and is {seq}"));
        }
        message.seq = Some(seq);
        stream.last_seq = stream.last_seq.max(seq);
        match stream.places.insert(seq, id) {
            Some(other) if other != id => Err(format!("{seq} was message {other} and is {id}")),
            _ => Ok(()),
        }
    }

    /// A stream's life may have changed: what is known of its messages is as good as nothing.
    pub fn shake(&mut self, stream: usize) {
        let stream = &mut self.streams[stream];
        stream.unstable = true;
        stream.since = None;
        stream.variant = None;
        stream.places.clear();
        for consumer in &mut stream.consumers {
            consumer.unstable = true;
            consumer.since = None;
        }
    }

    /// The server has ended, and what was in memory with it.
    pub fn crash(&mut self) {
        for stream in 0..STREAMS {
            if self.variant(stream).is_none_or(|variant| variant.memory) {
                self.shake(stream);
            }
        }
    }

    /// What is known of lives after a crash is what was promised: who only looks may see what is not
    /// on disk yet. Streams in memory may be gone.
    pub fn settle_lives(&mut self, crashed: bool) {
        if !crashed {
            return;
        }
        for number in 0..STREAMS {
            let stream = &mut self.streams[number];
            stream.asked.retain(|asked| {
                let changes = !matches!(asked.wish, Wish::See | Wish::Use);
                changes && matches!(asked.answer, Answer::Is(_) | Answer::Done | Answer::Lost)
            });
            let variants = self.variants.iter().enumerate();
            let memory = variants.filter(|(_, variant)| variant.memory);
            let restart = Wish::Restart {
                memory: memory.map(|(number, _)| 1 << number).sum(),
            };
            stream.asked.push(Asked {
                sent: u64::MAX - 1,
                answered: Some(u64::MAX),
                wish: restart,
                answer: Answer::Done,
            });
        }
    }

    fn filter_fits(consumer: usize, message: &Message) -> bool {
        consumer != FILTERED || message.subject == 0
    }

    fn may_be_gone(&self, id: u64, message: &Message, last_seq: u64) -> bool {
        let stream = &self.streams[message.stream];
        let Some(variant) = self.variant(message.stream) else {
            return true;
        };
        let Some(seq) = message.seq else {
            return true;
        };
        if variant.max_msgs.is_some_and(|most| seq + most <= last_seq)
            || stream.removals.iter().any(|r| r.may(id, message))
        {
            return true;
        }
        match variant.retention {
            Retention::Limits => false,
            Retention::WorkQueue => stream.consumers.iter().any(|c| c.knows(id)),
            Retention::Interest => {
                let needs = |(number, consumer): (usize, &Consumer)| {
                    Self::filter_fits(number, message)
                        && !consumer.unstable
                        && consumer.since.is_some_and(|since| since < message.sent)
                        && !consumer.knows(id)
                };
                !stream.consumers.iter().enumerate().any(needs)
            }
        }
    }

    fn must_be_gone(&self, id: u64, message: &Message) -> bool {
        let stream = &self.streams[message.stream];
        let Some(variant) = self.variant(message.stream) else {
            return false;
        };
        if stream.removals.iter().any(|r| r.must(id, message)) {
            return true;
        }
        // One that was made anew wants what its namesake is done with.
        let confirms =
            |consumer: &Consumer| !consumer.unstable && consumer.confirmed.contains_key(&id);
        match variant.retention {
            Retention::Limits => false,
            Retention::WorkQueue => stream.consumers.iter().any(confirms),
            Retention::Interest => {
                let mut wanting = stream.consumers.iter().filter(|c| c.wanted).peekable();
                wanting.peek().is_some() && wanting.all(confirms)
            }
        }
    }

    /// A stream that is there was read out: what is where, and its last sequence.
    pub fn audit(
        &mut self,
        number: usize,
        found: &BTreeMap<u64, u64>,
        last_seq: u64,
    ) -> Result<(), String> {
        let stable = !self.streams[number].unstable;
        let mut seen = BTreeMap::new();
        for (&seq, &id) in found {
            let message = &self.messages[&id];
            if message.stream != number {
                return Err(format!("message {id} is of stream {}", message.stream));
            }
            if let Some(before) = seen.insert(id, seq) {
                return Err(format!("message {id} is there twice: {before} and {seq}"));
            }
            if message.gone {
                return Err(format!("message {id} was gone and is there again: {seq}"));
            }
            if stable && message.seq.is_some_and(|own| own != seq) {
                return Err(format!("message {id} is {seq} and was {:?}", message.seq));
            }
            if self.must_be_gone(id, message) {
                let known = &self.streams[number];
                return Err(format!("message {id} must be gone and is {seq}: {known:?}"));
            }
        }
        self.check_order(found)?;
        self.check_conditions(found, &seen)?;
        for (&id, message) in self.messages.iter().filter(|(_, m)| m.stream == number) {
            let is_missing = stable && message.seq.is_some() && !message.gone;
            if is_missing && !seen.contains_key(&id) && !self.may_be_gone(id, message, last_seq) {
                return Err(format!("message {id} is missing: {message:?}"));
            }
        }
        self.check_batches(number, &seen, last_seq)?;
        if let Some(most) = self.variant(number).and_then(|variant| variant.max_msgs)
            && found.len() as u64 > most
        {
            return Err(format!("{} messages, at most {most}", found.len()));
        }
        for (id, message) in &mut self.messages {
            if message.stream == number && !message.gone {
                message.seq = seen.get(id).copied();
                message.gone = message.seq.is_none();
            }
        }
        let stream = &mut self.streams[number];
        stream.removals.clear();
        stream.places.clone_from(found);
        stream.last_seq = last_seq;
        Ok(())
    }

    /// Messages of one client are in its order, and none comes after one that was sent when it was
    /// acknowledged already.
    fn check_order(&self, found: &BTreeMap<u64, u64>) -> Result<(), String> {
        let mut of_client: HashMap<usize, (u64, u64)> = HashMap::new();
        let mut latest = (0, 0);
        for &id in found.values() {
            let message = &self.messages[&id];
            let before = of_client.insert(message.client, (message.sent, id));
            if let Some((sent, other)) = before
                && sent > message.sent
            {
                return Err(format!("message {other} is before {id} and was sent after"));
            }
            if message.acked.is_some_and(|acked| acked < latest.0) {
                return Err(format!("message {id} is behind {}, a later one", latest.1));
            }
            latest = latest.max((message.sent, id));
        }
        Ok(())
    }

    /// Message ids are there once; what was expected was so.
    fn check_conditions(
        &self,
        found: &BTreeMap<u64, u64>,
        seen: &BTreeMap<u64, u64>,
    ) -> Result<(), String> {
        let mut msg_ids = HashMap::new();
        for (&id, &seq) in seen {
            let message = &self.messages[&id];
            if let Some(msg_id) = message.msg_id
                && let Some(other) = msg_ids.insert(msg_id, id)
            {
                return Err(format!("messages {other} and {id} have one id"));
            }
            if message.expected_last.is_some_and(|last| last + 1 != seq) {
                return Err(format!("message {id} is {seq}: {message:?}"));
            }
            if let Some(last) = message.expected_subject_last {
                let between = found.range(last + 1..seq).find(|(_, other)| {
                    let other = &self.messages[*other];
                    other.subject == message.subject
                });
                if let Some((between, _)) = between {
                    return Err(format!("{between} is before message {id}: {message:?}"));
                }
            }
        }
        Ok(())
    }

    /// Of an atomic batch all is there or nothing, in one piece.
    fn check_batches(
        &self,
        stream: usize,
        seen: &BTreeMap<u64, u64>,
        last_seq: u64,
    ) -> Result<(), String> {
        let mut batches: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        for (&id, message) in &self.messages {
            if message.stream == stream
                && let Some((batch, place)) = message.batch
            {
                batches.entry(batch).or_default().push((place, id));
            }
        }
        for (batch, members) in batches {
            let mut start = None;
            for &(place, id) in &members {
                let Some(&seq) = seen.get(&id) else {
                    continue;
                };
                if start.is_some_and(|start| start + place != seq) {
                    return Err(format!("batch {batch} is not in one piece"));
                }
                start = Some(seq - place);
            }
            let Some(start) = start else {
                continue;
            };
            for (place, id) in members {
                let mut message = self.messages[&id].clone();
                message.seq = Some(start + place);
                let excused = message.gone || self.may_be_gone(id, &message, last_seq);
                if !seen.contains_key(&id) && !excused {
                    return Err(format!("batch {batch} is there without message {id}"));
                }
            }
        }
        Ok(())
    }

    /// How many messages a consumer that has come so far has before it, and how many of those behind it
    /// may wait for an acknowledgement: at least, at most.
    pub fn counts(
        &self,
        number: usize,
        consumer: usize,
        found: &BTreeMap<u64, u64>,
        delivered: u64,
    ) -> (u64, (u64, u64)) {
        let known = &self.streams[number].consumers[consumer];
        let (mut before, mut least, mut most) = (0, 0, 0);
        for (&seq, id) in found {
            let message = &self.messages[id];
            if !Self::filter_fits(consumer, message) {
                continue;
            }
            if seq > delivered {
                before += 1;
            } else if !known.confirmed.contains_key(id) {
                most += 1;
                // What was said to a namesake's message of that place may have come after all.
                let may_be_done = known.maybe.contains_key(id) || known.said.contains_key(&seq);
                least += u64::from(!may_be_done);
            }
        }
        (before, (least, most))
    }

    /// What a drained consumer has not delivered though it should have.
    pub fn undelivered(
        &self,
        number: usize,
        consumer: usize,
        found: &BTreeMap<u64, u64>,
    ) -> Option<u64> {
        let known = &self.streams[number].consumers[consumer];
        let mut places = found.iter();
        let left = places.find(|(seq, id)| {
            Self::filter_fits(consumer, &self.messages[*id])
                && !known.knows(**id)
                && !known.said.contains_key(*seq)
                && !known.drained.contains(*id)
        });
        left.map(|(_, &id)| id)
    }
}
