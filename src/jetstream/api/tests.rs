//! Requests and what nats-server 2.15.1 said to them, recorded: each line is a subject behind
//! `$JS.API.` and a body; the next is `=` with the configuration that came of it, or `!` with the
//! error. They are played to the checks one after another, because later ones meet earlier streams.

use std::collections::BTreeMap;

use crate::base::prng::Prng;
use crate::jetstream::config::{ConsumerConfig, StreamConfig};

use super::check_consumer;
use super::check_stream::{self, Around, Creation, Limits, ServerLimits};
use super::requests::{self, ConsumerRequest, StreamRequest};
use super::responses::AccountLimits;
use super::subjects::Call;
use super::{ApiError, versions};

/// An account of a server with space for anything reasonable.
struct Account {
    streams: BTreeMap<String, StreamConfig>,
    consumers: BTreeMap<String, BTreeMap<String, ConsumerConfig>>,
    limits: Limits,
    server: ServerLimits,
    consumer_limits: check_consumer::ServerLimits,
}

impl Account {
    fn new(limits: Limits) -> Self {
        let server = ServerLimits {
            duplicate_window: 0,
            max_memory: 1 << 40,
            max_storage: 1 << 40,
            reserved_memory: 0,
            reserved_storage: 0,
        };
        Self {
            streams: BTreeMap::new(),
            consumers: BTreeMap::new(),
            limits,
            server,
            consumer_limits: check_consumer::ServerLimits::default(),
        }
    }

    fn around(&self) -> Around<'_> {
        Around {
            streams: &self.streams,
            limits: &self.limits,
            server: self.server,
        }
    }

    /// What it answers, as the recordings have it.
    fn ask(&mut self, subject: &str, body: &str) -> String {
        let mut out = Vec::new();
        match self.answer(Call::of(subject.as_bytes()), body.as_bytes()) {
            Ok(Some(answer)) => {
                out.extend_from_slice(b"= ");
                out.extend_from_slice(&answer);
            }
            Ok(None) => out.extend_from_slice(b"= ok"),
            Err(error) => {
                out.extend_from_slice(b"! ");
                error.render(&mut out);
            }
        }
        String::from_utf8(out).unwrap()
    }

    fn answer(&mut self, call: Call<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, ApiError> {
        let name = match call {
            Call::StreamCreate(name) => {
                let request: StreamRequest = requests::parse(body, true)?;
                if let Creation::New(config) =
                    check_stream::creation(name, request, &self.around())?
                {
                    self.streams.insert(name.to_owned(), *config);
                }
                name
            }
            Call::StreamUpdate(name) => {
                let request: StreamRequest = requests::parse(body, true)?;
                let config = check_stream::update(name, request, &self.around())?;
                self.streams.insert(name.to_owned(), config);
                name
            }
            Call::StreamDelete(name) => {
                self.streams
                    .remove(name)
                    .ok_or(super::Code::StreamNotFound)?;
                return Ok(None);
            }
            Call::ConsumerCreateUnnamed(_)
            | Call::ConsumerCreate { .. }
            | Call::ConsumerDurableCreate { .. } => {
                return self.create_consumer(&call, body).map(Some);
            }
            call => panic!("{call:?} is not among the recorded"),
        };
        let mut shown = self.streams[name].clone();
        versions::of_server(&mut shown.metadata);
        let mut out = Vec::new();
        shown.render(&mut out);
        Ok(Some(out))
    }

    fn create_consumer(&mut self, call: &Call<'_>, body: &[u8]) -> Result<Vec<u8>, ApiError> {
        let request: ConsumerRequest = requests::parse(body, true)?;
        let request = check_consumer::addressed(call, request)?;
        let stream = self
            .streams
            .get(&request.stream)
            .ok_or(super::Code::StreamNotFound)?;
        let consumers = self.consumers.entry(request.stream.clone()).or_default();
        let around = check_consumer::Around {
            stream,
            identity: "",
            consumers,
            limits: &self.limits,
            server: self.consumer_limits,
        };
        let fresh = || "FRESH".to_owned();
        let (check_consumer::Creation::New { name, config }
        | check_consumer::Creation::Update { name, config }) =
            check_consumer::creation(request, None, &around, fresh)?;
        consumers.insert(name, config.clone());
        let mut shown = config;
        versions::of_server(&mut shown.metadata);
        let mut out = Vec::new();
        shown.render(&mut out);
        Ok(out)
    }
}

fn replay(account: &mut Account, cases: &str) {
    let mut lines = cases.lines();
    let mut wrong = Vec::new();
    while let Some(request) = lines.next() {
        let expected = lines.next().unwrap();
        let (subject, body) = request.split_once(' ').unwrap_or((request, ""));
        let answer = account.ask(subject, body);
        if answer != expected {
            wrong.push(format!(
                "{request}\n  answer   {answer}\n  expected {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn streams_are_taken_and_refused_as_by_nats_server() {
    let mut account = Account::new(Limits::Flat(AccountLimits::NONE));
    replay(&mut account, include_str!("cases/streams.txt"));
}

#[test]
fn consumers_are_taken_and_refused_as_by_nats_server() {
    let mut account = Account::new(Limits::Flat(AccountLimits::NONE));
    replay(&mut account, include_str!("cases/consumers.txt"));
}

#[test]
fn limits_of_server_and_account_hold_as_in_nats_server() {
    let mut account = Account::new(Limits::Flat(AccountLimits {
        max_memory: 450,
        max_storage: 3000,
        max_streams: 3,
        max_consumers: 2,
        max_bytes_required: true,
        memory_max_stream_bytes: 500,
        storage_max_stream_bytes: 4000,
        max_ack_pending: 5,
    }));
    account.server.duplicate_window = 60_000_000_000;
    account.consumer_limits = check_consumer::ServerLimits {
        max_ack_pending: 9,
        max_request_batch: 100,
    };
    replay(&mut account, include_str!("cases/limits.txt"));
}

#[test]
fn accounts_with_tiers_need_one_that_fits() {
    let tiers = BTreeMap::from([("R3".to_owned(), AccountLimits::NONE)]);
    let mut account = Account::new(Limits::Tiers(tiers));
    let answer = account.ask("STREAM.CREATE.A", r#"{"name":"A"}"#);
    assert!(answer.contains("10120"), "{answer}");
    let answer = account.ask("STREAM.CREATE.A", r#"{"name":"A","num_replicas":3}"#);
    assert!(answer.contains("10074"), "{answer}");
    let tiers = BTreeMap::from([("R1".to_owned(), AccountLimits::NONE)]);
    account.limits = Limits::Tiers(tiers);
    let answer = account.ask("STREAM.CREATE.A", r#"{"name":"A"}"#);
    assert!(answer.starts_with("= {"), "{answer}");
}

#[test]
fn texts_have_an_end() {
    let mut account = Account::new(Limits::Flat(AccountLimits::NONE));
    let mut check = |subject: &str, body: String, expected: &str| {
        let answer = account.ask(subject, &body);
        assert!(answer.contains(expected), "{answer}");
    };
    let long = "d".repeat(4097);
    check(
        "STREAM.CREATE.A",
        format!(r#"{{"name":"A","description":"{long}"}}"#),
        r#""err_code":10052,"description":"stream description is too long, maximum allowed is 4096""#,
    );
    let metadata = "d".repeat(128 * 1024);
    check(
        "STREAM.CREATE.A",
        format!(r#"{{"name":"A","metadata":{{"a":"{metadata}"}}}}"#),
        r#""err_code":10052,"description":"stream metadata exceeds maximum size of 131072 bytes""#,
    );
    let name = "n".repeat(256);
    check(
        &format!("STREAM.CREATE.{name}"),
        format!(r#"{{"name":"{name}"}}"#),
        r#""err_code":10052,"description":"stream name is too long, maximum allowed is 255""#,
    );
    check("STREAM.CREATE.A", r#"{"name":"A"}"#.to_owned(), "= {");
    check(
        "CONSUMER.CREATE.A.c",
        format!(r#"{{"stream_name":"A","config":{{"description":"{long}"}}}}"#),
        r#""err_code":10107,"description":"consumer description is too long, maximum allowed is 4096""#,
    );
    check(
        "CONSUMER.CREATE.A.c",
        format!(r#"{{"stream_name":"A","config":{{"metadata":{{"a":"{metadata}"}}}}}}"#),
        r#""err_code":10135,"description":"consumer metadata exceeds maximum size of 128KB""#,
    );
    check(
        &format!("CONSUMER.CREATE.A.{name}"),
        format!(r#"{{"stream_name":"A","config":{{"durable_name":"{name}"}}}}"#),
        r#""err_code":10102,"description":"consumer name is too long, maximum allowed is 255""#,
    );
}

#[test]
fn limits_for_consumers_do_not_exclude_those_that_are_there() {
    let old = StreamConfig::default();
    let mut new = StreamConfig::default();
    let consumers = [("a", 5, 10), ("b", 50, 1), ("c", 5, 1)];
    let check = |new: &StreamConfig| check_stream::consumers_fit(&old, new, consumers.into_iter());
    assert_eq!(check(&new), Ok(()));
    new.consumer_limits.max_ack_pending = 10;
    assert_eq!(check(&new), Ok(()));
    new.consumer_limits.max_ack_pending = 9;
    new.consumer_limits.inactive_threshold = 49;
    let error = check(&new).unwrap_err();
    assert_eq!(error.code, super::Code::StreamUpdate);
    assert_eq!(
        error.description,
        "change to limits violates consumers: a, b"
    );
}

#[test]
fn streams_are_restored_where_there_is_none() {
    let mut account = Account::new(Limits::Flat(AccountLimits::NONE));
    account.ask("STREAM.CREATE.A", r#"{"name":"A"}"#);
    let restore = |name: &str, json: &str| {
        let body = format!(
            r#"{{"config":{json},"state":{{"messages":1,"first_ts":"2026-01-01T00:00:00Z","deleted":[2],"subjects":{{"a":1}}}}}}"#
        );
        let request: requests::RestoreRequest = requests::required(body.as_bytes(), true)?;
        assert_eq!(
            (request.state.messages, &request.state.deleted[..]),
            (1, &[2][..])
        );
        check_stream::restoration(name, request.config, &account.around())
            .map(|config| config.subjects)
    };
    let code = |code: super::Code| Err(ApiError::from(code));
    assert_eq!(restore("B", "{}"), Ok(vec!["B".to_owned()]));
    assert_eq!(
        restore("B", r#"{"name":"C"}"#),
        code(super::Code::StreamMismatch)
    );
    assert_eq!(
        restore("A", "{}"),
        code(super::Code::StreamNameExistRestoreFailed)
    );
    assert_eq!(
        restore("B", r#"{"subjects":["A"]}"#),
        code(super::Code::StreamSubjectOverlap)
    );
    assert_eq!(
        restore("B", r#"{"num_replicas":3}"#),
        code(super::Code::StreamReplicasNotSupported)
    );
}

/// What nats-server writes is read and written again as it is.
#[test]
fn configurations_survive_being_read_and_written() {
    let recorded = [
        include_str!("cases/streams.txt"),
        include_str!("cases/consumers.txt"),
    ];
    let mut seen = 0;
    for line in recorded.iter().flat_map(|cases| cases.lines()) {
        let Some(json) = line.strip_prefix("= {") else {
            continue;
        };
        let json = format!("{{{json}");
        let mut out = Vec::new();
        if json.contains("\"ack_policy\"") {
            let config: ConsumerConfig = requests::parse(json.as_bytes(), true).unwrap();
            config.render(&mut out);
        } else {
            let config: StreamConfig = requests::parse(json.as_bytes(), true).unwrap();
            config.render(&mut out);
        }
        assert_eq!(String::from_utf8(out).unwrap(), json);
        seen += 1;
    }
    assert!(seen > 60, "{seen}");
}

/// Whatever is sent is answered or refused; what is read strictly is read loosely to the same.
#[test]
fn nothing_panics() {
    let bodies: Vec<&str> = [
        include_str!("cases/streams.txt"),
        include_str!("cases/consumers.txt"),
        include_str!("cases/invalid_json.txt"),
    ]
    .iter()
    .flat_map(|cases| cases.lines())
    .collect();
    let mut random = Prng::new(7);
    let mut taken = 0;
    for _ in 0..20_000 {
        let line = bodies[random.below(bodies.len() as u32) as usize];
        let mut body = line.as_bytes().to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(body.len() as u32 + 1) as usize;
            match random.below(3) {
                0 => body.truncate(at),
                1 => body.insert(at, random.below(256) as u8),
                _ => {
                    if let Some(byte) = body.get_mut(at) {
                        *byte = b"{}[]\",:\\0n1.e"[random.below(13) as usize];
                    }
                }
            }
        }
        let from = body.iter().position(|b| *b == b'{').unwrap_or(0);
        let strict: Result<StreamRequest, _> = requests::parse(&body[from..], true);
        let loose: Result<StreamRequest, _> = requests::parse(&body[from..], false);
        if let Ok(strict) = strict {
            assert_eq!(loose, Ok(strict));
            taken += 1;
        }
        let _ = requests::parse::<ConsumerRequest>(&body[from..], true);
        let _ = requests::parse::<requests::RestoreRequest>(&body[from..], false);
        let _ = super::subjects::Special::of(&[b"$JS.API.", &body[..]].concat(), b"");
        let _ = super::subjects::Special::of(&[b"$JS.ACK.", &body[..]].concat(), b"");
    }
    assert!(taken > 100, "{taken}");
}
