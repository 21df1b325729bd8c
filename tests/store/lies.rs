//! Lies of a disk that are made for one purpose: what is told of them, and what they cost.

use skein::store::io::BLOCK_BYTES;
use skein::store::{Messages, NewMessage, Selection, StreamNumber, StreamOptions};

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
    let number = shell.store.create_stream(b"A/S", b"", options).unwrap();
    (shell, number)
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
