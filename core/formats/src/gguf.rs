//! GGUF v2/v3: the header as typed tables, and a streaming writer.
//! Knows the container; must not know what a key or a tensor means to a model.

mod error;
mod ggml_type;
mod header;
mod metadata;
mod writer;

pub use error::Error;
pub use ggml_type::GgmlType;
pub use header::{Header, TensorInfo};
pub use metadata::{Array, Metadata, Value};
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
/// Most tensors in a file.
pub const MAX_TENSORS: u64 = 1 << 20;
/// Most metadata entries in a file.
pub const MAX_ENTRIES: u64 = 1 << 20;
