//! Up to a thousand messages in order of sequence, a column for each thing known of them.
//!
//! Without gaps the sequence is the place; with gaps there is a column for it too. A deleted message
//! leaves a dead entry, until half of the entries are dead and the chunk is made anew without them. It
//! knows subjects by number and nothing of other chunks.

use crate::store::{Seq, UnixNanos};

/// Entries of a chunk, dead ones counted; fewer where tests shall see many chunks.
pub const ENTRIES_MAX: usize = if cfg!(test) { 192 } else { 1024 };
/// A gap up to this is filled with dead entries, which costs less than a column of sequences.
const FILLED_GAP_MAX: u64 = 16;
/// Room for so many entries is worth keeping.
const SPARE_ENTRIES_MAX: usize = 64;
const WORDS: usize = ENTRIES_MAX / 64;
/// How many flags a message can have.
const FLAGS: usize = 4;

type Bits = [u64; WORDS];

/// What is known of a message beside its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its bytes are.
    pub location: u64,
    /// Number of its subject.
    pub subject: u32,
    /// See [`crate::store::flags`].
    pub flags: u8,
    /// When it was stored; a little less when it comes out of a chunk again.
    pub time: UnixNanos,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Not above the first sequence.
    pub(super) base: Seq,
    /// Sequences of the entries, less `base`; nothing when entry `i` is of `base + i`.
    pub(super) offsets: Vec<u32>,
    pub(super) live: Bits,
    pub(super) live_count: u32,
    pub(super) locations: Vec<u64>,
    pub(super) subjects: Vec<u32>,
    /// Since `time_base`, in units of 2 to the `time_shift` nanoseconds: exact where a chunk spans
    /// four seconds, to the millisecond where it spans seven weeks.
    pub(super) times: Vec<u32>,
    pub(super) time_base: UnixNanos,
    pub(super) time_shift: u32,
    /// The bits of each flag, if any message has one.
    pub(super) flagged: Option<Box<[Bits; FLAGS]>>,
}

impl Chunk {
    /// Of one message.
    fn new(seq: Seq, entry: &Entry) -> Self {
        let mut chunk = Self::default();
        chunk.begin(seq, entry);
        chunk
    }

    /// Makes it one of one message, with the memory that it has.
    pub fn begin(&mut self, seq: Seq, entry: &Entry) {
        *self = Self {
            base: seq,
            time_base: entry.time,
            offsets: emptied(&mut self.offsets),
            locations: emptied(&mut self.locations),
            subjects: emptied(&mut self.subjects),
            times: emptied(&mut self.times),
            ..Self::default()
        };
        self.put(0, entry);
    }

    /// Whether it is worth keeping for another use.
    pub fn is_small(&self) -> bool {
        self.locations.capacity() <= SPARE_ENTRIES_MAX
    }

    /// Not above the sequence of any message, and above those of all chunks before.
    pub fn base(&self) -> Seq {
        self.base
    }

    /// Messages that live.
    pub fn live_count(&self) -> u32 {
        self.live_count
    }

    /// Entries, dead ones too.
    pub fn len(&self) -> usize {
        self.locations.len()
    }

    /// The sequence of an entry.
    #[inline]
    pub fn seq(&self, place: usize) -> Seq {
        match self.offsets.get(place) {
            Some(&offset) => self.base + u64::from(offset),
            None => self.base + place as u64,
        }
    }

    /// The first entry of that or a later sequence; `len` if there is none.
    #[inline]
    pub fn place_from(&self, seq: Seq) -> usize {
        let Some(offset) = seq.checked_sub(self.base) else {
            return 0;
        };
        if self.offsets.is_empty() {
            return usize::try_from(offset).map_or(self.len(), |place| place.min(self.len()));
        }
        self.offsets
            .partition_point(|&other| u64::from(other) < offset)
    }

    /// The entry of a living message.
    #[inline]
    pub fn place_of(&self, seq: Seq) -> Option<usize> {
        let place = self.place_from(seq);
        (place < self.len() && self.seq(place) == seq && self.is_live(place)).then_some(place)
    }

    #[inline]
    fn is_live(&self, place: usize) -> bool {
        self.live[place / 64] >> (place % 64) & 1 != 0
    }

    /// The number of an entry's subject.
    #[inline]
    pub fn subject(&self, place: usize) -> u32 {
        self.subjects[place]
    }

    /// Where an entry's bytes are.
    #[inline]
    pub fn location(&self, place: usize) -> u64 {
        self.locations[place]
    }

    /// When an entry was stored, or a little before.
    #[inline]
    pub fn time(&self, place: usize) -> UnixNanos {
        let since = u64::from(self.times[place]) << self.time_shift;
        self.time_base.wrapping_add(since as i64)
    }

    /// What that may be less than the truth: one unit, and another by which `time_base` may be.
    fn time_slack(&self) -> UnixNanos {
        match self.time_shift {
            0 => 0,
            shift => 2 << shift,
        }
    }

    /// Whether the first entry was stored before a time for sure.
    pub fn begins_before(&self, time: UnixNanos) -> bool {
        self.time(0) < time.saturating_sub(self.time_slack())
    }

    /// All of an entry.
    pub fn entry(&self, place: usize) -> Entry {
        let mut flags = 0;
        if let Some(flagged) = &self.flagged {
            for (flag, bits) in flagged.iter().enumerate() {
                flags |= ((bits[place / 64] >> (place % 64) & 1) as u8) << flag;
            }
        }
        Entry {
            location: self.locations[place],
            subject: self.subjects[place],
            flags,
            time: self.time(place),
        }
    }

    /// The first living entry at or after `place` that `wanted` takes.
    #[inline]
    pub fn find(&self, place: usize, mut wanted: impl FnMut(u32) -> bool) -> Option<usize> {
        let mut word = place / 64;
        let mut bits = *self.live.get(word)? & (u64::MAX << (place % 64));
        loop {
            while bits != 0 {
                let found = word * 64 + bits.trailing_zeros() as usize;
                if wanted(self.subjects[found]) {
                    return Some(found);
                }
                bits &= bits - 1;
            }
            word += 1;
            bits = *self.live.get(word)?;
        }
    }

    /// The last living entry before `end` that `wanted` takes.
    pub fn find_back(&self, end: usize, mut wanted: impl FnMut(u32) -> bool) -> Option<usize> {
        for word in (0..WORDS.min(end.div_ceil(64))).rev() {
            let below = end - word * 64;
            let mut bits = self.live[word];
            if below < 64 {
                bits &= (1 << below) - 1;
            }
            while bits != 0 {
                let bit = 63 - bits.leading_zeros() as usize;
                if wanted(self.subjects[word * 64 + bit]) {
                    return Some(word * 64 + bit);
                }
                bits &= !(1 << bit);
            }
        }
        None
    }

    /// Living entries at or after `place`.
    pub fn count_from(&self, place: usize) -> u64 {
        let Some(&first) = self.live.get(place / 64) else {
            return 0;
        };
        let first = (first >> (place % 64)).count_ones();
        let others = self.live[place / 64 + 1..].iter();
        u64::from(first) + others.map(|bits| u64::from(bits.count_ones())).sum::<u64>()
    }

    /// Living entries from `place` to before `end` that `wanted` takes.
    #[inline]
    pub fn count_between(
        &self,
        place: usize,
        end: usize,
        mut wanted: impl FnMut(u32) -> bool,
    ) -> u64 {
        let mut count = 0;
        let mut mask = u64::MAX << (place % 64);
        for word in place / 64..WORDS.min(end.div_ceil(64)) {
            let mut bits = self.live[word] & mask;
            let left = end - word * 64;
            if left < 64 {
                bits &= (1 << left) - 1;
            }
            while bits != 0 {
                count += u64::from(wanted(
                    self.subjects[word * 64 + bits.trailing_zeros() as usize],
                ));
                bits &= bits - 1;
            }
            mask = u64::MAX;
        }
        count
    }

    /// The next run of living messages without a gap, from the entry that `place` says on: its first
    /// sequence and the one after its last. `place` is moved behind it.
    pub fn next_run(&self, place: &mut usize) -> Option<(Seq, Seq)> {
        let start = self.find(*place, |_| true)?;
        let mut end = start + 1;
        if self.offsets.is_empty() {
            while end < self.len() {
                let word = self.live[end / 64] >> (end % 64);
                let run = (word.trailing_ones() as usize).min(64 - end % 64);
                end += run;
                if run == 0 || end % 64 != 0 {
                    break;
                }
            }
        } else {
            while end < self.len() && self.is_live(end) && self.seq(end) == self.seq(end - 1) + 1 {
                end += 1;
            }
        }
        *place = end;
        Some((self.seq(start), self.seq(end - 1) + 1))
    }

    /// The first living entry at or after `place` that has one of the flags.
    pub fn find_flagged(&self, place: usize, flags: u8) -> Option<usize> {
        let flagged = self.flagged.as_ref()?;
        let mut mask = u64::MAX << (place % 64);
        for word in place / 64..WORDS {
            let mut bits = 0;
            for (flag, column) in flagged.iter().enumerate() {
                if flags >> flag & 1 != 0 {
                    bits |= column[word];
                }
            }
            bits &= self.live[word] & mask;
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    /// The first living entry that may have been stored at or after a time.
    pub fn find_time(&self, time: UnixNanos) -> Option<usize> {
        let since = i128::from(time.saturating_sub(self.time_slack())) - i128::from(self.time_base);
        let since = u64::try_from(since.max(0)).unwrap_or(u64::MAX) >> self.time_shift;
        let place = self
            .times
            .partition_point(|&other| u64::from(other) < since);
        self.find(place, |_| true)
    }

    /// Appends a message of a later sequence. False, and nothing is changed, when there is no room.
    #[inline]
    pub fn push(&mut self, seq: Seq, entry: &Entry) -> bool {
        let len = self.len();
        let offset = seq - self.base;
        if len >= ENTRIES_MAX || offset > u64::from(u32::MAX) {
            return false;
        }
        if self.offsets.is_empty() {
            let gap = offset - len as u64;
            if gap > 0 && gap <= FILLED_GAP_MAX && offset < ENTRIES_MAX as u64 {
                for place in len..offset as usize {
                    self.put(place, entry);
                    self.clear(place);
                }
                self.put(offset as usize, entry);
                return true;
            }
            if gap > 0 {
                self.offsets = (0..len as u32).collect();
            }
        }
        if !self.offsets.is_empty() {
            self.offsets.push(offset as u32);
        }
        self.put(len, entry);
        true
    }

    /// Appends the columns of a living entry, without its sequence.
    #[inline]
    fn put(&mut self, place: usize, entry: &Entry) {
        self.locations.push(entry.location);
        self.subjects.push(entry.subject);
        self.times.push(0);
        self.set_time(place, entry.time);
        self.live[place / 64] |= 1 << (place % 64);
        self.live_count += 1;
        self.set_flags(place, entry.flags);
    }

    #[inline]
    fn set_flags(&mut self, place: usize, flags: u8) {
        if flags == 0 && self.flagged.is_none() {
            return;
        }
        let flagged = self.flagged.get_or_insert_default();
        for (flag, bits) in flagged.iter_mut().enumerate() {
            let bit = u64::from(flags >> flag & 1);
            let word = &mut bits[place / 64];
            *word = *word & !(1 << (place % 64)) | bit << (place % 64);
        }
    }

    #[inline]
    fn set_time(&mut self, place: usize, time: UnixNanos) {
        if time < self.time_base {
            self.lower_time_base(time);
        }
        let since = time.wrapping_sub(self.time_base) as u64;
        if since >> self.time_shift > u64::from(u32::MAX) {
            let shift = u64::BITS - since.leading_zeros() - u32::BITS;
            for other in &mut self.times {
                *other = other.checked_shr(shift - self.time_shift).unwrap_or(0);
            }
            self.time_shift = shift;
        }
        self.times[place] = (since >> self.time_shift) as u32;
    }

    /// Only messages that come out of order need it.
    fn lower_time_base(&mut self, base: UnixNanos) {
        let times: Vec<UnixNanos> = (0..self.len()).map(|place| self.time(place)).collect();
        self.time_base = base;
        for (place, &time) in times.iter().enumerate() {
            // What was not set yet is 0, and so the old base: not below the new one.
            self.set_time(place, time.max(base));
        }
    }

    fn clear(&mut self, place: usize) {
        self.live[place / 64] &= !(1 << (place % 64));
        self.live_count -= 1;
    }

    /// Deletes a living entry. True when the chunk was made anew: places are others then, and so may
    /// its base be.
    pub fn remove(&mut self, place: usize) -> bool {
        self.clear(place);
        let live = self.live_count as usize;
        let sparse = live > 0 && live * 2 < self.len();
        if sparse {
            self.squeeze();
        }
        sparse
    }

    /// Sets another location.
    pub fn relocate(&mut self, place: usize, location: u64) {
        self.locations[place] = location;
    }

    /// Nothing will be appended any more: gives back what is not needed.
    pub fn seal(&mut self) {
        if (self.live_count as usize) < self.len() / 4 * 3 {
            self.squeeze();
        }
        self.offsets.shrink_to_fit();
        self.locations.shrink_to_fit();
        self.subjects.shrink_to_fit();
        self.times.shrink_to_fit();
    }

    /// Deletes what is not after one sequence, up to another.
    pub fn keep_between(&mut self, after: Seq, up_to: Seq) {
        let (start, end) = (
            self.place_from(after.saturating_add(1)),
            self.place_from(up_to.saturating_add(1)),
        );
        if start > 0 || end < self.len() {
            for place in (0..start).chain(end..self.len()) {
                if self.is_live(place) {
                    self.clear(place);
                }
            }
            self.squeeze();
        }
    }

    /// Made anew without dead entries.
    fn squeeze(&mut self) {
        let entries: Vec<(Seq, Entry)> = self.entries().collect();
        *self = Self::of(&entries, self.time_shift);
    }

    /// Living entries with their sequences.
    pub fn entries(&self) -> impl Iterator<Item = (Seq, Entry)> {
        let mut place = 0;
        std::iter::from_fn(move || {
            let found = self.find(place, |_| true)?;
            place = found + 1;
            Some((self.seq(found), self.entry(found)))
        })
    }

    /// Tells where each living message is.
    pub fn each_location(&self, each: &mut dyn FnMut(u64)) {
        if self.live_count as usize == self.len() {
            return self.locations.iter().for_each(|&location| each(location));
        }
        for (place, &location) in self.locations.iter().enumerate() {
            if self.is_live(place) {
                each(location);
            }
        }
    }

    /// Takes all messages of the next chunk, if both together leave half of the places free.
    pub fn absorb(&mut self, next: &Chunk) -> bool {
        let together = (self.live_count + next.live_count) as usize;
        let span = next.seq(next.len() - 1) - self.base;
        let taken = together <= ENTRIES_MAX / 2 && span <= u64::from(u32::MAX);
        if taken {
            let entries: Vec<(Seq, Entry)> = self.entries().chain(next.entries()).collect();
            *self = Self::of(&entries, self.time_shift.max(next.time_shift));
        }
        taken
    }

    /// Puts a message between the others, where it is not yet: not below the base, and below the last
    /// entry. When the chunk is full, it is made anew, and its upper half may come out as another chunk.
    pub fn insert(&mut self, seq: Seq, entry: &Entry) -> Option<Chunk> {
        if self.len() < ENTRIES_MAX {
            self.insert_or_push(seq, entry);
            return None;
        }
        // Without dead entries the base may be above the message: it is put in before.
        let mut entries: Vec<(Seq, Entry)> = self.entries().collect();
        let place = entries.partition_point(|&(other, _)| other < seq);
        entries.insert(place, (seq, *entry));
        let upper = (entries.len() > ENTRIES_MAX / 2).then(|| {
            let half = entries.split_off(entries.len() / 2);
            Self::of(&half, self.time_shift)
        });
        *self = Self::of(&entries, self.time_shift);
        upper
    }

    fn insert_or_push(&mut self, seq: Seq, entry: &Entry) {
        let place = self.place_from(seq);
        if place == self.len() {
            let pushed = self.push(seq, entry);
            debug_assert!(pushed, "there is room and the sequence is near");
            return;
        }
        if self.seq(place) == seq {
            // A dead entry.
            self.locations[place] = entry.location;
            self.subjects[place] = entry.subject;
            self.set_time(place, entry.time);
            self.set_flags(place, entry.flags);
            self.live[place / 64] |= 1 << (place % 64);
            self.live_count += 1;
            return;
        }
        if self.offsets.is_empty() {
            self.offsets = (0..self.len() as u32).collect();
        }
        self.offsets.insert(place, (seq - self.base) as u32);
        self.locations.insert(place, entry.location);
        self.subjects.insert(place, entry.subject);
        self.times.insert(place, 0);
        self.set_time(place, entry.time);
        insert_bit(&mut self.live, place);
        if let Some(flagged) = &mut self.flagged {
            flagged.iter_mut().for_each(|bits| insert_bit(bits, place));
        }
        self.live[place / 64] |= 1 << (place % 64);
        self.live_count += 1;
        self.set_flags(place, entry.flags);
    }

    /// Of these, in order, and without dead entries. Their times are not more exact than the unit.
    fn of(entries: &[(Seq, Entry)], time_shift: u32) -> Self {
        let Some(((seq, entry), others)) = entries.split_first() else {
            return Self::default();
        };
        let mut anew = Self::new(*seq, entry);
        anew.time_shift = time_shift;
        let last = others.last().map_or(*seq, |&(last, _)| last);
        if last - seq != others.len() as u64 {
            // With the column there from the beginning no gap is filled.
            anew.offsets.reserve_exact(entries.len());
            anew.offsets.push(0);
        }
        anew.locations.reserve_exact(others.len());
        anew.subjects.reserve_exact(others.len());
        anew.times.reserve_exact(others.len());
        for (seq, entry) in others {
            let pushed = anew.push(*seq, entry);
            debug_assert!(pushed, "not more than fit, and near each other");
        }
        anew
    }
}

/// The vector without what is in it.
fn emptied<T>(column: &mut Vec<T>) -> Vec<T> {
    column.clear();
    std::mem::take(column)
}

/// Moves the bits from `place` on up by one; the one at `place` is clear then.
fn insert_bit(bits: &mut Bits, place: usize) {
    let word = place / 64;
    let below = (1 << (place % 64)) - 1;
    let mut carry = bits[word] >> 63;
    bits[word] = bits[word] & below | (bits[word] & !below) << 1;
    for bits in &mut bits[word + 1..] {
        let next = *bits >> 63;
        *bits = *bits << 1 | carry;
        carry = next;
    }
}
