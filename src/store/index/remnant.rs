//! What is left of an index when everything in it is gone: memory, to be freed piece by piece.

use super::chunks::Chunks;
use super::subjects::Subjects;
use crate::store::core::Debris;

/// What is freed at once: less than a tenth of a millisecond.
const CHUNKS: usize = 64;
const SUBJECTS: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Remnant {
    chunks: Chunks,
    subjects: Subjects,
}

impl Remnant {
    pub(super) fn new(chunks: Chunks, subjects: Subjects) -> Self {
        Self { chunks, subjects }
    }
}

impl Debris for Remnant {
    fn shrink(&mut self) -> bool {
        self.chunks.shrink(CHUNKS) || self.subjects.shrink(SUBJECTS)
    }
}
