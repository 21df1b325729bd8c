//! Random operations against the naive model, through the memory kind: it adds nothing but bytes.

use super::*;
use crate::base::prng::Prng;
use crate::store::memory::Stream;
use crate::store::naive::Naive;
use crate::store::{Messages, NewMessage};

/// How a run's streams look.
struct Regime {
    /// Tokens at each of three levels.
    tokens: [u32; 3],
    /// One operation in so many removes.
    removes_one_in: u32,
    /// One operation in so many skips.
    skips_one_in: u32,
    /// How far.
    skip_max: u64,
    purges_one_in: u32,
    /// Longest time between messages.
    step_max: u64,
    /// Removed messages are near the first.
    front: bool,
}

const REGIMES: &[Regime] = &[
    Regime {
        tokens: [2, 3, 3],
        removes_one_in: 4,
        skips_one_in: 20,
        skip_max: 40,
        purges_one_in: 200,
        step_max: 1 << 20,
        front: false,
    },
    Regime {
        tokens: [1, 1, 2],
        removes_one_in: 3,
        skips_one_in: 500,
        skip_max: 5,
        purges_one_in: 1500,
        step_max: 1 << 40,
        front: false,
    },
    Regime {
        tokens: [3, 8, 200],
        removes_one_in: 2,
        skips_one_in: 100,
        skip_max: 1 << 34,
        purges_one_in: 500,
        step_max: 1 << 33,
        front: false,
    },
    Regime {
        tokens: [2, 2, 1000],
        removes_one_in: 2,
        skips_one_in: 1000,
        skip_max: 3,
        purges_one_in: 3000,
        step_max: 10,
        front: true,
    },
    Regime {
        tokens: [1, 2, 2],
        removes_one_in: 3,
        skips_one_in: 3,
        skip_max: 20,
        purges_one_in: 5000,
        step_max: 1000,
        front: false,
    },
];

fn subject(prng: &mut Prng, regime: &Regime) -> String {
    let [a, b, c] = regime.tokens.map(|tokens| prng.below(tokens));
    match prng.below(10) {
        0 => format!("{a}"),
        1..3 => format!("{a}.{b}"),
        _ => format!("{a}.{b}.{c}"),
    }
}

fn patterns(prng: &mut Prng, regime: &Regime) -> Vec<String> {
    let some = prng.below(4);
    let mut patterns = Vec::new();
    for _ in 0..some {
        let mut tokens: Vec<String> = subject(prng, regime).split('.').map(String::from).collect();
        for token in &mut tokens {
            if prng.one_in(3) {
                *token = "*".into();
            }
        }
        if prng.one_in(3) {
            tokens.truncate(1 + prng.below(tokens.len() as u32) as usize);
            tokens.push(">".into());
        }
        patterns.push(tokens.join("."));
    }
    patterns
}

struct Pair {
    naive: Naive,
    stream: Stream,
    /// Used again and again: what they remember must stay right.
    selections: Vec<Selection>,
    prng: Prng,
    time: i64,
}

impl Pair {
    fn some_seq(&mut self) -> Seq {
        let state = self.naive.state;
        let span = (state.last_seq + 1 - state.first_seq) + 4;
        let seqs: Vec<Seq> = match self.prng.below(3) {
            0 => vec![(state.first_seq + self.prng.next_u64() % span).saturating_sub(2)],
            1 => vec![
                state.first_seq,
                state.last_seq,
                state.last_seq + 1,
                0,
                Seq::MAX,
            ],
            _ => {
                let nth = self.prng.next_u64() as usize % (self.naive.messages.len() + 1);
                self.naive
                    .messages
                    .keys()
                    .skip(nth)
                    .take(1)
                    .copied()
                    .collect()
            }
        };
        let pick = self.prng.below(seqs.len().max(1) as u32) as usize;
        seqs.get(pick).copied().unwrap_or(state.first_seq)
    }

    fn change(&mut self, regime: &Regime) {
        let prng = &mut self.prng;
        if prng.one_in(regime.purges_one_in) {
            let below = match prng.below(4) {
                0 => Seq::MAX,
                1 => self
                    .naive
                    .state
                    .last_seq
                    .saturating_add(prng.next_u64() % 5),
                _ => self.some_seq(),
            };
            let prng = &mut self.prng;
            let keep = if prng.one_in(2) {
                0
            } else {
                prng.next_u64() % 2000
            };
            // Everything goes past the end: not when that is near the last sequence of all.
            let below = if below < Seq::MAX {
                below.min(1 << 62)
            } else {
                below
            };
            let pick = prng.below(self.selections.len() as u32) as usize;
            let selection = &mut self.selections[pick];
            let expected = self.naive.purge(selection, below, keep);
            let bytes = self.naive.state.bytes;
            assert_eq!(self.stream.purge(selection, below, keep), expected);
            assert_eq!(self.stream.state().bytes, bytes);
        } else if prng.one_in(regime.skips_one_in) {
            let last = self.naive.state.last_seq + prng.next_u64() % regime.skip_max;
            self.naive.skip_to(last, self.time).unwrap();
            self.stream.skip_to(last, self.time).unwrap();
        } else if prng.one_in(regime.removes_one_in) {
            let seq = if regime.front {
                self.naive.state.first_seq + prng.next_u64() % 3
            } else {
                self.some_seq()
            };
            assert_eq!(
                self.stream.remove(seq, false),
                self.naive.remove(seq, false)
            );
        } else {
            let subject = subject(prng, regime);
            self.time += (prng.next_u64() % regime.step_max) as i64;
            let message = NewMessage {
                subject: subject.as_bytes(),
                headers: &b"NATS/1.0\r\n\r\n"[..if prng.one_in(2) { 12 } else { 0 }],
                payload: &subject.as_bytes()[..prng.below(subject.len() as u32 + 1) as usize],
                time: self.time,
                flags: if prng.one_in(20) {
                    prng.below(16) as u8
                } else {
                    0
                },
            };
            let stored = self.stream.append(&message);
            assert_eq!(stored, self.naive.append(&message));
        }
        assert_eq!(self.stream.state(), self.naive.state());
    }

    fn compare(&mut self, regime: &Regime) {
        let (seq, other) = (self.some_seq(), self.some_seq());
        let pick = self.prng.below(self.selections.len() as u32) as usize;
        if self.prng.one_in(50) {
            self.selections[pick] = Selection::of(&patterns(&mut self.prng, regime));
        }
        let selection = &mut self.selections[pick];
        let (naive, stream) = (&mut self.naive, &mut self.stream);
        let what = format!("{:?} {seq}", selection.patterns());
        assert_eq!(
            stream.next(selection, seq),
            naive.next(selection, seq),
            "{what}"
        );
        assert_eq!(
            stream.last(selection, seq),
            naive.last(selection, seq),
            "{what}"
        );
        assert_eq!(
            stream.pending(selection, seq),
            naive.pending(selection, seq),
            "{what}"
        );
        assert_eq!(stream.get(seq), naive.get(seq));
        let naive = &self.naive;
        let subject = naive
            .messages
            .get(&seq)
            .map_or(&b"0"[..], |message| &message.subject);
        assert_eq!(stream.subject(subject), naive.subject(subject));
        assert_eq!(stream.time_of(seq), naive.time_of(seq));
        let flags = self.prng.below(16) as u8;
        assert_eq!(
            stream.next_flagged(flags, seq),
            naive.next_flagged(flags, seq)
        );
        let time = naive.time_of(other).unwrap_or(self.time) + i64::from(self.prng.below(3)) - 1;
        assert_eq!(stream.at_or_after(time), naive.at_or_after(time), "{time}");
        if self.prng.one_in(10) {
            let max = self.prng.below(300) as usize;
            assert_eq!(stream.holes(max), naive.holes(max));
            let (first, last) = (seq.min(other), seq.max(other));
            let before = (1, naive.state.first_seq - 1);
            let all = std::iter::once(before).chain(naive.holes(usize::MAX));
            let cut = all.map(|(from, to)| (from.max(first), to.min(last)));
            let expected: Vec<_> = cut.filter(|(from, to)| from <= to).take(max).collect();
            let got = stream.index.holes_between(first, last, max);
            assert_eq!(got, expected, "{first} to {last}");
            assert_eq!(
                stream.last_of_each(selection, seq, max),
                naive.last_of_each(selection, seq, max)
            );
            assert_eq!(
                stream.count_subjects(selection),
                naive.count_subjects(selection)
            );
            let subjects = |messages: &dyn Messages, selection: &mut Selection| {
                let mut subjects = Vec::new();
                messages.each_subject(selection, &mut |subject, state| {
                    subjects.push((subject.to_vec(), state.messages, state.first, state.last));
                });
                subjects.sort();
                subjects
            };
            assert_eq!(subjects(stream, selection), subjects(naive, selection));
        }
    }
}

fn run(regime: &Regime, seed: u64, operations: u32) {
    let mut prng = Prng::new(seed);
    let selections = (0..6).map(|_| Selection::of(&patterns(&mut prng, regime)));
    let mut pair = Pair {
        selections: selections.chain([Selection::everything()]).collect(),
        naive: Naive::new(false),
        stream: Stream::new(SubjectHash::new(seed)),
        time: 1_700_000_000_000_000_000,
        prng: Prng::new(seed + 1),
    };
    if seed % 4 == 3 {
        pair.naive.skip_to(1 << 60, 0).unwrap();
        pair.stream.skip_to(1 << 60, 0).unwrap();
    }
    for _ in 0..operations {
        pair.change(regime);
        if pair.prng.one_in(4) {
            pair.compare(regime);
        }
    }
}

#[test]
fn against_the_naive_model() {
    for seed in 0..8 {
        for (number, regime) in REGIMES.iter().enumerate() {
            let failed = std::panic::catch_unwind(|| run(regime, seed, 3000)).is_err();
            assert!(!failed, "regime {number}, seed {seed}");
        }
    }
}

/// Writes the index in pieces while it changes, reads them, repeats what was done meanwhile, and
/// compares; then the same with what was read, which must go on as if nothing had been.
#[test]
fn checkpoints_while_it_changes() {
    for seed in 0..80 {
        let failed = std::panic::catch_unwind(|| checkpoint_while_it_changes(seed)).is_err();
        assert!(!failed, "seed {seed}");
    }
}

/// What a log says, as the index is told it.
#[derive(Clone, Debug)]
enum Logged {
    Insert(Seq, Vec<u8>, u64, i64, u8),
    Remove(Seq, Seq),
    Skip(Seq, i64),
    Relocate(Seq, Vec<u8>, u64),
}

fn apply(index: &mut Index, logged: &Logged) {
    let gone = &mut |known: &Known<'_>| known.location % 1000;
    match logged {
        Logged::Insert(seq, subject, location, time, flags) => {
            let arrival = Arrival {
                subject,
                location: *location,
                flags: *flags,
                time: *time,
                counted_bytes: location % 1000,
            };
            index.insert(*seq, &arrival);
        }
        Logged::Remove(first, last) => {
            index.remove_range(*first, *last, gone);
        }
        Logged::Skip(last, time) => index.skip_to(*last, *time),
        Logged::Relocate(seq, subject, location) => {
            // As the log has it: the record again, elsewhere.
            if let Some(known) = index.known(*seq) {
                assert_eq!(known.subject, subject);
                let old = known.location;
                assert!(index.relocate(*seq, old, *location));
            }
        }
    }
}

fn some_logged(prng: &mut Prng, index: &Index, subjects: u32, number: u64) -> Logged {
    let state = index.state();
    let span = state.last_seq + 1 - state.first_seq + 3;
    let seq = state.first_seq + prng.next_u64() % span;
    let location = number * 1000 + prng.next_u64() % 1000;
    match prng.below(12) {
        0 => Logged::Skip(
            state.last_seq + prng.next_u64() % 100,
            number as i64 * 1_000_000,
        ),
        1..4 => Logged::Remove(seq, seq),
        4 if prng.one_in(20) => Logged::Remove(seq, seq + prng.next_u64() % 3000),
        5 if prng.one_in(20) => Logged::Remove(0, seq),
        6 => match index.known(seq) {
            Some(known) => {
                let counted_bytes = known.location % 1000;
                Logged::Relocate(seq, known.subject.to_vec(), number * 1000 + counted_bytes)
            }
            None => Logged::Remove(seq, seq),
        },
        _ => {
            let number_of_subject = prng.below(subjects);
            let long = if prng.one_in(3) {
                "and.that.is.a.long.one"
            } else {
                "s"
            };
            let subject = format!("{}.{long}.{number_of_subject}", number_of_subject % 7);
            let flags = if prng.one_in(9) {
                prng.below(16) as u8
            } else {
                0
            };
            let time = number as i64 * 1_000_000;
            Logged::Insert(
                state.last_seq + 1,
                subject.into_bytes(),
                location,
                time,
                flags,
            )
        }
    }
}

/// All that can be asked, with times as exact as chunks keep them.
fn all_of(index: &Index) -> impl PartialEq + std::fmt::Debug {
    let everything = &mut Selection::everything();
    let mut messages = Vec::new();
    let mut from = 0;
    while let Some(seq) = index.next(everything, from) {
        let known = index.known(seq).unwrap();
        let time = index.time_of(seq).unwrap() / 1_000_000;
        messages.push((
            seq,
            known.subject.to_vec(),
            known.location,
            known.flags,
            time,
        ));
        from = seq + 1;
    }
    let mut subjects = Vec::new();
    index.each_subject(everything, &mut |subject, state| {
        subjects.push((subject.to_vec(), state))
    });
    subjects.sort_by(|a, b| a.0.cmp(&b.0));
    let mut state = *index.state();
    state.first_time /= 1_000_000;
    (state, messages, subjects, index.holes(usize::MAX))
}

fn checkpoint_while_it_changes(seed: u64) {
    let prng = &mut Prng::new(seed);
    let subjects = [2, 50, 3000][seed as usize % 3];
    let mut index = Index::new(SubjectHash::new(seed));
    if seed % 5 == 4 {
        index.skip_to(1 << 60, 0);
    }
    let mut number = 0;
    for _ in 0..prng.below(6000) {
        number += 1;
        let logged = some_logged(prng, &index, subjects, number);
        apply(&mut index, &logged);
    }
    for round in 0..3 {
        let budget = 1 << prng.below(18);
        let mut since = Vec::new();
        let mut loading = Loading::new(SubjectHash::new(seed));
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            let mut piece = Vec::new();
            cursor = index.write_piece(at, &mut piece, budget);
            loading.piece(&piece).unwrap();
            for _ in 0..prng.below(if budget > 1000 { 300 } else { 30 }) {
                number += 1;
                let logged = some_logged(prng, &index, subjects, number);
                apply(&mut index, &logged);
                since.push(logged);
            }
        }
        let mut loaded = loading.finish(|_, location| Some(location % 1000)).unwrap();
        for logged in &since {
            apply(&mut loaded, logged);
        }
        assert_eq!(all_of(&loaded), all_of(&index), "round {round}");
        let selection = &mut Selection::of(&["1.>", "*.*.17"]);
        let other = &mut Selection::of(&["1.>", "*.*.17"]);
        assert_eq!(loaded.pending(selection, 0), index.pending(other, 0));
        index = loaded;
    }
}

/// As a log is read whose live records were moved: runs of them anywhere, some of them twice.
/// What is removed and read from the log again, as by who begins at a checkpoint, is there once more.
#[test]
fn removed_and_back() {
    use std::collections::BTreeSet;

    for seed in 0..200 {
        let prng = &mut Prng::new(seed);
        let mut index = Index::new(SubjectHash::new(seed));
        let mut model = BTreeSet::new();
        let last = 1 + u64::from(prng.below(1200));
        let insert = |index: &mut Index, model: &mut BTreeSet<Seq>, seq: Seq| {
            let arrival = Arrival {
                subject: b"a",
                location: seq,
                flags: 0,
                time: seq as UnixNanos,
                counted_bytes: 1,
            };
            assert_eq!(index.insert(seq, &arrival).is_none(), model.insert(seq));
        };
        (1..=last).for_each(|seq| insert(&mut index, &mut model, seq));
        for step in 0..300 {
            let from = 1 + u64::from(prng.below(last as u32));
            let to = (from + u64::from(prng.below(100))).min(last);
            match prng.below(3) {
                0 => {
                    index.remove_range(from, to, &mut |_| 1);
                    model.retain(|seq| !(from..=to).contains(seq));
                }
                1 => (from..=to).for_each(|seq| insert(&mut index, &mut model, seq)),
                _ => {
                    index.remove(from, &mut |_| 1);
                    model.remove(&from);
                }
            }
            let state = index.state();
            assert_eq!(
                state.messages,
                model.len() as u64,
                "seed {seed}, step {step}"
            );
            if let Some(&first) = model.first() {
                assert_eq!(state.first_seq, first, "seed {seed}, step {step}");
            }
            for seq in from.saturating_sub(2)..=to + 2 {
                let known = index.known(seq).map(|known| known.location);
                let expected = model.contains(&seq).then_some(seq);
                assert_eq!(known, expected, "seed {seed}, step {step}, {seq}");
            }
        }
    }
}

#[test]
fn out_of_order() {
    for seed in 0..60 {
        let failed = std::panic::catch_unwind(|| insert_out_of_order(seed)).is_err();
        assert!(!failed, "seed {seed}");
    }
}

fn insert_out_of_order(seed: u64) {
    let prng = &mut Prng::new(seed);
    let subjects = [1, 50, 3000][seed as usize % 3];
    let mut index = Index::new(SubjectHash::new(seed));
    for number in 1..=u64::from(prng.below(8000)) + 1 {
        let logged = some_logged(prng, &index, subjects, number);
        apply(&mut index, &logged);
    }
    let everything = &mut Selection::everything();
    let mut runs: Vec<Vec<Logged>> = vec![Vec::new()];
    let mut from = 0;
    let longest = 1 << prng.below(12);
    while let Some(seq) = index.next(everything, from) {
        from = seq + 1;
        let known = index.known(seq).unwrap();
        let time = index.time_of(seq).unwrap();
        let subject = known.subject.to_vec();
        let logged = Logged::Insert(seq, subject, known.location, time, known.flags);
        if prng.one_in(longest) {
            runs.push(Vec::new());
        }
        let last = runs.len() as u32 - 1;
        let run = if prng.one_in(4) {
            prng.below(last + 1)
        } else {
            last
        };
        runs[run as usize].push(logged.clone());
        if prng.one_in(50) {
            runs[0].push(logged);
        }
    }
    for at in (1..runs.len()).rev() {
        runs.swap(at, prng.below(at as u32 + 1) as usize);
    }
    let mut again = Index::new(SubjectHash::new(seed));
    let selection = &mut Selection::of(&["1.>", "*.*.17"]);
    for logged in runs.iter().flatten() {
        apply(&mut again, logged);
        if prng.one_in(100) {
            let from = again.state().first_seq;
            let fresh = &mut Selection::of(&["1.>", "*.*.17"]);
            assert_eq!(again.pending(selection, from), again.pending(fresh, from));
            assert_eq!(again.next(selection, from), again.next(fresh, from));
        }
    }
    again.skip_to(index.state().last_seq, index.state().last_time);
    assert_eq!(all_of(&again), all_of(&index));
}

#[test]
fn what_was_not_written_is_refused() {
    let prng = &mut Prng::new(1);
    let mut index = Index::new(SubjectHash::new(1));
    for number in 1..3000 {
        let logged = some_logged(prng, &index, 100, number);
        apply(&mut index, &logged);
    }
    let mut pieces = Vec::new();
    assert!(
        index
            .write_piece(Cursor::default(), &mut pieces, usize::MAX)
            .is_none()
    );
    let load = |bytes: &[u8]| {
        let mut loading = Loading::new(SubjectHash::new(1));
        loading.piece(bytes)?;
        loading.finish(|_, location| Some(location % 1000))
    };
    assert!(load(&pieces).is_ok());
    for _ in 0..200 {
        let end = prng.below(pieces.len() as u32) as usize;
        assert_eq!(load(&pieces[..end]).err(), Some(Invalid), "{end}");
    }
    let mut refused = 0;
    for _ in 0..3000 {
        let mut bytes = pieces.clone();
        for _ in 0..=prng.below(3) {
            // Half of it where lengths and kinds are.
            let near = if prng.one_in(2) {
                64
            } else {
                bytes.len() as u32
            };
            bytes[prng.below(near) as usize] ^= 1 << prng.below(8);
        }
        match load(&bytes) {
            Err(Invalid) => refused += 1,
            // It may be another index; then that has to work.
            Ok(mut index) => {
                all_of(&index);
                let selection = &mut Selection::of(&["1.>"]);
                index.purge(selection, Seq::MAX, 1, &mut |_| 0);
                index.purge(&mut Selection::everything(), Seq::MAX, 0, &mut |_| 0);
                assert_eq!(index.state().messages, 0);
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}
