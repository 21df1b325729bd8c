//! Reading a snapshot: the present format (see `writer`), and that of older servers, which is a tar
//! archive of the files of a stream's store.
//!
//! Bytes are pushed in, items come out one at a time; nothing is decoded before it is asked for. The
//! longest that is held is one message, or one block of the old format.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::files::{Files, Kind, kind_of};
use super::filestore::{self, BLOCK_BYTES_MAX, Checksum, Meta, Record, Records};
use super::s2::Unframer;
use super::tar::{self, Member, Tar};
use super::writer::{CONSUMERS, ConsumerSnapshot, MAGIC, STATE_NAME};
use super::{ConsumerState, Damage, StreamState, varint};
use crate::store::{Seq, UnixNanos};

/// Longest name of an entry, as in nats-server.
const NAME_BYTES_MAX: u64 = 1 << 20;
/// Longest entry: a message of 64 MiB with as much again for its headers.
const ENTRY_BYTES_MAX: u64 = 128 << 20;
/// Longest file of the old format that is no block: an index of very many subjects.
const SMALL_BYTES_MAX: u64 = 512 << 20;
/// What is left in front of the next item before it is moved.
const READ_BYTES_MAX: usize = 1 << 20;

/// Something that a snapshot holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    /// What the stream held. First in the present format; the old one has none.
    State(StreamState),
    /// When the stream was made, and its configuration. First in the old format; the present one has
    /// none.
    Meta(Meta),
    /// A consumer, in the present format before the messages, in the old one behind them.
    Consumer(ConsumerSnapshot),
    /// A message. Sequences go up; where one is left out, there is no message.
    Message {
        /// Its sequence.
        seq: Seq,
        /// When it was stored.
        time: UnixNanos,
        /// Its subject.
        subject: &'a [u8],
        /// Its header block, or nothing.
        headers: &'a [u8],
        /// What follows that.
        payload: &'a [u8],
    },
    /// Some of the messages that have come (inclusive) are not there any more: old format, once.
    Removed(Vec<(Seq, Seq)>),
    /// The end: the highest sequence given out, and when.
    End {
        /// The sequence.
        last_seq: Seq,
        /// When; 0 if that is not known.
        last_time: UnixNanos,
    },
}

/// What [`Reader::next_item`] finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Read<'a> {
    /// An item.
    Item(Item<'a>),
    /// More must be pushed first.
    More,
    /// There was an end already.
    Nothing,
}

enum Format {
    Unknown,
    Archive(Archive),
    Old(Box<Old>),
    Ended,
}

/// A snapshot being read.
pub struct Reader {
    stream: String,
    unframer: Unframer,
    /// Decoded, and read up to `at`.
    plain: Vec<u8>,
    at: usize,
    /// Where `plain` begins.
    position: u64,
    format: Format,
}

/// A message in `Reader::plain`.
struct Place {
    seq: Seq,
    time: UnixNanos,
    subject: Range<usize>,
    headers: Range<usize>,
    payload: Range<usize>,
}

/// What there is at the place that was reached.
enum Step {
    Message(Place),
    Other(Item<'static>),
    /// Nothing to be handed on.
    Nothing,
    More,
}

impl Reader {
    /// Of a stream of that name.
    pub fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            unframer: Unframer::default(),
            plain: Vec::new(),
            at: 0,
            position: 0,
            format: Format::Unknown,
        }
    }

    /// More of it; nothing behind its end is looked at.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.has_ended() {
            self.unframer.push(bytes);
        }
    }

    /// Whether it has come to its end.
    pub fn has_ended(&self) -> bool {
        matches!(self.format, Format::Ended)
    }

    /// The next item.
    ///
    /// # Errors
    /// When it is damaged; offsets are in the decoded stream, or where it cannot be decoded, in the
    /// encoded one. Nothing after that means anything.
    pub fn next_item(&mut self) -> Result<Read<'_>, Damage> {
        loop {
            if self.at > READ_BYTES_MAX || self.at == self.plain.len() {
                self.plain.drain(..self.at);
                self.position += self.at as u64;
                self.at = 0;
            }
            let step = self.step().map_err(|what| Damage {
                offset: self.position + self.at as u64,
                what,
            })?;
            match step {
                Step::Nothing => {}
                Step::Message(place) => {
                    return Ok(Read::Item(Item::Message {
                        seq: place.seq,
                        time: place.time,
                        subject: &self.plain[place.subject],
                        headers: &self.plain[place.headers],
                        payload: &self.plain[place.payload],
                    }));
                }
                Step::Other(item) => {
                    if let Item::End { .. } = item {
                        self.format = Format::Ended;
                    }
                    return Ok(Read::Item(item));
                }
                Step::More => {
                    if self.has_ended() {
                        return Ok(Read::Nothing);
                    }
                    if !self.unframer.next(&mut self.plain)? {
                        return Ok(Read::More);
                    }
                }
            }
        }
    }

    fn step(&mut self) -> Result<Step, &'static str> {
        match &mut self.format {
            Format::Ended => Ok(Step::More),
            Format::Archive(archive) => archive.step(&self.plain, &mut self.at),
            Format::Old(old) => old.step(&self.plain, &mut self.at),
            Format::Unknown if self.plain.len() < MAGIC.len() => Ok(Step::More),
            Format::Unknown => {
                if self.plain.starts_with(MAGIC) {
                    self.at = MAGIC.len();
                    self.format = Format::Archive(Archive::default());
                } else {
                    self.format = Format::Old(Box::new(Old {
                        tar: Tar::default(),
                        files: Files::new(&self.stream),
                        block: None,
                    }));
                }
                Ok(Step::Nothing)
            }
        }
    }
}

/// Where in an archive of the present format.
#[derive(Default)]
struct Archive {
    state: Option<StreamState>,
    consumers: u64,
    last_seq: Seq,
    last_time: UnixNanos,
}

/// A consumer's JSON.
#[derive(Deserialize)]
struct ConsumerJson<'a> {
    #[serde(borrow)]
    config: &'a RawValue,
    state: ConsumerState,
}

impl Archive {
    fn step(&mut self, plain: &[u8], at: &mut usize) -> Result<Step, &'static str> {
        let entry = &plain[*at..];
        let Some(head) = EntryHead::read(entry)? else {
            return Ok(Step::More);
        };
        let Some(entry) = entry.get(..head.bytes()) else {
            return Ok(Step::More);
        };
        let begin = *at;
        let step = self.entry(&head, entry, begin)?;
        *at += head.bytes();
        Ok(step)
    }

    fn entry(
        &mut self,
        head: &EntryHead,
        entry: &[u8],
        begin: usize,
    ) -> Result<Step, &'static str> {
        let name = &entry[head.head_bytes..][..head.name_bytes];
        let content = &entry[head.head_bytes + head.name_bytes..];
        let Some(state) = &self.state else {
            if name != STATE_NAME.as_bytes() {
                return Err("archive that does not begin with a stream's state");
            }
            let state = StreamState::from_json(content).ok_or("stream's state is not its JSON")?;
            self.consumers = state.consumers;
            self.last_seq = state.first_seq.saturating_sub(1);
            self.state = Some(state);
            return Ok(Step::Other(Item::State(state)));
        };
        if self.consumers > 0 {
            self.consumers -= 1;
            return consumer(name, content).map(|consumer| Step::Other(Item::Consumer(consumer)));
        }
        if head.seq == 0 {
            if head.time != 0 || !content.is_empty() {
                return Err("entry of the archive without a sequence");
            }
            let (last_seq, last_time) = match state.last_seq >= self.last_seq {
                true => (state.last_seq, state.last_time),
                false => (self.last_seq, self.last_time),
            };
            return Ok(Step::Other(Item::End {
                last_seq,
                last_time,
            }));
        }
        if head.seq <= self.last_seq {
            return Err("messages of the archive in the wrong order");
        }
        if head.seq >> 62 != 0 {
            return Err("impossible sequence");
        }
        (self.last_seq, self.last_time) = (head.seq, head.time);
        let name = begin + head.head_bytes;
        let headers = name + head.name_bytes;
        let payload = headers + head.headers_bytes;
        Ok(Step::Message(Place {
            seq: head.seq,
            time: head.time,
            subject: name..headers,
            headers: headers..payload,
            payload: payload..payload + head.payload_bytes,
        }))
    }
}

fn consumer(name: &[u8], content: &[u8]) -> Result<ConsumerSnapshot, &'static str> {
    let name = name.strip_prefix(CONSUMERS.as_bytes());
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let name = name.ok_or("archive with fewer consumers than it says")?;
    let json: ConsumerJson<'_> =
        serde_json::from_slice(content).map_err(|_| "consumer without configuration or state")?;
    Ok(ConsumerSnapshot {
        name: name.to_owned(),
        config_json: json.config.get().to_owned(),
        state: json.state,
    })
}

/// What an entry says of itself.
struct EntryHead {
    head_bytes: usize,
    name_bytes: usize,
    headers_bytes: usize,
    payload_bytes: usize,
    time: UnixNanos,
    seq: Seq,
}

impl EntryHead {
    /// None when more is needed.
    fn read(plain: &[u8]) -> Result<Option<Self>, &'static str> {
        let mut at = 0;
        let mut numbers = [0; 5];
        for number in &mut numbers {
            match varint::unsigned(&plain[at..]) {
                varint::Varint::Is(value, bytes) => {
                    *number = value;
                    at += bytes;
                }
                varint::Varint::Cut => return Ok(None),
                varint::Varint::TooLong => return Err("archive is corrupt"),
            }
        }
        let [name, time, seq, headers, payload] = numbers;
        let is_too_long = headers > ENTRY_BYTES_MAX
            || payload > ENTRY_BYTES_MAX
            || headers + payload > ENTRY_BYTES_MAX;
        if name > NAME_BYTES_MAX || is_too_long {
            return Err("entry of the archive too long");
        }
        Ok(Some(Self {
            head_bytes: at,
            name_bytes: name as usize,
            headers_bytes: headers as usize,
            payload_bytes: payload as usize,
            time: varint::zigzag(time),
            seq,
        }))
    }

    fn bytes(&self) -> usize {
        self.head_bytes + self.name_bytes + self.headers_bytes + self.payload_bytes
    }
}

/// Where in a snapshot of the old format.
struct Old {
    tar: Tar,
    files: Files,
    block: Option<OpenBlock>,
}

/// A block whose records are handed on; it begins at `Reader::at`.
struct OpenBlock {
    checksum: Checksum,
    bytes: usize,
    padded_bytes: usize,
    offset: usize,
}

impl Old {
    fn step(&mut self, plain: &[u8], at: &mut usize) -> Result<Step, &'static str> {
        if let Some(item) = self.files.item() {
            return Ok(Step::Other(item));
        }
        if let Some(block) = &mut self.block {
            let content = &plain[*at..][..block.bytes];
            let begin = block.offset;
            let mut records = Records::from_offset(content, block.checksum.clone(), begin);
            let record = records.next();
            block.offset = records.offset();
            return match record {
                None => {
                    *at += block.padded_bytes;
                    self.block = None;
                    Ok(Step::Nothing)
                }
                Some(Err(damage)) => Err(damage.what),
                Some(Ok(record)) => Ok(match (self.files.record(&record), record) {
                    (true, Record::Message { .. }) => {
                        Step::Message(place(&record, *at + begin, *at + block.offset))
                    }
                    _ => Step::Nothing,
                }),
            };
        }
        let Some(head) = plain[*at..].first_chunk() else {
            return Ok(Step::More);
        };
        let mut tar = self.tar.clone();
        let header = tar.header(head)?;
        let (kind, name) = match &header.member {
            Member::End => {
                self.files.end()?;
                return Ok(Step::Nothing);
            }
            Member::Extension(_) | Member::Ignored => (Kind::Ignored, ""),
            Member::File(name) => (kind_of(name), name.as_str()),
        };
        let limit = match kind {
            Kind::Block(_) => BLOCK_BYTES_MAX as u64,
            _ => SMALL_BYTES_MAX,
        };
        if header.bytes > limit {
            return Err("file of a snapshot too long");
        }
        let (bytes, padded_bytes) = (header.bytes as usize, header.padded_bytes() as usize);
        let begin = *at + tar::BLOCK_BYTES;
        let Some(content) = plain.get(begin..begin + padded_bytes) else {
            return Ok(Step::More);
        };
        let content = &content[..bytes];
        self.tar = tar;
        if let Member::Extension(kind) = header.member {
            self.tar.extend(kind, content)?;
        }
        match kind {
            Kind::Block(number) => {
                let checksum = self.files.block(number, content)?;
                *at = begin;
                self.block = Some(OpenBlock {
                    checksum,
                    bytes,
                    padded_bytes,
                    offset: 0,
                });
                return Ok(Step::Nothing);
            }
            Kind::Small => {
                (self.files.read(name, content)).map_err(|damage| damage.what)?;
            }
            Kind::Ignored => {}
            Kind::Failure => return Err("the server that made the snapshot has failed"),
            Kind::TooOld => return Err("snapshot of a server before 2.10"),
        }
        *at = begin + padded_bytes;
        Ok(Step::Nothing)
    }
}

/// Where the parts of a record are that lies from `begin` to `end`.
fn place(record: &Record<'_>, begin: usize, end: usize) -> Place {
    let Record::Message {
        seq,
        time,
        subject,
        headers,
        payload,
    } = *record
    else {
        unreachable!("only messages have a place");
    };
    let subject_begin = begin + filestore::RECORD_HEAD_BYTES;
    let payload_end = end - filestore::CHECKSUM_BYTES;
    let payload_begin = payload_end - payload.len();
    Place {
        seq,
        time,
        subject: subject_begin..subject_begin + subject.len(),
        headers: payload_begin - headers.len()..payload_begin,
        payload: payload_begin..payload_end,
    }
}
