//! What can go wrong between sound and text. Messages name the file or the field.

use std::path::{Path, PathBuf};

/// Why nothing was transcribed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A graph or the library.
    #[error(transparent)]
    Onnx(#[from] onnx::Error),
    /// A file that is missing or broken.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A field of a configuration, or a setting, that does not fit.
    #[error("{field}: expected {expected}, got {got}")]
    Config {
        /// Which.
        field: &'static str,
        /// What is allowed.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// Tokens that are no text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// Stopped by the caller.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(super) fn file(path: &Path, reason: impl ToString) -> Self {
        Self::File { path: path.into(), reason: reason.to_string() }
    }
}
