//! What the files of a snapshot of the old format say.
//!
//! They come in this order: `meta.inf`, `meta.sum`, the blocks, `msgs/index.db`, and for each consumer
//! its `meta.inf`, `meta.sum` and `o.dat`. What was deleted is known only behind the blocks.

use std::collections::VecDeque;

use super::Damage;
use super::filestore::{
    CHECKSUM_BYTES, Checksum, Index, Meta, Ranges, Record, last_checksum, read_consumer_state,
    read_meta, verify_meta,
};
use super::reader::Item;
use super::writer::ConsumerSnapshot;
use crate::store::{Seq, UnixNanos};

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block of messages, of that number.
    Block(u32),
    /// Something that [`Files::read`] takes.
    Small,
    /// Nothing that is needed.
    Ignored,
    /// In its place, nats-server has written why it has failed.
    Failure,
    /// Of a version that is not read.
    TooOld,
}

/// The kind of a file, by its name.
pub fn kind_of(name: &str) -> Kind {
    let block = |suffix| {
        let number = name.strip_prefix("msgs/")?.strip_suffix(suffix)?;
        number.parse::<u32>().ok()
    };
    if let Some(number) = block(".blk") {
        return Kind::Block(number);
    }
    match name {
        _ if block(".idx").is_some() => Kind::TooOld,
        "errors.txt" => Kind::Failure,
        "meta.inf" | "meta.sum" | "msgs/index.db" => Kind::Small,
        _ if name.starts_with("obs/") => Kind::Small,
        _ => Kind::Ignored,
    }
}

/// The files so far.
pub struct Files {
    stream: String,
    /// A `meta.inf` whose `meta.sum` is to come.
    unverified: Vec<u8>,
    has_meta: bool,
    /// Messages that were handed on, while blocks come.
    present: Ranges,
    tombstones: Vec<(Seq, Seq)>,
    are_blocks_over: bool,
    last: (Seq, UnixNanos),
    last_block: Option<(u32, [u8; CHECKSUM_BYTES])>,
    consumer: Option<(String, Meta)>,
    /// To be handed on.
    items: VecDeque<Item<'static>>,
}

impl Files {
    /// Of a stream of that name.
    pub fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            unverified: Vec::new(),
            has_meta: false,
            present: Ranges::default(),
            tombstones: Vec::new(),
            are_blocks_over: false,
            last: (0, 0),
            last_block: None,
            consumer: None,
            items: VecDeque::new(),
        }
    }

    /// What is to be handed on next.
    pub fn item(&mut self) -> Option<Item<'static>> {
        self.items.pop_front()
    }

    /// A block begins; its records follow.
    pub fn block(&mut self, number: u32, block: &[u8]) -> Result<Checksum, &'static str> {
        if !self.has_meta || self.are_blocks_over {
            return Err("block of messages in the wrong place");
        }
        if self.last_block.is_some_and(|(last, _)| last >= number) {
            return Err("blocks of messages in the wrong order");
        }
        self.last_block = Some((number, last_checksum(block)));
        Ok(Checksum::of_block(&self.stream, number))
    }

    /// A record of the block; whether it is a message to be handed on.
    pub fn record(&mut self, record: &Record<'_>) -> bool {
        let (seq, time, is_message) = match *record {
            Record::Message { seq, time, .. } => (seq, time, true),
            Record::Nothing { seq, time } => (seq, time, false),
            Record::Tombstone { seq, time } => {
                self.tombstones.push((seq, seq));
                (seq, time, false)
            }
        };
        let is_new = is_message && self.present.last().is_none_or(|last| last < seq);
        if is_new {
            self.present.push(seq, seq);
        }
        if seq >= self.last.0 {
            self.last = (seq, time.max(self.last.1));
        }
        is_new
    }

    /// Another file.
    pub fn read(&mut self, name: &str, content: &[u8]) -> Result<(), Damage> {
        match name {
            "meta.inf" => self.unverified = content.to_vec(),
            "meta.sum" => {
                let checksum = Checksum::of_stream(&self.stream);
                let meta = self.verified(content, &checksum)?;
                self.has_meta = true;
                self.items.push_back(Item::Meta(meta));
            }
            "msgs/index.db" => {
                let index = Index::read(Index::verified(content, &self.stream)?)?;
                // It may have been written later than the blocks were read.
                let is_current = match self.last_block {
                    Some(last) => last == (index.last_block, index.last_checksum),
                    None => index.messages == 0,
                };
                self.end_blocks(is_current.then_some(index));
            }
            _ => {
                let (consumer, file) = (name.strip_prefix("obs/"))
                    .and_then(|name| name.rsplit_once('/'))
                    .unwrap_or_default();
                self.read_of_consumer(consumer, file, content)?;
            }
        }
        Ok(())
    }

    fn read_of_consumer(
        &mut self,
        consumer: &str,
        file: &str,
        content: &[u8],
    ) -> Result<(), Damage> {
        self.end_blocks(None);
        match file {
            "meta.inf" => self.unverified = content.to_vec(),
            "meta.sum" => {
                let checksum = Checksum::of_consumer(&self.stream, consumer);
                let meta = self.verified(content, &checksum)?;
                self.consumer = Some((consumer.to_owned(), meta));
            }
            "o.dat" => {
                let state = read_consumer_state(content)?;
                let meta = self.consumer.take().filter(|(name, _)| name == consumer);
                let (name, meta) = meta.ok_or(Damage::at(0, "consumer without a meta.inf"))?;
                self.items.push_back(Item::Consumer(ConsumerSnapshot {
                    name,
                    config_json: meta.config_json,
                    state,
                }));
            }
            _ => {}
        }
        Ok(())
    }

    fn verified(&mut self, sum: &[u8], checksum: &Checksum) -> Result<Meta, Damage> {
        let meta = std::mem::take(&mut self.unverified);
        verify_meta(&meta, sum, checksum)?;
        read_meta(&meta)
    }

    /// No block comes any more: what of their messages is not there.
    fn end_blocks(&mut self, index: Option<Index>) {
        if self.are_blocks_over {
            return;
        }
        self.are_blocks_over = true;
        let mut gone = Ranges::default();
        gone.merge(std::mem::take(&mut self.tombstones));
        if let Some(index) = index {
            gone = index.gone();
            self.last = (index.last_seq, index.last_time);
        }
        let removed = std::mem::take(&mut self.present).intersection(&gone);
        if !removed.is_empty() {
            self.items
                .push_back(Item::Removed(removed.iter().collect()));
        }
    }

    /// No file comes any more.
    pub fn end(&mut self) -> Result<(), &'static str> {
        if !self.has_meta {
            return Err("snapshot without a meta.inf");
        }
        self.end_blocks(None);
        let (last_seq, last_time) = self.last;
        let end = Item::End {
            last_seq,
            last_time,
        };
        self.items.push_back(end);
        Ok(())
    }
}
