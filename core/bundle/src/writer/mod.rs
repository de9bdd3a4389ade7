//! Making and changing a bundle so that it is valid at every moment.
//!
//! Owns the staging directory inside the bundle, its lock, staged files, publication and the removal of what a crashed
//! writer left. Must not know what is written.
//!
//! Files are staged in `.staging/`, hashed while they are written. [`BundleWriter::publish`] moves them to their
//! places and renames the new manifest over the old one last. No published file is ever changed: a new version of a
//! variant whose path is taken goes to a directory beside it (`gguf/Q4_K_M.2/`), and the old files are removed after
//! the new manifest is in place.

mod journal;
mod place;
mod publish;
mod receive;
mod staged;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub(crate) use receive::Received;
pub use staged::StagedFile;

use crate::bundle::{parse_manifest, read_manifest};
use crate::digest::Sha256Digest;
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::lock::{LockFile, create_directory};
use crate::manifest::{FileEntry, MANIFEST_FILE, Manifest, ModelCard, Variant};
use crate::mapped_file::MappedFile;
use crate::path::RelativePath;
use staged::Staged;

/// Directory of unpublished files inside a bundle.
pub(crate) const STAGING: &str = ".staging";

/// Writes a new bundle or new variants of an existing one. One writer at a time; dropped without
/// [`BundleWriter::publish`], it leaves the bundle as it was.
#[derive(Debug)]
pub struct BundleWriter {
    root: PathBuf,
    /// Topmost directory that this writer had to create, to be removed again if nothing is published.
    created: Option<PathBuf>,
    /// The manifest on disk, absent in a new bundle.
    previous: Option<Manifest>,
    manifest: Manifest,
    staged: Arc<Mutex<Vec<Staged>>>,
    /// Released after the staging directory is gone.
    lock: Option<LockFile>,
}

impl BundleWriter {
    /// Opens the bundle at `root` for change, or starts a new one of `model` there. Creates directories as needed,
    /// takes the writer's lock and cleans up after a crashed writer.
    ///
    /// # Errors
    /// [`Error::Locked`] while another writer works; [`Error::OtherModel`] when a bundle of another model is there;
    /// [`Error::Manifest`] when the manifest there is not valid; [`Error::Io`].
    pub fn create_or_open(root: &Path, model: ModelCard) -> Result<BundleWriter> {
        let mut writer = BundleWriter::start(root, true, Manifest::new(model.clone()))?;
        if let Some(previous) = &writer.previous {
            if previous.model.id != model.id {
                return Err(Error::OtherModel {
                    path: root.join(MANIFEST_FILE),
                    expected: model.id,
                    got: previous.model.id.clone(),
                });
            }
            writer.manifest = previous.clone();
            writer.manifest.model = model;
        }
        Ok(writer)
    }

    /// Opens the existing bundle at `root` for change.
    ///
    /// # Errors
    /// As [`BundleWriter::create_or_open`], and [`Error::Io`] when there is no manifest.
    pub fn open(root: &Path) -> Result<BundleWriter> {
        let manifest = parse_manifest(root, &read_manifest(root)?)?;
        let mut writer = BundleWriter::start(root, false, manifest)?;
        if let Some(previous) = &writer.previous {
            writer.manifest = previous.clone();
        }
        Ok(writer)
    }

    fn start(root: &Path, create: bool, manifest: Manifest) -> Result<BundleWriter> {
        let created = match create {
            true => create_directories(root)?,
            false => None,
        };
        let mut writer = BundleWriter {
            root: root.to_path_buf(),
            created,
            previous: None,
            manifest,
            staged: Arc::default(),
            lock: None,
        };
        refuse_symlink(&writer.staging())?;
        writer.lock = Some(LockFile::exclusive(&writer.staging().join("lock"), root)?);
        writer.previous = manifest_on_disk(root)?;
        journal::clean_up(&writer.staging(), root, writer.previous.as_ref())?;
        Ok(writer)
    }

    /// The bundle's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The manifest as it will be published.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest as it will be published, for setting architecture, provenance and the like.
    pub fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }

    /// Refuses when the disk has less than `need_bytes` left: call it with the predicted size before writing.
    ///
    /// # Errors
    /// [`Error::DiskSpace`].
    pub fn ensure_space(&self, need_bytes: u64) -> Result<()> {
        disk::ensure_space(&self.root, need_bytes)
    }

    /// Starts a file that will be published as `path`. Files may be staged from several threads at once.
    ///
    /// # Errors
    /// [`Error::Path`] when `path` breaks the rules, [`Error::Io`].
    pub fn file(&self, path: impl Into<String>) -> Result<StagedFile> {
        let path = RelativePath::new(path)?;
        let number = {
            let mut staged = self.staged.lock().expect("no holder of the list panics");
            let number = staged.len();
            staged.push(Staged {
                path: path.clone(),
                file: self.staging().join(number.to_string()),
                entry: None,
            });
            number
        };
        StagedFile::create(number, path, &self.staging().join(number.to_string()), Arc::clone(&self.staged))
    }

    /// Takes a file that is complete and lies elsewhere, to be published as `path`: linked where the file system can, else
    /// copied. The file itself stays where it is and must not change any more. Gives the entry for the manifest.
    ///
    /// # Errors
    /// [`Error::Path`] when `path` breaks the rules, [`Error::Io`].
    pub fn adopt(&self, file: &Path, path: impl Into<String>) -> Result<FileEntry> {
        let path = RelativePath::new(path)?;
        let mut staged = self.staged.lock().expect("no holder of the list panics");
        let place = self.staging().join(staged.len().to_string());
        publish::link_or_copy(file, &place)?;
        let mapped = MappedFile::open(&place)?;
        let entry = FileEntry::new(path.clone(), mapped.len() as u64, Sha256Digest::of(&mapped));
        staged.push(Staged { path, file: place, entry: Some(entry.clone()) });
        Ok(entry)
    }

    /// Replaces the variant with the same id, or adds it. Its files are entries of finished staged files, or entries
    /// of files that the bundle already has.
    pub fn put_variant(&mut self, variant: Variant) {
        self.manifest.put_variant(variant);
    }

    /// Removes the variant with this id; its files go at publication. Returns whether it was there.
    pub fn remove_variant(&mut self, id: &str) -> bool {
        let before = self.manifest.variants.len();
        self.manifest.variants.retain(|variant| variant.id != id);
        self.manifest.variants.len() != before
    }

    fn staging(&self) -> PathBuf {
        self.root.join(STAGING)
    }
}

impl Drop for BundleWriter {
    fn drop(&mut self) {
        // The lock file goes last, with its directory, while the lock is still held. Without the lock, what is in there
        // may be another writer's: then the directory goes only if it is empty.
        let removed = match self.lock {
            Some(_) => fs::remove_dir_all(self.staging()),
            None => fs::remove_dir(self.staging()).or(Ok(())),
        };
        if let Err(error) = removed {
            tracing::warn!(path = %self.staging().display(), %error, "cannot remove staging directory");
        }
        self.lock = None;
        if let Some(created) = &self.created {
            let mut directory = self.root.as_path();
            // Stops at the first directory that is not empty.
            while fs::remove_dir(directory).is_ok() && directory != created {
                match directory.parent() {
                    Some(parent) => directory = parent,
                    None => break,
                }
            }
        }
    }
}

/// The manifest in `root`, if there is one.
fn manifest_on_disk(root: &Path) -> Result<Option<Manifest>> {
    match root.join(MANIFEST_FILE).try_exists().at("open", root)? {
        true => parse_manifest(root, &read_manifest(root)?).map(Some),
        false => Ok(None),
    }
}

/// Creates `root` and its parents; returns the topmost that did not exist.
fn create_directories(root: &Path) -> Result<Option<PathBuf>> {
    let missing = root.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).last();
    create_directory(root)?;
    Ok(missing.map(Path::to_path_buf))
}

/// Refuses a symbolic link where the bundle expects a directory or file of its own.
fn refuse_symlink(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_symlink() => Err(Error::Io {
            doing: "use",
            path: path.to_path_buf(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "is a symbolic link"),
        }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("open", path, error)),
    }
}

#[cfg(test)]
mod tests;
