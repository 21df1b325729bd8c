//! A choice of subjects: everything, or what some patterns match.

use super::index::Memo;
use crate::subject::Compiled;

/// Patterns, and what was found out about subjects of one stream by asking it: a selection must not
/// be used with another stream than the one that it was used with first (a clone neither).
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub(super) patterns: Box<[Box<[u8]>]>,
    pub(super) compiled: Box<[Compiled]>,
    pub(super) memo: Memo,
}

impl Selection {
    /// Of everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Of what at least one of the patterns matches; of everything when there are none, or one is
    /// `>`.
    pub fn of<P: AsRef<[u8]>>(patterns: &[P]) -> Self {
        let patterns = patterns.iter().map(AsRef::as_ref);
        if patterns.clone().any(|pattern| pattern == b">") {
            return Self::default();
        }
        Self {
            patterns: patterns.clone().map(Box::from).collect(),
            compiled: patterns.map(Compiled::new).collect(),
            memo: Memo::default(),
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
        self.patterns.is_empty() || self.compiled.iter().any(|pattern| pattern.matches(subject))
    }
}
