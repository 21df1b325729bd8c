//! The API of JetStream as values: requests out of JSON, answers into it, errors, and which
//! configurations are allowed. Pure: no stream, no consumer, no message is reached from here.

pub mod advisories;
pub mod check_consumer;
pub mod check_stream;
pub mod configs;
pub mod decode;
pub mod encode;
pub mod errors;
mod overlap;
pub mod requests;
pub mod responses;
mod scan;
mod stream_rules;
pub mod subjects;
pub mod time;
pub mod versions;

pub use errors::{ApiError, Code};
pub use stream_rules::is_valid_name;

#[cfg(test)]
mod tests;
