//! Snapshots: what is written is read, in any pieces; what nats-server writes is read; what is damaged
//! is found; and the flow of chunks.

use std::collections::BTreeMap;

use super::*;
use crate::base::prng::Prng;
use crate::jetstream::api::requests::SnapshotRequest;
use crate::jetstream::{Now, Outgoing, Outlet, Reached};
use crate::store::naive::Naive;
use crate::store::{Messages, NewMessage, Seq, UnixNanos};

/// Time, subject, headers, payload.
type Message = (UnixNanos, Vec<u8>, Vec<u8>, Vec<u8>);

/// All that a snapshot holds.
#[derive(Debug, Default, PartialEq)]
struct Held {
    state: Option<StreamState>,
    meta: Option<filestore::Meta>,
    consumers: Vec<ConsumerSnapshot>,
    messages: BTreeMap<Seq, Message>,
    end: Option<(Seq, UnixNanos)>,
}

impl Held {
    fn take(&mut self, item: Item<'_>) {
        assert_eq!(self.end, None, "something behind the end");
        match item {
            Item::State(state) => self.state = Some(state),
            Item::Meta(meta) => self.meta = Some(meta),
            Item::Consumer(consumer) => self.consumers.push(consumer),
            Item::Message {
                seq,
                time,
                subject,
                headers,
                payload,
            } => {
                assert!(
                    self.messages
                        .keys()
                        .next_back()
                        .is_none_or(|&last| last < seq)
                );
                let message = (time, subject.to_vec(), headers.to_vec(), payload.to_vec());
                self.messages.insert(seq, message);
            }
            Item::Removed(ranges) => {
                for (first, last) in ranges {
                    assert!(first <= last);
                    let all = self.messages.len();
                    self.messages.retain(|seq, _| !(first..=last).contains(seq));
                    assert!(
                        self.messages.len() < all,
                        "{first} to {last} were not there"
                    );
                }
            }
            Item::End {
                last_seq,
                last_time,
            } => self.end = Some((last_seq, last_time)),
        }
    }
}

/// Reads a snapshot of `S` that comes in pieces.
fn read(snapshot: &[u8], piece_bytes: usize) -> Result<Held, Damage> {
    let (mut reader, mut held) = (Reader::new("S"), Held::default());
    for piece in snapshot.chunks(piece_bytes) {
        reader.push(piece);
        while let Read::Item(item) = reader.next_item()? {
            held.take(item);
        }
    }
    assert_eq!(reader.has_ended(), held.end.is_some());
    Ok(held)
}

fn consumer(name: &str, random: &mut Prng) -> ConsumerSnapshot {
    let mut state = ConsumerState::default();
    state.delivered.stream_seq = 90;
    state.ack_floor.consumer_seq = 3;
    for seq in 1..u64::from(random.below(50)) {
        let (consumer_seq, time) = (seq * 2, i64::from(random.below(1000)));
        state.pending.insert(seq, Delivered { consumer_seq, time });
        state.redelivered.insert(seq, 3);
    }
    ConsumerSnapshot {
        name: name.to_owned(),
        config_json: format!(r#"{{"durable_name":"{name}","filter_subject":"s.\u003e"}}"#),
        state,
    }
}

/// A stream with holes, and what is to be read of its snapshot.
fn stream(random: &mut Prng) -> (Naive, StreamState, Held) {
    let mut naive = Naive::new(true);
    let mut held = Held::default();
    naive
        .skip_to(u64::from(random.below(9)), 5)
        .expect("it does");
    for i in 0..u64::from(random.below(300)) {
        if random.one_in(5) {
            naive
                .skip_to(naive.state.last_seq + u64::from(random.below(4)), 5)
                .expect("it does");
        }
        let payload: Vec<u8> = (0..random.below(3000))
            .map(|_| random.below(9) as u8)
            .collect();
        let headers: &[u8] = if random.one_in(2) {
            b"NATS/1.0\r\n\r\n"
        } else {
            b""
        };
        let subject = format!("s.{}", random.below(5)).into_bytes();
        let time = 1_700_000_000_000_000_000 + i as i64;
        let message = NewMessage {
            subject: &subject,
            headers,
            payload: &payload,
            time,
            flags: 0,
        };
        let seq = naive.append(&message).expect("it does");
        held.messages
            .insert(seq, (time, subject, headers.to_vec(), payload));
    }
    naive
        .skip_to(naive.state.last_seq + u64::from(random.below(2)), 5)
        .expect("it does");
    let of = *naive.state();
    let state = StreamState {
        messages: of.messages,
        bytes: of.bytes,
        first_seq: of.first_seq,
        first_time: of.first_time,
        last_seq: of.last_seq,
        last_time: of.last_time,
        subjects: of.subjects,
        deleted: of.deleted,
        consumers: 0,
    };
    held.end = Some((state.last_seq, state.last_time));
    (naive, state, held)
}

fn written(random: &mut Prng) -> (Vec<u8>, Held) {
    let (mut naive, state, mut held) = stream(random);
    held.consumers = vec![consumer("a", random), consumer("b", random)];
    let mut writer = Writer::new(state, held.consumers.clone(), 77);
    for consumer in &mut held.consumers {
        let of = &mut consumer.state;
        of.delivered.stream_seq = of.delivered.stream_seq.min(state.last_seq);
        of.pending.retain(|&seq, _| seq <= state.last_seq);
        of.redelivered.retain(|&seq, _| seq <= state.last_seq);
    }
    held.state = Some(StreamState {
        consumers: 2,
        ..state
    });
    // Messages that come later are not in it; those that must be read first are waited for.
    let late = NewMessage {
        subject: b"late",
        headers: b"",
        payload: b"",
        time: i64::MAX,
        flags: 0,
    };
    naive.append(&late).expect("it does");
    naive.later = held
        .messages
        .keys()
        .copied()
        .filter(|_| random.one_in(9))
        .collect();
    let bytes = 1 + random.below(5000) as usize;
    let (mut snapshot, mut chunk) = (Vec::new(), Vec::new());
    while !writer.is_finished() {
        match writer.fill(&mut naive, bytes, &mut chunk) {
            Filled::Chunk => {
                assert!(chunk.len() == bytes || writer.is_finished());
                snapshot.extend_from_slice(&chunk);
            }
            Filled::Later => assert!(naive.later.pop_first().is_some()),
            Filled::Failed(why) => panic!("{why}"),
        }
    }
    (snapshot, held)
}

#[test]
fn what_is_written_is_read_in_any_pieces() {
    let mut random = Prng::new(11);
    for round in 0..40 {
        let (snapshot, held) = written(&mut random);
        let pieces = 1 + random.below(3000) as usize;
        assert_eq!(read(&snapshot, pieces).as_ref(), Ok(&held), "round {round}");
    }
}

#[test]
fn what_cannot_be_read_ends_a_snapshot() {
    let mut random = Prng::new(1);
    let (mut naive, state, held) = stream(&mut random);
    let bad = *held.messages.keys().nth(20).expect("there are more");
    naive.damaged.insert(bad);
    let mut writer = Writer::new(state, Vec::new(), 77);
    let failed = (0..1000).map(|_| writer.fill(&mut naive, 1000, &mut Vec::new()));
    let failed = failed.into_iter().find(|filled| *filled != Filled::Chunk);
    assert_eq!(
        failed,
        Some(Filled::Failed(format!("message {bad} cannot be read")))
    );
}

/// The messages of the stream in `samples`.
fn sample_messages() -> BTreeMap<Seq, Message> {
    let block = samples::bytes(samples::BLOCK);
    let records = filestore::Records::of(&block, filestore::Checksum::of_block("S", 1));
    let mut messages = BTreeMap::new();
    for record in records {
        if let filestore::Record::Message {
            seq,
            time,
            subject,
            headers,
            payload,
        } = record.expect("it is whole")
        {
            let message = (time, subject.to_vec(), headers.to_vec(), payload.to_vec());
            messages.insert(seq, message);
        }
    }
    messages.remove(&2);
    messages
}

#[test]
fn what_nats_server_writes_is_read() {
    let snapshot = samples::bytes(samples::SNAPSHOT);
    for pieces in [1, 7, 10_000] {
        let held = read(&snapshot, pieces).expect("it is whole");
        assert_eq!(held.messages, sample_messages());
        let state = held.state.expect("there is one");
        assert_eq!((state.messages, state.bytes, state.first_seq), (5, 254, 1));
        assert_eq!((state.subjects, state.deleted, state.consumers), (2, 2, 1));
        assert_eq!(held.end, Some((7, state.last_time)));
        let consumer = &held.consumers[0];
        assert_eq!((held.consumers.len(), consumer.name.as_str()), (1, "c"));
        // The file says seconds only.
        let mut of_consumer = consumer.state.clone();
        for pending in of_consumer.pending.values_mut() {
            pending.time -= pending.time % 1_000_000_000;
        }
        let file = samples::bytes(samples::CONSUMER_STATE);
        assert_eq!(Ok(of_consumer), filestore::read_consumer_state(&file));
    }
}

/// A tar archive as Go writes them: with POSIX headers before each file.
fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut member = |name: &str, kind: u8, content: &[u8]| {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = kind;
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    };
    for (name, content) in files {
        member("PaxHeaders.0/x", b'x', b"30 mtime=1795267858.860669029\n");
        if name.len() > 90 {
            let record = format!(" path={name}\n");
            let record = format!("{}{record}", record.len() + 3);
            member("PaxHeaders.0/x", b'x', record.as_bytes());
        }
        let short = &name[..name.len().min(90)];
        member(short, b'0', content);
    }
    out.resize(out.len() + 1024, 0);
    let (mut framer, mut framed) = (s2::Framer::default(), Vec::new());
    framer.write(&out, &mut framed);
    framer.finish(&mut framed);
    framed
}

/// The stream in `samples` in the old format, without the files of some names.
fn old_snapshot(without: &[&str]) -> Vec<u8> {
    let files = [
        ("meta.inf", samples::META),
        ("meta.sum", samples::META_SUM),
        ("msgs/1.blk", samples::BLOCK),
        ("msgs/index.db", samples::INDEX),
        ("obs/c/meta.inf", samples::CONSUMER_META),
        ("obs/c/meta.sum", samples::CONSUMER_META_SUM),
        ("obs/c/o.dat", samples::CONSUMER_STATE),
    ];
    let files = files
        .into_iter()
        .filter(|(name, _)| !without.contains(name));
    let files: Vec<_> = files
        .map(|(name, sample)| (name, samples::bytes(sample)))
        .collect();
    tar(&files)
}

#[test]
fn the_old_format_is_read() {
    for without in ["", "msgs/index.db"] {
        let snapshot = old_snapshot(&[without]);
        for pieces in [1, 100, 100_000] {
            let held = read(&snapshot, pieces).expect("it is whole");
            assert_eq!(held.messages, sample_messages());
            assert_eq!(held.end, Some((7, 1_795_268_888_756_443_111)));
            assert_eq!(
                held.meta.expect("there is one").created,
                1_795_268_888_738_095_414
            );
            assert_eq!(held.consumers.len(), 1);
            let file = samples::bytes(samples::CONSUMER_STATE);
            let state = filestore::read_consumer_state(&file);
            assert_eq!(Ok(held.consumers[0].state.clone()), state);
        }
    }
    let long = "x".repeat(120);
    let mut ignored = vec![(long.as_str(), Vec::new())];
    ignored.push(("meta.inf", samples::bytes(samples::META)));
    ignored.push(("meta.sum", samples::bytes(samples::META_SUM)));
    let held = read(&tar(&ignored), 50).expect("it is whole");
    assert_eq!(held.end, Some((0, 0)));
}

#[test]
fn what_is_wrong_with_the_old_format_is_said() {
    let meta = || ("meta.inf", samples::bytes(samples::META));
    let sum = || ("meta.sum", samples::bytes(samples::META_SUM));
    let block = |name: &'static str| (name, samples::bytes(samples::BLOCK));
    type Members<'a> = Vec<(&'a str, Vec<u8>)>;
    let cases: Vec<(&str, Members<'_>)> = vec![
        ("snapshot without a meta.inf", vec![]),
        (
            "block of messages in the wrong place",
            vec![block("msgs/1.blk")],
        ),
        (
            "record with a wrong checksum",
            vec![meta(), sum(), block("msgs/2.blk")],
        ),
        (
            "blocks of messages in the wrong order",
            vec![meta(), sum(), block("msgs/1.blk"), block("msgs/1.blk")],
        ),
        (
            "snapshot of a server before 2.10",
            vec![("msgs/1.idx", vec![])],
        ),
        (
            "the server that made the snapshot has failed",
            vec![("errors.txt", vec![])],
        ),
        (
            "meta.inf is not what meta.sum was made of",
            vec![meta(), ("meta.sum", vec![])],
        ),
        (
            "consumer without a meta.inf",
            vec![
                meta(),
                sum(),
                ("obs/c/o.dat", samples::bytes(samples::CONSUMER_STATE)),
            ],
        ),
    ];
    for (what, files) in cases {
        assert_eq!(
            read(&tar(&files), 100).map_err(|damage| damage.what),
            Err(what)
        );
    }
}

#[test]
fn damage_is_found_and_ends() {
    let mut random = Prng::new(9);
    let snapshots = [
        written(&mut random).0,
        samples::bytes(samples::SNAPSHOT),
        old_snapshot(&[]),
    ];
    for snapshot in snapshots {
        let whole = read(&snapshot, 1000).expect("it is whole");
        let mut plain = Vec::new();
        s2::decode_stream(&snapshot, 1 << 24, &mut plain).expect("it is whole");
        for _ in 0..200 {
            let cut = read(
                &snapshot[..random.below(snapshot.len() as u32) as usize],
                1000,
            );
            assert!(cut.is_err() || cut.is_ok_and(|held| held.end.is_none()));
            let mut bad = snapshot.clone();
            let at = random.below(bad.len() as u32) as usize;
            bad[at] ^= 1 << random.below(8);
            // One may be copied from further back in a run of what is equal.
            let mut decoded = Vec::new();
            let is_equal = s2::decode_stream(&bad, 1 << 24, &mut decoded).is_ok();
            let is_equal = is_equal && decoded == plain;
            assert!(
                read(&bad, 1000).as_ref() != Ok(&whole) || is_equal,
                "at {at}"
            );
        }
        // Past the framing: whatever is in it, reading ends.
        for _ in 0..300 {
            let mut bad = plain.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bad.len().min(3000) as u32) as usize;
                bad[at] = random.below(256) as u8;
            }
            let (mut framer, mut framed) = (s2::Framer::default(), Vec::new());
            framer.write(&bad, &mut framed);
            framer.finish(&mut framed);
            let mut reader = Reader::new("S");
            reader.push(&framed);
            while let Ok(Read::Item(_)) = reader.next_item() {}
        }
    }
}

/// The way out of a stream, noted.
#[derive(Default)]
struct Noted {
    /// Subject, reply, headers, payload.
    published: Vec<(String, String, String, Vec<u8>)>,
    is_heard: bool,
    is_full: bool,
    watched: i32,
}

impl Outlet for Noted {
    fn publish(&mut self, message: &Outgoing<'_>) -> Reached {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.published.push((
            text(message.to),
            text(message.reply),
            text(message.headers),
            message.payload.to_vec(),
        ));
        if self.is_full {
            Reached::Full
        } else {
            Reached::Somebody
        }
    }

    fn publish_durable(&mut self, _: &Outgoing<'_>) {
        unreachable!("chunks are not durable");
    }

    fn publish_anew(&mut self, _: &[u8], _: &[u8], _: &[u8], _: &[u8]) {
        unreachable!("chunks are no messages of clients");
    }

    fn has_interest(&mut self, _: &[u8]) -> bool {
        self.is_heard
    }

    fn watch_interest(&mut self, _: &[u8]) -> bool {
        self.watched += 1;
        self.is_heard
    }

    fn unwatch_interest(&mut self, _: &[u8]) {
        self.watched -= 1;
    }

    fn random(&mut self) -> u64 {
        4
    }
}

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, unix: 0 }
}

/// A snapshot of 40 messages of 3000 random bytes, to be sent in chunks of 1 KiB, four at a time.
fn sending(noted: &mut Noted) -> (Sending, Naive) {
    let mut random = Prng::new(2);
    let mut naive = Naive::new(true);
    for _ in 0..40 {
        let payload: Vec<u8> = (0..3000).map(|_| random.below(256) as u8).collect();
        let message = NewMessage {
            subject: b"s.1",
            headers: b"",
            payload: &payload,
            time: 1,
            flags: 0,
        };
        naive.append(&message).expect("it does");
    }
    let state = StreamState {
        first_seq: 1,
        last_seq: 40,
        ..StreamState::default()
    };
    let request = SnapshotRequest {
        deliver_subject: "_INBOX.x".into(),
        chunk_size: 10,
        window_size: 4 << 10,
        ..SnapshotRequest::default()
    };
    let writer = Writer::new(state, Vec::new(), 1);
    let sending = Sending::begin(&request, "S", "id", writer, at(1000), noted);
    (sending, naive)
}

#[test]
fn chunks_wait_for_acknowledgements_and_end_with_a_status() {
    let mut noted = Noted {
        is_heard: true,
        ..Noted::default()
    };
    let (mut sending, mut naive) = sending(&mut noted);
    let mut sent = sending.poll(at(1000), &mut naive, &mut noted);
    assert_eq!((sent, noted.published.len()), (Sent::Waiting, 4));
    assert_eq!(noted.published[0].1, "$JS.SNAPSHOT.ACK.S.id.1024.1");
    assert_eq!(noted.published[3].1, "$JS.SNAPSHOT.ACK.S.id.1024.4");
    let mut now = 1000;
    loop {
        now += 4000;
        let before = noted.published.len();
        sending.acknowledged();
        sent = sending.poll(at(now), &mut naive, &mut noted);
        match sent {
            Sent::Waiting => assert_eq!(noted.published.len(), before + 1),
            _ => break,
        }
    }
    assert_eq!((sent, noted.watched), (Sent::Ended(Ok(())), 0));
    let end = noted.published.pop().expect("there is one");
    assert_eq!(
        end,
        (
            "_INBOX.x".into(),
            String::new(),
            "NATS/1.0 204\r\n\r\n".into(),
            vec![]
        )
    );
    // Only what is full asks for an acknowledgement.
    assert_eq!(noted.published.last().expect("there is one").1, "");
    let snapshot: Vec<u8> = noted
        .published
        .iter()
        .flat_map(|chunk| chunk.3.clone())
        .collect();
    assert_eq!(
        read(&snapshot, 1024).expect("it is whole").messages.len(),
        40
    );
}

#[test]
fn a_client_that_does_not_answer_is_told_so() {
    let end = |noted: &Noted| noted.published.last().expect("there is one").2.clone();
    let failed = |why: &str| Sent::Ended(Err(why.to_owned()));
    let heard = || Noted {
        is_heard: true,
        ..Noted::default()
    };

    let mut noted = heard();
    let (mut sender, mut naive) = sending(&mut noted);
    assert_eq!(sender.poll(at(1000), &mut naive, &mut noted), Sent::Waiting);
    assert_eq!(sender.deadline(), 6000);
    assert_eq!(sender.poll(at(5999), &mut naive, &mut noted), Sent::Waiting);
    assert_eq!(
        sender.poll(at(6000), &mut naive, &mut noted),
        failed("no flow response")
    );
    assert_eq!(end(&noted), "NATS/1.0 408 No Flow Response\r\n\r\n");

    let mut noted = heard();
    let (mut sender, mut naive) = sending(&mut noted);
    assert_eq!(sender.poll(at(1000), &mut naive, &mut noted), Sent::Waiting);
    sender.interest_changed(at(1001), false);
    assert_eq!(
        sender.poll(at(1001), &mut naive, &mut noted),
        failed("no interest")
    );
    assert_eq!(end(&noted), "NATS/1.0 408 No Interest\r\n\r\n");

    // Interest may come late; after two seconds it is not waited for any more.
    let mut noted = Noted::default();
    let (mut sender, mut naive) = sending(&mut noted);
    assert_eq!(sender.poll(at(2999), &mut naive, &mut noted), Sent::Waiting);
    assert!(noted.published.is_empty() && sender.deadline() == 3000);
    assert_eq!(sender.poll(at(3000), &mut naive, &mut noted), Sent::Waiting);
    assert_eq!(noted.published.len(), 4);
    let mut noted = Noted::default();
    let (mut sender, mut naive) = sending(&mut noted);
    sender.interest_changed(at(1500), true);
    assert_eq!(sender.poll(at(1500), &mut naive, &mut noted), Sent::Waiting);
    assert_eq!(noted.published.len(), 4);

    let mut noted = heard();
    let (mut sender, mut naive) = sending(&mut noted);
    naive.damaged.insert(1);
    let why = "message 1 cannot be read";
    assert_eq!(sender.poll(at(1000), &mut naive, &mut noted), failed(why));
    assert_eq!(end(&noted), format!("NATS/1.0 500 {why}\r\n\r\n"));

    // A slow one is left alone for a turn after each chunk.
    let mut noted = heard();
    noted.is_full = true;
    let (mut sender, mut naive) = sending(&mut noted);
    naive.later.insert(2);
    assert_eq!(sender.poll(at(1000), &mut naive, &mut noted), Sent::Reading);
    naive.later.clear();
    assert_eq!(sender.poll(at(1000), &mut naive, &mut noted), Sent::Again);
    assert_eq!(noted.published.len(), 1);
}

#[test]
fn a_restore_answers_each_chunk_and_the_end() {
    let snapshot = samples::bytes(samples::SNAPSHOT);
    let mut noted = Noted::default();
    let mut receiving = Receiving::begin("$G", "S", "id", at(0));
    assert_eq!(receiving.subject(), "$JS.SNAPSHOT.RESTORE.S.id");
    let mut held = Held::default();
    let mut taken = |item: Item<'_>| {
        held.take(item);
        Ok(())
    };
    for (i, piece) in snapshot.chunks(100).enumerate() {
        receiving.arrived(at(4000 * i as u64), format!("r.{i}").as_bytes(), piece);
        let received = receiving.poll(at(4000 * i as u64), &mut noted, &mut taken);
        assert_eq!(
            (received, noted.published.len()),
            (Received::Waiting, i + 1)
        );
        let (to, reply, headers, payload) = noted.published[i].clone();
        assert_eq!(
            (to, reply, headers, payload),
            (format!("r.{i}"), "".into(), "".into(), vec![])
        );
    }
    receiving.arrived(at(1), b"r.end", b"");
    let received = receiving.poll(at(1), &mut noted, &mut taken);
    let reply = b"r.end".as_slice().into();
    assert_eq!(received, Received::Complete { reply });
    assert_eq!(
        (held.messages, held.end.is_some()),
        (sample_messages(), true)
    );
    assert_eq!(receiving.received_bytes(), snapshot.len() as u64);
}

#[test]
fn a_restore_says_why_it_fails() {
    let snapshot = samples::bytes(samples::SNAPSHOT);
    let fine = |_: Item<'_>| Ok(());
    let failed = |reply: &str, why: &str| Received::Failed {
        reply: reply.as_bytes().into(),
        why: why.to_owned(),
    };
    let begin = || (Receiving::begin("A", "S", "id", at(0)), Noted::default());

    let (mut receiving, mut noted) = begin();
    receiving.arrived(at(0), b"r", &snapshot[..300]);
    receiving.arrived(at(0), b"end", b"");
    let received = receiving.poll(at(0), &mut noted, &mut { fine });
    assert_eq!(received, failed("end", "backup was truncated"));

    let (mut receiving, mut noted) = begin();
    receiving.arrived(at(0), b"r", b"this is no snapshot");
    let received = receiving.poll(at(0), &mut noted, &mut { fine });
    assert_eq!(received, failed("r", "s2: corrupt input"));

    let (mut receiving, mut noted) = begin();
    receiving.arrived(at(0), b"r", &snapshot);
    let received = receiving.poll(at(0), &mut noted, &mut |_| Err("no room".to_owned()));
    assert_eq!(received, failed("r", "no room"));

    let (mut receiving, mut noted) = begin();
    receiving.arrived(at(0), b"", &snapshot);
    let received = receiving.poll(at(0), &mut noted, &mut { fine });
    let why = "restore for stream 'A > S' requires reply subject for each chunk";
    assert_eq!(received, failed("", why));

    let (mut receiving, mut noted) = begin();
    receiving.arrived(at(100), b"r", &snapshot);
    assert_eq!(
        receiving.poll(at(5000), &mut noted, &mut { fine }),
        Received::Waiting
    );
    assert_eq!(receiving.deadline(), 10_000);
    let received = receiving.poll(at(10_000), &mut noted, &mut { fine });
    assert_eq!(
        received,
        failed("", "restore for stream 'A > S' is stalled")
    );

    let (mut receiving, mut noted) = begin();
    for _ in 0..65 {
        receiving.arrived(at(0), b"r", &vec![0; 1 << 20]);
    }
    let received = receiving.poll(at(0), &mut noted, &mut { fine });
    assert_eq!(
        received,
        failed(
            "r",
            "restore for stream 'A > S' received more than was asked for"
        )
    );
}
