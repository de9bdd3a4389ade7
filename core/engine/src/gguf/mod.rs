//! The GGUF engine: llama.cpp behind a thin safe layer.
//!
//! Owns: every call into llama.cpp and ggml. May know: GGUF headers. Must not know: anything above
//! tokens, logits and vectors.
//!
//! llama.cpp ends the process where it finds what it does not expect. So this layer checks first:
//! files through `formats::gguf` (`validate`), settings and tokens against the model.

mod start;

mod cpu;
mod devices;
mod log;
mod shim;
mod threads;

mod validate;

mod loading;
mod model;

mod adapter;
mod parameters;

mod dry_run;

mod abort;
mod context;
mod decode;
mod evaluation;
#[cfg(feature = "multimodal")]
mod file_kind;
mod nodes;
mod paging;
#[cfg(feature = "predictions")]
mod predictions;
#[cfg(not(feature = "predictions"))]
#[path = "predictions_disabled.rs"]
mod predictions;
#[cfg(feature = "multimodal")]
mod projector;
#[cfg(not(feature = "multimodal"))]
#[path = "projector_disabled.rs"]
mod projector;
mod recurrent;
mod sequences;
mod spans;
mod state;
mod vectors;
mod watch;

pub mod quantize;

pub use adapter::GgufAdapter;
pub use context::GgufContext;
pub use cpu::{CpuVariant, CpuVariants, ROWS_AS_ONE};
pub use dry_run::GgufDryModel;
pub use log::{LogLevel, LogSink};
pub use model::GgufModel;
pub use sequences::GgufSequences;
pub use start::{EngineOptions, GgufEngine};
