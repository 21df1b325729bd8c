//! A server under test: started from a command line, pinned, waited for, and stopped. Only ever touches its own child.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Doing, Failure, Result};
use crate::link::Link;
use crate::settings::Settings;
use crate::system::{kill, pin_child, terminate};

/// Some servers read all that they have stored before they listen.
const READY_TIMEOUT: Duration = Duration::from_secs(600);
const READY_POLL: Duration = Duration::from_micros(200);
const STOP_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_POLL: Duration = Duration::from_millis(5);

/// `VAR=value … program argument …`, split at spaces; quotes keep spaces together. There is no shell.
///
/// `{port}` and, for monitoring, `{monitor}` are replaced, `{store}` by a directory of the run's own, and `{sync_always}` by a configuration file for
/// nats-server that puts JetStream into that directory and has it sync each write.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerCommand {
    environment: Vec<(String, String)>,
    program: String,
    arguments: Vec<String>,
}

pub struct Server {
    child: Child,
    address: SocketAddr,
    monitor: SocketAddr,
    ready_after: Duration,
    log: PathBuf,
}

impl ServerCommand {
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = split_words(text)?.into_iter().peekable();
        let mut environment = Vec::new();
        while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
            if name.is_empty()
                || !name
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            {
                break;
            }
            environment.push((name.to_owned(), value.to_owned()));
            words.next();
        }
        let program = words
            .next()
            .ok_or_else(|| Failure::usage(format!("no program in the command {text:?}")))?;
        Ok(Self {
            environment,
            program,
            arguments: words.collect(),
        })
    }

    fn build(&self, port: u16, monitor: u16, store: &Store) -> Command {
        let fill = |word: &String| {
            word.replace("{port}", &port.to_string())
                .replace("{monitor}", &monitor.to_string())
                .replace("{store}", &store.messages().to_string_lossy())
                .replace("{sync_always}", &store.sync_always().to_string_lossy())
        };
        let mut command = Command::new(fill(&self.program));
        command.args(self.arguments.iter().map(fill));
        command.envs(
            self.environment
                .iter()
                .map(|(name, value)| (name, fill(value))),
        );
        command
    }
}

/// Where a server under test keeps its messages; removed when the run is over.
pub struct Store {
    directory: PathBuf,
}

impl Store {
    pub fn make(parent: Option<&Path>) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let number = NEXT.fetch_add(1, Relaxed);
        let directory = parent.join(format!("loadgen-store-{}-{number}", std::process::id()));
        let store = Self { directory };
        let doing = || format!("making {}", store.directory.display());
        std::fs::create_dir_all(store.messages()).doing(doing)?;
        let config = format!(
            "jetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            store.messages()
        );
        std::fs::write(store.sync_always(), config).doing(doing)?;
        Ok(store)
    }

    /// What stands for `{store}`.
    pub fn messages(&self) -> PathBuf {
        self.directory.join("store")
    }

    fn sync_always(&self) -> PathBuf {
        self.directory.join("sync-always.conf")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What is left is in the way of nobody but the disk; the run's result matters more.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Server {
    /// Starts the server and waits until it has answered a PING.
    pub fn start(
        command: &ServerCommand,
        cpus: &[usize],
        store: &Store,
        settings: &Settings,
    ) -> Result<Self> {
        let (port, monitor) = (free_port()?, free_port()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log =
            std::env::temp_dir().join(format!("loadgen-server-{}-{port}.log", std::process::id()));
        let logging = || format!("creating {}", log.display());
        let log_file = File::create(&log).doing(logging)?;
        let mut process = command.build(port, monitor, store);
        process
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().doing(logging)?)
            .stderr(log_file);
        pin_child(&mut process, cpus);
        let start = Instant::now();
        let child = process
            .spawn()
            .doing(|| format!("starting {}", command.program))?;
        let mut server = Self {
            child,
            address,
            monitor: SocketAddr::from((Ipv4Addr::LOCALHOST, monitor)),
            ready_after: Duration::ZERO,
            log,
        };
        let mut target = settings.target.clone();
        target.address = address;
        loop {
            let failure = match Link::open(&target) {
                Ok(_) => break,
                Err(failure) => failure,
            };
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(Failure::server(format!(
                    "ended at once ({status}): {}",
                    server.last_words()
                )));
            }
            if start.elapsed() > READY_TIMEOUT {
                return Err(Failure::server(format!(
                    "is not ready after {} s: {failure}",
                    READY_TIMEOUT.as_secs()
                )));
            }
            thread::sleep(READY_POLL);
        }
        server.ready_after = start.elapsed();
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it has monitoring, if its command says so.
    pub fn monitor(&self) -> SocketAddr {
        self.monitor
    }

    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Ends the server with SIGTERM, or at once with SIGKILL, and waits until it has ended.
    pub fn stop(mut self, at_once: bool) {
        if at_once {
            let _ = kill(self.child.id());
        }
        self.end();
    }

    fn end(&mut self) {
        // The child may have ended by itself; then there is nothing to stop, only to collect.
        let _ = terminate(self.child.id());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            thread::sleep(STOP_POLL);
        }
    }

    /// The end of what the server has written.
    fn last_words(&self) -> String {
        const LINES: usize = 3;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join(" / ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_file(&self.log);
    }
}

fn free_port() -> Result<u16> {
    let doing = || "looking for a free port".to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(doing)?;
    Ok(listener.local_addr().doing(doing)?.port())
}

fn split_words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            (Some(_) | None, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(Failure::usage(format!("a quote is left open in {text:?}")));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_without_a_shell() {
        let command = ServerCommand::parse(
            "GOMAXPROCS=1 A='x y' nats-server -p {port} -m {monitor} --name \"a b\" k=v",
        )
        .unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            command.environment,
            [pair("GOMAXPROCS", "1"), pair("A", "x y")]
        );
        assert_eq!(command.program, "nats-server");
        assert_eq!(
            command.arguments,
            ["-p", "{port}", "-m", "{monitor}", "--name", "a b", "k=v"]
        );
        let built = command.build(4333, 4334, &Store::make(None).unwrap());
        assert_eq!(built.get_args().nth(1).unwrap(), "4333");
        assert_eq!(built.get_args().nth(3).unwrap(), "4334");
        assert!(ServerCommand::parse("A=1").is_err());
        assert!(ServerCommand::parse("a 'b").is_err());
    }
}
