//! The subjects a publisher writes to: one, or a numbered family such as `load.k.000123` that is never stored.

/// Digits of a number in a subject; fixed, so that every message of a family has the same length.
const DIGITS_MIN: usize = 6;

#[derive(Clone, Debug)]
pub enum Subjects {
    Fixed(String),
    Numbered(NumberedSubjects),
}

#[derive(Clone, Debug)]
pub struct NumberedSubjects {
    pub prefix: String,
    pub subjects: u64,
    /// The distance between the subjects of two consecutive messages; coprime with `subjects`, so all are visited.
    pub step: u64,
    pub digits: usize,
}

impl NumberedSubjects {
    /// `scattered` visits the subjects in far jumps, which no cache line or prefetcher of the server can foresee.
    pub fn new(prefix: &str, subjects: u64, scattered: bool) -> Self {
        let subjects = subjects.max(1);
        let digits = DIGITS_MIN.max((subjects - 1).to_string().len());
        let step = if scattered { far_step(subjects) } else { 1 };
        Self {
            prefix: prefix.to_owned(),
            subjects,
            step,
            digits,
        }
    }

    /// The number in the subject of a publisher's message.
    #[inline]
    pub fn number(&self, sequence: u64) -> u64 {
        (sequence % self.subjects) * self.step % self.subjects
    }

    #[inline]
    pub fn next_number(&self, number: u64) -> u64 {
        let next = number + self.step;
        if next >= self.subjects {
            next - self.subjects
        } else {
            next
        }
    }
}

/// Fills `digits` with the decimal number, zeros in front.
#[inline]
pub fn write_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Whether `digits` is the decimal number with zeros in front.
#[inline]
pub fn digits_equal(digits: &[u8], mut number: u64) -> bool {
    for digit in digits.iter().rev() {
        if *digit != b'0' + (number % 10) as u8 {
            return false;
        }
        number /= 10;
    }
    number == 0
}

/// A step near the golden section of the family, the first one coprime with its size.
fn far_step(subjects: u64) -> u64 {
    let start = (subjects as f64 * 0.618) as u64;
    (start.max(1)..subjects.max(2))
        .find(|step| greatest_common_divisor(*step, subjects) == 1)
        .unwrap_or(1)
        % subjects.max(2)
}

fn greatest_common_divisor(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_subject_is_visited_once_per_round() {
        for subjects in [1, 2, 3, 10, 1_000, 4_096] {
            for scattered in [false, true] {
                let family = NumberedSubjects::new("load.k.", subjects, scattered);
                let mut seen = BTreeSet::new();
                let mut number = family.number(0);
                for sequence in 0..subjects {
                    assert_eq!(number, family.number(sequence));
                    seen.insert(number);
                    number = family.next_number(number);
                }
                assert_eq!(seen.len() as u64, subjects);
            }
        }
    }

    #[test]
    fn digits_are_written_and_compared() {
        let mut digits = *b"xxxxxx";
        write_digits(&mut digits, 1_203);
        assert_eq!(&digits, b"001203");
        assert!(digits_equal(&digits, 1_203));
        assert!(!digits_equal(&digits, 1_204));
        assert!(!digits_equal(&digits, 1_001_203));
    }
}
