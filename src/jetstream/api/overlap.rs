//! Which of many subjects have messages in common, without comparing each two: literals only do if
//! they are equal. It knows neither streams nor consumers.
//!
//! What remains is every subject with a wildcard against all others. A request may hold some
//! hundred thousand of them, and a shard must not stand still for minutes: beyond
//! [`COMPARISONS_MAX`] the answer is that there are too many. nats-server has no such limit.

use hashbrown::{HashMap, HashSet};

use crate::subject::{collide, is_literal};

/// Comparisons of two subjects that one request may cost: some tenths of a second.
const COMPARISONS_MAX: usize = 10_000_000;

/// What there is among subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// No two have anything in common.
    Nothing,
    /// These two have: the first that has something in common with a later one, and the first of
    /// those.
    Two(usize, usize),
    /// It would take too long to find out.
    TooMany,
}

/// Looks for two that are `related`; a relation in which equal literals are, and different ones
/// are not.
pub fn among<S: AsRef<str>>(subjects: &[S], related: impl Fn(&[u8], &[u8]) -> bool) -> Among {
    let bytes = |at: usize| subjects[at].as_ref().as_bytes();
    let wildcards: Vec<usize> = (0..subjects.len())
        .filter(|&at| !is_literal(bytes(at)))
        .collect();
    if wildcards.len().saturating_mul(subjects.len()) > COMPARISONS_MAX {
        return Among::TooMany;
    }
    // Where each literal stands again.
    let mut again = vec![None; subjects.len()];
    let mut later = HashMap::new();
    for at in (0..subjects.len()).rev() {
        again[at] = later.insert(bytes(at), at);
    }
    // Of the wildcards, how many have been passed.
    let mut passed = 0;
    for (at, again) in again.into_iter().enumerate() {
        let found = if wildcards.get(passed) == Some(&at) {
            passed += 1;
            (at + 1..subjects.len()).find(|&other| related(bytes(at), bytes(other)))
        } else {
            let mut rest = wildcards[passed..].iter().copied();
            let wild = rest.find(|&other| related(bytes(at), bytes(other)));
            [wild, again].into_iter().flatten().min()
        };
        if let Some(other) = found {
            return Among::Two(at, other);
        }
    }
    Among::Nothing
}

/// Subjects that others are held against.
#[derive(Debug)]
pub struct Held<'s> {
    literals: HashSet<&'s [u8]>,
    wildcards: Vec<&'s [u8]>,
}

impl<'s> Held<'s> {
    /// Holds these.
    pub fn new(subjects: &'s [String]) -> Self {
        let (literals, wildcards): (Vec<&[u8]>, Vec<&[u8]>) = subjects
            .iter()
            .map(String::as_bytes)
            .partition(|subject| is_literal(subject));
        Self {
            literals: literals.into_iter().collect(),
            wildcards,
        }
    }

    /// Whether one of them has messages in common with another subject.
    pub fn collides(&self, other: &str) -> bool {
        let other = other.as_bytes();
        let literal = if is_literal(other) {
            self.literals.contains(other)
        } else {
            self.literals.iter().any(|own| collide(own, other))
        };
        literal || self.wildcards.iter().any(|own| collide(own, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn the_first_two_are_those_that_comparing_all_finds() {
        let mut random = Prng::new(11);
        let mut found = [0; 2];
        for _ in 0..3000 {
            let subjects: Vec<String> = (0..random.below(8))
                .map(|_| {
                    let tokens = (0..1 + random.below(3)).map(|_| {
                        ["a", "b", "c", "d", "*", "e", "f", "g"][random.below(8) as usize]
                    });
                    let tokens: Vec<_> = tokens.collect();
                    let tail = if random.below(12) == 0 { ".>" } else { "" };
                    tokens.join(".") + tail
                })
                .collect();
            let expected = (0..subjects.len())
                .flat_map(|i| (i + 1..subjects.len()).map(move |j| (i, j)))
                .find(|&(i, j)| collide(subjects[i].as_bytes(), subjects[j].as_bytes()));
            let expected = expected.map_or(Among::Nothing, |(i, j)| Among::Two(i, j));
            assert_eq!(among(&subjects, collide), expected, "{subjects:?}");
            found[usize::from(expected == Among::Nothing)] += 1;

            let (own, others) = subjects.split_at(subjects.len() / 2);
            let held = Held::new(own);
            for other in others {
                let expected = own
                    .iter()
                    .any(|own| collide(own.as_bytes(), other.as_bytes()));
                assert_eq!(held.collides(other), expected, "{own:?} {other}");
            }
        }
        assert!(found.iter().all(|&times| times > 500), "{found:?}");
    }

    #[test]
    fn many_literals_are_no_trouble_and_many_wildcards_too_many() {
        let literals: Vec<String> = (0..100_000).map(|i| format!("a.{i}")).collect();
        assert_eq!(among(&literals, collide), Among::Nothing);
        let wildcards: Vec<String> = (0..4_000).map(|i| format!("*.{i}")).collect();
        assert_eq!(among(&wildcards, collide), Among::TooMany);
    }
}
