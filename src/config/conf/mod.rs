//! nats-server's configuration language: text → a tree of values that know their places.
//!
//! Maps, arrays, comments, `key value`, `key = value` and `key: value`, units behind numbers, `$variables`, `include`.
//! What a key means is not known here, and neither are files nor the environment: both are reached through
//! [`Surroundings`]. No input makes it panic, nest without end or take memory without end; the limits are below.

mod digest;
mod duration;
mod parser;
mod scalar;
mod scanner;
mod tree;

pub use digest::digest;
pub use duration::{parse_duration, shown_duration};
pub use parser::{Surroundings, parse};
pub use tree::{Entry, Map, Node, Place, Value};

/// How deep maps and arrays may nest.
pub const DEPTH_MAX: usize = 64;
/// How deep files may include each other, and an environment variable's value refer to another one.
pub const INCLUDE_DEPTH_MAX: usize = 16;
/// Files and environment variables read for one configuration, however often each.
pub const SOURCES_MAX: usize = 1024;
/// Text of one configuration, all files together.
pub const SOURCE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Memory that references to variables may take: each is a copy of what it refers to.
pub const REFERENCE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is wrong with a configuration, with its place; the words are nats-server's where it has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(pub String);

impl std::error::Error for ParseError {}

impl std::fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
