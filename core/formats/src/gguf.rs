//! GGUF v2/v3: the header as typed tables, and a streaming writer.
//! Knows the container; must not know what a key or a tensor means to a model.
//!
//! Limits: every count is held against its constant below **and** against what the rest of the file could hold,
//! so memory stays within a small multiple of the bytes at hand. Accepted is what ggml's `gguf.cpp` accepts, except
//! that these are refused: tensors without dimensions or elements, empty tensor names, text that is not UTF-8,
//! booleans other than 0 and 1, and alignments above [`MAX_ALIGNMENT`]. Gaps between tensors are accepted, which
//! ggml refuses.

mod cursor;
mod error;
mod ggml_type;
mod header;
mod metadata;
mod names;
mod split;
mod writer;

pub use error::Error;
pub use ggml_type::GgmlType;
pub use header::{Header, TensorInfo};
pub use metadata::{Array, Metadata, Value};
pub use names::{in_layer, layer_of};
pub use split::{Split, SplitSet, SplitTensor, split_file_name, split_file_prefix};
pub use writer::{TensorSpec, Writer};

/// First four bytes of a GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The version that [`Writer`] writes.
pub const VERSION: u32 = 3;
/// Alignment of tensor data in bytes where `general.alignment` does not say otherwise.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// Largest `general.alignment` in bytes that is accepted.
pub const MAX_ALIGNMENT: u64 = 1 << 16;
/// Most dimensions of a tensor (`GGML_MAX_DIMS`).
pub const MAX_DIMS: usize = 4;
/// Longest tensor name in bytes (`GGML_MAX_NAME` − 1).
pub const MAX_NAME_BYTES: usize = 63;
/// Longest metadata key in bytes.
pub const MAX_KEY_BYTES: u64 = 65_535;
/// Longest string value in bytes (`GGUF_MAX_STRING_LENGTH`).
pub const MAX_STRING_BYTES: u64 = 1 << 30;
/// Most elements of an array value (`GGUF_MAX_ARRAY_ELEMENTS`).
pub const MAX_ARRAY_ELEMENTS: u64 = 1 << 30;
/// Most tensors in a file.
pub const MAX_TENSORS: u64 = 1 << 20;
/// Most metadata entries in a file.
pub const MAX_ENTRIES: u64 = 1 << 20;
/// Fewest bytes that a tensor takes in the table: name length and one byte, count, one extent, type, offset.
pub const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;
/// Fewest bytes that a metadata entry takes: key length and one byte, type, one byte of value.
pub const MIN_ENTRY_BYTES: u64 = 8 + 1 + 4 + 1;

/// The key that states the alignment.
const ALIGNMENT_KEY: &str = "general.alignment";
