//! Listening sockets, and options of sockets. Must not know who listens and what for.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Connections that may wait to be accepted; the kernel takes less if `somaxconn` says so.
const BACKLOG: libc::c_int = 16 * 1024;

/// Listens on `host` and `port`; port 0 is any free one. Where the host is any address of IPv4 (or none is given), IPv6 is
/// listened on too, as in nats-server; machines without IPv6 do without.
///
/// # Errors
/// The system's.
pub fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let is_any = |address: &SocketAddr| address.ip().is_unspecified();
    if addresses.iter().all(is_any) {
        match listen_on_both(port) {
            Err(error) if is_without_ipv6(&error) => {}
            result => return result,
        }
    }
    let socket = TcpListener::bind(&addresses[..])?;
    // SAFETY: the descriptor is open and listening; this only sets its backlog.
    if unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// There is no such family, or no address of it, `::` included.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// A socket for both families: peers of IPv4 come with mapped addresses, which [`unmapped`] undoes.
fn listen_on_both(port: u16) -> io::Result<TcpListener> {
    // SAFETY: makes a descriptor, which nobody else has.
    let fd = unsafe { libc::socket(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and is owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
    let address = libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr {
            s6_addr: Ipv6Addr::UNSPECIFIED.octets(),
        },
        sin6_scope_id: 0,
    };
    let size = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    // SAFETY: the address lives through the call and its size is given.
    if unsafe { libc::bind(fd, (&raw const address).cast(), size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and bound.
    if unsafe { libc::listen(fd, BACKLOG) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpListener::from(socket))
}

/// An address as people know it: one of IPv4 that came by way of IPv6 is itself again.
pub fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Sets an option.
///
/// # Errors
/// The system's: there is no such option, or the socket is gone.
pub fn set(
    fd: RawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value lives through the call and its size is given.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), size) };
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn any_address_is_of_both_families() {
        let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
        for host in ["0.0.0.0", "", "::"] {
            let listener = listen(host, 0).unwrap();
            let port = listener.local_addr().unwrap().port();
            let peers = [("127.0.0.1", true), ("::1", has_ipv6)];
            for (peer, _) in peers.iter().filter(|(_, is_there)| *is_there) {
                let _connected = TcpStream::connect((*peer, port)).unwrap();
                let (_, from) = listener.accept().unwrap();
                assert_eq!(unmapped(from.ip()).to_string(), *peer, "{host}");
            }
        }
        let one = listen("127.0.0.1", 0).unwrap().local_addr().unwrap();
        assert!(one.is_ipv4() && one.ip().is_loopback());
    }

    #[test]
    fn machines_without_ipv6() {
        for (code, expected) in [
            (libc::EAFNOSUPPORT, true),
            (libc::EADDRNOTAVAIL, true),
            (libc::EADDRINUSE, false),
            (libc::EACCES, false),
        ] {
            assert_eq!(
                is_without_ipv6(&io::Error::from_raw_os_error(code)),
                expected
            );
        }
    }
}
