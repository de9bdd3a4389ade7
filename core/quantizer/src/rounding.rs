//! Rounding with error feedback: the scales of ggml's own search, and levels chosen together for what flows into them.
//!
//! Owns the way from rows of weights and the second moments `H = E[x xᵀ]` of their input to blocks whose products miss
//! the originals' by the least: `tr(Δ H Δᵀ)` for a difference `Δ`. May know ggml's blocks. Must not know files or plans.
//!
//! Three steps, each better than the one before or left out: ggml's search gives blocks by importance (the diagonal of
//! `H`); [`feedback`] chooses levels column after column, each making up for the errors before it (LDLQ, which equals
//! GPTQ: Chee et al. 2023, Frantar et al. 2022); [`polish`] moves single levels, scales and units while that helps.

pub(crate) mod arithmetic;
mod block;
mod codebook;
mod factor;
mod feedback;
mod matrix;
mod polish;
mod rows;

use block::Scheme;
use factor::Input;
pub(crate) use matrix::{MatrixInput, affine_levels, round_matrix_rows};
pub(crate) use rows::error;
use rows::round_rows;
