//! JetStream: streams and consumers as state machines, and the API that makes and shows them.
//!
//! It takes messages, requests, acknowledgements and time, and speaks through an [`Outlet`]. It
//! knows accounts by number; not connections, shards' frames or files.

pub mod adopted;
pub mod api;
pub mod asset;
pub mod config;
pub mod consumer;
pub mod engine;
mod letters;
pub mod orders;
pub mod outlet;
pub mod snapshot;
pub mod sourcing;
pub mod stream;

pub use orders::{Order, Request, Usage};
pub use outlet::{Now, Outgoing, Outlet, Reached};
