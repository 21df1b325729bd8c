//! Whether to look again for a moment before sleeping.
//!
//! Waking a sleeping thread costs several microseconds of CPU and, with the interrupt it takes in a
//! virtual machine, often more than the whole round trip of a request. When the next event nearly
//! always comes within [`SPIN`], as between a requester and a responder that answer at once,
//! looking is cheaper than sleeping; otherwise it is a waste. So it is done only while it has
//! nearly always been worth it, and tried now and then to find out.

use std::time::Duration;

/// How long to look.
pub const SPIN: Duration = Duration::from_micros(12);

/// One look in vain undoes this many that were worth it.
const FAILURE_WEIGHT: u32 = 8;
const SCORE_MAX: u32 = 64;
/// A look is tried at every so many sleeps while it is not known to be worth it.
const SLEEPS_PER_TRIAL: u32 = 256;

/// What has been learnt.
#[derive(Debug, Default)]
pub struct Idle {
    score: u32,
    sleeps: u32,
}

impl Idle {
    /// Whether to look before this sleep.
    pub fn is_worth_looking(&mut self) -> bool {
        self.sleeps = self.sleeps.wrapping_add(1);
        self.score > 0 || self.sleeps.is_multiple_of(SLEEPS_PER_TRIAL)
    }

    /// Something came while looking, or nothing did.
    pub fn looked(&mut self, came: bool) {
        self.score = if came {
            // A trial that succeeds is followed by others at once.
            (self.score + 1).min(SCORE_MAX)
        } else {
            self.score.saturating_sub(FAILURE_WEIGHT)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks in `sleeps` sleeps, of which the n-th is short when `short(n)`.
    fn looks(sleeps: u32, short: impl Fn(u32) -> bool) -> (u32, u32) {
        let mut idle = Idle::default();
        let (mut looks, mut vain) = (0, 0);
        for n in 0..sleeps {
            if idle.is_worth_looking() {
                looks += 1;
                vain += u32::from(!short(n));
                idle.looked(short(n));
            }
        }
        (looks, vain)
    }

    #[test]
    fn looks_nearly_always_when_it_is_worth_it() {
        let (looked, vain) = looks(10_000, |n| n % 100 != 0);
        assert!(looked > 8_000 && vain <= 100, "{looked} {vain}");
    }

    #[test]
    fn looks_seldom_when_it_is_not() {
        let (looked, _) = looks(10_000, |_| false);
        assert!(looked <= 10_000 / SLEEPS_PER_TRIAL + 1, "{looked}");
        let (looked, _) = looks(10_000, |n| n % 4 != 0);
        assert!(looked < 1_000, "{looked}");
    }
}
