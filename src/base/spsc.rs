//! A bounded queue from one thread to one other, without locks.
//!
//! Sender and receiver each keep the other's position as they last saw it, on their own cache
//! line, and read the shared one only when that says full or empty: a batch of pushes costs one
//! shared line, not one per push (the model is Seastar's `smp_message_queue`).
//!
//! The ends are not `Clone`; dropping the queue drops what is in it.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[repr(align(128))]
struct Line<T>(T);

struct Ring<T> {
    /// Where the receiver takes next. Written by the receiver only.
    head: Line<AtomicUsize>,
    /// Where the sender puts next. Written by the sender only.
    tail: Line<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by the sender only while it lies outside head..tail and by the
// receiver only while it lies inside; the release store of `tail` (or `head`) and the acquire
// load by the other side order those accesses. `T: Send` because values cross threads.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above; the ring owns its values.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    fn slot(&self, position: usize) -> *mut MaybeUninit<T> {
        self.slots[position & (self.slots.len() - 1)].get()
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let tail = *self.tail.0.get_mut();
        let mut head = *self.head.0.get_mut();
        while head != tail {
            // SAFETY: `&mut self`, so both ends are gone, and head..tail holds written values.
            unsafe { (*self.slot(head)).assume_init_drop() };
            head = head.wrapping_add(1);
        }
    }
}

/// The end that puts values in.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
    tail: usize,
    head_seen: usize,
}

/// The end that takes values out.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    tail_seen: usize,
}

/// A queue of `capacity` values.
///
/// # Panics
/// When `capacity` is not a power of two.
pub fn ring<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity.is_power_of_two(), "positions wrap by masking");
    let ring = Arc::new(Ring {
        head: Line(AtomicUsize::new(0)),
        tail: Line(AtomicUsize::new(0)),
        slots: (0..capacity)
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect(),
    });
    let sender = Sender {
        ring: Arc::clone(&ring),
        tail: 0,
        head_seen: 0,
    };
    let receiver = Receiver {
        ring,
        head: 0,
        tail_seen: 0,
    };
    (sender, receiver)
}

impl<T: Send> Sender<T> {
    /// Puts `value` in, or gives it back when the queue is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let capacity = self.ring.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.ring.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == capacity {
                return Err(value);
            }
        }
        // SAFETY: the slot lies outside head..tail, so the receiver does not touch it.
        unsafe { (*self.ring.slot(self.tail)).write(value) };
        self.tail = self.tail.wrapping_add(1);
        self.ring.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }
}

impl<T: Send> Receiver<T> {
    /// Takes the oldest value out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the slot lies inside head..tail, so it is written and the sender leaves it.
        let value = unsafe { (*self.ring.slot(self.head)).assume_init_read() };
        self.head = self.head.wrapping_add(1);
        self.ring.head.0.store(self.head, Ordering::Release);
        Some(value)
    }

    /// How many there are to take at this moment.
    pub fn len(&mut self) -> usize {
        self.tail_seen = self.ring.tail.0.load(Ordering::Acquire);
        self.tail_seen.wrapping_sub(self.head)
    }

    /// True when there is nothing to take at this moment.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.ring.tail.0.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_empty() {
        let (mut sender, mut receiver) = ring(2);
        assert_eq!(receiver.pop(), None);
        assert_eq!(sender.push(1), Ok(()));
        assert_eq!(sender.push(2), Ok(()));
        assert_eq!(sender.push(3), Err(3));
        assert_eq!(receiver.pop(), Some(1));
        assert_eq!(sender.push(3), Ok(()));
        assert_eq!(receiver.pop(), Some(2));
        assert_eq!(receiver.pop(), Some(3));
        assert_eq!(receiver.pop(), None);
    }

    #[test]
    fn everything_arrives_once_and_in_order_across_threads() {
        let (mut sender, mut receiver) = ring(8);
        let count = 20_000u64;
        let pusher = std::thread::spawn(move || {
            for n in 0..count {
                let mut value = Box::new(n);
                while let Err(back) = sender.push(value) {
                    value = back;
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < count {
            match receiver.pop() {
                Some(value) => {
                    assert_eq!(*value, expected);
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        pusher.join().expect("the pushing thread ends well");
    }

    #[test]
    fn what_is_left_is_dropped() {
        let value = Arc::new(());
        let (mut sender, receiver) = ring(4);
        sender.push(Arc::clone(&value)).expect("there is room");
        sender.push(Arc::clone(&value)).expect("there is room");
        drop(sender);
        drop(receiver);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
