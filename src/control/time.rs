//! Times as monitoring writes them: Go's RFC 3339 with nanoseconds, its durations, and uptimes.
//! No clock is read here.

use serde::{Serialize, Serializer};

/// Nanoseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixNanos(pub u64);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl UnixNanos {
    /// How long after `earlier` this is, in nanoseconds; 0 if it is not.
    pub fn since(self, earlier: UnixNanos) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `2026-11-21T10:19:00.857164708Z`, without the trailing zeros of the fraction.
    pub fn text(self) -> String {
        let fraction = format!("{:09}", self.0 % NANOS_PER_SECOND);
        let fraction = match fraction.trim_end_matches('0') {
            "" => String::new(),
            digits => format!(".{digits}"),
        };
        text(self.0 / NANOS_PER_SECOND, &fraction)
    }
}

/// Seconds since 1970, UTC: for times further away than [`UnixNanos`] can say, as ends of certificates are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixSeconds(pub u64);

impl Serialize for UnixSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(self.0, ""))
    }
}

fn text(seconds: u64, fraction: &str) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

impl Serialize for UnixNanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
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
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// `1y2d3h4m5s`, from the first unit that is not zero.
pub fn uptime(nanos: u64) -> String {
    let seconds = nanos / NANOS_PER_SECOND;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let years = days / 365;
    let mut text = String::new();
    for (whole, shown, unit) in [
        (years, years, 'y'),
        (days, days % 365, 'd'),
        (hours, hours % 24, 'h'),
        (minutes, minutes % 60, 'm'),
    ] {
        if whole > 0 {
            text.push_str(&format!("{shown}{unit}"));
        }
    }
    text.push_str(&format!("{}s", seconds % 60));
    text
}

/// A duration as Go writes it: `0s`, `928µs`, `1.5ms`, `2m0.25s`.
pub fn duration(nanos: u64) -> String {
    let with_fraction = |unit: u64, name: &str| {
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", nanos % unit);
        match fraction.trim_end_matches('0') {
            "" => format!("{}{name}", nanos / unit),
            fraction => format!("{}.{fraction}{name}", nanos / unit),
        }
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => with_fraction(1_000, "µs"),
        1_000_000..NANOS_PER_SECOND => with_fraction(1_000_000, "ms"),
        _ => {
            let minutes = nanos / NANOS_PER_SECOND / 60;
            let (hours, minutes_of_hour) = (minutes / 60, minutes % 60);
            let below_minute = nanos % (60 * NANOS_PER_SECOND);
            let seconds = if below_minute == 0 {
                "0s".to_owned()
            } else {
                let fraction = format!("{:09}", below_minute % NANOS_PER_SECOND);
                let whole = below_minute / NANOS_PER_SECOND;
                match fraction.trim_end_matches('0') {
                    "" => format!("{whole}s"),
                    fraction => format!("{whole}.{fraction}s"),
                }
            };
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, _) => format!("{minutes_of_hour}m{seconds}"),
                _ => format!("{hours}h{minutes_of_hour}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_795_256_340_857_164_708, "2026-11-21T10:19:00.857164708Z"),
            (1_795_256_340_500_000_000, "2026-11-21T10:19:00.5Z"),
            (4_107_542_399_000_000_001, "2100-02-28T23:59:59.000000001Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00Z"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(UnixNanos(nanos).text(), expected);
        }
        // The end of the type.
        assert!(UnixNanos(u64::MAX).text().starts_with("2554-07-21T"));
    }

    #[test]
    fn spans() {
        const SECOND: u64 = NANOS_PER_SECOND;
        let cases = [
            (0, "0s", "0s"),
            (928_000, "0s", "928µs"),
            (999, "0s", "999ns"),
            (1_500_000, "0s", "1.5ms"),
            (SECOND, "1s", "1s"),
            (61 * SECOND, "1m1s", "1m1s"),
            (120 * SECOND + SECOND / 4, "2m0s", "2m0.25s"),
            (3600 * SECOND, "1h0m0s", "1h0m0s"),
            (86_400 * SECOND, "1d0h0m0s", "24h0m0s"),
            (
                366 * 86_400 * SECOND + 5 * SECOND,
                "1y1d0h0m5s",
                "8784h0m5s",
            ),
        ];
        for (nanos, as_uptime, as_duration) in cases {
            assert_eq!(uptime(nanos), as_uptime);
            assert_eq!(duration(nanos), as_duration);
        }
    }
}
