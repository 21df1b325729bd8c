//! `meta.inf`: when a stream or consumer was made, and its configuration, as JSON.

use serde_json::{Map, Value};

use super::super::Damage;
use super::Checksum;
use crate::jetstream::api::time;
use crate::store::UnixNanos;

/// What is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// When it was made; 0 when that is not known.
    pub created: UnixNanos,
    /// The name of the stream or consumer.
    pub name: String,
    /// The configuration, as the API writes it.
    pub config_json: String,
}

/// Checks `meta.inf`, which may be encrypted, against `meta.sum`.
///
/// # Errors
/// When they are not of each other.
pub fn verify_meta(meta: &[u8], sum: &[u8], checksum: &Checksum) -> Result<(), Damage> {
    match data_encoding::HEXLOWER
        .encode(&checksum.over(&[meta]))
        .as_bytes()
        == sum
    {
        true => Ok(()),
        false => Err(Damage::at(0, "meta.inf is not what meta.sum was made of")),
    }
}

/// Reads `meta.inf`, decrypted.
///
/// # Errors
/// When it is not such JSON.
pub fn read_meta(meta: &[u8]) -> Result<Meta, Damage> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(meta).map_err(|_| Damage::at(0, "meta.inf is not JSON"))?;
    let created = match fields.shift_remove("Created") {
        None => 0,
        Some(created) => (created.as_str().and_then(time_of))
            .ok_or(Damage::at(0, "meta.inf was made at no time"))?,
    };
    // A consumer has its name twice, the second time where streams have theirs.
    let own = fields.shift_remove("Name");
    let name = [own.as_ref(), fields.get("name"), fields.get("durable_name")]
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|name| !name.is_empty())
        .ok_or(Damage::at(0, "meta.inf without a name"))?
        .to_owned();
    Ok(Meta {
        created,
        name,
        config_json: Value::Object(fields).to_string(),
    })
}

/// A time as JSON has it (RFC 3339), in nanoseconds since 1970; 0 for Go's zero time. None when it is
/// none.
pub fn time_of(text: &str) -> Option<UnixNanos> {
    match time::parse(text).ok()? {
        time::NEVER => Some(0),
        time => Some(time),
    }
}
