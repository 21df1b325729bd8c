//! A set of sequences as ranges.

use crate::store::Seq;

/// Sequences, as ranges that do not touch, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    ranges: Vec<(Seq, Seq)>,
}

impl Ranges {
    /// Takes in a range (inclusive) that begins after the beginning of the last one; an empty one does nothing.
    pub fn push(&mut self, first: Seq, last: Seq) {
        if first > last {
            return;
        }
        match self.ranges.last_mut() {
            Some(end) if first <= end.1.saturating_add(1) => {
                debug_assert!(first >= end.0, "in order");
                end.1 = end.1.max(last);
            }
            _ => self.ranges.push((first, last)),
        }
    }

    /// Takes in ranges in any order.
    pub fn merge(&mut self, mut more: Vec<(Seq, Seq)>) {
        more.append(&mut self.ranges);
        more.sort_unstable();
        for (first, last) in more {
            self.push(first, last);
        }
    }

    /// Whether a sequence is in it.
    pub fn contains(&self, seq: Seq) -> bool {
        let after = self.ranges.partition_point(|range| range.0 <= seq);
        after > 0 && self.ranges[after - 1].1 >= seq
    }

    /// The last sequence in it.
    pub fn last(&self) -> Option<Seq> {
        self.ranges.last().map(|range| range.1)
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> {
        self.ranges.iter().copied()
    }

    /// How many sequences are in it.
    pub fn count(&self) -> u64 {
        let lengths = self.ranges.iter().map(|&(first, last)| last - first + 1);
        lengths.fold(0, u64::saturating_add)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(&a), Some(&b)) = (left.peek(), right.peek()) {
            both.push(a.0.max(b.0), a.1.min(b.1));
            match a.1 < b.1 {
                true => left.next(),
                false => right.next(),
            };
        }
        both
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use std::collections::BTreeSet;

    #[test]
    fn they_are_the_set_that_was_put_in() {
        let mut random = Prng::new(7);
        for _ in 0..200 {
            let mut make = |ranges: &mut Ranges| {
                let mut model = BTreeSet::new();
                for _ in 0..random.below(4) {
                    let mut more = Vec::new();
                    for _ in 0..random.below(6) {
                        let first = u64::from(random.below(60));
                        let last = first + u64::from(random.below(5));
                        more.push((first, last));
                        model.extend(first..=last);
                    }
                    ranges.merge(more);
                }
                model
            };
            let (mut a, mut b) = (Ranges::default(), Ranges::default());
            let (a_model, b_model) = (make(&mut a), make(&mut b));
            let list = |ranges: &Ranges| -> BTreeSet<Seq> {
                ranges
                    .iter()
                    .flat_map(|(first, last)| first..=last)
                    .collect()
            };
            assert_eq!(list(&a), a_model);
            assert_eq!(a.count(), a_model.len() as u64);
            assert!((0..70).all(|seq| a.contains(seq) == a_model.contains(&seq)));
            let both: BTreeSet<Seq> = a_model.intersection(&b_model).copied().collect();
            assert_eq!(list(&a.intersection(&b)), both);
            let apart = |pair: &[(Seq, Seq)]| pair[0].1 + 1 < pair[1].0;
            assert!(a.ranges.windows(2).all(apart));
        }
    }
}
