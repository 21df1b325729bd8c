//! The file that tells scripts which ports the server listens on: `<program>_<pid>.ports`, JSON, as
//! nats-server writes it.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::log::Log;

/// A socket that is listened on, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    pub scheme: &'static str,
    pub address: SocketAddr,
}

/// Writes it, whole or not at all: who waits for it reads it as soon as it is there.
pub fn write(directory: &Path, clients: Listening, monitoring: Option<Listening>, log: &Log) {
    let own = own_addresses();
    let text = content(
        &urls(clients, &own),
        monitoring.map(|listening| urls(listening, &own)),
    );
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

fn content(clients: &[String], monitoring: Option<Vec<String>>) -> String {
    let mut object = Map::new();
    object.insert("nats".to_owned(), Value::from(clients.to_vec()));
    if let Some(urls) = monitoring {
        object.insert("monitoring".to_owned(), Value::from(urls));
    }
    format!("{:#}", Value::Object(object))
}

/// One for each address by which the server can be reached.
fn urls(listening: Listening, own: &[IpAddr]) -> Vec<String> {
    let Listening { scheme, address } = listening;
    let (ip, port) = (address.ip(), address.port());
    let addresses = match ip.is_unspecified() {
        true if !own.is_empty() => own,
        _ => &[ip],
    };
    let each = addresses.iter().copied();
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
        let own = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 7])];
        let check = |scheme, address: &str, expected: &[&str]| {
            let address = address.parse().unwrap();
            assert_eq!(urls(Listening { scheme, address }, &own), expected);
        };
        check("nats", "127.0.0.1:4222", &["nats://127.0.0.1:4222"]);
        check("tls", "[::1]:4222", &["tls://[::1]:4222"]);
        for any in ["0.0.0.0:8222", "[::]:8222"] {
            let both = ["http://127.0.0.1:8222", "http://10.0.0.7:8222"];
            check("http", any, &both);
        }
        let clients = ["nats://127.0.0.1:4222".to_owned()];
        let value: Value = serde_json::from_str(&content(&clients, None)).unwrap();
        assert_eq!(value, serde_json::json!({ "nats": clients }));
        let monitoring = Some(vec!["https://127.0.0.1:1".to_owned()]);
        let value: Value = serde_json::from_str(&content(&clients, monitoring)).unwrap();
        assert_eq!(value["monitoring"][0], "https://127.0.0.1:1");
        assert!(own_addresses().iter().any(IpAddr::is_loopback));
    }
}
