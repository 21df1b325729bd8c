//! A stream with its consumers.
//!
//! (The seat builds this room; it is being furnished.)
