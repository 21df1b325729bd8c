//! The naive model of [`Messages`]: one ordered map and linear searches, obviously right.
//!
//! For tests only: the index, the memory kind and the journal are compared with it, and the rules of
//! streams and consumers run on it. Everything that a test may want to see or to break is public.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::{
    Fetched, Messages, NewMessage, Refused, Selection, Seq, State, Stored, SubjectState, UnixNanos,
};

/// A message, owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub time: UnixNanos,
    pub subject: Vec<u8>,
    pub headers: Vec<u8>,
    pub payload: Vec<u8>,
    pub flags: u8,
    pub counted_bytes: u64,
}

/// One stream's messages.
#[derive(Clone, Debug)]
pub struct Naive {
    pub state: State,
    pub messages: BTreeMap<Seq, Message>,
    /// Messages of each subject.
    counts: BTreeMap<Vec<u8>, u64>,
    /// Facts of each number, in order.
    pub notes: BTreeMap<u32, Vec<Vec<u8>>>,
    /// Bytes noted since the number was rewritten.
    pub noted_bytes: BTreeMap<u32, u64>,
    /// Whether messages count as those in files do.
    pub file: bool,
    /// What is durable, if that is not everything.
    pub durable: Option<Seq>,
    /// What storing is refused with.
    pub refuses: Option<Refused>,
    /// After so many messages the disk is full.
    pub refuse_after: Option<u64>,
    /// Reading these answers [`Fetched::Later`].
    pub later: BTreeSet<Seq>,
    /// Reading these answers [`Fetched::Damaged`].
    pub damaged: BTreeSet<Seq>,
    /// Those removed with `erase`.
    pub erased: Vec<Seq>,
}

impl Naive {
    /// Of a file stream, or else of a memory stream.
    pub fn new(file: bool) -> Self {
        Self {
            state: State {
                first_seq: 1,
                ..State::default()
            },
            messages: BTreeMap::new(),
            counts: BTreeMap::new(),
            notes: BTreeMap::new(),
            noted_bytes: BTreeMap::new(),
            file,
            durable: None,
            refuses: None,
            refuse_after: None,
            later: BTreeSet::new(),
            damaged: BTreeSet::new(),
            erased: Vec::new(),
        }
    }

    /// Facts of a number, in order.
    pub fn facts(&self, note: u32) -> &[Vec<u8>] {
        self.notes.get(&note).map_or(&[], Vec::as_slice)
    }

    /// Appends with nothing but a subject, a payload and a time.
    pub fn put(&mut self, subject: &str, payload: &[u8], time: UnixNanos) -> Seq {
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            payload,
            time,
            flags: 0,
        };
        self.append(&message).expect("the test has not refused it")
    }

    fn selected<'a>(
        &'a self,
        selection: &'a Selection,
        range: RangeInclusive<Seq>,
    ) -> impl DoubleEndedIterator<Item = (Seq, &'a Message)> {
        // `BTreeMap::range` does not take a range that ends before it begins.
        let empty = range.is_empty();
        let range = if empty { 0..=0 } else { range };
        self.messages
            .range(range)
            .filter(move |(_, message)| !empty && selection.matches(&message.subject))
            .map(|(&seq, message)| (seq, message))
    }

    fn subjects(&self) -> BTreeMap<&[u8], SubjectState> {
        let mut subjects = BTreeMap::new();
        for (&seq, message) in &self.messages {
            let state: &mut SubjectState = subjects.entry(message.subject.as_slice()).or_default();
            if state.messages == 0 {
                state.first = seq;
            }
            state.messages += 1;
            state.last = seq;
        }
        subjects
    }

    fn take_out(&mut self, seq: Seq) -> bool {
        let Some(message) = self.messages.remove(&seq) else {
            return false;
        };
        self.state.bytes -= message.counted_bytes;
        let count = self.counts.entry(message.subject.clone()).or_default();
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&message.subject);
        }
        true
    }

    /// Makes the rest of the state anew from what there is and the last sequence.
    fn count(&mut self) {
        let first = self.messages.first_key_value();
        let first = first.map(|(&seq, message)| (seq, message.time));
        let last_seq = self.state.last_seq;
        let (first_seq, first_time) = first.unwrap_or((last_seq + 1, 0));
        let messages = self.messages.len() as u64;
        self.state = State {
            messages,
            first_seq,
            first_time,
            subjects: self.counts.len() as u64,
            deleted: last_seq + 1 - first_seq - messages,
            ..self.state
        };
    }
}

impl Messages for Naive {
    fn state(&self) -> &State {
        &self.state
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Seq, Refused> {
        if let Some(refused) = self.refuses {
            return Err(refused);
        }
        match &mut self.refuse_after {
            Some(0) => return Err(Refused::Full),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.state.last_seq >= Seq::MAX - 1 {
            return Err(Refused::TooLarge);
        }
        let seq = self.state.last_seq + 1;
        self.messages.insert(
            seq,
            Message {
                time: message.time,
                subject: message.subject.to_vec(),
                headers: message.headers.to_vec(),
                payload: message.payload.to_vec(),
                flags: message.flags,
                counted_bytes: message.counted_bytes(self.file),
            },
        );
        *self.counts.entry(message.subject.to_vec()).or_default() += 1;
        self.state.bytes += message.counted_bytes(self.file);
        self.state.last_seq = seq;
        self.state.last_time = message.time;
        self.count();
        Ok(seq)
    }

    fn skip_to(&mut self, last: Seq, time: UnixNanos) -> Result<(), Refused> {
        if let Some(refused) = self.refuses {
            return Err(refused);
        }
        let last = last.min(Seq::MAX - 1);
        if last > self.state.last_seq {
            self.state.last_seq = last;
            self.state.last_time = self.state.last_time.max(time);
            self.count();
        }
        Ok(())
    }

    fn remove(&mut self, seq: Seq, erase: bool) -> bool {
        let was_there = self.take_out(seq);
        if was_there && erase {
            self.erased.push(seq);
        }
        self.count();
        was_there
    }

    fn purge(&mut self, selection: &mut Selection, below: Seq, keep: u64) -> u64 {
        let going: Vec<Seq> = match below.checked_sub(1) {
            None => Vec::new(),
            Some(up_to) => self
                .selected(selection, 0..=up_to)
                .map(|(seq, _)| seq)
                .collect(),
        };
        let gone = going
            .len()
            .saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
        for seq in &going[..gone] {
            self.take_out(*seq);
        }
        let unbounded = below == Seq::MAX;
        if selection.is_everything() && self.messages.is_empty() && !unbounded {
            self.state.last_seq = self.state.last_seq.max(below.saturating_sub(1));
        }
        self.count();
        gone as u64
    }

    fn get(&mut self, seq: Seq) -> Fetched<'_> {
        match self.messages.get(&seq) {
            None => Fetched::Gone,
            Some(_) if self.later.contains(&seq) => Fetched::Later,
            Some(_) if self.damaged.contains(&seq) => Fetched::Damaged,
            Some(message) => Fetched::Here(Stored {
                seq,
                time: message.time,
                subject: &message.subject,
                headers: &message.headers,
                payload: &message.payload,
            }),
        }
    }

    fn subject(&self, subject: &[u8]) -> Option<SubjectState> {
        self.subjects().get(subject).copied()
    }

    fn next(&self, selection: &mut Selection, from: Seq) -> Option<Seq> {
        let mut found = self.selected(selection, from..=Seq::MAX);
        found.next().map(|(seq, _)| seq)
    }

    fn last(&self, selection: &mut Selection, up_to: Seq) -> Option<Seq> {
        let mut found = self.selected(selection, 0..=up_to);
        found.next_back().map(|(seq, _)| seq)
    }

    fn pending(&self, selection: &mut Selection, from: Seq) -> u64 {
        self.selected(selection, from..=Seq::MAX).count() as u64
    }

    fn at_or_after(&self, time: UnixNanos) -> Seq {
        let mut messages = self.messages.iter();
        let found = messages.find(|(_, message)| message.time >= time);
        found.map_or(self.state.last_seq + 1, |(&seq, _)| seq)
    }

    fn time_of(&self, seq: Seq) -> Option<UnixNanos> {
        self.messages.get(&seq).map(|message| message.time)
    }

    fn subject_of(&self, seq: Seq) -> Option<&[u8]> {
        Some(&self.messages.get(&seq)?.subject)
    }

    fn last_of_each(&self, selection: &mut Selection, up_to: Seq, max: usize) -> Option<Vec<Seq>> {
        let mut lasts = BTreeMap::new();
        for (seq, message) in self.selected(selection, 0..=up_to) {
            lasts.insert(&message.subject, seq);
        }
        let mut lasts: Vec<Seq> = lasts.into_values().collect();
        lasts.sort_unstable();
        (lasts.len() <= max).then_some(lasts)
    }

    fn each_subject(&self, selection: &mut Selection, each: &mut dyn FnMut(&[u8], SubjectState)) {
        for (subject, state) in self.subjects() {
            if selection.matches(subject) {
                each(subject, state);
            }
        }
    }

    fn count_subjects(&self, selection: &mut Selection) -> u64 {
        let subjects = self.subjects();
        subjects
            .keys()
            .filter(|subject| selection.matches(subject))
            .count() as u64
    }

    fn holes(&self, max: usize) -> Vec<(Seq, Seq)> {
        let mut holes = Vec::new();
        let mut expected = self.state.first_seq;
        let ends = self.messages.keys().copied();
        for seq in ends.chain([self.state.last_seq + 1]) {
            if seq > expected {
                holes.push((expected, seq - 1));
            }
            expected = seq + 1;
        }
        holes.truncate(max);
        holes
    }

    fn next_flagged(&self, flags: u8, from: Seq) -> Option<Seq> {
        let mut later = self.messages.range(from..);
        let found = later.find(|(_, message)| message.flags & flags != 0);
        found.map(|(&seq, _)| seq)
    }

    fn durable_seq(&self) -> Seq {
        self.durable.unwrap_or(self.state.last_seq)
    }

    fn note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused> {
        if let Some(refused) = self.refuses {
            return Err(refused);
        }
        self.notes.entry(note).or_default().push(fact.to_vec());
        *self.noted_bytes.entry(note).or_default() += fact.len() as u64;
        Ok(())
    }

    fn rewrite_note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused> {
        if let Some(refused) = self.refuses {
            return Err(refused);
        }
        self.notes.insert(note, vec![fact.to_vec()]);
        self.noted_bytes.insert(note, 0);
        Ok(())
    }

    fn forget_note(&mut self, note: u32) {
        self.notes.remove(&note);
        self.noted_bytes.remove(&note);
    }

    fn note_bytes(&self, note: u32) -> u64 {
        self.noted_bytes.get(&note).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream with 1: a.x, 2: b.x, 3: a.y, 5: a.x, 8: b.y, and 10 as the last sequence.
    fn sample() -> Naive {
        let mut naive = Naive::new(true);
        for (seq, subject) in [(1, "a.x"), (2, "b.x"), (3, "a.y"), (5, "a.x"), (8, "b.y")] {
            naive.skip_to(seq - 1, 10 * (seq as i64 - 1)).unwrap();
            assert_eq!(naive.put(subject, b"payload", 10 * seq as i64), seq);
        }
        naive.skip_to(10, 100).unwrap();
        naive
    }

    #[test]
    fn questions() {
        let naive = sample();
        let state = State {
            messages: 5,
            bytes: 5 * (30 + 3 + 7),
            first_seq: 1,
            first_time: 10,
            last_seq: 10,
            last_time: 100,
            subjects: 4,
            deleted: 5,
        };
        assert_eq!(naive.state(), &state);
        let a = &mut Selection::of(&["a.*"]);
        assert_eq!(naive.next(a, 4), Some(5));
        assert_eq!(naive.last(a, 4), Some(3));
        assert_eq!(naive.pending(a, 2), 2);
        assert_eq!(naive.last_of_each(a, 4, 2), Some(vec![1, 3]));
        assert_eq!(naive.last_of_each(a, 10, 1), None);
        assert_eq!(naive.count_subjects(a), 2);
        assert_eq!(naive.holes(10), [(4, 4), (6, 7), (9, 10)]);
        assert_eq!(naive.holes(1), [(4, 4)]);
        assert_eq!(naive.at_or_after(31), 5);
        assert_eq!(naive.at_or_after(81), 11);
        let ax = SubjectState {
            messages: 2,
            first: 1,
            last: 5,
        };
        assert_eq!(naive.subject(b"a.x"), Some(ax));
    }

    #[test]
    fn purges() {
        // Patterns (none: everything); below, keep, how many go, first and last sequence after it.
        let cases: &[(&[&str], [u64; 5])] = &[
            (&[], [0, 0, 0, 1, 10]),
            (&[], [4, 0, 3, 5, 10]),
            (&[], [4, 1, 2, 3, 10]),
            (&[], [11, 0, 5, 11, 10]),
            (&[], [20, 0, 5, 20, 19]),
            (&[], [20, 1, 4, 8, 10]),
            (&[], [Seq::MAX, 0, 5, 11, 10]),
            (&["a.>"], [20, 0, 3, 2, 10]),
            (&["a.>"], [Seq::MAX, 1, 2, 2, 10]),
            (&["a.x", "b.*"], [5, 0, 2, 3, 10]),
        ];
        for &(patterns, [below, keep, gone, first, last]) in cases {
            let mut naive = sample();
            let selection = &mut Selection::of(patterns);
            assert_eq!(
                naive.purge(selection, below, keep),
                gone,
                "{patterns:?} {below} {keep}"
            );
            let state = naive.state;
            assert_eq!(
                (state.first_seq, state.last_seq),
                (first, last),
                "{patterns:?} {below} {keep}"
            );
        }
    }
}
