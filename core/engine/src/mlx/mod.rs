//! The engine for MLX's format: decoders computed by MLX, on the GPU of Apple's systems.
//!
//! Owns: [`MlxEngine`], its models and contexts, and the thread that computes. May know: crate `mlx`. Must not know: how a
//! directory was made.

mod context;
mod model;
mod start;
mod worker;

pub use start::MlxEngine;

use std::path::Path;

/// The engine's error for one of crate `mlx` while loading from `path`.
fn load_error(path: &Path, error: ::mlx::Error) -> crate::Error {
    match error {
        ::mlx::Error::Read { path, source } => crate::Error::Read { path, source },
        ::mlx::Error::Invalid { path, reason } => crate::Error::InvalidFile { path, reason },
        ::mlx::Error::Family { path, source } => crate::Error::Load { path, reason: source.to_string() },
        ::mlx::Error::Cancelled => crate::Error::Cancelled,
        other => crate::Error::Load { path: path.into(), reason: other.to_string() },
    }
}
