//! A disk that forgets, tears, refuses and lies, from a seed: for the tests of the store and of the server around it.

// Each of them uses a part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use skein::base::prng::Prng;
use skein::store::io::{
    BLOCK_BYTES, Completion, Failure, FileId, Listed, Submission, Ticket, Work,
};

/// What a power cut leaves whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What goes wrong, besides power.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Bytes there is room for.
    pub capacity: Option<u64>,
    /// One write in so many fails.
    pub write_errors: Option<u32>,
    /// One write in so many goes elsewhere, and nobody says so.
    pub misdirected: Option<u32>,
    /// One write in so many is not done, and nobody says so.
    pub lost: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct File {
    /// As it is read now.
    now: Vec<u8>,
    /// As it is after a power cut, but for `unsynced`.
    safe: Vec<u8>,
    /// Written since: any part of it may be safe.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Blocks that cannot be read.
    bad: BTreeSet<usize>,
}

/// See the module.
#[derive(Debug)]
pub struct Disk {
    random: Prng,
    files: BTreeMap<String, File>,
    open: BTreeMap<FileId, String>,
    under_way: Vec<Submission>,
    pub faults: Faults,
    /// Where nobody was told of a fault: file, offset and length.
    pub lies: Vec<(String, usize, usize)>,
    /// How often an error was given for a write.
    pub write_failures: u32,
    pub bytes_written: u64,
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Prng::new(seed),
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            under_way: Vec::new(),
            faults: Faults::default(),
            lies: Vec::new(),
            write_failures: 0,
            bytes_written: 0,
        }
    }

    pub fn listing(&self) -> Vec<Listed> {
        let listed = self.files.iter().map(|(name, file)| Listed {
            name: name.clone(),
            bytes: file.now.len() as u64,
        });
        listed.collect()
    }

    pub fn take(&mut self, submissions: &mut Vec<Submission>) {
        self.under_way.append(submissions);
    }

    /// How much is under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    fn used(&self) -> u64 {
        self.files.values().map(|file| file.now.len() as u64).sum()
    }

    fn one_in(&mut self, n: Option<u32>) -> bool {
        n.is_some_and(|n| self.random.one_in(n))
    }

    /// Does one of the things that are under way, any.
    pub fn step(&mut self) -> Option<Completion> {
        if self.under_way.is_empty() {
            return None;
        }
        let which = self.random.below(self.under_way.len() as u32) as usize;
        let Submission { ticket, work } = self.under_way.swap_remove(which);
        Some(self.execute(ticket, work))
    }

    fn execute(&mut self, ticket: Ticket, work: Work) -> Completion {
        let done = |result| Completion {
            ticket,
            result,
            buffer: None,
        };
        match work {
            Work::Open { file, name } => {
                if !self.files.contains_key(&name) {
                    return done(Err(Failure::NotFound));
                }
                assert!(self.open.insert(file, name).is_none(), "{file:?} is open");
                done(Ok(0))
            }
            Work::Create { file, name, bytes } => {
                if self
                    .faults
                    .capacity
                    .is_some_and(|most| self.used() + bytes > most)
                {
                    return done(Err(Failure::Full));
                }
                let zeroes = vec![0; bytes as usize];
                let made = File {
                    now: zeroes.clone(),
                    safe: zeroes,
                    ..File::default()
                };
                assert!(
                    !self.open.values().any(|open| *open == name),
                    "{name} is open"
                );
                self.files.insert(name.clone(), made);
                assert!(self.open.insert(file, name).is_none(), "{file:?} is open");
                let left = self
                    .faults
                    .capacity
                    .map(|most| most.saturating_sub(self.used()));
                done(Ok(left.map_or(0, |left| left.max(1) as usize)))
            }
            Work::Write {
                file,
                offset,
                buffer,
                bytes,
                sync,
            } => {
                assert!(
                    bytes.is_multiple_of(BLOCK_BYTES) && offset.is_multiple_of(BLOCK_BYTES as u64)
                );
                let name = self
                    .open
                    .get(&file)
                    .expect("only open files are written")
                    .clone();
                if self.one_in(self.faults.write_errors) {
                    self.write_failures += 1;
                    self.write(&name, offset as usize, &buffer[..bytes]);
                    return done(Err(Failure::Io(5)));
                }
                let longer = (offset as usize + bytes).saturating_sub(self.files[&name].now.len());
                if self
                    .faults
                    .capacity
                    .is_some_and(|most| self.used() + longer as u64 > most)
                {
                    return done(Err(Failure::Full));
                }
                self.bytes_written += bytes as u64;
                let mut offset = offset as usize;
                if self.one_in(self.faults.lost) {
                    self.lies.push((name, offset, bytes));
                    return done(Ok(0));
                }
                if self.one_in(self.faults.misdirected) {
                    self.lies.push((name.clone(), offset, bytes));
                    let length = self.files[&name].now.len();
                    let blocks = (length.saturating_sub(bytes) / BLOCK_BYTES) as u32;
                    offset = self.random.below(blocks + 1) as usize * BLOCK_BYTES;
                    self.lies.push((name.clone(), offset, bytes));
                }
                self.write(&name, offset, &buffer[..bytes]);
                if sync {
                    self.make_safe(&name);
                }
                done(Ok(0))
            }
            Work::Read {
                file,
                offset,
                mut buffer,
            } => {
                let name = self.open.get(&file).expect("only open files are read");
                let content = &self.files[name];
                let offset = offset as usize;
                let end = (offset + buffer.len()).min(content.now.len());
                let got = end.saturating_sub(offset);
                let mut blocks = offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES);
                let result = if blocks.any(|block| content.bad.contains(&block)) {
                    Err(Failure::Io(5))
                } else {
                    buffer[..got].copy_from_slice(&content.now[offset..end]);
                    Ok(got)
                };
                Completion {
                    ticket,
                    result,
                    buffer: Some(buffer),
                }
            }
            Work::Sync { file } => {
                let name = self
                    .open
                    .get(&file)
                    .expect("only open files are synced")
                    .clone();
                self.make_safe(&name);
                done(Ok(0))
            }
            Work::Close { file } => {
                assert!(self.open.remove(&file).is_some(), "{file:?} is not open");
                done(Ok(0))
            }
            Work::Remove { name } => {
                assert!(
                    !self.open.values().any(|open| *open == name),
                    "{name} is open"
                );
                self.files.remove(&name);
                done(Ok(0))
            }
            Work::Rename { from, to } => {
                let open = |name: &String| self.open.values().any(|open| open == name);
                assert!(!open(&from) && !open(&to), "{from} or {to} is open");
                match self.files.remove(&from) {
                    Some(file) => {
                        self.files.insert(to, file);
                        done(Ok(0))
                    }
                    None => done(Err(Failure::NotFound)),
                }
            }
        }
    }

    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) {
        let file = self.files.get_mut(name).expect("it is open");
        let end = offset + bytes.len();
        if end > file.now.len() {
            assert!(
                !name.starts_with("segment"),
                "{name} is written behind its end"
            );
            file.now.resize(end, 0);
            file.safe.resize(end, 0);
        }
        file.now[offset..end].copy_from_slice(bytes);
        for block in offset / BLOCK_BYTES..end / BLOCK_BYTES {
            file.bad.remove(&block);
        }
        file.unsynced.push((offset, bytes.to_vec()));
    }

    fn make_safe(&mut self, name: &str) {
        let file = self.files.get_mut(name).expect("it is open");
        for (offset, bytes) in file.unsynced.drain(..) {
            file.safe[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// Cuts the power. Of what is under way, anything may have happened.
    pub fn cut_power(&mut self) {
        for Submission { ticket, work } in std::mem::take(&mut self.under_way) {
            if self.random.one_in(2) {
                let faults = std::mem::take(&mut self.faults);
                // As far as it got: not synced.
                let work = match work {
                    Work::Write {
                        file,
                        offset,
                        buffer,
                        bytes,
                        ..
                    } => Work::Write {
                        file,
                        offset,
                        buffer,
                        bytes,
                        sync: false,
                    },
                    work => work,
                };
                self.execute(ticket, work);
                self.faults = faults;
            }
        }
        self.open.clear();
        for file in self.files.values_mut() {
            for (offset, bytes) in std::mem::take(&mut file.unsynced) {
                let whole = self.random.one_in(4);
                for (i, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if whole || self.random.one_in(2) {
                        let at = offset + i * SECTOR_BYTES;
                        file.safe[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            file.now.clone_from(&file.safe);
        }
    }

    /// The process is gone, the machine is not: what was written is there.
    pub fn kill(&mut self) {
        for Submission { ticket, work } in std::mem::take(&mut self.under_way) {
            if self.random.one_in(2) {
                self.execute(ticket, work);
            }
        }
        self.open.clear();
    }

    /// Flips a bit of what is written somewhere; gives file and offset.
    pub fn flip_bit(&mut self) -> Option<(String, usize)> {
        let (name, at) = self.somewhere()?;
        let file = self.files.get_mut(&name).expect("it was found");
        let bit = 1 << self.random.below(8);
        file.now[at] ^= bit;
        file.safe[at] ^= bit;
        self.lies.push((name.clone(), at, 1));
        Some((name, at))
    }

    /// Has a block that is written somewhere fail to be read.
    pub fn spoil_block(&mut self) -> Option<(String, usize)> {
        let (name, at) = self.somewhere()?;
        let file = self.files.get_mut(&name).expect("it was found");
        file.bad.insert(at / BLOCK_BYTES);
        let start = at / BLOCK_BYTES * BLOCK_BYTES;
        self.lies.push((name.clone(), start, BLOCK_BYTES));
        Some((name, at / BLOCK_BYTES * BLOCK_BYTES))
    }

    /// A place that is not zero.
    fn somewhere(&mut self) -> Option<(String, usize)> {
        let names: Vec<String> = self.files.keys().cloned().collect();
        for _ in 0..64 {
            let name = names.get(self.random.below(names.len().max(1) as u32) as usize)?;
            let file = &self.files[name];
            let used = file
                .now
                .iter()
                .rposition(|&byte| byte != 0)
                .map_or(0, |at| at + 1);
            if used > 0 {
                let at = self.random.below(used as u32) as usize;
                return Some((name.clone(), at));
            }
        }
        None
    }

    /// The first blocks of files, by name.
    pub fn first_blocks(&self) -> BTreeMap<String, Vec<u8>> {
        let blocks = self.files.iter().map(|(name, file)| {
            let end = BLOCK_BYTES.min(file.now.len());
            (name.clone(), file.now[..end].to_vec())
        });
        blocks.collect()
    }

    /// Puts something else in a place.
    pub fn overwrite(&mut self, name: &str, at: usize, bytes: &[u8]) {
        let file = self.files.get_mut(name).expect("it is there");
        file.now[at..at + bytes.len()].copy_from_slice(bytes);
        file.safe[at..at + bytes.len()].copy_from_slice(bytes);
        self.lies.push((name.to_owned(), at, bytes.len()));
    }

    /// What is in a place.
    pub fn content(&self, name: &str, places: std::ops::Range<usize>) -> &[u8] {
        &self.files[name].now[places]
    }

    /// Flips a bit in a file.
    pub fn spoil(&mut self, name: &str) {
        let file = self.files.get_mut(name).expect("it is there");
        let at = self.random.below(file.now.len() as u32) as usize;
        file.now[at] ^= 1;
        file.safe[at] ^= 1;
    }

    /// Deletes a file behind everybody's back.
    pub fn lose_file(&mut self, name: &str) -> bool {
        self.files.remove(name).is_some()
    }

    /// Whether some bytes are on the disk anywhere.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        self.find(bytes).is_some()
    }

    /// Where some bytes are: file and offset.
    pub fn find(&self, bytes: &[u8]) -> Option<(String, usize)> {
        self.files.iter().find_map(|(name, file)| {
            let mut windows = file.now.windows(bytes.len());
            let at = windows.position(|window| window == bytes)?;
            Some((name.clone(), at))
        })
    }

    /// Whether a place is about to be written.
    pub fn is_writing(&self, name: &str, at: usize) -> bool {
        self.under_way
            .iter()
            .any(|submission| match &submission.work {
                Work::Write {
                    file,
                    offset,
                    bytes,
                    ..
                } => {
                    let offset = *offset as usize;
                    self.open.get(file).is_some_and(|open| open == name)
                        && (offset..offset + bytes).contains(&at)
                }
                _ => false,
            })
    }
}
