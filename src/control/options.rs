//! The JSON of a request: read into options, or refused with nats-server's words.
//!
//! Tools show these errors and some compare them, so they are those of Go's decoder: the place and
//! the character, and for a value of the wrong type the Go names of the option and its type. Knows
//! no option; the requests bring theirs.

use std::fmt::Write as _;

/// Arrays and objects inside each other; more is refused.
const DEPTH_MAX: usize = 200;

/// A value as written. Numbers are kept as text, because errors repeat it.
#[derive(Clone, Debug, PartialEq)]
enum Value<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(String),
    Array(Vec<Value<'a>>),
    Object(Vec<(String, Value<'a>)>),
}

impl Value<'_> {
    /// What Go calls it in an error.
    fn kind(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Bool(_) => "bool".into(),
            Value::Number(_) => "number".into(),
            Value::Text(_) => "string".into(),
            Value::Array(_) => "array".into(),
            Value::Object(_) => "object".into(),
        }
    }
}

/// Where an option goes.
#[derive(Debug)]
pub enum Slot<'a> {
    /// Text, and the name of its Go type.
    Text(&'a mut String, &'static str),
    Flag(&'a mut bool),
    /// A number, and the name of its Go type.
    Signed(&'a mut i64, &'static str),
    Unsigned(&'a mut u64),
    Texts(&'a mut Vec<String>),
    /// Base64 of bytes.
    Bytes(&'a mut Option<String>),
}

/// One option by its name.
pub type Field<'a> = (&'static str, Slot<'a>);

/// Reads `json` into `fields`; `type_name` is the Go name of all of them together, for errors.
/// Options that are not asked for are ignored, names match in any case, and the first value of a
/// wrong type is what the error names.
///
/// # Errors
/// The text for the peer.
pub fn read(json: &[u8], type_name: &str, fields: &mut [Field<'_>]) -> Result<(), String> {
    let text = String::from_utf8_lossy(json);
    let mut parser = Parser {
        text: &text,
        at: 0,
        depth: 0,
    };
    let value = parser.whole()?;
    let members = match value {
        Value::Null => return Ok(()),
        Value::Object(members) => members,
        other => {
            let kind = other.kind();
            return Err(format!(
                "json: cannot unmarshal {kind} into Go value of type server.{type_name}"
            ));
        }
    };
    let mut first_error = None;
    for (name, value) in members {
        let field = fields
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(&name));
        let Some((known, slot)) = field else {
            continue;
        };
        if let Err(error) = store(&value, slot, type_name, known) {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

fn store(
    value: &Value<'_>,
    slot: &mut Slot<'_>,
    type_name: &str,
    name: &str,
) -> Result<(), String> {
    let wrong = |what: &str, go_type: &str| {
        Err(format!(
            "json: cannot unmarshal {what} into Go struct field {type_name}.{name} of type {go_type}"
        ))
    };
    match (slot, value) {
        (_, Value::Null) => Ok(()),
        (Slot::Text(text, _), Value::Text(given)) => {
            text.clone_from(given);
            Ok(())
        }
        (Slot::Bytes(bytes), Value::Text(given)) => {
            **bytes = Some(given.clone());
            Ok(())
        }
        (Slot::Flag(flag), Value::Bool(given)) => {
            **flag = *given;
            Ok(())
        }
        (Slot::Signed(number, go_type), Value::Number(digits)) => match digits.parse() {
            Ok(given) => {
                **number = given;
                Ok(())
            }
            Err(_) => wrong(&format!("number {digits}"), go_type),
        },
        (Slot::Unsigned(number), Value::Number(digits)) => match digits.parse() {
            Ok(given) => {
                **number = given;
                Ok(())
            }
            Err(_) => wrong(&format!("number {digits}"), "uint64"),
        },
        (Slot::Texts(texts), Value::Array(elements)) => {
            texts.clear();
            for (i, element) in elements.iter().enumerate() {
                match element {
                    Value::Text(text) => texts.push(text.clone()),
                    Value::Null => texts.push(String::new()),
                    other => {
                        let kind = other.kind();
                        return Err(format!(
                            "json: cannot unmarshal {kind} into {type_name}.{name}.{i} of type string"
                        ));
                    }
                }
            }
            Ok(())
        }
        (Slot::Text(_, go_type) | Slot::Signed(_, go_type), other) => wrong(&other.kind(), go_type),
        (Slot::Flag(_), other) => wrong(&other.kind(), "bool"),
        (Slot::Unsigned(_), other) => wrong(&other.kind(), "uint64"),
        (Slot::Texts(_), other) => wrong(&other.kind(), "[]string"),
        (Slot::Bytes(_), other) => wrong(&other.kind(), "[]uint8"),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Result<Value<'a>, String> {
        let value = self.value()?;
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.unexpected("after top-level value")),
        }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// The error that the character here, or the end, does not belong.
    fn unexpected(&self, place: &str) -> String {
        match self.text[self.at..].chars().next() {
            None => "unexpected end of JSON input".to_owned(),
            Some(character) => format!("invalid character {} {place}", quoted(character)),
        }
    }

    fn value(&mut self) -> Result<Value<'a>, String> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::Text),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn nested(
        &mut self,
        parse: fn(&mut Self) -> Result<Value<'a>, String>,
    ) -> Result<Value<'a>, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        self.at += 1;
        let value = parse(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Value<'a>, String> {
        let mut members = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let name = self.string()?;
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            members.push((name, self.value()?));
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(members));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn array(&mut self) -> Result<Value<'a>, String> {
        let mut elements = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(elements));
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn literal(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, String> {
        for expected in word.chars() {
            if !self.text[self.at..].starts_with(expected) {
                let place = format!("in literal {word} (expecting {})", quoted(expected));
                return Err(self.unexpected(&place));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value<'a>, String> {
        let start = self.at;
        self.skip(|b| b == b'-');
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.skip(|b| matches!(b, b'+' | b'-'));
            self.digits()?;
        }
        Ok(Value::Number(&self.text[start..self.at]))
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes one byte if it is such a one.
    fn skip(&mut self, is: impl Fn(u8) -> bool) {
        if self.byte().is_some_and(is) {
            self.at += 1;
        }
    }

    fn digits(&mut self) -> Result<(), String> {
        if !self.byte().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.unexpected("in numeric literal"));
        }
        while self.byte().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(character) = self.text[self.at..].chars().next() else {
                return Err(self.unexpected(""));
            };
            match character {
                '"' => {
                    self.at += 1;
                    return Ok(text);
                }
                '\\' => text.push(self.escape()?),
                '\0'..='\x1f' => return Err(self.unexpected("in string")),
                character => {
                    self.at += character.len_utf8();
                    text.push(character);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let rest = &self.text[self.at..];
        let Some(kind) = rest[1..].chars().next() else {
            return Err("unexpected end of JSON input".to_owned());
        };
        let invalid = |length: usize| {
            let shown: String = rest.chars().take(length).collect();
            Err(format!("invalid escape sequence `{shown}` in string"))
        };
        let character = match kind {
            '"' | '\\' | '/' => kind,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let Some(unit) = rest.get(2..6).and_then(hex) else {
                    return invalid(6);
                };
                self.at += 6;
                let low = self.text[self.at..]
                    .strip_prefix("\\u")
                    .and_then(|rest| rest.get(..4))
                    .and_then(hex);
                // A surrogate without its other half stands for nothing.
                let pair = [unit, low.unwrap_or(0)];
                return Ok(match char::decode_utf16(pair).next() {
                    Some(Ok(character)) => {
                        self.at += if character as u32 > 0xffff { 6 } else { 0 };
                        character
                    }
                    Some(Err(_)) | None => char::REPLACEMENT_CHARACTER,
                });
            }
            _ => return invalid(2),
        };
        self.at += 2;
        Ok(character)
    }
}

fn hex(digits: &str) -> Option<u16> {
    // `from_str_radix` would take a sign.
    let all = digits.bytes().all(|b| b.is_ascii_hexdigit());
    all.then(|| u16::from_str_radix(digits, 16).ok())?
}

/// A character as Go quotes it.
fn quoted(character: char) -> String {
    match character {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        '\\' => r"'\\'".to_owned(),
        '\n' => r"'\n'".to_owned(),
        '\r' => r"'\r'".to_owned(),
        '\t' => r"'\t'".to_owned(),
        character if character.is_control() => {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = write!(text, "'\\x{:02x}'", character as u32);
            text
        }
        character => format!("'{character}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Options {
        name: String,
        exact: bool,
        offset: i64,
        cid: u64,
        tags: Vec<String>,
    }

    fn options(json: &str) -> Result<Options, String> {
        let mut options = Options::default();
        read(
            json.as_bytes(),
            "VarzEventOptions",
            &mut [
                ("server_name", Slot::Text(&mut options.name, "string")),
                ("exact_match", Slot::Flag(&mut options.exact)),
                ("offset", Slot::Signed(&mut options.offset, "int")),
                ("cid", Slot::Unsigned(&mut options.cid)),
                ("tags", Slot::Texts(&mut options.tags)),
            ],
        )?;
        Ok(options)
    }

    #[test]
    fn good_ones() {
        let all = r#" {"Server_Name":"\u00fc\ud83d\ude00\n","exact_match":true,"offset":-2,
            "cid":18446744073709551615,"tags":["a","b"],"more":[{"x":1.5e+3}]} "#;
        let expected = Options {
            name: "ü😀\n".into(),
            exact: true,
            offset: -2,
            cid: u64::MAX,
            tags: vec!["a".into(), "b".into()],
        };
        assert_eq!(options(all), Ok(expected));
        for nothing in ["null", "{}", r#"{"server_name":null}"#, r#"{"x":"\ud800"}"#] {
            assert_eq!(options(nothing), Ok(Options::default()), "{nothing}");
        }
    }

    /// What a nats-server 2.15.1 said.
    #[test]
    fn bad_ones() {
        let field = "json: cannot unmarshal";
        let cases = [
            (
                "{bad",
                "invalid character 'b' looking for beginning of object key string".to_owned(),
            ),
            ("[", "unexpected end of JSON input".to_owned()),
            (
                "zz",
                "invalid character 'z' looking for beginning of value".to_owned(),
            ),
            (
                "{} x",
                "invalid character 'x' after top-level value".to_owned(),
            ),
            (
                r#"{"a":}"#,
                "invalid character '}' looking for beginning of value".to_owned(),
            ),
            (r#"{"a""#, "unexpected end of JSON input".to_owned()),
            (
                r#"{"a":1,}"#,
                "invalid character '}' looking for beginning of object key string".to_owned(),
            ),
            (
                r#"{"a" 1}"#,
                "invalid character '1' after object key".to_owned(),
            ),
            (
                r#"{"a":1 "b":2}"#,
                "invalid character '\"' after object key:value pair".to_owned(),
            ),
            (
                "[1 2]",
                "invalid character '2' after array element".to_owned(),
            ),
            (
                "{'a'}",
                r"invalid character '\'' looking for beginning of object key string".to_owned(),
            ),
            (
                "{\"a\":\"x\n\"}",
                r"invalid character '\n' in string".to_owned(),
            ),
            (
                r#"{"a":tru}"#,
                "invalid character '}' in literal true (expecting 'e')".to_owned(),
            ),
            ("tru", "unexpected end of JSON input".to_owned()),
            (
                r#"{"a":"\x"}"#,
                r"invalid escape sequence `\x` in string".to_owned(),
            ),
            (
                r#"{"a":"\u12x4"}"#,
                r"invalid escape sequence `\u12x4` in string".to_owned(),
            ),
            (
                r#"{"a":01}"#,
                "invalid character '1' after object key:value pair".to_owned(),
            ),
            (
                r#"{"a":-}"#,
                "invalid character '}' in numeric literal".to_owned(),
            ),
            (
                r#"{"a":1.}"#,
                "invalid character '}' in numeric literal".to_owned(),
            ),
            (
                r#"{"a":1e}"#,
                "invalid character '}' in numeric literal".to_owned(),
            ),
            (
                r#"{"cid":"x"}"#,
                format!("{field} string into Go struct field VarzEventOptions.cid of type uint64"),
            ),
            (
                r#"{"cid":-1}"#,
                format!(
                    "{field} number -1 into Go struct field VarzEventOptions.cid of type uint64"
                ),
            ),
            (
                r#"{"offset":1.5}"#,
                format!(
                    "{field} number 1.5 into Go struct field VarzEventOptions.offset of type int"
                ),
            ),
            (
                r#"{"server_name":1}"#,
                format!(
                    "{field} number into Go struct field VarzEventOptions.server_name of type string"
                ),
            ),
            (
                r#"{"tags":"x"}"#,
                format!(
                    "{field} string into Go struct field VarzEventOptions.tags of type []string"
                ),
            ),
            (
                r#"{"tags":[1]}"#,
                format!("{field} number into VarzEventOptions.tags.0 of type string"),
            ),
            (
                r#"{"exact_match":"y","server_name":2}"#,
                format!(
                    "{field} string into Go struct field VarzEventOptions.exact_match of type bool"
                ),
            ),
            (
                "5",
                format!("{field} number into Go value of type server.VarzEventOptions"),
            ),
            (
                "[]",
                format!("{field} array into Go value of type server.VarzEventOptions"),
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(options(json), Err(expected), "{json}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(1_000_000);
        assert_eq!(options(&deep), Err("exceeded max depth".into()));
    }
}
