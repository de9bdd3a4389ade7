//! What can be wrong with a safetensors header or index. Messages name the tensor or the byte.

/// Why a header or index was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file ends early.
    #[error("file ends at byte {offset} inside {field}")]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// What was being read.
        field: &'static str,
    },
    /// Reading failed.
    #[error("{field} at byte {offset}: {source}")]
    Io {
        /// Byte offset.
        offset: u64,
        /// What was being read.
        field: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The header's length cannot be.
    #[error("header length at byte 0: expected at most {limit}, got {got}")]
    HeaderLength {
        /// Most that is allowed in this file.
        limit: u64,
        /// What stands there.
        got: u64,
    },
    /// The JSON does not parse, or a name stands twice.
    #[error("{document}: {source}")]
    Json {
        /// `header` or `index`.
        document: &'static str,
        /// What and where (line and column count from the JSON's start).
        source: serde_json::Error,
    },
    /// A document is longer than is read.
    #[error("{document}: expected at most {limit} bytes, got {got}")]
    TooLong {
        /// `index`.
        document: &'static str,
        /// Most that is read.
        limit: u64,
        /// Its length.
        got: u64,
    },
    /// Bytes of the data section that belong to no tensor.
    #[error("data at byte {offset}: expected {expected}, got {got} bytes that belong to no tensor")]
    Hole {
        /// Where they begin, absolute in the file.
        offset: u64,
        /// What must follow there.
        expected: String,
        /// How many.
        got: u64,
    },
    /// One tensor's entry cannot be.
    #[error("tensor `{tensor}`: {field}: expected {expected}, got {got}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// Which field.
        field: &'static str,
        /// What is allowed.
        expected: String,
        /// What stands there.
        got: String,
    },
}

pub(super) fn refuse(
    tensor: &str,
    field: &'static str,
    expected: impl ToString,
    got: impl ToString,
) -> Error {
    Error::Tensor { tensor: tensor.into(), field, expected: expected.to_string(), got: got.to_string() }
}
