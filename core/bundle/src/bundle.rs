//! A bundle on disk, opened for reading.
//!
//! Owns reading the manifest, the quick check of file sizes, and safe paths to files. Must not write; must not know
//! what is in the files.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::manifest::{FileEntry, MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest, Variant};

/// A bundle: its directory and its manifest.
#[derive(Debug, Clone)]
pub struct Bundle {
    root: PathBuf,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
}

/// Which files of a variant are on this disk, judged by their sizes.
#[derive(Debug)]
pub enum Presence {
    /// All files are there with their sizes.
    Complete,
    /// No file is there: the variant was not pulled.
    Absent,
    /// Some files are missing or have the wrong size; the first problem.
    Damaged(Error),
}

impl Bundle {
    /// Opens the bundle at `root`, a directory with a manifest. The sizes of a variant's files are checked when they
    /// are asked for ([`Bundle::presence`], [`Bundle::files`]), so that one damaged variant does not lock out others.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Manifest`].
    pub fn open(root: &Path) -> Result<Bundle> {
        let manifest_bytes = read_manifest(root)?;
        let manifest = parse_manifest(root, &manifest_bytes)?;
        Ok(Bundle { root: root.to_path_buf(), manifest, manifest_bytes })
    }

    /// A bundle whose manifest is not written yet.
    pub(crate) fn unpublished(root: &Path, manifest: &Manifest) -> Bundle {
        Bundle { root: root.to_path_buf(), manifest: manifest.clone(), manifest_bytes: Vec::new() }
    }

    /// Whether `root` looks like a bundle: it holds a file with the manifest's name.
    pub fn is_bundle(root: &Path) -> bool {
        root.join(MANIFEST_FILE).is_file()
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest's file.
    pub fn manifest_path(&self) -> PathBuf {
        self.root.join(MANIFEST_FILE)
    }

    /// The manifest as read, byte for byte: what a signature covers.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// All variants, present or not.
    pub fn variants(&self) -> &[Variant] {
        &self.manifest.variants
    }

    /// The variant with this id.
    ///
    /// # Errors
    /// [`Error::UnknownVariant`] with the ids that exist.
    pub fn variant(&self, id: &str) -> Result<&Variant> {
        self.manifest.variant(id).ok_or_else(|| Error::UnknownVariant {
            path: self.manifest_path(),
            id: id.to_owned(),
            known: self.manifest.variants.iter().map(|variant| variant.id.clone()).collect(),
        })
    }

    /// Which files of `variant` are on this disk.
    pub fn presence(&self, variant: &Variant) -> Presence {
        let exists = |file: &FileEntry| self.root.join(&file.path).symlink_metadata().is_ok();
        if !variant.files.iter().any(exists) {
            return Presence::Absent;
        }
        match variant.files.iter().try_for_each(|file| self.check_size(variant, file).map(drop)) {
            Ok(()) => Presence::Complete,
            Err(error) => Presence::Damaged(error),
        }
    }

    /// The paths of a variant's files after the quick check of their sizes, in manifest order; the first is the one to
    /// open.
    ///
    /// # Errors
    /// [`Error::UnknownVariant`], [`Error::MissingFile`], [`Error::WrongSize`], [`Error::Escapes`].
    pub fn files(&self, id: &str) -> Result<Vec<PathBuf>> {
        let variant = self.variant(id)?;
        variant.files.iter().map(|file| self.check_size(variant, file)).collect()
    }

    /// The path of one file after the quick check.
    pub(crate) fn check_size(&self, variant: &Variant, file: &FileEntry) -> Result<PathBuf> {
        let path = self.root.join(&file.path);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::MissingFile { path, variant: variant.id.clone() });
            }
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        ensure_inside(&self.root, &path)?;
        if !metadata.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(Error::io("open", &path, source));
        }
        if metadata.len() != file.bytes {
            return Err(Error::WrongSize { path, expected: file.bytes, got: metadata.len() });
        }
        Ok(path)
    }
}

impl Variant {
    /// Refuses a variant whose `min_runtime` is above `runtime` (`major.minor.patch`, by semantic versioning).
    ///
    /// # Errors
    /// [`Error::RuntimeTooOld`]; also when `runtime` is no version.
    pub fn check_runtime(&self, runtime: &str) -> Result<()> {
        if self.min_runtime.is_empty() {
            return Ok(());
        }
        let parse = |text: &str| semver::Version::parse(text).ok();
        match (parse(&self.min_runtime), parse(runtime)) {
            (Some(needed), Some(have)) if have >= needed => Ok(()),
            _ => Err(Error::RuntimeTooOld {
                id: self.id.clone(),
                needed: self.min_runtime.clone(),
                have: runtime.to_owned(),
            }),
        }
    }
}

/// The bytes of the manifest in `root`, at most the limit.
pub(crate) fn read_manifest(root: &Path) -> Result<Vec<u8>> {
    let path = root.join(MANIFEST_FILE);
    let file = fs::File::open(&path).at("open", &path)?;
    let mut bytes = Vec::new();
    // One byte more than the limit, so that the parser sees that there was more.
    file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes).at("read", &path)?;
    Ok(bytes)
}

/// Parses the manifest of `root`, naming its path in errors.
pub(crate) fn parse_manifest(root: &Path, bytes: &[u8]) -> Result<Manifest> {
    Manifest::parse(bytes).map_err(|source| Error::manifest(root.join(MANIFEST_FILE), source))
}

/// Refuses an existing `path` that leads out of `root` through symbolic links.
pub(crate) fn ensure_inside(root: &Path, path: &Path) -> Result<()> {
    let real_root = root.canonicalize().at("resolve", root)?;
    let real = path.canonicalize().at("resolve", path)?;
    if real.starts_with(&real_root) {
        return Ok(());
    }
    Err(Error::Escapes { path: path.to_path_buf(), root: root.to_path_buf() })
}
