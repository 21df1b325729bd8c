//! The functions of a destination: how they are spelled, and what they do to tokens (ADR-30).
//!
//! Knows no destination as a whole.

use super::TransformError;
use crate::subject::SEPARATOR;

const NOT_ENOUGH: &str = "not enough arguments passed to the function";
const TOO_MANY: &str = "too many arguments passed to the function";
const INVALID: &str = "function argument is invalid or in the wrong format";
const UNKNOWN: &str = "unknown function";
const OUT_OF_RANGE: &str = "wildcard index out of range";

/// A function. As parsed, `token`s are numbers of wildcards from 1 (see [`Function::resolve`]),
/// then positions in the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// The token itself.
    Wildcard(usize),
    /// A number below `buckets` by the hash of these tokens, or of the subject if there are none.
    Partition { buckets: u32, tokens: Box<[usize]> },
    /// The token in pieces, without the delimiter.
    Split { token: usize, delimiter: Box<str> },
    /// The token cut in some way.
    Cut { cut: Cut, token: usize, size: usize },
    /// A number below this.
    Random(u32),
}

/// Ways to cut a token. A size of 0 or of the whole token leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    SplitFromLeft,
    SplitFromRight,
    SliceFromLeft,
    SliceFromRight,
    Left,
    Right,
}

/// How functions are called; names in lower case, with the capital that each word may begin with.
/// In the order in which they are looked for.
const NAMES: [(&str, Kind); 10] = [
    ("Wildcard", Kind::Wildcard),
    ("Partition", Kind::Partition),
    ("SplitFromLeft", Kind::Cut(Cut::SplitFromLeft)),
    ("SplitFromRight", Kind::Cut(Cut::SplitFromRight)),
    ("SliceFromLeft", Kind::Cut(Cut::SliceFromLeft)),
    ("SliceFromRight", Kind::Cut(Cut::SliceFromRight)),
    ("Right", Kind::Cut(Cut::Right)),
    ("Left", Kind::Cut(Cut::Left)),
    ("Split", Kind::Split),
    ("Random", Kind::Random),
];

#[derive(Clone, Copy)]
enum Kind {
    Wildcard,
    Partition,
    Cut(Cut),
    Split,
    Random,
}

/// The function that a token of a destination is, if it is one.
pub fn parse(token: &str) -> Result<Option<Function>, TransformError> {
    if let Some(number) = token.strip_prefix('$') {
        // Other things begin with `$` too.
        return Ok(integer(number).map(|n| Function::Wildcard(wildcard(n))));
    }
    if !is_call(token) {
        return Ok(None);
    }
    for (name, kind) in NAMES {
        if let Some(arguments) = arguments(token, name) {
            return match kind.parse(&arguments) {
                Ok(function) => Ok(Some(function)),
                Err(reason) => Err(TransformError::destination(reason, token)),
            };
        }
    }
    Err(TransformError::destination(UNKNOWN, token))
}

/// Whether a token of a destination is written as the call of a function.
pub fn is_call(token: &str) -> bool {
    token.len() > 4 && token.starts_with("{{") && token.ends_with("}}")
}

impl Kind {
    fn parse(self, arguments: &[&str]) -> Result<Function, &'static str> {
        match self {
            Kind::Wildcard => match arguments {
                [""] => Err(NOT_ENOUGH),
                [index] => Ok(Function::Wildcard(wildcard(integer(index).ok_or(INVALID)?))),
                _ => Err(TOO_MANY),
            },
            Kind::Partition => {
                let (buckets, tokens) = arguments.split_first().ok_or(NOT_ENOUGH)?;
                let tokens: Option<Box<[usize]>> =
                    tokens.iter().map(|t| integer(t).map(wildcard)).collect();
                Ok(Function::Partition {
                    // What is negative wraps round, as there.
                    buckets: count(buckets)? as u32,
                    tokens: tokens.ok_or(INVALID)?,
                })
            }
            Kind::Cut(cut) => {
                let (token, size) = two(arguments)?;
                let token = wildcard(integer(token).ok_or(INVALID)?);
                let size = i32::try_from(integer(size).ok_or(INVALID)?).or(Err(INVALID))?;
                let size = usize::try_from(size).unwrap_or(0);
                Ok(Function::Cut { cut, token, size })
            }
            Kind::Split => {
                let (token, delimiter) = two(arguments)?;
                let token = wildcard(integer(token).ok_or(INVALID)?);
                if delimiter.contains([' ', '.']) {
                    return Err(INVALID);
                }
                Ok(Function::Split {
                    token,
                    delimiter: delimiter.into(),
                })
            }
            Kind::Random => match arguments {
                [limit] => Ok(Function::Random(count(limit)?.unsigned_abs())),
                _ => Err(NOT_ENOUGH),
            },
        }
    }
}

impl Function {
    /// Whether parts of tokens become tokens.
    pub fn cuts(&self) -> bool {
        matches!(self, Function::Split { .. } | Function::Cut { .. })
    }

    /// Numbers of wildcards become the `positions` that they have in the source; `text` is the
    /// token that it was read from. Number 0 is the first token, wildcard or not, as in nats-server.
    pub fn resolve(
        mut self,
        text: &str,
        positions: &[usize],
        has_tail: bool,
    ) -> Result<Self, TransformError> {
        if positions.is_empty() && !has_tail {
            // There are no wildcards to speak of.
            return match self {
                Function::Random(_) => Ok(self),
                Function::Partition { buckets, .. } => Ok(Function::Partition {
                    buckets,
                    tokens: Box::default(),
                }),
                _ => Err(TransformError::destination(OUT_OF_RANGE, text)),
            };
        }
        let position = |number: &mut usize| {
            let found = match *number {
                0 => Some(&0),
                n => positions.get(n - 1),
            };
            let out_of_range =
                || TransformError::destination(OUT_OF_RANGE, &format!("{text}: [{number}]"));
            *number = *found.ok_or_else(out_of_range)?;
            Ok(())
        };
        match &mut self {
            Function::Wildcard(token)
            | Function::Split { token, .. }
            | Function::Cut { token, .. } => position(token)?,
            Function::Partition { tokens, .. } => tokens.iter_mut().try_for_each(position)?,
            Function::Random(_) => {}
        }
        Ok(self)
    }

    /// Appends its value for `subject`, which has these `tokens`.
    pub fn apply(&self, subject: &[u8], tokens: &[&[u8]], random: u64, to: &mut Vec<u8>) {
        let at = |position: usize| tokens.get(position).copied().unwrap_or_default();
        match self {
            Function::Wildcard(token) => to.extend_from_slice(at(*token)),
            Function::Partition { buckets, tokens } => {
                let hash = if tokens.is_empty() {
                    fnv1a(FNV_OFFSET, subject)
                } else {
                    let add = |hash, &token: &usize| fnv1a(hash, at(token));
                    tokens.iter().fold(FNV_OFFSET, add)
                };
                push_number(hash.checked_rem(*buckets).unwrap_or(0), to);
            }
            Function::Split { token, delimiter } => split(at(*token), delimiter.as_bytes(), to),
            Function::Cut { cut, token, size } => cut.apply(at(*token), *size, to),
            Function::Random(limit) => {
                push_number(((random >> 32) as u32).checked_rem(*limit).unwrap_or(0), to);
            }
        }
    }
}

impl Cut {
    fn apply(self, token: &[u8], size: usize, to: &mut Vec<u8>) {
        if size == 0 || size >= token.len() {
            to.extend_from_slice(token);
            return;
        }
        let last = token.len() - size;
        match self {
            Cut::SplitFromLeft => push_two(token.split_at(size), to),
            Cut::SplitFromRight => push_two(token.split_at(last), to),
            Cut::SliceFromLeft => push_all(token.chunks(size), to),
            Cut::SliceFromRight => {
                // The short piece comes first.
                let (short, rest) = token.split_at(token.len() % size);
                let short = (!short.is_empty()).then_some(short);
                push_all(short.into_iter().chain(rest.chunks(size)), to);
            }
            Cut::Left => to.extend_from_slice(&token[..size]),
            Cut::Right => to.extend_from_slice(&token[last..]),
        }
    }
}

/// Between delimiters there is a token where there is something. Only a token that begins with
/// two delimiters is left with an empty one, and so with none, as in nats-server.
fn split(token: &[u8], delimiter: &[u8], to: &mut Vec<u8>) {
    if delimiter.is_empty() {
        // Character by character; bytes that are none count as one each.
        let chunks = token.utf8_chunks().flat_map(|chunk| {
            let valid = chunk.valid();
            let characters = valid
                .char_indices()
                .map(move |(at, c)| &valid.as_bytes()[at..at + c.len_utf8()]);
            characters.chain(chunk.invalid().chunks(1))
        });
        push_all(chunks, to);
        return;
    }
    let mut rest = token;
    let mut is_first = true;
    let mut was_skipped = false;
    loop {
        let end = memchr::memmem::find(rest, delimiter);
        let piece = &rest[..end.unwrap_or(rest.len())];
        if !piece.is_empty() {
            if !is_first && !was_skipped {
                to.push(SEPARATOR);
            }
            to.extend_from_slice(piece);
        }
        was_skipped = is_first && piece.is_empty();
        is_first = false;
        match end {
            Some(at) => rest = &rest[at + delimiter.len()..],
            None => return,
        }
    }
}

fn push_two((one, other): (&[u8], &[u8]), to: &mut Vec<u8>) {
    push_all([one, other].into_iter(), to);
}

fn push_all<'a>(pieces: impl Iterator<Item = &'a [u8]>, to: &mut Vec<u8>) {
    for (i, piece) in pieces.enumerate() {
        if i > 0 {
            to.push(SEPARATOR);
        }
        to.extend_from_slice(piece);
    }
}

fn push_number(mut number: u32, to: &mut Vec<u8>) {
    let at = to.len();
    loop {
        to.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    to[at..].reverse();
}

const FNV_OFFSET: u32 = 0x811c_9dc5;

/// FNV-1a of 32 bits, going on from `hash`.
fn fnv1a(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, &b| {
        (hash ^ u32::from(b)).wrapping_mul(0x0100_0193)
    })
}

/// The arguments of function `name`, if that is what the token calls. What stands around the call
/// does not matter, as in nats-server.
fn arguments<'t>(token: &'t str, name: &str) -> Option<Vec<&'t str>> {
    let call = token
        .match_indices("{{")
        .find_map(|(at, _)| call(&token[at + 2..], name))?;
    if call.contains('\n') {
        return None;
    }
    let mut arguments = call.split(',');
    let first = arguments.next();
    // White space after a comma does not count.
    let rest = arguments.map(|argument| argument.trim_start_matches(is_space));
    Some(first.into_iter().chain(rest).collect())
}

/// What stands between the parentheses of `name ( … ) }}`.
fn call<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let text = text.trim_start_matches(is_space);
    let (spelled, rest) = text.split_at_checked(name.len())?;
    let same = |(one, other): (char, char)| {
        // Only the capitals may be small, not the other way round.
        one == other || (other.is_ascii_uppercase() && one == other.to_ascii_lowercase())
    };
    if !spelled.chars().zip(name.chars()).all(same) {
        return None;
    }
    let inside = rest.trim_start_matches(is_space).strip_prefix('(')?;
    let ends = |at: usize| {
        inside[at + 1..]
            .trim_start_matches(is_space)
            .starts_with("}}")
    };
    let (end, _) = inside.rmatch_indices(')').find(|&(at, _)| ends(at))?;
    Some(&inside[..end])
}

/// White space of a regular expression.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

fn two<'t>(arguments: &[&'t str]) -> Result<(&'t str, &'t str), &'static str> {
    match arguments {
        [one, other] => Ok((one, other)),
        [] | [_] => Err(NOT_ENOUGH),
        _ => Err(TOO_MANY),
    }
}

/// A decimal number, with a sign or without.
fn integer(text: &str) -> Option<i64> {
    text.trim_matches(' ').parse().ok()
}

/// A number that must not be larger than one of 32 bits; below, it wraps round, as in nats-server.
fn count(text: &str) -> Result<i32, &'static str> {
    match integer(text) {
        Some(n) if n <= i64::from(i32::MAX) => Ok(n as i32),
        _ => Err(INVALID),
    }
}

/// The number of a wildcard; what is negative counts as 0.
fn wildcard(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}
