//! ONNX Runtime, loaded while running: a session takes tensors in and gives tensors out; and a quantizer of vision and speech
//! models that uses it as its judge. Owns the library's doorway, providers and the values that flow. Knows the ONNX format;
//! must not know bundles, tokens, or where an app keeps its files: paths are handed in. Prints nothing; the library's own
//! messages go to `tracing`.

mod error;
#[cfg(feature = "export")]
pub mod export;
pub mod files;
pub mod library;
#[cfg(feature = "media")]
pub mod media;
pub mod provider;
#[cfg(feature = "quantize")]
pub mod quantize;
pub mod session;
pub mod value;

pub use error::Error;
pub use library::Library;
pub use provider::{Fallback, Provider};
pub use session::{Cancel, Optimization, Options, Port, Session};
pub use value::Value;

/// Element types, as the format names them.
pub use formats::onnx::DataType;
