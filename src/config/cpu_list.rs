//! A list of CPUs as Linux writes it (`0-3,6`), kept in the order given: shard 0 runs on the first.

use std::fmt;

use super::SHARDS_MAX;

/// The highest CPU number that `sched_setaffinity(2)` takes in its fixed-size set.
pub const CPU_NUMBER_MAX: usize = 1023;

/// Why a CPU list was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuListError {
    /// The list, or an item between two commas, is empty.
    Empty,
    /// Not a number, or one above [`CPU_NUMBER_MAX`].
    NotACpu(String),
    /// A range whose end lies before its start.
    Reversed {
        first: usize,
        last: usize,
    },
    Duplicate(usize),
    /// More than [`SHARDS_MAX`] CPUs.
    TooMany,
}

impl std::error::Error for CpuListError {}

impl fmt::Display for CpuListError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CpuListError::Empty => write!(
                formatter,
                "a CPU number is missing; a list looks like 0-3,6"
            ),
            CpuListError::NotACpu(text) => write!(
                formatter,
                "{text:?} is not a CPU number from 0 to {CPU_NUMBER_MAX}"
            ),
            CpuListError::Reversed { first, last } => {
                write!(formatter, "the range {first}-{last} is reversed")
            }
            CpuListError::Duplicate(cpu) => write!(formatter, "CPU {cpu} is listed twice"),
            CpuListError::TooMany => write!(formatter, "more than {SHARDS_MAX} CPUs"),
        }
    }
}

/// Parses `0-3,6` into the CPU of each shard.
pub fn parse_cpu_list(text: &str) -> Result<Vec<usize>, CpuListError> {
    let mut cpus = Vec::new();
    for item in text.split(',') {
        let (first, last) = match item.split_once('-') {
            None => (cpu_number(item)?, cpu_number(item)?),
            Some((first, last)) => (cpu_number(first)?, cpu_number(last)?),
        };
        if last < first {
            return Err(CpuListError::Reversed { first, last });
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(CpuListError::Duplicate(cpu));
            }
            if cpus.len() == SHARDS_MAX {
                return Err(CpuListError::TooMany);
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

fn cpu_number(text: &str) -> Result<usize, CpuListError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(CpuListError::Empty);
    }
    // `usize::from_str` would also take a leading `+`.
    text.parse()
        .ok()
        .filter(|cpu| *cpu <= CPU_NUMBER_MAX && !text.starts_with('+'))
        .ok_or_else(|| CpuListError::NotACpu(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        #[track_caller]
        fn check(text: &str, expected: &[usize]) {
            assert_eq!(parse_cpu_list(text).as_deref(), Ok(expected), "{text}");
        }
        check("0", &[0]);
        check("0-3,6", &[0, 1, 2, 3, 6]);
        check("6,0-1", &[6, 0, 1]);
        check(" 2 , 4 - 5 ", &[2, 4, 5]);
        check("1023", &[1023]);
        check("7-7", &[7]);
        check("0-63", &(0..64).collect::<Vec<_>>());
    }

    #[test]
    fn refused() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            match parse_cpu_list(text) {
                Ok(cpus) => panic!("{text} was taken as {cpus:?}"),
                Err(error) => assert_eq!(error.to_string(), expected, "{text}"),
            }
        }
        check("", "a CPU number is missing; a list looks like 0-3,6");
        check("0,,1", "a CPU number is missing; a list looks like 0-3,6");
        check("1-", "a CPU number is missing; a list looks like 0-3,6");
        check("-1", "a CPU number is missing; a list looks like 0-3,6");
        check("3-1", "the range 3-1 is reversed");
        check("0-3,2", "CPU 2 is listed twice");
        check("5,5", "CPU 5 is listed twice");
        check("1,x", "\"x\" is not a CPU number from 0 to 1023");
        check("+1", "\"+1\" is not a CPU number from 0 to 1023");
        check("1024", "\"1024\" is not a CPU number from 0 to 1023");
        check(
            "0-99999999999999999999",
            "\"99999999999999999999\" is not a CPU number from 0 to 1023",
        );
        check("1-2-3", "\"2-3\" is not a CPU number from 0 to 1023");
        check("0-64", "more than 64 CPUs");
    }
}
