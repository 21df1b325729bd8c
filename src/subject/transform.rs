//! From a subject to another: what mappings and imports do.
//!
//! A destination is read once ([`function`] knows its spelling) and kept as pieces: literal text
//! with its separators, and functions of the source's tokens. Applying one appends to a buffer of
//! the caller and allocates nothing for subjects of up to [`TOKENS_INLINE`] tokens.
//!
//! What comes out is a valid subject or nothing: a function that would leave an empty token, or
//! make a wildcard out of a part of a token, makes the whole transform not apply. nats-server
//! routes such a subject to nobody. Knows neither accounts nor weights: mappings of an account are made of several.

mod function;

use std::fmt;

use smallvec::SmallVec;

use crate::base::prng::Prng;

use super::{ANY_TAIL, ANY_TOKEN, SEPARATOR, is_subset, is_valid_literal, is_valid_pattern};
use function::Function;

/// Tokens of a subject for which `apply` does not allocate.
const TOKENS_INLINE: usize = 16;

/// Why a transform cannot be made. The texts are nats-server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformError(String);

impl TransformError {
    /// Source or destination are no subjects, or only one of them ends with `>`.
    fn subject() -> Self {
        Self("invalid subject".into())
    }

    /// Something is wrong with `token` of the destination; it is not said if it is empty.
    fn destination(reason: &str, token: &str) -> Self {
        let at = if token.is_empty() { "" } else { " in " };
        Self(format!("invalid mapping destination: {reason}{at}{token}"))
    }
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TransformError {}

/// Maps subjects that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    source: Box<[u8]>,
    pieces: Box<[Piece]>,
    /// The token of the source from which on everything is appended, for `>`.
    tail_from: Option<usize>,
    /// Parts of tokens become tokens: what comes out has to be looked at.
    cuts: bool,
}

/// A part of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Text with separators.
    Literal(Box<[u8]>),
    /// Made of tokens.
    Function(Function),
}

impl Transform {
    /// A transform with all functions, for mappings. An empty source is `>`.
    ///
    /// # Errors
    /// Either is no subject, or a function is unknown or has wrong arguments.
    pub fn new(source: &str, destination: &str) -> Result<Self, TransformError> {
        Self::parse(source, destination, false)
    }

    /// A transform for imports: wildcards only, and all of them used.
    ///
    /// # Errors
    /// As of [`Transform::new`], and if it cannot be reversed.
    pub fn strict(source: &str, destination: &str) -> Result<Self, TransformError> {
        Self::parse(source, destination, true)
    }

    fn parse(source: &str, destination: &str, strict: bool) -> Result<Self, TransformError> {
        let source = if source.is_empty() { ">" } else { source };
        let has_tail = |subject: &str| subject.rsplit('.').next() == Some(">");
        let has_wildcard = |subject: &str| subject.split('.').any(|token| token == "*");
        if !is_valid_pattern(source.as_bytes()) || destination.is_empty() {
            return Err(TransformError::subject());
        }
        check_tokens(destination)?;
        if has_wildcard(destination) || has_tail(source) != has_tail(destination) {
            return Err(TransformError::subject());
        }
        let wildcards: Vec<usize> = positions_of_wildcards(source.as_bytes());
        let mut pieces = Pieces::default();
        let mut used = vec![false; wildcards.len()];
        let mut cuts = false;
        for (i, token) in destination.split('.').enumerate() {
            if i > 0 {
                pieces.literal(&[SEPARATOR]);
            }
            match function::parse(token)? {
                // The tail is what the subject has there.
                None if token.as_bytes() == ANY_TAIL => {}
                None => pieces.literal(token.as_bytes()),
                Some(function) => {
                    if strict && !matches!(function, Function::Wildcard(_)) {
                        return Err(TransformError::destination(
                            "the only mapping function allowed for import transforms is {{Wildcard()}}",
                            token,
                        ));
                    }
                    // Number 0 is no wildcard: reversed, it would let in any token.
                    if strict && function == Function::Wildcard(0) {
                        return Err(TransformError::destination(
                            "wildcard index out of range",
                            token,
                        ));
                    }
                    let function = function.resolve(token, &wildcards, has_tail(source))?;
                    for (used, position) in used.iter_mut().zip(&wildcards) {
                        *used |= function == Function::Wildcard(*position);
                    }
                    cuts |= function.cuts();
                    pieces.list.push(Piece::Function(function));
                }
            }
        }
        if strict && used.contains(&false) {
            return Err(TransformError::destination(
                "not using all of the token wildcard(s)",
                destination,
            ));
        }
        Ok(Self {
            source: source.as_bytes().into(),
            pieces: pieces.list.into(),
            tail_from: has_tail(source).then(|| source.split('.').count() - 1),
            cuts,
        })
    }

    /// The transform back; only for strict ones.
    ///
    /// # Errors
    /// It is none: not all wildcards are used, or functions.
    pub fn reverse(&self) -> Result<Self, TransformError> {
        let irreversible = || TransformError("invalid mapping destination".into());
        // The destination becomes the source, and where each token of the source is in it is kept.
        let mut source = Vec::new();
        let mut wildcards = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => source.extend_from_slice(text),
                Piece::Function(Function::Wildcard(position)) => {
                    let token = source.iter().filter(|&&b| b == SEPARATOR).count();
                    wildcards.push((*position, token));
                    source.extend_from_slice(ANY_TOKEN);
                }
                Piece::Function(_) => return Err(irreversible()),
            }
        }
        let tail_from = self.tail_from.map(|_| {
            let token = source.iter().filter(|&&b| b == SEPARATOR).count();
            source.extend_from_slice(ANY_TAIL);
            token
        });
        let mut pieces = Pieces::default();
        for (i, token) in self.source.split(|&b| b == SEPARATOR).enumerate() {
            if i > 0 {
                pieces.literal(&[SEPARATOR]);
            }
            if token == ANY_TOKEN {
                let found = wildcards.iter().find(|(position, _)| *position == i);
                let (_, token) = found.ok_or_else(irreversible)?;
                pieces
                    .list
                    .push(Piece::Function(Function::Wildcard(*token)));
            } else if token != ANY_TAIL {
                pieces.literal(token);
            }
        }
        Ok(Self {
            source: source.into(),
            pieces: pieces.list.into(),
            tail_from,
            cuts: false,
        })
    }

    /// The pattern of subjects that it maps.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Appends what `subject` becomes to `to`; false, with nothing appended, when the source does
    /// not match, or nothing valid would come out. `random` is for `Random(n)`.
    ///
    /// `subject` may be a pattern within the source, if the transform is strict.
    pub fn apply(&self, subject: &[u8], mut random: u64, to: &mut Vec<u8>) -> bool {
        if !is_subset(subject, &self.source) {
            return false;
        }
        let tokens: SmallVec<[&[u8]; TOKENS_INLINE]> = subject.split(|&b| b == SEPARATOR).collect();
        let before = to.len();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => to.extend_from_slice(text),
                Piece::Function(function) => {
                    function.apply(subject, &tokens, random, to);
                    // Each has its own dice.
                    random = Prng::new(random).next_u64();
                }
            }
        }
        if let Some(from) = self.tail_from {
            // The tokens from there on are one piece of the subject.
            let skipped: usize = tokens.iter().take(from).map(|token| token.len() + 1).sum();
            to.extend_from_slice(subject.get(skipped..).unwrap_or_default());
        }
        if self.cuts && !is_valid_literal(&to[before..]) {
            to.truncate(before);
            return false;
        }
        true
    }
}

/// The wildcards of a pattern as a destination names them: `a.*.b.*` becomes `a.$1.b.$2`.
pub fn with_placeholders(pattern: &str) -> String {
    let mut wildcards = 0;
    let tokens: Vec<String> = pattern
        .split('.')
        .map(|token| {
            if token != "*" {
                return token.to_owned();
            }
            wildcards += 1;
            format!("${wildcards}")
        })
        .collect();
    tokens.join(".")
}

/// Pieces while they are made: neighbouring text becomes one.
#[derive(Default)]
struct Pieces {
    list: Vec<Piece>,
}

impl Pieces {
    fn literal(&mut self, text: &[u8]) {
        if let Some(Piece::Literal(last)) = self.list.last_mut() {
            *last = [last, text].concat().into();
        } else if !text.is_empty() {
            self.list.push(Piece::Literal(text.into()));
        }
    }
}

/// Checks that there is no empty token, `>` only as the last, and no white space but in functions.
fn check_tokens(destination: &str) -> Result<(), TransformError> {
    let invalid = |token| Err(TransformError::destination("invalid transform", token));
    let mut is_after_tail = false;
    for token in destination.split('.') {
        if token.is_empty() || is_after_tail {
            return invalid(token);
        }
        if !function::is_call(token) && token.bytes().any(|b| b == b' ' || b.is_ascii_control()) {
            return invalid("");
        }
        is_after_tail = token.as_bytes() == ANY_TAIL;
    }
    Ok(())
}

fn positions_of_wildcards(source: &[u8]) -> Vec<usize> {
    source
        .split(|&b| b == SEPARATOR)
        .enumerate()
        .filter(|(_, token)| *token == ANY_TOKEN)
        .map(|(position, _)| position)
        .collect()
}

#[cfg(test)]
mod tests;
