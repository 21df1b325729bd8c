//! The chunks of a stream in order, and who of them has a sequence. Empty ones are freed at once and
//! small neighbours put together, so that what is left of a long stream costs what it holds.

use std::collections::VecDeque;

use super::chunk::{Chunk, ENTRIES_MAX, Entry};
use crate::store::{Seq, UnixNanos};

/// A chunk of which less than this lives is put together with a neighbour.
const SMALL: u32 = (ENTRIES_MAX / 4) as u32;

/// The place of a living message: its chunk, and its entry there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub chunk: usize,
    pub entry: usize,
}

/// See the module. The columns are apart so that searching and counting touch few cache lines.
#[derive(Debug, Default)]
pub struct Chunks {
    bases: VecDeque<Seq>,
    lives: VecDeque<u32>,
    chunks: VecDeque<Box<Chunk>>,
    /// The last chunk that was emptied: a queue that runs empty again and again needs the next at once.
    spare: Option<Box<Chunk>>,
}

impl Chunks {
    /// How many chunks there are.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// One of them.
    #[inline]
    pub fn chunk(&self, number: usize) -> &Chunk {
        &self.chunks[number]
    }

    /// One of them, if there are so many.
    #[inline]
    pub fn get(&self, number: usize) -> Option<&Chunk> {
        self.chunks.get(number).map(|chunk| &**chunk)
    }

    /// The last chunk whose base is not above `seq`: nobody else has it.
    #[inline]
    pub fn chunk_of(&self, seq: Seq) -> Option<usize> {
        let first = *self.bases.front()?;
        let since = seq.checked_sub(first)?;
        // Most streams have no gaps.
        let guess = usize::try_from(since / ENTRIES_MAX as u64).unwrap_or(usize::MAX);
        if self.bases.get(guess).is_some_and(|&base| base <= seq)
            && self.bases.get(guess + 1).is_none_or(|&base| base > seq)
        {
            return Some(guess);
        }
        Some(self.bases.partition_point(|&base| base <= seq) - 1)
    }

    /// Where a message is, if it lives.
    #[inline]
    pub fn find(&self, seq: Seq) -> Option<Place> {
        let chunk = self.chunk_of(seq)?;
        let entry = self.chunks[chunk].place_of(seq)?;
        Some(Place { chunk, entry })
    }

    /// Where to begin looking for a message at or after `seq`; the entry may be dead or one too many.
    #[inline]
    pub fn place_from(&self, seq: Seq) -> Place {
        match self.chunk_of(seq) {
            Some(chunk) => Place {
                chunk,
                entry: self.chunks[chunk].place_from(seq),
            },
            None => Place { chunk: 0, entry: 0 },
        }
    }

    /// The sequence at a place.
    #[inline]
    pub fn seq(&self, place: Place) -> Seq {
        self.chunks[place.chunk].seq(place.entry)
    }

    /// The first living message at or after `from` (see [`Self::place_from`]).
    pub fn next(&self, from: Place) -> Option<Place> {
        let mut entry = from.entry;
        for number in from.chunk..self.chunks.len() {
            if let Some(entry) = self.chunks[number].find(entry, |_| true) {
                return Some(Place {
                    chunk: number,
                    entry,
                });
            }
            entry = 0;
        }
        None
    }

    /// The last living message before `before` (see [`Self::place_from`]).
    pub fn previous(&self, before: Place, mut wanted: impl FnMut(u32) -> bool) -> Option<Place> {
        if let Some(chunk) = self.chunks.get(before.chunk)
            && let Some(entry) = chunk.find_back(before.entry, &mut wanted)
        {
            let chunk = before.chunk;
            return Some(Place { chunk, entry });
        }
        for number in (0..before.chunk.min(self.chunks.len())).rev() {
            let chunk = &self.chunks[number];
            if let Some(entry) = chunk.find_back(chunk.len(), &mut wanted) {
                return Some(Place {
                    chunk: number,
                    entry,
                });
            }
        }
        None
    }

    /// How many living messages there are at or after a place; `all` is how many there are.
    pub fn count_from(&self, from: Place, all: u64) -> u64 {
        let Some(chunk) = self.chunks.get(from.chunk) else {
            return 0;
        };
        let here = chunk.count_from(from.entry);
        let sum =
            |lives: &mut dyn Iterator<Item = &u32>| lives.map(|&live| u64::from(live)).sum::<u64>();
        // From the nearer end.
        if from.chunk > self.chunks.len() / 2 {
            here + sum(&mut self.lives.range(from.chunk + 1..))
        } else {
            let before = sum(&mut self.lives.range(..from.chunk));
            all - before - (u64::from(chunk.live_count()) - here)
        }
    }

    /// The first living message that may have been stored at or after a time, if times do not go back.
    pub fn find_time(&self, time: UnixNanos) -> Option<Place> {
        let later = self
            .chunks
            .partition_point(|chunk| chunk.begins_before(time));
        // The one before may have some that are late enough.
        for number in later.saturating_sub(1)..self.chunks.len() {
            if let Some(entry) = self.chunks[number].find_time(time) {
                return Some(Place {
                    chunk: number,
                    entry,
                });
            }
        }
        None
    }

    /// Puts in a message that is not there.
    #[inline]
    pub fn insert(&mut self, seq: Seq, entry: &Entry) {
        if let Some(last) = self.chunks.back_mut()
            && seq > last.seq(last.len() - 1)
        {
            if last.push(seq, entry) {
                let live = self.lives.back_mut().expect("the columns are equally long");
                *live += 1;
                return;
            }
            last.seal();
            let number = self.chunks.len() - 1;
            self.renew(number);
            if number > 0 && self.lives[number] < SMALL {
                self.absorb(number - 1);
            }
            self.begin(self.chunks.len(), seq, entry);
            return;
        }
        self.insert_between(seq, entry);
    }

    /// Rare: what was moved within the log comes out of order when it is read from its beginning.
    fn insert_between(&mut self, seq: Seq, entry: &Entry) {
        let Some(number) = self.chunk_of(seq) else {
            return self.begin(0, seq, entry);
        };
        let chunk = &mut self.chunks[number];
        if seq > chunk.seq(chunk.len() - 1) {
            if chunk.push(seq, entry) {
                self.renew(number);
            } else {
                self.begin(number + 1, seq, entry);
            }
            return;
        }
        let upper = chunk.insert(seq, entry);
        self.renew(number);
        if let Some(upper) = upper {
            self.put(number + 1, upper);
        }
    }

    /// Deletes the message at a place.
    pub fn remove(&mut self, place: Place) {
        let Place {
            chunk: number,
            entry,
        } = place;
        let made_anew = self.chunks[number].remove(entry);
        self.renew(number);
        if self.lives[number] == 0 {
            self.drop_chunk(number);
        } else if made_anew && self.lives[number] < SMALL {
            if number > 0 && self.absorb(number - 1) {
                return;
            }
            self.absorb(number);
        }
    }

    /// Puts a chunk and the next one together, if they are small enough.
    fn absorb(&mut self, number: usize) -> bool {
        let Some(mut next) = self.chunks.get_mut(number + 1).map(std::mem::take) else {
            return false;
        };
        let absorbed = self.chunks[number].absorb(&next);
        std::mem::swap(&mut self.chunks[number + 1], &mut next);
        if absorbed {
            self.renew(number);
            self.drop_chunk(number + 1);
        }
        absorbed
    }

    /// Sets another location.
    pub fn relocate(&mut self, place: Place, location: u64) {
        self.chunks[place.chunk].relocate(place.entry, location);
    }

    /// Takes the first chunk out, if all in it are below a sequence.
    pub fn pop_below(&mut self, below: Seq) -> Option<Box<Chunk>> {
        let first = self.chunks.front()?;
        if first.seq(first.len() - 1) >= below {
            return None;
        }
        self.bases.pop_front();
        self.lives.pop_front();
        self.chunks.pop_front()
    }

    /// Frees up to `count` chunks. Whether one is left.
    pub fn shrink(&mut self, count: usize) -> bool {
        self.chunks
            .truncate(self.chunks.len().saturating_sub(count));
        !self.chunks.is_empty()
    }

    /// Puts a chunk after all others, whose messages come after theirs.
    pub fn push_back(&mut self, chunk: Chunk) {
        self.put(self.chunks.len(), chunk);
    }

    /// All chunks in order.
    pub fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().map(|chunk| &**chunk)
    }

    /// The same, to be changed in what this does not repeat of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Chunk> {
        self.chunks.iter_mut().map(|chunk| &mut **chunk)
    }

    fn put(&mut self, number: usize, chunk: Chunk) {
        self.bases.insert(number, chunk.base());
        self.lives.insert(number, chunk.live_count());
        self.chunks.insert(number, Box::new(chunk));
    }

    /// Puts in a chunk of one message.
    fn begin(&mut self, number: usize, seq: Seq, entry: &Entry) {
        let mut chunk = self.spare.take().unwrap_or_default();
        chunk.begin(seq, entry);
        self.bases.insert(number, seq);
        self.lives.insert(number, 1);
        self.chunks.insert(number, chunk);
    }

    fn drop_chunk(&mut self, number: usize) {
        self.bases.remove(number);
        self.lives.remove(number);
        self.spare = self.chunks.remove(number).filter(|chunk| chunk.is_small());
    }

    /// Takes over what the columns repeat of a chunk.
    fn renew(&mut self, number: usize) {
        let chunk = &self.chunks[number];
        self.bases[number] = chunk.base();
        self.lives[number] = chunk.live_count();
    }
}
