//! The listening socket, and which shard a new connection goes to.
//!
//! One shard accepts for all and gives each connection to the shard with the fewest. A socket per
//! shard (SO_REUSEPORT) would let the kernel choose by a hash of addresses, and two busy
//! connections would meet on one core half of the time.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::commands::Arrival;
use super::doorway::Doorway;
use super::links::Links;
use super::log::Log;
use super::sockets::{self, unmapped};
use crate::base::ids::ShardId;
use crate::config::Limits;

/// nats-server gives the first client number 5; numbers before it are its own.
const FIRST_CLIENT_ID: u64 = 5;
/// Bytes that the kernel takes for a connection beyond what its peer's window allows to send. The
/// rest stays in the session's outbound, where it counts: the kernel would take megabytes, out of
/// cache and out of sight of backpressure. What is in flight on a long link is not bounded by it.
const UNSENT_BYTES_MAX: libc::c_int = 256 * 1024;

/// How long a port may still be in use by a server that was just killed.
const PORT_WAIT: Duration = Duration::from_millis(500);

/// The listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    max_connections: usize,
    doorway: Doorway,
    next_client_id: u64,
    last_shard: ShardId,
    last_error: i32,
}

impl Listener {
    /// Listens on `host` and `port`; port 0 is any free one.
    pub fn bind(host: &str, port: u16, limits: &Limits) -> io::Result<Self> {
        let socket = bind_patiently(host, port)?;
        Ok(Self {
            socket,
            max_connections: limits.max_connections,
            doorway: Doorway::new(limits.max_connections_per_address),
            next_client_id: FIRST_CLIENT_ID,
            last_shard: ShardId(0),
            last_error: 0,
        })
    }

    /// Keeps to other limits from now on.
    pub fn set_limits(&mut self, limits: &Limits) {
        self.max_connections = limits.max_connections;
        self.doorway.set_max(limits.max_connections_per_address);
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket's number.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Prepares an accepted socket and chooses its shard.
    pub fn place(&mut self, socket: OwnedFd, links: &Links) -> (ShardId, Arrival) {
        let fd = socket.as_raw_fd();
        self.last_error = 0;
        set_option(fd, libc::TCP_NODELAY, 1);
        set_option(fd, libc::TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX);
        let peer = peer_of(fd);
        let pass = self.doorway.enter(peer.ip());
        let refused = pass.is_err() || links.connections() >= self.max_connections;
        let shard = links.least_loaded(self.last_shard);
        links.count_opened(shard);
        self.last_shard = shard;
        let client_id = self.next_client_id;
        self.next_client_id += 1;
        let arrival = Arrival {
            socket,
            client_id,
            peer,
            refused,
            pass: pass.ok(),
            internal: None,
        };
        (shard, arrival)
    }

    /// Accepting failed; says so once for each kind of failure in a row.
    pub fn failed(&mut self, error: i32, log: &Log) {
        if error != self.last_error && error != libc::ECANCELED {
            let text = io::Error::from_raw_os_error(error);
            log.error(format_args!("Client connections: accept error: {text}"));
        }
        self.last_error = error;
    }
}

/// Binds, waiting a little for a port that is in use: the kernel tears down the ring of a server
/// that was killed after the process is gone, and its listening socket with it.
fn bind_patiently(host: &str, port: u16) -> io::Result<TcpListener> {
    let until = Instant::now() + PORT_WAIT;
    loop {
        match sockets::listen(host, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(PORT_WAIT / 50);
            }
            result => return result,
        }
    }
}

/// Sets an option of TCP. It fails on sockets that are gone, for which it does not matter.
fn set_option(fd: RawFd, option: libc::c_int, value: libc::c_int) {
    let _ = sockets::set(fd, libc::IPPROTO_TCP, option, value);
}

/// The peer's address; 0.0.0.0:0 when it is gone already.
fn peer_of(fd: RawFd) -> SocketAddr {
    let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `storage` has room for any address and `len` says so.
    let result = unsafe { libc::getpeername(fd, storage.as_mut_ptr().cast(), &raw mut len) };
    if result < 0 {
        return unknown;
    }
    // SAFETY: zeroed and then filled in; all bit patterns are valid.
    let storage = unsafe { storage.assume_init() };
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is what was filled in.
            let v4 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in>() };
            let ip = u32::from_be(v4.sin_addr.s_addr);
            SocketAddr::new(Ipv4Addr::from(ip).into(), u16::from_be(v4.sin_port))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in6>() };
            let ip = std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr);
            SocketAddr::new(unmapped(ip.into()), u16::from_be(v6.sin6_port))
        }
        _ => unknown,
    }
}
