//! Which stream sequences have been seen: one bit each.

#[derive(Clone, Debug, Default)]
pub struct Seen {
    words: Vec<u64>,
    distinct: u64,
    again: u64,
}

impl Seen {
    /// Marks a sequence (from 1 on).
    #[inline]
    pub fn mark(&mut self, sequence: u64) {
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if word >= self.words.len() {
            self.words.resize((word + 1).next_power_of_two(), 0);
        }
        if self.words[word] & bit == 0 {
            self.words[word] |= bit;
            self.distinct += 1;
        } else {
            self.again += 1;
        }
    }

    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    /// How often something was marked that had been marked before.
    pub fn again(&self) -> u64 {
        self.again
    }

    /// Adds what another has seen; what both have seen counts as seen again.
    pub fn join(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.again += other.again;
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            let both = u64::from((*mine & *theirs).count_ones());
            self.again += both;
            self.distinct += u64::from(theirs.count_ones()) - both;
            *mine |= *theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sequence_counts_once() {
        let (mut left, mut right) = (Seen::default(), Seen::default());
        for sequence in [1, 2, 64, 2] {
            left.mark(sequence);
        }
        for sequence in [3, 64, 1_000] {
            right.mark(sequence);
        }
        assert_eq!((left.distinct(), left.again()), (3, 1));
        left.join(&right);
        assert_eq!((left.distinct(), left.again()), (5, 2));
    }
}
