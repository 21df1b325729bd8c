//! The log file: opened, opened anew, and put aside when it has become too long.
//!
//! The descriptor that lines are written to stays the same for as long as the log does: another
//! file is put behind it (`dup3`), which the kernel does at once. So no line waits, none is lost, and
//! none needs a lock. A line that is written in the same moment goes to the one file or the other.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};

use super::Level;
use crate::config::LogOptions;

/// When a file is put aside.
#[derive(Debug)]
pub struct Rotation {
    path: PathBuf,
    /// 0 for never.
    limit: u64,
    /// Files to keep, this one among them; 0 for all.
    files_max: usize,
    /// Bytes in the file.
    length: AtomicU64,
    /// The length at which it is put aside. Grows beyond the limit when that fails.
    due_at: AtomicU64,
    /// Held by who puts it aside.
    turn: Mutex<()>,
}

impl Rotation {
    pub fn new(path: PathBuf, options: &LogOptions) -> Self {
        let limit = options.file_size_limit;
        Self {
            path,
            limit,
            files_max: options.files_max,
            length: AtomicU64::new(0),
            due_at: AtomicU64::new(if limit == 0 { u64::MAX } else { limit }),
            turn: Mutex::new(()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file, to append to it.
    pub fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o640);
        let file = file.open(&self.path)?;
        // A device has no length that grows.
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        self.length.store(length, Relaxed);
        Ok(file)
    }

    /// Puts the file of this name behind the descriptor, whatever was there.
    pub fn reopen(&self, output: &File) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.exchange(output)?;
        // What has failed with the file that was there need not fail with this one.
        if self.limit > 0 {
            self.due_at.store(self.limit, Relaxed);
        }
        Ok(())
    }

    fn exchange(&self, output: &File) -> io::Result<()> {
        let file = self.open()?;
        // SAFETY: both descriptors are open, and `output` owns the one that is replaced before and after.
        let result = unsafe { libc::dup3(file.as_raw_fd(), output.as_raw_fd(), libc::O_CLOEXEC) };
        match result {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether the file is longer than it may be.
    pub fn is_due(&self) -> bool {
        self.length.load(Relaxed) > self.due_at.load(Relaxed)
    }

    /// Counts what was written, and puts the file aside when it is too long; `say` writes lines about that.
    pub fn wrote(
        &self,
        bytes: usize,
        output: &File,
        say: impl Fn(Level, std::fmt::Arguments<'_>) -> usize,
    ) {
        if self.limit == 0 {
            return;
        }
        self.length.fetch_add(bytes as u64, Relaxed);
        if !self.is_due() {
            return;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have done it meanwhile.
        if !self.is_due() {
            return;
        }
        let aside = name_aside(&self.path, local_time());
        let count = |written: usize| {
            self.length.fetch_add(written as u64, Relaxed);
        };
        let moved = self.put_aside(&aside, output);
        if let Err(error) = &moved {
            let next = self.length.load(Relaxed).saturating_mul(2);
            self.due_at.store(next, Relaxed);
            count(say(
                Level::Error,
                format_args!(
                    "Unable to rotate the logfile ({error}), will attempt next rotation at size {next}"
                ),
            ));
            return;
        }
        self.due_at.store(self.limit, Relaxed);
        if let Ok(true) = moved {
            let shown = aside.display().to_string();
            count(say(
                Level::Info,
                format_args!("Rotated log, backup saved as {shown:?}"),
            ));
        }
        if self.files_max > 0 {
            self.purge(|level, text| count(say(level, text)));
        }
    }

    /// Goes on in a new file; whether there was one to put aside, which somebody else may have moved or removed.
    fn put_aside(&self, aside: &Path, output: &File) -> io::Result<bool> {
        let was_there = match fs::rename(&self.path, aside) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let exchanged = self.exchange(output);
        if exchanged.is_err() && was_there {
            // It is written to as before, and is to be found where everybody looks.
            let _ = fs::rename(aside, &self.path);
        }
        exchanged.map(|()| was_there)
    }

    /// Removes the oldest of the files that were put aside, if there are too many.
    fn purge(&self, say: impl Fn(Level, std::fmt::Arguments<'_>)) {
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            Some(_) | None => Path::new("."),
        };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let shown = folder.display().to_string();
                say(
                    Level::Error,
                    format_args!(
                        "Unable to read directory {shown:?} for log purge ({error}), will attempt next rotation"
                    ),
                );
                return;
            }
        };
        let names = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter_map(|entry| entry.file_name().into_string().ok());
        let base = self.path.file_name().unwrap_or_default().to_string_lossy();
        for name in too_many(&base, names.collect(), self.files_max - 1) {
            if let Err(error) = fs::remove_file(folder.join(&name)) {
                say(
                    Level::Error,
                    format_args!(
                        "Unable to remove backup log file {name:?} ({error}), will attempt next rotation"
                    ),
                );
                return;
            }
            say(Level::Info, format_args!("Purged log file {name:?}"));
        }
    }
}

fn local_time() -> DateTime {
    TimeZone::system().to_datetime(Timestamp::now())
}

/// The name of a file that is put aside: `.` and the time behind it, as nats-server has it.
fn name_aside(path: &Path, at: DateTime) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(
        ".{:04}.{:02}.{:02}.{:02}.{:02}.{:02}.{:09}",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.subsec_nanosecond()
    ));
    PathBuf::from(name)
}

/// Of the names in a folder, the oldest files that were put aside, all but `keep`.
fn too_many(base: &str, names: Vec<String>, keep: usize) -> Vec<String> {
    let is_aside = |name: &String| {
        let Some(stamp) = name
            .strip_prefix(base)
            .and_then(|rest| rest.strip_prefix('.'))
        else {
            return false;
        };
        let widths = [4, 2, 2, 2, 2, 2, 9];
        let parts: Vec<&str> = stamp.split('.').collect();
        let fits = |(part, width): (&&str, usize)| {
            part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        parts.len() == widths.len() && parts.iter().zip(widths).all(fits)
    };
    let mut aside: Vec<String> = names.into_iter().filter(is_aside).collect();
    // By name is by time.
    aside.sort_unstable();
    aside.truncate(aside.len().saturating_sub(keep));
    aside
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder for a test, removed with all that is in it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("skein-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Writes more than fits, and returns what was said of it.
    fn overflow(rotation: &Rotation, output: &File) -> Vec<String> {
        let said = std::cell::RefCell::new(Vec::new());
        rotation.wrote(200, output, |_, text| {
            said.borrow_mut().push(text.to_string());
            0
        });
        said.into_inner()
    }

    fn rotation(folder: &Folder) -> Rotation {
        let options = LogOptions {
            file_size_limit: 100,
            ..LogOptions::default()
        };
        Rotation::new(folder.0.join("a.log"), &options)
    }

    #[test]
    fn goes_on_when_the_file_is_gone() {
        let folder = Folder::new("rotation-gone");
        let rotation = rotation(&folder);
        let output = rotation.open().unwrap();
        for _ in 0..2 {
            fs::remove_file(rotation.path()).unwrap();
            assert_eq!(overflow(&rotation, &output), Vec::<String>::new());
            assert!(rotation.path().exists());
        }
        let said = overflow(&rotation, &output);
        assert!(
            said.iter().any(|line| line.starts_with("Rotated log")),
            "{said:?}"
        );
    }

    #[test]
    fn recovers_from_a_failure() {
        let folder = Folder::new("rotation-fails");
        let rotation = rotation(&folder);
        let output = rotation.open().unwrap();
        // No file can be made in a folder that is not there.
        let elsewhere = folder.0.with_extension("moved");
        fs::rename(&folder.0, &elsewhere).unwrap();
        let said = overflow(&rotation, &output);
        assert!(
            said[0].starts_with("Unable to rotate the logfile"),
            "{said:?}"
        );
        assert!(rotation.due_at.load(Relaxed) > 100);
        fs::rename(&elsewhere, &folder.0).unwrap();
        rotation.reopen(&output).unwrap();
        assert_eq!(rotation.due_at.load(Relaxed), 100);
        let said = overflow(&rotation, &output);
        assert!(said[0].starts_with("Rotated log"), "{said:?}");
    }

    #[test]
    fn names() {
        let at = jiff::civil::datetime(2026, 1, 2, 3, 4, 5, 67);
        assert_eq!(
            name_aside(Path::new("/var/log/skein.log"), at),
            Path::new("/var/log/skein.log.2026.01.02.03.04.05.000000067")
        );
    }

    #[test]
    fn which_are_too_many() {
        let all = [
            "a.log.2026.01.02.03.04.05.000000002",
            "a.log.2026.01.02.03.04.05.000000001",
            "a.log.2025.12.31.23.59.59.999999999",
            "a.log",
            "a.log.1",
            "a.log.2026.01.02.03.04.05.00000000x",
            "a.log.2026.01.02.03.04.05",
            "b.log.2026.01.02.03.04.05.000000001",
        ];
        let check = |keep, expected: &[usize]| {
            let expected: Vec<&str> = expected.iter().map(|&n| all[n]).collect();
            let names = all.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(too_many("a.log", names, keep), expected, "{keep}");
        };
        check(0, &[2, 1, 0]);
        check(1, &[2, 1]);
        check(2, &[2]);
        check(3, &[]);
        check(9, &[]);
    }
}
