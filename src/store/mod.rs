//! Storage of streams: what is appended, what is still there, and what is on stable storage.
//!
//! Sans-IO: it takes completions and time, and emits submissions. One [`Messages`] is one stream's
//! messages; a journal per shard holds the records of all its streams, so that one flush makes
//! everything durable that has arrived since the last one. It knows subjects, sequences and bytes;
//! not what a publish header, a consumer or an account's limit means.

mod cache;
mod checkpoint;
mod compaction;
mod core;
mod erase;
mod facade;
mod file_stream;
mod handle;
pub mod index;
pub mod io;
pub mod journal;
pub mod location;
pub mod memory;
#[cfg(test)]
pub mod naive;
mod recovery;
mod replay;
mod requests;
mod restore;
pub mod selection;

pub use self::core::{Line, News, Severity};
pub use facade::{Handle, Options, Store, Sync, Usage};
pub use journal::record::StreamOptions;
pub use journal::{Cipher, Key, StreamNumber};
pub use location::Location;
pub use selection::Selection;

/// Sequence of a message in its stream; the first is 1.
pub type Seq = u64;
/// Nanoseconds since 1970, as the API shows them.
pub type UnixNanos = i64;

/// Bits that a message's owner may ask the index to remember beside it.
pub mod flags {
    /// It has a `Nats-Msg-Id`: read again after a restart for the duplicate window.
    pub const MSG_ID: u8 = 1;
    /// It has a time to live of its own.
    pub const TTL: u8 = 2;
    /// It is a schedule.
    pub const SCHEDULE: u8 = 4;
    /// It came from a source.
    pub const SOURCED: u8 = 8;
}

/// A message to append.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// Its subject.
    pub subject: &'a [u8],
    /// The whole header block from `NATS/1.0` to the empty line, or nothing.
    pub headers: &'a [u8],
    /// What follows it.
    pub payload: &'a [u8],
    /// When it was stored. Not before that of the message before.
    pub time: UnixNanos,
    /// See [`flags`].
    pub flags: u8,
}

impl NewMessage<'_> {
    /// What it counts as against `max_bytes`: as in nats-server, with the overhead of a record there.
    pub fn counted_bytes(&self, file: bool) -> u64 {
        counted_bytes(
            self.subject.len(),
            self.headers.len(),
            self.payload.len(),
            file,
        )
    }
}

/// Bytes that a message counts as: in nats-server's file format a record has 30 bytes beside subject
/// and payload, or 34 with headers; in memory 16.
pub fn counted_bytes(subject: usize, headers: usize, payload: usize, file: bool) -> u64 {
    let own = match (file, headers > 0) {
        (true, true) => 34,
        (true, false) => 30,
        (false, _) => 16,
    };
    (subject + headers + payload + own) as u64
}

/// A message that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Its sequence.
    pub seq: Seq,
    /// When it was stored.
    pub time: UnixNanos,
    /// Its subject.
    pub subject: &'a [u8],
    /// The whole header block, or nothing.
    pub headers: &'a [u8],
    /// What follows it.
    pub payload: &'a [u8],
}

/// A message asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched<'a> {
    /// Here it is.
    Here(Stored<'a>),
    /// It is being read: ask again when the store has news (`Store::take_news`).
    Later,
    /// There is none of that sequence.
    Gone,
    /// It should be there but cannot be read, or is not what was written. The store has said so in
    /// the log.
    Damaged,
}

/// Why something was not stored. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The disk is full. It may be tried again.
    Full,
    /// A flush has failed: what is on the disk is not known any more. Only a restart helps.
    Poisoned,
    /// Longer than a record can be, or there is no sequence left.
    TooLarge,
}

/// What a stream holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Messages there are.
    pub messages: u64,
    /// What they count as.
    pub bytes: u64,
    /// Sequence of the first there is, or one more than `last_seq` when there is none.
    pub first_seq: Seq,
    /// When that was stored; 0 when there is none.
    pub first_time: UnixNanos,
    /// The highest sequence given out.
    pub last_seq: Seq,
    /// When that was stored; 0 when there never was one.
    pub last_time: UnixNanos,
    /// Different subjects of those there are.
    pub subjects: u64,
    /// Sequences between the first and the last that are not there.
    pub deleted: u64,
}

/// What a stream holds of one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectState {
    /// Messages.
    pub messages: u64,
    /// The first one's sequence.
    pub first: Seq,
    /// The last one's sequence.
    pub last: Seq,
}

/// One stream's messages, as streams and consumers use them. There are two: the store's, and a
/// naive model that tests compare with.
pub trait Messages {
    /// What it holds.
    fn state(&self) -> &State;

    /// Appends; gives the sequence, which is `last_seq + 1`.
    ///
    /// # Errors
    /// When the storage cannot take it; then nothing has changed.
    fn append(&mut self, message: &NewMessage<'_>) -> Result<Seq, Refused>;

    /// Makes `last_seq` what it is given, without messages for the sequences between: mirrors have
    /// the holes of what they mirror, and `first_seq` makes streams begin late. Nothing, if that many
    /// have been given out already.
    ///
    /// # Errors
    /// When the storage cannot take it.
    fn skip_to(&mut self, last: Seq, time: UnixNanos) -> Result<(), Refused>;

    /// Deletes one; with `erase`, its bytes do not survive on the disk. Whether it was there.
    fn remove(&mut self, seq: Seq, erase: bool) -> bool;

    /// Deletes those of `selection` (all, if it is of everything) that are below `below`, but keeps
    /// the last `keep` of them. How many. When everything goes, `first_seq` is `last_seq + 1`; if
    /// `below` is above that and the selection is of everything, both become that: sequences up to
    /// `below - 1` count as given out. `Seq::MAX` is no bound.
    fn purge(&mut self, selection: &mut Selection, below: Seq, keep: u64) -> u64;

    /// Reads one.
    fn get(&mut self, seq: Seq) -> Fetched<'_>;

    /// These, in order, will be read soon: what is on a disk is fetched meanwhile.
    fn expect(&mut self, _seqs: &[Seq]) {}

    /// What there is of a subject (a literal).
    fn subject(&self, subject: &[u8]) -> Option<SubjectState>;

    /// The first message at or after `from` in the selection.
    fn next(&self, selection: &mut Selection, from: Seq) -> Option<Seq>;

    /// The last message at or before `up_to` in the selection.
    fn last(&self, selection: &mut Selection, up_to: Seq) -> Option<Seq>;

    /// How many messages of the selection are at or after `from`.
    fn pending(&self, selection: &mut Selection, from: Seq) -> u64;

    /// The first message stored at or after a time, or `last_seq + 1`.
    fn at_or_after(&self, time: UnixNanos) -> Seq;

    /// Whether the index knows a message of that sequence, and when it was stored (at least to the
    /// millisecond, never later than the truth), without reading it.
    fn time_of(&self, seq: Seq) -> Option<UnixNanos>;

    /// The subject of a message, as the index knows it, without reading the message.
    fn subject_of(&self, seq: Seq) -> Option<&[u8]>;

    /// Sequences of the last message of each subject in the selection, at or before `up_to`, in
    /// order. None when there are more than `max`.
    fn last_of_each(&self, selection: &mut Selection, up_to: Seq, max: usize) -> Option<Vec<Seq>>;

    /// Calls for each subject in the selection.
    fn each_subject(&self, selection: &mut Selection, each: &mut dyn FnMut(&[u8], SubjectState));

    /// How many subjects of the selection there are.
    fn count_subjects(&self, selection: &mut Selection) -> u64;

    /// Sequences that are not there between the first and the last, as ranges (inclusive), in order,
    /// at most `max` ranges.
    fn holes(&self, max: usize) -> Vec<(Seq, Seq)>;

    /// The first message at or after `from` with one of these flags.
    fn next_flagged(&self, flags: u8, from: Seq) -> Option<Seq>;

    /// The highest sequence on stable storage. Consumers deliver up to it: what was delivered is
    /// then not given to another message after a crash.
    fn durable_seq(&self) -> Seq;

    /// Appends a fact of the stream itself (`note` 0) or of one of its consumers (any other number,
    /// chosen by the owner) to the same flush. Facts of a number are given back in order after a
    /// restart.
    ///
    /// # Errors
    /// When the storage cannot take it.
    fn note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused>;

    /// Replaces all facts of that number by one.
    ///
    /// # Errors
    /// When the storage cannot take it.
    fn rewrite_note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused>;

    /// Forgets all facts of that number.
    fn forget_note(&mut self, note: u32);

    /// Bytes of facts of that number since it was rewritten: the owner rewrites when it has grown.
    fn note_bytes(&self, note: u32) -> u64;
}
