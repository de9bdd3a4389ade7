//! Decoders in MLX's format: a directory with a configuration and weights, described by `families`, and computed by MLX.
//!
//! Owns: what a directory must hold ([`Model`]), and with the feature `compute` the computing (`Decoder`). May know: file
//! formats, families, MLX's library. Must not know: bundles, plans, the texts of tokens, how the next token is chosen, the
//! system it runs on.

#![cfg_attr(
    not(feature = "compute"),
    allow(dead_code, reason = "what is only computed with is read all the same")
)]

mod error;
mod files;
mod grid;
mod model;
mod network;

#[cfg(feature = "compute")]
mod compute;

#[cfg(feature = "compute")]
pub use compute::{Decoder, Rows, Sequence, version};
pub use error::Error;
pub use grid::{Grid, Mode};
pub use model::Model;
