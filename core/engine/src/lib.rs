//! The engine doorway: token ids in, logits and state out.
//!
//! Owns: the [`Engine`], [`Model`] and [`Context`] traits that every engine speaks, their settings
//! and errors, and the engines themselves ([`gguf`]: llama.cpp). May know: file formats and the
//! native libraries. Must not know: bundles and manifests, plans, tokenizers, samplers, templates.
//! This crate and `ffi` are the only places where native code is called.

#![allow(unsafe_code)]

mod adapter;
mod cancel;
mod context;
mod device;
#[allow(clippy::module_inception)]
mod engine;
mod error;
mod media;
mod memory;
mod model;
#[cfg_attr(not(feature = "gguf"), allow(dead_code, reason = "experts are paged by llama.cpp's engine alone"))]
mod residency;
mod sequences;
mod settings;
mod several;
mod watch;

#[cfg(feature = "gguf")]
pub mod gguf;

#[cfg(feature = "isolate")]
pub mod isolate;

#[cfg(all(feature = "mlx", any(target_vendor = "apple", llama_pajamas_mlx)))]
pub mod mlx;

#[cfg(feature = "onnx")]
pub mod onnx;

pub use adapter::{Adapter, AdapterKind, Applied};
pub use cancel::CancelToken;
pub use context::{Context, Logits, RecurrentLayer, Vectors, check_ids, check_room, likeliest};
pub use device::{DeviceInfo, DeviceKind};
pub use engine::Engine;
pub use error::Error;
pub use media::{Media, Piece, Projector, ProjectorSettings};
pub use memory::{BufferUse, MemoryUse};
pub use model::{DryModel, Form, Model};
pub use residency::PagingStats;
pub use sequences::{Part, Separate, Sequences};
pub use settings::{ContextSettings, KvType, LoadSettings, Pooling, Purpose};
pub use several::Several;
pub use watch::{Product, Watch};

/// A token id: an index into the model's vocabulary, `0 .. n_vocab`.
pub type Token = i32;
