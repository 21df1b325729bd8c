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
            let _ = match c as u32 {
                code @ ..0x80 => write!(quoted, "\\x{code:02x}"),
                _ if is_printable(c) => write!(quoted, "{c}"),
                code @ ..0x1_0000 => write!(quoted, "\\u{code:04x}"),
                code => write!(quoted, "\\U{code:08x}"),
            };
            return;
        }
    };
    quoted.push_str(escaped);
}

/// Whether it can be seen. Behind another character, for what combines with that can be seen there.
fn is_printable(c: char) -> bool {
    let mut bytes = [b'a'; 1 + 4];
    let length = 1 + c.encode_utf8(&mut bytes[1..]).len();
    let text = std::str::from_utf8(&bytes[..length]);
    text.is_ok_and(|text| text.escape_debug().nth(1) == Some(c))
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
            ("e\u{301}\u{a0}".as_bytes(), "\"e\u{301}\\u00a0\""),
            ("\u{200b}😀\u{e0001}".as_bytes(), "\"\\u200b😀\\U000e0001\""),
        ];
        for (text, expected) in cases {
            assert_eq!(quote(text), *expected);
        }
    }
}
