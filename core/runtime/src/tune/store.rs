//! The file that holds what was tuned. Owns its name, reading and replacing it; must not know what stands in it.

use bundle::atomic::AtomicFile;
use std::io::Read;
use std::path::{Path, PathBuf};
use tuner::Cache;

/// Name of the file in the tuning folder. Another shape of the document gets another name, so that versions of the library
/// beside each other do not overwrite each other's.
pub const TUNING_FILE: &str = "tuning-1.json";
/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 8 << 20;

#[derive(Debug, Clone)]
pub(super) struct Store {
    path: PathBuf,
}

impl Store {
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join(TUNING_FILE) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is kept, and why it is empty where the file cannot be read. A file that is not there is no problem.
    pub(super) fn read(&self) -> (Cache, Option<String>) {
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(&self.path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (Cache::default(), None),
            Err(error) => (Cache::default(), Some(error.to_string())),
            Ok(_) if bytes.len() as u64 > MAX_BYTES => {
                (Cache::default(), Some(format!("more than {MAX_BYTES} bytes")))
            }
            Ok(_) => Cache::parse(&bytes),
        }
    }

    /// Merges `news` into what other processes have written meanwhile.
    pub(super) fn write(&self, news: Cache) -> bundle::Result<()> {
        let (mut cache, _) = self.read();
        cache.merge(news);
        if let Some(folder) = self.path.parent() {
            // Where it cannot be made, writing says so.
            let _ = std::fs::create_dir_all(folder);
        }
        AtomicFile::write_all_to(&self.path, &cache.to_bytes())
    }
}
