//! Lines for a system log, of this machine or another, in the form that nats-server sends.
//!
//! A line waits for nobody: what the other side does not take at once is lost, and counted.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Level, rfc3339};
use crate::config::{LogOptions, RemoteSyslog};

/// Where the system log of this machine may listen.
const LOCAL: &[&str] = &["/dev/log", "/var/run/syslog", "/var/run/log"];
/// Facilities: of daemons for this machine's log, and, as with nats-server, 0 for another's.
const DAEMON: u8 = 3 << 3;
/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Between two attempts to connect again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Where a system log is listened for.
#[derive(Clone, Debug)]
pub struct Place(Option<RemoteSyslog>);

/// A system log.
#[derive(Debug)]
pub struct Syslog {
    place: Place,
    /// `None` while it cannot be reached.
    link: Option<Link>,
    /// Where one comes that is being made.
    connecting: Option<Receiver<Link>>,
    tried_at: Instant,
    host: String,
    tag: String,
    line: Vec<u8>,
}

#[derive(Debug)]
enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Datagrams(UnixDatagram),
    Stream(UnixStream),
}

impl Syslog {
    /// Where it is to go, if it is to go to one.
    pub fn of(options: &LogOptions) -> Option<Place> {
        match &options.remote_syslog {
            Some(remote) => Some(Place(Some(remote.clone()))),
            None => options.syslog.then_some(Place(None)),
        }
    }

    /// Sends a line, or fails at once.
    pub fn send(&mut self, level: Level, since_epoch: Duration, text: &[u8]) -> io::Result<()> {
        self.line.clear();
        let (host, tag) = (&self.host, &self.tag);
        let pid = std::process::id();
        let zone = TimeZone::system();
        let severity = severity(level);
        let head = if self.place.0.is_some() {
            // To the second, as Go's syslog has it.
            let time = rfc3339(Duration::from_secs(since_epoch.as_secs()), &zone);
            let time = time.replace(".000000", "");
            format!("<{severity}>{time} {host} {tag}[{pid}]: ")
        } else {
            let priority = DAEMON | severity;
            format!("<{priority}>{} {tag}[{pid}]: ", stamp(since_epoch, &zone))
        };
        self.line.extend_from_slice(head.as_bytes());
        self.line.extend_from_slice(text);
        self.line.push(b'\n');
        self.reconnect();
        let result = self.write();
        let full = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        match (&result, &self.link) {
            (Ok(()), _) => {}
            (Err(error), Some(Link::Udp(_) | Link::Datagrams(_))) if full(error) => {}
            // Of a stream a part may have left: the next line must not follow it.
            (Err(_), _) => self.link = None,
        }
        result
    }

    fn write(&mut self) -> io::Result<()> {
        let line = &self.line;
        match &mut self.link {
            Some(Link::Udp(socket)) => socket.send(line).map(drop),
            Some(Link::Datagrams(socket)) => socket.send(line).map(drop),
            Some(Link::Tcp(stream)) => stream.write_all(line),
            Some(Link::Stream(stream)) => stream.write_all(line),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Has a thread connect, if there is no connection: names and handshakes take time, which a shard has not.
    fn reconnect(&mut self) {
        if self.link.is_some() {
            return;
        }
        self.link = self.connecting.as_ref().and_then(|c| c.try_recv().ok());
        if self.link.is_some() || self.tried_at.elapsed() < RECONNECT_PAUSE {
            return;
        }
        self.tried_at = Instant::now();
        let (sender, receiver) = channel();
        let place = self.place.clone();
        let thread = thread::Builder::new().name("syslog".to_owned());
        let started = thread.spawn(move || {
            if let Ok(link) = place.link() {
                // Nobody may want it any more.
                let _ = sender.send(link);
            }
        });
        self.connecting = started.is_ok().then_some(receiver);
    }
}

impl Place {
    /// What to call it when it cannot be reached.
    pub fn shown(&self) -> PathBuf {
        match &self.0 {
            Some(remote) => remote.to_string().into(),
            None => "/dev/log".into(),
        }
    }

    /// Connects.
    pub fn connect(self) -> io::Result<Syslog> {
        let program = std::env::args_os().next().unwrap_or_default();
        let tag = Path::new(&program).file_name().unwrap_or_default();
        Ok(Syslog {
            link: Some(self.link()?),
            place: self,
            connecting: None,
            tried_at: Instant::now(),
            host: host_name(),
            tag: tag.to_string_lossy().into_owned(),
            line: Vec::new(),
        })
    }

    fn link(&self) -> io::Result<Link> {
        match &self.0 {
            None => {
                let mut links = LOCAL.iter().map(|path| unix(Path::new(path)));
                links.find_map(Result::ok).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, "no system log listens here")
                })
            }
            Some(RemoteSyslog::Unix(path)) => unix(path),
            Some(RemoteSyslog::Udp(address)) => {
                let any = match address.starts_with('[') {
                    true => "[::]:0",
                    false => "0.0.0.0:0",
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                Ok(Link::Udp(socket))
            }
            Some(RemoteSyslog::Tcp(address)) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT_TIME) {
                        Ok(stream) => {
                            stream.set_nonblocking(true)?;
                            return Ok(Link::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

fn unix(path: &Path) -> io::Result<Link> {
    let datagrams = UnixDatagram::unbound()?;
    if datagrams.connect(path).is_ok() {
        datagrams.set_nonblocking(true)?;
        return Ok(Link::Datagrams(datagrams));
    }
    let stream = UnixStream::connect(path)?;
    stream.set_nonblocking(true)?;
    Ok(Link::Stream(stream))
}

/// The numbers of syslog.
fn severity(level: Level) -> u8 {
    match level {
        Level::Fatal => 2,
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info | Level::Trace => 5,
        Level::Debug => 7,
    }
}

/// `Jan _2 15:04:05`
fn stamp(since_epoch: Duration, zone: &TimeZone) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(0);
    let timestamp = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp
        .to_zoned(zone.clone())
        .strftime("%b %e %H:%M:%S")
        .to_string()
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let place = Place(Some(RemoteSyslog::Udp(address)));
        let mut syslog = place.connect().unwrap();
        (syslog.host, syslog.tag) = ("h".to_owned(), "skein".to_owned());
        let mut buffer = [0; 512];
        for (level, number) in [
            (Level::Info, 5),
            (Level::Warn, 4),
            (Level::Error, 3),
            (Level::Fatal, 2),
            (Level::Debug, 7),
            (Level::Trace, 5),
        ] {
            let at = Duration::new(1_136_214_245, 1_234_000);
            syslog.send(level, at, b"text").unwrap();
            let count = listener.recv(&mut buffer).unwrap();
            let line = str::from_utf8(&buffer[..count]).unwrap();
            let time = rfc3339(Duration::from_secs(at.as_secs()), &TimeZone::system());
            let time = time.replace(".000000", "");
            let pid = std::process::id();
            assert_eq!(line, format!("<{number}>{time} h skein[{pid}]: text\n"));
        }
    }

    #[test]
    fn stamps() {
        let at = Duration::from_secs(1_136_214_245);
        assert_eq!(stamp(at, &TimeZone::UTC), "Jan  2 15:04:05");
        assert_eq!(rfc3339(at, &TimeZone::UTC), "2006-01-02T15:04:05.000000Z");
    }
}
