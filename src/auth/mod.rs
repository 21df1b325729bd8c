//! Who may connect.
//!
//! From the command line there is a token, or one user with a password, or nobody to check.
//! Secrets are compared in constant time: how long a refusal takes says nothing about how much of
//! a guess was right.

pub mod accounts;
pub mod admission;
pub mod callout;
pub mod certificate;
pub mod claims;
pub mod definition;
pub mod gate;
pub mod mapping;
pub mod nkey;
pub mod password;
pub mod permissions;
pub mod templates;
pub mod trust;
#[cfg(test)]
mod vectors;
pub mod xkey;

pub use password::is_bcrypt;
use subtle::ConstantTimeEq;

/// What a client presents.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// User name.
    pub user: Option<&'a str>,
    /// Password.
    pub pass: Option<&'a str>,
    /// Token.
    pub token: Option<&'a str>,
}

/// What the server asks for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Authenticator {
    /// Anybody may connect.
    #[default]
    Open,
    /// Who knows the token may.
    Token(String),
    /// Who knows this user's password may.
    User {
        /// User name.
        name: String,
        /// Password.
        pass: String,
    },
}

impl Authenticator {
    /// Whether a client must present something.
    pub fn is_required(&self) -> bool {
        *self != Authenticator::Open
    }

    /// Whether these credentials will do.
    pub fn accepts(&self, given: &Credentials<'_>) -> bool {
        match self {
            Authenticator::Open => true,
            Authenticator::Token(token) => same(given.token, token),
            Authenticator::User { name, pass } => {
                // Both are always compared.
                same(given.user, name) & same(given.pass, pass)
            }
        }
    }
}

fn same(given: Option<&str>, wanted: &str) -> bool {
    given.is_some_and(|given| given.as_bytes().ct_eq(wanted.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may() {
        let user = Authenticator::User {
            name: "a".into(),
            pass: "b".into(),
        };
        let token = Authenticator::Token("t".into());
        let given = |user, pass, token| Credentials { user, pass, token };
        let cases = [
            (&Authenticator::Open, given(None, None, None), true),
            (
                &Authenticator::Open,
                given(Some("x"), Some("y"), None),
                true,
            ),
            (&user, given(Some("a"), Some("b"), None), true),
            (&user, given(Some("a"), Some("c"), None), false),
            (&user, given(Some("A"), Some("b"), None), false),
            (&user, given(Some("a"), None, None), false),
            (&user, given(None, None, Some("b")), false),
            (&token, given(None, None, Some("t")), true),
            (&token, given(Some("u"), None, Some("t")), true),
            (&token, given(None, Some("t"), None), false),
            (&token, given(None, None, Some("")), false),
        ];
        for (authenticator, credentials, expected) in cases {
            assert_eq!(
                authenticator.accepts(&credentials),
                expected,
                "{authenticator:?} {credentials:?}"
            );
        }
    }
}
