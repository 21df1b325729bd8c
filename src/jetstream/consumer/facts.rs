//! What of a consumer survives a restart, as bytes.
//!
//! A fact is either the whole state or what has changed since the fact before it. Grammar, where
//! `n` is a number in LEB128 and sequences are written as distances from the one before:
//!
//! ```text
//! fact      = kind positions [resume] runs again settled given-up returned
//! kind      = 1 whole | 2 change
//! positions = delivered.consumer delivered.stream floor.consumer floor.stream
//! resume    = n                    whole only: one more than where a list of last messages ends
//! runs      = count { distance consumer-distance length }   delivered and not acknowledged
//! again     = count { distance redeliveries }
//! settled   = count { distance length }                     not pending any more
//! given-up  = count { distance deliveries }                 max_deliver was reached
//! returned  = count { distance }                            given up, but acknowledged or gone now
//! ```
//!
//! Positions are absolute in both, so a change is right whatever was lost before it. Deadlines are
//! not kept: after a restart everything that is pending has its whole wait again.

use super::Position;
use crate::store::Seq;

const WHOLE: u8 = 1;
const CHANGE: u8 = 2;
/// Parts of one kind of a change; with more it is written as a whole.
const PARTS_MAX: usize = 4096;

/// Messages that follow each other without a gap, in the stream and for the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub seq: Seq,
    pub consumer_seq: u64,
    pub length: u64,
}

/// A fact, in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    pub delivered: Position,
    pub floor: Position,
    /// Only of a whole state.
    pub resume: Option<Seq>,
    pub is_whole: bool,
    pub runs: Vec<Run>,
    pub again: Vec<(Seq, u32)>,
    /// From and to, inclusive.
    pub settled: Vec<(Seq, Seq)>,
    pub given_up: Vec<(Seq, u32)>,
    pub returned: Vec<Seq>,
}

/// The bytes are no fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFact;

impl Fact {
    /// A message was delivered for the first time.
    #[inline]
    pub fn add_delivered(&mut self, seq: Seq, consumer_seq: u64) {
        if self.takes(self.runs.len()) {
            add_to_runs(&mut self.runs, seq, consumer_seq);
        }
    }

    /// A message was delivered again: so often until now.
    #[inline]
    pub fn add_again(&mut self, seq: Seq, redeliveries: u32) {
        if self.takes(self.again.len()) {
            self.again.push((seq, redeliveries));
        }
    }

    /// A message is not pending any more.
    #[inline]
    pub fn add_settled(&mut self, seq: Seq) {
        if self.takes(self.settled.len()) {
            add_to_ranges(&mut self.settled, seq);
        }
    }

    /// A message was given up.
    pub fn add_given_up(&mut self, seq: Seq, deliveries: u32) {
        if self.takes(self.given_up.len()) {
            self.given_up.push((seq, deliveries));
        }
    }

    /// A message that was given up is not any more.
    pub fn add_returned(&mut self, seq: Seq) {
        if self.takes(self.returned.len()) {
            self.returned.push(seq);
        }
    }

    /// Whether one more is to be written down, where there are so many. Nobody may ask for what has
    /// changed for long: then the whole state is shorter, and whoever writes that writes no parts.
    #[inline]
    fn takes(&mut self, there: usize) -> bool {
        if there >= PARTS_MAX && !self.is_whole {
            *self = Self {
                is_whole: true,
                ..Self::default()
            };
        }
        !self.is_whole
    }

    /// The bytes.
    pub fn encode(&mut self) -> Vec<u8> {
        let mut to = Writer(Vec::with_capacity(32));
        to.0.push(if self.is_whole { WHOLE } else { CHANGE });
        for position in [self.delivered, self.floor] {
            to.number(position.consumer);
            to.number(position.stream);
        }
        if self.is_whole {
            to.number(self.resume.map_or(0, |seq| seq.saturating_add(1)));
        }
        to.number(self.runs.len() as u64);
        let (mut seq, mut consumer_seq) = (0, 0);
        for run in &self.runs {
            to.number(run.seq - seq);
            to.number(run.consumer_seq - consumer_seq);
            to.number(run.length);
            (seq, consumer_seq) = (run.seq, run.consumer_seq);
        }
        self.again.sort_unstable();
        to.pairs(&self.again);
        self.settled.sort_unstable();
        self.settled.dedup_by(|next, last| {
            let joins = next.0 <= last.1.saturating_add(1);
            if joins {
                last.1 = last.1.max(next.1);
            }
            joins
        });
        to.number(self.settled.len() as u64);
        let mut before = 0;
        for &(from, up_to) in &self.settled {
            to.number(from - before);
            to.number(up_to - from);
            before = up_to;
        }
        self.given_up.sort_unstable();
        to.pairs(&self.given_up);
        self.returned.sort_unstable();
        to.number(self.returned.len() as u64);
        let mut before = 0;
        for &seq in &self.returned {
            to.number(seq - before);
            before = seq;
        }
        to.0
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// When they are no fact.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoFact> {
        let mut from = Reader(bytes);
        let is_whole = match from.byte()? {
            WHOLE => true,
            CHANGE => false,
            _ => return Err(NoFact),
        };
        let mut position = || {
            Ok(Position {
                consumer: from.number()?,
                stream: from.number()?,
            })
        };
        let mut fact = Self {
            is_whole,
            delivered: position()?,
            floor: position()?,
            ..Self::default()
        };
        if is_whole {
            fact.resume = from.number()?.checked_sub(1);
        }
        let (mut seq, mut consumer_seq) = (0, 0);
        for _ in 0..from.number()? {
            seq = from.after(seq)?;
            consumer_seq = from.after(consumer_seq)?;
            let length = from.number()?;
            seq.checked_add(length).ok_or(NoFact)?;
            consumer_seq.checked_add(length).ok_or(NoFact)?;
            fact.runs.push(Run {
                seq,
                consumer_seq,
                length,
            });
        }
        fact.again = from.pairs()?;
        let mut before = 0;
        for _ in 0..from.number()? {
            let first = from.after(before)?;
            before = from.after(first)?;
            fact.settled.push((first, before));
        }
        fact.given_up = from.pairs()?;
        let mut before = 0;
        for _ in 0..from.number()? {
            before = from.after(before)?;
            fact.returned.push(before);
        }
        from.0.is_empty().then_some(fact).ok_or(NoFact)
    }
}

/// Adds a delivery to runs, joining it with the last one.
#[inline]
pub fn add_to_runs(runs: &mut Vec<Run>, seq: Seq, consumer_seq: u64) {
    match runs.last_mut() {
        Some(run)
            if run.seq + run.length == seq && run.consumer_seq + run.length == consumer_seq =>
        {
            run.length += 1;
        }
        _ => runs.push(Run {
            seq,
            consumer_seq,
            length: 1,
        }),
    }
}

/// Adds a sequence to ranges, joining it with the last one.
#[inline]
pub fn add_to_ranges(ranges: &mut Vec<(Seq, Seq)>, seq: Seq) {
    match ranges.last_mut() {
        Some((_, last)) if *last + 1 == seq => *last = seq,
        _ => ranges.push((seq, seq)),
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn pairs(&mut self, pairs: &[(Seq, u32)]) {
        self.number(pairs.len() as u64);
        let mut before = 0;
        for &(seq, count) in pairs {
            self.number(seq - before);
            self.number(u64::from(count));
            before = seq;
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, NoFact> {
        let (&byte, rest) = self.0.split_first().ok_or(NoFact)?;
        self.0 = rest;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, NoFact> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(NoFact);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(NoFact)
    }

    fn after(&mut self, before: u64) -> Result<u64, NoFact> {
        before.checked_add(self.number()?).ok_or(NoFact)
    }

    fn pairs(&mut self) -> Result<Vec<(Seq, u32)>, NoFact> {
        let (mut pairs, mut seq) = (Vec::new(), 0);
        for _ in 0..self.number()? {
            seq = self.after(seq)?;
            let count = u32::try_from(self.number()?).map_err(|_| NoFact)?;
            pairs.push((seq, count));
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn come_back_as_they_were_and_garbage_is_refused() {
        let mut prng = Prng::new(5);
        for round in 0..500 {
            let mut fact = Fact {
                is_whole: round % 2 == 0,
                delivered: Position {
                    consumer: prng.next_u64() >> prng.below(64),
                    stream: prng.next_u64() >> prng.below(64),
                },
                ..Fact::default()
            };
            if fact.is_whole {
                fact.resume = prng.one_in(2).then_some(7);
            }
            let (mut seq, mut consumer_seq) = (0, 0);
            for _ in 0..prng.below(20) {
                seq += u64::from(1 + prng.below(3));
                consumer_seq += u64::from(1 + prng.below(2));
                add_to_runs(&mut fact.runs, seq, consumer_seq);
                if prng.one_in(2) {
                    add_to_ranges(&mut fact.settled, seq);
                } else if prng.one_in(2) {
                    fact.again.push((seq, prng.below(9)));
                } else {
                    fact.given_up.push((seq, 3));
                    fact.returned.push(seq);
                }
            }
            let bytes = fact.encode();
            assert_eq!(Fact::decode(&bytes), Ok(fact));
            assert_eq!(Fact::decode(&bytes[..bytes.len() - 1]), Err(NoFact));
            let mut garbage = bytes;
            let at = prng.below(garbage.len() as u32) as usize;
            garbage[at] ^= 1 << prng.below(8);
            // Whatever it is now, reading it ends.
            let _ = Fact::decode(&garbage);
        }
    }

    #[test]
    fn a_run_takes_a_few_bytes() {
        let mut fact = Fact::default();
        for seq in 1..=500 {
            fact.add_delivered(seq, seq);
            fact.add_settled(501 - seq);
        }
        assert!(fact.encode().len() < 24);
    }

    #[test]
    fn too_many_parts_become_a_whole() {
        let mut fact = Fact::default();
        for seq in 1..=100_000 {
            fact.add_delivered(seq * 2, seq);
            assert!(fact.runs.len() <= PARTS_MAX);
        }
        assert!(fact.is_whole && fact.runs.is_empty());
    }
}
