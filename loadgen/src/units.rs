//! Human units on the command line and in the report: `10M` messages, `64KiB`, `500ms`. Knows nothing of workloads.

use std::time::Duration;

/// Parses a number of things: digits with an optional `k`, `M` or `G` (decimal), a fraction, and `_` or `,` as separators.
pub fn parse_count(text: &str) -> Result<u64, String> {
    scaled(
        text,
        &[("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9), ("", 1.0)],
    )
}

/// Parses a size in bytes: `16`, `16B`, `1KiB`, `64kB`, `1MiB`. A bare `k` or `M` is decimal, as everywhere else here.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let bytes = scaled(
        text,
        &[
            ("KiB", 1024.0),
            ("MiB", 1024.0 * 1024.0),
            ("kB", 1e3),
            ("KB", 1e3),
            ("MB", 1e6),
            ("k", 1e3),
            ("K", 1e3),
            ("M", 1e6),
            ("B", 1.0),
            ("", 1.0),
        ],
    )?;
    usize::try_from(bytes).map_err(|_| format!("{text} is too large"))
}

/// Parses a time span: `5s`, `500ms`, `20us`, `2m`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let nanoseconds = scaled(
        text,
        &[
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 60e9),
            ("", 1e9),
        ],
    )?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// Parses a list of processors: `0,2-3`.
pub fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |digits: &str| {
            digits
                .trim()
                .parse::<usize>()
                .map_err(|_| format!("{part:?} is no processor number or range"))
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("the range {part:?} runs backwards"));
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

/// A number with three significant digits and a decimal suffix: `12.3 M`.
pub fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    if scaled == 0.0 {
        return "0".to_owned();
    }
    let decimals = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 4,
    };
    format!("{scaled:.decimals$}{suffix}")
}

/// An integer with a comma between each three digits.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Result<u64, String> {
    let text = text.trim();
    let split = text
        .find(|character: char| !(character.is_ascii_digit() || "._,".contains(character)))
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let digits: String = digits
        .chars()
        .filter(|digit| !"_,".contains(*digit))
        .collect();
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{text:?} does not start with a number"))?;
    let unit = unit.trim();
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| factor)
        .ok_or_else(|| format!("unknown unit {unit:?} in {text:?}"))?;
    Ok((number * factor).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_sizes_and_durations_take_units() {
        for (text, expected) in [
            ("7", 7),
            ("1k", 1_000),
            ("10M", 10_000_000),
            ("1.5k", 1_500),
            ("1_000", 1_000),
        ] {
            assert_eq!(parse_count(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("0", 0),
            ("16B", 16),
            ("64KiB", 65_536),
            ("1kB", 1_000),
            ("1MiB", 1 << 20),
        ] {
            assert_eq!(parse_bytes(text), Ok(expected), "{text}");
        }
        for (text, expected_ns) in [
            ("5s", 5_000_000_000),
            ("500ms", 500_000_000),
            ("20us", 20_000),
            ("2", 2_000_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_nanos(expected_ns)),
                "{text}"
            );
        }
        assert!(parse_count("ten").is_err());
        assert!(parse_bytes("1Ki").is_err());
    }

    #[test]
    fn processor_lists_take_ranges() {
        assert_eq!(parse_cpus("0,2-4"), Ok(vec![0, 2, 3, 4]));
        assert!(parse_cpus("3-1").is_err());
        assert!(parse_cpus("a").is_err());
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(short(12_345_678.0), "12.3 M");
        assert_eq!(short(1_234.5), "1234");
        assert_eq!(short(0.5), "0.50");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }
}
