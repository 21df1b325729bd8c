//! Comparing what is stored with what is presented: plain text in constant time, or bcrypt.

use std::fmt;

use subtle::ConstantTimeEq;

use super::definition::Secret;

/// A stored password or token.
#[derive(Clone)]
pub enum Password {
    /// The text itself.
    Plain(Secret),
    /// A bcrypt hash of it, which takes a while to compare.
    Hashed(Secret),
}

impl Password {
    /// Sorts what the operator wrote: `$2a$11$…` is a hash.
    pub fn new(stored: &Secret) -> Self {
        if is_bcrypt(&stored.0) {
            Password::Hashed(stored.clone())
        } else {
            Password::Plain(stored.clone())
        }
    }

    /// Whether comparing takes milliseconds.
    pub fn is_slow(&self) -> bool {
        matches!(self, Password::Hashed(_))
    }

    /// Whether this is what was stored. Nothing is as good as an empty text, but for a hash: whoever
    /// presents nothing causes no work.
    pub fn matches(&self, presented: Option<&Secret>) -> bool {
        let text = presented.map_or("", |secret| secret.0.as_str());
        match self {
            Password::Plain(stored) => same(&stored.0, text),
            Password::Hashed(_) if presented.is_none() => false,
            // A hash that cannot be read fits nothing.
            Password::Hashed(stored) => bcrypt::verify(text, &stored.0).unwrap_or(false),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// Compares in a time that tells nothing of where they differ.
pub fn same(stored: &str, presented: &str) -> bool {
    stored.as_bytes().ct_eq(presented.as_bytes()).into()
}

/// Whether a stored password is a bcrypt hash: `$2[abxy]$`, two digits, `$`.
pub fn is_bcrypt(stored: &str) -> bool {
    match stored.as_bytes() {
        [b'$', b'2', kind, b'$', tens, ones, b'$', ..] => {
            b"abxy".contains(kind) && tens.is_ascii_digit() && ones.is_ascii_digit()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `nats server passwd` with cost 4 for `s3cr3t`, in the spellings of the prefix.
    const HASH: &str = "$2a$04$HoIuWoo2bj8nlDmXvQauvubBrDIfXiFFG1s72nUi/VoWp/DgnuVPG";

    #[test]
    fn passwords() {
        let secret = |text: &str| Secret(text.to_owned());
        let cases = [
            ("a", Some("a"), true),
            ("a", Some("b"), false),
            ("a", Some("aa"), false),
            ("a", Some(""), false),
            ("a", None, false),
            ("", None, true),
            ("$2a$x", Some("$2a$x"), true),
            ("$2c$04$abc", Some("$2c$04$abc"), true),
            (HASH, Some("s3cr3t"), true),
            (HASH, Some("s3cr3T"), false),
            (HASH, Some(HASH), false),
            (HASH, None, false),
            // Looks like a hash and is none.
            ("$2a$04$short", Some("$2a$04$short"), false),
            (
                "$2a$99$KPPn3rFbb8fCHaF/vEWA4eUqGZKVv6Hr4vpVZaTzlcgO3SKdi/y2a",
                Some("x"),
                false,
            ),
        ];
        for (stored, presented, expected) in cases {
            let password = Password::new(&secret(stored));
            let presented = presented.map(secret);
            assert_eq!(password.matches(presented.as_ref()), expected, "{stored}");
            assert!(!format!("{password:?}").contains("$2"));
        }
        for kind in ["a", "b", "y"] {
            let hash = HASH.replacen("$2a$", &format!("$2{kind}$"), 1);
            assert!(
                Password::new(&secret(&hash)).matches(Some(&secret("s3cr3t"))),
                "{kind}"
            );
        }
        assert!(is_bcrypt("$2x$11$"));
    }
}
