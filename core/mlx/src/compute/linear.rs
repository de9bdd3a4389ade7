//! Products with matrices, packed or not, and rows of them. Owns [`Linear`], [`Norm`]; must not know what they are for.

use super::Outcome;
use super::raw::Packed;
use crate::Grid;
use mlx_rs::ops::indexing::take_axis;
use mlx_rs::ops::{addmm, gather_mm, matmul};
use mlx_rs::{Array, fast};

/// A matrix, or a stack of them.
pub(super) enum Matrix {
    Plain(Array),
    Packed { codes: Array, scales: Array, biases: Option<Array>, grid: Grid },
}

/// A matrix with what is added to its products.
pub(super) struct Linear {
    pub(super) matrix: Matrix,
    pub(super) bias: Option<Array>,
}

/// A norm by the root of the mean square.
pub(super) struct Norm {
    pub(super) weight: Array,
    pub(super) epsilon: f32,
}

impl Norm {
    pub(super) fn of(&self, x: &Array) -> Outcome<Array> {
        fast::rms_norm(x, Some(&self.weight), self.epsilon)
    }

    /// Numbers that it is of.
    pub(super) fn width(&self) -> usize {
        self.weight.size()
    }
}

impl Matrix {
    fn packed(&self) -> Result<Packed<'_>, &Array> {
        match self {
            Self::Plain(weight) => Err(weight),
            Self::Packed { codes, scales, biases, grid } => {
                Ok(Packed { codes, scales, biases: biases.as_ref(), grid: *grid })
            }
        }
    }

    /// The rows of `ids`.
    pub(super) fn rows(&self, ids: &Array) -> Outcome<Array> {
        match self.packed() {
            Err(weight) => take_axis(weight, ids, 0),
            Ok(Packed { codes, scales, biases, grid }) => {
                let biases = biases.map(|biases| take_axis(biases, ids, 0)).transpose()?;
                let (codes, scales) = (take_axis(codes, ids, 0)?, take_axis(scales, ids, 0)?);
                Packed { codes: &codes, scales: &scales, biases: biases.as_ref(), grid }.unpacked()
            }
        }
    }
}

impl Linear {
    /// `x Wᵀ + b`.
    pub(super) fn of(&self, x: &Array) -> Outcome<Array> {
        match (self.matrix.packed(), &self.bias) {
            (Err(weight), None) => matmul(x, weight.transpose()?),
            (Err(weight), Some(bias)) => addmm(bias, x, weight.transpose()?, None, None),
            (Ok(packed), None) => packed.times(x),
            (Ok(packed), Some(bias)) => packed.times(x)?.add(bias),
        }
    }

    /// The same with matrix `which[i]` of the stack for each place; `sorted` where `which` rises.
    pub(super) fn of_chosen(&self, x: &Array, which: &Array, sorted: bool) -> Outcome<Array> {
        let product = match self.matrix.packed() {
            Err(weight) => gather_mm(x, weight.swap_axes(-1, -2)?, None, which, sorted)?,
            Ok(packed) => packed.times_chosen(x, which, sorted)?,
        };
        match &self.bias {
            None => Ok(product),
            Some(bias) => product.add(take_axis(bias, which, 0)?.expand_dims(-2)?),
        }
    }
}
