//! The list of paths that a publication touches, so that the next writer can remove what is left of a crashed one.
//!
//! Owns `.staging/journal.json` and the clean-up. Must not remove a file that the manifest on disk lists.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::atomic::AtomicFile;
use crate::bundle::ensure_inside;
use crate::error::{Error, IoContext, Result};
use crate::manifest::Manifest;
use crate::path::RelativePath;

/// File name inside the staging directory.
const JOURNAL: &str = "journal.json";

/// Records the paths that are about to change.
pub(super) fn write(staging: &Path, paths: &BTreeSet<RelativePath>) -> Result<()> {
    let bytes = serde_json::to_vec(paths).expect("a list of strings is JSON");
    AtomicFile::write_all_to(&staging.join(JOURNAL), &bytes)
}

/// Removes recorded paths that `manifest`, the one on disk, does not list, and everything in the staging directory but
/// the lock.
pub(super) fn clean_up(staging: &Path, root: &Path, manifest: Option<&Manifest>) -> Result<()> {
    let journal = staging.join(JOURNAL);
    match fs::read(&journal) {
        Ok(bytes) => {
            let paths: BTreeSet<RelativePath> = serde_json::from_slice(&bytes).unwrap_or_default();
            remove_unlisted(root, &paths, manifest);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("read", &journal, error)),
    }
    for entry in fs::read_dir(staging).at("read directory", staging)? {
        let entry = entry.at("read directory", staging)?;
        if entry.file_name() != "lock" {
            tracing::info!(path = %entry.path().display(), "removing what an interrupted write left");
            fs::remove_file(entry.path()).at("remove", entry.path())?;
        }
    }
    Ok(())
}

/// Removes those of `paths` that `manifest` does not list, and directories that become empty.
pub(super) fn remove_unlisted(root: &Path, paths: &BTreeSet<RelativePath>, manifest: Option<&Manifest>) {
    let listed: BTreeSet<String> = manifest
        .iter()
        .flat_map(|manifest| &manifest.variants)
        .flat_map(|variant| &variant.files)
        .map(|file| file.path.folded())
        .collect();
    for path in paths {
        if listed.contains(&path.folded()) {
            continue;
        }
        let file = root.join(path);
        let Some(directory) = file.parent() else { continue };
        // A link that leads elsewhere is not followed.
        if !directory.exists() || ensure_inside(root, directory).is_err() {
            continue;
        }
        match fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %file.display(), %error, "cannot remove a file that is no longer listed");
                continue;
            }
        }
        let mut directory = Some(directory);
        while let Some(empty) = directory.filter(|directory| *directory != root) {
            if fs::remove_dir(empty).is_err() {
                break;
            }
            directory = empty.parent();
        }
    }
}
