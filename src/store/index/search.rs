//! Questions about selections.
//!
//! Three ways to an answer, and the cheapest is taken: looking at messages one by one, with a verdict
//! of two bits for each (fast where much is selected); asking the lists of the subjects selected (fast
//! where these are few); and what the selection remembers of the question before.

use super::chunks::Place;
use super::memo::{Counted, Judge};
use super::{Index, Selection, Seq, SubjectState};

/// Chunks looked at before it is asked whether few subjects are selected.
const CHUNKS_AT_ONCE: usize = 2;
/// What asking a subject's list costs, in messages looked at.
const LIST_COST: u64 = 32;
/// What a subject's number costs, in messages looked at.
const NUMBER_COST: u64 = 2;

impl Index {
    /// As [`crate::store::Messages::next`].
    pub fn next(&self, selection: &mut Selection, from: Seq) -> Option<Seq> {
        let from = from.max(self.state.first_seq);
        if selection.is_everything() {
            let place = self.chunks.next(self.chunks.place_from(from))?;
            return Some(self.chunks.seq(place));
        }
        if from > self.state.last_seq {
            return None;
        }
        let end = self.state.last_seq + 1;
        selection.memo.refresh(self);
        let begin = selection.memo.skip_nothing(from);
        let found = if begin < end {
            self.next_selected(selection, begin, end)
        } else {
            None
        };
        selection.memo.note_nothing(from, found.unwrap_or(end));
        found
    }

    fn next_selected(&self, selection: &mut Selection, from: Seq, end: Seq) -> Option<Seq> {
        let place = self.chunks.place_from(from);
        let soon = (place.chunk + CHUNKS_AT_ONCE).min(self.chunks.len());
        let judge = &mut selection.memo.judge(&selection.compiled, self);
        if let Some(found) = self.look(judge, place, soon) {
            return Some(found);
        }
        if soon == self.chunks.len() {
            return None;
        }
        if let Some(few) = selection.few(self) {
            return few.next(&self.subjects, from, end);
        }
        let judge = &mut selection.memo.judge(&selection.compiled, self);
        let place = Place {
            chunk: soon,
            entry: 0,
        };
        self.look(judge, place, self.chunks.len())
    }

    /// The first selected message from a place to before a chunk.
    #[inline]
    fn look(&self, judge: &mut Judge<'_>, from: Place, before: usize) -> Option<Seq> {
        let mut entry = from.entry;
        for number in from.chunk..before {
            let chunk = self.chunks.chunk(number);
            if let Some(entry) = chunk.find(entry, |subject| judge.takes(subject)) {
                return Some(chunk.seq(entry));
            }
            entry = 0;
        }
        None
    }

    /// As [`crate::store::Messages::last`].
    pub fn last(&self, selection: &mut Selection, up_to: Seq) -> Option<Seq> {
        let up_to = up_to.min(self.state.last_seq);
        let before = self.chunks.place_from(up_to.saturating_add(1));
        if selection.is_everything() {
            let place = self.chunks.previous(before, |_| true)?;
            return Some(self.chunks.seq(place));
        }
        selection.memo.refresh(self);
        if before.chunk > CHUNKS_AT_ONCE
            && let Some(few) = selection.few(self)
            && few.subjects.len() as u64 * LIST_COST < self.state.messages
        {
            let lists = few.subjects.iter();
            let lasts =
                lists.filter_map(|&subject| self.subjects.seqs(subject).at_or_before(up_to));
            return lasts.max();
        }
        let judge = &mut selection.memo.judge(&selection.compiled, self);
        let place = self
            .chunks
            .previous(before, |subject| judge.takes(subject))?;
        Some(self.chunks.seq(place))
    }

    /// As [`crate::store::Messages::pending`].
    pub fn pending(&self, selection: &mut Selection, from: Seq) -> u64 {
        let from = from.max(self.state.first_seq);
        if from > self.state.last_seq {
            return 0;
        }
        if selection.is_everything() {
            let place = self.chunks.place_from(from);
            return self.chunks.count_from(place, self.state.messages);
        }
        self.removed_wanted.set(true);
        selection.memo.refresh(self);
        let up_to = self.state.last_seq;
        let count = self
            .count_from_before(selection, from)
            .unwrap_or_else(|| self.count_anew(selection, from));
        selection.memo.set_counted(Counted { from, up_to, count });
        count
    }

    /// What was counted before, corrected; none when that is no gain.
    fn count_from_before(&self, selection: &mut Selection, from: Seq) -> Option<u64> {
        let before = selection.memo.counted()?;
        let last = self.state.last_seq;
        let distance = before.from.abs_diff(from) + (last - before.up_to);
        if distance > last - from {
            return None;
        }
        let judge = &mut selection.memo.judge(&selection.compiled, self);
        let mut between = |from, end| self.count_between(judge, from, end);
        let newer = between(before.up_to + 1, last + 1);
        let count = if from > before.from {
            (before.count + newer).checked_sub(between(before.from, from))?
        } else {
            before.count + newer + between(from, before.from)
        };
        Some(count)
    }

    fn count_anew(&self, selection: &mut Selection, from: Seq) -> u64 {
        let all = self.state.messages;
        let after = self.chunks.count_from(self.chunks.place_from(from), all);
        let before = all - after;
        let numbers = u64::from(self.subjects.numbers()) * NUMBER_COST;
        if after > LIST_COST
            && let Some(few) = selection.few(self)
            && few.subjects.len() as u64 * LIST_COST < after.min(before + numbers)
        {
            let lists = few
                .subjects
                .iter()
                .map(|&subject| self.subjects.seqs(subject));
            return lists.map(|seqs| seqs.len() - seqs.rank(from)).sum();
        }
        let judge = &mut selection.memo.judge(&selection.compiled, self);
        if before + numbers < after {
            // All of the subjects selected, less what is before.
            let selected = self.subjects.all().filter(|&subject| judge.takes(subject));
            let total: u64 = selected
                .map(|subject| self.subjects.seqs(subject).len())
                .sum();
            total.saturating_sub(self.count_between(judge, 0, from))
        } else {
            self.count_between(judge, from, self.state.last_seq + 1)
        }
    }

    /// Selected messages from a sequence to before another.
    fn count_between(&self, judge: &mut Judge<'_>, from: Seq, end: Seq) -> u64 {
        if from >= end {
            return 0;
        }
        let (from, end) = (self.chunks.place_from(from), self.chunks.place_from(end));
        let mut count = 0;
        let mut entry = from.entry;
        for number in from.chunk..self.chunks.len().min(end.chunk + 1) {
            let chunk = self.chunks.chunk(number);
            let before = if number == end.chunk {
                end.entry
            } else {
                chunk.len()
            };
            count += chunk.count_between(entry, before, |subject| judge.takes(subject));
            entry = 0;
        }
        count
    }

    /// Numbers of the subjects selected.
    pub(super) fn selected(&self, selection: &Selection) -> Vec<u32> {
        let mut selected = Vec::new();
        self.each_selected(selection, &mut |subject| {
            selected.push(subject);
            true
        });
        selected
    }

    /// Calls for the number of each subject selected, until that says false. Whether it never did.
    fn each_selected(&self, selection: &Selection, each: &mut dyn FnMut(u32) -> bool) -> bool {
        if selection.is_everything() {
            return self.subjects.all().all(each);
        }
        for (place, pattern) in selection.patterns().iter().enumerate() {
            let before = &selection.compiled[..place];
            let all = self
                .subjects
                .each_with(pattern, &mut |_| true, &mut |subject| {
                    let name = self.subjects.name(subject);
                    before.iter().any(|pattern| pattern.matches(name)) || each(subject)
                });
            if !all {
                return false;
            }
        }
        true
    }

    /// As [`crate::store::Messages::last_of_each`].
    pub fn last_of_each(&self, selection: &Selection, up_to: Seq, max: usize) -> Option<Vec<Seq>> {
        let mut lasts = Vec::new();
        let all = self.each_selected(selection, &mut |subject| {
            lasts.extend(self.subjects.seqs(subject).at_or_before(up_to));
            lasts.len() <= max
        });
        lasts.sort_unstable();
        all.then_some(lasts)
    }

    /// As [`crate::store::Messages::each_subject`].
    pub fn each_subject(&self, selection: &Selection, each: &mut dyn FnMut(&[u8], SubjectState)) {
        self.each_selected(selection, &mut |subject| {
            if let Some(state) = self.subjects.state(subject) {
                each(self.subjects.name(subject), state);
            }
            true
        });
    }

    /// As [`crate::store::Messages::count_subjects`].
    pub fn count_subjects(&self, selection: &Selection) -> u64 {
        if selection.is_everything() {
            return self.subjects.len() as u64;
        }
        let mut count = 0;
        self.each_selected(selection, &mut |_| {
            count += 1;
            true
        });
        count
    }
}

impl Selection {
    fn few(&mut self, index: &Index) -> Option<&mut super::memo::Few> {
        let texts = &self.patterns;
        self.memo.few(&self.compiled, texts, index)
    }
}
