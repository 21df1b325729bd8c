//! Ids of events: 22 characters, unique over servers, growing within one.
//!
//! The form is that of NATS' own generator: twelve random characters, then ten that count up in
//! random steps, and a new beginning when those are used up.

use crate::base::prng::Prng;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX_CHARACTERS: usize = 12;
const SEQUENCE_CHARACTERS: u32 = 10;
const SEQUENCE_MAX: u64 = 62u64.pow(SEQUENCE_CHARACTERS);
/// Steps are from 33 to 332.
const STEP_MIN: u64 = 33;
const STEP_RANGE: u32 = 300;

/// Makes ids.
#[derive(Debug)]
pub struct Nuid {
    prng: Prng,
    prefix: String,
    sequence: u64,
    step: u64,
}

impl Nuid {
    /// A generator; equal seeds give equal ids.
    pub fn new(seed: u64) -> Self {
        let mut nuid = Self {
            prng: Prng::new(seed),
            prefix: String::new(),
            sequence: 0,
            step: 0,
        };
        nuid.begin();
        nuid
    }

    fn begin(&mut self) {
        let prng = &mut self.prng;
        let mut digit = || char::from(DIGITS[prng.below(62) as usize]);
        self.prefix = (0..PREFIX_CHARACTERS).map(|_| digit()).collect();
        self.sequence = (0..SEQUENCE_CHARACTERS).fold(0, |number, _| {
            (number * 62 + u64::from(self.prng.below(62))) % SEQUENCE_MAX
        });
        self.step = STEP_MIN + u64::from(self.prng.below(STEP_RANGE));
    }

    /// The next id.
    pub fn next(&mut self) -> String {
        self.sequence += self.step;
        if self.sequence >= SEQUENCE_MAX {
            self.begin();
        }
        let mut id = self.prefix.clone();
        for place in (0..SEQUENCE_CHARACTERS).rev() {
            let digit = self.sequence / 62u64.pow(place) % 62;
            id.push(char::from(DIGITS[digit as usize]));
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_and_differ() {
        let mut nuid = Nuid::new(7);
        let first = nuid.next();
        assert_eq!(first.len(), 22);
        assert!(first.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(nuid.next() > first);
        assert_ne!(Nuid::new(8).next()[..12], first[..12]);
        nuid.sequence = SEQUENCE_MAX - 1;
        let after = nuid.next();
        assert_eq!(after.len(), 22);
        assert_ne!(after[..12], first[..12]);
    }
}
