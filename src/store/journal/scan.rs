//! Reading a whole segment back: frames in order, torn ends cut, damage found.

use super::frame::{FRAME_HEAD_BYTES, FrameHead, Walked, walk};
use super::record::{self, Raw};
use crate::base::aligned::BLOCK_BYTES;

/// A part of a segment that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub from: usize,
    pub to: usize,
}

/// What was found in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Where its frames end.
    pub end: usize,
    /// Number of its last frame; 0 if there is none.
    pub last_number: u64,
    /// Bytes of a frame behind the end that was not finished.
    pub torn_bytes: usize,
}

/// Something in a segment, in order.
pub(crate) enum Piece<'a> {
    /// A record, and where it begins.
    Record(usize, Raw<'a>),
    /// What was here is lost.
    Damage(Damage),
}

/// What is known of a segment before it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub generation: u64,
    /// Where it ends, if a later segment says so.
    pub end: Option<usize>,
    /// Where to begin: 0, or the beginning of a frame.
    pub from: usize,
    /// Its frames have higher numbers than this: what a disk has put in a wrong place may be one of
    /// before.
    pub after: u64,
    /// Whether there is a later segment: then what ends badly is damaged, not torn.
    pub is_sealed: bool,
}

/// The head of the frame at an offset, if there is one of that generation, with a higher number than
/// `after`, that could fit.
fn head_at(segment: &[u8], at: usize, generation: u64, after: u64) -> Option<FrameHead> {
    let head = FrameHead::parse(segment.get(at..at + FRAME_HEAD_BYTES)?)?;
    let fits = at + head.span() <= segment.len();
    (head.generation == generation && head.number > after && fits).then_some(head)
}

/// Whether a frame with a higher number than `after` begins at an offset, and its first record was written for
/// that place: a head alone may be anywhere.
fn is_begun(segment: &[u8], at: usize, generation: u64, after: u64) -> bool {
    let first = at + FRAME_HEAD_BYTES;
    head_at(segment, at, generation, after).is_some()
        && record::parse(&segment[first..], record::salt(generation, first)).is_some()
}

/// Goes through a segment.
pub(crate) fn scan<'a>(
    segment: &'a [u8],
    expected: Expected,
    each: &mut dyn FnMut(Piece<'a>),
) -> Scan {
    let limit = expected.end.unwrap_or(segment.len()).min(segment.len());
    let found = Scan {
        end: expected.from,
        last_number: expected.after,
        torn_bytes: 0,
    };
    let mut scanning = Scanning {
        segment,
        expected,
        limit,
        found,
        lost_from: None,
        records: Vec::new(),
        each,
    };
    while scanning.found.end < limit && scanning.advance() {}
    if let Some(end) = expected.end
        && scanning.found.end < end
    {
        // The file is shorter than its segment was.
        scanning.lose(end);
    }
    scanning.tell_lost();
    scanning.found
}

/// A segment that is being gone through.
struct Scanning<'a, 'e> {
    segment: &'a [u8],
    expected: Expected,
    /// Nothing of it is behind this.
    limit: usize,
    found: Scan,
    /// From where on nothing was found. It is told as one, however many frames it was.
    lost_from: Option<usize>,
    /// The good ones of the frame that is looked at.
    records: Vec<(usize, Raw<'a>)>,
    each: &'e mut dyn FnMut(Piece<'a>),
}

impl Scanning<'_, '_> {
    /// Goes through one frame, or to the next one. False when there is no more.
    fn advance(&mut self) -> bool {
        let at = self.found.end;
        let Some((head, walked)) = self.frame_in_place(at) else {
            match self.next_head(at + BLOCK_BYTES, self.found.last_number) {
                Some(next) => self.lose(next),
                None if self.expected.end.is_some() => self.lose(self.limit),
                None => return false,
            }
            return true;
        };
        let mut span = head.span();
        if !walked.whole {
            let is_torn = !self.expected.is_sealed
                && self.expected.end.is_none()
                && self.next_head(at + BLOCK_BYTES, head.number).is_none();
            if is_torn {
                self.found.torn_bytes = span;
                return false;
            }
            if let Some(inner) = self.inner(&head, at) {
                span = inner - at;
                self.records.retain(|(offset, _)| *offset < inner);
            }
        }
        self.tell_lost();
        self.tell(at, span, &walked);
        self.found.last_number = head.number;
        self.found.end = at + span;
        true
    }

    /// What is up to `to` is lost.
    fn lose(&mut self, to: usize) {
        self.lost_from.get_or_insert(self.found.end);
        self.found.end = to;
    }

    fn tell_lost(&mut self) {
        if let Some(from) = self.lost_from.take() {
            let to = self.found.end;
            (self.each)(Piece::Damage(Damage { from, to }));
        }
    }

    /// Where the next head of a frame with a higher number is.
    fn next_head(&self, from: usize, after: u64) -> Option<usize> {
        let mut blocks = (from.next_multiple_of(BLOCK_BYTES)..self.limit).step_by(BLOCK_BYTES);
        let generation = self.expected.generation;
        blocks.find(|&at| head_at(self.segment, at, generation, after).is_some())
    }

    /// The frame at an offset, if it was written for that place; its records are collected. One that does not follow
    /// the one before comes after damage, or a disk has put it in a wrong place; then none of its records passes, and
    /// the next one is of before.
    fn frame_in_place(&mut self, at: usize) -> Option<(FrameHead, Walked)> {
        let last = self.found.last_number;
        let head = head_at(self.segment, at, self.expected.generation, last)?;
        let frame = &self.segment[at..at + head.span()];
        let records = &mut self.records;
        records.clear();
        let walked = walk(&head, frame, at, &mut |offset, raw| {
            records.push((offset, raw))
        });
        (head.number == last + 1 || walked.good > 0).then_some((head, walked))
    }

    /// A disk that has put a frame in a wrong place may have been given the right ones since: the next then begins
    /// within it. What a good record says is not taken for one.
    fn inner(&self, head: &FrameHead, at: usize) -> Option<usize> {
        let mut blocks = (at + BLOCK_BYTES..self.limit.min(at + head.span())).step_by(BLOCK_BYTES);
        blocks.find(|&inner| {
            let covers = |(offset, raw): &(usize, Raw<'_>)| {
                *offset < inner && inner < offset + raw.bytes.len()
            };
            is_begun(self.segment, inner, head.generation, head.number)
                && !self.records.iter().any(covers)
        })
    }

    /// Gives away the records of a frame, and what is bad between them.
    fn tell(&mut self, at: usize, span: usize, walked: &Walked) {
        let bad = walked.bad.iter().filter(|(from, _)| *from < span);
        let bad = bad.map(|&(from, to)| Damage {
            from: at + from,
            to: at + to.min(span),
        });
        let mut bad = bad.peekable();
        for (offset, raw) in self.records.drain(..) {
            while let Some(damage) = bad.next_if(|damage| damage.from <= offset) {
                (self.each)(Piece::Damage(damage));
            }
            (self.each)(Piece::Record(offset, raw));
        }
        bad.for_each(|damage| (self.each)(Piece::Damage(damage)));
    }
}

/// A frame's head of the highest generation of which there are frames in a file. One counts if one of its records
/// passes, and if it does not lie in a good record of another: what looks like a frame may be a payload.
pub(crate) fn newest_frame(file: &[u8]) -> Option<FrameHead> {
    let mut newest: Option<FrameHead> = None;
    // Blocks that begin within a good record.
    let mut covered = vec![false; file.len() / BLOCK_BYTES + 1];
    for at in (0..file.len()).step_by(BLOCK_BYTES) {
        let head = FrameHead::parse(&file[at..]).filter(|_| !covered[at / BLOCK_BYTES]);
        let Some(head) = head else {
            continue;
        };
        let frame = &file[at..file.len().min(at + head.span())];
        let walked = walk(&head, frame, at, &mut |offset, raw| {
            let blocks = offset / BLOCK_BYTES + 1..(offset + raw.bytes.len()).div_ceil(BLOCK_BYTES);
            if let Some(blocks) = covered.get_mut(blocks) {
                blocks.fill(true);
            }
        });
        if walked.good > 0 && newest.is_none_or(|newest| newest.generation < head.generation) {
            newest = Some(head);
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Before, OpenFrame};
    use super::super::record::{Kind, StreamNumber};
    use super::*;
    use crate::base::aligned::AlignedBuffer;

    const GENERATION: u64 = 3;

    /// A frame of one record, of that number, made for that block.
    fn frame(number: u64, block: usize, blocks: usize) -> Vec<u8> {
        let bytes = blocks * BLOCK_BYTES;
        let place = (0, GENERATION);
        let start = block * BLOCK_BYTES;
        let mut open = OpenFrame::new(place, number, start, bytes, AlignedBuffer::default());
        let body = vec![number as u8; bytes - 100];
        open.push(Kind::Removed, StreamNumber(1), &[&body], None);
        open.seal(0, [0; 16], Before::default()).buffer[..bytes].to_vec()
    }

    #[test]
    fn a_frame_in_a_wrong_place_costs_what_it_has_overwritten() {
        // Number, where and how long it should have been, and where it was put, in the order of writing.
        type Written = (u64, usize, usize, usize);
        /// What was written, and then the frames and the bad ranges that are found.
        type Case<'a> = (&'a [Written], &'a [u64], &'a [(usize, usize)]);
        let cases: [Case<'_>; 8] = [
            (&[(1, 0, 1, 0), (2, 1, 2, 1), (3, 3, 1, 3)], &[1, 2, 3], &[]),
            // Behind its place, and the next one is then written over its end.
            (
                &[(1, 0, 1, 0), (2, 1, 3, 3), (3, 4, 4, 4), (4, 8, 1, 8)],
                &[1, 3, 4],
                &[(1, 4)],
            ),
            // The same with nothing behind.
            (
                &[(1, 0, 1, 0), (2, 1, 3, 3), (3, 4, 4, 4)],
                &[1, 3],
                &[(1, 4)],
            ),
            // Into the middle of one that is in its place.
            (
                &[(1, 0, 4, 0), (2, 4, 1, 2), (3, 5, 1, 5)],
                &[3],
                &[(0, 4), (4, 5)],
            ),
            // Behind the next one, and what would have overwritten it went elsewhere, too.
            (
                &[
                    (1, 0, 1, 0),
                    (2, 1, 1, 3),
                    (3, 2, 1, 2),
                    (4, 3, 1, 8),
                    (5, 4, 1, 4),
                ],
                &[1, 3, 5],
                &[(1, 2), (3, 4)],
            ),
            // Over the beginning of a long one, with another lie behind that.
            (
                &[
                    (1, 0, 1, 0),
                    (2, 1, 3, 1),
                    (3, 4, 1, 4),
                    (4, 5, 1, 1),
                    (5, 6, 1, 4),
                    (6, 7, 1, 7),
                ],
                &[1, 6],
                &[(1, 4), (4, 7)],
            ),
            // Behind the last one.
            (
                &[(1, 0, 1, 0), (2, 1, 1, 3), (3, 2, 1, 2)],
                &[1, 3],
                &[(1, 2)],
            ),
            // Before its place.
            (&[(1, 0, 1, 0), (2, 1, 1, 0), (3, 2, 1, 2)], &[3], &[(0, 2)]),
        ];
        for (written, expected, damaged) in cases {
            let mut segment = vec![0; 16 * BLOCK_BYTES];
            for &(number, block, blocks, put) in written {
                let at = put * BLOCK_BYTES;
                segment[at..at + blocks * BLOCK_BYTES]
                    .copy_from_slice(&frame(number, block, blocks));
            }
            let mut found = Vec::new();
            let expected_of = Expected {
                generation: GENERATION,
                end: None,
                from: 0,
                after: 0,
                is_sealed: true,
            };
            let mut damages = Vec::new();
            scan(&segment, expected_of, &mut |piece| match piece {
                Piece::Record(_, raw) => found.push(u64::from(raw.body()[0])),
                Piece::Damage(damage) => damages.push(damage),
            });
            assert_eq!(found, expected, "{written:?}");
            let mut covered = Vec::new();
            for damage in &damages {
                assert!(damage.from < damage.to, "{written:?}: {damage:?}");
                covered.extend(damage.from / BLOCK_BYTES..damage.to.div_ceil(BLOCK_BYTES));
            }
            let lost: Vec<usize> = damaged.iter().flat_map(|&(from, to)| from..to).collect();
            assert_eq!(covered, lost, "{written:?}: {damages:?}");
        }
    }

    #[test]
    fn the_newest_frame_is_one_that_was_written_there() {
        let other = |generation: u64, block: usize, payload: &[u8]| {
            let start = block * BLOCK_BYTES;
            let bytes = payload.len().next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES;
            let place = (0, generation);
            let mut open = OpenFrame::new(place, 1, start, bytes, AlignedBuffer::default());
            open.push(Kind::Removed, StreamNumber(1), &[payload], None);
            let sealed = open.seal(0, [0; 16], Before::default());
            sealed.buffer[..sealed.span].to_vec()
        };
        // What a client may publish: something that would be a frame where it comes to lie.
        let mut bait = vec![0; BLOCK_BYTES - FRAME_HEAD_BYTES - record::HEAD_BYTES];
        bait.extend_from_slice(&other(99, 1, b"bait"));
        type Case<'a> = (&'a [(usize, Vec<u8>)], Option<u64>);
        let cases: [Case<'_>; 6] = [
            (&[], None),
            (&[(0, other(3, 0, b"a"))], Some(3)),
            (&[(0, other(3, 0, b"a")), (2, other(7, 2, b"b"))], Some(7)),
            (
                &[(0, other(3, 0, &[1; 9000])), (1, other(7, 1, b"b"))],
                Some(7),
            ),
            // In a wrong place.
            (&[(0, other(3, 0, b"a")), (2, other(7, 3, b"b"))], Some(3)),
            (&[(0, other(3, 0, &bait))], Some(3)),
        ];
        for (i, (written, expected)) in cases.iter().enumerate() {
            let mut file = vec![0; 16 * BLOCK_BYTES];
            for (block, frame) in *written {
                let at = block * BLOCK_BYTES;
                file[at..at + frame.len()].copy_from_slice(frame);
            }
            let found = newest_frame(&file).map(|head| head.generation);
            assert_eq!(found, *expected, "case {i}");
        }
    }
}
