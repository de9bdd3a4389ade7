//! A file as a slice of memory.
//!
//! Owns the only `unsafe` of this crate: the call that maps a file. Must not know what the bytes mean.
//!
//! # Changes of the file while it is mapped
//! The files of a published bundle are never changed in place by this crate: publication and download write elsewhere
//! and rename, which leaves a mapping on the old content. Another program may still truncate or overwrite a mapped
//! file. Truncation makes the system end the process at the next read beyond the new end; nothing in a library can
//! prevent that without copying the file. [`MappedFile::check_length`] detects a truncation that has already happened;
//! call it before a long pass.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::{Error, IoContext, Result};
use crate::platform;

/// A read-only view of a whole file. Dereferences to its bytes.
#[derive(Debug)]
pub struct MappedFile {
    map: Mmap,
    file: File,
    path: PathBuf,
}

/// How a mapping will be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No particular order.
    Normal,
    /// From the front to the back: read ahead, drop behind.
    Sequential,
    /// Here and there: no read-ahead.
    Random,
    /// All of it, soon: start to read now.
    WillNeed,
}

impl MappedFile {
    /// Maps the file at `path`. An empty file gives an empty slice.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened or mapped, or is not a regular file.
    pub fn open(path: &Path) -> Result<MappedFile> {
        let file = File::open(path).at("open", path)?;
        if !file.metadata().at("read the size of", path)?.is_file() {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file");
            return Err(Error::io("map", path, source));
        }
        let map = map(&file).at("map", path)?;
        Ok(MappedFile { map, file, path: path.to_path_buf() })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells the system how the bytes will be read. Advice only: a refusal is no error.
    pub fn advise(&self, access: Access) {
        if let Err(error) = platform::advise(&self.map, access) {
            tracing::debug!(path = %self.path.display(), %error, "advice on mapped memory refused");
        }
    }

    /// Checks that the file still has the length that was mapped.
    ///
    /// # Errors
    /// [`Error::WrongSize`] when it was truncated or extended since.
    pub fn check_length(&self) -> Result<()> {
        let got = self.file.metadata().at("read the size of", &self.path)?.len();
        let expected = self.map.len() as u64;
        if got == expected {
            return Ok(());
        }
        Err(Error::WrongSize { path: self.path.clone(), expected, got })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is private to this type and read-only, its length is the file's length at this moment, and it
    // lives as long as every slice borrowed from it. What remains is another party that changes the file meanwhile.
    // This crate never writes to a published file in place. A foreign truncation ends in a signal at the first access
    // beyond the new end, which stops the process and hands out no wrong memory. A foreign overwrite changes plain
    // bytes under a shared slice: every reader of a mapped file in this workspace parses it as untrusted input with
    // checked offsets, and copies what it has validated before relying on it.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_equal_the_file() {
        let directory = tempfile::tempdir().unwrap();
        for content in [vec![], vec![7u8], (0..=255u8).cycle().take(100_000).collect()] {
            let path = directory.path().join("file");
            std::fs::write(&path, &content).unwrap();
            let mapped = MappedFile::open(&path).unwrap();
            mapped.advise(Access::Sequential);
            assert_eq!(&*mapped, content.as_slice());
            mapped.check_length().unwrap();
        }
    }

    #[test]
    fn truncation_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, [1u8; 10]).unwrap();
        let mapped = MappedFile::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(4).unwrap();
        assert!(matches!(mapped.check_length(), Err(Error::WrongSize { expected: 10, got: 4, .. })));
    }

    #[test]
    fn a_directory_and_a_missing_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path().to_path_buf(), directory.path().join("missing")] {
            let message = MappedFile::open(&path).unwrap_err().to_string();
            assert!(message.contains(path.to_str().unwrap()), "{message}");
        }
    }
}
