//! What a full disk must not break.

use skein::store::{Messages, NewMessage, Options, Refused, StreamNumber, StreamOptions};

use crate::shell::Shell;

const MIB: u64 = 1 << 20;

fn message(payload: &[u8]) -> NewMessage<'_> {
    NewMessage {
        subject: b"a",
        headers: b"",
        payload,
        time: 7,
        flags: 0,
    }
}

/// A store with one stream on a disk of that size.
fn shell_on(capacity: u64) -> (Shell, StreamNumber) {
    let mut options = Options::new(1);
    options.segment_bytes = MIB;
    options.room_bytes = capacity;
    let mut shell = Shell::with(1, options);
    shell.disk.faults.capacity = Some(capacity);
    let options = StreamOptions::default();
    let number = shell.store.create_stream(b"A/S", b"", options).unwrap();
    (shell, number)
}

/// Appends until nothing more is taken; gives how many were.
fn fill(shell: &mut Shell, number: StreamNumber, payload: &[u8], at_once: usize) -> u64 {
    let mut taken = 0;
    let mut refused = 0;
    // What is refused while the disk is asked for room is tried again.
    while refused < 5 {
        for _ in 0..at_once {
            match shell
                .store
                .stream(number)
                .unwrap()
                .append(&message(payload))
            {
                Ok(_) => {
                    taken += 1;
                    refused = 0;
                }
                Err(why) => {
                    assert_eq!(why, Refused::Full);
                    refused += 1;
                }
            }
        }
        go_on(shell, 2);
    }
    taken
}

/// Lets time pass, and everything be done that can be.
fn go_on(shell: &mut Shell, times: usize) {
    for _ in 0..times {
        shell.settle();
        shell.pass_time();
    }
    shell.settle();
}

/// Whether all that was accepted is on stable storage.
fn is_durable(shell: &Shell) -> bool {
    shell.store.durable() == shell.store.position()
}

#[test]
fn what_was_taken_is_written_however_much_came_at_once() {
    for (payload, at_once) in [
        (100, 1),
        (100, 3000),
        (4000, 16),
        (4000, 2000),
        (60_000, 100),
    ] {
        let (mut shell, number) = shell_on(12 * MIB);
        let taken = fill(&mut shell, number, &vec![1; payload], at_once);
        let case = format!("{at_once} of {payload} bytes: {taken} taken");
        assert!(is_durable(&shell), "{case}");
        // One block each, where they come one by one.
        let blocks = taken * (payload as u64).max(4096 / at_once as u64);
        assert!(blocks > 5 * MIB, "{case}");
        shell.reopen_after_power_cut();
        let state = *shell.store.stream(number).unwrap().state();
        assert_eq!(state.messages, taken, "{case}");
    }
}

#[test]
fn each_message_can_be_removed_on_a_full_disk_one_flush_after_the_other() {
    for payload in [50, 900, 4000] {
        for step in [1, 2] {
            let (mut shell, number) = shell_on(10 * MIB);
            let taken = fill(&mut shell, number, &vec![1; payload], 50);
            // Every second one is what gives least: no segment is ever without any.
            for seq in (1..=taken.min(4000)).step_by(step) {
                let mut stream = shell.store.stream(number).unwrap();
                stream.remove(seq, false);
                // A consumer's acknowledgement, as it is noted and now and then rewritten.
                if stream.note_bytes(1) > 10_000 {
                    stream.rewrite_note(1, &seq.to_le_bytes()).unwrap();
                } else {
                    let noted = stream.note(1, &seq.to_le_bytes());
                    assert_eq!(
                        noted,
                        Ok(()),
                        "{payload} bytes, step {step}, {seq} of {taken}"
                    );
                }
                shell.settle();
                if !is_durable(&shell) {
                    go_on(&mut shell, 40);
                }
                assert!(
                    is_durable(&shell),
                    "{payload} bytes, step {step}, {seq} of {taken}"
                );
            }
        }
    }
}

#[test]
fn half_of_the_messages_give_half_of_the_space() {
    let (mut shell, number) = shell_on(16 * MIB);
    let taken = fill(&mut shell, number, &[1; 1000], 50);
    for seq in (1..=taken).step_by(2) {
        assert!(shell.store.stream(number).unwrap().remove(seq, false));
    }
    go_on(&mut shell, 2000);
    assert!(is_durable(&shell));
    let again = fill(&mut shell, number, &[1; 1000], 50);
    assert!(again * 3 > taken, "{again} after {taken}");
    shell.reopen_after_power_cut();
    let state = *shell.store.stream(number).unwrap().state();
    assert_eq!(state.messages, taken / 2 + again);
}

#[test]
fn restarts_on_a_full_disk_use_up_nothing() {
    let (mut shell, number) = shell_on(10 * MIB);
    let mut taken = fill(&mut shell, number, &[1; 1000], 50);
    shell.options.room_bytes = 0;
    for i in 0..20 {
        shell.reopen_after_power_cut();
        taken += fill(&mut shell, number, &[1; 1000], 50);
        assert!(is_durable(&shell), "restart {i}");
        let mut stream = shell.store.stream(number).unwrap();
        assert_eq!(stream.note(1, b"fact"), Ok(()), "restart {i}");
        go_on(&mut shell, 10);
        assert!(is_durable(&shell), "restart {i}");
    }
    let mut selection = skein::store::Selection::everything();
    let mut stream = shell.store.stream(number).unwrap();
    assert_eq!(stream.purge(&mut selection, u64::MAX, 10), taken - 10);
    go_on(&mut shell, 100);
    assert!(is_durable(&shell));
    assert!(fill(&mut shell, number, &[1; 1000], 50) > 3000);
}

#[test]
fn a_fact_too_long_for_what_is_left_is_refused_and_holds_nothing_up() {
    let (mut shell, number) = shell_on(10 * MIB);
    fill(&mut shell, number, &[1; 1000], 50);
    let mut stream = shell.store.stream(number).unwrap();
    let long = vec![1; 3 << 20];
    assert_eq!(stream.note(1, &long), Err(Refused::Full));
    assert_eq!(stream.note(1, b"short"), Ok(()));
    assert!(stream.remove(1, false));
    shell.settle();
    assert!(is_durable(&shell));
}

#[test]
fn room_that_another_program_makes_is_found() {
    let (mut shell, number) = shell_on(10 * MIB);
    fill(&mut shell, number, &[1; 1000], 50);
    assert_eq!(shell.store.refusal(), Some(Refused::Full));
    shell.store.take_news();
    shell.disk.faults.capacity = Some(20 * MIB);
    go_on(&mut shell, 10);
    assert_eq!(shell.store.refusal(), None);
    assert!(shell.store.take_news().space);
    let more = fill(&mut shell, number, &[1; 1000], 50);
    assert!(more > 8000, "{more}");
}
