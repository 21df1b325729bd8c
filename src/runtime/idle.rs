//! Whether to look again for a moment before sleeping.
//!
//! Waking a sleeping thread costs several microseconds of CPU and, with the interrupt it takes in a
//! virtual machine, often more than the whole round trip of a request. When the next event nearly
//! always comes within [`SHORT`], looking is cheaper than sleeping; otherwise it is a waste. So it is
//! done only while it has nearly always been worth it, and tried now and then to find out.
//!
//! It costs more than sleeping, and is worth that, in a conversation: when those that were just sent
//! something nearly always answer within [`LONG`], somebody waits for each answer of ours in turn. Then
//! it also spans the flushes that such a client waits for. This is found out without looking, by what
//! comes first after a sleep. A conversation is not what many clients are in that each say something
//! now and then.
//!
//! Who looks that long lets others have the processor in between. If they take it often, or a flush does not
//! end while it is looked for, there is a better use for it, and looking is left for a while, which doubles
//! as long as that goes on.

use std::time::Duration;

/// How long to look when something nearly always comes at once.
const SHORT: Duration = Duration::from_micros(12);
/// How long in a conversation, and how long one who answers may take.
const LONG: Duration = Duration::from_micros(150);
/// How long in a conversation while the disk is at work.
const FLUSH: Duration = Duration::from_micros(500);
/// How much longer an answer takes that wakes this thread.
const WAKE: Duration = Duration::from_micros(100);
/// Who is away so long between two looks was not asked to be.
const GAP: Duration = Duration::from_micros(50);

/// Something in vain undoes this many that were worth it.
const FAILURE_WEIGHT: u32 = 8;
const SCORE_MAX: u32 = 64;
/// A conversation is one from here on.
const CONVERSATION_MIN: u32 = 32;
/// A look is tried at every so many sleeps while it is not known to be worth it.
const SLEEPS_PER_TRIAL: u32 = 256;
/// So many long looks without anybody being heard end the conversation: the disk may have work of its own.
const UNHEARD_MAX: u32 = 16;
/// For how many sleeps looking long is left when somebody else takes the processor: at first, and at most.
const LEFT_MIN: u32 = 32;
const LEFT_MAX: u32 = 8192;

/// How often something was worth it lately.
#[derive(Debug, Default)]
struct Score(u32);

impl Score {
    fn count(&mut self, was_worth_it: bool) {
        self.0 = if was_worth_it {
            (self.0 + 1).min(SCORE_MAX)
        } else {
            self.0.saturating_sub(FAILURE_WEIGHT)
        };
    }
}

/// How to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// For how long.
    pub most: Duration,
    /// Letting others have the processor in between.
    pub yields: bool,
}

/// What a look has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Something has come.
    Something,
    /// Nothing has.
    Nothing,
    /// Somebody else has taken the processor meanwhile.
    Others,
}

/// A look that goes on.
#[derive(Debug)]
pub struct Looking {
    look: Look,
    spent: Duration,
}

impl Looking {
    /// Of so much time since it began: whether it is over, and how.
    pub fn is_over(&mut self, spent: Duration, came: bool) -> Option<Seen> {
        let away = spent.saturating_sub(self.spent);
        self.spent = spent;
        if self.look.yields && away > GAP {
            return Some(Seen::Others);
        }
        if came {
            return Some(Seen::Something);
        }
        (spent >= self.look.most).then_some(Seen::Nothing)
    }
}

impl Look {
    /// Begins.
    pub fn begin(self) -> Looking {
        Looking {
            look: self,
            spent: Duration::ZERO,
        }
    }
}

/// What has been learnt.
#[derive(Debug, Default)]
pub struct Idle {
    short: Score,
    conversation: Score,
    /// Long looks since somebody was heard.
    unheard: u32,
    sleeps: u32,
    /// Whether an answer that comes first now has come soon. Nothing when something has come already.
    is_soon: Option<bool>,
    /// Looking long is left for so many sleeps.
    left_for: u32,
    /// And was for so many the last time.
    left_last: u32,
    /// Nobody else wanted the processor.
    calm: Score,
}

impl Idle {
    /// Whether to look before this sleep, and how.
    pub fn look(&mut self, is_disk_busy: bool) -> Option<Look> {
        self.sleeps = self.sleeps.wrapping_add(1);
        self.left_for = self.left_for.saturating_sub(1);
        let converses = self.conversation.0 >= CONVERSATION_MIN && self.unheard < UNHEARD_MAX;
        if converses && self.left_for == 0 {
            self.unheard += 1;
            let most = if is_disk_busy { FLUSH } else { LONG };
            return Some(Look { most, yields: true });
        }
        // The kernel's thread that ends a flush may want this processor.
        let is_worth_it =
            !is_disk_busy && (self.short.0 > 0 || self.sleeps.is_multiple_of(SLEEPS_PER_TRIAL));
        is_worth_it.then_some(Look {
            most: SHORT,
            yields: false,
        })
    }

    /// What came of it.
    pub fn looked(&mut self, look: Look, seen: Seen) {
        let came = seen == Seen::Something;
        if !look.yields {
            self.short.count(came);
        } else if seen == Seen::Others || (!came && look.most == FLUSH) {
            // The kernel's thread that ends a flush may be waiting for this very processor, where this
            // thread goes before it and yields in vain.
            self.calm.count(false);
            if self.calm.0 == 0 {
                self.left_last = (self.left_last * 2).clamp(LEFT_MIN, LEFT_MAX);
                self.left_for = self.left_last;
            }
        } else {
            self.calm.count(true);
            if self.calm.0 == SCORE_MAX {
                self.left_last = 0;
            }
            if !came && look.most == LONG {
                self.conversation.count(false);
            }
        }
        self.is_soon = came.then_some(true);
    }

    /// It has slept.
    pub fn slept(&mut self, time: Duration) {
        self.is_soon = Some(time < LONG + WAKE);
    }

    /// A connection was read from; whether it had just been sent something.
    #[inline]
    pub fn heard(&mut self, is_answer: bool) {
        self.unheard = 0;
        if let Some(is_soon) = self.is_soon.take() {
            self.conversation.count(is_soon && is_answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps `sleeps` times, and hears something after each: how many looks there were of each kind, and how many
    /// were in vain.
    fn looks(
        sleeps: u32,
        micros: impl Fn(u32) -> u64,
        is_answer: impl Fn(u32) -> bool,
    ) -> [(u32, u32); 2] {
        let mut idle = Idle::default();
        let mut looks = [(0, 0); 2];
        for n in 0..sleeps {
            let time = Duration::from_micros(micros(n));
            let mut came = false;
            if let Some(look) = idle.look(false) {
                came = time <= look.most;
                let kind = &mut looks[usize::from(look.yields)];
                *kind = (kind.0 + 1, kind.1 + u32::from(!came));
                let seen = match came {
                    true => Seen::Something,
                    false => Seen::Nothing,
                };
                idle.looked(look, seen);
            }
            if !came {
                idle.slept(time);
            }
            idle.heard(is_answer(n));
        }
        looks
    }

    #[test]
    fn looks_nearly_always_when_it_is_worth_it() {
        let [(looked, vain), long] =
            looks(10_000, |n| if n % 100 == 0 { 500 } else { 5 }, |_| false);
        assert!(looked > 8_000 && vain <= 100, "{looked} {vain}");
        assert_eq!(long, (0, 0));
    }

    #[test]
    fn looks_seldom_when_it_is_not() {
        let [(looked, _), long] = looks(10_000, |_| 500, |_| true);
        assert!(looked <= 10_000 / SLEEPS_PER_TRIAL + 1, "{looked}");
        assert_eq!(long, (0, 0));
        let [(looked, _), _] = looks(10_000, |n| if n % 4 == 0 { 500 } else { 5 }, |_| false);
        assert!(looked < 1_000, "{looked}");
    }

    #[test]
    fn looks_long_in_a_conversation_only() {
        let [_, (looked, vain)] = looks(10_000, |n| if n % 100 == 0 { 500 } else { 70 }, |_| true);
        assert!(looked > 8_000 && vain <= 100, "{looked} {vain}");
        // As many events, from somebody else each time.
        let [_, (looked, _)] = looks(10_000, |_| 70, |_| false);
        assert_eq!(looked, 0);
        let [_, (looked, _)] = looks(10_000, |_| 70, |n| n % 4 > 0);
        assert_eq!(looked, 0);
        // A conversation that ends.
        let [_, (looked, vain)] = looks(10_000, |n| if n < 5000 { 70 } else { 300 }, |_| true);
        assert!(
            (4000..5000).contains(&looked) && vain < 10,
            "{looked} {vain}"
        );
    }

    #[test]
    fn a_look_ends_when_others_want_the_processor() {
        let micros = Duration::from_micros;
        let look = Look {
            most: LONG,
            yields: true,
        };
        let mut looking = look.begin();
        assert_eq!(looking.is_over(micros(1), false), None);
        assert_eq!(looking.is_over(micros(40), false), None);
        assert_eq!(looking.is_over(micros(80), true), Some(Seen::Something));
        let mut looking = look.begin();
        assert_eq!(looking.is_over(micros(1), false), None);
        assert_eq!(looking.is_over(micros(4000), true), Some(Seen::Others));
        let mut looking = look.begin();
        assert_eq!(looking.is_over(micros(49), false), None);
        assert_eq!(looking.is_over(micros(98), false), None);
        assert_eq!(looking.is_over(micros(147), false), None);
        assert_eq!(looking.is_over(LONG, false), Some(Seen::Nothing));
    }

    #[test]
    fn whoever_is_disturbed_leaves_it_for_longer_and_longer() {
        let mut idle = Idle {
            conversation: Score(SCORE_MAX),
            ..Idle::default()
        };
        let mut disturbed = 0;
        for _ in 0..20_000 {
            idle.heard(true);
            if let Some(look) = idle.look(true) {
                assert_eq!(look.most, FLUSH);
                idle.looked(look, Seen::Others);
                disturbed += 1;
            }
        }
        assert!((5..15).contains(&disturbed), "{disturbed}");
    }

    #[test]
    fn a_flush_that_only_ends_when_nobody_looks_is_slept_through() {
        let mut idle = Idle {
            conversation: Score(SCORE_MAX),
            calm: Score(SCORE_MAX),
            ..Idle::default()
        };
        let mut looked = 0;
        for _ in 0..20_000 {
            idle.heard(true);
            if let Some(look) = idle.look(true) {
                idle.looked(look, Seen::Nothing);
                looked += 1;
            }
            idle.slept(Duration::from_micros(100));
        }
        assert!((5..25).contains(&looked), "{looked}");
    }

    #[test]
    fn whoever_is_seldom_disturbed_goes_on() {
        let mut idle = Idle {
            conversation: Score(SCORE_MAX),
            ..Idle::default()
        };
        let mut looked = 0;
        for n in 0..20_000 {
            idle.heard(true);
            if let Some(look) = idle.look(true) {
                let seen = if n % 30 == 0 {
                    Seen::Others
                } else {
                    Seen::Something
                };
                idle.looked(look, seen);
                looked += 1;
            }
        }
        assert!(looked > 19_000, "{looked}");
    }

    #[test]
    fn work_of_the_disk_alone_is_no_conversation() {
        let mut idle = Idle {
            conversation: Score(SCORE_MAX),
            ..Idle::default()
        };
        let mut looked = 0;
        for _ in 0..1000 {
            if let Some(look) = idle.look(true) {
                idle.looked(look, Seen::Something);
                looked += 1;
            }
        }
        assert_eq!(looked, UNHEARD_MAX);
        idle.heard(true);
        assert!(idle.look(true).is_some());
    }
}
