//! The errors of this crate, each naming the file or field at fault.
//!
//! Owns the enum and the small constructors around `std::io::Error`. Must not know about public error numbers:
//! those are the facade's.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Sha256Digest;
use crate::manifest::ManifestError;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a bundle could not be read, checked or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file or directory.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The attempted operation as a verb: "open", "rename".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The manifest breaks a rule of its schema.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The manifest file.
        path: PathBuf,
        /// The field and its problem.
        source: Box<ManifestError>,
    },
    /// A file that the manifest lists is absent.
    #[error("{}: file of variant `{variant}` is missing", path.display())]
    MissingFile {
        /// Where it should be.
        path: PathBuf,
        /// The variant that lists it.
        variant: String,
    },
    /// A file is longer or shorter than the manifest says.
    #[error("{}: expected {expected} bytes, got {got}", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Bytes according to the manifest.
        expected: u64,
        /// Bytes found.
        got: u64,
    },
    /// The content of a file is not what the manifest says.
    #[error("{}: expected sha256 {expected}, got {got}", path.display())]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// Digest according to the manifest.
        expected: Sha256Digest,
        /// Digest of the content.
        got: Sha256Digest,
    },
    /// A path inside a bundle leads outside it through a symbolic link.
    #[error("{}: leads outside the bundle {}", path.display(), root.display())]
    Escapes {
        /// The path as listed.
        path: PathBuf,
        /// The directory it has to stay in.
        root: PathBuf,
    },
    /// A path or variant id breaks the rules of [`crate::path`].
    #[error("`{path}`: {problem}")]
    Path {
        /// The path as given.
        path: String,
        /// The rule it breaks.
        problem: crate::path::Problem,
    },
    /// The disk is too small for what is about to be written.
    #[error("{}: not enough disk space: need {need_bytes} bytes, have {have_bytes}", path.display())]
    DiskSpace {
        /// The directory written to.
        path: PathBuf,
        /// Bytes about to be written.
        need_bytes: u64,
        /// Bytes available.
        have_bytes: u64,
    },
    /// Another writer holds the directory.
    #[error("{}: another process is writing here; wait for it or end it", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// No variant has this id.
    #[error("{}: no variant `{id}`; there are: {}", path.display(), known.join(", "))]
    UnknownVariant {
        /// The manifest file.
        path: PathBuf,
        /// The id asked for.
        id: String,
        /// The ids that exist.
        known: Vec<String>,
    },
    /// A variant needs a newer runtime.
    #[error("variant `{id}` needs runtime {needed} or newer; this is {have}")]
    RuntimeTooOld {
        /// The variant.
        id: String,
        /// Its `min_runtime`.
        needed: String,
        /// The version of the runtime that asked.
        have: String,
    },
    /// The directory holds a bundle of another model.
    #[error("{}: is a bundle of model `{got}`, expected `{expected}`", path.display())]
    OtherModel {
        /// The manifest file.
        path: PathBuf,
        /// The model to be added.
        expected: String,
        /// The model of the bundle.
        got: String,
    },
    /// The policy requires a signature by a trusted key.
    #[error("{}: {status}; a signature by a trusted key is required", path.display())]
    Signature {
        /// The manifest file.
        path: PathBuf,
        /// What was found instead.
        status: crate::signature::SignatureStatus,
    },
    /// A file is not the key it should be.
    #[error("{}: {reason}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A download failed for good.
    #[error("cannot download {url}: {problem}")]
    Download {
        /// The address, without secrets.
        url: String,
        /// The last problem.
        problem: crate::download::Problem,
    },
    /// A text is not a hub id.
    #[error("`{text}` is not a hub id (organisation/name or organisation/name@revision): {reason}")]
    HubId {
        /// The text.
        text: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The hub's description of a repository cannot be used.
    #[error("{url}: {reason}")]
    HubIndex {
        /// The address asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// No suitable files in a repository.
    #[error("{id}: {reason}")]
    HubFiles {
        /// The repository.
        id: String,
        /// What was looked for and found.
        reason: String,
    },
    /// Offline, and the cache does not have it.
    #[error("{id}: not available offline: {reason}")]
    Offline {
        /// What was asked for.
        id: String,
        /// What is missing.
        reason: String,
    },
    /// A store may not grow as far as needed, even after evicting everything that is not in use.
    #[error(
        "{}: storage cap of {cap_bytes} bytes: need {need_bytes} bytes more, {used_bytes} bytes are in use",
        path.display()
    )]
    StorageCap {
        /// The store.
        path: PathBuf,
        /// The cap.
        cap_bytes: u64,
        /// Bytes about to be written.
        need_bytes: u64,
        /// Bytes that cannot be evicted.
        used_bytes: u64,
    },
    /// A file was staged and is not listed by any variant, or was not finished.
    #[error("staged file `{path}` {problem}")]
    Staged {
        /// The path as staged.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// An [`Error::Manifest`].
    pub(crate) fn manifest(path: impl Into<PathBuf>, source: ManifestError) -> Error {
        Error::Manifest { path: path.into(), source: Box::new(source) }
    }

    /// An [`Error::Io`]; `doing` is a verb that reads after "cannot".
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>, source: io::Error) -> Error {
        Error::Io { doing, path: path.as_ref().to_path_buf(), source }
    }
}

/// Adds the operation and the path to an I/O result.
pub(crate) trait IoContext<T> {
    /// Turns the error into [`Error::Io`].
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::io(doing, path, source))
    }
}
