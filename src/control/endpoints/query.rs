//! The query of a request, read as Go reads one, with nats-server's texts for mistakes.

use crate::proto::quote::quote;

/// Names with values; unreadable ones are left out, as Go does.
#[derive(Debug, Default)]
pub struct Query(Vec<Pair>);

#[derive(Debug)]
struct Pair {
    name: String,
    value: String,
    /// The value as it came, for texts that show it.
    bytes: Vec<u8>,
}

impl Query {
    /// Reads what follows the question mark.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.contains(';'));
        let pairs = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, bytes) = (unescaped(name)?, unescaped(value)?);
            Some(Pair {
                name: String::from_utf8_lossy(&name).into_owned(),
                value: String::from_utf8_lossy(&bytes).into_owned(),
                bytes,
            })
        });
        Self(pairs.collect())
    }

    /// The first value of a name; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.pair(name).map_or("", |pair| &pair.value)
    }

    fn pair(&self, name: &str) -> Option<&Pair> {
        self.0.iter().find(|pair| pair.name == name)
    }

    fn quoted(&self, name: &str) -> String {
        quote(self.pair(name).map_or(&[], |pair| &pair.bytes))
    }

    /// True or false.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(format!(
                "Error decoding boolean for '{name}': strconv.ParseBool: parsing {}: invalid syntax",
                self.quoted(name)
            )),
        }
    }

    /// Whether it is wanted, and whether it is wanted in detail.
    ///
    /// # Errors
    /// It is neither true nor false nor `detail`.
    pub fn flag_or_detail(&self, name: &str) -> Result<(bool, bool), String> {
        if self.get(name).eq_ignore_ascii_case("detail") {
            return Ok((false, true));
        }
        Ok((self.flag(name)?, false))
    }

    /// A whole number; 0 where there is none.
    ///
    /// # Errors
    /// It is no number, or none of 64 bits.
    pub fn number(&self, name: &str) -> Result<i64, String> {
        let text = self.get(name);
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        decoded(text, digits, text.parse().ok(), |reason| {
            let text = self.quoted(name);
            format!("Error decoding int for '{name}': strconv.Atoi: parsing {text}: {reason}")
        })
    }

    /// The same without a sign.
    ///
    /// # Errors
    /// It is no number, or none of 64 bits.
    pub fn unsigned(&self, name: &str) -> Result<u64, String> {
        let text = self.get(name);
        decoded(text, text, text.parse().ok(), |reason| {
            let text = self.quoted(name);
            format!(
                "Error decoding uint64 for '{name}': strconv.ParseUint: parsing {text}: {reason}"
            )
        })
    }
}

fn decoded<T: Default>(
    text: &str,
    digits: &str,
    value: Option<T>,
    error: impl Fn(&str) -> String,
) -> Result<T, String> {
    if text.is_empty() {
        return Ok(T::default());
    }
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error("invalid syntax"));
    }
    value.ok_or_else(|| error("value out of range"))
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    decoded_escapes(text, true)
}

/// Text with, perhaps, `+` for a space, and `%` before two digits of a byte; `None` where these digits are none.
pub fn decoded_escapes(text: &str, plus_is_space: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let check = |query: &str, name: &str, expected: &str| {
            assert_eq!(Query::parse(query).get(name), expected, "{query} {name}");
        };
        check("", "a", "");
        check("a", "a", "");
        check("a=1&a=2", "a", "1");
        check("a=%41+b%2b=", "a", "A b+=");
        check("a%20b=c", "a b", "c");
        check("a=%zz&b=2", "a", "");
        check("a=%4", "a", "");
        check("a=%zz&b=2", "b", "2");
        check("a=1;b=2&c=3", "a", "");
        check("a=1;b=2&c=3", "c", "3");
        check("a=%ff", "a", "\u{fffd}");
    }

    /// What a nats-server 2.15.1 said.
    #[test]
    fn mistakes() {
        let query = |value: &str| Query::parse(&format!("x={value}"));
        for (value, flag) in [("", false), ("T", true), ("0", false), ("True", true)] {
            assert_eq!(query(value).flag("x"), Ok(flag));
        }
        assert_eq!(
            query("nah").flag("x").unwrap_err(),
            "Error decoding boolean for 'x': strconv.ParseBool: parsing \"nah\": invalid syntax"
        );
        assert_eq!(
            query("%c3%a9%00%ff%22%e2%80%8b").flag("x").unwrap_err(),
            "Error decoding boolean for 'x': strconv.ParseBool: parsing \"é\\x00\\xff\\\"\\u200b\": invalid syntax"
        );
        assert_eq!(query("Detail").flag_or_detail("x"), Ok((false, true)));
        assert_eq!(query("1").flag_or_detail("x"), Ok((true, false)));
        assert!(query("details").flag_or_detail("x").is_err());
        for (value, number) in [("", 0), ("-7", -7), ("%2b7", 7), ("007", 7)] {
            assert_eq!(query(value).number("x"), Ok(number));
        }
        for (value, reason) in [
            ("99999999999999999999", "value out of range"),
            ("1.5", "invalid syntax"),
            ("-", "invalid syntax"),
        ] {
            let expected =
                format!("Error decoding int for 'x': strconv.Atoi: parsing \"{value}\": {reason}");
            assert_eq!(query(value).number("x"), Err(expected));
        }
        assert_eq!(query("18446744073709551615").unsigned("x"), Ok(u64::MAX));
        for value in ["-1", "%2b1"] {
            let error = query(value).unsigned("x").unwrap_err();
            assert!(error.ends_with("invalid syntax"), "{error}");
        }
    }
}
