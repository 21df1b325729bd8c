//! The head of the journal: records go into an open frame, full frames queue, one is under way.
//!
//! It knows segments as places with a number of live bytes, not what the records in them mean.
//! Per small record it copies its bytes once, computes a checksum over them and one over eight
//! bytes, and compares three numbers; a frame costs a block's padding and one submission.

use std::collections::VecDeque;

use super::files::{FileNumber, Files};
use super::frame::{Before, FRAME_HEAD_BYTES, OpenFrame, SealedFrame};
use super::record::{self, Kind, SegmentMark, StreamNumber};
use super::seal::{Keys, Seal, TAG_BYTES};
use crate::base::aligned::{AlignedBuffer, BLOCK_BYTES};
use crate::base::prng::Prng;
use crate::store::Refused;
use crate::store::io::Work;
use crate::store::location::{Location, RECORD_BYTES_MAX, Slot};
use crate::store::requests::{Purpose, Requests};

/// A frame is not made longer than this, but for one record that is.
const FRAME_BYTES_MAX: usize = 4 << 20;
/// Accepted and not yet written: above this nothing more is accepted.
const BACKLOG_BYTES_MAX: usize = 512 << 20;
/// Buffers of frames kept for the next ones.
const POOL: usize = 2;
/// Larger ones are not kept.
const POOL_BUFFER_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// A part of the log with a file of its own.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its generation, or 0 when there is no segment of this number.
    pub generation: u64,
    /// How long it may become.
    pub bytes: usize,
    /// Where its last frame so far ends.
    pub end: usize,
    /// Weight of the records in it that are needed, and of all that ever were.
    pub live_bytes: u64,
    pub logged_bytes: u64,
    /// Where it is; none when it has not been written to yet.
    pub file: Option<FileNumber>,
    /// With what its records are sealed.
    pub seal: Option<Seal>,
    key: u32,
    salt: [u8; 16],
    before: Before,
}

impl Segment {
    fn none() -> Self {
        Self {
            generation: 0,
            bytes: 0,
            end: 0,
            live_bytes: 0,
            logged_bytes: 0,
            file: None,
            seal: None,
            key: 0,
            salt: [0; 16],
            before: Before::default(),
        }
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub slot: Slot,
    pub offset: usize,
    /// With padding.
    pub bytes: usize,
}

/// A place between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boundary {
    pub generation: u64,
    pub offset: usize,
    /// Number of the frame behind it.
    pub next_number: u64,
}

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A client's: what is left when the disk is full is not for it.
    Content,
    /// One that gives space back, or without which what is there could not be understood.
    Housekeeping,
}

/// The journal's writing side.
#[derive(Debug)]
pub(crate) struct Log {
    segments: Vec<Segment>,
    pub files: Files,
    keys: Keys,
    random: Prng,
    active: Option<Slot>,
    /// Segments that have records but no file yet.
    claimed: usize,
    open: Option<OpenFrame>,
    queue: VecDeque<SealedFrame>,
    queued_bytes: usize,
    flight: Option<SealedFrame>,
    next_number: u64,
    next_generation: u64,
    /// Number of the last frame that was written, and of the last that is on stable storage.
    written: u64,
    durable: u64,
    /// Segments whose freeing is said in a frame that is not durable yet.
    freeing: VecDeque<(u64, Slot)>,
    /// The active segment is what was kept in reserve.
    in_reserve: bool,
    /// Since the disk is full, a message was refused.
    has_refused: bool,
    /// Files that were written to since they were synced.
    unsynced: Vec<FileNumber>,
    poisoned: bool,
    pool: Vec<AlignedBuffer>,
    scratch: Vec<u8>,
}

impl Log {
    pub fn new(files: Files, keys: Keys, random: Prng) -> Self {
        Self {
            segments: Vec::new(),
            files,
            keys,
            random,
            active: None,
            claimed: 0,
            open: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            flight: None,
            next_number: 1,
            next_generation: 1,
            written: 0,
            durable: 0,
            freeing: VecDeque::new(),
            in_reserve: false,
            has_refused: false,
            unsynced: Vec::new(),
            poisoned: false,
            pool: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Goes on behind what was recovered: the next frame's number and segment's generation.
    pub fn resume(&mut self, next_number: u64, next_generation: u64) {
        self.next_number = next_number;
        self.written = next_number - 1;
        self.durable = next_number - 1;
        self.next_generation = next_generation;
    }

    /// Takes in a segment that was found.
    pub fn adopt(&mut self, mark: SegmentMark, file: FileNumber, seal: Option<Seal>) {
        let slot = mark.slot as usize;
        while self.segments.len() <= slot {
            self.segments.push(Segment::none());
        }
        self.segments[slot] = Segment {
            generation: mark.generation,
            bytes: self.files.bytes(file) as usize,
            end: mark.end as usize,
            file: Some(file),
            seal,
            ..Segment::none()
        };
        self.files.keep(file);
    }

    pub fn segment(&self, slot: Slot) -> Option<&Segment> {
        let segment = self.segments.get(slot as usize)?;
        (segment.generation != 0).then_some(segment)
    }

    /// All there are.
    pub fn segments(&self) -> impl Iterator<Item = (Slot, &Segment)> {
        let numbered = self.segments.iter().enumerate();
        numbered
            .filter(|(_, segment)| segment.generation != 0)
            .map(|(slot, segment)| (slot as Slot, segment))
    }

    /// The segment that is being written.
    pub fn active(&self) -> Option<Slot> {
        self.active
    }

    /// Whether all of a segment is in its file.
    pub fn is_written(&self, slot: Slot) -> bool {
        let mut waiting = self.queue.iter().chain(&self.flight);
        !waiting.any(|frame| frame.slot == slot)
    }

    /// Whether no segment is older.
    pub fn is_oldest(&self, slot: Slot) -> bool {
        let oldest = self
            .segments()
            .min_by_key(|(_, segment)| segment.generation);
        oldest.is_some_and(|(oldest, _)| oldest == slot)
    }

    /// Bytes left for compaction when the disk is full: in the active segment and in spares. The last
    /// spare is for what must be logged anyway.
    pub fn room(&self) -> u64 {
        let active = self.active.and_then(|slot| self.segment(slot));
        let left = active.map_or(0, |segment| segment.bytes - segment.end);
        left as u64 + self.files.spare_bytes()
    }

    /// A record of that weight in the segment is needed.
    #[inline]
    pub fn enliven(&mut self, slot: Slot, bytes: usize) {
        if let Some(segment) = self.segments.get_mut(slot as usize) {
            segment.live_bytes += bytes as u64;
            segment.logged_bytes += bytes as u64;
        }
    }

    /// It is not needed any more.
    #[inline]
    pub fn kill(&mut self, slot: Slot, bytes: usize) {
        if let Some(segment) = self.segments.get_mut(slot as usize) {
            segment.live_bytes = segment.live_bytes.saturating_sub(bytes as u64);
        }
    }

    /// Generation of the segment in which the next record most probably goes.
    pub fn head_generation(&self) -> u64 {
        self.open
            .as_ref()
            .map_or(self.next_generation, |open| open.generation)
    }

    /// Number of the frame in which the last record is.
    pub fn position(&self) -> u64 {
        match &self.open {
            Some(open) if !open.is_empty() => open.number,
            _ => self.next_number - 1,
        }
    }

    pub fn next_generation(&self) -> u64 {
        self.next_generation
    }

    pub fn durable(&self) -> u64 {
        self.durable
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Bytes accepted and not yet written.
    pub fn backlog_bytes(&self) -> usize {
        let open = self
            .open
            .as_ref()
            .map_or(0, |open| if open.is_empty() { 0 } else { open.span() });
        self.queued_bytes + open
    }

    /// Whether something waits to be written, or is being written.
    pub fn is_idle(&self) -> bool {
        self.flight.is_none()
            && self.queue.is_empty()
            && self.open.as_ref().is_none_or(OpenFrame::is_empty)
    }

    /// Whether a message of that many bytes would be taken.
    pub fn refusal(&self) -> Option<Refused> {
        if self.poisoned {
            Some(Refused::Poisoned)
        } else if self.files.is_full() && (self.in_reserve || self.has_refused) {
            Some(Refused::Full)
        } else {
            None
        }
    }

    /// Appends a record. Whoever needs it says so ([`Log::enliven`]).
    ///
    /// # Errors
    /// When the disk is full, or the log is poisoned, or the record longer than a segment.
    #[inline]
    pub fn put(
        &mut self,
        kind: Kind,
        stream: StreamNumber,
        parts: &[&[u8]],
        need: Need,
    ) -> Result<Spot, Refused> {
        let mut bytes = record::HEAD_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
        if kind.is_sealed() && self.keys.current() != 0 {
            bytes += TAG_BYTES;
        }
        let ready = !self.poisoned
            && (need == Need::Housekeeping || !self.in_reserve)
            && self.open.as_ref().is_some_and(|open| open.fits(bytes));
        if !ready {
            self.make_room(bytes, need)?;
        }
        let open = self.open.as_mut().expect("there is room");
        let segment = &self.segments[open.slot as usize];
        let (offset, bytes) = open.push(kind, stream, parts, segment.seal.as_ref());
        Ok(Spot {
            slot: open.slot,
            offset,
            bytes,
        })
    }

    #[cold]
    fn make_room(&mut self, bytes: usize, need: Need) -> Result<(), Refused> {
        if self.poisoned {
            return Err(Refused::Poisoned);
        }
        let span = (FRAME_HEAD_BYTES + record::padded(bytes)).next_multiple_of(BLOCK_BYTES);
        if span > RECORD_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let content = need == Need::Content;
        if content && self.files.is_full() && self.in_reserve {
            return Err(Refused::Full);
        }
        if !self.files.is_full() {
            self.has_refused = false;
            self.in_reserve = false;
        }
        if self.queued_bytes > BACKLOG_BYTES_MAX {
            return Err(Refused::Full);
        }
        if let Some(open) = &mut self.open {
            if open.fits(bytes) {
                return Ok(());
            }
            let left = self.segments[open.slot as usize].bytes - open.start;
            if open.is_empty() && left >= span {
                open.stretch(left.min(span));
                return Ok(());
            }
        }
        // Where the next frame begins, if it is in this segment.
        let next = match &self.open {
            Some(open) if open.is_empty() => Some((open.slot, open.start)),
            Some(open) => Some((open.slot, open.start + open.span())),
            None => self
                .active
                .map(|slot| (slot, self.segments[slot as usize].end)),
        };
        match next.filter(|&(slot, start)| start + span <= self.segments[slot as usize].bytes) {
            Some((slot, start)) => {
                self.close_frame();
                self.begin_frame(slot, start, span);
                Ok(())
            }
            None => self.roll(span, content),
        }
    }

    /// Goes on in another segment.
    fn roll(&mut self, span: usize, content: bool) -> Result<(), Refused> {
        let claimed = self.claimed;
        let full = self.files.is_full();
        if content && (full || !self.files.may_claim(claimed)) {
            self.has_refused = true;
            return Err(Refused::Full);
        }
        let marks = self.segments().count() + 1;
        let first = FRAME_HEAD_BYTES + record::HEAD_BYTES + record::UNIT_BYTES + 16 * marks;
        let least = (first + span).next_multiple_of(BLOCK_BYTES);
        if full
            && self
                .files
                .ready(claimed)
                .is_none_or(|bytes| bytes < least as u64)
        {
            return Err(Refused::Full);
        }
        let capacity = (self.files.capacity(claimed) as usize).max(least);
        if capacity > crate::store::location::SEGMENT_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        self.close_frame();
        let salt = self.random_salt();
        let key = self.keys.current();
        let seal = self.keys.seal(key, &salt).ok().flatten();
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        for (slot, segment) in self.segments() {
            if self.is_freeing(slot) {
                // That is said in an earlier frame.
                continue;
            }
            let mark = SegmentMark {
                generation: segment.generation,
                slot,
                end: segment.end as u32,
            };
            record::put_mark(&mut body, mark);
        }
        let slot = match self
            .segments
            .iter()
            .position(|segment| segment.generation == 0)
        {
            Some(slot) => slot,
            None if self.segments.len() == Location::SLOTS_MAX => return Err(Refused::Full),
            None => {
                self.segments.push(Segment::none());
                self.segments.len() - 1
            }
        };
        let generation = self.next_generation;
        self.next_generation += 1;
        let before = self.newest_before(generation);
        let own = SegmentMark {
            generation,
            slot: slot as Slot,
            end: 0,
        };
        record::put_mark(&mut body, own);
        self.segments[slot] = Segment {
            generation,
            bytes: capacity,
            seal,
            key,
            salt,
            before,
            ..Segment::none()
        };
        self.active = Some(slot as Slot);
        self.claimed += 1;
        self.in_reserve = full;
        self.begin_frame(slot as Slot, 0, least);
        let open = self.open.as_mut().expect("it was begun");
        open.push(Kind::Segments, StreamNumber::default(), &[&body], None);
        self.scratch = body;
        Ok(())
    }

    /// What the frames of a segment that is begun say of the one before.
    fn newest_before(&self, generation: u64) -> Before {
        let newest = self
            .segments()
            .max_by_key(|(_, segment)| segment.generation);
        let known = newest.and_then(|(_, segment)| {
            let generations = u32::try_from(generation.checked_sub(segment.generation)?).ok()?;
            let end = u32::try_from(segment.end).ok()?;
            Some(Before { generations, end })
        });
        known.unwrap_or_default()
    }

    fn begin_frame(&mut self, slot: Slot, start: usize, span: usize) {
        let segment = &self.segments[slot as usize];
        let limit = (segment.bytes - start).min(FRAME_BYTES_MAX.max(span));
        let buffer = self.pool.pop().unwrap_or_default();
        let place = (slot, segment.generation);
        self.open = Some(OpenFrame::new(
            place,
            self.next_number,
            start,
            limit,
            buffer,
        ));
        self.next_number += 1;
    }

    /// Queues the open frame, if something is in it.
    fn close_frame(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        if open.is_empty() {
            // Its number goes to the next.
            self.next_number -= 1;
            self.pool.push(open.into_buffer());
            return;
        }
        let segment = &mut self.segments[open.slot as usize];
        segment.end = open.start + open.span();
        let sealed = open.seal(segment.key, segment.salt, segment.before);
        self.queued_bytes += sealed.span;
        self.queue.push_back(sealed);
    }

    /// Starts writing the next frame, if none is under way and there is something to write. Only
    /// then is the open frame closed: until then it goes on collecting.
    pub fn flush(&mut self, sync: bool, requests: &mut Requests) {
        if self.flight.is_some() || self.poisoned {
            return;
        }
        if self.queue.is_empty() {
            self.close_frame();
        }
        let Some(front) = self.queue.front() else {
            if self.files.is_full() {
                // Nothing is taken while it is full, so nothing else asks whether there is room again.
                self.files.provide(self.claimed, 0, requests);
            }
            return;
        };
        let slot = front.slot as usize;
        let mut least = 0;
        if self.segments[slot].file.is_none() {
            // What has a place by now must fit; the rest of the segment may be shorter than planned.
            let queued = self
                .queue
                .iter()
                .filter(|frame| frame.slot as usize == slot);
            let queued = queued.map(|frame| frame.start + frame.span);
            let open = self.open.iter().filter(|open| open.slot as usize == slot);
            let open = open.map(|open| open.start + open.limit());
            least = queued.chain(open).max().unwrap_or(0) as u64;
            let planned = self.segments[slot].bytes as u64;
            if let Some(file) = self.files.take(planned).or_else(|| self.files.take(least)) {
                self.segments[slot].bytes = self.files.bytes(file) as usize;
                self.segments[slot].file = Some(file);
                self.claimed -= 1;
                least = 0;
            }
        }
        self.files.provide(self.claimed, least, requests);
        let Some(file) = self.segments[slot].file else {
            return;
        };
        let frame = self.queue.pop_front().expect("it was there");
        self.queued_bytes -= frame.span;
        let work = Work::Write {
            file: file.id(),
            offset: frame.start as u64,
            buffer: frame.buffer.clone(),
            bytes: frame.span,
            sync,
        };
        requests.submit(work, Purpose::Flush);
        if !sync && !self.unsynced.contains(&file) {
            self.unsynced.push(file);
        }
        self.flight = Some(frame);
    }

    /// The frame under way is written: takes it out.
    pub fn flushed(&mut self, durable: bool) -> Option<SealedFrame> {
        let frame = self.flight.take()?;
        self.written = frame.number;
        if durable {
            self.synced(frame.number);
        }
        Some(frame)
    }

    /// The frame under way could not be written for want of space: it will be tried again.
    pub fn not_flushed(&mut self) {
        if let Some(frame) = self.flight.take() {
            self.queued_bytes += frame.span;
            self.queue.push_front(frame);
        }
    }

    /// Files to be synced before what is written is on stable storage.
    pub fn take_unsynced(&mut self) -> Vec<FileNumber> {
        std::mem::take(&mut self.unsynced)
    }

    /// Whether a frame is under way.
    pub fn is_flushing(&self) -> bool {
        self.flight.is_some()
    }

    /// Closes the open frame: gives where the next one will begin.
    pub fn boundary(&mut self) -> Boundary {
        self.close_frame();
        let (generation, offset) = match self.active.and_then(|slot| self.segment(slot)) {
            Some(segment) => (segment.generation, segment.end),
            None => (self.next_generation, 0),
        };
        Boundary {
            generation,
            offset,
            next_number: self.next_number,
        }
    }

    /// For keys that are used once.
    pub fn random_salt(&mut self) -> [u8; 16] {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&self.random.next_u64().to_le_bytes());
        salt[8..].copy_from_slice(&self.random.next_u64().to_le_bytes());
        salt
    }

    pub fn random_id(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// What a checkpoint says of a segment that is not replayed from its beginning.
    pub fn restored(&mut self, slot: Slot, end: usize, live_bytes: u64, logged_bytes: u64) {
        if let Some(segment) = self.segments.get_mut(slot as usize) {
            segment.end = end;
            segment.live_bytes = live_bytes;
            segment.logged_bytes = logged_bytes.max(live_bytes);
        }
    }

    /// What a segment's records are sealed with, while it is replayed.
    pub fn take_seal(&mut self, slot: Slot) -> Option<Seal> {
        self.segments.get_mut(slot as usize)?.seal.take()
    }

    /// A segment was replayed: where it ends, and the number of its last frame.
    pub fn replayed(&mut self, slot: Slot, end: usize, seal: Option<Seal>, last_number: u64) {
        if let Some(segment) = self.segments.get_mut(slot as usize) {
            segment.end = end;
            segment.seal = seal;
        }
        let next = self.next_number.max(last_number + 1);
        self.resume(next, self.next_generation);
    }

    /// Frames up to this are on stable storage.
    pub fn synced(&mut self, number: u64) {
        self.durable = self.durable.max(number);
    }

    /// Nothing more will be written.
    pub fn poison(&mut self) {
        self.poisoned = true;
    }

    /// A frame is not needed for reading any more: its buffer may serve again.
    pub fn give_back(&mut self, frame: SealedFrame) {
        if self.pool.len() < POOL
            && let Ok(buffer) = std::sync::Arc::try_unwrap(frame.buffer)
            && buffer.len() <= POOL_BUFFER_BYTES_MAX
        {
            self.pool.push(buffer);
        }
    }

    /// What is in a segment from an offset on, if it has not been written yet.
    pub fn unwritten(&self, slot: Slot, offset: usize) -> Option<&[u8]> {
        let frames = self.flight.iter().chain(&self.queue);
        if let Some(open) = self.open.as_ref().filter(|open| open.slot == slot)
            && offset >= open.start
        {
            return open.bytes_from(offset);
        }
        for frame in frames {
            if frame.slot == slot && (frame.start..frame.start + frame.span).contains(&offset) {
                return frame.bytes_from(offset);
            }
        }
        None
    }

    /// Says that nothing in a segment is needed any more; when that is durable, [`Log::freed`] has
    /// it.
    pub fn free(&mut self, slot: Slot) -> Result<(), Refused> {
        let generation = self.segments[slot as usize].generation;
        let body = generation.to_le_bytes();
        let none = StreamNumber::default();
        self.put(Kind::Freed, none, &[&body], Need::Housekeeping)?;
        self.freeing.push_back((self.position(), slot));
        Ok(())
    }

    /// Whether a segment is on its way to be freed.
    pub fn is_freeing(&self, slot: Slot) -> bool {
        self.freeing.iter().any(|&(_, freeing)| freeing == slot)
    }

    /// A segment whose end is durable now: its file becomes a spare.
    pub fn freed(&mut self, requests: &mut Requests) -> Option<(Slot, u64)> {
        let &(frame, slot) = self.freeing.front()?;
        if frame > self.durable {
            return None;
        }
        self.freeing.pop_front();
        let segment = std::mem::replace(&mut self.segments[slot as usize], Segment::none());
        if let Some(file) = segment.file {
            self.files.recycle(file, requests);
        }
        Some((slot, segment.generation))
    }
}
