//! A lock file that keeps two writers apart and can be removed while it is held.
//!
//! Owns acquiring, the check that the locked file is still the one under its name, and removal. Must not know what is
//! protected.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt;

use crate::error::{Error, IoContext, Result};
use crate::platform;

/// An exclusive or shared lock, released on drop.
#[derive(Debug)]
pub(crate) struct LockFile {
    /// Holds the system's lock.
    _file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the exclusive lock at `path` without waiting; `directory` names what is locked in the error.
    ///
    /// # Errors
    /// [`Error::Locked`] when another holder exists.
    pub(crate) fn exclusive(path: &Path, directory: &Path) -> Result<LockFile> {
        LockFile::take(path, directory, FileExt::try_lock_exclusive)
    }

    /// Takes a shared lock at `path` without waiting.
    ///
    /// # Errors
    /// [`Error::Locked`] when an exclusive holder exists.
    pub(crate) fn shared(path: &Path, directory: &Path) -> Result<LockFile> {
        LockFile::take(path, directory, FileExt::try_lock_shared)
    }

    fn take(
        path: &Path,
        directory: &Path,
        lock: impl Fn(&File) -> std::io::Result<bool>,
    ) -> Result<LockFile> {
        loop {
            if let Some(parent) = path.parent() {
                create_directory(parent)?;
            }
            let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
            let file = match open {
                Ok(file) => file,
                // The directory was removed between the two calls by a holder that finished.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("create lock file", path, error)),
            };
            if !lock(&file).at("lock", path)? {
                return Err(Error::Locked { path: directory.to_path_buf() });
            }
            // A holder that finished may have removed the file that was just locked; then another writer could create
            // and lock a new one.
            if platform::same_file(&file, path).at("check lock file", path)? {
                return Ok(LockFile { _file: file, path: path.to_path_buf() });
            }
        }
    }

    /// The lock file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Creates a directory and its parents while another process may be removing them.
pub(crate) fn create_directory(path: &Path) -> Result<()> {
    let mut tries = 0;
    loop {
        let error = match fs::create_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        tries += 1;
        let was_removed = match error.kind() {
            std::io::ErrorKind::NotFound => true,
            // Also what a file in the way gives, which stays.
            std::io::ErrorKind::AlreadyExists => path.symlink_metadata().is_err() || path.is_dir(),
            _ => false,
        };
        if !was_removed || tries > 100 {
            return Err(Error::io("create directory", path, error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_excludes_and_shared_shares() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/lock");
        let take = |exclusive: bool| match exclusive {
            true => LockFile::exclusive(&path, directory.path()),
            false => LockFile::shared(&path, directory.path()),
        };
        let held = take(true).unwrap();
        assert!(matches!(take(true), Err(Error::Locked { .. })));
        assert!(matches!(take(false), Err(Error::Locked { .. })));
        drop(held);
        let first = take(false).unwrap();
        let second = take(false).unwrap();
        assert!(take(true).is_err());
        drop((first, second));
        assert_eq!(take(true).unwrap().path(), path);
    }

    #[test]
    fn a_removed_lock_file_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = LockFile::exclusive(&path, directory.path()).unwrap();
        fs::remove_file(held.path()).unwrap();
        LockFile::exclusive(&path, directory.path()).unwrap();
    }
}
