//! A publisher's batch: many PUB operations encoded once, in which only identities and subject numbers change.
//!
//! Per message and batch: one 8-byte store, for a numbered family also six digits; no copy until the kernel's.

use crate::payload::{Layout, filler};
use crate::subjects::{NumberedSubjects, Subjects, write_digits};
use crate::wire::encode_publish_line;

/// Large enough to make the system call cheap, small enough to stay in the second-level cache with its echo.
const BATCH_BYTES: usize = 64 * 1024;

pub struct Batch {
    bytes: Vec<u8>,
    layout: Layout,
    publisher: u64,
    message_bytes: usize,
    payload_offset: usize,
    numbers: Option<Numbers>,
}

struct Numbers {
    family: NumberedSubjects,
    offset: usize,
}

impl Batch {
    pub fn new(subjects: &Subjects, layout: Layout, publisher: u64) -> Self {
        let mut message = Vec::new();
        let (subject, family) = match subjects {
            Subjects::Fixed(subject) => (subject.clone(), None),
            Subjects::Numbered(family) => (
                format!("{}{}", family.prefix, "0".repeat(family.digits)),
                Some(family),
            ),
        };
        encode_publish_line(&mut message, subject.as_bytes(), None, layout.payload_bytes);
        let payload_offset = message.len();
        message.extend_from_slice(&filler(layout.payload_bytes));
        message.extend_from_slice(b"\r\n");
        let messages = (BATCH_BYTES / message.len()).max(1);
        let numbers = family.map(|family| Numbers {
            family: family.clone(),
            offset: "PUB ".len() + family.prefix.len(),
        });
        Self {
            bytes: message.repeat(messages),
            layout,
            publisher,
            message_bytes: message.len(),
            payload_offset,
            numbers,
        }
    }

    pub fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    pub fn messages_max(&self) -> u64 {
        (self.bytes.len() / self.message_bytes) as u64
    }

    /// Gives the first `messages` of the batch the sequences from `first_sequence` on; returns how many bytes they are.
    pub fn number(&mut self, first_sequence: u64, messages: u64) -> usize {
        let bytes = messages as usize * self.message_bytes;
        let batch = self.bytes[..bytes].chunks_exact_mut(self.message_bytes);
        for (message, sequence) in batch.zip(first_sequence..) {
            self.layout.write(
                &mut message[self.payload_offset..],
                self.layout.word(self.publisher, sequence),
            );
        }
        if let Some(Numbers { family, offset }) = &self.numbers {
            let mut number = family.number(first_sequence);
            for message in self.bytes[..bytes].chunks_exact_mut(self.message_bytes) {
                write_digits(&mut message[*offset..*offset + family.digits], number);
                number = family.next_number(number);
            }
        }
        bytes
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_differ_in_identity_and_number_only() {
        let mut batch = Batch::new(&Subjects::Fixed("a.b".to_owned()), Layout::new(10), 2);
        let length = batch.number(5, 2);
        assert_eq!(
            batch.bytes()[..length],
            *b"PUB a.b 10\r\n\x02\0\x05\0\0\0\0\0ij\r\nPUB a.b 10\r\n\x02\0\x06\0\0\0\0\0ij\r\n"
        );

        let family = NumberedSubjects::new("k.", 7, false);
        let mut batch = Batch::new(&Subjects::Numbered(family), Layout::new(0), 0);
        let length = batch.number(6, 2);
        assert_eq!(
            batch.bytes()[..length],
            *b"PUB k.000006 0\r\n\r\nPUB k.000000 0\r\n\r\n"
        );
    }

    #[test]
    fn a_message_larger_than_a_batch_is_a_batch() {
        let batch = Batch::new(&Subjects::Fixed("a".to_owned()), Layout::new(1 << 20), 0);
        assert_eq!(batch.messages_max(), 1);
    }
}
