//! Level 0: the pieces everything else is built from.
//!
//! Ids, limits, outbound buffers, rings, a seeded generator, deadlines. Nothing here knows a
//! protocol, a subject or a socket. Together with `runtime`, this is the only module in which
//! `unsafe` is allowed; each block says why it is sound.

pub mod aligned;
pub mod bytes;
pub mod deadlines;
pub mod histogram;
pub mod ids;
pub mod limits;
pub mod outbound;
pub mod prng;
pub mod scan;
pub mod sid;
pub mod slab;
pub mod spsc;
