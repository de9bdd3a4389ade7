//! Why a host could not be described. Every message names the file.

use std::path::PathBuf;

/// Why detection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the system could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file of the system holds something else than expected.
    #[error("{path}: expected {expected}, got {got}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What stands there.
        got: String,
    },
}
