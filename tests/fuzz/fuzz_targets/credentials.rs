//! Feeds the readers of tokens, keys and certificates.
#![no_main]

#[allow(dead_code, reason = "one of several targets")]
#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::credentials(bytes));
