//! Bytes to typed tables and back. Owns the file formats of models: layout, limits, checks.
//! May know numbers and names of a format; never touches the filesystem, never holds tensor data of a model,
//! never allocates more than the bytes at hand could fill, and has no unsafe code.

pub mod gguf;
pub mod imatrix;
pub mod json;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod safetensors;
pub mod tokenizer_json;
