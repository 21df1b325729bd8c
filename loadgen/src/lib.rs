//! Load generator for NATS servers: plain TCP, the protocol written by hand, every message verified.
//!
//! `workload` names what can be run; `throughput`, `request`, `open_loop`, `idle` and `churn` run it, and
//! `jetstream` what has to do with streams; `compare` runs it against two or three servers in turn,
//! and `polled` against one with and without monitoring. Nothing here knows any particular server.

pub mod batch;
pub mod churn;
pub mod cli;
pub mod compare;
pub mod expectation;
pub mod failure;
pub mod idle;
pub mod jetstream;
pub mod latency;
pub mod link;
pub mod open_loop;
pub mod payload;
pub mod plans;
pub mod plot;
pub mod polled;
pub mod process;
pub mod report;
pub mod request;
pub mod run;
pub mod server;
pub mod settings;
pub mod slow;
pub mod stream;
pub mod subjects;
pub mod system;
pub mod throughput;
pub mod units;
pub mod verify;
pub mod wire;
pub mod workload;
