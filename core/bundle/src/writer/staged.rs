//! A file between its first byte and publication.
//!
//! Owns buffered, hashed writing into the staging directory. Must not know where the file ends up.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::digest::HashingWriter;
use crate::error::{IoContext, Result};
use crate::manifest::FileEntry;
use crate::path::RelativePath;

/// Bytes collected before they go to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// A staged file as the writer keeps it.
#[derive(Debug)]
pub(super) struct Staged {
    /// The path to publish it as.
    pub(super) path: RelativePath,
    /// Where it is.
    pub(super) file: PathBuf,
    /// Set when it is finished.
    pub(super) entry: Option<FileEntry>,
}

/// A file being written; [`StagedFile::finish`] gives its manifest entry. Dropped unfinished, it is not published.
#[derive(Debug)]
pub struct StagedFile {
    number: usize,
    path: RelativePath,
    file: PathBuf,
    writer: HashingWriter<BufWriter<File>>,
    staged: Arc<Mutex<Vec<Staged>>>,
}

impl StagedFile {
    pub(super) fn create(
        number: usize,
        path: RelativePath,
        file: &Path,
        staged: Arc<Mutex<Vec<Staged>>>,
    ) -> Result<StagedFile> {
        let handle = File::options().write(true).create_new(true).open(file).at("create", file)?;
        let writer = HashingWriter::new(BufWriter::with_capacity(BUFFER_BYTES, handle));
        Ok(StagedFile { number, path, file: file.to_path_buf(), writer, staged })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Makes the content durable and gives the entry for the manifest.
    ///
    /// # Errors
    /// [`crate::Error::Io`], e.g. on a full disk.
    pub fn finish(self) -> Result<FileEntry> {
        let (writer, sha256, bytes) = self.writer.finish();
        let handle = writer.into_inner().map_err(io::IntoInnerError::into_error).at("write", &self.file)?;
        handle.sync_all().at("write", &self.file)?;
        let entry = FileEntry::new(self.path, bytes, sha256);
        let mut staged = self.staged.lock().expect("no holder of the list panics");
        staged[self.number].entry = Some(entry.clone());
        Ok(entry)
    }
}

impl Write for StagedFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, format!("cannot write {}: {error}", self.file.display())),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
