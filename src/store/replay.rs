//! Opening, the other half: what records mean for streams.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Severity;
use super::facade::{Store, log_stream};
use super::file_stream::FileStream;
use super::handle::{FileHandle, bury};
use super::index::Arrival;
use super::io::Failure;
use super::io::Work;
use super::journal::StreamNumber;
use super::journal::files::FileNumber;
use super::journal::log::Need;
use super::journal::record::{self, Kind, Raw, SegmentMark};
use super::journal::scan::{Damage, Expected, Piece, newest_frame, scan};
use super::journal::seal::Seal;
use super::location::{Location, Slot};
use super::recovery::{Recovery, Stage, Survey, Whole};
use super::requests::Purpose;
use super::restore::Restore;
use super::{Seq, counted_bytes};

impl Store {
    pub(super) fn segment_opened(&mut self, file: FileNumber, result: Result<usize, Failure>) {
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        match result {
            Ok(_) => recovery.opened(file, &mut self.core.requests),
            Err(failure) => {
                recovery.not_opened(file);
                self.core.log.files.lose(file);
                let name = file.name();
                let text = format!(
                    "store: {name} cannot be opened ({failure:?}): what is in it is missing"
                );
                self.core.insist(Severity::Error, text);
            }
        }
    }

    /// Goes on with opening as far as it goes.
    pub(super) fn recover(&mut self) {
        let Some(mut recovery) = self.recovery.take() else {
            return;
        };
        while self.failed.is_none() && self.advance(&mut recovery) {}
        if self.failed.is_none() && recovery.stage == Stage::Replay && recovery.replay.is_empty() {
            self.finish_recovery(&recovery);
            return;
        }
        recovery.ask(&mut self.core.requests);
        self.recovery = Some(recovery);
    }

    /// One step; whether another may be possible.
    fn advance(&mut self, recovery: &mut Recovery) -> bool {
        match recovery.stage {
            Stage::Heads => {
                if !recovery.heads_known() {
                    return false;
                }
                recovery.stage = Stage::Search;
                let headless = recovery.surveys.iter();
                let headless = headless.filter(|survey| survey.head.is_none() && !survey.is_blank);
                recovery.wanted = headless.map(|survey| (survey.file, survey.bytes)).collect();
                true
            }
            Stage::Search => {
                if let Some(whole) = recovery.next_whole() {
                    let survey = recovery
                        .surveys
                        .iter_mut()
                        .find(|survey| survey.file == whole.file);
                    if let Some(survey) = survey {
                        survey.head = newest_frame(&whole.buffer);
                    }
                    return true;
                }
                if !recovery.is_satisfied() {
                    return false;
                }
                recovery.stage = Stage::Marks;
                recovery.wanted = newest(recovery).into_iter().collect();
                true
            }
            Stage::Marks => {
                if let Some(whole) = recovery.next_whole() {
                    self.read_marks(recovery, &whole);
                    return true;
                }
                if !recovery.is_satisfied() {
                    return false;
                }
                recovery.stage = Stage::Spares;
                recovery.wanted = spares(recovery);
                true
            }
            Stage::Spares => {
                if let Some(whole) = recovery.next_whole() {
                    look_through(recovery, &whole);
                    return true;
                }
                if !recovery.is_satisfied() {
                    return false;
                }
                if std::mem::take(&mut recovery.has_lost_head) {
                    recovery.stage = Stage::Marks;
                    recovery.has_marks = false;
                    recovery.marks.clear();
                    recovery.searched.clear();
                    recovery.wanted = newest(recovery).into_iter().collect();
                    return true;
                }
                self.take_stock(recovery);
                recovery.stage = Stage::Restore;
                true
            }
            Stage::Restore => {
                let waits = recovery.restore.as_ref().is_some_and(|restore| {
                    !(restore.is_quiet() && (restore.is_done || restore.is_bad))
                });
                if waits {
                    return false;
                }
                self.restore(recovery);
                true
            }
            Stage::Replay => {
                let Some(whole) = recovery.next_whole() else {
                    return false;
                };
                self.replay(recovery, &whole);
                true
            }
        }
    }

    /// Looks in the newest segment which others there are. When its first frame is not there, the
    /// segment before it is asked as well.
    fn read_marks(&mut self, recovery: &mut Recovery, whole: &Whole) {
        look_through(recovery, whole);
        if std::mem::take(&mut recovery.has_lost_head) {
            recovery.wanted = newest(recovery).into_iter().collect();
            return;
        }
        let mut surveys = recovery.surveys.iter();
        let survey = surveys.find(|survey| survey.file == whole.file);
        let Some(head) = survey.and_then(|survey| survey.head) else {
            return;
        };
        let expected = Expected {
            generation: head.generation,
            end: None,
            from: 0,
            after: 0,
            is_sealed: false,
        };
        let mut marks = Vec::new();
        let freed = &mut recovery.freed;
        let found = scan(&whole.buffer, expected, &mut |piece| {
            if let Piece::Record(_, raw) = piece {
                match raw.kind {
                    Kind::Segments => marks.extend(record::marks(raw.body())),
                    Kind::Freed => {
                        let generations = raw.body().chunks_exact(8);
                        freed.extend(generations.filter_map(|bytes| record::u64_at(bytes, 0)));
                    }
                    _ => {}
                }
            }
        });
        if !recovery.has_marks && !marks.is_empty() {
            recovery.has_marks = true;
            for mark in marks {
                recovery.marks.insert(mark.generation, mark);
            }
        }
        recovery.searched.insert(head.generation);
        if found.end == 0 {
            // Its first frame was not finished: it never was a segment.
            recovery.highest = recovery.highest.max(head.generation);
            for survey in &mut recovery.surveys {
                if survey.file == whole.file {
                    survey.head = None;
                }
            }
        }
        if !recovery.has_marks {
            recovery.wanted = newest(recovery).into_iter().collect();
        }
    }

    /// Decides which files are segments, which are spares, and what is missing.
    fn take_stock(&mut self, recovery: &mut Recovery) {
        let newest_mark = recovery.marks.keys().next_back().copied().unwrap_or(0);
        let mut surveys = std::mem::take(&mut recovery.surveys);
        // Those of which no list is left say where the ones before them ended.
        let unlisted = surveys.iter().filter_map(|survey| survey.head);
        let unlisted = unlisted.filter(|head| head.generation > newest_mark);
        let ends: BTreeMap<u64, u32> = unlisted.filter_map(|head| head.before()).collect();
        surveys.sort_by_key(|survey| survey.head.map(|head| head.generation));
        let mut next_slot = recovery
            .marks
            .values()
            .map(|mark| mark.slot + 1)
            .max()
            .unwrap_or(0);
        let mut highest = newest_mark.max(recovery.highest);
        for &Survey { file, head, .. } in &surveys {
            let Some(head) = head else {
                self.core.log.files.recycle(file, &mut self.core.requests);
                continue;
            };
            highest = highest.max(head.generation);
            let generation = head.generation;
            let known = recovery.marks.get(&generation).copied();
            let is_newer = generation > newest_mark;
            let is_live = !recovery.freed.contains(&generation) && (is_newer || known.is_some());
            if recovery.has_marks && !is_live {
                self.core.log.files.recycle(file, &mut self.core.requests);
                continue;
            }
            let seal = match self.keys.seal(head.key, &head.salt) {
                Ok(seal) => seal,
                Err(_) => {
                    let name = file.name();
                    self.failed = Some(format!(
                        "{name} is encrypted with a key that is not configured"
                    ));
                    return;
                }
            };
            let mut mark = known.unwrap_or_else(|| {
                next_slot += 1;
                SegmentMark {
                    generation,
                    slot: next_slot - 1,
                    end: 0,
                }
            });
            if mark.end == 0 {
                mark.end = ends.get(&generation).copied().unwrap_or(0);
            }
            if mark.slot as usize >= Location::SLOTS_MAX {
                self.core.log.files.lose(file);
                continue;
            }
            self.core.log.adopt(mark, file, seal);
            recovery.replay.push_back(mark);
        }
        let listed = recovery.marks.values();
        let mut expected: BTreeMap<u64, u32> = listed
            .map(|mark| (mark.generation, mark.end))
            .filter(|&(_, end)| end > 0)
            .collect();
        if recovery.has_marks {
            // The list itself says that it has not ended.
            expected.extend(ends.range(newest_mark..));
        }
        for (generation, end) in expected {
            let mut found = recovery.replay.iter();
            let is_found = found.any(|found| found.generation == generation);
            if !is_found && !recovery.freed.contains(&generation) {
                recovery.damages += 1;
                let text = format!(
                    "store: the segment of generation {generation} with {end} bytes is missing: what was in it is lost"
                );
                self.core.insist(Severity::Error, text);
            }
        }
        if !recovery.has_marks && !recovery.replay.is_empty() {
            let text =
                "store: no list of segments was found: all that are there are used".to_owned();
            self.core.insist(Severity::Warning, text);
        }
        self.core.log.resume(1, highest + 1);
        recovery.surveys = surveys;
    }

    /// Uses the checkpoint, if it can be used; then replay begins.
    fn restore(&mut self, recovery: &mut Recovery) {
        recovery.stage = Stage::Replay;
        if let Some(restore) = recovery.restore.take() {
            if restore.is_open {
                let work = Work::Close {
                    file: super::checkpoint::READ_FILE,
                };
                self.core.requests.submit(work, Purpose::Forgotten);
            }
            // Places in it are of use only if it is known which segment has which number.
            let known = recovery
                .replay
                .iter()
                .all(|mark| recovery.marks.contains_key(&mark.generation));
            if restore.is_done && !restore.is_bad && known && recovery.has_marks {
                self.apply_checkpoint(recovery, restore);
            } else {
                self.checkpoints.distrust();
                let text = "store: the checkpoint is damaged, or not of these segments: the whole journal is read".to_owned();
                self.core.insist(Severity::Warning, text);
            }
        }
        let order = recovery.replay.iter().filter_map(|mark| {
            let file = self.core.log.segment(mark.slot)?.file?;
            Some((file, self.core.log.files.bytes(file)))
        });
        recovery.wanted = order.collect();
    }

    fn apply_checkpoint(&mut self, recovery: &mut Recovery, restore: Restore) {
        self.checkpoints.there = Some(restore.generation);
        self.checkpoints.bytes = restore.bytes();
        self.next_number = restore.next_stream;
        recovery.replay_from = (restore.generation, restore.offset);
        let log = &mut self.core.log;
        for (slot, &bytes) in restore.weights.iter().enumerate() {
            log.enliven(slot as Slot, bytes as usize);
        }
        let segments = restore.segments.iter();
        let gone = segments.filter(|&(&generation, saved)| {
            let there = log.segment(saved.slot).map(|segment| segment.generation);
            there != Some(generation)
        });
        let gone: BTreeSet<Slot> = gone.map(|(_, saved)| saved.slot).collect();
        for mut stream in restore.file_streams {
            recovery
                .strays
                .gather(&mut stream, |slot| gone.contains(&slot));
            let notes = stream.notes.values().flat_map(|note| &note.spots);
            for &(slot, bytes) in notes.chain(&stream.meta_at) {
                log.enliven(slot, bytes);
            }
            self.file_streams.insert(stream.number, Box::new(stream));
        }
        for (generation, saved) in restore.segments {
            let Some(segment) = self.core.log.segment(saved.slot) else {
                continue;
            };
            if segment.generation != generation {
                continue;
            }
            // The newest one's end stands nowhere else if nothing was written after the checkpoint.
            let end = segment.end.max(saved.end);
            let live = segment.live_bytes + saved.remains.logged_again;
            let logged = saved.logged_bytes;
            self.core.log.restored(saved.slot, end, live, logged);
            *self.core.remains(saved.slot) = saved.remains;
        }
        recovery
            .replay
            .retain(|mark| mark.generation >= restore.generation);
        let next_generation = self.core.log.next_generation();
        self.core.log.resume(restore.next_frame, next_generation);
    }

    fn replay(&mut self, recovery: &mut Recovery, whole: &Whole) {
        let Some(mark) = recovery.replay.pop_front() else {
            return;
        };
        let expected = Expected {
            generation: mark.generation,
            end: (mark.end > 0).then_some(mark.end as usize),
            from: if recovery.replay_from.0 == mark.generation {
                recovery.replay_from.1
            } else {
                0
            },
            after: self.core.log.written(),
            is_sealed: !recovery.replay.is_empty(),
        };
        let seal = self.core.log.take_seal(mark.slot);
        let found = scan(&whole.buffer, expected, &mut |piece| match piece {
            Piece::Record(offset, raw) => {
                let place = (mark.slot, mark.generation, offset);
                if !self.apply(recovery, place, &raw, seal.as_ref()) {
                    let damage = Damage {
                        from: offset,
                        to: offset + raw.bytes.len(),
                    };
                    note_damage(recovery, whole, mark.generation, damage);
                }
            }
            Piece::Damage(damage) => note_damage(recovery, whole, mark.generation, damage),
        });
        if found.torn_bytes > 0 {
            let text = format!(
                "store: {} ends with a write of {} bytes at offset {} that was not finished: it is left out",
                whole.file.name(),
                found.torn_bytes,
                found.end
            );
            self.core.insist(Severity::Info, text);
        }
        self.checkpoints
            .pay(found.end.saturating_sub(expected.from));
        self.core
            .log
            .replayed(mark.slot, found.end, seal, found.last_number);
    }

    /// Tells of what was found; how many damages there are, without what was being erased.
    fn report_damages(&mut self, recovery: &Recovery) -> u64 {
        let mut damages = recovery.damages;
        for &(file, generation, mut damage, unreadable) in &recovery.found {
            // What was to be erased is as good as that, and it is done again. What lies behind it is not.
            while damage.from < damage.to
                && let Some(logged) = recovery.erased.get(&(generation, damage.from))
                && let Some(length) = logged.length
            {
                damage.from += record::padded(length);
            }
            if damage.from >= damage.to {
                damages -= 1;
                continue;
            }
            let why = if unreadable {
                "cannot be read"
            } else {
                "is not what was written"
            };
            let text = format!(
                "store: {} {why} from offset {} to {}: messages, removals and facts that were there are lost",
                file.name(),
                damage.from,
                damage.to
            );
            self.core.insist(Severity::Error, text);
        }
        damages
    }

    /// What a record means. False when it does not make sense.
    fn apply(
        &mut self,
        recovery: &mut Recovery,
        (slot, generation, offset): (Slot, u64, usize),
        raw: &Raw<'_>,
        seal: Option<&Seal>,
    ) -> bool {
        let number = raw.stream;
        if recovery.deleted.contains(&number.0) {
            return true;
        }
        let mut opened = std::mem::take(&mut self.core.opened);
        let body = match seal.filter(|_| raw.kind.is_sealed()) {
            Some(seal) => {
                let head = raw.kind.head_bytes();
                if !seal.decrypt((generation, offset), raw.bytes, head, &mut opened) {
                    self.core.opened = opened;
                    return false;
                }
                &opened[..]
            }
            None => raw.body(),
        };
        let place = (slot, generation, offset);
        let good = self.apply_body(recovery, place, raw, body).is_some();
        self.core.opened = opened;
        good
    }

    fn apply_body(
        &mut self,
        recovery: &mut Recovery,
        place: (Slot, u64, usize),
        raw: &Raw<'_>,
        body: &[u8],
    ) -> Option<()> {
        let (slot, generation, _) = place;
        let number = raw.stream;
        let weight = record::padded(raw.bytes.len());
        match raw.kind {
            Kind::Message => self.apply_message(recovery, place, raw, body)?,
            Kind::Removed => self.apply_removed(recovery, place, number, body)?,
            Kind::Stream => {
                let (options, rest) = body.split_first()?;
                let length = record::u32_at(rest, 0)? as usize;
                let key = rest.get(4..4usize.checked_add(length)?)?;
                let meta = &rest[4 + length..];
                let stream = stream_of(&mut self.file_streams, number, &self.hash);
                stream.key = key.into();
                stream.meta = meta.into();
                stream.options.compress = options & 1 != 0;
                recovery.strays.names.remove(&number);
                self.core.log.enliven(slot, weight);
                if let Some((old, bytes)) = stream.meta_at.replace((slot, weight)) {
                    self.core.log.kill(old, bytes);
                }
            }
            Kind::Deleted => {
                recovery.deleted.insert(number.0);
                self.core.remains(slot).deleted.push(number);
                self.next_number = self.next_number.max(number.0.saturating_add(1));
                if let Some(mut stream) = self.file_streams.remove(&number) {
                    self.core.bury_stream(&mut stream);
                }
                return Some(());
            }
            Kind::Skip => {
                let last = record::u64_at(body, 0)?;
                let time = record::u64_at(body, 8)? as i64;
                let stream = stream_of(&mut self.file_streams, number, &self.hash);
                stream.reaches(last.saturating_add(1), last, recovery.damages);
                if last >= stream.index.state().last_seq {
                    stream.index.skip_to(last, time);
                    stream.last_shown_in = generation;
                }
            }
            Kind::Note => {
                let note = record::u32_at(body, 0)?;
                let stream = stream_of(&mut self.file_streams, number, &self.hash);
                stream
                    .notes
                    .entry(note)
                    .or_default()
                    .add(&body[4..], (slot, weight));
                self.core.log.enliven(slot, weight);
            }
            Kind::Notes => self.apply_notes(recovery, place, raw, body)?,
            Kind::Erase => {
                let place = (record::u64_at(body, 0)?, record::u32_at(body, 8)? as usize);
                let length = record::u32_at(body, 12).map(|length| length as usize);
                let logged = recovery.erased.entry(place).or_default();
                logged.length = length.or(logged.length);
                logged.generation = generation;
                return Some(());
            }
            Kind::Segments | Kind::Freed | Kind::Erased => return Some(()),
        }
        self.next_number = self.next_number.max(number.0.saturating_add(1));
        Some(())
    }

    fn apply_message(
        &mut self,
        recovery: &Recovery,
        (slot, generation, offset): (Slot, u64, usize),
        raw: &Raw<'_>,
        body: &[u8],
    ) -> Option<()> {
        let head = raw.message()?;
        let subject = body.get(..head.subject_bytes as usize)?;
        let rest = body.len() - subject.len();
        let rest = if head.encoding & record::encoding::COMPRESSED == 0 {
            rest
        } else {
            record::u32_at(body, subject.len())? as usize
        };
        let payload = rest.checked_sub(head.headers_bytes as usize)?;
        let counted = counted_bytes(subject.len(), head.headers_bytes as usize, payload, true);
        if head.seq == 0
            || head.seq == Seq::MAX
            || counted as usize > super::location::RECORD_BYTES_MAX
        {
            return None;
        }
        let arrival = Arrival {
            subject,
            location: Location::new(slot, offset, counted as usize).to_bits(),
            flags: head.flags,
            time: head.time,
            counted_bytes: counted,
        };
        let core = &mut self.core;
        core.log.enliven(slot, counted as usize);
        let stream = stream_of(&mut self.file_streams, raw.stream, &self.hash);
        stream.reaches(head.seq, head.seq, recovery.damages);
        if head.seq >= stream.index.state().last_seq {
            stream.last_shown_in = generation;
        }
        if let Some(old) = stream.index.insert(head.seq, &arrival)
            && let Some(old) = Location::from_bits(old)
        {
            core.log.kill(old.slot(), old.counted_bytes());
        }
        Some(())
    }

    fn apply_removed(
        &mut self,
        recovery: &Recovery,
        (slot, generation, _): (Slot, u64, usize),
        number: StreamNumber,
        body: &[u8],
    ) -> Option<()> {
        let ranges = record::ranges(body)?;
        let core = &mut self.core;
        let stream = stream_of(&mut self.file_streams, number, &self.hash);
        let seen = stream.damages_seen;
        for &(first, last) in &ranges {
            stream.damages_seen = seen;
            stream.reaches(first, last, recovery.damages);
            core.remains(slot).removed(number, (first, last));
            stream
                .index
                .remove_range(first, last, &mut |known| bury(core, known));
            if last >= stream.index.state().last_seq {
                let time = stream.last_time();
                stream.index.skip_to(last, time);
                stream.last_shown_in = generation;
            }
        }
        Some(())
    }

    fn apply_notes(
        &mut self,
        recovery: &mut Recovery,
        (slot, generation, offset): (Slot, u64, usize),
        raw: &Raw<'_>,
        body: &[u8],
    ) -> Option<()> {
        let number = raw.stream;
        let weight = record::padded(raw.bytes.len());
        let note = record::u32_at(body, 0)?;
        record::strings(&body[4..])?;
        recovery.strays.notes.remove(&(number, note));
        let stream = stream_of(&mut self.file_streams, number, &self.hash);
        let kept = stream.notes.entry(note).or_default();
        for (old, bytes) in kept.spots.drain(..) {
            self.core.log.kill(old, bytes);
        }
        if body.len() == 4 {
            stream.notes.remove(&note);
            self.core.remains(slot).forgotten.push((number, note));
        } else {
            kept.facts.clear();
            kept.facts.extend_from_slice(&body[4..]);
            kept.bytes = 0;
            kept.spots.push((slot, weight));
            kept.reset = Some((generation, offset));
            self.core.log.enliven(slot, weight);
        }
        Some(())
    }

    /// All is read: what is doubtful is told, and the log goes on behind it.
    fn finish_recovery(&mut self, recovery: &Recovery) {
        let damages = self.report_damages(recovery);
        for (&place, &logged) in &recovery.erased {
            let mut segments = self.core.log.segments();
            if let Some((slot, _)) = segments.find(|(_, segment)| segment.generation == place.0) {
                self.core.erasure.add_again(slot, place, logged);
            }
        }
        let mut lines = Vec::new();
        for number in self.filed() {
            let Some(stream) = self.file_streams.get_mut(&number) else {
                continue;
            };
            let state = *stream.index.state();
            stream.durable_seq = state.last_seq;
            let key = String::from_utf8_lossy(&stream.key);
            let mut doubtful = std::mem::take(&mut stream.doubtful);
            if damages == 0 {
                // What is not there was removed.
                doubtful.clear();
            }
            for (first, last) in doubtful {
                lines.push(format!(
                    "store: of {key}, messages {first} to {last} are not there; they may be among what is lost"
                ));
            }
            if stream.key.is_empty() {
                lines.push(format!(
                    "store: {} messages of a stream (number {}) are there whose name is lost",
                    state.messages, stream.number.0
                ));
            }
        }
        for text in lines {
            self.core.insist(Severity::Error, text);
        }
        if damages > 0 {
            let text = "store: opened in spite of damage; what is not damaged is served".to_owned();
            self.core.insist(Severity::Warning, text);
        }
        self.compaction.hint();
        self.core.changes = 0;
        self.log_strays(recovery);
    }

    /// Logs what only the checkpoint knows. Where there is no room, it is tried again when the store is opened next.
    fn log_strays(&mut self, recovery: &Recovery) {
        let filed = self.filed();
        let core = &mut self.core;
        for number in &recovery.strays.names {
            if let Some(stream) = self.file_streams.get_mut(number)
                && !stream.key.is_empty()
            {
                let meta = stream.meta.clone();
                let _ = log_stream(core, stream, &meta, Need::Housekeeping);
            }
        }
        for (number, note) in &recovery.strays.notes {
            if let Some(stream) = self.file_streams.get_mut(number) {
                let _ = FileHandle {
                    core,
                    stream,
                    eager: false,
                }
                .log_notes_again(*note);
            }
        }
        for number in filed {
            let Some(stream) = self.file_streams.get_mut(&number) else {
                continue;
            };
            let state = *stream.index.state();
            let shown_in = stream.last_shown_in;
            let mut segments = core.log.segments();
            if state.last_seq == 0 || segments.any(|(_, segment)| segment.generation == shown_in) {
                continue;
            }
            drop(segments);
            let _ = FileHandle {
                core,
                stream,
                eager: false,
            }
            .show_last();
        }
    }
}

fn note_damage(recovery: &mut Recovery, whole: &Whole, generation: u64, damage: Damage) {
    recovery.damages += 1;
    recovery
        .found
        .push((whole.file, generation, damage, whole.unreadable > 0));
}

/// Files that do not seem to be among the segments, and of which only the first block is known.
fn spares(recovery: &Recovery) -> std::collections::VecDeque<(FileNumber, u64)> {
    let is_spare = |survey: &&Survey| match survey.head {
        Some(head) => {
            let is_live = recovery.marks.contains_key(&head.generation)
                && !recovery.freed.contains(&head.generation);
            recovery.has_marks && !is_live
        }
        None => true,
    };
    let unknown = recovery.surveys.iter().filter(|survey| !survey.is_searched);
    let found = unknown.filter(is_spare);
    found.map(|survey| (survey.file, survey.bytes)).collect()
}

/// Looks in all of a file for frames of a later generation than its first block has: then its first frame is lost. If
/// the list has that generation, or is older, it is a segment.
fn look_through(recovery: &mut Recovery, whole: &Whole) {
    let newest_mark = recovery.marks.keys().next_back().copied().unwrap_or(0);
    let found = newest_frame(&whole.buffer);
    let is_elsewhere = |generation: u64| {
        let mut others = recovery.surveys.iter();
        others.any(|survey| {
            let known = survey.head.map(|head| head.generation);
            survey.file != whole.file && known == Some(generation)
        })
    };
    let found = found.filter(|head| !is_elsewhere(head.generation));
    let mut surveys = recovery.surveys.iter_mut();
    let Some(survey) = surveys.find(|survey| survey.file == whole.file) else {
        return;
    };
    survey.is_searched = true;
    let Some(head) = found else {
        return;
    };
    let is_later = survey
        .head
        .is_none_or(|known| known.generation < head.generation);
    let is_listed = recovery.marks.contains_key(&head.generation);
    let is_newer = head.generation > newest_mark.max(recovery.highest);
    if is_later && (is_listed || is_newer) && !recovery.freed.contains(&head.generation) {
        survey.head = Some(head);
        recovery.has_lost_head |= is_newer;
    }
}

/// The newest file whose records were not searched for marks.
fn newest(recovery: &Recovery) -> Option<(FileNumber, u64)> {
    let there = recovery.surveys.iter().filter_map(|survey| {
        let generation = survey.head?.generation;
        (!recovery.searched.contains(&generation)).then_some((generation, survey))
    });
    let (_, survey) = there.max_by_key(|(generation, _)| *generation)?;
    Some((survey.file, survey.bytes))
}

fn stream_of<'a>(
    file_streams: &'a mut std::collections::HashMap<
        StreamNumber,
        Box<FileStream>,
        foldhash::fast::RandomState,
    >,
    number: StreamNumber,
    hash: &crate::subject::SubjectHash,
) -> &'a mut FileStream {
    file_streams
        .entry(number)
        .or_insert_with(|| Box::new(FileStream::new(number, hash.clone())))
}
