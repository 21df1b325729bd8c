//! What the host must allow: io_uring, locked memory, file descriptors; and its cores.

use std::fmt;
use std::io;

/// Locked memory that glommio asks for, per executor.
const MEMLOCK_BYTES_PER_SHARD: u64 = 512 * 1024;
/// Descriptors besides connections: rings, event descriptors, log, listener.
const DESCRIPTORS_BESIDES: u64 = 64;

/// Something that the host does not allow, and what to do about it.
#[derive(Debug)]
pub struct HostError(String);

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes sure that `shards` executors can start; raises soft limits where that is enough.
/// Returns a warning when there may be fewer connections than wanted.
pub fn prepare(shards: usize, connections: usize) -> Result<Option<String>, HostError> {
    probe_io_uring()?;
    let wanted = MEMLOCK_BYTES_PER_SHARD * shards as u64;
    let got = raise_limit(libc::RLIMIT_MEMLOCK, wanted);
    if got < wanted {
        return Err(HostError(format!(
            "locked memory is limited to {got} bytes and {shards} shards need {wanted}: raise \
             memlock (ulimit -l, LimitMEMLOCK= in systemd, --ulimit memlock in containers)"
        )));
    }
    let wanted = connections as u64 + DESCRIPTORS_BESIDES * shards as u64;
    let got = raise_limit(libc::RLIMIT_NOFILE, wanted);
    Ok((got < wanted).then(|| {
        format!(
            "file descriptors are limited to {got}: no more than about {} of max_connections \
             {connections} can be served (raise nofile)",
            got.saturating_sub(DESCRIPTORS_BESIDES * shards as u64)
        )
    }))
}

/// The cores this process may run on.
pub fn usable_cpus() -> Vec<usize> {
    core_affinity::get_core_ids()
        .map(|cores| cores.into_iter().map(|core| core.id).collect())
        .filter(|cpus: &Vec<usize>| !cpus.is_empty())
        .unwrap_or_else(|| vec![0])
}

fn probe_io_uring() -> Result<(), HostError> {
    let ring: io::Result<io_uring::IoUring> = io_uring::IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(8);
    let Err(error) = ring else {
        return Ok(());
    };
    let why = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "this process may not use io_uring: check kernel.io_uring_disabled, and in a container \
             its seccomp profile (tuning/seccomp-io_uring.json allows it)"
        }
        Some(libc::ENOSYS) => "the kernel, or the sandbox this runs in, has no io_uring",
        Some(libc::EINVAL) => "the kernel is too old: Linux 6.1 or later is needed",
        Some(libc::ENOMEM) => "locked memory is used up: raise memlock",
        _ => "io_uring cannot be set up",
    };
    Err(HostError(format!("{why} ({error})")))
}

/// Raises a soft limit to `wanted` or as far as the hard limit allows (and the hard limit too
/// where the process may); returns the soft limit.
fn raise_limit(resource: libc::__rlimit_resource_t, wanted: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for the call.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } < 0 || limit.rlim_cur >= wanted {
        return limit.rlim_cur;
    }
    for hard in [limit.rlim_max.max(wanted), limit.rlim_max] {
        let raised = libc::rlimit {
            rlim_cur: wanted.min(hard),
            rlim_max: hard,
        };
        // SAFETY: as above.
        if unsafe { libc::setrlimit(resource, &raw const raised) } == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}

/// Nanoseconds of the system's monotonic clock.
pub fn fine_clock_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Time that this thread has run, user and system, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is valid; both clocks that are asked for are always there.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What a client is to sign: 15 characters of base64 for 11 random bytes, as nats-server's.
pub fn nonce() -> Box<str> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0u8; 15];
    // SAFETY: the buffer is valid for its length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert!(got == bytes.len() as isize, "the kernel has random numbers");
    let text = bytes.map(|byte| DIGITS[usize::from(byte & 63)]);
    String::from_utf8_lossy(&text).into()
}

/// A number that peers cannot guess.
pub fn random_u64() -> io::Result<u64> {
    random_bytes().map(u64::from_ne_bytes)
}

/// Random bytes, at most 256 of them.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    // SAFETY: the buffer is valid for its length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != bytes.len() as isize {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes)
}

/// Bytes of memory that the machine has.
pub fn memory_bytes() -> u64 {
    // SAFETY: these only ask.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    pages.max(0) as u64 * size.max(0) as u64
}

/// What a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes, free or not.
    pub total_bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
}

/// What the disk has where a directory is. A file system that has no numbers to give counts as
/// endless.
///
/// # Errors
/// When the kernel does not say.
pub fn disk_space(directory: &std::path::Path) -> io::Result<DiskSpace> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: a statvfs of zeros is valid and is filled in.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero byte, and the result lies on this stack.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(match found.f_blocks {
        0 => DiskSpace {
            total_bytes: u64::MAX,
            free_bytes: u64::MAX,
        },
        blocks => DiskSpace {
            total_bytes: blocks.saturating_mul(found.f_frsize),
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        },
    })
}
