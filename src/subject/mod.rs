//! Subjects: what is valid, what matches what, and an index of patterns.
//!
//! A subject is tokens separated by `.`; in a pattern the token `*` stands for any one token and
//! a last token `>` for one or more (docs.nats.io, "Subject-Based Messaging"). This module knows
//! no subscriber: the index maps a pattern to a number, and others hang what they like on it.

mod compiled;
pub mod index;
pub mod transform;

pub use compiled::{COMPARED_MAX, Compiled};
pub use index::{EntryId, Index, SubjectHash};
pub use transform::{Transform, TransformError, with_placeholders};

/// Separates tokens.
pub const SEPARATOR: u8 = b'.';
/// Matches one token.
pub const ANY_TOKEN: &[u8] = b"*";
/// Matches the rest, at least one token.
pub const ANY_TAIL: &[u8] = b">";

/// Whether `pattern` may be subscribed to: no empty token, no white space, `>` only as the last.
/// A `*` or `>` inside a longer token is an ordinary character, as in nats-server.
pub fn is_valid_pattern(pattern: &[u8]) -> bool {
    let mut tokens = pattern.split(|&b| b == SEPARATOR).peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() || token.iter().any(|b| b" \t\n\r\x0c".contains(b)) {
            return false;
        }
        if token == ANY_TAIL && tokens.peek().is_some() {
            return false;
        }
    }
    true
}

/// Whether `subject` may be published to: valid, and no token is a wildcard.
pub fn is_valid_literal(subject: &[u8]) -> bool {
    is_valid_pattern(subject) && is_literal(subject)
}

/// Whether no token of `subject` is a wildcard.
#[inline]
pub fn is_literal(subject: &[u8]) -> bool {
    // Most subjects hold neither character anywhere.
    if !subject.iter().any(|&b| b == b'*' || b == b'>') {
        return true;
    }
    !subject
        .split(|&b| b == SEPARATOR)
        .any(|token| token == ANY_TOKEN || token == ANY_TAIL)
}

/// Whether `pattern` matches the literal `subject`: the definition the index is tested against.
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut tokens = subject.split(|&b| b == SEPARATOR);
    for wanted in pattern.split(|&b| b == SEPARATOR) {
        if wanted == ANY_TAIL {
            return tokens.next().is_some();
        }
        match tokens.next() {
            Some(token) if wanted == ANY_TOKEN || wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether every subject that `pattern` matches is matched by `wider`. An empty token is in none.
pub fn is_subset(pattern: &[u8], wider: &[u8]) -> bool {
    let mut tokens = pattern.split(|&b| b == SEPARATOR);
    for wanted in wider.split(|&b| b == SEPARATOR) {
        let Some(token) = tokens.next() else {
            return false;
        };
        if token.is_empty() {
            return false;
        }
        if wanted == ANY_TAIL {
            return true;
        }
        let covered = wanted == token || (wanted == ANY_TOKEN && token != ANY_TAIL);
        if !covered {
            return false;
        }
    }
    tokens.next().is_none()
}

/// Whether there is a subject that both patterns match.
pub fn collide(one: &[u8], other: &[u8]) -> bool {
    let mut ones = one.split(|&b| b == SEPARATOR);
    let mut others = other.split(|&b| b == SEPARATOR);
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some(a), Some(b)) if a == ANY_TAIL || b == ANY_TAIL => return true,
            (Some(a), Some(b)) if a == b || a == ANY_TOKEN || b == ANY_TOKEN => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let cases: &[(&str, bool)] = &[
            ("foo", true),
            ("foo.bar", true),
            ("foo.*", true),
            ("foo.>", true),
            (">", true),
            ("*", true),
            ("*.*", true),
            ("foo*", true),
            ("foo>.bar", true),
            ("", false),
            (".", false),
            (".foo", false),
            ("foo.", false),
            ("foo..bar", false),
            ("foo.>.bar", false),
            ("foo bar", false),
            ("foo\tbar", false),
        ];
        for &(pattern, valid) in cases {
            assert_eq!(is_valid_pattern(pattern.as_bytes()), valid, "{pattern:?}");
        }
    }

    #[test]
    fn literals() {
        for (subject, literal) in [("a.b", true), ("a.*", false), (">", false), ("a*.b>", true)] {
            assert_eq!(is_literal(subject.as_bytes()), literal, "{subject:?}");
        }
    }

    #[test]
    fn patterns_against_patterns() {
        // One, the other, one within the other, the other within the one, a subject in both.
        let cases: &[(&str, &str, bool, bool, bool)] = &[
            ("a", "a", true, true, true),
            ("a", "b", false, false, false),
            ("a", "*", true, false, true),
            ("a", ">", true, false, true),
            ("*", ">", true, false, true),
            ("a.*", "a.>", true, false, true),
            ("a.*", "*.b", false, false, true),
            ("a.*", "*.b.*", false, false, false),
            ("a.>", "*.b.*", false, false, true),
            ("a.>", "a", false, false, false),
            ("a.>", "b.>", false, false, false),
            ("a.", "a.*", false, false, true),
            ("a..b", "a.>", false, false, true),
        ];
        for &(one, other, within, around, both) in cases {
            let (a, b) = (one.as_bytes(), other.as_bytes());
            assert_eq!(is_subset(a, b), within, "{one} within {other}");
            assert_eq!(is_subset(b, a), around, "{other} within {one}");
            assert_eq!(collide(a, b), both, "{one} and {other}");
            assert_eq!(collide(b, a), both, "{other} and {one}");
        }
    }

    #[test]
    fn matching() {
        let cases: &[(&str, &str, bool)] = &[
            ("foo", "foo", true),
            ("foo", "foo.bar", false),
            ("foo.*", "foo.bar", true),
            ("foo.*", "foo", false),
            ("foo.*", "foo.bar.baz", false),
            ("foo.>", "foo", false),
            ("foo.>", "foo.bar.baz", true),
            (">", "foo", true),
            ("*.bar", "foo.bar", true),
            ("foo*", "foobar", false),
        ];
        for &(pattern, subject, expected) in cases {
            assert_eq!(
                matches(pattern.as_bytes(), subject.as_bytes()),
                expected,
                "{pattern} {subject}"
            );
        }
    }
}
