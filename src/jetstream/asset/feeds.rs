//! What feeds a stream: one feed if it is a mirror, one for each of its sources.

use std::collections::BTreeMap;

use crate::base::deadlines::Millis;
use crate::jetstream::api::responses::SourceInfo;
use crate::jetstream::config::StreamConfig;
use crate::jetstream::sourcing::{Feed, Feeder, Start};
use crate::jetstream::stream::{Arrival, Origin, Outcome, storage_error};
use crate::jetstream::{Now, Outgoing, Outlet};
use crate::store::{Messages, Refused, Seq, UnixNanos};

use super::{Asset, Surroundings};

/// The number of the facts about how far sources have been followed.
const NOTE: u32 = u32::MAX;

/// See the module.
#[derive(Debug, Default)]
pub struct Feeds {
    feeds: Vec<Feed>,
    is_mirror: bool,
    /// By the name of a source: what was taken from it last.
    taken: BTreeMap<String, Taken>,
    is_dirty: bool,
}

/// What was taken from a source last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Its sequence there.
    pub seq: Seq,
    /// Of which stream of that name; empty where it is not known.
    pub identity: String,
}

/// Number and content of the fact of what was taken from sources last. The name of a source has three
/// words.
pub fn fact(taken: &BTreeMap<String, Taken>) -> (u32, Vec<u8>) {
    let mut fact = Vec::new();
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
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.feeds.is_empty()
    }

    /// When one of them is due.
    pub fn next_deadline(&self) -> Option<Millis> {
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
    /// Whether it is a mirror or has sources.
    pub fn is_fed(&self) -> bool {
        !self.feeds.is_empty()
    }

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
        let state = *around.messages.state();
        let Feeds {
            feeds,
            is_mirror,
            taken,
            is_dirty,
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
            let name = feed.index_name().to_owned();
            let (seq, time) = (fed.seq, fed.time);
            let arrival = Arrival {
                subject: &fed.subject,
                reply: &[],
                headers: &fed.headers,
                payload: fed.payload,
                origin: Origin::Source,
            };
            let outcome = match self.feeds.is_mirror {
                true => self.mirrored(seq, time, &arrival, around),
                false => self.arrived(&arrival, around),
            };
            match outcome {
                Outcome::Refused(_) => self.feeds.feeds[place].failed(now, around.outlet),
                Outcome::Stored(_)
                | Outcome::Unwanted(_)
                | Outcome::Duplicate(_)
                | Outcome::Staged
                | Outcome::Waits => {
                    if !self.feeds.is_mirror {
                        let identity = self.feeds.feeds[place].identity().to_owned();
                        self.feeds.taken.insert(name, Taken { seq, identity });
                        self.feeds.is_dirty = true;
                    }
                }
            }
        }
        // A gap is asked for at once.
        self.tick_feeds(around);
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
    }

    /// Whether how far sources were followed is to be written.
    pub(super) fn feeds_are_dirty(&self) -> bool {
        self.feeds.is_dirty
    }

    /// Writes it.
    pub(super) fn write_feeds<M: Messages>(&mut self, messages: &mut M) -> Result<(), Refused> {
        let (note, fact) = fact(&self.feeds.taken);
        messages.rewrite_note(note, &fact)?;
        self.feeds.is_dirty = false;
        Ok(())
    }

    /// Whether facts are about feeds; if so, they are taken up.
    pub fn recover_feeds(&mut self, note: u32, facts: &[Vec<u8>]) -> bool {
        if note != NOTE {
            return false;
        }
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
                let identity = identity.to_owned();
                let taken = Taken { seq, identity };
                self.feeds.taken.insert(name.to_owned(), taken);
            }
        }
        true
    }
}
