//! `skein import`: the streams of a nats-server's store, moved into ours.
//!
//! The source is opened for reading only, and looked at again at the end: if something has changed
//! meanwhile, a server is using it. What was written is read back and compared before a stream counts
//! as moved. A stream with which something is wrong is left out, unless what there is of it is wanted.

mod files;
mod target;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::ImportOptions;
use crate::import::{
    Checked, Checking, Definitions, Fault, Keys, Moving, Place, Stream, Tally, streams,
};
use crate::jetstream::adopted::{self, Adopting};
use crate::runtime::{host, storage};
use crate::store::{Messages, Refused};
use files::Files;
use target::{Home, Targets};

pub use target::Encryption;

/// Below a nats-server's `store_dir`.
const JETSTREAM: &str = "jetstream";
/// How often it is said how far a stream has come.
const PROGRESS: Duration = Duration::from_secs(5);

/// What is to be done.
pub struct Import {
    /// The `store_dir` of a nats-server, or the folder `jetstream` in it.
    pub source: PathBuf,
    /// Keys of that.
    pub keys: Vec<String>,
    /// Our `store_dir`.
    pub target: PathBuf,
    /// How what is written there is encrypted.
    pub encryption: Encryption,
    /// How many shards the server has; new streams are divided among them.
    pub shards: usize,
    /// Whether streams are moved of which something is missing or damaged.
    pub salvage: bool,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was moved, and checked.
    Whole,
    /// Something was left out, or was damaged.
    Partial,
}

/// Why nothing was moved.
#[derive(Debug)]
pub struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}

/// A line of the table at the end.
struct Row {
    place: Place,
    tally: Tally,
    consumers: usize,
    result: &'static str,
}

/// What became of a stream.
enum Moved {
    Verified,
    Salvaged,
    LeftOut,
}

impl Import {
    /// What the command line asks for.
    pub fn of(options: &ImportOptions) -> Self {
        let jetstream = &options.config.jetstream;
        let (key, previous_key) = storage::keys(jetstream);
        Self {
            source: options.source.clone(),
            keys: options.keys.iter().map(|key| key.0.clone()).collect(),
            target: jetstream.store_dir.clone().unwrap_or_default(),
            encryption: Encryption { key, previous_key },
            shards: (options.config.shards).unwrap_or_else(|| host::usable_cpus().len()),
            salvage: options.salvage,
        }
    }

    /// Moves everything. Progress and faults go to `progress`, the table to `table`.
    ///
    /// # Errors
    /// When there is nothing to be moved, the target cannot be used, or has one of the streams
    /// already: then nothing is written.
    pub fn go(&self, progress: &mut dyn Write, table: &mut dyn Write) -> Result<Outcome, Refusal> {
        import(self, progress, table)
    }
}

fn import(
    import: &Import,
    progress: &mut dyn Write,
    table: &mut dyn Write,
) -> Result<Outcome, Refusal> {
    let mut say = |text: &dyn fmt::Display| {
        // Nobody is left to be told.
        let _ = writeln!(progress, "{text}");
    };
    let refused = |what: String| Err(Refusal(what));
    let source = folder(&import.source)?;
    let mut files = Files::new(&source);
    let (places, is_clustered) = streams(&mut files)?;
    if places.is_empty() {
        return refused(format!("there are no streams in {}", source.display()));
    }
    if is_clustered {
        say(
            &"The server was part of a cluster: what its cluster had agreed on, but it had not stored, is not here.",
        );
    }
    let before = files.census().map_err(Refusal)?;
    let (target, encryption) = (&import.target, &import.encryption);
    let targets = Targets::open(target, encryption, import.shards);
    let mut targets = targets.map_err(Refusal)?;
    for place in &places {
        if targets.has(&adopted::key(&place.account, &place.stream)) {
            let Place { account, stream } = place;
            let target = import.target.display();
            return refused(format!(
                "{target} has a stream {account} > {stream} already"
            ));
        }
    }
    let keys = Keys::new(import.keys.iter().cloned());
    let mut rows = Vec::new();
    let mut outcome = Outcome::Whole;
    let mut stopped = false;
    for place in places {
        let mut one = One {
            files: &mut files,
            keys: &keys,
            targets: &mut targets,
            salvage: import.salvage,
            say: &mut say,
            tally: Tally::default(),
            consumers: 0,
            home: None,
        };
        let moved = one.go(&place);
        let (tally, consumers) = (one.tally, one.consumers);
        let moved = match (moved, one.home) {
            (Ok(moved), _) => moved,
            (Err(why), home) => {
                // What there is of it must not be taken for the stream.
                let _ = home.map(|home| targets.delete(&home));
                say(&format_args!("{} > {}: {why}", place.account, place.stream));
                stopped = true;
                Moved::LeftOut
            }
        };
        let result = match moved {
            Moved::Verified => "yes",
            Moved::Salvaged => "in part",
            Moved::LeftOut => "left out",
        };
        if result != "yes" {
            outcome = Outcome::Partial;
        }
        rows.push(Row {
            place,
            tally,
            consumers,
            result,
        });
        if stopped {
            break;
        }
    }
    if let Err(why) = targets.finish() {
        say(&why);
        outcome = Outcome::Partial;
    }
    if files.census().ok() != Some(before) {
        say(
            &"The source has changed meanwhile: a server is using it. Stop it, and import into an empty store again.",
        );
        outcome = Outcome::Partial;
    }
    let _ = write_table(table, &rows);
    Ok(outcome)
}

/// The folder with the accounts.
fn folder(given: &Path) -> Result<PathBuf, Refusal> {
    let below = given.join(JETSTREAM);
    match (below.is_dir(), given.is_dir()) {
        (true, _) => Ok(below),
        (false, true) => Ok(given.to_path_buf()),
        (false, false) => Err(Refusal(format!("{} is no folder", given.display()))),
    }
}

/// One stream being moved.
struct One<'a> {
    files: &'a mut Files,
    keys: &'a Keys,
    targets: &'a mut Targets,
    salvage: bool,
    say: &'a mut dyn FnMut(&dyn fmt::Display),
    tally: Tally,
    consumers: usize,
    /// Where it is moved to, once that has begun.
    home: Option<Home>,
}

impl One<'_> {
    /// An error ends everything: the target cannot be written to.
    fn go(&mut self, place: &Place) -> Result<Moved, String> {
        let name = format!("{} > {}", place.account, place.stream);
        let mut faults = Vec::new();
        let opened = Stream::open(self.files, self.keys, place.clone());
        let opened = opened.and_then(|mut stream| {
            let definitions = Definitions::read(&mut stream, &mut faults)?;
            Ok((stream, definitions))
        });
        let (mut stream, definitions) = match opened {
            Ok(opened) => opened,
            Err(fault) => {
                (self.say)(&format_args!("{name}: left out: {fault}"));
                return Ok(Moved::LeftOut);
            }
        };
        self.consumers = definitions.consumers.len();
        if let Some(replicas) = definitions.replicas {
            (self.say)(&format_args!(
                "{name}: had {replicas} replicas, has one now"
            ));
        }
        let is_index_valid = stream.is_index_valid();
        if !is_index_valid {
            (self.say)(&format_args!(
                "{name}: its server was not stopped in order: its limits are applied again"
            ));
        }
        if let Some(torn) = stream.torn() {
            (self.say)(&format_args!(
                "{name}: ends in a record that was not finished: {torn}"
            ));
        }
        let config = &definitions.stream;
        let (meta, options) = adopted::stored_form(stream.meta().created, config);
        let key = adopted::key(&place.account, &place.stream);
        let home = self.targets.create(&key, &meta, options)?;
        self.home = Some(home);

        let mut moving = Moving::new(config, stream.sources());
        let mut too_large = None;
        let (mut began, expected) = (Instant::now(), stream.expected());
        loop {
            let more = self.targets.with(&home, |messages| {
                stream.next_block(&mut |message| match moving.append(message, messages) {
                    Err(Refused::TooLarge) => {
                        too_large.get_or_insert(message.seq);
                        Ok(())
                    }
                    appended => appended,
                })
            });
            let more = more.map_err(|refused| refusal(&refused))?;
            self.targets.write(&home)?;
            if !more {
                break;
            }
            if began.elapsed() >= PROGRESS {
                began = Instant::now();
                let tally = stream.tally();
                let of = expected.map_or(String::new(), |(messages, _)| format!(" of {messages}"));
                let mib = tally.bytes >> 20;
                (self.say)(&format_args!(
                    "{name}: {}{of} messages, {mib} MiB",
                    tally.messages
                ));
            }
        }
        let reordered = moving.reordered();
        let (last, consumers) = (stream.last(), &definitions.consumers);
        let sum = self
            .targets
            .with(&home, |messages| moving.finish(last, consumers, messages));
        let sum = sum.map_err(|refused| refusal(&refused))?;
        self.targets.settle(&home)?;
        if reordered > 0 {
            (self.say)(&format_args!(
                "{name}: {reordered} messages were stored, by its clock, before the one before them; they have the later time now"
            ));
        }

        let (tally, found) = stream.finish();
        self.tally = tally;
        faults.extend(found);
        if let Some(seq) = too_large {
            faults.push(Fault {
                file: place.stream.clone(),
                what: format!("message {seq} is too large"),
            });
        }
        if let Some(what) = self.compare(&home, &tally, last.0, sum)? {
            let file = self.targets.path(&home).display().to_string();
            faults.push(Fault { file, what });
        }
        if !is_index_valid {
            let state = self.targets.with(&home, |messages| {
                Adopting::apply_limits(config, messages);
                *messages.state()
            });
            self.targets.settle(&home)?;
            (self.tally.messages, self.tally.bytes) = (state.messages, state.bytes);
        }
        for fault in &faults {
            (self.say)(&format_args!("{name}: {fault}"));
        }
        if faults.is_empty() {
            (self.say)(&format_args!(
                "{name}: {} messages moved",
                self.tally.messages
            ));
            return Ok(Moved::Verified);
        }
        if self.salvage {
            return Ok(Moved::Salvaged);
        }
        (self.say)(&format_args!(
            "{name}: left out; with --salvage, what there is of it is moved"
        ));
        self.targets.delete(&home)?;
        Ok(Moved::LeftOut)
    }

    /// Compares what was written with what was read: what differs.
    fn compare(
        &mut self,
        home: &Home,
        tally: &Tally,
        last_seq: u64,
        sum: u64,
    ) -> Result<Option<String>, String> {
        let state = self.targets.with(home, |messages| *messages.state());
        let last_seq = last_seq.max(tally.last_seq);
        let first_seq = match tally.messages {
            0 => last_seq + 1,
            _ => tally.first_seq,
        };
        let (is, ought) = (
            (state.messages, state.bytes, state.first_seq, state.last_seq),
            (tally.messages, tally.bytes, first_seq, last_seq),
        );
        if is != ought {
            let what = format!("holds {is:?} (messages, bytes, first, last), not {ought:?}");
            return Ok(Some(what));
        }
        let mut checking = Checking::default();
        let differs = loop {
            match self.targets.with(home, |messages| checking.go_on(messages)) {
                Checked::Later => self.targets.read(home)?,
                Checked::All(read) if read == sum => break None,
                Checked::All(_) => break Some("differs from what was written".to_owned()),
                Checked::Damaged(seq) => break Some(format!("message {seq} cannot be read back")),
            }
        };
        Ok(differs)
    }
}

fn refusal(refused: &Refused) -> String {
    match refused {
        Refused::Full => "the disk of the target is full",
        Refused::Poisoned => "the target cannot be written to",
        Refused::TooLarge => "a record is too large",
    }
    .to_owned()
}

fn write_table(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    let title = |text: &str| text.to_owned();
    let mut lines = vec![[
        title("ACCOUNT"),
        title("STREAM"),
        title("MESSAGES"),
        title("BYTES"),
        title("CONSUMERS"),
        title("VERIFIED"),
    ]];
    lines.extend(rows.iter().map(|row| {
        [
            row.place.account.clone(),
            row.place.stream.clone(),
            row.tally.messages.to_string(),
            row.tally.bytes.to_string(),
            row.consumers.to_string(),
            row.result.to_owned(),
        ]
    }));
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    for line in &lines {
        let [account, stream, messages, bytes, consumers, verified] = line;
        let [a, s, m, b, c, _] = widths;
        writeln!(
            out,
            "{account:a$}  {stream:s$}  {messages:>m$}  {bytes:>b$}  {consumers:>c$}  {verified}"
        )?;
    }
    Ok(())
}
