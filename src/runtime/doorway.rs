//! How many connections each address has, which may be bounded (`max_connections_per_address`).
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

    /// From now on, so many; 0 for any number. Who is there may stay.
    pub fn set_max(&mut self, per_address_max: usize) {
        self.per_address_max = per_address_max;
    }

    /// Counts a connection in, whether there is a bound or not: one may come later.
    pub fn enter(&self, address: IpAddr) -> Result<Pass, TooMany> {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(address).or_default();
        if self.per_address_max > 0 && *count >= self.per_address_max {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Pass {
            address,
            connections: Arc::clone(&self.connections),
        })
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
    fn those_who_came_without_a_limit_count_when_there_is_one() {
        let mut doorway = Doorway::new(0);
        let enter = |doorway: &Doorway| doorway.enter([1, 1, 1, 1].into());
        let all: Vec<_> = (0..3)
            .map(|_| enter(&doorway).expect("any number"))
            .collect();
        doorway.set_max(3);
        assert_eq!(enter(&doorway).expect_err("it is full"), TooMany);
        drop(all);
        enter(&doorway).expect("there is room");
    }
}
