//! The text of a subject: in place if it is short, as most are, so that looking at it is one cache
//! line less, and no allocation.

const SHORT_BYTES: usize = 22;

/// See the module. As large as three words.
#[derive(Clone, Debug)]
pub enum Name {
    /// In place.
    Short(u8, [u8; SHORT_BYTES]),
    /// Elsewhere.
    Long(Box<[u8]>),
}

const _: () = assert!(size_of::<Name>() == 24);

impl Default for Name {
    fn default() -> Self {
        Self::Short(0, [0; SHORT_BYTES])
    }
}

impl From<&[u8]> for Name {
    fn from(text: &[u8]) -> Self {
        if text.len() > SHORT_BYTES {
            return Self::Long(text.into());
        }
        let mut bytes = [0; SHORT_BYTES];
        bytes[..text.len()].copy_from_slice(text);
        Self::Short(text.len() as u8, bytes)
    }
}

impl Name {
    /// The text.
    #[inline]
    pub fn text(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => &bytes[..usize::from(*len).min(SHORT_BYTES)],
            Self::Long(text) => text,
        }
    }
}
