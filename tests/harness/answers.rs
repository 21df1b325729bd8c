//! Answers of OCSP responders, right and wrong ones. Knows nothing about sockets.

use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, SigningKey};
use x509_cert::der::asn1::{BitString, Null, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    AsResponseBytes, BasicOcspResponse, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse,
    ResponderId, ResponseData, RevokedInfo, SingleResponse, Version,
};

const ECDSA_WITH_SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "not every test needs all")]
pub enum Said {
    Good,
    Revoked,
    Unknown,
}

/// What an answer says, apart from who signs it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub said: Said,
    /// Seconds from now.
    pub since_s: i64,
    pub until_s: Option<i64>,
    /// It is about the certificate that was asked for, and not about another of the same issuer.
    pub about_it: bool,
    /// The certificates that come along, in DER.
    pub certificates: Vec<Vec<u8>>,
}

impl Answer {
    /// Good from now on, for so long.
    pub fn good(until_s: i64) -> Self {
        Self {
            said: Said::Good,
            since_s: 0,
            until_s: Some(until_s),
            about_it: true,
            certificates: Vec::new(),
        }
    }

    /// The answer to a request, signed with this key.
    pub fn to(&self, request: &[u8], key: &KeyPair) -> Vec<u8> {
        let request = OcspRequest::from_der(request).expect("the request is well-formed");
        let mut cert_id = request.tbs_request.request_list[0].req_cert.clone();
        if !self.about_it {
            cert_id.serial_number =
                x509_cert::serial_number::SerialNumber::new(&[1, 2, 3]).unwrap();
        }
        let cert_status = match self.said {
            Said::Good => CertStatus::Good(Null),
            Said::Revoked => CertStatus::Revoked(RevokedInfo {
                revocation_time: time(-3600),
                revocation_reason: None,
            }),
            Said::Unknown => CertStatus::Unknown(Null),
        };
        let key_hash = ring::digest::digest(
            &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            rcgen::PublicKeyData::der_bytes(key),
        );
        let tbs_response_data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByKey(OctetString::new(key_hash.as_ref()).unwrap()),
            produced_at: time(0),
            responses: vec![SingleResponse {
                cert_id,
                cert_status,
                this_update: time(self.since_s),
                next_update: self.until_s.map(time),
                single_extensions: None,
            }],
            response_extensions: None,
        };
        let signature = key.sign(&tbs_response_data.to_der().unwrap()).unwrap();
        let certificates = self.certificates.iter();
        let certificates: Vec<_> = certificates
            .map(|der| x509_cert::Certificate::from_der(der).unwrap())
            .collect();
        let basic = BasicOcspResponse {
            tbs_response_data,
            signature_algorithm: AlgorithmIdentifierOwned {
                oid: ECDSA_WITH_SHA_256,
                parameters: None,
            },
            signature: BitString::from_bytes(&signature).unwrap(),
            certs: (!certificates.is_empty()).then_some(certificates),
        };
        let response = OcspResponse {
            response_status: x509_ocsp::OcspResponseStatus::Successful,
            response_bytes: Some(basic.to_response_bytes().unwrap()),
        };
        response.to_der().unwrap()
    }
}

fn time(from_now_s: i64) -> OcspGeneralizedTime {
    let distance = Duration::from_secs(from_now_s.unsigned_abs());
    let now = SystemTime::now();
    let at = if from_now_s < 0 {
        now - distance
    } else {
        now + distance
    };
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let whole = Duration::from_secs(since.as_secs());
    let time = x509_cert::der::asn1::GeneralizedTime::from_unix_duration(whole).unwrap();
    OcspGeneralizedTime(time)
}
