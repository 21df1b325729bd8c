//! Moving in, and snapshots, against directories and archives that a real nats-server has written.
//!
//! They need `nats-server` on the PATH, and python3 with nats-py; snapshots also `nats`. Without them there is nothing
//! to be compared with, and the tests say so.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use data_encoding::BASE64;
use serde_json::Value;
use sha2::{Digest, Sha256};
use skein::jetstream::snapshot::{
    ConsumerSnapshot, Filled, Item, Read, Reader, StreamState, Writer, filestore,
};
use skein::store::{Messages, NewMessage, Options, Store, StreamOptions};

use harness::Server;

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("skein-import-{}-{number}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder can be made");
        Self(folder)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A real nats-server.
struct Foreign {
    child: Child,
    url: String,
}

impl Foreign {
    /// None when there is none to be started.
    fn start(folder: &Folder, jetstream: &str) -> Option<Self> {
        let store = folder.join("store");
        let config = format!(
            "listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: {store:?}, sync_interval: always, {jetstream} }}\n"
        );
        let path = folder.join("nats.conf");
        fs::write(&path, config).expect("the configuration can be written");
        let started = Command::new("nats-server")
            .arg("-c")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            eprintln!("left out: there is no nats-server");
            return None;
        };
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut url = String::new();
        let mut line = String::new();
        while !line.contains("Server is ready") {
            line.clear();
            let bytes = log.read_line(&mut line).expect("the log is text");
            assert!(bytes > 0, "nats-server does not start");
            if let Some((_, address)) = line.split_once("Listening for client connections on ") {
                url = format!("nats://{}", address.trim());
            }
        }
        std::thread::spawn(move || log.lines().map_while(Result::ok).count());
        Some(Self { child, url })
    }

    fn stop(mut self, signal: &str) {
        assert!(harness::signal(self.child.id(), signal));
        self.child.wait().expect("it ends");
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has tests/import.py do something. None without nats-py.
fn client(url: &str, what: &str) -> Option<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import.py");
    let output = Command::new("python3").args([script, url, what]).output();
    let Ok(output) = output else {
        eprintln!("left out: there is no python3");
        return None;
    };
    if output.stdout.starts_with(b"missing") {
        eprintln!("left out: there is no nats-py");
        return None;
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    Some(serde_json::from_slice(&output.stdout).expect("it prints JSON"))
}

/// Everything below a folder, and what is in it.
fn digests(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                folders.push(path.clone());
                found.insert(path, Vec::new());
            } else {
                let content = fs::read(&path).expect("it can be read");
                found.insert(path, Sha256::digest(content).to_vec());
            }
        }
    }
    found
}

fn import(source: &Path, target: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skein"))
        .arg("import")
        .arg(source)
        .arg("-sd")
        .arg(target)
        .args(more)
        .output()
        .expect("it can be started")
}

/// What the two servers must tell alike of a stream.
fn compare(name: &str, ours: &Value, theirs: &Value) {
    for part in ["config", "created"] {
        assert_eq!(ours[part], theirs[part], "{part} of {name}");
    }
    let (our_messages, their_messages) = (&ours["messages"], &theirs["messages"]);
    let count = |messages: &Value| messages.as_array().map_or(0, Vec::len);
    assert_eq!(
        count(our_messages),
        count(their_messages),
        "messages of {name}"
    );
    assert!(our_messages == their_messages, "messages of {name}");
    let keys = [
        "messages",
        "bytes",
        "first_seq",
        "last_seq",
        "first_ts",
        "last_ts",
        "num_subjects",
    ];
    // Of one that never had a message, nats-server says that its first is 0.
    let is_unused = theirs["state"]["last_seq"] == 0;
    let keys = keys.into_iter().chain(["deleted"]);
    for key in keys.filter(|_| !is_unused) {
        assert_eq!(ours["state"][key], theirs["state"][key], "{key} of {name}");
    }
    let names = |value: &Value| -> Vec<String> {
        let consumers = value["consumers"].as_object().into_iter().flatten();
        consumers.map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(ours), names(theirs), "consumers of {name}");
    for consumer in names(theirs) {
        let (our, their) = (
            &ours["consumers"][&consumer],
            &theirs["consumers"][&consumer],
        );
        for part in [
            "created",
            "config",
            "num_ack_pending",
            "num_redelivered",
            "num_pending",
        ] {
            assert_eq!(our[part], their[part], "{part} of {name} > {consumer}");
        }
        for part in ["delivered", "ack_floor"] {
            for place in ["consumer_seq", "stream_seq"] {
                let (our, their) = (&our[part][place], &their[part][place]);
                assert_eq!(our, their, "{part}.{place} of {name} > {consumer}");
            }
        }
    }
}

/// What is written by nats-server, and how it is stopped.
fn move_in(name: &str, jetstream: &str, signal: &str, key: Option<&str>) {
    let folder = Folder::new(name);
    let Some(foreign) = Foreign::start(&folder, jetstream) else {
        return;
    };
    let Some(shown) = client(&foreign.url, "fill") else {
        return;
    };
    foreign.stop(signal);
    let (source, target) = (folder.join("store"), folder.join("ours"));
    let before = digests(&source);
    let shown = match signal {
        "KILL" => after_a_crash(&source, jetstream),
        _ => shown,
    };

    let mut more = Vec::new();
    if let Some(key) = key {
        let refused = import(&source, &target, &[]);
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{name}: encrypted, and no key is given"
        );
        let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            complaint.contains("is encrypted, and no key is given"),
            "{complaint}"
        );
        more = vec!["--key", key];
    }
    let moved = import(&source, &target, &more);
    let table = String::from_utf8_lossy(&moved.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&moved.stderr).into_owned();
    assert_eq!(moved.status.code(), Some(0), "{name}:\n{complaint}{table}");
    assert!(digests(&source) == before, "{name}: the source has changed");
    let streams = shown.as_object().expect("streams by name");
    assert_eq!(table.lines().count(), streams.len() + 1, "{table}");
    for line in table.lines().skip(1) {
        assert!(line.ends_with("  yes"), "{table}");
    }

    let again = import(&source, &target, &more);
    let complaint = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("already"), "{complaint}");

    let config = format!("jetstream {{ store_dir: {target:?} }}\n");
    let server = Server::configured(&config).unwrap_or_else(|log| panic!("{log}"));
    let url = format!("nats://{}", server.address());
    let ours = client(&url, "show").expect("it was there before");
    for (stream, theirs) in streams {
        compare(&format!("{name}: {stream}"), &ours[stream], theirs);
    }
}

/// What nats-server itself makes of a store after it was killed: some of what limits and rollups had
/// removed is back.
fn after_a_crash(source: &Path, jetstream: &str) -> Value {
    let folder = Folder::new("crash");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(source)
        .arg(folder.join("store"))
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    let foreign = Foreign::start(&folder, jetstream).expect("it was there before");
    client(&foreign.url, "show").expect("it was there before")
}

#[test]
fn plain_streams_move_in() {
    move_in("plain", "", "TERM", None);
}

#[test]
fn streams_of_a_killed_server_move_in() {
    move_in("killed", "", "KILL", None);
}

#[test]
fn streams_encrypted_with_chacha_move_in() {
    move_in(
        "chacha",
        "key: \"one\", cipher: chachapoly",
        "TERM",
        Some("one"),
    );
}

#[test]
fn streams_encrypted_with_aes_move_in() {
    move_in("aes", "key: \"two\", cipher: aes", "TERM", Some("two"));
}

#[test]
fn damaged_streams_are_left_out_or_salvaged() {
    let folder = Folder::new("damaged");
    let Some(foreign) = Foreign::start(&folder, "") else {
        return;
    };
    if client(&foreign.url, "fill").is_none() {
        return;
    }
    foreign.stop("TERM");
    let source = folder.join("store");
    let block = source.join("jetstream/$G/streams/plain/msgs/1.blk");
    let mut content = fs::read(&block).expect("it can be read");
    let middle = content.len() / 2;
    content[middle] ^= 0x10;
    fs::write(&block, content).expect("it can be written");

    let left_out = import(&source, &folder.join("ours"), &[]);
    let table = String::from_utf8_lossy(&left_out.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&left_out.stderr).into_owned();
    assert_eq!(left_out.status.code(), Some(2), "{complaint}{table}");
    let line = |table: &str| {
        let line = table.lines().find(|line| line.contains("  plain  "));
        line.expect("there is one").to_owned()
    };
    assert!(line(&table).ends_with("left out"), "{table}");
    let said = "$G > plain: $G/streams/plain/msgs/1.blk: record with a wrong checksum at offset ";
    assert!(complaint.contains(said), "{complaint}");
    // The others were moved; what was left out can be had later, as far as it is there.
    let salvaged = import(&source, &folder.join("salvaged"), &["--salvage"]);
    let table = String::from_utf8_lossy(&salvaged.stdout).into_owned();
    assert_eq!(salvaged.status.code(), Some(2), "{table}");
    assert!(line(&table).ends_with("in part"), "{table}");

    for (arguments, said) in [
        (&["-sd", "x"][..], "import needs a folder to import from"),
        (&["x"][..], "import needs a store to import into"),
        (&["x", "y", "-sd", "z"][..], "unrecognized command: \"y\""),
        (
            &["/nowhere/at/all", "-sd", "z"][..],
            "/nowhere/at/all is no folder",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_skein"))
            .arg("import")
            .args(arguments)
            .current_dir(&folder.0)
            .output()
            .expect("it can be started");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {complaint}");
        assert!(complaint.contains(said), "{arguments:?}: {complaint}");
    }
}

/// What a snapshot holds.
#[derive(Default)]
struct Held {
    state: StreamState,
    consumers: Vec<ConsumerSnapshot>,
    /// Sequence, time, subject, headers, payload: as tests/import.py shows them.
    messages: Vec<Value>,
}

/// Reads a snapshot into a stream of a store in memory.
fn read(stream: &str, snapshot: &[u8], messages: &mut impl Messages) -> Held {
    let mut held = Held::default();
    let mut reader = Reader::new(stream);
    let mut ended = false;
    for piece in snapshot.chunks(10_000) {
        reader.push(piece);
        loop {
            match reader
                .next_item()
                .unwrap_or_else(|damage| panic!("{stream}: {damage}"))
            {
                Read::More | Read::Nothing => break,
                Read::Item(Item::State(state)) => held.state = state,
                Read::Item(Item::Consumer(consumer)) => held.consumers.push(consumer),
                Read::Item(Item::Message {
                    seq,
                    time,
                    subject,
                    headers,
                    payload,
                }) => {
                    messages.skip_to(seq - 1, time).expect("it does");
                    let message = NewMessage {
                        subject,
                        headers,
                        payload,
                        time,
                        flags: 0,
                    };
                    assert_eq!(messages.append(&message), Ok(seq));
                    held.messages.push(serde_json::json!([
                        seq,
                        time,
                        String::from_utf8_lossy(subject),
                        BASE64.encode(headers),
                        BASE64.encode(payload)
                    ]));
                }
                Read::Item(Item::End {
                    last_seq,
                    last_time,
                }) => {
                    messages.skip_to(last_seq, last_time).expect("it does");
                    ended = true;
                }
                Read::Item(item) => panic!("{stream}: {item:?} is of the old format"),
            }
        }
    }
    assert!(ended && reader.has_ended(), "{stream}: it does not end");
    held
}

fn nats(url: &str, arguments: &[&str], folder: &Path) -> Option<()> {
    let output = Command::new("nats")
        .args(["-s", url, "--timeout", "60s"])
        .args(arguments)
        .arg(folder)
        .output();
    let Ok(output) = output else {
        eprintln!("left out: there is no nats");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    Some(())
}

#[test]
fn snapshots_go_both_ways() {
    let folder = Folder::new("snapshots");
    let Some(foreign) = Foreign::start(&folder, "") else {
        return;
    };
    let Some(shown) = client(&foreign.url, "fill") else {
        return;
    };
    const ARCHIVE: &str = "stream.tar.s2";
    let streams = shown.as_object().expect("streams by name");
    let mut store = Store::open(&Options::new(1), &[], 0);
    for (name, theirs) in streams {
        let (from, to) = (
            folder.join(&format!("from-{name}")),
            folder.join(&format!("to-{name}")),
        );
        if nats(&foreign.url, &["stream", "backup", name], &from).is_none() {
            return;
        }
        let snapshot = fs::read(from.join(ARCHIVE)).expect("there is one");
        let options = StreamOptions {
            memory: true,
            compress: false,
        };
        let number = store
            .create_stream(name.as_bytes(), b"", options)
            .expect("it does");
        let mut messages = store.stream(number).expect("it was made");
        let held = read(name, &snapshot, &mut messages);
        let mut expected = theirs["messages"].as_array().expect("a list").clone();
        for message in &mut expected {
            let time = message[1].as_str().and_then(filestore::time_of);
            message[1] = time.into();
        }
        assert!(held.messages == expected, "messages of {name}");
        assert_eq!(held.state.messages, theirs["state"]["messages"], "{name}");
        let consumers = theirs["consumers"].as_object().expect("consumers by name");
        assert_eq!(held.consumers.len(), consumers.len(), "consumers of {name}");

        let mut writer = Writer::new(held.state, held.consumers, 1_800_000_000_000_000_000);
        let (mut ours, mut chunk) = (Vec::new(), Vec::new());
        while !writer.is_finished() {
            assert_eq!(
                writer.fill(&mut messages, 1 << 17, &mut chunk),
                Filled::Chunk
            );
            ours.extend_from_slice(&chunk);
        }
        fs::create_dir_all(&to).expect("a folder can be made");
        fs::copy(from.join("backup.json"), to.join("backup.json")).expect("it can be copied");
        fs::write(to.join(ARCHIVE), ours).expect("it can be written");
    }
    foreign.stop("TERM");
    fs::remove_dir_all(folder.join("store")).expect("it can be deleted");
    let foreign = Foreign::start(&folder, "").expect("it was there before");
    for name in streams.keys() {
        let to = folder.join(&format!("to-{name}"));
        nats(&foreign.url, &["stream", "restore"], &to).expect("it was there before");
    }
    let restored = client(&foreign.url, "show").expect("it was there before");
    for (name, theirs) in streams {
        let ours = &restored[name];
        assert!(ours["messages"] == theirs["messages"], "messages of {name}");
        assert_eq!(ours["config"], theirs["config"], "{name}");
        for key in ["messages", "bytes", "last_seq", "num_subjects", "deleted"] {
            let is_unused = theirs["state"]["last_seq"] == 0 && key == "deleted";
            let (ours, theirs) = (&ours["state"][key], &theirs["state"][key]);
            assert!(
                ours == theirs || is_unused,
                "{key} of {name}: {ours} and {theirs}"
            );
        }
    }
}
