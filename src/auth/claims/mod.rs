//! JSON Web Tokens as NATS uses them (ADR-14, nats-io/jwt version 2): what operators say about
//! accounts and accounts about users, each signed with the issuer's nkey.
//!
//! [`decode`] is total: any text gives claims or an error, in bounded time and memory. It vouches
//! for the signature and for the kind of the issuer's key, and for nothing else: who the issuer
//! is, whether the claims are sound and whether they hold now is asked of each kind (`check`) and
//! by [`super::gate`]. Fields that nobody needs are passed over; names are matched exactly.

pub mod account;
pub mod activation;
pub mod authorization;
pub mod definition;
mod exchange;
mod fields;
pub mod operator;
mod parts;
mod restrictions;
#[cfg(test)]
mod tests;
pub mod user;

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use serde_json::{Map, Value};
use sha2::{Digest, Sha512_256};

use super::nkey::{KeyKind, PublicKey, SigningKey};
use fields::Fields;

pub use account::{AccountClaims, Scope};
pub use activation::ActivationClaims;
pub use authorization::ResponseClaims;
pub use exchange::{ExportClaims, ExportType, ImportClaims};
pub use operator::OperatorClaims;
pub use parts::{JetStreamLimits, PermissionClaims, Revocations, UserLimits, with_responses_only};
pub use restrictions::Within;
pub use user::UserClaims;

/// Bytes of a token; what is longer is refused unread.
pub const TOKEN_BYTES_MAX: usize = 1024 * 1024;
/// Newest version of claims that is understood.
const VERSION: i64 = 2;

/// Claims of any kind whose signature is right.
#[derive(Clone, Debug)]
pub enum Claims {
    Operator(Box<OperatorClaims>),
    Account(Box<AccountClaims>),
    User(Box<UserClaims>),
    Activation(Box<ActivationClaims>),
    /// What a server asks an authorization service; only services read its content.
    AuthorizationRequest(Box<Common>),
    AuthorizationResponse(Box<ResponseClaims>),
    /// Of a kind of its own, like a request to delete accounts.
    Generic(Box<GenericClaims>),
}

/// What all claims have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Common {
    pub audience: String,
    /// Unix time in seconds; 0 for never.
    pub expires: i64,
    pub id: String,
    /// Unix time in seconds.
    pub issued_at: i64,
    /// A public key; the signature is its.
    pub issuer: String,
    pub name: String,
    /// Unix time in seconds; 0 for always.
    pub not_before: i64,
    pub subject: String,
    /// In lower case, as the tools write them.
    pub tags: Vec<String>,
    pub version: i64,
}

impl Common {
    /// Whether they hold at this time.
    ///
    /// # Errors
    /// They have expired or do not hold yet.
    pub fn check_time(&self, now_unix_s: u64) -> Result<(), ClaimsError> {
        let now = i64::try_from(now_unix_s).unwrap_or(i64::MAX);
        if self.expires > 0 && now > self.expires {
            return Err(ClaimsError::Expired);
        }
        if self.not_before > now {
            return Err(ClaimsError::NotYet);
        }
        Ok(())
    }

    fn issuer_is(&self, kinds: &[KeyKind]) -> bool {
        PublicKey::parse(&self.issuer).is_some_and(|key| kinds.contains(&key.kind))
    }
}

/// Claims of a kind that only their reader knows.
#[derive(Clone, Debug)]
pub struct GenericClaims {
    pub common: Common,
    /// The `nats` object.
    pub content: Map<String, Value>,
}

/// Why a text is no claims, or claims are not sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimsError {
    TooLarge,
    /// Not three parts in base 64.
    Malformed,
    /// The header names something else than a token signed with an nkey.
    Header,
    /// Not JSON, or too deep.
    Json,
    /// This field has a wrong type or an unknown value.
    Field(&'static str),
    /// Written by a newer library, or by none that is known.
    Version,
    Signature,
    /// A key of this kind must not issue claims of that kind.
    Issuer,
    /// Claims of another kind were asked for.
    Kind,
    Expired,
    NotYet,
    /// The content breaks a rule, which the text names.
    Content(String),
}

impl fmt::Display for ClaimsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimsError::TooLarge => f.write_str("token is too large"),
            ClaimsError::Malformed => f.write_str("token is not three parts in base64"),
            ClaimsError::Header => f.write_str("token has an unsupported type or algorithm"),
            ClaimsError::Json => f.write_str("claims are not valid JSON"),
            ClaimsError::Field(name) => write!(f, "claims have a wrong value in {name:?}"),
            ClaimsError::Version => f.write_str("claims are of an unknown version"),
            ClaimsError::Signature => f.write_str("signature of the claims is not valid"),
            ClaimsError::Issuer => f.write_str("claims are issued by a key of a wrong kind"),
            ClaimsError::Kind => f.write_str("claims are of another kind"),
            ClaimsError::Expired => f.write_str("claim is expired"),
            ClaimsError::NotYet => f.write_str("claim is not yet valid"),
            ClaimsError::Content(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ClaimsError {}

/// Whether a text begins like a token: all headers begin with `{"`.
pub fn looks_like_token(text: &[u8]) -> bool {
    text.starts_with(b"eyJ")
}

/// Reads claims of any kind and verifies their signature.
///
/// # Errors
/// The text is no token, or its signature does not fit.
pub fn decode(token: &str) -> Result<Claims, ClaimsError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(ClaimsError::TooLarge);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(ClaimsError::Malformed);
    };
    check_header(&parse(header)?)?;
    let signature = decode_part(signature)?;
    let body_json = parse(body)?;
    let fields = Fields::of(&body_json, "claims")?;
    let nats = fields.object("nats")?;
    // Version 1 had type and tags beside the content, not in it, and did not sign the header.
    let old_type = fields.text("type")?;
    let (kind, version, other) = if old_type.is_empty() {
        (nats.text("type")?, nats.integer("version")?, nats)
    } else {
        (old_type, 1, fields)
    };
    if version > VERSION {
        return Err(ClaimsError::Version);
    }
    let common = Common {
        audience: fields.text("aud")?,
        expires: fields.integer("exp")?,
        id: fields.text("jti")?,
        issued_at: fields.integer("iat")?,
        issuer: fields.text("iss")?,
        name: fields.text("name")?,
        not_before: fields.integer("nbf")?,
        subject: fields.text("sub")?,
        tags: other.texts("tags")?,
        version,
    };
    let whole = &token.as_bytes()[..header.len() + 1 + body.len()];
    let signed = if version <= 1 { body.as_bytes() } else { whole };
    let issuer = PublicKey::parse(&common.issuer).ok_or(ClaimsError::Issuer)?;
    // Generic claims say no version, whichever library wrote them.
    let unversioned = version == 0 && issuer.verify(whole, &signature);
    if !unversioned && !issuer.verify(signed, &signature) {
        return Err(ClaimsError::Signature);
    }
    build(&kind, common, nats, other)
}

fn build(
    kind: &str,
    common: Common,
    nats: Fields<'_>,
    other: Fields<'_>,
) -> Result<Claims, ClaimsError> {
    use KeyKind::{Account, Operator, Server};
    let (issuers, versioned): (&[KeyKind], bool) = match kind {
        "operator" => (&[Operator], true),
        "account" | "activation" => (&[Account, Operator], true),
        "user" => (&[Account], true),
        "authorization_request" => (&[Server], false),
        "authorization_response" => (&[Account], false),
        "cluster" | "server" => return Err(ClaimsError::Kind),
        _ => {
            let content = nats.entries().map(|(k, v)| (k.clone(), v.clone()));
            return Ok(Claims::Generic(Box::new(GenericClaims {
                common,
                content: content.collect(),
            })));
        }
    };
    if !common.issuer_is(issuers) {
        return Err(ClaimsError::Issuer);
    }
    if versioned && !(1..=VERSION).contains(&common.version) {
        return Err(ClaimsError::Version);
    }
    Ok(match kind {
        "operator" => Claims::Operator(Box::new(OperatorClaims::read(common, nats)?)),
        "account" => Claims::Account(Box::new(AccountClaims::read(common, nats)?)),
        "user" => Claims::User(Box::new(UserClaims::read(common, nats, other)?)),
        "activation" => Claims::Activation(Box::new(ActivationClaims::read(common, nats, other)?)),
        "authorization_request" => Claims::AuthorizationRequest(Box::new(common)),
        _ => Claims::AuthorizationResponse(Box::new(ResponseClaims::read(common, nats)?)),
    })
}

impl Claims {
    /// What all kinds have.
    pub fn common(&self) -> &Common {
        match self {
            Claims::Operator(claims) => &claims.common,
            Claims::Account(claims) => &claims.common,
            Claims::User(claims) => &claims.common,
            Claims::Activation(claims) => &claims.common,
            Claims::AuthorizationRequest(common) => common,
            Claims::AuthorizationResponse(claims) => &claims.common,
            Claims::Generic(claims) => &claims.common,
        }
    }
}

/// The token in a file: bare, or between lines of dashes as the tools decorate it.
pub fn undecorated(text: &str) -> Option<&str> {
    let is_token = |line: &&str| {
        looks_like_token(line.as_bytes()) && line.bytes().filter(|&b| b == b'.').count() == 2
    };
    text.lines().map(str::trim).find(is_token)
}

/// Writes and signs a token. `claims` is the body without `iss`, `iat` and `jti`; `subject` and
/// times are the caller's.
pub fn encode(mut claims: Map<String, Value>, issued_at: u64, key: &SigningKey) -> String {
    claims.insert("iat".into(), issued_at.into());
    claims.insert("iss".into(), key.public().to_string().into());
    // The library hashes the claims without their content; any text that differs will do.
    let unnamed = Value::Object(claims.clone()).to_string();
    let id = BASE32_NOPAD.encode(&Sha512_256::digest(unnamed.as_bytes()));
    claims.insert("jti".into(), id.into());
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = BASE64URL_NOPAD.encode(Value::Object(claims).to_string().as_bytes());
    let signed = format!("{header}.{body}");
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn decode_part(part: &str) -> Result<Vec<u8>, ClaimsError> {
    BASE64URL_NOPAD
        .decode(part.as_bytes())
        .map_err(|_| ClaimsError::Malformed)
}

/// serde_json refuses more than 128 levels.
fn parse(part: &str) -> Result<Value, ClaimsError> {
    serde_json::from_slice(&decode_part(part)?).map_err(|_| ClaimsError::Json)
}

fn check_header(header: &Value) -> Result<(), ClaimsError> {
    let fields = Fields::of(header, "header")?;
    let algorithm = fields.text("alg")?.to_ascii_lowercase();
    let fits = fields.text("typ")?.eq_ignore_ascii_case("JWT")
        && matches!(algorithm.as_str(), "ed25519" | "ed25519-nkey");
    fits.then_some(()).ok_or(ClaimsError::Header)
}

/// Makes an error of a rule that is broken.
fn broken(rule: impl Into<String>) -> ClaimsError {
    ClaimsError::Content(rule.into())
}
