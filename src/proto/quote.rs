//! Text in double quotes as Go's `%q` writes it, which is how nats-server quotes subjects in
//! errors and in its log.

use std::fmt::Write as _;

/// `text` in double quotes, with everything that is not printable escaped.
pub fn quote(text: &[u8]) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut quoted, c);
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

fn push_escaped(quoted: &mut String, c: char) {
    let escaped = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        ' '..='~' => {
            quoted.push(c);
            return;
        }
        _ => {
            // Writing to a String cannot fail.
            let _ = if (c as u32) < 0x80 {
                write!(quoted, "\\x{:02x}", c as u32)
            } else if c.is_control() {
                write!(quoted, "\\u{:04x}", c as u32)
            } else {
                write!(quoted, "{c}")
            };
            return;
        }
    };
    quoted.push_str(escaped);
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn as_go_writes_it() {
        let cases: &[(&[u8], &str)] = &[
            (b"foo.bar", r#""foo.bar""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\x00\x07\x7f", r#""\x00\a\x7f""#),
            (b"\xff", r#""\xff""#),
            ("é\u{85}".as_bytes(), "\"é\\u0085\""),
        ];
        for (text, expected) in cases {
            assert_eq!(quote(text), *expected);
        }
    }
}
