//! The readers, against files that nats-server has written.

use super::super::{Damage, Delivered, Position, samples};
use super::*;
use crate::base::prng::Prng;

fn records(block: &[u8]) -> Vec<String> {
    let records = Records::of(block, Checksum::of_block("S", 1));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    records
        .map(|record| match record {
            Ok(Record::Message {
                seq,
                time: _,
                subject,
                headers,
                payload,
            }) => format!(
                "{seq} {} {:?} {}",
                text(subject),
                text(headers),
                text(payload)
            ),
            Ok(Record::Nothing { seq, .. }) => format!("nothing {seq}"),
            Ok(Record::Tombstone { seq, .. }) => format!("tombstone {seq}"),
            Err(damage) => damage.to_string(),
        })
        .collect()
}

#[test]
fn blocks_are_records() {
    let block = samples::bytes(samples::BLOCK);
    let headers = r#""NATS/1.0\r\nA: b\r\n\r\n""#;
    let expected = [
        r#"1 s.1 "" payload 1"#.to_owned(),
        r#"2 s.0 "" payload 2"#.to_owned(),
        format!("3 s.1 {headers} payload 3"),
        r#"4 s.0 "" payload 4"#.to_owned(),
        "nothing 5".to_owned(),
        format!("6 s.0 {headers} payload 6"),
        r#"7 s.1 "" payload 7"#.to_owned(),
        "tombstone 2".to_owned(),
        "tombstone 5".to_owned(),
    ];
    assert_eq!(records(&block), expected);
    let mut all = Records::of(&block, Checksum::of_block("S", 1));
    let Some(Ok(Record::Message { time, .. })) = all.next() else {
        panic!("there is none");
    };
    assert_eq!(time, 1_795_268_888_742_320_214);
    assert_eq!(
        records(&block[..block.len() - 1])[8],
        "record cut short at offset 368"
    );
    assert!(Records::is_cut(&block[368..block.len() - 1]) && !Records::is_cut(&block[368..]));
    // The key of the checksum is made of the names.
    let other = Records::of(&block, Checksum::of_block("S", 2)).next();
    assert_eq!(
        other,
        Some(Err(Damage::at(0, "record with a wrong checksum")))
    );
}

#[test]
fn a_flipped_bit_of_a_block_costs_what_is_behind_it() {
    let block = samples::bytes(samples::BLOCK);
    let whole = records(&block);
    // nats-server's checksum is not over lengths: those of a subject without headers behind it, and of
    // headers, may change what is taken for what.
    let mut lengths = Vec::new();
    let mut all = Records::of(&block, Checksum::of_block("S", 1));
    loop {
        let begin = all.offset();
        match all.next() {
            None => break,
            Some(Ok(Record::Message {
                subject, headers, ..
            })) if !headers.is_empty() => {
                let begin = begin + RECORD_HEAD_BYTES + subject.len();
                lengths.extend(begin..begin + 4);
            }
            Some(_) => lengths.extend(begin + 20..begin + RECORD_HEAD_BYTES),
        }
    }
    for bit in 0..block.len() * 8 {
        let mut bad = block.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let read = records(&bad);
        let before = whole.iter().zip(&read).take_while(|(a, b)| a == b).count();
        let is_found = before + 1 == read.len() && read[before].contains("at offset");
        assert!(
            is_found || lengths.contains(&(bit / 8)),
            "bit {bit}: {read:?}"
        );
    }
}

#[test]
fn compressed_blocks_are_unpacked() {
    let plain = samples::bytes(samples::BLOCK);
    let (body, sum) = plain.split_at(plain.len() - CHECKSUM_BYTES);
    let mut framer = super::super::s2::Framer::default();
    let mut packed = b"cmp\x01".to_vec();
    super::super::varint::put_unsigned(&mut packed, plain.len() as u64);
    framer.write(body, &mut packed);
    framer.finish(&mut packed);
    packed.extend_from_slice(sum);
    assert_eq!(unpack(packed.clone()), Ok(plain.clone()));
    assert_eq!(unpack(plain.clone()), Ok(plain.clone()));
    for length in 6..packed.len() {
        assert!(
            unpack(packed[..length].to_vec()) != Ok(plain.clone()),
            "cut at {length}"
        );
    }
    for (at, what) in [
        (3, "block compressed in an unknown way at offset 3"),
        (
            4,
            "compressed block of another length than it says at offset 4",
        ),
        (7, "S2 frame too long at offset 6"),
    ] {
        let mut bad = packed.clone();
        bad[at] ^= 0x44;
        let error = unpack(bad).map_err(|damage| damage.to_string());
        assert!(error.is_err(), "{what}: {error:?}");
    }
}

#[test]
fn an_index_says_what_is_gone() {
    let file = samples::bytes(samples::INDEX);
    let index = Index::read(Index::verified(&file, "S").expect("it is whole")).expect("it is one");
    assert_eq!(
        (index.messages, index.bytes, index.first_seq, index.last_seq),
        (5, 254, 1, 7)
    );
    assert_eq!(
        (index.subjects, index.blocks.len(), index.last_block),
        (2, 1, 1)
    );
    assert_eq!(index.first_time, 1_795_268_888_742_320_214);
    assert_eq!(
        index.last_checksum,
        last_checksum(&samples::bytes(samples::BLOCK))
    );
    let gone: Vec<_> = index.gone().iter().collect();
    assert_eq!(gone, [(0, 0), (2, 2), (5, 5)]);
    assert!(Index::verified(&file, "T").is_err());
}

#[test]
fn a_damaged_index_is_none() {
    let file = samples::bytes(samples::INDEX);
    let plain = Index::verified(&file, "S").expect("it is whole");
    let mut random = Prng::new(1);
    for length in 0..plain.len() {
        assert!(Index::read(&plain[..length]).is_err(), "cut at {length}");
    }
    for bit in 0..file.len() * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Index::verified(&bad, "S").is_err(), "bit {bit}");
        // Even if the checksum were right, it is read to some end.
        bad[random.below(40) as usize] = random.below(256) as u8;
        if let Ok(index) = Index::read(&bad) {
            index.gone();
        }
    }
}

#[test]
fn a_consumer_s_state_is_what_it_was() {
    let state = read_consumer_state(&samples::bytes(samples::CONSUMER_STATE)).expect("it is one");
    let position = |consumer_seq, stream_seq| Position {
        consumer_seq,
        stream_seq,
    };
    assert_eq!(state.ack_floor, position(2, 3));
    assert_eq!(state.delivered, position(6, 7));
    let delivered = |consumer_seq| Delivered {
        consumer_seq,
        time: 1_795_268_888_000_000_000,
    };
    let pending: Vec<_> = state.pending.iter().map(|(&seq, &at)| (seq, at)).collect();
    assert_eq!(
        pending,
        [(4, delivered(3)), (6, delivered(5)), (7, delivered(6))]
    );
    assert!(state.redelivered.is_empty());
    assert_eq!(read_consumer_state(&[]), Ok(Default::default()));
}

#[test]
fn a_damaged_state_is_none_and_takes_no_memory() {
    let file = samples::bytes(samples::CONSUMER_STATE);
    for length in 1..file.len() {
        assert!(
            read_consumer_state(&file[..length]).is_err(),
            "cut at {length}"
        );
    }
    let mut random = Prng::new(2);
    for _ in 0..20_000 {
        let mut bad = file.clone();
        for _ in 0..1 + random.below(4) {
            let at = 2 + random.below(bad.len() as u32 - 2) as usize;
            bad[at] = random.below(256) as u8;
        }
        if let Ok(state) = read_consumer_state(&bad) {
            assert!(state.pending.len() + state.redelivered.len() < bad.len());
        }
    }
}

#[test]
fn meta_says_when_and_what() {
    let (meta, sum) = (
        samples::bytes(samples::META),
        samples::bytes(samples::META_SUM),
    );
    let checksum = Checksum::of_stream("S");
    assert_eq!(verify_meta(&meta, &sum, &checksum), Ok(()));
    let read = read_meta(&meta).expect("it is one");
    assert_eq!(
        (read.created, read.name.as_str()),
        (1_795_268_888_738_095_414, "S")
    );
    assert!(
        read.config_json
            .starts_with(r#"{"name":"S","subjects":["s.>"],"#),
        "{}",
        read.config_json
    );

    for bad in [
        &sum[..15],
        b"",
        b"7b5b05f2078bf79cc",
        b"7b5b05f2078bf79d",
        b"xb5b05f2078bf79c",
    ] {
        assert!(verify_meta(&meta, bad, &checksum).is_err());
    }
    assert!(verify_meta(&meta[1..], &sum, &checksum).is_err());

    let meta = samples::bytes(samples::CONSUMER_META);
    let sum = samples::bytes(samples::CONSUMER_META_SUM);
    assert_eq!(
        verify_meta(&meta, &sum, &Checksum::of_consumer("S", "c")),
        Ok(())
    );
    let read = read_meta(&meta).expect("it is one");
    assert_eq!(
        (read.created, read.name.as_str()),
        (1_795_268_888_759_533_878, "c")
    );
    assert!(
        read.config_json
            .starts_with(r#"{"durable_name":"c","name":"c","#),
        "{}",
        read.config_json
    );
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"Created":1,"name":"a"}"#,
        r#"{"Created":"now","name":"a"}"#,
    ] {
        assert!(read_meta(bad.as_bytes()).is_err(), "{bad}");
    }
}
