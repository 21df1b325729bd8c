//! Questions about selections.
//!
//! Three ways to an answer, and the cheapest is taken: looking at messages one by one, with a verdict
//! of two bits for each (fast where much is selected); asking the lists of the subjects selected (fast
//! where these are few); and what the selection remembers of the question before.

use super::chunks::Place;
use super::memo::{Counted, Judge};
use super::{Index, Selection, Seq, SubjectState};

/// Messages looked at before the lists of few subjects are asked.
const LOOKED_AT_FIRST: u32 = 64;
/// Chunks looked at before it is found out whether there are few subjects.
const CHUNKS_AT_ONCE: usize = 2;
/// What asking a subject's list costs, in messages looked at.
const LIST_COST: u64 = if cfg!(test) { 8 } else { 64 };
/// What a subject's number costs, in messages looked at.
const NUMBER_COST: u64 = 2;
/// What is cheaper than so many messages is not worth finding out whether there are few subjects.
const CHEAP: u64 = if cfg!(test) { 64 } else { 8192 };

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
        let mut place = self.chunks.place_from(from);
        let known_few = selection.memo.knows_few();
        let judge = &mut selection.memo.judge(&selection.compiled, self);
        if known_few {
            let mut left = LOOKED_AT_FIRST;
            let chunk = self.chunks.chunk(place.chunk);
            let stopped = chunk.find(place.entry, |subject| {
                left -= 1;
                left == 0 || judge.takes(subject)
            });
            if let Some(entry) = stopped
                && judge.takes(chunk.subject(entry))
            {
                return Some(chunk.seq(entry));
            }
        } else {
            let soon = (place.chunk + CHUNKS_AT_ONCE).min(self.chunks.len());
            if let Some(found) = self.look(judge, place, soon) {
                return Some(found);
            }
            place = Place {
                chunk: soon,
                entry: 0,
            };
        }
        if place.chunk == self.chunks.len() {
            return None;
        }
        if let Some(few) = selection.few(self) {
            return few.next(&self.subjects, from, end);
        }
        let judge = &mut selection.memo.judge(&selection.compiled, self);
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
        let count = self.count(selection, from);
        selection.memo.set_counted(Counted { from, up_to, count });
        count
    }

    fn count(&self, selection: &mut Selection, from: Seq) -> u64 {
        let last = self.state.last_seq;
        let counted = selection.memo.counted();
        let distance = counted.map_or(u64::MAX, |counted| {
            counted.from.abs_diff(from) + (last - counted.up_to)
        });
        // The usual case must not look at what is far away.
        let (mut after, mut by_number) = (u64::MAX, u64::MAX);
        if distance > CHEAP {
            let all = self.state.messages;
            after = self.chunks.count_from(self.chunks.place_from(from), all);
            by_number = all - after + u64::from(self.subjects.numbers()) * NUMBER_COST;
        }
        let cheapest = distance.min(after).min(by_number);
        if cheapest > CHEAP
            && let Some(few) = selection.few(self)
            && few.subjects.len() as u64 * LIST_COST < cheapest
        {
            let lists = few
                .subjects
                .iter()
                .map(|&subject| self.subjects.seqs(subject));
            return lists.map(|seqs| seqs.len() - seqs.rank(from)).sum();
        }
        if cheapest > CHEAP
            && let Some(count) = self.count_by_lists(selection, from, cheapest / LIST_COST)
        {
            return count;
        }
        let judge = &mut selection.memo.judge(&selection.compiled, self);
        if let Some(counted) = counted
            && distance == cheapest
        {
            let newer = self.count_between(judge, counted.up_to + 1, last + 1);
            let further = self.count_between(judge, from, counted.from);
            let passed = self.count_between(judge, counted.from, from);
            return (counted.count + newer + further).saturating_sub(passed);
        }
        if by_number < after {
            // All of the subjects selected, less what is before.
            let selected = self.subjects.all().filter(|&subject| judge.takes(subject));
            let total: u64 = selected
                .map(|subject| self.subjects.seqs(subject).len())
                .sum();
            return total.saturating_sub(self.count_between(judge, 0, from));
        }
        self.count_between(judge, from, last + 1)
    }

    /// Selected messages at or after a sequence, if the beginnings of the patterns leave no more than so
    /// many subjects to be looked at.
    fn count_by_lists(
        &self,
        selection: &mut Selection,
        from: Seq,
        subjects_max: u64,
    ) -> Option<u64> {
        let mut looked_at = 0;
        let mut count = 0;
        let mut selected = Vec::new();
        let all = self.each_selected_of(
            selection,
            &mut |_| {
                looked_at += 1;
                looked_at <= subjects_max
            },
            &mut |subject| {
                let seqs = self.subjects.seqs(subject);
                count += seqs.len() - seqs.rank(from);
                selected.push(subject);
                true
            },
        );
        if !all {
            return None;
        }
        selection.memo.decide_all(&selected);
        Some(count)
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
        self.each_selected_of(selection, &mut |_| true, each)
    }

    /// The same for a selection with patterns; calls `looked_at` for each subject that they are compared
    /// with, until that says false.
    fn each_selected_of(
        &self,
        selection: &Selection,
        looked_at: &mut dyn FnMut(u32) -> bool,
        each: &mut dyn FnMut(u32) -> bool,
    ) -> bool {
        for (place, pattern) in selection.patterns().iter().enumerate() {
            let before = &selection.compiled[..place];
            let all = self.subjects.each_with(pattern, looked_at, &mut |subject| {
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
