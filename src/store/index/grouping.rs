//! The sequences of each subject, taken from the chunks of a whole stream.
//!
//! A counting sort in two steps. A million subjects are more places to write to than caches and page
//! tables have room for, and each write would wait for memory; so sequences are dealt out to
//! ranges of subjects first, and a range, when its turn comes, to its subjects.

use super::Seq;
use super::chunks::Chunks;
use super::seqs::Seqs;

/// Subjects of a range.
const RANGE: usize = if cfg!(test) { 4 } else { 1 << 11 };

/// A sequence, less the first, as narrow as the stream allows.
trait Offset: Copy + Default {
    fn narrow(offset: Seq) -> Self;
    fn wide(self) -> Seq;
}

impl Offset for u32 {
    fn narrow(offset: Seq) -> Self {
        offset as u32
    }

    fn wide(self) -> Seq {
        u64::from(self)
    }
}

impl Offset for u64 {
    fn narrow(offset: Seq) -> Self {
        offset
    }

    fn wide(self) -> Seq {
        self
    }
}

/// What the subjects have, from the first one on: `counts` says how many messages of each live in `chunks`.
pub fn sequences<'a>(chunks: &Chunks, counts: &'a [u32]) -> Box<dyn Iterator<Item = Seqs> + 'a> {
    let Some(first) = chunks.next(Default::default()) else {
        return Box::new(counts.iter().map(|_| Seqs::None));
    };
    let base = chunks.seq(first);
    match chunks.iter().last().map(|chunk| chunk.seq(chunk.len() - 1)) {
        Some(last) if last - base > u64::from(u32::MAX) => {
            Box::new(Ranges::<u64>::new(chunks, counts, base))
        }
        _ => Box::new(Ranges::<u32>::new(chunks, counts, base)),
    }
}

struct Ranges<'a, T> {
    counts: &'a [u32],
    base: Seq,
    /// Range by range: what of the sequence is stored, and which subject of the range it is of.
    dealt: Vec<(T, u16)>,
    /// Where the next range begins.
    at: usize,
    /// The subject whose turn it is.
    subject: usize,
    /// What its range has, subject by subject, and how much of that was given out.
    sorted: Vec<T>,
    given: usize,
    /// Where the next of each of the range's subjects comes.
    places: Vec<usize>,
}

/// Where each begins when they follow each other.
fn starts(counts: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
    counts.scan(0, |sum, count| {
        let start = *sum;
        *sum += count;
        Some(start)
    })
}

fn sum(counts: &[u32]) -> usize {
    counts.iter().map(|&count| count as usize).sum()
}

impl<'a, T: Offset> Ranges<'a, T> {
    fn new(chunks: &Chunks, counts: &'a [u32], base: Seq) -> Self {
        let mut places: Vec<usize> = starts(counts.chunks(RANGE).map(sum)).collect();
        let mut dealt = vec![(T::default(), 0); sum(counts)];
        for chunk in chunks.iter() {
            let mut place = 0;
            while let Some(found) = chunk.find(place, |_| true) {
                let subject = chunk.subject(found) as usize;
                let next = &mut places[subject / RANGE];
                dealt[*next] = (T::narrow(chunk.seq(found) - base), (subject % RANGE) as u16);
                *next += 1;
                place = found + 1;
            }
        }
        Self {
            counts,
            base,
            dealt,
            at: 0,
            subject: 0,
            sorted: Vec::new(),
            given: 0,
            places: Vec::new(),
        }
    }

    fn sort_next(&mut self) {
        let end = (self.subject + RANGE).min(self.counts.len());
        let counts = &self.counts[self.subject..end];
        let dealt = &self.dealt[self.at..self.at + sum(counts)];
        self.at += dealt.len();
        self.places.clear();
        let counts = counts.iter().map(|&count| count as usize);
        self.places.extend(starts(counts));
        self.given = 0;
        self.sorted.resize(dealt.len(), T::default());
        for &(offset, subject) in dealt {
            let place = &mut self.places[usize::from(subject)];
            self.sorted[*place] = offset;
            *place += 1;
        }
    }
}

impl<T: Offset> Iterator for Ranges<'_, T> {
    type Item = Seqs;

    fn next(&mut self) -> Option<Seqs> {
        let count = *self.counts.get(self.subject)? as usize;
        if self.subject.is_multiple_of(RANGE) {
            self.sort_next();
        }
        self.subject += 1;
        let offsets = &self.sorted[self.given..self.given + count];
        self.given += count;
        let mut seqs = offsets.iter().map(|offset| self.base + offset.wide());
        Some(Seqs::of_sorted(&mut seqs, count))
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::Entry;
    use super::*;
    use crate::base::prng::Prng;

    /// Each subject gets its own, in order, however far sequences are from each other.
    #[test]
    fn sequences_come_to_their_subjects() {
        for (seed, gap_max) in [(1, 1), (2, 40), (3, u32::MAX), (4, 3)] {
            let mut prng = Prng::new(seed);
            let mut chunks = Chunks::default();
            let mut model = vec![Vec::new(); 23];
            let mut seq = 5;
            for _ in 0..700 {
                let subject = prng.below(model.len() as u32 - 1);
                let entry = Entry {
                    location: 0,
                    subject,
                    flags: 0,
                    time: 0,
                };
                chunks.insert(seq, &entry);
                if prng.one_in(5) {
                    chunks.remove(chunks.find(seq).unwrap());
                } else {
                    model[subject as usize].push(seq);
                }
                seq += 1 + Seq::from(prng.below(gap_max));
            }
            let counts: Vec<u32> = model.iter().map(|seqs| seqs.len() as u32).collect();
            let grouped: Vec<Vec<Seq>> = sequences(&chunks, &counts)
                .map(|seqs| {
                    let mut all = Vec::new();
                    seqs.each(&mut |seq| all.push(seq));
                    all
                })
                .collect();
            assert_eq!(grouped, model, "seed {seed}");
        }
    }
}
