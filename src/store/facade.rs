//! The store of one shard: its streams, and the turns of its shell.

use std::collections::HashMap;

use super::cache::Cache;
use super::checkpoint::{self, Checkpoints};
use super::compaction::Compaction;
use super::core::{Core, Debris, Line, News, Severity};
use super::file_stream::FileStream;
use super::handle::FileHandle;
use super::io::{Completion, Failure, Listed, Submission, Work};
use super::journal::StreamNumber;
use super::journal::files::Files;
use super::journal::log::{Log, Need};
use super::journal::record::{self, Kind, StreamOptions};
use super::journal::seal::{Key, Keys};
use super::memory;
use super::recovery::Recovery;
use super::requests::Purpose;
use super::restore::Restore;
use super::{
    Fetched, Messages, NewMessage, Refused, Selection, Seq, State, SubjectState, UnixNanos,
};
use crate::base::deadlines::Millis;
use crate::base::prng::Prng;
use crate::subject::SubjectHash;

/// How long after a refusal of the disk a write is tried again.
const RETRY_MS: Millis = 250;

/// When acknowledgements leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// When what they acknowledge is on stable storage.
    #[default]
    Always,
    /// At once; all is brought to stable storage every so many milliseconds.
    Interval(Millis),
}

/// How a store is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of segment files at first; they become longer, up to 64 MiB, as the store grows.
    pub segment_bytes: u64,
    /// Bytes that are free on the disk, as far as is known.
    pub room_bytes: u64,
    /// What was read or written is kept in memory up to this.
    pub cache_bytes: usize,
    /// A checkpoint is made when so much was written since the last, or twice what that one takes.
    pub checkpoint_bytes: u64,
    /// When acknowledgements leave.
    pub sync: Sync,
    /// What is written is encrypted with it.
    pub key: Option<Key>,
    /// What was written may be encrypted with this.
    pub previous_key: Option<Key>,
    /// A random number, another at each start: what keys of segments are derived with.
    pub seed: u64,
    /// The hash for subjects.
    pub hash: SubjectHash,
}

impl Options {
    /// Without encryption, with everything else as it should be.
    pub fn new(seed: u64) -> Self {
        Self {
            segment_bytes: 16 << 20,
            room_bytes: u64::MAX,
            cache_bytes: 32 << 20,
            checkpoint_bytes: 64 << 20,
            sync: Sync::Always,
            key: None,
            previous_key: None,
            seed,
            hash: SubjectHash::new(seed),
        }
    }
}

impl Options {
    /// Has subjects hashed with this secret, which is another at each start.
    pub fn seed_hash(&mut self, seed: u64) {
        self.hash = SubjectHash::new(seed);
    }
}

/// What a store takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of its files.
    pub disk_bytes: u64,
    /// Of that, what is needed.
    pub live_bytes: u64,
    /// Bytes of blocks kept in memory.
    pub cache_bytes: usize,
    /// Segments with records.
    pub segments: usize,
}

/// A memory stream with what the facade knows of it.
#[derive(Debug)]
struct InMemory {
    key: Box<[u8]>,
    meta: Box<[u8]>,
    messages: memory::Stream,
}

/// See the module.
#[derive(Debug)]
pub struct Store {
    pub(super) core: Core,
    pub(super) file_streams: HashMap<StreamNumber, Box<FileStream>, foldhash::fast::RandomState>,
    memories: HashMap<StreamNumber, Box<InMemory>, foldhash::fast::RandomState>,
    pub(super) next_number: u32,
    pub(super) recovery: Option<Box<Recovery>>,
    pub(super) failed: Option<String>,
    pub(super) keys: Keys,
    sync: Sync,
    /// A sync of what was only written is under way: up to this frame.
    syncing: Option<u64>,
    /// Files of that which are not done.
    syncs: usize,
    sync_at: Option<Millis>,
    /// A write was refused for want of space and is tried again then.
    retry_at: Option<Millis>,
    pub(super) hash: SubjectHash,
    pub(super) compaction: Compaction,
    pub(super) checkpoints: Checkpoints,
    is_closing: bool,
    was_full: bool,
}

impl Store {
    /// Opens what is in the directory. Nothing can be asked of it before [`Store::is_ready`].
    pub fn open(options: &Options, listed: &[Listed], now: Millis) -> Self {
        let keys = Keys::new(options.key.as_ref(), options.previous_key.as_ref());
        let files = Files::new(listed, options.segment_bytes, options.room_bytes);
        let mut recovery = Recovery::new(files.opening());
        let saved = listed.iter().find(|file| file.name == checkpoint::NAME);
        recovery.restore = saved.map(|file| Restore::new(file.bytes));
        let log = Log::new(files, keys.clone(), Prng::new(options.seed));
        let mut core = Core::new(log, Cache::new(options.cache_bytes), now);
        if listed.iter().any(|file| file.name == checkpoint::NEW_NAME) {
            // It was not finished.
            let work = Work::Remove {
                name: checkpoint::NEW_NAME.to_owned(),
            };
            core.requests.submit(work, Purpose::Forgotten);
        }
        if recovery.restore.is_some() {
            let work = Work::Open {
                file: checkpoint::READ_FILE,
                name: checkpoint::NAME.to_owned(),
            };
            core.requests.submit(work, Purpose::OpenCheckpoint);
        }
        recovery.ask(&mut core.requests);
        let mut this = Self {
            core,
            file_streams: HashMap::default(),
            memories: HashMap::default(),
            next_number: 1,
            recovery: Some(Box::new(recovery)),
            failed: None,
            keys,
            sync: options.sync,
            syncing: None,
            syncs: 0,
            sync_at: None,
            retry_at: None,
            hash: options.hash.clone(),
            compaction: Compaction::default(),
            checkpoints: Checkpoints::new(options.checkpoint_bytes),
            is_closing: false,
            was_full: false,
        };
        this.recover();
        this
    }

    /// Whether what was there is known, and streams can be used.
    pub fn is_ready(&self) -> bool {
        self.recovery.is_none()
    }

    /// Why it will never be ready, in words for the operator.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// All streams there are, in order.
    pub fn streams(&self) -> impl Iterator<Item = StreamNumber> + use<> {
        let all = self
            .file_streams
            .keys()
            .chain(self.memories.keys())
            .copied();
        let mut numbers: Vec<_> = all.collect();
        numbers.sort_unstable();
        numbers.into_iter()
    }

    /// Those on the disk, in order: what is written for all of them is so the same in each run of a simulation.
    pub(super) fn filed(&self) -> Vec<StreamNumber> {
        let mut numbers: Vec<_> = self.file_streams.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// What a stream was named; empty when the record with its name is damaged.
    pub fn key(&self, number: StreamNumber) -> Option<&[u8]> {
        match self.file_streams.get(&number) {
            Some(stream) => Some(&stream.key),
            None => self.memories.get(&number).map(|memory| &memory.key[..]),
        }
    }

    /// What its owner has said of it.
    pub fn meta(&self, number: StreamNumber) -> Option<&[u8]> {
        match self.file_streams.get(&number) {
            Some(stream) => Some(&stream.meta),
            None => self.memories.get(&number).map(|memory| &memory.meta[..]),
        }
    }

    /// Tells all facts of a stream: numbers in no order, facts of a number in theirs.
    pub fn notes(&self, number: StreamNumber, each: &mut dyn FnMut(u32, &[u8])) {
        let Some(stream) = self.file_streams.get(&number) else {
            return;
        };
        for (&note, kept) in &stream.notes {
            for fact in record::strings(&kept.facts).unwrap_or_default() {
                each(note, fact);
            }
        }
    }

    /// Makes a stream. `key` is what it is found again by, `meta` what its owner wants to know
    /// then.
    ///
    /// # Errors
    /// When there is no room, or no record that long.
    pub fn create_stream(
        &mut self,
        key: &[u8],
        meta: &[u8],
        options: StreamOptions,
    ) -> Result<StreamNumber, Refused> {
        let number = StreamNumber(self.next_number);
        if options.memory {
            let memory = InMemory {
                key: key.into(),
                meta: meta.into(),
                messages: memory::Stream::new(self.hash.clone()),
            };
            self.memories.insert(number, Box::new(memory));
        } else {
            let mut stream = Box::new(FileStream::new(number, self.hash.clone()));
            stream.key = key.into();
            stream.options = options;
            log_stream(&mut self.core, &mut stream, meta, Need::Content)?;
            self.file_streams.insert(number, stream);
        }
        self.next_number += 1;
        Ok(number)
    }

    /// Replaces what the owner wants to know, and whether messages are compressed from now on.
    ///
    /// # Errors
    /// As [`Store::create_stream`].
    pub fn set_meta(
        &mut self,
        number: StreamNumber,
        meta: &[u8],
        compress: bool,
    ) -> Result<(), Refused> {
        if let Some(memory) = self.memories.get_mut(&number) {
            memory.meta = meta.into();
        }
        if let Some(stream) = self.file_streams.get_mut(&number) {
            self.core.log_removed(stream)?;
            let before = std::mem::replace(&mut stream.options.compress, compress);
            let logged = log_stream(&mut self.core, stream, meta, Need::Housekeeping);
            if logged.is_err() {
                stream.options.compress = before;
            }
            logged?;
        }
        Ok(())
    }

    /// Deletes a stream with all that is of it. Whether it was there.
    pub fn delete_stream(&mut self, number: StreamNumber) -> bool {
        if let Some(memory) = self.memories.remove(&number) {
            memory.messages.end(&mut self.core.debris);
            return true;
        }
        let Some(mut stream) = self.file_streams.remove(&number) else {
            return false;
        };
        let core = &mut self.core;
        core.bury_stream(&mut stream);
        core.changes += 1;
        core.deferred.push((number, None));
        // If it has to wait, `log_deferred` is called again before each flush.
        let _ = core.log_deferred();
        true
    }

    /// A stream's messages.
    pub fn stream(&mut self, number: StreamNumber) -> Option<Handle<'_>> {
        if let Some(stream) = self.file_streams.get_mut(&number) {
            return Some(Handle(Either::File(FileHandle {
                core: &mut self.core,
                stream,
                eager: self.sync != Sync::Always,
            })));
        }
        let memory = self.memories.get_mut(&number)?;
        let debris = &mut self.core.debris;
        Some(Handle(Either::Memory(&mut memory.messages, debris)))
    }

    /// What must be durable for what has happened so far to be: an acknowledgement of now leaves
    /// when [`Store::durable`] is not below.
    pub fn position(&self) -> u64 {
        self.core.changes
    }

    /// See [`Store::position`].
    pub fn durable(&self) -> u64 {
        match self.sync {
            Sync::Always => self.core.durable_changes,
            Sync::Interval(_) => self.core.changes,
        }
    }

    /// Bytes accepted and not yet written. Publishers should be held back when it is some MiB.
    pub fn backlog_bytes(&self) -> usize {
        self.core.log.backlog_bytes()
    }

    /// Why a message would be refused now, if it would.
    pub fn refusal(&self) -> Option<Refused> {
        self.core.log.refusal()
    }

    /// What it takes.
    pub fn usage(&self) -> Usage {
        let log = &self.core.log;
        Usage {
            disk_bytes: log.files.total_bytes(),
            live_bytes: log.segments().map(|(_, segment)| segment.live_bytes).sum(),
            cache_bytes: self.core.cache.bytes(),
            segments: log.segments().count(),
        }
    }

    /// What has become possible since this was called last.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.core.news)
    }

    /// What is to be said in the log.
    pub fn take_log(&mut self) -> Vec<Line> {
        self.core.take_lines()
    }

    /// When [`Store::tick`] is wanted.
    pub fn next_deadline(&self) -> Option<Millis> {
        let times = [
            (!self.core.debris.is_empty()).then_some(self.core.now),
            self.core.log.files.next_deadline(),
            self.sync_at,
            self.retry_at,
            self.compaction.next_deadline(),
        ];
        times.into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Millis) {
        self.core.now = now;
        self.core.shrink_debris();
        self.core.log.files.tick(now);
        if self.core.log.files.is_full() {
            // Less is worth it then.
            self.compaction.hint();
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        if self.sync_at.is_some_and(|at| at <= now) {
            self.sync_at = None;
            self.sync();
        }
    }

    /// Ends a turn: hands out what is to be done, and starts a flush if none is under way and
    /// something is to be written.
    pub fn submit(&mut self, out: &mut Vec<Submission>) {
        if self.recovery.is_none() {
            if !self.is_closing {
                self.compact();
            }
            self.flush();
            let wanted = self.is_closing && self.is_checkpoint_wanted();
            self.checkpoint(wanted);
        }
        self.core.requests.drain(out);
    }

    /// Begins to end: everything is written, then a checkpoint. Go on with `submit` and `handle` until
    /// [`Store::is_shut_down`]; nothing may be changed any more.
    pub fn shut_down(&mut self) {
        self.is_closing = true;
    }

    /// Whether there is nothing left to do.
    pub fn is_shut_down(&self) -> bool {
        let log = &self.core.log;
        let stuck = log.is_poisoned() || self.retry_at.is_some() || log.files.is_full();
        let rested = !log.is_flushing()
            && self.checkpoints.is_idle()
            && (stuck || self.core.erasure.is_idle());
        self.is_closing && rested && (stuck || log.is_idle() && !self.is_checkpoint_wanted())
    }

    /// Whether something has changed since the last checkpoint, and it makes sense to make one.
    fn is_checkpoint_wanted(&self) -> bool {
        self.failed.is_none()
            && self.recovery.is_none()
            && self.checkpoints.is_of_use(self.core.changes, self.core.now)
    }

    fn flush(&mut self) {
        let core = &mut self.core;
        if self.retry_at.is_some() || core.log.is_flushing() || core.log.is_poisoned() {
            return;
        }
        let complete = core.log_deferred().is_ok() & self.log_removed();
        if complete {
            self.erase();
        }
        let core = &mut self.core;
        if complete {
            core.cover();
        }
        core.log
            .flush(self.sync == Sync::Always, &mut core.requests);
        self.tell_space();
        let core = &mut self.core;
        if self.is_closing && core.log.is_idle() && core.log.durable() < core.log.written() {
            self.sync();
        }
    }

    /// Logs what was removed since the last flush, as far as there is room.
    fn log_removed(&mut self) -> bool {
        while let Some(&number) = self.core.removers.last() {
            if let Some(stream) = self.file_streams.get_mut(&number) {
                if self.core.log_removed(stream).is_err() {
                    return false;
                }
                stream.has_removed = false;
            }
            self.core.removers.pop();
        }
        true
    }

    /// Something was done, or not.
    pub fn handle(&mut self, completion: Completion) {
        let Some(purpose) = self.core.requests.complete(completion.ticket) else {
            return;
        };
        let result = completion.result;
        let buffer = completion.buffer.unwrap_or_default();
        let core = &mut self.core;
        match purpose {
            Purpose::Flush => self.flushed(result),
            Purpose::Sync => self.synced(result),
            Purpose::CreateSegment(file) => {
                core.log
                    .files
                    .created(file, result, core.now, &mut core.requests);
                self.tell_space();
            }
            Purpose::CloseSegment(file) => core.log.files.closed(file, &mut core.requests),
            Purpose::RemoveSegment(file) => core.log.files.removed(file),
            Purpose::Block {
                slot,
                generation,
                block,
                base,
            } => core.block_arrived((slot, generation, block), base, result, buffer),
            Purpose::Piece {
                slot,
                generation,
                block,
                piece,
            } => {
                let name = (slot, generation, block);
                core.cache.piece_arrived(name, piece, result, &buffer);
                core.news.reads = true;
            }
            Purpose::Compact(generation) => self.window_arrived(generation, result, &buffer),
            Purpose::Checkpoint => self.checkpoint_done(result),
            Purpose::OpenCheckpoint => {
                if let Some(mut recovery) = self.recovery.take() {
                    if let Some(restore) = &mut recovery.restore {
                        restore.is_open = result.is_ok();
                        restore.is_bad = result.is_err();
                        restore.ask(&mut self.core.requests);
                    }
                    self.recovery = Some(recovery);
                }
                self.recover();
            }
            Purpose::Restore(offset) => {
                if let Some(mut recovery) = self.recovery.take() {
                    if let Some(restore) = &mut recovery.restore {
                        restore.arrived(offset, result, buffer, self);
                        restore.ask(&mut self.core.requests);
                    }
                    self.recovery = Some(recovery);
                }
                self.recover();
            }
            Purpose::DiscardCheckpoint => {
                let work = Work::Remove {
                    name: checkpoint::NEW_NAME.to_owned(),
                };
                core.requests.submit(work, Purpose::Forgotten);
            }
            Purpose::Erase => self.erase_step(result, buffer),
            Purpose::Forgotten => {}
            Purpose::OpenSegment(file) => {
                self.segment_opened(file, result);
                self.recover();
            }
            Purpose::Recover {
                file,
                offset,
                bytes,
            } => {
                if let Some(recovery) = &mut self.recovery {
                    let requests = &mut core.requests;
                    recovery.arrived((file, offset, bytes), result, buffer, requests);
                }
                self.recover();
            }
        }
    }

    fn flushed(&mut self, result: Result<usize, Failure>) {
        let core = &mut self.core;
        match result {
            Ok(_) => {
                let Some(frame) = core.log.flushed(self.sync == Sync::Always) else {
                    return;
                };
                let bytes = &frame.buffer[..frame.span];
                self.compaction.pay(frame.span);
                self.checkpoints.pay(frame.span);
                core.cache
                    .wrote(frame.slot, frame.generation, frame.start, bytes);
                core.log.give_back(frame);
                core.log.files.accepted();
                match self.sync {
                    Sync::Always => self.settle(),
                    Sync::Interval(interval) => {
                        self.sync_at.get_or_insert(core.now + interval);
                    }
                }
                self.tell_space();
            }
            Err(Failure::Full) => {
                core.log.not_flushed();
                core.log.files.refused(core.now);
                self.retry_at = Some(core.now + RETRY_MS);
                self.tell_space();
            }
            Err(failure) => {
                core.log.not_flushed();
                core.poison(&format!("a flush of the journal has failed ({failure:?})"));
            }
        }
    }

    /// What is durable now follows.
    fn settle(&mut self) {
        let core = &mut self.core;
        core.settle();
        core.news.durable = true;
        self.compaction.hint();
        let durable = core.log.durable();
        while let Some((frame, _)) = core.touched.front()
            && *frame <= durable
        {
            let (_, list) = core.touched.pop_front().expect("it is there");
            for (number, seq) in list {
                if let Some(stream) = self.file_streams.get_mut(&number) {
                    stream.durable_seq = stream.durable_seq.max(seq);
                }
            }
        }
        while let Some((slot, _)) = core.log.freed(&mut core.requests) {
            core.cache.forget(slot);
            *core.remains(slot) = super::core::Remains::default();
        }
    }

    /// With an interval: has what was written brought to stable storage.
    fn sync(&mut self) {
        let core = &mut self.core;
        if self.syncing.is_some() || core.log.is_poisoned() {
            return;
        }
        let files = core.log.take_unsynced();
        self.syncing = Some(core.log.written());
        self.syncs = files.len();
        for file in files {
            core.requests
                .submit(Work::Sync { file: file.id() }, Purpose::Sync);
        }
        if self.syncs == 0 {
            self.syncing = None;
        }
    }

    fn synced(&mut self, result: Result<usize, Failure>) {
        if let Err(failure) = result {
            self.core
                .poison(&format!("a sync of the journal has failed ({failure:?})"));
            return;
        }
        self.syncs -= 1;
        if self.syncs == 0
            && let Some(frame) = self.syncing.take()
        {
            self.core.log.synced(frame);
            self.settle();
            if self.core.log.written() > frame
                && let Sync::Interval(interval) = self.sync
            {
                self.sync_at.get_or_insert(self.core.now + interval);
            }
        }
    }

    /// Says when the disk has become full, or has room again.
    fn tell_space(&mut self) {
        let full = self.core.log.files.is_full();
        if full == self.was_full {
            return;
        }
        self.was_full = full;
        if full {
            let text =
                "store: the disk is full: messages are refused until space returns".to_owned();
            self.core.say(Severity::Error, text);
        } else {
            self.core.news.space = true;
            let text = "store: the disk has space again".to_owned();
            self.core.say(Severity::Info, text);
        }
    }
}

/// Logs a stream's name and what is to be known of it.
pub(super) fn log_stream(
    core: &mut Core,
    stream: &mut FileStream,
    meta: &[u8],
    need: Need,
) -> Result<(), Refused> {
    let length = (stream.key.len() as u32).to_le_bytes();
    let options = [u8::from(stream.options.compress)];
    let parts: [&[u8]; 4] = [&options, &length, &stream.key, meta];
    let spot = core.put(Kind::Stream, stream.number, &parts, need)?;
    if let Some((slot, bytes)) = stream.meta_at.replace((spot.slot, spot.bytes)) {
        core.log.kill(slot, bytes);
    }
    if *stream.meta != *meta {
        stream.meta = meta.into();
    }
    Ok(())
}

impl Core {
    /// Nothing of a stream is needed any more.
    pub(super) fn bury_stream(&mut self, stream: &mut FileStream) {
        self.bury_all(&mut stream.index);
        let notes = stream.notes.values().flat_map(|note| &note.spots);
        for &(slot, bytes) in notes.chain(&stream.meta_at) {
            self.log.kill(slot, bytes);
        }
    }
}

/// One stream's messages, borrowed from the store.
#[derive(Debug)]
pub struct Handle<'a>(Either<'a>);

#[derive(Debug)]
enum Either<'a> {
    File(FileHandle<'a>),
    Memory(&'a mut memory::Stream, &'a mut Vec<Box<dyn Debris>>),
}

/// The same call to whichever it is.
macro_rules! either {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match &$self.0 {
            Either::File(messages) => messages.$method($($argument),*),
            Either::Memory(messages, _) => messages.$method($($argument),*),
        }
    };
    (mut $self:ident.$method:ident($($argument:expr),*)) => {
        match &mut $self.0 {
            Either::File(messages) => messages.$method($($argument),*),
            Either::Memory(messages, _) => messages.$method($($argument),*),
        }
    };
}

impl Messages for Handle<'_> {
    fn state(&self) -> &State {
        either!(self.state())
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Seq, Refused> {
        either!(mut self.append(message))
    }

    fn skip_to(&mut self, last: Seq, time: UnixNanos) -> Result<(), Refused> {
        either!(mut self.skip_to(last, time))
    }

    fn remove(&mut self, seq: Seq, erase: bool) -> bool {
        either!(mut self.remove(seq, erase))
    }

    fn purge(&mut self, selection: &mut Selection, below: Seq, keep: u64) -> u64 {
        let purged = either!(mut self.purge(selection, below, keep));
        if let Either::Memory(messages, debris) = &mut self.0 {
            debris.append(&mut messages.debris);
        }
        purged
    }

    fn get(&mut self, seq: Seq) -> Fetched<'_> {
        either!(mut self.get(seq))
    }

    fn expect(&mut self, seqs: &[Seq]) {
        either!(mut self.expect(seqs));
    }

    fn subject(&self, subject: &[u8]) -> Option<SubjectState> {
        either!(self.subject(subject))
    }

    fn next(&self, selection: &mut Selection, from: Seq) -> Option<Seq> {
        either!(self.next(selection, from))
    }

    fn last(&self, selection: &mut Selection, up_to: Seq) -> Option<Seq> {
        either!(self.last(selection, up_to))
    }

    fn pending(&self, selection: &mut Selection, from: Seq) -> u64 {
        either!(self.pending(selection, from))
    }

    fn at_or_after(&self, time: UnixNanos) -> Seq {
        either!(self.at_or_after(time))
    }

    fn time_of(&self, seq: Seq) -> Option<UnixNanos> {
        either!(self.time_of(seq))
    }

    fn subject_of(&self, seq: Seq) -> Option<&[u8]> {
        either!(self.subject_of(seq))
    }

    fn last_of_each(&self, selection: &mut Selection, up_to: Seq, max: usize) -> Option<Vec<Seq>> {
        either!(self.last_of_each(selection, up_to, max))
    }

    fn each_subject(&self, selection: &mut Selection, each: &mut dyn FnMut(&[u8], SubjectState)) {
        either!(self.each_subject(selection, each));
    }

    fn count_subjects(&self, selection: &mut Selection) -> u64 {
        either!(self.count_subjects(selection))
    }

    fn holes(&self, max: usize) -> Vec<(Seq, Seq)> {
        either!(self.holes(max))
    }

    fn next_flagged(&self, flags: u8, from: Seq) -> Option<Seq> {
        either!(self.next_flagged(flags, from))
    }

    fn durable_seq(&self) -> Seq {
        either!(self.durable_seq())
    }

    fn note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused> {
        either!(mut self.note(note, fact))
    }

    fn rewrite_note(&mut self, note: u32, fact: &[u8]) -> Result<(), Refused> {
        either!(mut self.rewrite_note(note, fact))
    }

    fn forget_note(&mut self, note: u32) {
        either!(mut self.forget_note(note));
    }

    fn note_bytes(&self, note: u32) -> u64 {
        either!(self.note_bytes(note))
    }
}
