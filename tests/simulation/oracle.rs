//! What must and what must not be delivered.
//!
//! The oracle sees what clients write and read, and when a shard was fed which message; it knows
//! nothing of shards' insides. Time is a step number: one per thing that it is told.
//!
//! A run has epochs, each of which ends when nothing moves any more. What must arrive is checked
//! there, what must not arrive is checked at once.

use std::collections::HashMap;

use super::wire::{Delivery, matches};

/// Payloads at least this long say which message they belong to.
pub const NAMED_PAYLOAD_BYTES: usize = 16;

/// What the oracle knows of a client.
#[derive(Debug)]
pub struct Facts {
    pub echo: bool,
    pub headers: bool,
    pub no_responders: bool,
    /// It will have read everything by the end of an epoch.
    pub reads: bool,
    /// When it began to leave, or the server to close it.
    pub ended: Option<u64>,
}

#[derive(Debug)]
struct Subscription {
    client: usize,
    sid: String,
    pattern: String,
    /// Empty for a plain one.
    queue: String,
    sent: u64,
    /// All shards know it, by a PONG or because nothing moves.
    confirmed: Option<u64>,
    leave_sent: Option<u64>,
    leave_confirmed: Option<u64>,
    max: Option<u64>,
    max_sent: u64,
    /// Deliveries that are certainly the most.
    received_max: u64,
    received: u64,
    /// Confirmed messages that matched, over all epochs.
    owed: u64,
    /// Last message by publisher.
    last: HashMap<usize, u64>,
}

/// A published message.
#[derive(Debug)]
pub struct Message {
    pub publisher: usize,
    pub number: u64,
    pub subject: String,
    pub reply: String,
    pub header: Vec<u8>,
    pub payload_bytes: usize,
    /// When its publisher began to send it.
    pub started: u64,
    /// When the publisher's shard had it.
    pub fed: Option<u64>,
    /// The publisher was cut off in the call that fed it: it may have been dropped.
    pub uncertain: bool,
    /// It was behind a PING that may have waited, so that it took effect later than it was fed.
    pub delayed: bool,
    /// Subscriptions that got it.
    got: Vec<usize>,
    got_503: bool,
}

/// What was counted over a run.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub deliveries: u64,
    pub owed_deliveries: u64,
    pub owed_queue_deliveries: u64,
    pub no_responders: u64,
    pub owed_no_responders: u64,
    pub max_reached: u64,
    pub headers_stripped: u64,
    pub own_messages_withheld: u64,
    pub shared_payloads: u64,
}

/// The judge of one run.
pub struct Oracle {
    step: u64,
    clients: Vec<Facts>,
    subscriptions: Vec<Subscription>,
    /// Those that may still get something.
    current: Vec<usize>,
    by_sid: HashMap<(usize, String), usize>,
    messages: Vec<Message>,
    by_name: HashMap<(usize, u64), usize>,
    filler: Vec<u8>,
    pub counts: Counts,
}

impl Oracle {
    /// Nothing has happened.
    pub fn new() -> Self {
        let mut prng = skein::base::prng::Prng::new(4);
        Self {
            step: 0,
            clients: Vec::new(),
            subscriptions: Vec::new(),
            current: Vec::new(),
            by_sid: HashMap::new(),
            messages: Vec::new(),
            by_name: HashMap::new(),
            filler: (0..130 * 1024).map(|_| prng.next_u64() as u8).collect(),
            counts: Counts::default(),
        }
    }

    /// The next step's number.
    pub fn next_step(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    /// A client has connected; returns its number.
    pub fn connected(&mut self, facts: Facts) -> usize {
        self.clients.push(facts);
        self.clients.len() - 1
    }

    /// A client leaves or is cut off.
    pub fn ended(&mut self, client: usize) {
        let step = self.next_step();
        self.clients[client].ended.get_or_insert(step);
        self.leave_all(client, step);
    }

    fn leave_all(&mut self, client: usize, step: u64) {
        for &sub in &self.current {
            let sub = &mut self.subscriptions[sub];
            if sub.client == client {
                sub.leave_sent.get_or_insert(step);
            }
        }
    }

    /// A client sends a second CONNECT, which drops its subscriptions.
    pub fn reconnect_sent(&mut self, client: usize) {
        let step = self.next_step();
        self.leave_all(client, step);
    }

    /// A client sends SUB.
    pub fn subscribe_sent(&mut self, client: usize, pattern: &str, queue: &str, sid: &str) {
        let sent = self.next_step();
        let place = self.subscriptions.len();
        self.subscriptions.push(Subscription {
            client,
            sid: sid.to_owned(),
            pattern: pattern.to_owned(),
            queue: queue.to_owned(),
            sent,
            confirmed: None,
            // A client may not know yet that it has been cut off.
            leave_sent: self.clients[client].ended.and(Some(sent)),
            leave_confirmed: None,
            max: None,
            max_sent: 0,
            received_max: u64::MAX,
            received: 0,
            owed: 0,
            last: HashMap::new(),
        });
        self.current.push(place);
        self.by_sid.insert((client, sid.to_owned()), place);
    }

    /// Subscriptions of a client that it has not begun to end: id and queue group.
    pub fn subscribed(&self, client: usize) -> Vec<(String, String)> {
        self.current
            .iter()
            .map(|&sub| &self.subscriptions[sub])
            .filter(|sub| sub.client == client && sub.leave_sent.is_none() && sub.max.is_none())
            .map(|sub| (sub.sid.clone(), sub.queue.clone()))
            .collect()
    }

    /// A client sends UNSUB.
    pub fn unsubscribe_sent(&mut self, client: usize, sid: &str) {
        let step = self.next_step();
        let sub = self.by_sid[&(client, sid.to_owned())];
        self.subscriptions[sub].leave_sent.get_or_insert(step);
    }

    /// A client sends UNSUB with a maximum; returns the subscription's number.
    pub fn max_sent(&mut self, client: usize, sid: &str, max: u64) -> usize {
        let step = self.next_step();
        let place = self.by_sid[&(client, sid.to_owned())];
        let sub = &mut self.subscriptions[place];
        sub.max = Some(max);
        sub.max_sent = step;
        place
    }

    /// The shard has read that UNSUB: if fewer messages than the maximum can have matched before,
    /// the maximum holds from the start.
    pub fn max_fed(&mut self, place: usize, waits: Option<u64>) {
        let sub = &self.subscriptions[place];
        if waits.is_some_and(|since| since < sub.max_sent) {
            return;
        }
        let before = self
            .messages
            .iter()
            .filter(|m| m.fed.is_some() && matches(&sub.pattern, &m.subject))
            .count() as u64;
        let max = sub.max.expect("it was sent");
        // `messages` holds this epoch's only.
        let of_this_epoch = sub.confirmed.is_none();
        if of_this_epoch && before < max {
            self.subscriptions[place].received_max = max;
        }
    }

    /// A client has read the PONG for the PING that it sent at `sent`.
    pub fn pong(&mut self, client: usize, sent: u64) {
        let step = self.next_step();
        if self.clients[client].ended.is_some() {
            // A connection that is closed gets its PONGs at once, whatever they waited for.
            return;
        }
        for &sub in &self.current {
            let sub = &mut self.subscriptions[sub];
            if sub.client != client {
                continue;
            }
            if sub.sent < sent {
                sub.confirmed.get_or_insert(step);
            }
            if sub.leave_sent.is_some_and(|leave| leave < sent) {
                sub.leave_confirmed.get_or_insert(step);
            }
            if let Some(max) = sub.max
                && sub.max_sent < sent
            {
                sub.received_max = sub.received_max.min(max.max(sub.received));
            }
        }
    }

    /// A client sends a message; returns its number in this epoch.
    pub fn publish_sent(&mut self, mut message: Message) -> usize {
        message.started = self.next_step();
        let place = self.messages.len();
        self.by_name
            .insert((message.publisher, message.number), place);
        self.messages.push(message);
        place
    }

    /// A message whose numbers are not known yet.
    pub fn draft(publisher: usize, number: u64, subject: String, reply: String) -> Message {
        Message {
            publisher,
            number,
            subject,
            reply,
            header: Vec::new(),
            payload_bytes: 0,
            started: 0,
            fed: None,
            uncertain: false,
            delayed: false,
            got: Vec::new(),
            got_503: false,
        }
    }

    /// The publisher's shard was given the last byte of a message.
    pub fn publish_fed(&mut self, place: usize, uncertain: bool, waits: Option<u64>) {
        let step = self.next_step();
        let message = &mut self.messages[place];
        message.fed = Some(step);
        message.uncertain = uncertain;
        message.delayed = waits.is_some_and(|since| since < message.started);
    }

    /// The server closes a connection for another reason than that the client has left: what
    /// waited for other shards since then may be lost.
    pub fn cut_off(&mut self, client: usize, since: u64) {
        for message in &mut self.messages {
            message.uncertain |= message.publisher == client && message.started > since;
        }
    }

    /// The payload of a message.
    pub fn payload(&self, publisher: usize, number: u64, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(bytes);
        if bytes >= NAMED_PAYLOAD_BYTES {
            payload.extend_from_slice(format!("{publisher:06x}{number:010x}").as_bytes());
        }
        payload.extend_from_slice(self.filler(number, bytes - payload.len()));
        payload
    }

    fn filler(&self, number: u64, bytes: usize) -> &[u8] {
        let start = (number as usize * 37) % 4096;
        &self.filler[start..start + bytes]
    }

    fn is_payload(&self, message: &Message, payload: &[u8]) -> bool {
        let named = if payload.len() >= NAMED_PAYLOAD_BYTES {
            NAMED_PAYLOAD_BYTES
        } else {
            0
        };
        payload.len() == message.payload_bytes
            && payload[named..] == *self.filler(message.number, payload.len() - named)
    }

    /// A client has read a message.
    pub fn delivered(&mut self, client: usize, delivery: &Delivery<'_>) -> Result<(), String> {
        let step = self.next_step();
        if delivery.header.starts_with(b"NATS/1.0 503") {
            return self.delivered_503(client, delivery);
        }
        let Some(&place) = self.by_sid.get(&(client, delivery.sid.to_owned())) else {
            return Err("a subscription id that was never used".into());
        };
        let name = name_of(delivery).ok_or("no message of ours")?;
        let Some(&number) = self.by_name.get(&name) else {
            return Err(format!(
                "message {name:?} is of an earlier epoch, or of none"
            ));
        };
        let message = &self.messages[number];
        let sub = &self.subscriptions[place];
        let about = || format!("message {message:?}\nsubscription {sub:?}\nstep {step}");
        if message.fed.is_none() {
            return Err(format!("before it was published: {}", about()));
        }
        if sub.leave_confirmed.is_some() {
            return Err(format!("I4: after UNSUB and PONG: {}", about()));
        }
        if delivery.subject != message.subject || !matches(&sub.pattern, &message.subject) {
            return Err(format!("the subject does not match: {}", about()));
        }
        let facts = &self.clients[client];
        let header: &[u8] = if facts.headers { &message.header } else { b"" };
        if delivery.reply != message.reply || delivery.header != header {
            return Err(format!("reply or header differ: {}", about()));
        }
        if !self.is_payload(message, delivery.payload) {
            return Err(format!("the payload differs: {}", about()));
        }
        if message.publisher == client && !facts.echo {
            return Err(format!("an echo: {}", about()));
        }
        if message.got.contains(&place) {
            return Err(format!("I2: twice: {}", about()));
        }
        if sub.received + 1 > sub.received_max {
            return Err(format!("I4: more than the maximum: {}", about()));
        }
        if !sub.queue.is_empty()
            && let Some(other) = message
                .got
                .iter()
                .map(|&other| &self.subscriptions[other])
                .find(|other| other.queue == sub.queue)
        {
            return Err(format!("I3: two members: {other:?}\nand {}", about()));
        }
        let last = sub.last.get(&message.publisher).copied().unwrap_or(0);
        if message.number <= last && !self.may_be_overtaken(message, last, &sub.queue) {
            let group = self.group(message, &sub.queue);
            return Err(format!(
                "I1: behind message {last}: {}\ngroup {group:#?}",
                about()
            ));
        }
        if !facts.headers && !message.header.is_empty() {
            self.counts.headers_stripped += 1;
        }
        if delivery.payload.len() >= 16 * 1024 {
            self.counts.shared_payloads += 1;
        }
        self.counts.deliveries += 1;
        let publisher = message.publisher;
        let number_of_publisher = message.number;
        self.messages[number].got.push(place);
        let sub = &mut self.subscriptions[place];
        sub.last.insert(publisher, number_of_publisher.max(last));
        sub.received += 1;
        if sub.max == Some(sub.received) {
            self.counts.max_reached += 1;
            // It is over, though when exactly the others know is open.
            sub.leave_sent.get_or_insert(step);
        }
        Ok(())
    }

    /// A queue message goes another way when the member it was meant for has just left, and may
    /// then overtake and be overtaken.
    fn may_be_overtaken(&self, message: &Message, last: u64, queue: &str) -> bool {
        if queue.is_empty() {
            return false;
        }
        let last = self.by_name.get(&(message.publisher, last));
        let last = last.map(|&place| &self.messages[place]);
        [Some(message), last].into_iter().flatten().any(|message| {
            let unrest = self.unrest(message, queue);
            unrest.lost_with_connection || unrest.leaves > 0
        })
    }

    fn delivered_503(&mut self, client: usize, delivery: &Delivery<'_>) -> Result<(), String> {
        let name = name_in(delivery.reply)
            .or_else(|| name_in(delivery.subject))
            .ok_or("a 503 for no request of ours")?;
        let Some(&number) = self.by_name.get(&name) else {
            return Err(format!("503 for {name:?} of an earlier epoch"));
        };
        let Some(&own) = self.by_sid.get(&(client, delivery.sid.to_owned())) else {
            return Err("503 to no subscription".into());
        };
        let message = &self.messages[number];
        let own = &self.subscriptions[own];
        let about = || format!("message {message:?}\nto {own:?}");
        let header = format!("NATS/1.0 503\r\nNats-Subject: {}\r\n\r\n", message.subject);
        let exact = message.publisher == client
            && self.clients[client].no_responders
            && delivery.subject == message.reply
            && delivery.reply.is_empty()
            && delivery.header == header.as_bytes()
            && delivery.payload.is_empty()
            && own.queue.is_empty()
            && matches(&own.pattern, &message.reply);
        if !exact {
            return Err(format!(
                "503: not as it should be: {delivery:?} {}",
                about()
            ));
        }
        if message.got_503 || !message.got.is_empty() {
            return Err(format!("503: twice, or after a delivery: {}", about()));
        }
        if let Some(listener) = self
            .current
            .iter()
            .map(|&sub| &self.subscriptions[sub])
            .find(|sub| self.is_certain_receiver(sub, message))
        {
            return Err(format!("503 in spite of {listener:?}: {}", about()));
        }
        self.counts.no_responders += 1;
        self.messages[number].got_503 = true;
        Ok(())
    }

    /// Whether a subscription was there for the message, from before its start until now.
    fn is_certain_receiver(&self, sub: &Subscription, message: &Message) -> bool {
        sub.confirmed.is_some_and(|step| step < message.started)
            && sub.leave_sent.is_none()
            && sub.max.is_none()
            && self.wants(sub, message)
    }

    fn wants(&self, sub: &Subscription, message: &Message) -> bool {
        matches(&sub.pattern, &message.subject)
            && (self.clients[sub.client].echo || sub.client != message.publisher)
    }

    /// The members of a group that may have a say in a message.
    fn group(&self, message: &Message, queue: &str) -> Vec<&Subscription> {
        self.current
            .iter()
            .map(|&sub| &self.subscriptions[sub])
            .filter(|sub| sub.queue == queue && matches(&sub.pattern, &message.subject))
            .collect()
    }

    /// What makes it uncertain which member of a group gets a message.
    fn unrest(&self, message: &Message, queue: &str) -> Unrest {
        let mut unrest = Unrest::default();
        for sub in self.group(message, queue) {
            let client = &self.clients[sub.client];
            if sub.client == message.publisher && !client.echo {
                unrest.leaves += 1;
                continue;
            }
            let gone = sub
                .leave_confirmed
                .is_some_and(|step| step < message.started);
            if gone {
                continue;
            }
            if client.ended.is_some() || sub.max.is_some() || !client.reads {
                unrest.lost_with_connection = true;
            }
            if sub.leave_sent.is_some() {
                unrest.leaves += 1;
            } else if sub.confirmed.is_some_and(|step| step < message.started) {
                unrest.certain = true;
            }
        }
        unrest
    }

    /// Nothing moves any more: what was owed must have been delivered.
    pub fn end_epoch(&mut self) -> Result<(), String> {
        for number in 0..self.messages.len() {
            let message = &self.messages[number];
            if message.fed.is_some() && !message.uncertain {
                self.check_plain(number)?;
                self.check_queues(number)?;
                self.check_503(number)?;
            }
        }
        let step = self.next_step();
        for &sub in &self.current {
            let sub = &mut self.subscriptions[sub];
            let client = &self.clients[sub.client];
            let explicit = sub.leave_sent.is_some() && sub.max != Some(sub.received);
            if let Some(max) = sub.max
                && client.ended.is_none()
                && client.reads
                && !explicit
                && sub.queue.is_empty()
                && sub.received < max.min(sub.owed)
            {
                return Err(format!("I4: fewer than the maximum: {sub:?}"));
            }
            sub.confirmed.get_or_insert(step);
            if sub.leave_sent.is_some() {
                sub.leave_confirmed.get_or_insert(step);
            }
            // The maximum has been taken note of.
            if let Some(max) = sub.max {
                sub.received_max = sub.received_max.min(max.max(sub.received));
            }
        }
        let subscriptions = &self.subscriptions;
        self.current
            .retain(|&sub| subscriptions[sub].leave_confirmed.is_none());
        self.messages.clear();
        self.by_name.clear();
        Ok(())
    }

    fn check_plain(&mut self, number: usize) -> Result<(), String> {
        let message = &self.messages[number];
        for &place in &self.current {
            let sub = &self.subscriptions[place];
            let client = &self.clients[sub.client];
            let confirmed = sub.confirmed.is_some_and(|step| step < message.started);
            if !sub.queue.is_empty() || !confirmed || client.ended.is_some() || !client.reads {
                continue;
            }
            if sub.client == message.publisher && !client.echo {
                if matches(&sub.pattern, &message.subject) {
                    self.counts.own_messages_withheld += 1;
                }
                continue;
            }
            if !matches(&sub.pattern, &message.subject) {
                continue;
            }
            if sub.max.is_some() {
                self.subscriptions[place].owed += 1;
            } else if sub.leave_sent.is_none() {
                self.counts.owed_deliveries += 1;
                if !message.got.contains(&place) {
                    return Err(format!("I2: missed: {message:?}\nsubscription {sub:?}"));
                }
            }
        }
        Ok(())
    }

    fn check_queues(&mut self, number: usize) -> Result<(), String> {
        let message = &self.messages[number];
        let mut queues: Vec<&str> = self
            .current
            .iter()
            .map(|&sub| &self.subscriptions[sub])
            .filter(|sub| !sub.queue.is_empty() && matches(&sub.pattern, &message.subject))
            .map(|sub| sub.queue.as_str())
            .collect();
        queues.sort_unstable();
        queues.dedup();
        for queue in queues {
            let unrest = self.unrest(message, queue);
            // One that has just left is made up for, by planning anew; two may not be.
            if !unrest.certain || unrest.lost_with_connection || unrest.leaves > 1 {
                continue;
            }
            self.counts.owed_queue_deliveries += 1;
            let got = message
                .got
                .iter()
                .any(|&sub| self.subscriptions[sub].queue == queue);
            if !got {
                let group = self.group(message, queue);
                return Err(format!(
                    "I3: no member of {queue} got {message:?}\ngroup {group:#?}"
                ));
            }
        }
        Ok(())
    }

    /// A request that certainly nobody heard must have been answered.
    fn check_503(&mut self, number: usize) -> Result<(), String> {
        let message = &self.messages[number];
        let requester = &self.clients[message.publisher];
        if message.reply.is_empty()
            || !requester.no_responders
            || requester.ended.is_some()
            || !requester.reads
        {
            return Ok(());
        }
        let mut to_own = false;
        for sub in self.current.iter().map(|&sub| &self.subscriptions[sub]) {
            let own = sub.client == message.publisher;
            let after = Some(sub.sent) > message.fed && !message.delayed
                || own && sub.sent > message.started;
            let gone = sub
                .leave_confirmed
                .is_some_and(|step| step < message.started)
                || own && sub.leave_sent.is_some_and(|step| step < message.started);
            if after || gone {
                continue;
            }
            if self.wants(sub, message) {
                return Ok(());
            }
            to_own |= own
                && sub.queue.is_empty()
                && sub.max.is_none()
                && matches(&sub.pattern, &message.reply);
        }
        if to_own {
            self.counts.owed_no_responders += 1;
            if !message.got_503 {
                return Err(format!("503: missed: {message:?}"));
            }
        }
        Ok(())
    }
}

/// What is known of a queue group with respect to one message.
#[derive(Debug, Default)]
struct Unrest {
    /// A member was there all the time.
    certain: bool,
    /// It may have been given to a member whose connection does not show it.
    lost_with_connection: bool,
    /// Members that were leaving, or cannot take it.
    leaves: usize,
}

/// Which message a delivery is: publisher and number, from the payload, the reply or the subject.
fn name_of(delivery: &Delivery<'_>) -> Option<(usize, u64)> {
    if let Some(name) = delivery.payload.get(..NAMED_PAYLOAD_BYTES) {
        let name = std::str::from_utf8(name).ok()?;
        return Some((
            usize::from_str_radix(&name[..6], 16).ok()?,
            u64::from_str_radix(&name[6..], 16).ok()?,
        ));
    }
    name_in(delivery.reply).or_else(|| name_in(delivery.subject))
}

/// The publisher and number at the end of a subject.
fn name_in(subject: &str) -> Option<(usize, u64)> {
    let mut tokens = subject.rsplit('.');
    let number = tokens.next()?.parse().ok()?;
    let publisher = tokens.next()?.parse().ok()?;
    Some((publisher, number))
}
