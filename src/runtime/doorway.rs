//! How many connections each address has, where that is bounded (`max_connections_per_address`).
//!
//! One table for all shards, touched when a connection is accepted and when it is closed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
#[derive(Clone, Debug)]
pub struct Doorway {
    /// 0 for any number.
    per_address_max: usize,
    connections: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place in the count of its address, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    address: IpAddr,
    connections: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Doorway {
    /// A doorway for so many connections from each address; 0 for any number.
    pub fn new(per_address_max: usize) -> Self {
        Self {
            per_address_max,
            connections: Arc::default(),
        }
    }

    /// Counts a connection in. `None` where nobody counts; an error when there are too many.
    pub fn enter(&self, address: IpAddr) -> Result<Option<Pass>, TooMany> {
        if self.per_address_max == 0 {
            return Ok(None);
        }
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(address).or_default();
        if *count >= self.per_address_max {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(Pass {
            address,
            connections: Arc::clone(&self.connections),
        }))
    }
}

/// The address has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Drop for Pass {
    fn drop(&mut self) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count() {
        let doorway = Doorway::new(2);
        let [one, other] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        let first = doorway.enter(one).expect("there is room");
        let _second = doorway.enter(one).expect("there is room");
        assert_eq!(doorway.enter(one).expect_err("it is full"), TooMany);
        drop(doorway.enter(other).expect("another address"));
        drop(first);
        let _third = doorway.enter(one).expect("there is room again");
        assert_eq!(
            doorway.connections.lock().expect("nobody panicked").len(),
            1
        );
    }

    #[test]
    fn nobody_counts_without_a_limit() {
        let doorway = Doorway::new(0);
        assert!(
            doorway
                .enter([1, 1, 1, 1].into())
                .expect("any number")
                .is_none()
        );
    }
}
