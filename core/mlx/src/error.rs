//! What can go wrong with a directory for MLX. Owns [`Error`]; must not know how errors are shown.

use std::path::{Path, PathBuf};

/// An error. Every variant names what was wrong, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, by field or tensor.
        reason: String,
    },
    /// A model that is not computed here, by what its configuration says.
    #[error("{path}: {source}")]
    Family {
        /// The configuration.
        path: PathBuf,
        /// The field, what is expected and what is there.
        source: families::Error,
    },
    /// MLX failed.
    #[error("MLX: {reason}")]
    Compute {
        /// Its own words.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A saved sequence that is damaged, or of another model.
    #[error("state: {reason}")]
    State {
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    pub(crate) fn invalid(path: &Path, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), reason: reason.into() }
    }

    pub(crate) fn field(
        path: &Path,
        field: &str,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        let source =
            families::Error::Field { field: field.into(), expected: expected.into(), got: got.into() };
        Self::Family { path: path.into(), source }
    }
}
