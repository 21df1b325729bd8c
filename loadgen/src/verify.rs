//! Was every message delivered exactly once, in order? Bookkeeping only; no sockets, no protocol.
//!
//! A tracker belongs to one subscription and keeps, per publisher, the sequence it expects next. The right message costs
//! one comparison; anything else goes to `off_course`, which keeps the gaps so that late messages are told from copies.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use crate::payload::Layout;

/// What was wrong with the messages of a run; all zero is the only good result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Messages of a publisher, or with a sequence, that was never sent here.
    pub foreign: u64,
    /// Messages whose subject or size is not what was published.
    pub altered: u64,
}

impl Faults {
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.foreign += other.foreign;
        self.altered += other.altered;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            (self.lost, "lost"),
            (self.duplicated, "duplicated"),
            (self.reordered, "reordered"),
            (self.foreign, "never sent here"),
            (self.altered, "altered"),
        ];
        let mut separator = "";
        for (messages, name) in named.into_iter().filter(|(messages, _)| *messages > 0) {
            write!(formatter, "{separator}{messages} {name}")?;
            separator = ", ";
        }
        if separator.is_empty() {
            write!(formatter, "none")
        } else {
            Ok(())
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// This subscription gets every message of its publishers.
    EveryMessage,
    /// This subscription shares the messages with the other members of its queue group.
    SharedWithGroup,
}

#[derive(Debug)]
pub struct Tracker {
    layout: Layout,
    check: Option<Check>,
    first_publisher: u64,
    streams: Vec<Stream>,
    received: u64,
    pub faults: Faults,
}

/// What one subscription has seen of one publisher.
#[derive(Debug, Default)]
struct Stream {
    next: u64,
    /// Sequences below `next` that have not arrived: start → end (exclusive).
    gaps: BTreeMap<u64, u64>,
    /// For members of a queue group: one bit per sequence received.
    seen: Vec<u64>,
}

impl Tracker {
    /// A tracker for messages of `publishers` publishers with consecutive ids from `first_publisher`.
    ///
    /// Where the payload is too small to tell messages apart, they are only counted.
    pub fn new(layout: Layout, check: Check, first_publisher: u64, publishers: usize) -> Self {
        let distinct = match check {
            Check::EveryMessage => {
                layout.word_bytes() > 0 && (layout.carries_publisher() || publishers == 1)
            }
            Check::SharedWithGroup => layout.carries_whole_sequence(),
        };
        let streams = (0..publishers).map(|_| Stream::default()).collect();
        Self {
            layout,
            check: distinct.then_some(check),
            first_publisher,
            streams,
            received: 0,
            faults: Faults::default(),
        }
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes note of a message and returns its sequence, as far as it is known.
    #[inline]
    pub fn accept(&mut self, payload: &[u8]) -> u64 {
        let count = self.received;
        self.received += 1;
        let Some(check) = self.check else {
            return count;
        };
        let word = self.layout.read(payload);
        let publisher = if self.layout.carries_publisher() {
            self.layout.publisher(word)
        } else {
            self.first_publisher
        };
        let slot = publisher.wrapping_sub(self.first_publisher) as usize;
        let Some(stream) = self.streams.get_mut(slot) else {
            self.faults.foreign += 1;
            return count;
        };
        match check {
            Check::EveryMessage => {
                let expected = stream.next;
                if word == self.layout.word(publisher, expected) {
                    stream.next = expected + 1;
                    return expected;
                }
                off_course(stream, &self.layout, word, &mut self.faults)
            }
            Check::SharedWithGroup => {
                let sequence = self.layout.sequence(word);
                stream.mark(sequence, &mut self.faults);
                sequence
            }
        }
    }

    /// Closes the books of a subscription that was to get everything: `published` says how much each publisher sent.
    pub fn finish(&mut self, published: impl Fn(u64) -> u64) -> Faults {
        let mut faults = self.faults;
        if self.check.is_none() {
            let expected = self.publishers().map(published).sum::<u64>();
            faults.lost += expected.saturating_sub(self.received);
            faults.duplicated += self.received.saturating_sub(expected);
            return faults;
        }
        for (publisher, stream) in self.publishers().zip(&self.streams) {
            let expected = published(publisher);
            faults.lost += expected.saturating_sub(stream.next);
            faults.foreign += stream.next.saturating_sub(expected);
            faults.lost += stream
                .gaps
                .iter()
                .map(|(start, end)| end - start)
                .sum::<u64>();
        }
        faults
    }

    fn publishers(&self) -> std::ops::Range<u64> {
        self.first_publisher..self.first_publisher + self.streams.len() as u64
    }
}

/// Closes the books of a queue group: over all members, each message must have arrived exactly once.
pub fn finish_group(members: &mut [&mut Tracker], published: impl Fn(u64) -> u64) -> Faults {
    let mut faults = Faults::default();
    let mut received = 0;
    for member in members.iter() {
        faults += member.faults;
        received += member.received;
    }
    let Some(first) = members.first() else {
        return faults;
    };
    let publishers = first.publishers();
    if first.check.is_none() {
        let expected = publishers.map(published).sum::<u64>();
        faults.lost += expected.saturating_sub(received);
        faults.duplicated += received.saturating_sub(expected);
        return faults;
    }
    for (slot, publisher) in publishers.enumerate() {
        let expected = published(publisher);
        let mut union: Vec<u64> = vec![0; expected.div_ceil(64) as usize];
        for member in members.iter_mut() {
            let seen = std::mem::take(&mut member.streams[slot].seen);
            for (index, bits) in seen.into_iter().enumerate() {
                match union.get_mut(index) {
                    Some(all) => {
                        faults.duplicated += u64::from((*all & bits).count_ones());
                        *all |= bits;
                    }
                    None => faults.foreign += u64::from(bits.count_ones()),
                }
            }
        }
        let distinct = union
            .iter()
            .map(|bits| u64::from(bits.count_ones()))
            .sum::<u64>();
        faults.lost += expected.saturating_sub(distinct);
        faults.foreign += distinct.saturating_sub(expected);
    }
    faults
}

impl Stream {
    /// A member of a queue group: sequences must rise, none may come twice.
    #[inline]
    fn mark(&mut self, sequence: u64, faults: &mut Faults) {
        // A sequence this far ahead is no sequence of ours; believing it would take all memory.
        const SEQUENCE_JUMP_MAX: u64 = 1 << 33;
        let index = (sequence / 64) as usize;
        if index >= self.seen.len() {
            if sequence > self.next + SEQUENCE_JUMP_MAX {
                faults.foreign += 1;
                return;
            }
            self.seen
                .resize((index + 1).max(self.seen.len() * 2).max(1024), 0);
        }
        let bit = 1 << (sequence % 64);
        if self.seen[index] & bit != 0 {
            faults.duplicated += 1;
        } else if sequence < self.next {
            faults.reordered += 1;
        }
        self.seen[index] |= bit;
        self.next = self.next.max(sequence + 1);
    }

    /// Removes a late sequence from the gaps; `false` if it was not missing.
    fn fill_gap(&mut self, sequence: u64) -> bool {
        let Some((&start, &end)) = self.gaps.range(..=sequence).next_back() else {
            return false;
        };
        if sequence >= end {
            return false;
        }
        self.gaps.remove(&start);
        if start < sequence {
            self.gaps.insert(start, sequence);
        }
        if sequence + 1 < end {
            self.gaps.insert(sequence + 1, end);
        }
        true
    }
}

/// A message that is not the expected next one: after a gap, late, or a copy. Returns its sequence.
#[cold]
fn off_course(stream: &mut Stream, layout: &Layout, word: u64, faults: &mut Faults) -> u64 {
    let bits = layout.sequence_bits();
    let visible = |sequence: u64| layout.sequence(layout.word(0, sequence));
    // Small payloads carry a wrapped sequence; the nearest whole one is meant.
    let wrap = 1u64 << bits;
    let ahead = layout.sequence(word).wrapping_sub(visible(stream.next)) & (wrap - 1);
    if ahead < wrap / 2 {
        let sequence = stream.next + ahead;
        if ahead > 0 {
            stream.gaps.insert(stream.next, sequence);
        }
        stream.next = sequence + 1;
        return sequence;
    }
    let sequence = stream.next.wrapping_sub(wrap - ahead);
    if stream.fill_gap(sequence) {
        faults.reordered += 1;
    } else {
        faults.duplicated += 1;
    }
    sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHER: u64 = 7;

    fn payload(layout: &Layout, publisher: u64, sequence: u64) -> Vec<u8> {
        let mut payload = vec![0; layout.payload_bytes];
        layout.write(&mut payload, layout.word(publisher, sequence));
        payload
    }

    fn check_delivery(sequences: &[u64], published: u64, expected: Faults) {
        for payload_bytes in [3, 4, 8, 16, 100] {
            let layout = Layout::new(payload_bytes);
            let mut tracker = Tracker::new(layout, Check::EveryMessage, PUBLISHER, 1);
            for sequence in sequences {
                tracker.accept(&payload(&layout, PUBLISHER, *sequence));
            }
            assert_eq!(
                tracker.finish(|_| published),
                expected,
                "{sequences:?} in {payload_bytes} bytes"
            );
        }
    }

    #[test]
    fn lost_duplicated_and_reordered_are_told_apart() {
        let none = Faults::default();
        check_delivery(&[0, 1, 2, 3], 4, none);
        check_delivery(&[], 0, none);
        check_delivery(&[0, 1, 3], 4, Faults { lost: 1, ..none });
        check_delivery(&[1, 2, 3], 4, Faults { lost: 1, ..none });
        check_delivery(&[0, 1], 4, Faults { lost: 2, ..none });
        check_delivery(&[], 4, Faults { lost: 4, ..none });
        check_delivery(
            &[0, 1, 1, 2, 3],
            4,
            Faults {
                duplicated: 1,
                ..none
            },
        );
        check_delivery(
            &[0, 1, 2, 3, 3],
            4,
            Faults {
                duplicated: 1,
                ..none
            },
        );
        check_delivery(
            &[0, 2, 1, 3],
            4,
            Faults {
                reordered: 1,
                ..none
            },
        );
        check_delivery(
            &[0, 4, 2, 2, 3],
            5,
            Faults {
                lost: 1,
                reordered: 2,
                duplicated: 1,
                ..none
            },
        );
        check_delivery(&[0, 1, 2], 2, Faults { foreign: 1, ..none });
    }

    #[test]
    fn wrapped_sequences_are_followed() {
        let layout = Layout::new(3);
        let mut tracker = Tracker::new(layout, Check::EveryMessage, PUBLISHER, 1);
        for sequence in (0..1_000).filter(|sequence| *sequence != 700) {
            tracker.accept(&payload(&layout, PUBLISHER, sequence));
        }
        assert_eq!(
            tracker.finish(|_| 1_000),
            Faults {
                lost: 1,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn publishers_are_followed_separately() {
        let layout = Layout::new(16);
        let mut tracker = Tracker::new(layout, Check::EveryMessage, 2, 2);
        for (publisher, sequence) in [(2, 0), (3, 0), (3, 1), (2, 1), (9, 0)] {
            tracker.accept(&payload(&layout, publisher, sequence));
        }
        assert_eq!(
            tracker.finish(|_| 2),
            Faults {
                foreign: 1,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn empty_payloads_are_counted() {
        let mut tracker = Tracker::new(Layout::new(0), Check::EveryMessage, 0, 1);
        for _ in 0..3 {
            tracker.accept(b"");
        }
        assert_eq!(tracker.finish(|_| 4).lost, 1);
        assert_eq!(tracker.finish(|_| 2).duplicated, 1);
    }

    fn check_group(members: &[&[u64]], published: u64, expected: Faults) {
        let layout = Layout::new(16);
        let mut trackers: Vec<Tracker> = members
            .iter()
            .map(|sequences| {
                let mut tracker = Tracker::new(layout, Check::SharedWithGroup, 0, 1);
                for sequence in *sequences {
                    tracker.accept(&payload(&layout, 0, *sequence));
                }
                tracker
            })
            .collect();
        let mut borrowed: Vec<&mut Tracker> = trackers.iter_mut().collect();
        assert_eq!(
            finish_group(&mut borrowed, |_| published),
            expected,
            "{members:?}"
        );
    }

    #[test]
    fn a_queue_group_gets_each_message_once() {
        let none = Faults::default();
        check_group(&[&[0, 2, 5], &[1, 3, 4]], 6, none);
        check_group(&[&[0, 2], &[1, 3, 4]], 6, Faults { lost: 1, ..none });
        check_group(
            &[&[0, 2, 5], &[1, 2, 3, 4]],
            6,
            Faults {
                duplicated: 1,
                ..none
            },
        );
        check_group(
            &[&[0, 2, 2, 5], &[1, 3, 4]],
            6,
            Faults {
                duplicated: 1,
                ..none
            },
        );
        check_group(
            &[&[0, 5, 2], &[1, 3, 4]],
            6,
            Faults {
                reordered: 1,
                ..none
            },
        );
        check_group(
            &[&[0, 2, 5], &[1, 3, 4, 6]],
            6,
            Faults { foreign: 1, ..none },
        );
    }
}
