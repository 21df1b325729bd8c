//! The segment files: which there are, which are spares, and getting more of them in time.

use crate::base::deadlines::Millis;
use crate::store::io::{BLOCK_BYTES, Failure, FileId, Listed, Work};
use crate::store::location::SEGMENT_BYTES_MAX;
use crate::store::requests::{Purpose, Requests};

/// Below this length no segment is made: the disk counts as full then.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Of the spares, what messages do not get: removals and facts go there when the disk is full. With
/// two of them, one can be compacted into the other, again and again; with one alone, what is logged
/// last would never come out of the way.
const RESERVE: usize = 2;
/// Spares that are kept ready: the reserve, and one to go on with.
const SPARES: usize = RESERVE + 1;
/// Spares beyond this are deleted.
const SPARES_MAX: usize = 4;
/// Files that are made at once.
const CREATING_MAX: usize = 2;
/// How long after a refusal of the disk to try again.
const RETRY_MS: Millis = 250;
/// The first file numbers are others'.
const FIRST_ID: u32 = 2;

/// Number of a segment file: its name, and its number with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileNumber(pub u32);

impl FileNumber {
    pub fn name(self) -> String {
        format!("segment-{:06}", self.0)
    }

    /// The other way round.
    pub fn of_name(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("segment-")?;
        let number = digits.parse().ok().map(Self)?;
        (number.name() == name).then_some(number)
    }

    pub fn id(self) -> FileId {
        FileId(self.0 + FIRST_ID)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Absent,
    Opening,
    Creating,
    Spare,
    Used,
    Closing,
    Removing,
    /// It could not be opened: left alone.
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct File {
    bytes: u64,
    status: Status,
}

/// A length that segments may have.
fn length(bytes: u64) -> u64 {
    bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX as u64) / BLOCK_BYTES as u64
        * BLOCK_BYTES as u64
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Files {
    files: Vec<File>,
    spares: Vec<FileNumber>,
    creating: usize,
    /// Segments that wait for a file.
    claimed: usize,
    /// What new ones should have.
    wanted_bytes: u64,
    /// What the next one is tried with.
    next_bytes: u64,
    /// What is of no use when it is shorter.
    least_bytes: u64,
    /// The disk has refused even the smallest, or might.
    full: bool,
    /// What is free on the disk, as far as is known.
    room_bytes: u64,
    retry_at: Option<Millis>,
}

impl Files {
    /// What is in the directory, and free on its disk.
    pub fn new(listed: &[Listed], wanted_bytes: u64, room_bytes: u64) -> Self {
        let wanted_bytes = length(wanted_bytes);
        let mut this = Self {
            files: Vec::new(),
            spares: Vec::new(),
            creating: 0,
            claimed: 0,
            wanted_bytes,
            next_bytes: wanted_bytes,
            least_bytes: SEGMENT_BYTES_MIN,
            full: false,
            room_bytes,
            retry_at: None,
        };
        for file in listed {
            if let Some(number) = FileNumber::of_name(&file.name) {
                let at = this.at(number);
                this.files[at] = File {
                    bytes: file.bytes.min(SEGMENT_BYTES_MAX as u64) / 4096 * 4096,
                    status: Status::Opening,
                };
            }
        }
        this
    }

    fn at(&mut self, number: FileNumber) -> usize {
        let at = number.0 as usize;
        if self.files.len() <= at {
            let absent = File {
                bytes: 0,
                status: Status::Absent,
            };
            self.files.resize(at + 1, absent);
        }
        at
    }

    /// Those that were listed.
    pub fn opening(&self) -> Vec<(FileNumber, u64)> {
        let listed = self.files.iter().enumerate();
        listed
            .filter(|(_, file)| file.status == Status::Opening)
            .map(|(i, file)| (FileNumber(i as u32), file.bytes))
            .collect()
    }

    /// A listed file holds a segment.
    pub fn keep(&mut self, number: FileNumber) {
        let at = self.at(number);
        self.files[at].status = Status::Used;
    }

    /// A listed file could not be opened or read: it is not used and not deleted.
    pub fn lose(&mut self, number: FileNumber) {
        let at = self.at(number);
        self.files[at].status = Status::Lost;
    }

    /// Nothing in it is needed any more.
    pub fn recycle(&mut self, number: FileNumber, requests: &mut Requests) {
        let at = self.at(number);
        let bytes = self.files[at].bytes;
        if bytes < SEGMENT_BYTES_MIN {
            self.discard(number, requests);
            return;
        }
        if self.spares.len() >= SPARES_MAX + self.claimed {
            let smallest = self.spares[0];
            if self.bytes(smallest) >= bytes {
                self.discard(number, requests);
                return;
            }
            self.spares.remove(0);
            self.discard(smallest, requests);
        }
        self.files[at].status = Status::Spare;
        // The largest is used first, the smallest kept in reserve.
        let place = self
            .spares
            .partition_point(|spare| self.files[spare.0 as usize].bytes <= bytes);
        self.spares.insert(place, number);
        self.accepted();
    }

    fn discard(&mut self, number: FileNumber, requests: &mut Requests) {
        let at = self.at(number);
        self.files[at].status = Status::Closing;
        requests.submit(
            Work::Close { file: number.id() },
            Purpose::CloseSegment(number),
        );
    }

    pub fn bytes(&self, number: FileNumber) -> u64 {
        self.files
            .get(number.0 as usize)
            .map_or(0, |file| file.bytes)
    }

    /// Bytes of all of them.
    pub fn total_bytes(&self) -> u64 {
        let there = |file: &&File| !matches!(file.status, Status::Absent | Status::Creating);
        self.files.iter().filter(there).map(|file| file.bytes).sum()
    }

    /// Whether nothing more can be had from the disk for now.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether messages may go on in another segment when `claimed` others wait for their files, too:
    /// what is accepted without a place on the disk holds up all behind it if there turns out to be
    /// none. If not, the disk counts as full until it has given another file.
    pub fn may_claim(&mut self, claimed: usize) -> bool {
        let in_hand = self.spares.len().saturating_sub(RESERVE);
        let missing = (claimed + 1).saturating_sub(in_hand) as u64;
        // Others take from the disk, too.
        let may = missing == 0 || self.room_bytes / 2 / missing >= self.next_bytes;
        self.full |= !may;
        may
    }

    /// Length of the spare that another segment gets when `claimed` others wait for theirs.
    pub fn ready(&self, claimed: usize) -> Option<u64> {
        let nth = self.spares.len().checked_sub(claimed + 1)?;
        Some(self.bytes(self.spares[nth]))
    }

    /// How long a segment may become whose file is chosen later, when `claimed` others wait, too.
    pub fn capacity(&self, claimed: usize) -> u64 {
        self.ready(claimed).unwrap_or(self.next_bytes)
    }

    /// Length of all spares but the smallest.
    pub fn spare_bytes(&self) -> u64 {
        let larger = self.spares.iter().skip(1);
        larger.map(|&spare| self.bytes(spare)).sum()
    }

    /// Takes a spare of at least that length.
    pub fn take(&mut self, bytes: u64) -> Option<FileNumber> {
        let place = self
            .spares
            .iter()
            .rposition(|&spare| self.bytes(spare) >= bytes)?;
        let number = self.spares.remove(place);
        self.files[number.0 as usize].status = Status::Used;
        Some(number)
    }

    /// Segments become longer with the store, so that there are not too many.
    pub fn want(&mut self, bytes: u64) {
        let bytes = length(bytes);
        if bytes > self.wanted_bytes {
            if self.next_bytes == self.wanted_bytes {
                self.next_bytes = bytes;
            }
            self.wanted_bytes = bytes;
        }
    }

    /// Has enough spares made that `claimed` segments without a file get one of at least `bytes`,
    /// and some are left.
    pub fn provide(&mut self, claimed: usize, bytes: u64, requests: &mut Requests) {
        let enough = self
            .spares
            .iter()
            .filter(|&&spare| self.bytes(spare) >= bytes)
            .count();
        let mut missing = (claimed + SPARES).saturating_sub(self.spares.len());
        if claimed > 0 && enough == 0 {
            missing = missing.max(1);
        }
        self.claimed = claimed;
        if self.retry_at.is_some() {
            return;
        }
        self.least_bytes = bytes.max(SEGMENT_BYTES_MIN);
        while self.creating < missing && self.creating < CREATING_MAX {
            let free = self
                .files
                .iter()
                .position(|file| file.status == Status::Absent);
            let number = FileNumber(free.unwrap_or(self.files.len()) as u32);
            let length = if self.lacks_small(claimed) && (claimed == 0 || enough > 0) {
                SEGMENT_BYTES_MIN
            } else {
                self.next_bytes.max(bytes)
            };
            let at = self.at(number);
            self.files[at] = File {
                bytes: length,
                status: Status::Creating,
            };
            self.creating += 1;
            let work = Work::Create {
                file: number.id(),
                name: number.name(),
                bytes: length,
            };
            requests.submit(work, Purpose::CreateSegment(number));
        }
    }

    /// Whether only one more is needed, and none there is or is made is small: a part of the reserve
    /// need not be longer, and is used last.
    fn lacks_small(&self, claimed: usize) -> bool {
        let is_small = |file: &File| {
            matches!(file.status, Status::Spare | Status::Creating)
                && file.bytes <= SEGMENT_BYTES_MIN
        };
        self.spares.len() + self.creating + 1 >= claimed + SPARES
            && !self.files.iter().any(is_small)
    }

    /// A file was made, or not. If it is known, the result says what the disk has left.
    pub fn created(
        &mut self,
        number: FileNumber,
        result: Result<usize, Failure>,
        now: Millis,
        requests: &mut Requests,
    ) {
        self.creating -= 1;
        let at = self.at(number);
        let bytes = self.files[at].bytes;
        match result {
            Ok(left) => {
                self.next_bytes = self.wanted_bytes;
                self.room_bytes = match left {
                    0 => u64::MAX,
                    left => left as u64,
                };
                self.retry_at = None;
                self.recycle(number, requests);
            }
            Err(_) => {
                self.files[at].status = Status::Absent;
                self.room_bytes = self.room_bytes.min(bytes - 1);
                if bytes / 2 >= self.least_bytes {
                    self.next_bytes = self.next_bytes.min((bytes / 2).next_multiple_of(4096));
                } else {
                    self.full = true;
                    self.retry_at = Some(now + RETRY_MS);
                }
            }
        }
    }

    /// The disk has refused a write for want of space.
    pub fn refused(&mut self, now: Millis) {
        self.full = true;
        self.retry_at = Some(now + RETRY_MS);
    }

    /// The write that was refused has been done, or there is another spare.
    pub fn accepted(&mut self) {
        if self.spares.len() >= SPARES + self.claimed {
            self.full = false;
            self.retry_at = None;
        }
    }

    pub fn closed(&mut self, number: FileNumber, requests: &mut Requests) {
        let at = self.at(number);
        self.files[at].status = Status::Removing;
        requests.submit(
            Work::Remove {
                name: number.name(),
            },
            Purpose::RemoveSegment(number),
        );
    }

    pub fn removed(&mut self, number: FileNumber) {
        let at = self.at(number);
        self.files[at] = File {
            bytes: 0,
            status: Status::Absent,
        };
    }

    pub fn next_deadline(&self) -> Option<Millis> {
        self.retry_at
    }

    pub fn tick(&mut self, now: Millis) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.next_bytes = self.wanted_bytes;
        }
    }
}
