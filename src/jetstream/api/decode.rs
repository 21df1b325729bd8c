//! Reading JSON as Go's encoding/json does, because requests that nats-server takes must be taken,
//! and those that it refuses refused with its words. It does not know what is read.
//!
//! What is particular to Go: names match in any case; of several equal names the last counts;
//! `null` leaves numbers and strings alone; a value of a wrong type is remembered and reading goes
//! on, and the first such error is the answer, unless a type that reads itself fails.
//! nats-server reads one value after another until the text ends, each into the same place.

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
    ///
    /// # Errors
    /// When a type that reads itself does not understand the value.
    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Result<Known, Fatal>;
}

/// Whether a field of that name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It does, and its value was read.
    Yes,
    /// It does not, and nothing was read.
    No,
}

/// What a type that reads itself says; it ends the reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal(pub String);

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
    if let Some(&byte) = text.get(behind) {
        let message = scan::unexpected(byte, "after top-level value");
        return Err(message);
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
    /// Names on the way here, for errors: the name of what a field is embedded in, and its own.
    path: Vec<(&'static str, String)>,
    /// The innermost object's type.
    within: &'static str,
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
            within: "",
            saved: None,
        }
    }

    fn read<T: Decode>(mut self, into: &mut T) -> Result<(), String> {
        self.object(into).map_err(|fatal| fatal.0)?;
        self.saved.map_or(Ok(()), Err)
    }

    /// Says that the field being read is of a struct that is embedded in the object's.
    pub fn embedded(&mut self, name: &'static str) {
        if let Some(last) = self.path.last_mut() {
            last.0 = name;
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// When a type that reads itself does not understand its value.
    pub fn object<T: Decode>(&mut self, into: &mut T) -> Result<Known, Fatal> {
        if self.peek() != b'{' {
            self.mismatch(T::TYPE);
            return Ok(Known::Yes);
        }
        let outer = std::mem::replace(&mut self.within, short(T::TYPE));
        self.members(|decoder, key| {
            let folded = folded(&key);
            decoder.path.push(("", folded.clone().into_owned()));
            let known = into.field(&folded, decoder)?;
            decoder.path.pop();
            if known == Known::No {
                if decoder.strict {
                    let quoted = scan::go_quoted(key.as_bytes());
                    decoder.save(|| format!("json: unknown field {quoted}"));
                }
                decoder.skip();
            }
            Ok(())
        })?;
        self.within = outer;
        Ok(Known::Yes)
    }

    /// Reads an object that may be missing: `null` makes it so.
    ///
    /// # Errors
    /// As [`Decoder::object`].
    pub fn optional<T: Decode>(&mut self, into: &mut Option<T>) -> Result<Known, Fatal> {
        if self.null() {
            *into = None;
            return Ok(Known::Yes);
        }
        self.object(into.get_or_insert_with(T::unsaid))
    }

    /// Reads a list of objects; `null` among them is one without anything.
    ///
    /// # Errors
    /// As [`Decoder::object`].
    pub fn objects<T: Decode>(
        &mut self,
        into: &mut Vec<T>,
        list_type: &str,
    ) -> Result<Known, Fatal> {
        into.clear();
        self.list(list_type, |decoder| {
            let mut element = T::unsaid();
            if !decoder.null() {
                decoder.object(&mut element)?;
            }
            into.push(element);
            Ok(())
        })
    }

    /// Reads a string.
    pub fn string(&mut self, into: &mut String) -> Result<Known, Fatal> {
        match self.peek() {
            b'"' => *into = self.text(),
            b'n' => self.skip(),
            _ => self.mismatch("string"),
        }
        Ok(Known::Yes)
    }

    /// Reads a list of strings.
    pub fn strings(&mut self, into: &mut Vec<String>) -> Result<Known, Fatal> {
        into.clear();
        self.list("[]string", |decoder| {
            let mut element = String::new();
            decoder.string(&mut element)?;
            into.push(element);
            Ok(())
        })
    }

    /// Reads names and strings.
    pub fn map(&mut self, into: &mut BTreeMap<String, String>) -> Result<Known, Fatal> {
        match self.peek() {
            b'{' => self.members(|decoder, key| {
                let mut value = String::new();
                decoder.string(&mut value)?;
                into.insert(key, value);
                Ok(())
            })?,
            b'n' => {
                self.skip();
                into.clear();
            }
            _ => self.mismatch("map[string]string"),
        }
        Ok(Known::Yes)
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self, into: &mut bool) -> Result<Known, Fatal> {
        match self.peek() {
            b't' | b'f' => {
                *into = self.peek() == b't';
                self.skip();
            }
            b'n' => self.skip(),
            _ => self.mismatch("bool"),
        }
        Ok(Known::Yes)
    }

    /// Reads a number of a type that Go calls `int`.
    pub fn int(&mut self, into: &mut i64) -> Result<Known, Fatal> {
        self.number(into, "int")
    }

    /// Reads a number of a type that Go calls `int64`.
    pub fn int64(&mut self, into: &mut i64) -> Result<Known, Fatal> {
        self.number(into, "int64")
    }

    /// Reads a number of a type that Go calls `int32`.
    pub fn int32(&mut self, into: &mut i32) -> Result<Known, Fatal> {
        self.number(into, "int32")
    }

    /// Reads a number of a type that Go calls `uint64`.
    pub fn uint64(&mut self, into: &mut u64) -> Result<Known, Fatal> {
        self.number(into, "uint64")
    }

    /// Reads nanoseconds.
    pub fn duration(&mut self, into: &mut i64) -> Result<Known, Fatal> {
        self.number(into, "time.Duration")
    }

    /// Reads a list of nanoseconds.
    pub fn durations(&mut self, into: &mut Vec<i64>) -> Result<Known, Fatal> {
        into.clear();
        self.list("[]time.Duration", |decoder| {
            let mut element = 0;
            decoder.duration(&mut element)?;
            into.push(element);
            Ok(())
        })
    }

    /// Reads a list of numbers.
    pub fn uint64s(&mut self, into: &mut Vec<u64>) -> Result<Known, Fatal> {
        into.clear();
        self.list("[]uint64", |decoder| {
            let mut element = 0;
            decoder.uint64(&mut element)?;
            into.push(element);
            Ok(())
        })
    }

    /// Reads numbers by name.
    pub fn counts(&mut self, into: &mut BTreeMap<String, u64>) -> Result<Known, Fatal> {
        match self.peek() {
            b'{' => self.members(|decoder, key| {
                let mut value = 0;
                decoder.uint64(&mut value)?;
                into.insert(key, value);
                Ok(())
            })?,
            b'n' => {
                self.skip();
                into.clear();
            }
            _ => self.mismatch("map[string]uint64"),
        }
        Ok(Known::Yes)
    }

    /// Reads a time; `null` leaves it alone.
    ///
    /// # Errors
    /// When it is none.
    pub fn time(&mut self, into: &mut UnixNanos) -> Result<Known, Fatal> {
        if self.null() {
            return Ok(Known::Yes);
        }
        let raw = self.raw();
        let inner = raw
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""))
            .ok_or_else(|| Fatal("Time.UnmarshalJSON: input is not a JSON string".to_owned()))?;
        *into = time::parse(&String::from_utf8_lossy(inner)).map_err(Fatal)?;
        Ok(Known::Yes)
    }

    /// Reads a time that may be missing: `null` makes it so.
    ///
    /// # Errors
    /// When it is none.
    pub fn optional_time(&mut self, into: &mut Option<UnixNanos>) -> Result<Known, Fatal> {
        if self.null() {
            *into = None;
            return Ok(Known::Yes);
        }
        self.time(into.insert(time::NEVER))
    }

    /// Reads a value by one of its names, which are compared as they stand in the text.
    ///
    /// # Errors
    /// What `complaint` makes of what is there instead.
    pub fn named<T: Copy>(
        &mut self,
        into: &mut T,
        names: &[(&str, T)],
        complaint: impl FnOnce(&[u8]) -> String,
    ) -> Result<Known, Fatal> {
        let raw = self.raw();
        let name = raw
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""));
        let found = names
            .iter()
            .find(|(known, _)| name == Some(known.as_bytes()));
        match found {
            Some(&(_, value)) => *into = value,
            None => return Err(Fatal(complaint(raw))),
        }
        Ok(Known::Yes)
    }

    /// What the value is, if it is a string; with the type of what it is instead.
    ///
    /// # Errors
    /// That it is not a string, in Go's words for a value of its own.
    pub fn lone_string(&mut self) -> Result<String, Fatal> {
        match self.peek() {
            b'"' => Ok(self.text()),
            b'n' => {
                self.skip();
                Ok(String::new())
            }
            _ => {
                let kind = self.kind();
                Err(Fatal(format!(
                    "json: cannot unmarshal {kind} into Go value of type string"
                )))
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

    fn number<T: std::str::FromStr>(
        &mut self,
        into: &mut T,
        type_name: &str,
    ) -> Result<Known, Fatal> {
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
        Ok(Known::Yes)
    }

    /// The elements of an array.
    fn list(
        &mut self,
        type_name: &str,
        mut each: impl FnMut(&mut Self) -> Result<(), Fatal>,
    ) -> Result<Known, Fatal> {
        match self.peek() {
            b'[' => {
                self.at += 1;
                while self.peek() != b']' {
                    if self.peek() == b',' {
                        self.at += 1;
                    }
                    each(self)?;
                }
                self.at += 1;
            }
            b'n' => self.skip(),
            _ => self.mismatch(type_name),
        }
        Ok(Known::Yes)
    }

    /// The members of an object.
    fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, String) -> Result<(), Fatal>,
    ) -> Result<(), Fatal> {
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
            each(self, key)?;
        }
        self.at += 1;
        Ok(())
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
        let place = if self.path.is_empty() {
            "value".to_owned()
        } else {
            let mut place = format!("struct field {}", self.within);
            for (embedded, name) in &self.path {
                for part in [embedded, name.as_str()] {
                    if !part.is_empty() {
                        place.push('.');
                        place.push_str(part);
                    }
                }
            }
            place
        };
        self.save(|| format!("json: cannot unmarshal {kind} into Go {place} of type {type_name}"));
    }

    fn save(&mut self, message: impl FnOnce() -> String) {
        self.saved.get_or_insert_with(message);
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
