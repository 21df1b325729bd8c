//! Workloads of streams, consumers and key-value buckets. Like the others they know only the protocol, and verify
//! what they measure: sequences of acknowledgements, content, order and number of what is delivered.
//!
//! `role` runs connections; `publisher` and `reader` are two kinds of them; the other files make workloads of these.

mod ack;
pub mod api;
pub mod args;
mod batches;
mod consume;
mod consumers;
pub mod disk;
mod kv;
mod mixed;
mod peer;
mod publish;
mod publisher;
mod reader;
pub mod restart;
mod role;
mod seen;
