//! What the pieces of the hot path cost, one by one, without sockets: `cargo bench`.
//!
//! Units are per message or per subject (criterion's throughput is in elements). The floors named
//! beside each group are what the machine's memory and arithmetic allow, as a sanity check: a
//! result below its floor means that the compiler removed the work.

mod encode;
mod index;
mod matching;
mod mesh;
mod parse;
mod permit;
mod route;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    parse::benches,
    matching::benches,
    permit::benches,
    route::benches,
    encode::benches,
    mesh::benches,
    index::benches
);
criterion_main!(benches);
