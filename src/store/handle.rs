//! One stream of the store, borrowed: [`Messages`] on top of its index and the journal.

use super::cache;
use super::core::{Core, Reading, Severity};
use super::file_stream::{FileStream, Note, join};
use super::index::{Arrival, Known};
use super::journal::StreamNumber;
use super::journal::log::Need;
use super::journal::record::{self, Kind, MESSAGE_HEAD_BYTES, MessageHead, encoding};
use super::location::{Location, RECORD_BYTES_MAX};
use super::{
    Fetched, Messages, NewMessage, Refused, Selection, Seq, State, Stored, SubjectState, UnixNanos,
};

/// More than the frame around a message's bytes.
const OVERHEAD_BYTES: usize = 256;
/// Bytes of ranges in one record of removals.
const REMOVED_BYTES: usize = 32 << 10;
/// Shorter bodies are not worth compressing.
const COMPRESSED_MIN_BYTES: usize = 128;

/// A file stream, borrowed from its store.
#[derive(Debug)]
pub(crate) struct FileHandle<'a> {
    pub core: &'a mut Core,
    pub stream: &'a mut FileStream,
    /// Whether what was only appended counts as durable.
    pub eager: bool,
}

/// Takes the weight of a message that goes off its segment; gives what it counted as.
pub(crate) fn bury(core: &mut Core, known: &Known<'_>) -> u64 {
    match Location::from_bits(known.location) {
        Some(location) => {
            let bytes = location.counted_bytes();
            core.log.kill(location.slot(), bytes);
            bytes as u64
        }
        None => 0,
    }
}

impl FileHandle<'_> {
    fn number(&self) -> StreamNumber {
        self.stream.number
    }

    fn touch(&mut self, seq: Seq) {
        let number = self.number();
        self.core.touch(number, seq, &mut self.stream.touched);
        self.stream.last_shown_in = self.core.log.head_generation();
    }

    /// There are removals that must be logged.
    fn mark_removed(&mut self) {
        self.core.changes += 1;
        if !self.stream.has_removed {
            self.stream.has_removed = true;
            self.core.removers.push(self.stream.number);
        }
    }

    /// Before a fact is logged: what was forgotten must not be forgotten after it, and a consumer that has gone past
    /// what was removed must not come back to find it there.
    fn log_what_was_before(&mut self) -> Result<(), Refused> {
        self.core.log_deferred()?;
        self.core.log_removed(self.stream)
    }

    fn log_skip(&mut self, last: Seq, time: UnixNanos) -> Result<(), Refused> {
        let parts: [&[u8]; 2] = [&last.to_le_bytes(), &time.to_le_bytes()];
        let number = self.number();
        self.core
            .log
            .put(Kind::Skip, number, &parts, Need::Housekeeping)?;
        self.core.changes += 1;
        Ok(())
    }

    /// Logs anew how far sequences were given out.
    pub fn show_last(&mut self) -> Result<(), Refused> {
        let state = *self.state();
        self.log_skip(state.last_seq, state.last_time)?;
        self.stream.last_shown_in = self.core.log.head_generation();
        Ok(())
    }

    /// Logs all facts of a number anew, as they are.
    pub fn log_notes_again(&mut self, note: u32) -> Result<(), Refused> {
        let Some(kept) = self.stream.notes.get_mut(&note) else {
            return Ok(());
        };
        let facts = std::mem::take(&mut kept.facts);
        let logged = self.log_notes(note, &facts);
        if let Some(kept) = self.stream.notes.get_mut(&note) {
            kept.facts = facts;
        }
        logged
    }

    /// Logs all facts of a number anew; those before are dead.
    fn log_notes(&mut self, note: u32, facts: &[u8]) -> Result<(), Refused> {
        self.log_what_was_before()?;
        let number = self.number();
        let parts: [&[u8]; 2] = [&note.to_le_bytes(), facts];
        let spot = self
            .core
            .put(Kind::Notes, number, &parts, Need::Housekeeping)?;
        let generation = self.core.log.head_generation();
        let kept = self.stream.notes.entry(note).or_default();
        for (slot, bytes) in kept.spots.drain(..) {
            self.core.log.kill(slot, bytes);
        }
        kept.spots.push((spot.slot, spot.bytes));
        kept.reset = Some((generation, spot.offset));
        Ok(())
    }
}

impl Messages for FileHandle<'_> {
    fn state(&self) -> &State {
        self.stream.index.state()
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Seq, Refused> {
        let seq = self.stream.index.state().last_seq + 1;
        let counted_bytes = message.counted_bytes(true);
        // The highest sequence is no bound for purges, so it can be nobody's.
        if seq == Seq::MAX || counted_bytes as usize > RECORD_BYTES_MAX - OVERHEAD_BYTES {
            return Err(Refused::TooLarge);
        }
        let Ok(subject_bytes) = u16::try_from(message.subject.len()) else {
            return Err(Refused::TooLarge);
        };
        let mut head = MessageHead {
            stream: self.stream.number,
            seq,
            time: message.time,
            subject_bytes,
            headers_bytes: message.headers.len() as u32,
            flags: message.flags,
            encoding: 0,
        };
        let number = self.stream.number;
        let log = &mut self.core.log;
        let body_bytes = message.headers.len() + message.payload.len();
        let spot = if self.stream.options.compress
            && body_bytes >= COMPRESSED_MIN_BYTES
            && deflate(message, &mut self.core.inflated, &mut self.core.deflated)
        {
            head.encoding = encoding::COMPRESSED;
            let fields = head.to_bytes();
            let length = (body_bytes as u32).to_le_bytes();
            let parts = [&fields[4..], message.subject, &length, &self.core.deflated];
            log.put(Kind::Message, number, &parts, Need::Content)?
        } else {
            let fields = head.to_bytes();
            let parts = [
                &fields[4..],
                message.subject,
                message.headers,
                message.payload,
            ];
            log.put(Kind::Message, number, &parts, Need::Content)?
        };
        log.enliven(spot.slot, counted_bytes as usize);
        self.core.changes += 1;
        let location = Location::new(spot.slot, spot.offset, counted_bytes as usize);
        let arrival = Arrival {
            subject: message.subject,
            location: location.to_bits(),
            flags: message.flags,
            time: message.time,
            counted_bytes,
        };
        self.stream.index.insert(seq, &arrival);
        self.touch(seq);
        Ok(seq)
    }

    fn skip_to(&mut self, last: Seq, time: UnixNanos) -> Result<(), Refused> {
        let last = last.min(Seq::MAX - 1);
        if last <= self.stream.index.state().last_seq {
            return Ok(());
        }
        self.log_skip(last, time)?;
        self.stream.index.skip_to(last, time);
        self.touch(last);
        Ok(())
    }

    fn remove(&mut self, seq: Seq, erase: bool) -> bool {
        let location = self.stream.index.location(seq);
        let Some(location) = location.and_then(Location::from_bits) else {
            return false;
        };
        let core = &mut *self.core;
        self.stream
            .index
            .remove(seq, &mut |known| bury(core, known));
        FileStream::note_removed(&mut self.stream.removed, seq);
        self.mark_removed();
        if erase {
            self.core.erase(location);
        }
        true
    }

    fn purge(&mut self, selection: &mut Selection, below: Seq, keep: u64) -> u64 {
        let before = *self.stream.index.state();
        if selection.is_everything() && keep == 0 && below > before.last_seq && before.messages > 0
        {
            self.stream
                .removed
                .push((before.first_seq, before.last_seq));
            self.core.bury_all(&mut self.stream.index);
        }
        let core = &mut *self.core;
        let removed = &mut self.stream.removed;
        self.stream
            .index
            .purge(selection, below, keep, &mut |known| {
                FileStream::note_removed(removed, known.seq);
                bury(core, known)
            });
        let after = *self.stream.index.state();
        let purged = before.messages - after.messages;
        if purged > 0 {
            self.mark_removed();
        }
        if after.last_seq > before.last_seq {
            // Without room for it, the next restart would only know the lower one: no sequence
            // was given out in between, but the owner was told. So it is tried again with what is
            // removed.
            if self.log_skip(after.last_seq, after.last_time).is_err() {
                FileStream::note_removed(&mut self.stream.removed, after.last_seq);
                self.mark_removed();
            }
            self.touch(after.last_seq);
        }
        purged
    }

    fn get(&mut self, seq: Seq) -> Fetched<'_> {
        let location = self.stream.index.location(seq);
        let Some(location) = location.and_then(Location::from_bits) else {
            return Fetched::Gone;
        };
        let (slot, offset) = (location.slot(), location.offset());
        let about = location.counted_bytes() + OVERHEAD_BYTES / 8;
        let number = self.stream.number;
        let core = &mut *self.core;
        let found = match core.read(slot, offset, about) {
            Ok(opened) => core.unpack(&opened, number, seq).then_some(opened),
            Err(Reading::Later) => return Fetched::Later,
            Err(Reading::Bad) => None,
        };
        let Some(opened) = found else {
            core.report(&self.stream.key, number, seq, (slot, offset));
            return Fetched::Damaged;
        };
        match self.core.stored(&opened) {
            Some(stored) => Fetched::Here(stored),
            None => Fetched::Damaged,
        }
    }

    fn expect(&mut self, seqs: &[Seq]) {
        let index = &self.stream.index;
        let mut places = seqs
            .iter()
            .filter_map(|&seq| Location::from_bits(index.location(seq)?))
            .map(|location| {
                let about = location.counted_bytes() + OVERHEAD_BYTES / 8;
                (location.slot(), location.offset(), about)
            })
            .peekable();
        let mut before = None;
        while let Some(place) = places.next() {
            let block = cache::block_of(place.0, place.1);
            let after = places.peek().map(|next| cache::block_of(next.0, next.1));
            let is_alone = before != Some(block) && after != Some(block);
            before = Some(block);
            self.core.expect(place, is_alone);
        }
    }

    fn subject(&self, subject: &[u8]) -> Option<SubjectState> {
        self.stream.index.subject(subject)
    }

    fn next(&self, selection: &mut Selection, from: Seq) -> Option<Seq> {
        self.stream.index.next(selection, from)
    }

    fn last(&self, selection: &mut Selection, up_to: Seq) -> Option<Seq> {
        self.stream.index.last(selection, up_to)
    }

    fn pending(&self, selection: &mut Selection, from: Seq) -> u64 {
        self.stream.index.pending(selection, from)
    }

    fn at_or_after(&self, time: UnixNanos) -> Seq {
        self.stream.index.at_or_after(time)
    }

    fn time_of(&self, seq: Seq) -> Option<UnixNanos> {
        self.stream.index.time_of(seq)
    }

    fn subject_of(&self, seq: Seq) -> Option<&[u8]> {
        self.stream.index.known(seq).map(|known| known.subject)
    }

    fn last_of_each(&self, selection: &mut Selection, up_to: Seq, max: usize) -> Option<Vec<Seq>> {
        self.stream.index.last_of_each(selection, up_to, max)
    }

    fn each_subject(&self, selection: &mut Selection, each: &mut dyn FnMut(&[u8], SubjectState)) {
        self.stream.index.each_subject(selection, each);
    }

    fn count_subjects(&self, selection: &mut Selection) -> u64 {
        self.stream.index.count_subjects(selection)
    }

    fn holes(&self, max: usize) -> Vec<(Seq, Seq)> {
        self.stream.index.holes(max)
    }

    fn next_flagged(&self, flags: u8, from: Seq) -> Option<Seq> {
        self.stream.index.next_flagged(flags, from)
    }

    fn durable_seq(&self) -> Seq {
        if self.eager {
            self.stream.index.state().last_seq
        } else {
            self.stream.durable_seq
        }
    }

    fn note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused> {
        self.log_what_was_before()?;
        let number = self.number();
        let parts: [&[u8]; 2] = [&note.to_le_bytes(), fact];
        let spot = self
            .core
            .put(Kind::Note, number, &parts, Need::Housekeeping)?;
        let kept = self.stream.notes.entry(note).or_default();
        kept.add(fact, (spot.slot, spot.bytes));
        Ok(())
    }

    fn rewrite_note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused> {
        let mut facts = Vec::with_capacity(fact.len() + 4);
        record::put_string(&mut facts, fact);
        self.log_notes(note, &facts)?;
        if let Some(kept) = self.stream.notes.get_mut(&note) {
            kept.facts = facts;
            kept.bytes = 0;
        }
        Ok(())
    }

    fn forget_note(&mut self, note: u32) {
        if let Some(Note { spots, .. }) = self.stream.notes.remove(&note) {
            for (slot, bytes) in spots {
                self.core.log.kill(slot, bytes);
            }
            self.core.forget_note(self.stream.number, note);
        }
    }

    fn note_bytes(&self, note: u32) -> u64 {
        self.stream.notes.get(&note).map_or(0, |note| note.bytes)
    }
}

impl Core {
    /// Whether what was read is that message, and whole; decompresses it, if it is compressed.
    pub(crate) fn unpack(
        &mut self,
        opened: &super::core::Opened,
        stream: StreamNumber,
        seq: Seq,
    ) -> bool {
        let mut inflated = std::mem::take(&mut self.inflated);
        let good = self.message(opened).is_some_and(|(head, body)| {
            let Some(rest) = body.get(head.subject_bytes as usize..) else {
                return false;
            };
            let is_compressed = head.encoding & encoding::COMPRESSED != 0;
            if head.stream != stream || head.seq != seq {
                return false;
            }
            if is_compressed && !inflate(&head, body, &mut inflated) {
                return false;
            }
            let rest_bytes = if is_compressed {
                inflated.len()
            } else {
                rest.len()
            };
            head.headers_bytes as usize <= rest_bytes
        });
        self.inflated = inflated;
        good
    }

    fn message<'a>(&'a self, opened: &super::core::Opened) -> Option<(MessageHead, &'a [u8])> {
        let (bytes, body) = self.record(opened)?;
        let raw = record::Raw {
            kind: Kind::Message,
            stream: StreamNumber::default(),
            bytes: bytes.get(..MESSAGE_HEAD_BYTES)?,
        };
        Some((raw.message()?, body))
    }

    /// The message that was read and unpacked.
    pub(crate) fn stored<'a>(&'a self, opened: &super::core::Opened) -> Option<Stored<'a>> {
        let (head, body) = self.message(opened)?;
        let (subject, rest) = body.split_at_checked(head.subject_bytes as usize)?;
        let rest = if head.encoding & encoding::COMPRESSED == 0 {
            rest
        } else {
            &self.inflated
        };
        let (headers, payload) = rest.split_at_checked(head.headers_bytes as usize)?;
        Some(Stored {
            seq: head.seq,
            time: head.time,
            subject,
            headers,
            payload,
        })
    }

    /// Logs that all facts of a number are forgotten, now or when there is room.
    pub(crate) fn forget_note(&mut self, stream: StreamNumber, note: u32) {
        self.changes += 1;
        self.deferred.push((stream, Some(note)));
        // What it waits for then is told where it matters.
        let _ = self.log_deferred();
    }

    /// Has the bytes of a message overwritten, when its removal is durable.
    pub(crate) fn erase(&mut self, location: Location) {
        if let Some(segment) = self.log.segment(location.slot()) {
            self.erasure.add(location, segment.generation);
        }
    }

    /// Logs what had to wait, as far as there is room.
    pub(crate) fn log_deferred(&mut self) -> Result<(), Refused> {
        while let Some(&(stream, note)) = self.deferred.last() {
            match note {
                Some(note) => {
                    let parts: [&[u8]; 1] = [&note.to_le_bytes()];
                    let spot = self
                        .log
                        .put(Kind::Notes, stream, &parts, Need::Housekeeping)?;
                    self.remains(spot.slot).forgotten.push((stream, note));
                }
                None => {
                    let spot = self
                        .log
                        .put(Kind::Deleted, stream, &[], Need::Housekeeping)?;
                    self.remains(spot.slot).deleted.push(stream);
                }
            }
            self.deferred.pop();
        }
        Ok(())
    }

    /// Logs what was removed of a stream, as far as there is room.
    pub(crate) fn log_removed(&mut self, stream: &mut FileStream) -> Result<(), Refused> {
        if stream.removed.is_empty() {
            return Ok(());
        }
        join(&mut stream.removed);
        let mut body = std::mem::take(&mut self.opened);
        let mut done = 0;
        let mut logged = Ok(());
        while done < stream.removed.len() {
            body.clear();
            let (mut after, mut count) = (0, 0);
            for &range in &stream.removed[done..] {
                if body.len() >= REMOVED_BYTES {
                    break;
                }
                record::put_range(&mut body, after, range);
                after = range.1;
                count += 1;
            }
            let parts: [&[u8]; 1] = [&body];
            match self
                .log
                .put(Kind::Removed, stream.number, &parts, Need::Housekeeping)
            {
                Ok(spot) => {
                    let whole = (stream.removed[done].0, after);
                    self.remains(spot.slot).removed(stream.number, whole);
                    done += count;
                }
                Err(refused) => {
                    logged = Err(refused);
                    break;
                }
            }
        }
        stream.removed.drain(..done);
        self.opened = body;
        logged
    }

    /// Says something about the log's health once.
    pub(crate) fn poison(&mut self, what: &str) {
        if !self.log.is_poisoned() {
            self.log.poison();
            self.say(
                Severity::Error,
                format!(
                    "store: {what}: what is on the disk is not known any more. Nothing more is stored until a restart; reads go on."
                ),
            );
        }
    }
}

/// Compresses headers and payload, if that makes them shorter by an eighth at least.
fn deflate(message: &NewMessage<'_>, both: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let plain: &[u8] = if message.headers.is_empty() {
        message.payload
    } else {
        both.clear();
        both.extend_from_slice(message.headers);
        both.extend_from_slice(message.payload);
        both
    };
    out.resize(lz4_flex::block::get_maximum_output_size(plain.len()), 0);
    match lz4_flex::block::compress_into(plain, out) {
        Ok(bytes) => {
            out.truncate(bytes);
            bytes + 4 < plain.len() - plain.len() / 8
        }
        Err(_) => false,
    }
}

fn inflate(head: &MessageHead, body: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(packed) = body.get(head.subject_bytes as usize..) else {
        return false;
    };
    let Some(bytes) = record::u32_at(packed, 0).map(|bytes| bytes as usize) else {
        return false;
    };
    if bytes > RECORD_BYTES_MAX {
        return false;
    }
    out.resize(bytes, 0);
    matches!(lz4_flex::block::decompress_into(&packed[4..], out), Ok(got) if got == bytes)
}
