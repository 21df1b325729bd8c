//! Our stores, written to without a server: what they submit is done at once.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::runtime::disk;
use crate::runtime::host;
use crate::runtime::storage;
use crate::store::io::{BLOCK_BYTES, Completion, Failure, FileId, Submission, Ticket, Work};
use crate::store::{Handle, Key, Options, Refused, Store, StreamNumber, StreamOptions};

/// How a store is encrypted.
#[derive(Clone, Debug, Default)]
pub struct Encryption {
    /// What is written is encrypted with it.
    pub key: Option<Key>,
    /// What is there may be encrypted with this.
    pub previous_key: Option<Key>,
}

/// A store, and the directory that it thinks of.
struct Target {
    directory: PathBuf,
    files: HashMap<FileId, File>,
    store: Store,
    submissions: Vec<Submission>,
}

/// The stores of all shards.
pub struct Targets {
    targets: Vec<Target>,
    began: Instant,
}

/// A stream in one of them.
#[derive(Clone, Copy)]
pub struct Home {
    target: usize,
    number: StreamNumber,
}

impl Targets {
    /// Opens what there is, and so many at least.
    ///
    /// # Errors
    /// When one of them cannot be used, and why.
    pub fn open(store_dir: &Path, encryption: &Encryption, shards: usize) -> Result<Self, String> {
        let said =
            |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let found = storage::directories(store_dir, shards);
        let (parent, count) = found.map_err(|error| said(store_dir, &error))?;
        let random = || host::random_u64().map_err(|error| error.to_string());
        let mut options = Options::new(random()?);
        options.key = encryption.key.clone();
        options.previous_key = encryption.previous_key.clone();
        let began = Instant::now();
        let mut targets = Vec::new();
        for number in 0..count {
            let directory = parent.join(number.to_string());
            let listed = disk::list(&directory).map_err(|error| said(&directory, &error))?;
            options.seed = random()?;
            let fits = storage::fit(&mut options, &directory, count);
            fits.map_err(|error| said(&directory, &error))?;
            let mut target = Target {
                store: Store::open(&options, &listed, 0),
                directory,
                files: HashMap::new(),
                submissions: Vec::new(),
            };
            while !target.store.is_ready() {
                if let Some(why) = target.store.failed() {
                    return Err(said(&target.directory, &why));
                }
                if !target.turn(began)? {
                    return Err(said(&target.directory, &"the store does not open"));
                }
            }
            targets.push(target);
        }
        Ok(Self { targets, began })
    }

    /// Whether there is a stream that is found by this.
    pub fn has(&self, key: &[u8]) -> bool {
        self.targets.iter().any(|target| {
            let store = &target.store;
            store.streams().any(|number| store.key(number) == Some(key))
        })
    }

    /// Makes a stream where there is the least.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn create(
        &mut self,
        key: &[u8],
        meta: &[u8],
        options: StreamOptions,
    ) -> Result<Home, String> {
        let all = self.targets.iter().enumerate();
        let emptiest = all.min_by_key(|(_, target)| target.store.usage().live_bytes);
        let target = emptiest.map_or(0, |(place, _)| place);
        let store = &mut self.targets[target].store;
        let number = store.create_stream(key, meta, options);
        let number = number.map_err(|refused| super::refusal(&refused))?;
        Ok(Home { target, number })
    }

    /// Lets something be done with the messages of a stream.
    pub fn with<R>(&mut self, home: &Home, work: impl FnOnce(&mut Handle<'_>) -> R) -> R {
        let store = &mut self.targets[home.target].store;
        let mut handle = store
            .stream(home.number)
            .expect("it was made and is not deleted");
        work(&mut handle)
    }

    /// Where a stream is.
    pub fn path(&self, home: &Home) -> &Path {
        &self.targets[home.target].directory
    }

    /// Writes what has come since the last time.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn write(&mut self, home: &Home) -> Result<(), String> {
        let began = self.began;
        let target = &mut self.targets[home.target];
        while target.turn(began)? {}
        match target.store.refusal() {
            Some(refused) => Err(super::refusal(&refused)),
            None => Ok(()),
        }
    }

    /// The same, until it is on stable storage.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn settle(&mut self, home: &Home) -> Result<(), String> {
        self.write(home)?;
        let store = &self.targets[home.target].store;
        match store.durable() >= store.position() {
            true => Ok(()),
            false => Err("the target does not keep what is written to it".to_owned()),
        }
    }

    /// Reads what a stream waits for.
    ///
    /// # Errors
    /// When there is nothing to be read.
    pub fn read(&mut self, home: &Home) -> Result<(), String> {
        let began = self.began;
        match self.targets[home.target].turn(began)? {
            true => Ok(()),
            false => Err("the target does not read what is asked for".to_owned()),
        }
    }

    /// Deletes a stream.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn delete(&mut self, home: &Home) -> Result<(), String> {
        self.targets[home.target].store.delete_stream(home.number);
        self.settle(home)
    }

    /// Everything is on stable storage.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn finish(&mut self) -> Result<(), String> {
        for target in &mut self.targets {
            while target.turn(self.began)? {}
        }
        Ok(())
    }
}

impl Target {
    /// Does what is submitted now; whether there was something.
    fn turn(&mut self, began: Instant) -> Result<bool, String> {
        self.store.tick(began.elapsed().as_millis() as u64);
        self.store.submit(&mut self.submissions);
        let some = !self.submissions.is_empty();
        for submission in std::mem::take(&mut self.submissions) {
            let completion = self.execute(submission);
            self.store.handle(completion);
        }
        if let Some(Refused::Poisoned) = self.store.refusal() {
            let lines = self.store.take_log();
            let last = lines.last().map_or("", |line| &line.text);
            return Err(format!("{}: {last}", self.directory.display()));
        }
        Ok(some)
    }

    fn execute(&mut self, Submission { ticket, work }: Submission) -> Completion {
        let mut read = None;
        let result = match work {
            Work::Read {
                file,
                offset,
                mut buffer,
            } => {
                let result = self
                    .file(file)
                    .and_then(|file| fill(file, &mut buffer, offset));
                read = Some(buffer);
                result
            }
            work => self.change(work).map(|()| 0),
        };
        completed(ticket, result, read)
    }

    fn file(&self, file: FileId) -> io::Result<&File> {
        self.files.get(&file).ok_or(io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, work: Work) -> io::Result<()> {
        let directory = &self.directory;
        match work {
            Work::Open { file, name } => {
                let opened = disk::open(&directory.join(name), 0)?;
                self.files.insert(file, opened.into());
            }
            Work::Create { file, name, bytes } => {
                let made = disk::create(directory, &directory.join(name), bytes)?;
                self.files.insert(file, made.into());
            }
            Work::Write {
                file,
                offset,
                buffer,
                bytes,
                sync,
            } => {
                let file = self.file(file)?;
                file.write_all_at(&buffer[..bytes], offset)?;
                if sync {
                    file.sync_data()?;
                }
            }
            Work::Sync { file } => self.file(file)?.sync_data()?,
            Work::Close { file } => {
                self.files.remove(&file);
            }
            Work::Remove { name } => {
                match std::fs::remove_file(directory.join(name)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
                disk::sync_directory(directory)?;
            }
            Work::Rename { from, to } => {
                std::fs::rename(directory.join(from), directory.join(to))?;
                disk::sync_directory(directory)?;
            }
            Work::Read { .. } => unreachable!("it was taken out before"),
        }
        Ok(())
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(bytes) => done += bytes,
            // Direct reads do not go on from where a file has ended within a block.
            Err(_) if done % BLOCK_BYTES != 0 => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn completed(
    ticket: Ticket,
    result: io::Result<usize>,
    buffer: Option<crate::store::io::AlignedBuffer>,
) -> Completion {
    let result = result.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NotFound,
        _ => disk::failure_of(&error),
    });
    Completion {
        ticket,
        result,
        buffer,
    }
}
