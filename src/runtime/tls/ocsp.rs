//! OCSP (RFC 6960): what is asked about a certificate, and whether an answer may be believed.
//!
//! Bytes and the time come from outside: must not know sockets, files or how often anybody asks.
//! An answer counts if its signature is of the certificate's issuer or of a responder that the issuer
//! itself has authorised (4.2.2.2), if it is about that very certificate, and if it is current.

use std::fmt;
use std::time::Duration;

use ring::digest;
use rustls::crypto::ring::default_provider;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_cert::der::asn1::{AnyRef, BitStringRef, Null, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use x509_cert::ext::Extensions;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request, ResponseData,
    SingleResponse, TbsRequest,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::control::time::UnixNanos;

/// `id-ad-ocsp`, by which a certificate names its responders.
const RESPONDER: &str = "1.3.6.1.5.5.7.48.1";
/// `id-pe-tlsfeature` (RFC 7633), and the feature in it that demands a staple.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
const STATUS_REQUEST: u64 = 5;
/// `id-pkix-ocsp-basic`, the one kind of response there is.
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// Certificates in a response that are looked at; one is usual.
const SIGNERS_MAX: usize = 4;

/// What a response says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Good,
    Revoked,
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Good => "good",
            Status::Revoked => "revoked",
            Status::Unknown => "unknown",
        })
    }
}

/// A response that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staple {
    der: Vec<u8>,
    status: Status,
    until: Option<UnixTime>,
}

impl Staple {
    /// As it came, for clients.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub fn status(&self) -> Status {
        self.status
    }

    /// Its `nextUpdate`: it may be believed before this time. Without one, for ever.
    pub fn until(&self) -> Option<UnixTime> {
        self.until
    }

    pub fn is_current(&self, now: UnixTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// A certificate and who has issued it: what a responder is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    certificate: CertificateDer<'static>,
    issuer: CertificateDer<'static>,
    serial: SerialNumber,
}

impl Inquiry {
    /// # Errors
    /// One of the two is no certificate, or has a serial number that there is none of.
    pub fn new(
        certificate: CertificateDer<'static>,
        issuer: CertificateDer<'static>,
    ) -> Result<Self, String> {
        parse(&issuer)?;
        let raw = parse(&certificate)?.raw_serial().to_vec();
        let integer = AnyRef::new(Tag::Integer, &raw).and_then(|integer| integer.to_der());
        let serial = integer
            .and_then(|der| SerialNumber::from_der(&der))
            .map_err(|error| format!("serial number of the certificate: {error}"))?;
        Ok(Self {
            certificate,
            issuer,
            serial,
        })
    }

    /// The responders that the certificate names.
    pub fn responders(&self) -> Vec<String> {
        let Ok(certificate) = parse(&self.certificate) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for extension in certificate.extensions() {
            let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
                continue;
            };
            for place in &access.accessdescs {
                if let GeneralName::URI(address) = place.access_location
                    && place.access_method.to_id_string() == RESPONDER
                {
                    found.push(address.to_owned());
                }
            }
        }
        found
    }

    /// The request. Names are hashed by SHA-1, which is what all responders know; nothing rests on
    /// it, as the answer is signed by other means.
    ///
    /// # Errors
    /// It would be too large.
    pub fn request(&self) -> Result<Vec<u8>, String> {
        let wrong = |error: x509_cert::der::Error| format!("cannot make an OCSP request: {error}");
        let (name, key) = self.issuer_hashes(&digest::SHA1_FOR_LEGACY_USE_ONLY)?;
        let id = CertId {
            hash_algorithm: AlgorithmIdentifierOwned {
                oid: SHA_1,
                parameters: Some(Null.into()),
            },
            issuer_name_hash: OctetString::new(name.as_ref()).map_err(wrong)?,
            issuer_key_hash: OctetString::new(key.as_ref()).map_err(wrong)?,
            serial_number: self.serial.clone(),
        };
        let request = OcspRequest {
            tbs_request: TbsRequest {
                request_list: vec![Request {
                    req_cert: id,
                    single_request_extensions: None,
                }],
                ..TbsRequest::default()
            },
            optional_signature: None,
        };
        request.to_der().map_err(wrong)
    }

    /// Believes a response, or does not.
    ///
    /// # Errors
    /// Why not.
    pub fn read(&self, response: Vec<u8>, now: UnixTime) -> Result<Staple, String> {
        let (status, until) = self.judge(&response, now)?;
        Ok(Staple {
            der: response,
            status,
            until,
        })
    }

    fn judge(&self, response: &[u8], now: UnixTime) -> Result<(Status, Option<UnixTime>), String> {
        let wrong = |error: x509_cert::der::Error| format!("ocsp: malformed response: {error}");
        let response = OcspResponse::from_der(response).map_err(wrong)?;
        if response.response_status != OcspResponseStatus::Successful {
            let text = refusal(response.response_status);
            return Err(format!("ocsp: error from server: {text}"));
        }
        let Some(bytes) = response.response_bytes.filter(|b| b.response_type == BASIC) else {
            return Err("ocsp: not a basic response".to_owned());
        };
        let signed = Signed::parse(bytes.response.as_bytes()).map_err(wrong)?;
        self.verify(&signed, now)?;
        let said = ResponseData::from_der(signed.message).map_err(wrong)?;
        if is_critical(said.response_extensions.as_ref()) {
            return Err("ocsp: unsupported critical extension".to_owned());
        }
        let single = said.responses.iter().find(|single| self.is_about(single));
        let Some(single) = single else {
            return Err("ocsp: the response is about another certificate".to_owned());
        };
        if is_critical(single.single_extensions.as_ref()) {
            return Err("ocsp: unsupported critical extension".to_owned());
        }
        let since = single.this_update.0.to_unix_duration();
        let until = single.next_update.map(|time| time.0.to_unix_duration());
        let until = until.map(UnixTime::since_unix_epoch);
        if let Some(until) = until.filter(|until| *until <= now) {
            let time = shown(until);
            return Err(format!("invalid ocsp NextUpdate, is past time: {time}"));
        }
        let since = UnixTime::since_unix_epoch(since);
        if since > now {
            let time = shown(since);
            return Err(format!("invalid ocsp ThisUpdate, is future time: {time}"));
        }
        let status = match single.cert_status {
            CertStatus::Good(_) => Status::Good,
            CertStatus::Revoked(_) => Status::Revoked,
            CertStatus::Unknown(_) => Status::Unknown,
        };
        Ok((status, until))
    }

    /// Whether the issuer answers for it.
    fn verify(&self, response: &Signed<'_>, now: UnixTime) -> Result<(), String> {
        let issuer = parse(&self.issuer)?;
        if response.is_by(&issuer) {
            return Ok(());
        }
        let mut why = "ocsp: the signature is not that of the issuer";
        for signer in response.certificates.iter().take(SIGNERS_MAX) {
            let Ok(der) = parse(signer) else {
                continue;
            };
            if !response.is_by(&der) {
                continue;
            }
            match authorised(&der, signer, &issuer, now) {
                Ok(()) => return Ok(()),
                Err(text) => why = text,
            }
        }
        Err(why.to_owned())
    }

    fn is_about(&self, single: &SingleResponse) -> bool {
        let id = &single.cert_id;
        let algorithm = match id.hash_algorithm.oid {
            SHA_1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            SHA_256 => &digest::SHA256,
            _ => return false,
        };
        let Ok((name, key)) = self.issuer_hashes(algorithm) else {
            return false;
        };
        id.serial_number == self.serial
            && id.issuer_name_hash.as_bytes() == name.as_ref()
            && id.issuer_key_hash.as_bytes() == key.as_ref()
    }

    /// Of the issuer's name and of its key.
    fn issuer_hashes(
        &self,
        algorithm: &'static digest::Algorithm,
    ) -> Result<(digest::Digest, digest::Digest), String> {
        let issuer = parse(&self.issuer)?;
        let key = &issuer.public_key().subject_public_key.data;
        Ok((
            digest::digest(algorithm, issuer.subject().as_raw()),
            digest::digest(algorithm, key),
        ))
    }
}

/// Whether a certificate demands that it is shown with a staple.
pub fn must_staple(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|certificate| {
        let mut extensions = certificate.extensions().iter();
        extensions
            .find(|extension| extension.oid.to_id_string() == TLS_FEATURE)
            .and_then(|extension| <Vec<u64> as Decode>::from_der(extension.value).ok())
            .is_some_and(|features| features.contains(&STATUS_REQUEST))
    })
}

/// Who has issued the first certificate of a chain: the second one or, if it is alone, one of the
/// authorities.
///
/// # Errors
/// It was none of them, or one that may not.
pub fn issuer_of(
    chain: &[CertificateDer<'static>],
    authorities: impl FnOnce() -> Result<Vec<CertificateDer<'static>>, String>,
) -> Result<CertificateDer<'static>, String> {
    let (certificate, candidates) = match chain {
        [] => return Err("no certificate found".to_owned()),
        [only] => (only, authorities()?),
        [first, second, ..] => (first, vec![second.clone()]),
    };
    let signed = Signed::parse(certificate).map_err(|error| error.to_string())?;
    let parsed = parse(certificate)?;
    for candidate in candidates {
        let Ok(issuer) = parse(&candidate) else {
            continue;
        };
        if issuer.subject().as_raw() != parsed.issuer().as_raw() || !signed.is_by(&issuer) {
            continue;
        }
        if !issuer.is_ca() {
            let subject = issuer.subject();
            return Err(format!("{subject} invalid ca basic constraints: is not ca"));
        }
        return Ok(candidate);
    }
    Err("no issuers found".to_owned())
}

/// Whether an issuer has authorised this signer to speak for it: directly, for OCSP, and now.
fn authorised(
    signer: &X509Certificate<'_>,
    der: &[u8],
    issuer: &X509Certificate<'_>,
    now: UnixTime,
) -> Result<(), &'static str> {
    let of_issuer = signer.issuer().as_raw() == issuer.subject().as_raw()
        && Signed::parse(der).is_ok_and(|signed| signed.is_by(issuer));
    if !of_issuer {
        return Err("ocsp: the responder's certificate is not of the issuer");
    }
    let usage = signer.extended_key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.ocsp_signing) {
        return Err("ocsp: the issuer has not authorised the responder");
    }
    let strange = |extension: &&x509_parser::extensions::X509Extension<'_>| {
        extension.critical && extension.parsed_extension().unsupported()
    };
    if signer.extensions().iter().any(|e| strange(&e)) {
        return Err("ocsp: unsupported critical extension of the responder's certificate");
    }
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = signer.validity();
    if now < validity.not_before.timestamp() || now > validity.not_after.timestamp() {
        return Err("ocsp: the responder's certificate has expired or is not yet valid");
    }
    Ok(())
}

/// What a certificate and a basic response have in common: bytes, and a signature of those bytes.
struct Signed<'a> {
    message: &'a [u8],
    /// The content of the algorithm's identifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// Those that a response brings along.
    certificates: Vec<CertificateDer<'a>>,
}

impl<'a> Signed<'a> {
    /// Takes the pieces as they are: what was encoded differently from how this would encode it has
    /// another signature.
    fn parse(der: &'a [u8]) -> x509_cert::der::Result<Self> {
        let whole = AnyRef::from_der(der)?;
        whole.tag().assert_eq(Tag::Sequence)?;
        let mut reader = SliceReader::new(whole.value())?;
        let message = reader.tlv_bytes()?;
        let algorithm: AnyRef<'a> = reader.decode()?;
        algorithm.tag().assert_eq(Tag::Sequence)?;
        let signature: BitStringRef<'a> = reader.decode()?;
        let mut certificates = Vec::new();
        if !reader.is_finished() {
            let wrapped: AnyRef<'a> = reader.decode()?;
            wrapped.tag().assert_eq(Tag::ContextSpecific {
                constructed: true,
                number: TagNumber::N0,
            })?;
            let list = AnyRef::from_der(wrapped.value())?;
            list.tag().assert_eq(Tag::Sequence)?;
            if !reader.is_finished() {
                return Err(Tag::Sequence.value_error());
            }
            let mut list = SliceReader::new(list.value())?;
            while !list.is_finished() {
                certificates.push(CertificateDer::from(list.tlv_bytes()?));
            }
        }
        Ok(Self {
            message,
            algorithm: algorithm.value(),
            signature: signature.as_bytes().unwrap_or_default(),
            certificates,
        })
    }

    /// Whether the signature is one of this certificate's key.
    fn is_by(&self, certificate: &X509Certificate<'_>) -> bool {
        let info = certificate.public_key();
        let Ok(key_algorithm) = key_algorithm(info.raw) else {
            return false;
        };
        let key = &info.subject_public_key.data;
        default_provider()
            .signature_verification_algorithms
            .all
            .iter()
            .filter(|known| known.signature_alg_id().as_ref() == self.algorithm)
            .filter(|known| known.public_key_alg_id().as_ref() == key_algorithm)
            .any(|known| {
                known
                    .verify_signature(key, self.message, self.signature)
                    .is_ok()
            })
    }
}

/// The content of the algorithm's identifier in a public key info.
fn key_algorithm(info: &[u8]) -> x509_cert::der::Result<&[u8]> {
    let mut reader = SliceReader::new(AnyRef::from_der(info)?.value())?;
    let algorithm: AnyRef<'_> = reader.decode()?;
    Ok(algorithm.value())
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| format!("error parsing certificate: {error}"))
}

/// When a certificate ends; `None` where it is none, or has ended before 1970.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let end = parse(certificate).ok()?.validity().not_after.timestamp();
    let seconds = u64::try_from(end).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

fn is_critical(extensions: Option<&Extensions>) -> bool {
    extensions.is_some_and(|extensions| extensions.iter().any(|extension| extension.critical))
}

fn refusal(status: OcspResponseStatus) -> &'static str {
    match status {
        OcspResponseStatus::Successful => "success",
        OcspResponseStatus::MalformedRequest => "malformed",
        OcspResponseStatus::InternalError => "internal error",
        OcspResponseStatus::TryLater => "try later",
        OcspResponseStatus::SigRequired => "signature required",
        OcspResponseStatus::Unauthorized => "unauthorized",
    }
}

/// A time as nats-server's log has it.
pub fn shown(time: UnixTime) -> String {
    let since = Duration::from_secs(time.as_secs());
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)).text()
}

#[cfg(test)]
#[path = "../../../tests/harness/answers.rs"]
mod answers;

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::answers::{Answer, Said};
    use super::*;
    use crate::base::prng::Prng;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn issuer(name: &str, is_ca: IsCa) -> Issuer {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let common_name = rcgen::DnType::CommonName;
        params.distinguished_name.push(common_name, name);
        params.is_ca = is_ca;
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn authority(name: &str) -> Issuer {
        issuer(name, IsCa::Ca(BasicConstraints::Unconstrained))
    }

    fn certificate(issuer: &Issuer) -> CertificateDer<'static> {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, issuer).unwrap().der().clone()
    }

    fn later(seconds: u64) -> UnixTime {
        let at = UnixTime::now().as_secs() + seconds;
        UnixTime::since_unix_epoch(Duration::from_secs(at))
    }

    #[test]
    fn a_changed_response_is_not_believed() {
        let authority = authority("authority");
        let inquiry = Inquiry::new(certificate(&authority), authority.der().clone()).unwrap();
        let request = inquiry.request().unwrap();
        let right = Answer::good(100).to(&request, authority.key());
        let now = later(0);
        let staple = inquiry.read(right.clone(), now).unwrap();
        assert_eq!((staple.der(), staple.status()), (&right[..], Status::Good));
        let mut prng = Prng::new(7);
        for _ in 0..4000 {
            let mut wrong = right.clone();
            let at = prng.below(wrong.len() as u32) as usize;
            match prng.below(3) {
                0 => wrong.truncate(at),
                1 => wrong[at] = prng.next_u64() as u8,
                _ => wrong.insert(at, prng.next_u64() as u8),
            }
            let changed = wrong != right;
            assert!(
                !changed || inquiry.read(wrong.clone(), now).is_err(),
                "{wrong:02x?}"
            );
        }
    }

    #[test]
    fn a_response_is_believed_for_its_time() {
        let authority = authority("authority");
        let inquiry = Inquiry::new(certificate(&authority), authority.der().clone()).unwrap();
        let request = inquiry.request().unwrap();
        let answer = Answer::good(100).to(&request, authority.key());
        for (after_s, believed) in [(0, true), (90, true), (110, false)] {
            let read = inquiry.read(answer.clone(), later(after_s));
            assert_eq!(read.is_ok(), believed, "after {after_s} s: {read:?}");
        }
        let staple = inquiry.read(answer, later(0)).unwrap();
        assert!(staple.is_current(later(90)) && !staple.is_current(later(110)));
    }

    #[test]
    fn what_a_response_says() {
        let authority = authority("authority");
        let inquiry = Inquiry::new(certificate(&authority), authority.der().clone()).unwrap();
        let request = inquiry.request().unwrap();
        for (said, status) in [
            (Said::Good, Status::Good),
            (Said::Revoked, Status::Revoked),
            (Said::Unknown, Status::Unknown),
        ] {
            let answer = Answer {
                said,
                ..Answer::good(100)
            };
            let staple = inquiry.read(answer.to(&request, authority.key()), later(0));
            assert_eq!(staple.map(|staple| staple.status()), Ok(status));
        }
    }

    #[test]
    fn who_the_issuer_is() {
        let (right, namesake, other) = (
            authority("authority"),
            authority("authority"),
            authority("other"),
        );
        let none = issuer("none", IsCa::NoCa);
        let (leaf, of_none) = (certificate(&right), certificate(&none));
        let der = |issuer: &Issuer| issuer.der().clone();
        let not_found = Err("no issuers found".to_owned());
        let cases = [
            (vec![leaf.clone(), der(&right)], vec![], Ok(der(&right))),
            (
                vec![leaf.clone(), der(&other)],
                vec![der(&right)],
                not_found.clone(),
            ),
            (
                vec![leaf.clone()],
                vec![der(&other), der(&namesake), der(&right)],
                Ok(der(&right)),
            ),
            (vec![leaf.clone()], vec![], not_found.clone()),
            (
                vec![of_none, der(&none)],
                vec![],
                Err("CN=none invalid ca basic constraints: is not ca".to_owned()),
            ),
            (
                vec![leaf],
                vec![CertificateDer::from(vec![1, 2])],
                not_found,
            ),
            (vec![], vec![], Err("no certificate found".to_owned())),
        ];
        for (number, (chain, authorities, expected)) in cases.into_iter().enumerate() {
            let found = issuer_of(&chain, || Ok(authorities));
            assert_eq!(found, expected, "case {number}");
        }
    }

    #[test]
    fn who_demands_a_staple() {
        let authority = authority("authority");
        for (features, demands) in [
            (&[0x30, 3, 2, 1, 5][..], true),
            (&[0x30, 6, 2, 1, 17, 2, 1, 5], true),
            (&[0x30, 3, 2, 1, 17], false),
            (&[0x30, 0], false),
            (&[0x30, 3, 2, 1, 5, 0], false),
            (&[2, 1, 5], false),
        ] {
            let mut params = CertificateParams::default();
            let feature = &[1, 3, 6, 1, 5, 5, 7, 1, 24];
            let extension = rcgen::CustomExtension::from_oid_content(feature, features.to_vec());
            params.custom_extensions = vec![extension];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            assert_eq!(must_staple(certificate.der()), demands, "{features:?}");
        }
        assert!(!must_staple(authority.der()));
    }
}
