//! What can be wrong with a manifest: a field and its problem.
//!
//! Owns the error. The manifest's file path is added by whoever opened the file.

use crate::path;

/// A rule of the manifest that a field breaks.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ManifestError {
    /// The JSON field, e.g. `variants[2].files[0].path`; `.` is the whole document.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// The kinds of problem.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not JSON, a missing field or a wrong type.
    #[error("{message}, at line {line} column {column}")]
    Json {
        /// What the parser found.
        message: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The file is longer than this crate reads.
    #[error("manifest has {bytes} bytes; the limit is {limit}")]
    TooLong {
        /// Bytes found.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A schema version that this crate does not read.
    #[error("schema version {got} is not supported; this runtime reads 1 to {supported}")]
    SchemaVersion {
        /// The manifest's version.
        got: u64,
        /// The highest readable version.
        supported: u32,
    },
    /// Features of the manifest that this crate does not know.
    #[error("requires features that this runtime does not know: {}", names.join(", "))]
    UnknownFeatures {
        /// Their names.
        names: Vec<String>,
    },
    /// A path or id that breaks the rules of paths.
    #[error("`{path}`: {problem}")]
    Path {
        /// The path.
        path: String,
        /// The rule.
        problem: path::Problem,
    },
    /// A path that the bundle uses itself.
    #[error("`{path}` is reserved for the bundle itself")]
    ReservedPath {
        /// The path.
        path: String,
    },
    /// Two paths that are the same file, at least where case is ignored, or one inside the other.
    #[error("`{path}` collides with `{first}` of {first_field}")]
    PathCollision {
        /// The second path.
        path: String,
        /// The first path.
        first: String,
        /// The field of the first.
        first_field: String,
    },
    /// Two variants with one id.
    #[error("duplicate variant id `{id}`")]
    DuplicateVariant {
        /// The id.
        id: String,
    },
    /// A variant id that is referred to but does not exist.
    #[error("no variant `{id}`")]
    UnknownVariant {
        /// The id.
        id: String,
    },
    /// A text that must not be empty.
    #[error("must not be empty")]
    Empty,
    /// A version that is not `major.minor.patch`.
    #[error("`{text}` is not a version (major.minor.patch): {reason}")]
    Version {
        /// The text.
        text: String,
        /// What the parser found.
        reason: String,
    },
    /// A number outside its range.
    #[error("expected {expected}, got {got}")]
    OutOfRange {
        /// The range in words.
        expected: &'static str,
        /// The value.
        got: String,
    },
}
