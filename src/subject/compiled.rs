//! A pattern made ready to be compared with many subjects. While there are few patterns, going
//! through them costs less than walking an [`super::Index`]: most are a prefix or a literal.

use super::{ANY_TAIL, is_literal, matches};
use crate::base::bytes;

/// Up to so many patterns are better compared one by one than looked up.
pub const COMPARED_MAX: usize = 8;

/// See the module.
#[derive(Clone, Debug)]
pub struct Compiled {
    text: Box<[u8]>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `>`.
    Everything,
    /// No wildcards.
    Literal,
    /// Literal tokens and `>`; the text is without it.
    Below,
    /// Anything else.
    General,
}

impl Compiled {
    /// Makes a pattern ready.
    pub fn new(pattern: &[u8]) -> Self {
        let below = pattern.strip_suffix(ANY_TAIL).unwrap_or_default();
        let (text, kind) = if pattern == ANY_TAIL {
            (pattern, Kind::Everything)
        } else if is_literal(pattern) {
            (pattern, Kind::Literal)
        } else if below.ends_with(b".") && is_literal(below) {
            (below, Kind::Below)
        } else {
            (pattern, Kind::General)
        };
        Self {
            text: text.into(),
            kind,
        }
    }

    /// Whether it matches the literal `subject`: as [`super::matches`].
    #[inline]
    pub fn matches(&self, subject: &[u8]) -> bool {
        match self.kind {
            Kind::Everything => true,
            Kind::Literal => bytes::same(&self.text, subject),
            Kind::Below => {
                let len = self.text.len();
                subject.len() >= len && bytes::same(&self.text, &subject[..len])
            }
            Kind::General => matches(&self.text, subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        let words = ["a", "b", "*", ">", "ab", "", "a*", "b>"];
        let mut patterns: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        for first in words {
            for second in words {
                patterns.push(format!("{first}.{second}"));
                for third in words {
                    patterns.push(format!("{first}.{second}.{third}"));
                }
            }
        }
        let is_pattern = |text: &String| crate::subject::is_valid_pattern(text.as_bytes());
        for pattern in patterns.iter().filter(|p| is_pattern(p)) {
            let compiled = Compiled::new(pattern.as_bytes());
            for subject in &patterns {
                let subject = subject.as_bytes();
                assert_eq!(
                    compiled.matches(subject),
                    matches(pattern.as_bytes(), subject),
                    "{pattern} {subject:?}"
                );
            }
        }
    }
}
