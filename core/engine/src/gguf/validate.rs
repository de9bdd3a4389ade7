//! Files are checked here before llama.cpp sees them.
//!
//! Owns: what a file must satisfy. May know: GGUF headers. Must not know: how models are loaded.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Error;

/// A file that was checked: the right to hand it to llama.cpp.
pub(super) struct ModelFile {
    /// The parts, in order; one for a model in one file.
    pub(super) parts: Vec<PathBuf>,
}

/// Checks the file at `path`.
pub(super) fn read(path: &Path) -> Result<ModelFile, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    File::open(path).map_err(unreadable)?;
    Ok(ModelFile { parts: vec![path.to_owned()] })
}
