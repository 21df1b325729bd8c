//! Plays the calls in `tests/jetstream/cases/*.txt` and compares every answer with what nats-server 2.15.1 answered.
//!
//! `NATS_SERVER_BIN=/path/to/nats-server cargo test --test jetstream calls` proves the recording; with `RECORD=yes` besides,
//! it writes the answers anew. `CALLS=part-of-a-name` plays only the cases whose name contains it.
//!
//! # Case files
//!
//! Text, one step per line; blank lines and lines starting with `##` are skipped. Headers before the first `# name:` hold for
//! the whole file. Each case has a server of its own.
//!
//! ```text
//! # name: what is tested            starts a case
//! # config: accounts { A { } }      one line of the configuration file; for more lines, again. `$DIR` is a directory of its own.
//!                                   Without a `jetstream` line in it, JetStream is on
//! # differs: in what                skein answers otherwise: the case must fail on it
//! # only: skein                     servers differ on purpose; or `nats-server`
//! api STREAM.INFO.A {"…":1}         a request to `$JS.API.STREAM.INFO.A`; shows its answer
//! ask subject body                  a request to any subject; shows its answer
//! many 5 subject body               a request that is answered by several messages: up to five, or until a status that ends it
//! tell subject body                 a message without reply
//! x100 tell subject {n}             a hundred times, `{n}` being 1 to 100; shows the last answer if there is one
//! + Name: value                     a header of the step that comes next
//! pub subject reply body            a message with this reply
//! snapshot x STREAM.SNAPSHOT.A {…}  takes a snapshot, as `x`; DELIVER in the request is an inbox. Shows the answer
//! restore x STREAM.RESTORE.A {…}    sends it back (`x` itself when there is no such snapshot); shows the answers
//! sub a subject                     subscribes, as `a`
//! send a subject body               a message with an inbox as reply; answers come to `a`
//! unsub a
//! take a 3                          shows the next three messages of `a` (one without number)
//! gather a 3                        the same, in order of their subjects
//! nothing a                         nothing comes to `a` for 80 ms
//! ack a +ACK                        answers the last message of `a` with this, as a request; shows the answer
//! ack- a +ACK                       the same, without asking for an answer
//! as bob                            the next steps are of a connection with this user, password `pw`; `-` is without
//! until "text" api …                asks again until the answer contains the text; shows nothing
//! let x config.name                 `${x}` is this field of the answer before, or `subject` or `reply` of the message before
//! quiet api …                       the same as without, but shows nothing
//! restart                           ends the server with a signal, starts it on the same files
//! < …                               what the step above showed, recorded
//! ```
//!
//! `{a*500}` is five hundred times `a`. Shown are bodies; of messages `subject | reply | headers | body`.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::iter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Client, Message};
use crate::harness::{self, Directory, PATIENCE, Server};
use crate::shown;

/// How long nothing must come for "nothing comes".
const SILENCE: Duration = Duration::from_millis(80);
const NO_ANSWER: &str = "NO ANSWER";
/// Servers running at the same time.
const PARALLEL: usize = 4;

#[test]
fn calls() {
    let only = env::var("CALLS").unwrap_or_default();
    let record = env::var_os("RECORD").is_some() && harness::is_nats_server();
    let mut files: Vec<File> = case_paths().into_iter().map(File::read).collect();
    let mut places = Vec::new();
    for (i, file) in files.iter().enumerate() {
        for (j, case) in file.cases.iter().enumerate() {
            if case.name.contains(&only) && case.headers.is_for_this_server() {
                places.push((i, j));
            }
        }
    }
    let count = places.len();
    assert!(count > 0, "no case is called `{only}`");
    let places = Mutex::new(places.into_iter());
    let next = || places.lock().expect("taking a case does not panic").next();
    let mut played = Vec::new();
    thread::scope(|scope| {
        let play_all = || {
            iter::from_fn(next)
                .map(|(i, j)| ((i, j), play_case(&files[i].cases[j])))
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(play_all)).collect();
        for thread in threads {
            played.append(&mut thread.join().expect("a case does not panic"));
        }
    });
    let mut failures = Vec::new();
    for ((i, j), shown) in played {
        let case = &mut files[i].cases[j];
        if record {
            for (step, shown) in case.steps.iter_mut().zip(shown) {
                step.expected = shown;
            }
        } else {
            let failure = case.differences(&shown);
            match &case.headers.differs {
                Some(how) if !harness::is_nats_server() => match failure {
                    Some(differences) => println!("differs: {how}\n{differences}"),
                    None => failures.push(format!(
                        "{}: {}\n  differs no more: take the header away\n",
                        case.place, case.name
                    )),
                },
                _ => failures.extend(failure),
            }
        }
    }
    if record {
        for file in &files {
            fs::write(&file.path, file.text()).expect("the case file can be written");
        }
    }
    println!("{count} cases");
    assert!(
        failures.is_empty(),
        "{} of {count} cases fail:\n\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Each error code of the API is returned in some case, or stands in `unreachable.txt` with the reason.
#[test]
fn every_error_code_is_accounted_for() {
    let excused: BTreeMap<u64, &str> = include_str!("unreachable.txt")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(code, reason)| Some((code.parse().ok()?, reason)))
        .collect();
    let mut returned = BTreeSet::new();
    for path in case_paths() {
        for case in File::read(path).cases {
            for step in &case.steps {
                let waited_for = step.line().strip_prefix("until \"");
                let waited_for = waited_for.map(|text| text.trim_start_matches(':'));
                for text in step.expected.iter().map(String::as_str).chain(waited_for) {
                    let codes = text.split("\"err_code\":").skip(1).chain(waited_for);
                    returned.extend(codes.filter_map(|code| code.get(..5)?.parse::<u64>().ok()));
                }
            }
        }
    }
    for code in 10002..=10227 {
        assert_ne!(
            returned.contains(&code),
            excused.contains_key(&code),
            "{code} is to be returned by a case, or to stand in unreachable.txt with the reason"
        );
    }
}

// ---- case files ----

fn case_paths() -> Vec<PathBuf> {
    let folder = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/jetstream/cases"
    ));
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("there are cases")
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    paths.sort();
    paths
}

struct File {
    path: PathBuf,
    /// What comes before the first case.
    preamble: String,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    place: String,
    headers: Headers,
    /// Lines before the first step.
    opening: String,
    steps: Vec<Step>,
}

#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Headers {
    config: String,
    only: Option<String>,
    differs: Option<String>,
}

impl Headers {
    fn is_for_this_server(&self) -> bool {
        let server = match harness::is_nats_server() {
            true => "nats-server",
            false => "skein",
        };
        self.only.as_deref().is_none_or(|only| only == server)
    }

    /// Takes a `# key: value` line.
    fn take(&mut self, line: &str) {
        let (key, value) = line[2..].split_once(':').expect("a header has a colon");
        match (key, value.trim()) {
            ("config", value) => {
                self.config.push_str(value);
                self.config.push('\n');
            }
            ("differs", value) => self.differs = Some(value.to_owned()),
            ("only", value) => self.only = Some(value.to_owned()),
            (key, _) => panic!("there is no header `{key}`"),
        }
    }
}

struct Step {
    /// Header lines, the step's own line, `let` lines.
    source: Vec<String>,
    /// Lines that are none of it and come after it.
    trailer: String,
    expected: Vec<String>,
}

impl Step {
    fn headers(&self) -> impl Iterator<Item = &str> {
        self.source
            .iter()
            .filter_map(|line| line.strip_prefix("+ "))
    }

    fn lets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.source
            .iter()
            .filter_map(|line| line.strip_prefix("let ")?.split_once(' '))
    }

    fn line(&self) -> &str {
        let mut lines = self.source.iter();
        lines
            .find(|line| !line.starts_with("+ ") && !line.starts_with("let "))
            .expect("a step has a line")
    }
}

impl File {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).expect("case files are text");
        let name = path.file_name().expect("it is a file").to_string_lossy();
        let mut preamble = String::new();
        let mut common = Headers::default();
        let mut cases: Vec<Case> = Vec::new();
        let mut pending: Vec<String> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let number = i + 1;
            if let Some(title) = line.strip_prefix("# name: ") {
                cases.push(Case {
                    name: title.to_owned(),
                    place: format!("{name}:{number}"),
                    headers: common.clone(),
                    opening: format!("{line}\n"),
                    steps: Vec::new(),
                });
                continue;
            }
            let Some(case) = cases.last_mut() else {
                if line.starts_with("# ") {
                    common.take(line);
                }
                preamble.push_str(line);
                preamble.push('\n');
                continue;
            };
            if line.starts_with("# ") {
                case.headers.take(line);
                case.opening.push_str(line);
                case.opening.push('\n');
            } else if line.is_empty() || line.starts_with("##") {
                let place = match case.steps.last_mut() {
                    Some(step) => &mut step.trailer,
                    None => &mut case.opening,
                };
                place.push_str(line);
                place.push('\n');
            } else if line.starts_with("+ ") {
                pending.push(line.to_owned());
            } else if let Some(expected) = line.strip_prefix("< ") {
                let step = case.steps.last_mut();
                let step = step.unwrap_or_else(|| panic!("{name}:{number}: nothing was asked"));
                step.expected.push(expected.to_owned());
            } else if line.starts_with("let ") {
                let step = case.steps.last_mut().expect("there is an answer before");
                step.source.push(line.to_owned());
            } else {
                pending.push(line.to_owned());
                case.steps.push(Step {
                    source: std::mem::take(&mut pending),
                    trailer: String::new(),
                    expected: Vec::new(),
                });
            }
        }
        drop(name);
        Self {
            path,
            preamble,
            cases,
        }
    }

    fn text(&self) -> String {
        let mut text = self.preamble.clone();
        for case in &self.cases {
            text.push_str(&case.opening);
            for step in &case.steps {
                for line in &step.source {
                    text.push_str(line);
                    text.push('\n');
                }
                for line in &step.expected {
                    let _ = writeln!(text, "< {line}");
                }
                text.push_str(&step.trailer);
            }
        }
        text
    }
}

impl Case {
    fn differences(&self, shown: &[Vec<String>]) -> Option<String> {
        let mut report = String::new();
        for (step, shown) in self.steps.iter().zip(shown) {
            let equal = step.expected.len() == shown.len()
                && iter::zip(&step.expected, shown)
                    .all(|(a, b)| shown::canonical(a) == shown::canonical(b));
            if !equal {
                let _ = writeln!(report, "  {}", step.line());
                let lines = step.expected.len().max(shown.len());
                for line in 0..lines {
                    match (step.expected.get(line), shown.get(line)) {
                        (Some(expected), Some(got)) => {
                            report.push_str(&shown::difference(expected, got));
                        }
                        (Some(expected), None) => {
                            let _ = writeln!(report, "    expected {expected}");
                        }
                        (None, Some(got)) => {
                            let _ = writeln!(report, "         got {got}");
                        }
                        (None, None) => {}
                    }
                }
            }
        }
        (!report.is_empty()).then(|| format!("{}: {}\n{report}", self.place, self.name))
    }
}

// ---- playing ----

/// What each step shows.
fn play_case(case: &Case) -> Vec<Vec<String>> {
    let directory = Directory::new();
    let path = directory.path().display().to_string();
    let mut config = case.headers.config.replace("$DIR", &path);
    if !config.contains("jetstream") {
        let _ = writeln!(config, "jetstream {{ store_dir: \"{path}\" }}");
    }
    if !config.contains("server_name") {
        config.push_str("server_name: proof\n");
    }
    let start = || Server::configured(&config).unwrap_or_else(|log| panic!("{log}"));
    let mut server = Some(start());
    let mut player = Player::new(server.as_ref().map(Server::address));
    let mut shown = Vec::new();
    for step in &case.steps {
        if step.line() == "restart" {
            let mut old = server.take().expect("it runs");
            harness::signal(old.pid(), "TERM");
            old.wait_for_exit();
            drop(old);
            server = Some(start());
            player.reconnect(server.as_ref().map(Server::address));
            shown.push(Vec::new());
        } else {
            shown.push(player.play(step));
        }
    }
    shown
}

/// One case's connections and what it remembers.
struct Player {
    address: SocketAddr,
    /// By user.
    clients: BTreeMap<String, Client>,
    user: String,
    /// User and number of a subscription, and the last message that was taken from it.
    subscriptions: BTreeMap<String, (String, u32, Option<Message>)>,
    variables: Vec<(String, String)>,
    last: Option<Message>,
    inboxes: u32,
    /// Snapshots that were taken, by name.
    snapshots: BTreeMap<String, Vec<u8>>,
    /// How long answers may take.
    patience: Duration,
}

impl Player {
    fn new(address: Option<SocketAddr>) -> Self {
        Self {
            address: address.expect("the server runs"),
            clients: BTreeMap::new(),
            user: String::new(),
            subscriptions: BTreeMap::new(),
            variables: Vec::new(),
            last: None,
            inboxes: 0,
            snapshots: BTreeMap::new(),
            patience: PATIENCE,
        }
    }

    /// Connects anew with what comes; what was taken and named stays.
    fn reconnect(&mut self, address: Option<SocketAddr>) {
        self.address = address.expect("the server runs");
        self.clients.clear();
        self.subscriptions.clear();
    }

    fn client(&mut self, user: &str) -> &mut Client {
        let address = self.address;
        self.clients
            .entry(user.to_owned())
            .or_insert_with(|| Client::connect(address, user))
    }

    fn inbox(&mut self) -> String {
        self.inboxes += 1;
        format!("_INBOX.{}.{}", std::process::id(), self.inboxes)
    }

    fn request(&mut self, subject: &str, headers: &[String], body: &[u8]) -> Option<Message> {
        let inbox = self.inbox();
        let user = self.user.clone();
        let patience = self.patience;
        let client = self.client(&user);
        let sid = client.subscribe(&inbox);
        client.publish(subject, &inbox, headers, body);
        let message = client.next(sid, patience);
        client.unsubscribe(sid);
        message
    }

    /// What a step shows.
    fn play(&mut self, step: &Step) -> Vec<String> {
        let line = long(&self.filled(step.line()));
        // Where none is expected, none comes at once.
        self.patience = match step.expected.iter().any(|line| line == NO_ANSWER) {
            true => SILENCE * 4,
            false => PATIENCE,
        };
        let headers: Vec<String> = step
            .headers()
            .map(|line| long(&self.filled(line)))
            .collect();
        let line = line.strip_prefix("quiet ").unwrap_or(&line).to_owned();
        let (times, line) = match line.strip_prefix('x').and_then(|l| l.split_once(' ')) {
            Some((times, line)) => (times.parse().expect("a number of times"), line.to_owned()),
            None => (1, line),
        };
        let mut messages = Vec::new();
        let mut plain = true;
        for number in 1..=times {
            let line = match times {
                1 => line.clone(),
                _ => line.replace("{n}", &number.to_string()),
            };
            let headers: Vec<String> = headers
                .iter()
                .map(|header| header.replace("{n}", &number.to_string()))
                .collect();
            (messages, plain) = match self.act(&line, &headers) {
                Ok(done) => done,
                Err(what) => return vec![what],
            };
        }
        if let Some(message) = messages.last() {
            self.last = Some(message.clone());
        }
        for (name, path) in step.lets() {
            let value = self.field(path);
            self.variables.push((name.to_owned(), value));
        }
        if step.line().starts_with("quiet ") {
            return Vec::new();
        }
        let mut shown: Vec<String> = messages
            .iter()
            .map(|message| self.show(message, plain))
            .collect();
        let user = self.user.clone();
        shown.extend(self.client(&user).errors());
        shown
    }

    /// Takes a snapshot; the answer to the request.
    fn snapshot(&mut self, name: &str, subject: &str, body: &str) -> Vec<Message> {
        let deliver = self.inbox();
        let body = body.replace("DELIVER", &deliver);
        let user = self.user.clone();
        let sid = self.client(&user).subscribe(&deliver);
        let Some(answer) = self.request(subject, &[], body.as_bytes()) else {
            return Vec::new();
        };
        let refused = answer.text().contains("\"error\"");
        let messages = vec![answer];
        let mut bytes = Vec::new();
        while !refused && let Some(chunk) = self.client(&user).next(sid, PATIENCE) {
            // With or without a status.
            if chunk.body.is_empty() {
                break;
            }
            bytes.extend_from_slice(&chunk.body);
            if !chunk.reply.is_empty() {
                self.client(&user).publish(&chunk.reply, "", &[], b"");
            }
        }
        self.client(&user).unsubscribe(sid);
        self.snapshots.insert(name.to_owned(), bytes);
        messages
    }

    /// Restores from a snapshot; the first answer and the last.
    fn restore(&mut self, bytes: &[u8], subject: &str, body: &str) -> Vec<Message> {
        let Some(answer) = self.request(subject, &[], body.as_bytes()) else {
            return Vec::new();
        };
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let deliver = json["deliver_subject"].as_str().unwrap_or_default();
        let deliver = deliver.to_owned();
        let mut messages = vec![answer];
        if deliver.is_empty() {
            return messages;
        }
        for chunk in bytes.chunks(64 * 1024) {
            match self.request(&deliver, &[], chunk) {
                Some(answer) if answer.body.is_empty() => {}
                Some(answer) => {
                    messages.push(answer);
                    return messages;
                }
                None => return messages,
            }
        }
        messages.extend(self.request(&deliver, &[], b""));
        messages
    }

    fn act(&mut self, line: &str, headers: &[String]) -> Result<(Vec<Message>, bool), String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        let user = self.user.clone();
        let nothing = (Vec::new(), true);
        Ok(match verb {
            "api" | "ask" => {
                let subject = match verb {
                    "api" => format!("$JS.API.{first}"),
                    _ => first.to_owned(),
                };
                let message = self.request(&subject, headers, more.as_bytes());
                (vec![message.ok_or(NO_ANSWER)?], verb == "api")
            }
            "many" => {
                let count: usize = first.parse().expect("a number of messages");
                let (subject, body) = more.split_once(' ').unwrap_or((more, ""));
                let inbox = self.inbox();
                let client = self.client(&user);
                let sid = client.subscribe(&inbox);
                client.publish(subject, &inbox, headers, body.as_bytes());
                let mut messages = Vec::new();
                while messages.len() < count {
                    let Some(message) = client.next(sid, PATIENCE) else {
                        break;
                    };
                    let ends = message.status().is_some_and(|status| status != 100);
                    messages.push(message);
                    if ends {
                        break;
                    }
                }
                client.unsubscribe(sid);
                (messages, false)
            }
            "tell" => {
                self.client(&user)
                    .publish(first, "", headers, more.as_bytes());
                nothing
            }
            "pub" => {
                let (reply, body) = more.split_once(' ').unwrap_or((more, ""));
                let client = self.client(&user);
                client.publish(first, reply, headers, body.as_bytes());
                client.flush();
                nothing
            }
            "snapshot" => {
                let (subject, body) = more.split_once(' ').expect("a subject and a request");
                let messages = self.snapshot(first, &format!("$JS.API.{subject}"), body);
                (messages, true)
            }
            "restore" => {
                let (subject, body) = more.split_once(' ').expect("a subject and a request");
                let bytes = self.snapshots.get(first).cloned();
                let bytes = bytes.unwrap_or_else(|| first.as_bytes().to_vec());
                let messages = self.restore(&bytes, &format!("$JS.API.{subject}"), body);
                (messages, true)
            }
            "sub" => {
                let client = self.client(&user);
                let sid = client.subscribe(more);
                client.flush();
                self.subscriptions
                    .insert(first.to_owned(), (user, sid, None));
                nothing
            }
            "send" => {
                let inbox = self.inbox();
                let (subject, body) = more.split_once(' ').unwrap_or((more, ""));
                let client = self.client(&user);
                let sid = client.subscribe(&inbox);
                client.publish(subject, &inbox, headers, body.as_bytes());
                client.flush();
                self.subscriptions
                    .insert(first.to_owned(), (user, sid, None));
                nothing
            }
            "unsub" => {
                let (user, sid, _) = self.subscriptions.remove(first).expect("it is subscribed");
                let client = self.client(&user);
                client.unsubscribe(sid);
                client.flush();
                nothing
            }
            "take" | "gather" => {
                let count = more.parse().unwrap_or(1);
                let (user, sid, _) = self.subscriptions[first].clone();
                let client = self.client(&user);
                let take = || client.next(sid, PATIENCE);
                let mut messages: Vec<Message> = iter::from_fn(take).take(count).collect();
                if verb == "gather" {
                    messages.sort_by(|a, b| a.subject.cmp(&b.subject));
                }
                if messages.len() < count {
                    return Err(format!("ONLY {} MESSAGES", messages.len()));
                }
                let entry = self.subscriptions.get_mut(first).expect("it was there");
                entry.2 = messages.last().cloned();
                (messages, false)
            }
            "nothing" => {
                let (user, sid, _) = self.subscriptions[first].clone();
                match self.client(&user).next(sid, SILENCE) {
                    Some(message) => return Err(format!("SOMETHING: {}", message.text())),
                    None => nothing,
                }
            }
            "ack" | "ack-" => {
                let message = self.subscriptions[first].2.clone();
                let reply = message.expect("a message was taken").reply;
                if verb == "ack-" {
                    self.client(&user)
                        .publish(&reply, "", headers, more.as_bytes());
                    self.client(&user).flush();
                    return Ok(nothing);
                }
                let message = self.request(&reply, headers, more.as_bytes());
                (vec![message.ok_or(NO_ANSWER)?], false)
            }
            "as" => {
                self.user = first.trim_start_matches('-').to_owned();
                nothing
            }
            "until" => {
                let rest = rest.strip_prefix('"').expect("a text in quotes");
                let (wanted, line) = rest.split_once("\" ").expect("a text in quotes");
                let wanted = &wanted.replace("\\\"", "\"");
                let deadline = Instant::now() + PATIENCE;
                loop {
                    let (messages, _) = self.act(line, headers)?;
                    let text = messages.last().map(Message::text).unwrap_or_default();
                    if text.contains(wanted) {
                        self.last = messages.last().cloned();
                        break;
                    }
                    if Instant::now() > deadline {
                        return Err(format!("NEVER: {text}"));
                    }
                }
                nothing
            }
            verb => panic!("there is no step `{verb}`"),
        })
    }

    /// A field of the last answer.
    fn field(&self, path: &str) -> String {
        let message = self.last.as_ref().expect("there was an answer");
        match path {
            "subject" => return message.subject.clone(),
            "reply" => return message.reply.clone(),
            _ => {}
        }
        if let Some(name) = path.strip_prefix("header ") {
            let mut lines = message.headers.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            return value.unwrap_or_default().to_owned();
        }
        let json: Value = serde_json::from_slice(&message.body).unwrap_or_default();
        match path.split('.').fold(&json, |value, key| &value[key]) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// A line with the values of variables in it.
    fn filled(&self, line: &str) -> String {
        let mut variables: Vec<_> = self.variables.iter().collect();
        variables.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        variables
            .iter()
            .fold(line.to_owned(), |line, (name, value)| {
                line.replace(&format!("${{{name}}}"), value)
            })
    }

    fn show(&self, message: &Message, plain: bool) -> String {
        let mut body = shown::json_text(&message.text());
        if body.len() > 2000 && !body.starts_with('{') {
            body = format!("{} bytes", body.len());
        }
        let text = if plain && message.headers.is_empty() {
            body
        } else {
            let mut lines: Vec<String> = message
                .headers
                .lines()
                .map(|line| line.strip_prefix("NATS/1.0").unwrap_or(line).trim())
                .filter(|line| !line.is_empty())
                .map(shown::token_text)
                .collect();
            // The status is first; the others are in no order.
            let status = usize::from(message.status().is_some());
            lines[status..].sort();
            let (subject, reply) = (
                shown::token_text(&message.subject),
                shown::token_text(&message.reply),
            );
            format!("{subject} | {reply} | {} | {body}", lines.join("; "))
        };
        let text = self
            .variables
            .iter()
            .filter(|(_, value)| value.len() > 3)
            .fold(text, |text, (name, value)| {
                text.replace(value, &format!("${{{name}}}"))
            });
        text.replace(['\r', '\n'], " ").trim_end().to_owned()
    }
}

/// `{a*500}` is five hundred times `a`.
fn long(line: &str) -> String {
    let Some((before, rest)) = line.split_once("{a*") else {
        return line.to_owned();
    };
    let (count, after) = rest.split_once('}').expect("a brace ends it");
    let count = count.parse().expect("a number of times");
    format!("{before}{}{}", "a".repeat(count), long(after))
}
