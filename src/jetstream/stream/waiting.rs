//! Arrivals that wait for something to be read, in their order.

use std::collections::VecDeque;

use super::publish::{Arrival, Origin};

/// An arrival, owned.
#[derive(Debug)]
pub struct Owned {
    pub subject: Box<[u8]>,
    pub reply: Box<[u8]>,
    pub headers: Box<[u8]>,
    pub payload: Box<[u8]>,
    pub origin: Origin,
}

impl Owned {
    pub fn new(arrival: &Arrival<'_>) -> Self {
        Self {
            subject: arrival.subject.into(),
            reply: arrival.reply.into(),
            headers: arrival.headers.into(),
            payload: arrival.payload.into(),
            origin: arrival.origin,
        }
    }

    pub fn borrowed(&self) -> Arrival<'_> {
        Arrival {
            subject: &self.subject,
            reply: &self.reply,
            headers: &self.headers,
            payload: &self.payload,
            origin: self.origin,
        }
    }

    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        let own = std::mem::size_of::<Self>();
        own + self.subject.len() + self.reply.len() + self.headers.len() + self.payload.len()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Waiting {
    arrivals: VecDeque<Owned>,
    bytes: usize,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// What all of them take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts one behind the others.
    pub fn push(&mut self, arrival: &Arrival<'_>) {
        let arrival = Owned::new(arrival);
        self.bytes += arrival.bytes();
        self.arrivals.push_back(arrival);
    }

    /// Puts one back that was taken.
    pub fn push_front(&mut self, arrival: Owned) {
        self.bytes += arrival.bytes();
        self.arrivals.push_front(arrival);
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<Owned> {
        let arrival = self.arrivals.pop_front()?;
        self.bytes -= arrival.bytes();
        Some(arrival)
    }
}
