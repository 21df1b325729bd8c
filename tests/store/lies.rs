//! Lies of a disk that are made for one purpose: what is told of them, and what they cost.

use skein::store::io::BLOCK_BYTES;
use skein::store::{Fetched, Messages, NewMessage, Selection, StreamNumber, StreamOptions};

use crate::report::Report;
use crate::shell::Shell;

fn append(shell: &mut Shell, number: StreamNumber, payload: &[u8]) {
    let message = NewMessage {
        subject: b"a",
        headers: b"",
        payload,
        time: 7,
        flags: 0,
    };
    let mut stream = shell.store.stream(number).expect("it is there");
    stream.append(&message).expect("there is room");
}

fn with_stream(seed: u64) -> (Shell, StreamNumber) {
    let mut shell = Shell::new(seed);
    let options = StreamOptions::default();
    let number = shell.store.create_stream(b"A/S", b"", options);
    (shell, number.expect("there is room"))
}

/// The file whose first block is not what it was.
fn changed(shell: &Shell, before: &std::collections::BTreeMap<String, Vec<u8>>) -> String {
    let now = shell.disk.first_blocks();
    let mut changed = now.iter().filter(|(name, block)| {
        name.starts_with("segment")
            && block.iter().any(|&byte| byte != 0)
            && before.get(*name) != Some(block)
    });
    changed.next().expect("one was begun").0.clone()
}

#[test]
fn a_write_that_a_power_cut_has_torn_is_not_damage_when_the_next_list_of_segments_is_lost() {
    let mut torn = 0;
    for seed in 0..60 {
        let (mut shell, number) = with_stream(seed);
        for i in 0..5u8 {
            append(&mut shell, number, &[i; 3000]);
            shell.settle();
        }
        append(&mut shell, number, &[5; 30_000]);
        shell.begin();
        let before = shell.disk.first_blocks();
        shell.reopen_after_power_cut();
        assert_eq!(shell.log(), Vec::<String>::new(), "seed {seed}");
        let last = shell.store.stream(number).unwrap().state().last_seq;
        torn += u32::from(last == 5);
        // The first frame of what is begun now holds the list, and will be lost.
        for payload in [[7; 100], [8; 100], [9; 100]] {
            append(&mut shell, number, &payload);
            shell.settle();
        }
        let file = changed(&shell, &before);
        shell.disk.cut_power();
        shell.disk.overwrite(&file, 0, &[0; BLOCK_BYTES]);
        shell.reopen();
        let log = shell.log();
        let report = Report::of(&log);
        assert_eq!(
            report.damages,
            [(file, 0, BLOCK_BYTES)],
            "seed {seed}: {log:?}"
        );
        let there: Vec<bool> = (1..=last + 3)
            .map(|seq| shell.get(number, seq).is_some())
            .collect();
        let mut expected = vec![true; last as usize + 3];
        expected[last as usize] = false;
        assert_eq!(there, expected, "seed {seed}: {log:?}");
    }
    assert!(torn > 20, "{torn}");
}

#[test]
fn a_segment_of_which_nothing_is_left_is_missed_even_when_the_next_list_of_segments_is_lost() {
    let (mut shell, number) = with_stream(1);
    append(&mut shell, number, b"first");
    shell.settle();
    let mut begun = Vec::new();
    for payload in [b"second", b"third "] {
        let before = shell.disk.first_blocks();
        shell.reopen_after_power_cut();
        for _ in 0..3 {
            append(&mut shell, number, payload);
            shell.settle();
        }
        begun.push(changed(&shell, &before));
    }
    shell.disk.cut_power();
    shell.disk.overwrite(&begun[0], 0, &[0; 3 * BLOCK_BYTES]);
    shell.disk.overwrite(&begun[1], 0, &[0; BLOCK_BYTES]);
    shell.reopen();
    let log = shell.log();
    let report = Report::of(&log);
    assert_eq!(report.missing, [3 * BLOCK_BYTES], "{log:?}");
    assert_eq!(
        report.damages,
        [(begun[1].clone(), 0, BLOCK_BYTES)],
        "{log:?}"
    );
    let there = (1..=7).filter(|&seq| shell.get(number, seq).is_some());
    assert_eq!(there.collect::<Vec<_>>(), [1, 6, 7], "{log:?}");
}

/// What stands in the first block of a file after its first write there was lost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    /// Nothing: the file was new.
    Zeroes,
    /// What was there in an earlier life.
    Old,
}

#[test]
fn a_segment_whose_first_write_was_lost_costs_no_more_than_that() {
    let payload = [9; 10_000];
    // Which of the segments it is: the oldest, one between, or the newest.
    let mut old_ones = 0;
    for (which, left) in (0..5).flat_map(|which| [(which, Left::Zeroes), (which, Left::Old)]) {
        let (mut shell, number) = with_stream(1);
        // The files have a life behind them.
        for _ in 0..300 {
            append(&mut shell, number, &payload);
            shell.settle();
        }
        let old = shell.disk.first_blocks();
        let everything = &mut Selection::everything();
        let mut stream = shell.store.stream(number).unwrap();
        assert_eq!(stream.purge(everything, u64::MAX, 0), 300);
        for _ in 0..200 {
            shell.settle();
            shell.pass_time();
        }
        assert_eq!(shell.store.usage().segments, 1);
        let mut begun = Vec::new();
        let mut known = shell.disk.first_blocks();
        for _ in 0..390 {
            append(&mut shell, number, &payload);
            shell.settle();
            let now = shell.disk.first_blocks();
            if now != known {
                begun.push(changed(&shell, &known));
                known = now;
            }
        }
        assert_eq!(begun.len(), 5, "{begun:?}");
        let file = &begun[which];
        shell.disk.cut_power();
        let block = match left {
            Left::Zeroes => vec![0; BLOCK_BYTES],
            Left::Old => match old.get(file) {
                Some(block) if block.iter().any(|&byte| byte != 0) => block.clone(),
                _ => continue,
            },
        };
        old_ones += u32::from(left == Left::Old);
        shell.disk.overwrite(file, 0, &block);
        shell.reopen();
        let log = shell.log();
        let report = Report::of(&log);
        assert!(report.missing.is_empty(), "{which}, {left:?}: {log:?}");
        let lost = (301..=690).filter(|&seq| shell.get(number, seq).is_none());
        let lost = lost.count();
        assert!(lost <= 1, "{which}, {left:?}: {lost} are lost, {log:?}");
        for _ in 0..300 {
            append(&mut shell, number, &payload);
            shell.settle();
            shell.pass_time();
        }
        shell.reopen_after_power_cut();
        let lost = (301..=990).filter(|&seq| shell.get(number, seq).is_none());
        let lost = lost.count();
        assert!(
            lost <= 1,
            "{which}, {left:?}: {lost} are lost later, {log:?}"
        );
    }
    assert!(old_ones >= 2, "{old_ones}");
}

/// Where some bytes are.
fn place_of(shell: &Shell, bytes: &[u8]) -> (String, usize) {
    let place = shell.disk.find(bytes).expect("it is on the disk");
    assert!(place.0.starts_with("segment"));
    place
}

/// Flips a bit.
fn flip(shell: &mut Shell, (name, at): (&str, usize), bit: u32) {
    let byte = shell.disk.content(name, at..at + 1)[0];
    shell.disk.overwrite(name, at, &[byte ^ 1 << bit]);
}

#[test]
fn a_message_whose_length_is_bad_is_not_erased_and_its_neighbours_stay() {
    for bit in 3..20 {
        let (mut shell, number) = with_stream(u64::from(bit));
        let secret: Vec<u8> = (0..900u32).map(|i| (i * 7 + 13) as u8 | 1).collect();
        for i in 0..20u8 {
            let other = [i; 400];
            append(&mut shell, number, if i == 5 { &secret } else { &other });
        }
        shell.settle();
        append(&mut shell, number, &[20; 400]);
        shell.settle();
        // Before the payload are a subject of one byte and a head of 36; length and kind are its second word.
        let (name, payload) = place_of(&shell, &secret);
        let word = payload - 37 + 4;
        flip(&mut shell, (&name, word + bit as usize / 8), bit % 8);
        let mut stream = shell.store.stream(number).unwrap();
        assert!(stream.remove(6, true));
        shell.settle();
        let log = shell.log();
        assert!(
            log.iter()
                .any(|line| line.contains("its bytes may survive")),
            "bit {bit}: {log:?}"
        );
        shell.reopen_after_power_cut();
        shell.settle();
        let log = shell.log();
        assert_eq!(Report::of(&log).damages.len(), 1, "bit {bit}: {log:?}");
        for seq in (1..=21).filter(|&seq| seq != 6) {
            let there = shell.get(number, seq).map(|(_, payload)| payload);
            assert_eq!(there, Some(vec![seq as u8 - 1; 400]), "bit {bit}: {seq}");
        }
    }
}

#[test]
fn damage_beside_a_message_whose_erasure_was_cut_off_is_told() {
    // What is flipped as well: the message behind, one further on, or the length of the erased one.
    let mut torn = [0; 3];
    for (seed, what) in (0..60).flat_map(|seed| [(seed, 0), (seed, 1), (seed, 2)]) {
        let (mut shell, number) = with_stream(seed);
        let secret: Vec<u8> = (0..3000u32).map(|i| (i * 7 + 13) as u8 | 1).collect();
        for i in 0..6u8 {
            let other = [i; 500];
            append(&mut shell, number, if i == 1 { &secret } else { &other });
        }
        shell.settle();
        let (name, payload) = place_of(&shell, &secret);
        let behind = place_of(&shell, &[2; 500]).1;
        let further = place_of(&shell, &[4; 500]).1;
        assert!(shell.store.stream(number).unwrap().remove(2, true));
        let place = payload..payload + secret.len();
        let mut turns = 0;
        loop {
            shell.begin();
            if shell.disk.is_writing(&name, payload) || turns == 30 {
                break;
            }
            shell.turn();
            turns += 1;
        }
        shell.disk.cut_power();
        let left = shell.disk.content(&name, place.clone());
        let zeroes = left.iter().filter(|&&byte| byte == 0).count();
        if !(1..secret.len()).contains(&zeroes) {
            continue;
        }
        torn[what] += 1;
        let (at, lost) = match what {
            0 => (behind + 100, Some(3)),
            1 => (further + 100, Some(5)),
            _ => (payload - 37 + 4, None),
        };
        flip(&mut shell, (&name, at), 4);
        shell.reopen();
        let log = shell.log();
        let report = Report::of(&log);
        let damages: Vec<bool> = report
            .damages
            .iter()
            .map(|(_, from, to)| (*from..*to).contains(&at) && *from > payload + secret.len())
            .collect();
        let expected = vec![true; usize::from(lost.is_some())];
        assert_eq!(damages, expected, "seed {seed}, {what}: {log:?}");
        for _ in 0..2 {
            shell.settle();
            for seq in (1..=6).filter(|&seq| seq != 2 && Some(seq) != lost) {
                let there = shell.get(number, seq).map(|(_, payload)| payload);
                let payload = Some(vec![seq as u8 - 1; 500]);
                assert_eq!(there, payload, "seed {seed}, {what}: {seq}");
            }
            let left = shell.disk.content(&name, place.clone());
            assert!(left.iter().all(|&byte| byte == 0), "seed {seed}, {what}");
            shell.reopen_after_power_cut();
        }
    }
    assert!(torn.iter().all(|&torn| torn > 10), "{torn:?}");
}

#[test]
fn however_much_is_lost_all_of_it_is_told() {
    let (mut shell, number) = with_stream(1);
    for _ in 0..400 {
        append(&mut shell, number, &[5; 3000]);
        shell.settle();
    }
    shell.disk.cut_power();
    // In each frame, a bit of its first record.
    let mut flipped = 0;
    for (name, _) in shell.disk.first_blocks() {
        for at in (0..1 << 20).step_by(BLOCK_BYTES) {
            if shell.disk.content(&name, at..at + 4) == b"SKJ1" {
                flip(&mut shell, (&name, at + 64 + 20), 0);
                flipped += 1;
            }
        }
    }
    assert!(flipped >= 400);
    shell.reopen();
    let log = shell.log();
    // The last one might not have been finished.
    assert_eq!(Report::of(&log).damages.len(), flipped - 1, "{log:?}");
}

#[test]
fn what_there_was_no_room_to_say_is_counted() {
    let (mut shell, number) = with_stream(1);
    for i in 0..400u32 {
        append(
            &mut shell,
            number,
            &[&[9; 40][..], &i.to_le_bytes()].concat(),
        );
    }
    shell.settle();
    shell.reopen_after_power_cut();
    for i in 0..400u32 {
        let (name, at) = place_of(&shell, &[&[9; 40][..], &i.to_le_bytes()].concat());
        flip(&mut shell, (&name, at), 2);
    }
    assert!(shell.try_get(number, 1).is_err());
    for seq in 2..=400 {
        let mut stream = shell.store.stream(number).unwrap();
        while matches!(stream.get(seq), Fetched::Later) {
            // The log is not taken in between.
            shell.turn_quietly();
            stream = shell.store.stream(number).unwrap();
        }
    }
    let log = shell.log();
    let told = Report::of(&log).damaged.len();
    let more = log
        .iter()
        .filter_map(|line| line.strip_prefix("store: and ")?.strip_suffix(" more"));
    let more: usize = more.map(|count| count.parse::<usize>().unwrap()).sum();
    assert!(more > 100, "{log:?}");
    assert_eq!(told + more, 400);
}
