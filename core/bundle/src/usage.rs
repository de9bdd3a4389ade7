//! Which directories of a store are in use, when each was used last, and eviction of the least recently used.
//!
//! Owns the marker file `.use` (its lock: in use now; its time: last use) and the storage cap. Must not know what the
//! directories hold.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::bundle::Bundle;
use crate::error::{Error, IoContext, Result};
use crate::lock::LockFile;

/// File that marks a directory as a store's entry.
pub(crate) const MARKER: &str = ".use";

/// While it lives, the directory is not evicted. Several may exist at once.
#[derive(Debug)]
pub struct UseGuard {
    /// Absent where nothing is evicted: outside stores, and where the directory cannot be written.
    _lock: Option<LockFile>,
}

impl Bundle {
    /// Marks the bundle as used now and protects it from eviction while the guard lives. A bundle that is no entry of a
    /// store is never evicted: nothing is written there.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process is evicting it.
    pub fn hold(&self) -> Result<UseGuard> {
        if !self.root().join(MARKER).is_file() {
            return Ok(UseGuard { _lock: None });
        }
        match hold(self.root()) {
            Err(Error::Io { path, source, .. }) => {
                tracing::debug!(path = %path.display(), %source, "use of the bundle is not recorded");
                Ok(UseGuard { _lock: None })
            }
            other => other,
        }
    }
}

/// Marks `directory` as used now and protects it from eviction.
pub(crate) fn hold(directory: &Path) -> Result<UseGuard> {
    let marker = directory.join(MARKER);
    let lock = LockFile::shared(&marker, directory)?;
    let file = fs::File::options().write(true).open(&marker).at("open", &marker)?;
    file.set_modified(SystemTime::now()).at("change the time of", &marker)?;
    Ok(UseGuard { _lock: Some(lock) })
}

/// An entry of a store.
struct Entry {
    directory: PathBuf,
    bytes: u64,
    last_used: SystemTime,
}

/// Evicts least recently used entries of a store until `need_bytes` more fit under `cap_bytes`. The entry `keep` and
/// those in use stay. Returns what was evicted.
///
/// # Errors
/// [`Error::StorageCap`] when that is not enough; nothing more than necessary is evicted in any case.
pub(crate) fn make_room(
    store: &Path,
    entries: Vec<PathBuf>,
    keep: &Path,
    cap_bytes: u64,
    need_bytes: u64,
) -> Result<Vec<PathBuf>> {
    let mut known = Vec::new();
    for directory in entries {
        let bytes = tree_bytes(&directory)?;
        let last_used = fs::metadata(directory.join(MARKER)).and_then(|marker| marker.modified());
        known.push(Entry { directory, bytes, last_used: last_used.unwrap_or(SystemTime::UNIX_EPOCH) });
    }
    let used_bytes: u64 = known.iter().map(|entry| entry.bytes).sum();
    let fits = |used: u64| used.saturating_add(need_bytes) <= cap_bytes;
    if fits(used_bytes) {
        return Ok(Vec::new());
    }
    known.retain(|entry| entry.directory != keep);
    known.sort_by_key(|entry| entry.last_used);
    // Locks first: when even all free entries are not enough, none is evicted.
    let mut victims = Vec::new();
    let mut remaining = used_bytes;
    for entry in known {
        if fits(remaining) {
            break;
        }
        match LockFile::exclusive(&entry.directory.join(MARKER), &entry.directory) {
            Ok(lock) => {
                remaining -= entry.bytes;
                victims.push((entry, lock));
            }
            Err(Error::Locked { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if !fits(remaining) {
        return Err(Error::StorageCap {
            path: store.to_path_buf(),
            cap_bytes,
            need_bytes,
            used_bytes: remaining,
        });
    }
    let mut evicted = Vec::new();
    for (entry, lock) in victims {
        tracing::info!(path = %entry.directory.display(), bytes = entry.bytes, "evicting");
        fs::remove_dir_all(&entry.directory).at("remove", &entry.directory)?;
        drop(lock);
        evicted.push(entry.directory);
    }
    Ok(evicted)
}

/// Bytes of all files below `directory`; links count nothing.
pub(crate) fn tree_bytes(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut pending = vec![directory.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read directory", &directory, error)),
        };
        for entry in entries {
            let entry = entry.at("read directory", &directory)?;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if metadata.is_file() {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}

/// The directories directly below `store` that carry a marker.
pub(crate) fn marked_directories(store: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(store) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(Error::io("read directory", store, error)),
    };
    for entry in entries {
        let path = entry.at("read directory", store)?.path();
        if path.join(MARKER).is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Three entries of 100 bytes, the first used longest ago.
    fn store() -> (tempfile::TempDir, Vec<PathBuf>) {
        let store = tempfile::tempdir().unwrap();
        let mut entries = Vec::new();
        for (i, name) in ["old", "middle", "new"].into_iter().enumerate() {
            let directory = store.path().join(name);
            fs::create_dir_all(directory.join("deep")).unwrap();
            fs::write(directory.join("deep/file"), [0; 100]).unwrap();
            drop(hold(&directory).unwrap());
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + i as u64);
            let marker = fs::File::options().write(true).open(directory.join(MARKER)).unwrap();
            marker.set_modified(time).unwrap();
            entries.push(directory);
        }
        (store, entries)
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let (store, entries) = store();
        let room = |cap, need| {
            make_room(store.path(), marked_directories(store.path()).unwrap(), &entries[2], cap, need)
        };
        assert_eq!(room(400, 100).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(room(300, 50).unwrap(), [entries[0].clone()]);
        assert_eq!(room(300, 150).unwrap(), [entries[1].clone()]);
        assert!(entries[2].exists());
    }

    #[test]
    fn what_is_in_use_stays_and_use_counts() {
        let (store, entries) = store();
        let held = hold(&entries[1]).unwrap();
        drop(hold(&entries[0]).unwrap());
        let room = |need| make_room(store.path(), entries.clone(), Path::new(""), 300, need);
        // The oldest is now `new`, because the others were used since.
        assert_eq!(room(100).unwrap(), [entries[2].clone()]);
        let error = room(250).unwrap_err();
        assert!(matches!(error, Error::StorageCap { used_bytes: 100, need_bytes: 250, .. }), "{error}");
        assert!(entries[0].exists(), "nothing is evicted in vain");
        drop(held);
        assert_eq!(room(250).unwrap().len(), 2);
    }
}
