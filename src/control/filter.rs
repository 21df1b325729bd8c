//! Subjects with wildcards on both sides.

/// Whether a message could match both patterns.
pub fn collide(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// Whether every message that matches `subject`, which may have wildcards, matches `of` too.
pub fn is_subset(subject: &str, of: &str) -> bool {
    let (mut subject, mut of) = (subject.split('.'), of.split('.'));
    loop {
        match (subject.next(), of.next()) {
            (None, None) | (Some(_), Some(">")) => return true,
            (Some(token), Some("*")) if token != ">" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_against_patterns() {
        let cases = [
            ("a.b", "a.b", true, true),
            ("a.b", "a.c", false, false),
            ("a.*", "a.b", true, false),
            ("a.b", "a.*", true, true),
            ("a.*", "*.b", true, false),
            ("a.>", "a", false, false),
            ("a.>", "a.b.c", true, false),
            ("a.b.c", "a.>", true, true),
            ("a.*", "a.>", true, true),
            ("a.>", "a.*", true, false),
            (">", ">", true, true),
            ("a.*.c", "a.b", false, false),
        ];
        for (a, b, may_collide, subset) in cases {
            assert_eq!(collide(a, b), may_collide, "{a} {b}");
            assert_eq!(collide(b, a), may_collide, "{b} {a}");
            assert_eq!(is_subset(a, b), subset, "{a} {b}");
        }
    }
}
