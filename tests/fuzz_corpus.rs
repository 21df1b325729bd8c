//! The fuzz targets over the stored corpus, and over mutations of it.
//!
//! `FUZZ_SEED=n` replays a run (the seed is printed on failure), `FUZZ_ROUNDS=n` sets how many
//! mutations of each file are tried.

#[path = "fuzz/targets.rs"]
mod targets;

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

const ROUNDS: u64 = 200;
/// The shard's target plays each input four times.
const SHARD_ROUNDS: u64 = 40;

#[test]
fn client_parse() {
    run("client_parse", ROUNDS, |bytes, _| {
        targets::client_parse(bytes)
    });
}

#[test]
fn credentials() {
    run("credentials", ROUNDS, |bytes, _| {
        targets::credentials(bytes)
    });
}

#[test]
fn connect_merge() {
    run("connect_merge", ROUNDS, |bytes, _| {
        targets::connect_merge(bytes)
    });
}

#[test]
fn shard() {
    run("shard", SHARD_ROUNDS, targets::shard);
}

#[test]
fn shard_over_single_operations() {
    run("client_parse", SHARD_ROUNDS, targets::shard);
}

fn run(corpus: &str, rounds: u64, target: impl Fn(&[u8], u64)) {
    let number = |name| env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("FUZZ_SEED").unwrap_or(20_260_821);
    let rounds = number("FUZZ_ROUNDS").unwrap_or(rounds);
    let files = read_corpus(corpus);
    let mut random = Random(seed);
    for (name, bytes) in &files {
        check(name, bytes, seed, &target);
        for _ in 0..rounds {
            let other = &files[random.below(files.len())].1;
            let mutated = random.mutate(bytes, other);
            check(name, &mutated, seed, &target);
        }
    }
}

fn check(name: &str, bytes: &[u8], seed: u64, target: &impl Fn(&[u8], u64)) {
    let outcome = catch_unwind(AssertUnwindSafe(|| target(bytes, seed)));
    assert!(
        outcome.is_ok(),
        "FUZZ_SEED={seed}: {name} or a mutation of it: b\"{}\"",
        bytes.escape_ascii()
    );
}

/// The files of a target, in the order of their names.
fn read_corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus")).join(target);
    let entries = fs::read_dir(directory).expect("there is a corpus");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("the corpus is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = fs::read(&path).expect("the corpus is readable");
        (name.into_owned(), bytes)
    };
    let mut files: Vec<_> = entries.map(read).collect();
    files.sort();
    assert!(files.len() >= 30, "the corpus of {target} is there");
    files
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn mutate(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        const TELLING: &[u8] = b" \t\r\n\0.*>0129{}\"-+\xff";
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below(bytes.len() - at + 1);
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = TELLING[self.below(TELLING.len())],
                2 => bytes.insert(at, TELLING[self.below(TELLING.len())]),
                3 => bytes.truncate(at),
                4 => drop(bytes.drain(at..end.min(at + 10))),
                5 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                6 => {
                    let from = self.below(other.len() + 1);
                    bytes.splice(at.., other[from..].iter().copied());
                }
                _ => bytes.extend_from_slice(other),
            }
        }
        bytes
    }
}
