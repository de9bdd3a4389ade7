//! A file that appears under its name complete or not at all.
//!
//! Owns the temporary file beside the target, its fsync, the rename, and the removal of what a crashed process left.
//! Must not know what is written.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt;

use crate::error::{Error, IoContext, Result};
use crate::platform;

/// End of a temporary file's name.
const SUFFIX: &str = ".tmp";

/// A file under construction. Dropped without [`AtomicFile::commit`], it leaves nothing behind and the target as it
/// was. Unbuffered: wrap it in a `BufWriter` for small writes.
#[derive(Debug)]
pub struct AtomicFile {
    /// Locked exclusively while it lives, which tells it from the leftover of a crashed process.
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Starts a temporary file in the directory of `target`, which must exist, and removes those that crashed
    /// processes left for the same target.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory is missing or not writable.
    pub fn create(target: &Path) -> Result<AtomicFile> {
        let (directory, name) = split(target)?;
        remove_leftovers(directory, &name);
        loop {
            let temporary = directory.join(format!(".{name}.{:016x}{SUFFIX}", rand::random::<u64>()));
            let file = match File::options().read(true).write(true).create_new(true).open(&temporary) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io("create a temporary file for", target, error)),
            };
            let mut atomic = AtomicFile { file, temporary, target: target.to_path_buf(), committed: false };
            let locked = FileExt::try_lock_exclusive(&atomic.file).at("lock", &atomic.temporary)?;
            // Another process that removes leftovers may have seen the file before it was locked.
            if locked
                && platform::same_file(&atomic.file, &atomic.temporary).at("check", &atomic.temporary)?
            {
                return Ok(atomic);
            }
            atomic.committed = true;
        }
    }

    /// The final path.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The temporary file, for positioned writes from several threads.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes the content durable and gives it its name, replacing what was there.
    ///
    /// # Errors
    /// [`Error::Io`]; the target is then as it was and the temporary file is gone.
    pub fn commit(mut self) -> Result<()> {
        self.file.sync_all().at("write", &self.target)?;
        fs::rename(&self.temporary, &self.target).at("rename a temporary file to", &self.target)?;
        self.committed = true;
        let (directory, _) = split(&self.target)?;
        platform::sync_directory(directory).at("make durable", directory)
    }

    /// Writes `bytes` to `target` atomically.
    ///
    /// # Errors
    /// As [`AtomicFile::create`] and [`AtomicFile::commit`].
    pub fn write_all_to(target: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = AtomicFile::create(target)?;
        file.file.write_all(bytes).at("write", target)?;
        file.commit()
    }

    fn name_error(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, format!("cannot write {}: {error}", self.target.display())),
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer).map_err(|error| self.name_error(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = fs::remove_file(&self.temporary)
        {
            tracing::warn!(path = %self.temporary.display(), %error, "cannot remove temporary file");
        }
    }
}

/// Directory and file name of `target`.
fn split(target: &Path) -> Result<(&Path, String)> {
    let name = target.file_name().ok_or_else(|| {
        Error::io("write", target, io::Error::new(io::ErrorKind::InvalidInput, "path has no file name"))
    })?;
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((directory.unwrap_or(Path::new(".")), name.to_string_lossy().into_owned()))
}

/// Removes temporary files for `name` that no process holds.
fn remove_leftovers(directory: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let prefix = format!(".{name}.");
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let middle = file_name
            .to_str()
            .and_then(|text| text.strip_prefix(&prefix))
            .and_then(|text| text.strip_suffix(SUFFIX));
        let ours = middle.is_some_and(|text| text.len() == 16 && text.bytes().all(|c| c.is_ascii_hexdigit()));
        if !ours {
            continue;
        }
        let path = entry.path();
        let abandoned = File::open(&path)
            .and_then(|file| FileExt::try_lock_exclusive(&file))
            .is_ok_and(|acquired| acquired);
        if abandoned && fs::remove_file(&path).is_ok() {
            tracing::info!(path = %path.display(), "removed what an interrupted write left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn commit_replaces_and_drop_leaves_the_target() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        AtomicFile::write_all_to(&target, b"old").unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        drop(file);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        AtomicFile::write_all_to(&target, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn leftovers_of_this_target_go_and_living_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        let abandoned = ".file.0123456789abcdef.tmp";
        let foreign = [".file.0123.tmp", ".other.0123456789abcdef.tmp"];
        for name in foreign.iter().chain([&abandoned]) {
            fs::write(directory.path().join(name), b"x").unwrap();
        }
        let first = AtomicFile::create(&target).unwrap();
        let second = AtomicFile::create(&target).unwrap();
        let found = names(directory.path());
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(!found.contains(&abandoned.to_owned()));
        first.commit().unwrap();
        second.commit().unwrap();
        assert_eq!(names(directory.path()).len(), 3);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("missing/file");
        let message = AtomicFile::create(&target).unwrap_err().to_string();
        assert!(message.contains("missing/file"), "{message}");
        assert!(AtomicFile::create(Path::new("/")).is_err());
    }
}
