//! Reading a checkpoint back.

use std::collections::{BTreeMap, HashMap};

use super::Seq;
use super::checkpoint::{Bad, Head, READ_FILE, block, block_span, take_block};
use super::core::Remains;
use super::facade::Store;
use super::file_stream::{FileStream, Note};
use super::index::Loading;
use super::io::{AlignedBuffer, BLOCK_BYTES, Failure, Work};
use super::journal::StreamNumber;
use super::journal::record::{self, u32_at, u64_at};
use super::journal::seal::Seal;
use super::location::{Location, Slot};
use super::requests::{Purpose, Requests};
use crate::subject::SubjectHash;

/// Read at once, and how many such reads are under way.
const READ_BYTES: u64 = 1 << 20;
const READS: usize = 8;

/// What a checkpoint says of a segment.
#[derive(Debug)]
pub(crate) struct Saved {
    pub slot: Slot,
    pub end: usize,
    pub logged_bytes: u64,
    pub remains: Remains,
}

/// A checkpoint that is being read.
#[derive(Debug)]
pub(crate) struct Restore {
    bytes: u64,
    asked: u64,
    /// What has come, by offset, and what is not used yet.
    arrived: BTreeMap<u64, AlignedBuffer>,
    under_way: usize,
    at: u64,
    /// Buffers to read into again.
    spare: Vec<AlignedBuffer>,
    /// The beginning of a block whose end is still to come.
    carry: Vec<u8>,
    head: Option<(Head, Option<Seal>)>,
    number: u32,
    /// The stream whose pieces come.
    current: Option<(FileStream, Loading)>,
    pub file_streams: Vec<FileStream>,
    /// Where replay begins.
    pub generation: u64,
    pub offset: usize,
    pub next_frame: u64,
    pub next_stream: u32,
    pub segments: HashMap<u64, Saved>,
    /// Bytes of messages, by segment.
    pub weights: Vec<u64>,
    pub is_done: bool,
    pub is_bad: bool,
    pub is_open: bool,
}

impl Restore {
    pub fn new(bytes: u64) -> Self {
        Self {
            bytes: bytes / BLOCK_BYTES as u64 * BLOCK_BYTES as u64,
            asked: 0,
            arrived: BTreeMap::new(),
            under_way: 0,
            at: 0,
            spare: Vec::new(),
            carry: Vec::new(),
            head: None,
            number: 0,
            current: None,
            file_streams: Vec::new(),
            generation: 0,
            offset: 0,
            next_frame: 1,
            next_stream: 1,
            segments: HashMap::new(),
            weights: Vec::new(),
            is_done: false,
            is_bad: false,
            is_open: false,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Nothing more of it is under way.
    pub fn is_quiet(&self) -> bool {
        self.under_way == 0
    }

    pub fn ask(&mut self, requests: &mut Requests) {
        if !self.is_open || self.is_bad || self.is_done {
            return;
        }
        while self.under_way < READS && self.arrived.len() < 2 * READS && self.asked < self.bytes {
            let length = READ_BYTES.min(self.bytes - self.asked);
            let spare = self.spare.pop();
            let buffer = spare.filter(|spare| spare.len() as u64 == length);
            let work = Work::Read {
                file: READ_FILE,
                offset: self.asked,
                buffer: buffer.unwrap_or_else(|| AlignedBuffer::new(length as usize)),
            };
            requests.submit(work, Purpose::Restore(self.asked));
            self.under_way += 1;
            self.asked += length;
        }
    }

    pub fn arrived(
        &mut self,
        offset: u64,
        result: Result<usize, Failure>,
        buffer: AlignedBuffer,
        store: &Store,
    ) {
        self.under_way -= 1;
        if result != Ok(buffer.len()) {
            self.is_bad = true;
        }
        self.arrived.insert(offset, buffer);
        while !self.is_bad
            && !self.is_done
            && let Some(buffer) = self.arrived.remove(&self.at)
        {
            self.at += buffer.len() as u64;
            if self.digest(&buffer, store).is_err() {
                self.is_bad = true;
            }
            self.spare.push(buffer);
        }
        if !self.is_done && self.at >= self.bytes {
            self.is_bad = true;
        }
    }

    /// Uses what has come.
    fn digest(&mut self, mut bytes: &[u8], store: &Store) -> Result<(), Bad> {
        if self.head.is_none() {
            let head = Head::parse(bytes).ok_or(Bad)?;
            let seal = store.keys.seal(head.key, &head.salt).map_err(|_| Bad)?;
            self.head = Some((head, seal));
            bytes = &bytes[BLOCK_BYTES..];
        }
        while !self.is_done && !bytes.is_empty() {
            if self.carry.is_empty() {
                // As nearly all blocks do, it may lie in what has come.
                if let Some(span) = block_span(bytes)?
                    && let Some((block, rest)) = bytes.split_at_checked(span)
                {
                    bytes = rest;
                    self.take_block(block, store)?;
                    continue;
                }
                self.carry.extend_from_slice(bytes);
                break;
            }
            let span = block_span(&self.carry)?.ok_or(Bad)?;
            let lacking = span - self.carry.len();
            let (more, rest) = bytes.split_at(lacking.min(bytes.len()));
            bytes = rest;
            self.carry.extend_from_slice(more);
            if more.len() == lacking {
                let block = std::mem::take(&mut self.carry);
                self.take_block(&block, store)?;
            }
        }
        Ok(())
    }

    fn take_block(&mut self, bytes: &[u8], store: &Store) -> Result<(), Bad> {
        let (head, seal) = self.head.as_ref().ok_or(Bad)?;
        let (kind, body) = take_block(head, seal.as_ref(), self.number, bytes)?;
        self.number += 1;
        self.block(kind, &body, store)
    }

    fn block(&mut self, kind: u32, body: &[u8], store: &Store) -> Result<(), Bad> {
        match kind {
            block::START => self.start(body).ok_or(Bad)?,
            block::STREAM => {
                self.finish_stream()?;
                let stream = FileStream::read(body, store.hash.clone()).ok_or(Bad)?;
                self.current = Some((stream, Loading::new(store.hash.clone())));
            }
            block::PIECE => {
                let (_, loading) = self.current.as_mut().ok_or(Bad)?;
                loading.piece(body).map_err(|_| Bad)?;
            }
            // Its deletion is in what is replayed.
            block::GONE => self.current = None,
            block::END => {
                self.finish_stream()?;
                self.is_done = true;
            }
            _ => return Err(Bad),
        }
        Ok(())
    }

    fn start(&mut self, body: &[u8]) -> Option<()> {
        self.generation = u64_at(body, 0)?;
        self.offset = u64_at(body, 8)? as usize;
        self.next_frame = u64_at(body, 16)?.max(1);
        self.next_stream = u32_at(body, 24)?;
        for part in record::strings(body.get(28..)?)? {
            let generation = u64_at(part, 0)?;
            let saved = Saved {
                slot: u32_at(part, 8)?,
                end: u32_at(part, 12)? as usize,
                logged_bytes: u64_at(part, 16)?,
                remains: Remains::read(&part[24..])?,
            };
            self.segments.insert(generation, saved);
        }
        Some(())
    }

    fn finish_stream(&mut self) -> Result<(), Bad> {
        let Some((mut stream, loading)) = self.current.take() else {
            return Ok(());
        };
        let weights = &mut self.weights;
        let weigh = |_: Seq, bits: u64| {
            let location = Location::from_bits(bits)?;
            let slot = location.slot() as usize;
            if weights.len() <= slot {
                weights.resize(slot + 1, 0);
            }
            let bytes = location.counted_bytes() as u64;
            weights[slot] += bytes;
            Some(bytes)
        };
        stream.index = loading.finish(weigh).map_err(|_| Bad)?;
        self.file_streams.push(stream);
        Ok(())
    }
}

impl Remains {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.logged_again.to_le_bytes());
        for count in [self.removed.len(), self.forgotten.len(), self.deleted.len()] {
            out.extend_from_slice(&(count as u32).to_le_bytes());
        }
        for (number, (first, last)) in &self.removed {
            out.extend_from_slice(&number.0.to_le_bytes());
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
        }
        for (number, note) in &self.forgotten {
            out.extend_from_slice(&number.0.to_le_bytes());
            out.extend_from_slice(&note.to_le_bytes());
        }
        for number in &self.deleted {
            out.extend_from_slice(&number.0.to_le_bytes());
        }
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut this = Self {
            logged_again: u64_at(bytes, 0)?,
            ..Self::default()
        };
        let count = |at| u32_at(bytes, at).map(|count| count as usize);
        let (removed, forgotten, deleted) = (count(8)?, count(12)?, count(16)?);
        let mut at = 20;
        for _ in 0..removed {
            let number = StreamNumber(u32_at(bytes, at)?);
            this.removed
                .insert(number, (u64_at(bytes, at + 4)?, u64_at(bytes, at + 12)?));
            at += 20;
        }
        for _ in 0..forgotten {
            this.forgotten
                .push((StreamNumber(u32_at(bytes, at)?), u32_at(bytes, at + 4)?));
            at += 8;
        }
        for _ in 0..deleted {
            this.deleted.push(StreamNumber(u32_at(bytes, at)?));
            at += 4;
        }
        Some(this)
    }
}

fn put_spot(out: &mut Vec<u8>, (slot, bytes): (Slot, usize)) {
    out.extend_from_slice(&slot.to_le_bytes());
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
}

fn spot_at(bytes: &[u8], at: usize) -> Option<(Slot, usize)> {
    Some((u32_at(bytes, at)?, u32_at(bytes, at + 4)? as usize))
}

impl FileStream {
    /// All but the index.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.0.to_le_bytes());
        out.extend_from_slice(&u32::from(self.options.compress).to_le_bytes());
        put_spot(out, self.meta_at.unwrap_or((Slot::MAX, 0)));
        out.extend_from_slice(&self.last_shown_in.to_le_bytes());
        record::put_string(out, &self.key);
        record::put_string(out, &self.meta);
        for (&note, kept) in &self.notes {
            let mut part = Vec::new();
            part.extend_from_slice(&note.to_le_bytes());
            part.extend_from_slice(&kept.bytes.to_le_bytes());
            let (generation, offset) = kept.reset.unwrap_or((0, 0));
            part.extend_from_slice(&generation.to_le_bytes());
            part.extend_from_slice(&(offset as u32).to_le_bytes());
            part.extend_from_slice(&(kept.spots.len() as u32).to_le_bytes());
            for &spot in &kept.spots {
                put_spot(&mut part, spot);
            }
            part.extend_from_slice(&kept.facts);
            record::put_string(out, &part);
        }
    }

    pub fn read(bytes: &[u8], hash: SubjectHash) -> Option<Self> {
        let mut this = Self::new(StreamNumber(u32_at(bytes, 0)?), hash);
        this.options.compress = u32_at(bytes, 4)? != 0;
        this.meta_at = spot_at(bytes, 8).filter(|spot| spot.0 != Slot::MAX);
        this.last_shown_in = u64_at(bytes, 16)?;
        let mut parts = record::strings(bytes.get(24..)?)?.into_iter();
        this.key = parts.next()?.into();
        this.meta = parts.next()?.into();
        for part in parts {
            let generation = u64_at(part, 12)?;
            let offset = u32_at(part, 20)? as usize;
            let spots = u32_at(part, 24)? as usize;
            let facts = 28usize.checked_add(spots.checked_mul(8)?)?;
            let kept = Note {
                facts: part.get(facts..)?.to_vec(),
                bytes: u64_at(part, 4)?,
                spots: (0..spots)
                    .map(|i| spot_at(part, 28 + 8 * i))
                    .collect::<Option<_>>()?,
                reset: (generation != 0).then_some((generation, offset)),
            };
            record::strings(&kept.facts)?;
            this.notes.insert(u32_at(part, 0)?, kept);
        }
        Some(this)
    }
}
