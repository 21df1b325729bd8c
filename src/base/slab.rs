//! A table of values with stable `u32` places and reuse of free ones.

/// Places are handed out lowest-used-last, so that a shard that shrinks stays dense in cache.
#[derive(Debug)]
pub struct Slab<T> {
    values: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Default> Slab<T> {
    /// Stores `value` and says where.
    ///
    /// # Panics
    /// When more than `u32::MAX - 1` values are stored: memory ends long before.
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(place) = self.free.pop() {
            self.values[place as usize] = value;
            return place;
        }
        let place = self.values.len();
        assert!(place < u32::MAX as usize, "slab is full");
        if place == self.values.capacity() {
            // Grow by an eighth, not by doubling: a table of a million subscriptions is moved
            // by the allocator with mremap, and half of it must not stand empty.
            self.values.reserve_exact((place / 8).max(16));
        }
        self.values.push(value);
        place as u32
    }

    /// Takes the value out and frees its place.
    pub fn remove(&mut self, place: u32) -> T {
        self.free.push(place);
        std::mem::take(&mut self.values[place as usize])
    }

    /// Values stored now.
    pub fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    /// True when nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, place: u32) -> &T {
        &self.values[place as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, place: u32) -> &mut T {
        &mut self.values[place as usize]
    }
}
