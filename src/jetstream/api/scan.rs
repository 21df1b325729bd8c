//! Where a JSON value begins and ends, and what Go says when it is none. It does not know what
//! values mean.
//!
//! The decoder behind it walks only over what has passed here, so it cannot meet a mistake.

use std::ops::Range;

/// Objects and arrays within each other; Go has the same limit.
const DEPTH_MAX: usize = 10_000;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The text ends before the value does.
    Ends,
    /// A character that may not be there, as Go says it, and how many bytes there are up to it.
    Invalid(String, usize),
}

/// What must come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A value.
    Value,
    /// A value, or the end of an array.
    ValueOrEnd,
    /// A key.
    Key,
    /// A key, or the end of an object.
    KeyOrEnd,
    /// A colon.
    Colon,
    /// A comma or the end of what is open.
    Next,
}

/// The first value at or after `from`, or none if there is only white space.
///
/// # Errors
/// When what is there is not a value.
pub fn value(text: &[u8], from: usize) -> Result<Option<Range<usize>>, Flaw> {
    let mut at = skip_space(text, from);
    if at == text.len() {
        return Ok(None);
    }
    let start = at;
    // Whether each open one is an object.
    let mut open: Vec<bool> = Vec::new();
    let mut expect = Expect::Value;
    loop {
        at = skip_space(text, at);
        let byte = *text.get(at).ok_or(Flaw::Ends)?;
        match (expect, byte) {
            (Expect::ValueOrEnd, b']') | (Expect::KeyOrEnd, b'}') => {
                open.pop();
                at += 1;
                expect = Expect::Next;
            }
            (Expect::Value | Expect::ValueOrEnd, b'{' | b'[') => {
                if open.len() == DEPTH_MAX {
                    return Err(Flaw::Invalid("exceeded max depth".to_owned(), at + 1));
                }
                let object = byte == b'{';
                open.push(object);
                at += 1;
                expect = if object {
                    Expect::KeyOrEnd
                } else {
                    Expect::ValueOrEnd
                };
                continue;
            }
            (Expect::Value | Expect::ValueOrEnd, _) => {
                at = literal(text, at)?;
                expect = Expect::Next;
            }
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                at = string(text, at)?;
                expect = Expect::Colon;
                continue;
            }
            (Expect::Key | Expect::KeyOrEnd, _) => {
                return Err(invalid(
                    text,
                    at,
                    "looking for beginning of object key string",
                ));
            }
            (Expect::Colon, b':') => {
                at += 1;
                expect = Expect::Value;
                continue;
            }
            (Expect::Colon, _) => return Err(invalid(text, at, "after object key")),
            (Expect::Next, b',') => {
                at += 1;
                let object = open.last() == Some(&true);
                expect = if object { Expect::Key } else { Expect::Value };
                continue;
            }
            (Expect::Next, b'}') if open.last() == Some(&true) => {
                open.pop();
                at += 1;
            }
            (Expect::Next, b']') if open.last() == Some(&false) => {
                open.pop();
                at += 1;
            }
            (Expect::Next, _) => {
                let object = open.last() == Some(&true);
                let place = if object {
                    "after object key:value pair"
                } else {
                    "after array element"
                };
                return Err(invalid(text, at, place));
            }
        }
        if open.is_empty() {
            return Ok(Some(start..at));
        }
    }
}

/// The first place at or after `at` that is not white space.
pub fn skip_space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let space = rest
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
        .count();
    at + space
}

/// The end of a string, a number or a word.
pub fn literal(text: &[u8], at: usize) -> Result<usize, Flaw> {
    match text.get(at) {
        Some(b'"') => string(text, at),
        Some(b'-' | b'0'..=b'9') => number(text, at),
        Some(b't') => word(text, at, "true"),
        Some(b'f') => word(text, at, "false"),
        Some(b'n') => word(text, at, "null"),
        Some(_) => Err(invalid(text, at, "looking for beginning of value")),
        None => Err(Flaw::Ends),
    }
}

/// The end of a string that begins at `at`.
pub fn string(text: &[u8], at: usize) -> Result<usize, Flaw> {
    let mut at = at + 1;
    loop {
        match *text.get(at).ok_or(Flaw::Ends)? {
            b'"' => return Ok(at + 1),
            b'\\' => at += escape(text, at)?,
            0..0x20 => return Err(invalid(text, at, "in string")),
            _ => at += 1,
        }
    }
}

/// The length of what begins with a backslash.
fn escape(text: &[u8], at: usize) -> Result<usize, Flaw> {
    let rest = &text[at..];
    let length = match *rest.get(1).ok_or(Flaw::Ends)? {
        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => return Ok(2),
        b'u' => {
            let digits = &rest[2..rest.len().min(6)];
            if digits.iter().all(u8::is_ascii_hexdigit) {
                return if digits.len() == 4 {
                    Ok(6)
                } else {
                    Err(Flaw::Ends)
                };
            }
            2 + digits.len()
        }
        _ => 2,
    };
    let sequence = &rest[..length];
    // Go shows it as it is if that can be read.
    let plain = str::from_utf8(sequence).is_ok_and(|sequence| {
        !sequence.contains(|c: char| c == '`' || c.is_whitespace() || c.is_control())
    });
    let shown = if plain {
        format!("`{}`", String::from_utf8_lossy(sequence))
    } else {
        go_quoted(sequence)
    };
    let message = format!("invalid escape sequence {shown} in string");
    Err(Flaw::Invalid(message, at + length))
}

fn word(text: &[u8], at: usize, word: &str) -> Result<usize, Flaw> {
    for (i, expected) in word.bytes().enumerate() {
        if *text.get(at + i).ok_or(Flaw::Ends)? != expected {
            let place = format!("in literal {word} (expecting '{}')", char::from(expected));
            return Err(invalid(text, at + i, &place));
        }
    }
    Ok(at + word.len())
}

fn number(text: &[u8], at: usize) -> Result<usize, Flaw> {
    let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let digits = |mut at: usize| {
        while digit(at) {
            at += 1;
        }
        at
    };
    // A digit, or what Go says.
    let must = |at: usize| match text.get(at) {
        None => Err(Flaw::Ends),
        Some(b'0'..=b'9') => Ok(at),
        Some(_) => Err(invalid(text, at, "in numeric literal")),
    };
    let mut at = at;
    if text.get(at) == Some(&b'-') {
        at = must(at + 1)?;
    }
    at = if text.get(at) == Some(&b'0') {
        at + 1
    } else {
        digits(at)
    };
    if text.get(at) == Some(&b'.') {
        at = digits(must(at + 1)?);
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = text.get(at) {
            at += 1;
        }
        at = digits(must(at)?);
    }
    Ok(at)
}

fn invalid(text: &[u8], at: usize, place: &str) -> Flaw {
    let (quoted, length) = quoted_char(&text[at..]);
    Flaw::Invalid(format!("invalid character {quoted} {place}"), at + length)
}

/// What Go says of something that does not belong there.
pub fn unexpected(text: &[u8], at: usize, place: &str) -> String {
    format!("invalid character {} {place}", quoted_char(&text[at..]).0)
}

/// The first character in single quotes, and its length.
fn quoted_char(text: &[u8]) -> (String, usize) {
    let first = text.utf8_chunks().next();
    match first.and_then(|chunk| chunk.valid().chars().next()) {
        Some('"') => ("'\"'".to_owned(), 1),
        Some('\'') => ("'\\''".to_owned(), 1),
        Some(c) => (format!("'{}'", go_escaped(c)), c.len_utf8()),
        None => {
            let byte = text.first().copied().unwrap_or_default();
            (format!("'\\x{byte:x}'"), 1)
        }
    }
}

/// A character as Go's `%q` writes it.
fn go_escaped(c: char) -> String {
    match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\x07' => "\\a".to_owned(),
        '\x08' => "\\b".to_owned(),
        '\x0c' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\x0b' => "\\v".to_owned(),
        c if c < ' ' || c == '\x7f' => format!("\\x{:02x}", u32::from(c)),
        // Neither controls nor spaces but the ordinary one are printed.
        c if (c.is_control() || c.is_whitespace() || c == '\u{ad}') && c != ' ' => {
            format!("\\u{:04x}", u32::from(c))
        }
        c => c.to_string(),
    }
}

/// Text as Go's `%q` writes it.
pub fn go_quoted(text: &[u8]) -> String {
    let mut out = String::from('"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            out.push_str(&go_escaped(c));
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        let check = |text: &str, expected: Option<&str>| {
            let found = value(text.as_bytes(), 0).unwrap();
            assert_eq!(found.map(|range| &text[range]), expected, "{text}");
        };
        check("", None);
        check(" \r\n\t", None);
        check("{}", Some("{}"));
        check(
            " {\"a\":[1,-0.5e+3,{}],\"b\":null} {}",
            Some("{\"a\":[1,-0.5e+3,{}],\"b\":null}"),
        );
        check("12 3", Some("12"));
        check("true", Some("true"));
        check("[]x", Some("[]"));
        check(r#""a\"\u00e9""#, Some(r#""a\"\u00e9""#));
    }

    #[test]
    fn mistakes_are_said_as_go_says_them() {
        let check = |text: &str, message: &str, at: usize| {
            let expected = Flaw::Invalid(format!("invalid {message}"), at);
            assert_eq!(value(text.as_bytes(), 0), Err(expected), "{text}");
        };
        check("x", "character 'x' looking for beginning of value", 1);
        check(
            "{a}",
            "character 'a' looking for beginning of object key string",
            2,
        );
        check(r#"{"a" 1}"#, "character '1' after object key", 6);
        check(r#"{"a":1]"#, "character ']' after object key:value pair", 7);
        check(
            r#"{"a":1,}"#,
            "character '}' looking for beginning of object key string",
            8,
        );
        check("[1 2]", "character '2' after array element", 4);
        check("[1,]", "character ']' looking for beginning of value", 4);
        check(
            "{'a':1}",
            r"character '\'' looking for beginning of object key string",
            2,
        );
        check(r#"[""""#, "character '\"' after array element", 4);
        check("\"a\nb\"", r"character '\n' in string", 3);
        check(r#""\x""#, r"escape sequence `\x` in string", 3);
        check(r#""\u12g4""#, r"escape sequence `\u12g4` in string", 7);
        check("tru3", "character '3' in literal true (expecting 'e')", 4);
        check("-x", "character 'x' in numeric literal", 2);
        check("[01]", "character '1' after array element", 3);
        check("1.x", "character 'x' in numeric literal", 3);
        check("1ex", "character 'x' in numeric literal", 3);
        check("\u{e9}", "character 'é' looking for beginning of value", 2);
        check(
            "\x01",
            r"character '\x01' looking for beginning of value",
            1,
        );
        let deep = "[".repeat(DEPTH_MAX + 1);
        let expected = Flaw::Invalid("exceeded max depth".to_owned(), DEPTH_MAX + 1);
        assert_eq!(value(deep.as_bytes(), 0), Err(expected));
    }

    #[test]
    fn what_is_cut_off_ends() {
        for text in [
            "{", "[", "\"a", "\"\\", "tr", "-", "1.", "1e", "{\"a\"", "{\"a\":", "[1",
        ] {
            assert_eq!(value(text.as_bytes(), 0), Err(Flaw::Ends), "{text}");
        }
    }
}
