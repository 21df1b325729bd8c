//! A choice of subjects: everything, or what some patterns match.

use crate::subject;

/// Patterns, and what was found out about subjects of one stream by asking it.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    patterns: Box<[Box<[u8]>]>,
}

impl Selection {
    /// Of everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Of what at least one of the patterns matches; of everything when there are none, or one is
    /// `>`.
    pub fn of<P: AsRef<[u8]>>(patterns: &[P]) -> Self {
        if patterns.iter().any(|pattern| pattern.as_ref() == b">") {
            return Self::default();
        }
        Self {
            patterns: patterns
                .iter()
                .map(|pattern| pattern.as_ref().into())
                .collect(),
        }
    }

    /// Whether it is of everything.
    pub fn is_everything(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns; none for everything.
    pub fn patterns(&self) -> &[Box<[u8]>] {
        &self.patterns
    }

    /// Whether a subject is in it.
    pub fn matches(&self, subject: &[u8]) -> bool {
        self.patterns.is_empty()
            || self
                .patterns
                .iter()
                .any(|pattern| subject::matches(pattern, subject))
    }
}
