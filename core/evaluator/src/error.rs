//! What can go wrong while measuring. Every message names the text, the field or the setting.

use std::io;

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(engine::Error),
    /// A text cannot be used.
    #[error("text `{name}`: {problem}")]
    Text {
        /// Its name.
        name: String,
        /// What is expected and what was found.
        problem: String,
    },
    /// A store of reference logits is damaged, or of something else.
    #[error("reference logits: {field}: expected {expected}, got {got}")]
    Reference {
        /// Which part.
        field: &'static str,
        /// What is allowed.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A wish that cannot be met.
    #[error("{what}: expected {expected}, got {got}")]
    Request {
        /// Which part.
        what: &'static str,
        /// What is allowed.
        expected: String,
        /// What was asked.
        got: String,
    },
    /// Logits that are no distribution.
    #[error("logits after token {position} of window {window}: {problem}")]
    Logits {
        /// Which window of the pass, from 0.
        window: usize,
        /// Which token of it, from 0.
        position: usize,
        /// What is wrong.
        problem: String,
    },
    /// Reading from or writing to what was handed in failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A program could not be run.
    #[error("running a generated program: {0}")]
    Program(String),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(crate) fn text(name: &str, problem: impl Into<String>) -> Self {
        Self::Text { name: name.into(), problem: problem.into() }
    }

    pub(crate) fn reference(
        field: &'static str,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
    ) -> Self {
        Self::Reference { field, expected: expected.into(), got: got.to_string() }
    }

    pub(crate) fn request(
        what: &'static str,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
    ) -> Self {
        Self::Request { what, expected: expected.into(), got: got.to_string() }
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Cancelled => Self::Cancelled,
            error => Self::Engine(error),
        }
    }
}
