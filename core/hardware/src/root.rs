//! Files below a root, so that a folder of copies replays a machine.
//! Knows paths and bounded reading; must not know what a file means.

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
        read(&path).map_err(|source| Error::Io { path, source }).map(into_text)
    }

    pub(crate) fn text(&self, relative: &str) -> Option<String> {
        self.bytes(relative).map(into_text)
    }

    pub(crate) fn bytes(&self, relative: &str) -> Option<Vec<u8>> {
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

    /// Numbers N of the names `<prefix>N` in a folder, ascending.
    pub(crate) fn numbered(&self, relative: &str, prefix: &str) -> Vec<u32> {
        let number = |name: &String| name.strip_prefix(prefix)?.parse().ok();
        let mut numbers: Vec<u32> = self.names(relative).iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
