//! Writing JSON as Go's encoding/json does: byte for byte, because clients' tools compare. It does
//! not know what is written.
//!
//! Go escapes `<`, `>` and `&` for pages of HTML, and the two line separators of Unicode for
//! JavaScript; what is not UTF-8 becomes U+FFFD.

use crate::store::UnixNanos;

use super::time;

/// An object being written.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Begins it.
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Ends it.
    pub fn end(self) {
        self.out.push(b'}');
    }

    /// Writes a name; the value is to be written to what it gives.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        string(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// A string.
    pub fn string(&mut self, name: &str, value: &str) {
        string(self.key(name), value);
    }

    /// A string that is left out when it is empty.
    pub fn string_unless_empty(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.string(name, value);
        }
    }

    /// A number.
    pub fn integer(&mut self, name: &str, value: i64) {
        integer(self.key(name), value);
    }

    /// A number that is left out when it is 0.
    pub fn integer_unless_zero(&mut self, name: &str, value: i64) {
        if value != 0 {
            self.integer(name, value);
        }
    }

    /// A number.
    pub fn unsigned(&mut self, name: &str, value: u64) {
        unsigned(self.key(name), value);
    }

    /// A number that is left out when it is 0.
    pub fn unsigned_unless_zero(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.unsigned(name, value);
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &str, value: bool) {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.key(name).extend_from_slice(text);
    }

    /// `true`, or nothing.
    pub fn boolean_if_true(&mut self, name: &str, value: bool) {
        if value {
            self.boolean(name, value);
        }
    }

    /// A time.
    pub fn time(&mut self, name: &str, value: UnixNanos) {
        let out = self.key(name);
        out.push(b'"');
        time::write(out, value);
        out.push(b'"');
    }

    /// `null`.
    pub fn null(&mut self, name: &str) {
        self.key(name).extend_from_slice(b"null");
    }

    /// Strings, left out when there are none.
    pub fn strings_unless_empty<S: AsRef<str>>(&mut self, name: &str, values: &[S]) {
        if !values.is_empty() {
            array(self.key(name), values, |out, value| {
                string(out, value.as_ref());
            });
        }
    }

    /// Strings; `null` when they are not there at all, as Go writes a slice that was never made.
    pub fn strings_or_null<S: AsRef<str>>(&mut self, name: &str, values: Option<&[S]>) {
        match values {
            Some(values) => array(self.key(name), values, |out, value| {
                string(out, value.as_ref());
            }),
            None => self.null(name),
        }
    }

    /// Names and strings, left out when there are none; Go sorts them, so they must come sorted.
    pub fn map_unless_empty<'m>(
        &mut self,
        name: &str,
        pairs: impl Iterator<Item = (&'m String, &'m String)>,
    ) {
        let mut pairs = pairs.peekable();
        if pairs.peek().is_some() {
            let mut map = Object::begin(self.key(name));
            for (key, value) in pairs {
                map.string(key, value);
            }
            map.end();
        }
    }

    /// Bytes in base 64, left out when there are none.
    pub fn base64_unless_empty(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            let out = self.key(name);
            out.push(b'"');
            let start = out.len();
            let encoding = &data_encoding::BASE64;
            out.resize(start + encoding.encode_len(value.len()), 0);
            encoding.encode_mut(value, &mut out[start..]);
            out.push(b'"');
        }
    }
}

/// Writes `[a,b]`.
pub fn array<T>(
    out: &mut Vec<u8>,
    values: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, value) in values.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, value);
    }
    out.push(b']');
}

/// Writes a number.
pub fn unsigned(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes a number.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    unsigned(out, value.unsigned_abs());
}

/// Writes a string in quotes.
pub fn string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let bytes = value.as_bytes();
    let mut written = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let mut hex = *b"\\u0000";
        let (escape, length): (&[u8], usize) = match byte {
            b'"' => (b"\\\"", 1),
            b'\\' => (b"\\\\", 1),
            b'\n' => (b"\\n", 1),
            b'\r' => (b"\\r", 1),
            b'\t' => (b"\\t", 1),
            8 => (b"\\b", 1),
            12 => (b"\\f", 1),
            0..0x20 | b'<' | b'>' | b'&' => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                hex[4] = DIGITS[usize::from(byte >> 4)];
                hex[5] = DIGITS[usize::from(byte & 15)];
                (&hex, 1)
            }
            // U+2028 and U+2029.
            0xE2 if bytes[i..].starts_with(b"\xE2\x80\xA8") => (b"\\u2028", 3),
            0xE2 if bytes[i..].starts_with(b"\xE2\x80\xA9") => (b"\\u2029", 3),
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..i]);
        out.extend_from_slice(escape);
        written = i + length;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Writes a string in quotes that need not be UTF-8.
pub fn text(out: &mut Vec<u8>, value: &[u8]) {
    string(out, &String::from_utf8_lossy(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_in_go() {
        let check = |value: &[u8], expected: &str| {
            let mut out = Vec::new();
            text(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(b"", r#""""#);
        check(b"a\"b\\c", r#""a\"b\\c""#);
        check(
            b"\n\r\t\x08\x0c\x01\x1f\x7f",
            "\"\\n\\r\\t\\b\\f\\u0001\\u001f\x7f\"",
        );
        check(b"<a>&", r#""\u003ca\u003e\u0026""#);
        check("é\u{2028}x\u{2029}".as_bytes(), r#""é\u2028x\u2029""#);
        check(b"a\xFFb", "\"a\u{FFFD}b\"");
    }

    #[test]
    fn numbers_of_all_sizes() {
        let check = |value: i64, expected: &str| {
            let mut out = Vec::new();
            integer(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(0, "0");
        check(-1, "-1");
        check(1_000_000, "1000000");
        check(i64::MIN, "-9223372036854775808");
        check(i64::MAX, "9223372036854775807");
    }
}
