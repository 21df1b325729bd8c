//! Times and durations as Go writes them, and ids of events. No clock is read here.

use crate::store::UnixNanos;

const SECOND: i64 = 1_000_000_000;
/// Nanoseconds of each unit of a duration.
const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
];

/// Nanoseconds of `1h30m`, `1.5s`, `-300ms`; nothing if it is no duration.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, unit_ns) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: i64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let mut place = *unit_ns as f64;
        let mut fraction_ns = 0.0;
        for digit in fraction.bytes().take(20) {
            place /= 10.0;
            fraction_ns += place * f64::from(digit - b'0');
        }
        total = total
            .checked_add(whole.checked_mul(*unit_ns)?)?
            .checked_add(fraction_ns as i64)?;
        rest = after;
    }
    Some(sign * total)
}

/// `0s`, `928µs`, `1.5ms`, `2m0.25s`.
pub fn duration(nanos: i64) -> String {
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let with_fraction = |number: u64, unit: u64, name: &str| {
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", number % unit);
        match fraction.trim_end_matches('0') {
            "" => format!("{}{name}", number / unit),
            fraction => format!("{}.{fraction}{name}", number / unit),
        }
    };
    let second = SECOND.unsigned_abs();
    let text = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => with_fraction(nanos, 1_000, "µs"),
        _ if nanos < second => with_fraction(nanos, 1_000_000, "ms"),
        _ => {
            let minutes = nanos / second / 60;
            let seconds = with_fraction(nanos % (60 * second), second, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `2026-11-21T10:19:00.857164708Z`, without the trailing zeros of the fraction.
pub fn time(nanos: UnixNanos) -> String {
    let seconds = nanos.div_euclid(SECOND);
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = format!("{:09}", nanos.rem_euclid(SECOND));
    let fraction = match fraction.trim_end_matches('0') {
        "" => String::new(),
        digits => format!(".{digits}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Counted from March, so that the leap day is the last of a year.
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `count` random letters and digits; at most ten of one number.
pub fn push_random(count: usize, mut random: impl FnMut() -> u64, to: &mut String) {
    let mut rest = 0;
    for at in 0..count {
        if at % 10 == 0 {
            rest = random();
        }
        to.push(char::from(DIGITS[(rest % 62) as usize]));
        rest /= 62;
    }
}

/// An id of 22 characters, as of events and pins.
pub fn id(random: impl FnMut() -> u64) -> String {
    let mut id = String::with_capacity(22);
    push_random(22, random, &mut id);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("0s", 0),
            ("928µs", 928_000),
            ("999ns", 999),
            ("1.5ms", 1_500_000),
            ("1s", SECOND),
            ("1m1s", 61 * SECOND),
            ("2m0.25s", 120 * SECOND + SECOND / 4),
            ("1h0m0s", 3600 * SECOND),
            ("24h0m0s", 86_400 * SECOND),
            ("-1.5s", -3 * SECOND / 2),
        ];
        for (text, nanos) in cases {
            assert_eq!(duration(nanos), text);
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
        }
        assert_eq!(parse_duration("1.5h"), Some(5400 * SECOND));
        assert_eq!(parse_duration(".5s"), Some(SECOND / 2));
        for wrong in ["", "-", "1", "s", "1x", ".s", "1.2.3s", "9999999999999h"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_795_256_340_857_164_708, "2026-11-21T10:19:00.857164708Z"),
            (-62_135_596_800, "1969-12-31T23:58:57.8644032Z"),
        ] {
            assert_eq!(time(nanos), expected);
        }
    }
}
