//! Answers as nats-server 2.15.1 gave them.

use super::super::errors::Code;
use super::super::time::parse;
use super::super::{check_stream, requests, versions};
use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn at(time: &str) -> UnixNanos {
    parse(time).unwrap()
}

/// A stream as nats-server makes it of its name and subjects.
fn stream(json: &str) -> StreamConfig {
    let request: requests::StreamRequest = requests::parse(json.as_bytes(), true).unwrap();
    let server = check_stream::ServerLimits {
        duplicate_window: 0,
        max_memory: 1 << 40,
        max_storage: 1 << 40,
        reserved_memory: 0,
        reserved_storage: 0,
    };
    let around = check_stream::Around {
        streams: &BTreeMap::new(),
        limits: &check_stream::Limits::Flat(AccountLimits::NONE),
        server,
    };
    let name = request.config.name.clone();
    match check_stream::creation(&name, request, &around) {
        Ok(check_stream::Creation::New(config)) => *config,
        other => panic!("{other:?}"),
    }
}

/// What follows was said by nats-server 2.15.1.
#[test]
fn streams() {
    let mut config = stream(r#"{"name":"A","subjects":["a.>"],"allow_direct":true}"#);
    let of_list = written(|out| config.render(out));
    versions::of_server(&mut config.metadata);
    let subjects = [(b"a.1".to_vec(), 1), (b"a.3".to_vec(), 1)];
    let info = StreamInfo {
        config: &config,
        created: at("2026-11-21T13:40:29.259213001Z"),
        state: StreamState {
            state: State {
                messages: 2,
                bytes: 76,
                first_seq: 1,
                first_time: at("2026-11-21T13:40:30.307503868Z"),
                last_seq: 3,
                last_time: at("2026-11-21T13:40:30.307838755Z"),
                subjects: 2,
                deleted: 1,
            },
            subjects: &subjects,
            deleted: &[2],
            lost: None,
            consumers: 1,
        },
        domain: "",
        leader: Some("S"),
        mirror: None,
        sources: Vec::new(),
        alternates: &[],
        now: at("2026-11-21T13:40:30.309256929Z"),
    };
    let page = Page {
        total: 2,
        offset: 0,
        limit: SUBJECTS_MAX,
    };
    let config_json = r#"{"name":"A","subjects":["a.\u003e"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"none","allow_direct":true,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"metadata":{"_nats.level":"5","_nats.req.level":"0","_nats.ver":"2.15.1"}}"#;
    assert!(of_list.ends_with(r#""metadata":{"_nats.req.level":"0"}}"#));
    assert_eq!(
        written(|out| info.shown(out, page)),
        format!(
            r#"{{"type":"io.nats.jetstream.api.v1.stream_info_response","total":2,"offset":0,"limit":100000,"config":{config_json},"created":"2026-11-21T13:40:29.259213001Z","state":{{"messages":2,"bytes":76,"first_seq":1,"first_ts":"2026-11-21T13:40:30.307503868Z","last_seq":3,"last_ts":"2026-11-21T13:40:30.307838755Z","num_subjects":2,"subjects":{{"a.1":1,"a.3":1}},"num_deleted":1,"deleted":[2],"consumer_count":1}},"cluster":{{"leader":"S"}},"ts":"2026-11-21T13:40:30.309256929Z"}}"#
        )
    );
    let external = External {
        api: "$JS.x.API".to_owned(),
        deliver: "foo".to_owned(),
    };
    let fresh = StreamInfo {
        state: StreamState {
            state: State {
                first_seq: 1,
                ..State::default()
            },
            ..StreamState::default()
        },
        leader: None,
        sources: vec![
            SourceInfo {
                name: "A",
                active: -1,
                ..SourceInfo::default()
            },
            SourceInfo {
                name: "ZZ",
                external: Some(&external),
                active: -1,
                filter_subject: "x",
                ..SourceInfo::default()
            },
        ],
        ..info
    };
    assert_eq!(
        written(|out| fresh.created(out)),
        format!(
            r#"{{"type":"io.nats.jetstream.api.v1.stream_create_response","config":{config_json},"created":"2026-11-21T13:40:29.259213001Z","state":{{"messages":0,"bytes":0,"first_seq":0,"first_ts":"0001-01-01T00:00:00Z","last_seq":0,"last_ts":"0001-01-01T00:00:00Z","consumer_count":0}},"sources":[{{"name":"A","lag":0,"active":-1}},{{"name":"ZZ","external":{{"api":"$JS.x.API","deliver":"foo"}},"lag":0,"active":-1,"filter_subject":"x"}}],"ts":"2026-11-21T13:40:30.309256929Z","did_create":true}}"#
        )
    );
}

#[test]
fn acknowledgements_of_publishes() {
    let check = |ack: PubAck<'_>, expected: &str| {
        assert_eq!(written(|out| ack.render(out)), expected);
    };
    let plain = PubAck {
        stream: "A",
        seq: 1,
        ..PubAck::default()
    };
    check(plain, r#"{"stream":"A","seq":1}"#);
    check(
        PubAck {
            domain: "hub",
            duplicate: true,
            ..plain
        },
        r#"{"stream":"A","domain":"hub","seq":1,"duplicate": true}"#,
    );
    check(
        PubAck {
            batch: "b",
            count: 3,
            ..plain
        },
        r#"{"stream":"A","seq":1,"batch":"b","count":3}"#,
    );
    check(
        PubAck {
            stream: "q\"",
            value: "12",
            ..plain
        },
        r#"{"stream":"q\"","seq":1,"val":"12"}"#,
    );
    let error = Code::StreamWrongLastSequence.with(&["5"]);
    assert_eq!(
        written(|out| PubAck::refuse(out, &error, Some("A"))),
        r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 5"},"stream":"A","seq":0}"#
    );
}

#[test]
fn the_rest() {
    let check = |json: String, kind: &str, expected: &str| {
        let comma = if expected.is_empty() { "" } else { "," };
        let expected = format!(r#"{{"type":"io.nats.jetstream.api.v1.{kind}"{comma}{expected}}}"#);
        assert_eq!(json, expected);
    };
    let none: &[&str] = &[];
    let names = |names: &[&str]| {
        let (page, range) = Page::of(names.len(), 0, NAMES_MAX);
        written(|out| stream_names(out, page, &names[range]))
    };
    check(
        names(none),
        "stream_names_response",
        r#""total":0,"offset":0,"limit":1024,"streams":null"#,
    );
    check(
        names(&["A", "B"]),
        "stream_names_response",
        r#""total":2,"offset":0,"limit":1024,"streams":["A","B"]"#,
    );
    let (page, _) = Page::of(0, 0, LIST_MAX);
    check(
        written(|out| consumer_list(out, page, &[b"{}"])),
        "consumer_list_response",
        r#""total":0,"offset":0,"limit":256,"consumers":[{}]"#,
    );
    check(
        written(|out| purged(out, 2)),
        "stream_purge_response",
        r#""success":true,"purged":2"#,
    );
    check(
        written(|out| Kind::MsgDelete.success(out)),
        "stream_msg_delete_response",
        r#""success":true"#,
    );
    check(
        written(|out| paused(out, false, NEVER, 0)),
        "consumer_pause_response",
        r#""paused":false,"pause_until":"0001-01-01T00:00:00Z""#,
    );
    check(written(unpinned), "consumer_unpin_response", "");
    let stored = crate::store::Stored {
        seq: 1,
        time: at("2026-11-21T13:40:30.307503868Z"),
        subject: b"a.1",
        headers: b"",
        payload: b"hello",
    };
    check(
        written(|out| message(out, &stored)),
        "stream_msg_get_response",
        r#""message":{"subject":"a.1","seq":1,"data":"aGVsbG8=","time":"2026-11-21T13:40:30.307503868Z"}"#,
    );
    let error = |kind: Kind| written(|out| kind.error(out, &Code::StreamNotFound.into()));
    let said = r#""error":{"code":404,"err_code":10059,"description":"stream not found"}"#;
    for (kind, suffix, rest) in [
        (
            Kind::StreamInfo,
            "stream_info_response",
            r#","total":0,"offset":0,"limit":0"#,
        ),
        (Kind::StreamDelete, "stream_delete_response", ""),
        (Kind::StreamPurge, "stream_purge_response", r#","purged":0"#),
        (
            Kind::ConsumerNames,
            "consumer_names_response",
            r#","total":0,"offset":0,"limit":0,"consumers":[]"#,
        ),
        (
            Kind::ConsumerPause,
            "consumer_pause_response",
            r#","paused":false,"pause_until":"0001-01-01T00:00:00Z""#,
        ),
        (
            Kind::StreamRestore,
            "stream_restore_response",
            r#","deliver_subject":"""#,
        ),
    ] {
        check(error(kind), suffix, &format!("{said}{rest}"));
    }
}

#[test]
fn pages_end_where_the_list_does() {
    let of = |total, offset, limit| Page::of(total, offset, limit).1;
    assert_eq!(of(5, 0, 3), 0..3);
    assert_eq!(of(5, 3, 3), 3..5);
    assert_eq!(of(5, 9, 3), 5..5);
    assert_eq!(of(5, -1, 3), 0..3);
}
