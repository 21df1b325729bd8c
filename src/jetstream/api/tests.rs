//! Requests and what nats-server 2.15.1 said to them, recorded: each line is a subject behind
//! `$JS.API.` and a body; the next is `=` with the configuration that came of it, or `!` with the
//! error. They are played to the checks one after another, because later ones meet earlier streams.

use std::collections::BTreeMap;

use crate::jetstream::config::StreamConfig;

use super::check_stream::{self, Around, Creation, Limits, ServerLimits};
use super::requests::{self, StreamRequest};
use super::responses::AccountLimits;
use super::subjects::Call;
use super::{ApiError, versions};

/// An account of a server with space for anything reasonable.
struct Account {
    streams: BTreeMap<String, StreamConfig>,
    limits: Limits,
    server: ServerLimits,
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
            limits,
            server,
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
                    self.streams.insert(name.to_owned(), config);
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
            call => panic!("{call:?} is not among the recorded"),
        };
        let mut shown = self.streams[name].clone();
        versions::of_server(&mut shown.metadata);
        let mut out = Vec::new();
        shown.render(&mut out);
        Ok(Some(out))
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
            wrong.push(format!("{request}\n  answer   {answer}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn streams_are_taken_and_refused_as_by_nats_server() {
    let mut account = Account::new(Limits::Flat(AccountLimits::NONE));
    replay(&mut account, include_str!("cases/streams.txt"));
}
