//! The server's log, line for line in nats-server's form: `[PID] 2006/01/02 15:04:05.000000 [INF] text`.
//!
//! A line is formatted into a buffer of the calling thread and written by that thread with one `write(2)` to a file
//! descriptor in append mode. There is no queue and no writer thread: lines are rare (start, stop, a connection in
//! trouble), and what was logged before a crash is in the file. Traces (`-V`) go the same way; who turns them on pays a
//! system call or two per protocol line.
//!
//! A shard must not stand still because nobody reads its log.
//!
//! - A regular file costs a copy into the page cache, and no lock: the kernel keeps concurrent appends whole.
//! - A pipe, socket or terminal (stderr under systemd, Docker, a shell) is full for as long as its reader sleeps, so
//!   there `poll(2)` goes first, under a lock that keeps other threads from using up the room it found. A line waits
//!   [`STALL_WAIT`]; while the reader stays away the next lines are dropped at once. A fatal line waits [`FATAL_WAIT`],
//!   as nothing comes after it. What remains: another process that fills the same pipe between `poll` and `write`.
//!   Rejected: `O_NONBLOCK` on stderr, which would also change the terminal of the parent process.
//! - Lines lost, to a sleeping reader or a full disk, are counted and reported by the first line that gets through.
//!
//! Must not know who logs, or what the text means.

mod rotation;
mod syslog;

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::{Config, LogFormat};
use rotation::Rotation;
use syslog::Syslog;

/// How long a line waits for a reader that has just stopped reading.
pub const STALL_WAIT: Duration = Duration::from_millis(10);
/// How long a fatal line waits for it.
pub const FATAL_WAIT: Duration = Duration::from_millis(1_000);

/// What one write to a pipe that `poll(2)` calls writable takes without waiting; longer lines go in several writes.
const PIPE_WRITE_BYTES: usize = libc::PIPE_BUF;
/// Line buffers that a long trace has grown beyond this shrink again.
const LINE_BUFFER_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
    Fatal,
    Debug,
    Trace,
}

/// A handle to the log; clones write to the same place, and follow it when it changes.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<Shared>,
}

/// What a reload replaces. Levels and place change one after the other, which a line more or less does not mind.
#[derive(Debug)]
struct Shared {
    debug: AtomicBool,
    trace: AtomicBool,
    sink: RwLock<Arc<Sink>>,
}

/// The log could not be opened.
#[derive(Debug)]
pub struct LogFileError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl std::error::Error for LogFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl fmt::Display for LogFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "cannot open log file {}: {}",
            self.path.display(),
            self.source
        )
    }
}

/// A place for lines that is open and not in use yet.
#[derive(Debug)]
pub struct Prepared(Sink);

impl Log {
    /// Opens what the configuration names: a file, appending, created with mode 0640; a system log; or stderr, with
    /// coloured labels if that is a terminal.
    pub fn open(config: &Config) -> Result<Log, LogFileError> {
        let Prepared(sink) = Self::prepare(config)?;
        let log = Log {
            shared: Arc::new(Shared {
                debug: AtomicBool::new(config.debug),
                trace: AtomicBool::new(config.trace),
                sink: RwLock::new(Arc::new(sink)),
            }),
        };
        log.rotate_if_long();
        Ok(log)
    }

    /// Opens what the configuration names, for [`Log::replace`].
    pub fn prepare(config: &Config) -> Result<Prepared, LogFileError> {
        let options = &config.log;
        if let Some(path) = &options.file {
            let rotation = Rotation::new(path.clone(), options);
            let file = rotation.open().map_err(|source| LogFileError {
                path: path.clone(),
                source,
            })?;
            return Ok(Prepared(Sink::new(config, file, false, Some(rotation))));
        }
        if let Some(syslog) = Syslog::of(options) {
            let path = syslog.shown();
            let syslog = syslog.connect();
            let syslog = syslog.map_err(|source| LogFileError { path, source })?;
            let nowhere = io::stderr().as_fd().try_clone_to_owned();
            let nowhere = nowhere.map_err(stderr_error)?;
            let mut sink = Sink::new(config, nowhere.into(), false, None);
            sink.syslog = Some(Mutex::new(syslog));
            return Ok(Prepared(sink));
        }
        let stderr = io::stderr();
        let output = stderr.as_fd().try_clone_to_owned().map_err(stderr_error)?;
        let coloured = stderr.is_terminal() && options.format == LogFormat::Text;
        Ok(Prepared(Sink::new(config, output.into(), coloured, None)))
    }

    /// Goes on at another place, or with other levels.
    pub fn replace(&self, config: &Config, prepared: Prepared) {
        self.set_levels(config.debug, config.trace);
        let mut sink = self
            .shared
            .sink
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *sink = Arc::new(prepared.0);
        drop(sink);
        self.rotate_if_long();
    }

    /// Goes on with other levels.
    pub fn set_levels(&self, debug: bool, trace: bool) {
        self.shared.debug.store(debug, Relaxed);
        self.shared.trace.store(trace, Relaxed);
    }

    /// Opens the file anew, which somebody may have moved away; false when there is none.
    ///
    /// # Errors
    /// It cannot be opened. Lines go where they went.
    pub fn reopen(&self) -> Result<bool, LogFileError> {
        let sink = self.sink();
        let Some(rotation) = &sink.rotation else {
            return Ok(false);
        };
        let reopened = rotation.reopen(&sink.output);
        reopened.map(|()| true).map_err(|source| LogFileError {
            path: rotation.path().to_owned(),
            source,
        })
    }

    fn sink(&self) -> Arc<Sink> {
        let sink = self.shared.sink.read();
        Arc::clone(&sink.unwrap_or_else(PoisonError::into_inner))
    }

    /// A file that was longer than it may be before anything was written.
    fn rotate_if_long(&self) {
        let sink = self.sink();
        if sink.rotation.as_ref().is_some_and(Rotation::is_due) {
            self.info(format_args!("Rotating logfile..."));
        }
    }

    /// Whether a line of this level is written. For callers whose text costs something to prepare.
    #[inline]
    pub fn enabled(&self, level: Level) -> bool {
        match level {
            Level::Info | Level::Warn | Level::Error | Level::Fatal => true,
            Level::Debug => self.shared.debug.load(Relaxed),
            Level::Trace => self.shared.trace.load(Relaxed),
        }
    }

    pub fn info(&self, text: fmt::Arguments<'_>) {
        self.sink().log(Level::Info, text);
    }

    pub fn warn(&self, text: fmt::Arguments<'_>) {
        self.sink().log(Level::Warn, text);
    }

    pub fn error(&self, text: fmt::Arguments<'_>) {
        self.sink().log(Level::Error, text);
    }

    /// Writes the line; ending the process is up to the caller.
    pub fn fatal(&self, text: fmt::Arguments<'_>) {
        self.sink().log(Level::Fatal, text);
    }

    #[inline]
    pub fn debug(&self, text: fmt::Arguments<'_>) {
        if self.enabled(Level::Debug) {
            self.sink().log(Level::Debug, text);
        }
    }

    #[inline]
    pub fn trace(&self, text: fmt::Arguments<'_>) {
        if self.enabled(Level::Trace) {
            self.sink().log(Level::Trace, text);
        }
    }
}

fn stderr_error(source: io::Error) -> LogFileError {
    LogFileError {
        path: "/dev/stderr".into(),
        source,
    }
}

impl Level {
    /// What it is called in JSON.
    fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Fatal => "fatal",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    fn label(self, coloured: bool) -> &'static str {
        match (self, coloured) {
            (Level::Info, false) => "[INF] ",
            (Level::Warn, false) => "[WRN] ",
            (Level::Error, false) => "[ERR] ",
            (Level::Fatal, false) => "[FTL] ",
            (Level::Debug, false) => "[DBG] ",
            (Level::Trace, false) => "[TRC] ",
            (Level::Info, true) => "[\x1b[32mINF\x1b[0m] ",
            (Level::Warn, true) => "[\x1b[0;93mWRN\x1b[0m] ",
            (Level::Error, true) => "[\x1b[31mERR\x1b[0m] ",
            (Level::Fatal, true) => "[\x1b[31mFTL\x1b[0m] ",
            (Level::Debug, true) => "[\x1b[36mDBG\x1b[0m] ",
            (Level::Trace, true) => "[\x1b[33mTRC\x1b[0m] ",
        }
    }
}

/// The time at the start of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineTime {
    None,
    Utc,
    Local,
}

/// Where lines go. The flags need no order between threads: a line lost twice or reported late harms nobody.
#[derive(Debug)]
struct Sink {
    output: File,
    /// Not a regular file: a write may wait for a reader.
    can_stall: bool,
    coloured: bool,
    format: LogFormat,
    process_id: u32,
    time: LineTime,
    /// Of a file: when it is put aside.
    rotation: Option<Rotation>,
    /// Lines go here instead.
    syslog: Option<Mutex<Syslog>>,
    /// Held from `poll` to the last `write` of a line, where `can_stall`.
    turn: Mutex<()>,
    /// The reader was away when last looked at.
    stalled: AtomicBool,
    /// The last line written is missing its end.
    cut_short: AtomicBool,
    /// Lines lost and not reported yet.
    lost_lines: AtomicU64,
}

impl Sink {
    fn new(config: &Config, output: File, coloured: bool, rotation: Option<Rotation>) -> Sink {
        let can_stall = !output.metadata().is_ok_and(|metadata| metadata.is_file());
        let time = match (config.log.time, config.log.time_utc) {
            (false, _) => LineTime::None,
            (true, true) => LineTime::Utc,
            (true, false) => LineTime::Local,
        };
        Sink {
            output,
            can_stall,
            coloured,
            format: config.log.format,
            process_id: std::process::id(),
            time,
            rotation,
            syslog: None,
            turn: Mutex::new(()),
            stalled: AtomicBool::new(false),
            cut_short: AtomicBool::new(false),
            lost_lines: AtomicU64::new(0),
        }
    }

    #[cold]
    fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let write = |lines: &mut Lines| self.write(lines, level, since_epoch, text);
        let with_own_lines = THREAD_LINES.try_with(|own| match own.try_borrow_mut() {
            Ok(mut lines) => write(&mut lines),
            // `text` itself logs.
            Err(_) => write(&mut Lines::new()),
        });
        if with_own_lines.is_err() {
            // This thread is ending.
            write(&mut Lines::new());
        }
    }

    fn write(
        &self,
        lines: &mut Lines,
        level: Level,
        since_epoch: Duration,
        text: fmt::Arguments<'_>,
    ) {
        lines.bytes.clear();
        if self.cut_short.swap(false, Relaxed) {
            lines.bytes.push(b'\n');
        }
        let lost_before = match self.lost_lines.load(Relaxed) {
            0 => 0,
            _ => self.lost_lines.swap(0, Relaxed),
        };
        if lost_before > 0 && self.syslog.is_none() {
            lines.append(
                self,
                Level::Warn,
                since_epoch,
                format_args!("{lost_before} log lines before this one were lost"),
            );
        }
        if let Some(syslog) = &self.syslog {
            // A line of its own for each, and the time is the system log's.
            let mut syslog = syslog.lock().unwrap_or_else(PoisonError::into_inner);
            if lost_before > 0 {
                lines.append_text(format_args!(
                    "{lost_before} log lines before this one were lost"
                ));
                let _ = syslog.send(Level::Warn, since_epoch, &lines.bytes);
                lines.bytes.clear();
            }
            lines.append_text(text);
            if syslog.send(level, since_epoch, &lines.bytes).is_err() {
                self.lost_lines.fetch_add(lost_before + 1, Relaxed);
            }
            return;
        }
        lines.append(self, level, since_epoch, text);

        let wait = if level == Level::Fatal {
            FATAL_WAIT
        } else {
            STALL_WAIT
        };
        let written = self.write_bytes(&lines.bytes, wait);
        if written < lines.bytes.len() {
            self.lost_lines.fetch_add(lost_before + 1, Relaxed);
            self.cut_short.store(written > 0, Relaxed);
        }
        if let Some(rotation) = &self.rotation {
            rotation.wrote(written, &self.output, |level, text| {
                let mut lines = Lines::new();
                lines.append(self, level, since_epoch, text);
                self.write_bytes(&lines.bytes, STALL_WAIT)
            });
        }
        if lines.bytes.capacity() > LINE_BUFFER_BYTES {
            lines.bytes.truncate(0);
            lines.bytes.shrink_to(LINE_BUFFER_BYTES);
        }
    }

    /// Returns how much was written; what is missing is lost.
    fn write_bytes(&self, bytes: &[u8], wait: Duration) -> usize {
        // A thread that panicked in its turn has left nothing behind but a cut line.
        let _turn = self
            .can_stall
            .then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
        let piece_bytes = if self.can_stall {
            PIPE_WRITE_BYTES
        } else {
            bytes.len()
        };
        let mut deadline = None;
        let mut written = 0;
        while written < bytes.len() {
            if self.can_stall && !self.wait_for_reader(wait, &mut deadline) {
                break;
            }
            let piece = &bytes[written..bytes.len().min(written + piece_bytes)];
            match (&self.output).write(piece) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }

    /// Whether the output takes [`PIPE_WRITE_BYTES`] now, or within `wait` of the first time this line had to wait.
    fn wait_for_reader(&self, wait: Duration, deadline: &mut Option<Instant>) -> bool {
        if is_writable(&self.output, Duration::ZERO) {
            self.stalled.store(false, Relaxed);
            return true;
        }
        if self.stalled.load(Relaxed) && wait <= STALL_WAIT {
            return false;
        }
        let now = Instant::now();
        let deadline = *deadline.get_or_insert(now + wait);
        let writable = is_writable(&self.output, deadline.saturating_duration_since(now));
        self.stalled.store(!writable, Relaxed);
        writable
    }
}

fn is_writable(output: &File, wait: Duration) -> bool {
    let mut asked = libc::pollfd {
        fd: output.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let wait_ms = libc::c_int::try_from(wait.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `asked` is one valid pollfd, as the count says, and outlives the call.
    let ready = unsafe { libc::poll(&raw mut asked, 1, wait_ms) };
    // A broken pipe is "ready" too: the write finds out. A signal that ends the wait counts as not ready.
    ready > 0
}

thread_local! {
    static THREAD_LINES: RefCell<Lines> = const { RefCell::new(Lines::new()) };
}

/// The lines of one write, and the second that was formatted last: all lines of a second share those 20 bytes.
struct Lines {
    bytes: Vec<u8>,
    second: Option<(LineTime, u64)>,
    second_text: [u8; SECOND_TEXT_BYTES],
}

/// `2006/01/02 15:04:05.`
const SECOND_TEXT_BYTES: usize = 20;

impl Lines {
    const fn new() -> Lines {
        Lines {
            bytes: Vec::new(),
            second: None,
            second_text: [b' '; SECOND_TEXT_BYTES],
        }
    }

    fn append(
        &mut self,
        sink: &Sink,
        level: Level,
        since_epoch: Duration,
        text: fmt::Arguments<'_>,
    ) {
        if sink.format == LogFormat::Json {
            self.append_json(sink, level, since_epoch, text);
            return;
        }
        // Writing to a `Vec` does not fail, and what a failing `Display` has written so far is logged.
        let _ = write!(self.bytes, "[{}] ", sink.process_id);
        if sink.time != LineTime::None {
            self.append_time(sink.time, since_epoch);
        }
        self.bytes
            .extend_from_slice(level.label(sink.coloured).as_bytes());
        self.append_text(text);
        self.bytes.push(b'\n');
    }

    fn append_text(&mut self, text: fmt::Arguments<'_>) {
        let _ = OneLine(&mut self.bytes).write_fmt(text);
    }

    /// `{"time":…,"level":…,"pid":…,"message":…}`
    fn append_json(
        &mut self,
        sink: &Sink,
        level: Level,
        since_epoch: Duration,
        text: fmt::Arguments<'_>,
    ) {
        self.bytes.push(b'{');
        if sink.time != LineTime::None {
            let zone = match sink.time {
                LineTime::Local => TimeZone::system(),
                LineTime::None | LineTime::Utc => TimeZone::UTC,
            };
            let time = rfc3339(since_epoch, &zone);
            let _ = write!(self.bytes, "\"time\":\"{time}\",");
        }
        let (level, pid) = (level.name(), sink.process_id);
        let _ = write!(
            self.bytes,
            "\"level\":\"{level}\",\"pid\":{pid},\"message\":"
        );
        let _ = serde_json::to_writer(&mut self.bytes, &text.to_string());
        self.bytes.extend_from_slice(b"}\n");
    }

    fn append_time(&mut self, time: LineTime, since_epoch: Duration) {
        let second = Some((time, since_epoch.as_secs()));
        if self.second != second {
            let zone = if time == LineTime::Utc {
                TimeZone::UTC
            } else {
                TimeZone::system()
            };
            self.second_text = second_text(since_epoch.as_secs(), &zone);
            self.second = second;
        }
        self.bytes.extend_from_slice(&self.second_text);
        let _ = write!(self.bytes, "{:06} ", since_epoch.subsec_micros());
    }
}

/// `2006-01-02T15:04:05.000000+01:00`, and `Z` for UTC.
fn rfc3339(since_epoch: Duration, zone: &TimeZone) -> String {
    let timestamp = i64::try_from(since_epoch.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::new(seconds, since_epoch.subsec_nanos() as i32).ok());
    let timestamp = timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    match *zone == TimeZone::UTC {
        true => timestamp.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        false => timestamp
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%dT%H:%M:%S%.6f%:z")
            .to_string(),
    }
}

fn second_text(since_epoch_s: u64, zone: &TimeZone) -> [u8; SECOND_TEXT_BYTES] {
    let timestamp = i64::try_from(since_epoch_s)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    let local = zone.to_datetime(timestamp.unwrap_or(Timestamp::UNIX_EPOCH));
    let mut text = [b' '; SECOND_TEXT_BYTES];
    // Years have four digits in jiff, so the text fills the array.
    let _ = write!(
        text.as_mut_slice(),
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    );
    text
}

/// Escapes control characters, so that what a peer sends cannot forge a line or drive the operator's terminal.
struct OneLine<'b>(&'b mut Vec<u8>);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) =
            rest.find(|character: char| character.is_control() && character != '\t')
        {
            self.0.extend_from_slice(&rest.as_bytes()[..at]);
            let mut from_control = rest[at..].chars();
            for escaped in from_control
                .next()
                .into_iter()
                .flat_map(char::escape_default)
            {
                // Escapes are ASCII.
                self.0.push(escaped as u8);
            }
            rest = from_control.as_str();
        }
        self.0.extend_from_slice(rest.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogOptions;
    use std::fs;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::AtomicUsize;

    /// A path of its own for each test, removed afterwards.
    struct TestFile(PathBuf);

    impl TestFile {
        fn new() -> TestFile {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let name = format!(
                "skein-log-test-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Relaxed)
            );
            TestFile(std::env::temp_dir().join(name))
        }

        fn config(&self) -> Config {
            Config {
                log: LogOptions {
                    file: Some(self.0.clone()),
                    time: false,
                    ..LogOptions::default()
                },
                ..Config::default()
            }
        }

        fn text(&self) -> String {
            fs::read_to_string(&self.0).unwrap()
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            fs::remove_file(&self.0).ok();
        }
    }

    fn to_pipe(config: &Config, writer: io::PipeWriter) -> Log {
        let log = Log::open(&Config::default()).unwrap();
        let output = File::from(OwnedFd::from(writer));
        log.replace(config, Prepared(Sink::new(config, output, false, None)));
        log
    }

    fn without_process_id(text: &str) -> String {
        text.replace(&format!("[{}] ", std::process::id()), "")
    }

    #[test]
    fn line_form() {
        #[track_caller]
        fn check(level: Level, coloured: bool, time: LineTime, text: &str, expected: &str) {
            let output = File::options().write(true).open("/dev/null").unwrap();
            let mut sink = Sink::new(&Config::default(), output, coloured, None);
            (sink.process_id, sink.time) = (42, time);
            let mut lines = Lines::new();
            let since_epoch = Duration::new(1_136_214_245, 1_234_000);
            lines.append(&sink, level, since_epoch, format_args!("{text}"));
            assert_eq!(str::from_utf8(&lines.bytes), Ok(expected));
        }
        check(
            Level::Info,
            false,
            LineTime::Utc,
            "ready",
            "[42] 2006/01/02 15:04:05.001234 [INF] ready\n",
        );
        check(Level::Warn, false, LineTime::None, "w", "[42] [WRN] w\n");
        check(Level::Error, false, LineTime::None, "e", "[42] [ERR] e\n");
        check(Level::Fatal, false, LineTime::None, "f", "[42] [FTL] f\n");
        check(Level::Debug, false, LineTime::None, "d", "[42] [DBG] d\n");
        check(Level::Trace, false, LineTime::None, "t", "[42] [TRC] t\n");
        check(
            Level::Info,
            true,
            LineTime::None,
            "i",
            "[42] [\x1b[32mINF\x1b[0m] i\n",
        );
        check(Level::Info, false, LineTime::None, "", "[42] [INF] \n");
        check(
            Level::Info,
            false,
            LineTime::None,
            "a\tb\r\nc\n",
            "[42] [INF] a\tb\\r\\nc\\n\n",
        );
        check(
            Level::Info,
            false,
            LineTime::None,
            "\x1b[2Jé\u{85}",
            "[42] [INF] \\u{1b}[2Jé\\u{85}\n",
        );
    }

    #[test]
    fn seconds() {
        #[track_caller]
        fn check(since_epoch_s: u64, offset_hours: i8, expected: &str) {
            let zone = TimeZone::fixed(jiff::tz::offset(offset_hours));
            assert_eq!(
                str::from_utf8(&second_text(since_epoch_s, &zone)),
                Ok(expected)
            );
        }
        check(0, 0, "1970/01/01 00:00:00.");
        check(0, -1, "1969/12/31 23:00:00.");
        check(1_709_164_800, 0, "2024/02/29 00:00:00.");
        check(1_709_164_799, 2, "2024/02/29 01:59:59.");
        check(u64::MAX, 0, "1970/01/01 00:00:00.");
    }

    #[test]
    fn the_cached_second_follows_the_clock_and_the_zone() {
        let mut lines = Lines::new();
        for second in [59, 59, 60, 59] {
            lines.append_time(LineTime::Utc, Duration::from_secs(second));
        }
        let expected = ["00:59", "00:59", "01:00", "00:59"]
            .map(|time| format!("1970/01/01 00:{time}.000000 "));
        assert_eq!(str::from_utf8(&lines.bytes), Ok(expected.concat().as_str()));
        lines.append_time(LineTime::Local, Duration::from_secs(59));
        assert_eq!(lines.second, Some((LineTime::Local, 59)));
    }

    #[test]
    fn levels() {
        #[track_caller]
        fn check(debug: bool, trace: bool, expected: &str) {
            let file = TestFile::new();
            let log = Log::open(&Config {
                debug,
                trace,
                ..file.config()
            })
            .unwrap();
            log.info(format_args!("{}", 1));
            log.warn(format_args!("2"));
            log.error(format_args!("3"));
            log.fatal(format_args!("4"));
            log.debug(format_args!("5"));
            log.trace(format_args!("6"));
            assert_eq!(
                without_process_id(&file.text()),
                format!("[INF] 1\n[WRN] 2\n[ERR] 3\n[FTL] 4\n{expected}")
            );
            assert_eq!(
                (log.enabled(Level::Debug), log.enabled(Level::Trace)),
                (debug, trace)
            );
            assert!(log.enabled(Level::Info) && log.enabled(Level::Fatal));
        }
        check(false, false, "");
        check(true, false, "[DBG] 5\n");
        check(false, true, "[TRC] 6\n");
        check(true, true, "[DBG] 5\n[TRC] 6\n");
    }

    #[test]
    fn a_file_is_created_for_its_group_and_appended_to() {
        let file = TestFile::new();
        Log::open(&file.config()).unwrap().info(format_args!("one"));
        Log::open(&file.config()).unwrap().info(format_args!("two"));
        assert_eq!(without_process_id(&file.text()), "[INF] one\n[INF] two\n");
        // The umask may take more away.
        assert_eq!(
            fs::metadata(&file.0).unwrap().permissions().mode() & 0o777 & !0o640,
            0
        );
    }

    #[test]
    fn a_file_that_cannot_be_opened() {
        let config = Config {
            log: LogOptions {
                file: Some("/dev/null/x".into()),
                ..LogOptions::default()
            },
            ..Config::default()
        };
        let error = Log::open(&config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot open log file /dev/null/x: Not a directory (os error 20)"
        );
    }

    #[test]
    fn lines_of_several_threads_stay_whole() {
        let file = TestFile::new();
        let log = Log::open(&file.config()).unwrap();
        let body = "x".repeat(1000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        log.clone().info(format_args!("{body}"));
                    }
                });
            }
        });
        let text = without_process_id(&file.text());
        assert_eq!(text.lines().count(), 800);
        assert!(text.lines().all(|line| line == format!("[INF] {body}")));
    }

    #[test]
    fn text_that_logs_itself() {
        struct Logs<'l>(&'l Log);
        impl fmt::Display for Logs<'_> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.info(format_args!("inner"));
                formatter.write_str("outer")
            }
        }
        let file = TestFile::new();
        let log = Log::open(&file.config()).unwrap();
        log.info(format_args!("{}", Logs(&log)));
        assert_eq!(
            without_process_id(&file.text()),
            "[INF] inner\n[INF] outer\n"
        );
    }

    #[test]
    fn a_full_disk_costs_lines_and_nothing_else() {
        let log = Log::open(&Config {
            log: LogOptions {
                file: Some("/dev/full".into()),
                ..LogOptions::default()
            },
            ..Config::default()
        })
        .unwrap();
        for _ in 0..3 {
            log.info(format_args!("lost"));
        }
        assert_eq!(log.sink().lost_lines.load(Relaxed), 3);
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_and_nothing_else() {
        let (reader, writer) = io::pipe().unwrap();
        let log = to_pipe(&Config::default(), writer);
        drop(reader);
        log.fatal(format_args!("lost"));
        assert_eq!(log.sink().lost_lines.load(Relaxed), 1);
    }

    #[test]
    fn a_reader_that_sleeps_loses_lines_and_is_told() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = to_pipe(
            &Config {
                log: LogOptions {
                    time: false,
                    ..LogOptions::default()
                },
                ..Config::default()
            },
            writer,
        );
        let mut kept = 0;
        while log.sink().lost_lines.load(Relaxed) == 0 {
            log.info(format_args!("line {kept:0100}"));
            kept += 1;
        }
        kept -= 1;
        log.info(format_args!("dropped at once"));

        let mut bytes = vec![0; 1024 * 1024];
        let count = reader.read(&mut bytes).unwrap();
        let text = without_process_id(str::from_utf8(&bytes[..count]).unwrap());
        assert_eq!(text.lines().count(), kept);
        assert!(text.ends_with(&format!("[INF] line {:0100}\n", kept - 1)));

        log.info(format_args!("awake"));
        let count = reader.read(&mut bytes).unwrap();
        let text = without_process_id(str::from_utf8(&bytes[..count]).unwrap());
        assert_eq!(
            text,
            "[WRN] 2 log lines before this one were lost\n[INF] awake\n"
        );
    }

    #[test]
    fn a_line_that_does_not_fit_is_cut_and_the_next_starts_afresh() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = to_pipe(
            &Config {
                log: LogOptions {
                    time: false,
                    ..LogOptions::default()
                },
                ..Config::default()
            },
            writer,
        );
        log.info(format_args!("{}", "x".repeat(4 * 1024 * 1024)));
        let mut bytes = vec![0; 4 * 1024 * 1024];
        let count = reader.read(&mut bytes).unwrap();
        assert!(count > 0 && bytes[count - 1] == b'x');
        log.info(format_args!("next"));
        let count = reader.read(&mut bytes).unwrap();
        let text = without_process_id(str::from_utf8(&bytes[..count]).unwrap());
        assert_eq!(
            text,
            "\n[WRN] 1 log lines before this one were lost\n[INF] next\n"
        );
    }
}
