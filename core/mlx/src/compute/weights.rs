//! Weights from files. Owns reading them, tensor by tensor; must not know what they are for.

use super::linear::{Linear, Matrix, Norm};
use super::{Outcome, number};
use crate::{Error, Model};
use mlx_rs::Array;
use mlx_rs::error::IoError;
use mlx_rs::ops::add;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Every tensor of a model, by its name in the files.
pub(super) struct Weights<'m> {
    model: &'m Model,
    arrays: HashMap<String, Array>,
}

impl<'m> Weights<'m> {
    /// Reads the files of `model`; `progress` gets the fraction.
    pub(super) fn read(
        model: &'m Model,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Self, Error> {
        let mut arrays = HashMap::new();
        for path in &model.files.paths {
            let of_file = Array::load_safetensors(path).map_err(|error| match error {
                IoError::Exception(error) => Error::invalid(path, error.what()),
                other => Error::invalid(path, other.to_string()),
            })?;
            arrays.extend(of_file);
        }
        let all_bytes = model.weights_bytes().max(1);
        let mut read_bytes = 0;
        // In the order of the files, so that a disk reads on.
        for (name, stored) in &model.files.tensors {
            if progress(read_bytes as f32 / all_bytes as f32).is_break() {
                return Err(Error::Cancelled);
            }
            let array = arrays.get(name).ok_or_else(|| {
                Error::invalid(
                    &model.files.paths[stored.file],
                    format!("tensor `{name}`: MLX does not find it"),
                )
            })?;
            array.eval()?;
            read_bytes += stored.bytes;
        }
        if progress(1.0).is_break() {
            return Err(Error::Cancelled);
        }
        Ok(Self { model, arrays })
    }

    fn array(&self, name: &str) -> Result<Array, Error> {
        self.arrays.get(name).cloned().ok_or_else(|| {
            Error::invalid(self.model.folder(), format!("tensor `{name}`: MLX does not find it"))
        })
    }

    /// The numbers that GGUF calls `name`, as they are.
    pub(super) fn plain(&self, name: &str) -> Result<Option<Array>, Error> {
        let Some(held) = self.model.held.get(name) else { return Ok(None) };
        let array = self.array(&held.name)?;
        Ok(Some(if held.adds_one { one_more(&array)? } else { array }))
    }

    /// The norm of this name.
    pub(super) fn norm(&self, name: &str) -> Result<Option<Norm>, Error> {
        let weight = self.plain(&format!("{name}.weight"))?;
        Ok(weight.map(|weight| Norm { weight, epsilon: self.model.epsilon() }))
    }

    /// The matrix of this name, with its bias.
    pub(super) fn linear(&self, name: &str) -> Result<Option<Linear>, Error> {
        let Some(held) = self.model.held.get(&format!("{name}.weight")) else { return Ok(None) };
        let weight = self.array(&held.name)?;
        let matrix = match (&held.grid, &held.scales) {
            (Some(grid), Some(scales)) => Matrix::Packed {
                codes: weight,
                scales: self.array(scales)?,
                biases: held.biases.as_ref().map(|biases| self.array(biases)).transpose()?,
                grid: *grid,
            },
            _ => Matrix::Plain(weight),
        };
        Ok(Some(Linear { matrix, bias: self.plain(&format!("{name}.bias"))? }))
    }

    /// The same, where there must be one.
    pub(super) fn need(&self, name: &str) -> Result<Linear, Error> {
        self.linear(name)?.ok_or_else(|| {
            Error::invalid(self.model.folder(), format!("expected a tensor for `{name}.weight`, found none"))
        })
    }
}

fn one_more(array: &Array) -> Outcome<Array> {
    let more = add(array, number(1.0, array.dtype())?)?;
    more.eval()?;
    Ok(more)
}
