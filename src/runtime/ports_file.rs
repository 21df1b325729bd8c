//! The file that tells scripts which ports the server listens on: `<program>_<pid>.ports`, JSON, as
//! nats-server writes it.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::log::Log;

/// Writes it, whole or not at all: who waits for it reads it as soon as it is there.
pub fn write(directory: &Path, address: SocketAddr, tls: bool, log: &Log) {
    let text = content(&urls(address, tls, own_addresses()));
    let path = file(directory);
    let unfinished = path.with_extension("ports.new");
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, &path));
    if let Err(error) = written {
        let shown = path.display();
        log.error(format_args!("Error writing ports file ({shown}): {error}"));
    }
}

/// Removes it. It may be gone already.
pub fn remove(directory: &Path, log: &Log) {
    let path = file(directory);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let shown = path.display();
            log.error(format_args!(
                "Error cleaning up ports file {shown}: {error}"
            ));
        }
        Ok(()) | Err(_) => {}
    }
}

fn file(directory: &Path) -> PathBuf {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default();
    let program = program.to_string_lossy();
    directory.join(format!("{program}_{}.ports", std::process::id()))
}

fn content(urls: &[String]) -> String {
    let mut object = Map::new();
    object.insert("nats".to_owned(), Value::from(urls.to_vec()));
    format!("{:#}", Value::Object(object))
}

/// One for each address by which the server can be reached.
fn urls(address: SocketAddr, tls: bool, own: Vec<IpAddr>) -> Vec<String> {
    let scheme = if tls { "tls" } else { "nats" };
    let addresses = match address.ip().is_unspecified() {
        true if !own.is_empty() => own,
        _ => vec![address.ip()],
    };
    let port = address.port();
    let each = addresses.into_iter();
    each.map(|ip| format!("{scheme}://{}", SocketAddr::new(ip, port)))
        .collect()
}

/// The addresses of this machine's interfaces.
fn own_addresses() -> Vec<IpAddr> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: fills in a pointer to a list, which is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: a list of `getifaddrs` ends with null, and is not freed yet.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        if entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: not null, so it is an address of the family that it says.
        match i32::from(unsafe { (*entry.ifa_addr).sa_family }) {
            libc::AF_INET => {
                // SAFETY: the family says that this is what it is.
                let v4 = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in>() };
                let bits = u32::from_be(v4.sin_addr.s_addr);
                found.push(IpAddr::from(std::net::Ipv4Addr::from_bits(bits)));
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in6>() };
                let ip = std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr);
                // Without its zone, such an address leads nowhere.
                if !ip.is_unicast_link_local() {
                    found.push(ip.into());
                }
            }
            _ => {}
        }
    }
    // SAFETY: it is from `getifaddrs`, and nothing refers to it any more.
    unsafe { libc::freeifaddrs(list) };
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let own = || vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 7])];
        let check = |address: &str, tls, expected: &[&str]| {
            assert_eq!(urls(address.parse().unwrap(), tls, own()), expected);
        };
        check("127.0.0.1:4222", false, &["nats://127.0.0.1:4222"]);
        check("[::1]:4222", true, &["tls://[::1]:4222"]);
        check(
            "0.0.0.0:4222",
            false,
            &["nats://127.0.0.1:4222", "nats://10.0.0.7:4222"],
        );
        let text = content(&["nats://127.0.0.1:4222".to_owned()]);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["nats"][0], "nats://127.0.0.1:4222");
        assert!(own_addresses().iter().any(IpAddr::is_loopback));
    }
}
