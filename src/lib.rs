//! Skein: a NATS server that is thread-per-core and shared-nothing, on Linux io_uring.
//!
//! `ARCHITECTURE.md` beside this file is the map. In short: [`shard`] is the broker of one core, a
//! state machine without I/O; `runtime` runs one of them per core around a ring of sockets.

// What unit tests share with others speaks of the library by its name.
#[cfg(test)]
extern crate self as skein;

pub mod auth;
pub mod base;
pub mod config;
pub mod control;
pub mod import;
pub mod jetstream;
pub mod proto;
pub mod router;
#[cfg(feature = "server")]
pub mod runtime;
pub mod session;
pub mod shard;
pub mod store;
pub mod subject;
