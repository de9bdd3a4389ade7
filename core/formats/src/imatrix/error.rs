//! What can be wrong with an importance matrix. Messages name the entry, the key or the byte.

use crate::gguf;

/// Why an importance matrix was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The GGUF container is broken.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// A GGUF file of another kind.
    #[error("general.type: expected \"imatrix\", got {got}")]
    Kind {
        /// What the file says.
        got: String,
    },
    /// An entry cannot be.
    #[error("entry `{entry}`: {field}: expected {expected}, got {got}")]
    Entry {
        /// Tensor name, or its number where the name is not known.
        entry: String,
        /// Which field.
        field: &'static str,
        /// What is allowed.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// A key of the GGUF form is missing or has another type.
    #[error("{key}: expected {expected}, got {got}")]
    Key {
        /// The key.
        key: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What stands there.
        got: String,
    },
    /// The legacy file ends early.
    #[error("file ends at byte {offset} inside {field}")]
    Truncated {
        /// Byte offset of the field.
        offset: usize,
        /// What was being read.
        field: &'static str,
    },
}

pub(super) fn refuse(entry: &str, field: &'static str, expected: impl ToString, got: impl ToString) -> Error {
    Error::Entry { entry: entry.into(), field, expected: expected.to_string(), got: got.to_string() }
}
