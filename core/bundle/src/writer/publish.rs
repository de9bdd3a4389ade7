//! Publication: staged files to their places, the manifest last.
//!
//! Owns the order of renames and fsyncs that keeps the bundle valid at every moment. Must not change file contents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::staged::Staged;
use super::{BundleWriter, journal, manifest_on_disk, place};
use crate::atomic::AtomicFile;
use crate::bundle::{Bundle, ensure_inside};
use crate::error::{Error, IoContext, Result};
use crate::manifest::{FileEntry, MANIFEST_FILE, Manifest, Variant};
use crate::path::RelativePath;
use crate::platform;
use crate::signature::SIGNATURE_FILE;

/// A staged or published file and the place it gets.
pub(super) struct Move {
    pub(super) from: PathBuf,
    pub(super) to: RelativePath,
    /// It stays where it is as well.
    pub(super) keep: bool,
}

impl BundleWriter {
    /// Publishes all staged files and the manifest. Until the manifest's rename the bundle is what it was before;
    /// afterwards it is the new one.
    ///
    /// # Errors
    /// [`Error::Staged`] when a staged file is unfinished or unlisted; [`Error::Manifest`] when the manifest breaks a
    /// rule; [`Error::MissingFile`] or [`Error::WrongSize`] when a listed file is neither staged nor in place;
    /// [`Error::Io`]. The bundle is then what it was before.
    pub fn publish(mut self) -> Result<Bundle> {
        let moves = self.arrange()?;
        self.manifest.check().map_err(|source| Error::manifest(self.root.join(MANIFEST_FILE), source))?;
        let before = |id: &str| self.previous.as_ref().and_then(|manifest| manifest.variant(id));
        // A variant that was listed before and is unchanged may be absent or damaged: that is not this writer's doing.
        let changed = |v: &&Variant| before(&v.id).is_none_or(|known| known.files != v.files);
        let changed: Vec<String> =
            self.manifest.variants.iter().filter(changed).map(|v| v.id.clone()).collect();
        let bytes = self.manifest.to_bytes();
        self.commit(&moves, &changed, &bytes, None)
    }

    /// Moves files, writes the manifest and removes what it no longer lists. The variants `expected` must then be
    /// complete. On failure the manifest on disk decides which files stay.
    pub(super) fn commit(
        mut self,
        moves: &[Move],
        expected: &[String],
        manifest: &[u8],
        signature: Option<&[u8]>,
    ) -> Result<Bundle> {
        let touched = self.touched(moves);
        journal::write(&self.staging(), &touched)?;
        let published = self
            .move_files(moves)
            .and_then(|()| self.check_files(expected))
            .and_then(|()| self.write_manifest(manifest, signature));
        if let Err(error) = published {
            // The manifest's rename may have happened before the failure.
            if let Ok(on_disk) = manifest_on_disk(&self.root) {
                journal::remove_unlisted(&self.root, &touched, on_disk.as_ref());
            }
            return Err(error);
        }
        self.created = None;
        journal::remove_unlisted(&self.root, &touched, Some(&self.manifest));
        Bundle::open(&self.root)
    }

    /// Every path that appears or may disappear.
    pub(super) fn touched(&self, moves: &[Move]) -> BTreeSet<RelativePath> {
        let new = moves.iter().map(|step| step.to.clone());
        new.chain(self.previous.iter().flat_map(paths_of)).collect()
    }

    /// Gives every staged file a free place, changing the paths of its variant where they are taken.
    pub(super) fn arrange(&mut self) -> Result<Vec<Move>> {
        let staged = std::mem::take(&mut *self.staged.lock().expect("no holder of the list panics"));
        let mut moves = Vec::new();
        // Where each staged file goes first; several variants may share it.
        let mut listed: Vec<Option<RelativePath>> = vec![None; staged.len()];
        let mut manifest = self.manifest.clone();
        for variant in &mut manifest.variants {
            let sources: Vec<Option<usize>> = variant.files.iter().map(|file| find(&staged, file)).collect();
            if sources.iter().all(Option::is_none) {
                continue;
            }
            let original = variant.clone();
            let common = place::common_directory(&original);
            let mut number = 1;
            // Terminates: only the paths of the previous manifest can be taken, and each number gives new paths.
            while variant.files.iter().any(|file| self.is_taken(file)) {
                number += 1;
                for (file, source) in variant.files.iter_mut().zip(&original.files) {
                    file.path = RelativePath::new(place::moved(&original, common, &source.path, number))?;
                }
            }
            for ((file, before), source) in variant.files.iter().zip(&original.files).zip(sources) {
                match source {
                    Some(index) => match &listed[index] {
                        Some(first) if *first == file.path => {}
                        Some(first) => {
                            let (from, to) = (self.root.join(first), file.path.clone());
                            moves.push(Move { from, to, keep: true });
                        }
                        None => {
                            let (from, to) = (staged[index].file.clone(), file.path.clone());
                            listed[index] = Some(to.clone());
                            moves.push(Move { from, to, keep: false });
                        }
                    },
                    None if file.path != before.path => {
                        let (from, to) = (self.root.join(&before.path), file.path.clone());
                        moves.push(Move { from, to, keep: true });
                    }
                    None => {}
                }
            }
        }
        for (staged, listed) in staged.iter().zip(listed) {
            if listed.is_none() {
                let problem = match staged.entry {
                    Some(_) => "is not listed by any variant",
                    None => "was not finished",
                };
                return Err(Error::Staged { path: staged.path.to_string(), problem });
            }
        }
        self.manifest = manifest;
        Ok(moves)
    }

    /// Whether the previous manifest has another content under this path.
    fn is_taken(&self, file: &FileEntry) -> bool {
        let folded = file.path.folded();
        let mut known = self.previous.iter().flat_map(|manifest| &manifest.variants).flat_map(|v| &v.files);
        known.any(|known| known.path.folded() == folded && known.sha256 != file.sha256)
    }

    pub(super) fn move_files(&self, moves: &[Move]) -> Result<()> {
        let mut directories = BTreeSet::new();
        for step in moves {
            let target = self.root.join(&step.to);
            let directory = target.parent().expect("a bundle's file is below its root");
            create_inside(&self.root, directory)?;
            if step.keep {
                link_or_copy(&step.from, &target)?;
            } else {
                fs::rename(&step.from, &target).at("publish", &target)?;
            }
            let below = directory.ancestors().take_while(|path| path.starts_with(&self.root));
            directories.extend(below.map(Path::to_path_buf));
        }
        for directory in directories {
            platform::sync_directory(&directory).at("make durable", &directory)?;
        }
        Ok(())
    }

    /// Every listed file of the variants `expected` is in its place.
    fn check_files(&self, expected: &[String]) -> Result<()> {
        let bundle = Bundle::unpublished(&self.root, &self.manifest);
        for variant in self.manifest.variants.iter().filter(|variant| expected.contains(&variant.id)) {
            for file in &variant.files {
                bundle.check_size(variant, file)?;
            }
        }
        Ok(())
    }

    /// Writes the manifest, after its signature. A signature of another manifest is removed.
    pub(super) fn write_manifest(&self, manifest: &[u8], signature: Option<&[u8]>) -> Result<()> {
        let target = self.root.join(MANIFEST_FILE);
        let signature_file = self.root.join(SIGNATURE_FILE);
        if let Some(signature) = signature {
            AtomicFile::write_all_to(&signature_file, signature)?;
        }
        let is_unchanged = fs::read(&target).is_ok_and(|known| known == manifest);
        AtomicFile::write_all_to(&target, manifest)?;
        if signature.is_none() && !is_unchanged && signature_file.exists() {
            fs::remove_file(&signature_file).at("remove", &signature_file)?;
        }
        Ok(())
    }
}

fn paths_of(manifest: &Manifest) -> impl Iterator<Item = RelativePath> {
    manifest.variants.iter().flat_map(|variant| &variant.files).map(|file| file.path.clone())
}

fn find(staged: &[Staged], file: &FileEntry) -> Option<usize> {
    let same = |entry: &FileEntry| {
        entry.path == file.path && entry.bytes == file.bytes && entry.sha256 == file.sha256
    };
    staged.iter().position(|staged| staged.entry.as_ref().is_some_and(same))
}

/// Creates `directory` below `root` without following a link out of it.
fn create_inside(root: &Path, directory: &Path) -> Result<()> {
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(root);
    ensure_inside(root, existing)?;
    fs::create_dir_all(directory).at("create directory", directory)?;
    ensure_inside(root, directory)
}

pub(super) fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if to.symlink_metadata().is_ok() {
        fs::remove_file(to).at("replace", to)?;
    }
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).at("copy a file to", to)?;
    fs::File::open(to).and_then(|file| file.sync_all()).at("write", to)
}
