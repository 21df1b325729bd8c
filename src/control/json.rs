//! How values are written so that they look like nats-server's: what is left out when empty, and
//! numbers of Go's `float64`.

use serde::{Serialize, Serializer};

/// JSON on one line.
pub fn compact<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain fields always serialise")
}

/// JSON on many lines, indented by so much for each level.
pub fn pretty<T: Serialize>(value: &T, indent: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value
        .serialize(&mut serializer)
        .expect("plain fields always serialise");
    bytes
}

/// For `skip_serializing_if`: Go's `omitempty` for anything that has a default.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A `float64`: whole numbers have no fraction.
pub fn float<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Above this not every whole number is exact, and it is written with an exponent anyway.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f64(*value)
    }
}

/// Seconds of a duration in milliseconds.
pub fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Nanoseconds of a duration in milliseconds.
pub fn nanos(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}
