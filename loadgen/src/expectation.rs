//! What the next message of a subscription looks like, byte for byte, so that the fast path need not parse.
//!
//! Per message: one comparison of the head, one of the end, the tracker's one; no search for line ends, no numbers parsed.

use crate::payload::Layout;
use crate::subjects::{NumberedSubjects, Subjects, digits_equal};
use crate::verify::Tracker;
use crate::wire::Message;

pub struct Expectation {
    /// `MSG subject sid size CRLF`; for a numbered family up to the number.
    before: Vec<u8>,
    /// For a numbered family the rest of the head.
    after: Vec<u8>,
    digits: usize,
    head_bytes: usize,
    message_bytes: usize,
    subjects: Subjects,
}

impl Expectation {
    pub fn new(subjects: &Subjects, sid: u64, layout: &Layout) -> Self {
        let tail = format!(" {sid} {}\r\n", layout.payload_bytes);
        let (before, after, digits) = match subjects {
            Subjects::Fixed(subject) => (format!("MSG {subject}{tail}"), String::new(), 0),
            Subjects::Numbered(family) => (format!("MSG {}", family.prefix), tail, family.digits),
        };
        let head_bytes = before.len() + digits + after.len();
        Self {
            before: before.into_bytes(),
            after: after.into_bytes(),
            digits,
            head_bytes,
            message_bytes: head_bytes + layout.payload_bytes + 2,
            subjects: subjects.clone(),
        }
    }

    pub fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// Takes whole expected messages from the front of `bytes`; returns how many bytes they were.
    #[inline]
    pub fn take(&self, bytes: &[u8], tracker: &mut Tracker) -> usize {
        let mut taken = 0;
        for message in bytes.chunks_exact(self.message_bytes) {
            if !self.matches(message) {
                break;
            }
            let sequence = tracker.accept(&message[self.head_bytes..]);
            if let Subjects::Numbered(family) = &self.subjects {
                self.check_number(family, message, sequence, tracker);
            }
            taken += self.message_bytes;
        }
        taken
    }

    /// Takes a message that the parser found; the fast path did not recognize it, or it arrived in pieces.
    pub fn take_parsed(&self, message: &Message<'_>, layout: &Layout, tracker: &mut Tracker) {
        if message.payload.len() != layout.payload_bytes {
            tracker.faults.altered += 1;
            return;
        }
        let sequence = tracker.accept(message.payload);
        let as_published = match &self.subjects {
            Subjects::Fixed(subject) => message.subject == subject.as_bytes(),
            Subjects::Numbered(family) => message
                .subject
                .strip_prefix(family.prefix.as_bytes())
                .is_some_and(|digits| {
                    digits.len() == family.digits && digits_equal(digits, family.number(sequence))
                }),
        };
        tracker.faults.altered +=
            u64::from(!(as_published && message.headers.is_empty() && message.reply.is_none()));
    }

    #[inline]
    fn matches(&self, message: &[u8]) -> bool {
        let digits_end = self.before.len() + self.digits;
        message[..self.before.len()] == self.before[..]
            && message[self.message_bytes - 2..] == *b"\r\n"
            && (self.digits == 0 || message[digits_end..self.head_bytes] == self.after[..])
    }

    #[inline]
    fn check_number(
        &self,
        family: &NumberedSubjects,
        message: &[u8],
        sequence: u64,
        tracker: &mut Tracker,
    ) {
        let digits = &message[self.before.len()..self.before.len() + self.digits];
        if !digits_equal(digits, family.number(sequence)) {
            tracker.faults.altered += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Check;

    #[test]
    fn whole_expected_messages_are_taken() {
        let layout = Layout::new(8);
        let expectation = Expectation::new(&Subjects::Fixed("a.b".to_owned()), 1, &layout);
        let mut tracker = Tracker::new(layout, Check::EveryMessage, 0, 1);
        let stream = b"MSG a.b 1 8\r\n\0\0\0\0\0\0\0\0\r\nMSG a.b 1 8\r\n\0\0\x01\0\0\0\0\0\r\nPING\r\nMSG a.b 1 8\r\n\0\0\x01\0\0\0\0\0\r\n";
        assert_eq!(
            expectation.take(stream, &mut tracker),
            2 * expectation.message_bytes()
        );
        assert_eq!(tracker.received(), 2);
        assert!(tracker.faults.is_clean());
    }

    #[test]
    fn a_wrong_subject_number_is_found() {
        let layout = Layout::new(0);
        let family = Subjects::Numbered(NumberedSubjects::new("k.", 3, false));
        let expectation = Expectation::new(&family, 1, &layout);
        let mut tracker = Tracker::new(layout, Check::EveryMessage, 0, 1);
        let stream = b"MSG k.000000 1 0\r\n\r\nMSG k.000002 1 0\r\n\r\n";
        assert_eq!(expectation.take(stream, &mut tracker), stream.len());
        assert_eq!(tracker.faults.altered, 1);
    }
}
