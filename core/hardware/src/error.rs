//! Why a host could not be described. Every message names the file.

use std::path::PathBuf;

/// What this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why detection failed. A single fact that cannot be read is no failure: [`crate::Host::unknown`] lists those.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file holds something else than expected.
    #[error("{path}: expected {expected}, got {got}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What stands there.
        got: String,
    },
    /// No such profile, or not with that memory.
    #[error("profile {wish}: expected {expected}, got {got}")]
    Profile {
        /// What was asked for.
        wish: String,
        /// What there is.
        expected: String,
        /// The part that fits nothing.
        got: String,
    },
}
