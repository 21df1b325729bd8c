//! What a selection remembers of the stream that it is used with: which subjects it takes, where
//! nothing of it is, and how many messages of it there are.
//!
//! Verdicts are two bits for each subject's number, found out when a message of it is met first. A
//! number may come to mean another subject: the memo asks for those before each use.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Index;
use super::subjects::{Named, Subjects};
use crate::store::Seq;
use crate::subject::Compiled;

/// Verdicts in a word.
const IN_WORD: u32 = 32;
const NO: u64 = 2;
const YES: u64 = 3;
/// With more subjects than this, messages are looked at one by one.
const FEW: usize = if cfg!(test) { 32 } else { 4096 };
/// Subjects looked at to find out whether there are few.
const LOOKED_AT_MAX: usize = 16 * FEW;
/// With more new subjects than this, the few are found again.
const NEW_MAX: u64 = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    verdicts: Vec<u64>,
    named_count: u64,
    removed_count: u64,
    upsets: u64,
    /// From the first to before the second there is nothing of the selection.
    nothing: (Seq, Seq),
    plan: Plan,
    counted: Option<Counted>,
}

/// Which subjects it takes, if that is worth knowing.
#[derive(Clone, Debug, Default)]
enum Plan {
    #[default]
    Unknown,
    /// Too many, when there were so many subjects.
    Many(usize),
    Few(Few),
}

/// The subjects taken, and for each a sequence before which it has nothing at or after `floor`.
#[derive(Clone, Debug, Default)]
pub struct Few {
    named_count: u64,
    pub subjects: Vec<u32>,
    bounds: BinaryHeap<Reverse<(Seq, u32)>>,
    floor: Seq,
}

/// How many messages were there.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub from: Seq,
    pub up_to: Seq,
    pub count: u64,
}

/// A memo together with what it is about.
pub struct Judge<'a> {
    patterns: &'a [Compiled],
    subjects: &'a Subjects,
    verdicts: &'a mut [u64],
}

impl Judge<'_> {
    /// Whether a subject is taken.
    #[inline]
    pub fn takes(&mut self, subject: u32) -> bool {
        let shift = subject % IN_WORD * 2;
        match self.verdicts[(subject / IN_WORD) as usize] >> shift & 3 {
            YES => true,
            NO => false,
            _ => self.decide(subject),
        }
    }

    #[inline(never)]
    fn decide(&mut self, subject: u32) -> bool {
        let name = self.subjects.name(subject);
        let takes = self.patterns.iter().any(|pattern| pattern.matches(name));
        let verdict = if takes { YES } else { NO };
        self.verdicts[(subject / IN_WORD) as usize] |= verdict << (subject % IN_WORD * 2);
        takes
    }
}

impl Memo {
    /// Forgets what is not so any more. To be called before anything else, after each change.
    pub fn refresh(&mut self, index: &Index) {
        let subjects = &index.subjects;
        if self.upsets != index.upsets {
            self.upsets = index.upsets;
            self.nothing = (0, 0);
            self.counted = None;
            self.plan = Plan::Unknown;
        }
        // Before numbers change their meaning.
        self.refresh_counted(index);
        if self.named_count != subjects.named_count() {
            match subjects.named_since(self.named_count) {
                Named::These(named) => {
                    for subject in named {
                        if let Some(word) = self.verdicts.get_mut((subject / IN_WORD) as usize) {
                            *word &= !(3 << (subject % IN_WORD * 2));
                        }
                    }
                }
                Named::OnlyNew => {}
                Named::Any => self.verdicts.fill(0),
            }
            self.named_count = subjects.named_count();
            let words = subjects.numbers().div_ceil(IN_WORD) as usize;
            // Others may have gone: a table that is larger than needed does no harm.
            if self.verdicts.len() < words {
                self.verdicts.resize(words, 0);
            }
        }
    }

    fn refresh_counted(&mut self, index: &Index) {
        let removed_count = std::mem::replace(&mut self.removed_count, index.removed_count);
        let Some(counted) = &mut self.counted else {
            return;
        };
        let Some(removed) = index.removed_since(removed_count) else {
            self.counted = None;
            return;
        };
        for (seq, subject) in removed {
            if seq < counted.from || seq > counted.up_to {
                continue;
            }
            let word = self.verdicts.get((subject / IN_WORD) as usize);
            match word.map_or(0, |word| word >> (subject % IN_WORD * 2) & 3) {
                YES => counted.count -= 1,
                NO => {}
                _ => {
                    self.counted = None;
                    return;
                }
            }
        }
    }

    /// Who decides, and what was counted.
    pub fn judge<'a>(&'a mut self, patterns: &'a [Compiled], index: &'a Index) -> Judge<'a> {
        Judge {
            patterns,
            subjects: &index.subjects,
            verdicts: &mut self.verdicts,
        }
    }

    /// These are taken, and no others.
    pub fn decide_all(&mut self, selected: &[u32]) {
        const NONE: u64 = u64::MAX / 3 * NO;
        const { assert!(NONE & 3 == NO) }
        self.verdicts.fill(NONE);
        for subject in selected {
            self.verdicts[(subject / IN_WORD) as usize] |= YES << (subject % IN_WORD * 2);
        }
    }

    /// Where to begin looking instead of at `from`.
    pub fn skip_nothing(&self, from: Seq) -> Seq {
        if (self.nothing.0..self.nothing.1).contains(&from) {
            self.nothing.1
        } else {
            from
        }
    }

    /// There is nothing from `from` to before `to`.
    pub fn note_nothing(&mut self, from: Seq, to: Seq) {
        if !(self.nothing.0..=self.nothing.1).contains(&from) {
            self.nothing.0 = from;
        }
        self.nothing.1 = to;
    }

    /// What was counted last.
    pub fn counted(&self) -> Option<Counted> {
        self.counted
    }

    /// Remembers how many there are.
    pub fn set_counted(&mut self, counted: Counted) {
        self.counted = Some(counted);
    }

    /// Whether it was found out that few subjects are taken.
    pub fn knows_few(&self) -> bool {
        matches!(self.plan, Plan::Few(_))
    }

    /// The subjects taken, if they are few.
    pub fn few(
        &mut self,
        patterns: &[Compiled],
        texts: &[Box<[u8]>],
        index: &Index,
    ) -> Option<&mut Few> {
        let subjects = &index.subjects;
        let find = match &mut self.plan {
            Plan::Unknown => true,
            Plan::Many(then) => subjects.len() < *then / 2,
            Plan::Few(few) => !few.follow(patterns, subjects),
        };
        if find {
            self.plan = match Few::find(patterns, texts, subjects) {
                Some(few) => Plan::Few(few),
                None => Plan::Many(subjects.len()),
            };
        }
        match &mut self.plan {
            Plan::Few(few) => Some(few),
            _ => None,
        }
    }
}

impl Few {
    fn find(patterns: &[Compiled], texts: &[Box<[u8]>], subjects: &Subjects) -> Option<Self> {
        let mut few = Self {
            named_count: subjects.named_count(),
            ..Self::default()
        };
        let mut looked_at = 0;
        for (place, text) in texts.iter().enumerate() {
            let before = &patterns[..place];
            let all = subjects.each_with(
                text,
                &mut |_| {
                    looked_at += 1;
                    looked_at <= LOOKED_AT_MAX
                },
                &mut |subject| {
                    let name = subjects.name(subject);
                    if !before.iter().any(|pattern| pattern.matches(name)) {
                        few.subjects.push(subject);
                    }
                    few.subjects.len() <= FEW
                },
            );
            if !all {
                return None;
            }
        }
        few.start(0);
        Some(few)
    }

    fn start(&mut self, from: Seq) {
        self.floor = from;
        let bounds = self
            .subjects
            .iter()
            .map(|&subject| Reverse((from, subject)));
        self.bounds = bounds.collect();
    }

    /// Takes in new subjects. False when that is too much.
    fn follow(&mut self, patterns: &[Compiled], subjects: &Subjects) -> bool {
        let lag = subjects.named_count() - self.named_count;
        if lag == 0 {
            return true;
        }
        if lag > NEW_MAX || self.subjects.len() > FEW {
            return false;
        }
        let Named::These(named) = subjects.named_since(self.named_count) else {
            return false;
        };
        self.named_count = subjects.named_count();
        for subject in named {
            if let Some(place) = self.subjects.iter().position(|&other| other == subject) {
                self.subjects.swap_remove(place);
                self.bounds.retain(|&Reverse((_, other))| other != subject);
            }
            let name = subjects.name(subject);
            if patterns.iter().any(|pattern| pattern.matches(name)) {
                self.subjects.push(subject);
                self.bounds.push(Reverse((self.floor, subject)));
            }
        }
        true
    }

    /// The first message of theirs at or after `from`; `end` is above all there are.
    pub fn next(&mut self, subjects: &Subjects, from: Seq, end: Seq) -> Option<Seq> {
        if from < self.floor {
            self.start(from);
        }
        self.floor = from;
        while let Some(mut top) = self.bounds.peek_mut() {
            let Reverse((bound, subject)) = *top;
            if bound >= end {
                return None;
            }
            let found = subjects.seqs(subject).at_or_after(from.max(bound));
            if found == Some(bound) {
                return found;
            }
            // A subject without a later message may get one: from `end` on.
            *top = Reverse((found.unwrap_or(end), subject));
        }
        None
    }
}
