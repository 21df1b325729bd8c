//! What the server is called.

use crate::config::{Config, split_advertise};
use crate::proto::info::{ServerIdentity, TlsOffer};

/// Characters of a server id, as clients and tools know them: `N` and 55 more.
const ID_CHARACTERS: usize = 56;

/// The identity of a server with this configuration; `random` makes its id. A port of 0 is
/// filled in when the listener has one.
pub fn of(config: &Config, random: [u64; 4]) -> ServerIdentity {
    let id = server_id(random);
    let (host, port) = advertised(config);
    ServerIdentity {
        name: config.server_name.clone().unwrap_or_else(|| id.clone()),
        id,
        host: host.to_owned(),
        port: port.unwrap_or(0),
        auth_required: false,
        tls: config.tls.as_ref().map(|tls| TlsOffer {
            required: !config.allow_non_tls,
            verify: tls.verify || tls.verify_and_map,
        }),
        xkey: None,
    }
}

/// Host and port that clients are told; the port is that of the listener where none is given.
fn advertised(config: &Config) -> (&str, Option<u16>) {
    let given = config.client_advertise.as_deref();
    match given.map(split_advertise) {
        Some(Ok(host_and_port)) => host_and_port,
        // It was checked when it was read.
        Some(Err(_)) | None => (&config.host, None),
    }
}

/// An id in the shape of nats-server's, which are public keys of servers in base 32. This one is
/// a name and no key: nothing is signed with it.
fn server_id(random: [u64; 4]) -> String {
    const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut id = String::with_capacity(ID_CHARACTERS);
    id.push('N');
    let mut words = random.into_iter().cycle();
    while id.len() < ID_CHARACTERS {
        // Twelve characters of five bits from each word, then a mix for the next round.
        let mut word = words.next().unwrap_or_default() ^ (id.len() as u64).wrapping_mul(31);
        for _ in 0..12 {
            if id.len() < ID_CHARACTERS {
                id.push(char::from(BASE32[(word & 31) as usize]));
                word >>= 5;
            }
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_known_shape() {
        let id = server_id([1, 2, 3, 4]);
        assert_eq!(id.len(), ID_CHARACTERS);
        assert!(id.starts_with('N'));
        assert_ne!(id, server_id([1, 2, 3, 5]));
    }
}
