//! How long the turns of a shard take, and how much waits for them.
//!
//! The time of a turn that had something to do ends where the next one begins, which reads the clock anyway: measuring
//! costs a subtraction and an increment. Idle turns are not counted, so sleep and the look before it are not measured.

use super::disk::Disk;
use crate::base::deadlines::Millis;
use crate::base::histogram::Windowed;
use crate::shard::facts::{Spans, WINDOW_MS};

/// What one shard's loop measures.
#[derive(Debug, Default)]
pub struct Meter {
    turns: Windowed,
    /// When the turn before this one began, if it had something to do.
    worked_since_ns: Option<u64>,
    /// The most batches that a turn took, in this window and in the last.
    depth: u64,
    depth_before: u64,
    /// When this window ends.
    window_end: Millis,
}

impl Meter {
    /// A turn begins. True when a window has ended with it: then [`Self::end_window`] is to be called.
    #[inline]
    pub fn turn_begins(&mut self, now: Millis, now_ns: u64) -> bool {
        if let Some(since_ns) = self.worked_since_ns.take() {
            self.turns.record(now_ns.saturating_sub(since_ns));
        }
        now >= self.window_end
    }

    /// The turn that began then had something to do.
    #[inline]
    pub fn turn_worked(&mut self, since_ns: u64) {
        self.worked_since_ns = Some(since_ns);
    }

    /// So many batches were taken in a turn.
    #[inline]
    pub fn took(&mut self, batches: u64) {
        self.depth = self.depth.max(batches);
    }

    /// A window has ended; perhaps long ago.
    #[cold]
    pub fn end_window(&mut self, now: Millis, disks: &mut [Disk]) {
        let empty = now.saturating_sub(self.window_end) / WINDOW_MS;
        self.window_end = (now / WINDOW_MS + 1) * WINDOW_MS;
        self.turns.end_window(empty);
        for disk in disks {
            disk.flushes().end_window(empty);
        }
        self.depth_before = if empty > 0 { 0 } else { self.depth };
        self.depth = 0;
    }

    /// How long turns took.
    pub fn turns(&self) -> Spans {
        spans(&self.turns)
    }

    /// The most batches that a turn of the last whole window took.
    pub fn depth_max(&self) -> u64 {
        self.depth_before
    }
}

/// What was measured, as plain values.
pub fn spans(measured: &Windowed) -> Spans {
    Spans {
        last: measured.last().clone(),
        all: measured.all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_and_windows() {
        let mut meter = Meter::default();
        let mut turn = |at_ms: Millis, took: u64, works: bool| {
            let ns = at_ms * 1_000_000;
            if meter.turn_begins(at_ms, ns) {
                meter.end_window(at_ms, &mut []);
            }
            meter.took(took);
            if works {
                meter.turn_worked(ns);
            }
            let turns = meter.turns();
            (
                turns.all.count(),
                turns.last.count(),
                turns.last.max_ns() / 1_000_000,
                meter.depth_max(),
            )
        };
        assert_eq!(turn(1, 0, true), (0, 0, 0, 0));
        // Two milliseconds of work, then sleep.
        assert_eq!(turn(3, 7, false), (1, 0, 0, 0));
        assert_eq!(turn(9_000, 2, true), (1, 0, 0, 0));
        // It has worked until the window ended.
        assert_eq!(turn(10_000, 1, true), (2, 2, 1_000, 7));
        assert_eq!(turn(10_001, 0, false), (3, 2, 1_000, 7));
        assert_eq!(turn(20_000, 0, false), (3, 1, 1, 1));
        // Nothing for two windows.
        assert_eq!(turn(45_000, 0, false), (3, 0, 0, 0));
    }
}
