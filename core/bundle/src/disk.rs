//! Free disk space, asked before writing.
//!
//! Owns the question and the refusal. Must not write.

use std::path::Path;

use crate::error::{Error, IoContext, Result};

/// Bytes that this process may still write to the filesystem of `path`, which need not exist yet.
///
/// # Errors
/// [`Error::Io`] when no existing parent can be asked.
pub fn available_bytes(path: &Path) -> Result<u64> {
    let existing = existing_ancestor(path);
    fs4::available_space(existing).at("read the free space of", existing)
}

/// Refuses when `path`'s filesystem has less than `need_bytes` left.
///
/// # Errors
/// [`Error::DiskSpace`] with both figures.
pub fn ensure_space(path: &Path, need_bytes: u64) -> Result<()> {
    let have_bytes = available_bytes(path)?;
    if have_bytes >= need_bytes {
        return Ok(());
    }
    Err(Error::DiskSpace { path: path.to_path_buf(), need_bytes, have_bytes })
}

/// The nearest of `path` and its parents that exists.
fn existing_ancestor(path: &Path) -> &Path {
    let existing = path.ancestors().find(|candidate| candidate.exists());
    // A relative path has the empty path as its last ancestor, which stands for the working directory.
    existing.filter(|found| !found.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn need_and_have_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("not/yet/there");
        ensure_space(&path, 1).unwrap();
        let error = ensure_space(&path, u64::MAX).unwrap_err();
        assert!(matches!(error, Error::DiskSpace { need_bytes: u64::MAX, have_bytes: 1.., .. }), "{error}");
        assert!(available_bytes(Path::new("relative/name")).unwrap() > 0);
    }
}
