//! Levels of the API (ADR-44): which a stream or consumer needs, which a request asks for, and what
//! answers say of the server. In metadata, under names that begin with `_nats.`.

use std::collections::BTreeMap;

use crate::jetstream::config::{
    AckPolicy, ConsumerConfig, PersistMode, PriorityPolicy, StreamConfig,
};
use crate::proto::info::PROTOCOL_VERSION;

use super::time::NEVER;

/// What this server can do.
pub const API_LEVEL: i64 = 5;

/// The header of a request that needs a level.
pub const REQUIRED_LEVEL_HEADER: &str = "Nats-Required-Api-Level";

/// The header by which a mirror or a source says which stream of a name it means, and is told which
/// one it has.
pub const IDENTITY_HEADER: &str = "Nats-Stream-Identity";

const REQUIRED: &str = "_nats.req.level";
const VERSION: &str = "_nats.ver";
const LEVEL: &str = "_nats.level";

/// Whether a request with this value of [`REQUIRED_LEVEL_HEADER`] cannot be served.
pub fn asks_too_much(header: Option<&[u8]>) -> bool {
    let Some(level) = header.filter(|level| !level.is_empty()) else {
        return false;
    };
    std::str::from_utf8(level)
        .ok()
        .and_then(|level| level.parse::<i64>().ok())
        .is_none_or(|level| level > API_LEVEL)
}

/// Whether something stored with this metadata can be served.
pub fn is_supported(metadata: &BTreeMap<String, String>) -> bool {
    match metadata.get(REQUIRED).map(String::as_str) {
        None | Some("") => true,
        Some(level) => level.parse::<i64>().is_ok_and(|level| level <= API_LEVEL),
    }
}

/// Puts into a stream's metadata what it needs.
pub fn set_stream(config: &mut StreamConfig) {
    let mut level = 0;
    if config.allow_msg_ttl || config.subject_delete_marker_ttl > 0 {
        level = 1;
    }
    if config.allow_msg_counter
        || config.allow_atomic
        || config.allow_msg_schedules
        || config.persist_mode == PersistMode::Async
    {
        level = 2;
    }
    if config.allow_batched {
        level = 4;
    }
    set(&mut config.metadata, level);
}

/// Puts into a consumer's metadata what it needs.
pub fn set_consumer(config: &mut ConsumerConfig) {
    let mut level = 0;
    let paused = config.pause_until.is_some_and(|until| until != NEVER);
    if paused
        || config.priority_policy != PriorityPolicy::None
        || config.priority_timeout != 0
        || !config.priority_groups.is_empty()
    {
        level = 1;
    }
    if config.ack_policy == AckPolicy::FlowControl {
        level = 4;
    }
    set(&mut config.metadata, level);
}

fn set(metadata: &mut BTreeMap<String, String>, level: i64) {
    metadata.remove(VERSION);
    metadata.remove(LEVEL);
    metadata.insert(REQUIRED.to_owned(), level.to_string());
}

/// Makes the level in `metadata` what it is in `other`, so that the two can be compared.
pub fn copy(metadata: &mut BTreeMap<String, String>, other: &BTreeMap<String, String>) {
    metadata.remove(VERSION);
    metadata.remove(LEVEL);
    match other.get(REQUIRED) {
        Some(level) => metadata.insert(REQUIRED.to_owned(), level.clone()),
        None => metadata.remove(REQUIRED),
    };
}

/// Adds what answers say of the server.
pub fn of_server(metadata: &mut BTreeMap<String, String>) {
    metadata.insert(VERSION.to_owned(), PROTOCOL_VERSION.to_owned());
    metadata.insert(LEVEL.to_owned(), API_LEVEL.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_requests_ask_for() {
        let check = |header: Option<&str>, expected: bool| {
            assert_eq!(
                asks_too_much(header.map(str::as_bytes)),
                expected,
                "{header:?}"
            );
        };
        check(None, false);
        check(Some(""), false);
        check(Some("5"), false);
        check(Some("-1"), false);
        check(Some("6"), true);
        check(Some("x"), true);
    }

    #[test]
    fn levels_that_streams_and_consumers_need() {
        let stream = |change: fn(&mut StreamConfig), expected: &str| {
            let mut config = StreamConfig::default();
            of_server(&mut config.metadata);
            change(&mut config);
            set_stream(&mut config);
            assert_eq!(config.metadata.len(), 1);
            assert_eq!(config.metadata[REQUIRED], expected);
        };
        stream(|_| {}, "0");
        stream(|c| c.allow_msg_ttl = true, "1");
        stream(|c| c.subject_delete_marker_ttl = 1, "1");
        stream(|c| c.allow_msg_counter = true, "2");
        stream(|c| c.persist_mode = PersistMode::Async, "2");
        stream(|c| (c.allow_batched, c.allow_atomic) = (true, true), "4");
        let consumer = |change: fn(&mut ConsumerConfig), expected: &str| {
            let mut config = ConsumerConfig::default();
            change(&mut config);
            set_consumer(&mut config);
            assert_eq!(config.metadata[REQUIRED], expected);
        };
        consumer(|_| {}, "0");
        consumer(|c| c.pause_until = Some(NEVER), "0");
        consumer(|c| c.pause_until = Some(1), "1");
        consumer(|c| c.priority_timeout = 1, "1");
        consumer(|c| c.ack_policy = AckPolicy::FlowControl, "4");
    }

    #[test]
    fn what_is_stored_by_a_newer_server_is_known() {
        let check = |level: &str, expected: bool| {
            let metadata = BTreeMap::from([(REQUIRED.to_owned(), level.to_owned())]);
            assert_eq!(is_supported(&metadata), expected, "{level}");
        };
        check("5", true);
        check("", true);
        check("6", false);
        check("x", false);
        assert!(is_supported(&BTreeMap::new()));
    }
}
