//! Who is connected to the monitoring port, and who has to go when somebody else comes and there is no place left.
//!
//! Whoever has asked something stays until it is answered and the answer is gone. Of the others the one goes that has been
//! idle for longest, of the address that has the most connections: so one that opens many and says nothing gets in its own
//! way. Must not know what is asked.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// All who are connected.
pub struct Guests {
    places: usize,
    present: Mutex<Present>,
    /// Somebody has gone, or become idle.
    changed: Notify,
}

#[derive(Default)]
struct Present {
    last: u64,
    guests: BTreeMap<u64, Guest>,
}

struct Guest {
    address: IpAddr,
    is_asking: bool,
    is_written_to: bool,
    /// Since when neither is so; or when it came.
    idle_since: Instant,
    leave: Arc<Notify>,
}

impl Guest {
    fn is_idle(&self) -> bool {
        !self.is_asking && !self.is_written_to
    }
}

impl Guests {
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places,
            present: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Lets somebody in, when there is a place or can be one.
    pub async fn enter(self: &Arc<Self>, address: IpAddr) -> Visit {
        loop {
            let changed = self.changed.notified();
            if let Some(visit) = self.try_enter(address) {
                return visit;
            }
            changed.await;
        }
    }

    fn try_enter(self: &Arc<Self>, address: IpAddr) -> Option<Visit> {
        let mut present = self.present();
        if present.guests.len() >= self.places {
            let number = present.dispensable()?;
            if let Some(guest) = present.guests.remove(&number) {
                guest.leave.notify_one();
            }
        }
        present.last += 1;
        let number = present.last;
        let leave = Arc::new(Notify::new());
        let guest = Guest {
            address,
            is_asking: false,
            is_written_to: false,
            idle_since: Instant::now(),
            leave: Arc::clone(&leave),
        };
        present.guests.insert(number, guest);
        Some(Visit {
            guests: Arc::clone(self),
            number,
            leave,
        })
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    /// Who has to go for somebody else.
    fn dispensable(&self) -> Option<u64> {
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        for guest in self.guests.values() {
            *by_address.entry(guest.address).or_default() += 1;
        }
        let idle = self.guests.iter().filter(|(_, guest)| guest.is_idle());
        let first = idle.min_by_key(|(number, guest)| {
            let of_address = by_address.get(&guest.address).copied();
            (std::cmp::Reverse(of_address), guest.idle_since, **number)
        });
        first.map(|(number, _)| *number)
    }
}

/// Somebody's place, until it is dropped.
pub struct Visit {
    guests: Arc<Guests>,
    number: u64,
    leave: Arc<Notify>,
}

impl Visit {
    /// Comes when somebody else has got the place.
    pub async fn is_over(&self) {
        self.leave.notified().await;
    }

    /// A request has come, or was answered.
    pub fn asks(&self, now: bool) {
        self.is(|guest| guest.is_asking = now);
    }

    /// There are bytes that the peer has to take, or there are no more.
    pub fn is_written_to(&self, now: bool) {
        self.is(|guest| guest.is_written_to = now);
    }

    fn is(&self, change: impl FnOnce(&mut Guest)) {
        let mut present = self.guests.present();
        let Some(guest) = present.guests.get_mut(&self.number) else {
            return;
        };
        change(guest);
        if guest.is_idle() {
            guest.idle_since = Instant::now();
            self.guests.changed.notify_one();
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.guests.present().guests.remove(&self.number);
        self.guests.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn stays(visit: &Visit) -> bool {
        visit.guests.present().guests.contains_key(&visit.number)
    }

    #[test]
    fn who_has_to_go() {
        let guests = Guests::new(5);
        let enter = |last| guests.try_enter(address(last));
        let one = [enter(1).unwrap(), enter(1).unwrap(), enter(1).unwrap()];
        let two = [enter(2).unwrap(), enter(2).unwrap()];
        // The first of one has asked, and waits; the second was answered a moment ago.
        one[0].asks(true);
        one[1].asks(true);
        one[1].is_written_to(true);
        one[1].asks(false);
        one[1].is_written_to(false);
        let three = enter(3).unwrap();
        assert_eq!(one.each_ref().map(stays), [true, true, false]);
        // Now one and two have as many, and the first of two has been idle for longest.
        let four = enter(4).unwrap();
        assert_eq!(two.each_ref().map(stays), [false, true]);
        // Nobody but who is not being served has to go.
        one[1].is_written_to(true);
        for visit in [&two[1], &three, &four] {
            visit.asks(true);
        }
        assert!(enter(5).is_none());
        three.asks(false);
        assert!(enter(5).is_some());
        assert!(!stays(&three));
        one[2].asks(true);
        assert!(!stays(&one[2]), "who was sent away stays away");
    }

    #[test]
    fn a_place_is_free_when_its_guest_leaves() {
        let guests = Guests::new(1);
        let first = guests.try_enter(address(1)).unwrap();
        first.asks(true);
        assert!(guests.try_enter(address(2)).is_none());
        drop(first);
        assert!(guests.try_enter(address(2)).is_some());
    }

    #[test]
    fn who_has_to_go_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(async {
            let guests = Guests::new(1);
            let first = guests.enter(address(1)).await;
            let _second = guests.enter(address(2)).await;
            first.is_over().await;
        });
    }
}
