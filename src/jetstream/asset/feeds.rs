//! What feeds a stream: one feed if it is a mirror, one for each of its sources.

use std::collections::{BTreeMap, VecDeque};

use crate::base::deadlines::Millis;
use crate::jetstream::api::responses::SourceInfo;
use crate::jetstream::config::StreamConfig;
use crate::jetstream::sourcing::{Feed, Feeder, SourcedFrom, Start};
use crate::jetstream::stream::{Arrival, Origin, Outcome, storage_error};
use crate::jetstream::{Now, Outgoing, Outlet};
use crate::store::{Fetched, Messages, Refused, Seq, UnixNanos};

use super::{Asset, Surroundings};

/// The number of the facts about how far sources have been followed.
const NOTE: u32 = u32::MAX;

/// What stands in the place of a source's name in the fact, with the stream's own last sequence.
const OWN: &str = ".";
/// After so many messages of the stream it is noted anew: a restart looks at no more than about that many.
const NOTED_EVERY: Seq = 4096;
/// Bytes that may wait for a read; then what comes is asked for again later.
const HELD_BYTES_MAX: usize = 16 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Feeds {
    feeds: Vec<Feed>,
    is_mirror: bool,
    /// By the name of a source: what was taken from it last.
    taken: BTreeMap<String, Taken>,
    is_dirty: bool,
    /// The stream's last sequence when that was noted.
    noted: Seq,
    /// It was noted before the restart.
    has_note: bool,
    /// After a restart: the sequence from which on messages may have come that are not noted.
    scan: Option<Seq>,
    /// What has come and cannot be stored before something is read, in order.
    held: VecDeque<Held>,
    held_bytes: usize,
}

/// A message that waits.
#[derive(Debug)]
struct Held {
    /// Of which feed, and as often as that had begun then.
    name: String,
    beginnings: u64,
    seq: Seq,
    time: UnixNanos,
    subject: Vec<u8>,
    headers: Vec<u8>,
    payload: Box<[u8]>,
}

impl Held {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.subject.len() + self.headers.len() + self.payload.len()
    }
}

/// What was taken from a source last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Its sequence there.
    pub seq: Seq,
    /// Of which stream of that name; empty where it is not known.
    pub identity: String,
}

/// Number and content of the fact of what was taken from sources last, by a stream with this last
/// sequence. The name of a source has three words.
pub fn fact(taken: &BTreeMap<String, Taken>, last_seq: Seq) -> (u32, Vec<u8>) {
    let mut fact = format!("{last_seq} {OWN}\n").into_bytes();
    for (name, Taken { seq, identity }) in taken {
        let text = match identity.is_empty() {
            true => format!("{seq} {name}\n"),
            false => format!("{seq} {name} {identity}\n"),
        };
        fact.extend_from_slice(text.as_bytes());
    }
    (NOTE, fact)
}

impl Feeds {
    /// Those of a configuration.
    pub fn new(config: &StreamConfig) -> Self {
        let mut feeds = Self::default();
        feeds.begin(config);
        feeds
    }

    fn begin(&mut self, config: &StreamConfig) {
        self.is_mirror = config.mirror.is_some();
        let mirror = config.mirror.iter().map(|source| (source, true));
        let sources = config.sources.iter().map(|source| (source, false));
        for (source, is_mirror) in mirror.chain(sources) {
            let is_there = |feed: &Feed| feed.source() == source;
            if !self.feeds.iter().any(is_there) {
                self.feeds
                    .push(Feed::new(source.clone(), is_mirror, &config.name));
                // There is a note before the first message of it.
                self.is_dirty |= !is_mirror;
            }
        }
    }

    /// Whether there are sources.
    fn has_sources(&self) -> bool {
        !self.is_mirror && !self.feeds.is_empty()
    }

    /// Whether something of them waits for a read.
    pub fn wait(&self) -> bool {
        self.scan.is_some() || !self.held.is_empty()
    }

    fn hold(&mut self, held: Held) {
        self.held_bytes += held.bytes();
        self.held.push_back(held);
    }

    /// Of which feed a message is; none where it will come again, or nobody wants it any more.
    fn place_of(&self, held: &Held) -> Option<usize> {
        let mut feeds = self.feeds.iter();
        feeds
            .position(|feed| feed.index_name() == held.name && feed.beginnings() == held.beginnings)
    }

    fn drop_stale(&mut self) {
        for held in std::mem::take(&mut self.held) {
            if self.place_of(&held).is_some() {
                self.held.push_back(held);
            }
        }
        self.held_bytes = self.held.iter().map(Held::bytes).sum();
    }

    /// When one of them is due.
    pub fn next_deadline(&self) -> Option<Millis> {
        if self.scan.is_some() {
            return None;
        }
        self.feeds.iter().map(Feed::next_deadline).min()
    }

    /// Those that are there, for stream infos: the mirror, and the sources.
    pub fn infos(&self, now: Now) -> (Option<SourceInfo<'_>>, Vec<SourceInfo<'_>>) {
        let mut infos = self.feeds.iter().map(|feed| {
            let taken = self.taken.get(feed.index_name());
            feed.info(now, taken.map_or(0, |taken| taken.seq))
        });
        match self.is_mirror {
            true => (infos.next(), Vec::new()),
            false => (None, infos.collect()),
        }
    }
}

impl Asset {
    /// What feeds it.
    pub fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    /// Takes up what a changed configuration says of them.
    pub(super) fn change_feeds<M: Messages, O: Outlet + Feeder>(
        &mut self,
        around: &mut Surroundings<'_, M, O>,
    ) {
        let config = self.stream.config();
        let named: Vec<_> = config.mirror.iter().chain(&config.sources).collect();
        let outlet = &mut *around.outlet;
        self.feeds.feeds.retain_mut(|feed| {
            let stays = named.contains(&feed.source());
            if !stays {
                feed.end(outlet);
            }
            stays
        });
        self.feeds.begin(self.stream.config());
    }

    /// Has feeds do what is due.
    pub fn tick_feeds<M: Messages, O: Outlet + Feeder>(
        &mut self,
        around: &mut Surroundings<'_, M, O>,
    ) {
        if self.feeds.scan.is_some() {
            return;
        }
        let state = *around.messages.state();
        let Feeds {
            feeds,
            is_mirror,
            taken,
            is_dirty,
            ..
        } = &mut self.feeds;
        for feed in feeds {
            if feed.take_recreated() && taken.remove(feed.index_name()).is_some() {
                *is_dirty = true;
            }
            let start = match taken.get(feed.index_name()) {
                _ if *is_mirror => Start {
                    after: state.last_seq,
                    ..Start::default()
                },
                Some(taken) => Start {
                    after: taken.seq,
                    identity: &taken.identity,
                    ..Start::default()
                },
                None => Start::default(),
            };
            feed.tick(around.now, start, around.outlet);
        }
    }

    /// Something has come on a subject that a feed listens to.
    pub fn fed<M: Messages, O: Outlet + Feeder>(
        &mut self,
        message: &Outgoing<'_>,
        around: &mut Surroundings<'_, M, O>,
    ) {
        let Some(place) = (self.feeds.feeds.iter()).position(|feed| feed.hears(message.to)) else {
            return;
        };
        let now = around.now;
        let feed = &mut self.feeds.feeds[place];
        if let Some(fed) = feed.arrived(now, message, around.outlet) {
            let arrival = Arrival {
                subject: &fed.subject,
                reply: &[],
                headers: &fed.headers,
                payload: fed.payload,
                origin: Origin::Source,
            };
            // Behind what waits already, if something does.
            if !self.feeds.held.is_empty()
                || !self.take(place, (fed.seq, fed.time), &arrival, around)
            {
                let feed = &self.feeds.feeds[place];
                let held = Held {
                    name: feed.index_name().to_owned(),
                    beginnings: feed.beginnings(),
                    seq: fed.seq,
                    time: fed.time,
                    payload: fed.payload.into(),
                    subject: fed.subject,
                    headers: fed.headers,
                };
                self.feeds.hold(held);
                if self.feeds.held_bytes > HELD_BYTES_MAX {
                    self.feeds.feeds[place].failed(now, around.outlet);
                    self.feeds.drop_stale();
                }
            }
        }
        // A gap is asked for at once.
        self.tick_feeds(around);
    }

    /// Stores what has come and could not be stored yet, as far as it can be now.
    pub(super) fn take_held<M: Messages, O: Outlet + Feeder>(
        &mut self,
        around: &mut Surroundings<'_, M, O>,
    ) {
        while let Some(held) = self.feeds.held.pop_front() {
            self.feeds.held_bytes -= held.bytes();
            let Some(place) = self.feeds.place_of(&held) else {
                continue;
            };
            let arrival = Arrival {
                subject: &held.subject,
                reply: &[],
                headers: &held.headers,
                payload: &held.payload,
                origin: Origin::Source,
            };
            if !self.take(place, (held.seq, held.time), &arrival, around) {
                self.feeds.held_bytes += held.bytes();
                self.feeds.held.push_front(held);
                return;
            }
        }
    }

    /// Stores a message of a feed, and notes that it was taken; false where it has to wait for a read.
    fn take<M: Messages, O: Outlet + Feeder>(
        &mut self,
        place: usize,
        (seq, time): (Seq, UnixNanos),
        arrival: &Arrival<'_>,
        around: &mut Surroundings<'_, M, O>,
    ) -> bool {
        let outcome = match self.feeds.is_mirror {
            true => self.mirrored(seq, time, arrival, around),
            false => self.arrived(arrival, around),
        };
        let feed = &mut self.feeds.feeds[place];
        match outcome {
            Outcome::Waits => return false,
            Outcome::Refused(_) => feed.failed(around.now, around.outlet),
            Outcome::Stored(_) | Outcome::Unwanted(_) | Outcome::Duplicate(_) | Outcome::Staged => {
                if !self.feeds.is_mirror {
                    let name = feed.index_name().to_owned();
                    let identity = feed.identity().to_owned();
                    self.feeds.taken.insert(name, Taken { seq, identity });
                    self.feeds.is_dirty = true;
                }
            }
        }
        true
    }

    /// The store has news: what was taken and not noted before a restart is looked for, and what waits
    /// is stored.
    pub(super) fn resume_feeds<M: Messages, O: Outlet + Feeder>(
        &mut self,
        around: &mut Surroundings<'_, M, O>,
    ) {
        if self.feeds.scan.is_some() {
            self.scan_taken(around.messages);
            self.tick_feeds(around);
        }
        if !self.feeds.held.is_empty() {
            self.take_held(around);
        }
    }

    /// Messages of sources and the note of how far those were followed may have come to the disk one after the
    /// other, and only the messages before a crash: they say themselves where they come from.
    pub(super) fn begin_feeds<M: Messages>(&mut self, messages: &mut M) {
        if !self.feeds.has_note && self.feeds.has_sources() {
            // It was restored from a snapshot.
            self.feeds.scan = Some(messages.state().first_seq);
        }
        self.scan_taken(messages);
    }

    fn scan_taken<M: Messages>(&mut self, messages: &mut M) {
        let last = messages.state().last_seq;
        while let Some(seq) = self.feeds.scan {
            if seq > last || !self.feeds.has_sources() {
                self.feeds.scan = None;
                break;
            }
            let from = match messages.get(seq) {
                Fetched::Later => return,
                Fetched::Here(stored) => SourcedFrom::read(stored.headers),
                Fetched::Gone | Fetched::Damaged => None,
            };
            self.feeds.scan = Some(seq + 1);
            let Some(from) = from else { continue };
            let known = self.feeds.taken.get(&from.index_name);
            let is_newer = |known: &Taken| known.identity != from.identity || known.seq < from.seq;
            if known.is_none_or(is_newer) {
                let taken = Taken {
                    seq: from.seq,
                    identity: from.identity,
                };
                self.feeds.taken.insert(from.index_name, taken);
                self.feeds.is_dirty = true;
            }
        }
    }

    /// Has it noted how far sources were followed, also where nothing has come from them for long: a restart
    /// looks at what has come behind the note.
    pub(super) fn note_feeds_in_time(&mut self, last_seq: Seq) {
        if self.feeds.has_sources() && last_seq >= self.feeds.noted.saturating_add(NOTED_EVERY) {
            self.feeds.is_dirty = true;
        }
    }

    /// Stores a message as it is where it comes from: with its sequence and its time.
    fn mirrored<M: Messages, O: Outlet>(
        &mut self,
        seq: Seq,
        time: UnixNanos,
        arrival: &Arrival<'_>,
        around: &mut Surroundings<'_, M, O>,
    ) -> Outcome {
        if let Err(refused) = around.messages.skip_to(seq - 1, time) {
            return Outcome::Refused(storage_error(refused));
        }
        let now = around.now.unix;
        around.now.unix = time;
        let outcome = self.arrived(arrival, around);
        around.now.unix = now;
        outcome
    }

    /// Ends all feeds.
    pub fn end_feeds<M: Messages, O: Outlet + Feeder>(
        &mut self,
        around: &mut Surroundings<'_, M, O>,
    ) {
        for feed in &mut self.feeds.feeds {
            feed.end(around.outlet);
        }
        self.feeds.drop_stale();
    }

    /// Whether how far sources were followed is to be written.
    pub(super) fn feeds_are_dirty(&self) -> bool {
        self.feeds.is_dirty
    }

    /// Writes it.
    pub(super) fn write_feeds<M: Messages>(&mut self, messages: &mut M) -> Result<(), Refused> {
        let last_seq = messages.state().last_seq;
        let (note, fact) = fact(&self.feeds.taken, last_seq);
        messages.rewrite_note(note, &fact)?;
        self.feeds.is_dirty = false;
        self.feeds.noted = last_seq;
        Ok(())
    }

    /// Whether facts are about feeds; if so, they are taken up.
    pub fn recover_feeds(&mut self, note: u32, facts: &[Vec<u8>]) -> bool {
        if note != NOTE {
            return false;
        }
        self.feeds.has_note = true;
        let text = facts.last().map(|fact| String::from_utf8_lossy(fact));
        for line in text.as_deref().unwrap_or_default().lines() {
            let Some((seq, rest)) = line.split_once(' ') else {
                continue;
            };
            let mut spaces = rest.match_indices(' ').map(|(at, _)| at);
            let (name, identity) = match spaces.nth(2) {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (rest, ""),
            };
            if let Ok(seq) = seq.parse() {
                if rest == OWN {
                    self.feeds.noted = seq;
                    self.feeds.scan = Some(seq + 1);
                    continue;
                }
                let identity = identity.to_owned();
                let taken = Taken { seq, identity };
                self.feeds.taken.insert(name.to_owned(), taken);
            }
        }
        true
    }
}
