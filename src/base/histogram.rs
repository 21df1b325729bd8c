//! How often which duration occurred: counters whose width grows with the value, of fixed size.
//!
//! Eight counters for each power of two, so a value is known to an eighth. Recording is a shift, a count of leading
//! zeros and an increment.

/// Counters for each power of two.
const PER_OCTAVE_BITS: u32 = 3;
/// Values below are counted together, in nanoseconds: a power of two.
const LEAST_BITS: u32 = 8;
/// Powers of two above that which are told apart; what is longer (a minute) is counted together.
const OCTAVES: usize = 28;
const COUNTERS: usize = (OCTAVES << PER_OCTAVE_BITS) + 2;

/// Durations in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counters: Box<[u64; COUNTERS]>,
    max_ns: u64,
    sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counters: Box::new([0; COUNTERS]),
            max_ns: 0,
            sum_ns: 0,
        }
    }
}

/// Which counter a value goes to.
fn place(ns: u64) -> usize {
    if ns < 1 << LEAST_BITS {
        return 0;
    }
    let octave = ns.ilog2();
    let within = (ns >> (octave - PER_OCTAVE_BITS)) & ((1 << PER_OCTAVE_BITS) - 1);
    let octave = (octave - LEAST_BITS) as usize;
    (1 + (octave << PER_OCTAVE_BITS) + within as usize).min(COUNTERS - 1)
}

/// The first value that is above those of a counter.
fn end(place: usize) -> u64 {
    if place == 0 {
        return 1 << LEAST_BITS;
    }
    let octave = ((place - 1) >> PER_OCTAVE_BITS) as u32 + LEAST_BITS;
    let within = ((place - 1) & ((1 << PER_OCTAVE_BITS) - 1)) as u64;
    ((1 << PER_OCTAVE_BITS) + within + 1) << (octave - PER_OCTAVE_BITS)
}

impl Histogram {
    /// Counts one.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.counters[place(ns)] += 1;
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Histogram) {
        for (own, others) in self.counters.iter_mut().zip(&other.counters[..]) {
            *own += others;
        }
        self.max_ns = self.max_ns.max(other.max_ns);
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.counters.fill(0);
        (self.max_ns, self.sum_ns) = (0, 0);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counters.iter().sum()
    }

    /// All of them together.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The longest; 0 for none.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// What so many of a thousand do not exceed, to an eighth; 0 for none.
    pub fn quantile_ns(&self, per_mille: u64) -> u64 {
        let count = self.count();
        // The first of them that this many, rounded up, lie at or below.
        let wanted = (count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (place, counted) in self.counters.iter().enumerate() {
            seen += counted;
            if seen >= wanted && place < COUNTERS - 1 {
                return (end(place) - 1).min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// How many were shorter than each power of two, from the least that is told apart: `(2^n ns, count)`.
    pub fn octaves(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut below = 0;
        (0..=OCTAVES).map(move |octave| {
            let counters = match octave {
                0 => 0..1,
                _ => 1 + ((octave - 1) << PER_OCTAVE_BITS)..1 + (octave << PER_OCTAVE_BITS),
            };
            below += self.counters[counters].iter().sum::<u64>();
            (1 << (LEAST_BITS as usize + octave), below)
        })
    }
}

/// The same by windows of time: what the last whole one had, and all together.
#[derive(Clone, Debug, Default)]
pub struct Windowed {
    before: Histogram,
    last: Histogram,
    current: Histogram,
}

impl Windowed {
    /// Counts one, in the current window.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.current.record(ns);
    }

    /// The window ends, and so many empty ones after it.
    pub fn end_window(&mut self, empty: u64) {
        self.before.add(&self.current);
        std::mem::swap(&mut self.last, &mut self.current);
        self.current.clear();
        if empty > 0 {
            self.last.clear();
        }
    }

    /// The last whole window.
    pub fn last(&self) -> &Histogram {
        &self.last
    }

    /// All there were.
    pub fn all(&self) -> Histogram {
        let mut all = self.before.clone();
        all.add(&self.current);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn places() {
        let mut after = 0;
        for place_of in 0..COUNTERS - 1 {
            assert_eq!(place(after), place_of, "the first of its counter");
            let end = end(place_of);
            assert!(end > after);
            assert_eq!(place(end - 1), place_of, "the last of its counter");
            after = end;
        }
        assert_eq!(place(u64::MAX), COUNTERS - 1);
        assert_eq!(after, 1 << (LEAST_BITS as usize + OCTAVES));
    }

    /// Against the sorted values themselves.
    #[test]
    fn quantiles() {
        let mut random = Prng::new(7);
        for round in 0..50 {
            let count = 1 + u64::from(random.below(2000));
            let mut histogram = Histogram::default();
            let mut values: Vec<u64> = Vec::new();
            for _ in 0..count {
                let bits = 1 + random.below(35);
                let value = random.next_u64() >> (64 - bits);
                values.push(value);
                histogram.record(value);
            }
            values.sort_unstable();
            assert_eq!(histogram.count(), count);
            assert_eq!(histogram.sum_ns(), values.iter().sum::<u64>());
            for per_mille in [1, 500, 990, 999, 1000] {
                let at = (count * per_mille).div_ceil(1000).max(1) - 1;
                let exact = values[at as usize];
                let told = histogram.quantile_ns(per_mille);
                assert!(told >= exact, "{round}: {told} for {exact}");
                assert!(
                    told <= exact + exact / 8 + 256,
                    "{round}: {told} for {exact}"
                );
            }
            assert_eq!(histogram.quantile_ns(1000), *values.last().unwrap());
            for (limit, below) in histogram.octaves() {
                let expected = values.iter().filter(|value| **value < limit).count();
                assert_eq!(below, expected as u64);
            }
        }
        assert_eq!(Histogram::default().quantile_ns(500), 0);
    }

    #[test]
    fn windows() {
        let mut windowed = Windowed::default();
        let counts = |w: &Windowed| (w.last().count(), w.all().count());
        windowed.record(1000);
        assert_eq!(counts(&windowed), (0, 1));
        windowed.end_window(0);
        assert_eq!(counts(&windowed), (1, 1));
        windowed.record(1);
        windowed.record(2);
        assert_eq!(counts(&windowed), (1, 3));
        windowed.end_window(0);
        assert_eq!((counts(&windowed), windowed.last().max_ns()), ((2, 3), 2));
        windowed.record(5);
        windowed.end_window(1);
        assert_eq!(counts(&windowed), (0, 4));
    }
}
