//! What can be wrong with a GGUF file. Every message says where (byte offset, key or tensor),
//! what was expected and what was found.

use super::GgmlType;

/// Why a GGUF header was refused or could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end inside a field.
    #[error("file ends at byte {offset} inside {field}")]
    Truncated {
        /// Byte offset at which the field starts.
        offset: u64,
        /// The field being read.
        field: String,
    },
    /// Reading or writing failed.
    #[error("{field} at byte {offset}: {source}")]
    Io {
        /// Byte offset.
        offset: u64,
        /// The field being read or written.
        field: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Not a GGUF file.
    #[error("expected magic \"GGUF\" at byte 0, got {got:02x?}")]
    Magic {
        /// The first four bytes.
        got: [u8; 4],
    },
    /// A version or byte order that is not read.
    #[error("expected GGUF version 2 or 3 (little-endian) at byte 4, got {got:#x}{}", if *.got != 0 && got.swap_bytes() < 16 { ": the file is big-endian" } else { "" })]
    Version {
        /// The version field.
        got: u32,
    },
    /// A field holds something that is not allowed.
    #[error("{field} at byte {offset}: expected {expected}, got {got}")]
    Field {
        /// Byte offset of the field.
        offset: u64,
        /// The field, with its key or tensor name where known.
        field: String,
        /// What is allowed there.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// Two metadata entries or two tensors carry one name.
    #[error("{field} `{name}` appears twice")]
    Duplicate {
        /// `metadata key` or `tensor`.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// A tensor's rows do not divide into the blocks of its type.
    #[error("tensor `{name}`: expected rows of a multiple of {block} weights for {ty}, got {got}")]
    Block {
        /// Tensor name.
        name: String,
        /// Its type.
        ty: GgmlType,
        /// Weights per block.
        block: u64,
        /// First dimension.
        got: u64,
    },
    /// A tensor's data would lie outside the file.
    #[error("tensor `{name}`: data ends at byte {end}, file has {file_bytes} bytes")]
    OutsideFile {
        /// Tensor name.
        name: String,
        /// End of its data, absolute.
        end: u128,
        /// Length of the file.
        file_bytes: u64,
    },
    /// The parts of a split model do not fit together.
    #[error("{field}: expected {expected}, got {got}")]
    Split {
        /// The key, with the part where it matters.
        field: String,
        /// What is allowed.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// The writer was given too many or too few bytes.
    #[error("tensor `{name}`: expected {expected} bytes of data, got {got}")]
    Data {
        /// Tensor name.
        name: String,
        /// Bytes its shape and type need.
        expected: u64,
        /// Bytes given.
        got: u64,
    },
}
