//! Moving in: what a nats-server's store holds, read from its files and checked on the way.
//!
//! It reads through a [`Source`] and never has more than one block of messages in memory. It must not
//! know files, or where what it reads goes to.

mod keys;
mod moving;
#[cfg(test)]
mod samples;
mod stream;

pub use keys::Keys;
pub use moving::{Checked, Checking, Definitions, Moving};
pub use stream::{Consumer, Stream, Tally};

use std::fmt;

use crate::jetstream::snapshot::Damage;

/// Files that are read and never written. Paths are below the store's folder, with `/` between.
pub trait Source {
    /// Names of files and folders in a folder, sorted; None when there is no such folder.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn list(&mut self, folder: &str) -> Result<Option<Vec<String>>, String>;

    /// All of a file; None when there is none.
    ///
    /// # Errors
    /// Why it cannot be read; also when it is longer than `max_bytes`.
    fn read(&mut self, file: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, String>;
}

/// Something that is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file or folder.
    pub file: String,
    /// What is wrong with it, and at which offset if there is one.
    pub what: String,
}

impl Fault {
    fn new(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            what: what.into(),
        }
    }

    fn damaged(file: &str, damage: Damage) -> Self {
        Self::new(file, damage.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

/// Where a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its account.
    pub account: String,
    /// Its name.
    pub stream: String,
}

impl Place {
    pub(crate) fn folder(&self) -> String {
        format!("{}/streams/{}", self.account, self.stream)
    }
}

/// The streams of a store, and whether it was part of a cluster: then the last changes may be in
/// logs of the cluster alone, which are not read.
///
/// # Errors
/// When a folder cannot be read.
pub fn streams(source: &mut impl Source) -> Result<(Vec<Place>, bool), Fault> {
    const CLUSTER_LOGS: &str = "_js_";
    let mut places = Vec::new();
    let mut is_clustered = false;
    let mut list = |folder: &str| {
        let names = source.list(folder).map_err(|why| Fault::new(folder, why))?;
        Ok(names.unwrap_or_default())
    };
    for account in list("")? {
        is_clustered |= list(&account)?.iter().any(|name| name == CLUSTER_LOGS);
        for stream in list(&format!("{account}/streams"))? {
            // With a dot in front they are being deleted.
            if !stream.starts_with('.') {
                let account = account.clone();
                places.push(Place { account, stream });
            }
        }
    }
    Ok((places, is_clustered))
}

#[cfg(test)]
mod tests;
