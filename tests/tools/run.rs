//! Running other programs, with a terminal where they want one. Knows nothing of what they are for.

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::PATIENCE;

/// A program that has ended.
pub struct Ran {
    pub status: i32,
    pub output: String,
    errors: String,
}

impl Ran {
    /// All that it has written.
    pub fn text(&self) -> String {
        format!("{}{}", self.output, self.errors)
    }
}

/// Where a program is, if it is on PATH.
pub fn on_path(name: &str) -> Option<String> {
    let folders = env::var_os("PATH")?;
    let mut files = env::split_paths(&folders).map(|folder| folder.join(name));
    let file = files.find(|file| file.is_file())?;
    file.to_str().map(str::to_owned)
}

/// Past the capture of the test harness, so that it is seen when tests pass.
pub fn missing(what: &str) {
    let _ = writeln!(std::io::stderr(), "NOT TESTED: there is no {what} here");
}

pub fn run(program: &str, arguments: &[&str]) -> Ran {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .env("NO_COLOR", "1")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    Ran {
        status: output.status.code().unwrap_or(-1),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A program that runs on a terminal until this is dropped.
pub struct Live {
    child: Child,
    incoming: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
    seen: String,
}

impl Live {
    /// `script` is that of util-linux, which gives it a terminal.
    pub fn start(script: &str, command: &str) -> Self {
        let line = format!("stty rows 50 cols 220; exec {command}");
        let mut child = Command::new(script)
            .args(["-qefc", &line, "/dev/null"])
            .env("TERM", "xterm")
            // Held open: at its end, the terminal would hang up.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script was found");
        let mut output = child.stdout.take().expect("stdout is piped");
        let (sender, incoming) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            incoming,
            bytes: Vec::new(),
            seen: String::new(),
        }
    }

    /// All that it has shown so far, without the terminal's controls.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Waits a little for more. Whether it still runs.
    pub fn more(&mut self) -> bool {
        let is_running = match self.incoming.recv_timeout(Duration::from_millis(200)) {
            Ok(bytes) => {
                self.bytes.extend(bytes);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        };
        while let Ok(bytes) = self.incoming.try_recv() {
            self.bytes.extend(bytes);
        }
        self.seen = without_controls(&String::from_utf8_lossy(&self.bytes));
        is_running
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // The end of its input hangs the terminal up, which ends what runs there.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Text without escape sequences; where one moves the cursor, there is a blank.
fn without_controls(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('[') => {
                // Up to its letter.
                let end = rest.find(|c| ('@'..='~').contains(c));
                if end == Some('H') {
                    plain.push(' ');
                }
            }
            Some('(' | ')') => drop(rest.next()),
            _ => {}
        }
    }
    plain
}

/// What the exporter says of this monitoring port, when it has found the server.
pub fn export(exporter: &str, monitoring: SocketAddr) -> String {
    // Free a moment ago; whoever else takes it makes the exporter end, and the test fail.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let child = Command::new(exporter)
        .args(["-a", "127.0.0.1", "-p", &address.port().to_string()])
        .args([
            "-varz",
            "-connz_detailed",
            "-subz",
            "-routez",
            "-gatewayz",
            "-leafz",
            "-accstatz",
            "-accountz",
        ])
        .args(["-healthz", "-jsz=all", "-ri", "1"])
        .arg(format!("http://{monitoring}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the exporter can be started");
    let _stopped = Stopped(child);
    let until = Instant::now() + PATIENCE * 2;
    let mut was_there = false;
    loop {
        if TcpStream::connect(address).is_ok() {
            let answer = crate::http::get(address, "/metrics");
            let text = answer.text();
            if answer.status == 200 && text.contains("\ngnatsd_varz_connections{") {
                // The server counts requests to each path, and shows only those that there were.
                if was_there {
                    return text;
                }
                was_there = true;
            }
        }
        assert!(Instant::now() < until, "the exporter does not answer");
        thread::yield_now();
    }
}

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
