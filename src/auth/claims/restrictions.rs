//! From where and when a user may connect: address ranges and times of day.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::Value;

use super::fields::Fields;
use super::{ClaimsError, broken};

/// Ranges as the token spells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Address ranges (CIDR); empty for anywhere.
    pub sources: Vec<String>,
    /// Start and end of day times, `15:04:05`; empty for always. The end may be on the next day.
    pub times: Vec<(String, String)>,
    /// IANA name of the zone of these times; empty for the server's.
    pub location: String,
}

/// The answer to a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// At any time.
    Always,
    /// Now, and for so many seconds more.
    For(u64),
    /// Not now.
    No,
}

impl Restrictions {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, ClaimsError> {
        let sources = match fields.get("src") {
            // Version 1 wrote one text.
            Some(Value::String(list)) => list
                .split(',')
                .map(|range| range.trim().to_ascii_lowercase())
                .filter(|range| !range.is_empty())
                .collect(),
            _ => fields.texts("src")?,
        };
        let mut times = Vec::new();
        for range in fields.list("times")? {
            let range = Fields::of(range, "times")?;
            times.push((range.text("start")?, range.text("end")?));
        }
        Ok(Self {
            sources,
            times,
            location: fields.text("times_location")?,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.times.is_empty() && self.location.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), ClaimsError> {
        for range in &self.sources {
            if Range::parse(range).is_none() {
                return Err(broken(format!("invalid cidr {range:?} in user src limits")));
            }
        }
        for (start, end) in &self.times {
            if parse_time(start).is_none() || parse_time(end).is_none() {
                return Err(broken(format!("invalid time range {start:?} to {end:?}")));
            }
        }
        if self.zone().is_none() {
            return Err(broken(format!("unknown time zone {:?}", self.location)));
        }
        Ok(())
    }

    /// Whether a connection may come from `peer`.
    pub fn allow_source(&self, peer: IpAddr) -> bool {
        self.sources.is_empty()
            || self
                .sources
                .iter()
                .any(|range| Range::parse(range).is_some_and(|range| range.contains(peer)))
    }

    /// Whether a connection may be now, and how long. Of several ranges the longest counts.
    pub fn allow_time(&self, now_unix_s: u64) -> Within {
        if self.times.is_empty() {
            return Within::Always;
        }
        let now = i64::try_from(now_unix_s)
            .ok()
            .and_then(|s| Timestamp::from_second(s).ok());
        let (Some(now), Some(zone)) = (now, self.zone()) else {
            return Within::No;
        };
        let now = now.to_zoned(zone);
        let mut longest = None;
        for (start, end) in &self.times {
            let (Some(start), Some(end)) = (parse_time(start), parse_time(end)) else {
                return Within::No;
            };
            longest = longest.max(seconds_left(&now, start, end));
        }
        longest.map_or(Within::No, Within::For)
    }

    fn zone(&self) -> Option<TimeZone> {
        match self.location.as_str() {
            "" | "Local" => Some(TimeZone::system()),
            name => TimeZone::get(name).ok(),
        }
    }
}

/// Seconds from `now` to the end of the range; `None` if it is outside.
fn seconds_left(now: &Zoned, start: Time, end: Time) -> Option<u64> {
    let at = |date: jiff::civil::Date, time| {
        DateTime::from_parts(date, time)
            .to_zoned(now.time_zone().clone())
            .ok()
    };
    let (from, to) = (at(now.date(), start)?, at(now.date(), end)?);
    let until = if from < *now && *now < to {
        to
    } else if start > end && *now < to {
        // Over midnight, and after it.
        to
    } else if start > end && from < *now {
        // Over midnight, and before it.
        at(now.date().checked_add(1.day()).ok()?, end)?
    } else {
        return None;
    };
    u64::try_from(until.timestamp().as_second() - now.timestamp().as_second()).ok()
}

/// `15:04:05`, of which the hour may have one digit.
fn parse_time(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let fits = parts.next().is_none()
        && matches!(hour.len(), 1 | 2)
        && minute.len() == 2
        && second.len() == 2
        && [hour, minute, second].into_iter().all(digits);
    if !fits {
        return None;
    }
    Time::new(
        hour.parse().ok()?,
        minute.parse().ok()?,
        second.parse().ok()?,
        0,
    )
    .ok()
}

/// A range of addresses.
struct Range {
    network: u128,
    /// Bits that count, of 128.
    bits: u32,
    four: bool,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let length: u32 = length.parse().ok()?;
        let (max, above) = match address {
            IpAddr::V4(_) => (32, 96),
            IpAddr::V6(_) => (128, 0),
        };
        (length <= max).then(|| Self {
            network: widened(address),
            bits: length + above,
            four: address.is_ipv4(),
        })
    }

    /// IPv4 in the dress of IPv6 counts as IPv4.
    fn contains(&self, peer: IpAddr) -> bool {
        let peer = match peer {
            IpAddr::V6(six) => six.to_ipv4_mapped().map_or(peer, IpAddr::V4),
            IpAddr::V4(_) => peer,
        };
        let difference = self.network ^ widened(peer);
        self.four == peer.is_ipv4() && difference.checked_shr(128 - self.bits).unwrap_or(0) == 0
    }
}

fn widened(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => Ipv4Addr::to_ipv6_mapped(&four).to_bits(),
        IpAddr::V6(six) => Ipv6Addr::to_bits(six),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restrictions(sources: &[&str], times: &[(&str, &str)], location: &str) -> Restrictions {
        Restrictions {
            sources: sources.iter().map(|&s| s.to_owned()).collect(),
            times: times
                .iter()
                .map(|&(start, end)| (start.to_owned(), end.to_owned()))
                .collect(),
            location: location.to_owned(),
        }
    }

    #[test]
    fn sources() {
        let cases: &[(&[&str], &str, bool)] = &[
            (&[], "1.2.3.4", true),
            (&["10.0.0.0/8"], "10.255.0.1", true),
            (&["10.0.0.0/8"], "11.0.0.1", false),
            (&["10.1.2.3/32"], "10.1.2.3", true),
            (&["10.1.2.3/32"], "10.1.2.4", false),
            (&["10.0.0.0/8"], "::ffff:10.0.0.1", true),
            (&["0.0.0.0/0"], "1.2.3.4", true),
            (&["0.0.0.0/0"], "::1", false),
            (&["::/0"], "::1", true),
            (&["::/0"], "1.2.3.4", false),
            (&["2001:db8::/33"], "2001:db8:7fff::1", true),
            (&["2001:db8::/33"], "2001:db8:8000::1", false),
            (&["10.0.0.0/8", "::1/128"], "::1", true),
        ];
        for &(ranges, peer, expected) in cases {
            let given = restrictions(ranges, &[], "");
            assert_eq!(given.check(), Ok(()));
            let peer = peer.parse().expect("an address");
            assert_eq!(given.allow_source(peer), expected, "{ranges:?} {peer}");
        }
        for wrong in [
            "",
            "1.2.3.4",
            "1.2.3.4/33",
            "1.2.3.4/+8",
            "1.2.3/8",
            "::/129",
            "x/8",
            "1.2.3.4/",
        ] {
            assert!(restrictions(&[wrong], &[], "").check().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times() {
        use Within::{Always, For, No};
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, Within);
        let cases: &[Case<'_>] = &[
            (&[], "UTC", "2024-01-01T00:00:00Z", Always),
            (
                &[("11:00:00", "22:00:00")],
                "UTC",
                "2024-01-01T13:00:00Z",
                For(9 * 3600),
            ),
            (
                &[("11:00:00", "22:00:00")],
                "UTC",
                "2024-01-01T10:59:59Z",
                No,
            ),
            (
                &[("11:00:00", "22:00:00")],
                "UTC",
                "2024-01-01T22:00:00Z",
                No,
            ),
            (
                &[("22:00:00", "06:00:00")],
                "UTC",
                "2024-01-01T05:00:00Z",
                For(3600),
            ),
            (
                &[("22:00:00", "06:00:00")],
                "UTC",
                "2024-01-01T23:30:00Z",
                For(6 * 3600 + 1800),
            ),
            (
                &[("22:00:00", "06:00:00")],
                "UTC",
                "2024-01-01T12:00:00Z",
                No,
            ),
            (
                &[("08:00:00", "10:00:00"), ("9:00:00", "12:00:00")],
                "UTC",
                "2024-01-01T09:30:00Z",
                For(9000),
            ),
            (
                &[("08:00:00", "18:00:00")],
                "Europe/Berlin",
                "2024-07-01T06:30:00Z",
                For(9 * 3600 + 1800),
            ),
            (
                &[("08:00:00", "18:00:00")],
                "Europe/Berlin",
                "2024-01-01T06:30:00Z",
                No,
            ),
        ];
        for &(times, location, now, expected) in cases {
            let given = restrictions(&[], times, location);
            assert_eq!(given.check(), Ok(()));
            let now: Timestamp = now.parse().expect("a time");
            let now = now.as_second() as u64;
            assert_eq!(given.allow_time(now), expected, "{times:?} {now}");
        }
        for wrong in [
            "",
            "8",
            "08:00",
            "24:00:00",
            "08:60:00",
            "08:00:00:00",
            "+8:00:00",
            "08:0:00",
        ] {
            assert!(
                restrictions(&[], &[(wrong, "09:00:00")], "")
                    .check()
                    .is_err(),
                "{wrong}"
            );
        }
        assert!(restrictions(&[], &[], "Nowhere/City").check().is_err());
        assert!(restrictions(&[], &[], "../../etc/passwd").check().is_err());
        let far = restrictions(&[], &[("11:00:00", "22:00:00")], "UTC");
        assert_eq!(far.allow_time(u64::MAX), No);
    }
}
