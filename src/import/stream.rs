//! One stream of a store.
//!
//! What is there is told by its index, if that was written after the last change of a block: only it
//! knows what limits have removed. Else by the blocks with their tombstones, as nats-server does after
//! a crash, and by what an older index knew to be gone. nats-server then applies the limits anew, and so
//! must who takes the messages over.

use std::collections::BTreeMap;

use super::{Fault, Keys, Place, Source};
use crate::jetstream::snapshot::filestore::{
    BLOCK_BYTES_MAX, Checksum, Index, Meta, Ranges, Record, Records, last_checksum,
    read_consumer_state, read_meta, read_sources, unpack, verify_meta,
};
use crate::jetstream::snapshot::{ConsumerState, Damage};
use crate::store::{Seq, Stored, UnixNanos, counted_bytes};

const MESSAGES: &str = "msgs";
/// Where a purge prepares what replaces them; it counts as soon as there is a block in it.
const MESSAGES_AFTER_PURGE: &str = "__new_msgs__";
const META_BYTES_MAX: usize = 16 << 20;
const KEY_BYTES_MAX: usize = 4096;
/// Of an index, and of a consumer's state: they grow with subjects and with what is pending.
const STATE_BYTES_MAX: usize = 4 << 30;
/// Tombstones are sorted into ranges when there are so many.
const TOMBSTONES_AT_ONCE: usize = 1 << 20;

/// A consumer of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// When it was made, its name, and its configuration.
    pub meta: Meta,
    /// How far it has come.
    pub state: ConsumerState,
}

/// What was read of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// What they count as.
    pub bytes: u64,
    /// The first one's sequence; 0 without one.
    pub first_seq: Seq,
    /// The last one's sequence; 0 without one.
    pub last_seq: Seq,
    /// When that was stored.
    pub last_time: UnixNanos,
}

/// A stream being read.
pub struct Stream<'s, S> {
    source: &'s mut S,
    keys: &'s Keys,
    place: Place,
    meta: Meta,
    messages_folder: String,
    blocks: std::vec::IntoIter<u32>,
    /// None when it does not count.
    index: Option<Index>,
    /// The highest sequence given out, and when.
    last: (Seq, UnixNanos),
    gone: Ranges,
    tally: Tally,
    block: Vec<u8>,
    torn: Option<Fault>,
    faults: Vec<Fault>,
}

impl<'s, S: Source> Stream<'s, S> {
    /// Reads everything but messages and consumers. Without a valid index, that is to go through all
    /// blocks once.
    ///
    /// # Errors
    /// When what the stream is cannot be known.
    pub fn open(source: &'s mut S, keys: &'s Keys, place: Place) -> Result<Self, Fault> {
        let folder = place.folder();
        let file = format!("{folder}/meta.inf");
        let checksum = Checksum::of_stream(&place.stream);
        let meta = read_meta_of(
            source,
            keys,
            &place.account,
            &place.stream,
            &folder,
            &checksum,
        )?;
        if meta.name != place.stream {
            let what = format!("is of a stream named {:?}", meta.name);
            return Err(Fault::new(file, what));
        }
        let mut stream = Self {
            source,
            keys,
            messages_folder: format!("{folder}/{MESSAGES}"),
            place,
            meta,
            blocks: Vec::new().into_iter(),
            index: None,
            last: (0, 0),
            gone: Ranges::default(),
            tally: Tally::default(),
            block: Vec::new(),
            torn: None,
            faults: Vec::new(),
        };
        let blocks = stream.list_blocks(&folder)?;
        if let Some(index) = stream.read_index()? {
            // What was gone when it was written is gone, however old it is.
            stream.gone = index.gone();
            if stream.is_current(&index, &blocks) {
                stream.last = (index.last_seq, index.last_time);
                stream.index = Some(index);
            } else {
                stream.collect_tombstones(&blocks);
                stream.compare_with_before(&index);
            }
        } else {
            stream.collect_tombstones(&blocks);
        }
        stream.blocks = blocks.into_iter();
        Ok(stream)
    }

    /// Which it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Messages and bytes that are to come, if the index tells.
    pub fn expected(&self) -> Option<(u64, u64)> {
        let index = self.index.as_ref()?;
        Some((index.messages, index.bytes))
    }

    /// How far the sources of the stream were followed when that was written down last.
    pub fn sources(&mut self) -> BTreeMap<String, Seq> {
        let file = format!("{}/sources.db", self.place.folder());
        let read = self.source.read(&file, META_BYTES_MAX);
        let file = read.ok().flatten().unwrap_or_default();
        // What is missing is found in the messages.
        read_sources(&file).unwrap_or_default()
    }

    /// When it was made, its name, and its configuration.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether its index counts. If not, limits have to be applied again.
    pub fn is_index_valid(&self) -> bool {
        self.index.is_some()
    }

    /// Where the last block ends in what is no whole record, as one does that a server was writing when
    /// it was killed.
    pub fn torn(&self) -> Option<&Fault> {
        self.torn.as_ref()
    }

    /// The highest sequence given out, and when: behind the last message some may have been removed.
    pub fn last(&self) -> (Seq, UnixNanos) {
        self.last
    }

    /// Hands on the messages of the next block. False after the last one.
    ///
    /// # Errors
    /// The first that `each` gives. What is wrong with the block is a fault.
    pub fn next_block<E>(
        &mut self,
        each: &mut dyn FnMut(&Stored<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let Some(number) = self.blocks.next() else {
            return Ok(false);
        };
        if let Err(fault) = self.load_block(number) {
            self.faults.push(fault);
            return Ok(true);
        }
        let checksum = Checksum::of_block(&self.place.stream, number);
        for record in Records::of(&self.block, checksum) {
            let (seq, time, subject, headers, payload) = match record {
                Ok(Record::Message {
                    seq,
                    time,
                    subject,
                    headers,
                    payload,
                }) => (seq, time, subject, headers, payload),
                Ok(Record::Nothing { .. } | Record::Tombstone { .. }) => continue,
                Err(damage) => {
                    // Without a valid index it was found before.
                    if self.index.is_some() {
                        let file = block_file(&self.messages_folder, number);
                        self.faults.push(Fault::damaged(&file, damage));
                    }
                    break;
                }
            };
            if seq <= self.tally.last_seq || self.gone.contains(seq) {
                continue;
            }
            if self.tally.messages == 0 {
                self.tally.first_seq = seq;
            }
            self.tally.messages += 1;
            self.tally.bytes += counted_bytes(subject.len(), headers.len(), payload.len(), true);
            (self.tally.last_seq, self.tally.last_time) = (seq, time);
            each(&Stored {
                seq,
                time,
                subject,
                headers,
                payload,
            })?;
        }
        Ok(true)
    }

    /// What was read so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Ends the reading of messages: what there was, and everything that was wrong.
    pub fn finish(mut self) -> (Tally, Vec<Fault>) {
        if let Some(index) = &self.index {
            let tally = &self.tally;
            let is_empty = index.messages == 0;
            let expected = [
                ("messages", index.messages, tally.messages),
                ("bytes", index.bytes, tally.bytes),
                (
                    "as first sequence",
                    index.first_seq,
                    match is_empty {
                        true => index.first_seq,
                        false => tally.first_seq,
                    },
                ),
            ];
            for (what, said, found) in expected {
                if said != found {
                    let file = format!("{}/index.db", self.messages_folder);
                    let what = format!("says {said} {what}, but there are {found}");
                    self.faults.push(Fault::new(file, what));
                }
            }
        }
        (self.tally, self.faults)
    }

    /// Reads the stream's consumers.
    ///
    /// # Errors
    /// When the folder cannot be read. What is wrong with a consumer is a fault, and it is left out.
    pub fn consumers(&mut self) -> Result<Vec<Consumer>, Fault> {
        let folder = format!("{}/obs", self.place.folder());
        let names = self
            .source
            .list(&folder)
            .map_err(|why| Fault::new(&folder, why))?;
        let mut consumers = Vec::new();
        for name in names.unwrap_or_default() {
            match self.consumer(&name) {
                Ok(consumer) => consumers.push(consumer),
                Err(fault) => self.faults.push(fault),
            }
        }
        Ok(consumers)
    }

    fn consumer(&mut self, name: &str) -> Result<Consumer, Fault> {
        let Place { account, stream } = &self.place;
        let folder = format!("{}/obs/{name}", self.place.folder());
        let checksum = Checksum::of_consumer(stream, name);
        let thing = format!("{stream}.{name}");
        let meta = read_meta_of(self.source, self.keys, account, &thing, &folder, &checksum)?;
        if meta.name != name {
            let what = format!("is of a consumer named {:?}", meta.name);
            return Err(Fault::new(format!("{folder}/meta.inf"), what));
        }
        let file = format!("{folder}/o.dat");
        let state = self.source.read(&file, STATE_BYTES_MAX);
        let mut state = state
            .map_err(|why| Fault::new(&file, why))?
            .unwrap_or_default();
        let key_file = format!("{folder}/meta.key");
        if let Some(key) = unlock(self.source, self.keys, account, &thing, &key_file)?
            && !state.is_empty()
        {
            let sealed = || Fault::new(&file, "cannot be decrypted with the key beside it");
            state = key.open(&state).ok_or_else(sealed)?;
        }
        let state = read_consumer_state(&state).map_err(|damage| Fault::damaged(&file, damage))?;
        Ok(Consumer { meta, state })
    }

    /// Numbers of the blocks, in order.
    fn list_blocks(&mut self, folder: &str) -> Result<Vec<u32>, Fault> {
        let list = |source: &mut S, folder: &str| {
            let names = source.list(folder).map_err(|why| Fault::new(folder, why))?;
            Ok::<_, Fault>(names.unwrap_or_default())
        };
        let number = |name: &String, suffix: &str| name.strip_suffix(suffix)?.parse::<u32>().ok();
        let after_purge = format!("{folder}/{MESSAGES_AFTER_PURGE}");
        let mut purged = list(self.source, &after_purge)?;
        let mut names = list(self.source, &self.messages_folder)?;
        if purged.iter().any(|name| number(name, ".blk").is_some()) {
            self.messages_folder = after_purge;
            names = std::mem::take(&mut purged);
        }
        if names.iter().any(|name| number(name, ".idx").is_some()) {
            let what = "was last used by a nats-server before 2.10: start a newer one on it first";
            return Err(Fault::new(&self.messages_folder, what));
        }
        // A purge that got as far as a new key, but not to the block, had begun to write over it.
        let begun: Vec<u32> = purged
            .iter()
            .filter_map(|name| number(name, ".key"))
            .collect();
        let mut blocks: Vec<u32> = (names.iter().filter_map(|name| number(name, ".blk")))
            .filter(|number| !begun.contains(number))
            .collect();
        blocks.sort_unstable();
        Ok(blocks)
    }

    /// The index, whenever it was written.
    fn read_index(&mut self) -> Result<Option<Index>, Fault> {
        let file = format!("{}/index.db", self.messages_folder);
        let read = self.source.read(&file, STATE_BYTES_MAX);
        let Some(sealed) = read.map_err(|why| Fault::new(&file, why))? else {
            return Ok(None);
        };
        let damaged = |damage| Fault::damaged(&file, damage);
        let verified = match Index::verified(&sealed, &self.place.stream) {
            Ok(verified) => verified,
            Err(damage) => {
                self.faults.push(damaged(damage));
                return Ok(None);
            }
        };
        let key_file = format!("{}/meta.key", self.place.folder());
        let Place { account, stream } = &self.place;
        let key = unlock(self.source, self.keys, account, stream, &key_file)?;
        // Under a new key, one in plain text may be left.
        let opened = key.and_then(|key| key.open(verified));
        match Index::read(opened.as_deref().unwrap_or(verified)) {
            Ok(index) => Ok(Some(index)),
            Err(damage) => {
                self.faults.push(damaged(damage));
                Ok(None)
            }
        }
    }

    /// Whether an index was written after the last change of the blocks.
    fn is_current(&mut self, index: &Index, blocks: &[u32]) -> bool {
        blocks.last() == Some(&index.last_block)
            && (index.blocks.iter()).all(|block| blocks.binary_search(&block.number).is_ok())
            && self.load_block(index.last_block).is_ok()
            && last_checksum(&self.block) == index.last_checksum
    }

    /// Blocks end where an index of before did, or later; if not, something was lost.
    fn compare_with_before(&mut self, index: &Index) {
        if index.last_seq > self.last.0 {
            let (found, said) = (self.last.0, index.last_seq);
            let what = format!("says {said} sequences were given out, but blocks end with {found}");
            let file = format!("{}/index.db", self.messages_folder);
            self.faults.push(Fault::new(file, what));
            self.last = (index.last_seq, index.last_time);
        }
    }

    /// Without an index: what the blocks say is gone, and how far sequences were given out.
    fn collect_tombstones(&mut self, blocks: &[u32]) {
        let mut tombstones = Vec::new();
        for &number in blocks {
            let file = block_file(&self.messages_folder, number);
            if let Err(fault) = self.load_block(number) {
                self.faults.push(fault);
                continue;
            }
            let checksum = Checksum::of_block(&self.place.stream, number);
            let mut records = Records::of(&self.block, checksum);
            loop {
                let offset = records.offset();
                let (seq, time) = match records.next() {
                    None => break,
                    Some(Ok(Record::Tombstone { seq, time })) => {
                        tombstones.push((seq, seq));
                        (seq, time)
                    }
                    Some(Ok(Record::Message { seq, time, .. } | Record::Nothing { seq, time })) => {
                        (seq, time)
                    }
                    Some(Err(damage)) => {
                        let fault = Fault::damaged(&file, damage);
                        let is_torn = Some(&number) == blocks.last()
                            && Records::is_cut(&self.block[offset..]);
                        match is_torn {
                            true => self.torn = Some(fault),
                            false => self.faults.push(fault),
                        }
                        break;
                    }
                };
                if seq >= self.last.0 {
                    self.last = (seq, time.max(self.last.1));
                }
            }
            if tombstones.len() >= TOMBSTONES_AT_ONCE {
                self.gone.merge(std::mem::take(&mut tombstones));
            }
        }
        self.gone.merge(tombstones);
    }

    /// Reads a block into `self.block`, decrypted and decompressed.
    fn load_block(&mut self, number: u32) -> Result<(), Fault> {
        let file = block_file(&self.messages_folder, number);
        let read = self.source.read(&file, BLOCK_BYTES_MAX);
        let block = read.map_err(|why| Fault::new(&file, why))?;
        let mut block = block.ok_or_else(|| Fault::new(&file, "is not there any more"))?;
        let thing = format!("{}:{number}", self.place.stream);
        let key_file = format!("{}/{number}.key", self.messages_folder);
        let account = &self.place.account;
        if let Some(key) = unlock(self.source, self.keys, account, &thing, &key_file)? {
            key.decrypt_block(&mut block);
        }
        self.block = unpack(block).map_err(|damage| Fault::damaged(&file, damage))?;
        Ok(())
    }
}

fn block_file(folder: &str, number: u32) -> String {
    format!("{folder}/{number}.blk")
}

/// The key in a file; None when there is no such file.
fn unlock(
    source: &mut impl Source,
    keys: &Keys,
    account: &str,
    thing: &str,
    key_file: &str,
) -> Result<Option<super::keys::Unlocked>, Fault> {
    let sealed = source.read(key_file, KEY_BYTES_MAX);
    let Some(sealed) = sealed.map_err(|why| Fault::new(key_file, why))? else {
        return Ok(None);
    };
    let what = match keys.is_empty() {
        true => "is encrypted, and no key is given",
        false => "cannot be opened with the key that is given",
    };
    match keys.unlock(account, thing, &sealed) {
        None => Err(Fault::new(key_file, what)),
        unlocked => Ok(unlocked),
    }
}

/// Reads and checks the `meta.inf` in a folder.
fn read_meta_of(
    source: &mut impl Source,
    keys: &Keys,
    account: &str,
    thing: &str,
    folder: &str,
    checksum: &Checksum,
) -> Result<Meta, Fault> {
    let mut read = |name: &str| {
        let file = format!("{folder}/{name}");
        let content = source.read(&file, META_BYTES_MAX);
        let content = content.map_err(|why| Fault::new(&file, why))?;
        content.ok_or_else(|| Fault::new(&file, "is not there"))
    };
    let (meta, sum) = (read("meta.inf")?, read("meta.sum")?);
    let file = format!("{folder}/meta.inf");
    let damaged = |damage: Damage| Fault::damaged(&file, damage);
    verify_meta(&meta, &sum, checksum).map_err(damaged)?;
    let key = unlock(source, keys, account, thing, &format!("{folder}/meta.key"))?;
    let meta = match key {
        None => meta,
        Some(key) => (key.open(&meta))
            .ok_or_else(|| Fault::new(&file, "cannot be decrypted with the key beside it"))?,
    };
    read_meta(&meta).map_err(damaged)
}
