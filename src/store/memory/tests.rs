//! What the index's tests do not see: bytes that go, bytes that are moved, and notes.

use super::*;
use crate::base::prng::Prng;

fn append(stream: &mut Stream, payload: &[u8]) -> Seq {
    let message = NewMessage {
        subject: b"a.b",
        headers: b"NATS/1.0\r\nA: b\r\n\r\n",
        payload,
        time: 1,
        flags: 0,
    };
    stream.append(&message).unwrap()
}

fn payload(seq: Seq) -> Vec<u8> {
    vec![seq as u8; 100 + seq as usize % 2000]
}

#[test]
fn bytes_go_with_their_messages() {
    // One of so many messages stays.
    for stays in [1, 2, 10, 1000, u64::MAX] {
        let mut stream = Stream::new(SubjectHash::new(1));
        let mut live_bytes = 0;
        for seq in 1..=20_000 {
            assert_eq!(append(&mut stream, &payload(seq)), seq);
            if seq > 100 && (seq - 100) % stays != 0 {
                assert!(stream.remove(seq - 100, false));
            } else if seq > 100 {
                live_bytes += payload(seq - 100).len() as u64 + 42;
            }
            let held = stream.arena.held_bytes();
            assert!(
                held <= 2 * live_bytes + (2 << 20),
                "{held} for {live_bytes}"
            );
        }
        let first = stream.state().first_seq;
        for seq in first..=20_000 {
            match stream.get(seq) {
                Fetched::Here(stored) => assert_eq!(stored.payload, payload(seq), "{seq}"),
                other => {
                    let stayed = seq > 19_900 || seq % stays == 0;
                    assert!(other == Fetched::Gone && !stayed, "{seq}: {other:?}");
                }
            }
        }
        stream.purge(&mut Selection::everything(), Seq::MAX, 0);
        assert_eq!(stream.arena.held_bytes(), 0);
    }
}

#[test]
fn long_messages_have_room() {
    let mut stream = Stream::new(SubjectHash::new(1));
    let prng = &mut Prng::new(1);
    let lens: Vec<usize> = (0..20).map(|_| prng.below(2_000_000) as usize).collect();
    for (seq, &len) in (1..).zip(&lens) {
        assert_eq!(append(&mut stream, &vec![seq as u8; len]), seq);
    }
    for (seq, &len) in (1..).zip(&lens) {
        let Fetched::Here(stored) = stream.get(seq) else {
            panic!("{seq} is not there");
        };
        assert_eq!(stored.payload, vec![seq as u8; len]);
        assert_eq!(stored.headers, b"NATS/1.0\r\nA: b\r\n\r\n");
    }
}

#[test]
fn small_streams_are_small() {
    let mut stream = Stream::new(SubjectHash::new(1));
    append(&mut stream, b"hello");
    assert!(stream.arena.held_bytes() <= 4096);
}

#[test]
fn notes() {
    let mut stream = Stream::new(SubjectHash::new(1));
    let facts =
        |stream: &Stream, note| -> Vec<Vec<u8>> { stream.facts(note).map(Vec::from).collect() };
    assert_eq!(stream.note_bytes(0), 0);
    stream.note(0, b"one").unwrap();
    stream.note(7, b"seven").unwrap();
    stream.note(0, b"three").unwrap();
    assert_eq!(facts(&stream, 0), [b"one".to_vec(), b"three".to_vec()]);
    assert_eq!(stream.note_bytes(0), 8);
    stream.rewrite_note(0, b"both").unwrap();
    assert_eq!(stream.note_bytes(0), 0);
    stream.note(0, b"four").unwrap();
    assert_eq!(facts(&stream, 0), [b"both".to_vec(), b"four".to_vec()]);
    assert_eq!(stream.note_bytes(0), 4);
    stream.forget_note(0);
    assert!(facts(&stream, 0).is_empty());
    assert_eq!(stream.note_bytes(0), 0);
    assert_eq!(facts(&stream, 7), [b"seven".to_vec()]);
}
