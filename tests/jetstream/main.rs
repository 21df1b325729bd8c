//! JetStream as its clients see it: each scene is played on the server and compared with what nats-server 2.15.1 did in it.
//!
//! The recordings lie beside the scenes. `NATS_SERVER_BIN=/path/to/nats-server cargo test --test jetstream` proves them,
//! with `RECORD=yes` it makes them anew.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../harness/mod.rs"]
mod harness;

mod calls;
mod client;
mod rust_client;
mod scripts;
mod shown;
mod view;
