//! Who may connect, as whom, to what account, and what they may do there.
//!
//! [`definition`] is what operators write, in a file or as [`claims`]; [`gate`] decides on what a
//! connection presents ([`admission`]); [`accounts`] are what it is let into. All of it is plain
//! values and decisions on them: no connection, no file, no clock. Secrets are compared in
//! constant time: how long a refusal takes says nothing about how much of a guess was right.

pub mod accounts;
pub mod admission;
pub mod callout;
pub mod certificate;
pub mod claims;
pub mod definition;
pub mod gate;
pub mod mapping;
pub mod nkey;
pub mod password;
pub mod permissions;
pub mod system_imports;
pub mod templates;
pub mod trust;
#[cfg(test)]
mod vectors;
pub mod xkey;

pub use password::is_bcrypt;
