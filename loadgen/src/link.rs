//! One connection to the server: handshake, subscriptions and barriers while it blocks, raw bytes once it does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{Doing, Failure, Result};
use crate::stream::{Security, Stream};
use crate::wire::{ServerOp, encode_subscribe, parse_server_op, printable};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection with little traffic starts with.
pub const INBOX_BYTES_SMALL: usize = 4 * 1024;
/// What a throughput subscriber starts with: a quarter of the second-level cache of the machines we measure on.
pub const INBOX_BYTES_LARGE: usize = 128 * 1024;

/// Where the server is and who we are.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub user: Option<String>,
    pub pass: Option<String>,
    pub token: Option<String>,
    /// User and password of those who publish or ask, where they are somebody else: in another
    /// account, say.
    pub publisher: Option<(String, String)>,
    /// TLS, where it is asked for or the server requires it.
    pub security: Option<Security>,
}

impl Target {
    pub fn resolve(server: &str) -> Result<Self> {
        let server = ["nats://", "tls://"]
            .iter()
            .find_map(|scheme| server.strip_prefix(scheme))
            .unwrap_or(server);
        let address = server
            .to_socket_addrs()
            .doing(|| format!("looking up {server}"))?
            .next()
            .ok_or_else(|| Failure::usage(format!("{server} has no address")))?;
        Ok(Self {
            address,
            user: None,
            pass: None,
            token: None,
            publisher: None,
            security: None,
        })
    }

    /// The same server, as those who publish see it.
    pub fn for_publishers(&self) -> Self {
        let mut target = self.clone();
        if let Some((user, pass)) = target.publisher.take() {
            (target.user, target.pass) = (Some(user), Some(pass));
        }
        target
    }
}

#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    headers: bool,
    no_responders: bool,
    echo: bool,
    protocol: u32,
    lang: &'static str,
    version: &'static str,
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
}

/// The part of INFO that matters to a load generator.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    pub version: String,
    pub max_payload: usize,
    pub tls_required: bool,
}

pub struct Link {
    pub stream: Stream,
    pub inbox: Inbox,
    pub info: ServerInfo,
}

impl Link {
    /// Connects and waits until the server has accepted the CONNECT.
    pub fn open(target: &Target) -> Result<Self> {
        let connecting = || format!("connecting to {}", target.address);
        let stream =
            TcpStream::connect_timeout(&target.address, HANDSHAKE_TIMEOUT).doing(connecting)?;
        stream.set_nodelay(true).doing(connecting)?;
        stream
            .set_read_timeout(Some(HANDSHAKE_TIMEOUT))
            .doing(connecting)?;
        let mut link = Self {
            stream: Stream::plain(stream),
            inbox: Inbox::new(INBOX_BYTES_SMALL),
            info: ServerInfo::default(),
        };
        link.info = link.read_info()?;
        match &target.security {
            Some(security) => link.stream.secure(security)?,
            None if link.info.tls_required => {
                return Err(Failure::server("requires TLS: use --tls"));
            }
            None => {}
        }
        let connect = Connect {
            verbose: false,
            pedantic: false,
            tls_required: target.security.is_some(),
            headers: true,
            no_responders: true,
            echo: true,
            protocol: 1,
            lang: "loadgen",
            version: env!("CARGO_PKG_VERSION"),
            name: "loadgen",
            user: target.user.as_deref(),
            pass: target.pass.as_deref(),
            auth_token: target.token.as_deref(),
        };
        let json =
            serde_json::to_string(&connect).map_err(|error| Failure::usage(error.to_string()))?;
        link.write(format!("CONNECT {json}\r\n").as_bytes())?;
        link.barrier()?;
        Ok(link)
    }

    pub fn subscribe(&mut self, subject: &str, queue_group: Option<&str>, sid: u64) -> Result<()> {
        let mut line = Vec::new();
        encode_subscribe(&mut line, subject, queue_group, sid);
        self.write(&line)
    }

    /// Waits until the server has handled everything written so far: PING, PONG.
    pub fn barrier(&mut self) -> Result<()> {
        self.write(b"PING\r\n")?;
        loop {
            let mut pong = false;
            let mut owed_pongs = 0;
            self.inbox.drain(|op| {
                match op {
                    ServerOp::Pong => pong = true,
                    ServerOp::Ping => owed_pongs += 1,
                    ServerOp::Error(text) => {
                        return Err(Failure::server(format!("sent -ERR {}", printable(text))));
                    }
                    ServerOp::Info(_) | ServerOp::Ok | ServerOp::Message(_) => {}
                }
                Ok(())
            })?;
            for _ in 0..owed_pongs {
                self.write(b"PONG\r\n")?;
            }
            if pong {
                return Ok(());
            }
            self.wait_for_bytes()?;
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush())
            .doing(|| "writing to the server".to_owned())
    }

    /// From here on reads and writes return at once.
    pub fn go_nonblocking(&mut self) -> Result<()> {
        self.stream
            .go_nonblocking()
            .doing(|| "making a socket non-blocking".to_owned())
    }

    fn read_info(&mut self) -> Result<ServerInfo> {
        loop {
            let mut info = None;
            self.inbox.drain(|op| {
                match op {
                    ServerOp::Info(json) if info.is_none() => {
                        info = Some(serde_json::from_slice(json))
                    }
                    ServerOp::Error(text) => {
                        return Err(Failure::server(format!("sent -ERR {}", printable(text))));
                    }
                    _ => {}
                }
                Ok(())
            })?;
            match info {
                Some(Ok(info)) => return Ok(info),
                Some(Err(error)) => {
                    return Err(Failure::server(format!(
                        "sent an INFO that is not JSON: {error}"
                    )));
                }
                None => self.wait_for_bytes()?,
            }
        }
    }

    fn wait_for_bytes(&mut self) -> Result<()> {
        match self.inbox.fill(&mut self.stream)? {
            0 => Err(Failure::server(format!(
                "did not answer within {} s",
                HANDSHAKE_TIMEOUT.as_secs()
            ))),
            _ => Ok(()),
        }
    }
}

/// Bytes received and not yet understood.
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub fn new(capacity_bytes: usize) -> Self {
        Self {
            bytes: vec![0; capacity_bytes],
            start: 0,
            end: 0,
        }
    }

    pub fn reserve(&mut self, capacity_bytes: usize) {
        if self.bytes.len() < capacity_bytes {
            self.bytes.resize(capacity_bytes, 0);
        }
    }

    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub fn consume(&mut self, length: usize) {
        self.start += length;
        debug_assert!(self.start <= self.end);
    }

    /// One `recv`, and all that it brought; 0 means that nothing is there now. A closed connection is the server's fault.
    pub fn fill(&mut self, stream: &mut Stream) -> Result<usize> {
        let mut length = self.fill_once(stream)?;
        while length > 0 && stream.has_more() {
            let more = self.fill_once(stream)?;
            if more == 0 {
                break;
            }
            length += more;
        }
        Ok(length)
    }

    fn fill_once(&mut self, stream: &mut Stream) -> Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.bytes.len() {
            self.bytes.resize(2 * self.bytes.len(), 0);
        }
        match stream.read(&mut self.bytes[self.end..]) {
            Ok(0) => Err(Failure::server("closed the connection")),
            Ok(length) => {
                self.end += length;
                Ok(length)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(0)
            }
            Err(error) => Err(Failure::server(format!("closed the connection ({error})"))),
        }
    }

    /// Hands every whole operation to `handle`.
    pub fn drain(&mut self, mut handle: impl FnMut(ServerOp<'_>) -> Result<()>) -> Result<()> {
        loop {
            let parsed = parse_server_op(&self.bytes[self.start..self.end]);
            let Some((op, length)) = parsed.map_err(|error| Failure::server(error.to_string()))?
            else {
                return Ok(());
            };
            handle(op)?;
            self.start += length;
        }
    }
}

/// One non-blocking `send`; returns how many bytes the kernel took.
pub fn send_some(stream: &mut Stream, bytes: &[u8]) -> Result<usize> {
    match stream.write(bytes) {
        Ok(length) => Ok(length),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(0)
        }
        Err(error) => Err(Failure::server(format!("closed the connection ({error})"))),
    }
}
