//! What can be wrong with a `tokenizer.json`. Messages name the field and the byte.

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not JSON, or JSON of another shape.
    #[error("{field} at byte {offset}: {message}")]
    Json {
        /// Path of the field, e.g. `model.merges[3]`.
        field: String,
        /// Where in the document; the beginning of the part where the shape is wrong.
        offset: usize,
        /// What the parser says.
        message: String,
    },
    /// A part that every tokenizer has is not there.
    #[error("{field}: expected an object, got nothing")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// Longer than is read.
    #[error("{field} at byte {offset}: expected at most {limit} bytes, got {got}")]
    TooLong {
        /// The part.
        field: &'static str,
        /// Where it begins.
        offset: usize,
        /// Most that is read.
        limit: usize,
        /// Its length.
        got: usize,
    },
    /// A value that is not allowed.
    #[error("{field} at byte {offset}: expected {expected}, got {got}")]
    Field {
        /// The part.
        field: String,
        /// Where the part begins.
        offset: usize,
        /// What is allowed.
        expected: String,
        /// What stands there.
        got: String,
    },
}
