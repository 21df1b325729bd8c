//! Times as the API writes them: Go's RFC 3339 with nanoseconds. No clock is read here.
//!
//! Go's time without a value is the first second of year 1; here it is [`NEVER`]. What lies outside
//! of what 64 bits of nanoseconds reach (1677 to 2262) is moved to the nearest that does not.

use crate::store::UnixNanos;

/// A time that was not said: `0001-01-01T00:00:00Z`.
pub const NEVER: UnixNanos = UnixNanos::MIN;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The layout that Go names in its complaints.
const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";

/// Writes `2026-11-21T10:19:00.857164708Z`, without the trailing zeros of the fraction.
pub fn write(out: &mut Vec<u8>, time: UnixNanos) {
    if time == NEVER {
        out.extend_from_slice(b"0001-01-01T00:00:00Z");
        return;
    }
    let seconds = time.div_euclid(NANOS_PER_SECOND);
    let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    padded(out, year, 4);
    for (mark, part) in [(b'-', month), (b'-', day), (b'T', of_day / 3600)] {
        out.push(mark);
        padded(out, part, 2);
    }
    for part in [of_day / 60 % 60, of_day % 60] {
        out.push(b':');
        padded(out, part, 2);
    }
    let fraction = time.rem_euclid(NANOS_PER_SECOND);
    if fraction > 0 {
        out.push(b'.');
        padded(out, fraction, 9);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

/// Writes a number of exactly so many digits.
fn padded(out: &mut Vec<u8>, mut value: i64, digits: usize) {
    let start = out.len();
    out.resize(start + digits, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
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
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The day since 1970 of year, month and day (`days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

fn days_in(month: i64, year: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Reads a time.
///
/// # Errors
/// What Go says about it.
pub fn parse(text: &str) -> Result<UnixNanos, String> {
    let mut rest = Rest { text, at: 0 };
    let mismatch = |at: usize, element: &str| {
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quoted(text),
            quoted(LAYOUT),
            quoted(text.get(at..).unwrap_or_default()),
            quoted(element)
        )
    };
    let beyond = |what: &str| format!("parsing time {}: {what} out of range", quoted(text));

    let mut parts = [0; 6];
    let elements = [
        ("2006", 4, ""),
        ("01", 2, "-"),
        ("02", 2, "-"),
        ("15", 2, "T"),
        ("04", 2, ":"),
        ("05", 2, ":"),
    ];
    for (i, (element, digits, mark)) in elements.into_iter().enumerate() {
        if !rest.skip(mark) {
            return Err(mismatch(rest.at, mark));
        }
        let start = rest.at;
        // Go takes an hour of one digit.
        let value = match rest.digits(digits) {
            None if element == "15" => rest.digits(1),
            value => value,
        };
        parts[i] = value.ok_or_else(|| mismatch(start, element))?;
        let largest = match i {
            1 => 12,
            3 => 23,
            4 | 5 => 59,
            _ => continue,
        };
        if parts[i] > largest || (i == 1 && parts[i] == 0) {
            let names = ["", "month", "", "hour", "minute", "second"];
            return Err(beyond(names[i]));
        }
    }
    let [year, month, day, hour, minute, second] = parts;
    let fraction = rest.fraction();

    let zone_at = rest.at;
    let offset = rest.zone().ok_or_else(|| mismatch(zone_at, "Z07:00"))?;
    if rest.at < text.len() {
        let extra = quoted(&text[rest.at..]);
        return Err(format!(
            "parsing time {}: extra text: {extra}",
            quoted(text)
        ));
    }
    if day < 1 || day > days_in(month, year) {
        return Err(beyond("day"));
    }
    if year == 1 && month == 1 && day == 1 && hour + minute + second + offset + fraction == 0 {
        return Ok(NEVER);
    }
    let seconds = days(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    let nanos = i128::from(seconds - offset) * i128::from(NANOS_PER_SECOND) + i128::from(fraction);
    let nearest = nanos.clamp(i128::from(NEVER) + 1, i128::from(i64::MAX));
    Ok(i64::try_from(nearest).expect("it was clamped to what fits"))
}

/// A duration as Go writes it: `0s`, `928µs`, `1.5ms`, `2m0.25s`.
pub fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let with_fraction = |unit: u64, name: &str| {
        let width = unit.ilog10() as usize;
        let fraction = format!("{:0width$}", nanos % unit);
        match fraction.trim_end_matches('0') {
            "" => format!("{}{name}", nanos / unit),
            digits => format!("{}.{digits}{name}", nanos / unit),
        }
    };
    let text = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => with_fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => with_fraction(1_000_000, "ms"),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let rest = nanos % 60_000_000_000;
            let fraction = format!("{:09}", rest % 1_000_000_000);
            let seconds = match fraction.trim_end_matches('0') {
                "" => format!("{}s", rest / 1_000_000_000),
                digits => format!("{}.{digits}s", rest / 1_000_000_000),
            };
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// As Go's `time` quotes what it complains about.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            // Byte by byte.
            c if !(' '..='~').contains(&c) => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    out.push_str(&format!("\\x{byte:02x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What is still to be read.
struct Rest<'t> {
    text: &'t str,
    at: usize,
}

impl Rest<'_> {
    fn bytes(&self) -> &[u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn skip(&mut self, mark: &str) -> bool {
        let there = self.bytes().starts_with(mark.as_bytes());
        if there {
            self.at += mark.len();
        }
        there
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits = self.bytes().get(..count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let value = digits
            .iter()
            .fold(0, |sum, d| sum * 10 + i64::from(d - b'0'));
        self.at += count;
        Some(value)
    }

    /// Nanoseconds; further digits are dropped.
    fn fraction(&mut self) -> i64 {
        let bytes = self.bytes();
        let marked = matches!(bytes, [b'.' | b',', b'0'..=b'9', ..]);
        if !marked {
            return 0;
        }
        let digits = bytes[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut nanos = 0;
        for i in 0..9 {
            let digit = if i < digits { bytes[1 + i] - b'0' } else { 0 };
            nanos = nanos * 10 + i64::from(digit);
        }
        self.at += 1 + digits;
        nanos
    }

    /// Seconds east of Greenwich.
    fn zone(&mut self) -> Option<i64> {
        if self.skip("Z") {
            return Some(0);
        }
        let sign = if self.skip("+") {
            1
        } else if self.skip("-") {
            -1
        } else {
            return None;
        };
        let hours = self.digits(2)?;
        if !self.skip(":") {
            return None;
        }
        let minutes = self.digits(2)?;
        Some(sign * (hours * 3600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_again() {
        let check = |text: &str, expected: &str| {
            let mut out = Vec::new();
            write(&mut out, parse(text).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
        };
        check("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z");
        check("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
        check(
            "2026-11-21T10:19:00.857164708Z",
            "2026-11-21T10:19:00.857164708Z",
        );
        check("2026-11-21T10:19:00.500Z", "2026-11-21T10:19:00.5Z");
        check(
            "2026-11-21T10:19:00.1234567891Z",
            "2026-11-21T10:19:00.123456789Z",
        );
        check("2024-02-29T23:30:00+01:30", "2024-02-29T22:00:00Z");
        check("1969-12-31T23:59:59.25Z", "1969-12-31T23:59:59.25Z");
        check("9999-01-01T00:00:00Z", "2262-04-11T23:47:16.854775807Z");
        check("2026-11-21T1:19:00Z", "2026-11-21T01:19:00Z");
    }

    #[test]
    fn durations_are_written_as_in_go() {
        let check = |nanos: i64, expected: &str| assert_eq!(duration(nanos), expected);
        check(0, "0s");
        check(1, "1ns");
        check(1_500, "1.5µs");
        check(100_000_000, "100ms");
        check(1_000_000_001, "1.000000001s");
        check(120_000_000_000, "2m0s");
        check(3_600_000_000_000, "1h0m0s");
        check(-90_250_000_000, "-1m30.25s");
    }

    #[test]
    fn complaints_are_those_of_go() {
        let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err(), expected);
        let layout = r#"as "2006-01-02T15:04:05Z07:00": cannot parse"#;
        check("x", &format!(r#"parsing time "x" {layout} "x" as "2006""#));
        check("", &format!(r#"parsing time "" {layout} "" as "2006""#));
        check(
            "2026-1-1",
            &format!(r#"parsing time "2026-1-1" {layout} "1-1" as "01""#),
        );
        check(
            "2026-01-01",
            &format!(r#"parsing time "2026-01-01" {layout} "" as "T""#),
        );
        check(
            "2026-01-01T00:00:00",
            &format!(r#"parsing time "2026-01-01T00:00:00" {layout} "" as "Z07:00""#),
        );
        check(
            "2026-13-01T00:00:00Z",
            r#"parsing time "2026-13-01T00:00:00Z": month out of range"#,
        );
        check(
            "2026-02-30T00:00:00Z",
            r#"parsing time "2026-02-30T00:00:00Z": day out of range"#,
        );
        check(
            "2026-02-01T24:00:00Z",
            r#"parsing time "2026-02-01T24:00:00Z": hour out of range"#,
        );
        check(
            "2026-02-01T20:00:00Zx",
            r#"parsing time "2026-02-01T20:00:00Zx": extra text: "x""#,
        );
    }
}
