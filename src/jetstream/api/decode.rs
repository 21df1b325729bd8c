//! Reading JSON as Go's encoding/json does, because requests that nats-server takes must be taken,
//! and those that it refuses refused with its words. It does not know what is read.
//!
//! What is particular to Go: names match in any case; of several equal names the last counts;
//! `null` leaves numbers and strings alone; a value of a wrong type is remembered and reading goes
//! on, and the first such error is the answer. nats-server reads one value after another until the
//! text ends, each into the same place.
//!
//! Go's words changed when encoding/json was built anew on its second version; these are the newer
//! ones, as nats-server 2.15.1 says them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::store::UnixNanos;

use super::errors::{ApiError, Code};
use super::scan::{self, Flaw};
use super::time;

/// What can be read.
pub trait Decode: Default {
    /// Go's name of the type, with its package.
    const TYPE: &'static str;

    /// One of which nothing was said.
    fn unsaid() -> Self {
        Self::default()
    }

    /// Reads one field by its name in lower case.
    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known;
}

/// Whether a field of that name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It does, and its value was read.
    Yes,
    /// It does not, and nothing was read.
    No,
}

/// Reads a request. Strictly, names that nobody knows are errors, and what follows the first value
/// is read too.
///
/// # Errors
/// `invalid JSON: …`.
pub fn request<T: Decode>(text: &[u8], strict: bool) -> Result<T, ApiError> {
    let mut value = T::unsaid();
    match all_values(text, &mut value) {
        Err(_) if !strict => one_value(text, &mut value),
        result => result,
    }
    .map(|()| value)
    .map_err(|message| Code::InvalidJson.with(&[&message]))
}

/// As Go's `Decoder`, until the text ends.
fn all_values<T: Decode>(text: &[u8], into: &mut T) -> Result<(), String> {
    let mut from = 0;
    loop {
        let range = match scan::value(text, from) {
            Ok(Some(range)) => range,
            Ok(None) => return Ok(()),
            Err(Flaw::Ends) => return Err("unexpected EOF".to_owned()),
            Err(Flaw::Invalid(message, offset)) => {
                return Err(format!("{message} at offset {offset}"));
            }
        };
        from = range.end;
        Decoder::new(&text[range], true).read(into)?;
    }
}

/// As Go's `Unmarshal`: one value and nothing else.
///
/// # Errors
/// What Go says.
pub fn one_value<T: Decode>(text: &[u8], into: &mut T) -> Result<(), String> {
    let ends = || "unexpected end of JSON input".to_owned();
    let range = match scan::value(text, 0) {
        Ok(Some(range)) => range,
        Ok(None) | Err(Flaw::Ends) => return Err(ends()),
        Err(Flaw::Invalid(message, _)) => return Err(message),
    };
    let behind = scan::skip_space(text, range.end);
    if behind < text.len() {
        return Err(scan::unexpected(text, behind, "after top-level value"));
    }
    Decoder::new(&text[range], false).read(into)
}

/// Where reading is.
#[derive(Debug)]
pub struct Decoder<'t> {
    /// One value that is known to be well-formed.
    text: &'t [u8],
    at: usize,
    /// Whether unknown names are errors.
    strict: bool,
    /// Names and indices on the way here, for errors.
    path: Vec<String>,
    /// The type of the whole.
    root: &'static str,
    /// The first error.
    saved: Option<String>,
}

impl<'t> Decoder<'t> {
    fn new(text: &'t [u8], strict: bool) -> Self {
        Self {
            text,
            at: 0,
            strict,
            path: Vec::new(),
            root: "",
            saved: None,
        }
    }

    fn read<T: Decode>(mut self, into: &mut T) -> Result<(), String> {
        self.root = short(T::TYPE);
        // As a pointer: `null` is nothing.
        if !self.null() {
            self.object(into);
        }
        self.saved.map_or(Ok(()), Err)
    }

    /// Reads an object.
    pub fn object<T: Decode>(&mut self, into: &mut T) -> Known {
        if self.peek() != b'{' {
            self.mismatch(T::TYPE);
            return Known::Yes;
        }
        self.members(|decoder, key| {
            let folded = folded(&key);
            let known = into.field(&folded, decoder);
            if known == Known::No {
                if decoder.strict {
                    let quoted = scan::go_quoted(key.as_bytes());
                    decoder.save(format!("json: unknown field {quoted}"));
                }
                decoder.skip();
            }
        });
        Known::Yes
    }

    /// Reads an object that may be missing: `null` makes it so.
    pub fn optional<T: Decode>(&mut self, into: &mut Option<T>) -> Known {
        if self.null() {
            *into = None;
            return Known::Yes;
        }
        self.object(into.get_or_insert_with(T::unsaid))
    }

    /// Reads a list of objects; `null` among them is one without anything.
    pub fn objects<T: Decode>(&mut self, into: &mut Vec<T>, list_type: &str) -> Known {
        into.clear();
        self.list(list_type, |decoder| {
            let mut element = T::unsaid();
            if !decoder.null() {
                decoder.object(&mut element);
            }
            into.push(element);
        })
    }

    /// Reads a string.
    pub fn string(&mut self, into: &mut String) -> Known {
        match self.peek() {
            b'"' => *into = self.text(),
            b'n' => self.skip(),
            _ => self.mismatch("string"),
        }
        Known::Yes
    }

    /// Reads a list of strings.
    pub fn strings(&mut self, into: &mut Vec<String>) -> Known {
        into.clear();
        self.list("[]string", |decoder| {
            let mut element = String::new();
            decoder.string(&mut element);
            into.push(element);
        })
    }

    /// Reads names and strings.
    pub fn map(&mut self, into: &mut BTreeMap<String, String>) -> Known {
        match self.peek() {
            b'{' => self.members(|decoder, key| {
                let mut value = String::new();
                decoder.string(&mut value);
                into.insert(key, value);
            }),
            b'n' => {
                self.skip();
                into.clear();
            }
            _ => self.mismatch("map[string]string"),
        }
        Known::Yes
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self, into: &mut bool) -> Known {
        match self.peek() {
            b't' | b'f' => {
                *into = self.peek() == b't';
                self.skip();
            }
            b'n' => self.skip(),
            _ => self.mismatch("bool"),
        }
        Known::Yes
    }

    /// Reads a number of a type that Go calls `int`.
    pub fn int(&mut self, into: &mut i64) -> Known {
        self.number(into, "int")
    }

    /// Reads a number of a type that Go calls `int64`.
    pub fn int64(&mut self, into: &mut i64) -> Known {
        self.number(into, "int64")
    }

    /// Reads a number of a type that Go calls `int32`.
    pub fn int32(&mut self, into: &mut i32) -> Known {
        self.number(into, "int32")
    }

    /// Reads a number of a type that Go calls `uint64`.
    pub fn uint64(&mut self, into: &mut u64) -> Known {
        self.number(into, "uint64")
    }

    /// Reads nanoseconds.
    pub fn duration(&mut self, into: &mut i64) -> Known {
        self.number(into, "time.Duration")
    }

    /// Reads a list of nanoseconds.
    pub fn durations(&mut self, into: &mut Vec<i64>) -> Known {
        into.clear();
        self.list("[]time.Duration", |decoder| {
            let mut element = 0;
            decoder.duration(&mut element);
            into.push(element);
        })
    }

    /// Reads a list of numbers.
    pub fn uint64s(&mut self, into: &mut Vec<u64>) -> Known {
        into.clear();
        self.list("[]uint64", |decoder| {
            let mut element = 0;
            decoder.uint64(&mut element);
            into.push(element);
        })
    }

    /// Reads numbers by name.
    pub fn counts(&mut self, into: &mut BTreeMap<String, u64>) -> Known {
        match self.peek() {
            b'{' => self.members(|decoder, key| {
                let mut value = 0;
                decoder.uint64(&mut value);
                into.insert(key, value);
            }),
            b'n' => {
                self.skip();
                into.clear();
            }
            _ => self.mismatch("map[string]uint64"),
        }
        Known::Yes
    }

    /// Reads a time; `null` leaves it alone.
    pub fn time(&mut self, into: &mut UnixNanos) -> Known {
        match self.peek() {
            b'"' => {
                // Go does not take escapes off here.
                let raw = self.raw();
                let inner = raw.get(1..raw.len() - 1).unwrap_or_default();
                match time::parse(&String::from_utf8_lossy(inner)) {
                    Ok(time) => *into = time,
                    Err(message) => self.save(message),
                }
            }
            b'n' => self.skip(),
            _ => self.mismatch("time.Time"),
        }
        Known::Yes
    }

    /// Reads a time that may be missing: `null` makes it so.
    pub fn optional_time(&mut self, into: &mut Option<UnixNanos>) -> Known {
        if self.null() {
            *into = None;
            return Known::Yes;
        }
        self.time(into.insert(time::NEVER))
    }

    /// Reads a value by one of its names, which are compared as they stand in the text.
    pub fn named<T: Copy>(
        &mut self,
        into: &mut T,
        names: &[(&str, T)],
        complaint: impl FnOnce(&[u8]) -> String,
    ) -> Known {
        let raw = self.raw();
        let name = raw
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        let found = names
            .iter()
            .find(|(known, _)| name == Some(known.as_bytes()));
        match found {
            Some(&(_, value)) => *into = value,
            None => self.save(complaint(raw)),
        }
        Known::Yes
    }

    /// The value if it is a string, for a type that reads itself as one.
    pub fn lone_string(&mut self) -> Option<String> {
        match self.peek() {
            b'"' => Some(self.text()),
            b'n' => {
                self.skip();
                Some(String::new())
            }
            _ => {
                let kind = self.kind();
                self.save(format!(
                    "json: cannot unmarshal {kind} into Go value of type string"
                ));
                self.skip();
                None
            }
        }
    }

    /// The value as it stands.
    pub fn raw(&mut self) -> &'t [u8] {
        self.space();
        let start = self.at;
        self.skip();
        &self.text[start..self.at]
    }

    fn number<T: std::str::FromStr>(&mut self, into: &mut T, type_name: &str) -> Known {
        match self.peek() {
            b'-' | b'0'..=b'9' => {
                let raw = String::from_utf8_lossy(self.raw());
                // Go takes `-0`, also without sign.
                let digits = if raw == "-0" { "0" } else { &*raw };
                match digits.parse() {
                    Ok(value) if raw != "-0" || !type_name.starts_with('u') => *into = value,
                    _ => self.wrong(&format!("number {raw}"), type_name),
                }
            }
            b'n' => self.skip(),
            _ => self.mismatch(type_name),
        }
        Known::Yes
    }

    /// The elements of an array.
    fn list(&mut self, type_name: &str, mut each: impl FnMut(&mut Self)) -> Known {
        match self.peek() {
            b'[' => {
                self.at += 1;
                let mut index = 0_u64;
                while self.peek() != b']' {
                    if self.peek() == b',' {
                        self.at += 1;
                    }
                    self.path.push(index.to_string());
                    each(self);
                    self.path.pop();
                    index += 1;
                }
                self.at += 1;
            }
            b'n' => self.skip(),
            _ => self.mismatch(type_name),
        }
        Known::Yes
    }

    /// The members of an object.
    fn members(&mut self, mut each: impl FnMut(&mut Self, String)) {
        self.at += 1;
        while self.peek() != b'}' {
            if self.peek() == b',' {
                self.at += 1;
                self.space();
            }
            let key = self.text();
            // The colon.
            self.space();
            self.at += 1;
            self.path.push(key.clone());
            each(self, key);
            self.path.pop();
        }
        self.at += 1;
    }

    /// Passes `null`, if it is that.
    fn null(&mut self) -> bool {
        let null = self.peek() == b'n';
        if null {
            self.skip();
        }
        null
    }

    fn space(&mut self) {
        self.at = scan::skip_space(self.text, self.at);
    }

    /// The first byte of what comes.
    fn peek(&mut self) -> u8 {
        self.space();
        // At the end of the text no value comes, and nobody asks for one.
        self.text.get(self.at).copied().unwrap_or(b'}')
    }

    /// Passes a value.
    fn skip(&mut self) {
        if let Ok(Some(range)) = scan::value(self.text, self.at) {
            self.at = range.end;
        }
    }

    /// The string that comes.
    fn text(&mut self) -> String {
        let raw = self.raw();
        unquoted(raw.get(1..raw.len() - 1).unwrap_or_default())
    }

    /// What Go calls the value that comes.
    fn kind(&mut self) -> &'static str {
        match self.peek() {
            b'{' => "object",
            b'[' => "array",
            b'"' => "string",
            b't' | b'f' => "bool",
            b'n' => "null",
            _ => "number",
        }
    }

    /// Passes a value of a wrong type.
    fn mismatch(&mut self, type_name: &str) {
        let kind = self.kind();
        // `null` fits everywhere.
        if kind != "null" {
            self.wrong(kind, type_name);
        }
        self.skip();
    }

    fn wrong(&mut self, kind: &str, type_name: &str) {
        let mut place = "value".to_owned();
        if let Some(last) = self.path.last() {
            let in_list = last.bytes().all(|b| b.is_ascii_digit());
            place = if in_list && !last.is_empty() {
                String::new()
            } else {
                "Go struct field ".to_owned()
            };
            place.push_str(self.root);
            for name in &self.path {
                place.push('.');
                place.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
        } else {
            place.insert_str(0, "Go ");
        }
        self.save(format!(
            "json: cannot unmarshal {kind} into {place} of type {type_name}"
        ));
    }

    /// Remembers what is wrong, if it is the first.
    pub fn save(&mut self, message: String) {
        self.saved.get_or_insert(message);
    }
}

/// A type's name without its package.
fn short(type_name: &'static str) -> &'static str {
    type_name.rsplit('.').next().unwrap_or(type_name)
}

/// A name in lower case, as Go compares names: two letters of Unicode fold to ASCII ones too.
fn folded(name: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii() && !b.is_ascii_uppercase();
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    name.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

/// A string without its quotes and escapes.
fn unquoted(inner: &[u8]) -> String {
    if !inner.contains(&b'\\') {
        return String::from_utf8_lossy(inner).into_owned();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let [escape, behind @ ..] = rest else { break };
        rest = behind;
        match escape {
            b'u' => {
                let c = code_unit(&mut rest);
                let c = match c {
                    // The first half of a pair; a lone one is not a character.
                    0xD800..0xDC00 => {
                        let mut ahead = rest.strip_prefix(b"\\u").unwrap_or_default();
                        match code_unit(&mut ahead) {
                            low @ 0xDC00..0xE000 => {
                                rest = ahead;
                                0x1_0000 + ((c - 0xD800) << 10) + (low - 0xDC00)
                            }
                            _ => 0xFFFD,
                        }
                    }
                    c => c,
                };
                let c = char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            itself => out.push(*itself),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Four hexadecimal digits, or 0.
fn code_unit(rest: &mut &[u8]) -> u32 {
    let Some((digits, behind)) = rest.split_at_checked(4) else {
        return 0;
    };
    *rest = behind;
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::requests::{ConsumerRequest, StreamRequest};
    use super::*;

    fn refused<T: Decode + std::fmt::Debug>(text: &[u8]) -> String {
        let error = request::<T>(text, true).unwrap_err();
        assert_eq!(error.code, Code::InvalidJson);
        error
            .description
            .strip_prefix("invalid JSON: ")
            .unwrap()
            .to_owned()
    }

    #[test]
    fn what_is_not_said_is_zero() {
        for text in ["", " ", "null", "{}", "{} {}"] {
            let read: StreamRequest = request(text.as_bytes(), true).unwrap();
            assert_eq!(
                read.config,
                crate::jetstream::config::StreamConfig::unsaid()
            );
        }
    }

    #[test]
    fn names_match_in_any_case_and_the_last_counts() {
        let text = "{\"NAME\":\"a\",\"name\":\"b\",\"\u{17f}ubjects\":[\"x\\u0041\\ud83d\\ude00\\ud800\"]}";
        let read: StreamRequest = request(text.as_bytes(), true).unwrap();
        assert_eq!(read.config.name, "b");
        assert_eq!(read.config.subjects, ["xA\u{1f600}\u{fffd}"]);
    }

    #[test]
    fn without_strictness_unknown_names_and_what_follows_are_passed_over() {
        let read: StreamRequest = request(br#"{"foo":{"a":[1]},"name":"a"}"#, false).unwrap();
        assert_eq!(read.config.name, "a");
        let error = request::<StreamRequest>(b"{} x", false).unwrap_err();
        assert_eq!(
            error.description,
            "invalid JSON: invalid character 'x' after top-level value"
        );
        let error = request::<StreamRequest>(b"{", false).unwrap_err();
        assert_eq!(
            error.description,
            "invalid JSON: unexpected end of JSON input"
        );
    }

    #[test]
    fn consumers_complain_with_the_path_from_the_request() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                refused::<ConsumerRequest>(text.as_bytes()),
                expected,
                "{text}"
            );
        };
        check(
            r#"{"config":{"backoff":["x"]}}"#,
            "json: cannot unmarshal string into CreateConsumerRequest.config.backoff.0 of type time.Duration",
        );
        check(r#"{"action":"x"}"#, r#"unknown consumer action: "x""#);
        check(
            r#"{"config":{"priority_policy":"x"}}"#,
            r#"unknown priority policy: "x""#,
        );
    }

    /// Recorded from nats-server 2.15.1: what it is asked, and what it says after `invalid JSON: `.
    #[test]
    fn streams_are_refused_with_the_words_of_nats_server() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                refused::<StreamRequest>(text.as_bytes()),
                expected,
                "{text}"
            );
        };
        for line in include_str!("cases/invalid_json.txt").lines() {
            let (text, expected) = line.split_once(" => ").unwrap();
            check(text, expected);
        }
    }
}
