//! When a schedule fires: `@at`, `@every`, and six fields from seconds to days of the week (ADR-51).
//!
//! Local times that do not exist are skipped, those that exist twice fire twice: hours, minutes and
//! seconds are walked in real time. Knows no message.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::jetstream::api::time;
use crate::store::UnixNanos;

use super::headers;

const SECOND: i64 = 1_000_000_000;
/// A pattern that matches no day within so many years is none.
const YEARS_AHEAD: i16 = 5;
/// Set where a field begins with `*`: then the other field of days decides alone.
const STAR: u64 = 1 << 63;

/// When something fires next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    pub at: UnixNanos,
    /// Whether it does so again afterwards.
    pub repeats: bool,
}

/// The time zone of that name; none if there is no such.
pub fn zone(name: &[u8]) -> Option<TimeZone> {
    match std::str::from_utf8(name).ok()? {
        "" => None,
        "Local" => Some(TimeZone::system()),
        name => TimeZone::get(name).ok(),
    }
}

/// The first firing after `from`; if that has passed, the first after `now`. None if the pattern
/// is none.
pub fn next(
    pattern: &[u8],
    zone: Option<&TimeZone>,
    from: UnixNanos,
    now: UnixNanos,
) -> Option<Firing> {
    let pattern = std::str::from_utf8(pattern).ok()?;
    if let Some(at) = pattern.strip_prefix("@at ") {
        let at = time::parse(at).ok().filter(|_| zone.is_none())?;
        return Some(Firing { at, repeats: false });
    }
    if let Some(every) = pattern.strip_prefix("@every ") {
        let every = headers::duration(every.as_bytes())?;
        if zone.is_some() || every < SECOND {
            return None;
        }
        let after = |time: i64| rounded(time).checked_add(every);
        let mut at = after(from)?;
        if at < now {
            at = after(now)?;
        }
        return Some(Firing { at, repeats: true });
    }
    let fields = Fields::parse(match pattern {
        "@yearly" | "@annually" => "0 0 0 1 1 *",
        "@monthly" => "0 0 0 1 * *",
        "@weekly" => "0 0 0 * * 0",
        "@daily" | "@midnight" => "0 0 0 * * *",
        "@hourly" => "0 0 * * * *",
        pattern => pattern,
    })?;
    let zone = zone.cloned().unwrap_or(TimeZone::UTC);
    let mut at = fields.next(&zone, from)?;
    if at < now {
        at = fields.next(&zone, rounded(now))?;
    }
    Some(Firing { at, repeats: true })
}

/// A time as Go writes it in a zone: RFC 3339, with the offset unless that is zero.
pub fn write(at: UnixNanos, zone: Option<&TimeZone>, to: &mut Vec<u8>) {
    let local = zone.and_then(|zone| Some(timestamp(at)?.to_zoned(zone.clone())));
    match local {
        Some(local) if !local.offset().is_zero() => {
            let text = local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
            to.extend_from_slice(text.as_bytes());
        }
        _ => time::write(to, at),
    }
}

fn timestamp(at: UnixNanos) -> Option<Timestamp> {
    Timestamp::from_nanosecond(at.into()).ok()
}

/// To the nearest second.
fn rounded(time: UnixNanos) -> UnixNanos {
    time.saturating_add(SECOND / 2).div_euclid(SECOND) * SECOND
}

/// Which seconds, minutes and so on match, a bit for each.
struct Fields {
    second: u64,
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
}

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Fields {
    fn parse(pattern: &str) -> Option<Self> {
        let mut texts = pattern.split_whitespace();
        let mut field = |min, max, names| bits(texts.next()?, min, max, names);
        let fields = Self {
            second: field(0, 59, &[])?,
            minute: field(0, 59, &[])?,
            hour: field(0, 23, &[])?,
            day: field(1, 31, &[])?,
            month: field(1, 12, MONTHS)?,
            weekday: field(0, 6, WEEKDAYS)?,
        };
        // Without any second, minute or hour all of the years would be walked through.
        let times = [fields.second, fields.minute, fields.hour, fields.month];
        let is_possible = times.iter().all(|&bits| bits != 0);
        (is_possible && texts.next().is_none()).then_some(fields)
    }

    fn has_day(&self, date: Date) -> bool {
        let day = self.day >> date.day() & 1 == 1;
        let weekday = self.weekday >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        if (self.day | self.weekday) & STAR != 0 {
            day && weekday
        } else {
            day || weekday
        }
    }

    /// The first match after a time.
    fn next(&self, zone: &TimeZone, from: UnixNanos) -> Option<UnixNanos> {
        let begin = from.div_euclid(SECOND).checked_add(1)?;
        let begin = Timestamp::from_second(begin).ok()?.to_zoned(zone.clone());
        let last_year = begin.year().checked_add(YEARS_AHEAD)?;
        let mut at = begin;
        while at.year() <= last_year {
            if self.month >> at.month() & 1 == 0 {
                at = day(zone, at.date().last_of_month().tomorrow().ok()?)?;
            } else if !self.has_day(at.date()) {
                at = day(zone, at.date().tomorrow().ok()?)?;
            } else if self.hour >> at.hour() & 1 == 0 {
                at = step(
                    &at,
                    3600 - i64::from(at.minute()) * 60 - i64::from(at.second()),
                )?;
            } else if self.minute >> at.minute() & 1 == 0 {
                at = step(&at, 60 - i64::from(at.second()))?;
            } else if self.second >> at.second() & 1 == 0 {
                at = step(&at, 1)?;
            } else {
                return i64::try_from(at.timestamp().as_nanosecond()).ok();
            }
        }
        None
    }
}

/// The first moment of a day.
fn day(zone: &TimeZone, date: Date) -> Option<Zoned> {
    date.to_zoned(zone.clone()).ok()?.start_of_day().ok()
}

fn step(at: &Zoned, seconds: i64) -> Option<Zoned> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// The bits of a field: ranges with commas between them.
fn bits(field: &str, min: u32, max: u32, names: &[&str]) -> Option<u64> {
    let ranges = field.split(',').filter(|range| !range.is_empty());
    ranges
        .map(|range| range_bits(range, min, max, names))
        .try_fold(0, |all, range| Some(all | range?))
}

/// The bits of `*`, `a`, `a-b`, each perhaps with `/step`.
fn range_bits(range: &str, min: u32, max: u32, names: &[&str]) -> Option<u64> {
    let mut halves = range.split('/');
    let ends: Vec<&str> = halves.next()?.split('-').collect();
    let step = halves.next();
    if halves.next().is_some() {
        return None;
    }
    let number = |text: &str| {
        let name = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        match name {
            Some(at) => Some(at as u32 + min),
            None => text.parse::<u32>().ok(),
        }
    };
    let mut star = 0;
    let (first, mut last) = match ends.as_slice() {
        ["*" | "?", ..] => {
            star = STAR;
            (min, max)
        }
        [one] => (number(one)?, number(one)?),
        [first, last] => (number(first)?, number(last)?),
        _ => return None,
    };
    let step = match step {
        None => 1,
        Some(text) => {
            // `a/step` goes on to the end.
            if ends.len() == 1 {
                last = max;
            }
            text.parse::<u32>().ok()?
        }
    };
    if step > 1 {
        star = 0;
    }
    if step == 0 || first < min || last > max || first > last {
        return None;
    }
    let numbers = (first..=last).step_by(step as usize);
    Some(numbers.fold(star, |bits, number| bits | 1 << number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> i64 {
        time::parse(text).unwrap()
    }

    /// Zone, pattern, after which time, and when then; empty for never.
    #[test]
    fn next_times() {
        let cases: &[(&str, &str, &str, &str)] = &[
            (
                "",
                "* * * * * *",
                "2026-11-21T10:00:00.5Z",
                "2026-11-21T10:00:01Z",
            ),
            (
                "",
                "0 * * * * *",
                "2026-11-21T10:00:00Z",
                "2026-11-21T10:01:00Z",
            ),
            (
                "",
                "*/15 * * * * *",
                "2026-11-21T10:00:46Z",
                "2026-11-21T10:01:00Z",
            ),
            (
                "",
                "5/20 * * * * *",
                "2026-11-21T10:00:26Z",
                "2026-11-21T10:00:45Z",
            ),
            (
                "",
                "0 0 12 * * *",
                "2026-11-21T12:00:00Z",
                "2026-11-22T12:00:00Z",
            ),
            (
                "",
                "0 30 8-10/2 * * *",
                "2026-11-21T08:31:00Z",
                "2026-11-21T10:30:00Z",
            ),
            (
                "",
                "0 0 0 29 2 ?",
                "2026-11-21T00:00:00Z",
                "2028-02-29T00:00:00Z",
            ),
            ("", "0 0 0 31 Feb *", "2026-11-21T00:00:00Z", ""),
            (
                "",
                "0 0 0 1,15 * Mon",
                "2026-11-21T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (
                "",
                "0 0 0 1 * mon",
                "2026-11-24T00:00:00Z",
                "2026-11-30T00:00:00Z",
            ),
            (
                "",
                "0 0 0 * jan-mar sat",
                "2026-11-21T00:00:00Z",
                "2027-01-02T00:00:00Z",
            ),
            (
                "",
                "@hourly",
                "2026-11-21T10:59:59Z",
                "2026-11-21T11:00:00Z",
            ),
            ("", "@daily", "2026-12-31T10:00:00Z", "2027-01-01T00:00:00Z"),
            (
                "",
                "@weekly",
                "2026-11-21T10:00:00Z",
                "2026-11-22T00:00:00Z",
            ),
            (
                "",
                "@monthly",
                "2026-11-21T10:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
            (
                "",
                "@yearly",
                "2026-11-21T10:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            (
                "",
                "@every 1m",
                "2026-11-21T10:00:00.6Z",
                "2026-11-21T10:01:01Z",
            ),
            ("", "@every 500ms", "2026-11-21T10:00:00Z", ""),
            ("", "@every", "2026-11-21T10:00:00Z", ""),
            (
                "",
                "@at 2026-11-21T10:00:05+01:00",
                "2026-11-21T08:00:00Z",
                "2026-11-21T09:00:05Z",
            ),
            ("", "@at soon", "2026-11-21T08:00:00Z", ""),
            ("", "* * * * *", "2026-11-21T08:00:00Z", ""),
            ("", "* * * * * * *", "2026-11-21T08:00:00Z", ""),
            ("", "60 * * * * *", "2026-11-21T08:00:00Z", ""),
            ("", "-1 * * * * *", "2026-11-21T08:00:00Z", ""),
            ("", "5-1 * * * * *", "2026-11-21T08:00:00Z", ""),
            ("", "1/0 * * * * *", "2026-11-21T08:00:00Z", ""),
            ("", "1-2-3 * * * * *", "2026-11-21T08:00:00Z", ""),
            ("", "1/2/3 * * * * *", "2026-11-21T08:00:00Z", ""),
            ("", ", * * * * *", "2026-11-21T08:00:00Z", ""),
            ("", "* * * 0 * *", "2026-11-21T08:00:00Z", ""),
            ("", "* * * * * 7", "2026-11-21T08:00:00Z", ""),
            (
                "America/New_York",
                "0 0 9 * * *",
                "2026-07-01T12:00:00Z",
                "2026-07-01T13:00:00Z",
            ),
            (
                "America/New_York",
                "@at 2026-11-21T10:00:05Z",
                "2026-11-21T08:00:00Z",
                "",
            ),
            ("America/New_York", "@every 1m", "2026-11-21T08:00:00Z", ""),
            // 02:30 does not exist on that day.
            (
                "Europe/Berlin",
                "0 30 2 * * *",
                "2026-03-28T12:00:00Z",
                "2026-03-30T00:30:00Z",
            ),
            // and there twice.
            (
                "Europe/Berlin",
                "0 30 2 * * *",
                "2026-10-25T00:00:00Z",
                "2026-10-25T00:30:00Z",
            ),
            (
                "Europe/Berlin",
                "0 30 2 * * *",
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00Z",
            ),
            (
                "Europe/Berlin",
                "0 30 2 * * *",
                "2026-10-25T01:30:00Z",
                "2026-10-26T01:30:00Z",
            ),
        ];
        for &(name, pattern, from, expected) in cases {
            let zone = (!name.is_empty()).then(|| zone(name.as_bytes()).unwrap());
            let from = parse(from);
            let found = next(pattern.as_bytes(), zone.as_ref(), from, from);
            let expected = (!expected.is_empty()).then(|| parse(expected));
            assert_eq!(found.map(|firing| firing.at), expected, "{pattern} {name}");
        }
        assert!(super::zone(b"Nowhere/Town").is_none());
    }

    #[test]
    fn what_was_missed_fires_once() {
        let from = parse("2026-11-21T08:00:00Z");
        let now = parse("2026-11-21T10:00:00.2Z");
        let cases = [
            ("@every 1m", "2026-11-21T10:01:00Z"),
            ("0 * * * * *", "2026-11-21T10:01:00Z"),
            ("@at 2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z"),
        ];
        for (pattern, expected) in cases {
            let found = next(pattern.as_bytes(), None, from, now).unwrap();
            assert_eq!(found.at, parse(expected), "{pattern}");
        }
    }

    #[test]
    fn written_with_the_zone() {
        let berlin = zone(b"Europe/Berlin").unwrap();
        let london = zone(b"Europe/London").unwrap();
        let at = parse("2026-11-21T10:00:00Z");
        let cases = [
            (None, "2026-11-21T10:00:00Z"),
            (Some(&berlin), "2026-11-21T11:00:00+01:00"),
            (Some(&london), "2026-11-21T10:00:00Z"),
        ];
        for (zone, expected) in cases {
            let mut text = Vec::new();
            write(at, zone, &mut text);
            assert_eq!(text, expected.as_bytes());
        }
    }
}
