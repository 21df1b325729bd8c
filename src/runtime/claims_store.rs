//! Account claims on disk, as nats-server keeps them: one file `KEY.jwt` for each account, in one
//! directory or in subdirectories of the key's last two characters.
//!
//! Either all claims are kept (FULL) and it is an error when there is no more room, or those that
//! were asked for lately (CACHE). Names of files come from messages of other servers, so they are
//! made of nothing but public account keys (CVE-2022-28357), and links are not followed. Whether
//! an operator signed a token is the caller's to ask; the store sees to it that a token is of the
//! account that it is stored for. Times are Unix times in seconds. Blocks on files: for helper
//! threads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::auth::claims::{Common, TOKEN_BYTES_MAX, decode};
use crate::auth::nkey::is_account_key;

/// Behind the key in a file's name.
const EXTENSION: &str = ".jwt";
/// Behind that, for one that was deleted.
const DELETED: &str = ".deleted";
/// Behind that, for one that is being written.
const UNFINISHED: &str = ".tmp";
/// Claims in a cache, unless said otherwise.
const CACHE_MAX: usize = 1000;

/// What a deletion does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is refused.
    Never,
    /// The file is renamed.
    Rename,
    /// The file is removed.
    Hard,
}

/// How claims are kept.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Claims not asked for lately give way, and those of this age go.
    pub cache: Option<Duration>,
    /// Number of claims; `None` for any in a full store, 1000 in a cache.
    pub limit: Option<usize>,
    pub deletion: Deletion,
    /// In subdirectories.
    pub sharded: bool,
}

/// Why claims are not stored.
#[derive(Debug)]
pub enum StoreError {
    /// The name is no public account key.
    Key,
    /// The token is none, or of another account.
    Token,
    /// There are as many as there may be.
    Full,
    /// Nothing may be deleted.
    NoDeletion,
    /// A line of a package is not `KEY|TOKEN`.
    Package,
    Io(io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Key => f.write_str("invalid public key"),
            StoreError::Token => f.write_str("jwt subject nkey and provided nkey do not match"),
            StoreError::Full => f.write_str("jwt store is full"),
            StoreError::NoDeletion => f.write_str("store is not set up to for delete"),
            StoreError::Package => f.write_str("line in package didn't contain 2 entries"),
            StoreError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        StoreError::Io(error)
    }
}

/// See the module.
#[derive(Debug)]
pub struct ClaimsStore {
    directory: PathBuf,
    keeping: Keeping,
    limit: usize,
    entries: HashMap<String, Entry>,
    /// Keys by when they go.
    by_end: BTreeSet<(u64, String)>,
    /// Keys by when they were last asked for.
    by_use: BTreeMap<u64, String>,
    /// Counts uses, and names files that are being written.
    uses: u64,
    /// All hashes of tokens, XORed: equal in stores of equal content.
    hash: [u8; 32],
}

/// One file.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: [u8; 32],
    /// `u64::MAX` for never.
    ends: u64,
    used: u64,
}

impl ClaimsStore {
    /// Opens a directory, which is made if it is not there, and reads what is in it. Files that
    /// are no claims are left alone.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(directory: &Path, keeping: Keeping, now: u64) -> io::Result<Self> {
        make_directory(directory)?;
        let any = if keeping.cache.is_some() {
            CACHE_MAX
        } else {
            usize::MAX
        };
        let mut store = Self {
            directory: directory.to_owned(),
            limit: keeping.limit.filter(|&limit| limit != 0).unwrap_or(any),
            keeping,
            entries: HashMap::new(),
            by_end: BTreeSet::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            hash: [0; 32],
        };
        store.reload(now)?;
        Ok(store)
    }

    /// Reads the directory again, and says whose claims have changed, come or gone.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn reload(&mut self, now: u64) -> io::Result<Vec<String>> {
        let mut before = std::mem::take(&mut self.entries);
        self.by_end.clear();
        self.by_use.clear();
        self.hash = [0; 32];
        let mut changed = Vec::new();
        for key in self.keys_on_disk()? {
            let Ok(Some(token)) = self.read(&key) else {
                continue;
            };
            let Some(common) = claims_of(&key, &token) else {
                continue;
            };
            self.track(&key, &token, &common, now);
            let hash = hash_of(&token);
            if before.remove(&key).is_none_or(|entry| entry.hash != hash) {
                changed.push(key);
            }
        }
        changed.extend(before.into_keys());
        Ok(changed)
    }

    /// The claims of an account, if they are there.
    ///
    /// # Errors
    /// The key is none, or the file cannot be read.
    pub fn load(&mut self, key: &str, now: u64) -> Result<Option<String>, StoreError> {
        if !is_account_key(key) {
            return Err(StoreError::Key);
        }
        let Some(token) = self.read(key)? else {
            return Ok(None);
        };
        let Some(common) = claims_of(key, &token) else {
            return Ok(None);
        };
        self.track(key, &token, &common, now);
        Ok(Some(token))
    }

    /// Stores claims that somebody with the right to it sent, and says whether anything changed.
    ///
    /// # Errors
    /// They are no claims of this account, there is no room, or the file cannot be written.
    pub fn save(&mut self, key: &str, token: &str, now: u64) -> Result<bool, StoreError> {
        let common = checked(key, token)?;
        self.write(key, token, &common, now)
    }

    /// Stores claims unless those that are there are newer.
    ///
    /// # Errors
    /// As [`ClaimsStore::save`].
    pub fn save_if_newer(&mut self, key: &str, token: &str, now: u64) -> Result<bool, StoreError> {
        let common = checked(key, token)?;
        if let Some(there) = self.read(key)?
            && let Some(there) = claims_of(key, &there)
            && (there.id == common.id || there.issued_at > common.issued_at)
        {
            return Ok(false);
        }
        self.write(key, token, &common, now)
    }

    /// Deletes the claims of an account; says whether there were any.
    ///
    /// # Errors
    /// It is not allowed, the key is none, or the file cannot be changed.
    pub fn delete(&mut self, key: &str) -> Result<bool, StoreError> {
        if !is_account_key(key) {
            return Err(StoreError::Key);
        }
        let path = self.path(key);
        let done = match self.keeping.deletion {
            Deletion::Never => return Err(StoreError::NoDeletion),
            Deletion::Rename => fs::rename(&path, with_suffix(&path, DELETED)),
            Deletion::Hard => fs::remove_file(&path),
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.untrack(key);
                return Ok(false);
            }
            done => done?,
        }
        self.untrack(key);
        Ok(true)
    }

    /// All accounts whose claims are there, in order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.entries.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// Equal for stores of equal content.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The claims as packages of lines `KEY|TOKEN`, at most so many in each. Expired ones are left
    /// out. Each package is read when it is asked for.
    pub fn packages(&self, lines_max: usize, now: u64) -> impl Iterator<Item = String> {
        let keys = self.keys();
        let lines_max = lines_max.max(1);
        let chunks: Vec<Vec<String>> = keys.chunks(lines_max).map(<[String]>::to_vec).collect();
        chunks.into_iter().filter_map(move |keys| {
            let lines: Vec<String> = keys
                .iter()
                .filter_map(|key| {
                    let token = self.read(key).ok().flatten()?;
                    let common = claims_of(key, &token)?;
                    let expired = common.expires > 0 && (common.expires as u64) < now;
                    (!expired).then(|| format!("{key}|{}", token.trim()))
                })
                .collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        })
    }

    /// Takes over what is new in a package, and says whose claims have changed. `accept` is asked
    /// about each key and token: others' stores are not believed.
    ///
    /// # Errors
    /// A line is not of the form; those before it are stored.
    pub fn merge(
        &mut self,
        package: &str,
        now: u64,
        mut accept: impl FnMut(&str, &str) -> bool,
    ) -> Result<Vec<String>, StoreError> {
        let mut changed = Vec::new();
        for line in package.split('\n').filter(|line| !line.is_empty()) {
            let Some((key, token)) = line.split_once('|') else {
                return Err(StoreError::Package);
            };
            checked(key, token)?;
            if accept(key, token) && self.save_if_newer(key, token, now)? {
                changed.push(key.to_owned());
            }
        }
        Ok(changed)
    }

    /// Removes what has expired, and says whose claims that were.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn expire(&mut self, now: u64) -> io::Result<Vec<String>> {
        let mut gone = Vec::new();
        while let Some((_, key)) = self.by_end.first().filter(|(ends, _)| *ends <= now) {
            let key = key.clone();
            remove(&self.path(&key))?;
            self.untrack(&key);
            gone.push(key);
        }
        Ok(gone)
    }

    /// Where claims are. `key` must be a public account key.
    fn path(&self, key: &str) -> PathBuf {
        debug_assert!(is_account_key(key));
        let mut path = self.directory.clone();
        if self.keeping.sharded {
            path.push(&key[key.len() - 2..]);
        }
        path.push(format!("{key}{EXTENSION}"));
        path
    }

    fn read(&self, key: &str) -> io::Result<Option<String>> {
        let opened = OpenOptions::new()
            .read(true)
            // Not a link, and not a pipe that nobody writes to.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path(key));
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut token = String::new();
        file.take(TOKEN_BYTES_MAX as u64 + 1)
            .read_to_string(&mut token)?;
        Ok((token.len() <= TOKEN_BYTES_MAX).then_some(token))
    }

    fn write(
        &mut self,
        key: &str,
        token: &str,
        common: &Common,
        now: u64,
    ) -> Result<bool, StoreError> {
        match self.entries.get(key) {
            Some(entry) if entry.hash == hash_of(token) => {
                self.track(key, token, common, now);
                return Ok(false);
            }
            None if self.entries.len() >= self.limit => self.make_room()?,
            _ => {}
        }
        let path = self.path(key);
        let directory = path.parent().unwrap_or(&self.directory);
        make_directory(directory)?;
        self.uses += 1;
        let unfinished = directory.join(format!("{key}.{}{UNFINISHED}", self.uses));
        let written = write_new(&unfinished, token).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        File::open(directory)?.sync_all()?;
        self.track(key, token, common, now);
        Ok(true)
    }

    /// Drops what was not asked for the longest, in a cache.
    fn make_room(&mut self) -> Result<(), StoreError> {
        if self.keeping.cache.is_none() {
            return Err(StoreError::Full);
        }
        let Some((_, key)) = self.by_use.first_key_value() else {
            return Err(StoreError::Full);
        };
        let key = key.clone();
        remove(&self.path(&key))?;
        self.untrack(&key);
        Ok(())
    }

    fn track(&mut self, key: &str, token: &str, common: &Common, now: u64) {
        self.untrack(key);
        let ends = match self.keeping.cache.filter(|ttl| !ttl.is_zero()) {
            Some(ttl) => now.saturating_add(ttl.as_secs().max(1)),
            None => u64::try_from(common.expires)
                .ok()
                .filter(|&at| at != 0)
                .unwrap_or(u64::MAX),
        };
        self.uses += 1;
        let entry = Entry {
            hash: hash_of(token),
            ends,
            used: self.uses,
        };
        self.by_end.insert((ends, key.to_owned()));
        self.by_use.insert(entry.used, key.to_owned());
        self.mix(entry.hash);
        self.entries.insert(key.to_owned(), entry);
    }

    fn untrack(&mut self, key: &str) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.mix(entry.hash);
            self.by_use.remove(&entry.used);
            self.by_end.remove(&(entry.ends, key));
        }
    }

    fn mix(&mut self, hash: [u8; 32]) {
        for (all, one) in self.hash.iter_mut().zip(hash) {
            *all ^= one;
        }
    }

    /// Account keys that have a file where it belongs. Unfinished files of a server that was
    /// killed are removed.
    fn keys_on_disk(&self) -> io::Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut directories = vec![self.directory.clone()];
        if self.keeping.sharded {
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                if entry.file_name().len() == 2 && entry.file_type()?.is_dir() {
                    directories.push(entry.path());
                }
            }
        }
        for directory in directories {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else {
                    continue;
                };
                if let Some(key) = name.strip_suffix(EXTENSION)
                    && is_account_key(key)
                    && entry.path() == self.path(key)
                    && entry.file_type()?.is_file()
                {
                    keys.push(key.to_owned());
                } else if name.ends_with(UNFINISHED)
                    && name.split('.').next().is_some_and(is_account_key)
                {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        // The same order of use on every start.
        keys.sort_unstable();
        Ok(keys)
    }
}

/// What a token says, if it is of this account.
fn claims_of(key: &str, token: &str) -> Option<Common> {
    let claims = decode(token.trim()).ok()?;
    let common = claims.common();
    (common.subject == key).then(|| common.clone())
}

fn checked(key: &str, token: &str) -> Result<Common, StoreError> {
    if !is_account_key(key) {
        return Err(StoreError::Key);
    }
    claims_of(key, token).ok_or(StoreError::Token)
}

fn hash_of(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that must not exist, down to the disk.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
