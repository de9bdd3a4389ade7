//! Bundles: a directory with a manifest and several variants of one model.
//!
//! Owns the manifest schema, integrity (sizes, SHA-256), signatures, atomic publication, and getting bundles and
//! checkpoints over a transport. May know families' descriptions as data. Must not know engines, plans, tensors,
//! environment variables or the home directory: every directory, address and token is a parameter.

pub mod atomic;
pub mod digest;
pub mod download;
pub mod error;
#[cfg(feature = "download")]
pub mod http_transport;
pub mod hub;
pub mod manifest;
pub mod mapped_file;
pub mod path;
pub mod pull;
pub mod signature;
pub mod transport;

mod bundle;
mod disk;
mod lock;
mod platform;
mod usage;
mod verify;
mod work;
mod writer;

pub use bundle::{Bundle, Presence};
pub use digest::Sha256Digest;
pub use disk::{available_bytes, ensure_space};
pub use error::{Error, Result};
pub use manifest::{
    Architecture, FileEntry, FileRole, Format, Licence, MANIFEST_FILE, MODEL_HEADER, Manifest, ManifestError,
    MemoryInputs, ModelCard, Needs, Provenance, Quality, SCHEMA_VERSION, Settings, Variant,
};
pub use path::RelativePath;
pub use signature::{PublicKey, SignaturePolicy, SignatureStatus, SigningKey, TrustStore};
pub use usage::UseGuard;
pub use verify::{FileReport, Progress, VerifyReport};
pub use work::WorkFolder;
pub use writer::{BundleWriter, StagedFile};
