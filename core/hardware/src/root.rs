//! Files below a root, so that a folder of copies replays a machine.

use crate::Error;
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes: everything of interest is far shorter.
const MAX_BYTES: u64 = 1 << 20;

pub(crate) struct Root(PathBuf);

impl Root {
    pub(crate) fn new(root: &Path) -> Self {
        Self(root.into())
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.0.join(relative.trim_start_matches('/'))
    }

    pub(crate) fn required(&self, relative: &str) -> Result<String, Error> {
        let path = self.path(relative);
        read(&path).map_err(|source| Error::Io { path, source })
    }

    pub(crate) fn text(&self, relative: &str) -> Option<String> {
        read(&self.path(relative)).ok()
    }

    pub(crate) fn number(&self, relative: &str) -> Option<u64> {
        self.text(relative)?.trim().parse().ok()
    }

    /// Names in a folder, sorted.
    pub(crate) fn names(&self, relative: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(relative)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
