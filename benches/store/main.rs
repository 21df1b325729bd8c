//! What storage costs, without disks and sockets: `cargo bench --bench store`.
//!
//! Units are per message, or per question where nothing is said of messages. The floors named beside
//! each group are what memory and arithmetic allow: a cache miss is about 80 ns on the machines we
//! measure on, a copy of 128 bytes about 5 ns. A result below its floor means that the compiler
//! removed the work.

mod append;
mod ask;
mod journal;
mod remove;

use criterion::{criterion_group, criterion_main};
use skein::store::memory::Stream;
use skein::store::{Messages, NewMessage};
use skein::subject::SubjectHash;

criterion_group!(
    benches,
    append::benches,
    ask::benches,
    remove::benches,
    journal::benches
);
criterion_main!(benches);

pub const PAYLOAD: [u8; 128] = [b'p'; 128];
/// A millisecond between messages.
const STEP_NS: i64 = 1_000_000;

/// The subject of a number: 100 groups of devices.
pub fn subject(number: usize) -> String {
    format!("load.{:02}.device-{:06}", number % 100, number / 100)
}

pub fn new_message(subject: &str, number: usize) -> NewMessage<'_> {
    NewMessage {
        subject: subject.as_bytes(),
        headers: b"",
        payload: &PAYLOAD,
        time: STEP_NS * number as i64,
        flags: 0,
    }
}

/// A stream of so many messages, whose subjects are jumped between: none is near the one before.
pub fn filled(messages: usize, subjects: usize) -> Stream {
    let mut stream = Stream::new(SubjectHash::new(1));
    for number in 0..messages {
        let subject = subject(scattered(number, subjects));
        stream
            .append(&new_message(&subject, number))
            .expect("memory takes messages of this size");
    }
    stream
}

/// Goes through all numbers below `of` in far jumps.
pub fn scattered(number: usize, of: usize) -> usize {
    // A prime that divides no count of subjects used here.
    const STEP: usize = 618_041;
    number.wrapping_mul(STEP) % of
}
