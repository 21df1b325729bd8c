//! The server under test, as a child process on a free loopback port.
//!
//! The binary is `skein` of this package, or the one named by `NATS_SERVER_BIN` (a real nats-server, which is how the
//! expectations are proven). Both get what has no flag in a configuration file.
//! Knows nothing about the protocol.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take for anything it is expected to do at once. Generous: reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(8);

const LISTENING: &str = "Listening for client connections on ";
const READY: &str = "Server is ready";

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    config: Option<PathBuf>,
    address: SocketAddr,
    incoming_log: Receiver<String>,
    log: Vec<String>,
}

impl Server {
    /// Starts the server with extra `flags` (separated by blanks) and `set` (`max_payload=10,ping_max=2`) and waits until it
    /// accepts connections. The error is its log.
    pub fn start(flags: &str, set: &str) -> Result<Self, String> {
        Self::start_with(flags, set, "")
    }

    /// The same, with more text for the configuration file.
    pub fn start_with(flags: &str, set: &str, config_text: &str) -> Result<Self, String> {
        let mut command = command();
        command
            .args(["-a", "127.0.0.1", "-p", "-1"])
            .args(flags.split_whitespace());
        let mut config = None;
        let text = settings(set) + config_text;
        if !text.is_empty() {
            let path = write_config(&text);
            command.arg("-c").arg(&path);
            config = Some(path);
        }
        Self::launch(command, config, &format!("{flags}` and `{set}"))
    }

    /// The same with a configuration file of this text.
    pub fn configured(text: &str) -> Result<Self, String> {
        Self::configured_as(command(), text)
    }

    /// The same with this program, whichever is under test.
    #[allow(
        dead_code,
        reason = "not every test holds the server against another one"
    )]
    pub fn configured_for(program: &Path, text: &str) -> Result<Self, String> {
        Self::configured_as(Command::new(program), text)
    }

    fn configured_as(mut command: Command, text: &str) -> Result<Self, String> {
        let path = write_config(text);
        command
            .args(["-a", "127.0.0.1", "-p", "-1", "-c"])
            .arg(&path);
        Self::launch(command, Some(path), text)
    }

    fn launch(mut command: Command, config: Option<PathBuf>, what: &str) -> Result<Self, String> {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server under test can be started");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, incoming_log) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self {
            child,
            config,
            address: nowhere,
            incoming_log,
            log: Vec::new(),
        };
        let ready = server.wait_for_log(0, |line| line.contains(READY));
        let listening = server
            .log
            .iter()
            .find_map(|line| line.split_once(LISTENING));
        match listening
            .and_then(|(_, address)| address.trim().parse().ok())
            .filter(|_| ready)
        {
            Some(address) => server.address = address,
            None => {
                return Err(format!(
                    "server with `{what}` does not start:\n{}\n",
                    server.log_text()
                ));
            }
        }
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes another configuration file in place of the one that it was started with.
    #[allow(dead_code, reason = "not every test changes it")]
    pub fn rewrite(&self, text: &str) {
        let path = self.config.as_ref().expect("it was started with one");
        // Whole, whenever it is read.
        let unfinished = unused_path();
        fs::write(&unfinished, text).expect("the temporary directory is writable");
        fs::rename(&unfinished, path).expect("the temporary directory is writable");
    }

    /// The log line, at or after position `from`, that satisfies `matches`; waits for it.
    #[allow(dead_code, reason = "not every test asks for one")]
    pub fn log_line(&mut self, from: usize, matches: impl Fn(&str) -> bool) -> Option<String> {
        self.wait_for_log(from, &matches);
        let mut lines = self.log.iter().skip(from);
        lines.find(|line| matches(line)).cloned()
    }

    /// Number of log lines seen so far.
    pub fn log_position(&mut self) -> usize {
        self.log.extend(self.incoming_log.try_iter());
        self.log.len()
    }

    /// Waits for a log line, at or after position `from`, that satisfies `matches`.
    pub fn wait_for_log(&mut self, from: usize, matches: impl Fn(&str) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut next = from;
        loop {
            while let Some(line) = self.log.get(next) {
                if matches(line) {
                    return true;
                }
                next += 1;
            }
            match self
                .incoming_log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Waits for the process to end by itself; its exit code, or `None` when it is still running.
    #[allow(dead_code, reason = "not every test ends it itself")]
    pub fn wait_for_exit(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .incoming_log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.child.wait().ok().and_then(|status| status.code())
    }

    pub fn log_text(&mut self) -> String {
        self.log_position();
        self.log.join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(path) = &self.config {
            let _ = fs::remove_file(path);
        }
    }
}

/// Sends a signal; whether there was a process to take it.
#[allow(dead_code, reason = "not every test sends one")]
pub fn signal(pid: u32, name: &str) -> bool {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Whether the tests run against a real nats-server.
pub fn is_nats_server() -> bool {
    env::var_os("NATS_SERVER_BIN").is_some()
}

/// The binary under test, without arguments.
pub fn command() -> Command {
    match (
        env::var_os("NATS_SERVER_BIN"),
        option_env!("CARGO_BIN_EXE_skein"),
    ) {
        (Some(path), _) => Command::new(path),
        (None, Some(path)) => Command::new(path),
        (None, None) => {
            panic!("no skein binary in this package: name a nats-server in NATS_SERVER_BIN")
        }
    }
}

/// Pairs of key and value as lines of a configuration file.
fn settings(set: &str) -> String {
    let mut text = String::new();
    for pair in set.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').expect("set: is a list of key=value");
        let (key, value) = (key.trim(), value.trim());
        let line = match key.strip_suffix("_ms") {
            Some("auth_timeout") => {
                let seconds = value.parse::<f64>().expect("auth_timeout_ms is a number") / 1000.0;
                format!("authorization {{ timeout: {seconds} }}\n")
            }
            Some(duration) => format!("{duration}: \"{value}ms\"\n"),
            None => format!("{key}: {value}\n"),
        };
        text.push_str(&line);
    }
    text
}

fn write_config(text: &str) -> PathBuf {
    let path = unused_path().with_extension("conf");
    fs::write(&path, text).expect("the temporary directory is writable");
    path
}

fn unused_path() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "skein-test-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    env::temp_dir().join(name)
}

/// An empty directory; removed when dropped.
#[allow(dead_code, reason = "not every test needs one")]
pub struct Directory(PathBuf);

#[allow(dead_code, reason = "not every test needs one")]
impl Directory {
    pub fn new() -> Self {
        let path = unused_path();
        fs::create_dir(&path).expect("the temporary directory is writable");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file; its name may have directories in front, which are made.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("the directory is writable");
        }
        fs::write(path, text).expect("the directory is writable");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left is in the temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}
