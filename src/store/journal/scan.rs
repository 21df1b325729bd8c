//! Reading a whole segment back: frames in order, torn ends cut, damage found.

use super::frame::{FRAME_HEAD_BYTES, FrameHead, walk};
use super::record::{self, Raw};
use crate::base::aligned::BLOCK_BYTES;

/// A part of a segment that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub from: usize,
    pub to: usize,
}

/// What was found in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Where its frames end.
    pub end: usize,
    /// Number of its last frame; 0 if there is none.
    pub last_number: u64,
    pub damages: Vec<Damage>,
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
    let generation = expected.generation;
    let mut found = Scan {
        end: expected.from,
        last_number: expected.after,
        ..Scan::default()
    };
    let mut records = Vec::new();
    let mut at = expected.from;
    let next_head = |from: usize, after: u64| {
        let mut at = from.next_multiple_of(BLOCK_BYTES);
        while at < limit {
            if head_at(segment, at, generation, after).is_some() {
                return Some(at);
            }
            at += BLOCK_BYTES;
        }
        None
    };
    while at < limit {
        let head = head_at(segment, at, generation, found.last_number).map(|head| {
            records.clear();
            let frame = &segment[at..at + head.span()];
            let walked = walk(&head, frame, at, &mut |offset, raw| {
                records.push((offset, raw))
            });
            (head, walked)
        });
        // A frame that does not follow the one before comes after damage, or a disk has put it in a wrong place; then
        // none of its records passes, and the next one is of before.
        let in_place =
            head.filter(|(head, walked)| head.number == found.last_number + 1 || walked.good > 0);
        let Some((head, walked)) = in_place else {
            let damage = match next_head(at + BLOCK_BYTES, found.last_number) {
                Some(next) => Damage { from: at, to: next },
                None if expected.end.is_some() => Damage {
                    from: at,
                    to: limit,
                },
                None => break,
            };
            each(Piece::Damage(damage));
            found.damages.push(damage);
            at = damage.to;
            found.end = at;
            continue;
        };
        let mut span = head.span();
        if !walked.whole {
            let is_torn = !expected.is_sealed
                && expected.end.is_none()
                && next_head(at + BLOCK_BYTES, head.number).is_none();
            if is_torn {
                found.torn_bytes = span;
                break;
            }
            // A disk that has put a frame in a wrong place may have been given the right ones since: the next
            // then begins within it. What a good record says is not taken for one.
            let blocks = at + BLOCK_BYTES..limit.min(at + span);
            let inner = blocks.step_by(BLOCK_BYTES).find(|&inner| {
                let covers = |(offset, raw): &(usize, Raw<'_>)| {
                    *offset < inner && inner < offset + raw.bytes.len()
                };
                is_begun(segment, inner, generation, head.number) && !records.iter().any(covers)
            });
            if let Some(inner) = inner {
                span = inner - at;
                records.retain(|(offset, _)| *offset < inner);
            }
            let damage = Damage {
                from: at + walked.bad_from.min(span - 1),
                to: at + walked.bad_to.min(span),
            };
            found.damages.push(damage);
            let mut told = false;
            for (offset, raw) in records.drain(..) {
                if offset >= damage.from && !told {
                    told = true;
                    each(Piece::Damage(damage));
                }
                each(Piece::Record(offset, raw));
            }
            if !told {
                each(Piece::Damage(damage));
            }
        } else {
            for (offset, raw) in records.drain(..) {
                each(Piece::Record(offset, raw));
            }
        }
        found.last_number = head.number;
        at += span;
        found.end = at;
    }
    if let Some(end) = expected.end
        && found.end < end
    {
        // The file is shorter than its segment was.
        let damage = Damage {
            from: found.end,
            to: end,
        };
        each(Piece::Damage(damage));
        found.damages.push(damage);
    }
    found
}

/// The highest generation of which a frame's head is found anywhere in a file.
pub(crate) fn newest_generation(file: &[u8]) -> Option<FrameHead> {
    let heads = file.chunks(BLOCK_BYTES).filter_map(FrameHead::parse);
    heads.max_by_key(|head| head.generation)
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
            let scanned = scan(&segment, expected_of, &mut |piece| {
                if let Piece::Record(_, raw) = piece {
                    found.push(u64::from(raw.body()[0]));
                }
            });
            assert_eq!(found, expected, "{written:?}");
            let mut covered = Vec::new();
            for damage in &scanned.damages {
                assert!(damage.from < damage.to, "{written:?}: {damage:?}");
                covered.extend(damage.from / BLOCK_BYTES..damage.to.div_ceil(BLOCK_BYTES));
            }
            let lost: Vec<usize> = damaged.iter().flat_map(|&(from, to)| from..to).collect();
            assert_eq!(covered, lost, "{written:?}: {:?}", scanned.damages);
        }
    }
}
