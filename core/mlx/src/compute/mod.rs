//! Computing a decoder with MLX: operations build a graph, which is computed when its results are asked for.
//!
//! Owns: [`Decoder`], [`Sequence`]. May know: MLX. Must not know: threads; all of one decoder is done on one at a time.

mod attention;
mod cache;
mod decoder;
mod feed_forward;
mod linear;
mod raw;
mod rotary;
mod weights;

pub use cache::Sequence;
pub use decoder::{Decoder, Rows};

use mlx_rs::{Array, Dtype, error::Exception};

/// The version of the library that computes.
#[must_use]
pub fn version() -> String {
    raw::version()
}

/// What MLX refuses.
pub(crate) type Outcome<T> = Result<T, Exception>;

impl From<Exception> for crate::Error {
    fn from(error: Exception) -> Self {
        Self::Compute { reason: error.what().to_owned() }
    }
}

/// A number in the floats of what it is computed with.
fn number(value: f32, dtype: Dtype) -> Outcome<Array> {
    Array::from_f32(value).as_dtype(dtype)
}

/// Extents as MLX counts them.
fn extent(n: usize) -> Outcome<i32> {
    i32::try_from(n).map_err(|_| Exception::custom(format!("an extent of {n} is more than MLX counts")))
}
