//! Giving space back: what is still needed of a mostly dead segment is logged anew, then the segment
//! is freed.
//!
//! One segment at a time, the one that gives most for least. Messages are found by reading the
//! segment through a window; what is known in memory (names, facts, removals) is logged from there. The
//! work is paid for from a budget that grows with time and with what is logged, so that it neither
//! starves publishers nor falls behind them. A segment of which something cannot be read is left
//! alone: what can be read of it must not be lost with the rest.

use super::core::Severity;
use super::facade::{Store, log_stream};
use super::handle::FileHandle;
use super::io::{AlignedBuffer, BLOCK_BYTES, Failure, Work};
use super::journal::StreamNumber;
use super::journal::frame::{FRAME_HEAD_BYTES, FrameHead};
use super::journal::log::Need;
use super::journal::record::{self, Kind, Raw};
use super::location::{Location, Slot};
use super::requests::Purpose;
use super::{Refused, Seq};
use crate::base::deadlines::Millis;

/// Read at once.
const WINDOW_BYTES: usize = 512 << 10;
/// A segment is compacted when less than this part of it (in hundredths) is needed, or, when the
/// disk is full, less than that.
const NEEDED_PERCENT: u64 = 50;
const NEEDED_PERCENT_FULL: u64 = 90;
/// A record takes less than so many times its weight, also a sealed one of a message without payload.
const RECORD_PER_WEIGHT: u64 = 2;
/// What the budget grows by in a millisecond, and by for each byte logged; and what it may grow to.
const BUDGET_BYTES_PER_MS: u64 = 16 << 10;
const BUDGET_PER_BYTE: u64 = 2;
const BUDGET_BYTES_MAX: u64 = 4 << 20;
/// How long to wait when the budget is used up, or the disk full.
const PAUSE_MS: Millis = 10;
/// Ranges in one record of removals, and records of them that are logged at once.
const RANGES: usize = 2048;
const REMOVALS_MAX: usize = 16;
/// Segments become so long that there are not many more than this.
const SEGMENTS_WANTED: u64 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Messages are copied; the next window is to be asked for, is under way, or is being gone
    /// through.
    Ask,
    Reading,
    Copying,
    /// The rest is to be logged: what is small, and then removals.
    Rest,
    Removals,
    /// All was logged up to that position.
    Waiting(u64),
}

/// The segment that is being compacted.
#[derive(Debug)]
struct Victim {
    slot: Slot,
    generation: u64,
    stage: Stage,
    end: usize,
    /// Where the window begins, and what it holds from there on.
    at: usize,
    window: Vec<u8>,
    /// How far the window is done.
    done: usize,
    /// Records of the current frame end there.
    frame_end: usize,
    /// Where removals are still to be logged anew: streams, and sequences from where to where.
    removed: Vec<(StreamNumber, (Seq, Seq))>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    victim: Option<Box<Victim>>,
    budget: u64,
    budget_at: Millis,
    wake_at: Option<Millis>,
    /// Segments may have become worth it since they were looked at, which is not done before then.
    is_stale: bool,
    look_at: Millis,
    /// What the generation of the next segment was then.
    looked_before: u64,
    /// Generations of segments that cannot be compacted.
    unmovable: Vec<u64>,
}

/// What became of a record.
enum Moved {
    Done,
    /// The window ends within it.
    Short,
    /// It cannot be read.
    Bad,
    Refused,
}

impl Compaction {
    /// So many bytes were logged.
    pub fn pay(&mut self, bytes: usize) {
        let more = self.budget + BUDGET_PER_BYTE * bytes as u64;
        self.budget = more.min(BUDGET_BYTES_MAX);
    }

    /// Whether it is at work on a segment.
    pub fn is_of(&self, slot: Slot) -> bool {
        self.victim
            .as_ref()
            .is_some_and(|victim| victim.slot == slot)
    }

    /// Something has become durable: there may be more to give back.
    pub fn hint(&mut self) {
        self.is_stale = true;
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        let idle = self.victim.is_none() && self.is_stale;
        self.wake_at.or(idle.then_some(self.look_at))
    }

    fn earn(&mut self, now: Millis) {
        let more = (now - self.budget_at.min(now)).saturating_mul(BUDGET_BYTES_PER_MS);
        self.budget = self.budget.saturating_add(more).min(BUDGET_BYTES_MAX);
        self.budget_at = now;
    }
}

impl Store {
    /// Goes on with it, as far as the budget goes.
    pub(super) fn compact(&mut self) {
        let now = self.core.now;
        self.compaction.earn(now);
        if self.compaction.wake_at.is_some_and(|at| at > now) || self.core.log.is_poisoned() {
            return;
        }
        self.compaction.wake_at = None;
        if self.compaction.victim.is_none() {
            // With each segment that is begun, another has become one that can be compacted. On a full
            // disk that may be what the next one depends on.
            let next = self.core.log.next_generation();
            let is_early = now < self.compaction.look_at && next == self.compaction.looked_before;
            if !self.compaction.is_stale || is_early {
                return;
            }
            self.compaction.looked_before = next;
            self.compaction.victim = self.choose().map(Box::new);
            if self.compaction.victim.is_none() {
                self.compaction.is_stale = false;
                self.compaction.look_at = now + PAUSE_MS;
            }
        }
        let Some(mut victim) = self.compaction.victim.take() else {
            return;
        };
        if self.advance_victim(&mut victim) {
            self.compaction.victim = Some(victim);
        }
    }

    /// The segment that is best compacted now.
    fn choose(&self) -> Option<Victim> {
        let log = &self.core.log;
        let full = log.files.is_full();
        let most = if full {
            NEEDED_PERCENT_FULL
        } else {
            NEEDED_PERCENT
        };
        let room = log.room();
        let candidates = log.segments().filter_map(|(slot, segment)| {
            if Some(slot) == log.active()
                || segment.file.is_none()
                || log.is_freeing(slot)
                || self.core.erasure.wants(slot, segment.generation)
                || !log.is_written(slot)
                || self.compaction.unmovable.contains(&segment.generation)
            {
                return None;
            }
            let used = segment.end as u64;
            let needed = match segment.logged_bytes {
                0 => 0,
                logged => used * segment.live_bytes.min(logged) / logged,
            };
            // Most of it may be what frames are padded with.
            let needed = needed.min(segment.live_bytes * RECORD_PER_WEIGHT);
            let is_worth = needed * 100 < segment.bytes as u64 * most;
            // What it takes is estimated, and other things are logged meanwhile.
            let has_room = !full || needed * 4 <= room * 3;
            (is_worth && has_room).then_some((needed, slot, segment))
        });
        let (_, slot, segment) =
            candidates.min_by_key(|&(needed, _, segment)| (needed, segment.generation))?;
        Some(Victim {
            slot,
            generation: segment.generation,
            stage: if segment.live_bytes == 0 {
                Stage::Rest
            } else {
                Stage::Ask
            },
            end: segment.end,
            at: 0,
            window: Vec::new(),
            done: 0,
            frame_end: 0,
            removed: Vec::new(),
        })
    }

    /// Some steps; false when it is over with this one.
    fn advance_victim(&mut self, victim: &mut Victim) -> bool {
        loop {
            match victim.stage {
                Stage::Reading => return true,
                Stage::Ask => {
                    if self.compaction.budget < WINDOW_BYTES as u64 {
                        self.pause();
                        return true;
                    }
                    self.ask_window(victim);
                }
                Stage::Copying => match self.copy(victim) {
                    Moved::Done => {}
                    Moved::Short => victim.stage = Stage::Ask,
                    Moved::Refused => {
                        self.pause();
                        return true;
                    }
                    Moved::Bad => {
                        self.give_up(victim);
                        return false;
                    }
                },
                Stage::Rest => {
                    if self.log_rest(victim).is_err() {
                        self.pause();
                        return true;
                    }
                    victim.stage = Stage::Removals;
                }
                Stage::Removals => {
                    if self.log_removals(victim).is_err() || !victim.removed.is_empty() {
                        self.pause();
                        return true;
                    }
                    victim.stage = Stage::Waiting(self.core.log.position());
                }
                Stage::Waiting(position) => {
                    if self.core.log.durable() < position {
                        return true;
                    }
                    let left = self
                        .core
                        .log
                        .segment(victim.slot)
                        .map(|segment| segment.live_bytes);
                    if left != Some(self.core.remains(victim.slot).logged_again) {
                        self.give_up(victim);
                        return false;
                    }
                    if self.core.log.free(victim.slot).is_err() {
                        self.pause();
                        return true;
                    }
                    return false;
                }
            }
        }
    }

    fn pause(&mut self) {
        self.compaction.wake_at = Some(self.core.now + PAUSE_MS);
    }

    fn give_up(&mut self, victim: &Victim) {
        self.compaction.unmovable.push(victim.generation);
        let file = self
            .core
            .log
            .segment(victim.slot)
            .and_then(|segment| segment.file);
        let name = file.map_or_else(|| "a segment".to_owned(), |file| file.name());
        let text = format!("store: {name} holds messages that cannot be read: it is kept as it is");
        self.core.say(Severity::Error, text);
    }

    fn ask_window(&mut self, victim: &mut Victim) {
        let Some(source) = self.core.source(victim.slot) else {
            victim.stage = Stage::Rest;
            return;
        };
        victim.window.drain(..victim.done);
        victim.at += victim.done;
        victim.done = 0;
        let offset = victim.at + victim.window.len();
        if offset >= victim.end {
            victim.stage = Stage::Rest;
            return;
        }
        let bytes = WINDOW_BYTES.min(victim.end - offset);
        self.compaction.budget = self.compaction.budget.saturating_sub(bytes as u64);
        let work = Work::Read {
            file: source.file,
            offset: offset as u64,
            buffer: AlignedBuffer::new(bytes),
        };
        self.core
            .requests
            .submit(work, Purpose::Compact(victim.generation));
        victim.stage = Stage::Reading;
    }

    pub(super) fn window_arrived(
        &mut self,
        generation: u64,
        result: Result<usize, Failure>,
        buffer: &AlignedBuffer,
    ) {
        let Some(victim) = &mut self.compaction.victim else {
            return;
        };
        if victim.generation != generation || victim.stage != Stage::Reading {
            return;
        }
        match result {
            Ok(bytes) if bytes == buffer.len() => {
                victim.window.extend_from_slice(buffer);
                victim.stage = Stage::Copying;
            }
            _ => {
                if let Some(victim) = self.compaction.victim.take() {
                    self.give_up(&victim);
                }
            }
        }
    }

    /// Copies what is needed of the window.
    fn copy(&mut self, victim: &mut Victim) -> Moved {
        let mut window = std::mem::take(&mut victim.window);
        let moved = loop {
            let offset = victim.at + victim.done;
            if offset >= victim.end {
                break Moved::Short;
            }
            let rest = &window[victim.done.min(window.len())..];
            if offset >= victim.frame_end {
                // Between frames.
                let start = offset.next_multiple_of(BLOCK_BYTES);
                let skip = start - offset;
                if rest.len() < skip + FRAME_HEAD_BYTES {
                    break Moved::Short;
                }
                let head = FrameHead::parse(&rest[skip..]);
                match head.filter(|head| head.generation == victim.generation) {
                    Some(head) => {
                        victim.frame_end = start + head.bytes as usize;
                        victim.done += skip + FRAME_HEAD_BYTES;
                    }
                    // Damage: the next frame is looked for; what is needed of this one shows in
                    // the end.
                    None => victim.done += skip + BLOCK_BYTES,
                }
                continue;
            }
            match self.move_record(victim, offset, rest) {
                Moved::Done => {
                    let length = record::length(rest).unwrap_or(0);
                    victim.done += record::padded(length);
                }
                Moved::Bad => {
                    // To the next frame.
                    victim.done += victim.frame_end - offset;
                }
                stop => break stop,
            }
        };
        if victim.done > window.len() {
            // The rest of a bad frame need not be read.
            victim.at += victim.done;
            victim.at = victim.at / BLOCK_BYTES * BLOCK_BYTES;
            victim.done = 0;
            window.clear();
        }
        victim.window = window;
        moved
    }

    fn move_record(&mut self, victim: &Victim, offset: usize, rest: &[u8]) -> Moved {
        let Some(length) = record::length(rest) else {
            return if rest.len() < record::HEAD_BYTES {
                Moved::Short
            } else {
                Moved::Bad
            };
        };
        if offset + length > victim.frame_end {
            return Moved::Bad;
        }
        if rest.len() < length {
            return Moved::Short;
        }
        let salt = record::salt(victim.generation, offset);
        let Some(raw) = record::parse(rest, salt) else {
            return Moved::Bad;
        };
        if raw.kind != Kind::Message {
            return Moved::Done;
        }
        self.move_message(victim, offset, &raw)
    }

    fn move_message(&mut self, victim: &Victim, offset: usize, raw: &Raw<'_>) -> Moved {
        let Some(head) = raw.message() else {
            return Moved::Bad;
        };
        let Some(stream) = self.file_streams.get_mut(&head.stream) else {
            return Moved::Done;
        };
        let known = stream.index.known(head.seq);
        let Some(old) = known.and_then(|known| Location::from_bits(known.location)) else {
            return Moved::Done;
        };
        if old.slot() != victim.slot || old.offset() != offset {
            return Moved::Done;
        }
        let core = &mut self.core;
        let mut opened = std::mem::take(&mut core.opened);
        let seal = core
            .log
            .segment(victim.slot)
            .and_then(|segment| segment.seal.as_ref());
        let body = match seal {
            Some(seal) => {
                let place = (victim.generation, offset);
                if !seal.decrypt(place, raw.bytes, raw.kind.head_bytes(), &mut opened) {
                    core.opened = opened;
                    return Moved::Bad;
                }
                &opened[..]
            }
            None => raw.body(),
        };
        let fields = head.to_bytes();
        let put = core.log.put(
            Kind::Message,
            head.stream,
            &[&fields[4..], body],
            Need::Housekeeping,
        );
        core.opened = opened;
        let Ok(spot) = put else {
            return Moved::Refused;
        };
        let counted = old.counted_bytes();
        let new = Location::new(spot.slot, spot.offset, counted);
        stream
            .index
            .relocate(head.seq, old.to_bits(), new.to_bits());
        core.log.enliven(spot.slot, counted);
        core.log.kill(old.slot(), counted);
        self.compaction.budget = self.compaction.budget.saturating_sub(spot.bytes as u64);
        Moved::Done
    }

    /// Logs anew what else would be lost with a segment.
    fn log_rest(&mut self, victim: &mut Victim) -> Result<(), Refused> {
        self.core.log_deferred()?;
        let (slot, generation) = (victim.slot, victim.generation);
        for number in self.filed() {
            let Some(stream) = self.file_streams.get_mut(&number) else {
                continue;
            };
            let core = &mut self.core;
            if stream.meta_at.is_some_and(|(at, _)| at == slot) {
                let meta = std::mem::take(&mut stream.meta);
                let logged = log_stream(core, stream, &meta, Need::Housekeeping);
                stream.meta = meta;
                logged?;
            }
            let here = stream
                .notes
                .iter()
                .filter(|(_, note)| note.spots.iter().any(|spot| spot.0 == slot));
            let mut here: Vec<u32> = here.map(|(&note, _)| note).collect();
            here.sort_unstable();
            let mut handle = FileHandle {
                core,
                stream,
                eager: false,
            };
            for note in here {
                handle.log_notes_again(note)?;
            }
            if handle.stream.last_shown_in == generation {
                handle.show_last()?;
            }
        }
        if !self.core.log.is_oldest(slot) || self.checkpoints.may_miss(generation) {
            self.log_remains(slot)?;
            let removed = &self.core.remains(slot).removed;
            victim.removed = removed.iter().map(|(&a, &b)| (a, b)).collect();
            victim.removed.sort_unstable();
        }
        let live: u64 = self
            .core
            .log
            .segments()
            .map(|(_, segment)| segment.live_bytes)
            .sum();
        self.core.log.files.want(live / SEGMENTS_WANTED);
        Ok(())
    }

    /// Logs removals anew, as many as a turn may take: a stream can have millions of holes.
    fn log_removals(&mut self, victim: &mut Victim) -> Result<(), Refused> {
        for _ in 0..REMOVALS_MAX {
            let Some((number, range)) = victim.removed.last_mut() else {
                break;
            };
            let stream = self.file_streams.get(number);
            let gaps = stream.map(|stream| stream.index.holes_between(range.0, range.1, RANGES));
            let gaps = gaps.unwrap_or_default();
            let (Some(first), Some(last)) = (gaps.first(), gaps.last()) else {
                victim.removed.pop();
                continue;
            };
            let mut body = Vec::new();
            let mut after = 0;
            for &range in &gaps {
                record::put_range(&mut body, after, range);
                after = range.1;
            }
            let spot = self
                .core
                .put(Kind::Removed, *number, &[&body], Need::Housekeeping)?;
            let remains = self.core.remains(spot.slot);
            remains.removed(*number, (first.0, last.1));
            remains.logged_again += spot.bytes as u64;
            range.0 = last.1.saturating_add(1);
        }
        Ok(())
    }

    /// Logs again what a segment says is gone: older ones may still have it.
    fn log_remains(&mut self, slot: Slot) -> Result<(), Refused> {
        let remains = self.core.remains(slot);
        let forgotten = remains.forgotten.clone();
        let deleted = remains.deleted.clone();
        for (number, note) in forgotten {
            let Some(stream) = self.file_streams.get_mut(&number) else {
                continue;
            };
            match stream.notes.get(&note).map(|note| note.reset) {
                None => self.core.forget_note(number, note),
                Some(Some(_)) => {}
                Some(None) => {
                    let core = &mut self.core;
                    let mut handle = FileHandle {
                        core,
                        stream,
                        eager: false,
                    };
                    handle.log_notes_again(note)?;
                }
            }
        }
        for number in deleted {
            self.core.deferred.push((number, None));
        }
        self.core.log_deferred()
    }
}
