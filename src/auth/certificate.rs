//! Which user a client certificate names (`verify_and_map`): its alternative names, or its subject.
//! Whether the certificate is to be trusted was decided before, by TLS.
//!
//! Subjects are compared attribute by attribute, never as text that somebody could have written an
//! attribute into (CVE-2026-33248). Where text is compared, because users are configured that way,
//! it is escaped first and in the spelling and order of nats-server.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Name};

/// Attributes that have a short name, by their number.
const ATTRIBUTES: [(&str, &str); 10] = [
    ("2.5.4.6", "C"),
    ("2.5.4.8", "ST"),
    ("2.5.4.7", "L"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.17", "POSTALCODE"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    (DOMAIN_COMPONENT, "DC"),
];
const DOMAIN_COMPONENT: &str = "0.9.2342.19200300.100.1.25";

/// What a certificate is called, in the order in which users are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// E-mail addresses, DNS names and addresses of resources, each as a user name.
    pub alternative_names: Vec<String>,
    /// The subject; `None` if it has attributes that cannot be compared.
    pub subject: Option<DistinguishedName>,
    /// The subject as text: first with its domain components behind it, if it has any.
    pub subject_texts: Vec<String>,
}

impl Identity {
    /// Reads a certificate (DER); `None` if it is none or names nobody.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let identity = Self {
            alternative_names: alternative_names(&certificate),
            subject: DistinguishedName::of_subject(subject),
            subject_texts: subject_texts(subject),
        };
        let nameless = identity.alternative_names.is_empty() && identity.subject_texts.is_empty();
        (!nameless).then_some(identity)
    }
}

/// What monitoring shows of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The subject as text, in the spelling of nats-server.
    pub subject: String,
    /// SHA-256 of the public key's info and of the whole, in lower-case hex.
    pub public_key_sha256: String,
    pub sha256: String,
}

impl Summary {
    /// Reads a certificate (DER); `None` if it is none.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let digest = |bytes: &[u8]| HEXLOWER.encode(&Sha256::digest(bytes));
        Some(Self {
            // Without domain components, which come in a text of their own before.
            subject: subject_texts(parsed.subject()).pop().unwrap_or_default(),
            public_key_sha256: digest(parsed.public_key().raw),
            sha256: digest(certificate),
        })
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let (mut emails, mut domains, mut resources) = (Vec::new(), Vec::new(), Vec::new());
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::RFC822Name(name) => emails.push((*name).to_owned()),
                GeneralName::DNSName(name) => domains.push((*name).to_owned()),
                GeneralName::URI(name) => resources.push((*name).to_owned()),
                _ => {}
            }
        }
    }
    emails.append(&mut domains);
    emails.append(&mut resources);
    emails.retain(|name| !name.is_empty());
    emails
}

/// A subject as RFC 4514 has it: the most specific name first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinguishedName(Vec<RelativeName>);

/// Attributes that are one step of the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RelativeName(Vec<(String, String)>);

impl DistinguishedName {
    fn of_subject(subject: &X509Name<'_>) -> Option<Self> {
        let mut names = Vec::new();
        for relative in subject.iter_rdn() {
            let mut attributes = Vec::new();
            for attribute in relative.iter() {
                let number = attribute.attr_type().to_id_string();
                let (_, name) = ATTRIBUTES.iter().find(|(known, _)| *known == number)?;
                attributes.push(((*name).to_owned(), text_of(attribute.attr_value())?));
            }
            if !attributes.is_empty() {
                names.push(RelativeName(attributes));
            }
        }
        names.reverse();
        Some(Self(names))
    }

    /// Reads a name as RFC 4514 writes it; `None` if it is none, or has a value in BER (`#…`).
    pub fn parse(text: &str) -> Option<Self> {
        let mut names = vec![RelativeName::default()];
        let mut kind = None;
        let mut word = Word::default();
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'\\' => {
                    let escaped = *bytes.get(at)?;
                    at += 1;
                    if b" \"#+,;<=>\\".contains(&escaped) {
                        word.push_kept(escaped);
                    } else {
                        let low = *bytes.get(at)?;
                        at += 1;
                        word.push_kept(digit(escaped)? << 4 | digit(low)?);
                    }
                }
                b'=' if kind.is_none() => {
                    kind = Some(word.take()?);
                    if bytes.get(at) == Some(&b'#') {
                        return None;
                    }
                }
                b',' | b'+' => {
                    let kind = kind.take().filter(|kind: &String| !kind.is_empty())?;
                    names.last_mut()?.0.push((kind, word.take()?));
                    if byte == b',' {
                        names.push(RelativeName::default());
                    }
                }
                _ => word.push(byte),
            }
        }
        let kind = kind.filter(|kind: &String| !kind.is_empty())?;
        names.last_mut()?.0.push((kind, word.take()?));
        Some(Self(names))
    }

    /// Whether both have the same steps in the same order.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(one, two)| one.is_same(two))
    }

    /// Whether both have the same steps in any order.
    pub fn has_same_steps(&self, other: &Self) -> bool {
        let mut left: Vec<&RelativeName> = other.0.iter().collect();
        self.0.len() == left.len()
            && self.0.iter().all(|name| {
                let found = left.iter().position(|candidate| name.is_same(candidate));
                found.map(|at| left.swap_remove(at)).is_some()
            })
    }
}

impl RelativeName {
    /// Attributes have no order; their kinds have no case.
    fn is_same(&self, other: &Self) -> bool {
        let mut left: Vec<&(String, String)> = other.0.iter().collect();
        self.0.len() == left.len()
            && self.0.iter().all(|(kind, value)| {
                let found = left
                    .iter()
                    .position(|(k, v)| k.eq_ignore_ascii_case(kind) && v == value);
                found.map(|at| left.swap_remove(at)).is_some()
            })
    }
}

/// Bytes of a kind or value, without the spaces around that were not escaped.
#[derive(Default)]
struct Word {
    bytes: Vec<u8>,
    /// Bytes up to here are not trailing spaces.
    kept: usize,
}

impl Word {
    fn push(&mut self, byte: u8) {
        if byte != b' ' {
            self.push_kept(byte);
        } else if !self.bytes.is_empty() {
            self.bytes.push(byte);
        }
    }

    fn push_kept(&mut self, byte: u8) {
        self.bytes.push(byte);
        self.kept = self.bytes.len();
    }

    fn take(&mut self) -> Option<String> {
        let Word { mut bytes, kept } = std::mem::take(self);
        bytes.truncate(kept);
        String::from_utf8(bytes).ok()
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// The subject in the spelling of nats-server: known attributes gathered by kind, the broadest
/// kind last, several of one kind joined by `+`, the last one only of those that should be single.
fn subject_texts(subject: &X509Name<'_>) -> Vec<String> {
    let values = |number: &str| -> Vec<String> {
        subject
            .iter_attributes()
            .filter(|attribute| attribute.attr_type().to_id_string() == number)
            .filter_map(|attribute| text_of(attribute.attr_value()))
            .collect()
    };
    let mut steps = Vec::new();
    for (number, name) in ATTRIBUTES.into_iter().rev() {
        if number == DOMAIN_COMPONENT {
            continue;
        }
        let mut values = values(number);
        if matches!(name, "CN" | "SERIALNUMBER") {
            let single = values.pop().filter(|value| !value.is_empty());
            values = single.into_iter().collect();
        }
        let attributes: Vec<String> = values
            .iter()
            .map(|value| format!("{name}={}", escaped(value)))
            .collect();
        if !attributes.is_empty() {
            steps.push(attributes.join("+"));
        }
    }
    let plain = steps.join(",");
    let components: Vec<String> = values(DOMAIN_COMPONENT)
        .iter()
        .map(|value| format!("DC={}", escaped(value)))
        .collect();
    let mut texts = Vec::new();
    if !components.is_empty() {
        texts.push(format!("{plain},{}", components.join(",")));
    }
    if !plain.is_empty() {
        texts.push(plain);
    }
    texts
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.chars().enumerate() {
        let special = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        if special {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// The text of an attribute; `None` if it is something else, or not what its type says.
fn text_of(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::NumericString
        | Tag::Ia5String
        | Tag::T61String => String::from_utf8(value.data.to_vec()).ok(),
        Tag::BmpString => {
            let (pairs, rest) = value.data.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            let whole = rest.is_empty();
            whole.then(|| String::from_utf16(&units).ok()).flatten()
        }
        _ => None,
    }
}

/// Certificates for tests, made by openssl.
#[cfg(test)]
pub mod examples {
    use data_encoding::BASE64;

    /// Subject `CN=Somebody`, with two e-mail addresses, a DNS name and a resource.
    pub const NAMES: &str = "MIIBbDCCAR6gAwIBAgIUbHkqaW47J2UwqB65giLtZ6DjP2IwBQYDK2VwMBMxETAPBgNVBAMMCFNvbWVib2R5MCAXDTI2MTEyMTEwMzYzMVoYDzIxMjYxMDI4MTAzNjMxWjATMREwDwYDVQQDDAhTb21lYm9keTAqMAUGAytlcAMhAFLyqMCHTGZR312f5/CULKP6GZ8jZTJk45UacBOPZh1Qo4GBMH8wXgYDVR0RBFcwVYEPYm9iQGV4YW1wbGUub3JngRFhbGljZUBleGFtcGxlLm9yZ4IPYXBwLmV4YW1wbGUub3JnhhhzcGlmZmU6Ly9leGFtcGxlLm9yZy9hcHCHBAoAAAEwHQYDVR0OBBYEFIGSC03Yrh4x+FoPsVFsn4tsrlsKMAUGAytlcANBABn+N+1loz9X4gaEJ0MPli4UZdpBekft+kI42pyszqyCyXmEi94Dgau70i/uZFiWJFLVPdTYrn+ZHrvn8SgIVAQ=";
    /// `DC=org, DC=example, OU=Dev, OU=Ops, O=Acme\, Inc., CN=bob + serialNumber=7`.
    pub const STEPS: &str = "MIIBqzCCAV0CFHSG+cB7CLo+yj5Ri5+64IM4YmUGMAUGAytlcDB3MRMwEQYKCZImiZPyLGQBGRYDb3JnMRcwFQYKCZImiZPyLGQBGRYHZXhhbXBsZTEMMAoGA1UECwwDRGV2MQwwCgYDVQQLDANPcHMxEzARBgNVBAoMCkFjbWUsIEluYy4xFjAIBgNVBAUTATcwCgYDVQQDDANib2IwIBcNMjYxMTIxMTAzNjMxWhgPMjEyNjEwMjgxMDM2MzFaMHcxEzARBgoJkiaJk/IsZAEZFgNvcmcxFzAVBgoJkiaJk/IsZAEZFgdleGFtcGxlMQwwCgYDVQQLDANEZXYxDDAKBgNVBAsMA09wczETMBEGA1UECgwKQWNtZSwgSW5jLjEWMAgGA1UEBRMBNzAKBgNVBAMMA2JvYjAqMAUGAytlcAMhAFLyqMCHTGZR312f5/CULKP6GZ8jZTJk45UacBOPZh1QMAUGAytlcANBAFIKpSgWFvs7jcZfhMhYVmQCx4d2A7uUeFP44t4/teJBNXtecTRCTp2+FxPPEThDk9mQYtUDCCJ7+hFv+imsswc=";
    /// `C=US, O=Acme, OU=Unit, CN=www.example.org`.
    pub const PLAIN: &str = "MIIBRjCB+QIUHru1RoD0vLeCp0Q6QKiorZm3dr4wBQYDK2VwMEUxCzAJBgNVBAYTAlVTMQ0wCwYDVQQKDARBY21lMQ0wCwYDVQQLDARVbml0MRgwFgYDVQQDDA93d3cuZXhhbXBsZS5vcmcwIBcNMjYxMTIxMTAzNjMxWhgPMjEyNjEwMjgxMDM2MzFaMEUxCzAJBgNVBAYTAlVTMQ0wCwYDVQQKDARBY21lMQ0wCwYDVQQLDARVbml0MRgwFgYDVQQDDA93d3cuZXhhbXBsZS5vcmcwKjAFBgMrZXADIQBS8qjAh0xmUd9dn+fwlCyj+hmfI2UyZOOVGnATj2YdUDAFBgMrZXADQQCcqwh1Yp+bknuRqrG5DxlTLXJURrt3cFgP2nMDZe1QkqeNdnKvWToVRWpq7ZMKQM7XkqM+ZcPGZWrXc+VHQZcH";
    /// `C=US, O=Acme, CN=odd, emailAddress=x@y.z`.
    pub const ODD: &str = "MIIBPDCB7wIUKqAZxUfCsoHA7IzimeHR+RmMDyYwBQYDK2VwMEAxCzAJBgNVBAYTAlVTMQ0wCwYDVQQKDARBY21lMQwwCgYDVQQDDANvZGQxFDASBgkqhkiG9w0BCQEWBXhAeS56MCAXDTI2MTEyMTEwMzYzMVoYDzIxMjYxMDI4MTAzNjMxWjBAMQswCQYDVQQGEwJVUzENMAsGA1UECgwEQWNtZTEMMAoGA1UEAwwDb2RkMRQwEgYJKoZIhvcNAQkBFgV4QHkuejAqMAUGAytlcAMhAFLyqMCHTGZR312f5/CULKP6GZ8jZTJk45UacBOPZh1QMAUGAytlcANBAHuPNBeodFq3IU/lO43kdrJzadvRDi6QRpd9Hca0TK1c2veerjpOvKdrq8Q3PJZC4fEFfGDHpcJjV05JMuzYUws=";
    /// An empty subject and no names.
    pub const NOBODY: &str = "MIG7MG8CFD2Vc1/3MTGSuHWx4FyMN55sS/DRMAUGAytlcDAAMCAXDTI2MTEyMTEwMzYzMVoYDzIxMjYxMDI4MTAzNjMxWjAAMCowBQYDK2VwAyEAUvKowIdMZlHfXZ/n8JQso/oZnyNlMmTjlRpwE49mHVAwBQYDK2VwA0EAMA3YWPTqklnlPGUcsHzUgEZRXtMfXmfqTCN62dJG8Al0cANodgj7SPNStX1eSm8Zpgu/jSjr/HWCF7YnPg74DQ==";

    pub fn der(certificate: &str) -> Vec<u8> {
        BASE64.decode(certificate.as_bytes()).expect("base64")
    }
}

#[cfg(test)]
mod tests {
    use super::examples::{NAMES, NOBODY, ODD, PLAIN, STEPS, der};
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn what_certificates_are_called() {
        let names = Identity::of(&der(NAMES)).expect("an identity");
        assert_eq!(
            names.alternative_names,
            [
                "bob@example.org",
                "alice@example.org",
                "app.example.org",
                "spiffe://example.org/app"
            ]
        );
        assert_eq!(names.subject_texts, ["CN=Somebody"]);
        // As Go writes them.
        let steps = Identity::of(&der(STEPS)).expect("an identity");
        let plain = r"SERIALNUMBER=7,CN=bob,OU=Dev+OU=Ops,O=Acme\, Inc.";
        assert_eq!(
            steps.subject_texts,
            [&format!("{plain},DC=org,DC=example"), plain]
        );
        let plain = Identity::of(&der(PLAIN)).expect("an identity");
        assert_eq!(
            plain.subject_texts,
            ["CN=www.example.org,OU=Unit,O=Acme,C=US"]
        );
        let odd = Identity::of(&der(ODD)).expect("an identity");
        assert_eq!(odd.subject, None);
        assert_eq!(odd.subject_texts, ["CN=odd,O=Acme,C=US"]);
        assert_eq!(Identity::of(&der(NOBODY)), None);
        assert_eq!(Identity::of(b""), None);
    }

    /// The digests are openssl's.
    #[test]
    fn what_is_shown_of_certificates() {
        let expected = Summary {
            subject: "CN=www.example.org,OU=Unit,O=Acme,C=US".to_owned(),
            public_key_sha256: "fbe36d3edc97e8e6580cac2a3e508b9a2eccfcb5a38df78d4f7bb52593f5eb14"
                .to_owned(),
            sha256: "f173772d2033a9d05508b2eb503477129d615e4096c646d57373459fe43f7a0c".to_owned(),
        };
        assert_eq!(Summary::of(&der(PLAIN)), Some(expected));
        assert_eq!(Summary::of(b""), None);
    }

    #[test]
    fn comparing_subjects() {
        let steps = Identity::of(&der(STEPS))
            .and_then(|i| i.subject)
            .expect("a name");
        // Text, same in order, same in any order.
        let cases = [
            (
                r"CN=bob+SERIALNUMBER=7,O=Acme\, Inc.,OU=Ops,OU=Dev,DC=example,DC=org",
                true,
                true,
            ),
            (
                r"serialNumber=7+cn=bob, o=Acme\2c Inc. ,OU=Ops,OU=Dev,DC=example,DC=org",
                true,
                true,
            ),
            (
                r"DC=org,DC=example,OU=Dev,OU=Ops,O=Acme\, Inc.,CN=bob+serialNumber=7",
                false,
                true,
            ),
            (
                r"CN=bob,SERIALNUMBER=7,O=Acme\, Inc.,OU=Ops,OU=Dev,DC=example,DC=org",
                false,
                false,
            ),
            (
                r"CN=bob+SERIALNUMBER=7,O=Acme\, Inc.,OU=Ops,OU=Ops,DC=example,DC=org",
                false,
                false,
            ),
            (
                r"CN=bob+SERIALNUMBER=7,O=Acme\, Inc.,OU=Ops,OU=Dev,DC=example",
                false,
                false,
            ),
            (
                r"CN=Bob+SERIALNUMBER=7,O=Acme\, Inc.,OU=Ops,OU=Dev,DC=example,DC=org",
                false,
                false,
            ),
            (
                r"CN=bob+CN=bob,O=Acme\, Inc.,OU=Ops,OU=Dev,DC=example,DC=org",
                false,
                false,
            ),
        ];
        for (text, same, any_order) in cases {
            let name = DistinguishedName::parse(text).expect(text);
            assert_eq!(name.is_same(&steps), same, "{text}");
            assert_eq!(name.has_same_steps(&steps), any_order, "{text}");
            assert_eq!(steps.has_same_steps(&name), any_order, "{text}");
        }
        for wrong in [
            "", "bob", "CN", "=x", "CN=a,", "CN=a+", "CN=a,b", "CN=#04", r"CN=\", r"CN=\1",
            r"CN=\zz", r"CN=\ff",
        ] {
            assert_eq!(DistinguishedName::parse(wrong), None, "{wrong}");
        }
        let equals = DistinguishedName::parse(r"CN=a=b\ ").expect("a name");
        assert_eq!(equals.0[0].0, [("CN".to_owned(), "a=b ".to_owned())]);
    }

    #[test]
    fn changed_certificates_do_not_panic() {
        let mut random = Prng::new(5);
        for certificate in [NAMES, STEPS, PLAIN, ODD] {
            let certificate = der(certificate);
            for _ in 0..3000 {
                let mut changed = certificate.clone();
                let at = random.next_u64() as usize % changed.len();
                changed[at] = random.next_u64() as u8;
                let _ = Identity::of(&changed);
                let _ = Identity::of(&changed[..at]);
            }
        }
    }
}
