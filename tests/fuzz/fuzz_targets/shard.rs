//! Feeds a whole shard, cut into packets.
#![no_main]

#[allow(dead_code, reason = "one of several targets")]
#[path = "../targets.rs"]
mod targets;

// The first bytes choose how the rest is cut into packets.
libfuzzer_sys::fuzz_target!(|input: (u64, &[u8])| targets::shard(input.1, input.0));
