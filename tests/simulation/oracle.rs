//! What must and what must not be delivered.
//!
//! The oracle sees what clients write and read, and when a shard was fed which message; it knows
//! nothing of shards' insides. Time is a step number: one per thing that it is told.
//!
//! A run has epochs, each of which ends when nothing moves any more. What must arrive is checked
//! there, what must not arrive is checked at once.

use std::collections::HashMap;

use super::accounts;
use super::wire::{Delivery, matches};

/// Payloads at least this long say which message they belong to.
pub const NAMED_PAYLOAD_BYTES: usize = 16;

/// What the oracle knows of a client.
#[derive(Debug)]
pub struct Facts {
    pub account: usize,
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
    /// Last message by publisher and, of responses, by who had asked: they take another way.
    last: HashMap<(usize, Option<usize>), u64>,
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
    /// It is a response to this message: it may come too late, and be one too many.
    pub answers: Option<usize>,
    /// The response to it that was delivered.
    answered_by: Option<usize>,
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
    pub imported: u64,
    pub requests: u64,
    pub answers: u64,
    pub owed_answers: u64,
    pub forged_responses: u64,
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

    /// The account of a client.
    pub fn account_of(&self, client: usize) -> usize {
        self.clients[client].account
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
            .filter(|m| m.fed.is_some() && self.hears(sub, m))
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
            answers: None,
            answered_by: None,
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
        let facts = &self.clients[client];
        let Some(subject) = self.seen(message, facts.account) else {
            return Err(format!("it is of another account: {}", about()));
        };
        if delivery.subject != subject || !matches(&sub.pattern, &subject) {
            return Err(format!("the subject does not match: {}", about()));
        }
        let from = self.clients[message.publisher].account;
        let asks = from != facts.account && accounts::is_request(from, &message.subject);
        let as_sent = match (facts.headers, asks) {
            (true, true) => is_forwarded(delivery, message, &accounts::request_info(from)),
            (false, true) => delivery.header.is_empty() && is_rerouted(delivery, message),
            (true, false) => delivery.header == message.header && delivery.reply == message.reply,
            (false, false) => delivery.header.is_empty() && delivery.reply == message.reply,
        };
        if !as_sent {
            return Err(format!("reply or header differ: {delivery:?} {}", about()));
        }
        let request = message.answers.map(|place| &self.messages[place]);
        if let Some(request) = request
            && request.answered_by.is_some_and(|by| by != number)
        {
            return Err(format!("a second response to {request:?}: {}", about()));
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
                .find(|other| {
                    let theirs = self.group_account(message, other);
                    other.queue == sub.queue && theirs == self.group_account(message, sub)
                })
        {
            return Err(format!("I3: two members: {other:?}\nand {}", about()));
        }
        let way = (message.publisher, request.map(|request| request.publisher));
        let last = sub.last.get(&way).copied().unwrap_or(0);
        let group = (self.group_account(message, sub), sub.queue.as_str());
        if message.number <= last && !self.may_be_overtaken(message, last, group) {
            let group = self.group(message, group);
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
        self.counts.imported += u64::from(from != facts.account && message.answers.is_none());
        self.counts.requests += u64::from(asks);
        let number_of_publisher = message.number;
        if let Some(request) = message.answers {
            self.counts.answers += 1;
            self.messages[request].answered_by = Some(number);
        }
        self.messages[number].got.push(place);
        let sub = &mut self.subscriptions[place];
        sub.last.insert(way, number_of_publisher.max(last));
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
    fn may_be_overtaken(&self, message: &Message, last: u64, group: Group<'_>) -> bool {
        if group.1.is_empty() {
            return false;
        }
        let last = self.by_name.get(&(message.publisher, last));
        let last = last.map(|&place| &self.messages[place]);
        [Some(message), last].into_iter().flatten().any(|message| {
            let unrest = self.unrest(message, group);
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
        self.hears(sub, message)
            && (self.clients[sub.client].echo || sub.client != message.publisher)
    }

    /// The subject of a message in an account; `None` where it is not to be seen.
    fn seen(&self, message: &Message, account: usize) -> Option<String> {
        if let Some(request) = message.answers {
            let request = &self.messages[request];
            let asked_here = self.clients[request.publisher].account == account;
            return asked_here.then(|| request.reply.clone());
        }
        let from = self.clients[message.publisher].account;
        accounts::seen_as(from, &message.subject, account)
    }

    /// Whether a subscription is for a message.
    fn hears(&self, sub: &Subscription, message: &Message) -> bool {
        let subject = self.seen(message, self.clients[sub.client].account);
        subject.is_some_and(|subject| matches(&sub.pattern, &subject))
    }

    /// The request that a client has just read, if it can be answered.
    pub fn request(&self, delivery: &Delivery<'_>) -> Option<usize> {
        let asked = delivery.reply.starts_with(accounts::RESPONSE_PREFIX);
        let name = asked.then(|| name_of(delivery)).flatten()?;
        self.by_name.get(&name).copied()
    }

    /// The account whose group a subscription belongs to for a message. Exporter and importers of a
    /// stream have one group of each name; a service's groups are its own.
    fn group_account(&self, message: &Message, sub: &Subscription) -> usize {
        let from = self.clients[message.publisher].account;
        if message.answers.is_none() && from == accounts::EXPORTER {
            accounts::EXPORTER
        } else {
            self.clients[sub.client].account
        }
    }

    /// The members of a group that may have a say in a message.
    fn group(&self, message: &Message, (account, queue): Group<'_>) -> Vec<&Subscription> {
        self.current
            .iter()
            .map(|&sub| &self.subscriptions[sub])
            .filter(|sub| sub.queue == queue && self.group_account(message, sub) == account)
            .filter(|sub| self.hears(sub, message))
            .collect()
    }

    /// What makes it uncertain which member of a group gets a message.
    fn unrest(&self, message: &Message, group: Group<'_>) -> Unrest {
        let mut unrest = Unrest::default();
        for sub in self.group(message, group) {
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
            if message.fed.is_some() && !message.uncertain && message.answers.is_none() {
                self.check_answer(number)?;
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
                if self.hears(sub, message) {
                    self.counts.own_messages_withheld += 1;
                }
                continue;
            }
            if !self.hears(sub, message) {
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
        let mut queues: Vec<Group<'_>> = self
            .current
            .iter()
            .map(|&sub| &self.subscriptions[sub])
            .filter(|sub| !sub.queue.is_empty() && self.hears(sub, message))
            .map(|sub| (self.group_account(message, sub), sub.queue.as_str()))
            .collect();
        queues.sort_unstable();
        queues.dedup();
        for queue in queues {
            let unrest = self.unrest(message, queue);
            // One that has just left is made up for, by planning anew, but within its account; two
            // may not be.
            let members = self.group(message, queue);
            let account_of = |sub: &&Subscription| self.clients[sub.client].account;
            let spans = members
                .iter()
                .any(|sub| account_of(sub) != account_of(&members[0]));
            let leaves_max = usize::from(!spans);
            if !unrest.certain || unrest.lost_with_connection || unrest.leaves > leaves_max {
                continue;
            }
            self.counts.owed_queue_deliveries += 1;
            let got = message
                .got
                .iter()
                .map(|&sub| &self.subscriptions[sub])
                .any(|sub| (self.group_account(message, sub), sub.queue.as_str()) == queue);
            if !got {
                let group = self.group(message, queue);
                return Err(format!(
                    "I3: no member of {queue:?} got {message:?}\ngroup {group:#?}"
                ));
            }
        }
        Ok(())
    }

    /// A request to another account that was certainly answered: the requester has an answer, if
    /// it has listened all the time.
    fn check_answer(&mut self, number: usize) -> Result<(), String> {
        let request = &self.messages[number];
        let answers = || {
            let all = self.messages.iter();
            all.filter(|answer| answer.answers == Some(number))
        };
        if !answers().any(|answer| answer.fed.is_some() && !answer.uncertain) {
            return Ok(());
        }
        let account = self.clients[request.publisher].account;
        for &place in &self.current {
            let sub = &self.subscriptions[place];
            let client = &self.clients[sub.client];
            let listens = sub.confirmed.is_some_and(|step| step < request.started)
                && client.account == account
                && matches(&sub.pattern, &request.reply)
                && client.ended.is_none()
                && client.reads
                && sub.queue.is_empty()
                && sub.leave_sent.is_none()
                && sub.max.is_none();
            if !listens {
                continue;
            }
            self.counts.owed_answers += 1;
            if !answers().any(|answer| answer.got.contains(&place)) {
                return Err(format!("no response to {request:?}\nto {sub:?}"));
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

/// A queue group: account and name.
type Group<'a> = (usize, &'a str);

/// Whether a request has the way back that it needs in another account.
fn is_rerouted(delivery: &Delivery<'_>, message: &Message) -> bool {
    match message.reply.is_empty() {
        true => delivery.reply.is_empty(),
        false => delivery.reply.starts_with(accounts::RESPONSE_PREFIX),
    }
}

/// Whether a request has come to another account with who asks in its header, and nothing else
/// changed.
fn is_forwarded(delivery: &Delivery<'_>, message: &Message, info: &str) -> bool {
    let text = String::from_utf8_lossy(delivery.header);
    let lines: Vec<&str> = text.split_inclusive("\r\n").collect();
    let (told, rest): (Vec<&str>, Vec<&str>) = lines
        .into_iter()
        .partition(|line| line.starts_with("Nats-Request-Info: "));
    let rest = rest.concat();
    let as_before = match message.header.is_empty() {
        true => rest == "NATS/1.0\r\n\r\n",
        false => rest.as_bytes() == message.header,
    };
    let is_told = matches!(told[..], [line] if line.contains(info));
    is_rerouted(delivery, message) && as_before && is_told
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
