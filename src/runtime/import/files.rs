//! The files of the source: read, never opened for anything else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::import::Source;

/// The folder with the accounts of a nats-server.
pub struct Files {
    folder: PathBuf,
}

/// Length and last change of each file.
pub type Census = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

impl Files {
    /// Below a folder.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
        }
    }

    /// What there is of accounts.
    ///
    /// # Errors
    /// What cannot be looked at, and why.
    pub fn census(&self) -> Result<Census, String> {
        let mut census = Census::new();
        let accounts = entries(&self.folder).map_err(|error| said(&self.folder, &error))?;
        for account in accounts {
            let streams = account.join("streams");
            if streams.is_dir() {
                count(&streams, &mut census)?;
            }
        }
        Ok(census)
    }
}

fn said(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

fn count(folder: &Path, census: &mut Census) -> Result<(), String> {
    for path in entries(folder).map_err(|error| said(folder, &error))? {
        let found = fs::symlink_metadata(&path).map_err(|error| said(&path, &error))?;
        if found.is_dir() {
            count(&path, census)?;
        } else {
            census.insert(path, (found.len(), found.modified().ok()));
        }
    }
    Ok(())
}

impl Source for Files {
    fn list(&mut self, folder: &str) -> Result<Option<Vec<String>>, String> {
        let listed = match fs::read_dir(self.folder.join(folder)) {
            Ok(listed) => listed,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        };
        let mut names = Vec::new();
        for entry in listed {
            let name = entry.map_err(|error| error.to_string())?.file_name();
            let name = name.into_string();
            names.push(name.map_err(|name| format!("{} is no text", name.display()))?);
        }
        names.sort_unstable();
        Ok(Some(names))
    }

    fn read(&mut self, file: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, String> {
        let file = match File::open(self.folder.join(file)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        if length > max_bytes as u64 {
            return Err(format!("is longer than {max_bytes} bytes"));
        }
        let mut content = Vec::with_capacity(length as usize);
        // It may grow while it is read.
        let read = file.take(max_bytes as u64).read_to_end(&mut content);
        read.map_err(|error| error.to_string())?;
        Ok(Some(content))
    }
}
