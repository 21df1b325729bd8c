//! The file that tells scripts which process to signal.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The pid file could not be written.
#[derive(Debug)]
pub struct PidFileError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl std::error::Error for PidFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl fmt::Display for PidFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "cannot write pid file {}: {}",
            self.path.display(),
            self.source
        )
    }
}

/// Writes this process's id as nats-server does: decimal digits and nothing else, no newline; what was there is
/// replaced; a new file has mode 0600; the file stays when the server ends.
pub fn write_pid_file(path: &Path) -> Result<(), PidFileError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(std::process::id().to_string().as_bytes()))
        .map_err(|source| PidFileError {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_the_content() {
        let path = std::env::temp_dir().join(format!("skein-pid-file-test-{}", std::process::id()));
        fs::remove_file(&path).ok();
        write_pid_file(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::write(&path, "something longer than a process id").unwrap();
        write_pid_file(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn names_the_file_it_cannot_write() {
        let error = write_pid_file(Path::new("/dev/null/x")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write pid file /dev/null/x: Not a directory (os error 20)"
        );
    }
}
