//! Publication of a manifest that was made elsewhere: its bytes and paths stay as they are, because they are signed.
//!
//! Owns the case that a path of the new manifest has another content here. Must not use the network.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::publish::Move;
use super::{BundleWriter, journal};
use crate::bundle::{Bundle, ensure_inside};
use crate::error::{IoContext, Result};
use crate::manifest::{FileEntry, Manifest};
use crate::path::RelativePath;

/// A manifest from elsewhere with verified files.
#[derive(Debug)]
pub(crate) struct Received {
    /// The manifest, checked.
    pub(crate) manifest: Manifest,
    /// The same, byte for byte.
    pub(crate) bytes: Vec<u8>,
    /// The signature file, byte for byte.
    pub(crate) signature: Option<Vec<u8>>,
    /// Verified files and their places; a file may be listed several times.
    pub(crate) files: Vec<(PathBuf, RelativePath)>,
    /// Ids of the variants that must be complete afterwards.
    pub(crate) variants: Vec<String>,
}

impl BundleWriter {
    /// Whether the bundle on disk lists this file and has it with its size.
    pub(crate) fn has(&self, file: &FileEntry) -> bool {
        let listed = |known: &FileEntry| known.path == file.path && known.sha256 == file.sha256;
        let path = self.root.join(&file.path);
        self.previous.iter().flat_map(|manifest| &manifest.variants).flat_map(|v| &v.files).any(listed)
            && path.metadata().is_ok_and(|found| found.is_file() && found.len() == file.bytes)
            && ensure_inside(&self.root, &path).is_ok()
    }

    /// Publishes `received`. Where a path has another content here, the variants that it belongs to leave the bundle
    /// first: at every moment the manifest on disk is true of the files.
    ///
    /// # Errors
    /// As [`BundleWriter::publish`].
    pub(crate) fn publish_received(mut self, received: Received) -> Result<Bundle> {
        self.manifest = received.manifest;
        let mut moves = Vec::new();
        for (index, (from, to)) in received.files.iter().enumerate() {
            let keep = received.files[index + 1..].iter().any(|(later, _)| later == from);
            moves.push(Move { from: from.clone(), to: to.clone(), keep });
        }
        self.retire_replaced()?;
        self.commit(&moves, &received.variants, &received.bytes, received.signature.as_deref())
    }

    /// Takes variants out of the bundle on disk whose files are about to be replaced under their own paths.
    fn retire_replaced(&mut self) -> Result<()> {
        let Some(previous) = &self.previous else { return Ok(()) };
        let replaced: BTreeSet<RelativePath> = previous
            .variants
            .iter()
            .flat_map(|variant| &variant.files)
            .filter(|old| {
                let mut new = self.manifest.variants.iter().flat_map(|variant| &variant.files);
                new.any(|new| new.path.folded() == old.path.folded() && new.sha256 != old.sha256)
            })
            .map(|old| old.path.clone())
            .collect();
        if replaced.is_empty() {
            return Ok(());
        }
        let mut interim = previous.clone();
        interim.variants.retain(|variant| !variant.files.iter().any(|file| replaced.contains(&file.path)));
        // What needs a variant that left, leaves as well.
        loop {
            let ids: BTreeSet<String> = interim.variants.iter().map(|variant| variant.id.clone()).collect();
            let before = interim.variants.len();
            interim.variants.retain(|variant| variant.needs.variants.iter().all(|id| ids.contains(id)));
            if interim.variants.len() == before {
                break;
            }
        }
        journal::write(&self.staging(), &self.touched(&[]))?;
        self.write_manifest(&interim.to_bytes(), None)?;
        for path in &replaced {
            let file = self.root.join(path);
            if file.symlink_metadata().is_ok() {
                fs::remove_file(&file).at("remove", &file)?;
            }
        }
        Ok(())
    }
}
