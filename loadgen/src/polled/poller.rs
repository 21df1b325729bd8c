//! Fetches monitoring over HTTP again and again, on a thread of its own, and says what came of it. Blocking sockets, a
//! connection that is kept, and as much of HTTP/1.1 as answers need. Knows nothing of what is in them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::failure::{Doing, Failure, Result};

/// An answer that takes longer is a failure.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 * 1024;
/// Larger ones are not to be had from any server that minds its memory.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// What has been fetched.
#[derive(Debug, Default)]
pub struct Polls {
    /// Rounds over all paths.
    pub rounds: u64,
    /// How long each answer took, unsorted.
    pub took: Vec<Duration>,
    pub bytes: u64,
    /// Why it ended early.
    pub failure: Option<Failure>,
}

/// Polls until it is stopped.
pub struct Poller {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Polls>,
}

impl Poller {
    /// Asks for each of `paths` every `every`: one behind the other, and at once where that takes longer.
    pub fn start(address: SocketAddr, paths: &[String], every: Duration) -> Result<Self> {
        let mut connection = Connection::open(address)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (is_over, paths) = (Arc::clone(&stop), paths.to_vec());
        let thread = thread::Builder::new()
            .name("poller".to_owned())
            .spawn(move || {
                let mut polls = Polls::default();
                if let Err(failure) = poll(&mut connection, &paths, every, &is_over, &mut polls) {
                    polls.failure = Some(failure);
                }
                polls
            })
            .doing(|| "starting the poller".to_owned())?;
        Ok(Self { stop, thread })
    }

    pub fn stop(self) -> Polls {
        self.stop.store(true, Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or_else(|_| Polls {
            failure: Some(Failure::server("made the poller panic")),
            ..Polls::default()
        })
    }
}

fn poll(
    connection: &mut Connection,
    paths: &[String],
    every: Duration,
    is_over: &AtomicBool,
    polls: &mut Polls,
) -> Result<()> {
    let mut due = Instant::now();
    while !is_over.load(Relaxed) {
        for path in paths {
            let from = Instant::now();
            polls.bytes += connection.get(path)? as u64;
            polls.took.push(from.elapsed());
        }
        polls.rounds += 1;
        due = (due + every).max(Instant::now());
        while let Some(pause) = due.checked_duration_since(Instant::now())
            && !pause.is_zero()
            && !is_over.load(Relaxed)
        {
            thread::park_timeout(pause);
        }
    }
    Ok(())
}

struct Connection {
    socket: TcpStream,
    /// What was read and not yet used.
    held: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let connecting = || format!("connecting to the monitoring port {address}");
        let socket = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).doing(connecting)?;
        socket.set_nodelay(true).doing(connecting)?;
        socket
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .doing(connecting)?;
        Ok(Self {
            socket,
            held: Vec::new(),
        })
    }

    /// The size of the answer's body.
    fn get(&mut self, path: &str) -> Result<usize> {
        let asking = || format!("asking for {path}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: loadgen\r\n\r\n");
        self.socket.write_all(request.as_bytes()).doing(asking)?;
        let head_end = loop {
            if let Some(at) = self.held.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.read(path)?;
        };
        let head: Vec<u8> = self.held.drain(..head_end).collect();
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            return Err(Failure::server(format!("answers {path} with {status}")));
        }
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim())
        };
        if header("transfer-encoding") == Some("chunked") {
            return self.chunks(path);
        }
        let length = header("content-length").and_then(|digits| digits.parse().ok());
        let length =
            length.ok_or_else(|| Failure::server(format!("does not say how long {path} is")))?;
        self.take(path, length)?;
        Ok(length)
    }

    fn chunks(&mut self, path: &str) -> Result<usize> {
        let mut total = 0;
        loop {
            let end = loop {
                if let Some(at) = self.held.windows(2).position(|bytes| bytes == b"\r\n") {
                    break at;
                }
                self.read(path)?;
            };
            let line: Vec<u8> = self.held.drain(..end + 2).collect();
            let digits = String::from_utf8_lossy(&line[..end]).into_owned();
            let length = usize::from_str_radix(digits.trim(), 16)
                .ok()
                .filter(|length| *length <= ANSWER_BYTES_MAX)
                .ok_or_else(|| Failure::server(format!("sends a chunk of {digits:?}: {path}")))?;
            self.take(path, length + 2)?;
            total += length;
            if length == 0 {
                return Ok(total);
            }
        }
    }

    /// Reads over so many bytes.
    fn take(&mut self, path: &str, length: usize) -> Result<()> {
        if length > ANSWER_BYTES_MAX {
            return Err(Failure::server(format!("sends {length} bytes: {path}")));
        }
        let mut left = length;
        loop {
            let now = left.min(self.held.len());
            self.held.drain(..now);
            left -= now;
            if left == 0 {
                return Ok(());
            }
            self.read(path)?;
        }
    }

    fn read(&mut self, path: &str) -> Result<()> {
        let before = self.held.len();
        self.held.resize(before + READ_BYTES, 0);
        let count = self.socket.read(&mut self.held[before..]);
        self.held
            .truncate(before + count.as_ref().map_or(0, |count| *count));
        match count.doing(|| format!("reading {path}"))? {
            0 => Err(Failure::server(format!("hangs up instead of {path}"))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that answers each request of one connection with the next of these.
    fn serve(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            for answer in answers {
                while !heard.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if socket.read(&mut byte).unwrap_or(0) == 0 {
                        return;
                    }
                    heard.push(byte[0]);
                }
                heard.clear();
                socket.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn answers_are_read_to_their_ends() {
        const ANSWERS: &[&str] = &[
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n",
        ];
        let mut connection = Connection::open(serve(ANSWERS)).unwrap();
        for expected in [5, 19, 0] {
            assert_eq!(connection.get("/x").unwrap(), expected);
        }
        assert!(
            connection
                .get("/x")
                .unwrap_err()
                .to_string()
                .contains("503")
        );
        // It has ended.
        assert!(connection.get("/x").is_err());
    }

    #[test]
    fn a_poller_counts_until_it_is_stopped() {
        const ANSWERS: &[&str] = &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"; 6];
        let paths = ["/a".to_owned(), "/b".to_owned()];
        let poller = Poller::start(serve(ANSWERS), &paths, Duration::from_millis(1)).unwrap();
        // It ends by itself when the server does.
        while !poller.thread.is_finished() {
            thread::yield_now();
        }
        let polls = poller.stop();
        assert_eq!((polls.rounds, polls.took.len(), polls.bytes), (3, 6, 12));
        assert!(polls.failure.is_some());
    }
}
