//! Durations as Go writes them: `1h30m`, `1.5s`, `-300ms`. Signed nanoseconds, 64 bits.

/// Nanoseconds of each unit.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    // Micro sign and Greek mu.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Nanoseconds of a duration.
///
/// # Errors
/// It is none; the text is Go's.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (is_negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end = after
            .find(|character: char| character == '.' || character.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, unit_ns)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let whole: u64 = match whole {
            "" => 0,
            digits => digits.parse().map_err(|_| invalid())?,
        };
        // More digits than nanoseconds have make no difference.
        let mut fraction_ns = 0;
        let mut place_ns = *unit_ns as f64;
        for digit in fraction.bytes().take(20) {
            place_ns /= 10.0;
            fraction_ns += (f64::from(digit - b'0') * place_ns * 1000.0).round() as u64;
        }
        total = whole
            .checked_mul(*unit_ns)
            .and_then(|ns| ns.checked_add(fraction_ns / 1000))
            .and_then(|ns| ns.checked_add(total))
            .filter(|ns| *ns <= 1 << 63)
            .ok_or_else(invalid)?;
        rest = after;
    }
    match is_negative {
        true => 0i64.checked_sub_unsigned(total).ok_or_else(invalid),
        false => i64::try_from(total).map_err(|_| invalid()),
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The duration as Go shows it: `1m30s`, `100ms`, `0s`.
pub fn shown_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let ns = nanoseconds.unsigned_abs();
    let decimal = |unit_ns: u64, unit: &str| {
        let (whole, fraction) = (ns / unit_ns, ns % unit_ns);
        let width = unit_ns.ilog10() as usize;
        let fraction = format!(".{fraction:0width$}");
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        format!("{sign}{whole}{fraction}{unit}")
    };
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{ns}ns"),
        1_000..1_000_000 => decimal(1_000, "\u{b5}s"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let (minutes, rest_ns) = (ns / 60_000_000_000, ns % 60_000_000_000);
            let fraction = format!(".{:09}", rest_ns % 1_000_000_000);
            let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
            let seconds = format!("{}{fraction}s", rest_ns / 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        const S: i64 = 1_000_000_000;
        for (text, expected) in [
            ("0", Ok(0)),
            ("5s", Ok(5 * S)),
            ("-5s", Ok(-5 * S)),
            ("1h30m", Ok(5400 * S)),
            ("1.5s", Ok(S * 3 / 2)),
            (".5s", Ok(S / 2)),
            ("100ms", Ok(S / 10)),
            ("1.000000001s", Ok(S + 1)),
            ("0.1ms", Ok(100_000)),
            ("7\u{b5}s", Ok(7_000)),
            ("2562047h47m16.854775807s", Ok(i64::MAX)),
            ("", Err("time: invalid duration \"\"")),
            ("-", Err("time: invalid duration \"-\"")),
            ("s", Err("time: invalid duration \"s\"")),
            ("5", Err("time: missing unit in duration \"5\"")),
            ("5y", Err("time: unknown unit \"y\" in duration \"5y\"")),
            ("5 s", Err("time: unknown unit \" s\" in duration \"5 s\"")),
            ("9999999h", Err("time: invalid duration \"9999999h\"")),
            ("\u{e4}", Err("time: invalid duration \"\u{e4}\"")),
        ] {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn shown() {
        for text in [
            "0s",
            "5s",
            "1m0s",
            "1h0m0s",
            "1m30s",
            "100ms",
            "1.5s",
            "7\u{b5}s",
            "9ns",
            "-1.000000001s",
            "2h47m16.8s",
        ] {
            let nanoseconds = parse_duration(text).unwrap();
            assert_eq!(shown_duration(nanoseconds), text);
        }
    }
}
