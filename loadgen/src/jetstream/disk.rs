//! The floor under every fsynced acknowledgement: one 4 KiB write at the next place of a preallocated file, and a datasync.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::{Doing, Result};
use crate::jetstream::args::Append;
use crate::latency::Latencies;
use crate::report::Outcome;
use crate::system::AlignedBlock;

const FILE_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: usize = AlignedBlock::BYTES;

pub fn run(directory: Option<&Path>, how: Append, duration: Duration) -> Result<Outcome> {
    let directory = directory.map_or_else(std::env::temp_dir, Path::to_path_buf);
    let path = directory.join(format!("loadgen-disk-{}", std::process::id()));
    let result = measure(&path, how, duration);
    // It is of no use to anybody, and the run's result says more than a failure to remove it.
    let _ = std::fs::remove_file(&path);
    result
}

fn measure(path: &Path, how: Append, duration: Duration) -> Result<Outcome> {
    let doing = || format!("writing {}", path.display());
    write_zeros(path).doing(doing)?;
    let (flags, name) = match how {
        Append::Direct => (libc::O_DIRECT, "O_DIRECT, fdatasync"),
        Append::Dsync => (libc::O_DIRECT | libc::O_DSYNC, "O_DIRECT, O_DSYNC"),
        Append::Buffered => (0, "buffered, fdatasync"),
    };
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)
        .doing(doing)?;
    let mut block = AlignedBlock::default();
    let (mut latencies, mut at, mut appends) = (Latencies::default(), 0, 0u64);
    let start = Instant::now();
    while start.elapsed() < duration {
        let before = Instant::now();
        block.bytes()[..8].copy_from_slice(&appends.to_le_bytes());
        file.write_all_at(block.bytes(), at).doing(doing)?;
        if how != Append::Dsync {
            file.sync_data().doing(doing)?;
        }
        latencies.record(before.elapsed().as_nanos() as u64);
        appends += 1;
        at = (at + BLOCK_BYTES as u64) % FILE_BYTES;
    }
    let mut outcome = Outcome::new(&format!("disk, 4 KiB: {name}"), BLOCK_BYTES);
    outcome.count(appends, 0, start.elapsed());
    outcome.set_latencies(latencies);
    Ok(outcome)
}

/// Blocks that have been written once need no change of the file's own data when they are written again.
fn write_zeros(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..FILE_BYTES / zeros.len() as u64 {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}
