//! The segment files: which there are, which are spares, and getting more of them in time.

use crate::base::deadlines::Millis;
use crate::store::io::{Failure, FileId, Listed, Work};
use crate::store::location::SEGMENT_BYTES_MAX;
use crate::store::requests::{Purpose, Requests};

/// Below this length no segment is made: the disk counts as full then.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Spares that are kept ready: one to go on with, one for removals when the disk is full.
const SPARES: usize = 2;
/// Spares beyond this are deleted.
const SPARES_MAX: usize = 4;
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
    /// The disk has refused even the smallest.
    full: bool,
    retry_at: Option<Millis>,
}

impl Files {
    /// What is in the directory.
    pub fn new(listed: &[Listed], wanted_bytes: u64) -> Self {
        let wanted_bytes = wanted_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX as u64);
        let mut this = Self {
            files: Vec::new(),
            spares: Vec::new(),
            creating: 0,
            claimed: 0,
            wanted_bytes,
            next_bytes: wanted_bytes,
            least_bytes: SEGMENT_BYTES_MIN,
            full: false,
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
        if self.spares.len() >= SPARES {
            self.full = false;
            self.retry_at = None;
        }
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

    /// Spares that are ready.
    pub fn ready(&self) -> usize {
        self.spares.len()
    }

    /// How long a segment may become whose file is chosen later, when `claimed` others wait, too.
    pub fn capacity(&self, claimed: usize) -> u64 {
        let nth = self.spares.len().checked_sub(claimed + 1);
        nth.map_or(self.next_bytes, |nth| self.bytes(self.spares[nth]))
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
        let bytes = bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX as u64) / 4096 * 4096;
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
        while self.creating < missing && self.creating < SPARES {
            let free = self
                .files
                .iter()
                .position(|file| file.status == Status::Absent);
            let number = FileNumber(free.unwrap_or(self.files.len()) as u32);
            let length = self.next_bytes.max(bytes);
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

    /// A file was made, or not.
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
            Ok(_) => {
                self.next_bytes = self.wanted_bytes;
                self.retry_at = None;
                self.recycle(number, requests);
            }
            Err(_) => {
                self.files[at].status = Status::Absent;
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

    /// The write that was refused has been done.
    pub fn accepted(&mut self) {
        if self.spares.len() >= SPARES {
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
