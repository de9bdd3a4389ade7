//! One repository's part of the cache.
//!
//! Owns the layout on disk, sharing of equal files between commits, and what is remembered. Must not use the network.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::id::HubId;
use super::index::{Index, MAX_INDEX_BYTES};
use super::{Wanted, is_there};
use crate::atomic::AtomicFile;
use crate::download::address::encode_component;
use crate::error::{Error, IoContext, Result};
use crate::path::RelativePath;
use crate::usage::{self, UseGuard};

/// Directory of a snapshot for the cache's own files.
const OWN: &str = ".hub";

/// The directory of a repository in the cache.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    repository: PathBuf,
}

impl Cache {
    pub(super) fn new(root: &Path, id: &HubId) -> Cache {
        let repository = root.join(id.organisation()).join(id.name());
        Cache { root: root.to_path_buf(), repository }
    }

    /// Directory of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repository.join("snapshots").join(commit)
    }

    /// Directory of a commit's partial files.
    pub(super) fn partials(&self, commit: &str) -> PathBuf {
        self.snapshot(commit).join(OWN).join("partial")
    }

    /// Removes a commit's directories that hold nothing, after a fetch that brought nothing.
    pub(super) fn forget_empty(&self, commit: &str) {
        let snapshot = self.snapshot(commit);
        // Each fails when something is there.
        let _ = fs::remove_dir(snapshot.join(OWN));
        let only_marker = fs::read_dir(&snapshot)
            .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == usage::MARKER));
        if only_marker && fs::remove_file(snapshot.join(usage::MARKER)).is_ok() {
            let parents = snapshot.ancestors().take_while(|path| *path != self.root);
            let _ = parents.map(fs::remove_dir).take_while(std::result::Result::is_ok).count();
        }
    }

    /// Protects a commit's directory from eviction and marks it as used. Waits a little for an eviction under way.
    pub(super) fn hold(&self, commit: &str) -> Result<UseGuard> {
        let directory = self.snapshot(commit);
        for _ in 0..20 {
            match usage::hold(&directory) {
                Err(Error::Locked { .. }) => thread::sleep(Duration::from_millis(50)),
                other => return other,
            }
        }
        usage::hold(&directory)
    }

    /// The commit that `revision` stood for when it was last fetched.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.reference(revision)).ok()?;
        let commit = text.trim();
        super::id::is_commit(commit).then(|| commit.to_owned())
    }

    /// What the hub said about a commit that was completely fetched.
    pub(super) fn index(&self, commit: &str) -> Option<Index> {
        let path = self.index_path(commit);
        if fs::metadata(&path).ok()?.len() > MAX_INDEX_BYTES {
            return None;
        }
        Index::parse(&fs::read(path).ok()?).ok().filter(|index| index.sha == commit)
    }

    /// Remembers that `revision` is the commit of `index`, whose selected files are all there.
    pub(super) fn remember(&self, revision: &str, index: &Index) -> Result<()> {
        let bytes = serde_json::to_vec(index).expect("string keys only, so that JSON can hold it");
        for (path, content) in [
            (self.index_path(&index.sha), bytes.as_slice()),
            (self.reference(revision), index.sha.as_bytes()),
        ] {
            let directory = path.parent().expect("a file of the cache is below its root");
            fs::create_dir_all(directory).at("create directory", directory)?;
            AtomicFile::write_all_to(&path, content)?;
        }
        Ok(())
    }

    /// Takes files that another commit of the repository has already, and returns the others.
    pub(super) fn link_known<'a>(&self, commit: &str, wanted: Vec<&'a Wanted>) -> Result<Vec<&'a Wanted>> {
        let mut missing = wanted;
        let Ok(commits) = fs::read_dir(self.repository.join("snapshots")) else { return Ok(missing) };
        for other in commits.flatten() {
            let Some(other) = other.file_name().to_str().map(str::to_owned) else { continue };
            let Some(index) = self.index(&other).filter(|_| other != commit) else { continue };
            let mut left = Vec::new();
            for file in missing {
                let same = index.siblings.iter().find(|known| {
                    file.digest.is_some()
                        && known.digest() == file.digest
                        && known.bytes() == Some(file.bytes)
                });
                let taken = match same.and_then(|known| RelativePath::new(known.path.clone()).ok()) {
                    Some(path) => {
                        let known = Wanted { path, ..file.clone() };
                        is_there(&self.snapshot(&other), &known) && self.link(&other, &known, commit, file)
                    }
                    None => false,
                };
                if !taken {
                    left.push(file);
                }
            }
            missing = left;
        }
        Ok(missing)
    }

    fn link(&self, from_commit: &str, from: &Wanted, to_commit: &str, to: &Wanted) -> bool {
        let target = self.snapshot(to_commit).join(&to.path);
        let Some(directory) = target.parent() else { return false };
        let linked = fs::create_dir_all(directory)
            .and_then(|()| fs::hard_link(self.snapshot(from_commit).join(&from.path), &target));
        linked.is_ok()
    }

    /// Evicts snapshots of any repository until `need_bytes` more fit; `keep` stays.
    pub(super) fn make_room(&self, keep: &Path, cap_bytes: u64, need_bytes: u64) -> Result<()> {
        let mut entries = Vec::new();
        for organisation in directories(&self.root)? {
            for repository in directories(&organisation)? {
                entries.extend(usage::marked_directories(&repository.join("snapshots"))?);
            }
        }
        usage::make_room(&self.root, entries, keep, cap_bytes, need_bytes).map(drop)
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.repository.join("refs").join(encode_component(revision))
    }

    fn index_path(&self, commit: &str) -> PathBuf {
        self.snapshot(commit).join(OWN).join("index.json")
    }
}

/// The directories directly below `path`, links not followed.
fn directories(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).at("read directory", path)? {
        let entry = entry.at("read directory", path)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
