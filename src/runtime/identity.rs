//! What the server is called.

use crate::auth::callout::ServerKeys;
use crate::config::{Config, split_advertise};
use crate::proto::info::{ServerIdentity, TlsOffer};

/// The identity of a server with this configuration and these keys. A port of 0 is filled in when
/// the listener has one.
pub fn of(config: &Config, keys: &ServerKeys) -> ServerIdentity {
    let id = keys.identity.public().to_string();
    let mut identity = ServerIdentity {
        name: config.server_name.clone().unwrap_or_else(|| id.clone()),
        id,
        host: String::new(),
        port: 0,
        auth_required: false,
        tls: None,
        xkey: Some(keys.curve.public().to_string()),
        jetstream: (config.jetstream.enabled)
            .then(|| config.jetstream.domain.clone().unwrap_or_default()),
    };
    follow(&mut identity, config, 0);
    identity
}

/// What of it a new configuration may change. The port is that of the listener where none is advertised.
pub fn follow(identity: &mut ServerIdentity, config: &Config, listening: u16) {
    let (host, port) = advertised(config);
    host.clone_into(&mut identity.host);
    identity.port = port.unwrap_or(listening);
    identity.tls = config.tls.as_ref().map(|tls| TlsOffer {
        required: !config.allow_non_tls,
        verify: tls.verify || tls.verify_and_map,
    });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::nkey::{KeyKind, PublicKey};

    #[test]
    fn the_id_is_a_key_that_signs() {
        let keys = ServerKeys::from_seeds(&[1; 32], [2; 32]);
        let identity = of(&Config::default(), &keys);
        let key = PublicKey::parse_kind(&identity.id, KeyKind::Server).expect("a server's key");
        assert!(key.verify(b"x", &keys.identity.sign(b"x")));
        assert_eq!(identity.name, identity.id);
        let xkey = identity.xkey.expect("always there");
        assert!(PublicKey::parse_kind(&xkey, KeyKind::Curve).is_some());
    }
}
