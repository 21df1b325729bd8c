//! Cipher suites and curves by the names that nats-server's configuration knows them by.
//!
//! A name that nats-server knows and this server does not offer is an error of its own: leaving it out
//! silently would offer less than the operator asked for, or nothing.

use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::{cipher_suite, kx_group};

/// Suites in the order of preference: AES with 128 bits is the fastest where the processor has AES.
const SUITES: [(&str, SupportedCipherSuite); 9] = [
    (
        "TLS_AES_128_GCM_SHA256",
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    ),
    (
        "TLS_AES_256_GCM_SHA384",
        cipher_suite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Suites that nats-server offers besides: without forward secrecy or without authenticated encryption.
const SUITES_NOT_OFFERED: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

const CURVES: [(&str, &dyn SupportedKxGroup); 3] = [
    ("X25519", kx_group::X25519),
    ("CurveP256", kx_group::SECP256R1),
    ("CurveP384", kx_group::SECP384R1),
];
const CURVES_NOT_OFFERED: [&str; 4] = [
    "CurveP521",
    "X25519MLKEM768",
    "SecP256r1MLKEM768",
    "SecP384r1MLKEM1024",
];

fn is_tls13(suite: SupportedCipherSuite) -> bool {
    matches!(suite, SupportedCipherSuite::Tls13(_))
}

/// The suites to offer, in order. As in nats-server, `cipher_suites` chooses among those of TLS 1.2;
/// those of 1.3 are always there.
pub fn cipher_suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, String> {
    if names.is_empty() {
        return Ok(SUITES.iter().map(|&(_, suite)| suite).collect());
    }
    let mut suites: Vec<SupportedCipherSuite> = SUITES
        .iter()
        .map(|&(_, suite)| suite)
        .filter(|&suite| is_tls13(suite))
        .collect();
    for name in names {
        match SUITES.iter().find(|(known, _)| known == name) {
            Some(&(_, suite)) if is_tls13(suite) || suites.contains(&suite) => {}
            Some(&(_, suite)) => suites.push(suite),
            None => {
                return Err(if SUITES_NOT_OFFERED.contains(&name.as_str()) {
                    format!(
                        "cipher {name} is not offered: it lacks forward secrecy or authenticated encryption"
                    )
                } else {
                    format!("unrecognized cipher {name}")
                });
            }
        }
    }
    Ok(suites)
}

/// The groups for the key exchange, in order.
pub fn curves(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, String> {
    if names.is_empty() {
        return Ok(CURVES.iter().map(|&(_, curve)| curve).collect());
    }
    names
        .iter()
        .map(
            |name| match CURVES.iter().find(|(known, _)| known == name) {
                Some(&(_, curve)) => Ok(curve),
                None if CURVES_NOT_OFFERED.contains(&name.as_str()) => {
                    Err(format!("curve preference {name} is not offered"))
                }
                None => Err(format!("unrecognized curve preference {name}")),
            },
        )
        .collect()
}

/// What the log and monitoring call a suite.
pub fn of_suite(suite: SupportedCipherSuite) -> &'static str {
    SUITES
        .iter()
        .find(|(_, known)| *known == suite)
        .map_or("unknown", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_suites(names: &[&str], expected: Result<&[&str], &str>) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let found = cipher_suites(&names)
            .map(|suites| suites.into_iter().map(of_suite).collect::<Vec<_>>());
        let expected = expected.map(<[&str]>::to_vec).map_err(str::to_owned);
        assert_eq!(found, expected);
    }

    const OF_1_3: [&str; 3] = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ];

    #[test]
    fn suites() {
        let all = SUITES.map(|(name, _)| name);
        check_suites(&[], Ok(&all));
        check_suites(&["TLS_AES_256_GCM_SHA384"], Ok(&OF_1_3));
        let chosen = [
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ];
        let expected = [&OF_1_3[..], &chosen[..]].concat();
        check_suites(&chosen, Ok(&expected));
        check_suites(&[chosen[0], chosen[1], chosen[0]], Ok(&expected));
        check_suites(&["TLS_ROT13"], Err("unrecognized cipher TLS_ROT13"));
        check_suites(
            &[chosen[0], "TLS_RSA_WITH_AES_128_CBC_SHA"],
            Err(
                "cipher TLS_RSA_WITH_AES_128_CBC_SHA is not offered: it lacks forward secrecy or \
                 authenticated encryption",
            ),
        );
    }

    #[test]
    fn curve_preferences() {
        #[track_caller]
        fn check(names: &[&str], expected: Result<&[&str], &str>) {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let found = curves(&names).map(|curves| {
                let name = |curve: &dyn SupportedKxGroup| {
                    let known = CURVES.iter().find(|(_, c)| c.name() == curve.name());
                    known.map_or("", |(name, _)| name)
                };
                curves.into_iter().map(name).collect::<Vec<_>>()
            });
            let expected = expected.map(<[&str]>::to_vec).map_err(str::to_owned);
            assert_eq!(found, expected);
        }
        check(&[], Ok(&["X25519", "CurveP256", "CurveP384"]));
        check(&["CurveP384", "X25519"], Ok(&["CurveP384", "X25519"]));
        check(&["P256"], Err("unrecognized curve preference P256"));
        check(
            &["X25519MLKEM768", "X25519"],
            Err("curve preference X25519MLKEM768 is not offered"),
        );
    }
}
