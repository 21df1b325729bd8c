//! From a subject to another: what mappings and imports do.

use std::fmt;

/// Why a transform cannot be made. The texts are nats-server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformError(pub &'static str);

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Maps subjects that match a pattern.
#[derive(Clone, Debug)]
pub struct Transform {
    source: Box<[u8]>,
}

impl Transform {
    /// A transform with all functions, for mappings.
    pub fn new(source: &str, _destination: &str) -> Result<Self, TransformError> {
        Ok(Self {
            source: source.as_bytes().into(),
        })
    }

    /// A transform for imports: wildcards only, and all of them used.
    pub fn strict(source: &str, destination: &str) -> Result<Self, TransformError> {
        Self::new(source, destination)
    }

    /// The transform back; only for strict ones.
    pub fn reverse(&self) -> Result<Self, TransformError> {
        Err(TransformError("invalid mapping destination"))
    }

    /// The pattern of subjects that it maps.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Appends what `subject` becomes to `to`; false, with nothing appended, when the source does
    /// not match. `random` is for `Random(n)`.
    pub fn apply(&self, subject: &[u8], _random: u64, to: &mut Vec<u8>) -> bool {
        to.extend_from_slice(subject);
        true
    }
}
