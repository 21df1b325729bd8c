//! Values that are neither maps nor arrays. Knows where they end, and nothing around them.

use super::ParseError;
use super::scanner::{END, Scanner, is_blank, is_newline};
use super::tree::Value;

pub enum Scalar {
    /// Its text starts one character further on, behind a quote.
    Quoted(Value),
    Plain(Value),
    /// The name of a variable.
    Reference(String),
}

/// Reads the value that starts here.
pub fn read(scanner: &mut Scanner<'_>) -> Result<Scalar, ParseError> {
    match scanner.peek() {
        '\'' => single_quoted(scanner).map(Scalar::Quoted),
        '"' => double_quoted(scanner).map(Scalar::Quoted),
        '(' => block_string(scanner).map(Scalar::Quoted),
        '-' => negative_number(scanner),
        '0'..='9' => number_or_text(scanner),
        '.' => Err(error(scanner, "Floats must start with a digit")),
        '\n' | '\r' => {
            scanner.next();
            Err(error(scanner, "Expected value but found new line"))
        }
        _ => {
            let start = scanner.at();
            unquoted(scanner, start)
        }
    }
}

fn error(scanner: &Scanner<'_>, text: &str) -> ParseError {
    ParseError(format!("Parse error on line {}: '{text}'", scanner.line()))
}

fn single_quoted(scanner: &mut Scanner<'_>) -> Result<Value, ParseError> {
    scanner.next();
    let start = scanner.at();
    scanner.skip_while(|next| next != '\'' && next != END);
    if scanner.peek() == END {
        return Err(error(scanner, "Unexpected EOF."));
    }
    let text = scanner.since(start).to_owned();
    scanner.next();
    Ok(Value::Text(text))
}

fn double_quoted(scanner: &mut Scanner<'_>) -> Result<Value, ParseError> {
    scanner.next();
    let mut bytes = Vec::new();
    loop {
        match scanner.peek() {
            '"' => break,
            END => return Err(error(scanner, "Unexpected EOF.")),
            '\\' => bytes.push(escaped(scanner)?),
            _ => take_character(scanner, &mut bytes),
        }
    }
    scanner.next();
    text_of(scanner, bytes).map(Value::Text)
}

fn take_character(scanner: &mut Scanner<'_>, bytes: &mut Vec<u8>) {
    let start = scanner.at();
    scanner.next();
    bytes.extend_from_slice(scanner.since(start).as_bytes());
}

fn text_of(scanner: &Scanner<'_>, bytes: Vec<u8>) -> Result<String, ParseError> {
    String::from_utf8(bytes).map_err(|_| error(scanner, "A string is not UTF-8"))
}

/// The byte that an escape stands for.
fn escaped(scanner: &mut Scanner<'_>) -> Result<u8, ParseError> {
    scanner.next();
    match scanner.next() {
        'x' => {
            let mut digits = String::new();
            for _ in 0..2 {
                let digit = scanner.next();
                if is_newline(digit) {
                    let text = "Expected two hexadecimal digits after '\\x', but hit end of line";
                    return Err(error(scanner, text));
                }
                digits.push(digit);
            }
            // `from_str_radix` would take a sign.
            let is_hexadecimal = digits.chars().all(|digit| digit.is_ascii_hexdigit());
            match u8::from_str_radix(&digits, 16) {
                Ok(byte) if is_hexadecimal => Ok(byte),
                _ => Err(error(
                    scanner,
                    &format!("Expected two hexadecimal digits after '\\x', but got '{digits}'"),
                )),
            }
        }
        't' => Ok(b'\t'),
        'n' => Ok(b'\n'),
        'r' => Ok(b'\r'),
        '"' => Ok(b'"'),
        '\\' => Ok(b'\\'),
        other => {
            let other = match other {
                '\n' => "\\n".to_owned(),
                other => other.to_string(),
            };
            let text = format!(
                "Invalid escape character '{other}'. Only the following escape characters are allowed: \
                 \\xXX, \\t, \\n, \\r, \\\", \\\\."
            );
            Err(error(scanner, &text))
        }
    }
}

/// `(`, lines, and `)` on a line of its own.
fn block_string(scanner: &mut Scanner<'_>) -> Result<Value, ParseError> {
    scanner.next();
    let start = scanner.at();
    let mut before = END;
    loop {
        let next = scanner.peek();
        if next == END {
            return Err(error(scanner, "Unexpected EOF processing block."));
        }
        if next == ')' && before == '\n' && matches!(scanner.peek_second(), '\n' | END) {
            let text = scanner.since(start).to_owned();
            scanner.next();
            return Ok(Value::Text(text));
        }
        before = scanner.next();
    }
}

/// Text up to a blank, the end of the line or of what it is in; it may have begun already, at `start`.
fn unquoted(scanner: &mut Scanner<'_>, start: usize) -> Result<Scalar, ParseError> {
    let mut bytes = scanner.since(start).as_bytes().to_vec();
    let mut is_plain = true;
    loop {
        match scanner.peek() {
            '\\' => {
                is_plain = false;
                bytes.push(escaped(scanner)?);
            }
            '\'' => {
                is_plain = false;
                scanner.next();
                break;
            }
            END | ';' | ',' | ']' | '}' => break,
            next if is_newline(next) || is_blank(next) => break,
            _ => take_character(scanner, &mut bytes),
        }
    }
    let text = text_of(scanner, bytes)?;
    if is_plain {
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        if is("true") || is("on") || is("yes") {
            return Ok(Scalar::Plain(Value::Bool(true)));
        }
        if is("false") || is("off") || is("no") {
            return Ok(Scalar::Plain(Value::Bool(false)));
        }
        if let Some(name) = text.strip_prefix('$') {
            return Ok(Scalar::Reference(name.to_owned()));
        }
    }
    Ok(Scalar::Plain(Value::Text(text)))
}

fn negative_number(scanner: &mut Scanner<'_>) -> Result<Scalar, ParseError> {
    let start = scanner.at();
    scanner.next();
    let first = scanner.next();
    if first == '.' {
        return Err(error(scanner, "Floats must start with a digit, not '.'."));
    }
    if !first.is_ascii_digit() {
        let first = match first {
            '\n' => "\\n".to_owned(),
            other => other.to_string(),
        };
        return Err(error(
            scanner,
            &format!("Expected a digit but got '{first}'."),
        ));
    }
    scanner.skip_while(|next| next.is_ascii_digit());
    match scanner.peek() {
        '.' => float_or_address(scanner, start),
        next if is_unit(next) => with_unit(scanner, start),
        _ => integer(scanner.since(start)),
    }
}

/// What starts with a digit: a number, a time, an address, or text after all.
fn number_or_text(scanner: &mut Scanner<'_>) -> Result<Scalar, ParseError> {
    let start = scanner.at();
    scanner.skip_while(|next| next.is_ascii_digit());
    match scanner.peek() {
        '-' => {
            scanner.next();
            if scanner.at() - start != "2006-".len() {
                let text = "All ISO8601 dates must be in full Zulu form.";
                return Err(error(scanner, text));
            }
            time(scanner, start)
        }
        '.' => float_or_address(scanner, start),
        next if is_unit(next) => with_unit(scanner, start),
        next if ends_number(next) => integer(scanner.since(start)),
        _ => unquoted(scanner, start),
    }
}

/// nats-server does not count `]` here, and takes `[1,2]` for an array without an end.
fn ends_number(character: char) -> bool {
    is_newline(character) || is_blank(character) || [END, '}', ']', ';', ','].contains(&character)
}

fn is_unit(character: char) -> bool {
    "kKmMgGtTpPeE".contains(character)
}

fn with_unit(scanner: &mut Scanner<'_>, start: usize) -> Result<Scalar, ParseError> {
    scanner.next();
    scanner.skip_while(|next| "bBiI".contains(next));
    let next = scanner.peek();
    if ends_number(next) || next.is_ascii_digit() {
        return integer(scanner.since(start));
    }
    unquoted(scanner, start)
}

fn integer(text: &str) -> Result<Scalar, ParseError> {
    let unit_at = text
        .find(|character: char| character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let out_of_range = || ParseError(format!("integer '{text}' is out of the range"));
    let number: i64 = digits.parse().map_err(|_| out_of_range())?;
    let unit = unit.to_ascii_lowercase();
    let power = match unit.as_bytes().first() {
        None => 0,
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        Some(b't') => 4,
        Some(b'p') => 5,
        _ => 6,
    };
    let factor: i64 = match unit.get(1..).unwrap_or_default() {
        "" => 1000,
        "b" | "i" | "ib" => 1024,
        _ => {
            return Err(ParseError(format!("expected integer, but got '{text}'")));
        }
    };
    let number = factor
        .checked_pow(power)
        .and_then(|unit| number.checked_mul(unit))
        .ok_or_else(out_of_range)?;
    Ok(Scalar::Plain(Value::Integer(number)))
}

/// After the digits before a point, of which there is one in a float and there are three in an address.
fn float_or_address(scanner: &mut Scanner<'_>, start: usize) -> Result<Scalar, ParseError> {
    scanner.next();
    let first = scanner.next();
    if !first.is_ascii_digit() {
        let first = match first {
            '\n' => "\\n".to_owned(),
            other => other.to_string(),
        };
        let text = format!("Floats must have a digit after the '.', but got '{first}' instead.");
        return Err(error(scanner, &text));
    }
    scanner.skip_while(|next| next.is_ascii_digit());
    if scanner.peek() == '.' {
        scanner.skip_while(|next| next.is_ascii_digit() || ".:-".contains(next));
        let text = scanner.since(start).to_owned();
        return Ok(Scalar::Plain(Value::Text(text)));
    }
    let text = scanner.since(start);
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Scalar::Plain(Value::Float(number))),
        _ => Err(ParseError(format!("float '{text}' is out of the range"))),
    }
}

/// After `2006-`.
fn time(scanner: &mut Scanner<'_>, start: usize) -> Result<Scalar, ParseError> {
    for expected in "00-00T00:00:00Z".chars() {
        let found = scanner.next();
        let shown = match found {
            '\n' => "\\n".to_owned(),
            other => other.to_string(),
        };
        if expected == '0' && !found.is_ascii_digit() {
            let text = format!("Expected digit in ISO8601 datetime, but found '{shown}' instead.");
            return Err(error(scanner, &text));
        }
        if expected != '0' && found != expected {
            let text =
                format!("Expected '{expected}' in ISO8601 datetime, but found '{shown}' instead.");
            return Err(error(scanner, &text));
        }
    }
    let text = scanner.since(start);
    if !is_time(text) {
        return Err(ParseError(format!(
            "expected Zulu formatted DateTime, but got '{text}'"
        )));
    }
    Ok(Scalar::Plain(Value::DateTime(text.to_owned())))
}

/// Whether there is such a time; its form is right.
fn is_time(text: &str) -> bool {
    let number = |from: usize, to: usize| -> u32 {
        text.get(from..to)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(u32::MAX)
    };
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day) && number(11, 13) < 24 && number(14, 16) < 60 && number(17, 19) < 60
}
