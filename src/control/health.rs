//! HEALTHZ: whether the server does what it should, and a stream or consumer that is asked about.
//!
//! What is known without asking a shard is said at once ([`at_once`]), by whoever is asked: a shard that is busy is no reason
//! to take a server for dead that was only asked whether it takes clients. For the rest every shard has to answer. Must not
//! know how the question came.

use std::sync::Arc;

use serde::Serialize;

use super::json::is_default;
use super::jsz::{Surveyed, survey};
use super::view::{House, Merged, ServerFacts, silence};
use crate::proto::quote::quote;
use crate::shard::facts::{Only, Problem, Survey, Unhealthy, Wanted};

/// What a health check asks about.
#[derive(Clone, Debug, Default)]
pub struct HealthOptions {
    /// Only whether there is JetStream, where it is configured.
    pub enabled_only: bool,
    /// Only whether the server serves.
    pub server_only: bool,
    pub account: String,
    pub stream: String,
    pub consumer: String,
    /// All that is wrong, as a list.
    pub details: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    pub status: &'static str,
    /// Left out over HTTP, where the response has it.
    #[serde(skip_serializing_if = "is_default")]
    pub status_code: u16,
    #[serde(skip_serializing_if = "is_default")]
    pub error: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<HealthError>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HealthError {
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    pub account: String,
    #[serde(skip_serializing_if = "is_default")]
    pub stream: String,
    #[serde(skip_serializing_if = "is_default")]
    pub consumer: String,
    pub error: String,
}

impl Health {
    /// With these mistakes, if any; only the first where no details are asked for.
    fn new(status: &'static str, code: u16, errors: Vec<HealthError>, details: bool) -> Self {
        let mut errors = errors;
        let is_well = errors.is_empty();
        let first = errors.first().map(|e| e.error.clone());
        let error = first.filter(|_| !details).unwrap_or_default();
        if !details {
            errors.clear();
        }
        Self {
            status: match (is_well, details) {
                (true, _) => "ok",
                (false, true) => "error",
                (false, false) => status,
            },
            status_code: if is_well { 200 } else { code },
            error,
            errors,
        }
    }
}

/// What is known without asking anybody, if that is all that was asked about.
pub fn at_once(takes_clients: bool, options: &HealthOptions) -> Option<Health> {
    let details = options.details;
    let missing = match options {
        o if o.account.is_empty() && !o.stream.is_empty() => Some(("account", "stream")),
        o if o.stream.is_empty() && !o.consumer.is_empty() => Some(("stream", "consumer")),
        _ => None,
    };
    if let Some((what, of)) = missing {
        let error = HealthError {
            kind: "BAD_REQUEST",
            error: format!("\"{what}\" must not be empty when checking {of} health"),
            ..HealthError::default()
        };
        return Some(Health::new("error", 400, vec![error], details));
    }
    if !takes_clients {
        let error = HealthError {
            kind: "CONNECTION",
            error: "failed to be ready for connections after 1ms: server".to_owned(),
            ..HealthError::default()
        };
        return Some(Health::new("error", 500, vec![error], details));
    }
    // Where it is configured it is there, or the server has not started.
    let is_known = options.server_only || options.enabled_only;
    is_known.then(|| Health::new("ok", 200, Vec::new(), details))
}

/// A server whose shards all answer serves; what is left is its streams.
pub fn healthz(house: &mut dyn House, server: &ServerFacts, options: &HealthOptions) -> Health {
    if let Some(health) = at_once(!server.is_lame_duck, options) {
        return health;
    }
    house.take_silent();
    let (mut errors, mut code) = match server.jetstream {
        Some(_) => of_streams(house, server, options),
        None => {
            house.facts(&Wanted::default());
            (Vec::new(), 503)
        }
    };
    if let Some(error) = silence(&house.take_silent()) {
        // What is not found may be there.
        if code == 404 {
            errors.clear();
        }
        code = 503;
        let error = HealthError {
            kind: "CONNECTION",
            error,
            ..HealthError::default()
        };
        errors.insert(0, error);
    }
    Health::new("unavailable", code, errors, options.details)
}

/// What is wrong with streams, and the status that says so.
fn of_streams(
    house: &mut dyn House,
    server: &ServerFacts,
    options: &HealthOptions,
) -> (Vec<HealthError>, u16) {
    let HealthOptions {
        account,
        stream,
        consumer,
        ..
    } = options;
    let is_expired = |name: &str| server.account(name).is_some_and(|view| view.expired);
    if is_expired(account) {
        let error = HealthError {
            kind: "ACCOUNT",
            account: account.clone(),
            error: format!("JetStream account '{account}' is expired"),
            ..HealthError::default()
        };
        return (vec![error], 503);
    }
    let Surveyed {
        mut unhealthy,
        streams,
        ..
    } = survey(house, &what(options));
    unhealthy.retain(|unhealthy| {
        let is_asked = |asked: &str, own: &str| asked.is_empty() || asked == own;
        is_asked(account, &unhealthy.account)
            && is_asked(stream, &unhealthy.stream)
            && !is_expired(&unhealthy.account)
    });
    unhealthy.sort_by(|a, b| (&a.account, &a.stream).cmp(&(&b.account, &b.stream)));
    let mut errors: Vec<HealthError> = unhealthy.iter().map(ails).collect();
    // An account that is not there is so once, not for each of its streams.
    errors.dedup();
    if !errors.is_empty() && !options.details {
        return (errors, 503);
    }
    let mut has_account = || {
        let wanted = Wanted {
            jetstream_accounts: true,
            ..Wanted::default()
        };
        let merged = Merged::ask(house, &wanted);
        merged.jetstream_accounts.contains_key(account.as_str())
    };
    let mut missing = HealthError {
        account: account.clone(),
        ..HealthError::default()
    };
    if account.is_empty() {
        return (errors, 503);
    }
    let quoted = [account, stream, consumer].map(|name| quote(name.as_bytes()));
    let [quoted_account, quoted_stream, quoted_consumer] = quoted;
    if unhealthy.is_empty() && streams.is_empty() && !has_account() {
        missing.kind = "ACCOUNT";
        missing.error = format!("JetStream account {quoted_account} not found");
        return (vec![missing], 404);
    }
    if !stream.is_empty() && unhealthy.is_empty() && streams.is_empty() {
        missing.kind = "STREAM";
        missing.stream = stream.clone();
        missing.error =
            format!("JetStream stream {quoted_stream} not found on account {quoted_account}");
        return (vec![missing], 404);
    }
    let has_consumer = streams.iter().any(|s| !s.consumers_list.is_empty());
    if !consumer.is_empty() && !has_consumer {
        missing.kind = "CONSUMER";
        missing.stream = stream.clone();
        missing.consumer = consumer.clone();
        missing.error = format!(
            "JetStream consumer {quoted_consumer} not found for stream {quoted_stream} on account {quoted_account}"
        );
        return (vec![missing], 404);
    }
    (errors, 503)
}

fn what(options: &HealthOptions) -> Survey {
    let text = |text: &String| -> Arc<str> { text.as_str().into() };
    let only = (!options.stream.is_empty()).then(|| Only {
        account: text(&options.account),
        stream: text(&options.stream),
        consumer: (!options.consumer.is_empty()).then(|| text(&options.consumer)),
    });
    Survey {
        only,
        unhealthy: true,
        ..Survey::default()
    }
}

fn ails(unhealthy: &Unhealthy) -> HealthError {
    let Unhealthy {
        account,
        stream,
        what,
    } = unhealthy;
    let (account, stream) = (account.to_string(), stream.to_string());
    let of_stream = |error: String| HealthError {
        kind: "STREAM",
        account: account.clone(),
        stream: stream.clone(),
        error,
        ..HealthError::default()
    };
    let named = format!("JetStream stream '{account} > {stream}'");
    match what {
        Problem::NoAccount => HealthError {
            kind: "ACCOUNT",
            error: format!("JetStream account '{account}' could not be resolved"),
            account,
            ..HealthError::default()
        },
        Problem::NotRecovered => of_stream(format!("{named} could not be recovered")),
        Problem::CannotWrite(why) => of_stream(format!("{named} write error: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::jsz::tests::{House, server};
    use super::*;
    use crate::shard::facts::{Cursor, StreamsPage};

    fn unhealthy(account: &str, stream: &str, what: Problem) -> Unhealthy {
        Unhealthy {
            account: account.into(),
            stream: stream.into(),
            what,
        }
    }

    /// What needs no shard is answered without any.
    #[test]
    fn at_once_and_not() {
        let not_ready = "failed to be ready for connections after 1ms: server";
        let check = |takes_clients, options: &HealthOptions, expected: Option<(u16, &str)>| {
            let health = at_once(takes_clients, options);
            let got = health.as_ref().map(|h| (h.status_code, &*h.error));
            assert_eq!(got, expected, "{options:?}");
        };
        let server_only = HealthOptions {
            server_only: true,
            ..HealthOptions::default()
        };
        let enabled_only = HealthOptions {
            enabled_only: true,
            ..HealthOptions::default()
        };
        let all = HealthOptions::default();
        for options in [&server_only, &enabled_only, &all] {
            check(false, options, Some((500, not_ready)));
        }
        check(true, &server_only, Some((200, "")));
        check(true, &enabled_only, Some((200, "")));
        check(true, &all, None);
        let wrong = HealthOptions {
            stream: "S".into(),
            ..HealthOptions::default()
        };
        let no_account = "\"account\" must not be empty when checking stream health";
        check(false, &wrong, Some((400, no_account)));
        let details = HealthOptions {
            details: true,
            ..HealthOptions::default()
        };
        let got = serde_json::to_string(&at_once(false, &details).unwrap()).unwrap();
        let expected = format!(
            r#"{{"status":"error","status_code":500,"errors":[{{"type":"CONNECTION","error":"{not_ready}"}}]}}"#
        );
        assert_eq!(got, expected);
    }

    /// A shard that does not answer is ill, with JetStream and without.
    #[test]
    fn silent_shards() {
        for jetstream in [None, server().jetstream] {
            for silent in [vec![], vec![1], vec![0, 1, 7]] {
                let mut house = House::default();
                house.silent = silent.iter().copied().collect();
                let server = ServerFacts {
                    jetstream: jetstream.clone(),
                    ..server()
                };
                let health = healthz(&mut house, &server, &HealthOptions::default());
                let expected = match silent.len() {
                    0 => (200, ""),
                    1 => (503, "shard 1 does not answer"),
                    _ => (503, "shard 0 and 2 others do not answer"),
                };
                assert_eq!((health.status_code, &*health.error), expected);
            }
        }
    }

    #[test]
    fn health() {
        let cannot = Problem::CannotWrite("no space left on device");
        let ill = [
            unhealthy("B", "T", Problem::NotRecovered),
            unhealthy("A", "S", cannot),
            unhealthy("gone", "S", Problem::NoAccount),
            unhealthy("gone", "T", Problem::NoAccount),
        ];
        let check = |ill: &[Unhealthy], asked: [&str; 3], details, expected: &str| {
            let mut house = House::default();
            let (first, second) = ill.split_at(ill.len() / 2);
            house.pages = vec![
                StreamsPage {
                    unhealthy: first.to_vec(),
                    next: Some(Cursor::default()),
                    ..StreamsPage::default()
                },
                StreamsPage {
                    unhealthy: second.to_vec(),
                    ..StreamsPage::default()
                },
            ];
            let [account, stream, consumer] = asked.map(str::to_owned);
            let options = HealthOptions {
                account,
                stream,
                consumer,
                details,
                ..HealthOptions::default()
            };
            let health = healthz(&mut house, &server(), &options);
            let got = serde_json::to_string(&health).unwrap();
            assert_eq!(got, expected, "{asked:?}");
        };
        let well = r#"{"status":"ok","status_code":200}"#;
        check(&[], ["", "", ""], false, well);
        check(&[], ["A", "", ""], true, well);
        check(
            &ill,
            ["A", "", ""],
            true,
            r#"{"status":"error","status_code":503,"errors":[{"type":"STREAM","account":"A","stream":"S","error":"JetStream stream 'A > S' write error: no space left on device"}]}"#,
        );
        check(
            &ill,
            ["", "", ""],
            false,
            r#"{"status":"unavailable","status_code":503,"error":"JetStream stream 'A > S' write error: no space left on device"}"#,
        );
        check(
            &ill,
            ["B", "T", ""],
            false,
            r#"{"status":"unavailable","status_code":503,"error":"JetStream stream 'B > T' could not be recovered"}"#,
        );
        check(
            &ill,
            ["gone", "", ""],
            true,
            r#"{"status":"error","status_code":503,"errors":[{"type":"ACCOUNT","account":"gone","error":"JetStream account 'gone' could not be resolved"}]}"#,
        );
        check(
            &ill,
            ["B", "", ""],
            true,
            r#"{"status":"error","status_code":503,"errors":[{"type":"STREAM","account":"B","stream":"T","error":"JetStream stream 'B > T' could not be recovered"}]}"#,
        );
        check(
            &[],
            ["nope", "", ""],
            false,
            r#"{"status":"unavailable","status_code":404,"error":"JetStream account \"nope\" not found"}"#,
        );
        check(
            &[],
            ["", "S", ""],
            false,
            r#"{"status":"error","status_code":400,"error":"\"account\" must not be empty when checking stream health"}"#,
        );
        check(
            &[],
            ["A", "", "C"],
            true,
            r#"{"status":"error","status_code":400,"errors":[{"type":"BAD_REQUEST","error":"\"stream\" must not be empty when checking consumer health"}]}"#,
        );
    }
}
