//! What all streams of a store share: the log's head, the cache, requests, and what is to be told.

use std::collections::{HashMap, HashSet, VecDeque};

use super::cache::{Cache, Found, Source};
use super::erase::Erasure;
use super::index::Index;
use super::io::{AlignedBuffer, Failure};
use super::journal::StreamNumber;
use super::journal::log::{Log, Need, Spot};
use super::journal::record::{self, Kind};
use super::location::{Location, Slot};
use super::requests::Requests;
use super::{Refused, Seq};
use crate::base::deadlines::Millis;

/// How loud a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All is well.
    Info,
    /// Something was not as it should be, and nothing that was acknowledged is lost.
    Warning,
    /// Something is lost, or cannot be stored any more.
    Error,
}

/// Something to be said in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How loud.
    pub severity: Severity,
    /// What.
    pub text: String,
}

/// What has become possible since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Reads have arrived: what answered `Later` may be tried again.
    pub reads: bool,
    /// More is durable.
    pub durable: bool,
    /// What was refused as `Full` may be tried again.
    pub space: bool,
}

/// What a segment says beside messages and facts, and what must be said again before it goes.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// Removals: the lowest and the highest sequence for each stream.
    pub removed: HashMap<StreamNumber, (Seq, Seq), foldhash::fast::RandomState>,
    /// Notes that were forgotten.
    pub forgotten: Vec<(StreamNumber, u32)>,
    /// Streams that were deleted.
    pub deleted: Vec<StreamNumber>,
    /// Weight of removals that were logged again: it counts as live, so that a segment of nothing
    /// else is not compacted for ever.
    pub logged_again: u64,
}

impl Remains {
    /// Removals of that range were logged there.
    pub fn removed(&mut self, stream: StreamNumber, range: (Seq, Seq)) {
        let known = self.removed.entry(stream).or_insert(range);
        known.0 = known.0.min(range.0);
        known.1 = known.1.max(range.1);
    }
}

/// Memory of what is gone, which takes too long to free for one turn.
pub(crate) trait Debris: std::fmt::Debug + Send {
    /// Frees a piece: less than a tenth of a millisecond's work. Whether something is left.
    fn shrink(&mut self) -> bool;
}

/// Bad messages that are remembered as having been reported.
const REPORTED_MAX: usize = 4096;
/// Lines that wait to be taken.
const LINES_MAX: usize = 256;
/// Bytes that are asked for when it is not known how long a record is.
const PEEK_BYTES: usize = record::HEAD_BYTES + 4;

/// Which is where the bytes of a record are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Unwritten,
    Cached,
    Gathered,
}

/// Why a record cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Later,
    Bad,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    pub log: Log,
    pub cache: Cache,
    pub requests: Requests,
    pub news: News,
    lines: Vec<Line>,
    /// Lines that there was no room for.
    unsaid: u64,
    pub now: Millis,
    /// Changes so far: positions.
    pub changes: u64,
    /// Frames, and changes that are durable with them.
    covered: VecDeque<(u64, u64)>,
    pub durable_changes: u64,
    /// Frames, and how far each stream in them goes.
    pub touched: VecDeque<(u64, Vec<(StreamNumber, Seq)>)>,
    /// Streams with removals that are not logged.
    pub removers: Vec<StreamNumber>,
    /// Forgotten notes and deleted streams that are not logged.
    pub deferred: Vec<(StreamNumber, Option<u32>)>,
    /// Messages that are removed and whose bytes are to be overwritten.
    pub erasure: Erasure,
    pub debris: Vec<Box<dyn Debris>>,
    /// By segment.
    remains: Vec<Remains>,
    reported: HashSet<(StreamNumber, Seq), foldhash::fast::RandomState>,
    /// A record that lies in several blocks.
    gathered: Vec<u8>,
    /// A body that was decrypted, and one that was decompressed.
    pub opened: Vec<u8>,
    pub inflated: Vec<u8>,
    pub deflated: Vec<u8>,
}

impl Core {
    pub fn new(log: Log, cache: Cache, now: Millis) -> Self {
        Self {
            log,
            cache,
            requests: Requests::default(),
            news: News::default(),
            lines: Vec::new(),
            unsaid: 0,
            now,
            changes: 0,
            covered: VecDeque::new(),
            durable_changes: 0,
            touched: VecDeque::new(),
            removers: Vec::new(),
            deferred: Vec::new(),
            erasure: Erasure::default(),
            debris: Vec::new(),
            remains: Vec::new(),
            reported: HashSet::default(),
            gathered: Vec::new(),
            opened: Vec::new(),
            inflated: Vec::new(),
            deflated: Vec::new(),
        }
    }

    pub fn say(&mut self, severity: Severity, text: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(Line { severity, text });
        } else {
            self.unsaid += 1;
        }
    }

    /// Says it however many lines wait. What opening finds is told only once, and there is no more of it than of what
    /// is on the disk.
    pub fn insist(&mut self, severity: Severity, text: String) {
        self.lines.push(Line { severity, text });
    }

    /// What was said since this was called last, and how much there was no room for.
    pub fn take_lines(&mut self) -> Vec<Line> {
        let unsaid = std::mem::take(&mut self.unsaid);
        if unsaid > 0 {
            let text = format!("store: and {unsaid} more");
            self.insist(Severity::Error, text);
        }
        std::mem::take(&mut self.lines)
    }

    /// Everything in an index goes.
    pub fn bury_all(&mut self, index: &mut Index) {
        let log = &mut self.log;
        let remnant = index.take_all(&mut |location| {
            if let Some(location) = Location::from_bits(location) {
                log.kill(location.slot(), location.counted_bytes());
            }
        });
        self.debris.push(Box::new(remnant));
    }

    /// Frees a piece of what is gone.
    pub fn shrink_debris(&mut self) {
        if let Some(debris) = self.debris.last_mut()
            && !debris.shrink()
        {
            self.debris.pop();
        }
    }

    /// Logs a record that is needed.
    pub fn put(
        &mut self,
        kind: Kind,
        stream: StreamNumber,
        parts: &[&[u8]],
        need: Need,
    ) -> Result<Spot, Refused> {
        let spot = self.log.put(kind, stream, parts, need)?;
        self.log.enliven(spot.slot, spot.bytes);
        self.changes += 1;
        Ok(spot)
    }

    /// The stream goes up to `seq` when what was just logged is durable.
    #[inline]
    pub fn touch(&mut self, stream: StreamNumber, seq: Seq, touched: &mut (u64, usize)) {
        let frame = self.log.position();
        if touched.0 == frame
            && let Some((_, list)) = self.touched.back_mut()
            && let Some(entry) = list.get_mut(touched.1)
        {
            entry.1 = seq;
            return;
        }
        if self.touched.back().is_none_or(|back| back.0 != frame) {
            self.touched.push_back((frame, Vec::new()));
        }
        let (_, list) = self.touched.back_mut().expect("it was pushed");
        *touched = (frame, list.len());
        list.push((stream, seq));
    }

    /// Everything so far is durable with the last frame so far.
    pub fn cover(&mut self) {
        let frame = self.log.position();
        match self.covered.back_mut() {
            Some(back) if back.0 == frame => back.1 = self.changes,
            _ => self.covered.push_back((frame, self.changes)),
        }
    }

    /// Frames up to `durable` are: how many changes that makes.
    pub fn settle(&mut self) {
        let durable = self.log.durable();
        while let Some(&(frame, changes)) = self.covered.front()
            && frame <= durable
        {
            self.covered.pop_front();
            self.durable_changes = changes;
        }
    }

    /// What else a segment says.
    pub fn remains(&mut self, slot: Slot) -> &mut Remains {
        let slot = slot as usize;
        if self.remains.len() <= slot {
            self.remains.resize_with(slot + 1, Remains::default);
        }
        &mut self.remains[slot]
    }

    /// Where a segment can be read from.
    pub fn source(&self, slot: Slot) -> Option<Source> {
        let segment = self.log.segment(slot)?;
        Some(Source {
            slot,
            generation: segment.generation,
            file: segment.file?.id(),
            bytes: segment.bytes,
        })
    }

    /// Has a record of about that many bytes where it can be looked at, if it can.
    fn fetch(&mut self, slot: Slot, offset: usize, about: usize) -> Result<(Held, usize), Reading> {
        if let Some(bytes) = self.log.unwritten(slot, offset) {
            let length = record::length(bytes).ok_or(Reading::Bad)?;
            return Ok((Held::Unwritten, length));
        }
        let source = self.source(slot).ok_or(Reading::Bad)?;
        let end = (offset + PEEK_BYTES).min(source.bytes);
        let hurry = |found: Found| match found {
            Found::Here => Ok(()),
            Found::Coming => Err(Reading::Later),
            Found::Bad => Err(Reading::Bad),
        };
        let likely = (offset + about).min(source.bytes);
        let peek = (offset, end);
        let peeked = self.cache.look(source, peek, likely, &mut self.requests);
        if peeked == Found::Coming && about > 0 {
            // The rest will be wanted as well.
            let range = (offset, likely);
            self.cache.expect(source, range, true, &mut self.requests);
        }
        hurry(peeked)?;
        let peek = self.slice_or_gather(slot, offset, end);
        let bytes = if peek == Held::Gathered {
            &self.gathered
        } else {
            self.cache.slice(slot, offset, end).unwrap_or(&[])
        };
        let length = record::length(bytes).ok_or(Reading::Bad)?;
        let end = offset + length;
        if end > source.bytes {
            return Err(Reading::Bad);
        }
        let whole = (offset, end);
        hurry(self.cache.look(source, whole, end, &mut self.requests))?;
        Ok((self.slice_or_gather(slot, offset, end), length))
    }

    /// A record of about that many bytes will be looked at soon; alone, or with others of its block.
    pub fn expect(&mut self, (slot, offset, about): (Slot, usize, usize), is_alone: bool) {
        if self.log.unwritten(slot, offset).is_some() {
            return;
        }
        if let Some(source) = self.source(slot) {
            let range = (offset, (offset + about).min(source.bytes));
            self.cache
                .expect(source, range, is_alone, &mut self.requests);
        }
    }

    fn slice_or_gather(&mut self, slot: Slot, from: usize, to: usize) -> Held {
        if self.cache.slice(slot, from, to).is_some() {
            return Held::Cached;
        }
        self.gathered.clear();
        self.cache.copy(slot, from, to, &mut self.gathered);
        Held::Gathered
    }

    /// Reads a record, checks it and opens its body: into `opened` if it was sealed. Then
    /// [`Core::record`] gives it.
    pub fn read(&mut self, slot: Slot, offset: usize, about: usize) -> Result<Opened, Reading> {
        let (held, length) = self.fetch(slot, offset, about)?;
        let segment = self.log.segment(slot).ok_or(Reading::Bad)?;
        let bytes = match held {
            Held::Unwritten => self.log.unwritten(slot, offset),
            Held::Cached => self.cache.slice(slot, offset, offset + length),
            Held::Gathered => self.gathered.get(..length),
        };
        let bytes = bytes.ok_or(Reading::Bad)?;
        let salt = record::salt(segment.generation, offset);
        let raw = record::parse(bytes, salt).ok_or(Reading::Bad)?;
        let mut is_opened = false;
        if let Some(seal) = segment.seal.as_ref().filter(|_| raw.kind.is_sealed()) {
            let place = (segment.generation, offset);
            let head = raw.kind.head_bytes();
            if !seal.decrypt(place, raw.bytes, head, &mut self.opened) {
                return Err(Reading::Bad);
            }
            is_opened = true;
        }
        Ok(Opened {
            slot,
            offset,
            length,
            held,
            is_opened,
        })
    }

    /// What was read: the record's head fields, and its body in the clear.
    pub fn record<'a>(&'a self, opened: &Opened) -> Option<(&'a [u8], &'a [u8])> {
        let bytes = match opened.held {
            Held::Unwritten => self.log.unwritten(opened.slot, opened.offset)?,
            Held::Cached => {
                let end = opened.offset + opened.length;
                self.cache.slice(opened.slot, opened.offset, end)?
            }
            Held::Gathered => &self.gathered,
        };
        let bytes = bytes.get(..opened.length)?;
        let body = if opened.is_opened {
            &self.opened[..]
        } else {
            bytes.get(record::MESSAGE_HEAD_BYTES..)?
        };
        Some((bytes, body))
    }

    /// Says once that a message cannot be read.
    pub fn report(&mut self, key: &[u8], stream: StreamNumber, seq: Seq, place: (Slot, usize)) {
        if self.reported.len() >= REPORTED_MAX || !self.reported.insert((stream, seq)) {
            return;
        }
        if self.reported.len() == REPORTED_MAX {
            let text = format!(
                "store: {REPORTED_MAX} messages were found to be damaged; further ones are not told of"
            );
            self.insist(Severity::Error, text);
        }
        let segment = self.log.segment(place.0);
        let file = segment
            .and_then(|segment| segment.file)
            .map(|file| file.name());
        self.say(
            Severity::Error,
            format!(
                "store: message {seq} of {} is damaged: {} at offset {} cannot be read or is not what was written",
                String::from_utf8_lossy(key),
                file.as_deref().unwrap_or("its segment"),
                place.1,
            ),
        );
    }

    /// A block for the cache has come.
    pub fn block_arrived(
        &mut self,
        name: (Slot, u64, u32),
        base: usize,
        result: Result<usize, Failure>,
        buffer: AlignedBuffer,
    ) {
        let source = self
            .source(name.0)
            .filter(|source| source.generation == name.1);
        self.cache
            .arrived(source, name, base, result, buffer, &mut self.requests);
        self.news.reads = true;
    }
}

/// A record that was read, see [`Core::record`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    slot: Slot,
    offset: usize,
    length: usize,
    held: Held,
    is_opened: bool,
}
